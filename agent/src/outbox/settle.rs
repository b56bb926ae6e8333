//! Settlement: receipts, and what became of rejected entries. What the server says of an entry never changes it.

use carepost_agent_core::outbox::{BadReceipt, Fate, covers};
use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{SettledChange, Settlement};
use carepost_protocol::wire::push::{PushReceipt, VerdictRun};
use rusqlite::{Connection, TransactionBehavior, named_params};

use super::batch::{Sent, first_queued};
use super::{Outbox, OutboxError, schema, signed};

impl Outbox {
    /// Takes the server's receipt for what was sent: all of it in one transaction, or none.
    ///
    /// # Errors
    /// [`OutboxError::Receipt`] when it does not cover exactly what was sent; nothing is marked then.
    pub fn settle(&self, sent: &Sent, receipt: &PushReceipt) -> Result<(), OutboxError> {
        covers(sent.first_n, sent.count, receipt)?;
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if first_queued(&transaction, sent.lane)? != Some(sent.first_n) {
            return Err(BadReceipt::NotWaiting.into());
        }
        for run in &receipt.verdicts {
            mark(&transaction, sent.lane, run, receipt.server_time)?;
        }
        self.note_durable(&transaction, sent, receipt.durable_through)?;
        transaction.commit()?;
        Ok(())
    }

    /// Takes what has become of rejected changes that a heartbeat named. What is not rejected here, or
    /// not known, is passed over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn settle_rejected(&self, settled: &[SettledChange], now: Timestamp) -> Result<usize, OutboxError> {
        let mut connection = self.lock_to_settle()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let lineage = self.lineage(&transaction)?;
        let mut count = 0;
        for SettledChange { change, settlement, seq } in settled {
            let ours = lineage
                .of(Lane::Care, change.n)
                .is_ok_and(|(incarnation, _)| incarnation.id == change.incarnation);
            if !ours {
                continue;
            }
            let (word, seq) = match settlement {
                Settlement::Applied => (None, *seq),
                Settlement::Superseded => (Some(schema::SUPERSEDED), None),
                Settlement::Discarded => (Some(schema::DISCARDED), None),
            };
            count += transaction
                .prepare_cached(
                    "UPDATE entries
                     SET state = 1, settlement = :word, reason = CASE WHEN :word IS NULL THEN NULL ELSE reason END,
                         seq = :seq, settled_at = :now
                     WHERE lane = 0 AND n = :n AND state = 2",
                )?
                .execute(named_params! {
                    ":word": word,
                    ":seq": seq.map(signed),
                    ":now": now.as_millis(),
                    ":n": signed(change.n),
                })?;
        }
        transaction.commit()?;
        Ok(count)
    }

    /// A later answer may say less than an earlier one: the server was restored from an older backup. That
    /// it was rewound matters until what is lost has been passed.
    fn note_durable(
        &self,
        connection: &Connection,
        sent: &Sent,
        durable: Option<u64>,
    ) -> Result<(), OutboxError> {
        let (_, last) = self.lineage(connection)?.of(sent.lane, sent.first_n)?;
        connection
            .prepare_cached(
                "UPDATE lanes SET durable = :durable, expects = CASE
                     WHEN EXISTS (SELECT 1 FROM links WHERE lane = :lane AND n >= :next) THEN expects END
                 WHERE lane = :lane",
            )?
            .execute(named_params! {
                ":durable": durable.map(|n| signed(n.min(last))),
                ":lane": schema::number(sent.lane),
                ":next": signed(sent.first_n + sent.count),
            })?;
        Ok(())
    }
}

/// Runs follow each other without gap or overlap, from the first number sent to the last. A change that
/// is rejected again, after the server was rewound, stays settled if it was.
fn mark(
    connection: &Connection,
    lane: Lane,
    run: &VerdictRun,
    server_time: Timestamp,
) -> Result<(), OutboxError> {
    let (state, reason) = match Fate::of(run.verdict) {
        Fate::Acknowledged => (schema::ACKED, None),
        Fate::Rejected => {
            let reason = run.reason.as_ref().map(serde_json::to_string).transpose();
            (schema::REJECTED, reason.map_err(|_| OutboxError::NotUnderstood("a rejection"))?)
        }
    };
    let marked = connection
        .prepare_cached(
            "UPDATE entries
             SET state = CASE WHEN settlement IS NULL THEN :state ELSE 1 END,
                 reason = :reason, settled_at = :settled_at, seq = :seq + (n - :first)
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
