//! The organization itself, and its facilities.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::record::Collection;
use carepost_protocol::text::fold;

use super::{
    AuditedWrite, Organization, OrganizationPatch, OrganizationStore, Result, StoreError, Subject, Tx,
};
use crate::store::column::json;
use crate::store::engine::params;
use crate::store::row::{Whole, insert, select, update};
use crate::store::rules::feed_writer::{FeedEnd, put};
use crate::store::rules::{budget, enrollment, superseded, view};
use crate::store::{Facility, FacilityPatch, NewFacility, View};

impl OrganizationStore {
    /// # Errors
    /// [`StoreError::NotFound`] when it is gone.
    pub async fn organization(&self) -> Result<Organization> {
        self.read(organization).await
    }

    /// The facilities that the scope reaches.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn facilities(&self) -> Result<Vec<Facility>> {
        self.read(|tx| {
            let found = tx.all(select!(Facility, "facilities"), params![])?;
            found.into_iter().map(|facility| counted(tx, facility)).collect()
        })
        .await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn facility(&self, id: FacilityId) -> Result<Facility> {
        self.read(move |tx| counted(tx, facility(tx, id)?)).await
    }
}

impl AuditedWrite {
    /// # Errors
    /// [`StoreError::Changed`].
    pub async fn update_organization(self, patch: OrganizationPatch) -> Result<Organization> {
        let (expected, registry) = (self.expected.clone(), self.registry.clone());
        let changed = self.write(move |tx| {
            let before = organization(tx)?;
            expected.check(&before)?;
            let changed = patch.over(before.clone(), tx.now());
            tx.execute(update!(Organization, "organizations"), &changed.values())?;
            let is_renamed = changed.name != before.name;
            Ok((changed, is_renamed))
        });
        let (changed, is_renamed) = changed.await?;
        if is_renamed {
            // Kiosks show it on their locked screen.
            let undone =
                "the organization's new name is not on every kiosk: it comes when one there is heard";
            registry.in_every_feed(undone, publish).await;
        }
        Ok(changed)
    }

    /// Adds one, and brings the organization's workflows into its feed, some in each commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for the name.
    pub async fn create_facility(self, new: NewFacility) -> Result<Facility> {
        let registry = self.registry.clone();
        let made = self.write(move |tx| create(tx, new)).await?;
        let id = made.id;
        let bring = move |tx: &Tx<'_>, after: Option<String>| {
            tx.within_facility(id, |tx| superseded::bring_all(tx, after))
        };
        let undone = "a new facility has not every form: they come when a device of it is heard";
        registry.in_portions(undone, bring).await;
        Ok(registry.facility(id).await.unwrap_or(made))
    }

    /// Changes one, and its document.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`], [`StoreError::Conflict`] for the name.
    pub async fn update_facility(self, id: FacilityId, patch: FacilityPatch) -> Result<Facility> {
        let expected = self.expected.clone();
        self.write(move |tx| {
            let before = facility(tx, id)?;
            expected.check(&before)?;
            let changed = patch.over(before.clone(), tx.now());
            if changed.phi_mode != before.phi_mode {
                view::facility_changed(tx, id)?;
            }
            if changed.require_encryption != before.require_encryption {
                encryption_demanded(tx, id)?;
            }
            if changed.name != before.name {
                let sql = "UPDATE facilities SET name_key = ?2 WHERE id = ?1";
                tx.execute(sql, params![id, fold(&changed.name)])?;
            }
            tx.execute(update!(Facility, "facilities"), &changed.values())?;
            tx.within_facility(id, publish)?;
            counted(tx, changed)
        })
        .await
    }
}

impl Subject for Organization {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
    }
}

impl Subject for Facility {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
        event.facility_id = Some(self.id);
    }
}

fn organization(tx: &Tx<'_>) -> Result<Organization> {
    tx.first(select!(Organization, "organizations"), params![])?.ok_or(StoreError::NotFound("organization"))
}

pub(super) fn facility(tx: &Tx<'_>, id: FacilityId) -> Result<Facility> {
    tx.first(select!(Facility, "facilities WHERE id = ?1"), params![id])?
        .ok_or(StoreError::NotFound("facility"))
}

/// A facility with the count of its documents.
fn counted(tx: &Tx<'_>, facility: Facility) -> Result<Facility> {
    let documents = tx.within_facility(facility.id, |tx| budget::documents(tx, View::Full))?;
    Ok(Facility { documents, ..facility })
}

fn create(tx: &Tx<'_>, new: NewFacility) -> Result<Facility> {
    let id = FacilityId::new(tx.now(), tx.random()?);
    let facility = new.begun(id, organization(tx)?.id, tx.now());
    tx.execute(
        insert!(Facility, "facilities", badge_key, name_key),
        &facility.values_and(params![tx.random::<32>()?, fold(&facility.name)]),
    )?;
    tx.within_facility(facility.id, |tx| {
        FeedEnd::create(tx)?;
        publish(tx)
    })?;
    counted(tx, facility)
}

/// Puts the document of the facility whose scope this is into its feed, unless it is there as it stands.
pub(in crate::store) fn publish(tx: &Tx<'_>) -> Result<()> {
    let facility = facility(tx, tx.facility_scope()?.facility())?;
    let id = facility.id;
    let body = json(&facility.document(organization(tx)?.name))?;
    let held = "SELECT 1 FROM documents WHERE collection = 'facilities' AND id = ?1 AND body = ?2";
    if tx.exists(held, params![id, body])? {
        return Ok(());
    }
    put(tx, Collection::Facilities, id.as_bytes(), None, Some(&body))
}

/// The facility demands encryption from now on: its devices come again, and say what they have.
fn encryption_demanded(tx: &Tx<'_>, facility: FacilityId) -> Result<()> {
    let devices: Vec<DeviceId> = tx.all(enrollment::IN_USE, params![facility])?;
    devices.into_iter().for_each(|device| tx.refused(device));
    Ok(())
}
