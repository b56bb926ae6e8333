//! Organizations and their facilities.

use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::row::row;

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

row! {
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
    } whole
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

row! {
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
        /// When it was created.
        pub created_at: Timestamp,
        /// When it was last changed.
        pub updated_at: Timestamp,
    } and {
        /// How many documents a device that is sent everything has to hold.
        pub documents: u64,
    }
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
