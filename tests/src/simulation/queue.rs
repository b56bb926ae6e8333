//! What is to happen in a story, in its order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use carepost_agent::outbox::Sent;
use carepost_agent_core::sync::{StreamId, Trouble};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use carepost_protocol::wire::push::PushReceipt;
use carepost_server::store::{Page, RefetchRequest};

/// Something that happens at a moment. `at` is a device; `boot` the run of it that is concerned.
pub(super) enum Event {
    /// The device is switched on, or its plug is pulled.
    Switch { at: usize, on: bool },
    /// Somebody charts.
    Save { at: usize },
    /// The network between the device and the server changes.
    Weather { at: usize },
    /// The server's process ends and starts again.
    ServerRestarts,
    /// The device's disk is copied while it runs.
    DiskCopied { at: usize },
    /// The device gets the copy for its disk.
    DiskRestored { at: usize },
    /// Another device starts from the copy, beside the first.
    CloneAppears { of: usize },
    /// The server's database is backed up.
    BackedUp,
    /// The server's database is replaced by the backup.
    Rewound,
    /// The engine wanted to be woken.
    Wake { at: usize, boot: u64, wake: u64 },
    /// A push reaches the server; a copy is not answered.
    PushArrives { push: Push, body: Arc<[u8]>, copy: bool },
    /// The device hears of its push, or gives it up.
    PushAnswered { push: Push, answer: Result<PushReceipt, Trouble> },
    /// The request for a live stream reaches the server.
    StreamAsked {
        at: usize,
        boot: u64,
        stream: StreamId,
        cursor: Option<Cursor>,
        position: Box<SyncPosition>,
    },
    /// The server has time for a stream.
    StreamPumped { at: usize, boot: u64, stream: StreamId },
    /// The server says on a stream that it lives.
    StreamIdles { at: usize, boot: u64, stream: StreamId },
    /// Something of a stream reaches the device.
    StreamBrings { at: usize, boot: u64, stream: StreamId, what: Brought },
    /// The disk has taken the page.
    Applied { at: usize, boot: u64, page: Box<Page> },
}

/// A push on its way.
#[derive(Clone, Copy)]
pub(super) struct Push {
    pub(super) at: usize,
    pub(super) boot: u64,
    pub(super) sent: Sent,
    pub(super) sent_at: Duration,
}

pub(super) enum Brought {
    Opened,
    Page(Box<Page>),
    KeepAlive(Timestamp),
    Failed(Trouble),
}

/// A live stream, as the server has it.
pub(super) struct Open {
    pub(super) boot: u64,
    pub(super) stream: StreamId,
    pub(super) cursor: Option<Cursor>,
    /// Collections that are to be sent again first.
    pub(super) refetch: Option<RefetchRequest>,
    /// Nothing was sent yet.
    pub(super) begins: bool,
    /// When the last thing on it arrives: nothing overtakes on a connection.
    pub(super) arrives: Duration,
}

/// What is to come, by time and, within a moment, in the order in which it was planned.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    pub(super) streams: Vec<Option<Open>>,
    pub(super) marks: i64,
}

struct Planned {
    when: Duration,
    order: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.when, self.order).cmp(&(other.when, other.order))
    }
}

impl Queue {
    pub(super) fn add(&mut self, when: Duration, event: Event) {
        self.planned += 1;
        self.heap.push(Reverse(Planned { when, order: self.planned, event }));
    }

    pub(super) fn next_before(&mut self, end: Duration) -> Option<(Duration, Event)> {
        if self.heap.peek()?.0.when > end {
            return None;
        }
        self.heap.pop().map(|Reverse(planned)| (planned.when, planned.event))
    }

    pub(super) fn stream(&mut self, at: usize) -> &mut Option<Open> {
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        &mut self.streams[at]
    }

    pub(super) fn is_open(&mut self, at: usize, boot: u64, stream: StreamId) -> bool {
        matches!(self.stream(at), Some(open) if open.boot == boot && open.stream == stream)
    }
}
