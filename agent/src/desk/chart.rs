//! Charting: the form, its draft, and the moment its answers become an entry.

use std::collections::BTreeMap;
use std::time::Duration;

use carepost_agent_core::session::SessionEvent;
use carepost_protocol::day::parse_datetime;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{PatientId, RecordId, SessionId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use carepost_protocol::zone::Zone;

use super::lock;
use super::made::Seen;
use super::noted::Page;
use super::residents;
use super::sheet::{Sheet, Writer};
use super::unfinished::{asked, laid_over};
use super::view::{
    CARRIED, Form, FormPage, Kept, NotOpened, NotSaved, OFFSET, Refused, SEEN, SessionKey, Typed,
};
use super::ward::{Ward, storage};
use crate::outbox::{Entry, OutboxError, Saved, version_of};

/// How long after a lock what was typed on the page may still be kept as a draft.
const LATE_DRAFT: Duration = Duration::from_secs(60);

/// The form that was shown last. What was typed into it may still be kept as a draft for a moment after
/// its session has left the screen, for the user it was shown to.
#[derive(Debug)]
pub(super) struct OpenForm {
    pub(super) session: SessionId,
    user: UserId,
    pub(super) form: Form,
    asks: Vec<String>,
    version: u32,
    /// What it had filled in itself.
    showed: Vec<(String, String)>,
    /// When the screen locked over it, first.
    pub(super) locked: Option<Duration>,
}

/// What was saved last, for certain or not: sent again because its answer was lost, it is asked and refused nothing any
/// more. It is in memory alone, until its session ends.
#[derive(Debug)]
pub(super) struct LastSave {
    pub(super) session: SessionId,
    user: UserId,
    token: String,
    answers: Vec<(String, String)>,
    /// The same without what the form had filled in.
    typed: Vec<(String, String)>,
    /// Whom they are about; none where the save makes whom.
    about: Option<PatientId>,
    is_critical: bool,
}

/// Who types into a form, what it asks, where that is known here, and what it had filled in itself.
struct Typist {
    user: UserId,
    asks: Option<Vec<String>>,
    showed: Vec<(String, String)>,
}

impl OpenForm {
    fn is(&self, on: &SessionKey, form: &Form) -> bool {
        on.names(self.session) && self.form == *form
    }

    /// Whether these answers may be of it: an older page asked something else.
    fn asked(&self, answers: &Typed) -> bool {
        version_of(answers).is_none_or(|version| version == self.version)
    }
}

impl Ward {
    pub(super) fn form(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<FormPage, NotOpened> {
        self.opened(on, form, sent).map_err(|why| {
            let kept = self.typed_into(on, form, sent);
            let is_kept = kept.is_some();
            let answers = if sent.is_empty() { kept.unwrap_or_default() } else { asked(None, sent) };
            let showed = self.had_filled_in(on, form, &answers);
            let mut typed = typed_over(&showed, answers, &self.time_here().zone);
            typed.retain(|(key, _)| !CARRIED.contains(&key.as_str()));
            NotOpened { why, typed, is_kept }
        })
    }

    fn opened(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<FormPage, Refused> {
        let page = Page::form(form);
        let mut sheet = self.sheet(on, form, sent, Some(&page))?;
        let since = self.since(on, form)?;
        let actor = *sheet.writer.actor();
        let draft = sheet.draft.take();
        if let Some(refused) = is_so_already(form, &sheet).filter(|_| draft.is_none()) {
            self.note(&actor, &page, false);
            return Err(refused);
        }
        let from_draft = draft.is_some();
        // What comes back is as it was sent; what was not asked when the draft was typed is as it was charted.
        let answers = match draft.map(|draft| as_shown(draft, &sheet)) {
            _ if !sent.is_empty() => as_shown(sent.to_vec(), &sheet),
            Some(draft) => laid_over(sheet.showed(&draft), &draft),
            None => sheet.answers.clone(),
        };
        let shown = OpenForm {
            session: actor.session,
            user: actor.user,
            form: form.clone(),
            asks: asks(&sheet.workflow),
            version: sheet.workflow.version,
            showed: sheet.showed(&answers),
            locked: None,
        };
        *lock(&self.form) = Some(shown);
        if !self.is_open(on) {
            // The screen locked before the form was noted, so nobody will say so any more.
            self.leave_form(actor.session, actor.user);
        }
        let token = hex(&self.clock.random::<16>());
        self.note(&actor, &page.about(sheet.resident.as_ref()), true);
        let discharged = sheet.is_about_somebody_gone();
        Ok(FormPage {
            discharged,
            since,
            form: form.clone(),
            resident: sheet.resident,
            workflow: sheet.workflow,
            answers,
            from_draft,
            token,
            refusal: sheet.refusal,
            faults: sheet.faults,
            has_form: sheet.has_form,
            author: sheet.author,
            zone: self.time_here().zone,
            sent: self.phi_mode(),
        })
    }

    pub(super) fn save(
        &self,
        on: &SessionKey,
        form: &Form,
        token: &str,
        answers: &Typed,
    ) -> Result<Kept, NotSaved> {
        let why = match self.try_save(on, form, token, answers) {
            Err(why) => why,
            saved => return saved,
        };
        let is_uncertain = matches!(why, NotSaved::Uncertain(_));
        if !is_uncertain && let Some(kept) = self.sent_again(on, form, token, answers) {
            return if self.is_open(on) { Ok(kept) } else { Err(why) };
        }
        let is_refused = matches!(&why, NotSaved::Refused(refused) if *refused != Refused::Locked);
        let before = self.outbox.saved_as(token).ok().flatten().filter(|_| is_refused);
        let is_last = lock(&self.last_save).as_ref().is_some_and(|last| last.is(on, token));
        // What was typed is not lost with the save, whatever refused it. Where the disk is full, the page still has it;
        // of what may be saved after all there is no draft, from which it would be saved twice.
        let kept = if is_uncertain { Ok(false) } else { self.keep_draft(on, form, answers) };
        match (before, &why, kept) {
            (Some(record), _, _) if is_last => {
                Err(NotSaved::NotTaken(OutboxError::SavedDifferently { record }.to_string()))
            }
            (Some(_), _, _) => {
                Err(NotSaved::NotTaken("this form was saved already: look at the saved entry".to_owned()))
            }
            (None, NotSaved::Refused(_), Err(not_kept)) => Err(not_kept.into()),
            (None, _, _) => Err(why),
        }
    }

    fn try_save(&self, on: &SessionKey, form: &Form, token: &str, answers: &Typed) -> Result<Kept, NotSaved> {
        let page = Page::entry(form);
        let sheet = self.sheet(on, form, answers, Some(&page))?;
        self.still_stands(on, form, token)?;
        let change = self.change(&sheet, answers, token)?;
        // Who sends again what may be saved is not asked about the resident that it made.
        if change.collection == Collection::Patients
            && self.outbox.saved_as(token).map_err(storage)?.is_none()
        {
            self.is_nobody_here(on, sheet.resident.as_ref(), &change, answers)?;
        }
        let is_critical =
            |field: &Field| change.fields.get(&field.key).is_some_and(|it| field.is_critical(it));
        let is_critical = sheet.workflow.fields.iter().any(is_critical);
        let last = LastSave {
            session: change.session,
            user: change.actor,
            token: token.to_owned(),
            answers: answers.to_vec(),
            typed: typed_over(&sheet.showed(answers), asked(None, answers), &self.time_here().zone),
            about: sheet.resident.as_ref().map(|resident| resident.id),
            is_critical,
        };
        let saved = match self.append(&sheet.writer, Entry { change: &change, token }, &page) {
            Ok(saved) => saved,
            Err(why) => {
                if matches!(why, NotSaved::Uncertain(_)) {
                    *lock(&self.last_save) = Some(last);
                }
                return Err(why);
            }
        };
        lock(&self.form).take_if(|open| open.is(on, form));
        self.forget(last.session);
        let kept = last.kept(saved.record);
        *lock(&self.last_save) = Some(last);
        Ok(kept)
    }

    /// What was saved with just that token and those answers. A draft of the same would be saved twice.
    fn sent_again(&self, on: &SessionKey, form: &Form, token: &str, answers: &Typed) -> Option<Kept> {
        let record = self.outbox.saved_as(token).ok().flatten()?;
        let last = lock(&self.last_save);
        let last = last.as_ref().filter(|last| last.is(on, token) && last.answers == answers)?;
        let zone = self.time_here().zone;
        let draft = self.draft(last.user, form).ok().flatten();
        if draft.is_some_and(|draft| given(&draft, &zone) == given(&last.typed, &zone)) {
            drop(self.outbox.drop_draft(last.user, &form.draft()));
        }
        Some(last.kept(record))
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
                | OutboxError::NotKept { .. }
                | OutboxError::NotRejected { .. }
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

    /// Keeps what was typed; whether there is anything that the form did not show.
    pub(super) fn keep_draft(&self, on: &SessionKey, form: &Form, answers: &Typed) -> Result<bool, Refused> {
        let zone = self.time_here().zone;
        let Typist { user, asks, showed } = self.typist(on, form, answers)?;
        let typed = typed_over(&showed, asked(asks.as_deref(), answers), &zone);
        // As it was opened: nothing is unfinished.
        let is_typed = typed.iter().any(|(key, _)| !CARRIED.contains(&key.as_str()));
        if is_typed {
            self.keep_typed(user, form, &typed)?;
        } else if self.begun(user, form, answers)?.is_some() {
            self.outbox.drop_draft(user, &form.draft()).map_err(storage)?;
        }
        Ok(is_typed)
    }

    /// Who types into a form, and what it asks: whoever's session the page was made for. While that is
    /// open it may be any form about somebody who is here. One that does not open here any more is whoever's began it,
    /// or saw it last; after the session, only the one that was shown last is.
    fn typist(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<Typist, Refused> {
        match self.sheet(on, form, sent, None) {
            Ok(sheet) => {
                if let Some(open) = lock(&self.form).as_mut().filter(|open| open.is(on, form)) {
                    // The session was resumed, and the page is in use again.
                    open.locked = None;
                }
                let (user, asks) = (sheet.writer.actor().user, asks(&sheet.workflow));
                Ok(Typist { user, asks: Some(asks), showed: sheet.showed(sent) })
            }
            Err(why) => {
                let is_hers = || why == Refused::NoSuchVersion || self.typed_into(on, form, sent).is_some();
                let hers = || self.actor(on).filter(|_| is_hers()).map(|actor| actor.user);
                let (user, asks) =
                    self.late_typist(on, form, sent).or_else(|| Some((hers()?, None))).ok_or(why)?;
                Ok(Typist { user, asks, showed: self.had_filled_in(on, form, sent) })
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
        let open = lock(&self.form);
        let open = open.as_ref().filter(|open| open.is(on, form))?;
        // The lock may be due and not yet have happened.
        let now = self.clock.monotonic();
        let late = now.saturating_sub(open.locked.unwrap_or(now));
        let asks = open.asked(sent).then(|| open.asks.clone());
        (late < LATE_DRAFT).then_some((open.user, asks))
    }

    /// What a form had filled in itself that does not open any more, by what its answers carry along or by how it was
    /// shown last: nothing is read for it. Who may not read a resident any more is shown and kept nothing of that.
    pub(super) fn had_filled_in(
        &self,
        on: &SessionKey,
        form: &Form,
        answers: &Typed,
    ) -> Vec<(String, String)> {
        if let Some(seen) = Seen::in_answers(answers) {
            return seen.typed(&residents::whole());
        }
        let open = lock(&self.form);
        let open = open.as_ref().filter(|open| open.is(on, form) && open.asked(answers));
        open.map(|open| open.showed.clone()).unwrap_or_default()
    }
}

impl LastSave {
    fn is(&self, on: &SessionKey, token: &str) -> bool {
        on.names(self.session) && self.token == token
    }

    fn kept(&self, record: RecordId) -> Kept {
        Kept { about: self.about.unwrap_or_else(|| record.into()), is_critical: self.is_critical }
    }
}

/// Answers that may be from when more was shown here, or less: what they carry along is what the form shows now.
fn as_shown(answers: Vec<(String, String)>, sheet: &Sheet) -> Vec<(String, String)> {
    let (then, now) = (Seen::in_answers(&answers), Seen::in_answers(&sheet.answers));
    match then.zip(now) {
        Some((then, now)) if !then.is_as_much_as(&now) => {
            let seen = sheet.answers.iter().filter(|(key, _)| key == SEEN);
            laid_over(asked(Some(&asks(&sheet.workflow)), &answers), &seen.cloned().collect::<Vec<_>>())
        }
        _ => answers,
    }
}

/// A discharge of whoever is not in care, and a readmission of whoever is, ask nothing; what was typed into one
/// before is opened all the same.
fn is_so_already(form: &Form, sheet: &Sheet) -> Option<Refused> {
    match (form, sheet.resident.as_ref().map(|resident| resident.is_active)) {
        (Form::Readmit(id), Some(true)) => Some(Refused::InCare(*id)),
        (Form::Discharge(id), Some(false)) => Some(Refused::NotInCare(*id)),
        (_, _) => None,
    }
}

/// The answers that somebody gave, in the order of their keys, as a page shows and a browser sends them: with times
/// on the wall and one kind of line break. Not what the form carries along.
fn given<'a>(answers: &'a Typed, zone: &Zone) -> BTreeMap<&'a str, String> {
    let given =
        answers.iter().filter(|(key, text)| !CARRIED.contains(&key.as_str()) && !text.trim().is_empty());
    given.map(|(key, text)| (key.as_str(), as_sent(text, zone))).collect()
}

fn as_sent(text: &str, zone: &Zone) -> String {
    parse_datetime(text).map_or_else(|_| text.replace("\r\n", "\n"), |time| zone.wall(&time))
}

/// What of some answers was typed: what differs from what their form had filled in, with what it carries along. What was
/// emptied is typed.
pub(super) fn typed_over(
    showed: &Typed,
    mut answers: Vec<(String, String)>,
    zone: &Zone,
) -> Vec<(String, String)> {
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

/// The keys of what a form asks, and of what it carries along.
pub(super) fn asks(workflow: &Workflow) -> Vec<String> {
    let times = workflow.fields.iter().filter(|field| field.field_type == FieldType::Datetime);
    let said = times.map(|field| format!("{OFFSET}{}", field.key));
    let carried = CARRIED.map(str::to_owned);
    workflow.fields.iter().map(|field| field.key.clone()).chain(said).chain(carried).collect()
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
