//! The store from outside: a real encrypted file, real keys, two organizations.

mod alike;
mod archiving;
mod audited;
mod backups;
mod book;
mod bounds;
mod closing;
mod digests;
mod forks;
mod idempotency;
mod judging;
mod lobby;
mod merging;
mod persons;
mod portions;
mod readers;
mod registry;
mod restoring;
mod rewinds;
mod security;
mod sign_ins;
mod stolen;
mod superseded;
mod sync;
mod verifying;
mod views;
mod withdrawing;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, ChangeKind, Lane, Link, PayloadHash, Verdict};
use carepost_protocol::device::{Deactivation, DeviceType};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{
    AssignmentId, AuditId, DeviceUuid, FacilityId, IncarnationId, PatientId, RecordId, ReviewId, SessionId,
    UserId, WorkflowId,
};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Permit, ReadPatients, Resource, Role, authorize};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::ChangeName;
use carepost_protocol::wire::pull::Cursor;
use carepost_protocol::wire::push::{PushBatch, PushReceipt, RejectionCode, VerdictRun};
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use ring::signature::EcdsaKeyPair;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::handles::organization;
use super::rules::{
    archive, audit, budget, changes, chart, enrollment, feed_writer, older, patient, push, review, revoked,
    sign_in,
};
use super::*;
use crate::testing::{self, administrator, facility as new_facility, presented, user as new_user};

/// 2026-05-01T08:00:00Z.
const START: i64 = 1_777_622_400_000;

impl OrganizationStore {
    /// All patients of the scope, by name.
    pub(crate) async fn all_patients(&self) -> Result<Vec<Patient>, StoreError> {
        let found = self.patients((None, None), whole(), None::<fn(&Patient) -> bool>).await?;
        Ok(found.items.into_iter().map(|(patient, _)| patient).collect())
    }

    /// All users of the scope, by name.
    async fn all_users(&self) -> Result<Vec<User>, StoreError> {
        Ok(self.users(None, whole()).await?.items)
    }
}

fn whole() -> Paging {
    Paging { most: 100_000, ..Paging::default() }
}

/// A server's store on a disk of its own, and a clock that tests move.
struct World {
    store: Store,
    clock: Arc<AtomicI64>,
    /// How often randomness is to be had from now on.
    draws: Arc<AtomicI64>,
    ambient: Ambient,
    directory: tempfile::TempDir,
}

/// Invented people of one organization with one facility.
struct Tenant {
    organization: OrganizationScope,
    facility: FacilityScope,
    nurse: UserId,
    patient: PatientId,
}

/// An enrolled device, as the test plays it.
struct Kiosk {
    identity: DeviceIdentity,
    assignment: AssignmentId,
    key: EcdsaKeyPair,
    incarnation: IncarnationId,
    sent: u64,
    head: Link,
}

fn key() -> DatabaseKey {
    DatabaseKey::new([7; 32])
}

impl World {
    fn new() -> Self {
        Self::limited(None)
    }

    fn limited(max_pages: Option<u32>) -> Self {
        Self::built(max_pages, 0)
    }

    /// One whose clock goes on by a millisecond each time that somebody looks at it.
    fn ticking() -> Self {
        Self::built(None, 1)
    }

    fn built(max_pages: Option<u32>, tick: i64) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let draws = Arc::new(AtomicI64::new(i64::MAX));
        let (now, left, draw) = (Arc::clone(&clock), Arc::clone(&draws), testing::counted(1));
        let ambient = Ambient::new(
            move || Timestamp::from_millis(now.fetch_add(tick, Ordering::SeqCst)),
            move |bytes| draw(bytes) && left.fetch_sub(1, Ordering::SeqCst) > 0,
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.db");
        let store = Store::open_limited(&path, &key(), ambient.clone(), max_pages).unwrap();
        Self { store, clock, draws, ambient, directory }
    }

    /// A file beside the database.
    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    fn verified(&self) -> Verified {
        verify(&self.directory.path().join("server.db"), &key(), &self.ambient).unwrap()
    }

    fn alike(&self) -> Vec<String> {
        super::alike(&self.file("server.db"), &key(), &self.ambient).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    async fn tenant(&self, slug: &str) -> Tenant {
        let new = NewOrganization {
            address: Some(json!({"city": "Springfield"})),
            ..testing::organization(&format!("{slug} Care"), slug)
        };
        let (organization, _) = self
            .store
            .system()
            .create_organization(new, new_user("olga", Role::OrgAdmin, None), event(self))
            .await
            .unwrap();
        let scope = administrator(organization.id, None);
        let registry = self.store.organization(&scope);
        let facility =
            registry.audited(event(self)).create_facility(new_facility("Riverside")).await.unwrap().id;
        let nurse = registry
            .audited(event(self))
            .create_user(new_user("nina", Role::Rn, Some(facility)))
            .await
            .unwrap()
            .id;
        let patient =
            registry.audited(event(self)).create_patient(new_patient(facility, "MRN-1")).await.unwrap().id;
        registry.audited(event(self)).publish_workflow(vitals(20.0)).await.unwrap();
        Tenant { organization: scope, facility: scope.enter(facility).unwrap(), nurse, patient }
    }

    /// One with a tenant, and a kiosk of theirs.
    async fn with_kiosk() -> (Self, Tenant, Kiosk) {
        let world = Self::new();
        let tenant = world.tenant("alpha").await;
        let kiosk = world.kiosk(&tenant, 1).await;
        (world, tenant, kiosk)
    }

    /// One with a tenant, and two kiosks of theirs.
    async fn with_kiosks() -> (Self, Tenant, [Kiosk; 2]) {
        let (world, tenant, first) = Self::with_kiosk().await;
        let second = world.kiosk(&tenant, 2).await;
        (world, tenant, [first, second])
    }

    /// Somebody else who works there.
    async fn hire(&self, tenant: &Tenant, username: &str, role: Role) -> UserId {
        let new = new_user(username, role, Some(tenant.facility.facility()));
        let registry = self.store.organization(&tenant.organization);
        registry.audited(event(self)).create_user(new).await.unwrap().id
    }

    /// A device that is expected there, by a token.
    async fn expect(&self, tenant: &Tenant, n: u8, token: [u8; 32]) -> Result<Device, StoreError> {
        let new = expected(tenant.facility.facility(), n, token);
        self.store.organization(&tenant.organization).audited(event(self)).expect_device(new).await
    }

    async fn kiosk(&self, tenant: &Tenant, n: u8) -> Kiosk {
        let token = *PayloadHash::of(&[n]).as_bytes();
        self.expect(tenant, n, token).await.unwrap();
        let key = testing::key();
        let hardware = DeviceUuid::from_bytes([n; 16]);
        let (identity, grant) = testing::enroll(&self.store, presented(&key), hardware, token).await.unwrap();
        let incarnation = IncarnationId::new(self.now(), [n; 10]);
        let head = Link::genesis(identity.device(), incarnation, Lane::Care);
        Kiosk { identity, assignment: grant.assignment_id, key, incarnation, sent: 0, head }
    }

    async fn push(&self, kiosk: &mut Kiosk, changes: &[Change]) -> Result<PushReceipt, StoreError> {
        let scope = kiosk.identity.scope().unwrap();
        let batch = kiosk.batch(changes);
        let receipt = batch.send(self, &scope, &kiosk.identity).await;
        if receipt.is_ok() {
            kiosk.sent += changes.len() as u64;
            kiosk.head = batch.head;
        }
        receipt
    }
}

/// A batch with its payloads, so that tests can send it again, or break it.
struct Sent {
    incarnation: IncarnationId,
    first_n: u64,
    previous: Link,
    head: Link,
    signature: String,
    payloads: Vec<Box<RawValue>>,
}

impl Sent {
    fn wire(&self) -> PushBatch<'_> {
        PushBatch {
            lane: Lane::Care,
            incarnation: self.incarnation,
            parent: None,
            first_n: self.first_n,
            previous: self.previous,
            head: self.head,
            signature: self.signature.clone(),
            changes: self.payloads.iter().map(|payload| &**payload).collect(),
            gap: None,
            opaque: None,
        }
    }

    async fn send(
        &self,
        world: &World,
        scope: &FacilityScope,
        device: &DeviceIdentity,
    ) -> Result<PushReceipt, StoreError> {
        let batch = self.wire();
        world.store.facility(scope).push(Batch::check(device, None, &batch)?, &mut 0).await
    }

    /// It as the store takes it.
    fn check(&self, device: &DeviceIdentity) -> Batch {
        Batch::check(device, None, &self.wire()).unwrap()
    }
}

impl Kiosk {
    fn batch(&self, changes: &[Change]) -> Sent {
        self.batch_of(changes.iter().map(|change| serde_json::value::to_raw_value(change).unwrap()).collect())
    }

    fn batch_of(&self, payloads: Vec<Box<RawValue>>) -> Sent {
        let mut head = self.head;
        for (n, payload) in (self.sent + 1..).zip(&payloads) {
            head = head.next(n, &PayloadHash::of(payload.get().as_bytes()));
        }
        let signature = self.key.sign(&ring::rand::SystemRandom::new(), head.as_bytes()).unwrap();
        let signature = hex(signature.as_ref());
        Sent {
            incarnation: self.incarnation,
            first_n: self.sent + 1,
            previous: self.head,
            head,
            signature,
            payloads,
        }
    }

    fn vitals(&self, tenant: &Tenant, pulse: u32, at: Timestamp) -> Change {
        let by = (tenant.nurse, SessionId::new(at, [3; 10]));
        let fields = json!({"pulse": pulse}).as_object().unwrap().clone();
        let stamp = (at, ClockQuality::Synced);
        Change {
            patient: Some(tenant.patient),
            workflow: Some("vitals".into()),
            schema_version: Some(1),
            ..Change::create(by, self.assignment, Collection::Records, fields, stamp)
        }
    }

    /// A new resident.
    fn admission(&self, tenant: &Tenant, fields: Value, at: Timestamp) -> Change {
        Change {
            collection: Collection::Patients,
            patient: None,
            workflow: None,
            schema_version: None,
            fields: fields.as_object().unwrap().clone(),
            ..self.vitals(tenant, 0, at)
        }
    }

    /// Fields of a resident, set by somebody who saw the version that came with a `seq`.
    fn edit(&self, tenant: &Tenant, patient: PatientId, saw: u64, fields: Value, at: Timestamp) -> Change {
        Change {
            kind: ChangeKind::Patch,
            record: Some(patient.into()),
            patient: Some(patient),
            base_seq: Some(saw),
            ..self.admission(tenant, fields, at)
        }
    }

    /// A correction of a record.
    fn correction(&self, tenant: &Tenant, record: RecordId, pulse: u32, at: Timestamp) -> Change {
        Change { kind: ChangeKind::Amend, record: Some(record), ..self.vitals(tenant, pulse, at) }
    }

    /// What was decided about a review, by somebody who saw the version that came with a `seq`.
    fn decision(&self, tenant: &Tenant, review: ReviewId, saw: u64, fields: Value, at: Timestamp) -> Change {
        Change {
            kind: ChangeKind::Patch,
            collection: Collection::Reviews,
            record: Some(review.into()),
            base_seq: Some(saw),
            ..self.admission(tenant, fields, at)
        }
    }

    /// The id of what number `n` creates.
    fn made(&self, n: u64, at: Timestamp) -> RecordId {
        RecordId::of_create(self.incarnation, n, at)
    }

    fn named(&self, n: u64) -> ChangeName {
        ChangeName { incarnation: self.incarnation, n }
    }
}

/// Each change's verdict, with the word for why it was rejected.
fn verdicts(receipt: &PushReceipt) -> Vec<(Verdict, Option<RejectionCode>)> {
    let each = |run: &VerdictRun| {
        let one = (run.verdict, run.reason.as_ref().map(|reason| reason.code));
        vec![one; usize::try_from(run.count).unwrap()]
    };
    receipt.verdicts.iter().flat_map(each).collect()
}

/// The next page of everything.
fn after(after: Option<Cursor>, limit: usize) -> PageRequest {
    PageRequest {
        view: View::Full,
        view_changes: 0,
        most_documents: 1_000_000,
        after,
        limit,
        was_at_head: false,
    }
}

/// How many documents a page has: a line for each, and one for the page's end.
fn documents(page: &Page) -> usize {
    page.lines.iter().filter(|byte| **byte == b'\n').count() - 1
}

/// Invented; each has an id of its own.
fn event(world: &World) -> AuditEvent {
    let (now, random) = (world.now(), world.ambient.random().unwrap());
    let (id, stamp) = (AuditId::new(now, random), (now, ClockQuality::Synced));
    let event = AuditEvent::new(id, stamp, AuditEventType::PhiAccess, AuditAction::View, "patient")
        .by(UserId::new(now, [5; 10]), None)
        .detail("count", 1);
    AuditEvent { endpoint: Some("/api/v1/patients".into()), ..event }
}

fn new_patient(facility_id: FacilityId, mrn: &str) -> NewPatient {
    testing::patient(facility_id, [("mrn", mrn), ("name", &format!("Ada {mrn}"))])
}

fn object(fields: Value) -> Map<String, Value> {
    fields.as_object().unwrap().clone()
}

fn vitals(min: f64) -> Workflow {
    let pulse = Field {
        required: true,
        unit: Some("bpm".into()),
        hard_min: Some(min),
        hard_max: Some(250.0),
        ..Field::new("pulse", "Pulse", FieldType::Integer)
    };
    testing::workflow("vitals", "Vitals", pulse)
}

fn expected(facility_id: FacilityId, n: u8, token_sha256: [u8; 32]) -> NewDevice {
    testing::device(facility_id, &format!("Kiosk {n}"), Some(DeviceUuid::from_bytes([n; 16])), token_sha256)
}

fn enroll_request(n: u8) -> EnrollRequest {
    testing::enroll_request(DeviceUuid::from_bytes([n; 16]))
}

/// A nurse's permit to read in a tenant's facility.
fn may_read(tenant: &Tenant) -> Permit<ReadPatients> {
    let (organization, facility) = (tenant.facility.organization(), tenant.facility.facility());
    let actor = Actor {
        user: tenant.nurse,
        session: SessionId::new(Timestamp::EPOCH, [2; 10]),
        role: Role::Rn,
        organization: Some(organization),
        facility: Some(facility),
    };
    authorize(&actor, Resource::Facility(organization, facility)).unwrap()
}

/// The steps that the engine takes for a statement, whatever is asked for.
fn steps(tx: &Tx<'_>, explain: &'static str) -> Result<Vec<String>, StoreError> {
    let placeholders = (1..).take_while(|n| explain.contains(&format!("?{n}"))).count();
    let nothing = vec![&engine::Value::Null as &dyn engine::ToValue; placeholders];
    let steps = tx.all::<(i64, i64, i64, String)>(explain, &nothing)?;
    Ok(steps.into_iter().map(|(.., step)| step).collect())
}
