//! The composition root: opens what is on the disk, starts the rooms, and holds the one loop that
//! talks to the server.
//!
//! The kiosk page, the badges and charting start first and need nothing from here on: whatever
//! happens to the network, they go on.

mod beat;
mod checking;
mod copyless;
mod elsewhere;
mod enrolling;
mod exchange;
mod network;
mod older;
mod opened;
mod syncing;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use carepost_agent_core::backoff::Backoff;
use carepost_agent_core::session::SessionPolicy;
use carepost_host::{log, systemd};
use carepost_protocol::hex::hex;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::ReaderState;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use enrolling::{Ended, Enroller, token_refused};
pub(crate) use opened::Opened;

use crate::badge::pcsc::PcscSource;
use crate::badge::scripted::ScriptedSource;
use crate::badge::{Admission, BadgeEvent, QUEUE, Source};
use crate::config::{BadgeSource, Config, Mode};
use crate::desk::{Desk, Screen, Standing, Ward, WardParts};
use crate::kiosk::start::{self, LocalUser};
use crate::kiosk::{self, Doorway, KioskConfig, Owner};
use crate::mirror::MirrorError;
use crate::outbox::OutboxError;
use crate::sqlite::OpenError;
use crate::upstream::Upstream;
use opened::Step;

/// The first wait after the line to the server broke.
const UPLINK_RETRY: Duration = Duration::from_secs(2);
/// How often a revoked device looks whether the command line wants it to enroll anew.
const ANEW_TICK: Duration = Duration::from_secs(2);
/// How often a device whose disk was too full for its files looks whether there is room.
const ROOM_TICK: Duration = Duration::from_secs(5);
/// How often the desk is given the time when nothing is due: what the status line says ages.
const STATUS_TICK: Duration = Duration::from_secs(15);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration, the state directory or the kiosk's port cannot be used.
pub fn run(config: &Config) -> anyhow::Result<()> {
    log::start();
    while run_once(config)? == After::Anew {
        tracing::info!("this device enrolls anew, with a new key");
    }
    systemd::stopping();
    Ok(())
}

/// What comes after the agent ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing: it was told to stop.
    End,
    /// All of it once more: the revoked device is to enroll anew, and nothing has its files open then.
    Anew,
}

fn run_once(config: &Config) -> anyhow::Result<After> {
    // One thread is enough for a kiosk; files and PINs have blocking threads, a few of them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    let ended = runtime.block_on(agent(config));
    // A PIN check or a reader that hangs must not keep the service from stopping.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn agent(config: &Config) -> anyhow::Result<After> {
    let opened = Arc::new(Opened::open(config)?);
    let reader = match config.badge.source {
        BadgeSource::None => ReaderState::None,
        BadgeSource::Pcsc | BadgeSource::Scripted => ReaderState::Missing,
    };
    let standing = match opened.vault.grant()? {
        _ if opened.is_revoked()? => Standing::Revoked,
        Some(grant) => match ward(config, &opened, grant) {
            Ok(ward) => Standing::Enrolled(Arc::new(ward)),
            Err(error) => Standing::NoRoom(no_room(error)?),
        },
        None => Standing::Enrolling(Enroller::first_screen(config, &opened)),
    };
    let desk = Arc::new(Desk::new(standing, reader, Arc::clone(&opened.clock)));

    let (stop, stopped) = watch::channel(false);
    let listener = TcpListener::bind(config.kiosk.listen)
        .await
        .map_err(|error| not_listening(config.kiosk.listen, &error))?;
    let bound = listener.local_addr()?;
    let doorway = doorway(config, &opened, bound)?;
    let user = doorway.user;
    let page = KioskConfig::new(bound, opened.vault.kiosk_cookie(), doorway);
    let pages = kiosk::router(Arc::clone(&desk), page);
    let served = tokio::spawn(kiosk::serve(listener, pages, user, kiosk::Limits::default(), until(stopped)));
    tracing::info!(address = %config.kiosk.listen, "the kiosk page is up");
    if let Some((source, events)) = badges(config)? {
        tokio::spawn(watch_badges(Arc::clone(&desk), source, events));
    }
    tokio::spawn(keep_time(Arc::clone(&desk)));
    let (anew, wanted) = oneshot::channel();
    tokio::spawn(uplink(config.clone(), opened, desk, anew));
    systemd::ready();

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::pin!(served);
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(After::End),
        _ = interrupt.recv() => Ok(After::End),
        Ok(()) = wanted => Ok(After::Anew),
        served = &mut served => Err(anyhow::anyhow!("the kiosk page ended: {served:?}")),
    };
    stop.send_replace(true);
    if ended.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(3), &mut served).await;
    }
    ended
}

/// Why the kiosk's address cannot be had, and what helps.
fn not_listening(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let what = if error.kind() == ErrorKind::AddrInUse {
        "another agent or program listens there: stop it, or set kiosk.listen"
    } else if error.kind() == ErrorKind::PermissionDenied {
        "ports below 1024 are for root alone: set kiosk.listen to one above"
    } else {
        "this machine has no such address: set kiosk.listen to 127.0.0.1:3000"
    };
    anyhow::anyhow!("cannot listen on {address}: {error}; {what}")
}

/// Who may open the page: the browser's user where one is configured, with the token of a start page that it
/// alone can read; else the agent's own user.
fn doorway(config: &Config, opened: &Opened, bound: SocketAddr) -> anyhow::Result<Doorway> {
    let browser = config.kiosk.browser_user.as_deref().map(LocalUser::named).transpose()?;
    let own = rustix::process::geteuid().as_raw();
    let (token, page) =
        (SecretString::from(hex(&opened.clock.random::<32>())), config.kiosk.start_page.clone());
    let group = browser.filter(|user| user.uid != own).map(|user| user.gid);
    let written = start::write(&page, bound, &token, group);
    match &written {
        Ok(()) => tracing::info!(page = %page.display(), "the start page is there"),
        Err(error) if browser.is_some() => tracing::error!(
            %error, page = %page.display(),
            "the start page cannot be written: only the owner of a connection keeps others from the kiosk's page"
        ),
        Err(error) => tracing::debug!(%error, page = %page.display(), "no start page"),
    }
    if Owner::of_itself().is_none() {
        tracing::warn!(
            "whose a connection is cannot be told here (sock_diag): the start page alone opens the kiosk"
        );
    }
    let user = browser.map_or(own, |browser| browser.uid);
    Ok(Doorway { user, token, page, demanded: browser.is_some() && written.is_ok() })
}

/// Enrolls if need be, then syncs until the device is revoked; then waits until it is to enroll anew. Whatever
/// goes wrong here is logged and tried again: the kiosk, its badges and charting go on without it.
async fn uplink(config: Config, opened: Arc<Opened>, desk: Arc<Desk>, anew: oneshot::Sender<()>) {
    let mut backoff = Backoff::new(UPLINK_RETRY);
    loop {
        let talked = async {
            let upstream = opened.upstream(&config, Some(opened.boot))?;
            talk(&config, &opened, &desk, &upstream).await
        };
        match talked.await {
            // Revoked: the page says so, and nothing is sent any more.
            Ok(()) => break,
            Err(error) => tracing::error!(error = format!("{error:#}"), "the line to the server broke"),
        }
        desk.set_link(false, opened.clock.now());
        tokio::time::sleep(backoff.next(opened.clock.random_u64())).await;
    }
    until_anew(&opened, &desk).await;
    // Nobody listens where the agent is ending anyway.
    let _ = anew.send(());
}

/// Waits until somebody wants the revoked device to enroll anew: at its page, or at the command line, which says
/// so in what is kept.
async fn until_anew(opened: &Arc<Opened>, desk: &Desk) {
    loop {
        let asked = tokio::time::timeout(ANEW_TICK, desk.until_anew()).await.is_ok();
        let opened = Arc::clone(opened);
        let wanted = tokio::task::spawn_blocking(move || {
            // The command line may have said so already, with a token.
            if asked && opened.kept_enrollment()?.step != Step::Anew {
                opened.enroll_anew(None)?;
            }
            anyhow::Ok(opened.kept_enrollment()?.step == Step::Anew)
        });
        match wanted.await {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "this device cannot enroll anew"),
            Err(error) => tracing::error!(%error, "enrolling anew broke"),
        }
    }
}

async fn talk(
    config: &Config,
    opened: &Arc<Opened>,
    desk: &Arc<Desk>,
    upstream: &Upstream,
) -> anyhow::Result<()> {
    if opened.is_revoked()? {
        desk.stand(Standing::Revoked);
        return Ok(());
    }
    let ward = match desk.ward() {
        Some(ward) => ward,
        None => {
            let grant = match opened.vault.grant()? {
                Some(grant) => grant,
                None => {
                    let mut enroller = Enroller::new(config, opened, upstream);
                    match enroller.run(|screen| desk.stand(Standing::Enrolling(screen))).await? {
                        Ended::Revoked => {
                            desk.stand(Standing::Revoked);
                            return Ok(());
                        }
                        Ended::Enrolled(grant) => {
                            tracing::info!(
                                device = grant.device_name,
                                facility = grant.facility_name,
                                "enrolled"
                            );
                            *grant
                        }
                    }
                }
            };
            tokio::select! {
                ward = once_there_is_room(config, opened, desk, &grant) => ward?,
                () = copyless::speak(config, opened, desk, &grant, upstream) => {
                    deactivated(opened, desk).await;
                    return Ok(());
                }
            }
        }
    };
    let check_every = Duration::from_secs(config.mirror.check_every);
    syncing::sync(opened, desk, &ward, upstream, check_every).await?;
    deactivated(opened, desk).await;
    Ok(())
}

async fn deactivated(opened: &Opened, desk: &Desk) {
    // The screen first: a full disk must not keep a deactivated device at work.
    desk.stand(Standing::Revoked);
    tracing::warn!("this device was deactivated: it shows and sends nothing any more");
    // Nor let it forget: whoever cuts it off from the network would have it work again.
    while let Err(error) = opened.keep_revoked() {
        tracing::error!(
            error = format!("{error:#}"),
            "that it was deactivated cannot be kept: it is tried again"
        );
        tokio::time::sleep(ROOM_TICK).await;
    }
}

/// Opens an enrolled device's files, as soon as the disk has room for them.
async fn once_there_is_room(
    config: &Config,
    opened: &Arc<Opened>,
    desk: &Desk,
    grant: &Grant,
) -> anyhow::Result<Arc<Ward>> {
    let mut told = None;
    loop {
        let (config, opened, grant) = (config.clone(), Arc::clone(opened), grant.clone());
        let why = match tokio::task::spawn_blocking(move || ward(&config, &opened, grant)).await? {
            Ok(ward) => {
                let ward = Arc::new(ward);
                desk.stand(Standing::Enrolled(Arc::clone(&ward)));
                return Ok(ward);
            }
            Err(error) => no_room(error).inspect_err(|error| {
                // That the disk is full is not why any more.
                if matches!(desk.screen(), Screen::NoRoom) {
                    desk.stand(Standing::NoRoom(error.to_string()));
                }
            })?,
        };
        if told.as_ref() != Some(&why) {
            tracing::error!(why, "nothing can be shown or charted here: this goes on when there is room");
            desk.stand(Standing::NoRoom(why.clone()));
            told = Some(why);
        }
        tokio::time::sleep(ROOM_TICK).await;
    }
}

/// Why the files did not open, where it is for want of room on the disk.
fn no_room(error: anyhow::Error) -> anyhow::Result<String> {
    let mirror = error.downcast_ref::<MirrorError>();
    let mirror = matches!(mirror, Some(MirrorError::Full | MirrorError::Open(OpenError::NoRoom { .. })));
    let outbox = error.downcast_ref::<OutboxError>();
    let outbox = matches!(outbox, Some(OutboxError::Full | OutboxError::Open(OpenError::NoRoom { .. })));
    if mirror || outbox { Ok(error.to_string()) } else { Err(error) }
}

fn ward(config: &Config, opened: &Opened, grant: Grant) -> anyhow::Result<Ward> {
    let (mirror, outbox) = opened.files(&grant, config)?;
    let policy = SessionPolicy {
        screen_lock: Duration::from_secs(config.session.screen_lock),
        screen_warning: Duration::from_secs(config.session.screen_warning),
        pin_grace: Duration::from_secs(config.session.pin_grace),
        ..SessionPolicy::default()
    };
    let badge_key = opened::badge_key(&grant)?;
    Ok(Ward::new(WardParts { grant, badge_key, mirror, outbox, policy, clock: Arc::clone(&opened.clock) }))
}

type Badges = (Box<dyn Source>, mpsc::Receiver<BadgeEvent>);

/// Starts the configured source of badges.
///
/// # Errors
/// When its threads or its socket cannot be had.
pub(crate) fn badges(config: &Config) -> anyhow::Result<Option<Badges>> {
    let (events, heard) = mpsc::channel(QUEUE);
    let admission = match config.mode {
        Mode::Production => Admission::RealOnly,
        Mode::Demo => Admission::VirtualToo,
    };
    let socket = config.badge.socket.as_deref().map(Path::to_owned);
    Ok(match (config.badge.source, socket) {
        (BadgeSource::None, _) | (BadgeSource::Scripted, None) => None,
        (BadgeSource::Pcsc, _) => Some((Box::new(PcscSource::start(events, admission)?), heard)),
        (BadgeSource::Scripted, Some(socket)) => {
            let source = ScriptedSource::start(std::slice::from_ref(&socket), events)
                .with_context(|| format!("cannot take badges on {}", socket.display()))?;
            Some((Box::new(source), heard))
        }
    })
}

async fn watch_badges(desk: Arc<Desk>, source: Box<dyn Source>, mut events: mpsc::Receiver<BadgeEvent>) {
    while let Some(event) = events.recv().await {
        let reader = match &event {
            BadgeEvent::Reader(state) => {
                let (desk, state) = (Arc::clone(&desk), *state);
                let _ = tokio::task::spawn_blocking(move || desk.set_reader(state)).await;
                continue;
            }
            BadgeEvent::Presented { reader, .. }
            | BadgeEvent::Removed { reader }
            | BadgeEvent::Unreadable { reader, .. } => reader.clone(),
        };
        let desk = Arc::clone(&desk);
        let answered = tokio::task::spawn_blocking(move || desk.on_badge(&event)).await;
        if let Ok(Some(feedback)) = answered {
            source.signal(&reader, feedback);
        }
    }
}

/// Lets time pass at the desk: locks, warnings and lapsed notices.
async fn keep_time(desk: Arc<Desk>) {
    loop {
        let ticking = Arc::clone(&desk);
        let due = tokio::task::spawn_blocking(move || ticking.tick()).await.ok().flatten();
        let now = desk.clock().monotonic();
        let wait = due.map_or(STATUS_TICK, |due| due.saturating_sub(now).min(STATUS_TICK));
        let mut changes = desk.changes();
        // A tap or a touch moves what is due.
        let _ = tokio::time::timeout(wait.max(Duration::from_millis(5)), changes.changed()).await;
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender lives as long as the agent; if it is gone, so is the agent.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
