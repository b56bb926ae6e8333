//! The network fails in every way it can; a nurse goes on, and each entry arrives once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_that_starts_without_its_server_signs_in_and_charts() -> Result<()> {
    let mut scene = Scene::new(3).await?;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let (mut hall, mut wing) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("wing"))?;
    hall.stop().await?;
    wing.stop().await?;
    scene.server.stop().await?;

    // Where the server's name leads nowhere, neither the page nor the badge waits for it.
    let (right, unknown) =
        (format!("https://localhost:{}", hall.link.address().port()), "https://nowhere.invalid:8444");
    hall.reconfigure(&right, unknown)?;
    hall.start().await?;
    hall.says(&["Riverside", "Tap your badge"]).await?;
    hall.sign_in(&scene.nora).await?;
    hall.pull_the_plug().await?;
    hall.reconfigure(unknown, &right)?;

    // The server is gone; the address answers nothing.
    hall.start().await?;
    hall.says(&["Riverside", "Tap your badge", "Internet down"]).await?;
    // Whoever is of the facility, on each of its devices: nobody signed in there while there was a network.
    wing.start().await?;
    for kiosk in [&wing, &hall] {
        kiosk.sign_in(&omar).await?;
        kiosk.sign_in(&scene.nora).await?;
    }
    let (name, id) = scene.resident()?;
    let notes: Vec<String> = (1..=4).map(|n| format!("Quiet night {n}")).collect();
    for note in &notes {
        hall.chart(name, "vitals", &vitals(note)).await?;
    }
    let path = hall.path_of(name).await?;
    hall.page_says(&path, &["Saved here", "Quiet night 4", "4 entries waiting"]).await?;
    assert_eq!(hall.command(&["status"]).await?.0, 4, "offline has an exit code of its own");

    let id = id.to_owned();
    scene.server.resume().await?;
    hall.page_says(&path, &["Sent", "Everything is sent"]).await?;
    assert!(!hall.get(&path).await?.words().contains("Saved here"));
    scene.has_notes(&id, &notes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_without_its_copy_says_so_and_pulls_it_afresh() -> Result<()> {
    let scene = Scene::new(3).await?;
    let omar = scene.facility.nurse("Omar Reyes", "lpn", "371640", "04B1B2C3D4E5F6").await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    for file in ["mirror.db", "mirror.db-wal", "mirror.db-shm"] {
        if let Err(error) = std::fs::remove_file(hall.folder.join("state").join(file)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
    hall.link.cut();
    hall.start().await?;
    hall.status_is("reader", "READY").await?;
    let (reader, uid) = (hall.reader()?, omar.uid.clone());
    tokio::task::spawn_blocking(move || reader.tap(&uid, Duration::from_millis(60))).await??;
    // Nobody is told that his badge is unknown: this device does not know yet.
    hall.says(&["This device is still loading its first copy", "Some residents may be missing"]).await?;
    hall.link.restore();
    hall.status_is("loading", false).await?;
    hall.sign_in(&scene.nora).await?;
    hall.says(&[scene.resident()?.0]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_of_another_authority_is_not_talked_to() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    hall.stop().await?;
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let other = scene.folder_of("other.crt");
    std::fs::write(&other, stranger.cert.pem())?;
    let (right, wrong) = (scene.server.ca.display().to_string(), other.display().to_string());
    hall.reconfigure(&right, &wrong)?;

    hall.start().await?;
    hall.says(&["The server's certificate is not trusted here", "You can keep charting"]).await?;
    hall.sign_in(&scene.nora).await?;
    let (name, id) = scene.resident()?;
    hall.chart(name, "vitals", &vitals("Behind a foreign certificate")).await?;
    let (code, said) = hall.command(&["doctor"]).await?;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("certificate"), "doctor names the cause: {said}");
    assert!(scene.facility.records(id).await?.is_empty());

    hall.stop().await?;
    hall.reconfigure(&wrong, &right)?;
    hall.start().await?;
    scene.has_notes(id, &["Behind a foreign certificate".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_errors_from_the_server_are_waited_out() -> Result<()> {
    let scene = Scene::new(2).await?;
    let mut hall = scene.kiosk("hall").await?;
    // Whoever answers here is trusted as well, and answers nonsense.
    hall.stop().await?;
    let portal = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let both = scene.folder_of("both.crt");
    std::fs::write(&both, std::fs::read_to_string(&scene.server.ca)? + &portal.cert.pem())?;
    hall.reconfigure(&scene.server.ca.display().to_string(), &both.display().to_string())?;
    hall.start().await?;
    hall.sign_in(&scene.nora).await?;
    let (name, id) = scene.resident()?;
    let html =
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 22\r\n\r\n<h1>Guest Wi-Fi</h1>\r\n";
    let busy = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let cut_short = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"verd";
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example.test/\r\ncontent-length: 0\r\n\r\n";
    let mut notes = Vec::new();
    for (n, answer) in [busy, html, cut_short, redirect].into_iter().enumerate() {
        let stub = Stub::start(&portal, answer).await?;
        hall.link.lead_to(stub.address);
        let note = format!("While the server talked nonsense {n}");
        hall.chart(name, "vitals", &vitals(&note)).await?;
        stub.answered(2).await?;
        if answer == busy {
            hall.says(&["Something else answers in the server's place", "You can keep charting"]).await?;
            hall.status_is("link", "NOT_THE_SERVER").await?;
        }
        let path = hall.path_of(name).await?;
        hall.page_says(&path, &["Saved here", &note]).await?;
        hall.link.lead_to(scene.server.devices);
        hall.page_says(&path, &["Everything is sent"]).await?;
        notes.push(note);
        scene.has_notes(id, &notes).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_neither_loses_nor_doubles_an_entry() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (hall, med) = tokio::try_join!(scene.kiosk("hall"), scene.kiosk("med"))?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    let mut notes = Vec::new();
    let mut cuts = 0;
    let places = [(true, 1), (true, 90), (true, 400), (true, 800), (false, 1), (false, 120), (false, 500)];
    for (up, bytes) in places {
        hall.status_is("link", "ONLINE").await?;
        let note = format!("Cut {} after {bytes} bytes", if up { "going up" } else { "coming down" });
        if up {
            hall.link.cut_after_up(bytes);
        } else {
            hall.link.cut_after_down(bytes);
        }
        hall.chart(name, "vitals", &vitals(&note)).await?;
        let cut = until("the cut", PATIENCE, || async {
            anyhow::ensure!(!hall.link.is_connected() || is_sent(&hall, &path, &note).await?);
            Ok(!hall.link.is_connected())
        });
        cuts += u32::from(cut.await?);
        hall.link.restore();
        // At no moment does the entry blink away, nor show twice.
        until("the entry to be sent", PATIENCE, || async {
            anyhow::ensure!(is_sent(&hall, &path, &note).await?, "not yet");
            Ok(())
        })
        .await?;
        notes.push(note);
    }
    assert!(cuts >= 5, "only {cuts} cuts fell into an exchange");
    scene.has_notes(id, &notes).await?;
    med.sign_in(&scene.nora).await?;
    let path = med.path_of(name).await?;
    for note in &notes {
        med.page_says(&path, &[note]).await?;
    }
    let words = med.get(&path).await?.words();
    assert!(notes.iter().all(|note| words.matches(note.as_str()).count() == 1), "{words}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_and_a_double_press_save_one_entry() -> Result<()> {
    let scene = Scene::new(2).await?;
    let hall = scene.kiosk("hall").await?;
    let (name, id) = scene.resident()?;
    hall.link.delay(Duration::from_millis(300));
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    let form_path = format!("{path}/chart/vitals");
    let form = hall.get(&form_path).await?;
    let (token, screen) = (form.hidden("_token")?, form.hidden("_screen")?);
    let mut fields = vec![("_token", token.as_str()), ("_screen", screen.as_str())];
    fields.extend(vitals("Pressed twice"));
    let (first, second) = tokio::try_join!(hall.post(&form_path, &fields), hall.post(&form_path, &fields))?;
    assert_eq!((first.status, second.status), (303, 303));
    hall.page_says(&path, &["Sent"]).await?;
    // Long after it was sent, the page comes back once more.
    let third = hall.post(&form_path, &fields).await?;
    assert_eq!(third.status, 303, "{}", third.words());
    hall.chart(name, "vitals", &vitals("After it")).await?;
    scene.has_notes(id, &["Pressed twice".to_owned(), "After it".to_owned()]).await
}

/// Whether the one entry with that note is marked as sent; fails when there is none, or more than one.
async fn is_sent(hall: &Kiosk, path: &str, note: &str) -> Result<bool> {
    let words = hall.get(path).await?.words();
    assert_eq!(words.matches(note).count(), 1, "the entry is on the page exactly once: {words}");
    Ok(!words.contains("Saved here"))
}

/// Something else at the server's address: whatever is asked, it gives one answer.
struct Stub {
    address: std::net::SocketAddr,
    answers: Arc<std::sync::atomic::AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Stub {
    async fn start(identity: &rcgen::CertifiedKey<rcgen::KeyPair>, answer: &'static str) -> Result<Self> {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
        let tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key.into())?;
        let (tls, listener) = (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind(("127.0.0.1", 0)).await?);
        let (address, answers) = (listener.local_addr()?, Arc::default());
        let count: Arc<std::sync::atomic::AtomicUsize> = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, count) = (tls.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(mut stream) = tls.accept(stream).await else { return };
                    let mut request = [0; 16 * 1024];
                    if stream.read(&mut request).await.is_ok() {
                        // Gone or not, the one who asked has been answered.
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        Ok(Self { address, answers, task })
    }

    async fn answered(&self, times: usize) -> Result<()> {
        until("requests at the stub", PATIENCE, || async {
            let answers = self.answers.load(std::sync::atomic::Ordering::SeqCst);
            anyhow::ensure!(answers >= times, "only {answers}");
            Ok(())
        })
        .await
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}
