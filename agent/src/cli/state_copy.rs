//! A copy of the state directory, for commands that only look: opening makes what is missing and mends what is
//! damaged, and that is for the agent to do.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use carepost_host::files;
use carepost_protocol::hex::hex;

use crate::clock::Clock;
use crate::mirror::RESERVE_MIB;

const MIB: u64 = 1024 * 1024;

/// Removed when it is dropped. It opens on this device alone, like what it is a copy of.
pub(super) struct StateCopy {
    path: PathBuf,
    of: PathBuf,
}

impl StateCopy {
    /// A place for a copy of a directory that no agent has open.
    ///
    /// # Errors
    /// When there is none among the temporary files, which says nothing of the directory.
    pub(super) fn begun(directory: &Path) -> anyhow::Result<Self> {
        let path = place_for(directory)
            .context("not looked at, as no copy of it can be made; set TMPDIR to a folder with room")?;
        Ok(Self { path, of: directory.to_owned() })
    }

    /// The copy, made.
    ///
    /// # Errors
    /// When something in the directory cannot be read, which is named.
    pub(super) fn made(self) -> anyhow::Result<Self> {
        for entry in std::fs::read_dir(&self.of).with_context(|| named(&self.of))? {
            let entry = entry?;
            copied(&entry.path(), &self.path.join(entry.file_name()))
                .with_context(|| named(&entry.path()))?;
        }
        Ok(self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was said of the copy, of the directory itself.
    pub(super) fn of_itself(&self, words: &str) -> String {
        words.replace(&self.path.display().to_string(), &self.of.display().to_string())
    }
}

/// An empty directory of this user's alone, where there is room for what is in that one, and for what the agent needs
/// beside it.
fn place_for(directory: &Path) -> anyhow::Result<PathBuf> {
    let among = std::env::temp_dir();
    let needed = takes(directory).div_ceil(MIB) + RESERVE_MIB;
    let has = files::room(&among).with_context(|| named(&among))? / MIB;
    anyhow::ensure!(
        has >= needed,
        "it takes up to {needed} MiB, {RESERVE_MIB} of which stay free, and {} has {has}",
        among.display()
    );
    let path = among.join(format!("carepost-doctor-{}", hex(&Clock::new(None).random::<8>())));
    DirBuilder::new().mode(0o700).create(&path).with_context(|| named(&path))?;
    Ok(path)
}

/// What a copy takes at the most, also once it is opened: what its logs hold is folded in then, beside them.
fn takes(directory: &Path) -> u64 {
    let found = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = found.filter_map(|entry| {
        let size = entry.path().metadata().ok().filter(Metadata::is_file)?.len();
        let is_log = entry.file_name().as_encoded_bytes().ends_with(b"-wal");
        Some(if is_log { 2 * size } else { size })
    });
    files.sum()
}

fn named(path: &Path) -> String {
    path.display().to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_what_is_there_and_its_logs_once_more() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("mirror.db", 4_000), ("mirror.db-wal", 300), ("identity", 20)] {
            std::fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        }
        std::fs::create_dir(folder.path().join("set-aside-wal")).unwrap();
        assert_eq!(takes(folder.path()), 4_000 + 2 * 300 + 20);
    }
}
