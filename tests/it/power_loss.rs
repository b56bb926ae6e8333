//! The plug is pulled, again and again, from both ends: what was acknowledged is there, once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use carepost_tests::api::text;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_plug_is_pulled_while_a_nurse_charts_loses_nothing() -> Result<()> {
    let scene = Scene::new(6).await?;
    let mut hall = scene.kiosk("hall").await?;
    let mut acknowledged = Vec::new();
    for (round, (name, _)) in scene.residents.iter().enumerate() {
        // Every other time the network is down as well.
        if round % 2 == 0 {
            hall.link.cut();
        } else {
            hall.link.restore();
        }
        hall.sign_in(&scene.nora).await?;
        let charted = chart_until_killed(&hall, name, &format!("Round {round}"), 4 + round).await?;
        hall.pull_the_plug().await?;
        hall.start().await?;
        hall.sign_in(&scene.nora).await?;
        let words = hall.get(&hall.path_of(name).await?).await?.words();
        for note in &charted {
            assert_eq!(words.matches(note.as_str()).count(), 1, "{note:?} after a restart: {words}");
        }
        acknowledged.extend(charted);
        hall.stop().await?;
        hall.start().await?;
    }
    hall.link.restore();
    hall.says(&["Everything is sent"]).await?;
    assert!(acknowledged.len() >= 6 * 4, "{acknowledged:?}");
    each_once(&scene, &acknowledged).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_plug_is_pulled_while_two_kiosks_push_loses_and_doubles_nothing() -> Result<()> {
    let mut scene = Scene::new(4).await?;
    let (mut hall, mut med) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("med"))?;
    tokio::try_join!(hall.sign_in(&scene.nora), med.sign_in(&scene.nora))?;
    let mut notes = Vec::new();
    let residents = scene.residents.clone();
    for (round, (name, id)) in residents.iter().enumerate() {
        let done = AtomicBool::new(false);
        let (from_hall, from_med, killed) = tokio::join!(
            chart_until(&hall, name, format!("Hall {round}"), &done),
            chart_until(&med, name, format!("Med {round}"), &done),
            async {
                // Some entries of this round have arrived, so others are on their way.
                let waited = until("entries of this round at the server", PATIENCE, || async {
                    let here = scene.notes(id).await?.len();
                    anyhow::ensure!(here > round, "{here} in round {round}");
                    Ok(())
                })
                .await;
                let killed = scene.server.pull_the_plug().await;
                done.store(true, Ordering::SeqCst);
                waited.and(killed)
            }
        );
        killed?;
        notes.extend(from_hall?);
        notes.extend(from_med?);
        scene.server.resume().await?;
        tokio::try_join!(hall.says(&["Everything is sent"]), med.says(&["Everything is sent"]))?;
    }
    each_once(&scene, &notes).await?;

    // Everything goes at once, and comes back with what it had.
    tokio::try_join!(hall.pull_the_plug(), med.pull_the_plug(), scene.server.pull_the_plug())?;
    scene.server.resume().await?;
    tokio::try_join!(hall.start(), med.start())?;
    tokio::try_join!(hall.says(&["Everything is sent"]), med.says(&["Everything is sent"]))?;
    each_once(&scene, &notes).await?;
    med.sign_in(&scene.nora).await?;
    let newest = notes.last().cloned().unwrap_or_default();
    med.page_says(&med.path_of(&residents[3].0).await?, &[&newest]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrollment_goes_on_after_a_power_cut_at_each_step() -> Result<()> {
    let scene = Scene::new(2).await?;
    let folder = scene.folder_of("hall");
    let mut hall = Kiosk::hang(&folder, "hall", &scene.server, None, Badges::Scripted, "").await?;
    let admin = &scene.facility.organization.admin;

    hall.pairing_code().await?;
    hall.pull_the_plug().await?;
    hall.start().await?;
    let code = hall.pairing_code().await?;
    let body = json!({"code": code, "facility_id": scene.facility.id, "device_name": "hall",
        "device_type": "RASPBERRY_PI"});
    let approved = admin.post("/api/v1/enrollments/approve", &body).await?;
    let number = hall.confirmation_number().await?;
    hall.pull_the_plug().await?;
    hall.start().await?;
    assert_eq!(hall.confirmation_number().await?, number, "the number that the administrator was told");
    hall.pull_the_plug().await?;
    let path = format!("/api/v1/enrollments/{}/confirm", text(&approved, "enrollment_id")?);
    admin.post(&path, &json!({ "number": number })).await?;
    hall.start().await?;
    hall.says(&["Riverside", "Tap your badge"]).await?;
    hall.pull_the_plug().await?;
    hall.start().await?;
    hall.status_is("loading", false).await?;
    hall.sign_in(&scene.nora).await?;
    let devices = admin.get(&format!("/api/v1/facilities/{}/devices", scene.facility.id)).await?;
    assert_eq!(carepost_tests::world::items(&devices)?.len(), 1, "{devices}");
    Ok(())
}

/// Charts one entry after the other until the agent is killed, which happens after `count` were
/// acknowledged, in the middle of whatever comes next: those that were.
async fn chart_until_killed(kiosk: &Kiosk, name: &str, prefix: &str, count: usize) -> Result<Vec<String>> {
    let acknowledged = Mutex::new(Vec::new());
    let pid = kiosk.pid().unwrap_or_default().to_string();
    let charting = async {
        for n in 0.. {
            let note = format!("{prefix}.{n:03}");
            if kiosk.chart(name, "vitals", &vitals(&note)).await.is_err() {
                return;
            }
            acknowledged.lock().unwrap().push(note);
        }
    };
    let kill = async {
        until("enough entries", PATIENCE, || async {
            let so_far = acknowledged.lock().unwrap().len();
            anyhow::ensure!(so_far >= count, "{so_far}");
            Ok(())
        })
        .await?;
        let killed = tokio::process::Command::new("kill").args(["-9", &pid]).status().await?;
        anyhow::ensure!(killed.success(), "not killed");
        Ok(())
    };
    let ((), killed) = tokio::join!(charting, kill);
    killed?;
    Ok(acknowledged.into_inner().unwrap())
}

/// Charts one entry after the other until `done`: those that were acknowledged.
async fn chart_until(kiosk: &Kiosk, name: &str, prefix: String, done: &AtomicBool) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let note = format!("{prefix}.{:03}", notes.len());
        kiosk.chart(name, "vitals", &vitals(&note)).await?;
        notes.push(note);
    }
    Ok(notes)
}

/// The server comes to have each of these exactly once, and nothing else more than once: an entry that
/// was cut off before its answer may be there or not.
async fn each_once(scene: &Scene, acknowledged: &[String]) -> Result<()> {
    until("every entry at the server", PATIENCE, || async {
        let mut notes = Vec::new();
        for (_, id) in &scene.residents {
            notes.extend(scene.notes(id).await?);
        }
        let count = |note: &String| notes.iter().filter(|it| *it == note).count();
        if let Some(note) = acknowledged.iter().find(|note| count(note) != 1) {
            bail!("{note:?} is there {} times", count(note));
        }
        match notes.iter().find(|note| count(note) != 1) {
            Some(twice) => bail!("{twice:?} is there more than once"),
            None => Ok(()),
        }
    })
    .await
}
