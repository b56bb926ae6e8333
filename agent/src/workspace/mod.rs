//! The workspace of an enrolled device: all that a facility's people do at its screen, and all that they are shown.
//!
//! It has four parts, and each knows only those before it: `audit_trail`, `reader`, `session_host` and `forms`. Its
//! calls touch files and never wait for the network, so async code calls them from a blocking thread. What a page asks
//! is asked for the session that the page is made for, or was: nobody reads or writes under a name that is no longer the
//! one on the screen.

mod answer;
mod audit_trail;
mod forms;
mod permits;
mod reader;
mod refusal;
mod resident_form;
mod session_host;
pub mod times;
pub mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_agent_core::session::{SessionEvent, SessionPolicy};
use carepost_protocol::id::{PatientId, ReviewId, UserId};
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::{ReaderState, Revoked, UnknownTap};
use carepost_protocol::wire::older::{OlderPlace, OlderRecords};
use secrecy::SecretString;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::badge::{BadgeEvent, Feedback};
use crate::clock::Clock;
use crate::mirror::{Mirror, MirrorError};
use crate::outbox::Outbox;
use audit_trail::Access;
use permits::Permits;
use reader::Reader;
use session_host::{Outcome, SessionHost};
use view::{
    Join, Missed, OlderPage, Part, Refused, Rejected, ResidentPage, Residents, Review, Screen, SessionKey,
    Shown, StatusLine, Who,
};

pub use answer::AnsweredField;
pub use audit_trail::AuditTrail;
pub use forms::{Forms, News};
pub use reader::{Asked, Question, REVIEWS_COUNTED};

/// See the module.
pub struct Workspace {
    trail: Arc<AuditTrail>,
    reader: Arc<Reader>,
    session: Arc<SessionHost>,
    forms: Forms,
}

/// What a workspace is made of.
pub struct WorkspaceParts {
    pub grant: Grant,
    pub badge_key: Zeroizing<[u8; 32]>,
    /// What the server can give again.
    pub mirror: Arc<Mirror>,
    /// What exists nowhere else.
    pub outbox: Arc<Outbox>,
    /// How long things last at this screen.
    pub policy: SessionPolicy,
    pub clock: Arc<Clock>,
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("device", &self.grant().device_id).finish_non_exhaustive()
    }
}

impl Workspace {
    /// A workspace whose screen is locked.
    #[must_use]
    pub fn new(parts: WorkspaceParts) -> Self {
        let WorkspaceParts { grant, badge_key, mirror, outbox, policy, clock } = parts;
        let trail = AuditTrail::new(grant, Arc::clone(&mirror), Arc::clone(&outbox), Arc::clone(&clock));
        let trail = Arc::new(trail);
        let reader = Arc::new(Reader::new(mirror, outbox, clock, Arc::clone(&trail)));
        let session = Arc::new(SessionHost::new(Arc::clone(&reader), badge_key, policy));
        let forms = Forms::new(Arc::clone(&reader), Arc::clone(&session));
        Self { trail, reader, session, forms }
    }

    #[must_use]
    pub fn grant(&self) -> &Grant {
        self.trail.grant()
    }

    /// What the server can give again.
    #[must_use]
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.reader.mirror
    }

    /// What exists nowhere else.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.reader.outbox
    }

    #[must_use]
    pub fn screen(&self) -> Screen {
        self.session.screen()
    }

    /// What the line at the top says of this facility.
    pub fn report(&self, status: &mut StatusLine) {
        self.reader.report(status);
        let on = self.session.active().map(|actor| SessionKey::of(actor.session));
        let permits = on.and_then(|on| self.session.permits(&on, None).ok());
        status.reviews = permits.map_or(0, |permits| self.reader.count_reviews(&permits));
    }

    /// A reader saw something: what to show at the reader.
    pub fn on_badge(&self, event: &BadgeEvent) -> Option<Feedback> {
        self.take(self.session.on_badge(event)).feedback
    }

    /// Somebody did something at the screen that is no PIN.
    pub(crate) fn on(&self, event: SessionEvent) {
        self.take(self.session.on(event));
    }

    /// A PIN was typed for that attempt, the own or a new one. Takes as long as its check, about 40 ms; `checking` is
    /// called when that begins.
    pub fn enter_pin(&self, attempt: u64, pin: &SecretString, checking: impl FnOnce()) {
        if let Some(check) = self.take(self.session.type_pin(attempt, pin)).check {
            checking();
            self.take(self.session.check_pin(&check, pin));
        }
    }

    /// Lets time pass: whether something was due.
    pub fn tick(&self) -> bool {
        let told = self.trail.tell_over();
        let due = self.session.tick().map(|outcome| self.take(outcome));
        told || due.is_some()
    }

    /// When to let time pass again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.session.next_deadline()
    }

    /// The mirror has new documents: whoever is at this screen may be one of them.
    pub fn members_changed(&self) {
        for outcome in self.session.members_changed() {
            self.take(outcome);
        }
    }

    /// What the server revoked opens nothing from now on, and whoever is at this screen by it is gone.
    ///
    /// # Errors
    /// When the disk does not take it: the next heartbeat brings it again.
    pub fn revoke(&self, revoked: &Revoked) -> Result<(), MirrorError> {
        self.reader.mirror.revoke(revoked)?;
        self.members_changed();
        Ok(())
    }

    /// The badge reader came or went.
    pub fn reader_changed(&self, reader: ReaderState) {
        self.session.reader_changed(reader);
    }

    /// Who is signed in.
    #[must_use]
    pub fn active_user(&self) -> Option<UserId> {
        self.session.active().map(|actor| actor.user)
    }

    /// The last card that was nobody's badge, as long as that is worth something: the office can issue it.
    #[must_use]
    pub fn unknown_tap(&self) -> Option<UnknownTap> {
        self.session.unknown_tap()
    }

    /// When that was, so that the next one is news.
    pub(crate) fn unknown_tap_at(&self) -> Option<Duration> {
        self.session.unknown_tap_at()
    }

    /// See [`AuditTrail`].
    #[must_use]
    pub fn audit_trail(&self) -> &AuditTrail {
        &self.trail
    }

    /// Writes down what the mirror found of itself. Whether there was anything.
    pub fn tell_of_mirror(&self) -> bool {
        self.reader.tell_of_mirror()
    }

    /// Has everything pulled again: what this device may see may have changed.
    ///
    /// # Errors
    /// When the mirror's file cannot be written.
    pub fn refetch(&self) -> Result<(), MirrorError> {
        self.reader.refetch()
    }

    /// Waits until somebody asks for older entries, and still waits for the answer. One task may.
    pub async fn until_asked(&self) -> Question {
        self.reader.until_asked().await
    }

    /// The residents of the facility.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn residents(&self, on: &SessionKey, who: &Who) -> Result<Residents, Refused> {
        let residents = self.reader.residents(&self.permits(on, &Access::RESIDENTS)?, who)?;
        Ok(Residents { begun: self.forms.all_begun(on)?, ..residents })
    }

    /// One resident, what can be charted and what was: so many of the latest entries.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn resident(&self, on: &SessionKey, id: PatientId, shown: Shown) -> Result<ResidentPage, Refused> {
        let page = self.reader.resident(&self.permits(on, &Access::resident(id))?, id, shown)?;
        let resident = &page.resident.document;
        let has_left = page.may_edit && !resident.is_active;
        let readmission = has_left.then(|| self.forms.readmission(on, resident.id)).transpose()?;
        let begun = self.forms.begun_about(on, resident)?;
        Ok(ResidentPage { readmission, begun, ..page })
    }

    /// Asks the server for a page of a resident's older entries: wait for the answer, then take it to
    /// [`Self::older`].
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn ask_older(
        &self,
        on: &SessionKey,
        id: PatientId,
        after: Option<OlderPlace>,
    ) -> Result<Asked, Refused> {
        self.reader.ask_older(&self.permits(on, &Access::older(id))?, id, after)
    }

    /// The page of what the server answered.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn older(
        &self,
        on: &SessionKey,
        id: PatientId,
        answer: Result<OlderRecords<Box<RawValue>>, Missed>,
    ) -> Result<OlderPage, Refused> {
        let permits = self.permits(on, &Access::older(id))?;
        self.reader.older(&permits, id, answer, || self.session.is_open(on))
    }

    /// What the server rejected of this device.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn rejected(&self, on: &SessionKey, after: usize) -> Result<Part<Rejected>, Refused> {
        self.reader.rejected(&self.permits(on, &Access::REJECTED)?.read, after)
    }

    /// What somebody has to look at, after so many.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn reviews(&self, on: &SessionKey, after: usize) -> Result<Part<Review>, Refused> {
        self.reader.reviews(&self.permits(on, &Access::REVIEWS)?, after)
    }

    /// Two residents whom a review asks about, side by side.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn join(&self, on: &SessionKey, review: ReviewId, other: PatientId) -> Result<Join, Refused> {
        self.reader.join(&self.permits(on, &Access::REVIEWS)?, review, other)
    }

    /// See [`Forms`].
    #[must_use]
    pub const fn forms(&self) -> &Forms {
        &self.forms
    }

    fn permits(&self, on: &SessionKey, access: &Access) -> Result<Permits, Refused> {
        self.session.permits(on, Some(access))
    }

    /// Tells the forms who has left the screen.
    fn take(&self, outcome: Outcome) -> Outcome {
        self.forms.leave(&outcome.left);
        outcome
    }
}

/// A panic elsewhere must not take the kiosk down with it: every value behind these locks is whole at
/// each release.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
