//! Organizations and their facilities.

use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::record::FacilityDocument;
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::row::row;
use crate::store::version::{Version, Versioned};

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
    /// An organization. Its version is of all that is not skipped.
    #[derive(Debug, Clone, PartialEq, Serialize)]
    pub struct Organization {
        pub id: OrganizationId,
        pub name: String,
        /// Its name in addresses: lower-case letters, digits and hyphens; unique on the server.
        pub slug: String,
        pub organization_type: OrganizationType,
        /// Its National Provider Identifier (S1-03).
        pub npi: Option<String>,
        /// Where it is: a JSON object, in part or whole.
        pub address: Option<Value>,
        /// Whom to reach: a JSON object, in part or whole.
        pub contact: Option<Value>,
        /// The public half of its recovery key (an age recipient).
        pub recovery_recipient: String,
        pub created_at: Timestamp,
        #[serde(skip)]
        pub updated_at: Timestamp,
    } whole
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewOrganization {
    pub name: String,
    pub slug: String,
    pub organization_type: OrganizationType,
    pub npi: Option<String>,
    pub address: Option<Value>,
    pub contact: Option<Value>,
    pub recovery_recipient: String,
}

/// What an administrator changes of an organization; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrganizationPatch {
    pub name: Option<String>,
    pub organization_type: Option<OrganizationType>,
    /// Its National Provider Identifier; `Some(None)` removes it.
    pub npi: Option<Option<String>>,
    /// What changes of where it is, member by member, those that are null being removed; `Some(None)` removes it.
    pub address: Option<Option<Value>>,
    /// What changes of whom to reach, likewise.
    pub contact: Option<Option<Value>>,
}

row! {
    /// A facility. Its version is of all that is not skipped.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    pub struct Facility {
        pub id: FacilityId,
        pub organization_id: OrganizationId,
        /// Its name, unique in the organization.
        pub name: String,
        pub facility_type: FacilityType,
        /// Licensed beds, where it has any.
        pub licensed_beds: Option<u32>,
        pub current_census: u32,
        pub phone: Option<String>,
        /// How much of a resident its devices are sent.
        pub phi_mode: PhiMode,
        /// Whether its devices are sent anything only while they are encrypted.
        pub require_encryption: bool,
        /// For how many days records stay on its devices; none is as the server says.
        pub record_days: Option<u32>,
        /// The IANA name of its time zone; none until somebody set it.
        pub time_zone: Option<String>,
        pub address: Option<Value>,
        pub units: Units,
        pub created_at: Timestamp,
        #[serde(skip)]
        pub updated_at: Timestamp,
    } and {
        /// How many documents a device that is sent everything has to hold.
        #[serde(skip)]
        pub documents: u64,
    } whole
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFacility {
    pub name: String,
    pub facility_type: FacilityType,
    pub licensed_beds: Option<u32>,
    pub current_census: u32,
    pub phone: Option<String>,
    pub phi_mode: PhiMode,
    pub require_encryption: bool,
    pub time_zone: Option<String>,
    pub address: Option<Value>,
    pub units: Units,
}

/// What an administrator changes of a facility; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FacilityPatch {
    pub name: Option<String>,
    pub facility_type: Option<FacilityType>,
    /// Licensed beds; `Some(None)` removes them.
    pub licensed_beds: Option<Option<u32>>,
    pub current_census: Option<u32>,
    /// Whom to call; `Some(None)` removes it.
    pub phone: Option<Option<String>>,
    pub phi_mode: Option<PhiMode>,
    pub require_encryption: Option<bool>,
    /// For how many days records stay on its devices; `Some(None)` is as the server says.
    pub record_days: Option<Option<u32>>,
    /// The IANA name of its time zone; `Some(None)` removes it.
    pub time_zone: Option<Option<String>>,
    /// What changes of where it is, member by member, those that are null being removed; `Some(None)` removes it.
    pub address: Option<Option<Value>>,
    pub units: Option<Units>,
}

impl Versioned for Organization {
    fn version(&self) -> Version {
        Version::of(self)
    }
}

impl Versioned for Facility {
    fn version(&self) -> Version {
        Version::of(self)
    }
}

impl OrganizationPatch {
    pub(in crate::store) fn over(self, before: Organization, now: Timestamp) -> Organization {
        Organization {
            name: self.name.unwrap_or(before.name),
            organization_type: self.organization_type.unwrap_or(before.organization_type),
            npi: self.npi.unwrap_or(before.npi),
            address: merged(before.address, self.address),
            contact: merged(before.contact, self.contact),
            updated_at: now,
            ..before
        }
    }
}

impl NewFacility {
    /// The facility that it becomes.
    pub(in crate::store) fn begun(
        self,
        id: FacilityId,
        organization_id: OrganizationId,
        now: Timestamp,
    ) -> Facility {
        Facility {
            id,
            organization_id,
            name: self.name,
            facility_type: self.facility_type,
            licensed_beds: self.licensed_beds,
            current_census: self.current_census,
            phone: self.phone,
            phi_mode: self.phi_mode,
            require_encryption: self.require_encryption,
            record_days: None,
            time_zone: self.time_zone,
            address: merged(None, Some(self.address)),
            units: self.units,
            created_at: now,
            updated_at: now,
            documents: 0,
        }
    }
}

impl FacilityPatch {
    pub(in crate::store) fn over(self, before: Facility, now: Timestamp) -> Facility {
        Facility {
            name: self.name.unwrap_or(before.name),
            facility_type: self.facility_type.unwrap_or(before.facility_type),
            licensed_beds: self.licensed_beds.unwrap_or(before.licensed_beds),
            current_census: self.current_census.unwrap_or(before.current_census),
            phone: self.phone.unwrap_or(before.phone),
            phi_mode: self.phi_mode.unwrap_or(before.phi_mode),
            require_encryption: self.require_encryption.unwrap_or(before.require_encryption),
            record_days: self.record_days.unwrap_or(before.record_days),
            time_zone: self.time_zone.unwrap_or(before.time_zone),
            address: merged(before.address, self.address),
            units: self.units.unwrap_or(before.units),
            updated_at: now,
            ..before
        }
    }
}

impl Facility {
    /// What devices mirror of it.
    pub(in crate::store) fn document(self, organization_name: String) -> FacilityDocument {
        FacilityDocument {
            id: self.id,
            name: self.name,
            organization_name,
            phone: self.phone,
            facility_type: self.facility_type,
            licensed_beds: self.licensed_beds,
            current_census: self.current_census,
            time_zone: self.time_zone,
            units: self.units,
        }
    }
}

/// An object with what changes of it; nothing is left of one without members.
pub(in crate::store) fn merged(before: Option<Value>, change: Option<Option<Value>>) -> Option<Value> {
    let mut members = match before {
        Some(Value::Object(members)) => members,
        Some(_) | None => Map::new(),
    };
    match change {
        None => {}
        Some(Some(Value::Object(change))) => {
            members.extend(change);
            members.retain(|_, value| !value.is_null());
        }
        Some(_) => members.clear(),
    }
    (!members.is_empty()).then_some(Value::Object(members))
}
