//! The Carepost sync-server: the truth of many organizations, none of which sees another.
//!
//! Read [`crate::http::routes`] first: it is the one table of what is served, and to whom.

pub mod app;
pub mod audit;
pub mod card;
pub mod cli;
pub mod clock;
pub mod clone_detection;
pub mod config;
pub mod error;
pub mod feed;
pub mod http;
pub mod in_progress;
pub mod instance_lock;
pub mod network;
pub mod operations;
pub mod password;
pub mod proposed_zone;
pub mod quota;
pub mod rate_limit;
pub mod read_log;
pub mod refusal_log;
pub mod request_rate;
pub mod scope;
pub mod setup;
pub mod stopping;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tls;
pub mod token;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::http::listener::{self, Acceptor};
use crate::http::route::Listener;
use crate::http::routes;
use app::App;
use config::{Config, ConfigError};
use instance_lock::{InstanceLock, InstanceLockError};
use password::{PasswordError, Passwords};
use stopping::Stopping;
use store::{Ambient, DatabaseKey, Store, StoreError};
use tls::{Tls, TlsError};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration or the database key cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be had.
    #[error("cannot listen on {address}: {fault}; {}", how_to_listen(.fault))]
    NotListening {
        /// Which one.
        address: SocketAddr,
        /// Why.
        fault: io::Error,
    },
    /// Another server runs on the same state directory.
    #[error(transparent)]
    InstanceLock(#[from] InstanceLockError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Passwords cannot be checked.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    /// SIGHUP cannot be heard.
    #[error("cannot listen for SIGHUP: {0}; check the limits of the service")]
    Signal(std::io::Error),
    /// A thread broke while the database was opened.
    #[error("opening the database broke off: {0}; see the log")]
    Opening(#[from] tokio::task::JoinError),
}

impl ServeError {
    /// Whether somebody has to change the configuration, and no later start finds it better.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Config(fault) => fault.is_lasting(),
            Self::Tls(fault) => fault.is_lasting(),
            Self::NotListening { fault, .. } => fault.kind() == ErrorKind::PermissionDenied,
            Self::Store(fault) => matches!(fault, StoreError::WrongKey(_)),
            Self::InstanceLock(_) | Self::Passwords(_) | Self::Signal(_) | Self::Opening(_) => false,
        }
    }
}

fn how_to_listen(fault: &io::Error) -> &'static str {
    if fault.kind() == ErrorKind::PermissionDenied {
        "ports below 1024 are for root alone: set people_address and devices_address to ports above"
    } else if fault.kind() == ErrorKind::AddrInUse {
        "another server or program listens there: stop it, or set people_address or devices_address to another"
    } else {
        "see that this machine has that address, or set people_address or devices_address to another"
    }
}

/// The two listeners, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    /// For people and programs.
    pub people: TcpListener,
    /// For devices, with certificates of their own.
    pub devices: TcpListener,
}

/// Serves until `stop` is done; then lets what is under way finish. `ready` is called once requests are
/// answered.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    listeners: Listeners,
    config: Config,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let tls = Tls::load(&config.certificate_path(), &config.key_path())?;
    let hangup = signal(SignalKind::hangup()).map_err(ServeError::Signal)?;
    let lock = InstanceLock::acquire(&config.state_dir)?;
    let store = open_store(&config).await?;
    tell_alike(&config).await;
    store.retain(config.sync.retention());
    let (stopping, stopped) = Stopping::channel();
    let certificate = Arc::clone(&tls.certificate);
    let app = App::new(store.clone(), Passwords::new()?, config, certificate, stopped.clone());
    let (most, proxies) = (app.config.max_connections, app.config.trusted_proxies.clone());
    let people_acceptor = Acceptor::for_people(tls.people, most, proxies.clone());
    let devices_acceptor = Acceptor::for_devices(tls.devices, most, proxies, store.clone());
    let people = routes::router(&app, Listener::People);
    let devices = routes::router(&app, Listener::Devices);
    let people = tokio::spawn(listener::serve(listeners.people, people_acceptor, people, stopped.clone()));
    let devices =
        tokio::spawn(listener::serve(listeners.devices, devices_acceptor, devices, stopped.clone()));
    let telling = tokio::spawn(tell_until(app.clone(), stopped.clone()));
    let renewing = tokio::spawn(async move { tls.certificate.renew(hangup, stopped).await });
    ready();
    stop.await;
    stopping.send_replace(true);
    for served in [people, devices, telling, renewing] {
        if let Err(fault) = served.await {
            tracing::error!(%fault, "a listener broke");
        }
    }
    app.refusal_log.tell_all(&app.store.system()).await;
    app.read_log.tell(&app.store.system(), true).await;
    tokio::task::spawn_blocking(move || store.close()).await?;
    drop(lock);
    Ok(())
}

/// How often it is looked for what was counted and is to be told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Tells from time to time what was counted, and forgets what is over, until the server stops.
async fn tell_until(app: App, mut stopping: Stopping) {
    loop {
        tokio::select! {
            () = stopping.wait() => return,
            () = tokio::time::sleep(TELL_EVERY) => {}
        }
        app.refusal_log.tell_over(&app.store.system()).await;
        app.read_log.tell(&app.store.system(), false).await;
        tokio::select! {
            () = stopping.wait() => return,
            () = forget(&app) => {}
        }
    }
}

/// Forgets the idempotency keys that are over, portion by portion: others write in between.
async fn forget(app: &App) {
    loop {
        match app.store.system().purge_idempotency_keys().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(fault) => {
                tracing::warn!(%fault, "idempotency keys that are over could not be forgotten; it is tried again");
                return;
            }
        }
    }
}

/// # Errors
/// See [`ServeError`].
pub async fn open_store(config: &Config) -> Result<Store, ServeError> {
    let (path, key) = (config.database_path(), config.database_key()?);
    let ambient = Ambient::new(clock::now, clock::fill);
    let opened = tokio::task::spawn_blocking(move || Store::open(&path, &DatabaseKey::new(*key), ambient));
    Ok(opened.await??)
}

/// Says which names read the same: they stay as they are until somebody gives another.
async fn tell_alike(config: &Config) {
    match alike(config).await {
        Ok(found) => found.iter().for_each(|two| tracing::warn!("{two}")),
        Err(fault) => tracing::warn!(%fault, "names that read the same could not be looked for"),
    }
}

async fn alike(config: &Config) -> Result<Vec<String>, ServeError> {
    let (path, key) = (config.database_path(), config.database_key()?);
    let ambient = Ambient::new(clock::now, clock::fill);
    let looked = tokio::task::spawn_blocking(move || store::alike(&path, &DatabaseKey::new(*key), &ambient));
    Ok(looked.await??)
}
