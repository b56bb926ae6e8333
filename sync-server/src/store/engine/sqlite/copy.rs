//! Whole files: copied while they are in use, and read from end to end.

use std::path::Path;
use std::time::Duration;

use carepost_host::sqlcipher;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::connection::check_key;
use crate::store::{DatabaseKey, StoreError};

/// How often, and how long between, it is tried to get at a file that is busy.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Copies a database as it is at one moment, whoever writes to it meanwhile, into an empty file. The copy
/// is encrypted with the same key.
pub(in crate::store) fn copy(from: &Path, to: &Path, key: &DatabaseKey) -> Result<(), StoreError> {
    let source = open(from, key, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| open(from, key, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    // An empty file is a database too, and would be made into a new one.
    let made = "SELECT count(*) FROM sqlite_master WHERE name = 'schema_migrations'";
    if source.query_row(made, [], |row| row.get::<_, i64>(0))? == 0 {
        return Err(StoreError::Unreadable("the schema: nothing was ever in it"));
    }
    let mut target = sqlcipher::connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    sqlcipher::give_key(&target, &key.0)?;
    target.execute_batch("PRAGMA synchronous = FULL")?;
    let backup = Backup::new(&source, &mut target)?;
    for _ in 0..TRIES {
        // All at once: in pieces it would begin anew whenever another process writes.
        if backup.step(-1)? == StepResult::Done {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(StoreError::NotDurable("the database stayed busy".to_owned()))
}

/// Reads every page of a file that nobody else has open, and leaves it whole in itself: without a log
/// beside it. Gives what is wrong with it, if anything is.
pub(in crate::store) fn settle(path: &Path, key: &DatabaseKey) -> Result<Option<String>, StoreError> {
    let connection = open(path, key, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let log: String = connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if log != "delete" {
        return Err(StoreError::NotDurable("another process has the database open".to_owned()));
    }
    let complaint = |sql| -> Result<Option<String>, StoreError> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    };
    // The first says what page fails its seal, and nothing when none does.
    if let Some(fault) = complaint("PRAGMA cipher_integrity_check")? {
        return Ok(Some(fault));
    }
    Ok(complaint("PRAGMA integrity_check")?.filter(|said| said != "ok"))
}

fn open(path: &Path, key: &DatabaseKey, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = sqlcipher::connect(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    sqlcipher::give_key(&connection, &key.0)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    check_key(&connection, path)?;
    Ok(connection)
}
