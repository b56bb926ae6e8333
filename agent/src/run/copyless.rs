//! What a device still does whose disk is too full for its copy: it sends what waits, and says how it is.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::sync::{Load, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::device::DeviceState;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::Heartbeat;
use carepost_protocol::wire::push::MAX_CHANGES;
use tokio::task::spawn_blocking;

use super::beat::of_outbox;
use super::exchange::{push_batch, trouble};
use super::opened::Opened;
use crate::config::Config;
use crate::desk::{Desk, Screen};
use crate::upstream::Upstream;

/// How often.
const EVERY: Duration = Duration::from_secs(15);

/// Speaks while there is no room, until the server refuses this device for good.
pub(super) async fn speak(
    config: &Config,
    opened: &Arc<Opened>,
    desk: &Arc<Desk>,
    grant: &Grant,
    upstream: &Upstream,
) {
    // Fewer at once after each that failed: what a whole batch needs of the disk may not be there.
    let mut most = MAX_CHANGES;
    loop {
        tokio::time::sleep(EVERY).await;
        if !matches!(desk.screen(), Screen::NoRoom) {
            continue;
        }
        match speak_once(config, opened, desk, (grant, upstream), &mut most).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::info!(error = format!("{error:#}"), "nothing is sent either"),
        }
    }
}

/// Sends what waits, and one heartbeat. Says whether the server refuses this device for good.
async fn speak_once(
    config: &Config,
    opened: &Arc<Opened>,
    desk: &Arc<Desk>,
    (grant, upstream): (&Grant, &Upstream),
    most: &mut usize,
) -> anyhow::Result<bool> {
    let (config, here, of) = (config.clone(), Arc::clone(opened), grant.clone());
    let outbox = Arc::new(spawn_blocking(move || here.outbox(&of, &config)).await??);
    for lane in Lane::ALL {
        loop {
            match push_batch(&outbox, upstream, lane, Load::Changes(*most), None).await {
                Ok(Some(_)) => *most = (*most * 2).min(MAX_CHANGES),
                Err((_, Trouble::Revoked)) => return Ok(true),
                Err((_, Trouble::Unreachable)) => return Ok(false),
                Ok(None) => break,
                Err((_, Trouble::Local | Trouble::Broken | Trouble::BatchRefused)) => {
                    *most = (*most / 2).max(1);
                    break;
                }
                // What could not be sent is sent once the copy is there, if not before.
                Err(_) => break,
            }
        }
    }
    let (here, desk) = (Arc::clone(opened), Arc::clone(desk));
    let said = spawn_blocking(move || {
        let cannot_save = desk.status().storage_trouble;
        anyhow::Ok(Heartbeat { cannot_save, ..of_outbox(&here, &desk, &outbox)? })
    });
    match upstream.heartbeat(grant.device_id, &said.await??).await {
        Ok(reply) => Ok(reply.state == DeviceState::Revoked),
        Err(error) => Ok(trouble(&error) == Trouble::Revoked),
    }
}
