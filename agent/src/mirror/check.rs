//! The background check: the rows themselves against their digests, slice by slice.
//!
//! The running digest says what was written. What damage or another program made of it afterwards shows
//! only when the rows are read. Each collection is read in one read transaction of a connection of its
//! own, so that the check sees one state while pages are applied and people read.

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::copies::{self, Copy, Finding, FoundBy};
use super::page::Keys;
use super::{Mirror, MirrorError, schema, signed, stepped, unsigned};
use crate::sqlite::Connected;

/// How many rows are read at a time: some milliseconds.
const SLICE: i64 = 500;
/// The check reads each page once and need not keep it.
pub(super) const CACHE_KIB: u32 = 256;

/// A check under way.
#[derive(Debug)]
pub struct Check {
    reader: Connected,
    generation: u64,
    left: Vec<Collection>,
    open: Option<Progress>,
}

/// How far a collection is checked.
#[derive(Debug)]
struct Progress {
    copy: Copy,
    /// The last id that was read.
    after: Option<[u8; 16]>,
    found: Digest,
    /// Rows that are not what was written.
    altered: u64,
}

/// What a slice of the check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// There is more of the same collection.
    More,
    /// That collection was read to its end, and is as it was written, or not.
    Read {
        collection: Collection,
        /// Whether it is as it was written.
        sound: bool,
    },
    /// Every collection was read.
    Done,
}

impl Mirror {
    /// Begins a check of every collection. Read it on with [`check_on`](Self::check_on).
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn check(&self) -> Result<Check, MirrorError> {
        let generation = self.generation();
        let reader = self.renewing(generation, self.place.open_reader(CACHE_KIB))?;
        Ok(Check { reader, generation, left: Collection::ALL.into_iter().rev().collect(), open: None })
    }

    /// Reads the next slice. A collection whose rows are not what was written is marked, to be fetched
    /// again. One that is being fetched is left out, and so is one that is known to differ.
    ///
    /// # Errors
    /// When the file cannot be read. The check is then to be dropped.
    pub fn check_on(&self, check: &mut Check, now: Timestamp) -> Result<Slice, MirrorError> {
        let read = check.next();
        let (slice, finished) = self.renewing(check.generation, read)?;
        if let Some(finished) = finished.filter(|finished| !finished.is_sound()) {
            self.mark(&finished, now)?;
        }
        Ok(slice)
    }

    /// Marks a collection that the check found altered, unless it is fetched again already.
    fn mark(&self, checked: &Progress, now: Timestamp) -> Result<(), MirrorError> {
        let marked = self.writing(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let collection = checked.copy.collection;
            let copies = copies::load(&transaction)?;
            let copy = copies.into_iter().find(|copy| {
                copy.collection == collection && copy.pass == checked.copy.pass && copy.is_whole()
            });
            let Some(mut copy) = copy.filter(|copy| copy.differs_since.is_none()) else { return Ok(false) };
            copies::report(
                &transaction,
                &Finding {
                    collection,
                    mended: false,
                    at: now,
                    found_by: FoundBy::Check,
                    held: checked.found.count.saturating_sub(checked.altered),
                    expected: checked.copy.digest.count,
                },
            )?;
            copy.suspect(now);
            copies::save(&transaction, &copy)?;
            transaction.commit()?;
            Ok(true)
        })?;
        if marked {
            self.want_more();
        }
        Ok(())
    }
}

impl Check {
    /// The next slice, and the collection that it ends.
    fn next(&mut self) -> Result<(Slice, Option<Progress>), MirrorError> {
        let mut progress = match self.open.take() {
            Some(progress) => progress,
            None => match self.next_collection()? {
                Some(progress) => progress,
                None => return Ok((Slice::Done, None)),
            },
        };
        if progress.read_slice(&self.reader)? {
            self.open = Some(progress);
            return Ok((Slice::More, None));
        }
        self.reader.execute_batch("COMMIT")?;
        let (collection, sound) = (progress.copy.collection, progress.is_sound());
        Ok((Slice::Read { collection, sound }, Some(progress)))
    }

    /// The next collection that can be checked, in a read transaction of its own.
    fn next_collection(&mut self) -> Result<Option<Progress>, MirrorError> {
        while let Some(collection) = self.left.pop() {
            self.reader.execute_batch("BEGIN")?;
            let copies = copies::load(&self.reader)?;
            let copy = copies.into_iter().find(|copy| copy.collection == collection);
            if let Some(copy) = copy.filter(|copy| copy.is_whole() && copy.differs_since.is_none()) {
                let found = stepped::digest(&self.reader, &copy)?;
                return Ok(Some(Progress { copy, after: None, found, altered: 0 }));
            }
            self.reader.execute_batch("COMMIT")?;
        }
        Ok(None)
    }
}

impl Progress {
    /// Reads a slice of rows; says whether there may be more.
    fn read_slice(&mut self, reader: &Connection) -> Result<bool, MirrorError> {
        let mut statement = reader.prepare_cached(
            "SELECT id, seq, pass, patient, recorded_at, lookup, body, element, amends FROM documents
             WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
        )?;
        let after: &[u8] = self.after.as_ref().map_or(&[], |after| after);
        let mut rows = statement.query(params![schema::number(self.copy.collection), after, SLICE])?;
        let mut read = 0;
        let mut last = None;
        while let Some(row) = rows.next()? {
            read += 1;
            last = Some(row.get(0)?);
            // The version before one that was stepped over has no part in the digest.
            let outdated = row.get_ref(7)? == ValueRef::Null
                && stepped::is_over(reader, self.copy.collection, &row.get(0)?)?;
            self.altered += u64::from(!outdated && !self.is_as_written(row)?);
        }
        self.after = last.or(self.after);
        Ok(read == SLICE)
    }

    fn is_as_written(&mut self, row: &Row<'_>) -> Result<bool, MirrorError> {
        let collection = self.copy.collection;
        let body = row.get_ref(6)?.as_bytes().map_err(rusqlite::Error::from)?;
        let id: [u8; 16] = row.get(0)?;
        let seq: i64 = row.get(1)?;
        let element = Element::of(collection, &id, unsigned(seq), body);
        self.found.add(element);
        let stored: Option<[u8; 16]> = row.get(7)?;
        let lookup = row.get_ref(5)?.as_str_or_null();
        let keys = Keys::of(collection, &id, body).is_ok_and(|keys| {
            // What came before it was made sorts where it came.
            let made = row.get(4).is_ok_and(|at: Option<i64>| {
                at.is_some() == keys.recorded_at.is_some() && at <= keys.recorded_at
            });
            made && row.get(3) == Ok(keys.patient)
                && row.get(8) == Ok(keys.amends)
                && lookup.is_ok_and(|lookup| lookup == keys.lookup.as_deref())
        });
        let written = signed(unsigned(seq)) == seq && stored == Some(element.to_bytes());
        Ok(keys && written && row.get::<_, i64>(2)? == self.copy.pass)
    }

    fn is_sound(&self) -> bool {
        self.altered == 0 && self.found == self.copy.digest
    }
}
