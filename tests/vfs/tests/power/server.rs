//! A server's store with one facility of invented people, and a device that pushes to it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use carepost_host::sqlcipher;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, ChangeKind, Lane, Link, PayloadHash, Verdict};
use carepost_protocol::device::DeviceType;
use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{
    AssignmentId, AuditId, DeviceUuid, IncarnationId, OrganizationId, PatientId, SessionId, UserId,
    WorkflowId,
};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Role};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::unit::Units;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::push::{PushBatch, PushReceipt};
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use carepost_server::scope::{FacilityScope, OrganizationScope};
use carepost_server::store::{
    Ambient, Batch, DatabaseKey, DeviceIdentity, NewDevice, NewFacility, NewOrganization, NewPatient,
    NewUser, OrganizationType, PageRequest, PresentedKey, Store, StoreError, View,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
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
    Store::open(&directory.join("server.db"), &DatabaseKey::new(KEY), ambient())
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
    let new = NewOrganization {
        name: "Rosewood".to_owned(),
        slug: "rosewood".to_owned(),
        organization_type: OrganizationType::AlfOperator,
        npi: None,
        address: None,
        contact: None,
        recovery_recipient: "age1example".to_owned(),
    };
    let user = |username: &str, role, facility_id| NewUser {
        facility_id,
        username: username.to_owned(),
        email: None,
        display_name: username.to_owned(),
        role,
        employee_id: None,
        session_timeout_minutes: 30,
        password_hash: None,
        pin_verifier: None,
    };
    let (organization, _) =
        store.system().create_organization(new, user("olga", Role::OrgAdmin, None), event()).await?;
    let scope = administrator(organization.id);
    let registry = store.organization(&scope);
    let facility = NewFacility {
        name: "Riverside".to_owned(),
        facility_type: FacilityType::Alf,
        licensed_beds: Some(48),
        current_census: 44,
        phone: None,
        phi_mode: PhiMode::Full,
        require_encryption: false,
        time_zone: None,
        address: None,
        units: Units::default(),
    };
    let facility = registry.noting(event()).create_facility(facility).await?.id;
    let nurse = registry.noting(event()).create_user(user("nina", Role::Rn, Some(facility))).await?.id;
    let fields = [("mrn", "M1"), ("name", "Ada Example")];
    let fields = fields.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect();
    let patient = NewPatient { facility_id: facility, fields };
    let patient = registry.noting(event()).create_patient(patient).await?.id;
    registry.noting(event()).publish_workflow(vitals()).await?;
    Ok((scope, scope.enter(facility).unwrap(), nurse, patient))
}

impl Kiosk {
    /// Enrolls, and has so many changes to push.
    pub async fn enroll(store: &Store, changes: u32) -> Self {
        let (organization, facility, nurse, patient) = found(store).await.unwrap();
        let token = [3; 32];
        let expected = NewDevice {
            facility_id: facility.facility(),
            name: "Hall".to_owned(),
            device_type: DeviceType::RaspberryPi,
            device_uuid: Some(DeviceUuid::from_bytes([1; 16])),
            token_sha256: token,
        };
        store.organization(&organization).noting(event()).expect_device(expected).await.unwrap();
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let request = EnrollRequest {
            device_uuid: DeviceUuid::from_bytes([1; 16]),
            mac_addresses: Vec::new(),
            hostname: "hall-kiosk".into(),
            agent_version: "0.1.0".into(),
            token: None,
        };
        let answer = store.system().enroll(presented(&key), request, Some(token)).await.unwrap();
        let EnrollResponse::Active { grant } = answer else { panic!("{answer:?}") };
        let identity = store.system().device_by_key(presented(&key).sha256).await.unwrap().unwrap();
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

fn ambient() -> Ambient {
    let drawn = AtomicU64::new(1);
    Ambient::new(
        || at(100),
        move |bytes| {
            for chunk in bytes.chunks_mut(32) {
                let hash = PayloadHash::of(&drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes());
                chunk.copy_from_slice(&hash.as_bytes()[..chunk.len()]);
            }
            true
        },
    )
}

fn administrator(organization: OrganizationId) -> OrganizationScope {
    let actor = Actor {
        user: UserId::new(Timestamp::EPOCH, [1; 10]),
        session: SessionId::new(Timestamp::EPOCH, [1; 10]),
        role: Role::OrgAdmin,
        organization: Some(organization),
        facility: None,
    };
    OrganizationScope::of_actor(&actor).unwrap()
}

fn presented(key: &EcdsaKeyPair) -> PresentedKey {
    let point = key.public_key().as_ref().to_vec();
    PresentedKey { sha256: *PayloadHash::of(&point).as_bytes(), point, network: String::new() }
}

fn charted(actor: UserId, patient: PatientId, assignment: AssignmentId, number: u32) -> Change {
    Change {
        actor,
        session: SessionId::new(at(101), [3; 10]),
        assignment,
        kind: ChangeKind::Create,
        collection: Collection::Records,
        record: None,
        base_seq: None,
        patient: Some(patient),
        workflow: Some("vitals".into()),
        schema_version: Some(1),
        fields: json!({"pulse": 60 + number % 100}).as_object().unwrap().clone(),
        confirmed: Vec::new(),
        reason: None,
        entered_in_error: false,
        recorded_at: at(101),
        clock_quality: ClockQuality::Synced,
        supersedes: None,
    }
}

fn vitals() -> Workflow {
    let pulse = Field { required: true, ..Field::new("pulse", "Pulse", FieldType::Integer) };
    Workflow {
        id: WorkflowId::new(Timestamp::EPOCH, [0; 10]),
        key: "vitals".into(),
        label: "Vitals".into(),
        version: 0,
        enabled: true,
        fields: vec![pulse],
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

/// Each has an id of its own.
fn event() -> AuditEvent {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    AuditEvent {
        id: AuditId::from_bytes(id),
        event_type: AuditEventType::PhiAccess,
        action: AuditAction::Create,
        timestamp: at(100),
        patient_id: None,
        ..crate::device::audit()
    }
}
