//! Brings a database to the schema of this build.

use std::cmp::Ordering;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::time::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::store::StoreError;

/// Numbered from 1 without gaps. One that was ever released is never edited: a database remembers the
/// SHA-256 of what made it.
const MIGRATIONS: &[(&str, &str)] = &[
    ("registry_feed_changes_audit", include_str!("../migrations/V1__registry_feed_changes_audit.sql")),
    ("forks_merges_digests", include_str!("../migrations/V2__forks_merges_digests.sql")),
    ("sound", include_str!("../migrations/V3__sound.sql")),
    ("windows", include_str!("../migrations/V4__windows.sql")),
];

/// Whether the file has the schema of this build, and nothing has to be applied.
///
/// # Errors
/// [`StoreError::Newer`], [`StoreError::Older`].
pub(super) fn check_version(connection: &Connection) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 =
        connection
            .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
    match found.cmp(&known) {
        Ordering::Greater => Err(StoreError::Newer { found, known }),
        Ordering::Less => Err(StoreError::Older { found, known }),
        Ordering::Equal => Ok(()),
    }
}

/// Applies what is missing, each migration in a transaction of its own. Foreign keys are not enforced
/// meanwhile, so that a table can be built anew, and checked before each commit.
///
/// # Errors
/// [`StoreError::Newer`] when the database knows migrations that this build does not,
/// [`StoreError::ChangedMigration`] when one differs from what made the database.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            sha256 BLOB NOT NULL,
            applied_at INTEGER NOT NULL
        ) STRICT",
    )?;
    connection.pragma_update(None, "foreign_keys", false)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 =
        connection
            .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, (name, sql)) in (1..).zip(MIGRATIONS) {
        let sha256 = *PayloadHash::of(sql.as_bytes()).as_bytes();
        if version <= found {
            let applied: Vec<u8> = connection.query_row(
                "SELECT sha256 FROM schema_migrations WHERE version = ?1",
                [version],
                |row| row.get(0),
            )?;
            if applied != sha256 {
                return Err(StoreError::ChangedMigration(version));
            }
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        if transaction.prepare("PRAGMA foreign_key_check")?.exists([])? {
            return Err(StoreError::Unreadable("foreign keys"));
        }
        transaction.execute(
            "INSERT INTO schema_migrations VALUES (?1, ?2, ?3, ?4)",
            params![version, name, sha256, now.as_millis()],
        )?;
        transaction.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}
