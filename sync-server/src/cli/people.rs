//! Signing in; users, badges and patients.

use std::path::PathBuf;

use anyhow::Context as _;
use carepost_protocol::id::BadgeId;
use carepost_protocol::patient::mrn_key;
use carepost_protocol::record::MAX_REPLACED;
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::client::{Client, is_id, named, one};
use super::devices::device_id;
use super::sure::Sure;
use super::tenants::facility_id;
use super::{Said, show};
use crate::{card, files};

const USER: &[&str] =
    &["username", "display_name", "role", "is_active", "has_pin", "pin_exposed_at", "has_password", "id"];
const BADGE: &[&str] = &["id", "is_active", "created_at"];
const PATIENT: &[&str] = &["mrn", "name", "date_of_birth", "room", "is_active", "id", "replaced_by"];

/// Where a password comes from; never from the command line, which every user of the machine can read.
#[derive(Debug, Args)]
pub(super) struct PasswordFrom {
    /// Read the password from this file instead of asking; CAREPOST_PASSWORD does as well.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordFrom {
    pub(super) fn read(&self, prompt: &str) -> anyhow::Result<SecretString> {
        secret(self.password_file.as_ref(), "CAREPOST_PASSWORD", prompt)
    }
}

/// Where the password of somebody else comes from. The variable is another than that of whoever acts: a
/// password that is set to sign in with becomes nobody else's.
#[derive(Debug, Args)]
pub(super) struct NewPasswordFrom {
    /// Read the new password from this file instead of asking; CAREPOST_NEW_PASSWORD does as well.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl NewPasswordFrom {
    pub(super) fn read(&self, prompt: &str) -> anyhow::Result<SecretString> {
        secret(self.password_file.as_ref(), "CAREPOST_NEW_PASSWORD", prompt)
    }
}

/// Where a PIN comes from.
#[derive(Debug, Args)]
pub(super) struct PinFrom {
    /// Read the PIN from this file instead of asking; CAREPOST_PIN does as well.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

fn secret(file: Option<&PathBuf>, variable: &str, prompt: &str) -> anyhow::Result<SecretString> {
    if let Some(file) = file {
        let text = files::read_text(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(SecretString::from(text.trim_end_matches(['\n', '\r'])));
    }
    if let Ok(text) = std::env::var(variable) {
        return Ok(SecretString::from(text));
    }
    let text = rpassword::prompt_password(prompt)
        .with_context(|| format!("no terminal to ask on: set {variable}"))?;
    Ok(SecretString::from(text))
}

/// Who signs in.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  carepost-server sign-in root\n  carepost-server sign-in --of golden-years admin"
)]
pub(super) struct SignIn {
    /// The name.
    username: String,
    /// The organization's slug; none for the platform's administrators.
    #[arg(long = "of", value_name = "SLUG")]
    slug: Option<String>,
    #[command(flatten)]
    password: PasswordFrom,
}

pub(super) async fn sign_in(client: &Client, who: SignIn) -> anyhow::Result<Said> {
    let password = who.password.read("Password: ")?;
    let body =
        json!({"organization": who.slug, "username": who.username, "password": password.expose_secret()});
    let session = client.sign_in(&body).await?;
    let role = session.get("role").and_then(Value::as_str).unwrap_or_default();
    Ok(Said::Words(format!("signed in: {} ({role})", who.username)))
}

pub(super) async fn sign_out(client: &Client) -> anyhow::Result<Said> {
    client.sign_out().await?;
    Ok(Said::Words("signed out".to_owned()))
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    #[command(flatten)]
    Api(User),
    /// Let a user who was locked out sign in again at once: on the server's own machine, without a session. The
    /// server may run.
    #[command(
        after_help = "Examples:\n  carepost-server user unlock root\n  carepost-server user unlock nora --organization golden-years"
    )]
    Unlock {
        /// The username: a platform administrator's, or with --organization a user's of that.
        user: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a user.
    #[command(
        after_help = "Example:\n  carepost-server user create nora --name \"Nora Quist\" --role rn --facility Riverside"
    )]
    Create(CreateUser),
    /// List users.
    List,
    /// Switch a user on again.
    Activate {
        /// The user, by username or id.
        user: String,
    },
    /// Switch a user off, at the server and at every kiosk.
    Deactivate {
        /// The user, by username or id.
        user: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Set a user's PIN for kiosks.
    SetPin {
        /// The user, by username or id.
        user: String,
        #[command(flatten)]
        pin: PinFrom,
    },
    /// Set a user's password for the server.
    SetPassword {
        /// The user, by username or id.
        user: String,
        #[command(flatten)]
        password: NewPasswordFrom,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateUser {
    /// The name to sign in with.
    username: String,
    /// The name people see; the username unless given.
    #[arg(long)]
    name: Option<String>,
    /// org_admin, facility_admin, rn, lpn, medical_assistant, caregiver, family or auditor.
    #[arg(long)]
    role: String,
    /// The home facility, by name or id.
    #[arg(long)]
    facility: Option<String>,
    /// The employer's number.
    #[arg(long)]
    employee_id: Option<String>,
}

pub(super) async fn user(client: &Client, user: User) -> anyhow::Result<Said> {
    match user {
        User::List => Ok(Said::Thing(client.get("/api/v1/users").await?, USER)),
        User::Create(new) => {
            let facility = match &new.facility {
                Some(facility) => Some(facility_id(client, facility).await?),
                None => None,
            };
            let body = json!({"username": new.username, "display_name": new.name, "role": new.role,
                "facility_id": facility, "employee_id": new.employee_id});
            Ok(Said::Thing(client.post("/api/v1/users", &body).await?, USER))
        }
        User::Activate { user } => switch(client, &user_id(client, &user).await?, true).await,
        User::Deactivate { user, sure } => {
            let id = user_id(client, &user).await?;
            let found = client.get(&format!("/api/v1/users/{id}")).await?;
            sure.of(&format!("switch off {}, at the server and at every kiosk", name_of(&found)))?;
            switch(client, &id, false).await
        }
        User::SetPin { user, pin } => {
            let id = user_id(client, &user).await?;
            let pin = secret(pin.pin_file.as_ref(), "CAREPOST_PIN", "New PIN: ")?;
            let body = json!({"pin": pin.expose_secret()});
            client.put(&format!("/api/v1/users/{id}/pin"), &body).await?;
            Ok(Said::Words("the PIN is set; kiosks know it from their next sync on".to_owned()))
        }
        User::SetPassword { user, password } => {
            let id = user_id(client, &user).await?;
            let body = json!({"password": password.read("New password: ")?.expose_secret()});
            client.put(&format!("/api/v1/users/{id}/password"), &body).await?;
            Ok(Said::Words("the password is set; older sessions have ended".to_owned()))
        }
    }
}

async fn switch(client: &Client, id: &str, on: bool) -> anyhow::Result<Said> {
    let thing = client.put(&format!("/api/v1/users/{id}"), &json!({"is_active": on})).await?;
    Ok(Said::Thing(thing, USER))
}

/// A user by name or id.
pub(super) async fn user_id(client: &Client, name: &str) -> anyhow::Result<String> {
    client.find("/api/v1/users", "username", name).await
}

#[derive(Debug, Subcommand)]
pub(super) enum Badge {
    /// Issue a badge to a user.
    #[command(
        after_help = "Examples:\n  carepost-server badge issue nora --last-tap \"Hall kiosk\"\n  carepost-server badge issue nora --uid 04A1B2C3D4E5F6"
    )]
    Issue {
        /// The user, by username or id.
        user: String,
        /// The card's UID in hexadecimal: not what is printed on it.
        #[arg(long, value_name = "HEX", required_unless_present = "last_tap")]
        uid: Option<String>,
        /// The card that was tapped last at this device, by name or id, and that it did not know.
        #[arg(long, value_name = "DEVICE", conflicts_with = "uid")]
        last_tap: Option<String>,
        #[command(flatten)]
        sure: Sure,
    },
    /// Revoke a badge.
    Revoke {
        /// The badge's id, as `badge list` gives it.
        badge: BadgeId,
        #[command(flatten)]
        sure: Sure,
    },
    /// List a user's badges.
    List {
        /// The user, by username or id.
        user: String,
    },
}

pub(super) async fn badge(client: &Client, badge: Badge) -> anyhow::Result<Said> {
    let thing = match badge {
        Badge::Issue { user, last_tap: Some(device), sure, .. } => {
            issue_tapped(client, &user, &device, &sure).await?
        }
        Badge::Issue { user, uid, .. } => {
            let id = user_id(client, &user).await?;
            if let Some(doubt) = uid.as_deref().and_then(card::doubt) {
                show::say_error(&doubt);
            }
            client.post("/api/v1/badges", &json!({"user_id": id, "uid": uid})).await?
        }
        Badge::Revoke { badge, sure } => {
            let path = format!("/api/v1/badges/{badge}");
            if sure.asks() {
                sure.of(&ending(client, &client.get(&path).await?).await?)?;
            }
            client.post(&format!("{path}/revoke"), &json!({})).await?
        }
        Badge::List { user } => {
            let id = user_id(client, &user).await?;
            client.get(&format!("/api/v1/users/{id}/badges")).await?
        }
    };
    Ok(Said::Thing(thing, BADGE))
}

/// What revoking a badge ends, and for whom.
async fn ending(client: &Client, badge: &Value) -> anyhow::Result<String> {
    let part = |key| badge.get(key).and_then(Value::as_str).unwrap_or_default();
    let whose = name_of(&client.get(&format!("/api/v1/users/{}", part("user_id"))).await?);
    let (id, issued) = (part("id"), part("created_at"));
    Ok(format!("revoke the badge of {whose} that was issued at {issued} ({id}): it opens no kiosk any more"))
}

/// Issues the card that was tapped last at a device, once somebody has said that it is the one.
async fn issue_tapped(client: &Client, user: &str, device: &str, sure: &Sure) -> anyhow::Result<Value> {
    let path = format!("/api/v1/devices/{}", device_id(client, device).await?);
    let id = user_id(client, user).await?;
    let seen = client.get(&path).await?;
    let tap = |key: &str| seen.pointer(&format!("/unknown_tap/{key}")).and_then(Value::as_str);
    let (Some(card), Some(at)) = (tap("card"), tap("at")) else {
        anyhow::bail!(
            "no unknown card was tapped at {device:?} within fifteen minutes: tap it there, and run this command again in \
             a moment"
        );
    };
    let whom = name_of(&client.get(&format!("/api/v1/users/{id}")).await?);
    sure.of(&format!("issue the card {card} that was tapped at {device:?} at {at} to {whom}"))?;
    client.post(&format!("{path}/issue-tapped-badge"), &json!({"user_id": id, "card": card})).await
}

/// Who somebody is, for whoever pasted the wrong name.
fn name_of(user: &Value) -> String {
    let part = |key| user.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} ({}, {})", part("display_name"), part("username"), part("role"))
}

#[derive(Debug, Subcommand)]
pub(super) enum Patient {
    /// Admit a patient.
    #[command(
        after_help = "Example:\n  carepost-server patient create \"Ada Amberly\" --mrn R-1001 --facility Riverside --room 12 --born 1941-03-15"
    )]
    Create(CreatePatient),
    /// List patients.
    List,
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
    /// The medical record number.
    #[arg(long)]
    mrn: String,
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
        Patient::List => client.get("/api/v1/patients").await?,
        Patient::Create(new) => {
            let facility = facility_id(client, &new.facility).await?;
            let body = json!({"facility_id": facility, "mrn": new.mrn, "name": new.name, "room": new.room,
                "date_of_birth": new.born});
            client.post("/api/v1/patients", &body).await?
        }
        Patient::Discharge { patient, sure } => {
            let path = format!("/api/v1/patients/{}", patient_id(client, &patient).await?);
            if sure.asks() {
                // A look at her is written down as such: nobody is shown her who is not asked.
                sure.of(&leaving(&client.get(&path).await?))?;
            }
            client.delete(&path).await?
        }
        Patient::Readmit { patient } => {
            let path = format!("/api/v1/patients/{}", patient_id(client, &patient).await?);
            client.put(&path, &json!({"is_active": true})).await?
        }
    };
    Ok(Said::Thing(thing, PATIENT))
}

/// What a discharge ends.
fn leaving(patient: &Value) -> String {
    let part = |key| patient.get(key).and_then(Value::as_str).unwrap_or("-");
    let (name, mrn, room) = (part("name"), part("mrn"), part("room"));
    format!(
        "discharge {name} (MRN {mrn}, room {room}), off the kiosks' lists from their next sync on. What was charted \
         stays, and `patient readmit` takes it back"
    )
}

/// A patient by medical record number, else by name; or by id.
async fn patient_id(client: &Client, name: &str) -> anyhow::Result<String> {
    if is_id(name) {
        return Ok(name.to_owned());
    }
    patient_of(&client.get("/api/v1/patients").await?, name)
}

/// The id of the only patient of that number or name; of one whose place another took, that one's.
fn patient_of(list: &Value, name: &str) -> anyhow::Result<String> {
    let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let mrn = |item: &Value| item.get("mrn").and_then(Value::as_str).map(mrn_key);
    let numbered: Vec<Value> = items.filter(|item| mrn(item) == Some(mrn_key(name))).cloned().collect();
    let mut found = if numbered.is_empty() { named(list, "name", name) } else { numbered };
    found.iter_mut().for_each(|patient| *patient = present(list, patient));
    found.dedup();
    one(&found, name)
}

/// A patient, or the last who took that one's place.
fn present(list: &Value, patient: &Value) -> Value {
    let mut present = patient;
    for _ in 0..MAX_REPLACED {
        let Some(next) = present.get("replaced_by").filter(|next| next.is_string()) else { break };
        let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
        let Some(next) = items.into_iter().find(|item| item.get("id") == Some(next)) else { break };
        present = next;
    }
    present.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_number_or_name_of_whose_place_another_took_that_one_is_chosen() {
        let list = json!({"items": [
            {"id": "1", "mrn": "R-1", "name": "Bea Example", "replaced_by": "2"},
            {"id": "2", "mrn": "R-1", "name": "Bea Example"},
            {"id": "3", "mrn": "R-3", "name": "Ada Amberly", "replaced_by": "1"},
            {"id": "4", "mrn": "R-4", "name": "Émile Ö"},
            {"id": "5", "mrn": "R-5", "name": "Cy Example"},
            {"id": "6", "mrn": "R-6", "name": "Cy Example"},
        ]});
        for name in ["R-1", "r 1", "R–1", "bea example", "R-3", "Ada Amberly"] {
            assert_eq!(patient_of(&list, name).unwrap(), "2", "{name}");
        }
        assert_eq!(patient_of(&list, "émile ö").unwrap(), "4", "compared as everywhere");
        for name in ["Cy Example", "R-7"] {
            patient_of(&list, name).unwrap_err();
        }
    }
}
