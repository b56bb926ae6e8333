//! The mirror watch: whatever the mirror finds of itself is written down, shown and told.
//!
//! It is that a collection differs or is equal again, that the file was made anew, or that there is more to fetch.

use std::sync::Arc;

use carepost_agent_core::sync::SyncEvent;
use tokio::task::spawn_blocking;

use super::shared::Shared;
use super::sync::report::Report;

/// Runs for as long as the task lives.
pub(super) async fn run(shared: Shared) {
    loop {
        shared.workspace.mirror().until_news().await;
        let workspace = Arc::clone(&shared.workspace);
        let told = spawn_blocking(move || (workspace.tell_of_mirror(), workspace.mirror().wants_more()));
        let Ok((told, wants_more)) = told.await else { continue };
        if told {
            shared.device.changed();
            shared.news.notify_one();
        }
        if wants_more {
            let workspace = Arc::clone(&shared.workspace);
            let cursor = spawn_blocking(move || workspace.mirror().cursor().ok().flatten());
            let event = SyncEvent::MirrorWantsMore { cursor: cursor.await.ok().flatten() };
            shared.report(Report::Sync(event)).await;
        }
    }
}
