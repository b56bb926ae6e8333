//! The judge: judges each change of a batch as of when it was made, and keeps it with its verdict.
//!
//! A change is weighed in a savepoint of its own: what is rejected leaves nothing behind, and does not
//! hold up what comes after it.

mod audited;
mod authority;
mod patients;
mod persist;
mod pins;
mod records;
mod retry;
mod reviews;

use std::collections::HashMap;

use carepost_protocol::change::{Change, ChangeKind, Lane, Verdict};
use carepost_protocol::id::{AssignmentId, DeviceId, IncarnationId, PatientId, RecordId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::{Rejection, RejectionCode};

use super::{Batch, Content, Entry, Result, reject};
use crate::store::engine::{Tx, params};
use crate::store::rules::feed_writer::FeedEnd;
#[cfg(test)]
use crate::store::rules::patient;
use crate::store::{Flag, StoreError};
use authority::Term;
use records::Form;

pub(in crate::store) use retry::{Followed, discard, follow, retry};

pub(super) type Judgement = (Verdict, Option<u64>, Option<Rejection>);

/// Judges the changes of one device; what one needed to know, the next knows too.
pub(super) struct Judge {
    place: Place,
    pub(super) feed: FeedEnd,
    /// Where the feed ended before these changes: nobody who made them had seen more.
    head: u64,
    now: Timestamp,
    received: Timestamp,
    assignments: HashMap<AssignmentId, bool>,
    patients: HashMap<PatientId, bool>,
    terms: HashMap<UserId, Vec<Term>>,
    workflows: HashMap<(String, u32), Option<Form>>,
    incarnations: Option<Vec<(IncarnationId, u64)>>,
    /// The program that the device runs, as the audit log names it.
    program: Option<String>,
}

/// Where changes come from.
#[derive(Debug, Clone, Copy)]
struct Place {
    device: DeviceId,
    incarnation: IncarnationId,
    lane: Lane,
}

/// What an accepted change did: it stands.
struct Accepted {
    verdict: Verdict,
    seq: u64,
    record: RecordId,
    patient: Option<PatientId>,
    flags: Flags,
}

/// What somebody should look at later, though the change stands.
#[derive(Debug, Default)]
struct Flags(Vec<Flag>);

impl Flags {
    fn raise(&mut self, when: bool, flag: Flag) {
        if when {
            self.0.push(flag);
        }
    }

    /// As a column takes them: between commas.
    fn names(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().map(|flag| flag.name()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

/// Why a change does not stand.
enum Fault {
    Rejected(Rejection),
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(fault: StoreError) -> Self {
        Self::Store(fault)
    }
}

impl From<Rejection> for Fault {
    fn from(rejected: Rejection) -> Self {
        Self::Rejected(rejected)
    }
}

/// By an index of its own: however many changes there are about one document.
const WAS_REJECTED: &str = "SELECT 1 FROM changes WHERE record_id = ?1 AND device_id = ?2
    AND verdict = 'rejected' AND kind IN ('create', 'amend') LIMIT 1";

/// What a device's change looks up among rows that others add, and the index that it does it by.
#[cfg(test)]
pub(in crate::store) const LOOK_UPS: [(&str, &str); 12] = [
    ("changes_unmade", WAS_REJECTED),
    ("changes_in_feed", patients::CAME_AT),
    ("patients_of_mrn", patient::MRN.had_by),
    ("patients_numbered", patient::MRN.held),
    ("patients_by_medicare", patient::MEDICARE.had_by),
    ("patients_with_medicare", patient::MEDICARE.held),
    ("patients_in_room", patient::OF_ROOM),
    ("patients_by_name", patient::OF_NAME),
    ("patients_by_birthday", patient::OF_DAY),
    ("patients_unasked", patient::UNASKED),
    ("changes_correcting", crate::store::rules::chart::CORRECTIONS),
    ("changes_waiting", retry::WAITING),
];

type Judged<T = Accepted> = std::result::Result<T, Fault>;

fn unknown(detail: &str) -> Fault {
    Fault::Rejected(reject(RejectionCode::UnknownTarget, detail))
}

impl Judge {
    pub(super) fn open(tx: &Tx<'_>, batch: &Batch) -> Result<Self> {
        let place = Place { device: batch.device, incarnation: batch.incarnation, lane: batch.lane };
        Self::at(tx, place, tx.now())
    }

    fn at(tx: &Tx<'_>, place: Place, received: Timestamp) -> Result<Self> {
        let feed = FeedEnd::open(tx)?;
        Ok(Self {
            place,
            head: feed.seq(),
            feed,
            now: tx.now(),
            received,
            assignments: HashMap::new(),
            patients: HashMap::new(),
            terms: HashMap::new(),
            workflows: HashMap::new(),
            incarnations: None,
            program: None,
        })
    }

    /// Judges one entry and keeps it. One whose rows the database does not take is kept as rejected, and does
    /// not hold up those behind it.
    pub(super) fn take(&mut self, tx: &Tx<'_>, n: u64, entry: &Entry) -> Result<Judgement> {
        match &entry.content {
            Content::Unreadable(rejection) => {
                let rejection = rejection.clone();
                self.keep_row(tx, n, entry, Verdict::Rejected, Some(&rejection), None)?;
                Ok((Verdict::Rejected, None, Some(rejection)))
            }
            Content::Care(change) => match self.weigh(tx, n, change)? {
                Ok(stands) => {
                    self.keep_row(tx, n, entry, stands.verdict, None, Some(&stands))?;
                    Ok((stands.verdict, Some(stands.seq), None))
                }
                Err(rejection) => {
                    self.keep_row(tx, n, entry, Verdict::Rejected, Some(&rejection), None)?;
                    Ok((Verdict::Rejected, None, Some(rejection)))
                }
            },
            Content::Audit(event) => match tx.savepoint(|tx| self.write_down(tx, n, event)) {
                Err(fault) if fault.is_constraint() => {
                    let rejection = rejected_by_database();
                    self.keep_row(tx, n, entry, Verdict::Rejected, Some(&rejection), None)?;
                    Ok((Verdict::Rejected, None, Some(rejection)))
                }
                Err(fault) => Err(fault),
                Ok(()) => {
                    self.keep_row(tx, n, entry, Verdict::Applied, None, None)?;
                    Ok((Verdict::Applied, None, None))
                }
            },
        }
    }

    /// Whether a care change stands, as of when it was made; with all that it does, or nothing of it.
    fn weigh(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
    ) -> Result<std::result::Result<Accepted, Rejection>> {
        let before = self.feed.seq();
        let mut rejected = None;
        let done = tx.savepoint(|tx| {
            self.apply(tx, n, change).map_err(|fault| match fault {
                Fault::Store(fault) => fault,
                Fault::Rejected(rejection) => {
                    rejected = Some(rejection);
                    StoreError::Broken
                }
            })
        });
        let rejection = match (done, rejected) {
            (Ok(stands), _) => {
                if let (Collection::Patients, Some(patient)) = (change.collection, stands.patient) {
                    self.patients.insert(patient, true);
                }
                return Ok(Ok(stands));
            }
            (Err(_), Some(rejection)) => rejection,
            (Err(fault @ StoreError::TooLarge { .. }), None) => {
                reject(RejectionCode::TooLarge, format!("{fault}, and enter it anew"))
            }
            (Err(fault), None) if fault.is_constraint() => rejected_by_database(),
            (Err(fault), None) => return Err(fault),
        };
        self.feed.rewind(before);
        Ok(Err(rejection))
    }

    fn apply(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Judged {
        if !self.is_own_assignment(tx, change.assignment)? {
            let detail =
                "it was made under an assignment that is not this device's; an administrator has to look";
            return Err(reject(RejectionCode::WrongAssignment, detail).into());
        }
        let older = change.supersedes.map(|older| self.superseded(tx, n, older, change)).transpose()?;
        let unsupported = |detail: &str| -> Judged { Err(reject(RejectionCode::Unsupported, detail).into()) };
        let stands = match (change.kind, change.collection) {
            (ChangeKind::Create | ChangeKind::Amend, Collection::Records) => self.chart(tx, n, change),
            (ChangeKind::Create, Collection::Patients) => self.admit(tx, n, change),
            (ChangeKind::Patch, Collection::Patients) => self.edit(tx, n, change),
            (ChangeKind::Patch, Collection::Reviews) => self.resolve(tx, n, change),
            (ChangeKind::Patch, Collection::Users) => self.choose_pin(tx, change),
            (ChangeKind::Delete, _) => unsupported("care is never deleted; correct or discharge instead"),
            (ChangeKind::Patch, Collection::Records) => {
                unsupported("what was charted is never edited; chart a correction instead")
            }
            (ChangeKind::Amend, Collection::Patients)
            | (ChangeKind::Create | ChangeKind::Amend, Collection::Reviews | Collection::Users)
            | (
                ChangeKind::Create | ChangeKind::Patch | ChangeKind::Amend,
                Collection::Facilities | Collection::Badges | Collection::Workflows,
            ) => unsupported("this server does not take that from a device; ask the office to change it"),
        }?;
        if let Some(older) = older {
            self.settle_superseded(tx, older, change.actor, stands.seq)?;
        }
        Ok(stands)
    }

    /// The place in the feed of what the change's author had seen. One that claims to have seen what was
    /// not there yet has seen nothing, or it would win over whatever comes until then.
    fn seen(&self, change: &Change) -> Option<u64> {
        change.base_seq.filter(|seq| *seq <= self.head)
    }

    fn is_own_assignment(&mut self, tx: &Tx<'_>, id: AssignmentId) -> Result<bool> {
        if let Some(known) = self.assignments.get(&id) {
            return Ok(*known);
        }
        let sql = "SELECT 1 FROM assignments WHERE id = ?1 AND device_id = ?2";
        let key = params![id, self.place.device];
        let own = tx.exists(sql, key)?;
        self.assignments.insert(id, own);
        Ok(own)
    }

    fn is_known_patient(&mut self, tx: &Tx<'_>, id: PatientId) -> Result<bool> {
        if let Some(known) = self.patients.get(&id) {
            return Ok(*known);
        }
        let sql = "SELECT 1 FROM patients WHERE id = ?1";
        let known = tx.exists(sql, params![id])?;
        if known {
            self.patients.insert(id, true);
        }
        Ok(known)
    }

    /// Why a change about something that is not there does not stand.
    fn missing(&self, tx: &Tx<'_>, target: RecordId, detail: &str) -> Result<Fault> {
        if !self.was_rejected(tx, target)? {
            return Ok(unknown(detail));
        }
        let detail = "what it is about was rejected before; it waits until that is settled";
        Ok(reject(RejectionCode::DependsOnRejected, detail).into())
    }

    /// Whether a rejected change of this device would have made that document.
    fn was_rejected(&self, tx: &Tx<'_>, target: RecordId) -> Result<bool> {
        let key = params![target, self.place.device];
        tx.exists(WAS_REJECTED, key)
    }
}

fn rejected_by_database() -> Rejection {
    let detail = "the server's database rejected this entry; export it and tell the operator";
    reject(RejectionCode::Unsupported, detail)
}
