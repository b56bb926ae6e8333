//! `carepost-agent status`: asks the running agent, over its kiosk's loopback address.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{Outcome, say, say_error};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 64 * 1024;

/// Says how the running agent is.
pub(super) fn status(config: &Config, json: bool) -> anyhow::Result<Outcome> {
    let status = match ask(config) {
        Ok(status) => status,
        Err(error) => {
            say_error(&format!("the agent does not answer: {error:#}. Is it running?"));
            return Ok(Outcome::Failed);
        }
    };
    if json {
        say(&status.to_string());
    } else {
        for (key, value) in status.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            say(&format!("{key:16} {value}"));
        }
    }
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
    let wedged = status.get("wedged").and_then(Value::as_u64).unwrap_or(0);
    let ill = status.get("quarantined") == Some(&Value::Bool(true))
        || status.get("must_encrypt") == Some(&Value::Bool(true))
        || status.get("no_progress_seconds").is_some()
        || status.get("differs").is_some()
        || status.get("stepped_over").is_some();
    Ok(match (text("state"), text("link")) {
        ("PENDING", _) => Outcome::NotEnrolled,
        ("REVOKED", _) => Outcome::NeedsAttention,
        _ if wedged > 0 || ill || !text("storage_trouble").is_empty() => Outcome::NeedsAttention,
        (_, "NOT_TRUSTED") => Outcome::NeedsAttention,
        (_, "OFFLINE") => Outcome::Offline,
        _ => Outcome::Done,
    })
}

/// One request over loopback: no client library is worth its start-up time here.
fn ask(config: &Config) -> anyhow::Result<Value> {
    let address = config.kiosk.listen;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /status.json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    anyhow::ensure!(
        head.starts_with("HTTP/1.1 200"),
        "it answered {}",
        head.lines().next().unwrap_or_default()
    );
    serde_json::from_str(body.trim()).context("not this agent's answer")
}
