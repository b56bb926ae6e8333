//! A whole facility's sync in one thread and in no time: real stores, real outboxes and mirrors, the
//! agent's own engine, and between them a network, crashes and clocks that a seed decides.
//!
//! Time is a number and every step an event in one queue, so a seed is a story that can be told again:
//! the same seed gives the same trace. What is random lies in the seed; ids and signatures, which real
//! parts draw by themselves, are kept out of the trace and decide nothing.
//!
//! Each story ends with peace: the network heals, everybody is switched on, and then what must hold is
//! looked at from outside (`check.rs`): nothing saved is lost or doubled, every mirror equals its
//! facility's feed, no row is where it does not belong, and no outbox stands still.

#![allow(
    clippy::indexing_slicing,
    reason = "devices are numbered by the story itself; one that is not there should stop it"
)]

mod check;
mod device;
mod events;
mod facility;
mod queue;

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use tempfile::TempDir;

pub use check::{Documents, mirrored};
use device::Device;
use facility::Server;
pub use facility::Template;
use queue::{Event, Queue};

/// How long devices are charted on and faults go on.
const TROUBLE: Duration = Duration::from_secs(40 * 60);
/// By when all must be quiet after the trouble: some waits of five minutes, the longest there is.
const PEACE: Duration = Duration::from_secs(40 * 60);

/// A fault of the product that a story is given on purpose, and must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The server acknowledges some batches before it has committed them, and then does not.
    AcknowledgesTooEarly,
    /// A device takes an answer that never came for a receipt.
    TakesSilenceForAReceipt,
    /// A page is lost, and the cursor moves on. The product mends this.
    LosesPages,
    /// The same, and nobody compares digests.
    LosesPagesUnseen,
}

/// How a story ended.
#[derive(Debug)]
pub struct Outcome {
    /// A hash of everything that happened, in order.
    pub trace: u64,
    /// What happened, a line each, when it was asked for.
    pub lines: Vec<String>,
    /// How many events there were.
    pub events: u64,
    /// How many changes nurses saved.
    pub saved: usize,
    /// How often a mirror was found to differ.
    pub differed: u64,
    /// What should not be so; empty when all is well.
    pub violations: Vec<String>,
}

/// Tells the story of a seed. Everything it writes is in `folder`.
///
/// # Errors
/// When the machinery breaks; what the product does wrong is a violation of the outcome.
pub fn tell(
    template: &Template,
    folder: &Path,
    seed: u64,
    planted: Option<Planted>,
    keep: bool,
) -> Result<Outcome> {
    let mut story = Story::begin(template, folder, seed, planted, keep)?;
    story.trouble()?;
    story.peace()?;
    let violations = check::look(&mut story)?;
    Ok(Outcome {
        trace: story.trace.finish(),
        lines: story.lines,
        events: story.events,
        differed: story.differed,
        saved: story.devices.iter().map(|device| device.made.len()).sum(),
        violations,
    })
}

/// Tells the stories of many seeds, as many at a time as there are processors.
///
/// # Errors
/// As [`tell`], with the seed.
pub fn sweep(
    template: &Template,
    seeds: Range<u64>,
    planted: Option<Planted>,
) -> Result<Vec<(u64, Outcome)>> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let told = std::thread::scope(|scope| {
        let teller = || {
            let mut told = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return Ok(told);
                }
                let folder = workspace()?;
                let story = tell(template, folder.path(), seed, planted, false);
                told.push((seed, story.with_context(|| format!("seed {seed}"))?));
            }
        };
        let tellers: Vec<_> = (0..threads).map(|_| scope.spawn(teller)).collect();
        let told = tellers.into_iter().map(|teller| match teller.join() {
            Ok(told) => told,
            Err(_) => Err(anyhow::anyhow!("a story broke off")),
        });
        told.collect::<Result<Vec<_>>>()
    })?;
    let mut told: Vec<_> = told.into_iter().flatten().collect();
    told.sort_unstable_by_key(|(seed, _)| *seed);
    Ok(told)
}

/// A folder for the files of one story: in memory where there is such a place, for its crashes are those
/// of processes and not of disks.
///
/// # Errors
/// When it cannot be made.
pub fn workspace() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? })
}

/// What lies between a device and the server just now.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Of a thousand messages so many are lost.
    lost: u32,
    /// Of a thousand messages so many arrive twice.
    twice: u32,
    /// The longest way, in milliseconds.
    slow: u64,
    /// Nothing goes through until then.
    cut_until: Duration,
}

struct Story {
    now: Duration,
    queue: Queue,
    rng: Rng,
    server: Server,
    devices: Vec<Device>,
    weather: Vec<Weather>,
    /// Nobody saves, nothing breaks any more.
    quiet: bool,
    planted: Option<Planted>,
    trace: DefaultHasher,
    lines: Vec<String>,
    keep: bool,
    events: u64,
    differed: u64,
}

impl Story {
    fn begin(
        template: &Template,
        folder: &Path,
        seed: u64,
        planted: Option<Planted>,
        keep: bool,
    ) -> Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let server = Server::open(template, folder)?;
        let mut devices = Vec::new();
        for enrolled in template.devices() {
            devices.push(Device::new(folder, enrolled, template, &mut rng)?);
        }
        let calm = Weather { lost: 0, twice: 0, slow: 50, cut_until: Duration::ZERO };
        let mut story = Self {
            now: Duration::ZERO,
            queue: Queue::default(),
            rng,
            server,
            weather: vec![calm; devices.len()],
            devices,
            quiet: false,
            planted,
            trace: DefaultHasher::new(),
            lines: Vec::new(),
            keep,
            events: 0,
            differed: 0,
        };
        for at in 0..story.devices.len() {
            story.plan(at);
        }
        story.plan_disaster();
        Ok(story)
    }

    /// At most one thing in a story that should not happen to anybody.
    fn plan_disaster(&mut self) {
        let first = self.moment();
        let then = first + Duration::from_millis(self.rng.u64(1..TROUBLE.as_millis() as u64));
        let at = self.rng.usize(0..self.devices.len());
        let (before, after) = match self.rng.u32(0..10) {
            0 | 1 => (Event::DiskCopied { at }, Event::DiskRestored { at }),
            2 | 3 => (Event::DiskCopied { at }, Event::CloneAppears { of: at }),
            4..=6 => (Event::BackedUp, Event::Rewound),
            _ => return,
        };
        self.queue.add(first, before);
        self.queue.add(then, after);
    }

    /// Some moment while there is trouble.
    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(0..TROUBLE.as_millis() as u64))
    }

    /// When this device is switched on, what is saved on it, and what befalls it.
    fn plan(&mut self, at: usize) {
        let start = self.now + Duration::from_millis(self.rng.u64(0..60_000));
        self.queue.add(start, Event::Switch { at, on: true });
        for _ in 0..self.rng.u32(3..14) {
            let when = start + Duration::from_millis(self.rng.u64(1..TROUBLE.as_millis() as u64));
            self.queue.add(when, Event::Save { at });
        }
        for _ in 0..self.rng.u32(0..4) {
            let when = self.moment().max(start);
            let off = Duration::from_millis(self.rng.u64(1..300_000));
            self.queue.add(when, Event::Switch { at, on: false });
            self.queue.add(when + off, Event::Switch { at, on: true });
        }
        for _ in 0..self.rng.u32(1..5) {
            let when = self.moment();
            self.queue.add(when, Event::Weather { at });
        }
    }

    fn trouble(&mut self) -> Result<()> {
        let restart = self.moment();
        self.queue.add(restart, Event::ServerRestarts);
        self.run_until(TROUBLE)
    }

    /// The network heals, everybody is switched on, and time passes until nothing moves.
    fn peace(&mut self) -> Result<()> {
        self.quiet = true;
        for at in 0..self.devices.len() {
            self.weather[at] = Weather { lost: 0, twice: 0, slow: 50, cut_until: Duration::ZERO };
            self.queue.add(self.now, Event::Switch { at, on: true });
        }
        let deadline = self.now + PEACE;
        while self.now < deadline {
            self.run_until(self.now + Duration::from_secs(60))?;
            for at in 0..self.devices.len() {
                self.refetch_differing(at)?;
            }
            if self.devices.iter().all(Device::has_nothing_to_send) && self.everybody_is_current()? {
                break;
            }
        }
        Ok(())
    }

    /// What still differs is asked for now and then, as the agent does.
    fn refetch_differing(&mut self, at: usize) -> Result<()> {
        if let Some(live) = &self.devices[at].live {
            live.mirror.refetch_differing()?;
        }
        self.fetch_what_differs(at)
    }

    fn run_until(&mut self, end: Duration) -> Result<()> {
        while let Some((when, event)) = self.queue.next_before(end) {
            self.now = when;
            self.server.set_time(when);
            self.events += 1;
            self.happen(event)?;
        }
        self.now = end;
        self.server.set_time(end);
        Ok(())
    }

    fn everybody_is_current(&self) -> Result<bool> {
        for device in &self.devices {
            let differs = match &device.live {
                Some(live) => !live.mirror.differing()?.is_empty(),
                None => true,
            };
            if differs || device.cursor()? != Some(self.server.head(device.place())?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes down what happened. No id, no signature, nothing that two runs of a seed do not share.
    fn note(&mut self, what: &str) {
        self.now.hash(&mut self.trace);
        what.hash(&mut self.trace);
        if self.keep {
            let mut line = String::new();
            let _ = write!(line, "{:>9.3} {what}", self.now.as_secs_f64());
            self.lines.push(line);
        }
    }
}
