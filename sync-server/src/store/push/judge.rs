//! Judges each change of a batch as of when it was made, and keeps it with its verdict.

use std::collections::{HashMap, hash_map};
use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::{Change, ChangeKind, Verdict};
use carepost_protocol::id::{AssignmentId, PatientId, RecordId, UserId};
use carepost_protocol::record::{Collection, RecordDocument};
use carepost_protocol::role::Role;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::push::{Rejection, RejectionCode};
use carepost_protocol::workflow::Workflow;
use rusqlite::params;

use super::super::column::{count, json, json_at, time_at, time_or_none_at, word, word_at};
use super::super::engine::Tx;
use super::super::publish::FeedEnd;
use super::super::{StoreError, audit};
use super::{Batch, Content, Entry, Result, reject};

/// No session is this long; one that seems so began by another clock than it went on by.
const LONGEST_SESSION: Duration = Duration::from_secs(24 * 3600);
/// What was made later than this after it came was made by a clock that is ahead.
const CLOCK_AHEAD: Duration = Duration::from_secs(5 * 60);

pub(super) type Judgement = (Verdict, Option<u64>, Option<Rejection>);

/// Judges the changes of one batch; what one needed to know, the next knows too.
pub(super) struct Judge<'a> {
    batch: &'a Batch,
    pub(super) feed: FeedEnd,
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
    pub(super) fn open(tx: &Tx<'_>, batch: &'a Batch) -> Result<Self> {
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
    pub(super) fn take(&mut self, tx: &Tx<'_>, n: u64, entry: &Entry) -> Result<Judgement> {
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
            amends: None,
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
    /// clock that was not compared, or was set within the session, cannot say when, so having had
    /// authority ever has to do.
    fn authority(&mut self, tx: &Tx<'_>, change: &Change) -> Result<Option<Option<&'static str>>> {
        let terms = match self.terms.entry(change.actor) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => unknown.insert(terms_of(tx, change.actor)?),
        };
        let care = || terms.iter().filter(|term| term.role.gives_care());
        let held =
            |at: Timestamp| care().any(|term| term.from <= at && term.until.is_none_or(|until| at < until));
        let (made, began) = (change.recorded_at, session_began(change));
        let then = held(made) || held(began);
        let knows_when = change.clock_quality == ClockQuality::Synced
            && began <= made
            && made.since(began) <= LONGEST_SESSION;
        let had = then || (!knows_when && care().next().is_some());
        let review = match change.clock_quality {
            _ if !held(self.now) => Some("authority_ended_since"),
            ClockQuality::Unset => Some("clock_unset"),
            ClockQuality::Synced | ClockQuality::Estimated if made > self.now.after(CLOCK_AHEAD) => {
                Some("clock_ahead")
            }
            ClockQuality::Synced | ClockQuality::Estimated => (!then).then_some("clock_unsure"),
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
        // The exact bytes, of audit events too: they prove the columns of the audit log, and keep what
        // a newer agent said that this server does not understand.
        let payload = entry.payload.as_deref();
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

fn terms_of(tx: &Tx<'_>, user: UserId) -> Result<Vec<Term>> {
    let sql = "SELECT role, from_at, until_at FROM user_terms WHERE user_id = ?1";
    tx.all(sql, [user.as_bytes()], |row| {
        Ok(Term { role: word_at(row, 0)?, from: time_at(row, 1)?, until: time_or_none_at(row, 2)? })
    })
}
