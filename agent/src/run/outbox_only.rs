//! Outbox-only operation: an enrolled device whose files do not open yet, most often for want of room on the disk.
//!
//! The outbox is opened first and once, the mirror as soon as it can be. Until then what waits is sent as far as it
//! can be, and the server hears how the device is; neither waits for the other.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::sync::{Load, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::DeviceId;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::Heartbeat;
use carepost_protocol::wire::push::MAX_CHANGES;
use tokio::task::{JoinSet, spawn_blocking};

use super::heartbeat::of_outbox;
use super::state_dir::StateDir;
use super::sync::push::push_batch;
use crate::config::Config;
use crate::device::{Device, State};
use crate::outbox::Outbox;
use crate::upstream::Upstream;
use crate::workspace::Workspace;

/// How often the files are tried.
const OPEN_EVERY: Duration = Duration::from_secs(5);
/// How long after what was sent something is sent again.
const SPEAK_EVERY: Duration = Duration::from_secs(15);

/// Opens an enrolled device's files as soon as it can; none when the server refuses the device for good before.
pub(super) async fn until_opened(
    config: &Config,
    state: &Arc<StateDir>,
    device: &Arc<Device>,
    grant: &Grant,
    upstream: &Upstream,
) -> Option<Arc<Workspace>> {
    let (mut outbox, mut told) = (None, None);
    let mut most = MAX_CHANGES;
    let mut speak_at = state.clock.monotonic();
    // One at the most; what is under way ends with it.
    let mut speaking = JoinSet::new();
    loop {
        match open(config, state, grant, &mut outbox).await {
            Ok(workspace) => {
                let workspace = Arc::new(workspace);
                device.enter(State::Enrolled(Arc::clone(&workspace)));
                return Some(workspace);
            }
            Err(error) => say(device, error.to_string(), &mut told),
        }
        if let Some(outbox) =
            outbox.as_ref().filter(|_| speaking.is_empty() && state.clock.monotonic() >= speak_at)
        {
            let speaker = Speaker {
                state: Arc::clone(state),
                device: Arc::clone(device),
                outbox: Arc::clone(outbox),
                upstream: upstream.clone(),
                id: grant.device_id,
            };
            speaking.spawn(async move { (speaker.speak(&mut most).await, most) });
        }
        tokio::select! {
            () = tokio::time::sleep(OPEN_EVERY) => {}
            Some(spoke) = speaking.join_next() => {
                speak_at = state.clock.monotonic() + SPEAK_EVERY;
                let said = spoke.map_err(anyhow::Error::from).and_then(|(said, now)| {
                    most = now;
                    said
                });
                match said {
                    Ok(true) => return None,
                    Ok(false) => {}
                    Err(error) => tracing::info!(error = format!("{error:#}"), "nothing is sent either"),
                }
            }
        }
    }
}

/// Says why the files do not open, once for each reason.
fn say(device: &Device, why: String, told: &mut Option<String>) {
    if told.as_ref() != Some(&why) {
        tracing::error!(why, "nothing can be shown or charted here: this goes on when its files open");
        device.enter(State::Unopened { why: why.clone() });
        *told = Some(why);
    }
}

/// Opens what is not open.
async fn open(
    config: &Config,
    state: &Arc<StateDir>,
    grant: &Grant,
    outbox: &mut Option<Arc<Outbox>>,
) -> anyhow::Result<Workspace> {
    let (of, at, by) = (grant.clone(), Arc::clone(state), config.clone());
    let open = match outbox {
        Some(open) => Arc::clone(open),
        none => {
            let (of, at, by) = (of.clone(), Arc::clone(&at), by.clone());
            Arc::clone(none.insert(spawn_blocking(move || at.outbox(&of, &by)).await??))
        }
    };
    spawn_blocking(move || super::workspace(&by, &at, of, open)).await?
}

/// What a device without its mirror speaks with.
struct Speaker {
    state: Arc<StateDir>,
    device: Arc<Device>,
    outbox: Arc<Outbox>,
    upstream: Upstream,
    id: DeviceId,
}

impl Speaker {
    /// Sends what waits, `most` at once, and one heartbeat. Says whether the server refuses this device for good.
    async fn speak(&self, most: &mut usize) -> anyhow::Result<bool> {
        for lane in Lane::ALL {
            loop {
                match push_batch(&self.outbox, &self.upstream, lane, Load::Changes(*most), None).await {
                    Ok(Some(_)) => *most = (*most * 2).min(MAX_CHANGES),
                    Err((_, Trouble::Revoked)) => return Ok(true),
                    Err((_, Trouble::Unreachable)) => return Ok(false),
                    Ok(None) => break,
                    // Fewer at once: what a whole batch needs of the disk may not be there.
                    Err((_, Trouble::Local | Trouble::Broken | Trouble::BatchRefused)) => {
                        *most = (*most / 2).max(1);
                        break;
                    }
                    // What could not be sent is sent once the mirror is there, if not before.
                    Err(_) => break,
                }
            }
        }
        let (state, device, outbox) =
            (Arc::clone(&self.state), Arc::clone(&self.device), Arc::clone(&self.outbox));
        let said = spawn_blocking(move || {
            let cannot_save = device.status().storage_trouble;
            anyhow::Ok(Heartbeat { cannot_save, ..of_outbox(&state, &device, &outbox)? })
        });
        match self.upstream.heartbeat(self.id, &said.await??).await {
            Ok(reply) => Ok(reply.state == DeviceState::Revoked),
            Err(error) => Ok(error.trouble() == Trouble::Revoked),
        }
    }
}
