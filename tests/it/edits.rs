//! Residents and corrections on kiosks: made offline, met by somebody else's, and decided at a screen.

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, corrected_vitals, vitals};

#[tokio::test(flavor = "multi_thread")]
async fn what_two_kiosks_did_apart_comes_together_and_is_decided_at_a_screen() -> Result<()> {
    let scene = Scene::new(3).await?;
    let olga = scene.facility.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let (name, id) = scene.resident()?;
    let (hall, wing) = (scene.kiosk("hall").await?, scene.kiosk("wing").await?);
    hall.sign_in(&scene.nora).await?;
    wing.sign_in(&olga).await?;
    for kiosk in [&hall, &wing] {
        kiosk.link.cut();
        kiosk.status_is("link", "OFFLINE").await?;
    }

    // Offline, somebody moves in and is charted on at once; a resident is moved twice.
    let admitted = hall.fill_in("/admit", &[("name", "Nina Example"), ("room", "201")]).await?;
    assert_eq!(admitted.status, 303, "{}", admitted.words());
    hall.says(&["Nina Example", "Saved here"]).await?;
    hall.chart("Nina Example", "vitals", &vitals("first evening")).await?;
    move_to(&hall, name, id, "301").await?;
    move_to(&wing, name, id, "302").await?;
    hall.link.restore();
    hall.status_is("waiting", 0).await?;
    wing.link.restore();
    wing.status_is("waiting", 0).await?;

    // What was charted about her is on the other kiosk, and is corrected there.
    let nina = wing.path_of("Nina Example").await?;
    wing.page_says(&nina, &["first evening"]).await?;
    let correct = link(&wing, &nina, "/correct/").await?;
    let corrected = wing.fill_in(&correct, &corrected_vitals("second look")).await?;
    assert_eq!(corrected.status, 303, "{}", corrected.words());
    for kiosk in [&wing, &hall] {
        let said = kiosk.page_says(&nina, &["second look", "by Olga Reyes", "1 earlier version"]).await?;
        let (counts, earlier) = said.split_once("1 earlier version").context("nothing is earlier")?;
        assert!(!counts.contains("first evening") && earlier.contains("first evening"), "{said}");
    }

    // Both rooms were kept; whoever looks chooses, and everybody has it.
    hall.says(&["1 question needs a look"]).await?;
    let page = hall.get("/reviews").await?;
    for words in
        ["Two different values were saved", name, "301", "302", "Nora Quist ·", "Olga Reyes ·", "shown now"]
    {
        assert!(page.words().contains(words), "no {words:?} in {}", page.words());
    }
    let review = link(&hall, "/reviews", "/reviews/").await?;
    let values = page.html.split("<b>").skip(1).map(|rest| rest.split('<').next().unwrap_or_default());
    let first = values.clone().position(|value| value == "301").context("301 is not to choose")?.to_string();
    let hidden = ["_screen", "_token", "_base"].map(|field| (field, page.hidden(field).unwrap_or_default()));
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let open = hall.post(&review, &fields).await?;
    assert_eq!(open.status, 422, "nothing was chosen: {}", open.words());
    fields.push(("room", &first));
    let closed = hall.post(&review, &fields).await?;
    assert_eq!(closed.status, 303, "{}", closed.words());
    hall.page_says("/reviews", &["Nothing needs a look now"]).await?;
    wing.page_says("/reviews", &["Nothing needs a look now"]).await?;
    for kiosk in [&hall, &wing] {
        kiosk.page_says(&format!("/residents/{id}"), &["Room 301"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_admitted_on_two_kiosks_is_one_on_both_with_all_that_was_charted() -> Result<()> {
    let scene = Scene::new(2).await?;
    let olga = scene.facility.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let (hall, wing) = (scene.kiosk("hall").await?, scene.kiosk("wing").await?);
    hall.sign_in(&scene.nora).await?;
    wing.sign_in(&olga).await?;
    for (kiosk, room, note) in [(&hall, "201", "from the hall"), (&wing, "202", "from the wing")] {
        kiosk.link.cut();
        kiosk.status_is("link", "OFFLINE").await?;
        let admitted = kiosk.fill_in("/admit", &[("name", "Nina Example"), ("room", room)]).await?;
        assert_eq!(admitted.status, 303, "neither knows of the other: {}", admitted.words());
        kiosk.chart("Nina Example", "vitals", &vitals(note)).await?;
    }
    hall.link.restore();
    hall.status_is("waiting", 0).await?;
    wing.link.restore();
    wing.status_is("waiting", 0).await?;
    let twice = [hall.says(&["201", "202"]).await?, wing.says(&["201", "202"]).await?];
    assert!(twice.iter().all(|list| list.matches("Nina Example").count() == 2), "{twice:?}");

    hall.says(&["1 question needs a look"]).await?;
    let ask = link(&hall, "/reviews", "/same/").await?;
    let page = hall.get(&ask).await?;
    let words = page.words();
    assert!(
        words.contains("Only the office can part them again") && words.contains("Room differs"),
        "{words}"
    );
    let hidden = ["_screen", "_token", "_base", "same_person"]
        .map(|field| (field, page.hidden(field).unwrap_or_default()));
    let fields: Vec<(&str, &str)> = hidden.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let joined = hall.post(ask.split("/same/").next().unwrap_or_default(), &fields).await?;
    let location = joined.location.clone().context("it leads nowhere")?;
    hall.page_says(&location, &["one person now", "Also admitted as", "from the hall", "from the wing"])
        .await?;
    for kiosk in [&hall, &wing] {
        kiosk.page_says("/reviews", &["Nothing needs a look now"]).await?;
        let path = kiosk.path_of("Nina Example").await?;
        kiosk.page_says(&path, &["Room 201", "Also admitted as", "from the hall", "from the wing"]).await?;
        let list = kiosk.get("/").await?.words();
        assert_eq!(list.matches("Nina Example").count(), 1, "{list}");
    }
    // The third time nobody is admitted.
    let again = wing.fill_in("/admit", &[("name", "Nina Example")]).await?;
    assert!(again.status == 422 && again.words().contains("Same person"), "{}", again.words());

    // The office reads of her whatever was charted of either, and both rows' charts were seen.
    let admin = &scene.facility.organization.admin;
    let all = admin.get("/api/v1/patients").await?;
    let rows = all["items"].as_array().context("no list")?.iter().filter(|row| row["name"] == "Nina Example");
    let (stays, goes): (Vec<_>, Vec<_>) = rows.partition(|row| row["replaced_by"].is_null());
    let ids =
        [stays, goes].concat().iter().map(|row| row["id"].as_str().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(ids.len(), 2, "{all}");
    let records = admin.get(&format!("/api/v1/patients/{}/records", ids[0])).await?.to_string();
    assert!(records.contains("from the hall") && records.contains("from the wing"), "{records}");
    let events = admin.get("/api/v1/audit-events?limit=200").await?;
    let seen = |id: &&str| {
        let events = events["items"].as_array().into_iter().flatten();
        events
            .into_iter()
            .any(|it| it["resource_type"] == "record" && it["patient_id"] == **id && it["action"] == "view")
    };
    assert!(ids.iter().all(seen), "{ids:?}: {events}");
    Ok(())
}

async fn move_to(kiosk: &Kiosk, name: &str, id: &str, room: &str) -> Result<()> {
    let path = format!("/residents/{id}/edit");
    let seen = kiosk.get(&path).await?.hidden("_seen")?.replace("&#34;", "\"");
    let born = serde_json::from_str::<serde_json::Value>(&seen)?;
    let known = |key: &str| born["values"][key].as_str().unwrap_or_default().to_owned();
    let (born, mrn) = (known("date_of_birth"), known("mrn"));
    let answers =
        [("_seen", seen.as_str()), ("name", name), ("room", room), ("date_of_birth", &born), ("mrn", &mrn)];
    let saved = kiosk.fill_in(&path, &answers).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    Ok(())
}

/// The first link or form of a page whose address has that in it.
async fn link(kiosk: &Kiosk, page: &str, part: &str) -> Result<String> {
    until(&format!("{part} on {page}"), PATIENCE, || async {
        let page = kiosk.get(page).await?;
        let addresses = page.html.split(['"']).filter(|text| text.starts_with('/'));
        let mut found = addresses.filter(|address| address.contains(part) && !address.ends_with('/'));
        match found.next() {
            Some(address) => Ok(address.to_owned()),
            None => bail!("no {part}: {}", page.words()),
        }
    })
    .await
}
