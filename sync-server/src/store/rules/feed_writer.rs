//! The feed writer: writes documents into a facility's feed, in the transaction that changes what they are about.
//!
//! Each write moves the digests of the views that are counted: a facility's full view from its first
//! document, another from when the first device came that has it. The sums are kept in memory and
//! written once, when the end of the feed is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::id::PatientId;
use carepost_protocol::record::{Collection, MAX_DOCUMENT_BYTES};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::Cursor;

use super::view::View;
use crate::store::StoreError;
use crate::store::engine::{Tx, params};
use crate::store::row::{row, select};

/// The end of one facility's feed, while a transaction adds to it.
pub(in crate::store) struct FeedEnd {
    seq: u64,
    moved: bool,
    /// Staff or badges are among what was written.
    of_staff: bool,
    now: Timestamp,
    counting: Counting,
    steps: Vec<Step>,
    /// The views of which something went that cannot be read here: only another version knows whether it was counted.
    unsure: u64,
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
    pub(in crate::store) fn create(tx: &Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO feeds (epoch, seq, digested) VALUES (1, 0, ?1)";
        tx.execute(sql, params![View::Full.bit()]).map(drop)
    }

    /// The end of the feed of the facility whose scope this is.
    pub(in crate::store) fn open(tx: &Tx<'_>) -> Result<Self, StoreError> {
        let counting = Counting::read(tx)?;
        Ok(Self {
            seq: counting.seq,
            moved: false,
            of_staff: false,
            now: tx.now(),
            counting,
            steps: Vec::new(),
            unsure: 0,
        })
    }

    /// Adds a document that is new to the feed. Gives its `seq`. Everything enters a feed here, so nothing
    /// larger than a document may be is ever in one.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub(in crate::store) fn add(
        &mut self,
        tx: &Tx<'_>,
        collection: Collection,
        id: &[u8; 16],
        patient: Option<PatientId>,
        body: Option<&str>,
    ) -> Result<u64, StoreError> {
        if let Some(bytes) = body.map(str::len).filter(|bytes| *bytes > MAX_DOCUMENT_BYTES) {
            return Err(StoreError::TooLarge { collection, bytes });
        }
        let seq = self.seq + 1;
        tx.execute(
            "INSERT INTO documents (seq, collection, id, patient_id, body, written_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![seq, collection.name(), id, patient, body, self.now],
        )?;
        if let Some(body) = body {
            self.step(collection, id, seq, body, true);
        }
        self.seq = seq;
        self.moved = true;
        self.of_staff |= matches!(collection, Collection::Users | Collection::Badges);
        Ok(seq)
    }

    /// Puts a document's latest version, or its tombstone when there is no body, at the end of the feed.
    pub(in crate::store) fn put(
        &mut self,
        tx: &Tx<'_>,
        collection: Collection,
        id: &[u8; 16],
        patient: Option<PatientId>,
        body: Option<&str>,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT seq, body FROM documents WHERE collection = ?1 AND id = ?2";
        let known: Option<(u64, Option<String>)> = tx.first(sql, params![collection.name(), id])?;
        if let Some((seq, old)) = known {
            tx.execute("DELETE FROM documents WHERE seq = ?1", params![seq])?;
            if let Some(old) = old {
                self.step(collection, id, seq, &old, false);
            }
        }
        self.add(tx, collection, id, patient, body)
    }

    /// Takes a document out of the feed without a tombstone: its devices drop it by the mark that goes with
    /// the feed's end.
    pub(in crate::store) fn take_out(
        &mut self,
        tx: &Tx<'_>,
        collection: Collection,
        id: &[u8; 16],
        seq: u64,
        body: &str,
    ) -> Result<(), StoreError> {
        tx.execute("DELETE FROM documents WHERE seq = ?1", params![seq])?;
        self.step(collection, id, seq, body, false);
        Ok(())
    }

    /// Takes a place in the feed without a document, so that streams go on past it. Gives its `seq`.
    pub(in crate::store) const fn pass(&mut self) -> u64 {
        self.seq += 1;
        self.moved = true;
        self.seq
    }

    /// By how many documents the feed has grown here.
    pub(in crate::store) fn grown(&self) -> u64 {
        let full = || self.steps.iter().filter(|step| step.view == View::Full);
        let (came, went) =
            (full().filter(|step| step.came).count(), full().filter(|step| !step.came).count());
        u64::try_from(came.saturating_sub(went)).unwrap_or(u64::MAX)
    }

    /// Where the feed ends now.
    pub(in crate::store) fn seq(&self) -> u64 {
        self.seq
    }

    /// Goes back to where the feed ended, after the writes since were undone.
    pub(in crate::store) fn rewind(&mut self, seq: u64) {
        self.seq = seq;
        while self.steps.last().is_some_and(|step| step.seq > seq) {
            self.steps.pop();
        }
    }

    /// Writes the counter and the digests, and announces it once all is durable.
    pub(in crate::store) fn close(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        if self.moved {
            self.write_digests(tx)?;
            // Nor do views move that only another version has. They are counted anew when a device asks for them.
            let known = View::ALL.into_iter().map(View::bit).sum::<u64>() & !self.unsure;
            let sql = "UPDATE feeds SET seq = ?1, digested = digested & ?2, counting = counting & ?2";
            tx.execute(sql, params![self.seq, known])?;
            let facility = tx.facility_scope()?.facility();
            tx.moved(facility, self.seq);
            if self.of_staff {
                tx.staff_moved(facility);
            }
        }
        Ok(())
    }

    fn step(&mut self, collection: Collection, id: &[u8; 16], seq: u64, body: &str, came: bool) {
        let end = self.seq + 1;
        let went = (!came).then_some(seq);
        for view in View::ALL.into_iter().filter(|view| self.counting.moves(*view, went)) {
            if let Some(element) = view.element(collection, id, seq, body) {
                self.steps.push(Step { seq: end, view, collection, element, came });
            } else if !came && view.shows(collection) {
                self.unsure |= view.bit();
            }
        }
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
pub(in crate::store) fn put(
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

/// The end of the feed of the facility whose scope this is, in the feed's own epoch.
pub(in crate::store) fn head(tx: &Tx<'_>) -> Result<Cursor, StoreError> {
    let head = tx.first::<(u64, u64)>("SELECT epoch, seq FROM feeds", params![])?;
    let (epoch, seq) = head.ok_or(StoreError::NotFound("facility"))?;
    Ok(Cursor { epoch, seq })
}

/// What the collections of a view come to; one that never had a document is left out.
pub(in crate::store) fn digests(tx: &Tx<'_>, view: View) -> Result<BTreeMap<Collection, Digest>, StoreError> {
    let mut found = BTreeMap::new();
    tx.each("SELECT collection, count, sum FROM digests WHERE view = ?1", params![view.name()], |row| {
        let (collection, count, sum) = row.read()?;
        found.insert(collection, Digest::from_parts(count, sum));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// How many documents are counted in one commit at most; fewer when it has had its time.
const COUNTED_AT_ONCE: u32 = 5_000;

/// Counts documents into a view's digests, on from where the last commit left it: from its end on each
/// write moves them. Writes that come in between move what is counted already; what they add comes later
/// in the feed. One view of a facility is counted at a time, and whoever waits for another counts it too.
pub(in crate::store) fn count_on(tx: &Tx<'_>, wanted: View) -> Result<(), StoreError> {
    let counting = Counting::read(tx)?;
    if counting.digested & wanted.bit() != 0 {
        return Ok(());
    }
    let view = counting.view.unwrap_or(wanted);
    let mut known = digests(tx, view)?;
    let rows: BTreeSet<Collection> = known.keys().copied().collect();
    if counting.view.is_none() {
        known.values_mut().for_each(|digest| *digest = Digest::default());
    }
    let from = counting.view.map_or(0, |_| counting.to);
    let mut to = from;
    let mut all = true;
    let sql = "SELECT collection, id, seq, body FROM documents WHERE seq > ?1 AND body IS NOT NULL
        ORDER BY seq LIMIT ?2";
    let mut left = COUNTED_AT_ONCE;
    tx.each(sql, params![from, COUNTED_AT_ONCE], |row| {
        let (collection, id, seq, body) = row.read()?;
        to = seq;
        if let Some(element) = view.element(collection, &id, seq, body) {
            known.entry(collection).or_default().add(element);
        }
        left = left.saturating_sub(1);
        all = left > 0 && !tx.is_spent();
        Ok(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for (collection, digest) in known {
        write_digest(tx, view, collection, digest, rows.contains(&collection))?;
    }
    let (digested, bit) =
        if all { (counting.digested | view.bit(), 0) } else { (counting.digested, view.bit()) };
    let sql = "UPDATE feeds SET digested = ?1, counting = ?2, counted_to = ?3";
    tx.execute(sql, params![digested, bit, to]).map(drop)
}

row! {
    /// Which views are counted, and how far the one is that is being counted.
    struct Counting {
        seq: u64,
        digested: u64,
        view: Option<View> = "counting" by view_of_bit,
        to: u64 = "counted_to",
    }
}

fn view_of_bit(bit: u64) -> Option<View> {
    View::ALL.into_iter().find(|view| view.bit() == bit)
}

impl Counting {
    fn read(tx: &Tx<'_>) -> Result<Self, StoreError> {
        tx.first(select!(Counting, "feeds"), params![])?.ok_or(StoreError::NotFound("facility"))
    }

    /// Whether a view's digests move with a document that went, or came.
    fn moves(&self, view: View, went: Option<u64>) -> bool {
        let is_counted = self.view == Some(view) && went.is_some_and(|seq| seq <= self.to);
        self.digested & view.bit() != 0 || is_counted
    }
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
    let values = params![view.name(), collection.name(), digest.count, digest.sum_bytes()];
    tx.execute(sql, values).map(drop)
}
