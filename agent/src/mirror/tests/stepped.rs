//! A document that cannot be taken holds up none behind it, and is not lost sight of.

use carepost_protocol::wire::heartbeat::{StepReason, SteppedOver};

use super::feed::Feed;
use super::*;

fn over(collection: &str, reason: StepReason, count: u64) -> SteppedOver {
    SteppedOver { collection: collection.to_owned(), reason, count }
}

/// A page that a hostile server might send: whatever is in it, the rest of it is taken.
#[test]
fn whatever_a_feed_brings_what_comes_after_it_is_taken() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let id = |n: u8| RecordId::from_bytes([n; 16]);
    let ada = serde_json::to_string(&patient(9, "Ada", None)).unwrap();
    let lines = [
        r#"{"collection":"patients","id":"not an id","seq":1,"body":{}}"#.to_owned(),
        r#"{"collection":"patients","body":"#.to_owned(),
        format!(r#"{{"collection":"patients","id":"{}","seq":2,"body":{{"name":7}}}}"#, id(1)),
        format!(r#"{{"collection":"reviews","id":"{}","seq":3,"body":[]}}"#, id(2)),
        format!(r#"{{"collection":"users","id":"{}","seq":4}}"#, id(3)),
        format!(r#"{{"collection":"moods","id":"{}","seq":5,"body":{{}}}}"#, id(4)),
        format!(r#"{{"collection":"patients","id":"{}","seq":6,"body":{ada}}}"#, id(9)),
    ];
    let mut page = Page::from_lines(lines.join("\n").as_bytes()).unwrap();
    let huge = Over { reason: StepReason::TooLarge, bytes: 9_000_000, element: None };
    page.step_over("records", id(5), 7, huge).unwrap();
    page.step_over("moods", id(6), 8, huge).unwrap();
    assert_eq!(mirror.apply(&page, &end(1, 8, 8)).unwrap(), Applied::Advanced);
    assert_eq!(names(&mirror), ["Ada"]);
    assert_eq!(mirror.cursor().unwrap(), Some(Cursor { epoch: 1, seq: 8 }));
    let found = [
        over("moods", StepReason::UnknownCollection, 1),
        over("patients", StepReason::NotUnderstood, 1),
        over("records", StepReason::TooLarge, 1),
        over("reviews", StepReason::NotUnderstood, 1),
        over("users", StepReason::NotUnderstood, 1),
    ];
    assert_eq!(mirror.stepped_over().unwrap(), found);
    // It is told once, also when it comes again.
    let untold = mirror.untold_steps().unwrap();
    assert_eq!(untold.len(), 5);
    assert_eq!((untold[2].first_seq, untold[2].most_bytes), (7, 9_000_000));
    mirror.told_steps(&untold).unwrap();
    mirror.apply(&page, &end(1, 8, 8)).unwrap();
    assert_eq!(mirror.untold_steps().unwrap(), []);
    assert_eq!(mirror.stepped_over().unwrap(), found);
}

/// The digest has what was stepped over, so that nothing is fetched again for it; what was here before
/// stays readable.
#[test]
fn what_was_stepped_over_is_accounted_for_and_taken_when_it_can_be() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(4, 3);
    feed.catch_up(&mirror);
    feed.spoil(Collection::Patients, 2);
    feed.spoil(Collection::Patients, 8);
    feed.spoil(Collection::Records, 1);
    feed.catch_up(&mirror);
    assert_eq!(mirror.differing().unwrap(), [], "it is equal, less what is named");
    assert_eq!(mirror.agreement().unwrap().refetches, 0);
    assert_eq!(
        mirror.stepped_over().unwrap(),
        [over("patients", StepReason::NotUnderstood, 2), over("records", StepReason::NotUnderstood, 1)]
    );
    assert_eq!(names(&mirror), ["Resident 1", "Resident 2", "Resident 3", "Resident 4"]);
    // The background check finds it as it should be, and still finds what should not be.
    let altered = |mirror: &Mirror| {
        let mut check = mirror.check().unwrap();
        let mut altered = Vec::new();
        loop {
            match mirror.check_on(&mut check, Timestamp::EPOCH).unwrap() {
                Slice::Read { collection, sound: false } => altered.push(collection),
                Slice::More | Slice::Read { .. } => {}
                Slice::Done => return altered,
            }
        }
    };
    assert_eq!(altered(&mirror), []);

    // A newer version that it can take, and a tombstone.
    feed.put(Collection::Patients, 2, &patient(2, "Renamed", None));
    feed.bury(Collection::Patients, 8);
    feed.catch_up(&mirror);
    assert_eq!(mirror.stepped_over().unwrap(), [over("records", StepReason::NotUnderstood, 1)]);
    assert_eq!(names(&mirror), ["Resident 1", "Resident 3", "Resident 4", "Renamed"]);
    feed.put(Collection::Records, 1, &record(1, 1, 9));
    feed.catch_up(&mirror);
    assert_eq!(mirror.stepped_over().unwrap(), []);
    feed.assert_equal(&mirror);
    assert_eq!(altered(&mirror), []);
}

/// Its collection is fetched again, all of it, and once more: it is stepped over each time, and gone once
/// the server has it no more.
#[test]
fn a_pull_from_the_beginning_meets_it_again() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(3, 2);
    feed.spoil(Collection::Patients, 2);
    feed.catch_up(&mirror);
    assert_eq!(names(&mirror), ["Resident 1", "Resident 3"]);
    mirror.told_steps(&mirror.untold_steps().unwrap()).unwrap();
    for _ in 0..2 {
        mirror.refetch().unwrap();
        feed.catch_up(&mirror);
        assert_eq!(mirror.stepped_over().unwrap(), [over("patients", StepReason::NotUnderstood, 1)]);
        assert_eq!(mirror.untold_steps().unwrap(), []);
    }
    feed.bury(Collection::Patients, 2);
    feed.raise_epoch();
    mirror.refetch().unwrap();
    feed.catch_up(&mirror);
    assert_eq!(mirror.stepped_over().unwrap(), []);
    feed.assert_equal(&mirror);
}

/// Another version of the agent may take what this one could not: it asks for it.
#[test]
fn another_agent_has_it_sent_again() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(3, 2);
    feed.spoil(Collection::Patients, 2);
    feed.catch_up(&mirror);
    assert_eq!(mirror.beginning().unwrap().refetch, []);
    drop(mirror);
    assert_eq!(kiosk.open().beginning().unwrap().refetch, [], "the same agent asks for nothing");
    let older = "UPDATE state SET agent = '0.0.1'";
    kiosk.open().writing(|writer| Ok(writer.execute(older, [])?)).unwrap();
    let mirror = kiosk.open();
    assert_eq!(mirror.beginning().unwrap().refetch, [Collection::Patients]);
    // As if this one understood it: what comes again is taken.
    let known = patient(2, "Known now", None);
    feed.put(Collection::Patients, 2, &known);
    feed.catch_up(&mirror);
    assert_eq!(mirror.stepped_over().unwrap(), []);
    feed.assert_equal(&mirror);
}

/// It was restarted as another version while it was to pull everything anyway: one pull is enough.
#[test]
fn another_agent_that_pulls_everything_has_nothing_sent_twice() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(3, 2);
    feed.spoil(Collection::Patients, 2);
    feed.catch_up(&mirror);
    mirror.refetch().unwrap();
    mirror.writing(|writer| Ok(writer.execute("UPDATE state SET agent = '0.0.1'", [])?)).unwrap();
    drop(mirror);
    let mirror = kiosk.open();
    // What the server has no more is swept at the end of that pull.
    feed.put(Collection::Patients, 2, &patient(2, "Known now", None));
    feed.bury(Collection::Patients, 3);
    feed.raise_epoch();
    for (page, end) in feed.stream(&mirror.beginning().unwrap(), 3) {
        mirror.apply(&page, &end).unwrap();
    }
    assert_eq!(mirror.beginning().unwrap().refetch, []);
    feed.assert_equal(&mirror);
    assert_eq!(mirror.stepped_over().unwrap(), []);
}
