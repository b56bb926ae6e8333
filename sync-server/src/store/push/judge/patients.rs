//! Residents: admitted and edited on devices.

use carepost_protocol::change::{Change, Origin, Verdict};
use carepost_protocol::id::PatientId;
use carepost_protocol::merge::{Edit, Mark, counted_at, merge};
use carepost_protocol::record::{Collection, MAX_COUNTED, ReviewKind};
use carepost_protocol::role::Action;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::{Rejection, RejectionCode};
use carepost_protocol::workflow::FieldError;
use rusqlite::{Row, params};
use serde_json::{Map, Value};

use super::super::super::column::{count, id_at, time_at};
use super::super::super::engine::Tx;
use super::super::super::review::{self, About};
use super::super::super::{Patient, StoreError, patient};
use super::super::Result;
use super::{Flags, Judge, Stands, Weighed, unknown};

/// What an edit came to.
pub(super) struct Edited {
    pub(super) seq: u64,
    pub(super) verdict: Verdict,
    /// Whether it met values that its author had not seen.
    pub(super) is_disputed: bool,
}

impl Judge {
    /// A new resident. One who may be another resident again is admitted all the same.
    pub(super) fn admit(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Weighed {
        let mut flags = self.authority(tx, change, Action::ManagePatients)?;
        let fields = read(&change.fields, &mut flags)?;
        if !fields.contains_key("name") {
            let detail = "give a name of 1 to 200 characters".to_owned();
            return Err(breaks(vec![FieldError { field: "name".to_owned(), detail }]));
        }
        let record = change
            .document(self.place.incarnation, n)
            .ok_or_else(|| unknown("it does not name the resident it takes the place of"))?;
        let mut admitted = Patient {
            id: record.into(),
            facility_id: tx.facility_scope()?.facility(),
            mrn: String::new(),
            name: String::new(),
            date_of_birth: None,
            room: None,
            is_active: true,
            created_at: self.received,
        };
        for (field, value) in &fields {
            patient::set(&mut admitted, field, value);
        }
        let alike = alike(tx, &admitted)?;
        let insert = |tx: &Tx<'_>, of| tx.savepoint(|tx| patient::insert(tx, &admitted, of));
        match insert(tx, alike.first().copied()) {
            Err(StoreError::Conflict("mrn")) => {
                // Somebody's in another facility: whose is nothing that this one may learn.
                flags.raise(true, "mrn_taken");
                insert(tx, Some(admitted.id))?;
            }
            done => done?,
        }
        let seq = patient::put(tx, &mut self.feed, &admitted)?;
        let verdict = self.pair(tx, admitted.id, &alike)?;
        Ok(Stands { verdict, seq, record, patient: Some(admitted.id), flags })
    }

    /// Sets fields of a resident.
    pub(super) fn edit(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Weighed {
        let mut flags = self.authority(tx, change, Action::ManagePatients)?;
        let record = change.record.ok_or_else(|| unknown("it names no resident; enter it anew"))?;
        let Some(found) = patient::find(tx, record.into())? else {
            let detail = "the facility has no such resident; enter it anew for the right one";
            return Err(self.missing(tx, record, detail)?);
        };
        let fields = read(&change.fields, &mut flags)?;
        let Edited { seq, verdict, .. } = self.merge(tx, n, change, found, fields, &mut flags)?;
        Ok(Stands { verdict, seq, record, patient: Some(record.into()), flags })
    }

    /// Merges fields that were read into a resident, and keeps what is in dispute.
    pub(super) fn merge(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
        mut edited: Patient,
        mut fields: Map<String, Value>,
        flags: &mut Flags,
    ) -> Weighed<Edited> {
        let mut document = patient::fields(tx, &edited)?;
        let chain = self.lives(tx)?.to_vec();
        // One that is judged again does not undo what its own device has set since.
        fields.retain(|key, _| {
            let origin = document.get(key).and_then(|field| field.mark.origin);
            !origin.is_some_and(|origin| origin.device == self.place.device && origin.n > n)
        });
        let base_seq = self.seen(change).unwrap_or(0);
        let base = self.version_came_at(tx, &edited, base_seq)?;
        let mark = Mark {
            seq: self.feed.seq().saturating_add(1),
            at: counted_at(change.recorded_at, change.clock_quality, base, self.received),
            origin: Some(Origin { device: self.place.device, incarnation: self.place.incarnation, n }),
            by: Some(change.actor),
        };
        let merged = merge(&document, &Edit { fields: &fields, base_seq, mark, chain: &chain });
        let had = edited.mrn.clone();
        for (key, field) in &merged.set {
            patient::set(&mut edited, key, &field.value);
            patient::mark(tx, edited.id, key, &field.mark)?;
            document.insert(key.clone(), field.clone());
        }
        let alike = if edited.mrn == had {
            patient::save(tx, &edited)?;
            Vec::new()
        } else {
            renumber(tx, &edited, flags)?
        };
        let seq = patient::put(tx, &mut self.feed, &edited)?;
        let is_full = review::dispute(tx, &mut self.feed, edited.id, &merged, &document)?;
        flags.raise(is_full, "review_full");
        let paired = self.pair(tx, edited.id, &alike)?;
        let is_disputed = !merged.conflicts.is_empty();
        let verdict = if is_disputed { Verdict::Merged } else { paired };
        Ok(Edited { seq, verdict, is_disputed })
    }

    /// When the version that an edit was made against came to the server: a function of what its author
    /// had seen, and not of what came since.
    fn version_came_at(&self, tx: &Tx<'_>, edited: &Patient, seq: u64) -> Result<Timestamp> {
        let came = tx.first(CAME_AT, params![edited.id.as_bytes(), count(seq)], |row| time_at(row, 0))?;
        Ok(came.unwrap_or(edited.created_at))
    }

    fn pair(&mut self, tx: &Tx<'_>, id: PatientId, alike: &[PatientId]) -> Result<Verdict> {
        if alike.is_empty() {
            return Ok(Verdict::Applied);
        }
        let about =
            About { kind: ReviewKind::Duplicate, collection: Collection::Patients, record: id.into() };
        let others: Vec<_> = alike.iter().map(|other| (*other).into()).collect();
        review::gather(tx, &mut self.feed, about, id, &others)?;
        Ok(Verdict::Merged)
    }
}

/// When the last change of a resident came that is in the feed by a place of it.
pub(super) const CAME_AT: &str = "SELECT received_at FROM changes
    WHERE record_id = ?1 AND collection = 'patients' AND seq <= ?2 ORDER BY seq DESC LIMIT 1";

/// The fields that this build knows; others are kept in the payload alone.
pub(super) fn read(given: &Map<String, Value>, flags: &mut Flags) -> Weighed<Map<String, Value>> {
    let (fields, others) = patient::read(given).map_err(breaks)?;
    flags.raise(others, "unknown_fields");
    Ok(fields)
}

pub(super) fn breaks(errors: Vec<FieldError>) -> super::Fault {
    let detail = "a value breaks a rule; correct the fields named and enter it anew".to_owned();
    Rejection { code: RejectionCode::BreaksSchema, detail, errors }.into()
}

/// Saves a resident whose MRN changed. Gives the others of the facility who have it.
fn renumber(tx: &Tx<'_>, edited: &Patient, flags: &mut Flags) -> Result<Vec<PatientId>> {
    let alike = in_order(of_mrn(tx, edited)?);
    let save = |tx: &Tx<'_>, of| {
        tx.savepoint(|tx| {
            // Linked to itself between the two: nothing is held against the old number's holder then.
            patient::link(tx, edited.id, Some(edited.id))?;
            patient::save(tx, edited)?;
            patient::link(tx, edited.id, of)
        })
    };
    match save(tx, alike.first().copied()) {
        Err(StoreError::Conflict("mrn")) => {
            flags.raise(true, "mrn_taken");
            save(tx, Some(edited.id))?;
        }
        done => done?,
    }
    Ok(alike)
}

/// Those who have a resident's MRN, each with when they were admitted: the first [`MAX_COUNTED`].
pub(super) const OF_MRN: &str = "SELECT created_at, id FROM patients
    WHERE facility_id = ?1 AND mrn = ?2 AND mrn <> '' AND id <> ?3 ORDER BY created_at, id LIMIT ?4";

/// Those of a resident's name, where the days of birth do not contradict each other. The first
/// [`MAX_COUNTED`] namesakes are looked at, so that the look-up costs no more however many there are.
pub(super) const OF_NAME: &str = "SELECT created_at, id FROM
        (SELECT created_at, id, date_of_birth FROM patients
            WHERE facility_id = ?1 AND name = ?2 COLLATE NOCASE ORDER BY created_at, id LIMIT ?4)
    WHERE id <> ?3 AND coalesce(date_of_birth, ?5, '') = coalesce(?5, date_of_birth, '')";

type Admitted = (Timestamp, PatientId);

/// Residents of the facility who may be the same person: by MRN, or by name; whoever was there first leads.
fn alike(tx: &Tx<'_>, admitted: &Patient) -> Result<Vec<PatientId>> {
    let mut found = of_mrn(tx, admitted)?;
    let (facility, id) = (admitted.facility_id.as_bytes(), admitted.id.as_bytes());
    let key = params![facility, admitted.name, id, count(MAX_COUNTED), admitted.date_of_birth];
    found.extend(tx.all(OF_NAME, key, admitted_row)?);
    Ok(in_order(found))
}

fn of_mrn(tx: &Tx<'_>, of: &Patient) -> Result<Vec<Admitted>> {
    let key = params![of.facility_id.as_bytes(), of.mrn, of.id.as_bytes(), count(MAX_COUNTED)];
    tx.all(OF_MRN, key, admitted_row)
}

fn admitted_row(row: &Row<'_>) -> rusqlite::Result<Admitted> {
    Ok((time_at(row, 0)?, id_at(row, 1)?))
}

fn in_order(mut found: Vec<Admitted>) -> Vec<PatientId> {
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, id)| id).collect()
}
