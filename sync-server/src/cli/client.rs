//! The API's client: signed in by the session that `sign-in` keeps. What it asks for is done once, also where an answer
//! is lost, and what it has shown is changed only as it was shown.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use carepost_host::files;
use carepost_protocol::hex::hex;
use carepost_protocol::wire::problem::Problem;
use carepost_protocol::zone::Zone;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER};
use reqwest::{Certificate, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::names::{ORGANIZATION, is_id, items, text};
use super::time::{put_by_clock, shows_moment};
use super::{ClientOptions, show};
use crate::clock;

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// No answer came.
    #[error("the server {0} is not reached: {1}")]
    NotReached(String, String),
    /// It refused, and says why.
    #[error("{}", in_words(.0))]
    Refused(Box<Problem>),
    /// Nobody is signed in here.
    #[error(
        "nobody is signed in at {0}: run `carepost-server sign-in USERNAME` first, with --of for an organization's"
    )]
    NotSignedIn(String),
    /// The answer is none of this API's.
    #[error("the answer makes no sense: {0}. Check that --server is a Carepost server's address for people")]
    Nonsense(String),
}

/// A problem as a person reads it.
fn in_words(problem: &Problem) -> String {
    let mut words = format!("{} ({}): {}", problem.title, problem.status, problem.detail);
    for error in &problem.errors {
        words.push_str(&format!("\n  {}: {}", error.field, error.detail));
    }
    OPTIONS.iter().fold(words, |words, (field, option)| words.replace(field, option))
}

/// What fields that the API's words name are called here.
const OPTIONS: &[(&str, &str)] = &[
    ("say so (`confirmed`)", "say so (`--another-than`)"),
    ("confirmed: another person than", "--another-than"),
    ("`confirmed`", "`--confirmed`"),
    ("admin.username", "--admin"),
    ("admin.display_name", "--admin-name"),
    ("display_name", "--name"),
    ("`over_capacity`", "`--over-capacity`"),
    ("(`facility_id`)", "(`--facility`)"),
    ("(`same_name`)", "(`--same-name`)"),
    ("(`slug`)", "(`--slug`)"),
    ("by its id (X-Organization-ID)", "with --organization SLUG"),
    ("3650 days, or null", "3650 days, or leave them out"),
    (
        "Sign in and send the session's token as a bearer token; a device enrolls its key.",
        "Your session is over: run `carepost-server sign-in USERNAME`, with --of for an organization's.",
    ),
];

/// A client of one server.
pub(super) struct Client {
    http: reqwest::Client,
    /// Through which proxy, where the environment names one for that server.
    proxy: Option<String>,
    base: String,
    /// The certificate that is trusted, where one was named.
    ca: Option<PathBuf>,
    session: PathBuf,
    organization: Option<String>,
    organization_id: OnceCell<String>,
    /// The version of each thing that this command was shown alone, by [`thing`].
    shown: Mutex<HashMap<String, HeaderValue>>,
}

/// Where the server is while nobody has said so.
const HERE: &str = "https://localhost:8443";

/// How many items a page has of a list that is read whole: the most there are.
const A_PAGE: usize = 1_000;

/// The header of what is done once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// For how long it waits each time before it asks again with the same key.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// An answer, as it came.
type Exchanged = (StatusCode, HeaderMap, Bytes);

/// A session as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    server: String,
    token: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

impl Kept {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&files::read_text(path).ok()?).ok()
    }
}

/// By whom a request is made, and for which organization.
struct Signed {
    token: Zeroizing<String>,
    organization: Option<String>,
}

/// Where the server is was said in a way that is no address.
#[derive(Debug, thiserror::Error)]
#[error(
    "--server (or CAREPOST_URL): write the address with https:// and the port, such as https://care.example.test:8443"
)]
pub(super) struct NoAddress;

impl Client {
    /// As the command line says, and else as whoever is signed in did. A session that begins anew trusts what the
    /// system does, unless a certificate is named.
    pub(super) fn new(options: &ClientOptions, begins: bool) -> anyhow::Result<Self> {
        let session = options.session.clone().map_or_else(default_session, Ok)?;
        let kept = Kept::read(&session);
        let server = options.server.as_deref().or(kept.as_ref().map(|kept| kept.server.as_str()));
        let base = server.unwrap_or(HERE).trim_end_matches('/').to_owned();
        let kept_ca = || kept.as_ref().filter(|kept| !begins && kept.server == base)?.ca.clone();
        let ca = options.ca.clone().or_else(kept_ca);
        let address = base.parse::<http::Uri>().ok();
        if !address.is_some_and(|it| it.scheme_str() == Some("https") && it.host().is_some()) {
            return Err(NoAddress.into());
        }
        let mut builder = reqwest::Client::builder()
            .tls_version_min(reqwest::tls::Version::TLS_1_3)
            .https_only(true)
            .timeout(Duration::from_secs(60))
            .user_agent(concat!("carepost-server/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &ca {
            let pem = files::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
            let trusted = Certificate::from_pem_bundle(&pem)?;
            let ca = ca.display();
            anyhow::ensure!(
                !trusted.is_empty(),
                "{ca} holds no certificate: name a PEM file of one with --ca"
            );
            builder = builder.tls_certs_only(trusted);
        }
        let proxy = proxy_for(&base);
        if proxy.is_none() {
            builder = builder.no_proxy();
        }
        Ok(Self {
            proxy,
            http: builder.build().context("cannot set up TLS: name the certificate to trust with --ca")?,
            base,
            ca,
            session,
            organization: options.organization.clone(),
            organization_id: OnceCell::new(),
            shown: Mutex::default(),
        })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    /// A list with all its pages.
    pub(super) async fn all(&self, path: &str) -> anyhow::Result<Value> {
        self.pages(path, &self.signed().await?).await
    }

    async fn pages(&self, path: &str, signed: &Signed) -> anyhow::Result<Value> {
        let mut items = Vec::new();
        let path = format!("{path}{}limit={A_PAGE}", if path.contains('?') { '&' } else { '?' });
        let mut next = String::new();
        loop {
            let mut page = self.send(Method::GET, &format!("{path}{next}"), None, Some(signed)).await?;
            let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
                return Err(ClientError::Nonsense("a page without items".to_owned()).into());
            };
            items.extend(more);
            match page.get("next").and_then(Value::as_str) {
                Some(place) => next = format!("&page={place}"),
                None => return Ok(json!({ "items": items })),
            }
        }
    }

    /// A list with the name of each one's facility, in `facility`.
    pub(super) async fn with_facilities(&self, mut list: Value) -> anyhow::Result<Value> {
        let facilities = self.all("/api/v1/facilities").await?;
        for item in list.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            let of = items(&facilities).iter().find(|it| it.get("id") == item.get("facility_id"));
            if let Some((of, item)) = of.zip(item.as_object_mut()) {
                item.insert("facility".to_owned(), of.get("name").cloned().unwrap_or_default());
            }
        }
        Ok(list)
    }

    /// A thing or a list as people read it: every moment by the clock of its facility. Where those cannot be read, by
    /// that of UTC: what was asked for is done.
    pub(super) async fn by_clock(&self, mut thing: Value) -> Value {
        if shows_moment(&thing, &[]) {
            let facilities = self.all("/api/v1/facilities").await.unwrap_or_default();
            put_by_clock(&mut thing, &facilities, &Zone::UTC);
        }
        thing
    }

    /// Begins a session and keeps it, readable by this user only.
    pub(super) async fn sign_in(&self, body: &Value) -> anyhow::Result<Value> {
        let answer = self.send(Method::POST, "/api/v1/sessions", Some(body), None).await?;
        let token = answer.get("token").and_then(Value::as_str).context("an answer without token")?;
        // Whatever the folder is from which the next command comes.
        let ca = self.ca.as_deref().map(std::path::absolute).transpose()?;
        let kept = Kept { server: self.base.clone(), token: Zeroizing::new(token.to_owned()), ca };
        keep(&self.session, &serde_json::to_string(&kept)?)?;
        Ok(answer)
    }

    /// Ends the session and forgets its token.
    pub(super) async fn sign_out(&self) -> anyhow::Result<()> {
        let ended = self.call(Method::DELETE, "/api/v1/sessions/current", None).await;
        // A session that has ended by itself is forgotten all the same.
        let over = matches!(
            ended.as_ref().err().and_then(|fault| fault.downcast_ref()),
            Some(ClientError::Refused(problem)) if problem.status == 401
        );
        if !over {
            ended?;
        }
        std::fs::remove_file(&self.session)
            .with_context(|| format!("cannot remove {}", self.session.display()))
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.send(method, path, body, Some(&self.signed().await?)).await
    }

    async fn signed(&self) -> anyhow::Result<Signed> {
        let mut signed = Signed { token: self.token()?, organization: None };
        if let Some(named) = &self.organization {
            signed.organization = Some(self.organization_id(named, &signed).await?);
        }
        Ok(signed)
    }

    /// The organization that is meant, by its id; a name is looked up once.
    async fn organization_id(&self, slug: &str, signed: &Signed) -> anyhow::Result<String> {
        if is_id(slug) {
            return Ok(slug.to_owned());
        }
        let found = self.organization_id.get_or_try_init(|| async {
            ORGANIZATION.id(&self.pages("/api/v1/organizations", signed).await?, slug)
        });
        found.await.cloned()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        signed: Option<&Signed>,
    ) -> anyhow::Result<Value> {
        let mut headers = HeaderMap::new();
        if let Some(Signed { token, organization }) = signed {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", **token))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
            if let Some(organization) = organization {
                headers.insert("x-organization-id", HeaderValue::try_from(organization)?);
            }
        }
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // Who signs in once more has one session more; a key for that would count among a person's.
        if method == Method::POST && signed.is_some() {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(hex(&clock::random::<16>()))?);
        }
        if method != Method::GET {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            headers.extend(thing(path).and_then(|it| Some((IF_MATCH, shown.get(&it)?.clone()))));
        }
        let (status, headers, bytes) = self.exchange(method, path, &headers, body).await?;
        // What was made is another thing than the one in whose path it was asked for.
        let is_shown = status.is_success() && status != StatusCode::CREATED;
        if let Some((thing, version)) = thing(path).zip(headers.get(ETAG)).filter(|_| is_shown) {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.insert(thing, version.clone());
        }
        if status.is_success() {
            if bytes.is_empty() {
                return Ok(Value::Null);
            }
            let answer: Value =
                serde_json::from_slice(&bytes).map_err(|fault| ClientError::Nonsense(fault.to_string()))?;
            for doubt in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
                let part = |key| text(doubt, key).unwrap_or_default();
                show::say_error(&format!("{}: {}", part("field"), part("detail")));
            }
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem)).into()),
            Err(_) => Err(ClientError::Nonsense(format!("status {status}")).into()),
        }
    }

    /// Asks, and asks again for what has a key where its answer was lost, or it is still under way: the server does it
    /// once.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<Exchanged, ClientError> {
        let has_key = headers.contains_key(IDEMPOTENCY_KEY);
        let is_sign_in = !headers.contains_key(AUTHORIZATION);
        let (mut waits, mut may_be_done) = (WAITS.into_iter().filter(|_| has_key), false);
        loop {
            let asked = self.once(&method, path, headers, body).await;
            let is_open = match &asked {
                Ok((status, told, _)) => *status == StatusCode::CONFLICT && told.contains_key(RETRY_AFTER),
                Err(fault) => {
                    may_be_done |= method != Method::GET && !fault.is_connect();
                    may_be_done
                }
            };
            match waits.next().filter(|_| is_open) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    let look = match (may_be_done, is_sign_in) {
                        (false, _) => "",
                        // A session whose token did not come is nobody's.
                        (true, true) => ". You are not signed in: repeat it",
                        (true, false) => ". It may be done all the same: look, before you repeat it",
                    };
                    return asked.map_err(|fault| self.not_reached(&fault, look));
                }
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) -> reqwest::Result<Exchanged> {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.base)).headers(headers.clone());
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.headers().clone(), answer.bytes().await?))
    }

    fn not_reached(&self, fault: &reqwest::Error, look: &str) -> ClientError {
        let proxy = self.proxy.as_ref().map(|proxy| format!(" through the proxy {proxy} of the environment"));
        ClientError::NotReached(self.base.clone() + &proxy.unwrap_or_default(), why(fault) + look)
    }

    fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        // A token goes to the server that gave it, and to no other.
        let kept = Kept::read(&self.session).filter(|kept| kept.server == self.base);
        Ok(kept.ok_or_else(|| ClientError::NotSignedIn(self.base.clone()))?.token)
    }
}

/// Which thing a path is about, as the API has it: the ids that stand in it, where any do.
fn thing(path: &str) -> Option<String> {
    let is_of_one = |part: &&str| is_id(part) || part.parse::<u64>().is_ok();
    let ids: Vec<&str> = path.split('/').filter(is_of_one).collect();
    (!ids.is_empty()).then(|| ids.join("/"))
}

/// The proxy that the environment names for a server (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`): none for this
/// machine, whatever the environment says.
fn proxy_for(server: &str) -> Option<String> {
    let server: http::Uri = server.parse().ok()?;
    let host = server.host()?.trim_matches(['[', ']']);
    let loopback = host.parse().map_or_else(
        |_| host == "localhost" || host.ends_with(".localhost"),
        |address: IpAddr| address.is_loopback(),
    );
    let proxy = Matcher::from_env().intercept(&server).filter(|_| !loopback)?;
    Some(proxy.uri().to_string())
}

fn default_session() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|it| !it.is_empty());
    let state = set("XDG_STATE_HOME").map(PathBuf::from);
    let home = || set("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = state.or_else(home).context("neither HOME nor XDG_STATE_HOME is set: give --session")?;
    Ok(state.join("carepost/session.json"))
}

fn keep(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // Made anew, so that an older file's permissions do not stay.
    match std::fs::remove_file(path) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault.into()),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// Why no answer came, and what to do.
fn why(fault: &dyn std::error::Error) -> String {
    let mut cause = fault;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = cause.to_string();
    if cause.contains("invalid peer certificate") {
        return format!(
            "its certificate is not trusted ({cause}). Check that --server has the name that the certificate is for, and \
             name the certificate to trust with --ca: `init` made tls.crt in the server's state directory"
        );
    }
    format!("{cause}. Check --server, the network, and whether the server runs")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use carepost_protocol::wire::problem::ProblemKind;
    use carepost_protocol::workflow::FieldError;

    #[test]
    fn a_token_is_readable_by_its_user_only() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a/b/session.json");
        super::keep(&path, "{}").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        super::keep(&path, "{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_changes_a_thing_is_about_the_same_thing_as_what_shows_it() {
        let (one, other) = ("0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42", "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e43");
        for (shows, changes, is_same) in [
            (format!("/api/v1/devices/{one}"), format!("/api/v1/devices/{one}/deactivate"), true),
            (format!("/api/v1/patients/{one}"), format!("/api/v1/patients/{one}"), true),
            (
                format!("/api/v1/devices/{one}/changes/{other}/17"),
                format!("/api/v1/devices/{one}/rejected-changes/{other}/17/discard"),
                true,
            ),
            (format!("/api/v1/devices/{one}"), format!("/api/v1/devices/{other}/deactivate"), false),
            (format!("/api/v1/devices/{one}"), "/api/v1/devices".to_owned(), false),
            (
                format!("/api/v1/devices/{one}"),
                format!("/api/v1/devices/{one}/rejected-changes/{other}/17/discard"),
                false,
            ),
        ] {
            assert_eq!(super::thing(&shows) == super::thing(&changes), is_same, "{shows} {changes}");
        }
    }

    #[test]
    fn a_problem_is_told_in_words_with_its_fields() {
        let mut problem = ProblemKind::Invalid.because("Correct these fields: name.");
        problem.errors.push(FieldError { field: "name".into(), detail: "give a name".into() });
        let words = super::in_words(&problem);
        assert_eq!(words, "Invalid value (422): Correct these fields: name.\n  name: give a name");
    }
}
