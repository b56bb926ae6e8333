//! Devices by their keys, as they were last read: every request of a device asks whose key it is, and a
//! heartbeat costs little else.
//!
//! They are forgotten whole when a commit wrote to a table that an identity is read from.

use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{AssignmentId, DeviceId, FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;

use super::cache::Cache;
use super::rules::view::View;
use crate::scope::FacilityScope;

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
    /// Its scope; none unless it is ACTIVE, or QUARANTINED: then it may push, and the guard keeps it from reading.
    #[must_use]
    pub fn scope(&self) -> Option<FacilityScope> {
        FacilityScope::of_device(self.state, self.organization, self.facility)
    }

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
