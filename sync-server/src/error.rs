//! Every error the API answers with, as a problem document (RFC 9457).
//!
//! A handler returns a [`Refusal`]. The outermost layer renders it together with the request's id,
//! and turns what the framework refuses by itself (404, 405, 413, 415, panics) into the same form.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::id::RequestId;
use carepost_protocol::record::Collection;
use carepost_protocol::role::Denied;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::{MEDIA_TYPE, Problem, ProblemKind};
use carepost_protocol::workflow::FieldError;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::clock;
use crate::password::PasswordError;
use crate::store::StoreError;

/// The header that names a request in the server's logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Seconds after which a device comes again that began too many lives.
const PATIENCE: u64 = 15 * 60;

/// Why a request was not done.
#[derive(Debug, Clone)]
pub struct Refusal {
    problem: Box<Problem>,
    retry_after: Option<u64>,
}

/// What a handler answers.
pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// A refusal of a kind, with what went wrong this time and what to do about it.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let mut problem = Box::new(kind.because(detail));
        problem.problem_type = kind.uri();
        Self { problem, retry_after: None }
    }

    /// There is no such thing, or it is another tenant's: both read alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            ProblemKind::NotFound,
            "There is no such thing in your scope: check the id, and for which organization you ask.",
        )
    }

    /// Fields that break a rule.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let mut refusal =
            Self::new(ProblemKind::Invalid, format!("Correct these fields: {}.", named.join(", ")));
        refusal.problem.errors = errors;
        refusal
    }

    /// One field that breaks a rule.
    #[must_use]
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), detail: detail.into() }])
    }

    /// The server broke: the fault goes to its log, not to the asker.
    #[must_use]
    pub fn internal(fault: &dyn std::fmt::Display) -> Self {
        tracing::error!(%fault, "a request failed");
        Self::new(ProblemKind::Internal, "The server could not finish this request.")
    }

    /// Whoever asks has tried too often: says why, and until when to wait.
    #[must_use]
    pub fn too_many_tries(why: &str, until: Timestamp) -> Self {
        let wait = until.since(clock::now()).as_secs().max(1);
        Self::new(ProblemKind::TooManyTries, format!("{why}; wait until {until}.")).retry_after(wait)
    }

    /// The same refusal, with when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same refusal, with the number that a chain continues at, and with the last that is shared where
    /// the server has another history.
    #[must_use]
    pub fn expecting(mut self, next_n: u64, shared_n: Option<u64>) -> Self {
        self.problem.next_n = Some(next_n);
        self.problem.shared_n = shared_n;
        self
    }

    /// The database's disk is full.
    #[must_use]
    pub fn full() -> Self {
        let words =
            "The server cannot store anything: its disk is full. Have its administrator free some space.";
        Self::new(ProblemKind::Unavailable, words).retry_after(5)
    }

    /// The same refusal, naming a field.
    #[must_use]
    pub fn naming(mut self, error: FieldError) -> Self {
        self.problem.errors.push(error);
        self
    }

    /// The problem document, but for the request's id.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The kind of problem.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        self.problem.kind()
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn render(mut self, request: RequestId) -> Response {
        let status = self.status();
        self.problem.request_id = Some(request.to_string());
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::OutOfScope => Self::not_found(),
            Denied::Role => Self::new(
                ProblemKind::Forbidden,
                "Your role does not allow this; ask an administrator of your organization.",
            ),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(fault: StoreError) -> Self {
        let said = fault.to_string();
        match fault {
            // Not what the store says of it: a foreign and a missing id must read alike.
            StoreError::NotFound(_) => Self::not_found(),
            // The field and no more: whose the value is may be out of the asker's sight.
            StoreError::Conflict(field) => Self::new(ProblemKind::Conflict, said)
                .naming(FieldError { field: field.to_owned(), detail: "is taken".to_owned() }),
            StoreError::Admitted(_) => StoreError::Conflict("mrn").into(),
            StoreError::NotTheirs => Self::new(ProblemKind::Forbidden, said),
            StoreError::Invalid { field, detail } => Self::field(field, detail),
            StoreError::WrongCode => Self::new(ProblemKind::Invalid, said),
            StoreError::TooManyTries { until } => Self::too_many_tries("Too many wrong tries", until),
            StoreError::TooManyLives { .. } => {
                Self::new(ProblemKind::TooManyTries, said).retry_after(PATIENCE)
            }
            StoreError::ChainBroken { next_n, shared_n } => {
                Self::new(ProblemKind::ChainBroken, said).expecting(next_n, shared_n)
            }
            StoreError::DeviceRevoked => Self::new(ProblemKind::DeviceRevoked, said),
            StoreError::BadSignature => Self::new(ProblemKind::Malformed, said).naming(FieldError {
                field: "signature".to_owned(),
                detail: "not this device's key".to_owned(),
            }),
            StoreError::TooLarge { collection, .. } => {
                let is_form = collection == Collection::Workflows;
                Self::field(if is_form { "fields" } else { collection.name() }, &said)
            }
            StoreError::OverBudget { .. } => Self::new(ProblemKind::OverBudget, said),
            StoreError::CursorRefused { expects } => {
                let mut refusal = Self::new(ProblemKind::CursorRefused, said);
                refusal.problem.expects = expects;
                refusal
            }
            StoreError::Full => {
                tracing::error!("the store could not take a write: the database's disk is full");
                Self::full()
            }
            StoreError::NotDurable(_) | StoreError::Closed => {
                tracing::error!(%said, "the store could not take a write");
                Self::new(ProblemKind::Unavailable, "The server cannot store anything right now.")
                    .retry_after(5)
            }
            StoreError::WrongKey(_)
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::ChangedMigration(_)
            | StoreError::Broken
            | StoreError::NoRandomness
            | StoreError::Unreadable(_)
            | StoreError::Engine(_) => Self::internal(&said),
        }
    }
}

impl From<PasswordError> for Refusal {
    fn from(fault: PasswordError) -> Self {
        match fault {
            PasswordError::Busy => {
                let words =
                    "Too many passwords and PINs are checked or set at once; send it again in a moment.";
                Self::new(ProblemKind::Unavailable, words).retry_after(5)
            }
            PasswordError::Argon2(fault) => Self::internal(&fault),
        }
    }
}

/// The outermost layer: gives each request an id, logs its end without what it carried, and renders
/// every error as a problem document.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let id = RequestId::new(clock::now(), clock::random());
    request.extensions_mut().insert(id);
    let method = request.method().clone();
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

fn render(mut response: Response, id: RequestId) -> Response {
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        return refusal.render(id);
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    // The framework's own refusals; what they say in their headers (Allow, say) is kept.
    let kept = std::mem::take(response.headers_mut());
    let mut rendered = of_framework(status).render(id);
    for (name, value) in &kept {
        if name == http::header::ALLOW {
            rendered.headers_mut().insert(name.clone(), value.clone());
        }
    }
    rendered
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

/// The body is larger than the endpoint takes.
#[must_use]
pub fn too_large() -> Refusal {
    Refusal::new(ProblemKind::TooLarge, "The body is larger than this endpoint takes.")
}

/// The body is not of a type the endpoint takes.
#[must_use]
pub fn unsupported_media_type() -> Refusal {
    Refusal::new(
        ProblemKind::UnsupportedMediaType,
        "Send the body as application/json (the sync endpoints also take Content-Encoding: zstd).",
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_now_says_what_to_do() {
        let said = |refusal: Refusal| refusal.problem().detail.clone();
        assert!(said(StoreError::Full.into()).contains("free some space"));
        let busy = said(PasswordError::Busy.into());
        assert!(busy.contains("PIN") && busy.contains("again"), "{busy}");
    }
}
