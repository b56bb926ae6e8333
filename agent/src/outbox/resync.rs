//! Resync: what a server that was rewound has no more is queued again, as far as it is kept.

use carepost_protocol::change::Lane;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::batch::first_queued;
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// What was done about a server that expects an earlier number than this device would send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// All that is kept from `first_n` on is queued again. Where that is later than what the server
    /// expects, the first batch says which numbers are lost.
    Resend { first_n: u64 },
    /// The server has all that it acknowledged: nothing was done.
    Level,
    /// The server expects a number that this device has not given out: sending again cannot help.
    Diverged {
        /// The number this device would send next.
        ours: u64,
        /// The number the server wants next.
        theirs: u64,
    },
}

impl Outbox {
    /// Answers the server's word that it expects that number next. An overlap needs none of this: the
    /// server answers it as duplicates.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resync(&self, lane: Lane, next_n: u64) -> Result<Resync, OutboxError> {
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let lineage = self.lineage(&transaction)?;
        let head = self.head_in(&transaction, &lineage, lane)?.0;
        let ours = first_queued(&transaction, lane)?.unwrap_or(head + 1);
        if next_n == 0 || next_n > ours {
            return Ok(Resync::Diverged { ours, theirs: next_n });
        }
        if next_n == ours {
            return Ok(Resync::Level);
        }
        let Some(first_n) = self.first_to_resend(&transaction, lane, next_n)? else {
            return Ok(Resync::Level);
        };
        queue_again(&transaction, lane, first_n)?;
        transaction.execute(
            "UPDATE lanes SET expects = ? WHERE lane = ?",
            params![signed(next_n), schema::number(lane)],
        )?;
        transaction.commit()?;
        Ok(Resync::Resend { first_n })
    }

    /// The first entry from there on that is kept together with the link before it.
    pub(super) fn first_to_resend(
        &self,
        connection: &Connection,
        lane: Lane,
        from: u64,
    ) -> Result<Option<u64>, OutboxError> {
        let lineage = self.lineage(connection)?;
        let mut statement =
            connection.prepare_cached("SELECT n FROM entries WHERE lane = ? AND n >= ? ORDER BY n")?;
        let mut rows = statement.query(params![schema::number(lane), signed(from)])?;
        while let Some(row) = rows.next()? {
            let n = unsigned(row.get(0)?);
            if lineage.link_before(connection, lane, n)?.is_some() {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }
}

/// From there on nothing counts as acknowledged any more.
pub(super) fn queue_again(connection: &Connection, lane: Lane, from: u64) -> Result<(), OutboxError> {
    connection.execute(
        "UPDATE entries SET state = 0, seq = NULL, reason = NULL, settled_at = NULL
         WHERE lane = ? AND n >= ? AND state <> 0",
        params![schema::number(lane), signed(from)],
    )?;
    Ok(())
}

/// The first entry that is kept at all.
pub(super) fn oldest(connection: &Connection, lane: Lane) -> Result<Option<u64>, OutboxError> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT n FROM entries WHERE lane = ? ORDER BY n LIMIT 1")?
        .query_row([schema::number(lane)], |row| row.get(0))
        .optional()?;
    Ok(oldest.map(unsigned))
}
