//! Rejected changes, judged again as of when they were made, or discarded.

use carepost_protocol::change::{Change, Lane, Verdict};
use carepost_protocol::id::{DeviceId, IncarnationId, UserId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{ChangeName, Settlement};
use carepost_protocol::wire::push::{Rejection, RejectionCode};

use super::super::{Content, Result, read, reject};
use super::persist::Settling;
use super::{Judge, Place};
use crate::store::StoreError;
use crate::store::engine::{Tx, params};
use crate::store::row::{Stored, row, sql};

/// How many changes one transaction judges again because what they depend on stands now, and those to which other
/// incarnations gave the last one's number; fewer when it has had its time.
const FOLLOWING: u32 = 250;

/// What came of judging again what had depended on a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Followed {
    /// How many of them stand now as well.
    pub(in crate::store) stand: u64,
    /// After which number there may be more.
    pub(in crate::store) on: Option<u64>,
}

row! {
    struct Kept {
        payload: Option<Vec<u8>>,
        received: Timestamp = "received_at",
        /// What its author had seen, as it was believed when the change came.
        seen: Option<u64> = "base_seq",
    }
}

/// Judges a rejected change again. Says whether it stands now: then those that had been rejected because it
/// did not are judged again too ([`follow`]).
pub(in crate::store) fn retry(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
    by: Option<UserId>,
) -> Result<bool> {
    let kept = kept(tx, device, name)?;
    Ok(retry_one(tx, device, name, &kept, by)?.is_none())
}

/// Judges again, in order, what the device made after a number and was rejected for what it is about.
pub(in crate::store) fn follow(
    tx: &Tx<'_>,
    device: DeviceId,
    after: u64,
    by: Option<UserId>,
) -> Result<Followed> {
    let mut followed = Followed { stand: 0, on: None };
    let waiting = waiting(tx, device, after)?;
    let more = u32::try_from(waiting.len()).unwrap_or(FOLLOWING) >= FOLLOWING;
    for (name, reason) in waiting {
        // What two incarnations of the device gave one number is not parted.
        if followed.on.is_some_and(|n| n != name.n) && tx.is_spent() {
            return Ok(followed);
        }
        followed.on = Some(name.n);
        if !depends(reason.as_ref()) {
            continue;
        }
        match self::kept(tx, device, name) {
            Ok(dependent) => {
                followed.stand += u64::from(retry_one(tx, device, name, &dependent, by)?.is_none());
            }
            // One that stands now had taken its place.
            Err(StoreError::Invalid { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(Followed { on: followed.on.filter(|_| more), ..followed })
}

/// Settles a rejected change for good: it will not stand.
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

fn retry_one(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
    kept: &Kept,
    by: Option<UserId>,
) -> Result<Option<Rejection>> {
    let mut judge = Judge::at(tx, place(device, name), kept.received)?;
    let rejected = match content(kept) {
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
    if let Some(rejection) = &rejected {
        let sql = "UPDATE changes SET reason = ?4
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3";
        tx.execute(sql, params![device, name.incarnation, name.n, rejection])?;
    }
    judge.feed.close(tx)?;
    Ok(rejected)
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
    let sql = sql!(
        "SELECT ",
        Kept::COLUMNS,
        ", verdict, settlement IS NULL FROM changes
        WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3"
    );
    let key = params![device, name.incarnation, name.n];
    match tx.first::<(Kept, Verdict, bool)>(sql, key)? {
        Some((kept, Verdict::Rejected, true)) => Ok(kept),
        Some((_, Verdict::Rejected, false)) => Err(StoreError::Invalid {
            field: "n",
            detail: "this change is settled already; there is nothing left to do about it".to_owned(),
        }),
        Some((_, Verdict::Applied | Verdict::Duplicate | Verdict::Merged, _)) | None => {
            Err(StoreError::NotFound("rejected change"))
        }
    }
}

/// By an index of its own. It ends with a number, not between two that have the same.
pub(super) const WAITING: &str = "SELECT incarnation_id, n, reason FROM changes
    WHERE device_id = ?1 AND lane = 'care' AND n > ?2 AND verdict = 'rejected' AND settlement IS NULL
        AND n <= coalesce((SELECT n FROM changes
            WHERE device_id = ?1 AND lane = 'care' AND n > ?2 AND verdict = 'rejected' AND settlement IS NULL
            ORDER BY n LIMIT 1 OFFSET ?3 - 1), 9223372036854775807)
    ORDER BY n";

/// What the device made later and was rejected, in order.
fn waiting(tx: &Tx<'_>, device: DeviceId, after: u64) -> Result<Vec<(ChangeName, Option<Rejection>)>> {
    let waiting: Vec<(IncarnationId, u64, Option<Rejection>)> =
        tx.all(WAITING, params![device, after, FOLLOWING])?;
    let named = |(incarnation, n, reason)| (ChangeName { incarnation, n }, reason);
    Ok(waiting.into_iter().map(named).collect())
}

/// Whether it was rejected for what it is about.
fn depends(reason: Option<&Rejection>) -> bool {
    let code = reason.map(|reason| reason.code);
    matches!(code, Some(RejectionCode::DependsOnRejected | RejectionCode::UnknownTarget))
}
