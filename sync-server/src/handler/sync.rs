//! What devices ask: to be let in, to be heard, to push, to pull and to stay current.

use std::io::Write as _;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{BootId, DeviceId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::BOOT_HEADER;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::{Heartbeat, HeartbeatReply};
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use carepost_protocol::wire::pull::{Cursor, KEEP_ALIVE_SECONDS, MAX_PAGE_DOCUMENTS};
use carepost_protocol::wire::push::{MAX_BYTES, PushBatch, PushReceipt};
use carepost_protocol::workflow::FieldError;
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use utoipa::IntoParams;
use zstd::stream::write::Encoder;

use crate::app::App;
use crate::audit::Client;
use crate::body::{self, Id, Params};
use crate::clock;
use crate::error::{Answer, Refusal, too_large};
use crate::feed::{Listener, Wake};
use crate::guard::{Device, token_sha256};
use crate::store::{Batch, PresentedKey};
use crate::tls::PeerKey;
use crate::tries::{Limit, Tries};

/// The most bytes of a compressed push.
const MAX_COMPRESSED: usize = 2 * 1024 * 1024;
/// zstd's level for what goes down: level 3 halves level 1's bytes on charting data at little cost.
const LEVEL: i32 = 3;
/// The window of the compression, as a power of two: 1 MiB, held for each stream while it catches up and
/// given back once it has.
const WINDOW_LOG: u32 = 20;
/// A chunk smaller than this is packed on the spot.
const SMALL: usize = 32 * 1024;

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
    Id(id): Id<DeviceId>,
    device: Device,
    Tolerant(mut beat): Tolerant<Heartbeat>,
) -> Answer<axum::Json<HeartbeatReply>> {
    if id != device.identity.device() {
        return Err(Refusal::not_found());
    }
    check_texts(&[("agent_version", &beat.agent_version, MAX_VERSION)])?;
    check_addresses(&mut beat.mac_addresses)?;
    device.facility.heartbeat(&device.identity, &beat);
    let settled = device.facility.settled(id, beat.refused).await?;
    Ok(axum::Json(HeartbeatReply { server_time: clock::now(), state: DeviceState::Active, settled }))
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

/// Where to pull from; neither is the beginning.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct From {
    /// The cursor's epoch.
    epoch: Option<u64>,
    /// The cursor's place.
    seq: Option<u64>,
}

/// Sends the pages from a cursor up to the head of the feed, as NDJSON.
#[utoipa::path(get, path = "/api/v1/sync/pull", operation_id = "pull", tag = "sync", params(From),
    responses((status = 200, content_type = "application/x-ndjson", description = "Documents and the ends of pages"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 410, body = Problem)))]
pub async fn pull(
    State(app): State<App>,
    device: Device,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Answer<Response> {
    open(&app, device, from, &headers, Until::Head).await
}

/// Sends the pages from a cursor and stays open: each page as it is committed, and a keep-alive when
/// nothing happens.
#[utoipa::path(get, path = "/api/v1/sync/live", operation_id = "live", tag = "sync", params(From),
    responses((status = 200, content_type = "application/x-ndjson", description = "Documents, the ends of pages, keep-alives"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 410, body = Problem)))]
pub async fn live(
    State(app): State<App>,
    device: Device,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Answer<Response> {
    open(&app, device, from, &headers, Until::Closed).await
}

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Head,
    Closed,
}

/// What a stream remembers between pages.
struct Pages {
    app: App,
    device: Device,
    listener: Listener,
    cursor: Option<Cursor>,
    at_head: bool,
    until: Until,
    packer: Packer,
}

async fn open(app: &App, device: Device, from: From, headers: &HeaderMap, until: Until) -> Answer<Response> {
    let cursor = match (from.epoch, from.seq) {
        (None, None) => None,
        (Some(epoch), Some(seq)) => Some(Cursor { epoch, seq }),
        (Some(_), None) | (None, Some(_)) => {
            return Err(Refusal::field("seq", "give epoch and seq together, or neither"));
        }
    };
    let zstd =
        headers.get(ACCEPT_ENCODING).is_some_and(|value| value.as_bytes().windows(4).any(|it| it == b"zstd"));
    // Listen first and read after: then no commit falls between the two.
    let listener = app.store.feeds().listen(device.identity.facility(), device.identity.device());
    let mut pages = Pages {
        app: app.clone(),
        device,
        listener,
        cursor,
        at_head: false,
        until,
        packer: Packer { zstd, catching_up: None },
    };
    if !pages.is_still_active().await {
        return Err(Refusal::new(ProblemKind::DeviceRevoked, "An administrator deactivated this device."));
    }
    // The first page is read before anything is answered, so that a cursor that is not served any more
    // is a problem document and not a broken stream.
    let first = pages.page().await?;
    let body = stream::unfold((pages, Some(first)), |(mut pages, first)| async move {
        let next = match first {
            Some(first) => Some(first),
            None => pages.next().await,
        };
        next.map(|chunk| (Ok::<_, std::io::Error>(chunk), (pages, None)))
    });
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if zstd {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    Ok(response)
}

impl Pages {
    /// What goes down next; none ends the stream. An error ends it too: the device comes again and is
    /// told then.
    async fn next(&mut self) -> Option<Bytes> {
        if self.at_head {
            if self.until == Until::Head {
                return None;
            }
            if let Some(alive) = self.wait().await? {
                return Some(alive);
            }
        }
        // A device that is revoked while it catches up gets no further page.
        if self.listener.is_refused() {
            return None;
        }
        self.page().await.ok()
    }

    /// Waits for the feed to move: none inside when it has, a keep-alive when it has not for a while;
    /// none outside when the stream has to close.
    async fn wait(&mut self) -> Option<Option<Bytes>> {
        let patience = Duration::from_secs(KEEP_ALIVE_SECONDS);
        tokio::select! {
            wake = self.listener.wake() => match wake {
                Wake::Moved => Some(None),
                Wake::Refused => None,
            },
            () = self.app.stopping.wait() => None,
            () = tokio::time::sleep(patience) => {
                if !self.is_still_active().await {
                    return None;
                }
                self.device.facility.synced(&self.device.identity);
                let line = format!("{{\"keep_alive\":{{\"server_time\":\"{}\"}}}}\n", clock::now());
                self.packer.pack(line.into_bytes(), true).ok().map(Some)
            }
        }
    }

    /// Whether the device may still work: its state was read before this stream began to listen.
    async fn is_still_active(&self) -> bool {
        let known = self.app.store.system().device_by_key(*self.device.key.sha256()).await;
        matches!(known, Ok(Some(identity)) if identity.state() == DeviceState::Active)
    }

    async fn page(&mut self) -> Answer<Bytes> {
        let page = match self.device.facility.page(self.cursor, MAX_PAGE_DOCUMENTS).await {
            Ok(page) => page,
            Err(fault) => {
                let refusal = Refusal::from(fault);
                if refusal.kind() == Some(ProblemKind::CursorRefused) {
                    self.device.facility.cursor_refused(&self.device.identity);
                }
                return Err(refusal);
            }
        };
        self.cursor = Some(page.end.cursor);
        self.at_head = page.end.reaches_head();
        if self.at_head {
            self.device.facility.synced(&self.device.identity);
        }
        let (mut packer, last) = (std::mem::take(&mut self.packer), self.at_head);
        let small = page.lines.len() < SMALL;
        let pack = move || {
            let packed = packer.pack(page.lines, last);
            (packer, packed)
        };
        let (packer, packed) = if small {
            pack()
        } else {
            tokio::task::spawn_blocking(pack).await.map_err(|fault| Refusal::internal(&fault))?
        };
        self.packer = packer;
        packed.map_err(|fault| Refusal::internal(&fault))
    }
}

/// Packs what goes down. While a device catches up, all pages are one zstd frame, so that the second
/// costs a fraction of the first; once it has, each chunk is a small frame of its own, so that an idle
/// stream holds no compressor.
#[derive(Default)]
struct Packer {
    zstd: bool,
    catching_up: Option<Encoder<'static, Vec<u8>>>,
}

impl Packer {
    /// Packs a chunk so that all of it can be read at the other end; `last` closes the frame.
    fn pack(&mut self, lines: Vec<u8>, last: bool) -> std::io::Result<Bytes> {
        if !self.zstd {
            return Ok(Bytes::from(lines));
        }
        let mut encoder = match self.catching_up.take() {
            Some(encoder) => encoder,
            None if last => return zstd::bulk::compress(&lines, LEVEL).map(Bytes::from),
            None => {
                let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
                encoder.window_log(WINDOW_LOG)?;
                encoder
            }
        };
        encoder.write_all(&lines)?;
        if last {
            return encoder.finish().map(Bytes::from);
        }
        encoder.flush()?;
        let packed = std::mem::take(encoder.get_mut());
        self.catching_up = Some(encoder);
        Ok(Bytes::from(packed))
    }
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
