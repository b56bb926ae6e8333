//! The sync: one loop that gives the engine its events and does what it decides.
//!
//! Whatever takes time runs in a task of its own and reports back; the loop itself never waits for the network or the
//! disk.

mod lanes;
mod page;
pub(super) mod push;
pub(super) mod report;
mod status;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::sync::{Engine, Link, SyncEffect, SyncEvent};
use carepost_protocol::change::Lane;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, spawn_blocking};

use super::shared::Shared;
use super::state_dir::StateDir;
use super::{heartbeat, mirror_check, mirror_watch, older, outbox_watch, pruning};
use crate::device::Device;
use crate::outbox::Diverged;
use crate::upstream::Upstream;
use crate::workspace::Workspace;
use lanes::Lanes;
use push::Acknowledged;
use report::Report;
use status::Status;
use stream::Stream;

/// Where the engine waits for nothing, it is asked all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Syncs until the device is revoked.
pub(super) async fn until_revoked(
    state: &Arc<StateDir>,
    device: &Arc<Device>,
    workspace: &Arc<Workspace>,
    upstream: &Upstream,
    network: &Notify,
    check_every: Duration,
) -> anyhow::Result<()> {
    let (reports, mut heard) = mpsc::channel(16);
    let shared = Shared {
        state: Arc::clone(state),
        device: Arc::clone(device),
        workspace: Arc::clone(workspace),
        upstream: upstream.clone(),
        reports,
        news: Arc::new(Notify::new()),
    };
    let mut sync = Sync {
        engine: Engine::default(),
        lanes: Lanes::new(shared.clone()),
        stream: Stream::new(shared.clone()),
        status: Status::new(shared.clone()),
        tasks: JoinSet::new(),
        stopped: false,
        online: false,
        told_epoch: None,
        shared: shared.clone(),
    };
    sync.start().await?;
    sync.tasks.spawn(heartbeat::run(shared.clone(), sync.status.still_since()));
    sync.tasks.spawn(outbox_watch::run(shared.clone()));
    sync.tasks.spawn(pruning::run(shared.clone()));
    sync.tasks.spawn(mirror_watch::run(shared.clone()));
    sync.tasks.spawn(mirror_check::run(shared.clone(), check_every));
    sync.tasks.spawn(older::run(shared));
    while !sync.stopped {
        let wait = sync.until_due();
        tokio::select! {
            Some(report) = heard.recv() => sync.take(report),
            () = workspace.audit_trail().until_saved() => sync.saved(),
            () = network.notified() => sync.network_changed(),
            () = tokio::time::sleep(wait) => sync.engine(SyncEvent::Tick),
            Some(_) = sync.tasks.join_next() => {}
        }
    }
    Ok(())
}

struct Sync {
    shared: Shared,
    engine: Engine,
    lanes: Lanes,
    stream: Stream,
    status: Status,
    /// Everything under way; dropped with the loop.
    tasks: JoinSet<()>,
    stopped: bool,
    online: bool,
    /// Of which epoch the server was told that all of it is here.
    told_epoch: Option<u64>,
}

impl Sync {
    async fn start(&mut self) -> anyhow::Result<()> {
        let workspace = Arc::clone(&self.shared.workspace);
        let found =
            spawn_blocking(move || anyhow::Ok((workspace.mirror().cursor()?, workspace.outbox().counts()?)));
        let (cursor, counts) = found.await??;
        self.status.begin(counts.rejected);
        self.engine(SyncEvent::Started { cursor });
        for lane in Lane::ALL {
            if counts.waiting(lane) > 0 {
                self.engine(SyncEvent::Saved(lane));
            }
        }
        Ok(())
    }

    fn until_due(&self) -> Duration {
        let now = self.shared.clock().monotonic();
        self.engine.next_deadline().map_or(LONGEST_WAIT, |due| due.saturating_sub(now))
    }

    /// Something was saved; a save may concern either lane, and an empty lane costs one look.
    fn saved(&mut self) {
        self.engine(SyncEvent::Saved(Lane::Care));
        self.engine(SyncEvent::Saved(Lane::Audit));
        self.status.look();
    }

    fn network_changed(&mut self) {
        tracing::debug!("the network changed");
        self.engine(SyncEvent::NetworkReturned);
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Sync(event) => {
                if matches!(
                    event,
                    SyncEvent::StreamOpened(_) | SyncEvent::StreamFailed(..) | SyncEvent::StreamEnded(_)
                ) {
                    self.status.copy_not_refused();
                }
                self.engine(event);
            }
            Report::CopyRefused { event, why } => {
                self.status.copy_refused(why);
                self.engine(event);
            }
            Report::NoRoom => {
                self.status.copy_has_no_room();
                self.engine(SyncEvent::PageFailed);
            }
            Report::Pushed { acknowledged, sent_at } => self.pushed(&acknowledged, sent_at),
            Report::Page { stream, page, applied } => {
                self.stream.hold(page, applied);
                self.engine(SyncEvent::PageReceived(stream));
            }
            Report::Applied { cursor, end } => self.applied(cursor, &end),
            Report::Rejected(rejected) => {
                self.status.rejected(rejected);
                self.shared.device.changed();
            }
            Report::OutboxChanged => {
                tracing::info!("another process wrote into the outbox");
                self.saved();
                self.look_for_rejected();
            }
            Report::KeepAlive { stream, server_time } => {
                self.shared.server_said(server_time, None);
                self.engine(SyncEvent::KeepAlive(stream));
            }
        }
    }

    fn pushed(&mut self, acknowledged: &Acknowledged, sent_at: Duration) {
        let Acknowledged { sent, counts, level, server_time } = acknowledged;
        self.shared.server_said(*server_time, Some(sent_at));
        if sent.lane == Lane::Care {
            self.status.sending(self.lanes.acknowledged(acknowledged));
        }
        self.engine(SyncEvent::Pushed { lane: sent.lane, left: counts.waiting(sent.lane), level: *level });
        self.status.rejected(counts.rejected);
        self.retry_unsaved();
        if sent.lane == Lane::Care {
            self.shared.device.changed();
        }
    }

    fn applied(&mut self, cursor: Cursor, end: &PageEnd) {
        self.shared.server_said(end.server_time, None);
        self.status.copied(end);
        let at_head = end.reaches_head();
        self.engine(SyncEvent::PageApplied { cursor, at_head });
        if at_head && self.told_epoch.replace(cursor.epoch) != Some(cursor.epoch) {
            // That the copy is complete now is not held back for a minute.
            self.shared.news.notify_one();
        }
        self.retry_unsaved();
        self.shared.device.changed();
    }

    fn engine(&mut self, event: SyncEvent) {
        let clock = self.shared.clock();
        let effects = self.engine.on(event, clock.now(), clock.monotonic(), clock.random_u64());
        for effect in effects {
            self.perform(effect);
        }
        let online = matches!(self.engine.link(), Link::Online { .. });
        self.shared.device.set_link(online, self.shared.clock().now());
        if online && !std::mem::replace(&mut self.online, online) {
            tracing::info!("the server is reached");
            // What became of this device while it was away is not held back for a minute.
            self.shared.news.notify_one();
        }
        self.online = online;
        self.status.show(&self.engine);
    }

    fn perform(&mut self, effect: SyncEffect) {
        match effect {
            SyncEffect::Push { lane, load } => {
                self.tasks.spawn(self.lanes.push(lane, load));
            }
            SyncEffect::Resend { lane, next_n } => self.lanes.resend(lane, next_n),
            SyncEffect::Fork { care, audit } => {
                self.tasks.spawn(self.lanes.fork(Diverged { care, audit }));
            }
            SyncEffect::Stuck { lane, why } => {
                tracing::error!(lane = lane.name(), ?why, "the server does not take what waits here");
                self.shared.news.notify_one();
            }
            SyncEffect::OpenStream { stream, .. } => self.stream.open(stream, &mut self.tasks),
            SyncEffect::CloseStream(_) => self.stream.close(),
            SyncEffect::ApplyPage => self.stream.apply(&mut self.tasks),
            SyncEffect::Refetch => self.stream.refetch(),
            SyncEffect::Stop => self.stopped = true,
        }
    }

    fn look_for_rejected(&mut self) {
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let workspace = Arc::clone(&shared.workspace);
            if let Ok(Ok(counts)) = spawn_blocking(move || workspace.outbox().counts()).await {
                shared.report(Report::Rejected(counts.rejected)).await;
            }
        });
    }

    fn retry_unsaved(&mut self) {
        let (workspace, device) = (Arc::clone(&self.shared.workspace), Arc::clone(&self.shared.device));
        self.tasks.spawn_blocking(move || {
            if workspace.audit_trail().retry() {
                device.changed();
            }
        });
    }
}
