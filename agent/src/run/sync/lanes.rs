//! Push scheduling: a task for each push and each fork, and how far a long queue is.

use std::sync::Arc;

use carepost_agent_core::sync::{Load, SyncEvent};
use carepost_protocol::change::Lane;
use tokio::task::spawn_blocking;

use super::push::{Acknowledged, fork, push_batch};
use super::report::Report;
use crate::outbox::Diverged;
use crate::run::shared::Shared;
use crate::workspace::view::Sending;

/// See the module.
pub(super) struct Lanes {
    shared: Shared,
    /// From where on the next push of a lane has to queue again first, care first.
    resend: [Option<u64>; 2],
    /// How many care entries were acknowledged since something began to wait.
    sent: u64,
}

impl Lanes {
    pub(super) const fn new(shared: Shared) -> Self {
        Self { shared, resend: [None; 2], sent: 0 }
    }

    /// The next push of a lane begins by queueing again from that number on.
    pub(super) fn resend(&mut self, lane: Lane, next_n: u64) {
        let resend = self.resend_of(lane);
        *resend = Some(resend.map_or(next_n, |earlier| earlier.min(next_n)));
    }

    pub(super) fn push(&mut self, lane: Lane, load: Load) -> impl Future<Output = ()> + Send + use<> {
        let (shared, resend) = (self.shared.clone(), self.resend_of(lane).take());
        async move {
            let sent_at = shared.clock().monotonic();
            let pushed = push_batch(shared.workspace.outbox(), &shared.upstream, lane, load, resend).await;
            let report = match pushed {
                Ok(Some(acknowledged)) => Report::Pushed { acknowledged, sent_at },
                Ok(None) => Report::Sync(SyncEvent::NothingToPush(lane)),
                Err((sent, trouble)) => Report::Sync(SyncEvent::PushFailed { lane, sent, trouble }),
            };
            shared.report(report).await;
        }
    }

    /// A batch of care was acknowledged: how far the queue is, where it is a long one.
    pub(super) fn acknowledged(&mut self, batch: &Acknowledged) -> Option<Sending> {
        let left = batch.counts.care;
        self.sent = if left == 0 { 0 } else { self.sent + batch.sent.count };
        Sending::of(self.sent, left)
    }

    pub(super) fn fork(&self, at: Diverged) -> impl Future<Output = ()> + Send + use<> {
        let (shared, now) = (self.shared.clone(), self.shared.clock().now());
        async move {
            let workspace = Arc::clone(&shared.workspace);
            let forked = spawn_blocking(move || fork(workspace.outbox(), at, now)).await;
            shared.report(Report::Sync(forked.unwrap_or(SyncEvent::ForkFailed))).await;
            shared.device.changed();
        }
    }

    const fn resend_of(&mut self, lane: Lane) -> &mut Option<u64> {
        let [care, audit] = &mut self.resend;
        match lane {
            Lane::Care => care,
            Lane::Audit => audit,
        }
    }
}
