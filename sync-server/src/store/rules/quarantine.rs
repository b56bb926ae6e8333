//! Quarantine: of devices that are there twice both may push, neither is sent anything.

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::device::DeviceState;
use serde_json::json as object;

use super::audit;
use crate::store::engine::{AccessScope, params};
use crate::store::{DeviceIdentity, FacilityStore, StoreError};

impl FacilityStore {
    /// Quarantines a device, as two copies of it speak: its streams are closed and it is sent nothing until an
    /// administrator releases it, while what it pushes is taken. One that is not ACTIVE stays as it is. The
    /// identity is as it stands after.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn quarantine(
        &self,
        device: &mut DeviceIdentity,
        reason: &'static str,
    ) -> Result<(), StoreError> {
        let id = device.device();
        self.store
            .write(AccessScope::Facility(self.scope), move |tx| {
                let sql = "UPDATE devices SET state = 'QUARANTINED', quarantine = ?2
                    WHERE id = ?1 AND state = 'ACTIVE'";
                if tx.execute(sql, params![id, reason])? == 0 {
                    return Ok(());
                }
                tx.refused(id);
                let details = object!({"reason": reason});
                audit::noticed(tx, AuditEventType::Device, "device_quarantined", Some(id), details)
            })
            .await?;
        device.state = DeviceState::Quarantined;
        Ok(())
    }
}
