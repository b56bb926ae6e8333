//! What the loop has done in tasks of their own: a push, a fork, a live stream, a page applied.

use std::sync::Arc;

use carepost_agent_core::sync::{Load, StreamId, SyncEvent, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::StepReason;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::pull::{Cursor, PageEnd, Standing};
use carepost_protocol::wire::push::MAX_BYTES;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::syncing::Report;
use crate::desk::Ward;
use crate::mirror::{Applied, MirrorError, Over, Page as MirrorPage, PageError};
use crate::outbox::{Batch, Counts, Diverged, Forked, Outbox, OutboxError, Resync, Sent, Shape};
use crate::upstream::{Oversized, Page, StreamEvent, Upstream, UpstreamError};

/// A batch that the server acknowledged and the outbox settled.
pub(super) struct Acknowledged {
    pub(super) sent: Sent,
    /// What waits after it.
    pub(super) counts: Counts,
    /// Whether the server has nothing of the lane beyond it.
    pub(super) level: bool,
    pub(super) server_time: Timestamp,
}

/// Sends the next batch of a lane; none when nothing waits. An error says how many were sent, and what
/// went wrong.
pub(super) async fn push_batch(
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
        (sent, trouble(&error))
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

/// Reads a live stream to its end: how it ended. `stands` says where it begins.
pub(super) async fn read_stream(
    stands: impl FnOnce() -> anyhow::Result<Standing> + Send + 'static,
    upstream: &Upstream,
    stream: StreamId,
    reports: &mpsc::Sender<Report>,
) -> Report {
    let failed = |error: &UpstreamError| {
        tracing::info!(%error, "the live stream ended");
        let event = SyncEvent::StreamFailed(stream, trouble(error));
        if let UpstreamError::Refused(problem, _) = error
            && error.problem() == Some(ProblemKind::OverBudget)
        {
            return Report::CopyRefused { event, why: problem.detail.clone() };
        }
        Report::Sync(event)
    };
    let local = || Report::Sync(SyncEvent::StreamFailed(stream, Trouble::Local));
    let standing = match spawn_blocking(stands).await {
        Ok(Ok(standing)) => standing,
        Ok(Err(error)) => {
            tracing::error!(error = format!("{error:#}"), "where this device stands cannot be read");
            return local();
        }
        Err(_) => return local(),
    };
    let mut pages = match upstream.live(&standing).await {
        Ok(pages) => pages,
        Err(error) => return failed(&error),
    };
    let _ = reports.send(Report::Sync(SyncEvent::StreamOpened(stream))).await;
    let mut applying: Option<oneshot::Receiver<()>> = None;
    loop {
        // The next page is read, decompressed and checked while the last one is applied, and waits here.
        let event = match pages.next().await {
            Ok(Some(StreamEvent::Page(page))) => checked(page).await.map(Some),
            Ok(Some(StreamEvent::KeepAlive(alive))) => {
                let server_time = alive.server_time;
                let _ = reports.send(Report::KeepAlive { stream, server_time }).await;
                continue;
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if let Some(applied) = applying.take() {
            // Not applied: the engine drops this stream, or has done so.
            let _ = applied.await;
        }
        match event {
            Ok(Some(page)) => {
                let (done, applied) = oneshot::channel();
                applying = Some(applied);
                let _ = reports.send(Report::Page { stream, page: Box::new(page), applied: done }).await;
            }
            Ok(None) => return Report::Sync(SyncEvent::StreamEnded(stream)),
            Err(error) => return failed(&error),
        }
    }
}

/// Where the device stands. The mirror itself says so: it may have been made anew since the engine heard
/// of it. With `refetch` everything is pulled again.
pub(super) fn standing(ward: &Ward, refetch: bool, encrypted: bool) -> anyhow::Result<Standing> {
    if refetch {
        ward.refetch()?;
    }
    let position = ward.outbox().position()?;
    Ok(Standing {
        incarnation: Some(position.incarnation),
        care: position.care,
        audit: position.audit,
        encrypted: Some(encrypted),
        ..ward.mirror().beginning()?.standing()
    })
}

/// A page that was read through: all that is left is to write it.
pub(super) struct CheckedPage {
    documents: MirrorPage,
    pub(super) end: PageEnd,
}

async fn checked(page: Page) -> Result<CheckedPage, UpstreamError> {
    let checking = spawn_blocking(move || {
        let Page { lines, oversized, end } = page;
        let mut documents = MirrorPage::from_lines(&lines)?;
        for Oversized { collection, id, seq, bytes, element } in oversized {
            let over = Over { reason: StepReason::TooLarge, bytes, element };
            documents.step_over(&collection, id, seq, over)?;
        }
        Ok(CheckedPage { documents, end })
    });
    let nonsense = |fault: &dyn std::fmt::Display| {
        tracing::error!(%fault, "a page cannot be read");
        UpstreamError::Nonsense(fault.to_string())
    };
    checking.await.map_err(|fault| nonsense(&fault))?.map_err(|fault: PageError| nonsense(&fault))
}

pub(super) fn apply(ward: &Ward, page: &CheckedPage) -> Result<Cursor, MirrorError> {
    let CheckedPage { documents, end } = page;
    let cursor = match ward.mirror().apply(documents, end)? {
        Applied::Advanced => end.cursor,
        // A late page of an earlier stream: the mirror is further on already.
        Applied::Behind => ward.mirror().cursor()?.unwrap_or(end.cursor),
    };
    // Whoever is at the screen may be among what changed.
    ward.members_changed();
    Ok(cursor)
}

pub(super) fn trouble(error: &UpstreamError) -> Trouble {
    match error {
        UpstreamError::Transport(_) | UpstreamError::NotTrusted(_) | UpstreamError::NotAccepted(_) => {
            Trouble::Unreachable
        }
        UpstreamError::Refused(problem, retry_after) => {
            Trouble::of(problem.status, Some(problem), *retry_after)
        }
        UpstreamError::Nonsense(_) | UpstreamError::SetUp(_) => Trouble::Broken,
    }
}
