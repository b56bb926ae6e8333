//! The device: its state with its server, what the world around it is like, and the workspace once it is enrolled.
//!
//! It decides which screen the kiosk shows, and counts up with every change that is visible there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use carepost_agent_core::session::SessionEvent;
use carepost_agent_core::sync::Distrust;
use carepost_protocol::id::PatientId;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState};
use carepost_protocol::wire::older::OlderPlace;
use tokio::sync::{Notify, watch};

use crate::badge::{BadgeEvent, Feedback};
use crate::clock::Clock;
use crate::workspace::times::{TimeHere, Whose};
use crate::workspace::view::{Enrolling, Link, Missed, Refused, Screen, SessionKey, StatusLine, SyncView};
use crate::workspace::{Asked, Workspace, lock};

/// See the module.
#[derive(Debug)]
pub struct Device {
    state: Mutex<State>,
    signals: Mutex<Signals>,
    encryption: Mutex<Option<Encryption>>,
    changes: watch::Sender<u64>,
    /// Somebody wants the revoked device to enroll anew.
    anew: Notify,
    clock: Arc<Clock>,
}

/// The device's state with its server.
#[derive(Debug, Clone)]
pub enum State {
    /// Not enrolled yet.
    Enrolling(Enrolling),
    /// Enrolled: there is a facility, and people can sign in.
    Enrolled(Arc<Workspace>),
    /// Its files or keys do not open, most often for want of room on the disk.
    Unopened {
        /// Why, in words.
        why: String,
        /// Whom to call, where that can be read.
        phone: Option<String>,
    },
    /// Its key is refused for good.
    Revoked {
        /// Why that, or that it is to enroll anew, cannot be kept, in words.
        trouble: Option<String>,
    },
}

/// What the shell reports of the world outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signals {
    link: Link,
    reader: ReaderState,
    sync: SyncView,
}

impl Device {
    /// A device in that state.
    #[must_use]
    pub fn new(state: State, reader: ReaderState, clock: Arc<Clock>) -> Self {
        let link = Link::Offline { since: clock.now() };
        Self {
            state: Mutex::new(state),
            signals: Mutex::new(Signals { link, reader, sync: SyncView::default() }),
            encryption: Mutex::default(),
            changes: watch::Sender::new(0),
            anew: Notify::new(),
            clock,
        }
    }

    /// The one screen that the kiosk shows now.
    #[must_use]
    pub fn screen(&self) -> Screen {
        match self.state() {
            State::Enrolling(enrolling) => Screen::Enrolling(enrolling),
            State::Unopened { .. } => Screen::Unopened,
            State::Revoked { .. } => Screen::Revoked,
            State::Enrolled(workspace) => workspace.screen(),
        }
    }

    /// What the line at the top of every screen says.
    #[must_use]
    pub fn status(&self) -> StatusLine {
        let Signals { link, reader, sync } = lock(&self.signals).clone();
        let time = TimeHere { zone: self.clock.zone(), whose: Whose::Device };
        let mut status = StatusLine::calm(link, sync, reader, time);
        status.encryption.clone_from(&lock(&self.encryption));
        match self.state() {
            State::Enrolled(workspace) => workspace.report(&mut status),
            State::Unopened { why, phone } => {
                status.storage_trouble = Some(why);
                status.phone = phone;
            }
            State::Revoked { trouble } => status.storage_trouble = trouble,
            State::Enrolling(_) => {}
        }
        status.rejected += status.sync.stuck;
        status
    }

    /// How far the time that entries are given can be believed.
    #[must_use]
    pub fn clock_quality(&self) -> ClockQuality {
        self.clock.stamp().1
    }

    /// Counts up with every visible change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says that something visible changed.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The facility's workspace, once the device is enrolled.
    #[must_use]
    pub fn workspace(&self) -> Option<Arc<Workspace>> {
        match self.state() {
            State::Enrolled(workspace) => Some(workspace),
            State::Enrolling(_) | State::Unopened { .. } | State::Revoked { .. } => None,
        }
    }

    /// The device is in another state now.
    pub fn enter(&self, state: State) {
        *lock(&self.state) = state;
        self.changed();
    }

    /// "Enroll anew" was pressed: what any other than a revoked device takes no notice of.
    pub fn enroll_anew(&self) {
        if matches!(self.state(), State::Revoked { .. }) {
            self.anew.notify_one();
        }
    }

    /// Waits until somebody wants the revoked device to enroll anew.
    pub async fn until_anew(&self) {
        self.anew.notified().await;
    }

    /// The server is reached, or not any more.
    pub fn set_link(&self, online: bool, now: Timestamp) {
        let mut signals = lock(&self.signals);
        let link = match (online, signals.link) {
            (true, _) => Link::Online,
            (false, Link::Online) => Link::Offline { since: now },
            (false, offline @ Link::Offline { .. }) => offline,
        };
        let differs = signals.link != link;
        signals.link = link;
        drop(signals);
        if differs {
            self.changed();
        }
    }

    pub fn set_sync(&self, sync: SyncView) {
        let differs = std::mem::replace(&mut lock(&self.signals).sync, sync.clone()) != sync;
        if differs {
            self.changed();
        }
    }

    /// Which certificate keeps the device and its server apart, while nothing is synced.
    pub fn set_distrust(&self, distrust: Option<Distrust>) {
        self.set_sync(SyncView { distrust, ..self.sync() });
    }

    /// See [`Self::set_sync`].
    #[must_use]
    pub fn sync(&self) -> SyncView {
        lock(&self.signals).sync.clone()
    }

    /// What of this device rests in the clear now; says whether that is news.
    pub fn set_encryption(&self, measured: Encryption) -> bool {
        let measured = Some(measured);
        let differs = std::mem::replace(&mut *lock(&self.encryption), measured.clone()) != measured;
        if differs {
            self.changed();
        }
        differs
    }

    /// The badge reader came or went.
    pub fn set_reader(&self, reader: ReaderState) {
        let mut signals = lock(&self.signals);
        let differs = signals.reader != reader;
        signals.reader = reader;
        drop(signals);
        if differs {
            if let Some(workspace) = self.workspace() {
                workspace.reader_changed(reader);
            }
            self.changed();
        }
    }

    /// A reader saw a badge: what to show at the reader.
    #[must_use]
    pub fn on_badge(&self, event: &BadgeEvent) -> Option<Feedback> {
        let feedback = self.workspace()?.on_badge(event);
        self.changed();
        feedback
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The badge reader's state, for the heartbeat.
    #[must_use]
    pub fn reader(&self) -> ReaderState {
        lock(&self.signals).reader
    }

    /// Lets time pass; when to call again.
    pub fn tick(&self) -> Option<Duration> {
        let workspace = self.workspace()?;
        // What a full disk did not take is written as soon as it does.
        let is_news = workspace.audit_trail().retry();
        workspace.forms().keep_unwritten();
        if workspace.tick() || is_news {
            self.changed();
        }
        workspace.next_deadline()
    }

    pub fn touched(&self) {
        self.on(SessionEvent::Touched);
    }

    /// A PIN was typed for that attempt, the own or a new one. Takes as long as its check: about 40 ms.
    #[allow(clippy::needless_pass_by_value)] // a PIN is not kept by whoever asked
    pub fn enter_pin(&self, attempt: u64, pin: secrecy::SecretString) {
        if let Some(workspace) = self.workspace() {
            workspace.enter_pin(attempt, &pin, || self.changed());
            self.changed();
        }
    }

    /// The PIN pad was dismissed.
    pub fn cancel_pin(&self) {
        self.on(SessionEvent::PinCancelled);
    }

    /// "Lock" was pressed.
    pub fn lock(&self) {
        self.on(SessionEvent::LockPressed);
    }

    /// "Undo" was pressed after the own badge had locked the screen.
    pub fn undo_lock(&self) {
        self.on(SessionEvent::UndoPressed);
    }

    /// Asks the server for a page of a resident's older entries: wait for the answer, then take it to
    /// [`Workspace::older`].
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn ask_older(
        &self,
        on: &SessionKey,
        id: PatientId,
        after: Option<OlderPlace>,
    ) -> Result<Asked, Refused> {
        let workspace = self.workspace().ok_or(Refused::Locked)?;
        let link = lock(&self.signals).link;
        match link {
            Link::Online => workspace.ask_older(on, id, after),
            Link::Offline { .. } => Ok(Asked::not(Missed::Offline)),
        }
    }

    fn state(&self) -> State {
        lock(&self.state).clone()
    }

    fn on(&self, event: SessionEvent) {
        if let Some(workspace) = self.workspace() {
            workspace.on(event);
            self.changed();
        }
    }
}
