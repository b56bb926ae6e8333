//! Work that could take long is done in portions, each a commit that is whole by itself: others write in between.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use carepost_protocol::device::DeviceState;
use carepost_protocol::digest::Digest;
use carepost_protocol::record::{FacilityDocument, Resolved, ReviewDocument, ReviewKind, UserDocument};
use carepost_protocol::wire::heartbeat::Settlement;

use super::book::Book;
use super::bounds::push_all;
use super::stolen::{documents, keys};
use super::*;
use crate::feed::Wake;
use crate::store::engine::params;
use crate::store::{IdempotencyState, IdempotentRequest};

/// A batch is taken in portions. Whoever breaks off after one of them finds the chain whole, and goes on.
#[tokio::test]
async fn a_batch_that_breaks_off_between_two_portions_is_taken_up_where_it_was_left() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    for round in 0..2_u64 {
        let changes: Vec<Change> = (0..900).map(|_| kiosk.vitals(&tenant, 70, world.now())).collect();
        let sent = kiosk.batch(&changes);
        let batch = sent.check(&kiosk.identity);
        let access = AccessScope::Facility(tenant.facility);
        let taken = world.store.write(access, move |tx| push::apply(tx, batch)).await.unwrap();
        let push::Taken { receipt, rest, documents } = taken;
        let taken = receipt.next_n - 1 - round * 900;
        assert!(rest.is_some() && taken > 0 && taken < 900 && documents == taken, "{taken}: {documents}");
        // The server stops here.
        drop(rest);
        assert!(world.verified().is_whole(), "{:?}", world.verified());

        let receipt = sent.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
        let again = verdicts(&receipt);
        let known = again.iter().filter(|(verdict, _)| *verdict == Verdict::Duplicate).count();
        assert_eq!((known as u64, again.len(), receipt.verdicts.len()), (taken, 900, 2), "each once");
        assert_eq!(receipt.next_n, (round + 1) * 900 + 1);
        assert!(world.verified().is_whole(), "{:?}", world.verified());
        (kiosk.sent, kiosk.head) = (kiosk.sent + 900, sent.head);
    }
    let (store, permit) = (world.store.facility(&tenant.facility), may_read(&tenant));
    assert_eq!(store.records(&permit, tenant.patient, None, 10_000).await.unwrap().items.len(), 1_800);
}

/// By the store's own clock, which goes on by a millisecond here with each look at it, and so with each change.
#[tokio::test]
async fn no_portion_of_a_batch_takes_longer_than_fifty_milliseconds() {
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let kiosk = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let changes: Vec<Change> = (0..900).map(|_| kiosk.vitals(&tenant, 70, now)).collect();
    let mut left = Some(kiosk.batch(&changes).check(&kiosk.identity));
    let mut portions = 0;
    while let Some(batch) = left {
        let began = world.clock.load(Ordering::SeqCst);
        let access = AccessScope::Facility(tenant.facility);
        let taken = world.store.write(access, move |tx| push::apply(tx, batch)).await.unwrap();
        let took = world.clock.load(Ordering::SeqCst) - began;
        assert!(took <= 50, "{took} ms");
        (left, portions) = (taken.rest, portions + 1);
    }
    assert!(portions >= 900 / 50, "{portions}");
}

/// Each look at the clock costs a millisecond here, so that a group's time is over after some forty changes. By their
/// number alone they would be one portion.
#[tokio::test]
async fn another_organizations_push_is_answered_while_a_long_one_goes_on() {
    let world = World::ticking();
    let (loud, quiet) = (world.tenant("loud").await, world.tenant("quiet").await);
    let mut flood = world.kiosk(&loud, 1).await;
    let mut kiosk = world.kiosk(&quiet, 2).await;
    let now = world.now();
    let many: Vec<Change> =
        (0..500).map(|_| flood.admission(&loud, json!({"name": "Bea Example"}), now)).collect();
    let mut moved = world.store.feeds().listen(loud.facility.facility(), flood.identity.device());
    let one = kiosk.vitals(&quiet, 70, now);
    let (flooded, answered) = tokio::join!(
        async {
            let receipt = world.push(&mut flood, &many).await.unwrap();
            (verdicts(&receipt).len(), Instant::now())
        },
        async {
            // The first portion is durable.
            assert_eq!(moved.wake().await, Wake::Moved);
            let receipt = world.push(&mut kiosk, &[one]).await.unwrap();
            assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
            Instant::now()
        }
    );
    assert_eq!(flooded.0, 500);
    assert!(answered < flooded.1, "the quiet one waited for all of the flood");
}

/// What had depended on a rejected change is judged again in portions, each with an event of its own.
#[tokio::test]
async fn many_that_depended_on_a_rejected_change_follow_in_portions() {
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let registry = world.store.organization(&tenant.organization);
    let carl = world.hire(&tenant, "carl", Role::Family).await;
    let now = world.now();
    let bea = PatientId::from(kiosk.made(1, now));
    let admission = kiosk.admission(&tenant, json!({"name": "Bea Example"}), now);
    let mut changes = vec![Change { actor: carl, ..admission }];
    changes.extend((0..400).map(|_| Change { patient: Some(bea), ..kiosk.vitals(&tenant, 72, now) }));
    push_all(&world, &mut kiosk, &changes).await;
    let promoted = move |tx: &Tx<'_>| {
        let sql = "UPDATE user_terms SET from_at = 0, role = 'rn' WHERE user_id = ?1";
        tx.execute(sql, params![carl])
    };
    world.store.write(AccessScope::Organization(tenant.organization), promoted).await.unwrap();
    let audited = registry.audited(AuditEvent { resource_type: "change".into(), ..event(&world) });
    let again = audited.retry_change(kiosk.identity.device(), kiosk.named(1)).await.unwrap();
    assert_eq!((again.change.settlement, again.followed), (Some(Settlement::Applied), 400));
    let told =
        registry.audit_events(AuditQuery { limit: 1_000, ..AuditQuery::default() }).await.unwrap().items;
    let followed: Vec<u64> =
        told.iter().filter_map(|event| event.event.details.get("followed").and_then(Value::as_u64)).collect();
    assert!(followed.len() > 5, "{followed:?}");
    assert_eq!(followed.iter().sum::<u64>(), 400);
}

/// Where that breaks off after the first portion, the change stands, and its key says that it was done.
#[tokio::test]
async fn a_change_that_stands_is_answered_as_that_though_what_depended_on_it_breaks_off() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let (carl, now) = (world.hire(&tenant, "carl", Role::Family).await, world.now());
    let bea = PatientId::from(kiosk.made(1, now));
    let admission = kiosk.admission(&tenant, json!({"name": "Bea Example"}), now);
    let about_bea = Change { patient: Some(bea), ..kiosk.vitals(&tenant, 72, now) };
    push_all(&world, &mut kiosk, &[Change { actor: carl, ..admission }, about_bea]).await;
    let promoted = move |tx: &Tx<'_>| {
        let sql = "UPDATE user_terms SET from_at = 0, role = 'rn' WHERE user_id = ?1";
        tx.execute(sql, params![carl])
    };
    world.store.write(AccessScope::Organization(tenant.organization), promoted).await.unwrap();
    let request = IdempotentRequest { id: [3; 16], request_sha256: [4; 32] };
    let mut draws = 0;
    let again = loop {
        let audited = registry.audited(AuditEvent { user_id: Some(tenant.nurse), ..event(&world) });
        world.draws.store(draws, Ordering::SeqCst);
        let again =
            audited.idempotent(Some(request)).retry_change(kiosk.identity.device(), kiosk.named(1)).await;
        world.draws.store(i64::MAX, Ordering::SeqCst);
        match again {
            Err(StoreError::NoRandomness) => draws += 1,
            again => break again.unwrap(),
        }
    };
    assert_eq!((again.change.settlement, again.followed), (Some(Settlement::Applied), 0));
    let state = world.store.system().idempotency_state(request, None).await.unwrap();
    assert_eq!(state, IdempotencyState::Done(None));
}

/// A portion ends with a number. Two incarnations of a device may have given it to different entries.
#[tokio::test]
async fn what_two_lives_gave_one_number_follows_in_one_portion() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let carl = world.hire(&tenant, "carl", Role::Family).await;
    let now = world.now();
    let bea = PatientId::from(kiosk.made(1, now));
    let admission = kiosk.admission(&tenant, json!({"name": "Bea Example"}), now);
    let entry = Change { patient: Some(bea), ..kiosk.vitals(&tenant, 72, now) };
    let mut first = Book::new(&kiosk, Lane::Care);
    first.write(&Change { actor: carl, ..admission });
    // Of those that wait, the first portion ends with number 251.
    for _ in 0..250 {
        first.write(&entry);
    }
    first.push(&world, &kiosk, 1..=251).await.unwrap();
    let mut second = first.forked(20, 250, 0);
    second.write(&entry);
    second.push(&world, &kiosk, 251..=251).await.unwrap();
    let promoted = move |tx: &Tx<'_>| {
        let sql = "UPDATE user_terms SET from_at = 0, role = 'rn' WHERE user_id = ?1";
        tx.execute(sql, params![carl])
    };
    world.store.write(AccessScope::Organization(tenant.organization), promoted).await.unwrap();
    let retried = registry.audited(event(&world)).retry_change(kiosk.identity.device(), kiosk.named(1)).await;
    assert_eq!(retried.unwrap().followed, 251);
}

/// A rejected change is settled once: the walk ends at one that is settled.
#[tokio::test]
async fn a_chain_of_corrections_that_is_settled_is_not_walked_again() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    // 1 is rejected; 2 to 1,500 each try to correct the one before, and are rejected.
    let wrong = |n: u64| Change {
        supersedes: (n > 1).then_some(n - 1),
        record: (n > 1).then(|| kiosk.made(1, now)),
        ..kiosk.vitals(&tenant, 1, now)
    };
    let changes: Vec<Change> = (1..=1_500).map(wrong).collect();
    let right = Change { supersedes: Some(1_500), ..wrong(2) };
    let right = Change { fields: json!({"pulse": 70}).as_object().unwrap().clone(), ..right };
    let found = push_all(&world, &mut kiosk, &changes).await;
    assert!(found.iter().all(|verdict| *verdict == Verdict::Rejected));
    assert_eq!(push_all(&world, &mut kiosk, &[right]).await, [Verdict::Applied]);
    let left = world
        .store
        .facility(&tenant.facility)
        .rejected_changes(&may_read(&tenant), None, 1_000)
        .await
        .unwrap()
        .items;
    assert_eq!(left.len(), 500, "a thousand are settled with it, and the rest waits for a person");
}

/// A view is counted in portions, and writes that come in between are in it.
#[tokio::test]
async fn a_view_is_counted_while_others_write() {
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let many: Vec<Change> = (0..300).map(|_| kiosk.vitals(&tenant, 70, now)).collect();
    push_all(&world, &mut kiosk, &many).await;
    let access = AccessScope::Facility(tenant.facility);
    let mut portions = 0;
    loop {
        let counted = world.store.write(access, move |tx| {
            feed_writer::count_on(tx, View::Minimal)?;
            let sql = "SELECT digested, counted_to FROM feeds";
            tx.first::<(u64, u64)>(sql, params![])
        });
        let (digested, to) = counted.await.unwrap().unwrap();
        portions += 1;
        if digested & View::Minimal.bit() != 0 {
            break;
        }
        assert!(to > 0);
        // One who is counted already moves to the end, and something new comes.
        let edit = kiosk.edit(&tenant, tenant.patient, 99_999, json!({"room": format!("{to}")}), now);
        let new = kiosk.vitals(&tenant, 71, now);
        world.push(&mut kiosk, &[edit, new]).await.unwrap();
    }
    assert!(portions > 3, "{portions}");
    world.is_counted(&tenant, View::Minimal).await;
}

impl World {
    /// The digests of a view that is counted are those of what it sends.
    pub(super) async fn is_counted(&self, tenant: &Tenant, view: View) {
        let compared = self.store.read(AccessScope::Facility(tenant.facility), move |tx| {
            let mut whole = std::collections::BTreeMap::<_, Digest>::new();
            let sql = "SELECT collection, id, seq, body FROM documents WHERE body IS NOT NULL";
            let rows: Vec<(Collection, [u8; 16], u64, String)> = tx.all(sql, params![])?;
            for (collection, id, seq, body) in rows {
                if let Some(element) = view.element(collection, &id, seq, &body) {
                    whole.entry(collection).or_default().add(element);
                }
            }
            let mut counted = feed_writer::digests(tx, view)?;
            counted.retain(|_, digest| digest.count > 0);
            Ok((whole, counted))
        });
        let (whole, counted) = compared.await.unwrap();
        assert_eq!(whole, counted);
    }
}

/// The PINs that a lost device held are marked so, and seven days later taken out of the feed.
#[tokio::test]
async fn the_pins_of_many_are_marked_and_withheld_in_portions() {
    const USERS: usize = 100;
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let elsewhere =
        registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    let hired = world.hire_many(&tenant, USERS).await;
    let count = async |which: fn(&UserDocument) -> bool| {
        let users: Vec<(u64, UserDocument)> = documents(&world, &tenant.facility, Collection::Users).await;
        users.iter().filter(|(_, user)| which(user)).count()
    };
    let marked = async || count(|user| user.pin_exposed_at.is_some()).await;
    assert_eq!(world.begin_with_lost(&tenant).await.pins, USERS as u64);
    let (mut before, mut portions) = (0, 0);
    while keys(&world, &tenant).await.is_empty() {
        assert!(world.go_on_with_lost(&tenant).await);
        let after = marked().await;
        assert!(after - before <= 40, "{after} after {before}");
        (before, portions) = (after, portions + 1);
        if portions == 1 {
            // Whoever leaves before it is her turn takes no unmarked PIN along.
            assert!(after < USERS);
            let left = *hired.last().unwrap();
            let patch = UserPatch { facility_id: Some(Some(elsewhere)), ..UserPatch::default() };
            let left = registry.audited(event(&world)).update_user(left, patch).await.unwrap();
            assert!(left.pin_exposed_at.is_some());
        }
    }
    assert!(portions > USERS / 40 && before == USERS - 1, "{before} in {portions}");

    world.pass(7 * 24 * 3_600);
    // On the next day all of them are withheld already, and each is looked at nevertheless.
    for sent in [USERS - 1, 0] {
        let (mut before, mut place, mut portions) = (sent, None, 0);
        loop {
            let behind = place.take();
            let withhold = move |tx: &Tx<'_>| organization::withhold_expired_pins(tx, behind);
            place = world.store.write(AccessScope::Facility(tenant.facility), withhold).await.unwrap();
            let after = count(|user| user.pin_verifier.is_some()).await;
            assert!(before - after <= 40, "{after} after {before}");
            (before, portions) = (after, portions + 1);
            if place.is_none() {
                break;
            }
        }
        assert!(portions > USERS / 40 && before == 0, "{before} in {portions}");
    }
    assert_eq!(marked().await, USERS - 1);
}

/// Whoever left before it was lost is in no scope of the facility: what breaks off goes on with the next report.
#[tokio::test]
async fn others_write_while_the_pins_of_those_who_left_are_marked() {
    const USERS: usize = 100;
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let kiosk = world.kiosk(&tenant, 1).await;
    let registry = world.store.organization(&tenant.organization);
    let elsewhere =
        registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    for id in world.hire_many(&tenant, USERS).await {
        let patch = UserPatch { facility_id: Some(Some(elsewhere)), ..UserPatch::default() };
        registry.audited(event(&world)).update_user(id, patch).await.unwrap();
    }
    let scope = tenant.organization.enter(elsewhere).unwrap();
    let marked = async || {
        let users: Vec<(u64, UserDocument)> = documents(&world, &scope, Collection::Users).await;
        users.iter().filter(|(_, user)| user.pin_exposed_at.is_some()).count()
    };
    let report =
        || registry.audited(event(&world)).deactivate_device(kiosk.identity.device(), Deactivation::Lost);
    {
        let mut broken_off = pin!(report());
        while marked().await == 0 {
            assert!(step(broken_off.as_mut()).await.is_pending());
            world.store.write(AccessScope::Nothing, |_| Ok(())).await.unwrap();
        }
    }
    let before = marked().await;
    assert!(before <= 40, "{before}");
    let mut again = pin!(report());
    while marked().await == before {
        assert!(step(again.as_mut()).await.is_pending());
        world.store.write(AccessScope::Nothing, |_| Ok(())).await.unwrap();
    }
    // Who is given another PIN meanwhile keeps it.
    let users: Vec<(u64, UserDocument)> = documents(&world, &scope, Collection::Users).await;
    let (_, given) = users.iter().find(|(_, user)| user.pin_exposed_at.is_none()).unwrap();
    world.set_pin(&tenant, given.id, "bmV3").await;
    let (again, _) = world.in_jobs(again).await;
    assert_eq!((again.unwrap().exposed, marked().await), (None, USERS - 1));
    let (_, told) = keys(&world, &tenant).await.pop().unwrap();
    assert_eq!(told.keys.len(), 1, "one key was laid over");
}

/// Whoever asked for it is told what it came to.
#[tokio::test]
async fn a_loss_that_is_written_is_no_error_where_nothing_goes_on_behind_it() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let device = kiosk.identity.device();
    let mut report = pin!(registry.audited(event(&world)).deactivate_device(device, Deactivation::Lost));
    while registry.device(device).await.unwrap().state != DeviceState::Revoked {
        assert!(step(report.as_mut()).await.is_pending());
        world.store.write(AccessScope::Nothing, |_| Ok(())).await.unwrap();
    }
    world.store.close();
    assert!(report.await.unwrap().exposed.is_some());
}

/// Reviews that are closed, and behind them records: as many as there are of a day's.
#[tokio::test]
async fn what_is_old_leaves_the_feed_while_others_write() {
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let many: Vec<Change> = (0..100).map(|_| kiosk.vitals(&tenant, 70, now)).collect();
    push_all(&world, &mut kiosk, &many).await;
    let (access, by, patient) = (AccessScope::Facility(tenant.facility), tenant.nurse, tenant.patient);
    let close = move |tx: &Tx<'_>| {
        let mut feed = feed_writer::FeedEnd::open(tx)?;
        for _ in 0..100 {
            let review = ReviewDocument {
                id: ReviewId::new(now, tx.random()?),
                kind: ReviewKind::Amendments,
                patient_id: patient,
                collection: Collection::Records,
                record: RecordId::new(now, tx.random()?),
                fields: Vec::new(),
                others: Vec::new(),
                more: 0,
                opened_at: now,
                resolved: Some(Resolved { by, at: now }),
            };
            review::put(tx, &mut feed, &review)?;
        }
        feed.close(tx)
    };
    world.store.write(access, close).await.unwrap();
    world.pass(91 * 24 * 3_600);
    for portions in 1.. {
        let began = world.clock.load(Ordering::SeqCst);
        let job = |tx: &Tx<'_>| archive::archive(tx, 90, archive::PORTION);
        let more = world.store.write(access, job).await.unwrap();
        let took = world.clock.load(Ordering::SeqCst) - began;
        assert!(took <= 50, "{took} ms");
        if !more {
            assert!(portions >= 200 / 50, "{portions}");
            break;
        }
    }
    for which in [Collection::Records, Collection::Reviews] {
        assert!(documents::<Value>(&world, &tenant.facility, which).await.is_empty(), "{which:?}");
    }
    world.is_counted(&tenant, View::Full).await;
}

/// A restore is one transaction, and nobody waits for it: its time is over at once, and all is done nevertheless. What
/// is written to a feed in one go has one time.
#[tokio::test]
async fn a_restore_does_in_one_go_what_was_begun_for_a_lost_device() {
    const USERS: usize = 100;
    let mut world = World::ticking();
    let tenant = world.tenant("alpha").await;
    world.hire_many(&tenant, USERS).await;
    assert_eq!(world.begin_with_lost(&tenant).await.pins, USERS as u64);
    let (path, copy) = (world.file("server.db"), world.file("copy.db"));
    backup(&path, &key(), &world.ambient, &copy).unwrap();
    world.store.close();
    restore(&path, &key(), &world.ambient, &copy).unwrap();
    world.store = Store::open(&path, &key(), world.ambient.clone()).unwrap();
    let users: Vec<(u64, UserDocument)> = documents(&world, &tenant.facility, Collection::Users).await;
    assert_eq!(users.iter().filter(|(_, user)| user.pin_exposed_at.is_some()).count(), USERS);
    let times = |tx: &Tx<'_>| {
        let sql = "SELECT count(DISTINCT written_at) FROM documents WHERE collection = 'users'";
        tx.first::<u64>(sql, params![])
    };
    let times = world.store.read(AccessScope::Facility(tenant.facility), times).await.unwrap().unwrap();
    assert!(times <= 2, "theirs, and that of who has no PIN: {times}");
}

impl World {
    /// Users of a tenant's facility, each with a PIN.
    async fn hire_many(&self, tenant: &Tenant, many: usize) -> Vec<UserId> {
        let here = tenant.facility.facility();
        let hire = move |tx: &Tx<'_>| {
            let hired = (0..many).map(|n| {
                let pin_verifier = Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned());
                let new = NewUser { pin_verifier, ..new_user(&format!("nurse{n}"), Role::Rn, Some(here)) };
                organization::insert_user(tx, &new)
            });
            hired.collect::<Result<Vec<_>, _>>()
        };
        self.store.write(AccessScope::Organization(tenant.organization), hire).await.unwrap()
    }

    /// Does what may take long, one step for each job that it sends the writer, and somebody else writes behind each:
    /// how many jobs. None takes longer than a portion, by the store's own clock.
    async fn in_jobs<T>(&self, long: impl Future<Output = T>) -> (T, usize) {
        let mut long = pin!(long);
        for jobs in 0.. {
            let began = self.clock.load(Ordering::SeqCst);
            if let Poll::Ready(done) = step(long.as_mut()).await {
                return (done, jobs);
            }
            let clock = Arc::clone(&self.clock);
            let turn = self.store.write(AccessScope::Nothing, move |_| Ok(clock.load(Ordering::SeqCst)));
            let took = turn.await.unwrap() - began;
            assert!(took <= 50, "{took} ms");
        }
        unreachable!("it goes on without end")
    }
}

/// One step of work, up to where it waits.
pub(super) async fn step<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await
}

/// What concerns every facility of an organization, or all of its forms, however many there are.
#[tokio::test]
async fn others_write_while_a_form_a_name_or_all_forms_reach_the_feeds() {
    const MANY: usize = 60;
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let found = async |name: &str| {
        registry.audited(event(&world)).create_facility(new_facility(name)).await.unwrap().id
    };
    for n in 1..MANY {
        found(&format!("House {n}")).await;
    }
    let publish = async |n: usize| {
        let (key, label) = (format!("vitals_{n}"), format!("Vitals {n}"));
        let form = Workflow { key, label, ..vitals(20.0) };
        registry.audited(event(&world)).publish_workflow(form).await.unwrap();
    };
    let ((), jobs) = world.in_jobs(publish(1)).await;
    assert!(jobs > 3, "{jobs}");
    for n in 2..=MANY {
        publish(n).await;
    }
    let (_, jobs) = world.in_jobs(found("Hillside")).await;
    assert!(jobs > 3, "{jobs}");
    let renamed = OrganizationPatch { name: Some("Beta Care".into()), ..OrganizationPatch::default() };
    let renaming = registry.audited(event(&world)).update_organization(renamed);
    let (renamed, jobs) = world.in_jobs(renaming).await;
    assert!(renamed.is_ok() && jobs > 3, "{jobs}: {renamed:?}");

    let facilities = registry.facilities().await.unwrap();
    assert_eq!(facilities.len(), MANY + 1);
    for facility in facilities {
        let scope = tenant.organization.enter(facility.id).unwrap();
        let forms: Vec<(u64, Workflow)> = documents(&world, &scope, Collection::Workflows).await;
        assert_eq!(forms.len(), MANY + 1, "{}", facility.name);
        assert_eq!(shown(&world, &scope).await, "Beta Care");
    }
}

/// What a facility's kiosks show as the organization's name.
async fn shown(world: &World, scope: &FacilityScope) -> String {
    let mut own: Vec<(u64, FacilityDocument)> = documents(world, scope, Collection::Facilities).await;
    own.pop().unwrap().1.organization_name
}

#[tokio::test]
async fn a_new_name_that_broke_off_on_its_way_is_there_when_a_device_is_heard() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let rename = || {
        let renamed = OrganizationPatch { name: Some("Beta Care".into()), ..OrganizationPatch::default() };
        registry.audited(event(&world)).update_organization(renamed)
    };
    assert!(step(pin!(rename())).await.is_pending(), "and no further");
    let named = async || (registry.organization().await.unwrap().name, shown(&world, &tenant.facility).await);
    world.store.write(AccessScope::Nothing, |_| Ok(())).await.unwrap();
    assert_eq!(named().await, ("Beta Care".to_owned(), "alpha Care".to_owned()));
    // The same name again is none that is new.
    let head = async || world.store.facility(&tenant.facility).page(after(None, 1)).await.unwrap().end.head;
    let before = head().await;
    rename().await.unwrap();
    assert_eq!(head().await, before);
    let deadline = Instant::now() + Duration::from_secs(60);
    while shown(&world, &tenant.facility).await != "Beta Care" {
        world.store.facility(&tenant.facility).mirror_began(&kiosk.identity);
        assert!(Instant::now() < deadline, "it is not in the feed");
        tokio::task::yield_now().await;
    }
}
