//! Drives the sync: one loop that gives the engine its events and does what it decides.
//!
//! Whatever takes time runs in a task of its own and reports back as an event; the loop itself never
//! waits for the network or the disk.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::heartbeat::{Heart, HeartbeatEffect, HeartbeatEvent};
use carepost_agent_core::sync::{Engine, Link, StreamId, SyncEffect, SyncEvent, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::UserId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Heartbeat, HeartbeatReply, QueueState, ReaderState};
use carepost_protocol::wire::pull::Cursor;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

use super::exchange::{apply, push_batch, read_stream, trouble};
use super::opened::Opened;
use crate::desk::{Desk, Ward};
use crate::mirror::MirrorError;
use crate::upstream::{Page, Upstream, UpstreamError};

/// How often acknowledged entries that are old enough are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What the loop's tasks report.
pub(super) enum Report {
    /// Something for the engine as it is.
    Sync(SyncEvent),
    /// A batch was acknowledged and settled.
    Pushed { lane: Lane, left: u64, server_time: Timestamp, sent_at: Duration },
    /// A page came. The stream goes on when it is applied.
    Page { stream: StreamId, page: Box<Page>, applied: oneshot::Sender<()> },
    /// The page is in the mirror.
    Applied { cursor: Cursor, server_time: Timestamp },
    /// The mirror has to be pulled from the beginning.
    MirrorRefused,
    /// The mirror was found to differ, or to be equal again.
    MirrorDiffers,
    /// The server lives.
    KeepAlive { stream: StreamId, server_time: Timestamp },
    /// How many entries need a person, as of a receipt.
    Wedged(u64),
    /// The network of this device changed.
    Network,
    /// A heartbeat was answered, or not.
    Beat { reply: Result<HeartbeatReply, UpstreamError>, sent_at: Duration },
}

/// Syncs until the device is revoked.
pub(super) async fn sync(
    opened: &Arc<Opened>,
    desk: &Arc<Desk>,
    ward: &Arc<Ward>,
    upstream: &Upstream,
    check_every: Duration,
) -> anyhow::Result<()> {
    let (reports, mut heard) = mpsc::channel(16);
    let mut uplink = Uplink {
        opened: Arc::clone(opened),
        desk: Arc::clone(desk),
        ward: Arc::clone(ward),
        upstream: upstream.clone(),
        engine: Engine::default(),
        heart: Heart::default(),
        reports,
        tasks: JoinSet::new(),
        stream: None,
        page: None,
        stopped: false,
        online: false,
        wedged: 0,
        reader: desk.reader(),
        active_user: ward.active_user(),
        resend: None,
        trouble: None,
        next_prune: opened.clock.monotonic(),
    };
    uplink.start().await?;
    let clock = Arc::clone(&opened.clock);
    uplink.tasks.spawn(super::checking::watch(Arc::clone(ward), clock, check_every));
    while !uplink.stopped {
        let wait = uplink.until_due();
        tokio::select! {
            Some(report) = heard.recv() => uplink.take(report),
            () = ward.until_saved() => uplink.saved(),
            () = ward.mirror().until_news() => uplink.mirror_news(),
            () = tokio::time::sleep(wait) => uplink.tick(),
            Some(_) = uplink.tasks.join_next() => {}
        }
    }
    Ok(())
}

struct Uplink {
    opened: Arc<Opened>,
    desk: Arc<Desk>,
    ward: Arc<Ward>,
    upstream: Upstream,
    engine: Engine,
    heart: Heart,
    reports: mpsc::Sender<Report>,
    /// Everything under way; dropped with the loop.
    tasks: JoinSet<()>,
    stream: Option<AbortHandle>,
    page: Option<(Box<Page>, oneshot::Sender<()>)>,
    stopped: bool,
    online: bool,
    wedged: u64,
    reader: ReaderState,
    active_user: Option<UserId>,
    /// What the next push of that lane has to queue again first.
    resend: Option<(Lane, u64)>,
    /// Why the server is not reached, as it was last logged.
    trouble: Option<String>,
    next_prune: Duration,
}

impl Uplink {
    async fn start(&mut self) -> anyhow::Result<()> {
        let ward = Arc::clone(&self.ward);
        let found = spawn_blocking(move || anyhow::Ok((ward.mirror().cursor()?, ward.outbox().counts()?)));
        let (cursor, counts) = found.await??;
        self.wedged = counts.wedged;
        self.engine(SyncEvent::Started { cursor, last_sync: None });
        if counts.care > 0 {
            self.engine(SyncEvent::Saved(Lane::Care));
        }
        if counts.audit > 0 {
            self.engine(SyncEvent::Saved(Lane::Audit));
        }
        self.heart(HeartbeatEvent::Started);
        let reports = self.reports.clone();
        self.tasks.spawn(super::network::watch(move || {
            let reports = reports.clone();
            async move { reports.send(Report::Network).await.is_ok() }
        }));
        Ok(())
    }

    fn until_due(&self) -> Duration {
        let now = self.opened.clock.monotonic();
        [self.engine.next_deadline(), self.heart.next_deadline(), Some(self.next_prune)]
            .into_iter()
            .flatten()
            .min()
            .map_or(PRUNE_EVERY, |due| due.saturating_sub(now))
    }

    fn tick(&mut self) {
        let now = self.opened.clock.monotonic();
        if now >= self.next_prune {
            self.next_prune = now + PRUNE_EVERY;
            self.prune();
        }
        self.engine(SyncEvent::Tick);
        self.heart(HeartbeatEvent::Tick);
    }

    /// Something was saved; a save may concern either lane, and an empty lane costs one look.
    fn saved(&mut self) {
        self.engine(SyncEvent::Saved(Lane::Care));
        self.engine(SyncEvent::Saved(Lane::Audit));
        let now = (self.desk.reader(), self.ward.active_user());
        if now != (self.reader, self.active_user) {
            (self.reader, self.active_user) = now;
            self.heart(HeartbeatEvent::Changed);
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Sync(event) => self.engine(event),
            Report::Pushed { lane, left, server_time, sent_at } => {
                self.server_said(server_time, Some(sent_at));
                self.engine(SyncEvent::Pushed { lane, left });
                self.look_for_wedged();
                self.retry_unsaved();
                if lane == Lane::Care {
                    self.desk.changed();
                }
            }
            Report::Page { stream, page, applied } => {
                self.page = Some((page, applied));
                self.engine(SyncEvent::PageReceived(stream));
            }
            Report::Applied { cursor, server_time } => {
                self.server_said(server_time, None);
                self.engine(SyncEvent::PageApplied { cursor });
                self.retry_unsaved();
                self.desk.changed();
            }
            Report::MirrorRefused => self.refetch(true),
            Report::MirrorDiffers => self.heart(HeartbeatEvent::Changed),
            Report::Wedged(wedged) => {
                if wedged > self.wedged {
                    tracing::warn!(wedged, "the server refused entries: they need attention");
                    self.heart(HeartbeatEvent::Changed);
                }
                self.wedged = wedged;
            }
            Report::Network => {
                tracing::debug!("the network changed");
                self.engine(SyncEvent::NetworkReturned);
            }
            Report::KeepAlive { stream, server_time } => {
                self.server_said(server_time, None);
                self.engine(SyncEvent::KeepAlive(stream));
            }
            Report::Beat { reply, sent_at } => self.beaten(reply, sent_at),
        }
    }

    fn beaten(&mut self, reply: Result<HeartbeatReply, UpstreamError>, sent_at: Duration) {
        self.heart(HeartbeatEvent::Done);
        match reply {
            Ok(reply) => {
                self.server_said(reply.server_time, Some(sent_at));
                match reply.state {
                    DeviceState::Revoked => self.engine(SyncEvent::Revoked),
                    DeviceState::Active
                    | DeviceState::Expected
                    | DeviceState::Pending
                    | DeviceState::Quarantined
                    | DeviceState::Retiring
                    | DeviceState::Retired => self.engine(SyncEvent::ServerHeard),
                }
            }
            Err(error) => {
                let revoked = trouble(&error) == Trouble::Revoked;
                self.note_trouble(&error);
                if revoked {
                    self.engine(SyncEvent::Revoked);
                }
            }
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

    /// The server said its time; keeping what follows from it touches the disk.
    fn server_said(&mut self, server: Timestamp, sent: Option<Duration>) {
        self.trouble = None;
        if let Some(floor) = self.opened.hear_time(server, sent) {
            let opened = Arc::clone(&self.opened);
            self.tasks.spawn_blocking(move || opened.keep_floor(floor));
        }
    }

    fn engine(&mut self, event: SyncEvent) {
        let clock = Arc::clone(&self.opened.clock);
        let effects = self.engine.on(event, clock.now(), clock.monotonic(), clock.random_u64());
        for effect in effects {
            self.perform(effect);
        }
        let online = matches!(self.engine.link(), Link::Online { .. });
        self.desk.set_link(online, clock.now());
        if online && !std::mem::replace(&mut self.online, online) {
            // What became of this device while it was away is not held back for a minute.
            self.heart(HeartbeatEvent::Changed);
        }
        self.online = online;
        let stuck = Lane::ALL.into_iter().filter(|lane| self.engine.stuck(*lane).is_some()).count();
        self.desk.set_stuck(u64::try_from(stuck).unwrap_or(u64::MAX));
    }

    fn perform(&mut self, effect: SyncEffect) {
        match effect {
            SyncEffect::Push { lane, changes } => self.push(lane, changes),
            SyncEffect::Resend { lane, next_n } => self.resend = Some((lane, next_n)),
            SyncEffect::Stuck { lane, why } => {
                tracing::error!(lane = lane.name(), ?why, "the server does not take what waits here");
                self.heart(HeartbeatEvent::Changed);
            }
            SyncEffect::OpenStream { stream, .. } => self.open_stream(stream),
            SyncEffect::CloseStream(_) => {
                if let Some(task) = self.stream.take() {
                    task.abort();
                }
                self.page = None;
            }
            SyncEffect::ApplyPage => self.apply_page(),
            SyncEffect::Refetch => self.refetch(false),
            SyncEffect::Stop => self.stopped = true,
        }
    }

    fn push(&mut self, lane: Lane, changes: usize) {
        let (ward, upstream, reports) = (Arc::clone(&self.ward), self.upstream.clone(), self.reports.clone());
        let clock = Arc::clone(&self.opened.clock);
        let resend = self.resend.take_if(|(of, _)| *of == lane).map(|(_, next_n)| next_n);
        self.tasks.spawn(async move {
            let sent_at = clock.monotonic();
            let report = match push_batch(&ward, &upstream, lane, changes, resend).await {
                Ok((left, Some(server_time))) => Report::Pushed { lane, left, server_time, sent_at },
                Ok((_, None)) => Report::Sync(SyncEvent::NothingToPush(lane)),
                Err((sent, trouble)) => Report::Sync(SyncEvent::PushFailed { lane, sent, trouble }),
            };
            let _ = reports.send(report).await;
        });
    }

    /// Forgets the mirror's cursor, so that all is pulled again; `failed` when a page made it necessary.
    fn refetch(&mut self, failed: bool) {
        let (ward, reports) = (Arc::clone(&self.ward), self.reports.clone());
        self.tasks.spawn(async move {
            match spawn_blocking(move || ward.mirror().refetch()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the mirror cannot be pulled afresh"),
                Err(error) => tracing::error!(%error, "forgetting the mirror's cursor broke"),
            }
            if failed {
                let _ = reports.send(Report::Sync(SyncEvent::PageFailed)).await;
            }
        });
    }

    fn open_stream(&mut self, stream: StreamId) {
        if let Some(task) = self.stream.take() {
            task.abort();
        }
        let (ward, upstream, reports) = (Arc::clone(&self.ward), self.upstream.clone(), self.reports.clone());
        self.stream = Some(self.tasks.spawn(async move {
            let event = read_stream(&upstream, stream, &ward, &reports).await;
            let _ = reports.send(Report::Sync(event)).await;
        }));
    }

    fn apply_page(&mut self) {
        let Some((page, applied)) = self.page.take() else { return };
        let (ward, reports) = (Arc::clone(&self.ward), self.reports.clone());
        self.tasks.spawn(async move {
            let server_time = page.end.server_time;
            let outcome = spawn_blocking(move || apply(&ward, &page)).await;
            let report = match outcome {
                Ok(Ok(cursor)) => {
                    // The stream may have been closed meanwhile.
                    let _ = applied.send(());
                    Report::Applied { cursor, server_time }
                }
                Ok(Err(MirrorError::OtherEpoch { .. })) => Report::MirrorRefused,
                Ok(Err(error)) => {
                    tracing::error!(%error, "a page was not applied");
                    Report::Sync(SyncEvent::PageFailed)
                }
                Err(error) => {
                    tracing::error!(%error, "applying a page broke");
                    Report::Sync(SyncEvent::PageFailed)
                }
            };
            let _ = reports.send(report).await;
        });
    }

    /// The mirror found that it differs or is equal again, or was made anew.
    fn mirror_news(&mut self) {
        let (ward, desk, reports) = (Arc::clone(&self.ward), Arc::clone(&self.desk), self.reports.clone());
        self.tasks.spawn(async move {
            let told =
                spawn_blocking(move || (ward.tell_of_mirror(), ward.mirror().wants_more(), ward)).await;
            let Ok((told, wants_more, ward)) = told else { return };
            if told {
                desk.changed();
                let _ = reports.send(Report::MirrorDiffers).await;
            }
            if wants_more {
                let cursor = spawn_blocking(move || ward.mirror().cursor().ok().flatten()).await;
                let event = SyncEvent::MirrorWantsMore { cursor: cursor.ok().flatten() };
                let _ = reports.send(Report::Sync(event)).await;
            }
        });
    }

    fn look_for_wedged(&mut self) {
        let (ward, reports) = (Arc::clone(&self.ward), self.reports.clone());
        self.tasks.spawn(async move {
            if let Ok(Ok(counts)) = spawn_blocking(move || ward.outbox().counts()).await {
                let _ = reports.send(Report::Wedged(counts.wedged)).await;
            }
        });
    }

    fn retry_unsaved(&mut self) {
        let (ward, desk) = (Arc::clone(&self.ward), Arc::clone(&self.desk));
        self.tasks.spawn_blocking(move || {
            if ward.retry_unsaved() {
                desk.changed();
            }
        });
    }

    fn prune(&mut self) {
        // By a time that the server attested: a clock that is ahead must not make them old.
        let Some(now) = self.opened.clock.floor() else { return };
        let ward = Arc::clone(&self.ward);
        self.tasks.spawn_blocking(move || {
            let cursor = ward.mirror().cursor().ok().flatten().map_or(0, |cursor| cursor.seq);
            if let Err(error) = ward.outbox().prune(cursor, now) {
                tracing::error!(%error, "acknowledged entries could not be removed");
            }
        });
    }

    fn heart(&mut self, event: HeartbeatEvent) {
        let clock = Arc::clone(&self.opened.clock);
        let effect = self.heart.on(event, clock.monotonic(), clock.random_u64());
        let Some(HeartbeatEffect::Send) = effect else { return };
        let (device, upstream, reports) =
            (self.ward.grant().device_id, self.upstream.clone(), self.reports.clone());
        let (opened, desk, ward) = (Arc::clone(&self.opened), Arc::clone(&self.desk), Arc::clone(&self.ward));
        self.tasks.spawn(async move {
            let Ok(heartbeat) = spawn_blocking(move || describe(&opened, &desk, &ward)).await else { return };
            let sent_at = clock.monotonic();
            let reply = upstream.heartbeat(device, &heartbeat).await;
            let _ = reports.send(Report::Beat { reply, sent_at }).await;
        });
    }
}

/// How this device is.
fn describe(opened: &Opened, desk: &Desk, ward: &Ward) -> Heartbeat {
    let clock = &opened.clock;
    let counts = ward.outbox().counts().unwrap_or_default();
    Heartbeat {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: clock.monotonic().saturating_sub(opened.started).as_secs(),
        device_time: clock.uncorrected(),
        clock_quality: clock.stamp().1,
        mac_addresses: opened.factors.mac_addresses().to_vec(),
        encrypted: true,
        reader: desk.reader(),
        incarnation: ward.outbox().incarnation(),
        queue: QueueState {
            care: counts.care,
            audit: counts.audit,
            wedged: counts.wedged + desk.stuck(),
            oldest_age: counts.oldest.map(|made| clock.now().since(made).as_secs()),
        },
        cursor: ward.mirror().cursor().ok().flatten(),
        active_user: ward.active_user(),
        mirror: ward.mirror().agreement().unwrap_or_default(),
        no_progress: None,
        refused: Vec::new(),
    }
}
