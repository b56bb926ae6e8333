//! Reviews closed on devices.

use carepost_protocol::change::{Change, Verdict};
use carepost_protocol::id::{PatientId, RecordId, ReviewId};
use carepost_protocol::patient::is_no_mrn;
use carepost_protocol::record::{MAX_REPLACED, Resolved, ReviewDocument, ReviewKind};
use carepost_protocol::role::Action;
use carepost_protocol::wire::push::RejectionCode;
use carepost_protocol::workflow::FieldError;
use serde_json::Value;

use super::super::reject;
use super::patients::{breaks, read_edit};
use super::{Accepted, Flags, Judge, Judged, unknown};
use crate::store::Patient;
use crate::store::engine::{Tx, params};
use crate::store::rules::{patient, review};

impl Judge {
    /// Decides about a review: sets the values that were chosen, or says whether two are one person. That closes it,
    /// unless something came to it that its author had not seen: then what was decided stands, and the review stays
    /// open with all of it.
    pub(super) fn resolve(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Judged {
        let mut flags = self.authority(tx, change, Action::ManagePatients)?;
        let record = change.record.ok_or_else(|| unknown("it names no review; look at it again"))?;
        let known = review::find(tx, record.into())?;
        let known = known.ok_or_else(|| unknown("the facility has no such review; sync, then look again"))?;
        // Before the decision itself changes the review.
        let has_seen = known.resolved.is_some() || self.has_seen(tx, change, known.id)?;
        let (verdict, is_decided) = match known.kind {
            ReviewKind::Conflict => self.choose(tx, n, change, &known, &mut flags)?,
            ReviewKind::Duplicate => (Verdict::Applied, self.same_person(tx, change, &known)?),
            ReviewKind::Amendments => (Verdict::Applied, true),
            ReviewKind::Unknown => {
                let detail = "this server does not know that kind of review; update it, then retry";
                return Err(reject(RejectionCode::Unsupported, detail).into());
            }
        };
        let (patient, is_settled) = (known.patient_id, has_seen && is_decided);
        let verdict = if is_settled { verdict } else { Verdict::Merged };
        if is_settled {
            let mut closed = review::find(tx, known.id)?.unwrap_or(known);
            let resolved = Resolved { by: change.actor, at: change.recorded_at };
            closed.resolved = closed.resolved.or(Some(resolved));
            review::put(tx, &mut self.feed, &closed)?;
        }
        Ok(Accepted { verdict, seq: self.feed.seq(), record, patient: Some(patient), flags })
    }

    /// Whether whoever decides about a review saw all of it: nothing came to it since.
    fn has_seen(&self, tx: &Tx<'_>, change: &Change, review: ReviewId) -> Judged<bool> {
        let sql = "SELECT seq FROM documents WHERE collection = 'reviews' AND id = ?1";
        let came = tx.first::<u64>(sql, params![review])?;
        Ok(came.zip(self.seen(change)).is_some_and(|(came, seen)| came <= seen))
    }

    /// Whether what was chosen leaves nothing in dispute.
    fn choose(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
        known: &ReviewDocument,
        flags: &mut Flags,
    ) -> Judged<(Verdict, bool)> {
        if change.fields.is_empty() {
            // What stands is right.
            return Ok((Verdict::Applied, true));
        }
        let found = patient::find(tx, known.patient_id)?;
        let found = found.ok_or_else(|| unknown("the facility has no such resident; look again"))?;
        let mut chosen = change.fields.clone();
        // A number that says that there is none was kept by an earlier version; to choose it is to say so.
        if let Some(mrn) = chosen.get_mut("mrn").filter(|mrn| mrn.as_str().is_some_and(is_no_mrn)) {
            *mrn = Value::String(String::new());
        }
        let fields = read_edit(&chosen, &found, self.today(tx)?, flags)?;
        let edited = self.merge(tx, n, change, found, fields, flags)?;
        Ok((edited.verdict, !edited.is_disputed))
    }

    /// Two who are one person become one; two who are not are linked no longer. Whether that decides it: one number
    /// is one person's, so as long as another of the facility has it somebody has to look. Whoever was replaced is no
    /// other.
    fn same_person(&mut self, tx: &Tx<'_>, change: &Change, known: &ReviewDocument) -> Judged<bool> {
        match change.fields.get("same_person") {
            Some(Value::Bool(true)) => self.join(tx, change, known).map(|()| true),
            Some(Value::Bool(false)) => {
                let asked = present(tx, known.patient_id)?;
                let is_decided = !patient::is_anothers_number(tx, &asked)?;
                if is_decided {
                    patient::unlink(tx, known.patient_id)?;
                }
                Ok(is_decided)
            }
            _ => {
                let detail = "say true when they are one person, false when they are two".to_owned();
                Err(breaks(vec![FieldError { field: "same_person".to_owned(), detail }]))
            }
        }
    }

    /// Of two who are one person, the one in care stays, or the one whom whoever decided chose; by whoever did not
    /// say, the one who was there first.
    fn join(&mut self, tx: &Tx<'_>, change: &Change, known: &ReviewDocument) -> Judged<()> {
        let asked: Vec<RecordId> = [known.record].into_iter().chain(known.others.iter().copied()).collect();
        let not_asked = || unknown("it does not name two whom the review asks about; look again");
        let named = |field: &str| -> Judged<Option<RecordId>> {
            let Some(value) = change.fields.get(field) else { return Ok(None) };
            let id: Option<RecordId> = value.as_str().and_then(|id| id.parse().ok());
            Ok(Some(id.filter(|id| asked.contains(id)).ok_or_else(not_asked)?))
        };
        let goes = named("replaced")?.unwrap_or(known.record);
        let stays = named("replaced_by")?.or_else(|| known.others.first().copied());
        let stays = stays.filter(|stays| *stays != goes && [goes, *stays].contains(&known.record));
        let stays = stays.ok_or_else(not_asked)?;
        let (goes, stays) = (present(tx, goes.into())?, present(tx, stays.into())?);
        if goes.id == stays.id {
            // Somebody said so before.
            return Ok(());
        }
        let (mut goes, stays) =
            if goes.is_active && !stays.is_active { (stays, goes) } else { (goes, stays) };
        let both = patient::replaced(tx, goes.id)?.len() + patient::replaced(tx, stays.id)?.len();
        if both >= MAX_REPLACED {
            let detail = format!("one person was admitted more than {MAX_REPLACED} times; ask the office");
            return Err(reject(RejectionCode::Unsupported, detail).into());
        }
        patient::replace(tx, goes.id, stays.id)?;
        (goes.replaced_by, goes.is_active) = (Some(stays.id), false);
        for patient in [goes, stays] {
            patient::put(tx, &mut self.feed, &patient)?;
        }
        Ok(())
    }
}

/// A resident, or the last who took the resident's place.
fn present(tx: &Tx<'_>, id: PatientId) -> Judged<Patient> {
    patient::present(tx, id)?.ok_or_else(|| unknown("the facility has no such resident; look again"))
}
