//! The guard before every page: no other web page, and no name that was rebound to this machine, may
//! read or drive the kiosk.
//!
//! A browser tells where a request comes from in headers that a page cannot forge. The guard believes
//! those, and besides demands for everything that changes something a cookie that only the kiosk's own
//! pages bring along.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};

use super::page;

/// The largest form the kiosk takes, in bytes: a hundred fields of text at their longest, encoded.
pub const MAX_BODY: usize = 256 * 1024;
/// How long a form may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(15);

/// By which names the kiosk is asked, and which cookie its own pages bring.
#[derive(Debug)]
pub struct KioskConfig {
    hosts: [String; 3],
    cookie: String,
    token: SecretString,
}

impl KioskConfig {
    /// For the address the kiosk listens on, with 32 random bytes that this boot of the agent drew.
    ///
    /// The cookie's name carries the port, because browsers share cookies between the ports of a host.
    #[must_use]
    pub fn new(bound: SocketAddr, boot: &[u8; 32]) -> Self {
        let port = bound.port();
        let token: String = boot.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            hosts: ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}")),
            cookie: format!("carepost_{port}"),
            token: token.into(),
        }
    }

    fn brings_token(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')).any(
            |(name, value)| {
                name == self.cookie && same(value.as_bytes(), self.token.expose_secret().as_bytes())
            },
        )
    }

    fn set_cookie(&self) -> Option<HeaderValue> {
        let token = self.token.expose_secret();
        let line = format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", self.cookie);
        let mut value = HeaderValue::try_from(line).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    #[error("This is not the kiosk's address. Open the kiosk at 127.0.0.1 on this device.")]
    OtherName,
    #[error("Another page asked for this, so it was not done. Use the kiosk's own pages.")]
    OtherPage,
    #[error(
        "The kiosk has restarted since this page was opened, so nothing was done. Begin at the start page."
    )]
    OtherBoot,
    #[error("This is more than a form holds, so nothing was saved. Shorten the longest answer.")]
    TooLarge,
    #[error("The form did not arrive whole, so nothing was saved. Send it again.")]
    Incomplete,
}

impl Turned {
    const fn status(self) -> StatusCode {
        match self {
            Self::OtherName => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherPage | Self::OtherBoot => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl IntoResponse for Turned {
    fn into_response(self) -> Response {
        page::refusal(self.status(), &self.to_string())
    }
}

/// Lets the kiosk's own pages through, turns everything else away, and puts on every answer the
/// headers that keep it on this screen.
pub(super) async fn stand(State(config): State<Arc<KioskConfig>>, request: Request, next: Next) -> Response {
    let known = config.brings_token(request.headers());
    let admitted = match admit(&config, &request) {
        Ok(()) => whole(request).await,
        Err(turned) => Err(turned),
    };
    let mut response = match admitted {
        Ok(request) => {
            let mut response = next.run(request).await;
            if !known && let Some(cookie) = config.set_cookie() {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            response
        }
        Err(turned) => turned.into_response(),
    };
    seal(response.headers_mut());
    response
}

fn admit(config: &KioskConfig, request: &Request) -> Result<(), Turned> {
    let headers = request.headers();
    let host = asked_host(request).ok_or(Turned::OtherName)?;
    if !config.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(&host)) {
        return Err(Turned::OtherName);
    }
    let site = text(headers, "sec-fetch-site");
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let from_here = matches!(site, None | Some("same-origin" | "none"));
    if !from_here && (!safe || !is_visit(request)) {
        return Err(Turned::OtherPage);
    }
    if safe {
        return Ok(());
    }
    let own_page = match headers.get(ORIGIN) {
        Some(origin) => origin.as_bytes().eq_ignore_ascii_case(format!("http://{host}").as_bytes()),
        None => site == Some("same-origin"),
    };
    if !own_page {
        return Err(Turned::OtherPage);
    }
    if config.brings_token(headers) { Ok(()) } else { Err(Turned::OtherBoot) }
}

/// The one name the request asks for: HTTP/2's authority or an absolute target, and the Host header
/// where there is one; none when they differ or are missing.
fn asked_host(request: &Request) -> Option<String> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = named.next().map(|value| value.to_str().map(str::to_owned));
    if named.next().is_some() {
        return None;
    }
    match (request.uri().authority().map(ToString::to_string), header) {
        (Some(authority), Some(Ok(host))) if authority.eq_ignore_ascii_case(&host) => Some(host),
        (Some(authority), None) => Some(authority),
        (None, Some(Ok(host))) => Some(host),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Whether a person follows a link from elsewhere to the start page in a window of its own. The page
/// it comes from can neither read the window nor reach into it (COOP).
fn is_visit(request: &Request) -> bool {
    request.uri().path() == "/"
        && text(request.headers(), "sec-fetch-mode") == Some("navigate")
        && text(request.headers(), "sec-fetch-dest") == Some("document")
}

/// The request with its body read, within bounds of size and time.
async fn whole(request: Request) -> Result<Request, Turned> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(_)) => Err(Turned::TooLarge),
        Err(_) => Err(Turned::Incomplete),
    }
}

/// Whether a person's own touch on one of the kiosk's pages sent this request, as browsers tell.
pub(super) fn is_touch(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-user") == Some("?1") && text(headers, "sec-fetch-site") == Some("same-origin")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"))
}

/// `same-origin` and not `no-referrer`: under the latter browsers hide the origin of a page's own
/// forms, and the guard would turn them away. No page links elsewhere, so nothing leaves either way.
const SEALS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn seal(headers: &mut HeaderMap) {
    for (name, value) in SEALS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Compares in a time that does not tell how far the two agree.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
