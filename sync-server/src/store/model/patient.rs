//! Patients.

use std::ops::{Deref, DerefMut};

use carepost_protocol::id::{FacilityId, PatientId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::time::Timestamp;
use serde_json::{Map, Value};

use crate::store::row::row;
use crate::store::version::{Version, Versioned};

row! {
    /// A patient: what devices mirror, and where the row belongs.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Patient {
        pub facility_id: FacilityId,
        pub created_at: Timestamp,
        /// The fields, and who took the patient's place; whose place the patient took is not read with it.
        pub document: PatientDocument
            = "id, mrn, name, date_of_birth, room, is_active, replaced_by, fields" by document,
    }
}

/// What a row holds of a document: the fields that have a column of their own, and those that share one.
type Columns =
    (PatientId, String, String, Option<String>, Option<String>, bool, Option<PatientId>, Map<String, Value>);

fn document(columns: Columns) -> PatientDocument {
    let (id, mrn, name, date_of_birth, room, is_active, replaced_by, others) = columns;
    let mut document = PatientDocument {
        mrn,
        name,
        date_of_birth,
        room,
        is_active,
        replaced_by,
        ..PatientDocument::new(id)
    };
    document.set_all(&others);
    document
}

impl Deref for Patient {
    type Target = PatientDocument;
    fn deref(&self) -> &PatientDocument {
        &self.document
    }
}

impl DerefMut for Patient {
    fn deref_mut(&mut self) -> &mut PatientDocument {
        &mut self.document
    }
}

impl Versioned for Patient {
    fn version(&self) -> Version {
        Version::of(&(self.id, self.values(), self.replaced_by))
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

#[derive(Debug, Clone, PartialEq)]
pub struct NewPatient {
    pub facility_id: FacilityId,
    /// The fields, as [`carepost_protocol::patient::read`] gave them.
    pub fields: Map<String, Value>,
}
