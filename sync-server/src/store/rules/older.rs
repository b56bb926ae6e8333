//! Older records: reads what has left the feed.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::older::{Cut, OlderPlace, OlderRecords};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::patient;
use super::view::View;
use crate::store::StoreError;
use crate::store::engine::{Tx, params};

type Result<T> = std::result::Result<T, StoreError>;

/// A page as it is sent.
type Sent = OlderRecords<Box<RawValue>>;

/// How many records a page has, not counting what corrects them.
const PAGE: usize = 20;
/// How many corrections of one record it has at most: the latest.
const CORRECTIONS: usize = 100;
/// About how many bytes a page holds at most; the record that reaches it is still in it, and what corrects that.
const PAGE_BYTES: usize = 256 * 1024;
/// About how many it holds with those corrections. One more document, and a device still reads it: up to a MiB.
const MOST_BYTES: usize = 2 * PAGE_BYTES;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct OlderRequest {
    pub view: View,
    pub patient: PatientId,
    /// After which place; none is the beginning.
    pub after: Option<OlderPlace>,
}

/// The records of a patient that begin a thread, from a place on: none that was withdrawn.
pub(in crate::store) const THREADS: &str =
    "SELECT id, made_at FROM archive WHERE patient_id = ?1 AND withdrawn = 0
    AND thread_id = id AND (made_at, id) < (?2, ?3) ORDER BY made_at DESC, id DESC LIMIT ?4";

/// The next page of a patient's archived records, each with what corrects it; and of those who are the same person.
pub(in crate::store) fn page(tx: &Tx<'_>, asked: &OlderRequest) -> Result<Sent> {
    let is_known = tx.exists("SELECT 1 FROM patients WHERE id = ?1", params![asked.patient])?;
    if !is_known || !asked.view.shows(Collection::Records) {
        return Err(StoreError::NotFound("patient"));
    }
    let beginning = OlderPlace {
        before: Timestamp::from_millis(i64::MAX),
        before_record: RecordId::from_bytes([0xff; 16]),
    };
    let after = asked.after.unwrap_or(beginning);
    let mut places = Vec::new();
    for of in patient::replaced(tx, asked.patient)?.into_iter().chain([asked.patient]) {
        places.extend(threads(tx, of, after)?);
    }
    places.sort_unstable_by_key(|place| Reverse((place.before, place.before_record)));
    let (mut page, mut bytes) = (Sent::default(), 0);
    let mut last = None;
    for (read, place) in places.into_iter().enumerate() {
        if read >= PAGE || bytes >= PAGE_BYTES {
            page.next = last;
            break;
        }
        last = Some(place);
        let body: Option<String> = tx.first(BODY, params![place.before_record])?;
        bytes += put(asked.view, &mut page, &body.ok_or(StoreError::Unreadable("archive"))?);
        let room = MOST_BYTES.saturating_sub(bytes);
        bytes += put_corrections(tx, asked.view, &mut page, place.before_record, room)?;
    }
    Ok(page)
}

const BODY: &str = "SELECT body FROM archive WHERE id = ?1";

/// The next places at which a thread of a patient begins: one more than a page has.
fn threads(tx: &Tx<'_>, of: PatientId, after: OlderPlace) -> Result<Vec<OlderPlace>> {
    let key = params![of, after.before, after.before_record, PAGE + 1];
    let places: Vec<(RecordId, Timestamp)> = tx.all(THREADS, key)?;
    Ok(places.into_iter().map(|(before_record, before)| OlderPlace { before, before_record }).collect())
}

/// Adds a record as the view sends it, if it does: in the full view it is not read, and so holds up none behind it.
/// Says how many bytes it has.
fn put(view: View, page: &mut Sent, body: &str) -> usize {
    let sent = view.body(Collection::Records, body);
    let sent = sent.and_then(|body| RawValue::from_string(body.into_owned()).ok());
    let bytes = sent.as_ref().map_or(0, |record| record.get().len());
    page.records.extend(sent);
    bytes
}

/// Adds the latest of what corrects a record, for as many bytes as there is room, and says so where that is not all.
/// Says how many bytes it has.
fn put_corrections(tx: &Tx<'_>, view: View, page: &mut Sent, record: RecordId, room: usize) -> Result<usize> {
    let (mut read, mut bytes, mut is_cut) = (0, 0, false);
    let (mut sent, mut corrected) = (BTreeSet::from([record]), BTreeSet::new());
    tx.each(CORRECTIONS_OF, params![record, CORRECTIONS + 1], |row| {
        // The latest always: nothing that was corrected is shown as what counts.
        if read == CORRECTIONS || (read > 0 && bytes >= room) {
            is_cut = true;
            return Ok(ControlFlow::Break(()));
        }
        let (id, body): (RecordId, String) = row.read()?;
        read += 1;
        match put(view, page, &body) {
            0 => is_cut = true,
            added => {
                bytes += added;
                sent.insert(id);
                corrected.extend(serde_json::from_str(&body).ok().and_then(|Link { amends }| amends));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if is_cut {
        page.cut.push(Cut { record, corrected: corrected.difference(&sent).copied().collect() });
    }
    Ok(bytes)
}

/// All that is read here of a correction.
#[derive(Deserialize)]
struct Link {
    amends: Option<RecordId>,
}

pub(in crate::store) const CORRECTIONS_OF: &str =
    "SELECT id, body FROM archive WHERE thread_id = ?1 AND id <> ?1 ORDER BY made_at DESC, id DESC LIMIT ?2";
