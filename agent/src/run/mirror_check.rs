//! The mirror check: reads the mirror in the background, with a fifth of one core at the most. What still differs is
//! fetched again with growing patience.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::shared::Shared;
use crate::clock::Clock;
use crate::mirror::{Check, MirrorError, Slice};
use crate::workspace::Workspace;

/// The first check does not compete with what a start has to do.
const FIRST_CHECK: Duration = Duration::from_secs(5 * 60);
/// How long after a fetch that did not mend it a collection is fetched once more; doubled each time.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);
/// A check rests this many times as long as it reads, so that it takes a fifth of one core at most.
const REST: u32 = 4;
const LEAST_REST: Duration = Duration::from_millis(20);
/// A collection that takes longer is left for the next check: its read transaction holds up the folding
/// of the WAL.
const BUDGET: Duration = Duration::from_secs(10 * 60);

/// Checks the mirror every so often, for as long as the task lives.
pub(super) async fn run(shared: Shared, every: Duration) {
    let (workspace, clock) = (shared.workspace, Arc::clone(&shared.state.clock));
    let first_patience = FIRST_PATIENCE.min(every);
    let mut patience = first_patience;
    let mut next_check = clock.monotonic() + FIRST_CHECK.min(every);
    let mut next_try = clock.monotonic() + patience;
    loop {
        tokio::time::sleep(next_check.min(next_try).saturating_sub(clock.monotonic())).await;
        if clock.monotonic() >= next_check {
            if let Err(error) = check(&workspace, &clock).await {
                tracing::error!(error = format!("{error:#}"), "the mirror could not be checked");
            }
            next_check = clock.monotonic() + every;
        }
        if clock.monotonic() >= next_try {
            patience = match refetch_differing(&workspace).await {
                Tried::Asked => (patience * 2).min(LONGEST_PATIENCE),
                Tried::Underway => patience,
                Tried::Equal => first_patience,
            };
            next_try = clock.monotonic() + patience;
        }
    }
}

/// What asking again came to.
enum Tried {
    /// Something still differs, and is fetched once more.
    Asked,
    /// It is being fetched.
    Underway,
    /// Nothing differs.
    Equal,
}

async fn refetch_differing(workspace: &Arc<Workspace>) -> Tried {
    let workspace = Arc::clone(workspace);
    let tried = spawn_blocking(move || {
        let mirror = workspace.mirror();
        Ok::<_, MirrorError>(match (mirror.refetch_differing()?, mirror.differing()?.is_empty()) {
            (true, _) => Tried::Asked,
            (false, false) => Tried::Underway,
            (false, true) => Tried::Equal,
        })
    });
    match tried.await {
        Ok(Ok(tried)) => tried,
        Ok(Err(error)) => {
            tracing::error!(%error, "what differs cannot be asked for again");
            Tried::Underway
        }
        Err(_) => Tried::Underway,
    }
}

async fn check(workspace: &Arc<Workspace>, clock: &Arc<Clock>) -> anyhow::Result<()> {
    let beginning = Arc::clone(workspace);
    let mut check = spawn_blocking(move || beginning.mirror().check()).await??;
    let mut began = clock.monotonic();
    loop {
        let (workspace, clock_now) = (Arc::clone(workspace), clock.now());
        let read = spawn_blocking(move || read_on(&workspace, check, clock_now));
        let (slice, took);
        (check, slice, took) = read.await??;
        match slice {
            Slice::Done => return Ok(()),
            Slice::Read { .. } => began = clock.monotonic(),
            Slice::More if clock.monotonic().saturating_sub(began) > BUDGET => {
                tracing::warn!("checking the mirror takes too long: the rest is left for the next time");
                return Ok(());
            }
            Slice::More => {}
        }
        tokio::time::sleep((took * REST).max(LEAST_REST)).await;
    }
}

fn read_on(
    workspace: &Workspace,
    mut check: Check,
    now: carepost_protocol::time::Timestamp,
) -> Result<(Check, Slice, Duration), MirrorError> {
    let began = Instant::now();
    let slice = workspace.mirror().check_on(&mut check, now)?;
    Ok((check, slice, began.elapsed()))
}
