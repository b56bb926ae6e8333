//! The engine's own walls: what SQL can and cannot reach.

use std::collections::{BTreeMap, BTreeSet};

use carepost_protocol::wire::push::Gap;

use super::book::{Book, With};
use super::bounds::goes_by;
use super::lobby::claimed;
use super::sign_ins::{fail, nina, sign_in};
use super::*;
use crate::store::engine::{params, without_walls};

/// The prefix of base tables, written so that the search for it finds only who may name it.
pub(super) const BASE: &str = concat!("ba", "se_");

async fn refused(world: &World, access: AccessScope, sql: String) -> String {
    let sql: &'static str = sql.leak();
    let outcome = world.store.write(access, move |tx| tx.execute(sql, params![]).map(drop)).await;
    let Err(error) = outcome else { panic!("the engine took: {sql}") };
    error.to_string()
}

async fn count(world: &World, access: AccessScope, view: &str) -> u64 {
    let sql: &'static str = format!("SELECT count(*) FROM {view}").leak();
    let counted = world.store.read(access, move |tx| tx.first::<u64>(sql, params![]));
    counted.await.unwrap().unwrap()
}

#[tokio::test]
async fn base_tables_and_the_schema_cannot_be_touched() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    for access in [
        AccessScope::Facility(tenant.facility),
        AccessScope::Organization(tenant.organization),
        engine::SYSTEM,
    ] {
        for name in engine::tables() {
            for sql in [
                format!("SELECT * FROM {BASE}{name}"),
                format!("SELECT count(*) FROM main.{BASE}{name}"),
                format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM {BASE}{name})"),
                format!("WITH {name} AS (SELECT * FROM {BASE}{name}) SELECT * FROM {name}"),
                format!(
                    "WITH audit_keeps_rows AS (SELECT * FROM {BASE}{name}) SELECT * FROM audit_keeps_rows"
                ),
                format!("DELETE FROM {BASE}{name}"),
                format!("INSERT INTO {BASE}{name} DEFAULT VALUES"),
                format!("UPDATE {BASE}{name} SET rowid = 1"),
            ] {
                let error = refused(&world, access, sql.clone()).await;
                let denied = error.contains("prohibited") || error.contains("not authorized");
                assert!(denied || error.contains("no such column"), "{sql}: {error}");
            }
        }
        for sql in [
            "SELECT * FROM sqlite_master",
            "SELECT * FROM sqlite_schema",
            "SELECT * FROM temp.sqlite_master",
            "SELECT * FROM sqlite_temp_schema",
            "SELECT * FROM pragma_table_info('users')",
            "SELECT * FROM schema_migrations",
            "PRAGMA foreign_keys = OFF",
            "PRAGMA writable_schema = ON",
            "PRAGMA table_list",
            "ATTACH ':memory:' AS other",
            "CREATE TABLE mine (a)",
            "CREATE TEMP VIEW mine AS SELECT 1",
            "CREATE TEMP TRIGGER mine INSTEAD OF INSERT ON users BEGIN SELECT 1; END",
            "DROP VIEW users",
            "DROP TABLE schema_migrations",
            "ALTER TABLE schema_migrations RENAME TO gone",
            "REINDEX",
            "SELECT sqlcipher_export('other')",
            "SELECT load_extension('other')",
        ] {
            let error = refused(&world, access, sql.to_owned()).await;
            let denied = error.contains("prohibited") || error.contains("not authorized");
            assert!(denied, "{sql}: {error}");
        }
        // VACUUM is refused where it would copy the database: it needs ATTACH, and no transaction.
        let copied = world.store.write(access, |tx| tx.execute("VACUUM INTO 'copy.db'", params![])).await;
        assert!(copied.is_err());
    }
}

/// How many rows of each table a facility's scope sees.
async fn counts(world: &World, scope: FacilityScope) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for view in engine::scoped() {
        counts.insert(view, count(world, AccessScope::Facility(scope), view).await);
    }
    counts
}

/// Puts something into every table that a tenant begins without.
async fn fill(world: &World, tenant: &Tenant) {
    let mut kiosk = world.kiosk(tenant, 2).await;
    let (now, patient) = (world.now(), tenant.patient);
    let record = kiosk.made(1, now);
    let changes = [
        kiosk.vitals(tenant, 72, now),
        kiosk.correction(tenant, record, 73, now),
        kiosk.correction(tenant, record, 74, now),
        kiosk.edit(tenant, patient, 1, json!({"room": "12"}), now),
    ];
    world.push(&mut kiosk, &changes).await.unwrap();
    let mut book = Book::new(&kiosk, Lane::Audit);
    for _ in 0..2 {
        book.write(&event(world));
    }
    let lost = With { gap: Some(Gap { from: 1, to: 1 }), ..With::default() };
    book.push_with(world, &kiosk, 2..=2, lost).await.unwrap();
    let request = IdempotentRequest { id: [3; 16], request_sha256: [4; 32] };
    let hers = AuditEvent { user_id: Some(tenant.nurse), ..event(world) };
    let audited = world.store.organization(&tenant.organization).audited(hers).idempotent(Some(request));
    audited.issue_badge(tenant.nurse, &[0x04, 0x11, 0x22, 0x33]).await.unwrap();
    fail(world, &nina(tenant, "192.0.2.1"), 1).await;
    sign_in(world, tenant, &nina(tenant, "192.0.2.2")).await.unwrap();
    claimed(world, tenant).await;
    let rest = move |tx: &Tx<'_>| {
        let corrected = "INSERT INTO office_corrections (target_id, record_id) VALUES (?1, ?1)";
        tx.execute(corrected, params![record])?;
        let archived =
            "INSERT INTO archive (id, patient_id, thread_id, made_at, body) VALUES (?1, ?2, ?1, 0, '{}')";
        tx.execute(archived, params![record, patient])
    };
    world.store.write(AccessScope::Facility(tenant.facility), rest).await.unwrap();
}

#[tokio::test]
async fn without_its_filter_a_query_still_sees_one_tenant() {
    let world = World::new();
    let beta = world.tenant("beta").await;
    let theirs = counts(&world, beta.facility).await;
    let alpha = world.tenant("alpha").await;
    let audited = world.store.organization(&alpha.organization).audited(event(&world));
    let hillside = audited.create_facility(new_facility("Hillside")).await.unwrap().id;
    let hillside = alpha.organization.enter(hillside).unwrap();
    let before = counts(&world, hillside).await;
    fill(&world, &alpha).await;
    for (view, here) in counts(&world, alpha.facility).await {
        assert_ne!(here, 0, "{view} is empty: `fill` puts nothing into it");
        assert_eq!(count(&world, AccessScope::Nothing, view).await, 0, "{view} with no scope");
        assert_eq!(count(&world, engine::SYSTEM, view).await, 0, "{view} is no system view");
    }
    assert_eq!(counts(&world, beta.facility).await, theirs, "of another organization");
    let after = counts(&world, hillside).await;
    let shared: Vec<_> = engine::scoped().filter(|view| before.get(view) != after.get(view)).collect();
    assert_eq!(shared, ["sessions", "sign_ins", "idempotency_keys"], "of another facility");
    for view in engine::of_facilities() {
        let mixed = beta.organization.enter(alpha.facility.facility()).unwrap();
        assert_eq!(
            count(&world, AccessScope::Facility(mixed), view).await,
            0,
            "{view} of another organization"
        );
        assert_eq!(
            count(&world, AccessScope::Organization(alpha.organization), view).await,
            0,
            "{view} needs a facility"
        );
    }
    for view in engine::of_system() {
        assert_eq!(
            count(&world, AccessScope::Organization(alpha.organization), &view).await,
            0,
            "{view} in a scope"
        );
    }
}

#[tokio::test]
async fn nothing_can_be_written_into_another_tenant() {
    let world = World::new();
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let theirs = beta.facility.facility();
    let access = AccessScope::Organization(alpha.organization);
    let organization = beta.organization.organization();
    let insert = "INSERT INTO patients (organization_id, id, facility_id, mrn, name, is_active, created_at)
        VALUES (?1, ?2, ?3, 'X', 'Eve Example', 1, 0)";
    let outcome =
        world.store.write(access, move |tx| tx.execute(insert, params![organization, [1_u8; 16], theirs]));
    let error = outcome.await.unwrap_err().to_string();
    assert!(error.contains("FOREIGN KEY"), "{error}");

    let id = beta.patient;
    let outcome = world.store.write(access, move |tx| {
        let update = "UPDATE patients SET name = 'Eve' WHERE id = ?1";
        let delete = "DELETE FROM badges WHERE organization_id = ?1";
        Ok((tx.execute(update, params![id])?, tx.execute(delete, params![organization])?))
    });
    assert_eq!(outcome.await.unwrap(), (0, 0));
    let limited = administrator(alpha.organization.organization(), Some(alpha.facility.facility()));
    let other = world
        .store
        .organization(&alpha.organization)
        .audited(event(&world))
        .create_facility(new_facility("Hillside"))
        .await
        .unwrap();
    let registry = world.store.organization(&limited);
    assert_eq!(registry.facilities().await.unwrap().len(), 1);
    let refused = registry.audited(event(&world)).create_patient(new_patient(other.id, "MRN-9")).await;
    assert!(matches!(refused, Err(StoreError::NotFound("facility"))), "{refused:?}");
    let outcome = world.store.write(AccessScope::Organization(limited), move |tx| {
        let update = "UPDATE patients SET facility_id = ?1";
        tx.execute(update, params![other.id])
    });
    assert!(outcome.await.unwrap_err().to_string().contains("outside the scope"));
    assert_eq!(limited.enter(other.id), None);
}

#[tokio::test]
async fn reads_go_by_the_tenants_keys() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (facility, organization) =
        (AccessScope::Facility(tenant.facility), AccessScope::Organization(tenant.organization));
    for (access, sql) in [
        (facility, "SELECT body FROM documents WHERE seq > 5 ORDER BY seq LIMIT 10"),
        (facility, "SELECT body FROM documents WHERE collection = 'users' AND id = x'00'"),
        (
            facility,
            "SELECT link FROM changes WHERE device_id = x'00' AND incarnation_id = x'00' AND lane = 'care' AND n = 4",
        ),
        (
            facility,
            "SELECT body FROM documents WHERE patient_id = x'00' AND collection = 'records' AND body IS NOT NULL ORDER BY seq DESC LIMIT 3",
        ),
        (organization, "SELECT name FROM facilities"),
        (organization, "SELECT name FROM patients WHERE id = x'00'"),
        (organization, "SELECT name FROM devices WHERE facility_id = x'00'"),
        (organization, "SELECT id FROM badges WHERE facility_id = x'00' AND lookup = 'a'"),
        (organization, "SELECT id FROM audit WHERE patient_id = x'00' AND timestamp > 5"),
        (engine::SYSTEM, "SELECT id FROM system_devices WHERE key_sha256 = x'00'"),
        (engine::SYSTEM, "SELECT id FROM system_sessions WHERE token_sha256 = x'00'"),
        (engine::SYSTEM, "SELECT id FROM system_enrollments WHERE user_code = 'A'"),
    ] {
        let explain: &'static str = format!("EXPLAIN QUERY PLAN {sql}").leak();
        let plan = world.store.read(access, move |tx| steps(tx, explain));
        for step in plan.await.unwrap() {
            assert!(!step.starts_with("SCAN") && !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
    for sql in patient::LIST.of_facility {
        goes_by(&world, organization, "patients_of_facility", sql).await;
    }
    for sql in organization::USERS.of_facility {
        goes_by(&world, organization, "users_of_facility", sql).await;
    }
}

#[tokio::test]
async fn every_table_says_whose_its_rows_are_and_leads_to_the_organization() {
    let world = World::new();
    world.store.close();
    let bare = without_walls(&world.file("server.db"), &key());
    let names = |sql: &str, of: &str| -> BTreeSet<String> {
        let mut statement = bare.prepare(sql).unwrap();
        let found = statement.query_map([of], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    };
    let of_schema = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE ?1";
    let tables = names(of_schema, &format!("{BASE}%"));
    assert_eq!(tables, engine::tables().map(|name| format!("{BASE}{name}")).collect());
    let without = |columns: &str| -> Vec<String> {
        let lacking = tables.iter().filter(|table| !names(columns, table).contains("organization_id"));
        lacking.map(|table| table.trim_start_matches(BASE).to_owned()).collect()
    };
    let columns = "SELECT name FROM pragma_table_info(?1)";
    assert_eq!(without(columns), ["organizations", "platform_admins"]);
    // Besides these: what is there before a tenant is known, and what the platform's own people do.
    let always = "SELECT name FROM pragma_table_info(?1) WHERE \"notnull\" = 1";
    let later = [
        "audit",
        "enrollments",
        "idempotency_keys",
        "organizations",
        "platform_admins",
        "sessions",
        "sign_ins",
    ];
    assert_eq!(without(always), later);
    for table in ["patients", "devices", "badges"] {
        assert!(names(always, &format!("{BASE}{table}")).contains("facility_id"), "{table}");
    }
    let keys = "SELECT \"table\" FROM pragma_foreign_key_list(?1)";
    let mut leads = BTreeSet::from([format!("{BASE}organizations")]);
    loop {
        let unknown = tables.difference(&leads).filter(|table| !names(keys, table).is_disjoint(&leads));
        let more: BTreeSet<String> = unknown.cloned().collect();
        if more.is_empty() {
            break;
        }
        leads.extend(more);
    }
    // An event stays, whatever becomes of what it is about.
    let apart: Vec<&String> = tables.difference(&leads).collect();
    assert_eq!(apart, [&format!("{BASE}audit"), &format!("{BASE}platform_admins")]);
}

#[tokio::test]
async fn the_audit_log_is_append_only_even_without_the_walls() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    world.store.facility(&tenant.facility).audit(vec![event(&world)]).await.unwrap();
    for sql in ["DELETE FROM audit", "UPDATE audit SET success = 0"] {
        let outcome =
            world.store.write(AccessScope::Facility(tenant.facility), move |tx| tx.execute(sql, params![]));
        assert!(outcome.await.unwrap_err().to_string().contains("because it is a view"), "{sql}");
    }
    world.store.close();
    let bare = without_walls(&world.directory.path().join("server.db"), &key());
    let mut statement = bare.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
    let columns = statement.query_map([format!("{BASE}audit")], |row| row.get(0)).unwrap();
    let columns = columns.collect::<Result<Vec<String>, _>>().unwrap();
    assert!(columns.len() > 20, "{columns:?}");
    let updates = columns.iter().map(|column| format!("UPDATE {BASE}audit SET {column} = {column}"));
    for sql in updates.chain([format!("DELETE FROM {BASE}audit")]) {
        let error = bare.execute(&sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn the_wrong_key_and_a_newer_database_are_refused_with_advice() {
    let world = World::new();
    world.store.close();
    let path = world.directory.path().join("server.db");
    let wrong = Store::open(&path, &DatabaseKey::new([8; 32]), world.ambient.clone()).unwrap_err();
    assert!(
        matches!(&wrong, StoreError::WrongKey(_)) && wrong.to_string().contains("give the key"),
        "{wrong}"
    );
    let bytes = std::fs::read(&path).unwrap();
    assert!(
        !bytes.windows(6).any(|window| window == b"SQLite" || window == b"CREATE"),
        "the file is readable"
    );
    let bare = without_walls(&path, &key());
    bare.execute("INSERT INTO schema_migrations VALUES (999, 'later', x'00', 0)", []).unwrap();
    drop(bare);
    let newer = Store::open(&path, &key(), world.ambient.clone()).unwrap_err();
    assert!(matches!(newer, StoreError::Newer { found: 999, .. }), "{newer}");
}
