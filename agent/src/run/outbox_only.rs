//! Outbox-only operation: an enrolled device whose files do not open yet, for want of room on the disk or because one
//! is damaged or gone.
//!
//! The outbox is opened first and once, the mirror as soon as it can be. Until then what waits is sent as far as it
//! can be, and the server hears how the device is, also where not even the outbox opens; neither waits for the other.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::sync::{Load, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{DeviceId, IncarnationId};
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::Heartbeat;
use carepost_protocol::wire::push::MAX_CHANGES;
use tokio::task::{JoinSet, spawn_blocking};

use super::heartbeat::{of_device, of_outbox};
use super::state_dir::StateDir;
use super::sync::push::push_batch;
use crate::config::Config;
use crate::device::{Device, State};
use crate::outbox::{Outbox, OutboxError};
use crate::sqlite::OpenError;
use crate::upstream::Upstream;
use crate::workspace::Workspace;

/// How often the files are tried.
pub(super) const OPEN_EVERY: Duration = Duration::from_secs(5);
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
    // The outbox's own cannot be read, and its first heartbeat supersedes this one.
    let unknown = IncarnationId::new(state.clock.now(), state.clock.random());
    // One at the most; what is under way ends with it.
    let mut speaking = JoinSet::new();
    loop {
        match open(config, state, grant, &mut outbox).await {
            Ok(workspace) => {
                let workspace = Arc::new(workspace);
                device.enter(State::Enrolled(Arc::clone(&workspace)));
                return Some(workspace);
            }
            Err(error) if told.as_ref() == Some(&error.to_string()) => {}
            Err(error) => {
                let phone = phone(config, state, grant, &error).await;
                say(device, error.to_string(), phone, &mut told);
            }
        }
        if speaking.is_empty() && state.clock.monotonic() >= speak_at {
            let (state, device, upstream) = (Arc::clone(state), Arc::clone(device), upstream.clone());
            let outbox = outbox.clone().ok_or(unknown);
            let speaker = Speaker { state, device, outbox, upstream, id: grant.device_id };
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

/// Says why the files do not open and whom to call, once for each reason.
pub(super) fn say(device: &Device, why: String, phone: Option<String>, told: &mut Option<String>) {
    if told.as_ref() != Some(&why) {
        tracing::error!(why, "nothing can be shown or charted here: this goes on when its files open");
        device.enter(State::Unopened { why: why.clone(), phone });
        *told = Some(why);
    }
}

/// The facility's phone number, where the outbox alone does not open. A copy that is not there is not made before the
/// outbox, and on a full disk it is left alone: it would take the room that the outbox needs.
async fn phone(
    config: &Config,
    state: &Arc<StateDir>,
    grant: &Grant,
    error: &anyhow::Error,
) -> Option<String> {
    if matches!(
        error.downcast_ref::<OutboxError>()?,
        OutboxError::Full | OutboxError::Open(OpenError::NoRoom { .. })
    ) {
        return None;
    }
    let (of, at, by) = (grant.clone(), Arc::clone(state), config.clone());
    let read = spawn_blocking(move || {
        if !at.vault.mirror_path().exists() {
            return None;
        }
        at.mirror(&of, &by).ok()?.facility().ok()??.phone.clone()
    });
    read.await.ok().flatten()
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
    /// Where it does not open, what is said in place of its incarnation.
    outbox: Result<Arc<Outbox>, IncarnationId>,
    upstream: Upstream,
    id: DeviceId,
}

impl Speaker {
    /// Sends what waits, `most` at once, and one heartbeat. Says whether the server refuses this device for good.
    async fn speak(&self, most: &mut usize) -> anyhow::Result<bool> {
        let lanes = self.outbox.iter().flat_map(|outbox| Lane::ALL.map(|lane| (outbox, lane)));
        for (outbox, lane) in lanes {
            loop {
                match push_batch(outbox, &self.upstream, lane, Load::Changes(*most), None).await {
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
            (Arc::clone(&self.state), Arc::clone(&self.device), self.outbox.clone());
        let said = spawn_blocking(move || {
            let why = device.status().storage_trouble;
            anyhow::Ok(match outbox {
                Ok(outbox) => Heartbeat { cannot_save: why, ..of_outbox(&state, &device, &outbox)? },
                Err(unknown) => {
                    let cannot_save = why.map(|why| format!("what waits on it cannot be counted; {why}"));
                    Heartbeat { cannot_save, ..of_device(&state, &device, unknown) }
                }
            })
        });
        match self.upstream.heartbeat(self.id, &said.await??).await {
            Ok(reply) => Ok(reply.state == DeviceState::Revoked),
            Err(error) => Ok(error.trouble() == Trouble::Revoked),
        }
    }
}
