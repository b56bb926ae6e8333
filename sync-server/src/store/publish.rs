//! Writes documents into a facility's feed, in the transaction that changes what they are about.

use carepost_protocol::id::PatientId;
use carepost_protocol::record::Collection;
use rusqlite::params;

use super::StoreError;
use super::column::{count, count_at};
use super::engine::Tx;

/// The end of one facility's feed, while a transaction adds to it.
pub(super) struct FeedEnd {
    seq: u64,
    moved: bool,
}

impl FeedEnd {
    /// Makes the feed of a new facility.
    pub(super) fn create(tx: &Tx<'_>) -> Result<(), StoreError> {
        tx.execute("INSERT INTO feeds (epoch, seq) VALUES (1, 0)", []).map(drop)
    }

    /// The end of the feed of the facility whose scope this is.
    pub(super) fn open(tx: &Tx<'_>) -> Result<Self, StoreError> {
        let seq = tx.first("SELECT seq FROM feeds", [], |row| count_at(row, 0))?;
        Ok(Self { seq: seq.ok_or(StoreError::NotFound("facility"))?, moved: false })
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
            "INSERT INTO documents (seq, collection, id, patient_id, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![count(seq), collection.name(), id, patient.map(|id| *id.as_bytes()), body],
        )?;
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
        tx.execute(
            "DELETE FROM documents WHERE collection = ?1 AND id = ?2",
            params![collection.name(), id],
        )?;
        self.add(tx, collection, id, patient, body)
    }

    /// Where the feed ends now.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Goes back to where the feed ended, after the writes since were undone.
    pub(super) fn rewind(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// Writes the counter, and announces it once all is durable.
    pub(super) fn close(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        if self.moved {
            tx.execute("UPDATE feeds SET seq = ?1", [count(self.seq)])?;
            tx.moved(tx.facility_scope()?.facility(), self.seq);
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
