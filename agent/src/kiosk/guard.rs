//! The request guard: no other web page (CSRF), and no name that was rebound to this machine (DNS rebinding), may
//! read or drive the kiosk.
//!
//! A browser tells where a request comes from in headers that a page cannot forge. The guard believes
//! those, and besides demands a cookie that only the kiosk's own browser has: it gets it for the token of the
//! start page, or for being of the one user who may ask. What names nobody is answered to all.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::owner::Owner;
use super::renderers::shell as page;

/// The largest form the kiosk takes, in bytes: a hundred fields of text at their longest, encoded.
pub const MAX_BODY: usize = 256 * 1024;
/// The port of an address that names none.
const HTTP: u16 = 80;
/// How long a form may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(15);

/// Who may open the kiosk's page, and how.
#[derive(Debug)]
pub struct Doorway {
    /// The user of its browser; the processes of all others are refused.
    pub user: u32,
    /// The token of the start page; each start of the agent has its own.
    pub token: SecretString,
    pub page: PathBuf,
    /// Whether the token is demanded of that user's processes too. It always is where the kernel does not tell
    /// whose a connection is.
    pub demanded: bool,
}

/// By which names the kiosk is asked, by whom, and which cookie its own browser brings.
#[derive(Debug)]
pub struct KioskConfig {
    hosts: Vec<String>,
    cookie: String,
    /// None where nothing opens: then nothing is shown but that, and what a browser was given before stays good.
    secret: Option<SecretString>,
    doorway: Doorway,
}

impl KioskConfig {
    /// For the address the kiosk listens on. The cookie's value is the same at every start, so that an open
    /// page comes back by itself after the agent was restarted.
    ///
    /// The cookie's name carries the port, because browsers share cookies between the ports of a host.
    #[must_use]
    pub fn new(bound: SocketAddr, secret: Option<SecretString>, doorway: Doorway) -> Self {
        let port = bound.port();
        let own = match bound.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let names = ["127.0.0.1", "localhost", "[::1]", &own];
        let mut hosts: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == HTTP {
            // Browsers leave out the port that goes without saying.
            hosts.extend(names.map(str::to_owned));
        }
        Self { hosts, cookie: format!("carepost_{port}"), secret, doorway }
    }

    /// Whether the request comes with the cookie, or with what earns it.
    fn credential(&self, request: &Request, owner: Owner) -> Credential {
        let Some(secret) = &self.secret else { return Credential::New };
        if self.brings_cookie(request.headers(), secret) {
            return Credential::Known;
        }
        if *request.method() != Method::GET {
            return Credential::Unknown;
        }
        let start = Query::<Start>::try_from_uri(request.uri()).ok().and_then(|Query(start)| start.start);
        let token = self.doorway.token.expose_secret();
        match start {
            Some(start) if request.uri().path() == "/" && same(start.as_bytes(), token.as_bytes()) => {
                Credential::Starts
            }
            Some(_) | None if owner == Owner::User(self.doorway.user) && !self.doorway.demanded => {
                Credential::New
            }
            Some(_) | None => Credential::Unknown,
        }
    }

    fn brings_cookie(&self, headers: &HeaderMap, secret: &SecretString) -> bool {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')).any(
            |(name, value)| name == self.cookie && same(value.as_bytes(), secret.expose_secret().as_bytes()),
        )
    }

    fn set_cookie(&self) -> Option<HeaderValue> {
        let secret = self.secret.as_ref()?.expose_secret();
        let line = format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict", self.cookie);
        let mut value = HeaderValue::try_from(line).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What the start page brings along.
#[derive(Deserialize)]
struct Start {
    start: Option<String>,
}

/// What a request shows of whom it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    /// It brings the cookie.
    Known,
    /// It does not, and may have it.
    New,
    /// It brings the token of the start page.
    Starts,
    /// It brings nothing.
    Unknown,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    #[error(
        "This page opens on the kiosk itself, for the user of its browser alone. On a computer of your own, \
         name yourself in kiosk.browser_user in agent.toml and restart the agent."
    )]
    OtherUser,
    #[error("This page opens on the kiosk itself. Begin with its start page: open file://{} there.", .0.display())]
    NotStarted(PathBuf),
    #[error("This is not the kiosk's address. Open the kiosk at 127.0.0.1 on this device.")]
    OtherName,
    #[error("Another page asked for this, so it was not done. Use the kiosk's own pages.")]
    OtherPage,
    #[error("This is more than a form holds, so nothing was saved. Shorten the longest answer.")]
    TooLarge,
    #[error("The form did not arrive whole, so nothing was saved. Send it again.")]
    Incomplete,
}

impl Turned {
    const fn status(&self) -> StatusCode {
        match self {
            Self::OtherName => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherUser | Self::NotStarted(_) | Self::OtherPage => StatusCode::FORBIDDEN,
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
pub(super) async fn check(State(config): State<Arc<KioskConfig>>, request: Request, next: Next) -> Response {
    let owner = request.extensions().get().copied().unwrap_or(Owner::Untold);
    let credential = config.credential(&request, owner);
    let admitted = match admit(&config, &request, owner, credential) {
        Ok(()) => whole(request).await,
        Err(turned) => Err(turned),
    };
    let (mut response, cookie) = match (admitted, credential) {
        (Err(turned), _) => (turned.into_response(), None),
        (Ok(_), Credential::Starts) => (Html(STARTED).into_response(), config.set_cookie()),
        (Ok(request), Credential::New) => (next.run(request).await, config.set_cookie()),
        (Ok(request), Credential::Known | Credential::Unknown) => (next.run(request).await, None),
    };
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    seal(response.headers_mut());
    response
}

/// Leads from the token to the page. A redirect would do so as a part of the visit from outside, to which
/// browsers do not give the cookie.
const STARTED: &str =
    "<!doctype html><title>Carepost</title><meta http-equiv=\"refresh\" content=\"0; url=/\">";

/// What any program of this device may see: it names nobody and shows no resident.
fn is_open(path: &str) -> bool {
    path == "/status.json" || path.starts_with("/assets/")
}

fn admit(
    config: &KioskConfig,
    request: &Request,
    owner: Owner,
    credential: Credential,
) -> Result<(), Turned> {
    let headers = request.headers();
    let host = asked_host(request).ok_or(Turned::OtherName)?;
    if !config.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(&host)) {
        return Err(Turned::OtherName);
    }
    let path = request.uri().path();
    if !is_open(path) && matches!(owner, Owner::User(uid) if uid != config.doorway.user) {
        return Err(Turned::OtherUser);
    }
    let site = text(headers, "sec-fetch-site");
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let from_here = matches!(site, None | Some("same-origin" | "none"));
    if !from_here && (!safe || !is_visit(request)) {
        return Err(Turned::OtherPage);
    }
    if safe && is_open(path) {
        return Ok(());
    }
    if credential == Credential::Unknown {
        return Err(Turned::NotStarted(config.doorway.page.clone()));
    }
    if safe {
        return Ok(());
    }
    let own_page = match headers.get(ORIGIN) {
        Some(origin) => origin.as_bytes().eq_ignore_ascii_case(format!("http://{host}").as_bytes()),
        None => site == Some("same-origin"),
    };
    if own_page { Ok(()) } else { Err(Turned::OtherPage) }
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

/// Whether somebody opens a page, rather than a script fetching it to see what changed.
pub(super) fn opens_a_page(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-dest").is_none_or(|what| what == "document")
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
