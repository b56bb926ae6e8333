//! What grows: a long queue that drains, a first sync of more and more records, edits made apart that come
//! together, and what the digests add to a write.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::record::Collection;
use carepost_tests::device::{Device, open_mirror};
use carepost_tests::fixture::{Random, vitals};
use carepost_tests::link::Link;
use carepost_tests::soak::{Plan, Soak};
use futures_util::future::try_join_all;
use tempfile::TempDir;

use super::ROUNDS;
use super::sync::{Pair, Scene};
use super::table::{Figures, ms};

const DRAIN: Plan = Plan { care: 10_000, audit_each: 4, patience: Duration::from_secs(300) };
const APART: usize = 5;
const EDITS_APART: usize = 200;
const SIZES: [(usize, &str, &str); 3] = [
    (1_000, "first_sync.1k.ms", "first_sync.1k.bytes_per_record"),
    (10_000, "first_sync.10k.ms", "first_sync.10k.bytes_per_record"),
    (100_000, "first_sync.100k.ms", "first_sync.100k.bytes_per_record"),
];

/// A real agent after a long time offline, and a real server of its own.
pub(crate) async fn drain(figures: &mut Figures) -> Result<()> {
    let (mut soak, _) = Soak::prepare(DRAIN).await?;
    let took = soak.drain().await?;
    #[allow(clippy::cast_precision_loss)]
    let count = (DRAIN.care * (1 + DRAIN.audit_each)) as f64;
    figures.add("drain.changes_per_s", count / took.seconds);
    figures.add("drain.agent_us_per_change", took.agent_cpu * 1e6 / count);
    figures.add("drain.server_us_per_change", took.server_cpu * 1e6 / count);
    Ok(())
}

/// First syncs of facilities of three sizes.
pub(crate) async fn first_sync(scene: &Scene, figures: &mut Figures) -> Result<()> {
    // What is measured is the way down; the outboxes that fill the server lie in memory.
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { TempDir::new_in(shm)? } else { TempDir::new()? };
    let organization = &scene.facility.organization;
    for (count, took, weight) in SIZES {
        let facility = organization.facility(&format!("House of {count}"), "ALF", Some(48), 44).await?;
        let nurse =
            facility.nurse(&format!("Nurse {count}"), "rn", "482915", &format!("04{count:012X}")).await?;
        let link = Link::start(scene.server.devices).await?;
        let home = folder.path().join(count.to_string());
        let pair = Pair::new(&home, &scene.server, &link, &facility, &nurse, &format!("H{count}")).await?;
        pair.queue(count, 3)?;
        pair.a.push_all().await?;
        for round in 0..ROUNDS.min(3) {
            let mirror = open_mirror(&home.join(format!("mirror-{round}.db")), &pair.b.grant)?;
            let bytes = link.bytes_up() + link.bytes_down();
            let began = Instant::now();
            drop(pair.b.pull_all(&mirror).await?);
            figures.add(took, ms(began.elapsed()));
            #[allow(clippy::cast_precision_loss)]
            figures.add(weight, (link.bytes_up() + link.bytes_down() - bytes) as f64 / count as f64);
        }
    }
    Ok(())
}

/// Devices that were cut off, each with edits of its own, until each has those of all.
pub(crate) async fn convergence(scene: &Scene, figures: &mut Figures) -> Result<()> {
    let organization = &scene.facility.organization;
    let facility = organization.facility("House apart", "ALF", Some(48), 44).await?;
    let nurse = facility.nurse("Nurse Apart", "rn", "482915", "04D1B2C3D4E5F6").await?;
    let folder = scene.folder.join("apart");
    let link = Link::start(scene.server.devices).await?;
    let pair = Pair::new(&folder, &scene.server, &link, &facility, &nurse, "AP").await?;
    let mut devices = vec![pair.a, pair.b];
    while devices.len() < APART {
        let name = format!("D{}", devices.len());
        let port = link.address().port();
        devices.push(Device::enroll(&folder.join(&name), &scene.server, port, &facility, &name).await?);
    }
    for round in 0..ROUNDS {
        for (at, device) in devices.iter().enumerate() {
            let mut random = Random::new((round * APART + at) as u64);
            for edit in 0..EDITS_APART {
                let patient = *pair.residents.get(edit % pair.residents.len()).context("a resident")?;
                let actor = device.nurse(pair.actor.user);
                device.save(&actor, &device.vitals(&actor, patient, vitals(&mut random)))?;
            }
        }
        let began = Instant::now();
        try_join_all(devices.iter().map(Device::push_all)).await?;
        try_join_all(devices.iter().map(|device| device.pull_all(&device.mirror))).await?;
        figures.add("convergence.ms", ms(began.elapsed()));
    }
    Ok(())
}

/// What the server computes for a digest on each write: the element of the document as it was and as it is.
pub(crate) fn digest(scene: &Scene, figures: &mut Figures) {
    const WRITES: usize = 10_000;
    for _ in 0..ROUNDS {
        let (mut digest, mut bytes) = (Digest::default(), 0);
        let began = Instant::now();
        for at in 0..WRITES {
            let Some(body) = scene.body(at) else { return };
            bytes += body.len();
            digest.add(Element::of(Collection::Records, &[7; 16], at as u64, body));
        }
        black_box((digest, bytes));
        #[allow(clippy::cast_precision_loss)]
        figures.add("digest.us_per_write", began.elapsed().as_secs_f64() * 1e6 / WRITES as f64);
    }
}
