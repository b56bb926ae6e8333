//! Encrypted files, the device's two: SQLCipher with a raw key, and settings that leave no plaintext behind.
//!
//! Every setting is here, so that no file of the agent is opened in any other way.

use std::fmt;
use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carepost_host::{files, sqlcipher};
use carepost_protocol::change::PayloadHash;
use carepost_protocol::hex::hex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// How long a connection waits for another that has the file.
const BUSY: Duration = Duration::from_secs(5);
/// How many statements a connection keeps prepared: more than there are. Where there are fewer places than what takes
/// turns, none is found again, and each is prepared anew.
const STATEMENTS: usize = 128;

/// The 256-bit key of an encrypted file. It is wiped from memory when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct FileKey(Zeroizing<[u8; 32]>);

impl FileKey {
    /// The key that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 32 bytes. A secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key in lower-case hexadecimal, as people and other tools write it. A secret.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(self.as_bytes()))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey([secret])")
    }
}

/// How much a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A returned commit survives a power cut (`synchronous=FULL`).
    PowerCut,
    /// A power cut may take the last commits, whole, in order, and never leaves half of one: the WAL's
    /// frames are checksummed and the file is synced before and after each checkpoint
    /// (`synchronous=NORMAL`). Only for what can be had again.
    ProcessCrash,
}

/// How an encrypted file is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    pub path: &'a Path,
    pub key: &'a FileKey,
    /// What a commit promises.
    pub durability: Durability,
    /// How many KiB of decrypted pages a connection may hold.
    pub cache_kib: u32,
    /// The numbered schema migrations, first one first; each runs once, in a transaction of its own. One that was ever
    /// released is never edited: a file remembers the SHA-256 of what made it.
    pub migrations: &'a [&'a str],
}

/// An open file.
#[derive(Debug)]
pub struct Connected {
    connection: Connection,
    path: PathBuf,
    key: FileKey,
    durability: Durability,
    cache_kib: u32,
    mode: OpenFlags,
    folds: bool,
}

/// Why a file did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key is another one, or the file is damaged: SQLCipher cannot tell these apart.
    #[error("{path}: not readable with this device's key: it is damaged, or it is another device's file")]
    NotReadable { path: PathBuf },
    /// Something else stands in its place.
    #[error("{path}: this is no file: move it away, and put the file back if it is elsewhere")]
    NotAFile { path: PathBuf },
    /// A later version of the agent wrote it.
    #[error(
        "{path}: written by a newer agent (schema {found}, this build knows {known}): install that version"
    )]
    TooNew {
        path: PathBuf,
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// What made its schema is not what this build has under that number.
    #[error("{path}: another build of the agent made it (schema {version} differs): install that one")]
    ChangedMigration {
        path: PathBuf,
        /// The number of the first migration that differs.
        version: u32,
    },
    /// The disk is too full to make it, to open it, or to bring it up to this version of the agent. It is as it was.
    #[error("{path}: the disk is full: free some space")]
    NoRoom { path: PathBuf },
    /// The file system refused.
    #[error("{path}: {source}; check the disk, and that this file is the agent's user's")]
    Io { path: PathBuf, source: std::io::Error },
    /// SQLite refused for another reason.
    #[error("{path}: {source}; check the disk")]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

/// Opens a file for writing, makes it if it is not there, and brings its schema up to date. Its WAL is folded into it
/// only from [`Connected::fold`] on.
///
/// # Errors
/// See [`OpenError`].
pub fn open(opening: &Opening<'_>) -> Result<Connected, OpenError> {
    // Made here rather than by SQLite, so that it and its -wal and -shm are the owner's alone.
    open_made(opening, files::make_private)
}

/// [`open`] of a file that is there: also one that is moved away at this moment is not made anew.
///
/// # Errors
/// See [`OpenError`].
pub fn open_existing(opening: &Opening<'_>) -> Result<Connected, OpenError> {
    open_made(opening, files::keep_private)
}

fn open_made(opening: &Opening<'_>, make: fn(&Path) -> std::io::Result<()>) -> Result<Connected, OpenError> {
    let path = opening.path;
    is_reachable(path)?;
    make(path).map_err(|source| {
        let path = path.to_owned();
        let is_full = source.kind() == ErrorKind::StorageFull;
        if is_full { OpenError::NoRoom { path } } else { OpenError::Io { path, source } }
    })?;
    let mut connected = Connected::new(opening, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate(&mut connected, opening)?;
    Ok(connected)
}

/// Whether a file that is there is one, and this process's to read and write, as are those beside it: SQLite does not
/// say which is not.
fn is_reachable(path: &Path) -> Result<(), OpenError> {
    for path in ["", "-wal", "-shm"].map(|suffix| sidecar(path, suffix)) {
        match std::fs::metadata(&path) {
            Ok(there) if !there.is_file() => return Err(OpenError::NotAFile { path }),
            Ok(_) => match access(&path, Access::READ_OK | Access::WRITE_OK) {
                // What is read from a card at its end can be saved elsewhere.
                Ok(()) | Err(Errno::ROFS) => {}
                Err(source) => return Err(OpenError::Io { path, source: source.into() }),
            },
            Err(source) if source.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { path, source }),
        }
    }
    Ok(())
}

/// Whether nothing is left of a file.
pub(crate) fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |it| it.is_file() && it.len() == 0)
}

/// A file that SQLite keeps beside another.
pub(crate) fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens another connection, which only reads, to a file that [`open`] has opened.
///
/// # Errors
/// See [`OpenError`].
pub fn open_reader(opening: &Opening<'_>) -> Result<Connected, OpenError> {
    Connected::new(opening, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Whether a file opens with a key, or without any. It is read through SQLite alone: closing a file that
/// was opened beside it would drop the locks that this process holds on it.
///
/// # Errors
/// When it is not known, such as for a disk that does not read.
pub fn opens(path: &Path, key: Option<&FileKey>) -> Result<bool, OpenError> {
    match look(path, key) {
        Err(error) if is_damage(&error) => Ok(false),
        looked => looked.map(|_| true).map_err(|error| classify(path, error)),
    }
}

/// Whether a file is sound: all of it is read, through a connection of its own, and it may be large.
///
/// # Errors
/// When it is not known, such as for a disk that does not read.
pub fn is_sound(path: &Path, key: &FileKey) -> rusqlite::Result<bool> {
    let is_damaged = || match look(path, Some(key)).and_then(|beside| check(&beside)) {
        Err(error) if is_damage(&error) => Ok(true),
        checked => checked.map(|()| false),
    };
    // SQLCipher takes a page for damaged that was not read just once.
    Ok(!(is_damaged()? && is_damaged()?))
}

/// A connection that only reads and leaves what lies beside the file as it is; a wrong key shows.
fn look(path: &Path, key: Option<&FileKey>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = sqlcipher::connect(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY)?;
    if let Some(key) = key {
        sqlcipher::give_key(&connection, key.as_bytes())?;
    }
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

impl Connected {
    fn new(opening: &Opening<'_>, mode: OpenFlags) -> Result<Self, OpenError> {
        Ok(Self {
            connection: connect(opening, mode)?,
            path: opening.path.to_owned(),
            key: opening.key.clone(),
            durability: opening.durability,
            cache_kib: opening.cache_kib,
            mode,
            folds: false,
        })
    }

    /// Where the file is, and what opens it.
    pub(crate) fn place(&self) -> (PathBuf, FileKey) {
        (self.path.clone(), self.key.clone())
    }

    /// How long the WAL is.
    pub(crate) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(sidecar(&self.path, "-wal")).map_or(0, |wal| wal.len())
    }

    /// Opens the file anew where SQLCipher has given the connection up: after a page that it could not
    /// decrypt it answers nothing any more, and it takes for such a page one that the disk failed to
    /// read, if only once. Not in the middle of a transaction. Where the file does not open, the
    /// connection stays as it is, and says so when it is used. Into one that can be had again the WAL is
    /// folded as before; into any other not before somebody knows that it [is sound](is_sound).
    pub fn revive(&mut self) {
        if !self.is_given_up() {
            return;
        }
        let opening = Opening {
            path: &self.path,
            key: &self.key,
            durability: self.durability,
            cache_kib: self.cache_kib,
            migrations: &[],
        };
        match connect(&opening, self.mode) {
            Ok(connection) => {
                self.connection = connection;
                if std::mem::take(&mut self.folds) && self.durability == Durability::ProcessCrash {
                    self.fold();
                }
            }
            Err(error) => tracing::error!(%error, "a file that could not be read does not open again"),
        }
    }

    /// Folds the WAL into the file, now and from now on, by the page count and at the end. Frames that an earlier
    /// process wrote and could not sync may be in the system's memory only; one behind them would be lost with them.
    /// Folding them back writes them again, and the WAL begins anew. A disk too full for it is no error.
    pub fn fold(&mut self) {
        self.folds = true;
        // Folding the WAL back syncs the disk twice: not in the middle of a first pull.
        let at_pages = match self.durability {
            Durability::PowerCut => 1_000,
            Durability::ProcessCrash => 4_000,
        };
        let _ = self.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        let _ = self.query_row(&format!("PRAGMA wal_autocheckpoint = {at_pages}"), [], |_| Ok(()));
        let _ = self.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()));
    }

    /// Whether SQLCipher has given the connection up: see [`Self::revive`].
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let status = self.pragma_query_value(None, "cipher_status", |row| row.get::<_, String>(0));
        !status.is_ok_and(|status| status == "1")
    }

    /// Whether the WAL is folded into the file.
    #[must_use]
    pub const fn folds(&self) -> bool {
        self.folds
    }
}

impl Drop for Connected {
    /// Folds the WAL into the file, as far as nobody reads what is in it: what is left to the closing
    /// itself stays undone when two processes, such as the agent and its command line, close side by side.
    fn drop(&mut self) {
        if self.is_given_up() {
            let _ = self.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        } else if self.folds {
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
    }
}

impl Deref for Connected {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Connected {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Reads every page and checks that they fit together: some 15 ms for ten thousand records. What lies
/// damaged deep in a file would otherwise show only when it is read.
///
/// # Errors
/// One that [`is_damage`] when they do not.
pub fn check(connection: &Connection) -> rusqlite::Result<()> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(code, Some(found)))
}

/// Whether the disk, or the file's page limit, is full.
#[must_use]
pub fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the file's content cannot be trusted any more.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn connect(opening: &Opening<'_>, mode: OpenFlags) -> Result<Connection, OpenError> {
    let classified = |source| classify(opening.path, source);
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = sqlcipher::connect(opening.path, flags).map_err(classified)?;
    configure(&connection, opening).map_err(classified)?;
    Ok(connection)
}

fn configure(connection: &Connection, opening: &Opening<'_>) -> rusqlite::Result<()> {
    // Closing would fold the WAL into a file that does not open, and remove it: whoever puts the file back needs it.
    // Nor is it folded in by its length, until somebody who knows the file lets it be.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    sqlcipher::give_key(connection, opening.key.as_bytes())?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The first read decrypts: a wrong key or a damaged first page shows here.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Temporary files are written in the clear even by SQLCipher.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -i64::from(opening.cache_kib))?;
    if !connection.is_readonly("main")? {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        let synchronous = match opening.durability {
            Durability::PowerCut => "FULL",
            Durability::ProcessCrash => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
        // After a large page the WAL is cut back to this many bytes rather than kept at its largest.
        connection.query_row("PRAGMA journal_size_limit = 4194304", [], |_| Ok(()))?;
    }
    Ok(())
}

fn migrate(connection: &mut Connection, opening: &Opening<'_>) -> Result<(), OpenError> {
    let classified = |source| classify(opening.path, source);
    let found: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(classified)?;
    let known = u32::try_from(opening.migrations.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::TooNew { path: opening.path.to_owned(), found, known });
    }
    if let Some(version) = changed(connection, opening.migrations).map_err(classified)? {
        return Err(OpenError::ChangedMigration { path: opening.path.to_owned(), version });
    }
    for number in found + 1..=known {
        apply(connection, number, opening.migrations).map_err(classified)?;
    }
    Ok(())
}

/// The first migration that is not what the file was made with. A file from before that was kept is believed until
/// it is migrated again.
fn changed(connection: &Connection, migrations: &[&str]) -> rusqlite::Result<Option<u32>> {
    if !connection.table_exists(None, "schema_migrations")? {
        return Ok(None);
    }
    let mut applied = connection.prepare("SELECT version, sha256 FROM schema_migrations ORDER BY version")?;
    let mut applied = applied.query([])?;
    while let Some(row) = applied.next()? {
        let (version, sha256): (u32, [u8; 32]) = (row.get(0)?, row.get(1)?);
        let known = (1..).zip(migrations).find(|(number, _)| *number == version);
        if known.is_some_and(|(_, sql)| *sha256_of(sql).as_bytes() != sha256) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

fn apply(connection: &mut Connection, number: u32, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations
            (version INTEGER NOT NULL PRIMARY KEY, sha256 BLOB NOT NULL) STRICT",
    )?;
    for (version, sql) in (1..=number).zip(migrations) {
        if version == number {
            transaction.execute_batch(sql)?;
        }
        let known = "INSERT OR IGNORE INTO schema_migrations VALUES (?, ?)";
        transaction.execute(known, params![version, sha256_of(sql).as_bytes()])?;
    }
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}

fn sha256_of(migration: &str) -> PayloadHash {
    PayloadHash::of(migration.as_bytes())
}

fn classify(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    if is_damage(&source) {
        OpenError::NotReadable { path }
    } else if is_full(&source) || has_no_index(&source) {
        OpenError::NoRoom { path }
    } else {
        OpenError::Sqlite { path, source }
    }
}

/// Whether there was no room for the index of the WAL, which is a file as well. While a file is opened that is all; in
/// the middle of a commit it says nothing of whether that is durable.
fn has_no_index(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

#[cfg(test)]
mod tests;
