//! SQLite, encrypted: one thread writes and commits for all who wait, several read.
//!
//! Work arrives as closures over a [`Tx`]. It runs under the reach it was sent with, the writer's in a
//! savepoint of its own, and is answered only when the group's commit is durable. Work that fails or
//! breaks off is rolled back alone.

mod connection;
mod copy;
mod migrate;
mod readers;
mod security;
mod writer;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::time::Timestamp;
use rusqlite::{CachedStatement, Connection, Params, Row};

use super::identities::{self, Identities};
use super::revoked::StaffMoves;
use super::{Ambient, DatabaseKey, StoreError};
use crate::feed::Feeds;
use crate::scope::FacilityScope;
use connection::{Purpose, Source, fold};
use readers::Readers;
use security::ReachCell;
use writer::Writer;

pub(super) use copy::{copy, settle};
pub(super) use security::Reach;

/// The database: where work is sent.
#[derive(Debug)]
pub(super) struct Engine {
    writer: Writer,
    readers: Readers,
}

/// Who hears of a commit, before whoever asked for it does.
#[derive(Debug)]
pub(super) struct Hears {
    pub(super) feeds: Arc<Feeds>,
    pub(super) identities: Arc<Identities>,
    pub(super) staff_moves: Arc<StaffMoves>,
    pub(super) fullness: Arc<Fullness>,
}

/// When a write last failed for want of room.
#[derive(Debug, Default)]
pub(super) struct Fullness(Mutex<Option<Timestamp>>);

impl Fullness {
    fn note(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether that is less than a while ago: then the next write fails too, as far as anybody knows.
    pub(super) fn within(&self, a_while: Duration, now: Timestamp) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last <= now && now.since(last) < a_while)
    }
}

/// What the outside hears of a commit.
#[derive(Debug, Clone, Copy)]
enum Event {
    Moved(FacilityId, u64),
    StaffMoved(FacilityId),
    Refused(DeviceId),
}

/// A transaction, as a piece of work sees it.
pub(super) struct Tx<'a> {
    connection: &'a Connection,
    reach: &'a ReachCell,
    ambient: &'a Ambient,
    events: RefCell<Vec<Event>>,
    /// Whether something was written that identities are read from.
    concerned: Cell<bool>,
    /// When the transaction began, by the store's own clock: a simulation tells the same story again.
    began: Timestamp,
}

/// How long the writer works on one transaction before it commits. Work that could take longer is done in
/// portions that ask [`Tx::is_spent`]; all other work is bounded far below this.
const GROUP_TIME: Duration = Duration::from_millis(40);

impl Engine {
    /// Opens or creates the file; it may grow to `max_pages` pages of 4096 bytes.
    pub(super) fn open(
        path: &Path,
        key: &DatabaseKey,
        ambient: &Ambient,
        max_pages: Option<u32>,
        hears: Hears,
    ) -> Result<Self, StoreError> {
        let writer = Writer::start(Source::new(path, key, ambient, Purpose::Write { max_pages }), hears)?;
        let readers = Readers::start(path, key, ambient)?;
        Ok(Self { writer, readers })
    }

    /// Runs work on a reader, in a transaction that sees one state of the database.
    pub(super) async fn read<T, F>(&self, reach: Reach, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.readers.run(reach, work).await
    }

    /// Runs work on the writer; the answer comes when it is durable.
    pub(super) async fn write<T, F>(&self, reach: Reach, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run(reach, work).await
    }

    /// As [`Self::write`], for a thread that may block.
    pub(super) fn write_blocking<T, F>(&self, reach: Reach, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run_blocking(reach, work)
    }

    /// Finishes what waits, then stops. Blocks. The writer is the last to close, and folds the WAL: the
    /// file alone holds every commit then.
    pub(super) fn close(&self) {
        self.readers.close();
        self.writer.close();
    }
}

/// Runs work in one transaction on a file that a running server may have open as well.
///
/// # Errors
/// As [`Engine::open`]; [`StoreError::Older`] for a file that has to be migrated first.
pub(super) fn beside<T>(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    alone(path, key, ambient, Purpose::Beside, "BEGIN IMMEDIATE", work)
}

/// Reads one state of a file that a running server may have open as well, and holds nobody up.
///
/// # Errors
/// As [`beside`].
pub(super) fn observed<T>(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    alone(path, key, ambient, Purpose::Beside, "BEGIN", work)
}

/// Runs work in one transaction on a file that nobody else has open, once it is migrated.
///
/// # Errors
/// As [`Engine::open`].
pub(super) fn migrated<T>(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    alone(path, key, ambient, Purpose::Write { max_pages: None }, "BEGIN IMMEDIATE", work)
}

fn alone<T>(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    purpose: Purpose,
    begin: &'static str,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let source = Source::new(path, key, ambient, purpose);
    let connection = source.open()?;
    let tx = Tx::new(&connection, &source.reach, ambient);
    tx.execute(begin, [])?;
    let done = work(&tx);
    tx.execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }, [])?;
    if connection.total_changes() > 0 {
        fold(connection, "PRAGMA wal_checkpoint(PASSIVE)");
    }
    done
}

impl<'a> Tx<'a> {
    fn new(connection: &'a Connection, reach: &'a ReachCell, ambient: &'a Ambient) -> Self {
        let (events, concerned, began) = (RefCell::new(Vec::new()), Cell::new(false), ambient.now());
        Self { connection, reach, ambient, events, concerned, began }
    }

    /// A statement, prepared once for each connection.
    pub(super) fn prepare(&self, sql: &'static str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// Runs a statement; gives how many rows were written, those of triggers included, because a
    /// view's own count is always zero.
    pub(super) fn execute(&self, sql: &'static str, params: impl Params) -> Result<u64, StoreError> {
        if identities::concerns(sql) {
            self.concerned.set(true);
        }
        let before = self.connection.total_changes();
        self.prepare(sql)?.execute(params)?;
        Ok(self.connection.total_changes().saturating_sub(before))
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        Ok(rows.next()?.map(read).transpose()?)
    }

    /// Every row.
    pub(super) fn all<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Runs a part under another reach: a facility of the organization, or the system on behalf of
    /// `system.rs` and `enrollment.rs`.
    pub(super) fn within<T>(
        &self,
        reach: Reach,
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let before = self.reach.get();
        self.reach.set(reach);
        let done = part(self);
        self.reach.set(before);
        done
    }

    /// Runs a part in one facility of the organization whose scope this is.
    pub(super) fn within_facility<T>(
        &self,
        facility: FacilityId,
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let scope = match self.reach.get() {
            Reach::Organization(scope) => scope.enter(facility),
            Reach::Facility(scope) => (scope.facility() == facility).then_some(scope),
            Reach::Nothing | Reach::System => None,
        };
        self.within(Reach::Facility(scope.ok_or(StoreError::NotFound("facility"))?), part)
    }

    /// Whose rows this reaches.
    pub(super) fn reach(&self) -> Reach {
        self.reach.get()
    }

    /// The facility whose scope this is.
    pub(super) fn facility_scope(&self) -> Result<FacilityScope, StoreError> {
        match self.reach.get() {
            Reach::Facility(scope) => Ok(scope),
            Reach::Organization(_) | Reach::Nothing | Reach::System => Err(StoreError::NotFound("facility")),
        }
    }

    /// Runs a part in a savepoint: what it wrote is undone when it fails.
    pub(super) fn savepoint<T>(
        &self,
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.undoable(["SAVEPOINT part", "ROLLBACK TO part", "RELEASE part"], part)
    }

    /// Runs a whole piece of work in a savepoint. It has a name of its own: going back to it undoes the
    /// parts inside too, even one that broke off half-way.
    fn job<T>(&self, work: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.undoable(["SAVEPOINT job", "ROLLBACK TO job", "RELEASE job"], work)
    }

    fn undoable<T>(
        &self,
        [begin, undo, end]: [&'static str; 3],
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let events = self.events.borrow().len();
        self.execute(begin, [])?;
        let done = part(self);
        // Some failures end the whole transaction; then there is nothing to go back to.
        if done.is_err() && !self.connection.is_autocommit() {
            self.execute(undo, [])?;
            self.events.borrow_mut().truncate(events);
        }
        if !self.connection.is_autocommit() {
            self.execute(end, [])?;
        }
        done
    }

    /// Whether the transaction has had its time: who has more to do commits, and goes on in another, so
    /// that whoever waits comes in between. A clock that is set back meanwhile does not tell; the count of
    /// what a portion takes bounds it then.
    pub(super) fn is_spent(&self) -> bool {
        self.now().since(self.began) >= GROUP_TIME
    }

    /// Now, on the server's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    /// Random bytes.
    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        self.ambient.random()
    }

    /// Announces, once this is committed, that a facility's feed has reached `seq`.
    pub(super) fn moved(&self, facility: FacilityId, seq: u64) {
        self.events.borrow_mut().push(Event::Moved(facility, seq));
    }

    /// Announces, once this is committed, that a facility's staff or badges changed, or its epoch.
    pub(super) fn staff_moved(&self, facility: FacilityId) {
        self.events.borrow_mut().push(Event::StaffMoved(facility));
    }

    /// Announces, once this is committed, that a device's key is refused.
    pub(super) fn refused(&self, device: DeviceId) {
        self.events.borrow_mut().push(Event::Refused(device));
    }
}
