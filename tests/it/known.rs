//! Whom the office knows, and what it asks before it admits somebody or lets somebody in: each question has an answer
//! of its own.

use anyhow::{Context as _, Result};
use carepost_agent::outbox::Entry;
use carepost_protocol::change::Change;
use carepost_protocol::record::Collection;
use carepost_protocol::role::{ManagePatients, Resource, authorize};
use carepost_tests::device::Device;
use carepost_tests::scene::Scene;
use serde_json::{Map, json};

use crate::cli::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_admitted_is_asked_about_and_no_answer_is_taken_for_another() -> Result<()> {
    let scene = Scene::new(0).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let admit = ["patient", "create", "--facility", "Riverside"];
    let refuses = async |words: &[&str], said: &[&str], unsaid: &str| -> Result<()> {
        let (code, _, error) = terminal.types(&[&admit[..], words].concat()).await?;
        let is_said = said.iter().all(|it| error.contains(it)) && !error.contains(unsaid);
        anyhow::ensure!(code == 1 && is_said, "{words:?} ended with {code}: {error}");
        Ok(())
    };

    // That a birthday is right does not say that the child is nobody who is known.
    let born = ["--born", "2025-01-02"];
    terminal.does(&[&admit[..], &["Nell Example", "--mrn", "R-9", "--confirmed"], &born].concat()).await?;
    let again = [&["Nell Exampel"][..], &born].concat();
    let with = |options: &[&'static str]| [&again[..], options].concat();
    let another = ["--another-than", "R-9"];
    refuses(&again, &["422", "check the year", "--confirmed"], "--another-than").await?;
    refuses(&with(&another), &["422", "check the year"], "Nell Example").await?;
    refuses(&with(&["--confirmed"]), &["409", "Nell Example (MRN R-9", "--another-than 0"], "confirmed")
        .await?;
    let both = with(&[&["--confirmed"][..], &another].concat());
    terminal.does(&[&admit[..], &both].concat()).await?;
    // Whoever was admitted since is named by no answer from before.
    refuses(&both, &["409", "Nell Exampel (", "--another-than 0"], "R-9").await?;

    // A number that nobody holds alone is asked about, too: its first holder has another by now.
    let first = terminal.does(&[&admit[..], &["Ada Amberly", "--mrn", "R-1"]].concat()).await?;
    let (server, facility) = (&scene.server, &scene.facility);
    let tablet =
        Device::enroll(&scene.folder_of("tablet"), server, server.devices.port(), facility, "Tablet").await?;
    let nora = tablet.nurse(scene.nora.id.parse()?);
    let fields = json!({"name": "Bea Longfellow", "mrn": "R-1"}).as_object().cloned().context("fields")?;
    let first = first["id"].as_str().context("an id")?;
    let admission = Change {
        collection: Collection::Patients,
        patient: None,
        workflow: None,
        schema_version: None,
        fields,
        ..tablet.vitals(&nora, first.parse()?, Map::new())
    };
    let place = Resource::Facility(tablet.grant.organization_id, tablet.grant.facility_id);
    let entry = Entry { change: &admission, token: "admitted" };
    tablet.outbox.append(&authorize::<ManagePatients>(&nora, place)?, entry, |_| Vec::new())?;
    tablet.push_all().await?;
    facility.organization.admin.put(&format!("/api/v1/patients/{first}"), &json!({"mrn": "R-2"})).await?;
    let third = ["Cy Other", "--mrn", "R-1"];
    refuses(&third, &["409", "Bea Longfellow (MRN R-1", "--another-than"], "is taken").await?;
    terminal.does(&[&admit[..], &third, &["--another-than", "R-1"]].concat()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_in_with_a_number_is_given_a_name_by_the_option_that_is_told() -> Result<()> {
    let scene = Scene::new(0).await?;
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    let user = ["user", "create", "12345", "--role", "rn", "--facility", "Riverside"];
    let org = ["org", "create", "Silver Birch", "--slug", "silver-birch", "--admin", "12345"];
    for (who, words, option) in
        [(&["admin", "--of", "golden-years"][..], &user[..], "--name"), (&["root"], &org, "--admin-name")]
    {
        terminal.does(&[&["sign-in"], who].concat()).await?;
        let (code, _, error) = terminal.types(words).await?;
        let said = format!("{option}: the username has no letter");
        assert!(code == 1 && error.contains(&said) && !error.contains("display_name"), "{error}");
        terminal.does(&[words, &[option, "Ann Quist"]].concat()).await?;
    }
    Ok(())
}
