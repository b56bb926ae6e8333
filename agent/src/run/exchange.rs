//! What the loop has done in tasks of their own: a push, a live stream, a page applied.

use std::sync::Arc;

use carepost_agent_core::sync::{StreamId, SyncEvent, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::Cursor;
use carepost_protocol::wire::push::MAX_BYTES;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::syncing::Report;
use crate::desk::Ward;
use crate::mirror::{Applied, MirrorError, Page as MirrorPage};
use crate::outbox::{Outbox, OutboxError, Resync, Shape};
use crate::upstream::{Page, StreamEvent, Upstream, UpstreamError};

/// Sends the next batch of a lane: how many are left, and the server's time; or how many were sent and
/// what went wrong.
pub(super) async fn push_batch(
    ward: &Arc<Ward>,
    upstream: &Upstream,
    lane: Lane,
    changes: usize,
    resend: Option<u64>,
) -> Result<(u64, Option<Timestamp>), (usize, Trouble)> {
    let local = |error: &dyn std::fmt::Display, sent| {
        tracing::error!(%error, lane = lane.name(), "a push failed on this device");
        (sent, Trouble::Local)
    };
    let outbox = Arc::clone(ward.outbox());
    let batch = spawn_blocking(move || {
        if let Some(next_n) = resend {
            queue_again(&outbox, lane, next_n)?;
        }
        outbox.batch(lane, Shape::Plain { changes, bytes: MAX_BYTES })
    });
    let batch = batch.await;
    let batch = match batch {
        Ok(Ok(Some(batch))) => batch,
        Ok(Ok(None)) => return Ok((0, None)),
        Ok(Err(error)) => return Err(local(&error, 0)),
        Err(error) => return Err(local(&error, 0)),
    };
    let sent = usize::try_from(batch.sent.count).unwrap_or(usize::MAX);
    let receipt = upstream.push(&batch.body).await.map_err(|error| {
        tracing::info!(%error, lane = lane.name(), sent, "a push was not acknowledged");
        (sent, trouble(&error))
    })?;
    let (outbox, server_time) = (Arc::clone(ward.outbox()), receipt.server_time);
    let settled = spawn_blocking(move || {
        outbox.settle(&batch.sent, &receipt)?;
        let counts = outbox.counts()?;
        Ok::<u64, OutboxError>(match lane {
            Lane::Care => counts.care,
            Lane::Audit => counts.audit,
        })
    });
    match settled.await {
        Ok(Ok(left)) => Ok((left, Some(server_time))),
        Ok(Err(error @ OutboxError::Receipt(_))) => {
            tracing::error!(%error, lane = lane.name(), "a receipt makes no sense");
            Err((sent, Trouble::Broken))
        }
        Ok(Err(error)) => Err(local(&error, sent)),
        Err(error) => Err(local(&error, sent)),
    }
}

/// The server asks for entries that it had acknowledged: it was restored from a backup, say.
fn queue_again(outbox: &Outbox, lane: Lane, next_n: u64) -> Result<(), OutboxError> {
    match outbox.resync(lane, next_n)? {
        Resync::Resend { first_n } => {
            tracing::warn!(lane = lane.name(), first_n, "the server asks for entries again");
        }
        Resync::Level => {}
        Resync::Diverged { ours, theirs } => {
            tracing::error!(lane = lane.name(), ours, theirs, "the server has another history");
        }
    }
    Ok(())
}

/// Reads a live stream to its end: how it ended.
pub(super) async fn read_stream(
    upstream: &Upstream,
    stream: StreamId,
    ward: &Arc<Ward>,
    reports: &mpsc::Sender<Report>,
) -> SyncEvent {
    let failed = |error: &UpstreamError| {
        tracing::info!(%error, "the live stream ended");
        SyncEvent::StreamFailed(stream, trouble(error))
    };
    let mirror = Arc::clone(ward.mirror());
    // The mirror itself says where it stands: it may have been made anew since the engine heard of it.
    let standing = match spawn_blocking(move || mirror.beginning()).await {
        Ok(Ok(beginning)) => beginning.standing(),
        Ok(Err(error)) => {
            tracing::error!(%error, "the mirror does not say where it stands");
            return SyncEvent::StreamFailed(stream, Trouble::Local);
        }
        Err(_) => return SyncEvent::StreamFailed(stream, Trouble::Local),
    };
    let mut pages = match upstream.live(&standing).await {
        Ok(pages) => pages,
        Err(error) => return failed(&error),
    };
    let _ = reports.send(Report::Sync(SyncEvent::StreamOpened(stream))).await;
    let mut applying: Option<oneshot::Receiver<()>> = None;
    loop {
        // The next page is read and decompressed while the last one is applied, and waits here.
        let event = pages.next().await;
        if let Some(applied) = applying.take() {
            // Not applied: the engine drops this stream, or has done so.
            let _ = applied.await;
        }
        match event {
            Ok(Some(StreamEvent::Page(page))) => {
                let (done, applied) = oneshot::channel();
                applying = Some(applied);
                let _ = reports.send(Report::Page { stream, page: Box::new(page), applied: done }).await;
            }
            Ok(Some(StreamEvent::KeepAlive(alive))) => {
                let server_time = alive.server_time;
                let _ = reports.send(Report::KeepAlive { stream, server_time }).await;
            }
            Ok(None) => return SyncEvent::StreamEnded(stream),
            Err(error) => return failed(&error),
        }
    }
}

pub(super) fn apply(ward: &Ward, page: &Page) -> Result<Cursor, MirrorError> {
    let parsed = MirrorPage::from_lines(&page.lines)?;
    let cursor = match ward.mirror().apply(&parsed, &page.end)? {
        Applied::Advanced => page.end.cursor,
        // A late page of an earlier stream: the mirror is further on already.
        Applied::Behind => ward.mirror().cursor()?.unwrap_or(page.end.cursor),
    };
    // Whoever is at the screen may be among what changed.
    ward.members_changed();
    Ok(cursor)
}

pub(super) fn trouble(error: &UpstreamError) -> Trouble {
    match error {
        UpstreamError::Transport(_) => Trouble::Unreachable,
        UpstreamError::Refused(problem, retry_after) => {
            Trouble::of(problem.status, Some(problem), *retry_after)
        }
        UpstreamError::Nonsense(_) | UpstreamError::SetUp(_) => Trouble::Broken,
    }
}
