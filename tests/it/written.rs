//! What people type and browsers send is written down as they meant it, and what is unlikely is asked about.

use anyhow::{Context as _, Result};
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::Zone;
use carepost_tests::kiosk::Page;
use carepost_tests::scene::{Scene, corrected_vitals, vitals};
use reqwest::Method;
use serde_json::{Value, json};

/// The hidden answers of a form that asks whether to save as it is.
fn asked(page: &Page) -> Vec<String> {
    let doubts = page.html.split("name=\"_confirmed\" value=\"").skip(1);
    doubts.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_two_lines_and_a_decimal_comma_are_saved_as_they_were_meant() -> Result<()> {
    let scene = Scene::new(1).await?;
    scene.facility.organization.publish("adl").await?;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    let note = "Slept well.\r\nAte half.\u{b}Walked to Zoë\u{308}\u{0}";
    let answers = [
        ("systolic", "128 mmHg"),
        ("diastolic", "７７"),
        ("pulse", " 71"),
        ("temperature", "98,6 °F"),
        ("note", note),
    ];
    hall.chart(name, "vitals", &answers).await?;
    let records = scene.facility.has_records(id, 1).await?;
    let expected = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "temperature": 98.6,
        "note": "Slept well.\nAte half. Walked to Zoë\u{308}"});
    assert_eq!(records[0]["values"], expected);

    // It can be corrected as it was saved.
    let path = hall.path_of(name).await?;
    let page = hall.get(&path).await?;
    let correct = page.html.split("href=\"").find(|rest| rest.contains("/correct/")).context("no link")?;
    let correct = correct.split('"').next().unwrap_or_default();
    let form = hall.get(correct).await?;
    assert!(form.html.contains("Slept well.\nAte half."), "{}", form.html);
    let corrected = hall.fill_in(correct, &corrected_vitals("Slept well.\r\nAte all.")).await?;
    assert_eq!(corrected.status, 303, "{}", corrected.words());

    // What nobody can read is not taken, and said.
    let chart = format!("{path}/chart/vitals");
    for (wrong, words) in [("\u{202e}abc", "turns the order"), ("\u{3164}", "can be seen")] {
        let refused = hall.fill_in(&chart, &vitals(wrong)).await?;
        assert!(refused.status == 422 && refused.words().contains(words), "{}", refused.words());
    }

    // A suggestion is no answer until somebody gives it.
    let adl = format!("{path}/chart/adl");
    let form = hall.get(&adl).await?;
    assert!(
        form.words().contains("Suggested: Done") && !form.html.contains("value=\"Done\" checked"),
        "{}",
        form.html
    );
    let bare = hall.fill_in(&adl, &[("activity", "Bathing"), ("assistance", "Reminder")]).await?;
    assert!(bare.status == 422 && bare.words().contains("Outcome: this is required"), "{}", bare.words());

    // What was typed for a save that was refused is there when she comes back.
    hall.post("/lock", &[]).await?;
    hall.says(&["Tap your badge"]).await?;
    hall.tap_until(&scene.nora.uid, &["Nora Quist", "Lock"]).await?;
    let form = hall.get(&adl).await?;
    assert!(form.words().contains("You began this earlier"), "{}", form.words());
    assert!(form.html.contains("value=\"Reminder\" checked"), "{}", form.html);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unlikely_is_asked_about_and_saved_as_confirmed() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    let chart = format!("{}/chart/vitals", hall.path_of(name).await?);
    let swapped = [("systolic", "77"), ("diastolic", "128"), ("pulse", "71")];
    let page = hall.fill_in(&chart, &swapped).await?;
    assert_eq!(page.status, 422);
    for words in ["Check it", "save as it is?", "swapped?", "Save as it is"] {
        assert!(page.words().contains(words), "no {words:?} in {}", page.words());
    }
    assert!(scene.facility.records(id).await?.is_empty());

    // True values of somebody who is very sick: each is asked about, and each can be saved.
    let sick = [
        ("systolic", "268"),
        ("diastolic", "77"),
        ("pulse", "24"),
        ("temperature", "89.4"),
        ("oxygen", "48"),
    ];
    let page = hall.fill_in(&chart, &sick).await?;
    let doubts = asked(&page);
    assert_eq!((page.status, doubts.len()), (422, 4), "{}", page.words());
    let confirmed = |answers: &[(&'static str, &'static str)]| {
        let mut fields: Vec<(&str, &str)> = answers.to_vec();
        fields.extend(doubts.iter().map(|doubt| ("_confirmed", doubt.as_str())));
        fields.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    // Another value than the one that was asked about is asked about anew.
    let mut other = sick;
    other[2] = ("pulse", "23");
    let fields = confirmed(&other);
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let again = hall.fill_in(&chart, &fields).await?;
    assert!(again.status == 422 && again.words().contains("23 bpm is low"), "{}", again.words());
    let fields = confirmed(&sick);
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let saved = hall.fill_in(&chart, &fields).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let records = scene.facility.has_records(id, 1).await?;
    assert_eq!(records[0]["confirmed"], json!(["systolic", "pulse", "temperature", "oxygen"]));
    assert_eq!(records[0]["values"]["pulse"], 24);
    hall.page_says(saved.location.as_deref().unwrap_or_default(), &["critical value", "Confirmed"]).await?;

    // What there cannot be is refused, whatever was confirmed.
    let refused = hall.fill_in(&chart, &[("systolic", "128"), ("diastolic", "77"), ("pulse", "-3")]).await?;
    assert!(refused.status == 422 && refused.words().contains("cannot be below 0"), "{}", refused.words());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_value_is_seen_where_it_is_saved_and_in_every_list() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let (hall, wing) = (scene.kiosk("hall").await?, scene.kiosk("wing").await?);
    hall.sign_in(&scene.nora).await?;
    let path = format!("/residents/{id}");
    hall.chart(name, "vitals", &vitals("calm")).await?;
    let calm = hall.page_says(&path, &["calm"]).await?;
    assert!(!calm.contains("Critical") && !calm.contains("Confirmed"), "{calm}");
    // The bound is critical itself.
    let high = [("systolic", "180"), ("diastolic", "77"), ("pulse", "71")];
    let saved = hall.fill_in(&format!("{path}/chart/vitals"), &high).await?;
    let after = saved.location.context("not saved")?;
    hall.page_says(&after, &["Saved here, with a critical value", "180 mmHg Critical"]).await?;
    wing.sign_in(&scene.nora).await?;
    wing.page_says(&path, &["180 mmHg Critical"]).await?;
    let page = wing.get(&path).await?.html;
    let marks = page.split("</svg>Critical").count() - 1;
    assert_eq!(marks, 2, "the entry's and the value's, each with its icon: {page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_at_the_office_is_read_and_compared_as_one_at_a_kiosk() -> Result<()> {
    let scene = Scene::new(0).await?;
    let admin = &scene.facility.organization.admin;
    let patients = "/api/v1/patients";
    let admit = |mrn: &str, name: &str, born: Value| {
        let body = json!({"facility_id": scene.facility.id, "mrn": mrn, "name": name, "date_of_birth": born});
        async move { admin.call(Method::POST, patients, Some(&body)).await }
    };
    let ada = admit(" RS-1", "Ada\u{a0} Example\n", json!("02/29/1944")).await?;
    assert_eq!(ada.status, 201, "{}", ada.text);
    assert_eq!(
        (&ada.body["mrn"], &ada.body["name"], &ada.body["date_of_birth"]),
        (&json!("RS-1"), &json!("Ada Example"), &json!("1944-02-29"))
    );
    let hers = format!("{patients}/{}", ada.body["id"].as_str().context("an id")?);
    assert_eq!(ada.body["medicare"], Value::Null);
    assert_eq!(admin.put(&hers, &json!({"medicare": "1eg4te5mk73"})).await?["medicare"], "1EG4-TE5-MK73");
    assert_eq!(admin.put(&hers, &json!({"is_active": true})).await?["medicare"], "1EG4-TE5-MK73");
    assert_eq!(admin.put(&hers, &json!({"medicare": null})).await?["medicare"], Value::Null);
    let twice = json!({"date_of_birth": "1944", "dateOfBirth": "1945"});
    for (body, field) in [
        (json!({"medicare": "1EG4"}), "medicare"),
        (json!({"shoe_size": 9}), "shoe_size"),
        (json!({"name": null}), "name"),
        (twice, "date_of_birth"),
    ] {
        let refused = admin.call(Method::PUT, &hers, Some(&body)).await?;
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!(field)), "{body}");
    }
    for same in ["RS-1", "RS-1 ", "RS-1\u{a0}", "rs-1", "ＲＳ－１", "RS–1", "rs 1"] {
        let taken = admit(same, "Somebody Else", Value::Null).await?;
        assert_eq!(taken.status, 409, "{same:?}: {}", taken.text);
    }
    for (born, words) in [
        ("2099-01-01", "future"),
        ("0000-01-01", "130 years"),
        ("1066-10-14", "130 years"),
        ("1945-02-29", "February 1945 has 28 days"),
        ("13/01/1950", "there is no month 13"),
        ("yesterday", "give a day"),
    ] {
        let refused = admit("RS-9", "Somebody Else", json!(born)).await?;
        assert_eq!(refused.status, 422, "{born}");
        assert_eq!(refused.body["errors"][0]["field"], "date_of_birth");
        assert!(refused.text.contains(words), "{born}: {}", refused.text);
    }
    let hidden = admit("RS-9", "\u{200b}\u{200d}", Value::Null).await?;
    assert_eq!((hidden.status, &hidden.body["errors"][0]["field"]), (422, &json!("name")));

    // Nobody is born tomorrow by the facility's calendar: what is today where the day begins is tomorrow where it
    // ends last.
    let facility = format!("/api/v1/facilities/{}", scene.facility.id);
    let first = Zone::named("Pacific/Kiritimati").context("no such zone")?;
    let born = first.clock(Timestamp::from_millis(carepost_tests::clock::now()? * 1000)).day;
    admin.put(&facility, &json!({"time_zone": "Etc/GMT+12"})).await?;
    let refused = admit("RS-9", "Zoe New", json!(born)).await?;
    assert!(refused.status == 422 && refused.text.contains("future"), "{}", refused.text);
    admin.put(&facility, &json!({"time_zone": null})).await?;
    // What is unlikely has to be meant.
    let asked = admit("RS-9", "Zoe New", json!(born)).await?;
    assert_eq!((asked.status, &asked.body["errors"][0]["field"]), (422, &json!("date_of_birth")));
    assert!(
        asked.text.contains("is less than a year ago") && asked.text.contains("`confirmed`"),
        "{}",
        asked.text
    );
    let body = json!({"facility_id": scene.facility.id, "mrn": "RS-9", "name": "Zoe New", "date_of_birth": born,
        "confirmed": ["date_of_birth"]});
    let newborn = admin.call(Method::POST, patients, Some(&body)).await?;
    assert_eq!(newborn.status, 201, "{}", newborn.text);
    let newborn = format!("{patients}/{}", newborn.body["id"].as_str().unwrap_or_default());
    admin.put(&facility, &json!({"time_zone": "Etc/GMT+12"})).await?;
    let kept = admin.put(&newborn, &json!({"room": "12", "date_of_birth": born})).await?;
    assert_eq!(kept["room"], "12", "what it was stays");

    // The same name, and as far as it is known the same birthday: it is asked whether that is she.
    let than =
        |patient: &Value| format!("another person than {}", patient["id"].as_str().unwrap_or_default());
    let unsaid = |patient: &Value| json!({"field": "confirmed", "detail": than(patient)});
    let known = async |patient: &Value, standing: &str| -> Result<()> {
        let asked = admit("RS-2", "ADA EXAMPLE", json!("1944")).await?;
        assert_eq!((asked.status, &asked.body["errors"]), (409, &json!([unsaid(patient)])), "{}", asked.text);
        assert_eq!(asked.body["type"], "/problems/known-resident");
        let id = patient["id"].as_str().context("an id")?;
        let words = format!("Ada Example (MRN RS-1, Born 02/29/1944, patient {id}; {standing}");
        anyhow::ensure!(asked.text.contains(&words) && asked.text.contains("`confirmed`"), "{}", asked.text);
        Ok(())
    };
    known(&ada.body, "in care").await?;
    admin.put(&hers, &json!({"is_active": false})).await?;
    known(&ada.body, "discharged: readmit that one, `carepost-server patient readmit").await?;
    admin.put(&hers, &json!({"is_active": true})).await?;
    // Said to be somebody else she is admitted, and a review asks only about a number that both have.
    let another = async |mrn: &str, medicare: Option<&str>, known: &[&Value]| {
        let named: Vec<String> = known.iter().copied().map(than).collect();
        let body = json!({"facility_id": scene.facility.id, "mrn": mrn, "name": "ADA EXAMPLE",
            "date_of_birth": "1944", "medicare": medicare, "confirmed": named});
        admin.call(Method::POST, patients, Some(&body)).await
    };
    let answered = another("RS-4", None, &[&ada.body]).await?;
    assert_eq!((answered.status, &answered.body["may_be"]), (201, &Value::Null), "{}", answered.text);
    admin.put(&hers, &json!({"medicare": "2EG4-TE5-MK73"})).await?;
    let medicare = Some("2EG4-TE5-MK73");
    // Who was admitted since was not named by whoever was asked before.
    let since = another("RS-2", medicare, &[&ada.body]).await?;
    assert_eq!(
        (since.status, &since.body["errors"]),
        (409, &json!([unsaid(&answered.body)])),
        "{}",
        since.text
    );
    let again = another("RS-2", medicare, &[&ada.body, &answered.body]).await?;
    assert_eq!((again.status, &again.body["date_of_birth"]), (201, &json!("1944")), "{}", again.text);
    let may_be = json!([{"id": ada.body["id"], "mrn": "RS-1", "name": "Ada Example"}]);
    assert_eq!(again.body["may_be"], may_be, "and it is said at once");
    let looks = format!("/api/v1/audit-events?patient_id={}", ada.body["id"].as_str().unwrap_or_default());
    let events = admin.get(&looks).await?;
    assert!(events.to_string().contains("\"view\""), "whom it names was written down as a look: {events}");
    let other = admit("RS-3", "Ada Example", json!("1951-01-02")).await?;
    assert_eq!(other.status, 201);
    let reviews = admin.get(&format!("/api/v1/facilities/{}/reviews", scene.facility.id)).await?;
    let reviews: Vec<&Value> = reviews["items"].as_array().context("no list")?.iter().collect();
    assert_eq!(reviews.len(), 1, "{reviews:?}");
    assert_eq!(
        (&reviews[0]["kind"], &reviews[0]["patient_id"], &reviews[0]["others"]),
        (&json!("duplicate"), &again.body["id"], &json!([ada.body["id"]]))
    );

    // Whose number is that of somebody who was discharged hears so, and can readmit that one.
    let path = format!("{patients}/{}", ada.body["id"].as_str().unwrap_or_default());
    assert_eq!(admin.call(Method::DELETE, &path, None).await?.status, 200);
    let taken = admit("RS-1", "Ada Example", Value::Null).await?;
    assert_eq!(taken.status, 409);
    assert!(taken.text.contains("discharged") && taken.text.contains("readmit"), "{}", taken.text);
    assert_eq!(admin.put(&path, &json!({"is_active": true})).await?["is_active"], true);

    // An edit that makes one of two whom the facility knows the other's namesake is asked about, too.
    let zoe = json!({"name": "ADA Example", "date_of_birth": "1951", "confirmed": ["date_of_birth"]});
    let asked = admin.call(Method::PUT, &newborn, Some(&zoe)).await?;
    assert_eq!((asked.status, &asked.body["errors"]), (409, &json!([unsaid(&other.body)])), "{}", asked.text);
    assert!(asked.text.contains("MRN RS-3, Born 01/02/1951"), "{}", asked.text);
    let meant = json!({"name": "ADA Example", "date_of_birth": "1951", "confirmed": [than(&other.body)]});
    assert_eq!(admin.put(&newborn, &meant).await?["may_be"], Value::Null);

    // A Medicare number is one person's: of two who are given it, a review asks.
    let number = json!({"medicare": "1EG4-TE5-MK73"});
    assert_eq!(admin.put(&path, &number).await?["may_be"], Value::Null);
    let other = format!("{patients}/{}", other.body["id"].as_str().unwrap_or_default());
    assert_eq!(admin.put(&other, &number).await?["may_be"], may_be);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_published_trimmed_or_refused_by_path() -> Result<()> {
    let scene = Scene::new(1).await?;
    let admin = &scene.facility.organization.admin;
    let mood = |options: Value, extra: Value| {
        let mut field = json!({"key": "mood", "label": " Mood ", "type": "select", "options": options});
        if let (Some(field), Some(extra)) = (field.as_object_mut(), extra.as_object()) {
            field.extend(extra.clone());
        }
        json!({"key": "mood", "label": "Mood", "fields": [field]})
    };
    let publish =
        |body: Value| async move { admin.call(Method::POST, "/api/v1/workflows", Some(&body)).await };
    for (options, extra, field) in [
        (json!(["Calm", " "]), json!({}), "fields[0].options[1]"),
        (json!(["Calm", "calm "]), json!({}), "fields[0].options[1]"),
        (json!(["Calm"]), json!({"colour": "red"}), "fields[0].colour"),
        (json!(["Calm"]), json!({"max": 3}), "fields[0].min"),
    ] {
        let refused = publish(mood(options, extra)).await?;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.text);
    }
    let published = publish(mood(json!(["Calm ", "Upset"]), json!({}))).await?;
    assert_eq!(published.status, 201, "{}", published.text);
    assert_eq!(published.body["fields"][0]["options"], json!(["Calm", "Upset"]));
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "mood", &[("mood", "Calm ")]).await?;
    assert_eq!(scene.facility.has_records(id, 1).await?[0]["values"], json!({"mood": "Calm"}));
    Ok(())
}
