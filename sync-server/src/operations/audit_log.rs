//! Searching the audit log.

use carepost_protocol::audit::{AuditAction, AuditEventType};

use super::person::Person;
use crate::error::Answer;
use crate::store::{AuditPlace, AuditQuery, Audited, Listed};

/// Looks for audit events of the organization, the last received first, by pages.
pub async fn search(person: &Person, query: AuditQuery) -> Answer<Listed<Audited, AuditPlace>> {
    let events = person.registry()?.audit_events(query).await?;
    person.write(person.event(AuditEventType::ApiAccess, AuditAction::View, "audit_events")).await?;
    Ok(events)
}
