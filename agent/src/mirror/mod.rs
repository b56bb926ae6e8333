//! The mirror: what the server can give again. Documents of one facility, and the cursor up to which
//! they are complete.
//!
//! It is disposable. A damaged file is set aside and a fresh one pulled, also while the agent runs, and a
//! power cut may take the last pages ([`Durability::ProcessCrash`](crate::sqlite::Durability)): a page's
//! rows and its cursor are one transaction, so the server is simply asked again from there. What exists
//! nowhere else is in the outbox.
//!
//! It is proven equal, not assumed. Each row keeps its part in its collection's digest, and the digest
//! moves with every write. The page that reaches the head of the feed says what it should come to; in
//! between, the background [check](Mirror::check) reads the rows themselves. A collection that differs is
//! fetched again: its documents are named anew, and what was not named is swept at the head. A document
//! that cannot be taken holds up none behind it: it is named in `stepped_over`, and counts in the digest
//! as if it were here.
//!
//! Residents, records and reviews are read with a [`Permit`] for this mirror's facility only. Staff,
//! badges, workflows and the facility itself need none: they are read before anyone has signed in.

mod apply;
mod check;
mod copies;
mod files;
mod kept;
mod page;
mod read;
mod revoked;
mod schema;
mod state;
mod stepped;
#[cfg(test)]
pub(crate) mod tests;
mod threads;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Permit, Resource};
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use tokio::sync::Notify;

pub use apply::Applied;
pub use check::{Check, Slice};
pub use copies::{Differing, Finding, FoundBy};
pub use page::{Over, Page, PageError};
pub use read::by_room_then_name;
pub use stepped::Untold;
pub use threads::{Asked, RecordThread, RecordThreads, first_and_last};

use crate::sqlite::{self, Connected, FileKey, OpenError};

/// How many KiB of decrypted pages the reading connection may hold: enough for ten thousand records of
/// some three hundred bytes with their index.
pub const DEFAULT_CACHE_KIB: u32 = 6 * 1024;

/// How much of the disk the mirror leaves, in MiB, before it takes in much: what is charted on the device exists
/// nowhere else, and needs room; it takes months to fill so much.
pub const RESERVE_MIB: u64 = 64;
/// How much it leaves in any case: a few documents are taken in still, such as who may no longer sign in, and so is a
/// copy that is not whole, without which nobody can chart, or which a view for fewer eyes takes the place of.
const LAST_MIB: u64 = 16;
/// How many bytes of documents are few.
const FEW_BYTES: usize = 64 * 1024;

/// Why the mirror could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The file did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A damaged file could not be moved out of the way.
    #[error("{path}: damaged, and it could not be set aside: {source}; check the disk")]
    NotSetAside {
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
    /// What is left of the disk is kept for the outbox.
    #[error(
        "the disk is nearly full: what is left is kept for what is charted here, and nothing new is copied; free \
         some space"
    )]
    NoRoom,
    /// The file turned out damaged. It was set aside, and a fresh one is pulled.
    #[error("the copy of the facility's records was damaged: it is fetched again; try again in a minute")]
    Damaged,
    /// The mirror was made anew since the page's stream began: that page belongs to the one before.
    #[error("the copy of the facility's records was made anew: a stream has to begin at its beginning")]
    BegunAnew,
    /// A row is not what its collection holds.
    #[error("a document of {collection} cannot be read: {source}; refetch the mirror")]
    NotUnderstood { collection: &'static str, source: serde_json::Error },
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
    pub path: &'a Path,
    pub key: &'a FileKey,
    pub facility: (OrganizationId, FacilityId),
    /// KiB of decrypted pages to hold; [`DEFAULT_CACHE_KIB`] fits ten thousand records.
    pub cache_kib: u32,
}

/// What opening found, to be logged and reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The mirror as it was left, or a new one.
    Intact,
    /// The file was damaged, or another build's. It lies there now, and the mirror starts empty.
    SetAside(PathBuf),
    /// The file held another facility's documents. It was removed, and the mirror starts empty.
    OtherFacility,
}

/// Where a stream is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub cursor: Option<Cursor>,
    /// The server's proof of it.
    pub proof: Option<String>,
    /// The collections to be sent again from theirs.
    pub refetch: Vec<Collection>,
}

impl Beginning {
    /// As the server is asked for it.
    #[must_use]
    pub fn sync_position(&self) -> SyncPosition {
        let names: Vec<&str> = self.refetch.iter().map(|collection| collection.name()).collect();
        SyncPosition {
            // Whoever begins at the beginning gets everything.
            refetch: (!names.is_empty() && self.cursor.is_some()).then(|| names.join(",")),
            proof: self.proof.clone(),
            ..SyncPosition::at(self.cursor)
        }
    }
}

/// The device's copy of its facility's documents. Applying a page does not hold up readers.
#[derive(Debug)]
pub struct Mirror {
    // Dropped before the writer, whose closing then folds the WAL into the file. Either is none while a
    // damaged file could not be replaced.
    reader: Mutex<Option<Connected>>,
    writer: Mutex<Option<Connected>>,
    place: files::Place,
    kept: kept::Kept,
    generation: AtomicU64,
    /// The file was made anew, and no stream has begun at its beginning yet.
    begun_anew: AtomicBool,
    /// There is more to fetch than the last stream was asked for.
    wants_more: AtomicBool,
    /// A damaged file was set aside, and nobody was told yet.
    set_aside: AtomicBool,
    news: Notify,
}

impl Mirror {
    /// Whose documents it holds.
    #[must_use]
    pub fn facility_id(&self) -> FacilityId {
        self.place.facility.1
    }

    /// Up to where the mirror is complete; none before the first page, and during a refetch before its
    /// first page.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn cursor(&self) -> Result<Option<Cursor>, MirrorError> {
        self.reading(state::cursor)
    }

    /// How much of a resident is sent here: what is not sent is not none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn phi_mode(&self) -> Result<PhiMode, MirrorError> {
        self.reading(state::phi_mode)
    }

    /// Where the next stream is to begin. Ask each time that one is opened: a mirror that was made anew
    /// takes no page before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn beginning(&self) -> Result<Beginning, MirrorError> {
        self.writing(|writer| {
            let copies = copies::load(writer)?;
            let refetch = copies.into_iter().filter(|copy| copy.brought < copy.pass);
            let refetch = refetch.map(|copy| copy.collection).collect();
            let (cursor, proof) = (state::cursor(writer)?, state::proof(writer)?);
            let beginning = Beginning { cursor, proof, refetch };
            self.begun_anew.store(false, Ordering::Release);
            self.wants_more.store(false, Ordering::Release);
            Ok(beginning)
        })
    }

    /// Whether there is more to fetch than the last stream was asked for: then a new one has to begin
    /// ([`beginning`](Self::beginning)).
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.wants_more.load(Ordering::Acquire)
    }

    /// Whether a collection has reached the head of the feed at least once: until then what is not in a
    /// list may still come, and an empty one means "still loading". Ask before reading the list, because
    /// a page that is applied in between only adds, and after it, because a damaged mirror may have been
    /// made anew.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_complete(&self, collection: Collection) -> Result<bool, MirrorError> {
        self.reading(|reader| {
            let mut statement = reader.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM collections WHERE collection = ? AND swept > 0)",
            )?;
            Ok(statement.query_row([schema::number(collection)], |row| row.get(0))?)
        })
    }

    /// Forgets the cursor, so that everything is pulled again: after the server refused the cursor, or
    /// raised its epoch. What is here stays readable; what the new pull does not name is removed when
    /// it reaches the head (mark and sweep).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn refetch(&self) -> Result<(), MirrorError> {
        self.writing(|writer| {
            let transaction = writer.transaction()?;
            transaction.execute("UPDATE state SET epoch = NULL, seq = NULL", [])?;
            stepped::forget_strangers(&transaction)?;
            copies::begin_all(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    /// Waits until something was found ([`untold`](Self::untold)), or there is more to fetch
    /// ([`wants_more`](Self::wants_more)). It is so once after each opening.
    pub async fn until_news(&self) {
        self.news.notified().await;
    }

    /// Whether a damaged file was set aside since this was asked last.
    pub fn take_set_aside(&self) -> bool {
        self.set_aside.swap(false, Ordering::AcqRel)
    }

    fn want_more(&self) {
        self.wants_more.store(true, Ordering::Release);
        self.news.notify_one();
    }

    fn permitted<A>(&self, permit: &Permit<A>) -> Result<(), MirrorError> {
        let (organization, facility) = self.place.facility;
        if permit.resource() == Resource::Facility(organization, facility) {
            Ok(())
        } else {
            Err(MirrorError::OtherFacility)
        }
    }
}

/// SQLite's integers are signed; counters that count up by one never reach the difference.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
