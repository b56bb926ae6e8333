//! Badges and PINs: who gets in, who does not, and what the screen says.

use anyhow::{Result, bail};
use carepost_reader::Reader;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_badge_that_may_not_open_the_screen_is_told_why() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    let admin = &scene.facility.organization.admin;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let pia = scene.facility.nurse("Pia Sand", "caregiver", "648201", "04C1B2C3D4E5F6").await?;

    hall.tap("04FFFFFFFFFFFF").await?;
    hall.says(&["This badge is not known here"]).await?;
    hall.tap("08A1B2C3").await?;
    hall.says(&["This card shows another number each time"]).await?;

    // Revoked and deactivated while the kiosk runs: it hears of it by itself.
    admin.post(&format!("/api/v1/badges/{}/revoke", omar.badge), &json!({})).await?;
    refused(&hall, &omar.uid, "This badge was switched off").await?;
    admin.put(&format!("/api/v1/users/{}", pia.id), &json!({"is_active": false})).await?;
    refused(&hall, &pia.uid, "This account is switched off").await?;

    // The network makes no difference to any of it.
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    refused(&hall, &omar.uid, "This badge was switched off").await?;
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_pins_lock_a_user_offline_and_after_a_restart_until_there_is_another() -> Result<()> {
    let scene = Scene::new(2).await?;
    // Before the kiosk, so that it knows him when its line is cut.
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.link.cut();
    hall.says(&["Internet down"]).await?;

    hall.tap(&scene.nora.uid).await?;
    hall.says(&["Nora Quist", "Enter your PIN"]).await?;
    for _ in 0..2 {
        wrong_pin(&hall).await?;
    }
    // Pulling the plug buys no more tries.
    hall.pull_the_plug().await?;
    hall.start().await?;
    hall.tap(&scene.nora.uid).await?;
    hall.says(&["Enter your PIN"]).await?;
    for _ in 0..2 {
        wrong_pin(&hall).await?;
    }
    hall.says(&["One try is left before a lock of 30 minutes"]).await?;
    let attempt = hall.get("/").await?.hidden("attempt")?;
    hall.post("/pin", &[("attempt", &attempt), ("pin", "999999")]).await?;
    hall.says(&["Too many wrong PINs. Try again in 30 minutes"]).await?;

    hall.pull_the_plug().await?;
    hall.start().await?;
    hall.tap(&scene.nora.uid).await?;
    hall.says(&["Too many wrong PINs. Try again in"]).await?;
    assert!(hall.get("/").await?.hidden("attempt").is_err(), "no PIN pad for a locked user");
    hall.link.restore();
    hall.says(&["Everything is sent"]).await?;
    // Her lock is hers alone.
    hall.sign_in(&omar).await?;
    hall.post("/lock", &[]).await?;
    hall.says(&["Tap your badge"]).await?;
    // It was a lock of her old PIN: one that the office sets opens the kiosk once that has it.
    let pin = format!("/api/v1/users/{}/pin", scene.nora.id);
    scene.facility.organization.admin.put(&pin, &json!({"pin": "730194"})).await?;
    hall.tap_until(&scene.nora.uid, &["Nora Quist", "Enter your PIN"]).await?;
    hall.enter_pin("730194").await?;
    hall.says(&["Nora Quist", "Lock"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_nurse_taps_over_and_sees_nothing_of_the_first_ones_draft() -> Result<()> {
    let scene = Scene::new(2).await?;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let form_path = format!("{}/chart/vitals", hall.path_of(name).await?);
    let form = hall.get(&form_path).await?;
    let (screen, token) = (form.hidden("_screen")?, form.hidden("_token")?);
    let mut fields = vec![("_screen", screen.as_str()), ("_token", token.as_str())];
    fields.extend(vitals("Only Nora may read this"));
    assert_eq!(hall.post(&format!("{form_path}/draft"), &fields).await?.status, 204);

    hall.tap(&omar.uid).await?;
    hall.says(&["Omar Reyes", "Enter your PIN"]).await?;
    hall.enter_pin(&omar.pin).await?;
    hall.says(&["Omar Reyes", "Lock"]).await?;
    let his = hall.get(&form_path).await?;
    assert!(!his.html.contains("Only Nora may read this"), "{}", his.words());
    // A form that was on the screen before him saves nothing under his name.
    assert_eq!(hall.post(&form_path, &fields).await?.location.as_deref(), Some("/"));
    assert_eq!(hall.post(&format!("{form_path}/draft"), &fields).await?.status, 409);
    assert!(scene.facility.records(id).await?.is_empty());

    // She taps again, within her grace: no PIN, and her draft is where she left it.
    hall.tap_until(&scene.nora.uid, &["Nora Quist", "Lock"]).await?;
    let hers = hall.get(&form_path).await?;
    assert!(hers.html.contains("Only Nora may read this") && hers.words().contains("not saved yet"));
    hall.chart(name, "vitals", &vitals("Now it is saved")).await?;
    scene.has_notes(id, &["Now it is saved".to_owned()]).await?;
    assert!(!hall.get(&form_path).await?.html.contains("Only Nora may read this"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_badge_locks_the_screen_and_that_can_be_undone() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    let (name, _) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    hall.tap_until(&scene.nora.uid, &["Undo lock for Nora Quist"]).await?;
    let locked = hall.get("/").await?;
    assert!(!locked.html.contains(name), "nothing is readable behind the lock");
    hall.post("/lock/undo", &[]).await?;
    hall.says(&["Nora Quist", "Lock", name]).await?;

    hall.post("/lock", &[]).await?;
    hall.says(&["Tap your badge"]).await?;
    hall.tap_until(&scene.nora.uid, &["Nora Quist", "Lock", name]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_badge_left_on_the_reader_opens_nothing_again() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk_with("hall", Badges::Pcsc, "").await?;
    hall.status_is("reader", "READY").await?;
    let (reader, uid) = (hall.reader()?, scene.nora.uid.clone());
    hand(&reader, move |reader| reader.present(&uid)).await?;
    hall.says(&["Nora Quist", "Enter your PIN"]).await?;
    hall.enter_pin(&scene.nora.pin).await?;
    hall.says(&["Nora Quist", "Lock"]).await?;
    hall.post("/lock", &[]).await?;
    hall.says(&["Tap your badge"]).await?;
    // The reader's cable is loose: the badge that lies on it is reported anew.
    hand(&reader, |reader| reader.unplug()).await?;
    hall.says(&["Badge reader unplugged", "Tap your badge"]).await?;
    hand(&reader, |reader| reader.plug()).await?;
    hall.says(&["Take the badge off the reader"]).await?;
    // Taken off and laid down again it is a tap.
    hand(&reader, |reader| reader.remove()).await?;
    hall.tap_until(&scene.nora.uid, &["Nora Quist", "Lock"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_fails_is_said_here_and_at_the_server_and_comes_back() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk_with("hall", Badges::Pcsc, "").await?;
    hall.status_is("reader", "READY").await?;
    server_sees_reader(&scene, "READY").await?;

    let reader = hall.reader()?;
    hand(&reader, |reader| reader.unplug()).await?;
    hall.says(&["Badge reader unplugged"]).await?;
    server_sees_reader(&scene, "MISSING").await?;
    hand(&reader, |reader| reader.plug()).await?;
    hall.status_is("reader", "READY").await?;

    hall.pcscd()?.kill();
    hall.says(&["Badge reader not answering"]).await?;
    hall.pcscd()?.restart()?;
    hall.status_is("reader", "READY").await?;
    hall.sign_in(&scene.nora).await?;
    server_sees_reader(&scene, "READY").await
}

/// Does something at the reader.
async fn hand<E: std::error::Error + Send + Sync + 'static>(
    reader: &Reader,
    act: impl FnOnce(&Reader) -> Result<(), E> + Send + 'static,
) -> Result<()> {
    let reader = reader.clone();
    Ok(tokio::task::spawn_blocking(move || act(&reader)).await??)
}

async fn refused(hall: &Kiosk, uid: &str, words: &str) -> Result<()> {
    until(&format!("{words:?}"), PATIENCE, || async {
        hall.tap(uid).await?;
        let page = hall.get("/").await?;
        if let Ok(attempt) = page.hidden("attempt") {
            // The kiosk has not heard yet.
            hall.post("/pin/cancel", &[("attempt", &attempt)]).await?;
        }
        let said = page.words();
        if said.contains(words) { Ok(()) } else { bail!("{said}") }
    })
    .await
}

async fn wrong_pin(hall: &Kiosk) -> Result<()> {
    let attempt = hall.get("/").await?.hidden("attempt")?;
    hall.post("/pin", &[("attempt", &attempt), ("pin", "999999")]).await?;
    until("the PIN to be judged", PATIENCE, || async {
        let page = hall.get("/").await?;
        let words = page.words();
        anyhow::ensure!(
            words.contains("wrong") && page.hidden("attempt").ok() != Some(attempt.clone()),
            "{words}"
        );
        Ok(())
    })
    .await
}

async fn server_sees_reader(scene: &Scene, state: &str) -> Result<()> {
    until(&format!("a heartbeat that says {state}"), PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        if device["reader"] == state { Ok(()) } else { bail!("{device}") }
    })
    .await
}
