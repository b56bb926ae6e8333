//! Power cuts under the mirror: it may forget its last pages, and never holds half of one.

use std::path::Path;

use carepost_agent::mirror::{
    Asked, DEFAULT_CACHE_KIB, Found, Mirror, MirrorError, MirrorOpening, Page, RecordThread,
};
use carepost_agent::sqlite;
use carepost_host::sqlcipher;
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use carepost_vfs::{Fault, Recording, Trouble, Watch};
use rusqlite::OpenFlags;
use serde_json::json;

use crate::cuts::{cut, directory, tell};
use crate::device::{FACILITY, NURSE, ORGANIZATION, PATIENT, at, file_key, permit};

/// What is done to a mirror.
pub enum Step {
    Apply(Page, Box<PageEnd>),
    Refetch,
    /// It is closed and opened again.
    Reopen,
}

/// All that a mirror shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    cursor: Option<Cursor>,
    residents: Vec<PatientDocument>,
    records: Vec<RecordThread>,
}

struct Story {
    recording: Recording,
    steps: Vec<Step>,
    /// Before the first step, and after each: what is shown, and when the step had begun.
    shown: Vec<(usize, Shown)>,
}

#[test]
fn a_power_cut_takes_whole_pages_from_the_mirror_and_they_come_again() {
    let story = Story::new();
    let tally = cut(&story.recording, 100, |moment, found| story.loses(moment, found));
    tell("mirror", &tally);
    assert!(tally.lost > 0, "its commits are not synced, so cuts that take nothing were not cuts");
}

#[test]
fn an_earlier_agents_mirror_that_a_full_disk_keeps_from_being_brought_up_to_date_is_kept() {
    let mut lines = String::new();
    (1..=40).for_each(|seq| put(&mut lines, seq, seq as u8, 1));
    let whole = Step::Apply(page(&lines), Box::new(end(1, 40, 40)));
    let (mut kept, mut struck, mut after) = (0, true, 0);
    while struck {
        let place = directory();
        let mut mirror = Some(open(place.path()).unwrap().0);
        take(&whole, &mut mirror, place.path()).unwrap();
        let wanted = Shown::of(&mirror.take().unwrap());
        as_an_earlier_agent_left_it(place.path());
        let watch = Watch::over(place.path());
        watch.fail(Fault { trouble: Trouble::Full, after, lasting: true });
        let opened = open(place.path());
        struck = watch.mend();
        kept += usize::from(is_no_room(&opened));
        let (mirror, found) = opened.or_else(|_| open(place.path())).unwrap();
        assert_eq!(found, Found::Intact, "after {after}");
        assert!(Shown::of(&mirror) == wanted, "after {after}");
        after += 1;
    }
    assert!(kept > 5, "only {kept} of {after} writes were those that bring it up to date");
}

#[test]
fn a_fresh_mirror_that_finds_no_room_is_there_as_soon_as_there_is() {
    let (mut without, mut struck, mut after) = (0, true, 0);
    while struck {
        let place = directory();
        let watch = Watch::over(place.path());
        watch.fail(Fault { trouble: Trouble::Full, after, lasting: true });
        let opened = open(place.path());
        struck = watch.mend();
        without += usize::from(is_no_room(&opened));
        // What was made of it may be damaged: there was nothing in it.
        let (mirror, _) = opened.or_else(|_| open(place.path())).unwrap();
        assert_eq!(mirror.cursor().unwrap(), None, "after {after}");
        after += 1;
    }
    assert!(without > 5, "{without} of {after}");
}

/// Whether it was not opened for want of room, and says so.
fn is_no_room(opened: &Result<(Mirror, Found), MirrorError>) -> bool {
    matches!(opened, Err(MirrorError::Full | MirrorError::Open(sqlite::OpenError::NoRoom { .. })))
}

/// Under schema 6, by an agent from before files knew what had made them.
fn as_an_earlier_agent_left_it(directory: &Path) {
    let path = directory.join("mirror.db");
    let connection = sqlcipher::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    sqlcipher::give_key(&connection, file_key().as_bytes()).unwrap();
    let back = "DROP TRIGGER documents_left;
        DROP INDEX documents_held;
        DROP INDEX documents_by_patient;
        ALTER TABLE documents DROP COLUMN is_held;
        ALTER TABLE documents DROP COLUMN amends;
        ALTER TABLE state DROP COLUMN phi_mode;
        CREATE INDEX documents_by_patient ON documents (patient, recorded_at, collection, id, seq)
            WHERE patient IS NOT NULL;
        DROP TABLE schema_migrations;
        PRAGMA user_version = 6";
    connection.execute_batch(back).unwrap();
}

impl Story {
    fn new() -> Self {
        let place = directory();
        let watch = Watch::over(place.path());
        let steps = steps();
        let mut mirror = Some(open(place.path()).unwrap().0);
        let mut shown = vec![(0, Shown::of(mirror.as_ref().unwrap()))];
        for step in &steps {
            let begun = watch.moment();
            take(step, &mut mirror, place.path()).unwrap();
            shown.push((begun, Shown::of(mirror.as_ref().unwrap())));
        }
        drop(mirror);
        Self { recording: watch.recording(), steps, shown }
    }

    /// Whether a step that was done before the cut is missing. Whatever else is wrong fails.
    fn loses(&self, moment: usize, found: &Path) -> bool {
        let (mirror, intact) = open(found).unwrap();
        assert_eq!(intact, Found::Intact, "a file that nothing but a power cut befell is readable");
        let now = Shown::of(&mirror);
        let begun = self.shown.iter().rposition(|(begun, _)| *begun < moment).unwrap_or(0);
        let at = self.shown.iter().take(begun + 1).rposition(|(_, shown)| *shown == now);
        let at = at.unwrap_or_else(|| panic!("this is no state that the mirror ever was in: {now:?}"));
        let mut mirror = Some(mirror);
        for step in &self.steps[at..] {
            take(step, &mut mirror, found).unwrap();
        }
        assert_eq!(Shown::of(mirror.as_ref().unwrap()), self.shown.last().unwrap().1);
        at + 1 < begun
    }
}

impl Step {
    /// Whether it is a page with something behind a cursor.
    pub fn ends_after(&self, cursor: Option<Cursor>) -> bool {
        matches!(self, Self::Apply(_, end) if cursor.is_none_or(|cursor| end.cursor.seq > cursor.seq))
    }
}

impl Shown {
    pub fn of(mirror: &Mirror) -> Self {
        let all = Asked { after: 0, most: 10_000, versions: 1 };
        Self {
            cursor: mirror.cursor().unwrap(),
            residents: mirror.residents(&permit()).unwrap(),
            records: mirror.threads(&permit(), PATIENT, all).unwrap().threads,
        }
    }
}

pub fn open(directory: &Path) -> Result<(Mirror, Found), MirrorError> {
    Mirror::open(&MirrorOpening {
        path: &directory.join("mirror.db"),
        key: &file_key(),
        facility: (ORGANIZATION, FACILITY),
        cache_kib: DEFAULT_CACHE_KIB,
    })
}

/// Takes a step. When reopening fails there is no mirror, and the step may be taken again.
pub fn take(step: &Step, mirror: &mut Option<Mirror>, directory: &Path) -> Result<(), MirrorError> {
    match (step, &mirror) {
        (Step::Apply(page, end), Some(mirror)) => mirror.apply(page, end).map(drop),
        (Step::Refetch, Some(mirror)) => mirror.refetch(),
        (_, _) => {
            // The old one closes before the new one opens.
            drop(mirror.take());
            *mirror = Some(open(directory)?.0);
            Ok(())
        }
    }
}

/// Two pulls from the beginning: the first brings residents, records, changes and tombstones; before
/// the second the server raises its epoch, and not all comes again.
fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for epoch in 1..=2 {
        for number in 0..12_u64 {
            let mut lines = String::new();
            let first = number * 10 + 1;
            for seq in first..first + 8 {
                put(&mut lines, seq, u8::try_from(seq % 240).unwrap(), epoch);
            }
            let gone = RecordId::from_bytes([u8::try_from(first % 240).unwrap(); 16]);
            let bury = json!({"collection": "records", "id": gone, "seq": first + 9, "deleted": true});
            lines.push_str(&format!("{bury}\n"));
            steps.push(Step::Apply(page(&lines), Box::new(end(epoch, first + 9, 12 * 10))));
            if number % 5 == 4 {
                steps.push(Step::Reopen);
            }
        }
        if epoch == 1 {
            steps.push(Step::Refetch);
        }
    }
    steps
}

pub fn page(lines: &str) -> Page {
    Page::from_lines(lines.as_bytes()).unwrap()
}

pub fn end(epoch: u64, seq: u64, head: u64) -> PageEnd {
    let cursor = Cursor { epoch, seq };
    serde_json::from_value(json!({"cursor": cursor, "head": head, "server_time": at(0)})).unwrap()
}

/// A resident where `seq` is a multiple of four, else a record about one of them.
pub fn put(lines: &mut String, seq: u64, number: u8, epoch: u64) {
    let line = if seq.is_multiple_of(4) {
        let resident = PatientDocument {
            id: PatientId::from_bytes([number; 16]),
            mrn: format!("M{number}"),
            name: format!("Resident {number} of epoch {epoch}"),
            room: Some(seq.to_string()),
            ..PatientDocument::new(PatientId::from_bytes([number; 16]))
        };
        json!({"collection": "patients", "id": resident.id, "seq": seq, "body": resident})
    } else {
        let record = json!({
            "id": RecordId::from_bytes([number; 16]),
            "patient_id": PATIENT,
            "workflow": "vitals",
            "schema_version": 1,
            "recorded_by": NURSE,
            "recorded_at": at(seq.try_into().unwrap()),
            "clock_quality": ClockQuality::Synced,
            "values": {"note": "quiet night ".repeat(60)},
        });
        json!({"collection": "records", "id": record["id"], "seq": seq, "body": record})
    };
    lines.push_str(&format!("{line}\n"));
}
