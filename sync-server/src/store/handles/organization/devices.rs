//! Devices and their assignments.

use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::device::{Deactivation, DeviceState};
use carepost_protocol::id::{DeviceId, EnrollmentId, FacilityId, UserId};
use carepost_protocol::text::fold;
use carepost_protocol::wire::enroll::UserCode;
use serde_json::json as object;

use super::{AuditedWrite, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::engine::params;
use crate::store::row::select;
use crate::store::rules::{budget, enrollment, view};
use crate::store::{Claim, Deactivated, Device, DevicePatch, Exposed, NewDevice, View, Waiting};

/// How long an expected device may enroll with its token.
pub(in crate::store) const TOKEN_LIFE: Duration = Duration::from_secs(72 * 3_600);

impl OrganizationStore {
    /// # Errors
    /// [`StoreError::NotFound`] for the facility.
    pub async fn devices(&self, facility: FacilityId) -> Result<Vec<Device>> {
        let found = self.read(move |tx| {
            super::facilities::facility(tx, facility)?;
            let of_facility = select!(Device, "devices WHERE facility_id = ?1");
            let found = tx.all(of_facility, params![facility])?;
            found.into_iter().map(|device| looked_at(tx, device)).collect::<Result<Vec<_>>>()
        });
        let mut found = found.await?;
        found.iter_mut().for_each(|device| self.store.inner.presence.lay_over(device));
        Ok(found)
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn device(&self, id: DeviceId) -> Result<Device> {
        let found = self.read(move |tx| looked_at(tx, device(tx, id)?)).await?;
        Ok(self.laid_over(found))
    }

    fn laid_over(&self, mut device: Device) -> Device {
        self.store.inner.presence.lay_over(&mut device);
        device
    }
}

impl AuditedWrite {
    /// Registers a device before it is seen: its token lets it in within 72 hours.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the facility, [`StoreError::Invalid`] when that has as many as it may;
    /// [`StoreError::Conflict`] when a live device of the organization has that hardware UUID, or one of the
    /// facility that name.
    pub async fn expect_device(self, new: NewDevice) -> Result<Device> {
        self.write(move |tx| {
            super::facilities::facility(tx, new.facility_id)?;
            enrollment::has_room(tx, new.facility_id, None)?;
            let token = Some((new.token_sha256, tx.now().after(TOKEN_LIFE)));
            let place = (new.facility_id, new.name.as_str());
            let id = enrollment::register(tx, place, new.device_type, new.device_uuid, token)?;
            enrollment::be_told_apart(tx, new.facility_id, &new.name, Some(id))?;
            device(tx, id)
        })
        .await
    }

    /// Changes a device. When it is to see the feed otherwise from now on, its streams end and it has to
    /// make its mirror anew.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`], [`StoreError::Conflict`] for the name.
    pub async fn update_device(self, id: DeviceId, patch: DevicePatch) -> Result<Device> {
        let (registry, expected) = (self.registry.clone(), self.expected.clone());
        let changed = self.write(move |tx| {
            let before = device(tx, id)?;
            expected.check(&before)?;
            let is_another = |name: &&String| fold(name) != fold(&before.name);
            if let Some(name) = patch.name.as_ref().filter(is_another) {
                enrollment::be_told_apart(tx, before.facility_id, name, Some(id))?;
            }
            let mode = patch.phi_mode.unwrap_or(before.phi_mode);
            let device_type = patch.device_type.unwrap_or(before.device_type);
            tx.execute(
                "UPDATE devices SET name = coalesce(?2, name), device_type = ?3, phi_mode = ?4 WHERE id = ?1",
                params![id, patch.name, device_type, mode],
            )?;
            let facility = super::facilities::facility(tx, before.facility_id)?.phi_mode;
            let seen = View::of(before.device_type, before.phi_mode.unwrap_or(facility));
            if seen != View::of(device_type, mode.unwrap_or(facility)) {
                view::changed(tx, id)?;
            }
            enrollment::mark_clone(tx, device(tx, id)?)
        });
        Ok(registry.laid_over(changed.await?))
    }

    /// Refuses the device's key from now on and closes its streams. Twice is fine. When it is lost, the PINs
    /// that it held have to be replaced, and the facility's badges are known by another key from now on: some in
    /// each commit behind that. Where it broke off, it goes on when a device is heard, or when this is said again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`].
    pub async fn deactivate_device(self, id: DeviceId, why: Deactivation) -> Result<Deactivated> {
        let (registry, expected) = (self.registry.clone(), self.expected.clone());
        let left = if why == Deactivation::Lost { registry.who_left(id).await?.len() } else { 0 };
        let revoked = self.write(move |tx| {
            let before = device(tx, id)?;
            expected.check(&before)?;
            tx.execute(
                "UPDATE devices SET state = ?2, token_sha256 = NULL, token_expires_at = NULL, deactivation = ?3
                    WHERE id = ?1",
                params![
                    id,
                    DeviceState::Revoked,
                    before.deactivation.filter(|was| *was == Deactivation::Lost).unwrap_or(why),
                ],
            )?;
            tx.execute(
                "UPDATE assignments SET until_at = ?2 WHERE device_id = ?1 AND until_at IS NULL",
                params![id, tx.now()])?;
            tx.refused(id);
            let just_lost = why == Deactivation::Lost && before.deactivation != Some(why);
            // What was never let in was sent nothing.
            let held = just_lost && before.key_sha256.is_some();
            let expose = || super::lost::begin(tx, before.facility_id, left);
            let exposed = held.then(expose).transpose()?;
            Ok(Deactivated { device: device(tx, id)?, exposed })
        });
        let Deactivated { device, exposed } = revoked.await?;
        if device.deactivation == Some(Deactivation::Lost) {
            registry.replace_what_it_held(&device).await;
        }
        Ok(Deactivated { device: registry.laid_over(device), exposed })
    }

    /// Ends a device's quarantine. One that is not quarantined stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`].
    pub async fn release_device(self, id: DeviceId) -> Result<Device> {
        let (registry, expected) = (self.registry.clone(), self.expected.clone());
        let released = self.write(move |tx| {
            expected.check(&device(tx, id)?)?;
            tx.execute(
                "UPDATE devices SET state = 'ACTIVE', quarantine = NULL
                    WHERE id = ?1 AND state = 'QUARANTINED'",
                params![id],
            )?;
            enrollment::mark_clone(tx, device(tx, id)?)
        });
        Ok(registry.laid_over(released.await?))
    }

    /// Enters a device's code for it: from now on the device shows the facility and a number. A wrong code
    /// is written down too.
    ///
    /// # Errors
    /// [`StoreError::WrongCode`], and after five of them [`StoreError::TooManyTries`];
    /// [`StoreError::NotFound`] for the facility, [`StoreError::Conflict`] for the name.
    pub async fn claim(self, by: UserId, code: UserCode, claim: Claim) -> Result<Waiting> {
        let store = self.registry.store.clone();
        store.inner.code_attempts.check(by, store.now())?;
        let outcome = self.write(move |tx| match enrollment::claim(tx, &code, &claim) {
            Err(StoreError::WrongCode) => Ok(None),
            claimed => claimed.map(Some),
        });
        outcome.await?.ok_or_else(|| {
            store.inner.code_attempts.failed(by, store.now());
            StoreError::WrongCode
        })
    }

    /// Confirms the number that the claimed device shows: it is enrolled. A wrong number is written down
    /// too.
    ///
    /// # Errors
    /// [`StoreError::WrongCode`], after five of which the device is back in the lobby with a new code,
    /// and the same user gets [`StoreError::TooManyTries`]; [`StoreError::NotFound`];
    /// [`StoreError::Conflict`] when a live device has that hardware UUID, or one of the facility that name.
    pub async fn confirm(self, by: UserId, enrollment: EnrollmentId, number: &str) -> Result<Device> {
        let registry = self.registry.clone();
        let store = &registry.store;
        store.inner.code_attempts.check(by, store.now())?;
        let number = number.to_owned();
        // A wrong number has to be counted durably, so it is an outcome and not a failure of the work.
        let outcome = self.write(move |tx| {
            let id = enrollment::confirm(tx, enrollment, &number)?;
            id.map(|id| enrollment::mark_clone(tx, device(tx, id)?).map(Enrolled)).transpose()
        });
        let Some(Enrolled(device)) = outcome.await? else {
            store.inner.code_attempts.failed(by, store.now());
            return Err(StoreError::WrongCode);
        };
        Ok(registry.laid_over(device))
    }
}

impl Subject for Device {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
        event.device_id = Some(self.id);
        event.facility_id = Some(self.facility_id);
    }
}

impl Subject for Deactivated {
    fn describe(&self, event: &mut AuditEvent) {
        self.device.describe(event);
        let reason = self.device.deactivation.map(|why| object!(why));
        event.details.extend(reason.map(|why| ("reason".to_owned(), why)));
        if let Some(Exposed { pins, badges }) = self.exposed {
            event.details.extend([("pins", pins), ("badges", badges)].map(|(k, v)| (k.to_owned(), v.into())));
        }
    }
}

impl Subject for Waiting {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
    }
}

/// What an enrollment came to: its event is about the enrollment, and names the device.
struct Enrolled(Device);

impl Subject for Enrolled {
    fn describe(&self, event: &mut AuditEvent) {
        event.device_id = Some(self.0.id);
        event.facility_id = Some(self.0.facility_id);
    }
}

pub(super) fn device(tx: &Tx<'_>, id: DeviceId) -> Result<Device> {
    tx.first(select!(Device, "devices WHERE id = ?1"), params![id])?.ok_or(StoreError::NotFound("device"))
}

/// A device with what only shows when somebody looks at it.
fn looked_at(tx: &Tx<'_>, mut device: Device) -> Result<Device> {
    let mode = match device.phi_mode {
        Some(own) => own,
        None => super::facilities::facility(tx, device.facility_id)?.phi_mode,
    };
    let view = View::of(device.device_type, mode);
    device.documents = tx.within_facility(device.facility_id, |tx| budget::documents(tx, view))?;
    enrollment::mark_clone(tx, device)
}
