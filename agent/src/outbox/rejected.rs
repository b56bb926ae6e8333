//! Rejected entries. Each needs a person, who corrects it, has it tried again, takes it out of the system, or discards
//! it at the server.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::{Change, ChangeKind, Lane, PayloadHash};
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::ChangeName;
use carepost_protocol::wire::push::{Rejection, RejectionCode};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::append::Saved;
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// An entry that the server rejected and nobody has settled. It names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEntry {
    pub lane: Lane,
    pub name: ChangeName,
    pub made_at: Timestamp,
    /// Why, for programs.
    pub code: RejectionCode,
    pub reason: String,
}

/// An entry as it is taken out of the system. It is health data.
#[derive(Clone, PartialEq, Eq)]
pub struct Exported {
    pub name: ChangeName,
    pub made_at: Timestamp,
    /// Why the server rejected it, if it did.
    pub reason: Option<String>,
    /// Its bytes, exactly as they are hashed and sent: JSON.
    pub payload: String,
    /// Their hash.
    pub sha256: PayloadHash,
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exported").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A rejected care change with what it says: health data.
#[derive(Debug, Clone, PartialEq)]
pub struct RejectedChange {
    pub n: u64,
    /// The document it is about, or would have made.
    pub record: RecordId,
    pub change: Change,
    pub reason: Rejection,
}

impl Outbox {
    /// The entries that the server rejected and nobody has settled, care first, oldest first, at most so
    /// many.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rejected_entries(&self, most: usize) -> Result<Vec<RejectedEntry>, OutboxError> {
        let connection = self.lock();
        let lineage = self.lineage(&connection)?;
        let mut statement = connection.prepare_cached(
            "SELECT n, made_at, reason FROM entries WHERE lane = ? AND state = 2 ORDER BY n LIMIT ?",
        )?;
        let mut rejected = Vec::new();
        for lane in Lane::ALL {
            let room = i64::try_from(most.saturating_sub(rejected.len())).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![schema::number(lane), room])?;
            while let Some(row) = rows.next()? {
                let n = unsigned(row.get(0)?);
                let (code, reason) = in_words(row, 2)?;
                rejected.push(RejectedEntry {
                    lane,
                    name: ChangeName { incarnation: lineage.of(lane, n)?.0.id, n },
                    made_at: Timestamp::from_millis(row.get(1)?),
                    code,
                    reason,
                });
            }
        }
        Ok(rejected)
    }

    /// A rejected care change, to be read and corrected.
    ///
    /// # Errors
    /// [`OutboxError::NotPermitted`] when the permit is for another place, [`OutboxError::NotRejected`] when
    /// it does not wait for a person.
    pub fn rejected(&self, permit: &Permit<ReadPatients>, n: u64) -> Result<RejectedChange, OutboxError> {
        self.permitted(permit)?;
        let mut found = rejected_from(&self.lock(), n, 1)?;
        found.pop().filter(|rejected| rejected.n == n).ok_or(OutboxError::NotRejected { n })
    }

    /// The rejected care changes that nobody has settled, oldest first, at most so many, to be read and
    /// corrected.
    ///
    /// # Errors
    /// [`OutboxError::NotPermitted`] when the permit is for another place.
    pub fn all_rejected(
        &self,
        permit: &Permit<ReadPatients>,
        most: usize,
    ) -> Result<Vec<RejectedChange>, OutboxError> {
        self.permitted(permit)?;
        rejected_from(&self.lock(), 0, most)
    }

    /// Has a rejected care change tried again: appends the same change, which takes its place. `audit` is
    /// asked for the audit events that go with it, in the same durable transaction.
    ///
    /// # Errors
    /// [`OutboxError::NotRejected`]; else as [`append`](Self::append).
    pub fn retry(
        &self,
        n: u64,
        audit: impl FnOnce(Option<PatientId>, RecordId) -> Vec<AuditEvent>,
    ) -> Result<Saved, OutboxError> {
        let mut connection = self.lock_to_save()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (rejected, _) = read_rejected(&transaction, n)?;
        let patient = rejected.patient;
        let saved =
            self.supersede(&transaction, &Change { supersedes: Some(n), record: None, ..rejected }, None)?;
        self.link_audit(&transaction, &audit(patient, saved.record))?;
        transaction.commit()?;
        Ok(saved)
    }

    /// Takes entries out of the system, all of them or none, and writes that down first.
    ///
    /// # Errors
    /// [`OutboxError::NotKept`]; else as [`append`](Self::append).
    pub fn export(
        &self,
        numbers: &[u64],
        audit: impl Fn(u64, Option<PatientId>) -> Vec<AuditEvent>,
    ) -> Result<Vec<Exported>, OutboxError> {
        let mut connection = self.lock_to_save()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let taken = numbers.iter().map(|n| self.take_out(&transaction, *n, &audit));
        let exported = taken.collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(exported)
    }

    fn take_out(
        &self,
        transaction: &Connection,
        n: u64,
        audit: impl Fn(u64, Option<PatientId>) -> Vec<AuditEvent>,
    ) -> Result<Exported, OutboxError> {
        let found = transaction
            .prepare_cached("SELECT payload, made_at, reason, patient FROM entries WHERE lane = 0 AND n = ?")?
            .query_row([signed(n)], |row| {
                let reason = row.get::<_, Option<String>>(2)?.map(|_| in_words(row, 2));
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, reason, row.get::<_, Option<[u8; 16]>>(3)?))
            })
            .optional()?;
        let (payload, made_at, reason, patient) = found.ok_or(OutboxError::NotKept { n })?;
        let name = ChangeName { incarnation: self.lineage(transaction)?.of(Lane::Care, n)?.0.id, n };
        self.link_audit(transaction, &audit(n, patient.map(PatientId::from_bytes)))?;
        Ok(Exported {
            name,
            made_at: Timestamp::from_millis(made_at),
            reason: reason.transpose()?.map(|(_, words)| words),
            sha256: PayloadHash::of(&payload),
            payload: String::from_utf8(payload).map_err(|_| OutboxError::NotUnderstood("a saved change"))?,
        })
    }

    /// Appends a change that takes the place of a rejected one of its own actor, and settles that one.
    pub(super) fn supersede(
        &self,
        connection: &Connection,
        change: &Change,
        token: Option<&str>,
    ) -> Result<Saved, OutboxError> {
        let n = change.supersedes.unwrap_or(0);
        let (rejected, record) = read_rejected(connection, n)?;
        if rejected.actor != change.actor {
            return Err(OutboxError::NotItsActor);
        }
        let mut change = change.clone();
        match (change.kind, rejected.kind) {
            // What refers to the record that was never made finds it.
            (ChangeKind::Create, ChangeKind::Create) => change.record = Some(record),
            (ChangeKind::Create | ChangeKind::Amend | ChangeKind::Patch | ChangeKind::Delete, _) => {
                change.record = change.record.or(rejected.record);
            }
        }
        let saved = self.link_change(connection, &change, token)?;
        connection.execute(
            "UPDATE entries SET state = 1, settlement = ? WHERE lane = 0 AND n = ?",
            params![schema::SUPERSEDED, signed(n)],
        )?;
        Ok(saved)
    }
}

fn read_rejected(connection: &Connection, n: u64) -> Result<(Change, RecordId), OutboxError> {
    let found: Option<(Vec<u8>, [u8; 16])> = connection
        .prepare_cached("SELECT payload, record FROM entries WHERE lane = 0 AND n = ? AND state = 2")?
        .query_row([signed(n)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (payload, record) = found.ok_or(OutboxError::NotRejected { n })?;
    let change = serde_json::from_slice(&payload);
    Ok((change.map_err(|_| OutboxError::NotUnderstood("a rejected change"))?, RecordId::from_bytes(record)))
}

fn rejected_from(connection: &Connection, n: u64, most: usize) -> Result<Vec<RejectedChange>, OutboxError> {
    let mut statement = connection.prepare_cached(
        "SELECT n, record, payload, reason FROM entries WHERE lane = 0 AND state = 2 AND n >= ? ORDER BY n LIMIT ?",
    )?;
    let mut rows = statement.query(params![signed(n), i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut rejected = Vec::new();
    while let Some(row) = rows.next()? {
        let payload = row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?;
        let change = serde_json::from_slice(payload);
        rejected.push(RejectedChange {
            n: unsigned(row.get(0)?),
            record: RecordId::from_bytes(row.get(1)?),
            change: change.map_err(|_| OutboxError::NotUnderstood("a rejected change"))?,
            reason: reason(row, 3)?,
        });
    }
    Ok(rejected)
}

fn reason(row: &Row<'_>, column: usize) -> Result<Rejection, rusqlite::Error> {
    const NOT_SAID: &str = "The server gave no reason: ask an administrator to look at its log.";
    let reason = row.get::<_, Option<String>>(column)?;
    let reason = reason.and_then(|reason| serde_json::from_str::<Rejection>(&reason).ok());
    Ok(reason.unwrap_or_else(|| Rejection {
        code: RejectionCode::Unknown,
        detail: NOT_SAID.to_owned(),
        errors: Vec::new(),
    }))
}

/// Why an entry was rejected.
pub(super) fn in_words(row: &Row<'_>, column: usize) -> Result<(RejectionCode, String), rusqlite::Error> {
    let reason = reason(row, column)?;
    let mut words = reason.detail;
    for error in reason.errors {
        words.push_str(&format!(" {}: {}", error.field, error.detail));
    }
    Ok((reason.code, words))
}
