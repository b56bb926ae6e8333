//! Changes as the server keeps them, and lists of those that somebody has to look at: the rejected and the flagged.

use carepost_protocol::change::{ChangeKind, PayloadHash};
use carepost_protocol::id::{DeviceId, IncarnationId, PatientId, RecordId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::heartbeat::{ChangeName, SettledChange, Settlement};
use carepost_protocol::wire::push::Rejection;

use super::chart::stands;
use crate::store::StoreError;
use crate::store::column::flags;
use crate::store::engine::{Tx, params};
use crate::store::listed::Listed;
use crate::store::row::{Stored, row, sql};
use crate::store::version::{Version, Versioned};

type Result<T> = std::result::Result<T, StoreError>;

row! {
    /// A care change as the server keeps it. What it could not read of it is none.
    #[derive(Debug, Clone, PartialEq)]
    pub struct KeptChange {
        pub device: DeviceId = "device_id",
        /// In which incarnation of its outbox.
        pub incarnation: IncarnationId = "incarnation_id",
        pub n: u64,
        pub kind: Option<ChangeKind>,
        /// To a document of which collection.
        pub collection: Option<Collection>,
        pub record: Option<RecordId> = "record_id",
        pub patient: Option<PatientId> = "patient_id",
        pub actor: Option<UserId> = "actor_id",
        pub workflow: Option<String>,
        /// When it was made, on the device's clock.
        pub recorded_at: Option<Timestamp>,
        /// How far that clock could be believed.
        pub clock_quality: Option<ClockQuality>,
        pub received_at: Timestamp,
        pub reason: Option<Rejection>,
        /// What somebody should look at, though it stands.
        pub flags: Vec<String> = "review" by flags,
        /// The number of the rejected change whose place it takes.
        pub supersedes: Option<u64>,
        /// Its place in the facility's feed, where it entered it.
        pub seq: Option<u64> = "coalesce(settled_seq, seq)",
        pub settlement: Option<Settlement>,
        pub settled_at: Option<Timestamp>,
        pub settled_by: Option<UserId>,
        pub settled_reason: Option<String>,
        /// The hash of its exact bytes.
        pub sha256: PayloadHash = "payload_sha256",
    }
}

impl Versioned for KeptChange {
    fn version(&self) -> Version {
        let (settlement, at) = (self.settlement, self.settled_at);
        Version::of(&(self.device, self.incarnation, self.n, &self.reason, &self.flags, settlement, at))
    }
}

/// A place among changes: when one came, and its name. Those of one batch came at one moment.
pub type ChangePlace = (Timestamp, DeviceId, IncarnationId, u64);

macro_rules! after_place {
    () => {
        " AND (received_at, device_id, incarnation_id, n) < (?1, ?2, ?3, ?4)
            ORDER BY received_at DESC, device_id DESC, incarnation_id DESC, n DESC LIMIT ?5"
    };
}
macro_rules! kept {
    ($($which:expr),+) => {
        sql!("SELECT ", KeptChange::COLUMNS, " FROM changes WHERE lane = 'care'", $($which),+)
    };
}

/// By an index of its own: what was withdrawn is nothing to look at.
pub(in crate::store) const FLAGGED: &str = kept!(" AND review IS NOT NULL AND ", stands!(), after_place!());

/// Changes that were rejected and are not settled.
pub(in crate::store) const REJECTED: &str =
    kept!(" AND verdict = 'rejected' AND settlement IS NULL", after_place!());

/// A list of changes, latest first: at most so many after a place.
pub(in crate::store) fn list(
    tx: &Tx<'_>,
    sql: &'static str,
    after: Option<ChangePlace>,
    most: usize,
) -> Result<Listed<KeptChange, ChangePlace>> {
    let end = (
        Timestamp::from_millis(i64::MAX),
        DeviceId::from_bytes([0; 16]),
        IncarnationId::from_bytes([0; 16]),
        0,
    );
    let (at, device, incarnation, n) = after.unwrap_or(end);
    let found: Vec<KeptChange> = tx.all(sql, params![at, device, incarnation, n, most + 1])?;
    Ok(Listed::of(found, most, |it| (it.received_at, it.device, it.incarnation, it.n)))
}

/// A change, whatever became of it, and its exact bytes where the server has them.
pub(in crate::store) fn change(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
) -> Result<(KeptChange, Option<Vec<u8>>)> {
    let of_name = kept!(" AND device_id = ?1 AND incarnation_id = ?2 AND n = ?3");
    let kept: Option<KeptChange> = tx.first(of_name, params![device, name.incarnation, name.n])?;
    let kept = kept.ok_or(StoreError::NotFound("change"))?;
    let sql = "SELECT payload FROM changes
        WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3";
    let key = params![device, name.incarnation, name.n];
    let payload: Option<Vec<u8>> = tx.first(sql, key)?.flatten();
    // A PIN's verifier is nobody's to look at.
    let shown = kept.collection != Some(Collection::Users);
    Ok((kept, payload.filter(|_| shown)))
}

/// What has become of rejected changes of a device, of those that are settled.
pub(in crate::store) fn settled(
    tx: &Tx<'_>,
    device: DeviceId,
    names: Vec<ChangeName>,
) -> Result<Vec<SettledChange>> {
    let sql = "SELECT settlement, settled_seq FROM changes WHERE device_id = ?1
        AND incarnation_id = ?2 AND lane = 'care' AND n = ?3 AND settlement IS NOT NULL";
    let mut settled = Vec::new();
    for change in names {
        let key = params![device, change.incarnation, change.n];
        let found: Option<(Settlement, Option<u64>)> = tx.first(sql, key)?;
        if let Some((settlement, seq)) = found {
            settled.push(SettledChange { change, settlement, seq });
        }
    }
    Ok(settled)
}

/// A change of the facility whose scope this is that was rejected, settled or not.
pub(in crate::store) fn rejected_change(
    tx: &Tx<'_>,
    device: DeviceId,
    name: ChangeName,
) -> Result<KeptChange> {
    let sql = kept!(" AND device_id = ?1 AND incarnation_id = ?2 AND n = ?3 AND verdict = 'rejected'");
    let key = params![device, name.incarnation, name.n];
    tx.first(sql, key)?.ok_or(StoreError::NotFound("rejected change"))
}
