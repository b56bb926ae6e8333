//! The audit lane: what a device wrote down, as the audit log takes it. Whose device it is comes from its key, and
//! what it runs from what the server knows; all else is its word, bounded, and flagged where it cannot be so.

use std::net::IpAddr;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{AuditId, UserId};
use carepost_protocol::merge::AHEAD;
use serde_json::{Map, Value};

use super::super::Result;
use super::authority::terms_of;
use super::{Flags, Judge};
use crate::store::Flag;
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::rules::audit::{self, Received};
use crate::text::line;

/// The longest word that an event may say: what it is about, which, a name, an endpoint.
const MAX_WORD: usize = 100;
/// The most that its details may take, in bytes of JSON.
const MAX_DETAILS: usize = 4 * 1024;

impl Judge {
    /// Writes down what a device did.
    pub(super) fn write_down(&mut self, tx: &Tx<'_>, n: u64, event: &AuditEvent) -> Result<()> {
        let scope = tx.facility_scope()?;
        let mut flags = Flags::default();
        flags.raise(event.timestamp > self.received.after(AHEAD), Flag::ClockAhead);
        if let Some(user) = event.user_id {
            flags.raise(!self.ever_had_a_role(tx, user)?, Flag::ActorUnknown);
        }
        if let Some(patient) = event.patient_id {
            flags.raise(!self.is_known_patient(tx, patient)?, Flag::PatientUnknown);
        }
        let mut details = readable(event.details.clone());
        // Which page it was, as the device says; the endpoint is where somebody called this server.
        if let Some(page) = &event.endpoint {
            details.insert("page".to_owned(), bounded(page).into());
        }
        flags.raise(bound(&mut details)?, Flag::DetailsCut);
        let ahead = event.timestamp > self.received;
        let taken = AuditEvent {
            // Of the server's making, so that no device chooses one that is there already.
            id: AuditId::numbered(self.received, n, tx.random()?),
            timestamp: event.timestamp.min(self.received),
            resource_type: bounded(&event.resource_type),
            resource_id: event.resource_id.as_deref().map(bounded),
            organization_id: Some(scope.organization()),
            facility_id: Some(scope.facility()),
            device_id: Some(self.place.device),
            username: event.username.as_deref().map(bounded),
            endpoint: None,
            ip_address: own_address(event).map(|ip| ip.to_string()),
            user_agent: Some(self.program(tx)?),
            details,
            ..event.clone()
        };
        let received = Received {
            origin: (self.place.incarnation, n),
            flags: flags.names(),
            claimed_at: ahead.then_some(event.timestamp),
        };
        audit::append_one(tx, &taken, Some(&received))
    }

    fn ever_had_a_role(&mut self, tx: &Tx<'_>, user: UserId) -> Result<bool> {
        if let Some(terms) = self.terms.get(&user) {
            return Ok(!terms.is_empty());
        }
        let terms = terms_of(tx, user)?;
        let any = !terms.is_empty();
        self.terms.insert(user, terms);
        Ok(any)
    }

    fn program(&mut self, tx: &Tx<'_>) -> Result<String> {
        if self.program.is_none() {
            let sql = "SELECT agent_version FROM devices WHERE id = ?1";
            let version = tx.first::<Option<String>>(sql, params![self.place.device])?;
            let version = version.flatten().unwrap_or_else(|| "unknown".to_owned());
            self.program = Some(format!("carepost-agent/{}", bounded(&version)));
        }
        Ok(self.program.clone().unwrap_or_default())
    }
}

/// The interface address that the device gives for its own.
fn own_address(event: &AuditEvent) -> Option<IpAddr> {
    event.ip_address.as_deref()?.parse().ok()
}

fn bounded(word: &str) -> String {
    line(word, MAX_WORD)
}

/// Details without what would write on the terminal of who reads them.
fn readable(details: Map<String, Value>) -> Map<String, Value> {
    details.into_iter().map(|(key, value)| (line(&key, MAX_DETAILS), readable_value(value))).collect()
}

fn readable_value(value: Value) -> Value {
    match value {
        Value::String(text) => line(&text, text.len()).into(),
        Value::Array(items) => items.into_iter().map(readable_value).collect(),
        Value::Object(members) => readable(members).into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Keeps details within bounds: whether they had to be cut. What was cut stands in the change.
fn bound(details: &mut Map<String, Value>) -> Result<bool> {
    let bytes = json(details)?.len();
    if bytes <= MAX_DETAILS {
        return Ok(false);
    }
    *details = Map::from_iter([("bytes".to_owned(), bytes.into())]);
    Ok(true)
}
