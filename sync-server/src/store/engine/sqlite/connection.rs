//! Connections to the encrypted file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use carepost_host::{files, sqlcipher};
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{CachedStatement, ErrorCode, OpenFlags};

use super::Row;
use super::migrate::{check_version, migrate};
use super::security::{AccessCell, build, guard};
use crate::store::engine::error::EngineError;
use crate::store::engine::tables::AccessScope;
use crate::store::engine::value::{Params, params};
use crate::store::{Ambient, DatabaseKey, StoreError};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::engine) enum Purpose {
    /// The one that migrates and writes; the file may grow to so many pages.
    Write {
        max_pages: Option<u32>,
    },
    Read,
    /// An operator's command, beside a server that may run: it neither makes nor migrates the file.
    Beside,
}

/// Where the connections of one thread come from.
#[derive(Debug)]
pub(in crate::store::engine) struct Source {
    path: PathBuf,
    key: DatabaseKey,
    purpose: Purpose,
    pub(in crate::store::engine) ambient: Ambient,
}

/// One connection, and whose rows its statements reach just now.
pub(in crate::store::engine) struct Connection {
    raw: rusqlite::Connection,
    access: AccessCell,
}

impl Source {
    /// Connections to the file at `path`, which reach nothing until they are told.
    pub(in crate::store::engine) fn new(
        path: &Path,
        key: &DatabaseKey,
        ambient: &Ambient,
        purpose: Purpose,
    ) -> Self {
        let (key, ambient) = (key.clone(), ambient.clone());
        Self { path: path.to_owned(), key, purpose, ambient }
    }

    /// Opens, checks the key, migrates when it is the writer's, and secures.
    pub(in crate::store::engine) fn open(&self) -> Result<Connection, StoreError> {
        let access = AccessCell::nothing();
        let raw = open(&self.path, &self.key, &self.ambient, self.purpose, &access)?;
        Ok(Connection { raw, access })
    }

    /// Opens the file anew in place of a connection that was given up, and says whether it did. Where it
    /// does not open, the connection stays as it is: its own errors say what is wrong.
    pub(in crate::store::engine) fn revive(&self, connection: &mut Connection) -> bool {
        match self.open() {
            Ok(fresh) => {
                tracing::warn!("the database could not be read, and was opened anew");
                *connection = fresh;
                true
            }
            Err(error) => {
                tracing::error!(%error, "the database could not be read, and does not open again");
                false
            }
        }
    }
}

impl Connection {
    /// Begins a transaction that writes, or waits until no other does.
    pub(in crate::store::engine) fn begin(&self) -> Result<(), EngineError> {
        self.execute("BEGIN IMMEDIATE", params![]).map(drop)
    }

    /// Begins one that sees one state of the database.
    pub(in crate::store::engine) fn begin_reading(&self) -> Result<(), EngineError> {
        self.execute("BEGIN", params![]).map(drop)
    }

    /// Makes a transaction durable.
    pub(in crate::store::engine) fn commit(&self) -> Result<(), EngineError> {
        self.execute("COMMIT", params![]).map(drop)
    }

    /// Undoes a transaction, if it is not undone already: a failure of the disk ends it.
    pub(in crate::store::engine) fn roll_back(&self) -> Result<(), EngineError> {
        if self.in_transaction() { self.execute("ROLLBACK", params![]).map(drop) } else { Ok(()) }
    }

    /// Whether a transaction is under way. Some failures (a full disk, say) make SQLite give it up.
    pub(in crate::store::engine) fn in_transaction(&self) -> bool {
        !self.raw.is_autocommit()
    }

    /// Whose rows statements reach.
    pub(in crate::store::engine) fn access(&self) -> AccessScope {
        self.access.get()
    }

    /// Lets statements reach those rows, and no others, from now on.
    pub(in crate::store::engine) fn enter(&self, access: AccessScope) {
        self.access.set(access);
    }

    /// Runs a statement, prepared once; gives how many rows were written, those of triggers included,
    /// because a view's own count is always zero.
    pub(in crate::store::engine) fn execute(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, EngineError> {
        let before = self.raw.total_changes();
        self.bound(sql, params)?.raw_execute()?;
        Ok(self.raw.total_changes().saturating_sub(before))
    }

    /// Gives each row of an answer, until one is enough.
    pub(in crate::store::engine) fn query<E: From<EngineError>>(
        &self,
        sql: &'static str,
        params: Params<'_>,
        mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(EngineError::from)? {
            if each(&Row(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn bound(&self, sql: &'static str, params: Params<'_>) -> Result<CachedStatement<'_>, EngineError> {
        let mut statement = self.raw.prepare_cached(sql)?;
        for (at, value) in (1..).zip(params) {
            statement.raw_bind_parameter(at, value.to_value()?)?;
        }
        // One that is left out would be NULL, without a word.
        let expected = statement.parameter_count();
        if params.len() == expected {
            Ok(statement)
        } else {
            Err(rusqlite::Error::InvalidParameterCount(params.len(), expected).into())
        }
    }

    /// Folds the WAL into the file, then closes: the file alone holds every commit. It is not left to the
    /// closing itself: of two that close side by side, each leaves it to the other.
    pub(in crate::store::engine) fn fold(self) {
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// As [`Self::fold`], as far as others that have the file open let it, where something was written.
    pub(in crate::store::engine) fn fold_beside_others(self) {
        if self.raw.total_changes() > 0 {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        }
    }

    fn checkpoint(mut self, how: &'static str) {
        // What guards the connection refuses this statement too.
        let unguarded = self.raw.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
        let folded = unguarded
            .and_then(|()| self.raw.query_row(how, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))));
        match folded {
            Ok((false, frames, kept)) if frames == kept => {}
            Ok::<(bool, i64, i64), _>(_) => {
                tracing::info!("the database is in use: what was committed last is in its -wal file");
            }
            Err(error) => {
                tracing::warn!(%error, "the -wal file could not be folded into the database: keep both together");
            }
        }
    }
}

fn open(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    purpose: Purpose,
    access: &AccessCell,
) -> Result<rusqlite::Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if matches!(purpose, Purpose::Write { .. }) {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
        // Before anything is in it; SQLite makes those beside it alike.
        if let Err(fault) = files::make_private(path) {
            // SQLite says why it cannot be opened, if it cannot.
            tracing::warn!(%fault, "others than its owner may have access to {}", path.display());
        }
    }
    let mut connection = sqlcipher::connect(path, flags)?;
    unlock(&connection, path, key)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cache_size = -16384;
         PRAGMA busy_timeout = 5000;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    match purpose {
        Purpose::Write { max_pages } => {
            // Frames that an earlier process wrote and could not sync may be in the system's memory only;
            // one behind them would be lost with them. Folding them back writes them again, and the WAL
            // begins anew. A disk too full for it opens all the same.
            let _ = connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()));
            migrate(&mut connection, ambient.now())?;
            if let Some(pages) = max_pages {
                connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            }
        }
        Purpose::Beside => check_version(&connection)?,
        Purpose::Read => {}
    }
    connection.set_prepared_statement_cache_capacity(256);
    let known = build(&connection, ambient, access)?;
    if purpose == Purpose::Read {
        connection.execute_batch("PRAGMA query_only = ON")?;
    }
    guard(&mut connection, known)?;
    Ok(connection)
}

/// A file of a test's, opened with its key and nothing else: no walls, no migrations.
#[cfg(test)]
pub(in crate::store) fn without_walls(path: &Path, key: &DatabaseKey) -> rusqlite::Connection {
    let connection = sqlcipher::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    sqlcipher::give_key(&connection, &key.0).unwrap();
    check_key(&connection, path).unwrap();
    connection
}

fn unlock(connection: &rusqlite::Connection, path: &Path, key: &DatabaseKey) -> Result<(), StoreError> {
    sqlcipher::give_key(connection, &key.0)?;
    let opened = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
    opened.map_err(|error| unreadable(error, path))?;
    check_key(connection, path)
}

/// Whether the key that was given opens the file.
pub(super) fn check_key(connection: &rusqlite::Connection, path: &Path) -> Result<(), StoreError> {
    let read = connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()));
    read.map_err(|error| unreadable(error, path))
}

fn unreadable(error: rusqlite::Error, path: &Path) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::WrongKey(path.display().to_string()),
        _ => error.into(),
    }
}
