//! Labels: what people read in place of ids. Whom a list names is looked up for all of it at once, and only what whoever
//! is signed in may read; an id of which nothing is known stays.

use std::collections::BTreeSet;

use carepost_protocol::role::{Action, Role, may};
use serde::Deserialize as _;
use serde_json::Value;

use super::client::Client;
use super::find::devices;
use super::names::{DEVICE, PATIENT, USER, items, text};
use super::show;

/// How many patients are asked for by their ids at once: the most there may be.
const IDS_AT_ONCE: usize = 100;

/// What is known of whom things name.
#[derive(Default)]
pub(super) struct Labels {
    patients: Vec<Value>,
    users: Value,
    devices: Value,
}

impl Labels {
    /// Of whom these things name.
    pub(super) async fn of(client: &Client, things: &[Value]) -> Self {
        let session = client.get("/api/v1/sessions/current").await.unwrap_or_default();
        let role = session.get("role").and_then(|role| Role::deserialize(role).ok());
        let ids = |key: &'static str| things.iter().filter_map(move |thing| text(thing, key));
        // A refusal would be written down, and a look that nobody needs as well.
        let reads = |action, key| role.is_some_and(|role| may(role, action)) && ids(key).next().is_some();
        let mut labels = Self::default();
        if reads(Action::ReadPatients, "patient_id") {
            labels.patients = patients(client, ids("patient_id")).await;
        }
        if reads(Action::ManageUsers, "user_id") {
            labels.users = read("users", client.all("/api/v1/users").await);
        }
        if reads(Action::ReadDevices, "device_id") {
            labels.devices = read("devices", devices(client).await);
        }
        labels
    }

    /// Puts labels in the place of the ids under these keys of a thing, each under that word.
    pub(super) fn put(&self, thing: &mut Value, words: &[(&str, &str)]) {
        let Some(members) = thing.as_object_mut() else { return };
        for (key, word) in words {
            let Some(id) = members.remove(*key).filter(Value::is_string) else { continue };
            let label = match *key {
                "patient_id" => self.patient(Some(&id)),
                "device_id" => self.device(Some(&id)),
                _ => self.user(Some(&id)),
            };
            members.insert((*word).to_owned(), label.into());
        }
    }

    pub(super) fn patient(&self, id: Option<&Value>) -> String {
        patient(&self.patients, id)
    }

    /// A user by the name that people see, and what tells those of one name apart.
    pub(super) fn user(&self, id: Option<&Value>) -> String {
        let users = items(&self.users);
        let of_name = |name: &str| users.iter().filter(|it| text(it, "display_name") == Some(name)).count();
        named(users, id, |it| match text(it, "display_name") {
            Some(name) if of_name(name) == 1 => name.to_owned(),
            _ => USER.described(it),
        })
    }

    /// A device by a name that no other has: commands would take one that several have for another's.
    pub(super) fn device(&self, id: Option<&Value>) -> String {
        let devices = items(&self.devices);
        named(devices, id, |it| {
            let name = text(it, "device_name").filter(|name| DEVICE.named(devices, name).len() == 1);
            name.or(text(it, "id")).unwrap_or("-").to_owned()
        })
    }

    /// The facility of a thing that does not say it: that of the patient, else of the device.
    pub(super) fn facility(&self, thing: &Value) -> Option<&Value> {
        let patient = known(&self.patients, thing.get("patient_id"));
        patient.or_else(|| known(items(&self.devices), thing.get("device_id")))?.get("facility_id")
    }
}

/// The patients of these ids, asked for by hundreds: whom something names is nobody who was looked at. Where they cannot
/// be read, that is said, and they are left out: what was asked for is done.
pub(super) async fn patients<'a>(client: &Client, ids: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let ids: Vec<&str> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    let mut patients = Vec::new();
    for some in ids.chunks(IDS_AT_ONCE) {
        match client.get(&format!("/api/v1/patients?ids={}", some.join(","))).await {
            Ok(page) => patients.extend(items(&page).iter().cloned()),
            Err(fault) => {
                say_unread("residents", &fault);
                break;
            }
        }
    }
    patients
}

/// What a list of patients calls the one of an id, with what tells those of one name apart.
pub(super) fn patient(list: &[Value], id: Option<&Value>) -> String {
    named(list, id, |it| PATIENT.described(it))
}

/// A list of them, where it could be read.
fn read(whose: &str, list: anyhow::Result<Value>) -> Value {
    list.unwrap_or_else(|fault| {
        say_unread(whose, &fault);
        Value::default()
    })
}

/// Says that names could not be read: ids stand in their place.
fn say_unread(whose: &str, fault: &anyhow::Error) {
    show::say_error(&format!("{whose} are shown by their ids, for their names could not be read: {fault}"));
}

/// What a list calls the one of an id; the id where it has none.
fn named(list: &[Value], id: Option<&Value>, name: impl Fn(&Value) -> String) -> String {
    known(list, id).map_or_else(|| id.and_then(Value::as_str).unwrap_or("-").to_owned(), name)
}

fn known<'a>(list: &'a [Value], id: Option<&Value>) -> Option<&'a Value> {
    id.and_then(|id| list.iter().find(|it| it.get("id") == Some(id)))
}
