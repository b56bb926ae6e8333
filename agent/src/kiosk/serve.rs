//! The kiosk's listener: loopback only, a bounded number of connections, none of them slow for long.
//! Whose each one is, is asked once and goes with its requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use carepost_host::connections::accept;
use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::owner::Owner;

/// How much patience the listener has.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections at once; more wait to be accepted.
    pub connections: usize,
    /// How many of other users' processes, which are told little: the oldest of whoever has the most makes
    /// room for the next.
    pub strangers: usize,
    /// How long the head of a request may take, and how long a connection may idle before it.
    pub head: Duration,
    /// How long requests under way may take once the kiosk shuts down.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            strangers: 4,
            head: Duration::from_secs(15),
            farewell: Duration::from_secs(2),
        }
    }
}

/// Why the kiosk is not served.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// The address could be reached by other machines.
    #[error("the kiosk serves this device only, not {0}: set its address to 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The listener does not say where it listens.
    #[error("the kiosk's listener is broken: {0}; restart the agent")]
    Listener(#[from] io::Error),
}

/// Serves the pages over HTTP/1.1 until `shutdown` is done. Who connects from then on is not this one's: whoever kept
/// what listens may serve them. The places are for processes of `user`, and for
/// those whose user cannot be told.
///
/// # Errors
/// When the listener is not on a loopback address.
pub async fn serve(
    listener: TcpListener,
    pages: Router,
    user: u32,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NotServed> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(NotServed::NotLoopback(address));
    }
    let places = Places { user, own: Arc::new(Semaphore::new(limits.connections)) };
    let mut strangers = Strangers::default();
    let (close, closing) = watch::channel(false);
    let closing = Closing(closing);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(arrived) = arrival(&listener, &places) => {
                let stranger = arrived.stranger;
                let talk = connections.spawn(converse(arrived, pages.clone(), limits.head, closing.clone()));
                if let Some(uid) = stranger {
                    strangers.admit(uid, talk, limits.strangers);
                }
            }
            Some(_) = connections.join_next() => {}
            else => break,
        }
    }
    drop(listener);
    close.send_replace(true);
    // What is left after the farewell is cut.
    let _ = timeout(limits.farewell, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// That the kiosk ends, as a request hears of it.
#[derive(Debug, Clone)]
pub(super) struct Closing(pub(super) watch::Receiver<bool>);

impl Closing {
    /// Until it does.
    pub(super) async fn wait(mut self) {
        // Whoever would say so is gone: so is the kiosk.
        drop(self.0.wait_for(|closing| *closing).await);
    }
}

/// Where connections find room.
struct Places {
    user: u32,
    own: Arc<Semaphore>,
}

/// A connection, with its place.
struct Arrived {
    stream: TcpStream,
    owner: Owner,
    /// Whose it is, where it is another user's.
    stranger: Option<u32>,
    place: Option<OwnedSemaphorePermit>,
}

/// The connections of other users' processes, oldest first, each with whose it is.
#[derive(Default)]
struct Strangers(Vec<(u32, AbortHandle)>);

impl Strangers {
    /// Takes one in. Of too many the oldest of whoever has the most ends: however many of one user's idle,
    /// they keep no other out.
    fn admit(&mut self, uid: u32, talk: AbortHandle, most: usize) {
        self.0.retain(|(_, talk)| !talk.is_finished());
        self.0.push((uid, talk));
        if self.0.len() > most {
            let has = |uid: u32| self.0.iter().filter(|(whose, _)| *whose == uid).count();
            let oldest = self.0.iter().enumerate().rev().max_by_key(|(_, (uid, _))| has(*uid));
            if let Some(at) = oldest.map(|(at, _)| at) {
                self.0.remove(at).1.abort();
            }
        }
    }
}

/// The next connection from this machine, once there is a place for one; none when places are closed. Another
/// user's takes none of those, so that nobody waits behind strangers.
async fn arrival(listener: &TcpListener, places: &Places) -> Option<Arrived> {
    let own = Arc::clone(&places.own).acquire_owned().await.ok()?;
    loop {
        let (stream, peer) = accept(listener).await;
        if !peer.ip().to_canonical().is_loopback() {
            continue;
        }
        match Owner::of(&stream) {
            Owner::Gone => {}
            owner @ Owner::User(uid) if uid != places.user => {
                return Some(Arrived { stream, owner, stranger: Some(uid), place: None });
            }
            owner @ (Owner::User(_) | Owner::Untold) => {
                return Some(Arrived { stream, owner, stranger: None, place: Some(own) });
            }
        }
    }
}

async fn converse(arrived: Arrived, pages: Router, head: Duration, closing: Closing) {
    let Arrived { stream, owner, place: _place, .. } = arrived;
    let (pages, told) = (TowerToHyperService::new(pages), closing.clone());
    let pages = service_fn(move |mut request: Request<_>| {
        request.extensions_mut().insert(owner);
        request.extensions_mut().insert(told.clone());
        pages.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), pages);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the kiosk ended early");
    }
}
