//! The outbox watch: notices what another process writes into the outbox, the command line while the agent runs; and
//! looks whether a file is sound that is not folded into.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::shared::Shared;
use super::sync::report::Report;

/// How often the file is asked: it costs the reading of one counter.
const EVERY: Duration = Duration::from_secs(5);
/// How often at the most all of it is read: it may be damaged for good, or its disk may have failed once.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The same where it could not be read to its end, and so nothing is known of it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Runs for as long as the task lives.
pub(super) async fn run(shared: Shared) {
    let mut look_at = Duration::ZERO;
    loop {
        tokio::time::sleep(EVERY).await;
        let (outbox, now) = (Arc::clone(shared.workspace.outbox()), shared.clock().monotonic());
        let may_look = now >= look_at;
        let watched = spawn_blocking(move || {
            let looks = may_look && !outbox.folds();
            (looks.then(|| outbox.fold_if_sound()), outbox.changed_elsewhere())
        });
        let Ok((looked, is_changed)) = watched.await else { continue };
        if let Some(is_known) = looked {
            look_at = now + if is_known { LOOK_EVERY } else { LOOK_AGAIN };
            shared.device.changed();
            shared.news.notify_one();
        }
        if matches!(is_changed, Ok(true)) {
            shared.report(Report::OutboxChanged).await;
        }
    }
}
