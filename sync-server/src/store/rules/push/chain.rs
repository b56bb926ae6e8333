//! Chain heads: the end of a device's chain, as far as the server has it.

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::change::{Link, Verdict};
use carepost_protocol::wire::heartbeat::Settlement;
use carepost_protocol::wire::push::{Gap, Rejection, VerdictRun, append};
use serde_json::json as object;

use super::lineage::{self, Chain};
use super::{Batch, Result};
use crate::store::StoreError;
use crate::store::engine::{Tx, params};
use crate::store::rules::audit;

/// Where a device's chain ends on the server.
pub(super) struct ChainEnd {
    pub(super) next_n: u64,
    chain: Chain,
    /// None where the server does not have the history that the chain leaves.
    head: Option<Link>,
    durable: Option<u64>,
    is_new: bool,
}

/// What the server answered about an entry that it has.
struct Stored {
    link: Link,
    verdict: Verdict,
    seq: Option<u64>,
    reason: Option<Rejection>,
}

impl ChainEnd {
    pub(super) fn open(tx: &Tx<'_>, batch: &Batch) -> Result<Self> {
        let chain = Chain { device: batch.device, incarnation: batch.incarnation, lane: batch.lane };
        let sql = "SELECT next_n, head, durable_n FROM chain_heads
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3";
        if let Some((next_n, head, durable)) = tx.first(sql, &chain.key())? {
            return Ok(Self { next_n, chain, head: Some(head), durable, is_new: false });
        }
        lineage::enter(tx, batch)?;
        let fork = lineage::fork_of(tx, chain)?;
        if batch.first_n <= fork {
            let detail = "what is shared with the parent is sent under the parent".to_owned();
            return Err(StoreError::Invalid { field: "first_n", detail });
        }
        let next_n = lineage::expected(tx, chain)?;
        let head = lineage::link_at(tx, chain, next_n.saturating_sub(1))?;
        Ok(Self { next_n, chain, head, durable: None, is_new: true })
    }

    /// Passes over numbers that nobody holds any more, and writes them down.
    pub(super) fn pass_gap(&mut self, tx: &Tx<'_>, batch: &Batch) -> Result<()> {
        let Some(gap) = batch.gap.filter(|gap| gap.from == self.next_n) else { return Ok(()) };
        let Gap { from, to } = gap;
        tx.execute(
            "INSERT INTO gaps (device_id, incarnation_id, lane, from_n, to_n, link, noted_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![batch.device, batch.incarnation, batch.lane.name(), from, to, batch.previous, tx.now()],
        )?;
        let details = object!({"incarnation": batch.incarnation, "lane": batch.lane, "from": from, "to": to});
        audit::noticed(tx, AuditEventType::Sync, "chain_gap", Some(batch.device), details)?;
        self.next_n = batch.first_n;
        self.head = Some(batch.previous);
        Ok(())
    }

    /// Answers for the entries that the server has already, and gives how many they are.
    pub(super) fn overlap(
        &self,
        tx: &Tx<'_>,
        batch: &Batch,
        verdicts: &mut Vec<VerdictRun>,
    ) -> Result<usize> {
        let next_n = self.next_n;
        let other_history = |shared| StoreError::ChainBroken { next_n, shared_n: Some(shared) };
        if batch.first_n > next_n {
            return Err(StoreError::ChainBroken { next_n, shared_n: None });
        }
        let before = batch.first_n.saturating_sub(1);
        let repeats = batch.first_n < next_n;
        let previous = if repeats { lineage::link_at(tx, self.chain, before)? } else { self.head };
        if previous != Some(batch.previous) {
            return Err(other_history(0));
        }
        if repeats && batch.entries.is_empty() {
            // The server goes on where the device ends: the device is a copy of what it was.
            return Err(other_history(before));
        }
        let mut known = 0;
        for (n, entry) in (batch.first_n..next_n).zip(&batch.entries) {
            // What was written down as a gap cannot be compared, and is not taken for what was lost.
            let stored = self.stored(tx, n)?.ok_or_else(|| other_history(0))?;
            if stored.link != entry.link {
                return Err(other_history(n.saturating_sub(1)));
            }
            append(verdicts, n, stored.verdict, stored.seq, stored.reason);
            known += 1;
        }
        Ok(known)
    }

    fn stored(&self, tx: &Tx<'_>, n: u64) -> Result<Option<Stored>> {
        type Judged = (Link, Verdict, Option<u64>, Option<Rejection>, Option<Settlement>, Option<u64>);
        let sql = "SELECT link, verdict, seq, reason, settlement, settled_seq FROM changes
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4";
        let Chain { device, incarnation, lane } = self.chain;
        let found: Option<Judged> = tx.first(sql, params![device, incarnation, lane, n])?;
        Ok(found.map(|(link, verdict, seq, reason, settlement, settled_seq)| {
            let rejected = verdict == Verdict::Rejected;
            // One that was rejected and judged again since stands now.
            if rejected && settlement == Some(Settlement::Applied) {
                Stored { link, verdict: Verdict::Duplicate, seq: settled_seq, reason: None }
            } else {
                let verdict = if rejected { Verdict::Rejected } else { Verdict::Duplicate };
                Stored { link, verdict, seq, reason }
            }
        }))
    }

    /// Moves the chain's end behind the first `taken` entries of a batch. The device signed the last of a
    /// batch: until that is here, the signature stays that of the number before.
    pub(super) fn advance(&self, tx: &Tx<'_>, batch: &Batch, taken: usize, next_n: u64) -> Result<()> {
        let Some(head) = taken.checked_sub(1).and_then(|last| batch.entries.get(last)) else { return Ok(()) };
        let sql = match (self.is_new, taken < batch.entries.len()) {
            (true, false) => {
                "INSERT INTO chain_heads (device_id, incarnation_id, lane, next_n, head, received_at, signature)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            }
            // Nothing of it is signed yet.
            (true, true) => {
                "INSERT INTO chain_heads (device_id, incarnation_id, lane, next_n, head, received_at, signature,
                    signed_n) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)"
            }
            (false, false) => {
                "UPDATE chain_heads SET next_n = ?4, head = ?5, received_at = ?6, signature = ?7, signed_n = NULL
                    WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3"
            }
            (false, true) => {
                "UPDATE chain_heads SET next_n = ?4, head = ?5, received_at = ?6,
                    signed_n = coalesce(signed_n, next_n - 1), signature = coalesce(signature, ?7)
                    WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3"
            }
        };
        tx.execute(
            sql,
            params![
                batch.device,
                batch.incarnation,
                batch.lane.name(),
                next_n,
                head.link,
                tx.now(),
                batch.signature,
            ],
        )
        .map(drop)
    }

    /// The last number of the lane that a verified backup holds: this chain's, or what it shares with its
    /// parents.
    pub(super) fn durable_through(&self, tx: &Tx<'_>) -> Result<Option<u64>> {
        match self.durable {
            Some(durable) => Ok(Some(durable)),
            None => lineage::durable(tx, self.chain),
        }
    }
}

/// What the server expects next in a lane of a device's incarnation. One that it does not know may have
/// left any other of the device: then the furthest of all.
pub(in crate::store) fn expects(tx: &Tx<'_>, chain: Chain) -> Result<u64> {
    if lineage::origin(tx, chain)?.is_some() {
        return lineage::expected(tx, chain);
    }
    let sql = "SELECT coalesce(max(next_n), 1) FROM chain_heads WHERE device_id = ?1 AND lane = ?2";
    let furthest = tx.first::<u64>(sql, params![chain.device, chain.lane.name()])?;
    Ok(furthest.unwrap_or(1))
}
