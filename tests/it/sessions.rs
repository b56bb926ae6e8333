//! The screen locks by itself, shows nothing behind the lock, and opens again for its nurse.

use anyhow::{Result, bail, ensure};
use carepost_tests::browser::Browser;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::Nurse;
use serde_json::json;

const SHORT: &str = "[session]\nscreen_lock = 5\nscreen_warning = 2\npin_grace = 20";

/// From here on a page hears of no pause in typing, after which it would keep a draft: all was typed just now.
const NO_PAUSE: &str = "
    const later = window.setTimeout;
    const isPause = wait => wait >= 300 && wait <= 1000;
    window.setTimeout = (act, wait, ...more) => isPause(wait) ? 1e9 : later(act, wait, ...more)";

/// Presses the undo of a lock once, where it is offered still; whether the page waits for a badge otherwise.
const UNDO: &str = "
    const form = document.querySelector('[action=\"/lock/undo\"]');
    const undo = form?.querySelector('button:not([data-pressed])');
    undo?.setAttribute('data-pressed', '');
    undo?.click();
    return form === null && document.body.innerText.includes('Tap your badge')";

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
async fn what_was_typed_just_before_the_form_went_is_kept_whatever_took_it_away() -> Result<()> {
    let scene = Scene::new(1).await?;
    let omar = scene.facility.nurse("Omar Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    let page = Browser::open(1280, 800).await?;
    page.goto(&hall.address()).await?;
    hall.sign_in(&scene.nora).await?;
    page.sees(&[name]).await?;
    page.goto(&format!("{}/residents/{id}/chart/vitals", hall.address())).await?;
    let types = async |pulse: &str| -> Result<()> {
        page.script(NO_PAUSE).await?;
        page.fill("[name=pulse]", pulse).await
    };
    let locks = async || -> Result<()> {
        page.touch(".lock").await?;
        page.sees(&["Tap your badge"]).await.map(drop)
    };
    let is_back = async |pulse: &str| comes_back_to(&page, &hall, &scene.nora, pulse).await;

    types("91").await?;
    locks().await?;
    is_back("91").await?;
    // Her own tap, which she takes back.
    types("92").await?;
    locks_by_her_tap(&page, &hall, &scene.nora).await?;
    is_back("92").await?;
    // Somebody else's, who works in between.
    types("93").await?;
    hall.tap(&omar.uid).await?;
    page.sees(&[&omar.name, "Enter your PIN"]).await?;
    hall.enter_pin(&omar.pin).await?;
    page.sees(&[&omar.name, name]).await?;
    hall.tap(&scene.nora.uid).await?;
    is_back("93").await?;
    // A save that is refused, and what is typed after it.
    types("710").await?;
    page.touch_words("Save").await?;
    page.sees(&["cannot be above 400"]).await?;
    locks().await?;
    is_back("710").await?;
    page.touch_words("Save").await?;
    page.sees(&["cannot be above 400"]).await?;
    types("94").await?;
    locks().await?;
    is_back("94").await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_being_left_takes_no_others_place() -> Result<()> {
    /// As if something had been pressed whose page is a long time in coming.
    const PRESSED: &str = "
        const pressed = performance.now();
        addEventListener('pagehide', () => sessionStorage.setItem('stayed', performance.now() - pressed));
        dispatchEvent(new Event('beforeunload'))";
    let scene = Scene::new(1).await?;
    let hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    let page = Browser::open(1280, 800).await?;
    page.goto(&hall.address()).await?;
    hall.sign_in(&scene.nora).await?;
    page.sees(&[name]).await?;
    page.goto(&format!("{}/residents/{id}/chart/vitals", hall.address())).await?;
    page.fill("[name=pulse]", "91").await?;
    locks_by_her_tap(&page, &hall, &scene.nora).await?;
    page.script(PRESSED).await?;
    // The page hears of what comes of it before what was pressed is there.
    hall.post("/lock/undo", &[]).await?;
    page.sees(&["You began this earlier"]).await?;
    let stayed = page.script("return Number(sessionStorage.getItem('stayed'))").await?;
    ensure!(stayed.as_f64().is_some_and(|stayed| stayed > 4_900.0), "it left after {stayed} ms");
    page.close().await
}

/// Her own badge locks the screen.
async fn locks_by_her_tap(page: &Browser, hall: &Kiosk, nurse: &Nurse) -> Result<()> {
    hall.tap_to(&nurse.uid, "locked").await?;
    page.sees(&["Tap your badge"]).await.map(drop)
}

/// Her badge, or the undo of her lock, opens the screen on her form as she left it.
async fn comes_back_to(page: &Browser, hall: &Kiosk, nurse: &Nurse, pulse: &str) -> Result<()> {
    until(&format!("her form with {pulse}"), PATIENCE, || async {
        if page.script(UNDO).await? == json!(true) {
            hall.tap_to(&nurse.uid, "open-").await?;
        }
        let text = page.text().await?;
        let held = page.script("return document.querySelector('[name=pulse]')?.value").await?;
        ensure!(held == json!(pulse) && text.contains("You began this earlier"), "{held}: {text}");
        Ok(())
    })
    .await
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
