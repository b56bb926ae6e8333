//! The audit trail: who read, changed and was refused what, and who signed in, appended to the outbox.
//!
//! What the disk does not take waits in memory, bounded, and goes with the next write: a full disk must not keep a
//! nurse from reading. It has one lock, which is not held while the outbox writes.

mod refusal_log;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{PatientId, RecordId, SessionId, UserId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Act, Actor, Permit};
use carepost_protocol::wire::enroll::Grant;
use tokio::sync::Notify;

use super::lock;
use super::view::{Form, NotSaved, Refused};
use crate::audit;
use crate::clock::Clock;
use crate::mirror::Mirror;
use crate::outbox::{Entry, Outbox, OutboxError, Saved};
use refusal_log::RefusalLog;

/// A page that stays on the screen is fetched anew whenever something changes: within this time that is
/// one read.
const SAME_READ: Duration = Duration::from_secs(5 * 60);
/// The most audit events that wait in memory while the disk does not take them.
const MAX_UNSAVED_AUDIT: usize = 1_000;

/// What is written down of who did what here, and whether the disk takes that.
pub struct AuditTrail {
    grant: Grant,
    mirror: Arc<Mirror>,
    outbox: Arc<Outbox>,
    clock: Arc<Clock>,
    state: Mutex<State>,
    /// Wakes the sync: something was saved.
    saved: Notify,
}

/// What is asked for, as the audit log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    action: AuditAction,
    resource: &'static str,
    patient: Option<PatientId>,
    endpoint: &'static str,
}

impl Access {
    pub(crate) const RESIDENTS: Self =
        Self { action: AuditAction::View, resource: "patient", patient: None, endpoint: "/" };

    pub(crate) const fn resident(id: PatientId) -> Self {
        Self { patient: Some(id), endpoint: "/residents", ..Self::RESIDENTS }
    }

    /// Records that only the server has.
    pub(crate) const fn older(id: PatientId) -> Self {
        Self { resource: "record", endpoint: "/residents/older", ..Self::resident(id) }
    }

    /// What the server rejected of this device.
    pub(crate) const REJECTED: Self = Self { resource: "record", endpoint: "/rejected", ..Self::RESIDENTS };

    /// What somebody has to look at.
    pub(crate) const REVIEWS: Self = Self { resource: "review", endpoint: "/reviews", ..Self::RESIDENTS };

    pub(crate) const fn form(form: &Form) -> Self {
        let (patient, endpoint) = match form {
            Form::Chart(patient, _) => (Some(*patient), "/residents/chart"),
            Form::Correct(patient, _) => (Some(*patient), "/residents/correct"),
            Form::Strike(patient, _) => (Some(*patient), "/residents/strike"),
            Form::Admit => (None, "/admit"),
            Form::Edit(patient) => (Some(*patient), "/residents/edit"),
            Form::Discharge(patient) => (Some(*patient), "/residents/discharge"),
            Form::Readmit(patient) => (Some(*patient), "/residents/readmit"),
            Form::Resubmit(_) => (None, "/rejected"),
        };
        Self { patient, endpoint, ..Self::RESIDENTS }
    }

    /// The same, where it turned out whom it is about.
    pub(crate) fn about(self, resident: Option<&PatientDocument>) -> Self {
        Self { patient: resident.map(|resident| resident.id).or(self.patient), ..self }
    }

    /// What a form makes.
    pub(crate) const fn entry(form: &Form) -> Self {
        let (action, resource) = match form {
            Form::Chart(_, _) | Form::Resubmit(_) => (AuditAction::Create, "record"),
            Form::Correct(_, _) | Form::Strike(_, _) => (AuditAction::Update, "record"),
            Form::Admit => (AuditAction::Create, "patient"),
            Form::Edit(_) | Form::Discharge(_) | Form::Readmit(_) => (AuditAction::Update, "patient"),
        };
        Self { action, resource, ..Self::form(form) }
    }

    /// A review that is closed.
    pub(crate) const fn closing(patient: PatientId) -> Self {
        Self { action: AuditAction::Update, patient: Some(patient), ..Self::REVIEWS }
    }
}

/// What was read last, or refused.
#[derive(Debug)]
struct LastAccess {
    session: SessionId,
    access: Access,
    success: bool,
    at: Duration,
}

/// What the disk has not taken, what was read last, and what was refused.
#[derive(Debug, Default)]
struct State {
    /// Why the disk takes nothing, in words.
    trouble: Option<String>,
    /// How many bytes the entry had that was refused last; 0 when none was.
    refused: usize,
    waiting: Waiting,
    last: Option<LastAccess>,
    refusals: RefusalLog,
}

/// Audit events that still have to be written, and how many more there were.
#[derive(Debug, Default)]
struct Waiting {
    events: Vec<AuditEvent>,
    lost: u64,
}

impl Waiting {
    const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.lost == 0
    }
}

impl AuditTrail {
    pub(crate) fn new(grant: Grant, mirror: Arc<Mirror>, outbox: Arc<Outbox>, clock: Arc<Clock>) -> Self {
        Self { grant, mirror, outbox, clock, state: Mutex::default(), saved: Notify::new() }
    }

    pub(crate) const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Waits until something is saved that has to go to the server.
    pub async fn until_saved(&self) {
        self.saved.notified().await;
    }

    /// Writes down that something was read, changed or refused: a page once while it stays on the screen, and again
    /// when somebody comes back to it. What is refused again and again is counted.
    pub(crate) fn accessed(&self, actor: &Actor, access: &Access, success: bool) {
        let is_view = access.action == AuditAction::View;
        if is_view && self.is_same_read(actor.session, access, success) && success {
            return;
        }
        self.append(self.counted(self.access_event(actor, access, success)));
    }

    /// Writes down that something was refused, where there is something to write it down as.
    pub(crate) fn refused(&self, actor: &Actor, access: Option<&Access>) {
        if let Some(access) = access {
            self.accessed(actor, access, false);
        }
    }

    /// What is to be written down because of an event that may be a refusal: of those that follow one, a count.
    pub(crate) fn counted(&self, event: AuditEvent) -> Vec<AuditEvent> {
        lock(&self.state).refusals.note(event, &self.clock, self.clock.monotonic())
    }

    /// The counts of what was refused to a session that is over.
    pub(crate) fn counts_of(&self, session: SessionId) -> Vec<AuditEvent> {
        lock(&self.state).refusals.of_session(&self.clock, session)
    }

    /// Tells what was counted and whose time is over. Whether there was anything.
    pub(crate) fn tell_over(&self) -> bool {
        let told = lock(&self.state).refusals.over(&self.clock, self.clock.monotonic());
        let some = !told.is_empty();
        self.append(told);
        some
    }

    /// Tells all that was counted: the agent stops, or the device is revoked.
    pub fn tell_all(&self) {
        let told = lock(&self.state).refusals.all(&self.clock);
        self.append(told);
    }

    /// A permit that not every role has; that somebody does not have it is written down.
    pub(crate) fn demand<A: Act>(
        &self,
        permit: Option<Permit<A>>,
        actor: &Actor,
        access: Option<&Access>,
    ) -> Result<Permit<A>, Refused> {
        permit.ok_or_else(|| {
            self.refused(actor, access);
            Refused::NotAllowed
        })
    }

    fn is_same_read(&self, session: SessionId, access: &Access, success: bool) -> bool {
        let at = self.clock.monotonic();
        let mut state = lock(&self.state);
        let is_same = state.last.as_ref().is_some_and(|last| {
            (last.session, last.access, last.success) == (session, *access, success)
                && at.saturating_sub(last.at) < SAME_READ
        });
        if !is_same {
            state.last = Some(LastAccess { session, access: *access, success, at });
        }
        is_same
    }

    /// Whether that form is the page that a session read last.
    pub(crate) fn last_read_is(&self, session: SessionId, form: &Form) -> bool {
        let names = |access: &Access| (access.endpoint, access.resource);
        let state = lock(&self.state);
        let last = state.last.as_ref().filter(|last| last.session == session);
        last.is_some_and(|last| names(&last.access) == names(&Access::form(form)))
    }

    pub(crate) fn access_event(&self, actor: &Actor, access: &Access, success: bool) -> AuditEvent {
        // An entry has no id before it is made.
        let resource = access.patient.filter(|_| access.action == AuditAction::View);
        AuditEvent {
            action: access.action,
            resource_type: access.resource.to_owned(),
            resource_id: resource.map(|patient| patient.to_string()),
            patient_id: access.patient,
            endpoint: Some(access.endpoint.to_owned()),
            ..self.event(AuditEventType::PhiAccess, success, Some(actor.user), Some(actor.session))
        }
    }

    pub(crate) fn event(
        &self,
        event_type: AuditEventType,
        success: bool,
        user: Option<UserId>,
        session: Option<SessionId>,
    ) -> AuditEvent {
        AuditEvent {
            success,
            user_id: user,
            session_id: session,
            resource_id: session.map(|session| session.to_string()),
            ..audit::event(&self.clock, &self.grant, event_type, AuditAction::Execute, "session")
        }
    }

    /// Writes audit events durably, with those that wait. What the disk does not take waits.
    pub(crate) fn append(&self, events: Vec<AuditEvent>) {
        if !events.is_empty() {
            self.write(self.take_waiting(), events);
        }
    }

    /// Appends a change with the audit event that it was made, and what waits.
    ///
    /// # Errors
    /// See [`NotSaved`].
    pub(crate) fn append_change<A: Act>(
        &self,
        permit: &Permit<A>,
        entry: Entry<'_>,
        access: &Access,
    ) -> Result<Saved, NotSaved> {
        let actor = permit.actor();
        let waiting = self.take_waiting();
        let earlier = self.to_write(&waiting);
        let audit = |record: RecordId| {
            let mut made = self.access_event(actor, access, true);
            made.resource_id = Some(record.to_string());
            made.patient_id = made.patient_id.or(entry.change.patient);
            earlier.iter().cloned().chain([made]).collect()
        };
        match self.with_room(|| self.outbox.append(permit, entry, audit)) {
            Ok(saved) => {
                self.takes_entries();
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
                | OutboxError::WalFull { .. }
                | OutboxError::Moved { .. }
                | OutboxError::Sqlite(_)
                | OutboxError::Open(_)
                | OutboxError::Gone { .. }
                | OutboxError::OtherDevice { .. }
                | OutboxError::Receipt(_)
                | OutboxError::NotUnderstood(_)
                | OutboxError::Key(_)
                | OutboxError::Random),
            ) => {
                // That it failed is written down once the disk takes something, and shows that it does.
                self.put_back(waiting, vec![self.access_event(actor, access, false)]);
                let bytes = serde_json::to_vec(entry.change).map_or(0, |payload| payload.len());
                lock(&self.state).refused = bytes.max(1);
                self.takes_nothing(&error);
                let words = error.to_string();
                let is_uncertain = matches!(error, OutboxError::Sqlite(_));
                Err(if is_uncertain { NotSaved::Uncertain(words) } else { NotSaved::Storage(words) })
            }
        }
    }

    /// Appends what is no entry: a PIN that somebody chose, with the audit event of that.
    pub(crate) fn append_choice<A: Act>(
        &self,
        permit: &Permit<A>,
        entry: Entry<'_>,
        event: impl Fn() -> AuditEvent,
    ) -> Result<(), OutboxError> {
        self.with_room(|| self.outbox.append(permit, entry, |_| vec![event()]))?;
        self.saved.notify_one();
        Ok(())
    }

    /// Looks whether the outbox is where it was, and tries again to write what the disk did not take: cheap while
    /// nothing waits. Returns whether the screen says since then that this device cannot save, or no longer does. Call
    /// it whenever entries were sent, whose copies may give way, and every few seconds, from a blocking thread.
    pub fn retry(&self) -> bool {
        if let Err(error) = self.outbox.in_place() {
            let is_news = self.trouble() != Some(error.to_string());
            if is_news {
                let mut state = lock(&self.state);
                state.refused = state.refused.max(1);
                drop(state);
                self.takes_nothing(&error);
            }
            return is_news;
        }
        let waiting = self.take_waiting();
        let (some, refused) = (!waiting.is_empty(), lock(&self.state).refused);
        if some && !self.write(waiting, Vec::new()) {
            return false;
        }
        if refused > 0 {
            if self.with_room(|| self.outbox.try_room(refused)).is_err() {
                return false;
            }
            self.takes_entries();
        }
        some || refused > 0
    }

    /// Why this device cannot save, in words.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }

    /// The same, or else what is wrong with the outbox's file, for the server.
    #[must_use]
    pub fn any_trouble(&self) -> Option<String> {
        self.trouble().or_else(|| self.outbox.trouble())
    }

    /// Writes to the outbox; when that is full, copies of what the server has give way first. Beside a file that is
    /// not folded into they would make no room.
    fn with_room<T>(&self, mut write: impl FnMut() -> Result<T, OutboxError>) -> Result<T, OutboxError> {
        loop {
            match write() {
                Err(OutboxError::Full) => {
                    let cursor = self.mirror.cursor().ok().flatten().map_or(0, |cursor| cursor.seq);
                    if self.outbox.make_room(cursor)? == 0 {
                        return Err(OutboxError::Full);
                    }
                }
                written => return written,
            }
        }
    }

    fn write(&self, waiting: Waiting, events: Vec<AuditEvent>) -> bool {
        let mut all = self.to_write(&waiting);
        all.extend(events.iter().cloned());
        match self.with_room(|| self.outbox.append_audit(&all)) {
            Ok(()) => {
                let state = lock(&self.state);
                if state.refused == 0 {
                    self.set_trouble(state, None);
                }
                self.saved.notify_one();
                true
            }
            Err(error) => {
                self.put_back(waiting, events);
                self.takes_nothing(&error);
                false
            }
        }
    }

    /// Takes what waits, to be written or put back.
    fn take_waiting(&self) -> Waiting {
        std::mem::take(&mut lock(&self.state).waiting)
    }

    /// What waits as it is written: how many events were lost comes first.
    fn to_write(&self, waiting: &Waiting) -> Vec<AuditEvent> {
        let lost = (waiting.lost > 0).then(|| {
            let mut event = self.event(AuditEventType::Device, false, None, None);
            "audit_log".clone_into(&mut event.resource_type);
            event.details.insert("reason".to_owned(), "events_lost".into());
            event.details.insert("lost".to_owned(), waiting.lost.into());
            event
        });
        lost.into_iter().chain(waiting.events.iter().cloned()).collect()
    }

    /// Puts back what was not written, with what shall wait too; the oldest go first when it is too much.
    fn put_back(&self, mut waiting: Waiting, events: Vec<AuditEvent>) {
        waiting.events.extend(events);
        let mut state = lock(&self.state);
        // What began to wait meanwhile is younger.
        waiting.events.append(&mut state.waiting.events);
        let over = waiting.events.len().saturating_sub(MAX_UNSAVED_AUDIT);
        waiting.events.drain(..over);
        waiting.lost += state.waiting.lost + over as u64;
        state.waiting = waiting;
    }

    /// An entry was saved, or would be now.
    fn takes_entries(&self) {
        let mut state = lock(&self.state);
        state.refused = 0;
        self.set_trouble(state, None);
    }

    fn takes_nothing(&self, error: &OutboxError) {
        let state = lock(&self.state);
        let lost = state.waiting.lost;
        self.set_trouble(state, Some(error.to_string()));
        tracing::error!(%error, lost, "the outbox takes nothing: audit events wait in memory");
    }

    /// The server should hear soon when that is news.
    fn set_trouble(&self, mut state: MutexGuard<'_, State>, trouble: Option<String>) {
        let before = std::mem::replace(&mut state.trouble, trouble);
        let is_news = before != state.trouble;
        drop(state);
        if is_news {
            self.saved.notify_one();
        }
    }
}
