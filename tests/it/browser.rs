//! The main job as it looks: a nurse in front of the kiosk's page, in a real browser, by touch.
//!
//! With `CAREPOST_SCREENSHOTS=1` its pictures become those of the README.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use carepost_protocol::day;
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::Zone;
use carepost_tests::browser::Browser;
use carepost_tests::children::until;
use carepost_tests::clock;
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, corrected_vitals, vitals};
use carepost_tests::world::{Nurse, Server};
use serde_json::json;
use tempfile::TempDir;

/// A wall kiosk's screen, a small one's on a Pi, and a phone's.
const WALL: (u32, u32) = (1280, 800);
const PI: (u32, u32) = (800, 480);
const PHONE: (u32, u32) = (390, 844);

#[tokio::test(flavor = "multi_thread")]
async fn a_nurse_uses_the_page_by_touch() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let album = Album::open(folder.path())?;
    let server = Server::start(&folder.path().join("server")).await?;
    let golden = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    golden.publish("vitals").await?;
    golden.publish("adl").await?;
    let riverside = golden.facility("Golden Years ALF - Riverside", "ALF", Some(48), 44).await?;
    let nora = riverside.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let omar = riverside.nurse("Omar Reyes", "caregiver", "371640", "04A1B2C3D4E5F7").await?;
    let people = residents("RS", 44, true);
    let ids = riverside.admit(&people).await?;
    let (id, name) = (ids[0].clone(), people[0].name.clone());

    // A device that is not enrolled shows a code; what follows comes by itself.
    let home = folder.path().join("hall");
    let kiosk = Kiosk::hang(&home, "Hall kiosk", &server, None, Badges::Pcsc, "").await?;
    let page = Browser::open(WALL.0, WALL.1).await?;
    page.goto(&kiosk.address()).await?;
    page.sees(&["Set up this device", &kiosk.pairing_code().await?]).await?;
    album.keep_each(&page, "enroll").await?;
    riverside.enroll(&kiosk).await?;
    page.sees(&[&riverside.name, "Tap your badge"]).await?;
    until("the first copy", PATIENCE, || async {
        let text = page.text().await?;
        if text.contains("still loading") { bail!("{text}") } else { Ok(()) }
    })
    .await?;
    album.keep_each(&page, "locked").await?;

    tap_and_touch_the_pin(&page, &kiosk, &nora, Some(&album)).await?;
    page.sees(&[&nora.name, "Room", &name, &people[43].name]).await?;
    album.keep_each(&page, "residents").await?;

    // A form by touch. What was typed comes back with what is wrong with it.
    page.touch(&format!("#r-{id}")).await?;
    page.touch("#chart-vitals").await?;
    page.fill("[name=systolic]", "128").await?;
    page.fill("[name=diastolic]", "77").await?;
    page.fill("[name=pulse]", "710").await?;
    page.touch_words("Save").await?;
    page.sees(&["Not saved yet", "1 answer needs correcting"]).await?;
    let fault = page.script(&beside("pulse", ".fault")).await?;
    assert!(fault.as_str().is_some_and(|words| words.contains("400")), "beside the pulse: {fault}");
    holds(&page, "systolic", "128").await?;
    album.keep_each(&page, "form").await?;

    // What is unlikely is asked about, on each size of screen, and can still be put right.
    page.fill("[name=pulse]", "71").await?;
    page.fill("[name=systolic]", "77").await?;
    page.fill("[name=diastolic]", "128").await?;
    page.touch_words("Save").await?;
    page.sees(&["Check it", "save as it is?", "are they swapped?", "Save as it is"]).await?;
    album.keep_each(&page, "asked").await?;
    page.fill("[name=systolic]", "128").await?;
    page.fill("[name=diastolic]", "77").await?;

    // The network goes, and the page says so while the form stays as it is.
    kiosk.link.cut();
    page.sees(&["Internet down since", "You can keep charting"]).await?;
    holds(&page, "diastolic", "77").await?;
    page.fill("[name=pulse]", "71").await?;
    page.touch_words("Lying").await?;
    page.fill("[name=note]", "After breakfast, in good spirits").await?;
    page.touch_words("Save").await?;
    page.sees(&["The entry is safe on this device", "128 mmHg", "Lying", "in good spirits"]).await?;
    page.sees(&["Internet down since", "1 entry waiting"]).await?;
    assert_eq!(page.script(MARK).await?, json!("Saved here"));
    album.keep_each(&page, "offline").await?;
    assert!(riverside.records(&id).await?.is_empty(), "it cannot be at the server yet");

    kiosk.link.restore();
    page.sees(&["Connected. Everything is sent."]).await?;
    until("the mark to change", PATIENCE, || async {
        let mark = page.script(MARK).await?;
        if mark == json!("Sent") { Ok(()) } else { bail!("it is {mark}") }
    })
    .await?;
    let records = riverside.has_records(&id, 1).await?;
    assert_eq!(records[0]["values"]["position"], "Lying");

    // Edit, correction: the forms open filled in, the earlier version is a touch away.
    page.touch("#edit").await?;
    page.sees(&["Edit resident", "Date of birth"]).await?;
    holds(&page, "name", &name).await?;
    album.keep_each(&page, "edit").await?;
    page.touch(".back").await?;
    page.touch("[id^=correct-]").await?;
    page.sees(&["You correct an entry"]).await?;
    holds(&page, "pulse", "71").await?;
    page.fill("[name=pulse]", "77").await?;
    page.fill("[name=_reason]", "Counted anew").await?;
    page.touch_words("Save").await?;
    page.sees(&["Corrected", "by Nora Quist", "Reason: Counted anew", "77 bpm", "1 earlier version"]).await?;
    page.touch("summary").await?;
    page.sees(&["71 bpm"]).await?;
    album.keep_each(&page, "corrected").await?;

    comes_back_to_what_she_typed(&page, &kiosk, &nora, &album).await?;
    admits_nobody_twice(&page, &name, &album).await?;
    discharges_and_undoes_it(&page, &id, &name, &album).await?;

    // Her own badge locks; nothing of a resident is left to read, nor to go back to.
    kiosk.tap(&nora.uid).await?;
    page.sees(&["Tap your badge", "Undo lock"]).await?;
    shows_nobody(&page, &name).await?;
    page.script("history.back()").await?;
    page.sees(&["Tap your badge"]).await?;
    shows_nobody(&page, &name).await?;

    tap_and_touch_the_pin(&page, &kiosk, &omar, None).await?;
    page.sees(&[&omar.name, &name]).await?;
    page.resize(PHONE.0, PHONE.1).await?;
    album.keep(&page, "phone").await?;
    let wide = page.script("return document.documentElement.scrollWidth > innerWidth").await?;
    assert_eq!(wide, json!(false), "a phone would have to scroll sideways");

    let complaints = page.complaints().await?;
    // The one answer that is meant to be no success, the form that came back, shows that it does complain.
    let (expected, unexpected): (Vec<_>, Vec<_>) =
        complaints.iter().partition(|it| it.contains("status of 422"));
    assert_eq!(expected.len(), 3, "{complaints:#?}");
    assert!(unexpected.is_empty(), "the browser complains: {unexpected:#?}");
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn she_sees_what_is_not_as_it_seems_before_she_decides() -> Result<()> {
    let scene = Scene::new(4).await?;
    let kiosk = scene.kiosk("hall").await?;
    let folder = TempDir::new()?;
    let album = Album::open(folder.path())?;
    let (name, id) = scene.resident()?;
    let (other, their) = &scene.residents[1];
    let admin = &scene.facility.organization.admin;
    let page = Browser::open(WALL.0, WALL.1).await?;
    let show = async |path: &str| page.goto(&format!("{}{path}", kiosk.address())).await;
    show("/").await?;
    kiosk.sign_in(&scene.nora).await?;
    page.sees(&[name]).await?;

    // Two who may be one person stand side by side before they are.
    let medicare = "1EG4-TE5-MK73";
    admin.put(&format!("/api/v1/patients/{id}"), &json!({"medicare": medicare})).await?;
    let twin = json!({"facility_id": scene.facility.id, "mrn": "TWIN-1", "name": name, "room": "399",
        "medicare": medicare});
    admin.admit(&twin).await?;
    page.sees(&["1 question needs a look"]).await?;
    show(&format!("/residents/{id}/chart/vitals")).await?;
    page.sees(&["needs a look", name, "Save"]).await?;
    page.resize(PI.0, PI.1).await?;
    let stays = page.script(STAYS).await?;
    let quarter = f64::from(PI.1) / 4.0;
    assert!(stays.as_f64().is_some_and(|height| height <= quarter), "{stays} pixels stay of {}", PI.1);
    page.resize(WALL.0, WALL.1).await?;
    page.touch("[id='to/reviews']").await?;
    page.sees(&["Is this one person?", "Two different people"]).await?;
    album.keep_each(&page, "reviews").await?;
    page.touch_words("Same person").await?;
    page.sees(&["Are they one person?", "differs", "Only the office can part them again"]).await?;
    album.keep_each(&page, "join").await?;
    page.touch("#join").await?;
    page.sees(&["Saved here: one person now", "Also admitted as"]).await?;

    // A number that is another's.
    let mrn = admin.get(&format!("/api/v1/patients/{id}")).await?["mrn"].as_str().context("none")?.to_owned();
    show(&format!("/residents/{their}/edit")).await?;
    page.fill("[name=mrn]", &mrn.to_lowercase()).await?;
    page.touch_words("Save").await?;
    page.sees(&["Not saved yet: who is this?", name, "Save with this MRN"]).await?;
    album.keep_each(&page, "number").await?;
    page.touch("#discard").await?;
    page.sees(&["Discarded: Edit resident"]).await?;

    // A form of what was corrected since.
    kiosk.chart(other, "vitals", &vitals("First look")).await?;
    let record = scene.facility.has_records(their, 1).await?[0]["id"].as_str().context("none")?.to_owned();
    let correct = format!("/residents/{their}/correct/{record}");
    let corrected = kiosk.fill_in(&correct, &corrected_vitals("Second look")).await?;
    assert_eq!(corrected.status, 303, "{}", corrected.words());
    show(&correct).await?;
    page.sees(&["This form is out of date", "Nora Quist corrected this entry"]).await?;
    album.keep_each(&page, "out-of-date").await?;
    page.touch_words("See what stands now").await?;
    page.sees(&["Second look", "1 earlier version"]).await?;

    // And of somebody who has left.
    show(&format!("/residents/{their}/discharge")).await?;
    page.touch(".save .primary").await?;
    page.sees(&["Discharged.", "Undo"]).await?;
    page.touch("#chart-vitals").await?;
    page.sees(&["Discharged. Check that this is the right person"]).await?;
    album.keep_each(&page, "late").await?;
    show(&format!("/residents/{their}/discharge")).await?;
    page.sees(&["discharged already", "Open the resident's page"]).await?;
    // Her badge locks a refusal away like any other page.
    kiosk.tap(&scene.nora.uid).await?;
    page.sees(&["Tap your badge"]).await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pressed_is_not_taken_away_under_the_finger() -> Result<()> {
    /// Has the page pressed while it is read anew, and counts how often it was.
    const PRESSED_MEANWHILE: &str =
        "const [ask, parse] = [window.fetch, DOMParser.prototype.parseFromString];
        [window.read, window.pressed] = [0, document.getElementById('chart-vitals')];
        window.fetch = async (...of) => {
            const reply = await ask(...of);
            dispatchEvent(new Event('pointerdown'));
            return reply;
        };
        DOMParser.prototype.parseFromString = function (...of) {
            window.read += 1;
            return parse.apply(this, of);
        };
        window.letGo = () => {
            window.fetch = ask;
            dispatchEvent(new Event('pointerup'));
        };";
    let scene = Scene::new(1).await?;
    let kiosk = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    let page = Browser::open(WALL.0, WALL.1).await?;
    page.goto(&kiosk.address()).await?;
    kiosk.sign_in(&scene.nora).await?;
    page.sees(&[name]).await?;
    page.goto(&format!("{}/residents/{id}", kiosk.address())).await?;
    page.sees(&["Vitals"]).await?;
    page.script(PRESSED_MEANWHILE).await?;
    kiosk.chart(name, "vitals", &vitals("Seen by another")).await?;
    until("the page to be read anew", PATIENCE, || async {
        ensure!(page.script("return window.read > 0").await? == json!(true), "it is not");
        Ok(())
    })
    .await?;
    assert_eq!(page.script("return window.pressed.isConnected").await?, json!(true), "it is gone");
    page.script("window.letGo()").await?;
    page.sees(&["Seen by another"]).await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_typed_day_or_time_comes_back_as_it_was_typed_and_is_never_saved_as_none() -> Result<()> {
    let scene = Scene::new(1).await?;
    let fields = json!([{"key": "seen_at", "label": "Seen at", "type": "datetime"},
        {"key": "next_on", "label": "Next on", "type": "date"}]);
    let rounds = json!({"key": "rounds", "label": "Rounds", "fields": fields});
    scene.facility.organization.admin.post("/api/v1/workflows", &rounds).await?;
    let kiosk = scene.kiosk("hall").await?;
    let page = before_a_form(&scene, &kiosk, "rounds").await?;
    page.fill("[name=seen_at]", "05/01/2026").await?;
    page.fill("[name=next_on]", "05/").await?;
    page.sees(&["Unfinished answers are kept"]).await?;
    locks_and_returns(&page, &kiosk, &scene.nora).await?;
    let token = page.script("return document.querySelector('[name=_token]').value").await?;
    page.touch_words("Save").await?;
    page.sees(&["Not saved yet", "2 answers need correcting"]).await?;
    for (field, typed, words) in
        [("seen_at", "05/01/2026", "finish the time"), ("next_on", "05/", "give a date such as")]
    {
        holds(&page, field, typed).await?;
        let fault = page.script(&beside(field, ".fault")).await?;
        let said = fault.as_str().is_some_and(|said| said.to_lowercase().contains(words));
        assert!(said, "beside {field}: {fault}");
    }
    assert_eq!(page.script("return document.querySelector('[name=_token]').value").await?, token);
    assert_eq!(page.script("return document.querySelector('[autofocus]').name").await?, json!("seen_at"));
    assert!(scene.facility.records(scene.resident()?.1).await?.is_empty(), "it is not saved");
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_typed_alone_is_written_out_once_and_is_that_moment_from_then_on() -> Result<()> {
    let scene = Scene::new(1).await?;
    let fields = json!([{"key": "seen_at", "label": "Seen at", "type": "datetime"},
        {"key": "note", "label": "Note", "type": "string"}]);
    let rounds = json!({"key": "rounds", "label": "Rounds", "fields": fields});
    scene.facility.organization.admin.post("/api/v1/workflows", &rounds).await?;
    let kiosk = scene.kiosk("hall").await?;
    let page = before_a_form(&scene, &kiosk, "rounds").await?;
    page.sees(&["Seen at", "Save"]).await?;

    // Ten past midnight at the facility, on a day that is over by now, so that nothing is yet to come for a save.
    let chicago = Zone::named("America/Chicago").context("no Chicago")?;
    let on = chicago.clock(Timestamp::from_millis((clock::now()? - 86_400) * 1_000)).day;
    let moment = |time: &str| chicago.settle(&format!("{on}T{time}"), None);
    let shown = day::shown(&on);
    page.script(&stands_at(&moment("00:10")?)).await?;
    for (typed, written) in
        [("now", "00:10"), ("12:05 am", "00:05"), ("0007", "00:07"), ("12am", "00:00"), ("12:09 AM", "00:09")]
    {
        leaves(&page, "seen_at", typed).await?;
        holds(&page, "seen_at", &format!("{shown} {written}")).await?;
    }
    // What may have been yesterday's is asked for its day, and waits as it was typed.
    leaves(&page, "seen_at", "23:50").await?;
    holds(&page, "seen_at", "23:50").await?;
    page.touch_words("Save").await?;
    page.sees(&["Not saved yet", "Write the day as well"]).await?;
    locks_and_returns(&page, &kiosk, &scene.nora).await?;
    holds(&page, "seen_at", "23:50").await?;

    // What was written out is the same when the draft is opened by another clock, and is what is saved.
    page.script(&stands_at(&moment("00:10")?)).await?;
    leaves(&page, "seen_at", "now").await?;
    holds(&page, "seen_at", &format!("{shown} 00:10")).await?;
    page.sees(&["Unfinished answers are kept"]).await?;
    locks_and_returns(&page, &kiosk, &scene.nora).await?;
    holds(&page, "seen_at", &format!("{shown} 00:10")).await?;
    page.touch_words("Save").await?;
    page.sees(&["The entry is safe on this device", &format!("{shown} 00:10")]).await?;
    let records = scene.facility.has_records(scene.resident()?.1, 1).await?;
    assert_eq!(records[0]["values"]["seen_at"], json!(moment("00:10")?));

    // A correction is of the entry's day, by today's clock.
    page.touch("[id^=correct-]").await?;
    holds(&page, "seen_at", &format!("{shown} 00:10")).await?;
    leaves(&page, "seen_at", "11:45 pm").await?;
    holds(&page, "seen_at", &format!("{shown} 23:45")).await?;
    page.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_form_leaves_the_screen_once_its_device_may_show_less() -> Result<()> {
    let scene = Scene::new(1).await?;
    let kiosk = scene.kiosk("hall").await?;
    let (name, _) = scene.resident()?;
    let page = before_a_form(&scene, &kiosk, "vitals").await?;
    page.fill("[name=pulse]", "71").await?;
    page.sees(&["Unfinished answers are kept"]).await?;
    let facility = format!("/api/v1/facilities/{}", scene.facility.id);
    scene.facility.organization.admin.put(&facility, &json!({"phi_mode": "minimal"})).await?;
    page.sees(&["Not finished, kept for you", "Vitals"]).await?;
    until("the name to leave the screen", PATIENCE, || async {
        let source = page.script("return document.documentElement.outerHTML").await?;
        if source.as_str().is_some_and(|source| source.contains(name)) { bail!("{source}") } else { Ok(()) }
    })
    .await?;
    page.touch("#continue-1").await?;
    holds(&page, "pulse", "71").await?;
    page.close().await
}

/// The wall's page, with a form for the first resident open before the nurse.
pub async fn before_a_form(scene: &Scene, kiosk: &Kiosk, workflow: &str) -> Result<Browser> {
    let (name, id) = scene.resident()?;
    let page = Browser::open(WALL.0, WALL.1).await?;
    page.goto(&kiosk.address()).await?;
    kiosk.sign_in(&scene.nora).await?;
    page.sees(&[name]).await?;
    page.touch(&format!("#r-{id}")).await?;
    page.touch(&format!("#chart-{workflow}")).await?;
    Ok(page)
}

/// What is typed is kept: she comes back to it, it is listed, and she discards it.
async fn comes_back_to_what_she_typed(
    page: &Browser,
    kiosk: &Kiosk,
    nora: &Nurse,
    album: &Album,
) -> Result<()> {
    page.touch("#chart-vitals").await?;
    page.fill("[name=pulse]", "88").await?;
    page.sees(&["Unfinished answers are kept"]).await?;
    locks_and_returns(page, kiosk, nora).await?;
    holds(page, "pulse", "88").await?;
    album.keep_each(page, "unfinished-form").await?;
    page.touch(".back").await?;
    page.sees(&["Not finished, kept for you", "Discard"]).await?;
    album.keep_each(page, "unfinished-resident").await?;
    page.touch(".back").await?;
    page.sees(&["Not finished, kept for you", "Vitals"]).await?;
    album.keep_each(page, "unfinished").await?;
    page.touch("#continue-1").await?;
    page.touch("#discard").await?;
    page.sees(&["Discarded: Vitals", "Undo"]).await?;
    album.keep_each(page, "discarded").await?;
    page.touch("#undo-discard").await?;
    holds(page, "pulse", "88").await?;
    page.touch("#discard").await?;
    page.sees(&["Discarded: Vitals"]).await?;
    page.touch(".back").await
}

/// Her badge locks the screen, and opens it on the form that she had begun.
async fn locks_and_returns(page: &Browser, kiosk: &Kiosk, nora: &Nurse) -> Result<()> {
    kiosk.tap_to(&nora.uid, "locked").await?;
    page.sees(&["Tap your badge"]).await?;
    kiosk.tap_to(&nora.uid, "open-").await?;
    page.sees(&["You began this earlier"]).await.map(drop)
}

/// Somebody is found, and would be admitted again.
async fn admits_nobody_twice(page: &Browser, name: &str, album: &Album) -> Result<()> {
    let folded = name.to_lowercase().split(' ').rev().collect::<Vec<_>>().join(" ");
    page.fill("#find", &folded).await?;
    page.touch_words("Find").await?;
    page.sees(&["Search results", name]).await?;
    album.keep_each(page, "found").await?;
    page.touch("#admit").await?;
    page.fill("[name=name]", &folded).await?;
    page.fill("[name=room]", "399").await?;
    page.touch_words("Save").await?;
    page.sees(&["Not saved yet: who is this?", name, "Same person", "Different person"]).await?;
    album.keep_each(page, "alike").await?;
    page.touch_words("Same person").await?;
    page.sees(&["Nobody new was admitted", "Edit resident"]).await?;
    album.keep_each(page, "known").await?;
    page.touch("#continue-1").await?;
    holds(page, "room", "399").await?;
    page.touch("#discard").await?;
    page.sees(&["Discarded: Edit resident"]).await.map(drop)
}

async fn discharges_and_undoes_it(page: &Browser, id: &str, name: &str, album: &Album) -> Result<()> {
    page.touch("#discharge").await?;
    page.sees(&["leaves the list of residents", &format!("Discharge {name}")]).await?;
    for (width, height) in [PI, (PI.0, 430)] {
        page.resize(width, height).await?;
        let whole = "document.querySelector('main').scrollTop = 0;
            return document.querySelector('.save .primary').getBoundingClientRect().bottom <= innerHeight";
        assert_eq!(page.script(whole).await?, json!(true), "cut at the lower edge of {height} pixels");
    }
    album.keep_each(page, "discharge").await?;
    page.touch(".save .primary").await?;
    page.sees(&["Discharged.", "Undo"]).await?;
    album.keep_each(page, "discharged").await?;
    page.touch("#undo").await?;
    page.sees(&["Saved here", "Discharge"]).await?;
    page.touch("#back").await?;
    page.touch(&format!("#r-{id}")).await
}

/// The buttons of a page that cannot be brought onto the screen whole, with nothing before them.
const CUT: &str = "
    const scrolled = [...document.querySelectorAll('html, main, .letters')].map(it => [it, it.scrollLeft, it.scrollTop]);
    const cut = [...document.querySelectorAll('button, a:not(.skip), summary')].filter(it => {
        if (!it.checkVisibility()) return false;
        it.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
        const at = it.getBoundingClientRect();
        const seen = (x, y) => {
            const there = document.elementFromPoint(x, y);
            return it.contains(there);
        };
        const inside = at.left > -1 && at.top > -1 && at.right < innerWidth + 1 && at.bottom < innerHeight + 1;
        return !inside || ![[.5, .5], [.5, .1], [.5, .9], [.1, .5], [.9, .5]].every(
            ([right, down]) => seen(at.left + at.width * right, at.top + at.height * down));
    }).map(it => it.id || it.innerText);
    scrolled.forEach(([it, left, top]) => it.scrollTo({left, top, behavior: 'instant'}));
    return cut";

/// How much of a page that was scrolled to its end its head still takes; none where the resident's name or the lock is
/// not seen there.
const STAYS: &str = "
    document.querySelectorAll('html, main').forEach(it => it.scrollTo({top: 1e6, behavior: 'instant'}));
    const at = it => it.getBoundingClientRect();
    const seen = it => it.contains(document.elementFromPoint(at(it).left + 9, at(it).top + at(it).height / 2));
    if (![...document.querySelectorAll('.resident h1, .lock')].every(seen)) return null;
    return Math.max(...[...document.querySelectorAll('.state, .who, .resident')].map(it => at(it).bottom))";

const MARK: &str = "return document.querySelector('.entries .mark').innerText.trim()";

/// Waits until a field has that value: a page that is on its way has no such field yet.
async fn holds(page: &Browser, field: &str, value: &str) -> Result<()> {
    let script = format!("return document.querySelector('[name={field}]').value");
    until(&format!("{value:?} in {field}"), PATIENCE, || async {
        let found = page.script(&script).await?;
        if found == json!(value) { Ok(()) } else { bail!("{found}") }
    })
    .await
}

/// Types into a field, and leaves it for the note's.
async fn leaves(page: &Browser, field: &str, typed: &str) -> Result<()> {
    page.fill(&format!("[name={field}]"), typed).await?;
    page.touch("[name=note]").await
}

/// Has the page's clock stand at a moment.
fn stands_at(moment: &str) -> String {
    format!(
        "const Real = Date;
        window.Date = class extends Real {{
            constructor(...of) {{ super(...(of.length ? of : ['{moment}'])); }}
        }}"
    )
}

fn beside(field: &str, what: &str) -> String {
    format!(
        "return document.querySelector('[name={field}]').closest('.field').querySelector('{what}').innerText"
    )
}

async fn tap_and_touch_the_pin(
    page: &Browser,
    kiosk: &Kiosk,
    nurse: &Nurse,
    album: Option<&Album>,
) -> Result<()> {
    kiosk.tap(&nurse.uid).await?;
    page.sees(&[&nurse.name, "Enter your PIN"]).await?;
    for (at, digit) in nurse.pin.chars().enumerate() {
        if let Some(album) = album.filter(|_| at == 4) {
            album.keep_each(page, "pin").await?;
        }
        page.touch(&format!("[data-digit='{digit}']")).await?;
    }
    page.touch(".keys .primary").await
}

async fn shows_nobody(page: &Browser, name: &str) -> Result<()> {
    let source = page.script("return document.documentElement.outerHTML").await?;
    let source = source.as_str().context("no page")?;
    assert!(!source.contains(name) && !source.contains("good spirits"), "{source}");
    Ok(())
}

/// Where pictures go: into the documentation when that is asked for, else away.
struct Album(PathBuf);

impl Album {
    fn open(folder: &Path) -> Result<Self> {
        let wanted = std::env::var("CAREPOST_SCREENSHOTS").is_ok_and(|value| value == "1");
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots");
        let album = if wanted { readme } else { folder.join("screenshots") };
        std::fs::create_dir_all(&album)?;
        Ok(Self(album))
    }

    /// On each size of screen, none of which scrolls sideways or hides a button.
    async fn keep_each(&self, page: &Browser, name: &str) -> Result<()> {
        for (end, (width, height)) in [("-pi", PI), ("-phone", PHONE), ("", WALL)] {
            page.resize(width, height).await?;
            let fits = "return document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(page.script(fits).await?, json!(true), "{name}{end} scrolls sideways");
            assert_eq!(page.script(CUT).await?, json!([]), "{name}{end}: buttons that are not seen whole");
            self.keep(page, &format!("{name}{end}")).await?;
        }
        Ok(())
    }

    async fn keep(&self, page: &Browser, name: &str) -> Result<()> {
        page.screenshot(&self.0.join(format!("{name}.png"))).await
    }
}
