//! Quarantine: of devices that are there twice both may push, neither is sent anything.

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::id::DeviceId;
use serde_json::json as object;

use super::audit;
use crate::store::StoreError;
use crate::store::engine::{Tx, params};

/// Quarantines a device: its streams are closed, and it is sent nothing until an administrator releases it. One that is
/// not ACTIVE stays as it is.
pub(in crate::store) fn quarantine(
    tx: &Tx<'_>,
    device: DeviceId,
    reason: &'static str,
) -> Result<(), StoreError> {
    let sql = "UPDATE devices SET state = 'QUARANTINED', quarantine = ?2 WHERE id = ?1 AND state = 'ACTIVE'";
    if tx.execute(sql, params![device, reason])? == 0 {
        return Ok(());
    }
    tx.refused(device);
    let details = object!({"reason": reason});
    audit::noticed(tx, AuditEventType::Device, "device_quarantined", Some(device), details)
}
