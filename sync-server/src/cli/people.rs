//! Signing in; users and badges.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use carepost_host::files;
use carepost_protocol::role::Role;
use carepost_protocol::text::fold;
use clap::{ArgGroup, Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::confirm::Confirm;
use super::find::{device_id, facility_id, user_id};
use super::names::{is_id, items, text};
use super::value_parsers::{ROLES, one_of};
use super::{Output, show};
use crate::card;

pub(super) const COLUMNS: &[&str] =
    &["username", "display_name", "role", "is_active", "has_pin", "pin_exposed_at", "has_password", "id"];
pub(super) const LISTED: &[&str] = &[
    "username",
    "display_name",
    "role",
    "facility",
    "is_active",
    "has_pin",
    "pin_exposed_at",
    "has_password",
    "id",
];
pub(super) const BADGE: &[&str] = &["card", "is_active", "created_at", "issued_by", "id"];

/// Where a password comes from; never from the command line, which every user of the machine can read.
#[derive(Debug, Args)]
pub(super) struct PasswordFrom {
    /// Read the password from this file instead of asking, - is standard input; CAREPOST_PASSWORD does as well.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordFrom {
    pub(super) fn read(&self, prompt: &str) -> anyhow::Result<SecretString> {
        secret(self.password_file.as_ref(), ("--password-file", "CAREPOST_PASSWORD"), prompt)
    }
}

/// Where the password of somebody else comes from. The variable is another than that of whoever acts: a
/// password that is set to sign in with becomes nobody else's.
#[derive(Debug, Args)]
pub(super) struct NewPasswordFrom {
    /// Read the new password from this file instead of asking, - is standard input; CAREPOST_NEW_PASSWORD does as
    /// well.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl NewPasswordFrom {
    pub(super) fn read(&self, prompt: &str) -> anyhow::Result<SecretString> {
        secret(self.password_file.as_ref(), ("--password-file", "CAREPOST_NEW_PASSWORD"), prompt)
    }
}

/// Where a PIN comes from.
#[derive(Debug, Args)]
pub(super) struct PinFrom {
    /// Read the PIN from this file instead of asking, - is standard input; CAREPOST_PIN does as well.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl PinFrom {
    fn read(&self, prompt: &str) -> anyhow::Result<SecretString> {
        secret(self.pin_file.as_ref(), ("--pin-file", "CAREPOST_PIN"), prompt)
    }
}

/// From the file, else from the variable, else as it is typed.
fn secret(
    file: Option<&PathBuf>,
    (option, variable): (&str, &str),
    prompt: &str,
) -> anyhow::Result<SecretString> {
    if let Some(file) = file {
        let path = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
        let text = files::read_text(path).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(SecretString::from(text.trim_end_matches(['\n', '\r'])));
    }
    // One that is empty was not set by whoever leaves it so.
    if let Some(text) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
        return Ok(SecretString::from(text));
    }
    // The cause is a number that tells nobody what to do.
    let text = rpassword::prompt_password(prompt).map_err(|_| {
        anyhow!("there is no terminal to ask on: give {option} FILE (- is standard input), or set {variable}")
    })?;
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
    #[arg(long = "of", value_name = "SLUG", value_parser = slug)]
    slug: Option<String>,
    #[command(flatten)]
    password: PasswordFrom,
}

pub(super) async fn sign_in(client: &Client, who: SignIn) -> anyhow::Result<Output> {
    let password = who.password.read("Password: ")?;
    let body =
        json!({"organization": who.slug, "username": who.username, "password": password.expose_secret()});
    let session = client.sign_in(&body).await?;
    let role = session.get("role").and_then(Value::as_str).unwrap_or_default();
    Ok(Output::Words(format!("signed in: {} ({role})", who.username)))
}

pub(super) async fn sign_out(client: &Client) -> anyhow::Result<Output> {
    client.sign_out().await?;
    Ok(Output::Words("signed out".to_owned()))
}

/// A slug, and no name: whoever is not signed in is not told which organizations there are.
fn slug(text: &str) -> Result<String, String> {
    let slug = fold(text);
    let may_be = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !slug.is_empty() && slug.chars().all(may_be) {
        return Ok(slug);
    }
    Err("give the organization's slug, without blanks, such as golden-years".to_owned())
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
        /// The username: a platform administrator's, or with --organization (here its slug or id) a user's of that.
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
        /// The user, by username, name or id.
        user: String,
    },
    /// Switch a user off, at the server and at every kiosk.
    Deactivate {
        /// The user, by username, name or id.
        user: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Give a user another name to sign in with, or to be seen by. Sessions, badges and what was charted stay as they
    /// are.
    #[command(
        group = ArgGroup::new("names").args(["username", "name"]).required(true).multiple(true),
        after_help = "Examples:\n  carepost-server user rename nora nora.quist\n  carepost-server user rename nora --name \"Nora Quist\""
    )]
    Rename {
        /// The user, by username, name or id.
        user: String,
        /// The new username.
        username: Option<String>,
        /// The new name that people see.
        #[arg(long)]
        name: Option<String>,
    },
    /// Set a user's PIN for kiosks.
    SetPin {
        /// The user, by username, name or id.
        user: String,
        #[command(flatten)]
        pin: PinFrom,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Set a user's password for the server.
    SetPassword {
        /// The user, by username, name or id.
        user: String,
        #[command(flatten)]
        password: NewPasswordFrom,
        #[command(flatten)]
        confirm: Confirm,
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
    #[arg(long, value_parser = one_of(ROLES))]
    role: String,
    /// The home facility, by name or id. Of a role of the whole organization it says whose kiosks know the user.
    #[arg(long)]
    facility: Option<String>,
    /// The employer's number.
    #[arg(long)]
    employee_id: Option<String>,
}

pub(super) async fn user(client: &Client, user: User) -> anyhow::Result<Output> {
    match user {
        User::List => {
            let thing = client.all("/api/v1/users").await?;
            let shown = client.by_clock(client.with_facilities(thing.clone()).await?).await;
            Ok(Output::Found { whole: true, thing, words: show::table(&shown, LISTED) })
        }
        User::Create(new) => {
            let facility = match &new.facility {
                Some(facility) => Some(facility_id(client, facility).await?),
                None => None,
            };
            let body = json!({"username": new.username, "display_name": new.name, "role": new.role,
                "facility_id": facility, "employee_id": new.employee_id});
            let made = client.post("/api/v1/users", &body).await?;
            let role = made.get("role").and_then(|role| Role::deserialize(role).ok());
            if facility.is_some() && role.is_some_and(|role| !role.is_of_one_facility()) {
                show::say_error(&format!(
                    "{} is a role of the whole organization: --facility says whose kiosks know the user, and limits nothing.",
                    new.role
                ));
            }
            Ok(Output::Thing(made, COLUMNS))
        }
        User::Activate { user } => switch(client, &user, true, None).await,
        User::Deactivate { user, confirm } => switch(client, &user, false, Some(&confirm)).await,
        User::Rename { user, username, name } => {
            let path = format!("/api/v1/users/{}", user_id(client, &user).await?);
            let names = [("username", username), ("display_name", name)];
            let names: Map<String, Value> =
                names.into_iter().filter_map(|(key, name)| Some((key.to_owned(), name?.into()))).collect();
            Ok(Output::Thing(client.put(&path, &names.into()).await?, COLUMNS))
        }
        User::SetPin { user, pin, confirm } => {
            let path = format!("/api/v1/users/{}", user_id(client, &user).await?);
            let ends = "with the present one kiosks open no more, from their next sync on";
            ask_whose(client, &path, ("PIN", "has_pin"), ends, &confirm).await?;
            let body = json!({"pin": pin.read("New PIN: ")?.expose_secret()});
            client.put(&format!("{path}/pin"), &body).await?;
            Ok(Output::Words("the PIN is set; kiosks know it from their next sync on".to_owned()))
        }
        User::SetPassword { user, password, confirm } => {
            let path = format!("/api/v1/users/{}", user_id(client, &user).await?);
            let ends = "nobody signs in with the present one any more, and open sessions with the server end";
            ask_whose(client, &path, ("password", "has_password"), ends, &confirm).await?;
            let body = json!({"password": password.read("New password: ")?.expose_secret()});
            client.put(&format!("{path}/password"), &body).await?;
            Ok(Output::Words("the password is set; older sessions have ended".to_owned()))
        }
    }
}

/// Asks about somebody else's PIN or password, where there is one: whose it is, and what ends with it.
async fn ask_whose(
    client: &Client,
    path: &str,
    (what, has): (&str, &str),
    ends: &str,
    confirm: &Confirm,
) -> anyhow::Result<()> {
    if !confirm.asks() {
        return Ok(());
    }
    let (whose, own) = (client.get(path).await?, client.get("/api/v1/sessions/current").await?);
    if whose.get(has) != Some(&Value::Bool(true)) || whose.get("id") == own.get("user_id") {
        return Ok(());
    }
    confirm.ask(&format!("give {} another {what}: {ends}", name_of(&whose)))
}

async fn switch(client: &Client, user: &str, on: bool, confirm: Option<&Confirm>) -> anyhow::Result<Output> {
    let path = format!("/api/v1/users/{}", user_id(client, user).await?);
    let found = client.get(&path).await?;
    let (name, way) = (name_of(&found), if on { "on" } else { "off" });
    anyhow::ensure!(
        found.get("is_active") != Some(&on.into()),
        "nothing was done: {name} is switched {way} already"
    );
    if let Some(confirm) = confirm {
        confirm.ask(&format!("switch off {name}, at the server and at every kiosk"))?;
    }
    let thing = client.put(&path, &json!({"is_active": on})).await?;
    Ok(Output::Thing(thing, COLUMNS))
}

#[derive(Debug, Subcommand)]
pub(super) enum Badge {
    /// Issue a badge to a user.
    #[command(
        group = ArgGroup::new("card").args(["uid", "last_tap"]).required(true),
        after_help = "Examples:\n  carepost-server badge issue nora --last-tap \"Hall kiosk\"\n  carepost-server badge issue nora --uid 04A1B2C3D4E5F6"
    )]
    Issue {
        /// The user, by username, name or id.
        user: String,
        /// The card's UID in hexadecimal: not what is printed on it. One that may be that, or turned around, is asked
        /// about.
        #[arg(long, value_name = "HEX")]
        uid: Option<String>,
        /// The card that was tapped last at this device, by name or id, and that it did not know.
        #[arg(long, value_name = "DEVICE")]
        last_tap: Option<String>,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Revoke a badge: it opens no kiosk any more. Sessions that are open go on; `user deactivate` ends them.
    #[command(after_help = "Example:\n  carepost-server badge revoke nora")]
    Revoke {
        /// The badge's id, as `badge list` gives it; or the user, by username or name, where she has one that opens
        /// something.
        badge: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// List a user's badges.
    List {
        /// The user, by username, name or id.
        user: String,
    },
}

pub(super) async fn badge(client: &Client, badge: Badge) -> anyhow::Result<Output> {
    let thing = match badge {
        Badge::Issue { user, last_tap: Some(device), confirm, .. } => {
            issue_tapped(client, &user, &device, &confirm).await?
        }
        Badge::Issue { user, uid, confirm, .. } => {
            let id = user_id(client, &user).await?;
            if let Some(doubt) = uid.as_deref().and_then(card::doubt) {
                let whom = name_of(&client.get(&format!("/api/v1/users/{id}")).await?);
                confirm.ask(&format!("issue that card to {whom}, {doubt}"))?;
            }
            client.post("/api/v1/badges", &json!({"user_id": id, "uid": uid})).await?
        }
        Badge::Revoke { badge, confirm } => {
            let badge = active_badge(client, &badge).await?;
            let path = format!("/api/v1/badges/{badge}");
            let found = client.by_clock(client.get(&path).await?).await;
            let is_active = found.get("is_active") != Some(&Value::Bool(false));
            anyhow::ensure!(is_active, "nothing was done: the badge {badge} is revoked already");
            if confirm.asks() {
                confirm.ask(&ending(client, &found).await?)?;
            }
            let thing = client.post(&format!("{path}/revoke"), &json!({})).await?;
            let shown = client.by_clock(thing.clone()).await;
            let words = format!(
                "{}\n\nSessions that are open go on; `user deactivate` ends them.",
                show::table(&shown, BADGE)
            );
            return Ok(Output::Found { whole: true, thing, words });
        }
        Badge::List { user } => {
            let id = user_id(client, &user).await?;
            client.all(&format!("/api/v1/users/{id}/badges")).await?
        }
    };
    Ok(Output::Thing(thing, BADGE))
}

/// A badge by id, or the only one of a user that opens something.
async fn active_badge(client: &Client, named: &str) -> anyhow::Result<String> {
    if is_id(named) {
        return Ok(named.to_owned());
    }
    let user = user_id(client, named).await?;
    let list = client.by_clock(client.all(&format!("/api/v1/users/{user}/badges")).await?).await;
    let is_active = |badge: &&Value| badge.get("is_active") == Some(&Value::Bool(true));
    let active: Vec<&Value> = items(&list).iter().filter(is_active).collect();
    match active[..] {
        [one] => Ok(text(one, "id").context("a badge without id")?.to_owned()),
        [] => anyhow::bail!("nothing was done: {named} has no badge that opens anything"),
        _ => anyhow::bail!(
            "{named} has several badges: give the id of the one that is meant\n{}",
            show::table(&json!({"items": active}), BADGE)
        ),
    }
}

/// What revoking a badge ends, and for whom.
async fn ending(client: &Client, badge: &Value) -> anyhow::Result<String> {
    let part = |key| badge.get(key).and_then(Value::as_str).unwrap_or_default();
    let whose = name_of(&client.get(&format!("/api/v1/users/{}", part("user_id"))).await?);
    let (id, card, issued) = (part("id"), part("card"), part("created_at"));
    Ok(format!(
        "revoke the badge {card} of {whose} that was issued at {issued} ({id}): it opens no kiosk any more"
    ))
}

/// Issues the card that was tapped last at a device, once somebody has said that it is the one.
async fn issue_tapped(client: &Client, user: &str, device: &str, confirm: &Confirm) -> anyhow::Result<Value> {
    let path = format!("/api/v1/devices/{}", device_id(client, device).await?);
    let id = user_id(client, user).await?;
    let seen = client.by_clock(client.get(&path).await?).await;
    let tap = |key: &str| seen.pointer(&format!("/unknown_tap/{key}")).and_then(Value::as_str);
    let (Some(card), Some(at)) = (tap("card"), tap("at")) else {
        anyhow::bail!(
            "no unknown card was tapped at {device:?} within fifteen minutes: tap it there, and run this command again in \
             a moment"
        );
    };
    let whom = name_of(&client.get(&format!("/api/v1/users/{id}")).await?);
    confirm.ask(&format!("issue the card {card} that was tapped at {device:?} at {at} to {whom}"))?;
    client.post(&format!("{path}/issue-tapped-badge"), &json!({"user_id": id, "card": card})).await
}

/// Who somebody is, for whoever pasted the wrong name.
fn name_of(user: &Value) -> String {
    let part = |key| user.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} ({}, {})", part("display_name"), part("username"), part("role"))
}
