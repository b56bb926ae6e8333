//! The server's API for people and programs, as a program uses it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

/// A client, signed in or not.
#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    base: String,
    token: Option<String>,
}

/// An answer: its status and its JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Api {
    /// A client of the server at `base` that trusts the certificate in `ca`.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn new(base: &str, ca: &[u8]) -> Result<Self> {
        let http = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(ca)?)
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()?;
        Ok(Self { http, base: base.to_owned(), token: None })
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
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, body })
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
