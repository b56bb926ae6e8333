//! Corrections since: what became of an entry after its form was opened. Who corrects what does not stand any more, on
//! a page that was left open or came back, would put a second correction beside the first.

use std::collections::BTreeSet;

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::RecordId;
use carepost_protocol::role::{Permit, ReadPatients};

use super::{Reader, storage};
use crate::outbox::Progress;
use crate::workspace::view::{Form, Refused, Since};

impl Reader {
    /// What was last made of the entry that a form corrects or strikes out.
    pub(crate) fn corrected_since(
        &self,
        permit: &Permit<ReadPatients>,
        form: &Form,
    ) -> Result<Option<Since>, Refused> {
        let (Form::Correct(patient, record) | Form::Strike(patient, record)) = form else { return Ok(None) };
        // The outbox first: what arrives in between is in both.
        let pending = self.outbox.pending(permit, *patient, 0).map_err(storage)?;
        let known = self.mirror.corrections(permit, *patient, *record).map_err(storage)?;
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
        let last = known.last().map(|last| self.mirror.record(permit, *last).map_err(storage)).transpose()?;
        Ok(last.flatten().map(|last| Since {
            record: last.id,
            by: self.name_of(last.recorded_by),
            at: last.recorded_at,
            is_struck: last.entered_in_error,
        }))
    }
}
