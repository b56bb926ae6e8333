//! What the office's commands call things: facilities whose names share words, people and devices in place of ids, and
//! times by the clock of the facility.

use anyhow::{Context as _, Result};
use carepost_protocol::change::Lane;
use carepost_protocol::zone::Zone;
use carepost_tests::device::Device;
use carepost_tests::scene::Scene;
use carepost_tests::world::{PASSWORD, items};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::{Terminal, by_clock};

async fn signed_in(scene: &Scene) -> Result<Terminal<'_>> {
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    Ok(terminal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitys_name_that_shares_words_with_anothers_is_asked_about_and_the_whole_name_is_meant()
-> Result<()> {
    let scene = Scene::new(0).await?;
    let terminal = signed_in(&scene).await?;
    let rename = ["facility", "rename", "Riverside", "Golden Years ALF - Riverside"];
    let renamed = terminal.does(&rename).await.context("its own name is no other's")?;
    let create = |name| ["facility", "create", name, "--type", "SNF"];
    let refuses = async |words: &[&str], said: &str| -> Result<()> {
        let (code, _, error) = terminal.types(words).await?;
        anyhow::ensure!(code == 1 && error.contains(said), "{words:?} {code}: {error}");
        Ok(())
    };
    let taken = "nothing was done. Say --yes to call a facility \"riverside\". In commands, \"riverside\" means this one \
                 then, and not Golden Years ALF - Riverside (ALF)";
    refuses(&create("riverside"), taken).await?;
    terminal.does(&create("Hillside")).await?;
    let goes_on = "\"Hillside\" goes on meaning Hillside (SNF), and not this one";
    refuses(&create("Hillside Manor"), goes_on).await?;
    refuses(&["facility", "rename", "Hillside", "ALF Riverside"], "\"ALF Riverside\" means this one then")
        .await?;
    refuses(&create("hillside"), "409").await?;
    let listed = items(&terminal.does(&["facility", "list"]).await?)?;
    assert_eq!(listed.len(), 2, "nothing was made that was not meant: {listed:?}");

    let show = ["facility", "show", "Riverside", "--json"];
    let (code, shown, said) = terminal.types(&show).await?;
    assert!(code == 0 && said.is_empty(), "there is one: {said}");
    assert_eq!(serde_json::from_str::<Value>(&shown)?["id"], renamed["id"]);
    let made = terminal.does(&[&create("Riverside")[..], &["--yes"]].concat()).await?;
    let (_, shown, said) = terminal.types(&show).await?;
    assert_eq!(serde_json::from_str::<Value>(&shown)?["id"], made["id"]);
    let which =
        "\"Riverside\" is Riverside (SNF) by its whole name, and not Golden Years ALF - Riverside (ALF)";
    assert!(said.contains(which), "{said}");
    let (_, _, said) = terminal.types(&["device", "list", "Golden Years ALF - Riverside"]).await?;
    assert!(said.is_empty(), "nothing else is called so: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_and_a_change_are_shown_with_names_and_by_the_facilitys_clock() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (name, id) = scene.resident()?;
    let admin = &scene.facility.organization.admin;
    let folder = scene.folder_of("hall");
    let server = &scene.server;
    let device =
        Device::enroll(&folder, server, server.devices.port(), &scene.facility, "Hall kiosk").await?;
    let nora = device.nurse(scene.nora.id.parse()?);
    let mut entry = device.vitals(&nora, id.parse()?, Map::new());
    entry.workflow = Some("rounds".to_owned());
    let mut chain = device.chain(Lane::Care);
    let batch = chain.batch(&[serde_json::to_string(&entry)?])?.into_bytes();
    let kind = [("content-type", "application/json")];
    let answer = device.wire(server)?.send(Method::POST, "/api/v1/sync/push", &kind, batch).await?;
    assert_eq!(answer.body["verdicts"][0]["verdict"], "rejected", "{}", answer.text);

    let terminal = signed_in(&scene).await?;
    let incarnation = chain.incarnation.to_string();
    let show = ["change", "show", "Hall kiosk", &incarnation, "1"];
    let whole = terminal.does(&show).await?;
    let (code, shown, error) = terminal.types(&show).await?;
    assert_eq!(code, 0, "{error}");
    let zone = Zone::named("America/Chicago").context("no zone")?;
    let (line, at) = (|of: &str, is: &str| format!("{of:20} {is}"), by_clock(&zone, &whole["received_at"])?);
    for told in [
        line("resident", name),
        line("by", "Nora Quist"),
        line("device", "Hall kiosk"),
        line("received_at", &at),
    ] {
        assert!(shown.contains(&told), "no {told:?} in {shown}");
    }
    assert!(shown.contains("entry (rounds)") && !shown.contains(" UTC"), "{shown}");
    for key in ["patient_id", "user_id", "device_id"] {
        let is_shown = shown.lines().any(|line| line.starts_with(key));
        assert!(whole[key].is_string() && !is_shown, "{key}: {shown}");
    }

    // The log names whom whoever reads it may read, and programs get the ids.
    let list = ["audit", "list", "--patient", id];
    let (_, table, _) = terminal.types(&list).await?;
    assert!(
        table.lines().next().is_some_and(|head| head.contains("USER ") && head.contains("PATIENT ")),
        "{table}"
    );
    assert!(table.contains(&format!("{name} (MRN RS-1000")) && !table.contains(id), "{table}");
    let (_, table, _) = terminal.types(&["audit", "list", "--device", "Hall kiosk"]).await?;
    let hall = whole["device_id"].as_str().context("an id")?;
    assert!(table.contains("  Hall kiosk") && !table.contains(hall), "{table}");
    assert!(items(&terminal.does(&list).await?)?.iter().all(|event| event["patient_id"] == id));
    let auditor = json!({"username": "una", "display_name": "Una Field", "role": "auditor"});
    let auditor = admin.post("/api/v1/users", &auditor).await?;
    let path = format!("/api/v1/users/{}/password", auditor["id"].as_str().context("an id")?);
    admin.put(&path, &json!({"password": PASSWORD})).await?;
    terminal.does(&["sign-in", "una", "--of", "golden-years"]).await?;
    let (code, table, error) = terminal.types(&["audit", "list", "--patient", id]).await?;
    assert!(code == 0 && table.contains(id) && !table.contains(name), "{table}{error}");
    let theirs =
        format!("/api/v1/audit-events?user_id={}&limit=1000", auditor["id"].as_str().unwrap_or_default());
    let refused = items(&admin.get(&theirs).await?)?.into_iter().find(|event| event["success"] == false);
    assert_eq!(refused, None, "nothing was tried that she may not");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_username_has_one_rule_wherever_it_is_given() -> Result<()> {
    let scene = Scene::new(0).await?;
    let terminal = signed_in(&scene).await?;
    let rule = "username: give 1 to 100 characters without blanks, with a letter or a digit";
    let long = "é".repeat(101);
    for wrong in ["", " ", "nora q", "...", &long] {
        let create =
            ["user", "create", wrong, "--name", "Nora Field", "--role", "rn", "--facility", "Riverside"];
        for words in [&create[..], &["user", "rename", "nora.quist", wrong]] {
            let (code, _, error) = terminal.types(words).await?;
            assert!(code == 1 && error.contains(rule), "{words:?} {code}: {error}");
        }
    }
    let renamed = terminal.does(&["user", "rename", "nora.quist", &"é".repeat(100)]).await?;
    assert_eq!(renamed["username"], "é".repeat(100), "characters are counted, whatever they take");
    Ok(())
}
