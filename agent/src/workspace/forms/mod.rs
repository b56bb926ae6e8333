//! Forms: prepared, filled in, saved, and kept as drafts while they are not.
//!
//! Each is opened and saved for the session that its page was made for; what was typed is never lost with a save that
//! is refused. Within its lock only the audit trail is asked, and the outbox; within that of the drafts in memory, which
//! may be taken inside the first, the same.

mod admission;
mod change;
mod drafts;
mod prepare;
mod review;
mod save;
mod seen;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carepost_protocol::hex::hex;
use carepost_protocol::id::{PatientId, RecordId, SessionId, UserId};
use carepost_protocol::workflow::{FieldType, Workflow};

use super::audit_trail::Access;
use super::lock;
use super::permits::Permits;
use super::reader::{Reader, last_stays, storage};
use super::resident_form::{self, Asks, REPLACED, REPLACED_BY};
use super::session_host::{Left, SessionHost};
use super::times::settled;
use super::view::{
    CARRIED, CONFIRMED, Entry, Form, FormPage, Kept, NotOpened, OFFSET, Refused, SEEN, SessionKey, Typed,
};
use crate::outbox::version_of;
use drafts::{Unwritten, asked, laid_over, typed_over};
use prepare::{Amends, Prepared};
use seen::Seen;

pub use admission::News;

/// Forms and their drafts, and the decisions about reviews.
pub struct Forms {
    reader: Arc<Reader>,
    session: Arc<SessionHost>,
    state: Mutex<State>,
    /// The latest first.
    unwritten: Mutex<Vec<Unwritten>>,
}

/// What is remembered of forms in memory alone.
#[derive(Debug, Default)]
struct State {
    open: Option<OpenForm>,
    left: BTreeMap<UserId, LeftOn>,
    dropped: Option<Dropped>,
    last_save: Option<LastSave>,
}

/// The form that was shown last. What was typed into it may still be kept as a draft for a moment after
/// its session has left the screen, for the user it was shown to.
#[derive(Debug)]
struct OpenForm {
    session: SessionId,
    user: UserId,
    form: Form,
    asks: Vec<String>,
    version: u32,
    /// What it had filled in itself.
    showed: Vec<(String, String)>,
    /// When the screen locked over it, first.
    locked: Option<Duration>,
}

/// What was saved last, for certain or not: sent again because its answer was lost, it is asked and refused nothing any
/// more. It is in memory alone, until its session ends.
#[derive(Debug)]
struct LastSave {
    session: SessionId,
    user: UserId,
    token: String,
    answers: Vec<(String, String)>,
    /// The same without what the form had filled in.
    typed: Vec<(String, String)>,
    /// Whom they are about, or who stays of two; none where the save makes whom.
    about: Option<PatientId>,
    is_critical: bool,
}

/// The form that was on the screen when it locked: whose session, and which.
type LeftOn = (SessionId, Form);

/// The answers that were dropped last on this device. They are in memory alone, until something is saved in their
/// session, or it ends.
#[derive(Debug, Clone)]
struct Dropped {
    session: SessionId,
    user: UserId,
    form: Form,
    answers: Vec<(String, String)>,
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

impl LastSave {
    fn is(&self, on: &SessionKey, token: &str) -> bool {
        on.names(self.session) && self.token == token
    }

    fn kept(&self, record: RecordId) -> Kept {
        let about = self.about.unwrap_or_else(|| record.into());
        Kept { record, about, is_critical: self.is_critical }
    }
}

impl Forms {
    pub(super) fn new(reader: Arc<Reader>, session: Arc<SessionHost>) -> Self {
        Self { reader, session, state: Mutex::default(), unwritten: Mutex::default() }
    }

    /// A form to fill in, with the draft that the user left in it; one that comes back, in the version in which it
    /// was sent.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub fn open(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<FormPage, NotOpened> {
        let opened = self.try_open(on, form, sent);
        self.is_back(on);
        opened.map_err(|why| {
            let kept = self.typed_into(on, form, sent);
            let user = self.session.actor(on).map(|actor| actor.user);
            // What is in memory alone goes with it: nothing is promised of it.
            let is_kept = kept.is_some() && user.is_some_and(|user| !self.is_unwritten(user, form));
            let answers = if sent.is_empty() { kept.unwrap_or_default() } else { asked(None, sent) };
            let showed = self.had_filled_in(on, form, &answers);
            let mut typed = typed_over(&showed, answers, &self.reader.time_here().zone);
            typed.retain(|(key, _)| !CARRIED.contains(&key.as_str()));
            NotOpened { why, typed, is_kept }
        })
    }

    fn try_open(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<FormPage, Refused> {
        let (access, reader) = (Access::form(form), &self.reader);
        let prepared = self.prepare(on, form, sent, Some(&access))?;
        let since = reader.corrected_since(&prepared.read, form)?;
        let actor = *prepared.read.actor();
        let draft = self.begun(actor.user, form, sent)?;
        if let Some(refused) = is_so_already(form, &prepared).filter(|_| draft.is_none()) {
            reader.trail.accessed(&actor, &access, false);
            return Err(refused);
        }
        let twins = prepared.resident.as_ref().map(|resident| reader.twins(&prepared.read, resident));
        let twins = twins.transpose()?.unwrap_or_default();
        let from_draft = draft.is_some();
        let is_unwritten = self.is_unwritten(actor.user, form);
        let hides_typed = hides_typed(sent, &prepared)
            || draft.as_deref().is_some_and(|draft| hides_typed(draft, &prepared));
        // What comes back is as it was sent; what was not asked when the draft was typed is as it was charted.
        let answers = match draft.map(|draft| as_shown(draft, &prepared)) {
            _ if !sent.is_empty() => as_shown(sent.to_vec(), &prepared),
            Some(draft) => laid_over(prepared.showed(&draft), &draft),
            None => prepared.answers.clone(),
        };
        let showed = prepared.showed(&answers);
        self.note_open(on, form, &prepared, showed.clone());
        let token = self.token();
        reader.trail.accessed(&actor, &access.about(prepared.resident.as_ref()), true);
        Ok(FormPage {
            discharged: prepared.is_about_somebody_gone(),
            strikes: self.struck_out(on, &access, &prepared)?,
            puts_back: match prepared.amends {
                Some(Amends::PutsBack(struck)) => Some(struck),
                Some(Amends::Corrects | Amends::StrikesOut) | None => None,
            },
            is_superseded: prepared.is_superseded,
            since,
            form: form.clone(),
            resident: prepared.resident,
            twins,
            workflow: prepared.workflow,
            answers,
            showed,
            from_draft,
            is_unwritten,
            hides_typed,
            token,
            rejection: prepared.rejection,
            faults: prepared.faults,
            has_form: prepared.has_form,
            author: prepared.author,
            zone: prepared.zone,
            now: reader.clock.now(),
            sent: reader.phi_mode(),
        })
    }

    /// The form is what is open from now on, for whoever it was prepared for.
    fn note_open(&self, on: &SessionKey, form: &Form, prepared: &Prepared, showed: Vec<(String, String)>) {
        let actor = prepared.read.actor();
        let shown = OpenForm {
            session: actor.session,
            user: actor.user,
            form: form.clone(),
            asks: asks(&prepared.workflow),
            version: prepared.workflow.version,
            showed,
            locked: None,
        };
        lock(&self.state).open = Some(shown);
        if !self.session.is_open(on) {
            // The screen locked before the form was noted, so nobody will say so any more.
            self.leave(&[Left { session: actor.session, user: actor.user, is_over: false }]);
        }
    }

    /// The entry that the form strikes out, where it does.
    fn struck_out(
        &self,
        on: &SessionKey,
        access: &Access,
        prepared: &Prepared,
    ) -> Result<Option<Entry>, Refused> {
        let struck = prepared.makes.record.filter(|_| prepared.amends == Some(Amends::StrikesOut));
        let Some((resident, record)) = prepared.resident.as_ref().zip(struck) else { return Ok(None) };
        self.reader.entry(&self.session.permits(on, Some(access))?, resident.id, record)
    }

    /// These sessions have left the screen: of whatever they had open it is remembered where they left, and what was
    /// in memory for their eyes alone is forgotten.
    pub(super) fn leave(&self, sessions: &[Left]) {
        for left in sessions {
            self.reader.forget_older();
            let mut state = lock(&self.state);
            let State { open, left: left_on, .. } = &mut *state;
            if let Some(open) = open.as_mut().filter(|open| open.session == left.session) {
                open.locked.get_or_insert(self.reader.clock.monotonic());
                if self.reader.trail.last_read_is(left.session, &open.form) {
                    left_on.insert(left.user, (left.session, open.form.clone()));
                }
            }
            if left.is_over {
                state.forget(left.session);
            }
        }
    }

    /// What takes a discharge back: the token of a form, and its answers.
    pub(super) fn readmission(
        &self,
        on: &SessionKey,
        resident: PatientId,
    ) -> Result<(String, Vec<(String, String)>), Refused> {
        let prepared = self.prepare(on, &Form::Readmit(resident), &[], None)?;
        Ok((self.token(), prepared.answers))
    }

    /// Names one opened form.
    fn token(&self) -> String {
        hex(&self.reader.clock.random::<16>())
    }
}

impl State {
    /// What was dropped in a session that is over, or has saved something since, is gone, and so is what was saved
    /// before.
    fn forget(&mut self, session: SessionId) {
        self.dropped.take_if(|dropped| dropped.session == session);
        self.last_save.take_if(|last| last.session == session);
    }
}

/// Answers that may be from when more was shown here, or less: what they carry along is what the form shows now.
fn as_shown(answers: Vec<(String, String)>, prepared: &Prepared) -> Vec<(String, String)> {
    let (then, now) = (Seen::in_answers(&answers), Seen::in_answers(&prepared.answers));
    match then.zip(now) {
        Some((then, now)) if !then.is_as_much_as(&now) => {
            let seen = prepared.answers.iter().filter(|(key, _)| key == SEEN);
            laid_over(asked(Some(&asks(&prepared.workflow)), &answers), &seen.cloned().collect::<Vec<_>>())
        }
        _ => answers,
    }
}

/// Whether something was typed that the form asked when more was shown here, and does not ask now.
fn hides_typed(answers: &Typed, prepared: &Prepared) -> bool {
    let Some(then) = Seen::in_answers(answers) else { return false };
    let asks = asks(&prepared.workflow);
    let typed = typed_over(&then.typed(&resident_form::whole()), answers.to_vec(), &prepared.zone);
    typed.iter().any(|(key, _)| key != CONFIRMED && !asks.contains(key))
}

/// A discharge of whoever is not in care, and a readmission of whoever is, ask nothing; what was typed into one
/// before is opened all the same.
fn is_so_already(form: &Form, prepared: &Prepared) -> Option<Refused> {
    match (form, prepared.resident.as_ref().map(|resident| resident.is_active)) {
        (Form::Readmit(id), Some(true)) => Some(Refused::InCare(*id)),
        (Form::Discharge(id), Some(false)) => Some(Refused::NotInCare(*id)),
        (_, _) => None,
    }
}

/// The keys of what a form asks, and of what it carries along.
fn asks(workflow: &Workflow) -> Vec<String> {
    let times = workflow.fields.iter().filter(|field| field.field_type == FieldType::Datetime);
    let said = times.map(|field| format!("{OFFSET}{}", field.key));
    let carried = CARRIED.map(str::to_owned);
    workflow.fields.iter().map(|field| field.key.clone()).chain(said).chain(carried).collect()
}

#[cfg(test)]
impl Forms {
    /// As if the screen had locked over the form that much earlier.
    pub(crate) fn locked_earlier(&self, by: Duration) {
        if let Some(locked) = lock(&self.state).open.as_mut().and_then(|form| form.locked.as_mut()) {
            *locked = locked.saturating_sub(by);
        }
    }
}
