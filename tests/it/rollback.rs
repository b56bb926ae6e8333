//! A kiosk whose directory was put back to an older copy, and what its queue says to whoever looks.

use anyhow::Result;
use carepost_tests::children::until;
use carepost_tests::kiosk::{PATIENCE, copy_tree};
use carepost_tests::scene::{Scene, vitals};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_restored_from_an_older_copy_goes_on_by_itself() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    hall.chart(name, "vitals", &vitals("Before the copy")).await?;
    hall.page_says(&path, &["Everything is sent"]).await?;
    hall.stop().await?;
    let (state, copy) = (hall.folder.join("state"), hall.folder.join("copy"));
    copy_tree(&state, &copy)?;

    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    for note in ["After the copy", "The last one"] {
        hall.chart(name, "vitals", &vitals(note)).await?;
    }
    hall.page_says(&path, &["The last one", "Everything is sent"]).await?;
    hall.stop().await?;
    std::fs::remove_dir_all(&state)?;
    copy_tree(&copy, &state)?;

    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("From the older copy")).await?;
    let all = ["Before the copy", "After the copy", "The last one", "From the older copy"];
    hall.page_says(&path, &[&all[..], &["Everything is sent"]].concat()).await?;
    scene.has_notes(id, &all.map(ToOwned::to_owned)).await?;
    assert!(hall.log().contains("made anew under a new incarnation"), "{}", hall.log());
    // And it is a device like any other from then on.
    hall.chart(name, "vitals", &vitals("And on")).await?;
    hall.page_says(&path, &["And on", "Everything is sent"]).await?;
    let words = hall.get(&path).await?.words();
    assert!(all.iter().all(|note| words.matches(note).count() == 1), "each once: {words}");
    assert_eq!(hall.command(&["status"]).await?.0, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_listed_and_taken_out_beside_the_running_agent_and_without_it() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    hall.chart(name, "vitals", &vitals("Kept here")).await?;

    let (code, list) = hall.command(&["queue", "list", "--json"]).await?;
    let listed: Value = serde_json::from_str(&list)?;
    assert_eq!(
        (code, &listed["waiting"], &listed["rejected"]),
        (0, &Value::from(1), &Value::from(0)),
        "{list}"
    );
    let n = listed["entries"][0]["n"].to_string();
    assert!(!list.contains("Kept here"), "a list is no health data: {list}");

    let (code, words) = hall.command(&["queue", "retry", &n]).await?;
    assert!(code == 1 && words.contains("not a rejected one"), "{code}: {words}");
    let file = hall.folder.join("taken.json");
    let to = file.display().to_string();
    // What fails, or has nothing to take out, leaves no file that would pass for one.
    let (code, words) = hall.command(&["queue", "export", &n, "999", "--to", &to]).await?;
    assert!(code == 1 && words.contains("999") && !file.exists(), "{code}: {words}");
    let (code, words) = hall.command(&["queue", "export", "--all", "--to", &to]).await?;
    assert!(code == 0 && words.contains("nothing to export") && !file.exists(), "{code}: {words}");
    let (code, words) = hall.command(&["queue", "export", &n, "--to", &to]).await?;
    assert!(code == 0 && words.contains("health data"), "{code}: {words}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    let taken: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    assert_eq!(taken[0]["payload"]["fields"]["note"], "Kept here");
    let (code, words) = hall.command(&["queue", "export", &n, "--to", &to]).await?;
    assert!(code == 1 && words.contains("not there yet"), "nothing is written over: {words}");

    hall.stop().await?;
    let (code, words) = hall.command(&["queue", "export", &n]).await?;
    assert!(code == 0 && words.contains("Kept here"), "{code}: {words}");
    hall.link.restore();
    hall.start().await?;
    scene.has_notes(id, &["Kept here".to_owned()]).await?;
    // That it was taken out is on the server's record too, both times.
    let admin = &scene.facility.organization.admin;
    until("the audit of both exports", PATIENCE, || async {
        let found = admin.get(&format!("/api/v1/audit-events?limit=1000&patient_id={id}")).await?;
        let text = found.to_string();
        anyhow::ensure!(text.matches("carepost-agent queue export").count() >= 2, "not yet: {text}");
        Ok(())
    })
    .await?;
    Ok(())
}
