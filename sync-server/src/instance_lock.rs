//! The instance lock: a file in the state directory that one process at a time has locked. So one server runs on it,
//! and what must not meet a running server can tell.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use carepost_host::files;

/// Why the state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InstanceLockError {
    /// A server runs on it.
    #[error("a server runs on {0}; stop it first")]
    Taken(PathBuf),
    /// The lock's file cannot be opened.
    #[error("{path}: {fault}; run `carepost-server init`, or check who owns the folder")]
    File {
        path: PathBuf,
        /// Why not.
        fault: std::io::Error,
    },
}

/// The state directory is this process's while this lives; the system gives it back when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct InstanceLock {
    _lock: File,
}

impl InstanceLock {
    /// Takes the state directory.
    ///
    /// # Errors
    /// [`InstanceLockError`].
    pub fn acquire(state_dir: &Path) -> Result<Self, InstanceLockError> {
        let path = state_dir.join("server.lock");
        let file = open(&path).map_err(|fault| InstanceLockError::File { path: path.clone(), fault })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(InstanceLockError::Taken(state_dir.to_owned())),
            Err(TryLockError::Error(fault)) => Err(InstanceLockError::File { path, fault }),
        }
    }
}

/// Whoever made the file, root or the server's own user: to lock it, reading is enough, so nobody else may.
fn open(path: &Path) -> std::io::Result<File> {
    // One of root's, made by a build that let everybody read it, is not this user's to close.
    let made = files::make_private(path);
    File::open(path).map_err(|fault| made.err().unwrap_or(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_one_servers_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = InstanceLock::acquire(folder.path()).unwrap();
        assert!(matches!(InstanceLock::acquire(folder.path()), Err(InstanceLockError::Taken(_))));
        drop(first);
        InstanceLock::acquire(folder.path()).unwrap();
        let nowhere = folder.path().join("nowhere");
        assert!(matches!(InstanceLock::acquire(&nowhere), Err(InstanceLockError::File { .. })));
    }
}
