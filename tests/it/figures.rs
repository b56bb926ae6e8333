//! What an administrator sees: a facility's figures, a device's states, and the audit log.

use anyhow::{Context as _, Result, bail};
use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::Lane;
use carepost_protocol::id::AuditId;
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_tests::api::{Api, text};
use carepost_tests::children::until;
use carepost_tests::clock;
use carepost_tests::device::Device;
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::world::{Facility, PASSWORD, Server, items};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn world(folder: &TempDir) -> Result<(Server, Facility)> {
    crate::install_provider();
    let server = Server::start(&folder.path().join("server")).await?;
    let golden = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    golden.publish("vitals").await?;
    let riverside = golden.facility("Riverside", "ALF", Some(32), 28).await?;
    Ok((server, riverside))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facility_knows_how_full_it_is() -> Result<()> {
    let folder = TempDir::new()?;
    let (_server, riverside) = world(&folder).await?;
    let organization = &riverside.organization;
    for (name, kind, beds, census, rate, free) in [
        ("Lakeside", "ALF", Some(48), 44, json!(91.67), json!(4)),
        ("Garden", "MEMORY_CARE", Some(16), 15, json!(93.75), json!(1)),
        ("Visits", "HOME_HEALTH", None, 45, Value::Null, Value::Null),
        ("Empty", "HOSPICE", Some(3), 0, json!(0.0), json!(3)),
    ] {
        let made = organization.facility(name, kind, beds, census).await?;
        let shown = organization.admin.get(&format!("/api/v1/facilities/{}", made.id)).await?;
        assert_eq!((&shown["occupancy_rate"], &shown["available_beds"]), (&rate, &free), "{shown}");
        assert_eq!(shown["facility_type"], kind);
    }
    let path = format!("/api/v1/facilities/{}", riverside.id);
    let shown = organization.admin.get(&path).await?;
    assert_eq!((&shown["occupancy_rate"], &shown["available_beds"]), (&json!(87.5), &json!(4)));
    let counted = organization.admin.put(&format!("{path}/census"), &json!({"census": 32})).await?;
    assert_eq!((&counted["occupancy_rate"], &counted["available_beds"]), (&json!(100.0), &json!(0)));

    // More residents than beds are asked about, whichever of the two numbers is set.
    let crowded =
        json!({"name": "Crowded", "facility_type": "SNF", "licensed_beds": 10, "current_census": 12});
    let facilities = "/api/v1/facilities".to_owned();
    let admin = &organization.admin;
    for (method, path, body) in [
        (Method::POST, &facilities, crowded),
        (Method::PUT, &format!("{path}/census"), json!({"census": 33})),
        (Method::PUT, &path, json!({"current_census": 33})),
        (Method::PUT, &path, json!({"licensed_beds": 31})),
    ] {
        let asked = admin.call(method.clone(), path, Some(&body)).await?;
        assert_eq!(
            (asked.status, &asked.body["errors"][0]["field"]),
            (422, &json!("current_census")),
            "{body}"
        );
        assert!(
            asked.text.contains("licensed beds") && asked.text.contains("over_capacity"),
            "{}",
            asked.text
        );
        let mut meant = body.clone();
        meant["over_capacity"] = json!(true);
        let full = admin.call(method.clone(), path, Some(&meant)).await?;
        assert!(full.status < 300 && full.body["available_beds"] == 0, "{}", full.text);
        if method == Method::PUT {
            let again = admin.call(method, path, Some(&body)).await?;
            assert!(again.status < 300, "what stands was said to be so: {}", again.text);
        }
        admin
            .put(
                &format!("{facilities}/{}", riverside.id),
                &json!({"licensed_beds": 32, "current_census": 32}),
            )
            .await?;
    }
    let freed = organization.admin.put(&path, &json!({"licensed_beds": null})).await?;
    assert_eq!((&freed["occupancy_rate"], &freed["available_beds"]), (&Value::Null, &Value::Null));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_shows_how_it_is_and_why() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, facility) = world(&folder).await?;
    let admin = &facility.organization.admin;
    let expected = json!({"facility_id": facility.id, "device_name": "Expected", "device_type": "LAPTOP"});
    let expected = admin.post("/api/v1/devices", &expected).await?;
    assert_eq!(states(&expected), ("EXPECTED", "NEVER_SYNCED", false));
    assert_eq!(expected["sync_reason"], "No sync has succeeded yet.");

    let port = server.devices.port();
    let device = Device::enroll(&folder.path().join("device"), &server, port, &facility, "Tablet").await?;
    let shown = facility.device("Tablet").await?;
    assert_eq!(states(&shown), ("ACTIVE", "NEVER_SYNCED", false));
    device.pull_all(&device.mirror).await?;

    let beat =
        async |queue| device.upstream.heartbeat(device.grant.device_id, &device.heartbeat(queue)).await;
    beat(QueueState { care: 2, oldest_age: Some(60), ..QueueState::default() }).await?;
    let shown = until("the device to be in sync", PATIENCE, || async {
        let shown = facility.device("Tablet").await?;
        if shown["sync_status"] == "SYNCED" { Ok(shown) } else { bail!("{shown}") }
    });
    let shown = shown.await?;
    assert_eq!((states(&shown), &shown["waiting"]), (("ACTIVE", "SYNCED", true), &json!(2)));
    assert_eq!(shown["sync_reason"], Value::Null);
    beat(QueueState { care: 2, oldest_age: Some(16 * 60), ..QueueState::default() }).await?;
    let shown = facility.device("Tablet").await?;
    assert_eq!(states(&shown), ("ACTIVE", "STALE", true));
    assert!(text(&shown, "sync_reason")?.contains("oldest entry waits 16 minutes"), "{shown}");

    // A change that the server rejects is counted on the device, which says so.
    let nora = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let patient = facility.admit(&residents("RS", 1, true)).await?.remove(0);
    let nurse = device.nurse(nora.id.parse()?);
    let bad = json!({"systolic": 900, "diastolic": 77, "pulse": 71});
    let bad = device.vitals(&nurse, patient.parse()?, bad.as_object().cloned().unwrap_or_default());
    device.save(&nurse, &bad)?;
    device.push_all().await?;
    let counts = device.outbox.counts()?;
    assert_eq!(counts.rejected, 1);
    beat(QueueState { rejected: counts.rejected, ..QueueState::default() }).await?;
    let shown = facility.device("Tablet").await?;
    assert_eq!((states(&shown), &shown["rejected"]), (("ACTIVE", "OUT_OF_SYNC", true), &json!(1)));
    assert_eq!(shown["sync_reason"], "1 entry was rejected and waits for a person.");
    let alone = admin.get(&format!("/api/v1/devices/{}", device.grant.device_id)).await?;
    assert_eq!((states(&alone), &alone["sync_reason"]), (states(&shown), &shown["sync_reason"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_heard_is_not_said_to_be_in_sync() -> Result<()> {
    let folder = TempDir::new()?;
    let place = folder.path().join("server");
    clock::set(&place, clock::now()?)?;
    let (server, facility) = world(&folder).await?;
    let port = server.devices.port();
    let device = Device::enroll(&folder.path().join("device"), &server, port, &facility, "Tablet").await?;
    device.pull_all(&device.mirror).await?;
    let waiting = QueueState { care: 3, oldest_age: Some(60), ..QueueState::default() };
    device.upstream.heartbeat(device.grant.device_id, &device.heartbeat(waiting)).await?;
    until("the device to be in sync", PATIENCE, || async {
        let shown = facility.device("Tablet").await?;
        if shown["sync_status"] == "SYNCED" { Ok(()) } else { bail!("{shown}") }
    })
    .await?;
    // Six minutes later.
    clock::set(&place, clock::now()? + 6 * 60)?;
    let shown = facility.device("Tablet").await?;
    assert_eq!(states(&shown), ("ACTIVE", "STALE", false), "{shown}");
    assert_eq!(shown["sync_reasons"], json!(["not_heard"]), "{shown}");
    let said = text(&shown, "sync_reason")?;
    assert!(
        said.contains("NOT HEARD for 6 minutes") && said.contains("3 entries and audit events waited"),
        "{said}"
    );
    Ok(())
}

fn states(device: &Value) -> (&str, &str, bool) {
    let word = |key: &str| device[key].as_str().unwrap_or_default();
    (word("state"), word("sync_status"), device["is_online"].as_bool().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_written_down_and_stays_so() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, facility) = world(&folder).await?;
    let admin = &facility.organization.admin;
    let nora = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let patient = facility.admit(&residents("RS", 1, true)).await?.remove(0);
    let path = format!("/api/v1/patients/{patient}");

    let secret = "a wrong passphrase of hers";
    let who = json!({"organization": "golden-years", "username": "nora.quist", "password": secret});
    let api = server.api()?;
    assert_eq!(api.call(Method::POST, "/api/v1/sessions", Some(&who)).await?.status, 401);
    let her = api.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await?;
    let session = text(&her.get("/api/v1/sessions/current").await?, "session_id")?;
    let agent = [("user-agent", "Charting/7")];
    her.send(Method::GET, &path, &agent, Vec::new()).await?;
    her.get(&format!("{path}/records")).await?;
    her.get("/api/v1/patients").await?;
    her.put(&path, &json!({"room": "12"})).await?;
    her.call(Method::DELETE, &path, None).await?;
    assert_eq!(her.call(Method::GET, "/api/v1/users", None).await?.status, 403);
    let missing = format!("/api/v1/patients/{}", nora.id);
    assert_eq!(her.call(Method::GET, &missing, None).await?.status, 404);
    assert_eq!(her.call(Method::DELETE, "/api/v1/sessions/current", None).await?.status, 204);
    assert_eq!(her.call(Method::GET, &path, None).await?.status, 401, "the session is over");

    let hers = events(admin, &format!("user_id={}", nora.id)).await?;
    for (event_type, action, resource, success, endpoint) in [
        ("login", "execute", "session", false, "POST /api/v1/sessions"),
        ("login", "execute", "session", true, "POST /api/v1/sessions"),
        ("phi_access", "view", "patient", true, "GET /api/v1/patients/{patient_id}"),
        ("phi_access", "view", "record", true, "GET /api/v1/patients/{patient_id}/records"),
        ("phi_access", "view", "patient", true, "GET /api/v1/patients"),
        ("phi_access", "update", "patient", true, "PUT /api/v1/patients/{patient_id}"),
        ("phi_access", "delete", "patient", true, "DELETE /api/v1/patients/{patient_id}"),
        ("api_access", "execute", "endpoint", false, "GET /api/v1/users"),
        ("api_access", "execute", "patients", false, "GET /api/v1/patients/{patient_id}"),
        ("logout", "execute", "session", true, "DELETE /api/v1/sessions/current"),
    ] {
        let event = hers.iter().find(|event| {
            (event["event_type"] == event_type && event["action"] == action)
                && (event["resource_type"] == resource && event["success"] == success)
                && event["endpoint"] == endpoint
        });
        let event = event.with_context(|| format!("no {event_type} {action} of {endpoint}: {hers:#?}"))?;
        assert_eq!(event["organization_id"], facility.organization.id, "{event}");
        assert_eq!(event["ip_address"], "127.0.0.1", "{event}");
        assert!(event["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{event}");
        if event["event_type"] != "login" {
            assert_eq!(event["session_id"], session, "{event}");
        } else {
            assert_eq!(event["username"], "nora.quist", "{event}");
        }
        if endpoint.contains("{patient_id}") && success {
            assert_eq!((&event["patient_id"], &event["resource_id"]), (&json!(patient), &json!(patient)));
            assert_eq!(event["facility_id"], facility.id, "{event}");
        }
    }
    assert!(hers.iter().any(|event| event["user_agent"] == "Charting/7"));
    assert!(!json!(hers).to_string().contains(secret), "the log holds a password that was tried");
    // About the patient: whoever it was.
    let about = events(admin, &format!("patient_id={patient}")).await?;
    assert!(about.iter().any(|event| event["action"] == "create" && event["user_id"] != nora.id));

    from_a_device(&server, &facility, &folder, &nora.id).await?;
    // Nobody changes or removes a row: there is no such route.
    let first = hers.first().and_then(|event| event["id"].as_str()).context("an event has an id")?;
    for caller in [admin, &server.root().await?] {
        for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::POST] {
            let one = caller.call(method.clone(), &format!("/api/v1/audit-events/{first}"), None).await?;
            let all = caller.call(method, "/api/v1/audit-events", None).await?;
            assert_eq!((one.status, all.status), (404, 405));
        }
    }
    let still = events(admin, &format!("user_id={}", nora.id)).await?;
    assert!(hers.iter().all(|event| still.contains(event)), "an event is gone or changed");
    Ok(())
}

/// What a device wrote down arrives, and as the device's own, whatever it claims.
async fn from_a_device(server: &Server, facility: &Facility, folder: &TempDir, nurse: &str) -> Result<()> {
    let port = server.devices.port();
    let device = Device::enroll(&folder.path().join("device"), server, port, facility, "Tablet").await?;
    let now = device.clock.now();
    let id = AuditId::new(now, device.clock.random());
    let elsewhere = "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42";
    let event: AuditEvent = serde_json::from_value(json!({
        "id": id, "timestamp": now, "clock_quality": "estimated", "event_type": "badge", "action": "execute",
        "success": false, "resource_type": "badge", "organization_id": elsewhere, "facility_id": elsewhere,
        "device_id": elsewhere, "user_id": nurse, "endpoint": "reader 1", "details": {"reason": "revoked"},
    }))?;
    let batch = device.chain(Lane::Audit).batch(&[serde_json::to_string(&event)?])?;
    let wire = device.wire(server)?;
    let push = || wire.send(Method::POST, "/api/v1/sync/push", &JSON, batch.clone().into_bytes());
    let (once, twice) = (push().await?, push().await?);
    assert_eq!(items(&once.body["verdicts"])?[0]["verdict"], "applied", "{}", once.text);
    assert_eq!(items(&twice.body["verdicts"])?[0]["verdict"], "duplicate", "{}", twice.text);
    let query = format!("device_id={}", device.grant.device_id);
    let found = until("the device's event in the log", PATIENCE, || async {
        let found = events(&facility.organization.admin, &query).await?;
        let found: Vec<_> = found.into_iter().filter(|event| event["event_type"] == "badge").collect();
        if found.is_empty() { anyhow::bail!("not there") } else { Ok(found) }
    })
    .await?;
    assert_eq!(found.len(), 1, "once, however often it is pushed");
    let stored = &found[0];
    assert_eq!(stored["organization_id"], facility.organization.id);
    assert_eq!(stored["facility_id"], facility.id);
    assert_eq!(stored["device_id"], json!(device.grant.device_id));
    for key in ["timestamp", "event_type", "action", "success", "user_id", "clock_quality"] {
        assert_eq!(stored[key], serde_json::to_value(&event)?[key], "{key}");
    }
    assert_eq!(stored["details"], json!({"reason": "revoked", "page": "reader 1"}));
    Ok(())
}

async fn events(admin: &Api, query: &str) -> Result<Vec<Value>> {
    items(&admin.get(&format!("/api/v1/audit-events?limit=1000&{query}")).await?)
}
