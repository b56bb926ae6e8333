//! Reviews closed on devices.

use carepost_protocol::change::{Change, Verdict};
use carepost_protocol::record::{Resolved, ReviewDocument, ReviewKind};
use carepost_protocol::role::Action;
use carepost_protocol::wire::push::RejectionCode;
use carepost_protocol::workflow::FieldError;
use serde_json::Value;

use super::super::super::engine::Tx;
use super::super::super::{StoreError, patient, review};
use super::super::reject;
use super::patients::{breaks, read_edit};
use super::{Flags, Judge, Stands, Weighed, unknown};

impl Judge {
    /// Closes a review: sets the values that were chosen, or says whether two are one person. When
    /// somebody has meanwhile saved what the chooser had not seen, it stays open with all of it.
    pub(super) fn resolve(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Weighed {
        let mut flags = self.authority(tx, change, Action::ManagePatients)?;
        let record = change.record.ok_or_else(|| unknown("it names no review; look at it again"))?;
        let known = review::find(tx, record.into())?;
        let known = known.ok_or_else(|| unknown("the facility has no such review; sync, then look again"))?;
        let (verdict, is_settled) = match known.kind {
            ReviewKind::Conflict => self.choose(tx, n, change, &known, &mut flags)?,
            ReviewKind::Duplicate => same_person(tx, change, &known).map(|()| (Verdict::Applied, true))?,
            ReviewKind::Amendments => (Verdict::Applied, true),
            ReviewKind::Unknown => {
                let detail = "this server does not know that kind of review; update it, then retry";
                return Err(reject(RejectionCode::Unsupported, detail).into());
            }
        };
        let patient = known.patient_id;
        if is_settled {
            let mut closed = review::find(tx, known.id)?.unwrap_or(known);
            let resolved = Resolved { by: change.actor, at: change.recorded_at };
            closed.resolved = closed.resolved.or(Some(resolved));
            review::put(tx, &mut self.feed, &closed)?;
        }
        Ok(Stands { verdict, seq: self.feed.seq(), record, patient: Some(patient), flags })
    }

    /// Whether what was chosen leaves nothing in dispute.
    fn choose(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
        known: &ReviewDocument,
        flags: &mut Flags,
    ) -> Weighed<(Verdict, bool)> {
        if change.fields.is_empty() {
            // What stands is right.
            return Ok((Verdict::Applied, true));
        }
        let found = patient::find(tx, known.patient_id)?;
        let found = found.ok_or_else(|| unknown("the facility has no such resident; look again"))?;
        let fields = read_edit(&change.fields, &found, self.received, flags)?;
        let edited = self.merge(tx, n, change, found, fields, flags)?;
        Ok((edited.verdict, !edited.is_disputed))
    }
}

/// Two who are not one person are linked no longer; one MRN for both is left to the office.
fn same_person(tx: &Tx<'_>, change: &Change, known: &ReviewDocument) -> Weighed<()> {
    match change.fields.get("same_person") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => {
            let id = known.patient_id;
            match tx.savepoint(|tx| patient::link(tx, id, None)) {
                Err(StoreError::Conflict("mrn")) => patient::link(tx, id, Some(id))?,
                done => done?,
            }
        }
        _ => {
            let detail = "say true when they are one person, false when they are two".to_owned();
            return Err(breaks(vec![FieldError { field: "same_person".to_owned(), detail }]));
        }
    }
    Ok(())
}
