//! The mirror's connections. A file that turns out damaged is set aside, and both are made anew.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::record::Collection;
use rusqlite::{Connection, params};
use tokio::sync::Notify;

use super::kept::Kept;
use super::{Found, Mirror, MirrorError, MirrorOpening, copies, schema, state, stepped};
use crate::sqlite::{self, Connected, Durability, FileKey, OpenError, Opening, sidecar};

/// The applying connection's share: a first pull of ten thousand records revisits the pages of their
/// index again and again. It is given back when a pull from the beginning has reached the head.
const WRITER_CACHE_KIB: u32 = 8 * 1024;

/// Where the file is, and whose.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    key: FileKey,
    pub(super) facility: (OrganizationId, FacilityId),
    cache_kib: u32,
}

/// An open file.
struct Connections {
    reader: Connected,
    writer: Connected,
}

impl Mirror {
    /// Opens the mirror, or makes one. A damaged file, or one that another build made, is set aside (only the last one
    /// is kept), and another facility's removed.
    ///
    /// # Errors
    /// When the disk refuses, or a newer agent wrote the file.
    pub fn open(opening: &MirrorOpening<'_>) -> Result<(Self, Found), MirrorError> {
        let place = Place {
            path: opening.path.to_owned(),
            key: opening.key.clone(),
            facility: opening.facility,
            cache_kib: opening.cache_kib,
        };
        let (connections, found) = match place.open() {
            Ok(Some(connections)) => (connections, Found::Intact),
            Ok(None) => {
                remove(&place.path)?;
                (place.open_fresh()?, Found::OtherFacility)
            }
            // What another build made is had again, as what is damaged is.
            Err(
                MirrorError::Open(OpenError::NotReadable { .. } | OpenError::ChangedMigration { .. })
                | MirrorError::Damaged,
            ) => {
                let aside = set_aside(&place.path)?;
                (place.open_fresh()?, Found::SetAside(aside))
            }
            Err(error) => return Err(error),
        };
        let mirror = Self {
            reader: Mutex::new(Some(connections.reader)),
            writer: Mutex::new(Some(connections.writer)),
            place,
            kept: Kept::default(),
            generation: AtomicU64::new(0),
            begun_anew: AtomicBool::new(false),
            wants_more: AtomicBool::new(false),
            set_aside: AtomicBool::new(matches!(found, Found::SetAside(_))),
            news: Notify::new(),
        };
        // What an earlier run found and did not come to tell.
        mirror.news.notify_one();
        Ok((mirror, found))
    }

    /// Reads with the reading connection.
    pub(super) fn reading<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        let generation = self.generation();
        let result = match &mut *lock(&self.reader) {
            Some(reader) => {
                reader.revive();
                read(reader)
            }
            None => Err(MirrorError::Damaged),
        };
        self.renewing(generation, result)
    }

    /// Writes with the applying connection.
    pub(super) fn writing<T>(
        &self,
        write: impl FnOnce(&mut Connection) -> Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        let generation = self.generation();
        let result = match &mut *lock(&self.writer) {
            Some(writer) => {
                writer.revive();
                write(writer)
            }
            None => Err(MirrorError::Damaged),
        };
        self.renewing(generation, result)
    }

    /// How much of the disk is free, in MiB. A disk that does not say has room.
    #[must_use]
    pub fn free_mib(&self) -> u64 {
        carepost_host::files::room(&self.place.path).map_or(u64::MAX, |bytes| bytes / (1024 * 1024))
    }

    /// How often the file was made anew since the mirror was opened.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Opens a file anew that turned out damaged. One that the disk failed to read once goes on; any other
    /// is set aside, and a fresh one begun. The answer stays an error: a list out of the fresh file must
    /// not pass for one that is complete.
    pub(super) fn renewing<T>(
        &self,
        generation: u64,
        result: Result<T, MirrorError>,
    ) -> Result<T, MirrorError> {
        if matches!(result, Err(MirrorError::Damaged | MirrorError::Open(OpenError::NotReadable { .. }))) {
            self.renew(generation)?;
        }
        result
    }

    fn renew(&self, generation: u64) -> Result<(), MirrorError> {
        // In this order everywhere: nobody reads or writes while the file is exchanged.
        let mut writer = lock(&self.writer);
        let mut reader = lock(&self.reader);
        if self.generation() != generation {
            return Ok(());
        }
        // The reader first, so that what can be folded into the file is.
        drop(reader.take());
        drop(writer.take());
        let connections = match self.place.open() {
            Ok(Some(connections)) => connections,
            Ok(None) | Err(MirrorError::Open(OpenError::NotReadable { .. }) | MirrorError::Damaged) => {
                set_aside(&self.place.path)?;
                self.set_aside.store(true, Ordering::Release);
                self.place.open_fresh()?
            }
            // Tried again with the next read or write.
            Err(error) => return Err(error),
        };
        let is_fresh = state::cursor(&connections.writer)?.is_none();
        (*reader, *writer) = (Some(connections.reader), Some(connections.writer));
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.kept.give_up();
        if is_fresh {
            self.begun_anew.store(true, Ordering::Release);
            drop((reader, writer));
            self.want_more();
        }
        Ok(())
    }
}

impl Place {
    pub(super) fn open_reader(&self, cache_kib: u32) -> Result<Connected, MirrorError> {
        Ok(sqlite::open_reader(&self.opening(cache_kib))?)
    }

    /// None when the file is another facility's.
    fn open(&self) -> Result<Option<Connections>, MirrorError> {
        let mut writer = sqlite::open(&self.opening(WRITER_CACHE_KIB))?;
        if !claim(&writer, self.facility)? {
            return Ok(None);
        }
        sqlite::check(&writer)?;
        writer.fold();
        // The check read every page; the memory goes back.
        writer.execute_batch("PRAGMA shrink_memory")?;
        let reader = self.open_reader(self.cache_kib)?;
        Ok(Some(Connections { reader, writer }))
    }

    fn open_fresh(&self) -> Result<Connections, MirrorError> {
        // A fresh file belongs to whoever opens it first.
        self.open()?.ok_or(MirrorError::OtherFacility)
    }

    fn opening(&self, cache_kib: u32) -> Opening<'_> {
        Opening {
            path: &self.path,
            key: &self.key,
            durability: Durability::ProcessCrash,
            cache_kib,
            migrations: schema::MIGRATIONS,
        }
    }
}

/// Writes whose mirror it is into a fresh file; says whether it is this facility's. A collection that
/// the file's last agent did not know is registered.
fn claim(writer: &Connection, facility: (OrganizationId, FacilityId)) -> Result<bool, MirrorError> {
    let (organization, facility) = facility;
    writer.execute(
        "INSERT OR IGNORE INTO state (one, organization, facility) VALUES (1, ?, ?)",
        params![organization.as_bytes(), facility.as_bytes()],
    )?;
    let known = copies::load(writer)?;
    for collection in Collection::ALL {
        if known.iter().all(|copy| copy.collection != collection) {
            writer.execute(schema::REGISTER, [schema::number(collection)])?;
        }
    }
    stepped::renew(writer)?;
    let mine: bool = writer.query_row(
        "SELECT organization = ? AND facility = ? FROM state",
        params![organization.as_bytes(), facility.as_bytes()],
        |row| row.get(0),
    )?;
    Ok(mine)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves no half-done transaction behind: dropping one rolls it back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
