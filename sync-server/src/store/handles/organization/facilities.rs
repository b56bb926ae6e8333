//! The organization itself, and its facilities.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::record::{Collection, FacilityDocument};
use carepost_protocol::text::fold;
use serde_json::{Map, Value};

use super::{Noted, Organization, OrganizationPatch, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::column::json;
use crate::store::engine::params;
use crate::store::row::select;
use crate::store::rules::feed_writer::{FeedEnd, put};
use crate::store::rules::{budget, enrollment, superseded, view};
use crate::store::{Facility, FacilityPatch, NewFacility, View};

impl OrganizationStore {
    /// The organization itself.
    ///
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

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn facility(&self, id: FacilityId) -> Result<Facility> {
        self.read(move |tx| counted(tx, facility(tx, id)?)).await
    }
}

impl Noted {
    /// Changes it.
    ///
    /// # Errors
    /// [`StoreError::Changed`].
    pub async fn update_organization(self, patch: OrganizationPatch) -> Result<Organization> {
        let (expected, registry) = (self.expected.clone(), self.registry.clone());
        let changed = self.write(move |tx| {
            let before = organization(tx)?;
            expected.check(&before)?;
            let address = merged(before.address, patch.address);
            let contact = merged(before.contact, patch.contact);
            tx.execute(
                "UPDATE organizations SET name = coalesce(?1, name),
                    organization_type = coalesce(?2, organization_type), npi = ?3, address = ?4, contact = ?5,
                    updated_at = ?6",
                params![
                    patch.name,
                    patch.organization_type,
                    patch.npi.unwrap_or(before.npi),
                    address,
                    contact,
                    tx.now(),
                ],
            )?;
            let changed = organization(tx)?;
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
        let made = self.write(move |tx| create(tx, &new)).await?;
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
            let mut changed = facility(tx, id)?;
            expected.check(&changed)?;
            changed.name = patch.name.unwrap_or(changed.name);
            changed.facility_type = patch.facility_type.unwrap_or(changed.facility_type);
            changed.licensed_beds = patch.licensed_beds.unwrap_or(changed.licensed_beds);
            changed.current_census = patch.current_census.unwrap_or(changed.current_census);
            changed.phone = patch.phone.unwrap_or(changed.phone);
            if let Some(mode) = patch.phi_mode.filter(|mode| *mode != changed.phi_mode) {
                changed.phi_mode = mode;
                view::facility_changed(tx, id)?;
            }
            if let Some(require) = patch.require_encryption.filter(|it| *it != changed.require_encryption) {
                changed.require_encryption = require;
                encryption_demanded(tx, id)?;
            }
            changed.record_days = patch.record_days.unwrap_or(changed.record_days);
            changed.time_zone = patch.time_zone.unwrap_or(changed.time_zone);
            changed.address = merged(changed.address, patch.address);
            changed.units = patch.units.unwrap_or(changed.units);
            changed.updated_at = tx.now();
            tx.execute(
                "UPDATE facilities SET name = ?2, facility_type = ?3, licensed_beds = ?4, current_census = ?5,
                    phone = ?6, phi_mode = ?7, updated_at = ?8, require_encryption = ?9, record_days = ?10,
                    name_key = CASE WHEN name = ?2 THEN name_key ELSE ?11 END, time_zone = ?12, address = ?13,
                    units = ?14 WHERE id = ?1",
                params![
                    id,
                    changed.name,
                    changed.facility_type,
                    changed.licensed_beds,
                    changed.current_census,
                    changed.phone,
                    changed.phi_mode,
                    changed.updated_at,
                    changed.require_encryption,
                    changed.record_days,
                    fold(&changed.name),
                    changed.time_zone,
                    changed.address,
                    changed.units,
                ],
            )?;
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

/// An object with what changes of it; nothing is left of one without members.
pub(in crate::store) fn merged(before: Option<Value>, change: Option<Option<Value>>) -> Option<Value> {
    let mut members = match before {
        Some(Value::Object(members)) => members,
        Some(_) | None => Map::new(),
    };
    match change {
        None => {}
        Some(Some(Value::Object(change))) => {
            members.extend(change);
            members.retain(|_, value| !value.is_null());
        }
        Some(_) => members.clear(),
    }
    (!members.is_empty()).then_some(Value::Object(members))
}

/// A facility with the count of its documents.
fn counted(tx: &Tx<'_>, facility: Facility) -> Result<Facility> {
    let documents = tx.within_facility(facility.id, |tx| budget::documents(tx, View::Full))?;
    Ok(Facility { documents, ..facility })
}

fn create(tx: &Tx<'_>, new: &NewFacility) -> Result<Facility> {
    let (now, organization) = (tx.now(), organization(tx)?);
    let facility = Facility {
        id: FacilityId::new(now, tx.random()?),
        organization_id: organization.id,
        name: new.name.clone(),
        facility_type: new.facility_type,
        licensed_beds: new.licensed_beds,
        current_census: new.current_census,
        phone: new.phone.clone(),
        phi_mode: new.phi_mode,
        require_encryption: new.require_encryption,
        record_days: None,
        time_zone: new.time_zone.clone(),
        address: merged(None, Some(new.address.clone())),
        units: new.units,
        documents: 0,
        created_at: now,
        updated_at: now,
    };
    tx.execute(
        "INSERT INTO facilities (id, name, facility_type, licensed_beds, current_census, phone, badge_key,
            phi_mode, created_at, updated_at, require_encryption, name_key, time_zone, address, units)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            facility.id,
            facility.name,
            facility.facility_type,
            facility.licensed_beds,
            facility.current_census,
            facility.phone,
            tx.random::<32>()?,
            facility.phi_mode,
            now,
            facility.require_encryption,
            fold(&facility.name),
            facility.time_zone,
            facility.address,
            facility.units,
        ],
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
    let body = json(&FacilityDocument {
        id: facility.id,
        name: facility.name,
        organization_name: organization(tx)?.name,
        phone: facility.phone,
        facility_type: facility.facility_type,
        licensed_beds: facility.licensed_beds,
        current_census: facility.current_census,
        time_zone: facility.time_zone,
        units: facility.units,
    })?;
    let held = "SELECT 1 FROM documents WHERE collection = 'facilities' AND id = ?1 AND body = ?2";
    if tx.exists(held, params![facility.id, body])? {
        return Ok(());
    }
    put(tx, Collection::Facilities, facility.id.as_bytes(), None, Some(&body))
}

/// The facility demands encryption from now on: its devices come again, and say what they have.
fn encryption_demanded(tx: &Tx<'_>, facility: FacilityId) -> Result<()> {
    let devices: Vec<DeviceId> = tx.all(enrollment::IN_USE, params![facility])?;
    devices.into_iter().for_each(|device| tx.refused(device));
    Ok(())
}
