//! Devices by their keys, as they were last read: every request of a device asks whose key it is, and a
//! heartbeat costs little else.
//!
//! They are forgotten whole when a commit wrote to a table that an identity is read from.

use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{AssignmentId, DeviceId, FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;

use super::cache::Cache;
use super::view::View;

/// A device whose key was looked up: what a request over mutual TLS is authenticated as. Only the
/// store makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    pub(super) device: DeviceId,
    pub(super) organization: OrganizationId,
    pub(super) facility: FacilityId,
    pub(super) assignment: Option<AssignmentId>,
    pub(super) state: DeviceState,
    pub(super) public_key: Vec<u8>,
    pub(super) view: View,
    pub(super) view_changes: u64,
    pub(super) mirror_began: Option<Timestamp>,
    pub(super) require_encryption: bool,
}

impl DeviceIdentity {
    /// The device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The organization.
    #[must_use]
    pub const fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// The facility it is assigned to.
    #[must_use]
    pub const fn facility(&self) -> FacilityId {
        self.facility
    }

    /// Its binding to that facility now.
    #[must_use]
    pub const fn assignment(&self) -> Option<AssignmentId> {
        self.assignment
    }

    /// Whether it is sent anything only while it is encrypted.
    #[must_use]
    pub const fn require_encryption(&self) -> bool {
        self.require_encryption
    }

    /// What of the facility's feed it is sent.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// How often that was changed: a cursor's epoch is the feed's and this together.
    #[must_use]
    pub const fn view_changes(&self) -> u64 {
        self.view_changes
    }

    /// Where it stands: ACTIVE works, QUARANTINED may push and say how it is, anything else reaches nothing.
    #[must_use]
    pub const fn state(&self) -> DeviceState {
        self.state
    }
}

/// See the module.
pub(super) type Identities = Cache<[u8; 32], DeviceIdentity>;

/// The tables that an identity is read from, as statements name them.
const READ_FROM: [&str; 6] =
    ["devices", "assignments", "facilities", "system_devices", "system_assignments", "system_facilities"];

/// Whether a statement writes to what identities are read from.
pub(super) fn concerns(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    let writes = words.next().is_some_and(|verb| matches!(verb, "INSERT" | "UPDATE" | "DELETE"));
    writes && words.take(4).any(|word| READ_FROM.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_to_devices_is_told_from_what_does_not() {
        for sql in [
            "UPDATE devices SET state = 'REVOKED'",
            "INSERT INTO devices (id) VALUES (?1)",
            "INSERT OR REPLACE INTO assignments (id) VALUES (?1)",
            "DELETE FROM system_devices WHERE id = ?1",
            "UPDATE facilities\n    SET phi_mode = ?2",
        ] {
            assert!(concerns(sql), "{sql}");
        }
        for sql in [
            "BEGIN IMMEDIATE",
            "SELECT id FROM devices",
            "INSERT INTO changes (device_id, devices) VALUES (?1, ?2)",
            "UPDATE feeds SET seq = ?1",
        ] {
            assert!(!concerns(sql), "{sql}");
        }
    }
}
