//! A device is stolen: what it held of its facility is worth nothing from then on, and nobody has to tap a
//! badge for that.

use crate::store::engine::params;
use std::time::{Duration, Instant};

use carepost_protocol::hex::unhex;
use carepost_protocol::pin::ChosenPin;
use carepost_protocol::record::{BadgeDocument, BadgeKeysDocument, UserDocument};
use carepost_protocol::wire::pull::Line;
use serde::de::DeserializeOwned;

use super::*;

const UID: [u8; 7] = [0x04, 0xA1, 0xB2, 0xC3, 0xD4, 0xE5, 0xF6];
const OTHER_UID: [u8; 4] = [0x04, 0x11, 0x22, 0x33];

fn verifier(salt: &str) -> String {
    format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$aGFzaA")
}

/// The documents of a collection as a device is sent them, with their places in the feed.
pub(super) async fn documents<T: DeserializeOwned>(
    world: &World,
    scope: &FacilityScope,
    which: Collection,
) -> Vec<(u64, T)> {
    let page = world.store.facility(scope).page(after(None, 2_000)).await.unwrap();
    let lines = page.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<Line<'_>>(line).unwrap());
    let of = lines.filter(|line| line.collection.as_deref() == Some(which.name()));
    of.filter_map(|line| Some((line.seq.unwrap(), serde_json::from_str(line.body?.get()).ok()?))).collect()
}

pub(super) async fn keys(world: &World, tenant: &Tenant) -> Vec<(u64, BadgeKeysDocument)> {
    documents(world, &tenant.facility, Collection::Facilities).await
}

async fn badges(world: &World, tenant: &Tenant) -> Vec<(u64, BadgeDocument)> {
    documents(world, &tenant.facility, Collection::Badges).await
}

/// The keys and badges that a feed holds just now. Whoever pulls them has them keyed anew first.
async fn held(world: &World, tenant: &Tenant) -> (Vec<String>, Vec<(u64, BadgeDocument)>) {
    let read = |tx: &Tx<'_>| {
        let sql = "SELECT body FROM documents WHERE collection = 'facilities' AND id = ?1";
        let keys: Option<String> = tx.first(sql, params![BadgeKeysDocument::ID])?;
        let sql = "SELECT seq, body FROM documents WHERE collection = 'badges' AND body IS NOT NULL";
        Ok((keys, tx.all::<(u64, String)>(sql, params![])?))
    };
    let (keys, badges) = world.store.read(AccessScope::Facility(tenant.facility), read).await.unwrap();
    let keys = keys.map(|body| serde_json::from_str::<BadgeKeysDocument>(&body).unwrap().keys);
    let badges = badges.into_iter().map(|(seq, body)| (seq, serde_json::from_str(&body).unwrap()));
    (keys.unwrap_or_default(), badges.collect())
}

async fn nurse(world: &World, tenant: &Tenant) -> UserDocument {
    let users = documents(world, &tenant.facility, Collection::Users).await;
    users.into_iter().map(|(_, user): (u64, UserDocument)| user).find(|user| user.id == tenant.nurse).unwrap()
}

/// What a device computes: HMAC under the first key, then under each that was laid over it.
pub(super) fn computed(first: &str, layers: &[String], uid: &[u8]) -> String {
    let uid: String = uid.iter().map(|byte| format!("{byte:02X}")).collect();
    let keys = [first].into_iter().chain(layers.iter().map(String::as_str));
    keys.fold(format!("uid:{uid}"), |text, key| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &unhex::<32>(key).unwrap());
        hex(ring::hmac::sign(&key, text.as_bytes()).as_ref())
    })
}

impl World {
    /// What a thief finds on a device: the badge key that it was granted.
    pub(super) async fn granted(&self, kiosk: &Kiosk) -> String {
        let answer =
            self.store.system().enroll(presented(&kiosk.key), enroll_request(1), None).await.unwrap();
        let EnrollResponse::Active { grant } = answer else { panic!("{answer:?}") };
        grant.badge_key
    }

    pub(super) async fn deactivate(
        &self,
        tenant: &Tenant,
        kiosk: &Kiosk,
        why: Deactivation,
    ) -> Option<Exposed> {
        let registry = self.store.organization(&tenant.organization);
        let done = registry.audited(event(self)).deactivate_device(kiosk.identity.device(), why).await;
        done.unwrap().exposed
    }

    /// What the report of a lost device writes, and nothing of what follows: the server stops there.
    pub(super) async fn begin_with_lost(&self, tenant: &Tenant) -> Exposed {
        let facility = tenant.facility.facility();
        let begin = move |tx: &Tx<'_>| organization::begin_with_lost(tx, facility, 0);
        self.store.write(AccessScope::Organization(tenant.organization), begin).await.unwrap()
    }

    /// The next portion of what follows; whether there may be more.
    pub(super) async fn go_on_with_lost(&self, tenant: &Tenant) -> bool {
        let access = AccessScope::Facility(tenant.facility);
        self.store.write(access, organization::go_on_with_lost).await.unwrap()
    }

    pub(super) async fn set_pin(&self, tenant: &Tenant, user: UserId, salt: &str) {
        let registry = self.store.organization(&tenant.organization);
        registry.audited(event(self)).set_pin(user, Some(verifier(salt))).await.unwrap();
    }

    async fn issue(&self, tenant: &Tenant, user: UserId, uid: &[u8]) -> Badge {
        let registry = self.store.organization(&tenant.organization);
        registry.audited(event(self)).issue_badge(user, uid).await.unwrap()
    }
}

impl Kiosk {
    /// The nurse's answer to an exposure: another PIN.
    pub(super) fn choice(&self, tenant: &Tenant, exposed_at: Timestamp, salt: &str, at: Timestamp) -> Change {
        let chosen = ChosenPin { pin_verifier: verifier(salt), exposed_at };
        Change {
            kind: ChangeKind::Patch,
            collection: Collection::Users,
            record: Some(RecordId::from_bytes(*tenant.nurse.as_bytes())),
            fields: chosen.fields(),
            ..self.admission(tenant, json!({}), at)
        }
    }
}

#[tokio::test]
async fn badges_work_on_under_a_key_that_the_thief_has_not() {
    let (world, tenant, [stolen, kept]) = World::with_kiosks().await;
    let known = world.granted(&stolen).await;
    let (badge, old) = (
        world.issue(&tenant, tenant.nurse, &UID).await,
        world.issue(&tenant, tenant.nurse, &OTHER_UID).await,
    );
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).revoke_badge(old.id).await.unwrap();
    assert!(keys(&world, &tenant).await.is_empty(), "no device was lost yet");
    world.pass(60);
    let exposed = world.deactivate(&tenant, &stolen, Deactivation::Lost).await.unwrap();
    assert_eq!((exposed.pins, exposed.badges), (0, 2), "nobody had a PIN");

    let (keys_at, layers) = keys(&world, &tenant).await.pop().unwrap();
    assert_eq!(layers.keys.len(), 1);
    let after = badges(&world, &tenant).await;
    assert!(after.iter().all(|(seq, _)| *seq > keys_at), "the key comes before what needs it");
    for (id, uid, is_active) in [(badge.id, &UID[..], true), (old.id, &OTHER_UID[..], false)] {
        let (_, found) = after.iter().find(|(_, found)| found.id == id).unwrap();
        assert_eq!(found.lookup, computed(&known, &layers.keys, uid), "no card was tapped for it");
        assert_ne!(found.lookup, computed(&known, &[], uid), "the thief's key does not match");
        assert_eq!(found.is_active, is_active);
    }
    // A card that is somebody's badge is known as such; one issued now is known by the new key only.
    let taken = registry.audited(event(&world)).issue_badge(tenant.nurse, &UID).await;
    assert!(matches!(taken, Err(StoreError::Issued(_))), "{taken:?}");
    world.issue(&tenant, tenant.nurse, &[1, 2, 3, 4]).await;
    let lookups: Vec<_> = badges(&world, &tenant).await.into_iter().map(|(_, badge)| badge.lookup).collect();
    assert!(lookups.contains(&computed(&known, &layers.keys, &[1, 2, 3, 4])));

    // Saying it twice does it once; the next stolen device costs the next key.
    assert_eq!(world.deactivate(&tenant, &stolen, Deactivation::Lost).await, None);
    assert_eq!(world.deactivate(&tenant, &stolen, Deactivation::Retired).await, None);
    assert_eq!(keys(&world, &tenant).await.pop().unwrap().1.keys, layers.keys);
    let again = world.deactivate(&tenant, &kept, Deactivation::Lost).await.unwrap();
    assert_eq!(again.badges, 3);
    let (_, twice) = keys(&world, &tenant).await.pop().unwrap();
    assert_eq!((twice.keys.len(), &twice.keys[..1]), (2, &layers.keys[..]));
    let lookups: Vec<_> = badges(&world, &tenant).await.into_iter().map(|(_, badge)| badge.lookup).collect();
    assert!(lookups.contains(&computed(&known, &twice.keys, &UID)));
}

/// By the store's own clock, of which each look costs a millisecond here: a portion is some forty badges.
#[tokio::test]
async fn whichever_portion_was_the_last_every_card_is_known() {
    const BADGES: u16 = 130;
    let world = World::ticking();
    let tenant = world.tenant("alpha").await;
    let known = world.granted(&world.kiosk(&tenant, 1).await).await;
    let uid = |n: u16| [0x04, 0x55, n.to_be_bytes()[0], n.to_be_bytes()[1]];
    let mut last = None;
    // A user has 50 at most.
    for first in (0..BADGES).step_by(45) {
        let user = world.hire(&tenant, &format!("user{first}"), Role::Rn).await;
        for n in first..BADGES.min(first + 45) {
            last = Some(world.issue(&tenant, user, &uid(n)).await.id);
        }
    }
    let (registry, last) = (world.store.organization(&tenant.organization), last.unwrap());
    let exposed = world.begin_with_lost(&tenant).await;
    assert_eq!((exposed.pins, exposed.badges), (0, u64::from(BADGES)));
    let (mut cards, mut portions) = (BADGES, 0);
    loop {
        let (_, before) = held(&world, &tenant).await;
        let more = world.go_on_with_lost(&tenant).await;
        let (told, after) = held(&world, &tenant).await;
        let moved = after.iter().filter(|badge| !before.contains(badge)).count();
        assert!(moved <= 40, "{moved} in one portion");
        // As a device looks a card up: under each step of the keys that it has.
        for n in 0..cards {
            let steps: Vec<_> =
                (0..=told.len()).map(|step| computed(&known, &told[..step], &uid(n))).collect();
            let found = after.iter().filter(|(_, badge)| steps.contains(&badge.lookup)).count();
            assert_eq!(found, 1, "card {n} after portion {portions}");
        }
        portions += 1;
        match portions {
            // The first told the key. What waits to be keyed anew can be revoked, and is somebody's; new ones come.
            2 => {
                assert_eq!(told.len(), 1);
                let waits = computed(&known, &[], &uid(BADGES - 2));
                assert!(after.iter().any(|(_, badge)| badge.lookup == waits), "it is keyed already");
                let taken = registry.audited(event(&world)).issue_badge(tenant.nurse, &uid(BADGES - 2)).await;
                assert!(matches!(taken, Err(StoreError::Issued(_))), "{taken:?}");
                assert!(!registry.audited(event(&world)).revoke_badge(last).await.unwrap().is_active);
                world.issue(&tenant, tenant.nurse, &uid(BADGES)).await;
                cards += 1;
            }
            // Another device is lost before that is done.
            3 => assert!(world.begin_with_lost(&tenant).await.badges > 0 && more),
            _ if !more => break,
            _ => {}
        }
    }
    assert!(portions > 2 * usize::from(BADGES) / 40, "{portions}");
    let (told, after) = held(&world, &tenant).await;
    assert_eq!((told.len(), after.len()), (2, usize::from(cards)));
    for n in 0..cards {
        let lookup = computed(&known, &told, &uid(n));
        let (_, badge) = after.iter().find(|(_, badge)| badge.lookup == lookup).unwrap();
        assert_eq!((badge.id == last, badge.is_active), (n == BADGES - 1, n != BADGES - 1));
    }
}

#[tokio::test]
async fn a_device_that_stops_between_two_pages_has_the_keys_to_every_badge_that_it_has() {
    let (world, tenant, [stolen, _]) = World::with_kiosks().await;
    let known = world.granted(&stolen).await;
    for uid in [&UID[..], &OTHER_UID] {
        world.issue(&tenant, tenant.nurse, uid).await;
    }
    world.deactivate(&tenant, &stolen, Deactivation::Lost).await.unwrap();
    // The next one, whose key is told, and no badge keyed with it.
    world.begin_with_lost(&tenant).await;
    assert!(world.go_on_with_lost(&tenant).await);
    let (told, waiting) = held(&world, &tenant).await;
    assert_eq!((told.len(), waiting.len()), (2, 2));
    assert!(waiting.iter().any(|(_, badge)| badge.lookup == computed(&known, &told[..1], &UID)));

    let (mut keys, mut badges) = (Vec::new(), Vec::new());
    let mut cursor = None;
    loop {
        let page = world.store.facility(&tenant.facility).page(after(cursor, 1)).await.unwrap();
        let line = page.lines.split(|byte| *byte == b'\n').next().unwrap();
        let line: Line<'_> = serde_json::from_slice(line).unwrap();
        let body = line.body.map(|body| body.get().to_owned()).unwrap_or_default();
        if line.collection.as_deref() == Some("badges") {
            badges.push(serde_json::from_str::<BadgeDocument>(&body).unwrap());
        } else if let Ok(document) = serde_json::from_str::<BadgeKeysDocument>(&body) {
            keys = document.keys;
        }
        let steps = (0..=keys.len()).map(|step| &keys[..step]);
        let looked_up: Vec<_> =
            steps.flat_map(|keys| [&UID[..], &OTHER_UID].map(|uid| computed(&known, keys, uid))).collect();
        assert!(badges.iter().all(|badge| looked_up.contains(&badge.lookup)), "{} keys", keys.len());
        if page.end.reaches_head() {
            break;
        }
        cursor = Some(page.end.cursor);
    }
    assert_eq!((keys.len(), badges.len()), (2, 2));
}

#[tokio::test]
async fn what_broke_off_goes_on_when_a_device_is_heard_or_the_lost_one_is_reported_again() {
    let (mut world, tenant, [stolen, kept]) = World::with_kiosks().await;
    let known = world.granted(&stolen).await;
    world.issue(&tenant, tenant.nurse, &UID).await;
    world.set_pin(&tenant, tenant.nurse, "c2FsdA").await;
    let is_done = async |world: &World, keys: usize| {
        let (told, badges) = held(world, &tenant).await;
        told.len() == keys && badges[0].1.lookup == computed(&known, &told, &UID)
    };
    let exposed = world.begin_with_lost(&tenant).await;
    assert_eq!((exposed.pins, exposed.badges), (1, 1));
    world.store.close();
    world.store = Store::open(&world.file("server.db"), &key(), world.ambient.clone()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_done(&world, 1).await {
        world.store.facility(&tenant.facility).mirror_began(&kept.identity);
        assert!(Instant::now() < deadline, "it does not go on");
        tokio::task::yield_now().await;
    }
    assert_eq!(nurse(&world, &tenant).await.pin_exposed_at, Some(world.now()));

    world.deactivate(&tenant, &stolen, Deactivation::Lost).await.unwrap();
    world.begin_with_lost(&tenant).await;
    assert!(!is_done(&world, 3).await);
    assert_eq!(world.deactivate(&tenant, &stolen, Deactivation::Lost).await, None);
    assert!(is_done(&world, 3).await);
}

#[tokio::test]
async fn the_pins_that_a_lost_device_held_are_exposed_and_no_others() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let elsewhere =
        registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    let here = tenant.facility.facility();
    let hire = async |name: &str, at: FacilityId| {
        let made = registry.audited(event(&world)).create_user(new_user(name, Role::Rn, Some(at))).await;
        let id = made.unwrap().id;
        world.set_pin(&tenant, id, "c2FsdA").await;
        id
    };
    world.set_pin(&tenant, tenant.nurse, "c2FsdA").await;
    let (moved, stranger) = (hire("mona", here).await, hire("sten", elsewhere).await);
    world.pass(3600);
    let patch = UserPatch { facility_id: Some(Some(elsewhere)), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(moved, patch).await.unwrap();
    let exposed = async |id| registry.user(id).await.unwrap().pin_exposed_at;
    let late = world.kiosk(&tenant, 2).await;
    assert_eq!(world.deactivate(&tenant, &late, Deactivation::Replaced).await, None);
    assert_eq!(exposed(tenant.nurse).await, None, "what is in hand gives nothing away");
    // It never said that it had heard of the move.
    let done = world.deactivate(&tenant, &kiosk, Deactivation::Lost).await.unwrap();
    assert_eq!(done.pins, 2);
    let now = Some(world.now());
    assert_eq!(exposed(tenant.nurse).await, now);
    assert_eq!(exposed(moved).await, now);
    assert_eq!(exposed(stranger).await, None);
    assert_eq!(nurse(&world, &tenant).await.pin_exposed_at, now);
    // The office sets another: that one was never on the stolen device.
    world.pass(60);
    world.set_pin(&tenant, tenant.nurse, "bmV3").await;
    let after = nurse(&world, &tenant).await;
    assert_eq!((after.pin_exposed_at, after.pin_verifier), (None, Some(verifier("bmV3"))));
    assert_eq!(world.deactivate(&tenant, &kiosk, Deactivation::Lost).await, None);
    assert_eq!(exposed(tenant.nurse).await, None);
    // A device that was retired, and then turns out to be lost.
    let found = world.deactivate(&tenant, &late, Deactivation::Lost).await.unwrap();
    assert_eq!(found.pins, 1, "the other's is exposed already, since then");
    assert_eq!(exposed(moved).await, now);
    // Nor was one on it that was set since, of who leaves after that.
    world.pass(60);
    world.set_pin(&tenant, tenant.nurse, "bmV3ZXI").await;
    world.pass(60);
    let patch = UserPatch { facility_id: Some(Some(elsewhere)), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, patch).await.unwrap();
    assert_eq!(world.deactivate(&tenant, &kiosk, Deactivation::Lost).await, None);
    assert_eq!(exposed(tenant.nurse).await, None);
}

/// What a stolen device says of itself hides nothing: it may run on, and sync.
#[tokio::test]
async fn who_left_while_a_device_was_there_is_exposed_however_late_it_says_that_it_synced() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let elsewhere =
        registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    let anew = world.hire(&tenant, "anew", Role::Rn).await;
    for user in [tenant.nurse, anew] {
        world.set_pin(&tenant, user, "c2FsdA").await;
        world.pass(60);
        let patch = UserPatch { facility_id: Some(Some(elsewhere)), ..UserPatch::default() };
        registry.audited(event(&world)).update_user(user, patch).await.unwrap();
        world.pass(60);
    }
    world.set_pin(&tenant, anew, "bmV3").await;
    let (synced, now) = ("UPDATE devices SET last_sync = ?1", world.now());
    let say = move |tx: &Tx<'_>| tx.execute(synced, params![now]);
    world.store.write(AccessScope::Organization(tenant.organization), say).await.unwrap();
    world.pass(60);
    let late = world.kiosk(&tenant, 2).await;
    world.pass(60);
    let lost = world.deactivate(&tenant, &late, Deactivation::Lost).await.unwrap();
    assert_eq!(lost.pins, 0, "both had left before it came");
    let lost = world.deactivate(&tenant, &kiosk, Deactivation::Lost).await.unwrap();
    assert_eq!(lost.pins, 1);
    let exposed = async |id| registry.user(id).await.unwrap().pin_exposed_at;
    assert_eq!((exposed(tenant.nurse).await, exposed(anew).await), (Some(world.now()), None));
}

/// A kiosk of whose two another was lost just now, with the nurse's PIN.
async fn exposed() -> (World, Tenant, Kiosk, Timestamp) {
    let (world, tenant, [hall, stolen]) = World::with_kiosks().await;
    world.set_pin(&tenant, tenant.nurse, "b2xk").await;
    world.deactivate(&tenant, &stolen, Deactivation::Lost).await.unwrap();
    let exposed = world.now();
    (world, tenant, hall, exposed)
}

/// An agent from before there was such a thing goes by the verifier alone: after seven days it has none.
#[tokio::test]
async fn a_pin_that_was_exposed_for_seven_days_is_sent_to_no_device() {
    let (world, tenant, mut hall, exposed) = exposed().await;
    let head =
        async || world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap().end.head;
    let daily = async || {
        let access = AccessScope::Facility(tenant.facility);
        world.store.write(access, |tx| organization::withhold_expired_pins(tx, None)).await.unwrap();
        let user = nurse(&world, &tenant).await;
        assert_eq!(user.pin_exposed_at, Some(exposed));
        user.pin_verifier
    };
    let before = head().await;
    world.pass(7 * 24 * 3_600 - 1);
    assert_eq!(
        (daily().await, head().await),
        (Some(verifier("b2xk")), before),
        "she may still choose another"
    );
    world.pass(1);
    let deadline = Instant::now() + Duration::from_secs(60);
    while nurse(&world, &tenant).await.pin_verifier.is_some() {
        world.store.facility(&tenant.facility).mirror_began(&hall.identity);
        assert!(Instant::now() < deadline, "it is still sent");
        tokio::task::yield_now().await;
    }
    assert_eq!((daily().await, head().await), (None, before + 1), "once");
    // It is known here: nobody sets it again. What she chose in time, on a kiosk that was cut off, stands.
    let registry = world.store.organization(&tenant.organization);
    assert_eq!(registry.exposed_pin(tenant.nurse).await.unwrap(), Some(verifier("b2xk")));
    let change = hall.choice(&tenant, exposed, "bmV3", world.now().plus_millis(-60_000));
    world.push(&mut hall, &[change]).await.unwrap();
    let user = nurse(&world, &tenant).await;
    assert_eq!((user.pin_verifier, user.pin_exposed_at), (Some(verifier("bmV3")), None));
}

#[tokio::test]
async fn the_later_of_two_choices_stands_in_any_order_and_a_device_may_do_no_more() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let stolen = world.kiosk(&tenant, 3).await;
    world.set_pin(&tenant, tenant.nurse, "b2xk").await;
    world.pass(60);
    let pin = async || nurse(&world, &tenant).await.pin_verifier.unwrap();
    // Nothing is exposed: a device sets no PIN.
    let change = hall.choice(&tenant, world.now(), "dGhpZWY", world.now());
    let receipt = world.push(&mut hall, &[change]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)], "in good faith, perhaps: nobody is rejected");
    assert_eq!(pin().await, verifier("b2xk"), "and yet nothing came of it");
    world.deactivate(&tenant, &stolen, Deactivation::Lost).await.unwrap();
    let exposed = world.now();
    world.pass(600);
    let at = |minutes: i64| world.now().plus_millis(minutes * 60_000);
    let change = ward.choice(&tenant, exposed, "bGF0ZXI", at(-1));
    let receipt = world.push(&mut ward, &[change]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
    assert_eq!(pin().await, verifier("bGF0ZXI"));
    assert_eq!(nurse(&world, &tenant).await.pin_exposed_at, None);
    // She had chosen at the other kiosk before, which was cut off.
    let changes = [
        hall.choice(&tenant, exposed, "ZWFybGllcg", at(-2)),
        Change { actor: UserId::from_bytes([9; 16]), ..hall.choice(&tenant, exposed, "eA", at(-2)) },
        Change { record: Some(RecordId::from_bytes([9; 16])), ..hall.choice(&tenant, exposed, "eA", at(-2)) },
        Change {
            fields: json!({"pin_verifier": "$argon2id$v=19$m=4194304,t=9,p=1$eA$eA", "exposed_at": exposed})
                .as_object()
                .unwrap()
                .clone(),
            ..hall.choice(&tenant, exposed, "eA", at(-2))
        },
    ];
    let receipt = world.push(&mut hall, &changes).await.unwrap();
    let rejected = |code| (Verdict::Rejected, Some(code));
    let expected = [
        (Verdict::Applied, None),
        rejected(RejectionCode::NotAuthorized),
        rejected(RejectionCode::NotAuthorized),
        rejected(RejectionCode::Unsupported),
    ];
    assert_eq!(verdicts(&receipt), expected);
    assert_eq!(pin().await, verifier("bGF0ZXI"));
    // What nobody may see is not kept beside the user, nor shown where it was rejected.
    let (kept, payload) = world
        .store
        .facility(&tenant.facility)
        .change(&may_read(&tenant), hall.identity.device(), hall.named(5))
        .await
        .unwrap();
    assert_eq!((kept.collection, payload), (Some(Collection::Users), None));

    // And one that is there twice sets none either.
    world.deactivate(&tenant, &ward, Deactivation::Lost).await.unwrap();
    let exposed = world.now();
    world.store.facility(&tenant.facility).quarantine(&mut hall.identity, "drill").await.unwrap();
    let change = hall.choice(&tenant, exposed, "Y29weQ", at(0));
    assert_eq!(verdicts(&world.push(&mut hall, &[change]).await.unwrap()), [(Verdict::Applied, None)]);
    assert_eq!(pin().await, verifier("bGF0ZXI"));
    assert_eq!(nurse(&world, &tenant).await.pin_exposed_at, Some(exposed), "she is asked again");
}

#[tokio::test]
async fn an_answered_theft_is_answered_again_for_two_weeks_and_no_longer() {
    let (world, tenant, mut hall, exposed) = exposed().await;
    let mut answer = async |salt: &str| {
        let change = hall.choice(&tenant, exposed, salt, world.now());
        let receipt = world.push(&mut hall, &[change]).await.unwrap();
        assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
        nurse(&world, &tenant).await.pin_verifier.unwrap()
    };
    world.pass(60);
    assert_eq!(answer("b25l").await, verifier("b25l"));
    world.pass(14 * 24 * 3_600 - 61);
    assert_eq!(answer("dHdv").await, verifier("dHdv"), "from a kiosk that was cut off");
    world.pass(1);
    assert_eq!(answer("dGhyZWU").await, verifier("dHdv"));
}

/// A PIN's verifier is the user's as long as it is hers, and nobody's once it is not.
#[tokio::test]
async fn a_choice_that_is_settled_later_leaves_no_verifier_behind() {
    let (world, tenant, mut hall, exposed) = exposed().await;
    world.pass(600);
    // Her role begins too late for all of them.
    let terms = |from: i64| {
        let sql = "UPDATE user_terms SET from_at = ?1";
        world.store.write(AccessScope::Facility(tenant.facility), move |tx| tx.execute(sql, params![from]))
    };
    terms(i64::MAX).await.unwrap();
    let choices = ["b25l", "dHdv", "dGhyZWU"].map(|salt| hall.choice(&tenant, exposed, salt, world.now()));
    let [one, two, three] = choices;
    let receipt = world.push(&mut hall, &[one, two, three]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Rejected, Some(RejectionCode::NotAuthorized)); 3]);
    terms(0).await.unwrap();
    let registry = world.store.organization(&tenant.organization);
    let device = hall.identity.device();
    let audited = || registry.audited(event(&world));
    audited().retry_change(device, hall.named(1)).await.unwrap();
    assert_eq!(nurse(&world, &tenant).await.pin_verifier, Some(verifier("b25l")));
    audited().discard_change(device, hall.named(2), "she chose another".to_owned()).await.unwrap();
    let kept = "SELECT n FROM changes WHERE payload IS NOT NULL ORDER BY n";
    let kept =
        world.store.read(AccessScope::Facility(tenant.facility), move |tx| tx.all::<u64>(kept, params![]));
    assert_eq!(kept.await.unwrap(), [3], "what may still be judged again is kept for that");
    assert!(world.verified().is_whole(), "{:?}", world.verified());
}
