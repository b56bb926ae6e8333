//! Enrollment, heartbeat and push: what devices send.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::change::Lane;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{BootId, DeviceId};
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::{Encryption, Heartbeat, HeartbeatReply};
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use carepost_protocol::wire::push::{MAX_BYTES, PushBatch, PushReceipt};
use carepost_protocol::workflow::FieldError;
use serde_json::json;

use crate::app::App;
use crate::audit::Client;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::http::authentication::Device;
use crate::http::encoding::Encoding;
use crate::http::extract::{self, Id};
use crate::quota::{Allowances, Asker, Charge, Kind, Share};
use crate::rate_limit::Limit;
use crate::refusal_log::Principal;
use crate::store::{Batch, DeviceIdentity, PresentedKey};
use crate::text::is_line;
use crate::tls::PeerKey;
use crate::token;

/// The most bytes of a compressed push.
const MAX_COMPRESSED: usize = 2 * 1024 * 1024;
/// The most bytes of one that is not: the changes, and what a batch says besides.
const MAX_PLAIN: usize = MAX_BYTES + 64 * 1024;
/// What the smallest map of parsed JSON takes, and what any value does.
const MAP: usize = 704;
const VALUE: usize = 64;

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

/// Asks to be let in, again and again until it is; the key is the connection's.
#[utoipa::path(post, path = "/api/v1/enroll", operation_id = "enroll", tag = "sync", request_body = EnrollRequest,
    responses((status = 200, body = EnrollResponse), (status = 401, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn enroll(
    State(app): State<App>,
    client: Client,
    Extension(key): Extension<PeerKey>,
    Tolerant(mut request, _share): Tolerant<EnrollRequest>,
) -> Answer<axum::Json<EnrollResponse>> {
    check_texts(&[
        ("hostname", &request.hostname, MAX_HOSTNAME),
        ("agent_version", &request.agent_version, MAX_VERSION),
    ])?;
    check_addresses(&mut request.mac_addresses)?;
    let answered = place(&app, &client, &key, request).await;
    if let Err(refusal) = &answered
        && refusal.problem().status < 500
    {
        let note = client
            .event(AuditEventType::Device, AuditAction::Execute, "enrollment")
            .detail("why", refusal.problem().detail.clone());
        let by = Principal::Stranger(client.network(), None);
        app.refusal_log.keep(&app.store.system(), by, note).await?;
    }
    answered.map(axum::Json)
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

/// Says that the device lives and how it is (S1-50).
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/heartbeat", operation_id = "heartbeat", tag = "sync",
    params(("device_id" = DeviceId, Path)), request_body = Heartbeat,
    responses((status = 200, body = HeartbeatReply), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn heartbeat(
    State(app): State<App>,
    client: Client,
    Id(id): Id<DeviceId>,
    mut device: Device,
    request: Request,
) -> Answer<axum::Json<HeartbeatReply>> {
    if id != device.identity.device() {
        return Err(Refusal::not_found());
    }
    let _turn = app.quotas.turn(id, Kind::Heartbeat).await?;
    let Tolerant(mut beat, _share) = Tolerant::<Heartbeat>::from_request(request, &app).await?;
    check_texts(&[("agent_version", &beat.agent_version, MAX_VERSION)])?;
    check_addresses(&mut beat.mac_addresses)?;
    device.speaks_for(&app, Some(beat.incarnation)).await?;
    let is_encrypted = beat.encryption.as_ref().is_some_and(Encryption::is_complete);
    if device.facility.is_encrypted(&device.identity).await? != is_encrypted {
        tell_exposure(&app, &client, &device, beat.encryption.as_ref()).await?;
    }
    device.facility.heartbeat(&device.identity, &beat);
    let must_encrypt = device.identity.require_encryption() && !is_encrypted;
    if must_encrypt {
        app.store.feeds().refused(id);
    }
    let revoked = device.facility.revoked(&device.identity, &beat).await?;
    let settled = device.facility.settled(id, beat.rejected).await?;
    let (server_time, state) = (clock::now(), device.identity.state());
    Ok(axum::Json(HeartbeatReply { server_time, state, settled, must_encrypt, revoked }))
}

/// Takes a batch of one lane's changes: a verdict for each, once all of it is durable.
#[utoipa::path(post, path = "/api/v1/sync/push", operation_id = "push", tag = "sync",
    request_body(content = Object, description = "A batch: lane, incarnation, first_n, previous, head, signature and changes; JSON, with or without Content-Encoding: gzip, or zstd (one frame)"),
    responses((status = 200, body = PushReceipt), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn push(
    State(app): State<App>,
    client: Client,
    device: Device,
    request: Request,
) -> Answer<axum::Json<PushReceipt>> {
    let encoding = extract::packing(request.headers())?;
    let (id, allowances) = (device.identity.device(), app.config.sync.allowances());
    let turn = app.quotas.turn(id, Kind::Push).await?;
    app.quotas.may_send(id, allowances, Instant::now())?;
    let mut share = app.quotas.share(Asker::of(request.extensions()));
    let bytes = match read(request, encoding, &mut share).await {
        // That the server has no room for it costs the device nothing.
        Err(refusal) if refusal.problem().status >= 500 => return Err(refusal),
        bytes => bytes,
    };
    let mut charge = app.quotas.charge(id, allowances);
    // What cannot be read costs what it takes to find that out.
    charge.changes = (share.held() as u64 / 1024).max(1);
    // It goes on to its end when the device hangs up: what is committed is charged, and its turn and its bytes are
    // held until then.
    let pushing = tokio::spawn(async move {
        let _held = (turn, share);
        let (answered, charge) = take(&device, bytes, charge).await?;
        if charge.settle((Instant::now(), clock::now())) {
            tell_unusual(&client, &device, allowances).await?;
        }
        answered
    });
    pushing.await.map_err(|fault| Refusal::internal(&fault))?.map(axum::Json)
}

/// The bytes of a batch as it is.
async fn read(request: Request, encoding: Encoding, share: &mut Share) -> Answer<Bytes> {
    let limit = if encoding == Encoding::Identity { MAX_PLAIN } else { MAX_COMPRESSED };
    let packed = extract::read(request.into_body(), limit, share).await?;
    let bytes = encoding.unpack(packed, MAX_PLAIN, share).await?;
    share.take(appetite(&bytes)).await?;
    Ok(bytes)
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
    let (identity, boot) = (device.identity.clone(), Some(device.boot()));
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
    let batch: PushBatch<'_> = serde_json::from_slice(bytes).map_err(|fault| extract::malformed(&fault))?;
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
    let note = client
        .event(AuditEventType::Device, AuditAction::Update, "device")
        .device(id)
        .on(id)
        .detail("what", if is_encrypted { "device_encrypted" } else { "device_exposed" })
        .detail("exposed", exposed);
    Ok(device.facility.audit(vec![note]).await?)
}

/// Tells administrators, once, that a device sends unusually much.
async fn tell_unusual(client: &Client, device: &Device, allowances: Allowances) -> Answer<()> {
    let id = device.identity.device();
    let (changes, entries) = (allowances.changes.per_hour, allowances.documents.per_hour);
    tracing::warn!(device = %id, changes, entries, "a device sends unusually much");
    let note = client
        .event(AuditEventType::Sync, AuditAction::Execute, "device")
        .device(id)
        .on(id)
        .detail("reason", "sends_unusually_much")
        .detail("changes_per_hour", changes)
        .detail("entries_per_hour", entries);
    Ok(device.facility.audit(vec![note]).await?)
}

/// A device's JSON message, and what it takes in memory, counted until it is answered: fields that this server does not
/// know are of a newer agent, and left alone.
pub struct Tolerant<T>(T, Share);

impl<T: serde::de::DeserializeOwned> FromRequest<App> for Tolerant<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let mut share = app.quotas.share(Asker::of(request.extensions()));
        let bytes = extract::plain(request, extract::MAX_JSON, &mut share).await?;
        share.take(appetite(&bytes)).await?;
        extract::parse(&bytes).map(|message| Self(message, share))
    }
}

/// Refuses a text that no device says of itself. An empty one is fine: a host may have no name.
fn check_texts(said: &[(&str, &str, usize)]) -> Answer<()> {
    let wrong = said.iter().filter(|(_, text, most)| !is_line(text, *most));
    let errors: Vec<FieldError> = wrong
        .map(|(field, _, most)| FieldError {
            field: (*field).to_owned(),
            detail: format!("send at most {most} characters, none of them a control character"),
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(errors)) }
}

/// Keeps the first addresses; refuses what is none.
fn check_addresses(addresses: &mut Vec<String>) -> Answer<()> {
    addresses.truncate(MAX_ADDRESSES);
    match addresses.iter().position(|address| !is_line(address, MAX_ADDRESS)) {
        Some(n) => Err(Refusal::field(&format!("mac_addresses[{n}]"), "send it as 02:00:5e:10:00:01")),
        None => Ok(()),
    }
}

/// What JSON comes to in memory beside its text, at the most: `{"":0}` is six bytes, and a map of its own.
fn appetite(plain: &[u8]) -> usize {
    let count = |mark: u8| plain.iter().filter(|byte| **byte == mark).count();
    let (maps, values) = (count(b'{'), count(b',') + count(b'['));
    plain.len() + maps * MAP + values * VALUE
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
        check_texts(&[("hostname", "", MAX_HOSTNAME), ("agent_version", "0.1.0", MAX_VERSION)]).unwrap();
        let long = "h".repeat(254);
        let refused = check_texts(&[("hostname", &long, MAX_HOSTNAME)]).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::Invalid));
        assert!(format!("{refused:?}").contains("hostname"), "{refused:?}");
        for acts in ["\n", "\u{9b}2J", "\u{202e}"] {
            assert!(check_texts(&[("agent_version", &format!("0.1{acts}"), MAX_VERSION)]).is_err());
        }
        let mut many = vec!["02:00:5e:10:00:01".to_owned(); 40];
        check_addresses(&mut many).unwrap();
        assert_eq!(many.len(), 32);
        let refused = check_addresses(&mut vec![many[0].clone(), long]).unwrap_err();
        assert!(format!("{refused:?}").contains("mac_addresses[1]"), "{refused:?}");
    }
}
