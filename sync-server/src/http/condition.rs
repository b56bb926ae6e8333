//! `ETag` and `If-Match`: a change, be it an edit or an act, may say which version it was made for. What is another by
//! then is not changed, and the answer (412) shows it as it is, with its ETag.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use carepost_protocol::wire::problem::ProblemKind;
use http::header::{ETAG, IF_MATCH};
use http::{Extensions, HeaderMap, HeaderValue, Uri};
use tower::ServiceExt as _;

use crate::error::{Answer, Refusal};
use crate::http::body::MAX_JSON;
use crate::store::{Expected, Version};

/// The most versions that a change names.
const MOST: usize = 16;

/// A version as an ETag.
#[must_use]
pub fn tag(version: Version) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{version}\"")).ok()
}

/// The layer of a route that binds a change to the version that its request names; with what shows the thing that it
/// changes, where it changes one.
pub async fn layer(State(shows): State<Option<MethodRouter>>, mut request: Request, next: Next) -> Response {
    let expected = match (expected(request.headers()), &shows) {
        (Err(refusal), _) => return refusal.into_response(),
        (Ok(Some(_)), None) => {
            let words = "this endpoint changes no version of anything; send it without";
            return Refusal::field(IF_MATCH.as_str(), words).into_response();
        }
        (Ok(expected), _) => expected.unwrap_or_default(),
    };
    request.extensions_mut().insert(expected);
    let Some(shows) = shows else { return next.run(request).await };
    let asked = (request.uri().clone(), request.extensions().clone());
    let mut response = next.run(request).await;
    let changed = |refusal: &&Refusal| refusal.kind() == Some(ProblemKind::Changed);
    let refusal = response.extensions().get::<Refusal>().filter(changed).cloned();
    if let Some(refusal) = refusal {
        response.extensions_mut().insert(showing(refusal, shows, asked).await);
    }
    response
}

/// What the head of a request says of the version; none where it says nothing.
fn expected(headers: &HeaderMap) -> Answer<Option<Expected>> {
    let mut versions = Vec::new();
    for value in headers.get_all(IF_MATCH) {
        for tag in value.to_str().map_err(|_| unreadable())?.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(Some(Expected::Any));
            }
            let (is_weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
            let text =
                quoted.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(unreadable)?;
            // One that is weak, or no version of this server's, is that of nothing as it is.
            versions.extend(text.parse::<Version>().ok().filter(|_| !is_weak));
            if versions.len() > MOST {
                return Err(unreadable());
            }
        }
    }
    Ok(headers.contains_key(IF_MATCH).then_some(Expected::OneOf(versions)))
}

fn unreadable() -> Refusal {
    Refusal::field(IF_MATCH.as_str(), "give the ETag that the thing was shown with, in its quotes, or *")
}

/// The refusal with the thing as it is now, where whoever asks may see it.
async fn showing(refusal: Refusal, shows: MethodRouter, (uri, extensions): (Uri, Extensions)) -> Refusal {
    let mut request = Request::new(Body::empty());
    (*request.uri_mut(), *request.extensions_mut()) = (uri, extensions);
    let Ok(shown) = shows.oneshot(request).await;
    let tag = shown.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
    let Some(version) = tag.and_then(|tag| tag.trim_matches('"').parse().ok()) else { return refusal };
    let Ok(bytes) = to_bytes(shown.into_body(), MAX_JSON).await else { return refusal };
    refusal.showing(serde_json::from_slice(&bytes).ok(), version)
}
