//! The composition root: opens the state directory and starts the rooms and the tasks, each of which has one owner.
//!
//! The kiosk page, the badges and charting start first and need nothing from here on: whatever
//! happens to the network, they go on.

mod enrolling;
mod heartbeat;
mod mirror_check;
mod mirror_watch;
mod network_watch;
mod older;
mod outbox_only;
mod outbox_watch;
mod pruning;
mod revoked;
mod shared;
mod state_dir;
mod sync;
mod unopened;
mod uplink;

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use carepost_agent_core::session::SessionPolicy;
use carepost_host::{log, systemd};
use carepost_protocol::hex::hex;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::ReaderState;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) use enrolling::{Ended, Enroller, token_refused};
pub(crate) use state_dir::{StateDir, server_ca};

use crate::badge::pcsc::PcscSource;
use crate::badge::scripted::ScriptedSource;
use crate::badge::{Admission, BadgeEvent, QUEUE, Source};
use crate::clock::Clock;
use crate::config::{BadgeSource, Config, Mode};
use crate::device::{Device, State};
use crate::kiosk::start::{self, LocalUser};
use crate::kiosk::{self, Doorway, KioskConfig, NotServed, Owner};
use crate::outbox::Outbox;
use crate::workspace::{Workspace, WorkspaceParts};

/// How often the device is given the time when nothing is due: what the status line says ages.
const STATUS_TICK: Duration = Duration::from_secs(15);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration, the state directory or the kiosk's port cannot be used. Files that are there and do not
/// open are no such error: its page says so.
pub fn run(config: &Config) -> anyhow::Result<()> {
    log::start();
    let (mut listening, mut opened) = (None, None);
    loop {
        match run_once(config, &mut listening, opened.take())? {
            After::End => break,
            After::Anew => tracing::info!("this device enrolls anew, with a new key"),
            After::Opened(again) => {
                tracing::info!("what did not open opens again");
                opened = Some(again);
            }
        }
    }
    systemd::stopping();
    Ok(())
}

/// What comes after the agent ended in good order.
enum After {
    /// Nothing: it was told to stop.
    End,
    /// All of it once more: the revoked device is to enroll anew, and nothing has its files open then.
    Anew,
    /// All of it once more, with the state directory, which did not open before.
    Opened(Opened),
}

/// The state directory, opened, and how the device stands.
type Opened = (Arc<StateDir>, State);

fn run_once(
    config: &Config,
    listening: &mut Option<StdListener>,
    opened: Option<Opened>,
) -> anyhow::Result<After> {
    // One thread is enough for a kiosk; files and PINs have blocking threads, a few of them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    let ended = runtime.block_on(agent(config, listening, opened));
    // A PIN check or a reader that hangs must not keep the service from stopping.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn agent(
    config: &Config,
    listening: &mut Option<StdListener>,
    opened: Option<Opened>,
) -> anyhow::Result<After> {
    let (state, enrolled) = match opened.map_or_else(|| open(None, config), Ok) {
        Ok(opened) => opened,
        Err(error) if unopened::is_shown(config, &error) => {
            return unopened::until_opened(config, listening, &error).await;
        }
        Err(error) => return Err(error),
    };
    let reader = match config.badge.source {
        BadgeSource::None => ReaderState::None,
        BadgeSource::Pcsc | BadgeSource::Scripted => ReaderState::Missing,
    };
    let device = Arc::new(Device::new(enrolled, reader, Arc::clone(&state.clock)));
    let page = KioskPage::up(config, listening, &device, Some(state.vault.kiosk_cookie()))?;
    if let Some((source, events)) = badges(config)? {
        tokio::spawn(watch_badges(Arc::clone(&device), source, events));
    }
    tokio::spawn(keep_time(Arc::clone(&device)));
    let (anew, wanted) = oneshot::channel();
    let network = Arc::new(Notify::new());
    tokio::spawn(network_watch::run(Arc::clone(&network)));
    tokio::spawn(uplink::run(config.clone(), state, Arc::clone(&device), network, anew));
    let ended = page.until_ended(async {
        match wanted.await {
            Ok(()) => Ok(After::Anew),
            Err(_) => std::future::pending().await,
        }
    });
    let ended = ended.await;
    tell_counted(device.workspace()).await;
    ended
}

/// Has written down what was counted of refusals, before the workspace is gone; a disk that hangs is not waited for.
async fn tell_counted(workspace: Option<Arc<Workspace>>) {
    if let Some(workspace) = workspace {
        let told = tokio::task::spawn_blocking(move || workspace.audit_trail().tell_all());
        let _ = tokio::time::timeout(Duration::from_secs(3), told).await;
    }
}

/// Opens the state directory. An enrolled device whose files do not open is shown as that, and goes on from there.
fn open(lock: Option<File>, config: &Config) -> anyhow::Result<Opened> {
    let state = Arc::new(StateDir::open_under(lock, config)?);
    let enrolled = match state.vault.grant()? {
        _ if state.is_revoked()? => State::Revoked { trouble: None },
        Some(grant) => {
            match state.outbox(&grant, config).and_then(|outbox| workspace(config, &state, grant, outbox)) {
                Ok(workspace) => State::Enrolled(Arc::new(workspace)),
                Err(error) => State::Unopened { why: error.to_string(), phone: None },
            }
        }
        None => State::Enrolling(Enroller::first_screen(config, &state)),
    };
    Ok((state, enrolled))
}

/// The kiosk's page, served.
struct KioskPage {
    served: JoinHandle<Result<(), NotServed>>,
    stop: watch::Sender<bool>,
}

impl KioskPage {
    /// Begins to serve it. Without a cookie nobody is known, and all that is shown is that nothing opens.
    fn up(
        config: &Config,
        listening: &mut Option<StdListener>,
        device: &Arc<Device>,
        cookie: Option<SecretString>,
    ) -> anyhow::Result<Self> {
        let listener =
            listener(config, listening).map_err(|fault| NotListening::new(config.kiosk.listen, fault))?;
        let bound = listener.local_addr()?;
        let doorway = doorway(config, device.clock(), bound)?;
        let user = doorway.user;
        let pages = kiosk::router(Arc::clone(device), KioskConfig::new(bound, cookie, doorway));
        let (stop, stopped) = watch::channel(false);
        let served =
            tokio::spawn(kiosk::serve(listener, pages, user, kiosk::Limits::default(), until(stopped)));
        tracing::info!(address = %config.kiosk.listen, "the kiosk page is up");
        Ok(Self { served, stop })
    }

    /// Serves it until the agent is told to stop, or has to begin once more.
    async fn until_ended(self, again: impl Future<Output = anyhow::Result<After>>) -> anyhow::Result<After> {
        systemd::ready();
        let Self { mut served, stop } = self;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ended = tokio::select! {
            _ = terminate.recv() => Ok(After::End),
            _ = interrupt.recv() => Ok(After::End),
            again = again => again,
            served = &mut served => Err(anyhow::anyhow!("the kiosk page ended: {served:?}")),
        };
        stop.send_replace(true);
        if ended.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(3), &mut served).await;
        }
        ended
    }
}

/// The kiosk's listener. What listens is kept while the agent begins once more: whoever asks meanwhile waits. A page
/// that came before, and whose style and script were refused, would stay so: a kiosk has no button to load it again.
fn listener(config: &Config, listening: &mut Option<StdListener>) -> std::io::Result<TcpListener> {
    let kept = match listening {
        Some(kept) => kept,
        None => listening.insert(StdListener::bind(config.kiosk.listen)?),
    };
    kept.set_nonblocking(true)?;
    TcpListener::from_std(kept.try_clone()?)
}

/// Why the kiosk's address cannot be had, and what helps.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {fault}; {what}")]
pub(crate) struct NotListening {
    address: SocketAddr,
    fault: std::io::Error,
    what: &'static str,
}

impl NotListening {
    fn new(address: SocketAddr, fault: std::io::Error) -> Self {
        let what = if fault.kind() == ErrorKind::AddrInUse {
            "another agent or program listens there: stop it, or set kiosk.listen"
        } else if fault.kind() == ErrorKind::PermissionDenied {
            "ports below 1024 are for root alone: set kiosk.listen to one above"
        } else {
            "this machine has no such address: set kiosk.listen to 127.0.0.1:3000"
        };
        Self { address, fault, what }
    }

    /// Whether somebody has to change the configuration, and no later start finds it better.
    pub(crate) fn is_lasting(&self) -> bool {
        self.fault.kind() == ErrorKind::PermissionDenied
    }
}

/// Who may open the page: the browser's user where one is configured, with the token of a start page that it
/// alone can read; else the agent's own user.
fn doorway(config: &Config, clock: &Clock, bound: SocketAddr) -> anyhow::Result<Doorway> {
    let browser = config.kiosk.browser_user.as_deref().map(LocalUser::named).transpose()?;
    let own = rustix::process::geteuid().as_raw();
    let (token, page) = (SecretString::from(hex(&clock.random::<32>())), config.kiosk.start_page.clone());
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

/// The workspace of an enrolled device whose outbox is open: its mirror is opened for it.
fn workspace(
    config: &Config,
    state: &StateDir,
    grant: Grant,
    outbox: Arc<Outbox>,
) -> anyhow::Result<Workspace> {
    let mirror = state.mirror(&grant, config)?;
    let policy = SessionPolicy {
        screen_lock: Duration::from_secs(config.session.screen_lock),
        screen_warning: Duration::from_secs(config.session.screen_warning),
        pin_grace: Duration::from_secs(config.session.pin_grace),
        ..SessionPolicy::default()
    };
    let badge_key = state_dir::badge_key(&grant)?;
    Ok(Workspace::new(WorkspaceParts {
        grant,
        badge_key,
        mirror,
        outbox,
        policy,
        clock: Arc::clone(&state.clock),
    }))
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

async fn watch_badges(device: Arc<Device>, source: Box<dyn Source>, mut events: mpsc::Receiver<BadgeEvent>) {
    while let Some(event) = events.recv().await {
        let reader = match &event {
            BadgeEvent::Reader(state) => {
                let (device, state) = (Arc::clone(&device), *state);
                let _ = tokio::task::spawn_blocking(move || device.set_reader(state)).await;
                continue;
            }
            BadgeEvent::Presented { reader, .. }
            | BadgeEvent::Removed { reader }
            | BadgeEvent::Unreadable { reader, .. } => reader.clone(),
        };
        let device = Arc::clone(&device);
        let answered = tokio::task::spawn_blocking(move || device.on_badge(&event)).await;
        if let Ok(Some(feedback)) = answered {
            source.signal(&reader, feedback);
        }
    }
}

/// Lets time pass at the device: locks, warnings and lapsed notices.
async fn keep_time(device: Arc<Device>) {
    loop {
        let ticking = Arc::clone(&device);
        let due = tokio::task::spawn_blocking(move || ticking.tick()).await.ok().flatten();
        let now = device.clock().monotonic();
        let wait = due.map_or(STATUS_TICK, |due| due.saturating_sub(now).min(STATUS_TICK));
        let mut changes = device.changes();
        // A tap or a touch moves what is due.
        let _ = tokio::time::timeout(wait.max(Duration::from_millis(5)), changes.changed()).await;
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender lives as long as the agent; if it is gone, so is the agent.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
