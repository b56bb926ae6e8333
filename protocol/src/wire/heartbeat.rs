//! `POST /api/v1/devices/{id}/heartbeat` (S1-50): a device says that it lives and how it is.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::device::DeviceState;
use crate::id::{BadgeId, IncarnationId, UserId};
use crate::time::{ClockQuality, Timestamp};
use crate::wire::pull::Cursor;

/// How a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heartbeat {
    /// The agent's version.
    pub agent_version: String,
    /// Seconds since the agent started.
    pub uptime: u64,
    /// What the device's own clock says, uncorrected: how far it is off shows on the server.
    pub device_time: Timestamp,
    /// How far the times that the device gives what is charted can be believed.
    pub clock_quality: ClockQuality,
    /// The addresses of all its network interfaces: a change is an alert (S1-25).
    pub mac_addresses: Vec<String>,
    /// Whether what rests on the device is encrypted (S1-26): [`Encryption::is_complete`] in one word.
    pub encrypted: bool,
    /// What it measured of that; none from an agent that did not measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// The state of its badge reader.
    pub reader: ReaderState,
    /// The incarnation of its outbox.
    pub incarnation: IncarnationId,
    /// What waits on it.
    pub queue: QueueState,
    /// Where its mirror stands; none before the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Who is signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_user: Option<UserId>,
    /// How well its mirror and the server's feed agree.
    #[serde(default)]
    pub mirror: MirrorState,
    /// For how many seconds nothing has moved, while the server can be reached and something waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_progress: Option<u64>,
    /// Up to where it knows what was revoked ([`HeartbeatReply::revoked`]), where that is further than its
    /// mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<Cursor>,
    /// Why it cannot save what is charted on it, or may not for long, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_save: Option<String>,
    /// Why its copy does not go on though the server answers, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_trouble: Option<String>,
    /// The last card that was nobody's badge, while that is worth something ([`TAP_LASTS`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_tap: Option<UnknownTap>,
    /// The oldest care changes that were rejected and are not settled, at most [`MAX_REJECTED`]: the answer
    /// says what has become of them.
    #[serde(rename = "refused", default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<ChangeName>,
}

impl Heartbeat {
    /// That of a device on which nothing waits and nothing is found, by its own clock.
    #[must_use]
    pub fn new(
        agent_version: &str,
        (device_time, clock_quality): (Timestamp, ClockQuality),
        reader: ReaderState,
        incarnation: IncarnationId,
    ) -> Self {
        Self {
            agent_version: agent_version.to_owned(),
            uptime: 0,
            device_time,
            clock_quality,
            mac_addresses: Vec::new(),
            encrypted: false,
            encryption: None,
            reader,
            incarnation,
            queue: QueueState::default(),
            cursor: None,
            active_user: None,
            mirror: MirrorState::default(),
            no_progress: None,
            revocations: None,
            cannot_save: None,
            copy_trouble: None,
            unknown_tap: None,
            rejected: Vec::new(),
        }
    }
}

/// For how long a card that was tapped can be issued without its number.
pub const TAP_LASTS: Duration = Duration::from_mins(15);

/// A card that is nobody's badge, as a reader saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnknownTap {
    /// HMAC-SHA256 of its id under the facility's first badge key, in hexadecimal: by it the card can be issued,
    /// and its id stays on it.
    pub lookup: String,
    /// How many seconds ago: an age, so that the device's clock does not matter.
    pub age: u64,
}

impl UnknownTap {
    /// The beginning of the keyed hash, as the audit log and the list of somebody's badges name a card: two taps of one
    /// card show as the same, and its id cannot be found by it.
    #[must_use]
    pub fn masked(lookup: &str) -> String {
        format!("{}...", lookup.get(..8).unwrap_or_default())
    }
}

/// The most rejected changes that a heartbeat names.
pub const MAX_REJECTED: usize = 100;

/// What of a device rests in the clear, or could be read by others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Encryption {
    /// Everything that was found; empty when all is encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<Exposure>,
}

/// Something that rests in the clear, or could be read by others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exposure {
    /// What.
    pub what: Exposed,
    /// Where: a path, a device.
    #[serde(rename = "where")]
    pub place: String,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// A way to what should be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Exposed {
    /// A file opens without its key.
    PlainFile,
    /// What is in memory may be written to a swap that is neither compressed memory nor on dm-crypt.
    PlainSwap,
    /// Others than the agent may enter the directory of its files, or replace it.
    OpenDirectory,
    /// It could not be measured, which counts as exposed; or a way that this build does not know.
    #[serde(other)]
    Unmeasured,
}

impl Encryption {
    /// Whether all that rests on the device is encrypted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.exposed.is_empty()
    }
}

impl Exposure {
    /// What is wrong and what to do about it.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { what, place, cause } = self;
        match what {
            Exposed::PlainFile => format!(
                "{place} opens without its key: stop the agent, keep the file for salvage, and enroll the device anew"
            ),
            Exposed::PlainSwap => format!(
                "{place} is a swap in the clear: switch it off (swapoff, and remove it from /etc/fstab), use zram, \
                 or put it on dm-crypt"
            ),
            Exposed::OpenDirectory => format!(
                "{place} may be entered or replaced by others: chown it to the agent's user, and chmod 0700 (0755 \
                 for what is above the state directory)"
            ),
            Exposed::Unmeasured => {
                let cause = cause.as_deref().unwrap_or("`carepost-agent doctor` there says why");
                format!("{place} could not be measured, which counts as in the clear: {cause}")
            }
        }
    }
}

/// How well a mirror and the server's feed agree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MirrorState {
    /// The names of the collections that were found to differ and are not mended yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// How often a collection had to be fetched again because it differed, since the mirror was made.
    #[serde(default)]
    pub refetches: u64,
    /// The documents that the device could not take, and went on without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stepped_over: Vec<SteppedOver>,
}

/// Documents of one collection that a device could not take for one reason. Those behind them were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SteppedOver {
    /// The collection's name.
    pub collection: String,
    /// Why.
    pub reason: StepReason,
    /// How many; of a collection that the device does not know, 1.
    pub count: u64,
}

/// Why a device could not take a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepReason {
    /// It is larger than a line of the stream may be.
    TooLarge,
    /// It does not say what a document of its collection says.
    NotUnderstood,
    /// This build does not know its collection.
    UnknownCollection,
    /// A reason that this build does not know.
    #[serde(other)]
    Unknown,
}

impl StepReason {
    /// Its name on the wire and in databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotUnderstood => "not_understood",
            Self::UnknownCollection => "unknown_collection",
            Self::Unknown => "unknown",
        }
    }

    /// It in words, with what to do.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::TooLarge => "too large for it; shorten what it is made of",
            Self::NotUnderstood | Self::UnknownCollection => "unknown to its version; update its agent",
            Self::Unknown => "see its log",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = [Self::TooLarge, Self::NotUnderstood, Self::UnknownCollection];
        known.into_iter().find(|reason| reason.name() == name).unwrap_or(Self::Unknown)
    }
}

/// A care change of the device that speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeName {
    /// In which incarnation of its outbox it was made.
    pub incarnation: IncarnationId,
    /// Its number there.
    pub n: u64,
}

/// A device's badge reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReaderState {
    /// Ready for a badge.
    Ready,
    /// The service that drives readers is down.
    ServiceDown,
    /// This device is configured without one.
    None,
    /// The reader is unplugged or broken, or in a state that this build does not know.
    #[serde(other)]
    Missing,
}

/// What waits on a device for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueState {
    /// Care changes not yet acknowledged.
    pub care: u64,
    /// Audit events not yet acknowledged.
    pub audit: u64,
    /// Rejected changes that need a person.
    #[serde(rename = "wedged")]
    pub rejected: u64,
    /// How many seconds the oldest waiting care change has waited: an age, so that the device's
    /// clock does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<u64>,
    /// Nothing of it can be counted, because the outbox does not open: what was counted last stands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatReply {
    /// The server's clock.
    pub server_time: Timestamp,
    /// Where the device stands.
    pub state: DeviceState,
    /// What has become of rejected changes that the heartbeat named. One that a newer server settled in a
    /// way that this build does not know is passed over: it still waits for whoever understands it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known")]
    pub settled: Vec<SettledChange>,
    /// The facility demands encryption and the device does not have it: it is sent nothing until it says
    /// otherwise. What it pushes is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_encrypt: bool,
    /// What was revoked since what the device knows; none where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// The most that one answer names as revoked.
pub const MAX_REVOKED: usize = 100;

/// What may sign nobody in any more, as the feed says it further down: so that no feed can hold it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// Users who were deactivated, or left the facility.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Revocation<UserId>>,
    /// Badges that were revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub badges: Vec<Revocation<BadgeId>>,
    /// Up to which place of the feed this says all of it.
    pub through: Cursor,
    /// Whether there is more after that: ask again soon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Who or what was revoked, and by which version of its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revocation<T> {
    /// Whom.
    pub id: T,
    /// The place in the feed of the document that says so; a later one may say otherwise.
    pub seq: u64,
}

/// What has become of a rejected change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettledChange {
    /// Which.
    #[serde(flatten)]
    pub change: ChangeName,
    /// What.
    pub settlement: Settlement,
    /// With `applied`: its place in the facility's feed, where it entered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SettledChange>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Known(SettledChange),
        Other(IgnoredAny),
    }
    let told = Vec::<Told>::deserialize(deserializer)?;
    let known = |told| match told {
        Told::Known(settled) => Some(settled),
        Told::Other(IgnoredAny) => None,
    };
    Ok(told.into_iter().filter_map(known).collect())
}

/// How a rejected change was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It was judged again, and stands now.
    Applied,
    /// Another change took its place.
    Superseded,
    /// An administrator discarded it, with a reason.
    Discarded,
}
