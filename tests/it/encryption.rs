//! A device that is not encrypted, measured on its real files: who demands encryption sends it nothing and
//! says why, and takes what it charts.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, bail};
use carepost_agent::upstream::{PageStream, UpstreamError};
use carepost_protocol::wire::heartbeat::{Encryption, Exposed, Exposure, Heartbeat, QueueState};
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::pull::SyncPosition;
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::items;
use serde_json::{Value, json};

use crate::cli::Terminal;

async fn demand(scene: &Scene, demanded: bool) -> Result<()> {
    let path = format!("/api/v1/facilities/{}", scene.facility.id);
    let body = json!({ "require_encryption": demanded });
    let changed = scene.facility.organization.admin.put(&path, &body).await?;
    assert_eq!(changed["require_encryption"], demanded);
    Ok(())
}

/// Waits until the server's list says that of a device's encryption, and gives what it says.
async fn is_refused(scene: &Scene, name: &str, refused: bool) -> Result<Value> {
    until(&format!("{name} to be refused: {refused}"), PATIENCE, || async {
        let seen = scene.facility.device(name).await?;
        let reasons = seen["sync_reasons"].as_array().context("no reasons")?;
        let is = reasons.contains(&json!("not_encrypted"));
        if is == refused { Ok(seen) } else { bail!("{seen}") }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_directory_is_opened_is_sent_nothing_says_why_and_goes_on_charting() -> Result<()> {
    let scene = Scene::new(1).await?;
    demand(&scene, true).await?;
    let olga = scene.facility.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let hall = scene.kiosk("hall").await?;
    hall.status_is("encrypted", true).await?;
    until("the kiosk to be in sync", PATIENCE, || async {
        let seen = scene.facility.device("hall").await?;
        if seen["sync_status"] == "SYNCED" { Ok(()) } else { bail!("{seen}") }
    })
    .await?;
    let state = hall.folder.join("state");
    std::fs::set_permissions(&state, Permissions::from_mode(0o755))?;
    // Who signs in is news, and news is told soon.
    hall.sign_in(&scene.nora).await?;
    hall.status_is("must_encrypt", true).await?;
    let seen = is_refused(&scene, "hall", true).await?;
    let place = state.canonicalize()?.display().to_string();
    assert_eq!((&seen["encrypted"], &seen["sync_status"]), (&json!(false), &json!("OUT_OF_SYNC")));
    assert_eq!(
        (&seen["exposed"][0]["what"], &seen["exposed"][0]["where"]),
        (&json!("OPEN_DIRECTORY"), &json!(place))
    );
    assert!(seen["sync_reason"].as_str().context("no words")?.contains("chmod 0700"), "{seen}");
    hall.says(&["This facility serves encrypted devices only", &place, "chmod 0700"]).await?;
    let (code, said) = hall.command(&["status"]).await?;
    assert!(code == 5 && said.contains("chmod 0700"), "{code}: {said}");
    let (_, said) = hall.command(&["doctor"]).await?;
    assert!(said.contains("encrypted NOT") && said.contains("chmod 0700"), "{said}");

    // Nothing new comes down; what is charted goes up.
    let (name, id) = scene.resident()?;
    let (name, id) = (name.to_owned(), id.to_owned());
    let newcomer = residents("RT", 2, true).remove(1);
    scene.facility.admit(std::slice::from_ref(&newcomer)).await?;
    hall.chart(&name, "vitals", &vitals("While it was open")).await?;
    scene.has_notes(&id, &["While it was open".to_owned()]).await?;
    assert!(!hall.get("/").await?.words().contains(&newcomer.name), "it came down all the same");

    std::fs::set_permissions(&state, Permissions::from_mode(0o700))?;
    hall.sign_in(&olga).await?;
    hall.status_is("must_encrypt", false).await?;
    is_refused(&scene, "hall", false).await?;
    hall.says(&[&newcomer.name]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_with_swap_in_the_clear_never_gets_its_first_page_until_that_is_off() -> Result<()> {
    let scene = Scene::new(2).await?;
    demand(&scene, true).await?;
    let folder = scene.folder_of("hall");
    std::fs::create_dir_all(folder.join("factors/proc"))?;
    let swaps = folder.join("factors/proc/swaps");
    let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    std::fs::write(&swaps, format!("{head}/dev/mmcblk0p3 partition\t102396\t0\t-2\n"))?;
    let hang = scene.facility.hang_kiosk_with(&folder, "hall", &scene.server, Badges::Scripted, None, "");
    let mut hall: Kiosk = hang.await?;
    hall.status_is("must_encrypt", true).await?;
    // It is refused as one that has not said yet, until its first heartbeat says what is exposed.
    let seen = until("what is exposed", PATIENCE, || async {
        let seen = is_refused(&scene, "hall", true).await?;
        if seen["exposed"][0]["what"] == "PLAIN_SWAP" { Ok(seen) } else { bail!("{seen}") }
    })
    .await?;
    assert_eq!(seen["exposed"][0]["where"], "/dev/mmcblk0p3");
    hall.says(&["serves encrypted devices only", "/dev/mmcblk0p3", "swapoff"]).await?;
    let status = hall.status().await?;
    assert_eq!((&status["loading"], &status["link"]), (&json!(true), &json!("ONLINE")), "{status}");
    assert_eq!(seen["sync_reasons"][0], "never_synced");

    std::fs::write(&swaps, head)?;
    hall.stop().await?;
    hall.start().await?;
    hall.status_is("loading", false).await?;
    hall.status_is("encrypted", true).await?;
    is_refused(&scene, "hall", false).await?;
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_say_is_refused_and_a_stream_ends_with_the_heartbeat_that_tells() -> Result<()>
{
    let scene = Scene::new(1).await?;
    let port = scene.server.devices.port();
    let hall = Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await?;
    let encrypted = SyncPosition { encrypted: Some(true), ..SyncPosition::default() };
    let ends = async |mut stream: PageStream| {
        tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = stream.next().await {} })
            .await
            .context("the stream goes on")
    };
    // That it is demanded ends the streams that there are: their devices come again and say what they have.
    let open = hall.upstream.live(&SyncPosition::default()).await?;
    demand(&scene, true).await?;
    ends(open).await?;
    for said in [None, Some(false)] {
        let position = SyncPosition { encrypted: said, ..SyncPosition::default() };
        match hall.upstream.live(&position).await {
            Err(UpstreamError::Refused(problem, _)) => {
                assert_eq!(problem.kind(), Some(ProblemKind::NotEncrypted), "{said:?}");
            }
            Err(other) => return Err(other.into()),
            Ok(_) => bail!("served though it says {said:?}"),
        }
    }
    // An agent from before says `encrypted: true`, and measured nothing.
    let beat = async |encryption: Option<Encryption>| {
        let beat = Heartbeat { encryption, ..hall.heartbeat(QueueState::default()) };
        hall.upstream.heartbeat(hall.grant.device_id, &beat).await
    };
    assert!(beat(None).await?.must_encrypt);
    let seen = is_refused(&scene, "hall", true).await?;
    assert!(seen["exposed"].is_null() && seen["sync_reason"].to_string().contains("does not say"), "{seen}");
    // What it charted is taken.
    let nora = hall.nurse(scene.nora.id.parse()?);
    let (_, id) = scene.resident()?;
    let fields = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "note": "Kept"});
    hall.save(&nora, &hall.vitals(&nora, id.parse()?, fields.as_object().cloned().unwrap_or_default()))?;
    hall.push_all().await?;
    scene.has_notes(id, &["Kept".to_owned()]).await?;

    assert!(!beat(Some(Encryption::default())).await?.must_encrypt);
    is_refused(&scene, "hall", false).await?;
    let open = hall.upstream.live(&encrypted).await?;
    let exposure = Exposure { what: Exposed::PlainFile, place: "mirror.db".to_owned(), cause: None };
    assert!(beat(Some(Encryption { exposed: vec![exposure] })).await?.must_encrypt);
    ends(open).await?;
    demand(&scene, false).await?;
    hall.upstream.live(&SyncPosition::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_demands_encryption_and_that_is_written_down() -> Result<()> {
    let scene = Scene::new(1).await?;
    let session = scene.folder.path().join("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let changed = terminal.does(&["facility", "require-encryption", "Riverside", "yes"]).await?;
    assert_eq!(changed["require_encryption"], true);
    let events = items(&scene.facility.organization.admin.get("/api/v1/audit-events?limit=100").await?)?;
    assert!(events.iter().any(|event| event["details"]["require_encryption"] == true), "{events:?}");
    Ok(())
}
