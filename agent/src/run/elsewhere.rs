//! Notices what another process writes into the outbox: the command line, while the agent runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::outbox::Outbox;

/// How often the file is asked: it costs the reading of one counter.
const EVERY: Duration = Duration::from_secs(5);

/// Calls `changed` whenever another process has written, until it says that nobody listens any more.
pub(super) async fn watch<F: Future<Output = bool>>(outbox: Arc<Outbox>, changed: impl Fn() -> F) {
    loop {
        tokio::time::sleep(EVERY).await;
        let asked = Arc::clone(&outbox);
        let news = spawn_blocking(move || asked.changed_elsewhere()).await;
        if matches!(news, Ok(Ok(true))) && !changed().await {
            return;
        }
    }
}
