//! Queries: entries to be laid over the mirror, how much waits, and how far the server has come. They change nothing.

use carepost_protocol::change::{Change, Lane};
use carepost_protocol::id::{IncarnationId, PatientId, RecordId, UserId};
use carepost_protocol::pin::ChosenPin;
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::ChangeName;
use rusqlite::{Connection, OptionalExtension as _, Params, params};

use super::append::Entry;
use super::batch::{first_queued, kept_before};
use super::lineage::Lineage;
use super::rejected::in_words;
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// Rejected entries are counted up to here; a server that rejects more is broken.
const COUNTED: i64 = 10_000;

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Saved here, and waiting for the server.
    Queued,
    /// The server has it; it is on its way back into the mirror.
    Acknowledged,
    /// The server rejected it, for this reason: it needs a person.
    Rejected(String),
}

/// An entry about a resident that the mirror does not show yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The record. Where the mirror has it already, the mirror's is shown.
    pub record: RecordId,
    pub n: u64,
    pub change: Change,
    pub progress: Progress,
}

/// An entry of the care lane that the server has not taken for good. It names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: ChangeName,
    pub made_at: Timestamp,
    pub progress: Progress,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Care changes that the server has not acknowledged.
    pub care: u64,
    /// Audit events that the server has not acknowledged.
    pub audit: u64,
    /// Entries of both lanes that the server rejected and nobody has settled, at most 10,000.
    pub rejected: u64,
    /// When the oldest waiting care change was made.
    pub oldest: Option<Timestamp>,
}

impl Counts {
    /// How many wait in a lane.
    #[must_use]
    pub const fn waiting(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Care => self.care,
            Lane::Audit => self.audit,
        }
    }
}

/// How far the server has come with an incarnation of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The newest incarnation of which anything was acknowledged.
    pub incarnation: IncarnationId,
    /// The last acknowledged number of its care lane; none when none of its own was.
    pub care: Option<u64>,
    /// The same of its audit lane.
    pub audit: Option<u64>,
}

impl Outbox {
    /// The entries about a resident to be laid over the mirror, oldest first: all that wait or are
    /// rejected, and those the server has acknowledged at a `seq` beyond `mirror_seq`, or at none. Read the
    /// mirror's cursor first, then this, then the mirror's records: so no entry is missing between its
    /// receipt and its pull, and one that arrives in between is in both, under the same record id.
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
        let sql = "SELECT n, record, payload, state, reason FROM entries
             WHERE patient = ? AND collection IS NULL AND settlement IS NULL
                 AND (state <> ? OR seq IS NULL OR seq > ?) ORDER BY n";
        laid_over(&self.lock(), sql, params![patient.as_bytes(), schema::ACKED, signed(mirror_seq)])
    }

    /// The same of the changes of residents and reviews, whoever they are about.
    ///
    /// # Errors
    /// [`OutboxError::NotPermitted`] when the permit is for another place.
    pub fn edits(
        &self,
        permit: &Permit<ReadPatients>,
        collection: Collection,
        mirror_seq: u64,
    ) -> Result<Vec<Pending>, OutboxError> {
        self.permitted(permit)?;
        let sql = "SELECT n, record, payload, state, reason FROM entries
             WHERE collection = ? AND settlement IS NULL
                 AND (state <> ? OR seq IS NULL OR seq > ?) ORDER BY n";
        laid_over(&self.lock(), sql, params![collection.name(), schema::ACKED, signed(mirror_seq)])
    }

    /// What the form of that token was saved as, if it was.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn saved_as(&self, token: &str) -> Result<Option<RecordId>, OutboxError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT record FROM entries WHERE form = ?")?;
        let record: Option<[u8; 16]> = statement.query_row([token], |row| row.get(0)).optional()?;
        Ok(record.map(RecordId::from_bytes))
    }

    /// How many entries equal a new one: made since then by the same person with the same form about the same
    /// resident, with the same answers. One of the same token would be the same entry, and is not counted.
    ///
    /// # Errors
    /// [`OutboxError::NotPermitted`] when the permit is for another place.
    pub fn equal_since<A>(
        &self,
        permit: &Permit<A>,
        Entry { change, token }: Entry<'_>,
        since: Timestamp,
    ) -> Result<usize, OutboxError> {
        self.permitted(permit)?;
        // Equal answers are equal bytes: what else was charted meanwhile need not be read, nor what was before.
        const SQL: &str =
            "SELECT made_at, CASE WHEN collection IS NULL AND form IS NOT ?2 AND instr(payload, ?3) > 0
                 THEN payload END
             FROM entries WHERE patient = ?1 AND lane = 0 ORDER BY n DESC";
        let patient = change.patient.map(|id| *id.as_bytes());
        let answers =
            serde_json::to_vec(&change.fields).map_err(|_| OutboxError::NotUnderstood("the answers"))?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(SQL)?;
        let mut rows = statement.query(params![patient, token, answers])?;
        let mut equal = 0;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(0)? <= since.as_millis() {
                break;
            }
            let Some(payload) = row.get::<_, Option<Vec<u8>>>(1)? else { continue };
            let made: Change =
                serde_json::from_slice(&payload).map_err(|_| OutboxError::NotUnderstood("a saved change"))?;
            let what = |it: &Change| (it.kind, it.actor, it.workflow.clone(), it.fields.clone());
            equal += usize::from(what(&made) == what(change));
        }
        Ok(equal)
    }

    /// The PIN that a user chose here last, to be laid over the mirror like the others; none that was rejected.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn chosen_pin(&self, user: UserId, mirror_seq: u64) -> Result<Option<ChosenPin>, OutboxError> {
        let sql = "SELECT n, record, payload, state, reason FROM entries
             WHERE collection = ? AND record = ? AND settlement IS NULL
                 AND (state = ? OR (state = ? AND (seq IS NULL OR seq > ?))) ORDER BY n DESC LIMIT 1";
        let (users, user) = (Collection::Users.name(), user.as_bytes());
        let key = params![users, user, schema::QUEUED, schema::ACKED, signed(mirror_seq)];
        let chosen = laid_over(&self.lock(), sql, key)?.pop();
        Ok(chosen.and_then(|chosen| ChosenPin::from_fields(&chosen.change.fields)))
    }

    /// How much waits. It costs the same however much that is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn counts(&self) -> Result<Counts, OutboxError> {
        let connection = self.lock();
        let lineage = self.lineage(&connection)?;
        let rejected: i64 = connection
            .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM entries WHERE state = 2 LIMIT ?)")?
            .query_row([COUNTED], |row| row.get(0))?;
        let oldest = match first_queued(&connection, Lane::Care)? {
            None => None,
            Some(n) => Some(
                connection
                    .prepare_cached("SELECT made_at FROM entries WHERE lane = ? AND n = ?")?
                    .query_row(params![schema::number(Lane::Care), signed(n)], |row| row.get(0))?,
            ),
        };
        Ok(Counts {
            care: self.queued(&connection, &lineage, Lane::Care)?,
            audit: self.queued(&connection, &lineage, Lane::Audit)?,
            rejected: unsigned(rejected),
            oldest: oldest.map(Timestamp::from_millis),
        })
    }

    /// How far the server has come, for it to notice that it was rewound.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn position(&self) -> Result<Position, OutboxError> {
        let connection = self.lock();
        let lineage = self.lineage(&connection)?;
        let mut acknowledged = [0; 2];
        for (lane, acknowledged) in Lane::ALL.into_iter().zip(&mut acknowledged) {
            *acknowledged = self.acknowledged(&connection, &lineage, lane)?;
        }
        let [care, audit] = acknowledged;
        let positions = lineage.each().map(|(incarnation, [last_care, last_audit])| Position {
            incarnation: incarnation.id,
            care: Some(care.min(last_care)).filter(|n| *n > incarnation.after(Lane::Care)),
            audit: Some(audit.min(last_audit)).filter(|n| *n > incarnation.after(Lane::Audit)),
        });
        let newest =
            positions.into_iter().find(|position| position.care.is_some() || position.audit.is_some());
        let nothing = Position { incarnation: lineage.current()?.id, care: None, audit: None };
        Ok(newest.unwrap_or(nothing))
    }

    /// The care entries that the server has not taken for good, at most so many: the rejected ones first,
    /// then what waits.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, most: usize) -> Result<Vec<Listed>, OutboxError> {
        let rejected = self.rejected_entries(most)?.into_iter().filter(|entry| entry.lane == Lane::Care);
        let mut listed: Vec<Listed> = rejected
            .map(|entry| Listed {
                name: entry.name,
                made_at: entry.made_at,
                progress: Progress::Rejected(entry.reason),
            })
            .collect();
        let connection = self.lock();
        let lineage = self.lineage(&connection)?;
        let room = i64::try_from(most.saturating_sub(listed.len())).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(
            "SELECT n, made_at FROM entries WHERE lane = 0 AND state = 0 ORDER BY n LIMIT ?",
        )?;
        let mut rows = statement.query([room])?;
        while let Some(row) = rows.next()? {
            let n = unsigned(row.get(0)?);
            listed.push(Listed {
                name: ChangeName { incarnation: lineage.of(Lane::Care, n)?.0.id, n },
                made_at: Timestamp::from_millis(row.get(1)?),
                progress: Progress::Queued,
            });
        }
        Ok(listed)
    }

    /// The last number of a lane that the server has acknowledged.
    pub(super) fn acknowledged(
        &self,
        connection: &Connection,
        lineage: &Lineage,
        lane: Lane,
    ) -> Result<u64, OutboxError> {
        Ok(match first_queued(connection, lane)? {
            Some(first) => first.saturating_sub(1),
            None => self.head_in(connection, lineage, lane)?.0,
        })
    }

    /// What waits is the end of the lane, from the first that waits on, but for what is kept no longer.
    fn queued(&self, connection: &Connection, lineage: &Lineage, lane: Lane) -> Result<u64, OutboxError> {
        let Some(first) = first_queued(connection, lane)? else { return Ok(0) };
        let head = self.head_in(connection, lineage, lane)?.0;
        let mut missing = 0;
        let mut statement = connection.prepare_cached("SELECT n FROM links WHERE lane = ? AND n >= ?")?;
        let mut rows = statement.query(params![schema::number(lane), signed(first)])?;
        while let Some(row) = rows.next()? {
            let n = unsigned(row.get(0)?);
            missing += n - kept_before(connection, lane, n + 1)?;
        }
        Ok((head + 1 - first).saturating_sub(missing))
    }
}

fn laid_over(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<Pending>, OutboxError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
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
                schema::REJECTED => Progress::Rejected(in_words(row, 4)?.1),
                _ => Progress::Acknowledged,
            },
        });
    }
    Ok(pending)
}
