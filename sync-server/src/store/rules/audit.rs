//! The audit log: appended, searched, never changed.

use std::ops::ControlFlow;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType, AuditSource};
use carepost_protocol::id::{AuditId, DeviceId, IncarnationId, PatientId, SessionId, UserId};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::heartbeat::ChangeName;
use serde_json::{Map, Value};

use crate::clock;
use crate::store::StoreError;
use crate::store::column::flags;
use crate::store::engine::{self, AccessScope, Tx, params};
use crate::store::listed::Listed;
use crate::store::row::{Stored, Whole, placeholders, row, sql};

row! {
    impl AuditEvent {
        organization_id,
        id,
        facility_id,
        timestamp,
        clock_quality,
        event_type,
        action,
        success,
        resource_type,
        resource_id,
        device_id,
        user_id,
        session_id,
        patient_id,
        username,
        endpoint,
        ip_address,
        user_agent,
        details,
    } whole
}

/// The statement that appends an event with what the server notes of it.
macro_rules! append {
    ($into:literal) => {
        sql!(
            "INSERT INTO ",
            $into,
            " (",
            AuditEvent::COLUMNS,
            ", received_at, origin_incarnation, origin_n, source, flags, claimed_at) VALUES (",
            placeholders(AuditEvent::COUNT + 6),
            ")"
        )
    };
}
/// The statement that goes through the rows of an index, each with whether it is one of those that are looked for.
macro_rules! search {
    ($first:literal) => {
        sql!(
            "SELECT CASE WHEN (?3 IS NULL OR patient_id = ?3) AND (?4 IS NULL OR user_id = ?4)
                AND (?5 IS NULL OR device_id = ?5) AND (?6 IS NULL OR session_id = ?6)
                AND (?8 IS NULL OR source = ?8) THEN 1 ELSE 0 END, ",
            AuditEvent::COLUMNS,
            ", ",
            Notes::COLUMNS,
            " FROM audit WHERE ",
            $first,
            " AND received_at >= ?1 AND received_at < ?2
                AND (?9 IS NULL OR (received_at, id) < (?9, ?10))
             ORDER BY received_at DESC, id DESC LIMIT ?7"
        )
    };
}

/// An audit event as the log keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// What happened. Where a device says so, its time is never later than when the server heard of it.
    pub event: AuditEvent,
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

row! {
    /// What the log keeps beside an event: see [`Audited`].
    struct Notes {
        source: AuditSource,
        received_at: Timestamp,
        claimed_at: Option<Timestamp>,
        flags: Vec<String> = "flags" by flags,
        origin: Option<ChangeName> = "origin_incarnation, origin_n" by change_name,
    }
}

fn change_name((incarnation, n): (Option<IncarnationId>, Option<u64>)) -> Option<ChangeName> {
    incarnation.zip(n).map(|(incarnation, n)| ChangeName { incarnation, n })
}

impl Audited {
    fn of(event: AuditEvent, notes: Notes) -> Self {
        let Notes { source, received_at, claimed_at, flags, origin } = notes;
        Self { event, source, received_at, claimed_at, flags, origin }
    }

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
    pub patient: Option<PatientId>,
    pub user: Option<UserId>,
    pub device: Option<DeviceId>,
    /// Under this session.
    pub session: Option<SessionId>,
    pub source: Option<AuditSource>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Those that stand after this place in the list.
    pub after: Option<AuditPlace>,
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

/// Appends events made by the server, under the scope's tenant; the system's, under the one they name.
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
    let (organization_id, facility_id) = match tx.access() {
        AccessScope::Facility(scope) => (Some(scope.organization()), Some(scope.facility())),
        AccessScope::Organization(scope) => (Some(scope.organization()), scope.limit()),
        AccessScope::Nothing | AccessScope::System(_) => (None, None),
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
    let sql = match tx.access() {
        AccessScope::System(_) => append!("system_audit"),
        AccessScope::Facility(_) | AccessScope::Organization(_) | AccessScope::Nothing => append!("audit"),
    };
    let (now, origin) = (tx.now(), received.map(|it| it.origin));
    let notes = params![
        now,
        origin.map(|(incarnation, _)| incarnation),
        origin.map(|(_, n)| n),
        source,
        received.and_then(|it| it.flags.as_deref()),
        received.and_then(|it| it.claimed_at),
    ];
    let mut values = event.values();
    values.extend(notes);
    tx.execute(sql, &values).map(drop)
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

/// How many events one page goes through at most, also where few of them are looked for: a device may have written
/// millions.
pub(in crate::store) const WALKED: usize = 5_000;

/// The events that match, the last received first: fewer than asked for, or none, where the page ends before.
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
        search!("1 = 1")
    };
    let millis = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
    // Said twice, so that the index begins where the page does.
    let until = query.after.map(|(at, _)| at.as_millis() + 1);
    let until = until.into_iter().chain(millis(query.until)).min();
    let asked = params![
        query.since.map_or(i64::MIN, Timestamp::as_millis),
        until.unwrap_or(i64::MAX),
        query.patient,
        query.user,
        query.device,
        query.session,
        WALKED,
        query.source,
        query.after.map(|(at, _)| at),
        query.after.map(|(_, id)| id),
    ];
    let (mut found, mut walked, mut end) = (Vec::new(), 0, None);
    tx.each(sql, asked, |row| {
        walked += 1;
        if row.value(0)? == engine::Value::Integer(0) && walked < WALKED {
            return Ok(ControlFlow::Continue(()));
        }
        let (is_wanted, event, notes): (bool, AuditEvent, Notes) = row.read()?;
        let audited = Audited::of(event, notes);
        end = (walked == WALKED).then(|| audited.place());
        found.extend(Some(audited).filter(|_| is_wanted));
        Ok(if found.len() > query.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let page = Listed::of(found, query.limit, Audited::place);
    Ok(Listed { next: page.next.or(end), ..page })
}
