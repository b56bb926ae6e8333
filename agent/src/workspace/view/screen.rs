//! The one screen that the kiosk shows: a step of the enrollment, a lock, a PIN pad or an open session.

use std::time::Duration;

use carepost_agent_core::enrollment::EnrollmentView;
use carepost_agent_core::session::Asked;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{DeviceUuid, SessionId};
use ring::digest;

/// The one screen that the kiosk shows now.
#[derive(Debug, Clone)]
pub enum Screen {
    /// The device is not enrolled yet.
    Enrolling(Enrolling),
    /// The files of an enrolled device do not open.
    Unopened,
    /// The device's key is refused for good.
    Revoked,
    /// Nobody is signed in, or the screen is locked: nothing readable.
    Locked(Locked),
    /// A badge was presented; its PIN is asked for.
    PinPad(PinPad),
    /// Somebody is signed in.
    Open(Open),
}

/// How far the enrollment is.
#[derive(Debug, Clone)]
pub struct Enrolling {
    pub step: EnrollmentView,
    /// What went wrong at the last try, in words; shown until the server has answered.
    pub trouble: Option<String>,
    /// Why the server refused the token that it was given.
    pub token_refused: Option<String>,
    pub server: String,
    /// The device's hardware UUID, for administrators who register devices beforehand.
    pub device_uuid: DeviceUuid,
}

#[derive(Debug, Clone)]
pub struct Locked {
    pub facility_name: String,
    pub organization_name: String,
    /// Whom to call when the kiosk cannot help.
    pub phone: Option<String>,
    /// A refusal, or another word to whoever stands before it.
    pub notice: Option<String>,
    /// Who just locked it with her own badge and may undo that for a moment.
    pub undo: Option<String>,
}

#[derive(Debug, Clone)]
pub struct PinPad {
    /// Whose PIN is asked for.
    pub display_name: String,
    pub asked: Asked,
    /// Which try this is; a PIN for another try is dropped.
    pub attempt: u64,
    /// What was wrong with the last try.
    pub notice: Option<String>,
    pub checking: bool,
}

#[derive(Debug, Clone)]
pub struct Open {
    /// The session: pages of one are no pages of another, whoever's they are.
    pub session: SessionId,
    /// Who is signed in.
    pub display_name: String,
    /// In which role, in words.
    pub role: &'static str,
    /// The screen locks this soon, unless somebody touches it; none while that is far off.
    pub locks_in: Option<Duration>,
    /// A word to whoever stands before it, such as why a tap was refused.
    pub notice: Option<String>,
}

/// Names a session on its pages, and says nothing about whose it is. What a page asks for or sends is
/// done in the session that the page was made for, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey(String);

impl SessionKey {
    #[must_use]
    pub fn of(session: SessionId) -> Self {
        let hash = digest::digest(&digest::SHA256, session.as_bytes());
        Self(format!("open-{}", hex(hash.as_ref().get(..8).unwrap_or_default())))
    }

    /// The key that a page sent back; it may be no session's.
    #[must_use]
    pub const fn sent(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn names(&self, session: SessionId) -> bool {
        *self == Self::of(session)
    }

    /// As pages carry it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
