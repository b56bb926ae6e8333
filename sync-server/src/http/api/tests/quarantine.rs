//! Two copies of one device, as its listener hears them.

use std::time::{Duration, Instant};

use carepost_protocol::change::{Lane, Link};
use carepost_protocol::device::DeviceState;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{AssignmentId, BootId, DeviceId, DeviceUuid, IncarnationId};
use carepost_protocol::wire::BOOT_HEADER;
use http::Method;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::manners::Told;
use super::*;
use crate::http::listener::ConnectedAt;
use crate::quota::Kind;
use crate::store::{FacilityPatch, PresentedKey};
use crate::tls::PeerKey;

pub(super) struct Kiosk {
    router: axum::Router,
    pub(super) device: DeviceId,
    pub(super) assignment: AssignmentId,
    peer: PeerKey,
    pub(super) key: EcdsaKeyPair,
    began: Instant,
}

/// One process of the device: its name, and the second at which its connection began.
#[derive(Clone, Copy)]
pub(super) struct Process(pub(super) u8, pub(super) u64);

impl Kiosk {
    pub(super) async fn new(server: &Server) -> Self {
        let facility = server.facility().await;
        let random = ring::rand::SystemRandom::new();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let peer = PeerKey::of(certificate.der()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random);
        let token = token::sha256("cpd_example");
        let new = testing::device(facility, "Hall kiosk", None, token);
        let device = server.registry.audited(event()).expect_device(new).await.unwrap().id;
        let presented =
            PresentedKey { sha256: *peer.sha256(), point: peer.point().to_vec(), network: String::new() };
        let hardware = DeviceUuid::from_bytes([1; 16]);
        let (_, grant) = testing::enroll(&server.app.store, presented, hardware, token).await.unwrap();
        let router = router(&server.app, Listener::Devices);
        Self {
            router,
            device,
            assignment: grant.assignment_id,
            peer,
            key: key.unwrap(),
            began: Instant::now(),
        }
    }

    pub(super) async fn ask(
        &self,
        process: Option<Process>,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(Process(boot, _)) = process {
            request = request.header(BOOT_HEADER, BootId::new(Timestamp::EPOCH, [boot; 10]).to_string());
        }
        let request = request.header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        self.send(request, process.map_or(0, |Process(_, second)| second)).await
    }

    /// Sends a request over a connection that began in that second.
    async fn send(&self, request: Request<Body>, second: u64) -> (StatusCode, Value) {
        let told = self.told(request, second).await;
        (StatusCode::from_u16(told.status).unwrap(), told.body)
    }

    /// The same, with the head of the answer.
    pub(super) async fn told(&self, mut request: Request<Body>, second: u64) -> Told {
        request.extensions_mut().insert(ConnectedAt(self.began + Duration::from_secs(second)));
        request.extensions_mut().insert(self.peer.clone());
        Told::by(&self.router, request).await
    }

    async fn heartbeat(&self, process: Process) -> Value {
        self.heartbeat_with(process, json!({})).await
    }

    /// A heartbeat that says this too.
    pub(super) async fn heartbeat_with(&self, process: Process, more: Value) -> Value {
        let (status, answer) = self.beat(process, more).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["state"].clone()
    }

    async fn beat(&self, process: Process, more: Value) -> (StatusCode, Value) {
        let mut beat = good_heartbeat();
        beat.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/api/v1/devices/{}/heartbeat", self.device);
        self.ask(Some(process), Method::POST, &path, &beat).await
    }

    /// An empty batch: the device asks where the server is.
    async fn push(&self, process: Option<Process>) -> StatusCode {
        self.ask(process, Method::POST, "/api/v1/sync/push", &self.empty_batch()).await.0
    }

    pub(super) fn empty_batch(&self) -> Value {
        let incarnation = IncarnationId::new(Timestamp::EPOCH, [1; 10]);
        let head = Link::genesis(self.device, incarnation, Lane::Care);
        let signature = self.key.sign(&ring::rand::SystemRandom::new(), head.as_bytes()).unwrap();
        json!({"lane": "care", "incarnation": incarnation, "first_n": 1, "previous": head,
            "head": head, "signature": hex(signature.as_ref()), "changes": []})
    }

    /// What the answer to a pull is, by the kind of its problem.
    async fn pull(&self, process: Option<Process>) -> (StatusCode, Value) {
        let (status, answer) = self.ask(process, Method::GET, "/api/v1/sync/pull", &Value::Null).await;
        (status, answer["type"].clone())
    }

    async fn state(&self, server: &Server) -> (DeviceState, Option<String>) {
        let device = server.registry.device(self.device).await.unwrap();
        (device.state, device.quarantine)
    }
}

pub(super) fn good_heartbeat() -> Value {
    json!({"agent_version": "0.1.0", "uptime": 1, "device_time": clock::now(),
        "clock_quality": "synced", "mac_addresses": [], "encrypted": true, "reader": "READY",
        "incarnation": IncarnationId::new(Timestamp::EPOCH, [1; 10]),
        "queue": {"care": 0, "audit": 0, "wedged": 0}})
}

fn quarantined() -> (StatusCode, Value) {
    (StatusCode::FORBIDDEN, json!("/problems/device-quarantined"))
}

#[tokio::test]
async fn two_copies_that_push_are_quarantined_go_on_pushing_and_read_nothing() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let (one, two, again) = (Process(1, 0), Process(2, 0), Process(1, 3_600));
    for process in [one, two, one, two] {
        assert_eq!(kiosk.push(Some(process)).await, StatusCode::OK);
        assert_eq!(kiosk.pull(Some(process)).await.0, StatusCode::OK, "late, for all one knows");
    }
    let facility = server.registry.device(kiosk.device).await.unwrap().facility_id;
    let mut listener = server.app.store.feeds().listen(facility, kiosk.device);
    assert_eq!(kiosk.push(Some(again)).await, StatusCode::OK, "what it has is taken");
    let ended = tokio::time::timeout(Duration::from_secs(60), listener.wake()).await;
    assert_eq!(ended, Ok(crate::feed::Wake::Refused), "open streams are closed");
    let (state, reason) = kiosk.state(&server).await;
    assert_eq!(state, DeviceState::Quarantined);
    assert!(reason.unwrap().contains("Two processes"));
    for process in [one, two, again] {
        assert_eq!(kiosk.push(Some(process)).await, StatusCode::OK);
        assert_eq!(kiosk.pull(Some(process)).await, quarantined());
        assert_eq!(kiosk.heartbeat(process).await, json!("QUARANTINED"));
    }
    let noted = server.events(AuditEventType::Device).await;
    let noted: Vec<_> = noted
        .iter()
        .filter(|event| event.details.get("what") == Some(&json!("device_quarantined")))
        .collect();
    assert_eq!(noted.len(), 1, "once: {noted:?}");
}

#[tokio::test]
async fn a_copy_that_only_reads_is_found() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    assert_eq!(kiosk.push(Some(Process(1, 0))).await, StatusCode::OK);
    assert_eq!(kiosk.pull(Some(Process(2, 0))).await.0, StatusCode::OK);
    assert_eq!(kiosk.push(Some(Process(1, 0))).await, StatusCode::OK);
    assert_eq!(kiosk.state(&server).await.0, DeviceState::Active);
    assert_eq!(kiosk.heartbeat(Process(1, 3_600)).await, json!("QUARANTINED"));
    assert_eq!(kiosk.pull(Some(Process(2, 0))).await, quarantined());
}

#[tokio::test]
async fn who_names_no_process_or_several_gets_nothing_and_is_told_why() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    assert_eq!(kiosk.push(Some(Process(1, 0))).await, StatusCode::OK);
    let good = BootId::new(Timestamp::EPOCH, [1; 10]).to_string();
    for said in [vec![], vec!["nonsense"], vec![""], vec![good.as_str(), good.as_str()]] {
        let mut request = Request::get("/api/v1/sync/pull");
        for boot in &said {
            request = request.header(BOOT_HEADER, *boot);
        }
        let (status, answer) = kiosk.send(request.body(Body::empty()).unwrap(), 0).await;
        assert_eq!(
            (status, &answer["type"]),
            (StatusCode::FORBIDDEN, &json!("/problems/forbidden")),
            "{said:?}"
        );
        assert_eq!(answer["errors"][0]["field"], BOOT_HEADER, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("Update its agent"), "{answer}");
    }
    assert_eq!(kiosk.push(None).await, StatusCode::FORBIDDEN, "nor is anything of it taken");
    assert_eq!(kiosk.state(&server).await, (DeviceState::Active, None));
}

#[tokio::test]
async fn an_administrator_releases_a_device_and_whoever_speaks_next_is_it() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let facility = server.registry.device(kiosk.device).await.unwrap().facility_id;
    let token = server.token(server.user("carla", Role::FacilityAdmin, facility).await).await;
    let nurse = server.token(server.user("nina", Role::Rn, facility).await).await;
    for process in [Process(1, 0), Process(2, 0), Process(1, 3_600)] {
        kiosk.push(Some(process)).await;
    }
    assert_eq!(kiosk.state(&server).await.0, DeviceState::Quarantined);
    let path = format!("/api/v1/devices/{}/release", kiosk.device);
    assert_eq!(server.post(&path, Some(&nurse), &json!({})).await.0, StatusCode::FORBIDDEN);
    let (status, released) = server.post(&path, Some(&token), &json!({})).await;
    assert_eq!((status, &released["state"]), (StatusCode::OK, &json!("ACTIVE")), "{released}");
    assert_eq!(kiosk.pull(Some(Process(1, 3_600))).await.0, StatusCode::OK);
    assert_eq!(kiosk.heartbeat(Process(1, 3_600)).await, json!("ACTIVE"));
    assert_eq!(kiosk.state(&server).await, (DeviceState::Active, None));
    // A device that was deactivated is not brought back by this.
    let gone = format!("/api/v1/devices/{}/deactivate", kiosk.device);
    assert_eq!(server.post(&gone, Some(&token), &json!({})).await.0, StatusCode::OK);
    assert_eq!(server.post(&path, Some(&token), &json!({})).await.1["state"], json!("REVOKED"));
    assert_eq!(kiosk.push(Some(Process(1, 3_600))).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn older_records_are_not_sent_to_a_device_that_is_not_encrypted_where_that_is_demanded() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let facility = server.registry.device(kiosk.device).await.unwrap().facility_id;
    let fields = object(json!({"mrn": "MRN-1", "name": "Ada Example"}));
    let new = NewPatient { facility_id: facility, fields };
    let patient = server.registry.audited(event()).create_patient(new).await.unwrap().id;
    let process = Process(1, 0);
    let path = format!("/api/v1/sync/patients/{patient}/older-records");
    let older = async || {
        let (status, answer) = kiosk.ask(Some(process), Method::GET, &path, &Value::Null).await;
        (status.as_u16(), answer["type"].clone())
    };
    assert_eq!(older().await, (200, Value::Null), "nobody demands it");
    let demanded = FacilityPatch { require_encryption: Some(true), ..FacilityPatch::default() };
    server.registry.audited(event()).update_facility(facility, demanded).await.unwrap();
    let refused = (403, json!("/problems/not-encrypted"));
    assert_eq!(older().await, refused, "it was never heard");
    kiosk.heartbeat(process).await;
    assert_eq!(older().await, refused, "an agent from before measures nothing");
    kiosk.heartbeat_with(process, json!({"encryption": {}})).await;
    assert_eq!(older().await, (200, Value::Null));
    let exposed = json!({"encryption": {"exposed": [{"what": "PLAIN_SWAP", "where": "/dev/sda3"}]}});
    kiosk.heartbeat_with(process, exposed).await;
    assert_eq!(older().await, refused);
}

#[tokio::test]
async fn a_device_has_one_heartbeat_at_a_time() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let under_way = server.app.quotas.turn(kiosk.device, Kind::Heartbeat).await.unwrap();
    // One that nobody could read, either: of what waits for its turn nothing is held.
    let (status, answer) = kiosk.beat(Process(1, 0), json!({"uptime": "long"})).await;
    assert_eq!((status.as_u16(), &answer["type"]), (429, &json!("/problems/over-quota")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("when it is answered"), "{answer}");
    drop(under_way);
    assert_eq!(kiosk.heartbeat(Process(1, 0)).await, json!("ACTIVE"));
    // What it has under way besides is not in its way.
    let _pushes = server.app.quotas.turn(kiosk.device, Kind::Push).await.unwrap();
    assert_eq!(kiosk.heartbeat(Process(1, 0)).await, json!("ACTIVE"));
}

#[tokio::test]
async fn what_a_device_says_is_counted_as_what_it_comes_to_in_memory() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    // As text, twice 30 KiB would do.
    for (addresses, answered) in [(100, StatusCode::OK), (10_000, StatusCode::PAYLOAD_TOO_LARGE)] {
        let asked = json!({"device_uuid": DeviceUuid::from_bytes([1; 16]), "hostname": "hall",
            "agent_version": "0.1.0", "mac_addresses": vec![""; addresses]});
        let (status, answer) = kiosk.ask(None, Method::POST, "/api/v1/enroll", &asked).await;
        assert_eq!(status, answered, "{answer}");
    }
}

#[tokio::test]
async fn it_is_written_down_when_what_rests_on_a_device_is_exposed_and_when_it_is_no_longer() {
    let server = Server::new().await;
    let kiosk = Kiosk::new(&server).await;
    let (safe, exposed) = (
        json!({"encryption": {}}),
        json!({"encryption": {"exposed": [{"what": "PLAIN_SWAP", "where": "/dev/sda3"}]}}),
    );
    let told = async || {
        let events = server.events(AuditEventType::Device).await;
        events.into_iter().filter(|event| event.details.contains_key("exposed")).collect::<Vec<_>>()
    };
    for beat in [&safe, &safe, &exposed, &exposed, &safe] {
        kiosk.heartbeat_with(Process(1, 0), beat.clone()).await;
    }
    let events = told().await;
    let words: Vec<&Value> = events.iter().map(|event| &event.details["what"]).collect();
    assert_eq!(words, ["device_encrypted", "device_exposed", "device_encrypted"]);
    assert_eq!(
        (&events[1].details["exposed"], events[1].device_id),
        (&json!(["PLAIN_SWAP"]), Some(kiosk.device))
    );
    // An agent that does not measure any more counts as exposed.
    kiosk.heartbeat_with(Process(1, 0), json!({})).await;
    assert_eq!(told().await[0].details["exposed"], Value::Null);
    // A device that says now this and now that fills no log.
    for _ in 0..30 {
        kiosk.heartbeat_with(Process(1, 0), safe.clone()).await;
        kiosk.heartbeat_with(Process(1, 0), exposed.clone()).await;
    }
    assert_eq!(told().await.len(), 20);
}

#[tokio::test]
async fn a_facility_near_its_devices_budget_shows_what_to_do() {
    let server = Server::new().await;
    let facility = server.facility().await;
    let token = server.token(server.user("carla", Role::FacilityAdmin, facility).await).await;
    let shown = async |server: &Server, path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let (status, shown) = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
        shown
    };
    let path = format!("/api/v1/facilities/{facility}");
    let roomy = shown(&server, &path).await;
    assert_eq!((&roomy["max_documents"], &roomy["warning"]), (&json!(250_000), &Value::Null));
    let documents = roomy["documents"].as_u64().unwrap();
    assert!(documents >= 2, "itself and Carla: {roomy}");
    let mut config = Config::default();
    config.sync.max_documents = documents;
    let server = server.started_anew(config);
    let narrow = shown(&server, &path).await;
    assert!(narrow["warning"].as_str().unwrap().contains("record-days"), "{narrow}");
    assert_eq!(shown(&server, "/api/v1/facilities").await["items"][0], narrow);
}
