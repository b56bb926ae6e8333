//! Charting: new records, and corrections beside what they correct.

use carepost_protocol::change::{Change, ChangeKind, MAX_REASON, Verdict};
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::{Collection, MAX_COUNTED, RecordDocument, ReviewKind};
use carepost_protocol::role::Action;
use carepost_protocol::text::line;
use carepost_protocol::wire::push::{Rejection, RejectionCode};
use carepost_protocol::workflow::{FieldError, Workflow};
use serde_json::{Map, Value};

use super::super::Result;
use super::{Accepted, Flags, Judge, Judged, unknown};
use crate::store::Flag;
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::row::{row, select};
use crate::store::rules::review::{self, About};
use crate::store::rules::{archive, chart, patient};

row! {
    /// A version of a workflow, and the latest one.
    pub(super) struct Form {
        workflow: Workflow = "body",
        latest: Workflow
            = "(SELECT body FROM workflows WHERE key = form.key ORDER BY version DESC LIMIT 1)",
    }
}

/// Answers as they are kept; none of what strikes a record out.
#[derive(Default)]
struct Kept {
    values: Map<String, Value>,
    confirmed: Vec<String>,
}

impl Judge {
    /// A new record, or a correction: a record of its own.
    pub(super) fn chart(&mut self, tx: &Tx<'_>, n: u64, change: &Change) -> Judged {
        let mut flags = self.authority(tx, change, Action::Chart)?;
        let patient = change.patient.ok_or_else(|| unknown("it names no patient; chart it anew"))?;
        if !self.is_known_patient(tx, patient)? {
            let detail = "the facility has no such patient; chart it anew for the right one";
            return Err(self.missing(tx, patient.into(), detail)?);
        }
        let answers = self.answers(tx, change, &mut flags)?;
        let amends = match change.kind {
            ChangeKind::Amend => Some(self.corrected(tx, change, patient, &mut flags)?),
            ChangeKind::Create | ChangeKind::Patch | ChangeKind::Delete => None,
        };
        let reason = amends.and(change.reason.as_deref()).map(read_reason).transpose()?;
        let record = change
            .document(self.place.incarnation, n)
            .ok_or_else(|| unknown("it does not name the record it takes the place of"))?;
        let document = RecordDocument {
            id: record,
            patient_id: patient,
            workflow: change.workflow.clone().unwrap_or_default(),
            schema_version: change.schema_version.unwrap_or_default(),
            recorded_by: change.actor,
            recorded_at: change.recorded_at,
            clock_quality: change.clock_quality,
            values: answers.values,
            confirmed: answers.confirmed,
            reason: reason.flatten(),
            entered_in_error: amends.is_some() && change.entered_in_error,
            amends,
        };
        flags.raise(self.put_back(tx, patient)?, Flag::PatientWithdrawn);
        let body = json(&document)?;
        let seq = self.feed.add(tx, Collection::Records, record.as_bytes(), Some(patient), Some(&body))?;
        let mut verdict = Verdict::Applied;
        if let Some(parent) = amends {
            let most = usize::try_from(MAX_COUNTED).unwrap_or(usize::MAX);
            let mut beside: Vec<_> = chart::corrections(tx, parent, most)?;
            if !beside.is_empty() {
                beside.push(record);
                let about =
                    About { kind: ReviewKind::Amendments, collection: Collection::Records, record: parent };
                review::gather(tx, &mut self.feed, about, patient, &beside)?;
                verdict = Verdict::Merged;
            }
        }
        Ok(Accepted { verdict, seq, record, patient: Some(patient), flags })
    }

    /// Puts a resident back whom devices no longer have, because they were withdrawn: what is charted about somebody is
    /// shown with them. Says whether it did.
    fn put_back(&mut self, tx: &Tx<'_>, id: PatientId) -> Result<bool> {
        let sql = "SELECT 1 FROM documents WHERE collection = 'patients' AND id = ?1 AND body IS NOT NULL";
        if tx.exists(sql, params![id])? {
            return Ok(false);
        }
        let Some(found) = patient::find(tx, id)? else { return Ok(false) };
        patient::save(tx, &found)?;
        patient::put(tx, &mut self.feed, &found)?;
        Ok(true)
    }

    /// Holds the answers to the form they were given in. What is unlikely and was not confirmed is kept and
    /// flagged: it may be true.
    fn answers(&mut self, tx: &Tx<'_>, change: &Change, flags: &mut Flags) -> Judged<Kept> {
        let (Some(key), Some(version)) = (&change.workflow, change.schema_version) else {
            return Err(unknown("it names no workflow and version; chart it anew"));
        };
        let Some(form) = self.form(tx, key, version)? else {
            return Err(unknown(
                "that version of the workflow was never published; sync, then chart it anew",
            ));
        };
        // A correction is made in the version that its entry was charted in, however old that is.
        let is_superseded = form.workflow.version < form.latest.version;
        flags.raise(is_superseded && change.kind != ChangeKind::Amend, Flag::SchemaChangedSince);
        if change.kind == ChangeKind::Amend && change.entered_in_error && change.fields.is_empty() {
            return Ok(Kept::default());
        }
        let charted_at = change.clock_quality.believed(change.recorded_at);
        let read = form.workflow.read(&change.fields, charted_at).map_err(|errors| {
            let detail =
                "an answer breaks the form's rules; correct the fields named and chart it anew".to_owned();
            Rejection { code: RejectionCode::BreaksSchema, detail, errors }
        })?;
        let doubtful = read.doubts.into_iter().map(|doubt| doubt.field);
        let (confirmed, unconfirmed): (Vec<String>, Vec<String>) =
            doubtful.partition(|field| change.confirmed.contains(field));
        flags.raise(!unconfirmed.is_empty(), Flag::Implausible);
        Ok(Kept { values: read.values, confirmed })
    }

    /// The record that is corrected; one that had left the feed comes back. One that the server does not have
    /// (yet) may come later, or may have been lost with a device: the correction is kept all the same.
    fn corrected(
        &mut self,
        tx: &Tx<'_>,
        change: &Change,
        patient: PatientId,
        flags: &mut Flags,
    ) -> Judged<RecordId> {
        let target = change.record.ok_or_else(|| unknown("it names no record to correct; chart it anew"))?;
        let sql =
            "SELECT patient_id FROM documents WHERE collection = 'records' AND id = ?1 AND body IS NOT NULL";
        let mut about = tx.first::<PatientId>(sql, params![target])?;
        if about.is_none() {
            about = archive::bring_back(tx, &mut self.feed, target, patient)?;
        }
        match about {
            Some(of) if of == patient => {
                flags.raise(!self.lets_correct(tx, change, target)?, Flag::NotTheirsToCorrect);
                Ok(target)
            }
            Some(_) => Err(unknown("the record that it corrects is about somebody else; chart it anew")),
            None if self.was_rejected(tx, target)? => Err(self.missing(tx, target, "")?),
            None => {
                flags.raise(true, Flag::TargetMissing);
                Ok(target)
            }
        }
    }

    /// Whether whoever made a correction may make it: by the form's latest version, or by the one that it names, where
    /// the device may not have heard of the latest.
    fn lets_correct(&mut self, tx: &Tx<'_>, change: &Change, target: RecordId) -> Result<bool> {
        let author = chart::find(tx, target)?;
        let is_own = author.is_none_or(|record| record.recorded_by == change.actor);
        let roles = self.roles(change);
        let (Some(key), Some(version)) = (&change.workflow, change.schema_version) else { return Ok(true) };
        let form = self.form(tx, key, version)?;
        let lets = |form: &Workflow| roles.iter().any(|role| form.lets_correct(*role, is_own));
        Ok(form.is_none_or(|form| lets(&form.latest) || lets(&form.workflow)))
    }

    fn form(&mut self, tx: &Tx<'_>, key: &str, version: u32) -> Result<Option<&Form>> {
        let name = (key.to_owned(), version);
        if !self.workflows.contains_key(&name) {
            let sql = select!(Form, "workflows AS form WHERE key = ?1 AND version = ?2");
            let found = tx.first(sql, params![key, version])?;
            self.workflows.insert(name.clone(), found);
        }
        Ok(self.workflows.get(&name).and_then(Option::as_ref))
    }
}

/// Why a record is corrected; none where nothing can be read.
fn read_reason(given: &str) -> Judged<Option<String>> {
    let read = line(given, MAX_REASON).map_err(|error| Rejection {
        code: RejectionCode::BreaksSchema,
        detail: "its reason cannot be taken; write it anew".to_owned(),
        errors: vec![FieldError::new("_reason", error.to_string())],
    })?;
    Ok(Some(read).filter(|read| !read.is_empty()))
}
