//! Views: what of a facility's feed a device is sent, by what kind of device it is, and how much of a resident it may
//! show.

use std::borrow::Cow;

use carepost_protocol::device::DeviceType;
use carepost_protocol::digest::Element;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{DeviceId, FacilityId, PatientId};
use carepost_protocol::patient::FIELDS;
use carepost_protocol::record::{Collection, PatientDocument, RecordDocument};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::store::StoreError;
use crate::store::column::json;
use crate::store::engine::{Tx, params};

/// A way to see a feed. Whoever changes what one sends, or which documents can be read for it, gives it a new name and
/// a new bit: digests that were counted for the old bytes are then counted anew, also by a version that is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Everything, as it is.
    Full,
    /// Residents by initials and room; that something was charted, not what; no reviews.
    Minimal,
    /// Residents by case number only; that something was charted, not what; no reviews.
    Free,
    /// The facility, its staff and their badges.
    BadgeReader,
}

impl View {
    /// Every view.
    pub const ALL: [Self; 4] = [Self::Full, Self::Minimal, Self::Free, Self::BadgeReader];

    /// The view of a device: a reader without a screen needs no residents, whatever the mode.
    #[must_use]
    pub const fn of(device_type: DeviceType, mode: PhiMode) -> Self {
        match (device_type, mode) {
            (DeviceType::BadgeReader, _) => Self::BadgeReader,
            (_, PhiMode::Full) => Self::Full,
            (_, PhiMode::Minimal) => Self::Minimal,
            (_, PhiMode::Free) => Self::Free,
        }
    }

    /// How much of a resident it sends, where that is not all: of a view that sends no resident, the least.
    pub(super) const fn phi_mode(self) -> Option<PhiMode> {
        match self {
            Self::Minimal => Some(PhiMode::Minimal),
            Self::Free | Self::BadgeReader => Some(PhiMode::Free),
            Self::Full => None,
        }
    }

    /// Its name in the table of digests.
    pub(in crate::store) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Minimal => "minimal",
            Self::Free => "free",
            Self::BadgeReader => "badge_reader",
        }
    }

    /// What stands for it in `feeds.digested`.
    pub(in crate::store) const fn bit(self) -> u64 {
        match self {
            Self::Full => 1,
            Self::Minimal => 2,
            Self::Free => 4,
            Self::BadgeReader => 8,
        }
    }

    /// Whether anything of a collection is sent.
    #[must_use]
    pub const fn shows(self, collection: Collection) -> bool {
        match self {
            Self::Full => true,
            Self::Minimal | Self::Free => !matches!(collection, Collection::Reviews),
            Self::BadgeReader => {
                matches!(collection, Collection::Facilities | Collection::Users | Collection::Badges)
            }
        }
    }

    /// A document as this view sends it; only for collections that it shows. None of what another version left that
    /// cannot be read here: nobody knows what of it may be shown.
    pub(in crate::store) fn body(self, collection: Collection, body: &str) -> Option<Cow<'_, str>> {
        let mode = match self {
            Self::Full | Self::BadgeReader => return Some(Cow::Borrowed(body)),
            Self::Minimal => PhiMode::Minimal,
            Self::Free => PhiMode::Free,
        };
        match collection {
            Collection::Patients => json(&sent(mode, read(body)?)).ok().map(Cow::Owned),
            Collection::Records => {
                let mut record: RecordDocument = read(body)?;
                record.values.clear();
                record.confirmed.clear();
                record.reason = None;
                // The time as it is written there: documents of before have fewer decimals, and were counted so.
                let Written { recorded_at } = read(body)?;
                let (text, time) = (json(&record).ok()?, json(&record.recorded_at).ok()?);
                Some(Cow::Owned(text.replacen(&time, recorded_at.get(), 1)))
            }
            Collection::Facilities
            | Collection::Users
            | Collection::Badges
            | Collection::Workflows
            | Collection::Reviews => Some(Cow::Borrowed(body)),
        }
    }

    /// A document's part in this view's digest; none where the view does not send it.
    pub(in crate::store) fn element(
        self,
        collection: Collection,
        id: &[u8; 16],
        seq: u64,
        body: &str,
    ) -> Option<Element> {
        let body = self.shows(collection).then(|| self.body(collection, body)).flatten()?;
        Some(Element::of(collection, id, seq, body.as_bytes()))
    }
}

/// The bytes of a record's time.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    recorded_at: &'a RawValue,
}

/// A resident as devices of that mode are sent them: nothing but the fields whose list says so.
fn sent(mode: PhiMode, patient: PatientDocument) -> PatientDocument {
    let name = if mode == PhiMode::Minimal { initials(&patient.name) } else { case_number(&patient) };
    let mut sent = PatientDocument { name, ..PatientDocument::new(patient.id) };
    for field in FIELDS.iter().filter(|field| field.is_sent(mode)) {
        sent.set(field.key, &field.of(&patient));
    }
    PatientDocument { replaced_by: patient.replaced_by, replaces: patient.replaces, ..sent }
}

fn initials(name: &str) -> String {
    let initials = name.split_whitespace().filter_map(|word| word.chars().next());
    initials.flat_map(|letter| letter.to_uppercase().chain(['.'])).collect()
}

fn case_number(patient: &PatientDocument) -> String {
    if patient.mrn.is_empty() { without_number(patient.id) } else { patient.mrn.clone() }
}

/// Two residents who have no number yet must not look the same: the end of an id is random.
fn without_number(id: PatientId) -> String {
    let [.., a, b, c] = *id.as_bytes();
    format!("Case {a:02x}{b:02x}{c:02x}")
}

fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Option<T> {
    serde_json::from_str(body).ok()
}

/// The devices in use that go by their facility's mode.
pub(in crate::store) const BY_MODE: &str = "SELECT id FROM devices
    WHERE facility_id = ?1 AND state <> 'REVOKED' AND phi_mode IS NULL AND device_type <> 'BADGE_READER'";

/// The devices of a facility that go by its mode see the feed otherwise from now on.
pub(in crate::store) fn facility_changed(tx: &Tx<'_>, facility: FacilityId) -> Result<(), StoreError> {
    let devices: Vec<DeviceId> = tx.all(BY_MODE, params![facility])?;
    devices.into_iter().try_for_each(|device| changed(tx, device))
}

/// What a device holds is not what it may see any more: its cursor is refused from now on, so that it
/// makes its mirror anew, and its streams end.
pub(in crate::store) fn changed(tx: &Tx<'_>, device: DeviceId) -> Result<(), StoreError> {
    let sql = "UPDATE devices SET view_changes = view_changes + 1 WHERE id = ?1";
    tx.execute(sql, params![device])?;
    tx.refused(device);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests were counted over these bytes: after an update they are the same ones.
    #[test]
    fn a_record_from_before_times_had_three_decimals_is_shown_in_the_bytes_of_then() {
        for time in ["2026-05-01T14:10:00Z", "2026-05-01T14:10:00.25Z", "2026-05-01T14:10:00.250Z"] {
            let id = "019de3df-fac0-7303-8303-030303030303";
            let head =
                format!(r#"{{"id":"{id}","patient_id":"{id}","workflow":"vitals","schema_version":1,"#);
            let made = format!(r#""recorded_by":"{id}","recorded_at":"{time}","clock_quality":"synced","#);
            let body = format!(r#"{head}{made}"values":{{"pulse":72}}}}"#);
            let shown = View::Minimal.body(Collection::Records, &body).unwrap();
            assert_eq!(shown, format!(r#"{head}{made}"values":{{}}}}"#));
        }
    }
}
