//! Audit events: what is written down about who did what (S0-22 to S0-24, S4-45 to S4-51).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{AuditId, DeviceId, FacilityId, OrganizationId, PatientId, SessionId, UserId};
use crate::time::{ClockQuality, Timestamp};

/// What kind of thing happened (S4-45, and the device's own kinds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditEventType {
    /// A sign-in, or a try at one.
    Login,
    /// The end of a session, or a lock.
    Logout,
    /// Health data was read or written.
    PhiAccess,
    /// A call of the API.
    ApiAccess,
    /// A badge was presented, refused, issued or revoked.
    Badge,
    /// A device was registered, enrolled, changed or deactivated.
    Device,
    /// A reader came, went or failed.
    Reader,
    /// Something of the sync itself.
    Sync,
    /// Somebody asked for another tenant's things.
    CrossTenantAttempt,
}

/// What was done (S4-47).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// Read.
    View,
    /// Made.
    Create,
    /// Changed.
    Update,
    /// Removed.
    Delete,
    /// Taken out of the system.
    Export,
    /// A document was fetched.
    Download,
    /// Something that is none of these, such as a sign-in.
    Execute,
}

/// Whose word an entry of the audit log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditSource {
    /// The server saw it.
    Server,
    /// A device says so.
    Device,
}

/// One entry of the audit log. Of one that a device sends, organization, facility and device come from the
/// device's key and its program from what the server knows, whatever the entry says; the rest is its word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEvent {
    /// The entry.
    pub id: AuditId,
    /// When it happened.
    pub timestamp: Timestamp,
    /// How far that clock could be believed.
    pub clock_quality: ClockQuality,
    /// What kind of thing happened.
    pub event_type: AuditEventType,
    /// What was done.
    pub action: AuditAction,
    /// Whether it was done, or refused.
    pub success: bool,
    /// What it was done to, such as `patient`.
    pub resource_type: String,
    /// Which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The organization; none only when no tenant could be resolved (S0-22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// The facility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility_id: Option<FacilityId>,
    /// The device it happened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// Who did it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Under which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// About which patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_id: Option<PatientId>,
    /// The name tried at a sign-in with a name (S4-50); never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Through which endpoint or page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// With which program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Anything more; no secrets and no health data.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub details: Map<String, Value>,
}

impl AuditEvent {
    /// Something that was done to a kind of resource; the methods say what else is known.
    #[must_use]
    pub fn new(
        id: AuditId,
        (timestamp, clock_quality): (Timestamp, ClockQuality),
        event_type: AuditEventType,
        action: AuditAction,
        resource_type: &str,
    ) -> Self {
        Self {
            id,
            timestamp,
            clock_quality,
            event_type,
            action,
            success: true,
            resource_type: resource_type.to_owned(),
            resource_id: None,
            organization_id: None,
            facility_id: None,
            device_id: None,
            user_id: None,
            session_id: None,
            patient_id: None,
            username: None,
            endpoint: None,
            ip_address: None,
            user_agent: None,
            details: Map::new(),
        }
    }

    /// It was refused, or failed.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { success: false, ..self }
    }

    /// Which one it was done to.
    #[must_use]
    pub fn on(self, id: impl fmt::Display) -> Self {
        Self { resource_id: Some(id.to_string()), ..self }
    }

    /// In which organization.
    #[must_use]
    pub fn organization(self, id: Option<OrganizationId>) -> Self {
        Self { organization_id: id, ..self }
    }

    /// In which facility.
    #[must_use]
    pub fn facility(self, id: Option<FacilityId>) -> Self {
        Self { facility_id: id, ..self }
    }

    /// On or about which device.
    #[must_use]
    pub fn device(self, id: DeviceId) -> Self {
        Self { device_id: Some(id), ..self }
    }

    /// About which patient.
    #[must_use]
    pub fn patient(self, id: PatientId, facility: FacilityId) -> Self {
        Self { patient_id: Some(id), facility_id: Some(facility), ..self }.on(id)
    }

    /// By whom.
    #[must_use]
    pub fn by(self, user: UserId, session: Option<SessionId>) -> Self {
        Self { user_id: Some(user), session_id: session, ..self }
    }

    /// From which address and with which program.
    #[must_use]
    pub fn called_from(self, ip_address: Option<String>, user_agent: Option<String>) -> Self {
        Self { ip_address, user_agent, ..self }
    }

    /// Anything more; no secrets and no health data.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_it_was_told_and_nothing_else() {
        let at = Timestamp::EPOCH;
        let (organization, facility) = (OrganizationId::new(at, [1; 10]), FacilityId::new(at, [2; 10]));
        let (device, user) = (DeviceId::new(at, [3; 10]), UserId::new(at, [4; 10]));
        let (session, patient) = (SessionId::new(at, [5; 10]), PatientId::new(at, [6; 10]));
        let event = || {
            let (id, now) = (AuditId::new(at, [7; 10]), (at, ClockQuality::Synced));
            AuditEvent::new(id, now, AuditEventType::PhiAccess, AuditAction::View, "patient")
        };
        let told = event()
            .refused()
            .organization(Some(organization))
            .device(device)
            .patient(patient, facility)
            .by(user, Some(session))
            .called_from(Some("192.0.2.7".to_owned()), Some("curl".to_owned()))
            .detail("reason", "lost");
        let says = AuditEvent {
            success: false,
            resource_id: Some(patient.to_string()),
            organization_id: Some(organization),
            facility_id: Some(facility),
            device_id: Some(device),
            user_id: Some(user),
            session_id: Some(session),
            patient_id: Some(patient),
            ip_address: Some("192.0.2.7".to_owned()),
            user_agent: Some("curl".to_owned()),
            details: Map::from_iter([("reason".to_owned(), "lost".into())]),
            ..event()
        };
        assert_eq!(told, says);
        assert_eq!(event().on("vitals"), AuditEvent { resource_id: Some("vitals".to_owned()), ..event() });
        assert_eq!(event().facility(Some(facility)), AuditEvent { facility_id: Some(facility), ..event() });
    }
}
