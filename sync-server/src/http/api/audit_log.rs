//! The endpoint that searches the audit log.

use carepost_protocol::audit::{AuditEvent, AuditSource};
use carepost_protocol::id::{DeviceId, PatientId, SessionId, UserId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::ChangeName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{List, Paged};
use crate::error::Answer;
use crate::http::extract::Params;
use crate::operations::audit_log;
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::store::{AuditQuery, Audited};

/// Which events: all that match every given part, the last received first.
#[derive(Debug, Deserialize, IntoParams)]
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
    /// Whose word: what the server saw, or what devices say.
    source: Option<AuditSource>,
    /// Received at or after.
    since: Option<Timestamp>,
    /// Received before.
    until: Option<Timestamp>,
}

/// An audit event with what the server says of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    #[serde(flatten)]
    event: AuditEvent,
    /// Whose word it is. Of a device's, address, details and time are what it says of itself.
    source: AuditSource,
    /// When the server wrote it down: the order of the log.
    received_at: Timestamp,
    /// The device's own time, where that was ahead of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<Timestamp>,
    /// What to know of a device's event: `clock_ahead`, `actor_unknown` (never had a role in that facility),
    /// `patient_unknown` (not there when the event came), `details_cut`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    /// Where in the device's audit lane its exact words are.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<ChangeName>,
}

impl From<Audited> for AuditEntry {
    fn from(audited: Audited) -> Self {
        let Audited { event, source, received_at, claimed_at, flags, origin } = audited;
        Self { event, source, received_at, claimed_at, flags, origin }
    }
}

/// Looks for audit events of the organization, the last received first (`-received_at`), by pages. One goes through 5,000
/// events at most: it may hold fewer than asked for, also none, and have `next`.
#[utoipa::path(get, path = "/api/v1/audit-events", operation_id = "search_audit_events", tag = "audit", security(("session" = [])), params(Search, Which), responses((status = 200, body = List<AuditEntry>)))]
pub async fn search_audit_events(
    person: Person,
    Params(search): Params<Search>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<AuditEntry>>> {
    let (after, limit) = which.read("-received_at")?;
    let query = AuditQuery {
        patient: search.patient_id,
        user: search.user_id,
        device: search.device_id,
        session: search.session_id,
        source: search.source,
        since: search.since,
        until: search.until,
        after,
        limit,
    };
    asked.page(audit_log::search(&person, query).await?, AuditEntry::from)
}
