//! Identifiers: UUIDv7 (RFC 9562), made where the thing is made, one type for each kind of thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::time::Timestamp;

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an identifier: give a UUID such as 0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42")]
pub struct NotAnId(pub String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier from the moment it is made and ten random bytes.
            #[must_use]
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(now, random))
            }

            /// The identifier that these sixteen bytes are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes that a database stores.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Uuid::try_parse(text).map(Self).map_err(|_| NotAnId(text.to_owned()))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = NotAnId;
            fn try_from(bytes: &[u8]) -> Result<Self, NotAnId> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| NotAnId(format!("{} bytes", bytes.len())))
            }
        }
    )*};
}

ids! {
    /// A customer: an operator of one or more facilities (S1-01).
    OrganizationId;
    /// One place of care (S1-08 to S1-12).
    FacilityId;
    /// A registered device, whatever key it holds today.
    DeviceId;
    /// A device's binding to a facility; every change carries the one it was made under.
    AssignmentId;
    /// An incarnation of a device's outbox: another begins when history may have forked.
    IncarnationId;
    /// One run of the agent's process.
    BootId;
    /// A device that waits in the lobby.
    EnrollmentId;
    /// A person who signs in.
    UserId;
    /// A badge as an administrator knows it (not what the card says).
    BadgeId;
    /// A session of a user, on a device or with the server.
    SessionId;
    /// A resident or patient.
    PatientId;
    /// A workflow of an organization.
    WorkflowId;
    /// A charted record; in a change, the document it is about, whatever its collection.
    RecordId;
    /// A review.
    ReviewId;
    /// An audit event.
    AuditId;
    /// A request to the server, for its logs.
    RequestId;
}

impl From<PatientId> for RecordId {
    fn from(patient: PatientId) -> Self {
        Self(patient.0)
    }
}

impl From<ReviewId> for RecordId {
    fn from(review: ReviewId) -> Self {
        Self(review.0)
    }
}

impl From<RecordId> for PatientId {
    fn from(record: RecordId) -> Self {
        Self(record.0)
    }
}

impl From<RecordId> for ReviewId {
    fn from(record: RecordId) -> Self {
        Self(record.0)
    }
}

impl RecordId {
    /// The id of a document that a device creates. It is a function of the change that creates it, so
    /// that neither the outbox nor a push needs to carry it.
    #[must_use]
    pub fn of_create(incarnation: IncarnationId, n: u64, recorded_at: Timestamp) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"carepost record v1\0");
        hash.update(incarnation.as_bytes());
        hash.update(n.to_be_bytes());
        Self::new(recorded_at, first_ten(hash))
    }
}

impl WorkflowId {
    /// Ids of superseded versions come after this one, and ids of workflows before: those begin with when they were
    /// made.
    pub const LAST: Self =
        Self::from_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// The id of the document that a superseded version of a workflow is. It is a function of what an entry names, so
    /// that whoever has an entry finds the form that it was charted in.
    #[must_use]
    pub fn of_version(key: &str, version: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"carepost workflow version v1\0");
        hash.update(version.to_be_bytes());
        hash.update(key);
        let last_moment = (1 << 48) - 1;
        Self(uuid::Builder::from_unix_timestamp_millis(last_moment, &first_ten(hash)).into_uuid())
    }
}

/// What stands for the random part of an id that is a function of something.
fn first_ten(hash: Sha256) -> [u8; 10] {
    let mut ten = [0; 10];
    for (to, from) in ten.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    ten
}

impl AuditId {
    /// The id of an event that is given a number, so that events of one moment sort as they were numbered
    /// (RFC 9562, section 6.2); the number's last three bytes count.
    #[must_use]
    pub fn numbered(now: Timestamp, n: u64, random: [u8; 5]) -> Self {
        let [.., high, middle, low] = n.to_be_bytes();
        let [a, b, c, d, e] = random;
        // The first and the third byte give bits to the version and the variant of the UUID.
        Self::new(now, [0, high, 0, middle, low, a, b, c, d, e])
    }
}

fn uuid_v7(now: Timestamp, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A device's hardware UUID: a label read off the hardware (S1-24), never proof of identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
#[serde(transparent)]
pub struct DeviceUuid(Uuid);

impl DeviceUuid {
    /// The UUID that these sixteen bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes that a database stores.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for DeviceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for DeviceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceUuid({})", self.0)
    }
}

impl FromStr for DeviceUuid {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Uuid::try_parse(text).map(Self).map_err(|_| NotAnId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_bytes_and_json() {
        let id = PatientId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(PatientId::try_from(&id.as_bytes()[..]), Ok(id));
        assert_eq!(serde_json::from_str::<PatientId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        assert!("not-an-id".parse::<PatientId>().unwrap_err().to_string().contains("give a UUID"));
    }

    #[test]
    fn a_hardware_uuid_survives_text_and_bytes() {
        let text = "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42";
        let uuid: DeviceUuid = text.parse().unwrap();
        assert_eq!((uuid.to_string(), format!("{uuid:?}")), (text.to_owned(), format!("DeviceUuid({text})")));
        assert_eq!(DeviceUuid::from_bytes(*uuid.as_bytes()), uuid);
        assert!("hall-kiosk".parse::<DeviceUuid>().unwrap_err().to_string().contains("give a UUID"));
    }

    #[test]
    fn ids_made_later_sort_later() {
        let early = RecordId::new(Timestamp::from_millis(1_000), [255; 10]);
        let late = RecordId::new(Timestamp::from_millis(1_001), [0; 10]);
        assert!(early < late);
    }

    #[test]
    fn a_created_record_has_one_id_for_each_change() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let incarnation = IncarnationId::new(at, [1; 10]);
        let id = RecordId::of_create(incarnation, 1, at);
        assert_eq!(id, RecordId::of_create(incarnation, 1, at));
        assert_ne!(id, RecordId::of_create(incarnation, 2, at));
        assert_ne!(id, RecordId::of_create(IncarnationId::new(at, [2; 10]), 1, at));
    }

    #[test]
    fn a_superseded_version_has_one_id_after_those_of_all_workflows() {
        let id = WorkflowId::of_version("vitals", 1);
        assert_eq!(id, WorkflowId::of_version("vitals", 1));
        for other in [WorkflowId::of_version("vitals", 2), WorkflowId::of_version("vitals_", 1)] {
            assert_ne!(id, other);
        }
        // Those that are in feeds are known by it.
        assert_eq!(id.to_string(), "ffffffff-ffff-74d6-9370-c0a4c1748832");
        let last = WorkflowId::new(Timestamp::from_millis(i64::MAX), [255; 10]);
        assert!(last < WorkflowId::LAST && WorkflowId::LAST < id);
    }
}
