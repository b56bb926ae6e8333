//! Who asks for too much: a device with a key, and everybody without one. The server stays small, ends what
//! is not taken, and answers the others meanwhile.

mod honest;
mod stolen_key;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use axum::body::Bytes;
use carepost_agent::clock::Clock;
use carepost_agent::identity::DeviceKey;
use carepost_agent::upstream::{Upstream, UpstreamError};
use carepost_protocol::change::Lane;
use carepost_protocol::id::{BootId, DeviceId, DeviceUuid};
use carepost_protocol::wire::BOOT_HEADER;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::push::{MAX_BYTES, MAX_CHANGES};
use carepost_tests::api::{Api, text};
use carepost_tests::appetite::rss_kib;
use carepost_tests::children::until;
use carepost_tests::device::{Chain, Device, connect};
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::peer::{Http2, Peer};
use carepost_tests::world::{Facility, Server, items};
use futures_util::future::join_all;
use http::Request;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the server lets an answer wait for whoever does not take it.
const UNTAKEN: Duration = Duration::from_secs(30);

/// A server with one facility and two devices of it: one that does harm, and one that has to work.
struct Scene {
    server: Server,
    facility: Facility,
    hostile: Device,
    honest: Device,
    boot: BootId,
    patient: String,
    nurse: String,
    folder: TempDir,
}

impl Scene {
    async fn new(config: &str) -> Result<Self> {
        crate::install_provider();
        let folder = TempDir::new()?;
        let mut server = Server::start(&folder.path().join("server")).await?;
        if !config.is_empty() {
            server.configure(config).await?;
        }
        let golden = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
        golden.publish("vitals").await?;
        let facility = golden.facility("Riverside", "ALF", Some(48), 44).await?;
        let nurse = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?.id;
        let patient = facility.admit(&residents("RS", 1, true)).await?.remove(0);
        let port = server.devices.port();
        let hostile =
            Device::enroll(&folder.path().join("hostile"), &server, port, &facility, "Hostile").await?;
        let honest =
            Device::enroll(&folder.path().join("honest"), &server, port, &facility, "Honest").await?;
        let clock = Clock::new(None);
        let boot = BootId::new(clock.now(), clock.random());
        Ok(Self { server, facility, hostile, honest, boot, patient, nurse, folder })
    }

    /// A request of a device, as its agent heads it.
    fn request(&self, method: &str, path: &str) -> Result<Request<()>> {
        Ok(Request::builder()
            .method(method)
            .uri(path)
            .header(BOOT_HEADER, self.boot.to_string())
            .header("content-type", "application/json")
            .body(())?)
    }

    /// The next changes of a chain, each a round of vitals with that note.
    fn rounds(&self, chain: &mut Chain, count: usize, note: &str) -> Result<String> {
        let nurse = self.hostile.nurse(self.nurse.parse()?);
        let mut values = Map::new();
        values.insert("note".to_owned(), json!(note));
        values.extend(
            [("systolic", 128), ("diastolic", 77), ("pulse", 71)].map(|(k, v)| (k.to_owned(), v.into())),
        );
        let change = serde_json::to_string(&self.hostile.vitals(&nurse, self.patient.parse()?, values))?;
        chain.batch(&vec![change; count])
    }

    /// The honest device is answered, and soon.
    async fn honest_is_served(&self) -> Result<()> {
        let began = Instant::now();
        let beat = self.honest.heartbeat(QueueState::default());
        let device = self.honest.grant.device_id;
        // A connection may have been ended between two beats, as while the network changes.
        if self.honest.upstream.heartbeat(device, &beat).await.is_err() {
            self.honest.upstream.heartbeat(device, &beat).await?;
        }
        ensure!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
        Ok(())
    }

    fn memory_mib(&self) -> Result<f64> {
        Ok(rss_kib(self.server.pid())? / 1024.0)
    }
}

/// The most that `watched` comes to while `work` goes on.
async fn most_during<T>(
    work: impl Future<Output = T>,
    mut watched: impl FnMut() -> Result<f64>,
) -> Result<(T, f64)> {
    let mut most = watched()?;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return Ok((done, most.max(watched()?))),
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(watched()?),
        }
    }
}

/// Waits until a stream of the server's was reset.
async fn is_reset(mut answer: h2::RecvStream, patience: Duration) -> Result<()> {
    let ended = async {
        while let Some(piece) = answer.data().await {
            piece?;
        }
        Ok::<_, h2::Error>(())
    };
    let ended = tokio::time::timeout(patience, ended).await.context("it is open still")?;
    let fault = ended.err().context("it ended in good order")?;
    ensure!(fault.is_reset() || fault.is_go_away() || fault.is_io(), "{fault}");
    Ok(())
}

/// Fills the facility's feed with so many thousands of long rounds: some two megabytes each.
async fn fill(scene: &Scene, thousands: usize) -> Result<()> {
    let mut chain = scene.hostile.chain(Lane::Care);
    let connection = Peer::device(&scene.server, &scene.hostile.key)?.http2(65_535).await?;
    for _ in 0..thousands {
        let batch = scene.rounds(&mut chain, MAX_CHANGES, &"x".repeat(1_800))?;
        let push = scene.request("POST", "/api/v1/sync/push")?;
        let answer = connection.ask(push, Some(batch.into())).await?.await?;
        ensure!(answer.status() == 200, "{answer:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_cost_little_are_two_and_end_with_the_device() -> Result<()> {
    let scene = Scene::new("").await?;
    fill(&scene, 2).await?;
    let before = scene.memory_mib()?;
    // Each pull is megabytes, of which nothing is taken.
    let peer = Peer::device(&scene.server, &scene.hostile.key)?;
    let connections = join_all((0..8).map(|_| peer.http2(0))).await;
    let connections: Vec<Http2> = connections.into_iter().collect::<Result<_>>()?;
    let began = Instant::now();
    let pulls = async {
        let mut asked = Vec::new();
        for connection in connections.iter().cycle().take(128) {
            asked.push(connection.ask(scene.request("GET", "/api/v1/sync/pull")?, None).await?);
        }
        anyhow::Ok(join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?)
    };
    let (answers, most) = most_during(pulls, || scene.memory_mib()).await?;
    assert!(most - before < 100.0, "the server grew from {before:.0} to {most:.0} MiB");
    let (open, refused): (Vec<_>, Vec<_>) = answers?.into_iter().partition(|answer| answer.status() == 200);
    assert_eq!((open.len(), refused.len()), (2, 126), "two streams at once");
    for refused in refused {
        assert_eq!(refused.status(), 429);
        assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
    }
    scene.honest_is_served().await?;

    // Nobody asks those streams anything: they end all the same, long before they would by themselves.
    let admin = &scene.facility.organization.admin;
    let path = format!("/api/v1/devices/{}/deactivate", scene.hostile.grant.device_id);
    admin.post(&path, &json!({})).await?;
    // Where it took longer to come here, they may end by themselves.
    let is_early = began.elapsed() < UNTAKEN / 2;
    for stream in open {
        is_reset(stream.into_body(), PATIENCE).await?;
    }
    if is_early {
        let log = scene.server.log();
        assert_eq!(log.matches("had to end before it was taken").count(), 2, "{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_ends_and_who_asks_nothing_leaves() -> Result<()> {
    let scene = Scene::new("").await?;
    // More than the sockets of one connection take in by themselves.
    fill(&scene, 7).await?;
    let (person, device) = (Peer::person(&scene.server)?, Peer::device(&scene.server, &scene.hostile.key)?);
    let stranger = Peer::device(&scene.server, &DeviceKey::generate()?)?;
    let path = "/api/v1/sync/pull";

    // A window of zero, and one of a byte, with which the server takes a piece in hand.
    let windows = async {
        let (none, one) = (device.http2(0).await?, device.http2(1).await?);
        let none = none.ask(scene.request("GET", path)?, None).await?.await?.into_body();
        let one = one.ask(scene.request("GET", path)?, None).await?.await?.into_body();
        let (none, one) = tokio::join!(is_reset(none, PATIENCE * 2), is_reset(one, PATIENCE * 2));
        none.context("a window of zero")?;
        one.context("a window of one")
    };
    // Over HTTP/1.1, two that are not read are all that the device may have, until they are cut.
    let unread = async {
        let device = Peer::device(&scene.server, &scene.honest.key)?;
        let (mut first, mut second) = (device.tls("http/1.1").await?, device.tls("http/1.1").await?);
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{BOOT_HEADER}: {}\r\n\r\n", scene.boot);
        for stream in [&mut first, &mut second] {
            stream.write_all(head.as_bytes()).await?;
            let mut begins = [0; 12];
            stream.read_exact(&mut begins).await?;
            ensure!(&begins == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&begins));
        }
        let third = device.http2(0).await?;
        let pull =
            async || anyhow::Ok(third.ask(scene.request("GET", path)?, None).await?.await?.status().as_u16());
        ensure!(pull().await? == 429, "a third is let in");
        until("the first to be cut", PATIENCE * 2, || async {
            ensure!(pull().await? == 200, "it is refused still");
            Ok(())
        })
        .await
    };
    // HTTP/2 without a stream, though pings are answered; no word after TLS; HTTP/1.1 after a request.
    let idle = async {
        let (spoke, silent) = (person.http2(65_535).await?, stranger.http2(65_535).await?);
        ensure!(spoke.get("/api/v1/health").await?.status() == 200);
        let (mut mute, mut kept) = (person.tls("h2").await?, person.tls("http/1.1").await?);
        kept.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        let (mut rest, mut answer) = (Vec::new(), Vec::new());
        let all = async {
            tokio::join!(
                spoke.ended,
                silent.ended,
                mute.read_to_end(&mut rest),
                kept.read_to_end(&mut answer)
            )
        };
        let ended = tokio::time::timeout(PATIENCE * 2, all).await.context("who asks nothing stays")?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "it was not answered: {ended:?}");
        Ok(())
    };
    let (windows, unread, idle) = tokio::join!(windows, unread, idle);
    windows.and(unread).and(idle)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_shuts_nobody_out_who_has_one() -> Result<()> {
    // In proportion: 4,096 places would be as many handshakes.
    let scene = Scene::new("max_connections = 256").await?;
    let throw_away = Peer::device(&scene.server, &DeviceKey::generate()?)?;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.extend(throw_away.tls("h2").await);
    }
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.extend(throw_away.connect().await);
    }
    let elsewhere = Peer::device(&scene.server, &scene.honest.key)?.at([127, 0, 2, 1]);
    // The server gives a handshake ten seconds: on a slow machine the flood comes again, until the newcomer was let in
    // while all of it but the one that made room was there.
    let flood = until("a newcomer's handshake beside the flood", PATIENCE, || async {
        let flood = silent_from_everywhere(&throw_away).await?;
        elsewhere.tls("h2").await?;
        let open = are_open(&flood);
        ensure!(open >= 63, "of the flood {open} were still there");
        Ok(flood)
    })
    .await?;
    // From the same address: a device that is known comes, another is let in, and people work.
    let again = Peer::device(&scene.server, &scene.honest.key)?;
    // As an agent does, it comes again where the flood itself was in its way.
    until("a known device to be served", PATIENCE, || async {
        let connection = again.http2(65_535).await?;
        let pull = connection.ask(scene.request("GET", "/api/v1/sync/pull")?, None).await?.await?;
        ensure!(pull.status() == 200, "{pull:?}");
        Ok(())
    })
    .await?;
    scene.honest_is_served().await?;
    let (folder, port) = (scene.folder.path().join("late"), scene.server.devices.port());
    let late = Device::enroll(&folder, &scene.server, port, &scene.facility, "Late").await?;
    late.upstream.heartbeat(late.grant.device_id, &late.heartbeat(QueueState::default())).await?;
    scene.server.root().await?;
    drop((held, silent, flood));
    Ok(())
}

/// One connection from each of more addresses than there are places for handshakes, none of which goes on, once they
/// have all 64.
async fn silent_from_everywhere(peer: &Peer) -> Result<Vec<TcpStream>> {
    let mut silent = Vec::new();
    for n in 0..100 {
        silent.push(peer.at([127, 0, 1, n]).connect().await?);
    }
    until("the flood to have all 64 places", PATIENCE, || async {
        let open = are_open(&silent);
        ensure!(open <= 64, "{open} of {} are open", silent.len());
        Ok(())
    })
    .await?;
    Ok(silent)
}

fn are_open(lines: &[TcpStream]) -> usize {
    lines.iter().filter(|line| !matches!(line.try_read(&mut [0]), Ok(0))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kiosks_behind_one_address_come_at_once() -> Result<()> {
    let scene = Scene::new("").await?;
    let admin = &scene.facility.organization.admin;
    let mut kiosks = Vec::new();
    for n in 0..200 {
        kiosks.push(token_device(&scene, admin, n).await?);
    }
    // Each with a connection of its own, all at the same time, and none is told to come again.
    let beats = kiosks.iter().map(|(upstream, device)| {
        let beat = scene.honest.heartbeat(QueueState::default());
        async move { upstream.heartbeat(*device, &beat).await }
    });
    let refused: Vec<_> = join_all(beats).await.into_iter().filter_map(Result::err).collect();
    assert!(refused.is_empty(), "{} of them: {:?}", refused.len(), refused.first());
    Ok(())
}

/// A device that enrolls by token, with a connection to be made yet.
async fn token_device(scene: &Scene, admin: &Api, n: usize) -> Result<(Upstream, DeviceId)> {
    let body = json!({"facility_id": scene.facility.id, "device_name": format!("Kiosk {n}"), "device_type": "TABLET"});
    let token = text(&admin.post("/api/v1/devices", &body).await?, "token")?;
    let (key, clock, port) =
        (DeviceKey::generate()?, Arc::new(Clock::new(None)), scene.server.devices.port());
    let request = EnrollRequest {
        device_uuid: DeviceUuid::from_bytes(clock.random()),
        mac_addresses: Vec::new(),
        hostname: format!("kiosk-{n}"),
        agent_version: "test".to_owned(),
        token: Some(token),
    };
    let EnrollResponse::Active { grant } =
        connect(&scene.server, port, &key, &clock)?.enroll(&request).await?
    else {
        bail!("a token does not let a device in");
    };
    Ok((connect(&scene.server, port, &key, &clock)?, grant.device_id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_asked_for_and_not_taken_is_there_once() -> Result<()> {
    let scene = Scene::new("").await?;
    let person = Peer::person(&scene.server)?;
    person.http2(65_535).await?.get("/api/v1/openapi.json").await?;
    let before = scene.memory_mib()?;
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(person.http2(0).await?);
    }
    let asking = async {
        let mut asked = Vec::new();
        for connection in connections.iter().cycle().take(3_200) {
            asked.push(connection.ask(Request::get("/api/v1/openapi.json").body(())?, None).await?);
        }
        anyhow::Ok(join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?)
    };
    let (answers, most) = most_during(asking, || scene.memory_mib()).await?;
    assert!(most - before < 100.0, "the server grew from {before:.0} to {most:.0} MiB");
    assert!(answers?.iter().all(|answer| answer.status() == 200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_under_way_are_counted_before_they_are_held() -> Result<()> {
    let scene = Scene::new("").await?;
    let before = scene.memory_mib()?;
    let id = scene.hostile.chain(Lane::Care).incarnation;
    // Each a few hundred bytes that come to megabytes of text, or to many more of what is made of the text.
    let batch = |inside: &str| {
        let many = inside.repeat((MAX_BYTES - 4_096) / inside.len());
        let link = "0".repeat(64);
        format!(
            r#"{{"lane":"care","incarnation":"{id}","first_n":1,"previous":"{link}","head":"{link}","signature":"","changes":[[{many}0]]}}"#
        )
    };
    let bombs = [r#"{"":0},"#, "[],", "0,", "        0,"].map(|inside| {
        let packed = zstd::bulk::compress(batch(inside).as_bytes(), 19);
        Bytes::from(packed.unwrap_or_default())
    });
    assert!(
        bombs.iter().all(|bomb| (100..4_096).contains(&bomb.len())),
        "{:?}",
        bombs.each_ref().map(Bytes::len)
    );
    let peer = Peer::device(&scene.server, &scene.hostile.key)?;
    let connections = join_all((0..8).map(|_| peer.http2(65_535))).await;
    let connections: Vec<Http2> = connections.into_iter().collect::<Result<_>>()?;
    let pushes = join_all((0..256).map(|n| {
        let (connection, bomb) = (&connections[n % 8], bombs[n / 8 % 4].clone());
        let head = Request::from_parts(push_head(&scene), ());
        async move { anyhow::Ok(connection.ask(head, Some(bomb)).await?.await?.status().as_u16()) }
    }));
    let meanwhile = async {
        for _ in 0..20 {
            scene.honest_is_served().await?;
        }
        anyhow::Ok(())
    };
    let (answers, most) =
        most_during(async { tokio::join!(pushes, meanwhile) }, || scene.memory_mib()).await?;
    assert!(most - before < 200.0, "the server grew from {before:.0} to {most:.0} MiB");
    answers.1?;
    let statuses: Vec<u16> = answers.0.into_iter().collect::<Result<_>>()?;
    assert!(statuses.iter().all(|status| [400, 413, 422, 429, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&413), "{statuses:?}");

    // Whoever is at an address, with bodies that never end: others are heard meanwhile.
    let person = Peer::person(&scene.server)?;
    let sign_in = || Request::post("/api/v1/sessions").header("content-type", "application/json").body(());
    let mut begun = Vec::new();
    for n in 0..16 {
        let connection = person.at([127, 0, 0, 2 + n / 4]).http2(65_535).await?;
        for _ in 0..32 {
            begun.push(connection.begin(sign_in()?, Bytes::from(vec![b' '; 4_000])).await?);
        }
    }
    let (_, most) = most_during(scene.server.root(), || scene.memory_mib()).await?;
    assert!(most - before < 300.0, "the server grew from {before:.0} to {most:.0} MiB");
    scene.honest_is_served().await
}

fn push_head(scene: &Scene) -> http::request::Parts {
    let head = scene.request("POST", "/api/v1/sync/push").expect("the head of a push");
    let (mut head, ()) = head.into_parts();
    head.headers.insert("content-encoding", http::HeaderValue::from_static("zstd"));
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_two_pushes_under_way_and_the_third_is_told_to_wait() -> Result<()> {
    let scene = Scene::new("").await?;
    let connection = Peer::device(&scene.server, &scene.hostile.key)?.http2(65_535).await?;
    let push = || scene.request("POST", "/api/v1/sync/push");
    let (first, first_body) = connection.begin(push()?, Bytes::from_static(b"{")).await?;
    let (second, _second_body) = connection.begin(push()?, Bytes::from_static(b"{")).await?;
    // Of three that come at the same time any may be the third: until the first two have begun, it is this.
    let answer = until("both turns to be taken", PATIENCE, || async {
        let answer = connection.ask(push()?, Some(Bytes::from_static(b"{}"))).await?.await?;
        ensure!(answer.status() == 429, "{answer:?}");
        Ok(answer)
    })
    .await?;
    assert_eq!(answer.headers()["retry-after"], "5");
    let mut body = answer.into_body();
    let problem: Value = serde_json::from_slice(&body.data().await.context("no problem")??)?;
    assert_eq!(problem["type"], "/problems/over-quota", "{problem}");
    assert!(
        problem["detail"].as_str().is_some_and(|words| words.contains("when one is answered")),
        "{problem}"
    );
    drop((first, first_body));
    until("a turn that was given up", PATIENCE, || async {
        let answer = connection.ask(push()?, Some(Bytes::from_static(b"{}"))).await?.await?;
        ensure!(answer.status() == 400, "{answer:?}");
        Ok(())
    })
    .await?;
    drop(second);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_unusually_much_is_shown_once_and_slowed_and_loses_nothing() -> Result<()> {
    let scene = Scene::new("[sync]\nchanges_per_hour = 50").await?;
    let mut chain = scene.hostile.chain(Lane::Care);
    let connection = Peer::device(&scene.server, &scene.hostile.key)?.http2(65_535).await?;
    let mut send = async |count| {
        let before = chain.clone();
        let batch = scene.rounds(&mut chain, count, "Round")?;
        let answer =
            connection.ask(scene.request("POST", "/api/v1/sync/push")?, Some(batch.into())).await?.await?;
        if answer.status() != 200 {
            chain = before;
        }
        anyhow::Ok((answer.status().as_u16(), answer.headers().get("retry-after").cloned()))
    };
    for _ in 0..6 {
        assert_eq!(send(100).await?, (200, None));
    }
    let (status, retry_after) = send(100).await?;
    assert_eq!(status, 429);
    let seconds: u64 = retry_after.context("no Retry-After")?.to_str()?.parse()?;
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert_eq!(send(100).await?.0, 429, "however often it asks");

    // The agent hears it also where the server does not wait for the whole batch.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(1_500_000).collect();
    let refused = scene.hostile.upstream.push(noise.as_bytes()).await;
    let Err(UpstreamError::Refused(problem, Some(after))) = refused else { bail!("{refused:?}") };
    assert_eq!(problem.kind(), Some(ProblemKind::OverQuota));
    assert!((1..=300).contains(&after.as_secs()), "{after:?}");

    let shown = scene.facility.device("Hostile").await?;
    assert!(shown["unusual_since"].is_string(), "{shown}");
    assert!(shown["sync_reason"].as_str().is_some_and(|words| words.contains("unusually much")), "{shown}");
    assert!(scene.facility.device("Honest").await?["unusual_since"].is_null());
    let admin = &scene.facility.organization.admin;
    let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
    let told = events.iter().filter(|event| event["details"]["reason"] == "sends_unusually_much").count();
    assert_eq!(told, 1, "{events:?}");

    // What cannot be read is counted too, by what it took to find that out: here twice 100 KiB each.
    let junk = || Bytes::from(vec![b' '; 100 * 1024]);
    let connection = Peer::device(&scene.server, &scene.honest.key)?.http2(1_048_576).await?;
    let mut answers = Vec::new();
    for _ in 0..10 {
        let answer = connection.ask(scene.request("POST", "/api/v1/sync/push")?, Some(junk())).await?.await?;
        answers.push(answer.status().as_u16());
    }
    assert!(answers.starts_with(&[400, 400]) && answers.ends_with(&[429; 5]), "{answers:?}");
    Ok(())
}
