//! `carepost-server audit`: the audit log, searched and verified.

use carepost_protocol::id::SessionId;
use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::find::{device_id, patient_id, user_id};
use super::labels::Labels;
use super::names::{items, text};
use super::value_parsers::{SOURCES, count, one_of};
use super::{Output, show};

pub(super) const EVENT: &[&str] = &[
    "received_at",
    "timestamp",
    "source",
    "event_type",
    "action",
    "success",
    "resource_type",
    "user",
    "patient",
    "device",
    "ip_address",
    "flags",
];
/// What an event names by id, and its column.
const NAMED: &[(&str, &str)] = &[("user_id", "user"), ("patient_id", "patient"), ("device_id", "device")];

/// Which events are listed: all that match every given part.
#[derive(Debug, Args)]
pub(super) struct Search {
    /// About this patient, by medical record number, name or id.
    #[arg(long, value_name = "PATIENT")]
    patient: Option<String>,
    /// By this user, by username, name or id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// On this device, by name or id.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Under this session, by id.
    #[arg(long, value_name = "ID")]
    session_id: Option<SessionId>,
    /// Whose word: what the server saw, or what devices say.
    #[arg(long, value_parser = one_of(SOURCES))]
    source: Option<String>,
    /// At most so many: 1 to 1,000.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = count)]
    limit: u32,
    /// The next page, as the one before says.
    #[arg(long, value_name = "PLACE")]
    page: Option<String>,
}

/// Lists events: for people with the names of whom they are about.
pub(super) async fn list(client: &Client, search: Search, json: bool) -> anyhow::Result<Output> {
    let mut path = format!("/api/v1/audit-events?limit={}", search.limit);
    let patient = match &search.patient {
        Some(patient) => Some(patient_id(client, patient).await?),
        None => None,
    };
    let user = match &search.user {
        Some(user) => Some(user_id(client, user).await?),
        None => None,
    };
    let device = match &search.device {
        Some(device) => Some(device_id(client, device).await?),
        None => None,
    };
    for (key, value) in [
        ("patient_id", patient),
        ("user_id", user),
        ("device_id", device),
        ("session_id", search.session_id.map(|id| id.to_string())),
        ("source", search.source),
    ] {
        path.extend(value.map(|value| format!("&{key}={value}")));
    }
    // One page goes through so much of the log: it may hold nothing, and there is more all the same.
    let mut page = search.page;
    let thing = loop {
        let place = page.map(|place| format!("&page={place}")).unwrap_or_default();
        let thing = client.get(&format!("{path}{place}")).await?;
        page = text(&thing, "next").map(str::to_owned);
        if page.is_none() || !items(&thing).is_empty() {
            break thing;
        }
    };
    // Nobody is looked up whom nobody is shown.
    if json || items(&thing).is_empty() {
        return Ok(Output::Thing(thing, EVENT));
    }
    let labels = Labels::of(client, items(&thing)).await;
    let mut shown = thing.clone();
    let events = shown.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten();
    events.for_each(|event| labels.put(event, NAMED));
    let words = show::table(&client.by_clock(shown).await, EVENT);
    Ok(Output::Found { whole: true, thing, words })
}
