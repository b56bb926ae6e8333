//! A device that was given a wrong token, or was deactivated, comes in all the same: by its code, and by one
//! button or one command.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carepost_tests::api::text;
use carepost_tests::browser::Browser;
use carepost_tests::children::run;
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::items;
use serde_json::{Value, json};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_said_and_the_code_lets_the_device_in_all_the_same() -> Result<()> {
    let scene = Scene::new(1).await?;
    let admin = &scene.facility.organization.admin;
    // One that nobody ever gave, and one that is another device's.
    let other = json!({"facility_id": scene.facility.id, "device_name": "other", "device_type": "TABLET",
        "device_uuid": "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42"});
    let foreign = text(&admin.post("/api/v1/devices", &other).await?, "token")?;
    for (name, token, why) in [("hall", "cpd_nobodys", "unknown"), ("wing", &foreign, "other hardware")] {
        let mut kiosk =
            Kiosk::hang(&scene.folder_of(name), name, &scene.server, None, Badges::None, "").await?;
        kiosk.pairing_code().await?;
        kiosk.stop().await?;
        let file = scene.folder_of(&format!("{name}.token"));
        std::fs::write(&file, token)?;
        let file = file.display().to_string();
        let (code, said) = kiosk.command(&["enroll", "--token-file", &file, "--wait", "4"]).await?;
        assert!(code == 3 && said.contains("refused the token") && said.contains(why), "{code}: {said}");
        assert!(said.contains("pairing code ") && !said.contains(token), "{said}");
        let (_, said) = kiosk.command(&["doctor"]).await?;
        assert!(said.contains("refused the token") && said.contains(why), "{said}");

        kiosk.start().await?;
        let shown = kiosk.pairing_code().await?;
        kiosk.says(&["refused the token", why, &shown]).await?;
        let status = kiosk.status().await?;
        assert_eq!((&status["state"], &status["pairing_code"]), (&json!("PENDING"), &json!(shown)));
        assert_eq!(status["link"], "ONLINE", "the server answers");
        assert!(text(&status, "token_refused")?.contains(why), "{status}");
        let (code, said) = kiosk.command(&["doctor"]).await?;
        assert!(said.contains("refused the token") && said.contains(&shown), "{code}: {said}");

        scene.facility.enroll(&kiosk).await?;
        let status = kiosk.status().await?;
        assert_eq!((&status["token_refused"], &status["pairing_code"]), (&Value::Null, &Value::Null));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_device_says_only_that_and_enrolls_anew_by_one_button_without_losing_an_entry()
-> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let mut hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    hall.chart(name, "vitals", &vitals("Never sent")).await?;
    let cookie = hall.cookie().await;
    let first = revoke(&scene, "hall").await?;
    hall.link.restore();
    hall.says(&["This device is no longer in use", "stays on this device"]).await?;
    hall.keeps_that_it_is_revoked().await?;
    hall.status_is("state", "REVOKED").await?;
    assert_eq!(hall.status().await?["link"], Value::Null, "no link is any good");
    for command in ["doctor", "status"] {
        let (code, said) = hall.command(&[command]).await?;
        assert!(code == 5 && said.contains("REVOKED") && !said.contains("ONLINE"), "{code}: {said}");
    }
    let listed = device(&scene, &first).await?;
    let said = (&listed["state"], &listed["is_online"], &listed["sync_reasons"][0]);
    assert_eq!(said, (&json!("REVOKED"), &json!(false), &json!("revoked")), "{listed}");
    assert_ne!(listed["sync_status"], "SYNCED");

    // Whoever comes by may press it; an administrator decides.
    hall.post("/enroll", &[]).await?;
    hall.pairing_code().await?;
    assert_eq!(hall.cookie().await, cookie, "its browser is known as before");
    let again = enroll(&scene, &hall).await?;
    assert_ne!(first, again, "it is another device to the server");
    assert_eq!(device(&scene, &first).await?["state"], "REVOKED");
    hall.post("/enroll", &[]).await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("After")).await?;
    scene.has_notes(id, &["After".to_owned()]).await?;

    // What was not sent is where the doctor says, and comes out of there.
    let (code, said) = hall.command(&["doctor"]).await?;
    assert!(code == 5 && said.contains("never sent: 1."), "{code}: {said}");
    hall.stop().await?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    let aside = aside(&hall)?;
    let state = [("CAREPOST_AGENT__STATE_DIR", aside.display().to_string())];
    let config = hall.config().display().to_string();
    let (_, out, error) = run("carepost-agent", &["--config", &config, "queue", "list"], &state).await?;
    assert!(out.contains("1 wait"), "{out}{error}");
    let (_, out, error) =
        run("carepost-agent", &["--config", &config, "queue", "export", "1"], &state).await?;
    assert!(out.contains("Never sent"), "{out}{error}");
    assert!(!aside.join("mirror.db").exists(), "what the server can give again is not kept");
    std::fs::remove_file(aside.join("outbox.key"))?;
    let (code, said) = hall.command(&["doctor"]).await?;
    assert!(
        code == 5 && said.contains("outbox.key is missing") && !said.contains("all of it was sent"),
        "{said}"
    );
    assert!(said.contains("else remove the directory once") && !said.contains("move its state"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_deactivated_device_comes_to_its_new_code_by_itself() -> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = scene.kiosk("hall").await?;
    revoke(&scene, "hall").await?;
    hall.says(&["This device is no longer in use"]).await?;
    let page = Browser::open(1280, 800).await?;
    page.goto(&hall.address()).await?;
    // A page whose style and script are refused stands as it is: whoever asks meanwhile waits.
    let refused = async {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        loop {
            again.tick().await;
            if let Err(error) = TcpStream::connect(("127.0.0.1", hall.port)).await {
                return error;
            }
        }
    };
    let pressed = async {
        page.touch_words("Enroll this device anew").await?;
        hall.pairing_code().await
    };
    let code = tokio::select! {
        code = pressed => code?,
        error = refused => bail!("the page is refused: {error}"),
    };
    page.sees(&["Set up this device", &code]).await?;
    let look = page.script("return getComputedStyle(document.querySelector('.stage')).display").await?;
    assert_eq!(look, "flex", "it has its style");
    scene.facility.enroll(&hall).await?;
    page.sees(&["Tap your badge"]).await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_enrolls_a_deactivated_device_anew_whether_or_not_its_agent_runs() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    let mut known = vec![revoke(&scene, "hall").await?];
    for runs in [true, false] {
        hall.keeps_that_it_is_revoked().await?;
        if !runs {
            hall.stop().await?;
            let (code, said) = hall.command(&["doctor"]).await?;
            assert!(code == 5 && said.contains("REVOKED"), "{code}: {said}");
        }
        let (code, said) = hall.command(&["enroll", "--wait", "3"]).await?;
        let (expected, words) = if runs { (0, "the running agent") } else { (3, "pairing code") };
        assert!(code == expected && said.contains(words), "{code}: {said}");
        if !runs {
            hall.start().await?;
        }
        let id = enroll(&scene, &hall).await?;
        assert!(!known.contains(&id), "{id}");
        known.push(id.clone());
        hall.status_is("link", "ONLINE").await?;
        deactivate(&scene, &id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_deactivated_before_it_heard_that_it_was_let_in_enrolls_anew_beside_its_agent() -> Result<()>
{
    let scene = Scene::new(1).await?;
    let folder = scene.folder_of("hall");
    let hall = Kiosk::hang(&folder, "hall", &scene.server, None, Badges::None, "").await?;
    let admin = &scene.facility.organization.admin;
    let code = hall.pairing_code().await?;
    let (facility, kind) = (&scene.facility.id, "RASPBERRY_PI");
    let body = json!({"code": code, "facility_id": facility, "device_name": "hall", "device_type": kind});
    let approved = text(&admin.post("/api/v1/enrollments/approve", &body).await?, "enrollment_id")?;
    let number = json!({"number": hall.confirmation_number().await?});
    hall.link.cut();
    admin.post(&format!("/api/v1/enrollments/{approved}/confirm"), &number).await?;
    let first = revoke(&scene, "hall").await?;
    hall.link.restore();
    hall.keeps_that_it_is_revoked().await?;
    let (code, said) = hall.command(&["enroll", "--wait", "3"]).await?;
    assert!(code == 0 && said.contains("the running agent"), "{code}: {said}");
    assert_ne!(first, enroll(&scene, &hall).await?);
    Ok(())
}

/// Deactivates the device of that name: its id.
async fn revoke(scene: &Scene, name: &str) -> Result<String> {
    let id = text(&scene.facility.device(name).await?, "id")?;
    deactivate(scene, &id).await?;
    Ok(id)
}

async fn deactivate(scene: &Scene, id: &str) -> Result<()> {
    let admin = &scene.facility.organization.admin;
    admin.post(&format!("/api/v1/devices/{id}/deactivate"), &json!({})).await.map(drop)
}

/// Lets it in: the id of the device that it is now.
async fn enroll(scene: &Scene, kiosk: &Kiosk) -> Result<String> {
    scene.facility.enroll(kiosk).await?;
    let admin = &scene.facility.organization.admin;
    let list = admin.get(&format!("/api/v1/facilities/{}/devices", scene.facility.id)).await?;
    let active = items(&list)?.into_iter().find(|it| it["state"] == "ACTIVE");
    text(&active.context("none is active")?, "id")
}

async fn device(scene: &Scene, id: &str) -> Result<Value> {
    scene.facility.organization.admin.get(&format!("/api/v1/devices/{id}")).await
}

/// The one directory of what was set aside.
fn aside(kiosk: &Kiosk) -> Result<PathBuf> {
    let entries = std::fs::read_dir(kiosk.folder.join("state"))?.collect::<Result<Vec<_>, _>>()?;
    let found: Vec<_> =
        entries.iter().filter(|it| it.file_name().to_string_lossy().starts_with("revoked-")).collect();
    match found.as_slice() {
        [one] => Ok(one.path()),
        _ => bail!("{} were set aside", found.len()),
    }
}
