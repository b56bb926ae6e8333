//! A server behind a proxy that passes TCP on: whose connection it is, is what the trusted proxy says, and
//! nobody else is believed.

use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, ensure};
use carepost_protocol::id::BootId;
use carepost_protocol::wire::BOOT_HEADER;
use carepost_tests::children::until;
use carepost_tests::device::Device;
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::peer::Peer;
use carepost_tests::world::{Organization, Server, items};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PROXY: [u8; 4] = [127, 0, 0, 2];
const ELSEWHERE: [u8; 4] = [127, 0, 0, 3];

/// A version 2 header of a TCP connection over IPv4, from that address.
fn header(from: [u8; 4]) -> Vec<u8> {
    let rest = [from.as_slice(), &[198, 51, 100, 1, 0xC3, 0x50, 0x20, 0xFB]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &rest].concat()
}

/// The same over IPv6.
fn header_v6(from: &str) -> Result<Vec<u8>> {
    let from: Ipv6Addr = from.parse()?;
    let rest = [&from.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0xC3, 0x50, 0x20, 0xFB]].concat();
    Ok([b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".as_slice(), &rest].concat())
}

/// Somebody signs in with a wrong password under that name: the status.
async fn sign_in(peer: &Peer, before: &[u8], name: &str) -> Result<String> {
    let mut stream = peer.connect().await?;
    stream.write_all(before).await?;
    let mut stream = peer.shake_hands(stream, "http/1.1").await?;
    let body = json!({"organization": "golden-years", "username": name, "password": "wrong"}).to_string();
    let length = body.len();
    let head = format!(
        "POST /api/v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    Ok(answer.split(' ').nth(1).context("no status")?.to_owned())
}

/// From where the sign-in under that name came, as the audit log has it.
async fn address_of(organization: &Organization, name: &str) -> Result<Value> {
    let events = items(&organization.admin.get("/api/v1/audit-events?limit=1000").await?)?;
    let event = events.iter().find(|event| event["username"] == name);
    Ok(event.with_context(|| format!("no event of {name}"))?["ip_address"].clone())
}

async fn behind_a_proxy() -> Result<(TempDir, Server, Organization)> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let mut server = Server::start(&folder.path().join("server")).await?;
    server.stop().await?;
    let text = std::fs::read_to_string(server.config())?;
    std::fs::write(server.config(), format!("{text}trusted_proxies = [\"127.0.0.2\", \"192.0.2.0/24\"]\n"))?;
    server.resume().await?;
    let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    Ok((folder, server, organization))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_a_trusted_proxy_is_written_down_and_others_are_not_believed() -> Result<()> {
    let (_folder, server, organization) = behind_a_proxy().await?;
    let person = Peer::person(&server)?;
    let (proxy, other) = (person.at(PROXY), person.at(ELSEWHERE));
    assert_eq!(sign_in(&proxy, &header([203, 0, 113, 9]), "behind").await?, "401");
    assert_eq!(address_of(&organization, "behind").await?, "203.0.113.9");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_eq!(sign_in(&proxy, local, "proxy").await?, "401", "it looks after the server's health");
    assert_eq!(address_of(&organization, "proxy").await?, "127.0.0.2");
    assert_eq!(sign_in(&other, b"", "other").await?, "401");
    assert_eq!(address_of(&organization, "other").await?, "127.0.0.3");

    // Who is not trusted and says so all the same, and who is trusted and says nothing or nonsense.
    assert!(sign_in(&other, &header([203, 0, 113, 9]), "liar").await.is_err());
    assert!(sign_in(&proxy, b"", "mute").await.is_err());
    let udp = [b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c".as_slice(), &[0; 12]].concat();
    assert!(sign_in(&proxy, &udp, "udp").await.is_err());
    assert!(sign_in(&proxy, b"PROXY TCP4 203.0.113.9 198.51.100.1 1 2\r\n", "first").await.is_err());
    for name in ["liar", "mute", "udp", "first"] {
        assert!(address_of(&organization, name).await.is_err(), "{name} got through");
    }
    for _ in 0..50 {
        assert!(sign_in(&proxy, b"", "mute").await.is_err());
    }
    let log = server.log();
    let told = log.lines().filter(|line| line.contains("a trusted proxy's connection was refused"));
    let told: Vec<&str> = told.collect();
    assert!((1..10).contains(&told.len()), "{} lines", told.len());
    assert!(told[0].contains("127.0.0.2") && told[0].contains("trusted_proxies"), "{}", told[0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_network_is_one_guesser_and_the_next_is_another() -> Result<()> {
    let (_folder, server, _organization) = behind_a_proxy().await?;
    let proxy = Peer::person(&server)?.at(PROXY);
    let mut tried = Vec::new();
    let first = ["2001:db8:1:2::1"; 5];
    for from in first.into_iter().chain(["2001:db8:1:2::9", "2001:db8:1:3::1"]) {
        tried.push(sign_in(&proxy, &header_v6(from)?, "nora").await?);
    }
    assert_eq!(tried, ["401", "401", "401", "401", "429", "429", "401"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_through_a_proxy_as_well() -> Result<()> {
    let (folder, server, organization) = behind_a_proxy().await?;
    let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
    let port = server.devices.port();
    let device = Device::enroll(&folder.path().join("device"), &server, port, &facility, "Tablet").await?;
    let peer = Peer::device(&server, &device.key)?.at(PROXY);
    let mut stream = peer.connect().await?;
    // The header may come in pieces.
    for byte in header([203, 0, 113, 9]) {
        stream.write_all(&[byte]).await?;
    }
    let mut stream = peer.shake_hands(stream, "http/1.1").await?;
    let boot = BootId::new(device.clock.now(), device.clock.random());
    let head = format!(
        "GET /api/v1/sync/pull HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{BOOT_HEADER}: {boot}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // One that is deactivated is refused, and the log says where it came from: not the proxy.
    let path = format!("/api/v1/devices/{}/deactivate", device.grant.device_id);
    organization.admin.post(&path, &json!({})).await?;
    let mut stream = peer.connect().await?;
    stream.write_all(&header([203, 0, 113, 10])).await?;
    let mut stream = peer.shake_hands(stream, "http/1.1").await?;
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&answer));
    until("the refusal in the audit log", PATIENCE, || async {
        let events = organization.admin.get("/api/v1/audit-events?limit=1000").await?;
        ensure!(events.to_string().contains("203.0.113.10"), "{events}");
        Ok(())
    })
    .await
}
