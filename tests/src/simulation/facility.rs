//! The server of a story: the real store on a file of its own, with the clock of the story.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carepost_agent::identity::DeviceKey;
use carepost_agent_core::sync::Trouble;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::PayloadHash;
use carepost_protocol::device::DeviceType;
use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{
    AuditId, DeviceUuid, FacilityId, OrganizationId, PatientId, SessionId, UserId, WorkflowId,
};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Role};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::unit::Units;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse, Grant};
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use carepost_protocol::wire::push::{PushBatch, PushReceipt};
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use carepost_server::error::Refusal;
use carepost_server::scope::{FacilityScope, OrganizationScope};
use carepost_server::store::{
    AgainRequest, Ambient, Batch, DatabaseKey, DeviceIdentity, NewDevice, NewFacility, NewOrganization,
    NewPatient, NewUser, OrganizationType, Page, PageRequest, PresentedKey, Store, StoreError, View,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 2026-05-01T08:00:00Z: when every story begins.
pub(super) const START: i64 = 1_777_622_400_000;
const FACILITIES: u8 = 2;
const DEVICES_EACH: u8 = 2;

/// One facility of a story.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) scope: FacilityScope,
    pub(super) patients: Vec<PatientId>,
    pub(super) nurse: UserId,
}

/// An enrolled device.
#[derive(Debug, Clone)]
pub(super) struct Enrolled {
    pub(super) place: usize,
    pub(super) identity: DeviceIdentity,
    pub(super) grant: Grant,
    pub(super) key: Arc<DeviceKey>,
}

/// What every story begins with, made once: a server with two facilities and two devices in each.
#[derive(Debug)]
pub struct Template {
    folder: TempDir,
    places: Vec<Place>,
    devices: Vec<Enrolled>,
}

impl Template {
    /// Makes it.
    ///
    /// # Errors
    /// When a step of it fails.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let runtime = runtime()?;
        let time = Arc::new(AtomicI64::new(START));
        let store = open(&folder.path().join("server.db"), &time, 0)?;
        let (places, devices) = runtime.block_on(furnish(&store))?;
        store.close();
        Ok(Self { folder, places, devices })
    }

    pub(super) fn devices(&self) -> &[Enrolled] {
        &self.devices
    }

    pub(super) fn place(&self, at: usize) -> &Place {
        &self.places[at]
    }
}

/// The server of one story.
pub(super) struct Server {
    runtime: Runtime,
    path: PathBuf,
    time: Arc<AtomicI64>,
    store: Store,
    places: Vec<Place>,
    restarts: u64,
}

impl Server {
    pub(super) fn open(template: &Template, folder: &Path) -> Result<Self> {
        let path = folder.join("server.db");
        copy_database(&template.folder.path().join("server.db"), &path)?;
        let time = Arc::new(AtomicI64::new(START));
        let store = open(&path, &time, 1)?;
        Ok(Self { runtime: runtime()?, path, time, store, places: template.places.clone(), restarts: 1 })
    }

    pub(super) fn set_time(&self, now: Duration) {
        self.time.store(START + millis(now), Ordering::SeqCst);
    }

    /// Keeps a copy of the database, as a backup does.
    pub(super) fn back_up(&mut self) -> Result<()> {
        self.store.close();
        copy_database(&self.path, &self.path.with_extension("backup"))?;
        self.reopen()
    }

    /// Puts the copy in the place of the database; says whether there was one.
    pub(super) fn rewind(&mut self) -> Result<bool> {
        let backup = self.path.with_extension("backup");
        if !backup.exists() {
            return Ok(false);
        }
        self.store.close();
        copy_database(&backup, &self.path)?;
        self.reopen()?;
        Ok(true)
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.store.close();
        self.reopen()
    }

    fn reopen(&mut self) -> Result<()> {
        self.restarts += 1;
        self.store = open(&self.path, &self.time, self.restarts)?;
        Ok(())
    }

    /// Takes a push as it came over the wire.
    pub(super) fn push(&self, from: &Enrolled, body: &[u8]) -> Result<PushReceipt, Trouble> {
        let trouble = |error: StoreError| trouble(&Refusal::from(error));
        let batch: PushBatch<'_> = serde_json::from_slice(body).map_err(|_| Trouble::BatchRefused)?;
        let batch = Batch::check(&from.identity, None, &batch).map_err(trouble)?;
        let facility = self.store.facility(&self.places[from.place].scope);
        self.runtime.block_on(facility.push(batch, &mut 0)).map_err(trouble)
    }

    /// Holds where a device stands against what is known here.
    pub(super) fn sync_position(&self, from: &Enrolled, position: &SyncPosition) -> Result<(), Trouble> {
        let facility = self.store.facility(&self.places[from.place].scope);
        let stands = self.runtime.block_on(facility.check_sync_position(&from.identity, position));
        stands.map_err(|error| trouble(&Refusal::from(error)))
    }

    /// The next page after a cursor.
    pub(super) fn page(&self, place: usize, after: Option<Cursor>, limit: usize) -> Result<Page, Trouble> {
        let facility = self.store.facility(&self.places[place].scope);
        let asked = PageRequest {
            view: View::Full,
            view_changes: 0,
            most_documents: u64::MAX,
            after,
            limit,
            was_at_head: false,
        };
        let page = self.runtime.block_on(facility.page(asked));
        page.map_err(|error| trouble(&Refusal::from(error)))
    }

    /// What a device wants to be sent again, as it says where it stands.
    pub(super) fn again(
        &self,
        cursor: Option<Cursor>,
        position: &SyncPosition,
        limit: usize,
    ) -> Option<AgainRequest> {
        let names = position.refetch.as_deref()?.split(',');
        let collections = names.filter_map(Collection::from_name).collect();
        Some(AgainRequest {
            collections,
            cursor: cursor?,
            after: 0,
            limit,
            view: View::Full,
            view_changes: 0,
        })
    }

    /// A page of what is sent again, and where the next one begins.
    pub(super) fn page_again(&self, place: usize, asked: AgainRequest) -> Result<(Page, u64), Trouble> {
        let facility = self.store.facility(&self.places[place].scope);
        let page = self.runtime.block_on(facility.page_again(asked));
        page.map_err(|error| trouble(&Refusal::from(error)))
    }

    /// The end of a facility's feed.
    pub(super) fn head(&self, place: usize) -> Result<Cursor> {
        let Ok(page) = self.page(place, None, 0) else { bail!("the feed cannot be read") };
        Ok(Cursor { seq: page.end.head, ..page.end.cursor })
    }
}

/// Copies a database that nobody has open, with the log beside it where there is one: a log that stayed
/// beside the place would be taken for that of what comes there.
fn copy_database(from: &Path, to: &Path) -> Result<()> {
    let beside = |path: &Path, end: &str| PathBuf::from(format!("{}{end}", path.display()));
    for end in ["", "-wal"] {
        let (from, to) = (beside(from, end), beside(to, end));
        if from.exists() {
            std::fs::copy(from, to)?;
        } else if to.exists() {
            std::fs::remove_file(to)?;
        }
    }
    Ok(())
}

/// What a device makes of a refusal.
fn trouble(refusal: &Refusal) -> Trouble {
    Trouble::of(refusal.problem().status, Some(refusal.problem()), None)
}

fn open(path: &Path, time: &Arc<AtomicI64>, lineage: u64) -> Result<Store> {
    let (clock, drawn) = (Arc::clone(time), AtomicU64::new(lineage << 32));
    let ambient = Ambient::new(
        move || Timestamp::from_millis(clock.load(Ordering::SeqCst)),
        move |bytes| {
            for chunk in bytes.chunks_mut(32) {
                let hash = PayloadHash::of(&drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes());
                chunk.copy_from_slice(&hash.as_bytes()[..chunk.len()]);
            }
            true
        },
    );
    Ok(Store::open(path, &DatabaseKey::new([7; 32]), ambient)?)
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn furnish(store: &Store) -> Result<(Vec<Place>, Vec<Enrolled>)> {
    let founding = NewOrganization {
        name: "Golden Years".into(),
        slug: "golden-years".into(),
        organization_type: OrganizationType::AlfOperator,
        npi: None,
        address: None,
        contact: None,
        recovery_recipient: "age1example".into(),
    };
    let admin = user("olga", Role::OrgAdmin, None);
    let (organization, _) = store.system().create_organization(founding, admin, event(0)).await?;
    let scope = administrator(organization.id).context("an administrator without a scope")?;
    let registry = store.organization(&scope);
    registry.noting(event(1)).publish_workflow(vitals()).await?;
    let (mut places, mut devices) = (Vec::new(), Vec::new());
    for number in 0..FACILITIES {
        let facility = registry.noting(event(2)).create_facility(facility(number)).await?.id;
        let nurse = user(&format!("nora-{number}"), Role::Rn, Some(facility));
        let nurse = registry.noting(event(3)).create_user(nurse).await?.id;
        let mut patients = Vec::new();
        for bed in 0..3 {
            let new = patient(facility, &format!("M-{number}-{bed}"), bed);
            patients.push(registry.noting(event(4)).create_patient(new).await?.id);
        }
        let place = scope.enter(facility).context("a facility of the organization")?;
        places.push(Place { scope: place, patients, nurse });
        for kiosk in 0..DEVICES_EACH {
            let hardware = DeviceUuid::from_bytes([1 + number * 16 + kiosk; 16]);
            devices.push(enroll(store, &scope, facility, usize::from(number), hardware).await?);
        }
    }
    Ok((places, devices))
}

async fn enroll(
    store: &Store,
    scope: &OrganizationScope,
    facility_id: FacilityId,
    place: usize,
    hardware: DeviceUuid,
) -> Result<Enrolled> {
    let token = *PayloadHash::of(hardware.to_string().as_bytes()).as_bytes();
    let expected = NewDevice {
        facility_id,
        name: format!("Kiosk {hardware}"),
        device_type: DeviceType::RaspberryPi,
        device_uuid: Some(hardware),
        token_sha256: token,
    };
    store.organization(scope).noting(event(5)).expect_device(expected).await?;
    let key = Arc::new(DeviceKey::generate()?);
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        key.pkcs8(),
        &ring::rand::SystemRandom::new(),
    )
    .map_err(|error| anyhow::anyhow!("{error}"))?;
    let sha256 = key.public_key_sha256();
    let presented =
        PresentedKey { sha256, point: pair.public_key().as_ref().to_vec(), network: String::new() };
    let request = EnrollRequest {
        device_uuid: hardware,
        mac_addresses: Vec::new(),
        hostname: "hall-kiosk".into(),
        agent_version: "0.1.0".into(),
        token: None,
    };
    let EnrollResponse::Active { grant } = store.system().enroll(presented, request, Some(token)).await?
    else {
        bail!("a device with its token is not let in");
    };
    let identity = store.system().device_by_key(sha256).await?.context("an enrolled device")?;
    Ok(Enrolled { place, identity, grant, key })
}

fn administrator(organization: OrganizationId) -> Option<OrganizationScope> {
    OrganizationScope::of_actor(&Actor {
        user: UserId::new(Timestamp::EPOCH, [1; 10]),
        session: SessionId::new(Timestamp::EPOCH, [1; 10]),
        role: Role::OrgAdmin,
        organization: Some(organization),
        facility: None,
    })
}

fn facility(number: u8) -> NewFacility {
    NewFacility {
        name: format!("House {number}"),
        facility_type: FacilityType::Alf,
        licensed_beds: Some(20),
        current_census: 3,
        phone: None,
        phi_mode: PhiMode::Full,
        units: Units::default(),
        require_encryption: false,
        time_zone: None,
        address: None,
    }
}

fn user(username: &str, role: Role, facility_id: Option<FacilityId>) -> NewUser {
    NewUser {
        facility_id,
        username: username.to_owned(),
        email: None,
        display_name: format!("{username} Example"),
        role,
        employee_id: None,
        session_timeout_minutes: 30,
        password_hash: Some("$argon2id$invented".to_owned()),
        pin_verifier: None,
    }
}

fn patient(facility_id: FacilityId, mrn: &str, bed: u8) -> NewPatient {
    let fields = [("mrn", mrn.to_owned()), ("name", format!("Ada Example {bed}")), ("room", bed.to_string())];
    let fields = fields.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect();
    NewPatient { facility_id, fields }
}

fn vitals() -> Workflow {
    let mark =
        Field { required: true, hard_min: Some(0.0), ..Field::new("mark", "Mark", FieldType::Integer) };
    Workflow {
        id: WorkflowId::new(Timestamp::EPOCH, [0; 10]),
        key: "marks".into(),
        label: "Marks".into(),
        version: 0,
        enabled: true,
        fields: vec![mark],
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

fn event(number: u8) -> AuditEvent {
    let stamp = (Timestamp::from_millis(START), ClockQuality::Synced);
    AuditEvent::new(
        AuditId::new(stamp.0, [number; 10]),
        stamp,
        AuditEventType::ApiAccess,
        AuditAction::Create,
        "story",
    )
}
