//! kill -9 again and again, of the agent and of the server, in the middle of heavy charting: whatever a
//! page or a device called saved is on the server in the end, once.
//!
//! `CAREPOST_KILLS=100` kills a hundred times instead of ten.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use carepost_protocol::id::{PatientId, UserId};
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::kiosk::{Kiosk, PATIENCE, copy_tree};
use carepost_tests::ledger::{Findings, Ledger};
use carepost_tests::scene::{Scene, vitals};
use serde_json::json;

fn kills() -> usize {
    std::env::var("CAREPOST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_again_and_again_under_load_loses_nothing_that_it_called_saved() -> Result<()> {
    let scene = Scene::new(4).await?;
    let mut hall = scene.kiosk("hall").await?;
    let neighbour = device(&scene, "neighbour").await?;
    let (ledger, done) = (Ledger::default(), AtomicBool::new(false));
    let killing = async {
        for kill in 0..kills() {
            // Every third time nothing can be sent before the plug is pulled.
            if kill % 3 == 2 {
                hall.link.cut();
            } else {
                hall.link.restore();
            }
            hall.sign_in(&scene.nora).await?;
            let killed = AtomicBool::new(false);
            let (first, second) = (&scene.residents[kill % 4].1, &scene.residents[(kill + 1) % 4].1);
            let ((), (), shot) = tokio::join!(
                chart_until(&hall, first, format!("Kill {kill} left"), &ledger, &killed),
                chart_until(&hall, second, format!("Kill {kill} right"), &ledger, &killed),
                async {
                    let shot = shoot(&hall, &ledger, kill).await;
                    killed.store(true, Ordering::SeqCst);
                    shot
                },
            );
            shot?;
            hall.pull_the_plug().await?;
            hall.start().await?;
        }
        hall.link.restore();
        done.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (killed, wrote) = tokio::join!(killing, write_until(&neighbour, &scene, "Neighbour", &ledger, &done));
    killed.and(wrote)?;
    assert!(ledger.count() >= 3 * kills(), "{} entries are no load", ledger.count());
    hall.says(&["Everything is sent"]).await?;
    all_there(&neighbour, &ledger).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_again_and_again_under_load_loses_nothing_that_it_acknowledged() -> Result<()> {
    let mut scene = Scene::new(4).await?;
    let (a, b) = (device(&scene, "a").await?, device(&scene, "b").await?);
    let c = device(&scene, "c").await?;
    let (ledger, done) = (Ledger::default(), AtomicBool::new(false));
    // The writers look at the scene while the server is taken from it: they get one of their own.
    let residents = scene.residents.clone();
    let nora = scene.nora.id.clone();
    let write = |device, name| write_as(device, &residents, &nora, name, &ledger, &done);
    let killing = async {
        for kill in 0..kills() {
            let before = ledger.count();
            // Not always at the same place of a push.
            let more = fastrand::usize(12..60);
            until("entries while the server is up", PATIENCE, || async {
                ensure!(ledger.count() >= before + more, "{} since the last kill", ledger.count() - before);
                Ok(())
            })
            .await?;
            let killed = scene.server.pull_the_plug().await;
            killed.and(scene.server.resume().await).with_context(|| format!("kill {kill}"))?;
        }
        done.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (killed, from_a, from_b, from_c) =
        tokio::join!(killing, write(&a, "A"), write(&b, "B"), write(&c, "C"));
    killed.and(from_a).and(from_b).and(from_c)?;
    for device in [&a, &b, &c] {
        let counts = device.outbox.counts()?;
        assert_eq!((counts.care, counts.rejected), (0, 0));
    }
    all_there(&a, &ledger).await
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_never_saved_and_those_of_a_wiped_outbox_show_as_lost() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, _) = scene.resident()?;
    let ledger = Ledger::default();

    // Counted before the page's answer, which never comes.
    hall.sign_in(&scene.nora).await?;
    let path = format!("{}/chart/vitals", hall.path_of(name).await?);
    let form = hall.get(&path).await?;
    hall.pull_the_plug().await?;
    let (token, screen) = (form.hidden("_token")?, form.hidden("_screen")?);
    let mut fields = vec![("_token", token.as_str()), ("_screen", screen.as_str())];
    fields.extend(vitals("Too early"));
    ledger.saved("Too early");
    assert!(hall.post(&path, &fields).await.is_err());
    let (state, copy) = (hall.folder.join("state"), hall.folder.join("copy"));
    copy_tree(&state, &copy)?;
    hall.start().await?;

    // Saved, and wiped between two lives of the agent: an older state takes its place.
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    for note in ["Wiped 1", "Wiped 2"] {
        hall.chart(name, "vitals", &vitals(note)).await?;
        ledger.saved(note);
    }
    hall.pull_the_plug().await?;
    std::fs::remove_dir_all(&state)?;
    std::fs::rename(&copy, &state)?;
    hall.start().await?;
    hall.link.restore();
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("After it")).await?;
    ledger.saved("After it");
    hall.says(&["Everything is sent"]).await?;

    let lost = ["Too early", "Wiped 1", "Wiped 2"].map(ToOwned::to_owned).to_vec();
    let there = device(&scene, "looker").await?.notes_of_the_feed().await?;
    assert_eq!(ledger.compare(&there), Findings { lost, doubled: Vec::new() });
    Ok(())
}

async fn device(scene: &Scene, name: &str) -> Result<Device> {
    let folder = scene.folder_of(name);
    Device::enroll(&folder, &scene.server, scene.server.devices.port(), &scene.facility, name).await
}

/// kill -9 some time after this round's first entries were called saved.
async fn shoot(hall: &Kiosk, ledger: &Ledger, kill: usize) -> Result<()> {
    // Not always at the same place of a save.
    let (before, more) = (ledger.count(), fastrand::usize(3..24));
    until("entries of this round", PATIENCE, || async {
        ensure!(ledger.count() >= before + more, "{} in round {kill}", ledger.count() - before);
        Ok(())
    })
    .await?;
    let pid = hall.pid().context("the agent does not run")?.to_string();
    let shot = tokio::process::Command::new("kill").args(["-9", &pid]).status().await?;
    ensure!(shot.success(), "kill -9 {pid} failed");
    Ok(())
}

/// Charts one entry after the other, until the agent is no more.
async fn chart_until(kiosk: &Kiosk, resident: &str, prefix: String, ledger: &Ledger, killed: &AtomicBool) {
    let path = format!("/residents/{resident}/chart/vitals");
    for n in 0.. {
        let note = format!("{prefix} {n:03}");
        match kiosk.fill_in(&path, &vitals(&note)).await {
            Ok(page) if page.location.as_ref().is_some_and(|to| to.contains("saved")) => ledger.saved(&note),
            Ok(_) | Err(_) if killed.load(Ordering::SeqCst) => return,
            // The shot falls a moment before it is told; anything else shows as too few entries.
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn write_until(
    device: &Device,
    scene: &Scene,
    prefix: &str,
    ledger: &Ledger,
    done: &AtomicBool,
) -> Result<()> {
    write_as(device, &scene.residents, &scene.nora.id, prefix, ledger, done).await
}

/// Saves and pushes without a pause, whether or not there is a server; at the end until all is sent.
async fn write_as(
    device: &Device,
    residents: &[(String, String)],
    nurse: &str,
    prefix: &str,
    ledger: &Ledger,
    done: &AtomicBool,
) -> Result<()> {
    let nurse = device.nurse(nurse.parse::<UserId>()?);
    let patients = residents.iter().map(|(_, id)| Ok(id.parse()?)).collect::<Result<Vec<PatientId>>>()?;
    let mut written = 0_usize;
    while !done.load(Ordering::SeqCst) {
        for _ in 0..4 {
            let note = format!("{prefix} {written:05}");
            let fields = json!({"systolic": 120, "diastolic": 80, "pulse": 70, "note": note});
            let fields = fields.as_object().cloned().unwrap_or_default();
            device.save(&nurse, &device.vitals(&nurse, patients[written % patients.len()], fields))?;
            ledger.saved(&note);
            written += 1;
        }
        // No answer means that these wait for the next push.
        let _ = device.push_all().await;
    }
    until("all to be sent", PATIENCE, || device.push_all()).await
}

async fn all_there(looker: &Device, ledger: &Ledger) -> Result<()> {
    until("every entry at the server, once", PATIENCE, || async {
        let findings = ledger.compare(&looker.notes_of_the_feed().await?);
        ensure!(findings.is_clean(), "{findings:?}");
        Ok(())
    })
    .await
}
