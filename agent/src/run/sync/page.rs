//! A page of the live stream: checked while the one before it is applied, then applied.

use carepost_protocol::wire::heartbeat::StepReason;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use tokio::task::spawn_blocking;

use crate::mirror::{Applied, MirrorError, Over, Page as MirrorPage, PageError};
use crate::upstream::{Oversized, Page, UpstreamError};
use crate::workspace::Workspace;

/// A page that was read through: all that is left is to write it.
pub(in crate::run) struct CheckedPage {
    documents: MirrorPage,
    pub(super) end: PageEnd,
}

pub(super) async fn checked(page: Page) -> Result<CheckedPage, UpstreamError> {
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

pub(super) fn apply(workspace: &Workspace, page: &CheckedPage) -> Result<Cursor, MirrorError> {
    let CheckedPage { documents, end } = page;
    let cursor = match workspace.mirror().apply(documents, end)? {
        Applied::Advanced => end.cursor,
        // A late page of an earlier stream: the mirror is further on already.
        Applied::Behind => workspace.mirror().cursor()?.unwrap_or(end.cursor),
    };
    // Whoever is at the screen may be among what changed.
    workspace.members_changed();
    Ok(cursor)
}
