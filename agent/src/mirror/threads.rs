//! Threads: a resident's records, put together with their corrections. What it costs follows from what is asked for, not
//! from how much there is.
//!
//! Records and corrections are one index (patient, what it corrects, time): those that begin an entry correct nothing
//! and stand together, newest last; corrections stand with what they correct, so that a first copy keeps no second
//! index. A correction whose record is not here is marked when it comes, or by a trigger when its record goes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::{Collection, RecordDocument};
use carepost_protocol::role::{Permit, ReadPatients};
use rusqlite::{Connection, Params, Row, params};

use super::read::by_id;
use super::{Mirror, MirrorError};

/// How many corrections of one record are looked at, how many of what is not here, and how many for a whole page, with
/// [`OF_EACH`]: many times what people make.
const LOOKED_AT: usize = 2_000;
/// How many more a page looks at for each record that it shows.
const OF_EACH: usize = 20;

/// Which part of a resident's records is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How many that stand by themselves are left out before it.
    pub after: usize,
    /// How many of either kind are wanted.
    pub most: usize,
    /// How many corrections of a record that were corrected themselves, and how many of those that were not.
    pub versions: usize,
}

/// A charted record with its corrections.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordThread {
    /// The record as it was first charted.
    pub root: RecordDocument,
    /// Its corrections, and theirs, oldest first; of many the first and the last.
    pub amendments: Vec<RecordDocument>,
    /// The corrections that were left out, each with what it corrects.
    pub left_out: Vec<(RecordId, RecordId)>,
    /// There are more corrections than are looked at: what counts may be among those.
    pub is_cut: bool,
}

/// A resident's records, put together with their corrections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordThreads {
    /// Newest first, by when the record was first charted.
    pub threads: Vec<RecordThread>,
    /// Corrections of a record that is not here, newest first.
    pub held: Vec<RecordDocument>,
    /// There are more of those than are looked at.
    pub held_is_cut: bool,
}

impl Mirror {
    /// A resident's records with their corrections, newest first.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn threads(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        asked: Asked,
    ) -> Result<RecordThreads, MirrorError> {
        self.permitted(permit)?;
        self.reading(|reader| {
            // One state for all readings.
            let reader = reader.unchecked_transaction()?;
            put_together(&reader, patient, asked)
        })
    }

    /// The corrections of one record, and theirs, oldest first, as far as they are looked at.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn corrections(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        record: RecordId,
    ) -> Result<Vec<RecordId>, MirrorError> {
        self.permitted(permit)?;
        let (mut found, _) = self.reading(|reader| corrections(reader, patient, record, LOOKED_AT))?;
        found.sort_by_key(|(id, _, made)| (*made, *id));
        Ok(found.into_iter().map(|(id, ..)| id).collect())
    }
}

/// Of more than `most` the first and the last.
#[must_use]
pub fn first_and_last<T>(mut all: Vec<T>, most: usize) -> Vec<T> {
    let over = all.len().saturating_sub(most);
    let first = (most / 2).min(all.len());
    all.drain(first..first + over);
    all
}

/// What begins an entry. Only records have a time.
const ROOTS: &str =
    "SELECT id FROM documents WHERE patient = ? AND amends IS NULL AND recorded_at IS NOT NULL
    ORDER BY recorded_at DESC, id DESC LIMIT ? OFFSET ?";

/// Corrections whose record was not here once, newest first.
const HELD: &str = "SELECT id, amends, recorded_at FROM documents WHERE patient = ? AND is_held = 1
    ORDER BY recorded_at DESC, id DESC LIMIT ?";

/// Whether a patient's record is here.
const IS_HERE: &str =
    "SELECT EXISTS (SELECT 1 FROM documents WHERE collection = 6 AND id = ? AND patient = ?)";

/// The corrections of one record, oldest first.
const FIRST: &str = "SELECT id, amends, recorded_at FROM documents WHERE patient = ? AND amends = ?
    ORDER BY recorded_at, id LIMIT ?";

/// The same, latest first.
const LAST: &str = "SELECT id, amends, recorded_at FROM documents WHERE patient = ? AND amends = ?
    ORDER BY recorded_at DESC, id DESC LIMIT ?";

/// A correction, what it corrects and when it was made.
type Link = (RecordId, RecordId, i64);

fn put_together(reader: &Connection, patient: PatientId, asked: Asked) -> Result<RecordThreads, MirrorError> {
    let part = params![patient.as_bytes(), signed(asked.most), signed(asked.after)];
    let mut put = RecordThreads::default();
    let roots = listed(reader, ROOTS, part, |row| row.get(0).map(RecordId::from_bytes))?;
    let mut room = LOOKED_AT + roots.len() * OF_EACH;
    for id in roots {
        put.threads.extend(thread(reader, patient, id, asked.versions, &mut room)?);
    }
    let mut held = Vec::new();
    let mut flagged = links(reader, HELD, params![patient.as_bytes(), signed(LOOKED_AT + 1)])?;
    put.held_is_cut = flagged.len() > LOOKED_AT;
    flagged.truncate(LOOKED_AT);
    for link @ (id, of, _) in flagged {
        let here = params![of.as_bytes(), patient.as_bytes()];
        if reader.prepare_cached(IS_HERE)?.query_row(here, |row| row.get(0))? {
            continue;
        }
        held.push(link);
        // What corrects one of them is held as well.
        let room = LOOKED_AT.saturating_sub(held.len());
        let (below, is_cut) = corrections(reader, patient, id, room)?;
        held.extend(below);
        put.held_is_cut |= is_cut;
    }
    held.sort_by_key(|(id, _, made)| Reverse((*made, *id)));
    for (id, ..) in held.iter().skip(asked.after).take(asked.most) {
        put.held.extend(document(reader, *id)?);
    }
    Ok(put)
}

fn thread(
    reader: &Connection,
    patient: PatientId,
    root: RecordId,
    versions: usize,
    room: &mut usize,
) -> Result<Option<RecordThread>, MirrorError> {
    let Some(root) = document(reader, root)? else { return Ok(None) };
    let (mut corrections, is_cut) = corrections(reader, patient, root.id, LOOKED_AT.min(*room))?;
    *room = room.saturating_sub(corrections.len());
    corrections.sort_by_key(|(id, _, made)| (*made, *id));
    let mut corrected: BTreeSet<RecordId> = corrections.iter().map(|(_, of, _)| *of).collect();
    let mut unseen = Vec::new();
    if is_cut {
        // What was corrected by one that is not looked at does not count.
        for (id, ..) in corrections.iter().filter(|(id, ..)| !corrected.contains(id)) {
            unseen.extend(links(reader, FIRST, params![patient.as_bytes(), id.as_bytes(), 1])?);
        }
        corrected.extend(unseen.iter().map(|(_, of, _)| *of));
    }
    let (earlier, counts): (Vec<RecordId>, Vec<RecordId>) =
        corrections.iter().map(|(id, ..)| *id).partition(|id| corrected.contains(id));
    let read: BTreeSet<RecordId> =
        [earlier, counts].into_iter().flat_map(|ids| first_and_last(ids, versions)).collect();
    let (read, left_out): (Vec<Link>, Vec<Link>) =
        corrections.into_iter().partition(|(id, ..)| read.contains(id));
    let mut amendments = Vec::new();
    for (id, ..) in read {
        amendments.extend(document(reader, id)?);
    }
    let left_out = left_out.into_iter().chain(unseen).map(|(id, of, _)| (id, of)).collect();
    Ok(Some(RecordThread { root, amendments, left_out, is_cut }))
}

/// The corrections of a record, and theirs, at most so many; whether there are more, or may be. Of more that were made
/// side by side the first and the last are among them.
fn corrections(
    reader: &Connection,
    patient: PatientId,
    root: RecordId,
    most: usize,
) -> Result<(Vec<Link>, bool), MirrorError> {
    let mut found: Vec<Link> = Vec::new();
    let (mut next, mut at) = (Some(root), 0);
    while let Some(of) = next {
        let room = most.saturating_sub(found.len());
        let of_it =
            |sql, count| links(reader, sql, params![patient.as_bytes(), of.as_bytes(), signed(count)]);
        let mut first = of_it(FIRST, room + 1)?;
        if first.len() > room {
            first.truncate(room / 2);
            found.extend(first.into_iter().chain(of_it(LAST, room - room / 2)?));
            return Ok((found, true));
        }
        found.extend(first);
        next = found.get(at).map(|(id, ..)| *id);
        at += 1;
    }
    Ok((found, false))
}

fn document(reader: &Connection, id: RecordId) -> Result<Option<RecordDocument>, MirrorError> {
    by_id(reader, Collection::Records, id.as_bytes())
}

fn links(reader: &Connection, sql: &str, parameters: impl Params) -> Result<Vec<Link>, MirrorError> {
    listed(reader, sql, parameters, |row| {
        Ok((RecordId::from_bytes(row.get(0)?), RecordId::from_bytes(row.get(1)?), row.get(2)?))
    })
}

fn listed<T>(
    reader: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, MirrorError> {
    let mut statement = reader.prepare_cached(sql)?;
    Ok(statement.query_map(parameters, read)?.collect::<Result<_, _>>()?)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
