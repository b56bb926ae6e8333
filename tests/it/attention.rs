//! What needs somebody: a rejected change, from the device to whoever settles it and back.

use anyhow::{Context as _, Result};
use carepost_protocol::change::Lane;
use carepost_protocol::id::RecordId;
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::heartbeat::{ChangeName, QueueState, Settlement};
use carepost_tests::device::Device;
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_change_is_shown_settled_and_told_to_its_device() -> Result<()> {
    let scene = Scene::new(1).await?;
    let Scene { server, facility, nora, .. } = &scene;
    let (who, resident) = scene.resident()?;
    let device =
        Device::enroll(&scene.folder_of("kiosk"), server, server.devices.port(), facility, "Hall").await?;
    let actor = device.nurse(nora.id.parse()?);
    let charted = |patient: &str, workflow: &str| -> Result<String> {
        let fields =
            json!({"note": "seen", "pulse_by_hand": 1.50}).as_object().cloned().unwrap_or_else(Map::new);
        let mut change = device.vitals(&actor, patient.parse()?, fields);
        change.workflow = Some(workflow.to_owned());
        // Spaces and the order of keys are the device's own: an export has them to the byte.
        Ok(serde_json::to_string(&change)?.replacen("{\"", "{  \"", 1))
    };
    let mut chain = device.chain(Lane::Care);
    let nobody = RecordId::of_create(chain.incarnation, 99, device.clock.now()).to_string();
    let entries = [charted(resident, "rounds")?, charted(&nobody, "rounds")?];
    let wire = device.wire(server)?;
    let kind = [("content-type", "application/json")];
    let answer =
        wire.send(Method::POST, "/api/v1/sync/push", &kind, chain.batch(&entries)?.into_bytes()).await?;
    assert!(
        items(&answer.body["verdicts"])?.iter().all(|run| run["verdict"] == "rejected"),
        "{}",
        answer.text
    );

    // The administrator sees both, and one to the byte.
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let listed = items(&terminal.does(&["change", "list", "Riverside"]).await?)?;
    let numbers: Vec<_> = listed.iter().filter_map(|change| change["n"].as_u64()).collect();
    assert_eq!(numbers, [2, 1]);
    assert!(listed[1]["detail"].as_str().context("a reason")?.contains("never published"), "{listed:?}");
    let (id, incarnation) = (device.grant.device_id.to_string(), chain.incarnation.to_string());
    let name = |n: &'static str| [id.as_str(), incarnation.as_str(), n];
    let (code, shown, error) =
        terminal.types(&[&["change", "show"], &name("1")[..], &["--json"]].concat()).await?;
    assert_eq!(code, 0, "{error}");
    assert_eq!(serde_json::from_str::<Value>(&shown)?["reason"]["code"], "unknown_target");
    let path = format!("/api/v1/devices/{id}/changes/{incarnation}/1");
    let exported = facility.organization.admin.call(Method::GET, &path, None).await?;
    assert!(exported.text.contains(&format!("\"payload\":{}", entries[0])), "{}", exported.text);

    // As long as nothing is put right it is rejected again, and says so.
    let (code, _, error) = terminal.types(&[&["change", "retry"], &name("1")[..]].concat()).await?;
    assert!(
        code == 1 && error.contains("rejected as before: ") && error.contains("never published"),
        "{error}"
    );

    // What was wrong is put right: the form is published, and the change stands as it was made.
    let field = json!({"key": "note", "label": "Note", "type": "string"});
    let by_hand = json!({"key": "pulse_by_hand", "label": "Pulse", "type": "number"});
    let form = json!({"key": "rounds", "label": "Rounds", "fields": [field, by_hand]});
    facility.organization.admin.post("/api/v1/workflows", &form).await?;
    let retried = terminal.does(&[&["change", "retry"], &name("1")[..]].concat()).await?;
    assert_eq!(retried["settlement"], "applied", "{retried}");
    assert_eq!(facility.records(resident).await?.len(), 1);
    let discard =
        [&["change", "discard"], &name("2")[..], &["--reason", "entered for a drill", "--yes"]].concat();
    assert_eq!(terminal.does(&discard).await?["settlement"], "discarded");
    let (code, _, error) = terminal.types(&discard).await?;
    assert!(code == 1 && error.contains("settled already"), "{error}");
    assert!(items(&terminal.does(&["change", "list", "Riverside"]).await?)?.is_empty());
    assert!(items(&terminal.does(&["review", "list", "Riverside"]).await?)?.is_empty());

    // The device hears of both, and of nothing it did not ask for.
    let mut beat = device.heartbeat(QueueState::default());
    beat.rejected = [1, 2, 3].map(|n| ChangeName { incarnation: chain.incarnation, n }).to_vec();
    let path = format!("/api/v1/devices/{id}/heartbeat");
    let reply = wire.post(&path, &serde_json::to_value(&beat)?).await?;
    let told: Vec<_> = items(&reply["settled"])?
        .iter()
        .map(|told| (told["n"].as_u64(), told["settlement"].clone(), told["seq"].is_u64()))
        .collect();
    let word = |settlement: Settlement| serde_json::to_value(settlement);
    let expected =
        [(Some(1), word(Settlement::Applied)?, true), (Some(2), word(Settlement::Discarded)?, false)];
    assert_eq!(told, expected);

    // Every look at it is written down, and so is who settled it and why.
    let events = items(&facility.organization.admin.get("/api/v1/audit-events?limit=1000").await?)?;
    let about = |action: &str| {
        let of = |event: &&Value| event["resource_type"] == "change" && event["action"] == action;
        events.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    assert_eq!((about("view").len(), about("export").len(), about("execute").len()), (2, 2, 2));
    assert_eq!(about("delete")[0]["details"]["reason"], "entered for a drill");

    // What stands with a flag is listed in words, and shown by the same three words as what was rejected.
    let mut unset = device.vitals(&actor, resident.parse()?, Map::new());
    unset.workflow = Some("rounds".to_owned());
    unset.fields.insert("note".to_owned(), json!("seen again"));
    unset.clock_quality = ClockQuality::Unset;
    let entry = serde_json::to_string(&unset)?;
    let answer =
        wire.send(Method::POST, "/api/v1/sync/push", &kind, chain.batch(&[entry])?.into_bytes()).await?;
    assert_eq!(answer.body["verdicts"][0]["verdict"], "applied", "{}", answer.text);
    let (_, table, _) = terminal.types(&["change", "list", "Riverside", "--flagged"]).await?;
    let row = table.lines().nth(1).context("no row")?;
    for words in ["entry (rounds)", "Nora Quist", who, "the device's clock was not set"] {
        assert!(row.contains(words), "no {words}: {table}");
    }
    assert!(row.contains(" CST") || row.contains(" CDT"), "in the facility's zone: {table}");
    assert!(row.ends_with(&format!("Hall    {incarnation}  3")), "{table}");
    let show = ["change", "show", "Hall", &incarnation, "3"];
    let (code, shown, error) = terminal.types(&show).await?;
    assert!(code == 0 && shown.contains("the device's clock was not set"), "{shown}{error}");
    assert_eq!(terminal.does(&show).await?["payload"]["fields"]["note"], "seen again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_device_whose_name_another_has_is_listed_by_its_id() -> Result<()> {
    let scene = Scene::new(1).await?;
    let Scene { server, facility, nora, .. } = &scene;
    let (_, resident) = scene.resident()?;
    let hall = async |folder_name: &str| {
        Device::enroll(&scene.folder_of(folder_name), server, server.devices.port(), facility, "Hall").await
    };
    let lost = hall("lost").await?;
    let fields = json!({"note": "seen"}).as_object().cloned().unwrap_or_else(Map::new);
    let mut entry = lost.vitals(&lost.nurse(nora.id.parse()?), resident.parse()?, fields);
    (entry.workflow, entry.clock_quality) = (Some("rounds".to_owned()), ClockQuality::Unset);
    let mut chain = lost.chain(Lane::Care);
    let batch = chain.batch(&[serde_json::to_string(&entry)?])?.into_bytes();
    let kind = [("content-type", "application/json")];
    let answer = lost.wire(server)?.send(Method::POST, "/api/v1/sync/push", &kind, batch).await?;
    assert_eq!(answer.body["verdicts"][0]["verdict"], "rejected", "{}", answer.text);

    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let row = async |words: &[&str]| -> Result<String> {
        let (_, table, error) = terminal.types(words).await?;
        Ok(table.lines().nth(1).with_context(|| format!("no row: {table}{error}"))?.to_owned())
    };
    let (id, incarnation) = (lost.grant.device_id.to_string(), chain.incarnation.to_string());
    let rejected = ["change", "list", "Riverside"];
    let listed = row(&rejected).await?;
    assert!(listed.ends_with(&format!("Hall    {incarnation}  1")), "{listed}");
    terminal.does(&["device", "deactivate", "Hall", "--reason", "lost", "--yes"]).await?;
    hall("found").await?;
    let listed = row(&rejected).await?;
    assert!(
        listed.ends_with(&format!("{id}  {incarnation}  1")) && listed.contains("never published"),
        "{listed}"
    );
    let named: Vec<&str> = listed.split_whitespace().skip(listed.split_whitespace().count() - 3).collect();
    let (code, shown, error) = terminal.types(&[&["change", "show"], &named[..]].concat()).await?;
    assert!(code == 0 && shown.contains("never published"), "{shown}{error}");

    // What was rejected once and stands now is listed with what to look at, and is not asked about to be discarded.
    let field = json!({"key": "note", "label": "Note", "type": "string"});
    let form = json!({"key": "rounds", "label": "Rounds", "fields": [field]});
    facility.organization.admin.post("/api/v1/workflows", &form).await?;
    let retried = terminal.does(&[&["change", "retry"], &named[..]].concat()).await?;
    assert_eq!(retried["settlement"], "applied", "{retried}");
    let flagged = row(&["change", "list", "Riverside", "--flagged"]).await?;
    assert!(
        flagged.contains("the device's clock was not set") && !flagged.contains("published"),
        "{flagged}"
    );
    let discard = [&["change", "discard"], &named[..], &["--reason", "entered for a drill"]].concat();
    let (code, _, error) = terminal.types(&discard).await?;
    assert!(code == 1 && error.contains("nothing was done: it stands; strike it out"), "{error}");
    Ok(())
}
