//! What SQLite did to the files of a directory, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A file's name in its directory.
pub(crate) type Name = Arc<str>;

/// One operation that succeeded, or a sync that failed.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The file was opened and had not been there.
    Made(Name),
    Wrote {
        file: Name,
        offset: usize,
        bytes: Box<[u8]>,
    },
    Truncated {
        file: Name,
        size: usize,
    },
    Synced {
        file: Name,
        directory: bool,
    },
    NotSynced(Name),
    Deleted {
        file: Name,
        directory: bool,
    },
}

/// The files as they lay when watching began, and every operation since.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    pub(crate) before: BTreeMap<Name, Vec<u8>>,
    pub(crate) events: Vec<Event>,
}

impl Recording {
    /// How many moments there are to cut at, but for the one before everything: after each operation.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The moments just before a sync: most is at stake there.
    pub fn before_syncs(&self) -> impl Iterator<Item = usize> {
        let syncs = self.events.iter().enumerate();
        syncs.filter(|(_, event)| matches!(event, Event::Synced { .. })).map(|(at, _)| at)
    }
}
