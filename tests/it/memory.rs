//! What an agent takes in memory does not grow with what people do at its page.

use anyhow::{Result, ensure};
use carepost_tests::appetite::own_kib;
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::scene::Scene;
use carepost_tests::world::Nurse;

/// Whoever taps is asked for her PIN each time.
const NO_GRACE: &str = "[session]\npin_grace = 0";

/// Signs in after one wrong PIN, and looks at a resident.
async fn works(kiosk: &Kiosk, nurse: &Nurse, resident: &str) -> Result<()> {
    kiosk.tap_until(&nurse.uid, &[&nurse.name, "Enter your PIN"]).await?;
    kiosk.enter_pin("000000").await?;
    kiosk.enter_pin(&nurse.pin).await?;
    kiosk.says(&[&nurse.name, "Lock"]).await?;
    for path in ["/", &format!("/residents/{resident}"), &format!("/residents/{resident}/chart/vitals")] {
        for _ in 0..10 {
            let page = kiosk.get(path).await?;
            ensure!(page.status == 200, "{path}: {}", page.words());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pin_checks_and_pages_took_the_system_has_back() -> Result<()> {
    let scene = Scene::new(3).await?;
    let olga = scene.facility.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let (_, resident) = scene.resident()?;
    let hall = scene.kiosk_with("hall", Badges::Scripted, NO_GRACE).await?;
    works(&hall, &scene.nora, resident).await?;
    let before = own_kib(hall.pid())?;
    ensure!(before < 24.0 * 1024.0, "{before} KiB after the first sign-in");
    // Ten wrong PINs would make the kiosk pause.
    for _ in 0..4 {
        works(&hall, &olga, resident).await?;
        works(&hall, &scene.nora, resident).await?;
    }
    let after = own_kib(hall.pid())?;
    // A single check works in 19 MiB.
    ensure!(after < before + 8.0 * 1024.0, "{before} KiB became {after}");
    Ok(())
}
