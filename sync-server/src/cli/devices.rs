//! Devices: registering, letting in, looking at, releasing, deactivating.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use carepost_protocol::id::EnrollmentId;
use carepost_protocol::zone::Zone;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::confirm::Confirm;
use super::find::{device_id, device_in, facility_id};
use super::names::{DEVICE, items, text};
use super::time::{TimeSpec, put_by_clock, zone_of};
use super::value_parsers::{DEACTIVATIONS, DEVICE_PHI_MODES, DEVICE_TYPES, is_narrower, one_of};
use super::{Output, show};
use crate::clock;
use crate::text::counted;

pub(super) const COLUMNS: &[&str] = &[
    "device_name",
    "device_type",
    "phi_mode",
    "state",
    "is_online",
    "sync_status",
    "sync_reason",
    "encrypted",
    "warning",
    "waiting",
    "rejected",
    "last_seen",
    "id",
];
pub(super) const REGISTERED: &[&str] = &["id", "device_name", "state", "token", "token_expires_at"];
pub(super) const APPROVED: &[&str] = &["enrollment_id", "hostname", "device_uuid", "possible_clone"];

#[derive(Debug, Subcommand)]
pub(super) enum Device {
    /// Register a device before it is seen: gives a one-time token for `carepost-agent enroll`.
    #[command(
        after_help = "Example:\n  carepost-server device register \"Hall kiosk\" --facility Riverside --type RASPBERRY_PI --uuid 0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42"
    )]
    Register(Register),
    /// Let a waiting device in: type the code it shows, then the number it shows next.
    #[command(
        after_help = "Example:\n  carepost-server device approve BCDF-GHJK --facility Riverside --name \"Hall kiosk\""
    )]
    Approve(Approve),
    /// Confirm the number that an approved device shows.
    Confirm {
        /// The enrollment, as `approve` named it.
        enrollment: EnrollmentId,
        /// The two digits on its screen.
        number: String,
    },
    /// List a facility's devices.
    List {
        /// The facility, by name or id.
        facility: String,
    },
    /// Show all of a device.
    Show {
        /// The device, by name or id.
        device: String,
    },
    /// Give a device another name. Its key and what was charted on it stay as they are.
    #[command(after_help = "Example:\n  carepost-server device rename \"Hal kiosk\" \"Hall kiosk\"")]
    Rename {
        /// The device, by name or id.
        device: String,
        /// The new name, which no other device in use at its facility has.
        name: String,
    },
    /// Say how much of a resident a device is sent; it then makes its copy anew.
    #[command(after_help = "Example:\n  carepost-server device phi-mode \"Hall kiosk\" free")]
    PhiMode {
        /// The device, by name or id.
        device: String,
        /// full, minimal (initials and room), free (case number only), or facility: as the facility says.
        #[arg(value_parser = one_of(DEVICE_PHI_MODES))]
        mode: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Release a quarantined device, once its second copy is switched off.
    Release {
        /// The device, by name or id.
        device: String,
    },
    /// Deactivate a device: its key is refused from now on. When it is lost, the PINs that it held have to be
    /// replaced, and a new badge key takes the place of the one that it had.
    #[command(after_help = "Example:\n  carepost-server device deactivate \"Hall kiosk\" --reason lost")]
    Deactivate {
        /// The device, by name or id.
        device: String,
        /// lost (or stolen): somebody may have it who should not; retired or replaced: it is in hand.
        #[arg(long, value_parser = one_of(DEACTIVATIONS))]
        reason: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Take out again what a deactivated device sent since a moment: its entries are struck out, the residents whom it
    /// admitted discharged, and both leave the devices. Nothing is deleted.
    #[command(
        after_help = "Examples:\n  carepost-server device withdraw \"Hall kiosk\" --since \"2026-05-01 14:10\"\n  carepost-server device withdraw \"Hall kiosk\" --since 3d"
    )]
    Withdraw(Withdraw),
}

#[derive(Debug, Args)]
pub(super) struct Withdraw {
    /// The device, by name or id.
    device: String,
    /// What came to the server at this moment or later, such as when it was last seen in its place: a day, or a day
    /// and time, by the clock of the device's facility (UTC where that has no time zone); with an offset, by that; or
    /// how long ago, such as 2h or 3d.
    #[arg(long, value_name = "TIME")]
    since: TimeSpec,
    #[command(flatten)]
    confirm: Confirm,
}

#[derive(Debug, Args)]
pub(super) struct Register {
    /// Its name.
    name: String,
    /// The facility, by name or id.
    #[arg(long)]
    facility: String,
    /// RASPBERRY_PI, TABLET, LAPTOP, WORKSTATION or BADGE_READER.
    #[arg(long = "type", value_name = "TYPE", default_value = "RASPBERRY_PI", value_parser = one_of(DEVICE_TYPES))]
    kind: String,
    /// The label on its hardware.
    #[arg(long)]
    uuid: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The code on its screen.
    code: String,
    /// The facility, by name or id.
    #[arg(long)]
    facility: String,
    /// What it shall be called.
    #[arg(long)]
    name: String,
    /// RASPBERRY_PI, TABLET, LAPTOP, WORKSTATION or BADGE_READER.
    #[arg(long = "type", value_name = "TYPE", default_value = "RASPBERRY_PI", value_parser = one_of(DEVICE_TYPES))]
    kind: String,
}

pub(super) async fn device(client: &Client, device: Device) -> anyhow::Result<Output> {
    let thing = match device {
        Device::Register(new) => return register(client, new).await,
        Device::Approve(approve) => return let_in(client, approve).await,
        Device::Confirm { enrollment, number } => confirm(client, &enrollment.to_string(), &number).await?,
        Device::List { facility } => {
            let id = facility_id(client, &facility).await?;
            client.all(&format!("/api/v1/facilities/{id}/devices")).await?
        }
        Device::Show { device } => {
            let device = device_id(client, &device).await?;
            return Ok(Output::Thing(client.get(&format!("/api/v1/devices/{device}")).await?, &[]));
        }
        Device::Rename { device, name } => {
            let device = device_id(client, &device).await?;
            client.put(&format!("/api/v1/devices/{device}"), &json!({"device_name": name})).await?
        }
        Device::PhiMode { device, mode, confirm } => {
            let path = format!("/api/v1/devices/{}", device_id(client, &device).await?);
            let mode = (mode != "facility").then_some(mode);
            if confirm.asks() {
                ask_about_mode(client, &path, mode.as_deref(), &confirm).await?;
            }
            client.put(&path, &json!({"phi_mode": mode})).await?
        }
        Device::Release { device } => {
            let path = format!("/api/v1/devices/{}", device_id(client, &device).await?);
            let known = client.get(&path).await?;
            let is_quarantined = known.get("state").is_some_and(|state| state == "QUARANTINED");
            anyhow::ensure!(
                is_quarantined,
                "nothing was done: {} is not quarantined",
                DEVICE.described(&known)
            );
            let thing = client.post(&format!("{path}/release"), &json!({})).await?;
            let shown = show::table(&client.by_clock(thing.clone()).await, COLUMNS);
            // It hears of it with its next heartbeat.
            let words = format!(
                "{shown}\n\nIt goes on, and its screen says so, within about a minute while it reaches the server. If the \
                 copy still runs, it is quarantined again."
            );
            return Ok(Output::Found { whole: true, thing, words });
        }
        Device::Deactivate { device, reason, confirm } => {
            return deactivate(client, &device, &reason, &confirm).await;
        }
        Device::Withdraw(asked) => return withdraw(client, asked).await,
    };
    Ok(Output::Thing(thing, COLUMNS))
}

/// Whether a device is sent residents at all: a reader of badges has the same in every mode, and no records.
pub(super) fn holds_residents(device: &Value) -> bool {
    text(device, "device_type") != Some("BADGE_READER")
}

/// Asks about a mode in which a device in use is sent less than now.
async fn ask_about_mode(
    client: &Client,
    path: &str,
    mode: Option<&str>,
    confirm: &Confirm,
) -> anyhow::Result<()> {
    let known = asked_about(client, path).await?;
    let facility = text(&known, "facility_id").context("a device without facility")?;
    let facility = client.get(&format!("/api/v1/facilities/{facility}")).await?;
    let of_all = text(&facility, "phi_mode").unwrap_or_default();
    let (now, then) = (text(&known, "phi_mode").unwrap_or(of_all), mode.unwrap_or(of_all));
    let is_in_use = known.get("is_active") == Some(&Value::Bool(true));
    if is_in_use && holds_residents(&known) && is_narrower(then, now) {
        let device = described(&known);
        confirm.ask(&format!("go from {now} to {then} on {device}: what that hides leaves it"))?;
    }
    Ok(())
}

async fn deactivate(
    client: &Client,
    device: &str,
    reason: &str,
    confirm: &Confirm,
) -> anyhow::Result<Output> {
    let path = format!("/api/v1/devices/{}", device_id(client, device).await?);
    let known = asked_about(client, &path).await?;
    confirm.ask(&format!("deactivate {} as {reason}: {}", described(&known), what_ends(reason)))?;
    let thing = client.post(&format!("{path}/deactivate"), &json!({"reason": reason})).await?;
    let shown = client.by_clock(thing.clone()).await;
    let words = format!("{}\n\n{}", show::table(&shown, COLUMNS), what_follows(&thing));
    Ok(Output::Found { whole: true, thing, words })
}

/// Asks as often as there is more, and says what came of all.
async fn withdraw(client: &Client, Withdraw { device, since, confirm }: Withdraw) -> anyhow::Result<Output> {
    let id = device_in(client, &device, |state| state == "REVOKED").await?;
    let known = asked_about(client, &format!("/api/v1/devices/{id}")).await?;
    let zone = zone_of(&client.all("/api/v1/facilities").await?, known.get("facility_id"));
    let since = since.within(&zone, clock::now())?;
    let said = zone.shown(since);
    let path = format!("/api/v1/devices/{id}/withdraw");
    let count = |of: &Value, what: &str| of.get(what).and_then(Value::as_u64).unwrap_or(0);
    let preview = client.post(&path, &json!({"since": since, "preview": true})).await?;
    confirm.ask(&format!(
        "withdraw {} and {} that {} sent since {said} ({since}): entries are struck out, residents discharged, and both \
         leave the devices",
        entries(count(&preview, "records")),
        counted(count(&preview, "residents"), "admission", "admissions"),
        described(&known),
    ))?;
    let (mut records, mut residents, mut rejected) = (0, 0, 0);
    let last = loop {
        let portion = client.post(&path, &json!({"since": since})).await.with_context(|| {
            let (records, residents) = (entries(records), counted(residents, "resident", "residents"));
            format!("it broke off after {records} and {residents}: repeat it with --since {since}")
        })?;
        records += count(&portion, "records");
        residents += count(&portion, "residents");
        rejected += count(&portion, "rejected");
        if portion.get("more") != Some(&Value::Bool(true)) {
            break portion;
        }
    };
    let [left, edits, decisions, pins] =
        ["left", "edits", "decisions", "pins"].map(|what| count(&last, what));
    let thing = json!({
        "records": records, "residents": residents, "rejected": rejected, "left": left, "edits": edits,
        "decisions": decisions, "pins": pins, "stays": last.get("stays"),
    });
    let words = format!("Since {said}: {}{}", what_became(&thing), what_stays(&last));
    Ok(Output::Found { whole: true, thing, words })
}

fn entries(number: u64) -> String {
    counted(number, "entry", "entries")
}

/// What a withdrawal came to, and what is left to look at.
fn what_became(withdrawn: &Value) -> String {
    let count = |what: &str, one: &str, several: &str| {
        counted(withdrawn.get(what).and_then(Value::as_u64).unwrap_or(0), one, several)
    };
    let records = count("records", "entry is struck out", "entries are struck out");
    let residents = count("residents", "resident", "residents");
    let rejected = count("rejected", "rejected change is discarded", "rejected changes are discarded");
    let left = count("left", "stays", "stay");
    let edits = count("edits", "edit of a resident stays", "edits of residents stay");
    let decisions = count("decisions", "decision about a review stays", "decisions about reviews stay");
    let pins = count("pins", "PIN that was chosen on it stays", "PINs that were chosen on it stay");
    format!(
        "{records} and {residents} discharged; they leave the devices as these hear of it. {rejected}.\n{left}, because \
         others corrected them, charted about them or decided about them since. {edits}: look whether names, rooms and \
         numbers are right. {decisions}: look whether anybody was joined or discharged who should not be. {pins}: set \
         those anew that their owners did not choose."
    )
}

/// What stays, as far as the server names it, a line each.
fn what_stays(withdrawal: &Value) -> String {
    let stays = withdrawal.get("stays").and_then(Value::as_array);
    let line = |one: &Value| {
        let [what, id] = ["what", "id"].map(|key| text(one, key).unwrap_or_default());
        format!("\n{what} {id}")
    };
    stays.into_iter().flatten().map(line).collect()
}

/// A device with its facility's name, its moments by that facility's clock.
async fn asked_about(client: &Client, path: &str) -> anyhow::Result<Value> {
    let alone = client.with_facilities(json!({"items": [client.get(path).await?]})).await?;
    Ok(client.by_clock(items(&alone).first().cloned().unwrap_or_default()).await)
}

/// Which device that is, for whoever pasted the wrong name, or has two of one name.
fn described(device: &Value) -> String {
    let seen = match device.get("is_online") {
        Some(Value::Bool(true)) => "online now".to_owned(),
        _ => text(device, "last_seen").map_or("never seen".to_owned(), |at| format!("last seen {at}")),
    };
    let [name, kind, state, facility] =
        ["device_name", "device_type", "state", "facility"].map(|key| text(device, key).unwrap_or_default());
    format!("{name:?} ({kind}, {state}, {facility}, {seen})")
}

fn what_ends(reason: &str) -> &'static str {
    match reason {
        "lost" | "stolen" => {
            "its key is refused from then on, for good. Whoever has a PIN that it held has to choose another, within \
             seven days, and all badges that it knew get a new key and work on"
        }
        _ => "its key is refused from then on, for good",
    }
}

fn what_follows(deactivated: &Value) -> String {
    let lost = deactivated.get("deactivation_reason").is_some_and(|reason| reason == "lost");
    let count = |what: &str| deactivated.pointer(&format!("/exposed/{what}")).and_then(Value::as_u64);
    match (count("pins"), count("badges")) {
        (Some(pins), Some(badges)) => {
            let pins = counted(pins, "PIN counts", "PINs count");
            let badges = counted(badges, "badge is", "badges are");
            format!(
                "{pins} as known to whoever has it: who has one chooses another at the next sign-in, and after seven \
                 days only `user set-pin` helps.\n{badges} known by a new key from now on, which works on: nobody has to \
                 tap for that."
            )
        }
        _ if lost => "It was reported lost before, or was never let in: nothing more follows.".to_owned(),
        _ => "Its PINs and badges stay as they are. If it is not in hand after all: the same with \
              --reason lost."
            .to_owned(),
    }
}

async fn register(client: &Client, new: Register) -> anyhow::Result<Output> {
    let facility = facility_id(client, &new.facility).await?;
    let body = json!({"facility_id": facility, "device_name": new.name, "device_type": new.kind,
        "device_uuid": new.uuid});
    // Asked before: what is shown once waits for nothing.
    let facilities = client.all("/api/v1/facilities").await?;
    let made = client.post("/api/v1/devices", &body).await?;
    show::say_error(
        "The token is shown once. On the device: carepost-agent enroll --token, then type it in.",
    );
    let mut shown = made.clone();
    put_by_clock(&mut shown, &facilities, &Zone::UTC);
    let words = show::table(&shown, REGISTERED);
    Ok(Output::Found { whole: true, thing: made, words })
}

async fn let_in(client: &Client, approve: Approve) -> anyhow::Result<Output> {
    let facility = facility_id(client, &approve.facility).await?;
    let body = json!({"code": approve.code, "facility_id": facility, "device_name": approve.name,
        "device_type": approve.kind});
    let approved = client.post("/api/v1/enrollments/approve", &body).await?;
    let enrollment = approved.get("enrollment_id").and_then(Value::as_str).context("no enrollment")?;
    let taken = text(&approved, "hardware_of");
    // While another has its hardware, no number lets it in.
    if taken.is_some() || !std::io::stdin().is_terminal() {
        let shown = show::table(&approved, APPROVED);
        let first = taken.map_or(String::new(), |name| {
            format!(
                "\n\n{name:?} has this hardware. First, if this one takes its place and is no copy:\n  carepost-server \
                 device deactivate {name:?} --reason replaced"
            )
        });
        let words = format!(
            "{shown}{first}\n\nNext, with the two digits that it shows now, if it is the right one:\n  carepost-server \
             device confirm {enrollment} NUMBER"
        );
        return Ok(Output::Found { whole: true, thing: approved, words });
    }
    let mut out = std::io::stderr();
    write!(out, "It shows two digits now, if it is the right one: ")?;
    out.flush()?;
    let mut number = String::new();
    std::io::stdin().lock().read_line(&mut number)?;
    Ok(Output::Thing(confirm(client, enrollment, number.trim()).await?, COLUMNS))
}

async fn confirm(client: &Client, enrollment: &str, number: &str) -> anyhow::Result<Value> {
    client.post(&format!("/api/v1/enrollments/{enrollment}/confirm"), &json!({"number": number})).await
}
