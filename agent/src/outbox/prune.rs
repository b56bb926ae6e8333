//! Pruning: what is kept no longer.
//!
//! Entries go from the oldest on and a bounded number at a time, so that a save never waits long. Of what
//! goes, the link before an entry that stays is kept: with it the chain can be told again from there.

use carepost_agent_core::outbox::KEPT_FOR;
use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::batch::first_queued;
use super::lineage::Lineage;
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// How many go in one transaction.
const AT_ONCE: usize = 1_000;

/// An acknowledged entry that could go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spare {
    pub(super) n: u64,
    settled_at: i64,
    /// Its place in the feed, where it has one.
    pub(super) seq: Option<u64>,
}

impl Outbox {
    /// Removes what is kept no longer: acknowledged, passed by the mirror's cursor where it entered the
    /// feed, and in a verified backup of the server; as long as the server never spoke of one, more than
    /// seven days ago. Says how many. What waits, what is rejected and not settled, and the last entry
    /// before what waits stay. Where the file is not folded into nothing goes: that would take room, and make none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prune(&self, mirror_seq: u64, now: Timestamp) -> Result<usize, OutboxError> {
        if self.trouble().is_some() {
            return Ok(0);
        }
        let before = now.before(KEPT_FOR).as_millis();
        let mut removed = 0;
        for lane in Lane::ALL {
            loop {
                let mut connection = self.lock_to_settle()?;
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let lineage = self.lineage(&transaction)?;
                let durable = durable(&transaction, lane)?;
                let gone = self.trim(&transaction, &lineage, lane, AT_ONCE, |spare| {
                    let safe = durable.map_or(spare.settled_at < before, |durable| spare.n <= durable);
                    safe && spare.seq.is_none_or(|seq| seq <= mirror_seq)
                })?;
                transaction.commit()?;
                removed += gone;
                if gone < AT_ONCE {
                    break;
                }
            }
        }
        Ok(removed)
    }

    /// Removes acknowledged entries of a lane, from the oldest on, up to the first that may not go. A
    /// rejected one in between stays.
    pub(super) fn trim(
        &self,
        connection: &Connection,
        lineage: &Lineage,
        lane: Lane,
        most: usize,
        may_go: impl Fn(&Spare) -> bool,
    ) -> Result<usize, OutboxError> {
        let head = self.head_in(connection, lineage, lane)?.0;
        // The entry that the next one links to stays.
        let end = first_queued(connection, lane)?.unwrap_or(head + 1).saturating_sub(1);
        let number = schema::number(lane);
        let mut going: Vec<(u64, [u8; 32])> = Vec::new();
        let mut statement = connection.prepare_cached(
            "SELECT n, state, settled_at, seq, link FROM entries WHERE lane = ? AND n < ? ORDER BY n",
        )?;
        let mut rows = statement.query(params![number, signed(end)])?;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? != schema::ACKED {
                continue;
            }
            let (settled_at, seq): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            let n = unsigned(row.get(0)?);
            let spare = Spare { n, settled_at: settled_at.unwrap_or(0), seq: seq.map(unsigned) };
            if going.len() == most || !may_go(&spare) {
                break;
            }
            going.push((n, row.get(4)?));
        }
        drop(rows);
        let mut delete = connection.prepare_cached("DELETE FROM entries WHERE lane = ? AND n = ?")?;
        let mut forget = connection.prepare_cached("DELETE FROM links WHERE lane = ? AND n = ?")?;
        let mut keep = connection.prepare_cached("INSERT INTO links (lane, n, link) VALUES (?, ?, ?)")?;
        let mut coming = going.iter().skip(1).map(|(n, _)| *n);
        for (n, link) in &going {
            delete.execute(params![number, signed(*n)])?;
            forget.execute(params![number, signed(n.saturating_sub(1))])?;
            if coming.next() != Some(n + 1) {
                keep.execute(params![number, signed(*n), link])?;
            }
        }
        Ok(going.len())
    }
}

/// The last number of the lane that a verified backup of the server holds, as far as the server said.
pub(super) fn durable(connection: &Connection, lane: Lane) -> Result<Option<u64>, OutboxError> {
    let durable: Option<i64> = connection
        .prepare_cached("SELECT durable FROM lanes WHERE lane = ?")?
        .query_row([schema::number(lane)], |row| row.get(0))?;
    Ok(durable.map(unsigned))
}
