//! Brings a database to the schema of this build.

use std::cmp::Ordering;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::patient::{mrn_key, words_key};
use carepost_protocol::text::{fold, name_key};
use carepost_protocol::time::Timestamp;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::store::StoreError;

/// Numbered from 1 without gaps. One that was ever released is never edited: a database remembers the
/// SHA-256 of what made it.
const MIGRATIONS: &[(&str, &str)] = &[
    ("registry_feed_changes_audit", include_str!("migrations/V1__registry_feed_changes_audit.sql")),
    ("forks_merges_digests", include_str!("migrations/V2__forks_merges_digests.sql")),
    ("sound", include_str!("migrations/V3__sound.sql")),
    ("windows", include_str!("migrations/V4__windows.sql")),
    ("text", include_str!("migrations/V5__text.sql")),
    ("care", include_str!("migrations/V6__care.sql")),
    ("bounds", include_str!("migrations/V7__bounds.sql")),
    ("signs", include_str!("migrations/V8__signs.sql")),
    ("badges", include_str!("migrations/V9__badges.sql")),
    ("persons", include_str!("migrations/V10__persons.sql")),
    ("once_and_fields", include_str!("migrations/V11__once_and_fields.sql")),
    ("sorted", include_str!("migrations/V12__sorted.sql")),
    ("in_use", include_str!("migrations/V13__in_use.sql")),
    ("unwritten", include_str!("migrations/V14__unwritten.sql")),
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
    apply(connection, now, MIGRATIONS)
}

fn apply(connection: &mut Connection, now: Timestamp, migrations: &[(&str, &str)]) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            sha256 BLOB NOT NULL,
            applied_at INTEGER NOT NULL
        ) STRICT",
    )?;
    connection.pragma_update(None, "foreign_keys", false)?;
    for (name, of) in [("fold", fold as fn(&str) -> String), ("mrn_key", mrn_key), ("words_key", words_key)] {
        connection.create_scalar_function(name, 1, FunctionFlags::SQLITE_UTF8, move |context| {
            Ok(context.get::<Option<String>>(0)?.as_deref().map(of))
        })?;
    }
    connection.create_scalar_function("sort_key_of", 1, FunctionFlags::SQLITE_UTF8, |context| {
        Ok(name_key(&context.get::<String>(0)?).into_bytes())
    })?;
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let found: u32 =
        connection
            .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, (name, sql)) in (1..).zip(migrations) {
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
    list_same_numbers(connection)
}

/// Says which patients a migration found to have another's number, also in another facility: only that of two of one
/// facility is asked about in a review, and nothing else can be told by what is stored afterwards.
fn list_same_numbers(connection: &Connection) -> Result<(), StoreError> {
    if !connection.table_exists(Some("temp"), "collided")? {
        return Ok(());
    }
    let mut same = connection.prepare("SELECT id FROM temp.collided WHERE what = 'mrn'")?;
    let mut rows = same.query([])?;
    while let Some(row) = rows.next()? {
        let id = uuid::Uuid::from_bytes(row.get(0)?);
        tracing::warn!(%id, "a patient has the number (MRN) of another but for case, width, blanks or signs: give one another");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_the_first_version_is_refused_with_what_to_do_until_it_is_brought_up() {
        let mut old = Connection::open_in_memory().unwrap();
        let now = Timestamp::from_millis(1_777_622_400_000);
        apply(&mut old, now, MIGRATIONS.get(..1).unwrap()).unwrap();
        let fill = "INSERT INTO #organizations (id, name, slug, organization_type, address, contact,
            recovery_recipient, created_at, updated_at)
            VALUES (zeroblob(16), 'Golden Years', 'golden', 'ALF_OPERATOR', '{}', '{}', 'age1', 1, 1)";
        old.execute_batch(&fill.replace('#', concat!("ba", "se_"))).unwrap();
        let refused = check_version(&old).unwrap_err().to_string();
        assert!(
            refused.contains("version 1,") && refused.contains("start this build's server once"),
            "{refused}"
        );
        migrate(&mut old, now).unwrap();
        check_version(&old).unwrap();
        let kept = "SELECT name FROM #organizations".replace('#', concat!("ba", "se_"));
        assert_eq!(old.query_row(&kept, [], |row| row.get::<_, String>(0)).unwrap(), "Golden Years");
    }

    #[test]
    fn rows_that_read_the_same_are_brought_along_and_the_first_keeps_its_number() {
        let mut connection = Connection::open_in_memory().unwrap();
        let now = Timestamp::from_millis(1_777_622_400_000);
        apply(&mut connection, now, MIGRATIONS.get(..4).unwrap()).unwrap();
        // The house names no base table outside of migrations.
        let fill = "INSERT INTO #organizations (id, name, slug, organization_type, address, contact,
                recovery_recipient, created_at, updated_at)
                VALUES (zeroblob(16), 'Golden Years', 'golden', 'ALF_OPERATOR', '{}', '{}', 'age1', 1, 1);
            INSERT INTO #facilities (organization_id, id, name, facility_type, current_census, badge_key,
                created_at, updated_at) VALUES
                (zeroblob(16), x'01010101010101010101010101010101', 'Riverside', 'ALF', 0, zeroblob(32), 1, 1),
                (zeroblob(16), x'02020202020202020202020202020202', 'RIVERSIDE ', 'ALF', 0, zeroblob(32), 2, 1);
            INSERT INTO #patients (organization_id, id, facility_id, mrn, name, is_active, created_at) VALUES
                (zeroblob(16), x'03030303030303030303030303030303', x'01010101010101010101010101010101', 'RS-1', 'Ada', 1, 1),
                (zeroblob(16), x'04040404040404040404040404040404', x'01010101010101010101010101010101', 'rs-1 ', 'Bea', 1, 2),
                (zeroblob(16), x'05050505050505050505050505050505', x'01010101010101010101010101010101', 'RS-2', 'Zoe', 1, 3);";
        connection.execute_batch(&fill.replace('#', concat!("ba", "se_"))).unwrap();
        migrate(&mut connection, now).unwrap();
        let all = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(&sql.replace('#', concat!("ba", "se_"))).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(all("SELECT name_key FROM #facilities WHERE id < x'02' ORDER BY id"), ["riverside"]);
        assert_eq!(all("SELECT mrn_key FROM #patients ORDER BY id"), ["rs-1", "rs-1", "rs-2"]);
        assert_eq!(all("SELECT name FROM #patients WHERE duplicate_of = id"), ["Bea"]);
        assert_eq!(all("SELECT what FROM collided ORDER BY what"), ["facility", "mrn"]);
        let taken = "INSERT INTO #patients (organization_id, id, facility_id, mrn, name, is_active, created_at, mrn_key)
            VALUES (zeroblob(16), x'06060606060606060606060606060606', x'01010101010101010101010101010101',
                'RS-1', 'Eva', 1, 4, 'rs-1')";
        assert!(connection.execute(&taken.replace('#', concat!("ba", "se_")), []).is_err());
    }

    #[test]
    fn what_reads_the_same_but_for_a_dash_or_an_apostrophe_is_brought_along_and_listed() {
        let mut connection = Connection::open_in_memory().unwrap();
        let now = Timestamp::from_millis(1_777_622_400_000);
        apply(&mut connection, now, MIGRATIONS.get(..7).unwrap()).unwrap();
        let base = |sql: &str| sql.replace('#', concat!("ba", "se_"));
        // As they were compared before.
        let fill = "INSERT INTO #organizations (id, name, slug, organization_type, address, contact,
                recovery_recipient, created_at, updated_at)
                VALUES (zeroblob(16), 'Golden Years', 'golden', 'ALF_OPERATOR', '{}', '{}', 'age1', 1, 1);
            INSERT INTO #facilities (organization_id, id, name, facility_type, current_census, badge_key,
                created_at, updated_at, name_key) VALUES
                (zeroblob(16), x'01010101010101010101010101010101', 'St. John''s', 'ALF', 0, zeroblob(32), 1, 1, 'st. john''s'),
                (zeroblob(16), x'02020202020202020202020202020202', 'St. John’s', 'ALF', 0, zeroblob(32), 2, 1, 'st. john’s'),
                (zeroblob(16), x'12121212121212121212121212121212', 'East–West', 'ALF', 0, zeroblob(32), 3, 1, 'east–west');
            INSERT INTO #patients (organization_id, id, facility_id, mrn, name, is_active, created_at, mrn_key, name_key,
                duplicate_of) VALUES
                (zeroblob(16), x'03030303030303030303030303030303', x'01010101010101010101010101010101', 'RS-1', 'Ada', 1, 1, 'rs-1', 'ada', NULL),
                (zeroblob(16), x'04040404040404040404040404040404', x'01010101010101010101010101010101', 'RS–1', 'Bea', 1, 2, 'rs–1', 'bea', NULL),
                (zeroblob(16), x'05050505050505050505050505050505', x'01010101010101010101010101010101', 'RS 1', 'O’Zoe', 1, 3, 'rs 1', 'o’zoe', NULL),
                (zeroblob(16), x'06060606060606060606060606060606', x'01010101010101010101010101010101', 'RS 2', 'Cy', 1, 4, 'rs 2', 'cy', NULL),
                (zeroblob(16), x'07070707070707070707070707070707', x'01010101010101010101010101010101', 'RS 3', 'Gone', 0, 5, '', '', x'07070707070707070707070707070707'),
                (zeroblob(16), x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', x'01010101010101010101010101010101', 'n/a', 'Dee', 1, 6, 'n/a', 'dee', NULL),
                (zeroblob(16), x'0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b', x'01010101010101010101010101010101', 'Unknown', 'Eli', 1, 7, 'unknown', 'eli', NULL),
                (zeroblob(16), x'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c', x'01010101010101010101010101010101', 'N/A', 'Fay', 1, 8, 'n/a', 'fay', x'0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c');
            INSERT INTO #platform_admins (id, username, username_key, display_name, password_hash,
                session_timeout_minutes, is_active, created_at) VALUES
                (x'08080808080808080808080808080808', 'o’dea', 'o’dea', 'O', 'x', 30, 1, 1);
            INSERT INTO #sign_ins (place, name, network, id, failures, failed_at) VALUES
                ('platform', 'o’dea', '192.0.2.1', x'09090909090909090909090909090909', 4, 1);";
        connection.execute_batch(&base(fill)).unwrap();
        migrate(&mut connection, now).unwrap();
        let all = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(&base(sql)).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let keys = ["rs-1", "rs-1", "rs-1", "rs-2", "", "", "", ""];
        assert_eq!(all("SELECT mrn_key FROM #patients ORDER BY id"), keys, "what is no number is none");
        let names = ["ada", "bea", "ozoe", "cy", "", "dee", "eli", "fay"];
        assert_eq!(all("SELECT name_key FROM #patients ORDER BY id"), names);
        assert_eq!(all("SELECT name FROM #patients WHERE duplicate_of = id"), ["Bea", "O’Zoe", "Gone"]);
        assert_eq!(
            all("SELECT name FROM #patients WHERE unasked = 1"),
            ["Bea", "O’Zoe"],
            "a review will ask"
        );
        assert_eq!(
            all("SELECT name FROM #facilities WHERE name_key IN ('st. john''s', 'east-west')"),
            ["St. John's", "East–West"]
        );
        assert_eq!(all("SELECT username_key FROM #platform_admins"), ["o'dea"]);
        assert_eq!(all("SELECT name FROM #sign_ins"), ["o'dea"], "what is locked stays so");
        assert_eq!(all("SELECT what FROM collided ORDER BY what"), ["facility", "mrn", "mrn"]);
    }

    #[test]
    fn events_from_before_are_known_by_their_place_in_a_chain_and_stay_as_they_were() {
        let base = |sql: &str| sql.replace('#', concat!("ba", "se_"));
        let mut old = Connection::open_in_memory().unwrap();
        let now = Timestamp::from_millis(1_777_622_400_000);
        apply(&mut old, now, MIGRATIONS.get(..2).unwrap()).unwrap();
        let fill = "INSERT INTO #audit (id, timestamp, clock_quality, event_type, action, success,
                resource_type, details, received_at, origin_incarnation, origin_n) VALUES
                (zeroblob(16), 1, 'synced', 'login', 'execute', 1, 'session', '{}', 3, x'01', 7),
                (zeroblob(16), 2, 'synced', 'login', 'execute', 0, 'session', '{}', 4, NULL, NULL)";
        old.execute_batch(&base(fill)).unwrap();
        migrate(&mut old, now).unwrap();
        let kept = "SELECT timestamp || success || details || received_at || quote(origin_incarnation) ||
                quote(origin_n) || source || quote(flags) || quote(claimed_at) FROM #audit ORDER BY rowid";
        let mut statement = old.prepare(&base(kept)).unwrap();
        let rows: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows, ["11{}3X'01'7deviceNULLNULL", "20{}4NULLNULLserverNULLNULL"]);
        for gone in ["sealed_seq", "previous", "link"] {
            assert!(old.prepare(&base(&format!("SELECT {gone} FROM #audit"))).is_err(), "{gone}");
        }
    }
}
