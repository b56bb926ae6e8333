//! Locks: whom failures keep out, and whom they do not.

use super::*;
use crate::store::engine::params;
use crate::store::handles::system::{ENDED_AT_ONCE, MAX_SESSIONS};

/// Nina of the tenant, from there.
pub(super) fn nina(tenant: &Tenant, network: &str) -> Login {
    Login::of_organization(tenant.organization.organization(), "Nina ", network.to_owned())
}

/// So many failures: until when it is locked after the last.
pub(super) async fn fail(world: &World, login: &Login, times: u32) -> Option<Timestamp> {
    let mut until = None;
    for _ in 0..times {
        until = world.store.system().sign_in_failed(login.clone(), Some(event(world))).await.unwrap();
    }
    until
}

pub(super) async fn sign_in(world: &World, tenant: &Tenant, login: &Login) -> Result<(), StoreError> {
    sign_in_for(world, tenant, login, world.ambient.random().unwrap()).await
}

/// The same, for a token of that hash.
async fn sign_in_for(
    world: &World,
    tenant: &Tenant,
    login: &Login,
    token_sha256: [u8; 32],
) -> Result<(), StoreError> {
    let new = NewSession {
        user: tenant.nurse,
        organization: Some(tenant.organization.organization()),
        token_sha256,
        expires_at: world.now().plus_millis(3_600_000),
    };
    world.store.system().create_session(login.clone(), new, event(world)).await.map(drop)
}

#[tokio::test]
async fn five_failures_lock_a_name_for_half_an_hour_where_they_came_from_and_nowhere_else() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let system = world.store.system();
    let (here, there) = (nina(&tenant, "192.0.2.1"), nina(&tenant, "2001:db8::"));
    assert_eq!(fail(&world, &here, 4).await, None);
    let until = fail(&world, &here, 1).await;
    assert_eq!(until, Some(world.now().plus_millis(30 * 60_000)));
    assert_eq!(system.locked(here.clone()).await.unwrap(), until);
    world.pass(60);
    assert_eq!(fail(&world, &here, 1).await, until, "one under way neither counts nor prolongs the lock");
    let refused = sign_in(&world, &tenant, &here).await;
    assert!(matches!(refused, Err(StoreError::TooManyTries { .. })), "{refused:?}");
    let user = world.store.organization(&tenant.organization).user(tenant.nurse).await.unwrap();
    assert_eq!(user.locked_until, until, "it shows");
    assert_eq!(system.locked(there.clone()).await.unwrap(), None);
    assert_eq!(system.known_to(there.clone()).await.unwrap(), None);
    sign_in(&world, &tenant, &there).await.unwrap();
    let ghost = |network: &str| Login::of_nowhere("ghost", "nobody", network.to_owned());
    let known = Some(Some(tenant.organization.organization()));
    assert_eq!(system.known_to(ghost("2001:db8::")).await.unwrap(), known, "whoever it was");
    assert_eq!(system.known_to(ghost("192.0.2.1")).await.unwrap(), None);
    // Somebody of another organization, and of the platform: the network is its owner's still.
    let other = world.tenant("beta").await;
    sign_in(&world, &other, &nina(&other, "2001:db8::")).await.unwrap();
    assert_eq!(system.known_to(there.clone()).await.unwrap(), known);
    world.pass(29 * 60);
    sign_in(&world, &tenant, &here).await.unwrap();
    assert_eq!(fail(&world, &here, 4).await, None, "what was before is forgotten");
}

#[tokio::test]
async fn failures_that_lie_half_an_hour_apart_do_not_add_up() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let here = nina(&tenant, "192.0.2.1");
    for _ in 0..4 {
        assert_eq!(fail(&world, &here, 1).await, None);
        world.pass(29 * 60);
    }
    world.pass(60);
    assert_eq!(fail(&world, &here, 4).await, None);
    assert!(fail(&world, &here, 1).await.is_some());
}

#[tokio::test]
async fn who_guesses_from_many_networks_is_stopped_and_the_owner_is_not() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let system = world.store.system();
    let home = nina(&tenant, "198.51.100.1");
    sign_in(&world, &tenant, &home).await.unwrap();
    let mut tried = 0;
    for n in 0..=255_u8 {
        let from = nina(&tenant, &format!("203.0.113.{n}"));
        if system.locked(from.clone()).await.unwrap().is_some() {
            break;
        }
        fail(&world, &from, 1).await;
        tried += 1;
        // Her own sign-ins meanwhile do not give the others more tries.
        sign_in(&world, &tenant, &home).await.unwrap();
    }
    assert_eq!(tried, 50);
    let elsewhere = nina(&tenant, "192.0.2.200");
    assert_eq!(system.locked(elsewhere.clone()).await.unwrap(), Some(world.now().plus_millis(30 * 60_000)));
    assert_eq!(system.locked(home.clone()).await.unwrap(), None);
    sign_in(&world, &tenant, &home).await.unwrap();
    // At home five in a row lock all the same.
    assert!(fail(&world, &home, 5).await.is_some());
    world.pass(30 * 60);
    sign_in(&world, &tenant, &elsewhere).await.unwrap();
    // A new password forgets where somebody signed in: whoever had the old one may have been there.
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).set_password(tenant.nurse, "$argon2id$new".to_owned()).await.unwrap();
    for n in 0..50_u8 {
        fail(&world, &nina(&tenant, &format!("203.0.113.{n}")), 1).await;
    }
    assert!(system.locked(home).await.unwrap().is_some());
}

#[tokio::test]
async fn a_name_that_nobody_has_locks_as_any_other() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let organization = tenant.organization.organization();
    for login in [
        Login::of_organization(organization, "nobody", "192.0.2.1".to_owned()),
        Login::of_nowhere("ghost", "nina", "192.0.2.1".to_owned()),
        Login::of_platform("nobody", "192.0.2.1".to_owned()),
    ] {
        assert_eq!(fail(&world, &login, 4).await, None);
        assert!(fail(&world, &login, 1).await.is_some());
    }
    assert_eq!(world.store.system().locked(nina(&tenant, "192.0.2.1")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_counted_is_bounded() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    for n in 0..20_u8 {
        sign_in(&world, &tenant, &nina(&tenant, &format!("198.51.100.{n}"))).await.unwrap();
        world.pass(1);
        fail(&world, &Login::of_nowhere("ghost", &format!("name {n}"), String::from("192.0.2.1")), 1).await;
    }
    assert_eq!(kept(&world).await, (8, 40), "each name and its count of all");
    world.pass(3_600 + 60);
    for n in 1..=1_000 {
        let login = Login::of_nowhere("ghost", &format!("later {n}"), String::from("192.0.2.1"));
        fail(&world, &login, 1).await;
        match kept(&world).await.1 {
            left if left == 40 + 2 * n => {}
            left => return assert_eq!(left, 2 * n, "what is an hour old counts no more"),
        }
    }
    panic!("nobody made room");
}

/// How many places are known to be users', and how many counts of failures there are.
async fn kept(world: &World) -> (u64, u64) {
    let sql = "SELECT count(good_at), count(*) - count(good_at) FROM system_sign_ins WHERE length(id) = 16";
    let read = |tx: &Tx<'_>| tx.first::<(u64, u64)>(sql, params![]);
    world.store.read(engine::SYSTEM, read).await.unwrap().unwrap()
}

/// The attack: a name of its own for each failure. What a failure costs is bounded, however many there were.
#[tokio::test]
async fn room_for_failures_is_made_some_at_a_time() {
    let world = World::new();
    let (most, at_once) = (u64::from(sign_in::MOST), u64::from(sign_in::FORGOTTEN));
    let before = most + 3 * at_once;
    let flood = move |tx: &Tx<'_>| {
        for n in 0..i64::try_from(before).unwrap_or(0) {
            tx.execute(
                "INSERT INTO system_sign_ins (place, name, network, id, failures, failed_at)
                    VALUES ('nowhere', ?1, '192.0.2.1', ?2, 1, ?3)",
                params![n.to_string(), tx.random::<16>()?, tx.now().as_millis() + n],
            )?;
        }
        Ok(())
    };
    world.store.write(engine::SYSTEM, flood).await.unwrap();
    world.pass(60);
    let mut held = before;
    for n in 0.. {
        if held < most + at_once {
            break;
        }
        assert!(n < 1_000, "there is no room: {held}");
        let login = Login::of_nowhere("ghost", &format!("name {n}"), String::from("192.0.2.1"));
        fail(&world, &login, 1).await;
        let now = kept(&world).await.1;
        assert!(now + at_once >= held, "one failure had to forget {} of {held}", held - now);
        held = now;
    }
}

/// The attack: whoever knows a password signs in without end, so that ending all of it would take long.
#[tokio::test]
async fn a_person_has_so_many_sessions_and_a_sign_in_ends_no_more_than_some() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let here = nina(&tenant, "192.0.2.1");
    let over = 3 * ENDED_AT_ONCE as u64;
    let flood = move |tx: &Tx<'_>| {
        let sql = "INSERT INTO system_sessions (token_sha256, id, user_id, created_at, expires_at,
            last_activity_at) VALUES (?1, ?2, ?2, 0, 1, 0)";
        for _ in 0..over {
            tx.execute(sql, params![tx.random::<32>()?, tx.random::<16>()?])?;
        }
        Ok(())
    };
    world.store.write(engine::SYSTEM, flood).await.unwrap();
    let kept = async || {
        let sql = "SELECT count(*) FROM system_sessions";
        let read = |tx: &Tx<'_>| tx.first::<u64>(sql, params![]);
        world.store.read(engine::SYSTEM, read).await.unwrap().unwrap()
    };
    sign_in_for(&world, &tenant, &here, [0; 32]).await.unwrap();
    assert_eq!(kept().await, over - ENDED_AT_ONCE as u64 + 1);
    let most = u8::try_from(MAX_SESSIONS).unwrap();
    for n in 1..=most {
        world.pass(1);
        sign_in_for(&world, &tenant, &here, [n; 32]).await.unwrap();
    }
    assert_eq!(kept().await, u64::from(most), "hers, and no more of those that are over");
    for (n, stands) in [(0, false), (1, true), (most, true)] {
        let session = world.store.system().session([n; 32]).await.unwrap();
        assert_eq!(session.is_some(), stands, "{n}");
    }
}

#[tokio::test]
async fn an_operator_unlocks_beside_the_running_server_and_is_written_down() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let here = nina(&tenant, "192.0.2.1");
    assert!(fail(&world, &here, 5).await.is_some());
    let path = world.directory.path().join("server.db");
    let by = json!({"os_user": "kim", "uid": 1000});
    let unlock = |organization: Option<&str>, name: &str| {
        unlock(&path, &key(), &world.ambient, organization, name, by.clone())
    };
    assert!(matches!(unlock(Some("beta"), "nina"), Err(StoreError::NotFound("organization"))));
    assert!(matches!(unlock(Some("alpha"), "ghost"), Err(StoreError::NotFound("user"))));
    assert!(matches!(unlock(None, "nina"), Err(StoreError::NotFound("user"))));
    assert_eq!(unlock(Some(" Alpha"), " NINA").unwrap(), 1);
    sign_in(&world, &tenant, &here).await.unwrap();
    let events = world.store.organization(&tenant.organization);
    let events = events.audit_events(AuditQuery { limit: 100, ..AuditQuery::default() }).await.unwrap().items;
    let noted: Vec<_> = events.iter().filter(|event| event.event.details.contains_key("by")).collect();
    assert_eq!(noted.len(), 1, "{events:?}");
    assert_eq!((&noted[0].event.details["what"], &noted[0].event.details["by"]), (&"unlock".into(), &by));
}
