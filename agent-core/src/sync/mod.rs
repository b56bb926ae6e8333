//! The sync engine: when to push, and how to hold the live stream. It is one for both directions.
//!
//! - Two lanes go up, one push in flight in each. No audit push starts while a care push is on its way,
//!   and care never waits for audit: a week of audit does not delay a vital sign.
//! - One live stream comes down. It starts at the cursor (or at the beginning), so that catching up and
//!   staying current are the same thing; pages are applied one at a time. Pull never waits for push,
//!   nor push for pull.
//! - Whatever fails is tried again after a jittered exponential wait of at most five minutes, and at
//!   once when the network returns. Only a transport error means offline.
//! - A batch that the server chokes on is halved until it goes, and one as large is not tried again at once.
//!   One change that does not go even alone, while the server does well otherwise, is sent *opaque*: to be
//!   kept unread, so that those behind it, which are chained to it, go on. A server that is down makes
//!   nothing opaque.
//! - A batch that takes long is halved too, and one that is quick doubled, so that a slow line is never
//!   asked for too much at once.
//! - A server that was rewound gets again what it acknowledged. Where it has another history, the outbox
//!   forks: but not before it is known of both lanes how far the histories are shared, so that nothing is
//!   made anew that the server has.
//! - A device that is quarantined, or not encrypted as its facility demands, pushes and does not pull.
//!
//! The engine holds counts, numbers and the cursor; the two files hold the rest.

mod event;
mod lane;
mod progress;
#[cfg(test)]
mod tests;

use std::time::Duration;

use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Cursor, KEEP_ALIVE_SECONDS};

use crate::backoff::{Backoff, LONGEST};
pub use event::{Distrust, Hold, Link, Load, StreamId, Stuck, SyncEffect, SyncEvent, Trouble};
use lane::LaneState;
pub use progress::NO_PROGRESS;
use progress::Progress;

/// A stream that is silent for longer is dead, whatever the connection says.
pub const SILENCE: Duration = Duration::from_secs(2 * KEEP_ALIVE_SECONDS);

/// How often a device that is held asks whether it may pull again.
const HOLD_WAIT: Duration = Duration::from_mins(3);
const FIRST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Wait {
    until: Duration,
    wants: Wants,
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// It ends early when the network returns.
    Network,
    /// Something other than the network failed: it is waited out.
    Patience,
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Down { wait: Option<Wait> },
    Up { id: StreamId, opened: bool, heard: Duration },
}

/// The machine. Give it every event with the corrected wall time (for what the kiosk shows), monotonic
/// time and a fresh random number (for jitter).
#[derive(Debug)]
pub struct Engine {
    runs: bool,
    cursor: Option<Cursor>,
    care: LaneState,
    audit: LaneState,
    stream: Stream,
    streams: u64,
    applying: bool,
    refetched: bool,
    /// The outbox is forking: nothing is pushed meanwhile.
    forking: bool,
    held: Option<Hold>,
    backoff: Backoff,
    /// When the server last did well at anything.
    well: Option<Duration>,
    progress: Progress,
    link: Link,
}

#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    monotonic: Duration,
    random: u64,
}

type Effects = Vec<SyncEffect>;

impl Default for Engine {
    fn default() -> Self {
        Self {
            runs: false,
            cursor: None,
            care: LaneState::new(Lane::Care),
            audit: LaneState::new(Lane::Audit),
            stream: Stream::Down { wait: None },
            streams: 0,
            applying: false,
            refetched: false,
            forking: false,
            held: None,
            backoff: Backoff::new(FIRST_WAIT),
            well: None,
            progress: Progress::default(),
            link: Link::Connecting,
        }
    }
}

impl Engine {
    /// Takes an event. Before [`SyncEvent::Started`] it only remembers what waits; after
    /// [`SyncEffect::Stop`] it does nothing.
    pub fn on(
        &mut self,
        event: SyncEvent,
        now: Timestamp,
        monotonic: Duration,
        random: u64,
    ) -> Vec<SyncEffect> {
        let at = Moment { now, monotonic, random };
        let mut out = Vec::new();
        if !matches!(self.link, Link::Revoked { .. }) {
            self.watch_progress(at);
            self.take(event, at, &mut out);
            self.go_on(at, &mut out);
            self.watch_progress(at);
        }
        out
    }

    /// How the device stands with its server.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Why it may not pull, if it may not.
    #[must_use]
    pub const fn held(&self) -> Option<Hold> {
        self.held
    }

    /// Why a lane needs a person, if it does.
    #[must_use]
    pub const fn stuck(&self, lane: Lane) -> Option<Stuck> {
        match lane {
            Lane::Care => self.care.stuck,
            Lane::Audit => self.audit.stuck,
        }
    }

    /// Whether what waits is sent slowly, because this device sent more than it may.
    #[must_use]
    pub const fn slowed(&self) -> bool {
        self.care.slowed || self.audit.slowed
    }

    /// When to send the next [`SyncEvent::Tick`], on monotonic time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.runs {
            return None;
        }
        let stream = match self.stream {
            _ if self.applying => None,
            Stream::Down { wait } => wait.map(|wait| wait.until),
            Stream::Up { heard, .. } => Some(heard.saturating_add(SILENCE)),
        };
        let looked = self.progress.looked();
        let (care, audit) = match (self.forking, self.care.in_flight) {
            (true, _) => (None, None),
            (false, true) => (self.care.wakes(looked), None),
            (false, false) => (self.care.wakes(looked), self.audit.wakes(looked)),
        };
        [stream, care, audit, self.progress.wakes()].into_iter().flatten().min()
    }

    fn take(&mut self, event: SyncEvent, at: Moment, out: &mut Effects) {
        match event {
            SyncEvent::Started { cursor } => {
                self.runs = true;
                self.cursor = cursor;
            }
            SyncEvent::Saved(lane) => self.lane(lane).saved(),
            SyncEvent::Pushed { lane, left, level } => {
                self.lane(lane).pushed(left, level, at);
                self.progress.sent(at.monotonic);
                self.synced(at);
            }
            SyncEvent::NothingToPush(lane) => self.lane(lane).empty(),
            SyncEvent::PushFailed { lane, sent, trouble } => self.push_failed(lane, sent, trouble, at, out),
            SyncEvent::Forked => {
                self.forking = false;
                self.care.forked();
                self.audit.forked();
            }
            SyncEvent::ForkFailed => {
                self.forking = false;
                self.care.fork_failed(at);
                self.audit.fork_failed(at);
            }
            SyncEvent::StreamOpened(id) => {
                self.stream_heard(id, at);
            }
            SyncEvent::KeepAlive(id) => {
                if self.stream_heard(id, at) {
                    self.stream_works(at);
                }
            }
            SyncEvent::PageReceived(id) => {
                if self.stream_heard(id, at) {
                    self.applying = true;
                    out.push(SyncEffect::ApplyPage);
                }
            }
            SyncEvent::PageApplied { cursor, at_head } => self.page_applied(cursor, at_head, at),
            SyncEvent::PageFailed => {
                self.applying = false;
                self.progress.failed();
                self.drop_stream(at, Wants::Patience, out);
            }
            SyncEvent::StreamEnded(id) if self.is_current(id) => self.stream_down(at, Wants::Patience, None),
            SyncEvent::StreamFailed(id, trouble) if self.is_current(id) => {
                self.stream_failed(trouble, at, out)
            }
            // The last words of a stream that was given up.
            SyncEvent::StreamEnded(_) | SyncEvent::StreamFailed(_, _) => {}
            SyncEvent::ServerHeard => self.answered(at),
            SyncEvent::MirrorWantsMore { cursor } => self.fetch_more(cursor, out),
            SyncEvent::Held(held) => self.told_held(held),
            SyncEvent::NetworkReturned => self.network_returned(),
            SyncEvent::Revoked => self.stop(at, out),
            SyncEvent::Tick => {}
        }
    }

    /// Starts whatever may start now.
    fn go_on(&mut self, at: Moment, out: &mut Effects) {
        if !self.runs {
            return;
        }
        self.fork_if_due(at.monotonic, out);
        if !self.forking {
            self.care.push_if_due(at.monotonic, out);
            if !self.care.in_flight {
                self.audit.push_if_due(at.monotonic, out);
            }
        }
        if self.applying {
            return;
        }
        match self.stream {
            Stream::Up { heard, .. } if at.monotonic.saturating_sub(heard) >= SILENCE => {
                self.drop_stream(at, Wants::Network, out);
                self.unreachable(at);
            }
            Stream::Down { wait } if wait.is_none_or(|wait| wait.until <= at.monotonic) => {
                self.streams = self.streams.saturating_add(1);
                let id = StreamId(self.streams);
                self.stream = Stream::Up { id, opened: false, heard: at.monotonic };
                out.push(SyncEffect::OpenStream { stream: id, cursor: self.cursor });
            }
            Stream::Up { .. } | Stream::Down { .. } => {}
        }
    }

    /// Forks once it is known of both lanes how far the server's history and this one are the same.
    fn fork_if_due(&mut self, monotonic: Duration, out: &mut Effects) {
        let lanes = [&self.care, &self.audit];
        let parted = lanes.iter().any(|lane| lane.diverged.is_some());
        if parted && !self.forking && lanes.iter().all(|lane| lane.may_fork(monotonic)) {
            self.forking = true;
            out.push(SyncEffect::Fork { care: self.care.diverged, audit: self.audit.diverged });
        }
    }

    fn page_applied(&mut self, cursor: Cursor, at_head: bool, at: Moment) {
        self.applying = false;
        self.cursor = Some(cursor);
        self.progress.page(at_head, at.monotonic);
        if let Stream::Up { heard, .. } = &mut self.stream {
            *heard = at.monotonic;
        }
        self.stream_works(at);
    }

    const fn lane(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::Care => &mut self.care,
            Lane::Audit => &mut self.audit,
        }
    }

    fn push_failed(&mut self, lane: Lane, sent: usize, trouble: Trouble, at: Moment, out: &mut Effects) {
        match trouble {
            Trouble::Revoked => return self.stop(at, out),
            // A stream that is open knows better, and its watchdog will say so.
            Trouble::Unreachable if self.stream_is_open() => {}
            Trouble::Local => {}
            Trouble::Unreachable => self.unreachable(at),
            Trouble::OverQuota { .. } => {
                self.progress.sent(at.monotonic);
                self.answered(at);
            }
            Trouble::Busy { .. }
            | Trouble::Broken
            | Trouble::BatchRefused
            | Trouble::ChainBroken { .. }
            | Trouble::CursorRefused { .. }
            | Trouble::Held(_)
            | Trouble::NotAllowed => self.answered(at),
        }
        let well = self.well;
        self.lane(lane).failed(sent, trouble, well, at, out);
    }

    fn stream_failed(&mut self, trouble: Trouble, at: Moment, out: &mut Effects) {
        match trouble {
            Trouble::Revoked => self.stop(at, out),
            Trouble::Unreachable => {
                self.stream_down(at, Wants::Network, None);
                self.unreachable(at);
            }
            Trouble::CursorRefused { expects } => {
                self.answered(at);
                self.cursor = None;
                self.progress.page(false, at.monotonic);
                if self.refetched {
                    self.stream_down(at, Wants::Patience, None);
                } else {
                    self.refetched = true;
                    self.stream = Stream::Down { wait: None };
                    out.push(SyncEffect::Refetch);
                }
                self.care.expected(expects.care, out);
                self.audit.expected(expects.audit, out);
            }
            Trouble::Held(hold) => {
                self.answered(at);
                self.held = Some(hold);
                self.stream_down(at, Wants::Patience, Some(HOLD_WAIT));
            }
            Trouble::Local => self.stream_down(at, Wants::Patience, None),
            Trouble::Busy { retry_after } | Trouble::OverQuota { retry_after } => {
                self.answered(at);
                self.stream_down(at, Wants::Patience, retry_after);
            }
            Trouble::Broken | Trouble::BatchRefused | Trouble::ChainBroken { .. } | Trouble::NotAllowed => {
                self.answered(at);
                self.stream_down(at, Wants::Patience, None);
            }
        }
    }

    /// A stream says at its beginning what it is asked for: an open one is dropped for a new one, and one
    /// that waits for its turn goes on waiting.
    fn fetch_more(&mut self, cursor: Option<Cursor>, out: &mut Effects) {
        self.cursor = cursor;
        if let Stream::Up { id, .. } = self.stream {
            out.push(SyncEffect::CloseStream(id));
            self.stream = Stream::Down { wait: None };
        }
    }

    fn is_current(&self, id: StreamId) -> bool {
        matches!(self.stream, Stream::Up { id: current, .. } if current == id)
    }

    const fn stream_is_open(&self) -> bool {
        matches!(self.stream, Stream::Up { opened: true, .. })
    }

    fn stream_heard(&mut self, id: StreamId, at: Moment) -> bool {
        let current = self.is_current(id);
        if current {
            self.stream = Stream::Up { id, opened: true, heard: at.monotonic };
            self.answered(at);
        }
        current
    }

    /// The stream brought something: what failed before is over.
    fn stream_works(&mut self, at: Moment) {
        self.backoff.reset();
        self.refetched = false;
        self.held = None;
        self.synced(at);
    }

    fn drop_stream(&mut self, at: Moment, wants: Wants, out: &mut Effects) {
        if let Stream::Up { id, .. } = self.stream {
            out.push(SyncEffect::CloseStream(id));
            self.stream_down(at, wants, None);
        }
    }

    fn stream_down(&mut self, at: Moment, wants: Wants, least: Option<Duration>) {
        let wait = wait(&mut self.backoff, least, wants, at);
        self.stream = Stream::Down { wait: Some(wait) };
    }

    /// The server did something well.
    fn synced(&mut self, at: Moment) {
        self.well = Some(at.monotonic);
        self.answered(at);
    }

    /// The server said something, be it a refusal: it can be reached.
    fn answered(&mut self, at: Moment) {
        match self.link {
            Link::Offline { .. } | Link::Connecting => {
                self.link = Link::Online { since: at.now };
                self.lift_waits();
            }
            Link::Online { .. } | Link::Revoked { .. } => {}
        }
    }

    fn unreachable(&mut self, at: Moment) {
        match self.link {
            Link::Online { .. } | Link::Connecting => self.link = Link::Offline { since: at.now },
            Link::Offline { .. } | Link::Revoked { .. } => {}
        }
    }

    /// What is over ends the wait; what begins ends the stream, which the server does.
    const fn told_held(&mut self, held: Option<Hold>) {
        if self.held.is_some() && held.is_none() {
            self.backoff.reset();
            if let Stream::Down { wait } = &mut self.stream {
                *wait = None;
            }
        }
        self.held = held;
    }

    fn network_returned(&mut self) {
        self.backoff.reset();
        self.lift_waits();
    }

    fn lift_waits(&mut self) {
        self.care.lift_wait();
        self.audit.lift_wait();
        if let Stream::Down { wait } = &mut self.stream {
            wait.take_if(|wait| wait.wants == Wants::Network);
        }
    }

    fn stop(&mut self, at: Moment, out: &mut Effects) {
        if let Stream::Up { id, .. } = self.stream {
            out.push(SyncEffect::CloseStream(id));
        }
        self.runs = false;
        self.stream = Stream::Down { wait: None };
        self.link = Link::Revoked { since: at.now };
        out.push(SyncEffect::Stop);
    }
}

fn wait(backoff: &mut Backoff, least: Option<Duration>, wants: Wants, at: Moment) -> Wait {
    let least = least.unwrap_or_default().min(LONGEST);
    Wait { until: at.monotonic.saturating_add(backoff.next(at.random).max(least)), wants }
}
