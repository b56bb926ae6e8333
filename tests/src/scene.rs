//! What most stories begin with: one facility with residents and a nurse.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::children::until;
use crate::fixture::residents;
use crate::kiosk::{Badges, Kiosk, PATIENCE};
use crate::world::{Facility, Nurse, PASSWORD, Server};

/// A server with one facility, its residents and a nurse.
#[derive(Debug)]
pub struct Scene {
    /// Everything it writes is here.
    pub folder: TempDir,
    pub server: Server,
    pub facility: Facility,
    /// A nurse of it.
    pub nora: Nurse,
    /// Names and ids of its residents.
    pub residents: Vec<(String, String)>,
}

impl Scene {
    /// So many residents, who have rooms.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn new(count: usize) -> Result<Self> {
        Self::within(TempDir::new()?, count).await
    }

    /// The same in a folder in which something may lie already, such as a clock for the server.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn within(folder: TempDir, count: usize) -> Result<Self> {
        // The second provider would be the same; TLS needs one before the first connection.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server::start(&folder.path().join("server")).await?;
        let organization = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
        organization.publish("vitals").await?;
        let facility = organization.facility("Riverside", "ALF", Some(48), 44).await?;
        let nora = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
        let people = residents("RS", count, true);
        let ids = facility.admit(&people).await?;
        let residents = people.into_iter().map(|person| person.name).zip(ids).collect();
        Ok(Self { folder, server, facility, nora, residents })
    }

    /// The administrator's session has ended, and is begun again.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn signs_in_again(&mut self) -> Result<()> {
        let organization = &mut self.facility.organization;
        organization.admin = self.server.api()?.sign_in(Some(&organization.slug), "admin", PASSWORD).await?;
        Ok(())
    }

    /// The first resident's name and id.
    ///
    /// # Errors
    /// When there is none.
    pub fn resident(&self) -> Result<(&str, &str)> {
        let (name, id) = self.residents.first().context("nobody lives here")?;
        Ok((name, id))
    }

    /// Where a kiosk of that name keeps its files.
    #[must_use]
    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Hangs and enrolls a kiosk with scripted badges, and waits until it has every resident.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn kiosk(&self, name: &str) -> Result<Kiosk> {
        self.kiosk_with(name, Badges::Scripted, "").await
    }

    /// The same, with other badges and more lines in its configuration.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn kiosk_with(&self, name: &str, badges: Badges, extra: &str) -> Result<Kiosk> {
        let folder = self.folder_of(name);
        let kiosk = self.facility.hang_kiosk_with(&folder, name, &self.server, badges, None, extra).await?;
        kiosk.status_is("link", "ONLINE").await?;
        kiosk.status_is("loading", false).await?;
        Ok(kiosk)
    }

    /// The notes of a resident's records at the server, oldest first.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn notes(&self, resident: &str) -> Result<Vec<String>> {
        let records = self.facility.records(resident).await?;
        Ok(records
            .iter()
            .rev()
            .filter_map(|record| record.pointer("/values/note").and_then(Value::as_str))
            .map(ToOwned::to_owned)
            .collect())
    }

    /// Waits until the server has exactly these notes of a resident, in that order.
    ///
    /// # Errors
    /// With what it has instead.
    pub async fn has_notes(&self, resident: &str, expected: &[String]) -> Result<()> {
        until("the notes on the server", PATIENCE, || async {
            let notes = self.notes(resident).await?;
            if notes == expected { Ok(()) } else { bail!("there are {notes:?}, not {expected:?}") }
        })
        .await
    }
}

/// The same as a correction.
#[must_use]
pub fn corrected_vitals(note: &str) -> [(&str, &str); 5] {
    let [systolic, diastolic, pulse, note] = vitals(note);
    [systolic, diastolic, pulse, note, ("_reason", "Read anew")]
}

/// A round of vitals with that note.
#[must_use]
pub fn vitals(note: &str) -> [(&str, &str); 4] {
    [("systolic", "128"), ("diastolic", "77"), ("pulse", "71"), ("note", note)]
}
