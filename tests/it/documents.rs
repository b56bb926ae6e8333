//! A document that a device cannot take holds up none behind it, and what was revoked is heard of however
//! the feed is held up.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::{Nurse, items};
use reqwest::Method;
use serde_json::{Value, json};

/// The prefix of base tables, written so that the search for it finds only who may name it.
const BASE: &str = concat!("ba", "se_");

/// The database of a server that does not run, as an older version of it may have left it.
struct Database(rusqlite::Connection);

impl Database {
    fn of(scene: &Scene) -> Result<Self> {
        let state = scene.folder_of("server").join("state");
        let key = std::fs::read_to_string(state.join("database.key"))?;
        let connection = rusqlite::Connection::open(state.join("carepost.db"))?;
        connection.execute_batch(&format!("PRAGMA key = \"x'{}'\"", key.trim()))?;
        Ok(Self(connection))
    }

    /// Puts a document at the end of the facility's feed, which counts it.
    fn put(&self, collection: &str, id: &str, body: &str) -> Result<()> {
        let id: Vec<u8> = id.parse::<carepost_protocol::id::ReviewId>()?.as_bytes().to_vec();
        let add = format!(
            "INSERT INTO {BASE}documents (facility_id, seq, organization_id, collection, id, body)
                SELECT facility_id, seq + 1, organization_id, ?1, ?2, ?3 FROM {BASE}feeds"
        );
        self.0.execute(&add, rusqlite::params![collection, id, body])?;
        self.0.execute(&format!("UPDATE {BASE}feeds SET seq = seq + 1, digested = 0"), [])?;
        Ok(())
    }
}

/// A review of a resident to which so many values of a thousand bytes were added.
fn review(id: &str, patient: &str, values: usize) -> String {
    let value = |n: usize| json!({"value": format!("{n:01000}"), "at": "2026-05-01T14:10:00Z"});
    let values: Vec<Value> = (0..values).map(value).collect();
    json!({
        "id": id, "kind": "conflict", "patient_id": patient, "collection": "patients", "record": patient,
        "fields": [{"field": "room", "values": values}], "opened_at": "2026-05-01T14:10:00Z",
    })
    .to_string()
}

async fn set_active(scene: &Scene, nurse: &Nurse, is_active: bool) -> Result<()> {
    let admin = &scene.facility.organization.admin;
    admin.put(&format!("/api/v1/users/{}", nurse.id), &json!({"is_active": is_active})).await?;
    Ok(())
}

/// Waits until that badge signs nobody in.
async fn is_switched_off(kiosk: &Kiosk, nurse: &Nurse) -> Result<()> {
    until("her badge to be refused", PATIENCE, || async {
        kiosk.tap(&nurse.uid).await?;
        let page = kiosk.get("/").await?.words();
        if page.contains("This account is switched off") { Ok(()) } else { bail!("{page}") }
    })
    .await
}

fn allow_documents(config: &Path, most: Option<u32>) -> Result<()> {
    let text = std::fs::read_to_string(config)?;
    let (text, _) = text.split_once("[sync]").unwrap_or((&text, ""));
    let limit = most.map(|most| format!("[sync]\nmax_documents = {most}\n")).unwrap_or_default();
    Ok(std::fs::write(config, format!("{text}{limit}"))?)
}

/// The attack as it was played: a review that outgrew a line of the stream, in a database from before
/// there were bounds, and among what comes with it one that says nothing known.
#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_nurse_can_no_longer_sign_in_although_a_document_of_the_feed_cannot_be_taken()
-> Result<()> {
    let mut scene = Scene::new(3).await?;
    let ben = scene.facility.nurse("Ben Hale", "rn", "573920", "04A1B2C3D4E5F7").await?;
    let hall = scene.kiosk("hall").await?;
    let (name, patient) = scene.resident()?;
    let (name, patient) = (name.to_owned(), patient.to_owned());
    let (huge, odd) = ("019a0000-0000-7000-8000-000000000001", "019a0000-0000-7000-8000-000000000002");
    scene.server.stop().await?;
    let database = Database::of(&scene)?;
    database.put("reviews", huge, &review(huge, &patient, 1_200))?;
    database.put("reviews", odd, r#"{"shape":"of no review"}"#)?;
    drop(database);
    scene.server.resume().await?;
    set_active(&scene, &scene.nora, false).await?;

    // What comes after is taken, and what could not be is said everywhere.
    is_switched_off(&hall, &scene.nora).await?;
    hall.sign_in(&ben).await?;
    hall.chart(&name, "vitals", &vitals("All else goes on")).await?;
    scene.has_notes(&patient, &["All else goes on".to_owned()]).await?;
    hall.says(&["2 items on the server cannot be shown here"]).await?;
    let over = json!([
        {"collection": "reviews", "reason": "not_understood", "count": 1},
        {"collection": "reviews", "reason": "too_large", "count": 1},
    ]);
    hall.status_is("stepped_over", over.clone()).await?;
    assert_eq!(hall.command(&["status"]).await?.0, 5, "it needs attention");
    let device = until("the server to know", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let reasons = json!(["documents_stepped_over"]);
        if device["sync_reasons"] == reasons { Ok(device) } else { bail!("{device}") }
    })
    .await?;
    assert_eq!((&device["sync_status"], &device["differs"]), (&json!("OUT_OF_SYNC"), &json!([])), "{device}");
    assert_eq!(device["stepped_over"], over);
    assert_eq!(device["refetches"], 0, "nothing is fetched again for it");
    let told = until("it in the audit log", PATIENCE, || async {
        let admin = &scene.facility.organization.admin;
        let mut events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
        events.retain(|event| event["details"]["reason"] == "documents_stepped_over");
        if events.len() == 2 { Ok(events) } else { bail!("{events:?}") }
    })
    .await?;
    let bytes: u64 =
        told.iter().filter_map(|event| event["details"]["most_bytes"].as_u64()).max().context("none")?;
    assert!(bytes > 1_200_000, "{told:?}");
    Ok(())
}

/// What a device is sent in part, the server reads: a record that it does not know is sent to none of those.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_server_does_not_know_holds_up_no_device_that_is_sent_less() -> Result<()> {
    let mut scene = Scene::new(3).await?;
    let facility = format!("/api/v1/facilities/{}", scene.facility.id);
    scene.facility.organization.admin.put(&facility, &json!({"phi_mode": "minimal"})).await?;
    let hall = scene.kiosk("hall").await?;
    scene.server.stop().await?;
    let odd = "019a0000-0000-7000-8000-000000000003";
    Database::of(&scene)?.put("records", odd, r#"{"shape":"of no record"}"#)?;
    scene.server.resume().await?;

    // Whoever comes behind it in the feed is known.
    let ben = scene.facility.nurse("Ben Hale", "rn", "573920", "04A1B2C3D4E5F7").await?;
    until("his badge to be known", PATIENCE, || async {
        hall.tap(&ben.uid).await?;
        let page = hall.get("/").await?.words();
        if page.contains("Enter your PIN") { Ok(()) } else { bail!("{page}") }
    })
    .await?;
    until("the copy to be equal", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        if device["sync_status"] == "SYNCED" { Ok(()) } else { bail!("{device}") }
    })
    .await
}

/// The feed stands still: the device may not hold as much as there is. A heartbeat's answer is enough.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_comes_with_the_heartbeats_answer_when_no_feed_does() -> Result<()> {
    let mut scene = Scene::new(3).await?;
    let ben = scene.facility.nurse("Ben Hale", "rn", "573920", "04A1B2C3D4E5F7").await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.status_is("waiting", 0).await?;
    scene.server.stop().await?;
    allow_documents(&scene.server.config(), Some(2))?;
    scene.server.resume().await?;
    set_active(&scene, &scene.nora, false).await?;

    // That somebody signs in is news that the server is told at once.
    hall.sign_in(&ben).await?;
    is_switched_off(&hall, &scene.nora).await?;
    // Also after a restart, before anybody can be asked.
    hall.link.cut();
    hall.pull_the_plug().await?;
    hall.start().await?;
    is_switched_off(&hall, &scene.nora).await?;
    hall.sign_in(&ben).await?;

    // A session that is open ends by it too.
    hall.link.restore();
    set_active(&scene, &ben, false).await?;
    hall.says(&["Tap your badge"]).await?;
    is_switched_off(&hall, &ben).await?;

    // Who works again does so as soon as the feed says it.
    set_active(&scene, &scene.nora, true).await?;
    scene.server.stop().await?;
    allow_documents(&scene.server.config(), None)?;
    scene.server.resume().await?;
    until("her to work again", PATIENCE, || async {
        hall.tap(&scene.nora.uid).await?;
        let page = hall.get("/").await?.words();
        if page.contains("Enter your PIN") { Ok(()) } else { bail!("{page}") }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_make_too_large_a_document_is_refused_with_its_size() -> Result<()> {
    let scene = Scene::new(1).await?;
    let options: Vec<String> = (10..23).map(|n| format!("{n}{}", "x".repeat(190))).collect();
    let field = |n: usize| json!({"key": format!("f{n}"), "label": format!("x{n}"), "type": "select", "options": options});
    let fields: Vec<Value> = (0..100).map(field).collect();
    let form = json!({"key": "huge", "label": "Huge", "fields": fields});
    let size = form.to_string().len();
    assert!(size < 256 * 1024, "the request itself is not too large: {size}");
    let admin = &scene.facility.organization.admin;
    let answer = admin.call(Method::POST, "/api/v1/workflows", Some(&form)).await?;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["field"]),
        (422, &json!("fields")),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("262144"), "{}", answer.text);
    Ok(())
}
