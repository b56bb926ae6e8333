//! Progress: whether anything moves. A device that reaches its server and gets nowhere is ill, and says so.

use std::time::Duration;

use super::{Engine, Link, Moment, Stream};

/// How long nothing may move, while the server is reached and something is left to do.
pub const NO_PROGRESS: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When something was last sent, or nothing waited to be.
    sent: Duration,
    /// When something last came, or nothing more was to come. What is sent is no sign of it: a stream that is
    /// refused shows, however much is charted meanwhile.
    came: Duration,
    /// Since when what has to move does not.
    since: Duration,
    /// When the machine was last asked.
    looked: Duration,
    stands_still: bool,
    /// Whether the mirror has reached the head of the feed.
    at_head: bool,
}

impl Progress {
    pub(super) const fn sent(&mut self, monotonic: Duration) {
        self.sent = monotonic;
    }

    pub(super) const fn page(&mut self, at_head: bool, monotonic: Duration) {
        self.at_head = at_head;
        self.came = monotonic;
    }

    /// A page did not get into the mirror, which is therefore behind.
    pub(super) const fn failed(&mut self) {
        self.at_head = false;
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
        (self.progress.stands_still && still >= NO_PROGRESS).then_some(still)
    }

    pub(super) fn watch_progress(&mut self, at: Moment) {
        let is_online = matches!(self.link, Link::Online { .. });
        let has_to_push = is_online && (self.care.waiting || self.audit.waiting);
        let follows = matches!(self.stream, Stream::Up { opened: true, .. }) && self.progress.at_head;
        // A device that is held is not expected to pull.
        let has_to_pull = is_online && !(follows || self.held.is_some());
        let progress = &mut self.progress;
        progress.sent = if has_to_push { progress.sent } else { at.monotonic };
        progress.came = if has_to_pull { progress.came } else { at.monotonic };
        progress.since = progress.sent.min(progress.came);
        progress.stands_still = has_to_push || has_to_pull;
        progress.looked = at.monotonic;
    }
}
