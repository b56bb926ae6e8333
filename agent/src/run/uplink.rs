//! The uplink: enrollment, then opening the files, then the sync, until the server refuses this device for good.
//!
//! Whatever goes wrong here is logged and tried again: the kiosk, its badges and charting go on without it.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::backoff::{Backoff, LONGEST};
use carepost_agent_core::enrollment::{EnrollTrouble, EnrollmentView};
use carepost_agent_core::sync::Distrust;
use carepost_protocol::wire::enroll::Grant;
use tokio::sync::{Notify, oneshot};

use super::enrolling::{Ended, Enroller, in_words};
use super::state_dir::StateDir;
use super::{outbox_only, revoked, sync};
use crate::config::Config;
use crate::device::{Device, State};
use crate::upstream::Upstream;
use crate::workspace::Workspace;
use crate::workspace::view::{Enrolling, Screen};

/// The first wait after the line to the server broke.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until the device is revoked, and then until it is to enroll anew: that is what `anew` hears. `network` tells
/// that the device's network changed.
pub(super) async fn run(
    config: Config,
    state: Arc<StateDir>,
    device: Arc<Device>,
    network: Arc<Notify>,
    anew: oneshot::Sender<()>,
) {
    let (mut backoff, mut blind) = (Backoff::new(RETRY), None);
    loop {
        let began = state.clock.monotonic();
        match state.upstream(&config, Some(state.boot)) {
            Ok(upstream) => {
                blind = None;
                match until_revoked(&config, &state, &device, &upstream, &network).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "the line to the server broke");
                    }
                }
            }
            Err(error) => say_blind(&device, format!("{error:#}"), &mut blind),
        }
        device.set_link(false, state.clock.now());
        // What worked for longer than any wait begins with a brief one.
        backoff = if state.clock.monotonic() > began + LONGEST { Backoff::new(RETRY) } else { backoff };
        tokio::time::sleep(backoff.next(state.clock.random_u64())).await;
    }
    revoked::until_anew(&state, &device).await;
    // Nobody listens where the agent is ending anyway.
    let _ = anew.send(());
}

/// Says that this device does not know its server; in the log once for each reason.
fn say_blind(device: &Device, why: String, told: &mut Option<String>) {
    if told.as_ref() == Some(&why) {
        return;
    }
    tracing::error!(why, "the server is not asked");
    device.set_distrust(Some(Distrust::Blind));
    if let Screen::Enrolling(screen) = device.screen() {
        let trouble = Some(in_words(&EnrollTrouble::NotTrusted(Distrust::Blind)));
        device.enter(State::Enrolling(Enrolling { step: EnrollmentView::Asking, trouble, ..screen }));
    }
    *told = Some(why);
}

async fn until_revoked(
    config: &Config,
    state: &Arc<StateDir>,
    device: &Arc<Device>,
    upstream: &Upstream,
    network: &Notify,
) -> anyhow::Result<()> {
    if state.is_revoked()? {
        return Ok(());
    }
    if let Some(workspace) = workspace(config, state, device, upstream).await? {
        let check_every = Duration::from_secs(config.mirror.check_every);
        sync::until_revoked(state, device, &workspace, upstream, network, check_every).await?;
    }
    tracing::warn!("this device was deactivated: it shows and sends nothing any more");
    Ok(())
}

/// The workspace, once the device is enrolled and its files are open; none when it is revoked before.
async fn workspace(
    config: &Config,
    state: &Arc<StateDir>,
    device: &Arc<Device>,
    upstream: &Upstream,
) -> anyhow::Result<Option<Arc<Workspace>>> {
    if let Some(workspace) = device.workspace() {
        return Ok(Some(workspace));
    }
    let grant = match state.vault.grant()? {
        Some(grant) => grant,
        None => match enroll(config, state, device, upstream).await? {
            Some(grant) => grant,
            None => return Ok(None),
        },
    };
    Ok(outbox_only::until_opened(config, state, device, &grant, upstream).await)
}

async fn enroll(
    config: &Config,
    state: &Arc<StateDir>,
    device: &Device,
    upstream: &Upstream,
) -> anyhow::Result<Option<Grant>> {
    let mut enroller = Enroller::new(config, state, upstream);
    let show = |screen, is_reached| {
        device.set_link(is_reached, state.clock.now());
        device.set_distrust(upstream.distrust());
        device.enter(State::Enrolling(screen));
    };
    Ok(match enroller.run(show).await? {
        Ended::Revoked => None,
        Ended::Enrolled(grant) => {
            tracing::info!(device = grant.device_name, facility = grant.facility_name, "enrolled");
            Some(*grant)
        }
    })
}
