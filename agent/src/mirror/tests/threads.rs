//! Records with their corrections, and reviews.

use carepost_protocol::id::ReviewId;
use carepost_protocol::record::{Resolved, ReviewDocument, ReviewKind};

use super::*;

fn amendment(number: u8, of: u8, minute: i64) -> RecordDocument {
    RecordDocument { amends: Some(RecordId::from_bytes([of; 16])), ..record(number, 1, minute) }
}

const fn part(most: usize, versions: usize) -> Asked {
    Asked { after: 0, most, versions }
}

pub(super) fn review(number: u8, patient: u8, open: bool) -> ReviewDocument {
    let at = Timestamp::from_millis(i64::from(number) * 60_000);
    ReviewDocument {
        id: ReviewId::from_bytes([number; 16]),
        kind: ReviewKind::Amendments,
        patient_id: PatientId::from_bytes([patient; 16]),
        collection: Collection::Records,
        record: RecordId::from_bytes([1; 16]),
        fields: Vec::new(),
        others: Vec::new(),
        more: 0,
        opened_at: at,
        resolved: (!open).then_some(Resolved { by: UserId::from_bytes([4; 16]), at }),
    }
}

#[test]
fn a_record_comes_with_all_its_corrections() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    // 1 was corrected by 2, that by 3 and by 4 side by side; 6 corrects what is not here.
    let all = [
        record(1, 1, 1),
        record(5, 1, 5),
        amendment(2, 1, 2),
        amendment(4, 2, 4),
        amendment(3, 2, 3),
        amendment(6, 99, 6),
        record(7, 8, 9),
    ];
    for (seq, record) in (1..).zip(&all) {
        put(&mut page, Collection::Records, record.id, seq, record);
    }
    mirror.apply(&page, &end(1, 7, 7)).unwrap();
    let read =
        |most| mirror.threads(&permit(FACILITY), PatientId::from_bytes([1; 16]), part(most, 9)).unwrap();
    let threads = read(9);
    let [newest, corrected] = threads.threads.as_slice() else { panic!("{threads:?}") };
    assert_eq!((&newest.root, newest.amendments.len()), (&all[1], 0));
    assert_eq!(corrected.root, all[0]);
    assert_eq!(corrected.amendments, [all[2].clone(), all[4].clone(), all[3].clone()], "oldest first");
    assert_eq!(threads.held, [all[5].clone()]);
    assert_eq!(read(1).threads.as_slice(), std::slice::from_ref(newest));
    assert!(matches!(
        mirror.threads(&permit(NEIGHBOR), PatientId::from_bytes([1; 16]), part(9, 9)),
        Err(MirrorError::OtherFacility)
    ));
}

#[test]
fn of_many_corrections_the_first_and_the_last_are_read_and_the_rest_named() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    // 1 was corrected by 2, that by 3 and so on up to 20; 21 to 30 correct 20 side by side.
    let chain = (2..=20).map(|n| amendment(n, n - 1, n.into()));
    let beside = (21..=30).map(|n| amendment(n, 20, n.into()));
    for (seq, record) in (1..).zip([record(1, 1, 1)].into_iter().chain(chain).chain(beside)) {
        put(&mut page, Collection::Records, record.id, seq, &record);
    }
    mirror.apply(&page, &end(1, 30, 30)).unwrap();
    let read = mirror.threads(&permit(FACILITY), PatientId::from_bytes([1; 16]), part(9, 4)).unwrap();
    let [thread] = read.threads.as_slice() else { panic!("{read:?}") };
    let numbers: Vec<u8> = thread.amendments.iter().map(|it| it.id.as_bytes()[0]).collect();
    assert_eq!(numbers, [2, 3, 19, 20, 21, 22, 29, 30]);
    assert_eq!((thread.left_out.len(), thread.is_cut), (29 - 8, false));
    let tenth = (RecordId::from_bytes([10; 16]), RecordId::from_bytes([9; 16]));
    assert!(thread.left_out.contains(&tenth), "{thread:?}");
}

#[test]
fn a_correction_is_held_while_what_it_corrects_is_not_here() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let held = || -> Vec<u8> {
        let read = mirror.threads(&permit(FACILITY), PatientId::from_bytes([1; 16]), part(9, 9)).unwrap();
        read.held.iter().map(|it| it.id.as_bytes()[0]).collect()
    };
    let bring = |seq: u64, fill: &dyn Fn(&mut Page)| {
        let mut page = Page::default();
        fill(&mut page);
        mirror.apply(&page, &end(1, seq, seq)).unwrap();
    };
    // 3 corrects 2 that corrects 1; 4 corrects somebody else's.
    let all = [amendment(3, 2, 3), amendment(2, 1, 2), amendment(4, 9, 4), record(1, 1, 1), record(9, 8, 9)];
    let put_one = |n: u8, of: &RecordDocument| {
        bring(n.into(), &|page| put(page, Collection::Records, of.id, n.into(), of));
    };
    let expected: [&[u8]; 5] = [&[3], &[3, 2], &[4, 3, 2], &[4], &[4]];
    for ((n, record), expected) in (1..).zip(&all).zip(expected) {
        put_one(n, record);
        assert_eq!(held(), expected, "after {n}");
    }
    bring(6, &|page| bury(page, Collection::Records, all[3].id, 6));
    assert_eq!(held(), [4, 3, 2], "what it corrects has gone");
    put_one(7, &all[3]);
    assert_eq!(held(), [4], "and has come again");
    let itself = amendment(8, 8, 8);
    put_one(8, &itself);
    let read = mirror.threads(&permit(FACILITY), PatientId::from_bytes([1; 16]), part(9, 9)).unwrap();
    assert_eq!(read.threads[0].root, itself, "what says that it corrects itself is shown");
    assert_eq!(held(), [4]);
}

#[test]
fn what_an_earlier_agent_wrote_is_found_as_it_belongs() {
    let kiosk = Kiosk::new();
    let earlier = kiosk.earlier(6);
    for (seq, it) in (1..).zip([record(1, 1, 1), amendment(2, 1, 2), amendment(3, 2, 3), amendment(4, 99, 4)])
    {
        let body = serde_json::to_vec(&it).unwrap();
        let put = "INSERT INTO documents (collection, id, seq, pass, patient, recorded_at, body)
            VALUES (6, ?, ?, 1, ?, ?, ?)";
        let patient = it.patient_id.as_bytes();
        let row = rusqlite::params![it.id.as_bytes(), seq, patient, it.recorded_at.as_millis(), body];
        earlier.execute(put, row).unwrap();
    }
    for (seq, it) in (5..).zip([review(1, 1, true), review(2, 1, false)]) {
        let put = "INSERT INTO documents (collection, id, seq, pass, body) VALUES (7, ?, ?, 1, ?)";
        let body = serde_json::to_vec(&it).unwrap();
        earlier.execute(put, rusqlite::params![it.id.as_bytes(), seq, body]).unwrap();
    }
    // One whose body a dying disk altered keeps no other back.
    let altered = "INSERT INTO documents (collection, id, seq, pass, body) VALUES (6, ?, 9, 1, x'7b')";
    earlier.execute(altered, [[9_u8; 16]]).unwrap();
    drop(earlier);
    let mirror = kiosk.open();
    assert_eq!(mirror.open_reviews(&permit(FACILITY), 9).unwrap(), [review(1, 1, true)]);
    let closed = mirror.closed_review_of(&permit(FACILITY), RecordId::from_bytes([1; 16])).unwrap();
    assert_eq!(closed, Some(review(2, 1, false)));
    let read = mirror.threads(&permit(FACILITY), PatientId::from_bytes([1; 16]), part(9, 9)).unwrap();
    let [thread] = read.threads.as_slice() else { panic!("{read:?}") };
    assert_eq!((&thread.root, thread.amendments.len()), (&record(1, 1, 1), 2));
    assert_eq!(read.held, [amendment(4, 99, 4)]);
}

#[test]
fn open_reviews_come_oldest_first_and_closed_ones_not() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut page = Page::default();
    let all = [review(1, 1, true), review(2, 2, false), review(3, 1, false), review(4, 2, true)];
    for (seq, review) in (1..).zip(&all) {
        put(&mut page, Collection::Reviews, review.id, seq, review);
    }
    mirror.apply(&page, &end(1, 4, 4)).unwrap();
    let numbers = |reviews: Vec<ReviewDocument>| -> Vec<u8> {
        reviews.into_iter().map(|review| review.id.as_bytes()[0]).collect()
    };
    let here = permit(FACILITY);
    assert_eq!(numbers(mirror.open_reviews(&here, 9).unwrap()), [1, 4]);
    assert_eq!(numbers(mirror.open_reviews(&here, 1).unwrap()), [1]);
    assert!(mirror.open_reviews(&permit(NEIGHBOR), 9).is_err());
    page.clear();
    put(&mut page, Collection::Reviews, all[0].id, 5, &review(1, 1, false));
    mirror.apply(&page, &end(1, 5, 5)).unwrap();
    assert_eq!(numbers(mirror.open_reviews(&here, 9).unwrap()), [4]);
}
