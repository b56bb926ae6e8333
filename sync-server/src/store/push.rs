//! Takes what devices push: checks the chain, judges each change, keeps all of it.

use std::collections::HashMap;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::{Change, ChangeKind, Lane, Link, PayloadHash, Verdict};
use carepost_protocol::id::{AssignmentId, BootId, DeviceId, IncarnationId, PatientId, RecordId, UserId};
use carepost_protocol::record::{Collection, RecordDocument};
use carepost_protocol::role::Role;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::push::{
    Fork, MAX_CHANGE_BYTES, MAX_CHANGES, PushBatch, PushReceipt, Rejection, RejectionCode, append,
};
use carepost_protocol::workflow::Workflow;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rusqlite::params;

use super::column::{
    count, count_at, json, json_at, json_or_none_at, time_at, time_or_none_at, word, word_at,
};
use super::engine::Tx;
use super::publish::FeedEnd;
use super::{DeviceIdentity, StoreError, audit};

type Result<T> = std::result::Result<T, StoreError>;

/// A batch whose own arithmetic and signature hold.
pub(super) struct Batch {
    device: DeviceId,
    key: Vec<u8>,
    boot: Option<BootId>,
    lane: Lane,
    incarnation: IncarnationId,
    parent: Option<Fork>,
    first_n: u64,
    previous: Link,
    signature: [u8; 64],
    entries: Vec<Entry>,
}

struct Entry {
    payload: Box<[u8]>,
    hash: PayloadHash,
    link: Link,
    content: Content,
}

/// What a payload says, or why it says nothing.
enum Content {
    Care(Box<Change>),
    Audit(Box<AuditEvent>),
    Unreadable(Rejection),
}

impl Batch {
    /// Recomputes the links, and checks that the device signed the last.
    pub(super) fn check(
        device: &DeviceIdentity,
        boot: Option<BootId>,
        batch: &PushBatch<'_>,
    ) -> Result<Self> {
        let invalid = |field, detail: &str| StoreError::Invalid { field, detail: detail.to_owned() };
        if batch.changes.len() > MAX_CHANGES {
            return Err(invalid("changes", "send at most 1000 changes at once"));
        }
        if batch.first_n == 0 || batch.first_n > u64::MAX / 4 {
            return Err(invalid("first_n", "changes are counted from 1"));
        }
        let mut link = batch.previous;
        let mut entries = Vec::with_capacity(batch.changes.len());
        for (n, payload) in (batch.first_n..).zip(&batch.changes) {
            let payload = payload.get();
            let hash = PayloadHash::of(payload.as_bytes());
            link = link.next(n, &hash);
            let content = read(batch.lane, payload);
            entries.push(Entry { payload: payload.as_bytes().into(), hash, link, content });
        }
        if link != batch.head {
            return Err(invalid(
                "head",
                "the head is not the link of the last change sent; send the batch again",
            ));
        }
        let signature = signature_of(&batch.signature).ok_or(StoreError::BadSignature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &device.public_key)
            .verify(batch.head.as_bytes(), &signature)
            .map_err(|_| StoreError::BadSignature)?;
        Ok(Self {
            device: device.device,
            key: device.public_key.clone(),
            boot,
            lane: batch.lane,
            incarnation: batch.incarnation,
            parent: batch.parent,
            first_n: batch.first_n,
            previous: batch.previous,
            signature,
            entries,
        })
    }
}

fn signature_of(text: &str) -> Option<[u8; 64]> {
    let mut signature = [0; 64];
    if text.len() != 128 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in signature.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(signature)
}

fn read(lane: Lane, payload: &str) -> Content {
    if payload.len() > MAX_CHANGE_BYTES {
        return Content::Unreadable(reject(RejectionCode::Malformed, "the entry is larger than any may be"));
    }
    let content = match lane {
        Lane::Care => serde_json::from_str(payload).map(|change| Content::Care(Box::new(change))),
        Lane::Audit => serde_json::from_str(payload).map(|event| Content::Audit(Box::new(event))),
    };
    content.unwrap_or_else(|error| {
        Content::Unreadable(reject(
            RejectionCode::Malformed,
            format!(
                "the server cannot read this entry ({error}); export it, and update the server or device"
            ),
        ))
    })
}

fn reject(code: RejectionCode, detail: impl Into<String>) -> Rejection {
    Rejection { code, detail: detail.into(), errors: Vec::new() }
}

/// Applies a batch in one transaction.
pub(super) fn apply(tx: &Tx<'_>, batch: Batch) -> Result<PushReceipt> {
    let live = "SELECT 1 FROM devices WHERE id = ?1 AND state = 'ACTIVE' AND public_key = ?2";
    if tx.first(live, params![batch.device.as_bytes(), batch.key], |row| row.get::<_, i64>(0))?.is_none() {
        return Err(StoreError::DeviceRevoked);
    }
    let chain = Chain::open(tx, &batch)?;
    let mut verdicts = Vec::new();
    let known = chain.overlap(tx, &batch, &mut verdicts)?;
    let mut next_n = chain.next_n;
    if batch.entries.len() > known {
        let mut judge = Judge::open(tx, &batch)?;
        for entry in batch.entries.iter().skip(known) {
            let (verdict, seq, reason) = judge.take(tx, next_n, entry)?;
            append(&mut verdicts, next_n, verdict, seq, reason);
            next_n += 1;
        }
        judge.feed.close(tx)?;
        chain.advance(tx, &batch, next_n)?;
    }
    Ok(PushReceipt { verdicts, next_n, durable_through: None, server_time: tx.now() })
}

/// Where a device's chain ends on the server.
struct Chain {
    next_n: u64,
    head: Link,
    is_new: bool,
}

impl Chain {
    fn open(tx: &Tx<'_>, batch: &Batch) -> Result<Self> {
        let sql = "SELECT next_n, head FROM chain_heads
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3";
        let key = params![batch.device.as_bytes(), batch.incarnation.as_bytes(), batch.lane.name()];
        let found = tx.first(sql, key, |row| {
            Ok(Self { next_n: count_at(row, 0)?, head: Link::from_bytes(row.get(1)?), is_new: false })
        })?;
        match found {
            Some(chain) => Ok(chain),
            None => {
                enter_incarnation(tx, batch)?;
                Self::start(tx, batch)
            }
        }
    }

    /// A chain starts at its genesis, or goes on from where its parent's history is shared.
    fn start(tx: &Tx<'_>, batch: &Batch) -> Result<Self> {
        let genesis = Link::genesis(batch.device, batch.incarnation, batch.lane);
        let from_genesis = Self { next_n: 1, head: genesis, is_new: true };
        let Some(fork) = &batch.parent else { return Ok(from_genesis) };
        let shared = match batch.lane {
            Lane::Care => fork.care,
            Lane::Audit => fork.audit,
        };
        let link = link_at(tx, batch, fork.incarnation, shared)?;
        Ok(link.map_or(from_genesis, |head| Self { next_n: shared.saturating_add(1), head, is_new: true }))
    }

    /// Answers for the entries that the server has already, and gives how many they are.
    fn overlap(
        &self,
        tx: &Tx<'_>,
        batch: &Batch,
        verdicts: &mut Vec<carepost_protocol::wire::push::VerdictRun>,
    ) -> Result<usize> {
        let broken = || StoreError::ChainBroken { next_n: self.next_n };
        if batch.first_n > self.next_n {
            return Err(broken());
        }
        if batch.first_n == self.next_n {
            return if batch.previous == self.head { Ok(0) } else { Err(broken()) };
        }
        let sql = "SELECT link, verdict, seq, reason FROM changes
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4";
        let mut known = 0;
        for (n, entry) in (batch.first_n..self.next_n).zip(&batch.entries) {
            let key =
                params![batch.device.as_bytes(), batch.incarnation.as_bytes(), batch.lane.name(), count(n)];
            let stored = tx.first(sql, key, |row| {
                let seq: Option<i64> = row.get(2)?;
                let seq = seq.map(|seq| u64::try_from(seq).unwrap_or(0));
                let reason: Option<Rejection> = json_or_none_at(row, 3)?;
                Ok((Link::from_bytes(row.get(0)?), word_at::<Verdict>(row, 1)?, seq, reason))
            })?;
            // Below a fork the parent's history is not repeated under the new name.
            let (link, verdict, seq, reason) = stored.ok_or_else(broken)?;
            if link != entry.link {
                return Err(broken());
            }
            let rejected = verdict == Verdict::Rejected;
            append(verdicts, n, if rejected { Verdict::Rejected } else { Verdict::Duplicate }, seq, reason);
            known += 1;
        }
        Ok(known)
    }

    fn advance(&self, tx: &Tx<'_>, batch: &Batch, next_n: u64) -> Result<()> {
        let Some(head) = batch.entries.last().map(|entry| entry.link) else { return Ok(()) };
        let sql = if self.is_new {
            "INSERT INTO chain_heads (device_id, incarnation_id, lane, next_n, head, signature, received_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        } else {
            "UPDATE chain_heads SET next_n = ?4, head = ?5, signature = ?6, received_at = ?7
                WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3"
        };
        tx.execute(
            sql,
            params![
                batch.device.as_bytes(),
                batch.incarnation.as_bytes(),
                batch.lane.name(),
                count(next_n),
                head.as_bytes(),
                batch.signature,
                tx.now().as_millis(),
            ],
        )
        .map(drop)
    }
}

fn link_at(tx: &Tx<'_>, batch: &Batch, incarnation: IncarnationId, n: u64) -> Result<Option<Link>> {
    let sql =
        "SELECT link FROM changes WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND n = ?4";
    let key = params![batch.device.as_bytes(), incarnation.as_bytes(), batch.lane.name(), count(n)];
    tx.first(sql, key, |row| row.get(0).map(Link::from_bytes))
}

fn enter_incarnation(tx: &Tx<'_>, batch: &Batch) -> Result<()> {
    let known = "SELECT 1 FROM incarnations WHERE device_id = ?1 AND id = ?2";
    let key = params![batch.device.as_bytes(), batch.incarnation.as_bytes()];
    if tx.first(known, key, |row| row.get::<_, i64>(0))?.is_some() {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO incarnations (device_id, id, parent_id, fork_care, fork_audit, first_boot, first_seen_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            batch.device.as_bytes(),
            batch.incarnation.as_bytes(),
            batch.parent.map(|fork| *fork.incarnation.as_bytes()),
            batch.parent.map(|fork| count(fork.care)),
            batch.parent.map(|fork| count(fork.audit)),
            batch.boot.map(|boot| *boot.as_bytes()),
            tx.now().as_millis(),
        ],
    )
    .map(drop)
}

type Judgement = (Verdict, Option<u64>, Option<Rejection>);

/// Judges the changes of one batch; what one needed to know, the next knows too.
struct Judge<'a> {
    batch: &'a Batch,
    feed: FeedEnd,
    now: Timestamp,
    assignments: HashMap<AssignmentId, bool>,
    patients: HashMap<PatientId, bool>,
    terms: HashMap<UserId, Vec<Term>>,
    workflows: HashMap<(String, u32), Option<Workflow>>,
}

/// A time in which a user held a role in this facility.
struct Term {
    role: Role,
    from: Timestamp,
    until: Option<Timestamp>,
}

/// A change that stands.
struct Accepted {
    record: RecordId,
    patient: PatientId,
    body: String,
    /// What somebody should look at later.
    review: Option<&'static str>,
}

impl<'a> Judge<'a> {
    fn open(tx: &Tx<'_>, batch: &'a Batch) -> Result<Self> {
        Ok(Self {
            batch,
            feed: FeedEnd::open(tx)?,
            now: tx.now(),
            assignments: HashMap::new(),
            patients: HashMap::new(),
            terms: HashMap::new(),
            workflows: HashMap::new(),
        })
    }

    /// Judges one entry and keeps it. One whose rows the database refuses is kept as rejected, and does
    /// not hold up those behind it.
    fn take(&mut self, tx: &Tx<'_>, n: u64, entry: &Entry) -> Result<Judgement> {
        let before = self.feed.seq();
        match tx.savepoint(|tx| self.judge(tx, n, entry)) {
            Err(StoreError::Engine(error))
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                self.feed.rewind(before);
                let detail = "the server's database refused this entry; export it and tell the operator";
                self.keep(tx, n, entry, Err(reject(RejectionCode::Unsupported, detail)))
            }
            outcome => outcome,
        }
    }

    fn judge(&mut self, tx: &Tx<'_>, n: u64, entry: &Entry) -> Result<Judgement> {
        match &entry.content {
            Content::Unreadable(rejection) => self.keep(tx, n, entry, Err(rejection.clone())),
            Content::Care(change) => {
                let outcome = self.weigh(tx, n, change)?;
                self.keep(tx, n, entry, outcome)
            }
            Content::Audit(event) => {
                let scope = tx.facility_scope()?;
                let event = AuditEvent {
                    organization_id: Some(scope.organization()),
                    facility_id: Some(scope.facility()),
                    device_id: Some(self.batch.device),
                    ..(**event).clone()
                };
                audit::append_one(tx, &event, Some((self.batch.incarnation, n)))?;
                self.keep_row(tx, n, entry, Verdict::Applied, None, None, None)?;
                Ok((Verdict::Applied, None, None))
            }
        }
    }

    /// Whether a care change stands, as of when it was made.
    fn weigh(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
    ) -> Result<std::result::Result<Accepted, Rejection>> {
        if change.kind != ChangeKind::Create || change.collection != Collection::Records {
            let detail = "this server takes new records only; chart it anew";
            return Ok(Err(reject(RejectionCode::Unsupported, detail)));
        }
        if !self.is_own_assignment(tx, change.assignment)? {
            let detail =
                "it was made under an assignment that is not this device's; an administrator has to look";
            return Ok(Err(reject(RejectionCode::WrongAssignment, detail)));
        }
        let Some(review) = self.authority(tx, change)? else {
            let detail = "whoever made it gave no care in this facility then; an administrator has to look";
            return Ok(Err(reject(RejectionCode::NotAuthorized, detail)));
        };
        let unknown = |detail| Ok(Err(reject(RejectionCode::UnknownTarget, detail)));
        let Some(patient) = change.patient else { return unknown("it names no patient; chart it anew") };
        if !self.is_known_patient(tx, patient)? {
            return unknown("the facility has no such patient; chart it anew for the right one");
        }
        let (Some(key), Some(version)) = (&change.workflow, change.schema_version) else {
            return unknown("it names no workflow and version; chart it anew");
        };
        let Some(workflow) = self.workflow(tx, key, version)? else {
            return unknown("that version of the workflow was never published; sync, then chart it anew");
        };
        if let Err(errors) = workflow.validate(&change.fields) {
            let detail =
                "an answer breaks the form's rules; correct the fields named and chart it anew".to_owned();
            return Ok(Err(Rejection { code: RejectionCode::BreaksSchema, detail, errors }));
        }
        let record = RecordId::of_create(self.batch.incarnation, n, change.recorded_at);
        let document = RecordDocument {
            id: record,
            patient_id: patient,
            workflow: key.clone(),
            schema_version: version,
            recorded_by: change.actor,
            recorded_at: change.recorded_at,
            clock_quality: change.clock_quality,
            values: change.fields.clone(),
        };
        Ok(Ok(Accepted { record, patient, body: json(&document)?, review }))
    }

    fn is_own_assignment(&mut self, tx: &Tx<'_>, id: AssignmentId) -> Result<bool> {
        if let Some(known) = self.assignments.get(&id) {
            return Ok(*known);
        }
        let sql = "SELECT 1 FROM assignments WHERE id = ?1 AND device_id = ?2";
        let key = params![id.as_bytes(), self.batch.device.as_bytes()];
        let own = tx.first(sql, key, |row| row.get::<_, i64>(0))?.is_some();
        self.assignments.insert(id, own);
        Ok(own)
    }

    fn is_known_patient(&mut self, tx: &Tx<'_>, id: PatientId) -> Result<bool> {
        if let Some(known) = self.patients.get(&id) {
            return Ok(*known);
        }
        let sql = "SELECT 1 FROM patients WHERE id = ?1";
        let known = tx.first(sql, [id.as_bytes()], |row| row.get::<_, i64>(0))?.is_some();
        self.patients.insert(id, known);
        Ok(known)
    }

    fn workflow(&mut self, tx: &Tx<'_>, key: &str, version: u32) -> Result<Option<&Workflow>> {
        let name = (key.to_owned(), version);
        if !self.workflows.contains_key(&name) {
            let sql = "SELECT body FROM workflows WHERE key = ?1 AND version = ?2";
            let found = tx.first(sql, params![key, version], |row| json_at(row, 0))?;
            self.workflows.insert(name.clone(), found);
        }
        Ok(self.workflows.get(&name).and_then(Option::as_ref))
    }

    /// None when the actor had no authority; else what to review. Authority is that of the session when
    /// it began: a device that is offline honours it until the session ends, and so does the server. A
    /// clock that was never compared cannot say when, so having had authority ever has to do.
    fn authority(&mut self, tx: &Tx<'_>, change: &Change) -> Result<Option<Option<&'static str>>> {
        if !self.terms.contains_key(&change.actor) {
            let sql = "SELECT role, from_at, until_at FROM user_terms WHERE user_id = ?1";
            let terms = tx.all(sql, [change.actor.as_bytes()], |row| {
                Ok(Term { role: word_at(row, 0)?, from: time_at(row, 1)?, until: time_or_none_at(row, 2)? })
            })?;
            self.terms.insert(change.actor, terms);
        }
        let terms = self.terms.get(&change.actor).map_or(&[][..], Vec::as_slice);
        let care = || terms.iter().filter(|term| term.role.gives_care());
        let held =
            |at: Timestamp| care().any(|term| term.from <= at && term.until.is_none_or(|until| at < until));
        let began = session_began(change);
        let had = match change.clock_quality {
            ClockQuality::Synced | ClockQuality::Estimated => held(change.recorded_at) || held(began),
            ClockQuality::Unset => care().next().is_some(),
        };
        let review = match (held(self.now), change.clock_quality) {
            (false, _) => Some("authority_ended_since"),
            (true, ClockQuality::Unset) => Some("clock_unset"),
            (true, ClockQuality::Synced | ClockQuality::Estimated) => None,
        };
        Ok(had.then_some(review))
    }

    fn keep(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        entry: &Entry,
        outcome: std::result::Result<Accepted, Rejection>,
    ) -> Result<Judgement> {
        match outcome {
            Ok(accepted) => {
                let id = accepted.record.as_bytes();
                let body = Some(accepted.body.as_str());
                let seq = self.feed.add(tx, Collection::Records, id, Some(accepted.patient), body)?;
                self.keep_row(tx, n, entry, Verdict::Applied, Some(seq), None, Some(&accepted))?;
                Ok((Verdict::Applied, Some(seq), None))
            }
            Err(rejection) => {
                self.keep_row(tx, n, entry, Verdict::Rejected, None, Some(&rejection), None)?;
                Ok((Verdict::Rejected, None, Some(rejection)))
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // One row: its parts have nowhere else to meet.
    fn keep_row(
        &self,
        tx: &Tx<'_>,
        n: u64,
        entry: &Entry,
        verdict: Verdict,
        seq: Option<u64>,
        reason: Option<&Rejection>,
        accepted: Option<&Accepted>,
    ) -> Result<()> {
        let change = match &entry.content {
            Content::Care(change) => Some(change),
            Content::Audit(_) | Content::Unreadable(_) => None,
        };
        let record = accepted.map(|accepted| accepted.record).or(change.and_then(|change| change.record));
        let quality = change.map(|change| word(&change.clock_quality)).transpose()?;
        // An audit event's bytes are in the audit log, column by column; here its hash is enough.
        let payload = (self.batch.lane == Lane::Care).then_some(&*entry.payload);
        tx.execute(
            "INSERT INTO changes (device_id, incarnation_id, lane, n, assignment_id, payload, payload_sha256,
                link, verdict, reason, seq, collection, record_id, patient_id, actor_id, session_id, kind,
                recorded_at, clock_quality, received_at, schema_version, workflow, base_seq, supersedes, review)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                    ?20, ?21, ?22, ?23, ?24, ?25)",
            params![
                self.batch.device.as_bytes(),
                self.batch.incarnation.as_bytes(),
                self.batch.lane.name(),
                count(n),
                change.map(|change| *change.assignment.as_bytes()),
                payload,
                entry.hash.as_bytes(),
                entry.link.as_bytes(),
                verdict.name(),
                reason.map(json).transpose()?,
                seq.map(count),
                change.map(|change| change.collection.name()),
                record.map(|id| *id.as_bytes()),
                change.and_then(|change| change.patient).map(|id| *id.as_bytes()),
                change.map(|change| *change.actor.as_bytes()),
                change.map(|change| *change.session.as_bytes()),
                change.map(|change| change.kind.name()),
                change.map(|change| change.recorded_at.as_millis()),
                quality,
                self.now.as_millis(),
                change.and_then(|change| change.schema_version),
                change.and_then(|change| change.workflow.as_deref()),
                change.and_then(|change| change.base_seq).map(count),
                change.and_then(|change| change.supersedes).map(count),
                accepted.and_then(|accepted| accepted.review),
            ],
        )
        .map(drop)
    }
}

/// When the session began: its id says so (UUIDv7), on the device's clock.
fn session_began(change: &Change) -> Timestamp {
    let [a, b, c, d, e, f, ..] = *change.session.as_bytes();
    let millis = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    Timestamp::from_millis(millis)
}
