//! Audit events: what the server writes down about who asked for what (S4-45 to S4-51).

use std::net::IpAddr;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{DeviceId, FacilityId, OrganizationId, PatientId, SessionId, UserId};
use carepost_protocol::time::ClockQuality;
use serde_json::Value;

use crate::clock;
use crate::network::client_network;
use crate::text::line;

/// Where a request came from and what it called.
#[derive(Debug, Clone)]
pub struct Client {
    /// From which address.
    pub ip: Option<IpAddr>,
    /// With which program, as it says.
    pub user_agent: Option<String>,
    /// Through which endpoint: the method and the path's pattern.
    pub endpoint: String,
}

impl Client {
    /// The network that it is counted by.
    #[must_use]
    pub fn network(&self) -> Option<IpAddr> {
        self.ip.map(client_network)
    }
}

/// An audit event while it is put together.
#[derive(Debug, Clone)]
pub struct Note(AuditEvent);

impl Note {
    /// Something of a type, done just now through the client's endpoint to a kind of resource.
    #[must_use]
    pub fn new(
        client: &Client,
        event_type: AuditEventType,
        action: AuditAction,
        resource_type: &str,
    ) -> Self {
        let now = clock::now();
        Self(AuditEvent {
            endpoint: Some(client.endpoint.clone()),
            ip_address: client.ip.map(|ip| ip.to_string()),
            user_agent: client.user_agent.clone(),
            ..AuditEvent::new(
                clock::audit_id(now, clock::random()),
                (now, ClockQuality::Synced),
                event_type,
                action,
                resource_type,
            )
        })
    }

    /// It was refused.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.0.success = false;
        self
    }

    /// Which one it was done to.
    #[must_use]
    pub fn on(mut self, id: impl std::fmt::Display) -> Self {
        self.0.resource_id = Some(id.to_string());
        self
    }

    /// In which organization.
    #[must_use]
    pub fn organization(mut self, id: Option<OrganizationId>) -> Self {
        self.0.organization_id = id;
        self
    }

    /// In which facility.
    #[must_use]
    pub fn facility(mut self, id: Option<FacilityId>) -> Self {
        self.0.facility_id = id;
        self
    }

    /// About which device.
    #[must_use]
    pub fn device(mut self, id: DeviceId) -> Self {
        self.0.device_id = Some(id);
        self
    }

    /// About which patient.
    #[must_use]
    pub fn patient(mut self, id: PatientId, facility: FacilityId) -> Self {
        self.0.patient_id = Some(id);
        self.0.facility_id = Some(facility);
        self.on(id)
    }

    /// By whom.
    #[must_use]
    pub fn by(mut self, user: UserId, session: Option<SessionId>) -> Self {
        self.0.user_id = Some(user);
        self.0.session_id = session;
        self
    }

    /// With which name, at a sign-in.
    #[must_use]
    pub fn named(mut self, username: &str) -> Self {
        // An attacker chooses it: bounded, and without what could break a line of a log.
        self.0.username = Some(line(username, 100));
        self
    }

    /// Anything more; no secrets and no health data.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(key.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn into_event(self) -> AuditEvent {
        self.0
    }
}
