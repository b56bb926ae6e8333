//! Requests as the people's listener takes them, on a real store.

mod idempotency;
mod lists;
mod manners;
mod pushes;
mod quarantine;
mod rates;
mod unseen;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{FacilityId, OrganizationId, UserId};
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::app::App;
use crate::audit::Client;
use crate::clock;
use crate::config::Config;
use crate::http::listener::PeerAddress;
use crate::http::route::Listener;
use crate::http::routes::router;
use crate::password::{Caller, Passwords};
use crate::stopping::Stopping;
use crate::store::{AuditQuery, Login, NewFacility, NewPatient, NewSession, NewUser, OrganizationStore};
use crate::testing;
use crate::tls::Tls;
use crate::token;

const PASSWORD: &str = "a sentence for tests";

/// A server with one organization, `alpha`, whose administrator is `olga`.
struct Server {
    app: App,
    router: Router,
    organization: OrganizationId,
    registry: OrganizationStore,
    _directory: tempfile::TempDir,
}

fn object(fields: Value) -> Map<String, Value> {
    fields.as_object().unwrap().clone()
}

fn event() -> AuditEvent {
    let client = Client { ip: None, user_agent: None, endpoint: String::new() };
    client.event(AuditEventType::ApiAccess, AuditAction::Create, "fixture")
}

fn new_user(username: &str, role: Role, facility: Option<FacilityId>, password: Option<String>) -> NewUser {
    NewUser { password_hash: password, ..testing::user(username, role, facility) }
}

impl Server {
    async fn new() -> Self {
        let (directory, store) = testing::store();
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash(Caller::Stranger(None), SecretString::from(PASSWORD)).await.unwrap();
        let new = testing::organization("Alpha Care", "alpha");
        let admin = new_user("olga", Role::OrgAdmin, None, Some(hash));
        let (organization, _) = store.system().create_organization(new, admin, event()).await.unwrap();
        let registry = store.organization(&testing::administrator(organization.id, None));
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
        std::fs::write(&files[0], certified.cert.pem()).unwrap();
        std::fs::write(&files[1], certified.signing_key.serialize_pem()).unwrap();
        let certificate = Tls::load(&files[0], &files[1]).unwrap().certificate;
        let app = App::new(store, passwords, Config::default(), certificate, Stopping::channel().1);
        let router = router(&app, Listener::People);
        Self { app, router, organization: organization.id, registry, _directory: directory }
    }

    /// The same under a configuration, with nothing but what its store has.
    fn started_anew(self, config: Config) -> Self {
        let (store, passwords) = (self.app.store.clone(), self.app.passwords.clone());
        let (certificate, stopping) = (Arc::clone(&self.app.certificate), self.app.stopping.clone());
        let app = App::new(store, passwords, config, certificate, stopping);
        Self { router: router(&app, Listener::People), app, ..self }
    }

    async fn send(&self, mut request: Request<Body>) -> (StatusCode, Value) {
        request.extensions_mut().insert(PeerAddress(SocketAddr::from(([192, 0, 2, 1], 50_000))));
        answer(&self.router, request).await
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> (StatusCode, Value) {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn sign_in(&self, username: &str, password: &str) -> StatusCode {
        let body = json!({"organization": "alpha", "username": username, "password": password});
        self.post("/api/v1/sessions", None, &body).await.0
    }

    /// A session of a user, made without a password.
    async fn token(&self, user: UserId) -> String {
        let token = format!("cps_{user}");
        let new = NewSession {
            user,
            organization: Some(self.organization),
            token_sha256: token::sha256(&token),
            expires_at: clock::now().plus_millis(60_000),
        };
        let login = Login::of_organization(self.organization, &user.to_string(), "192.0.2.1".to_owned());
        self.app.store.system().create_session(login, new, event()).await.unwrap();
        token
    }

    async fn facility(&self) -> FacilityId {
        let new = NewFacility { licensed_beds: None, current_census: 0, ..testing::facility("Riverside") };
        self.registry.audited(event()).create_facility(new).await.unwrap().id
    }

    async fn user(&self, username: &str, role: Role, facility: FacilityId) -> UserId {
        let new = new_user(username, role, Some(facility), None);
        self.registry.audited(event()).create_user(new).await.unwrap().id
    }

    async fn events(&self, event_type: AuditEventType) -> Vec<AuditEvent> {
        let query = AuditQuery { limit: 1_000, ..AuditQuery::default() };
        let found = self.registry.audit_events(query).await.unwrap();
        let mut found: Vec<_> = found.items.into_iter().map(|audited| audited.event).collect();
        found.retain(|event| event.event_type == event_type && event.resource_type != "fixture");
        found
    }
}

/// The answer to a request that is given up after so many steps; none where it takes more.
async fn given_up<T>(steps: usize, request: impl Future<Output = T>) -> Option<T> {
    let (mut request, mut taken) = (pin!(request), 0);
    let answer = poll_fn(|context| {
        taken += 1;
        match request.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if taken == steps => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    answer.await
}

async fn answer(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_sign_in_does_not_tell_which_organizations_there_are() {
    let server = Server::new().await;
    let wrong = json!({"username": "olga", "password": "wrong"});
    let ghost = json!({"organization": "ghost", "username": "olga", "password": "wrong"});
    let nobody = OrganizationId::new(Timestamp::EPOCH, [9; 10]).to_string();
    let mut answers = Vec::new();
    for (path, header, body) in [
        ("/org/alpha/api/v1/sessions", None, &wrong),
        ("/org/ghost/api/v1/sessions", None, &wrong),
        ("/org/alpha/api/v1/sessions", None, &ghost),
        ("/api/v1/sessions", None, &ghost),
        ("/api/v1/sessions", Some(server.organization.to_string()), &wrong),
        ("/api/v1/sessions", Some(nobody), &wrong),
        ("/api/v1/sessions", Some("nonsense".to_owned()), &wrong),
    ] {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(header) = header {
            request = request.header("x-organization-id", header);
        }
        let (status, mut answer) = server.send(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {answer}");
        answer["request_id"].take();
        answers.push(answer);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_sign_in_is_no_larger_than_it_needs_to_be() {
    let server = Server::new().await;
    // As long as all of it may be, and each character written as an escape.
    let (name, password) = (r"\ud83d\ude00".repeat(100), r"\u0061".repeat(256));
    let largest = format!(r#"{{"organization": "{name}", "username": "{name}", "password": "{password}"}}"#);
    let send = |body: String| {
        let request = Request::post("/api/v1/sessions").header("content-type", "application/json");
        server.send(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(send(largest.clone()).await.0, StatusCode::UNAUTHORIZED);
    let padding = " ".repeat(4 * 1024 + 1 - largest.len());
    assert_eq!(send(largest + &padding).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn known_and_unknown_names_lock_alike_and_are_written_once_and_counted() {
    let server = Server::new().await;
    for (name, locks) in [("olga", 1), ("nobody", 0)] {
        let mut answers = Vec::new();
        for _ in 0..9 {
            answers.push(server.sign_in(name, "wrong").await.as_u16());
        }
        assert_eq!(answers, [401, 401, 401, 401, 429, 429, 429, 429, 429], "{name}");
        let about = |events: Vec<AuditEvent>| -> Vec<_> {
            events.into_iter().filter(|event| event.username.as_deref() == Some(name)).collect()
        };
        let events = about(server.events(AuditEventType::Login).await);
        assert_eq!(events.len(), 1 + locks, "the first, and that somebody's name was locked: {events:?}");
        assert!(events.iter().all(|event| !event.success), "filed under the organization: {events:?}");
        server.app.refusal_log.tell_all(&server.app.store.system()).await;
        let events = about(server.events(AuditEventType::Login).await);
        let counts: Vec<_> = events.iter().filter_map(|event| event.details.get("count")).collect();
        assert_eq!(counts, [8], "the other eight: {events:?}");
    }
    assert_eq!(server.sign_in("olga", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn the_same_read_again_and_again_is_one_event_and_a_count() {
    let server = Server::new().await;
    let facility = server.facility().await;
    let nurse = server.user("nina", Role::Rn, facility).await;
    // Nobody of whom a review asks whether they are one person: the one is then shown with the other.
    let new = |mrn: &str| testing::patient(facility, [("mrn", mrn), ("name", &format!("Ada {mrn}"))]);
    let token = server.token(nurse).await;
    let mut ids = Vec::new();
    for mrn in ["MRN-1", "MRN-2"] {
        ids.push(server.registry.audited(event()).create_patient(new(mrn)).await.unwrap().id);
    }
    for _ in 0..20 {
        for id in &ids {
            let request = Request::get(format!("/api/v1/patients/{id}"))
                .header("authorization", format!("Bearer {token}"));
            assert_eq!(server.send(request.body(Body::empty()).unwrap()).await.0, StatusCode::OK);
        }
    }
    let seen = server.events(AuditEventType::PhiAccess).await;
    let mut whose: Vec<_> = seen.iter().filter_map(|event| event.patient_id).collect();
    whose.sort();
    assert_eq!(whose, ids, "each resident once: {} events", seen.len());
    server.app.read_log.tell(&server.app.store.system(), true).await;
    let seen = server.events(AuditEventType::PhiAccess).await;
    let counts: Vec<_> = seen.iter().filter_map(|event| event.details.get("count")).collect();
    assert_eq!(counts, [38]);
}

#[tokio::test]
async fn a_session_and_its_end_are_in_the_audit_log() {
    let server = Server::new().await;
    let body = json!({"organization": "alpha", "username": "olga", "password": PASSWORD});
    let (status, answer) = server.post("/api/v1/sessions", None, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let request = Request::delete("/api/v1/sessions/current")
        .header("authorization", format!("Bearer {}", answer["token"].as_str().unwrap()));
    let (status, _) = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for event_type in [AuditEventType::Login, AuditEventType::Logout] {
        let events = server.events(event_type).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].session_id.unwrap().to_string(), answer["session_id"].as_str().unwrap());
    }
}

#[tokio::test]
async fn a_facilitys_administrator_touches_no_badge_of_the_organizations() {
    let server = Server::new().await;
    let facility = server.facility().await;
    let (chief, local, nurse) = (
        server.user("carla", Role::OrgAdmin, facility).await,
        server.user("fred", Role::FacilityAdmin, facility).await,
        server.user("nina", Role::Rn, facility).await,
    );
    let (chiefs, locals) = (server.token(chief).await, server.token(local).await);
    let card = |user: UserId, uid: &str| json!({"user_id": user, "uid": uid});
    let (status, badge) = server.post("/api/v1/badges", Some(&chiefs), &card(chief, "04a1b2c3")).await;
    assert_eq!(status, StatusCode::CREATED, "{badge}");
    let (status, _) = server.post("/api/v1/badges", Some(&locals), &card(chief, "04a1b2c4")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let revoke = format!("/api/v1/badges/{}/revoke", badge["id"].as_str().unwrap());
    let (status, _) = server.post(&revoke, Some(&locals), &json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, badge) = server.post("/api/v1/badges", Some(&locals), &card(nurse, "04a1b2c5")).await;
    assert_eq!(status, StatusCode::CREATED, "{badge}");
}

#[tokio::test]
async fn a_birthday_of_before_that_would_be_taken_no_more_keeps_nobody_from_moving() {
    let server = Server::new().await;
    let facility = server.facility().await;
    let token = server.token(server.user("nina", Role::Rn, facility).await).await;
    let fields = object(json!({"mrn": "MRN-1", "name": "Ada Example", "date_of_birth": "1066-10-14"}));
    let new = NewPatient { facility_id: facility, fields };
    let id = server.registry.audited(event()).create_patient(new).await.unwrap().id;
    for (born, status) in [("1066-10-14", StatusCode::OK), ("1067-10-14", StatusCode::UNPROCESSABLE_ENTITY)] {
        let body = json!({"date_of_birth": born, "room": "12"}).to_string();
        let request = Request::put(format!("/api/v1/patients/{id}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let (answered, said) = server.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answered, status, "{said}");
    }
}

#[tokio::test]
async fn what_is_done_is_answered_as_done_where_the_looks_at_who_is_named_cannot_be_written_down() {
    let server = Server::new().await;
    let facility = server.facility().await;
    let nurse = server.user("nina", Role::Rn, facility).await;
    let token = server.token(nurse).await;
    let mut known: Vec<String> = Vec::new();
    let mut admit = async || {
        let body = json!({"facility_id": facility, "name": "Ada Example", "medicare": "1EG4-TE5-MK73",
            "confirmed": known});
        let (status, patient) = server.post("/api/v1/patients", Some(&token), &body).await;
        assert_eq!(status, StatusCode::CREATED, "{patient}");
        known.push(format!("another person than {}", patient["id"].as_str().unwrap_or_default()));
        patient["may_be"].as_array().map_or(0, Vec::len)
    };
    let looks = async || {
        let seen = server.events(AuditEventType::PhiAccess).await.into_iter();
        seen.filter(|event| event.action == AuditAction::View).count()
    };
    assert_eq!((admit().await, looks().await), (0, 0));
    assert_eq!((admit().await, looks().await), (1, 1));
    assert_eq!((admit().await, looks().await), (2, 2), "whom she was named before is counted");
    // She has read as much as anybody may.
    let client = Client { ip: None, user_agent: None, endpoint: "GET /x".to_owned() };
    for n in 0.. {
        let view = client.event(AuditEventType::PhiAccess, AuditAction::View, "patient").on(n);
        if server.app.read_log.is_new(nurse, &view, clock::now()).is_err() {
            break;
        }
        server.app.read_log.written(nurse, &view);
    }
    assert_eq!((admit().await, looks().await), (0, 2), "nobody is named, and no look is told");
    assert_eq!(server.registry.all_patients().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_list_of_patients_names_them_in_the_audit_log() {
    let server = Server::new().await;
    let facility = server.facility().await;
    let nurse = server.user("nina", Role::Rn, facility).await;
    let token = server.token(nurse).await;
    let mut made = Vec::new();
    for n in 0..3 {
        let fields = object(json!({"mrn": format!("MRN-{n}"), "name": format!("Ada {n} Example")}));
        let new = NewPatient { facility_id: facility, fields };
        made.push(server.registry.audited(event()).create_patient(new).await.unwrap().id.to_string());
    }
    let request = Request::get("/api/v1/patients").header("authorization", format!("Bearer {token}"));
    let (status, _) = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let events = server.events(AuditEventType::PhiAccess).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].details["patients"], json!(made));
    assert_eq!(events[0].details["count"], json!(3));
}
