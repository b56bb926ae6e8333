//! Agents one version of the protocol older and one newer than the server: both push, pull and beat, and
//! what the server does not know it keeps to the byte.

use anyhow::{Context as _, Result, bail};
use carepost_agent::mirror::{Asked, Page};
use carepost_agent::upstream::StreamEvent;
use carepost_protocol::change::{Change, ChangeKind, Lane};
use carepost_protocol::id::PatientId;
use carepost_protocol::record::Collection;
use carepost_protocol::role::Actor;
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_protocol::wire::{VERSION, VERSION_HEADER};
use carepost_tests::api::{Answer, Api};
use carepost_tests::children::{run, until};
use carepost_tests::device::{Chain, Device};
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::window;

/// A device whose messages a test writes by hand, in a version of its own.
struct Agent {
    device: Device,
    nora: Actor,
    wire: Api,
    headers: Vec<(&'static str, String)>,
}

impl Agent {
    async fn of(scene: &Scene, version: u32) -> Result<Self> {
        let (folder, port) = (scene.folder_of("hall"), scene.server.devices.port());
        let device = Device::enroll(&folder, &scene.server, port, &scene.facility, "hall").await?;
        let headers =
            vec![("content-type", "application/json".to_owned()), (VERSION_HEADER, version.to_string())];
        let (nora, wire) = (device.nurse(scene.nora.id.parse()?), device.wire(&scene.server)?);
        Ok(Self { device, nora, wire, headers })
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Result<Answer> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.wire.send(method.clone(), path, &headers, body.as_bytes().to_vec()).await?;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        Ok(answer)
    }

    /// Pushes a batch: the verdicts, one for each change.
    async fn push(&self, batch: &str) -> Result<Vec<String>> {
        let receipt = self.ask(Method::POST, "/api/v1/sync/push", batch).await?.body;
        let mut verdicts = Vec::new();
        for run in items(&receipt["verdicts"])? {
            let verdict = run["verdict"].as_str().context("a verdict")?;
            verdicts.extend((0..run["count"].as_u64().unwrap_or(0)).map(|_| verdict.to_owned()));
        }
        Ok(verdicts)
    }

    /// Pulls: the lines.
    async fn pull(&self, query: &str) -> Result<Vec<Value>> {
        let answer = self.ask(Method::GET, &format!("/api/v1/sync/pull{query}"), "").await?;
        Ok(answer.text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    async fn beat(&self, beat: &Value) -> Result<Value> {
        let path = format!("/api/v1/devices/{}/heartbeat", self.device.grant.device_id);
        Ok(self.ask(Method::POST, &path, &beat.to_string()).await?.body)
    }

    /// What every version says in a heartbeat.
    fn least(&self, chain: &Chain) -> Value {
        json!({"agent_version": "0.0.1", "uptime": 1, "device_time": self.device.clock.now(),
            "clock_quality": "synced", "mac_addresses": [], "encrypted": true, "reader": "READY",
            "incarnation": chain.incarnation, "queue": {"care": 0, "audit": 0, "wedged": 0}})
    }

    fn vitals(&self, resident: PatientId, note: &str) -> Change {
        let fields = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "note": note});
        self.device.vitals(&self.nora, resident, fields.as_object().cloned().unwrap_or_else(Map::new))
    }
}

/// A change as a newer agent writes it: with members, spaces and digits of its own.
fn newer(change: &Change, members: &str) -> Result<String> {
    Ok(serde_json::to_string(change)?.replacen('{', &format!("{{  {members}, "), 1))
}

fn documents(lines: &[Value], collection: &str) -> usize {
    lines.iter().filter(|line| line["collection"] == collection).count()
}

fn cursor(lines: &[Value]) -> Result<String> {
    let cursor = &lines.last().context("no line")?["page"]["cursor"];
    Ok(format!("?epoch={}&seq={}", cursor["epoch"], cursor["seq"]))
}

/// Verifies every chain of the server: each payload against its hash, each link, each signature.
async fn verifies(scene: &Scene, entries: u64) -> Result<()> {
    let config = scene.server.config().display().to_string();
    let (code, out, error) =
        run("carepost-server", &["--config", &config, "audit", "verify", "--json"], &[]).await?;
    assert_eq!(code, 0, "{out}{error}");
    let found: Value = serde_json::from_str(&out)?;
    assert_eq!((&found["entries"], &found["without_payload"]), (&json!(entries), &json!(0)), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_the_version_before_is_served() -> Result<()> {
    let scene = Scene::new(2).await?;
    let agent = Agent::of(&scene, VERSION - 1).await?;
    let (_, id) = scene.resident()?;
    let mut chain = agent.device.chain(Lane::Care);
    let first = serde_json::to_string(&agent.vitals(id.parse()?, "From before"))?;
    assert_eq!(agent.push(&chain.batch(&[first])?).await?, ["applied"]);
    let lines = agent.pull("").await?;
    assert_eq!((documents(&lines, "patients"), documents(&lines, "records")), (2, 1));
    let second = serde_json::to_string(&agent.vitals(id.parse()?, "And on"))?;
    assert_eq!(agent.push(&chain.batch(&[second])?).await?, ["applied"]);
    let lines = agent.pull(&cursor(&lines)?).await?;
    assert_eq!((documents(&lines, "patients"), documents(&lines, "records")), (0, 1));
    let mut beat = agent.least(&chain);
    beat["cursor"] = lines.last().context("no page")?["page"]["cursor"].clone();
    assert_eq!(agent.beat(&beat).await?["state"], "ACTIVE");
    let seen = until("the device to be in sync", PATIENCE, || async {
        let seen = scene.facility.device("hall").await?;
        if seen["sync_status"] == "SYNCED" { Ok(seen) } else { bail!("{seen}") }
    });
    assert_eq!(seen.await?["is_online"], true);
    scene.has_notes(id, &["From before".to_owned(), "And on".to_owned()]).await?;
    verifies(&scene, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_the_version_after_is_served_and_what_is_unknown_is_kept_to_the_byte() -> Result<()> {
    let scene = Scene::new(2).await?;
    let agent = Agent::of(&scene, VERSION + 1).await?;
    let (_, id) = scene.resident()?;
    let mut chain = agent.device.chain(Lane::Care);

    let accepted = newer(&agent.vitals(id.parse()?, "From after"), r#""mood":{"of":[1.50,"é"]}"#)?;
    let mut unpublished = agent.vitals(id.parse()?, "Of a form of tomorrow");
    unpublished.workflow = Some("tomorrow".to_owned());
    let rejected = newer(&unpublished, r#""photo" :"AA==","weight":1.50"#)?;
    let unreadable = newer(&agent.vitals(id.parse()?, "Of a kind of tomorrow"), r#""x":1"#)?.replacen(
        "\"kind\":\"create\"",
        "\"kind\":\"annotate\"",
        1,
    );
    let mut moved = agent.vitals(id.parse()?, "");
    (moved.kind, moved.collection, moved.record) =
        (ChangeKind::Patch, Collection::Patients, Some(id.parse()?));
    (moved.workflow, moved.schema_version) = (None, None);
    moved.fields = json!({"room": "104B", "allergies": ["penicillin"], "weight": 1.0})
        .as_object()
        .cloned()
        .unwrap_or_default();
    let patch = newer(&moved, r#""why":"asked for a window""#)?;
    let batch = chain.batch(&[accepted, rejected.clone(), unreadable.clone(), patch])?;
    let batch = batch.replacen('{', r#"{"weather":["rain"],"#, 1);
    assert_eq!(agent.push(&batch).await?, ["applied", "rejected", "rejected", "applied"]);
    // The chain goes on after what was rejected.
    let last = newer(&agent.vitals(id.parse()?, "And on"), r#""mood":null"#)?;
    assert_eq!(agent.push(&chain.batch(&[last])?).await?, ["applied"]);
    scene.has_notes(id, &["From after".to_owned(), "And on".to_owned()]).await?;

    let admin = &scene.facility.organization.admin;
    let device = agent.device.grant.device_id;
    for (n, payload) in [(2, rejected), (3, unreadable)] {
        let path = format!("/api/v1/devices/{device}/changes/{}/{n}", chain.incarnation);
        let exported = admin.call(Method::GET, &path, None).await?;
        assert!(exported.text.contains(&format!("\"payload\":{payload}")), "{n}: {}", exported.text);
    }
    let flagged = admin.get(&format!("/api/v1/facilities/{}/flagged-changes", scene.facility.id)).await?;
    let flagged: Vec<_> = items(&flagged)?.iter().map(|it| (it["n"].clone(), it["flags"].clone())).collect();
    assert_eq!(flagged, [(json!(4), json!(["unknown_fields"]))]);
    let resident = admin.get(&format!("/api/v1/patients/{id}")).await?;
    assert_eq!(resident["room"], "104B");

    let lines = agent.pull("?mood=sunny&photos=8").await?;
    let again = agent.pull(&format!("{}&refetch=photos,patients&x=1", cursor(&lines)?)).await?;
    assert_eq!((documents(&again, "patients"), documents(&again, "records")), (2, 0));
    assert_eq!(again[2]["page"]["refetched"], json!(["patients"]), "{again:?}");
    let only_unknown = agent.pull(&format!("{}&refetch=photos", cursor(&lines)?)).await?;
    assert_eq!(only_unknown.len(), 1, "{only_unknown:?}");
    let mut beat = agent.least(&chain);
    for (key, value) in [("battery", json!({"percent": 80})), ("mirror", json!({"refetches": 0, "pages": 7}))]
    {
        beat[key] = value;
    }
    beat["queue"]["photos"] = json!(3);
    assert_eq!(agent.beat(&beat).await?["state"], "ACTIVE");
    verifies(&scene, 5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_no_window_is_equal_once_it_has_fetched_its_records_again() -> Result<()> {
    let mut scene = window::scene_of(100, 1).await?;
    let agent = Agent::of(&scene, VERSION).await?;
    let (device, id) = (&agent.device, scene.resident()?.1.parse()?);
    for note in ["Old", "Old too"] {
        device.save(&agent.nora, &agent.vitals(id, note))?;
    }
    device.push_all().await?;
    unaware(device).await?;
    window::until_today(&mut scene).await?;
    device.save(&agent.nora, &agent.vitals(id, "Young"))?;
    until("the archiving", PATIENCE, || async {
        device.upstream.heartbeat(device.grant.device_id, &device.heartbeat(QueueState::default())).await?;
        let notes = device.notes_of_the_feed().await?;
        anyhow::ensure!(notes.is_empty(), "{notes:?}");
        Ok(())
    })
    .await?;
    device.push_all().await?;
    unaware(device).await?;
    let asked = Asked { after: 0, most: 10, versions: 1 };
    let records = device.mirror.threads(&device.may_read(&agent.nora)?, id, asked)?;
    assert_eq!(records.threads.len(), 1, "{records:?}");
    let agreement = device.mirror.agreement()?;
    assert_eq!((agreement.differs, agreement.refetches), (Vec::new(), 1));
    Ok(())
}

/// Pulls as an agent that does not read how far records have left the feed.
async fn unaware(device: &Device) -> Result<()> {
    loop {
        let mut stream = device.upstream.live(&device.mirror.beginning()?.sync_position()).await?;
        loop {
            let StreamEvent::Page(mut page) = stream.next().await?.context("the stream ended")? else {
                continue;
            };
            page.end.archived = None;
            device.mirror.apply(&Page::from_lines(&page.lines)?, &page.end)?;
            if page.end.reaches_head() && page.end.refetched.is_empty() {
                break;
            }
        }
        if device.mirror.beginning()?.refetch.is_empty() {
            return Ok(());
        }
    }
}
