//! Towards the server and back: batches, receipts, and what is kept no longer.

use carepost_agent_core::outbox::{BadReceipt, Fate, KEPT_FOR, covers};
use carepost_protocol::change::{Lane, Link};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::{PushBatch, PushReceipt, VerdictRun};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params, params};
use serde_json::value::RawValue;

use super::{Outbox, OutboxError, schema, signed, unsigned};

/// Room for a batch's members besides its changes.
const ENVELOPE_BYTES: usize = 1024;

/// Which entries a batch holds; what its receipt is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Of which lane.
    pub lane: Lane,
    /// The first one's number.
    pub first_n: u64,
    /// How many.
    pub count: u64,
}

/// A batch ready to be compressed and sent.
pub struct Batch {
    /// What it holds.
    pub sent: Sent,
    /// The JSON body, a [`PushBatch`].
    pub body: Vec<u8>,
}

/// What to do when the server says that a batch does not continue the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// The server lost its newest entries, as after a restored backup. They are queued again from
    /// `first_n` on.
    Resend {
        /// The first one's number.
        first_n: u64,
    },
    /// Sending again cannot help: the server has another history of this device, or wants what is no
    /// longer kept. An administrator must look.
    Diverged {
        /// The number this device would send next.
        ours: u64,
        /// The number the server wants next.
        theirs: u64,
    },
}

struct Collected {
    changes: Vec<Box<RawValue>>,
    head: Link,
    signature: [u8; 64],
}

impl Outbox {
    /// The next batch of a lane: from the first entry that the server has not acknowledged, at most
    /// `max_changes` and about `max_bytes`, and never less than one. None when nothing waits.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn batch(
        &self,
        lane: Lane,
        max_changes: usize,
        max_bytes: usize,
    ) -> Result<Option<Batch>, OutboxError> {
        let connection = self.lock();
        let Some(first_n) = first_queued(&connection, lane)? else {
            return Ok(None);
        };
        let previous = self.link_before(&connection, lane, first_n)?;
        let collected = collect(&connection, lane, first_n, max_changes.max(1), max_bytes)?;
        let collected = collected.ok_or(OutboxError::NotUnderstood("the first waiting entry"))?;
        let count = u64::try_from(collected.changes.len()).unwrap_or(u64::MAX);
        let batch = PushBatch {
            lane,
            incarnation: self.incarnation,
            parent: self.parent,
            first_n,
            previous,
            head: collected.head,
            signature: hex(&collected.signature),
            changes: collected.changes.iter().map(AsRef::as_ref).collect(),
            gap: None,
            opaque: None,
        };
        let body = serde_json::to_vec(&batch).map_err(|_| OutboxError::NotUnderstood("a batch"))?;
        Ok(Some(Batch { sent: Sent { lane, first_n, count }, body }))
    }

    /// Takes the server's receipt for what was sent: all of it in one transaction, or none.
    ///
    /// # Errors
    /// [`OutboxError::Receipt`] when it does not cover exactly what was sent; nothing is marked then.
    pub fn settle(&self, sent: &Sent, receipt: &PushReceipt) -> Result<(), OutboxError> {
        covers(sent.first_n, sent.count, receipt)?;
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for run in &receipt.verdicts {
            mark(&transaction, sent.lane, run, receipt.server_time)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Answers the server's "the batch does not continue the chain", which names the number it expects.
    /// An overlap needs none of this: the server answers it as duplicates.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resync(&self, lane: Lane, next_n: u64) -> Result<Resync, OutboxError> {
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let head = self.head_in(&transaction, lane)?.0;
        let ours = first_queued(&transaction, lane)?.unwrap_or(head + 1);
        let number = schema::number(lane);
        let kept: i64 = transaction.query_row(
            "SELECT count(*) FROM entries WHERE lane = ? AND n >= ?",
            params![number, signed(next_n)],
            |row| row.get(0),
        )?;
        // All of them, without a gap, and the link before them.
        let complete = next_n >= 1
            && next_n < ours
            && unsigned(kept) == head + 1 - next_n
            && self.link_before(&transaction, lane, next_n).is_ok();
        if !complete {
            return Ok(Resync::Diverged { ours, theirs: next_n });
        }
        transaction.execute(
            "UPDATE entries SET state = ?, seq = NULL, reason = NULL, settled_at = NULL
             WHERE lane = ? AND n >= ?",
            params![schema::QUEUED, number, signed(next_n)],
        )?;
        transaction.commit()?;
        Ok(Resync::Resend { first_n: next_n })
    }

    /// Removes what is kept no longer: acknowledged more than seven days ago and, where it entered the
    /// feed, passed by the mirror's cursor. Says how many. What waits, what is wedged, and the entry
    /// that the next one links to stay.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prune(&self, mirror_seq: u64, now: Timestamp) -> Result<usize, OutboxError> {
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        let before = now.plus_millis(-before).as_millis();
        let mut removed = 0;
        for lane in Lane::ALL {
            let head = self.head_in(&transaction, lane)?.0;
            let next = first_queued(&transaction, lane)?.unwrap_or(head + 1);
            removed += transaction
                .prepare_cached(
                    "DELETE FROM entries
                     WHERE lane = ? AND n < ? AND state = ? AND settled_at < ?
                         AND (seq IS NULL OR seq <= ?)",
                )?
                .execute(params![
                    schema::number(lane),
                    signed(next) - 1,
                    schema::ACKED,
                    before,
                    signed(mirror_seq)
                ])?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    fn link_before(&self, connection: &Connection, lane: Lane, n: u64) -> Result<Link, OutboxError> {
        if n <= 1 {
            return Ok(Link::genesis(self.binding.device, self.incarnation, lane));
        }
        let link = connection
            .prepare_cached("SELECT link FROM entries WHERE lane = ? AND n = ?")?
            .query_row(params![schema::number(lane), signed(n - 1)], |row| row.get(0))
            .optional()?;
        link.map(Link::from_bytes)
            .ok_or(OutboxError::NotUnderstood("the link before the first waiting entry"))
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The body is health data.
        f.debug_struct("Batch").field("sent", &self.sent).field("bytes", &self.body.len()).finish()
    }
}

pub(super) fn first_queued(connection: &Connection, lane: Lane) -> Result<Option<u64>, OutboxError> {
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(n) FROM entries WHERE lane = ? AND state = 0")?
        .query_row([schema::number(lane)], |row| row.get(0))?;
    Ok(first.map(unsigned))
}

fn collect(
    connection: &Connection,
    lane: Lane,
    first_n: u64,
    max_changes: usize,
    max_bytes: usize,
) -> Result<Option<Collected>, OutboxError> {
    let mut statement = connection.prepare_cached(
        "SELECT n, payload, link, signature FROM entries WHERE lane = ? AND n >= ? ORDER BY n",
    )?;
    let mut rows = statement.query(params![schema::number(lane), signed(first_n)])?;
    let mut collected: Option<Collected> = None;
    let mut bytes = ENVELOPE_BYTES;
    let mut expected = signed(first_n);
    while let Some(row) = rows.next()? {
        let payload = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
        let payload =
            std::str::from_utf8(payload).map_err(|_| OutboxError::NotUnderstood("a waiting entry"))?;
        bytes += payload.len() + 1;
        let room = match &collected {
            None => true,
            Some(collected) => collected.changes.len() < max_changes && bytes <= max_bytes,
        };
        if !room || row.get::<_, i64>(0)? != expected {
            break;
        }
        expected += 1;
        let change = RawValue::from_string(payload.to_owned())
            .map_err(|_| OutboxError::NotUnderstood("a waiting entry"))?;
        let (head, signature) = (Link::from_bytes(row.get(2)?), row.get(3)?);
        match &mut collected {
            None => collected = Some(Collected { changes: vec![change], head, signature }),
            Some(collected) => {
                collected.changes.push(change);
                collected.head = head;
                collected.signature = signature;
            }
        }
    }
    Ok(collected)
}

/// Runs follow each other without gap or overlap, from the first number sent to the last.
fn mark(
    connection: &Connection,
    lane: Lane,
    run: &VerdictRun,
    server_time: Timestamp,
) -> Result<(), OutboxError> {
    let (state, reason) = match Fate::of(run.verdict) {
        Fate::Acknowledged => (schema::ACKED, None),
        Fate::Wedged => {
            let reason = run.reason.as_ref().map(serde_json::to_string).transpose();
            (schema::WEDGED, reason.map_err(|_| OutboxError::NotUnderstood("a refusal"))?)
        }
    };
    let marked = connection
        .prepare_cached(
            "UPDATE entries
             SET state = :state, reason = :reason, settled_at = :settled_at, seq = :seq + (n - :first)
             WHERE lane = :lane AND n >= :first AND n < :end AND state = 0",
        )?
        .execute(named_params! {
            ":state": state,
            ":reason": reason,
            ":settled_at": server_time.as_millis(),
            ":seq": run.seq.map(signed),
            ":lane": schema::number(lane),
            ":first": signed(run.n),
            ":end": signed(run.n + run.count),
        })?;
    if u64::try_from(marked).ok() == Some(run.count) { Ok(()) } else { Err(BadReceipt::NotWaiting.into()) }
}

fn hex(bytes: &[u8; 64]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(128), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
