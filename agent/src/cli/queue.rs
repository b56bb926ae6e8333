//! `carepost-agent queue`: what has not reached the server's record for good. It works while the agent
//! runs, which notices what is written here, and while it does not.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::Lane;
use carepost_protocol::id::PatientId;
use carepost_protocol::wire::enroll::Grant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::status::{ask, text};
use super::{Outcome, say, say_error};
use crate::audit;
use crate::config::Config;
use crate::identity::vault::lock_for_command;
use crate::outbox::{Exported, Outbox, OutboxError, Progress};
use crate::run::StateDir;

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// What waits for the server, and what it rejected. No health data.
    List {
        /// The most entries to name; all are counted.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        most: usize,
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Have rejected entries tried again, as they are: after somebody mended what they were rejected for.
    Retry(Which),
    /// Take entries out of the system, exactly as they are sent. This is health data.
    Export {
        #[command(flatten)]
        which: Which,
        /// Where to: a new file that only its owner can read. Without it, standard output.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Their numbers, as `queue list` gives them.
    #[arg(required_unless_present = "all", value_name = "NUMBER")]
    numbers: Vec<u64>,
    /// Every rejected entry.
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
}

impl Which {
    fn numbers(self, outbox: &Outbox) -> anyhow::Result<Vec<u64>> {
        if !self.all {
            return Ok(self.numbers);
        }
        let rejected = outbox.rejected_entries(usize::MAX)?.into_iter();
        Ok(rejected.filter(|entry| entry.lane == Lane::Care).map(|entry| entry.name.n).collect())
    }
}

/// Runs a command on the device's outbox.
pub(super) fn queue(config: &Config, command: Queue) -> anyhow::Result<Outcome> {
    let Some((opened, grant)) = enrolled(config)? else {
        say_error("this device is not enrolled: nothing was ever charted on it");
        return Ok(Outcome::NotEnrolled);
    };
    // Outlives the outbox: an agent that starts waits until that is closed.
    let is_read = matches!(command, Queue::List { .. });
    let alone = if is_read { None } else { lock_for_command(&config.state_dir) };
    let outbox = opened.outbox(&grant, config).map_err(|error| as_its_agent_says(config, error))?;
    // What a process that is gone wrote and could not sync would be lost, and with it what is written behind it. An
    // agent that runs has folded it.
    if alone.is_some() {
        outbox.fold_at_start();
    }
    match command {
        Queue::List { most, json } => list(&outbox, most, json),
        Queue::Retry(which) => retry(&opened, &grant, &outbox, which.numbers(&outbox)?),
        Queue::Export { which, to } => {
            export(&opened, &grant, &outbox, which.numbers(&outbox)?, to.as_deref())
        }
    }
}

/// Why the outbox does not open. Of one that is gone its agent may still have it open: to stop that would lose it.
fn as_its_agent_says(config: &Config, error: anyhow::Error) -> anyhow::Error {
    let is_gone = matches!(error.downcast_ref(), Some(OutboxError::Gone { .. }));
    let said = if is_gone { ask(config).ok() } else { None };
    let why = said.as_ref().map(|status| text(status, "storage_trouble")).filter(|why| !why.is_empty());
    why.map_or(error, |why| anyhow::anyhow!("{why}"))
}

fn enrolled(config: &Config) -> anyhow::Result<Option<(StateDir, Grant)>> {
    let Some(opened) = StateDir::beside(config)? else { return Ok(None) };
    let grant = opened.vault.grant()?;
    Ok(grant.map(|grant| (opened, grant)))
}

fn list(outbox: &Outbox, most: usize, json: bool) -> anyhow::Result<Outcome> {
    let (counts, entries) = (outbox.counts()?, outbox.list(most)?);
    if json {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| {
                let (state, reason) = in_words(&entry.progress);
                json!({
                    "incarnation": entry.name.incarnation, "n": entry.name.n, "made_at": entry.made_at,
                    "state": state, "reason": reason,
                })
            })
            .collect();
        let (waiting, audit, rejected) = (counts.care, counts.audit, counts.rejected);
        let whole = json!({ "waiting": waiting, "audit": audit, "rejected": rejected, "entries": entries });
        say(&whole.to_string());
    } else {
        say(&format!(
            "{} wait, {} are rejected; {} audit events wait",
            counts.care, counts.rejected, counts.audit
        ));
        let named = entries.len();
        for entry in entries {
            let (state, reason) = in_words(&entry.progress);
            let reason = reason.unwrap_or_default();
            say(format!("{:>8}  {}  {state}  {reason}", entry.name.n, entry.made_at).trim_end());
        }
        if named >= most {
            say(&format!("No more than {most} are named: give --most for more"));
        }
    }
    Ok(if counts.rejected > 0 { Outcome::NeedsAttention } else { Outcome::Done })
}

fn in_words(progress: &Progress) -> (&'static str, Option<&str>) {
    match progress {
        Progress::Queued => ("waiting", None),
        Progress::Acknowledged => ("sent", None),
        Progress::Rejected(reason) => ("rejected", Some(reason)),
    }
}

fn retry(opened: &StateDir, grant: &Grant, outbox: &Outbox, numbers: Vec<u64>) -> anyhow::Result<Outcome> {
    for n in numbers {
        let saved = outbox.retry(n, |patient, record| {
            let event = event(opened, grant, AuditAction::Execute, patient, "retry", n);
            vec![event.on(record)]
        })?;
        say(&format!("entry {n} is tried again as {}", saved.n));
    }
    Ok(Outcome::Done)
}

/// An entry as it is written out.
#[derive(Serialize)]
struct Written<'a> {
    incarnation: String,
    n: u64,
    made_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_because: Option<&'a str>,
    sha256: String,
    payload: &'a RawValue,
}

fn export(
    opened: &StateDir,
    grant: &Grant,
    outbox: &Outbox,
    numbers: Vec<u64>,
    to: Option<&Path>,
) -> anyhow::Result<Outcome> {
    let Some(path) = to else {
        say(&taken_out(opened, grant, outbox, &numbers)?);
        warn();
        return Ok(Outcome::Done);
    };
    if numbers.is_empty() {
        say_error("no entry is rejected: there is nothing to export, and no file was made");
        return Ok(Outcome::Done);
    }
    // The file first: nothing is said to have been taken out that nobody got.
    let mut file = private_file(path)?;
    let written = taken_out(opened, grant, outbox, &numbers).and_then(|text| {
        let wrote = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if wrote.is_err() {
            // That they were taken out was written down before.
            let failed = |n: &u64| event(opened, grant, AuditAction::Export, None, "export", *n).refused();
            outbox.append_audit(&numbers.iter().map(failed).collect::<Vec<_>>())?;
        }
        Ok(wrote?)
    });
    if written.is_err() {
        // One that holds nothing, or a part, would pass for the whole and stand in the way of the next.
        let _ = std::fs::remove_file(path);
    }
    written?;
    warn();
    Ok(Outcome::Done)
}

fn warn() {
    say_error("this is health data: keep it where only those who may read it can, and delete it after use");
}

/// The entries as JSON, each written into the audit log.
fn taken_out(opened: &StateDir, grant: &Grant, outbox: &Outbox, numbers: &[u64]) -> anyhow::Result<String> {
    let event = |n, patient| vec![event(opened, grant, AuditAction::Export, patient, "export", n)];
    let exported: Vec<Exported> = outbox.export(numbers, event)?;
    let written: Vec<Written<'_>> = exported
        .iter()
        .map(|entry| {
            anyhow::Ok(Written {
                incarnation: entry.name.incarnation.to_string(),
                n: entry.name.n,
                made_at: entry.made_at.to_string(),
                rejected_because: entry.reason.as_deref(),
                sha256: entry.sha256.to_string(),
                payload: serde_json::from_str(&entry.payload)?,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(serde_json::to_string(&written)?)
}

fn private_file(path: &Path) -> anyhow::Result<std::fs::File> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.with_context(|| format!("cannot make {}: name a file that is not there yet", path.display()))
}

fn event(
    opened: &StateDir,
    grant: &Grant,
    action: AuditAction,
    patient: Option<PatientId>,
    command: &str,
    n: u64,
) -> AuditEvent {
    let event = audit::event(&opened.clock, grant, AuditEventType::PhiAccess, action, "change");
    let endpoint = Some(format!("carepost-agent queue {command}"));
    AuditEvent { patient_id: patient, endpoint, ..event }.detail("n", n)
}
