//! `make chaos`: ten real agents and a real server, charted on all the time, while cables are cut, slowed,
//! unplugged and lose packets, and agents, a disk and the server are killed. Then it all heals, and within
//! thirty seconds every entry that a page called saved is on the server, once, and every mirror equals the
//! server's feed, byte by byte.

#![allow(clippy::print_stdout, reason = "a program for people")]

mod ground;
mod wall;
mod weather;
mod weigh;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use carepost_tests::appetite::peak_kib;
use carepost_tests::children::free_port;
use carepost_tests::device::Device;
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::Badges;
use carepost_tests::ledger::Ledger;
use carepost_tests::link::Link;
use carepost_tests::world::{Facility, Server, Site};
use clap::Parser;
use futures_util::future::try_join_all;
use tempfile::TempDir;

use ground::{CABLES, Disk, Network};
use wall::{Run, Wall};
use weather::Weather;

const KIOSKS: u8 = CABLES - 1;
/// By when all must be well after the weather has cleared up.
const CONVERGE: Duration = Duration::from_secs(30);

/// Ten agents and a server in bad weather.
#[derive(Debug, Parser)]
struct Options {
    /// How long the trouble lasts.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Use no privileges, even where there are some.
    #[arg(long)]
    plain: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    rustls::crypto::ring::default_provider().install_default().ok().context("a second provider")?;
    let folder = TempDir::new()?;
    let network =
        privileged(options.plain, "network namespaces, unplugged cables, lost packets", Network::lay);
    let network = network.map(Arc::new);
    let disk = privileged(options.plain, "a disk that dies under its writer", || Disk::make(folder.path()));

    let (mut server, facility, port) = open_house(folder.path(), network.as_deref()).await?;
    let nurse = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let run = Run {
        nurse,
        residents: facility.admit(&residents("RS", 20, true)).await?,
        ledger: Ledger::default(),
        done: AtomicBool::new(false),
        kills: AtomicUsize::new(0),
        disks: AtomicUsize::new(0),
    };
    let mut walls = hang(folder.path(), &server, &facility, disk, network.is_some().then_some(port)).await?;
    // Whoever looks on has a cable that stays whole.
    let office = Link::start(server.devices).await?;
    let looker =
        Device::enroll(&folder.path().join("looker"), &server, office.address().port(), &facility, "looker")
            .await?;
    let links = walls.iter().map(|wall| wall.kiosk.link.clone()).collect();
    let weather = Weather { links, network, faults: weather::Faults::default() };
    println!("{KIOSKS} kiosks are charted on; the trouble lasts {} minutes ...", options.minutes);

    let server_peak = trouble(&options, &mut server, &mut walls, &run, &weather).await?;
    report(&run, &weather, &walls, server_peak);
    let healed = Instant::now();
    loop {
        let wrong = wrong(&looker, &walls, &run).await;
        if wrong.is_empty() {
            println!("all is well {:.1} s after the weather cleared up", healed.elapsed().as_secs_f64());
            return Ok(ExitCode::SUCCESS);
        }
        if healed.elapsed() > CONVERGE {
            println!("not well {CONVERGE:?} after the weather cleared up:");
            wrong.iter().for_each(|line| println!("    {line}"));
            let kept = folder.keep();
            println!("everything is kept in {}", kept.display());
            return Ok(ExitCode::FAILURE);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What needs privileges, or a word on what is skipped.
fn privileged<T>(plain: bool, what: &str, make: impl FnOnce() -> Result<T>) -> Option<T> {
    if plain {
        println!("skipped, as asked: {what}");
        return None;
    }
    make().inspect_err(|error| println!("skipped: {what}: {error:#}")).ok()
}

/// The server, in a namespace of its own where there is one, and a facility.
async fn open_house(folder: &Path, network: Option<&Network>) -> Result<(Server, Facility, u16)> {
    let (people, port) = (free_port()?, free_port()?);
    let server = match network {
        None => Server::start_at(&folder.join("server"), people, port).await?,
        Some(network) => {
            let office = ground::socket(KIOSKS, people);
            let site = Site {
                people: ([0, 0, 0, 0], people).into(),
                people_port: Link::start(office).await?.address().port(),
                devices: ([0, 0, 0, 0], port).into(),
                namespace: Some(network.name().to_owned()),
            };
            let mut server = Server::start_on(&folder.join("server"), site).await?;
            server.devices = ground::socket(KIOSKS, port);
            server
        }
    };
    let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    organization.publish("vitals").await?;
    let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
    Ok((server, facility, port))
}

/// Ten kiosks; the last one keeps its files on the disk, and each has a cable of its own.
async fn hang(
    folder: &Path,
    server: &Server,
    facility: &Facility,
    mut disk: Option<Disk>,
    cables: Option<u16>,
) -> Result<Vec<Wall>> {
    let mut walls = Vec::new();
    for at in 0..KIOSKS {
        let name = format!("kiosk-{at}");
        let disk = if at + 1 == KIOSKS { disk.take() } else { None };
        let place = disk.as_ref().map_or(folder, Disk::folder).join(&name);
        let kiosk = facility.hang_kiosk(&place, &name, server, Badges::Scripted).await?;
        kiosk.status_is("loading", false).await?;
        if let Some(port) = cables {
            kiosk.link.lead_to(ground::socket(at, port));
        }
        walls.push(Wall::new(kiosk, disk).await?);
    }
    Ok(walls)
}

/// Everything goes wrong for so long; then everything that was killed runs again. The server's peak, MiB.
async fn trouble(
    options: &Options,
    server: &mut Server,
    walls: &mut [Wall],
    run: &Run,
    weather: &Weather,
) -> Result<f64> {
    let lasts = Duration::from_secs_f64(options.minutes * 60.0);
    let clock = async {
        tokio::time::sleep(lasts).await;
        run.done.store(true, Ordering::SeqCst);
        Ok(())
    };
    let living = async {
        let lives = try_join_all(walls.iter_mut().map(|wall| wall.live(run))).await;
        // One that cannot go on ends it for all.
        run.done.store(true, Ordering::SeqCst);
        lives.map(|_| ())
    };
    let mut peak = 0.0_f64;
    let dying = async {
        while !run.done.load(Ordering::SeqCst) {
            run.work_on(Duration::from_millis(fastrand::u64(2_000..15_000))).await;
            if run.done.load(Ordering::SeqCst) {
                break;
            }
            peak = peak.max(peak_kib(server.pid()).unwrap_or(0.0) / 1024.0);
            server.pull_the_plug().await?;
            run.kills.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3_000))).await;
            server.resume().await?;
        }
        Ok(())
    };
    tokio::try_join!(clock, living, dying, weather.storm(&run.done))?;
    weather.heal()?;
    ensure!(run.ledger.count() > 0, "nothing was saved at all");
    Ok(peak)
}

fn report(run: &Run, weather: &Weather, walls: &[Wall], server_peak: f64) {
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    let faults = &weather.faults;
    println!("entries saved          {:8}", run.ledger.count());
    println!("kill -9                {:8}, of agents and server", count(&run.kills));
    println!("disks shut down        {:8}", count(&run.disks));
    println!("connections broken     {:8}", count(&faults.broken));
    println!(
        "cuts                   {:8}, and {} at a byte",
        count(&faults.cut),
        count(&faults.cut_at_a_byte)
    );
    println!("slow spells            {:8}", count(&faults.slowed));
    println!("cables unplugged       {:8}", count(&faults.unplugged));
    println!("spells of packet loss  {:8}", count(&faults.lossy));
    let agents = walls.iter().map(|wall| wall.peak_mib).fold(0.0, f64::max);
    println!("memory at most         {agents:8.0} MiB an agent, {server_peak:.0} MiB the server");
}

/// What is not as it should be.
async fn wrong(looker: &Device, walls: &[Wall], run: &Run) -> Vec<String> {
    let look = async {
        let feed = weigh::feed(looker).await?;
        let findings = run.ledger.compare(&weigh::notes(&feed)?);
        let mut wrong = Vec::new();
        if !findings.is_clean() {
            let (lost, doubled) = (findings.lost.len(), findings.doubled.len());
            let first = findings.lost.first().or(findings.doubled.first());
            wrong.push(format!("the server: {lost} entries lost, {doubled} doubled, such as {first:?}"));
        }
        for wall in walls {
            let status = wall.kiosk.status().await?;
            if status.get("waiting").is_none_or(|waiting| waiting != 0) {
                wrong.push(format!("{}: {status}", wall.kiosk.name));
            }
            let differences = weigh::differences(&feed, &wall.documents()?);
            if differences > 0 {
                wrong.push(format!("{}: {differences} documents differ", wall.kiosk.name));
            }
        }
        anyhow::Ok(wrong)
    };
    look.await.unwrap_or_else(|error| vec![format!("cannot look: {error:#}")])
}
