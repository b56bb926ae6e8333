//! Problem documents: refusals as HTTP answers them. A handler returns a [`Refusal`]; the outermost layer renders it
//! together with the request's id, and turns what the framework refuses by itself (404, 405, 413, 415, panics) into
//! the same form.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::id::RequestId;
use carepost_protocol::wire::problem::{MEDIA_TYPE, Problem, ProblemKind};
use http::header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::clock;
use crate::error::{Refusal, too_large, unsupported_media_type};
use crate::http::condition;
use crate::http::encoding::TAKEN;

/// The header that names a request in the server's logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = status(&self).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The outermost layer: gives each request an id, logs its end without what it carried, and renders
/// every error as a problem document.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let id = RequestId::new(clock::now(), clock::random());
    request.extensions_mut().insert(id);
    let (method, is_head) = (request.method().clone(), request.method() == Method::HEAD);
    // The path may hold ids but no names and no query; ids of people are not put in logs either.
    let route = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    tracing::info!(
        request_id = %id,
        %method,
        route = route.as_ref().map_or("unmatched", |path| path.as_str()),
        status = status.as_u16(),
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    let mut response = render(response, id);
    if is_head {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("strict-transport-security"),
        HeaderValue::from_static("max-age=31536000"),
    );
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// What a panic is answered with; its text goes to the log only.
#[must_use]
pub fn of_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = text, "a handler panicked");
    Refusal::new(ProblemKind::Internal, "The server could not finish this request.").into_response()
}

fn render(mut response: Response, id: RequestId) -> Response {
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        return document(&refusal, id);
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    // The framework's own refusals; what they say in their headers (Allow, say) is kept.
    let kept = std::mem::take(response.headers_mut());
    let mut rendered = document(&of_framework(status), id);
    for (name, value) in &kept {
        if name == ALLOW {
            rendered.headers_mut().insert(name.clone(), value.clone());
        }
    }
    rendered
}

fn document(refusal: &Refusal, request: RequestId) -> Response {
    let problem = Problem { request_id: Some(request.to_string()), ..refusal.problem().clone() };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(refusal);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(seconds) = refusal.comes_back_in() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(tag) = refusal.version().and_then(condition::tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    if refusal.kind() == Some(ProblemKind::UnsupportedEncoding) {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(TAKEN));
    }
    response
}

/// The status that a refusal is answered with.
fn status(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.problem().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn of_framework(status: StatusCode) -> Refusal {
    match status {
        StatusCode::NOT_FOUND => Refusal::not_found(),
        StatusCode::METHOD_NOT_ALLOWED => Refusal::new(
            ProblemKind::MethodNotAllowed,
            "This path does not take that method; the Allow header says which it takes.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => unsupported_media_type(),
        status if status.is_client_error() => {
            Refusal::new(ProblemKind::Malformed, "The request could not be read.")
        }
        _ => Refusal::internal(&status),
    }
}
