//! What a lost device sent is taken out again.

use crate::store::engine::params;
use std::time::Duration;

use carepost_protocol::record::RecordDocument;
use carepost_protocol::role::ManagePatients;

use super::*;
use crate::store::{IdempotencyState, IdempotentRequest};

pub(super) fn may_manage(tenant: &Tenant) -> Permit<ManagePatients> {
    let actor = Actor {
        user: UserId::new(Timestamp::EPOCH, [1; 10]),
        session: SessionId::new(Timestamp::EPOCH, [1; 10]),
        role: Role::OrgAdmin,
        organization: Some(tenant.organization.organization()),
        facility: None,
    };
    let facility = tenant.facility.facility();
    authorize(&actor, Resource::Facility(tenant.organization.organization(), facility)).unwrap()
}

async fn withdraw(world: &World, tenant: &Tenant, kiosk: &Kiosk, since: Timestamp) -> Withdrawal {
    let registry = world.store.organization(&tenant.organization);
    let audited = registry.audited(event(world));
    audited.withdraw_device(&may_manage(tenant), kiosk.identity.device(), since).await.unwrap()
}

async fn deactivate(world: &World, tenant: &Tenant, kiosk: &Kiosk) {
    let audited = world.store.organization(&tenant.organization).audited(event(world));
    audited.deactivate_device(kiosk.identity.device(), Deactivation::Retired).await.unwrap();
}

/// What a kiosk sends first: a new resident.
async fn admit(world: &World, tenant: &Tenant, kiosk: &mut Kiosk, fields: Value) -> PatientId {
    let now = world.now();
    let admission = kiosk.admission(tenant, fields, now);
    world.push(kiosk, &[admission]).await.unwrap();
    kiosk.made(1, now).into()
}

async fn documents(world: &World, tenant: &Tenant) -> u64 {
    let access = AccessScope::Facility(tenant.facility);
    world.store.read(access, |tx| budget::documents(tx, View::Full)).await.unwrap()
}

#[tokio::test]
async fn a_flood_is_withdrawn_in_portions_each_with_its_event_and_once() {
    const MANY: u64 = 450;
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let (mut lost, before) = (world.kiosk(&tenant, 1).await, documents(&world, &tenant).await);
    let since = world.now();
    let made = world.now();
    // One whose correction came before it, by a device that says what it likes.
    let last = lost.made(MANY + 1, made);
    let mut changes: Vec<_> = (1..MANY).map(|_| lost.vitals(&tenant, 60, made)).collect();
    changes.push(lost.correction(&tenant, last, 61, made));
    changes.push(lost.vitals(&tenant, 62, made));
    world.push(&mut lost, &changes).await.unwrap();
    assert!(documents(&world, &tenant).await > before + MANY);
    let registry = world.store.organization(&tenant.organization);
    let (permit, audited) = (may_manage(&tenant), registry.audited(event(&world)));
    let early = audited.withdraw_device(&permit, lost.identity.device(), since).await;
    assert!(matches!(early, Err(StoreError::Invalid { field: "device_id", .. })), "{early:?}");
    deactivate(&world, &tenant, &lost).await;

    let preview = registry.withdrawal(lost.identity.device(), since).await.unwrap();
    assert_eq!(preview.records, MANY + 1);
    let done = withdraw(&world, &tenant, &lost, since).await;
    assert_eq!(done, Withdrawal { records: MANY + 1, ..Withdrawal::default() });
    assert_eq!(documents(&world, &tenant).await, before);
    let query = AuditQuery { device: Some(lost.identity.device()), limit: 100, ..AuditQuery::default() };
    let events = registry.audit_events(query).await.unwrap().items;
    let portions: Vec<u64> =
        events.iter().filter_map(|it| it.event.details.get("records")?.as_u64()).collect();
    assert!(portions.len() > 2 && portions.iter().sum::<u64>() == MANY + 1, "{portions:?}");
    let again = withdraw(&world, &tenant, &lost, since).await;
    assert_eq!((again, documents(&world, &tenant).await), (Withdrawal::default(), before));
    assert!(world.verified().is_whole(), "{:?}", world.verified());
}

#[tokio::test]
async fn a_withdrawal_that_breaks_off_goes_on_with_the_same_key_and_is_done_with_its_last_portion() {
    const MANY: u64 = 450;
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut lost, since, made) = (world.kiosk(&tenant, 1).await, world.now(), world.now());
    let changes: Vec<_> = (0..MANY).map(|_| lost.vitals(&tenant, 60, made)).collect();
    world.push(&mut lost, &changes).await.unwrap();
    deactivate(&world, &tenant, &lost).await;
    let (registry, permit) = (world.store.organization(&tenant.organization), may_manage(&tenant));
    let (device, request) =
        (lost.identity.device(), IdempotentRequest { id: [3; 16], request_sha256: [4; 32] });
    let audited = || {
        let audited = registry.audited(AuditEvent { user_id: Some(tenant.nurse), ..event(&world) });
        audited.idempotent(Some(request))
    };
    let state = async || world.store.system().idempotency_state(request, None).await.unwrap();
    let left = async || registry.withdrawal(device, since).await.unwrap().records;
    // It breaks off later each time, until the first portion is committed and the second is not.
    let mut draws = 1;
    while left().await == MANY {
        let audited = audited();
        world.draws.store(draws, Ordering::SeqCst);
        let broken = audited.withdraw_device(&permit, device, since).await;
        world.draws.store(i64::MAX, Ordering::SeqCst);
        assert!(matches!(broken, Err(StoreError::NoRandomness)), "{broken:?}");
        draws *= 2;
    }
    let rest = left().await;
    assert!(rest > 0);
    assert_eq!(state().await, IdempotencyState::New, "it is not done");
    let done = audited().withdraw_device(&permit, device, since).await.unwrap();
    assert_eq!((done.records, done.more, left().await), (rest, false, 0));
    assert_eq!(state().await, IdempotencyState::Done(None));
}

#[tokio::test]
async fn what_it_corrected_or_struck_out_of_others_is_as_it_was_and_whom_others_know_stays() {
    let (world, tenant, [mut lost, mut other]) = World::with_kiosks().await;
    let early = lost.made(1, world.now());
    let first = lost.vitals(&tenant, 59, world.now());
    world.push(&mut lost, &[first]).await.unwrap();
    world.pass(60);
    let (since, now) = (world.now(), world.now());
    let hers = other.made(1, now);
    let first = other.vitals(&tenant, 60, now);
    world.push(&mut other, &[first]).await.unwrap();
    let gone = Change {
        entered_in_error: true,
        fields: serde_json::Map::new(),
        ..lost.correction(&tenant, hers, 0, now)
    };
    let changes = [
        gone,
        lost.correction(&tenant, hers, 99, now),
        lost.admission(&tenant, json!({"name": "Ada Example"}), now),
        lost.admission(&tenant, json!({"name": "Ben Example"}), now),
        Change { patient: Some(PatientId::from_bytes([9; 16])), ..lost.vitals(&tenant, 98, now) },
        lost.edit(&tenant, tenant.patient, 1, json!({"room": "12"}), now),
    ];
    world.push(&mut lost, &changes).await.unwrap();
    let [ada, ben] = [4, 5].map(|n| PatientId::from(lost.made(n, now)));
    let about_ben = Change { patient: Some(ben), ..other.vitals(&tenant, 61, now) };
    world.push(&mut other, &[about_ben]).await.unwrap();
    deactivate(&world, &tenant, &lost).await;

    let done = withdraw(&world, &tenant, &lost, since).await;
    let stays = json!([{"what": "edit", "id": tenant.patient}, {"what": "admission", "id": ben}]);
    assert_eq!(serde_json::to_value(&done.stays).unwrap(), stays);
    let counts =
        Withdrawal { records: 2, residents: 1, rejected: 1, left: 1, edits: 1, ..Withdrawal::default() };
    assert_eq!(Withdrawal { stays: Vec::new(), ..done }, counts);
    let registry = world.store.organization(&tenant.organization);
    let active = async |id| registry.patient(id).await.unwrap().is_active;
    assert_eq!((active(ada).await, active(ben).await), (false, true));
    let (store, permit) = (world.store.facility(&tenant.facility), may_read(&tenant));
    let struck = store.struck(&permit, vec![early, hers]).await.unwrap();
    assert!(struck.is_empty(), "{struck:?}");
    let open = store.reviews(&permit, Some(true), None, 10).await.unwrap().items;
    assert!(open.is_empty(), "{open:?}");
    // Whoever corrects hers now corrects it alone.
    let correction = other.correction(&tenant, hers, 62, now);
    let receipt = world.push(&mut other, &[correction]).await.unwrap();
    assert_eq!(receipt.verdicts[0].verdict, Verdict::Applied);
}

async fn older(world: &World, tenant: &Tenant) -> Vec<RecordId> {
    let asked = OlderRequest { view: View::Full, patient: tenant.patient, after: None };
    let page = world.store.facility(&tenant.facility).older_records(asked).await.unwrap();
    let read = page.records.iter().map(|body| serde_json::from_str::<RecordDocument>(body.get()).unwrap());
    read.map(|record| record.id).collect()
}

async fn archive_all(world: &World, tenant: &Tenant) {
    let access = AccessScope::Facility(tenant.facility);
    while world.store.write(access, |tx| archive::archive(tx, 90, 100)).await.unwrap() {}
}

/// A resident's document, where devices have it.
async fn document(world: &World, tenant: &Tenant, id: PatientId) -> Option<String> {
    let read = move |tx: &Tx<'_>| {
        let sql = "SELECT body FROM documents WHERE collection = 'patients' AND id = ?1";
        tx.first(sql, params![id])
    };
    world.store.read(AccessScope::Facility(tenant.facility), read).await.unwrap().flatten()
}

#[tokio::test]
async fn what_is_withdrawn_is_in_the_offices_chart_and_on_no_page_of_a_kiosk_and_on_no_list() {
    let (world, tenant, [mut lost, mut other]) = World::with_kiosks().await;
    let real = other.made(1, world.now());
    let first = other.vitals(&tenant, 60, world.now());
    world.push(&mut other, &[first]).await.unwrap();
    world.pass(91 * 24 * 3_600);
    archive_all(&world, &tenant).await;
    assert_eq!(older(&world, &tenant).await, [real]);
    let (since, now) = (world.now(), world.now());
    let hers = other.made(2, now);
    let second = other.vitals(&tenant, 61, now);
    world.push(&mut other, &[second]).await.unwrap();
    let nowhere = RecordId::from_bytes([8; 16]);
    let mut changes = vec![
        lost.correction(&tenant, hers, 99, now),
        lost.correction(&tenant, nowhere, 99, now),
        Change { patient: Some(PatientId::from_bytes([9; 16])), ..lost.vitals(&tenant, 98, now) },
    ];
    changes.extend((0..25).map(|_| lost.vitals(&tenant, 97, now)));
    world.push(&mut lost, &changes).await.unwrap();
    deactivate(&world, &tenant, &lost).await;
    let false_one = lost.made(1, now);
    let store = world.store.facility(&tenant.facility);
    let permit = may_read(&tenant);
    assert!(!store.flagged_changes(&permit, None, 10).await.unwrap().items.is_empty());
    assert!(!store.rejected_changes(&permit, None, 10).await.unwrap().items.is_empty());

    let _ = withdraw(&world, &tenant, &lost, since).await;
    assert_eq!(older(&world, &tenant).await, [real]);
    let chart = store.records(&permit, tenant.patient, None, 100).await.unwrap().items;
    let (withdrawn, strikes) = (chart.iter().find(|it| it.id == false_one), 27);
    assert!(withdrawn.is_some());
    assert_eq!(chart.iter().filter(|it| it.entered_in_error).count(), strikes);
    let flagged = store.flagged_changes(&permit, None, 10).await.unwrap().items;
    let rejected = store.rejected_changes(&permit, None, 10).await.unwrap().items;
    assert!(flagged.is_empty() && rejected.is_empty(), "{flagged:?} {rejected:?}");
}

#[tokio::test]
async fn whom_others_charted_about_longer_ago_than_records_stay_is_known() {
    let (world, tenant, [mut lost, mut other]) = World::with_kiosks().await;
    let now = world.now();
    let ada = admit(&world, &tenant, &mut lost, json!({"name": "Ada Example"})).await;
    let about_her = Change { patient: Some(ada), ..other.vitals(&tenant, 60, now) };
    world.push(&mut other, &[about_her]).await.unwrap();
    world.pass(91 * 24 * 3_600);
    archive_all(&world, &tenant).await;
    deactivate(&world, &tenant, &lost).await;
    let done = withdraw(&world, &tenant, &lost, now).await;
    assert_eq!((done.residents, done.left), (0, 1));
    assert!(document(&world, &tenant, ada).await.is_some());
}

/// Somebody's, on whose card it is.
const MEDICARE: &str = "1EG4-TE5-MK73";

#[tokio::test]
async fn whom_a_thief_admitted_holds_nobodys_number_and_is_nobodys_namesake() {
    let (world, tenant, [mut lost, mut other]) = World::with_kiosks().await;
    let now = world.now();
    let numbered = json!({"name": "Ada R-77", "mrn": "R-77", "medicare": MEDICARE});
    let fake = admit(&world, &tenant, &mut lost, numbered).await;
    deactivate(&world, &tenant, &lost).await;
    assert_eq!(withdraw(&world, &tenant, &lost, now).await.residents, 1);

    let registry = world.store.organization(&tenant.organization);
    let facility = tenant.facility.facility();
    let audited = registry.audited(event(&world));
    let admitted = audited.create_patient(new_patient(facility, "R-77")).await;
    let real = admitted.unwrap().id;
    // What is set of whoever was withdrawn gives nothing back.
    let moved = object(json!({"room": "9"}));
    registry.audited(event(&world)).update_patient(fake, moved).await.unwrap();
    let (store, permit) = (world.store.facility(&tenant.facility), may_read(&tenant));
    let open = store.reviews(&permit, Some(true), None, 10).await.unwrap().items;
    assert!(open.is_empty(), "{open:?}");
    let other_number = other.admission(&tenant, json!({"name": "Zoe New", "medicare": MEDICARE}), now);
    assert_eq!(verdicts(&world.push(&mut other, &[other_number]).await.unwrap()), [(Verdict::Applied, None)]);
    // One who is real is in care again, and found again; the numbers are others' by now, so somebody has to look.
    let readmit = object(json!({"is_active": true}));
    registry.audited(event(&world)).update_patient(fake, readmit).await.unwrap();
    let open = store.reviews(&permit, Some(true), None, 10).await.unwrap().items;
    let [review] = &open[..] else { panic!("one review is open: {open:?}") };
    let holders = [RecordId::from(real), other.made(1, now)];
    let is_asked = review.others.len() == 2 && holders.iter().all(|id| review.others.contains(id));
    assert!(review.record == fake.into() && is_asked, "{review:?}");
    let again = other.admission(&tenant, json!({"name": "Ada R-77", "mrn": "R-77"}), now);
    world.push(&mut other, &[again]).await.unwrap();
    let open = store.reviews(&permit, Some(true), None, 10).await.unwrap().items;
    let review = open.iter().find(|review| review.record == other.made(2, now)).unwrap();
    assert!(review.others.contains(&fake.into()), "{review:?}");
}

#[tokio::test]
async fn what_a_kiosk_charted_offline_about_a_withdrawn_resident_is_shown_with_them() {
    let (world, tenant, [mut lost, mut other]) = World::with_kiosks().await;
    let now = world.now();
    let numbered = json!({"name": "Ada Example", "medicare": MEDICARE});
    let ada = admit(&world, &tenant, &mut lost, numbered).await;
    let about_her = Change { patient: Some(ada), ..other.vitals(&tenant, 60, now) };
    deactivate(&world, &tenant, &lost).await;
    assert_eq!(withdraw(&world, &tenant, &lost, now).await.residents, 1);
    assert_eq!(document(&world, &tenant, ada).await, None);
    world.push(&mut other, &[about_her]).await.unwrap();
    let shown = document(&world, &tenant, ada).await.unwrap();
    assert!(shown.contains("\"is_active\":false"), "{shown}");
    let flagged = world.store.facility(&tenant.facility).flagged_changes(&may_read(&tenant), None, 10).await;
    assert_eq!(flagged.unwrap().items[0].flags, ["patient_withdrawn"]);
    // She is shown, and her number is nobody's all the same.
    let its_owner = other.admission(&tenant, json!({"name": "Zoe New", "medicare": MEDICARE}), now);
    assert_eq!(verdicts(&world.push(&mut other, &[its_owner]).await.unwrap()), [(Verdict::Applied, None)]);
    assert!(world.verified().is_whole(), "{:?}", world.verified());
}

#[tokio::test]
async fn the_log_of_a_resident_says_what_was_withdrawn_of_theirs() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut lost = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let changes = [
        lost.vitals(&tenant, 60, now),
        lost.vitals(&tenant, 61, now),
        lost.admission(&tenant, json!({"name": "Ada Example"}), now),
    ];
    world.push(&mut lost, &changes).await.unwrap();
    let ada = PatientId::from(lost.made(3, now));
    deactivate(&world, &tenant, &lost).await;
    let _ = withdraw(&world, &tenant, &lost, now).await;
    let registry = world.store.organization(&tenant.organization);
    for (patient, what, count) in [(tenant.patient, "entries", 2), (ada, "admissions", 1)] {
        let query = AuditQuery { patient: Some(patient), limit: 100, ..AuditQuery::default() };
        let events = registry.audit_events(query).await.unwrap().items;
        let told: Vec<_> = events.iter().filter_map(|it| it.event.details.get(what)).collect();
        assert_eq!(told, [&json!(count)], "{events:?}");
    }
}

#[tokio::test]
async fn what_came_before_is_not_gone_through() {
    const EARLIER: u64 = 1_100;
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let mut lost = world.kiosk(&tenant, 1).await;
    let made = world.now();
    for _ in 0..2 {
        let changes: Vec<_> = (0..EARLIER / 2).map(|_| lost.vitals(&tenant, 60, made)).collect();
        world.push(&mut lost, &changes).await.unwrap();
    }
    deactivate(&world, &tenant, &lost).await;
    let since = world.now();
    assert_eq!(withdraw(&world, &tenant, &lost, since).await, Withdrawal::default());
    let looks = world.now().since(since);
    assert!(looks < Duration::from_millis(EARLIER / 2), "{looks:?}");
}

#[tokio::test]
async fn a_pin_that_was_chosen_on_it_stays_and_is_told_as_one() {
    let (world, tenant, [mut lost, earlier]) = World::with_kiosks().await;
    world.set_pin(&tenant, tenant.nurse, "a").await;
    let now = world.now();
    world.deactivate(&tenant, &earlier, Deactivation::Lost).await.unwrap();
    let choice = lost.choice(&tenant, now, "b", now);
    let receipt = world.push(&mut lost, &[choice]).await.unwrap();
    assert_eq!(receipt.verdicts[0].verdict, Verdict::Applied, "{receipt:?}");
    deactivate(&world, &tenant, &lost).await;
    let done = withdraw(&world, &tenant, &lost, now).await;
    assert_eq!((done.pins, done.edits), (1, 0));
    let stays = json!([{"what": "pin", "id": tenant.nurse}]);
    assert_eq!(serde_json::to_value(&done.stays).unwrap(), stays);
}
