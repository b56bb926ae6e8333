//! What a broken or hostile device may push, and what becomes of the honest changes behind it.

use anyhow::Result;
use carepost_protocol::change::{Change, ChangeKind, Lane};
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_protocol::wire::push::{MAX_BYTES, MAX_CHANGE_BYTES, MAX_CHANGES};
use carepost_tests::api::{Answer, Api};
use carepost_tests::device::{Chain, Device};
use carepost_tests::world::{Facility, Server, items};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const ZSTD: [(&str, &str); 2] = [("content-type", "application/json"), ("content-encoding", "zstd")];

struct Scene {
    facility: Facility,
    device: Device,
    wire: Api,
    patient: String,
    nurse: String,
    _server: Server,
    _folder: TempDir,
}

impl Scene {
    async fn new() -> Result<Self> {
        crate::install_provider();
        let folder = TempDir::new()?;
        let server = Server::start(&folder.path().join("server")).await?;
        let golden = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
        golden.publish("vitals").await?;
        let facility = golden.facility("Riverside", "ALF", Some(48), 44).await?;
        let nurse = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?.id;
        let patient = facility.admit(&carepost_tests::fixture::residents("RS", 1, true)).await?.remove(0);
        let (port, path) = (server.devices.port(), folder.path().join("device"));
        let device = Device::enroll(&path, &server, port, &facility, "Tablet").await?;
        let wire = device.wire(&server)?;
        Ok(Self { facility, device, wire, patient, nurse, _server: server, _folder: folder })
    }

    fn change(&self, edit: impl FnOnce(&mut Change)) -> Result<String> {
        let nurse = self.device.nurse(self.nurse.parse()?);
        let mut values = Map::new();
        values.extend(
            [("systolic", 128), ("diastolic", 77), ("pulse", 71)].map(|(k, v)| (k.to_owned(), v.into())),
        );
        let mut change = self.device.vitals(&nurse, self.patient.parse()?, values);
        edit(&mut change);
        Ok(serde_json::to_string(&change)?)
    }

    async fn push(&self, batch: String) -> Result<Answer> {
        self.wire.send(Method::POST, "/api/v1/sync/push", &JSON, batch.into_bytes()).await
    }

    async fn stored(&self) -> Result<usize> {
        Ok(self.facility.records(&self.patient).await?.len())
    }
}

fn is_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(
        (answer.status, &answer.body["type"]),
        (status, &json!(format!("/problems/{kind}"))),
        "{}",
        answer.text
    );
}

/// The verdict on each change of a receipt, the runs unrolled: word and code.
fn verdicts(answer: &Answer) -> Result<Vec<(String, String)>> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut all = Vec::new();
    for run in items(&answer.body["verdicts"])? {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for _ in 0..run["count"].as_u64().unwrap_or_default() {
            all.push((word(&run["verdict"]), word(&run["reason"]["code"])));
        }
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_is_rejected_by_name_and_holds_up_none_behind_it() -> Result<()> {
    let scene = Scene::new().await?;
    let mut chain = scene.device.chain(Lane::Care);
    let long = "x".repeat(MAX_CHANGE_BYTES);
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let changes = [
        scene.change(|change| drop(change.fields.insert("systolic".to_owned(), json!(900))))?,
        scene.change(|change| drop(change.fields.insert("colour".to_owned(), json!("red"))))?,
        scene.change(|change| drop(change.fields.remove("pulse")))?,
        scene.change(|change| drop(change.fields.insert("pulse".to_owned(), json!("fast"))))?,
        scene.change(|change| change.workflow = Some("'; DROP TABLE changes; --".to_owned()))?,
        scene.change(|change| change.schema_version = Some(7))?,
        scene.change(|change| change.patient = None)?,
        scene.change(|change| change.kind = ChangeKind::Delete)?,
        scene.change(|change| drop(change.fields.insert("note".to_owned(), json!(long))))?,
        json!({"collection": "records"}).to_string(),
        "7".to_owned(),
        deep,
        scene.change(|_| {})?,
    ];
    let batch = chain.batch(&changes)?;
    let receipt = scene.push(batch.clone()).await?;
    let codes = [
        "breaks_schema",
        "breaks_schema",
        "breaks_schema",
        "breaks_schema",
        "unknown_target",
        "unknown_target",
        "unknown_target",
        "unsupported",
        "malformed",
        "malformed",
        "malformed",
        "malformed",
    ];
    let found = verdicts(&receipt)?;
    for (at, code) in codes.iter().enumerate() {
        assert_eq!(found[at], ("rejected".to_owned(), (*code).to_owned()), "change {at}: {}", receipt.text);
    }
    assert_eq!(found[12].0, "applied", "{}", receipt.text);
    let fields: Vec<_> = items(&receipt.body["verdicts"])?;
    for (at, field) in ["systolic", "colour", "pulse", "pulse"].iter().enumerate() {
        assert_eq!(fields[at]["reason"]["errors"][0]["field"], *field, "{}", receipt.text);
    }
    for run in &fields[..12] {
        assert!(run["reason"]["detail"].as_str().is_some_and(|words| words.len() > 20), "{run}");
    }
    assert_eq!(scene.stored().await?, 1);
    // The same again: what stands is a duplicate, what was rejected is rejected as before.
    let again = scene.push(batch).await?;
    let repeated = verdicts(&again)?;
    assert_eq!(repeated[..12], found[..12]);
    assert_eq!(repeated[12].0, "duplicate");
    assert_eq!(items(&again.body["verdicts"])?[0]["reason"], fields[0]["reason"]);
    assert_eq!(again.body["next_n"], receipt.body["next_n"]);
    assert_eq!(scene.stored().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_does_not_add_up_changes_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let mut chain = scene.device.chain(Lane::Care);
    assert_eq!(verdicts(&scene.push(chain.batch(&[scene.change(|_| {})?])?).await?)?[0].0, "applied");
    let at_two = chain.clone();

    let gap = |mut chain: Chain| -> Result<String> {
        chain.batch(&[scene.change(|_| {})?])?;
        chain.batch(&[scene.change(|_| {})?])
    };
    let mut forked = at_two.clone();
    forked.head = carepost_protocol::change::Link::from_bytes([9; 32]);
    let mut rewritten = scene.device.chain(Lane::Care);
    rewritten.incarnation = at_two.incarnation;
    rewritten.head = carepost_protocol::change::Link::genesis(
        scene.device.grant.device_id,
        at_two.incarnation,
        Lane::Care,
    );
    for (why, batch) in [
        ("a gap", gap(at_two.clone())?),
        ("another history", forked.batch(&[scene.change(|_| {})?])?),
        ("an edited change", rewritten.batch(&[scene.change(|_| {})?])?),
    ] {
        let answer = scene.push(batch).await?;
        is_problem(&answer, 409, "chain-broken");
        assert_eq!(answer.body["next_n"], 2, "{why}: {}", answer.text);
    }
    // Arithmetic and signature that do not hold.
    let good = at_two.clone().batch(&[scene.change(|_| {})?])?;
    let parsed: Value = serde_json::from_str(&good)?;
    // In the text, so that the changes stay as they were hashed.
    let with = |key: &str, value: Value| {
        let edited = good.replacen(&format!("\"{key}\":{}", parsed[key]), &format!("\"{key}\":{value}"), 1);
        assert_ne!(edited, good, "{key} was not replaced");
        edited
    };
    let answer = scene.push(with("head", json!("ab".repeat(32)))).await?;
    is_problem(&answer, 422, "invalid");
    assert_eq!(answer.body["errors"][0]["field"], "head");
    for forged in ["00".repeat(64), "zz".repeat(64), String::new()] {
        let answer = scene.push(with("signature", json!(forged))).await?;
        is_problem(&answer, 400, "malformed");
        assert_eq!(answer.body["errors"][0]["field"], "signature");
    }
    let answer = scene.push(with("first_n", json!(0))).await?;
    is_problem(&answer, 422, "invalid");
    for (key, value) in [
        ("lane", json!("gossip")),
        ("incarnation", json!("x")),
        ("previous", json!("ab")),
        ("first_n", json!(-1)),
    ] {
        is_problem(&scene.push(with(key, value)).await?, 400, "malformed");
    }
    assert_eq!(scene.stored().await?, 1, "none of these may leave a trace");
    // And the honest chain goes on.
    let mut honest = at_two;
    assert_eq!(verdicts(&scene.push(honest.batch(&[scene.change(|_| {})?])?).await?)?[0].0, "applied");
    assert_eq!(scene.stored().await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_or_not_what_it_says_is_refused_whole() -> Result<()> {
    let scene = Scene::new().await?;
    let push = "/api/v1/sync/push";
    let send = |headers: &'static [(&'static str, &'static str)], body: Vec<u8>| {
        scene.wire.send(Method::POST, push, headers, body)
    };
    // A bomb: a few kilobytes that would unpack to a gigabyte.
    let bomb = zstd::bulk::compress(&vec![b' '; MAX_BYTES + 128 * 1024], 19)?;
    assert!(bomb.len() < 4096);
    is_problem(&send(&ZSTD, bomb.clone()).await?, 413, "too-large");
    let mut frames = Vec::new();
    for _ in 0..200 {
        frames.extend_from_slice(&bomb);
    }
    is_problem(&send(&ZSTD, frames).await?, 413, "too-large");
    is_problem(&send(&ZSTD, b"not zstd at all".to_vec()).await?, 400, "malformed");
    is_problem(&send(&ZSTD, vec![0; 3 * 1024 * 1024]).await?, 413, "too-large");
    is_problem(&send(&JSON, vec![b' '; MAX_BYTES + 128 * 1024]).await?, 413, "too-large");
    is_problem(&send(&JSON, b"{".to_vec()).await?, 400, "malformed");
    is_problem(
        &send(&[("content-type", "text/plain")], b"{}".to_vec()).await?,
        415,
        "unsupported-media-type",
    );
    let gzip = &[("content-type", "application/json"), ("content-encoding", "gzip")];
    is_problem(&send(gzip, b"{}".to_vec()).await?, 400, "malformed");
    let brotli = &[("content-type", "application/json"), ("content-encoding", "br")];
    is_problem(&send(brotli, b"{}".to_vec()).await?, 415, "unsupported-encoding");
    let many = vec!["7".to_owned(); MAX_CHANGES + 1];
    is_problem(
        &send(&JSON, scene.device.chain(Lane::Care).batch(&many)?.into_bytes()).await?,
        422,
        "invalid",
    );

    let beat = format!("/api/v1/devices/{}/heartbeat", scene.device.grant.device_id);
    let good = serde_json::to_value(scene.device.heartbeat(QueueState::default()))?;
    for (key, value) in [("uptime", json!("long")), ("encrypted", json!("PERHAPS")), ("queue", json!(null))] {
        let mut bad = good.clone();
        bad[key] = value;
        let answer = scene.wire.call(Method::POST, &beat, Some(&bad)).await?;
        is_problem(&answer, 422, "invalid");
        assert_eq!(answer.body["errors"][0]["field"], key, "{}", answer.text);
    }
    let mut newer = good;
    newer["mood"] = json!("fine");
    let answer = scene.wire.call(Method::POST, &beat, Some(&newer)).await?;
    assert_eq!(answer.status, 200, "a newer agent's field is left alone: {}", answer.text);
    for (query, status, kind) in [
        ("?epoch=1", 422, "invalid"),
        ("?epoch=x&seq=1", 422, "invalid"),
        ("?epoch=99&seq=1", 410, "cursor-refused"),
        ("?epoch=1&seq=999999", 410, "cursor-refused"),
    ] {
        let answer = scene.wire.call(Method::GET, &format!("/api/v1/sync/pull{query}"), None).await?;
        is_problem(&answer, status, kind);
    }
    let answer = scene.wire.call(Method::GET, "/api/v1/sync/pull?facility_id=7", None).await?;
    assert_eq!(answer.status, 200, "so is what a newer agent asks besides: {}", answer.text);
    let answer = scene.wire.call(Method::DELETE, push, None).await?;
    is_problem(&answer, 405, "method-not-allowed");
    assert_eq!(scene.stored().await?, 0);
    Ok(())
}
