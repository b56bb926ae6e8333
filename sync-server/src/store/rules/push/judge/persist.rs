//! Persistence: changes are kept with their verdicts, and rejected ones settled.

use carepost_protocol::change::{Change, ChangeKind, Lane, Verdict};
use carepost_protocol::id::{IncarnationId, RecordId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::Settlement;
use carepost_protocol::wire::push::{Rejection, RejectionCode};

use super::super::{Content, Entry, Result, reject};
use super::{Accepted, Fault, Judge, Judged, Place};
use crate::store::engine::{Tx, params};
use crate::store::row::insert_into;

/// The most changes that are settled because another took their place.
const MOST_SETTLED: usize = 1_000;

/// A rejected change that another takes the place of.
pub(super) struct Older {
    incarnation: IncarnationId,
    n: u64,
}

/// How, why and by whom a rejected change is settled.
pub(super) struct Settling<'a> {
    pub(super) how: Settlement,
    pub(super) seq: Option<u64>,
    pub(super) by: Option<UserId>,
    pub(super) reason: Option<&'a str>,
}

impl Judge {
    pub(super) fn keep_row(
        &self,
        tx: &Tx<'_>,
        n: u64,
        entry: &Entry,
        verdict: Verdict,
        reason: Option<&Rejection>,
        stands: Option<&Accepted>,
    ) -> Result<()> {
        let change = match &entry.content {
            Content::Care(change) => Some(&**change),
            Content::Audit(_) | Content::Unreadable(_) => None,
        };
        let record = stands
            .map(|stands| stands.record)
            .or_else(|| change.and_then(|change| change.document(self.place.incarnation, n)));
        // The exact bytes, of audit events too: they prove the columns of the audit log, and keep what
        // a newer agent said that this server does not understand.
        let payload = entry.payload.as_deref().filter(|_| !is_kept_elsewhere(change, stands));
        insert_into!(tx, "changes" {
            device_id: self.place.device,
            incarnation_id: self.place.incarnation,
            lane: self.place.lane.name(),
            n: n,
            assignment_id: change.map(|change| change.assignment),
            payload: payload,
            payload_sha256: entry.hash,
            link: entry.link,
            verdict: verdict.name(),
            reason: reason,
            seq: stands.map(|stands| stands.seq),
            collection: change.map(|change| change.collection.name()),
            record_id: record,
            patient_id: patient_of(change, stands, record),
            actor_id: change.map(|change| change.actor),
            session_id: change.map(|change| change.session),
            kind: change.map(|change| change.kind.name()),
            recorded_at: change.map(|change| change.recorded_at),
            clock_quality: change.map(|change| change.clock_quality),
            received_at: self.received,
            schema_version: change.and_then(|change| change.schema_version),
            workflow: change.and_then(|change| change.workflow.as_deref()),
            base_seq: change.and_then(|change| self.seen(change)),
            supersedes: change.and_then(|change| change.supersedes),
            review: stands.and_then(|stands| stands.flags.names()),
            target_id: change.and_then(target_of),
        })
        .map(drop)
    }

    /// Writes what is known of a rejected change now: what the server could not read before, it may
    /// understand since.
    pub(super) fn reread(
        &self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
        stands: Option<&Accepted>,
    ) -> Result<()> {
        let record =
            stands.map(|stands| stands.record).or_else(|| change.document(self.place.incarnation, n));
        tx.execute(
            "UPDATE changes SET assignment_id = ?5, collection = ?6, record_id = ?7, patient_id = ?8,
                actor_id = ?9, session_id = ?10, kind = ?11, recorded_at = ?12, clock_quality = ?13,
                schema_version = ?14, workflow = ?15, base_seq = ?16, supersedes = ?17, review = ?18,
                target_id = ?19
                WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4",
            params![
                self.place.device,
                self.place.incarnation,
                self.place.lane.name(),
                n,
                change.assignment,
                change.collection.name(),
                record,
                patient_of(Some(change), stands, record),
                change.actor,
                change.session,
                change.kind.name(),
                change.recorded_at,
                change.clock_quality,
                change.schema_version,
                change.workflow,
                self.seen(change),
                change.supersedes,
                stands.and_then(|stands| stands.flags.names()),
                target_of(change),
            ],
        )
        .map(drop)
    }

    /// The rejected change that `n` takes the place of, when it may.
    pub(super) fn superseded(&mut self, tx: &Tx<'_>, n: u64, older: u64, change: &Change) -> Judged<Older> {
        let rejected = |detail: &str| Fault::from(reject(RejectionCode::NotSuperseding, detail));
        let made_by = self.incarnation_of(tx, older)?.filter(|_| older < n);
        let no_such = "it takes the place of a change that this device never made; chart it anew";
        let incarnation = made_by.ok_or_else(|| rejected(no_such))?;
        let sql = "SELECT actor_id, record_id FROM changes WHERE device_id = ?1 AND incarnation_id = ?2
            AND lane = 'care' AND n = ?3 AND verdict = 'rejected' AND settlement IS NULL";
        let key = params![self.place.device, incarnation, older];
        let found = tx.first::<(Option<_>, Option<_>)>(sql, key)?;
        let settled = "what it takes the place of was not rejected, or is settled already; chart it anew";
        let (actor, record): (Option<UserId>, Option<RecordId>) = found.ok_or_else(|| rejected(settled))?;
        if actor.is_some_and(|actor| actor != change.actor) {
            return Err(rejected(
                "somebody else made what it takes the place of; whoever did has to correct it",
            ));
        }
        if change.kind == ChangeKind::Create && !takes_the_place(change.record, record, incarnation, older) {
            return Err(rejected("it does not carry the id of what it takes the place of; chart it anew"));
        }
        Ok(Older { incarnation, n: older })
    }

    /// Settles what a change took the place of, and what that one had taken the place of.
    pub(super) fn settle_superseded(
        &mut self,
        tx: &Tx<'_>,
        older: Older,
        actor: UserId,
        seq: u64,
    ) -> Result<()> {
        let settling =
            Settling { how: Settlement::Superseded, seq: Some(seq), by: Some(actor), reason: None };
        self.settle(tx, older.incarnation, older.n, &settling)
    }

    /// Settles a rejected change, and the rejected ones whose place it had taken, up to [`MOST_SETTLED`]: an
    /// honest device makes a handful of tries. It ends at one that is settled already, because all before
    /// it are.
    pub(super) fn settle(
        &mut self,
        tx: &Tx<'_>,
        incarnation: IncarnationId,
        n: u64,
        settling: &Settling<'_>,
    ) -> Result<()> {
        let (mut incarnation, mut n, mut how) = (incarnation, n, settling.how);
        for _ in 0..MOST_SETTLED {
            let place = Place { incarnation, lane: Lane::Care, ..self.place };
            if !settle_one(tx, place, n, how, settling)? {
                return Ok(());
            }
            let sql = "SELECT supersedes FROM changes WHERE device_id = ?1 AND incarnation_id = ?2
                AND lane = 'care' AND n = ?3 AND supersedes IS NOT NULL";
            let key = params![self.place.device, incarnation, n];
            let Some(older) = tx.first::<u64>(sql, key)?.filter(|older| *older < n) else {
                return Ok(());
            };
            let Some(made_by) = self.incarnation_of(tx, older)? else { return Ok(()) };
            (incarnation, n) = (made_by, older);
            if how == Settlement::Applied {
                how = Settlement::Superseded;
            }
        }
        Ok(())
    }

    /// The incarnation that made a number of this chain.
    fn incarnation_of(&mut self, tx: &Tx<'_>, n: u64) -> Result<Option<IncarnationId>> {
        let incarnations = self.incarnations(tx)?;
        Ok(incarnations.iter().rev().find(|(_, last)| n <= *last).map(|(incarnation, _)| *incarnation))
    }

    /// The incarnations that make up this chain, latest first, each with its last number.
    pub(super) fn incarnations(&mut self, tx: &Tx<'_>) -> Result<&[(IncarnationId, u64)]> {
        if self.incarnations.is_none() {
            let mut incarnations = vec![(self.place.incarnation, u64::MAX)];
            let sql = "SELECT parent_id, fork_care FROM incarnations
                WHERE device_id = ?1 AND id = ?2 AND parent_id IS NOT NULL AND fork_care IS NOT NULL";
            while let Some((child, last)) = incarnations.last().copied() {
                let key = params![self.place.device, child];
                let parent = tx.first::<(Option<_>, u64)>(sql, key)?;
                match parent {
                    Some((Some(parent), fork))
                        if !incarnations.iter().any(|(incarnation, _)| *incarnation == parent) =>
                    {
                        incarnations.push((parent, last.min(fork)));
                    }
                    Some(_) | None => break,
                }
            }
            self.incarnations = Some(incarnations);
        }
        Ok(self.incarnations.as_deref().unwrap_or_default())
    }
}

/// Says whether it was rejected and not settled yet. What is settled is judged no more: a verifier goes, as that
/// of a PIN that stood at once ([`is_kept_elsewhere`]).
fn settle_one(tx: &Tx<'_>, place: Place, n: u64, how: Settlement, settling: &Settling<'_>) -> Result<bool> {
    let written = tx.execute(
        "UPDATE changes SET settlement = ?4, settled_seq = ?5, settled_at = ?6, settled_by = ?7,
            settled_reason = ?8, payload = CASE WHEN collection = 'users' THEN NULL ELSE payload END
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = 'care' AND n = ?3
                AND verdict = 'rejected' AND settlement IS NULL",
        params![
            place.device,
            place.incarnation,
            n,
            how,
            settling.seq,
            tx.now(),
            settling.by,
            settling.reason,
        ],
    )?;
    Ok(written > 0)
}

/// A verifier that stands is the user's; here it would outlive the PIN.
fn is_kept_elsewhere(change: Option<&Change>, stands: Option<&Accepted>) -> bool {
    stands.is_some() && change.is_some_and(|change| change.collection == Collection::Users)
}

/// A create that takes the place of another goes on under its id. Of a change that the server could not
/// read it knows the part of the id that does not depend on the time.
fn takes_the_place(
    given: Option<RecordId>,
    rejected: Option<RecordId>,
    incarnation: IncarnationId,
    n: u64,
) -> bool {
    let Some(given) = given else { return false };
    match rejected {
        Some(rejected) => given == rejected,
        None => {
            let made = RecordId::of_create(incarnation, n, Timestamp::EPOCH);
            given.as_bytes().iter().skip(6).eq(made.as_bytes().iter().skip(6))
        }
    }
}

fn patient_of(
    change: Option<&Change>,
    stands: Option<&Accepted>,
    record: Option<RecordId>,
) -> Option<[u8; 16]> {
    let stated = stands.and_then(|stands| stands.patient).or(change.and_then(|change| change.patient));
    let is_patient = change.is_some_and(|change| change.collection == Collection::Patients);
    let patient = stated.or(if is_patient { record.map(Into::into) } else { None });
    patient.map(|id| *id.as_bytes())
}

/// The record that a correction stands beside.
fn target_of(change: &Change) -> Option<[u8; 16]> {
    let target = if change.kind == ChangeKind::Amend { change.record } else { None };
    target.map(|id| *id.as_bytes())
}
