//! The sync engine's events and effects. Both are closed: nothing else goes in or comes out.

use std::time::Duration;

use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::{Expects, Problem, ProblemKind};
use carepost_protocol::wire::pull::Cursor;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncEvent {
    /// The agent started as, or became, an enrolled device.
    Started {
        /// Where the mirror stands.
        cursor: Option<Cursor>,
    },
    /// Something waits in that lane: a save, or what an earlier run left.
    Saved(Lane),
    /// A receipt came and the outbox settled it.
    Pushed {
        /// Which lane.
        lane: Lane,
        /// How many still wait, counted when the receipt was settled.
        left: u64,
        /// Whether the server has nothing of the lane beyond what it has acknowledged now.
        level: bool,
    },
    /// There was nothing to push in that lane.
    NothingToPush(Lane),
    /// A push failed, or its receipt could not be believed ([`Trouble::Broken`]).
    PushFailed {
        /// Which lane.
        lane: Lane,
        /// How many changes the batch had.
        sent: usize,
        /// Why.
        trouble: Trouble,
    },
    /// What [`SyncEffect::Fork`] asked for was done.
    Forked,
    /// It could not be done (disk full): to be tried again.
    ForkFailed,
    /// The server began to answer.
    StreamOpened(StreamId),
    /// A whole page is here: read no further before it is applied.
    PageReceived(StreamId),
    /// The mirror has the page.
    PageApplied {
        /// Where the mirror stands now.
        cursor: Cursor,
        /// Whether that was the head of the feed.
        at_head: bool,
    },
    /// The mirror could not take the page (disk full): it will be asked for again.
    PageFailed,
    /// Nothing happened, says the server.
    KeepAlive(StreamId),
    /// The server ended the stream in good order, as when it restarts.
    StreamEnded(StreamId),
    /// The stream failed.
    StreamFailed(StreamId, Trouble),
    /// Another request, such as a heartbeat, was answered.
    ServerHeard,
    /// The mirror wants more than the open stream was asked for: collections that differ, or all of it
    /// because it was made anew.
    MirrorWantsMore {
        /// Where the mirror stands.
        cursor: Option<Cursor>,
    },
    /// The server said elsewhere whether, and why, this device is sent nothing.
    Held(Option<Hold>),
    /// The operating system says that there is a network again.
    NetworkReturned,
    /// The server said elsewhere that this device is revoked.
    Revoked,
    /// Time passed; see [`super::Engine::next_deadline`].
    Tick,
}

/// Tells one live stream from those before it, whose last words may come late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamId(pub(super) u64);

/// Why a device pushes and is sent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Two devices claim to be this one: an administrator has to decide.
    Quarantined,
    /// The facility demands encryption, and this device does not have it.
    NotEncrypted,
}

/// What keeps a device and its server apart, though something answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// The server's certificate, or that of what answers in its place: this device does not trust it.
    Theirs,
    /// This device's certificate: the server, or what answers in its place, does not take it.
    Ours,
    /// What answers is no server of Carepost's, or lets nothing through to one.
    Stranger,
    /// The certificate that this device knows its server by: it cannot be used, and so nothing is asked.
    Blind,
}

/// What went wrong, by consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No answer came: the only trouble that means offline.
    Unreachable,
    /// The server will not answer now: wait.
    Busy {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// This device sent more than it may: wait. Nothing is wrong with either.
    OverQuota {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server broke over the request: wait, then send less.
    Broken,
    /// The server refuses the batch as a whole: send less.
    BatchRefused,
    /// The batch does not continue the chain: send from there, or fork.
    ChainBroken {
        /// The number that the server expects.
        next_n: u64,
        /// The server has another history; this is the last number that is the same, 0 when not even
        /// the link before the batch is.
        shared_n: Option<u64>,
    },
    /// The cursor is not served any more: pull from the beginning.
    CursorRefused {
        /// What the server expects next of each lane, where it has less than it acknowledged.
        expects: Expects,
    },
    /// Nothing is given until that is over. What is pushed is taken.
    Held(Hold),
    /// The server does not know or allow this device: wait, and say so.
    NotAllowed,
    /// The device's key is refused for good: stop.
    Revoked,
    /// The device itself failed, such as its disk: wait. It says nothing about the server.
    Local,
}

impl Trouble {
    /// What an answer other than 2xx means.
    #[must_use]
    pub fn of(status: u16, problem: Option<&Problem>, retry_after: Option<Duration>) -> Self {
        let next_n = problem.and_then(|problem| problem.next_n);
        match (problem.and_then(Problem::kind), next_n) {
            (Some(ProblemKind::DeviceRevoked), _) => return Self::Revoked,
            (Some(ProblemKind::DeviceQuarantined), _) => return Self::Held(Hold::Quarantined),
            (Some(ProblemKind::OverQuota), _) => return Self::OverQuota { retry_after },
            (Some(ProblemKind::NotEncrypted), _) => return Self::Held(Hold::NotEncrypted),
            (Some(ProblemKind::CursorRefused), _) => {
                let expects = problem.and_then(|problem| problem.expects).unwrap_or_default();
                return Self::CursorRefused { expects };
            }
            (Some(ProblemKind::ChainBroken), Some(next_n)) => {
                let shared_n = problem.and_then(|problem| problem.shared_n);
                return Self::ChainBroken { next_n, shared_n };
            }
            (_, _) => {}
        }
        match status {
            429 | 502..=504 => Self::Busy { retry_after },
            400 | 413 | 415 | 422 => Self::BatchRefused,
            401 | 403 | 404 => Self::NotAllowed,
            _ => Self::Broken,
        }
    }
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncEffect {
    /// Send the next batch of the lane and answer with [`SyncEvent::Pushed`],
    /// [`SyncEvent::NothingToPush`] or [`SyncEvent::PushFailed`].
    Push {
        /// Which lane.
        lane: Lane,
        /// How much of it, and how.
        load: Load,
    },
    /// Queue everything from this number on again, before the push that follows.
    Resend {
        /// Which lane.
        lane: Lane,
        /// The number that the server expects.
        next_n: u64,
    },
    /// The histories part after these numbers: let the outbox fork, then answer with
    /// [`SyncEvent::Forked`] or [`SyncEvent::ForkFailed`]. Of a lane without a number the server has
    /// nothing beyond what it acknowledged.
    Fork {
        /// In the care lane.
        care: Option<u64>,
        /// In the audit lane.
        audit: Option<u64>,
    },
    /// The lane needs a person; say so.
    Stuck {
        /// Which lane.
        lane: Lane,
        /// Why.
        why: Stuck,
    },
    /// Open the live stream.
    OpenStream {
        /// Its name, to be given with its events.
        stream: StreamId,
        /// Where from; none is the beginning.
        cursor: Option<Cursor>,
    },
    /// Drop the live stream.
    CloseStream(StreamId),
    /// Apply the page that was received, then answer with [`SyncEvent::PageApplied`] or
    /// [`SyncEvent::PageFailed`].
    ApplyPage,
    /// Forget the cursor: what the coming pages do not bring is to be swept when the head is reached.
    /// The outbox is not affected.
    Refetch,
    /// The device is revoked: nothing is sent or asked any more.
    Stop,
}

/// How a push is to be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// At most so many changes.
    Changes(usize),
    /// The first change alone, not to be looked at by the server.
    Opaque {
        /// With its bytes, or as its hash alone.
        with_bytes: bool,
    },
}

/// Why a lane needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The server does not take its first change, even alone, and not even unread.
    FirstChange,
    /// The server has another history under the same numbers, and forking did not help.
    OtherHistory,
}

/// How the device stands with its server, for the kiosk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing was tried yet.
    Connecting,
    /// The server answers.
    Online {
        /// Since then.
        since: Timestamp,
    },
    /// The server cannot be reached.
    Offline {
        /// Since then.
        since: Timestamp,
    },
    /// The server refuses this device for good.
    Revoked {
        /// Since then.
        since: Timestamp,
    },
}
