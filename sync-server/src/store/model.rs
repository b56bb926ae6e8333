//! What the store takes and gives: one type for each kind of thing, with no tenant to choose in it.

use std::fmt;
use std::ops::{Deref, DerefMut};

use carepost_protocol::device::{Deactivation, DeviceState, DeviceType, SyncFacts};
use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{
    AssignmentId, BadgeId, DeviceId, DeviceUuid, EnrollmentId, FacilityId, OrganizationId, PatientId, UserId,
};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Actor, Role};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState, SteppedOver};
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What kind of operator an organization is (S1-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrganizationType {
    /// Visiting nurses.
    HomeHealthAgency,
    /// Assisted living.
    AlfOperator,
    /// Dementia care.
    MemoryCareGroup,
    /// Skilled nursing.
    SnfChain,
    /// Several kinds of care.
    MultiSiteSystem,
    /// Hospital.
    Hospital,
    /// Outpatient clinic.
    Clinic,
    /// Physicians' practices.
    PhysicianGroup,
}

/// An organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    /// The organization.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// Its name in addresses: lower-case letters, digits and hyphens; unique on the server.
    pub slug: String,
    /// What kind of operator it is.
    pub organization_type: OrganizationType,
    /// Its National Provider Identifier (S1-03).
    pub npi: Option<String>,
    /// Where it is: a JSON object, in part or whole.
    pub address: Option<Value>,
    /// Whom to reach: a JSON object, in part or whole.
    pub contact: Option<Value>,
    /// The public half of its recovery key (an age recipient).
    pub recovery_recipient: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A new organization.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOrganization {
    /// Its name.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// What kind of operator it is.
    pub organization_type: OrganizationType,
    /// Its National Provider Identifier.
    pub npi: Option<String>,
    /// Where it is.
    pub address: Option<Value>,
    /// Whom to reach.
    pub contact: Option<Value>,
    /// The public half of its recovery key.
    pub recovery_recipient: String,
}

/// What an administrator changes of an organization; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrganizationPatch {
    /// Its name.
    pub name: Option<String>,
    /// What kind of operator it is.
    pub organization_type: Option<OrganizationType>,
    /// Its National Provider Identifier; `Some(None)` removes it.
    pub npi: Option<Option<String>>,
    /// What changes of where it is, member by member, those that are null being removed; `Some(None)` removes it.
    pub address: Option<Option<Value>>,
    /// What changes of whom to reach, likewise.
    pub contact: Option<Option<Value>>,
}

/// A facility.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facility {
    /// The facility.
    pub id: FacilityId,
    /// The organization that runs it.
    pub organization_id: OrganizationId,
    /// Its name, unique in the organization.
    pub name: String,
    /// What care it gives.
    pub facility_type: FacilityType,
    /// Licensed beds, where it has any.
    pub licensed_beds: Option<u32>,
    /// How many residents it has.
    pub current_census: u32,
    /// Whom to call.
    pub phone: Option<String>,
    /// How much of a resident its devices are sent.
    pub phi_mode: PhiMode,
    /// Whether its devices are sent anything only while they are encrypted.
    pub require_encryption: bool,
    /// For how many days records stay on its devices; none is as the server says.
    pub record_days: Option<u32>,
    /// The IANA name of its time zone; none until somebody set it.
    pub time_zone: Option<String>,
    /// Where it is.
    pub address: Option<Value>,
    /// The measures that it charts in.
    pub units: Units,
    /// How many documents a device that is sent everything has to hold.
    pub documents: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A new facility.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFacility {
    /// Its name.
    pub name: String,
    /// What care it gives.
    pub facility_type: FacilityType,
    /// Licensed beds, where it has any.
    pub licensed_beds: Option<u32>,
    /// How many residents it has.
    pub current_census: u32,
    /// Whom to call.
    pub phone: Option<String>,
    /// How much of a resident its devices are sent.
    pub phi_mode: PhiMode,
    /// Whether its devices are sent anything only while they are encrypted.
    pub require_encryption: bool,
    /// The IANA name of its time zone.
    pub time_zone: Option<String>,
    /// Where it is.
    pub address: Option<Value>,
    /// The measures that it charts in.
    pub units: Units,
}

/// What an administrator changes of a facility; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FacilityPatch {
    /// Its name.
    pub name: Option<String>,
    /// What care it gives.
    pub facility_type: Option<FacilityType>,
    /// Licensed beds; `Some(None)` removes them.
    pub licensed_beds: Option<Option<u32>>,
    /// How many residents it has.
    pub current_census: Option<u32>,
    /// Whom to call; `Some(None)` removes it.
    pub phone: Option<Option<String>>,
    /// How much of a resident its devices are sent.
    pub phi_mode: Option<PhiMode>,
    /// Whether its devices are sent anything only while they are encrypted.
    pub require_encryption: Option<bool>,
    /// For how many days records stay on its devices; `Some(None)` is as the server says.
    pub record_days: Option<Option<u32>>,
    /// The IANA name of its time zone; `Some(None)` removes it.
    pub time_zone: Option<Option<String>>,
    /// What changes of where it is, member by member, those that are null being removed; `Some(None)` removes it.
    pub address: Option<Option<Value>>,
    /// The measures that it charts in.
    pub units: Option<Units>,
}

/// A user, without the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// The home facility.
    pub facility_id: Option<FacilityId>,
    /// The name to sign in with, unique in the organization whatever its case.
    pub username: String,
    /// The address, unique in the organization whatever its case.
    pub email: Option<String>,
    /// The name people see.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// The employer's number for the user (S1-67).
    pub employee_id: Option<String>,
    /// How long an idle session lasts, in minutes.
    pub session_timeout_minutes: u32,
    /// Whether the user may sign in at all.
    pub is_active: bool,
    /// Whether a PIN is set.
    pub has_pin: bool,
    /// Since when a thief may know it.
    pub pin_exposed_at: Option<Timestamp>,
    /// Whether a password is set.
    pub has_password: bool,
    /// When the user last did something with the server.
    pub last_activity_at: Option<Timestamp>,
    /// Until when sign-in is locked.
    pub locked_until: Option<Timestamp>,
    /// When the user was created.
    pub created_at: Timestamp,
}

/// A new user.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The home facility; a role that acts within one facility needs one.
    pub facility_id: Option<FacilityId>,
    /// The name to sign in with.
    pub username: String,
    /// The address.
    pub email: Option<String>,
    /// The name people see.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// The employer's number for the user.
    pub employee_id: Option<String>,
    /// How long an idle session lasts, in minutes.
    pub session_timeout_minutes: u32,
    /// The password's verifier, an Argon2id PHC string.
    pub password_hash: Option<String>,
    /// The PIN's verifier, an Argon2id PHC string.
    pub pin_verifier: Option<String>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What an administrator changes of a user; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// The name to sign in with.
    pub username: Option<String>,
    /// The home facility; `Some(None)` removes it.
    pub facility_id: Option<Option<FacilityId>>,
    /// The address; `Some(None)` removes it.
    pub email: Option<Option<String>>,
    /// The name people see.
    pub display_name: Option<String>,
    /// What the user may do.
    pub role: Option<Role>,
    /// The employer's number; `Some(None)` removes it.
    pub employee_id: Option<Option<String>>,
    /// How long an idle session lasts, in minutes.
    pub session_timeout_minutes: Option<u32>,
    /// Whether the user may sign in at all.
    pub is_active: Option<bool>,
}

/// What is needed to check a sign-in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: UserId,
    /// The organization; none for the platform's administrators.
    pub organization: Option<OrganizationId>,
    /// The home facility.
    pub facility: Option<FacilityId>,
    /// What the user may do.
    pub role: Role,
    /// The name people see.
    pub display_name: String,
    /// The password's verifier; none when no password is set: then nobody signs in with one.
    pub password_hash: Option<String>,
    /// Whether the user may sign in at all.
    pub is_active: bool,
    /// How long an idle session lasts, in minutes.
    pub session_timeout_minutes: u32,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A signed-in user's session with the server, valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who: as the user's row says now, not as it said at sign-in.
    pub actor: Actor,
    /// The name to sign in with.
    pub username: String,
    /// The name people see.
    pub display_name: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
}

/// A session to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSession {
    /// Who signed in.
    pub user: UserId,
    /// The user's organization; none for the platform's administrators.
    pub organization: Option<OrganizationId>,
    /// SHA-256 of the token that the client holds.
    pub token_sha256: [u8; 32],
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
}

/// A badge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    /// The badge.
    pub id: BadgeId,
    /// Whose it is.
    pub user_id: UserId,
    /// The facility whose readers know it.
    pub facility_id: FacilityId,
    /// Which card it is, as the audit log masks it.
    pub card: String,
    /// Whether it still opens anything.
    pub is_active: bool,
    /// When it was issued.
    pub created_at: Timestamp,
    /// The username of who issued it, where that is a user in the scope and since it is kept.
    pub issued_by: Option<String>,
}

/// A patient: what devices mirror, and where the row belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patient {
    /// The facility.
    pub facility_id: FacilityId,
    /// When the row was created.
    pub created_at: Timestamp,
    /// The fields, and who took the patient's place; whose place the patient took is not read with it.
    pub document: PatientDocument,
}

impl Deref for Patient {
    type Target = PatientDocument;
    fn deref(&self) -> &PatientDocument {
        &self.document
    }
}

impl DerefMut for Patient {
    fn deref_mut(&mut self) -> &mut PatientDocument {
        &mut self.document
    }
}

/// Other patients who are, or may be, the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Those whose place this one took.
    pub replaces: Vec<PatientId>,
    /// Those whom an open review asks about.
    pub may_be: Vec<Patient>,
}

/// A new patient.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPatient {
    /// The facility.
    pub facility_id: FacilityId,
    /// The fields, as [`carepost_protocol::patient::read`] gave them.
    pub fields: Map<String, Value>,
}

/// A device as an administrator sees it, its latest heartbeat included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub id: DeviceId,
    /// The facility it belongs to.
    pub facility_id: FacilityId,
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub device_type: DeviceType,
    /// How much of a resident it is sent; none is as the facility says.
    pub phi_mode: Option<PhiMode>,
    /// Where it stands.
    pub state: DeviceState,
    /// The label read off its hardware.
    pub device_uuid: Option<DeviceUuid>,
    /// The addresses of its network interfaces.
    pub mac_addresses: Vec<String>,
    /// Its binding to the facility; none before it was enrolled and after it was deactivated.
    pub assignment: Option<AssignmentId>,
    /// SHA-256 of its public key (SPKI), in hexadecimal.
    pub key_sha256: Option<String>,
    /// Whether another key that claims the same hardware waits in the lobby.
    pub possible_clone: bool,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// The last heartbeat, on the server's clock.
    pub last_seen: Option<Timestamp>,
    /// What [`carepost_protocol::device::sync_status`] takes.
    pub sync: SyncFacts,
    /// Changes that wait on the device, as of the last heartbeat.
    pub waiting: u64,
    /// Where its mirror stands.
    pub cursor: Option<Cursor>,
    /// Its badge reader.
    pub reader: Option<ReaderState>,
    /// Whether it says that what rests on it is encrypted.
    pub encrypted: Option<bool>,
    /// What it measured of that; none where it does not say.
    pub encryption: Option<Encryption>,
    /// Whether its facility demands encryption.
    pub require_encryption: bool,
    /// Why it cannot save what is charted on it, in its own words.
    pub cannot_save: Option<String>,
    /// Why its copy does not go on, in its own words. In memory alone.
    pub copy_trouble: Option<String>,
    /// The last card there that was nobody's badge: by what it would be known, and when it was there. In memory
    /// alone.
    pub unknown_tap: Option<(String, Timestamp)>,
    /// How far its clock is ahead of the server's, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// The names of the collections of its copy that were found to differ and are not mended yet.
    pub differs: Vec<String>,
    /// How often it had to fetch a collection again.
    pub refetches: u64,
    /// The documents that it could not take, and went on without.
    pub stepped_over: Vec<SteppedOver>,
    /// For how many seconds nothing has moved, though something waits.
    pub no_progress: Option<u64>,
    /// How many documents it has to hold.
    pub documents: u64,
    /// Why it is quarantined.
    pub quarantine: Option<String>,
    /// Why it was deactivated.
    pub deactivation: Option<Deactivation>,
    /// When it last went on under a new incarnation, from an older state of itself.
    pub rolled_back_at: Option<Timestamp>,
    /// Until when it may enroll with its token; none once it has, or when it has none.
    pub token_expires_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A device that was deactivated, and what that set off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deactivated {
    /// The device.
    pub device: Device,
    /// What it held that counts as known to a thief from now on; none unless it was just lost.
    pub exposed: Option<Exposed>,
}

/// What a lost device held of its facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Exposed {
    /// How many PINs have to be replaced.
    pub pins: u64,
    /// How many badges are known by another key from now on. They work on without being tapped again.
    pub badges: u64,
}

/// A device registered before it is seen (S1-59).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// The facility.
    pub facility_id: FacilityId,
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub device_type: DeviceType,
    /// The label on its hardware.
    pub device_uuid: Option<DeviceUuid>,
    /// SHA-256 of the one-time token it may enroll with.
    pub token_sha256: [u8; 32],
}

/// What an administrator changes of a device; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicePatch {
    /// Its name.
    pub name: Option<String>,
    /// What kind of device it is.
    pub device_type: Option<DeviceType>,
    /// How much of a resident it is sent; `Some(None)` is as the facility says.
    pub phi_mode: Option<Option<PhiMode>>,
}

/// The key of the connection over which a device asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub sha256: [u8; 32],
    /// The point itself: 65 bytes, uncompressed (04 || x || y).
    pub point: Vec<u8>,
    /// From which network it was presented.
    pub network: String,
}

/// What an administrator says of a device whose code was read off it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The facility it shall belong to.
    pub facility_id: FacilityId,
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub device_type: DeviceType,
}

/// A waiting device whose code an administrator entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The enrollment.
    pub id: EnrollmentId,
    /// The label it claims.
    pub device_uuid: DeviceUuid,
    /// The addresses of its network interfaces.
    pub mac_addresses: Vec<String>,
    /// What it calls itself.
    pub hostname: String,
    /// Whether an administrator of the same organization registered that hardware beforehand.
    pub expected: bool,
    /// Whether a device of the same organization with another key has that hardware.
    pub possible_clone: bool,
}

/// A page of a facility's feed, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// NDJSON: the documents, then the page's end, each line ended by `\n`.
    pub lines: Vec<u8>,
    /// The page's end, as the last line says it.
    pub end: PageEnd,
}
