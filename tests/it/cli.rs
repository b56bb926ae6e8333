//! Everything an administrator does in the main job, typed.

mod patients;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::{WallClock, Zone};
use carepost_tests::children::{binary, free_port, run, run_with_input};
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::scene::Scene;
use carepost_tests::world::{PASSWORD, Server};
use serde_json::{Value, json};
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

/// A moment of the API's as a command says it of a facility in that zone.
pub(crate) fn by_clock(zone: &Zone, at: &Value) -> Result<String> {
    let at: Timestamp = at.as_str().context("no time")?.parse()?;
    let WallClock { day, time, of, .. } = zone.clock(at);
    Ok(format!("{day} {time} {of}"))
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
    for (name, said) in [
        (
            "golden  YEARS",
            "name: the organization golden-years is called so: give another name, or say that it is so (`--same-name`)",
        ),
        ("ЖЖЖ", "slug: none can be made of this name: give one (`--slug`)"),
    ] {
        let (code, _, error) = terminal.types(&["org", "create", name]).await?;
        assert!(code == 1 && error.contains(said), "{code}: {error}");
    }
    // What is doubtful, though accepted, is said.
    let doubtful = ["org", "create", "Silver Birch", "--npi", "1234567890", "--json"];
    let (code, _, error) = terminal.types(&doubtful).await?;
    assert!(code == 0 && error.contains("npi: the check digit does not match"), "{error}");
    let rename = ["org", "rename", "silver-birch", "Golden Years"];
    let (code, _, error) = terminal.types(&rename).await?;
    assert!(code == 1 && error.contains("--same-name"), "{error}");
    // Said once, it stands.
    terminal.does(&[&rename[..], &["--same-name"]].concat()).await?;
    terminal.does(&rename).await?;
    let (code, _, error) = terminal.types(&["org", "create", "Again", "--slug", "golden-years"]).await?;
    assert_eq!(code, 1);
    assert!(error.contains("409"), "{error}");

    // What is the organization's own to do is not root's.
    let (code, _, error) = terminal.types(&["facility", "list"]).await?;
    assert!(
        code == 1 && error.contains("say which organization is meant, with --organization SLUG"),
        "{error}"
    );
    let (code, _, error) = terminal.types(&["--organization", "golden-years", "user", "list"]).await?;
    let own = "(403): Your role does not allow this; it is for an organization's own people: sign in as its administrator";
    assert!(code == 1 && error.contains(own), "{error}");
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    terminal
        .does(&["facility", "create", "Riverside", "--type", "ALF", "--beds", "48", "--census", "40"])
        .await?;
    terminal.does(&["facility", "census", "riverside", "44"]).await?;
    let (_, table, _) = terminal.types(&["facility", "list"]).await?;
    assert!(table.contains("REPORTED_CENSUS  OCCUPANCY_RATE") && table.contains("91.67"), "{table}");
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
    let approve = ["device", "approve", &code, "--facility", "Riverside", "--name", "Hall kiosk"];
    let (_, approved, error) = terminal.types(&approve).await?;
    let next = approved.split_once("\n  carepost-server device confirm ").context(error)?.1;
    let enrollment = next.split(' ').next().context("an enrollment")?;
    let number = kiosk.confirmation_number().await?;
    let (_, said) = kiosk.command(&["doctor"]).await?;
    assert!(
        said.contains("approved for Riverside: if it is there, read the two digits on its page"),
        "{said}"
    );
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
async fn an_administrator_types_names_words_and_numbers_as_she_knows_them() -> Result<()> {
    let scene = Scene::new(1).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "root"]).await?;
    let listed = terminal.does(&["--organization", "Golden Years", "facility", "list"]).await?;
    assert!(listed.to_string().contains("Riverside"), "{listed}");
    terminal.does(&["sign-in", "admin", "--of", "Golden-Years"]).await?;
    let refuses = async |words: &[&str], code: i32, said: &[&str]| -> Result<()> {
        let (ended, _, error) = terminal.types(words).await?;
        anyhow::ensure!(ended == code, "{words:?} ended with {ended}: {error}");
        anyhow::ensure!(said.iter().all(|it| error.contains(it)), "{words:?}: {error}");
        Ok(())
    };

    // A name that is nobody's, and one that is two people's.
    let near = "Riverside (ALF)  ";
    refuses(&["device", "list", "River"], 1, &["no facility is called \"River\"", near, &scene.facility.id])
        .await?;
    refuses(&["device", "list", ""], 1, &["which facility?", "facility list"]).await?;
    terminal.does(&["user", "set-pin", "nora  QUIST", "--yes"]).await?;
    let second =
        ["user", "create", "nq2", "--name", "Nora Quist", "--role", "LPN", "--facility", "riverside"];
    terminal.does(&second).await?;
    let both = [
        "several are called \"Nora Quist\"",
        "(nq2, lpn, Riverside)",
        "(nora.quist, rn, Riverside)",
        "the id",
    ];
    refuses(&["user", "set-pin", "Nora Quist"], 1, &both).await?;
    refuses(&["user", "activate", "nq2"], 1, &["nothing was done", "switched on already"]).await?;
    refuses(&["user", "activate", &scene.facility.id], 1, &["404", "check the id"]).await?;
    terminal
        .does(&["device", "register", "Hall-2", "--facility", "Riverside", "--type", "badge reader"])
        .await?;
    assert_eq!(terminal.does(&["device", "show", "hall-2"]).await?["device_type"], "BADGE_READER");
    refuses(&["device", "release", "HALL-2"], 1, &["nothing was done: Hall-2 (", "is not quarantined"])
        .await?;
    let about = terminal.does(&["audit", "list", "--patient", "rs-1000"]).await?;
    assert!(about["items"].is_array(), "{about}");

    // Words and numbers.
    let role = |role: &'static str| ["user", "create", "una", "--role", role, "--facility", "Riverside"];
    for wrong in ["nurse", "charge nurse", ""] {
        refuses(&role(wrong), 2, &["rn (registered nurse)", "lpn (licensed practical nurse)"]).await?;
    }
    assert_eq!(terminal.does(&role("Registered Nurse")).await?["role"], "rn");
    let create = ["facility", "create", "Garden", "--type", "memory-care", "--beds"];
    for wrong in ["1,000", "1.000", "-1", "many"] {
        refuses(
            &[&create[..], &[wrong]].concat(),
            2,
            &["a whole number in digits alone, such as 48 or 1000"],
        )
        .await?;
    }
    refuses(&[&create[..], &["99999999999"]].concat(), 1, &["give at most 100000"]).await?;
    let crowded = [&create[..], &["16", "--census", "17"]].concat();
    refuses(&crowded, 1, &["17 residents are more than 16 licensed beds", "--over-capacity"]).await?;
    let garden = terminal.does(&[&crowded[..], &["--over-capacity"]].concat()).await?;
    assert_eq!((&garden["facility_type"], &garden["available_beds"]), (&"MEMORY_CARE".into(), &0.into()));
    refuses(&["facility", "census", "garden", "18"], 1, &["--over-capacity"]).await?;
    refuses(&["facility", "phi-mode", "Garden", "most"], 2, &["minimal (initials and room)"]).await?;
    assert_eq!(terminal.does(&["facility", "phi-mode", "Garden", "Minimal"]).await?["phi_mode"], "minimal");
    refuses(&["facility", "record-days", "Garden", "3"], 1, &["7 to 3650 days, or leave them out"]).await?;
    refuses(&["badge", "issue", "una"], 2, &["--uid <HEX>|--last-tap <DEVICE>"]).await?;
    let (code, _, said) = terminal.types(&["device", "confirm"]).await?;
    assert!(code == 2 && said.contains("<ENROLLMENT>") && !said.contains("--server"), "{said}");
    refuses(&["--server", "care.example.test", "org", "list"], 2, &["with https:// and the port"]).await?;
    refuses(&["sign-in", "admin", "--of", "Golden Years"], 2, &["the organization's slug"]).await?;
    let since = |time: &'static str| ["device", "withdraw", "Hall-2", "--since", time];
    refuses(&since("yesterday"), 2, &["a day such as 2026-05-01", "30min, 2h or 3d"]).await?;
    refuses(&since("2026-02-30"), 2, &["February 2026 has 28 days"]).await?;
    for time in ["2026-05-01", "05/01/2026 14:10", "2h", "2026-05-01T14:10:00Z"] {
        refuses(&since(time), 1, &["device deactivate"]).await?;
    }
    let unnumbered = ["patient", "create", "Dee Example", "--facility", "Riverside"];
    refuses(&[&unnumbered[..], &["--mrn", "n/a"]].concat(), 1, &["is no number: leave it empty"]).await?;
    assert_eq!(terminal.does(&unnumbered).await?["mrn"], Value::Null);

    // A role of the whole organization is not made one of a facility, and the list says who is where.
    let wide = ["user", "create", "wes", "--role", "org_admin", "--facility", "Garden"];
    let (code, _, error) = terminal.types(&wide).await?;
    assert!(code == 0 && error.contains("a role of the whole organization"), "{error}");
    let (_, list, _) = terminal.types(&["user", "list"]).await?;
    let is_at = |user: &str, place: &str| {
        list.lines().any(|line| line.starts_with(user) && line.contains(&format!("  {place}  ")))
    };
    assert!(is_at("nq2", "Riverside") && is_at("wes", "Garden") && !is_at("admin", "Riverside"), "{list}");

    // Who is to be looked at, by name.
    let number = "1EG4-TE5-MK73";
    let (_, ada) = scene.resident()?;
    let path = format!("/api/v1/patients/{ada}");
    scene.facility.organization.admin.put(&path, &json!({"medicare": number})).await?;
    let twin = ["patient", "create", "Ada Amberly", "--mrn", "A-1", "--facility", "Riverside"];
    terminal.does(&[&twin[..], &["--medicare", number, "--another-than", ada]].concat()).await?;
    let (_, reviews, _) = terminal.types(&["review", "list", "Riverside"]).await?;
    let asked =
        "Ada Amberly (MRN A-1)  is it one person with Ada Amberly (MRN RS-1000, born 1930-01-01, room 101)?";
    assert!(reviews.contains(asked) && reviews.contains("duplicate"), "{reviews}");
    assert!(reviews.contains("at a kiosk"), "{reviews}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_signed_in_names_the_server_and_its_certificate_no_more() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let session = [("CAREPOST_SESSION", folder.path().join("session.json").display().to_string())];
    let types =
        async |words: &[&str], input: &str| run_with_input("carepost-server", words, &session, input).await;
    let sign_in = ["sign-in", "root", "--password-file", "-"];
    let ca = server.ca.display().to_string();
    let reach = ["--server", server.people.as_str(), "--ca", &ca];
    let (code, _, error) = types(&[&reach[..], &sign_in].concat(), PASSWORD).await?;
    assert_eq!(code, 0, "{error}");
    // A session that begins anew trusts what the system does; where it does not begin, that which is there goes on.
    let (code, _, error) = types(&sign_in, PASSWORD).await?;
    assert!(code != 0 && error.contains("--ca"), "{code}: {error}");
    let named = ["--ca", &ca];
    for words in [vec!["org", "list"], [&named[..], &sign_in].concat()] {
        let (code, _, error) = types(&words, PASSWORD).await?;
        assert_eq!(code, 0, "{words:?}: {error}");
    }
    // What is said counts, and a token goes nowhere else.
    let elsewhere = format!("https://localhost:{}", free_port()?);
    let (code, _, error) = types(&["--server", &elsewhere, "org", "list"], "").await?;
    assert!(code == 1 && error.contains(&format!("nobody is signed in at {elsewhere}")), "{error}");
    // What is printed describes what answers.
    let (_, printed, _) = types(&["openapi"], "").await?;
    let answered: Value = server.api()?.get("/api/v1/openapi.json").await?;
    assert!(serde_json::from_str::<Value>(&printed)? == answered, "{printed}");
    let (_, help, _) = types(&["device", "withdraw", "--help"], "").await?;
    let (own, global) = help.split_once("Global options:").context("a part of its own")?;
    assert!(own.contains("--since") && !own.contains("--server") && global.contains("--server"), "{help}");

    // Where nobody can be asked, it is said how else: a variable that is empty is no password.
    let unasked = tokio::process::Command::new("setsid")
        .arg("--wait")
        .arg(binary("carepost-server")?)
        .args(["sign-in", "root"])
        .envs(session.clone())
        .env("CAREPOST_PASSWORD", "")
        .output()
        .await?;
    let said = String::from_utf8_lossy(&unasked.stderr);
    assert_eq!(unasked.status.code(), Some(1), "{said}");
    assert!(said.contains("no terminal to ask on: give --password-file FILE"), "{said}");
    assert!(said.contains("or set CAREPOST_PASSWORD") && !said.contains("os error"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn badges_are_told_apart_what_is_doubtful_is_asked_first_and_a_name_is_one_things() -> Result<()> {
    let scene = Scene::new(1).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let refuses = async |words: &[&str], said: &[&str]| -> Result<()> {
        let (ended, _, error) = terminal.types(words).await?;
        anyhow::ensure!(ended == 1 && said.iter().all(|it| error.contains(it)), "{words:?} {ended}: {error}");
        Ok(())
    };
    let badges = async || -> Result<Vec<Value>> {
        Ok(terminal.does(&["badge", "list", "nora.quist"]).await?["items"]
            .as_array()
            .context("items")?
            .clone())
    };

    let issue = |uid: &'static str| ["badge", "issue", "nora.quist", "--uid", uid];
    let asked =
        ["nothing was done. Say --yes to issue that card to Nora Quist (nora.quist, rn)", "--last-tap"];
    refuses(&issue("15046143"), &[&asked[..], &["decimal number printed on a card", "00E595FF"]].concat())
        .await?;
    refuses(&issue("F6E5D4C3B2A204"), &[&asked[..], &["turned around", "04A2B2C3D4E5F6"]].concat()).await?;
    for blank in ["00000000", "FF:FF:FF:FF:FF:FF:FF", "00000000000000000000"] {
        refuses(&issue(blank), &["uid: 00 or FF in every byte is no card's UID"]).await?;
    }
    assert_eq!(badges().await?.len(), 1, "nothing was issued before it was asked");
    terminal.does(&[&issue("15046143")[..], &["--yes"]].concat()).await?;
    let (_, table, _) = terminal.types(&["badge", "list", "nora.quist"]).await?;
    assert!(table.contains("CARD") && table.contains("ISSUED_BY") && table.contains("admin"), "{table}");
    let listed = badges().await?;
    let [second, first] = listed.as_slice() else { bail!("{listed:?}") };
    assert!(first["card"] != second["card"] && second["issued_by"] == "admin", "{first} {second}");

    let file = scene.folder_of("signs.json").display().to_string();
    let fields = r#"[{"key": "note", "label": "Note", "type": "string"}]"#;
    std::fs::write(&file, format!(r#"{{"key": "signs", "label": "VITALS", "fields": {fields}}}"#))?;
    refuses(&["workflow", "publish", &file], &["409", "label is taken already"]).await?;
    // What is listed can be published again, whole or one of it, saved by whichever editor, and is no new version.
    let listed = terminal.does(&["workflow", "list"]).await?;
    for again in [&listed, &listed["items"][0]] {
        std::fs::write(&file, format!("\u{feff}{again}"))?;
        terminal.does(&["workflow", "publish", &file]).await?;
    }
    assert_eq!(terminal.does(&["workflow", "list"]).await?, listed);
    // It takes nothing back that was published since; what is there already is published again as before.
    let mut later = listed["items"][0].clone();
    later["label"] = "Vital signs".into();
    std::fs::write(&file, later.to_string())?;
    for _ in 0..2 {
        assert_eq!(terminal.does(&["workflow", "publish", &file]).await?["version"], 2);
    }
    std::fs::write(&file, listed.to_string())?;
    refuses(&["workflow", "publish", &file], &["409", "version 2 is the latest"]).await?;
    let register = |name: &'static str| ["device", "register", name, "--facility", "Riverside"];
    terminal.does(&register("Hall kiosk")).await?;
    refuses(&register("HALL  Kiosk"), &["409", "device_name is taken already"]).await?;

    refuses(&["user", "rename", "nora.quist", "ADMIN"], &["409", "username is taken already"]).await?;
    refuses(&["user", "rename", "nora.quist", "nora q"], &["username: give 1 to 100 characters"]).await?;
    let renamed = terminal.does(&["user", "rename", "nora.quist", "nora.field"]).await?;
    assert_eq!(renamed["username"], "nora.field");
    let nora = scene.server.api()?;
    assert!(nora.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await.is_err());
    scene.server.api()?.sign_in(Some("golden-years"), "Nora.Field", PASSWORD).await?;

    // What was registered with a slip of the pen is given its name.
    terminal.does(&register("Den kiosc")).await?;
    refuses(&["device", "rename", "Den kiosc", "hall kiosk"], &["409", "device_name is taken already"])
        .await?;
    for (words, field, name) in [
        (&["device", "rename", "den kiosc", "Den kiosk"][..], "device_name", "Den kiosk"),
        (&["facility", "rename", "Riverside", "Riverside Manor"], "name", "Riverside Manor"),
        (&["org", "rename", "golden-years", "Golden Years Living"], "name", "Golden Years Living"),
        (&["user", "rename", "nora.field", "--name", "Nora Field"], "display_name", "Nora Field"),
    ] {
        let renamed = terminal.does(words).await?;
        assert_eq!(renamed[field], name, "{words:?}");
    }
    let audit = terminal.does(&["audit", "list", "--user", "admin"]).await?.to_string();
    for told in [
        r#""username":"nora.field""#,
        r#""device_name":"Den kiosk""#,
        r#""name":"Riverside Manor""#,
        r#""name":"Golden Years Living""#,
        r#""display_name":"Nora Field""#,
    ] {
        assert!(audit.contains(told), "no {told} in {audit}");
    }
    Ok(())
}
