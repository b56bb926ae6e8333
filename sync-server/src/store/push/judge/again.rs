//! Refused changes, judged again as of when they were made, or discarded.

use carepost_protocol::change::{Change, Lane, Verdict};
use carepost_protocol::id::{DeviceId, UserId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{ChangeName, Settlement};
use carepost_protocol::wire::push::{Rejection, RejectionCode};
use rusqlite::params;

use super::super::super::StoreError;
use super::super::super::column::{count, count_at, id_at, json, json_or_none_at, time_at, word_at};
use super::super::super::engine::Tx;
use super::super::{Content, Result, read, reject};
use super::keeping::Settling;
use super::{Judge, Place};

/// How many changes are judged again because what they depend on stands now.
const MOST: usize = 10_000;

/// What came of judging a refused change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Retried {
    /// How many that had depended on it stand now as well.
    pub(in crate::store) followed: u64,
}

struct Kept {
    payload: Option<Vec<u8>>,
    received: Timestamp,
    /// What its author had seen, as it was believed when the change came.
    seen: Option<u64>,
}

/// Judges a refused change again, and when it stands now, those that had been refused because it did
/// not.
pub(in crate::store) fn retry(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
    by: Option<UserId>,
) -> Result<Retried> {
    let kept = kept(tx, device, name)?;
    let refused = again(tx, device, name, &kept, by)?;
    let mut followed = 0;
    if refused.is_none() {
        for name in dependents(tx, device, name.n)? {
            match self::kept(tx, device, name) {
                Ok(dependent) => followed += u64::from(again(tx, device, name, &dependent, by)?.is_none()),
                // One that stands now had taken its place.
                Err(StoreError::Invalid { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(Retried { followed })
}

/// Settles a refused change for good: it will not stand.
pub(in crate::store) fn discard(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
    by: Option<UserId>,
    reason: &str,
) -> Result<()> {
    let kept = kept(tx, device, name)?;
    let mut judge = Judge::at(tx, place(device, name), kept.received)?;
    let settling = Settling { how: Settlement::Discarded, seq: None, by, reason: Some(reason) };
    judge.settle(tx, name.incarnation, name.n, &settling)
}

fn again(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
    kept: &Kept,
    by: Option<UserId>,
) -> Result<Option<Rejection>> {
    let mut judge = Judge::at(tx, place(device, name), kept.received)?;
    let refused = match content(kept) {
        Content::Care(change) => {
            let change = Change { base_seq: kept.seen, ..*change };
            match judge.weigh(tx, name.n, &change)? {
                Ok(stands) => {
                    judge.reread(tx, name.n, &change, Some(&stands))?;
                    let seq = Some(stands.seq);
                    let settling = Settling { how: Settlement::Applied, seq, by, reason: None };
                    judge.settle(tx, name.incarnation, name.n, &settling)?;
                    None
                }
                Err(rejection) => {
                    judge.reread(tx, name.n, &change, None)?;
                    Some(rejection)
                }
            }
        }
        Content::Unreadable(rejection) => Some(rejection),
        Content::Audit(_) => Some(reject(RejectionCode::Malformed, "it is an audit event, not a change")),
    };
    if let Some(rejection) = &refused {
        let sql = "UPDATE changes SET reason = ?4
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3";
        let (device, incarnation) = (device.as_bytes(), name.incarnation.as_bytes());
        tx.execute(sql, params![device, incarnation, count(name.n), json(rejection)?])?;
    }
    judge.feed.close(tx)?;
    Ok(refused)
}

fn content(kept: &Kept) -> Content {
    let malformed = |detail: &str| Content::Unreadable(reject(RejectionCode::Malformed, detail));
    match kept.payload.as_deref().map(std::str::from_utf8) {
        Some(Ok(text)) => read(Lane::Care, text),
        Some(Err(_)) => malformed("the entry is no text; export it, and tell the operator"),
        None => Content::Unreadable(reject(
            RejectionCode::Opaque,
            "the server never got its bytes; export it on the device",
        )),
    }
}

fn place(device: DeviceId, name: ChangeName) -> Place {
    Place { device, incarnation: name.incarnation, lane: Lane::Care }
}

fn kept(tx: &Tx<'_>, device: DeviceId, name: ChangeName) -> Result<Kept> {
    let sql = "SELECT payload, received_at, verdict, settlement IS NULL, base_seq FROM changes
        WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3";
    let key = params![device.as_bytes(), name.incarnation.as_bytes(), count(name.n)];
    let found = tx.first(sql, key, |row| {
        let seen: Option<i64> = row.get(4)?;
        let seen = seen.map(|seq| u64::try_from(seq).unwrap_or(0));
        let kept = Kept { payload: row.get(0)?, received: time_at(row, 1)?, seen };
        Ok((kept, word_at::<Verdict>(row, 2)? == Verdict::Rejected, row.get::<_, bool>(3)?))
    })?;
    match found {
        Some((kept, true, true)) => Ok(kept),
        Some((_, true, false)) => Err(StoreError::Invalid {
            field: "n",
            detail: "this change is settled already; there is nothing left to do about it".to_owned(),
        }),
        Some((_, false, _)) | None => Err(StoreError::NotFound("refused change")),
    }
}

/// What the device made later and was refused for what it is about, in order.
fn dependents(tx: &Tx<'_>, device: DeviceId, after: u64) -> Result<Vec<ChangeName>> {
    let sql =
        "SELECT incarnation_id, n, reason FROM changes WHERE device_id = ?1 AND lane = 'care' AND n > ?2
        AND verdict = 'rejected' AND settlement IS NULL ORDER BY n";
    let found = tx.all(sql, params![device.as_bytes(), count(after)], |row| {
        let name = ChangeName { incarnation: id_at(row, 0)?, n: count_at(row, 1)? };
        Ok((name, json_or_none_at::<Rejection>(row, 2)?))
    })?;
    let depends = |reason: &Option<Rejection>| {
        let code = reason.as_ref().map(|reason| reason.code);
        matches!(code, Some(RejectionCode::DependsOnRefused | RejectionCode::UnknownTarget))
    };
    Ok(found.into_iter().filter(|(_, reason)| depends(reason)).map(|(name, _)| name).take(MOST).collect())
}
