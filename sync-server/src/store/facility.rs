//! One facility: its feed, what its devices push, its records.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{BootId, PatientId};
use carepost_protocol::record::RecordDocument;
use carepost_protocol::wire::heartbeat::Heartbeat;
use carepost_protocol::wire::pull::Cursor;
use carepost_protocol::wire::push::{PushBatch, PushReceipt};

use super::*;

/// Work within one facility.
#[derive(Debug, Clone)]
pub struct FacilityStore {
    store: Store,
    scope: FacilityScope,
}

type Result<T> = std::result::Result<T, StoreError>;

impl FacilityStore {
    /// Takes a device's batch: all of it in one durable commit, with a verdict for each change.
    /// Errors: [`StoreError::ChainBroken`], [`StoreError::BadSignature`].
    pub async fn push(
        &self,
        device: &DeviceIdentity,
        boot: Option<BootId>,
        batch: &PushBatch<'_>,
    ) -> Result<PushReceipt> {
        todo!()
    }

    /// The next page of the feed after a cursor; none is the beginning. A page holds at most `limit`
    /// documents and about 4 MiB. Errors: [`StoreError::CursorRefused`].
    pub async fn page(&self, after: Option<Cursor>, limit: usize) -> Result<Page> {
        todo!()
    }

    /// Notes a heartbeat, in memory; it is written within about a second. Gives the state of the device.
    pub fn heartbeat(&self, device: &DeviceIdentity, beat: &Heartbeat) {
        todo!()
    }

    /// Notes that a device's sync succeeded just now: a pull that reached the head, an accepted push,
    /// a live keep-alive. In memory, as [`Self::heartbeat`].
    pub fn synced(&self, device: &DeviceIdentity) {
        todo!()
    }

    /// Notes that a device came with a cursor that was refused. In memory, as [`Self::heartbeat`].
    pub fn cursor_refused(&self, device: &DeviceIdentity) {
        todo!()
    }

    /// A patient's records, latest first.
    pub async fn records(&self, patient: PatientId, limit: usize) -> Result<Vec<RecordDocument>> {
        todo!()
    }

    /// Writes audit events, all under this facility.
    pub async fn audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        todo!()
    }
}
