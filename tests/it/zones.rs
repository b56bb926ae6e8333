//! A facility's time zone: its pages and forms go by it on every device, whatever the device's own is.

use anyhow::{Context as _, Result};
use carepost_protocol::day;
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::{WallClock, Zone};
use carepost_tests::browser::Browser;
use carepost_tests::clock;
use carepost_tests::device::Device;
use carepost_tests::kiosk::Kiosk;
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Terminal, by_clock};

/// What is asked about that hour once it is that long ago.
const LONG_AGO: &str = "seen_at: Seen at 11/01/2026 01:30 is more than a year ago: check the year";

fn chicago() -> Zone {
    Zone::named("America/Chicago").unwrap()
}

/// The latest moment before now at which clocks in Chicago showed 22:30.
fn half_past_ten() -> Result<i64> {
    let minute = clock::now()? / 60 * 60;
    let mut minutes = (0..1_500).map(|back| minute - back * 60);
    let shows = |unix: i64| chicago().clock(Timestamp::from_millis(unix * 1_000)).time == "22:30:00";
    minutes.find(|unix| shows(*unix)).context("no 22:30 within a day")
}

/// Publishes a form that asks for a time.
async fn publish_rounds(scene: &Scene) -> Result<()> {
    let field = json!({"key": "seen_at", "label": "Seen at", "type": "datetime", "required": true});
    let rounds = json!({"key": "rounds", "label": "Rounds", "fields": [field]});
    scene.facility.organization.admin.post("/api/v1/workflows", &rounds).await.map(drop)
}

async fn set(scene: &Scene, zone: Option<&str>) -> Result<()> {
    let path = format!("/api/v1/facilities/{}", scene.facility.id);
    let changed = scene.facility.organization.admin.put(&path, &json!({"time_zone": zone})).await?;
    assert_eq!(changed["time_zone"], json!(zone));
    assert_eq!(changed["time_zone_note"].is_null(), zone.is_some(), "{changed}");
    Ok(())
}

/// A kiosk on a machine that is set to another zone.
async fn kiosk_in(scene: &Scene, name: &str, zone: &'static str) -> Result<Kiosk> {
    let mut kiosk = scene.kiosk(name).await?;
    kiosk.stop().await?;
    kiosk.time_zone = Some(zone);
    kiosk.start().await?;
    kiosk.status_is("link", "ONLINE").await?;
    Ok(kiosk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_in_utc_shows_and_asks_for_the_facilitys_time() -> Result<()> {
    let folder = TempDir::new()?;
    let late = half_past_ten()?;
    for name in ["server", "hall", "wing"] {
        clock::set(&folder.path().join(name), late)?;
    }
    let scene = Scene::within(folder, 1).await?;
    publish_rounds(&scene).await?;
    let (name, id) = scene.resident()?;
    let hall = kiosk_in(&scene, "hall", "UTC").await?;
    let wing = kiosk_in(&scene, "wing", "Asia/Kathmandu").await?;
    hall.status_is("time_zone", "America/Chicago").await?;

    // What was charted at half past ten reads so on every device, without a script and with one.
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Late")).await?;
    let records = scene.facility.has_records(id, 1).await?;
    let made: Timestamp = records[0]["recorded_at"].as_str().context("no time")?.parse()?;
    let WallClock { day: on, time, of, .. } = chicago().clock(made);
    let shown = format!("{} {} {of}", day::shown(&on), time.get(..5).context("no time")?);
    assert!(shown.contains(" 22:") && !Zone::UTC.clock(made).time.starts_with("22:"), "{shown}");
    let path = format!("/residents/{id}");
    hall.page_says(&path, &[&shown]).await?;
    wing.sign_in(&scene.nora).await?;
    wing.page_says(&path, &[&shown]).await?;
    let page = Browser::open(1280, 800).await?;
    shows_in_a_browser(&page, &hall, &path, made).await?;

    // The hour that does not exist is refused, the one that is there twice is asked.
    let rounds = format!("{path}/chart/rounds");
    let refused = hall.fill_in(&rounds, &[("seen_at", "2026-03-08T02:30")]).await?;
    assert!(
        refused.status == 422 && refused.words().contains("there is no such time"),
        "{}",
        refused.words()
    );
    let asked = hall.fill_in(&rounds, &[("seen_at", "2026-11-01T01:30")]).await?;
    for words in ["comes twice", "First: daylight time (CDT)", "Second: standard time (CST)"] {
        assert!(asked.status == 422 && asked.words().contains(words), "no {words:?}: {}", asked.words());
    }
    let times = ["2026-11-01T01:30-05:00", "2026-11-01T01:30-06:00"];
    let answers = [("seen_at", "2026-11-01T01:30"), ("_offset_seen_at", times[0]), ("_confirmed", LONG_AGO)];
    let saved = hall.fill_in(&rounds, &answers).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    chooses_the_second(&page, &format!("{}{rounds}", hall.address())).await?;
    let records = scene.facility.has_records(id, 3).await?;
    let mut stored: Vec<&str> =
        records.iter().filter_map(|record| record["values"]["seen_at"].as_str()).collect();
    stored.sort_unstable();
    assert_eq!(stored, times);
    wing.page_says(&path, &["11/01/2026 01:30 CDT", "11/01/2026 01:30 CST"]).await?;
    page.close().await
}

/// The page of a real browser, whose own zone is this machine's, shows that moment in Chicago's time.
async fn shows_in_a_browser(page: &Browser, kiosk: &Kiosk, path: &str, made: Timestamp) -> Result<()> {
    page.goto(&kiosk.address()).await?;
    page.goto(&format!("{}{path}", kiosk.address())).await?;
    let time = chicago().clock(made).time;
    page.sees(&[time.get(..5).context("no time")?]).await?;
    let zone = page.script("return document.body.dataset.zone").await?;
    assert_eq!(zone, json!("America/Chicago"));
    let complaints = page.complaints().await?;
    assert!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}

/// By touch: a time that comes twice, and that the later one is meant.
async fn chooses_the_second(page: &Browser, form: &str) -> Result<()> {
    page.goto(form).await?;
    page.script("document.querySelector('[name=seen_at]').value = '2026-11-01T01:30'").await?;
    page.touch_words("Save").await?;
    page.sees(&["comes twice"]).await?;
    let confirm = format!("<input type=hidden name=_confirmed value='{LONG_AGO}'>");
    let ahead =
        format!("document.querySelector('[name=seen_at]').insertAdjacentHTML('afterend', \"{confirm}\")");
    page.script(&ahead).await?;
    page.touch_words("Second: standard time (CST)").await?;
    page.touch_words("Save").await?;
    page.sees(&["The entry is safe on this device", "11/01/2026 01:30 CST"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn until_somebody_sets_a_zone_the_devices_own_counts_and_its_page_says_so() -> Result<()> {
    let scene = Scene::new(1).await?;
    set(&scene, None).await?;
    publish_rounds(&scene).await?;
    let (name, id) = scene.resident()?;
    let hall = kiosk_in(&scene, "hall", "Pacific/Auckland").await?;
    let own = "times are this device's own (Pacific/Auckland). Ask an administrator to set it.";
    hall.says(&["This facility's time zone is not set", own]).await?;
    let trouble = hall.status().await?["time_zone_trouble"].clone();
    assert!(trouble.as_str().is_some_and(|words| words.contains(own)), "{trouble}");
    hall.sign_in(&scene.nora).await?;
    let confirmed = "seen_at: Seen at 07/14/2026 22:30 is more than a year ago: check the year";
    hall.chart(name, "rounds", &[("seen_at", "2026-07-14T22:30"), ("_confirmed", confirmed)]).await?;
    let records = scene.facility.has_records(id, 1).await?;
    assert_eq!(records[0]["values"]["seen_at"], "2026-07-14T22:30+12:00");
    let path = format!("/residents/{id}");
    hall.page_says(&path, &["07/14/2026 22:30", own]).await?;

    // Once it is set the page follows, and what was charted before keeps its moment.
    set(&scene, Some("America/Chicago")).await?;
    hall.status_is("time_zone", "America/Chicago").await?;
    let shown = "07/14/2026 05:30 (charted as 07/14/2026 22:30 UTC+12:00)";
    let page = hall.page_says(&path, &[shown]).await?;
    assert!(!page.contains("time zone"), "{page}");

    // An agent that knows no zones says none, and is heard.
    let old = Device::enroll(
        &scene.folder_of("old"),
        &scene.server,
        scene.server.devices.port(),
        &scene.facility,
        "old",
    )
    .await?;
    let nora = old.nurse(scene.nora.id.parse()?);
    let fields = json!({"seen_at": "2026-03-08T02:30"}).as_object().cloned().unwrap_or_default();
    let mut change = old.vitals(&nora, id.parse()?, fields);
    change.workflow = Some("rounds".to_owned());
    old.save(&nora, &change)?;
    old.push_all().await?;
    let records = scene.facility.has_records(id, 2).await?;
    assert!(records.iter().any(|it| it["values"]["seen_at"] == "2026-03-08T02:30"), "{records:?}");
    hall.page_says(&path, &["03/08/2026 02:30"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sets_the_zone_and_reads_the_audit_log_in_it() -> Result<()> {
    let scene = Scene::new(1).await?;
    let session = scene.folder.path().join("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;

    // A zone that nobody knows is refused with words, by API and command line.
    let (code, _, error) = terminal.types(&["facility", "time-zone", "Riverside", "Mars/Olympus"]).await?;
    assert!(code == 1 && error.contains("IANA name, such as America/Chicago"), "{code}: {error}");
    let admin = &scene.facility.organization.admin;
    let path = format!("/api/v1/facilities/{}", scene.facility.id);
    let refused = admin.call(Method::PUT, &path, Some(&json!({"time_zone": "CDT"}))).await?;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("time_zone")));

    set(&scene, None).await?;

    // While none is set its address proposes one, to be checked where the state has several.
    let texan = ["facility", "create", "Lone Star", "--type", "ALF", "--state", "TX"];
    let (code, out, note) = terminal.types(&texan).await?;
    assert_eq!(code, 0, "{note}");
    assert!(out.contains("America/Chicago") && note.contains("so check it"), "{out}{note}");
    let made = admin.put(&path, &json!({"address": {"city": "Springfield", "state": "Illinois"}})).await?;
    assert_eq!((&made["proposed_time_zone"], &made["time_zone"]), (&json!("America/Chicago"), &Value::Null));
    assert!(!made["time_zone_note"].to_string().contains("check it"), "{made}");

    let changed = terminal.does(&["facility", "time-zone", "Riverside", "america/chicago"]).await?;
    assert_eq!(
        (&changed["time_zone"], &changed["proposed_time_zone"]),
        (&json!("America/Chicago"), &Value::Null)
    );
    let events = terminal.does(&["audit", "list"]).await?;
    let set = items(&events)?.into_iter().find(|event| event["details"]["time_zone"] == "America/Chicago");
    let at: Timestamp = set.context("not written down")?["timestamp"].as_str().context("no time")?.parse()?;
    let (_, table, _) = terminal.types(&["audit", "list"]).await?;
    let clock = chicago().clock(at);
    let words = format!("{} {} {}", clock.day, clock.time, clock.of);
    assert!(table.contains(&words), "no {words:?} in {table}");
    assert!(table.contains(" UTC"), "what happened in no facility: {table}");
    // Nor is any other table in another time than its facility's.
    terminal.does(&["device", "register", "Den", "--facility", "Riverside"]).await?;
    let registered = terminal.does(&["device", "show", "Den"]).await?;
    let (_, shown, _) = terminal.types(&["device", "show", "Den"]).await?;
    let expires = by_clock(&chicago(), &registered["token_expires_at"])?;
    assert!(shown.contains(&expires) && !shown.contains(" UTC"), "no {expires:?} in {shown}");
    let unset = terminal.does(&["facility", "time-zone", "Riverside"]).await?;
    assert_eq!(
        (&unset["time_zone"], &unset["proposed_time_zone"]),
        (&Value::Null, &json!("America/Chicago"))
    );
    Ok(())
}
