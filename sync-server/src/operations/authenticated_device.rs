//! The device that asks, once authenticated.

use std::time::Instant;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{DeviceId, IncarnationId};
use carepost_protocol::wire::problem::ProblemKind;

use crate::app::App;
use crate::audit::Client;
use crate::clone_detection::Sighting;
use crate::error::{Answer, Refusal, unauthenticated};
use crate::quota::{Asker, Kind, Turn};
use crate::store::{DeviceIdentity, FacilityStore};
use crate::tls::PeerKey;

/// A device whose key was looked up, and whose state allows the route.
#[derive(Clone)]
pub struct AuthenticatedDevice {
    pub app: App,
    /// Where the request came from.
    pub client: Client,
    /// Which it is, and how it stands.
    pub identity: DeviceIdentity,
    /// The handle of its facility.
    pub facility: FacilityStore,
    /// The key it spoke with.
    pub key: PeerKey,
    /// Who speaks as it, as the request says.
    pub sighting: Sighting,
}

impl AuthenticatedDevice {
    #[must_use]
    pub const fn id(&self) -> DeviceId {
        self.identity.device()
    }

    /// Whose the bytes of its requests are.
    #[must_use]
    pub const fn asker(&self) -> Asker {
        Asker::Device(self.id(), self.identity.organization())
    }

    /// Its turn at something, which is held until that is answered.
    ///
    /// # Errors
    /// `over-quota`.
    pub async fn turn(&self, kind: Kind) -> Answer<Turn> {
        self.app.quotas.turn(self.id(), kind).await
    }

    /// An audit event of what it does, to be completed and written.
    #[must_use]
    pub fn event(&self, event_type: AuditEventType, action: AuditAction, resource_type: &str) -> AuditEvent {
        self.client.event(event_type, action, resource_type).device(self.id())
    }

    /// Notes who speaks as the device, and for which incarnation of its outbox where the request carries the one of
    /// the moment. When that tells of a second copy, the device is quarantined from here on.
    ///
    /// # Errors
    /// What the store says.
    pub async fn speaks_for(&mut self, incarnation: Option<IncarnationId>) -> Answer<()> {
        let sighting = Sighting { incarnation, ..self.sighting };
        let twice = self.app.clone_detector.observe(self.id(), sighting, Instant::now());
        if let Some(twice) = twice
            && self.identity.state() == DeviceState::Active
        {
            self.facility.quarantine(&mut self.identity, twice.reason()).await?;
            tracing::warn!(device = %self.id(), reason = twice.reason(), "device quarantined");
        }
        Ok(())
    }

    /// How the device stands now, by its key, if it may still read: for a stream that has begun to listen.
    ///
    /// # Errors
    /// `unauthenticated` when the key is no device's any more, or why its state does not allow it.
    pub async fn known(&self) -> Answer<DeviceIdentity> {
        let known = self.app.store.system().device_by_key(*self.key.sha256()).await?;
        let known = known.ok_or_else(unauthenticated)?;
        refused_by_state(known.state()).map_or(Ok(known), Err)
    }

    /// Whether the device may be sent anything, by whether it says that what rests on it is encrypted: its facility may
    /// demand that.
    ///
    /// # Errors
    /// `not-encrypted`.
    pub fn may_be_sent(&self, is_encrypted: bool) -> Answer<()> {
        if is_encrypted || !self.identity.require_encryption() {
            return Ok(());
        }
        Err(Refusal::new(
            ProblemKind::NotEncrypted,
            "This facility serves encrypted devices only, and this one is not encrypted or does not say. Run \
             carepost-agent doctor on it and do what it says, or update its agent. What it charts is taken.",
        ))
    }
}

/// Why a device in that state may not read; none where it may.
#[must_use]
pub fn refused_by_state(state: DeviceState) -> Option<Refusal> {
    match state {
        DeviceState::Active => None,
        DeviceState::Expected | DeviceState::Pending => Some(unauthenticated()),
        DeviceState::Revoked => Some(Refusal::new(
            ProblemKind::DeviceRevoked,
            "An administrator deactivated this device. It has to be enrolled anew.",
        )),
        DeviceState::Quarantined => Some(Refusal::new(
            ProblemKind::DeviceQuarantined,
            "Two copies of this device ran, or the server was restored and cannot know this one. What it charts \
             is taken; an administrator has to release it before it gets anything.",
        )),
    }
}
