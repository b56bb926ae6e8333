//! Devices as administrators know them (S1-46 to S1-51, S1-59 to S1-64).

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::device::{Deactivation, DeviceType};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{DeviceId, DeviceUuid, FacilityId};
use carepost_protocol::role::ManagePatients;
use carepost_protocol::text::sort_key;
use carepost_protocol::time::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::merge::{Merge, given, in_capitals};
use super::paging::{Key, Page, Which};
use super::person::Person;
use crate::error::{Answer, FieldErrors};
use crate::store::{Deactivated, Device, DevicePatch, NewDevice, SortKeys, Withdrawal};
use crate::token;

/// A device to be expected.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RegisterDevice {
    /// The facility it belongs to.
    #[serde(alias = "facilityId")]
    pub facility_id: FacilityId,
    /// Its name.
    #[serde(alias = "deviceName")]
    pub device_name: String,
    /// What kind of device it is.
    #[serde(alias = "deviceType", deserialize_with = "in_capitals")]
    pub device_type: DeviceType,
    /// The label on its hardware: with it, the device is recognized when it first asks.
    #[serde(default, alias = "deviceUuid")]
    pub device_uuid: Option<DeviceUuid>,
}

/// What changes of a device; what is absent stays as it is, what is null is removed.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateDevice {
    /// Its name.
    #[serde(default, alias = "deviceName", deserialize_with = "given")]
    #[schema(value_type = String)]
    pub device_name: Option<String>,
    /// What kind of device it is.
    #[serde(default, alias = "deviceType", deserialize_with = "in_capitals")]
    #[schema(value_type = DeviceType)]
    pub device_type: Option<DeviceType>,
    /// How much of a resident it is sent; null is as the facility says. The device makes its copy anew.
    #[serde(default, alias = "phiMode")]
    #[schema(value_type = Option<PhiMode>)]
    pub phi_mode: Merge<PhiMode>,
}

/// What of a deactivated device is taken out again.
#[derive(Debug, Deserialize, ToSchema)]
pub struct WithdrawDevice {
    /// What came to the server at this moment or later.
    pub since: Timestamp,
    /// Whether it is only said how much that would be.
    #[serde(default)]
    pub preview: bool,
}

/// What their list may be sorted by; one that was never seen comes first.
const SORTED_BY: &SortKeys<Key<Device>> = &[
    ("name", |it| sort_key(&it.name)),
    ("created_at", |it| it.created_at.to_string()),
    ("last_seen", |it| it.last_seen.map(|seen| seen.to_string()).unwrap_or_default()),
];

pub async fn list(person: &Person, facility: FacilityId, which: Which) -> Answer<Page<Device>> {
    let found = person.registry()?.devices(facility).await?;
    which.of(found, |it| it.id.to_string(), SORTED_BY)
}

/// Registers a device before it is seen; it enrolls with the token, which nobody keeps, or waits in the lobby as
/// expected.
pub async fn register(person: &Person, mut asked: RegisterDevice) -> Answer<(Device, String)> {
    let mut faults = FieldErrors::default();
    faults.name("device_name", &mut asked.device_name, 100);
    faults.check()?;
    let token = token::draw("cpd");
    let new = NewDevice {
        facility_id: asked.facility_id,
        name: asked.device_name,
        device_type: asked.device_type,
        device_uuid: asked.device_uuid,
        token_sha256: token::sha256(&token),
    };
    Ok((person.audited(event(person, AuditAction::Create))?.expect_device(new).await?, token))
}

pub async fn show(person: &Person, id: DeviceId) -> Answer<Device> {
    Ok(person.registry()?.device(id).await?)
}

pub async fn update(person: &Person, id: DeviceId, mut asked: UpdateDevice) -> Answer<Device> {
    let mut faults = FieldErrors::default();
    faults.maybe_name("device_name", asked.device_name.as_mut(), 100);
    faults.check()?;
    let patch = DevicePatch {
        name: asked.device_name,
        device_type: asked.device_type,
        phi_mode: asked.phi_mode.change(),
    };
    let mut event = event(person, AuditAction::Update);
    if let Some(name) = &patch.name {
        event = event.detail("device_name", name.as_str());
    }
    Ok(person.audited(event)?.update_device(id, patch).await?)
}

/// Deactivates a device: its key is refused from now on, and its streams are closed. When it is lost, the PINs
/// that it held have to be replaced at the next sign-in, and its facility's badges are known by another key
/// from now on; they work on.
pub async fn deactivate(person: &Person, id: DeviceId, why: Deactivation) -> Answer<Deactivated> {
    Ok(person.audited(event(person, AuditAction::Delete))?.deactivate_device(id, why).await?)
}

/// Takes out again what a deactivated device sent since a moment: its entries are struck out, the residents whom it
/// admitted are discharged, and both leave the devices. Nothing is deleted. It goes on for some seconds, and then says
/// whether there is more.
pub async fn withdraw(person: &Person, id: DeviceId, asked: WithdrawDevice) -> Answer<Withdrawal> {
    let registry = person.registry()?;
    let device = registry.device(id).await?;
    let permit = person.permit::<ManagePatients>(device.facility_id)?;
    if asked.preview {
        person.expects(&device)?;
        return Ok(registry.withdrawal(id, asked.since).await?);
    }
    let event = event(person, AuditAction::Update).detail("what", "withdraw");
    Ok(person.audited(event)?.withdraw_device(&permit, id, asked.since).await?)
}

/// Releases a quarantined device, once its second copy is off: it is served again, and whoever speaks
/// next is the device.
pub async fn release(person: &Person, id: DeviceId) -> Answer<Device> {
    let event = event(person, AuditAction::Update).detail("what", "release");
    let device = person.audited(event)?.release_device(id).await?;
    person.app.clone_detector.forget(id);
    Ok(device)
}

fn event(person: &Person, action: AuditAction) -> AuditEvent {
    person.event(AuditEventType::Device, action, "device")
}
