//! Nothing that is secret or about a resident lies readable in a file or a log.

use std::path::Path;

use anyhow::{Context as _, Result};
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};

#[tokio::test(flavor = "multi_thread")]
async fn no_file_and_no_log_holds_a_name_a_note_a_pin_a_badge_or_a_key() -> Result<()> {
    let mut scene = Scene::new(12).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    let (name, id) = (name.to_owned(), id.to_owned());

    // A full story: a wrong PIN, a draft, entries with and without the network, both killed and restarted.
    hall.tap(&scene.nora.uid).await?;
    hall.says(&["Enter your PIN"]).await?;
    hall.enter_pin("777123").await?;
    hall.says(&["That PIN is wrong"]).await?;
    hall.enter_pin(&scene.nora.pin).await?;
    hall.says(&["Nora Quist", "Lock"]).await?;
    hall.chart(&name, "vitals", &vitals("Sent at once: marmalade")).await?;
    scene.has_notes(&id, &["Sent at once: marmalade".to_owned()]).await?;
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    hall.chart(&name, "vitals", &vitals("Waits: marmalade")).await?;
    let form = format!("{}/chart/vitals", hall.path_of(&name).await?);
    let screen = hall.get(&form).await?.hidden("_screen")?;
    let draft = [("_screen", screen.as_str()), ("note", "Draft: marmalade")];
    assert_eq!(hall.post(&format!("{form}/draft"), &draft).await?.status, 204);
    hall.tap("04DEADBEEF0102").await?;
    hall.pull_the_plug().await?;
    scene.server.pull_the_plug().await?;

    let mut secrets: Vec<String> = scene.residents.iter().map(|(name, _)| name.clone()).collect();
    for secret in
        ["marmalade", "RS-1000", "Nora Quist", "482915", "777123", &scene.nora.uid, "04DEADBEEF0102"]
    {
        secrets.push(secret.to_owned());
    }
    secrets.push(scene.facility.organization.recovery_key.clone());
    secrets.push(carepost_tests::world::PASSWORD.to_owned());
    // First while both lie as the power cut left them, write-ahead logs and all.
    assert!(scanned(&hall, &scene, &secrets)? > 8);
    scene.server.resume().await?;
    hall.start().await?;
    hall.link.restore();
    until("everything sent", PATIENCE, || async {
        anyhow::ensure!(scene.notes(&id).await?.len() == 2, "not yet");
        Ok(())
    })
    .await?;
    hall.stop().await?;
    scene.server.stop().await?;
    scanned(&hall, &scene, &secrets)?;

    // The search finds what is there.
    let planted = hall.folder.join("state/planted");
    std::fs::write(&planted, b"\0\x01xx04a1b2C3D4E5F6yy")?;
    assert!(scanned(&hall, &scene, &secrets).is_err(), "a planted badge number is found");
    Ok(())
}

/// Searches what both write: how many files that were.
fn scanned(hall: &Kiosk, scene: &Scene, secrets: &[String]) -> Result<usize> {
    let mut files = 0;
    for folder in [hall.folder.join("state"), scene.server.folder.join("state")] {
        search(&folder, secrets, &mut files)?;
    }
    for log in [hall.folder.join("agent.log"), scene.server.folder.join("server.log")] {
        search_file(&log, secrets)?;
        files += 1;
    }
    Ok(files)
}

fn search(folder: &Path, secrets: &[String], files: &mut usize) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, secrets, files)?;
        } else {
            search_file(&path, secrets)?;
            *files += 1;
        }
    }
    Ok(())
}

/// As text in any case, as UTF-16, and (for numbers in hex) as bytes.
fn search_file(path: &Path, secrets: &[String]) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folded = bytes.to_ascii_lowercase();
    for secret in secrets {
        let text = secret.to_ascii_lowercase().into_bytes();
        let wide: Vec<u8> = text.iter().flat_map(|byte| [*byte, 0]).collect();
        let mut forms = vec![text, wide];
        forms.extend(unhex(secret).map(|bytes| bytes.to_ascii_lowercase()));
        for form in forms {
            let found = folded.windows(form.len()).position(|window| window == form);
            anyhow::ensure!(found.is_none(), "{} holds {secret:?} at {found:?}", path.display());
        }
    }
    Ok(())
}

/// The bytes of a badge's number.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() < 12 || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
