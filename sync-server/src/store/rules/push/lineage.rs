//! The lineage: how a device's incarnations descend from one another. Numbers go on through a fork: each lane's
//! entries up to the fork are the parent's, those after it the child's own.

use std::time::Duration;

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::change::{Lane, Link};
use carepost_protocol::id::{DeviceId, IncarnationId};
use carepost_protocol::wire::push::Fork;
use serde_json::json as object;

use super::{Batch, Result};
use crate::store::StoreError;
use crate::store::engine::{ToValue, Tx, params};
use crate::store::row::insert_into;
use crate::store::rules::audit;

/// The most incarnations of a device's outbox that may begin within a day. A card that loses writes at each power cut
/// begins one each time, and somebody has to come before it does so once an hour.
const MOST_A_DAY: u64 = 24;
/// The most that there may be of one device.
const MOST: u64 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// One lane of one incarnation of a device.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Chain {
    pub(in crate::store) device: DeviceId,
    pub(in crate::store) incarnation: IncarnationId,
    pub(in crate::store) lane: Lane,
}

impl Chain {
    /// How a statement finds it: device, incarnation, lane.
    pub(in crate::store) fn key(&self) -> [&dyn ToValue; 3] {
        [&self.device, &self.incarnation, &self.lane]
    }

    const fn of(self, incarnation: IncarnationId) -> Self {
        Self { incarnation, ..self }
    }
}

/// Where a chain left another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    pub(super) incarnation: IncarnationId,
    /// The last number that the two share.
    pub(super) shared: u64,
}

/// Where an incarnation comes from: none inside for one that began by itself, none outside for one that
/// the server does not know.
pub(super) fn origin(tx: &Tx<'_>, chain: Chain) -> Result<Option<Option<Parent>>> {
    let sql = "SELECT parent_id, CASE WHEN fork_care > 0 THEN fork_care ELSE 0 END,
            CASE WHEN fork_audit > 0 THEN fork_audit ELSE 0 END FROM incarnations
        WHERE device_id = ?1 AND id = ?2";
    let found: Option<(Option<IncarnationId>, u64, u64)> =
        tx.first(sql, params![chain.device, chain.incarnation])?;
    Ok(found.map(|(parent, care, audit)| {
        let shared = match chain.lane {
            Lane::Care => care,
            Lane::Audit => audit,
        };
        parent.map(|incarnation| Parent { incarnation, shared })
    }))
}

/// The last number that a chain shares with its parent; 0 where it shares nothing.
pub(in crate::store) fn fork_of(tx: &Tx<'_>, chain: Chain) -> Result<u64> {
    Ok(origin(tx, chain)?.flatten().map_or(0, |parent| parent.shared))
}

/// The number that the server expects next: after what it has of the chain, and where it has nothing,
/// after what it has of the parents, as far as they are shared.
pub(super) fn expected(tx: &Tx<'_>, chain: Chain) -> Result<u64> {
    let head = "SELECT next_n FROM chain_heads WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3";
    let (mut at, mut most) = (chain, u64::MAX);
    loop {
        if let Some(next_n) = tx.first::<u64>(head, &at.key())? {
            return Ok(next_n.min(most));
        }
        let Some(Some(parent)) = origin(tx, at)? else { return Ok(1) };
        most = most.min(parent.shared.saturating_add(1));
        at = at.of(parent.incarnation);
    }
}

/// The link at a number; none where the server does not have it. At 0 it is the genesis of the incarnation
/// that all began with.
pub(in crate::store) fn link_at(tx: &Tx<'_>, chain: Chain, n: u64) -> Result<Option<Link>> {
    let mut at = chain;
    loop {
        match origin(tx, at)? {
            Some(Some(parent)) if n <= parent.shared => at = at.of(parent.incarnation),
            Some(_) => break,
            None => return Ok(None),
        }
    }
    if n == 0 {
        return Ok(Some(Link::genesis(at.device, at.incarnation, at.lane)));
    }
    let key = params![at.device, at.incarnation, at.lane, n];
    let kept =
        "SELECT link FROM changes WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4";
    if let Some(link) = tx.first(kept, key)? {
        return Ok(Some(link));
    }
    let passed =
        "SELECT link FROM gaps WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND to_n = ?4";
    tx.first(passed, key)
}

/// The last number that a verified backup holds, by the chain or the parents that it shares it with.
pub(super) fn durable(tx: &Tx<'_>, chain: Chain) -> Result<Option<u64>> {
    let sql = "SELECT durable_n FROM chain_heads WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3";
    let (mut at, mut most) = (chain, u64::MAX);
    loop {
        let durable = tx.first::<Option<u64>>(sql, &at.key())?.flatten();
        if let Some(durable) = durable {
            return Ok(Some(durable.min(most)));
        }
        let Some(Some(parent)) = origin(tx, at)? else { return Ok(None) };
        most = most.min(parent.shared);
        at = at.of(parent.incarnation);
    }
}

/// Makes the batch's incarnation known. One that is not the device's first tells that the device was put
/// back to an older state, or lost its last writes.
pub(super) fn enter(tx: &Tx<'_>, batch: &Batch) -> Result<()> {
    let chain = Chain { device: batch.device, incarnation: batch.incarnation, lane: batch.lane };
    if origin(tx, chain)?.is_some() {
        return Ok(());
    }
    if let Some(fork) = &batch.parent {
        check_descent(tx, chain, fork)?;
    }
    let is_first = make_room(tx, batch.device)?;
    insert_into!(tx, "incarnations" {
        device_id: batch.device,
        id: batch.incarnation,
        parent_id: batch.parent.map(|fork| fork.incarnation),
        fork_care: batch.parent.map(|fork| fork.care),
        fork_audit: batch.parent.map(|fork| fork.audit),
        first_boot: batch.boot,
        first_seen_at: tx.now(),
    })?;
    if is_first && batch.parent.is_none() { Ok(()) } else { note_rollback(tx, batch) }
}

/// Refuses one more incarnation of an outbox that begins too many: each costs a walk for every batch after it. Says
/// whether it is the first.
fn make_room(tx: &Tx<'_>, device: DeviceId) -> Result<bool> {
    let day_ago = tx.now().before(DAY);
    let incarnations = "SELECT count(*), count(CASE WHEN first_seen_at > ?2 THEN 1 END) FROM incarnations WHERE device_id = ?1";
    let counted = tx.first::<(u64, u64)>(incarnations, params![device, day_ago])?;
    let (all, today) = counted.unwrap_or_default();
    if today >= MOST_A_DAY || all >= MOST {
        return Err(StoreError::TooManyIncarnations { all, today });
    }
    Ok(all == 0)
}

/// An incarnation is not its own forebear: every walk up ends.
fn check_descent(tx: &Tx<'_>, chain: Chain, fork: &Fork) -> Result<()> {
    let mut at = chain.of(fork.incarnation);
    loop {
        if at.incarnation == chain.incarnation {
            let detail = "an incarnation does not descend from itself".to_owned();
            return Err(StoreError::Invalid { field: "parent", detail });
        }
        let Some(Some(parent)) = origin(tx, at)? else { return Ok(()) };
        at = at.of(parent.incarnation);
    }
}

fn note_rollback(tx: &Tx<'_>, batch: &Batch) -> Result<()> {
    tx.execute("UPDATE devices SET rolled_back_at = ?2 WHERE id = ?1", params![batch.device, tx.now()])?;
    let fork = batch.parent;
    let details = object!({
        "incarnation": batch.incarnation,
        "parent": fork.map(|fork| fork.incarnation),
        "care": fork.map(|fork| fork.care),
        "audit": fork.map(|fork| fork.audit),
    });
    audit::noticed(tx, AuditEventType::Sync, "device_rolled_back", Some(batch.device), details)
}
