//! Records leave the feed when they are old, and what somebody still needs does not.

mod cut;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use carepost_protocol::record::{RecordDocument, ReviewDocument, ReviewKind};
use carepost_protocol::wire::older::{Cut, OlderPlace, OlderRecords};
use carepost_protocol::wire::pull::Archived;

use super::merging::head;
use super::stolen::documents as documents_of;
use super::*;
use crate::store::engine::params;

const DAY: i64 = 24 * 3_600;

impl World {
    /// Archives all that is older than 90 days, in portions of two; says how many portions it took.
    async fn archive(&self, tenant: &Tenant) -> usize {
        for portion in 1.. {
            let job = |tx: &Tx<'_>| archive::archive(tx, 90, 2);
            if !self.store.write(AccessScope::Facility(tenant.facility), job).await.unwrap() {
                return portion;
            }
        }
        0
    }

    async fn chart(&self, tenant: &Tenant, kiosk: &mut Kiosk) -> RecordId {
        let at = self.now();
        let change = kiosk.vitals(tenant, 72, at);
        self.send(kiosk, change).await
    }

    async fn correct(&self, tenant: &Tenant, kiosk: &mut Kiosk, record: RecordId) -> RecordId {
        let change = kiosk.correction(tenant, record, 74, self.now());
        self.send(kiosk, change).await
    }

    async fn send(&self, kiosk: &mut Kiosk, change: Change) -> RecordId {
        let made = change.recorded_at;
        let receipt = self.push(kiosk, &[change]).await.unwrap();
        assert_ne!(receipt.verdicts[0].verdict, Verdict::Rejected, "{receipt:?}");
        kiosk.made(kiosk.sent, made)
    }

    /// The records of the feed, in its order, and its mark.
    async fn feed(&self, tenant: &Tenant) -> (Vec<RecordId>, Option<Archived>) {
        let page = self.store.facility(&tenant.facility).page(after(None, 10_000)).await.unwrap();
        let text = String::from_utf8(page.lines).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let records = lines.filter(|line| line["collection"] == "records");
        let ids = records.map(|line| line["id"].as_str().unwrap().parse().unwrap()).collect();
        (ids, page.end.archived)
    }

    async fn chart_of(&self, tenant: &Tenant) -> BTreeSet<RecordId> {
        let store = self.store.facility(&tenant.facility);
        let records = store.records(&may_read(tenant), tenant.patient, None, 1_000).await.unwrap().items;
        records.into_iter().map(|record| record.id).collect()
    }

    async fn older(&self, tenant: &Tenant, view: View, after: Option<OlderPlace>) -> OlderRecords {
        let asked = OlderRequest { view, patient: tenant.patient, after };
        let page = self.store.facility(&tenant.facility).older_records(asked).await.unwrap();
        let records = page.records.iter().filter_map(|body| serde_json::from_str(body.get()).ok());
        OlderRecords { records: records.collect(), cut: page.cut, next: page.next }
    }

    /// Keeps a record that has left the feed with another body.
    async fn archived_as(
        &self,
        tenant: &Tenant,
        id: RecordId,
        other: impl FnOnce(String) -> String + Send + 'static,
    ) {
        let change = move |tx: &Tx<'_>| {
            let sql = "SELECT patient_id, thread_id, made_at, body FROM archive WHERE id = ?1";
            let (patient, thread, made_at, body): (PatientId, RecordId, Timestamp, String) =
                tx.first(sql, params![id])?.unwrap();
            tx.execute("DELETE FROM archive WHERE id = ?1", params![id])?;
            tx.execute(
                "INSERT INTO archive (id, patient_id, thread_id, made_at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id, patient, thread, made_at, other(body)],
            )
        };
        self.store.write(AccessScope::Facility(tenant.facility), change).await.unwrap();
    }

    /// Puts other bodies of records at the end of the feed.
    async fn write_over(&self, tenant: &Tenant, bodies: Vec<(RecordId, String)>) {
        let patient = tenant.patient;
        let write = move |tx: &Tx<'_>| {
            for (id, body) in bodies {
                feed_writer::put(tx, Collection::Records, id.as_bytes(), Some(patient), Some(&body))?;
            }
            Ok(())
        };
        self.store.write(AccessScope::Facility(tenant.facility), write).await.unwrap();
    }
}

fn ids(records: &[RecordDocument]) -> Vec<RecordId> {
    records.iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn old_records_leave_in_portions_and_stay_in_the_chart() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let mut old = Vec::new();
    for _ in 0..5 {
        old.push(world.chart(&tenant, &mut kiosk).await);
    }
    assert_eq!(world.feed(&tenant).await, (old.clone(), None));
    world.pass(60 * DAY);
    let young = world.chart(&tenant, &mut kiosk).await;
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0.len(), 6, "nothing is old yet");
    world.pass(31 * DAY);
    let before = world.store.facility(&tenant.facility).page(after(None, 10_000)).await.unwrap().end;
    assert_eq!(world.archive(&tenant).await, 3);
    let (records, mark) = world.feed(&tenant).await;
    assert_eq!(records, [young]);
    let mark = mark.unwrap();
    assert_eq!(mark.before, world.now().plus_millis(-90 * DAY * 1_000));
    // A stream that was at the head is told, though no document moved.
    let asked = PageRequest { was_at_head: true, ..after(Some(before.cursor), 10) };
    let told = world.store.facility(&tenant.facility).page(asked).await.unwrap();
    assert_eq!((documents(&told), told.end.archived), (0, Some(mark)));
    assert_eq!(told.end.digests.keys().collect::<Vec<_>>(), ["records"]);
    assert_eq!(told.end.digests["records"].count, 1);
    let all: BTreeSet<_> = old.iter().copied().chain([young]).collect();
    assert_eq!(world.chart_of(&tenant).await, all);
    assert_eq!(world.archive(&tenant).await, 1, "nothing more is old");
    assert_eq!(world.feed(&tenant).await.1, Some(mark), "and nothing moves");
}

#[tokio::test]
async fn no_clock_of_a_device_says_what_is_old() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    for made in ["1970-01-01T00:00:00Z", "2099-12-31T23:59:59Z"] {
        let change = kiosk.vitals(&tenant, 72, made.parse().unwrap());
        world.send(&mut kiosk, Change { clock_quality: ClockQuality::Unset, ..change }).await;
    }
    // One that was made 99 days ago, on a kiosk that was cut off.
    world.pass(100 * DAY);
    let late = kiosk.vitals(&tenant, 72, world.now().plus_millis(-99 * DAY * 1_000));
    let late = world.send(&mut kiosk, late).await;
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [late], "it came a moment ago, and is news");
    world.pass(89 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [late]);
    world.pass(2 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
    // In the chart what is from the future counts as made when it came.
    let older = world.older(&tenant, View::Full, None).await.records;
    let years: Vec<_> = older.iter().map(|record| record.recorded_at.to_string()[..4].to_owned()).collect();
    assert_eq!(years, ["2026", "2099", "1970"]);
}

#[tokio::test]
async fn a_time_of_the_server_that_has_not_come_yet_keeps_nothing_for_ever() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    world.chart(&tenant, &mut kiosk).await;
    world.pass(10_000 * DAY);
    world.chart(&tenant, &mut kiosk).await;
    world.pass(-10_000 * DAY);
    world.chart(&tenant, &mut kiosk).await;
    world.pass(91 * DAY);
    let young = world.chart(&tenant, &mut kiosk).await;
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [young]);
}

#[tokio::test]
async fn a_record_stays_as_long_as_what_corrects_it() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let root = world.chart(&tenant, &mut kiosk).await;
    world.pass(1);
    let alone = world.chart(&tenant, &mut kiosk).await;
    world.pass(50 * DAY);
    let first = world.correct(&tenant, &mut kiosk, root).await;
    let second = world.correct(&tenant, &mut kiosk, first).await;
    world.pass(41 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [root, first, second], "{alone} went");
    // From then on it is old when all of it is.
    world.pass(89 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0.len(), 3);
    world.pass(2 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
    let older = world.older(&tenant, View::Full, None).await.records;
    assert_eq!(ids(&older), [alone, root, second, first], "what corrects comes with what it corrects");
}

#[tokio::test]
async fn a_correction_brings_its_record_back_with_all_that_corrects_it() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let root = world.chart(&tenant, &mut kiosk).await;
    let first = world.correct(&tenant, &mut kiosk, root).await;
    let alone = world.chart(&tenant, &mut kiosk).await;
    world.pass(100 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
    // About somebody else: rejected, and nothing moves.
    let bea = kiosk.admission(&tenant, json!({"name": "Bea"}), world.now());
    let bea = world.send(&mut kiosk, bea).await;
    let wrong = Change { patient: Some(bea.into()), ..kiosk.correction(&tenant, alone, 75, world.now()) };
    let receipt = world.push(&mut kiosk, &[wrong]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Rejected, Some(RejectionCode::UnknownTarget))]);
    assert_eq!(world.feed(&tenant).await.0, []);
    let second = kiosk.correction(&tenant, root, 76, world.now());
    let receipt = world.push(&mut kiosk, &[second]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Merged, None)], "there are two now, side by side");
    let second = kiosk.made(kiosk.sent, world.now());
    assert_eq!(world.feed(&tenant).await.0, [root, first, second]);
    assert_eq!(ids(&world.older(&tenant, View::Full, None).await.records), [alone]);
    assert_eq!(world.chart_of(&tenant).await.len(), 4);
    // The review is open: the records that it shows stay, however long that takes.
    world.pass(400 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [root, first, second]);
    let reviews = world
        .store
        .facility(&tenant.facility)
        .reviews(&may_read(&tenant), Some(true), None, 1_000)
        .await
        .unwrap()
        .items;
    assert_eq!((reviews[0].kind, &reviews[0].others), (ReviewKind::Amendments, &vec![first, second]));
    let saw = head(&world, &tenant).await;
    let close = kiosk.decision(&tenant, reviews[0].id, saw, json!({}), world.now());
    world.send(&mut kiosk, close).await;
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
}

#[tokio::test]
async fn closed_reviews_leave_as_records_do_and_stay_with_the_office() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let store = world.store.facility(&tenant.facility);
    let listed = async |open| {
        let found = store.reviews(&may_read(&tenant), open, None, 1_000).await.unwrap().items;
        found.into_iter().map(|review| review.id).collect::<Vec<_>>()
    };
    let in_feed = async || {
        let page = store.page(after(None, 10_000)).await.unwrap();
        let reviews: Vec<(u64, ReviewDocument)> =
            documents_of(&world, &tenant.facility, Collection::Reviews).await;
        assert_eq!(page.end.digests["reviews"].count, reviews.len() as u64);
        reviews.len()
    };
    for _ in 0..3 {
        let root = world.chart(&tenant, &mut kiosk).await;
        world.correct(&tenant, &mut kiosk, root).await;
        world.correct(&tenant, &mut kiosk, root).await;
        world.pass(1);
    }
    let [third, second, first] = listed(Some(true)).await[..] else { panic!("three are open") };
    for review in [first, second] {
        let saw = head(&world, &tenant).await;
        let close = kiosk.decision(&tenant, review, saw, json!({}), world.now());
        world.send(&mut kiosk, close).await;
        world.pass(50 * DAY);
    }
    world.archive(&tenant).await;
    assert_eq!(in_feed().await, 2, "one was closed 100 days ago");
    world.pass(50 * DAY);
    world.archive(&tenant).await;
    assert_eq!(in_feed().await, 1, "what is open stays");
    assert_eq!(listed(None).await, [third, second, first], "the office has them all");
    assert_eq!(listed(Some(true)).await, [third]);
    assert_eq!(listed(Some(false)).await, [second, first]);
    // A kiosk that was cut off closes one of them once more: it is news again, and closed as it was.
    let late = kiosk.decision(&tenant, first, 99, json!({}), world.now());
    world.send(&mut kiosk, late).await;
    assert_eq!(in_feed().await, 2);
    assert_eq!(listed(Some(false)).await, [first, second]);
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    assert_eq!((in_feed().await, listed(Some(false)).await.len()), (1, 2));
}

#[tokio::test]
async fn a_record_whose_correction_was_rejected_waits_for_it() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let record = world.chart(&tenant, &mut kiosk).await;
    let rejected = kiosk.correction(&tenant, record, 5, world.now());
    let receipt = world.push(&mut kiosk, &[rejected]).await.unwrap();
    assert_eq!(receipt.verdicts[0].verdict, Verdict::Rejected);
    for _ in 0..3 {
        world.pass(91 * DAY);
        world.archive(&tenant).await;
        assert_eq!(world.feed(&tenant).await.0, [record]);
    }
    let again = Change { supersedes: Some(kiosk.sent), ..kiosk.correction(&tenant, record, 75, world.now()) };
    let corrected = world.send(&mut kiosk, again).await;
    assert_eq!(world.feed(&tenant).await.0, [record, corrected]);
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
}

/// What is corrected must never stand in a mirror without its correction: it would look as if it counted.
#[tokio::test]
async fn a_correction_that_came_first_does_not_leave_first() {
    let (world, tenant, [mut kiosk, mut other]) = World::with_kiosks().await;
    let root = kiosk.made(1, world.now());
    let correction = other.correction(&tenant, root, 74, world.now());
    let correction = world.send(&mut other, correction).await;
    for _ in 0..3 {
        world.chart(&tenant, &mut other).await;
    }
    assert_eq!(world.chart(&tenant, &mut kiosk).await, root);
    world.pass(91 * DAY);
    loop {
        let job = |tx: &Tx<'_>| archive::archive(tx, 90, 1);
        let more = world.store.write(AccessScope::Facility(tenant.facility), job).await.unwrap();
        let (records, _) = world.feed(&tenant).await;
        assert!(!records.contains(&root) || records.contains(&correction), "{records:?}");
        if !more {
            break;
        }
    }
    assert_eq!(world.feed(&tenant).await.0, [root, correction], "in their order, and for the last time");
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
}

/// What a portion puts back counts as well, however little of it was due.
#[tokio::test]
async fn large_corrections_of_three_old_records_are_more_than_a_portion() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let mut roots = Vec::new();
    for _ in 0..3 {
        roots.push(world.chart(&tenant, &mut kiosk).await);
    }
    world.pass(60 * DAY);
    for root in &roots {
        let mut large = Vec::new();
        for _ in 0..3 {
            let id = world.correct(&tenant, &mut kiosk, *root).await;
            large.push((id, json!({"id": id, "note": "x".repeat(250 * 1024)}).to_string()));
        }
        world.write_over(&tenant, large).await;
    }
    world.pass(31 * DAY);
    let job = |tx: &Tx<'_>| archive::archive(tx, 90, archive::PORTION);
    for (more, first) in [(true, roots[2]), (false, roots[0])] {
        let done = world.store.write(AccessScope::Facility(tenant.facility), job).await.unwrap();
        assert_eq!((done, world.feed(&tenant).await.0[0]), (more, first));
    }
}

/// As another version left them: they stay for that one, with what they belong to, and for devices that know them.
#[tokio::test]
async fn records_that_cannot_be_read_hold_up_none_behind_them() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let odd = world.chart(&tenant, &mut kiosk).await;
    let root = world.chart(&tenant, &mut kiosk).await;
    let correction = world.correct(&tenant, &mut kiosk, root).await;
    let plain = world.chart(&tenant, &mut kiosk).await;
    let body = || r#"{"shape":"of no record"}"#.to_owned();
    world.write_over(&tenant, vec![(odd, body()), (correction, body())]).await;
    let access = AccessScope::Facility(tenant.facility);
    for _ in 0..2 {
        world.pass(91 * DAY);
        world.archive(&tenant).await;
        world.store.write(access, |tx| feed_writer::count_on(tx, View::Minimal)).await.unwrap();
        assert_eq!(world.feed(&tenant).await.0, [root, correction, odd]);
        for view in [View::Full, View::Minimal] {
            world.is_counted(&tenant, view).await;
        }
    }
    assert_eq!(ids(&world.older(&tenant, View::Full, None).await.records), [plain]);
    assert_eq!(world.chart_of(&tenant).await, BTreeSet::from([root, plain]), "the office's");
    // A device that is sent less is sent none of their bodies: what it has of them goes.
    let asked = PageRequest { view: View::Minimal, ..after(None, 1_000) };
    let page = world.store.facility(&tenant.facility).page(asked).await.unwrap();
    let text = String::from_utf8(page.lines).unwrap();
    let is_gone = |line: &str| line.contains("\"deleted\":true");
    let gone = |id: RecordId| text.lines().any(|line| is_gone(line) && line.contains(&id.to_string()));
    assert!(gone(odd) && gone(correction) && !gone(root), "{text}");
    assert!(page.end.reaches_head() && page.end.digests["records"].count == 1);
}

#[tokio::test]
async fn a_record_with_a_flood_of_corrections_keeps_no_room() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let root = world.chart(&tenant, &mut kiosk).await;
    let flood: Vec<_> = (0..120).map(|n| kiosk.correction(&tenant, root, 40 + n % 60, world.now())).collect();
    world.push(&mut kiosk, &flood).await.unwrap();
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [], "also with an open review of it");
    let one = world.correct(&tenant, &mut kiosk, root).await;
    assert_eq!(world.feed(&tenant).await.0, [one], "and one more does not bring them back");
    let older = world.older(&tenant, View::Full, None).await;
    assert_eq!((older.records[0].id, older.records.len()), (root, 101), "the latest of them show");
    assert_eq!(older.cut, [Cut { record: root, corrected: Vec::new() }], "and that there are more");
}

#[tokio::test]
async fn a_facility_says_how_long_its_window_is_and_what_left_stays_away() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let first = world.chart(&tenant, &mut kiosk).await;
    world.pass(10 * DAY);
    let second = world.chart(&tenant, &mut kiosk).await;
    world.pass(25 * DAY);
    let window = |days| FacilityPatch { record_days: Some(days), ..FacilityPatch::default() };
    let facility = tenant.facility.facility();
    let changed = registry.audited(event(&world)).update_facility(facility, window(Some(30))).await.unwrap();
    assert_eq!(changed.record_days, Some(30));
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [second], "{first} went");
    registry.audited(event(&world)).update_facility(facility, window(Some(3_650))).await.unwrap();
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, [second]);
    let changed = registry.audited(event(&world)).update_facility(facility, window(None)).await.unwrap();
    assert_eq!(changed.record_days, None);
}

#[tokio::test]
async fn older_records_come_page_by_page_each_once_and_as_the_view_shows_them() {
    let world = World::new();
    let (tenant, other) = (world.tenant("alpha").await, world.tenant("beta").await);
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let mut charted = Vec::new();
    for n in 0..45 {
        // Many are made in one moment.
        charted.push(world.chart(&tenant, &mut kiosk).await);
        world.pass(i64::from(n % 7 == 0));
    }
    world.pass(91 * DAY);
    let young = world.chart(&tenant, &mut kiosk).await;
    world.archive(&tenant).await;
    for view in [View::Full, View::Minimal, View::Free] {
        let (mut place, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = world.older(&tenant, view, place).await;
            pages += 1;
            assert!(page.records.len() <= 20);
            assert!(page.records.iter().all(|record| record.values.is_empty() == (view != View::Full)));
            seen.extend(ids(&page.records));
            place = page.next;
            if place.is_none() {
                break;
            }
        }
        assert_eq!((pages, seen.len()), (3, 45));
        assert_eq!(seen.iter().collect::<BTreeSet<_>>(), charted.iter().collect());
        assert!(!seen.contains(&young), "it is in the mirror");
    }
    // Not to a reader of badges, and not about another facility's.
    let store = world.store.facility(&tenant.facility);
    for (view, patient) in [(View::BadgeReader, tenant.patient), (View::Full, other.patient)] {
        let refused = store.older_records(OlderRequest { view, patient, after: None }).await;
        assert!(matches!(refused, Err(StoreError::NotFound("patient"))), "{refused:?}");
    }
}

/// A kiosk that is sent all counts what it cannot read; who is sent less is sent none of it.
#[tokio::test]
async fn an_older_record_that_cannot_be_read_holds_up_no_page() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let mut charted = Vec::new();
    for _ in 0..25 {
        charted.push(world.chart(&tenant, &mut kiosk).await);
        world.pass(60);
    }
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    let odd = charted.remove(20);
    world.archived_as(&tenant, odd, |_| r#"{"shape":"of no record"}"#.to_owned()).await;
    charted.reverse();
    for (view, sent) in [(View::Full, 20), (View::Minimal, 19)] {
        let asked = OlderRequest { view, patient: tenant.patient, after: None };
        let page = world.store.facility(&tenant.facility).older_records(asked).await.unwrap();
        assert_eq!(page.records.len(), sent);
        let first = world.older(&tenant, view, None).await;
        let rest = world.older(&tenant, view, first.next).await;
        assert_eq!([ids(&first.records), ids(&rest.records)].concat(), charted);
    }
    // Nor one of the office's, though it is the last there.
    let (store, permit) = (world.store.facility(&tenant.facility), may_read(&tenant));
    let first = store.records(&permit, tenant.patient, None, 5).await.unwrap();
    let rest = store.records(&permit, tenant.patient, first.next, 1_000).await.unwrap();
    assert_eq!([ids(&first.items), ids(&rest.items)].concat(), charted);
    assert_eq!((first.left_out, rest.left_out), (1, 0), "and it is said that it is there");
}

#[tokio::test]
async fn older_records_of_two_who_are_one_person_come_as_one_chart() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let bea = kiosk.admission(&tenant, json!({"name": "Bea Example"}), world.now());
    let bea = PatientId::from(world.send(&mut kiosk, bea).await);
    let mut charted = Vec::new();
    for n in 0..30 {
        let patient = Some(if n % 2 == 0 { bea } else { tenant.patient });
        let change = Change { patient, ..kiosk.vitals(&tenant, 72, world.now()) };
        charted.push(world.send(&mut kiosk, change).await);
        world.pass(1);
    }
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.older(&tenant, View::Full, None).await.records.len(), 15);
    let stays = tenant.patient;
    let join = move |tx: &Tx<'_>| patient::replace(tx, bea, stays);
    world.store.write(AccessScope::Facility(tenant.facility), join).await.unwrap();
    let first = world.older(&tenant, View::Full, None).await;
    let rest = world.older(&tenant, View::Full, first.next).await;
    assert_eq!((first.records.len(), rest.next), (20, None));
    charted.reverse();
    assert_eq!([ids(&first.records), ids(&rest.records)].concat(), charted);
}

#[tokio::test]
async fn a_facility_is_looked_after_once_a_day_when_a_device_is_heard() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    world.chart(&tenant, &mut kiosk).await;
    world.pass(91 * DAY);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !world.feed(&tenant).await.0.is_empty() {
        world.store.facility(&tenant.facility).mirror_began(&kiosk.identity);
        assert!(Instant::now() < deadline, "it is not archived");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn near_its_budget_a_device_is_warned_of() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    world.feed(&tenant).await;
    world.chart(&tenant, &mut kiosk).await;
    let registry = world.store.organization(&tenant.organization);
    let held = registry.device(kiosk.identity.device()).await.unwrap().documents;
    assert_eq!(held, 5, "the facility, a nurse, a form, a resident and a record");
    assert_eq!(registry.devices(tenant.facility.facility()).await.unwrap()[0].documents, 5);
    assert_eq!(warning(799, 1_000), None);
    let words = warning(800, 1_000).unwrap();
    for part in ["800", "1000", "max_documents", "record-days"] {
        assert!(words.contains(part), "{words}");
    }
}

#[tokio::test]
async fn a_correction_is_shown_with_what_it_corrects_however_full_the_page_is() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    // The latest ones first: large ones fill the page, and the last that comes onto it was wrong.
    let wrong = world.chart(&tenant, &mut kiosk).await;
    let right = world.correct(&tenant, &mut kiosk, wrong).await;
    world.pass(60);
    let large = world.chart(&tenant, &mut kiosk).await;
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    for (id, most) in [(large, 256 * 1024 - 400), (wrong, 1_000)] {
        let grow = move |body: String| {
            let note = format!("\"values\":{{\"note\":\"{}\",", "x".repeat(most - body.len()));
            body.replace("\"values\":{", &note)
        };
        world.archived_as(&tenant, id, grow).await;
    }
    let shown = world.older(&tenant, View::Full, None).await.records;
    assert_eq!(ids(&shown), [large, wrong, right]);
}

#[tokio::test]
async fn archiving_and_reading_a_chart_look_at_no_other_documents() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    for (index, sql) in [
        ("PRIMARY KEY (facility_id=? AND seq>?)", archive::OLDEST),
        ("documents_by_patient", chart::HELD),
        ("archive_shown", older::THREADS),
        ("archive_by_thread", older::CORRECTIONS_OF),
        ("archive_by_patient", chart::ARCHIVED),
    ] {
        let explain: &'static str = format!("EXPLAIN QUERY PLAN {sql}").leak();
        let steps = world
            .store
            .read(AccessScope::Facility(tenant.facility), move |tx| steps(tx, explain))
            .await
            .unwrap();
        assert!(steps.iter().any(|step| step.contains(index)), "{sql}: {steps:?}");
        for step in steps {
            assert!(!step.starts_with("SCAN") && !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}
