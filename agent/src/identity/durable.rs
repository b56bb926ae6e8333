//! Durable files: each is there whole or not at all, whatever happens to the power.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces the content of `path`: after a crash it holds the old content or the new, never a part.
/// When this returns, the new content survives a power cut, and where it fails, nothing new is left beside the old.
/// Only the owner can read it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = directory.join(name);
    if let Err(error) = write(&fresh, content).and_then(|()| std::fs::rename(&fresh, path)) {
        // As on a full disk. What a power cut leaves, the next content takes the place of.
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    // The rename itself is only durable once the directory is.
    File::open(directory)?.sync_all()
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The content of `path`, or none when there is no such file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory, if it is not there, that only its owner can enter.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Lets nobody but its owner into a directory.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_cannot_take_its_place_is_not_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        std::fs::create_dir(&path).unwrap();
        super::replace(&path, b"new").unwrap_err();
        assert!(path.exists() && !folder.path().join("clock.new").exists());
    }
}
