//! Patients: admitting, listing, discharging, readmitting, and parting two who were taken for one person.

use std::io::IsTerminal as _;

use anyhow::bail;
use carepost_protocol::change::Change;
use carepost_protocol::patient::{FIELDS, Field};
use carepost_protocol::wire::problem::ProblemKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Client, ClientError};
use super::confirm::Confirm;
use super::find::{facility_id, patient_id, replaced_id};
use super::labels;
use super::names::{PATIENT, items, text};
use super::{Output, show};

/// The columns of a list, besides the fields.
pub(super) const LISTED: &[&str] = &["facility", "status", "id", SAME];
/// Who is the same person, by name and number.
const SAME: &str = "same_person_as";

#[derive(Debug, Subcommand)]
pub(super) enum Patient {
    /// Admit a patient.
    #[command(
        after_help = "Example:\n  carepost-server patient create \"Ada Amberly\" --mrn R-1001 --facility Riverside --room 12 --born 1941-03-15"
    )]
    Create(CreatePatient),
    /// List the patients in care.
    #[command(
        after_help = "Examples:\n  carepost-server patient list --facility Riverside --discharged\n  carepost-server patient list --all --find \"amb ada\""
    )]
    List {
        /// Those of this facility, by name or id; of all unless given.
        #[arg(long)]
        facility: Option<String>,
        /// Those who were discharged, instead.
        #[arg(long)]
        discharged: bool,
        /// Those who were discharged as well.
        #[arg(long, conflicts_with = "discharged")]
        all: bool,
        /// Those whose name, room or medical record number begins so, in any order of words; "room 12" is a room.
        #[arg(long, value_name = "TEXT")]
        find: Option<String>,
    },
    /// Show a patient: who it is, who is the same person, and who may be. Of two who may be one, the one who was
    /// admitted, or given the other's number, last says so.
    #[command(after_help = "Example:\n  carepost-server patient show R-1001")]
    Show {
        /// The patient, by medical record number, name or id.
        patient: String,
    },
    /// Discharge a patient: no longer in care here. What was charted stays, and `readmit` takes it back.
    #[command(after_help = "Example:\n  carepost-server patient discharge R-1001")]
    Discharge {
        /// The patient, by medical record number, name or id.
        patient: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Take a discharged patient into care again, with all that was charted.
    #[command(after_help = "Example:\n  carepost-server patient readmit R-1001")]
    Readmit {
        /// The patient, by medical record number, name or id.
        patient: String,
    },
    /// Part a patient from another who was said to be the same person: both are persons of their own again, each with
    /// what was charted about them. The patient is in care then; the other stays in care, or discharged, as before.
    #[command(after_help = "Example:\n  carepost-server patient part R-1002")]
    Part {
        /// The patient whose place the other took, by medical record number, name or id.
        patient: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreatePatient {
    /// The full name.
    name: String,
    /// The facility, by name or id.
    #[arg(long)]
    facility: String,
    #[command(flatten)]
    fields: Fields,
    /// An unlikely day of birth, such as a child's, is right.
    #[arg(long)]
    confirmed: bool,
    /// It is another person than this patient, by medical record number, name or id; give it for each.
    #[arg(long, value_name = "PATIENT")]
    another_than: Vec<String>,
}

/// A patient's fields but the name: an option each.
#[derive(Debug)]
struct Fields(Map<String, Value>);

impl Fields {
    fn asked() -> impl Iterator<Item = &'static Field> {
        FIELDS.iter().filter(|field| field.is_asked() && field.key != "name")
    }
}

impl Args for Fields {
    fn augment_args(command: Command) -> Command {
        Self::asked().fold(command, |command, field| {
            let long = if field.key == "date_of_birth" { "born" } else { field.key };
            command.arg(Arg::new(field.key).long(long).value_name(field.short).help(field.what))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Fields {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |field: &Field| {
            Some((field.key.to_owned(), Value::from(matches.get_one::<String>(field.key)?.as_str())))
        };
        Ok(Self(Self::asked().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(super) async fn patient(client: &Client, patient: Patient, json: bool) -> anyhow::Result<Output> {
    let thing = match patient {
        Patient::List { facility, discharged, all, find } => {
            return list(client, facility.as_deref(), (!all).then_some(!discharged), find, json).await;
        }
        Patient::Create(new) => create(client, new).await?,
        Patient::Show { patient } => client.get(&path(&patient_id(client, &patient).await?)).await?,
        Patient::Discharge { patient, confirm } => {
            let path = path(&patient_id(client, &patient).await?);
            let known = client.get(&path).await?;
            if !is_in_care(&known) {
                bail!("nothing was done: {}", standing(&client.by_clock(known).await));
            }
            confirm.ask(&leaving(&known))?;
            client.delete(&path).await?
        }
        Patient::Readmit { patient } => {
            let path = path(&patient_id(client, &patient).await?);
            let known = client.get(&path).await?;
            if is_in_care(&known) || text(&known, "replaced_by").is_some() {
                bail!("nothing was done: {}", standing(&client.by_clock(known).await));
            }
            client.put(&path, &json!({"is_active": true})).await?
        }
        Patient::Part { patient, confirm } => {
            let path = path(&replaced_id(client, &patient).await?);
            let known = client.get(&path).await?;
            let Some(other) = text(&known, "replaced_by") else {
                bail!("nothing was done: {} is a person of their own", PATIENT.described(&known));
            };
            let other = client.get(&self::path(other)).await?;
            confirm.ask(&parting(&known, &other))?;
            client.put(&path, &json!({"is_active": true})).await?
        }
    };
    let shown = if json { thing.clone() } else { with_same(client, thing.clone(), None).await? };
    let mut words = show::table(&shown, &columns(&["is_active", "id", SAME]));
    words.extend(asked(&thing));
    Ok(Output::Found { whole: true, thing, words })
}

/// Admits somebody. Where that may be somebody who is known, whoever sits at a terminal is asked.
async fn create(client: &Client, new: CreatePatient) -> anyhow::Result<Value> {
    let facility = facility_id(client, &new.facility).await?;
    let mut confirmed = Vec::from_iter(new.confirmed.then(|| "date_of_birth".to_owned()));
    for known in &new.another_than {
        confirmed.push(Change::another(patient_id(client, known).await?.parse()?));
    }
    let mut body = new.fields.0;
    body.insert("name".to_owned(), new.name.as_str().into());
    body.insert("facility_id".to_owned(), facility.into());
    loop {
        body.insert("confirmed".to_owned(), json!(confirmed));
        let done = client.post("/api/v1/patients", &Value::from(body.clone())).await;
        let problem = match done.as_ref().err().and_then(|fault| fault.downcast_ref()) {
            Some(ClientError::Refused(it)) if it.kind() == Some(ProblemKind::KnownResident) => it,
            _ => return done,
        };
        if !std::io::stdin().is_terminal() {
            return done;
        }
        let known = problem.detail.trim_end_matches('.').replace(" (`confirmed`)", "");
        Confirm::ASKS.ask(&format!("admit {} as another person than is known. {known}", new.name))?;
        // Each answer names some who were not named before.
        confirmed.extend(problem.errors.iter().map(|unsaid| unsaid.detail.clone()));
    }
}

/// The fields, the number by which people are told apart first, and these.
fn columns(others: &[&'static str]) -> Vec<&'static str> {
    let mut fields: Vec<&Field> = FIELDS.iter().filter(|field| field.is_asked()).collect();
    fields.sort_by_key(|field| field.key != "mrn");
    fields.into_iter().map(|field| field.key).chain(others.iter().copied()).collect()
}

fn path(id: &str) -> String {
    format!("/api/v1/patients/{id}")
}

/// Lists those in care, those who are not, or all: for people with the names of their facilities.
async fn list(
    client: &Client,
    facility: Option<&str>,
    in_care: Option<bool>,
    find: Option<String>,
    json: bool,
) -> anyhow::Result<Output> {
    let facility = match facility {
        Some(facility) => Some(facility_id(client, facility).await?),
        None => None,
    };
    let find = find.map(|typed| escaped(&typed));
    let asked =
        [("facility_id", facility.clone()), ("is_active", in_care.map(|it| it.to_string())), ("find", find)];
    let asked = asked.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
    let path = format!("/api/v1/patients?{}", asked.collect::<Vec<_>>().join("&"));
    let thing = client.all(&path).await?;
    if json {
        return Ok(Output::Thing(thing, &[]));
    }
    let shown = client.with_facilities(thing.clone()).await?;
    let mut shown = with_same(client, shown, facility.as_deref()).await?;
    for item in shown.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let status = if is_in_care(item) { "in care" } else { "discharged" };
        if let Some(item) = item.as_object_mut() {
            item.insert("status".to_owned(), status.into());
        }
    }
    let words = show::table(&shown, &columns(LISTED));
    Ok(Output::Found { whole: true, thing, words })
}

/// A text as a URL has it.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn is_in_care(patient: &Value) -> bool {
    patient.get("is_active") == Some(&Value::Bool(true))
}

/// A list, of a facility or all, or one patient, with who is the same person as whom by name and number.
async fn with_same(client: &Client, mut shown: Value, facility: Option<&str>) -> anyhow::Result<Value> {
    let same = |item: &Value| -> Vec<Value> {
        let replaces = item.get("replaces").and_then(Value::as_array).into_iter().flatten();
        item.get("replaced_by").into_iter().chain(replaces).filter(|id| id.is_string()).cloned().collect()
    };
    // Nobody is looked up whom nobody is shown.
    if std::iter::once(&shown).chain(items(&shown)).all(|item| same(item).is_empty()) {
        return Ok(shown);
    }
    let others = if shown.get("items").is_some() {
        let of = facility.map_or_else(String::new, |id| format!("?facility_id={id}"));
        items(&client.all(&format!("/api/v1/patients{of}")).await?).to_vec()
    } else {
        labels::patients(client, same(&shown).iter().filter_map(Value::as_str)).await
    };
    let tell = |item: &mut Value| {
        let named: Vec<String> = same(item).iter().map(|id| labels::patient(&others, Some(id))).collect();
        if let Some(item) = item.as_object_mut().filter(|_| !named.is_empty()) {
            item.insert(SAME.to_owned(), named.join(", ").into());
        }
    };
    match shown.get_mut("items").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().for_each(tell),
        None => tell(&mut shown),
    }
    Ok(shown)
}

/// What a review asks about a patient, and where it is decided.
fn asked(patient: &Value) -> Option<String> {
    let may_be = patient.get("may_be").and_then(Value::as_array).filter(|may_be| !may_be.is_empty())?;
    let named: Vec<String> = may_be.iter().map(|it| PATIENT.described(it)).collect();
    Some(format!(
        "\nA review asks whether this is the same person as {}. Decide it at a kiosk of the facility, under \"Needs a \
         look\": there, Same person makes them one, and Two different people keeps both.",
        named.join(" or ")
    ))
}

/// Who is meant, whether in care and since when, and what changes that.
fn standing(patient: &Value) -> String {
    let since = text(patient, "is_active_since").map_or(String::new(), |since| format!(" since {since}"));
    let status = match (is_in_care(patient), text(patient, "replaced_by")) {
        (true, _) => format!("has been in care{since}"),
        (false, None) => format!("has been discharged{since}. `patient readmit` takes them into care again"),
        (false, Some(other)) => format!(
            "is the same person as patient {other}, who is in the list instead. If they are two, \
             `carepost-server patient part {}` parts them",
            text(patient, "id").unwrap_or("ID")
        ),
    };
    format!("{} {status}", PATIENT.described(patient))
}

/// What parting two changes.
fn parting(patient: &Value, other: &Value) -> String {
    let (one, two) = (PATIENT.described(patient), PATIENT.described(other));
    let lists = if is_in_care(other) {
        "both in care and on the kiosks' lists".to_owned()
    } else {
        format!("{one} in care and on the kiosks' lists, {two} not in care, as before")
    };
    format!(
        "part {one} from {two}: they are two persons again, {lists}, and what was charted under each is theirs alone"
    )
}

/// What a discharge ends.
fn leaving(patient: &Value) -> String {
    let part = |key| text(patient, key).unwrap_or("-");
    let (name, mrn, room) = (part("name"), part("mrn"), part("room"));
    format!(
        "discharge {name} (MRN {mrn}, room {room}), off the kiosks' lists from their next sync on. What was charted \
         stays, and `patient readmit` takes it back"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parting_changes_is_said_of_each() {
        let ada = json!({"name": "Ada Amberly", "mrn": "R-1", "is_active": false});
        for (is_active, words) in [
            (true, "two persons again, both in care and on the kiosks' lists, and"),
            (
                false,
                "again, Ada Amberly (MRN R-1) in care and on the kiosks' lists, Ada Other (MRN R-2) not in care",
            ),
        ] {
            let other = json!({"name": "Ada Other", "mrn": "R-2", "is_active": is_active});
            let said = parting(&ada, &other);
            assert!(said.starts_with("part Ada Amberly (MRN R-1) from Ada Other (MRN R-2): "), "{said}");
            assert!(said.contains(words), "{said}");
        }
    }
}
