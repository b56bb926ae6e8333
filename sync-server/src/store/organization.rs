//! The registry of one organization.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{BadgeId, DeviceId, EnrollmentId, FacilityId, PatientId, UserId};
use carepost_protocol::wire::enroll::UserCode;
use carepost_protocol::workflow::Workflow;

use super::*;

/// Work within one organization, or one facility of it where the scope is limited to that.
#[derive(Debug, Clone)]
pub struct OrganizationStore {
    store: Store,
    scope: OrganizationScope,
}

type Result<T> = std::result::Result<T, StoreError>;

impl OrganizationStore {
    /// The organization itself.
    pub async fn organization(&self) -> Result<Organization> {
        todo!()
    }
    /// Changes it.
    pub async fn update_organization(&self, patch: OrganizationPatch) -> Result<Organization> {
        todo!()
    }

    /// Its facilities, by name.
    pub async fn facilities(&self) -> Result<Vec<Facility>> {
        todo!()
    }
    /// One of them.
    pub async fn facility(&self, id: FacilityId) -> Result<Facility> {
        todo!()
    }
    /// Adds one, with the organization's workflows in its feed.
    pub async fn create_facility(&self, facility: NewFacility) -> Result<Facility> {
        todo!()
    }
    /// Changes one, and its document.
    pub async fn update_facility(&self, id: FacilityId, patch: FacilityPatch) -> Result<Facility> {
        todo!()
    }
    /// What a dashboard shows of one.
    pub async fn counts(&self, id: FacilityId) -> Result<FacilityCounts> {
        todo!()
    }

    /// The devices of a facility, by name.
    pub async fn devices(&self, facility: FacilityId) -> Result<Vec<Device>> {
        todo!()
    }
    /// One device.
    pub async fn device(&self, id: DeviceId) -> Result<Device> {
        todo!()
    }
    /// Registers a device before it is seen.
    pub async fn expect_device(&self, device: NewDevice) -> Result<Device> {
        todo!()
    }
    /// Changes a device.
    pub async fn update_device(&self, id: DeviceId, patch: DevicePatch) -> Result<Device> {
        todo!()
    }
    /// Refuses the device's key from now on and closes its streams. Twice is fine.
    pub async fn deactivate_device(&self, id: DeviceId) -> Result<Device> {
        todo!()
    }

    /// The waiting devices that this scope may see: those it claimed and those whose hardware it expects.
    pub async fn waiting(&self) -> Result<Vec<Waiting>> {
        todo!()
    }
    /// Enters a device's code for it. Wrong codes are counted per user.
    pub async fn claim(&self, by: UserId, code: UserCode, claim: Claim) -> Result<Waiting> {
        todo!()
    }
    /// Confirms the number that the claimed device shows: it is enrolled.
    pub async fn confirm(&self, enrollment: EnrollmentId, number: &str) -> Result<Device> {
        todo!()
    }

    /// Users, by name; of one facility or of all that the scope reaches.
    pub async fn users(&self, facility: Option<FacilityId>) -> Result<Vec<User>> {
        todo!()
    }
    /// One user.
    pub async fn user(&self, id: UserId) -> Result<User> {
        todo!()
    }
    /// Adds one.
    pub async fn create_user(&self, user: NewUser) -> Result<User> {
        todo!()
    }
    /// Changes one; the change is kept, so that what was charted before is judged by what was so then.
    pub async fn update_user(&self, id: UserId, patch: UserPatch) -> Result<User> {
        todo!()
    }
    /// Sets the password's verifier and ends the user's sessions.
    pub async fn set_password(&self, id: UserId, password_hash: String) -> Result<()> {
        todo!()
    }
    /// Sets the PIN's verifier, or removes it.
    pub async fn set_pin(&self, id: UserId, pin_verifier: Option<String>) -> Result<()> {
        todo!()
    }

    /// A user's badges.
    pub async fn badges(&self, user: UserId) -> Result<Vec<Badge>> {
        todo!()
    }
    /// Issues the card with this id to a user, for the readers of the user's home facility. The card's
    /// id is not kept; only its HMAC under the facility's badge key is.
    pub async fn issue_badge(&self, user: UserId, uid: &[u8]) -> Result<Badge> {
        todo!()
    }
    /// Revokes a badge. Twice is fine.
    pub async fn revoke_badge(&self, id: BadgeId) -> Result<Badge> {
        todo!()
    }

    /// Patients, by name; of one facility or of all that the scope reaches.
    pub async fn patients(&self, facility: Option<FacilityId>) -> Result<Vec<Patient>> {
        todo!()
    }
    /// One patient.
    pub async fn patient(&self, id: PatientId) -> Result<Patient> {
        todo!()
    }
    /// Admits a patient.
    pub async fn create_patient(&self, patient: NewPatient) -> Result<Patient> {
        todo!()
    }
    /// Changes a patient.
    pub async fn update_patient(&self, id: PatientId, patch: PatientPatch) -> Result<Patient> {
        todo!()
    }

    /// The latest version of each workflow, by label.
    pub async fn workflows(&self) -> Result<Vec<Workflow>> {
        todo!()
    }
    /// A version of a workflow; none asks for the latest.
    pub async fn workflow(&self, key: &str, version: Option<u32>) -> Result<Workflow> {
        todo!()
    }
    /// Publishes a schema as the next version of its key, to every facility. The store chooses id and
    /// version, whatever the argument says; publishing what is published already changes nothing.
    pub async fn publish_workflow(&self, workflow: Workflow) -> Result<Workflow> {
        todo!()
    }

    /// Writes audit events, all under this organization.
    pub async fn audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        todo!()
    }
    /// Looks for audit events.
    pub async fn audit_events(&self, query: AuditQuery) -> Result<Vec<AuditEvent>> {
        todo!()
    }
}
