//! A server in its surroundings: variables of a cluster and files of all editors, both IP versions, and a
//! certificate that is renewed while it serves.

use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use carepost_agent::clock::Clock;
use carepost_tests::api::Api;
use carepost_tests::children::{Running, free_port, run, until};
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::world::{PASSWORD, Server};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// Puts the mark before what a file holds, as some editors do.
fn mark(file: &Path) -> Result<()> {
    Ok(std::fs::write(file, ["\u{feff}".as_bytes(), &std::fs::read(file)?].concat())?)
}

/// A new pair in the place of the server's, for so many days: the certificate to trust.
pub(crate) fn renew(server: &Server, names: &[&str], days: i64) -> Result<Vec<u8>> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    let end = Clock::new(None).now().plus_millis(days * 24 * 3_600_000).to_string();
    let day: Vec<u16> = end[..10].split('-').map(str::parse).collect::<Result<_, _>>()?;
    params.not_after = rcgen::date_time_ymd(day[0].into(), u8::try_from(day[1])?, u8::try_from(day[2])?);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    std::fs::write(server.ca.with_file_name("tls.key"), key.serialize_pem())?;
    std::fs::write(&server.ca, &pem)?;
    Ok(pem.into_bytes())
}

/// Waits until a client that trusts this certificate is answered.
async fn answers(server: &Server, ca: &[u8]) -> Result<serde_json::Value> {
    until("the new certificate", PATIENCE, || async {
        Api::new(&server.people, ca)?.get("/api/v1/health").await
    })
    .await
}

async fn says(server: &Server, words: &str, times: usize) -> Result<()> {
    until(words, PATIENCE, || async {
        let log = server.log();
        if log.matches(words).count() >= times { Ok(()) } else { bail!("{log}") }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_a_cluster_and_marks_of_editors_do_no_harm_and_both_ip_versions_are_served() -> Result<()>
{
    crate::install_provider();
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let (people, devices) = (free_port()?, free_port()?);
    std::fs::write(at("password"), format!("{PASSWORD}\r\n"))?;
    mark(&at("password"))?;
    std::fs::write(
        at("server.toml"),
        format!(
            "state_dir = \"{}\"\npeople_address = \"[::]:{people}\"\ndevices_address = \"[::]:{devices}\"\n",
            text("state")
        ),
    )?;
    mark(&at("server.toml"))?;
    let (config, password) = (text("server.toml"), text("password"));
    let links = ["PORT", "PORT_8443_TCP", "SERVICE_HOST", "SERVICE_PORT"];
    let names = links.map(|link| format!("CAREPOST_SERVER_{link}"));
    let mut environment: Vec<(&str, String)> =
        names.iter().map(|name| (name.as_str(), "tcp://10.96.0.12:8443".to_owned())).collect();
    // Nobody is there: this machine's own server is not asked through it.
    environment.push(("HTTPS_PROXY", "http://127.0.0.1:9".to_owned()));
    let init =
        ["--config", &config, "init", "--host", "localhost", "--admin", "root", "--password-file", &password];
    let (code, _, error) = run("carepost-server", &init, &environment).await?;
    ensure!(code == 0, "{error}");
    for name in ["tls.crt", "tls.key", "database.key"] {
        mark(&at("state").join(name))?;
    }
    let log = at("server.log");
    let mut server = Running::start("carepost-server", &["--config", &config, "serve"], &environment, &log)?;
    until("both IP versions", PATIENCE, || async {
        for address in ["127.0.0.1", "::1"] {
            for port in [people, devices] {
                TcpStream::connect((address, port)).with_context(|| format!("{address} {port}"))?;
            }
        }
        Ok(())
    })
    .await
    .with_context(|| server.log())?;
    server.expect_alive()?;
    std::fs::write(at("typed"), PASSWORD)?;
    let (url, ca, session, typed) =
        (format!("https://localhost:{people}"), text("state/tls.crt"), text("session"), text("typed"));
    let sign_in = |server: &str| {
        let words = ["--server", server, "--ca", &ca, "--session", &session, "sign-in", "root"];
        words.iter().chain(&["--password-file", &typed]).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let ours = sign_in(&url);
    let (code, _, error) =
        run("carepost-server", &ours.iter().map(String::as_str).collect::<Vec<_>>(), &environment).await?;
    ensure!(code == 0, "{error}");
    let others = sign_in("https://care.example.test:8443");
    let (code, _, error) =
        run("carepost-server", &others.iter().map(String::as_str).collect::<Vec<_>>(), &environment).await?;
    ensure!(code == 4 && error.contains("through the proxy http://127.0.0.1:9"), "{code}: {error}");
    server.stop().await
}

#[tokio::test]
async fn init_takes_names_and_addresses_and_says_what_else_is_none() -> Result<()> {
    for host in
        ["https://care.example.test", "a.example.test,192.0.2.7", "care.example.test:8443", "[::1]", ""]
    {
        let words = ["init", "--admin", "root", "--host", host];
        let (code, _, error) = run("carepost-server", &words, &[]).await?;
        ensure!(code == 2 && error.contains("no name and no address"), "{host:?} {code}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_second_init_says_what_it_found_and_leaves_as_it_is() -> Result<()> {
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("server.toml"), format!("state_dir = \"{}\"\n", at("state")))?;
    std::fs::write(at("password"), PASSWORD)?;
    let (config, password) = (at("server.toml"), at("password"));
    let init = async |admin: &str, hosts: &[&str]| {
        let words = ["--config", &config, "init", "--password-file", &password, "--admin", admin];
        let hosts = hosts.iter().flat_map(|host| ["--host", *host]);
        let words: Vec<&str> = words.into_iter().chain(hosts).collect();
        let (code, said, error) = run("carepost-server", &words, &[]).await?;
        ensure!(code == 0, "{code}: {error}");
        anyhow::Ok((said, error))
    };
    let (said, error) = init("root", &["localhost", "::1", "*.care.example.test"]).await?;
    ensure!(said.contains("created the platform administrator root") && error.is_empty(), "{said}{error}");
    let kept = std::fs::read(at("state/tls.crt"))?;
    let (said, error) = init("root", &["LOCALHOST", "0:0::1", "golden-years.care.example.test"]).await?;
    for found in [
        "the database key is there already: not changed",
        "a certificate is there already, for localhost, ::1, *.care.example.test: not changed",
        "a platform administrator is there already, root: none created, no password set",
    ] {
        ensure!(said.contains(found), "no {found:?} in {said}");
    }
    ensure!(error.is_empty(), "{error}");
    let (said, error) = init("second", &["localhost", "care.example.test"]).await?;
    ensure!(said.contains("already, root: none created"), "{said}");
    ensure!(error.contains("It is not for care.example.test. For one that is, move it away"), "{error}");
    ensure!(std::fs::read(at("state/tls.crt"))? == kept);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_a_broken_one_is_not_and_one_that_ends_is_told_of() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let first = std::fs::read(&server.ca)?;
    let health = answers(&server, &first).await?;
    ensure!(health.get("warning").is_none(), "{health}");
    let names = ["localhost", "127.0.0.1"];
    let second = renew(&server, &names, 32)?;
    let health = answers(&server, &second).await?;
    ensure!(health.get("warning").is_none(), "more than 30 days are left: {health}");
    ensure!(Api::new(&server.people, &first)?.get("/api/v1/health").await.is_err());

    // A chain whose key is another's, and what is no certificate at all.
    std::fs::write(&server.ca, &first)?;
    says(&server, "the certificate that was read before stays", 1).await?;
    std::fs::write(&server.ca, "half of a fi")?;
    says(&server, "the certificate that was read before stays", 2).await?;
    // And one that no device would take.
    renew(&server, &[], 90)?;
    says(&server, "as a server's: it names no host", 1).await?;
    answers(&server, &second).await?;

    let third = renew(&server, &names, 29)?;
    let pid = server.pid().context("it runs")?.to_string();
    let reload = || std::process::Command::new("kill").args(["-HUP", &pid]).status();
    ensure!(reload()?.success());
    let health = answers(&server, &third).await?;
    ensure!(
        health["warning"].as_str().is_some_and(|words| words.contains("certificate ends at 20")),
        "{health}"
    );
    says(&server, "the server's certificate ends at 20", 1).await?;
    // At the signal also where no file has changed, and the unit sends it.
    let read = "the certificate was read again";
    let times = server.log().matches(read).count();
    ensure!(reload()?.success());
    says(&server, read, times + 1).await?;
    let unit = include_str!("../../systemd/carepost-server.service");
    ensure!(unit.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"), "{unit}");
    let kiosk = Kiosk::hang(&folder.path().join("hall"), "hall", &server, None, Badges::None, "").await?;
    // What people write for a kiosk, too, may be saved by such an editor.
    mark(&kiosk.config())?;
    mark(&server.ca)?;
    let (_, said) = kiosk.command(&["doctor"]).await?;
    ensure!(said.contains("note   expiry") && said.contains("its certificate is trusted"), "{said}");
    Ok(())
}
