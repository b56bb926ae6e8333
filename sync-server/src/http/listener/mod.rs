//! A TLS listener for HTTP/1.1 and HTTP/2: bounded in connections, and in how long each may take.
//!
//! The protocol is chosen by ALPN and never guessed from the first bytes, so that a peer that says
//! nothing after its handshake falls under the header timeout like any other.
//!
//! A connection goes through two limits: one for handshakes, where an address has so many places, and then
//! that of the devices whose keys are known, or that of everybody else. The second does not take from the
//! first: who holds no device's key cannot shut out who does.

mod connection_limits;
mod proxy;
mod write_timeout;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use carepost_host::connections::accept;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::network::client_network;
use crate::stopping::Stopping;
use crate::store::Store;
use crate::tls::PeerKey;
use connection_limits::{Connection, ConnectionLimit, ConnectionSlot, Holder};
use write_timeout::{Patient, Streams, Watched, measured};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long an HTTP/1.1 connection may idle between requests.
const HEAD: Duration = Duration::from_secs(30);
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to say.
const PING: Duration = Duration::from_secs(20);
/// How long bytes may go unacknowledged: a peer that is gone without a word is noticed by then also where
/// nobody asks it, as on HTTP/1.1. The system's own patience is a quarter of an hour.
const UNHEARD: Duration = Duration::from_secs(60);
/// How long a connection that is told to end may take over it.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long requests under way may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How often a log line about connections that are refused is written.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The connections of one device: it uses one, and one more for each command that an operator runs there;
/// over HTTP/1.1, one for each request. A newer one ends the oldest.
const DEVICE_CONNECTIONS: usize = 8;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// When the connection of a request was accepted.
#[derive(Debug, Clone, Copy)]
pub struct ConnectedAt(pub Instant);

/// Who may come in, and how many.
pub struct Acceptor {
    tls: TlsAcceptor,
    proxies: Vec<IpNet>,
    /// Connections that trusted proxies pass on, until they have said whose they are.
    proxied: Arc<ConnectionLimit>,
    handshakes: Arc<ConnectionLimit>,
    others: Arc<ConnectionLimit>,
    /// Where connections are made with keys: those of devices, and who knows them.
    devices: Option<(Arc<ConnectionLimit>, Store)>,
    refused: Seldom,
    unproxied: Seldom,
}

impl Acceptor {
    /// For people and programs: so many connections, at most a quarter of them from one address.
    #[must_use]
    pub fn for_people(tls: Arc<ServerConfig>, most: usize, proxies: Vec<IpNet>) -> Self {
        Self::new(tls, most, proxies, ConnectionLimit::new(most, most / 4), None)
    }

    /// For devices: so many connections of devices that the store knows, and besides an eighth as many
    /// whose keys are no device's, as while they enroll; at most an eighth of those from one address.
    #[must_use]
    pub fn for_devices(tls: Arc<ServerConfig>, most: usize, proxies: Vec<IpNet>, store: Store) -> Self {
        let devices = (ConnectionLimit::new(most, DEVICE_CONNECTIONS), store);
        Self::new(tls, most, proxies, ConnectionLimit::passing(most / 8, most / 64), Some(devices))
    }

    fn new(
        tls: Arc<ServerConfig>,
        most: usize,
        proxies: Vec<IpNet>,
        others: Arc<ConnectionLimit>,
        devices: Option<(Arc<ConnectionLimit>, Store)>,
    ) -> Self {
        Self {
            tls: TlsAcceptor::from(tls),
            proxies,
            proxied: ConnectionLimit::passing(most / 4, most / 4),
            // A building full of kiosks comes back at once, from one address.
            handshakes: ConnectionLimit::passing(most / 4, most / 16),
            others,
            devices,
            refused: Seldom::default(),
            unproxied: Seldom::default(),
        }
    }

    /// Takes a connection from its first byte to where HTTP is spoken.
    async fn admit(&self, mut stream: TcpStream, address: SocketAddr) -> Option<Guest> {
        let begun = ConnectedAt(Instant::now());
        SockRef::from(&stream).set_tcp_user_timeout(Some(UNHEARD)).ok()?;
        let address = self.client_of(&mut stream, address).await?;
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let (connection, block) = (Arc::<Connection>::default(), Holder::Block(client_network(address.ip())));
        let shaking = self.slot(&self.handshakes, block, &connection)?;
        let stream = tokio::select! {
            shaken = shake_hands(&self.tls, stream) => shaken?,
            () = connection.ended() => return None,
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates.and_then(|chain| chain.first()).and_then(PeerKey::of);
        let (limit, holder, terms) = match (&self.devices, &peer) {
            (Some((limit, store)), Some(key)) if is_known(store, key).await => {
                (limit, Holder::Key(*key.sha256()), Terms::DEVICE)
            }
            (Some(_), _) => (&self.others, block, Terms::STRANGER),
            (None, _) => (&self.others, block, Terms::PERSON),
        };
        let slot = self.slot(limit, holder, &connection)?;
        drop(shaking);
        Some(Guest { stream, address, begun, peer, connection, terms, slot })
    }

    /// Whose connection it is: a trusted proxy says so, and nobody else is asked.
    async fn client_of(&self, stream: &mut TcpStream, address: SocketAddr) -> Option<SocketAddr> {
        let proxy = address.ip().to_canonical();
        if !self.proxies.iter().any(|trusted| trusted.contains(&proxy)) {
            return Some(address);
        }
        let connection = Arc::<Connection>::default();
        let _slot = self.slot(&self.proxied, Holder::Block(proxy), &connection)?;
        let said = tokio::select! {
            said = proxy::read(stream) => said,
            () = connection.ended() => return None,
        };
        match said {
            Ok(client) => Some(client.unwrap_or(address)),
            Err(fault) => {
                if let Some(times) = self.unproxied.tell() {
                    tracing::warn!(%proxy, %fault, times, "a trusted proxy's connection was refused");
                }
                None
            }
        }
    }

    fn slot(
        &self,
        limit: &Arc<ConnectionLimit>,
        holder: Holder,
        connection: &Arc<Connection>,
    ) -> Option<ConnectionSlot> {
        let slot = limit.enter(holder, connection);
        if slot.is_none()
            && let Some(times) = self.refused.tell()
        {
            // It may come back, and those inside are served.
            tracing::warn!(times, "connections refused: all places are taken");
        }
        slot
    }
}

/// Whether the key is a device's that is served.
async fn is_known(store: &Store, key: &PeerKey) -> bool {
    let known = store.system().device_by_key(*key.sha256()).await;
    matches!(known, Ok(Some(identity)) if identity.scope().is_some())
}

/// A connection that was let in.
struct Guest {
    stream: TlsStream<Patient>,
    address: SocketAddr,
    begun: ConnectedAt,
    peer: Option<PeerKey>,
    connection: Arc<Connection>,
    terms: Terms,
    slot: ConnectionSlot,
}

/// What a connection may have of the server.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// The most streams that are open at once.
    streams: u32,
    /// The most bytes that are on their way in.
    window: u32,
    /// How long an HTTP/2 connection may have no stream, or up to twice as long.
    idle: Duration,
}

impl Terms {
    /// A stream, a push of each lane and a heartbeat, which comes every minute.
    const DEVICE: Self = Self { streams: 16, window: 256 * 1024, idle: Duration::from_secs(75) };
    const STRANGER: Self = Self { streams: 8, window: 64 * 1024, idle: Duration::from_secs(15) };
    const PERSON: Self = Self { streams: 32, window: 64 * 1024, idle: Duration::from_secs(15) };
}

/// Listens on an address; on `[::]` for IPv4 too, and for that alone on a machine without IPv6.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    with_ipv4_alone(address, listen_on)
}

fn with_ipv4_alone<T>(address: SocketAddr, listen: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match listen(address) {
        Err(fault)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && !matches!(fault.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
        {
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        listener => listener,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // Whatever the system's default is (net.ipv6.bindv6only).
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `router` on `listener` until `stopping`, then lets open requests finish for a while.
pub async fn serve(listener: TcpListener, acceptor: Acceptor, router: Router, mut stopping: Stopping) {
    let acceptor = Arc::new(acceptor);
    // Each connection holds a sender; when the last is gone, all have ended.
    let (connected, mut all_ended) = mpsc::channel::<()>(1);
    loop {
        let (stream, address) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stopping.wait() => break,
        };
        let (acceptor, router, stopping) = (Arc::clone(&acceptor), router.clone(), stopping.clone());
        let connected = connected.clone();
        tokio::spawn(async move {
            // What follows is a task of its own: a handshake's state is not carried for a connection's life.
            if let Some(guest) = acceptor.admit(stream, address).await {
                speak(guest, router, stopping, connected);
            }
        });
    }
    drop((listener, connected));
    let _ = tokio::time::timeout(DRAIN, all_ended.recv()).await;
}

async fn shake_hands(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<Patient>> {
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(Patient::new(stream))).await.ok()?;
    shaken.inspect_err(|fault| tracing::debug!(%fault, "TLS handshake failed")).ok()
}

/// Serves a connection, in a task that holds it in one place: thousands of them idle.
fn speak(guest: Guest, router: Router, stopping: Stopping, connected: mpsc::Sender<()>) {
    let Guest { stream, address, begun, peer, connection, terms, slot } = guest;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    let service = router
        .map_request(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(address));
            request.extensions_mut().insert(begun);
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            request.map(Body::new)
        })
        .map_response(measured);
    let service = TowerToHyperService::new(service);
    let stream = TokioIo::new(stream);
    let held = (slot, connected);
    if is_http2 {
        let mut http2 = hyper::server::conn::http2::Builder::new(Streams(Arc::clone(&connection)));
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(terms.streams)
            .initial_stream_window_size(terms.window)
            .initial_connection_window_size(terms.window)
            .max_send_buf_size(64 * 1024)
            .max_header_list_size(16 * 1024);
        let serving = Box::pin(http2.serve_connection(stream, service));
        let end = |serving: Pin<&mut _>| hyper::server::conn::http2::Connection::graceful_shutdown(serving);
        tokio::spawn(async move {
            finish(serving, &connection, terms.idle, stopping, end).await;
            drop(held);
        });
    } else {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024);
        let serving = Box::pin(http1.serve_connection(stream, service));
        let end = |serving: Pin<&mut _>| hyper::server::conn::http1::Connection::graceful_shutdown(serving);
        let busy = connection.busy();
        tokio::spawn(Watched::new(
            async move {
                finish(serving, &connection, terms.idle, stopping, end).await;
                drop(held);
            },
            busy,
        ));
    }
}

/// Runs a connection to its end. When the server stops, or nothing is under way for a while, it is told to
/// take no further requests; when its place is needed, it ends.
async fn finish<C: Future<Output = hyper::Result<()>>>(
    mut serving: Pin<Box<C>>,
    connection: &Connection,
    idle: Duration,
    mut stopping: Stopping,
    shut_down: impl FnOnce(Pin<&mut C>),
) {
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = connection.ended() => return,
        () = stopping.wait() => {
            shut_down(serving.as_mut());
            serving.await
        }
        () = connection.idled(idle) => {
            shut_down(serving.as_mut());
            let ended = tokio::time::timeout(GOODBYE, serving).await;
            ended.unwrap_or(Ok(()))
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "connection ended early");
    }
}

/// Something that may happen very often, and is told now and then.
#[derive(Debug, Default)]
struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Counts it; how often it has happened since it was told last, where it is time to tell it again.
    fn tell(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, times) = &mut *state;
        *times += 1;
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use rustls::server::ResolvesServerCertUsingSni;

    use super::*;

    async fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let (client, server) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn a_connection_whose_proxy_says_nothing_ends_when_it_has_to_make_room() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        // One place for those that have not said whose they are.
        let acceptor = Acceptor::for_people(Arc::new(tls), 4, vec!["127.0.0.1/32".parse().unwrap()]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, mut silent) = connection(&listener).await;
        let (_other_client, mut other) = connection(&listener).await;
        let address = client.local_addr().unwrap();
        let both = async {
            tokio::select! {
                biased;
                ended = acceptor.client_of(&mut silent, address) => assert_eq!(ended, None),
                _ = acceptor.client_of(&mut other, address) => panic!("neither has said anything"),
            }
        };
        // Less than the patience with a silent proxy.
        tokio::time::timeout(Duration::from_secs(4), both).await.expect("it makes room");
    }

    #[test]
    fn a_machine_without_ipv6_listens_on_ipv4_alone_and_other_faults_are_told() {
        let tried = |address: &str, fault: io::ErrorKind| {
            let tried = RefCell::new(Vec::new());
            let done = with_ipv4_alone(address.parse().unwrap(), |address| {
                tried.borrow_mut().push(address.to_string());
                if address.is_ipv6() { Err(io::Error::from(fault)) } else { Ok(()) }
            });
            (done.is_ok(), tried.into_inner().join(" "))
        };
        // The kernel was built without it; it is switched off (net.ipv6.conf.all.disable_ipv6).
        for without in [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable] {
            assert_eq!(tried("[::]:8443", without), (true, "[::]:8443 0.0.0.0:8443".to_owned()));
        }
        for told in [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied] {
            assert_eq!(tried("[::]:8443", told), (false, "[::]:8443".to_owned()));
        }
        // Who names an address means that one.
        let named = tried("[::1]:8443", io::ErrorKind::AddrNotAvailable);
        assert_eq!(named, (false, "[::1]:8443".to_owned()));
    }
}
