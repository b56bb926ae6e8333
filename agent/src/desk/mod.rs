//! The desk: where the session, the mirror and the outbox meet. Everything that the kiosk's pages and
//! the badge readers ask for is asked here.
//!
//! The desk never waits for the network; for older entries it gives the kiosk something to wait for. Its
//! calls touch files, so async code calls them from a
//! blocking thread.

mod admission;
mod answer;
mod attention;
mod chart;
mod copied;
mod entries;
mod forms;
mod made;
mod noted;
mod older;
mod refusal;
mod renewal;
mod residents;
mod reviews;
mod sheet;
mod since;
mod taps;
pub mod times;
mod unfinished;
pub mod view;
mod ward;
mod words;

pub use admission::News;
pub use reviews::COUNTED as REVIEWS_COUNTED;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, ReviewId};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState};
use carepost_protocol::wire::older::{OlderPlace, OlderRecords};
use tokio::sync::{Notify, watch};

use crate::badge::{BadgeEvent, Feedback};
use crate::clock::Clock;
use times::{TimeHere, Whose};

pub use answer::Answer;
pub use older::{Asked, Question};
pub use view::{
    Attention, CopyTrouble, EnrollStep, Enrolling, Entry, Form, FormPage, Join, Kept, Link, Locked, Mark,
    Missed, NotOpened, NotSaved, OlderPage, Open, Part, PinPad, Refused, ResidentPage, Residents, Review,
    Screen, Sending, SessionKey, Shown, StatusLine, SyncView, Typed, Unfinished, Who,
};
pub use ward::{Ward, WardParts};

/// See the module.
#[derive(Debug)]
pub struct Desk {
    standing: Mutex<Standing>,
    signals: Mutex<Signals>,
    encryption: Mutex<Option<Encryption>>,
    changes: watch::Sender<u64>,
    /// Somebody wants the revoked device to enroll anew.
    anew: Notify,
    clock: Arc<Clock>,
}

/// Where the device stands with the server.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Not enrolled yet.
    Enrolling(Enrolling),
    /// Enrolled: there is a facility, and people can sign in.
    Enrolled(Arc<Ward>),
    /// Enrolled, and its files do not open, most often for want of room on the disk.
    Unopened {
        /// Why, in words.
        why: String,
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

impl Desk {
    /// A desk for a device that stands there.
    #[must_use]
    pub fn new(standing: Standing, reader: ReaderState, clock: Arc<Clock>) -> Self {
        let link = Link::Offline { since: clock.now() };
        Self {
            standing: Mutex::new(standing),
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
        match self.standing() {
            Standing::Enrolling(enrolling) => Screen::Enrolling(enrolling),
            Standing::Unopened { .. } => Screen::Unopened,
            Standing::Revoked { .. } => Screen::Revoked,
            Standing::Enrolled(ward) => ward.screen(),
        }
    }

    /// What the line at the top of every screen says.
    #[must_use]
    pub fn status(&self) -> StatusLine {
        let Signals { link, reader, sync } = lock(&self.signals).clone();
        let mut status = StatusLine {
            link,
            waiting: 0,
            oldest_waiting: None,
            rejected: 0,
            reviews: 0,
            loading: false,
            differs: Vec::new(),
            stepped_over: Vec::new(),
            sync,
            storage_trouble: None,
            phone: None,
            reader,
            encryption: lock(&self.encryption).clone(),
            time: TimeHere { zone: self.clock.zone(), whose: Whose::Device },
            sent: PhiMode::Full,
        };
        match self.standing() {
            Standing::Enrolled(ward) => ward.report(&mut status),
            Standing::Unopened { why } => status.storage_trouble = Some(why),
            Standing::Revoked { trouble } => status.storage_trouble = trouble,
            Standing::Enrolling(_) => {}
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

    /// The facility's ward, once the device is enrolled.
    #[must_use]
    pub fn ward(&self) -> Option<Arc<Ward>> {
        match self.standing() {
            Standing::Enrolled(ward) => Some(ward),
            Standing::Enrolling(_) | Standing::Unopened { .. } | Standing::Revoked { .. } => None,
        }
    }

    /// The device stands elsewhere now.
    pub fn stand(&self, standing: Standing) {
        *lock(&self.standing) = standing;
        self.changed();
    }

    /// "Enroll anew" was pressed: what any other than a revoked device takes no notice of.
    pub fn enroll_anew(&self) {
        if matches!(self.standing(), Standing::Revoked { .. }) {
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

    /// How the sync is.
    pub fn set_sync(&self, sync: SyncView) {
        let differs = std::mem::replace(&mut lock(&self.signals).sync, sync.clone()) != sync;
        if differs {
            self.changed();
        }
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
            if let Some(ward) = self.ward() {
                ward.note_reader(reader);
            }
            self.changed();
        }
    }

    /// A reader saw a badge: what to show at the reader.
    #[must_use]
    pub fn on_badge(&self, event: &BadgeEvent) -> Option<Feedback> {
        let feedback = self.ward()?.on_badge(event);
        self.changed();
        feedback
    }

    /// The process's clock.
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
        let ward = self.ward()?;
        // What a full disk did not take is written as soon as it does.
        let mended = ward.retry_unsaved();
        if ward.tick() || mended {
            self.changed();
        }
        ward.next_deadline()
    }

    /// The page was touched.
    pub fn touched(&self) {
        self.on_ward(Ward::touched);
    }

    /// A PIN was typed for that attempt, the own or a new one. Takes as long as its check: about 40 ms.
    #[allow(clippy::needless_pass_by_value)] // a PIN is not kept by whoever asked
    pub fn enter_pin(&self, attempt: u64, pin: secrecy::SecretString) {
        if let Some(ward) = self.ward() {
            if ward.begin_pin(attempt, &pin) {
                self.changed();
                ward.check_pin(attempt, &pin);
            }
            self.changed();
        }
    }

    /// The PIN pad was dismissed.
    pub fn cancel_pin(&self) {
        self.on_ward(Ward::cancel_pin);
    }

    /// "Lock" was pressed.
    pub fn lock(&self) {
        self.on_ward(Ward::lock);
    }

    /// "Undo" was pressed after the own badge had locked the screen.
    pub fn undo_lock(&self) {
        self.on_ward(Ward::undo_lock);
    }

    /// The residents of the facility. Like the others below it takes the session that the page is made
    /// for, or was: nobody reads or writes under a name that is no longer the one on the screen.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn residents(&self, on: &SessionKey, who: &Who) -> Result<Residents, Refused> {
        self.enrolled()?.residents(on, who)
    }

    /// One resident, what can be charted and what was: so many of the latest entries.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn resident(&self, on: &SessionKey, id: PatientId, shown: Shown) -> Result<ResidentPage, Refused> {
        self.enrolled()?.resident(on, id, shown)
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
        let ward = self.enrolled()?;
        match lock(&self.signals).link {
            Link::Online => ward.ask_older(on, id, after),
            Link::Offline { .. } => Ok(Asked::not(Missed::Offline)),
        }
    }

    /// The page of what the server answered.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn older(
        &self,
        on: &SessionKey,
        id: PatientId,
        answer: Result<OlderRecords, Missed>,
    ) -> Result<OlderPage, Refused> {
        self.enrolled()?.older(on, id, answer)
    }

    /// A form to fill in, with the draft that the user left in it; one that comes back, in the version in which it
    /// was sent.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub fn form(&self, on: &SessionKey, form: &Form, sent: &Typed) -> Result<FormPage, NotOpened> {
        self.enrolled()?.form(on, form, sent)
    }

    /// Saves a filled-in form: when this returns, the entry is durable on the device.
    ///
    /// # Errors
    /// See [`NotSaved`]; nothing of the entry is kept then but its draft.
    pub fn save(&self, on: &SessionKey, form: &Form, token: &str, answers: &Typed) -> Result<Kept, NotSaved> {
        let saved = self.enrolled()?.save(on, form, token, answers);
        self.changed();
        saved
    }

    /// Says that whoever was to be admitted is a resident who is known: nobody is admitted, and what was typed and
    /// is not known of the resident becomes a draft of an edit.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn is_known_as(
        &self,
        on: &SessionKey,
        resident: PatientId,
        answers: &Typed,
    ) -> Result<News, Refused> {
        self.enrolled()?.is_known_as(on, resident, answers)
    }

    /// Keeps what was typed and not saved, for the user to whom the form was shown, also when the
    /// screen has locked meanwhile or shows somebody else's session. Whether there is anything to keep.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn keep_draft(&self, on: &SessionKey, form: &Form, answers: &Typed) -> Result<bool, Refused> {
        self.enrolled()?.keep_draft(on, form, answers)
    }

    /// The form on which the user left when the screen locked; told once.
    #[must_use]
    pub fn left_on(&self, on: &SessionKey) -> Option<Form> {
        self.ward()?.left_on(on)
    }

    /// What a user began and has not saved, and what she dropped last, also where her role does not let her read a
    /// resident any more.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn unfinished(&self, on: &SessionKey) -> Result<(Vec<Unfinished>, Option<Unfinished>), Refused> {
        let ward = self.enrolled()?;
        let actor = ward.actor(on).ok_or(Refused::Locked)?;
        Ok((ward.unfinished(on, actor.user, None)?, ward.dropped(on, None)))
    }

    /// Drops what was typed into a form and not saved. Until something is saved, the next is dropped or the
    /// session ends, it can be had back. Whether the form opens.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn drop_draft(&self, on: &SessionKey, form: &Form, typed: &Typed) -> Result<bool, Refused> {
        self.enrolled()?.drop_draft(on, form, typed)
    }

    /// Puts back what [`Self::drop_draft`] dropped.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn undo_drop(&self, on: &SessionKey, form: &Form) -> Result<(), Refused> {
        self.enrolled()?.undo_drop(on, form)
    }

    /// What the server refused of this device.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn attention(&self, on: &SessionKey, after: usize) -> Result<Part<Attention>, Refused> {
        self.enrolled()?.attention(on, after)
    }

    /// What somebody has to look at, after so many.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn reviews(&self, on: &SessionKey, after: usize) -> Result<Part<Review>, Refused> {
        self.enrolled()?.reviews(on, after)
    }

    /// Two residents whom a review asks about, side by side.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn join(&self, on: &SessionKey, review: ReviewId, other: PatientId) -> Result<Join, Refused> {
        self.enrolled()?.join(on, review, other)
    }

    /// Closes a review: when this returns, the decision is durable on the device. Where two turn out to be one
    /// person: who that is from then on.
    ///
    /// # Errors
    /// See [`NotSaved`]; nothing is kept then.
    pub fn close_review(
        &self,
        on: &SessionKey,
        id: ReviewId,
        token: &str,
        answers: &Typed,
    ) -> Result<Option<PatientId>, NotSaved> {
        let closed = self.enrolled()?.close_review(on, id, token, answers);
        self.changed();
        closed
    }

    fn standing(&self) -> Standing {
        lock(&self.standing).clone()
    }

    fn enrolled(&self) -> Result<Arc<Ward>, Refused> {
        self.ward().ok_or(Refused::Locked)
    }

    fn on_ward(&self, act: impl FnOnce(&Ward)) {
        if let Some(ward) = self.ward() {
            act(&ward);
            self.changed();
        }
    }
}

/// A panic elsewhere must not take the kiosk down with it: every value behind these locks is whole at
/// each release.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
