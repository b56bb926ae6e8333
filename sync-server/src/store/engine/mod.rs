//! The database engine: one thread writes and commits for all who wait, several read. SQLite's own is in
//! `sqlite/`; nothing outside of this folder knows which engine it is.
//!
//! Work arrives as closures over a [`Tx`]. It runs under the access scope it was sent with, the writer's in a
//! savepoint of its own (the first of a group in the transaction itself), and is answered only when the
//! group's commit is durable. Work that fails or breaks off is rolled back alone.

mod error;
pub(super) mod operator;
mod readers;
mod row;
mod sqlite;
mod tables;
mod value;
mod writer;

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::time::Timestamp;

use super::crossing::Crossing;
use super::{Ambient, DatabaseKey, StoreError};
use crate::scope::FacilityScope;
use readers::Readers;
use sqlite::{Connection, Purpose, Source};
use writer::Writer;

pub use error::EngineError;
pub(super) use error::EngineErrorKind;
pub(super) use row::{Columns, FromRow};
#[cfg(test)]
pub(super) use sqlite::without_walls;
pub(super) use sqlite::{Row, copy, settle};
pub(super) use tables::AccessScope;
#[cfg(test)]
pub(super) use tables::{names as tables, of_facilities, of_system, scoped};
pub(super) use value::{FromValue, Params, ToValue, Value, params};

/// What reading a row gives.
pub(super) type Read<T> = Result<T, EngineError>;

/// The database: where work is sent.
#[derive(Debug)]
pub(super) struct Engine {
    writer: Writer,
    readers: Readers,
}

/// The access scope of an operator's command on a file.
const OPERATOR: AccessScope = AccessScope::System(Crossing::Operator(operator::KEY));

/// What reaches every row, for tests.
#[cfg(test)]
pub(super) const SYSTEM: AccessScope = OPERATOR;

/// What a piece of work announces of what it wrote.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A facility's feed has reached a `seq`.
    Moved(FacilityId, u64),
    /// A facility's staff or badges changed, or its epoch.
    StaffMoved(FacilityId),
    /// A device's key is refused.
    Refused(DeviceId),
}

/// A group of writes that was committed, or was to be.
#[derive(Debug)]
pub(super) struct Committed {
    /// Whether it is durable for sure. A commit that failed may have become so all the same.
    pub(super) is_durable: bool,
    /// Whether something was written that identities of devices are read from.
    pub(super) identities_moved: bool,
    /// When one of the writes failed for want of room.
    pub(super) was_full: Option<Timestamp>,
    /// What the work announced, in order.
    pub(super) events: Vec<Event>,
}

/// Hears of each group before whoever asked for its writes does.
pub(super) type OnCommit = Box<dyn Fn(&Committed) + Send>;

/// A transaction, as a piece of work sees it.
pub(super) struct Tx<'a> {
    connection: &'a Connection,
    ambient: &'a Ambient,
    events: RefCell<Vec<Event>>,
    identities_moved: Cell<bool>,
    /// When the transaction began, by the store's own clock: a simulation tells the same story again.
    began: Timestamp,
}

/// How long the writer works on one transaction before it commits. Work that could take longer is done in
/// portions that ask [`Tx::is_spent`]; all other work is as much as one facility has of devices, one organization of
/// forms, one user of badges, or one portion of a record's corrections, at the most.
const GROUP_TIME: Duration = Duration::from_millis(40);

impl Engine {
    /// Opens or creates the file; it may grow to `max_pages` pages of 4096 bytes.
    pub(super) fn open(
        path: &Path,
        key: &DatabaseKey,
        ambient: &Ambient,
        max_pages: Option<u32>,
        on_commit: OnCommit,
    ) -> Result<Self, StoreError> {
        let writer = Writer::start(Source::new(path, key, ambient, Purpose::Write { max_pages }), on_commit)?;
        let readers = Readers::start(path, key, ambient)?;
        Ok(Self { writer, readers })
    }

    /// Runs work on a reader, in a transaction that sees one state of the database.
    pub(super) async fn read<T, F>(&self, access: AccessScope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.readers.run(access, work).await
    }

    /// Runs work on the writer; the answer comes when it is durable.
    pub(super) async fn write<T, F>(&self, access: AccessScope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run(access, work).await
    }

    /// As [`Self::write`], for a thread that may block.
    pub(super) fn write_blocking<T, F>(&self, access: AccessScope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run_blocking(access, work)
    }

    /// Finishes what waits, then stops. Blocks. The writer is the last to close, and folds the WAL: the
    /// file alone holds every commit then.
    pub(super) fn close(&self) {
        self.readers.close();
        self.writer.close();
    }
}

/// Runs work across scopes in one transaction on a file that a running server may have open as well.
///
/// # Errors
/// As [`Engine::open`]; [`StoreError::Older`] for a file that has to be migrated first.
pub(super) fn beside<T>(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    alone(path, key, ambient, Purpose::Beside, Connection::begin, work)
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
    alone(path, key, ambient, Purpose::Beside, Connection::begin_reading, work)
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
    alone(path, key, ambient, Purpose::Write { max_pages: None }, Connection::begin, work)
}

fn alone<T>(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    purpose: Purpose,
    begin: fn(&Connection) -> Result<(), EngineError>,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let connection = Source::new(path, key, ambient, purpose).open()?;
    begin(&connection)?;
    connection.enter(OPERATOR);
    let done = work(&Tx::new(&connection, ambient));
    if done.is_ok() {
        connection.commit()?
    } else {
        connection.roll_back()?
    }
    connection.fold_beside_others();
    done
}

impl<'a> Tx<'a> {
    fn new(connection: &'a Connection, ambient: &'a Ambient) -> Self {
        let (events, identities_moved, began) = (RefCell::new(Vec::new()), Cell::new(false), ambient.now());
        Self { connection, ambient, events, identities_moved, began }
    }

    /// Runs a statement; gives how many rows were written.
    pub(super) fn execute(&self, sql: &'static str, params: Params<'_>) -> Result<u64, StoreError> {
        if tables::writes_identities(sql) {
            self.identities_moved.set(true);
        }
        Ok(self.connection.execute(sql, params)?)
    }

    /// The first row, if there is one.
    pub(super) fn first<T: for<'r> FromRow<'r>>(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<T>, StoreError> {
        let mut found = None;
        self.each(sql, params, |row| {
            found = Some(row.read()?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Whether there is a row.
    pub(super) fn exists(&self, sql: &'static str, params: Params<'_>) -> Result<bool, StoreError> {
        let mut found = false;
        self.each(sql, params, |_| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Every row.
    pub(super) fn all<T: for<'r> FromRow<'r>>(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.each(sql, params, |row| {
            found.push(row.read()?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Each row as it comes, until one is enough.
    pub(super) fn each(
        &self,
        sql: &'static str,
        params: Params<'_>,
        each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        self.connection.query(sql, params, each)
    }

    /// Runs a part under another access scope.
    pub(super) fn within<T>(
        &self,
        access: AccessScope,
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let before = self.access();
        self.connection.enter(access);
        let done = part(self);
        self.connection.enter(before);
        done
    }

    /// Runs a part in one facility of the organization whose scope this is.
    pub(super) fn within_facility<T>(
        &self,
        facility: FacilityId,
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let scope = match self.access() {
            AccessScope::Organization(scope) => scope.enter(facility),
            AccessScope::Facility(scope) => (scope.facility() == facility).then_some(scope),
            AccessScope::Nothing | AccessScope::System(_) => None,
        };
        self.within(AccessScope::Facility(scope.ok_or(StoreError::NotFound("facility"))?), part)
    }

    /// Whose rows this reaches.
    pub(super) fn access(&self) -> AccessScope {
        self.connection.access()
    }

    /// The facility whose scope this is.
    pub(super) fn facility_scope(&self) -> Result<FacilityScope, StoreError> {
        match self.access() {
            AccessScope::Facility(scope) => Ok(scope),
            AccessScope::Organization(_) | AccessScope::Nothing | AccessScope::System(_) => {
                Err(StoreError::NotFound("facility"))
            }
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

    /// Runs the first piece of work of a group, which needs no savepoint: what it undoes is the whole
    /// transaction, and another begins. Each savepoint inside of another costs SQLite time that grows with
    /// all that the outer one has touched, which is the square of a batch's changes.
    fn first_job<T>(&self, work: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let done = work(self);
        // Some failures end the transaction; the group ends with it.
        if done.is_err() && self.connection.in_transaction() {
            self.connection.roll_back()?;
            self.events.borrow_mut().clear();
            self.connection.begin()?;
        }
        done
    }

    fn undoable<T>(
        &self,
        [begin, undo, end]: [&'static str; 3],
        part: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let events = self.events.borrow().len();
        self.execute(begin, params![])?;
        let done = part(self);
        // Some failures end the whole transaction; then there is nothing to go back to.
        if done.is_err() && self.connection.in_transaction() {
            self.execute(undo, params![])?;
            self.events.borrow_mut().truncate(events);
        }
        if self.connection.in_transaction() {
            self.execute(end, params![])?;
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
