//! The server's truth: one encrypted SQLite file, one writer that commits in groups, many readers.
//!
//! Three handles reach it. [`FacilityStore`] and [`OrganizationStore`] work within a scope and take no
//! tenant argument; [`SystemStore`] is for what no scope can do, and its methods are listed in one
//! file. Row security is the engine's: see [`engine`].

mod engine;
mod error;
mod facility;
mod organization;
mod rows;
mod system;

use std::path::Path;
use std::sync::Arc;

use carepost_protocol::time::Timestamp;
use zeroize::Zeroizing;

use crate::feed::Feeds;
use crate::scope::{FacilityScope, OrganizationScope};

pub use error::StoreError;
pub use facility::FacilityStore;
pub use organization::OrganizationStore;
pub use rows::*;
pub use system::SystemStore;

/// The raw 256-bit key of the database file.
#[derive(Clone)]
pub struct DatabaseKey(Zeroizing<[u8; 32]>);

impl DatabaseKey {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for DatabaseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseKey([secret])")
    }
}

/// The clock and the random source of the server: tests bring their own.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    random: Arc<dyn Fn(&mut [u8]) -> bool + Send + Sync>,
}

impl Ambient {
    /// From the process's clock, and from what fills a slice with random bytes and says whether it
    /// could.
    pub fn new(
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        random: impl Fn(&mut [u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Arc::new(clock), random: Arc::new(random) }
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        if (self.random)(&mut bytes) { Ok(bytes) } else { Err(StoreError::NoRandomness) }
    }
}

impl std::fmt::Debug for Ambient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ambient")
    }
}

/// The store. Cloning it is cheap and gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens the database at `path` with its key, creating and migrating it as needed. Blocks.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`], [`StoreError::Newer`], or what the engine says.
    pub fn open(path: &Path, key: &DatabaseKey, ambient: Ambient) -> Result<Self, StoreError> {
        todo!()
    }

    /// Work within one facility.
    #[must_use]
    pub fn facility(&self, scope: &FacilityScope) -> FacilityStore {
        todo!()
    }

    /// Work within one organization.
    #[must_use]
    pub fn organization(&self, scope: &OrganizationScope) -> OrganizationStore {
        todo!()
    }

    /// Work across scopes.
    #[must_use]
    pub fn system(&self) -> SystemStore {
        todo!()
    }

    /// Where live streams listen.
    #[must_use]
    pub fn feeds(&self) -> &Feeds {
        todo!()
    }

    /// Writes what is only in memory (heartbeats), then stops the writer and the readers; what comes
    /// after answers [`StoreError::Closed`]. Blocks until all is durable.
    pub fn close(&self) {
        todo!()
    }
}
