//! The tombstone horizon: tombstones that are old enough are forgotten, and up to where is remembered.

use carepost_protocol::time::Timestamp;

use crate::store::StoreError;
use crate::store::engine::{Tx, params};

/// How many tombstones one commit removes at most, so that other writers do not wait for long.
pub(in crate::store) const BATCH: u32 = 500;

/// Removes tombstones of the facility whose scope this is, written before a moment: the oldest first, at
/// most [`BATCH`]. From then on a cursor that has not passed them is not served. Gives how many they were.
pub(in crate::store) fn purge(tx: &Tx<'_>, before: Timestamp) -> Result<u32, StoreError> {
    let old = "SELECT seq FROM documents WHERE body IS NULL AND written_at < ?1 ORDER BY written_at LIMIT ?2";
    let seqs: Vec<u64> = tx.all(old, params![before, BATCH])?;
    for seq in &seqs {
        tx.execute("DELETE FROM documents WHERE seq = ?1", params![*seq])?;
    }
    if let Some(last) = seqs.iter().max() {
        tx.execute("UPDATE feeds SET horizon = ?1 WHERE horizon < ?1", params![*last])?;
    }
    Ok(u32::try_from(seqs.len()).unwrap_or(BATCH))
}
