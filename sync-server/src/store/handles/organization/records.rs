//! The office's corrections: what it strikes out of a chart, as on a kiosk, by a record of its own, beside what it
//! strikes out.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{FacilityId, PatientId, RecordId};
use carepost_protocol::record::{Collection, RecordDocument};
use carepost_protocol::role::{Actor, ManagePatients, Permit};
use carepost_protocol::time::ClockQuality;
use serde_json::Map;

use super::{AuditedWrite, Result, StoreError, Subject, Tx};
use crate::store::column::json;
use crate::store::engine::params;
use crate::store::rules::feed_writer::FeedEnd;
use crate::store::rules::{archive, chart, patient as patients};

/// What strikes out another record, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Struck {
    pub record: RecordDocument,
    facility: FacilityId,
}

impl AuditedWrite {
    /// Strikes out what was charted in error, for a reason. It stays, and a correction of what strikes it out puts
    /// it back. Who may correct others' entries is the form's to say, as on a kiosk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotTheirs`]; [`StoreError::Invalid`] for what was corrected or
    /// struck out since, and for what itself strikes out.
    pub async fn strike_record(
        self,
        permit: &Permit<ManagePatients>,
        patient: PatientId,
        record: RecordId,
        reason: String,
    ) -> Result<Struck> {
        let actor = *permit.actor();
        self.write(move |tx| {
            let facility = super::patients::find(tx, patient)?.facility_id;
            let record = tx.within_facility(facility, |tx| strike(tx, &actor, patient, record, reason))?;
            Ok(Struck { record, facility })
        })
        .await
    }
}

impl Subject for Struck {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.record.id.to_string());
        event.patient_id = Some(self.record.patient_id);
        event.facility_id = Some(self.facility);
        let strikes = self.record.amends.map(|id| ("strikes_out".to_owned(), id.to_string().into()));
        event.details.extend(strikes);
    }
}

fn strike(
    tx: &Tx<'_>,
    actor: &Actor,
    patient: PatientId,
    id: RecordId,
    reason: String,
) -> Result<RecordDocument> {
    let invalid = |detail: &str| StoreError::Invalid { field: "record_id", detail: detail.to_owned() };
    let of_hers = patients::replaced(tx, patient)?;
    let is_hers =
        |record: &RecordDocument| [patient].iter().chain(&of_hers).any(|of| *of == record.patient_id);
    let found = chart::find(tx, id)?.filter(is_hers);
    let struck = found.ok_or(StoreError::NotFound("record"))?;
    if !lets_correct(tx, &struck, actor)? {
        return Err(StoreError::NotTheirs);
    }
    if struck.entered_in_error {
        return Err(invalid("it strikes out another: a correction of it at a kiosk puts that back"));
    }
    if chart::struck_by(tx, id)?.is_some() {
        return Err(invalid("it is struck out already"));
    }
    if !chart::corrections(tx, id, 1)?.is_empty() {
        return Err(invalid("it was corrected since: strike out the correction, which is what counts"));
    }
    let mut feed = FeedEnd::open(tx)?;
    let patient = struck.patient_id;
    archive::bring_back(tx, &mut feed, id, patient)?;
    let record = strikes(tx, actor, struck, reason)?;
    feed.add(tx, Collection::Records, record.id.as_bytes(), Some(patient), Some(&json(&record)?))?;
    feed.close(tx)?;
    Ok(record)
}

/// What strikes out a record, as the office's word: it has yet to be put where records are.
pub(super) fn strikes(
    tx: &Tx<'_>,
    actor: &Actor,
    struck: RecordDocument,
    reason: String,
) -> Result<RecordDocument> {
    let now = tx.now();
    let record = RecordDocument {
        id: RecordId::new(now, tx.random()?),
        recorded_by: actor.user,
        recorded_at: now,
        clock_quality: ClockQuality::Synced,
        values: Map::new(),
        confirmed: Vec::new(),
        reason: Some(reason),
        entered_in_error: true,
        amends: Some(struck.id),
        ..struck
    };
    let sql = "INSERT INTO office_corrections (target_id, record_id) VALUES (?1, ?2)";
    tx.execute(sql, params![struck.id, record.id])?;
    Ok(record)
}

fn lets_correct(tx: &Tx<'_>, record: &RecordDocument, actor: &Actor) -> Result<bool> {
    let form = super::workflows::latest(tx, &record.workflow)?;
    Ok(form.is_none_or(|form| form.lets_correct(actor.role, record.recorded_by == actor.user)))
}
