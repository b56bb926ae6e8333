//! A server's store with one facility of invented people, and a device that pushes to it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use carepost_host::sqlcipher;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, Lane, Link, PayloadHash, Verdict};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{AssignmentId, AuditId, DeviceUuid, IncarnationId, PatientId, SessionId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::Role;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::push::{PushBatch, PushReceipt};
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use carepost_server::scope::{FacilityScope, OrganizationScope};
use carepost_server::store::{
    Ambient, Batch, DatabaseKey, DeviceIdentity, PageRequest, Store, StoreError, View,
};
use carepost_server::testing::{self, presented};
use ring::signature::EcdsaKeyPair;
use rusqlite::OpenFlags;
use serde_json::json;
use serde_json::value::RawValue;

use crate::device::at;

const KEY: [u8; 32] = [7; 32];

/// The first page of a feed, whole.
pub fn from_the_beginning(limit: usize) -> PageRequest {
    PageRequest {
        view: View::Full,
        view_changes: 0,
        most_documents: u64::MAX,
        after: None,
        limit,
        was_at_head: false,
    }
}

/// The device, as the test plays it, and all that it will ever push.
pub struct Kiosk {
    key: EcdsaKeyPair,
    identity: DeviceIdentity,
    facility: FacilityScope,
    incarnation: IncarnationId,
    changes: Vec<Box<RawValue>>,
}

/// Waits for what the store's own threads do.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub fn open(directory: &Path) -> Result<Store, StoreError> {
    open_under(directory, || at(100))
}

/// The same, under a clock.
pub fn open_under(
    directory: &Path,
    clock: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> Result<Store, StoreError> {
    let ambient = Ambient::new(clock, testing::counted(1));
    Store::open(&directory.join("server.db"), &DatabaseKey::new(KEY), ambient)
}

/// Whether every page of the file fits the others.
pub fn is_sound(directory: &Path) -> bool {
    let path = directory.join("server.db");
    let connection = sqlcipher::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    sqlcipher::give_key(&connection, &KEY).unwrap();
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).unwrap();
    found == "ok"
}

/// An organization, a facility, a nurse and a resident.
pub async fn found(
    store: &Store,
) -> Result<(OrganizationScope, FacilityScope, UserId, PatientId), StoreError> {
    let admin = testing::user("olga", Role::OrgAdmin, None);
    let new = testing::organization("Rosewood", "rosewood");
    let (organization, _) = store.system().create_organization(new, admin, event()).await?;
    let scope = testing::administrator(organization.id, None);
    let registry = store.organization(&scope);
    let facility = testing::facility("Riverside");
    let facility = registry.audited(event()).create_facility(facility).await?.id;
    let nurse =
        registry.audited(event()).create_user(testing::user("nina", Role::Rn, Some(facility))).await?.id;
    let patient = testing::patient(facility, [("mrn", "M1"), ("name", "Ada Example")]);
    let patient = registry.audited(event()).create_patient(patient).await?.id;
    registry.audited(event()).publish_workflow(vitals()).await?;
    Ok((scope, scope.enter(facility).unwrap(), nurse, patient))
}

impl Kiosk {
    /// Enrolls, and has so many changes to push.
    pub async fn enroll(store: &Store, changes: u32) -> Self {
        let (organization, facility, nurse, patient) = found(store).await.unwrap();
        let token = [3; 32];
        let hardware = DeviceUuid::from_bytes([1; 16]);
        let expected = testing::device(facility.facility(), "Hall", Some(hardware), token);
        store.organization(&organization).audited(event()).expect_device(expected).await.unwrap();
        let key = testing::key();
        let (identity, grant) = testing::enroll(store, presented(&key), hardware, token).await.unwrap();
        let incarnation = IncarnationId::new(at(0), [1; 10]);
        let changes = (0..changes).map(|number| {
            let change = charted(nurse, patient, grant.assignment_id, number);
            serde_json::value::to_raw_value(&change).unwrap()
        });
        Self { changes: changes.collect(), key, identity, facility, incarnation }
    }

    /// Whether the store knows the device and lets it speak.
    pub async fn is_known(&self, store: &Store) -> bool {
        store.system().device_by_key(presented(&self.key).sha256).await.unwrap().is_some()
    }

    pub fn facility(&self) -> &FacilityScope {
        &self.facility
    }

    /// Pushes the changes from the first number up to and with the last.
    pub async fn push(&self, store: &Store, first: u64, last: u64) -> Result<PushReceipt, StoreError> {
        let (from, to) = (usize::try_from(first - 1).unwrap(), usize::try_from(last).unwrap());
        let changes: Vec<&RawValue> = self.changes.iter().map(AsRef::as_ref).collect();
        let link = |upon: Link, (n, change): (u64, &&RawValue)| {
            upon.next(n, &PayloadHash::of(change.get().as_bytes()))
        };
        let genesis = Link::genesis(self.identity.device(), self.incarnation, Lane::Care);
        let previous = (1..).zip(&changes[..from]).fold(genesis, link);
        let head = (first..).zip(&changes[from..to]).fold(previous, link);
        let signature = self.key.sign(&ring::rand::SystemRandom::new(), head.as_bytes()).unwrap();
        let signature = hex(signature.as_ref());
        // As it comes over the wire: the changes byte for byte.
        let changes: Vec<&str> = changes[from..to].iter().map(|change| change.get()).collect();
        let envelope = json!({
            "lane": Lane::Care,
            "incarnation": self.incarnation,
            "first_n": first,
            "previous": previous,
            "head": head,
            "signature": signature,
        });
        let envelope = envelope.to_string();
        let body = format!("{},\"changes\":[{}]}}", envelope.trim_end_matches('}'), changes.join(","));
        let batch: PushBatch<'_> = serde_json::from_str(&body).unwrap();
        let batch = Batch::check(&self.identity, None, &batch)?;
        store.facility(&self.facility).push(batch, &mut 0).await
    }
}

/// A receipt, change by change.
pub fn verdicts(receipt: &PushReceipt) -> Vec<(Verdict, u64)> {
    let runs = receipt.verdicts.iter();
    runs.flat_map(|run| (0..run.count).map(|at| (run.verdict, run.seq.unwrap() + at))).collect()
}

fn charted(actor: UserId, patient: PatientId, assignment: AssignmentId, number: u32) -> Change {
    let by = (actor, SessionId::new(at(101), [3; 10]));
    let fields = json!({"pulse": 60 + number % 100}).as_object().unwrap().clone();
    let stamp = (at(101), ClockQuality::Synced);
    Change {
        patient: Some(patient),
        workflow: Some("vitals".into()),
        schema_version: Some(1),
        ..Change::create(by, assignment, Collection::Records, fields, stamp)
    }
}

fn vitals() -> Workflow {
    let pulse = Field { required: true, ..Field::new("pulse", "Pulse", FieldType::Integer) };
    testing::workflow("vitals", "Vitals", pulse)
}

/// Each has an id of its own.
pub fn event() -> AuditEvent {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    AuditEvent::new(
        AuditId::from_bytes(id),
        (at(100), ClockQuality::Synced),
        AuditEventType::PhiAccess,
        AuditAction::Create,
        "fixture",
    )
}
