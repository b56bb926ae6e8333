//! What became of an entry since its form was opened: who corrects what does not stand any more, on a page that was
//! left open or came back, would put a second correction beside the first.

use std::collections::BTreeSet;

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::RecordId;
use carepost_protocol::role::ReadPatients;

use super::view::{Form, NotSaved, Refused, SessionKey, Since};
use super::ward::{Ward, storage};
use crate::outbox::Progress;

impl Ward {
    /// Refuses a correction of what this device knows to be corrected; one that is saved already is let through.
    pub(super) fn still_stands(&self, on: &SessionKey, form: &Form, token: &str) -> Result<(), NotSaved> {
        if self.since(on, form)?.is_none() || self.outbox.saved_as(token).map_err(storage)?.is_some() {
            return Ok(());
        }
        Err(NotSaved::CorrectedSince)
    }

    /// What was last made of the entry that a form corrects or strikes out.
    pub(super) fn since(&self, on: &SessionKey, form: &Form) -> Result<Option<Since>, Refused> {
        let (Form::Correct(patient, record) | Form::Strike(patient, record)) = form else { return Ok(None) };
        let permit = self.authorized::<ReadPatients>(on).map_err(|(refused, _)| refused)?;
        // The outbox first: what arrives in between is in both.
        let pending = self.outbox.pending(&permit, *patient, 0).map_err(storage)?;
        let known = self.mirror.corrections(&permit, *patient, *record).map_err(storage)?;
        let mut versions: BTreeSet<RecordId> = known.iter().copied().chain([*record]).collect();
        let mut last = None;
        for waiting in pending {
            let corrects = waiting.change.record.is_some_and(|of| versions.contains(&of))
                && waiting.change.kind == ChangeKind::Amend
                && !matches!(waiting.progress, Progress::Rejected(_));
            if corrects && versions.insert(waiting.record) {
                last = Some(waiting);
            }
        }
        if let Some(waiting) = last {
            let change = waiting.change;
            let (by, at) = (self.name_of(change.actor), change.recorded_at);
            return Ok(Some(Since { record: waiting.record, by, at, is_struck: change.entered_in_error }));
        }
        let last =
            known.last().map(|last| self.mirror.record(&permit, *last).map_err(storage)).transpose()?;
        Ok(last.flatten().map(|last| Since {
            record: last.id,
            by: self.name_of(last.recorded_by),
            at: last.recorded_at,
            is_struck: last.entered_in_error,
        }))
    }
}
