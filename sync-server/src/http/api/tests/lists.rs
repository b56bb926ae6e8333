//! Lists: walked by ROUTES, so that none that comes later forgets its pages.

use std::collections::BTreeSet;

use carepost_protocol::change::Change;
use carepost_protocol::id::{PatientId, SessionId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::ClockQuality;
use http::Method;

use super::manners::{Office, routes};
use super::pushes::push_from;
use super::quarantine::Kiosk;
use super::*;
use crate::http::parameters;
use crate::http::route::{Parameter, Route};
use crate::http::routes::DESCRIPTION;

/// An office that has two of everything that there is a list of.
struct Scene {
    office: Office,
    /// A session of the platform's.
    platform: String,
    /// Who has badges.
    user: String,
    /// About whom something was charted.
    patient: String,
}

async fn scene() -> Scene {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let facility = server.registry.facilities().await.unwrap().remove(0).id;
    let platform = platform(&server).await;
    let nina = server.user("nina", Role::Rn, facility).await;
    let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
    let office = Office { server, token, facility };
    let post = async |path: &str, body: Value| {
        let told = office.post(path, &[], &body).await;
        assert_eq!(told.status, 201, "{path}: {}", told.text);
        told.body["id"].as_str().unwrap_or_default().to_owned()
    };
    post("/api/v1/facilities", json!({"name": "Hillside", "facility_type": "ALF"})).await;
    let device = json!({"facility_id": facility, "device_name": "Ward", "device_type": "TABLET"});
    post("/api/v1/devices", device).await;
    for uid in ["04a1b2c3", "04a1b2c5"] {
        post("/api/v1/badges", json!({"user_id": nina, "uid": uid})).await;
    }
    for (key, label) in [("vitals", "Vitals"), ("pulses", "Pulses")] {
        let fields = json!([{"key": "pulse", "label": "Pulse", "type": "integer"}]);
        post("/api/v1/workflows", json!({"key": key, "label": label, "fields": fields})).await;
    }
    // Two of each number, so that two reviews ask whether they are one.
    let mut patient = String::new();
    let (ada, bea) = (("Ada Example", "1EG4-TE5-MK73"), ("Bea Sample", "2EG4-TE5-MK73"));
    for (name, medicare) in [ada, ada, bea, bea] {
        let last = format!("another person than {patient}");
        let body = json!({"facility_id": facility, "name": name, "medicare": medicare, "confirmed": [last]});
        patient = post("/api/v1/patients", body).await;
    }
    chart(&kiosk, nina, patient.parse().unwrap()).await;
    Scene { office, platform, user: nina.to_string(), patient }
}

/// A session of a platform administrator, and another organization.
pub(super) async fn platform(server: &Server) -> String {
    let system = server.app.store.system();
    let new = testing::organization("Beta Care", "beta");
    system.create_organization(new, testing::user("otto", Role::OrgAdmin, None), event()).await.unwrap();
    let user = system.create_platform_admin("root", "Root Example", "$argon2id$invented").await.unwrap();
    let token = "cps_platform".to_owned();
    let new = NewSession {
        user,
        organization: None,
        token_sha256: token::sha256(&token),
        expires_at: clock::now().plus_millis(60_000),
    };
    let login = Login::of_platform("root", "192.0.2.1".to_owned());
    system.create_session(login, new, event()).await.unwrap();
    token
}

/// A device sends two entries, which are flagged because its clock is not set, and two that are rejected.
pub(super) async fn chart(kiosk: &Kiosk, nurse: UserId, patient: PatientId) {
    let at = clock::now();
    let by = (nurse, SessionId::new(at, [3; 10]));
    let (fields, stamp) = (object(json!({"pulse": 72})), (at, ClockQuality::Unset));
    let entry = Change {
        patient: Some(patient),
        workflow: Some("vitals".into()),
        schema_version: Some(1),
        ..Change::create(by, kiosk.assignment, Collection::Records, fields, stamp)
    };
    let entry = serde_json::to_value(entry).unwrap();
    let changes = [entry.clone(), entry, json!({}), json!({})];
    let (status, receipt) = push_from(kiosk, 1, &changes).await;
    assert_eq!((status, receipt["next_n"].as_u64()), (StatusCode::OK, Some(5)), "{receipt}");
}

impl Scene {
    /// Every list, where it is, and who reads it.
    fn lists(&self) -> Vec<(&'static Route, String, &str)> {
        let own = |kind: Parameter| match kind {
            Parameter::Facility => self.office.facility.to_string(),
            Parameter::User => self.user.clone(),
            Parameter::Patient => self.patient.clone(),
            Parameter::Organization
            | Parameter::Device
            | Parameter::Enrollment
            | Parameter::Badge
            | Parameter::Record
            | Parameter::Incarnation
            | Parameter::Number
            | Parameter::WorkflowKey
            | Parameter::Problem => panic!("a list of {kind:?}: say here which"),
        };
        let is_list =
            |route: &&Route| ["list_", "search_"].iter().any(|verb| route.operation.starts_with(verb));
        let token = |route: &Route| match route.operation {
            "list_organizations" => self.platform.as_str(),
            _ => self.office.token.as_str(),
        };
        routes().filter(is_list).map(|route| (route, route.path_with(own), token(route))).collect()
    }
}

/// What tells the items of a list from one another, in its order, read by pages of so many.
async fn pages(office: &Office, token: &str, path: &str, limit: usize, sort: &str) -> Vec<String> {
    let (mut names, mut next) = (Vec::new(), sort.to_owned());
    loop {
        let told =
            office.ask_as(Some(token), &Method::GET, &format!("{path}?limit={limit}{next}"), &[], b"").await;
        assert_eq!(told.status, 200, "{path}: {}", told.text);
        let items = told.body["items"].as_array().unwrap();
        assert!(items.len() <= limit, "{path}");
        let name =
            |item: &Value| ["id", "incarnation_id", "n", "type"].map(|key| item[key].to_string()).join(" ");
        names.extend(items.iter().map(name));
        let Some(place) = told.body["next"].as_str() else { return names };
        next = format!("{sort}&page={place}");
    }
}

#[tokio::test]
async fn every_list_is_read_by_pages_each_item_once() {
    let scene = scene().await;
    let office = &scene.office;
    for (route, path, token) in scene.lists() {
        let whole = pages(office, token, &path, 1_000, "").await;
        assert!(whole.len() > 1, "{}: say above what it lists", route.operation);
        let one_by_one = pages(office, token, &path, 1, "").await;
        // That a log is read is in the log.
        assert!(one_by_one.ends_with(&whole), "{}: {one_by_one:#?}", route.operation);
        for wrong in ["0", "1001", "5000", "abc"] {
            let told =
                office.ask_as(Some(token), &Method::GET, &format!("{path}?limit={wrong}"), &[], b"").await;
            assert_eq!((told.status, told.field()), (422, "limit"), "{path} {wrong}: {}", told.text);
        }
        sorted(office, token, route, &path).await;
        let different: BTreeSet<_> = one_by_one.iter().collect();
        assert_eq!(different.len(), one_by_one.len(), "{}", route.operation);
    }
}

/// A list is sorted by the keys that its description names, from either end where it says so, and by no other.
async fn sorted(office: &Office, token: &str, route: &Route, path: &str) {
    let ask = async |query: &str| {
        office.ask_as(Some(token), &Method::GET, &format!("{path}?{query}"), &[], b"").await
    };
    let told = ask("sort=colour").await;
    assert_eq!((told.status, told.field()), (422, "sort"), "{path}: {}", told.text);
    let words = told.body["errors"][0]["detail"].as_str().unwrap();
    let keys = words.strip_prefix("give ").and_then(|rest| rest.split_once("; ")).unwrap().0;
    let keys: Vec<&str> = keys.trim_start_matches("one of ").split(", ").collect();
    let described = DESCRIPTION.operation(route).to_string();
    for key in &keys {
        assert!(described.contains(&format!("`{key}`")) || described.contains(&format!("`-{key}`")), "{key}");
        let onward = pages(office, token, path, 1, &format!("&sort={key}")).await;
        if words.contains("from the last on") {
            let mut back = pages(office, token, path, 1, &format!("&sort=-{key}")).await;
            back.reverse();
            assert_eq!(onward, back, "{path} by {key}");
            // A place is of one direction.
            for [one, other] in [["", "-"], ["-", ""]] {
                let first = ask(&format!("limit=1&sort={one}{key}")).await.body;
                let next = first["next"].as_str().unwrap();
                let told = ask(&format!("limit=1&sort={other}{key}&page={next}")).await;
                assert_eq!((told.status, told.field()), (422, "page"), "{path}: {}", told.text);
            }
        }
        // A place is of the key by which the list was sorted.
        for other in keys.iter().filter(|other| *other != key) {
            let first = ask(&format!("limit=1&sort={key}")).await.body;
            let next = first["next"].as_str().unwrap();
            let told = ask(&format!("limit=1&sort={other}&page={next}")).await;
            assert_eq!((told.status, told.field()), (422, "page"), "{path}: {}", told.text);
        }
    }
}

/// What a filter of a list is given.
fn filter(scene: &Scene, name: &str) -> String {
    match name {
        "facility_id" => scene.office.facility.to_string(),
        "patient_id" => scene.patient.clone(),
        "user_id" => scene.user.clone(),
        "device_id" | "session_id" => PatientId::from_bytes([7; 16]).to_string(),
        "is_active" | "open" => "true".to_owned(),
        "find" => "e".to_owned(),
        "source" => "server".to_owned(),
        "since" => "2026-01-01T00:00:00Z".to_owned(),
        "until" => "2199-01-01T00:00:00Z".to_owned(),
        other => panic!("the filter {other}: say here what it may be"),
    }
}

#[tokio::test]
async fn a_page_goes_on_with_nothing_but_what_it_is_a_page_of() {
    let scene = scene().await;
    let lists = scene.lists();
    for (route, path, token) in &lists {
        let get = async |path: &str| scene.office.ask_as(Some(*token), &Method::GET, path, &[], b"").await;
        let first = get(&format!("{path}?limit=1")).await.body;
        let next = first["next"].as_str().unwrap();
        // However many at once, and under each name of the API.
        for same in [path.clone(), path.replace("/api/v1/", "/api/")] {
            let told = get(&format!("{same}?page={next}&limit=7")).await;
            assert_eq!(told.status, 200, "{same}: {}", told.text);
        }
        let taken = parameters::taken(DESCRIPTION.operation(route));
        // What is listed by ids is one page.
        let filters = taken.iter().filter(|name| !["sort", "page", "limit", "ids"].contains(&name.as_str()));
        let filtered = filters.map(|name| format!("{path}?{name}={}&limit=1", filter(&scene, name)));
        let others = lists.iter().map(|(_, other, _)| other).filter(|other| *other != path);
        for other in filtered.chain(others.map(|other| format!("{other}?limit=1"))) {
            let told = get(&format!("{other}&page={next}")).await;
            // Organizations are read by others.
            if !matches!(told.status, 403 | 404) {
                assert_eq!((told.status, told.field()), (422, "page"), "{path}, {other}: {}", told.text);
                assert!(told.text.contains("same filters"), "{other}: {}", told.text);
            }
        }
    }
    // A filtered list goes on with its filter, wherever that stands, and neither without nor with another.
    let get = async |query: &str| scene.office.get(&format!("/api/v1/patients?limit=1&{query}")).await;
    let first = get("find=sample&is_active=true").await.body;
    let page = format!("page={}", first["next"].as_str().unwrap());
    let told = get(&format!("is_active=true&{page}&find=sample")).await;
    assert_eq!((told.status, &told.body["items"][0]["name"]), (200, &json!("Bea Sample")), "{}", told.text);
    for other in ["", "find=sample&", "find=example&is_active=true&", "find=sample&is_active=false&"] {
        let told = get(&format!("{other}{page}")).await;
        assert_eq!((told.status, told.field()), (422, "page"), "{other}: {}", told.text);
    }
}

#[tokio::test]
async fn residents_and_staff_are_sorted_as_people_sort_whatever_the_page() {
    let office = Office::new().await;
    for name in ["Ada Zimmer", "Jan de Vries", "Bea Adams", "Émile Dahl"] {
        let body = json!({"facility_id": office.facility, "name": name});
        assert_eq!(office.post("/api/v1/patients", &[], &body).await.status, 201);
        let username = name.split(' ').next().unwrap().to_lowercase();
        let body = json!({"username": username, "display_name": name, "role": "auditor"});
        assert_eq!(office.post("/api/v1/users", &[], &body).await.status, 201);
    }
    let names = async |path: &str, field: &str| {
        let (mut names, mut next) = (Vec::new(), String::new());
        loop {
            let page = office.get(&format!("{path}&limit=1{next}")).await.body;
            names.extend(page["items"].as_array().unwrap().iter().map(|it| it[field].clone()));
            let Some(place) = page["next"].as_str() else { return names };
            next = format!("&page={place}");
        }
    };
    let people = ["Bea Adams", "Émile Dahl", "Jan de Vries", "Ada Zimmer"];
    assert_eq!(names("/api/v1/patients?sort=name", "name").await, people);
    assert_eq!(names("/api/v1/patients?is_active=true", "name").await, people);
    assert_eq!(names("/api/v1/patients?find=zim", "name").await, ["Ada Zimmer"]);
    let mut staff = names("/api/v1/users?sort=-name", "display_name").await;
    staff.retain(|name| people.iter().any(|of| name == of));
    staff.reverse();
    assert_eq!(staff, people);
    // Whoever is renamed is sorted by the new name, and a page that began there begins again.
    let first = office.get("/api/v1/patients?limit=1").await.body;
    let bea = format!("/api/v1/patients/{}", first["items"][0]["id"].as_str().unwrap());
    assert_eq!(office.put(&bea, &[], &json!({"name": "Bea Young"})).await.status, 200);
    let next = first["next"].as_str().unwrap();
    let told = office.get(&format!("/api/v1/patients?limit=1&page={next}")).await;
    assert_eq!((told.status, told.field()), (422, "page"), "{}", told.text);
    let people = ["Émile Dahl", "Jan de Vries", "Bea Young", "Ada Zimmer"];
    assert_eq!(names("/api/v1/patients?sort=name", "name").await, people);
}

#[tokio::test]
async fn patients_are_found_by_name_among_those_that_the_asker_sees_and_the_platform_finds_none() {
    let office = Office::new().await;
    let (platform, store) = (platform(&office.server).await, &office.server.app.store);
    let beta = store.system().organization_by_slug("beta").await.unwrap().unwrap().id;
    let theirs = store.organization(&testing::administrator(beta, None));
    let clinic = theirs.audited(event()).create_facility(testing::facility("Clinic")).await.unwrap().id;
    let john = testing::patient(clinic, [("name", "John Elsewhere")]);
    theirs.audited(event()).create_patient(john).await.unwrap();
    for name in ["Ada Johnson", "Bea Zimmer", "John Sample"] {
        let body = json!({"facility_id": office.facility, "name": name});
        assert_eq!(office.post("/api/v1/patients", &[], &body).await.status, 201);
    }
    for (typed, found) in [
        ("john", vec!["Ada Johnson", "John Sample"]),
        ("elsewhere", vec![]),
        ("%25", vec![]),
        ("j%25n", vec![]),
    ] {
        let told = office.get(&format!("/api/v1/patients?find={typed}")).await;
        let names: Vec<_> = told.body["items"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
        assert_eq!(names, found, "{typed}: {}", told.text);
    }
    for path in ["/api/v1/patients?find=john", "/org/beta/api/v1/patients?find=john"] {
        let told = office.ask_as(Some(&platform), &Method::GET, path, &[], b"").await;
        assert!(told.status == 403 && !told.text.contains("John"), "{path}: {}", told.text);
    }
}

/// Whom a log or a review names is looked up at once, and nobody has looked at one of them by that.
#[tokio::test]
async fn residents_are_listed_by_their_ids_in_one_look() {
    let office = Office::new().await;
    let mut ids = Vec::new();
    for name in ["Ada Zimmer", "Bea Adams"] {
        let body = json!({"facility_id": office.facility, "name": name});
        let told = office.post("/api/v1/patients", &[], &body).await;
        ids.push(told.body["id"].as_str().unwrap().to_owned());
    }
    let nobody = PatientId::from_bytes([7; 16]);
    let told = office.get(&format!("/api/v1/patients?ids={},{nobody}", ids.join(","))).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let items = told.body["items"].as_array().unwrap();
    let shown: BTreeSet<_> = items.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, ids.into_iter().collect::<BTreeSet<_>>());
    let log = office.get("/api/v1/audit-events").await.body;
    let looks = log["items"].as_array().unwrap().iter().filter(|event| event["action"] == "view");
    let looks: Vec<_> = looks.filter(|event| event["resource_type"] == "patient").collect();
    assert_eq!((looks.len(), &looks[0]["details"]["count"]), (1, &json!(2)), "{looks:?}");
    assert_eq!(looks[0]["details"]["seen_to"], json!([0, 0]), "of each");
    let many: Vec<_> = (0..=100).map(|n| PatientId::from_bytes([n; 16]).to_string()).collect();
    for query in ["ids=", "ids=abc", &format!("ids={}", many.join(",")), &format!("ids={nobody}&find=a")] {
        let told = office.get(&format!("/api/v1/patients?{query}")).await;
        assert_eq!((told.status, told.field()), (422, "ids"), "{query}: {}", told.text);
    }
}

#[tokio::test]
async fn a_page_begins_behind_the_item_at_which_the_one_before_ended() {
    let office = Office::new().await;
    for name in ["Lakeside", "Hillside", "Brookside"] {
        let body = json!({"name": name, "facility_type": "ALF"});
        assert_eq!(office.post("/api/v1/facilities", &[], &body).await.status, 201);
    }
    let first = office.get("/api/v1/facilities?limit=3").await.body;
    let names = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect()
    };
    assert_eq!(names(&first), ["Brookside", "Hillside", "Lakeside"]);
    let next = format!("/api/v1/facilities?limit=3&page={}", first["next"].as_str().unwrap());
    let last = office.get(&next).await.body;
    assert_eq!((names(&last), last.get("next")), (vec![json!("Riverside")], None));
    // Where the item at which a page ended is elsewhere now, that is said. One that was renamed across the end of a
    // page meanwhile is read twice, or not.
    let lakeside = format!("/api/v1/facilities/{}", first["items"][2]["id"].as_str().unwrap());
    assert_eq!(office.put(&lakeside, &[], &json!({"name": "Abbey"})).await.status, 200);
    for page in [next.as_str(), "/api/v1/facilities?page=Wzcs"] {
        let told = office.get(page).await;
        assert_eq!((told.status, told.field()), (422, "page"), "{}", told.text);
    }
}

/// Also for who looks after all of them, and however its name is typed.
#[tokio::test]
async fn a_page_of_one_organization_is_none_of_anothers() {
    let office = Office::new().await;
    office.server.registry.audited(event()).create_facility(testing::facility("Hillside")).await.unwrap();
    let platform = platform(&office.server).await;
    let get = async |of: &str, page: &str| {
        let path = format!("/org/{of}/api/v1/facilities?limit=1{page}");
        office.ask_as(Some(&platform), &Method::GET, &path, &[], b"").await
    };
    let first = get("alpha", "").await.body;
    let page = format!("&page={}", first["next"].as_str().unwrap());
    let told = get("ALPHA", &page).await;
    assert_eq!((told.status, &told.body["items"][0]["name"]), (200, &json!("Riverside")), "{}", told.text);
    let told = get("beta", &page).await;
    assert_eq!((told.status, told.field()), (422, "page"), "{}", told.text);
    assert!(told.text.contains("for the same list"), "{}", told.text);
}
