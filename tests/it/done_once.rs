//! A command is done once, also where its answer is lost, and to what it showed alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use carepost_tests::children::{run, until};
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::link::Link;
use carepost_tests::world::{Organization, PASSWORD, Server, items};
use serde_json::json;
use tempfile::TempDir;

/// An administrator's terminal whose network is in the test's hands.
struct Office {
    _folder: TempDir,
    _server: Server,
    organization: Organization,
    link: Link,
    environment: Vec<(&'static str, String)>,
}

impl Office {
    async fn new() -> Result<Self> {
        crate::install_provider();
        let folder = TempDir::new()?;
        let server = Server::start(&folder.path().join("server")).await?;
        let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
        let port = server.people.rsplit(':').next().context("no port")?.parse()?;
        let link = Link::start(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let environment = vec![
            ("CAREPOST_URL", format!("https://localhost:{}", link.address().port())),
            ("CAREPOST_CA", server.ca.display().to_string()),
            ("CAREPOST_SESSION", folder.path().join("session.json").display().to_string()),
            ("CAREPOST_PASSWORD", PASSWORD.to_owned()),
        ];
        let office = Self { _folder: folder, _server: server, organization, link, environment };
        let (code, _, said) = office.types(&["sign-in", "admin", "--of", "golden-years"]).await?;
        ensure!(code == 0, "{said}");
        Ok(office)
    }

    async fn types(&self, words: &[&str]) -> Result<(i32, String, String)> {
        run("carepost-server", words, &self.environment).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_answer_is_lost_asks_again_and_does_it_once() -> Result<()> {
    let office = Office::new().await?;
    // How much comes down before an answer that is longer than this one by far.
    let before = office.link.bytes_down();
    let (code, _, said) = office.types(&["facility", "list", "--json"]).await?;
    ensure!(code == 0, "{said}");
    office.link.cut_after_down(office.link.bytes_down() - before + 100);
    let mend = async {
        let is_cut =
            || async { if office.link.is_connected() { Err(anyhow::anyhow!("no cut")) } else { Ok(()) } };
        until("the answer to be cut", PATIENCE, is_cut).await?;
        office.link.restore();
        Ok::<_, anyhow::Error>(())
    };
    let create = ["facility", "create", "Riverside", "--type", "ALF", "--json"];
    let (created, mended) = tokio::join!(office.types(&create), mend);
    mended?;
    let (code, out, said) = created?;
    ensure!(code == 0 && out.contains("Riverside"), "{code}: {out}{said}");
    let found = items(&office.organization.admin.get("/api/v1/facilities").await?)?;
    assert_eq!(found.len(), 1, "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_changes_what_it_showed_only_as_it_was_shown() -> Result<()> {
    let office = Office::new().await?;
    let facility = office.organization.facility("Riverside", "ALF", None, 0).await?;
    let admin = &office.organization.admin;
    let new = json!({"facility_id": facility.id, "name": "Ada Amberly", "room": "12"});
    let ada = admin.post("/api/v1/patients", &new).await?["id"].as_str().context("an id")?.to_owned();
    let path = format!("/api/v1/patients/{ada}");
    office.link.delay(Duration::from_secs(2));
    // Once the server has written down that she is shown, what shows her is two seconds from the terminal, and what
    // discharges her two more from the server.
    let cross = async {
        let looks = format!("/api/v1/audit-events?patient_id={ada}");
        let is_shown = || async {
            let events = items(&admin.get(&looks).await?)?;
            ensure!(events.iter().any(|event| event["action"] == "view"), "{events:?}");
            Ok::<_, anyhow::Error>(())
        };
        until("the look at her", PATIENCE, is_shown).await?;
        admin.put(&path, &json!({"room": "14"})).await
    };
    let words = ["patient", "discharge", &ada, "--yes"];
    let (discharged, moved) = tokio::join!(office.types(&words), cross);
    moved?;
    let (code, _, said) = discharged?;
    ensure!(code == 1 && said.contains("(412)") && said.contains("since you looked"), "{code}: {said}");
    assert_eq!(admin.get(&path).await?["is_active"], true);
    office.link.delay(Duration::ZERO);
    let (code, _, said) = office.types(&words).await?;
    ensure!(code == 0, "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_key_whose_answer_is_lost_says_that_it_may_be_done() -> Result<()> {
    let office = Office::new().await?;
    let facility = office.organization.facility("Riverside", "ALF", None, 0).await?;
    let admin = &office.organization.admin;
    let new = json!({"facility_id": facility.id, "name": "Ada Amberly"});
    let ada = admin.post("/api/v1/patients", &new).await?["id"].as_str().context("an id")?.to_owned();
    let path = format!("/api/v1/patients/{ada}");
    office.link.delay(Duration::from_secs(2));
    // Once she is discharged, what says so is two seconds from the terminal.
    let lose = async {
        let is_discharged = || async {
            let shown = admin.get(&path).await?;
            ensure!(shown["is_active"] == false, "{shown}");
            Ok::<_, anyhow::Error>(())
        };
        until("the discharge", PATIENCE, is_discharged).await?;
        office.link.cut();
        Ok::<_, anyhow::Error>(())
    };
    let words = ["patient", "discharge", &ada, "--yes"];
    let (discharged, lost) = tokio::join!(office.types(&words), lose);
    lost?;
    let (code, _, said) = discharged?;
    ensure!(code == 4 && said.contains("It may be done all the same"), "{code}: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_whose_answer_is_lost_says_that_nobody_is_signed_in() -> Result<()> {
    let office = Office::new().await?;
    let words = ["sign-in", "admin", "--of", "golden-years"];
    let before = office.link.bytes_down();
    let (code, _, said) = office.types(&words).await?;
    ensure!(code == 0, "{said}");
    // In the middle of the answer, which is at the end.
    office.link.cut_after_down(office.link.bytes_down() - before - 150);
    let (code, _, said) = office.types(&words).await?;
    ensure!(code == 4 && said.contains("You are not signed in: repeat it"), "{code}: {said}");
    ensure!(!said.contains("may be done"), "{said}");
    office.link.restore();
    let (code, _, said) = office.types(&words).await?;
    ensure!(code == 0, "{said}");
    Ok(())
}
