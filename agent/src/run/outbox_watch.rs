//! The outbox watch: notices what another process writes into the outbox, the command line while the agent runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::shared::Shared;
use super::sync::report::Report;

/// How often the file is asked: it costs the reading of one counter.
const EVERY: Duration = Duration::from_secs(5);

/// Runs for as long as the task lives.
pub(super) async fn run(shared: Shared) {
    loop {
        tokio::time::sleep(EVERY).await;
        let outbox = Arc::clone(shared.workspace.outbox());
        let is_changed = spawn_blocking(move || outbox.changed_elsewhere()).await;
        if matches!(is_changed, Ok(Ok(true))) {
            shared.report(Report::OutboxChanged).await;
        }
    }
}
