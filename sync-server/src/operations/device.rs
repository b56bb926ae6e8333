//! The device that asks, once authenticated.

use std::time::Instant;

use carepost_protocol::device::DeviceState;
use carepost_protocol::id::IncarnationId;
use carepost_protocol::wire::problem::ProblemKind;

use crate::app::App;
use crate::clone_detection::Sighting;
use crate::error::{Answer, Refusal, unauthenticated};
use crate::store::{DeviceIdentity, FacilityStore};
use crate::tls::PeerKey;

/// A device whose key was looked up, and whose state allows the route.
#[derive(Clone)]
pub struct Device {
    /// Which it is, and how it stands.
    pub identity: DeviceIdentity,
    /// The handle of its facility.
    pub facility: FacilityStore,
    /// The key it spoke with.
    pub key: PeerKey,
    /// Who speaks as it, as the request says.
    pub sighting: Sighting,
}

impl Device {
    /// Notes who speaks as the device, and for which incarnation of its outbox where the request carries the one of
    /// the moment. When that tells of a second copy, the device is quarantined from here on.
    ///
    /// # Errors
    /// What the store says.
    pub async fn speaks_for(&mut self, app: &App, incarnation: Option<IncarnationId>) -> Answer<()> {
        let sighting = Sighting { incarnation, ..self.sighting };
        let twice = app.clone_detector.observe(self.identity.device(), sighting, Instant::now());
        if let Some(twice) = twice
            && self.identity.state() == DeviceState::Active
        {
            self.facility.quarantine(&mut self.identity, twice.reason()).await?;
            tracing::warn!(device = %self.identity.device(), reason = twice.reason(), "device quarantined");
        }
        Ok(())
    }

    /// As [`Self::may_read`], by how the device stands now: for a stream that has begun to listen.
    ///
    /// # Errors
    /// As [`Self::may_read`].
    pub async fn may_still_read(&mut self, app: &App) -> Answer<()> {
        let known = app.store.system().device_by_key(*self.key.sha256()).await?;
        self.identity = known.ok_or_else(unauthenticated)?;
        self.may_read()
    }

    /// Whether the device may be sent anything.
    ///
    /// # Errors
    /// Why its state does not allow it.
    pub fn may_read(&self) -> Answer<()> {
        let state = self.identity.state();
        if state == DeviceState::Active { Ok(()) } else { Err(of_state(state)) }
    }
}

/// Why a device in that state is not served.
#[must_use]
pub fn of_state(state: DeviceState) -> Refusal {
    match state {
        DeviceState::Revoked => Refusal::new(
            ProblemKind::DeviceRevoked,
            "An administrator deactivated this device. It has to be enrolled anew.",
        ),
        DeviceState::Expected | DeviceState::Pending => unauthenticated(),
        DeviceState::Quarantined => Refusal::new(
            ProblemKind::DeviceQuarantined,
            "Two copies of this device ran, or the server was restored and cannot know this one. What it charts \
             is taken; an administrator has to release it before it gets anything.",
        ),
        DeviceState::Active => {
            Refusal::new(ProblemKind::Forbidden, "This device may not do that in its present state.")
        }
    }
}

/// Nothing is sent to a device that does not say that it is encrypted, where its facility demands it.
#[must_use]
pub fn not_encrypted() -> Refusal {
    Refusal::new(
        ProblemKind::NotEncrypted,
        "This facility serves encrypted devices only, and this one is not encrypted or does not say. Run \
         carepost-agent doctor on it and do what it says, or update its agent. What it charts is taken.",
    )
}
