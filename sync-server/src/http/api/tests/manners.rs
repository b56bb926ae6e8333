//! What all routes do alike: walked by ROUTES, so that none that comes later forgets it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use carepost_protocol::device::DeviceType;
use carepost_protocol::role::may;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method};

use super::*;
use crate::http::openapi::Description;
use crate::http::parameters;
use crate::http::route::{Authorization, Parameter, Route};
use crate::http::routes::ROUTES;
use crate::store::NewDevice;

const NOBODY: &str = "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42";
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An answer with its head.
struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
    body: Value,
}

impl Told {
    fn field(&self) -> &str {
        self.body["errors"][0]["field"].as_str().unwrap_or_default()
    }

    fn tag(&self) -> &str {
        self.headers[ETAG].to_str().unwrap()
    }
}

/// A server, and who may do most on it.
struct Office {
    server: Server,
    token: String,
    facility: FacilityId,
}

impl Office {
    async fn new() -> Self {
        let server = Server::new().await;
        let facility = server.facility().await;
        let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
        Self { server, token, facility }
    }

    async fn ask(&self, method: &Method, path: &str, headers: &[(HeaderName, &str)], body: &[u8]) -> Told {
        self.ask_as(Some(&self.token), method, path, headers, body).await
    }

    async fn ask_as(
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
        let response = self.server.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Told { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn get(&self, path: &str) -> Told {
        self.ask(&Method::GET, path, &[], b"").await
    }

    async fn put(&self, path: &str, headers: &[(HeaderName, &str)], body: &Value) -> Told {
        self.ask(&Method::PUT, path, headers, body.to_string().as_bytes()).await
    }

    async fn post(&self, path: &str, headers: &[(HeaderName, &str)], body: &Value) -> Told {
        self.ask(&Method::POST, path, headers, body.to_string().as_bytes()).await
    }
}

fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.listener == Listener::People)
}

/// Those that the organization's administrator may call.
fn allowed() -> impl Iterator<Item = &'static Route> {
    routes().filter(|route| match route.authorization {
        Authorization::Person(action) => may(Role::OrgAdmin, action),
        Authorization::Public | Authorization::SignedIn => true,
        Authorization::AnyKey | Authorization::ActiveDevice | Authorization::SpeakingDevice => false,
    })
}

fn nowhere(route: &Route) -> String {
    route.path_with(|kind| if kind == Parameter::Number { "1".to_owned() } else { NOBODY.to_owned() })
}

fn is_list(route: &Route) -> bool {
    ["list_", "search_"].iter().any(|verb| route.operation.starts_with(verb))
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
    let (office, described) = (Office::new().await, Description::of(ROUTES));
    for route in allowed().filter(|route| described.operation(route).get("requestBody").is_some()) {
        for encoding in ["br", "gzip, zstd"] {
            let told =
                office.ask(&route.method, &nowhere(route), &[(CONTENT_ENCODING, encoding)], b"{}").await;
            assert_eq!(told.status, 415, "{}: {}", route.operation, told.text);
            assert_eq!(told.body["type"], "/problems/unsupported-encoding");
            assert_eq!(told.headers[ACCEPT_ENCODING], "gzip, zstd");
        }
    }
    let gzip = |plain: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(plain).unwrap();
        packed.finish().unwrap()
    };
    let zstd = |plain: &[u8]| zstd::bulk::compress(plain, 3).unwrap();
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
async fn every_list_is_read_by_pages_each_item_once() {
    let (office, described) = (Office::new().await, Description::of(ROUTES));
    for route in routes().filter(|route| is_list(route)) {
        let taken = parameters::taken(&described, route);
        for name in ["page", "limit"] {
            assert!(taken.iter().any(|it| it == name), "{} takes no {name}", route.operation);
        }
    }
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
    let all = office.get("/problems?limit=1000").await.body;
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = office.get(&format!("/problems?limit=7{next}")).await.body;
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(place) = page["next"].as_str() else { break };
        next = format!("&page={place}");
    }
    assert_eq!(json!(seen), all["items"]);
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

/// A good edit by an operation, of what an office has.
fn edit(operation: &str) -> Value {
    match operation {
        "update_organization" => json!({"contact": {"phone": "+1 555 0199"}}),
        "update_facility" => json!({"phone": "+1 555 0142"}),
        "update_census" => json!({"current_census": 7}),
        "update_device" => json!({"device_name": "Hall"}),
        "update_user" => json!({"display_name": "Nina Sample"}),
        "set_pin" => json!({"pin": "482915"}),
        "set_password" => json!({"password": PASSWORD}),
        "update_patient" => json!({"room": "12"}),
        "discharge_patient" => json!({}),
        other => panic!("{other} edits something: say here how"),
    }
}

#[tokio::test]
async fn every_edit_may_be_bound_to_a_version_and_what_is_another_is_shown_and_not_edited() {
    let office = Office::new().await;
    let nina = office.server.user("nina", Role::Rn, office.facility).await;
    let registry = &office.server.registry;
    let new = NewDevice {
        facility_id: office.facility,
        name: "Door".to_owned(),
        device_type: DeviceType::Tablet,
        device_uuid: None,
        token_sha256: [1; 32],
    };
    let device = registry.noting(event()).expect_device(new).await.unwrap().id;
    let fields = object(json!({"mrn": "MRN-1", "name": "Ada Example"}));
    let new = NewPatient { facility_id: office.facility, fields };
    let patient = registry.noting(event()).create_patient(new).await.unwrap().id;
    let own = |kind: Parameter| match kind {
        Parameter::Organization => office.server.organization.to_string(),
        Parameter::Facility => office.facility.to_string(),
        Parameter::User => nina.to_string(),
        Parameter::Device => device.to_string(),
        Parameter::Patient => patient.to_string(),
        other => panic!("an edit of {other:?}: say here which"),
    };
    for route in routes().filter(|route| route.edits().is_some()) {
        let path = route.path_with(own);
        let thing = ROUTES.iter().find(|it| it.method == Method::GET && Some(it.path) == route.edits());
        let thing = thing.map(|it| it.path_with(own)).unwrap_or_else(|| panic!("nothing shows {path}"));
        let body = edit(route.operation).to_string();
        let put = |tag: String| {
            let (office, path, body) = (&office, &path, &body);
            async move { office.ask(&route.method, path, &[(IF_MATCH, &tag)], body.as_bytes()).await }
        };
        let before = office.get(&thing).await;
        for stale in ["\"00000000000000000000000000000000\"".to_owned(), format!("W/{}", before.tag())] {
            let told = put(stale).await;
            assert_eq!((told.status, told.tag()), (412, before.tag()), "{}: {}", route.operation, told.text);
            assert_eq!(told.body["current"]["id"], before.body["id"], "{}", told.text);
            assert_eq!(office.get(&thing).await.tag(), before.tag(), "{} did it", route.operation);
        }
        assert_eq!((put("nonsense".to_owned()).await.status, put(String::new()).await.status), (422, 422));
        let told = put(format!("\"{}\", {}", "1".repeat(32), before.tag())).await;
        assert!(matches!(told.status, 200 | 204), "{}: {}", route.operation, told.text);
        let after = office.get(&thing).await;
        if told.status == 200 {
            assert_eq!(told.tag(), after.tag(), "{}", route.operation);
        }
        assert!(matches!(put("*".to_owned()).await.status, 200 | 204), "{}", route.operation);
    }
    for route in allowed().filter(|route| route.edits().is_none()) {
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
async fn an_edit_without_a_version_that_crosses_anothers_is_kept_in_a_review() {
    let office = Office::new().await;
    let fields = object(json!({"mrn": "MRN-1", "name": "Ada Example", "room": "10"}));
    let new = NewPatient { facility_id: office.facility, fields };
    let ada = office.server.registry.noting(event()).create_patient(new).await.unwrap().id;
    let path = format!("/api/v1/patients/{ada}");
    let reviews = format!("/api/v1/facilities/{}/reviews?open=true", office.facility);
    let other = office.server.token(office.server.user("olaf", Role::OrgAdmin, office.facility).await).await;
    let others = |room: &str| {
        let body = json!({"room": room}).to_string();
        let (office, other, path) = (&office, &other, &path);
        async move {
            office.ask_as(Some(other), &Method::GET, path, &[], b"").await;
            office.ask_as(Some(other), &Method::PUT, path, &[], body.as_bytes()).await.status
        }
    };
    // Another field, and what was seen: nothing to look at.
    assert_eq!(office.get(&path).await.body["room"], "10");
    assert_eq!(others("11").await, 200);
    assert_eq!(office.put(&path, &[], &json!({"name": "Ada Sample"})).await.status, 200);
    let seen = office.get(&path).await;
    assert_eq!(office.put(&path, &[], &json!({"room": "12"})).await.status, 200);
    assert_eq!(office.get(&reviews).await.body["items"], json!([]));
    // The same field, unseen: bound to the version it is not done, and else both values are kept.
    assert_eq!(others("13").await, 200);
    let told = office.put(&path, &[(IF_MATCH, seen.tag())], &json!({"room": "14"})).await;
    assert_eq!((told.status, &told.body["current"]["room"]), (412, &json!("13")), "{}", told.text);
    assert_eq!(office.get(&reviews).await.body["items"], json!([]));
    assert_eq!(others("15").await, 200);
    assert_eq!(office.ask(&Method::HEAD, &path, &[], b"").await.status, 200, "which shows nobody anything");
    assert_eq!(office.put(&path, &[], &json!({"room": "16"})).await.body["room"], "16");
    let found = office.get(&reviews).await.body;
    assert_eq!(
        (&found["items"][0]["kind"], found["items"].as_array().unwrap().len()),
        (&json!("conflict"), 1)
    );
    let values = found["items"][0]["fields"][0]["values"].as_array().unwrap();
    let values: Vec<_> = values.iter().map(|it| (it["value"].clone(), it["stands"] == true)).collect();
    assert!(values.contains(&(json!("15"), false)) && values.contains(&(json!("16"), true)), "{values:?}");
}

#[tokio::test]
async fn every_post_takes_a_key_and_no_other_request_does() {
    let office = Office::new().await;
    for route in allowed() {
        let told = office.ask(&route.method, &nowhere(route), &[(KEY, "short")], b"{}").await;
        assert_eq!((told.status, told.field()), (422, "idempotency-key"), "{}", route.operation);
        let told = office.ask(&route.method, &nowhere(route), &[(KEY, NOBODY)], b"{}").await;
        let is_taken = told.field() != "idempotency-key";
        assert_eq!(is_taken, route.method == Method::POST, "{}: {}", route.operation, told.text);
    }
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once_and_answered_the_same_whatever_it_holds() {
    let office = Office::new().await;
    let device = json!({"facility_id": office.facility, "device_name": "Hall", "device_type": "TABLET"});
    let user = json!({"username": "uma", "role": "auditor"});
    let who = json!({"organization": "alpha", "username": "olga", "password": PASSWORD});
    for (at, (path, body)) in
        [("/api/v1/devices", &device), ("/api/v1/users", &user), ("/api/v1/sessions", &who)]
            .into_iter()
            .enumerate()
    {
        let key = format!("a key that is drawn {at}");
        let headers = [(KEY, key.as_str())];
        let (one, other) = tokio::join!(office.post(path, &headers, body), office.post(path, &headers, body));
        let [first, second] = if one.status == 201 { [one, other] } else { [other, one] };
        assert_eq!(first.status, 201, "{}", first.text);
        let is_same = second.status == 201 && second.text == first.text;
        assert!(is_same || second.status == 409, "{}", second.text);
        let again = office.post(path, &headers, body).await;
        assert_eq!((again.status, &again.text), (201, &first.text));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.headers.get(ETAG), first.headers.get(ETAG));
        let told = office.post(path, &headers, &json!({"username": "other"})).await;
        assert_eq!((told.status, &told.body["type"]), (422, &json!("/problems/idempotency-key-reused")));
    }
    // A sign-in for another organization is another request, though its bytes are the same.
    let key = [(KEY, "a key of who signs in here"), (HeaderName::from_static("x-organization-id"), NOBODY)];
    let who = json!({"username": "olga", "password": PASSWORD});
    let path = "/org/alpha/api/v1/sessions";
    assert_eq!(office.post(path, &key[..1], &who).await.status, 201);
    assert_eq!(office.post(path, &key[..1], &who).await.status, 201);
    for (path, headers) in [("/api/v1/sessions", &key[..1]), (path, &key[..])] {
        let told = office.post(path, headers, &who).await;
        assert_eq!((told.status, &told.body["type"]), (422, &json!("/problems/idempotency-key-reused")));
    }
    let devices = office.get(&format!("/api/v1/facilities/{}/devices", office.facility)).await.body;
    assert_eq!(devices["items"].as_array().unwrap().len(), 1);
    // What did nothing is judged anew, and another person's key is another key.
    let key = [(KEY, "another key that is drawn")];
    let taken = json!({"username": "uma", "role": "auditor"});
    assert_eq!(office.post("/api/v1/users", &key, &taken).await.status, 409);
    let next = json!({"username": "vera", "role": "auditor"});
    assert_eq!(office.post("/api/v1/users", &key, &next).await.status, 201);
    let other = office.server.token(office.server.user("olaf", Role::OrgAdmin, office.facility).await).await;
    let third = json!({"username": "wanda", "role": "auditor"}).to_string();
    let told = office.ask_as(Some(&other), &Method::POST, "/api/v1/users", &key, third.as_bytes()).await;
    assert_eq!(told.status, 201, "{}", told.text);
}

#[tokio::test]
async fn whom_an_answer_shows_is_seen_again_when_it_is_given_again() {
    let office = Office::new().await;
    let key = [(KEY, "a key that is drawn once")];
    let body = json!({"facility_id": office.facility, "name": "Ada Example"});
    let first = office.post("/api/v1/patients", &key, &body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let looks = async || {
        let mut events = office.server.events(AuditEventType::PhiAccess).await;
        events.retain(|event| event.action == AuditAction::View);
        events
    };
    assert_eq!(looks().await.len(), 0);
    for _ in 0..3 {
        assert_eq!(office.post("/api/v1/patients", &key, &body).await.text, first.text);
    }
    let looks = looks().await;
    assert_eq!(looks.len(), 1, "and the others are counted");
    let whose = looks[0].patient_id.map(|id| id.to_string());
    assert_eq!((whose.as_deref(), looks[0].facility_id), (first.body["id"].as_str(), Some(office.facility)));
}

#[tokio::test]
async fn who_hangs_up_on_a_request_with_a_key_has_it_under_way_and_is_written_down_all_the_same() {
    let office = Office::new().await;
    let users = json!({"username": "uma", "role": "auditor"}).to_string();
    let mut bodies = Vec::new();
    for n in 0..4 {
        let (send, sent) = tokio::sync::oneshot::channel::<String>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let body = futures_util::stream::once(async move {
            begin.send(()).unwrap();
            sent.await
        });
        let mut request = Request::post("/api/v1/users")
            .header(CONTENT_TYPE, "application/json")
            .header("authorization", format!("Bearer {}", office.token))
            .header(KEY, format!("a key that is drawn {n}"))
            .body(Body::from_stream(body))
            .unwrap();
        request.extensions_mut().insert(PeerAddress(SocketAddr::from(([192, 0, 2, 1], 50_000))));
        let asking = tokio::spawn(office.server.router.clone().oneshot(request));
        begun.await.unwrap();
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled(), "the client hangs up");
        bodies.push(send);
    }
    assert_eq!(office.get("/api/v1/users").await.status, 429, "four are under way");
    bodies.into_iter().for_each(|body| body.send(users.clone()).unwrap());
    // One of them is done; the others find the name taken.
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_written = |event: &AuditEvent| event.details.get("status") == Some(&json!(409));
    while !office.server.events(AuditEventType::ApiAccess).await.iter().any(is_written) {
        assert!(Instant::now() < deadline, "nobody wrote down that it was refused");
        tokio::task::yield_now().await;
    }
    assert!(office.get("/api/v1/users").await.text.contains("uma"));
}

#[tokio::test]
async fn one_who_asks_faster_than_the_configuration_allows_waits_and_nobody_else_does() {
    let mut server = Server::new().await;
    let config = Config::parse("requests_per_minute = 2", "server.toml", Vec::new()).unwrap();
    server.app.request_rate = Arc::new(RequestRate::new(config.requests_per_minute));
    server.router = router(&server.app, Listener::People);
    let facility = server.facility().await;
    let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
    let other = server.token(server.user("olaf", Role::OrgAdmin, facility).await).await;
    let office = Office { server, token, facility };
    for status in [200, 200, 429, 429] {
        let told = office.get("/api/v1/users").await;
        assert_eq!(told.status, status, "{}", told.text);
        let wait = told.headers.get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(wait.is_some_and(|wait| (1..=31).contains(&wait)), status == 429, "{wait:?}");
    }
    let told = office.ask_as(Some(&other), &Method::GET, "/api/v1/users", &[], b"").await;
    assert_eq!(told.status, 200, "{}", told.text);
}

#[tokio::test]
async fn the_description_of_the_api_tells_its_manners() {
    let description = Description::of(ROUTES);
    for route in routes() {
        let described = description.operation(route);
        let named = |name: &str| {
            described["parameters"].as_array().into_iter().flatten().any(|it| it["name"] == name)
        };
        assert_eq!(named("Idempotency-Key"), route.method == Method::POST, "{}", route.operation);
        assert_eq!(named("If-Match"), route.edits().is_some(), "{}", route.operation);
        assert_eq!(described["responses"].get("412").is_some(), route.edits().is_some());
        assert!(described["responses"].get("default").is_some(), "{}", route.operation);
    }
}
