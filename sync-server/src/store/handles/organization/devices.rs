//! Devices and their assignments.

use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::device::{Deactivation, DeviceState, SyncFacts};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{DeviceId, EnrollmentId, FacilityId, UserId};
use carepost_protocol::text::{fold, sort_key};
use carepost_protocol::wire::enroll::UserCode;
use carepost_protocol::wire::heartbeat::{Encryption, SteppedOver};
use carepost_protocol::wire::pull::Cursor;
use serde_json::json as object;

use super::{Noted, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::column::{
    count_at, id_at, id_or_none_at, json_at, json_or_none_at, time_at, time_or_none_at, uuid_at, word,
    word_at, word_or_none_at,
};
use crate::store::engine::{Read, Row, params};
use crate::store::rules::{budget, enrollment, view};
use crate::store::{Claim, Deactivated, Device, DevicePatch, Exposed, NewDevice, View, Waiting};

/// How long an expected device may enroll with its token.
pub(in crate::store) const TOKEN_LIFE: Duration = Duration::from_secs(72 * 3_600);

macro_rules! device_columns {
    () => {
        "SELECT id, facility_id, name, device_type, state, device_uuid, mac_addresses,
            (SELECT id FROM assignments WHERE device_id = devices.id AND until_at IS NULL), key_sha256,
            agent_version, last_seen, last_sync, oldest_waiting, waiting, wedged, cursor_refused,
            cursor_epoch, cursor_seq, reader, encrypted, clock_skew_ms, created_at, phi_mode,
            differs, refetches, no_progress, quarantine, rolled_back_at, encryption,
            (SELECT require_encryption FROM facilities WHERE id = devices.facility_id), token_expires_at,
            stepped_over, deactivation, cannot_save FROM devices "
    };
}

impl OrganizationStore {
    /// The devices of a facility, by name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the facility.
    pub async fn devices(&self, facility: FacilityId) -> Result<Vec<Device>> {
        let found = self.read(move |tx| {
            super::facilities::facility(tx, facility)?;
            let of_facility = concat!(device_columns!(), "WHERE facility_id = ?1");
            let found = tx.all(of_facility, [facility.as_bytes()], device_row)?;
            found.into_iter().map(|device| looked_at(tx, device)).collect::<Result<Vec<_>>>()
        });
        let mut found = found.await?;
        found.sort_by_cached_key(|device| (sort_key(&device.name), device.id));
        found.iter_mut().for_each(|device| self.store.inner.presence.lay_over(device));
        Ok(found)
    }

    /// One device.
    ///
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

impl Noted {
    /// Registers a device before it is seen: its token lets it in within 72 hours.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the facility, [`StoreError::Conflict`] when a live device of the
    /// organization has that hardware UUID, or one of the facility that name.
    pub async fn expect_device(self, new: NewDevice) -> Result<Device> {
        self.write(move |tx| {
            super::facilities::facility(tx, new.facility_id)?;
            let id = DeviceId::new(tx.now(), tx.random()?);
            tx.execute(
                "INSERT INTO devices (id, facility_id, name, device_type, state, device_uuid, mac_addresses,
                    token_sha256, token_expires_at, waiting, wedged, cursor_refused, created_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, '[]', ?7, ?8, 0, 0, 0, ?9)",
                params![
                    id.as_bytes(),
                    new.facility_id.as_bytes(),
                    new.name,
                    word(&new.device_type)?,
                    word(&DeviceState::Expected)?,
                    new.device_uuid.map(|uuid| *uuid.as_bytes()),
                    new.token_sha256,
                    tx.now().after(TOKEN_LIFE).as_millis(),
                    tx.now().as_millis(),
                ],
            )?;
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
                params![id.as_bytes(), patch.name, word(&device_type)?, mode.as_ref().map(word).transpose()?],
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
    /// that it held have to be replaced, and the facility's badges are known by another key from now on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn deactivate_device(self, id: DeviceId, why: Deactivation) -> Result<Deactivated> {
        let registry = self.registry.clone();
        let revoked = self.write(move |tx| {
            let before = device(tx, id)?;
            tx.execute(
                "UPDATE devices SET state = ?2, token_sha256 = NULL, token_expires_at = NULL, deactivation = ?3
                    WHERE id = ?1",
                params![
                    id.as_bytes(),
                    word(&DeviceState::Revoked)?,
                    word(&before.deactivation.filter(|was| *was == Deactivation::Lost).unwrap_or(why))?,
                ],
            )?;
            tx.execute(
                "UPDATE assignments SET until_at = ?2 WHERE device_id = ?1 AND until_at IS NULL",
                params![id.as_bytes(), tx.now().as_millis()],
            )?;
            tx.refused(id);
            let just_lost = why == Deactivation::Lost && before.deactivation != Some(why);
            // What was never let in was sent nothing.
            let held = just_lost && before.key_sha256.is_some();
            let exposed = held.then(|| expose(tx, &before)).transpose()?;
            Ok(Deactivated { device: device(tx, id)?, exposed })
        });
        let Deactivated { device, exposed } = revoked.await?;
        Ok(Deactivated { device: registry.laid_over(device), exposed })
    }

    /// Ends a device's quarantine. One that is not quarantined stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn release_device(self, id: DeviceId) -> Result<Device> {
        let registry = self.registry.clone();
        let released = self.write(move |tx| {
            device(tx, id)?;
            tx.execute(
                "UPDATE devices SET state = 'ACTIVE', quarantine = NULL
                    WHERE id = ?1 AND state = 'QUARANTINED'",
                [id.as_bytes()],
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

/// What a lost device held of its facility is worth nothing to a thief from now on.
fn expose(tx: &Tx<'_>, device: &Device) -> Result<Exposed> {
    let badges = super::badges::rekey(tx, device.facility_id)?;
    let pins = super::users::expose_pins(tx, device.facility_id, device.sync.last_sync)?;
    Ok(Exposed { pins, badges })
}

pub(super) fn device(tx: &Tx<'_>, id: DeviceId) -> Result<Device> {
    tx.first(concat!(device_columns!(), "WHERE id = ?1"), [id.as_bytes()], device_row)?
        .ok_or(StoreError::NotFound("device"))
}

/// Whether it is sent nothing because its facility demands encryption, and it does not say that it has it.
pub(in crate::store) fn is_refused_as_exposed(
    state: DeviceState,
    required: bool,
    encryption: Option<&Encryption>,
) -> bool {
    state == DeviceState::Active && required && !encryption.is_some_and(Encryption::is_complete)
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

fn device_row(row: &Row<'_>) -> Read<Device> {
    let epoch: Option<i64> = row.get(16)?;
    let cursor = match epoch {
        Some(_) => Some(Cursor { epoch: count_at(row, 16)?, seq: count_at(row, 17)? }),
        None => None,
    };
    let key: Option<[u8; 32]> = row.get(8)?;
    let state = word_at(row, 4)?;
    let differs: Vec<String> = json_at(row, 23)?;
    let (encryption, require_encryption) = (json_or_none_at(row, 28)?, row.get(29)?);
    let stepped_over: Vec<SteppedOver> = json_at(row, 31)?;
    let cannot_save: Option<String> = row.get(33)?;
    let no_progress = row.get::<Option<i64>>(25)?.map(|seconds| u64::try_from(seconds).unwrap_or(0));
    Ok(Device {
        id: id_at(row, 0)?,
        facility_id: id_at(row, 1)?,
        name: row.get(2)?,
        device_type: word_at(row, 3)?,
        state,
        device_uuid: uuid_at(row, 5)?,
        mac_addresses: json_at(row, 6)?,
        assignment: id_or_none_at(row, 7)?,
        key_sha256: key.map(|key| hex(&key)),
        possible_clone: false,
        agent_version: row.get(9)?,
        last_seen: time_or_none_at(row, 10)?,
        sync: SyncFacts {
            last_sync: time_or_none_at(row, 11)?,
            oldest_waiting: time_or_none_at(row, 12)?,
            wedged: count_at(row, 14)?,
            cursor_refused: row.get(15)?,
            mirror_differs: !differs.is_empty(),
            stepped_over: !stepped_over.is_empty(),
            no_progress: no_progress.is_some(),
            revoked: state == DeviceState::Revoked,
            cannot_save: cannot_save.is_some(),
            copy_trouble: false,
            quarantined: state == DeviceState::Quarantined,
            not_encrypted: is_refused_as_exposed(state, require_encryption, encryption.as_ref()),
        },
        differs,
        refetches: count_at(row, 24)?,
        stepped_over,
        no_progress,
        documents: 0,
        waiting: count_at(row, 13)?,
        cursor,
        reader: word_or_none_at(row, 18)?,
        encrypted: row.get(19)?,
        encryption,
        require_encryption,
        cannot_save,
        copy_trouble: None,
        unknown_tap: None,
        clock_skew_ms: row.get(20)?,
        created_at: time_at(row, 21)?,
        phi_mode: word_or_none_at(row, 22)?,
        quarantine: row.get(26)?,
        rolled_back_at: time_or_none_at(row, 27)?,
        token_expires_at: time_or_none_at(row, 30)?,
        deactivation: word_or_none_at(row, 32)?,
    })
}
