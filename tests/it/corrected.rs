//! Corrections say why and whose entry they are of, and what was charted in error is struck out, not lost.

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE, Page};
use carepost_tests::scene::{Scene, corrected_vitals, vitals};
use carepost_tests::world::PASSWORD;
use reqwest::Method;
use serde_json::{Value, json};

/// The address of something to do about an entry of a page.
pub async fn link(kiosk: &Kiosk, page: &str, part: &str) -> Result<String> {
    let page = kiosk.get(page).await?;
    let address = page.html.split('"').find(|text| text.starts_with('/') && text.contains(part));
    Ok(address.with_context(|| format!("no {part}: {}", page.words()))?.to_owned())
}

/// Sends what a page that does not offer it cannot send.
async fn send_anyway(kiosk: &Kiosk, form: &str, to: &str) -> Result<Page> {
    let form = kiosk.get(form).await?;
    let (token, screen) = (form.hidden("_token")?, form.hidden("_screen")?);
    let mut fields = vec![("_token", token.as_str()), ("_screen", screen.as_str())];
    fields.extend(corrected_vitals("sent anyway"));
    kiosk.post(to, &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_says_why_and_whose_entry_it_is_of_and_the_form_says_who_may() -> Result<()> {
    let scene = Scene::new(1).await?;
    let admin = &scene.facility.organization.admin;
    let mut form = admin.get("/api/v1/workflows/vitals").await?;
    let parts = form.as_object_mut().context("no workflow")?;
    parts.retain(|key, _| ["key", "label", "fields", "rules"].contains(&key.as_str()));
    parts.insert("corrected_by".to_owned(), json!(["rn"]));
    admin.post("/api/v1/workflows", &form).await?;
    let carl = scene.facility.nurse("Carl Stone", "caregiver", "371640", "04A1B2C3D4E5F7").await?;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    let path = hall.sign_in(&scene.nora).await.map(|()| format!("/residents/{id}"))?;
    hall.chart(name, "vitals", &vitals("Nora's")).await?;
    scene.facility.has_records(id, 1).await?;
    let of_nora = link(&hall, &path, "/correct/").await?;

    // Who may not is not offered it, and is refused with words.
    hall.sign_in(&carl).await?;
    let page = hall.page_says(&path, &["Nora's"]).await?;
    assert!(!page.contains("Correct") && !page.contains("Charted in error"), "{page}");
    let refused = hall.get(&of_nora).await?;
    assert!(refused.status == 403 && refused.words().contains("Your role may not"), "{}", refused.words());
    let refused = send_anyway(&hall, &format!("{path}/chart/vitals"), &of_nora).await?;
    assert!(refused.status == 403 && refused.words().contains("Your role may not"), "{}", refused.words());

    // His own he may.
    hall.chart(name, "vitals", &vitals("Carl's")).await?;
    let own = link(&hall, &path, "/correct/").await?;
    let saved = hall.fill_in(&own, &corrected_vitals("Carl's own")).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());

    // To her his is another's: the form says so, and asks why. Her session waited for her.
    hall.tap(&scene.nora.uid).await?;
    hall.says(&[&scene.nora.name, "Lock"]).await?;
    hall.page_says(&path, &["Carl's own"]).await?;
    let of_carl = link(&hall, &path, "/correct/").await?;
    let form = hall.get(&of_carl).await?;
    assert!(form.words().contains("You correct an entry by Carl Stone"), "{}", form.words());
    let unsaid = hall.fill_in(&of_carl, &vitals("Nora's look")).await?;
    let words = unsaid.words();
    assert!(unsaid.status == 422 && words.contains("Reason for the correction: this is required"), "{words}");
    let mut answers = corrected_vitals("Nora's look");
    let long = "x".repeat(201);
    answers[4].1 = &long;
    let unsaid = hall.fill_in(&of_carl, &answers).await?;
    let words = unsaid.words();
    assert!(unsaid.status == 422 && words.contains("at most 200 characters"), "{words}");
    let saved = hall.fill_in(&of_carl, &corrected_vitals("Nora's look")).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let said =
        ["Charted by Carl Stone", "Corrected by Nora Quist", "Reason: Read anew", "2 earlier versions"];
    hall.page_says(&path, &said).await?;
    let records = scene.facility.has_records(id, 4).await?;
    let reasons = records.iter().map(|it| &it["reason"]).filter(|it| **it == json!("Read anew")).count();
    assert_eq!(reasons, 2, "{records:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charted_in_error_is_struck_out_with_a_reason_and_can_be_put_back() -> Result<()> {
    let scene = Scene::new(1).await?;
    let olga = scene.facility.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let (name, id) = scene.resident()?;
    let (hall, wing) = (scene.kiosk("hall").await?, scene.kiosk("wing").await?);
    let path = format!("/residents/{id}");
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Of somebody else")).await?;
    let strike = link(&hall, &path, "/strike/").await?;
    let form = hall.get(&strike).await?;
    assert!(
        form.words().contains("charted in error") && !form.html.contains("name=\"pulse\""),
        "{}",
        form.html
    );
    let unsaid = hall.fill_in(&strike, &[]).await?;
    let words = unsaid.words();
    assert!(
        unsaid.status == 422 && words.contains("Why it was charted in error: this is required"),
        "{words}"
    );
    let saved = hall.fill_in(&strike, &[("_reason", "Wrong resident")]).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());

    // Kept on the server beside what it strikes, and shown struck through wherever it is shown.
    let records = scene.facility.has_records(id, 2).await?;
    let struck = records.iter().find(|it| it["entered_in_error"] == true).context("nothing is struck")?;
    let first = records.iter().find(|it| it["amends"] == Value::Null).context("the entry is gone")?;
    assert_eq!((&struck["values"], &struck["reason"]), (&json!({}), &json!("Wrong resident")));
    assert_eq!((&struck["amends"], &first["values"]["pulse"]), (&first["id"], &json!(71)));
    wing.sign_in(&olga).await?;
    for kiosk in [&hall, &wing] {
        let said = ["Charted in error", "Struck out", "by Nora Quist", "Reason: Wrong resident"];
        kiosk.page_says(&path, &said).await?;
        let page = kiosk.get(&path).await?.html;
        let del = page.split("<del>").nth(1).and_then(|rest| rest.split("</del>").next());
        assert!(del.is_some_and(|del| del.contains("Of somebody else")), "{page}");
        assert!(!page.contains("/strike/"), "it is struck out already: {page}");
    }
    let flagged = format!("/api/v1/facilities/{}/flagged-changes", scene.facility.id);
    assert_eq!(scene.facility.organization.admin.get(&flagged).await?["items"], json!([]));

    // A correction puts it back.
    let back = link(&wing, &path, "/correct/").await?;
    let again = wing.get(&back.replace("/correct/", "/strike/")).await?;
    assert!(again.status == 409 && again.words().contains("struck out already"), "{}", again.words());
    let form = wing.get(&back).await?;
    assert!(
        form.html.contains("Of somebody else") && form.words().contains("by Nora Quist"),
        "{}",
        form.html
    );
    let saved = wing.fill_in(&back, &corrected_vitals("Hers after all")).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let said = hall.page_says(&path, &["Hers after all", "by Olga Reyes", "2 earlier versions"]).await?;
    let (counts, earlier) = said.split_once("2 earlier versions").context("nothing is earlier")?;
    assert!(!counts.contains("Struck out") && earlier.contains("Struck out"), "{said}");
    scene.facility.has_records(id, 3).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_office_strikes_out_by_the_same_rule_and_the_entry_stays_marked_everywhere() -> Result<()> {
    let scene = Scene::new(2).await?;
    let admin = &scene.facility.organization.admin;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    let path = format!("/residents/{id}");
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Of somebody else")).await?;
    let entry = scene.facility.has_records(id, 1).await?[0]["id"].as_str().context("no id")?.to_owned();
    let of =
        |patient: &str, record: &str| format!("/api/v1/patients/{patient}/records/{record}/entered-in-error");
    let why = json!({"reason": "Wrong resident"});
    let refused = async |path: String, body: &Value| admin.call(Method::POST, &path, Some(body)).await;

    let unsaid = refused(of(id, &entry), &json!({"reason": " "})).await?;
    assert_eq!((unsaid.status, &unsaid.body["errors"][0]["field"]), (422, &json!("reason")));
    for path in [of(&scene.residents[1].1, &entry), of(id, id)] {
        assert_eq!(refused(path, &why).await?.status, 404, "it is no record of that resident");
    }
    let struck = admin.post(&of(id, &entry), &why).await?;
    assert_eq!((&struck["amends"], &struck["entered_in_error"]), (&json!(entry), &json!(true)));
    assert_eq!((&struck["values"], &struck["reason"]), (&json!({}), &json!("Wrong resident")));
    let me = admin.get("/api/v1/sessions/current").await?;
    assert_eq!(struck["recorded_by"], me["user_id"]);
    let marked = |records: &[Value]| {
        let first = records.iter().find(|it| it["id"] == json!(entry));
        first.map(|it| (it["values"]["pulse"].clone(), it["struck_out_by"].clone()))
    };
    let records = scene.facility.has_records(id, 2).await?;
    assert_eq!(marked(&records), Some((json!(71), struck["id"].clone())), "kept, and marked");
    let said = ["Charted in error", "Struck out", "Reason: Wrong resident"];
    hall.page_says(&path, &said).await?;
    let page = hall.get(&path).await?.html;
    let del = page.split("<del>").nth(1).and_then(|rest| rest.split("</del>").next());
    assert!(del.is_some_and(|del| del.contains("Of somebody else")), "{page}");

    // Once, and what counts; a correction at a kiosk puts it back.
    for (record, words) in
        [(entry.as_str(), "struck out already"), (struck["id"].as_str().unwrap(), "puts that back")]
    {
        let again = refused(of(id, record), &why).await?;
        assert!(again.status == 422 && again.text.contains(words), "{}", again.text);
    }
    let back = link(&hall, &path, "/correct/").await?;
    let saved = hall.fill_in(&back, &corrected_vitals("Hers after all")).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let records = scene.facility.has_records(id, 3).await?;
    assert_eq!(marked(&records), Some((json!(71), Value::Null)));
    let last = records.iter().find(|it| it["values"]["note"] == "Hers after all").context("no correction")?;
    let again = refused(of(id, last["amends"].as_str().context("it amends")?), &why).await?;
    assert_eq!(again.status, 422, "what was corrected since counts no more: {}", again.text);

    // Who corrects without having seen that: both stand side by side, and somebody looks.
    hall.link.cut();
    hall.says(&["Internet down"]).await?;
    let correct = link(&hall, &path, "/correct/").await?;
    let saved = hall.fill_in(&correct, &corrected_vitals("Unaware")).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let struck = admin.post(&of(id, last["id"].as_str().context("no id")?), &why).await?;
    hall.link.restore();
    scene.facility.has_records(id, 5).await?;
    let reviews = format!("/api/v1/facilities/{}/reviews?open=true", scene.facility.id);
    let review = admin.get(&reviews).await?["items"][0].clone();
    assert_eq!((&review["kind"], &review["record"]), (&json!("amendments"), &last["id"]), "{review}");
    assert_eq!(review["others"][0], struck["id"], "{review}");

    // The form says who corrects others' entries, here as on a kiosk.
    let mut form = admin.get("/api/v1/workflows/vitals").await?;
    let parts = form.as_object_mut().context("no workflow")?;
    parts.retain(|key, _| ["key", "label", "fields", "rules"].contains(&key.as_str()));
    parts.insert("corrected_by".to_owned(), json!(["rn"]));
    admin.post("/api/v1/workflows", &form).await?;
    let (other, their) = &scene.residents[1];
    until("the new form", PATIENCE, || async {
        hall.chart(other, "vitals", &vitals("Under the new form")).await?;
        let records = scene.facility.records(their).await?;
        let newest = records.first().context("nothing came")?;
        if newest["schema_version"] == 2 { Ok(()) } else { bail!("{newest}") }
    })
    .await?;
    let newest = scene.facility.records(their).await?[0]["id"].as_str().context("no id")?.to_owned();
    let answer = refused(of(their, &newest), &why).await?;
    assert!(answer.status == 403 && answer.text.contains("another person"), "{}", answer.text);
    let nora = scene.server.api()?.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await?;
    nora.post(&of(their, &newest), &why).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_is_not_sent_cannot_be_corrected_on_it() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk("hall").await?;
    let path = format!("/residents/{id}");
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Slept well")).await?;
    scene.facility.has_records(id, 1).await?;
    hall.page_says(&path, &["Slept well", "Correct", "Sent"]).await?;
    let correct = link(&hall, &path, "/correct/").await?;
    let facility = format!("/api/v1/facilities/{}", scene.facility.id);
    scene.facility.organization.admin.put(&facility, &json!({"phi_mode": "minimal"})).await?;
    until("the values to leave the device", PATIENCE, || async {
        let page = hall.get(&path).await?.words();
        let is_bare = page.contains("Vitals") && page.contains("Nora Quist") && !page.contains("Slept well");
        if is_bare && !page.contains("loading") { Ok(()) } else { bail!("{page}") }
    })
    .await?;
    let page = hall.get(&path).await?;
    assert!(!page.html.contains("/correct/") && !page.html.contains("/strike/"), "{}", page.html);
    for sent in
        [hall.get(&correct).await?, send_anyway(&hall, &format!("{path}/chart/vitals"), &correct).await?]
    {
        assert!(sent.status == 409 && sent.words().contains("not shown on this device"), "{}", sent.words());
    }
    // Nor does it say that there is none of what it is not sent.
    hall.page_says(&path, &["What was charted is not shown on this device"]).await?;
    hall.page_says("/reviews", &["What needs a look is not shown on this device"]).await?;
    let edit = format!("{path}/edit");
    hall.page_says(
        &edit,
        &[
            "Not shown on this device, and left as they are: Name, Date of birth, MRN, Medicare number",
            "Room",
        ],
    )
    .await?;
    assert!(!hall.get(&edit).await?.html.contains(r#"name="mrn""#));
    assert_eq!(scene.facility.records(id).await?.len(), 1);
    Ok(())
}
