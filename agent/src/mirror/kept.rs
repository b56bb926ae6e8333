//! A cache of what every page asks for and hardly ever changes: the facility and the workflows, as they were parsed. Each
//! entry that comes back makes SQLite forget the pages that it has decrypted, and to read these again cost a save as
//! much as all else that it reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carepost_protocol::record::{Collection, FacilityDocument};
use carepost_protocol::workflow::Workflow;

use super::{MirrorError, Page};

/// What was parsed, until the file may say otherwise.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How often the file may have come to say otherwise.
    changes: AtomicU64,
    pub(super) facility: Parsed<Option<Arc<FacilityDocument>>>,
    pub(super) workflows: Parsed<Arc<[Arc<Workflow>]>>,
}

/// What one read gave, and of which change it is.
#[derive(Debug)]
pub(super) struct Parsed<T>(Mutex<Option<(u64, T)>>);

impl<T> Default for Parsed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl Kept {
    /// Whether a page brings, or takes away, something that is kept here.
    pub(super) fn is_in(page: &Page) -> bool {
        page.documents().any(|it| matches!(it.collection, Collection::Facilities | Collection::Workflows))
    }

    /// The file may say otherwise from now on: call it when that is committed.
    pub(super) fn give_up(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// What is kept, or else is read, and kept.
    pub(super) fn get<T: Clone>(
        &self,
        parsed: &Parsed<T>,
        read: impl FnOnce() -> Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        // Asked before reading: what changes in between is read again.
        let now = self.changes.load(Ordering::Acquire);
        if let Some((at, kept)) = &*lock(&parsed.0)
            && *at == now
        {
            return Ok(kept.clone());
        }
        let read = read()?;
        *lock(&parsed.0) = Some((now, read.clone()));
        Ok(read)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
