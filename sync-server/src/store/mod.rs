//! The store: the server's truth in one encrypted SQLite file, one writer that commits in groups, many readers.
//!
//! Three handles reach it. [`FacilityStore`] and [`OrganizationStore`] work within a scope and take no
//! tenant argument; [`SystemStore`] is for what no scope can do, and its methods are listed in one
//! file (`handles`). What holds whoever asks is in `rules`. Row security is the engine's: see `engine`.

mod alike;
mod backup;
mod cache;
mod carry_over;
mod column;
mod commits;
mod crossing;
mod engine;
mod error;
mod flag;
mod handles;
mod identities;
mod listed;
mod model;
mod presence;
mod row;
mod rules;
#[cfg(test)]
mod tests;
mod verify;
mod version;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use carepost_protocol::time::Timestamp;
use zeroize::Zeroizing;

use crate::feed::Feeds;
use crate::scope::{FacilityScope, OrganizationScope};
use commits::{CommitListener, Fullness};
use engine::{AccessScope, Engine, Tx};
use identities::Identities;
use presence::Presence;
use rules::enrollment;
use rules::revoked::StaffMoves;
use rules::sync_position::Prover;

pub use alike::alike;
pub use backup::{BackupError, Copied, Restored, backup, restore};
pub use engine::EngineError;
pub use error::StoreError;
pub use flag::Flag;
pub use handles::facility::FacilityStore;
pub use handles::organization::{
    AuditedWrite, OrganizationStore, Reconsidered, Stays, Struck, USERNAME_RULE, Withdrawal, is_username,
};
pub use handles::system::SystemStore;
pub use identities::DeviceIdentity;
pub use listed::{Anchor, Listed, Paging, SortKeys};
pub use model::*;
pub use presence::Retention;
pub use rules::audit::{AuditPlace, AuditQuery, Audited};
pub use rules::budget::warning;
pub use rules::changes::{ChangePlace, KeptChange};
pub use rules::chart::{ChartPage, ChartPlace};
pub use rules::idempotency::{IdempotencyState, IdempotentRequest};
pub use rules::older::OlderRequest;
pub use rules::page::{PageRequest, RefetchRequest};
pub use rules::push::Batch;
pub use rules::review::ReviewPlace;
pub use rules::sign_in::{Login, unlock};
pub use rules::view::View;
pub use verify::{Fault, Missing, Verified, What, verify};
pub use version::{Expected, Version, Versioned};

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

/// Fills a slice with random bytes, and says whether it could.
type Fill = dyn Fn(&mut [u8]) -> bool + Send + Sync;

/// The clock and the random source of the server: tests bring their own.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    random: Arc<Fill>,
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
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    presence: Arc<Presence>,
    presence_thread: Mutex<Option<JoinHandle<()>>>,
    feeds: Arc<Feeds>,
    identities: Arc<Identities>,
    prover: Arc<Prover>,
    staff_moves: Arc<StaffMoves>,
    fullness: Arc<Fullness>,
    code_attempts: enrollment::CodeAttempts,
    ambient: Ambient,
}

impl Store {
    /// Opens the database at `path` with its key, creating and migrating it as needed. Blocks.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`], [`StoreError::Newer`], or what the engine says.
    pub fn open(path: &Path, key: &DatabaseKey, ambient: Ambient) -> Result<Self, StoreError> {
        Self::open_limited(path, key, ambient, None)
    }

    /// As [`Self::open`], with a file that may grow to so many pages of 4096 bytes and no further:
    /// beyond that, writes answer [`StoreError::Full`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_limited(
        path: &Path,
        key: &DatabaseKey,
        ambient: Ambient,
        max_pages: Option<u32>,
    ) -> Result<Self, StoreError> {
        let feeds = Arc::new(Feeds::default());
        let identities = Arc::new(Identities::default());
        let staff_moves = Arc::new(StaffMoves::default());
        let fullness = Arc::new(Fullness::default());
        let listener = CommitListener {
            feeds: Arc::clone(&feeds),
            identities: Arc::clone(&identities),
            staff_moves: Arc::clone(&staff_moves),
            fullness: Arc::clone(&fullness),
        };
        let on_commit = Box::new(move |group: &_| listener.hear(group));
        let engine = Arc::new(Engine::open(path, key, &ambient, max_pages, on_commit)?);
        let presence = Arc::new(Presence::new(ambient.clone()));
        let presence_thread = Mutex::new(Some(presence.start(&engine)?));
        let inner = Inner {
            engine,
            presence,
            presence_thread,
            feeds,
            identities,
            prover: Arc::new(Prover::new(key)),
            staff_moves,
            fullness,
            code_attempts: enrollment::CodeAttempts::default(),
            ambient,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Work within one facility.
    #[must_use]
    pub fn facility(&self, scope: &FacilityScope) -> FacilityStore {
        FacilityStore::new(self.clone(), *scope)
    }

    /// Work within one organization.
    #[must_use]
    pub fn organization(&self, scope: &OrganizationScope) -> OrganizationStore {
        OrganizationStore::new(self.clone(), *scope)
    }

    /// Work across scopes.
    #[must_use]
    pub fn system(&self) -> SystemStore {
        SystemStore::new(self.clone())
    }

    /// Says for how long things stay in the feeds, from the next time they are looked after on.
    pub fn retain(&self, retention: Retention) {
        self.inner.presence.retain(retention);
    }

    /// Where live streams listen.
    #[must_use]
    pub fn feeds(&self) -> &Feeds {
        &self.inner.feeds
    }

    /// Writes what is only in memory (heartbeats), then stops the writer and the readers; what comes
    /// after answers [`StoreError::Closed`]. Blocks until all is durable.
    pub fn close(&self) {
        self.inner.close();
    }

    async fn read<T: Send + 'static>(
        &self,
        access: AccessScope,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.engine.read(access, work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        access: AccessScope,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.engine.write(access, work).await
    }

    fn now(&self) -> Timestamp {
        self.inner.ambient.now()
    }
}

impl Inner {
    fn close(&self) {
        self.presence.close();
        if let Some(thread) = self.presence_thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        self.engine.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
