//! `GET /api/v1/sync/patients/{patient_id}/older-records`: what has left the mirror's window.
//!
//! A page holds records with all that corrects them, as the device's view shows them; the latest first.
//! Nothing of it is kept on the device.

use serde::{Deserialize, Serialize};

use crate::id::RecordId;
use crate::record::RecordDocument;
use crate::time::Timestamp;

/// The query: after which place the page begins; without one it is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OlderQuery {
    /// When the last record of the page before was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    /// Which it is: several may have been made at one moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_record: Option<RecordId>,
}

/// A page of older records. `R` is what each is read into; the server sends them unread, so that what it does not know
/// survives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OlderRecords<R = RecordDocument> {
    /// The records, each followed by its corrections.
    pub records: Vec<R>,
    /// Of which of them not all corrections are sent; an older server does not say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Cut>,
    /// Where the next page begins; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<OlderPlace>,
}

impl<R> Default for OlderRecords<R> {
    fn default() -> Self {
        Self { records: Vec::new(), cut: Vec::new(), next: None }
    }
}

/// A record of which not all corrections are sent: what counts may be among the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Which it is.
    pub record: RecordId,
    /// What of the others is corrected by what is sent: it hangs on the record, however far below.
    pub corrected: Vec<RecordId>,
}

/// A place among a patient's older records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderPlace {
    /// When the record before it was made; one from the future counts as made when it came.
    pub before: Timestamp,
    /// Which that is.
    pub before_record: RecordId,
}

impl OlderQuery {
    /// The page that begins there.
    #[must_use]
    pub fn after(place: Option<OlderPlace>) -> Self {
        Self { before: place.map(|it| it.before), before_record: place.map(|it| it.before_record) }
    }

    /// The place, when both halves of it are given.
    #[must_use]
    pub fn place(self) -> Option<OlderPlace> {
        Some(OlderPlace { before: self.before?, before_record: self.before_record? })
    }
}
