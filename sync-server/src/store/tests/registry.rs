//! What administrators do, and what devices then mirror.

use carepost_protocol::wire::heartbeat::{
    Encryption, Exposed, Exposure, Heartbeat, MirrorState, QueueState, ReaderState, UnknownTap,
};
use carepost_protocol::wire::pull::Line;
use futures_util::FutureExt as _;

use super::sign_ins::nina;
use super::*;
use crate::store::engine::params;

#[tokio::test]
async fn names_are_unique_in_an_organization_and_nowhere_else() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let registry = world.store.organization(&alpha.organization);
    let facility = alpha.facility.facility();
    let taken =
        registry.audited(event(&world)).create_user(new_user("NINA", Role::Lpn, Some(facility))).await;
    assert!(matches!(taken, Err(StoreError::Conflict("username"))), "{taken:?}");
    let taken = registry.audited(event(&world)).create_patient(new_patient(facility, "MRN-1")).await;
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == alpha.patient), "{taken:?}");
    let taken = registry.audited(event(&world)).create_facility(new_facility("Riverside")).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    assert_eq!(beta.organization.limit(), None, "beta has the same names and was made all the same");
    let email = || UserPatch { email: Some(Some("nina@example.test".to_owned())), ..UserPatch::default() };
    let elsewhere = world.store.organization(&beta.organization);
    elsewhere.audited(event(&world)).update_user(beta.nurse, email()).await.unwrap();
    registry.audited(event(&world)).update_user(alpha.nurse, email()).await.unwrap();
    let omar = world.hire(&alpha, "omar", Role::Lpn).await;
    let taken = registry.audited(event(&world)).update_user(omar, email()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("email"))), "{taken:?}");
    let foreign = registry.patient(beta.patient).await;
    assert!(matches!(foreign, Err(StoreError::NotFound("patient"))), "{foreign:?}");
}

/// An upgrade found two of each that read the same: who has them can still be switched off and reported on, and is
/// asked for another name only when it is the name that changes.
#[tokio::test]
async fn what_reads_the_same_since_an_upgrade_can_be_changed_in_all_else() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let second = registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    let email = |email: &str| UserPatch { email: Some(Some(email.to_owned())), ..UserPatch::default() };
    let nina = email("nina@example.test");
    registry.audited(event(&world)).update_user(tenant.nurse, nina).await.unwrap();
    let omar = new_user("omar", Role::Lpn, Some(second));
    let omar = registry.audited(event(&world)).create_user(omar).await.unwrap().id;
    let collide = move |tx: &Tx<'_>| {
        let facility = "UPDATE facilities SET name = 'RIVERSIDE', name_key = 'riverside 2' WHERE id = ?1";
        tx.execute(facility, params![second])?;
        let user = "UPDATE users SET username = 'NINA', email = 'NINA@example.test', email_key = 'another'
            WHERE id = ?1";
        tx.execute(user, params![omar])
    };
    assert!(world.alike().is_empty());
    world.store.write(AccessScope::Organization(tenant.organization), collide).await.unwrap();
    let said = world.alike();
    let [user, address, facility] = &said[..] else { panic!("{said:?}") };
    assert!(user.contains("\"NINA\"") && user.contains(&format!("user rename {omar} NAME")), "{user}");
    assert!(address.contains(&format!("PUT /api/v1/users/{omar}")) && !address.contains('@'), "{address}");
    assert!(facility.contains(&format!("facility rename {second} NAME")), "{facility}");

    let census = FacilityPatch { current_census: Some(7), ..FacilityPatch::default() };
    let changed = registry.audited(event(&world)).update_facility(second, census).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.current_census), ("RIVERSIDE", 7));
    let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
    assert!(!registry.audited(event(&world)).update_user(omar, off).await.unwrap().is_active);
    let named = FacilityPatch { name: Some("riverside".to_owned()), ..FacilityPatch::default() };
    let taken = registry.audited(event(&world)).update_facility(second, named).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    let taken = registry.audited(event(&world)).update_user(omar, email("Nina@Example.test")).await;
    assert!(matches!(taken, Err(StoreError::Conflict("email"))), "{taken:?}");
    let named = FacilityPatch { name: Some("Lakeside".to_owned()), ..FacilityPatch::default() };
    registry.audited(event(&world)).update_facility(second, named).await.unwrap();
    let named = UserPatch { username: Some("omar".to_owned()), ..email("omar@example.test") };
    registry.audited(event(&world)).update_user(omar, named).await.unwrap();
    assert!(world.alike().is_empty(), "{:?}", world.alike());
}

#[tokio::test]
async fn a_session_ends_when_it_should() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let system = world.store.system();
    let found = system.credentials("alpha", " Nina").await.unwrap().unwrap();
    assert_eq!(found.user, tenant.nurse);
    assert_eq!(system.credentials("beta", "nina").await.unwrap(), None);
    let new = NewSession {
        user: found.user,
        organization: found.organization,
        token_sha256: [9; 32],
        expires_at: world.now().plus_millis(12 * 3_600_000),
    };
    let login = nina(&tenant, "192.0.2.1");
    let id = system.create_session(login.clone(), new, event(&world)).await.unwrap();
    world.pass(29 * 60);
    let session = system.session([9; 32]).await.unwrap().unwrap();
    assert_eq!((session.actor.role, session.actor.facility), (Role::Rn, Some(tenant.facility.facility())));
    world.pass(29 * 60);
    assert!(system.session([9; 32]).await.unwrap().is_some(), "the last request counted as activity");
    world.pass(30 * 60);
    assert!(system.session([9; 32]).await.unwrap().is_none(), "idle for 30 minutes");
    let again = NewSession { token_sha256: [8; 32], ..new };
    system.create_session(login, again, event(&world)).await.unwrap();
    let registry = world.store.organization(&tenant.organization);
    registry
        .audited(event(&world))
        .update_user(tenant.nurse, UserPatch { is_active: Some(false), ..UserPatch::default() })
        .await
        .unwrap();
    assert!(system.session([8; 32]).await.unwrap().is_none(), "the user may not sign in any more");
    system.end_session(id, event(&world)).await.unwrap();
}

#[tokio::test]
async fn how_long_a_session_lasts_reaches_the_devices() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let longer = UserPatch { session_timeout_minutes: Some(45), ..UserPatch::default() };
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).update_user(tenant.nurse, longer).await.unwrap();
    let page = world.store.facility(&tenant.facility).page(after(None, 100)).await.unwrap();
    let text = String::from_utf8(page.lines).unwrap();
    assert!(text.contains(r#""session_timeout_minutes":45"#), "{text}");
}

#[tokio::test]
async fn a_platform_administrator_has_a_session_and_no_organization() {
    let world = World::new();
    let system = world.store.system();
    assert!(system.platform_admins().await.unwrap().is_empty());
    let user = system.create_platform_admin("root", "Rita Example", "$argon2id$invented").await.unwrap();
    let expires_at = world.now().plus_millis(3_600_000);
    let new = NewSession { user, organization: None, token_sha256: [1; 32], expires_at };
    let login = Login::of_platform("root", "192.0.2.1".to_owned());
    system.create_session(login, new, event(&world)).await.unwrap();
    let actor = system.session([1; 32]).await.unwrap().unwrap().actor;
    assert_eq!((actor.role, actor.organization), (Role::PlatformAdmin, None));
    assert_eq!(OrganizationScope::of_actor(&actor), None);
}

#[tokio::test]
async fn a_card_is_one_persons_badge_and_can_be_issued_again_once_revoked() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let other = world.hire(&tenant, "otto", Role::Lpn).await;
    let card = [0x04, 0xa1, 0xb2, 0xc3];
    let badge = registry.audited(event(&world)).issue_badge(tenant.nurse, &card).await.unwrap();
    assert!(matches!(
        registry.audited(event(&world)).issue_badge(other, &card).await,
        Err(StoreError::Issued(holder)) if holder == tenant.nurse
    ));
    assert!(matches!(
        registry.audited(event(&world)).issue_badge(other, &[8, 1, 2, 3]).await,
        Err(StoreError::Invalid { .. })
    ));
    assert!(!registry.audited(event(&world)).revoke_badge(badge.id).await.unwrap().is_active);
    registry.audited(event(&world)).issue_badge(other, &card).await.unwrap();
    let page = world.store.facility(&tenant.facility).page(after(None, 100)).await.unwrap();
    let text = String::from_utf8(page.lines).unwrap();
    let badges: Vec<bool> = text
        .lines()
        .map(|line| serde_json::from_str::<Line<'_>>(line).unwrap())
        .filter(|line| line.collection.as_deref() == Some(Collection::Badges.name()))
        .map(|line| line.deleted)
        .collect();
    assert_eq!(badges, [true, false], "the old badge left a tombstone, the new one is there");
    assert!(!text.to_lowercase().contains("04a1b2c3"), "a card's id is never stored");
}

#[tokio::test]
async fn a_list_of_badges_tells_them_apart_and_says_who_issued_each() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let issue = async |uid: [u8; 4], by: Option<UserId>| {
        let issued = AuditEvent { user_id: by, ..event(&world) };
        registry.audited(issued).issue_badge(tenant.nurse, &uid).await
    };
    let first = issue([0x04, 1, 2, 3], Some(tenant.nurse)).await.unwrap();
    world.pass(1);
    let root = UserId::new(world.now(), [9; 10]);
    let second = issue([0x04, 1, 2, 4], Some(root)).await.unwrap();
    for blank in [[0x00; 4], [0xff; 4]] {
        let refused = issue(blank, None).await;
        assert!(matches!(refused, Err(StoreError::Invalid { field: "uid", .. })), "{refused:?}");
    }
    assert!(first.card != second.card && first.card.ends_with("..."), "{first:?} {second:?}");
    assert_eq!((first.issued_by.as_deref(), second.issued_by.as_deref()), (Some("nina"), None));
    assert_eq!(registry.badges(tenant.nurse).await.unwrap(), [second, first.clone()]);
    // Who issued it goes by another name now.
    let renamed = UserPatch { username: Some("nina.k".to_owned()), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, renamed).await.unwrap();
    assert_eq!(registry.badge(first.id).await.unwrap().issued_by.as_deref(), Some("nina.k"));
    let log =
        registry.audit_events(AuditQuery { user: Some(tenant.nurse), limit: 9, ..AuditQuery::default() });
    let log = log.await.unwrap();
    let named = log.items.iter().find(|it| it.event.resource_id == Some(first.id.to_string())).unwrap();
    assert_eq!(named.event.details["badge"], json!(first.card));
}

#[tokio::test]
async fn a_user_gets_another_name_to_sign_in_with() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (registry, system) = (world.store.organization(&tenant.organization), world.store.system());
    let omar = world.hire(&tenant, "omar", Role::Lpn).await;
    let rename = |username: &str| {
        let patch = UserPatch { username: Some(username.to_owned()), ..UserPatch::default() };
        registry.audited(event(&world)).update_user(omar, patch)
    };
    let known =
        async |username: &str| system.credentials("alpha", username).await.unwrap().map(|known| known.user);
    let taken = rename("NINA").await;
    assert!(matches!(taken, Err(StoreError::Conflict("username"))), "{taken:?}");
    for wrong in ["", "omar two"] {
        let refused = rename(wrong).await;
        assert!(matches!(refused, Err(StoreError::Invalid { field: "username", .. })), "{refused:?}");
    }
    assert_eq!(rename("Omar.Field").await.unwrap().username, "Omar.Field");
    assert_eq!((known("omar.FIELD").await, known("omar").await), (Some(omar), None));
    // Whose name an upgrade found to read as another's is nobody at the server, until there is another name.
    let collide = move |tx: &Tx<'_>| {
        let sql = "UPDATE users SET username = 'Nina', username_key = 'n1na' WHERE id = ?1";
        tx.execute(sql, params![omar])
    };
    world.store.write(AccessScope::Organization(tenant.organization), collide).await.unwrap();
    assert_eq!(known("nina").await, Some(tenant.nurse));
    let longer = UserPatch { session_timeout_minutes: Some(45), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(omar, longer).await.unwrap();
    rename("nina.two").await.unwrap();
    assert_eq!(known("nina.two").await, Some(omar));
}

#[tokio::test]
async fn a_tapped_card_can_be_issued_for_a_quarter_of_an_hour_and_is_never_written_down() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let (device, lookup) = (kiosk.identity.device(), "5e".repeat(32));
    let registry = world.store.organization(&tenant.organization);
    let store = world.store.facility(&tenant.facility);
    let seen = |tap| Heartbeat { unknown_tap: tap, ..beat(&world, &kiosk) };
    let issue = |card: &str| {
        registry.audited(event(&world)).issue_tapped_badge(tenant.nurse, device, card.to_owned())
    };
    let card = UnknownTap::masked(&lookup);
    for nonsense in ["", "5e5e", &"zz".repeat(32)] {
        store.heartbeat(&kiosk.identity, &seen(Some(UnknownTap { lookup: nonsense.to_owned(), age: 0 })));
        assert!(matches!(issue(&UnknownTap::masked(nonsense)).await, Err(StoreError::Invalid { .. })));
    }
    for (age, passes, good) in [(0, 901, false), (600, 301, false), (600, 299, true)] {
        store.heartbeat(&kiosk.identity, &seen(Some(UnknownTap { lookup: lookup.clone(), age })));
        world.pass(passes);
        let issued = issue(&card).await;
        assert_eq!(issued.is_ok(), good, "{age} {passes}: {issued:?}");
    }
    assert!(matches!(issue(&card).await, Err(StoreError::Issued(_))));
    let page = store.page(after(None, 100)).await.unwrap();
    let text = String::from_utf8(page.lines).unwrap();
    assert!(text.contains(&lookup), "readers know the card by what its tap said");
}

#[tokio::test]
async fn two_devices_in_use_at_a_facility_do_not_read_the_same() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let facility = tenant.facility.facility();
    let expect = |n: u8, facility_id, name: &str| {
        let new = NewDevice { name: name.to_owned(), ..expected(facility_id, n, [n; 32]) };
        registry.audited(event(&world)).expect_device(new)
    };
    let rename = |id, name: &str| {
        let patch = DevicePatch { name: Some(name.to_owned()), ..DevicePatch::default() };
        registry.audited(event(&world)).update_device(id, patch)
    };
    let hall = expect(1, facility, "Hall kiosk").await.unwrap().id;
    let den = expect(2, facility, "Den kiosk").await.unwrap().id;
    let taken = expect(3, facility, "HALL  Kiosk").await;
    assert!(matches!(taken, Err(StoreError::Conflict("device_name"))), "{taken:?}");
    assert!(taken.unwrap_err().to_string().contains("deactivate the device that has it"));
    let taken = rename(den, "hall kiosk").await;
    assert!(matches!(taken, Err(StoreError::Conflict("device_name"))), "{taken:?}");
    assert_eq!(rename(hall, "Hall Kiosk").await.unwrap().name, "Hall Kiosk", "its own, written otherwise");
    let hillside =
        registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    expect(4, hillside, "Hall kiosk").await.unwrap();
    // Two that read the same since before this was asked: all but the name can be changed, and the name to another.
    let collide =
        move |tx: &Tx<'_>| tx.execute("UPDATE devices SET name = 'HALL KIOSK' WHERE id = ?1", params![den]);
    world.store.write(AccessScope::Organization(tenant.organization), collide).await.unwrap();
    let said = world.alike();
    let [said] = &said[..] else { panic!("{said:?}") };
    for words in
        [format!("\"Hall Kiosk\" ({hall})"), format!("\"HALL KIOSK\" ({den})"), "device rename".into()]
    {
        assert!(said.contains(&words), "no {words} in {said}");
    }
    let tablet = DevicePatch { device_type: Some(DeviceType::Tablet), ..DevicePatch::default() };
    registry.audited(event(&world)).update_device(den, tablet).await.unwrap();
    rename(den, "Den kiosk").await.unwrap();
    // Whoever is out of use leaves the name to the next.
    registry.audited(event(&world)).deactivate_device(hall, Deactivation::Retired).await.unwrap();
    rename(den, "Hall kiosk").await.unwrap();
    assert!(world.alike().is_empty());
}

#[tokio::test]
async fn two_forms_that_are_offered_do_not_read_the_same() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let publish = |key: &str, label: &str, enabled| {
        let form = Workflow { key: key.into(), label: label.into(), enabled, ..vitals(20.0) };
        registry.audited(event(&world)).publish_workflow(form)
    };
    let taken = publish("signs", "VITALS", true).await;
    assert!(matches!(taken, Err(StoreError::Conflict("label"))), "{taken:?}");
    // One that is off is offered to nobody.
    publish("signs", "Vitals", false).await.unwrap();
    let taken = publish("signs", "Vitals", true).await;
    assert!(matches!(taken, Err(StoreError::Conflict("label"))), "{taken:?}");
    publish("vitals", "Vitals", false).await.unwrap();
    publish("signs", "Vitals", true).await.unwrap();
    // Two that read the same since before this was asked: each is published anew under its label.
    let both = Workflow { version: 3, enabled: true, ..vitals(20.0) };
    let body = json!(both).to_string();
    let collide = move |tx: &Tx<'_>| {
        let sql = "INSERT INTO workflows (key, version, id, label, body, published_at)
            VALUES ('vitals', 3, ?1, 'Vitals', ?2, 0)";
        tx.execute(sql, params![both.id, body])
    };
    world.store.write(AccessScope::Organization(tenant.organization), collide).await.unwrap();
    let said = world.alike();
    let [said] = &said[..] else { panic!("{said:?}") };
    for words in ["signs (\"Vitals\")", "vitals (\"Vitals\")", "another label"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
    assert_eq!(registry.audited(event(&world)).publish_workflow(vitals(30.0)).await.unwrap().version, 4);
    publish("signs", "Signs", true).await.unwrap();
    assert!(world.alike().is_empty());
    let taken = publish("signs", "vitals", true).await;
    assert!(matches!(taken, Err(StoreError::Conflict("label"))), "{taken:?}");
}

#[tokio::test]
async fn two_fields_of_a_form_do_not_read_the_same_unless_they_did_before() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let with = |version: u32, labels: &[&str]| {
        let mut form = Workflow { version, ..vitals(20.0) };
        for (n, label) in (1..).zip(labels) {
            form.fields.push(Field::new(&format!("later_{n}"), label, FieldType::String));
        }
        form
    };
    let publish = |form: Workflow| registry.audited(event(&world)).publish_workflow(form);
    let refused = publish(with(1, &["Later", "later "])).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "fields", .. })), "{refused:?}");
    // One from before this was asked is published anew, and switched off.
    let before = with(2, &["Later", "later"]);
    let body = json!(before).to_string();
    let keep = move |tx: &Tx<'_>| {
        let sql = "INSERT INTO workflows (key, version, id, label, body, published_at)
            VALUES ('vitals', 2, ?1, 'Vitals', ?2, 0)";
        tx.execute(sql, params![before.id, body])
    };
    world.store.write(AccessScope::Organization(tenant.organization), keep).await.unwrap();
    publish(Workflow { enabled: false, ..with(1, &["Later", "later"]) }).await.unwrap();
    let refused = publish(with(1, &["Later", "later", "Last", "last"])).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "fields", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_new_facility_gets_the_workflows_and_versions_are_kept() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let same = registry.audited(event(&world)).publish_workflow(vitals(20.0)).await.unwrap();
    assert_eq!(same.version, 1);
    assert_eq!(registry.audited(event(&world)).publish_workflow(vitals(25.0)).await.unwrap().version, 2);
    assert_eq!(registry.workflow("vitals", Some(1)).await.unwrap(), same);
    assert_eq!(registry.workflow("vitals", None).await.unwrap().version, 2);
    let hillside = registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap();
    let scope = tenant.organization.enter(hillside.id).unwrap();
    let page = world.store.facility(&scope).page(after(None, 10)).await.unwrap();
    assert_eq!(documents(&page), 3, "the facility itself and its workflow's two versions");
    let census = FacilityPatch { current_census: Some(45), ..FacilityPatch::default() };
    assert_eq!(
        registry.audited(event(&world)).update_facility(hillside.id, census).await.unwrap().current_census,
        45
    );
}

/// A heartbeat of a device that has nothing to say.
fn beat(world: &World, kiosk: &Kiosk) -> Heartbeat {
    let stamp = (world.now().plus_millis(1_500), ClockQuality::Synced);
    Heartbeat::new("0.2.0", stamp, ReaderState::Missing, kiosk.incarnation)
}

#[tokio::test]
async fn what_is_remembered_of_one_organization_answers_for_no_other() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let (hall, ward) = (world.kiosk(&alpha, 1).await, world.kiosk(&beta, 2).await);
    let registry = world.store.organization(&alpha.organization);
    let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(alpha.nurse, off).await.unwrap();
    // The second time it is memory that answers.
    for _ in 0..2 {
        for (tenant, kiosk, gone) in [(&alpha, &hall, vec![alpha.nurse]), (&beta, &ward, Vec::new())] {
            let key = presented(&kiosk.key).sha256;
            let known = world.store.system().device_by_key(key).await.unwrap().unwrap();
            assert_eq!((known.device(), known.scope()), (kiosk.identity.device(), Some(tenant.facility)));
            let told =
                world.store.facility(&tenant.facility).revoked(&known, &beat(&world, kiosk)).await.unwrap();
            let users: Vec<UserId> = told.into_iter().flat_map(|it| it.users).map(|it| it.id).collect();
            assert_eq!(users, gone);
        }
    }
}

fn exposure(place: &str, cause: &str) -> Exposure {
    Exposure { what: Exposed::Unmeasured, place: place.to_owned(), cause: Some(cause.to_owned()) }
}

#[tokio::test]
async fn heartbeats_are_read_at_once_and_survive_a_restart() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let device = kiosk.identity.device();
    // It names a long path twice, and what not to do comes last.
    let words = format!("{0}: missing (look at {0}-wal as well: delete nothing there)", "/srv".repeat(50));
    let beat = Heartbeat {
        encryption: Some(Encryption { exposed: vec![exposure("/dev/sd\u{7}a3", "disk\u{7} full"); 40] }),
        cannot_save: Some(words.clone()),
        queue: QueueState { care: 3, audit: 4, rejected: 1, oldest_age: Some(240), unknown: false },
        mirror: MirrorState {
            differs: vec!["patients".into(), "x".repeat(65), "users\u{9b}2J".into()],
            refetches: 2,
            stepped_over: Vec::new(),
        },
        no_progress: Some(700),
        ..beat(&world, &kiosk)
    };
    let store = world.store.facility(&tenant.facility);
    store.heartbeat(&kiosk.identity, &beat);
    let registry = world.store.organization(&tenant.organization);
    let fresh = registry.device(device).await.unwrap();
    assert_eq!((fresh.last_seen, fresh.sync.last_sync), (Some(world.now()), None));
    let exposed = fresh.encryption.clone().unwrap().exposed;
    assert_eq!((exposed.len(), &exposed[0]), (32, &exposure("/dev/sda3", "disk full")));
    assert_eq!((fresh.encrypted, fresh.sync.not_encrypted), (Some(false), false), "nobody demands it");
    assert_eq!((fresh.waiting, fresh.sync.rejected, fresh.clock_skew_ms), (7, 1, Some(1_500)));
    assert_eq!(fresh.sync.oldest_waiting, Some(world.now().plus_millis(-240_000)));
    assert_eq!(fresh.cannot_save, Some(words));
    assert_eq!((fresh.differs.as_slice(), fresh.refetches), (&["patients".to_owned()][..], 2));
    assert_eq!(
        (fresh.sync.mirror_differs, fresh.no_progress, fresh.sync.no_progress),
        (true, Some(700), true)
    );
    world.store.close();
    assert!(matches!(registry.device(device).await, Err(StoreError::Closed)));
    let path = world.directory.path().join("server.db");
    let again = Store::open(&path, &key(), world.ambient.clone()).unwrap();
    assert_eq!(again.organization(&tenant.organization).device(device).await.unwrap(), fresh);
}

#[tokio::test]
async fn a_queue_that_cannot_be_counted_stands_as_it_was_counted_last() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let device = kiosk.identity.device();
    let counted = QueueState { care: 3, audit: 4, rejected: 1, oldest_age: Some(240), unknown: false };
    let unknown = QueueState { unknown: true, ..QueueState::default() };
    let beat = |queue| Heartbeat { queue, ..beat(&world, &kiosk) };
    let store = world.store.facility(&tenant.facility);
    store.heartbeat(&kiosk.identity, &beat(counted));
    store.heartbeat(&kiosk.identity, &beat(unknown));
    let registry = world.store.organization(&tenant.organization);
    let known = registry.device(device).await.unwrap();
    assert_eq!((known.waiting, known.sync.rejected), (7, 1));
    assert_eq!(known.sync.oldest_waiting, Some(world.now().plus_millis(-240_000)));
    world.store.close();
    // Where nothing of it is in memory any more as well.
    let path = world.directory.path().join("server.db");
    for _ in 0..2 {
        let again = Store::open(&path, &key(), world.ambient.clone()).unwrap();
        assert_eq!(again.organization(&tenant.organization).device(device).await.unwrap(), known);
        again.facility(&tenant.facility).heartbeat(&kiosk.identity, &beat(unknown));
        assert_eq!(again.organization(&tenant.organization).device(device).await.unwrap(), known);
        again.close();
    }
}

#[tokio::test]
async fn audit_is_found_by_who_and_within_the_scope() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let event = AuditEvent { user_id: Some(UserId::new(world.now(), [6; 10])), ..event(&world) };
    world.store.facility(&alpha.facility).audit(vec![event.clone()]).await.unwrap();
    let query = AuditQuery { user: event.user_id, limit: 10, ..AuditQuery::default() };
    let registry = world.store.organization(&alpha.organization);
    let found = registry.audit_events(query.clone()).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].event.facility_id, Some(alpha.facility.facility()));
    assert_eq!(found[0].event.details, event.details);
    assert!(world.store.organization(&beta.organization).audit_events(query).await.unwrap().items.is_empty());
    let later = AuditQuery { since: Some(world.now().plus_millis(1)), limit: 10, ..AuditQuery::default() };
    assert!(registry.audit_events(later).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_change_and_its_audit_event_are_written_together_or_not_at_all() {
    let world = World::limited(Some(400));
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let facility = tenant.facility.facility();
    let mine = AuditEvent { user_id: Some(UserId::new(world.now(), [6; 10])), ..event(&world) };
    let query = AuditQuery { user: mine.user_id, limit: 10, ..AuditQuery::default() };

    let taken = registry.audited(mine.clone()).create_patient(new_patient(facility, "MRN-1")).await;
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == tenant.patient), "{taken:?}");
    assert!(registry.audit_events(query.clone()).await.unwrap().items.is_empty(), "nothing was done");

    let made = registry.audited(mine.clone()).create_patient(new_patient(facility, "MRN-2")).await.unwrap();
    let written = registry.audit_events(query.clone()).await.unwrap().items;
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].event.resource_id, Some(made.id.to_string()));
    assert_eq!((written[0].event.patient_id, written[0].event.facility_id), (Some(made.id), Some(facility)));

    let mut large = mine.clone();
    large.details.insert("text".to_owned(), "x".repeat(4_000_000).into());
    let unseen = registry.audited(large).create_patient(new_patient(facility, "MRN-3")).await;
    assert!(matches!(unseen, Err(StoreError::Full)), "{unseen:?}");
    let mrns = registry.all_patients().await.unwrap().into_iter().map(|patient| patient.document.mrn);
    let mut mrns: Vec<_> = mrns.collect();
    mrns.sort();
    assert_eq!(mrns, ["MRN-1", "MRN-2"]);
}

#[tokio::test]
async fn a_request_that_is_cancelled_leaves_its_audit_event() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let mine = AuditEvent { user_id: Some(UserId::new(world.now(), [6; 10])), ..event(&world) };
    let query = AuditQuery { user: mine.user_id, limit: 10, ..AuditQuery::default() };
    let new = new_user("otto", Role::Lpn, Some(tenant.facility.facility()));
    let asked = registry.audited(mine).create_user(new);
    // The asker hangs up as soon as the change is sent.
    let _ = asked.now_or_never();
    // The writer takes turns: what was sent before this is done.
    registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap();
    let users = registry.all_users().await.unwrap();
    let otto = users.iter().find(|user| user.username == "otto").expect("the change was under way");
    let written = registry.audit_events(query).await.unwrap().items;
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].event.resource_id, Some(otto.id.to_string()));
}
