//! The server is put back to an older state of itself, by the command for it or behind everybody's back:
//! whatever was acknowledged comes back from the devices, once, and every copy is current.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::{run, until};
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::{Nurse, items};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_from_a_backup_has_everything_again() -> Result<()> {
    let mut scene = Scene::new(2).await?;
    let backup = scene.folder.path().join("backup.db").display().to_string();
    let (hall, med, mut all) = charted_before(&scene).await?;
    upkeep(&scene, &["backup", "--to", &backup]).await?;
    all.extend(charted_after(&scene, &hall, &med).await?);
    scene.server.pull_the_plug().await?;
    upkeep(&scene, &["restore", "--yes", "--from", &backup]).await?;
    scene.server.resume().await?;
    is_whole_again(&mut scene, &[&hall, &med], all, "server_restored").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_nobody_back_who_was_shut_out_since() -> Result<()> {
    let mut scene = Scene::new(2).await?;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let backup = scene.folder.path().join("backup.db").display().to_string();
    let (hall, stolen) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("stolen"))?;
    upkeep(&scene, &["backup", "--to", &backup]).await?;
    let admin = scene.facility.organization.admin.clone();
    let device = scene.facility.device("stolen").await?["id"].as_str().context("an id")?.to_owned();
    admin.post(&format!("/api/v1/devices/{device}/deactivate"), &json!({"reason": "lost"})).await?;
    admin.put(&format!("/api/v1/users/{}", omar.id), &json!({"is_active": false})).await?;
    admin.put(&format!("/api/v1/users/{}/pin", scene.nora.id), &json!({"pin": "730194"})).await?;
    scene.server.pull_the_plug().await?;
    let said = upkeep(&scene, &["restore", "--yes", "--from", &backup]).await?;
    for words in
        ["user omar.reyes: switched off", "device stolen: now REVOKED", "Everybody has to sign in again"]
    {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    scene.server.resume().await?;
    // Whoever was signed in is not; what was taken away stays away, at the server and at the kiosks.
    let answer = admin.call(Method::GET, "/api/v1/users", None).await?;
    assert_eq!(answer.status, 401, "{}", answer.text);
    stolen.says(&["This device is no longer in use"]).await?;
    until("the kiosk to have it from the restored server", PATIENCE, || async {
        hall.tap(&omar.uid).await?;
        let page = hall.get("/").await?.words();
        if page.contains("switched off") { Ok(()) } else { bail!("{page}") }
    })
    .await?;
    hall.status_is("link", "ONLINE").await?;
    let nora = Nurse { pin: "730194".to_owned(), ..scene.nora.clone() };
    until("Nora at the kiosk", PATIENCE, || async {
        hall.tap(&nora.uid).await?;
        let page = hall.get("/").await?.words();
        if page.contains("Enter your PIN") { Ok(()) } else { bail!("{page}") }
    })
    .await?;
    hall.enter_pin(&nora.pin).await?;
    hall.says(&[&nora.name, "Lock"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_cannot_know_quarantines_the_devices_and_says_what_to_look_at() -> Result<()> {
    let mut scene = Scene::new(2).await?;
    let backup = scene.folder.path().join("backup.db").display().to_string();
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    upkeep(&scene, &["backup", "--to", &backup]).await?;
    scene.server.pull_the_plug().await?;
    let state = scene.server.folder.join("state");
    for file in databases(&state)? {
        std::fs::remove_file(state.join(&file))?;
    }
    let said: Value =
        serde_json::from_str(&upkeep(&scene, &["restore", "--yes", "--from", &backup, "--json"]).await?)?;
    assert_eq!((&said["carried"], &said["replaced"]), (&Value::Null, &Value::Null), "{said}");
    let unknown = said["unknown"].to_string();
    for words in ["Device hall", "device release", "user list", "--reason lost"] {
        assert!(unknown.contains(words), "no {words:?} in {unknown}");
    }
    scene.server.resume().await?;
    // Charting goes on, and nothing is sent to a device that may be anybody's.
    hall.status_is("quarantined", true).await?;
    let (name, id) = scene.resident()?;
    let (name, id) = (name.to_owned(), id.to_owned());
    hall.chart(&name, "vitals", &vitals("In doubt")).await?;
    hall.status_is("waiting", 0).await?;
    scene.signs_in_again().await?;
    let admin = scene.facility.organization.admin.clone();
    let device = scene.facility.device("hall").await?;
    assert_eq!(device["quarantine_reason"], "restored", "{device}");
    assert!(device["sync_reason"].as_str().is_some_and(|said| said.contains("was restored")), "{device}");
    let path = format!("/api/v1/devices/{}/release", device["id"].as_str().context("an id")?);
    admin.post(&path, &json!({})).await?;
    hall.status_is("quarantined", false).await?;
    scene.has_notes(&id, &["In doubt".to_owned()]).await?;
    in_sync(&scene, "hall").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_was_put_back_behind_its_back_has_everything_again() -> Result<()> {
    let mut scene = Scene::new(2).await?;
    let (hall, med, mut all) = charted_before(&scene).await?;
    scene.server.stop().await?;
    let (state, copy) = (scene.server.folder.join("state"), scene.folder.path().join("snapshot"));
    std::fs::create_dir(&copy)?;
    for file in databases(&state)? {
        std::fs::copy(state.join(&file), copy.join(&file))?;
    }
    scene.server.resume().await?;
    all.extend(charted_after(&scene, &hall, &med).await?);
    scene.server.pull_the_plug().await?;
    for file in databases(&state)? {
        std::fs::remove_file(state.join(&file))?;
    }
    for file in databases(&copy)? {
        std::fs::copy(copy.join(&file), state.join(&file))?;
    }
    scene.server.resume().await?;
    is_whole_again(&mut scene, &[&hall, &med], all, "server_rewound").await
}

/// Two kiosks, and an entry from each.
async fn charted_before(scene: &Scene) -> Result<(Kiosk, Kiosk, Vec<String>)> {
    let (hall, med) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("med"))?;
    tokio::try_join!(hall.sign_in(&scene.nora), med.sign_in(&scene.nora))?;
    let mut all = chart(scene, &hall, &["Hall before"]).await?;
    all.extend(chart(scene, &med, &["Med before"]).await?);
    Ok((hall, med, all))
}

/// What the backup does not have; all of it is acknowledged, and on each other's pages.
async fn charted_after(scene: &Scene, hall: &Kiosk, med: &Kiosk) -> Result<Vec<String>> {
    let (from_hall, from_med) = tokio::try_join!(
        chart(scene, hall, &["Hall after 1", "Hall after 2", "Hall after 3"]),
        chart(scene, med, &["Med after 1", "Med after 2"]),
    )?;
    let notes = [from_hall, from_med].concat();
    let words: Vec<&str> = notes.iter().map(String::as_str).collect();
    let path = hall.path_of(scene.resident()?.0).await?;
    tokio::try_join!(hall.page_says(&path, &words), med.page_says(&path, &words))?;
    Ok(notes)
}

/// Charts these and waits until they are acknowledged.
async fn chart(scene: &Scene, kiosk: &Kiosk, notes: &[&str]) -> Result<Vec<String>> {
    let (name, _) = scene.resident()?;
    for note in notes {
        kiosk.chart(name, "vitals", &vitals(note)).await?;
    }
    kiosk.says(&["Everything is sent"]).await?;
    Ok(notes.iter().map(ToString::to_string).collect())
}

/// Everything is at the server once, and on each kiosk's page; both go on; the devices' chains verify; and
/// that the server was put back is written down.
async fn is_whole_again(
    scene: &mut Scene,
    kiosks: &[&Kiosk; 2],
    mut all: Vec<String>,
    noted: &str,
) -> Result<()> {
    scene.signs_in_again().await?;
    let (name, id) = scene.resident()?;
    is_once(scene, id, &all).await?;
    for (kiosk, note) in kiosks.iter().zip(["Hall goes on", "Med goes on"]) {
        all.extend(chart(scene, kiosk, &[note]).await?);
    }
    is_once(scene, id, &all).await?;
    for kiosk in kiosks {
        let notes: Vec<&str> = all.iter().map(String::as_str).collect();
        let words = kiosk.page_says(&kiosk.path_of(name).await?, &notes).await?;
        for note in &notes {
            assert_eq!(words.matches(note).count(), 1, "{note:?} on {}: {words}", kiosk.name);
        }
        kiosk.status_is("waiting", 0).await?;
        kiosk.status_is("rejected", 0).await?;
        kiosk.status_is("quarantined", false).await?;
        in_sync(scene, &kiosk.name).await?;
        let status = kiosk.status().await?;
        assert_eq!(status.get("differs"), None, "{status}");
    }
    let admin = &scene.facility.organization.admin;
    let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
    let what: Vec<&Value> = events.iter().map(|event| &event["details"]["what"]).collect();
    assert!(what.contains(&&json!(noted)), "{what:?}");
    assert!(!what.contains(&&json!("chain_gap")), "the devices had all of it: {what:?}");
    upkeep(scene, &["audit", "verify", "--json"]).await?;
    scene.server.stop().await?;
    upkeep(scene, &["audit", "verify", "--json"]).await.map(drop)
}

async fn is_once(scene: &Scene, resident: &str, all: &[String]) -> Result<()> {
    until("every entry at the server once", PATIENCE, || async {
        let (mut notes, mut all) = (scene.notes(resident).await?, all.to_vec());
        notes.sort();
        all.sort();
        if notes == all { Ok(()) } else { bail!("there are {notes:?}, not {all:?}") }
    })
    .await
}

async fn in_sync(scene: &Scene, device: &str) -> Result<()> {
    until(&format!("{device} to be in sync"), PATIENCE, || async {
        let device = scene.facility.device(device).await?;
        if device["sync_status"] == "SYNCED" { Ok(()) } else { bail!("{device}") }
    })
    .await
}

/// Runs a command of the server's own machine; it must succeed.
async fn upkeep(scene: &Scene, words: &[&str]) -> Result<String> {
    let config = scene.server.config().display().to_string();
    let all: Vec<&str> = ["--config", &config].into_iter().chain(words.iter().copied()).collect();
    let (code, out, error) = run("carepost-server", &all, &[]).await?;
    if code != 0 {
        bail!("{words:?} ended with {code}: {out}{error}; the server's log:\n{}", scene.server.log());
    }
    Ok(out)
}

/// The database's files in a folder: itself, and its log if there is one.
fn databases(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if [".db", ".db-wal", ".db-shm"].iter().any(|end| text.ends_with(end)) {
            found.push(PathBuf::from(name));
        }
    }
    if found.is_empty() {
        bail!("no database in {}", folder.display());
    }
    Ok(found)
}
