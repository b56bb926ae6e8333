//! A device of an invented facility: its outbox, and what is saved in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use carepost_agent::identity::DeviceKey;
use carepost_agent::outbox::{Binding, Entry, Outbox, OutboxError, OutboxOpening, Saved, Sent};
use carepost_agent::sqlite::{self, Durability, FileKey, Opening};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, Lane, Link, PayloadHash, Verdict};
use carepost_protocol::device::DeviceType;
use carepost_protocol::id::{
    AssignmentId, AuditId, DeviceId, FacilityId, IncarnationId, OrganizationId, PatientId, SessionId, UserId,
};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Act, Actor, Permit, Resource, Role, authorize};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::push::PushReceipt;
use serde_json::{Map, json};

pub const NURSE: UserId = UserId::from_bytes([4; 16]);
pub const PATIENT: PatientId = PatientId::from_bytes([6; 16]);
pub const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
pub const FACILITY: FacilityId = FacilityId::from_bytes([2; 16]);
const SESSION: SessionId = SessionId::from_bytes([5; 16]);
const ASSIGNMENT: AssignmentId = AssignmentId::from_bytes([8; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);

pub const WEEK: i64 = 7 * 24 * 3600;

/// The device, whose files may lie anywhere.
pub struct Device {
    key: Arc<DeviceKey>,
}

impl Device {
    pub fn new() -> Self {
        Self { key: Arc::new(DeviceKey::generate().unwrap()) }
    }

    pub fn open(&self, directory: &Path) -> Result<Outbox, OutboxError> {
        self.open_begun(directory, false)
    }

    /// The same where the inventory says whether one was begun.
    pub fn open_begun(&self, directory: &Path, is_begun: bool) -> Result<Outbox, OutboxError> {
        Outbox::open(OutboxOpening {
            path: &directory.join("outbox.db"),
            key: &file_key(),
            binding: Binding {
                device: DEVICE,
                organization: ORGANIZATION,
                facility: FACILITY,
                assignment: ASSIGNMENT,
            },
            device_key: Arc::clone(&self.key),
            max_mib: 64,
            now: at(0),
            is_begun,
            runs: true,
        })
    }
}

/// What the server granted it.
pub fn grant() -> Grant {
    Grant {
        device_id: DEVICE,
        assignment_id: ASSIGNMENT,
        organization_id: ORGANIZATION,
        facility_id: FACILITY,
        facility_name: "Rosewood House".into(),
        device_name: "Hall".into(),
        device_type: DeviceType::RaspberryPi,
        badge_key: "5e".repeat(32),
        recovery_recipient: "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".into(),
        server_time: at(0),
    }
}

pub fn file_key() -> FileKey {
    FileKey::from_bytes([9; 32])
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_777_644_600_000 + second * 1_000)
}

pub fn permit<A: Act>() -> Permit<A> {
    let actor = Actor {
        user: NURSE,
        session: SESSION,
        role: Role::Rn,
        organization: Some(ORGANIZATION),
        facility: Some(FACILITY),
    };
    authorize(&actor, Resource::Facility(ORGANIZATION, FACILITY)).unwrap()
}

/// Saves a form, with one audit event. The form's name is all that tells it from others.
pub fn save(outbox: &Outbox, form: &str, length: usize) -> Result<Saved, OutboxError> {
    let mut fields = Map::new();
    fields.insert("note".into(), json!(format!("{form}: {}", "quiet night ".repeat(length / 12))));
    let stamp = (at(1), ClockQuality::Synced);
    let change = Change {
        patient: Some(PATIENT),
        workflow: Some("vitals".into()),
        schema_version: Some(1),
        ..Change::create((NURSE, SESSION), ASSIGNMENT, Collection::Records, fields, stamp)
    };
    outbox.append(&permit::<carepost_protocol::role::Chart>(), Entry { change: &change, token: form }, |_| {
        vec![audit()]
    })
}

pub fn audit() -> AuditEvent {
    let (id, stamp) = (AuditId::from_bytes([7; 16]), (at(0), ClockQuality::Synced));
    let event = AuditEvent::new(id, stamp, AuditEventType::PhiAccess, AuditAction::Create, "record");
    AuditEvent { patient_id: Some(PATIENT), ..event.by(NURSE, Some(SESSION)) }
}

/// The server has all of a batch, in the feed from the batch's own numbers on.
pub fn receipt(sent: &Sent) -> PushReceipt {
    let Sent { first_n, count, .. } = *sent;
    let run = json!({"n": first_n, "count": count, "verdict": Verdict::Applied, "seq": first_n});
    let receipt = json!({"verdicts": [run], "next_n": first_n + count, "server_time": at(60)});
    serde_json::from_value(receipt).unwrap()
}

/// What lies in an outbox's file: for each lane and number whether the server has it, and the payload.
pub type Entries = BTreeMap<(i64, u64), (bool, String)>;

/// Reads a sound file: every page fits, and every link follows from the one before it.
pub fn entries(directory: &Path, incarnation: IncarnationId) -> Entries {
    let connection = sqlite::open_reader(&Opening {
        path: &directory.join("outbox.db"),
        key: &file_key(),
        durability: Durability::PowerCut,
        cache_kib: 8 * 1024,
        migrations: &[],
    })
    .unwrap();
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
    let mut statement =
        connection.prepare("SELECT lane, n, payload, link, state FROM entries ORDER BY lane, n").unwrap();
    let rows = statement
        .query_map([], |row| {
            let (lane, n, link, state): (i64, i64, [u8; 32], i64) =
                (row.get(0)?, row.get(1)?, row.get(3)?, row.get(4)?);
            Ok((lane, u64::try_from(n).unwrap(), row.get::<_, Vec<u8>>(2)?, Link::from_bytes(link), state))
        })
        .unwrap();
    let mut entries = Entries::new();
    let mut before = None;
    for row in rows {
        let (lane, n, payload, link, state) = row.unwrap();
        let genesis = (Lane::ALL[usize::try_from(lane).unwrap()], incarnation);
        let previous = match before {
            Some((of, last, link)) if (of, last) == (lane, n - 1) => Some(link),
            _ => (n == 1).then(|| Link::genesis(DEVICE, genesis.1, genesis.0)),
        };
        // What was pruned leaves a gap, and the link before it is not known any more.
        if let Some(previous) = previous {
            assert_eq!(link, previous.next(n, &PayloadHash::of(&payload)), "lane {lane}, entry {n}");
        }
        before = Some((lane, n, link));
        entries.insert((lane, n), (state != 0, String::from_utf8(payload).unwrap()));
    }
    entries
}
