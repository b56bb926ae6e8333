//! A facility charts in Celsius and kilograms: its kiosks ask, bound and show in them, and what the server has is
//! in the schema's Fahrenheit and pounds.

use anyhow::{Context as _, Result};
use carepost_tests::kiosk::Badges;
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn a_facility_charts_in_celsius_and_kilograms_what_the_server_has_in_fahrenheit_and_pounds()
-> Result<()> {
    let scene = Scene::new(1).await?;
    let organization = &scene.facility.organization;
    let weight = json!({"key": "weight", "label": "Weight", "fields": [{"key": "weight", "label": "Weight",
        "type": "number", "required": true, "unit": "lb", "min": 80, "max": 350, "hard_min": 0, "hard_max": 1200}]});
    organization.admin.post("/api/v1/workflows", &weight).await?;
    let (name, id) = scene.resident()?;
    let hall = scene.kiosk_with("hall", Badges::Scripted, "").await?;
    hall.sign_in(&scene.nora).await?;
    hall.page_says(
        &format!("/residents/{id}/chart/vitals"),
        &["Plausible: 94 to 105 °F. Critical: 95 or below, 103 or above"],
    )
    .await?;

    // The office says so, and the kiosk's next form is in it.
    let path = format!("/api/v1/facilities/{}", scene.facility.id);
    assert_eq!(organization.admin.get(&path).await?["units"], "as_published");
    let refused = organization.admin.call(Method::PUT, &path, Some(&json!({"units": "imperial"}))).await?;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let session = scene.folder.path().join("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let changed = terminal.does(&["facility", "units", "Riverside", "metric"]).await?;
    assert_eq!(changed["units"], "metric");
    let garden = ["facility", "create", "Garden", "--type", "ALF", "--units", "metric"];
    assert_eq!(terminal.does(&garden).await?["units"], "metric");
    let events = items(&organization.admin.get("/api/v1/audit-events?limit=100").await?)?;
    assert_eq!(events.iter().filter(|event| event["details"]["units"] == "metric").count(), 1, "{events:?}");
    hall.page_says(
        &format!("/residents/{id}/chart/vitals"),
        &["Plausible: 34.5 to 40.5 °C. Critical: 35 or below"],
    )
    .await?;

    // What is typed comes back as it was typed; what the server has is in the schema's unit.
    let mut answers = vitals("A warm night").to_vec();
    answers.push(("temperature", "37.2"));
    hall.chart(name, "vitals", &answers).await?;
    hall.chart(name, "weight", &[("weight", "70.3")]).await?;
    let records = scene.facility.has_records(id, 2).await?;
    let stored = |key: &str| records.iter().find_map(|it| it["values"].get(key)).context("not stored");
    assert_eq!((stored("temperature")?, stored("weight")?), (&json!(98.96), &json!(154.985)));
    hall.page_says(&format!("/residents/{id}"), &["37.2 °C", "70.3 kg", "Sent"]).await?;
    let flagged = organization.admin.get(&format!("{path}/flagged-changes")).await?;
    assert_eq!(flagged["items"], json!([]));

    // What cannot be is refused in the facility's unit, and a sign says which unit it is.
    let refused = hall.fill_in(&format!("/residents/{id}/chart/weight"), &[("weight", "600")]).await?;
    assert!(refused.status == 422, "{}", refused.words());
    assert!(refused.words().contains("this cannot be above 544.3 kg"), "{}", refused.words());
    hall.chart(name, "weight", &[("weight", "155 lb")]).await?;
    let records = scene.facility.has_records(id, 3).await?;
    let weights: Vec<&Value> = records.iter().filter_map(|it| it["values"].get("weight")).collect();
    assert!(weights.contains(&&json!(155.0)), "{weights:?}");
    Ok(())
}
