//! Everything an administrator does in the main job, typed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use carepost_tests::children::run;
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::scene::Scene;
use carepost_tests::world::{PASSWORD, Server};
use serde_json::Value;
use tempfile::TempDir;

/// An administrator's terminal.
pub(crate) struct Terminal<'a> {
    pub(crate) server: &'a Server,
    pub(crate) session: String,
}

impl Terminal<'_> {
    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CAREPOST_URL", self.server.people.clone()),
            ("CAREPOST_CA", self.server.ca.display().to_string()),
            ("CAREPOST_SESSION", self.session.clone()),
            ("CAREPOST_PASSWORD", PASSWORD.to_owned()),
            ("CAREPOST_NEW_PASSWORD", PASSWORD.to_owned()),
            ("CAREPOST_PIN", "482915".to_owned()),
        ]
    }

    pub(crate) async fn types(&self, words: &[&str]) -> Result<(i32, String, String)> {
        run("carepost-server", words, &self.environment()).await
    }

    pub(crate) async fn does(&self, words: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let (code, out, error) = self.types(&arguments).await?;
        if code != 0 {
            bail!("{words:?} ended with {code}: {error}");
        }
        Ok(serde_json::from_str(&out).unwrap_or(Value::Null))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sets_up_a_facility_from_the_command_line() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let session = folder.path().join("session.json").display().to_string();
    let terminal = Terminal { server: &server, session };

    let (code, _, error) = terminal.types(&["org", "list"]).await?;
    assert_eq!(code, 1);
    assert!(error.contains("sign-in"), "{error}");
    terminal.does(&["sign-in", "root"]).await?;
    let (code, out, error) = terminal
        .types(&["org", "create", "Golden Years", "--slug", "golden-years", "--type", "ALF_OPERATOR"])
        .await?;
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("AGE-SECRET-KEY-") && error.contains("ONCE"), "{out}{error}");
    let (code, _, error) = terminal.types(&["org", "create", "Again", "--slug", "golden-years"]).await?;
    assert_eq!(code, 1);
    assert!(error.contains("409"), "{error}");

    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    terminal
        .does(&["facility", "create", "Riverside", "--type", "ALF", "--beds", "48", "--census", "40"])
        .await?;
    terminal.does(&["facility", "census", "riverside", "44"]).await?;
    let (_, table, _) = terminal.types(&["facility", "list"]).await?;
    assert!(table.contains("OCCUPANCY_RATE") && table.contains("91.67"), "{table}");
    let preset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sync-server/presets/vitals.json");
    terminal.does(&["workflow", "publish", &preset.display().to_string()]).await?;
    terminal
        .does(&["user", "create", "nora", "--name", "Nora Quist", "--role", "rn", "--facility", "Riverside"])
        .await?;
    terminal.does(&["user", "set-pin", "nora"]).await?;
    terminal.does(&["badge", "issue", "nora", "--uid", "04A1B2C3D4E5F6"]).await?;
    let (code, _, error) = terminal.types(&["badge", "issue", "nora", "--uid", "08010203"]).await?;
    assert_eq!(code, 1);
    assert!(error.contains("uid: this card shows another number"), "{error}");
    terminal
        .does(&[
            "patient",
            "create",
            "Ada Amberly",
            "--mrn",
            "R-1",
            "--facility",
            "Riverside",
            "--room",
            "101",
        ])
        .await?;

    let kiosk =
        Kiosk::hang(&folder.path().join("kiosk"), "Hall kiosk", &server, None, Badges::Scripted, "").await?;
    let code = kiosk.pairing_code().await?;
    let approved = terminal
        .does(&["device", "approve", &code, "--facility", "Riverside", "--name", "Hall kiosk"])
        .await?;
    let enrollment = approved.get("enrollment_id").and_then(Value::as_str).context("an enrollment")?;
    let number = kiosk.confirmation_number().await?;
    let device = terminal.does(&["device", "confirm", enrollment, &number]).await?;
    assert_eq!(device["state"], "ACTIVE");
    kiosk.says(&["Riverside", "Golden Years"]).await?;
    kiosk.tap("04A1B2C3D4E5F6").await?;
    kiosk.says(&["Nora Quist", "Enter your PIN"]).await?;
    kiosk.enter_pin("482915").await?;
    kiosk.says(&["Ada Amberly", "101"]).await?;

    let id = device["id"].as_str().context("an id")?;
    terminal.does(&["device", "deactivate", id, "--reason", "lost", "--yes"]).await?;
    let (_, list, _) = terminal.types(&["device", "list", "Riverside"]).await?;
    assert!(list.contains("REVOKED"), "{list}");
    terminal.does(&["sign-out"]).await?;
    let (code, _, _) = terminal.types(&["facility", "list"]).await?;
    assert_eq!(code, 1, "a session that has ended is no session");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_is_discharged_after_a_question_and_readmitted_by_number_or_name() -> Result<()> {
    let scene = Scene::new(0).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let admit =
        ["patient", "create", "Ada Amberly", "--mrn", "R-1", "--facility", "Riverside", "--room", "12"];
    let admitted = terminal.does(&admit).await?;
    let id = admitted["id"].as_str().context("an id")?;

    let (code, _, said) = terminal.types(&["patient", "discharge", "r-1"]).await?;
    assert!(code == 1 && said.contains("nothing was done"), "{said}");
    assert!(said.contains("discharge Ada Amberly (MRN R-1, room 12)"), "{said}");
    let patient = format!("/api/v1/patients/{id}");
    let admin = &scene.facility.organization.admin;
    assert_eq!(admin.get(&patient).await?["is_active"], true, "nobody said yes");
    let discharged = terminal.does(&["patient", "discharge", "r-1", "--yes"]).await?;
    assert_eq!((&discharged["id"], &discharged["is_active"]), (&admitted["id"], &Value::Bool(false)));

    // Whoever admits her again is told that she is known, and how she is taken back.
    let (code, _, said) = terminal.types(&admit).await?;
    assert!(code == 1 && said.contains("409") && said.contains("was discharged"), "{said}");
    assert!(said.contains(&format!("carepost-server patient readmit {id}")), "{said}");
    assert_eq!(terminal.does(&["patient", "readmit", id]).await?["is_active"], true);
    terminal.does(&["patient", "discharge", "ada amberly", "--yes"]).await?;
    assert_eq!(terminal.does(&["patient", "readmit", "R-1"]).await?["is_active"], true);
    let (code, _, said) = terminal.types(&["patient", "readmit", "R-2"]).await?;
    assert!(code == 1 && said.contains("there is no \"R-2\""), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_and_a_wrong_command_are_told_apart() -> Result<()> {
    let folder = TempDir::new()?;
    let session = folder.path().join("session.json");
    let port = carepost_tests::children::free_port()?;
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
    let (code, _, _) = run("carepost-server", &["make-tea"], &environment).await?;
    assert_eq!(code, 2);
    Ok(())
}
