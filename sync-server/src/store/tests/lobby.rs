//! Devices come in: by code, by token, and twice with one label.

use carepost_protocol::wire::enroll::UserCode;

use super::*;

fn fresh_key() -> PresentedKey {
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    presented(&EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap())
}

fn claim(tenant: &Tenant) -> Claim {
    Claim {
        facility_id: tenant.facility.facility(),
        name: "Hall kiosk".into(),
        device_type: DeviceType::RaspberryPi,
    }
}

async fn code_of(world: &World, key: &PresentedKey, n: u8) -> UserCode {
    let answer = world.store.system().enroll(key.clone(), enroll_request(n), None).await.unwrap();
    let EnrollResponse::Pending { user_code, .. } = answer else { panic!("{answer:?}") };
    user_code
}

#[tokio::test]
async fn a_code_and_a_number_let_a_device_in() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (key, admin) = (fresh_key(), UserId::new(world.now(), [1; 10]));
    let code = code_of(&world, &key, 1).await;
    assert_eq!(code_of(&world, &key, 1).await, code, "asking again changes nothing");
    world.pass(601);
    let fresh = code_of(&world, &key, 1).await;
    assert_ne!(fresh, code);
    assert!(matches!(registry.claim(admin, code, claim(&tenant)).await, Err(StoreError::WrongCode)));
    let waiting = registry.claim(admin, fresh, claim(&tenant)).await.unwrap();
    let answer = world.store.system().enroll(key.clone(), enroll_request(1), None).await.unwrap();
    let EnrollResponse::Confirming { number, facility_name, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((facility_name.as_str(), number.len()), ("Riverside", 2));
    let wrong = if number == "11" { "12" } else { "11" };
    assert!(matches!(registry.confirm(waiting.id, wrong).await, Err(StoreError::WrongCode)));
    let device = registry.confirm(waiting.id, &number).await.unwrap();
    assert!(device.assignment.is_some());
    let answer = world.store.system().enroll(key.clone(), enroll_request(1), None).await.unwrap();
    let EnrollResponse::Active { grant } = answer else { panic!("{answer:?}") };
    assert_eq!((grant.device_id, Some(grant.assignment_id)), (device.id, device.assignment));
    registry.noting(event(&world)).deactivate_device(device.id).await.unwrap();
    let refused = world.store.system().enroll(key, enroll_request(1), None).await;
    assert!(matches!(refused, Err(StoreError::DeviceRevoked)), "{refused:?}");
}

#[tokio::test]
async fn five_wrong_codes_or_numbers_are_enough() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (key, admin) = (fresh_key(), UserId::new(world.now(), [1; 10]));
    let code = code_of(&world, &key, 1).await;
    let waiting = registry.claim(admin, code.clone(), claim(&tenant)).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(registry.confirm(waiting.id, "00").await, Err(StoreError::WrongCode)));
    }
    assert!(matches!(registry.confirm(waiting.id, "00").await, Err(StoreError::NotFound(_))));
    assert_ne!(code_of(&world, &key, 1).await, code, "back in the lobby under a new code");
    for _ in 0..5 {
        assert!(matches!(
            registry.claim(admin, code.clone(), claim(&tenant)).await,
            Err(StoreError::WrongCode)
        ));
    }
    let right = code_of(&world, &key, 1).await;
    let refused = registry.claim(admin, right.clone(), claim(&tenant)).await;
    assert!(matches!(refused, Err(StoreError::TooManyTries { .. })), "{refused:?}");
    let colleague = UserId::new(world.now(), [2; 10]);
    registry.claim(colleague, right, claim(&tenant)).await.unwrap();
}

#[tokio::test]
async fn a_second_key_with_known_hardware_waits_as_a_possible_clone() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let kiosk = world.kiosk(&alpha, 1).await;
    let registry = world.store.organization(&alpha.organization);
    assert!(!registry.device(kiosk.identity.device()).await.unwrap().possible_clone);
    let key = fresh_key();
    let answer = world.store.system().enroll(key.clone(), enroll_request(1), None).await.unwrap();
    let EnrollResponse::Pending { possible_clone, user_code, .. } = answer else { panic!("{answer:?}") };
    assert!(possible_clone);
    assert!(registry.device(kiosk.identity.device()).await.unwrap().possible_clone, "both are shown");
    let admin = UserId::new(world.now(), [1; 10]);
    let waiting = registry.claim(admin, user_code, claim(&alpha)).await.unwrap();
    assert!(waiting.possible_clone);
    assert_eq!(world.store.organization(&beta.organization).waiting().await.unwrap(), []);
    let answer = world.store.system().enroll(key, enroll_request(1), None).await.unwrap();
    let EnrollResponse::Confirming { number, .. } = answer else { panic!("{answer:?}") };
    let refused = registry.confirm(waiting.id, &number).await;
    assert!(matches!(refused, Err(StoreError::Conflict("device_uuid"))), "{refused:?}");
    let sha256 = presented(&kiosk.key).sha256;
    let first = world.store.system().device_by_key(sha256).await.unwrap().unwrap();
    assert!(FacilityScope::of_device(&first).is_some(), "the first keeps working");
}

#[tokio::test]
async fn a_token_works_once_and_only_for_its_hardware() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    registry
        .noting(event(&world))
        .expect_device(expected(tenant.facility.facility(), 1, [5; 32]))
        .await
        .unwrap();
    let system = world.store.system();
    let key = fresh_key();
    let answer = system.enroll(key.clone(), enroll_request(1), None).await.unwrap();
    assert!(
        matches!(answer, EnrollResponse::Pending { expected: true, possible_clone: false, .. }),
        "{answer:?}"
    );
    assert_eq!(registry.waiting().await.unwrap().len(), 1, "expected hardware is seen without its code");
    let other = system.enroll(fresh_key(), enroll_request(2), Some([5; 32])).await;
    assert!(matches!(other, Err(StoreError::Invalid { field: "device_uuid", .. })), "{other:?}");
    let answer = system.enroll(key, enroll_request(1), Some([5; 32])).await.unwrap();
    assert!(matches!(answer, EnrollResponse::Active { .. }), "{answer:?}");
    let again = system.enroll(fresh_key(), enroll_request(1), Some([5; 32])).await;
    assert!(matches!(again, Err(StoreError::Invalid { field: "token", .. })), "{again:?}");
    let taken =
        registry.noting(event(&world)).expect_device(expected(tenant.facility.facility(), 1, [6; 32])).await;
    assert!(matches!(taken, Err(StoreError::Conflict("device_uuid"))), "{taken:?}");
}
