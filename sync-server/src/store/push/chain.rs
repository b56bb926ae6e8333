//! A device's chain, as far as the server has it.

use carepost_protocol::change::{Lane, Link, Verdict};
use carepost_protocol::id::IncarnationId;
use carepost_protocol::wire::push::{Rejection, VerdictRun, append};
use rusqlite::params;

use super::super::StoreError;
use super::super::column::{count, count_at, json_or_none_at, word_at};
use super::super::engine::Tx;
use super::{Batch, Result};

/// Where a device's chain ends on the server.
pub(super) struct Chain {
    pub(super) next_n: u64,
    head: Link,
    is_new: bool,
}

impl Chain {
    pub(super) fn open(tx: &Tx<'_>, batch: &Batch) -> Result<Self> {
        let sql = "SELECT next_n, head FROM chain_heads
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3";
        let key = params![batch.device.as_bytes(), batch.incarnation.as_bytes(), batch.lane.name()];
        let found = tx.first(sql, key, |row| {
            Ok(Self { next_n: count_at(row, 0)?, head: Link::from_bytes(row.get(1)?), is_new: false })
        })?;
        match found {
            Some(chain) => Ok(chain),
            None => {
                enter_incarnation(tx, batch)?;
                Self::start(tx, batch)
            }
        }
    }

    /// A chain starts at its genesis, or goes on from where its parent's history is shared.
    fn start(tx: &Tx<'_>, batch: &Batch) -> Result<Self> {
        let genesis = Link::genesis(batch.device, batch.incarnation, batch.lane);
        let from_genesis = Self { next_n: 1, head: genesis, is_new: true };
        let Some(fork) = &batch.parent else { return Ok(from_genesis) };
        let shared = match batch.lane {
            Lane::Care => fork.care,
            Lane::Audit => fork.audit,
        };
        let link = link_at(tx, batch, fork.incarnation, shared)?;
        Ok(link.map_or(from_genesis, |head| Self { next_n: shared.saturating_add(1), head, is_new: true }))
    }

    /// Answers for the entries that the server has already, and gives how many they are.
    pub(super) fn overlap(
        &self,
        tx: &Tx<'_>,
        batch: &Batch,
        verdicts: &mut Vec<VerdictRun>,
    ) -> Result<usize> {
        let broken = || StoreError::ChainBroken { next_n: self.next_n };
        if batch.first_n > self.next_n {
            return Err(broken());
        }
        if batch.first_n == self.next_n {
            return if batch.previous == self.head { Ok(0) } else { Err(broken()) };
        }
        let sql = "SELECT link, verdict, seq, reason FROM changes
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4";
        let mut known = 0;
        for (n, entry) in (batch.first_n..self.next_n).zip(&batch.entries) {
            let key =
                params![batch.device.as_bytes(), batch.incarnation.as_bytes(), batch.lane.name(), count(n)];
            let stored = tx.first(sql, key, |row| {
                let seq: Option<i64> = row.get(2)?;
                let seq = seq.map(|seq| u64::try_from(seq).unwrap_or(0));
                let reason: Option<Rejection> = json_or_none_at(row, 3)?;
                Ok((Link::from_bytes(row.get(0)?), word_at::<Verdict>(row, 1)?, seq, reason))
            })?;
            // Below a fork the parent's history is not repeated under the new name.
            let (link, verdict, seq, reason) = stored.ok_or_else(broken)?;
            if link != entry.link {
                return Err(broken());
            }
            let rejected = verdict == Verdict::Rejected;
            append(verdicts, n, if rejected { Verdict::Rejected } else { Verdict::Duplicate }, seq, reason);
            known += 1;
        }
        Ok(known)
    }

    pub(super) fn advance(&self, tx: &Tx<'_>, batch: &Batch, next_n: u64) -> Result<()> {
        let Some(head) = batch.entries.last().map(|entry| entry.link) else { return Ok(()) };
        let sql = if self.is_new {
            "INSERT INTO chain_heads (device_id, incarnation_id, lane, next_n, head, signature, received_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        } else {
            "UPDATE chain_heads SET next_n = ?4, head = ?5, signature = ?6, received_at = ?7
                WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3"
        };
        tx.execute(
            sql,
            params![
                batch.device.as_bytes(),
                batch.incarnation.as_bytes(),
                batch.lane.name(),
                count(next_n),
                head.as_bytes(),
                batch.signature,
                tx.now().as_millis(),
            ],
        )
        .map(drop)
    }
}

fn link_at(tx: &Tx<'_>, batch: &Batch, incarnation: IncarnationId, n: u64) -> Result<Option<Link>> {
    let sql =
        "SELECT link FROM changes WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4";
    let key = params![batch.device.as_bytes(), incarnation.as_bytes(), batch.lane.name(), count(n)];
    tx.first(sql, key, |row| row.get(0).map(Link::from_bytes))
}

fn enter_incarnation(tx: &Tx<'_>, batch: &Batch) -> Result<()> {
    let known = "SELECT 1 FROM incarnations WHERE device_id = ?1 AND id = ?2";
    let key = params![batch.device.as_bytes(), batch.incarnation.as_bytes()];
    if tx.first(known, key, |row| row.get::<_, i64>(0))?.is_some() {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO incarnations (device_id, id, parent_id, fork_care, fork_audit, first_boot, first_seen_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            batch.device.as_bytes(),
            batch.incarnation.as_bytes(),
            batch.parent.map(|fork| *fork.incarnation.as_bytes()),
            batch.parent.map(|fork| count(fork.care)),
            batch.parent.map(|fork| count(fork.audit)),
            batch.boot.map(|boot| *boot.as_bytes()),
            tx.now().as_millis(),
        ],
    )
    .map(drop)
}
