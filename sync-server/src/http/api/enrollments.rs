//! Letting devices in: an administrator types the code that a device shows, then confirms the number
//! that it shows next. There is no list: a waiting device is visible only to who enters its code.

use axum::extract::State;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::device::DeviceType;
use carepost_protocol::id::{DeviceUuid, EnrollmentId, FacilityId};
use carepost_protocol::wire::enroll::UserCode;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

use super::devices::{DeviceView, view};
use crate::app::App;
use crate::audit::Client;
use crate::clock;
use crate::error::{Answer, Faults, Refusal};
use crate::http::body::{Id, Json};
use crate::operations::person::Person;
use crate::store::{Claim, StoreError};
use crate::tries::Limit;

/// Wrong codes from one network, whoever typed them; the store counts them by administrator too.
const BY_NETWORK: Limit = Limit { failures: 20, lock: Duration::from_secs(15 * 60) };

/// A device that shows a code, and what it shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveEnrollment {
    /// The code on its screen.
    code: UserCode,
    /// The facility it belongs to.
    #[serde(alias = "facilityId")]
    facility_id: FacilityId,
    /// Its name.
    #[serde(alias = "deviceName")]
    device_name: String,
    /// What kind of device it is.
    #[serde(alias = "deviceType")]
    device_type: DeviceType,
}

/// A device whose code was typed: it now shows the facility and a number.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApprovedEnrollment {
    /// The enrollment, to be confirmed.
    enrollment_id: EnrollmentId,
    /// The label it claims.
    device_uuid: DeviceUuid,
    /// The addresses of its network interfaces.
    mac_addresses: Vec<String>,
    /// What it calls itself on its network.
    hostname: String,
    /// Whether an administrator of the same organization registered that hardware beforehand.
    expected: bool,
    /// Whether a device of the same organization with another key has that hardware: is it a replacement, or a copy?
    possible_clone: bool,
}

/// What the device shows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEnrollment {
    /// The two digits on its screen.
    number: String,
}

/// Enters a device's code for it.
#[utoipa::path(post, path = "/api/v1/enrollments/approve", operation_id = "approve_enrollment", tag = "enrollments", security(("session" = [])), request_body = ApproveEnrollment, responses((status = 200, body = ApprovedEnrollment), (status = 422, description = "No device shows that code"), (status = 429, description = "Too many wrong codes")))]
pub async fn approve_enrollment(
    State(app): State<App>,
    client: Client,
    person: Person,
    Json(mut asked): Json<ApproveEnrollment>,
) -> Answer<axum::Json<ApprovedEnrollment>> {
    let mut faults = Faults::default();
    faults.text("device_name", &mut asked.device_name, 100);
    faults.check()?;
    let network = client.network().map(|it| format!("code {it}")).unwrap_or_default();
    if let Some(until) = app.tries.locked(&network, BY_NETWORK, clock::now()) {
        return Err(Refusal::too_many_tries("Too many wrong codes from this address", until));
    }
    let facility = asked.facility_id;
    let claim = Claim { facility_id: facility, name: asked.device_name, device_type: asked.device_type };
    let note =
        person.note(AuditEventType::Device, AuditAction::Update, "enrollment").detail("step", "approve");
    let noted = person.noting(note.facility(Some(facility)))?;
    let claimed = noted.claim(person.actor().user, asked.code, claim).await;
    if matches!(claimed, Err(StoreError::WrongCode)) {
        app.tries.fail(&network, BY_NETWORK, clock::now());
    }
    let waiting = claimed?;
    Ok(axum::Json(ApprovedEnrollment {
        enrollment_id: waiting.id,
        device_uuid: waiting.device_uuid,
        mac_addresses: waiting.mac_addresses,
        hostname: waiting.hostname,
        expected: waiting.expected,
        possible_clone: waiting.possible_clone,
    }))
}

/// Confirms the number that the device shows: it is let in.
#[utoipa::path(post, path = "/api/v1/enrollments/{enrollment_id}/confirm", operation_id = "confirm_enrollment", tag = "enrollments", security(("session" = [])), params(("enrollment_id" = EnrollmentId, Path)), request_body = ConfirmEnrollment, responses((status = 200, body = DeviceView), (status = 422, description = "The device shows another number"), (status = 429, description = "Too many wrong numbers")))]
pub async fn confirm_enrollment(
    State(app): State<App>,
    person: Person,
    Id(id): Id<EnrollmentId>,
    Json(asked): Json<ConfirmEnrollment>,
) -> Answer<axum::Json<DeviceView>> {
    let note = person
        .note(AuditEventType::Device, AuditAction::Update, "enrollment")
        .on(id)
        .detail("step", "confirm");
    let confirmed = person.noting(note)?.confirm(person.actor().user, id, asked.number.trim()).await?;
    Ok(axum::Json(view(&app, confirmed)))
}
