//! What the kiosk shows of the outbox: entries not yet in the mirror, and how much waits.

use carepost_protocol::change::{Change, Lane};
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::Rejection;
use rusqlite::{Row, params};

use super::settle::first_queued;
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Saved here, and waiting for the server.
    Queued,
    /// The server has it; it is on its way back into the mirror.
    Acknowledged,
    /// The server refused it, for this reason: it needs a person.
    Wedged(String),
}

/// An entry about a resident that the mirror does not show yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The record. Where the mirror has it already, the mirror's is shown.
    pub record: RecordId,
    /// Its number in the care lane.
    pub n: u64,
    /// What was charted.
    pub change: Change,
    /// Where it stands.
    pub progress: Progress,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Care changes that the server has not acknowledged.
    pub care: u64,
    /// Audit events that the server has not acknowledged.
    pub audit: u64,
    /// Entries of both lanes that the server refused.
    pub wedged: u64,
    /// When the oldest waiting care change was made.
    pub oldest: Option<Timestamp>,
}

/// An entry that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wedged {
    /// In which lane.
    pub lane: Lane,
    /// Its number there.
    pub n: u64,
    /// When it was made.
    pub made_at: Timestamp,
    /// Why.
    pub reason: String,
}

impl Outbox {
    /// The entries about a resident to be laid over the mirror, oldest first: all that wait or are
    /// wedged, and those the server has acknowledged at a `seq` beyond `mirror_seq`. Read the mirror's
    /// cursor first, then this, then the mirror's records: so no entry is missing between its receipt
    /// and its pull, and one that arrives in between is in both, under the same record id.
    ///
    /// # Errors
    /// [`OutboxError::NotPermitted`] when the permit is for another place.
    pub fn pending(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        mirror_seq: u64,
    ) -> Result<Vec<Pending>, OutboxError> {
        self.permitted(permit)?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT n, record, payload, state, reason FROM entries
             WHERE patient = ? AND (state <> ? OR seq > ?) ORDER BY n",
        )?;
        let mut rows = statement.query(params![patient.as_bytes(), schema::ACKED, signed(mirror_seq)])?;
        let mut pending = Vec::new();
        while let Some(row) = rows.next()? {
            let payload = row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?;
            let change = serde_json::from_slice(payload);
            pending.push(Pending {
                record: RecordId::from_bytes(row.get(1)?),
                n: unsigned(row.get(0)?),
                change: change.map_err(|_| OutboxError::NotUnderstood("a saved change"))?,
                progress: match row.get::<_, i64>(3)? {
                    schema::QUEUED => Progress::Queued,
                    schema::WEDGED => Progress::Wedged(in_words(row, 4)?),
                    _ => Progress::Acknowledged,
                },
            });
        }
        Ok(pending)
    }

    /// How much waits.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn counts(&self) -> Result<Counts, OutboxError> {
        let connection = self.lock();
        let queued = |lane| -> Result<u64, OutboxError> {
            let count: i64 = connection
                .prepare_cached("SELECT count(*) FROM entries WHERE lane = ? AND state = 0")?
                .query_row([schema::number(lane)], |row| row.get(0))?;
            Ok(unsigned(count))
        };
        let wedged: i64 = connection
            .prepare_cached("SELECT count(*) FROM entries WHERE state = 2")?
            .query_row([], |row| row.get(0))?;
        let oldest = match first_queued(&connection, Lane::Care)? {
            None => None,
            Some(n) => Some(
                connection
                    .prepare_cached("SELECT made_at FROM entries WHERE lane = ? AND n = ?")?
                    .query_row(params![schema::number(Lane::Care), signed(n)], |row| row.get(0))?,
            ),
        };
        Ok(Counts {
            care: queued(Lane::Care)?,
            audit: queued(Lane::Audit)?,
            wedged: unsigned(wedged),
            oldest: oldest.map(Timestamp::from_millis),
        })
    }

    /// The entries that the server refused, care first, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn wedged(&self) -> Result<Vec<Wedged>, OutboxError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT n, made_at, reason FROM entries WHERE lane = ? AND state = 2 ORDER BY n",
        )?;
        let mut wedged = Vec::new();
        for lane in Lane::ALL {
            let mut rows = statement.query([schema::number(lane)])?;
            while let Some(row) = rows.next()? {
                wedged.push(Wedged {
                    lane,
                    n: unsigned(row.get(0)?),
                    made_at: Timestamp::from_millis(row.get(1)?),
                    reason: in_words(row, 2)?,
                });
            }
        }
        Ok(wedged)
    }
}

fn in_words(row: &Row<'_>, column: usize) -> Result<String, OutboxError> {
    let Some(reason) = row.get::<_, Option<String>>(column)? else {
        return Ok("The server gave no reason: ask an administrator to look at its log.".to_owned());
    };
    let reason: Rejection =
        serde_json::from_str(&reason).map_err(|_| OutboxError::NotUnderstood("a refusal"))?;
    let mut words = reason.detail;
    for error in reason.errors {
        words.push_str(&format!(" {}: {}", error.field, error.detail));
    }
    Ok(words)
}
