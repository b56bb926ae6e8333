//! Reviews: what somebody has to look at. There is at most one open of a kind about one document, and
//! it is kept up to date until somebody closes it. It holds the first of what was saved and the count of
//! the rest, which stays in the changes: no review grows with what others add. What was closed longer ago
//! than records stay leaves the feed as well, and is kept here.

use std::collections::BTreeMap;

use carepost_protocol::id::{PatientId, RecordId, ReviewId, UserId};
use carepost_protocol::merge::{Field, Merged};
use carepost_protocol::record::{
    Collection, DisputedField, MAX_COUNTED, MAX_REVIEWED, Resolved, ReviewDocument, ReviewKind, SavedValue,
};
use carepost_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::feed_writer::FeedEnd;
use crate::store::StoreError;
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::listed::Listed;
use crate::store::row::insert_into;

type Result<T> = std::result::Result<T, StoreError>;

/// What a review is about.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct About {
    pub(in crate::store) kind: ReviewKind,
    pub(in crate::store) collection: Collection,
    pub(in crate::store) record: RecordId,
}

/// A place in the list of reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReviewPlace {
    /// In the feed, whose latest come first.
    Feed(u64),
    /// Among those that have left it.
    Archive(ReviewId),
}

/// Those in the feed, latest first: all, or the open or closed ones. By an index of its own.
pub(in crate::store) const LISTED: &str = "SELECT d.body, d.seq FROM documents d CROSS JOIN reviews r
    WHERE r.id = d.id AND d.collection = 'reviews' AND d.seq < ?3 AND d.body IS NOT NULL
        AND (?1 IS NULL OR r.is_open = ?1)
    ORDER BY d.seq DESC LIMIT ?2";
/// Those that have left it, latest first.
const ARCHIVED: &str =
    "SELECT archived, id FROM reviews WHERE archived IS NOT NULL AND id < ?2 ORDER BY id DESC LIMIT ?1";
/// Those in the feed that were closed before a moment, or at a time that has not come: the oldest first.
pub(in crate::store) const CLOSED: &str = "SELECT d.id FROM documents d CROSS JOIN reviews r
    WHERE r.id = d.id AND d.collection = 'reviews' AND d.seq > 0 AND d.body IS NOT NULL AND r.is_open = 0
        AND (d.written_at < ?1 OR d.written_at > ?2)
    ORDER BY d.seq LIMIT ?3";

/// Reviews after a place, or from the latest on, at most so many: the open ones, the closed ones, or all.
pub(in crate::store) fn list(
    tx: &Tx<'_>,
    open: Option<bool>,
    after: Option<ReviewPlace>,
    most: usize,
) -> Result<Listed<ReviewDocument, ReviewPlace>> {
    let (seq, id) = match after {
        None => (u64::MAX, ReviewId::from_bytes([0xff; 16])),
        Some(ReviewPlace::Feed(seq)) => (seq, ReviewId::from_bytes([0xff; 16])),
        Some(ReviewPlace::Archive(id)) => (0, id),
    };
    let held: Vec<(ReviewDocument, u64)> = tx.all(LISTED, params![open, most + 1, seq])?;
    let mut found: Vec<_> = held.into_iter().map(|(review, seq)| (ReviewPlace::Feed(seq), review)).collect();
    if open != Some(true) {
        let room = (most + 1).saturating_sub(found.len());
        let archived: Vec<(ReviewDocument, ReviewId)> = tx.all(ARCHIVED, params![room, id])?;
        found.extend(archived.into_iter().map(|(review, id)| (ReviewPlace::Archive(id), review)));
    }
    let Listed { items, next } = Listed::of(found, most, |(place, _)| *place);
    Ok(Listed { items: items.into_iter().map(|(_, review)| review).collect(), next })
}

/// Takes reviews out of the feed that were closed before a moment, or after one that cannot have come yet: at
/// most so many, fewer when that has had its time. Says whether there may be more.
pub(in crate::store) fn archive(
    tx: &Tx<'_>,
    before: Timestamp,
    after: Timestamp,
    portion: usize,
) -> Result<bool> {
    let closed = params![before, after, portion];
    let closed: Vec<ReviewId> = tx.all(CLOSED, closed)?;
    let mut feed = FeedEnd::open(tx)?;
    let mut archived = 0;
    for id in &closed {
        let sql = "UPDATE reviews SET archived = (
                SELECT body FROM documents WHERE collection = 'reviews' AND documents.id = ?1) WHERE id = ?1";
        tx.execute(sql, params![id])?;
        feed.put(tx, Collection::Reviews, id.as_bytes(), None, None)?;
        archived += 1;
        if tx.is_spent() {
            break;
        }
    }
    feed.close(tx)?;
    Ok(archived < closed.len() || archived >= portion)
}

/// Closes what is open about something that was withdrawn, and takes it out of the feed at once.
pub(in crate::store) fn withdraw(tx: &Tx<'_>, feed: &mut FeedEnd, about: About, by: UserId) -> Result<()> {
    let Some(id) = open_id(tx, about)? else { return Ok(()) };
    let Some(mut review) = find(tx, id)? else { return Ok(()) };
    review.resolved = Some(Resolved { by, at: tx.now() });
    feed.put(tx, Collection::Reviews, id.as_bytes(), None, None)?;
    let sql = "UPDATE reviews SET is_open = 0, archived = ?2 WHERE id = ?1";
    tx.execute(sql, params![id, review]).map(drop)
}

/// One review, open or closed, within its bounds: one from before may have outgrown them.
pub(in crate::store) fn find(tx: &Tx<'_>, id: ReviewId) -> Result<Option<ReviewDocument>> {
    let sql = "SELECT body FROM documents WHERE collection = 'reviews' AND id = ?1 AND body IS NOT NULL
        UNION ALL SELECT archived FROM reviews WHERE id = ?1 AND archived IS NOT NULL";
    let mut found: Option<ReviewDocument> = tx.first(sql, params![id])?;
    if let Some(review) = &mut found {
        review.bound();
    }
    Ok(found)
}

/// Opens a review of documents that stand side by side, or brings the one that is open up to date.
/// `beside` is all of them that are known of now, or some, as far as they are counted, in the order in which they came.
pub(in crate::store) fn gather(
    tx: &Tx<'_>,
    feed: &mut FeedEnd,
    about: About,
    patient: PatientId,
    beside: &[RecordId],
) -> Result<()> {
    let mut review = open(tx, about, patient)?;
    let before = review.clone();
    for other in beside.iter().take(MAX_REVIEWED) {
        if review.others.len() < MAX_REVIEWED && !review.others.contains(other) {
            review.others.push(*other);
        }
    }
    // Of some alone (who has a number, say) those that found no room are.
    let more = beside.iter().filter(|other| !review.others.contains(other)).count() as u64;
    let most = MAX_COUNTED.saturating_sub(review.others.len() as u64);
    review.more = review.more.max(more.min(most));
    // One that names all, and nobody new, is as it was seen: a decision about it closes it.
    if review == before && review.more == 0 { Ok(()) } else { put(tx, feed, &review) }
}

/// Keeps what an edit of a resident left in dispute, and brings an open review up to date with fields that
/// were set again. `now` is what the document has after the edit. Says whether a value found the review
/// full: it is in the change that brought it.
pub(in crate::store) fn dispute(
    tx: &Tx<'_>,
    feed: &mut FeedEnd,
    patient: PatientId,
    merged: &Merged,
    now: &BTreeMap<String, Field>,
) -> Result<bool> {
    let about =
        About { kind: ReviewKind::Conflict, collection: Collection::Patients, record: patient.into() };
    if merged.conflicts.is_empty() && open_id(tx, about)?.is_none() {
        return Ok(false);
    }
    let mut review = open(tx, about, patient)?;
    let before = review.clone();
    let mut is_full = false;
    for conflict in &merged.conflicts {
        let at = review.fields.iter().position(|disputed| disputed.field == conflict.field);
        if at.is_none() {
            review.fields.push(DisputedField { field: conflict.field.clone(), values: Vec::new(), more: 0 });
        }
    }
    for disputed in &mut review.fields {
        let key = disputed.field.clone();
        let conflicts = merged.conflicts.iter().filter(|conflict| conflict.field == key);
        let set = merged.set.get(&key);
        let stands = now.get(&key).map(saved);
        for field in conflicts.flat_map(|conflict| [&conflict.stands, &conflict.other]).chain(set) {
            is_full |= !disputed.keep(saved(field), stands.as_ref());
        }
        disputed.settle(stands.as_ref());
    }
    if review != before {
        put(tx, feed, &review)?;
    }
    Ok(is_full)
}

/// Writes a review, closed when it says who closed it. One that had left the feed is in it again.
pub(in crate::store) fn put(tx: &Tx<'_>, feed: &mut FeedEnd, review: &ReviewDocument) -> Result<()> {
    let is_open = review.resolved.is_none();
    if tx.exists("SELECT 1 FROM reviews WHERE id = ?1", params![review.id])? {
        let sql = "UPDATE reviews SET is_open = ?2, archived = NULL WHERE id = ?1";
        tx.execute(sql, params![review.id, is_open])?;
    } else {
        insert_into!(tx, "reviews" {
            id: review.id,
            kind: review.kind,
            collection: review.collection.name(),
            record_id: review.record,
            patient_id: review.patient_id,
            is_open: is_open,
        })?;
    }
    let body = json(review)?;
    let (id, patient) = (review.id.as_bytes(), Some(review.patient_id));
    feed.put(tx, Collection::Reviews, id, patient, Some(&body)).map(drop)
}

/// The review that is open about something.
pub(super) fn find_open(tx: &Tx<'_>, about: About) -> Result<Option<ReviewDocument>> {
    Ok(open_id(tx, about)?.map(|id| find(tx, id)).transpose()?.flatten())
}

/// The same, or a new one.
fn open(tx: &Tx<'_>, about: About, patient: PatientId) -> Result<ReviewDocument> {
    if let Some(review) = find_open(tx, about)? {
        return Ok(review);
    }
    Ok(ReviewDocument {
        id: ReviewId::new(tx.now(), tx.random()?),
        kind: about.kind,
        patient_id: patient,
        collection: about.collection,
        record: about.record,
        fields: Vec::new(),
        others: Vec::new(),
        more: 0,
        opened_at: tx.now(),
        resolved: None,
    })
}

fn open_id(tx: &Tx<'_>, about: About) -> Result<Option<ReviewId>> {
    let sql = "SELECT id FROM reviews WHERE kind = ?1 AND collection = ?2 AND record_id = ?3 AND is_open = 1";
    let key = params![about.kind, about.collection.name(), about.record];
    tx.first(sql, key)
}

fn saved(field: &Field) -> SavedValue {
    SavedValue { value: field.value.clone(), by: field.mark.by, at: field.mark.at, stands: false }
}
