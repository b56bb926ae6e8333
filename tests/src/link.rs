//! The network between a device and the server, in the test's hands: a relay that can be cut,
//! slowed, and cut at a chosen byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A relay in front of a server.
#[derive(Debug, Clone)]
pub struct Link {
    address: SocketAddr,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    state: watch::Sender<State>,
    up: AtomicU64,
    down: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    target: SocketAddr,
    /// How often every connection was broken.
    breaks: u64,
    connected: bool,
    delay: Duration,
    /// Cut everything once this many bytes went up (or down) in all.
    cut_up_at: Option<u64>,
    cut_down_at: Option<u64>,
}

impl Link {
    /// Relays a fresh loopback port to `target`. Needs a tokio runtime, and lives as long as that.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port for the relay")?;
        let address = listener.local_addr()?;
        let state = State {
            target,
            breaks: 0,
            connected: true,
            delay: Duration::ZERO,
            cut_up_at: None,
            cut_down_at: None,
        };
        let wire = Wire { state: watch::channel(state).0, up: AtomicU64::new(0), down: AtomicU64::new(0) };
        let wire = Arc::new(wire);
        tokio::spawn(accept(listener, Arc::clone(&wire)));
        Ok(Self { address, wire })
    }

    /// Where devices connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection and refuses new ones.
    pub fn cut(&self) {
        self.wire.state.send_modify(State::cut);
    }

    /// Breaks every connection; new ones get through.
    pub fn break_all(&self) {
        self.wire.state.send_modify(|state| state.breaks += 1);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.wire.state.send_modify(|state| {
            *state = State { connected: true, cut_up_at: None, cut_down_at: None, ..*state };
        });
    }

    /// Leads connections elsewhere from now on; the ones there are break.
    pub fn lead_to(&self, target: SocketAddr) {
        self.wire.state.send_modify(|state| {
            state.target = target;
            state.breaks += 1;
        });
    }

    /// Whether connections get through.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.wire.state.borrow().connected
    }

    /// Holds every piece of data back for so long, each way.
    pub fn delay(&self, delay: Duration) {
        self.wire.state.send_modify(|state| state.delay = delay);
    }

    /// Cuts once `bytes` more have gone up: in the middle of a push, say.
    pub fn cut_after_up(&self, bytes: u64) {
        let at = self.bytes_up() + bytes;
        self.wire.state.send_modify(|state| state.cut_up_at = Some(at));
    }

    /// Cuts once `bytes` more have come down: in the middle of a page, say.
    pub fn cut_after_down(&self, bytes: u64) {
        let at = self.bytes_down() + bytes;
        self.wire.state.send_modify(|state| state.cut_down_at = Some(at));
    }

    /// Bytes that went up so far, TLS included.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.wire.up.load(Ordering::Relaxed)
    }

    /// Bytes that came down so far, TLS included.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.wire.down.load(Ordering::Relaxed)
    }
}

impl State {
    fn cut(&mut self) {
        self.connected = false;
        self.breaks += 1;
    }
}

async fn accept(listener: TcpListener, wire: Arc<Wire>) {
    while let Ok((device, _)) = listener.accept().await {
        if !wire.state.borrow().connected {
            continue; // dropped: the device sees a reset
        }
        tokio::spawn(relay(device, Arc::clone(&wire)));
    }
}

async fn relay(device: TcpStream, wire: Arc<Wire>) {
    let State { target, breaks, .. } = *wire.state.borrow();
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Failing to turn Nagle off costs time, not correctness.
    let _ = (device.set_nodelay(true), server.set_nodelay(true));
    let (from_device, to_device) = device.into_split();
    let (from_server, to_server) = server.into_split();
    let mut state = wire.state.subscribe();
    tokio::select! {
        () = pump(from_device, to_server, &wire, Way::Up) => {}
        () = pump(from_server, to_device, &wire, Way::Down) => {}
        _ = state.wait_for(|state| state.breaks != breaks) => {}
    }
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, wire: &Wire, way: Way) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let state = *wire.state.borrow();
        if !state.delay.is_zero() {
            tokio::time::sleep(state.delay).await;
        }
        let (count, limit) = match way {
            Way::Up => (&wire.up, state.cut_up_at),
            Way::Down => (&wire.down, state.cut_down_at),
        };
        let before = count.fetch_add(read as u64, Ordering::Relaxed);
        let allowed =
            limit.map_or(read, |limit| read.min(usize::try_from(limit.saturating_sub(before)).unwrap_or(0)));
        let Some(chunk) = buffer.get(..allowed) else { return };
        if to.write_all(chunk).await.is_err() {
            return;
        }
        if allowed < read {
            wire.state.send_modify(State::cut);
            return;
        }
    }
}
