//! Drafts: what was typed and not saved is kept for whoever typed it, listed, and dropped by nobody else, which can be
//! undone; whoever comes back finds the form on which they left. What the disk does not take stays in memory until
//! it does.

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::Duration;

use carepost_protocol::day::known_birthday;
use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::zone::Zone;

use super::seen::Seen;
use super::{Asks, Dropped, Forms, asks, lock, resident_form, storage};
use crate::outbox::{DraftOf, OutboxError, version_of};
use crate::workspace::view::{
    Answers, Begun, CARRIED, CONFIRMED, Draft, Form, OFFSET, Refused, SEEN, SessionKey, Typed, Unfinished,
};

/// How long after a lock what was typed on the page may still be kept as a draft.
const LATE_DRAFT: Duration = Duration::from_secs(60);
/// The most that a page lists: the latest.
const LISTED: usize = 20;
/// The most drafts that are in memory alone, each no larger than an entry may be: the latest.
const MOST_UNWRITTEN: usize = 8;

/// Who types into a form, what it asks, where that is known here, what it had filled in itself, and in which zone.
struct Typist {
    user: UserId,
    asks: Option<Vec<String>>,
    showed: Answers,
    zone: Zone,
}

/// What a user typed into a form and the disk did not take: newer than what is kept there of the same form.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) user: UserId,
    pub(super) form: Form,
    pub(super) answers: Answers,
    /// As what it was sent, where it is not certain whether it was saved.
    pub(super) sent_as: Option<String>,
}

impl Unwritten {
    pub(super) fn is_of(&self, user: UserId, form: &Form) -> bool {
        self.user == user && self.form == *form
    }
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
            DraftOf::Rejected(n) => Self::Resubmit(n),
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
            Self::Chart(_, _) | Self::Correct(_, _) | Self::Strike(_, _) | Self::Resubmit(_) => None,
        }
    }
}

impl Forms {
    /// Keeps what was typed and not saved, for the user to whom the form was shown, also when the screen has locked
    /// meanwhile or shows somebody else's session; unless it turns out to be saved as what it was sent.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn keep_draft(
        &self,
        on: &SessionKey,
        form: &Form,
        answers: &Typed,
        sent_as: Option<String>,
    ) -> Result<Draft, Refused> {
        let Typist { user, asks, showed, zone } = self.typist(on, form, answers)?;
        let mut typed = typed_over(&showed, asked(asks.as_deref(), answers), &zone);
        let kept = self.draft(user, form)?;
        let begun = kept.as_deref().filter(|kept| !are_of_two_versions(kept, answers));
        if let Some((asks, begun)) = asks.zip(begun) {
            typed = with_hidden(typed, begun, &asks);
        }
        // As it was opened: nothing is unfinished.
        let is_typed = typed.iter().any(|(key, _)| !CARRIED.contains(&key.as_str()));
        match (is_typed, kept.is_some(), begun.is_some()) {
            (true, true, false) => Err(Refused::BegunInAnother),
            (true, ..) => self.keep_typed(Unwritten { user, form: form.clone(), answers: typed, sent_as }),
            (false, _, true) => self.drop_kept(user, form).map(|()| Draft::Nothing),
            (false, _, false) => Ok(Draft::Nothing),
        }
    }

    /// Who types into a form, and what it asks: whoever's session the page was made for. While that is
    /// open it may be any form about somebody who is here. One that does not open here any more is whoever's began it,
    /// or saw it last; after the session, only the one that was shown last is.
    fn typist(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<Typist, Refused> {
        match self.prepare(on, form, sent, None) {
            Ok(prepared) => {
                if let Some(open) = lock(&self.state).open.as_mut().filter(|open| open.is(on, form)) {
                    // The session was resumed, and the page is in use again.
                    open.locked = None;
                }
                let (user, asks) = (prepared.writer.actor().user, asks(&prepared.workflow));
                Ok(Typist { user, asks: Some(asks), showed: prepared.showed(sent), zone: prepared.zone })
            }
            Err(why) => {
                let is_hers = || why == Refused::NoSuchVersion || self.typed_into(on, form, sent).is_some();
                let hers = || self.session.actor(on).filter(|_| is_hers()).map(|actor| actor.user);
                let (user, asks) =
                    self.late_typist(on, form, sent).or_else(|| Some((hers()?, None))).ok_or(why)?;
                let (showed, zone) = (self.had_filled_in(on, form, sent), self.reader.time_here().zone);
                Ok(Typist { user, asks, showed, zone })
            }
        }
    }

    /// To whom the form was shown, if its session is on the screen, or left it only a moment ago; whoever is signed
    /// in now.
    fn late_typist(
        &self,
        on: &SessionKey,
        form: &Form,
        sent: &Typed,
    ) -> Option<(UserId, Option<Vec<String>>)> {
        let state = lock(&self.state);
        let open = state.open.as_ref().filter(|open| open.is(on, form))?;
        // The lock may be due and not yet have happened.
        let now = self.reader.clock.monotonic();
        let late = now.saturating_sub(open.locked.unwrap_or(now));
        let asks = open.asked(sent).then(|| open.asks.clone());
        (late < LATE_DRAFT).then_some((open.user, asks))
    }

    /// What a form had filled in itself that does not open any more, by what its answers carry along or by how it was
    /// shown last: nothing is read for it. Who may not read a resident any more is shown and kept nothing of that.
    pub(super) fn had_filled_in(&self, on: &SessionKey, form: &Form, answers: &Typed) -> Answers {
        if let Some(seen) = Seen::in_answers(answers) {
            return seen.typed(&resident_form::whole());
        }
        let state = lock(&self.state);
        let open = state.open.as_ref().filter(|open| open.is(on, form) && open.asked(answers));
        open.map(|open| open.showed.clone()).unwrap_or_default()
    }

    /// What a user typed into a form, in the version of what was sent, and has not saved.
    pub(super) fn begun(&self, user: UserId, form: &Form, sent: &Typed) -> Result<Option<Answers>, Refused> {
        Ok(self.draft(user, form)?.filter(|draft| !are_of_two_versions(draft, sent)))
    }

    /// The same, of whoever's session that is, while it is open.
    pub(super) fn typed_into(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Option<Answers> {
        self.begun(self.session.actor(on)?.user, form, sent).ok().flatten()
    }

    /// Keeps what a user typed into a form, in the place of what is kept of it.
    pub(super) fn keep_typed(&self, mut draft: Unwritten) -> Result<Draft, Refused> {
        let mut unwritten = self.unwritten();
        // The same answers may be saved still as what they were sent before.
        let before =
            unwritten.iter().find(|it| it.is_of(draft.user, &draft.form) && it.answers == draft.answers);
        draft.sent_as = draft.sent_as.or_else(|| before.and_then(|it| it.sent_as.clone()));
        let kept = if self.is_saved(&draft) { Ok(()) } else { self.put(&draft) };
        if let Err(OutboxError::TooLarge { .. }) = kept {
            return Err(Refused::TooLong);
        }
        unwritten.retain(|other| !other.is_of(draft.user, &draft.form));
        let Err(error) = kept else { return Ok(Draft::OnDisk) };
        unwritten.truncate(MOST_UNWRITTEN - 1);
        unwritten.insert(0, draft);
        Ok(Draft::InMemory(format!(
            "this device cannot save: {error}. What you typed stays here only until it restarts"
        )))
    }

    /// Whether it turns out to be saved: from a draft of that it would be saved twice.
    fn is_saved(&self, draft: &Unwritten) -> bool {
        let saved = draft.sent_as.as_deref().map(|token| self.reader.outbox.saved_as(token));
        matches!(saved, Some(Ok(Some(_))))
    }

    fn put(&self, Unwritten { user, form, answers, .. }: &Unwritten) -> Result<(), OutboxError> {
        let (of, now) = (form.draft(), self.reader.clock.now());
        self.reader.outbox.put_draft(*user, of.patient(), &of.name(), answers, now)
    }

    /// Writes what is in memory alone, as soon as the disk takes it. Call it every few seconds, from a blocking thread.
    pub fn keep_unwritten(&self) {
        self.unwritten().retain(|draft| self.put(draft).is_err());
    }

    /// Whether what a user typed last into a form is in memory alone.
    pub(super) fn is_unwritten(&self, user: UserId, form: &Form) -> bool {
        self.unwritten().iter().any(|draft| draft.is_of(user, form))
    }

    /// What is in memory alone, without what turns out to be saved.
    pub(super) fn unwritten(&self) -> MutexGuard<'_, Vec<Unwritten>> {
        let mut unwritten = lock(&self.unwritten);
        unwritten.retain(|draft| !self.is_saved(draft));
        unwritten
    }

    /// Drops what is kept of a form, on the disk and in memory.
    pub(super) fn drop_kept(&self, user: UserId, form: &Form) -> Result<(), Refused> {
        let mut unwritten = self.unwritten();
        self.reader.outbox.drop_draft(user, &form.draft()).map_err(storage)?;
        unwritten.retain(|draft| !draft.is_of(user, form));
        Ok(())
    }

    /// What a user typed into a form and has not saved.
    pub(super) fn draft(&self, user: UserId, form: &Form) -> Result<Option<Answers>, Refused> {
        if let Some(draft) = self.unwritten().iter().find(|draft| draft.is_of(user, form)) {
            return Ok(Some(draft.answers.clone()));
        }
        let of = form.draft();
        self.reader.outbox.draft(user, of.patient(), &of.name()).map_err(storage)
    }

    /// The form on which whoever is back left, until she has one open again: in the same session, or with something
    /// typed in it.
    pub fn left_on(&self, on: &SessionKey) -> Option<Form> {
        let user = self.session.actor(on)?.user;
        let (session, form) = lock(&self.state).left.get(&user).cloned()?;
        // Where it does not open any more, it says so, and shows what was typed.
        let is_typed = self.draft(user, &form).is_ok_and(|draft| draft.is_some());
        let leads = is_typed || (on.names(session) && self.prepare(on, &form, &[], None).is_ok());
        if !leads {
            self.is_back(on);
        }
        leads.then_some(form)
    }

    /// Whoever's session that is goes where she likes from here.
    pub(super) fn is_back(&self, on: &SessionKey) {
        if let Some(actor) = self.session.actor(on) {
            lock(&self.state).left.remove(&actor.user);
        }
    }

    /// What a user began, also where her role does not let her read a resident any more.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn all_begun(&self, on: &SessionKey) -> Result<Begun, Refused> {
        Ok(Begun { dropped: self.dropped(on, None), ..self.unfinished(on, &[None])? })
    }

    /// What a user began about one resident.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn begun_about(&self, on: &SessionKey, resident: &PatientDocument) -> Result<Begun, Refused> {
        let chart: Vec<_> = resident.chart().into_iter().map(Some).collect();
        Ok(Begun { dropped: self.dropped(on, Some(resident.id)), ..self.unfinished(on, &chart)? })
    }

    fn unfinished(&self, on: &SessionKey, about: &[Option<PatientId>]) -> Result<Begun, Refused> {
        let user = self.session.actor(on).ok_or(Refused::Locked)?.user;
        let mut begun = Vec::new();
        for about in about.iter().copied() {
            let unwritten = self.unwritten_about(user, about);
            let drafts = self.reader.outbox.drafts(user, about, LISTED + 1).map_err(storage)?;
            let kept = drafts.into_iter().map(Form::from).filter(|form| !unwritten.contains(form));
            begun.extend(unwritten.iter().cloned().chain(kept));
        }
        let more = begun.len() > LISTED;
        begun.truncate(LISTED);
        let unfinished = begun.into_iter().filter_map(|form| self.named(on, form, &[])).collect();
        Ok(Begun { unfinished, more, dropped: None })
    }

    fn unwritten_about(&self, user: UserId, about: Option<PatientId>) -> Vec<Form> {
        let unwritten = self.unwritten();
        let hers = unwritten.iter().filter(|draft| draft.user == user).map(|draft| &draft.form);
        hers.filter(|form| about.is_none_or(|id| id == form.draft().patient())).cloned().collect()
    }

    fn named(&self, on: &SessionKey, form: Form, sent: &Typed) -> Option<Unfinished> {
        let (label, resident) = match self.prepare(on, &form, sent, None) {
            Ok(prepared) => (prepared.workflow.label, prepared.resident.map(|resident| resident.name)),
            Err(Refused::Locked) => return None,
            Err(_) => self.called(on, &form),
        };
        let name = match &form {
            Form::Chart(_, _) | Form::Admit | Form::Edit(_) | Form::Discharge(_) | Form::Readmit(_) => label,
            Form::Correct(_, _) => format!("Correction of {label}"),
            Form::Strike(_, _) => format!("Striking out {label}"),
            Form::Resubmit(_) => format!("{label}, rejected by the server"),
        };
        Some(Unfinished { form, name, resident })
    }

    /// What a form that does not open here is called, and about whom it is, as far as that can be told.
    fn called(&self, on: &SessionKey, form: &Form) -> (String, Option<String>) {
        let read = self.session.permits(on, None).ok().map(|permits| permits.read);
        let (patient, key) = match (form, &read) {
            (Form::Chart(patient, key), _) => (Some(*patient), Some(key.clone())),
            (Form::Correct(patient, record) | Form::Strike(patient, record), Some(read)) => {
                (Some(*patient), self.charted(read, *patient, *record).ok().map(|known| known.workflow))
            }
            (Form::Resubmit(n), Some(read)) => {
                let change = self.reader.outbox.rejected(read, *n).ok().map(|rejected| rejected.change);
                (change.as_ref().and_then(|it| it.patient), change.and_then(|it| it.workflow))
            }
            (_, _) => (Some(form.draft().patient()).filter(|_| *form != Form::Admit), None),
        };
        let latest = |key: String| Some(self.reader.workflows().ok()?.latest(&key)?.label.clone());
        let label = form.asks().map(|asks| asks.label().to_owned()).or_else(|| key.and_then(latest));
        let whose = read.zip(patient).map(|(read, patient)| {
            let known = self.reader.resident_here(&read, patient).ok().flatten();
            known.map_or_else(|| "a resident who is not here any more".to_owned(), |it| it.document.name)
        });
        (label.unwrap_or_else(|| "an entry".to_owned()), whose)
    }

    /// Drops what was typed into a form: what was sent along, or what is kept. Until something is saved, the next is
    /// dropped or the session ends, it can be had back. Where there is nothing (any more) nothing is dropped, and what
    /// was before can still be had back. Whether the form opens.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn drop_draft(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<bool, Refused> {
        let actor = self.session.actor(on).ok_or(Refused::Locked)?;
        let kept = self.begun(actor.user, form, sent)?;
        let (opens, asks, showed) = match self.prepare(on, form, sent, None) {
            Ok(prepared) => (true, Some(asks(&prepared.workflow)), prepared.showed(sent)),
            Err(_) if kept.is_none() => return Ok(false),
            Err(_) => (false, None, self.had_filled_in(on, form, sent)),
        };
        if kept.is_some() {
            self.drop_kept(actor.user, form)?;
        }
        let mut typed = typed_over(&showed, asked(asks.as_deref(), sent), &self.reader.time_here().zone);
        let is_typed = typed.iter().any(|(key, _)| !CARRIED.contains(&key.as_str()));
        if let Some((asks, kept)) = asks.zip(kept.as_deref()) {
            typed = with_hidden(typed, kept, &asks);
        }
        if let Some(answers) = if is_typed { Some(typed) } else { kept } {
            let (session, user, form) = (actor.session, actor.user, form.clone());
            lock(&self.state).dropped = Some(Dropped { session, user, form, answers });
        }
        Ok(opens)
    }

    /// What was dropped last in this session, about one resident or whoever.
    fn dropped(&self, on: &SessionKey, about: Option<PatientId>) -> Option<Unfinished> {
        let dropped = lock(&self.state).dropped.clone().filter(|dropped| on.names(dropped.session))?;
        (about.is_none() || about == Some(dropped.form.draft().patient())).then_some(())?;
        self.named(on, dropped.form, &dropped.answers)
    }

    /// Puts back what was dropped last, if that was of this form and session.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn undo_drop(&self, on: &SessionKey, form: &Form) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        let dropped = state.dropped.as_ref().filter(|it| on.names(it.session) && it.form == *form);
        let Some(Dropped { user, form, answers, .. }) = dropped.cloned() else { return Ok(()) };
        if self.draft(user, &form)?.is_some_and(|draft| are_of_two_versions(&draft, &answers)) {
            return Err(Refused::BegunInAnother);
        }
        // Where it is in memory alone, the form says so.
        self.keep_typed(Unwritten { user, form, answers, sent_as: None })?;
        state.dropped = None;
        Ok(())
    }
}

/// The answers that somebody gave, in the order of their keys, in one form, however they
/// were typed: with days as they are stored, times on the wall and one kind of line break. Not what the form carries along.
pub(super) fn given<'a>(answers: &'a Typed, zone: &Zone) -> BTreeMap<&'a str, String> {
    let given =
        answers.iter().filter(|(key, text)| !CARRIED.contains(&key.as_str()) && !text.trim().is_empty());
    given.map(|(key, text)| (key.as_str(), as_sent(text, zone))).collect()
}

fn as_sent(text: &str, zone: &Zone) -> String {
    let day_or_time = zone.wall_of(text).or_else(|| known_birthday(text).ok());
    day_or_time.unwrap_or_else(|| text.replace("\r\n", "\n"))
}

/// What of some answers was typed: what differs from what their form had filled in, with what it carries along. What was
/// emptied is typed.
pub(super) fn typed_over(showed: &Typed, mut answers: Answers, zone: &Zone) -> Answers {
    let was = |key: &str| showed.iter().find(|(name, _)| name == key).map_or("", |(_, text)| text.as_str());
    answers.retain(|(key, text)| {
        let is_left = match key.strip_prefix(OFFSET) {
            // Which of two moments it was is said by the whole time.
            Some(of) => text == was(of),
            None => as_sent(text, zone).trim() == as_sent(was(key), zone).trim(),
        };
        !is_left || CARRIED.contains(&key.as_str())
    });
    answers
}

/// The last answer to each question that a form asks: only what is asked is kept, so that nothing grows without
/// bound, and as in a save the last answer counts. Where it is not known here what is asked, all that was typed.
pub(super) fn asked(asks: Option<&[String]>, answers: &Typed) -> Answers {
    let Some(asks) = asks else {
        return answers.iter().filter(|(key, _)| key != CONFIRMED).cloned().collect();
    };
    let answer = |field: &String| answers.iter().rfind(|(name, _)| name == field).cloned();
    asks.iter().filter_map(answer).collect()
}

/// Answers with what was typed when the form asked more, and what was seen then: it may be asked again.
fn with_hidden(typed: Answers, begun: &Typed, asks: &[String]) -> Answers {
    let is_hidden = |key: &String| !asks.contains(key);
    let under: Vec<_> = begun.iter().filter(|(key, _)| is_hidden(key) || key == SEEN).cloned().collect();
    if under.iter().any(|(key, _)| is_hidden(key)) { laid_over(typed, &under) } else { typed }
}

pub(super) fn are_of_two_versions(one: &Typed, other: &Typed) -> bool {
    version_of(one).zip(version_of(other)).is_some_and(|(one, other)| one != other)
}

/// Answers with others in the place of some.
pub(super) fn laid_over(mut answers: Answers, over: &Typed) -> Answers {
    answers.retain(|(key, _)| over.iter().all(|(name, _)| name != key));
    answers.extend_from_slice(over);
    answers
}
