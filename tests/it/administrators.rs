//! What an administrator must not bring about by mistake, and what she is asked at her terminal.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use carepost_tests::children::{binary, run};
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::scene::Scene;
use carepost_tests::world::PASSWORD;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::cli::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_who_can_sign_in_neither_switches_herself_off_nor_steps_down() -> Result<()> {
    let scene = Scene::new(1).await?;
    let organization = &scene.facility.organization;
    let admin = &organization.admin;
    let own = admin.get("/api/v1/sessions/current").await?["user_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/users/{own}");
    let refuses = async |body: serde_json::Value, field: &str| -> Result<()> {
        let answer = admin.call(Method::PUT, &path, Some(&body)).await?;
        ensure!(answer.status == 422 && answer.text.contains("last administrator"), "{}", answer.text);
        ensure!(answer.body["errors"][0]["field"] == field, "{}", answer.text);
        Ok(())
    };
    refuses(json!({"is_active": false}), "is_active").await?;
    refuses(json!({"role": "auditor"}), "role").await?;
    // One who cannot sign in is none who could bring her back.
    let second = admin.post("/api/v1/users", &json!({"username": "olga", "role": "org_admin"})).await?;
    refuses(json!({"is_active": false}), "is_active").await?;
    let password = format!("/api/v1/users/{}/password", second["id"].as_str().unwrap());
    ensure!(admin.call(Method::PUT, &password, Some(&json!({"password": PASSWORD}))).await?.status == 204);
    admin.put(&path, &json!({"display_name": "Still here"})).await?;
    admin.put(&path, &json!({"is_active": false})).await?;
    ensure!(admin.call(Method::GET, &path, None).await?.status == 401, "her session has ended");
    ensure!(scene.server.api()?.sign_in(Some("golden-years"), "admin", PASSWORD).await.is_err());
    let olga = scene.server.api()?.sign_in(Some("golden-years"), "olga", PASSWORD).await?;
    olga.put(&path, &json!({"is_active": true})).await?;

    // The platform's has nobody above her: no request ends her, whatever organization it is made in.
    let root = scene.server.root().await?;
    let own = root.get("/api/v1/sessions/current").await?["user_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/users/{own}");
    for organization in [None, Some(organization.id.as_str())] {
        let named = organization.map(|id| ("x-organization-id", id));
        let headers: Vec<_> = [("content-type", "application/json")].into_iter().chain(named).collect();
        for body in [json!({"is_active": false}), json!({"role": "auditor"})] {
            let answer = root.send(Method::PUT, &path, &headers, body.to_string().into_bytes()).await?;
            ensure!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text);
        }
    }
    scene.server.root().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_take_names_ask_before_they_end_something_and_give_nobody_the_password_of_another()
-> Result<()> {
    let scene = Scene::new(1).await?;
    let _hall = scene.kiosk_with("Hall kiosk", Badges::None, "").await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session: session.clone() };

    // The password that is set belongs to whoever acts.
    terminal.does(&["sign-in", "root"]).await?;
    let environment = [
        ("CAREPOST_URL", scene.server.people.clone()),
        ("CAREPOST_CA", scene.server.ca.display().to_string()),
        ("CAREPOST_SESSION", session),
        ("CAREPOST_PASSWORD", PASSWORD.to_owned()),
    ];
    let create = ["org", "create", "Silver Years", "--slug", "silver-years"];
    let (code, _, error) = run("carepost-server", &create, &environment).await?;
    ensure!(code == 1 && error.contains("CAREPOST_NEW_PASSWORD"), "{code}: {error}");
    ensure!(!terminal.does(&["org", "list"]).await?.to_string().contains("silver-years"));
    let config = scene.folder_of("second.toml");
    std::fs::write(&config, format!("state_dir = \"{}\"\n", scene.folder_of("second").display()))?;
    let config = config.display().to_string();
    let init = ["--config", &config, "init", "--host", "localhost", "--admin", "second"];
    let (code, _, error) = run("carepost-server", &init, &environment).await?;
    ensure!(code == 1 && error.contains("CAREPOST_NEW_PASSWORD"), "{code}: {error}");

    let listed = terminal.does(&["--organization", "golden-years", "facility", "list"]).await?;
    ensure!(listed.to_string().contains("Riverside"), "{listed}");
    let (code, _, error) = terminal.types(&["--organization", "gold", "facility", "list"]).await?;
    ensure!(code == 1 && error.contains("no organization is called \"gold\""), "{code}: {error}");

    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    ensure!(terminal.does(&["device", "show", "hall KIOSK"]).await?["device_name"] == "Hall kiosk");
    let audit = terminal.does(&["audit", "list", "--device", "Hall kiosk"]).await?;
    ensure!(!audit["items"].as_array().unwrap().is_empty(), "{audit}");
    for ending in
        [&["device", "deactivate", "Hall kiosk", "--reason", "lost"][..], &["user", "deactivate", "admin"]]
    {
        let (code, _, error) = terminal.types(ending).await?;
        ensure!(code == 1 && error.contains("nothing was done. Say --yes to"), "{code}: {error}");
    }
    let (_, _, error) = terminal.types(&["device", "deactivate", "Hall kiosk", "--reason", "lost"]).await?;
    ensure!(
        error.contains("\"Hall kiosk\" (RASPBERRY_PI, ACTIVE, Riverside, online now) as lost"),
        "{error}"
    );
    ensure!(error.contains("a PIN that it held has to choose another"), "{error}");
    ensure!(scene.facility.device("Hall kiosk").await?["state"] == "ACTIVE");
    let ended = terminal.does(&["device", "deactivate", "Hall kiosk", "--reason", "lost", "--yes"]).await?;
    ensure!(ended["state"] == "REVOKED", "{ended}");

    // Who is no longer signed in hears which command that takes.
    let session = std::fs::read(&terminal.session)?;
    terminal.types(&["sign-out"]).await?;
    std::fs::write(&terminal.session, session)?;
    let (_, _, error) = terminal.types(&["facility", "list"]).await?;
    ensure!(error.contains("Your session is over: run `carepost-server sign-in USERNAME`"), "{error}");
    Ok(())
}

/// Begins a command at a terminal of its own, in which its input is typed.
fn at_terminal(scene: &Scene, words: &[&str]) -> Result<Child> {
    let program = binary("carepost-server")?.display().to_string();
    let words = [program.as_str()].iter().chain(words).map(|word| format!("'{word}'")).collect::<Vec<_>>();
    let mut terminal = Command::new("script");
    terminal
        .args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"])
        .env("SHELL", "/bin/sh");
    terminal.env("CAREPOST_SESSION", scene.folder_of("session.json"));
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    terminal.spawn().context("no `script`: install Debian's bsdutils")
}

/// Types a line there and waits for the end of the command: its exit code and all that was to be read.
async fn types(mut terminal: Child, line: &str) -> Result<(i32, String)> {
    // Its input stays open until it has ended, as a terminal does.
    let mut input = terminal.stdin.take().context("no input")?;
    input.write_all(format!("{line}\n").as_bytes()).await?;
    let ended = tokio::time::timeout(Duration::from_secs(60), terminal.wait_with_output()).await;
    let ended = ended.context("it hangs")??;
    Ok((ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&ended.stdout).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_approves_at_a_terminal_is_asked_for_the_number_and_what_ends_something_for_a_yes()
-> Result<()> {
    let scene = Scene::new(1).await?;
    let hall = Kiosk::hang(&scene.folder_of("hall"), "hall", &scene.server, None, Badges::None, "").await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;

    // Nobody copies the enrollment's id: the digits are asked for where the code was given.
    let code = hall.pairing_code().await?;
    let approve = ["device", "approve", &code, "--facility", "Riverside", "--name", "Hall kiosk"];
    let asking = at_terminal(&scene, &approve)?;
    let number = hall.confirmation_number().await?;
    let (code, said) = types(asking, &number).await?;
    ensure!(
        code == 0 && said.contains("It shows two digits now") && said.contains("ACTIVE"),
        "{code}: {said}"
    );
    hall.says(&["Riverside", "Tap your badge"]).await?;

    let deactivate = ["device", "deactivate", "Hall kiosk", "--reason", "retired"];
    for (answer, expected, state) in [("no", 1, "ACTIVE"), ("", 1, "ACTIVE"), ("yes", 0, "REVOKED")] {
        let (code, said) = types(at_terminal(&scene, &deactivate)?, answer).await?;
        ensure!(code == expected && said.contains("\"Hall kiosk\" (RASPBERRY_PI, ACTIVE"), "{code}: {said}");
        ensure!(
            said.contains("Type yes to go on") && said.contains("nothing was done") == (code == 1),
            "{said}"
        );
        ensure!(scene.facility.device("Hall kiosk").await?["state"] == state, "{answer:?}: {said}");
    }
    Ok(())
}
