//! Whether anything moves: a device that reaches its server and gets nowhere is ill, and says so.

use std::time::Duration;

use super::{Engine, Link, Moment, Stream};

/// How long nothing may move, while the server is reached and something is left to do.
pub const NO_PROGRESS: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When something last moved, or nothing was left to do.
    since: Duration,
    /// When the machine was last asked.
    looked: Duration,
    stands_still: bool,
    /// Whether the mirror has reached the head of the feed.
    at_head: bool,
}

impl Progress {
    pub(super) const fn moved(&mut self, monotonic: Duration) {
        self.since = monotonic;
    }

    pub(super) const fn page(&mut self, at_head: bool, monotonic: Duration) {
        self.at_head = at_head;
        self.moved(monotonic);
    }

    pub(super) const fn looked(&self) -> Duration {
        self.looked
    }

    /// When standing still becomes a failure.
    pub(super) fn wakes(&self) -> Option<Duration> {
        let due = self.since.saturating_add(NO_PROGRESS);
        (self.stands_still && due > self.looked).then_some(due)
    }
}

impl Engine {
    /// For how long nothing has moved, though the server is reached and something waits or the stream has
    /// not reached the head; none until that is [`NO_PROGRESS`].
    #[must_use]
    pub fn no_progress(&self, monotonic: Duration) -> Option<Duration> {
        let still = monotonic.saturating_sub(self.progress.since);
        (self.has_to_move() && still >= NO_PROGRESS).then_some(still)
    }

    pub(super) fn watch_progress(&mut self, at: Moment) {
        self.progress.stands_still = self.has_to_move();
        self.progress.looked = at.monotonic;
        if !self.progress.stands_still {
            self.progress.since = at.monotonic;
        }
    }

    /// A device that is held is not expected to pull.
    const fn has_to_move(&self) -> bool {
        let follows = matches!(self.stream, Stream::Up { opened: true, .. }) && self.progress.at_head;
        let waits = self.care.waiting || self.audit.waiting || self.forking;
        matches!(self.link, Link::Online { .. }) && (waits || !(follows || self.held.is_some()))
    }
}
