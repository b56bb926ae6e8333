//! Patients.

use std::collections::BTreeSet;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{FacilityId, PatientId, UserId};
use carepost_protocol::merge::{Conflict, Mark, Merged};
use carepost_protocol::record::PatientDocument;
use serde_json::{Map, Value};

use super::{AuditedWrite, OrganizationStore, Result, StoreError, Subject};
use crate::store::engine::{Tx, params};
use crate::store::row::select;
use crate::store::rules::feed_writer::FeedEnd;
use crate::store::rules::patient;
use crate::store::rules::review;
use crate::store::{Anchor, Listed, NewPatient, Paging, Patient};

impl OrganizationStore {
    /// A page of patients: of one facility or of all that the scope reaches, of those who are in care, or who are not,
    /// and of those who are wanted, where that is asked. Each with the place in the feed of the last edit.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for `sort` and `page`.
    pub async fn patients(
        &self,
        (facility, is_active): (Option<FacilityId>, Option<bool>),
        asked: Paging,
        wanted: Option<impl Fn(&Patient) -> bool + Send + 'static>,
    ) -> Result<Listed<(Patient, u64), Anchor>> {
        self.read(move |tx| {
            let of = params![is_active];
            if wanted.is_none() {
                let all = None::<fn(&(Patient, u64)) -> bool>;
                return patient::LIST_WITH_PLACES.page(tx, &asked, of, facility, all);
            }
            // Most of those who are looked through are not on the page.
            let Listed { items, next } = patient::LIST.page(tx, &asked, of, facility, wanted)?;
            let items = items.into_iter().filter_map(|it| patient::find_with_place(tx, it.id).transpose());
            Ok(Listed { items: items.collect::<Result<_>>()?, next })
        })
        .await
    }

    /// Those of these ids whom the scope reaches, as in a list.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn patients_of(&self, ids: BTreeSet<PatientId>) -> Result<Vec<(Patient, u64)>> {
        self.read(move |tx| {
            ids.into_iter().filter_map(|id| patient::find_with_place(tx, id).transpose()).collect()
        })
        .await
    }

    /// Those whose place another took, of one facility or of all that the scope reaches.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replaced(&self, facility: Option<FacilityId>) -> Result<Vec<Patient>> {
        let of =
            select!(Patient, "patients WHERE replaced_by IS NOT NULL AND (?1 IS NULL OR facility_id = ?1)");
        self.read(move |tx| tx.all(of, params![facility])).await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn patient(&self, id: PatientId) -> Result<Patient> {
        self.read(move |tx| find(tx, id)).await
    }
}

impl AuditedWrite {
    /// Admits a patient. One who may be another again is admitted all the same, and a review opened, as when a device
    /// admits one: of whom that one is [another than](Self::another_than) only about a number.
    ///
    /// # Errors
    /// [`StoreError::Admitted`] where the mrn is that of a patient of the scope, [`StoreError::Conflict`] where it is
    /// taken otherwise, [`StoreError::NotFound`] for the facility.
    pub async fn create_patient(self, new: NewPatient) -> Result<Patient> {
        let another_than = self.another_than.clone();
        self.write(move |tx| {
            super::facilities::facility(tx, new.facility_id)?;
            let now = tx.now();
            let mut admitted = Patient {
                facility_id: new.facility_id,
                created_at: now,
                document: PatientDocument::new(PatientId::new(now, tx.random()?)),
            };
            admitted.set_all(&new.fields);
            tx.savepoint(|tx| patient::insert(tx, &admitted, None))
                .or_else(|error| of_whom(tx, &admitted, error))?;
            tx.within_facility(admitted.facility_id, |tx| {
                let mut feed = FeedEnd::open(tx)?;
                let alike = patient::asked_about(tx, &admitted, |id| another_than.contains(&id))?;
                patient::put(tx, &mut feed, &admitted)?;
                if !alike.is_empty() {
                    patient::pair(tx, &mut feed, admitted.id, &alike)?;
                }
                feed.close(tx)
            })?;
            Ok(admitted)
        })
        .await
    }

    /// Sets these fields of a patient, as [`carepost_protocol::patient::read_edit`] gave them. The office's values
    /// stand, and those who had not seen them yet meet them in the merge; what others wrote of the same field since
    /// the patient was [seen](Self::seen_to) is kept in a review beside them. One in care again is a person of their
    /// own again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`]; for the mrn as [`Self::create_patient`].
    pub async fn update_patient(self, id: PatientId, fields: Map<String, Value>) -> Result<Patient> {
        let (by, expected) = (self.event.user_id, self.expected.clone());
        let another_than = self.another_than.clone();
        let base = self.base_seq;
        self.write(move |tx| {
            let before = find(tx, id)?;
            expected.check(&before)?;
            let mut changed = before.clone();
            changed.set_all(&fields);
            let readmits = fields.get("is_active") == Some(&Value::Bool(true));
            let mut others = Vec::new();
            if readmits && before.replaced_by.is_some() {
                others = patient::successors(tx, &before)?;
                patient::part(tx, id)?;
                changed.replaced_by = None;
            }
            if changed.mrn == before.mrn {
                patient::save(tx, &changed)?;
            } else {
                let linked = tx.savepoint(|tx| {
                    patient::take_over_mrn(tx, &changed)?;
                    patient::link(tx, id, None)
                });
                linked.or_else(|error| of_whom(tx, &changed, error))?;
            }
            if readmits {
                // The number is theirs again where it is nobody else's by now.
                patient::unlink(tx, id)?;
            }
            tx.within_facility(changed.facility_id, |tx| {
                publish(tx, (&before, &changed, &another_than), &others, by, base)
            })?;
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

/// Whether an MRN that is taken is that of a patient of the scope, or of one whose place that one took.
fn of_whom(tx: &Tx<'_>, admitted: &Patient, error: StoreError) -> Result<()> {
    if !matches!(error, StoreError::Conflict("mrn")) {
        return Err(error);
    }
    Err(patient::holder(tx, admitted)?.map_or(error, |holder| StoreError::Admitted(holder.id)))
}

pub(super) fn find(tx: &Tx<'_>, id: PatientId) -> Result<Patient> {
    patient::find(tx, id)?.ok_or(StoreError::NotFound("patient"))
}

/// Marks what the office changed as its own, publishes the patient, and the others whose chart that one has left,
/// and brings an open review of the same fields up to date.
fn publish(
    tx: &Tx<'_>,
    (before, changed, another_than): (&Patient, &Patient, &BTreeSet<PatientId>),
    others: &[Patient],
    by: Option<UserId>,
    base: Option<u64>,
) -> Result<()> {
    let mut feed = FeedEnd::open(tx)?;
    let known = patient::fields(tx, before)?;
    let mut now = patient::fields(tx, changed)?;
    let mut merged = Merged::default();
    for (key, field) in &mut now {
        let Some(had) = known.get(key).filter(|had| had.value != field.value) else { continue };
        let seq = feed.seq().saturating_add(1);
        field.mark = Mark { seq, at: tx.now().max(had.mark.at), origin: None, by };
        patient::mark(tx, changed, key, &field.mark)?;
        merged.set.insert(key.clone(), field.clone());
        if base.is_some_and(|base| had.mark.seq > base) && had.mark.by != by {
            let (stands, other) = (field.clone(), had.clone());
            merged.conflicts.push(Conflict { field: key.clone(), stands, other });
        }
    }
    for patient in others.iter().chain([changed]) {
        patient::put(tx, &mut feed, patient)?;
    }
    let alike = patient::newly_asked_about(tx, before, changed, |id| another_than.contains(&id))?;
    if !alike.is_empty() {
        patient::pair(tx, &mut feed, changed.id, &alike)?;
    }
    // What finds a review full is in the audit log, as every change of the office is.
    let _ = review::dispute(tx, &mut feed, changed.id, &merged, &now)?;
    feed.close(tx)
}
