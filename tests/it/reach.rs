//! How a device and a command reach their server: through a proxy, and not where something else answers, or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use carepost_tests::children::{free_port, run, until};
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::world::{PASSWORD, Server};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::serving::renew;

/// An HTTP proxy that knows one host, and may refuse.
struct Proxy {
    port: u16,
    tunnels: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(host: &'static str, server: std::net::SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (tunnels, refuses) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, refused) = (Arc::clone(&tunnels), Arc::clone(&refuses));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (count, refused) = (Arc::clone(&count), Arc::clone(&refused));
                tokio::spawn(async move { tunnel(client, host, server, &count, &refused).await });
            }
        });
        Ok(Self { port, tunnels, refuses })
    }
}

async fn tunnel(
    client: TcpStream,
    host: &str,
    server: std::net::SocketAddr,
    count: &AtomicUsize,
    refused: &AtomicBool,
) -> Result<()> {
    let mut client = BufReader::new(client);
    let (mut asked, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        client.read_line(&mut line).await?;
        asked.push_str(&line);
    }
    if refused.load(Ordering::Relaxed) || !asked.starts_with(&format!("CONNECT {host} ")) {
        return Ok(client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await?);
    }
    let mut server = TcpStream::connect(server).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    count.fetch_add(1, Ordering::Relaxed);
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Something in the server's place that wants certificates of an authority of its own, such as a balancer that ends
/// TLS: its port, and its own certificate.
async fn balancer(protocol: &str) -> Result<(u16, String)> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let theirs = rcgen::generate_simple_self_signed(["clients.example.test".to_owned()])?;
    let mut roots = RootCertStore::empty();
    roots.add(theirs.cert.der().clone())?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut tls = ServerConfig::builder()
        .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let accepted = acceptor.accept(client).into_fallible();
            tokio::spawn(async move {
                // Who hangs up with something unread takes back what was said.
                if let Err((_, mut client)) = accepted.await {
                    let _ = client.shutdown().await;
                    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
                }
            });
        }
    });
    Ok((port, own.cert.pem()))
}

/// A server, and a kiosk that reaches it.
async fn hall() -> Result<(TempDir, Server, Kiosk)> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
    let kiosk = facility.hang_kiosk(&folder.path().join("hall"), "hall", &server, Badges::None).await?;
    link_is(&kiosk, "ONLINE").await?;
    has_first_copy(&kiosk).await?;
    Ok((folder, server, kiosk))
}

/// Whom to call is in it.
async fn has_first_copy(kiosk: &Kiosk) -> Result<()> {
    until("the first copy", PATIENCE, || async {
        let page = kiosk.get("/").await?.words();
        ensure!(!page.contains("first copy"), "{page}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_refuses_this_devices_certificate_is_said_as_such() -> Result<()> {
    let (folder, server, mut kiosk) = hall().await?;
    let ours = std::fs::read_to_string(kiosk.config())?;
    let port = format!(":{}\"", kiosk.link.address().port());
    let words = "The server does not accept this device's certificate";
    let mut theirs = String::new();
    for protocol in ["http/1.1", "h2"] {
        let (balancer, certificate) = balancer(protocol).await?;
        let trusted = folder.path().join("balancer.crt");
        std::fs::write(&trusted, certificate)?;
        kiosk.stop().await?;
        std::fs::write(kiosk.config(), &ours)?;
        kiosk.reconfigure(&port, &format!(":{balancer}\""))?;
        kiosk.reconfigure(&server.ca.display().to_string(), &trusted.display().to_string())?;
        theirs = std::fs::read_to_string(kiosk.config())?;
        kiosk.start().await?;
        kiosk.says(&[words, "Call +1 555 0100", "You can keep charting"]).await?;
        link_is(&kiosk, "NOT_ACCEPTED").await?;
        let (code, said) = kiosk.command(&["status"]).await?;
        ensure!(code == 5 && said.contains(&format!("{words}. Call +1 555 0100")), "{code}: {said}");
        let (code, said) = kiosk.command(&["doctor"]).await?;
        ensure!(code == 5 && said.contains("certificate is not accepted") && said.contains("IT"), "{said}");
    }
    kiosk.stop().await?;
    std::fs::write(kiosk.config(), &ours)?;
    kiosk.start().await?;
    link_is(&kiosk, "ONLINE").await?;

    // The same before it is enrolled.
    let mut new = Kiosk::hang(&folder.path().join("new"), "new", &server, None, Badges::None, "").await?;
    new.stop().await?;
    let (hall, own) = (kiosk.folder.display().to_string(), new.folder.display().to_string());
    let page = (format!("127.0.0.1:{}", kiosk.port), format!("127.0.0.1:{}", new.port));
    std::fs::write(new.config(), theirs.replace(&hall, &own).replace(&page.0, &page.1))?;
    new.start().await?;
    new.says(&[words, "IT"]).await?;
    new.stop().await.context("the new one")
}

const STRANGER: &str = "Something else answers in the server's place";

async fn link_is(kiosk: &Kiosk, link: &str) -> Result<()> {
    until(link, PATIENCE, || async {
        let status = kiosk.status().await?;
        if status["link"] == link { Ok(()) } else { bail!("{status}") }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_behind_a_proxy_enrolls_through_it_and_says_which_one_fails() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let mut server = Server::start(&folder.path().join("server")).await?;
    server.stop().await?;
    renew(&server, &["localhost", "127.0.0.1", "devices.care.example.test"], 90)?;
    server.resume().await?;
    let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
    let proxy = Proxy::start("devices.care.example.test:8444", server.devices).await?;
    let mut kiosk = Kiosk::hang(&folder.path().join("hall"), "hall", &server, None, Badges::None, "").await?;
    kiosk.stop().await?;
    let direct = format!("url = \"https://localhost:{}\"", kiosk.link.address().port());
    let port = proxy.port;
    let through = "url = \"https://devices.care.example.test:8444\"\nproxy = ";
    kiosk.reconfigure(&direct, &format!("{through}\"http://carer:secret@127.0.0.1:{port}\""))?;
    kiosk.start().await?;
    facility.enroll(&kiosk).await?;
    link_is(&kiosk, "ONLINE").await?;
    ensure!(proxy.tunnels.load(Ordering::Relaxed) > 0);
    has_first_copy(&kiosk).await?;

    proxy.refuses.store(true, Ordering::Relaxed);
    let (code, said) = kiosk.command(&["doctor"]).await?;
    let named = format!("through server.proxy, http://127.0.0.1:{port}");
    ensure!(code == 5 && said.contains(&named) && !said.contains("secret"), "{said}");
    // It answers, so that no cable helps: enrolled or not.
    let mut new = Kiosk::hang(&folder.path().join("new"), "new", &server, None, Badges::None, "").await?;
    let own = format!("url = \"https://localhost:{}\"", new.link.address().port());
    new.reconfigure(&own, &format!("{through}\"http://127.0.0.1:{port}\""))?;
    for (kiosk, whom) in [(&mut kiosk, "+1 555 0100"), (&mut new, "IT")] {
        kiosk.stop().await?;
        kiosk.start().await?;
        kiosk.says(&[STRANGER, whom]).await?;
        link_is(kiosk, "NOT_THE_SERVER").await?;
        let page = kiosk.get("/").await?.words();
        ensure!(!page.contains("Internet down") && !page.contains("network cable"), "{page}");
    }
    let (code, said) = kiosk.command(&["status"]).await?;
    ensure!(code == 5 && said.contains(&format!("{STRANGER}. Call +1 555 0100")), "{code}: {said}");
    new.stop().await?;

    // This machine's own server is not asked through it.
    kiosk.stop().await?;
    kiosk.reconfigure("https://devices.care.example.test:8444", &direct[7..direct.len() - 1])?;
    kiosk.start().await?;
    link_is(&kiosk, "ONLINE").await?;

    // Nor does a cable help where another program has the port.
    let other = TcpListener::bind("127.0.0.1:0").await?;
    kiosk.link.lead_to(other.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = other.accept().await {
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
            let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        }
    });
    link_is(&kiosk, "NOT_THE_SERVER").await?;
    let (code, said) = kiosk.command(&["doctor"]).await?;
    ensure!(code == 5 && said.contains("something answers in the server's place"), "{code}: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_said_as_such_and_silence_as_silence() -> Result<()> {
    let (folder, server, mut kiosk) = hall().await?;
    kiosk.stop().await?;
    let other = folder.path().join("other.crt");
    std::fs::write(&other, rcgen::generate_simple_self_signed(["localhost".to_owned()])?.cert.pem())?;
    let (ours, others) = (format!("\"{}\"", server.ca.display()), format!("\"{}\"", other.display()));
    kiosk.reconfigure(&ours, &others)?;
    kiosk.start().await?;
    kiosk
        .says(&["The server's certificate is not trusted here", "Call +1 555 0100", "You can keep charting"])
        .await?;
    link_is(&kiosk, "NOT_TRUSTED").await?;
    let (code, said) = kiosk.command(&["status"]).await?;
    ensure!(
        code == 5 && said.contains("certificate is not trusted here. Call +1 555 0100"),
        "{code}: {said}"
    );
    let (code, said) = kiosk.command(&["doctor"]).await?;
    ensure!(
        code == 5 && said.contains("the server's certificate is not trusted") && said.contains("IT"),
        "{said}"
    );

    // Begun anew: by now it may be minutes until it tries again by itself.
    kiosk.stop().await?;
    kiosk.link.cut();
    kiosk.start().await?;
    kiosk.says(&["Internet down"]).await?;
    kiosk.stop().await?;
    kiosk.link.restore();
    kiosk.reconfigure(&others, &ours)?;
    kiosk.start().await?;
    link_is(&kiosk, "ONLINE").await?;

    // The same before it is enrolled.
    let mut new = Kiosk::hang(&folder.path().join("new"), "new", &server, None, Badges::None, "").await?;
    new.stop().await?;
    new.reconfigure(&ours, &others)?;
    new.start().await?;
    new.says(&["The server's certificate is not trusted here", "IT"]).await?;
    let page = new.get("/").await?.words();
    ensure!(!page.contains("network cable"), "{page}");
    new.stop().await.context("the new one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_that_cannot_use_what_it_knows_its_server_by_says_so_and_blames_no_cable() -> Result<()> {
    let (folder, server, mut kiosk) = hall().await?;
    let mut new = Kiosk::hang(&folder.path().join("new"), "new", &server, None, Badges::None, "").await?;
    let other = folder.path().join("other.crt");
    std::fs::write(&other, "no certificate")?;
    let (ours, others) = (format!("\"{}\"", server.ca.display()), format!("\"{}\"", other.display()));
    for kiosk in [&mut kiosk, &mut new] {
        kiosk.stop().await?;
        kiosk.reconfigure(&ours, &others)?;
        kiosk.start().await?;
        kiosk.says(&["cannot use the certificate that it knows its server by", "server.ca_file"]).await?;
        let page = kiosk.get("/").await?.words();
        ensure!(!page.contains("Internet down") && !page.contains("network cable"), "{page}");
        link_is(kiosk, "NOT_TRUSTED").await?;
    }
    let (code, said) = kiosk.command(&["status"]).await?;
    ensure!(code == 5 && said.contains("link_trouble     This device cannot use the certificate"), "{said}");

    std::fs::copy(&server.ca, &other)?;
    link_is(&kiosk, "ONLINE").await?;
    new.pairing_code().await?;
    new.stop().await.context("the new one")
}

#[tokio::test]
async fn a_server_that_is_not_there_and_a_wrong_command_are_told_apart() -> Result<()> {
    let folder = TempDir::new()?;
    let session = folder.path().join("session.json");
    let port = free_port()?;
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(["localhost".to_owned()])?.cert.pem())?;
    let environment = [
        ("CAREPOST_CA", ca.display().to_string()),
        ("CAREPOST_URL", format!("https://localhost:{port}")),
        ("CAREPOST_SESSION", session.display().to_string()),
        ("CAREPOST_PASSWORD", PASSWORD.to_owned()),
    ];
    let (code, _, error) = run("carepost-server", &["sign-in", "root"], &environment).await?;
    assert_eq!(code, 4, "{error}");
    let said = format!("the server https://localhost:{port} is not reached: Connection refused");
    assert!(error.contains(&said) && error.contains("Check --server"), "{error}");
    let (code, _, error) = run("carepost-server", &["org", "list"], &environment).await?;
    assert!(
        code == 1 && error.contains(&format!("nobody is signed in at https://localhost:{port}")),
        "{error}"
    );
    let (code, _, _) = run("carepost-server", &["make-tea"], &environment).await?;
    assert_eq!(code, 2);
    Ok(())
}
