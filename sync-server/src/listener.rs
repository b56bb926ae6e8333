//! A TLS listener for HTTP/1.1 and HTTP/2: bounded in connections, and in how long each may take.
//!
//! The protocol is chosen by ALPN and never guessed from the first bytes, so that a peer that says
//! nothing after its handshake falls under the header timeout like any other.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::tls::PeerKey;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may idle between requests.
const HEAD: Duration = Duration::from_secs(30);
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to say.
const PING: Duration = Duration::from_secs(20);
/// How long bytes may go unacknowledged: a peer that is gone without a word is noticed by then also where
/// nobody asks it, as on HTTP/1.1. The system's own patience is a quarter of an hour.
const UNHEARD: Duration = Duration::from_secs(60);
/// The most streams one HTTP/2 connection may have open.
const STREAMS: u32 = 64;
/// How long requests under way may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// When the connection of a request was accepted.
#[derive(Debug, Clone, Copy)]
pub struct ConnectedAt(pub Instant);

/// Says that the server stops: long answers end, connections finish what they have begun.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// A signal, and what raises it.
    #[must_use]
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the server stops.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, and with it the server.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Serves `router` on `listener` until `stopping`, then lets open requests finish for a while.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    most_connections: usize,
    mut stopping: Stopping,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(most_connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.wait() => break,
        };
        let begun = ConnectedAt(Instant::now());
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                // Out of file descriptors, most likely: a moment later some are free again.
                tracing::warn!(%fault, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // A connection too many is closed at once: it may come back, and those inside are served.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(most_connections, "connection refused: all places are taken");
            continue;
        };
        let (acceptor, router, stopping) = (acceptor.clone(), router.clone(), stopping.clone());
        tokio::spawn(async move {
            // What follows is a task of its own: a handshake's state is not carried for a connection's life.
            if let Some((stream, peer)) = shake_hands(&acceptor, stream).await {
                speak(stream, (address, begun), peer, router, stopping, place);
            }
        });
    }
    drop(listener);
    let all = u32::try_from(most_connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN, places.acquire_many(all)).await;
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Option<(TlsStream<TcpStream>, Option<PeerKey>)> {
    // Nagle's algorithm would hold back each small answer until the peer acknowledges the one before.
    stream.set_nodelay(true).ok()?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNHEARD)).ok()?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await.ok()?;
    let stream = stream.inspect_err(|fault| tracing::debug!(%fault, "TLS handshake failed")).ok()?;
    let certificates = stream.get_ref().1.peer_certificates();
    let peer = certificates.and_then(|chain| chain.first()).and_then(PeerKey::of);
    Some((stream, peer))
}

/// Serves a connection, in a task that holds it in one place: thousands of them idle.
fn speak(
    stream: TlsStream<TcpStream>,
    (address, begun): (SocketAddr, ConnectedAt),
    peer: Option<PeerKey>,
    router: Router,
    stopping: Stopping,
    place: OwnedSemaphorePermit,
) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(address));
        request.extensions_mut().insert(begun);
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        request.map(Body::new)
    });
    let service = TowerToHyperService::new(service);
    let stream = TokioIo::new(stream);
    if is_http2 {
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(16 * 1024);
        let connection = Box::pin(http2.serve_connection(stream, service));
        tokio::spawn(finish(connection, stopping, |connection| connection.graceful_shutdown(), place));
    } else {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024);
        let connection = Box::pin(http1.serve_connection(stream, service));
        tokio::spawn(finish(connection, stopping, |connection| connection.graceful_shutdown(), place));
    }
}

/// Runs a connection to its end; when the server stops, tells it to take no further requests.
async fn finish<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<Box<C>>,
    mut stopping: Stopping,
    shut_down: impl FnOnce(Pin<&mut C>),
    _place: OwnedSemaphorePermit,
) {
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.wait() => {
            shut_down(connection.as_mut());
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "connection ended early");
    }
}
