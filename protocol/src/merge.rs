//! Merging: how edits of one document come together that were made side by side.
//!
//! By class of data: charting is append-only and never conflicts ([`crate::amend`] is how it is
//! corrected); what the office alone may change comes from the server alone; the rest is *editable*, and
//! is merged field by field. A field is *current* for an edit whose author had seen its last write, or
//! made it earlier on the same device: then the edit simply sets it. Otherwise two people set it
//! without knowing of each other: the later stands, by the time each counts as made at, and **both
//! values are kept** for a person to look at.
//!
//! The outcome is a function of the edits, not of the order in which they arrive, as long as an edit
//! comes after what its author had seen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::change::Origin;
use crate::id::{IncarnationId, UserId};
use crate::time::{ClockQuality, Timestamp};

/// A clock further ahead of the server's than this was wrong when it stamped.
pub const AHEAD: Duration = Duration::from_mins(5);

/// When an edit counts as made: by its device's corrected clock, unless that cannot be right; then the
/// edit counts as old as the version it was made against, and loses to whoever knew the time.
#[must_use]
pub fn counted_at(
    recorded_at: Timestamp,
    quality: ClockQuality,
    base: Timestamp,
    received_at: Timestamp,
) -> Timestamp {
    match quality {
        ClockQuality::Synced | ClockQuality::Estimated if recorded_at <= received_at.after(AHEAD) => {
            recorded_at
        }
        ClockQuality::Synced | ClockQuality::Estimated | ClockQuality::Unset => base,
    }
}

/// Who wrote a field last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The place in the feed of the version that brought it.
    pub seq: u64,
    /// When it counts as written: never before what it knowingly replaced.
    pub at: Timestamp,
    /// The change that wrote it; none for what the office entered.
    pub origin: Option<Origin>,
    /// Who wrote it, where that is known.
    pub by: Option<UserId>,
}

/// A field of an editable document.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its value.
    pub value: Value,
    /// Its last write.
    pub mark: Mark,
}

/// An edit of some fields of one document.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// The fields it sets.
    pub fields: &'a Map<String, Value>,
    /// The place in the feed of the version that its author saw; 0 for none.
    pub base_seq: u64,
    /// Its own mark: where it comes from, who made it, when it counts as made, and the place in the feed
    /// of the version it makes.
    pub mark: Mark,
    /// The incarnations of the device's outbox that make up its chain: each with the last number that belongs
    /// to it.
    pub chain: &'a [(IncarnationId, u64)],
}

/// Two values of one field that were saved side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The field's key.
    pub field: String,
    /// What stands.
    pub stands: Field,
    /// What was saved as well.
    pub other: Field,
}

/// What an edit comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// The fields whose value or mark changes.
    pub set: BTreeMap<String, Field>,
    /// What a person has to look at.
    pub conflicts: Vec<Conflict>,
}

/// Merges an edit into a document's fields.
#[must_use]
pub fn merge(document: &BTreeMap<String, Field>, edit: &Edit<'_>) -> Merged {
    let mut merged = Merged::default();
    for (key, value) in edit.fields {
        let ours = Field { value: value.clone(), mark: edit.mark };
        let Some(theirs) = document.get(key) else {
            merged.set.insert(key.clone(), ours);
            continue;
        };
        if is_current(&theirs.mark, edit) {
            let at = ours.mark.at.max(theirs.mark.at);
            merged.set.insert(key.clone(), Field { mark: Mark { at, ..ours.mark }, ..ours });
        } else if theirs.value == ours.value {
            // Both said the same: nothing to look at. The later mark stands, whoever comes first.
            if is_later(&ours.mark, &theirs.mark) {
                merged.set.insert(key.clone(), ours);
            }
        } else {
            let ours_stands = is_later(&ours.mark, &theirs.mark);
            let (stands, other) =
                if ours_stands { (ours.clone(), theirs.clone()) } else { (theirs.clone(), ours.clone()) };
            merged.conflicts.push(Conflict { field: key.clone(), stands, other });
            if ours_stands {
                merged.set.insert(key.clone(), ours);
            }
        }
    }
    merged
}

/// Whether the edit's author knew of a write: had seen it, or made it earlier in the same chain.
fn is_current(mark: &Mark, edit: &Edit<'_>) -> bool {
    let earlier_of_the_same_chain = |origin: Origin| {
        edit.mark.origin.is_some_and(|own| own.device == origin.device)
            && edit
                .chain
                .iter()
                .any(|(incarnation, last)| *incarnation == origin.incarnation && origin.n <= *last)
    };
    mark.seq <= edit.base_seq || mark.origin.is_some_and(earlier_of_the_same_chain)
}

/// Which of two writes stands: the later one; between equals, a device's before the office's, and the
/// greater origin.
fn is_later(a: &Mark, b: &Mark) -> bool {
    (a.at, a.origin) > (b.at, b.origin)
}

#[cfg(test)]
mod tests;
