//! Idempotency: requests that are done once.

use super::*;
use crate::store::engine::params;
use crate::store::{IdempotencyState, IdempotentRequest};

#[tokio::test]
async fn what_was_asked_for_with_a_key_is_done_once_within_a_day_and_then_forgotten() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (system, registry) = (world.store.system(), world.store.organization(&tenant.organization));
    let request = IdempotentRequest { id: [3; 16], request_sha256: [4; 32] };
    let state = |request| system.idempotency_state(request, Some(tenant.nurse));
    let create = |name: &str| {
        let audited = registry.audited(AuditEvent { user_id: Some(tenant.nurse), ..event(&world) });
        audited.idempotent(Some(request)).create_user(new_user(name, Role::Auditor, None))
    };
    assert_eq!(state(request).await.unwrap(), IdempotencyState::New);
    create("uma").await.unwrap();
    assert_eq!(
        state(request).await.unwrap(),
        IdempotencyState::Done(None),
        "the server stopped before its answer"
    );
    let twice = create("vera").await.unwrap_err();
    assert!(matches!(twice, StoreError::Done), "{twice}");
    let named = |name: &'static str| {
        let registry = registry.clone();
        async move { registry.all_users().await.unwrap().iter().any(|user| user.username == name) }
    };
    assert_eq!((named("uma").await, named("vera").await), (true, false));
    let other = IdempotentRequest { request_sha256: [5; 32], ..request };
    assert_eq!(state(other).await.unwrap(), IdempotencyState::Reused);
    system.keep_answer(request, vec![7]).await.unwrap();
    assert_eq!(state(request).await.unwrap(), IdempotencyState::Done(Some(vec![7])));
    // What failed is not done.
    let fails = IdempotentRequest { id: [6; 16], ..request };
    let audited = registry.audited(AuditEvent { user_id: Some(tenant.nurse), ..event(&world) });
    assert!(audited.idempotent(Some(fails)).create_user(new_user("uma", Role::Auditor, None)).await.is_err());
    assert_eq!(state(fails).await.unwrap(), IdempotencyState::New);

    world.pass(24 * 3_600 + 1);
    assert_eq!(state(request).await.unwrap(), IdempotencyState::New);
    create("vera").await.unwrap();
    assert_eq!(state(request).await.unwrap(), IdempotencyState::Done(None), "it is another request by now");
}

/// Keys of a user that are not over yet, as many as these, each of a sign-in.
async fn have_keys(world: &World, user: UserId, count: u64) {
    let key = "INSERT INTO system_idempotency_keys (id, user_id, request_sha256, created_at) VALUES (?1, ?2, ?3, ?4)";
    let insert = move |tx: &Tx<'_>| {
        (0..count).try_for_each(|_| {
            tx.execute(key, params![tx.random::<16>()?, user, [0_u8; 32], tx.now()]).map(drop)
        })
    };
    world.store.write(engine::SYSTEM, insert).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_forgotten_in_portions() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    have_keys(&world, tenant.nurse, 1_200).await;
    world.pass(24 * 3_600 + 1);
    have_keys(&world, tenant.nurse, 1).await;
    let system = world.store.system();
    let mut portions = 1;
    while system.purge_idempotency_keys().await.unwrap() {
        portions += 1;
    }
    let all = "SELECT count(id) FROM system_idempotency_keys";
    let all = world.store.read(engine::SYSTEM, move |tx| tx.first::<u64>(all, params![]));
    assert_eq!((portions, all.await.unwrap()), (3, Some(1)));
}

#[tokio::test]
async fn nobody_has_more_than_so_many_also_of_sign_ins() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let organization = Some(tenant.organization.organization());
    let sign_in = |n: u8| {
        let new = NewSession {
            user: tenant.nurse,
            organization,
            token_sha256: [n; 32],
            expires_at: world.now().plus_millis(3_600_000),
        };
        let request = IdempotentRequest { id: [n; 16], request_sha256: [n; 32] };
        let system = world.store.system().idempotent(Some(request));
        let (login, event) = (super::sign_ins::nina(&tenant, "192.0.2.1"), event(&world));
        async move { system.create_session(login, new, event).await }
    };
    have_keys(&world, tenant.nurse, 9_999).await;
    sign_in(1).await.unwrap();
    let refused = sign_in(2).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooManyKeys), "{refused}");
    assert!(world.store.system().session([2; 32]).await.unwrap().is_none(), "nothing was done");
    world.pass(24 * 3_600 + 1);
    sign_in(3).await.unwrap();
}
