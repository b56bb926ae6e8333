//! Residents: admitted and edited on devices.

use carepost_protocol::change::{Change, Origin, Verdict};
use carepost_protocol::day::Today;
use carepost_protocol::id::PatientId;
use carepost_protocol::merge::{Edit, Mark, counted_at, merge};
use carepost_protocol::patient::{self as protocol, MAX_NAME, is_no_mrn};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::Action;
use carepost_protocol::text::{self, TextError};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::{Rejection, RejectionCode};
use carepost_protocol::workflow::FieldError;
use carepost_protocol::zone::Zone;
use serde_json::{Map, Value};

use super::super::Result;
use super::{Accepted, Flags, Judge, Judged, unknown};
use crate::store::engine::{Tx, params};
use crate::store::rules::patient;
use crate::store::rules::review;
use crate::store::{Flag, Patient, StoreError};

/// What an edit came to.
pub(super) struct Edited {
    pub(super) seq: u64,
    pub(super) verdict: Verdict,
    /// Whether it met values that its author had not seen.
    pub(super) is_disputed: bool,
}

impl Judge {
    /// A new resident. One who may be another resident again is admitted all the same.
    pub(super) fn admit(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Judged {
        let mut flags = self.authority(tx, change, Action::ManagePatients)?;
        let today = self.today(tx)?;
        let (given, nameless) = without_no_name(&change.fields);
        let mut fields = read(&given, today, &mut flags)?;
        let is_odd = nameless.is_some() || is_doubtful(change, &fields, &Map::new(), today);
        flags.raise(is_odd, Flag::Implausible);
        fields.extend(nameless.map(|name| ("name".to_owned(), name)));
        let missing = protocol::missing(&fields);
        if !missing.is_empty() {
            return Err(breaks(missing));
        }
        let record = change
            .document(self.place.incarnation, n)
            .ok_or_else(|| unknown("it does not name the resident it takes the place of"))?;
        let mut admitted = Patient {
            facility_id: tx.facility_scope()?.facility(),
            created_at: self.received,
            document: PatientDocument::new(record.into()),
        };
        admitted.set_all(&fields);
        let alike = patient::asked_about(tx, &admitted, |id| said_another(change, id))?;
        let insert = |tx: &Tx<'_>, of| tx.savepoint(|tx| patient::insert(tx, &admitted, of));
        // Who only looks like somebody has a number of their own: the review alone asks about that.
        match insert(tx, None) {
            Err(StoreError::Conflict("mrn")) => {
                let holder = patient::of_mrn(tx, &admitted)?.first().copied();
                // Somebody's in another facility: whose is nothing that this one may learn.
                flags.raise(holder.is_none(), Flag::MrnTaken);
                insert(tx, Some(holder.unwrap_or(admitted.id)))?;
            }
            done => done?,
        }
        let seq = patient::put(tx, &mut self.feed, &admitted)?;
        let verdict = self.pair(tx, admitted.id, &alike)?;
        Ok(Accepted { verdict, seq, record, patient: Some(admitted.id), flags })
    }

    /// Sets fields of a resident.
    pub(super) fn edit(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Judged {
        let mut flags = self.authority(tx, change, Action::ManagePatients)?;
        let record = change.record.ok_or_else(|| unknown("it names no resident; enter it anew"))?;
        let Some(found) = patient::find(tx, record.into())? else {
            let detail = "the facility has no such resident; enter it anew for the right one";
            return Err(self.missing(tx, record, detail)?);
        };
        let today = self.today(tx)?;
        let fields = read_edit(&change.fields, &found, today, &mut flags)?;
        flags.raise(is_doubtful(change, &fields, &found.values(), today), Flag::Implausible);
        let Edited { seq, verdict, .. } = self.merge(tx, n, change, found, fields, &mut flags)?;
        Ok(Accepted { verdict, seq, record, patient: Some(record.into()), flags })
    }

    /// Merges fields that were read into a resident, and keeps what is in dispute. Who readmits somebody whose place
    /// another took did not know of it: the other is the person, and is in care then.
    pub(super) fn merge(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
        edited: Patient,
        mut fields: Map<String, Value>,
        flags: &mut Flags,
    ) -> Judged<Edited> {
        let present = patient::successors(tx, &edited)?.pop();
        let readmits = fields.get("is_active") == Some(&Value::Bool(true));
        let Some(present) = present.filter(|_| readmits) else {
            return self.merge_into(tx, n, change, edited, fields, flags);
        };
        flags.raise(true, Flag::Replaced);
        // Who is in care has a room already.
        let asked: &[&str] = if present.is_active { &["is_active"] } else { &["is_active", "room"] };
        let back = asked.iter().filter_map(|key| Some(((*key).to_owned(), fields.remove(*key)?))).collect();
        let readmitted = self.merge_into(tx, n, change, present, back, flags)?;
        if fields.is_empty() {
            return Ok(readmitted);
        }
        let rest = self.merge_into(tx, n, change, edited, fields, flags)?;
        let verdict = if rest.verdict == Verdict::Merged { rest.verdict } else { readmitted.verdict };
        Ok(Edited { seq: rest.seq, verdict, is_disputed: rest.is_disputed || readmitted.is_disputed })
    }

    fn merge_into(
        &mut self,
        tx: &Tx<'_>,
        n: u64,
        change: &Change,
        mut edited: Patient,
        mut fields: Map<String, Value>,
        flags: &mut Flags,
    ) -> Judged<Edited> {
        let mut document = patient::fields(tx, &edited)?;
        let chain = self.incarnations(tx)?.to_vec();
        // One that is judged again does not undo what its own device has set since.
        fields.retain(|key, _| {
            let origin = document.get(key).and_then(|field| field.mark.origin);
            !origin.is_some_and(|origin| origin.device == self.place.device && origin.n > n)
        });
        let base_seq = self.seen(change).unwrap_or(0);
        let base = self.version_came_at(tx, &edited, base_seq)?;
        let mark = Mark {
            seq: self.feed.seq().saturating_add(1),
            at: counted_at(change.recorded_at, change.clock_quality, base, self.received),
            origin: Some(Origin { device: self.place.device, incarnation: self.place.incarnation, n }),
            by: Some(change.actor),
        };
        let merged = merge(&document, &Edit { fields: &fields, base_seq, mark, chain: &chain });
        let had = edited.clone();
        for (key, field) in &merged.set {
            edited.set(key, &field.value);
            patient::mark(tx, &edited, key, &field.mark)?;
            document.insert(key.clone(), field.clone());
        }
        if edited.mrn == had.mrn {
            patient::save(tx, &edited)?;
        } else {
            renumber(tx, &edited, flags)?;
        }
        let alike = patient::newly_asked_about(tx, &had, &edited, |id| said_another(change, id))?;
        let seq = patient::put(tx, &mut self.feed, &edited)?;
        let is_full = review::dispute(tx, &mut self.feed, edited.id, &merged, &document)?;
        flags.raise(is_full, Flag::ReviewFull);
        let paired = self.pair(tx, edited.id, &alike)?;
        let is_disputed = !merged.conflicts.is_empty();
        let verdict = if is_disputed { Verdict::Merged } else { paired };
        Ok(Edited { seq, verdict, is_disputed })
    }

    /// The day that it was in the facility when the changes came.
    pub(super) fn today(&self, tx: &Tx<'_>) -> Result<Today> {
        let sql = "SELECT time_zone FROM facilities WHERE id = ?1";
        let zone: Option<String> = tx.first(sql, params![tx.facility_scope()?.facility()])?.flatten();
        Ok(Today::of(zone.as_deref().and_then(Zone::named).as_ref(), self.received))
    }

    /// When the version that an edit was made against came to the server: a function of what its author
    /// had seen, and not of what came since.
    fn version_came_at(&self, tx: &Tx<'_>, edited: &Patient, seq: u64) -> Result<Timestamp> {
        let came = tx.first::<Timestamp>(CAME_AT, params![edited.id, seq])?;
        Ok(came.unwrap_or(edited.created_at))
    }

    fn pair(&mut self, tx: &Tx<'_>, id: PatientId, alike: &[PatientId]) -> Result<Verdict> {
        if alike.is_empty() {
            return Ok(Verdict::Applied);
        }
        patient::pair(tx, &mut self.feed, id, alike)?;
        Ok(Verdict::Merged)
    }
}

/// When the last change of a resident came that is in the feed by a place of it.
pub(super) const CAME_AT: &str = "SELECT received_at FROM changes
    WHERE record_id = ?1 AND collection = 'patients' AND seq <= ?2 ORDER BY seq DESC LIMIT 1";

/// The fields that this build knows; others are kept in the payload alone.
fn read(given: &Map<String, Value>, today: Today, flags: &mut Flags) -> Judged<Map<String, Value>> {
    let (fields, others) = protocol::read(&numbered(given), today).map_err(breaks)?;
    flags.raise(others, Flag::UnknownFields);
    Ok(fields)
}

/// As [`read`], of an edit of somebody.
pub(super) fn read_edit(
    given: &Map<String, Value>,
    found: &Patient,
    today: Today,
    flags: &mut Flags,
) -> Judged<Map<String, Value>> {
    let read = protocol::read_edit(&numbered(given), &found.values(), today);
    let (fields, others) = read.map_err(breaks)?;
    flags.raise(others, Flag::UnknownFields);
    Ok(fields)
}

/// The fields without an MRN that is none. Earlier agents took it for one, and a night's charting hangs on the
/// resident whom it admits. A number that the resident has stays: that it is wrong was not said.
fn numbered(given: &Map<String, Value>) -> Map<String, Value> {
    let mut given = given.clone();
    if given.get("mrn").and_then(Value::as_str).is_some_and(is_no_mrn) {
        given.remove("mrn");
    }
    given
}

/// The fields of an admission without a name that has no letter, and that. Earlier agents took it for a name, and a
/// night's charting hangs on the resident whom it admits.
fn without_no_name(given: &Map<String, Value>) -> (Map<String, Value>, Option<Value>) {
    let has_no_letter = |text: &&str| text::person_name(text, MAX_NAME) == Err(TextError::NoLetter);
    let nameless = given.get("name").and_then(Value::as_str).filter(has_no_letter);
    let nameless = nameless.and_then(|name| text::line(name, MAX_NAME).ok()).map(Value::String);
    let mut rest = given.clone();
    if nameless.is_some() {
        rest.remove("name");
    }
    (rest, nameless)
}

/// Whether something is unlikely that nobody confirmed. It is kept: it may be true.
fn is_doubtful(change: &Change, read: &Map<String, Value>, had: &Map<String, Value>, today: Today) -> bool {
    let doubts = protocol::doubts(read, had, today);
    doubts.iter().any(|doubt| !change.confirmed.contains(&doubt.field))
}

/// Whether its author was shown somebody, and said that this is another person.
fn said_another(change: &Change, known: PatientId) -> bool {
    change.confirmed.contains(&Change::another(known))
}

pub(super) fn breaks(errors: Vec<FieldError>) -> super::Fault {
    let detail = "a value breaks a rule; correct the fields named and enter it anew".to_owned();
    Rejection { code: RejectionCode::BreaksSchema, detail, errors }.into()
}

/// Saves a resident whose MRN changed.
fn renumber(tx: &Tx<'_>, edited: &Patient, flags: &mut Flags) -> Result<()> {
    let alike = patient::of_mrn(tx, edited)?;
    let save = |tx: &Tx<'_>, of| {
        tx.savepoint(|tx| {
            // Linked to itself between the two: nothing is held against the old number's holder then.
            patient::link(tx, edited.id, Some(edited.id))?;
            patient::save(tx, edited)?;
            patient::link(tx, edited.id, of)
        })
    };
    match save(tx, alike.first().copied()) {
        Err(StoreError::Conflict("mrn")) => {
            flags.raise(true, Flag::MrnTaken);
            Ok(save(tx, Some(edited.id))?)
        }
        done => Ok(done?),
    }
}
