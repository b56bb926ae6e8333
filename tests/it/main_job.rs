//! The main job: a nurse taps her badge, sees her residents, charts while the network is down, and the
//! record is on the other kiosk of her facility and on no other facility's.

use anyhow::Result;
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::Badges;
use carepost_tests::world::Server;
use tempfile::TempDir;

const VITALS: [(&str, &str); 4] =
    [("systolic", "128"), ("diastolic", "77"), ("pulse", "71"), ("note", "After breakfast, in good spirits")];

#[tokio::test(flavor = "multi_thread")]
async fn a_nurse_charts_offline_and_it_reaches_her_facility_and_no_other() -> Result<()> {
    story(Badges::Scripted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_a_badge_reader_behind_pcscd() -> Result<()> {
    story(Badges::Pcsc).await
}

async fn story(badges: Badges) -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let golden = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    golden.publish("vitals").await?;
    let riverside = golden.facility("Riverside", "ALF", Some(48), 44).await?;
    let hillside = golden.facility("Hillside", "ALF", Some(20), 3).await?;
    let nora = riverside.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let omar = hillside.nurse("Omar Reyes", "rn", "371640", "04B1B2C3D4E5F6").await?;
    let ids = riverside.admit(&residents("RS", 44, true)).await?;
    hillside.admit(&residents("HS", 3, true)).await?;
    let name = residents("RS", 44, true).first().map(|resident| resident.name.clone()).unwrap_or_default();
    let id = ids.first().cloned().unwrap_or_default();

    let hall = riverside.hang_kiosk(&folder.path().join("hall"), "Hall kiosk", &server, badges).await?;
    let med = riverside.hang_kiosk(&folder.path().join("med"), "Med room", &server, badges).await?;
    let other = hillside.hang_kiosk(&folder.path().join("other"), "Hillside hall", &server, badges).await?;

    hall.sign_in(&nora).await?;
    hall.says(&[&name]).await?;
    hall.link.cut();
    hall.says(&["You can keep charting"]).await?;
    hall.chart(&name, "vitals", &VITALS).await?;
    let path = hall.path_of(&name).await?;
    hall.page_says(&path, &["Saved here", "128 mmHg", "After breakfast", "Nora Quist"]).await?;
    assert!(riverside.records(&id).await?.is_empty(), "it cannot be at the server yet");

    hall.link.restore();
    hall.page_says(&path, &["Sent"]).await?;
    let records = riverside.has_records(&id, 1).await?;
    assert_eq!(records[0]["values"]["systolic"], 128);
    assert_eq!(records[0]["recorded_by"], serde_json::json!(nora.id));

    med.sign_in(&nora).await?;
    let path = med.path_of(&name).await?;
    med.page_says(&path, &["128 mmHg", "After breakfast", "Nora Quist", "Sent"]).await?;

    other.sign_in(&omar).await?;
    let foreign = other.get(&path).await?;
    assert!(
        !foreign.html.contains("After breakfast") && !foreign.html.contains(&name),
        "{}",
        foreign.words()
    );
    Ok(())
}
