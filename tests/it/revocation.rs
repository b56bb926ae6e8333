//! A device is deactivated: at once it shows nothing, and its key is refused.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use carepost_agent::identity::{Factors, Vault};
use carepost_agent::outbox::{Binding, Outbox, OutboxOpening, Shape};
use carepost_agent::upstream::UpstreamError;
use carepost_protocol::change::Lane;
use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::pull::SyncPosition;
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use serde_json::{Map, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_kiosk_shows_nothing_at_once_and_for_good() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    // One entry is still on the device when it is deactivated.
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    hall.chart(name, "vitals", &vitals("Never sent")).await?;

    let device = scene.facility.device("hall").await?;
    let device = device["id"].as_str().context("no id")?;
    let admin = &scene.facility.organization.admin;
    admin.post(&format!("/api/v1/devices/{device}/deactivate"), &json!({})).await?;
    hall.link.restore();
    hall.keeps_that_it_is_revoked().await?;
    for restarted in [false, true] {
        if restarted {
            hall.pull_the_plug().await?;
            // Also without a network, it does not open again.
            hall.link.cut();
            hall.start().await?;
            hall.says(&["This device is no longer in use"]).await?;
        }
        hall.tap(&scene.nora.uid).await?;
        for page in ["/", path.as_str(), "/status"] {
            let page = hall.get(page).await?;
            let readable = scene.residents.iter().any(|(name, _)| page.html.contains(name.as_str()));
            assert!(!readable && !page.html.contains("Never sent"), "{}", page.words());
            assert!(page.hidden("attempt").is_err(), "nobody is asked for a PIN");
        }
    }
    assert_eq!(hall.command(&["status"]).await?.0, 5);
    assert!(scene.facility.records(id).await?.is_empty(), "it sends nothing any more");
    assert_eq!(scene.facility.device("hall").await?["state"], "REVOKED");
    // What waited is not destroyed: it is in the outbox still.
    hall.stop().await?;
    assert_eq!(outbox_of(&hall)?.counts()?.care, 1);
    Ok(())
}

/// The outbox of a kiosk whose agent does not run, opened on that kiosk's own hardware.
fn outbox_of(kiosk: &Kiosk) -> Result<Outbox> {
    let factors = Factors::read(&kiosk.folder.join("factors"))?;
    let vault = Vault::open(&kiosk.folder.join("state"), &factors, None)?;
    let grant = vault.grant()?.context("it was never enrolled")?;
    Ok(Outbox::open(OutboxOpening {
        path: &vault.outbox_path(),
        key: vault.outbox_key(),
        binding: Binding::from(&grant),
        device_key: Arc::clone(vault.device_key()),
        max_mib: 1,
        now: grant.server_time,
        is_begun: false,
        runs: true,
    })?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_kiosk_hears_it_at_once_over_its_open_stream() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    let device = scene.facility.device("hall").await?;
    let device = device["id"].as_str().context("no id")?;
    let admin = &scene.facility.organization.admin;
    admin.post(&format!("/api/v1/devices/{device}/deactivate"), &json!({})).await?;
    hall.says(&["This device is no longer in use"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_deactivated_device_is_refused_on_every_call_and_its_stream_ends() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (_, id) = scene.resident()?;
    let port = scene.server.devices.port();
    let folder = scene.folder_of("tablet");
    let tablet = Device::enroll(&folder, &scene.server, port, &scene.facility, "tablet").await?;
    let mut stream = tablet.pull_all(&tablet.mirror).await?;
    let (nora, patient): (UserId, PatientId) = (scene.nora.id.parse()?, id.parse()?);
    let nora = tablet.nurse(nora);
    let fields: Map<_, _> = [("systolic", 120), ("diastolic", 70), ("pulse", 66)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    tablet.save(&nora, &tablet.vitals(&nora, patient, fields))?;

    let admin = &scene.facility.organization.admin;
    admin.post(&format!("/api/v1/devices/{}/deactivate", tablet.grant.device_id), &json!({})).await?;
    // The stream that is open ends, whatever was on its way.
    tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = stream.next().await {} })
        .await
        .context("the stream goes on")?;
    let batch = tablet.outbox.batch(Lane::Care, Shape::Plain { changes: 10, bytes: 100_000 })?;
    let batch = batch.context("nothing waits")?;
    let beat = tablet.heartbeat(QueueState { care: 1, ..QueueState::default() });
    // Over the connection that is open, and over new ones.
    until("refusals", PATIENCE, || async {
        let refused = [
            is_revoked(tablet.upstream.push(&batch.body).await.map(drop)),
            is_revoked(tablet.upstream.live(&SyncPosition::default()).await.map(drop)),
            is_revoked(tablet.upstream.heartbeat(tablet.grant.device_id, &beat).await.map(drop)),
        ];
        anyhow::ensure!(refused == [true; 3], "{refused:?}");
        Ok(())
    })
    .await?;
    assert!(scene.facility.records(id).await?.is_empty());
    Ok(())
}

fn is_revoked(answer: Result<(), UpstreamError>) -> bool {
    match answer {
        Err(UpstreamError::Refused(problem, _)) => problem.kind() == Some(ProblemKind::DeviceRevoked),
        Ok(()) | Err(_) => false,
    }
}
