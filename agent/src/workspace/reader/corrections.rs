//! Corrections before and since: what a version corrects, and what became of it after its form was opened. Who corrects
//! what does not stand any more, on a page that was left open or came back, would put a second correction beside the
//! first.

use std::collections::BTreeSet;

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::RecordId;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;

use super::{Reader, storage};
use crate::outbox::{Pending, Progress};
use crate::workspace::view::{Form, Refused, Since};

/// How far the first version of an entry is looked for behind one that is shown alone.
const LOOKED_BACK: usize = 50;

impl Reader {
    /// Who charted the first version of the entry that a version corrects, by name, and when, where that is here.
    pub(super) fn charted_first(
        &self,
        permit: &Permit<ReadPatients>,
        pending: &[Pending],
        amends: Option<RecordId>,
    ) -> Result<Option<(String, Timestamp)>, Refused> {
        let (mut first, mut next) = (None, amends);
        for _ in 0..LOOKED_BACK {
            let Some(id) = next else { break };
            let known = self.mirror.record(permit, id).map_err(storage)?.or_else(|| self.older_record(id));
            (first, next) = match (known, pending.iter().find(|waiting| waiting.record == id)) {
                (Some(known), _) => (Some((known.recorded_by, known.recorded_at)), known.amends),
                (None, Some(Pending { change, .. })) => {
                    let amends = change.record.filter(|_| change.kind == ChangeKind::Amend);
                    (Some((change.actor, change.recorded_at)), amends)
                }
                (None, None) => return Ok(None),
            };
        }
        let first = first.filter(|_| next.is_none());
        Ok(first.map(|(author, at)| (self.name_of(author), at)))
    }

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
