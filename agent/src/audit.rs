//! Audit events: what this device writes down of what was done on it.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::AuditId;
use carepost_protocol::wire::enroll::Grant;

use crate::clock::Clock;
use crate::interface::own_address;

/// Something that was done here just now.
pub(crate) fn event(
    clock: &Clock,
    grant: &Grant,
    event_type: AuditEventType,
    action: AuditAction,
    resource_type: &str,
) -> AuditEvent {
    let stamp = clock.stamp();
    let id = AuditId::new(stamp.0, clock.random::<10>());
    let program = concat!("carepost-agent/", env!("CARGO_PKG_VERSION")).to_owned();
    AuditEvent::new(id, stamp, event_type, action, resource_type)
        .organization(Some(grant.organization_id))
        .facility(Some(grant.facility_id))
        .device(grant.device_id)
        .called_from(Some(own_address().to_string()), Some(program))
}
