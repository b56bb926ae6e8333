//! Nothing that was charted is out of reach: whoever follows `next` reads each thing once, however many came at
//! one moment and whether devices still hold it or not.

use anyhow::{Context as _, Result};
use carepost_protocol::change::Lane;
use carepost_tests::api::Api;
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::Terminal;
use crate::window::{scene_of, until_today};

/// The pages of a list, one after the other.
async fn pages(api: &Api, path: &str) -> Result<Vec<Vec<Value>>> {
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}{next}")).await?;
        pages.push(items(&page)?);
        let Some(place) = page["next"].as_str() else { return Ok(pages) };
        next = format!("&page={place}");
    }
}

fn answers(n: usize) -> Map<String, Value> {
    let answers = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "note": format!("Round {n}")});
    answers.as_object().cloned().unwrap_or_default()
}

async fn hall(scene: &Scene) -> Result<Device> {
    let port = scene.server.devices.port();
    Device::enroll(&scene.folder_of("hall"), &scene.server, port, &scene.facility, "hall").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_five_rounds_of_one_resident_are_read_by_pages_each_once() -> Result<()> {
    let mut scene = scene_of(100, 2).await?;
    let hall = hall(&scene).await?;
    let nora = hall.nurse(scene.nora.id.parse()?);
    let id = scene.resident()?.1.to_owned();
    let patient = id.parse()?;
    let chart = |rounds: std::ops::Range<usize>| -> Result<()> {
        for n in rounds {
            hall.save(&nora, &hall.vitals(&nora, patient, answers(n)))?;
        }
        Ok(())
    };
    chart(0..100)?;
    hall.push_all().await?;
    until_today(&mut scene).await?;
    let wire = hall.wire(&scene.server)?;
    until("the archiving", PATIENCE, || async {
        hall.upstream.heartbeat(hall.grant.device_id, &hall.heartbeat(Default::default())).await?;
        let older = wire.get(&format!("/api/v1/sync/patients/{id}/older-records")).await?;
        anyhow::ensure!(older["next"].is_object(), "{older}");
        Ok(())
    })
    .await?;
    chart(100..205)?;
    hall.push_all().await?;

    let admin = &scene.facility.organization.admin;
    let path = format!("/api/v1/patients/{id}/records?");
    for (limit, sizes) in [("", vec![200, 5]), ("limit=60", vec![60, 60, 60, 25]), ("limit=205", vec![205])] {
        let pages = pages(admin, &format!("{path}{limit}")).await?;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        let notes = pages.concat().into_iter().map(|it| it["values"]["note"].clone());
        let mut notes = notes.collect::<Vec<_>>();
        let expected: Vec<_> = (0..205).rev().map(|n| json!(format!("Round {n}"))).collect();
        assert_eq!(notes[..105], expected[..105], "in the order in which they came");
        // What has left the devices is in the order in which it was made: some within one millisecond.
        notes.sort_by_key(|note| expected.iter().position(|expected| note == expected));
        assert_eq!(notes, expected, "each once");
    }
    for nonsense in ["before=2026-01-01T00:00:00Z", "page=1", "page=Wzcs", "limit=many"] {
        let answer = admin.call(Method::GET, &format!("{path}{nonsense}"), None).await?;
        let named = nonsense.split('=').next();
        assert_eq!(
            (answer.status, answer.body["errors"][0]["field"].as_str()),
            (422, named),
            "{}",
            answer.text
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_two_hundred_and_fifty_rejected_changes_is_read_by_pages_each_once() -> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = hall(&scene).await?;
    let nora = hall.nurse(scene.nora.id.parse()?);
    let id = scene.resident()?.1.to_owned();
    let mut chain = hall.chain(Lane::Care);
    let rejected = |n| -> Result<String> {
        let mut change = hall.vitals(&nora, id.parse()?, answers(n));
        change.fields.insert("colour".to_owned(), json!("red"));
        Ok(serde_json::to_string(&change)?)
    };
    let batch = chain.batch(&(1..=250).map(rejected).collect::<Result<Vec<_>>>()?)?;
    let json = [("content-type", "application/json")];
    let receipt =
        hall.wire(&scene.server)?.send(Method::POST, "/api/v1/sync/push", &json, batch.into_bytes()).await?;
    assert_eq!(receipt.status, 200, "{}", receipt.text);

    let admin = &scene.facility.organization.admin;
    let path = format!("/api/v1/facilities/{}/rejected-changes?", scene.facility.id);
    for (limit, sizes) in [("", vec![200, 50]), ("limit=100", vec![100, 100, 50]), ("limit=250", vec![250])] {
        let pages = pages(admin, &format!("{path}{limit}")).await?;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        let numbers: Vec<_> = pages.concat().iter().filter_map(|change| change["n"].as_u64()).collect();
        assert_eq!(numbers, (1..=250).rev().collect::<Vec<_>>());
        let times: Vec<_> = pages.concat().iter().map(|change| change["received_at"].to_string()).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    }

    // The command line shows all of them, and says where it does not.
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    assert_eq!(items(&terminal.does(&["change", "list", "Riverside"]).await?)?.len(), 250);
    let (_, out, _) = terminal.types(&["audit", "list", "--limit", "1"]).await?;
    let page = out.trim_end().rsplit("give --page ").next().context("no page")?;
    let (code, more, error) = terminal.types(&["audit", "list", "--limit", "1", "--page", page]).await?;
    assert_eq!(code, 0, "{error}");
    assert_ne!(out, more, "the next one");
    Ok(())
}
