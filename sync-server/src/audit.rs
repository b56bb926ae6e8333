//! Audit events: what the server writes down about who asked for what (S4-45 to S4-51).

use std::net::IpAddr;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::time::ClockQuality;

use crate::clock;
use crate::network::client_network;

/// How many events that tell counts one commit takes at most, so that other writers do not wait for long.
pub const TOLD_AT_ONCE: usize = 250;

/// Where a request came from and what it called.
#[derive(Debug, Clone)]
pub struct Client {
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

    /// What was done just now through its endpoint.
    #[must_use]
    pub fn event(&self, event_type: AuditEventType, action: AuditAction, resource_type: &str) -> AuditEvent {
        let now = clock::now();
        let id = clock::audit_id(now, clock::random());
        let event = AuditEvent::new(id, (now, ClockQuality::Synced), event_type, action, resource_type);
        AuditEvent { endpoint: Some(self.endpoint.clone()), ..event }
            .called_from(self.ip.map(|ip| ip.to_string()), self.user_agent.clone())
    }
}
