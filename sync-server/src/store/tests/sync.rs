//! Push, pull and group commit.

use std::time::{Duration, Instant};

use carepost_protocol::change::Verdict;
use carepost_protocol::wire::pull::{Cursor, Line};
use carepost_protocol::wire::push::RejectionCode;

use super::*;
use crate::feed::Wake;
use crate::store::engine::params;

async fn feed(world: &World, scope: &FacilityScope) -> Vec<(Collection, u64)> {
    let page = world.store.facility(scope).page(after(None, 2_000)).await.unwrap();
    let text = String::from_utf8(page.lines).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line<'_>>(line).unwrap());
    lines.filter_map(|line| Some((Collection::from_name(&line.collection?)?, line.seq?))).collect()
}

#[tokio::test]
async fn what_one_kiosk_pushes_the_facility_reads_and_nobody_else() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let mut kiosk = world.kiosk(&alpha, 1).await;
    let mut listener = world.store.feeds().listen(alpha.facility.facility(), kiosk.identity.device());
    let changes = [kiosk.vitals(&alpha, 72, world.now()), kiosk.vitals(&alpha, 80, world.now())];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    assert_eq!(receipt.next_n, 3);
    assert_eq!(receipt.verdicts.len(), 1);
    assert_eq!((receipt.verdicts[0].verdict, receipt.verdicts[0].count), (Verdict::Applied, 2));
    assert_eq!(listener.wake().await, Wake::Moved);
    let records = world
        .store
        .facility(&alpha.facility)
        .records(&may_read(&alpha), alpha.patient, None, 10)
        .await
        .unwrap()
        .items;
    assert_eq!(records.iter().map(|record| record.values["pulse"].clone()).collect::<Vec<_>>(), [80, 72]);
    let collections =
        |feed: Vec<(Collection, u64)>| feed.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    use Collection::{Facilities, Patients, Records, Users, Workflows};
    let here = collections(feed(&world, &alpha.facility).await);
    assert_eq!(here, [Facilities, Users, Patients, Workflows, Records, Records]);
    assert_eq!(collections(feed(&world, &beta.facility).await), [Facilities, Users, Patients, Workflows]);
    assert!(
        world
            .store
            .facility(&beta.facility)
            .records(&may_read(&beta), alpha.patient, None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let borrowed =
        world.store.facility(&beta.facility).records(&may_read(&alpha), alpha.patient, None, 10).await;
    assert!(matches!(borrowed, Err(StoreError::NotFound(_))), "a permit is for its own facility");
    let mixed = beta.organization.enter(alpha.facility.facility()).unwrap();
    assert!(matches!(world.store.facility(&mixed).page(after(None, 10)).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn pages_resume_and_foreign_cursors_are_refused() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let store = world.store.facility(&tenant.facility);
    let first = store.page(after(None, 3)).await.unwrap();
    assert_eq!((documents(&first), first.end.reaches_head()), (3, false));
    let second = store.page(after(Some(first.end.cursor), 3)).await.unwrap();
    assert_eq!((documents(&second), second.end.reaches_head()), (1, true));
    let nothing = store.page(after(Some(second.end.cursor), 3)).await.unwrap();
    assert_eq!((documents(&nothing), nothing.end.reaches_head()), (0, true));
    for cursor in [Cursor { epoch: 2, seq: 0 }, Cursor { epoch: 1, seq: 99 }] {
        assert!(matches!(store.page(after(Some(cursor), 3)).await, Err(StoreError::CursorRefused { .. })));
    }
}

#[tokio::test]
async fn sent_twice_is_applied_once_and_a_rejected_change_stays_rejected() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let changes = [
        kiosk.vitals(&tenant, 72, world.now()),
        kiosk.vitals(&tenant, 5, world.now()),
        kiosk.vitals(&tenant, 74, world.now()),
    ];
    let batch = kiosk.batch(&changes);
    let first = batch.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
    let verdicts = |receipt: &PushReceipt| receipt.verdicts.iter().map(|run| run.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts(&first), [Verdict::Applied, Verdict::Rejected, Verdict::Applied]);
    let reason = first.verdicts[1].reason.as_ref().unwrap();
    assert_eq!((reason.code, reason.errors[0].field.as_str()), (RejectionCode::BreaksSchema, "pulse"));
    let again = batch.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
    assert_eq!(verdicts(&again), [Verdict::Duplicate, Verdict::Rejected, Verdict::Duplicate]);
    assert_eq!(again.verdicts[2].seq, first.verdicts[2].seq);
    assert_eq!(again.next_n, 4);
    let records = world
        .store
        .facility(&tenant.facility)
        .records(&may_read(&tenant), tenant.patient, None, 10)
        .await
        .unwrap()
        .items;
    assert_eq!(records.len(), 2);
    // An overlap with something new behind it: the new part applies.
    let longer = [&changes[..], &[kiosk.vitals(&tenant, 75, world.now())]].concat();
    let receipt = world.push(&mut kiosk, &longer).await.unwrap();
    assert_eq!(receipt.next_n, 5);
    assert_eq!(receipt.verdicts.last().unwrap().verdict, Verdict::Applied);
}

#[tokio::test]
async fn gaps_forks_and_forgeries_are_refused_whole() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let change = kiosk.vitals(&tenant, 72, world.now());
    world.push(&mut kiosk, std::slice::from_ref(&change)).await.unwrap();
    let good = kiosk.batch(std::slice::from_ref(&change));

    kiosk.sent += 1;
    let gap = kiosk.batch(std::slice::from_ref(&change));
    kiosk.sent -= 1;
    let refused = gap.send(&world, &tenant.facility, &kiosk.identity).await;
    assert!(matches!(refused, Err(StoreError::ChainBroken { next_n: 2, shared_n: None })), "{refused:?}");

    let before = kiosk.head;
    kiosk.head = Link::from_bytes([9; 32]);
    let forked = kiosk.batch(std::slice::from_ref(&change));
    kiosk.head = before;
    let refused = forked.send(&world, &tenant.facility, &kiosk.identity).await;
    assert!(matches!(refused, Err(StoreError::ChainBroken { next_n: 2, shared_n: Some(0) })), "{refused:?}");

    let other = world.kiosk(&tenant, 2).await;
    let refused = good.send(&world, &tenant.facility, &other.identity).await;
    assert!(matches!(refused, Err(StoreError::BadSignature)), "{refused:?}");
    let edited = Sent { payloads: vec![RawValue::from_string("{}".into()).unwrap()], ..good };
    let refused = edited.send(&world, &tenant.facility, &kiosk.identity).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "head", .. })), "{refused:?}");
    assert_eq!(
        world
            .store
            .facility(&tenant.facility)
            .records(&may_read(&tenant), tenant.patient, None, 10)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn authority_is_judged_as_of_when_the_change_was_made() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let mut kiosk = world.kiosk(&tenant, 1).await;
    world.pass(60);
    let in_time = kiosk.vitals(&tenant, 72, world.now());
    registry.audited(event(&world)).publish_workflow(vitals(100.0)).await.unwrap();
    world.pass(60);
    let gone = UserPatch { is_active: Some(false), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, gone).await.unwrap();
    world.pass(60);
    let too_late = kiosk.vitals(&tenant, 73, world.now());
    let foreign = Change { assignment: AssignmentId::new(world.now(), [9; 10]), ..in_time.clone() };
    let receipt = world.push(&mut kiosk, &[in_time, too_late, foreign]).await.unwrap();
    let codes: Vec<_> = receipt.verdicts.iter().map(|run| run.reason.as_ref().map(|why| why.code)).collect();
    assert_eq!(codes, [None, Some(RejectionCode::NotAuthorized), Some(RejectionCode::WrongAssignment)]);
}

#[tokio::test]
async fn a_night_charted_by_an_absurd_clock_is_taken_and_flagged() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).publish_workflow(vitals(100.0)).await.unwrap();
    let mut kiosk = world.kiosk(&tenant, 1).await;
    world.pass(60);
    let made = |kiosk: &Kiosk, began: Timestamp, recorded_at, clock_quality| Change {
        session: SessionId::new(began, [3; 10]),
        recorded_at,
        clock_quality,
        ..kiosk.vitals(&tenant, 72, world.now())
    };
    let hours = |hours: i64| world.now().plus_millis(hours * 3_600_000);
    let (long_ago, far_ahead) = (Timestamp::EPOCH, "2099-01-01T00:00:00Z".parse().unwrap());
    let (synced, estimated, unset) = (ClockQuality::Synced, ClockQuality::Estimated, ClockQuality::Unset);
    let night = [
        (made(&kiosk, world.now(), world.now(), synced), None),
        (made(&kiosk, long_ago, long_ago, unset), Some("clock_unset")),
        (made(&kiosk, far_ahead, far_ahead, unset), Some("clock_unset")),
        // The floor of a device that stopped before this nurse came here.
        (made(&kiosk, long_ago, long_ago, estimated), Some("clock_unsure")),
        (made(&kiosk, far_ahead, far_ahead, estimated), Some("clock_ahead")),
        (made(&kiosk, hours(2), hours(2), estimated), Some("clock_ahead")),
        // The clock was set right within the session.
        (made(&kiosk, far_ahead, world.now(), synced), None),
        (made(&kiosk, long_ago, world.now(), synced), None),
    ];
    let (changes, expected): (Vec<_>, Vec<_>) = night.into_iter().unzip();
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    assert!(receipt.verdicts.iter().all(|run| run.reason.is_none()), "{:?}", receipt.verdicts);
    assert_eq!(reviews(&world, &tenant).await, expected);

    // Whoever set the clock right within a session that outlived the nurse's role is believed as well;
    // one who never had a role here is not, by no clock.
    let gone = UserPatch { is_active: Some(false), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, gone).await.unwrap();
    world.pass(60);
    let after = [
        made(&kiosk, far_ahead, world.now(), synced),
        made(&kiosk, far_ahead, far_ahead, estimated),
        made(&kiosk, world.now(), world.now(), synced),
        Change { actor: UserId::new(world.now(), [77; 10]), ..made(&kiosk, long_ago, long_ago, unset) },
    ];
    let receipt = world.push(&mut kiosk, &after).await.unwrap();
    let codes: Vec<_> = receipt
        .verdicts
        .iter()
        .flat_map(|run| vec![run.reason.as_ref().map(|why| why.code); usize::try_from(run.count).unwrap()])
        .collect();
    let rejected = Some(RejectionCode::NotAuthorized);
    assert_eq!(codes, [None, None, rejected, rejected]);
    let ended = Some("authority_ended_since");
    assert_eq!(reviews(&world, &tenant).await[8..], [ended, ended, None, None]);
}

/// What is to be reviewed of each change's authority, in their order.
async fn reviews(world: &World, tenant: &Tenant) -> Vec<Option<&'static str>> {
    let words = ["clock_unset", "clock_unsure", "clock_ahead", "authority_ended_since"];
    let read = |tx: &Tx<'_>| tx.all::<Option<String>>("SELECT review FROM changes ORDER BY n", params![]);
    let access = AccessScope::Facility(tenant.facility);
    let found = world.store.write(access, read).await.unwrap();
    let named = |flags: String| words.into_iter().find(|word| flags.split(',').any(|flag| flag == *word));
    found.into_iter().map(|flags| flags.and_then(named)).collect()
}

#[tokio::test]
async fn a_deactivated_device_is_refused_at_once_and_its_stream_ends() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let device = kiosk.identity.device();
    let mut listener = world.store.feeds().listen(tenant.facility.facility(), device);
    world
        .store
        .organization(&tenant.organization)
        .audited(event(&world))
        .deactivate_device(device, Deactivation::Retired)
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), listener.wake()).await;
    assert_eq!(ended, Ok(Wake::Refused));
    let change = kiosk.vitals(&tenant, 72, world.now());
    assert!(matches!(world.push(&mut kiosk, &[change]).await, Err(StoreError::DeviceRevoked)));
    let sha256 = presented(&kiosk.key).sha256;
    let identity = world.store.system().device_by_key(sha256).await.unwrap().unwrap();
    assert_eq!(identity.scope(), None);
}

#[tokio::test]
async fn work_that_fails_or_breaks_off_is_rolled_back_alone() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let facility = tenant.facility.facility();
    let access = AccessScope::Organization(tenant.organization);
    let insert = "INSERT INTO patients (id, facility_id, mrn, name, is_active, created_at)
        VALUES (?1, ?2, ?3, 'Bea Example', 1, 0)";
    // All are sent before any is awaited, so that they meet in one group.
    let work = (0..9_u8).map(|n| {
        world.store.write(access, move |tx| {
            tx.execute(insert, params![[n + 1; 16], facility, format!("G-{n}")])?;
            match n % 3 {
                0 => Ok(()),
                1 => Err(StoreError::NotFound("nothing")),
                _ => tx.savepoint(|_| panic!("breaks off inside a part")),
            }
        })
    });
    let outcomes = futures_util::future::join_all(work).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match n % 3 {
            0 => outcome.unwrap(),
            1 => assert!(matches!(outcome, Err(StoreError::NotFound("nothing")))),
            _ => assert!(matches!(outcome, Err(StoreError::Broken))),
        }
    }
    let patients = world.store.organization(&tenant.organization).all_patients().await.unwrap();
    let mrns: Vec<_> = patients.iter().map(|patient| patient.mrn.as_str()).collect();
    assert_eq!(mrns, ["G-0", "G-3", "G-6", "MRN-1"]);
}

#[tokio::test]
async fn a_reader_never_sees_a_seq_before_a_smaller_one() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let facility = tenant.facility.facility();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..40 {
        let registry = world.store.organization(&tenant.organization).audited(event(&world));
        writers.spawn(async move { registry.create_patient(new_patient(facility, &format!("P-{n}"))).await });
    }
    let (mut cursor, mut seen) = (None, Vec::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.len() < 44 {
        assert!(Instant::now() < deadline, "only {} documents came", seen.len());
        let page = world.store.facility(&tenant.facility).page(after(cursor, 7)).await.unwrap();
        cursor = Some(page.end.cursor);
        let text = String::from_utf8(page.lines).unwrap();
        seen.extend(text.lines().filter_map(|line| serde_json::from_str::<Line<'_>>(line).unwrap().seq));
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, (1..=44).collect::<Vec<_>>());
    while let Some(written) = writers.join_next().await {
        written.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_says_so_and_loses_nothing_acknowledged() {
    let world = World::limited(Some(220));
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let mut kept = 1;
    let refused = loop {
        let mut new = new_patient(tenant.facility.facility(), &format!("P-{kept}"));
        new.fields.extend(object(json!({"name": "Ada ".repeat(400)})));
        match registry.audited(event(&world)).create_patient(new).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 2_000, "the disk never filled");
    };
    assert!(matches!(refused, StoreError::Full), "{refused:?}");
    let system = world.store.system();
    assert!(matches!(system.health().await, Err(StoreError::Full)), "that is no health");
    world.pass(-3_600);
    system.health().await.expect("the clock was set back: nobody waits until it has caught up");
    world.pass(3_660);
    system.health().await.expect("nothing was refused for a minute");
    assert_eq!(registry.all_patients().await.unwrap().len(), kept);
    world.store.close();
    let path = world.directory.path().join("server.db");
    let again = Store::open(&path, &key(), world.ambient.clone()).unwrap();
    assert_eq!(again.organization(&tenant.organization).all_patients().await.unwrap().len(), kept);
}
