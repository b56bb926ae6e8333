//! The office publishes a form anew while kiosks chart: what was begun in the version before is saved in it, and what was
//! charted in it is read and corrected by it, online and off.

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::until;
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::scene::{Scene, vitals};
use serde_json::{Value, json};

use crate::corrected::link;

/// A round of vitals with that saturation.
fn with_oxygen<'a>(oxygen: &'a str, note: &'a str) -> Vec<(&'a str, &'a str)> {
    vitals(note).into_iter().chain([("oxygen", oxygen)]).collect()
}

/// Publishes the vitals anew: without the saturation, and with the mood in its place.
async fn publish(scene: &Scene, enabled: bool) -> Result<()> {
    let admin = &scene.facility.organization.admin;
    let mut form = admin.get("/api/v1/workflows/vitals").await?;
    let parts = form.as_object_mut().context("no workflow")?;
    parts.retain(|key, _| ["key", "label", "fields", "rules"].contains(&key.as_str()));
    parts.insert("enabled".to_owned(), json!(enabled));
    let fields = parts.get_mut("fields").and_then(Value::as_array_mut).context("no fields")?;
    fields.retain(|field| field["key"] != "oxygen" && field["key"] != "mood");
    fields.push(json!({"key": "mood", "label": "Mood", "type": "string", "display_order": 9}));
    admin.post("/api/v1/workflows", &form).await.map(drop)
}

/// In which version a record was charted, with which saturation.
fn charted(record: &Value) -> (&Value, &Value) {
    (&record["schema_version"], &record["values"]["oxygen"])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charted_or_begun_in_a_form_stays_in_its_version_when_the_next_is_published() -> Result<()> {
    let scene = Scene::new(1).await?;
    let olga = scene.facility.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let (name, id) = scene.resident()?;
    let (path, chart) = (format!("/residents/{id}"), format!("/residents/{id}/chart/vitals"));
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &with_oxygen("86", "First")).await?;
    scene.facility.has_records(id, 1).await?;
    let page = hall.get(&chart).await?;
    publish(&scene, true).await?;
    hall.page_says(&chart, &["Mood"]).await?;

    // The page that was open is saved as it was shown.
    let carried = ["_token", "_screen", "_version"].map(|name| (name, page.hidden(name).unwrap_or_default()));
    let mut answers: Vec<(&str, &str)> =
        carried.iter().map(|(name, value)| (*name, value.as_str())).collect();
    answers.extend(with_oxygen("87", "Begun before"));
    let saved = hall.post(&chart, &answers).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let records = scene.facility.has_records(id, 2).await?;
    assert_eq!(charted(&records[0]), (&json!(1), &json!(87)));
    let said = ["Oxygen saturation 86% Critical", "Oxygen saturation 87% Critical"];
    hall.page_says(&path, &said).await?;

    // A kiosk that never saw that version offered reads and corrects by it, and needs no server for it.
    let wing = scene.kiosk("wing").await?;
    wing.sign_in(&olga).await?;
    wing.link.cut();
    wing.says(&["Internet down"]).await?;
    wing.page_says(&path, &said).await?;
    let correct = link(&wing, &path, "/correct/").await?;
    let form = wing.get(&correct).await?.html;
    assert!(form.contains("name=\"oxygen\"") && !form.contains("name=\"mood\""), "{form}");
    let mut answers = with_oxygen("87", "Read anew");
    answers.push(("_reason", "The note was another's"));
    let saved = wing.fill_in(&correct, &answers).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    wing.link.restore();
    let records = scene.facility.has_records(id, 3).await?;
    let correction = records.iter().find(|record| !record["amends"].is_null()).context("no correction")?;
    assert_eq!(charted(correction), (&json!(1), &json!(87)), "{correction}");

    // Switched off, nothing new is begun in it, and what was charted can still be struck out.
    publish(&scene, false).await?;
    until("the form to be gone", PATIENCE, || async {
        let page = hall.get(&path).await?;
        if page.html.contains(&chart) { bail!("{}", page.words()) } else { Ok(()) }
    })
    .await?;
    assert_eq!(hall.get(&chart).await?.status, 404);
    hall.page_says(&path, &["by Olga Reyes", "Oxygen saturation 86% Critical"]).await?;
    let strike = link(&hall, &path, "/strike/").await?;
    let saved = hall.fill_in(&strike, &[("_reason", "Wrong resident")]).await?;
    assert_eq!(saved.status, 303, "{}", saved.words());
    let records = scene.facility.has_records(id, 4).await?;
    let strikes = records.iter().find(|record| record["entered_in_error"] == true).context("none")?;
    assert_eq!(charted(strikes), (&json!(1), &Value::Null));

    // Of all that, the office is told of the entry that was begun in a version and saved after the next.
    let flagged = format!("/api/v1/facilities/{}/flagged-changes", scene.facility.id);
    let flagged = scene.facility.organization.admin.get(&flagged).await?;
    let flags: Vec<&Value> =
        flagged["items"].as_array().context("no list")?.iter().map(|it| &it["flags"]).collect();
    assert_eq!(flags, [&json!(["schema_changed_since"])], "{flagged}");
    Ok(())
}
