//! One connection to the encrypted file.

use std::path::{Path, PathBuf};
use std::sync::Once;

use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use zeroize::Zeroizing;

use super::migrate::{check_version, migrate};
use super::security::{ReachCell, build, guard};
use crate::files;
use crate::store::{Ambient, DatabaseKey, StoreError};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The one that migrates and writes; the file may grow to so many pages.
    Write { max_pages: Option<u32> },
    /// One of those that read.
    Read,
    /// An operator's command, beside a server that may run: it neither makes nor migrates the file.
    Beside,
}

/// Where the connections of one thread come from.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    key: DatabaseKey,
    purpose: Purpose,
    pub(super) ambient: Ambient,
    pub(super) reach: ReachCell,
}

impl Source {
    /// Connections to the file at `path`, which reach nothing until they are told.
    pub(super) fn new(path: &Path, key: &DatabaseKey, ambient: &Ambient, purpose: Purpose) -> Self {
        let (key, ambient) = (key.clone(), ambient.clone());
        Self { path: path.to_owned(), key, purpose, ambient, reach: ReachCell::nothing() }
    }

    /// Opens, checks the key, migrates when it is the writer's, and secures.
    pub(super) fn open(&self) -> Result<Connection, StoreError> {
        open(&self.path, &self.key, &self.ambient, self.purpose, &self.reach)
    }

    /// Opens the file anew in place of a connection that was given up, and says whether it did. Where it
    /// does not open, the connection stays as it is: its own errors say what is wrong.
    pub(super) fn revive(&self, connection: &mut Connection) -> bool {
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

/// Folds the WAL into the file, then closes: the file alone holds every commit. It is not left to the
/// closing itself: of two that close side by side, each leaves it to the other.
pub(super) fn fold(mut connection: Connection, how: &'static str) {
    // What guards the connection refuses this statement too.
    let unguarded = connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
    let folded = unguarded
        .and_then(|()| connection.query_row(how, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))));
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

/// Whether SQLCipher may have given the connection up: after a page that it could not decrypt it answers
/// nothing any more, and it takes for such a page one that the disk failed to read, if only once.
pub(super) fn gives_up(failure: &StoreError) -> bool {
    let StoreError::Engine(error) = failure else { return false };
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn open(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    purpose: Purpose,
    reach: &ReachCell,
) -> Result<Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if matches!(purpose, Purpose::Write { .. }) {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
        // Before anything is in it; SQLite makes those beside it alike.
        if let Err(fault) = files::make_private(path) {
            // SQLite says why it cannot be opened, if it cannot.
            tracing::warn!(%fault, "others than its owner may have access to {}", path.display());
        }
    }
    let mut connection = bare(path, flags)?;
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
    let known = build(&connection, ambient, reach)?;
    if purpose == Purpose::Read {
        connection.execute_batch("PRAGMA query_only = ON")?;
    }
    guard(&mut connection, known)?;
    Ok(connection)
}

/// A connection without its key yet. SQLite calls itself ready a moment before SQLCipher is, and whoever gave a key
/// in that moment would be told that it is none: the first connection of a process is made alone.
pub(super) fn bare(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| drop(Connection::open_in_memory()));
    Connection::open_with_flags(path, flags)
}

fn unlock(connection: &Connection, path: &Path, key: &DatabaseKey) -> Result<(), StoreError> {
    give_key(connection, key)?;
    let opened = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
    opened.map_err(|error| unreadable(error, path))?;
    check_key(connection, path)
}

/// Gives a connection the key, before anything of the file is read.
pub(super) fn give_key(connection: &Connection, key: &DatabaseKey) -> Result<(), StoreError> {
    let mut pragma = Zeroizing::new(String::with_capacity(128));
    pragma.push_str("PRAGMA cipher_log_level = NONE; PRAGMA key = \"x'");
    for byte in key.0.iter() {
        for digit in [byte >> 4, byte & 15] {
            pragma.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    pragma.push_str("'\"; PRAGMA cipher_page_size = 4096;");
    Ok(connection.execute_batch(&pragma)?)
}

/// Whether the key that was given opens the file.
pub(super) fn check_key(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let read = connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()));
    read.map_err(|error| unreadable(error, path))
}

fn unreadable(error: rusqlite::Error, path: &Path) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::WrongKey(path.display().to_string()),
        _ => error.into(),
    }
}
