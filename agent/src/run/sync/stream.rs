//! The live stream's driver: the stream, and a task for each of its pages.

use std::sync::Arc;

use carepost_agent_core::sync::{StreamId, SyncEvent, Trouble};
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::pull::SyncPosition;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

use super::page::{CheckedPage, apply, checked};
use super::report::Report;
use crate::mirror::MirrorError;
use crate::run::heartbeat::measured;
use crate::run::shared::Shared;
use crate::upstream::{StreamEvent, UpstreamError};
use crate::workspace::Workspace;

/// See the module.
pub(super) struct Stream {
    shared: Shared,
    task: Option<AbortHandle>,
    /// The page that came last, and who waits until it is applied.
    page: Option<(Box<CheckedPage>, oneshot::Sender<()>)>,
    /// The next one begins at the beginning.
    refetch: bool,
}

impl Stream {
    pub(super) const fn new(shared: Shared) -> Self {
        Self { shared, task: None, page: None, refetch: false }
    }

    pub(super) fn open(&mut self, stream: StreamId, tasks: &mut JoinSet<()>) {
        self.abort();
        let (shared, refetch) = (self.shared.clone(), std::mem::take(&mut self.refetch));
        self.task = Some(tasks.spawn(async move {
            let Shared { state, device, workspace, .. } = shared.clone();
            let stands = move || sync_position(&workspace, refetch, measured(&state, &device).is_complete());
            shared.report(read(&shared, stream, stands).await).await;
        }));
    }

    pub(super) fn close(&mut self) {
        self.abort();
        self.page = None;
    }

    /// The next one begins at the beginning.
    pub(super) const fn refetch(&mut self) {
        self.refetch = true;
    }

    /// A page came.
    pub(super) fn hold(&mut self, page: Box<CheckedPage>, applied: oneshot::Sender<()>) {
        self.page = Some((page, applied));
    }

    /// Applies the page that came last.
    pub(super) fn apply(&mut self, tasks: &mut JoinSet<()>) {
        let Some((page, applied)) = self.page.take() else { return };
        let shared = self.shared.clone();
        tasks.spawn(async move {
            let (workspace, end) = (Arc::clone(&shared.workspace), Box::new(page.end.clone()));
            let failed = || Report::Sync(SyncEvent::PageFailed);
            let report = match spawn_blocking(move || apply(&workspace, &page)).await {
                Ok(Ok(cursor)) => {
                    // The stream may have been closed meanwhile.
                    let _ = applied.send(());
                    Report::Applied { cursor, end }
                }
                Ok(Err(MirrorError::NoRoom)) => Report::NoRoom,
                Ok(Err(MirrorError::OtherEpoch { .. })) => {
                    forget_cursor(&shared).await;
                    failed()
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "a page was not applied");
                    failed()
                }
                Err(error) => {
                    tracing::error!(%error, "applying a page broke");
                    failed()
                }
            };
            shared.report(report).await;
        });
    }

    fn abort(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// A page is not of the mirror's past: its cursor is forgotten, so that all is pulled again.
async fn forget_cursor(shared: &Shared) {
    let workspace = Arc::clone(&shared.workspace);
    match spawn_blocking(move || workspace.refetch()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the mirror cannot be pulled afresh"),
        Err(error) => tracing::error!(%error, "forgetting the mirror's cursor broke"),
    }
}

/// Where the device stands. The mirror itself says so: it may have been made anew since the engine heard
/// of it. With `refetch` everything is pulled again.
fn sync_position(workspace: &Workspace, refetch: bool, encrypted: bool) -> anyhow::Result<SyncPosition> {
    if refetch {
        workspace.refetch()?;
    }
    let position = workspace.outbox().position()?;
    Ok(SyncPosition {
        incarnation: Some(position.incarnation),
        care: position.care,
        audit: position.audit,
        encrypted: Some(encrypted),
        ..workspace.mirror().beginning()?.sync_position()
    })
}

/// Reads a live stream to its end: how it ended. `stands` says where it begins.
async fn read(
    shared: &Shared,
    stream: StreamId,
    stands: impl FnOnce() -> anyhow::Result<SyncPosition> + Send + 'static,
) -> Report {
    let failed = |error: &UpstreamError| {
        tracing::info!(%error, "the live stream ended");
        let event = SyncEvent::StreamFailed(stream, error.trouble());
        if let UpstreamError::Refused(problem, _) = error
            && error.problem() == Some(ProblemKind::OverBudget)
        {
            return Report::CopyRefused { event, why: problem.detail.clone() };
        }
        Report::Sync(event)
    };
    let local = || Report::Sync(SyncEvent::StreamFailed(stream, Trouble::Local));
    let position = match spawn_blocking(stands).await {
        Ok(Ok(position)) => position,
        Ok(Err(error)) => {
            tracing::error!(error = format!("{error:#}"), "where this device stands cannot be read");
            return local();
        }
        Err(_) => return local(),
    };
    let mut pages = match shared.upstream.live(&position).await {
        Ok(pages) => pages,
        Err(error) => return failed(&error),
    };
    shared.report(Report::Sync(SyncEvent::StreamOpened(stream))).await;
    let mut applying: Option<oneshot::Receiver<()>> = None;
    loop {
        // The next page is read, decompressed and checked while the last one is applied, and waits here.
        let event = match pages.next().await {
            Ok(Some(StreamEvent::Page(page))) => checked(page).await.map(Some),
            Ok(Some(StreamEvent::KeepAlive(alive))) => {
                let server_time = alive.server_time;
                shared.report(Report::KeepAlive { stream, server_time }).await;
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
                shared.report(Report::Page { stream, page: Box::new(page), applied: done }).await;
            }
            Ok(None) => return Report::Sync(SyncEvent::StreamEnded(stream)),
            Err(error) => return failed(&error),
        }
    }
}
