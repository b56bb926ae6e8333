//! The mirrors' window: records that came to the server longer ago leave the feed, and their chart stays here.
//!
//! A record's age counts from when the server took it. That is the order of the feed, so one number, the
//! last `seq` that left, says which records a device has to drop, and no clock of a device has a say in it:
//! an entry that was made in 1970, or comes a hundred days late, is news for as long as any other.
//!
//! Reviews that were closed as long ago leave too, with a tombstone each: they are few, and their place in the
//! feed says nothing of records.
//!
//! A thread (a record and all that corrects it) leaves as a whole. One that must stay, because a part of
//! it is younger, cannot be read here or still has to be looked at, is put at the end of the feed again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::{Collection, RecordDocument};
use carepost_protocol::time::Timestamp;

use super::feed_writer::FeedEnd;
use super::{chart, review};
use crate::store::StoreError;
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::row::{row, select};

type Result<T> = std::result::Result<T, StoreError>;

/// How many records one commit takes at most, so that other writers do not wait for long.
pub(in crate::store) const PORTION: usize = 200;
/// And about how many bytes, with those of the threads that it looks at; the record that reaches it is still in it.
const PORTION_BYTES: usize = 1024 * 1024;
/// A thread of more records, or more bytes than a portion, is no longer one: its records leave one by one, each when it
/// is old, and what is corrected there brings none of them back. So nobody can keep the feed full with corrections, and
/// what comes or goes at once is no more than a portion.
const LONGEST: usize = 32;
const DAY: i64 = 24 * 3_600_000;

row! {
    /// A record in the feed.
    #[derive(Debug, Clone)]
    struct Held {
        id: RecordId = "d.id",
        patient: PatientId = "d.patient_id",
        seq: u64 = "d.seq",
        body: String = "d.body",
        came: Timestamp = "d.written_at",
        /// Something corrects it, or was to.
        is_corrected: bool
            = "EXISTS (SELECT 1 FROM changes c WHERE c.target_id = d.id)
                OR EXISTS (SELECT 1 FROM office_corrections o WHERE o.target_id = d.id)",
    }
}

macro_rules! held {
    ($which:literal) => {
        select!(
            Held,
            concat!("documents d WHERE d.collection = 'records' AND d.body IS NOT NULL AND ", $which)
        )
    };
}

/// The oldest records of the feed, after what has left it: so that no portion walks again what is not records.
pub(in crate::store) const OLDEST: &str = held!("d.seq > ?1 ORDER BY d.seq LIMIT ?2");

/// Takes the oldest records out of the feed of the facility whose scope this is, when they came longer ago
/// than the facility says, or else `days`, behind the closed reviews: at most `portion` of each, fewer when it has had
/// its time. Says whether there may be more.
pub(in crate::store) fn archive(tx: &Tx<'_>, days: u32, portion: usize) -> Result<bool> {
    let before = opens(tx, days)?;
    if review::archive(tx, before, tx.now().plus_millis(DAY), portion)? {
        return Ok(true);
    }
    let (due, mut more) = due(tx, before, portion)?;
    if due.is_empty() {
        return Ok(false);
    }
    let mut feed = FeedEnd::open(tx)?;
    let (mut renewed, mut leaving) = (BTreeSet::new(), BTreeSet::new());
    let (mut through, mut work, mut bytes) = (0, 0, 0);
    for record in due {
        // The first one always: the next portion would find no more time than this one.
        if work >= portion || bytes >= PORTION_BYTES || (work > 0 && tx.is_spent()) {
            more = true;
            break;
        }
        (through, work, bytes) = (record.seq, work + 1, bytes + record.body.len());
        if !renewed.contains(&record.id)
            && !leaving.contains(&record.id)
            && let Some(thread) = thread_of(tx, &record)?
        {
            work += thread.members.len();
            bytes += thread.members.iter().map(|member| member.body.len()).sum::<usize>();
            let decided = if thread.must_stay(tx, before)? { &mut renewed } else { &mut leaving };
            decided.extend(thread.members.iter().map(|member| member.id));
            if renewed.contains(&record.id) {
                thread.members.iter().try_for_each(|member| member.renew(tx, &mut feed))?;
            }
        }
        if !renewed.contains(&record.id) {
            put_away(tx, &mut feed, &record)?;
        }
    }
    let place = feed.pass();
    feed.close(tx)?;
    let mark = params![through, before, place];
    tx.execute("UPDATE feeds SET archived = ?1, archived_before = ?2, archived_seq = ?3", mark)?;
    Ok(more)
}

/// Brings an archived record back into the feed with its thread, because somebody corrects it. Gives whom
/// it is about; none when no such record of that patient was archived.
pub(in crate::store) fn bring_back(
    tx: &Tx<'_>,
    feed: &mut FeedEnd,
    record: RecordId,
    of: PatientId,
) -> Result<Option<PatientId>> {
    let sql = "SELECT patient_id, thread_id FROM archive WHERE id = ?1";
    let found: Option<(PatientId, RecordId)> = tx.first(sql, params![record])?;
    let Some((patient, thread)) = found else { return Ok(None) };
    if patient != of {
        return Ok(Some(patient));
    }
    let sql =
        "SELECT id, body FROM archive WHERE thread_id = ?1 ORDER BY id <> thread_id, made_at, id LIMIT ?2";
    let (mut members, mut bytes) = (Vec::new(), 0);
    tx.each(sql, params![thread, LONGEST + 1], |row| {
        let member: (RecordId, String) = row.read()?;
        bytes += member.1.len();
        members.push(member);
        Ok(if bytes <= PORTION_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if members.len() <= LONGEST && bytes <= PORTION_BYTES {
        for (id, body) in members {
            tx.execute("DELETE FROM archive WHERE id = ?1", params![id])?;
            feed.add(tx, Collection::Records, id.as_bytes(), Some(patient), Some(&body))?;
        }
    }
    Ok(Some(patient))
}

/// Takes a record out of the window with what strikes it out, before its time: a thread of their own, which the office
/// reads and no device does, and a tombstone for the devices. What corrected another does so no more.
pub(in crate::store) fn withdraw(
    tx: &Tx<'_>,
    feed: &mut FeedEnd,
    record: &RecordDocument,
    strikes: &RecordDocument,
) -> Result<()> {
    let id = record.id.as_bytes();
    let made_at = match held(tx, record.id)? {
        Some(held) => {
            feed.put(tx, Collection::Records, id, None, None)?;
            record.recorded_at.min(held.came)
        }
        None => record.recorded_at.min(tx.now()),
    };
    tx.execute("DELETE FROM archive WHERE id = ?1", params![id])?;
    keep(tx, record, record.id, made_at, &json(record)?, true)?;
    keep(tx, strikes, record.id, strikes.recorded_at, &json(strikes)?, true)
}

/// Keeps a record here: one that was withdrawn is shown on no device.
fn keep(
    tx: &Tx<'_>,
    record: &RecordDocument,
    thread: RecordId,
    made_at: Timestamp,
    body: &str,
    withdrawn: bool,
) -> Result<()> {
    let (id, patient) = (record.id.as_bytes(), record.patient_id.as_bytes());
    tx.execute(
        "INSERT INTO archive (id, patient_id, thread_id, made_at, body, withdrawn)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, patient, thread, made_at, body, withdrawn],
    )
    .map(drop)
}

/// Since when what came is in the window.
fn opens(tx: &Tx<'_>, days: u32) -> Result<Timestamp> {
    let own = tx.first::<Option<u32>>("SELECT record_days FROM facilities", params![])?;
    Ok(tx.now().plus_millis(-DAY * i64::from(own.flatten().unwrap_or(days))))
}

/// A time that is far from having come says nothing: the server's clock was ahead once.
fn is_old(tx: &Tx<'_>, came: Timestamp, before: Timestamp) -> bool {
    came < before || came > tx.now().plus_millis(DAY)
}

/// The oldest records of the feed, as far as they are old, and whether there may be more.
fn due(tx: &Tx<'_>, before: Timestamp, portion: usize) -> Result<(Vec<Held>, bool)> {
    let archived = tx.first::<i64>("SELECT archived FROM feeds", params![])?.unwrap_or(0);
    let (mut due, mut bytes, mut all_old) = (Vec::new(), 0, true);
    tx.each(OLDEST, params![archived, portion], |row| {
        let record: Held = row.read()?;
        all_old = is_old(tx, record.came, before);
        if !all_old {
            return Ok(ControlFlow::Break(()));
        }
        bytes += record.body.len();
        due.push(record);
        Ok(if bytes < PORTION_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let more = all_old && (due.len() >= portion || bytes >= PORTION_BYTES);
    Ok((due, more))
}

/// Keeps a record here and takes it out of the feed. What another version left that cannot be read here stays for that
/// one: nobody knows what it corrects.
fn put_away(tx: &Tx<'_>, feed: &mut FeedEnd, record: &Held) -> Result<()> {
    let Some(document) = record.document() else { return record.renew(tx, feed) };
    let thread = match document.amends {
        Some(parent) => {
            let sql = "SELECT thread_id FROM archive WHERE id = ?1 AND withdrawn = 0";
            tx.first::<RecordId>(sql, params![parent])?
        }
        None => None,
    };
    let made_at = document.recorded_at.min(record.came);
    keep(tx, &document, thread.unwrap_or(record.id), made_at, &record.body, false)?;
    feed.take_out(tx, Collection::Records, record.id.as_bytes(), record.seq, &record.body)
}

/// A record and all that corrects it, as far as it is in the feed: what is corrected before what corrects.
struct Thread {
    members: Vec<Held>,
    is_whole: bool,
    /// Whether each member comes after what it corrects in the feed too: then what is left of a thread that
    /// has left in part says what counts now.
    is_in_order: bool,
}

impl Thread {
    fn must_stay(&self, tx: &Tx<'_>, before: Timestamp) -> Result<bool> {
        if !self.is_whole {
            return Ok(false);
        }
        let stays = |member: &Held| !is_old(tx, member.came, before) || member.document().is_none();
        if !self.is_in_order || self.members.iter().any(stays) {
            return Ok(true);
        }
        for member in &self.members {
            let sql = "SELECT EXISTS (SELECT 1 FROM reviews
                    WHERE kind = 'amendments' AND collection = 'records' AND record_id = ?1 AND is_open = 1)
                OR EXISTS (SELECT 1 FROM changes
                    WHERE target_id = ?1 AND verdict = 'rejected' AND settlement IS NULL)";
            if tx.first(sql, params![member.id])? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The thread of a record; none where it stands alone.
fn thread_of(tx: &Tx<'_>, record: &Held) -> Result<Option<Thread>> {
    let (mut root, mut climbed) = (record.clone(), 0);
    for _ in 0..LONGEST {
        climbed += root.body.len();
        if climbed > PORTION_BYTES {
            return Ok(Some(Thread { members: vec![root], is_whole: false, is_in_order: true }));
        }
        let parent = root.document().and_then(|document| document.amends);
        match parent.map(|parent| held(tx, parent)).transpose()?.flatten() {
            Some(parent) => root = parent,
            None => break,
        }
    }
    if root.id == record.id && !record.is_corrected {
        return Ok(None);
    }
    let (mut at, mut bytes) = (0, root.body.len());
    let mut thread = Thread { members: vec![root], is_whole: true, is_in_order: true };
    while let Some(Held { id, seq, .. }) = thread.members.get(at) {
        let (id, seq) = (*id, *seq);
        at += 1;
        for child in chart::corrections(tx, id, LONGEST + 1)? {
            if thread.members.iter().any(|known| known.id == child) {
                continue;
            }
            let Some(child) = held(tx, child)? else { continue };
            bytes += child.body.len();
            if thread.members.len() >= LONGEST || bytes > PORTION_BYTES {
                thread.is_whole = false;
                return Ok(Some(thread));
            }
            thread.is_in_order &= child.seq > seq;
            thread.members.push(child);
        }
    }
    Ok(Some(thread))
}

fn held(tx: &Tx<'_>, id: RecordId) -> Result<Option<Held>> {
    tx.first(held!("d.id = ?1"), params![id])
}

impl Held {
    /// What is in it; none where that cannot be read here.
    fn document(&self) -> Option<RecordDocument> {
        serde_json::from_str(&self.body).ok()
    }

    /// Puts it at the end of the feed again, for as long as what comes now.
    fn renew(&self, tx: &Tx<'_>, feed: &mut FeedEnd) -> Result<()> {
        let (id, patient) = (self.id.as_bytes(), Some(self.patient));
        feed.put(tx, Collection::Records, id, patient, Some(&self.body)).map(drop)
    }
}
