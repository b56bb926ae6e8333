//! Forms that were begun and not saved: where somebody comes back to, what the pages list, and how one is
//! dropped, which can be undone.

use carepost_protocol::id::{PatientId, SessionId, UserId};
use carepost_protocol::role::ReadPatients;

use super::chart::{asks, typed_over};
use super::lock;
use super::residents::Asks;
use super::view::{CARRIED, CONFIRMED, Form, Refused, SessionKey, Typed, Unfinished};
use super::ward::{Ward, storage};
use crate::outbox::{DraftOf, OutboxError, version_of};

/// The most that a page lists: the latest.
const LISTED: usize = 20;

/// The form that was on the screen when it locked: whose session, and which.
pub(super) type Left = (SessionId, Form);

/// The answers that were dropped last on this device. They are in memory alone, until something is saved in their
/// session, or it ends.
#[derive(Debug)]
pub(super) struct Dropped {
    session: SessionId,
    user: UserId,
    form: Form,
    answers: Vec<(String, String)>,
}

impl From<DraftOf> for Form {
    fn from(of: DraftOf) -> Self {
        match of {
            DraftOf::Entry(patient, workflow) => Self::Chart(patient, workflow),
            DraftOf::Correction(patient, record) => Self::Correct(patient, record),
            DraftOf::Strike(patient, record) => Self::Strike(patient, record),
            DraftOf::Admission => Self::Admit,
            DraftOf::Resident(patient) => Self::Edit(patient),
            DraftOf::Discharge(patient) => Self::Discharge(patient),
            DraftOf::Readmission(patient) => Self::Readmit(patient),
            DraftOf::Rejected(n) => Self::Again(n),
        }
    }
}

impl Form {
    /// What it asks about a resident, where it is about that.
    const fn asks(&self) -> Option<Asks> {
        match self {
            Self::Admit => Some(Asks::Admission),
            Self::Edit(_) => Some(Asks::Edit),
            Self::Discharge(_) => Some(Asks::Discharge),
            Self::Readmit(_) => Some(Asks::Readmission),
            Self::Chart(_, _) | Self::Correct(_, _) | Self::Strike(_, _) | Self::Again(_) => None,
        }
    }
}

impl Ward {
    /// What a user typed into a form, in the version of what was sent, and has not saved.
    pub(super) fn begun(
        &self,
        user: UserId,
        form: &Form,
        sent: &Typed,
    ) -> Result<Option<Vec<(String, String)>>, Refused> {
        Ok(self.draft(user, form)?.filter(|draft| !are_of_two_versions(draft, sent)))
    }

    /// The same, of whoever's session that is, while it is open.
    pub(super) fn typed_into(
        &self,
        on: &SessionKey,
        form: &Form,
        sent: &Typed,
    ) -> Option<Vec<(String, String)>> {
        self.begun(self.actor(on)?.user, form, sent).ok().flatten()
    }

    /// Keeps what a user typed into a form: not in the place of what was begun in another version of it.
    pub(super) fn keep_typed(&self, user: UserId, form: &Form, typed: &Typed) -> Result<(), Refused> {
        if self.draft(user, form)?.is_some_and(|draft| are_of_two_versions(&draft, typed)) {
            return Err(Refused::BegunInAnother);
        }
        let of = form.draft();
        let kept = self.outbox.put_draft(user, of.patient(), &of.name(), typed, self.clock.now());
        kept.map_err(|error| {
            let too_long = matches!(error, OutboxError::TooLarge { .. });
            if too_long { Refused::TooLong } else { storage(error) }
        })
    }

    /// What a user typed into a form and has not saved.
    pub(super) fn draft(&self, user: UserId, form: &Form) -> Result<Option<Vec<(String, String)>>, Refused> {
        let of = form.draft();
        self.outbox.draft(user, of.patient(), &of.name()).map_err(storage)
    }

    /// The screen has locked over that session, or it has ended.
    pub(super) fn leave_form(&self, session: SessionId, user: UserId) {
        let mut open = lock(&self.form);
        let Some(open) = open.as_mut().filter(|open| open.session == session) else { return };
        open.locked.get_or_insert(self.clock.monotonic());
        if self.reads_form(session, &open.form) {
            lock(&self.left).insert(user, (session, open.form.clone()));
        }
    }

    /// The form on which whoever is back left, told once: in the same session, or with something typed in it.
    pub(super) fn left_on(&self, on: &SessionKey) -> Option<Form> {
        let user = self.active_user()?;
        let mut left = lock(&self.left);
        if !self.is_open(on) {
            return None;
        }
        let (session, form) = left.remove(&user)?;
        drop(left);
        // Where it does not open any more, it says so, and shows what was typed.
        let is_typed = self.draft(user, &form).is_ok_and(|draft| draft.is_some());
        let leads = is_typed || (on.names(session) && self.sheet(on, &form, &[], None).is_ok());
        leads.then_some(form)
    }

    /// The forms that a user began and has not saved, about one resident or all.
    pub(super) fn unfinished(
        &self,
        on: &SessionKey,
        user: UserId,
        about: Option<&[PatientId]>,
    ) -> Result<Vec<Unfinished>, Refused> {
        let about = about.map_or_else(|| vec![None], |ids| ids.iter().copied().map(Some).collect());
        let mut listed = Vec::new();
        for about in about {
            let drafts = self.outbox.drafts(user, about, LISTED).map_err(storage)?;
            listed.extend(drafts.into_iter().filter_map(|of| self.named(on, of.into(), &[])));
        }
        Ok(listed)
    }

    fn named(&self, on: &SessionKey, form: Form, sent: &Typed) -> Option<Unfinished> {
        let (label, resident) = match self.sheet(on, &form, sent, None) {
            Ok(sheet) => (sheet.workflow.label, sheet.resident.map(|resident| resident.name)),
            Err(Refused::Locked) => return None,
            Err(_) => self.called(on, &form),
        };
        let name = match &form {
            Form::Chart(_, _) | Form::Admit | Form::Edit(_) | Form::Discharge(_) | Form::Readmit(_) => label,
            Form::Correct(_, _) => format!("Correction of {label}"),
            Form::Strike(_, _) => format!("Striking out {label}"),
            Form::Again(_) => format!("{label}, refused by the server"),
        };
        Some(Unfinished { form, name, resident })
    }

    /// What a form that does not open here is called, and about whom it is, as far as that can be told.
    fn called(&self, on: &SessionKey, form: &Form) -> (String, Option<String>) {
        let read = self.authorized::<ReadPatients>(on).ok();
        let (patient, key) = match (form, &read) {
            (Form::Chart(patient, key), _) => (Some(*patient), Some(key.clone())),
            (Form::Correct(patient, record) | Form::Strike(patient, record), Some(read)) => {
                (Some(*patient), self.charted(read, *patient, *record).ok().map(|known| known.workflow))
            }
            (Form::Again(n), Some(read)) => {
                let change = self.outbox.rejected(read, *n).ok().map(|refused| refused.change);
                (change.as_ref().and_then(|it| it.patient), change.and_then(|it| it.workflow))
            }
            (_, _) => (Some(form.draft().patient()).filter(|_| *form != Form::Admit), None),
        };
        let latest = |key: String| Some(self.forms().ok()?.latest(&key)?.label.clone());
        let label = form.asks().map(|asks| asks.label().to_owned()).or_else(|| key.and_then(latest));
        let whose = read.zip(patient).map(|(read, patient)| {
            let known = self.resident_here(&read, patient).ok().flatten();
            known.map_or_else(|| "a resident who is not here any more".to_owned(), |it| it.document.name)
        });
        (label.unwrap_or_else(|| "an entry".to_owned()), whose)
    }

    /// Drops what was typed into a form: what was sent along, or what is kept. Where that is nothing (any more) nothing
    /// is dropped, and what was before can still be had back. Whether the form opens.
    pub(super) fn drop_draft(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<bool, Refused> {
        let actor = self.actor(on).ok_or(Refused::Locked)?;
        let kept = self.begun(actor.user, form, sent)?;
        let (opens, asks, showed) = match self.sheet(on, form, sent, None) {
            Ok(sheet) => (true, Some(asks(&sheet.workflow)), sheet.showed(sent)),
            Err(_) if kept.is_none() => return Ok(false),
            Err(_) => (false, None, self.had_filled_in(on, form, sent)),
        };
        if kept.is_some() {
            self.outbox.drop_draft(actor.user, &form.draft()).map_err(storage)?;
        }
        let typed = typed_over(&showed, asked(asks.as_deref(), sent), &self.time_here().zone);
        let is_typed = typed.iter().any(|(key, _)| !CARRIED.contains(&key.as_str()));
        if let Some(answers) = if is_typed { Some(typed) } else { kept } {
            let (session, user, form) = (actor.session, actor.user, form.clone());
            *lock(&self.dropped) = Some(Dropped { session, user, form, answers });
        }
        Ok(opens)
    }

    /// What was dropped last in this session, about one resident or whoever.
    pub(super) fn dropped(&self, on: &SessionKey, about: Option<PatientId>) -> Option<Unfinished> {
        let dropped = lock(&self.dropped);
        let dropped = dropped.as_ref().filter(|dropped| on.names(dropped.session))?;
        let form = dropped.form.clone();
        (about.is_none() || about == Some(form.draft().patient())).then_some(())?;
        self.named(on, form, &dropped.answers)
    }

    /// Puts back what was dropped last, if that was of this form and session.
    pub(super) fn undo_drop(&self, on: &SessionKey, form: &Form) -> Result<(), Refused> {
        let mut slot = lock(&self.dropped);
        let Some(dropped) = slot.take_if(|it| on.names(it.session) && it.form == *form) else {
            return Ok(());
        };
        let kept = self.keep_typed(dropped.user, form, &dropped.answers);
        kept.inspect_err(|_| *slot = Some(dropped))
    }

    /// What was dropped in a session that is over, or has saved something since, is gone, and so is what was saved
    /// before.
    pub(super) fn forget(&self, session: SessionId) {
        drop(lock(&self.dropped).take_if(|dropped| dropped.session == session));
        drop(lock(&self.last_save).take_if(|last| last.session == session));
    }
}

/// The last answer to each question that a form asks: only what is asked is kept, so that nothing grows without
/// bound, and as in a save the last answer counts. Where it is not known here what is asked, all that was typed.
pub(super) fn asked(asks: Option<&[String]>, answers: &Typed) -> Vec<(String, String)> {
    let Some(asks) = asks else {
        return answers.iter().filter(|(key, _)| key != CONFIRMED).cloned().collect();
    };
    let answer = |field: &String| answers.iter().rfind(|(name, _)| name == field).cloned();
    asks.iter().filter_map(answer).collect()
}

fn are_of_two_versions(one: &Typed, other: &Typed) -> bool {
    version_of(one).zip(version_of(other)).is_some_and(|(one, other)| one != other)
}

/// Answers with others in the place of some.
pub(super) fn laid_over(mut answers: Vec<(String, String)>, over: &Typed) -> Vec<(String, String)> {
    answers.retain(|(key, _)| over.iter().all(|(name, _)| name != key));
    answers.extend_from_slice(over);
    answers
}
