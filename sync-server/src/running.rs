//! One server for one state directory: what must not meet a running server can tell.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use carepost_host::files;

/// Why the state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RunningError {
    /// A server runs on it.
    #[error("a server runs on {0}; stop it first")]
    Taken(PathBuf),
    /// The lock's file cannot be opened.
    #[error("{path}: {fault}; run `carepost-server init`, or check who owns the folder")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        fault: std::io::Error,
    },
}

/// The state directory is this process's while this lives; the system gives it back when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct Running {
    _lock: File,
}

impl Running {
    /// Takes the state directory.
    ///
    /// # Errors
    /// [`RunningError`].
    pub fn on(state_dir: &Path) -> Result<Self, RunningError> {
        let path = state_dir.join("server.lock");
        let file = open(&path).map_err(|fault| RunningError::File { path: path.clone(), fault })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(RunningError::Taken(state_dir.to_owned())),
            Err(TryLockError::Error(fault)) => Err(RunningError::File { path, fault }),
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
        let first = Running::on(folder.path()).unwrap();
        assert!(matches!(Running::on(folder.path()), Err(RunningError::Taken(_))));
        drop(first);
        Running::on(folder.path()).unwrap();
        let nowhere = folder.path().join("nowhere");
        assert!(matches!(Running::on(&nowhere), Err(RunningError::File { .. })));
    }
}
