//! A mirror has a window: what was charted a hundred days ago leaves the kiosks, both are proven equal, and
//! the server shows it to whoever asks there.

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::until;
use carepost_tests::clock;
use carepost_tests::device::Device;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, corrected_vitals, vitals};
use carepost_tests::world::{PASSWORD, items};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const DAY: i64 = 24 * 3_600;

/// A scene whose server lives so many days ago.
pub async fn scene_of(days: i64, residents: usize) -> Result<Scene> {
    let folder = TempDir::new()?;
    clock::set(&folder.path().join("server"), clock::now()? - days * DAY)?;
    Scene::within(folder, residents).await
}

/// It is today at the server from now on; sessions of that time are over. Once a device is heard, what is
/// old leaves the feed.
pub async fn until_today(scene: &mut Scene) -> Result<()> {
    clock::set(&scene.server.folder, clock::now()?)?;
    let admin = scene.server.api()?.sign_in(Some("golden-years"), "admin", PASSWORD).await?;
    scene.facility.organization.admin = admin;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kiosks_drop_what_is_old_are_proven_equal_and_show_it_from_the_server() -> Result<()> {
    let mut scene = scene_of(100, 2).await?;
    let (hall, med) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("med"))?;
    tokio::try_join!(hall.sign_in(&scene.nora), med.sign_in(&scene.nora))?;
    let (name, id) = scene.resident()?;
    let (name, id) = (name.to_owned(), id.to_owned());
    for note in ["In winter", "Wrong in winter"] {
        hall.chart(&name, "vitals", &vitals(note)).await?;
    }
    hall.says(&["Everything is sent"]).await?;
    let path = hall.path_of(&name).await?;
    med.page_says(&path, &["In winter", "Wrong in winter"]).await?;

    // One of them is cut off, and what it charted then comes a hundred days late.
    hall.link.cut();
    hall.status_is("link", "OFFLINE").await?;
    hall.chart(&name, "vitals", &vitals("Cut off in winter")).await?;
    until_today(&mut scene).await?;
    med.chart(&name, "vitals", &vitals("Today")).await?;
    med.page_says(&path, &["are kept on the server", "Today"]).await?;
    hall.page_says(&path, &["In winter", "Cut off in winter"]).await?;
    let words = hall.get(&format!("{path}/older")).await?.words();
    anyhow::ensure!(words.contains("The server is not reached now"), "{words}");
    hall.link.restore();
    hall.status_is("link", "ONLINE").await?;
    for kiosk in [&hall, &med] {
        kiosk.page_says(&path, &["are kept on the server", "Cut off in winter"]).await?;
        let words = kiosk.get(&path).await?.words();
        anyhow::ensure!(!words.contains("Wrong in winter"), "{}: {words}", kiosk.name);
        is_equal(&scene, kiosk).await?;
    }
    let all = ["In winter", "Wrong in winter", "Today", "Cut off in winter"];
    scene.has_notes(&id, &all.map(str::to_owned)).await?;

    // From the server, and corrected there: then it is on both kiosks again.
    let page = med.get(&format!("{path}/older")).await?;
    let words = page.words();
    anyhow::ensure!(words.contains("In winter") && words.contains("Wrong in winter"), "{words}");
    anyhow::ensure!(!words.contains("Cut off in winter"), "{words}");
    let wrong = records(&scene, &id).await?.into_iter().find(|it| it["values"]["note"] == "Wrong in winter");
    let wrong = wrong.context("the record is gone")?["id"].as_str().context("no id")?.to_owned();
    med.fill_in(&format!("{path}/correct/{wrong}"), &corrected_vitals("Right in winter")).await?;
    for kiosk in [&hall, &med] {
        kiosk.page_says(&path, &["Right in winter", "1 earlier version", "Cut off in winter"]).await?;
        is_equal(&scene, kiosk).await?;
    }
    let words = hall.get(&format!("{path}/older")).await?.words();
    anyhow::ensure!(words.contains("In winter") && !words.contains("Wrong in winter"), "{words}");

    // Who read it, and which device asked for it, is written down.
    let admin = &scene.facility.organization.admin;
    until("the audit of the reads", PATIENCE, || async {
        let events = items(&admin.get(&format!("/api/v1/audit-events?patient_id={id}&limit=1000")).await?)?;
        let of = |place: &Value| {
            let mut found = events
                .iter()
                .filter(|event| &event["endpoint"] == place || &event["details"]["page"] == place);
            found.any(|event| event["action"] == "view" && event["success"] == true)
        };
        let asked = of(&json!("GET /api/v1/sync/patients/{patient_id}/older-records"));
        anyhow::ensure!(asked && of(&json!("/residents/older")), "{events:?}");
        Ok(())
    })
    .await
}

/// Its copy of everything is the server's, and nothing had to be fetched again for that.
async fn is_equal(scene: &Scene, kiosk: &Kiosk) -> Result<()> {
    until("the copies to be equal", PATIENCE, || async {
        let device = scene.facility.device(&kiosk.name).await?;
        let (differs, refetches) = (&device["differs"], &device["refetches"]);
        if (differs, refetches) != (&json!([]), &json!(0)) {
            bail!("{differs} after {refetches} refetches");
        }
        anyhow::ensure!(device["sync_status"] == "SYNCED", "{device}");
        Ok(())
    })
    .await
}

async fn records(scene: &Scene, id: &str) -> Result<Vec<Value>> {
    let admin = &scene.facility.organization.admin;
    items(&admin.get(&format!("/api/v1/patients/{id}/records")).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_older_entry_that_was_corrected_25_times_the_last_correction_counts() -> Result<()> {
    let mut scene = scene_of(100, 1).await?;
    let med = scene.kiosk("med").await?;
    med.sign_in(&scene.nora).await?;
    let name = scene.resident()?.0.to_owned();
    let path = med.path_of(&name).await?;
    med.chart(&name, "vitals", &vitals("Reading 0.")).await?;
    for n in 1..=25 {
        // Nothing but what counts can be corrected.
        let page = med.get(&path).await?;
        let form = page.html.split("href=\"").find(|rest| rest.starts_with(&format!("{path}/correct/")));
        let form = form.and_then(|rest| rest.split('"').next()).context("nothing to correct")?;
        let saved = med.fill_in(form, &corrected_vitals(&format!("Reading {n}."))).await?;
        anyhow::ensure!(saved.status == 303, "{n}: {}", saved.words());
    }
    med.says(&["Everything is sent"]).await?;
    until_today(&mut scene).await?;
    med.chart(&name, "vitals", &vitals("Today")).await?;
    med.page_says(&path, &["are kept on the server", "Today"]).await?;
    let words = med.get(&format!("{path}/older")).await?.words();
    let (counts, before) = words.split_once("25 earlier versions").with_context(|| words.clone())?;
    anyhow::ensure!(counts.contains("Reading 25.") && counts.matches("Reading").count() == 1, "{words}");
    anyhow::ensure!((0..25).all(|n| before.contains(&format!("Reading {n}."))), "{words}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_asks_for_older_records_within_its_view_and_its_facility() -> Result<()> {
    let mut scene = scene_of(100, 2).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let nora = hall.nurse(scene.nora.id.parse()?);
    let id = scene.resident()?.1.to_owned();
    for n in 0..25 {
        let answers = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "note": format!("Round {n}")});
        let answers = answers.as_object().cloned().unwrap_or_default();
        hall.save(&nora, &hall.vitals(&nora, id.parse()?, answers))?;
    }
    hall.push_all().await?;
    let _stream = hall.pull_all(&hall.mirror).await?;
    let wire = hall.wire(&scene.server)?;
    let path = format!("/api/v1/sync/patients/{id}/older-records");
    assert_eq!(wire.get(&path).await?, json!({"records": []}), "nothing is old yet");
    until_today(&mut scene).await?;
    let admin = &scene.facility.organization.admin;
    let first = until("the archiving", PATIENCE, || async {
        hall.upstream.heartbeat(hall.grant.device_id, &hall.heartbeat(Default::default())).await?;
        let page = wire.get(&path).await?;
        if page["next"].is_null() { bail!("{page}") } else { Ok(page) }
    })
    .await?;
    let next = format!(
        "{path}?before={}&before_record={}",
        first["next"]["before"].as_str().context("no place")?,
        first["next"]["before_record"].as_str().context("no place")?,
    );
    let second = wire.get(&next).await?;
    assert!(second["next"].is_null(), "{second}");
    let notes = |page: &Value| -> Result<Vec<String>> {
        let notes = page["records"].as_array().context("no records")?.iter();
        Ok(notes.map(|it| it["values"]["note"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let mut all = [notes(&first)?, notes(&second)?].concat();
    all.sort();
    let mut expected: Vec<_> = (0..25).map(|n| format!("Round {n}")).collect();
    expected.sort();
    assert_eq!(all, expected, "each of them once");
    for bad in ["?before=2026-01-01T00:00:00Z", "?before=yesterday&before_record=x"] {
        assert_eq!(wire.call(Method::GET, &format!("{path}{bad}"), None).await?.status, 422, "{bad}");
    }

    // As its mode shows them: that something was charted, not what.
    let device = format!("/api/v1/devices/{}", hall.grant.device_id);
    for mode in ["minimal", "free"] {
        admin.put(&device, &json!({"phi_mode": mode})).await?;
        let page = wire.get(&path).await?;
        assert_eq!(page["records"].as_array().map(Vec::len), Some(20), "{page}");
        assert!(!page.to_string().contains("Round"), "{page}");
    }
    // To a reader of badges the resident is as missing as somebody of another facility.
    admin.put(&device, &json!({"phi_mode": null, "device_type": "BADGE_READER"})).await?;
    let refused = wire.call(Method::GET, &path, None).await?;
    assert_eq!(refused.status, 404, "{}", refused.text);
    admin.put(&device, &json!({"device_type": "TABLET"})).await?;
    // A device that asks without end is told to wait; each page was an event in the audit log.
    for _ in 0..300 {
        let answer = wire.call(Method::GET, &path, None).await?;
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"), "{}", answer.text);
            return Ok(());
        }
    }
    bail!("three hundred pages without a pause")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitys_window_is_set_by_command_and_written_down() -> Result<()> {
    let scene = Scene::new(1).await?;
    let admin = &scene.facility.organization.admin;
    let path = format!("/api/v1/facilities/{}", scene.facility.id);
    assert_eq!(admin.get(&path).await?["record_days"], Value::Null);
    assert_eq!(admin.put(&path, &json!({"record_days": 30})).await?["record_days"], 30);
    for bad in [json!(6), json!(3_651), json!(-1), json!("ten")] {
        let refused = admin.call(Method::PUT, &path, Some(&json!({"record_days": bad}))).await?;
        assert_eq!(refused.status, 422, "{}", refused.text);
    }
    assert_eq!(admin.put(&path, &json!({"phone": "555-0199"})).await?["record_days"], 30);
    let events = items(&admin.get("/api/v1/audit-events?limit=100").await?)?;
    let set: Vec<_> = events.iter().filter(|event| event["details"]["record_days"] == 30).collect();
    assert!(set.len() == 1 && set[0]["resource_id"] == scene.facility.id.as_str(), "{events:?}");
    assert_eq!(admin.put(&path, &json!({"record_days": null})).await?["record_days"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_near_its_budget_shows_what_to_do() -> Result<()> {
    let folder = TempDir::new()?;
    let mut scene = Scene::within(folder, 4).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let _stream = hall.pull_all(&hall.mirror).await?;
    let seen = scene.facility.device("hall").await?;
    let documents = seen["documents"].as_u64().context("no documents")?;
    assert_eq!((&seen["warning"], &seen["max_documents"]), (&Value::Null, &json!(250_000)));
    scene.server.stop().await?;
    let text = std::fs::read_to_string(scene.server.config())?;
    let most = documents + 1;
    std::fs::write(scene.server.config(), format!("{text}\n[sync]\nmax_documents = {most}\n"))?;
    scene.server.resume().await?;
    // A warning, not a refusal: it is served, and that is no reason to be out of sync.
    let _stream = hall.pull_all(&hall.mirror).await?;
    let seen = scene.facility.device("hall").await?;
    assert_eq!(seen["sync_reasons"], json!(["never_synced"]), "it sends no heartbeat: {seen}");
    let words = seen["warning"].as_str().context("no warning")?;
    for part in
        [documents.to_string(), most.to_string(), "max_documents".to_owned(), "record-days".to_owned()]
    {
        assert!(words.contains(&part), "{part}: {words}");
    }
    until("the warning in the log", PATIENCE, || async {
        let log = scene.server.log();
        anyhow::ensure!(log.contains(&format!("{documents} of at most {most}")), "{log}");
        Ok(())
    })
    .await
}
