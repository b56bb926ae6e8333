//! What an administrator must not bring about by mistake.

use anyhow::{Result, ensure};
use carepost_tests::children::run;
use carepost_tests::kiosk::Badges;
use carepost_tests::scene::Scene;
use carepost_tests::world::PASSWORD;
use reqwest::Method;
use serde_json::json;

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
    let olga = scene.server.api()?.sign_in(Some("golden-years"), "olga", PASSWORD).await?;
    olga.put(&path, &json!({"is_active": true})).await?;
    Ok(())
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
    ensure!(error.contains("\"Hall kiosk\" (RASPBERRY_PI, ACTIVE, online now) as lost"), "{error}");
    ensure!(scene.facility.device("Hall kiosk").await?["state"] == "ACTIVE");
    let ended = terminal.does(&["device", "deactivate", "Hall kiosk", "--reason", "lost", "--yes"]).await?;
    ensure!(ended["state"] == "REVOKED", "{ended}");
    Ok(())
}
