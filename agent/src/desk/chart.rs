//! Charting: the form, its draft, and the moment its answers become an entry.

use std::time::Duration;

use carepost_agent_core::session::SessionEvent;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{RecordId, SessionId, UserId};
use carepost_protocol::workflow::{Field, Workflow};

use super::lock;
use super::noted::Page;
use super::sheet::Writer;
use super::view::{Form, FormPage, Kept, NotSaved, Refused, SEEN, SessionKey, UNITS};
use super::ward::{Ward, storage};
use crate::outbox::{Entry, OutboxError, Saved};

/// How long after a lock what was typed on the page may still be kept as a draft.
const LATE_DRAFT: Duration = Duration::from_secs(60);

/// The form that was shown last. What was typed into it may still be kept as a draft for a moment after
/// its session has left the screen, for the user it was shown to.
#[derive(Debug)]
pub(super) struct OpenForm {
    session: SessionId,
    user: UserId,
    form: Form,
    asks: Vec<String>,
    /// When the screen locked over it, first.
    locked: Option<Duration>,
}

impl OpenForm {
    fn is(&self, on: &SessionKey, form: &Form) -> bool {
        on.names(self.session) && self.form == *form
    }
}

impl Ward {
    pub(super) fn form(&self, on: &SessionKey, form: &Form) -> Result<FormPage, Refused> {
        let page = Page::form(form);
        let sheet = self.sheet(on, form, Some(&page))?;
        let actor = *sheet.writer.actor();
        let of = form.draft();
        let draft = self.outbox.draft(actor.user, of.patient(), &of.name()).map_err(storage)?;
        let from_draft = draft.is_some();
        let shown = OpenForm {
            session: actor.session,
            user: actor.user,
            form: form.clone(),
            asks: asks(&sheet.workflow),
            locked: None,
        };
        *lock(&self.form) = Some(shown);
        if !self.is_open(on) {
            // The screen locked before the form was noted, so nobody will say so any more.
            self.form_locked();
        }
        let token = hex(&self.clock.random::<16>());
        self.note(&actor, &page.about(sheet.resident.as_ref()), true);
        Ok(FormPage {
            form: form.clone(),
            resident: sheet.resident,
            workflow: sheet.workflow,
            answers: draft.unwrap_or(sheet.answers),
            from_draft,
            token,
            refusal: sheet.refusal,
            faults: sheet.faults,
            author: sheet.author,
        })
    }

    pub(super) fn save(
        &self,
        on: &SessionKey,
        form: &Form,
        token: &str,
        answers: &[(String, String)],
    ) -> Result<Kept, NotSaved> {
        let page = Page::entry(form);
        let sheet = match self.sheet(on, form, Some(&page)) {
            Ok(sheet) => sheet,
            Err(Refused::Locked) => {
                // The screen locked under her hands: what she typed waits for her as a draft.
                self.keep_draft(on, form, answers)?;
                return Err(Refused::Locked.into());
            }
            Err(refused) => return Err(refused.into()),
        };
        let appended = self.change(&sheet, answers).and_then(|change| {
            let entry = Entry { change: &change, token };
            Ok((self.append(&sheet.writer, entry, &page)?, change))
        });
        let (saved, change) = appended.inspect_err(|error| {
            // What was typed is not lost with the save. Where the disk is full, the page still has it; of what may
            // be saved after all there is no draft, from which it would be saved twice.
            if !matches!(error, NotSaved::Uncertain(_)) {
                let _ = self.keep_draft(on, form, answers);
            }
        })?;
        lock(&self.form).take_if(|open| open.is(on, form));
        let about = sheet.resident.map_or_else(|| saved.record.into(), |resident| resident.id);
        let is_critical =
            |field: &Field| change.fields.get(&field.key).is_some_and(|it| field.is_critical(it));
        Ok(Kept { about, is_critical: sheet.workflow.fields.iter().any(is_critical) })
    }

    /// Appends a change with the audit event that it was made; the page says what it is.
    pub(super) fn append(&self, writer: &Writer, entry: Entry<'_>, page: &Page) -> Result<Saved, NotSaved> {
        let actor = *writer.actor();
        let waiting = self.take_waiting();
        let earlier = self.to_write(&waiting);
        let audit = |record: RecordId| {
            let mut made = self.access(&actor, page, true);
            made.resource_id = Some(record.to_string());
            made.patient_id = made.patient_id.or(entry.change.patient);
            earlier.iter().cloned().chain([made]).collect()
        };
        match self.with_room(|| writer.append(&self.outbox, entry, audit)) {
            Ok(saved) => {
                self.entry_worked();
                self.session_on(SessionEvent::Touched);
                self.saved.notify_one();
                Ok(saved)
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
                let failed = self.access(&actor, page, false);
                self.put_back(waiting, vec![failed]);
                let bytes = serde_json::to_vec(entry.change).map_or(0, |payload| payload.len());
                self.entry_failed(bytes, &error);
                let words = error.to_string();
                let is_uncertain = matches!(error, OutboxError::Sqlite(_));
                Err(if is_uncertain { NotSaved::Uncertain(words) } else { NotSaved::Storage(words) })
            }
        }
    }

    pub(super) fn keep_draft(
        &self,
        on: &SessionKey,
        form: &Form,
        answers: &[(String, String)],
    ) -> Result<(), Refused> {
        let (user, asks) = self.typist(on, form)?;
        // Only what the form asks is kept, and one answer to each question, so that nothing grows
        // without bound. As in a save, the last answer counts.
        let answer = |field: &String| answers.iter().rfind(|(name, _)| name == field).cloned();
        let asked: Vec<(String, String)> = asks.iter().filter_map(answer).collect();
        let of = form.draft();
        self.outbox.put_draft(user, of.patient(), &of.name(), &asked, self.clock.now()).map_err(|error| {
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

    /// Who types into a form, and what it asks: whoever's session the page was made for. While that is
    /// open it may be any form about somebody who is here; afterwards only the one that was shown.
    fn typist(&self, on: &SessionKey, form: &Form) -> Result<(UserId, Vec<String>), Refused> {
        match self.sheet(on, form, None) {
            Ok(sheet) => {
                if let Some(open) = lock(&self.form).as_mut().filter(|open| open.is(on, form)) {
                    // The session was resumed, and the page is in use again.
                    open.locked = None;
                }
                Ok((sheet.writer.actor().user, asks(&sheet.workflow)))
            }
            Err(Refused::Locked) => self.late_typist(on, form).ok_or(Refused::Locked),
            Err(refused) => Err(refused),
        }
    }

    /// To whom the form was shown, if its session left the screen only a moment ago; whoever is signed
    /// in now.
    fn late_typist(&self, on: &SessionKey, form: &Form) -> Option<(UserId, Vec<String>)> {
        let open = lock(&self.form);
        let open = open.as_ref().filter(|open| open.is(on, form))?;
        // The lock may be due and not yet have happened.
        let now = self.clock.monotonic();
        let late = now.saturating_sub(open.locked.unwrap_or(now));
        (late < LATE_DRAFT).then(|| (open.user, open.asks.clone()))
    }
}

/// The keys of what a form asks, and of what it carries along.
fn asks(workflow: &Workflow) -> Vec<String> {
    workflow.fields.iter().map(|field| field.key.clone()).chain([SEEN, UNITS].map(str::to_owned)).collect()
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
