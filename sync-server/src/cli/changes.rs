//! Rejected and flagged changes, and reviews.

use anyhow::bail;
use carepost_protocol::id::IncarnationId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::confirm::Confirm;
use super::find::{device_id, facility_id};
use super::labels::{self, Labels};
use super::names::{items, text};
use super::value_parsers::whole;
use super::{Output, show};
use crate::store::Flag;

pub(super) const CHANGE: &[&str] =
    &["received_at", "what", "resident", "by", "why", "device", "incarnation_id", "n"];
/// What a change names by id, and its column.
const NAMED: &[(&str, &str)] =
    &[("patient_id", "resident"), ("user_id", "by"), ("device_id", "device"), ("settled_by", "settled_by")];
pub(super) const SETTLED: &[&str] =
    &["device_id", "incarnation_id", "n", "settlement", "seq", "followed", "detail", "settled_reason"];
pub(super) const REVIEW: &[&str] =
    &["opened_at", "kind", "resident", "to_decide", "resolved_at", "resolved_by", "id"];

#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// List a facility's rejected changes that wait for somebody.
    #[command(after_help = "Example:\n  carepost-server change list Riverside --flagged")]
    List {
        /// The facility, by name or id.
        facility: String,
        /// Those that stand but should be looked at, instead.
        #[arg(long)]
        flagged: bool,
    },
    /// Show a change with its exact payload, rejected or flagged.
    Show(Name),
    /// Judge a rejected change again, as of when it was made; what depended on it follows.
    Retry(Name),
    /// Settle a rejected change for good: it will not stand.
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
    /// Where the change is, as one of these.
    async fn path(&self, client: &Client, changes: &str) -> anyhow::Result<String> {
        let device = device_id(client, &self.device).await?;
        Ok(format!("/api/v1/devices/{device}/{changes}/{}/{}", self.incarnation, self.n))
    }
}

/// Changes, whatever became of them, and those that were rejected, in paths.
const ANY: &str = "changes";
const REJECTED: &str = "rejected-changes";

pub(super) async fn change(client: &Client, change: Change, json: bool) -> anyhow::Result<Output> {
    Ok(match change {
        Change::List { facility, flagged } => return list(client, &facility, flagged, json).await,
        Change::Show(name) => {
            let thing = client.get(&name.path(client, ANY).await?).await?;
            // Nobody is looked up whom nobody is shown.
            let words = if json { String::new() } else { show::table(&whole_of(client, &thing).await, &[]) };
            Output::Found { whole: true, thing, words }
        }
        Change::Retry(name) => {
            let path = name.path(client, REJECTED).await?;
            let judged = client.post(&format!("{path}/retry"), &json!({})).await?;
            if judged.get("settlement").is_none_or(Value::is_null) {
                let detail = judged.get("detail").and_then(Value::as_str).unwrap_or_default();
                bail!("the change is rejected as before: {detail}");
            }
            Output::Thing(judged, SETTLED)
        }
        Change::Discard { name, reason, confirm } => {
            if confirm.asks() {
                // A look at it is written down as such: nobody is shown it who is not asked.
                let path = name.path(client, ANY).await?;
                let known = client.get(&path).await?;
                is_unsettled(&known)?;
                confirm.ask(&ending(&name, &known))?;
            }
            let (path, body) = (name.path(client, REJECTED).await?, json!({"reason": reason}));
            Output::Thing(client.post(&format!("{path}/discard"), &body).await?, SETTLED)
        }
    })
}

async fn list(client: &Client, facility: &str, flagged: bool, json: bool) -> anyhow::Result<Output> {
    let id = facility_id(client, facility).await?;
    let which = if flagged { "flagged" } else { "rejected" };
    let thing = client.all(&format!("/api/v1/facilities/{id}/{which}-changes")).await?;
    // Nobody is looked up whom nobody is shown.
    if json || items(&thing).is_empty() {
        return Ok(Output::Thing(thing, CHANGE));
    }
    let labels = Labels::of(client, items(&thing)).await;
    let flags = |change: &Value| change.get("flags").map(in_words);
    let row = |change: &Value| {
        json!({
            "facility_id": id, "received_at": change.get("received_at"), "what": what(change),
            "resident": labels.patient(change.get("patient_id")), "by": labels.user(change.get("user_id")),
            "why": if flagged { flags(change) } else { text(change, "detail").map(str::to_owned) },
            "device": labels.device(change.get("device_id")), "incarnation_id": change.get("incarnation_id"), "n": change.get("n"),
        })
    };
    let rows: Vec<Value> = items(&thing).iter().map(row).collect();
    let shown = client.by_clock(json!({ "items": rows })).await;
    let mut words = show::table(&shown, CHANGE);
    words.push_str("\n`change show DEVICE INCARNATION N` shows one with its exact payload.");
    Ok(Output::Found { whole: true, thing, words })
}

/// All of a change as people read it: in the words of the list.
async fn whole_of(client: &Client, change: &Value) -> Value {
    let labels = Labels::of(client, std::slice::from_ref(change)).await;
    let mut shown = change.clone();
    labels.put(&mut shown, NAMED);
    if let Some(members) = shown.as_object_mut() {
        members.insert("what".to_owned(), what(change).into());
        members.insert("facility_id".to_owned(), labels.facility(change).cloned().unwrap_or_default());
        if let Some(flags) = members.get_mut("flags") {
            *flags = in_words(flags).into();
        }
    }
    let mut shown = client.by_clock(shown).await;
    if let Some(members) = shown.as_object_mut() {
        // It told whose clock counts.
        members.remove("facility_id");
    }
    shown
}

/// What a change does.
fn what(change: &Value) -> String {
    let (kind, collection) = (text(change, "kind"), text(change, "collection"));
    let form = text(change, "workflow").map_or(String::new(), |form| format!(" ({form})"));
    match (kind, collection) {
        (Some("create"), Some("records")) => format!("entry{form}"),
        (Some("amend"), Some("records")) => format!("correction{form}"),
        (Some("create"), Some("patients")) => "admission".to_owned(),
        (Some("patch"), Some("patients")) => "edit of a resident".to_owned(),
        (_, Some("reviews")) => "decision about a review".to_owned(),
        (_, Some("users")) => "PIN".to_owned(),
        (kind, collection) => [kind, collection].into_iter().flatten().collect::<Vec<_>>().join(" "),
    }
}

/// Flags as people read them.
fn in_words(flags: &Value) -> String {
    let flags = flags.as_array().into_iter().flatten().filter_map(Value::as_str);
    let words = |flag: &str| {
        Flag::named(flag).map_or_else(|| flag.replace('_', " "), |known| known.words().to_owned())
    };
    flags.map(words).collect::<Vec<_>>().join("; ")
}

/// Only what was rejected, and waits for somebody, can be discarded.
fn is_unsettled(change: &Value) -> anyhow::Result<()> {
    match (text(change, "settlement"), text(change, "detail")) {
        (None, Some(_)) => Ok(()),
        (Some("discarded"), _) => bail!("nothing was done: it is discarded already"),
        (Some("superseded"), _) => bail!("nothing was done: another change has taken its place already"),
        (Some(_) | None, _) => bail!("nothing was done: it stands; strike it out or correct it"),
    }
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
        let patients = labels::patients(client, items(&thing).iter().flat_map(people)).await;
        let by = |review: &Value| json!({"user_id": review.pointer("/resolved/by")});
        let deciders = Labels::of(client, &items(&thing).iter().map(by).collect::<Vec<_>>()).await;
        let rows: Vec<_> =
            items(&thing).iter().map(|review| row(&id, review, &patients, &deciders)).collect();
        words = show::table(&client.by_clock(json!({ "items": rows })).await, REVIEW);
        words.push_str("\nDecide them at a kiosk of the facility, under \"Needs a look\".");
    }
    Ok(Output::Found { whole: true, thing, words })
}

/// Whom a review names.
fn people(review: &Value) -> impl Iterator<Item = &str> {
    let others = review.get("others").and_then(Value::as_array).into_iter().flatten();
    others.chain(review.get("patient_id")).filter_map(Value::as_str)
}

/// A review as people read it.
fn row(facility: &str, review: &Value, patients: &[Value], deciders: &Labels) -> Value {
    let who = |id| labels::patient(patients, id);
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
        "facility_id": facility, "opened_at": review.get("opened_at"), "kind": review.get("kind"), "resident": who(review.get("patient_id")),
        "to_decide": to_decide, "resolved_at": review.pointer("/resolved/at"),
        "resolved_by": review.pointer("/resolved/by").map(|id| deciders.user(Some(id))), "id": review.get("id"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_manuals_name_every_flag_and_each_has_words() {
        let manuals = [include_str!("../../../docs/attention.md"), include_str!("../../../docs/operator.md")];
        let tables =
            manuals.map(|manual| manual.split_once("| Flag |").unwrap().1.split_once("\n\n").unwrap().0);
        let rows = tables.iter().flat_map(|table| table.lines());
        let cells = rows.filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0));
        let flags: BTreeSet<&str> = cells.flat_map(|cell| cell.split("`, `")).collect();
        let known: BTreeSet<&str> = Flag::ALL.iter().map(|flag| flag.name()).collect();
        assert_eq!(flags, known);
        assert_eq!(
            in_words(&json!(["clock_unset", "quite_new"])),
            "the device's clock was not set; quite new"
        );
    }
}
