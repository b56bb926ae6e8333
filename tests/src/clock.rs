//! A program's wall clock, in the test's hands: libfaketime tells it another time than the machine's,
//! and leaves monotonic time alone, as on a device whose clock is wrong.
//!
//! A program that is started in a folder with a file `clock` lives by it; writing the file anew sets the
//! clock of the program that runs.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// Sets the clock of what is, or will be, started in that folder: so many seconds after 1970. From there
/// it goes on.
///
/// # Errors
/// When libfaketime is not installed, or the file cannot be written.
pub fn set(folder: &Path, unix: i64) -> Result<()> {
    library()?;
    std::fs::create_dir_all(folder)?;
    let off = unix - now()?;
    // Moved into its place: the program reads it each time it asks what time it is.
    let half = folder.join("clock.half");
    std::fs::write(&half, format!("{off:+}"))?;
    Ok(std::fs::rename(half, folder.join("clock"))?)
}

/// Gives the folder's next program the machine's clock again.
///
/// # Errors
/// When the file cannot be removed.
pub fn right(folder: &Path) -> Result<()> {
    Ok(std::fs::remove_file(folder.join("clock"))?)
}

/// What time it is, in seconds after 1970.
///
/// # Errors
/// When the machine's clock is before that.
pub fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

/// What a program needs in its environment to live by the folder's clock; nothing where there is none.
#[must_use]
pub fn environment(folder: &Path) -> Vec<(&'static str, String)> {
    let file = folder.join("clock");
    let Some(library) = library().ok().filter(|_| file.exists()) else { return Vec::new() };
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

fn library() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|it| it.is_file());
    found.context("libfaketime is not installed: run ./bootstrap.sh clock")
}
