//! The identity cache: devices by their keys, as they were last read; every request of a device asks whose key it is,
//! and a heartbeat costs little else.
//!
//! They are forgotten whole when a commit wrote to a table that an identity is read from.

use crate::store::row::row;
use carepost_protocol::device::{DeviceState, DeviceType};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{AssignmentId, DeviceId, FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;

use super::cache::Cache;
use super::rules::view::View;
use crate::scope::FacilityScope;

row! {
    /// A device whose key was looked up: what a request over mutual TLS is authenticated as. Only the
    /// store makes one.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DeviceIdentity {
        pub(super) device: DeviceId = "d.id",
        pub(super) organization: OrganizationId = "d.organization_id",
        pub(super) facility: FacilityId = "d.facility_id",
        pub(super) assignment: Option<AssignmentId>
            = "(SELECT id FROM system_assignments
                WHERE organization_id = d.organization_id AND device_id = d.id AND until_at IS NULL)",
        pub(super) state: DeviceState = "d.state",
        pub(super) public_key: Vec<u8> = "d.public_key",
        pub(super) view: View
            = "d.device_type, coalesce(d.phi_mode, (SELECT phi_mode FROM system_facilities
                WHERE organization_id = d.organization_id AND id = d.facility_id))" by view,
        pub(super) view_changes: u64 = "d.view_changes",
        pub(super) mirror_began: Option<Timestamp> = "d.mirror_began_at",
        pub(super) require_encryption: bool
            = "(SELECT require_encryption FROM system_facilities
                WHERE organization_id = d.organization_id AND id = d.facility_id)",
    }
}

fn view((device_type, phi_mode): (DeviceType, PhiMode)) -> View {
    View::of(device_type, phi_mode)
}

impl DeviceIdentity {
    /// Its scope; none unless it is ACTIVE, or QUARANTINED: then it may push, and authentication keeps it from reading.
    #[must_use]
    pub fn scope(&self) -> Option<FacilityScope> {
        FacilityScope::of_device(self.state, self.organization, self.facility)
    }

    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

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
