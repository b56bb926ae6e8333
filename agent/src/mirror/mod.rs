//! The mirror: what the server can give again. Documents of one facility, and the cursor up to which
//! they are complete.
//!
//! It is disposable. A damaged file is set aside and a fresh one pulled, and a power cut may take the
//! last pages ([`Durability::ProcessCrash`]): a page's rows and its cursor are one transaction, so the
//! server is simply asked again from there. What exists nowhere else is in the outbox.
//!
//! Residents and records are read with a [`Permit`] for this mirror's facility only. Staff, badges,
//! workflows and the facility itself need none: they are read before anyone has signed in.

mod page;
mod read;
mod schema;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Permit, Resource};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params, params};

pub use page::{Page, PageError};

use crate::sqlite::{self, Connected, Durability, FileKey, OpenError, Opening};

/// How many KiB of decrypted pages the reading connection may hold: enough for ten thousand records of
/// some three hundred bytes with their index.
pub const DEFAULT_CACHE_KIB: u32 = 6 * 1024;

/// The applying connection's share: a first pull of ten thousand records revisits the pages of their
/// index again and again. It is given back when a pull from the beginning has reached the head.
const WRITER_CACHE_KIB: u32 = 8 * 1024;

/// Why the mirror could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The file did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A damaged file could not be moved out of the way.
    #[error("{path}: damaged, and it could not be set aside: {source}; check the disk")]
    NotSetAside {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The permit is for another place than this mirror's facility.
    #[error("this device holds another facility's residents")]
    OtherFacility,
    /// A page belongs to another epoch than the mirror: refetch.
    #[error("the server's past changed (epoch {theirs}, this mirror has {ours}): everything is pulled again")]
    OtherEpoch {
        /// The mirror's epoch.
        ours: u64,
        /// The page's.
        theirs: u64,
    },
    /// The disk is full.
    #[error("the disk is full: the copy of the facility's records stays as it was; free some space")]
    Full,
    /// The file is damaged: open it anew, which sets it aside.
    #[error("the mirror's file is damaged: it must be opened anew")]
    Damaged,
    /// A row is not what its collection holds.
    #[error("a document of {collection} cannot be read: {source}; refetch the mirror")]
    NotUnderstood {
        /// The collection.
        collection: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The page is not what this agent understands.
    #[error(transparent)]
    Page(#[from] PageError),
    /// SQLite refused for another reason.
    #[error("the mirror's file: {0}; check the disk")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MirrorError {
    fn from(error: rusqlite::Error) -> Self {
        if sqlite::is_full(&error) {
            Self::Full
        } else if sqlite::is_damage(&error) {
            Self::Damaged
        } else {
            Self::Sqlite(error)
        }
    }
}

/// Whose documents a mirror holds, and how it is opened.
#[derive(Debug, Clone, Copy)]
pub struct MirrorOpening<'a> {
    /// Where the file is.
    pub path: &'a Path,
    /// Its key.
    pub key: &'a FileKey,
    /// The facility, with its organization.
    pub facility: (OrganizationId, FacilityId),
    /// KiB of decrypted pages to hold; [`DEFAULT_CACHE_KIB`] fits ten thousand records.
    pub cache_kib: u32,
}

/// What opening found, to be logged and reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The mirror as it was left, or a new one.
    Intact,
    /// The file was damaged. It lies there now, and the mirror starts empty.
    SetAside(PathBuf),
    /// The file held another facility's documents. It was removed, and the mirror starts empty.
    OtherFacility,
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The mirror holds it, and the cursor is at its end.
    Advanced,
    /// It ends before the cursor: a late page, left out so that no row goes back in time.
    Behind,
}

/// The device's copy of its facility's documents. Applying a page does not hold up readers.
#[derive(Debug)]
pub struct Mirror {
    // Dropped before the writer, whose closing then folds the WAL into the file.
    reader: Mutex<Connected>,
    writer: Mutex<Connected>,
    facility: (OrganizationId, FacilityId),
}

impl Mirror {
    /// Opens the mirror, or makes one. A damaged file is set aside (only the last one is kept), and
    /// another facility's removed.
    ///
    /// # Errors
    /// When the disk refuses, or a newer agent wrote the file.
    pub fn open(opening: &MirrorOpening<'_>) -> Result<(Self, Found), MirrorError> {
        match Self::open_once(opening) {
            Ok(Some(mirror)) => Ok((mirror, Found::Intact)),
            Ok(None) => {
                remove(opening.path)?;
                Ok((Self::open_fresh(opening)?, Found::OtherFacility))
            }
            Err(MirrorError::Open(OpenError::NotReadable { .. }) | MirrorError::Damaged) => {
                let aside = set_aside(opening.path)?;
                Ok((Self::open_fresh(opening)?, Found::SetAside(aside)))
            }
            Err(error) => Err(error),
        }
    }

    /// Whose documents it holds.
    #[must_use]
    pub fn facility_id(&self) -> FacilityId {
        self.facility.1
    }

    /// Up to where the mirror is complete; none before the first page, and during a refetch before its
    /// first page.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn cursor(&self) -> Result<Option<Cursor>, MirrorError> {
        cursor(&self.read())
    }

    /// Whether a collection has reached the head of the feed at least once: until then what is not in a
    /// list may still come, and an empty one means "still loading". Ask before reading the list: a page
    /// that is applied in between only adds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_complete(&self, collection: Collection) -> Result<bool, MirrorError> {
        let reached: bool = self
            .read()
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM collections WHERE collection = ?)")?
            .query_row([schema::number(collection)], |row| row.get(0))?;
        Ok(reached)
    }

    /// Applies a page: rows, tombstones and cursor in one transaction. Applying it again is harmless.
    ///
    /// # Errors
    /// [`MirrorError::OtherEpoch`] when it does not belong to the mirror's epoch: then
    /// [`refetch`](Self::refetch).
    pub fn apply(&self, page: &Page, end: &PageEnd) -> Result<Applied, MirrorError> {
        let mut writer = self.write();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = cursor(&transaction)?;
        if let Some(before) = before {
            if end.cursor.epoch != before.epoch {
                return Err(MirrorError::OtherEpoch { ours: before.epoch, theirs: end.cursor.epoch });
            }
            if end.cursor.seq < before.seq {
                return Ok(Applied::Behind);
            }
        }
        let pass: i64 =
            transaction.prepare_cached("SELECT pass FROM state")?.query_row([], |row| row.get(0))?;
        write_documents(&transaction, page, pass, end.server_time)?;
        transaction
            .prepare_cached("UPDATE state SET epoch = ?, seq = ?")?
            .execute(params![signed(end.cursor.epoch), signed(end.cursor.seq)])?;
        let pulled_all = end.reaches_head() && reach_head(&transaction, pass)?;
        transaction.commit()?;
        if pulled_all {
            writer.execute_batch("PRAGMA shrink_memory")?;
        }
        Ok(Applied::Advanced)
    }

    /// Forgets the cursor, so that everything is pulled again: after the server refused the cursor, or
    /// raised its epoch. What is here stays readable; what the new pull does not name is removed when
    /// it reaches the head (mark and sweep).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn refetch(&self) -> Result<(), MirrorError> {
        self.write().execute("UPDATE state SET epoch = NULL, seq = NULL, pass = pass + 1", [])?;
        Ok(())
    }

    fn open_once(opening: &MirrorOpening<'_>) -> Result<Option<Self>, MirrorError> {
        let file = |cache_kib| Opening {
            path: opening.path,
            key: opening.key,
            durability: Durability::ProcessCrash,
            cache_kib,
            migrations: schema::MIGRATIONS,
        };
        let writer = sqlite::open(&file(WRITER_CACHE_KIB))?;
        if !claim(&writer, opening.facility)? {
            return Ok(None);
        }
        sqlite::check(&writer)?;
        // The check read every page; the memory goes back.
        writer.execute_batch("PRAGMA shrink_memory")?;
        let reader = sqlite::open_reader(&file(opening.cache_kib))?;
        Ok(Some(Self { reader: Mutex::new(reader), writer: Mutex::new(writer), facility: opening.facility }))
    }

    fn open_fresh(opening: &MirrorOpening<'_>) -> Result<Self, MirrorError> {
        // A fresh file belongs to whoever opens it first.
        Self::open_once(opening)?.ok_or(MirrorError::OtherFacility)
    }

    fn permitted<A>(&self, permit: &Permit<A>) -> Result<(), MirrorError> {
        let (organization, facility) = self.facility;
        if permit.resource() == Resource::Facility(organization, facility) {
            Ok(())
        } else {
            Err(MirrorError::OtherFacility)
        }
    }

    fn read(&self) -> MutexGuard<'_, Connected> {
        lock(&self.reader)
    }

    fn write(&self) -> MutexGuard<'_, Connected> {
        lock(&self.writer)
    }
}

fn lock(connection: &Mutex<Connected>) -> MutexGuard<'_, Connected> {
    // A panic elsewhere leaves no half-done transaction behind: dropping one rolls it back.
    let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
    connection.revive();
    connection
}

/// Writes whose mirror it is into a fresh file; says whether it is this facility's.
fn claim(writer: &Connection, facility: (OrganizationId, FacilityId)) -> Result<bool, MirrorError> {
    let (organization, facility) = facility;
    writer.execute(
        "INSERT OR IGNORE INTO state (one, organization, facility, pass) VALUES (1, ?, ?, 1)",
        params![organization.as_bytes(), facility.as_bytes()],
    )?;
    let mine: bool = writer.query_row(
        "SELECT organization = ? AND facility = ? FROM state",
        params![organization.as_bytes(), facility.as_bytes()],
        |row| row.get(0),
    )?;
    Ok(mine)
}

/// Nothing was made after it came: what a clock that is ahead stamped sorts where it came, and does not
/// stay before all that is newer.
fn write_documents(
    connection: &Connection,
    page: &Page,
    pass: i64,
    came: Timestamp,
) -> Result<(), MirrorError> {
    let mut put = connection.prepare_cached(schema::PUT)?;
    let mut remove = connection.prepare_cached(schema::REMOVE)?;
    for document in page.documents() {
        let collection = schema::number(document.collection);
        match document.body {
            Some(body) => put.execute(named_params! {
                ":collection": collection,
                ":id": document.id,
                ":seq": signed(document.seq),
                ":pass": pass,
                ":patient": document.patient,
                ":recorded_at": document.recorded_at.map(|made| made.min(came.as_millis())),
                ":lookup": document.lookup,
                ":body": body,
            })?,
            None => remove.execute(params![collection, document.id])?,
        };
    }
    Ok(())
}

/// The device now has all there is: what this pass did not see is gone, and empty lists mean empty.
/// Says whether a pull from the beginning ends here.
fn reach_head(connection: &Connection, pass: i64) -> Result<bool, MirrorError> {
    let swept: i64 = connection.prepare_cached("SELECT swept FROM state")?.query_row([], |row| row.get(0))?;
    if swept >= pass {
        return Ok(false);
    }
    connection.execute("DELETE FROM documents WHERE pass < ?", [pass])?;
    connection.execute("UPDATE state SET swept = ?", [pass])?;
    let mut reached = connection.prepare("INSERT OR IGNORE INTO collections (collection) VALUES (?)")?;
    for collection in Collection::ALL {
        reached.execute([schema::number(collection)])?;
    }
    Ok(true)
}

fn cursor(connection: &Connection) -> Result<Option<Cursor>, MirrorError> {
    let row = connection
        .prepare_cached("SELECT epoch, seq FROM state WHERE epoch IS NOT NULL")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(epoch, seq): (i64, i64)| Cursor { epoch: unsigned(epoch), seq: unsigned(seq) }))
}

/// SQLite's integers are signed; counters that count up by one never reach the difference.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn set_aside(path: &Path) -> Result<PathBuf, MirrorError> {
    let aside = sidecar(path, ".damaged");
    let renamed = std::fs::rename(path, &aside);
    renamed.map_err(|source| MirrorError::NotSetAside { path: path.to_owned(), source })?;
    // A WAL left behind would be taken for the fresh file's.
    remove(path)?;
    Ok(aside)
}

fn remove(path: &Path) -> Result<(), MirrorError> {
    for path in [path.to_owned(), sidecar(path, "-wal"), sidecar(path, "-shm")] {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(MirrorError::NotSetAside { path, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
