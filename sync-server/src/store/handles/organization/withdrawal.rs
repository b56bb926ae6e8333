//! Withdrawal: what a lost device sent is taken out again, from the latest on: what it charted is struck out and
//! leaves the devices, whom it admitted is discharged and leaves them too. Nothing is deleted, and what others said
//! since about the same stays with what they said it of.

use std::collections::BTreeMap;
use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::ChangeKind;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{DeviceId, IncarnationId, PatientId, RecordId, UserId};
use carepost_protocol::merge::Mark;
use carepost_protocol::record::{Collection, ReviewKind};
use carepost_protocol::role::{Actor, ManagePatients, Permit};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::Settlement;
use serde::Serialize;
use utoipa::ToSchema;

use super::devices::device;
use super::{AuditedWrite, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::clock;
use crate::scope::OrganizationScope;
use crate::store::engine::params;
use crate::store::row::{Stored, row, sql};
use crate::store::rules::chart::{self, stands};
use crate::store::rules::feed_writer::FeedEnd;
use crate::store::rules::review::{self, About};
use crate::store::rules::{archive, idempotency, patient};
use crate::store::{Device, IdempotentRequest};

/// How many changes one commit takes out at most, and how many it looks at.
const PORTION: u64 = 200;
const LOOKED_AT: usize = 1_000;
/// How much of what stays is named.
const NAMED: usize = 100;
/// For how long one request goes on; whoever asks again goes on from there.
const A_WHILE: Duration = Duration::from_secs(20);

/// What of a lost device is, or would be, taken out again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withdrawal {
    /// Entries that it charted.
    pub records: u64,
    /// Residents whom it admitted.
    pub residents: u64,
    /// What was rejected and that somebody would have had to look at: it is discarded.
    pub rejected: u64,
    /// Of entries and residents, those that stay, because others corrected them, charted about them or decided about
    /// them since.
    pub left: u64,
    /// Its edits of residents, which stay.
    pub edits: u64,
    /// Its decisions about reviews, which stay.
    pub decisions: u64,
    /// The PINs that were chosen on it, which stay.
    pub pins: u64,
    /// What stays, of all these: the first of it.
    pub stays: Vec<Stays>,
    /// Whether there may be more to do.
    pub more: bool,
}

/// Something that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stays {
    /// What the device did.
    what: Deed,
    /// The entry, resident, review or user that it did that to.
    id: RecordId,
}

/// What a device did that stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Deed {
    /// Charted an entry.
    Entry,
    /// Admitted a resident.
    Admission,
    /// Edited a resident.
    Edit,
    /// Decided about a review.
    Decision,
    /// Set a user's PIN.
    Pin,
}

impl Withdrawal {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.residents += other.residents;
        self.rejected += other.rejected;
        self.left += other.left;
        self.edits += other.edits;
        self.decisions += other.decisions;
        self.pins += other.pins;
        self.more |= other.more;
        other.stays.iter().for_each(|one| self.name(*one));
    }

    /// As what a deed is counted.
    fn of(&mut self, deed: Deed) -> &mut u64 {
        match deed {
            Deed::Entry => &mut self.records,
            Deed::Admission => &mut self.residents,
            Deed::Edit => &mut self.edits,
            Deed::Decision => &mut self.decisions,
            Deed::Pin => &mut self.pins,
        }
    }

    fn name(&mut self, one: Stays) {
        if self.stays.len() < NAMED {
            self.stays.push(one);
        }
    }

    fn taken_out(&self) -> u64 {
        self.records + self.residents + self.rejected
    }
}

/// A portion, with the device that it is of.
struct Portion {
    device: Device,
    since: Timestamp,
    done: Withdrawal,
    /// Of each resident: how many entries, and how many admissions.
    of: BTreeMap<PatientId, (u64, u64)>,
    on: Option<Place>,
}

/// A place in what a device sent, from the latest on: in which of its incarnations, and before which number.
#[derive(Debug, Clone, Copy)]
struct Place {
    incarnation: usize,
    before: u64,
}

const FROM_THE_LATEST: Place = Place { incarnation: 0, before: u64::MAX };

row! {
    /// A change of the device.
    struct Sent {
        incarnation: IncarnationId = "incarnation_id",
        n: u64,
        kind: Option<String>,
        collection: Option<String>,
        document: Option<RecordId> = "record_id",
        target: Option<RecordId> = "target_id",
        seq: Option<u64> = "coalesce(settled_seq, seq)",
        received: Timestamp = "received_at",
    }
}

/// Each with whether it stands: none of what was rejected and is not settled.
const SENT: &str = sql!(
    "SELECT ",
    Sent::COLUMNS,
    ", ",
    stands!(),
    " FROM changes WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n < ?3
    ORDER BY n DESC LIMIT ?4"
);

impl OrganizationStore {
    /// What would be taken out of what a deactivated device sent since then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Invalid`] for a device that is not deactivated.
    pub async fn withdrawal(&self, id: DeviceId, since: Timestamp) -> Result<Withdrawal> {
        self.read(move |tx| {
            let device = deactivated(tx, id)?;
            tx.within_facility(device.facility_id, |tx| {
                let sql = concat!(
                    "SELECT kind, collection, count(*) FROM changes
                        WHERE device_id = ?1 AND lane = 'care' AND received_at >= ?2 AND ",
                    stands!(),
                    " GROUP BY kind, collection"
                );
                let mut found = Withdrawal::default();
                let key = params![id, since];
                for (kind, collection, sent) in tx.all::<(String, String, u64)>(sql, key)? {
                    *found.of(Deed::of(&kind, &collection)) += sent;
                }
                found.rejected = tx.first::<u64>(REJECTED, key)?.unwrap_or(0);
                Ok(found)
            })
        })
        .await
    }
}

impl AuditedWrite {
    /// Takes out what a deactivated device sent since then: in portions, each a commit of its own with an event of
    /// its own, between which others write. Where that breaks off, or says that there is more, the same again goes
    /// on from there: what is to be done once is done with the last portion. What is expected is looked at with the first.
    ///
    /// # Errors
    /// As [`OrganizationStore::withdrawal`]; [`StoreError::Changed`].
    pub async fn withdraw_device(
        mut self,
        permit: &Permit<ManagePatients>,
        id: DeviceId,
        since: Timestamp,
    ) -> Result<Withdrawal> {
        let actor = *permit.actor();
        let (registry, event) = (self.registry.clone(), self.event.clone());
        let (scope, began) = (registry.scope, registry.store.now());
        let once = (self.idempotent.take(), self.event.user_id);
        let (told, expected) = (event.clone(), self.expected.clone());
        let first = self.write(move |tx| {
            expected.check(&device(tx, id)?)?;
            let mut portion = portion(tx, &actor, id, since, FROM_THE_LATEST)?;
            portion.end(tx, began, once)?;
            portion.tell(tx, scope, &told)?;
            Ok(portion)
        });
        let first = first.await?;
        let (mut done, mut on) = (first.done, first.on);
        while let Some(place) = on.filter(|_| !done.more) {
            let mut event = event.clone();
            let next = registry.write(move |tx| {
                let mut portion = portion(tx, &actor, id, since, place)?;
                portion.end(tx, began, once)?;
                if portion.done.taken_out() > 0 {
                    portion.tell(tx, scope, &event)?;
                    event.id = clock::audit_id(tx.now(), tx.random()?);
                    portion.describe(&mut event);
                    super::append(tx, scope, event)?;
                }
                Ok(portion)
            });
            let next = next.await?;
            done.add(&next.done);
            on = next.on;
        }
        Ok(done)
    }
}

impl Subject for Portion {
    fn describe(&self, event: &mut AuditEvent) {
        self.device.describe(event);
        let Withdrawal { records, residents, rejected, .. } = self.done;
        let counts = [("records", records), ("residents", residents), ("rejected", rejected)];
        event.details.extend(counts.map(|(what, count)| (what.to_owned(), count.into())));
        event.details.insert("since".to_owned(), self.since.to_string().into());
    }
}

impl Portion {
    /// Says whether the request ends with this portion though there is more. Where it ends, it is done.
    fn end(
        &mut self,
        tx: &Tx<'_>,
        began: Timestamp,
        (request, by): (Option<IdempotentRequest>, Option<UserId>),
    ) -> Result<()> {
        self.done.more = self.on.is_some() && tx.now().since(began) >= A_WHILE;
        let is_last = self.on.is_none() || self.done.more;
        idempotency::record(tx, request.filter(|_| is_last), by)
    }

    /// Writes down for each resident what is taken out about them.
    fn tell(&self, tx: &Tx<'_>, scope: OrganizationScope, event: &AuditEvent) -> Result<()> {
        for (patient, (entries, admissions)) in &self.of {
            let mut event = event.clone();
            event.id = clock::audit_id(tx.now(), tx.random()?);
            self.device.describe(&mut event);
            event.patient_id = Some(*patient);
            for (what, count) in [("entries", *entries), ("admissions", *admissions)] {
                event.details.insert(what.to_owned(), count.into());
            }
            event.details.insert("since".to_owned(), self.since.to_string().into());
            super::append(tx, scope, event)?;
        }
        Ok(())
    }
}

fn deactivated(tx: &Tx<'_>, id: DeviceId) -> Result<Device> {
    let device = device(tx, id)?;
    if device.state == DeviceState::Revoked {
        return Ok(device);
    }
    let detail = "deactivate the device first (`carepost-server device deactivate NAME --reason lost`), so that it \
                  sends no more";
    Err(StoreError::Invalid { field: "device_id", detail: detail.to_owned() })
}

impl Deed {
    fn of(kind: &str, collection: &str) -> Self {
        let is_of = |other: Collection| collection == other.name();
        if is_of(Collection::Records) {
            Self::Entry
        } else if is_of(Collection::Users) {
            Self::Pin
        } else if is_of(Collection::Reviews) {
            Self::Decision
        } else if kind == ChangeKind::Create.name() {
            Self::Admission
        } else {
            Self::Edit
        }
    }
}

fn portion(tx: &Tx<'_>, actor: &Actor, id: DeviceId, since: Timestamp, mut place: Place) -> Result<Portion> {
    let device = deactivated(tx, id)?;
    tx.within_facility(device.facility_id, |tx| {
        let reason = format!("Withdrawn: sent from {}, which was deactivated", device.name);
        let mut taking = Taking {
            feed: FeedEnd::open(tx)?,
            actor,
            device: id,
            reason,
            done: Withdrawal::default(),
            of: BTreeMap::new(),
        };
        let sql = "SELECT id FROM incarnations WHERE device_id = ?1 ORDER BY first_seen_at DESC, id DESC";
        let incarnations: Vec<IncarnationId> = tx.all(sql, params![id])?;
        let mut spent = false;
        while let Some(incarnation) = incarnations.get(place.incarnation).copied().filter(|_| !spent) {
            let sent = sent(tx, id, incarnation, place.before)?;
            // What an incarnation sent came in its order: before this there is nothing later.
            if sent.iter().all(|(change, _)| change.received < since) {
                place = Place { incarnation: place.incarnation + 1, before: u64::MAX };
                spent = tx.is_spent();
                continue;
            }
            for (change, stands) in sent {
                place.before = change.n;
                if change.received >= since {
                    taking.take_out(tx, &change, stands)?;
                }
                spent = tx.is_spent() || taking.done.taken_out() >= PORTION;
                if spent {
                    break;
                }
            }
        }
        taking.feed.close(tx)?;
        let Taking { done, of, .. } = taking;
        Ok(Portion { device: device.clone(), since, done, of, on: spent.then_some(place) })
    })
}

fn sent(
    tx: &Tx<'_>,
    device: DeviceId,
    incarnation: IncarnationId,
    before: u64,
) -> Result<Vec<(Sent, Option<bool>)>> {
    tx.all(SENT, params![device, incarnation, before, LOOKED_AT])
}

/// What is needed to take something out.
struct Taking<'a> {
    feed: FeedEnd,
    actor: &'a Actor,
    device: DeviceId,
    reason: String,
    done: Withdrawal,
    of: BTreeMap<PatientId, (u64, u64)>,
}

impl Taking<'_> {
    fn take_out(&mut self, tx: &Tx<'_>, change: &Sent, stands: Option<bool>) -> Result<()> {
        match stands {
            Some(true) => {}
            Some(false) => return Ok(()),
            None => {
                self.done.rejected += 1;
                return self.settle(tx, change);
            }
        }
        let Some(document) = change.document else { return Ok(()) };
        let deed = Deed::of(
            change.kind.as_deref().unwrap_or_default(),
            change.collection.as_deref().unwrap_or_default(),
        );
        let (is_out, may_be) = match deed {
            Deed::Entry => (self.strike(tx, change, document)?, true),
            Deed::Admission => (self.discharge(tx, change, document.into())?, true),
            Deed::Edit | Deed::Decision | Deed::Pin => (false, false),
        };
        if !is_out {
            self.done.name(Stays { what: deed, id: document });
        }
        *if may_be && !is_out { &mut self.done.left } else { self.done.of(deed) } += 1;
        Ok(())
    }

    /// Strikes out an entry, unless somebody corrected it since: that is what counts then.
    fn strike(&mut self, tx: &Tx<'_>, change: &Sent, id: RecordId) -> Result<bool> {
        let key = params![id, self.device, change.seq.unwrap_or(0)];
        let by_device = tx.exists(CORRECTED, key)?;
        if by_device || tx.exists(BY_OFFICE, params![id])? {
            return Ok(false);
        }
        let Some(record) = chart::find(tx, id)? else { return Ok(false) };
        self.settle(tx, change)?;
        let strikes = super::records::strikes(tx, self.actor, record.clone(), self.reason.clone())?;
        archive::withdraw(tx, &mut self.feed, &record, &strikes)?;
        self.of.entry(record.patient_id).or_default().0 += 1;
        self.close_review(tx, ReviewKind::Amendments, Collection::Records, id)?;
        // What it corrected is as it was before.
        match change.target {
            Some(target) if chart::corrections(tx, target, 2)?.len() < 2 => {
                self.close_review(tx, ReviewKind::Amendments, Collection::Records, target)
            }
            Some(_) | None => Ok(()),
        }?;
        Ok(true)
    }

    /// Discharges a resident, unless others know them: charted about them, edited them, or said that they are
    /// another one's person.
    fn discharge(&mut self, tx: &Tx<'_>, change: &Sent, id: PatientId) -> Result<bool> {
        let Some(resident) = patient::find(tx, id)? else { return Ok(false) };
        if tx.first(IS_KNOWN, params![id, self.device, resident.facility_id])? == Some(true) {
            return Ok(false);
        }
        self.settle(tx, change)?;
        patient::withdraw(tx, id)?;
        self.of.entry(id).or_default().1 += 1;
        let (seq, by) = (self.feed.seq().saturating_add(1), Some(self.actor.user));
        patient::mark(tx, &resident, "is_active", &Mark { seq, at: tx.now(), origin: None, by })?;
        self.feed.put(tx, Collection::Patients, id.as_bytes(), None, None)?;
        self.close_review(tx, ReviewKind::Duplicate, Collection::Patients, id.into())?;
        self.close_review(tx, ReviewKind::Conflict, Collection::Patients, id.into())?;
        Ok(true)
    }

    fn close_review(
        &mut self,
        tx: &Tx<'_>,
        kind: ReviewKind,
        collection: Collection,
        record: RecordId,
    ) -> Result<()> {
        review::withdraw(tx, &mut self.feed, About { kind, collection, record }, self.actor.user)
    }

    /// The change stands no more, by an administrator's word. Of a PIN that was rejected the verifier goes.
    fn settle(&self, tx: &Tx<'_>, change: &Sent) -> Result<()> {
        tx.execute(
            "UPDATE changes SET settlement = ?4, settled_at = ?5, settled_by = ?6, settled_reason = ?7,
                payload = CASE WHEN collection = 'users' THEN NULL ELSE payload END
                WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3",
            params![
                self.device,
                change.incarnation,
                change.n,
                Settlement::Discarded,
                tx.now(),
                self.actor.user,
                self.reason,
            ],
        )
        .map(drop)
    }
}

const REJECTED: &str =
    "SELECT count(*) FROM changes WHERE device_id = ?1 AND lane = 'care' AND received_at >= ?2
    AND verdict = 'rejected' AND settlement IS NULL";

/// What corrects a record and is not to be withdrawn: another's correction, or one of the same device that came after
/// it and is there still. In the order of its index, which has nothing that was withdrawn.
const CORRECTED: &str = concat!(
    "SELECT 1 FROM changes WHERE target_id = ?1 AND ",
    stands!(),
    " AND (device_id <> ?2 OR coalesce(settled_seq, seq) > ?3) ORDER BY coalesce(settled_seq, seq) LIMIT 1"
);
const BY_OFFICE: &str = "SELECT 1 FROM office_corrections WHERE target_id = ?1";

/// Whether there is something about a resident that the device did not say.
const IS_KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM documents
        WHERE patient_id = ?1 AND collection = 'records' AND body IS NOT NULL AND seq > 0)
    OR EXISTS (SELECT 1 FROM archive WHERE patient_id = ?1 AND withdrawn = 0)
    OR EXISTS (SELECT 1 FROM marks WHERE facility_id = ?3 AND collection = 'patients' AND record_id = ?1
        AND device_id IS DISTINCT FROM ?2)
    OR EXISTS (SELECT 1 FROM patients WHERE id = ?1 AND replaced_by IS NOT NULL)
    OR EXISTS (SELECT 1 FROM patients p WHERE p.replaced_by = ?1)";

/// What is looked up for each change that is taken out, and the index that it is done by.
#[cfg(test)]
pub(in crate::store) const LOOK_UPS: [(&str, &str); 2] =
    [("changes_correcting", CORRECTED), ("documents_by_patient", IS_KNOWN)];
