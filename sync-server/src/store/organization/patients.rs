//! Patients.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{FacilityId, PatientId};
use carepost_protocol::record::{Collection, PatientDocument};
use rusqlite::{Row, params};

use super::super::column::{id_at, json, time_at};
use super::super::publish::put;
use super::super::{NewPatient, Patient, PatientPatch};
use super::{Noted, OrganizationStore, Result, StoreError, Subject, Tx};

macro_rules! patient_columns {
    () => {
        "SELECT id, facility_id, mrn, name, date_of_birth, room, is_active, created_at FROM patients "
    };
}

impl OrganizationStore {
    /// Patients, by name; of one facility or of all that the scope reaches.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn patients(&self, facility: Option<FacilityId>) -> Result<Vec<Patient>> {
        self.read(move |tx| match facility {
            Some(id) => tx.all(
                concat!(patient_columns!(), "WHERE facility_id = ?1 ORDER BY name, mrn"),
                [id.as_bytes()],
                patient_row,
            ),
            None => tx.all(concat!(patient_columns!(), "ORDER BY name, mrn"), [], patient_row),
        })
        .await
    }

    /// One patient.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn patient(&self, id: PatientId) -> Result<Patient> {
        self.read(move |tx| patient(tx, id)).await
    }
}

impl Noted {
    /// Admits a patient.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for the mrn, [`StoreError::NotFound`] for the facility.
    pub async fn create_patient(self, new: NewPatient) -> Result<Patient> {
        self.write(move |tx| {
            super::facilities::facility(tx, new.facility_id)?;
            let now = tx.now();
            let patient = Patient {
                id: PatientId::new(now, tx.random()?),
                facility_id: new.facility_id,
                mrn: new.mrn,
                name: new.name,
                date_of_birth: new.date_of_birth,
                room: new.room,
                is_active: true,
                created_at: now,
            };
            tx.execute(
                "INSERT INTO patients (id, facility_id, mrn, name, date_of_birth, room, is_active, created_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)",
                params![
                    patient.id.as_bytes(),
                    patient.facility_id.as_bytes(),
                    patient.mrn,
                    patient.name,
                    patient.date_of_birth,
                    patient.room,
                    now.as_millis(),
                ],
            )?;
            publish(tx, &patient)?;
            Ok(patient)
        })
        .await
    }

    /// Changes a patient.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`] for the mrn.
    pub async fn update_patient(self, id: PatientId, patch: PatientPatch) -> Result<Patient> {
        self.write(move |tx| {
            let mut changed = patient(tx, id)?;
            changed.mrn = patch.mrn.unwrap_or(changed.mrn);
            changed.name = patch.name.unwrap_or(changed.name);
            changed.date_of_birth = patch.date_of_birth.unwrap_or(changed.date_of_birth);
            changed.room = patch.room.unwrap_or(changed.room);
            changed.is_active = patch.is_active.unwrap_or(changed.is_active);
            tx.execute(
                "UPDATE patients SET mrn = ?2, name = ?3, date_of_birth = ?4, room = ?5, is_active = ?6
                    WHERE id = ?1",
                params![
                    id.as_bytes(),
                    changed.mrn,
                    changed.name,
                    changed.date_of_birth,
                    changed.room,
                    changed.is_active,
                ],
            )?;
            publish(tx, &changed)?;
            Ok(changed)
        })
        .await
    }
}

impl Subject for Patient {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
        event.patient_id = Some(self.id);
        event.facility_id = Some(self.facility_id);
    }
}

fn patient(tx: &Tx<'_>, id: PatientId) -> Result<Patient> {
    tx.first(concat!(patient_columns!(), "WHERE id = ?1"), [id.as_bytes()], patient_row)?
        .ok_or(StoreError::NotFound("patient"))
}

fn publish(tx: &Tx<'_>, patient: &Patient) -> Result<()> {
    let document = PatientDocument {
        id: patient.id,
        mrn: patient.mrn.clone(),
        name: patient.name.clone(),
        date_of_birth: patient.date_of_birth.clone(),
        room: patient.room.clone(),
        is_active: patient.is_active,
    };
    let body = json(&document)?;
    tx.within_facility(patient.facility_id, |tx| {
        put(tx, Collection::Patients, patient.id.as_bytes(), Some(patient.id), Some(&body))
    })
}

fn patient_row(row: &Row<'_>) -> rusqlite::Result<Patient> {
    Ok(Patient {
        id: id_at(row, 0)?,
        facility_id: id_at(row, 1)?,
        mrn: row.get(2)?,
        name: row.get(3)?,
        date_of_birth: row.get(4)?,
        room: row.get(5)?,
        is_active: row.get(6)?,
        created_at: time_at(row, 7)?,
    })
}
