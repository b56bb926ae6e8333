//! Refused and flagged changes, and reviews.

use anyhow::bail;
use carepost_protocol::id::IncarnationId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::confirm::Confirm;
use super::find::{device_id, facility_id};
use super::names::{PATIENT, items, text};
use super::value_parsers::whole;
use super::{Output, show};

const CHANGE: &[&str] = &[
    "received_at",
    "collection",
    "kind",
    "user_id",
    "patient_id",
    "device_id",
    "incarnation_id",
    "n",
    "flags",
    "detail",
];
const SETTLED: &[&str] =
    &["device_id", "incarnation_id", "n", "settlement", "seq", "followed", "detail", "settled_reason"];
const REVIEW: &[&str] = &["opened_at", "kind", "resident", "to_decide", "resolved_at", "resolved_by", "id"];

#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// List a facility's refused changes that wait for somebody.
    #[command(after_help = "Example:\n  carepost-server change list Riverside --flagged")]
    List {
        /// The facility, by name or id.
        facility: String,
        /// Those that stand but should be looked at, instead.
        #[arg(long)]
        flagged: bool,
    },
    /// Show a refused change with its exact payload.
    Show(Name),
    /// Judge a refused change again, as of when it was made; what depended on it follows.
    Retry(Name),
    /// Settle a refused change for good: it will not stand.
    #[command(
        after_help = "Example:\n  carepost-server change discard DEVICE INCARNATION 17 --reason \"entered for a drill\""
    )]
    Discard {
        #[command(flatten)]
        name: Name,
        /// Why, in words; no health data.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Review {
    /// List what somebody has to decide.
    #[command(after_help = "Example:\n  carepost-server review list Riverside")]
    List {
        /// The facility, by name or id.
        facility: String,
        /// Closed ones as well.
        #[arg(long)]
        all: bool,
    },
}

/// A change's name, as `change list` gives it.
#[derive(Debug, Args)]
pub(super) struct Name {
    /// The device, by name or id.
    device: String,
    /// The incarnation of its outbox.
    incarnation: IncarnationId,
    /// The change's number.
    #[arg(value_parser = whole)]
    n: u64,
}

impl Name {
    async fn path(&self, client: &Client) -> anyhow::Result<String> {
        let device = device_id(client, &self.device).await?;
        Ok(format!("/api/v1/devices/{device}/refused-changes/{}/{}", self.incarnation, self.n))
    }
}

pub(super) async fn change(client: &Client, change: Change) -> anyhow::Result<Output> {
    Ok(match change {
        Change::List { facility, flagged } => {
            let id = facility_id(client, &facility).await?;
            let which = if flagged { "flagged" } else { "refused" };
            Output::Thing(client.all(&format!("/api/v1/facilities/{id}/{which}-changes")).await?, CHANGE)
        }
        Change::Show(name) => Output::Thing(client.get(&name.path(client).await?).await?, &[]),
        Change::Retry(name) => {
            let judged = client.post(&format!("{}/retry", name.path(client).await?), &json!({})).await?;
            if judged.get("settlement").is_none_or(Value::is_null) {
                let detail = judged.get("detail").and_then(Value::as_str).unwrap_or_default();
                bail!("the change is refused as before: {detail}");
            }
            Output::Thing(judged, SETTLED)
        }
        Change::Discard { name, reason, confirm } => {
            let path = name.path(client).await?;
            if confirm.asks() {
                // A look at it is written down as such: nobody is shown it who is not asked.
                confirm.ask(&ending(&name, &client.get(&path).await?))?;
            }
            let body = json!({"reason": reason});
            Output::Thing(client.post(&format!("{path}/discard"), &body).await?, SETTLED)
        }
    })
}

/// What discarding ends.
fn ending(name: &Name, change: &Value) -> String {
    let text = |key| change.get(key).and_then(Value::as_str).unwrap_or_default();
    let (collection, kind, detail) = (text("collection"), text("kind"), text("detail"));
    format!(
        "discard the change {} of {:?} ({kind} in {collection}; {detail}): what it says will not stand",
        name.n, name.device
    )
}

pub(super) async fn review(client: &Client, review: Review, json: bool) -> anyhow::Result<Output> {
    let Review::List { facility, all } = review;
    let id = facility_id(client, &facility).await?;
    let open = if all { "" } else { "?open=true" };
    let thing = client.all(&format!("/api/v1/facilities/{id}/reviews{open}")).await?;
    let mut words = show::table(&thing, REVIEW);
    // Nobody is looked up whom nobody is shown.
    if !json && !items(&thing).is_empty() {
        let patients = client.all(&format!("/api/v1/patients?facility_id={id}")).await?;
        let rows: Vec<_> = items(&thing).iter().map(|review| row(review, items(&patients))).collect();
        words = show::table(&json!({ "items": rows }), REVIEW);
        words.push_str("\nDecide them at a kiosk of the facility, under \"Needs a look\".");
    }
    Ok(Output::Found { whole: true, thing, words })
}

/// A review as people read it.
fn row(review: &Value, patients: &[Value]) -> Value {
    let who = |id: Option<&Value>| {
        let known = id.and_then(|id| patients.iter().find(|patient| patient.get("id") == Some(id)));
        known.map_or_else(|| id.and_then(Value::as_str).unwrap_or("-").to_owned(), |it| PATIENT.described(it))
    };
    let all = |of: &str| review.get(of).and_then(Value::as_array).into_iter().flatten();
    let others = all("others").map(|id| who(Some(id))).collect::<Vec<_>>().join(", ");
    let fields = all("fields").filter_map(|it| text(it, "field")).collect::<Vec<_>>().join(", ");
    let more =
        review.get("more").and_then(Value::as_u64).map_or(String::new(), |more| format!(" and {more} more"));
    let to_decide = match text(review, "kind") {
        Some("conflict") => format!("two values were saved of {fields}: which is right?"),
        Some("duplicate") => format!("is it one person with {others}{more}?"),
        Some("amendments") => "one entry was corrected more than once: which correction is right?".to_owned(),
        _ => "something that this command does not know: update carepost-server".to_owned(),
    };
    json!({
        "opened_at": review.get("opened_at"), "kind": review.get("kind"), "resident": who(review.get("patient_id")),
        "to_decide": to_decide, "resolved_at": review.pointer("/resolved/at"),
        "resolved_by": review.pointer("/resolved/by"), "id": review.get("id"),
    })
}
