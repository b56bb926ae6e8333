//! How much of the disk the outbox may take, and what gives way when it is full.
//!
//! Two limits: saving stops at the first, and what the server says of entries may go a little beyond it.
//! Otherwise a full outbox could not note a receipt, and would stay full for good.

use std::sync::MutexGuard;

use carepost_protocol::change::Lane;
use rusqlite::{TransactionBehavior, params};

use super::settle::first_queued;
use super::{Outbox, OutboxError, schema, signed};
use crate::sqlite::Connected;

const PAGES_A_MIB: u32 = 256;
/// Which part is kept for receipts. They make each entry some twenty bytes longer, a refusal a few
/// hundred; some of the pages that were full split.
const RESERVE: u32 = 4;

/// The file's limits, in pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    saving: u32,
    settling: u32,
}

impl Room {
    pub(super) const fn of(max_mib: u32) -> Self {
        let settling = max_mib.saturating_mul(PAGES_A_MIB);
        Self { saving: settling - settling / RESERVE, settling }
    }
}

impl Outbox {
    /// Gives up copies of what the server has acknowledged and the mirror has received, the older half,
    /// before their seven days are over: room for what exists nowhere else is worth more. Says how many;
    /// none means that the outbox is full of what only this device has.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make_room(&self, mirror_seq: u64) -> Result<usize, OutboxError> {
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut removed = 0;
        for lane in Lane::ALL {
            let head = self.head_in(&transaction, lane)?.0;
            // The entry that the next one links to stays.
            let end = signed(first_queued(&transaction, lane)?.unwrap_or(head + 1)) - 1;
            removed += transaction.execute(
                "WITH spare AS (
                     SELECT n FROM entries
                     WHERE lane = ?1 AND n < ?2 AND state = ?3 AND (seq IS NULL OR seq <= ?4))
                 DELETE FROM entries WHERE lane = ?1 AND n IN (
                     SELECT n FROM spare ORDER BY n LIMIT (SELECT (count(*) + 1) / 2 FROM spare))",
                params![schema::number(lane), end, schema::ACKED, signed(mirror_seq)],
            )?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    pub(super) fn lock_to_save(&self) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        self.lock_within(self.room.saving)
    }

    pub(super) fn lock_to_settle(&self) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        self.lock_within(self.room.settling)
    }

    /// A limit below what the file has already grown to means that it does not grow further.
    fn lock_within(&self, pages: u32) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        let connection = self.lock();
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        Ok(connection)
    }
}
