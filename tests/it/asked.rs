//! Commands that take away what does not come back ask first, with from whom.

use anyhow::{Context as _, Result, ensure};
use carepost_tests::device::Device;
use carepost_tests::scene::Scene;
use serde_json::json;

use crate::cli::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_from_devices_or_people_is_asked_about_and_what_takes_nothing_is_not() -> Result<()> {
    let scene = Scene::new(0).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    // Where there is no device, nothing is taken.
    for words in [
        ["facility", "phi-mode", "Riverside", "free"],
        ["facility", "phi-mode", "Riverside", "full"],
        ["facility", "record-days", "Riverside", "60"],
    ] {
        terminal.does(&words).await?;
    }
    for name in ["Hall kiosk", "Den kiosk"] {
        let (folder, server) = (scene.folder_of(name), &scene.server);
        Device::enroll(&folder, server, server.devices.port(), &scene.facility, name).await?;
    }
    terminal.does(&["device", "phi-mode", "Den kiosk", "full"]).await?;

    let mut form = terminal.does(&["workflow", "list"]).await?["items"][0].clone();
    form["enabled"] = false.into();
    let file = scene.folder_of("form.json").display().to_string();
    std::fs::write(&file, form.to_string())?;
    let nora = "Nora Quist (nora.quist, rn) another";
    for (words, takes, is_over) in [
        (
            &["facility", "require-encryption", "Riverside", "yes"][..],
            "demand encryption at Riverside (ALF): nothing is sent any more to these devices until they are \
             encrypted: Den kiosk, Hall kiosk",
            true,
        ),
        (
            &["facility", "record-days", "Riverside", "30"],
            "keep records at Riverside (ALF) for 30 days, where it was 60 days: older ones leave these devices",
            true,
        ),
        (
            &["facility", "record-days", "Riverside"],
            "for as many days as server.toml says, where it was",
            true,
        ),
        (
            &["facility", "phi-mode", "Riverside", "minimal"],
            "go from full to minimal at Riverside (ALF): what that hides leaves these devices: Hall kiosk\n",
            true,
        ),
        (&["device", "phi-mode", "Hall kiosk", "free"], "go from minimal to free on \"Hall kiosk\"", true),
        (&["device", "phi-mode", "Den kiosk", "facility"], "go from full to minimal on \"Den kiosk\"", true),
        (&["workflow", "publish", &file], "one any more: Vitals", true),
        (&["user", "set-pin", "nora.quist"], &format!("give {nora} PIN: "), false),
        (&["user", "set-password", "nora.quist"], &format!("give {nora} password: "), false),
    ] {
        let (code, _, error) = terminal.types(words).await?;
        let is_asked = error.contains("nothing was done. Say --yes to ") && error.contains(takes);
        ensure!(code == 1 && is_asked, "{words:?} {code}: {error}");
        terminal.does(&[words, &["--yes"]].concat()).await?;
        if is_over {
            terminal.does(words).await.context("it takes nothing more")?;
        }
    }
    // What gives back, what is whoever's own, and what somebody gets for the first time.
    let create = ["user", "create", "una", "--name", "Una Field", "--role", "rn", "--facility", "Riverside"];
    terminal.does(&create).await?;
    for words in [
        &["facility", "require-encryption", "Riverside", "no"][..],
        &["facility", "phi-mode", "Riverside", "full"],
        &["device", "phi-mode", "Hall kiosk", "facility"],
        &["user", "set-pin", "una"],
        &["user", "set-password", "admin"],
    ] {
        terminal.does(words).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_about_badge_readers_nor_about_a_form_that_the_server_refuses() -> Result<()> {
    let scene = Scene::new(0).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let (folder, server) = (scene.folder_of("door"), &scene.server);
    let door = Device::enroll(&folder, server, server.devices.port(), &scene.facility, "Door").await?;
    let path = format!("/api/v1/devices/{}", door.grant.device_id);
    scene.facility.organization.admin.put(&path, &json!({"device_type": "BADGE_READER"})).await?;
    for words in [
        ["device", "phi-mode", "Door", "free"],
        ["device", "phi-mode", "Door", "facility"],
        ["facility", "phi-mode", "Riverside", "free"],
        ["facility", "record-days", "Riverside", "7"],
    ] {
        terminal.does(&words).await?;
    }
    let encrypts = ["facility", "require-encryption", "Riverside", "yes"];
    let (_, _, error) = terminal.types(&encrypts).await?;
    ensure!(error.contains("until they are encrypted: Door"), "{error}");

    // A form that was kept while it was published anew.
    let mut form = terminal.does(&["workflow", "list"]).await?["items"][0].clone();
    let mut anew = form.clone();
    anew["label"] = "Vital signs".into();
    form["enabled"] = false.into();
    let file = scene.folder_of("form.json").display().to_string();
    std::fs::write(&file, anew.to_string())?;
    terminal.does(&["workflow", "publish", &file]).await?;
    std::fs::write(&file, form.to_string())?;
    let (code, _, error) = terminal.types(&["workflow", "publish", &file]).await?;
    ensure!(code == 1 && error.contains("version 2 is the latest"), "{code}: {error}");
    Ok(())
}
