//! Changes: what a device made, its place in the device's chain, and the server's verdict.
//!
//! A change's identity is its [`Origin`]. A device's changes form one chain in each [`Lane`] of each
//! incarnation: every link hashes the one before it, the change's number and the exact bytes of the
//! change, so that neither ids nor hashes travel with each change and fields unknown to one side do
//! not break the chain.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::hex::unhex;
use crate::id::{AssignmentId, DeviceId, IncarnationId, PatientId, RecordId, SessionId, UserId};
use crate::record::Collection;
use crate::time::{ClockQuality, Timestamp};

/// Where a change came from; given when it is made and kept for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// The device that made it.
    pub device: DeviceId,
    /// The incarnation of its outbox.
    pub incarnation: IncarnationId,
    /// Its number in its lane, counted from 1.
    pub n: u64,
}

/// Which chain a change is in: a week of audit never delays a vital sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Care: the payload of each entry is a [`Change`].
    Care,
    /// Audit: the payload of each entry is an [`crate::audit::AuditEvent`].
    Audit,
}

impl Lane {
    /// Both lanes, care first.
    pub const ALL: [Self; 2] = [Self::Care, Self::Audit];

    /// Its name on the wire and in databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Care => "care",
            Self::Audit => "audit",
        }
    }
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Makes a record.
    Create,
    /// Sets fields of an editable record.
    Patch,
    /// Corrects a charted record; the record stays, the amendment stands beside it.
    Amend,
    /// Removes an editable record.
    Delete,
}

impl ChangeKind {
    /// Its name on the wire and in databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Amend => "amend",
            Self::Delete => "delete",
        }
    }
}

/// The longest reason of a correction, in characters.
pub const MAX_REASON: usize = 200;
/// What stands before whom somebody is not.
const ANOTHER: &str = "another person than ";

/// One thing a person did on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// Who made it.
    pub actor: UserId,
    /// Under which session of the device.
    pub session: SessionId,
    /// Under which assignment of the device to a facility.
    pub assignment: AssignmentId,
    /// What it does.
    pub kind: ChangeKind,
    /// To a document of which collection.
    pub collection: Collection,
    /// Which document: the one that is patched, deleted or corrected. None for a `create`, whose id is
    /// [`RecordId::of_create`], unless it supersedes a rejected one: then that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// The `seq` of the version it was made against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_seq: Option<u64>,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientId>,
    /// The key of the workflow whose form was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The version of that workflow's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// The values, by field key.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub fields: Map<String, Value>,
    /// The fields whose values its author was asked about, because they are unlikely, and saved as they are; and whom
    /// a resident was said to be [another](Self::another) than.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmed: Vec<String>,
    /// Why a charted record is corrected, of at most [`MAX_REASON`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether an `amend` strikes the record out: it was charted in error, on the wrong resident say. It has no
    /// values then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entered_in_error: bool,
    /// When it was made, on the device's corrected clock.
    pub recorded_at: Timestamp,
    /// How far that clock could be believed.
    pub clock_quality: ClockQuality,
    /// The number of the rejected change of the same chain that this one takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<u64>,
}

impl Change {
    /// A new document of a collection with those values, of which nothing more is said.
    #[must_use]
    pub const fn create(
        (actor, session): (UserId, SessionId),
        assignment: AssignmentId,
        collection: Collection,
        fields: Map<String, Value>,
        (recorded_at, clock_quality): (Timestamp, ClockQuality),
    ) -> Self {
        Self {
            actor,
            session,
            assignment,
            kind: ChangeKind::Create,
            collection,
            record: None,
            base_seq: None,
            patient: None,
            workflow: None,
            schema_version: None,
            fields,
            confirmed: Vec::new(),
            reason: None,
            entered_in_error: false,
            recorded_at,
            clock_quality,
            supersedes: None,
        }
    }

    /// How [`confirmed`](Self::confirmed) names somebody whom its author was shown, and who is another person.
    #[must_use]
    pub fn another(known: PatientId) -> String {
        format!("{ANOTHER}{known}")
    }

    /// Whom what was confirmed says that somebody is another person than; none where it says something else.
    #[must_use]
    pub fn another_than(confirmed: &str) -> Option<PatientId> {
        confirmed.strip_prefix(ANOTHER)?.parse().ok()
    }

    /// The document it is about, when it is number `n` of that incarnation; none when it should name one
    /// and does not. A correction is a record of its own, beside the one it corrects.
    #[must_use]
    pub fn document(&self, incarnation: IncarnationId, n: u64) -> Option<RecordId> {
        match self.kind {
            ChangeKind::Create if self.supersedes.is_some() => self.record,
            ChangeKind::Create | ChangeKind::Amend => {
                Some(RecordId::of_create(incarnation, n, self.recorded_at))
            }
            ChangeKind::Patch | ChangeKind::Delete => self.record,
        }
    }
}

/// What the server made of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It stands.
    Applied,
    /// The server had it already.
    Duplicate,
    /// It stands, and a conflict was kept for review.
    Merged,
    /// It does not stand, and needs a person.
    Rejected,
}

impl Verdict {
    /// Its name on the wire and in databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Merged => "merged",
            Self::Rejected => "rejected",
        }
    }
}

/// A link of a chain: SHA-256, in hexadecimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct Link([u8; 32]);

impl Link {
    /// What stands before the first change of a chain.
    #[must_use]
    pub fn genesis(device: DeviceId, incarnation: IncarnationId, lane: Lane) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"carepost chain v1\0");
        hash.update(device.as_bytes());
        hash.update(incarnation.as_bytes());
        hash.update(lane.name());
        Self(hash.finalize().into())
    }

    /// The link after this one: the change's number and the hash of its exact bytes. The payload may
    /// be purged later; its hash keeps the chain verifiable.
    #[must_use]
    pub fn next(&self, n: u64, payload: &PayloadHash) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(n.to_be_bytes());
        hash.update(payload.0);
        Self(hash.finalize().into())
    }
}

/// The SHA-256 of a change's exact bytes, in hexadecimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct PayloadHash([u8; 32]);

impl PayloadHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        Self(Sha256::digest(payload).into())
    }
}

/// A text that is not a SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a link or hash is 64 hexadecimal digits")]
pub struct NotAHash;

macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl $name {
            /// The one that these bytes are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes: what is stored, and of a link what a device signs.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = NotAHash;
            fn from_str(text: &str) -> Result<Self, NotAHash> {
                unhex(text).map(Self).ok_or(NotAHash)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

hexadecimal!(Link, PayloadHash);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whom_somebody_is_not_is_named_and_read_again() {
        let known = PatientId::new(Timestamp::EPOCH, [3; 10]);
        assert_eq!(Change::another_than(&Change::another(known)), Some(known));
        assert_eq!(Change::another_than(&known.to_string()), None);
    }

    fn chain(payloads: &[&str]) -> Link {
        let device = DeviceId::new(Timestamp::EPOCH, [1; 10]);
        let incarnation = IncarnationId::new(Timestamp::EPOCH, [2; 10]);
        let mut link = Link::genesis(device, incarnation, Lane::Care);
        for (n, payload) in (1..).zip(payloads) {
            link = link.next(n, &PayloadHash::of(payload.as_bytes()));
        }
        link
    }

    #[test]
    fn editing_dropping_or_swapping_a_change_shows() {
        let honest = chain(&["a", "b", "c"]);
        assert_eq!(honest, chain(&["a", "b", "c"]));
        for forged in
            [&["a", "x", "c"][..], &["a", "c"], &["b", "a", "c"], &["a", "b"], &["a", "b", "c", "d"]]
        {
            assert_ne!(honest, chain(forged));
        }
    }

    #[test]
    fn what_is_stored_is_called_as_on_the_wire() {
        let called = |name: &str, value: Value| assert_eq!(value, name);
        Lane::ALL.into_iter().for_each(|lane| called(lane.name(), json!(lane)));
        for kind in [ChangeKind::Create, ChangeKind::Patch, ChangeKind::Amend, ChangeKind::Delete] {
            called(kind.name(), json!(kind));
        }
        for verdict in [Verdict::Applied, Verdict::Duplicate, Verdict::Merged, Verdict::Rejected] {
            called(verdict.name(), json!(verdict));
        }
    }

    #[test]
    fn a_change_is_about_what_it_makes_or_what_it_names() {
        let at = Timestamp::EPOCH;
        let incarnation = IncarnationId::new(at, [2; 10]);
        let (made, named) = (RecordId::of_create(incarnation, 7, at), RecordId::new(at, [9; 10]));
        for (kind, supersedes, document) in [
            (ChangeKind::Create, None, Some(made)),
            (ChangeKind::Create, Some(4), Some(named)),
            (ChangeKind::Amend, None, Some(made)),
            (ChangeKind::Amend, Some(4), Some(made)),
            (ChangeKind::Patch, None, Some(named)),
            (ChangeKind::Delete, None, Some(named)),
        ] {
            let change = json!({"actor": UserId::new(at, [1; 10]), "session": SessionId::new(at, [1; 10]),
                "assignment": AssignmentId::new(at, [1; 10]), "kind": kind, "collection": "records", "record": named,
                "fields": {}, "recorded_at": at, "clock_quality": "synced", "supersedes": supersedes});
            let change: Change = serde_json::from_value(change).unwrap();
            assert_eq!(change.document(incarnation, 7), document, "{kind:?} {supersedes:?}");
        }
    }

    #[test]
    fn a_link_survives_text() {
        let link = chain(&["a"]);
        assert_eq!(link.to_string().parse(), Ok(link));
        assert_eq!(Link::from_bytes(*link.as_bytes()), link);
        let hash = PayloadHash::of(b"a");
        assert_eq!(PayloadHash::from_bytes(*hash.as_bytes()), hash);
        assert_eq!("zz".parse::<Link>(), Err(NotAHash));
        assert_eq!("é".repeat(32).parse::<Link>(), Err(NotAHash));
    }
}
