//! `POST /api/v1/devices/{id}/heartbeat` (S1-50): a device says that it lives and how it is.

use serde::{Deserialize, Serialize};

use crate::device::DeviceState;
use crate::id::{IncarnationId, UserId};
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
    /// Whether the files on the device are encrypted (S1-26).
    pub encrypted: bool,
    /// The state of its badge reader.
    pub reader: ReaderState,
    /// The life of its outbox.
    pub incarnation: IncarnationId,
    /// What waits on it.
    pub queue: QueueState,
    /// Where its mirror stands; none before the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Who is signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_user: Option<UserId>,
}

/// A device's badge reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReaderState {
    /// Ready for a badge.
    Ready,
    /// The reader is unplugged or broken.
    Missing,
    /// The service that drives readers is down.
    ServiceDown,
    /// This device is configured without one.
    None,
}

/// What waits on a device for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueState {
    /// Care changes not yet acknowledged.
    pub care: u64,
    /// Audit events not yet acknowledged.
    pub audit: u64,
    /// Refused changes that need a person.
    pub wedged: u64,
    /// How many seconds the oldest waiting care change has waited: an age, so that the device's
    /// clock does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<u64>,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatReply {
    /// The server's clock.
    pub server_time: Timestamp,
    /// Where the device stands.
    pub state: DeviceState,
}
