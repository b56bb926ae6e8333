//! Maintenance: backup, restore, and verification of what devices wrote. It works on the server's own files, with its
//! key, and so on its own machine.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::confirm::Confirm;
use super::ownership::OwnershipGuard;
use super::{Output, audit};
use crate::clock;
use crate::config::Config;
use crate::instance_lock::InstanceLock;
use crate::store::{self, Ambient, DatabaseKey, Fault, Missing, Restored, Verified};
use crate::text::counted;

/// Where a backup goes.
#[derive(Debug, Args)]
#[command(after_help = "The server may run. The file is encrypted with the database key: keep that key \
    elsewhere.\n\nExample:\n  carepost-server backup --to /var/backups/carepost.db")]
pub(super) struct Backup {
    /// The file; one that is there is replaced once the new one was read from end to end.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Which backup is put back.
#[derive(Debug, Args)]
#[command(after_help = "The server has to be stopped. The database that is replaced is kept beside it.\n\n\
    Example:\n  systemctl stop carepost-server\n  carepost-server restore --from /var/backups/carepost.db\n  \
    systemctl start carepost-server")]
pub(super) struct Restore {
    /// The file.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    confirm: Confirm,
}

/// What is held against itself.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Recompute every device's chains, and name what was edited, dropped, swapped or cut off. The server may
    /// run.
    #[command(after_help = "Exit codes: 0 whole (gaps that were written down are named), 5 not.\n\n\
        Example:\n  carepost-server audit verify --json")]
    Verify,
    /// List the audit log, the last received first: what the server saw, and what devices say.
    #[command(after_help = "A device's event is its word: the flags say what it cannot know of.\n\n\
        Example:\n  carepost-server audit list --source device --user nora")]
    List(audit::Search),
}

pub(super) async fn backup(config: Option<&Path>, asked: Backup) -> anyhow::Result<Output> {
    let config = Config::load(config)?;
    let _owned = OwnershipGuard::of(&config.state_dir);
    let (path, key) = (config.database_path(), DatabaseKey::new(*config.database_key()?));
    let to = asked.to.clone();
    let copied = tokio::task::spawn_blocking(move || store::backup(&path, &key, &ambient(), &to)).await??;
    let told = json!({"file": asked.to, "bytes": copied.bytes, "chains": copied.chains});
    Ok(Output::Thing(told, &["file", "bytes", "chains"]))
}

/// Puts a backup back.
pub(super) async fn restore(config: Option<&Path>, asked: Restore) -> anyhow::Result<Output> {
    let config = Config::load(config)?;
    let _owned = OwnershipGuard::of(&config.state_dir);
    let (from, to) = (asked.from.display(), config.database_path());
    asked
        .confirm
        .ask(&format!("put {from} in the place of {}; everybody has to sign in again", to.display()))?;
    // Not before: who ends it at the question leaves nothing of root's behind.
    let lock = InstanceLock::acquire(&config.state_dir)?;
    let (path, key) = (config.database_path(), DatabaseKey::new(*config.database_key()?));
    let restoring = move || {
        let restored = store::restore(&path, &key, &ambient(), &asked.from);
        drop(lock);
        restored
    };
    let restored = tokio::task::spawn_blocking(restoring).await??;
    let Restored { facilities, replaced, carried, unknown } = &restored;
    let thing =
        json!({"facilities": facilities, "replaced": replaced, "carried": carried, "unknown": unknown});
    Ok(Output::Found { whole: true, thing, words: what_became(&restored) })
}

fn what_became(restored: &Restored) -> String {
    let listed = |title: &str, sentences: &[String]| {
        let lines = sentences.iter().map(|line| format!("\n  {line}"));
        [format!("\n{title}")].into_iter().chain(lines).collect::<String>()
    };
    let mut words = format!("facilities           {}", restored.facilities);
    if let Some(replaced) = &restored.replaced {
        words.push_str(&format!("\nreplaced             {}", replaced.display()));
    }
    match restored.carried.as_deref() {
        Some([]) => words.push_str("\nNothing had to be carried over from it."),
        Some(carried) => words.push_str(&listed("Carried over from it:", carried)),
        None => {}
    }
    if !restored.unknown.is_empty() {
        words.push_str(&listed("NOT KNOWN, and to be looked at:", &restored.unknown));
    }
    words + "\nEverybody has to sign in again."
}

/// Verifies the chains of every device.
pub(super) async fn verify(config: Option<&Path>) -> anyhow::Result<Output> {
    let config = Config::load(config)?;
    let _owned = OwnershipGuard::of(&config.state_dir);
    let (path, key) = (config.database_path(), DatabaseKey::new(*config.database_key()?));
    let found = tokio::task::spawn_blocking(move || store::verify(&path, &key, &ambient())).await??;
    let thing = serde_json::to_value(&found)?;
    Ok(Output::Found { whole: found.is_whole(), thing, words: words(&found) })
}

fn words(found: &Verified) -> String {
    let Verified { chains, entries, without_payload, fault_count, .. } = found;
    let mut lines: Vec<String> = found
        .gaps
        .iter()
        .map(|Missing { device, incarnation, lane, from, to }| {
            let lane = lane.name();
            format!("lost and written down: device {device} incarnation {incarnation} {lane} {from} to {to}")
        })
        .collect();
    lines.extend(found.faults.iter().map(|Fault { device, incarnation, lane, n, what }| {
        let (lane, what) = (lane.name(), what.words());
        format!("FAULT: device {device} incarnation {incarnation} {lane} {n}: {what}")
    }));
    let (chains, entries) = (counted(*chains, "chain", "chains"), counted(*entries, "entry", "entries"));
    lines.push(format!("{chains} with {entries}, {without_payload} without payload"));
    lines.push(if found.is_whole() {
        "whole".to_owned()
    } else {
        format!("NOT WHOLE: {}", counted(*fault_count, "fault", "faults"))
    });
    lines.join("\n")
}

fn ambient() -> Ambient {
    Ambient::new(clock::now, clock::fill)
}
