//! Where the outbox lies: what is saved in a file to which no path leads any more is gone with the process.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Outbox, OutboxError};
use crate::sqlite::sidecar;

/// The paths of the outbox and of its `-wal`, and which files were there when it was opened, where that could be told.
/// SQLite makes the `-wal` as it opens the outbox, and nobody but the last one to close that removes it.
#[derive(Debug)]
pub(super) struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    /// Of an outbox that is open.
    pub(super) fn of(path: &Path) -> Self {
        let paths = ["", "-wal"].map(|suffix| sidecar(path, suffix));
        let files = paths.map(|path| file_at(&path).map(|file| (path, file)));
        Self(files.into_iter().flatten().collect())
    }
}

impl Outbox {
    /// Whether the paths lead to the files that are open. Where that cannot be told they do: nobody is kept from
    /// charting by a disk that does not say what lies there.
    ///
    /// # Errors
    /// [`OutboxError::Moved`] when one does not.
    pub fn in_place(&self) -> Result<(), OutboxError> {
        let moved = self.place.0.iter().find(|(path, file)| match file_at(path) {
            Ok(there) => there != *file,
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        });
        moved.map_or(Ok(()), |(path, _)| Err(OutboxError::Moved { path: path.clone() }))
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
