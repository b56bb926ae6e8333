//! The server's API for people and programs, as a program uses it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carepost_protocol::id::BootId;
use carepost_protocol::wire::BOOT_HEADER;
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method};
use serde_json::{Value, json};

/// A client, signed in or not.
#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    base: String,
    token: Option<String>,
    boot: Option<BootId>,
}

/// An answer: its status and what it says.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Api {
    /// A client of the server at `base` that trusts the certificate in `ca`.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn new(base: &str, ca: &[u8]) -> Result<Self> {
        Self::with_certificate(base, ca, None)
    }

    /// The same, from one of this machine's addresses.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn from_address(base: &str, ca: &[u8], address: IpAddr) -> Result<Self> {
        Self::of(base, Self::builder(ca)?.local_address(address))
    }

    /// The same, with a client certificate and its key in PEM.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn with_certificate(base: &str, ca: &[u8], own: Option<&str>) -> Result<Self> {
        let mut client = Self::builder(ca)?;
        if let Some(own) = own {
            client = client.identity(Identity::from_pem(own.as_bytes())?);
        }
        Self::of(base, client)
    }

    fn builder(ca: &[u8]) -> Result<ClientBuilder> {
        let trusted = Certificate::from_pem_bundle(ca)?;
        Ok(Client::builder().tls_certs_only(trusted).timeout(Duration::from_secs(60)).no_proxy())
    }

    fn of(base: &str, client: ClientBuilder) -> Result<Self> {
        Ok(Self { http: client.build()?, base: base.to_owned(), token: None, boot: None })
    }

    /// The same client, whoever was signed in with another's token.
    #[must_use]
    pub fn with_token_of(&self, other: &Self) -> Self {
        Self { token: other.token.clone(), ..self.clone() }
    }

    /// The same client, as that process of a device.
    #[must_use]
    pub fn speaking_as(&self, boot: BootId) -> Self {
        Self { boot: Some(boot), ..self.clone() }
    }

    /// The same client, signed in.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn sign_in(&self, organization: Option<&str>, username: &str, password: &str) -> Result<Self> {
        let who = json!({"organization": organization, "username": username, "password": password});
        let answer = self.post("/api/v1/sessions", &who).await?;
        let token = answer.get("token").and_then(Value::as_str).context("no token")?;
        Ok(Self { token: Some(token.to_owned()), ..self.clone() })
    }

    /// Any request: whatever the server answers.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let json = body.map(|body| body.to_string().into_bytes());
        let headers: &[_] = if json.is_some() { &[("content-type", "application/json")] } else { &[] };
        self.send(method, path, headers, json.unwrap_or_default()).await
    }

    /// Any request, byte by byte: whatever the server answers.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let named = headers.iter().any(|(name, _)| *name == BOOT_HEADER);
        if let Some(boot) = self.boot.filter(|_| !named) {
            request = request.header(BOOT_HEADER, boot.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, body })
    }

    /// A GET that must succeed.
    ///
    /// # Errors
    /// With the problem, when the server refuses.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.expect(Method::GET, path, None).await
    }

    /// A POST that must succeed.
    ///
    /// # Errors
    /// With the problem, when the server refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::POST, path, Some(body)).await
    }

    /// A PUT that must succeed.
    ///
    /// # Errors
    /// With the problem, when the server refuses.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::PUT, path, Some(body)).await
    }

    /// Admits somebody, as another person than those whom the server names.
    ///
    /// # Errors
    /// With the problem, when the server refuses.
    pub async fn admit(&self, body: &Value) -> Result<Value> {
        let path = "/api/v1/patients";
        let answer = self.call(Method::POST, path, Some(body)).await?;
        if answer.status == 201 {
            return Ok(answer.body);
        }
        let named = answer.body.get("errors").and_then(Value::as_array).into_iter().flatten();
        let named: Vec<&Value> = named.filter_map(|error| error.get("detail")).collect();
        let mut body = body.clone();
        body.as_object_mut().context("no object")?.insert("confirmed".to_owned(), json!(named));
        self.post(path, &body).await
    }

    async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.call(method.clone(), path, body).await?;
        if !(200..300).contains(&answer.status) {
            bail!("{method} {path} answered {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }
}

/// A member of an answer that must be a text.
///
/// # Errors
/// When it is not.
pub fn text(answer: &Value, key: &str) -> Result<String> {
    let value = answer.get(key).and_then(Value::as_str);
    Ok(value.with_context(|| format!("no text {key:?} in {answer}"))?.to_owned())
}
