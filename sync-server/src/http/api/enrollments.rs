//! Letting devices in: an administrator types the code that a device shows, then confirms the number
//! that it shows next. There is no list: a waiting device is visible only to who enters its code.

use axum::extract::State;
use carepost_protocol::id::{DeviceUuid, EnrollmentId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Tagged;
use super::devices::{DeviceView, view};
use crate::app::App;
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::Id;
use crate::operations::enrollments::{self, ApproveEnrollment};
use crate::operations::person::Person;
use crate::store::Waiting;

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
    /// The name of that device. Deactivate it before this one is confirmed, if this one takes its place.
    hardware_of: Option<String>,
}

impl From<Waiting> for ApprovedEnrollment {
    fn from(it: Waiting) -> Self {
        Self {
            enrollment_id: it.id,
            device_uuid: it.device_uuid,
            mac_addresses: it.mac_addresses,
            hostname: it.hostname,
            expected: it.expected,
            possible_clone: it.hardware_of.is_some(),
            hardware_of: it.hardware_of,
        }
    }
}

/// What the device shows.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ConfirmEnrollment {
    /// The two digits on its screen.
    number: String,
}

/// Enters a device's code for it.
#[utoipa::path(post, path = "/api/v1/enrollments/approve", operation_id = "approve_enrollment", tag = "enrollments", security(("session" = [])), request_body = ApproveEnrollment, responses((status = 200, body = ApprovedEnrollment), (status = 422, description = "No device shows that code"), (status = 429, description = "Too many wrong codes")))]
pub async fn approve_enrollment(
    person: Person,
    Json(asked, _share): Json<ApproveEnrollment>,
) -> Answer<axum::Json<ApprovedEnrollment>> {
    Ok(axum::Json(enrollments::approve(&person, asked).await?.into()))
}

/// Confirms the number that the device shows: it is let in.
#[utoipa::path(post, path = "/api/v1/enrollments/{enrollment_id}/confirm", operation_id = "confirm_enrollment", tag = "enrollments", security(("session" = [])), params(("enrollment_id" = EnrollmentId, Path)), request_body = ConfirmEnrollment, responses((status = 200, body = DeviceView), (status = 422, description = "The device shows another number"), (status = 429, description = "Too many wrong numbers")))]
pub async fn confirm_enrollment(
    State(app): State<App>,
    person: Person,
    Id(id): Id<EnrollmentId>,
    Json(asked, _share): Json<ConfirmEnrollment>,
) -> Answer<Tagged<DeviceView>> {
    Ok(Tagged::of(enrollments::confirm(&person, id, &asked.number).await?, |it| view(&app, it)))
}
