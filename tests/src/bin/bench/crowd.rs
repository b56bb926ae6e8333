//! Many devices at once: what a heartbeat costs the server beside a bare POST, and what a device that only
//! listens costs it in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use carepost_agent::clock::Clock;
use carepost_agent::identity::DeviceKey;
use carepost_agent::upstream::{PageStream, StreamEvent, Upstream};
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{DeviceUuid, IncarnationId};
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse, Grant};
use carepost_protocol::wire::heartbeat::{Heartbeat, HeartbeatReply, ReaderState};
use carepost_protocol::wire::pull::SyncPosition;
use carepost_server::http::listener::{Acceptor, serve};
use carepost_server::stopping::Stopping;
use carepost_server::tls::Tls;
use carepost_tests::api::text;
use carepost_tests::appetite::{cpu_seconds, rss_kib};
use carepost_tests::children::free_port;
use carepost_tests::device::connect;
use carepost_tests::world::{Facility, Server};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::process::{Child, Command};

use super::ROUNDS;
use super::table::Figures;

const SPEAKERS: usize = 16;
const BEATS: usize = 1_000;
const IDLE: usize = 500;
/// The first of them fill the server's caches and wake its threads; they are not counted.
const WARM: usize = 50;

/// The bench's own name for the program that only answers.
pub(crate) const BARE: &str = "bare-post";

/// A device that holds nothing but its key.
struct Light {
    upstream: Upstream,
    key: Arc<DeviceKey>,
    clock: Arc<Clock>,
    grant: Grant,
}

pub(crate) async fn measure(server: &Server, facility: &Facility, figures: &mut Figures) -> Result<()> {
    let devices = try_join_all((0..SPEAKERS).map(|at| Light::enroll(server, facility, at))).await?;
    let bare = Bare::start(server).await?;
    for _ in 0..ROUNDS {
        let (seconds, cpu) = beats(&devices, server.pid()).await?;
        let floor: Vec<Light> =
            devices.iter().map(|device| device.at(server, bare.port)).collect::<Result<_>>()?;
        let (_, floor) = beats(&floor, bare.child.id()).await?;
        #[allow(clippy::cast_precision_loss)]
        figures.add("heartbeat.per_s", (SPEAKERS * BEATS) as f64 / seconds);
        figures.add("heartbeat.server_cpu_us", cpu);
        figures.add("heartbeat.bare_cpu_us", floor);
        figures.add("heartbeat.vs_bare_post", cpu / floor);
    }
    drop((devices, bare));
    idle(server, facility, figures).await
}

/// Heartbeats from every device at once: how long it took, and the CPU each cost that process, in us.
async fn beats(devices: &[Light], pid: Option<u32>) -> Result<(f64, f64)> {
    // The handshakes are not what is measured.
    try_join_all(devices.iter().map(Light::beat)).await?;
    let (began, cpu) = (Instant::now(), cpu_seconds(pid)?);
    try_join_all(devices.iter().map(|device| async move {
        for _ in 0..BEATS {
            device.beat().await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    #[allow(clippy::cast_precision_loss)]
    Ok((began.elapsed().as_secs_f64(), (cpu_seconds(pid)? - cpu) * 1e6 / (devices.len() * BEATS) as f64))
}

/// Devices that hold a connection, and then a live stream each.
async fn idle(server: &Server, facility: &Facility, figures: &mut Figures) -> Result<()> {
    let mut crowd = Vec::new();
    for at in 0..WARM + IDLE {
        crowd.push(Light::enroll(server, facility, SPEAKERS + at).await?.at(server, server.devices.port())?);
    }
    let (warm, crowd) = crowd.split_at(WARM);
    let mut streams = Vec::new();
    for device in warm {
        device.beat().await?;
        streams.push(device.listen().await?);
    }
    settle().await;
    let before = rss_kib(server.pid())?;
    for device in crowd {
        device.beat().await?;
    }
    settle().await;
    let connected = rss_kib(server.pid())?;
    for device in crowd {
        streams.push(device.listen().await?);
    }
    settle().await;
    let listening = rss_kib(server.pid())?;
    #[allow(clippy::cast_precision_loss)]
    let each = |kib: f64| kib / IDLE as f64;
    figures.add("server.kib_per_idle_device", each(listening - before));
    figures.add("stream.kib_per_idle_device", each(listening - connected));
    Ok(())
}

/// Heartbeats are written about a second after they came.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
}

impl Light {
    /// Enrolls with a token, as a device that was registered beforehand does.
    async fn enroll(server: &Server, facility: &Facility, at: usize) -> Result<Self> {
        let admin = &facility.organization.admin;
        let body = json!({"facility_id": facility.id, "device_name": format!("Light {at}"), "device_type": "TABLET"});
        let token = text(&admin.post("/api/v1/devices", &body).await?, "token")?;
        let (key, clock) = (Arc::new(DeviceKey::generate()?), Arc::new(Clock::new(None)));
        let upstream = connect(server, server.devices.port(), &key, &clock)?;
        let request = EnrollRequest {
            device_uuid: DeviceUuid::from_bytes(clock.random()),
            mac_addresses: Vec::new(),
            hostname: format!("light-{at}"),
            agent_version: "bench".to_owned(),
            token: Some(token),
        };
        let EnrollResponse::Active { grant } = upstream.enroll(&request).await? else {
            bail!("a token does not let a device in");
        };
        Ok(Self { upstream, key, clock, grant })
    }

    /// The same device on a connection of its own to that port.
    fn at(&self, server: &Server, port: u16) -> Result<Self> {
        let (key, clock, grant) = (Arc::clone(&self.key), Arc::clone(&self.clock), self.grant.clone());
        Ok(Self { upstream: connect(server, port, &key, &clock)?, key, clock, grant })
    }

    async fn beat(&self) -> Result<()> {
        let now = self.clock.now();
        let incarnation = IncarnationId::new(now, self.clock.random());
        let beat = Heartbeat {
            uptime: 1,
            mac_addresses: vec!["02:00:00:00:00:01".to_owned()],
            encrypted: true,
            ..Heartbeat::new("bench", (now, ClockQuality::Synced), ReaderState::Ready, incarnation)
        };
        self.upstream.heartbeat(self.grant.device_id, &beat).await?;
        Ok(())
    }

    /// Opens its live stream and reads to the head.
    async fn listen(&self) -> Result<PageStream> {
        let mut stream = self.upstream.live(&SyncPosition::default()).await?;
        loop {
            let event = stream.next().await?.context("the stream ended before the head")?;
            if matches!(event, StreamEvent::Page(page) if page.end.reaches_head()) {
                return Ok(stream);
            }
        }
    }
}

/// The floor: the same listener and TLS, and a handler that reads the body and answers the same bytes.
struct Bare {
    port: u16,
    child: Child,
}

impl Bare {
    async fn start(server: &Server) -> Result<Self> {
        let port = free_port()?;
        let child = Command::new(std::env::current_exe()?)
            .arg(BARE)
            .arg(server.folder.join("state"))
            .arg(port.to_string())
            .kill_on_drop(true)
            .spawn()?;
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                bail!("the bare server does not come up");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { port, child })
    }
}

/// Runs the floor's server, with the certificate in `state`, until it is killed.
pub(crate) async fn bare(state: &Path, port: u16) -> Result<()> {
    let tls = Tls::load(&state.join("tls.crt"), &state.join("tls.key"))?;
    let reply = HeartbeatReply {
        server_time: Clock::new(None).now(),
        state: DeviceState::Active,
        settled: Vec::new(),
        must_encrypt: false,
        revoked: None,
    };
    let reply = Bytes::from(serde_json::to_vec(&reply)?);
    let answer = any(move |_body: Bytes| async move { ([("content-type", "application/json")], reply) });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let (_stop, stopping) = Stopping::channel();
    let door = Acceptor::for_people(tls.devices, 1_000, Vec::new());
    serve(listener, door, Router::new().fallback(answer), stopping).await;
    Ok(())
}
