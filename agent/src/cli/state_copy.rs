//! A copy of the state directory, for commands that only look: opening makes what is missing and mends what is
//! damaged, and that is for the agent to do.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use carepost_protocol::hex::hex;

use crate::clock::Clock;

/// Removed when it is dropped. It opens on this device alone, like what it is a copy of.
pub(super) struct StateCopy(PathBuf);

impl StateCopy {
    /// Copies a directory that no agent has open.
    pub(super) fn at(directory: &Path) -> io::Result<Self> {
        let name = format!("carepost-doctor-{}", hex(&Clock::new(None).random::<8>()));
        let copy = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&copy)?;
        let copy = Self(copy);
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), copy.0.join(entry.file_name()))?;
            }
        }
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StateCopy {
    fn drop(&mut self) {
        // What stays opens nowhere else, and goes with the next start of the machine.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
