//! `make soak`: a device with a million entries after a week offline, and what it takes to send them.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use carepost_tests::soak::{Plan, Soak};
use clap::Parser;

/// Fills the outbox of a real agent, lets it send everything to a real server, and counts what arrived.
#[derive(Debug, Parser)]
struct Options {
    /// Care changes that wait.
    #[arg(long, default_value_t = 200_000)]
    care: usize,
    /// Read-audit events that wait with each of them.
    #[arg(long, default_value_t = 4)]
    audit_each: usize,
    /// Minutes until it gives up.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let Options { care, audit_each, minutes } = Options::parse();
    let plan = Plan { care, audit_each, patience: Duration::from_secs(minutes * 60) };
    let all = care * (1 + audit_each);
    println!("filling an outbox with {all} entries: {care} care changes, {audit_each} audit events each ...");
    let (mut soak, filled) = Soak::prepare(plan).await?;
    println!("filled in {:.0} s (in memory, then put on the disk); draining ...", filled.as_secs_f64());
    let took = soak.drain().await?;
    #[allow(clippy::cast_precision_loss)]
    let count = all as f64;
    println!("drained in     {:10.1} s: {:.0} entries per second", took.seconds, count / took.seconds);
    println!(
        "agent          {:10.1} us of CPU per entry, {:.0} MiB at most",
        took.agent_cpu * 1e6 / count,
        took.agent_peak
    );
    println!(
        "server         {:10.1} us of CPU per entry, {:.0} MiB at most ({:.0} before)",
        took.server_cpu * 1e6 / count,
        took.server_peak,
        took.server_before
    );
    #[allow(clippy::cast_precision_loss)]
    let (up, down) = (took.bytes.0 as f64, took.bytes.1 as f64);
    println!(
        "bytes          {:10.1} up per entry, {:.1} down; the outbox's file had {:.0} MiB",
        up / count,
        down / count,
        took.file
    );
    let (care, audit) = soak.tally().await?;
    let mut clean = true;
    for (lane, tally) in [("care", care), ("audit", audit)] {
        let (lost, doubled, strange) = tally.lost_doubled_strange();
        println!("{lane:14} {lost} lost, {doubled} doubled, {strange} that nobody made");
        clean &= (lost, doubled, strange) == (0, 0, 0);
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
