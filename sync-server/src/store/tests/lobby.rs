//! Devices come in: by code, by token, and twice with one label.

use carepost_protocol::id::EnrollmentId;
use carepost_protocol::wire::enroll::UserCode;

use super::enrollment::{MAX_OF_NETWORK, MAX_WAITING};
use super::*;
use crate::store::engine::params;

fn fresh_key() -> PresentedKey {
    presented(&testing::key())
}

fn claim(tenant: &Tenant) -> Claim {
    Claim {
        facility_id: tenant.facility.facility(),
        name: "Hall kiosk".into(),
        device_type: DeviceType::RaspberryPi,
    }
}

fn person(n: u8) -> UserId {
    UserId::new(Timestamp::EPOCH, [n; 10])
}

async fn asks(world: &World, key: &PresentedKey, n: u8) -> EnrollResponse {
    world.store.system().enroll(key.clone(), enroll_request(n), None).await.unwrap()
}

async fn number_of(world: &World, key: &PresentedKey, n: u8) -> String {
    let answer = asks(world, key, n).await;
    let EnrollResponse::Confirming { number, .. } = answer else { panic!("{answer:?}") };
    number
}

async fn code_of(world: &World, key: &PresentedKey, n: u8) -> UserCode {
    let answer = asks(world, key, n).await;
    let EnrollResponse::Pending { user_code, .. } = answer else { panic!("{answer:?}") };
    user_code
}

/// Somebody types the code of a device that waits.
async fn claims(world: &World, tenant: &Tenant, who: UserId, code: UserCode) -> Result<Waiting, StoreError> {
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(world)).claim(who, code, claim(tenant)).await
}

/// A device whose code was typed: its key, the code, how it waits, and the number on its screen.
pub(super) async fn claimed(world: &World, tenant: &Tenant) -> (PresentedKey, UserCode, Waiting, String) {
    let key = fresh_key();
    let code = code_of(world, &key, 1).await;
    let waiting = claims(world, tenant, person(1), code.clone()).await.unwrap();
    let number = number_of(world, &key, 1).await;
    (key, code, waiting, number)
}

#[tokio::test]
async fn a_code_and_a_number_let_a_device_in() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (key, admin) = (fresh_key(), person(1));
    let code = code_of(&world, &key, 1).await;
    assert_eq!(code_of(&world, &key, 1).await, code, "asking again changes nothing");
    world.pass(601);
    let fresh = code_of(&world, &key, 1).await;
    assert_ne!(fresh, code);
    assert!(matches!(claims(&world, &tenant, admin, code).await, Err(StoreError::WrongCode)));
    let waiting = claims(&world, &tenant, admin, fresh).await.unwrap();
    let answer = world.store.system().enroll(key.clone(), enroll_request(1), None).await.unwrap();
    let EnrollResponse::Confirming { number, facility_name, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((facility_name.as_str(), number.len()), ("Riverside", 2));
    let wrong = if number == "11" { "12" } else { "11" };
    assert!(matches!(
        registry.audited(event(&world)).confirm(admin, waiting.id, wrong).await,
        Err(StoreError::WrongCode)
    ));
    let device = registry.audited(event(&world)).confirm(admin, waiting.id, &number).await.unwrap();
    assert!(device.assignment.is_some());
    let answer = world.store.system().enroll(key.clone(), enroll_request(1), None).await.unwrap();
    let EnrollResponse::Active { grant } = answer else { panic!("{answer:?}") };
    assert_eq!((grant.device_id, Some(grant.assignment_id)), (device.id, device.assignment));
    registry.audited(event(&world)).deactivate_device(device.id, Deactivation::Retired).await.unwrap();
    let refused = world.store.system().enroll(key, enroll_request(1), None).await;
    assert!(matches!(refused, Err(StoreError::DeviceRevoked)), "{refused:?}");
}

#[tokio::test]
async fn a_device_is_let_in_under_a_name_that_no_other_has() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    world.kiosk(&tenant, 1).await;
    let named = |name: &str| Claim { name: name.to_owned(), ..claim(&tenant) };
    let claims =
        |code: UserCode, name: &str| registry.audited(event(&world)).claim(person(1), code, named(name));
    let (key, other) = (fresh_key(), fresh_key());
    let code = code_of(&world, &key, 2).await;
    let taken = claims(code.clone(), "KIOSK 1").await;
    assert!(matches!(taken, Err(StoreError::Conflict("device_name"))), "{taken:?}");
    let waiting = claims(code, "Hall kiosk").await.unwrap();
    // Another is let in under that name before the number is confirmed.
    let code = code_of(&world, &other, 3).await;
    let quicker = claims(code, "hall KIOSK").await.unwrap();
    let number = number_of(&world, &other, 3).await;
    registry.audited(event(&world)).confirm(person(1), quicker.id, &number).await.unwrap();
    let number = number_of(&world, &key, 2).await;
    let taken = registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await;
    assert!(matches!(taken, Err(StoreError::Conflict("device_name"))), "{taken:?}");
    // What has the same hardware is told as a possible clone, whatever its name.
    let code = code_of(&world, &fresh_key(), 1).await;
    assert!(claims(code, "Kiosk 1").await.unwrap().hardware_of.is_some());
}

#[tokio::test]
async fn five_wrong_codes_are_enough() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let key = fresh_key();
    let gone = code_of(&world, &key, 1).await;
    world.pass(601);
    for _ in 0..5 {
        let wrong = claims(&world, &tenant, person(1), gone.clone()).await;
        assert!(matches!(wrong, Err(StoreError::WrongCode)), "{wrong:?}");
    }
    let right = code_of(&world, &key, 1).await;
    let refused = claims(&world, &tenant, person(1), right.clone()).await;
    assert!(matches!(refused, Err(StoreError::TooManyTries { .. })), "{refused:?}");
    claims(&world, &tenant, person(2), right).await.unwrap();
}

#[tokio::test]
async fn five_wrong_numbers_are_enough_however_often_the_code_is_typed() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (key, code, waiting, mut number) = claimed(&world, &tenant).await;
    for n in 1..=4 {
        let wrong = registry.audited(event(&world)).confirm(person(n), waiting.id, "00").await;
        assert!(matches!(wrong, Err(StoreError::WrongCode)), "{wrong:?}");
        claims(&world, &tenant, person(n), code.clone()).await.unwrap();
        let before = std::mem::replace(&mut number, number_of(&world, &key, 1).await);
        assert_ne!(number, before, "typing the code again draws another number, and gives no more tries");
    }
    assert!(matches!(
        registry.audited(event(&world)).confirm(person(5), waiting.id, "00").await,
        Err(StoreError::WrongCode)
    ));
    let late = registry.audited(event(&world)).confirm(person(6), waiting.id, &number).await;
    assert!(matches!(late, Err(StoreError::NotFound(_))), "{late:?}");
    assert_ne!(code_of(&world, &key, 1).await, code, "back in the lobby under a new code");
    let stale = claims(&world, &tenant, person(6), code).await;
    assert!(matches!(stale, Err(StoreError::WrongCode)), "{stale:?}");
}

#[tokio::test]
async fn a_number_read_out_for_one_facility_lets_nothing_into_another() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let lakeside =
        registry.audited(event(&world)).create_facility(new_facility("Lakeside")).await.unwrap().id;
    let (key, code, waiting, read_out) = claimed(&world, &tenant).await;
    let claim = Claim { facility_id: lakeside, ..claim(&tenant) };
    registry.audited(event(&world)).claim(person(2), code, claim).await.unwrap();
    let refused = registry.audited(event(&world)).confirm(person(1), waiting.id, &read_out).await;
    assert!(matches!(refused, Err(StoreError::WrongCode)), "{refused:?}");
    let number = number_of(&world, &key, 1).await;
    let device = registry.audited(event(&world)).confirm(person(2), waiting.id, &number).await.unwrap();
    assert_eq!(device.facility_id, lakeside);
}

#[tokio::test]
async fn who_gave_five_wrong_numbers_tries_no_other_device() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (first, second) = (fresh_key(), fresh_key());
    let code = code_of(&world, &first, 1).await;
    let waiting = claims(&world, &tenant, person(1), code).await.unwrap();
    for _ in 0..5 {
        let wrong = registry.audited(event(&world)).confirm(person(1), waiting.id, "00").await;
        assert!(matches!(wrong, Err(StoreError::WrongCode)), "{wrong:?}");
    }
    let code = code_of(&world, &second, 2).await;
    let refused = claims(&world, &tenant, person(1), code.clone()).await;
    assert!(matches!(refused, Err(StoreError::TooManyTries { .. })), "{refused:?}");
    let waiting = claims(&world, &tenant, person(2), code).await.unwrap();
    let number = number_of(&world, &second, 2).await;
    let refused = registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await;
    assert!(matches!(refused, Err(StoreError::TooManyTries { .. })), "{refused:?}");
    registry.audited(event(&world)).confirm(person(2), waiting.id, &number).await.unwrap();
}

#[tokio::test]
async fn a_second_key_with_known_hardware_waits_as_a_possible_clone() {
    let world = World::new();
    let alpha = world.tenant("alpha").await;
    let kiosk = world.kiosk(&alpha, 1).await;
    let registry = world.store.organization(&alpha.organization);
    assert!(!registry.device(kiosk.identity.device()).await.unwrap().possible_clone);
    let key = fresh_key();
    let code = code_of(&world, &key, 1).await;
    assert!(registry.device(kiosk.identity.device()).await.unwrap().possible_clone, "both are shown");
    let waiting = claims(&world, &alpha, person(1), code).await.unwrap();
    let name = registry.device(kiosk.identity.device()).await.unwrap().name;
    assert_eq!(waiting.hardware_of, Some(name), "whoever lets it in is told whose hardware that is");
    assert!(registry.device(kiosk.identity.device()).await.unwrap().possible_clone, "and stay so");
    let number = number_of(&world, &key, 1).await;
    let refused = registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await;
    assert!(matches!(refused, Err(StoreError::Conflict("device_uuid"))), "{refused:?}");
    let sha256 = presented(&kiosk.key).sha256;
    let first = world.store.system().device_by_key(sha256).await.unwrap().unwrap();
    assert!(first.scope().is_some(), "the first keeps working");
    // Where it takes the first one's place, that one goes first.
    let (old, why) = (kiosk.identity.device(), Deactivation::Replaced);
    registry.audited(event(&world)).deactivate_device(old, why).await.unwrap();
    registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await.unwrap();
}

#[tokio::test]
async fn nobody_learns_which_hardware_another_organization_has() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let kiosk = world.kiosk(&beta, 1).await;
    let owner = world.store.organization(&beta.organization);
    owner.audited(event(&world)).expect_device(expected(beta.facility.facility(), 2, [5; 32])).await.unwrap();
    let registry = world.store.organization(&alpha.organization);
    for n in [1, 2, 3] {
        let key = fresh_key();
        let code = code_of(&world, &key, n).await;
        let claim = Claim { name: format!("Kiosk {n}"), ..claim(&alpha) };
        let waiting = registry.audited(event(&world)).claim(person(1), code, claim).await.unwrap();
        assert_eq!((waiting.expected, waiting.hardware_of), (false, None), "nor is its administrator");
        let device = owner.device(kiosk.identity.device()).await.unwrap();
        assert!(!device.possible_clone, "nor the owner, of what alpha claimed");
        let number = number_of(&world, &key, n).await;
        registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await.unwrap();
    }
}

#[tokio::test]
async fn a_claimed_device_that_says_it_is_another_starts_anew() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (key, code, waiting, number) = claimed(&world, &tenant).await;
    let fresh = code_of(&world, &key, 2).await;
    assert_ne!(fresh, code);
    let refused = registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    let waiting = claims(&world, &tenant, person(1), fresh).await.unwrap();
    assert_eq!(waiting.device_uuid, DeviceUuid::from_bytes([2; 16]), "approved anew, as what it says now");
}

/// So many wait, from so many networks in turn, each with a code that stands for ten minutes: one a millisecond
/// later than the one before.
async fn crowd(world: &World, count: u64, networks: u64) {
    let begin = world.now().plus_millis(600_000);
    let crowd = world.store.write(engine::SYSTEM, move |tx| {
        for n in 0..count {
            let hash = PayloadHash::of(&n.to_be_bytes());
            tx.execute(
                "INSERT INTO system_enrollments (key_sha256, id, public_key, device_uuid, mac_addresses,
                    hostname, agent_version, user_code, expires_at, network, tries)
                    VALUES (?1, ?2, x'04', ?2, '[]', '', '', ?3, ?4, ?5, 0)",
                params![
                    hash,
                    EnrollmentId::new(Timestamp::EPOCH, hash.as_bytes()[..10].try_into().unwrap()),
                    n.to_string(),
                    begin.plus_millis(i64::try_from(n).unwrap()),
                    format!("crowd {}", n % networks),
                ],
            )?;
        }
        Ok(())
    });
    crowd.await.unwrap();
}

/// Whether that one of the crowd waits still.
async fn waits(world: &World, n: u64) -> bool {
    world.store.system().knows_key(*PayloadHash::of(&n.to_be_bytes()).as_bytes()).await.unwrap()
}

#[tokio::test]
async fn a_full_lobby_forgets_who_asks_no_more_and_lets_tokens_through() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    world.expect(&tenant, 1, [5; 32]).await.unwrap();
    let system = world.store.system();
    crowd(&world, MAX_WAITING, 100).await;
    let answer = system.enroll(fresh_key(), enroll_request(1), Some([5; 32])).await.unwrap();
    assert!(matches!(answer, EnrollResponse::Active { .. }), "{answer:?}");
    assert!(waits(&world, 0).await, "it took nobody's place");
    world.pass(601);
    let key = fresh_key();
    assert!(!system.knows_key(key.sha256).await.unwrap());
    code_of(&world, &key, 2).await;
    assert!(system.knows_key(key.sha256).await.unwrap());
    // A day later nobody of them asks any more: some are forgotten with each that comes.
    world.pass(24 * 3_600 + 60);
    code_of(&world, &fresh_key(), 3).await;
    assert_eq!((waits(&world, 50).await, waits(&world, 5_000).await), (false, true));
}

#[tokio::test]
async fn in_a_full_lobby_the_oldest_of_the_network_that_has_the_most_makes_room() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let crowded = PresentedKey { network: "crowd 7".to_owned(), ..fresh_key() };
    let (early, claimed) = (fresh_key(), fresh_key());
    code_of(&world, &early, 1).await;
    let code = code_of(&world, &claimed, 2).await;
    claims(&world, &tenant, person(1), code).await.unwrap();
    code_of(&world, &crowded, 3).await;
    crowd(&world, MAX_WAITING - 3, 100).await;
    for _ in 0..2 {
        code_of(&world, &fresh_key(), 4).await;
    }
    let system = world.store.system();
    assert!(!system.knows_key(crowded.sha256).await.unwrap(), "its network had one more than the others");
    assert!(!waits(&world, 0).await, "of those that have as many, it is the oldest");
    assert!(
        !waits(&world, 1).await,
        "room is made for some at once: who has the most is looked for less often"
    );
    assert!(waits(&world, 200).await);
    for key in [early, claimed] {
        assert!(
            system.knows_key(key.sha256).await.unwrap(),
            "whose network has few, and whose code was typed"
        );
    }
}

#[tokio::test]
async fn a_network_has_its_share_of_the_lobby() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let claimed = PresentedKey { network: "crowd 0".to_owned(), ..fresh_key() };
    let code = code_of(&world, &claimed, 1).await;
    claims(&world, &tenant, person(1), code).await.unwrap();
    crowd(&world, MAX_OF_NETWORK, 1).await;
    let next = PresentedKey { network: "crowd 0".to_owned(), ..fresh_key() };
    code_of(&world, &next, 2).await;
    assert_eq!((waits(&world, 0).await, waits(&world, 1).await), (false, true));
    assert!(world.store.system().knows_key(claimed.sha256).await.unwrap());
}

#[tokio::test]
async fn a_token_works_once_and_only_for_its_hardware() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    world.expect(&tenant, 1, [5; 32]).await.unwrap();
    let system = world.store.system();
    let key = fresh_key();
    let answer = system.enroll(key.clone(), enroll_request(1), None).await.unwrap();
    let EnrollResponse::Pending { user_code, .. } = answer else { panic!("{answer:?}") };
    let waiting = claims(&world, &tenant, person(1), user_code).await.unwrap();
    assert!(waiting.expected && waiting.hardware_of.is_none(), "{waiting:?}");
    let other = system.enroll(fresh_key(), enroll_request(2), Some([5; 32])).await;
    assert!(matches!(other, Err(StoreError::Invalid { field: "device_uuid", .. })), "{other:?}");
    let answer = system.enroll(key, enroll_request(1), Some([5; 32])).await.unwrap();
    assert!(matches!(answer, EnrollResponse::Active { .. }), "{answer:?}");
    let again = system.enroll(fresh_key(), enroll_request(1), Some([5; 32])).await;
    assert!(matches!(again, Err(StoreError::Invalid { field: "token", .. })), "{again:?}");
    let taken = world.expect(&tenant, 1, [6; 32]).await;
    assert!(matches!(taken, Err(StoreError::Conflict("device_uuid"))), "{taken:?}");
}

#[tokio::test]
async fn a_token_runs_out_after_three_days_and_says_what_to_do() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let expect = async |n: u8| world.expect(&tenant, n, [n; 32]).await.unwrap();
    let (soon, late) = (expect(1).await, expect(2).await);
    assert_eq!(soon.token_expires_at, Some(world.now().plus_millis(72 * 3_600_000)));
    let redeem = async |key: &PresentedKey, n: u8| {
        world.store.system().enroll(key.clone(), enroll_request(n), Some([n; 32])).await
    };
    world.pass(72 * 3_600 - 1);
    assert!(matches!(redeem(&fresh_key(), 1).await, Ok(EnrollResponse::Active { .. })));
    assert_eq!(registry.device(soon.id).await.unwrap().token_expires_at, None, "it is used up");
    world.pass(1);
    let key = fresh_key();
    let refused = redeem(&key, 2).await;
    let Err(StoreError::Invalid { field: "token", detail }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("has run out") && detail.contains("pairing code"), "{detail}");
    // What it says helps: the code lets it in, in the place that was expected.
    let code = code_of(&world, &key, 2).await;
    let waiting = claims(&world, &tenant, person(1), code).await.unwrap();
    assert!(waiting.expected);
    let number = number_of(&world, &key, 2).await;
    let device = registry.audited(event(&world)).confirm(person(1), waiting.id, &number).await.unwrap();
    assert_eq!((device.id, device.token_expires_at), (late.id, None));
}
