//! One connection to the encrypted file.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use zeroize::Zeroizing;

use super::migrate::{check_version, migrate};
use super::security::{ReachCell, build, guard};
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

/// Opens, checks the key, migrates when it is the writer's, and secures.
pub(super) fn open(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    purpose: Purpose,
    reach: &ReachCell,
) -> Result<Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if matches!(purpose, Purpose::Write { .. }) {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = Connection::open_with_flags(path, flags)?;
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
