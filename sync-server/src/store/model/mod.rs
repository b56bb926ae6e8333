//! The model: what the store takes and gives, one type for each kind of thing, with no tenant to choose in it.

mod device;
mod organization;
mod patient;
mod user;

use carepost_protocol::wire::pull::PageEnd;

pub use device::{Claim, Deactivated, Device, DevicePatch, Exposed, NewDevice, PresentedKey, Waiting};
pub use organization::{
    Facility, FacilityPatch, NewFacility, NewOrganization, Organization, OrganizationPatch, OrganizationType,
};
pub use patient::{NewPatient, Patient, Related};
pub use user::{Badge, Credentials, NewSession, NewUser, Session, User, UserPatch};

pub(in crate::store) use device::is_refused_as_exposed;
pub(in crate::store) use organization::merged;

/// A page of a facility's feed, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// NDJSON: the documents, then the page's end, each line ended by `\n`.
    pub lines: Vec<u8>,
    pub end: PageEnd,
}
