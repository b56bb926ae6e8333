//! The documents a device mirrors, by collection.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::facility::FacilityType;
use crate::id::{BadgeId, FacilityId, PatientId, RecordId, ReviewId, UserId};
use crate::role::Role;
use crate::time::{ClockQuality, Timestamp};
use crate::unit::Units;

/// The most bytes of one document: no larger one enters a feed. It is far below what a line of a stream
/// may have, so that every device can take every document.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// How many values of one field, and how many others, a review names; of the rest it has the count.
pub const MAX_REVIEWED: usize = 10;
/// As far as a review counts.
pub const MAX_COUNTED: u64 = 100;

/// A set of documents of one kind that devices mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Collection {
    /// The facility itself: one [`FacilityDocument`], and once a device was lost [`BadgeKeysDocument`].
    Facilities,
    /// Staff: [`UserDocument`].
    Users,
    /// Their badges: [`BadgeDocument`].
    Badges,
    /// Schemas: [`crate::workflow::Workflow`].
    Workflows,
    /// Residents: [`PatientDocument`].
    Patients,
    /// What was charted: [`RecordDocument`].
    Records,
    /// What somebody has to look at: [`ReviewDocument`].
    Reviews,
}

impl Collection {
    /// Every collection.
    pub const ALL: [Self; 7] = [
        Self::Facilities,
        Self::Users,
        Self::Badges,
        Self::Workflows,
        Self::Patients,
        Self::Records,
        Self::Reviews,
    ];

    /// Its name on the wire and in databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facilities => "facilities",
            Self::Users => "users",
            Self::Badges => "badges",
            Self::Workflows => "workflows",
            Self::Patients => "patients",
            Self::Records => "records",
            Self::Reviews => "reviews",
        }
    }

    /// The collection of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|collection| collection.name() == name)
    }
}

/// The facility a device belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacilityDocument {
    /// The facility.
    pub id: FacilityId,
    /// Its name.
    pub name: String,
    /// The name of the organization that runs it.
    pub organization_name: String,
    /// Whom to call when the kiosk cannot help (S0-02).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// What care it gives.
    pub facility_type: FacilityType,
    /// Licensed beds, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licensed_beds: Option<u32>,
    /// How many residents it has.
    pub current_census: u32,
    /// The IANA name of its time zone; none until somebody set it. A device may not know it: no name is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The measures that it charts in.
    #[serde(default, skip_serializing_if = "Units::is_default")]
    pub units: Units,
}

/// The keys that were laid over the facility's first badge key, one for each time that a device with all of
/// them was lost. It comes before the badges that need it, so that a device always has the keys to those.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadgeKeysDocument {
    /// [`Self::ID`].
    pub id: FacilityId,
    /// The keys, oldest first: 32 bytes in hexadecimal each. Secrets.
    pub keys: Vec<String>,
}

impl BadgeKeysDocument {
    /// No facility has this id.
    pub const ID: FacilityId = FacilityId::from_bytes(*b"badge keys of it");
}

impl fmt::Debug for BadgeKeysDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BadgeKeysDocument").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// A member of staff who can sign in on the facility's devices.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDocument {
    /// The user.
    pub id: UserId,
    /// The name people see.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// The PIN's verifier, an Argon2id PHC string; none until an administrator sets a PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_verifier: Option<String>,
    /// Since when a thief may know the PIN: it has to be replaced before it opens anything, and opens nothing
    /// after [`crate::pin::EXPOSED_FOR`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_exposed_at: Option<Timestamp>,
    /// How long an idle session of this user lasts, in minutes (S0-48).
    pub session_timeout_minutes: u32,
    /// Whether the user may sign in at all (S1-73).
    pub is_active: bool,
}

impl fmt::Debug for UserDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserDocument")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("pin_verifier", &self.pin_verifier.as_ref().map(|_| "[secret]"))
            .field("pin_exposed_at", &self.pin_exposed_at)
            .field("session_timeout_minutes", &self.session_timeout_minutes)
            .field("is_active", &self.is_active)
            .finish_non_exhaustive()
    }
}

/// A badge of a member of staff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadgeDocument {
    /// The badge.
    pub id: BadgeId,
    /// Whose it is.
    pub user_id: UserId,
    /// HMAC-SHA256 of the card's id under the facility's badge key, in hexadecimal; under each key that was
    /// laid over that one since, the HMAC of what stood here before.
    pub lookup: String,
    /// Whether it still opens anything; a revoked badge is kept, to be refused by name.
    pub is_active: bool,
}

/// A resident or patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientDocument {
    /// The patient.
    pub id: PatientId,
    /// The medical record number, unique in the organization (S0-17); empty while none is known, and
    /// where the device may not see it.
    pub mrn: String,
    /// The full name.
    pub name: String,
    /// The day of birth, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_of_birth: Option<String>,
    /// The room, where there are rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The Medicare Beneficiary Identifier, such as `1EG4-TE5-MK73`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medicare: Option<String>,
    /// Whether the patient is in care now.
    pub is_active: bool,
    /// The patient who is the same person and took this one's place, which is in care no more then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<PatientId>,
    /// The patients whose place this one took: what was charted about them belongs to this one's chart. At most
    /// [`MAX_REPLACED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<PatientId>,
}

/// How many patients one may take the place of.
pub const MAX_REPLACED: usize = 20;

impl PatientDocument {
    /// Somebody of whom nothing is known but that they are in care.
    #[must_use]
    pub const fn new(id: PatientId) -> Self {
        Self {
            id,
            mrn: String::new(),
            name: String::new(),
            date_of_birth: None,
            room: None,
            medicare: None,
            is_active: true,
            replaced_by: None,
            replaces: Vec::new(),
        }
    }
}

/// Something charted: an answered form. `V` is what its answers are read into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordDocument<V = Map<String, Value>> {
    /// The record.
    pub id: RecordId,
    /// Whom it is about.
    pub patient_id: PatientId,
    /// The workflow's key.
    pub workflow: String,
    /// The version of the schema it was made under.
    pub schema_version: u32,
    /// Who charted it.
    pub recorded_by: UserId,
    /// When, on the device's corrected clock.
    pub recorded_at: Timestamp,
    /// How far that clock could be believed.
    pub clock_quality: ClockQuality,
    /// The answers, by field key; none where the device may not see them.
    pub values: V,
    /// The fields whose values are unlikely and were confirmed by who charted them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmed: Vec<String>,
    /// Why it corrects another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it strikes out the record that it corrects, which was charted in error. That stays, and a
    /// correction of this one puts it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entered_in_error: bool,
    /// The record that this one corrects. Both stay; together they form a tree ([`crate::amend`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amends: Option<RecordId>,
}

/// Something that a person has to look at: the server decided what it could and kept the rest. It is
/// resolved by a `patch` of this document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReviewDocument {
    /// The review.
    pub id: ReviewId,
    /// What is to be looked at.
    pub kind: ReviewKind,
    /// Whom it is about.
    pub patient_id: PatientId,
    /// The collection of what it is about.
    pub collection: Collection,
    /// What it is about: the edited document, the corrected record, or the patient admitted last.
    pub record: RecordId,
    /// With `conflict`: each field that was edited on both sides, with every value that was saved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<DisputedField>,
    /// With `duplicate`: the other patients who may be the same person. With `amendments`: the
    /// corrections that stand side by side. The first [`MAX_REVIEWED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<RecordId>,
    /// How many others there were besides, counted up to [`MAX_COUNTED`] in all; they are among the
    /// facility's patients or records.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// When it was opened, on the server's clock.
    pub opened_at: Timestamp,
    /// Who closed it; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
}

impl ReviewDocument {
    /// Leaves the first of what it holds, and counts the rest: a review from before there was a bound may
    /// hold any number.
    pub fn bound(&mut self) {
        let over = self.others.len().saturating_sub(MAX_REVIEWED) as u64;
        self.others.truncate(MAX_REVIEWED);
        self.more = self.more.saturating_add(over);
        for field in &mut self.fields {
            let rest = field.values.split_off(field.values.len().min(MAX_REVIEWED));
            let stands = rest.iter().position(|value| value.stands);
            field.more = field.more.saturating_add(rest.len() as u64 - u64::from(stands.is_some()));
            field.values.extend(stands.and_then(|at| rest.into_iter().nth(at)));
        }
    }
}

/// What a review is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReviewKind {
    /// Two people set the same field and neither had seen the other's value.
    Conflict,
    /// Two admissions may be of the same person.
    Duplicate,
    /// One record was corrected twice, side by side.
    Amendments,
    /// A kind that this build does not know.
    #[serde(other)]
    Unknown,
}

/// A field that has more than one saved value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DisputedField {
    /// The field's key.
    pub field: String,
    /// The first [`MAX_REVIEWED`] values that came, in the order of [`SavedValue::at`]; after them the one
    /// that stood last, where it came later. The one that stands is marked.
    pub values: Vec<SavedValue>,
    /// How many were saved besides: the server keeps them with the changes that they came by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

impl DisputedField {
    /// Adds a value, unless it is here. `stands` is what the document has now. Says whether there was room
    /// for it.
    pub fn keep(&mut self, saved: SavedValue, stands: Option<&SavedValue>) -> bool {
        if self.values.iter().any(|known| known.is_same(&saved)) {
            return true;
        }
        if self.values.len() < MAX_REVIEWED {
            self.values.push(saved);
            return true;
        }
        if stands.is_some_and(|stands| stands.is_same(&saved)) {
            let before = self.values.len();
            self.values.truncate(MAX_REVIEWED);
            self.more = self.more.saturating_add((before - self.values.len()) as u64);
            self.values.push(saved);
        } else {
            self.more = self.more.saturating_add(1);
        }
        false
    }

    /// Marks the value that the document has now, and puts them in order.
    pub fn settle(&mut self, stands: Option<&SavedValue>) {
        for value in &mut self.values {
            value.stands = stands.is_some_and(|stands| stands.is_same(value));
        }
        let first = self.values.len().min(MAX_REVIEWED);
        if let Some(first) = self.values.get_mut(..first) {
            first.sort_by_cached_key(|value| (value.at, value.by, value.value.to_string()));
        }
    }
}

/// For what is left out of a document while it is 0.
#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A value that somebody saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SavedValue {
    /// The value.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub value: Value,
    /// Who saved it; none for what the office entered before devices did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// When, as it counts in the merge.
    pub at: Timestamp,
    /// Whether it is the value that the document has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stands: bool,
}

impl SavedValue {
    /// Whether they are one save.
    fn is_same(&self, other: &Self) -> bool {
        (&self.value, self.by, self.at) == (&other.value, other.by, other.at)
    }
}

/// Who closed a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resolved {
    /// The user.
    pub by: UserId,
    /// When, on the device's corrected clock.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests;
