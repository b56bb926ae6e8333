//! A stolen key that fills its facility: it gets so far and no further, and what it sent is taken out again.

use anyhow::{Context as _, Result};
use carepost_protocol::change::{Change, ChangeKind, Lane};
use carepost_protocol::id::RecordId;
use carepost_protocol::record::Collection;
use carepost_protocol::role::Actor;
use carepost_tests::api::{Answer, Api};
use carepost_tests::device::{Chain, Device};
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Scene;
use crate::cli::Terminal;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn push(wire: &Api, batch: String) -> Result<Answer> {
    wire.send(Method::POST, "/api/v1/sync/push", &JSON, batch.into_bytes()).await
}

impl Scene {
    /// The next changes of a chain, each another resident of one name, and so one to be looked at as well.
    fn admissions(&self, chain: &mut Chain, count: usize) -> Result<String> {
        let nurse = self.hostile.nurse(self.nurse.parse()?);
        let fields = Map::from_iter([("name".to_owned(), json!("Nobody Atall"))]);
        let admission = Change {
            collection: Collection::Patients,
            patient: None,
            workflow: None,
            schema_version: None,
            ..self.hostile.vitals(&nurse, self.patient.parse()?, fields)
        };
        chain.batch(&vec![serde_json::to_string(&admission)?; count])
    }

    /// How many documents the facility's devices have to hold.
    async fn documents(&self) -> Result<u64> {
        let path = format!("/api/v1/facilities/{}", self.facility.id);
        self.facility.organization.admin.get(&path).await?["documents"].as_u64().context("documents")
    }

    /// A round of a device's, with that note, or a correction of another.
    fn round(
        &self,
        device: &Device,
        nurse: &Actor,
        note: &str,
        corrects: Option<RecordId>,
    ) -> Result<Change> {
        let answers = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "note": note});
        let fields = answers.as_object().cloned().unwrap_or_default();
        let round = device.vitals(nurse, self.patient.parse()?, fields);
        let kind = if corrects.is_some() { ChangeKind::Amend } else { round.kind };
        Ok(Change { kind, record: corrects, ..round })
    }

    /// Charts on a device: the record, once the server has it.
    async fn charts(&self, device: &Device, note: &str, corrects: Option<RecordId>) -> Result<RecordId> {
        let nurse = device.nurse(self.nurse.parse()?);
        let saved = device.save(&nurse, &self.round(device, &nurse, note, corrects)?)?;
        device.push_all().await?;
        noted(&self.facility.records(&self.patient).await?, note)?;
        Ok(saved.record)
    }
}

fn noted<'a>(charted: &'a [Value], note: &str) -> Result<&'a Value> {
    let found = charted.iter().find(|record| record["values"]["note"] == note);
    found.with_context(|| format!("no {note:?} in {charted:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_fills_a_tenth_of_what_its_facility_may_have_and_nurses_chart_on() -> Result<()> {
    // In proportion: at most 400 at once, and then one a minute.
    let scene = Scene::new("[sync]\nmax_documents = 4000\nentries_per_hour = 60").await?;
    let before = scene.documents().await?;
    let mut chain = scene.hostile.chain(Lane::Care);
    let wire = scene.hostile.wire(&scene.server)?;
    let mut refused = None;
    for n in 0..60 {
        let as_before = chain.clone();
        let batch =
            if n % 2 == 0 { scene.admissions(&mut chain, 100) } else { scene.rounds(&mut chain, 100, "x") }?;
        let answer = push(&wire, batch).await?;
        if answer.status != 200 {
            chain = as_before;
            refused = refused.or(Some(answer));
        }
    }
    let made = scene.documents().await? - before;
    assert!((200..=401).contains(&made), "{made} of 4,000; refused: {refused:?}");
    let refused = refused.context("nothing was refused")?;
    assert_eq!((refused.status, &refused.body["type"]), (429, &json!("/problems/over-quota")), "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");

    // Another device fetches its copy anew, and what its nurse charts arrives.
    drop(scene.honest.pull_all(&scene.honest.mirror).await?);
    scene.charts(&scene.honest, "The night was quiet", None).await?;

    let shown = scene.facility.device("Hostile").await?;
    assert!(shown["sync_reason"].as_str().is_some_and(|words| words.contains("unusually much")), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stolen_key_sent_is_taken_out_again_and_everybody_elses_entries_stand() -> Result<()> {
    let scene = Scene::new("[sync]\nmax_documents = 4000").await?;
    let (hostile, honest) = (&scene.hostile, &scene.honest);
    scene.charts(hostile, "Before it was stolen", None).await?;
    let hers = scene.charts(honest, "The night was quiet", None).await?;
    let since = honest.clock.now().plus_millis(1).to_string();
    drop(honest.pull_all(&honest.mirror).await?);

    let (mut chain, wire) = (hostile.chain(Lane::Care), hostile.wire(&scene.server)?);
    let nurse = hostile.nurse(scene.nurse.parse()?);
    let wrong = serde_json::to_string(&scene.round(hostile, &nurse, "She is well", Some(hers))?)?;
    for batch in
        [scene.admissions(&mut chain, 100)?, scene.rounds(&mut chain, 50, "x")?, chain.batch(&[wrong])?]
    {
        let answer = push(&wire, batch).await?;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Somebody takes one of them for true, and corrects it.
    let charted = scene.facility.records(&scene.patient).await?;
    let taken_for_true: RecordId = noted(&charted, "x")?["id"].as_str().context("id")?.parse()?;
    scene.charts(honest, "The pulse was 81", Some(taken_for_true)).await?;
    drop(honest.pull_all(&honest.mirror).await?);

    let session = scene.folder.path().join("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let withdraw = ["device", "withdraw", "Hostile", "--since", &since];
    let surely = [&withdraw[..], &["--yes"]].concat();
    let (code, _, said) = terminal.types(&surely).await?;
    assert!(code != 0 && said.contains("device deactivate"), "{said}");
    terminal.does(&["device", "deactivate", "Hostile", "--reason", "lost", "--yes"]).await?;
    let (code, _, said) = terminal.types(&withdraw).await?;
    assert!(code != 0 && said.contains("withdraw 51 entries and 100 admissions"), "{said}");
    assert!(said.contains("that \"Hostile\" (") && said.contains(", REVOKED, "), "which one: {said}");
    let flooded = scene.documents().await?;
    let done = terminal.does(&surely).await?;
    let stays = json!([{"what": "entry", "id": taken_for_true}]);
    let counted = |records: u64, residents: u64| {
        json!({
            "records": records, "residents": residents, "rejected": 0, "left": 1, "edits": 0, "decisions": 0,
            "pins": 0, "stays": stays,
        })
    };
    assert_eq!(done, counted(50, 100));
    let again = terminal.does(&surely).await?;
    assert_eq!(again, counted(0, 0));

    // What somebody corrected stays, with the correction; the rest is struck out.
    assert_eq!(flooded - scene.documents().await?, 50 + 100 + 99, "with what was to be looked at");
    let charted = scene.facility.records(&scene.patient).await?;
    for record in &charted {
        let is_flood = record["values"]["note"] == "x" && record["id"] != taken_for_true.to_string();
        let struck = is_flood || record["values"]["note"] == "She is well";
        assert_eq!(record["struck_out_by"].is_string(), struck, "{record}");
    }
    let strikes: Vec<_> = charted.iter().filter(|record| record["entered_in_error"] == true).collect();
    assert_eq!(strikes.len(), 50);
    assert!(strikes.iter().all(|it| it["reason"].as_str().is_some_and(|why| why.contains("Hostile"))));
    let admin = &scene.facility.organization.admin;
    let patients = items(&admin.get("/api/v1/patients").await?)?;
    let active = patients.iter().filter(|patient| patient["is_active"] == true).count();
    assert_eq!((patients.len(), active), (101, 1));
    let reviews =
        items(&admin.get(&format!("/api/v1/facilities/{}/reviews?limit=1000", scene.facility.id)).await?)?;
    assert!(
        reviews.len() >= 99 && reviews.iter().all(|review| review["resolved"].is_object()),
        "{reviews:?}"
    );

    // The copy of another device comes to the same.
    drop(honest.pull_all(&honest.mirror).await?);
    assert!(honest.mirror.differing()?.is_empty(), "{:?}", honest.mirror.differing()?);
    let nurse = honest.nurse(scene.nurse.parse()?);
    let may_read = honest.may_read(&nurse)?;
    assert_eq!(honest.mirror.all_residents(&may_read)?.len(), 1);
    let mut held = honest.notes_of_the_feed().await?;
    held.sort();
    assert_eq!(held, ["Before it was stolen", "The night was quiet", "The pulse was 81", "x"]);
    Ok(())
}
