//! A mirror is proven equal, or fetched again.

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::wire::heartbeat::{MirrorState, StepReason, SteppedOver};

use super::feed::Feed;
use super::*;

/// What happens to a file behind the mirror's back.
fn meddle(kiosk: &Kiosk, sql: &str) -> usize {
    kiosk.file(schema::MIGRATIONS).execute(sql, []).unwrap()
}

/// Checks everything: the collections that are not as they were written.
fn altered(mirror: &Mirror) -> Vec<Collection> {
    let mut check = mirror.check().unwrap();
    let mut altered = Vec::new();
    loop {
        match mirror.check_on(&mut check, Timestamp::EPOCH).unwrap() {
            Slice::More | Slice::Read { sound: true, .. } => {}
            Slice::Read { collection, sound: false } => altered.push(collection),
            Slice::Done => return altered,
        }
    }
}

fn told(mirror: &Mirror) -> Vec<(Collection, bool, FoundBy)> {
    let untold = mirror.untold().unwrap();
    mirror.told(&untold).unwrap();
    untold.into_iter().map(|finding| (finding.collection, finding.mended, finding.found_by)).collect()
}

const EDIT: &str =
    "UPDATE documents SET body = CAST(replace(CAST(body AS TEXT), 'Resident 2', 'Resident X') AS BLOB)
    WHERE CAST(body AS TEXT) LIKE '%Resident 2%'";
const DELETE: &str =
    "DELETE FROM documents WHERE collection = 5 AND id = x'02020202020202020202020202020202'";
const ADD: &str = "INSERT INTO documents SELECT 5, x'aabbccddaabbccddaabbccddaabbccdd', seq, pass, patient,
    recorded_at, lookup, body, element, amends, is_held FROM documents WHERE id = x'02020202020202020202020202020202' AND collection = 5";
const MOVE: &str = "UPDATE documents SET patient = x'09090909090909090909090909090909' WHERE collection = 6";
const HANG: &str = "UPDATE documents SET amends = x'09090909090909090909090909090909' WHERE collection = 6";

#[test]
fn an_honest_mirror_is_proven_equal() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(9, 30);
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    feed.put(Collection::Patients, 3, &patient(3, "Renamed", None));
    feed.bury(Collection::Patients, 4);
    feed.bury(Collection::Patients, 200);
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    assert_eq!(altered(&mirror), []);
    assert_eq!(told(&mirror), []);
    assert_eq!(mirror.agreement().unwrap().refetches, 0);
}

#[test]
fn a_row_edited_deleted_or_added_behind_its_back_is_found_and_mended() {
    for (deed, of) in [
        (EDIT, Collection::Patients),
        (DELETE, Collection::Patients),
        (ADD, Collection::Patients),
        (MOVE, Collection::Records),
        (HANG, Collection::Records),
    ] {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        let feed = Feed::of(5, 3);
        feed.catch_up(&mirror);
        assert!(meddle(&kiosk, deed) > 0, "{deed}");
        assert_eq!(altered(&mirror), [of], "{deed}");
        assert_eq!(told(&mirror), [(of, false, FoundBy::Check)]);
        assert_eq!(mirror.agreement().unwrap().differs, [of.name()]);
        assert_eq!(mirror.beginning().unwrap().refetch, [of]);
        assert!(mirror.is_complete(of).unwrap(), "what is here stays readable");
        assert_eq!(altered(&mirror), [], "it is being fetched: nothing to check");
        feed.catch_up(&mirror);
        feed.assert_equal(&mirror);
        assert_eq!(altered(&mirror), []);
        assert_eq!(told(&mirror), [(of, true, FoundBy::Server)]);
        assert_eq!(told(&mirror), []);
        let agreement = mirror.agreement().unwrap();
        assert_eq!((agreement.differs.len(), agreement.refetches), (0, 1));
    }
}

#[test]
fn what_the_device_cannot_see_itself_shows_at_the_head() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(5, 3);
    feed.catch_up(&mirror);
    // A resident lost with the digest to match: a write that the disk forgot, say.
    let lost = "UPDATE collections SET count = 4, sum = (
        SELECT sum FROM collections WHERE collection = 7) WHERE collection = 5";
    assert_eq!(meddle(&kiosk, lost), 1);
    feed.put(Collection::Records, 9, &record(9, 1, 9));
    for (page, end) in feed.stream(&mirror.beginning().unwrap(), 9) {
        mirror.apply(&page, &end).unwrap();
    }
    assert_eq!(told(&mirror), [(Collection::Patients, false, FoundBy::Server)]);
    assert_eq!(mirror.beginning().unwrap().refetch, [Collection::Patients]);
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    assert_eq!(told(&mirror), [(Collection::Patients, true, FoundBy::Server)]);
}

#[test]
fn what_still_differs_waits_for_patience() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let feed = Feed::of(5, 3);
    feed.catch_up(&mirror);
    let mut wrong = feed.clone();
    wrong.put(Collection::Patients, 6, &patient(6, "Never sent", None));
    // A server whose digest is of something else than what it sends.
    let stream = |mirror: &Mirror| {
        for (page, mut end) in feed.stream(&mirror.beginning().unwrap(), 9) {
            let digest = wrong.digest(Collection::Patients);
            end.digests.entry("patients".to_owned()).and_modify(|theirs| *theirs = digest);
            mirror.apply(&page, &end).unwrap();
        }
    };
    stream(&mirror);
    assert_eq!(mirror.beginning().unwrap().refetch, [Collection::Patients]);
    for tries in 1..4 {
        assert_eq!(mirror.agreement().unwrap().refetches, tries);
        stream(&mirror);
        assert_eq!(mirror.beginning().unwrap().refetch, [], "not in a loop");
        assert_eq!(mirror.differing().unwrap().len(), 1);
        assert!(mirror.refetch_differing().unwrap());
        assert!(!mirror.refetch_differing().unwrap(), "it is asked for");
    }
    assert_eq!(told(&mirror), [(Collection::Patients, false, FoundBy::Server)], "once");
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    assert!(!mirror.refetch_differing().unwrap());
}

#[test]
fn a_refetch_that_breaks_off_goes_on_at_the_next_start() {
    let kiosk = Kiosk::new();
    let mut mirror = kiosk.open();
    let mut feed = Feed::of(12, 3);
    feed.catch_up(&mirror);
    meddle(&kiosk, DELETE);
    meddle(
        &kiosk,
        ADD.replace("x'02020202020202020202020202020202'", "x'03030303030303030303030303030303'").as_str(),
    );
    assert_eq!(altered(&mirror), [Collection::Patients]);
    for pages in 0..4 {
        let stream = feed.stream(&mirror.beginning().unwrap(), 3);
        for (page, end) in stream.iter().take(pages) {
            mirror.apply(page, end).unwrap();
        }
        // As a killed process leaves it.
        std::mem::forget(mirror);
        mirror = kiosk.open();
        assert_eq!(mirror.beginning().unwrap().refetch, [Collection::Patients]);
        assert!(names(&mirror).len() >= 11, "nobody vanishes meanwhile");
        feed.put(Collection::Patients, 1, &patient(1, &format!("Moved {pages} times"), None));
        feed.bury(Collection::Patients, 12 - u8::try_from(pages).unwrap());
    }
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
}

#[test]
fn an_epoch_change_in_the_middle_of_a_refetch_pulls_everything() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(12, 3);
    feed.catch_up(&mirror);
    meddle(&kiosk, EDIT);
    assert_eq!(altered(&mirror), [Collection::Patients]);
    let (first, end) = feed.stream(&mirror.beginning().unwrap(), 3).swap_remove(0);
    mirror.apply(&first, &end).unwrap();
    feed.bury(Collection::Patients, 7);
    feed.raise_epoch();
    let beginning = mirror.beginning().unwrap();
    let (page, end) = feed.stream(&beginning, 3).swap_remove(0);
    assert!(matches!(mirror.apply(&page, &end), Err(MirrorError::OtherEpoch { ours: 1, theirs: 2 })));
    mirror.refetch().unwrap();
    assert_eq!(mirror.beginning().unwrap(), Beginning { cursor: None, proof: None, refetch: Vec::new() });
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
}

#[test]
fn a_mirror_of_an_earlier_agent_stays_readable_and_is_fetched_again() {
    let kiosk = Kiosk::new();
    let feed = Feed::of(3, 1);
    let earlier = kiosk.file(&schema::MIGRATIONS[..1]);
    let own = "INSERT INTO state (one, organization, facility, epoch, seq, pass, swept) VALUES (1, ?, ?, 1, 4, 3, 3)";
    earlier.execute(own, rusqlite::params![ORGANIZATION.as_bytes(), FACILITY.as_bytes()]).unwrap();
    let stale = serde_json::to_vec(&patient(1, "Resident 1", None)).unwrap();
    let put = "INSERT INTO documents (collection, id, seq, pass, body) VALUES (5, ?, 1, 3, ?)";
    earlier.execute(put, rusqlite::params![[1_u8; 16], stale]).unwrap();
    earlier.execute_batch("INSERT INTO collections VALUES (1), (2), (3), (4), (5), (6)").unwrap();
    drop(earlier);

    let mirror = kiosk.open();
    assert_eq!(names(&mirror), ["Resident 1"]);
    assert!(mirror.is_complete(Collection::Patients).unwrap());
    assert!(!mirror.is_complete(Collection::Reviews).unwrap(), "these were left out before");
    assert_eq!(mirror.beginning().unwrap().refetch.len(), 7);
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    assert_eq!(told(&mirror), [], "nobody is told of a difference");
    assert_eq!(mirror.agreement().unwrap().refetches, 0);
}

#[test]
fn what_a_newer_server_sends_besides_is_left_alone() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let id = PatientId::from_bytes([1; 16]);
    let body = format!(
        r#"{{"id":"{id}","mrn":"M1","mood": {{"of":[1.50]}},"name":"Bea Longfellow","room":"10","is_active":true}}"#
    );
    let lines = [
        r#"{"collection":"diagnoses","id":"one of them","seq":1,"body":{"code":"Z00"}}"#.to_owned(),
        format!(r#"{{"seq":2,"shelf":9,"collection":"patients","id":"{id}","body":{body},"photo":null}}"#),
        r#"{"collection":"diagnoses","id":"another","seq":3,"deleted":true}"#.to_owned(),
    ];
    let mut digest = Digest::default();
    digest.add(Element::of(Collection::Patients, id.as_bytes(), 2, body.as_bytes()));
    let digest = serde_json::to_value(digest).unwrap();
    let end = serde_json::json!({
        "cursor": {"epoch": 1, "seq": 3, "shard": 7}, "head": 3, "server_time": Timestamp::from_millis(3_600_000), "weather": "rain",
        "digests": {"patients": digest, "diagnoses": digest}, "refetched": ["diagnoses"],
    });
    let page = Page::from_lines(lines.join("\n").as_bytes()).unwrap();
    let end: PageEnd = serde_json::from_value(end).unwrap();
    assert_eq!(mirror.apply(&page, &end).unwrap(), Applied::Advanced);
    assert_eq!(names(&mirror), ["Bea Longfellow"]);
    assert_eq!(mirror.cursor().unwrap(), Some(Cursor { epoch: 1, seq: 3 }));
    let diagnoses =
        SteppedOver { collection: "diagnoses".to_owned(), reason: StepReason::UnknownCollection, count: 1 };
    let agreement = MirrorState { stepped_over: vec![diagnoses], ..MirrorState::default() };
    assert_eq!(mirror.agreement().unwrap(), agreement, "equal to the byte, unknown members too");
}
