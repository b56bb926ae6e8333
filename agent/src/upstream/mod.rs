//! The upstream: HTTPS to the sync-server, with the device's key as the client certificate.
//!
//! What goes wrong is told apart by what follows from it: [`UpstreamError::Transport`] alone is silence; what answers
//! in the server's place keeps the two apart as well, and is said as such; a refusal comes with the server's problem
//! document; anything else is a broken peer.

mod pages;
mod trust;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use carepost_agent_core::sync::{Distrust, Trouble};
use carepost_protocol::id::{BootId, DeviceId, PatientId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::{Heartbeat, HeartbeatReply};
use carepost_protocol::wire::older::{OlderQuery, OlderRecords};
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use carepost_protocol::wire::pull::SyncPosition;
use carepost_protocol::wire::push::PushReceipt;
use carepost_protocol::wire::{ANSWERED_HEADER, BOOT_HEADER, VERSION, VERSION_HEADER};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Proxy, RequestBuilder, Response, StatusCode, Url};
use rustls::AlertDescription;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use url::{Host, Position};
use zeroize::Zeroizing;

pub use pages::{Oversized, Page, PageStream, StreamEvent};

use crate::clock::Clock;
use crate::config::Server;
use trust::Ends;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may stay silent in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(35);
/// How long a whole exchange, other than a stream, may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of an answer that is not a stream.
const MAX_ANSWER: usize = 1024 * 1024;
/// zstd's fastest level that still halves the bytes of level 1 on charting data.
const ZSTD_LEVEL: i32 = 3;

/// Why an exchange with the server failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The server was not reached, or the connection broke: try again later; work on offline.
    #[error("the server is not reached: {0}")]
    Transport(String),
    /// Something answers there, and its certificate is not one that this device trusts: nothing was sent.
    #[error(
        "the server's certificate is not trusted: {0}. Have server.ca_file name the authority that signed the \
         server's certificate, and the facility's IT see whether something else answers there"
    )]
    NotTrusted(String),
    /// What answers there does not take this device's certificate. A server of Carepost's takes any.
    #[error(
        "this device's certificate is not accepted: {0}. Have the facility's IT see that nothing between this \
         device and its server opens the connection (a balancer or proxy that ends TLS and asks for certificates \
         of its own), and that server.url names the server's port for devices"
    )]
    NotAccepted(String),
    /// What answers there is no server of Carepost's, or a proxy that lets nothing through to one.
    #[error(
        "something answers in the server's place: {0}. Have the facility's IT see what a proxy or balancer in \
         between makes of it, and that server.url names the server's port for devices"
    )]
    Stranger(String),
    /// The server refused: its problem says why.
    #[error("the server refused: {} ({})", .0.detail, .0.status)]
    Refused(Box<Problem>, Option<Duration>),
    /// The answer is not one of this protocol: something else answers at that address, or it is broken.
    #[error("the server's answer makes no sense: {0}. Check server.url and any proxy in between")]
    Nonsense(String),
    /// The client could not be set up at all.
    #[error("cannot set up TLS: {0}. Check server.ca_file and the system's CA certificates")]
    SetUp(String),
}

impl UpstreamError {
    /// The kind of problem, if the server gave one.
    #[must_use]
    pub fn problem(&self) -> Option<ProblemKind> {
        match self {
            Self::Refused(problem, _) => problem.kind(),
            Self::Transport(_)
            | Self::NotTrusted(_)
            | Self::NotAccepted(_)
            | Self::Stranger(_)
            | Self::Nonsense(_)
            | Self::SetUp(_) => None,
        }
    }

    /// What it is to the sync. Only what kept the two from speaking at all means offline.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Transport(_) | Self::NotTrusted(_) | Self::NotAccepted(_) | Self::Stranger(_) => {
                Trouble::Unreachable
            }
            Self::Refused(problem, retry_after) => Trouble::of(problem.status, Some(problem), *retry_after),
            Self::Nonsense(_) | Self::SetUp(_) => Trouble::Broken,
        }
    }

    /// What keeps the two apart, where something answers.
    const fn distrust(&self) -> Option<Distrust> {
        match self {
            Self::NotTrusted(_) => Some(Distrust::Theirs),
            Self::NotAccepted(_) => Some(Distrust::Ours),
            Self::Stranger(_) => Some(Distrust::Stranger),
            Self::Transport(_) | Self::Refused(..) | Self::Nonsense(_) | Self::SetUp(_) => None,
        }
    }
}

/// The device's TLS credentials.
pub struct Credentials {
    /// DER.
    certificate: Vec<u8>,
    /// DER.
    pkcs8: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// From a certificate and its private key in PKCS #8, both DER.
    #[must_use]
    pub fn new(certificate: &[u8], pkcs8: &[u8]) -> Self {
        Self { certificate: certificate.to_vec(), pkcs8: Zeroizing::new(pkcs8.to_vec()) }
    }
}

/// The server, as this device reaches it.
#[derive(Debug, Clone)]
pub struct Upstream {
    http: Client,
    base: Url,
    /// Through which proxy, as it may be told.
    proxy: Option<String>,
    ends: Arc<Ends>,
    distrust: Arc<Mutex<Option<Distrust>>>,
    /// Whether the server has answered the process that speaks as one that knows it. A line made anew for the same
    /// process goes on with it.
    pub(crate) answered: Arc<AtomicBool>,
}

impl Upstream {
    /// A client for the server that is configured, trusted by the certificates in `ca` (PEM) or else by the
    /// system's, and reached through its proxy unless it is this machine; `clock` says when their dates are judged. `boot` names the run of the agent that
    /// speaks; other commands have none.
    ///
    /// # Errors
    /// [`UpstreamError::SetUp`] when the certificates cannot be used.
    pub fn new(
        server: &Server,
        ca: Option<&[u8]>,
        own: &Credentials,
        clock: Arc<Clock>,
        boot: Option<BootId>,
    ) -> Result<Self, UpstreamError> {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_HEADER, HeaderValue::from(VERSION));
        if let Some(boot) = boot {
            let boot = HeaderValue::try_from(boot.to_string());
            headers.insert(BOOT_HEADER, boot.map_err(|error| UpstreamError::SetUp(error.to_string()))?);
        }
        let ends = Arc::<Ends>::default();
        let mut http = Client::builder()
            .tls_backend_preconfigured(trust::tls(ca, own, clock, Arc::clone(&ends))?)
            .https_only(true)
            .user_agent(concat!("carepost-agent/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .http2_initial_stream_window_size(1024 * 1024)
            .http2_initial_connection_window_size(2 * 1024 * 1024)
            .pool_max_idle_per_host(1);
        let set_up = |error: reqwest::Error| UpstreamError::SetUp(in_full(&error.without_url()));
        let proxy = server.proxy.as_ref().filter(|_| !is_loopback(&server.url));
        if let Some(proxy) = proxy {
            http = http.proxy(Proxy::all(proxy.clone()).map_err(set_up)?);
        }
        let http = http.build().map_err(set_up)?;
        let proxy = proxy.map(|proxy| {
            proxy[..Position::BeforeUsername].to_owned() + &proxy[Position::BeforeHost..Position::AfterPort]
        });
        let mut base = server.url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { http, base, proxy, ends, distrust: Arc::default(), answered: Arc::default() })
    }

    /// When the server's certificate ends, where that is within 30 days and it was seen.
    #[must_use]
    pub fn certificate_ends(&self) -> Option<Timestamp> {
        self.ends.soon()
    }

    /// What kept the two apart when something answered last.
    #[must_use]
    pub fn distrust(&self) -> Option<Distrust> {
        *self.distrust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what only a device may ask.
    async fn speak(&self, mut request: RequestBuilder) -> Result<Response, UpstreamError> {
        if self.answered.load(Ordering::Relaxed) {
            request = request.header(ANSWERED_HEADER, "1");
        }
        let answer = self.exchange(request).await;
        // Other refusals may come before the server has noted which process speaks, and a device that said more than
        // the server knows would pass for two.
        let is_noted = match &answer {
            Ok(_) => true,
            Err(refusal) => refusal.problem() == Some(ProblemKind::OverQuota),
        };
        self.answered.fetch_or(is_noted, Ordering::Relaxed);
        answer
    }

    /// Sends a request, takes the answer, and remembers what kept the two apart.
    async fn exchange(&self, request: RequestBuilder) -> Result<Response, UpstreamError> {
        let answer = match self.send(request).await {
            Ok(answer) => accept(answer).await,
            Err(error) => Err(error),
        };
        let distrust = answer.as_ref().err().and_then(UpstreamError::distrust);
        *self.distrust.lock().unwrap_or_else(PoisonError::into_inner) = distrust;
        answer
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, UpstreamError> {
        request.send().await.map_err(|error| {
            let error = error.without_url();
            let mut words = in_full(&error);
            let tls = of_tls(&error);
            let is_distrust = matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
            // Who refuses a certificate may hang up before the reason is read: the last word stands.
            let is_still_refused =
                !error.is_connect() && !error.is_timeout() && self.distrust() == Some(Distrust::Ours);
            // WebPKI's own word for what it is offered most often by a server that was set up by hand.
            if is_distrust && words.contains("CaUsedAsEndEntity") {
                words.push_str(
                    " (that certificate is an authority's own; the server needs one that an authority signed)",
                );
            }
            if let Some(proxy) = &self.proxy {
                words.push_str(&format!(" (through server.proxy, {proxy})"));
            }
            if is_distrust {
                UpstreamError::NotTrusted(words)
            } else if is_refusal(&words) || is_still_refused {
                UpstreamError::NotAccepted(words)
            } else if tls.is_some() || is_closed_proxy(&words) {
                UpstreamError::Stranger(words)
            } else {
                UpstreamError::Transport(words)
            }
        })
    }

    /// Whether something that speaks HTTP answers there, over TLS that this device trusts: what time it
    /// says it is, to the second (RFC 9110, section 6.6.1).
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn reach(&self) -> Result<Option<SystemTime>, UpstreamError> {
        let request = self.http.get(self.url("api/v1/health")?).timeout(EXCHANGE_TIMEOUT);
        let answer = self.send(request).await?;
        let date = answer.headers().get(DATE);
        let time = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        match accept(answer).await {
            Err(stranger @ UpstreamError::Stranger(_)) => Err(stranger),
            Ok(_) | Err(_) => Ok(time),
        }
    }

    /// Asks to be let in, or where that stands.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, UpstreamError> {
        let request = self.posting("api/v1/enroll", request)?;
        read_json(self.exchange(request).await?).await
    }

    /// Says that the device lives and how it is.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn heartbeat(
        &self,
        device: DeviceId,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatReply, UpstreamError> {
        let request = self.posting(&format!("api/v1/devices/{device}/heartbeat"), heartbeat)?;
        read_json(self.speak(request).await?).await
    }

    /// Sends a batch, given as the JSON of a `PushBatch`.
    ///
    /// # Errors
    /// See [`UpstreamError`]; after a transport error the batch may have arrived all the same.
    pub async fn push(&self, batch: &[u8]) -> Result<PushReceipt, UpstreamError> {
        let body = zstd::bulk::compress(batch, ZSTD_LEVEL)
            .map_err(|error| UpstreamError::Nonsense(format!("zstd: {error}")))?;
        let request = self
            .http
            .post(self.url("api/v1/sync/push")?)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "zstd")
            .timeout(EXCHANGE_TIMEOUT)
            .body(body);
        read_json(self.speak(request).await?).await
    }

    /// Opens the stream of documents that stays open: from where the device stands.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn live(&self, position: &SyncPosition) -> Result<PageStream, UpstreamError> {
        let request =
            self.http.get(self.asking("api/v1/sync/live", position)?).header(ACCEPT_ENCODING, "zstd");
        PageStream::new(self.speak(request).await?)
    }

    /// A page of a resident's records that the mirror does not hold. Each is read on its own: this agent may not
    /// understand one that a newer one wrote.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn older_records(
        &self,
        patient: PatientId,
        query: &OlderQuery,
    ) -> Result<OlderRecords<Box<RawValue>>, UpstreamError> {
        let url = self.asking(&format!("api/v1/sync/patients/{patient}/older-records"), query)?;
        read_json(self.speak(self.http.get(url).timeout(EXCHANGE_TIMEOUT)).await?).await
    }

    fn posting(&self, path: &str, body: &impl Serialize) -> Result<RequestBuilder, UpstreamError> {
        let body = serde_json::to_vec(body).map_err(|error| UpstreamError::Nonsense(error.to_string()))?;
        let request = self.http.post(self.url(path)?).header(CONTENT_TYPE, "application/json");
        Ok(request.timeout(EXCHANGE_TIMEOUT).body(body))
    }

    /// An address with the members of a query.
    fn asking(&self, path: &str, query: &impl Serialize) -> Result<Url, UpstreamError> {
        let mut url = self.url(path)?;
        let members = serde_json::to_value(query);
        let members = members.map_err(|error| UpstreamError::Nonsense(error.to_string()))?;
        for (name, value) in members.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            url.query_pairs_mut().append_pair(name, &value);
        }
        Ok(url)
    }

    fn url(&self, path: &str) -> Result<Url, UpstreamError> {
        self.base.join(path).map_err(|error| UpstreamError::SetUp(format!("{path}: {error}")))
    }
}

/// Turns an error status into the problem it carries.
async fn accept(answer: Response) -> Result<Response, UpstreamError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = read_bounded(answer).await?;
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(UpstreamError::Refused(Box::new(problem), retry_after)),
        // A proxy in between answers 502, 429 and the like in its own words: to the device the server is away.
        Err(_) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(UpstreamError::Stranger(format!("status {status} without a problem document")))
        }
        Err(_) => Err(UpstreamError::Nonsense(format!("status {status} without a problem document"))),
    }
}

async fn read_json<T: DeserializeOwned>(answer: Response) -> Result<T, UpstreamError> {
    let zstd = answer.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "zstd");
    let mut body = read_bounded(answer).await?;
    if zstd {
        body = zstd::bulk::decompress(&body, MAX_ANSWER)
            .map_err(|error| UpstreamError::Nonsense(format!("zstd: {error}")))?;
    }
    serde_json::from_slice(&body).map_err(|error| UpstreamError::Nonsense(error.to_string()))
}

async fn read_bounded(mut answer: Response) -> Result<Vec<u8>, UpstreamError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(UpstreamError::Nonsense(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether an address is this machine's own.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What TLS has to say of it, where that is why it failed: then something was there to be understood, or not.
fn of_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // Of an error that it wraps, an I/O error gives the source and not the error itself.
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => of_tls(wrapped),
        None => error.source().and_then(of_tls),
    }
}

/// Whether a proxy answered, and let nothing through. The type of this error is not to be had.
fn is_closed_proxy(words: &str) -> bool {
    const CLOSED: [&str; 3] =
        ["unsuccessful", "proxy authorization required", "proxy response headers too long"];
    CLOSED.iter().any(|closed| words.contains(&format!("tunnel error: {closed}")))
}

/// Whether it failed because the other side did not take this device's certificate, as TLS says it. HTTP/2 keeps of
/// an error its words alone.
fn is_refusal(words: &str) -> bool {
    const ALERTS: [AlertDescription; 9] = [
        AlertDescription::NoCertificate,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::CertificateRequired,
    ];
    ALERTS.iter().any(|alert| words.contains(&rustls::Error::AlertReceived(*alert).to_string()))
}

fn transport(error: reqwest::Error) -> UpstreamError {
    UpstreamError::Transport(in_full(&error.without_url()))
}

/// An error with its causes: reqwest's own text hides the certificate or the refused port.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
