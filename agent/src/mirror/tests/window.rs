//! What has left the server's window leaves the mirror, without a tombstone, and both come to the same.

use super::feed::Feed;
use super::*;

fn records(mirror: &Mirror) -> usize {
    entries(mirror, PatientId::from_bytes([1; 16]), 1_000).len()
}

fn is_sound(mirror: &Mirror) -> bool {
    let mut check = mirror.check().unwrap();
    loop {
        match mirror.check_on(&mut check, Timestamp::EPOCH).unwrap() {
            Slice::More | Slice::Read { sound: true, .. } => {}
            Slice::Read { sound: false, .. } => return false,
            Slice::Done => return true,
        }
    }
}

#[test]
fn a_mirror_that_follows_and_one_that_was_away_for_weeks_drop_the_same() {
    let (followed, away, fresh) = (Kiosk::new(), Kiosk::new(), Kiosk::new());
    let (follower, late, new) = (followed.open(), away.open(), fresh.open());
    let mut feed = Feed::of(3, 20);
    feed.catch_up(&follower);
    feed.catch_up(&late);
    assert_eq!(follower.archived_before().unwrap(), None);
    for round in 0..4 {
        feed.archive(3);
        feed.put(Collection::Records, 30 + round, &record(30 + round, 1, 40));
        feed.catch_up(&follower);
        feed.assert_equal(&follower);
    }
    // 20 and 4 more came; of the 12 oldest, half were put at the end again.
    assert_eq!((records(&follower), records(&late)), (18, 20));
    feed.catch_up(&late);
    feed.catch_up(&new);
    for mirror in [&follower, &late, &new] {
        feed.assert_equal(mirror);
        assert!(is_sound(mirror));
        assert_eq!(mirror.archived_before().unwrap(), Some(Timestamp::from_millis(1)));
        assert_eq!(mirror.agreement().unwrap().refetches, 0, "nothing was fetched again");
    }
}

#[test]
fn nothing_goes_before_what_stays_has_come_again() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(1, 10);
    feed.catch_up(&mirror);
    feed.archive(6);
    let pages = feed.stream(&mirror.beginning().unwrap(), 1);
    for (page, end) in &pages {
        mirror.apply(page, end).unwrap();
        assert!(records(&mirror) == 10 || end.reaches_head(), "a record vanishes and comes back");
    }
    assert_eq!(records(&mirror), 7);
    feed.assert_equal(&mirror);
}

#[test]
fn an_archiving_during_a_pass_ends_in_the_same_copy() {
    for half in 1..8 {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        let mut feed = Feed::of(2, 12);
        feed.catch_up(&mirror);
        // Something is lost; the collection is fetched again, and breaks off half-way.
        mirror
            .writing(|writer| {
                let sql =
                    "DELETE FROM documents WHERE collection = 6 AND id = x'05050505050505050505050505050505'";
                Ok(writer.execute(sql, [])?)
            })
            .unwrap();
        assert!(!is_sound(&mirror));
        for (page, end) in feed.stream(&mirror.beginning().unwrap(), 2).into_iter().take(half) {
            mirror.apply(&page, &end).unwrap();
        }
        feed.archive(5);
        feed.catch_up(&mirror);
        feed.assert_equal(&mirror);
        assert!(is_sound(&mirror));
    }
}

#[test]
fn a_server_that_was_put_back_to_before_the_archiving_gives_the_records_again() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(2, 12);
    let mut backup = feed.clone();
    feed.archive(5);
    feed.catch_up(&mirror);
    assert_eq!(records(&mirror), 9);
    // It says so with a new epoch, or is found out by the digest.
    let mut silent = backup.clone();
    silent.put(Collection::Patients, 9, &patient(9, "New here", None));
    silent.head = feed.head + 1;
    silent.catch_up(&mirror);
    silent.assert_equal(&mirror);
    assert_eq!((records(&mirror), mirror.archived_before().unwrap()), (12, None));
    backup.raise_epoch();
    mirror.refetch().unwrap();
    backup.catch_up(&mirror);
    backup.assert_equal(&mirror);
    assert_eq!((records(&mirror), mirror.archived_before().unwrap()), (12, None));
}

#[test]
fn an_agent_that_knows_no_window_fetches_its_records_again_and_is_equal() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(2, 12);
    feed.catch_up(&mirror);
    feed.archive(5);
    // As it reads the page: what it does not know is left out.
    let mut older = feed.clone();
    older.archived = None;
    older.catch_up(&mirror);
    older.assert_equal(&mirror);
    assert_eq!((records(&mirror), mirror.agreement().unwrap().refetches), (9, 1));
}

/// It has a part in the digest, and no tombstone will name it.
#[test]
fn what_was_stepped_over_leaves_with_the_window_too() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(2, 12);
    feed.catch_up(&mirror);
    feed.spoil(Collection::Records, 1);
    feed.spoil(Collection::Records, 13);
    feed.catch_up(&mirror);
    assert_eq!(mirror.stepped_over().unwrap()[0].count, 2);
    feed.archive(14);
    feed.catch_up(&mirror);
    assert_eq!(mirror.stepped_over().unwrap(), []);
    assert_eq!(mirror.agreement().unwrap().refetches, 0, "nothing was fetched again");
    feed.assert_equal(&mirror);
    assert!(is_sound(&mirror));
}

/// The record is in the feed, in a version that this agent cannot take: the one that it has stays readable,
/// whatever it came by, until the record leaves or is gone.
#[test]
fn the_version_before_one_that_was_stepped_over_stays_as_long_as_that_one() {
    for archived in [true, false] {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        let mut feed = Feed::of(2, 12);
        feed.catch_up(&mirror);
        feed.spoil(Collection::Records, 1);
        feed.catch_up(&mirror);
        feed.archive(6);
        feed.catch_up(&mirror);
        let first = RecordId::from_bytes([1; 16]);
        let held = || mirror.record(&permit(FACILITY), first).unwrap().is_some();
        assert!(held(), "it left with the place that its older version had");
        assert_eq!(mirror.differing().unwrap(), []);
        assert!(is_sound(&mirror));
        if archived {
            feed.archive(12)
        } else {
            feed.bury(Collection::Records, 1)
        }
        feed.catch_up(&mirror);
        assert!(!held());
        assert_eq!(mirror.stepped_over().unwrap(), []);
        feed.assert_equal(&mirror);
        assert!(is_sound(&mirror));
        assert_eq!(mirror.agreement().unwrap().refetches, 0, "nothing was fetched again");
    }
}

/// By an index that has no bodies.
#[test]
fn archived_records_are_found_without_reading_any() {
    let kiosk = Kiosk::new();
    let plan = kiosk.open().reading(|reader| {
        let mut statement = reader.prepare(&format!("EXPLAIN QUERY PLAN {}", schema::DROP_ARCHIVED))?;
        let rows = statement.query_map([6, 1], |row| row.get::<_, String>(3))?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    });
    let plan = plan.unwrap().join("; ");
    assert!(plan.contains("SEARCH documents USING PRIMARY KEY (collection=? AND id=?)"), "{plan}");
    assert!(plan.contains("USING COVERING INDEX documents_by_patient"), "{plan}");
}
