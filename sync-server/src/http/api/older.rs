//! Older records: what devices ask for beyond their mirrors, which has left the feed.

use std::time::Duration;

use axum::extract::State;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::PatientId;
use carepost_protocol::wire::older::{OlderQuery, OlderRecords};
use carepost_protocol::wire::problem::Problem;
use serde_json::value::RawValue;

use super::stream::not_encrypted;
use crate::app::App;
use crate::audit::Client;
use crate::error::{Answer, Refusal};
use crate::http::authentication::Device;
use crate::http::extract::{Id, Params};
use crate::rate_limit::Limit;
use crate::store::OlderRequest;

/// The pages of one device, until it pauses: each is an event in the audit log.
const PAGES: Limit = Limit { failures: 240, lock: Duration::from_secs(60) };

/// A page of a resident's records that have left the feed, as the device may see them.
#[utoipa::path(get, path = "/api/v1/sync/patients/{patient_id}/older-records", operation_id = "older_records", tag = "sync",
    params(("patient_id" = PatientId, Path),
        ("before" = Option<String>, Query, description = "With before_record: the place at which the page before ended"),
        ("before_record" = Option<String>, Query)),
    responses((status = 200, body = Object, description = "Records, and where the next page begins"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn older_records(
    State(app): State<App>,
    client: Client,
    Id(patient): Id<PatientId>,
    device: Device,
    Params(asked): Params<OlderQuery>,
) -> Answer<axum::Json<OlderRecords<Box<RawValue>>>> {
    if asked.before.is_some() != asked.before_record.is_some() {
        return Err(Refusal::field("before_record", "give before and before_record together, or neither"));
    }
    if device.identity.require_encryption() && !device.facility.is_encrypted(&device.identity).await? {
        return Err(not_encrypted());
    }
    let asker = format!("older {}", device.identity.device());
    app.rate_limiter.take(&asker, PAGES, "This device has asked for many older entries")?;
    let asked = OlderRequest { view: device.identity.view(), patient, after: asked.place() };
    let page = device.facility.older_records(asked).await?;
    // Written before the page is shown. Who reads it there is in the device's own events.
    let note = client
        .event(AuditEventType::PhiAccess, AuditAction::View, "record")
        .device(device.identity.device())
        .patient(patient, device.identity.facility())
        .detail("count", page.records.len());
    device.facility.audit(vec![note]).await?;
    Ok(axum::Json(page))
}
