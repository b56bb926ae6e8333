//! The server of a story: the real store on a file of its own, with the clock of the story.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carepost_agent::identity::DeviceKey;
use carepost_agent_core::sync::Trouble;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::PayloadHash;
use carepost_protocol::id::{AuditId, DeviceUuid, FacilityId, PatientId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::Role;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use carepost_protocol::wire::push::{PushBatch, PushReceipt};
use carepost_protocol::workflow::{Field, FieldType, Workflow};
use carepost_server::error::Refusal;
use carepost_server::scope::{FacilityScope, OrganizationScope};
use carepost_server::store::{
    Ambient, Batch, DatabaseKey, DeviceIdentity, NewPatient, Page, PageRequest, RefetchRequest, Store,
    StoreError, View,
};
use carepost_server::testing;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
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
    pub(super) fn refetch(
        &self,
        cursor: Option<Cursor>,
        position: &SyncPosition,
        limit: usize,
    ) -> Option<RefetchRequest> {
        let names = position.refetch.as_deref()?.split(',');
        let collections = names.filter_map(Collection::from_name).collect();
        Some(RefetchRequest {
            collections,
            cursor: cursor?,
            after: 0,
            limit,
            view: View::Full,
            view_changes: 0,
        })
    }

    /// A page of what is sent again, and where the next one begins.
    pub(super) fn refetch_page(&self, place: usize, asked: RefetchRequest) -> Result<(Page, u64), Trouble> {
        let facility = self.store.facility(&self.places[place].scope);
        let page = self.runtime.block_on(facility.refetch_page(asked));
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
    let clock = Arc::clone(time);
    let now = move || Timestamp::from_millis(clock.load(Ordering::SeqCst));
    let ambient = Ambient::new(now, testing::counted(lineage << 32));
    Ok(Store::open(path, &DatabaseKey::new([7; 32]), ambient)?)
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn furnish(store: &Store) -> Result<(Vec<Place>, Vec<Enrolled>)> {
    let founding = testing::organization("Golden Years", "golden-years");
    let admin = testing::user("olga", Role::OrgAdmin, None);
    let (organization, _) = store.system().create_organization(founding, admin, event(0)).await?;
    let scope = testing::administrator(organization.id, None);
    let registry = store.organization(&scope);
    registry.audited(event(1)).publish_workflow(vitals()).await?;
    let (mut places, mut devices) = (Vec::new(), Vec::new());
    for number in 0..FACILITIES {
        let facility = registry
            .audited(event(2))
            .create_facility(testing::facility(&format!("House {number}")))
            .await?
            .id;
        let nurse = testing::user(&format!("nora-{number}"), Role::Rn, Some(facility));
        let nurse = registry.audited(event(3)).create_user(nurse).await?.id;
        let mut patients = Vec::new();
        for bed in 0..3 {
            let new = patient(facility, &format!("M-{number}-{bed}"), bed);
            patients.push(registry.audited(event(4)).create_patient(new).await?.id);
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
    let expected = testing::device(facility_id, &format!("Kiosk {hardware}"), Some(hardware), token);
    store.organization(scope).audited(event(5)).expect_device(expected).await?;
    let key = Arc::new(DeviceKey::generate()?);
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        key.pkcs8(),
        &ring::rand::SystemRandom::new(),
    )
    .map_err(|error| anyhow::anyhow!("{error}"))?;
    let (identity, grant) = testing::enroll(store, testing::presented(&pair), hardware, token).await?;
    Ok(Enrolled { place, identity, grant, key })
}

fn patient(facility_id: FacilityId, mrn: &str, bed: u8) -> NewPatient {
    let (name, room) = (format!("Ada Example {bed}"), bed.to_string());
    testing::patient(facility_id, [("mrn", mrn), ("name", name.as_str()), ("room", room.as_str())])
}

fn vitals() -> Workflow {
    let mark =
        Field { required: true, hard_min: Some(0.0), ..Field::new("mark", "Mark", FieldType::Integer) };
    testing::workflow("marks", "Marks", mark)
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
