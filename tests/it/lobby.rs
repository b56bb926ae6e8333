//! Letting devices in: by code, by token; and who is not let in.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use carepost_agent::clock::Clock;
use carepost_agent::identity::DeviceKey;
use carepost_agent::upstream::UpstreamError;
use carepost_protocol::id::DeviceUuid;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_tests::api::text;
use carepost_tests::children::{free_port, run, run_with_input};
use carepost_tests::device::connect;
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::PASSWORD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Terminal;
use crate::window::{scene_of, until_today};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_and_a_wrong_number_let_nobody_in_and_are_counted() -> Result<()> {
    let scene = Scene::new(2).await?;
    let admin = &scene.facility.organization.admin;
    let hall = Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    assert_eq!(hall.command(&["status"]).await?.0, 3, "not enrolled has an exit code of its own");
    let code = hall.pairing_code().await?;
    let approve = |code: &str| {
        json!({"code": code, "facility_id": scene.facility.id, "device_name": "hall",
            "device_type": "RASPBERRY_PI"})
    };

    // The right code; then the wrong number, which ends that attempt: nobody guesses through 100.
    let approved = admin.post("/api/v1/enrollments/approve", &approve(&code)).await?;
    let number: u32 = hall.confirmation_number().await?.parse()?;
    let path = format!("/api/v1/enrollments/{}/confirm", text(&approved, "enrollment_id")?);
    let wrong = json!({ "number": format!("{:02}", (number + 1) % 100) });
    let mut refusals = Vec::new();
    for _ in 0..6 {
        refusals.push(admin.call(Method::POST, &path, Some(&wrong)).await?.status);
    }
    assert!(refusals.iter().all(|status| (400..500).contains(status)), "{refusals:?}");
    let right = json!({ "number": format!("{number:02}") });
    let answer = admin.call(Method::POST, &path, Some(&right)).await?;
    assert!(answer.status >= 400, "after so many wrong numbers the right one is refused: {answer:?}");
    assert_ne!(hall.status().await?["state"], "ACTIVE");

    // Wrong codes, typed by somebody who has not guessed yet: five, then not even a right one for a while.
    let second = json!({"username": "second", "role": "org_admin"});
    let second = text(&admin.post("/api/v1/users", &second).await?, "id")?;
    admin.put(&format!("/api/v1/users/{second}/password"), &json!({"password": PASSWORD})).await?;
    let slug = &scene.facility.organization.slug;
    let admin = &scene.server.api()?.sign_in(Some(slug), "second", PASSWORD).await?;
    let mut statuses = Vec::new();
    for wrong in ["BCDF-GHJK", "BCDF-GHJL", "BCDF-GHJM", "BCDF-GHJN", "BCDF-GHJP", "BCDF-GHJQ"] {
        let answer = admin.call(Method::POST, "/api/v1/enrollments/approve", Some(&approve(wrong))).await?;
        statuses.push(answer.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert!(statuses.iter().take(4).all(|status| *status == 422), "{statuses:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registered_beforehand_enrolls_with_its_token_once() -> Result<()> {
    let scene = Scene::new(2).await?;
    let admin = &scene.facility.organization.admin;
    let body =
        json!({"facility_id": scene.facility.id, "device_name": "hall", "device_type": "RASPBERRY_PI"});
    let token = text(&admin.post("/api/v1/devices", &body).await?, "token")?;
    assert_eq!(scene.facility.device("hall").await?["state"], "EXPECTED");

    let mut hall =
        Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::Scripted, "").await?;
    let file = scene.folder_of("token").display().to_string();
    // As an editor on Windows saves it.
    std::fs::write(&file, format!("\u{feff}{token}\r\n"))?;
    let (code, said) = hall.command(&["enroll", "--token-file", &file]).await?;
    assert_eq!(code, 1, "a running agent enrolls by itself: {said}");
    hall.stop().await?;
    for given in [vec!["enroll", "--token", &token], vec!["enroll", &format!("--token={token}")]] {
        let (code, said) = hall.command(&given).await?;
        assert_eq!(code, 2, "process lists and the shell's history would have it: {said}");
        assert!(said.contains("--token-file") && !said.contains(&token), "{said}");
    }
    let (code, said) = hall.command(&["enroll", "--token"]).await?;
    assert!(code == 1 && said.contains("no token"), "nothing comes from standard input: {code} {said}");
    let (code, said) = hall.command(&["enroll", "--token-file", &file]).await?;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("enrolled: hall at Riverside") && !said.contains(&token), "{said}");
    hall.start().await?;
    hall.says(&["Riverside", "Tap your badge"]).await?;
    hall.status_is("link", "ONLINE").await?;
    assert_eq!(hall.command(&["status"]).await?.0, 0);
    let (code, said) = hall.command(&["doctor"]).await?;
    assert!(code == 0 || code == 5, "{code}: {said}");
    for check in ["mode", "hardware", "seal", "state", "server", "reader"] {
        assert!(said.contains(check), "doctor looks at {check}: {said}");
    }
    assert!(
        said.contains("name that user in kiosk.browser_user") && said.contains("begin with file:///"),
        "how another user's browser opens the page: {said}"
    );
    assert!(
        said.contains("its certificate is trusted") && said.contains("in use by the running agent"),
        "{said}"
    );
    // Asking the doctor disturbs nobody: a badge is still read.
    hall.sign_in(&scene.nora).await?;

    // The token is used up.
    let mut thief =
        Kiosk::hang(&scene.folder_of("thief"), "thief", &scene.server, None, Badges::None, "").await?;
    thief.pairing_code().await?;
    thief.stop().await?;
    let (code, said) = thief.command(&["enroll", "--token-file", &file, "--wait", "3"]).await?;
    assert_eq!(code, 3, "{said}");

    // Another comes by standard input, or by the environment.
    for (name, by_input) in [("med", true), ("den", false)] {
        let body = json!({"facility_id": scene.facility.id, "device_name": name, "device_type": "TABLET"});
        let token = text(&admin.post("/api/v1/devices", &body).await?, "token")?;
        let folder = scene.folder_of(name);
        let mut kiosk = Kiosk::hang(&folder, name, &scene.server, None, Badges::None, "").await?;
        kiosk.pairing_code().await?;
        kiosk.stop().await?;
        let config = kiosk.config().display().to_string();
        let mut environment = kiosk.environment();
        let (code, out, error) = if by_input {
            let words = ["--config", &config, "enroll", "--token"];
            run_with_input("carepost-agent", &words, &environment, &token).await?
        } else {
            // One that is empty is no token.
            environment.push(("CAREPOST_ENROLL_TOKEN", String::new()));
            let waits = ["--config", &config, "enroll", "--wait", "1"];
            let (code, out, error) = run("carepost-agent", &waits, &environment).await?;
            assert_eq!(code, 3, "{out}{error}");
            environment.push(("CAREPOST_ENROLL_TOKEN", token));
            run("carepost-agent", &["--config", &config, "enroll"], &environment).await?
        };
        assert_eq!(code, 0, "{out}{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_four_days_ago_lets_nobody_in_and_the_refusal_says_what_does() -> Result<()> {
    let mut scene = scene_of(4, 1).await?;
    let body = json!({"facility_id": scene.facility.id, "device_name": "hall", "device_type": "TABLET"});
    let token = text(&scene.facility.organization.admin.post("/api/v1/devices", &body).await?, "token")?;
    until_today(&mut scene).await?;
    let (key, clock) = (DeviceKey::generate()?, Arc::new(Clock::new(None)));
    let upstream = connect(&scene.server, scene.server.devices.port(), &key, &clock)?;
    let mut request = EnrollRequest {
        device_uuid: DeviceUuid::from_bytes(clock.random()),
        mac_addresses: Vec::new(),
        hostname: "hall".to_owned(),
        agent_version: "test".to_owned(),
        token: Some(token),
    };
    let refused = upstream.enroll(&request).await;
    let Err(UpstreamError::Refused(problem, _)) = refused else { bail!("{refused:?}") };
    let words = problem.errors.first().context("it names no field")?;
    assert_eq!(words.field, "token");
    assert!(
        words.detail.contains("has run out") && words.detail.contains("pairing code approved"),
        "{problem:?}"
    );
    request.token = None;
    let answer = upstream.enroll(&request).await?;
    assert!(matches!(answer, EnrollResponse::Pending { .. }), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_key_on_known_hardware_waits_as_a_possible_clone() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    let folder = scene.folder_of("copy");
    copy(&hall.folder.join("factors"), &folder.join("factors"))?;
    let clone = Kiosk::hang(&folder, "copy", &scene.server, None, Badges::None, "").await?;
    let code = clone.pairing_code().await?;
    let approve = json!({"code": code, "facility_id": scene.facility.id, "device_name": "copy",
        "device_type": "RASPBERRY_PI"});
    let approved = scene.facility.organization.admin.post("/api/v1/enrollments/approve", &approve).await?;
    assert_eq!(approved["possible_clone"], json!(true), "whoever lets it in is told: {approved}");
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let approve = ["device", "approve", &code, "--facility", "Riverside", "--name", "copy"];
    let (_, said, error) = terminal.types(&approve).await?;
    assert!(said.contains("\"hall\" has this hardware. First, if this one takes its place"), "{said}{error}");
    assert!(said.contains("device deactivate \"hall\" --reason replaced"), "{said}");
    let first = scene.facility.device("hall").await?;
    assert_eq!((&first["possible_clone"], &first["state"]), (&json!(true), &json!("ACTIVE")), "{first}");
    // The first keeps working.
    hall.sign_in(&scene.nora).await?;
    let (name, id) = scene.resident()?;
    hall.chart(name, "vitals", &vitals("Still here")).await?;
    scene.has_notes(id, &["Still here".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_directory_opens_on_no_other_hardware_and_for_no_second_agent() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    // A second agent on the same directory, while the first runs.
    let other = free_port()?;
    hall.reconfigure(&format!(":{}", hall.port), &format!(":{other}"))?;
    let (code, said) = hall.command(&["run"]).await?;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another carepost-agent runs on this directory"), "{said}");
    hall.reconfigure(&format!("127.0.0.1:{other}"), &format!("127.0.0.1:{}", hall.port))?;
    hall.says(&["Riverside", "Tap your badge"]).await?;

    hall.stop().await?;
    let stolen = scene.folder_of("stolen");
    copy(&hall.folder, &stolen)?;
    std::fs::write(stolen.join("factors/etc/machine-id"), "00112233445566778899aabbccddeeff\n")?;
    let config = stolen.join("agent.toml");
    let text = std::fs::read_to_string(&config)?;
    let (own, copied) = (hall.folder.display().to_string(), stolen.display().to_string());
    std::fs::write(&config, text.replace(&own, &copied))?;
    let path = config.display().to_string();
    let (code, _, said) = run("carepost-agent", &["--config", &path, "run"], &[]).await?;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("sealed on other hardware"), "{said}");
    // Its own hardware still opens the original.
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    let admin = &scene.facility.organization.admin;
    let devices: Value = admin.get(&format!("/api/v1/facilities/{}/devices", scene.facility.id)).await?;
    assert_eq!(carepost_tests::world::items(&devices)?.len(), 1);
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).with_context(|| format!("{}", target.display()))?;
        }
    }
    Ok(())
}
