//! The desk of an enrolled device: one facility's mirror and outbox behind one session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carepost_agent_core::session::{SessionEvent, SessionMachine, SessionPolicy, SessionView, Throttle};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::id::{PatientId, SessionId, UserId};
use carepost_protocol::record::{Collection, PatientDocument};
use carepost_protocol::role::{Act, Actor, Chart, Permit, ReadPatients};
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::workflow::Workflow;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::view::{
    Entry, FormPage, Locked, Mark, NotSaved, Open, PinPad, Refused, ResidentPage, Residents, Screen,
    StatusLine, in_words,
};
use super::{lock, words};
use crate::badge::Feedback;
use crate::clock::Clock;
use crate::mirror::Mirror;
use crate::outbox::{Entry as NewEntry, Outbox, OutboxError, Progress};

/// How many of a resident's records a page shows.
const SHOWN_RECORDS: usize = 50;
/// How long after a lock what was typed on the page may still be kept as a draft.
const LATE_DRAFT: Duration = Duration::from_secs(60);
/// A page that stays on the screen is fetched anew whenever something changes: within this time that is
/// one read.
const SAME_READ: Duration = Duration::from_secs(5 * 60);
/// The most audit events that wait in memory while the disk does not take them.
const MAX_UNSAVED_AUDIT: usize = 1_000;

/// See the module.
pub struct Ward {
    pub(super) grant: Grant,
    pub(super) badge_key: Zeroizing<[u8; 32]>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) clock: Arc<Clock>,
    pub(super) session: Mutex<SessionMachine>,
    /// What the reader shall show for the tap that is being answered.
    pub(super) feedback: Mutex<Option<Feedback>>,
    /// Counters of wrong PINs that the disk did not take.
    pub(super) unkept: Mutex<BTreeMap<UserId, Throttle>>,
    /// Whose PIN the session wants checked.
    pub(super) checks: Mutex<Option<UserId>>,
    form: Mutex<Option<OpenForm>>,
    reads: Mutex<Reads>,
    /// Wakes the sync: something was saved.
    saved: Notify,
    /// What the disk refused to take: in words, and the audit events that still have to be written.
    unsaved: Mutex<Unsaved>,
}

/// What a ward is made of.
pub struct WardParts {
    /// What the server granted.
    pub grant: Grant,
    /// The facility's badge key.
    pub badge_key: Zeroizing<[u8; 32]>,
    /// What the server can give again.
    pub mirror: Arc<Mirror>,
    /// What exists nowhere else.
    pub outbox: Arc<Outbox>,
    /// How long things last at this screen.
    pub policy: SessionPolicy,
    /// The process's clock.
    pub clock: Arc<Clock>,
}

/// The form on the screen. What was typed into it may still be kept as a draft for a moment after the
/// screen has locked, for the user it was shown to.
struct OpenForm {
    user: UserId,
    patient: PatientId,
    workflow: String,
    shown: Duration,
    locked: Option<Duration>,
}

/// What the session that is open has read, and when that was written down.
#[derive(Default)]
struct Reads {
    session: Option<SessionId>,
    noted: BTreeMap<(Option<PatientId>, &'static str), Duration>,
}

#[derive(Default)]
struct Unsaved {
    trouble: Option<String>,
    audit: Vec<AuditEvent>,
    dropped: u64,
}

impl std::fmt::Debug for Ward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ward").field("device", &self.grant.device_id).finish_non_exhaustive()
    }
}

impl Ward {
    /// A ward whose screen is locked.
    #[must_use]
    pub fn new(parts: WardParts) -> Self {
        let place = (parts.grant.organization_id, parts.grant.facility_id);
        Self {
            session: Mutex::new(SessionMachine::new(parts.policy, place)),
            grant: parts.grant,
            badge_key: parts.badge_key,
            mirror: parts.mirror,
            outbox: parts.outbox,
            clock: parts.clock,
            feedback: Mutex::new(None),
            unkept: Mutex::new(BTreeMap::new()),
            checks: Mutex::new(None),
            form: Mutex::new(None),
            reads: Mutex::new(Reads::default()),
            saved: Notify::new(),
            unsaved: Mutex::new(Unsaved::default()),
        }
    }

    /// What the device was granted.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What the server can give again.
    #[must_use]
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// What exists nowhere else.
    #[must_use]
    pub const fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Waits until something is saved that has to go to the server.
    pub async fn until_saved(&self) {
        self.saved.notified().await;
    }

    /// Who is signed in.
    #[must_use]
    pub fn active_user(&self) -> Option<UserId> {
        lock(&self.session).actor(self.clock.monotonic()).map(|actor| actor.user)
    }

    pub(super) fn screen(&self) -> Screen {
        let session = lock(&self.session);
        let undo = session.undo_name().map(ToOwned::to_owned);
        let attempt = session.pin_attempt().map(|(attempt, _)| attempt);
        let view = session.view(self.clock.monotonic());
        drop(session);
        let say = |notice: Option<_>| notice.map(|notice| words::notice(notice, self.clock.now()));
        match view {
            SessionView::Locked { notice } => Screen::Locked(self.locked(say(notice), None)),
            SessionView::JustLocked { notice, .. } => Screen::Locked(self.locked(say(notice), undo)),
            SessionView::PinPad { display_name, checking, notice, tries_left } => {
                let notice = say(notice).map(|notice| match tries_left {
                    1 => format!("{notice} One try is left before a lock of 30 minutes."),
                    _ => notice,
                });
                Screen::PinPad(PinPad { display_name, attempt: attempt.unwrap_or(0), notice, checking })
            }
            SessionView::Open { member, session, locks_in, warns, .. } => Screen::Open(Open {
                session,
                role: words::role(member.role),
                display_name: member.display_name,
                locks_in: warns.then_some(locks_in),
            }),
        }
    }

    fn locked(&self, notice: Option<String>, undo: Option<String>) -> Locked {
        let facility = self.mirror.facility().ok().flatten();
        let facility_name = facility.as_ref().map_or(&self.grant.facility_name, |facility| &facility.name);
        Locked {
            facility_name: facility_name.clone(),
            organization_name: facility.as_ref().map(|it| it.organization_name.clone()).unwrap_or_default(),
            phone: facility.and_then(|facility| facility.phone),
            notice,
            undo,
        }
    }

    pub(super) fn report(&self, status: &mut StatusLine) {
        let now = self.clock.now();
        match self.outbox.counts() {
            Ok(counts) => {
                status.waiting = counts.care;
                status.wedged = counts.wedged;
                status.oldest_waiting = counts.oldest.map(|made| now.since(made));
            }
            Err(error) => status.storage_trouble = Some(error.to_string()),
        }
        status.loading = !self.is_loaded(Collection::Patients);
        if let Some(trouble) = &lock(&self.unsaved).trouble {
            status.storage_trouble = Some(trouble.clone());
        }
    }

    pub(super) fn is_loaded(&self, collection: Collection) -> bool {
        self.mirror.is_complete(collection).unwrap_or(false)
    }

    pub(super) fn residents(&self) -> Result<Residents, Refused> {
        let permit = self.permit::<ReadPatients>()?;
        // Whether it is complete is asked first: a page that arrives in between only adds.
        let complete = self.is_loaded(Collection::Patients);
        let residents = self.mirror.residents(&permit).map_err(storage)?;
        self.note_access(permit.actor(), AuditAction::View, "patient", None, "/");
        Ok(Residents { residents, complete })
    }

    pub(super) fn resident(&self, id: PatientId) -> Result<ResidentPage, Refused> {
        let permit = self.permit::<ReadPatients>()?;
        let complete = self.is_loaded(Collection::Records);
        let resident = self.find(&permit, id)?;
        let mut workflows = self.mirror.workflows().map_err(storage)?;
        let entries = self.entries(&permit, id, &workflows)?;
        self.note_access(permit.actor(), AuditAction::View, "patient", Some(id), "/residents");
        if self.permit::<Chart>().is_err() {
            workflows.clear();
        }
        Ok(ResidentPage { resident, workflows, entries, complete })
    }

    /// What the server has, with what waits in the outbox laid over it. The cursor is read first, then
    /// the outbox, then the mirror: an entry that arrives in between is in both and dropped here by its
    /// id, and none is missing between its receipt and its return.
    fn entries(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
        workflows: &[Workflow],
    ) -> Result<Vec<Entry>, Refused> {
        let cursor = self.mirror.cursor().map_err(storage)?.map_or(0, |cursor| cursor.seq);
        let pending = self.outbox.pending(permit, id, cursor).map_err(storage)?;
        let records = self.mirror.records(permit, id, SHOWN_RECORDS).map_err(storage)?;
        let workflow = |key: &str| workflows.iter().find(|workflow| workflow.key == key);
        let label =
            |key: &str| workflow(key).map_or_else(|| key.to_owned(), |workflow| workflow.label.clone());
        let mut entries: Vec<Entry> = pending
            .into_iter()
            .filter(|pending| records.iter().all(|record| record.id != pending.record))
            .map(|pending| {
                let key = pending.change.workflow.unwrap_or_default();
                Entry {
                    workflow: label(&key),
                    author: self.name_of(pending.change.actor),
                    recorded_at: pending.change.recorded_at,
                    answers: in_words(workflow(&key), &pending.change.fields),
                    mark: match pending.progress {
                        Progress::Queued => Mark::SavedHere,
                        Progress::Acknowledged => Mark::Sent,
                        Progress::Wedged(reason) => Mark::NeedsAttention(reason),
                    },
                }
            })
            .collect();
        entries.extend(records.into_iter().map(|record| Entry {
            workflow: label(&record.workflow),
            author: self.name_of(record.recorded_by),
            recorded_at: record.recorded_at,
            answers: in_words(workflow(&record.workflow), &record.values),
            mark: Mark::Sent,
        }));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.recorded_at));
        Ok(entries)
    }

    fn name_of(&self, user: UserId) -> String {
        let known = self.mirror.user(user).ok().flatten();
        known.map_or_else(|| "Somebody no longer here".to_owned(), |user| user.display_name)
    }

    pub(super) fn form(&self, id: PatientId, key: &str) -> Result<FormPage, Refused> {
        let permit = self.permit::<ReadPatients>()?;
        let chart = self.permit::<Chart>()?;
        let resident = self.find(&permit, id)?;
        let workflow = self.workflow(key)?;
        let user = chart.actor().user;
        let draft = self.outbox.draft(user, id, key).map_err(storage)?;
        let from_draft = draft.is_some();
        let answers = draft.unwrap_or_else(|| {
            let defaults = workflow.fields.iter().filter_map(|field| {
                field.default.as_ref().map(|default| (field.key.clone(), default.clone()))
            });
            defaults.collect()
        });
        let shown = self.clock.monotonic();
        *lock(&self.form) =
            Some(OpenForm { user, patient: id, workflow: key.to_owned(), shown, locked: None });
        let token = hex(&self.clock.random::<16>());
        self.note_access(permit.actor(), AuditAction::View, "patient", Some(id), "/residents/chart");
        Ok(FormPage { resident, workflow, answers, from_draft, token })
    }

    pub(super) fn save(
        &self,
        id: PatientId,
        key: &str,
        token: &str,
        answers: &[(String, String)],
    ) -> Result<(), NotSaved> {
        let permit = match self.permit::<Chart>() {
            Ok(permit) => permit,
            Err(refused) => {
                // The screen locked under her hands: what she typed waits for her as a draft.
                self.keep_draft(id, key, answers)?;
                return Err(refused.into());
            }
        };
        self.find(&self.permit::<ReadPatients>()?, id)?;
        let workflow = self.workflow(key)?;
        let typed = answers.iter().map(|(key, text)| (key.as_str(), text.as_str()));
        let fields = workflow.parse_form(typed).map_err(NotSaved::Answers)?;
        let actor = *permit.actor();
        let change = Change {
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
            recorded_at: self.clock.now(),
            clock_quality: self.clock.quality(),
            supersedes: None,
        };
        let waiting = self.unsaved_audit();
        let made = self.access(&actor, AuditAction::Create, "record", Some(id), "/residents/chart");
        let audit: Vec<AuditEvent> = waiting.iter().cloned().chain([made]).collect();
        let entry = NewEntry { change: &change, token, audit: &audit };
        match self.with_room(|| self.outbox.append(&permit, entry)) {
            Ok(_) => {
                self.audit_saved();
                self.session_on(SessionEvent::Touched);
                *lock(&self.form) = None;
                self.saved.notify_one();
                Ok(())
            }
            Err(error) => {
                self.audit_failed(waiting, &error);
                Err(NotSaved::Storage(error.to_string()))
            }
        }
    }

    pub(super) fn keep_draft(
        &self,
        id: PatientId,
        key: &str,
        answers: &[(String, String)],
    ) -> Result<(), Refused> {
        let open = lock(&self.session).actor(self.clock.monotonic()).map(|actor| actor.user);
        let user = open.or_else(|| self.late_typist(id, key)).ok_or(Refused::Locked)?;
        // Only what the form asks is kept, so that nothing grows without bound.
        let workflow = self.workflow(key)?;
        let asked: Vec<(String, String)> = answers
            .iter()
            .filter(|(name, _)| workflow.fields.iter().any(|field| field.key == *name))
            .cloned()
            .collect();
        self.outbox.put_draft(user, id, key, &asked, self.clock.now()).map_err(storage)
    }

    /// To whom the form on the screen was shown, if the screen locked only a moment ago.
    fn late_typist(&self, id: PatientId, key: &str) -> Option<UserId> {
        let form = lock(&self.form);
        let form = form.as_ref()?;
        let locked = form.locked.unwrap_or(form.shown);
        let late = self.clock.monotonic().saturating_sub(locked);
        (form.patient == id && form.workflow == key && late < LATE_DRAFT).then_some(form.user)
    }

    pub(super) fn form_locked(&self) {
        if let Some(form) = lock(&self.form).as_mut() {
            form.locked = Some(self.clock.monotonic());
        }
    }

    pub(super) fn session_on(&self, event: SessionEvent) {
        let random = self.clock.random::<10>();
        let effects = lock(&self.session).on(event, self.clock.now(), self.clock.monotonic(), random);
        self.perform(effects);
    }

    fn permit<A: Act>(&self) -> Result<Permit<A>, Refused> {
        use carepost_agent_core::session::Refused as NoPermit;
        lock(&self.session).authorize::<A>(self.clock.monotonic()).map_err(|refused| match refused {
            NoPermit::NoSession => Refused::Locked,
            NoPermit::Denied(_) => Refused::NotAllowed,
        })
    }

    fn find(&self, permit: &Permit<ReadPatients>, id: PatientId) -> Result<PatientDocument, Refused> {
        self.mirror.resident(permit, id).map_err(storage)?.ok_or(Refused::NoSuchResident)
    }

    fn workflow(&self, key: &str) -> Result<Workflow, Refused> {
        let workflows = self.mirror.workflows().map_err(storage)?;
        let found = workflows.into_iter().find(|workflow| workflow.key == key && workflow.enabled);
        found.ok_or(Refused::NoSuchWorkflow)
    }

    fn note_access(
        &self,
        actor: &Actor,
        action: AuditAction,
        resource: &str,
        patient: Option<PatientId>,
        endpoint: &'static str,
    ) {
        let now = self.clock.monotonic();
        let mut reads = lock(&self.reads);
        if reads.session != Some(actor.session) {
            *reads = Reads { session: Some(actor.session), noted: BTreeMap::new() };
        }
        let read = (patient, endpoint);
        if reads.noted.get(&read).is_some_and(|noted| now.saturating_sub(*noted) < SAME_READ) {
            return;
        }
        reads.noted.insert(read, now);
        drop(reads);
        let event = self.access(actor, action, resource, patient, endpoint);
        self.append_audit(vec![event]);
    }

    fn access(
        &self,
        actor: &Actor,
        action: AuditAction,
        resource: &str,
        patient: Option<PatientId>,
        endpoint: &str,
    ) -> AuditEvent {
        AuditEvent {
            action,
            resource_type: resource.to_owned(),
            resource_id: patient.map(|patient| patient.to_string()),
            patient_id: patient,
            endpoint: Some(endpoint.to_owned()),
            ..self.event(AuditEventType::PhiAccess, true, Some(actor.user), Some(actor.session))
        }
    }

    pub(super) fn event(
        &self,
        event_type: AuditEventType,
        success: bool,
        user: Option<UserId>,
        session: Option<SessionId>,
    ) -> AuditEvent {
        let now = self.clock.now();
        AuditEvent {
            id: carepost_protocol::id::AuditId::new(now, self.clock.random::<10>()),
            timestamp: now,
            clock_quality: self.clock.quality(),
            event_type,
            action: AuditAction::Execute,
            success,
            resource_type: "session".to_owned(),
            resource_id: session.map(|session| session.to_string()),
            organization_id: Some(self.grant.organization_id),
            facility_id: Some(self.grant.facility_id),
            device_id: Some(self.grant.device_id),
            user_id: user,
            session_id: session,
            patient_id: None,
            username: None,
            endpoint: None,
            ip_address: None,
            user_agent: Some(concat!("carepost-agent/", env!("CARGO_PKG_VERSION")).to_owned()),
            details: serde_json::Map::new(),
        }
    }

    /// Writes audit events durably. What the disk does not take waits in memory, bounded, and goes
    /// with the next write: a full disk must not keep a nurse from reading.
    pub(super) fn append_audit(&self, events: Vec<AuditEvent>) {
        if events.is_empty() {
            return;
        }
        self.write_audit(events);
    }

    /// Writes what the disk refused before, now that entries were sent and their copies may give way.
    /// Whether there was something.
    pub fn retry_unsaved(&self) -> bool {
        let refused = lock(&self.unsaved).trouble.is_some();
        if refused {
            self.write_audit(Vec::new());
        }
        refused
    }

    fn write_audit(&self, events: Vec<AuditEvent>) {
        let mut all = self.unsaved_audit();
        all.extend(events);
        match self.with_room(|| self.outbox.append_audit(&all)) {
            Ok(()) => {
                self.audit_saved();
                self.saved.notify_one();
            }
            Err(error) => self.audit_failed(all, &error),
        }
    }

    /// Writes to the outbox; when that is full, copies of what the server has give way first.
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

    fn unsaved_audit(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut lock(&self.unsaved).audit)
    }

    fn audit_saved(&self) {
        let mut unsaved = lock(&self.unsaved);
        unsaved.trouble = None;
        unsaved.dropped = 0;
    }

    fn audit_failed(&self, mut events: Vec<AuditEvent>, error: &OutboxError) {
        let mut unsaved = lock(&self.unsaved);
        events.append(&mut unsaved.audit);
        let over = events.len().saturating_sub(MAX_UNSAVED_AUDIT);
        events.drain(..over);
        unsaved.dropped += over as u64;
        unsaved.audit = events;
        let dropped = unsaved.dropped;
        unsaved.trouble = Some(error.to_string());
        drop(unsaved);
        tracing::error!(%error, dropped, "the outbox takes nothing: audit events wait in memory");
    }
}

#[allow(clippy::needless_pass_by_value)] // so that it fits map_err
fn storage(error: impl std::fmt::Display) -> Refused {
    Refused::Storage(error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
