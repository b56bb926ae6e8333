//! Two organizations with two facilities each, a user of every role in each, and one of everything that
//! an id can name.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use carepost_agent::identity::DeviceKey;
use carepost_protocol::change::Lane;
use carepost_protocol::id::{DeviceUuid, PatientId};
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use carepost_tests::api::{Api, text};
use carepost_tests::device::{Device, identity, wire};
use carepost_tests::world::{Facility, PASSWORD, Server};
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A facility and one of everything in it.
pub struct Place {
    /// Its ids and keys, by the names that paths, queries and bodies give them.
    pub ids: BTreeMap<&'static str, String>,
    /// The code that a device on its wall shows.
    pub code: String,
    pub device: Device,
    pub facility: Facility,
}

/// Somebody who is signed in.
pub struct Person {
    pub role: Role,
    /// Which place is the person's own: of one organization's people, the first of it.
    pub home: usize,
    pub api: Api,
    /// What the person sends along with each request.
    pub headers: Vec<(&'static str, String)>,
}

/// The whole world of the matrix.
pub struct Tenants {
    pub server: Server,
    pub places: Vec<Place>,
    pub people: Vec<Person>,
    /// The API as the server describes it.
    pub document: Value,
    _folder: TempDir,
}

impl Tenants {
    /// The world, with everybody signed in.
    pub async fn new() -> Result<Self> {
        crate::install_provider();
        let folder = TempDir::new()?;
        let server = Server::start(&folder.path().join("server")).await?;
        let (mut places, mut people) = (Vec::new(), Vec::new());
        for (name, slug, wings) in
            [("Sunrise SNF", "sunrise", ["Ash", "Birch"]), ("Oakwood Care", "oakwood", ["Cedar", "Dogwood"])]
        {
            let organization = server.organization(name, slug, "ALF_OPERATOR").await?;
            let key = format!("rounds_{slug}");
            let field = json!({"key": "note", "label": "Note", "type": "string"});
            let workflow = json!({"key": key, "label": "Rounds", "fields": [field]});
            organization.admin.post("/api/v1/workflows", &workflow).await?;
            for wing in wings {
                let facility = organization.facility(wing, "ALF", Some(20), 5).await?;
                let at = places.len();
                let place = Place::new(folder.path(), &server, facility, &key).await?;
                let roles = Role::ALL.into_iter().filter(|role| role.is_of_one_facility());
                let hired = roles.map(|role| hire(&server, &place.facility, role, at));
                people.extend(try_join_all(hired).await?);
                if wing == wings[0] {
                    people.push(Person::of(Role::OrgAdmin, at, organization.admin.clone()));
                    people.push(hire(&server, &place.facility, Role::Auditor, at).await?);
                }
                places.push(place);
            }
        }
        let mut root = Person::of(Role::PlatformAdmin, 0, server.root().await?);
        let first = places[0].ids.get("organization_id").cloned();
        root.headers.push(("x-organization-id", first.context("the first place has no organization")?));
        people.push(root);
        for (at, place) in places.iter_mut().enumerate() {
            let somebody = people.iter().find(|person| person.home == at).context("nobody lives there")?;
            let session = somebody.api.get("/api/v1/sessions/current").await?;
            place.ids.insert("session_id", text(&session, "session_id")?);
        }
        let document = server.api()?.get("/api/v1/openapi.json").await?;
        Ok(Self { server, places, people, document, _folder: folder })
    }

    /// The one with that role at home there.
    pub fn person(&self, role: Role, home: usize) -> &Person {
        self.people.iter().find(|person| person.role == role && person.home == home).expect("hired")
    }

    /// Whether what a place's id names is another tenant's to a person.
    pub fn is_foreign(&self, person: &Person, id: &str, place: usize) -> bool {
        let of_organization = matches!(id, "organization_id" | "workflow_key");
        let same_organization = person.home / 2 == place / 2;
        let same_place = person.home == place || !person.role.is_of_one_facility();
        !same_organization || (!of_organization && !same_place)
    }
}

impl Person {
    fn of(role: Role, home: usize, api: Api) -> Self {
        Self { role, home, api, headers: Vec::new() }
    }

    /// The headers, as a client takes them.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

impl Place {
    /// What stands in that spot of a request about this place's own things.
    pub fn value(&self, name: &str) -> String {
        match name {
            // The same for everybody.
            "problem" => return "not-found".to_owned(),
            "n" => return "1".to_owned(),
            _ => {}
        }
        self.ids.get(name).cloned().unwrap_or_default()
    }

    async fn new(
        folder: &std::path::Path,
        server: &Server,
        facility: Facility,
        workflow: &str,
    ) -> Result<Self> {
        let admin = &facility.organization.admin;
        let name = &facility.name;
        let device =
            Device::enroll(&folder.join(name), server, server.devices.port(), &facility, name).await?;
        let nurse = facility.nurse(&format!("Subject {name}"), "rn", "482915", "04A1B2C3D4E5F6").await?;
        let resident = json!({"facility_id": facility.id, "mrn": name, "name": format!("Resident {name}")});
        let patient = text(&admin.post("/api/v1/patients", &resident).await?, "id")?;
        let (code, enrollment) = waiting(server, &facility).await?;
        let rejected = changes(server, &device, &nurse.id, &patient, workflow).await?;
        let records = facility.records(&patient).await?;
        let record = text(records.first().context("nothing was charted")?, "id")?;
        let ids = BTreeMap::from([
            ("organization_id", facility.organization.id.clone()),
            ("facility_id", facility.id.clone()),
            ("device_id", device.grant.device_id.to_string()),
            ("enrollment_id", enrollment),
            ("user_id", nurse.id),
            ("badge_id", nurse.badge),
            ("patient_id", patient),
            ("record_id", record),
            ("incarnation_id", rejected),
            ("workflow_key", workflow.to_owned()),
        ]);
        Ok(Self { ids, code, device, facility })
    }
}

/// Ids of the right form that name nothing.
pub fn made_up(name: &str) -> String {
    match name {
        "workflow_key" => "no_such_workflow".to_owned(),
        "problem" => "no-such-problem".to_owned(),
        _ => PatientId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]).to_string(),
    }
}

/// A device that shows a code, which the facility's administrator has typed: the code and the enrollment.
async fn waiting(server: &Server, facility: &Facility) -> Result<(String, String)> {
    let key = DeviceKey::generate()?;
    let device = wire(server, Some(&identity(key.certificate_der(), key.pkcs8())))?;
    let label = DeviceUuid::from_bytes(key.public_key_sha256()[..16].try_into()?).to_string();
    let asked = json!({"device_uuid": label, "mac_addresses": [], "hostname": "h", "agent_version": "1"});
    let pending = device.post("/api/v1/enroll", &asked).await?;
    let code = text(&pending, "user_code")?;
    let body = json!({"code": code, "facility_id": facility.id, "device_name": "Waits",
        "device_type": "TABLET"});
    let approved = facility.organization.admin.post("/api/v1/enrollments/approve", &body).await?;
    Ok((code, text(&approved, "enrollment_id")?))
}

/// A device's first change, rejected for its form, and one that stands: the incarnation of the outbox that they are of.
async fn changes(
    server: &Server,
    device: &Device,
    nurse: &str,
    patient: &str,
    workflow: &str,
) -> Result<String> {
    let nurse = device.nurse(nurse.parse()?);
    let patient: PatientId = patient.parse()?;
    let mut chain = device.chain(Lane::Care);
    let mut changes = Vec::new();
    for form in ["no_such_workflow", workflow] {
        let mut change = device.vitals(&nurse, patient, Map::from_iter([("note".to_owned(), json!("seen"))]));
        change.workflow = Some(form.to_owned());
        changes.push(serde_json::to_string(&change)?);
    }
    let batch = chain.batch(&changes)?;
    let json = [("content-type", "application/json")];
    let wire = device.wire(server)?;
    let answer = wire.send(Method::POST, "/api/v1/sync/push", &json, batch.into_bytes()).await?;
    let verdict = |at: usize| &answer.body["verdicts"][at]["verdict"];
    anyhow::ensure!(verdict(0) == "rejected" && verdict(1) == "applied", "{}", answer.text);
    Ok(chain.incarnation.to_string())
}

async fn hire(server: &Server, facility: &Facility, role: Role, home: usize) -> Result<Person> {
    let word = serde_json::to_value(role)?;
    let username = format!("{}.{home}", word.as_str().context("a role is a word")?);
    let admin = &facility.organization.admin;
    let body = json!({"facility_id": facility.id, "username": username, "role": word});
    let id = text(&admin.post("/api/v1/users", &body).await?, "id")?;
    admin.put(&format!("/api/v1/users/{id}/password"), &json!({"password": PASSWORD})).await?;
    let api = server.api()?.sign_in(Some(&facility.organization.slug), &username, PASSWORD).await?;
    Ok(Person::of(role, home, api))
}
