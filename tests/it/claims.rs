//! What a hostile device says of itself, and what of it is believed: nothing that costs anybody else.

use anyhow::{Context as _, Result, bail};
use carepost_protocol::change::{Change, ChangeKind, Lane};
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::{Heartbeat, QueueState};
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use carepost_tests::api::{Answer, Api};
use carepost_tests::children::until;
use carepost_tests::device::{Chain, Device};
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Value, json};

async fn device(scene: &Scene, name: &str) -> Result<Device> {
    let port = scene.server.devices.port();
    Device::enroll(&scene.folder_of(name), &scene.server, port, &scene.facility, name).await
}

/// The end of the feed, as a device is told it.
async fn head(wire: &Api) -> Result<PageEnd> {
    let answer = wire.call(Method::GET, "/api/v1/sync/pull", None).await?;
    let last = answer.text.lines().last().context("no page")?;
    Ok(serde_json::from_value(serde_json::from_str::<Value>(last)?["page"].clone())?)
}

async fn beat(device: &Device, cursor: Option<Cursor>) -> Result<()> {
    let beat = Heartbeat { cursor, ..device.heartbeat(QueueState::default()) };
    device.upstream.heartbeat(device.grant.device_id, &beat).await?;
    Ok(())
}

async fn has_synced(scene: &Scene, name: &str) -> Result<()> {
    until(&format!("{name} to be in sync"), PATIENCE, || async {
        let seen = scene.facility.device(name).await?;
        if seen["sync_status"] == "SYNCED" { Ok(()) } else { bail!("{seen}") }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_synced_when_it_says_that_it_applied_what_there_is_and_not_what_there_is_not()
-> Result<()> {
    let scene = Scene::new(2).await?;
    let (hall, wing) = (device(&scene, "hall").await?, device(&scene, "wing").await?);
    let end = head(&hall.wire(&scene.server)?).await?;
    let beyond = Cursor { seq: end.head + 1_000, ..end.cursor };
    // All of the feed was written to the hall's connection. It says nothing, too little, and too much; the
    // wing is written down after it each time.
    for said in [None, Some(Cursor { seq: 1, ..end.cursor }), Some(beyond)] {
        beat(&hall, said).await?;
        beat(&wing, Some(end.cursor)).await?;
        has_synced(&scene, "wing").await?;
        let seen = scene.facility.device("hall").await?;
        assert_eq!(
            (&seen["sync_status"], &seen["last_sync"]),
            (&json!("NEVER_SYNCED"), &Value::Null),
            "{said:?}"
        );
    }
    beat(&hall, Some(end.cursor)).await?;
    has_synced(&scene, "hall").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_merely_claims_to_know_more_begins_anew_and_nobody_else_does() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (hostile, honest) = (device(&scene, "hostile").await?, device(&scene, "honest").await?);
    let wire = hostile.wire(&scene.server)?;
    let mut stream = honest.pull_all(&honest.mirror).await?;
    let end = head(&wire).await?;
    let ask = async |query: String| wire.call(Method::GET, &format!("/api/v1/sync/pull{query}"), None).await;
    let Cursor { epoch, seq } = end.cursor;
    let proof = end.proof.context("a page's end without its proof")?;
    let incarnation = hostile.outbox.incarnation();
    for claim in [
        format!("?epoch={epoch}&seq={}", seq + 1_000_000),
        // With the proof of another place, and with none that is one.
        format!("?epoch={epoch}&seq={}&proof={proof}", seq + 1),
        format!("?epoch={epoch}&seq={}&proof=AAAA", seq + 1),
        // Of its own chains.
        format!("?epoch={epoch}&seq={seq}&proof={proof}&incarnation={incarnation}&care=999&audit=999"),
        format!("?incarnation={incarnation}&care=999"),
    ] {
        let refused = ask(claim.clone()).await?;
        assert_eq!((refused.status, kind(&refused)), (410, "/problems/cursor-refused"), "{claim}");
        assert_eq!(head(&wire).await?.cursor, end.cursor, "the epoch is not raised by {claim}");
    }
    // Whoever is honest goes on where it was, on the stream that it had.
    scene.facility.admit(&carepost_tests::fixture::residents("RT", 1, true)).await?;
    let news =
        tokio::time::timeout(PATIENCE, stream.next()).await.context("the honest stream is silent")??;
    assert!(news.is_some(), "the honest stream was ended");
    let events = items(&scene.facility.organization.admin.get("/api/v1/audit-events?limit=1000").await?)?;
    assert!(!events.iter().any(|event| event["details"]["what"] == "server_rewound"));
    Ok(())
}

fn kind(answer: &Answer) -> &str {
    answer.body["type"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_claims_to_have_seen_the_future_does_not_win_over_what_it_did_not_see() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (honest, hostile) = (device(&scene, "honest").await?, device(&scene, "hostile").await?);
    let another = device(&scene, "another").await?;
    let (_, id) = scene.resident()?;
    let seen = head(&honest.wire(&scene.server)?).await?.head;
    let edit = |device: &Device, chain: &mut Chain, room: &str, base_seq: u64| -> Result<String> {
        let nora = device.nurse(scene.nora.id.parse()?);
        let fields = json!({ "room": room }).as_object().cloned().unwrap_or_default();
        let change = Change {
            kind: ChangeKind::Patch,
            collection: Collection::Patients,
            record: Some(id.parse()?),
            base_seq: Some(base_seq),
            patient: None,
            workflow: None,
            schema_version: None,
            ..device.vitals(&nora, id.parse()?, fields)
        };
        chain.batch(&[serde_json::to_string(&change)?])
    };
    let push = async |device: &Device, batch: String| -> Result<Value> {
        let json = [("content-type", "application/json")];
        let wire = device.wire(&scene.server)?;
        let answer = wire.send(Method::POST, "/api/v1/sync/push", &json, batch.into_bytes()).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Ok(answer.body["verdicts"][0]["verdict"].clone())
    };
    let mut hers = honest.chain(Lane::Care);
    assert_eq!(push(&honest, edit(&honest, &mut hers, "101", seen)?).await?, "applied");
    // Beyond the end of the feed by far, and by one; from two devices, for each knows its own edits.
    let far = u64::from(u32::MAX);
    assert_eq!(push(&hostile, edit(&hostile, &mut hostile.chain(Lane::Care), "666", far)?).await?, "merged");
    let next = head(&honest.wire(&scene.server)?).await?.head + 1;
    assert_eq!(push(&another, edit(&another, &mut another.chain(Lane::Care), "667", next)?).await?, "merged");
    let path = format!("/api/v1/facilities/{}/reviews", scene.facility.id);
    let reviews = items(&scene.facility.organization.admin.get(&path).await?)?;
    let kept = serde_json::to_string(&reviews)?;
    assert!(["101", "666", "667"].iter().all(|room| kept.contains(room)), "{kept}");
    Ok(())
}
