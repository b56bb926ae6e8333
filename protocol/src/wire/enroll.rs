//! `POST /api/v1/enroll`: a device asks to be let in, again and again until it is.
//!
//! The words follow RFC 8628. The device's key is the client certificate of the connection; the
//! message only describes the device. Asking again with the same key is idempotent: it answers where
//! the enrollment stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::device::DeviceType;
use crate::id::{AssignmentId, DeviceId, DeviceUuid, EnrollmentId, FacilityId, OrganizationId};
use crate::text::fold;
use crate::time::Timestamp;

/// What a device says of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrollRequest {
    /// Its hardware UUID: a label (S1-24).
    pub device_uuid: DeviceUuid,
    /// The addresses of all its network interfaces (S1-25).
    pub mac_addresses: Vec<String>,
    /// What it calls itself on its network.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
    /// The one-time token of a device that was registered beforehand (S1-59).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("device_uuid", &self.device_uuid)
            .field("mac_addresses", &self.mac_addresses)
            .field("hostname", &self.hostname)
            .field("agent_version", &self.agent_version)
            .field("token", &self.token.as_ref().map(|_| "[secret]"))
            .finish()
    }
}

/// Where the enrollment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EnrollResponse {
    /// In the lobby: show the code until an administrator types it.
    Pending {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// What to show.
        user_code: UserCode,
        /// When the code stops working; the next request after that gets another.
        expires_at: Timestamp,
        /// Seconds to wait before asking again.
        interval: u32,
    },
    /// An administrator typed the code; somebody must read the number off the device.
    Confirming {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// The facility the administrator chose, to be shown.
        facility_name: String,
        /// Two digits, to be shown.
        number: String,
        /// Seconds to wait before asking again.
        interval: u32,
    },
    /// Let in.
    Active {
        /// What the device needs to work.
        grant: Grant,
    },
}

/// What an enrolled device needs to work.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grant {
    /// The device.
    pub device_id: DeviceId,
    /// Its binding to the facility.
    pub assignment_id: AssignmentId,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The facility.
    pub facility_id: FacilityId,
    /// The facility's name.
    pub facility_name: String,
    /// The device's name.
    pub device_name: String,
    /// What kind of device the administrator says it is.
    pub device_type: DeviceType,
    /// The facility's key for badge lookups: 32 bytes in hexadecimal. A secret.
    pub badge_key: String,
    /// The organization's recovery key's public half (an age recipient, `age1...`), pinned from now on.
    pub recovery_recipient: String,
    /// The server's clock.
    pub server_time: Timestamp,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("device_id", &self.device_id)
            .field("assignment_id", &self.assignment_id)
            .field("facility_id", &self.facility_id)
            .field("badge_key", &"[secret]")
            .finish_non_exhaustive()
    }
}

/// A pairing code such as `BCDF-GHJK`: eight of twenty consonants (RFC 8628, section 6.1).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct UserCode(String);

/// A text that is not a pairing code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pairing code is eight consonants such as BCDF-GHJK: read it off the device again")]
pub struct NotACode;

const CONSONANTS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl UserCode {
    /// A code from random bytes; none when too few of them fall below 240, so that each consonant is
    /// as likely as any other (then draw again).
    #[must_use]
    pub fn new(random: &[u8; 24]) -> Option<Self> {
        let letters: String = random
            .iter()
            .filter(|byte| **byte < 240)
            .filter_map(|byte| CONSONANTS.get(usize::from(byte % 20)))
            .take(8)
            .map(|byte| char::from(*byte))
            .collect();
        letters.parse().ok()
    }

    /// The code as it is shown, with its hyphen.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserCode {
    type Err = NotACode;
    /// Lower case, blanks, whichever hyphen and a missing one are forgiven.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        let mut code = String::with_capacity(9);
        let parts = |c: &char| ["", "-"].contains(&fold(c.encode_utf8(&mut [0; 4])).as_str());
        for letter in text.chars().filter(|c| !parts(c)) {
            let letter = letter.to_ascii_uppercase();
            if !letter.is_ascii() || !CONSONANTS.contains(&(letter as u8)) || code.len() >= 9 {
                return Err(NotACode);
            }
            if code.len() == 4 {
                code.push('-');
            }
            code.push(letter);
        }
        if code.len() == 9 { Ok(Self(code)) } else { Err(NotACode) }
    }
}

impl TryFrom<String> for UserCode {
    type Error = NotACode;
    fn try_from(text: String) -> Result<Self, NotACode> {
        text.parse()
    }
}

impl From<UserCode> for String {
    fn from(code: UserCode) -> Self {
        code.0
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A code lets its holder approve a device: it does not belong in logs.
        f.write_str("UserCode([secret])")
    }
}
