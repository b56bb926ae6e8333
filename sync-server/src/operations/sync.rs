//! What a device asks for one message at a time: that it is heard, that its changes are taken, and for older records.
//! What goes down to it comes by a [`stream`](super::stream).

use std::time::{Duration, Instant};

use bytes::Bytes;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::change::Lane;
use carepost_protocol::id::{DeviceId, PatientId};
use carepost_protocol::wire::heartbeat::{Encryption, Heartbeat, HeartbeatReply};
use carepost_protocol::wire::older::{OlderQuery, OlderRecords};
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::push::{PushBatch, PushReceipt};
use serde_json::json;
use serde_json::value::RawValue;

use super::authenticated_device::AuthenticatedDevice;
use super::enrollments::{MAX_VERSION, check_lines};
use crate::clock;
use crate::error::{Answer, Refusal, malformed};
use crate::quota::{Charge, Kind, Share, Turn};
use crate::rate_limit::Limit;
use crate::store::{Batch, OlderRequest};

/// The most ways of exposure that are written down of a device.
const MAX_EXPOSURES: usize = 32;
/// How often it is written down that a device's exposure changed: more often it is the device's whim.
const EXPOSURES: Limit = Limit { failures: 20, lock: Duration::from_secs(60 * 60) };
/// The pages of one device, until it pauses: each is an event in the audit log.
const PAGES: Limit = Limit { failures: 240, lock: Duration::from_secs(60) };

/// Whether a device may say now how it is, of itself alone, before that is read. Its turn is held until it is answered.
pub async fn may_beat(device: &AuthenticatedDevice, named: DeviceId) -> Answer<Turn> {
    if named != device.id() {
        return Err(Refusal::not_found());
    }
    device.turn(Kind::Heartbeat).await
}

/// Hears that a device lives and how it is (S1-50), and says what it has to know.
pub async fn heartbeat(mut device: AuthenticatedDevice, mut beat: Heartbeat) -> Answer<HeartbeatReply> {
    check_lines(&[("agent_version", &beat.agent_version, MAX_VERSION)], &mut beat.mac_addresses)?;
    device.speaks_for(Some(beat.incarnation)).await?;
    let is_encrypted = beat.encryption.as_ref().is_some_and(Encryption::is_complete);
    if device.facility.is_encrypted(&device.identity).await? != is_encrypted {
        tell_exposure(&device, beat.encryption.as_ref()).await?;
    }
    device.facility.heartbeat(&device.identity, &beat);
    let must_encrypt = device.may_be_sent(is_encrypted).is_err();
    if must_encrypt {
        device.app.store.feeds().refused(device.id());
    }
    let revoked = device.facility.revoked(&device.identity, &beat).await?;
    let settled = device.facility.settled(device.id(), beat.rejected).await?;
    let (server_time, state) = (clock::now(), device.identity.state());
    Ok(HeartbeatReply { server_time, state, settled, must_encrypt, revoked })
}

/// A push that a device may send, from before any of it is read until it is answered.
pub struct Pushing {
    device: AuthenticatedDevice,
    /// It stands before the turn, after which its device may be forgotten.
    charge: Charge,
    /// Its bytes.
    pub share: Share,
    _turn: Turn,
}

/// Whether a device may send a batch now.
pub async fn may_push(device: AuthenticatedDevice) -> Answer<Pushing> {
    let turn = device.turn(Kind::Push).await?;
    let (quotas, allowances) = (&device.app.quotas, device.app.config.sync.allowances());
    quotas.may_send(device.id(), allowances, Instant::now())?;
    let (charge, share) = (quotas.charge(device.id(), allowances), quotas.share(device.asker()));
    Ok(Pushing { device, charge, share, _turn: turn })
}

impl Pushing {
    /// Takes a batch of one lane's changes: a verdict for each, once all of it is durable.
    pub async fn take(mut self, bytes: Bytes) -> Answer<PushReceipt> {
        self.charge_bytes();
        // It goes on to its end when the device hangs up: what is committed is charged, and its turn and its bytes are
        // held until then.
        let pushing = tokio::spawn(async move {
            let checking = tokio::task::spawn_blocking(move || (self.check(&bytes), self));
            let (checked, mut pushing) = checking.await.map_err(|fault| Refusal::internal(&fault))?;
            let Self { device, charge, .. } = &mut pushing;
            let answered = match checked {
                Ok(batch) => device.facility.push(batch, &mut charge.documents).await.map_err(Refusal::from),
                Err(refusal) => Err(refusal),
            };
            pushing.settle().await?;
            answered
        });
        pushing.await.map_err(|fault| Refusal::internal(&fault))?
    }

    /// A batch that could not be received: what came of it is charged all the same.
    pub async fn unread(mut self, refusal: Refusal) -> Refusal {
        // That the server has no room for it costs the device nothing.
        if refusal.is_of_the_server() {
            return refusal;
        }
        self.charge_bytes();
        match tokio::spawn(self.settle()).await {
            Ok(settled) => settled.err().unwrap_or(refusal),
            Err(fault) => Refusal::internal(&fault),
        }
    }

    /// What cannot be read costs what it takes to find that out.
    fn charge_bytes(&mut self) {
        self.charge.changes = (self.share.held() as u64 / 1024).max(1);
    }

    /// Reads a batch, after there is room for what it may make.
    fn check(&mut self, bytes: &[u8]) -> Answer<Batch> {
        let batch: PushBatch<'_> = serde_json::from_slice(bytes).map_err(|fault| malformed(&fault))?;
        let changes = batch.changes.len() as u64;
        if batch.lane == Lane::Care
            && let Err(refusal) = self.charge.reserve(changes, Instant::now())
        {
            if refusal.kind() == Some(ProblemKind::OverQuota) {
                // Who is slowed sends it again, and pays then.
                self.charge.changes = 0;
            }
            return Err(refusal);
        }
        self.charge.changes = changes.max(bytes.len() as u64 / 1024);
        Ok(Batch::check(&self.device.identity, Some(self.device.sighting.boot), &batch)?)
    }

    /// The push has ended. Administrators are told, once, when by that its device sends unusually much.
    async fn settle(self) -> Answer<()> {
        if !self.charge.settle((Instant::now(), clock::now())) {
            return Ok(());
        }
        let allowances = self.device.app.config.sync.allowances();
        let (changes, entries) = (allowances.changes.per_hour, allowances.documents.per_hour);
        let id = self.device.id();
        tracing::warn!(device = %id, changes, entries, "a device sends unusually much");
        let event = self
            .device
            .event(AuditEventType::Sync, AuditAction::Execute, "device")
            .on(id)
            .detail("reason", "sends_unusually_much")
            .detail("changes_per_hour", changes)
            .detail("entries_per_hour", entries);
        Ok(self.device.facility.audit(vec![event]).await?)
    }
}

/// A page of a resident's records that have left the feed, as the device may see them.
pub async fn older_records(
    device: &AuthenticatedDevice,
    patient: PatientId,
    asked: OlderQuery,
) -> Answer<OlderRecords<Box<RawValue>>> {
    if asked.before.is_some() != asked.before_record.is_some() {
        return Err(Refusal::field("before_record", "give before and before_record together, or neither"));
    }
    if device.identity.require_encryption() {
        device.may_be_sent(device.facility.is_encrypted(&device.identity).await?)?;
    }
    let asker = format!("older {}", device.id());
    device.app.rate_limiter.take(&asker, PAGES, "This device has asked for many older entries")?;
    let asked = OlderRequest { view: device.identity.view(), patient, after: asked.place() };
    let page = device.facility.older_records(asked).await?;
    // Written before the page is shown. Who reads it there is in the device's own events.
    let event = device
        .event(AuditEventType::PhiAccess, AuditAction::View, "record")
        .patient(patient, device.identity.facility())
        .detail("count", page.records.len());
    device.facility.audit(vec![event]).await?;
    Ok(page)
}

/// Writes down that what rests on a device can be read from now on, or no longer, by what it measured: before
/// anybody goes by it.
async fn tell_exposure(device: &AuthenticatedDevice, measured: Option<&Encryption>) -> Answer<()> {
    let (id, limiter) = (device.id(), &device.app.rate_limiter);
    if limiter.take(&format!("exposure {id}"), EXPOSURES, "Its exposure changes often").is_err() {
        return Ok(());
    }
    let is_encrypted = measured.is_some_and(Encryption::is_complete);
    let exposed = measured.map(|measured| {
        let what = measured.exposed.iter().map(|exposure| json!(exposure.what));
        what.take(MAX_EXPOSURES).collect::<Vec<_>>()
    });
    let event = device
        .event(AuditEventType::Device, AuditAction::Update, "device")
        .on(id)
        .detail("what", if is_encrypted { "device_encrypted" } else { "device_exposed" })
        .detail("exposed", exposed);
    Ok(device.facility.audit(vec![event]).await?)
}
