//! The directories that are watched, and what befalls their files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::ffi;

use crate::recording::{Event, Name, Recording};
use crate::shim;

static WATCHED: Mutex<BTreeMap<PathBuf, Weak<State>>> = Mutex::new(BTreeMap::new());

/// What an operation is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// EIO from whatever changes something: writes, syncs, truncations, files made, opened, deleted.
    Broken,
    /// EIO from reads.
    Unreadable,
    /// ENOSPC: there is no room. Only what takes room is counted: writes, new files, the WAL's index.
    Full,
}

/// Which operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// How.
    pub trouble: Trouble,
    /// How many operations succeed before.
    pub after: usize,
    /// Whether all that come after it fail as well.
    pub lasting: bool,
}

/// An eye on the SQLite files that lie directly in a directory, until it is dropped. Several
/// directories can be watched at a time.
#[derive(Debug)]
pub struct Watch {
    state: Arc<State>,
}

/// A kind of operation that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Make,
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    Delete,
    Index,
}

#[derive(Debug)]
pub(crate) struct State {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    recording: Recording,
    there: BTreeSet<Name>,
    fault: Option<Armed>,
    weakened: bool,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    passed: usize,
    struck: bool,
}

impl Watch {
    /// Watches a directory; what lies in it now is taken as synced. From the first call on the shim is
    /// the process's default VFS, so call it before anything opens a database there.
    ///
    /// # Panics
    /// When the directory cannot be read, or SQLite refuses the VFS.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that is not watched would prove nothing")]
    pub fn over(directory: &Path) -> Self {
        shim::install();
        let before = match lying_in(directory) {
            Ok(before) => before,
            Err(error) => panic!("{}: {error}", directory.display()),
        };
        let there = before.keys().cloned().collect();
        let recording = Recording { before, events: Vec::new() };
        let inner = Inner { recording, there, fault: None, weakened: false };
        let state = Arc::new(State { inner: Mutex::new(inner) });
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        watched().insert(directory, Arc::downgrade(&state));
        Self { state }
    }

    /// How many operations have happened: the moment now, in a [`Recording`].
    #[must_use]
    pub fn moment(&self) -> usize {
        self.state.inner().recording.events.len()
    }

    /// What has happened so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.state.inner().recording.clone()
    }

    /// From now on an operation fails, as the fault says, counted from here.
    pub fn fail(&self, fault: Fault) {
        self.state.inner().fault = Some(Armed { fault, passed: 0, struck: false });
    }

    /// No operation fails any more. Says whether one did.
    pub fn mend(&self) -> bool {
        self.state.inner().fault.take().is_some_and(|armed| armed.struck)
    }

    /// Connections that are opened from now on and ask for `synchronous = FULL` get NORMAL: the
    /// control that must lose acknowledged rows in power cuts.
    pub fn weaken(&self) {
        self.state.inner().weakened = true;
    }
}

impl State {
    pub(crate) fn is_weakened(&self) -> bool {
        self.inner().weakened
    }

    /// Whether the file is there, as far as SQLite has seen.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.inner().there.contains(name)
    }

    /// The code with which the operation fails, when it is to fail.
    pub(crate) fn trouble(&self, operation: Operation) -> Option<c_int> {
        let mut inner = self.inner();
        let armed = inner.fault.as_mut()?;
        let code = code(armed.fault.trouble, operation)?;
        let at = armed.passed;
        armed.passed += 1;
        let fails = at == armed.fault.after || (armed.fault.lasting && at > armed.fault.after);
        armed.struck |= fails;
        fails.then_some(code)
    }

    pub(crate) fn note(&self, event: Event) {
        let mut inner = self.inner();
        match &event {
            Event::Made(name) => {
                inner.there.insert(name.clone());
            }
            Event::Deleted { file, .. } => {
                inner.there.remove(file);
            }
            Event::Wrote { .. } | Event::Truncated { .. } | Event::Synced { .. } | Event::NotSynced(_) => {}
        }
        inner.recording.events.push(event);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who watches the file at this path, and its name there.
pub(crate) fn watching(path: &Path) -> Option<(Arc<State>, Name)> {
    let state = watched().get(path.parent()?)?.upgrade()?;
    Some((state, path.file_name()?.to_str()?.into()))
}

fn watched() -> MutexGuard<'static, BTreeMap<PathBuf, Weak<State>>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lying_in(directory: &Path) -> std::io::Result<BTreeMap<Name, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str()
            && !name.ends_with("-shm")
        {
            files.insert(name.into(), std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// None for an operation that such trouble does not reach.
fn code(trouble: Trouble, operation: Operation) -> Option<c_int> {
    let broken = match operation {
        Operation::Make | Operation::Open => ffi::SQLITE_CANTOPEN,
        Operation::Read => ffi::SQLITE_IOERR_READ,
        Operation::Write => ffi::SQLITE_IOERR_WRITE,
        Operation::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
        Operation::Sync => ffi::SQLITE_IOERR_FSYNC,
        Operation::Delete => ffi::SQLITE_IOERR_DELETE,
        Operation::Index => ffi::SQLITE_IOERR_SHMMAP,
    };
    match trouble {
        Trouble::Broken => (operation != Operation::Read).then_some(broken),
        Trouble::Unreadable => (operation == Operation::Read).then_some(broken),
        Trouble::Full if operation == Operation::Write => Some(ffi::SQLITE_FULL),
        Trouble::Full if operation == Operation::Index => Some(ffi::SQLITE_IOERR_SHMSIZE),
        Trouble::Full => (operation == Operation::Make).then_some(broken),
    }
}
