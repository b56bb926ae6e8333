//! What a device is sent over the wire: by mode, by what it asks again, and within its budget.

use anyhow::{Context as _, Result, bail};
use carepost_protocol::wire::heartbeat::{Heartbeat, MirrorState, QueueState};
use carepost_tests::api::Api;
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::kiosk::{Badges, PATIENCE};
use carepost_tests::scene::Scene;
use reqwest::Method;
use serde_json::{Value, json};

/// The answer to a pull: its status, its problem and its lines.
async fn pull(wire: &Api, query: &str) -> Result<(u16, Value, Vec<Value>)> {
    let answer = wire.call(Method::GET, &format!("/api/v1/sync/pull{query}"), None).await?;
    let lines = answer.text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>();
    Ok((answer.status, answer.body, lines.unwrap_or_default()))
}

fn cursor_of(lines: &[Value]) -> Result<String> {
    let cursor = &lines.last().context("no page")?["page"]["cursor"];
    Ok(format!("?epoch={}&seq={}", cursor["epoch"], cursor["seq"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mode_hides_reaches_a_device_no_more_and_its_copy_has_to_be_made_anew() -> Result<()> {
    let scene = Scene::new(3).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let wire = hall.wire(&scene.server)?;
    let mut stream = hall.pull_all(&hall.mirror).await?;
    let (_, _, before) = pull(&wire, "").await?;
    let says = |lines: &[Value], word: &str| lines.iter().any(|line| line.to_string().contains(word));
    let (name, _) = scene.resident()?;
    // The control: the name was there to be hidden.
    assert!(says(&before, name), "{before:?}");
    assert_eq!(before.last().context("no page")?["page"]["digests"]["patients"]["count"], 3);
    assert_eq!(before.last().context("no page")?["page"]["phi_mode"], Value::Null);

    let admin = &scene.facility.organization.admin;
    let changed =
        admin.put(&format!("/api/v1/facilities/{}", scene.facility.id), &json!({"phi_mode": "free"})).await?;
    assert_eq!(changed["phi_mode"], "free");
    tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = stream.next().await {} })
        .await
        .context("the stream goes on")?;
    assert_eq!(pull(&wire, &cursor_of(&before)?).await?.0, 410);
    let (status, _, after) = pull(&wire, "").await?;
    assert!(status == 200 && !says(&after, name), "{after:?}");
    assert_eq!(after.last().context("no page")?["page"]["digests"]["patients"]["count"], 3);
    assert_eq!(
        after.last().context("no page")?["page"]["phi_mode"],
        "free",
        "the device knows that it is not all"
    );
    assert_eq!(pull(&wire, &cursor_of(&after)?).await?.0, 200);

    // The device may be told otherwise than its facility, and back.
    let device = format!("/api/v1/devices/{}", hall.grant.device_id);
    assert_eq!(admin.put(&device, &json!({"phi_mode": "full"})).await?["phi_mode"], "full");
    assert!(says(&pull(&wire, "").await?.2, name));
    assert_eq!(admin.put(&device, &json!({"phi_mode": null})).await?["phi_mode"], Value::Null);
    assert!(!says(&pull(&wire, "").await?.2, name));
    let nonsense = admin.call(Method::PUT, &device, Some(&json!({"phi_mode": "some"}))).await?;
    assert_eq!(nonsense.status, 422);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_is_read_leniently_and_collections_come_again_on_demand() -> Result<()> {
    let scene = Scene::new(3).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let wire = hall.wire(&scene.server)?;
    let (_, _, whole) = pull(&wire, "").await?;
    let here = cursor_of(&whole)?;
    let (status, _, nothing) = pull(&wire, &format!("{here}&care=7&mood=sunny")).await?;
    assert_eq!((status, nothing.len()), (200, 1), "a newer agent may say more");
    for bad in ["?seq=1", "?epoch=1", "?epoch=x&seq=1", "?incarnation=x"] {
        let (status, problem, _) = pull(&wire, bad).await?;
        assert_eq!((status, problem["type"].as_str()), (422, Some("/problems/invalid")), "{bad}");
    }
    let (_, _, again) = pull(&wire, &format!("{here}&refetch=patients,diagnoses,badges")).await?;
    let kinds: Vec<_> = again.iter().map(|line| line["collection"].as_str().unwrap_or("page")).collect();
    assert_eq!(kinds, ["badges", "patients", "patients", "patients", "page", "page"]);
    let [.., first, last] = again.as_slice() else { anyhow::bail!("two pages") };
    assert_eq!(first["page"]["refetched"], json!(["patients", "badges"]));
    assert_eq!(first["page"]["cursor"], last["page"]["cursor"]);
    assert_eq!(last["page"]["digests"].as_object().context("no digests")?.len(), 7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_differs_and_stands_still_says_why_it_is_out_of_sync() -> Result<()> {
    let scene = Scene::new(1).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let _stream = hall.pull_all(&hall.mirror).await?;
    let beat = hall.heartbeat(QueueState { rejected: 2, ..QueueState::default() });
    let mut ill = Heartbeat { no_progress: Some(720), ..beat };
    ill.mirror = MirrorState { differs: vec!["records".to_owned()], refetches: 1, ..MirrorState::default() };
    hall.upstream.heartbeat(hall.grant.device_id, &ill).await?;
    // That it has the head is written within a second or so.
    let seen = until("the device to have synced", PATIENCE, || async {
        let seen = scene.facility.device("hall").await?;
        if seen["last_sync"].is_null() { bail!("{seen}") } else { Ok(seen) }
    });
    let seen = seen.await?;
    assert_eq!(seen["sync_status"], "OUT_OF_SYNC");
    assert_eq!(seen["sync_reasons"], json!(["rejected_changes", "mirror_differs", "no_progress"]));
    let words = seen["sync_reason"].as_str().context("no words")?;
    assert_eq!(
        words,
        "2 entries were rejected and wait for a person. Its copy of records was found to differ and is fetched \
         again. Nothing has moved for 12 minutes, though it reaches the server."
    );
    // Nothing is graver than that it cannot save, and no device writes on anybody's terminal.
    let full = Heartbeat { cannot_save: Some("the disk is\u{1b}[2J full".to_owned()), ..ill };
    hall.upstream.heartbeat(hall.grant.device_id, &full).await?;
    let seen = scene.facility.device("hall").await?;
    assert_eq!(
        (&seen["cannot_save"], &seen["sync_reasons"][0]),
        (&json!("the disk is[2J full"), &json!("cannot_save"))
    );
    assert!(seen["sync_reason"].as_str().context("no words")?.starts_with("CANNOT SAVE"), "{seen}");
    assert_eq!(seen["sync_status"], "OUT_OF_SYNC");
    let copy_trouble = Some("the disk is\u{1b}[2J nearly full. Free some space".to_owned());
    let short = Heartbeat { copy_trouble, cannot_save: None, ..full };
    hall.upstream.heartbeat(hall.grant.device_id, &short).await?;
    let seen = scene.facility.device("hall").await?;
    assert_eq!(seen["copy_trouble"], "the disk is[2J nearly full. Free some space");
    assert_eq!(seen["sync_reasons"][1], "copy_trouble", "{seen}");
    assert!(seen["sync_reason"].as_str().context("no words")?.contains("NOTHING NEW ARRIVES"), "{seen}");
    // Mended, settled and moving: nothing of it is left.
    hall.upstream.heartbeat(hall.grant.device_id, &hall.heartbeat(QueueState::default())).await?;
    let seen = scene.facility.device("hall").await?;
    assert_eq!((&seen["sync_status"], &seen["sync_reasons"]), (&json!("SYNCED"), &json!([])));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_would_have_to_hold_too_much_is_told_both_numbers() -> Result<()> {
    let mut scene = Scene::new(3).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let lobby = scene.kiosk_with("lobby", Badges::None, "").await?;
    let (_, _, whole) = pull(&hall.wire(&scene.server)?, "").await?;
    let held = whole.len() - 1;
    let config = std::fs::read_to_string(scene.server.config())?;
    scene.server.stop().await?;
    std::fs::write(scene.server.config(), format!("{config}[sync]\nmax_documents = {}\n", held - 1))?;
    scene.server.resume().await?;
    let (status, problem, _) = pull(&hall.wire(&scene.server)?, "").await?;
    assert_eq!((status, problem["type"].as_str()), (403, Some("/problems/over-budget")));
    let words = problem["detail"].as_str().context("no words")?;
    let numbers = [format!("hold {held} documents"), format!("may hold {}", held - 1)];
    assert!(numbers.iter().all(|number| words.contains(number)), "{words}");

    // Whoever stands at the device reads why nothing new arrives, with the numbers.
    let [held, most] = &numbers;
    lobby.says(&["Nothing new arrives here", held, most, "You can keep charting", "Call IT"]).await?;
    for command in ["status", "doctor"] {
        let (code, said) = lobby.command(&[command]).await?;
        assert!(code == 5 && said.contains(held) && said.contains(most), "{code}: {said}");
    }
    scene.server.stop().await?;
    std::fs::write(scene.server.config(), &config)?;
    scene.server.resume().await?;
    until("the copy to go on", PATIENCE * 3, || async {
        let status = lobby.status().await?;
        if status["copy_trouble"].is_null() { Ok(()) } else { bail!("{status}") }
    })
    .await
}
