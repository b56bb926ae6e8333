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
        let noted = registry.noting(AuditEvent { user_id: Some(tenant.nurse), ..event(&world) });
        noted.idempotent(Some(request)).create_user(new_user(name, Role::Auditor, None))
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
        async move { registry.users(None).await.unwrap().iter().any(|user| user.username == name) }
    };
    assert_eq!((named("uma").await, named("vera").await), (true, false));
    let other = IdempotentRequest { request_sha256: [5; 32], ..request };
    assert_eq!(state(other).await.unwrap(), IdempotencyState::Reused);
    system.keep_answer(request, vec![7]).await.unwrap();
    assert_eq!(state(request).await.unwrap(), IdempotencyState::Done(Some(vec![7])));
    // What failed is not done.
    let fails = IdempotentRequest { id: [6; 16], ..request };
    let noted = registry.noting(AuditEvent { user_id: Some(tenant.nurse), ..event(&world) });
    assert!(noted.idempotent(Some(fails)).create_user(new_user("uma", Role::Auditor, None)).await.is_err());
    assert_eq!(state(fails).await.unwrap(), IdempotencyState::New);

    world.pass(24 * 3_600 + 1);
    assert_eq!(state(request).await.unwrap(), IdempotencyState::New);
    create("vera").await.unwrap();
    assert_eq!(state(request).await.unwrap(), IdempotencyState::Done(None), "it is another request by now");
    world.pass(24 * 3_600 + 1);
    system.keep_answer(fails, vec![7]).await.unwrap();
    let all = "SELECT count(id) FROM system_idempotency_keys";
    let all = world.store.read(engine::SYSTEM, move |tx| tx.first::<u64>(all, params![]));
    assert_eq!(all.await.unwrap(), Some(0), "what is over is forgotten when something is kept");
}
