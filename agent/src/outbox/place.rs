//! Where the outbox lies: what is saved in a file to which no path leads any more is gone with the process.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Outbox, OutboxError};

/// The path of the outbox, and which file was there when it was opened; none where that cannot be told.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), file: file_at(path) }
    }
}

impl Outbox {
    /// Whether the path leads to the file that is open.
    ///
    /// # Errors
    /// [`OutboxError::Moved`] when it does not.
    pub fn in_place(&self) -> Result<(), OutboxError> {
        let Place { path, file } = &self.place;
        if file.is_none() || file_at(path) == *file {
            return Ok(());
        }
        Err(OutboxError::Moved { path: path.clone() })
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
