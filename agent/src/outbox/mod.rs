//! The outbox: what exists nowhere else. Changes and audit events until the server has them for good,
//! drafts, and the counters of failed PINs.
//!
//! A save is one durable append ([`Durability::PowerCut`]): the care change and its audit events in
//! one transaction, each linked to the one before it in its lane and signed with the device key. A chain
//! is never rewritten; what changes about an entry is only what was said of it.
//!
//! Where the server turns out to have another history, as after this directory was restored from an
//! older copy, the outbox begins a new incarnation that forks from the old one: what the server does not have is
//! made anew in it. Numbers go on, so that a lane's number names one entry of the file.

mod append;
mod batch;
mod drafts;
mod fork;
mod lineage;
mod place;
mod prune;
mod queries;
mod quota;
mod rejected;
mod resync;
mod schema;
mod settle;
mod throttle;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carepost_agent_core::outbox::BadReceipt;
use carepost_protocol::change::{Lane, Link};
use carepost_protocol::id::{AssignmentId, DeviceId, FacilityId, IncarnationId, OrganizationId, RecordId};
use carepost_protocol::role::{Permit, Resource};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::push::MAX_CHANGE_BYTES;
use rusqlite::{Connection, OptionalExtension, params};

pub use append::{Entry, Saved};
pub use batch::{Batch, Sent, Shape};
pub use drafts::{DraftOf, VERSION, version_of};
pub use fork::{Diverged, Forked};
pub use queries::{Counts, Listed, Pending, Position, Progress};
pub use rejected::{Exported, RejectedChange, RejectedEntry};
pub use resync::Resync;

use lineage::Lineage;
use place::Place;
use quota::Quota;

use crate::identity::DeviceKey;
use crate::identity::key::KeyError;
use crate::identity::seal::ANEW;
use crate::sqlite::{self, Connected, Durability, FileKey, OpenError, Opening, is_gone, sidecar};

/// KiB of decrypted pages: the chain's end and its indexes, which is all that is revisited.
const CACHE_KIB: u32 = 1024;
/// How what is wrong with a file begins that takes what is saved.
const KEPT: &str = "what is saved here is kept, but";

/// Why something was not saved, or not read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The file did not open. It may hold care that exists nowhere else: never delete it.
    #[error(
        "{0}. Delete nothing there: what was saved here and not sent is in the outbox, and nowhere else. Unless it is \
         damaged, the organization's recovery key opens it as well"
    )]
    Open(#[from] OpenError),
    /// One was begun, and is gone.
    #[error(
        "{path}: missing or empty: put the file back if there is a copy of it (what was last written into it may be in \
         {path}-wal, which belongs to it: delete nothing there); else {ANEW}"
    )]
    Gone { path: PathBuf },
    /// The file belongs to another registration of this device.
    #[error(
        "{path}: holds the entries of another registration of this device: salvage it with the \
         organization's recovery key before this device is used"
    )]
    OtherDevice { path: PathBuf },
    /// The permit is for another place, or for another session than the change names.
    #[error("this session may not chart here: sign in again")]
    NotPermitted,
    /// The change is larger than could ever be sent.
    #[error("this entry has {bytes} bytes, and {MAX_CHANGE_BYTES} is the most: shorten its texts")]
    TooLarge { bytes: usize },
    /// The form's token is none.
    #[error("the form carries no token: open it anew")]
    NotAToken,
    /// The form was saved before, with other values.
    #[error("this form was saved before with other values: look at the saved entry, then open a new form")]
    SavedDifferently {
        /// What was saved.
        record: RecordId,
    },
    /// The disk, or the part of it that the outbox may take, is full. Nothing was saved, and what was
    /// saved before is unharmed.
    #[error("this device's disk is full")]
    Full,
    /// The file is not folded into, and what lies beside it takes all that it may. Nothing was saved.
    #[error("what may lie beside the outbox is full: {why}")]
    WalFull {
        /// What is wrong with the file, and what to do.
        why: String,
    },
    /// A path leads to the open file no more: nothing is saved where it would be lost with the process.
    #[error("{path} was moved, deleted or replaced: put it back, and do not restart the agent before that")]
    Moved { path: PathBuf },
    /// The receipt is not for what was sent: send it again.
    #[error(transparent)]
    Receipt(#[from] BadReceipt),
    /// No such entry is kept.
    #[error("no entry {n} is kept here: look at the list again")]
    NotKept { n: u64 },
    /// The entry is not one that was rejected and waits for a person.
    #[error("entry {n} is not a rejected one that waits for a decision: look at the list again")]
    NotRejected { n: u64 },
    /// A correction of somebody else's entry.
    #[error("only the one who made this entry can correct it; another makes a new one")]
    NotItsActor,
    /// Something stored cannot be read.
    #[error("an entry of the outbox cannot be read ({0}): keep the file and call for help")]
    NotUnderstood(&'static str),
    /// The device key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system's random source failed.
    #[error("the system's random source failed: restart the device")]
    Random,
    /// SQLite refused for another reason. A save that ends so may be durable or not: save the same form
    /// again, which never doubles it.
    #[error("this device's disk failed ({0})")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for OutboxError {
    fn from(error: rusqlite::Error) -> Self {
        if sqlite::is_full(&error) { Self::Full } else { Self::Sqlite(error) }
    }
}

/// Under which registration entries are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub device: DeviceId,
    pub organization: OrganizationId,
    pub facility: FacilityId,
    /// Its binding to the facility.
    pub assignment: AssignmentId,
}

impl From<&Grant> for Binding {
    fn from(grant: &Grant) -> Self {
        Self {
            device: grant.device_id,
            organization: grant.organization_id,
            facility: grant.facility_id,
            assignment: grant.assignment_id,
        }
    }
}

#[derive(Debug)]
pub struct OutboxOpening<'a> {
    pub path: &'a Path,
    pub key: &'a FileKey,
    /// The registration it belongs to.
    pub binding: Binding,
    /// Signs each link as it is written.
    pub device_key: Arc<DeviceKey>,
    /// The most MiB that the file may take.
    pub max_mib: u32,
    /// When, for the beginning of a new incarnation.
    pub now: Timestamp,
    /// Whether one was begun there: then none is begun in its place.
    pub is_begun: bool,
    /// Whether this process is the one that runs on it, and not a command beside that: it alone folds the WAL back.
    pub runs: bool,
}

#[derive(Debug)]
pub struct Outbox {
    connection: Mutex<Connected>,
    binding: Binding,
    incarnation: Mutex<IncarnationId>,
    /// SQLite's count of what other processes wrote, as it was last seen.
    seen: AtomicI64,
    device_key: Arc<DeviceKey>,
    quota: Quota,
    trouble: Mutex<Option<String>>,
    place: Place,
}

impl Outbox {
    /// Opens the outbox, or begins one under a new incarnation.
    ///
    /// # Errors
    /// [`OutboxError::Open`] when it does not open, [`OutboxError::Gone`] when it was begun and is gone: unlike the
    /// mirror it is never set aside or begun anew unasked. [`OutboxError::OtherDevice`] when it is another
    /// registration's.
    pub fn open(opening: OutboxOpening<'_>) -> Result<Self, OutboxError> {
        // SQLite would also remove what lies beside it.
        let is_begun = opening.is_begun || !is_gone(&sidecar(opening.path, "-wal"));
        if is_begun && is_gone(opening.path) {
            return Err(OutboxError::Gone { path: opening.path.to_owned() });
        }
        let open = if is_begun { sqlite::open_existing } else { sqlite::open };
        let connection = open(&Opening {
            path: opening.path,
            key: opening.key,
            durability: Durability::PowerCut,
            cache_kib: CACHE_KIB,
            migrations: schema::MIGRATIONS,
        })?;
        let binding = opening.binding;
        if current(&connection).map_err(|error| unreadable(error, opening.path))?.is_none() {
            begin(&connection, &binding, opening.now)?;
        }
        let (incarnation, bound) =
            current(&connection)?.ok_or(OutboxError::NotUnderstood("the incarnation"))?;
        if bound != binding {
            return Err(OutboxError::OtherDevice { path: opening.path.to_owned() });
        }
        let seen = AtomicI64::new(data_version(&connection)?);
        let outbox = Self {
            connection: Mutex::new(connection),
            binding,
            incarnation: Mutex::new(incarnation),
            seen,
            device_key: opening.device_key,
            quota: Quota::of(opening.max_mib),
            trouble: Mutex::default(),
            place: Place::of(opening.path),
        };
        if opening.runs {
            outbox.fold_at_start();
        }
        Ok(outbox)
    }

    /// [`fold_if_sound`](Self::fold_if_sound) for whoever has just opened it while nobody ran on it: after a clean end
    /// there is no WAL, and nothing to lose. Later one that is gone was taken away.
    pub fn fold_at_start(&self) {
        let (path, _) = self.lock().place();
        if is_gone(&sidecar(&path, "-wal")) {
            self.lock().fold();
        } else {
            self.fold_if_sound();
        }
    }

    /// Folds the WAL back, now and from now on, where the file is sound. What lies beside one that is not, or of which
    /// that is not known, is left as it is, for whoever puts the file back; and [`trouble`](Self::trouble) says so. For
    /// whoever runs on it, or while nobody does. All of the file is read, and nobody who saves waits for that.
    /// Returns whether that is known now: a disk that did not read may read soon.
    pub fn fold_if_sound(&self) -> bool {
        // Another file that lies there says nothing of the one that is open.
        if self.in_place().is_err() {
            return false;
        }
        let (path, key) = self.lock().place();
        let look = || sqlite::is_sound(&path, &key);
        let is_sound = look().or_else(|_| look());
        let (is_known, path) = (is_sound.is_ok(), path.display());
        let trouble = match is_sound {
            Ok(true) => {
                self.lock().fold();
                None
            }
            Ok(false) => Some(format!(
                "{KEPT} {path} is damaged: copy the state directory, let what waits be sent, then {ANEW}"
            )),
            Err(error) => Some(format!("{KEPT} {path} cannot be read to its end ({error}): check the disk")),
        };
        if let Some(why) = trouble.as_ref().filter(|_| self.trouble() != trouble) {
            tracing::error!(why, "what is saved from now on stays in the -wal beside it");
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        is_known
    }

    /// Whether its WAL is folded back. It is not beside whoever runs on it, nor after a page that could not be read.
    #[must_use]
    pub fn folds(&self) -> bool {
        self.lock().folds()
    }

    /// What is wrong with the file, in words, though it opens and takes what is saved.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The present incarnation of this outbox.
    #[must_use]
    pub fn incarnation(&self) -> IncarnationId {
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another process has written since this was last asked, such as the command line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn changed_elsewhere(&self) -> Result<bool, OutboxError> {
        let now = data_version(&self.lock())?;
        Ok(self.seen.swap(now, Ordering::Relaxed) != now)
    }

    /// The number and link of a lane's last entry; where there is none yet, 0 and the genesis link.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn head(&self, lane: Lane) -> Result<(u64, Link), OutboxError> {
        let connection = self.lock();
        self.head_in(&connection, &self.lineage(&connection)?, lane)
    }

    fn head_in(
        &self,
        connection: &Connection,
        lineage: &Lineage,
        lane: Lane,
    ) -> Result<(u64, Link), OutboxError> {
        let incarnation = lineage.current()?;
        let last: Option<i64> = connection
            .prepare_cached("SELECT max(n) FROM entries WHERE lane = ?")?
            .query_row([schema::number(lane)], |row| row.get(0))?;
        let n = last.map_or(0, unsigned).max(incarnation.after(lane));
        let link = lineage.link_of(connection, incarnation, lane, n)?;
        Ok((n, link.ok_or(OutboxError::NotUnderstood("the link of the last entry"))?))
    }

    fn permitted<A>(&self, permit: &Permit<A>) -> Result<(), OutboxError> {
        if permit.resource() == Resource::Facility(self.binding.organization, self.binding.facility) {
            Ok(())
        } else {
            Err(OutboxError::NotPermitted)
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        // A panic elsewhere leaves no half-done transaction behind: dropping one rolls it back.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened anew it would be whatever lies there now.
        if connection.is_given_up() && self.in_place().is_ok() {
            connection.revive();
        }
        connection
    }
}

/// A file whose first page is whole may be damaged behind it.
fn unreadable(error: OutboxError, path: &Path) -> OutboxError {
    if matches!(&error, OutboxError::Sqlite(fault) if sqlite::is_damage(fault)) {
        return OpenError::NotReadable { path: path.to_owned() }.into();
    }
    error
}

fn current(connection: &Connection) -> Result<Option<(IncarnationId, Binding)>, OutboxError> {
    let row = connection
        .prepare("SELECT id, device, organization, facility, assignment FROM incarnations WHERE is_current")?
        .query_row([], |row| {
            let binding = Binding {
                device: DeviceId::from_bytes(row.get(1)?),
                organization: OrganizationId::from_bytes(row.get(2)?),
                facility: FacilityId::from_bytes(row.get(3)?),
                assignment: AssignmentId::from_bytes(row.get(4)?),
            };
            Ok((IncarnationId::from_bytes(row.get(0)?), binding))
        })
        .optional()?;
    Ok(row)
}

fn data_version(connection: &Connection) -> Result<i64, OutboxError> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

fn begin(connection: &Connection, binding: &Binding, now: Timestamp) -> Result<(), OutboxError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| OutboxError::Random)?;
    connection.execute(
        "INSERT INTO incarnations (id, device, organization, facility, assignment, began_at, is_current)
         VALUES (?, ?, ?, ?, ?, ?, 1)",
        params![
            IncarnationId::new(now, random).as_bytes(),
            binding.device.as_bytes(),
            binding.organization.as_bytes(),
            binding.facility.as_bytes(),
            binding.assignment.as_bytes(),
            now.as_millis(),
        ],
    )?;
    Ok(())
}

/// SQLite's integers are signed; counters that count up by one never reach the difference.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
