//! The audit log: appended, searched, never changed.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType, AuditSource};
use carepost_protocol::id::{AuditId, DeviceId, IncarnationId, PatientId, SessionId, UserId};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::heartbeat::ChangeName;
use serde_json::{Map, Value};

use crate::clock;
use crate::store::StoreError;
use crate::store::column::{
    count, id_at, id_or_none_at, json, json_or_none_at, limit, time_at, time_or_none_at, word, word_at,
};
use crate::store::engine::{Reach, Read, Row, Tx, params};
use crate::store::listed::Listed;

macro_rules! columns {
    () => {
        "(organization_id, id, facility_id, timestamp, clock_quality, event_type, action, success,
            resource_type, resource_id, device_id, user_id, session_id, patient_id, username, endpoint,
            ip_address, user_agent, details, received_at, origin_incarnation, origin_n, source, flags,
            claimed_at)"
    };
}
macro_rules! values {
    () => {
        "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23, ?24, ?25)"
    };
}
macro_rules! search {
    ($first:literal) => {
        concat!(
            "SELECT organization_id, id, facility_id, timestamp, clock_quality, event_type, action, success,
                resource_type, resource_id, device_id, user_id, session_id, patient_id, username, endpoint,
                ip_address, user_agent, details, source, received_at, claimed_at, flags, origin_incarnation,
                origin_n
             FROM audit WHERE ", $first, " AND received_at >= ?1 AND received_at < ?2
                AND (?3 IS NULL OR patient_id = ?3) AND (?4 IS NULL OR user_id = ?4)
                AND (?5 IS NULL OR device_id = ?5) AND (?6 IS NULL OR session_id = ?6)
                AND (?8 IS NULL OR source = ?8) AND (?9 IS NULL OR (received_at, id) < (?9, ?10))
             ORDER BY received_at DESC, id DESC LIMIT ?7"
        )
    };
}

/// An audit event as the log keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// What happened. Where a device says so, its time is never later than when the server heard of it.
    pub event: AuditEvent,
    /// Whose word it is.
    pub source: AuditSource,
    /// When the server wrote it down: the order of the log.
    pub received_at: Timestamp,
    /// The device's own time, where that was ahead of the server's.
    pub claimed_at: Option<Timestamp>,
    /// What a reader should know of it.
    pub flags: Vec<String>,
    /// Its place in the device's chain, which has its exact words.
    pub origin: Option<ChangeName>,
}

impl Audited {
    /// Its place in the log.
    #[must_use]
    pub const fn place(&self) -> AuditPlace {
        (self.received_at, self.event.id)
    }
}

/// A place in the log: when what stands there was received, and which it is.
pub type AuditPlace = (Timestamp, AuditId);

/// Which audit events somebody looks for: all that match every given part, the last received first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// About this patient.
    pub patient: Option<PatientId>,
    /// By this user.
    pub user: Option<UserId>,
    /// On this device.
    pub device: Option<DeviceId>,
    /// Under this session.
    pub session: Option<SessionId>,
    /// Whose word.
    pub source: Option<AuditSource>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Those that stand after this place in the list.
    pub after: Option<AuditPlace>,
    /// At most so many.
    pub limit: usize,
}

/// What the server notes of an event that a device wrote.
pub(in crate::store) struct Received {
    /// Its place in the device's chain.
    pub(in crate::store) origin: (IncarnationId, u64),
    /// What a reader should know of it, between commas.
    pub(in crate::store) flags: Option<String>,
    /// The device's own time, where that was ahead of the server's.
    pub(in crate::store) claimed_at: Option<Timestamp>,
}

/// Appends events made by the server, under the reach's tenant; the system's, under the one they name.
pub(in crate::store) fn append(tx: &Tx<'_>, events: &[AuditEvent]) -> Result<(), StoreError> {
    events.iter().try_for_each(|event| append_one(tx, event, None))
}

/// Writes down what the server noticed by itself, in the transaction of what follows from it. `details` is
/// an object.
pub(in crate::store) fn noticed(
    tx: &Tx<'_>,
    event_type: AuditEventType,
    what: &str,
    device: Option<DeviceId>,
    details: Value,
) -> Result<(), StoreError> {
    let (organization_id, facility_id) = match tx.reach() {
        Reach::Facility(scope) => (Some(scope.organization()), Some(scope.facility())),
        Reach::Organization(scope) => (Some(scope.organization()), scope.limit()),
        Reach::Nothing | Reach::System => (None, None),
    };
    let mut told = Map::from_iter([("what".to_owned(), Value::from(what))]);
    if let Value::Object(details) = details {
        told.extend(details.into_iter().filter(|(_, value)| !value.is_null()));
    }
    let (id, stamp) = (clock::audit_id(tx.now(), tx.random()?), (tx.now(), ClockQuality::Synced));
    let kind = if device.is_some() { "device" } else { "server" };
    let event = AuditEvent {
        resource_id: device.map(|device| device.to_string()),
        device_id: device,
        details: told,
        ..AuditEvent::new(id, stamp, event_type, AuditAction::Execute, kind)
    };
    let event = event.organization(organization_id).facility(facility_id);
    append_one(tx, &event, None)
}

/// Appends one event: a device's with what the server notes of it, or the server's own.
pub(in crate::store) fn append_one(
    tx: &Tx<'_>,
    event: &AuditEvent,
    received: Option<&Received>,
) -> Result<(), StoreError> {
    let source = if received.is_some() { AuditSource::Device } else { AuditSource::Server };
    let sql = match tx.reach() {
        Reach::System => concat!("INSERT INTO system_audit ", columns!(), " VALUES ", values!()),
        Reach::Facility(_) | Reach::Organization(_) | Reach::Nothing => {
            concat!("INSERT INTO audit ", columns!(), " VALUES ", values!())
        }
    };
    let details = if event.details.is_empty() { None } else { Some(json(&event.details)?) };
    tx.execute(
        sql,
        params![
            event.organization_id.map(|id| *id.as_bytes()),
            event.id.as_bytes(),
            event.facility_id.map(|id| *id.as_bytes()),
            event.timestamp.as_millis(),
            word(&event.clock_quality)?,
            word(&event.event_type)?,
            word(&event.action)?,
            event.success,
            event.resource_type,
            event.resource_id,
            event.device_id.map(|id| *id.as_bytes()),
            event.user_id.map(|id| *id.as_bytes()),
            event.session_id.map(|id| *id.as_bytes()),
            event.patient_id.map(|id| *id.as_bytes()),
            event.username,
            event.endpoint,
            event.ip_address,
            event.user_agent,
            details,
            tx.now().as_millis(),
            received.map(|it| *it.origin.0.as_bytes()),
            received.map(|it| count(it.origin.1)),
            word(&source)?,
            received.and_then(|it| it.flags.as_deref()),
            received.and_then(|it| it.claimed_at).map(Timestamp::as_millis),
        ],
    )?;
    Ok(())
}

/// Which index each part leads by.
#[cfg(test)]
pub(in crate::store) const FOUND_BY: [(&str, &str); 5] = [
    ("audit_by_patient", search!("patient_id = ?3")),
    ("audit_by_session", search!("session_id = ?6")),
    ("audit_by_user", search!("user_id = ?4")),
    ("audit_by_device", search!("device_id = ?5")),
    ("audit_by_source", search!("source = ?8")),
];

/// The events that match, the last received first.
pub(in crate::store) fn find(
    tx: &Tx<'_>,
    query: &AuditQuery,
) -> Result<Listed<Audited, AuditPlace>, StoreError> {
    // The narrowest given part leads, so that its index is used.
    let sql = if query.patient.is_some() {
        search!("patient_id = ?3")
    } else if query.session.is_some() {
        search!("session_id = ?6")
    } else if query.user.is_some() {
        search!("user_id = ?4")
    } else if query.device.is_some() {
        search!("device_id = ?5")
    } else if query.source.is_some() {
        search!("source = ?8")
    } else {
        search!("1")
    };
    let millis = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
    // Said twice, so that the index begins where the page does.
    let until = query.after.map(|(at, _)| at.as_millis() + 1);
    let until = until.into_iter().chain(millis(query.until)).min();
    let found = tx.all(
        sql,
        params![
            query.since.map_or(i64::MIN, |since| since.as_millis()),
            until.unwrap_or(i64::MAX),
            query.patient.map(|id| *id.as_bytes()),
            query.user.map(|id| *id.as_bytes()),
            query.device.map(|id| *id.as_bytes()),
            query.session.map(|id| *id.as_bytes()),
            limit(query.limit + 1),
            query.source.as_ref().map(word).transpose()?,
            millis(query.after.map(|(at, _)| at)),
            query.after.map(|(_, id)| *id.as_bytes()),
        ],
        audited_row,
    )?;
    Ok(Listed::of(found, query.limit, Audited::place))
}

fn audited_row(row: &Row<'_>) -> Read<Audited> {
    let (incarnation, n) = (id_or_none_at(row, 23)?, row.get::<Option<i64>>(24)?);
    let flags: Option<String> = row.get(22)?;
    Ok(Audited {
        event: event_row(row)?,
        source: word_at(row, 19)?,
        received_at: time_at(row, 20)?,
        claimed_at: time_or_none_at(row, 21)?,
        flags: flags.iter().flat_map(|flags| flags.split(',')).map(ToOwned::to_owned).collect(),
        origin: incarnation.zip(n).map(|(incarnation, n)| ChangeName { incarnation, n: n.unsigned_abs() }),
    })
}

fn event_row(row: &Row<'_>) -> Read<AuditEvent> {
    Ok(AuditEvent {
        organization_id: id_or_none_at(row, 0)?,
        id: id_at(row, 1)?,
        facility_id: id_or_none_at(row, 2)?,
        timestamp: time_at(row, 3)?,
        clock_quality: word_at(row, 4)?,
        event_type: word_at(row, 5)?,
        action: word_at(row, 6)?,
        success: row.get(7)?,
        resource_type: row.get(8)?,
        resource_id: row.get(9)?,
        device_id: id_or_none_at(row, 10)?,
        user_id: id_or_none_at(row, 11)?,
        session_id: id_or_none_at(row, 12)?,
        patient_id: id_or_none_at(row, 13)?,
        username: row.get(14)?,
        endpoint: row.get(15)?,
        ip_address: row.get(16)?,
        user_agent: row.get(17)?,
        details: json_or_none_at(row, 18)?.unwrap_or_default(),
    })
}
