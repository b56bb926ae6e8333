//! A restore forgets nothing that was taken from anybody since the backup, and where it cannot know, it takes
//! what costs no charting.

use crate::store::engine::params;
use carepost_protocol::device::DeviceState;
use carepost_protocol::record::{BadgeDocument, UserDocument};

use super::book::noticed;
use super::stolen::{computed, documents, keys};
use super::*;

const OLD: &str = "$argon2id$old";
const NEW: &str = "$argon2id$new";

struct Scene {
    world: World,
    tenant: Tenant,
    /// Ben and Cora work there too, Dora elsewhere.
    ben: UserId,
    cora: UserId,
    hillside: FacilityId,
    badge: Badge,
    stolen: Kiosk,
    kept: Kiosk,
}

/// What was so when the backup was taken.
async fn scene() -> Scene {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let hire = async |name: &str| {
        let id = world.hire(&tenant, name, Role::Rn).await;
        registry.audited(event(&world)).set_pin(id, Some(OLD.to_owned())).await.unwrap();
        id
    };
    let (ben, cora) = (hire("ben").await, hire("cora").await);
    registry.audited(event(&world)).set_pin(tenant.nurse, Some(OLD.to_owned())).await.unwrap();
    let hillside =
        registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    let badge = registry.audited(event(&world)).issue_badge(ben, &[1, 2, 3, 4]).await.unwrap();
    registry.audited(event(&world)).issue_badge(cora, &[5, 6, 7, 8]).await.unwrap();
    let (stolen, kept) = (world.kiosk(&tenant, 1).await, world.kiosk(&tenant, 2).await);
    world.expect(&tenant, 3, [3; 32]).await.unwrap();
    let new = NewSession {
        user: tenant.nurse,
        organization: Some(tenant.organization.organization()),
        token_sha256: [9; 32],
        expires_at: world.now().plus_millis(12 * 3_600_000),
    };
    let login = super::sign_ins::nina(&tenant, "192.0.2.1");
    world.store.system().create_session(login, new, event(&world)).await.unwrap();
    backup(&world.file("server.db"), &key(), &world.ambient, &world.file("copy.db")).unwrap();
    world.pass(3600);
    Scene { world, tenant, ben, cora, hillside, badge, stolen, kept }
}

impl Scene {
    fn registry(&self) -> OrganizationStore {
        self.world.store.organization(&self.tenant.organization)
    }

    async fn patch(&self, user: UserId, patch: UserPatch) {
        self.registry().audited(event(&self.world)).update_user(user, patch).await.unwrap();
    }

    /// Puts the backup in place, after something was done to the database that it replaces.
    fn put_back(&mut self, spoil: impl FnOnce(&std::path::Path)) -> Restored {
        self.world.store.close();
        let path = self.world.file("server.db");
        spoil(&path);
        let restored = restore(&path, &key(), &self.world.ambient, &self.world.file("copy.db")).unwrap();
        // Twice opened: a restart changes nothing.
        Store::open(&path, &key(), self.world.ambient.clone()).unwrap().close();
        self.world.store = Store::open(&path, &key(), self.world.ambient.clone()).unwrap();
        restored
    }

    /// Takes the backup anew.
    fn back_up(&self) {
        backup(&self.world.file("server.db"), &key(), &self.world.ambient, &self.world.file("copy.db"))
            .unwrap();
    }

    async fn staff(&self, facility: FacilityId) -> Vec<UserDocument> {
        let scope = self.tenant.organization.enter(facility).unwrap();
        let found = documents(&self.world, &scope, Collection::Users).await;
        found.into_iter().map(|(_, user)| user).collect()
    }

    /// How many are signed in, also those who were idle for too long.
    async fn signed_in(&self) -> Option<u64> {
        let read = |tx: &Tx<'_>| tx.first::<u64>("SELECT count(*) FROM system_sessions", params![]);
        self.world.store.read(engine::SYSTEM, read).await.unwrap()
    }

    async fn state(&self, kiosk: &Kiosk) -> DeviceState {
        let sha256 = presented(&kiosk.key).sha256;
        self.world.store.system().device_by_key(sha256).await.unwrap().unwrap().state()
    }
}

#[tokio::test]
async fn what_was_taken_from_anybody_since_the_backup_stays_taken() {
    let mut scene = scene().await;
    let Scene { ben, cora, hillside, .. } = scene;
    let (world, tenant) = (&scene.world, &scene.tenant);
    let (registry, nina) = (scene.registry(), tenant.nurse);
    let here = tenant.facility.facility();
    // Ben goes, Nina gets another password and moves, Cora another PIN and role.
    scene.patch(ben, UserPatch { is_active: Some(false), ..UserPatch::default() }).await;
    registry.audited(event(world)).revoke_badge(scene.badge.id).await.unwrap();
    registry.audited(event(world)).set_password(nina, NEW.to_owned()).await.unwrap();
    scene.patch(nina, UserPatch { facility_id: Some(Some(hillside)), ..UserPatch::default() }).await;
    registry.audited(event(world)).set_pin(cora, Some(NEW.to_owned())).await.unwrap();
    scene.patch(cora, UserPatch { role: Some(Role::Caregiver), ..UserPatch::default() }).await;
    let login = Login::of_organization(tenant.organization.organization(), "cora", "192.0.2.1".to_owned());
    for _ in 0..5 {
        world.store.system().sign_in_failed(login.clone(), Some(event(world))).await.unwrap();
    }
    let stricter = FacilityPatch {
        phi_mode: Some(PhiMode::Minimal),
        record_days: Some(Some(7)),
        ..FacilityPatch::default()
    };
    registry.audited(event(world)).update_facility(here, stricter).await.unwrap();
    let free = DevicePatch { phi_mode: Some(Some(PhiMode::Free)), ..DevicePatch::default() };
    registry.audited(event(world)).update_device(scene.kept.identity.device(), free).await.unwrap();
    // One device is stolen; another is let in with its token; somebody is hired.
    let lost =
        registry.audited(event(world)).deactivate_device(scene.stolen.identity.device(), Deactivation::Lost);
    assert_eq!(lost.await.unwrap().exposed.unwrap().badges, 2);
    let later = world.kiosk(tenant, 4).await;
    let third = testing::key();
    world.store.system().enroll(presented(&third), enroll_request(3), Some([3; 32])).await.unwrap();
    let dora = world.hire(tenant, "dora", Role::Rn).await;
    let hers = registry.audited(event(world)).issue_badge(dora, &[9, 9, 9, 9]).await.unwrap();
    let keyed: Vec<(u64, BadgeDocument)> = documents(world, &tenant.facility, Collection::Badges).await;

    let restored = scene.put_back(|_| {});
    assert!(restored.unknown.is_empty(), "{restored:?}");
    let carried = restored.carried.unwrap();
    for sentence in [
        "user ben: switched off",
        "user nina: another facility, another password, the PIN was on a lost device",
        "user cora: now caregiver, another PIN",
        "badge of ben: revoked",
        "facility Riverside: devices are sent minimal, a new badge key, as a device was lost, records leave the \
         devices sooner",
        "device Kiosk 1: now REVOKED",
        "device Kiosk 2: is sent free",
        "device Kiosk 3: now QUARANTINED, its token was used",
        "device Kiosk 4: new since, and switched off",
        "user dora: new since, and switched off",
        "badge of dora: new since, and switched off",
    ] {
        assert!(carried.iter().any(|line| line.starts_with(sentence)), "no {sentence:?} in {carried:#?}");
    }

    let (world, registry) = (&scene.world, scene.registry());
    // Nobody is signed in; an old password and an old PIN do not come back to life.
    assert_eq!(scene.signed_in().await, Some(0));
    let password = async |name| world.store.system().credentials("alpha", name).await.unwrap().unwrap();
    assert_eq!(password("nina").await.password_hash.as_deref(), Some(NEW));
    assert!(!password("ben").await.is_active && !password("dora").await.is_active);
    assert!(world.store.system().locked(login).await.unwrap().is_some());
    // The feeds say so, and so whatever a device fetches anew.
    let staff = scene.staff(here).await;
    let of = |id: UserId| staff.iter().find(|user| user.id == id);
    assert!(!of(ben).unwrap().is_active && !of(dora).unwrap().is_active);
    let after = of(cora).unwrap();
    assert_eq!((after.pin_verifier.as_deref(), after.role), (Some(NEW), Role::Caregiver));
    assert!(of(nina).is_none(), "she has moved");
    let moved = scene.staff(hillside).await.pop().unwrap();
    assert_eq!((moved.id, moved.pin_exposed_at.is_some()), (nina, true));
    let again: Vec<(u64, BadgeDocument)> = documents(world, &scene.tenant.facility, Collection::Badges).await;
    let lookup = |badges: &[(u64, BadgeDocument)], id| {
        let found = badges.iter().find(|(_, badge)| badge.id == id).unwrap();
        (found.1.lookup.clone(), found.1.is_active)
    };
    for (id, is_active) in [(scene.badge.id, false), (hers.id, false)] {
        assert_eq!(lookup(&again, id), (lookup(&keyed, id).0, is_active), "under the new key");
    }
    assert_eq!(again.iter().filter(|(_, badge)| badge.is_active).count(), 1, "Cora's");
    // Devices: what is refused stays refused; what came since may send, and is sent nothing.
    assert_eq!(scene.state(&scene.stolen).await, DeviceState::Revoked);
    assert_eq!(scene.state(&scene.kept).await, DeviceState::Active);
    assert_eq!(scene.state(&later).await, DeviceState::Quarantined);
    let third = presented(&third).sha256;
    let third = world.store.system().device_by_key(third).await.unwrap().unwrap();
    assert_eq!(third.state(), DeviceState::Quarantined);
    let stranger = PresentedKey { sha256: [1; 32], point: vec![4; 65], network: String::new() };
    let system = world.store.system();
    let token = system.enroll(stranger, enroll_request(5), Some([3; 32]));
    assert!(matches!(token.await, Err(StoreError::Invalid { field: "token", .. })), "it was used already");
    let facility = registry.facility(here).await.unwrap();
    assert_eq!((facility.phi_mode, facility.record_days), (PhiMode::Minimal, Some(7)));
    let mode = registry.device(scene.kept.identity.device()).await.unwrap().phi_mode;
    assert_eq!(mode, Some(PhiMode::Free));
    // And the same again, from the same backup, with what is there now.
    scene.world.pass(60);
    let again = scene.put_back(|_| {});
    assert!(again.carried.unwrap().iter().any(|line| line.starts_with("user ben: switched off")));
    assert!(!scene.registry().user(ben).await.unwrap().is_active);
}

#[tokio::test]
async fn users_and_devices_have_the_names_that_they_were_given_since() {
    let mut scene = scene().await;
    let Scene { ben, cora, .. } = scene;
    let (registry, here) = (scene.registry(), scene.tenant.facility.facility());
    let rename = async |scene: &Scene, id, username: &str, display_name: &str| {
        let (username, display_name) = (Some(username.to_owned()), Some(display_name.to_owned()));
        scene.patch(id, UserPatch { username, display_name, ..UserPatch::default() }).await;
    };
    // Two change their names, by way of a third, and somebody new has the one that got free.
    rename(&scene, ben, "third", "Third").await;
    rename(&scene, cora, "ben", "Cora Ben").await;
    rename(&scene, ben, "cora", "Ben Cora").await;
    rename(&scene, scene.tenant.nurse, "nina.k", "Nina K.").await;
    let hired = scene.world.hire(&scene.tenant, "nina", Role::Rn).await;
    let hall = DevicePatch { name: Some("Hall".to_owned()), ..DevicePatch::default() };
    let kiosk = scene.kept.identity.device();
    registry.audited(event(&scene.world)).update_device(kiosk, hall).await.unwrap();

    let carried = scene.put_back(|_| {}).carried.unwrap();
    for sentence in [
        "user cora: renamed, another name that people see",
        "user ben: renamed, another name that people see",
        "user nina.k: renamed, another name that people see",
        "user nina: new since, and switched off",
        "device Hall: renamed",
    ] {
        assert!(carried.iter().any(|line| line == sentence), "no {sentence:?} in {carried:#?}");
    }
    let registry = scene.registry();
    let staff = scene.staff(here).await;
    for (id, username, display_name) in [
        (ben, "cora", "Ben Cora"),
        (cora, "ben", "Cora Ben"),
        (scene.tenant.nurse, "nina.k", "Nina K."),
        (hired, "nina", "nina Example"),
    ] {
        assert_eq!(registry.user(id).await.unwrap().username, username);
        assert_eq!(staff.iter().find(|user| user.id == id).unwrap().display_name, display_name);
        let signs_in = scene.world.store.system().credentials("alpha", username).await.unwrap().unwrap();
        assert_eq!(signs_in.user, id, "{username}");
    }
    assert_eq!(registry.device(kiosk).await.unwrap().name, "Hall");
}

#[tokio::test]
async fn an_address_that_somebody_gave_up_is_whose_it_is_now() {
    let mut scene = scene().await;
    let here = scene.tenant.facility.facility();
    let write = async |scene: &Scene, user, email: &str| {
        let email = Some(Some(email.to_owned()));
        scene.patch(user, UserPatch { email, ..UserPatch::default() }).await;
    };
    write(&scene, scene.ben, "desk@example.test").await;
    scene.back_up();
    write(&scene, scene.ben, "ben@example.test").await;
    let new =
        NewUser { email: Some("desk@example.test".to_owned()), ..new_user("dora", Role::Rn, Some(here)) };
    let dora = scene.registry().audited(event(&scene.world)).create_user(new).await.unwrap().id;
    let carried = scene.put_back(|_| {}).carried.unwrap();
    assert!(carried.iter().any(|line| line == "user ben: another e-mail address"), "{carried:#?}");
    assert!(carried.iter().any(|line| line == "user dora: new since, and switched off"), "{carried:#?}");
    for (id, email) in [(scene.ben, "ben@example.test"), (dora, "desk@example.test")] {
        assert_eq!(scene.registry().user(id).await.unwrap().email.as_deref(), Some(email));
    }
}

#[tokio::test]
async fn whose_new_name_is_anothers_has_the_old_one_or_is_given_one() {
    const USERS: &str = concat!("ba", "se_users");
    let mut scene = scene().await;
    let Scene { ben, cora, .. } = scene;
    let rename = async |scene: &Scene, id, username: &str| {
        scene.patch(id, UserPatch { username: Some(username.to_owned()), ..UserPatch::default() }).await;
    };
    // The backup alone has Olaf and Petra. Since, Ben has Cora's name, she has Olaf's, and Nina Petra's.
    for name in ["olaf", "petra"] {
        scene.world.hire(&scene.tenant, name, Role::Rn).await;
    }
    scene.back_up();
    let bare = crate::store::engine::without_walls(&scene.world.file("server.db"), &key());
    bare.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    bare.execute_batch(&format!("DELETE FROM {USERS} WHERE username IN ('olaf', 'petra')")).unwrap();
    drop(bare);
    rename(&scene, cora, "olaf").await;
    rename(&scene, ben, "cora").await;
    rename(&scene, scene.tenant.nurse, "petra").await;

    let carried = scene.put_back(|_| {}).carried.unwrap();
    for name in ["olaf", "petra"] {
        let sentence =
            format!("user {name}: the backup has another of that name; give one with `user rename");
        assert!(carried.iter().any(|line| line.starts_with(&sentence)), "{carried:#?}");
    }
    let signs_in = async |scene: &Scene, name: &str| {
        scene.world.store.system().credentials("alpha", name).await.unwrap().map(|known| known.user)
    };
    assert_eq!(signs_in(&scene, "nina").await, Some(scene.tenant.nurse), "under the old name");
    assert_eq!(signs_in(&scene, "cora").await, Some(ben));
    // Cora's old name is Ben's. Once he has another, she is given hers.
    rename(&scene, ben, "ben").await;
    rename(&scene, cora, "cora").await;
    assert_eq!(signs_in(&scene, "cora").await, Some(cora));
}

#[tokio::test]
async fn of_two_windows_the_shorter_stays() {
    for (then, since, stays) in [
        (Some(30), Some(7), Some(7)),
        (Some(7), Some(30), Some(7)),
        (None, Some(30), Some(30)),
        (Some(30), None, Some(30)),
    ] {
        let mut scene = scene().await;
        let here = scene.tenant.facility.facility();
        let keep = async |scene: &Scene, days| {
            let patch = FacilityPatch { record_days: Some(days), ..FacilityPatch::default() };
            scene.registry().audited(event(&scene.world)).update_facility(here, patch).await.unwrap();
        };
        keep(&scene, then).await;
        scene.back_up();
        keep(&scene, since).await;
        scene.put_back(|_| {});
        assert_eq!(scene.registry().facility(here).await.unwrap().record_days, stays, "{then:?} {since:?}");
    }
}

#[tokio::test]
async fn what_was_charted_by_who_came_since_is_taken_all_the_same() {
    let mut scene = scene().await;
    let dora = scene.world.hire(&scene.tenant, "dora", Role::Rn).await;
    scene.world.pass(60);
    let change = Change { actor: dora, ..scene.kept.vitals(&scene.tenant, 70, scene.world.now()) };
    scene.world.pass(60);
    scene.put_back(|_| {});
    let receipt = scene.world.push(&mut scene.kept, &[change]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)], "she gave care then");
}

/// As a backup from before tokens ran out comes out of its migration: each of its tokens runs out three days
/// after that.
#[tokio::test]
async fn a_restore_gives_no_token_more_than_the_three_days_that_it_had() {
    let mut scene = scene().await;
    let lent = |tx: &Tx<'_>| {
        let later = tx.now().plus_millis(30 * 24 * 3_600_000).as_millis();
        tx.execute("UPDATE devices SET token_expires_at = ?1 WHERE token_sha256 IS NOT NULL", params![later])
    };
    scene.world.store.write(AccessScope::Facility(scene.tenant.facility), lent).await.unwrap();
    scene.back_up();
    // The scene has taken an hour.
    scene.world.pass(71 * 3_600);
    scene.put_back(|_| {});
    let stranger = PresentedKey { sha256: [1; 32], point: vec![4; 65], network: String::new() };
    let late = scene.world.store.system().enroll(stranger, enroll_request(3), Some([3; 32])).await;
    assert!(late.is_err_and(|refused| refused.to_string().contains("run out")));
}

#[tokio::test]
async fn without_the_replaced_database_devices_are_quarantined_and_the_rest_is_listed() {
    type Lose = fn(&std::path::Path);
    let losses: [(&str, Lose); 3] = [
        ("there was no database", |path| std::fs::remove_file(path).unwrap()),
        ("does not open", |path| std::fs::write(path, vec![7; 8192]).unwrap()),
        ("cannot be opened", |path| {
            // Another server's, with another key.
            std::fs::remove_file(path).unwrap();
            let ambient = Ambient::new(
                || Timestamp::from_millis(START),
                |bytes| {
                    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
                    bytes.fill(NEXT.fetch_add(1, Ordering::SeqCst));
                    true
                },
            );
            Store::open(path, &DatabaseKey::new([8; 32]), ambient).unwrap().close();
        }),
    ];
    for (what, lose) in losses {
        let mut scene = scene().await;
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        scene.patch(scene.ben, off).await;
        let restored = scene.put_back(lose);
        assert_eq!(restored.carried, None, "{what}");
        let said = restored.unknown.join("\n");
        for word in
            ["is not known", "Kiosk 1", "Kiosk 2", "device release", "user list", "Badges", "--reason lost"]
        {
            assert!(said.contains(word), "{what}: no {word:?} in {said}");
        }
        for kiosk in [&scene.stolen, &scene.kept] {
            assert_eq!(scene.state(kiosk).await, DeviceState::Quarantined, "{what}");
        }
        assert_eq!(scene.signed_in().await, Some(0), "{what}");
        let sha256 = presented(&scene.kept.key).sha256;
        scene.kept.identity = scene.world.store.system().device_by_key(sha256).await.unwrap().unwrap();
        // Charting goes on, and an administrator who has seen the device lets it read again.
        let change = scene.kept.vitals(&scene.tenant, 70, scene.world.now());
        let receipt = scene.world.push(&mut scene.kept, &[change]).await.unwrap();
        assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
        let device = scene.kept.identity.device();
        let shown = scene.registry().device(device).await.unwrap();
        assert_eq!(shown.quarantine.as_deref(), Some("restored"));
        scene.registry().audited(event(&scene.world)).release_device(device).await.unwrap();
        assert_eq!(scene.state(&scene.kept).await, DeviceState::Active);
        let quarantined = noticed(&scene.world, &scene.tenant, "device_quarantined").await;
        assert_eq!(quarantined.len(), 2);
    }
}

#[tokio::test]
async fn a_damaged_database_tells_what_it_can_and_is_doubted_all_the_same() {
    let mut scene = scene().await;
    let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
    scene.patch(scene.ben, off).await;
    for n in 0..200 {
        let new = new_patient(scene.tenant.facility.facility(), &format!("P-{n}"));
        scene.registry().audited(event(&scene.world)).create_patient(new).await.unwrap();
    }
    let restored = scene.put_back(|path| {
        // The last page: the audit log's, or the residents'.
        let mut bytes = std::fs::read(path).unwrap();
        let last = bytes.len() - 2048;
        bytes[last] ^= 1;
        std::fs::write(path, bytes).unwrap();
    });
    assert!(!restored.unknown.is_empty());
    assert!(restored.carried.unwrap().iter().any(|line| line.starts_with("user ben: switched off")));
    assert!(!scene.registry().user(scene.ben).await.unwrap().is_active);
    assert_eq!(scene.state(&scene.kept).await, DeviceState::Quarantined);
}

#[tokio::test]
async fn a_restore_that_breaks_off_leaves_what_was_there() {
    let scene = scene().await;
    let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
    scene.patch(scene.ben, off).await;
    scene.world.store.close();
    let path = scene.world.file("server.db");
    let (before, real) = (scene.world.files(), scene.world.ambient.clone());
    let mut broke_off = 0;
    for draws in (0..).step_by(7) {
        let left = std::sync::atomic::AtomicI64::new(draws);
        let (clock, random) = (real.clone(), real.clone());
        // It breaks off in the middle of what it does, a step later each time.
        let ambient = Ambient::new(
            move || clock.now(),
            move |bytes| left.fetch_sub(1, Ordering::SeqCst) > 0 && (random.random)(bytes),
        );
        if restore(&path, &key(), &ambient, &scene.world.file("copy.db")).is_ok() {
            break;
        }
        assert_eq!(scene.world.files(), before, "after {draws}");
        broke_off += 1;
    }
    assert!(broke_off > 10, "it did not break off but {broke_off} times");
    let store = Store::open(&path, &key(), real).unwrap();
    let ben = store.organization(&scene.tenant.organization).user(scene.ben).await.unwrap();
    assert!(!ben.is_active);
}

/// Either database may be one that stopped after the report of a lost device, or in the midst of what follows.
#[tokio::test]
async fn what_was_begun_for_a_lost_device_is_done_after_a_restore() {
    for (in_backup, portions) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut scene = scene().await;
        let known = scene.world.granted(&scene.stolen).await;
        assert_eq!(scene.world.begin_with_lost(&scene.tenant).await.pins, 3);
        for _ in 0..portions {
            assert!(scene.world.go_on_with_lost(&scene.tenant).await);
        }
        if in_backup {
            scene.back_up();
            while scene.world.go_on_with_lost(&scene.tenant).await {}
        }
        scene.put_back(|_| {});
        let (world, tenant) = (&scene.world, &scene.tenant);
        assert!(!world.go_on_with_lost(tenant).await, "something is left to be done");
        let (_, told) = keys(world, tenant).await.pop().unwrap();
        assert_eq!(told.keys.len(), 1);
        let badges: Vec<(u64, BadgeDocument)> = documents(world, &tenant.facility, Collection::Badges).await;
        let lookups: Vec<_> = badges.into_iter().map(|(_, badge)| badge.lookup).collect();
        for uid in [[1, 2, 3, 4], [5, 6, 7, 8]] {
            assert!(lookups.contains(&computed(&known, &told.keys, &uid)), "{in_backup}, {portions}");
        }
        let staff = scene.staff(tenant.facility.facility()).await;
        assert_eq!(staff.iter().filter(|user| user.pin_exposed_at.is_some()).count(), 3);
    }
}
