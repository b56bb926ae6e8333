//! One organization's flood is another's business only by the moment that a commit takes.

use std::time::Instant;

use anyhow::{Result, ensure};
use carepost_protocol::change::{Change, ChangeKind, Lane};
use carepost_protocol::record::Collection;
use carepost_tests::api::Api;
use carepost_tests::appetite::own_kib;
use carepost_tests::device::{Chain, Device};
use carepost_tests::world::{Facility, Nurse, Organization, Server, items};
use reqwest::Method;
use serde_json::{Map, json};
use tempfile::TempDir;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const BATCHES: usize = 6;

struct Tenant {
    facility: Facility,
    nurse: Nurse,
    patient: String,
    device: Device,
    wire: Api,
    chain: Chain,
}

impl Tenant {
    async fn of(organization: &Organization, server: &Server, folder: &TempDir, uid: &str) -> Result<Self> {
        organization.publish("vitals").await?;
        let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
        let nurse = facility.nurse("Nora Quist", "rn", "482915", uid).await?;
        let patient = facility.admit(&carepost_tests::fixture::residents(uid, 1, true)).await?.remove(0);
        let port = server.devices.port();
        let device = Device::enroll(&folder.path().join(uid), server, port, &facility, "Tablet").await?;
        let (wire, chain) = (device.wire(server)?, device.chain(Lane::Care));
        Ok(Self { facility, nurse, patient, device, wire, chain })
    }

    fn vitals(&self) -> Result<Change> {
        let nurse = self.device.nurse(self.nurse.id.parse()?);
        let mut values = Map::new();
        values.extend(
            [("systolic", 128), ("diastolic", 77), ("pulse", 71)].map(|(k, v)| (k.to_owned(), v.into())),
        );
        Ok(self.device.vitals(&nurse, self.patient.parse()?, values))
    }

    fn admission(&self) -> Result<Change> {
        let mut fields = Map::new();
        fields.insert("name".to_owned(), json!("Bea Longfellow"));
        Ok(Change {
            kind: ChangeKind::Create,
            collection: Collection::Patients,
            patient: None,
            workflow: None,
            schema_version: None,
            fields,
            ..self.vitals()?
        })
    }

    async fn push(&self, batch: String) -> Result<()> {
        let answer = self.wire.send(Method::POST, "/api/v1/sync/push", &JSON, batch.into_bytes()).await?;
        ensure!(answer.status == 200, "{}", answer.text);
        Ok(())
    }
}

/// The attack as it was played: 6,000 admissions of one name by one device, while a device of another
/// organization charts. Its entries are answered in the midst of every batch, and the server stays small.
#[tokio::test(flavor = "multi_thread")]
async fn six_thousand_admissions_of_one_name_hold_up_nobody_elses_push() -> Result<()> {
    crate::install_provider();
    let folder = TempDir::new()?;
    let server = Server::start(&folder.path().join("server")).await?;
    let loud = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    let quiet = server.organization("Silver Birch", "silver-birch", "ALF_OPERATOR").await?;
    let mut flood = Tenant::of(&loud, &server, &folder, "04A1B2C3D4E5F6").await?;
    let mut calm = Tenant::of(&quiet, &server, &folder, "04A1B2C3D4E5F7").await?;

    let before = own_kib(server.pid())?;
    let mut most = before;
    let flooding = tokio::spawn(async move {
        let mut batches = Vec::new();
        for _ in 0..BATCHES {
            let one = serde_json::to_string(&flood.admission()?)?;
            let batch = flood.chain.batch(&vec![one; 1_000])?;
            let began = Instant::now();
            flood.push(batch).await?;
            batches.push((began, Instant::now()));
        }
        anyhow::Ok((flood, batches))
    });
    let mut pushes = Vec::new();
    while !flooding.is_finished() {
        let one = calm.chain.batch(&[serde_json::to_string(&calm.vitals()?)?])?;
        let began = Instant::now();
        calm.push(one).await?;
        pushes.push((began, Instant::now()));
        most = most.max(own_kib(server.pid())?);
    }
    let (flood, batches) = flooding.await??;
    // It was 768 MB, as each admission looked at all those of its name.
    assert!(most - before < 256.0 * 1024.0, "the server grew from {before} to {most} KiB");
    // Whoever comes while a batch is taken waits for a portion of it, and not until all of it is.
    let waited = |(began, ended): (Instant, Instant)| {
        let beside = pushes.iter().filter(|(sent, answered)| *sent < ended && *answered > began);
        (beside.map(|(sent, answered)| *answered - *sent).max(), ended - began)
    };
    let waited: Vec<_> = batches.into_iter().map(waited).collect();
    let calm = waited.iter().filter(|(longest, batch)| longest.is_some_and(|longest| longest * 2 < *batch));
    assert!(calm.count() > BATCHES / 2, "the longest wait beside each batch, and what that took: {waited:?}");

    let admin = &flood.facility.organization.admin;
    let reviews = admin.get(&format!("/api/v1/facilities/{}/reviews?limit=1000", flood.facility.id)).await?;
    assert!(reviews["next"].is_string(), "and the rest is on the next");
    let reviews = items(&reviews)?;
    assert_eq!(reviews.len(), 1_000, "as many as are on a page at most");
    for review in &reviews {
        assert_eq!(review["others"].as_array().map(Vec::len), Some(10));
        assert_eq!(review["more"], 90, "as far as they are counted");
        assert!(review.to_string().len() < 1_500, "{review}");
    }
    Ok(())
}
