//! Patients: admitting, listing, discharging, readmitting.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::find::{facility_id, patient_id};
use super::names::{PATIENT, text};
use super::sure::Sure;
use super::{Said, show};

const ONE: &[&str] = &["mrn", "name", "date_of_birth", "room", "is_active", "id", "replaced_by"];
const LISTED: &[&str] = &["mrn", "name", "date_of_birth", "room", "facility", "status", "id", "replaced_by"];

#[derive(Debug, Subcommand)]
pub(super) enum Patient {
    /// Admit a patient.
    #[command(
        after_help = "Example:\n  carepost-server patient create \"Ada Amberly\" --mrn R-1001 --facility Riverside --room 12 --born 1941-03-15"
    )]
    Create(CreatePatient),
    /// List the patients in care.
    #[command(after_help = "Example:\n  carepost-server patient list --facility Riverside --discharged")]
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
    },
    /// Discharge a patient: no longer in care here. What was charted stays, and `readmit` takes it back.
    #[command(after_help = "Example:\n  carepost-server patient discharge R-1001")]
    Discharge {
        /// The patient, by medical record number, name or id.
        patient: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Take a discharged patient into care again, with all that was charted.
    #[command(after_help = "Example:\n  carepost-server patient readmit R-1001")]
    Readmit {
        /// The patient, by medical record number, name or id.
        patient: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreatePatient {
    /// The full name.
    name: String,
    /// The medical record number, where there is one.
    #[arg(long)]
    mrn: Option<String>,
    /// The facility, by name or id.
    #[arg(long)]
    facility: String,
    /// The room.
    #[arg(long)]
    room: Option<String>,
    /// The day of birth: 1941-03-15 or 03/15/1941.
    #[arg(long)]
    born: Option<String>,
}

pub(super) async fn patient(client: &Client, patient: Patient) -> anyhow::Result<Said> {
    let thing = match patient {
        Patient::List { facility, discharged, all } => {
            return list(client, facility.as_deref(), (!all).then_some(!discharged)).await;
        }
        Patient::Create(new) => {
            let facility = facility_id(client, &new.facility).await?;
            let body = json!({"facility_id": facility, "mrn": new.mrn, "name": new.name, "room": new.room,
                "date_of_birth": new.born});
            client.post("/api/v1/patients", &body).await?
        }
        Patient::Discharge { patient, sure } => {
            let path = format!("/api/v1/patients/{}", patient_id(client, &patient).await?);
            let known = client.get(&path).await?;
            if !is_in_care(&known) {
                bail!("nothing was done: {}. `patient readmit` takes them into care again", standing(&known));
            }
            sure.of(&leaving(&known))?;
            client.delete(&path).await?
        }
        Patient::Readmit { patient } => {
            let path = format!("/api/v1/patients/{}", patient_id(client, &patient).await?);
            let known = client.get(&path).await?;
            if is_in_care(&known) {
                bail!("nothing was done: {}", standing(&known));
            }
            client.put(&path, &json!({"is_active": true})).await?
        }
    };
    Ok(Said::Thing(thing, ONE))
}

/// Lists those in care, those who are not, or all: for people with the names of their facilities.
async fn list(client: &Client, facility: Option<&str>, in_care: Option<bool>) -> anyhow::Result<Said> {
    let facility = match facility {
        Some(facility) => Some(facility_id(client, facility).await?),
        None => None,
    };
    let asked = [("facility_id", facility), ("is_active", in_care.map(|it| it.to_string()))];
    let asked = asked.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
    let path = format!("/api/v1/patients?{}", asked.collect::<Vec<_>>().join("&"));
    let thing = client.get(&path).await?;
    let mut shown = client.with_facilities(thing.clone()).await?;
    for item in shown.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let status = if is_in_care(item) { "in care" } else { "discharged" };
        if let Some(item) = item.as_object_mut() {
            item.insert("status".to_owned(), status.into());
        }
    }
    let words = show::table(&shown, LISTED);
    Ok(Said::Found { whole: true, thing, words })
}

fn is_in_care(patient: &Value) -> bool {
    patient.get("is_active") == Some(&Value::Bool(true))
}

/// Who is meant, and whether in care, since when.
fn standing(patient: &Value) -> String {
    let status = match (is_in_care(patient), text(patient, "replaced_by")) {
        (true, _) => "has been in care".to_owned(),
        (false, None) => "has been discharged".to_owned(),
        (false, Some(other)) => format!("is the same person as patient {other}, who is in the list instead"),
    };
    let since = text(patient, "is_active_since").map_or(String::new(), |since| format!(" since {since}"));
    format!("{} {status}{since}", PATIENT.described(patient))
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
