//! The sync position: where a device says that it stands, held against what the server has. A device that knows more
//! than the server was told so before it was put back to an older state of itself.
//!
//! Anybody can say a number. Only a cursor that comes with the server's own proof of it costs more than the
//! copy of whoever brings it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carepost_protocol::audit::AuditEventType;
use carepost_protocol::change::Lane;
use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::Expects;
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use ring::hmac;
use serde_json::json as object;

use super::audit;
use super::push::{Chain, expects};
use crate::store::engine::{Tx, params};
use crate::store::{DatabaseKey, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// A facility's epoch is raised at most this often because devices knew more than the server: the first
/// to come raises it for all.
const RAISE_EVERY: Duration = Duration::from_secs(10 * 60);

/// Proves cursors that this server gave, to itself, also after it was put back: by a key that follows from
/// the database's and is in no database.
#[derive(Debug)]
pub(in crate::store) struct Prover(hmac::Key);

impl Prover {
    pub(in crate::store) fn new(key: &DatabaseKey) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, key.0.as_slice());
        let derived = hmac::sign(&master, b"carepost: proofs of cursors");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The proof of a place in a facility's feed.
    pub(in crate::store) fn prove(&self, facility: FacilityId, at: Cursor) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &proven(facility, at)))
    }

    pub(in crate::store) fn holds(&self, facility: FacilityId, at: Cursor, proof: &str) -> bool {
        let proof = URL_SAFE_NO_PAD.decode(proof);
        proof.is_ok_and(|proof| hmac::verify(&self.0, &proven(facility, at), &proof).is_ok())
    }
}

fn proven(facility: FacilityId, at: Cursor) -> Vec<u8> {
    [facility.as_bytes().as_slice(), &at.epoch.to_be_bytes(), &at.seq.to_be_bytes()].concat()
}

/// The feed's end, and when its epoch was last raised.
struct Feed {
    head: Cursor,
    raised_at: Option<Timestamp>,
}

/// What was found of where a device stands.
pub(in crate::store) struct Found {
    feed: Feed,
    pub(in crate::store) expects: Expects,
    /// It stands in the feed's epoch, and beyond its end.
    pub(in crate::store) ahead: bool,
}

impl Found {
    pub(in crate::store) fn may_be_raised(&self, now: Timestamp) -> bool {
        // A raise that is from the future, because the clock was set back since, is long ago.
        let long_ago = |at: Timestamp| at > now || now.since(at) >= RAISE_EVERY;
        self.ahead && self.feed.raised_at.is_none_or(long_ago)
    }
}

impl Feed {
    fn read(tx: &Tx<'_>) -> Result<Self> {
        let sql = "SELECT epoch, seq, raised_at FROM feeds";
        let found = tx.first::<(u64, u64, Option<Timestamp>)>(sql, params![])?;
        let (epoch, seq, raised_at) = found.ok_or(StoreError::NotFound("facility"))?;
        Ok(Self { head: Cursor { epoch, seq }, raised_at })
    }
}

pub(in crate::store) fn find(tx: &Tx<'_>, device: DeviceId, position: &SyncPosition) -> Result<Found> {
    let feed = Feed::read(tx)?;
    let mut missing = Expects::default();
    if let Some(incarnation) = position.incarnation {
        let less = |lane, acknowledged: Option<u64>| -> Result<Option<u64>> {
            let Some(acknowledged) = acknowledged.filter(|n| *n > 0) else { return Ok(None) };
            let next_n = expects(tx, Chain { device, incarnation, lane })?;
            Ok((next_n <= acknowledged).then_some(next_n))
        };
        missing.care = less(Lane::Care, position.care)?;
        missing.audit = less(Lane::Audit, position.audit)?;
    }
    let cursor = position.epoch.zip(position.seq);
    let ahead = cursor.is_some_and(|(epoch, seq)| epoch == feed.head.epoch && seq > feed.head.seq);
    Ok(Found { feed, expects: missing, ahead })
}

/// Raises the facility's epoch. It looks again, now that nothing else writes: of two that come together, one raises.
pub(in crate::store) fn raise(tx: &Tx<'_>, device: DeviceId, position: &SyncPosition) -> Result<Expects> {
    let found = find(tx, device, position)?;
    if found.may_be_raised(tx.now()) {
        let from = found.feed.head;
        let epoch = raised(from.epoch, tx.now());
        tx.execute("UPDATE feeds SET epoch = ?1, raised_at = ?2", params![epoch, tx.now()])?;
        let details = object!({
            "epoch": epoch,
            "head": from.seq,
            "cursor": position.seq.filter(|_| position.epoch == Some(from.epoch)),
            "care": found.expects.care,
            "audit": found.expects.audit,
        });
        audit::noticed(tx, AuditEventType::Sync, "server_rewound", Some(device), details)?;
        // Streams of the old epoch end: their devices come again and are told.
        tx.moved(tx.facility_scope()?.facility(), from.seq);
        tx.staff_moved(tx.facility_scope()?.facility());
    }
    Ok(found.expects)
}

/// The epoch after this one. The moment is in it, so that two servers put back to the same state do not
/// come to the same.
pub(in crate::store) fn raised(epoch: u64, now: Timestamp) -> u64 {
    epoch.saturating_add(1).max(u64::try_from(now.as_millis()).unwrap_or(0))
}
