//! Letting devices in: an administrator types the code that a device shows, then confirms the number
//! that it shows next. There is no list: a waiting device is visible only to who enters its code.

use std::time::Duration;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::device::DeviceType;
use carepost_protocol::id::{EnrollmentId, FacilityId};
use carepost_protocol::text::fold;
use carepost_protocol::wire::enroll::UserCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::merge::in_capitals;
use super::person::Person;
use crate::clock;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::rate_limit::Limit;
use crate::store::{Claim, Device, StoreError, Waiting};

/// Wrong codes from one network, whoever typed them; the store counts them by administrator too.
const BY_NETWORK: Limit = Limit { failures: 20, lock: Duration::from_secs(15 * 60) };

/// A device that shows a code, and what it shall be.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ApproveEnrollment {
    /// The code on its screen.
    pub code: UserCode,
    /// The facility it belongs to.
    #[serde(alias = "facilityId")]
    pub facility_id: FacilityId,
    /// Its name.
    #[serde(alias = "deviceName")]
    pub device_name: String,
    /// What kind of device it is.
    #[serde(alias = "deviceType", deserialize_with = "in_capitals")]
    pub device_type: DeviceType,
}

/// Enters a device's code for it.
pub async fn approve(person: &Person, mut asked: ApproveEnrollment) -> Answer<Waiting> {
    let mut faults = FieldErrors::default();
    faults.name("device_name", &mut asked.device_name, 100);
    faults.check()?;
    let network = person.client.network().map(|it| format!("code {it}")).unwrap_or_default();
    let limiter = &person.app.rate_limiter;
    if let Some(until) = limiter.locked(&network, BY_NETWORK, clock::now()) {
        return Err(Refusal::too_many_tries("Too many wrong codes from this address", until));
    }
    let facility = asked.facility_id;
    let claim = Claim { facility_id: facility, name: asked.device_name, device_type: asked.device_type };
    let audited = person.audited(event(person, "approve").facility(Some(facility)))?;
    let claimed = audited.claim(person.actor().user, asked.code, claim).await;
    if matches!(claimed, Err(StoreError::WrongCode)) {
        limiter.fail(&network, BY_NETWORK, clock::now());
    }
    Ok(claimed?)
}

/// Confirms the number that the device shows: it is let in.
pub async fn confirm(person: &Person, id: EnrollmentId, number: &str) -> Answer<Device> {
    let audited = person.audited(event(person, "confirm").on(id))?;
    Ok(audited.confirm(person.actor().user, id, &fold(number)).await?)
}

fn event(person: &Person, step: &str) -> AuditEvent {
    person.event(AuditEventType::Device, AuditAction::Update, "enrollment").detail("step", step)
}
