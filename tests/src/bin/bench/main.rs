//! `make bench`: the figures that Carepost answers for, measured in one run, interleaved, beside the
//! floor that the machine itself sets. Prints a table and writes `target/bench.json`.

mod crowd;
mod floors;
mod growth;
mod kiosk;
mod sync;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use carepost_tests::appetite::rss_kib;
use table::{Figures, Row};
use tempfile::TempDir;

/// How often each thing is measured; the table shows medians.
const ROUNDS: usize = 5;

const ROWS: &[Row] = &[
    row(
        "tap_decision.p50_ms",
        "ms",
        "",
        "card presented within the grace period -> session decided, through pcscd",
    ),
    row("tap_decision.p99_ms", "ms", "aim <= 20", "the slowest of a round's twenty"),
    row("pin_check.p50_ms", "ms", "", "PIN typed -> session decided (Argon2id, 19 MiB, 2 passes)"),
    row("chart_saved.p50_ms", "ms", "", "form sent -> durable on the device, with its audit event"),
    row("chart_saved.p99_ms", "ms", "", "the slowest of a round's twenty"),
    row("chart_saved.floor_ms", "ms", "", "floor: a bare one-row commit, SQLCipher, FULL"),
    row(
        "first_sync_10k.ms",
        "ms",
        "aim <= 120",
        "10,000 records over mutual TLS into an empty encrypted mirror",
    ),
    row("first_sync_10k.bytes", "B", "aim <= 450000", "on the wire, both ways, TLS included"),
    row("first_sync_10k.server_cpu_s", "s", "", "the server's CPU for it"),
    row("first_sync_10k.floor_ms", "ms", "", "floor: the same rows into bare SQLCipher, in batches"),
    row("first_sync_10k.vs_bare_insert", "x", "aim <= 3", "ratio to that floor, round by round"),
    row("edits_1k.ms", "ms", "aim <= 60", "1,000 queued edits until durable on the server, and settled"),
    row("edits_1k.bytes", "B", "aim <= 60000", "on the wire, both ways, TLS included"),
    row("edits_1k.floor_ms", "ms", "", "floor: the same rows into bare SQLCipher, one batch"),
    row("live.p50_ms", "ms", "aim <= floor + 3", "server's receipt at A -> durable and readable at B"),
    row("live.p99_ms", "ms", "aim <= 15", "of a round's hundred"),
    row("live.floor_ms", "ms", "", "floor: one bare commit and one hop over loopback"),
    row("convergence.ms", "ms", "", "5 devices with 200 queued edits each, healed -> each has those of all"),
    row("drain.changes_per_s", "1/s", "", "a real agent with 50,000 queued entries of both lanes"),
    row("drain.agent_us_per_change", "us", "", "the agent's CPU for it"),
    row("drain.server_us_per_change", "us", "", "the server's CPU for it"),
    row("digest.us_per_write", "us", "", "a document's element, and the digest moved by it"),
    row("first_sync.1k.ms", "ms", "", "1,000 records into an empty mirror"),
    row("first_sync.1k.bytes_per_record", "B", "", "on the wire, both ways, TLS included"),
    row("first_sync.10k.ms", "ms", "linear", "10,000"),
    row("first_sync.10k.bytes_per_record", "B", "aim falling", "on the wire"),
    row("first_sync.100k.ms", "ms", "linear", "100,000"),
    row("first_sync.100k.bytes_per_record", "B", "aim falling", "on the wire"),
    row("heartbeat.per_s", "1/s", "", "from 16 devices at once, the client on the same cores"),
    row("heartbeat.server_cpu_us", "us", "aim <= 25", "the server's CPU for one heartbeat"),
    row("heartbeat.bare_cpu_us", "us", "", "floor: a bare POST through the same listener and mutual TLS"),
    row("heartbeat.vs_bare_post", "x", "", "ratio to that floor, round by round"),
    row("server.kib_per_idle_device", "KiB", "aim <= 40", "server's memory for a device that only listens"),
    row("stream.kib_per_idle_device", "KiB", "", "the live stream's share of it"),
    row("agent.rss_idle_mib", "MiB", "aim <= 25", "an idle agent with 10,000 records"),
    row(
        "agent.rss_used_mib",
        "MiB",
        "aim <= 40",
        "the same after 1,000 PIN checks and 10,000 pages, a moment later",
    ),
    row("agent.rss_peak_mib", "MiB", "", "the most it had meanwhile: a PIN check works in 19 MiB"),
    row("agent.idle_cpu_pct", "%", "", "of one core, over ten idle seconds"),
    row(
        "agent.start_to_page_ms",
        "ms",
        "aim <= 500",
        "process started -> the kiosk's page answers, 10,000 records",
    ),
    row("agent.binary_mb", "MB", "aim <= 12", "stripped"),
    row("server.rss_mib", "MiB", "", "the server after all of this"),
    row("corpus.mean_bytes", "B", "", "a record of the corpus"),
    row("corpus.zstd_ratio", "x", "", "how well 10,000 of them compress (zstd -3)"),
];

const fn row(name: &'static str, unit: &'static str, aim: &'static str, meaning: &'static str) -> Row {
    Row { name, unit, meaning, aim }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a second provider")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, state, port] = arguments.as_slice()
        && what == crowd::BARE
    {
        return crowd::bare(Path::new(state), port.parse()?).await;
    }
    let folder = TempDir::new()?;
    let mut figures = Figures::default();
    // One part alone is for whoever works on it; only all of them are written down.
    let part = arguments.first().map(String::as_str);
    let wanted = |name: &str| part.is_none_or(|part| part == name);
    if wanted("sync") || wanted("kiosk") || wanted("growth") {
        of_a_scene(folder.path(), part, &mut figures).await?;
    }
    if wanted("drain") {
        say("measuring a long queue ...");
        growth::drain(&mut figures).await?;
    }
    if wanted("crowd") {
        say("measuring a crowd ...");
        // On a server of its own, which holds nothing yet.
        let (server, facility) = sync::small(&folder.path().join("crowd")).await?;
        crowd::measure(&server, &facility, &mut figures).await?;
    }
    say(&figures.table(ROWS));
    if part.is_none() {
        let file = target().join("bench.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&figures.json(ROWS))?)?;
        say(&format!("written to {}", file.display()));
    }
    Ok(())
}

async fn of_a_scene(folder: &Path, part: Option<&str>, figures: &mut Figures) -> Result<()> {
    let wanted = |name: &str| part.is_none_or(|part| part == name);
    let scene = sync::Scene::build(folder, figures).await?;
    if wanted("sync") {
        say("measuring sync ...");
        for round in 0..ROUNDS {
            say(&format!("  round {} of {ROUNDS}", round + 1));
            scene.first_sync(round, figures).await?;
            scene.edits(round, figures).await?;
            scene.live(round, figures).await?;
        }
    }
    if wanted("kiosk") {
        say("measuring a kiosk ...");
        kiosk::measure(folder, &scene, figures).await?;
        figures.add("server.rss_mib", rss_kib(scene.server.pid())? / 1024.0);
    }
    if wanted("growth") {
        say("measuring what grows ...");
        growth::digest(&scene, figures);
        growth::convergence(&scene, figures).await?;
        growth::first_sync(&scene, figures).await?;
    }
    Ok(())
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

#[allow(clippy::print_stdout)] // this is what the program is for
fn say(line: &str) {
    println!("{line}");
}
