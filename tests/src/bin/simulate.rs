//! Tells many stories of sync, or one of them again (see `carepost_tests::simulation`).
//!
//! `make simulate SEEDS=2000` tells two thousand; `make simulate SEED=17` tells one, line by line, twice,
//! and compares.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use carepost_tests::simulation::{Template, sweep, tell, workspace};
use clap::Parser;

/// Simulates facilities whose networks, devices and clocks fail, and checks that nothing is lost.
#[derive(Debug, Parser)]
struct Options {
    /// How many stories, each with a seed of its own.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Tell this one only, line by line, and again.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let template = Template::new()?;
    if let Some(seed) = options.seed {
        return replay(&template, seed);
    }
    let began = Instant::now();
    let told = sweep(&template, options.from..options.from + options.seeds, None)?;
    let seconds = began.elapsed().as_secs_f64();
    let (events, saved) =
        told.iter().fold((0, 0), |(events, saved), (_, story)| (events + story.events, saved + story.saved));
    println!(
        "{} seeds in {seconds:.1} s: {:.1} seeds per second, {events} events, {saved} changes saved",
        told.len(),
        f64::from(u32::try_from(told.len())?) / seconds,
    );
    let mut bad = 0;
    for (seed, story) in told.iter().filter(|(_, story)| !story.violations.is_empty()) {
        bad += 1;
        println!("seed {seed}:");
        story.violations.iter().for_each(|violation| println!("    {violation}"));
    }
    if bad > 0 {
        println!("{bad} of them went wrong. Tell one again with: make simulate SEED=n");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(template: &Template, seed: u64) -> Result<ExitCode> {
    let (first, second) = (workspace()?, workspace()?);
    let story = tell(template, first.path(), seed, None, true)?;
    let again = tell(template, second.path(), seed, None, false)?;
    story.lines.iter().for_each(|line| println!("{line}"));
    println!("trace {:016x}, told again {:016x}", story.trace, again.trace);
    story.violations.iter().for_each(|violation| println!("wrong: {violation}"));
    let well = story.violations.is_empty() && story.trace == again.trace;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
