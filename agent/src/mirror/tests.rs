mod damage;
mod digest;
mod feed;
mod kept;
mod large;
mod random;
mod revoked;
mod sent;
mod stepped;
mod threads;
mod window;

use std::path::{Path, PathBuf};

use carepost_protocol::badge::{self, Uid};
use carepost_protocol::facility::FacilityType;
use carepost_protocol::id::{BadgeId, PatientId, RecordId, SessionId, UserId};
use carepost_protocol::record::{
    BadgeDocument, BadgeKeysDocument, FacilityDocument, PatientDocument, RecordDocument, UserDocument,
};
use carepost_protocol::role::{Actor, ReadPatients, Role, authorize};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::unit::Units;
use carepost_protocol::wire::pull::{Line, PageEnd};
use rusqlite::TransactionBehavior;
use serde::Serialize;

use super::*;

const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
const FACILITY: FacilityId = FacilityId::from_bytes([2; 16]);
const NEIGHBOR: FacilityId = FacilityId::from_bytes([3; 16]);

struct Kiosk {
    directory: tempfile::TempDir,
    key: FileKey,
}

impl Kiosk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), key: FileKey::from_bytes([9; 32]) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("mirror.db")
    }

    /// Its file as an agent reads it that knows those migrations.
    fn file(&self, migrations: &'static [&'static str]) -> sqlite::Connected {
        let opening = sqlite::Opening {
            path: &self.path(),
            key: &self.key,
            durability: sqlite::Durability::ProcessCrash,
            cache_kib: 64,
            migrations,
        };
        sqlite::open(&opening).unwrap()
    }

    /// The file of an earlier agent, whose mirror had come to the fourth place of its feed.
    fn earlier(&self, migrations: usize) -> sqlite::Connected {
        let file = self.file(&schema::MIGRATIONS[..migrations]);
        let own = "INSERT INTO state (one, organization, facility, epoch, seq) VALUES (1, ?, ?, 1, 4)";
        file.execute(own, rusqlite::params![ORGANIZATION.as_bytes(), FACILITY.as_bytes()]).unwrap();
        file
    }

    fn open_for(&self, facility: FacilityId) -> (Mirror, Found) {
        let path = self.path();
        let facility = (ORGANIZATION, facility);
        let opening = MirrorOpening { path: &path, key: &self.key, facility, cache_kib: DEFAULT_CACHE_KIB };
        Mirror::open(&opening).unwrap()
    }

    fn open(&self) -> Mirror {
        let (mirror, found) = self.open_for(FACILITY);
        assert_eq!(found, Found::Intact);
        mirror
    }
}

fn permit(facility: FacilityId) -> Permit<ReadPatients> {
    let actor = Actor {
        user: UserId::from_bytes([4; 16]),
        session: SessionId::from_bytes([5; 16]),
        role: Role::Rn,
        organization: Some(ORGANIZATION),
        facility: Some(facility),
    };
    authorize(&actor, Resource::Facility(ORGANIZATION, facility)).unwrap()
}

/// Puts a document on a page.
pub(crate) fn put(
    page: &mut Page,
    collection: Collection,
    id: impl std::fmt::Display,
    seq: u64,
    body: &impl Serialize,
) {
    let body = serde_json::value::to_raw_value(body).unwrap();
    let line = Line {
        collection: Some(collection.name().into()),
        id: Some(id.to_string().into()),
        seq: Some(seq),
        body: Some(&body),
        ..Line::default()
    };
    page.push(&line).unwrap();
}

fn bury(page: &mut Page, collection: Collection, id: impl std::fmt::Display, seq: u64) {
    let id = Some(id.to_string().into());
    let line = Line {
        collection: Some(collection.name().into()),
        id,
        seq: Some(seq),
        deleted: true,
        ..Line::default()
    };
    page.push(&line).unwrap();
}

fn end(epoch: u64, seq: u64, head: u64) -> PageEnd {
    PageEnd::new(Cursor { epoch, seq }, head, Timestamp::from_millis(60 * 60_000))
}

fn patient(number: u8, name: &str, room: Option<&str>) -> PatientDocument {
    PatientDocument {
        id: PatientId::from_bytes([number; 16]),
        mrn: format!("M{number}"),
        name: name.into(),
        date_of_birth: None,
        room: room.map(Into::into),
        ..PatientDocument::new(PatientId::from_bytes([0; 16]))
    }
}

fn record(number: u8, patient: u8, minute: i64) -> RecordDocument {
    RecordDocument {
        id: RecordId::from_bytes([number; 16]),
        patient_id: PatientId::from_bytes([patient; 16]),
        workflow: "vitals".into(),
        schema_version: 1,
        recorded_by: UserId::from_bytes([4; 16]),
        recorded_at: Timestamp::from_millis(minute * 60_000),
        clock_quality: ClockQuality::Synced,
        values: serde_json::Map::new(),
        confirmed: Vec::new(),
        reason: None,
        entered_in_error: false,
        amends: None,
    }
}

/// What was charted about a resident, as it was first charted, newest first.
fn entries(mirror: &Mirror, about: PatientId, most: usize) -> Vec<RecordDocument> {
    let read = mirror.threads(&permit(FACILITY), about, Asked { after: 0, most, versions: 1 }).unwrap();
    read.threads.into_iter().map(|thread| thread.root).collect()
}

fn names(mirror: &Mirror) -> Vec<String> {
    mirror.residents(&permit(FACILITY)).unwrap().into_iter().map(|resident| resident.name).collect()
}

fn files_hold(directory: &Path, text: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        content.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn a_page_brings_residents_by_room_then_name() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    let residents = [
        patient(1, "Bea Longfellow", Some("10")),
        patient(2, "Abe Longfellow", Some("10")),
        patient(3, "Cal Whitmore", Some("2")),
        patient(4, "Dot Ashby", None),
        PatientDocument { is_active: false, ..patient(5, "Eve Moved", Some("1")) },
    ];
    for (seq, resident) in (1..).zip(&residents) {
        put(&mut page, Collection::Patients, resident.id, seq, resident);
    }
    assert_eq!(mirror.apply(&page, &end(1, 5, 5)).unwrap(), Applied::Advanced);
    assert_eq!(names(&mirror), ["Cal Whitmore", "Abe Longfellow", "Bea Longfellow", "Dot Ashby"]);
    let moved = mirror.resident(&permit(FACILITY), residents[4].id).unwrap().unwrap();
    assert_eq!(moved, residents[4]);
    assert_eq!(mirror.cursor().unwrap(), Some(Cursor { epoch: 1, seq: 5 }));
}

#[test]
fn an_empty_list_is_not_complete_before_the_head_was_reached_once() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    assert!(!mirror.is_complete(Collection::Records).unwrap());
    assert_eq!(mirror.cursor().unwrap(), None);
    let mut page = Page::default();
    put(&mut page, Collection::Patients, patient(1, "A", None).id, 1, &patient(1, "A", None));
    mirror.apply(&page, &end(1, 1, 2)).unwrap();
    assert!(!mirror.is_complete(Collection::Records).unwrap(), "there is more to come");
    page.clear();
    mirror.apply(&page, &end(1, 2, 2)).unwrap();
    assert!(Collection::ALL.into_iter().all(|collection| mirror.is_complete(collection).unwrap()));
    mirror.apply(&page, &end(1, 3, 9)).unwrap();
    assert!(mirror.is_complete(Collection::Records).unwrap(), "being behind does not undo it");
    mirror.refetch().unwrap();
    assert!(mirror.is_complete(Collection::Records).unwrap(), "nor does pulling again");
}

#[test]
fn records_come_newest_first_and_tombstones_take_them_away() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    for number in 1..=4 {
        let record = record(number, if number == 4 { 8 } else { 7 }, i64::from(number));
        put(&mut page, Collection::Records, record.id, number.into(), &record);
    }
    mirror.apply(&page, &end(1, 4, 4)).unwrap();
    mirror.apply(&page, &end(1, 4, 4)).unwrap();
    let about = PatientId::from_bytes([7; 16]);
    let read = |most| entries(&mirror, about, most);
    assert_eq!(read(9), [record(3, 7, 3), record(2, 7, 2), record(1, 7, 1)]);
    assert_eq!(read(2).len(), 2);
    page.clear();
    bury(&mut page, Collection::Records, record(2, 7, 2).id, 5);
    mirror.apply(&page, &end(1, 5, 5)).unwrap();
    assert_eq!(read(9), [record(3, 7, 3), record(1, 7, 1)]);
    page.clear();
    put(&mut page, Collection::Records, record(2, 7, 2).id, 2, &record(2, 7, 2));
    assert_eq!(mirror.apply(&page, &end(1, 2, 5)).unwrap(), Applied::Behind);
    assert_eq!(read(9).len(), 2, "a late page does not raise the dead");
}

#[test]
fn a_record_from_the_future_sorts_where_it_came() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let arrive = |seq: u64, minute: i64, record: &RecordDocument| {
        let mut page = Page::default();
        put(&mut page, Collection::Records, record.id, seq, record);
        let end = PageEnd { server_time: Timestamp::from_millis(minute * 60_000), ..end(1, seq, seq) };
        mirror.apply(&page, &end).unwrap();
    };
    let far_ahead = record(2, 7, 70 * 365 * 24 * 60);
    arrive(1, 10, &record(1, 7, 9));
    arrive(2, 12, &far_ahead);
    arrive(3, 14, &record(3, 7, 13));
    let read = |most| entries(&mirror, PatientId::from_bytes([7; 16]), most);
    assert_eq!(read(9), [record(3, 7, 13), far_ahead.clone(), record(1, 7, 9)]);
    assert_eq!(read(1), [record(3, 7, 13)], "it takes nobody's place");
}

#[test]
fn staff_and_badges_are_read_before_anyone_signs_in() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let facility = FacilityDocument {
        id: FACILITY,
        name: "Rosewood House".into(),
        organization_name: "Rosewood".into(),
        phone: None,
        facility_type: FacilityType::Alf,
        licensed_beds: Some(48),
        current_census: 44,
        time_zone: None,
        units: Units::Metric,
    };
    let nurse = UserDocument {
        id: UserId::from_bytes([4; 16]),
        display_name: "Nia Okafor".into(),
        role: Role::Rn,
        pin_verifier: None,
        pin_exposed_at: None,
        session_timeout_minutes: 30,
        is_active: true,
    };
    let badge = |number: u8, is_active| BadgeDocument {
        id: BadgeId::from_bytes([number; 16]),
        user_id: nurse.id,
        lookup: "ab".repeat(32),
        is_active,
    };
    let mut page = Page::default();
    put(&mut page, Collection::Facilities, facility.id, 1, &facility);
    put(&mut page, Collection::Users, nurse.id, 2, &nurse);
    put(&mut page, Collection::Badges, badge(1, true).id, 3, &badge(1, true));
    put(&mut page, Collection::Badges, badge(2, false).id, 4, &badge(2, false));
    mirror.apply(&page, &end(1, 4, 4)).unwrap();
    assert_eq!(mirror.facility().unwrap().as_deref(), Some(&facility));
    assert_eq!(mirror.user(nurse.id).unwrap(), Some(nurse.clone()));
    assert_eq!(mirror.badge(|_| vec!["ab".repeat(32)]).unwrap(), Some(badge(1, true)));
    assert_eq!(mirror.badge(|_| vec!["unknown".to_owned()]).unwrap(), None);
    page.clear();
    put(&mut page, Collection::Badges, badge(1, false).id, 5, &badge(1, false));
    mirror.apply(&page, &end(1, 5, 5)).unwrap();
    assert!(!mirror.badge(|_| vec!["ab".repeat(32)]).unwrap().unwrap().is_active, "refused by name");
}

#[test]
fn a_badge_is_known_at_every_step_of_a_key_being_laid_over() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let card = badge::lookup(&[1; 32], &Uid::from_hex("04A1B2C3").unwrap());
    let layers = ["07".repeat(32), "08".repeat(32)];
    let under = |keys: &[String]| BadgeDocument {
        id: BadgeId::from_bytes([1; 16]),
        user_id: UserId::from_bytes([4; 16]),
        lookup: badge::layered(&card, keys).remove(0),
        is_active: true,
    };
    let keys = |keys: &[String]| BadgeKeysDocument { id: BadgeKeysDocument::ID, keys: keys.to_vec() };
    let known = || mirror.badge(|keys| badge::layered(&card, keys)).unwrap().is_some();
    let mut page = Page::default();
    put(&mut page, Collection::Badges, under(&[]).id, 1, &under(&[]));
    mirror.apply(&page, &end(1, 1, 1)).unwrap();
    assert!(known());
    // A page ends between each key and the badges that it was laid over.
    for (seq, count) in [(2, 1), (4, 2)] {
        page.clear();
        put(&mut page, Collection::Facilities, BadgeKeysDocument::ID, seq, &keys(&layers[..count]));
        mirror.apply(&page, &end(1, seq, 5)).unwrap();
        assert!(known(), "the key is here, the badge is not");
        page.clear();
        let badge = under(&layers[..count]);
        put(&mut page, Collection::Badges, badge.id, seq + 1, &badge);
        mirror.apply(&page, &end(1, seq + 1, 5)).unwrap();
        assert!(known(), "both are");
    }
    assert_eq!(mirror.badge(|_| vec![card.clone()]).unwrap(), None, "the first key alone finds nobody");
}

#[test]
fn a_permit_for_another_facility_reads_nothing() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let (neighbor, somebody) = (permit(NEIGHBOR), PatientId::from_bytes([1; 16]));
    assert!(matches!(mirror.residents(&neighbor), Err(MirrorError::OtherFacility)));
    assert!(matches!(mirror.resident(&neighbor, somebody), Err(MirrorError::OtherFacility)));
}

#[test]
fn a_refetch_under_a_new_epoch_sweeps_what_is_gone() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let (stays, goes) = (patient(1, "Stays", None), patient(2, "Goes", None));
    let mut page = Page::default();
    put(&mut page, Collection::Patients, stays.id, 1, &stays);
    put(&mut page, Collection::Patients, goes.id, 2, &goes);
    mirror.apply(&page, &end(1, 2, 2)).unwrap();
    page.clear();
    put(&mut page, Collection::Patients, stays.id, 1, &stays);
    let refused = mirror.apply(&page, &end(2, 1, 1));
    assert!(matches!(refused, Err(MirrorError::OtherEpoch { ours: 1, theirs: 2 })));
    mirror.refetch().unwrap();
    assert_eq!(mirror.cursor().unwrap(), None);
    assert_eq!(names(&mirror), ["Goes", "Stays"], "readable while it is pulled again");
    mirror.apply(&page, &end(2, 1, 1)).unwrap();
    assert_eq!(names(&mirror), ["Stays"]);
}

#[test]
fn a_mirror_left_without_a_word_resumes() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    put(&mut page, Collection::Patients, patient(1, "A", None).id, 1, &patient(1, "A", None));
    mirror.apply(&page, &end(1, 1, 1)).unwrap();
    // As a killed process leaves it: neither closed nor checkpointed.
    std::mem::forget(mirror);
    let mirror = kiosk.open();
    assert_eq!(names(&mirror), ["A"]);
    assert_eq!(mirror.cursor().unwrap(), Some(Cursor { epoch: 1, seq: 1 }));
}

#[test]
fn readers_do_not_wait_for_a_page() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    put(&mut page, Collection::Patients, patient(1, "A", None).id, 1, &patient(1, "A", None));
    mirror.apply(&page, &end(1, 1, 1)).unwrap();
    let mut writer = mirror.writer.lock().unwrap();
    let applying = writer.as_mut().unwrap();
    let applying = applying.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    applying.execute("DELETE FROM documents", []).unwrap();
    assert_eq!(names(&mirror), ["A"], "what was there before the page, at once");
    applying.rollback().unwrap();
}

#[test]
fn a_damaged_mirror_is_set_aside_and_a_fresh_one_begun() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    for number in 1..=200 {
        let record = record(number, 7, number.into());
        put(&mut page, Collection::Records, record.id, number.into(), &record);
    }
    mirror.apply(&page, &end(1, 200, 200)).unwrap();
    drop(mirror);
    let aside = kiosk.directory.path().join("mirror.db.damaged");
    let whole = std::fs::read(kiosk.path()).unwrap();
    // In the first page, and deep among the records.
    for place in [200, whole.len() / 2] {
        let mut content = whole.clone();
        content[place] ^= 1;
        std::fs::write(kiosk.path(), &content).unwrap();
        let (mirror, found) = kiosk.open_for(FACILITY);
        assert_eq!(found, Found::SetAside(aside.clone()), "{place}");
        assert_eq!(std::fs::read(&aside).unwrap(), content);
        assert_eq!(mirror.cursor().unwrap(), None);
    }
    kiosk.open();
}

#[test]
fn another_facilitys_mirror_is_removed_not_read() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    put(&mut page, Collection::Patients, patient(1, "A", None).id, 1, &patient(1, "A", None));
    mirror.apply(&page, &end(1, 1, 1)).unwrap();
    drop(mirror);
    let (mirror, found) = kiosk.open_for(NEIGHBOR);
    assert_eq!(found, Found::OtherFacility);
    assert!(mirror.residents(&permit(NEIGHBOR)).unwrap().is_empty());
}

#[test]
fn no_name_is_readable_on_the_disk() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    for number in 1..=200 {
        let resident = patient(number, "Marigold Fenwick", Some("12"));
        put(&mut page, Collection::Patients, resident.id, number.into(), &resident);
    }
    mirror.apply(&page, &end(1, 200, 200)).unwrap();
    assert!(!files_hold(kiosk.directory.path(), b"Marigold"));
    drop(mirror);
    assert!(!files_hold(kiosk.directory.path(), b"Marigold"));
    assert!(!files_hold(kiosk.directory.path(), b"SQLite format"));
}

#[test]
fn a_line_that_is_no_document_never_reaches_the_file() {
    let mut page = Page::default();
    let parse = |text| serde_json::from_str::<Line<'_>>(text).unwrap();
    for bad in [
        r#"{"id":"01010101-0101-0101-0101-010101010101","seq":1,"deleted":true}"#,
        r#"{"collection":"users","id":"nobody","seq":1,"deleted":true}"#,
        r#"{"collection":"users","id":"01010101-0101-0101-0101-010101010101","deleted":true}"#,
    ] {
        page.push(&parse(bad)).unwrap();
    }
    assert!(page.is_empty());
}
