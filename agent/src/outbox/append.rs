//! The append: a change and its audit events, chained and signed. When it returns, they are durable.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::{Change, Lane, Link, PayloadHash};
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Act, Action, Permit};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::MAX_CHANGE_BYTES;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params};
use serde::Serialize;

use super::drafts::drop_saved;
use super::fork::{present_id, rename_others};
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// The longest form token, in bytes.
const MAX_TOKEN_BYTES: usize = 64;

/// A change to be saved.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub change: &'a Change,
    /// Names the opened form it comes from, drawn at random by the page that shows the form: a second
    /// press, or a repeat after an unclear error, does not save it twice.
    pub token: &'a str,
}

/// A saved change: it is durable on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// The record it makes or changes.
    pub record: RecordId,
    pub n: u64,
}

struct Fresh<'a> {
    lane: Lane,
    payload: &'a [u8],
    made_at: Timestamp,
    patient: Option<&'a [u8; 16]>,
    record: Option<RecordId>,
    collection: Option<Collection>,
    form: Option<&'a str>,
}

impl Outbox {
    /// Saves a change together with its audit events, in one durable transaction, and discards the
    /// draft it was made from. The same form again answers what was saved the first time, and writes
    /// only the audit events: that somebody pressed again did happen. `audit` is asked for those events
    /// once the record has its id.
    ///
    /// Records need a permit to chart, residents and reviews one to manage residents, the own PIN one to choose
    /// it; nothing else is made on a device.
    ///
    /// A change that supersedes a rejected one of its own actor settles it; where that one would have made
    /// a record, this one makes it under the same id.
    ///
    /// # Errors
    /// [`OutboxError::NotRejected`] and [`OutboxError::NotItsActor`]: see there. [`OutboxError::Full`] when the disk is: nothing was saved. [`OutboxError::TooLarge`],
    /// [`OutboxError::NotPermitted`], [`OutboxError::SavedDifferently`]: see there. After
    /// [`OutboxError::Sqlite`] the change may be durable or not: append the same form again.
    pub fn append<A: Act>(
        &self,
        permit: &Permit<A>,
        entry: Entry<'_>,
        audit: impl FnOnce(RecordId) -> Vec<AuditEvent>,
    ) -> Result<Saved, OutboxError> {
        self.permitted(permit)?;
        let Entry { change, token } = entry;
        let actor = permit.actor();
        let its_own = change.actor == actor.user && change.session == actor.session;
        if !its_own
            || change.assignment != self.binding.assignment
            || needs(change.collection) != Some(A::ACTION)
        {
            return Err(OutboxError::NotPermitted);
        }
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(OutboxError::NotAToken);
        }
        let mut connection = self.lock_to_save()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // The page may have been opened before the record it names was made anew.
        let mut change = change.clone();
        if let Some(record) = &mut change.record {
            *record = RecordId::from_bytes(present_id(&transaction, *record.as_bytes())?);
        }
        if let Some(patient) = &mut change.patient {
            *patient = PatientId::from_bytes(present_id(&transaction, *patient.as_bytes())?);
        }
        rename_others(&transaction, &mut change.confirmed)?;
        let change = &change;
        let saved = match saved_before(&transaction, token, change)? {
            Some(saved) => saved,
            None => match change.supersedes {
                None => self.link_change(&transaction, change, Some(token))?,
                Some(_) => self.supersede(&transaction, change, Some(token))?,
            },
        };
        self.link_audit(&transaction, &audit(saved.record))?;
        drop_saved(&transaction, change)?;
        transaction.commit()?;
        Ok(saved)
    }

    /// Writes audit events, in one durable transaction.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_audit(&self, events: &[AuditEvent]) -> Result<(), OutboxError> {
        let mut connection = self.lock_to_save()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.link_audit(&transaction, events)?;
        transaction.commit()?;
        Ok(())
    }

    /// Writes that many bytes and takes them back: whether an entry that was refused would fit now. Small
    /// audit events fit long before a long entry does.
    ///
    /// # Errors
    /// [`OutboxError::Full`] when it would not.
    pub fn try_room(&self, bytes: usize) -> Result<(), OutboxError> {
        let connection = self.lock_to_save()?;
        // Nobody's draft: no user and no patient has this id.
        connection.execute(
            "INSERT OR REPLACE INTO drafts (user, patient, workflow, body, kept_at)
             VALUES (zeroblob(16), zeroblob(16), '', zeroblob(?), 0)",
            [signed(bytes as u64)],
        )?;
        connection.execute("DELETE FROM drafts WHERE user = zeroblob(16)", [])?;
        Ok(())
    }

    pub(super) fn link_change(
        &self,
        connection: &Connection,
        change: &Change,
        token: Option<&str>,
    ) -> Result<Saved, OutboxError> {
        let payload = payload(change)?;
        let lineage = self.lineage(connection)?;
        let head = self.head_in(connection, &lineage, Lane::Care)?;
        let n = head.0 + 1;
        let record = change.document(lineage.current()?.id, n);
        let record =
            record.ok_or(OutboxError::NotUnderstood("a change of a record that it does not name"))?;
        self.link(
            connection,
            head,
            &Fresh {
                lane: Lane::Care,
                payload: &payload,
                made_at: change.recorded_at,
                patient: change.patient.as_ref().map(|patient| patient.as_bytes()),
                record: Some(record),
                collection: Some(change.collection).filter(|it| *it != Collection::Records),
                form: token,
            },
        )?;
        Ok(Saved { record, n })
    }

    pub(super) fn link_audit(
        &self,
        connection: &Connection,
        events: &[AuditEvent],
    ) -> Result<(), OutboxError> {
        let mut head = self.head_in(connection, &self.lineage(connection)?, Lane::Audit)?;
        for event in events {
            let payload = payload(event)?;
            head = self.link(
                connection,
                head,
                &Fresh {
                    lane: Lane::Audit,
                    payload: &payload,
                    made_at: event.timestamp,
                    patient: None,
                    record: None,
                    collection: None,
                    form: None,
                },
            )?;
        }
        Ok(())
    }

    /// Links an entry to its lane's last one; it is the last then.
    fn link(
        &self,
        connection: &Connection,
        (last, previous): (u64, Link),
        entry: &Fresh<'_>,
    ) -> Result<(u64, Link), OutboxError> {
        let n = last + 1;
        let hash = PayloadHash::of(entry.payload);
        let link = previous.next(n, &hash);
        let signature = self.device_key.sign(link.as_bytes())?;
        connection
            .prepare_cached(
                "INSERT INTO entries
                     (lane, n, payload, hash, link, signature, state, made_at, patient, record, collection, form)
                 VALUES
                     (:lane, :n, :payload, :hash, :link, :signature, :state, :made_at, :patient, :record, :collection,
                      :form)",
            )?
            .execute(named_params! {
                ":lane": schema::number(entry.lane),
                ":n": signed(n),
                ":payload": entry.payload,
                ":hash": hash.as_bytes(),
                ":link": link.as_bytes(),
                ":signature": signature.as_slice(),
                ":state": schema::QUEUED,
                ":made_at": entry.made_at.as_millis(),
                ":patient": entry.patient,
                ":record": entry.record.as_ref().map(|record| record.as_bytes()),
                ":collection": entry.collection.map(Collection::name),
                ":form": entry.form,
            })?;
        Ok((n, link))
    }
}

/// What somebody must be permitted to make a change of that collection on a device.
const fn needs(collection: Collection) -> Option<Action> {
    match collection {
        Collection::Records => Some(Action::Chart),
        Collection::Patients | Collection::Reviews => Some(Action::ManagePatients),
        Collection::Users => Some(Action::ChoosePin),
        Collection::Facilities | Collection::Badges | Collection::Workflows => None,
    }
}

fn payload(document: &impl Serialize) -> Result<Vec<u8>, OutboxError> {
    let payload = serde_json::to_vec(document).map_err(|_| OutboxError::NotUnderstood("a new entry"))?;
    if payload.len() > MAX_CHANGE_BYTES {
        return Err(OutboxError::TooLarge { bytes: payload.len() });
    }
    Ok(payload)
}

fn saved_before(connection: &Connection, token: &str, change: &Change) -> Result<Option<Saved>, OutboxError> {
    let row = connection
        .prepare_cached("SELECT n, record, payload FROM entries WHERE form = ?")?
        .query_row([token], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((n, record, payload)): Option<(i64, [u8; 16], Vec<u8>)> = row else {
        return Ok(None);
    };
    let record = RecordId::from_bytes(record);
    let before: Change =
        serde_json::from_slice(&payload).map_err(|_| OutboxError::NotUnderstood("a saved change"))?;
    // The second press comes later, so the times differ; what was answered, about whom and by whom
    // must not.
    let mut repeat =
        Change { recorded_at: before.recorded_at, clock_quality: before.clock_quality, ..change.clone() };
    if change.supersedes.is_some() && change.record.is_none() {
        // It got the rejected one's.
        repeat.record = before.record;
    }
    if repeat == before {
        Ok(Some(Saved { record, n: unsigned(n) }))
    } else {
        Err(OutboxError::SavedDifferently { record })
    }
}
