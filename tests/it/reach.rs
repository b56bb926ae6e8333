//! How a device reaches its server: through a proxy, and not where something else answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use carepost_tests::children::until;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::world::Server;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

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

    proxy.refuses.store(true, Ordering::Relaxed);
    let (code, said) = kiosk.command(&["doctor"]).await?;
    let named = format!("through server.proxy, http://127.0.0.1:{port}");
    ensure!(code == 5 && said.contains(&named) && !said.contains("secret"), "{said}");

    // This machine's own server is not asked through it.
    kiosk.stop().await?;
    kiosk.reconfigure("https://devices.care.example.test:8444", &direct[7..direct.len() - 1])?;
    kiosk.start().await?;
    link_is(&kiosk, "ONLINE").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_said_as_such_and_silence_as_silence() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
    let mut kiosk = facility.hang_kiosk(&folder.path().join("hall"), "hall", &server, Badges::None).await?;
    link_is(&kiosk, "ONLINE").await?;
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

    kiosk.link.cut();
    kiosk.says(&["Internet down"]).await?;
    kiosk.link.restore();
    kiosk.stop().await?;
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
