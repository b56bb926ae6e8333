//! Organizations, facilities and workflow schemas.

use std::path::PathBuf;
use std::slice::from_ref;

use anyhow::Context as _;
use carepost_host::files;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::confirm::Confirm;
use super::devices::holds_residents;
use super::find::{ask_about_name, facility_id, organization_id};
use super::names::{FACILITY, items, text};
use super::value_parsers::{
    FACILITY_TYPES, ORGANIZATION_TYPES, PHI_MODES, UNITS, YES_NO, count, is_narrower, one_of,
};
use super::{Output, people, show};
use crate::text::counted;

pub(super) const ORGANIZATION: &[&str] = &["name", "slug", "type", "npi", "id"];
pub(super) const COLUMNS: &[&str] = &[
    "name",
    "facility_type",
    "licensed_beds",
    "current_census",
    "occupancy_rate",
    "available_beds",
    "phi_mode",
    "require_encryption",
    "record_days",
    "time_zone",
    "proposed_time_zone",
    "units",
    "id",
];

#[derive(Debug, Subcommand)]
pub(super) enum Org {
    /// Create an organization and its first administrator. Shows its recovery key, once.
    #[command(
        after_help = "Example:\n  carepost-server org create \"Golden Years\" --slug golden-years --type ALF_OPERATOR --admin admin"
    )]
    Create(CreateOrg),
    /// List organizations.
    List,
    /// Give an organization another name. Its slug, which its people sign in with, stays as it is.
    #[command(after_help = "Example:\n  carepost-server org rename golden-years \"Golden Years Living\"")]
    Rename {
        /// The organization, by slug, name or id.
        organization: String,
        /// The new name.
        name: String,
        #[command(flatten)]
        same: SameName,
    },
}

/// Whether a name that another has is meant.
#[derive(Debug, Args)]
pub(super) struct SameName {
    /// Another organization is called so as well: it is so, and no slip. Commands then tell them apart by their slugs.
    #[arg(long)]
    same_name: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateOrg {
    /// Its name.
    name: String,
    #[command(flatten)]
    same: SameName,
    /// Its name in addresses; made from the name unless given.
    #[arg(long)]
    slug: Option<String>,
    /// What kind of operator it is, such as ALF_OPERATOR, SNF_CHAIN or CLINIC.
    #[arg(long = "type", value_name = "TYPE", default_value = "MULTI_SITE_SYSTEM", value_parser = one_of(ORGANIZATION_TYPES))]
    kind: String,
    /// Its National Provider Identifier.
    #[arg(long)]
    npi: Option<String>,
    /// Its first administrator's username.
    #[arg(long, default_value = "admin")]
    admin: String,
    /// The name of the first administrator that people see; the username unless given.
    #[arg(long, value_name = "NAME")]
    admin_name: Option<String>,
    #[command(flatten)]
    password: people::NewPasswordFrom,
}

pub(super) async fn org(client: &Client, org: Org) -> anyhow::Result<Output> {
    match org {
        Org::List => Ok(Output::Thing(client.all("/api/v1/organizations").await?, ORGANIZATION)),
        Org::Rename { organization, name, same } => {
            let path = format!("/api/v1/organizations/{}", organization_id(client, &organization).await?);
            let body = json!({"name": name, "same_name": same.same_name});
            Ok(Output::Thing(client.put(&path, &body).await?, ORGANIZATION))
        }
        Org::Create(new) => {
            let password = new.password.read("Password of the organization's administrator: ")?;
            let password = secrecy::ExposeSecret::expose_secret(&password);
            let admin = json!({"username": new.admin, "display_name": new.admin_name, "password": password});
            let body = json!({"name": new.name, "same_name": new.same.same_name, "slug": new.slug,
                "type": new.kind, "npi": new.npi, "admin": admin});
            let made = client.post("/api/v1/organizations", &body).await?;
            show::say_error(
                "The recovery key below is shown ONCE and kept nowhere: print it and lock it away.",
            );
            show::say_error(
                "With the disk of a device whose own keys are gone, it opens what was charted there and never \
                 sent: by hand, as docs/operator.md says. No command takes it yet.",
            );
            Ok(Output::Thing(made, &["id", "name", "slug", "type", "recovery_key"]))
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Facility {
    /// Add a facility. A name that shares words with another's is asked about: commands find facilities by them.
    #[command(
        after_help = "Example:\n  carepost-server facility create Riverside --type ALF --beds 48 --census 44"
    )]
    Create(CreateFacility),
    /// List facilities with their figures.
    List,
    /// Show all of a facility; how much its devices hold, and what to do when that is near to the most.
    Show {
        /// The facility, by name or id.
        facility: String,
    },
    /// Give a facility another name. Its kiosks show it from their next sync on.
    #[command(after_help = "Example:\n  carepost-server facility rename Rivreside Riverside")]
    Rename {
        /// The facility, by name or id.
        facility: String,
        /// The new name, which no other facility of the organization has. One that shares words with another's is asked
        /// about.
        name: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Report how many residents a facility has.
    Census {
        /// The facility, by name or id.
        facility: String,
        /// So many.
        #[arg(value_parser = count, allow_negative_numbers = true)]
        census: u32,
        #[command(flatten)]
        over: OverCapacity,
    },
    /// Say how much of a resident the devices of a facility are sent; they then make their copies anew.
    #[command(after_help = "Example:\n  carepost-server facility phi-mode Riverside minimal")]
    PhiMode {
        /// The facility, by name or id.
        facility: String,
        /// full, minimal (initials and room) or free (case number only).
        #[arg(value_parser = one_of(PHI_MODES))]
        mode: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Say whether the devices of a facility are sent anything only while they are encrypted. What they
    /// chart is taken in any case.
    #[command(after_help = "Example:\n  carepost-server facility require-encryption Riverside yes")]
    RequireEncryption {
        /// The facility, by name or id.
        facility: String,
        /// yes or no.
        #[arg(value_parser = one_of(YES_NO))]
        required: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Say for how many days records stay on the devices of a facility. Older ones are kept on the server,
    /// and kiosks ask for them. What has left does not come back when the days become more.
    #[command(after_help = "Example:\n  carepost-server facility record-days Riverside 30")]
    RecordDays {
        /// The facility, by name or id.
        facility: String,
        /// 7 to 3650; without it, as the server's configuration says.
        #[arg(value_parser = count, allow_negative_numbers = true)]
        days: Option<u32>,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Say in which time zone a facility is: its devices show and ask for times in it, whatever their own is.
    #[command(after_help = "Example:\n  carepost-server facility time-zone Riverside America/Chicago")]
    TimeZone {
        /// The facility, by name or id.
        facility: String,
        /// Its IANA name; without it, each device's own counts.
        zone: Option<String>,
    },
    /// Say in which measures a facility charts. What is stored stays in each schema's own unit, and what was
    /// charted before is shown in these.
    #[command(after_help = "Example:\n  carepost-server facility units Riverside metric")]
    Units {
        /// The facility, by name or id.
        facility: String,
        /// metric (°C, kg, cm), us_customary (°F, lb, in), or as_published: each form's own.
        #[arg(value_parser = one_of(UNITS))]
        units: String,
    },
}

/// Whether more residents than beds are meant.
#[derive(Debug, Args)]
pub(super) struct OverCapacity {
    /// There are more residents than licensed beds: it is so, and no slip.
    #[arg(long)]
    over_capacity: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateFacility {
    /// Its name.
    name: String,
    /// What care it gives: HOME_HEALTH, ALF, MEMORY_CARE, SNF, HOSPICE, CLINIC or HOSPITAL.
    #[arg(long = "type", value_name = "TYPE", value_parser = one_of(FACILITY_TYPES))]
    kind: String,
    /// Licensed beds, where it has any.
    #[arg(long, value_name = "NUMBER", value_parser = count, allow_negative_numbers = true)]
    beds: Option<u32>,
    /// How many residents it has.
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = count, allow_negative_numbers = true)]
    census: u32,
    #[command(flatten)]
    over: OverCapacity,
    /// Whom to call when a kiosk cannot help.
    #[arg(long)]
    phone: Option<String>,
    /// How much of a resident its devices are sent: full, minimal (initials and room) or free (case number
    /// only).
    #[arg(long, value_name = "MODE", default_value = "full", value_parser = one_of(PHI_MODES))]
    phi_mode: String,
    /// The IANA name of its time zone.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The state of its address, which proposes a time zone while none is set.
    #[arg(long)]
    state: Option<String>,
    /// In which measures it charts: metric (°C, kg, cm), us_customary (°F, lb, in), or each form's own.
    #[arg(long, value_parser = one_of(UNITS), default_value = "as_published")]
    units: String,
    #[command(flatten)]
    confirm: Confirm,
}

pub(super) async fn facility(client: &Client, facility: Facility) -> anyhow::Result<Output> {
    let thing = match facility {
        Facility::List => client.all("/api/v1/facilities").await?,
        Facility::Show { facility } => {
            let id = facility_id(client, &facility).await?;
            return Ok(Output::Thing(client.get(&format!("/api/v1/facilities/{id}")).await?, &[]));
        }
        Facility::Create(new) => {
            ask_about_name(client, None, &new.name, &new.confirm).await?;
            let body = json!({"name": new.name, "facility_type": new.kind, "licensed_beds": new.beds,
                "current_census": new.census, "over_capacity": new.over.over_capacity, "phone": new.phone, "phi_mode": new.phi_mode, "units": new.units,
                "time_zone": new.time_zone, "address": new.state.map(|state| json!({"state": state}))});
            client.post("/api/v1/facilities", &body).await?
        }
        Facility::Rename { facility, name, confirm } => {
            let id = facility_id(client, &facility).await?;
            ask_about_name(client, Some(&id), &name, &confirm).await?;
            client.put(&format!("/api/v1/facilities/{id}"), &json!({"name": name})).await?
        }
        Facility::PhiMode { facility, mode, confirm } => {
            change(client, &facility, &json!({"phi_mode": mode}), &confirm).await?
        }
        Facility::RequireEncryption { facility, required, confirm } => {
            change(client, &facility, &json!({"require_encryption": required == "yes"}), &confirm).await?
        }
        Facility::RecordDays { facility, days, confirm } => {
            change(client, &facility, &json!({"record_days": days}), &confirm).await?
        }
        Facility::TimeZone { facility, zone } => {
            let id = facility_id(client, &facility).await?;
            client.put(&format!("/api/v1/facilities/{id}"), &json!({"time_zone": zone})).await?
        }
        Facility::Units { facility, units } => {
            let id = facility_id(client, &facility).await?;
            client.put(&format!("/api/v1/facilities/{id}"), &json!({"units": units})).await?
        }
        Facility::Census { facility, census, over } => {
            let id = facility_id(client, &facility).await?;
            let body = json!({"current_census": census, "over_capacity": over.over_capacity});
            client.put(&format!("/api/v1/facilities/{id}/census"), &body).await?
        }
    };
    if let Some(note) = thing.get("time_zone_note").and_then(Value::as_str) {
        show::say_error(note);
    }
    Ok(Output::Thing(thing, COLUMNS))
}

/// Changes a facility, once somebody has said that its devices may lose what that takes from them.
async fn change(client: &Client, facility: &str, change: &Value, confirm: &Confirm) -> anyhow::Result<Value> {
    let path = format!("/api/v1/facilities/{}", facility_id(client, facility).await?);
    if confirm.asks() {
        let (known, devices) = (client.get(&path).await?, client.all(&format!("{path}/devices")).await?);
        loss(&known, items(&devices), change).map_or(Ok(()), |what| confirm.ask(&what))?;
    }
    client.put(&path, change).await
}

/// What a change takes from a facility's devices in use, and from which; none where it takes nothing.
fn loss(known: &Value, devices: &[Value], change: &Value) -> Option<String> {
    let is = |it: &Value, what: &str| it.get(what) == Some(&Value::Bool(true));
    let (at, in_use) = (FACILITY.described(known), devices.iter().filter(|it| is(it, "is_active")));
    let (what, from): (String, Vec<&Value>) = if let Some(mode) = text(change, "phi_mode") {
        let now = text(known, "phi_mode").filter(|now| is_narrower(mode, now))?;
        let what = format!("go from {now} to {mode} at {at}: what that hides leaves these devices");
        (what, in_use.filter(|it| holds_residents(it) && text(it, "phi_mode").is_none()).collect())
    } else if let Some(days) = change.get("record_days") {
        let now = known.get("record_days").filter(|now| are_fewer(days, now))?;
        let said = |days: &Value| match days.as_u64() {
            Some(days) => counted(days, "day", "days"),
            None => "as many days as server.toml says".to_owned(),
        };
        let what = format!(
            "keep records at {at} for {}, where it was {}: older ones leave these devices, and do not come back to them",
            said(days),
            said(now)
        );
        (what, in_use.filter(|it| holds_residents(it)).collect())
    } else if is(change, "require_encryption") && !is(known, "require_encryption") {
        let what = format!(
            "demand encryption at {at}: nothing is sent any more to these devices until they are encrypted"
        );
        (what, in_use.filter(|it| !is(it, "encrypted")).collect())
    } else {
        return None;
    };
    let names: Vec<_> = from.into_iter().filter_map(|it| text(it, "device_name")).collect();
    (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
}

/// Whether days are fewer than others, as far as is known: how many server.toml says is not shown.
fn are_fewer(days: &Value, than: &Value) -> bool {
    days != than && days.as_u64().zip(than.as_u64()).is_none_or(|(days, than)| days < than)
}

#[derive(Debug, Subcommand)]
pub(super) enum Workflow {
    /// Publish a schema: a new workflow, or the next version of the one with its key.
    #[command(after_help = "Example:\n  carepost-server workflow publish vitals.json")]
    Publish {
        /// A JSON file with key, label and fields; or what `workflow list --json` shows, of which each is published.
        file: PathBuf,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// List workflows.
    List,
}

pub(super) async fn workflow(client: &Client, workflow: Workflow) -> anyhow::Result<Output> {
    let thing = match workflow {
        Workflow::List => client.all("/api/v1/workflows").await?,
        Workflow::Publish { file, confirm } => {
            let text = files::read_text(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let body: Value =
                serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
            let forms = body.get("items").and_then(Value::as_array);
            ask_about_forms(client, forms.map_or(from_ref(&body), Vec::as_slice), &confirm).await?;
            match forms {
                None => client.post("/api/v1/workflows", &body).await?,
                Some(forms) => all_of(client, forms).await?,
            }
        }
    };
    Ok(Output::Thing(thing, &["key", "label", "version", "enabled", "id"]))
}

/// Asks about forms that kiosks offer, and are to offer no more; not about one that was changed in a version before the
/// one that is there, as the server takes nothing back with that.
async fn ask_about_forms(client: &Client, forms: &[Value], confirm: &Confirm) -> anyhow::Result<()> {
    let is_offered = |form: &Value, offered: bool| form.get("enabled") == Some(&Value::Bool(offered));
    let off: Vec<_> = forms.iter().filter(|form| is_offered(form, false)).collect();
    if off.is_empty() || !confirm.asks() {
        return Ok(());
    }
    let known = client.all("/api/v1/workflows").await?;
    let version = |form: &Value| form.get("version").and_then(Value::as_u64);
    let is_off = |known: &Value| {
        let mut off = off.iter().filter(|form| form.get("key") == known.get("key"));
        off.any(|form| version(form).is_none_or(|it| Some(it) == version(known)))
    };
    let leave = items(&known).iter().filter(|form| is_offered(form, true) && is_off(form));
    let labels: Vec<_> = leave.filter_map(|form| text(form, "label")).collect();
    if labels.is_empty() {
        return Ok(());
    }
    confirm.ask(&format!(
        "take these forms from all kiosks, where nobody begins one any more: {}",
        labels.join(", ")
    ))
}

/// Publishes each form of a list. One that is there as it is gets no new version, so that a list of which one is refused
/// is given again once that is put right; one of which a later version was published meanwhile takes nothing of it back.
async fn all_of(client: &Client, forms: &[Value]) -> anyhow::Result<Value> {
    let mut published = Vec::new();
    for form in forms {
        let key = form.get("key").and_then(Value::as_str).unwrap_or("a form without a key");
        let of = || format!("{key}, after {} that are published", published.len());
        let done = client.post("/api/v1/workflows", form).await.with_context(of)?;
        published.push(done);
    }
    Ok(json!({ "items": published }))
}
