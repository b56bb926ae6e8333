//! Forks: where the server has another history under the same numbers, a new incarnation of the outbox begins where
//! they part. What the server does not have is made anew in it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use carepost_protocol::change::{Change, ChangeKind, Lane, Link, PayloadHash};
use carepost_protocol::id::{IncarnationId, PatientId, RecordId};
use carepost_protocol::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params, params};
use serde_json::value::{RawValue, to_raw_value};

use super::batch::first_queued;
use super::lineage::Lineage;
use super::resync::queue_again;
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// How many entries are read before they are written anew.
const SLICE: usize = 256;

/// Up to where the server has the same history, in the lanes where it has another after that. 0 means that
/// not even the link before the batch is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diverged {
    /// In the care lane.
    pub care: Option<u64>,
    /// In the audit lane.
    pub audit: Option<u64>,
}

impl Diverged {
    const fn of(self, lane: Lane) -> Option<u64> {
        match lane {
            Lane::Care => self.care,
            Lane::Audit => self.audit,
        }
    }
}

/// What was done about another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// Older entries are queued again, so that the server can say where the histories part.
    Asking,
    /// The outbox goes on under this incarnation.
    Anew {
        incarnation: IncarnationId,
        /// How many entries were made anew.
        entries: u64,
    },
}

/// Where the new incarnation begins.
struct Start {
    /// The incarnation that it forks from; none when nothing that is kept is shared.
    parent: Option<IncarnationId>,
    follows: IncarnationId,
    /// The last shared numbers, care first.
    after: [u64; 2],
}

impl Outbox {
    /// Forks, in one durable transaction: numbers and form tokens stay, ids of records that are made anew
    /// change wherever they are named in what is queued and in drafts, links and signatures are new. A lane
    /// that is not named forks after its last acknowledged entry: the caller knows that the server has
    /// nothing of it beyond that.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is changed then.
    pub fn fork(&self, shared: Diverged, now: Timestamp) -> Result<Forked, OutboxError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|_| OutboxError::Random)?;
        let mut connection = self.lock_without_limit()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self.ask_from_the_oldest(&transaction, shared)? {
            transaction.commit()?;
            return Ok(Forked::Asking);
        }
        let incarnation = IncarnationId::new(now, random);
        let start = self.start(&transaction, shared)?;
        self.enter(&transaction, incarnation, &start, now)?;
        let lineage = self.lineage(&transaction)?;
        let mut entries = 0;
        for (lane, after) in Lane::ALL.into_iter().zip(start.after) {
            entries += self.make_anew(&transaction, &lineage, lane, after)?;
        }
        transaction.execute(
            "UPDATE OR REPLACE drafts SET patient = (SELECT new FROM moved WHERE old = patient)
             WHERE patient IN (SELECT old FROM moved)",
            [],
        )?;
        transaction.commit()?;
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner) = incarnation;
        Ok(Forked::Anew { incarnation, entries })
    }

    /// Where not even the link before the batch is shared: queues everything again that is kept, so that
    /// the next answer says where the histories part. False when that was done already.
    fn ask_from_the_oldest(
        &self,
        transaction: &Transaction<'_>,
        shared: Diverged,
    ) -> Result<bool, OutboxError> {
        let mut asks = false;
        for lane in Lane::ALL.into_iter().filter(|lane| shared.of(*lane) == Some(0)) {
            let first = first_queued(transaction, lane)?;
            let from = self.first_to_resend(transaction, lane, 1)?;
            if let (Some(from), Some(first)) = (from, first)
                && from < first
            {
                queue_again(transaction, lane, from)?;
                asks = true;
            }
        }
        Ok(asks)
    }

    fn start(&self, transaction: &Transaction<'_>, shared: Diverged) -> Result<Start, OutboxError> {
        let lineage = self.lineage(transaction)?;
        let mut refused = Vec::new();
        let mut lost = [None; 2];
        for (lane, lost) in Lane::ALL.into_iter().zip(&mut lost) {
            let Some(shared) = shared.of(lane) else { continue };
            let first = first_queued(transaction, lane)?;
            let first = first.ok_or(OutboxError::NotUnderstood("where the histories part"))?;
            refused.push(lineage.of(lane, first)?.0.id);
            let oldest = self.first_to_resend(transaction, lane, 1)?.unwrap_or(first);
            *lost = (shared == 0 && oldest > 1).then_some(oldest - 1);
        }
        let orphaned = lost.iter().any(Option::is_some);
        // Where the lanes part in different incarnations, the earlier one is the parent.
        let parent = lineage.each().filter(|(incarnation, _)| refused.contains(&incarnation.id)).last();
        let (parent, last) = parent.ok_or(OutboxError::NotUnderstood("the incarnation of an entry"))?;
        let mut after = [0; 2];
        for (((lane, after), lost), last) in Lane::ALL.into_iter().zip(&mut after).zip(lost).zip(last) {
            let shared = match shared.of(lane) {
                Some(shared) => shared,
                None => self.acknowledged(transaction, &lineage, lane)?,
            };
            *after = match lost {
                Some(lost) => lost,
                None if orphaned => shared,
                None => shared.min(last).max(parent.after(lane)),
            };
        }
        let (id, current) = (parent.id, lineage.current()?.id);
        Ok(Start { parent: (!orphaned).then_some(id), follows: if orphaned { current } else { id }, after })
    }

    /// Writes the new incarnation down.
    fn enter(
        &self,
        transaction: &Transaction<'_>,
        incarnation: IncarnationId,
        start: &Start,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let [care, audit] = start.after.map(signed);
        let forked = start.parent.is_some();
        transaction.execute("UPDATE incarnations SET is_current = 0 WHERE is_current", [])?;
        transaction.execute(
            "INSERT INTO incarnations (id, device, organization, facility, assignment, began_at, is_current,
                 parent, fork_care, fork_audit, follows, after_care, after_audit)
             VALUES (:id, :device, :organization, :facility, :assignment, :now, 1,
                 :parent, :fork_care, :fork_audit, :follows, :care, :audit)",
            named_params! {
                ":id": incarnation.as_bytes(),
                ":device": self.binding.device.as_bytes(),
                ":organization": self.binding.organization.as_bytes(),
                ":facility": self.binding.facility.as_bytes(),
                ":assignment": self.binding.assignment.as_bytes(),
                ":now": now.as_millis(),
                ":parent": start.parent.as_ref().map(|parent| parent.as_bytes()),
                ":fork_care": forked.then_some(care),
                ":fork_audit": forked.then_some(audit),
                ":follows": start.follows.as_bytes(),
                ":care": care,
                ":audit": audit,
            },
        )?;
        Ok(())
    }

    /// Makes a lane's entries after that number anew, under the current incarnation: how many.
    fn make_anew(
        &self,
        connection: &Connection,
        lineage: &Lineage,
        lane: Lane,
        after: u64,
    ) -> Result<u64, OutboxError> {
        let (number, incarnation) = (schema::number(lane), lineage.current()?);
        connection.execute("DELETE FROM links WHERE lane = ? AND n > ?", params![number, signed(after)])?;
        connection.execute(
            "UPDATE lanes SET durable = min(durable, ?), expects = NULL WHERE lane = ?",
            params![signed(after), number],
        )?;
        let link = lineage.link_of(connection, incarnation, lane, after)?;
        let mut link = link.ok_or(OutboxError::NotUnderstood("the link where the histories part"))?;
        let (mut last, mut count) = (after, 0);
        loop {
            let slice = read_slice(connection, lane, last)?;
            for (n, payload) in &slice {
                if *n != last + 1 {
                    connection
                        .prepare_cached("INSERT OR REPLACE INTO links (lane, n, link) VALUES (?, ?, ?)")?
                        .execute(params![number, signed(n - 1), link.as_bytes()])?;
                }
                link = self.write_anew(connection, (lane, incarnation.id), *n, payload, &link)?;
                last = *n;
                count += 1;
            }
            if slice.len() < SLICE {
                return Ok(count);
            }
        }
    }

    fn write_anew(
        &self,
        connection: &Connection,
        (lane, incarnation): (Lane, IncarnationId),
        n: u64,
        payload: &[u8],
        previous: &Link,
    ) -> Result<Link, OutboxError> {
        let payload = renamed(connection, payload)?;
        let (mut record, mut patient) = (None, None);
        if lane == Lane::Care {
            let change: Change = serde_json::from_slice(&payload)
                .map_err(|_| OutboxError::NotUnderstood("a change to be made anew"))?;
            patient = change.patient;
            record = change.document(incarnation, n);
            if makes_its_id(&change)
                && let Some(record) = &record
            {
                note_move(connection, n, record)?;
            }
        }
        let hash = PayloadHash::of(&payload);
        let link = previous.next(n, &hash);
        let signature = self.device_key.sign(link.as_bytes())?;
        connection
            .prepare_cached(
                "UPDATE entries
                 SET payload = :payload, hash = :hash, link = :link, signature = :signature, state = 0,
                     settled_at = NULL, seq = NULL, reason = NULL, patient = :patient, record = :record
                 WHERE lane = :lane AND n = :n",
            )?
            .execute(named_params! {
                ":payload": payload,
                ":hash": hash.as_bytes(),
                ":link": link.as_bytes(),
                ":signature": signature.as_slice(),
                ":patient": patient.as_ref().map(|patient| patient.as_bytes()),
                ":record": record.as_ref().map(|record| record.as_bytes()),
                ":lane": schema::number(lane),
                ":n": signed(n),
            })?;
        Ok(link)
    }
}

/// Whether the change's document gets its id from the change.
const fn makes_its_id(change: &Change) -> bool {
    match change.kind {
        ChangeKind::Create => change.supersedes.is_none(),
        ChangeKind::Amend => true,
        ChangeKind::Patch | ChangeKind::Delete => false,
    }
}

fn read_slice(connection: &Connection, lane: Lane, after: u64) -> Result<Vec<(u64, Vec<u8>)>, OutboxError> {
    let mut statement = connection
        .prepare_cached("SELECT n, payload FROM entries WHERE lane = ? AND n > ? ORDER BY n LIMIT ?")?;
    let most = i64::try_from(SLICE).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![schema::number(lane), signed(after), most], |row| {
        Ok((unsigned(row.get(0)?), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn note_move(connection: &Connection, n: u64, new: &RecordId) -> Result<(), OutboxError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO moved (old, new) SELECT record, :new FROM entries
             WHERE lane = 0 AND n = :n AND record IS NOT NULL AND record <> :new",
        )?
        .execute(named_params! { ":new": new.as_bytes(), ":n": signed(n) })?;
    Ok(())
}

/// The present id of a record, which may have been made anew since somebody learned of it.
pub(super) fn present_id(connection: &Connection, id: [u8; 16]) -> Result<[u8; 16], OutboxError> {
    let mut statement = connection.prepare_cached("SELECT new FROM moved WHERE old = ?")?;
    let mut present = id;
    // An id moves on with each fork, and never back.
    while let Some(new) = statement.query_row([present], |row| row.get(0)).optional()? {
        present = new;
    }
    Ok(present)
}

/// Has what was confirmed name the present ids of those whom somebody was said not to be.
pub(super) fn rename_others(connection: &Connection, confirmed: &mut [String]) -> Result<(), OutboxError> {
    for said in confirmed {
        if let Some(id) = Change::another_than(said) {
            *said = Change::another(PatientId::from_bytes(present_id(connection, *id.as_bytes())?));
        }
    }
    Ok(())
}

/// The members of changes and audit events that are the id of a record.
const NAMES: [&str; 4] = ["record", "patient", "resource_id", "patient_id"];

/// A payload that names the present ids of records; every byte of the rest stays as it is.
fn renamed(connection: &Connection, payload: &[u8]) -> Result<Vec<u8>, OutboxError> {
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_slice(payload)
        .map_err(|_| OutboxError::NotUnderstood("an entry to be made anew"))?;
    let not_an_id = |_| OutboxError::NotUnderstood("an id");
    let mut moved: Vec<(&str, Box<RawValue>)> = Vec::new();
    let said = members.get("confirmed").and_then(|raw| serde_json::from_str(raw.get()).ok());
    let said: Vec<String> = said.unwrap_or_default();
    let mut others = said.clone();
    rename_others(connection, &mut others)?;
    if others != said {
        moved.push(("confirmed", to_raw_value(&others).map_err(not_an_id)?));
    }
    for name in NAMES {
        let Some(id) = members.get(name).and_then(|raw| raw.get().trim_matches('"').parse().ok()) else {
            continue;
        };
        let id: RecordId = id;
        let present = RecordId::from_bytes(present_id(connection, *id.as_bytes())?);
        if present != id {
            let raw = RawValue::from_string(format!("\"{present}\""));
            moved.push((name, raw.map_err(not_an_id)?));
        }
    }
    if moved.is_empty() {
        return Ok(payload.to_vec());
    }
    for (name, raw) in &moved {
        members.insert(name, raw);
    }
    serde_json::to_vec(&members).map_err(|_| OutboxError::NotUnderstood("an entry to be made anew"))
}
