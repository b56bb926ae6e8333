//! First sync, queued edits, live: two devices of one facility and a real server.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use carepost_agent::mirror::Asked;
use carepost_agent::upstream::StreamEvent;
use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::role::Actor;
use carepost_protocol::wire::pull::SyncPosition;
use carepost_tests::appetite::cpu_seconds;
use carepost_tests::device::{Device, open_mirror};
use carepost_tests::fixture::{Random, residents, vitals};
use carepost_tests::link::Link;
use carepost_tests::world::{Facility, NOBODY_IS_SLOWED, Nurse, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::floors;
use super::table::{Figures, ms, quantile};

const RECORDS: usize = 10_000;
const EDITS: usize = 1_000;
const LIVE: usize = 100;
const SEED: u64 = 20_260_501;

/// Two devices of one facility: what A charts, B hears of.
pub(crate) struct Pair {
    pub(crate) a: Device,
    pub(crate) b: Device,
    pub(crate) actor: Actor,
    pub(crate) residents: Vec<PatientId>,
}

/// A server with ten thousand records in one facility, and another facility where people chart.
pub(crate) struct Scene {
    pub(crate) folder: PathBuf,
    pub(crate) server: Server,
    pub(crate) facility: Facility,
    pub(crate) nurse: Nurse,
    pub(crate) residents: Vec<PatientId>,
    link: Link,
    /// Where ten thousand records are, and stay ten thousand.
    archive: Pair,
    /// Where edits are made and heard of.
    ward: Pair,
    /// The bodies of the corpus, as they lie in the feed.
    bodies: Vec<Vec<u8>>,
}

impl Scene {
    pub(crate) async fn build(folder: &Path, figures: &mut Figures) -> Result<Self> {
        let mut server = Server::start(&folder.join("server")).await?;
        server.configure(NOBODY_IS_SLOWED).await?;
        let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
        organization.publish("vitals").await?;
        let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
        let nurse = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
        let link = Link::start(server.devices).await?;
        let archive = Pair::new(&folder.join("archive"), &server, &link, &facility, &nurse, "GY").await?;
        let hillside = organization.facility("Hillside", "ALF", Some(48), 44).await?;
        let other = hillside.nurse("Omar Reyes", "rn", "371640", "04B1B2C3D4E5F6").await?;
        let ward = Pair::new(&folder.join("ward"), &server, &link, &hillside, &other, "HS").await?;
        archive.queue(RECORDS, SEED)?;
        archive.a.push_all().await?;
        let residents = archive.residents.clone();
        let mut scene = Self {
            folder: folder.to_owned(),
            server,
            facility,
            nurse,
            residents,
            link,
            archive,
            ward,
            bodies: Vec::new(),
        };
        scene.weigh_corpus(figures).await?;
        Ok(scene)
    }

    async fn weigh_corpus(&mut self, figures: &mut Figures) -> Result<()> {
        let mut stream = self.archive.b.upstream.live(&SyncPosition::default()).await?;
        while self.bodies.len() < RECORDS {
            let Some(StreamEvent::Page(page)) = stream.next().await? else { continue };
            for line in page.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: serde_json::Value = serde_json::from_slice(line)?;
                if line.get("collection").is_some_and(|it| it == "records") {
                    self.bodies.push(serde_json::to_vec(line.get("body").context("a body")?)?);
                }
            }
        }
        let all = self.bodies.concat();
        let packed = zstd::bulk::compress(&all, 3)?;
        #[allow(clippy::cast_precision_loss)]
        {
            figures.add("corpus.mean_bytes", all.len() as f64 / self.bodies.len() as f64);
            figures.add("corpus.zstd_ratio", all.len() as f64 / packed.len() as f64);
        }
        Ok(())
    }

    /// An empty mirror catches up with everything.
    pub(crate) async fn first_sync(&self, round: usize, figures: &mut Figures) -> Result<()> {
        let floor = {
            let mut bare = floors::bare(&self.folder.join(format!("bare-{round}.db")))?;
            floors::batches(&mut bare, &self.bodies)?
        };
        let mirror = open_mirror(&self.folder.join(format!("mirror-{round}.db")), &self.archive.b.grant)?;
        let (bytes, cpu) = (self.bytes(), cpu_seconds(self.server.pid())?);
        let started = Instant::now();
        drop(self.archive.b.pull_all(&mirror).await?);
        let took = started.elapsed();
        figures.add("first_sync_10k.ms", ms(took));
        #[allow(clippy::cast_precision_loss)]
        figures.add("first_sync_10k.bytes", (self.bytes() - bytes) as f64);
        figures.add("first_sync_10k.server_cpu_s", cpu_seconds(self.server.pid())? - cpu);
        figures.add("first_sync_10k.floor_ms", ms(floor));
        figures.add("first_sync_10k.vs_bare_insert", ms(took) / ms(floor));
        Ok(())
    }

    /// A thousand edits wait while the network is down, and then it is back.
    pub(crate) async fn edits(&self, round: usize, figures: &mut Figures) -> Result<()> {
        self.ward.queue(EDITS, SEED + 1 + round as u64)?;
        let floor = {
            let mut bare = floors::bare(&self.folder.join(format!("bare-edits-{round}.db")))?;
            floors::batches(&mut bare, self.bodies.get(..EDITS).context("bodies")?)?
        };
        let bytes = self.bytes();
        let started = Instant::now();
        self.ward.a.push_all().await?;
        figures.add("edits_1k.ms", ms(started.elapsed()));
        #[allow(clippy::cast_precision_loss)]
        figures.add("edits_1k.bytes", (self.bytes() - bytes) as f64);
        figures.add("edits_1k.floor_ms", ms(floor));
        Ok(())
    }

    /// A charts, B listens.
    pub(crate) async fn live(&self, round: usize, figures: &mut Figures) -> Result<()> {
        let Pair { a, b, actor, residents } = &self.ward;
        let mut stream = b.pull_all(&b.mirror).await?;
        let permit = b.may_read(&b.nurse(actor.user))?;
        let mut random = Random::new(SEED + 100 + round as u64);
        let mut waits = Vec::new();
        for at in 0..LIVE {
            let patient = *residents.get(at % residents.len()).context("a resident")?;
            let saved = a.save(actor, &a.vitals(actor, patient, vitals(&mut random)))?;
            let listener = async {
                loop {
                    let Some(StreamEvent::Page(page)) = stream.next().await? else { continue };
                    let (mirror, end) = (std::sync::Arc::clone(&b.mirror), page.end);
                    let page = carepost_agent::mirror::Page::from_lines(&page.lines)?;
                    let applied = tokio::task::spawn_blocking(move || mirror.apply(&page, &end));
                    applied.await??;
                    // As a page does.
                    let latest = Asked { after: 0, most: 1, versions: 1 };
                    let readable = b.mirror.threads(&permit, patient, latest)?;
                    if readable.threads.iter().any(|thread| thread.root.id == saved.record) {
                        return Ok::<_, anyhow::Error>(Instant::now());
                    }
                }
            };
            let writer = async {
                a.push_all().await?;
                Ok::<_, anyhow::Error>(Instant::now())
            };
            let (readable, receipt) = tokio::try_join!(listener, writer)?;
            // B may have it before A has settled its receipt: then it took no time at all.
            waits.push(ms(readable.saturating_duration_since(receipt)));
        }
        figures.add("live.p50_ms", quantile(&waits, 0.5).context("waits")?);
        figures.add("live.p99_ms", quantile(&waits, 0.99).context("waits")?);
        let bare = floors::bare(&self.folder.join(format!("bare-live-{round}.db")))?;
        let mut commits = Vec::new();
        for (at, body) in self.bodies.iter().take(LIVE).enumerate() {
            commits.push(ms(floors::one(&bare, at, body)?));
        }
        let hop = hop().await?;
        figures.add("live.floor_ms", quantile(&commits, 0.5).context("commits")? + ms(hop));
        Ok(())
    }

    pub(crate) fn body(&self, at: usize) -> Option<&Vec<u8>> {
        self.bodies.get(at % self.bodies.len())
    }

    fn bytes(&self) -> u64 {
        self.link.bytes_up() + self.link.bytes_down()
    }
}

impl Pair {
    pub(crate) async fn new(
        folder: &Path,
        server: &Server,
        link: &Link,
        facility: &Facility,
        nurse: &Nurse,
        prefix: &str,
    ) -> Result<Self> {
        let ids = facility.admit(&residents(prefix, 44, true)).await?;
        let residents = ids.iter().map(|id| Ok(id.parse()?)).collect::<Result<Vec<PatientId>>>()?;
        let port = link.address().port();
        let a = Device::enroll(&folder.join("a"), server, port, facility, "A").await?;
        let b = Device::enroll(&folder.join("b"), server, port, facility, "B").await?;
        let actor = a.nurse(nurse.id.parse::<UserId>()?);
        Ok(Self { a, b, actor, residents })
    }

    /// Saves so many rounds of vitals at A, without sending them.
    pub(crate) fn queue(&self, count: usize, seed: u64) -> Result<()> {
        let mut random = Random::new(seed);
        for at in 0..count {
            let patient = self.residents.get(at % self.residents.len()).context("a resident")?;
            let change = self.a.vitals(&self.actor, *patient, vitals(&mut random));
            self.a.save(&self.actor, &change)?;
        }
        Ok(())
    }
}

/// A server with one facility and nobody in it.
pub(crate) async fn small(folder: &Path) -> Result<(Server, Facility)> {
    let server = Server::start(folder).await?;
    let organization = server.organization("Quiet Years", "quiet-years", "ALF_OPERATOR").await?;
    let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
    Ok((server, facility))
}

/// One way over loopback: half of a round trip of 400 bytes, the median of a hundred.
async fn hop() -> Result<Duration> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let mut buffer = [0; 400];
        while stream.read_exact(&mut buffer).await.is_ok() && stream.write_all(&buffer).await.is_ok() {}
    });
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut buffer, mut waits) = ([7; 400], Vec::new());
    for _ in 0..100 {
        let started = Instant::now();
        stream.write_all(&buffer).await?;
        stream.read_exact(&mut buffer).await?;
        waits.push(started.elapsed().as_secs_f64());
    }
    Ok(Duration::from_secs_f64(quantile(&waits, 0.5).unwrap_or_default() / 2.0))
}
