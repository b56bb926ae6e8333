//! `Idempotency-Key`: a POST that comes again with its key is not done again, and is answered as it was.
//!
//! Which requests were done is written in the transactions that do them ([`IdempotentRequest`]). An answer may hold a
//! token or a recovery key, which the server does not keep: it is sealed with the client's own key, of which the server
//! keeps a hash alone.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::change::PayloadHash;
use carepost_protocol::id::{FacilityId, PatientId};
use carepost_protocol::wire::problem::ProblemKind;
use http::header::{CONTENT_TYPE, ETAG};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::App;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::http::body::{self, MAX_JSON};
use crate::http::route::Route;
use crate::http::tenant;
use crate::in_progress::InProgress;
use crate::operations::person::{Person, TenantClaim};
use crate::quota::Asker;
use crate::store::{IdempotencyState, IdempotentRequest, StoreError};

/// The header that names a request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long a key is: nobody else's guess, and no more to hash than that.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=128;
/// The largest answer that is kept.
const MOST: usize = 1024 * 1024;

/// A request that is to be done once, and what seals its answer.
struct Asked {
    request: IdempotentRequest,
    seal: Zeroizing<[u8; 32]>,
}

/// The residents whom an answer shows, and where they are. An answer that is given again is a look at them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Residents(pub Vec<(PatientId, FacilityId)>);

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    residents: Residents,
    etag: Option<String>,
    body: Zeroizing<String>,
}

/// The layer of a route that is done once for a key.
pub async fn layer(
    State((app, route)): State<(App, &'static Route)>,
    request: Request,
    next: Next,
) -> Response {
    once(app, route, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn once(app: App, route: &'static Route, request: Request, next: Next) -> Answer<Response> {
    let Some(key) = key(request.headers())? else { return Ok(next.run(request).await) };
    if route.method != Method::POST {
        let words = "only a POST takes one: this can be sent again as it is";
        return Err(Refusal::field(IDEMPOTENCY_KEY.as_str(), words));
    }
    let (mut parts, content) = request.into_parts();
    let mut share = app.quotas.share(Asker::of(&parts.extensions));
    let bytes = body::read(content, MAX_JSON, &mut share).await?;
    let person = parts.extensions.get::<Person>().cloned();
    // A person's is in whose key it is.
    let place = match &person {
        Some(_) => TenantClaim::Nothing,
        None => tenant::claimed(&app, &parts).await?,
    };
    let asked = Asked::of(person.as_ref(), &key, &place, parts.uri.path(), &bytes);
    let _begun = InProgress::begin(&app.idempotent_in_progress, asked.request.id)?;
    let by = person.as_ref().map(|person| person.actor().user);
    if let Some(sealed) = known(app.store.system().idempotency_state(asked.request, by).await?)? {
        let (response, residents) = asked.open(sealed)?;
        if let Some(person) = &person {
            seen_again(person, route, residents).await?;
        }
        return Ok(response);
    }
    parts.extensions.insert(asked.request);
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    asked.keep(&app, response).await
}

/// Writes down that an answer is given again, and who is seen by that.
async fn seen_again(person: &Person, route: &Route, Residents(residents): Residents) -> Answer<()> {
    let event = person.event(AuditEventType::ApiAccess, AuditAction::Execute, route.resource());
    let look = |(patient, facility)| {
        let event = person.event(AuditEventType::PhiAccess, AuditAction::View, "patient");
        event.patient(patient, facility)
    };
    let looks = residents.into_iter().map(look);
    person.write_all(looks.chain([event.detail("what", "repeated")]).collect()).await
}

/// The key that a request's head names; none where it names none.
fn key(headers: &HeaderMap) -> Answer<Option<Zeroizing<String>>> {
    let mut named = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = named.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| LENGTH.contains(&text.len()) && named.next().is_none());
    let words = "give one of 16 to 128 characters, such as a random UUID, once";
    let text = text.ok_or_else(|| Refusal::field(IDEMPOTENCY_KEY.as_str(), words))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// The answer that was given, sealed; none where the request is new.
fn known(state: IdempotencyState) -> Answer<Option<Vec<u8>>> {
    match state {
        IdempotencyState::New => Ok(None),
        IdempotencyState::Done(Some(sealed)) => Ok(Some(sealed)),
        IdempotencyState::Done(None) => Err(Refusal::new(
            ProblemKind::IdempotencyKeyInUse,
            "This was done, and the answer could not be kept: look at what is there.",
        )),
        IdempotencyState::Reused => Err(Refusal::new(
            ProblemKind::IdempotencyKeyReused,
            "Another request was done with this key; draw a new one for each that is meant.",
        )),
        IdempotencyState::Full => Err(StoreError::TooManyKeys.into()),
    }
}

impl Asked {
    /// Whoever has other rights by now asks for something else, and is not shown what the rights of before showed.
    /// What is asked for is hashed with the key: without it nobody finds by trying what the password was.
    fn of(person: Option<&Person>, key: &str, place: &TenantClaim, path: &str, bytes: &[u8]) -> Self {
        let whose = person.map(Person::principal).unwrap_or_default();
        let hash_with = |what: &str, more: &[u8]| {
            let text = Zeroizing::new(format!("{what}\0{whose}\0{key}\0"));
            let text = Zeroizing::new([text.as_bytes(), more].concat());
            *PayloadHash::of(&text).as_bytes()
        };
        let hash = |what: &str| hash_with(what, b"");
        let mut id = [0; 16];
        id.iter_mut().zip(hash("carepost idempotency key")).for_each(|(to, from)| *to = from);
        let place = match place {
            TenantClaim::Nothing => String::new(),
            TenantClaim::One(organization) => organization.id.to_string(),
            TenantClaim::Nonsense(said) => format!("no organization: {said}"),
        };
        let request = Zeroizing::new([place.as_bytes(), b"\0", path.as_bytes(), b"\0", bytes].concat());
        let request_sha256 = hash_with("carepost idempotency request", &request);
        let seal = Zeroizing::new(hash("carepost idempotency answer"));
        Self { request: IdempotentRequest { id, request_sha256 }, seal }
    }

    /// Keeps the answer of what was done. Where it cannot be kept it is given all the same: asked again, the server
    /// says that it was done.
    async fn keep(&self, app: &App, response: Response) -> Answer<Response> {
        if !response.status().is_success() {
            return Ok(response);
        }
        let (parts, content) = response.into_parts();
        let bytes = to_bytes(content, MOST).await.map_err(|fault| Refusal::internal(&fault))?;
        let sealed = self.sealed(&parts, &bytes);
        let kept = match sealed {
            Some(sealed) => app.store.system().keep_answer(self.request, sealed).await,
            None => Ok(()),
        };
        if let Err(fault) = kept {
            tracing::warn!(%fault, "the answer to a request with a key is not kept");
        }
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    fn sealed(&self, parts: &Parts, bytes: &Bytes) -> Option<Vec<u8>> {
        let residents = parts.extensions.get::<Residents>().cloned().unwrap_or_default();
        let etag = parts.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = Zeroizing::new(String::from_utf8(bytes.to_vec()).ok()?);
        let kept = Kept { status: parts.status.as_u16(), residents, etag, body };
        let mut sealed = serde_json::to_vec(&kept).ok()?;
        let nonce: [u8; NONCE_LEN] = clock::random();
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .ok()?;
        sealed.extend(nonce);
        Some(sealed)
    }

    fn open(&self, mut sealed: Vec<u8>) -> Answer<(Response, Residents)> {
        let kept = self.opened(&mut sealed);
        let kept = kept.ok_or_else(|| Refusal::internal(&"a kept answer cannot be opened"))?;
        let mut response = Response::new(Body::from(kept.body.as_bytes().to_vec()));
        *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        headers.extend(kept.etag.and_then(|tag| Some((ETAG, tag.parse().ok()?))));
        Ok((response, kept.residents))
    }

    fn opened(&self, sealed: &mut Vec<u8>) -> Option<Kept> {
        let nonce = sealed.split_off(sealed.len().checked_sub(NONCE_LEN)?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let plain = self.cipher()?.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &*self.seal).ok().map(LessSafeKey::new)
    }
}
