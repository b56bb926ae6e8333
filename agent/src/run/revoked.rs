//! A revoked device: the server refuses its key for good, and it waits until somebody wants it to enroll anew.
//!
//! That it is revoked is kept: whoever cuts it off from the network would otherwise have it work again.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::backoff::Backoff;
use tokio::task::spawn_blocking;

use super::state_dir::{StateDir, Step};
use super::tell_counted;
use crate::device::{Device, State};

/// How often it looks whether the command line wants it to enroll anew; the first wait after the disk took nothing.
const TICK: Duration = Duration::from_secs(2);
/// A disk that takes nothing is not tried less often than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Waits until somebody wants the revoked device to enroll anew: at its page, or at the command line, which says
/// so in what is kept. What the disk does not take is said, and tried again.
pub(super) async fn until_anew(state: &Arc<StateDir>, device: &Device) {
    let mut workspace = device.workspace();
    // The screen first: a full disk must not keep a deactivated device at work.
    device.enter(State::Revoked { trouble: None });
    let mut backoff = Backoff::new(TICK);
    let (mut asked, mut told) = (false, None);
    loop {
        let at = Arc::clone(state);
        let kept = spawn_blocking(move || keep(&at, asked)).await.map_err(anyhow::Error::from).flatten();
        tell_counted(workspace.take()).await;
        let (wait, trouble) = match kept {
            Ok(Step::Anew) => return,
            Ok(_) => {
                backoff.reset();
                (TICK, None)
            }
            Err(error) => {
                let wait = backoff.next(state.clock.random_u64()).min(LONGEST_WAIT);
                (wait, Some(format!("{error:#}")))
            }
        };
        if trouble != told {
            if let Some(why) = &trouble {
                tracing::error!(
                    why,
                    asked,
                    "how this revoked device stands cannot be kept: it is tried again"
                );
            }
            device.enter(State::Revoked { trouble: trouble.clone() });
            told = trouble;
        }
        asked |= tokio::time::timeout(wait, device.until_anew()).await.is_ok();
    }
}

/// Keeps that the device is revoked, or that it is to enroll anew: what is kept now.
fn keep(state: &StateDir, anew: bool) -> anyhow::Result<Step> {
    Ok(match (state.kept_enrollment()?.step, anew) {
        // The command line may have said so already, with a token.
        (Step::Anew, _) => Step::Anew,
        (Step::Nothing | Step::Asking | Step::Enrolled | Step::Revoked, true) => {
            state.enroll_anew(None)?;
            Step::Anew
        }
        (Step::Revoked, false) => Step::Revoked,
        (Step::Nothing | Step::Asking | Step::Enrolled, false) => {
            state.keep_revoked()?;
            Step::Revoked
        }
    })
}
