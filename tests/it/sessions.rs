//! The screen locks by itself, shows nothing behind the lock, and opens again for its nurse.

use anyhow::{Result, bail};
use carepost_tests::children::until;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use serde_json::json;

const SHORT: &str = "[session]\nscreen_lock = 5\nscreen_warning = 2\npin_grace = 20";

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_screen_locks_hides_everything_and_resumes() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk_with("hall", Badges::Scripted, SHORT).await?;
    let (name, _) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    let form_path = format!("{path}/chart/vitals");
    let form = hall.get(&form_path).await?;
    let (screen, token) = (form.hidden("_screen")?, form.hidden("_token")?);
    let mut fields = vec![("_screen", screen.as_str()), ("_token", token.as_str())];
    fields.extend(vitals("Half a thought"));

    // Nobody touches it: a program that looks is not a touch.
    let mut listening = hall.listen().await?;
    listening.until_says("locked").await?;
    hall.says(&["Riverside", "Tap your badge"]).await?;
    nothing_readable(&hall, &scene, &[&path, &form_path]).await?;
    // What was typed when it locked is kept, and saved under nobody's name.
    assert_eq!(hall.post(&format!("{form_path}/draft"), &fields).await?.status, 204);
    assert_eq!(hall.post(&form_path, &fields).await?.location.as_deref(), Some("/"));

    // Within the grace her badge is enough.
    hall.tap(&scene.nora.uid).await?;
    hall.says(&["Nora Quist", "Lock"]).await?;
    assert!(hall.get(&form_path).await?.html.contains("Half a thought"));
    // After it, the PIN is asked again, and the draft is still hers.
    until("the end of the grace", PATIENCE * 2, || async {
        if hall.get("/").await?.words().contains("Enter your PIN") {
            return Ok(());
        }
        hall.says(&["Tap your badge"]).await?;
        hall.tap(&scene.nora.uid).await?;
        bail!("{}", hall.get("/").await?.words())
    })
    .await?;
    nothing_readable(&hall, &scene, &[&path, &form_path]).await?;
    hall.enter_pin(&scene.nora.pin).await?;
    hall.says(&["Nora Quist", "Lock"]).await?;
    assert!(hall.get(&form_path).await?.html.contains("Half a thought"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_switched_off_is_signed_out() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    let (name, _) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    let admin = &scene.facility.organization.admin;
    admin.put(&format!("/api/v1/users/{}", scene.nora.id), &json!({"is_active": false})).await?;
    hall.says(&["This account was switched off", "Tap your badge"]).await?;
    nothing_readable(&hall, &scene, &[&path]).await
}

/// Neither the start page nor any of these names a resident or shows a note.
async fn nothing_readable(hall: &Kiosk, scene: &Scene, paths: &[&str]) -> Result<()> {
    for path in ["/", "/status", "/status.json"].iter().chain(paths) {
        let page = hall.get(path).await?;
        for hidden in scene.residents.iter().map(|(name, _)| name.as_str()).chain(["Half a thought"]) {
            if page.html.contains(hidden) {
                bail!("{path} shows {hidden:?} on a locked screen: {}", page.words());
            }
        }
    }
    Ok(())
}
