//! What all routes do alike: walked by ROUTES, so that none that comes later forgets it.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;

use carepost_protocol::id::{BootId, DeviceUuid, IncarnationId};
use carepost_protocol::role::may;
use carepost_protocol::wire::BOOT_HEADER;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_MATCH};
use http::{HeaderMap, HeaderName, Method};

use super::lists::chart;
use super::quarantine::{Kiosk, Process, good_heartbeat};
use super::*;
use crate::http::body::Json;
use crate::http::route::{Authorization, Parameter, Route};
use crate::http::routes::{DESCRIPTION, ROUTES};

pub(super) const NOBODY: &str = "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42";

/// An answer with its head.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) body: Value,
}

impl Told {
    /// What a router answers.
    pub(super) async fn by(router: &Router, request: Request<Body>) -> Self {
        let response = router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    pub(super) fn field(&self) -> &str {
        self.body["errors"][0]["field"].as_str().unwrap_or_default()
    }

    pub(super) fn tag(&self) -> &str {
        self.headers[ETAG].to_str().unwrap()
    }

    fn is_unknown_encoding(&self, route: &Route) {
        assert_eq!(self.status, 415, "{}: {}", route.operation, self.text);
        assert_eq!(self.body["type"], "/problems/unsupported-encoding");
        assert_eq!(self.headers[ACCEPT_ENCODING], "gzip, zstd");
    }
}

const UNKNOWN_ENCODINGS: [&str; 2] = ["br", "gzip, zstd"];

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

/// A server, and who may do most on it.
pub(super) struct Office {
    pub(super) server: Server,
    pub(super) token: String,
    pub(super) facility: FacilityId,
}

impl Office {
    pub(super) async fn new() -> Self {
        let server = Server::new().await;
        let facility = server.facility().await;
        let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
        Self { server, token, facility }
    }

    pub(super) async fn ask(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &[u8],
    ) -> Told {
        self.ask_as(Some(&self.token), method, path, headers, body).await
    }

    pub(super) async fn ask_as(
        &self,
        token: Option<&str>,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &[u8],
    ) -> Told {
        let mut request =
            Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let mut request = request.body(Body::from(body.to_vec())).unwrap();
        request.extensions_mut().insert(PeerAddress(SocketAddr::from(([192, 0, 2, 1], 50_000))));
        Told::by(&self.server.router, request).await
    }

    pub(super) async fn get(&self, path: &str) -> Told {
        self.ask(&Method::GET, path, &[], b"").await
    }

    pub(super) async fn put(&self, path: &str, headers: &[(HeaderName, &str)], body: &Value) -> Told {
        self.ask(&Method::PUT, path, headers, body.to_string().as_bytes()).await
    }

    pub(super) async fn post(&self, path: &str, headers: &[(HeaderName, &str)], body: &Value) -> Told {
        self.ask(&Method::POST, path, headers, body.to_string().as_bytes()).await
    }
}

pub(super) fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.listener == Listener::People)
}

/// Those that the organization's administrator may call.
pub(super) fn allowed() -> impl Iterator<Item = &'static Route> {
    routes().filter(|route| match route.authorization {
        Authorization::Person(action) => may(Role::OrgAdmin, action),
        Authorization::Public | Authorization::SignedIn => true,
        Authorization::AnyKey | Authorization::ActiveDevice | Authorization::SpeakingDevice => false,
    })
}

pub(super) fn nowhere(route: &Route) -> String {
    route.path_with(|kind| if kind == Parameter::Number { "1".to_owned() } else { NOBODY.to_owned() })
}

#[tokio::test]
async fn every_route_refuses_a_parameter_that_it_does_not_know_and_answers_head_and_options() {
    let office = Office::new().await;
    for route in allowed() {
        let told = office.ask(&route.method, &format!("{}?colour=red", nowhere(route)), &[], b"{}").await;
        assert_eq!((told.status, told.field()), (422, "colour"), "{}: {}", route.operation, told.text);
    }
    for route in routes() {
        let path = nowhere(route);
        let words = |told: &Told| -> BTreeSet<String> {
            let allow = told.headers[ALLOW].to_str().unwrap();
            allow.split(',').map(|method| method.trim().to_owned()).collect()
        };
        let of_path = routes().filter(|other| other.path == route.path).flat_map(Route::methods);
        let all: BTreeSet<String> = of_path.chain(["OPTIONS"]).map(str::to_owned).collect();
        let told = office.ask_as(None, &Method::OPTIONS, &path, &[], b"").await;
        assert_eq!((told.status, words(&told), told.text.as_str()), (204, all.clone(), ""), "{path}");
        let told = office.ask(&Method::PATCH, &path, &[], b"{}").await;
        assert_eq!((told.status, words(&told)), (405, all), "{path}");
        assert_eq!(told.body["type"], "/problems/method-not-allowed");
        if route.method == Method::GET && route.authorization != Authorization::SignedIn {
            let (got, head) = (office.get(&path).await, office.ask(&Method::HEAD, &path, &[], b"").await);
            assert_eq!((head.status, head.text.as_str()), (got.status, ""), "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_is_taken_packed_by_gzip_and_zstd_and_no_other() {
    let office = Office::new().await;
    for route in allowed() {
        for encoding in UNKNOWN_ENCODINGS {
            let headers = [(CONTENT_ENCODING, encoding)];
            office.ask(&route.method, &nowhere(route), &headers, b"{}").await.is_unknown_encoding(route);
        }
    }
    let user = |name: &str| json!({"username": name, "role": "auditor"}).to_string();
    let large = format!(r#"{{"username": "{}", "role": "auditor"}}"#, "x".repeat(300 * 1024));
    for (encoding, good, bomb) in [
        ("gzip", gzip(user("greta").as_bytes()), gzip(large.as_bytes())),
        ("zstd", zstd(user("zora").as_bytes()), zstd(large.as_bytes())),
    ] {
        let headers = [(CONTENT_ENCODING, encoding)];
        let told = office.ask(&Method::POST, "/api/v1/users", &headers, &good).await;
        assert_eq!(told.status, 201, "{}", told.text);
        assert!(bomb.len() < 4_096, "{}", bomb.len());
        let told = office.ask(&Method::POST, "/api/v1/users", &headers, &bomb).await;
        assert_eq!(told.status, 413, "{}", told.text);
        let told = office.ask(&Method::POST, "/api/v1/users", &headers, b"{}").await;
        assert_eq!(told.status, 400, "{}", told.text);
    }
}

#[tokio::test]
async fn what_devices_send_is_taken_packed_by_gzip_and_zstd_and_no_other() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let boot = BootId::new(Timestamp::EPOCH, [1; 10]).to_string();
    let send = async |path: &str, encoding: &str, body: Vec<u8>| {
        let request = Request::post(path).header(BOOT_HEADER, &boot).header(CONTENT_TYPE, "application/json");
        let request = request.header(CONTENT_ENCODING, encoding).body(Body::from(body)).unwrap();
        kiosk.told(request, 0).await
    };
    let sends = |route: &&Route| route.listener == Listener::Devices && route.method == Method::POST;
    for route in ROUTES.iter().filter(sends) {
        let path = route.path_with(|_| kiosk.device.to_string());
        let good = match route.operation {
            "enroll" => json!(testing::enroll_request(DeviceUuid::from_bytes([1; 16]))),
            "heartbeat" => good_heartbeat(),
            "push" => kiosk.empty_batch(),
            other => panic!("{other} is sent by devices: say here what"),
        };
        let good = good.to_string().into_bytes();
        for encoding in UNKNOWN_ENCODINGS {
            send(&path, encoding, good.clone()).await.is_unknown_encoding(route);
        }
        for (encoding, packed) in [("gzip", gzip(&good)), ("zstd", zstd(&good))] {
            let told = send(&path, encoding, packed).await;
            assert_eq!(told.status, 200, "{} {encoding}: {}", route.operation, told.text);
            let told = send(&path, encoding, good.clone()).await;
            assert_eq!(told.status, 400, "{} {encoding}: {}", route.operation, told.text);
        }
    }
}

/// Of what is parsed, maps take most: these are a hundred times as large as their text.
#[tokio::test]
async fn what_a_body_comes_to_in_memory_is_counted_on_every_route_before_it_is_made() {
    let office = Office::new().await;
    let of = |maps: usize| format!(r#"{{"colour": [{}0]}}"#, r#"{"":0},"#.repeat(maps));
    for route in allowed() {
        for (headers, body) in [
            (vec![], of(37_000).into_bytes()),
            (vec![(CONTENT_ENCODING, "zstd")], zstd(of(37_000).as_bytes())),
        ] {
            let told = office.ask(&route.method, &nowhere(route), &headers, &body).await;
            let kind = json!("/problems/too-large");
            assert_eq!((told.status, &told.body["type"]), (413, &kind), "{}: {}", route.operation, told.text);
        }
    }
    // The largest form there can be, all of whose choices are said.
    let options: Vec<String> = (10_000..30_000).map(|n| n.to_string()).collect();
    let field = |(n, options): (usize, &[String])| {
        let (key, label) = (format!("f{n}"), format!("Field {n}"));
        json!({"key": key, "label": label, "type": "select", "options": options})
    };
    let fields: Vec<Value> = options.chunks(200).enumerate().map(field).collect();
    let form = json!({"key": "vitals", "label": "Vitals", "fields": fields});
    let told = office.post("/api/v1/workflows", &[], &form).await;
    assert_ne!(told.status, 413, "{}", told.text);
    // It is held as long as what was made of it.
    let app = &office.server.app;
    let request = Request::post("/").header(CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(of(10))).unwrap();
    let asked = Json::<Value>::within(4_096, request, app).await.unwrap();
    assert!(asked.1.held() > 40 * of(10).len(), "{}", asked.1.held());
}

/// Also where there is nothing to say: a device that was lost is not taken for retired, because nobody read why.
#[tokio::test]
async fn a_body_that_does_not_say_what_it_is_is_refused_and_so_is_what_an_endpoint_does_not_take() {
    let office = Office::new().await;
    for route in allowed() {
        let request = Request::builder().method(&route.method).uri(nowhere(route));
        let request = request.header("authorization", format!("Bearer {}", office.token));
        let request = request.body(Body::from(r#"{"reason": "lost"}"#)).unwrap();
        let (status, told) = office.server.send(request).await;
        let kind = json!("/problems/unsupported-media-type");
        assert_eq!((status.as_u16(), &told["type"]), (415, &kind), "{}: {told}", route.operation);
        if DESCRIPTION.operation(route).get("requestBody").is_none() {
            let told = office.ask(&route.method, &nowhere(route), &[], br#"{"colour": "red"}"#).await;
            assert_eq!((told.status, told.field()), (422, "colour"), "{}: {}", route.operation, told.text);
        }
    }
    // Nothing came, which is known only at the end.
    for act in ["deactivate", "release"] {
        let nothing = futures_util::stream::empty::<Result<Vec<u8>, std::io::Error>>();
        let request = Request::post(format!("/api/v1/devices/{NOBODY}/{act}"));
        let request = request.header("authorization", format!("Bearer {}", office.token));
        let (status, told) = office.server.send(request.body(Body::from_stream(nothing)).unwrap()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{act}: {told}");
    }
}

#[tokio::test]
async fn an_edit_leaves_what_is_absent_clears_what_is_null_and_merges_what_is_nested() {
    let office = Office::new().await;
    let organization = format!("/api/v1/organizations/{}", office.server.organization);
    let facility = format!("/api/v1/facilities/{}", office.facility);
    for path in [&organization, &facility] {
        let office = &office;
        let put = |body: Value| async move { office.put(path, &[], &body).await.body["address"].clone() };
        assert_eq!(put(json!({"address": {"city": "Springfield", "zip": "62701"}})).await["zip"], "62701");
        let merged = put(json!({"address": {"zip": null, "state": "IL"}})).await;
        assert_eq!(merged, json!({"city": "Springfield", "state": "IL"}));
        assert_eq!(put(json!({})).await, merged, "what is absent stays");
        assert_eq!(put(json!({"address": {"city": null, "state": null}})).await, Value::Null);
        put(json!({"address": {"city": "Springfield"}})).await;
        assert_eq!(put(json!({"address": null})).await, Value::Null);
    }
    let told = office.put(&organization, &[], &json!({"npi": "1234567893"})).await;
    assert_eq!(told.body["npi"], "1234567893");
    assert_eq!(office.put(&organization, &[], &json!({"npi": null})).await.body["npi"], Value::Null);
    for (path, field) in [
        (&organization, "name"),
        (&organization, "type"),
        (&facility, "name"),
        (&facility, "current_census"),
        (&facility, "units"),
    ] {
        let told = office.put(path, &[], &json!({field: null})).await;
        assert_eq!((told.status, told.field()), (422, field), "{}", told.text);
    }
}

#[tokio::test]
async fn every_edit_leaves_what_is_absent_and_removes_what_is_null_or_refuses_that_by_name() {
    let (office, ids) = everything().await;
    let document = office.get("/api/v1/openapi.json").await.body;
    for route in routes().filter(|route| route.method == Method::PUT) {
        let [path, thing] =
            [route, route.edits(ROUTES).unwrap()].map(|it| it.path_with(|kind| id(&ids, kind)));
        // What sets one thing takes it always.
        if !["set_pin", "set_password", "update_census"].contains(&route.operation) {
            let before = office.get(&thing).await;
            let told = office.put(&path, &[], &json!({})).await;
            assert_eq!((told.status, told.tag()), (200, before.tag()), "{}: {}", route.operation, told.text);
        }
        let body = &document["paths"][route.path]["put"]["requestBody"]["content"]["application/json"];
        let schema = body["schema"]["$ref"].as_str().unwrap().trim_start_matches('#');
        let members = document.pointer(schema).unwrap()["properties"].as_object().unwrap();
        for (member, described) in members {
            let told = office.put(&path, &[], &json!({member: null})).await;
            let is_removed = told.status == 200 && told.body.get(member) == Some(&Value::Null);
            let is_refused = (told.status, told.field()) == (422, member.as_str());
            assert!(is_removed || is_refused, "{} {member}: {}", route.operation, told.text);
            let says_null = described.to_string().contains(r#""null""#);
            // Some have no home facility; whom the kiosks know has one.
            let may_be = is_removed || (route.operation == "update_user" && member == "facility_id");
            assert_eq!(says_null, may_be, "{} {member} is described: {described}", route.operation);
        }
    }
}

/// An office with one of everything that can be changed, and the id of each.
pub(super) async fn everything() -> (Office, HashMap<Parameter, String>) {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let facility = server.registry.facilities().await.unwrap().remove(0).id;
    let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
    let office = Office { server, token, facility };
    let nina = office.server.user("nina", Role::Rn, office.facility).await;
    let registry = &office.server.registry;
    let fields = object(json!({"mrn": "MRN-1", "name": "Ada Example"}));
    let new = NewPatient { facility_id: office.facility, fields };
    let patient = registry.audited(event()).create_patient(new).await.unwrap().id;
    let badge = registry.audited(event()).issue_badge(nina, &[4, 0xa1, 0xb2, 0xc3]).await.unwrap().id;
    assert_eq!(office.post("/api/v1/workflows", &[], &form("Vitals")).await.status, 201);
    // The third change that it sends cannot be read, and is rejected.
    chart(&kiosk, nina, patient).await;
    let tap = json!({"unknown_tap": {"lookup": "5e".repeat(32), "age": 0}});
    kiosk.heartbeat_with(Process(1, 0), tap).await;
    let ids = HashMap::from([
        (Parameter::Organization, office.server.organization.to_string()),
        (Parameter::Facility, office.facility.to_string()),
        (Parameter::User, nina.to_string()),
        (Parameter::Device, kiosk.device.to_string()),
        (Parameter::Patient, patient.to_string()),
        (Parameter::Badge, badge.to_string()),
        (Parameter::Incarnation, IncarnationId::new(Timestamp::EPOCH, [1; 10]).to_string()),
        (Parameter::Number, "3".to_owned()),
        (Parameter::WorkflowKey, "vitals".to_owned()),
    ]);
    (office, ids)
}

pub(super) fn id(ids: &HashMap<Parameter, String>, kind: Parameter) -> String {
    ids.get(&kind).unwrap_or_else(|| panic!("a change of {kind:?}: say above which")).clone()
}

/// A good change by an operation, of what an office has.
pub(super) fn edit(operation: &str, user: &str) -> Value {
    match operation {
        "deactivate_device" => json!({"reason": "retired"}),
        // After all that it sent.
        "withdraw_device" => json!({"since": clock::now()}),
        "issue_tapped_badge" => json!({"user_id": user, "card": "5e5e5e5e..."}),
        "publish_workflow" => form("Vital signs"),
        "discard_rejected_change" => json!({"reason": "sent for a test"}),
        "release_device" | "revoke_badge" | "retry_rejected_change" => json!({}),
        "update_organization" => json!({"contact": {"phone": "+1 555 0199"}}),
        "update_facility" => json!({"phone": "+1 555 0142"}),
        "update_census" => json!({"current_census": 7}),
        "update_device" => json!({"device_name": "Hall"}),
        "update_user" => json!({"display_name": "Nina Sample"}),
        "set_pin" => json!({"pin": "482915"}),
        "set_password" => json!({"password": PASSWORD}),
        "update_patient" => json!({"room": "12"}),
        "discharge_patient" => json!({}),
        other => panic!("{other} changes something: say here how"),
    }
}

fn form(label: &str) -> Value {
    json!({"key": "vitals", "label": label, "fields": [{"key": "pulse", "label": "Pulse", "type": "integer"}]})
}

#[tokio::test]
async fn every_change_may_be_bound_to_a_version_and_what_is_another_is_shown_and_not_changed() {
    let (office, ids) = everything().await;
    let own = |kind| id(&ids, kind);
    for route in routes() {
        let Some(thing) = route.edits(ROUTES) else { continue };
        let (path, thing) = (route.path_with(own), thing.path_with(own));
        let body = edit(route.operation, &ids[&Parameter::User]).to_string();
        let send = |tag: String| {
            let (office, path, body) = (&office, &path, &body);
            async move { office.ask(&route.method, path, &[(IF_MATCH, &tag)], body.as_bytes()).await }
        };
        let before = office.get(&thing).await;
        for stale in ["\"00000000000000000000000000000000\"".to_owned(), format!("W/{}", before.tag())] {
            let told = send(stale).await;
            assert_eq!((told.status, told.tag()), (412, before.tag()), "{}: {}", route.operation, told.text);
            for name in ["id", "n"] {
                assert_eq!(told.body["current"][name], before.body[name], "{}", told.text);
            }
            assert_eq!(office.get(&thing).await.tag(), before.tag(), "{} did it", route.operation);
        }
        assert_eq!((send("nonsense".to_owned()).await.status, send(String::new()).await.status), (422, 422));
        let told = send(format!("\"{}\", {}", "1".repeat(32), before.tag())).await;
        if route.operation == "issue_tapped_badge" {
            // It is out of use by now: that is looked at behind the version.
            assert_eq!((told.status, told.field()), (422, "device_id"), "{}", told.text);
            continue;
        }
        assert!(matches!(told.status, 200 | 201 | 204), "{}: {}", route.operation, told.text);
        let after = office.get(&thing).await;
        // A withdrawal tells what it took out, and no device.
        if told.status != 204 && route.operation != "withdraw_device" {
            assert_eq!(told.tag(), after.tag(), "{}", route.operation);
        }
        assert_ne!(send("*".to_owned()).await.status, 412, "{}", route.operation);
    }
    for route in allowed().filter(|route| route.edits(ROUTES).is_none()) {
        let told = office.ask(&route.method, &nowhere(route), &[(IF_MATCH, "*")], b"{}").await;
        let good = route.operation == "sign_out" || (told.status, told.field()) == (422, "if-match");
        assert!(good, "{}: {}", route.operation, told.text);
    }
}

#[tokio::test]
async fn a_pin_and_a_password_that_are_set_anew_are_another_version() {
    let office = Office::new().await;
    let nina = office.server.user("nina", Role::Rn, office.facility).await;
    let user = format!("/api/v1/users/{nina}");
    for (what, body) in [("pin", json!({"pin": "482915"})), ("password", json!({"password": PASSWORD}))] {
        let path = format!("{user}/{what}");
        assert_eq!(office.put(&path, &[], &body).await.status, 204);
        let seen = office.get(&user).await;
        let seen = [(IF_MATCH, seen.tag())];
        assert_eq!(office.put(&path, &seen, &body).await.status, 204, "{what}");
        assert_eq!(office.put(&path, &seen, &body).await.status, 412, "{what}");
    }
}

#[tokio::test]
async fn a_device_that_turns_out_to_be_lost_is_another_version() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let facility = server.registry.facilities().await.unwrap().remove(0).id;
    let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
    let office = Office { server, token, facility };
    let device = format!("/api/v1/devices/{}", kiosk.device);
    let deactivate = format!("{device}/deactivate");
    let [retired, lost] = ["retired", "lost"].map(|reason| json!({"reason": reason}));
    assert_eq!(office.post(&deactivate, &[], &retired).await.status, 200);
    let seen = office.get(&device).await;
    let seen = [(IF_MATCH, seen.tag())];
    assert_eq!(office.post(&deactivate, &[], &lost).await.status, 200);
    assert_eq!(office.post(&deactivate, &seen, &retired).await.status, 412);
}

#[tokio::test]
async fn the_description_of_the_api_tells_its_manners() {
    for route in routes() {
        let described = DESCRIPTION.operation(route);
        let named = |name: &str| {
            described["parameters"].as_array().into_iter().flatten().any(|it| it["name"] == name)
        };
        assert_eq!(named("Idempotency-Key"), route.method == Method::POST, "{}", route.operation);
        let changes = route.edits(ROUTES).is_some();
        assert_eq!(named("If-Match"), changes, "{}", route.operation);
        assert_eq!(described["responses"].get("412").is_some(), changes);
        assert!(described["responses"].get("default").is_some(), "{}", route.operation);
    }
    // The answer that a thing is made with has its version, and one that shows no thing has none.
    for (operation, status, has_tag) in [
        ("create_user", "201", true),
        ("register_device", "201", true),
        ("issue_tapped_badge", "201", true),
        ("confirm_enrollment", "200", true),
        ("retry_rejected_change", "200", true),
        ("withdraw_device", "200", false),
        ("list_devices", "200", false),
        ("sign_in", "201", false),
    ] {
        let route = routes().find(|route| route.operation == operation).unwrap();
        let headers = &DESCRIPTION.operation(route)["responses"][status]["headers"];
        assert_eq!(headers.get("ETag").is_some(), has_tag, "{operation}");
    }
}
