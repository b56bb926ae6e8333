//! Patients by command: discharged, readmitted, listed, and parted from whom they were taken for.

use anyhow::{Context as _, Result};
use carepost_protocol::zone::Zone;
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::Value;

use super::{Terminal, by_clock};

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

    // Nothing is done twice, and that is said; the API takes a request again as before.
    let since = admin.get(&patient).await?["is_active_since"].clone();
    let (code, _, said) = terminal.types(&["patient", "discharge", "r-1", "--yes"]).await?;
    let then = by_clock(&Zone::named("America/Chicago").context("no zone")?, &since)?;
    let already =
        format!("nothing was done: Ada Amberly (MRN R-1, room 12) has been discharged since {then}");
    assert!(code == 1 && said.contains(&already) && said.contains("`patient readmit`"), "{said}");
    assert_eq!(admin.call(Method::DELETE, &patient, None).await?.status, 200);
    assert_eq!(admin.get(&patient).await?["is_active_since"], since, "it did not begin anew");

    // Whoever admits her again is told that she is known, and how she is taken back.
    let (code, _, said) = terminal.types(&admit).await?;
    assert!(code == 1 && said.contains("409") && said.contains("was discharged"), "{said}");
    assert!(said.contains(&format!("carepost-server patient readmit {id}")), "{said}");
    assert_eq!(terminal.does(&["patient", "readmit", id]).await?["is_active"], true);
    let (code, _, said) = terminal.types(&admit).await?;
    assert!(
        code == 1 && said.contains(&format!("mrn R-1 is of Ada Amberly (patient {id}), who is in care")),
        "{said}"
    );
    let events = admin.get(&format!("/api/v1/audit-events?patient_id={id}")).await?.to_string();
    assert!(events.contains("\"view\""), "whose it is was written down as a look: {events}");
    terminal.does(&["patient", "discharge", "ada amberly", "--yes"]).await?;
    assert_eq!(terminal.does(&["patient", "readmit", "R-1"]).await?["is_active"], true);
    let (code, _, said) = terminal.types(&["patient", "readmit", "R-1"]).await?;
    assert!(code == 1 && said.contains("has been in care since 20"), "{said}");
    let (code, _, said) = terminal.types(&["patient", "readmit", "R-2"]).await?;
    let nearest = format!(
        "no patient is called \"R-2\". The nearest:\n  Ada Amberly (MRN R-1, room 12, Riverside)  {id}"
    );
    assert!(code == 1 && said.contains(&nearest), "{said}");

    // Who lives where, and who was discharged.
    scene.facility.organization.facility("Lakeside", "ALF", None, 0).await?;
    let ben = ["patient", "create", "Ben Example", "--mrn", "L-1", "--facility", "Lakeside"];
    terminal.does(&ben).await?;
    terminal.does(&["patient", "discharge", "R-1", "--yes"]).await?;
    for (asked, ada, ben) in [
        (&[][..], false, true),
        (&["--discharged"], true, false),
        (&["--all"], true, true),
        (&["--all", "--facility", "riverside"], true, false),
        (&["--all", "--find", "amb adá"], true, false),
        (&["--all", "--find", "Room 12"], true, false),
        (&["--all", "--find", "l-1"], false, true),
        (&["--find", "r-1"], false, false),
        (&["--facility", "Lakeside", "--discharged"], false, false),
    ] {
        let words = [&["patient", "list"], asked].concat();
        let (_, list, _) = terminal.types(&words).await?;
        let is_shown = |name: &str, facility: &str, status: &str| {
            let of = list.lines().find(|line| line.contains(name));
            of.is_some_and(|line| line.contains(facility) && line.contains(status))
        };
        let shown = (is_shown("Ada", "Riverside", "discharged"), is_shown("Ben", "Lakeside", "in care"));
        assert_eq!(shown, (ada, ben), "{words:?}: {list}");
        assert!(!list.contains("Ada") || ada, "{list}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_were_taken_for_one_person_are_parted_by_a_command_that_says_so() -> Result<()> {
    let scene = Scene::new(0).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let create = |name: &'static str, mrn: &'static str, born: &'static str| {
        ["patient", "create", name, "--mrn", mrn, "--facility", "Riverside", "--born", born]
    };
    // A child is asked about, and taken as meant.
    let (code, _, said) = terminal.types(&create("Nell Example", "R-9", "2025-01-02")).await?;
    assert!(code == 1 && said.contains("check the year") && said.contains("--confirmed"), "{said}");
    let nell = [&create("Nell Example", "R-9", "2025-01-02")[..], &["--confirmed"]].concat();
    assert_eq!(terminal.does(&nell).await?["date_of_birth"], "2025-01-02");

    let numbered = ["--medicare", "1EG4-TE5-MK73"];
    let first = terminal.does(&[&create("Ada Amberly", "R-1", "1941-03-04")[..], &numbered].concat()).await?;
    // So is whoever may be somebody who is known, by name, and discharged or not.
    let second = create("Ada Amberley", "R-2", "1941-03-04");
    let (code, _, said) = terminal.types(&second).await?;
    assert!(
        code == 1 && said.contains("Ada Amberly (MRN R-1, ") && said.contains("--another-than"),
        "{said}"
    );
    terminal.does(&["patient", "discharge", "R-1", "--yes"]).await?;
    let (code, _, said) = terminal.types(&second).await?;
    let readmit = format!("patient readmit {}", first["id"].as_str().context("an id")?);
    assert!(code == 1 && said.contains(&readmit), "{said}");
    terminal.does(&["patient", "readmit", "R-1"]).await?;
    // About a number that both have a review asks all the same.
    let another = ["--another-than", "R-1"];
    let (code, said, _) = terminal.types(&[&second[..], &numbered, &another].concat()).await?;
    let asked =
        "A review asks whether this is the same person as Ada Amberly (MRN R-1). Decide it at a kiosk";
    assert!(code == 0 && said.contains(asked), "{said}");
    let second = terminal.does(&["patient", "show", "R-2"]).await?;
    assert_eq!(second["may_be"][0]["id"], first["id"]);

    // A nurse says that they are one.
    let hall = scene.kiosk("hall").await?;
    hall.sign_in(&scene.nora).await?;
    hall.says(&["1 question needs a look"]).await?;
    let list = hall.get("/reviews").await?;
    let ask =
        list.html.split('"').find(|text| text.contains("/same/")).context("nothing to join")?.to_owned();
    let page = hall.get(&ask).await?;
    let hidden = ["_screen", "_token", "_base", "same_person"]
        .map(|field| (field, page.hidden(field).unwrap_or_default()));
    let fields: Vec<(&str, &str)> = hidden.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let joined = hall.post(ask.split("/same/").next().unwrap_or_default(), &fields).await?;
    let location = joined.location.context("it leads nowhere")?;
    hall.page_says(&location, &["Also admitted as", "ask the office to part them"]).await?;
    hall.says(&["Everything is sent"]).await?;
    let (_, reviews, _) = terminal.types(&["review", "list", "Riverside", "--all"]).await?;
    assert!(
        reviews.lines().any(|line| line.contains("duplicate") && line.contains("Nora Quist")),
        "{reviews}"
    );

    // The office sees who is whom, and does not part them by the way.
    let id = second["id"].as_str().context("an id")?;
    let (_, list, _) = terminal.types(&["patient", "list", "--all"]).await?;
    let row =
        |list: &str, mrn: &str| list.lines().find(|line| line.contains(mrn)).unwrap_or_default().to_owned();
    assert!(row(&list, "R-2").contains("Ada Amberly (MRN R-1, born 1941-03-04)"), "{list}");
    let (_, list, _) = terminal.types(&["patient", "list"]).await?;
    assert!(row(&list, "R-1").contains("Ada Amberley (MRN R-2, born 1941-03-04)"), "{list}");
    // By what she was called she is found as who she is now.
    let (_, list, _) = terminal.types(&["patient", "list", "--find", "amberley"]).await?;
    assert!(row(&list, "R-1").contains("Ada Amberly"), "{list}");
    let (_, list, _) = terminal.types(&["patient", "list", "--find", "nell"]).await?;
    assert!(row(&list, "R-1").is_empty() && row(&list, "R-9").contains("Nell Example"), "{list}");
    let (_, shown, _) = terminal.types(&["patient", "show", id]).await?;
    assert!(shown.contains("Ada Amberly (MRN R-1"), "{shown}");
    let (code, _, said) = terminal.types(&["patient", "readmit", id]).await?;
    assert!(code == 1 && said.contains(&format!("`carepost-server patient part {id}`")), "{said}");
    let (code, _, said) = terminal.types(&["patient", "part", "R-2"]).await?;
    assert!(code == 1 && said.contains("Say --yes to part Ada Amberley (MRN R-2"), "{said}");
    let parted = terminal.does(&["patient", "part", "R-2", "--yes"]).await?;
    assert_eq!((&parted["id"], &parted["is_active"]), (&second["id"], &Value::Bool(true)));
    let (code, _, said) = terminal.types(&["patient", "part", "R-2", "--yes"]).await?;
    assert!(code == 1 && said.contains("is a person of their own"), "{said}");
    let admin = &scene.facility.organization.admin;
    let events = items(&admin.get(&format!("/api/v1/audit-events?patient_id={id}")).await?)?;
    let parts = events.iter().find(|event| !event["details"]["parted_from"].is_null());
    let parts = parts.context("it was not written down as what it is")?;
    assert_eq!((&parts["details"]["parted_from"], &parts["action"]), (&first["id"], &"update".into()));
    hall.says(&["Ada Amberly", "Ada Amberley"]).await.map(drop)
}
