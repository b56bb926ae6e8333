//! Requests with an idempotency key, and such as are hung up on.

use std::time::{Duration, Instant};

use carepost_protocol::id::DeviceUuid;
use carepost_protocol::wire::enroll::EnrollResponse;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderName, Method};

use super::lists::platform;
use super::manners::{NOBODY, Office, allowed, edit, everything, id, nowhere, routes};
use super::*;
use crate::http::route::Parameter;
use crate::http::routes::DESCRIPTION;
use crate::store::{PageRequest, View};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

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
async fn every_post_is_done_once_for_a_key_and_answered_the_same() {
    let (office, mut ids) = everything().await;
    let (platform, user, facility) =
        (platform(&office.server).await, id(&ids, Parameter::User), office.facility);
    let charted = format!("/api/v1/patients/{}/records", id(&ids, Parameter::Patient));
    let record = office.get(&charted).await.body["items"][0]["id"].as_str().unwrap().to_owned();
    let (system, key) = (office.server.app.store.system(), testing::key());
    let asks = async || {
        let request = testing::enroll_request(DeviceUuid::from_bytes([2; 16]));
        system.enroll(testing::presented(&key), request, None).await.unwrap()
    };
    let EnrollResponse::Pending { enrollment_id, user_code, .. } = asks().await else { panic!("a code") };
    ids.extend([(Parameter::Record, record), (Parameter::Enrollment, enrollment_id.to_string())]);
    let mut posts: Vec<_> = routes().filter(|route| route.method == Method::POST).collect();
    // What is out of use takes no part in the others.
    posts.sort_by_key(|route| ["deactivate_device", "withdraw_device"].contains(&route.operation));
    for route in posts {
        let body = match route.operation {
            "sign_in" => json!({"organization": "alpha", "username": "olga", "password": PASSWORD}),
            "create_organization" => json!({"name": "Silver Birch", "slug": "silver-birch",
                "admin": {"username": "admin", "password": PASSWORD}}),
            "create_facility" => json!({"name": "Hillside", "facility_type": "ALF"}),
            "register_device" => {
                json!({"facility_id": facility, "device_name": "Ward", "device_type": "TABLET"})
            }
            "approve_enrollment" => json!({"code": user_code, "facility_id": facility, "device_name": "Den",
                "device_type": "TABLET"}),
            "confirm_enrollment" => {
                let EnrollResponse::Confirming { number, .. } = asks().await else { panic!("a number") };
                json!({"number": number})
            }
            "create_user" => json!({"username": "uma", "role": "auditor"}),
            "issue_badge" => json!({"user_id": user, "uid": "04a1b2c5"}),
            "create_patient" => json!({"facility_id": facility, "name": "Bea Sample"}),
            "strike_record" => json!({"reason": "of the wrong resident"}),
            change => edit(change, &user),
        };
        let token = if route.operation == "create_organization" { &platform } else { &office.token };
        let (path, key) = (route.path_with(|kind| id(&ids, kind)), format!("a key of {}", route.operation));
        let send = async |body: &Value| {
            let body = body.to_string();
            office.ask_as(Some(token), &Method::POST, &path, &[(KEY, &key)], body.as_bytes()).await
        };
        let (first, again) = (send(&body).await, send(&body).await);
        assert!(matches!(first.status, 200 | 201), "{}: {}", route.operation, first.text);
        let described = &DESCRIPTION.operation(route)["responses"][first.status.to_string()]["headers"];
        let (tag, is_described) = (first.headers.get(ETAG), described.get("ETag").is_some());
        assert_eq!(tag.is_some(), is_described, "{}", route.operation);
        // Of what was just made it is the one that it is shown with later.
        if first.status == 201 && is_described && route.operation != "issue_tapped_badge" {
            let made =
                first.body.get("key").or_else(|| first.body.get("id")).and_then(Value::as_str).unwrap();
            let made = format!("{}/{made}", route.path);
            let shown = office.ask_as(Some(token), &Method::GET, &made, &[], b"").await;
            assert_eq!((shown.status, shown.headers.get(ETAG)), (200, tag), "{made}: {}", shown.text);
        }
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{}", route.operation);
        let replayed = [&first, &again].map(|told| told.headers.contains_key("idempotency-replayed"));
        assert_eq!(replayed, [false, true], "{}", route.operation);
        let mut other = body;
        other["another"] = json!(true);
        let told = send(&other).await;
        let kind = json!("/problems/idempotency-key-reused");
        assert_eq!((told.status, &told.body["type"]), (422, &kind), "{}: {}", route.operation, told.text);
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
async fn one_key_of_two_organizations_is_two_requests_and_nothing_on_the_way_keeps_their_answers() {
    let office = Office::new().await;
    let (app, key) = (&office.server.app, [(KEY, "a key that both have drawn")]);
    let hash = app.passwords.hash(Caller::Stranger(None), SecretString::from(PASSWORD)).await.unwrap();
    let admin = new_user("olga", Role::OrgAdmin, None, Some(hash));
    let beta = testing::organization("Beta Care", "beta");
    app.store.system().create_organization(beta, admin, event()).await.unwrap();
    let user = json!({"username": "uma", "role": "auditor"}).to_string();
    let mut made = Vec::new();
    for slug in ["alpha", "beta", "alpha", "beta"] {
        let who = json!({"organization": slug, "username": "olga", "password": PASSWORD});
        let session = office.post("/api/v1/sessions", &[], &who).await;
        let token = session.body["token"].as_str();
        let told = office.ask_as(token, &Method::POST, "/api/v1/users", &key, user.as_bytes()).await;
        assert_eq!(told.status, 201, "{slug}: {}", told.text);
        let shown = office.ask_as(token, &Method::GET, "/api/v1/users", &[], b"").await;
        assert!(shown.text.contains(told.body["id"].as_str().unwrap()), "{slug}: {}", shown.text);
        for answer in [&session, &told, &shown] {
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        made.push(told.text);
    }
    assert!(made[0] != made[1] && made[..2] == made[2..], "{made:?}");
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
async fn who_hangs_up_on_a_request_has_it_under_way_and_is_written_down_all_the_same() {
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
            .header("authorization", format!("Bearer {}", office.token));
        if n % 2 == 0 {
            request = request.header(KEY, format!("a key that is drawn {n}"));
        }
        let mut request = request.body(Body::from_stream(body)).unwrap();
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
async fn who_hangs_up_has_no_other_turn_until_what_was_asked_for_is_read() {
    let office = Office::new().await;
    let quotas = &office.server.app.quotas;
    let chief = office.server.user("cleo", Role::OrgAdmin, office.facility).await;
    let token = office.server.token(chief).await;
    let (mut is_held, mut step, began) = (false, 0, Instant::now());
    // A read may be over before the turns are looked at: it is asked again.
    while !is_held {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "nothing is read where nobody waits, or no turn is held"
        );
        step += 1;
        let asked = office.ask_as(Some(&token), &Method::GET, "/api/v1/users", &[], b"");
        let is_answered = given_up(step, asked).await.is_some();
        // Nothing else has run since.
        let mut free = Vec::new();
        for _ in 0..4 {
            free.extend(given_up(1, quotas.turn_of_person(chief)).await);
        }
        is_held = !is_answered && free.len() == 3;
        drop(free);
        // And all are free once it is read.
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(quotas.turn_of_person(chief).await.unwrap());
        }
        if is_answered {
            step = 0;
        }
    }
}

/// However far it has come.
#[tokio::test]
async fn who_hangs_up_on_a_rename_leaves_no_kiosk_with_the_name_of_before() {
    let office = Office::new().await;
    let (server, quotas) = (&office.server, &office.server.app.quotas);
    let chief = server.user("cleo", Role::OrgAdmin, office.facility).await;
    let token = server.token(chief).await;
    for name in ["Hillside", "Lakeside"] {
        server.registry.audited(event()).create_facility(testing::facility(name)).await.unwrap();
    }
    let facilities = server.registry.facilities().await.unwrap();
    let scope = testing::administrator(server.organization, None);
    let path = format!("/api/v1/organizations/{}", server.organization);
    let mut is_renamed_unheard = false;
    for step in 1.. {
        let name = format!("Alpha Care {step}");
        let body = json!({"name": name}).to_string();
        let told =
            given_up(step, office.ask_as(Some(&token), &Method::PUT, &path, &[], body.as_bytes())).await;
        // Who has all four turns knows that nothing is under way.
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(quotas.turn_of_person(chief).await.unwrap());
        }
        let known = server.registry.organization().await.unwrap().name;
        for facility in &facilities {
            let asked = PageRequest {
                view: View::Full,
                view_changes: 0,
                most_documents: 1_000,
                after: None,
                limit: 1_000,
                was_at_head: false,
            };
            let feed = server.app.store.facility(&scope.enter(facility.id).unwrap());
            let lines = String::from_utf8(feed.page(asked).await.unwrap().lines).unwrap();
            let shown = format!(r#""organization_name":"{known}""#);
            assert!(lines.contains(&shown), "hung up after {step} steps, {}: {lines}", facility.name);
        }
        if let Some(told) = told {
            assert_eq!((told.status, &known), (200, &name), "{}", told.text);
            break;
        }
        is_renamed_unheard |= known == name;
    }
    assert!(is_renamed_unheard, "some were done though nobody waited");
}
