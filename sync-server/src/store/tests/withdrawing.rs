//! What a lost device sent is taken out again.

use carepost_protocol::role::ManagePatients;

use super::*;

fn may_manage(tenant: &Tenant) -> Permit<ManagePatients> {
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
    let noted = registry.noting(event(world));
    noted.withdraw_device(&may_manage(tenant), kiosk.identity.device(), since).await.unwrap()
}

async fn deactivate(world: &World, tenant: &Tenant, kiosk: &Kiosk) {
    let noted = world.store.organization(&tenant.organization).noting(event(world));
    noted.deactivate_device(kiosk.identity.device(), Deactivation::Retired).await.unwrap();
}

async fn documents(world: &World, tenant: &Tenant) -> u64 {
    let reach = Reach::Facility(tenant.facility);
    world.store.read(reach, |tx| budget::documents(tx, View::Full)).await.unwrap()
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
    let (permit, noted) = (may_manage(&tenant), registry.noting(event(&world)));
    let early = noted.withdraw_device(&permit, lost.identity.device(), since).await;
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
async fn what_it_corrected_or_struck_out_of_others_is_as_it_was_and_whom_others_know_stays() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut lost, mut other) = (world.kiosk(&tenant, 1).await, world.kiosk(&tenant, 2).await);
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
    assert_eq!(done, Withdrawal { records: 2, residents: 1, left: 1, edits: 1, more: false });
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
