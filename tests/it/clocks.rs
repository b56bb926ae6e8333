//! Devices whose clocks are wrong: they reach their server, chart, and leave nothing behind that is
//! wrong after the clock was set right.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::BOOT_HEADER;
use carepost_tests::children::{run, until};
use carepost_tests::clock;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::{Facility, PASSWORD, items};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const DAY: i64 = 24 * 3600;
const YEAR: i64 = 365 * DAY;
/// Five minutes after the epoch: what a Pi without a battery says after booting.
const PI: i64 = 300;
/// 2099.
const POISON: i64 = 4_070_908_800;

#[tokio::test(flavor = "multi_thread")]
async fn a_pi_that_boots_in_1970_enrolls_charts_and_tells_the_right_time() -> Result<()> {
    let scene = Scene::new(2).await?;
    clock::set(&scene.folder_of("hall"), PI)?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("First day")).await?;
    scene.has_notes(id, &notes(&["First day"])).await?;
    assert_made(&scene.facility, id, "First day", "synced", clock::now()?, 10).await?;
    let device = scene.facility.device("hall").await?;
    let skew = device.get("clock_skew_ms").and_then(Value::as_i64).context("no clock_skew_ms")?;
    assert!(skew < -50 * YEAR * 1000, "the server is told how far it is off: {skew}");
    let (code, said) = hall.command(&["doctor"]).await?;
    assert!(said.contains("behind the server's: OFF"), "doctor names the clock ({code}): {said}");

    // Off and on again, and there is no network: what is known is the floor.
    hall.stop().await?;
    hall.link.cut();
    clock::set(&hall.folder, PI)?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Offline")).await?;
    hall.link.restore();
    hall.status_is("clock_quality", "synced").await?;
    hall.chart(name, "vitals", &vitals("Back again")).await?;
    scene.has_notes(id, &notes(&["First day", "Offline", "Back again"])).await?;
    assert_made(&scene.facility, id, "Offline", "estimated", clock::now()?, 120).await?;
    assert_made(&scene.facility, id, "Back again", "synced", clock::now()?, 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_renewed_during_four_months_offline_is_trusted_by_a_stopped_clock() -> Result<()> {
    let folder = TempDir::new()?;
    let now = clock::now()?;
    let then = now - 120 * DAY;
    // Four months ago: server and kiosk know each other, and the clocks are right.
    clock::set(&folder.path().join("server"), then)?;
    clock::set(&folder.path().join("hall"), then)?;
    let mut scene = Scene::within(folder, 2).await?;
    let authority = authority("Facility IT", then - YEAR, now + YEAR)?;
    trust_as_well(&mut scene, &authority)?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;

    // Today: the server has a certificate that is ten days old, the kiosk's clock stood still.
    let renewed = certificate("localhost", &authority, now - 10 * DAY, now + 80 * DAY)?;
    install(&mut scene, &renewed).await?;
    clock::set(&hall.folder, then + 600)?;
    hall.link.cut();
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    let (name, id) = scene.resident()?;
    hall.chart(name, "vitals", &vitals("Before the network")).await?;
    hall.link.restore();
    hall.status_is("clock_quality", "synced").await?;
    hall.chart(name, "vitals", &vitals("After it")).await?;

    scene.has_notes(id, &notes(&["Before the network", "After it"])).await?;
    assert_made(&scene.facility, id, "Before the network", "estimated", then + 600, 120).await?;
    assert_made(&scene.facility, id, "After it", "synced", clock::now()?, 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_once_stood_at_2099_poisons_nothing() -> Result<()> {
    let mut scene = Scene::new(2).await?;
    let now = clock::now()?;
    let authority = authority("Facility IT", now - YEAR, now + YEAR)?;
    trust_as_well(&mut scene, &authority)?;
    install(&mut scene, &certificate("localhost", &authority, now - 10 * DAY, now + 80 * DAY)?).await?;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.stop().await?;

    // It connects, though the server's certificate ended long ago by its clock.
    clock::set(&hall.folder, POISON)?;
    hall.start().await?;
    hall.status_is("clock_quality", "synced").await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("At 2099 online")).await?;
    scene.has_notes(id, &notes(&["At 2099 online"])).await?;
    assert_made(&scene.facility, id, "At 2099 online", "synced", clock::now()?, 10).await?;

    // And so it does after a night offline, in which somebody locks himself out.
    hall.stop().await?;
    hall.link.cut();
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("At 2099 offline")).await?;
    lock_out(&hall, &omar.uid).await?;
    hall.stop().await?;

    // The clock is set right. Forty minutes later the lock-out is over, and not seventy years later.
    clock::set(&hall.folder, clock::now()?)?;
    hall.start().await?;
    hall.tap(&omar.uid).await?;
    hall.says(&["Too many wrong PINs. Try again in"]).await?;
    hall.stop().await?;
    clock::set(&hall.folder, clock::now()? + 40 * 60)?;
    hall.start().await?;
    hall.sign_in(&omar).await?;
    hall.stop().await?;

    clock::right(&hall.folder)?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    hall.chart(name, "vitals", &vitals("Right again")).await?;
    hall.link.restore();
    scene.has_notes(id, &notes(&["At 2099 online", "At 2099 offline", "Right again"])).await?;
    assert_made(&scene.facility, id, "At 2099 offline", "estimated", clock::now()?, 120).await?;
    // The floor is a time that the server said, and none of the clock's.
    assert_made(&scene.facility, id, "Right again", "estimated", clock::now()?, 60).await?;
    hall.status_is("rejected", 0).await?;
    // The audit of that night is kept, and says how good its times are.
    let admin = &scene.facility.organization.admin;
    until("the audit of the night", PATIENCE, || async {
        let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
        let estimated =
            events.iter().filter(|event| event.get("clock_quality").is_some_and(|it| it == "estimated"));
        let views = estimated.filter(|event| event.get("action").is_some_and(|it| it == "view")).count();
        anyhow::ensure!(views > 0, "no reads by an estimated clock in {events:?}");
        anyhow::ensure!(!format!("{events:?}").contains("\"2099-"), "a time of 2099 in {events:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_in_mid_session_neither_locks_nor_reorders() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.stop().await?;
    let now = clock::now()?;
    clock::set(&hall.folder, now)?;
    hall.link.cut();
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    let jumps = [0, 3600, -3600, 3 * YEAR, -PI - now, POISON - now, 8 * 3600, 0];
    let mut made = Vec::new();
    for (n, jump) in jumps.into_iter().enumerate() {
        clock::set(&hall.folder, clock::now()? + jump)?;
        // The same session, without a tap or a PIN.
        hall.says(&[&scene.nora.name, "Lock"]).await?;
        let note = format!("Jump {n}");
        hall.chart(name, "vitals", &vitals(&note)).await?;
        made.push(note);
    }
    hall.link.restore();
    hall.status_is("link", "ONLINE").await?;
    scene.has_notes(id, &made).await?;
    for jump in [-YEAR, POISON - now] {
        clock::set(&hall.folder, clock::now()? + jump)?;
        hall.says(&[&scene.nora.name, "Lock"]).await?;
        let note = format!("Online, off by {jump}");
        hall.chart(name, "vitals", &vitals(&note)).await?;
        made.push(note.clone());
        scene.has_notes(id, &made).await?;
        assert_made(&scene.facility, id, &note, "synced", clock::now()?, 10).await?;
    }
    // What no clock can say was not believed, and what one can was dropped with the jump back.
    for (n, off) in [(0, 0), (1, 3600), (3, 3 * YEAR), (4, 0), (5, 0), (6, 8 * 3600), (7, 0)] {
        let note = format!("Jump {n}");
        assert_made(&scene.facility, id, &note, "estimated", clock::now()? + off, 120).await?;
    }
    // On the page what was stamped three years ahead stands no higher than where it came.
    let path = hall.path_of(name).await?;
    hall.page_says(&path, &["Everything is sent"]).await?;
    let words = hall.get(&path).await?.words();
    let place = |note: &str| words.find(note).with_context(|| format!("no {note:?} on {words}"));
    assert!(place("Online, off by")? < place("Jump 3")?, "{words}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_had_ended_or_is_anothers_is_refused_under_any_clock() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let now = clock::now()?;
    let trusted = authority("Facility IT", now - YEAR, now + YEAR)?;
    let stranger = authority("Facility IT", now - YEAR, now + YEAR)?;
    let file = scene.folder_of("authority.crt");
    std::fs::write(&file, trusted.pem())?;
    hall.reconfigure(&scene.server.ca.display().to_string(), &file.display().to_string())?;
    let (ended, valid) = ((now - 60 * DAY, now - 30 * DAY), (now - 10 * DAY, now + 80 * DAY));
    let ended = Peer::start(certificate("localhost", &trusted, ended.0, ended.1)?).await?;
    let misnamed = Peer::start(certificate("elsewhere.example.test", &trusted, valid.0, valid.1)?).await?;
    let foreign = Peer::start(certificate("localhost", &stranger, valid.0, valid.1)?).await?;
    let right = Peer::start(certificate("localhost", &trusted, valid.0, valid.1)?).await?;
    // As `openssl req -x509` makes one.
    let mut own = CertificateParams::new(["localhost".to_owned()])?;
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let own = Peer::start(Certified { certificate: own.self_signed(&key)?, key }).await?;
    for time in [now, PI, now - 120 * DAY, POISON] {
        clock::set(&hall.folder, time)?;
        for refused in [&ended, &misnamed, &foreign] {
            hall.link.lead_to(refused.address);
            let (code, said) = hall.command(&["doctor"]).await?;
            assert_eq!(code, 5, "at {time}: {said}");
            assert!(said.contains("WRONG  server") && said.contains("certificate"), "at {time}: {said}");
            assert_eq!(refused.trusted(), 0, "at {time}: {said}");
        }
        // The same device, the same clock, a certificate that is in order.
        let before = right.trusted();
        hall.link.lead_to(right.address);
        let (_, said) = hall.command(&["doctor"]).await?;
        assert!(said.contains("its certificate is trusted"), "at {time}: {said}");
        assert_eq!(right.trusted(), before + 1);
    }
    hall.link.lead_to(own.address);
    let (code, said) = hall.command(&["doctor"]).await?;
    assert!(code == 5 && said.contains("that certificate is an authority's own"), "{said}");
    // The same by the system's authorities, where none is configured.
    hall.reconfigure(&format!("ca_file = \"{}\"", file.display()), "")?;
    let mut environment = hall.environment();
    environment.push(("SSL_CERT_FILE", file.display().to_string()));
    let config = hall.config().display().to_string();
    for (peer, trusted) in [(&foreign, 0), (&ended, 0), (&right, right.trusted() + 1)] {
        hall.link.lead_to(peer.address);
        let (_, said, error) = run("carepost-agent", &["--config", &config, "doctor"], &environment).await?;
        assert_eq!(peer.trusted(), trusted, "{said}{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_agent_that_runs_says_which_run_of_it_speaks() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let now = clock::now()?;
    let authority = authority("Facility IT", now - YEAR, now + YEAR)?;
    let file = scene.folder_of("authority.crt");
    std::fs::write(&file, authority.pem())?;
    hall.reconfigure(&scene.server.ca.display().to_string(), &file.display().to_string())?;
    let server = Peer::start(certificate("localhost", &authority, now - DAY, now + DAY)?).await?;
    hall.link.lead_to(server.address);

    hall.command(&["doctor"]).await?;
    let asked = server.heard()?;
    assert!(asked.contains("carepost-protocol") && !asked.contains(BOOT_HEADER), "{asked}");
    hall.start().await?;
    until("the agent to speak", PATIENCE, || async {
        let asked = server.heard()?;
        anyhow::ensure!(asked.contains(BOOT_HEADER), "{asked}");
        Ok(())
    })
    .await?;
    // A device that is not enrolled, on its terminal.
    hall.stop().await?;
    std::fs::remove_dir_all(hall.folder.join("state"))?;
    hall.command(&["enroll", "--wait", "2"]).await?;
    let asked = server.heard()?;
    assert!(asked.starts_with("POST /api/v1/enroll") && !asked.contains(BOOT_HEADER), "{asked}");
    Ok(())
}

/// Lets kiosks that are hung from now on trust that authority beside the server's first certificate.
fn trust_as_well(scene: &mut Scene, authority: &CertifiedIssuer<'static, KeyPair>) -> Result<()> {
    let both = scene.folder_of("both.crt");
    std::fs::write(&both, std::fs::read_to_string(&scene.server.ca)? + &authority.pem())?;
    scene.server.ca = both;
    Ok(())
}

/// Gives the server another certificate, and its administrator a client that trusts it.
async fn install(scene: &mut Scene, Certified { certificate, key }: &Certified) -> Result<()> {
    scene.server.stop().await?;
    // A right clock from now on, if it had a wrong one.
    if scene.server.folder.join("clock").exists() {
        clock::right(&scene.server.folder)?;
    }
    std::fs::write(scene.server.folder.join("state/tls.crt"), certificate.pem())?;
    std::fs::write(scene.server.folder.join("state/tls.key"), key.serialize_pem())?;
    scene.server.resume().await?;
    let admin = scene.server.api()?.sign_in(Some("golden-years"), "admin", PASSWORD).await?;
    scene.facility.organization.admin = admin;
    Ok(())
}

/// What the server has of the entry with that note: its clock's quality, and when it was made, within so
/// many seconds.
async fn assert_made(
    facility: &Facility,
    resident: &str,
    note: &str,
    quality: &str,
    unix: i64,
    within: i64,
) -> Result<()> {
    let records = facility.records(resident).await?;
    let noted = |record: &&Value| record.pointer("/values/note").is_some_and(|it| it == note);
    let record = records.iter().find(noted).with_context(|| format!("no {note:?} in {records:?}"))?;
    let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
    assert_eq!(text("clock_quality").as_deref(), Some(quality), "{note}: {record}");
    let made: Timestamp = text("recorded_at").context("no recorded_at")?.parse()?;
    let off = made.as_millis() / 1000 - unix;
    assert!(off.abs() <= within, "{note} is off by {off} seconds: {record}");
    Ok(())
}

fn notes(notes: &[&str]) -> Vec<String> {
    notes.iter().map(|note| (*note).to_owned()).collect()
}

async fn lock_out(hall: &Kiosk, uid: &str) -> Result<()> {
    hall.tap(uid).await?;
    for _ in 0..5 {
        hall.says(&["Enter your PIN"]).await?;
        hall.enter_pin("000000").await?;
    }
    hall.says(&["Too many wrong PINs. Try again in"]).await.map(drop)
}

/// A certificate and its key.
struct Certified {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn certificate(
    name: &str,
    by: &CertifiedIssuer<'static, KeyPair>,
    from: i64,
    until: i64,
) -> Result<Certified> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    dates(&mut params, from, until)?;
    let key = KeyPair::generate()?;
    Ok(Certified { certificate: params.signed_by(&key, by)?, key })
}

fn authority(name: &str, from: i64, until: i64) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    dates(&mut params, from, until)?;
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn dates(params: &mut CertificateParams, from: i64, until: i64) -> Result<()> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from.try_into()?);
    params.not_after = epoch + Duration::from_secs(until.try_into()?);
    Ok(())
}

/// Somebody at the server's address with that certificate, who keeps what was asked by those who trusted
/// it.
struct Peer {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    async fn start(Certified { certificate, key }: Certified) -> Result<Self> {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())?;
        let (tls, listener) = (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind(("127.0.0.1", 0)).await?);
        let (address, asked) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, kept) = (tls.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    let Ok(mut stream) = tls.accept(stream).await else { return };
                    let mut request = [0; 4096];
                    if let Ok(bytes @ 1..) = stream.read(&mut request).await {
                        let request = String::from_utf8_lossy(&request[..bytes]).into_owned();
                        kept.lock().unwrap().push(request);
                        let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                        // Gone or not, the one who asked has trusted.
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Ok(Self { address, asked, task })
    }

    fn trusted(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The last request, as it came.
    fn heard(&self) -> Result<String> {
        self.asked.lock().unwrap().last().cloned().context("nobody asked")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
