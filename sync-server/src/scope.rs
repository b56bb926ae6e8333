//! Scopes, and their only maker.
//!
//! A scope says whose rows a piece of work may touch. It is made from an authenticated principal and
//! from nothing else; the store's handles take one and then no tenant argument at all, and the
//! database engine filters by it again (`store::engine::tables`).

use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::role::{Actor, Role};

/// Everything of one facility, and nothing else: documents, changes, chains, charting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FacilityScope {
    organization: OrganizationId,
    facility: FacilityId,
}

/// The registry of one organization, or of one facility of it where the principal is limited to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrganizationScope {
    organization: OrganizationId,
    limit: Option<FacilityId>,
}

impl OrganizationScope {
    /// The scope of a signed-in user of an organization. A role that acts within one facility is
    /// limited to its home facility. None for the platform's administrators, who belong to no
    /// organization, and for a user of one facility who has none: such a user reaches nothing.
    #[must_use]
    pub fn of_actor(actor: &Actor) -> Option<Self> {
        let organization = actor.organization?;
        if !actor.role.is_of_one_facility() {
            return Some(Self { organization, limit: None });
        }
        actor.facility.map(|facility| Self { organization, limit: Some(facility) })
    }

    /// The scope in which a platform administrator looks after an organization. None for any other
    /// role.
    #[must_use]
    pub fn of_platform(actor: &Actor, organization: OrganizationId) -> Option<Self> {
        (actor.role == Role::PlatformAdmin).then_some(Self { organization, limit: None })
    }

    /// The scope of a device that holds the one-time token of an expected device: that device's facility.
    pub(crate) const fn of_token(organization: OrganizationId, facility: FacilityId) -> Self {
        Self { organization, limit: Some(facility) }
    }

    /// The scope in which an operator's command on the server's own machine goes through all organizations.
    pub(crate) const fn of_operator(organization: OrganizationId) -> Self {
        Self { organization, limit: None }
    }

    /// The scope in which the store sets up an organization that it has just created.
    pub(crate) const fn of_founding(organization: OrganizationId) -> Self {
        Self { organization, limit: None }
    }

    /// One facility of this scope. None when the scope is limited to another. Whether the facility is
    /// the organization's is the engine's to say: it filters on both, so a foreign facility is empty.
    #[must_use]
    pub fn enter(&self, facility: FacilityId) -> Option<FacilityScope> {
        let within = self.limit.is_none_or(|limit| limit == facility);
        within.then_some(FacilityScope { organization: self.organization, facility })
    }

    #[must_use]
    pub const fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// The one facility that the principal is limited to, if any.
    #[must_use]
    pub const fn limit(&self) -> Option<FacilityId> {
        self.limit
    }
}

impl FacilityScope {
    /// The scope of a device whose key the store has looked up. None unless it is ACTIVE, or QUARANTINED: then it
    /// may push, and authentication keeps it from reading.
    pub(crate) fn of_device(
        state: DeviceState,
        organization: OrganizationId,
        facility: FacilityId,
    ) -> Option<Self> {
        matches!(state, DeviceState::Active | DeviceState::Quarantined)
            .then_some(Self { organization, facility })
    }

    /// The scope in which an operator's command on the server's own machine goes through all facilities.
    pub(crate) const fn of_operator(organization: OrganizationId, facility: FacilityId) -> Self {
        Self { organization, facility }
    }

    #[must_use]
    pub const fn organization(&self) -> OrganizationId {
        self.organization
    }

    #[must_use]
    pub const fn facility(&self) -> FacilityId {
        self.facility
    }
}
