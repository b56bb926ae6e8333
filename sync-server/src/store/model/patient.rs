//! Patients.

use carepost_protocol::id::{FacilityId, PatientId};
use carepost_protocol::time::Timestamp;
use serde_json::{Map, Value};

use crate::store::row::row;

row! {
    /// A patient.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Patient {
        /// The patient.
        pub id: PatientId,
        /// The facility.
        pub facility_id: FacilityId,
        /// The medical record number, unique in the organization.
        pub mrn: String,
        /// The full name.
        pub name: String,
        /// The day of birth, `YYYY-MM-DD`.
        pub date_of_birth: Option<String>,
        /// The room.
        pub room: Option<String>,
        /// Whether the patient is in care now.
        pub is_active: bool,
        /// The patient who is the same person and took this one's place.
        pub replaced_by: Option<PatientId>,
        /// When the row was created.
        pub created_at: Timestamp,
    }
}

impl Patient {
    /// What can be edited, by field, as it is stored.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        let values = [
            ("name", Value::from(self.name.as_str())),
            ("mrn", Value::from(self.mrn.as_str())),
            ("date_of_birth", Value::from(self.date_of_birth.as_deref())),
            ("room", Value::from(self.room.as_deref())),
            ("is_active", Value::from(self.is_active)),
        ];
        values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// Other patients who are, or may be, the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Those whose place this one took.
    pub replaces: Vec<PatientId>,
    /// Those whom an open review asks about.
    pub may_be: Vec<Patient>,
}

/// A new patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPatient {
    /// The facility.
    pub facility_id: FacilityId,
    /// The medical record number.
    pub mrn: String,
    /// The full name.
    pub name: String,
    /// The day of birth, `YYYY-MM-DD`.
    pub date_of_birth: Option<String>,
    /// The room.
    pub room: Option<String>,
}

/// What changes of a patient; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatientPatch {
    /// The medical record number.
    pub mrn: Option<String>,
    /// The full name.
    pub name: Option<String>,
    /// The day of birth; `Some(None)` removes it.
    pub date_of_birth: Option<Option<String>>,
    /// The room; `Some(None)` removes it.
    pub room: Option<Option<String>>,
    /// Whether the patient is in care now.
    pub is_active: Option<bool>,
}
