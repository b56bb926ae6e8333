//! The pruning: once an hour acknowledged entries that are old enough leave the outbox.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::shared::Shared;

const EVERY: Duration = Duration::from_secs(3600);

/// Runs for as long as the task lives.
pub(super) async fn run(shared: Shared) {
    loop {
        // By a time that the server attested: a clock that is ahead must not make them old.
        if let Some(now) = shared.clock().floor() {
            let workspace = shared.workspace.clone();
            let pruned = spawn_blocking(move || {
                let cursor = workspace.mirror().cursor().ok().flatten().map_or(0, |cursor| cursor.seq);
                workspace.outbox().prune(cursor, now)
            });
            if let Ok(Err(error)) = pruned.await {
                tracing::error!(%error, "acknowledged entries could not be removed");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
