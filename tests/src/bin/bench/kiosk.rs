//! A real agent on a kiosk with ten thousand records: its page, its badges, its appetite.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use carepost_tests::appetite::{cpu_seconds, peak_kib, rss_kib};
use carepost_tests::children::binary;
use carepost_tests::kiosk::{Badges, Kiosk};

use super::sync::Scene;
use super::table::{Figures, ms, quantile};
use super::{ROUNDS, floors};

const TAPS: usize = 100;
const SAVES: usize = 100;
/// How many nurses take turns, so that nobody taps again within a second of her last tap, which would be none.
const CREW: usize = 10;
const SIGN_INS: usize = 1_000;
const PAGES: usize = 10_000;

pub(crate) async fn measure(folder: &Path, scene: &Scene, figures: &mut Figures) -> Result<()> {
    let folder = folder.join("kiosk");
    let mut kiosk = Kiosk::hang(&folder, "Bench kiosk", &scene.server, None, Badges::Pcsc, "").await?;
    scene.facility.enroll(&kiosk).await?;
    kiosk.sign_in(&scene.nurse).await?;
    for _ in 0..ROUNDS {
        taps(&kiosk, scene, figures).await?;
        saves(&kiosk, scene, figures).await?;
    }
    for _ in 0..ROUNDS {
        kiosk.stop().await?;
        let started = Instant::now();
        kiosk.start().await?;
        figures.add("agent.start_to_page_ms", ms(started.elapsed()));
        pins(&kiosk, scene, figures).await?;
    }
    kiosk.stop().await?;
    // Whoever taps is asked for her PIN each time.
    kiosk.reconfigure("[badge]", "[session]\npin_grace = 0\n\n[badge]")?;
    kiosk.start().await?;
    idle(&kiosk, figures).await?;
    used(&kiosk, scene, figures).await?;
    #[allow(clippy::cast_precision_loss)]
    figures.add("agent.binary_mb", binary("carepost-agent")?.metadata()?.len() as f64 / 1e6);
    Ok(())
}

/// Own badge on the own locked screen: it resumes. What is timed ends when the page says so.
async fn taps(kiosk: &Kiosk, scene: &Scene, figures: &mut Figures) -> Result<()> {
    let (reader, mut waits) = (kiosk.reader()?, Vec::new());
    for _ in 0..TAPS / ROUNDS {
        kiosk.post("/lock", &[]).await?;
        until_state(kiosk, "locked").await?;
        // The same badge within a second is one tap.
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        let (tapping, uid) = (reader.clone(), scene.nurse.uid.clone());
        let mut page = kiosk.listen().await?;
        let started = Instant::now();
        tokio::task::spawn_blocking(move || tapping.present(&uid)).await??;
        page.until_says("open-").await?;
        waits.push(ms(started.elapsed()));
        let removing = reader.clone();
        tokio::task::spawn_blocking(move || removing.remove()).await??;
    }
    figures.add("tap_decision.p50_ms", quantile(&waits, 0.5).context("taps")?);
    figures.add("tap_decision.p99_ms", quantile(&waits, 0.99).context("taps")?);
    Ok(())
}

async fn pins(kiosk: &Kiosk, scene: &Scene, figures: &mut Figures) -> Result<()> {
    kiosk.says(&["Tap your badge"]).await?;
    until_reader(kiosk).await?;
    kiosk.tap(&scene.nurse.uid).await?;
    kiosk.says(&["Enter your PIN"]).await?;
    let started = Instant::now();
    kiosk.enter_pin(&scene.nurse.pin).await?;
    figures.add("pin_check.p50_ms", ms(started.elapsed()));
    kiosk.says(&[&scene.nurse.name, "Lock"]).await?;
    Ok(())
}

async fn saves(kiosk: &Kiosk, scene: &Scene, figures: &mut Figures) -> Result<()> {
    let resident = scene.residents.first().context("a resident")?;
    let path = format!("/residents/{resident}/chart/vitals");
    let form = kiosk.get(&path).await?;
    let (token, screen, version) =
        (form.hidden("_token")?, form.hidden("_screen")?, form.hidden("_version")?);
    let bare = floors::bare(&kiosk.folder.join("bare.db"))?;
    let (mut waits, mut commits) = (Vec::new(), Vec::new());
    let done: i64 = bare.query_row("SELECT count(*) FROM rows", [], |row| row.get(0))?;
    let done = usize::try_from(done)?;
    for at in 0..SAVES / ROUNDS {
        // Another token is another form.
        let token = format!("{}{:08x}", token.get(..24).context("token")?, done + at);
        // And other answers are another entry: nobody is asked whether it is meant.
        let (pulse, note) = ((60 + at).to_string(), (done + at).to_string());
        let answers = [
            ("_token", token.as_str()),
            ("_screen", screen.as_str()),
            ("_version", version.as_str()),
            ("systolic", "120"),
            ("diastolic", "80"),
            ("pulse", pulse.as_str()),
            ("note", note.as_str()),
        ];
        let started = Instant::now();
        let answer = kiosk.post(&path, &answers).await?;
        waits.push(ms(started.elapsed()));
        if answer.status != 303 {
            bail!("not saved: {}", answer.words());
        }
        commits.push(ms(floors::one(&bare, done + at, scene.body(at).context("a body")?)?));
    }
    figures.add("chart_saved.p50_ms", quantile(&waits, 0.5).context("saves")?);
    figures.add("chart_saved.p99_ms", quantile(&waits, 0.99).context("saves")?);
    figures.add("chart_saved.floor_ms", quantile(&commits, 0.5).context("commits")?);
    Ok(())
}

async fn idle(kiosk: &Kiosk, figures: &mut Figures) -> Result<()> {
    // First let it connect, catch up and send its heartbeat.
    let started = Instant::now();
    while kiosk.status().await?.get("link").is_none_or(|link| link != "ONLINE") {
        if started.elapsed() > Duration::from_secs(20) {
            bail!("the agent does not come online");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    settle().await;
    let before = cpu_seconds(kiosk.pid())?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    figures.add("agent.idle_cpu_pct", (cpu_seconds(kiosk.pid())? - before) * 10.0);
    figures.add("agent.rss_idle_mib", rss_kib(kiosk.pid())? / 1024.0);
    Ok(())
}

/// What is left in memory of a thousand PIN checks and of ten thousand pages.
async fn used(kiosk: &Kiosk, scene: &Scene, figures: &mut Figures) -> Result<()> {
    let mut crew = Vec::new();
    for at in 0..CREW {
        let (name, uid) = (format!("Crew Member {at}"), format!("04C{at:011X}"));
        crew.push(scene.facility.nurse(&name, "rn", "371640", &uid).await?);
    }
    for nurse in crew.iter().cycle().take(SIGN_INS) {
        kiosk.tap_until(&nurse.uid, &[&nurse.name, "Enter your PIN"]).await?;
        kiosk.enter_pin(&nurse.pin).await?;
        kiosk.says(&[&nurse.name, "Lock"]).await?;
    }
    let resident = scene.residents.first().context("a resident")?;
    let paths =
        ["/".to_owned(), format!("/residents/{resident}"), format!("/residents/{resident}/chart/vitals")];
    for path in paths.iter().cycle().take(PAGES) {
        let page = kiosk.get(path).await?;
        if page.status != 200 {
            bail!("{path}: {}", page.words());
        }
    }
    settle().await;
    figures.add("agent.rss_used_mib", rss_kib(kiosk.pid())? / 1024.0);
    figures.add("agent.rss_peak_mib", peak_kib(kiosk.pid())? / 1024.0);
    Ok(())
}

/// Threads that nobody needs end, and what was sent is answered.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

async fn until_state(kiosk: &Kiosk, key: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let page = kiosk.get("/").await?;
        if page.html.contains(&format!("data-screen=\"{key}")) {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(10) {
            bail!("the screen is not {key}: {}", page.words());
        }
    }
}

async fn until_reader(kiosk: &Kiosk) -> Result<()> {
    let started = Instant::now();
    while kiosk.status().await?.get("reader").is_none_or(|reader| reader != "READY") {
        if started.elapsed() > Duration::from_secs(10) {
            bail!("the reader is not ready");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
