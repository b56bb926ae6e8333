//! The heartbeat: says once a minute, and soon after news, how this device is, and does what the answer says.
//!
//! Nothing is said that was not measured for it, and it waits behind nothing else that is sent.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use carepost_agent_core::heartbeat::{Heart, HeartbeatEvent, INTERVAL};
use carepost_agent_core::sync::{Hold, SyncEvent, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::IncarnationId;
use carepost_protocol::wire::heartbeat::{
    Encryption, Heartbeat, HeartbeatReply, MAX_REJECTED, QueueState, Revoked, SettledChange,
};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::shared::Shared;
use super::state_dir::StateDir;
use super::sync::report::Report;
use crate::device::Device;
use crate::identity::factors::mac_addresses;
use crate::outbox::Outbox;
use crate::upstream::UpstreamError;
use crate::workspace::Workspace;

/// Runs for as long as the task lives. `still_since` says since when nothing has moved, if that is long ago.
pub(super) async fn run(shared: Shared, still_since: watch::Receiver<Option<Duration>>) {
    let mut beats = Beats { shared, heart: Heart::default(), trouble: None };
    let mut event = HeartbeatEvent::Started;
    loop {
        let clock = beats.shared.clock();
        if beats.heart.on(event, clock.monotonic(), clock.random_u64()).is_some() {
            let since = *still_since.borrow();
            beats.beat(since).await;
            event = HeartbeatEvent::Done;
            continue;
        }
        let now = clock.monotonic();
        let wait = beats.heart.next_deadline().map_or(INTERVAL, |due| due.saturating_sub(now));
        event = tokio::select! {
            () = beats.shared.news.notified() => HeartbeatEvent::Changed,
            () = tokio::time::sleep(wait) => HeartbeatEvent::Tick,
        };
    }
}

struct Beats {
    shared: Shared,
    heart: Heart,
    /// Why the server is not reached, as it was last logged.
    trouble: Option<String>,
}

impl Beats {
    async fn beat(&mut self, still_since: Option<Duration>) {
        let Shared { state, device, workspace, .. } = self.shared.clone();
        let still = still_since.map(|since| state.clock.monotonic().saturating_sub(since));
        let said = spawn_blocking(move || describe(&state, &device, &workspace, still));
        let said = match said.await.map_err(anyhow::Error::from).flatten() {
            Ok(said) => said,
            Err(error) => {
                return tracing::error!(error = format!("{error:#}"), "this heartbeat is left out");
            }
        };
        let sent_at = self.shared.clock().monotonic();
        match self.shared.upstream.heartbeat(self.shared.workspace.grant().device_id, &said).await {
            Ok(reply) => self.answered(reply, sent_at).await,
            Err(error) => {
                self.note_trouble(&error);
                if error.trouble() == Trouble::Revoked {
                    self.shared.report(Report::Sync(SyncEvent::Revoked)).await;
                }
            }
        }
    }

    async fn answered(&mut self, reply: HeartbeatReply, sent_at: Duration) {
        self.trouble = None;
        self.shared.server_said(reply.server_time, Some(sent_at));
        let held = match reply.state {
            DeviceState::Revoked => return self.shared.report(Report::Sync(SyncEvent::Revoked)).await,
            DeviceState::Quarantined => Some(Hold::Quarantined),
            DeviceState::Active | DeviceState::Expected | DeviceState::Pending => {
                reply.must_encrypt.then_some(Hold::NotEncrypted)
            }
        };
        self.shared.report(Report::Sync(SyncEvent::Held(held))).await;
        self.shared.report(Report::Sync(SyncEvent::ServerHeard)).await;
        if let Some(revoked) = reply.revoked {
            self.revoke(revoked).await;
        }
        self.settle_rejected(reply.settled).await;
    }

    /// What the server revoked ends here at once, whatever the feed is held up by.
    async fn revoke(&self, revoked: Revoked) {
        let (workspace, more) = (Arc::clone(&self.shared.workspace), revoked.more);
        match spawn_blocking(move || workspace.revoke(&revoked)).await {
            Ok(Ok(())) => self.shared.device.changed(),
            Ok(Err(error)) => tracing::error!(%error, "what was revoked could not be kept"),
            Err(error) => tracing::error!(%error, "keeping what was revoked broke"),
        }
        if more {
            self.shared.news.notify_one();
        }
    }

    /// Takes what has become of the rejected entries that the answer named.
    async fn settle_rejected(&self, settled: Vec<SettledChange>) {
        if settled.is_empty() {
            return;
        }
        let (workspace, now) = (Arc::clone(&self.shared.workspace), self.shared.clock().now());
        let counted = spawn_blocking(move || {
            let count = workspace.outbox().settle_rejected(&settled, now)?;
            tracing::info!(count, "rejected entries were settled");
            workspace.outbox().counts()
        });
        match counted.await {
            Ok(Ok(counts)) => self.shared.report(Report::Rejected(counts.rejected)).await,
            Ok(Err(error)) => tracing::error!(%error, "that rejected entries were settled was not kept"),
            Err(error) => tracing::error!(%error, "settling rejected entries broke"),
        }
    }

    /// Says why the server is not reached, once for each reason: a wrong certificate looks like a dead
    /// cable from the page.
    fn note_trouble(&mut self, error: &UpstreamError) {
        let words = error.to_string();
        if self.trouble.as_ref() != Some(&words) {
            tracing::warn!(%error, "the server is not reached");
            self.trouble = Some(words);
        }
    }
}

/// How this device is. Nothing has moved for `still`, if that is long.
///
/// # Errors
/// When one of its files cannot be read: rather than that nothing waits and nothing differs, it says nothing.
fn describe(
    state: &StateDir,
    device: &Device,
    workspace: &Workspace,
    still: Option<Duration>,
) -> anyhow::Result<Heartbeat> {
    let said = of_outbox(state, device, workspace.outbox())?;
    let sync = device.sync();
    Ok(Heartbeat {
        queue: QueueState { rejected: said.queue.rejected + sync.stuck, ..said.queue },
        cursor: workspace.mirror().cursor().context("where the mirror stands cannot be read")?,
        active_user: workspace.active_user(),
        mirror: workspace.mirror().agreement().context("how the mirror agrees cannot be read")?,
        revocations: workspace.mirror().heard().context("what was revoked cannot be read")?,
        no_progress: still.map(|still| still.as_secs()),
        cannot_save: workspace.audit_trail().any_trouble(),
        copy_trouble: sync.copy.map(|trouble| trouble.words()),
        unknown_tap: workspace.unknown_tap(),
        ..said
    })
}

/// The same of a device without its mirror: with its outbox.
///
/// # Errors
/// When the outbox cannot be read.
pub(super) fn of_outbox(state: &StateDir, device: &Device, outbox: &Outbox) -> anyhow::Result<Heartbeat> {
    let counts = outbox.counts().context("what waits cannot be counted")?;
    let rejected = outbox.rejected_entries(MAX_REJECTED).context("what was rejected cannot be read")?;
    Ok(Heartbeat {
        queue: QueueState {
            care: counts.care,
            audit: counts.audit,
            rejected: counts.rejected,
            oldest_age: counts.oldest.map(|made| state.clock.now().since(made).as_secs()),
            unknown: false,
        },
        rejected: rejected.iter().filter(|it| it.lane == Lane::Care).map(|it| it.name).collect(),
        ..of_device(state, device, outbox.incarnation())
    })
}

/// The same of a device without any of its files: nothing is known of its queue.
pub(super) fn of_device(state: &StateDir, device: &Device, incarnation: IncarnationId) -> Heartbeat {
    let (clock, encryption) = (&state.clock, measured(state, device));
    let by_its_clock = (clock.uncorrected(), clock.stamp().1);
    Heartbeat {
        uptime: clock.monotonic().saturating_sub(state.started).as_secs(),
        mac_addresses: mac_addresses(&state.root),
        encrypted: encryption.is_complete(),
        encryption: Some(encryption),
        queue: QueueState { unknown: true, ..QueueState::default() },
        ..Heartbeat::new(env!("CARGO_PKG_VERSION"), by_its_clock, device.reader(), incarnation)
    }
}

/// What of this device rests in the clear now; the kiosk is told, and the log when it is news.
pub(super) fn measured(state: &StateDir, device: &Device) -> Encryption {
    let encryption = state.encryption();
    if device.set_encryption(encryption.clone()) {
        for exposure in &encryption.exposed {
            tracing::warn!("not encrypted: {}", exposure.words());
        }
    }
    encryption
}
