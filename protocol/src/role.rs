//! Roles, and the one place where it is decided who may do what.
//!
//! Reads of residents and writes to the outbox demand a [`Permit`], and only [`authorize`] makes one:
//! forgetting to ask does not compile.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::id::{FacilityId, OrganizationId, SessionId, UserId};

/// What a user is. Credentials (RN, LPN, ...) are shown elsewhere, never checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the server: creates organizations, sees no resident.
    PlatformAdmin,
    /// All facilities of one organization (S1-35).
    OrgAdmin,
    /// One facility.
    FacilityAdmin,
    /// Registered nurse.
    Rn,
    /// Licensed practical nurse.
    Lpn,
    /// Medical assistant (S0-46).
    MedicalAssistant,
    /// Caregiver or nursing assistant.
    Caregiver,
    /// A resident's family: no resident data yet.
    Family,
    /// Reads the audit log, changes nothing.
    Auditor,
}

impl Role {
    /// Every role, for tests that must cover all.
    pub const ALL: [Self; 9] = [
        Self::PlatformAdmin,
        Self::OrgAdmin,
        Self::FacilityAdmin,
        Self::Rn,
        Self::Lpn,
        Self::MedicalAssistant,
        Self::Caregiver,
        Self::Family,
        Self::Auditor,
    ];

    /// Whether the role acts within one facility only (its home facility).
    #[must_use]
    pub const fn is_of_one_facility(self) -> bool {
        match self {
            Self::PlatformAdmin | Self::OrgAdmin | Self::Auditor => false,
            Self::FacilityAdmin
            | Self::Rn
            | Self::Lpn
            | Self::MedicalAssistant
            | Self::Caregiver
            | Self::Family => true,
        }
    }

    /// Whether holders of the role give care, and so may chart.
    #[must_use]
    pub const fn gives_care(self) -> bool {
        match self {
            Self::FacilityAdmin | Self::Rn | Self::Lpn | Self::MedicalAssistant | Self::Caregiver => true,
            Self::PlatformAdmin | Self::OrgAdmin | Self::Family | Self::Auditor => false,
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Create organizations, see all of them (S1-38).
    ManagePlatform,
    /// See an organization (S1-39).
    ReadOrganization,
    /// Change an organization, add facilities (S1-40, S1-42).
    ManageOrganization,
    /// See a facility and its figures (S1-43).
    ReadFacility,
    /// Change a facility (S1-44).
    ManageFacility,
    /// Report how many residents there are (S1-45).
    UpdateCensus,
    /// See devices (S1-46, S1-48).
    ReadDevices,
    /// Register, approve, change and deactivate devices (S1-61).
    ManageDevices,
    /// See and change users and their badges.
    ManageUsers,
    /// See workflow schemas.
    ReadWorkflows,
    /// Publish workflow schemas.
    ManageWorkflows,
    /// See residents and their records (S1-33).
    ReadPatients,
    /// Admit residents, change who and where they are.
    ManagePatients,
    /// Record care.
    Chart,
    /// Read the audit log.
    ReadAudit,
    /// Choose the own PIN.
    ChoosePin,
}

/// What it would be done to: a place in the tree of tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The server as a whole.
    Platform,
    /// An organization, or something of it that belongs to no facility.
    Organization(OrganizationId),
    /// A facility, or something in it.
    Facility(OrganizationId, FacilityId),
}

/// Who wants to do it: a user with an authenticated session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The user.
    pub user: UserId,
    /// The session that was authenticated.
    pub session: SessionId,
    /// The role the session holds.
    pub role: Role,
    /// The user's organization; none for the platform's administrators.
    pub organization: Option<OrganizationId>,
    /// The user's home facility.
    pub facility: Option<FacilityId>,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is another tenant's: to the asker it does not exist.
    #[error("there is no such thing in your scope")]
    OutOfScope,
    /// It is within scope, but the role does not allow it.
    #[error("your role does not allow this; ask an administrator")]
    Role,
}

/// Proof that [`authorize`] was asked and agreed. It cannot be made in any other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit<A> {
    actor: Actor,
    resource: Resource,
    act: PhantomData<A>,
}

impl<A> Permit<A> {
    /// Who was permitted.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What it was permitted on.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }
}

/// A kind of [`Permit`]: the type-level name of an [`Action`].
pub trait Act {
    /// The action.
    const ACTION: Action;
}

/// See [`Action::ReadPatients`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPatients {}
impl Act for ReadPatients {
    const ACTION: Action = Action::ReadPatients;
}

/// See [`Action::ManagePatients`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagePatients {}
impl Act for ManagePatients {
    const ACTION: Action = Action::ManagePatients;
}

/// See [`Action::Chart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chart {}
impl Act for Chart {
    const ACTION: Action = Action::Chart;
}

/// See [`Action::ChoosePin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoosePin {}
impl Act for ChoosePin {
    const ACTION: Action = Action::ChoosePin;
}

/// Asks whether `actor` may do `A` to `resource`.
///
/// # Errors
/// [`Denied::OutOfScope`] when the resource is another tenant's, [`Denied::Role`] when the role does
/// not allow it.
pub fn authorize<A: Act>(actor: &Actor, resource: Resource) -> Result<Permit<A>, Denied> {
    decide(actor, A::ACTION, resource)?;
    Ok(Permit { actor: *actor, resource, act: PhantomData })
}

/// The decision behind [`authorize`], for callers whose action is known only at run time (the
/// server's table of routes).
///
/// # Errors
/// As [`authorize`].
pub fn decide(actor: &Actor, action: Action, resource: Resource) -> Result<(), Denied> {
    if !in_scope(actor, resource) {
        return Err(Denied::OutOfScope);
    }
    if may(actor.role, action) { Ok(()) } else { Err(Denied::Role) }
}

fn in_scope(actor: &Actor, resource: Resource) -> bool {
    if actor.role == Role::PlatformAdmin {
        return true;
    }
    match resource {
        // Whether the platform may be managed is a question of role, not of scope.
        Resource::Platform => true,
        Resource::Organization(organization) => actor.organization == Some(organization),
        Resource::Facility(organization, facility) => {
            actor.organization == Some(organization)
                && (!actor.role.is_of_one_facility() || actor.facility == Some(facility))
        }
    }
}

/// Whether a role ever allows an action, wherever it is in scope.
#[must_use]
pub const fn may(role: Role, action: Action) -> bool {
    use Action as A;
    match role {
        Role::PlatformAdmin => matches!(
            action,
            A::ManagePlatform
                | A::ReadOrganization
                | A::ManageOrganization
                | A::ReadFacility
                | A::ReadDevices
                | A::ReadWorkflows
        ),
        Role::OrgAdmin => !matches!(action, A::ManagePlatform | A::Chart),
        Role::FacilityAdmin => {
            !matches!(action, A::ManagePlatform | A::ManageOrganization | A::ManageWorkflows | A::ReadAudit)
        }
        Role::Rn => matches!(
            action,
            A::ReadOrganization
                | A::ReadFacility
                | A::UpdateCensus
                | A::ReadWorkflows
                | A::ReadPatients
                | A::ManagePatients
                | A::Chart
                | A::ChoosePin
        ),
        Role::Lpn | Role::MedicalAssistant | Role::Caregiver => matches!(
            action,
            A::ReadOrganization
                | A::ReadFacility
                | A::ReadWorkflows
                | A::ReadPatients
                | A::Chart
                | A::ChoosePin
        ),
        Role::Family => matches!(action, A::ReadOrganization | A::ReadFacility | A::ChoosePin),
        Role::Auditor => {
            matches!(action, A::ReadOrganization | A::ReadFacility | A::ReadAudit | A::ChoosePin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn actor(role: Role, organization: u8, facility: u8) -> Actor {
        Actor {
            user: UserId::new(NOW, [9; 10]),
            session: SessionId::new(NOW, [9; 10]),
            role,
            organization: (role != Role::PlatformAdmin).then(|| OrganizationId::new(NOW, [organization; 10])),
            facility: role.is_of_one_facility().then(|| FacilityId::new(NOW, [facility; 10])),
        }
    }

    fn facility(organization: u8, facility: u8) -> Resource {
        Resource::Facility(OrganizationId::new(NOW, [organization; 10]), FacilityId::new(NOW, [facility; 10]))
    }

    #[test]
    fn nobody_reads_residents_of_another_facility_or_organization() {
        for role in Role::ALL {
            let asked = |resource| authorize::<ReadPatients>(&actor(role, 1, 1), resource);
            if role != Role::PlatformAdmin {
                assert_eq!(asked(facility(2, 1)).unwrap_err(), Denied::OutOfScope, "{role:?}");
            }
            match role {
                Role::OrgAdmin => assert!(asked(facility(1, 2)).is_ok()),
                Role::PlatformAdmin | Role::Auditor => {
                    assert_eq!(asked(facility(1, 2)).unwrap_err(), Denied::Role);
                }
                Role::FacilityAdmin
                | Role::Rn
                | Role::Lpn
                | Role::MedicalAssistant
                | Role::Caregiver
                | Role::Family => assert_eq!(asked(facility(1, 2)).unwrap_err(), Denied::OutOfScope),
            }
        }
    }

    #[test]
    fn only_those_who_give_care_chart() {
        for role in Role::ALL {
            let permit = authorize::<Chart>(&actor(role, 1, 1), facility(1, 1));
            assert_eq!(permit.is_ok(), role.gives_care(), "{role:?}");
        }
    }

    #[test]
    fn what_each_role_may_do_is_listed_here_and_nothing_else() {
        use Action as A;
        use Role::{
            Auditor, Caregiver, FacilityAdmin, Family, Lpn, MedicalAssistant, OrgAdmin, PlatformAdmin, Rn,
        };
        const STAFF: [Role; 4] = [Rn, Lpn, MedicalAssistant, Caregiver];
        let staff_and = |others: &[Role]| [&STAFF, others].concat();
        let listed = [
            (A::ManagePlatform, vec![PlatformAdmin]),
            (A::ReadOrganization, Role::ALL.to_vec()),
            (A::ManageOrganization, vec![PlatformAdmin, OrgAdmin]),
            (A::ReadFacility, Role::ALL.to_vec()),
            (A::ManageFacility, vec![OrgAdmin, FacilityAdmin]),
            (A::UpdateCensus, vec![OrgAdmin, FacilityAdmin, Rn]),
            (A::ReadDevices, vec![PlatformAdmin, OrgAdmin, FacilityAdmin]),
            (A::ManageDevices, vec![OrgAdmin, FacilityAdmin]),
            (A::ManageUsers, vec![OrgAdmin, FacilityAdmin]),
            (A::ReadWorkflows, staff_and(&[PlatformAdmin, OrgAdmin, FacilityAdmin])),
            (A::ManageWorkflows, vec![OrgAdmin]),
            (A::ReadPatients, staff_and(&[OrgAdmin, FacilityAdmin])),
            (A::ManagePatients, vec![OrgAdmin, FacilityAdmin, Rn]),
            (A::Chart, staff_and(&[FacilityAdmin])),
            (A::ReadAudit, vec![OrgAdmin, Auditor]),
            (A::ChoosePin, staff_and(&[OrgAdmin, FacilityAdmin, Family, Auditor])),
        ];
        for (action, holders) in listed {
            for role in Role::ALL {
                assert_eq!(may(role, action), holders.contains(&role), "{role:?} {action:?}");
                let decided = if holders.contains(&role) { Ok(()) } else { Err(Denied::Role) };
                assert_eq!(
                    decide(&actor(role, 1, 1), action, facility(1, 1)),
                    decided,
                    "{role:?} {action:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_another_tenants_does_not_exist_whatever_the_role() {
        let organization =
            |organization: u8| Resource::Organization(OrganizationId::new(NOW, [organization; 10]));
        for role in Role::ALL {
            let is_platform = role == Role::PlatformAdmin;
            let is_of_all = matches!(role, Role::PlatformAdmin | Role::OrgAdmin | Role::Auditor);
            for (resource, exists) in [
                (Resource::Platform, true),
                (organization(1), true),
                (organization(2), is_platform),
                (facility(1, 1), true),
                (facility(1, 2), is_of_all),
                (facility(2, 1), is_platform),
            ] {
                // Every role may read an organization, so that nothing but the scope is asked.
                let asked = decide(&actor(role, 1, 1), Action::ReadOrganization, resource);
                assert_eq!(
                    asked,
                    if exists { Ok(()) } else { Err(Denied::OutOfScope) },
                    "{role:?} {resource:?}"
                );
            }
        }
    }

    #[test]
    fn a_permit_says_who_was_permitted_what() {
        let (nurse, place) = (actor(Role::Rn, 1, 1), facility(1, 1));
        let permit = authorize::<Chart>(&nurse, place).unwrap();
        assert_eq!((permit.actor(), permit.resource()), (&nurse, place));
    }
}
