//! Charting: the form, its draft, and the moment its answers become an entry.

use std::time::Duration;

use carepost_agent_core::session::SessionEvent;
use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::id::{PatientId, RecordId, SessionId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Chart, Permit, ReadPatients};
use carepost_protocol::workflow::Workflow;
use serde_json::{Map, Value};

use super::lock;
use super::noted::Page;
use super::view::{FormPage, NotSaved, Refused, SessionKey};
use super::ward::{Ward, storage};
use crate::outbox::{Entry, OutboxError};

/// How long after a lock what was typed on the page may still be kept as a draft.
const LATE_DRAFT: Duration = Duration::from_secs(60);

/// The form that was shown last. What was typed into it may still be kept as a draft for a moment after
/// its session has left the screen, for the user it was shown to.
#[derive(Debug)]
pub(super) struct OpenForm {
    session: SessionId,
    user: UserId,
    patient: PatientId,
    workflow: String,
    /// When the screen locked over it, first.
    locked: Option<Duration>,
}

impl OpenForm {
    fn is(&self, on: &SessionKey, patient: PatientId, workflow: &str) -> bool {
        on.names(self.session) && self.patient == patient && self.workflow == workflow
    }
}

impl Ward {
    pub(super) fn form(&self, on: &SessionKey, id: PatientId, key: &str) -> Result<FormPage, Refused> {
        let page = Page::form(id);
        let (permit, chart) = self.may_chart(on, &page)?;
        let resident = self.find(&permit, id, &page)?;
        let workflow = self.workflow(key)?;
        let Actor { user, session, .. } = *chart.actor();
        let draft = self.outbox.draft(user, id, key).map_err(storage)?;
        let from_draft = draft.is_some();
        let answers = draft.unwrap_or_else(|| {
            let defaults = workflow.fields.iter().filter_map(|field| {
                field.default.as_ref().map(|default| (field.key.clone(), default.clone()))
            });
            defaults.collect()
        });
        let shown = OpenForm { session, user, patient: id, workflow: key.to_owned(), locked: None };
        *lock(&self.form) = Some(shown);
        if !self.is_open(on) {
            // The screen locked before the form was noted, so nobody will say so any more.
            self.form_locked();
        }
        let token = hex(&self.clock.random::<16>());
        self.note(permit.actor(), &page, true);
        Ok(FormPage { resident, workflow, answers, from_draft, token })
    }

    pub(super) fn save(
        &self,
        on: &SessionKey,
        id: PatientId,
        key: &str,
        token: &str,
        answers: &[(String, String)],
    ) -> Result<(), NotSaved> {
        let page = Page::entry(id);
        let (read, permit) = match self.may_chart(on, &page) {
            Ok(permits) => permits,
            Err(Refused::Locked) => {
                // The screen locked under her hands: what she typed waits for her as a draft.
                self.keep_draft(on, id, key, answers)?;
                return Err(Refused::Locked.into());
            }
            Err(refused) => return Err(refused.into()),
        };
        self.find(&read, id, &page)?;
        let workflow = self.workflow(key)?;
        let typed = answers.iter().map(|(key, text)| (key.as_str(), text.as_str()));
        let fields = workflow.parse_form(typed).map_err(NotSaved::Answers)?;
        let actor = *permit.actor();
        let change = self.change(&actor, id, workflow, fields);
        let waiting = self.take_waiting();
        let earlier = self.to_write(&waiting);
        let entry = Entry { change: &change, token };
        let audit = |record: RecordId| {
            let mut made = self.access(&actor, &page, true);
            made.resource_id = Some(record.to_string());
            earlier.iter().cloned().chain([made]).collect()
        };
        match self.with_room(|| self.outbox.append(&permit, entry, audit)) {
            Ok(_) => {
                self.entry_worked();
                self.session_on(SessionEvent::Touched);
                lock(&self.form).take_if(|form| form.is(on, id, key));
                self.saved.notify_one();
                Ok(())
            }
            Err(
                error @ (OutboxError::SavedDifferently { .. }
                | OutboxError::NotAToken
                | OutboxError::TooLarge { .. }
                | OutboxError::NotRefused { .. }
                | OutboxError::NotItsActor
                | OutboxError::NotPermitted),
            ) => {
                self.put_back(waiting, Vec::new());
                Err(NotSaved::NotTaken(error.to_string()))
            }
            Err(
                error @ (OutboxError::Full
                | OutboxError::Sqlite(_)
                | OutboxError::Open(_)
                | OutboxError::OtherDevice { .. }
                | OutboxError::Receipt(_)
                | OutboxError::NotUnderstood(_)
                | OutboxError::Key(_)
                | OutboxError::Random),
            ) => {
                // That it failed is written down once the disk takes something, and shows that it does.
                let failed = self.access(&actor, &page, false);
                self.put_back(waiting, vec![failed]);
                let bytes = serde_json::to_vec(&change).map_or(0, |payload| payload.len());
                self.entry_failed(bytes, &error);
                Err(NotSaved::Storage(error.to_string()))
            }
        }
    }

    pub(super) fn keep_draft(
        &self,
        on: &SessionKey,
        id: PatientId,
        key: &str,
        answers: &[(String, String)],
    ) -> Result<(), Refused> {
        let user = self.typist(on, id, key)?;
        // Only what the form asks is kept, and one answer to each question, so that nothing grows
        // without bound. As in a save, the last answer counts.
        let answer = |field: &str| answers.iter().rfind(|(name, _)| name == field).cloned();
        let asked: Vec<(String, String)> =
            self.workflow(key)?.fields.iter().filter_map(|field| answer(&field.key)).collect();
        self.outbox.put_draft(user, id, key, &asked, self.clock.now()).map_err(|error| {
            let too_long = matches!(error, OutboxError::TooLarge { .. });
            if too_long { Refused::TooLong } else { storage(error) }
        })
    }

    /// The screen has locked, or its session has ended.
    pub(super) fn form_locked(&self) {
        if let Some(form) = lock(&self.form).as_mut() {
            form.locked.get_or_insert(self.clock.monotonic());
        }
    }

    fn may_chart(
        &self,
        on: &SessionKey,
        page: &Page,
    ) -> Result<(Permit<ReadPatients>, Permit<Chart>), Refused> {
        Ok((self.permit::<ReadPatients>(on, page)?, self.permit::<Chart>(on, page)?))
    }

    /// Who types into a form: whoever's session the page was made for. While that is open it may be any
    /// form about somebody who is here; afterwards only the one that was shown.
    fn typist(&self, on: &SessionKey, id: PatientId, key: &str) -> Result<UserId, Refused> {
        let permits =
            self.authorized::<Chart>(on).and_then(|it| Ok((it, self.authorized::<ReadPatients>(on)?)));
        match permits {
            Ok((chart, read)) => {
                self.mirror.resident(&read, id).map_err(storage)?.ok_or(Refused::NoSuchResident)?;
                if let Some(form) = lock(&self.form).as_mut().filter(|form| form.is(on, id, key)) {
                    // The session was resumed, and the page is in use again.
                    form.locked = None;
                }
                Ok(chart.actor().user)
            }
            Err((Refused::Locked, _)) => self.late_typist(on, id, key).ok_or(Refused::Locked),
            Err((refused, _)) => Err(refused),
        }
    }

    /// To whom the form was shown, if its session left the screen only a moment ago; whoever is signed
    /// in now.
    fn late_typist(&self, on: &SessionKey, id: PatientId, key: &str) -> Option<UserId> {
        let form = lock(&self.form);
        let form = form.as_ref().filter(|form| form.is(on, id, key))?;
        // The lock may be due and not yet have happened.
        let now = self.clock.monotonic();
        let late = now.saturating_sub(form.locked.unwrap_or(now));
        (late < LATE_DRAFT).then_some(form.user)
    }

    fn change(&self, actor: &Actor, id: PatientId, workflow: Workflow, fields: Map<String, Value>) -> Change {
        let (recorded_at, clock_quality) = self.clock.stamp();
        Change {
            actor: actor.user,
            session: actor.session,
            assignment: self.grant.assignment_id,
            kind: ChangeKind::Create,
            collection: Collection::Records,
            record: None,
            base_seq: None,
            patient: Some(id),
            workflow: Some(workflow.key),
            schema_version: Some(workflow.version),
            fields,
            recorded_at,
            clock_quality,
            supersedes: None,
        }
    }
}

#[cfg(test)]
impl Ward {
    /// As if the screen had locked over the form that much earlier.
    pub(crate) fn form_locked_earlier(&self, by: Duration) {
        if let Some(locked) = lock(&self.form).as_mut().and_then(|form| form.locked.as_mut()) {
            *locked = locked.saturating_sub(by);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
