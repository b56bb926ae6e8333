//! Writes documents into a facility's feed, in the transaction that changes what they are about.
//!
//! Each write moves the digests of the views that are counted: a facility's full view from its first
//! document, another from when the first device came that has it. The sums are kept in memory and
//! written once, when the end of the feed is.

use std::collections::BTreeMap;

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::id::PatientId;
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use rusqlite::{Row, params};

use super::StoreError;
use super::column::{count, count_at};
use super::engine::Tx;
use super::view::View;

/// The end of one facility's feed, while a transaction adds to it.
pub(super) struct FeedEnd {
    seq: u64,
    moved: bool,
    now: Timestamp,
    digested: u64,
    steps: Vec<Step>,
}

/// A write's part in a digest, and the end of the feed with it: so that it can be undone.
struct Step {
    seq: u64,
    view: View,
    collection: Collection,
    element: Element,
    came: bool,
}

impl FeedEnd {
    /// Makes the feed of a new facility.
    pub(super) fn create(tx: &Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO feeds (epoch, seq, digested) VALUES (1, 0, ?1)";
        tx.execute(sql, [count(View::Full.bit())]).map(drop)
    }

    /// The end of the feed of the facility whose scope this is.
    pub(super) fn open(tx: &Tx<'_>) -> Result<Self, StoreError> {
        let read = |row: &Row<'_>| Ok((count_at(row, 0)?, count_at(row, 1)?));
        let found = tx.first("SELECT seq, digested FROM feeds", [], read)?;
        let (seq, digested) = found.ok_or(StoreError::NotFound("facility"))?;
        Ok(Self { seq, moved: false, now: tx.now(), digested, steps: Vec::new() })
    }

    /// Adds a document that is new to the feed. Gives its `seq`.
    pub(super) fn add(
        &mut self,
        tx: &Tx<'_>,
        collection: Collection,
        id: &[u8; 16],
        patient: Option<PatientId>,
        body: Option<&str>,
    ) -> Result<u64, StoreError> {
        let seq = self.seq + 1;
        tx.execute(
            "INSERT INTO documents (seq, collection, id, patient_id, body, written_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                count(seq),
                collection.name(),
                id,
                patient.map(|id| *id.as_bytes()),
                body,
                self.now.as_millis(),
            ],
        )?;
        if let Some(body) = body {
            self.step(collection, id, seq, body, true)?;
        }
        self.seq = seq;
        self.moved = true;
        Ok(seq)
    }

    /// Puts a document's latest version, or its tombstone when there is no body, at the end of the feed.
    pub(super) fn put(
        &mut self,
        tx: &Tx<'_>,
        collection: Collection,
        id: &[u8; 16],
        patient: Option<PatientId>,
        body: Option<&str>,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT seq, body FROM documents WHERE collection = ?1 AND id = ?2";
        let read = |row: &Row<'_>| Ok((count_at(row, 0)?, row.get::<_, Option<String>>(1)?));
        if let Some((seq, old)) = tx.first(sql, params![collection.name(), id], read)? {
            tx.execute("DELETE FROM documents WHERE seq = ?1", [count(seq)])?;
            if let Some(old) = old {
                self.step(collection, id, seq, &old, false)?;
            }
        }
        self.add(tx, collection, id, patient, body)
    }

    /// Takes a document out of the feed without a tombstone: its devices drop it by the mark that goes with
    /// the feed's end.
    pub(super) fn take_out(
        &mut self,
        tx: &Tx<'_>,
        collection: Collection,
        id: &[u8; 16],
        seq: u64,
        body: &str,
    ) -> Result<(), StoreError> {
        tx.execute("DELETE FROM documents WHERE seq = ?1", [count(seq)])?;
        self.step(collection, id, seq, body, false)
    }

    /// Takes a place in the feed without a document, so that streams go on past it. Gives its `seq`.
    pub(super) const fn pass(&mut self) -> u64 {
        self.seq += 1;
        self.moved = true;
        self.seq
    }

    /// Where the feed ends now.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Goes back to where the feed ended, after the writes since were undone.
    pub(super) fn rewind(&mut self, seq: u64) {
        self.seq = seq;
        while self.steps.last().is_some_and(|step| step.seq > seq) {
            self.steps.pop();
        }
    }

    /// Writes the counter and the digests, and announces it once all is durable.
    pub(super) fn close(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        if self.moved {
            self.write_digests(tx)?;
            tx.execute("UPDATE feeds SET seq = ?1", [count(self.seq)])?;
            tx.moved(tx.facility_scope()?.facility(), self.seq);
        }
        Ok(())
    }

    fn step(
        &mut self,
        collection: Collection,
        id: &[u8; 16],
        seq: u64,
        body: &str,
        came: bool,
    ) -> Result<(), StoreError> {
        let end = self.seq + 1;
        for view in View::ALL.into_iter().filter(|view| self.digested & view.bit() != 0) {
            if let Some(element) = view.element(collection, id, seq, body)? {
                self.steps.push(Step { seq: end, view, collection, element, came });
            }
        }
        Ok(())
    }

    fn write_digests(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        for view in View::ALL {
            let mut steps = self.steps.iter().filter(|step| step.view == view).peekable();
            if steps.peek().is_none() {
                continue;
            }
            let known = digests(tx, view)?;
            let mut moved = BTreeMap::new();
            for Step { collection, element, came, .. } in steps {
                let before = || known.get(collection).copied().unwrap_or_default();
                let digest = moved.entry(*collection).or_insert_with(before);
                if *came { digest.add(*element) } else { digest.remove(*element) }
            }
            for (collection, digest) in moved {
                write_digest(tx, view, collection, digest, known.contains_key(&collection))?;
            }
        }
        Ok(())
    }
}

/// Puts one document at the end of the feed of the facility whose scope this is.
pub(super) fn put(
    tx: &Tx<'_>,
    collection: Collection,
    id: &[u8; 16],
    patient: Option<PatientId>,
    body: Option<&str>,
) -> Result<(), StoreError> {
    let mut end = FeedEnd::open(tx)?;
    end.put(tx, collection, id, patient, body)?;
    end.close(tx)
}

/// What the collections of a view come to; one that never had a document is left out.
pub(super) fn digests(tx: &Tx<'_>, view: View) -> Result<BTreeMap<Collection, Digest>, StoreError> {
    let mut found = BTreeMap::new();
    let mut statement = tx.prepare("SELECT collection, count, sum FROM digests WHERE view = ?1")?;
    let mut rows = statement.query([view.name()])?;
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let collection = Collection::from_name(name).ok_or(StoreError::Unreadable("digests"))?;
        found.insert(collection, Digest::from_parts(count_at(row, 1)?, row.get(2)?));
    }
    Ok(found)
}

/// Counts every document into a view's digests, once: from then on each write moves them. It reads the
/// whole feed, about a second for some hundred thousand documents, and no write can come between.
pub(super) fn count_view(tx: &Tx<'_>, view: View) -> Result<(), StoreError> {
    let digested = tx.first("SELECT digested FROM feeds", [], |row| count_at(row, 0))?;
    let digested = digested.ok_or(StoreError::NotFound("facility"))?;
    if digested & view.bit() != 0 {
        return Ok(());
    }
    let mut counted: BTreeMap<Collection, Digest> = BTreeMap::new();
    let mut statement =
        tx.prepare("SELECT collection, id, seq, body FROM documents WHERE body IS NOT NULL ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |at| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str()?);
        let collection = Collection::from_name(text(0)?).ok_or(StoreError::Unreadable("documents"))?;
        if let Some(element) = view.element(collection, &row.get(1)?, count_at(row, 2)?, text(3)?)? {
            counted.entry(collection).or_default().add(element);
        }
    }
    let known = digests(tx, view)?;
    for collection in Collection::ALL {
        let (digest, is_known) = (counted.remove(&collection), known.contains_key(&collection));
        if digest.is_some() || is_known {
            write_digest(tx, view, collection, digest.unwrap_or_default(), is_known)?;
        }
    }
    tx.execute("UPDATE feeds SET digested = ?1", [count(digested | view.bit())]).map(drop)
}

fn write_digest(
    tx: &Tx<'_>,
    view: View,
    collection: Collection,
    digest: Digest,
    is_known: bool,
) -> Result<(), StoreError> {
    let sql = if is_known {
        "UPDATE digests SET count = ?3, sum = ?4 WHERE view = ?1 AND collection = ?2"
    } else {
        "INSERT INTO digests (view, collection, count, sum) VALUES (?1, ?2, ?3, ?4)"
    };
    let values = params![view.name(), collection.name(), count(digest.count), digest.sum_bytes()];
    tx.execute(sql, values).map(drop)
}
