//! The quota: how much of the disk the outbox may take, and what gives way when it is full.
//!
//! There are two limits: saving stops at the first, and what the server says of entries may go a little beyond it.
//! Otherwise a full outbox could not note a receipt, and would stay full for good. A WAL that cannot be folded back has
//! the same two: the reserve of that one, which nothing makes room in, is for what the server says alone.

use std::sync::MutexGuard;

use carepost_protocol::change::Lane;
use rusqlite::TransactionBehavior;

use super::batch::first_queued;
use super::prune::durable;
use super::resync::oldest;
use super::{Outbox, OutboxError};
use crate::sqlite::Connected;

const PAGES_A_MIB: u32 = 256;
const PAGE_BYTES: u64 = 4096;
/// SQLite's own limit.
const MOST_PAGES: u32 = 0xffff_fffe;
/// Which part is kept for receipts. They make each entry some twenty bytes longer, a rejection a few
/// hundred; some of the pages that were full split.
const RESERVE: u32 = 4;

/// The file's limits, in pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    saving: u32,
    settling: u32,
}

impl Quota {
    pub(super) const fn of(max_mib: u32) -> Self {
        let settling = max_mib.saturating_mul(PAGES_A_MIB);
        Self { saving: settling - settling / RESERVE, settling }
    }
}

impl Outbox {
    /// Gives up copies of what the server has acknowledged and the mirror has received, the older half,
    /// before their time is over: room for what exists nowhere else is worth more. What a verified backup
    /// of the server holds goes first. Says how many; none means that the outbox is full of what only
    /// this device has.
    ///
    /// # Errors
    /// [`OutboxError::WalFull`] where it would give none, and when the file cannot be written.
    pub fn make_room(&self, mirror_seq: u64) -> Result<usize, OutboxError> {
        // A WAL that is full gets no room by it.
        drop(self.lock_to_save()?);
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let lineage = self.lineage(&transaction)?;
        let mut removed = 0;
        for only_durable in [true, false] {
            for lane in Lane::ALL {
                let durable = durable(&transaction, lane)?.filter(|_| only_durable);
                if only_durable && durable.is_none() {
                    continue;
                }
                let head = self.head_in(&transaction, &lineage, lane)?.0;
                let end = first_queued(&transaction, lane)?.unwrap_or(head + 1).saturating_sub(1);
                let span = end.saturating_sub(oldest(&transaction, lane)?.unwrap_or(end));
                let half = usize::try_from(span.div_ceil(2)).unwrap_or(usize::MAX);
                removed += self.trim(&transaction, &lineage, lane, half, |spare| {
                    durable.is_none_or(|durable| spare.n <= durable)
                        && spare.seq.is_none_or(|seq| seq <= mirror_seq)
                })?;
            }
            if removed > 0 {
                break;
            }
        }
        transaction.commit()?;
        Ok(removed)
    }

    pub(super) fn lock_to_save(&self) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        self.in_place()?;
        self.lock_within(self.quota.saving)
    }

    pub(super) fn lock_to_settle(&self) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        self.lock_within(self.quota.settling)
    }

    /// For what is small and nobody's answer: where the file is not folded into, it leaves the reserve alone.
    pub(super) fn lock_to_keep(&self) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        let Quota { saving, settling } = self.quota;
        self.lock_within(if self.trouble().is_some() { saving } else { settling })
    }

    /// For what has to be done whatever room it takes: only the disk limits it.
    pub(super) fn lock_without_limit(&self) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        self.lock_within(MOST_PAGES)
    }

    /// A limit below what the file has already grown to means that it does not grow further.
    fn lock_within(&self, pages: u32) -> Result<MutexGuard<'_, Connected>, OutboxError> {
        let connection = self.lock();
        if let Some(why) = self.trouble()
            && connection.wal_bytes() > u64::from(pages) * PAGE_BYTES
        {
            return Err(OutboxError::WalFull { why });
        }
        let limit = format!("PRAGMA max_page_count = {pages}");
        connection.prepare_cached(&limit)?.query_row([], |_| Ok(()))?;
        Ok(connection)
    }
}
