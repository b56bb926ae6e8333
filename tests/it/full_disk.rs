//! The part of the disk that waiting entries may take is full: the page says what is not saved. And what is left of a
//! disk is kept for them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use carepost_tests::api::text;
use carepost_tests::children::until;
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::{Badges, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_passes() -> Result<()> {
    let scene = Scene::new(4).await?;
    let hall = scene.kiosk_with("hall", Badges::Scripted, "[outbox]\nmax_mib = 1").await?;
    hall.sign_in(&scene.nora).await?;
    let mut paths = Vec::new();
    for (name, _) in &scene.residents {
        paths.push(hall.path_of(name).await?);
    }
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;

    let long = "The night was quiet. ".repeat(90);
    let mut notes = vec![Vec::new(); paths.len()];
    let mut saved = 0;
    let (form, refused) = loop {
        let note = format!("Entry {saved}. {long}").trim().to_owned();
        let form = format!("{}/chart/vitals", paths[saved % paths.len()]);
        let answer = hall.fill_in(&form, &vitals(&note)).await?;
        if answer.status != 303 {
            break (form, answer);
        }
        notes[saved % paths.len()].push(note);
        saved += 1;
        assert!(saved < 2_000, "1 MiB holds no end of entries");
    };
    assert!(saved > 50, "only {saved} fitted into 1 MiB");
    assert_eq!(refused.status, 507, "{}", refused.words());
    let words = refused.words();
    for part in ["This entry is not saved", "disk is full", "Your answers are still below"] {
        assert!(words.contains(part), "no {part:?}: {words}");
    }
    assert!(refused.html.contains(&format!("Entry {saved}. The night")), "{}", refused.html);
    let words = hall.says(&["This device cannot save"]).await?;
    assert!(!words.contains("You can keep charting"), "{words}");
    for command in ["status", "doctor"] {
        let (code, said) = hall.command(&[command]).await?;
        assert!(code == 5 && said.contains("disk is full"), "it needs attention: {code} {said}");
    }
    // Reading goes on.
    hall.page_says(&paths[1], &["Entry 1.", "Saved here"]).await?;

    hall.link.restore();
    hall.says(&["Everything is sent"]).await?;
    for ((_, id), notes) in scene.residents.iter().zip(&notes) {
        scene.has_notes(id, notes).await?;
    }
    // The form that was refused is sent again: now there is room, though no entry is a week old.
    let (token, screen) = (refused.hidden("_token")?, refused.hidden("_screen")?);
    let mut fields = vec![("_token", token.as_str()), ("_screen", screen.as_str())];
    fields.extend(vitals("There is room again"));
    let answer = hall.post(&form, &fields).await?;
    assert_eq!(answer.status, 303, "{}", answer.words());
    let at = saved % paths.len();
    notes[at].push("There is room again".to_owned());
    scene.has_notes(&scene.residents[at].1, &notes[at]).await?;
    let words = hall.says(&["Everything is sent"]).await?;
    assert!(!words.contains("cannot save"), "{words}");
    until("the server to hear that it saves again", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        if device["cannot_save"].is_null() { Ok(()) } else { bail!("{device}") }
    })
    .await?;
    Ok(())
}

/// A small disk of its own, while it is mounted.
struct Disk(PathBuf);

impl Disk {
    /// None where this process may not mount one.
    fn mount(at: &Path, mib: u32) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "carepost-test"])
            .arg(at)
            .status();
        Ok(mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned())))
    }

    /// Fills it but for so many bytes: the file to remove again.
    fn fill(&self, but: u64) -> Result<PathBuf> {
        let ballast = self.0.join("ballast");
        let mut filled = std::fs::File::create(&ballast)?;
        while filled.write_all(&[0; 4096]).is_ok() {}
        filled.set_len(filled.metadata()?.len() - but)?;
        Ok(ballast)
    }

    fn free_mib(&self) -> Result<usize> {
        let said = Command::new("df").args(["--output=avail", "--block-size=1M"]).arg(&self.0).output()?;
        let said = String::from_utf8(said.stdout)?;
        Ok(said.lines().last().context("df says nothing")?.trim().parse()?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still has a file open there keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs a story again in namespaces of its own, where whoever runs it may mount a disk. Where there are none either, as
/// in most containers, it is left out, which is said.
fn again_where_it_may_mount(story: &str) -> Result<()> {
    const AGAIN: &str = "CAREPOST_TEST_MAY_MOUNT";
    ensure!(std::env::var_os(AGAIN).is_none(), "a namespace in which nothing can be mounted");
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount"]).env(AGAIN, "1");
        unshare
    };
    if !unshare().arg("true").output().is_ok_and(|ran| ran.status.success()) {
        eprintln!("skipped: a small disk needs root, or user namespaces");
        return Ok(());
    }
    let ran = unshare().arg(std::env::current_exe()?).args(["--exact", story]).output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success() && said.contains("1 passed"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_that_starts_on_a_full_disk_says_so_and_goes_on_when_there_is_room() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let Some(disk) = Disk::mount(&scene.folder_of("hall").join("state"), 128)? else {
        return again_where_it_may_mount(
            "full_disk::a_kiosk_that_starts_on_a_full_disk_says_so_and_goes_on_when_there_is_room",
        );
    };
    let mut hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    hall.chart(name, "vitals", &vitals("Charted before it was full")).await?;
    hall.stop().await?;
    // Its copy is gone, and there is room for no other: what is left is enough to read what was charted.
    for part in ["mirror.db", "mirror.db-wal", "mirror.db-shm"] {
        let _ = std::fs::remove_file(disk.0.join(part));
    }
    let ballast = disk.fill(100 * 1024)?;
    hall.start().await?;
    hall.says(&["disk is full", "Nobody can sign in", "use another device", "Call", "goes on by itself"])
        .await?;
    for command in ["status", "doctor"] {
        let (code, said) = hall.command(&[command]).await?;
        assert!(code == 5 && said.contains("the disk is full: free some space"), "{code}: {said}");
        assert!(!said.contains("says why"), "what could not be measured has its cause: {said}");
    }
    hall.link.restore();
    // What was charted is sent all the same, and the office hears why no more comes.
    scene.has_notes(id, &["Charted before it was full".to_owned()]).await?;
    until("the office to hear why", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let why = device["cannot_save"].as_str().unwrap_or_default();
        if why.contains("the disk is full") { Ok(()) } else { bail!("{device}") }
    })
    .await?;
    hall.says(&["disk is full"]).await?;
    std::fs::remove_file(&ballast)?;
    hall.says(&["Tap your badge"]).await?;
    hall.status_is("loading", false).await?;
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_on_a_full_disk_is_there_again_and_is_kept_once_there_is_room() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, _) = scene.resident()?;
    let Some(disk) = Disk::mount(&scene.folder_of("hall").join("state"), 128)? else {
        return again_where_it_may_mount(
            "full_disk::what_is_typed_on_a_full_disk_is_there_again_and_is_kept_once_there_is_room",
        );
    };
    let mut hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    let path = format!("{}/chart/vitals", hall.path_of(name).await?);
    let form = hall.get(&path).await?;
    let (screen, version) = (form.hidden("_screen")?, form.hidden("_version")?);
    let ballast = disk.fill(0)?;
    // What lies beside the outbox already takes some of it.
    let long = "The night was quiet. ".repeat(5_000);
    let mut typed = 0;
    let refused = loop {
        typed += 1;
        let note = format!("Draft {typed}. {long}");
        let fields = [("_screen", screen.as_str()), ("_version", version.as_str()), ("note", note.as_str())];
        let answer = hall.post(&format!("{path}/draft"), &fields).await?;
        if answer.status != 204 {
            break answer;
        }
        ensure!(typed < 200, "a full disk holds no end of drafts");
    };
    let words = refused.words();
    ensure!(refused.status == 507 && words.contains("cannot save: this device's disk is full"), "{words}");
    let last = format!("Draft {typed}. ");
    hall.post("/lock", &[]).await?;
    hall.tap_until(&scene.nora.uid, &["Not on this device's disk"]).await?;
    let form = hall.get(&path).await?;
    ensure!(form.html.contains(&last), "{}", form.html);

    std::fs::remove_file(&ballast)?;
    until("the disk to take it", PATIENCE, || async {
        let form = hall.get(&path).await?;
        ensure!(form.html.contains(&last), "{}", form.words());
        ensure!(!form.html.contains("Not on this device's disk"), "{}", form.words());
        Ok(())
    })
    .await?;
    hall.pull_the_plug().await?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    let form = hall.get(&path).await?;
    ensure!(form.html.contains(&last), "{}", form.html);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_to_a_full_disk_leaves_no_file_and_is_told_as_failed() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, _) = scene.resident()?;
    let Some(stick) = Disk::mount(&scene.folder_of("stick"), 1)? else {
        return again_where_it_may_mount(
            "full_disk::an_export_to_a_full_disk_leaves_no_file_and_is_told_as_failed",
        );
    };
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    hall.chart(name, "vitals", &vitals("Kept here")).await?;
    let (_, list) = hall.command(&["queue", "list", "--json"]).await?;
    let n = serde_json::from_str::<Value>(&list)?["entries"][0]["n"].to_string();
    let mut ballast = std::fs::File::create(stick.0.join("ballast"))?;
    while ballast.write_all(&[0; 4096]).is_ok() {}

    let file = stick.0.join("taken.json");
    let (code, words) = hall.command(&["queue", "export", &n, "--to", &file.display().to_string()]).await?;
    assert!(code == 1 && words.contains("No space left") && !file.exists(), "{code}: {words}");
    hall.link.restore();
    until("the office to hear of both", PATIENCE, || async {
        let found = scene.facility.organization.admin.get("/api/v1/audit-events?limit=1000").await?;
        let exports = found["items"].as_array().into_iter().flatten();
        let mut came: Vec<_> = exports
            .filter(|event| event["details"]["page"] == "carepost-agent queue export")
            .map(|event| event["success"] == true)
            .collect();
        came.sort_unstable();
        ensure!(came == [false, true], "{came:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_that_is_deactivated_on_a_full_disk_enrolls_anew() -> Result<()> {
    let scene = Scene::new(1).await?;
    let Some(disk) = Disk::mount(&scene.folder_of("hall").join("state"), 128)? else {
        return again_where_it_may_mount(
            "full_disk::a_kiosk_that_is_deactivated_on_a_full_disk_enrolls_anew",
        );
    };
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    let ballast = disk.fill(0)?;
    let device = text(&scene.facility.device("hall").await?, "id")?;
    let deactivate = format!("/api/v1/devices/{device}/deactivate");
    scene.facility.organization.admin.post(&deactivate, &json!({})).await?;
    hall.says(&["This device is no longer in use"]).await?;
    hall.post("/enroll", &[]).await?;
    // Its copy, which the server can give again, has made the room that it takes.
    hall.pairing_code().await?;
    std::fs::remove_file(&ballast)?;
    scene.facility.enroll(&hall).await?;
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_disk_is_kept_for_what_is_charted() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let Some(disk) = Disk::mount(&scene.folder_of("hall"), 128)? else {
        return again_where_it_may_mount("full_disk::what_is_left_of_a_disk_is_kept_for_what_is_charted");
    };
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    let ballast = disk.0.join("ballast");
    // Little is left: not even a new resident is taken in.
    std::fs::write(&ballast, vec![0; (disk.free_mib()? - 8) * 1024 * 1024])?;

    // What the server has for it waits, and the page says why.
    let newcomer = &residents("NEW", 2, true)[1..];
    scene.facility.admit(newcomer).await?;
    hall.says(&[
        "Nothing new arrives here",
        "disk is nearly full",
        "until 64 MiB are free",
        "You can keep charting",
    ])
    .await?;
    for command in ["status", "doctor"] {
        let (code, said) = hall.command(&[command]).await?;
        assert!(code == 5 && said.contains("disk is nearly full"), "{code}: {said}");
    }
    assert!(!hall.get("/").await?.words().contains(&newcomer[0].name));
    until("the office to hear why", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let why = device["copy_trouble"].as_str().unwrap_or_default();
        if why.contains("disk is nearly full") { Ok(()) } else { bail!("{device}") }
    })
    .await?;
    // What is charted is kept and sent.
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    hall.chart(name, "vitals", &vitals("Charted on a full disk")).await?;
    hall.link.restore();
    scene.has_notes(id, &["Charted on a full disk".to_owned()]).await?;

    std::fs::remove_file(&ballast)?;
    until("the copy to go on", PATIENCE * 6, || async {
        let words = hall.get("/").await?.words();
        if words.contains(&newcomer[0].name) && !words.contains("Nothing new") {
            Ok(())
        } else {
            bail!("{words}")
        }
    })
    .await
}
