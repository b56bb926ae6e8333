//! Request bodies: bounded, counted before they are held or anything is made of them, and read in bounded time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, OptionalFromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use carepost_protocol::wire::problem::ProblemKind;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::error::{Answer, Refusal, too_large, unsupported_media_type};
use crate::http::encoding::Encoding;
use crate::http::json;
use crate::quota::{Asker, Share};

/// The most bytes of a person's request, and of most of a device's.
pub const MAX_JSON: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(30);
/// What the smallest map of parsed JSON takes, and what any value does.
const MAP: usize = 704;
const VALUE: usize = 64;

/// A person's JSON request, and what it takes in memory, counted until it is answered. Unknown, missing and wrong
/// fields are refused by name.
#[derive(Debug)]
pub struct Json<T>(pub T, pub Share);

/// A device's JSON message, likewise: fields that this server does not know are of a newer agent, and left alone.
#[derive(Debug)]
pub struct Tolerant<T>(pub T, pub Share);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Answer<Self> {
        Self::within(MAX_JSON, request, app).await
    }
}

impl<T: DeserializeOwned> OptionalFromRequest<App> for Json<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Answer<Option<Self>> {
        let (parts, body) = request.into_parts();
        sent(&parts, body, app).await
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Tolerant<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Answer<Self> {
        let (text, share) = text(request, app, MAX_JSON).await?;
        json::tolerant(&text).map(|message| Self(message, share))
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// One of at most `limit` bytes, packed and unpacked.
    ///
    /// # Errors
    /// As [`packing`], [`read`], [`unpacked`] and [`json::strict`].
    pub async fn within(limit: usize, request: Request, app: &App) -> Answer<Self> {
        let (text, share) = text(request, app, limit).await?;
        json::strict(&text).map(|asked| Self(asked, share))
    }
}

/// What there is to say in a request that takes no body.
#[derive(Deserialize)]
struct Nothing {}

/// The layer of a route that takes no body: what is sent all the same is read as one without members, so that nobody
/// takes for heard what was not.
pub async fn nothing(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match sent::<Nothing>(&parts, body, &app).await {
        Ok(_) => next.run(Request::from_parts(parts, Body::empty())).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// None where nothing was sent, which for some is known only at the end: what came without the header that says what it
/// is does not go unread.
async fn sent<T: DeserializeOwned>(parts: &Parts, body: Body, app: &App) -> Answer<Option<Json<T>>> {
    let mut share = app.quotas.share(Asker::of(&parts.extensions));
    let bytes = read(body, MAX_JSON, &mut share).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = unpacked(bytes, packing(&parts.headers)?, MAX_JSON, &mut share).await?;
    json::strict(&text).map(|asked| Some(Json(asked, share)))
}

async fn text(request: Request, app: &App, limit: usize) -> Answer<(Bytes, Share)> {
    let encoding = packing(request.headers())?;
    let mut share = app.quotas.share(Asker::of(request.extensions()));
    let bytes = read(request.into_body(), limit, &mut share).await?;
    Ok((unpacked(bytes, encoding, limit, &mut share).await?, share))
}

/// How a body is packed, which has to say that it is JSON.
///
/// # Errors
/// `unsupported-media-type` where it does not, `unsupported-encoding` as [`Encoding::of`].
pub fn packing(headers: &HeaderMap) -> Answer<Encoding> {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(unsupported_media_type());
    }
    Encoding::of(headers)
}

/// Reads a body of at most `limit` bytes, of a share of all that is under way.
///
/// # Errors
/// `too-large`, `unavailable` when too much is under way, or `malformed` when it breaks off or takes too
/// long.
pub async fn read(body: Body, limit: usize, share: &mut Share) -> Answer<Bytes> {
    let read = tokio::time::timeout(BODY, collect(body, limit, share)).await;
    read.unwrap_or_else(|_| Err(broken()))
}

async fn collect(mut body: Body, limit: usize, share: &mut Share) -> Answer<Bytes> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(too_large());
        }
        share.take(data.len()).await?;
        // Most come in one piece, which is taken as it is.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn broken() -> Refusal {
    Refusal::new(ProblemKind::Malformed, "The body broke off or took too long; send it again.")
}

/// The text of a JSON body, of at most `limit` bytes, counted with what is made of it.
///
/// # Errors
/// As [`Encoding::unpack`] and [`Share::take`].
pub async fn unpacked(bytes: Bytes, encoding: Encoding, limit: usize, share: &mut Share) -> Answer<Bytes> {
    let text = encoding.unpack(bytes, limit, share).await?;
    share.take(appetite(&text)).await?;
    Ok(text)
}

/// What JSON comes to in memory beside its text, at the most: `{"":0}` is six bytes, and a map of its own.
fn appetite(text: &[u8]) -> usize {
    let count = |mark: u8| text.iter().filter(|byte| **byte == mark).count();
    let (maps, values) = (count(b'{'), count(b',') + count(b'['));
    text.len() + maps * MAP + values * VALUE
}
