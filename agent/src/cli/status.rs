//! `carepost-agent status`: asks the running agent, over its kiosk's loopback address.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{Outcome, say, say_error};
use crate::config::Config;
use crate::run::token_refused;

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
    Ok(match (text(&status, "state"), text(&status, "link")) {
        ("PENDING", _) => Outcome::NotEnrolled,
        _ if !ills(&status).is_empty() => Outcome::NeedsAttention,
        (_, "OFFLINE") => Outcome::Offline,
        _ => Outcome::Done,
    })
}

/// What somebody has to look at, of what the agent says.
pub(super) fn ills(status: &Value) -> Vec<String> {
    let is = |key: &str| status.get(key) == Some(&Value::Bool(true));
    let has = |key: &str| status.get(key).is_some();
    let said = |key: &str| Some(text(status, key)).filter(|text| !text.is_empty());
    let cannot_save = said("storage_trouble").map(|why| format!("CANNOT SAVE: {why}"));
    if text(status, "state") == "REVOKED" {
        return [Some(REVOKED.to_owned()), cannot_save].into_iter().flatten().collect();
    }
    let rejected = status.get("rejected").and_then(Value::as_u64).unwrap_or(0);
    let found = [
        cannot_save,
        said("outbox_trouble").map(ToOwned::to_owned),
        said("copy_trouble").map(ToOwned::to_owned),
        said("token_refused").map(token_refused),
        said("link_trouble").map(ToOwned::to_owned),
        (rejected > 0).then(|| format!("the server rejected {rejected} entries (`carepost-agent queue list`)")),
        is("quarantined").then(|| "quarantined: an administrator has to release it".to_owned()),
        is("must_encrypt").then(|| "not encrypted, which its facility requires: it receives nothing until it is (`carepost-agent doctor` says what to do)".to_owned()),
        has("no_progress_seconds").then(|| "nothing moves, though the server is reached".to_owned()),
        has("differs").then(|| "its copy differs from the server's, and is being fetched again".to_owned()),
        has("stepped_over").then(|| "some documents cannot be taken here, and are missing or out of date (`carepost-agent doctor`)".to_owned()),
    ];
    found.into_iter().flatten().collect()
}

/// Of a device whose key is refused for good.
pub(super) const REVOKED: &str = "REVOKED: an administrator deactivated this device, and the server refuses its \
                                  key. The button on its page, or `carepost-agent enroll`, enrolls it anew";

pub(super) fn text<'a>(status: &'a Value, key: &str) -> &'a str {
    status.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// One request over loopback: no client library is worth its start-up time here.
pub(super) fn ask(config: &Config) -> anyhow::Result<Value> {
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
