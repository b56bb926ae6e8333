//! The log: one line an event on standard error, with its level and its fields.

use std::os::unix::fs::MetadataExt as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// Begins the log, which goes to standard error; `CAREPOST_LOG` says of what. Where standard error is the journal,
/// which stamps each line itself, lines bear no time.
pub fn start() {
    let filter = std::env::var("CAREPOST_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter.and_then(|text| text.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = if is_journal() { lines.without_time().boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

/// As systemd says it: by the device and inode of the stream.
fn is_journal() -> bool {
    let here = std::fs::metadata("/proc/self/fd/2").map(|it| format!("{}:{}", it.dev(), it.ino()));
    std::env::var("JOURNAL_STREAM").is_ok_and(|journal| here.is_ok_and(|here| here == journal))
}
