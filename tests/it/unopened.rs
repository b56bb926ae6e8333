//! A kiosk whose files or keys do not open: its page says so and why, nothing of them is changed, and it goes on by
//! itself once they are put back.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use carepost_agent::identity::{Factors, Vault};
use carepost_agent::sqlite::{self, Durability, Opening};
use carepost_tests::api::text;
use carepost_tests::children::{free_port, until};
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use serde_json::json;

/// What its page says in each of these cases.
const PAGE: [&str; 4] = [
    "This device cannot open its files",
    "Nobody can sign in",
    "Write it on paper or use another device",
    "do not delete or reset them",
];

/// Puts a file back whole, under the eyes of an agent that tries to open it.
fn put_back(path: &Path, content: &[u8]) -> Result<()> {
    let beside = path.with_extension("back");
    std::fs::write(&beside, content)?;
    Ok(std::fs::rename(beside, path)?)
}

/// `status` and `doctor` say the same of the file, and that somebody is needed.
async fn commands_say(hall: &Kiosk, why: &str) -> Result<()> {
    for command in ["status", "doctor"] {
        let (code, said) = hall.command(&[command]).await?;
        ensure!(code == 5 && said.contains(why), "no {why:?} in {command} ({code}): {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_outbox_is_damaged_says_so_everywhere_and_goes_on_once_it_is_put_back() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let mut hall = scene.kiosk("hall").await?;
    // From here on the file itself holds all, and what is charted lies beside it.
    hall.stop().await?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    hall.chart(name, "vitals", &vitals("Charted before it was damaged")).await?;
    hall.pull_the_plug().await?;
    let state = hall.folder.join("state");
    let (outbox, log) = (state.join("outbox.db"), state.join("outbox.db-wal"));
    let (kept, beside) = (std::fs::read(&outbox)?, std::fs::read(&log)?);
    let garbage = vec![0xa5; 64 * 1024];
    std::fs::write(&outbox, &garbage)?;

    hall.start().await?;
    let why = format!("{}: not readable with this device's key", outbox.display());
    hall.says(&PAGE).await?;
    hall.says(&[&why, "Call +1 555 0100"]).await?;
    commands_say(&hall, &why).await?;
    hall.link.restore();
    until("the office to hear why", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let said = device["cannot_save"].as_str().unwrap_or_default();
        let is_said = said.contains("cannot be counted") && said.contains("outbox.db");
        if is_said && device["state"] == "ACTIVE" { Ok(()) } else { bail!("{device}") }
    })
    .await?;
    ensure!(std::fs::read(&outbox)? == garbage && std::fs::read(&log)? == beside, "something was changed");
    let said = hall.log().matches("this goes on when its files open").count();
    ensure!(said == 1, "{said} times: {}", hall.log());

    // While somebody puts it back none is begun in its place.
    let aside = hall.folder.join("aside");
    std::fs::rename(&log, &aside)?;
    std::fs::remove_file(&outbox)?;
    hall.says(&PAGE).await?;
    hall.says(&["missing or empty: put the file back"]).await?;
    ensure!(!outbox.exists(), "one was begun");
    std::fs::rename(&aside, &log)?;
    put_back(&outbox, &kept)?;
    hall.says(&["Tap your badge"]).await?;
    scene.has_notes(id, &["Charted before it was damaged".to_owned()]).await?;
    until("the office to hear that it saves again", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let is_well = device["cannot_save"].is_null() && device["state"] == "ACTIVE";
        if is_well { Ok(()) } else { bail!("{device}") }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_keys_are_damaged_says_so_keeps_others_out_and_goes_on_once_they_are_put_back()
-> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    for name in ["outbox.key", "device.key"] {
        hall.pull_the_plug().await?;
        let key = hall.folder.join("state").join(name);
        let kept = std::fs::read(&key)?;
        let garbage = [0x5a; 64];
        std::fs::write(&key, garbage)?;
        let (code, said) = hall.command(&["doctor"]).await?;
        let why = format!("{name}: the sealed file is damaged");
        ensure!(code == 5 && said.contains(&why), "before it is started: {code}: {said}");

        hall.start().await?;
        hall.says(&PAGE).await?;
        hall.says(&[&why, "Call your facility's IT"]).await?;
        commands_say(&hall, &why).await?;
        let other = free_port()?;
        hall.reconfigure(&format!(":{}", hall.port), &format!(":{other}"))?;
        let (code, said) = hall.command(&["run"]).await?;
        hall.reconfigure(&format!("127.0.0.1:{other}"), &format!("127.0.0.1:{}", hall.port))?;
        ensure!(
            code == 1 && said.contains("another carepost-agent runs on this directory"),
            "{code}: {said}"
        );
        ensure!(std::fs::read(&key)? == garbage, "{name} was changed");

        put_back(&key, &kept)?;
        hall.says(&["Tap your badge"]).await?;
    }
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_outbox_is_gone_begins_no_other_and_says_so_until_it_is_put_back() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let mut hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    hall.chart(name, "vitals", &vitals("Charted before it was gone")).await?;
    hall.stop().await?;
    let (outbox, aside) = (hall.folder.join("state/outbox.db"), hall.folder.join("outbox.db"));
    ensure!(!outbox.with_extension("db-wal").exists(), "nothing else tells that there was one");
    std::fs::rename(&outbox, &aside)?;
    let why = format!("{}: missing or empty: put the file back", outbox.display());
    for (command, expected) in [(&["doctor"][..], 5), (&["queue", "list"], 1)] {
        let (code, said) = hall.command(command).await?;
        ensure!(code == expected && said.contains(&why), "{command:?} {code}: {said}");
    }

    hall.start().await?;
    hall.says(&PAGE).await?;
    hall.says(&[&why, "Call +1 555 0100"]).await?;
    commands_say(&hall, &why).await?;
    hall.link.restore();
    until("the office to hear why", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let said = device["cannot_save"].as_str().unwrap_or_default();
        if said.contains("cannot be counted") && said.contains("missing") {
            Ok(())
        } else {
            bail!("{device}")
        }
    })
    .await?;
    ensure!(!outbox.exists(), "one was begun");
    std::fs::rename(&aside, &outbox)?;
    hall.says(&["Tap your badge"]).await?;
    scene.has_notes(id, &["Charted before it was gone".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolled_kiosk_whose_grant_is_gone_says_so_and_goes_on_once_it_is_put_back() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let (grant, aside) = (hall.folder.join("state/grant"), hall.folder.join("grant"));
    std::fs::rename(&grant, &aside)?;
    let why = format!("{} is missing: put it back", grant.display());
    let (code, said) = hall.command(&["queue", "list"]).await?;
    ensure!(code == 1 && said.contains(&why), "{code}: {said}");
    hall.start().await?;
    hall.says(&PAGE).await?;
    hall.says(&[&why]).await?;
    commands_say(&hall, &why).await?;
    std::fs::rename(&aside, &grant)?;
    hall.says(&["Tap your badge"]).await?;
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_begins_nothing_while_its_state_directory_is_emptied_and_filled_again() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let (state, aside) = (hall.folder.join("state"), hall.folder.join("aside"));
    let key = std::fs::read(state.join("device.key"))?;
    std::fs::write(state.join("device.key"), [0x5a; 64])?;
    hall.start().await?;
    hall.says(&["device.key: the sealed file is damaged"]).await?;

    let names = || -> Result<Vec<_>> {
        let mut names =
            std::fs::read_dir(&state)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        names.retain(|name| name != "agent.lock");
        names.sort();
        Ok(names)
    };
    let all = names()?;
    std::fs::create_dir(&aside)?;
    for name in &all {
        std::fs::rename(state.join(name), aside.join(name))?;
    }
    let why = format!("{} is missing: put it back", state.join("seal.salt").display());
    hall.says(&PAGE).await?;
    hall.says(&[&why]).await?;
    ensure!(names()?.is_empty(), "begun anew: {:?}", names()?);
    std::fs::write(aside.join("device.key"), key)?;
    for name in &all {
        std::fs::rename(aside.join(name), state.join(name))?;
    }
    hall.says(&["Tap your badge"]).await?;
    hall.sign_in(&scene.nora).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_keeps_a_kiosk_from_starting() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let outbox = hall.folder.join("state/outbox.db");
    let link = hall.folder.join("state/left-over");
    std::os::unix::fs::symlink("nowhere", &link)?;
    let (code, said) = hall.command(&["doctor"]).await?;
    ensure!(said.contains("both open"), "{code}: {said}");
    std::fs::remove_file(&link)?;
    let aside = hall.folder.join("outbox.db");
    std::fs::rename(&outbox, &aside)?;
    std::fs::create_dir(&outbox)?;
    let why = format!("{}: this is no file", outbox.display());
    let (code, said) = hall.command(&["doctor"]).await?;
    ensure!(code == 5 && said.contains(&why) && !said.contains("carepost-doctor"), "{code}: {said}");
    hall.start().await?;
    hall.says(&PAGE).await?;
    hall.says(&[&why]).await?;
    commands_say(&hall, &why).await?;
    std::fs::remove_dir(&outbox)?;
    std::fs::rename(&aside, &outbox)?;
    hall.says(&["Tap your badge"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_that_cannot_begin_its_outbox_has_no_copy_before_it_can() -> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    let code = hall.pairing_code().await?;
    let state = hall.folder.join("state");
    std::fs::create_dir(state.join("outbox.db"))?;
    let admin = &scene.facility.organization.admin;
    let (facility, kind) = (&scene.facility.id, "RASPBERRY_PI");
    let body = json!({"code": code, "facility_id": facility, "device_name": "hall", "device_type": kind});
    let approved = text(&admin.post("/api/v1/enrollments/approve", &body).await?, "enrollment_id")?;
    let number = json!({"number": hall.confirmation_number().await?});
    admin.post(&format!("/api/v1/enrollments/{approved}/confirm"), &number).await?;
    hall.says(&PAGE).await?;
    ensure!(!state.join("mirror.db").exists(), "it would tell that an outbox was begun");
    std::fs::remove_dir(state.join("outbox.db"))?;
    hall.says(&["Tap your badge"]).await?;
    Ok(())
}

/// Where the failed PINs are in the outbox of a kiosk whose agent does not run: neither opening nor sending reads that.
fn throttles_at(kiosk: &Kiosk) -> Result<usize> {
    let factors = Factors::read(&kiosk.folder.join("factors"))?;
    let vault = Vault::open(&kiosk.folder.join("state"), &factors, None)?;
    let file = sqlite::open_reader(&Opening {
        path: &vault.outbox_path(),
        key: vault.outbox_key(),
        durability: Durability::PowerCut,
        cache_kib: 64,
        migrations: &[],
    })?;
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'throttles'";
    let page: u32 = file.query_row(sql, [], |row| row.get(0))?;
    Ok((page as usize - 1) * 4_096 + 100)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_whose_outbox_is_damaged_within_says_so_everywhere_and_sends_what_waits() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let at = throttles_at(&hall)?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    hall.chart(name, "vitals", &vitals("Charted before it was damaged")).await?;
    hall.pull_the_plug().await?;
    let outbox = hall.folder.join("state/outbox.db");
    let mut damaged = std::fs::read(&outbox)?;
    damaged[at] ^= 1;
    std::fs::write(&outbox, &damaged)?;
    let why = format!("{} is damaged: copy the state directory, let what waits be sent", outbox.display());
    let (code, said) = hall.command(&["doctor"]).await?;
    ensure!(code == 5 && said.contains(&why), "{code}: {said}");

    hall.start().await?;
    hall.says(&["You can keep charting: what is saved here is kept, but", &why]).await?;
    commands_say(&hall, &why).await?;
    let (_, said) = hall.command(&["status"]).await?;
    ensure!(!said.contains("CANNOT SAVE"), "it does: {said}");
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Charted since")).await?;
    hall.link.restore();
    let notes = ["Charted before it was damaged", "Charted since"].map(str::to_owned);
    scene.has_notes(id, &notes).await?;
    until("the office to hear why", PATIENCE, || async {
        let device = scene.facility.device("hall").await?;
        let said = device["sync_reason"].as_str().unwrap_or_default();
        let is_said = said.contains("or may not for long (what is saved here is kept, but")
            && said.contains("outbox.db is damaged");
        if is_said { Ok(()) } else { bail!("{device}") }
    })
    .await?;
    ensure!(std::fs::read(&outbox)? == damaged, "something was folded into it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_outbox_that_is_moved_away_from_its_agent_every_command_says_to_put_it_back_and_no_more()
-> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = scene.kiosk("hall").await?;
    let outbox = hall.folder.join("state/outbox.db");
    let away = outbox.with_extension("away");
    std::fs::rename(&outbox, &away)?;
    let why = "put it back, and do not restart the agent before that";
    hall.says(&["This device cannot save", why]).await?;
    commands_say(&hall, why).await?;
    let (code, said) = hall.command(&["queue", "list"]).await?;
    ensure!(code == 1 && said.contains(why) && !said.contains("enroll"), "{code}: {said}");

    std::fs::rename(&away, &outbox)?;
    until("the queue to be read", PATIENCE, || async {
        let (code, said) = hall.command(&["queue", "list"]).await?;
        if code == 0 { Ok(()) } else { bail!("{said}") }
    })
    .await
}
