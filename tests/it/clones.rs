//! A kiosk's disk is copied and both machines run: neither loses what is charted on it, neither is sent
//! anything until an administrator has looked, and an honest kiosk is never taken for two.

use anyhow::{Result, bail};
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::BootId;
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Terminal;

const CLAIM: &str = "Somebody has to confirm that this is the right device";

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_that_both_chart_lose_nothing_and_are_sent_nothing_until_one_is_released() -> Result<()> {
    let scene = Scene::new(2).await?;
    let med = scene.kiosk("med").await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    chart(&hall, name, "Before the copy").await?;
    let mut copy = copy_of(&mut hall, &scene).await?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    chart(&hall, name, "At the wall").await?;
    copy.start().await?;
    copy.sign_in(&scene.nora).await?;
    chart(&copy, name, "At the copy").await?;
    come_again(&hall).await?;
    is_quarantined(&scene, &hall, &copy).await?;

    // Both chart on, and what they chart arrives.
    for (kiosk, note) in [(&hall, "More at the wall"), (&copy, "More at the copy")] {
        chart(kiosk, name, note).await?;
    }
    med.sign_in(&scene.nora).await?;
    chart(&med, name, "Elsewhere").await?;
    let mut all = ["Before the copy", "At the wall", "At the copy", "More at the wall", "More at the copy"]
        .map(ToOwned::to_owned)
        .to_vec();
    all.push("Elsewhere".to_owned());
    scene.has_notes(id, &all).await?;
    // What is charted elsewhere reaches neither: not while each has something acknowledged after it.
    for (kiosk, note) in [(&hall, "After it, at the wall"), (&copy, "After it, at the copy")] {
        chart(kiosk, name, note).await?;
        all.push(note.to_owned());
        scene.has_notes(id, &all).await?;
        let words = kiosk.get(&kiosk.path_of(name).await?).await?.words();
        assert!(!words.contains("Elsewhere"), "{words}");
    }

    copy.stop().await?;
    release(&scene).await?;
    // It hears so with its next heartbeat: within a minute, and at once when somebody comes or goes.
    hall.post("/lock", &[]).await?;
    hall.status_is("quarantined", false).await?;
    hall.tap(&scene.nora.uid).await?;
    hall.says(&[&scene.nora.name, "Lock"]).await?;
    let notes: Vec<&str> = all.iter().map(String::as_str).collect();
    hall.page_says(&hall.path_of(name).await?, &notes).await?;
    assert_eq!(scene.facility.device("hall").await?["state"], "ACTIVE");
    chart(&med, name, "It is current again").await?;
    let words = hall.page_says(&hall.path_of(name).await?, &["It is current again"]).await?;
    assert!(notes.iter().all(|note| words.matches(note).count() == 1), "each once: {words}");
    assert!(!words.contains(CLAIM), "{words}");
    chart(&hall, name, "And charts").await?;
    all.extend(["It is current again".to_owned(), "And charts".to_owned()]);
    scene.has_notes(id, &all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_only_reads_is_found() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let mut copy = copy_of(&mut hall, &scene).await?;
    hall.start().await?;
    hall.status_is("link", "ONLINE").await?;
    copy.start().await?;
    copy.status_is("link", "ONLINE").await?;
    come_again(&hall).await?;
    is_quarantined(&scene, &hall, &copy).await
}

/// The copy says each time that it is another process, so that the device's own is known among them no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_ever_new_names_is_found_by_the_devices_next_word() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (server, port) = (&scene.server, scene.server.devices.port());
    let hall = Device::enroll(&scene.folder_of("hall"), server, port, &scene.facility, "hall").await?;
    let beat =
        async || hall.upstream.heartbeat(hall.grant.device_id, &hall.heartbeat(QueueState::default())).await;
    assert_eq!(beat().await?.state, DeviceState::Active);
    let copy = hall.wire(server)?;
    let pull = async || {
        let process = copy.speaking_as(BootId::new(hall.clock.now(), hall.clock.random()));
        anyhow::Ok(process.call(Method::GET, "/api/v1/sync/pull", None).await?.status)
    };
    assert_eq!(pull().await?, 200);
    for _ in 0..100 {
        // Whether or not the one before is counted still: each was heard.
        let status = pull().await?;
        assert!([200, 429].contains(&status), "{status}");
    }
    assert_eq!(scene.facility.device("hall").await?["state"], "ACTIVE");
    assert_eq!(beat().await?.state, DeviceState::Quarantined);
    let reason = scene.facility.device("hall").await?["quarantine_reason"].to_string();
    assert!(reason.contains("copied"), "{reason}");
    assert_eq!(pull().await?, 403);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_plug_is_pulled_again_and_again_is_one_device() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    let mut all = Vec::new();
    for round in 0..6 {
        let note = format!("Round {round}");
        hall.sign_in(&scene.nora).await?;
        hall.chart(name, "vitals", &vitals(&note)).await?;
        all.push(note);
        // Twice in a row, the second time while it is coming up, or as soon as it is online.
        for online in [round % 2 == 0, true] {
            hall.pull_the_plug().await?;
            hall.start().await?;
            if online {
                hall.status_is("link", "ONLINE").await?;
            }
        }
    }
    scene.has_notes(id, &all).await?;
    hall.status_is("quarantined", false).await?;
    let device = scene.facility.device("hall").await?;
    assert_eq!((&device["state"], &device["quarantine_reason"]), (&json!("ACTIVE"), &Value::Null));
    assert_eq!(quarantines(&scene).await?, 0);
    Ok(())
}

/// Stops a kiosk and copies its disk.
async fn copy_of(kiosk: &mut Kiosk, scene: &Scene) -> Result<Kiosk> {
    kiosk.stop().await?;
    kiosk.copy(&scene.folder_of("copy"), &scene.server).await
}

/// Charts, and waits until it is at the server.
async fn chart(kiosk: &Kiosk, resident: &str, note: &str) -> Result<()> {
    kiosk.chart(resident, "vitals", &vitals(note)).await?;
    until(&format!("{note:?} to be sent"), PATIENCE, || async {
        let status = kiosk.status().await?;
        if status["waiting"] == 0 { Ok(()) } else { bail!("{status}; its log:\n{}", kiosk.log()) }
    })
    .await
}

/// Its cable is out for a moment: what was open is closed, and it connects anew.
async fn come_again(kiosk: &Kiosk) -> Result<()> {
    kiosk.link.cut();
    kiosk.status_is("link", "OFFLINE").await?;
    kiosk.link.restore();
    kiosk.status_is("link", "ONLINE").await
}

async fn is_quarantined(scene: &Scene, hall: &Kiosk, copy: &Kiosk) -> Result<()> {
    until("the device to be quarantined", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let reason = device["quarantine_reason"].as_str().unwrap_or_default();
        if device["state"] == "QUARANTINED" && reason.contains("copied") { Ok(()) } else { bail!("{device}") }
    })
    .await
    .map_err(|fault| fault.context(format!("of the first:\n{}\nof the copy:\n{}", hall.log(), copy.log())))?;
    for kiosk in [hall, copy] {
        kiosk.says(&[CLAIM]).await?;
    }
    Ok(())
}

async fn release(scene: &Scene) -> Result<()> {
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let (code, said, error) = terminal.types(&["device", "release", "hall"]).await?;
    assert!(code == 0 && said.contains("ACTIVE") && said.contains("within about a minute"), "{said}{error}");
    Ok(())
}

/// How often a device was quarantined, as the audit log has it.
async fn quarantines(scene: &Scene) -> Result<usize> {
    let admin = &scene.facility.organization.admin;
    let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
    Ok(events.iter().filter(|event| event.to_string().contains("device_quarantined")).count())
}
