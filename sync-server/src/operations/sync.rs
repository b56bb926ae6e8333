//! What a device asks for one message at a time: to be let in, and then, on the handle of its facility, that it is heard,
//! that its changes are taken, and for older records. What goes down to it comes by a [`stream`](super::stream).

use std::time::{Duration, Instant};

use bytes::Bytes;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::change::Lane;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{BootId, PatientId};
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::{Encryption, Heartbeat, HeartbeatReply};
use carepost_protocol::wire::older::{OlderQuery, OlderRecords};
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::push::{PushBatch, PushReceipt};
use serde_json::json;
use serde_json::value::RawValue;

use super::device::{Device, not_encrypted};
use crate::app::App;
use crate::audit::Client;
use crate::clock;
use crate::error::{Answer, FieldErrors, Refusal, malformed};
use crate::quota::{Allowances, Charge, Kind, Share, Turn};
use crate::rate_limit::Limit;
use crate::refusal_log::Principal;
use crate::store::{Batch, DeviceIdentity, OlderRequest, PresentedKey};
use crate::text::is_line;
use crate::tls::PeerKey;
use crate::token;

/// How often a key of the lobby may describe itself anew; a new code each ten minutes does not add up.
const CHANGES: Limit = Limit { failures: 20, lock: Duration::from_secs(5 * 60) };
/// Keys that were never seen before, from one network: the devices behind it share them.
const NEW_KEYS: Limit = Limit { failures: 100, lock: Duration::from_secs(15 * 60) };
const NEW_DEVICES: &str = "Too many new devices from this network; those with tokens need not wait";
/// The most ways of exposure that are written down of a device.
const MAX_EXPOSURES: usize = 32;
/// How often it is written down that a device's exposure changed: more often it is the device's whim.
const EXPOSURES: Limit = Limit { failures: 20, lock: Duration::from_secs(60 * 60) };
/// The longest host name there is (RFC 1035, section 2.3.4).
const MAX_HOSTNAME: usize = 253;
/// The longest name of a version.
const MAX_VERSION: usize = 64;
/// A MAC address as text: six pairs of digits and five colons.
const MAX_ADDRESS: usize = 17;
/// The most MAC addresses that are kept of a device; a host of many containers may have more.
const MAX_ADDRESSES: usize = 32;
/// The pages of one device, until it pauses: each is an event in the audit log.
const PAGES: Limit = Limit { failures: 240, lock: Duration::from_secs(60) };

/// Lets a key in, or says where it stands; refusals are written down.
pub async fn enroll(
    app: &App,
    client: &Client,
    key: &PeerKey,
    mut request: EnrollRequest,
) -> Answer<EnrollResponse> {
    let texts = [
        ("hostname", &*request.hostname, MAX_HOSTNAME),
        ("agent_version", &*request.agent_version, MAX_VERSION),
    ];
    check_lines(&texts, &mut request.mac_addresses)?;
    let answered = place(app, client, key, request).await;
    if let Err(refusal) = &answered
        && refusal.problem().status < 500
    {
        let event = client
            .event(AuditEventType::Device, AuditAction::Execute, "enrollment")
            .detail("why", refusal.problem().detail.clone());
        let by = Principal::Stranger(client.network(), None);
        app.refusal_log.keep(&app.store.system(), by, event).await?;
    }
    answered
}

/// Where a key stands. What has to be written for it is bounded, by key and by network.
async fn place(app: &App, client: &Client, key: &PeerKey, request: EnrollRequest) -> Answer<EnrollResponse> {
    let system = app.store.system();
    let network = client.network().map(|network| network.to_string()).unwrap_or_default();
    let presented = PresentedKey { sha256: *key.sha256(), point: key.point().to_vec(), network };
    let token = request.token.as_deref().map(token::sha256);
    if let Some(state) = system.enrollment_state(presented.clone(), request.clone(), token).await? {
        return Ok(state);
    }
    // A token is worth more than a place in the lobby.
    if token.is_none() {
        if system.knows_key(presented.sha256).await? {
            let key = format!("key {}", hex(&presented.sha256));
            app.rate_limiter.take(&key, CHANGES, "This device says something else of itself each time")?;
        } else {
            app.rate_limiter.take(&format!("enroll {}", presented.network), NEW_KEYS, NEW_DEVICES)?;
        }
    }
    Ok(system.enroll(presented, request, token).await?)
}

/// Hears that a device lives and how it is (S1-50), and says what it has to know.
pub async fn heartbeat(
    app: &App,
    client: &Client,
    mut device: Device,
    mut beat: Heartbeat,
) -> Answer<HeartbeatReply> {
    check_lines(&[("agent_version", &beat.agent_version, MAX_VERSION)], &mut beat.mac_addresses)?;
    device.speaks_for(app, Some(beat.incarnation)).await?;
    let id = device.identity.device();
    let is_encrypted = beat.encryption.as_ref().is_some_and(Encryption::is_complete);
    if device.facility.is_encrypted(&device.identity).await? != is_encrypted {
        tell_exposure(app, client, &device, beat.encryption.as_ref()).await?;
    }
    device.facility.heartbeat(&device.identity, &beat);
    let must_encrypt = device.identity.require_encryption() && !is_encrypted;
    if must_encrypt {
        app.store.feeds().refused(id);
    }
    let revoked = device.facility.revoked(&device.identity, &beat).await?;
    let settled = device.facility.settled(id, beat.rejected).await?;
    let (server_time, state) = (clock::now(), device.identity.state());
    Ok(HeartbeatReply { server_time, state, settled, must_encrypt, revoked })
}

/// Whether a device may send a batch now, before any of it is read. Its turn is held until it is answered.
pub async fn may_push(app: &App, device: &Device) -> Answer<Turn> {
    let id = device.identity.device();
    let turn = app.quotas.turn(id, Kind::Push).await?;
    app.quotas.may_send(id, app.config.sync.allowances(), Instant::now())?;
    Ok(turn)
}

/// Takes a batch of one lane's changes, or why it could not be received: a verdict for each, once all of it is durable.
pub async fn push(
    app: &App,
    client: Client,
    device: Device,
    held: (Turn, Share),
    bytes: Answer<Bytes>,
) -> Answer<PushReceipt> {
    let bytes = match bytes {
        // That the server has no room for it costs the device nothing.
        Err(refusal) if refusal.problem().status >= 500 => return Err(refusal),
        bytes => bytes,
    };
    let allowances = app.config.sync.allowances();
    let mut charge = app.quotas.charge(device.identity.device(), allowances);
    // What cannot be read costs what it takes to find that out.
    charge.changes = (held.1.held() as u64 / 1024).max(1);
    // It goes on to its end when the device hangs up: what is committed is charged, and its turn and its bytes are
    // held until then.
    let pushing = tokio::spawn(async move {
        let _held = held;
        let (answered, charge) = take(&device, bytes, charge).await?;
        if charge.settle((Instant::now(), clock::now())) {
            tell_unusual(&client, &device, allowances).await?;
        }
        answered
    });
    pushing.await.map_err(|fault| Refusal::internal(&fault))?
}

/// Takes a batch; what it came to is in the charge that it gives back.
async fn take(
    device: &Device,
    bytes: Answer<Bytes>,
    mut charge: Charge,
) -> Answer<(Answer<PushReceipt>, Charge)> {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(refusal) => return Ok((Err(refusal), charge)),
    };
    let (identity, boot) = (device.identity.clone(), Some(device.sighting.boot));
    let checked = tokio::task::spawn_blocking(move || {
        let checked = check(&bytes, &identity, boot, &mut charge);
        (checked, charge)
    });
    let (checked, mut charge) = checked.await.map_err(|fault| Refusal::internal(&fault))?;
    let answered = match checked {
        Ok(batch) => device.facility.push(batch, &mut charge.documents).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    Ok((answered, charge))
}

/// Reads a batch, after there is room for what it may make.
fn check(
    bytes: &[u8],
    identity: &DeviceIdentity,
    boot: Option<BootId>,
    charge: &mut Charge,
) -> Answer<Batch> {
    let batch: PushBatch<'_> = serde_json::from_slice(bytes).map_err(|fault| malformed(&fault))?;
    let changes = batch.changes.len() as u64;
    if batch.lane == Lane::Care
        && let Err(refusal) = charge.reserve(changes, Instant::now())
    {
        if refusal.kind() == Some(ProblemKind::OverQuota) {
            // Who is slowed sends it again, and pays then.
            charge.changes = 0;
        }
        return Err(refusal);
    }
    charge.changes = changes.max(bytes.len() as u64 / 1024);
    Ok(Batch::check(identity, boot, &batch)?)
}

/// A page of a resident's records that have left the feed, as the device may see them.
pub async fn older_records(
    app: &App,
    client: &Client,
    device: &Device,
    patient: PatientId,
    asked: OlderQuery,
) -> Answer<OlderRecords<Box<RawValue>>> {
    if asked.before.is_some() != asked.before_record.is_some() {
        return Err(Refusal::field("before_record", "give before and before_record together, or neither"));
    }
    if device.identity.require_encryption() && !device.facility.is_encrypted(&device.identity).await? {
        return Err(not_encrypted());
    }
    let asker = format!("older {}", device.identity.device());
    app.rate_limiter.take(&asker, PAGES, "This device has asked for many older entries")?;
    let asked = OlderRequest { view: device.identity.view(), patient, after: asked.place() };
    let page = device.facility.older_records(asked).await?;
    // Written before the page is shown. Who reads it there is in the device's own events.
    let event = client
        .event(AuditEventType::PhiAccess, AuditAction::View, "record")
        .device(device.identity.device())
        .patient(patient, device.identity.facility())
        .detail("count", page.records.len());
    device.facility.audit(vec![event]).await?;
    Ok(page)
}

/// Writes down that what rests on a device can be read from now on, or no longer, by what it measured: before
/// anybody goes by it.
async fn tell_exposure(
    app: &App,
    client: &Client,
    device: &Device,
    measured: Option<&Encryption>,
) -> Answer<()> {
    let id = device.identity.device();
    if app.rate_limiter.take(&format!("exposure {id}"), EXPOSURES, "Its exposure changes often").is_err() {
        return Ok(());
    }
    let is_encrypted = measured.is_some_and(Encryption::is_complete);
    let exposed = measured.map(|measured| {
        let what = measured.exposed.iter().map(|exposure| json!(exposure.what));
        what.take(MAX_EXPOSURES).collect::<Vec<_>>()
    });
    let event = client
        .event(AuditEventType::Device, AuditAction::Update, "device")
        .device(id)
        .on(id)
        .detail("what", if is_encrypted { "device_encrypted" } else { "device_exposed" })
        .detail("exposed", exposed);
    Ok(device.facility.audit(vec![event]).await?)
}

/// Tells administrators, once, that a device sends unusually much.
async fn tell_unusual(client: &Client, device: &Device, allowances: Allowances) -> Answer<()> {
    let id = device.identity.device();
    let (changes, entries) = (allowances.changes.per_hour, allowances.documents.per_hour);
    tracing::warn!(device = %id, changes, entries, "a device sends unusually much");
    let event = client
        .event(AuditEventType::Sync, AuditAction::Execute, "device")
        .device(id)
        .on(id)
        .detail("reason", "sends_unusually_much")
        .detail("changes_per_hour", changes)
        .detail("entries_per_hour", entries);
    Ok(device.facility.audit(vec![event]).await?)
}

/// Keeps the first addresses; refuses them, and texts, where something is no line of so many characters.
fn check_lines(texts: &[(&str, &str, usize)], addresses: &mut Vec<String>) -> Answer<()> {
    let mut errors = FieldErrors::default();
    for (field, _, most) in texts.iter().filter(|(_, text, most)| !is_line(text, *most)) {
        errors.unless(
            false,
            field,
            &format!("send at most {most} characters, none of them a control character"),
        );
    }
    addresses.truncate(MAX_ADDRESSES);
    for (n, _) in addresses.iter().enumerate().filter(|(_, address)| !is_line(address, MAX_ADDRESS)) {
        errors.unless(false, &format!("mac_addresses[{n}]"), "send it as 02:00:5e:10:00:01");
    }
    errors.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::RateLimiter;

    #[test]
    fn one_network_brings_a_hundred_new_keys_in_a_while_and_others_are_not_held_up() {
        let limiter = RateLimiter::default();
        let count = |network: &str| limiter.take(network, NEW_KEYS, "Too many");
        for _ in 0..100 {
            count("one").unwrap();
        }
        assert_eq!(count("one").unwrap_err().kind(), Some(ProblemKind::TooManyTries));
        count("other").unwrap();
    }

    #[test]
    fn what_a_device_says_of_itself_is_bounded() {
        let texts = [("hostname", "", MAX_HOSTNAME), ("agent_version", "0.1.0", MAX_VERSION)];
        let mut many = vec!["02:00:5e:10:00:01".to_owned(); 40];
        check_lines(&texts, &mut many).unwrap();
        assert_eq!(many.len(), 32);
        for acts in ["\n", "\u{9b}2J", "\u{202e}"] {
            let version = format!("0.1{acts}");
            assert!(check_lines(&[("agent_version", &version, MAX_VERSION)], &mut many).is_err());
        }
        let long = "h".repeat(254);
        many[1] = long.clone();
        let refused = check_lines(&[("hostname", &long, MAX_HOSTNAME)], &mut many).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::Invalid));
        let named = format!("{refused:?}");
        assert!(named.contains("hostname") && named.contains("mac_addresses[1]"), "{named}");
    }
}
