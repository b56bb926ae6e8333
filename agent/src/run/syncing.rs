//! Drives the sync: one loop that gives the engine its events and does what it decides.
//!
//! Whatever takes time runs in a task of its own and reports back as an event; the loop itself never
//! waits for the network or the disk.

use std::sync::Arc;
use std::time::Duration;

use carepost_agent_core::heartbeat::{Heart, HeartbeatEffect, HeartbeatEvent};
use carepost_agent_core::sync::{Engine, Hold, Link, Load, StreamId, SyncEffect, SyncEvent, Trouble};
use carepost_protocol::change::Lane;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::UserId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{HeartbeatReply, ReaderState, Revoked, SettledChange};
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

use super::beat::{describe, measured};
use super::exchange::{Acknowledged, CheckedPage, apply, fork, push_batch, read_stream, standing, trouble};
use super::opened::Opened;
use crate::desk::{CopyTrouble, Desk, Sending, SyncView, Ward};
use crate::mirror::{MirrorError, RESERVE_MIB};
use crate::outbox::Diverged;
use crate::upstream::{Upstream, UpstreamError};

/// How often acknowledged entries that are old enough are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What the loop's tasks report.
pub(super) enum Report {
    /// Something for the engine as it is.
    Sync(SyncEvent),
    /// A batch was acknowledged and settled.
    Pushed { acknowledged: Acknowledged, sent_at: Duration },
    /// A page came. The stream goes on when it is applied.
    Page { stream: StreamId, page: Box<CheckedPage>, applied: oneshot::Sender<()> },
    /// The page is in the mirror.
    Applied { cursor: Cursor, end: Box<PageEnd> },
    /// The stream was not opened, or has ended, because the server does not send the copy: why.
    CopyRefused { event: SyncEvent, why: String },
    /// A page was not applied: what is left of the disk is kept for what is charted.
    NoRoom { free_mib: u64 },
    /// The mirror has to be pulled from the beginning.
    MirrorRefused,
    /// The server should hear soon how the mirror stands: it was found to differ, or to be equal again.
    MirrorDiffers,
    /// The server lives.
    KeepAlive { stream: StreamId, server_time: Timestamp },
    /// How many entries need a person, after some of them were settled.
    Wedged(u64),
    /// Another process wrote into the outbox.
    Elsewhere,
    /// The network of this device changed.
    Network,
    /// There was no heartbeat: what it would have said cannot be read.
    Unsaid,
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
        told: Told::of(desk, ward),
        refetch: false,
        resend: [None; 2],
        sent: 0,
        view: SyncView::default(),
        trouble: None,
        next_prune: opened.clock.monotonic(),
        told_epoch: None,
        ill: Default::default(),
    };
    uplink.start().await?;
    let clock = Arc::clone(&opened.clock);
    uplink.tasks.spawn(super::checking::watch(Arc::clone(ward), clock, check_every));
    uplink.tasks.spawn(super::older::serve(Arc::clone(ward), upstream.clone()));
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
    page: Option<(Box<CheckedPage>, oneshot::Sender<()>)>,
    stopped: bool,
    online: bool,
    wedged: u64,
    told: Told,
    /// The next stream begins at the beginning.
    refetch: bool,
    /// From where on the next push of a lane has to queue again first, care first.
    resend: [Option<u64>; 2],
    /// How many care entries were acknowledged since something began to wait.
    sent: u64,
    /// What the kiosk was told last.
    view: SyncView,
    /// Why the server is not reached, as it was last logged.
    trouble: Option<String>,
    next_prune: Duration,
    /// Of which epoch the server was told that all of it is here.
    told_epoch: Option<u64>,
    /// What was wrong when the server was last told soon: that it is held, stands still, or copies nothing.
    ill: (Option<Hold>, bool, bool),
}

/// What the server hears soon when it is another.
#[derive(PartialEq, Eq)]
struct Told {
    reader: ReaderState,
    active_user: Option<UserId>,
    unknown_tap_at: Option<Duration>,
    trouble: Option<String>,
}

impl Told {
    fn of(desk: &Desk, ward: &Ward) -> Self {
        Self {
            reader: desk.reader(),
            active_user: ward.active_user(),
            unknown_tap_at: ward.unknown_tap_at(),
            trouble: ward.trouble(),
        }
    }
}

impl Uplink {
    async fn start(&mut self) -> anyhow::Result<()> {
        let ward = Arc::clone(&self.ward);
        let found = spawn_blocking(move || anyhow::Ok((ward.mirror().cursor()?, ward.outbox().counts()?)));
        let (cursor, counts) = found.await??;
        self.wedged = counts.wedged;
        self.engine(SyncEvent::Started { cursor });
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
        let reports = self.reports.clone();
        self.tasks.spawn(super::elsewhere::watch(Arc::clone(self.ward.outbox()), move || {
            let reports = reports.clone();
            async move { reports.send(Report::Elsewhere).await.is_ok() }
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
        let now = Told::of(&self.desk, &self.ward);
        if self.told != now {
            self.told = now;
            self.heart(HeartbeatEvent::Changed);
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Sync(event) => {
                if matches!(
                    event,
                    SyncEvent::StreamOpened(_) | SyncEvent::StreamFailed(..) | SyncEvent::StreamEnded(_)
                ) {
                    self.view.copy.take_if(|trouble| matches!(trouble, CopyTrouble::Refused(_)));
                }
                self.engine(event);
            }
            Report::CopyRefused { event, why } => {
                self.view.copy = Some(CopyTrouble::Refused(why));
                self.engine(event);
            }
            Report::NoRoom { free_mib } => {
                self.view.copy = Some(CopyTrouble::NoRoom { free_mib });
                self.engine(SyncEvent::PageFailed);
            }
            Report::Pushed { acknowledged, sent_at } => self.pushed(&acknowledged, sent_at),
            Report::Page { stream, page, applied } => {
                self.page = Some((page, applied));
                self.engine(SyncEvent::PageReceived(stream));
            }
            Report::Applied { cursor, end } => {
                self.server_said(end.server_time, None);
                let at_head = end.reaches_head();
                self.view.loaded = SyncView::loaded(end.cursor.seq, end.head);
                self.view.copy = None;
                self.engine(SyncEvent::PageApplied { cursor, at_head });
                if at_head && self.told_epoch.replace(cursor.epoch) != Some(cursor.epoch) {
                    // That the copy is complete now is not held back for a minute.
                    self.heart(HeartbeatEvent::Changed);
                }
                self.retry_unsaved();
                self.desk.changed();
            }
            Report::MirrorRefused => self.refetch_refused(),
            Report::MirrorDiffers => self.heart(HeartbeatEvent::Changed),
            Report::Wedged(wedged) => {
                self.wedged(wedged);
                self.desk.changed();
            }
            Report::Elsewhere => {
                tracing::info!("another process wrote into the outbox");
                self.saved();
                self.look_for_wedged();
            }
            Report::Network => {
                tracing::debug!("the network changed");
                self.engine(SyncEvent::NetworkReturned);
            }
            Report::KeepAlive { stream, server_time } => {
                self.server_said(server_time, None);
                self.engine(SyncEvent::KeepAlive(stream));
            }
            Report::Unsaid => self.heart(HeartbeatEvent::Done),
            Report::Beat { reply, sent_at } => self.beaten(reply, sent_at),
        }
    }

    fn pushed(&mut self, acknowledged: &Acknowledged, sent_at: Duration) {
        let Acknowledged { sent, counts, level, server_time } = acknowledged;
        self.server_said(*server_time, Some(sent_at));
        let left = counts.waiting(sent.lane);
        if sent.lane == Lane::Care {
            self.sent = if left == 0 { 0 } else { self.sent + sent.count };
            self.view.sending = Sending::of(self.sent, left);
        }
        self.engine(SyncEvent::Pushed { lane: sent.lane, left, level: *level });
        self.wedged(counts.wedged);
        self.retry_unsaved();
        if sent.lane == Lane::Care {
            self.desk.changed();
        }
    }

    /// So many entries need a person now.
    fn wedged(&mut self, wedged: u64) {
        if wedged > self.wedged {
            tracing::warn!(wedged, "the server refused entries: they need attention");
        }
        if std::mem::replace(&mut self.wedged, wedged) != wedged {
            self.heart(HeartbeatEvent::Changed);
        }
    }

    fn beaten(&mut self, reply: Result<HeartbeatReply, UpstreamError>, sent_at: Duration) {
        self.heart(HeartbeatEvent::Done);
        match reply {
            Ok(reply) => {
                self.server_said(reply.server_time, Some(sent_at));
                match reply.state {
                    DeviceState::Revoked => return self.engine(SyncEvent::Revoked),
                    DeviceState::Quarantined => self.engine(SyncEvent::Held(Some(Hold::Quarantined))),
                    DeviceState::Active | DeviceState::Expected | DeviceState::Pending => {
                        self.engine(SyncEvent::Held(reply.must_encrypt.then_some(Hold::NotEncrypted)));
                    }
                }
                self.engine(SyncEvent::ServerHeard);
                if let Some(revoked) = reply.revoked {
                    self.revoke(revoked);
                }
                self.settle_refused(reply.settled);
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

    /// What the server revoked ends here at once, whatever the feed is held up by.
    fn revoke(&mut self, revoked: Revoked) {
        let (ward, desk, reports) = (Arc::clone(&self.ward), Arc::clone(&self.desk), self.reports.clone());
        self.tasks.spawn(async move {
            let more = revoked.more;
            let taken = spawn_blocking(move || ward.revoke(&revoked)).await;
            match taken {
                Ok(Ok(())) => desk.changed(),
                Ok(Err(error)) => tracing::error!(%error, "what was revoked could not be kept"),
                Err(error) => tracing::error!(%error, "keeping what was revoked broke"),
            }
            if more {
                let _ = reports.send(Report::MirrorDiffers).await;
            }
        });
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
            tracing::info!("the server is reached");
            // What became of this device while it was away is not held back for a minute.
            self.heart(HeartbeatEvent::Changed);
        }
        self.online = online;
        self.show();
    }

    /// Tells the kiosk how the sync is, and the server soon when that is news.
    fn show(&mut self) {
        let stuck = Lane::ALL.into_iter().filter(|lane| self.engine.stuck(*lane).is_some()).count();
        let still = self.engine.no_progress(self.opened.clock.monotonic());
        self.view.stuck = u64::try_from(stuck).unwrap_or(u64::MAX);
        self.view.held = self.engine.held();
        self.view.distrust = self.upstream.distrust();
        self.view.slowed = self.engine.slowed();
        // In whole minutes: the page is not drawn again for each second.
        self.view.still = still.map(|still| Duration::from_secs(still.as_secs() / 60 * 60));
        let has_room = || self.ward.mirror().free_mib() >= RESERVE_MIB;
        self.view.copy.take_if(|trouble| matches!(trouble, CopyTrouble::NoRoom { .. }) && has_room());
        self.desk.set_sync(self.view.clone());
        let ill = (self.view.held, self.view.still.is_some(), self.view.copy.is_some());
        if std::mem::replace(&mut self.ill, ill) != ill {
            tracing::warn!(
                held = ?self.view.held,
                stands_still = self.view.still.is_some(),
                copy = self.view.copy.as_ref().map(CopyTrouble::words),
                "the sync"
            );
            self.heart(HeartbeatEvent::Changed);
        }
    }

    fn perform(&mut self, effect: SyncEffect) {
        match effect {
            SyncEffect::Push { lane, load } => self.push(lane, load),
            SyncEffect::Resend { lane, next_n } => {
                let resend = self.resend_of(lane);
                *resend = Some(resend.map_or(next_n, |earlier| earlier.min(next_n)));
            }
            SyncEffect::Fork { care, audit } => self.fork(Diverged { care, audit }),
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
            SyncEffect::Refetch => self.refetch = true,
            SyncEffect::Stop => self.stopped = true,
        }
    }

    const fn resend_of(&mut self, lane: Lane) -> &mut Option<u64> {
        let [care, audit] = &mut self.resend;
        match lane {
            Lane::Care => care,
            Lane::Audit => audit,
        }
    }

    fn fork(&mut self, shared: Diverged) {
        let (ward, desk, reports) = (Arc::clone(&self.ward), Arc::clone(&self.desk), self.reports.clone());
        let now = self.opened.clock.now();
        self.tasks.spawn(async move {
            let forked = spawn_blocking(move || fork(ward.outbox(), shared, now)).await;
            let _ = reports.send(Report::Sync(forked.unwrap_or(SyncEvent::ForkFailed))).await;
            desk.changed();
        });
    }

    fn push(&mut self, lane: Lane, load: Load) {
        let (ward, upstream, reports) = (Arc::clone(&self.ward), self.upstream.clone(), self.reports.clone());
        let clock = Arc::clone(&self.opened.clock);
        let resend = self.resend_of(lane).take();
        self.tasks.spawn(async move {
            let sent_at = clock.monotonic();
            let report = match push_batch(&ward, &upstream, lane, load, resend).await {
                Ok(Some(acknowledged)) => Report::Pushed { acknowledged, sent_at },
                Ok(None) => Report::Sync(SyncEvent::NothingToPush(lane)),
                Err((sent, trouble)) => Report::Sync(SyncEvent::PushFailed { lane, sent, trouble }),
            };
            let _ = reports.send(report).await;
        });
    }

    /// A page is not of the mirror's past: its cursor is forgotten, so that all is pulled again.
    fn refetch_refused(&mut self) {
        let (ward, reports) = (Arc::clone(&self.ward), self.reports.clone());
        self.tasks.spawn(async move {
            match spawn_blocking(move || ward.refetch()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the mirror cannot be pulled afresh"),
                Err(error) => tracing::error!(%error, "forgetting the mirror's cursor broke"),
            }
            let _ = reports.send(Report::Sync(SyncEvent::PageFailed)).await;
        });
    }

    fn open_stream(&mut self, stream: StreamId) {
        if let Some(task) = self.stream.take() {
            task.abort();
        }
        let (upstream, reports) = (self.upstream.clone(), self.reports.clone());
        let (opened, desk, ward) = (Arc::clone(&self.opened), Arc::clone(&self.desk), Arc::clone(&self.ward));
        let refetch = std::mem::take(&mut self.refetch);
        let stands = move || standing(&ward, refetch, measured(&opened, &desk).is_complete());
        self.stream = Some(self.tasks.spawn(async move {
            let ended = read_stream(stands, &upstream, stream, &reports).await;
            let _ = reports.send(ended).await;
        }));
    }

    fn apply_page(&mut self) {
        let Some((page, applied)) = self.page.take() else { return };
        let (ward, reports) = (Arc::clone(&self.ward), self.reports.clone());
        self.tasks.spawn(async move {
            let end = Box::new(page.end.clone());
            let outcome = spawn_blocking(move || apply(&ward, &page)).await;
            let report = match outcome {
                Ok(Ok(cursor)) => {
                    // The stream may have been closed meanwhile.
                    let _ = applied.send(());
                    Report::Applied { cursor, end }
                }
                Ok(Err(MirrorError::OtherEpoch { .. })) => Report::MirrorRefused,
                Ok(Err(MirrorError::NoRoom { free_mib })) => Report::NoRoom { free_mib },
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

    /// Takes what has become of the refused entries that a heartbeat named.
    fn settle_refused(&mut self, settled: Vec<SettledChange>) {
        if settled.is_empty() {
            return;
        }
        let (ward, reports) = (Arc::clone(&self.ward), self.reports.clone());
        let now = self.opened.clock.now();
        self.tasks.spawn(async move {
            let counted = spawn_blocking(move || {
                let count = ward.outbox().settle_refused(&settled, now)?;
                tracing::info!(count, "refused entries were settled");
                ward.outbox().counts()
            });
            match counted.await {
                Ok(Ok(counts)) => drop(reports.send(Report::Wedged(counts.wedged)).await),
                Ok(Err(error)) => tracing::error!(%error, "that refused entries were settled was not kept"),
                Err(error) => tracing::error!(%error, "settling refused entries broke"),
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
        let still = self.engine.no_progress(clock.monotonic());
        self.tasks.spawn(async move {
            let said = spawn_blocking(move || describe(&opened, &desk, &ward, still)).await;
            let report = match said.map_err(anyhow::Error::from).flatten() {
                Ok(heartbeat) => {
                    let sent_at = clock.monotonic();
                    Report::Beat { reply: upstream.heartbeat(device, &heartbeat).await, sent_at }
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "this heartbeat is left out");
                    Report::Unsaid
                }
            };
            let _ = reports.send(report).await;
        });
    }
}
