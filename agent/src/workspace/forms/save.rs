//! The save: a filled-in form becomes a durable entry, once, however often it is sent.

use carepost_protocol::record::Collection;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::workflow::Field;

use super::drafts::{Unwritten, are_of_two_versions, asked, given, typed_over};
use super::prepare::Writer;
use super::{Access, Forms, LastSave, lock, storage};
use crate::outbox::{Entry, OutboxError, Saved};
use crate::workspace::view::{Draft, Form, Kept, NotSaved, Refused, SessionKey, Typed};
use carepost_agent_core::session::SessionEvent;

impl Forms {
    /// Saves a filled-in form: when this returns, the entry is durable on the device.
    ///
    /// # Errors
    /// See [`NotSaved`]; nothing of the entry is kept then but its draft.
    pub fn save(&self, on: &SessionKey, form: &Form, token: &str, answers: &Typed) -> Result<Kept, NotSaved> {
        let why = match self.try_save(on, form, token, answers) {
            Err(why) => why,
            saved => return saved,
        };
        let is_uncertain = matches!(why, NotSaved::Uncertain(_));
        if !is_uncertain && let Some(kept) = self.sent_again(on, form, token, answers) {
            return if self.session.is_open(on) { Ok(kept) } else { Err(why) };
        }
        let is_refused = matches!(&why, NotSaved::Refused(refused) if *refused != Refused::Locked);
        let before = self.reader.outbox.saved_as(token).ok().flatten().filter(|_| is_refused);
        let is_last = lock(&self.state).last_save.as_ref().is_some_and(|last| last.is(on, token));
        // What was typed is not lost with the save, whatever refused it. Where the disk is full, the page still has it;
        // of what may be saved after all there is no draft, from which it would be saved twice.
        let kept = if is_uncertain { Ok(Draft::Nothing) } else { self.keep_draft(on, form, answers, None) };
        match (before, &why, kept) {
            (Some(record), _, _) if is_last => {
                Err(NotSaved::NotTaken(OutboxError::SavedDifferently { record }.to_string()))
            }
            (Some(_), _, _) => {
                Err(NotSaved::NotTaken("this form was saved already: look at the saved entry".to_owned()))
            }
            (None, NotSaved::Refused(_), Err(not_kept)) => Err(not_kept.into()),
            (None, NotSaved::Refused(_), Ok(Draft::InMemory(words))) => {
                Err(NotSaved::Storage(format!("{why}, and {words}")))
            }
            (None, _, _) => Err(why),
        }
    }

    fn try_save(&self, on: &SessionKey, form: &Form, token: &str, answers: &Typed) -> Result<Kept, NotSaved> {
        let access = Access::entry(form);
        let prepared = self.prepare(on, form, answers, Some(&access))?;
        self.still_stands(&prepared.read, form, token)?;
        let change = self.change(&prepared, answers, token)?;
        // Who sends again what may be saved is not asked about the resident that it made.
        if change.collection == Collection::Patients
            && self.reader.outbox.saved_as(token).map_err(storage)?.is_none()
        {
            self.is_nobody_here(&prepared.read, prepared.resident.as_ref(), &change, answers)?;
        }
        let is_critical =
            |field: &Field| change.fields.get(&field.key).is_some_and(|it| field.is_critical(it));
        let is_critical = prepared.workflow.fields.iter().any(is_critical);
        let last = LastSave {
            session: change.session,
            user: change.actor,
            token: token.to_owned(),
            answers: answers.to_vec(),
            typed: typed_over(&prepared.showed(answers), asked(None, answers), &prepared.zone),
            about: prepared.resident.as_ref().map(|resident| resident.id),
            is_critical,
        };
        // Nobody writes a draft of it meanwhile.
        let mut unwritten = self.unwritten();
        let goes = |it: &Unwritten| it.is_of(last.user, form) && !are_of_two_versions(&it.answers, answers);
        let saved = match self.append(&prepared.writer, Entry { change: &change, token }, &access) {
            Ok(saved) => saved,
            Err(why) => {
                if matches!(why, NotSaved::Uncertain(_)) {
                    for draft in unwritten.iter_mut().filter(|draft| goes(draft)) {
                        draft.sent_as = Some(token.to_owned());
                    }
                    drop(unwritten);
                    lock(&self.state).last_save = Some(last);
                }
                return Err(why);
            }
        };
        unwritten.retain(|draft| !goes(draft));
        drop(unwritten);
        // Whoever saves is there.
        self.leave(&self.session.on(SessionEvent::Touched).left);
        let kept = last.kept(saved.record);
        let mut state = lock(&self.state);
        state.open.take_if(|open| open.is(on, form));
        // Who left the screen while it was saved is not led back to a form that is saved.
        state.left.retain(|_, (session, left)| !(on.names(*session) && left == form));
        state.forget(last.session);
        state.last_save = Some(last);
        Ok(kept)
    }

    /// What was saved with just that token and those answers. A draft of the same would be saved twice.
    fn sent_again(&self, on: &SessionKey, form: &Form, token: &str, answers: &Typed) -> Option<Kept> {
        let record = self.reader.outbox.saved_as(token).ok().flatten()?;
        let zone = self.reader.time_here().zone;
        let state = lock(&self.state);
        let last = state.last_save.as_ref();
        let last = last.filter(|last| last.is(on, token) && last.answers == answers)?;
        let draft = self.draft(last.user, form).ok().flatten();
        if draft.is_some_and(|draft| given(&draft, &zone) == given(&last.typed, &zone)) {
            drop(self.drop_kept(last.user, form));
        }
        Some(last.kept(record))
    }

    /// Appends a change with the audit event of that access.
    pub(super) fn append(
        &self,
        writer: &Writer,
        entry: Entry<'_>,
        access: &Access,
    ) -> Result<Saved, NotSaved> {
        let trail = &self.reader.trail;
        match writer {
            Writer::Chart(permit) => trail.append_change(permit, entry, access),
            Writer::Manage(permit) => trail.append_change(permit, entry, access),
        }
    }

    /// Refuses a correction of what this device knows to be corrected; one that is saved already is let through.
    fn still_stands(&self, read: &Permit<ReadPatients>, form: &Form, token: &str) -> Result<(), NotSaved> {
        let stands = self.reader.corrected_since(read, form)?.is_none();
        if stands || self.reader.outbox.saved_as(token).map_err(storage)?.is_some() {
            return Ok(());
        }
        Err(NotSaved::CorrectedSince)
    }
}
