//! Refused and flagged changes, and reviews.

use carepost_protocol::id::{DeviceId, IncarnationId};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Said;
use super::client::Client;
use super::tenants::facility_id;

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
const REVIEW: &[&str] = &["opened_at", "kind", "patient_id", "fields", "others", "more", "resolved", "id"];

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
    /// The device's id.
    device: DeviceId,
    /// The life of its outbox.
    incarnation: IncarnationId,
    /// The change's number.
    n: u64,
}

impl Name {
    fn path(&self) -> String {
        format!("/api/v1/devices/{}/refused-changes/{}/{}", self.device, self.incarnation, self.n)
    }
}

pub(super) async fn change(client: &Client, change: Change) -> anyhow::Result<Said> {
    Ok(match change {
        Change::List { facility, flagged } => {
            let id = facility_id(client, &facility).await?;
            let which = if flagged { "flagged" } else { "refused" };
            Said::Thing(client.get(&format!("/api/v1/facilities/{id}/{which}-changes")).await?, CHANGE)
        }
        Change::Show(name) => Said::Thing(client.get(&name.path()).await?, &[]),
        Change::Retry(name) => {
            Said::Thing(client.post(&format!("{}/retry", name.path()), &json!({})).await?, SETTLED)
        }
        Change::Discard { name, reason } => {
            let body = json!({"reason": reason});
            Said::Thing(client.post(&format!("{}/discard", name.path()), &body).await?, SETTLED)
        }
    })
}

pub(super) async fn review(client: &Client, review: Review) -> anyhow::Result<Said> {
    let Review::List { facility, all } = review;
    let id = facility_id(client, &facility).await?;
    let open = if all { "" } else { "?open=true" };
    Ok(Said::Thing(client.get(&format!("/api/v1/facilities/{id}/reviews{open}")).await?, REVIEW))
}
