//! The audit log, read.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{DeviceId, PatientId, SessionId, UserId};
use carepost_protocol::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::List;
use crate::body::Params;
use crate::error::Answer;
use crate::guard::Person;
use crate::store::AuditQuery;

/// How many events are answered unless more are asked for.
const EVENTS: usize = 100;

/// Which events: all that match every given part, latest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// About this patient.
    patient_id: Option<PatientId>,
    /// By this user.
    user_id: Option<UserId>,
    /// On this device.
    device_id: Option<DeviceId>,
    /// Under this session.
    session_id: Option<SessionId>,
    /// At or after.
    since: Option<Timestamp>,
    /// Before.
    until: Option<Timestamp>,
    /// At most so many; 1,000 at once.
    limit: Option<usize>,
}

/// Looks for audit events of the organization.
#[utoipa::path(get, path = "/api/v1/audit-events", operation_id = "search_audit_events", tag = "audit", security(("session" = [])), params(Search), responses((status = 200, body = List<AuditEvent>)))]
pub async fn search_audit_events(
    person: Person,
    Params(search): Params<Search>,
) -> Answer<axum::Json<List<AuditEvent>>> {
    let query = AuditQuery {
        patient: search.patient_id,
        user: search.user_id,
        device: search.device_id,
        session: search.session_id,
        since: search.since,
        until: search.until,
        limit: search.limit.unwrap_or(EVENTS),
    };
    let events = person.registry()?.audit_events(query).await?;
    person.write(person.note(AuditEventType::ApiAccess, AuditAction::View, "audit_events")).await?;
    Ok(axum::Json(List::of(events, std::convert::identity)))
}
