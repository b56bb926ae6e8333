//! A copy of the state directory, for commands that only look: opening makes what is missing and mends what is
//! damaged, and that is for the agent to do.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use carepost_protocol::hex::hex;

use crate::clock::Clock;

/// Removed when it is dropped. It opens on this device alone, like what it is a copy of.
pub(super) struct StateCopy {
    path: PathBuf,
    of: PathBuf,
}

impl StateCopy {
    /// Copies a directory that no agent has open.
    ///
    /// # Errors
    /// When something in it cannot be read, which is named.
    pub(super) fn at(directory: &Path) -> anyhow::Result<Self> {
        let named = |path: &Path| path.display().to_string();
        let name = format!("carepost-doctor-{}", hex(&Clock::new(None).random::<8>()));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).with_context(|| named(&path))?;
        let copy = Self { path, of: directory.to_owned() };
        for entry in std::fs::read_dir(directory).with_context(|| named(directory))? {
            let entry = entry?;
            copied(&entry.path(), &copy.path.join(entry.file_name()))
                .with_context(|| named(&entry.path()))?;
        }
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was said of the copy, of the directory itself.
    pub(super) fn of_itself(&self, words: &str) -> String {
        words.replace(&self.path.display().to_string(), &self.of.display().to_string())
    }
}

/// A directory stays one, and empty, and a link that leads nowhere stays that: in the place of a file it is what keeps
/// the agent from opening it.
fn copied(from: &Path, to: &Path) -> io::Result<()> {
    let kind = match std::fs::metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return std::os::unix::fs::symlink(std::fs::read_link(from)?, to);
        }
        found => found?.file_type(),
    };
    if kind.is_dir() {
        return DirBuilder::new().mode(0o700).create(to);
    }
    if kind.is_file() {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

impl Drop for StateCopy {
    fn drop(&mut self) {
        // What stays opens nowhere else, and goes with the next start of the machine.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
