//! A kiosk is stolen. Its facility goes on: whoever taps her badge next chooses a new PIN, on any of the kiosks
//! that are left, online or not, and no badge has to be tapped or issued again for the thief's key to be
//! worth nothing.

use anyhow::{Context as _, Result};
use carepost_protocol::badge::{self, Uid};
use carepost_tests::browser::Browser;
use carepost_tests::clock;
use carepost_tests::device::Device;
use carepost_tests::kiosk::Kiosk;
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::Nurse;
use reqwest::Method;
use serde_json::{Value, json};

const NEW_PIN: &str = "730194";
const DAY: i64 = 24 * 3600;

#[tokio::test(flavor = "multi_thread")]
async fn the_next_sign_in_asks_for_a_new_pin_which_then_works_everywhere_and_the_old_nowhere() -> Result<()> {
    let scene = Scene::new(2).await?;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let (mut stolen, mut hall) = tokio::try_join!(scene.kiosk("stolen"), scene.kiosk("hall"))?;
    let ward = scene.kiosk("ward").await?;
    let (nora, (name, id)) = (&scene.nora, scene.resident()?);
    ward.sign_in(&omar).await?;
    stolen.stop().await?;
    let said = deactivate(&scene, "stolen", "stolen").await?;
    assert_eq!(said["exposed"], json!({"pins": 2, "badges": 2}), "{said}");
    assert_eq!(said["deactivation_reason"], "lost");
    assert!(pin_exposed(&scene, &nora.id).await?.is_string());
    ward.chart(name, "vitals", &vitals("Omar went on")).await?;

    // The network goes before she comes; what the kiosk has heard is enough.
    let pia = catches_up(&scene, &hall, "Pia Winter", "04C1C2C3C4C5C6").await?;
    hall.link.cut();
    asks_for_a_new_one(&hall, nora).await?;
    for (typed, words) in [
        ("123456", "counts up or down"),
        (nora.pin.as_str(), "it is your old PIN"),
        (NEW_PIN, "once more"),
        ("730195", "did not match"),
        (NEW_PIN, "once more"),
    ] {
        hall.enter_pin(typed).await?;
        hall.says(&[words]).await?;
    }
    hall.enter_pin(NEW_PIN).await?;
    hall.says(&[&nora.name, "Lock"]).await?;
    hall.chart(name, "vitals", &vitals("After the theft")).await?;
    // The old one is refused here from now on, also after a restart, though the server has not heard.
    hall.stop().await?;
    hall.start().await?;
    takes_the_new_one_only(&hall, nora).await?;

    // It goes up, and down to the other kiosk before what was charted after it.
    hall.link.restore();
    scene.has_notes(id, &["Omar went on", "After the theft"].map(str::to_owned)).await?;
    hall.status_is("rejected", 0).await?;
    assert!(pin_exposed(&scene, &nora.id).await?.is_null());
    ward.post("/lock", &[]).await?;
    pad_of(&ward, &pia).await?;
    ward.enter_pin(&pia.pin).await?;
    ward.page_says(&ward.path_of(name).await?, &["After the theft"]).await?;
    ward.post("/lock", &[]).await?;
    takes_the_new_one_only(&ward, nora).await?;
    ward.post("/lock", &[]).await?;
    // Omar has not chosen yet: where he was signed in, his badge alone does not do any more.
    asks_for_a_new_one(&ward, &omar).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_seven_days_the_old_pin_opens_nothing_until_an_administrator_sets_one() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (mut hall, mut stolen) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("stolen"))?;
    stolen.stop().await?;
    deactivate(&scene, "stolen", "lost").await?;
    catches_up(&scene, &hall, "Pia Winter", "04C1C2C3C4C5C6").await?;
    hall.stop().await?;
    hall.link.cut();
    for (days, words) in [(6, "Enter your PIN"), (8, "more than seven days ago")] {
        clock::set(&hall.folder, clock::now()? + days * DAY)?;
        hall.start().await?;
        hall.tap(&scene.nora.uid).await?;
        hall.says(&[words]).await?;
        hall.stop().await?;
    }
    clock::right(&hall.folder)?;
    hall.link.restore();
    hall.start().await?;
    let path = format!("/api/v1/users/{}/pin", scene.nora.id);
    let admin = &scene.facility.organization.admin;
    let same = admin.call(Method::PUT, &path, Some(&json!({"pin": scene.nora.pin}))).await?;
    assert_eq!(same.status, 422, "the one that the thief knows: {}", same.text);
    admin.put(&path, &json!({"pin": NEW_PIN})).await?;
    catches_up(&scene, &hall, "Quin Summer", "04D1D2D3D4D5D6").await?;
    takes_the_new_one_only(&hall, &scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn badges_work_on_without_a_tap_and_the_stolen_key_finds_nobody() -> Result<()> {
    let scene = Scene::new(2).await?;
    let port = scene.server.devices.port();
    let enroll =
        async |name| Device::enroll(&scene.folder_of(name), &scene.server, port, &scene.facility, name).await;
    let (stolen, kept) = (enroll("stolen").await?, enroll("kept").await?);
    let hall = scene.kiosk("hall").await?;
    drop(stolen.pull_all(&stolen.mirror).await?);
    // What the thief has.
    let uid = Uid::from_hex(&scene.nora.uid)?;
    let key = badge::key_of(&stolen.grant.badge_key).context("a key")?;
    let known = badge::lookup(&key, &uid);
    assert!(stolen.mirror.badge(|keys| badge::layered(&known, keys))?.is_some());
    hall.link.cut();
    deactivate(&scene, "stolen", "lost").await?;
    // A kiosk that has not heard of it goes on as before.
    pad_of(&hall, &scene.nora).await?;
    hall.post("/pin/cancel", &[]).await?;
    hall.link.restore();
    catches_up(&scene, &hall, "Pia Winter", "04C1C2C3C4C5C6").await?;
    // One that comes now gets the first key, the new one and the badges, and knows everybody too.
    let fresh = scene.kiosk("fresh").await?;
    for kiosk in [&hall, &fresh] {
        pad_of(kiosk, &scene.nora).await?;
        kiosk.post("/pin/cancel", &[]).await?;
    }
    drop(kept.pull_all(&kept.mirror).await?);
    assert!(kept.mirror.badge(|_| vec![known.clone()])?.is_none(), "the stolen key finds somebody");
    let found = kept.mirror.badge(|keys| badge::layered(&known, keys))?.context("her badge")?;
    assert_eq!(found.user_id.to_string(), scene.nora.id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_a_new_pin_is_the_pad_she_knows() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (hall, mut stolen) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("stolen"))?;
    stolen.stop().await?;
    deactivate(&scene, "stolen", "lost").await?;
    catches_up(&scene, &hall, "Pia Winter", "04C1C2C3C4C5C6").await?;
    let pictures = std::env::var_os("CAREPOST_LOOK").map_or_else(|| scene.folder_of("look"), Into::into);
    std::fs::create_dir_all(&pictures)?;
    let page = Browser::open(1280, 800).await?;
    page.goto(&hall.address()).await?;
    page.sees(&["Tap your badge"]).await?;
    hall.tap(&scene.nora.uid).await?;
    page.sees(&[&scene.nora.name, "Enter your PIN"]).await?;
    types(&page, &scene.nora.pin).await?;
    for (typed, words) in [("111111", "New PIN"), (NEW_PIN, "Not accepted"), (NEW_PIN, "once more")] {
        page.sees(&[words]).await?;
        for (width, height) in [(1280, 800), (800, 480)] {
            page.resize(width, height).await?;
            let name = format!("{}-{width}.png", words.to_lowercase().replace(' ', "-"));
            page.screenshot(&pictures.join(name)).await?;
            let fits = "const seen = (it) => it.getBoundingClientRect().bottom <= innerHeight; \
                        return [...document.querySelectorAll('main button, main input')].every(seen) && \
                        document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(page.script(fits).await?, json!(true), "{words:?} at {width} has to be scrolled for");
        }
        types(&page, typed).await?;
    }
    page.sees(&[&scene.nora.name, "Lock"]).await?;
    assert_eq!(page.complaints().await?, Vec::<String>::new());
    page.close().await
}

async fn types(page: &Browser, pin: &str) -> Result<()> {
    for digit in pin.chars() {
        page.touch(&format!("[data-digit='{digit}']")).await?;
    }
    page.touch(".keys .primary").await
}

async fn deactivate(scene: &Scene, name: &str, reason: &str) -> Result<Value> {
    let device = scene.facility.device(name).await?;
    let path = format!("/api/v1/devices/{}/deactivate", device["id"].as_str().context("an id")?);
    scene.facility.organization.admin.post(&path, &json!({"reason": reason})).await
}

async fn pin_exposed(scene: &Scene, user: &str) -> Result<Value> {
    let shown = scene.facility.organization.admin.get(&format!("/api/v1/users/{user}")).await?;
    Ok(shown.get("pin_exposed_at").context("pin_exposed_at")?.clone())
}

/// Hires somebody, and waits until a kiosk knows her badge: then it has heard of all that came before.
async fn catches_up(scene: &Scene, kiosk: &Kiosk, name: &str, uid: &str) -> Result<Nurse> {
    let nurse = scene.facility.nurse(name, "lpn", "604817", uid).await?;
    pad_of(kiosk, &nurse).await?;
    kiosk.post("/pin/cancel", &[]).await?;
    Ok(nurse)
}

/// Taps a badge until its PIN is asked for.
async fn pad_of(kiosk: &Kiosk, nurse: &Nurse) -> Result<()> {
    kiosk.tap_until(&nurse.uid, &[&nurse.name, "Enter your PIN"]).await
}

async fn asks_for_a_new_one(kiosk: &Kiosk, nurse: &Nurse) -> Result<()> {
    pad_of(kiosk, nurse).await?;
    kiosk.enter_pin(&nurse.pin).await?;
    kiosk.says(&["a device that knew your old one was lost", "New PIN"]).await.map(drop)
}

async fn takes_the_new_one_only(kiosk: &Kiosk, nurse: &Nurse) -> Result<()> {
    pad_of(kiosk, nurse).await?;
    kiosk.enter_pin(&nurse.pin).await?;
    kiosk.says(&["That PIN is wrong"]).await?;
    kiosk.enter_pin(NEW_PIN).await?;
    kiosk.says(&[&nurse.name, "Lock"]).await.map(drop)
}
