//! What devices ask: to be let in, to be heard, and to push.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use carepost_protocol::id::{BootId, DeviceId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::BOOT_HEADER;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::{Heartbeat, HeartbeatReply};
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use carepost_protocol::wire::push::{MAX_BYTES, PushBatch, PushReceipt};
use carepost_protocol::workflow::FieldError;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, HeaderValue};

use crate::app::App;
use crate::audit::Client;
use crate::body::{self, Id};
use crate::clock;
use crate::error::{Answer, Refusal, too_large};
use crate::guard::{Device, token_sha256};
use crate::store::{Batch, PresentedKey};
use crate::tls::PeerKey;
use crate::tries::{Limit, Tries};

/// The most bytes of a compressed push.
const MAX_COMPRESSED: usize = 2 * 1024 * 1024;

/// Keys that were never seen before, from one address: the devices behind it share them.
const NEW_KEYS: Limit = Limit { failures: 100, lock: Duration::from_secs(15 * 60) };
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
    Tolerant(mut request): Tolerant<EnrollRequest>,
) -> Answer<axum::Json<EnrollResponse>> {
    check_texts(&[
        ("hostname", &request.hostname, MAX_HOSTNAME),
        ("agent_version", &request.agent_version, MAX_VERSION),
    ])?;
    check_addresses(&mut request.mac_addresses)?;
    let presented = PresentedKey { sha256: *key.sha256(), point: key.point().to_vec() };
    let token = request.token.as_deref().map(token_sha256);
    // A token is worth more than a place in the lobby, and one that has a place keeps it.
    if token.is_none() && !app.store.system().knows_key(presented.sha256).await? {
        count_newcomer(&app.tries, &client, clock::now())?;
    }
    Ok(axum::Json(app.store.system().enroll(presented, request, token).await?))
}

/// Says that the device lives and how it is (S1-50).
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/heartbeat", operation_id = "heartbeat", tag = "sync",
    params(("device_id" = DeviceId, Path)), request_body = Heartbeat,
    responses((status = 200, body = HeartbeatReply), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn heartbeat(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    mut device: Device,
    Tolerant(mut beat): Tolerant<Heartbeat>,
) -> Answer<axum::Json<HeartbeatReply>> {
    if id != device.identity.device() {
        return Err(Refusal::not_found());
    }
    check_texts(&[("agent_version", &beat.agent_version, MAX_VERSION)])?;
    check_addresses(&mut beat.mac_addresses)?;
    device.speaks_for(&app, Some(beat.incarnation)).await?;
    device.facility.heartbeat(&device.identity, &beat);
    let revoked = device.facility.revoked(&device.identity, &beat).await?;
    let settled = device.facility.settled(id, beat.refused).await?;
    let state = device.identity.state();
    Ok(axum::Json(HeartbeatReply { server_time: clock::now(), state, settled, revoked }))
}

/// Takes a batch of one lane's changes: one durable commit, a verdict for each.
#[utoipa::path(post, path = "/api/v1/sync/push", operation_id = "push", tag = "sync",
    request_body(content = Object, description = "A batch: lane, incarnation, first_n, previous, head, signature and changes; JSON, with or without Content-Encoding: zstd"),
    responses((status = 200, body = PushReceipt), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem)))]
pub async fn push(device: Device, request: Request) -> Answer<axum::Json<PushReceipt>> {
    body::must_be_json(request.headers())?;
    let boot = boot_of(request.headers());
    let packed = is_zstd(request.headers().get(CONTENT_ENCODING))?;
    let limit = if packed { MAX_COMPRESSED } else { MAX_BYTES + 64 * 1024 };
    let bytes = body::read(request.into_body(), limit).await?;
    let identity = device.identity.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let bytes = if packed { unpack(&bytes)? } else { bytes.to_vec() };
        let batch: PushBatch<'_> = serde_json::from_slice(&bytes).map_err(|fault| body::malformed(&fault))?;
        Ok::<_, Refusal>(Batch::check(&identity, boot, &batch)?)
    });
    let batch = checked.await.map_err(|fault| Refusal::internal(&fault))??;
    Ok(axum::Json(device.facility.push(&device.identity, batch).await?))
}

/// A device's JSON message: fields that this server does not know are of a newer agent, and left alone.
pub struct Tolerant<T>(T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Tolerant<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        body::must_be_json(request.headers())?;
        let bytes = body::read(request.into_body(), body::MAX_JSON).await?;
        body::parse(&bytes).map(Self)
    }
}

/// Counts a key that was never seen before against the address it came from.
fn count_newcomer(tries: &Tries, client: &Client, now: Timestamp) -> Answer<()> {
    let address = client.ip.map(|ip| format!("enroll {ip}")).unwrap_or_default();
    if let Some(until) = tries.locked(&address, NEW_KEYS, now) {
        let words = format!("Too many new devices from this address; wait until {until}, or use tokens.");
        let wait = until.since(now).as_secs().max(1);
        return Err(Refusal::new(ProblemKind::TooManyTries, words).retry_after(wait));
    }
    tries.fail(&address, NEW_KEYS, now);
    Ok(())
}

/// Refuses a text that no device says of itself. An empty one is fine: a host may have no name.
fn check_texts(said: &[(&str, &str, usize)]) -> Answer<()> {
    let wrong = said.iter().filter(|(_, text, most)| !is_text(text, *most));
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
    match addresses.iter().position(|address| !is_text(address, MAX_ADDRESS)) {
        Some(n) => Err(Refusal::field(&format!("mac_addresses[{n}]"), "send it as 02:00:5e:10:00:01")),
        None => Ok(()),
    }
}

fn is_text(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

fn boot_of(headers: &HeaderMap) -> Option<BootId> {
    headers.get(BOOT_HEADER)?.to_str().ok()?.parse().ok()
}

fn is_zstd(encoding: Option<&HeaderValue>) -> Answer<bool> {
    match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"zstd") => Ok(true),
        Some(_) => Err(Refusal::new(
            ProblemKind::UnsupportedMediaType,
            "Send the batch as it is, or with Content-Encoding: zstd.",
        )),
    }
}

/// Unpacks a batch, and not a byte more than a batch may have.
fn unpack(packed: &[u8]) -> Answer<Vec<u8>> {
    use std::io::Read as _;
    let broken = |_| Refusal::new(ProblemKind::Malformed, "The body is not zstd; send it again.");
    let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(broken)?;
    decoder.window_log_max(23).map_err(broken)?;
    let most = MAX_BYTES + 64 * 1024;
    let mut plain = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut plain).map_err(broken)?;
    if plain.len() > most { Err(too_large()) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn one_address_brings_a_hundred_new_keys_in_a_while_and_others_are_not_held_up() {
        let tries = Tries::default();
        let from = |last| Client {
            ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))),
            user_agent: None,
            endpoint: String::new(),
        };
        let now = Timestamp::from_millis(1_777_622_400_000);
        for _ in 0..100 {
            count_newcomer(&tries, &from(1), now).unwrap();
        }
        let refused = count_newcomer(&tries, &from(1), now).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::TooManyTries));
        count_newcomer(&tries, &from(2), now).unwrap();
        count_newcomer(&tries, &from(1), now.after(Duration::from_secs(15 * 60))).unwrap();
    }

    #[test]
    fn what_a_device_says_of_itself_is_bounded() {
        check_texts(&[("hostname", "", MAX_HOSTNAME), ("agent_version", "0.1.0", MAX_VERSION)]).unwrap();
        let long = "h".repeat(254);
        let refused = check_texts(&[("hostname", &long, MAX_HOSTNAME)]).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::Invalid));
        assert!(format!("{refused:?}").contains("hostname"), "{refused:?}");
        assert!(check_texts(&[("agent_version", "0.1\n", MAX_VERSION)]).is_err());
        let mut many = vec!["02:00:5e:10:00:01".to_owned(); 40];
        check_addresses(&mut many).unwrap();
        assert_eq!(many.len(), 32);
        let refused = check_addresses(&mut vec![many[0].clone(), long]).unwrap_err();
        assert!(format!("{refused:?}").contains("mac_addresses[1]"), "{refused:?}");
    }
}
