//! What a running program takes: processor time and memory, as the kernel counts them.

use anyhow::{Context as _, Result};

/// User and system time of a process so far, in seconds.
///
/// # Errors
/// When it does not run.
pub fn cpu_seconds(pid: Option<u32>) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.context("it does not run")?))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("stat")?.1.split(' ').collect();
    let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(ticks / 100.0)
}

/// What of a process is in memory, in KiB.
///
/// # Errors
/// When it does not run.
pub fn rss_kib(pid: Option<u32>) -> Result<f64> {
    line(pid, "VmRSS:")
}

/// What of that is the process's own, and no file's, in KiB.
///
/// # Errors
/// When it does not run.
pub fn own_kib(pid: Option<u32>) -> Result<f64> {
    line(pid, "RssAnon:")
}

/// The most of a process that ever was in memory, in KiB.
///
/// # Errors
/// When it does not run.
pub fn peak_kib(pid: Option<u32>) -> Result<f64> {
    line(pid, "VmHWM:")
}

fn line(pid: Option<u32>, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.context("it does not run")?))?;
    let line = status.lines().find(|line| line.starts_with(name)).with_context(|| name.to_owned())?;
    Ok(line.split_whitespace().nth(1).with_context(|| name.to_owned())?.parse()?)
}
