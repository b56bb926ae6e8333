//! What a device still does whose disk is too full for its copy: it sends what waits, and says how it is.

use std::sync::Arc;

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
use crate::desk::Desk;
use crate::upstream::Upstream;

/// Sends what waits, and one heartbeat. Says whether the server refuses this device for good.
///
/// # Errors
/// When the outbox does not open either.
pub(super) async fn speak(
    config: &Config,
    opened: &Arc<Opened>,
    desk: &Arc<Desk>,
    grant: &Grant,
    upstream: &Upstream,
    why: &str,
) -> anyhow::Result<bool> {
    let (config, here, of) = (config.clone(), Arc::clone(opened), grant.clone());
    let outbox = Arc::new(spawn_blocking(move || here.outbox(&of, &config)).await??);
    for lane in Lane::ALL {
        loop {
            match push_batch(&outbox, upstream, lane, Load::Changes(MAX_CHANGES), None).await {
                Ok(Some(_)) => {}
                Err((_, Trouble::Revoked)) => return Ok(true),
                // What could not be sent is sent once the copy is there, if not before.
                Ok(None) | Err(_) => break,
            }
        }
    }
    let (here, desk, why) = (Arc::clone(opened), Arc::clone(desk), why.to_owned());
    let said = spawn_blocking(move || {
        anyhow::Ok(Heartbeat { cannot_save: Some(why), ..of_outbox(&here, &desk, &outbox)? })
    });
    match upstream.heartbeat(grant.device_id, &said.await??).await {
        Ok(reply) => Ok(reply.state == DeviceState::Revoked),
        Err(error) => Ok(trouble(&error) == Trouble::Revoked),
    }
}
