//! A push: the next batch of a lane, sent and settled; and a fork, where the server has another history.

use std::sync::Arc;

use carepost_agent_core::sync::{Load, SyncEvent, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::MAX_BYTES;
use tokio::task::spawn_blocking;

use crate::outbox::{Batch, Counts, Diverged, Forked, Outbox, OutboxError, Resync, Sent, Shape};
use crate::upstream::Upstream;

/// A batch that the server acknowledged and the outbox settled.
pub(in crate::run) struct Acknowledged {
    pub(super) sent: Sent,
    /// What waits after it.
    pub(super) counts: Counts,
    /// Whether the server has nothing of the lane beyond it.
    pub(super) level: bool,
    pub(super) server_time: Timestamp,
}

/// Sends the next batch of a lane; none when nothing waits. An error says how many were sent, and what
/// went wrong.
pub(in crate::run) async fn push_batch(
    outbox: &Arc<Outbox>,
    upstream: &Upstream,
    lane: Lane,
    load: Load,
    resend: Option<u64>,
) -> Result<Option<Acknowledged>, (usize, Trouble)> {
    let local = |error: &dyn std::fmt::Display, sent| {
        tracing::error!(%error, lane = lane.name(), "a push failed on this device");
        (sent, Trouble::Local)
    };
    let from = Arc::clone(outbox);
    let batch = match spawn_blocking(move || next_batch(&from, lane, load, resend)).await {
        Ok(Ok(Some(batch))) => batch,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(error)) => return Err(local(&error, 0)),
        Err(error) => return Err(local(&error, 0)),
    };
    let sent = usize::try_from(batch.sent.count).unwrap_or(usize::MAX);
    let receipt = upstream.push(&batch.body).await.map_err(|error| {
        tracing::info!(%error, lane = lane.name(), sent, "a push was not acknowledged");
        (sent, error.trouble())
    })?;
    let (outbox, server_time, of) = (Arc::clone(outbox), receipt.server_time, batch.sent);
    let level = receipt.next_n <= of.first_n.saturating_add(of.count);
    let settled = spawn_blocking(move || {
        outbox.settle(&of, &receipt)?;
        outbox.counts()
    });
    match settled.await {
        Ok(Ok(counts)) => Ok(Some(Acknowledged { sent: of, counts, level, server_time })),
        Ok(Err(error @ OutboxError::Receipt(_))) => {
            tracing::error!(%error, lane = lane.name(), "a receipt makes no sense");
            Err((sent, Trouble::Broken))
        }
        Ok(Err(error)) => Err(local(&error, sent)),
        Err(error) => Err(local(&error, sent)),
    }
}

fn next_batch(
    outbox: &Outbox,
    lane: Lane,
    load: Load,
    resend: Option<u64>,
) -> Result<Option<Batch>, OutboxError> {
    if let Some(next_n) = resend {
        queue_again(outbox, lane, next_n)?;
    }
    let shape = match load {
        Load::Changes(changes) => Shape::Plain { changes, bytes: MAX_BYTES },
        Load::Opaque { with_bytes } => Shape::Opaque { with_bytes },
    };
    let batch = outbox.batch(lane, shape)?;
    if let (Load::Opaque { with_bytes }, Some(batch)) = (load, &batch) {
        let n = batch.sent.first_n;
        tracing::error!(lane = lane.name(), n, with_bytes, "the server breaks over an entry: it goes unread");
    }
    Ok(batch)
}

/// The server asks for entries that it had acknowledged: it was restored from a backup, say.
fn queue_again(outbox: &Outbox, lane: Lane, next_n: u64) -> Result<(), OutboxError> {
    match outbox.resync(lane, next_n)? {
        Resync::Resend { first_n } if first_n > next_n => {
            let (from, to) = (next_n, first_n - 1);
            tracing::error!(lane = lane.name(), from, to, "the server lost entries that are kept no longer");
        }
        Resync::Resend { first_n } => {
            tracing::warn!(lane = lane.name(), first_n, "the server asks for entries again");
        }
        Resync::Level => {}
        Resync::Diverged { ours, theirs } => {
            tracing::error!(lane = lane.name(), ours, theirs, "the server expects what was never made here");
        }
    }
    Ok(())
}

/// Lets the outbox fork where the server has another history.
pub(super) fn fork(outbox: &Outbox, shared: Diverged, now: Timestamp) -> SyncEvent {
    match outbox.fork(shared, now) {
        Ok(Forked::Asking) => {
            tracing::warn!("the server has another history of this device: looking for where they part");
            SyncEvent::Forked
        }
        Ok(Forked::Anew { incarnation, entries }) => {
            tracing::warn!(
                %incarnation,
                entries,
                "the server has another history of this device, as after its directory was restored from an \
                 older copy: what it lacks is made anew under a new incarnation, and nothing is lost"
            );
            SyncEvent::Forked
        }
        Err(error) => {
            tracing::error!(%error, "the outbox could not fork");
            SyncEvent::ForkFailed
        }
    }
}
