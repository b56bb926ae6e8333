//! What is written down: who read, made and was refused what. What the disk does not take waits in
//! memory, bounded, and goes with the next write: a full disk must not keep a nurse from reading.

use std::sync::MutexGuard;
use std::time::Duration;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{PatientId, SessionId, UserId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::Actor;

use super::lock;
use super::view::Form;
use super::ward::Ward;
use crate::audit;
use crate::outbox::OutboxError;

/// A page that stays on the screen is fetched anew whenever something changes: within this time that is
/// one read.
const SAME_READ: Duration = Duration::from_secs(5 * 60);
/// The most audit events that wait in memory while the disk does not take them.
const MAX_UNSAVED_AUDIT: usize = 1_000;

/// What is asked for, as the audit log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    action: AuditAction,
    resource: &'static str,
    patient: Option<PatientId>,
    endpoint: &'static str,
}

impl Page {
    pub(super) const RESIDENTS: Self =
        Self { action: AuditAction::View, resource: "patient", patient: None, endpoint: "/" };

    pub(super) const fn resident(id: PatientId) -> Self {
        Self { patient: Some(id), endpoint: "/residents", ..Self::RESIDENTS }
    }

    /// Records that only the server has.
    pub(super) const fn older(id: PatientId) -> Self {
        Self { resource: "record", endpoint: "/residents/older", ..Self::resident(id) }
    }

    /// What was refused on this device.
    pub(super) const ATTENTION: Self = Self { resource: "record", endpoint: "/attention", ..Self::RESIDENTS };

    /// What somebody has to look at.
    pub(super) const REVIEWS: Self = Self { resource: "review", endpoint: "/reviews", ..Self::RESIDENTS };

    pub(super) const fn form(form: &Form) -> Self {
        let (patient, endpoint) = match form {
            Form::Chart(patient, _) => (Some(*patient), "/residents/chart"),
            Form::Correct(patient, _) => (Some(*patient), "/residents/correct"),
            Form::Strike(patient, _) => (Some(*patient), "/residents/strike"),
            Form::Admit => (None, "/admit"),
            Form::Edit(patient) => (Some(*patient), "/residents/edit"),
            Form::Discharge(patient) => (Some(*patient), "/residents/discharge"),
            Form::Readmit(patient) => (Some(*patient), "/residents/readmit"),
            Form::Again(_) => (None, "/attention"),
        };
        Self { patient, endpoint, ..Self::RESIDENTS }
    }

    /// The same, where it turned out whom it is about.
    pub(super) fn about(self, resident: Option<&PatientDocument>) -> Self {
        Self { patient: resident.map(|resident| resident.id).or(self.patient), ..self }
    }

    /// What a form makes.
    pub(super) const fn entry(form: &Form) -> Self {
        let (action, resource) = match form {
            Form::Chart(_, _) | Form::Again(_) => (AuditAction::Create, "record"),
            Form::Correct(_, _) | Form::Strike(_, _) => (AuditAction::Update, "record"),
            Form::Admit => (AuditAction::Create, "patient"),
            Form::Edit(_) | Form::Discharge(_) | Form::Readmit(_) => (AuditAction::Update, "patient"),
        };
        Self { action, resource, ..Self::form(form) }
    }

    /// A review that is closed.
    pub(super) const fn closing(patient: PatientId) -> Self {
        Self { action: AuditAction::Update, patient: Some(patient), ..Self::REVIEWS }
    }
}

/// A page that was read, or refused.
#[derive(Debug)]
pub(super) struct LastRead {
    session: SessionId,
    page: Page,
    success: bool,
    noted: Duration,
}

/// What the disk has not taken: in words, and the audit events that still have to be written.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) trouble: Option<String>,
    /// How many bytes the entry had that was refused last; 0 when none was.
    refused: usize,
    waiting: Waiting,
}

/// Audit events that still have to be written, and how many more there were.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    events: Vec<AuditEvent>,
    lost: u64,
}

impl Waiting {
    const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.lost == 0
    }
}

impl Ward {
    /// Writes down that a page was read, or something refused: a page once while it stays on the screen,
    /// and again when somebody comes back to it.
    pub(super) fn note(&self, actor: &Actor, page: &Page, success: bool) {
        if page.action != AuditAction::View {
            return self.append_audit(vec![self.access(actor, page, success)]);
        }
        let now = self.clock.monotonic();
        let mut last = lock(&self.last_read);
        let same = last.as_ref().is_some_and(|last| {
            (last.session, last.page, last.success) == (actor.session, *page, success)
                && now.saturating_sub(last.noted) < SAME_READ
        });
        if same {
            return;
        }
        *last = Some(LastRead { session: actor.session, page: *page, success, noted: now });
        drop(last);
        let event = self.access(actor, page, success);
        self.append_audit(vec![event]);
    }

    /// Whether that form is the page that a session read last.
    pub(super) fn reads_form(&self, session: SessionId, form: &Form) -> bool {
        let last = lock(&self.last_read);
        let names = |page: &Page| (page.endpoint, page.resource);
        last.as_ref()
            .is_some_and(|last| last.session == session && names(&last.page) == names(&Page::form(form)))
    }

    pub(super) fn access(&self, actor: &Actor, page: &Page, success: bool) -> AuditEvent {
        // An entry has no id before it is made.
        let resource = page.patient.filter(|_| page.action == AuditAction::View);
        AuditEvent {
            action: page.action,
            resource_type: page.resource.to_owned(),
            resource_id: resource.map(|patient| patient.to_string()),
            patient_id: page.patient,
            endpoint: Some(page.endpoint.to_owned()),
            ..self.event(AuditEventType::PhiAccess, success, Some(actor.user), Some(actor.session))
        }
    }

    pub(super) fn event(
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
    pub(super) fn append_audit(&self, events: Vec<AuditEvent>) {
        if !events.is_empty() {
            self.write_audit(self.take_waiting(), events);
        }
    }

    /// Tries again to write what the disk did not take: cheap while nothing waits. Returns whether that
    /// worked, so that the screen no longer says that this device cannot save. Call it whenever entries
    /// were sent, whose copies may give way, and every few seconds, from a blocking thread.
    pub fn retry_unsaved(&self) -> bool {
        let waiting = self.take_waiting();
        let (some, refused) = (!waiting.is_empty(), lock(&self.unsaved).refused);
        if some && !self.write_audit(waiting, Vec::new()) {
            return false;
        }
        if refused > 0 && self.with_room(|| self.outbox.try_room(refused)).is_err() {
            return false;
        }
        if refused > 0 {
            self.entry_worked();
        }
        some || refused > 0
    }

    /// Writes to the outbox; when that is full, copies of what the server has give way first.
    pub(super) fn with_room<T>(
        &self,
        mut write: impl FnMut() -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
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

    fn write_audit(&self, waiting: Waiting, events: Vec<AuditEvent>) -> bool {
        let mut all = self.to_write(&waiting);
        all.extend(events.iter().cloned());
        match self.with_room(|| self.outbox.append_audit(&all)) {
            Ok(()) => {
                self.write_worked();
                self.saved.notify_one();
                true
            }
            Err(error) => {
                self.put_back(waiting, events);
                self.write_failed(&error);
                false
            }
        }
    }

    /// Takes what waits, to be written or put back.
    pub(super) fn take_waiting(&self) -> Waiting {
        std::mem::take(&mut lock(&self.unsaved).waiting)
    }

    /// What waits as it is written: how many events were lost comes first.
    pub(super) fn to_write(&self, waiting: &Waiting) -> Vec<AuditEvent> {
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
    pub(super) fn put_back(&self, mut waiting: Waiting, events: Vec<AuditEvent>) {
        waiting.events.extend(events);
        let mut unsaved = lock(&self.unsaved);
        // What began to wait meanwhile is younger.
        waiting.events.append(&mut unsaved.waiting.events);
        let over = waiting.events.len().saturating_sub(MAX_UNSAVED_AUDIT);
        waiting.events.drain(..over);
        waiting.lost += unsaved.waiting.lost + over as u64;
        unsaved.waiting = waiting;
    }

    /// Why this device cannot save, in words.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.unsaved).trouble.clone()
    }

    fn write_worked(&self) {
        let unsaved = lock(&self.unsaved);
        if unsaved.refused == 0 {
            self.now_troubled(unsaved, None);
        }
    }

    /// An entry was saved, or would be now.
    pub(super) fn entry_worked(&self) {
        let mut unsaved = lock(&self.unsaved);
        unsaved.refused = 0;
        self.now_troubled(unsaved, None);
    }

    /// The server should hear soon when that is news.
    fn now_troubled(&self, mut unsaved: MutexGuard<'_, Unsaved>, trouble: Option<String>) {
        let before = std::mem::replace(&mut unsaved.trouble, trouble);
        let is_news = before != unsaved.trouble;
        drop(unsaved);
        if is_news {
            self.saved.notify_one();
        }
    }

    /// An entry of that many bytes was refused for want of the disk.
    pub(super) fn entry_failed(&self, bytes: usize, error: &OutboxError) {
        lock(&self.unsaved).refused = bytes.max(1);
        self.write_failed(error);
    }

    fn write_failed(&self, error: &OutboxError) {
        let unsaved = lock(&self.unsaved);
        let lost = unsaved.waiting.lost;
        self.now_troubled(unsaved, Some(error.to_string()));
        tracing::error!(%error, lost, "the outbox takes nothing: audit events wait in memory");
    }
}
