//! Review decisions: an open review is closed by a change, as a form is saved.

use carepost_agent_core::session::SessionEvent;
use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::id::{PatientId, ReviewId};
use carepost_protocol::patient::same_numbers;
use carepost_protocol::record::{Collection, DisputedField, PatientDocument, ReviewDocument, ReviewKind};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::workflow::FieldError;
use serde_json::{Map, Value};

use super::prepare::Writer;
use super::{Access, Forms, LastSave, REPLACED, REPLACED_BY, last_stays, lock, resident_form, storage};
use crate::outbox::{Entry, Progress};
use crate::workspace::view::{BASE, NotSaved, Refused, SessionKey, Typed};

impl Forms {
    /// Closes a review: when this returns, the decision is durable on the device. Where two turn out to be one
    /// person: who that is from then on.
    ///
    /// # Errors
    /// See [`NotSaved`].
    pub fn close_review(
        &self,
        on: &SessionKey,
        id: ReviewId,
        token: &str,
        answers: &Typed,
    ) -> Result<Option<PatientId>, NotSaved> {
        let (access, reader) = (Access::REVIEWS, &self.reader);
        let permits = self.session.permits(on, Some(&access))?;
        let permit = reader.trail.demand(permits.manage, permits.actor(), Some(&access))?;
        // Sent again because its answer was lost, it is refused nothing: what it decided is no question here any more.
        let is_saved = reader.outbox.saved_as(token).map_err(storage)?.is_some();
        if let Some(last) = lock(&self.state).last_save.as_ref().filter(|last| last.is(on, token))
            && is_saved
            && last.answers == answers
        {
            return Ok(last.about);
        }
        let read = permits.read;
        let rejected = reader.edits(&read, Collection::Reviews)?.into_iter().find(|edit| {
            matches!(edit.progress, Progress::Rejected(_))
                && edit.record == id.into()
                && edit.change.actor == permit.actor().user
        });
        let base = reader.mirror.version(Collection::Reviews, id.into()).map_err(storage)?;
        let review = reader.mirror.review(&read, id).map_err(storage)?;
        let review = review.filter(|review| review.resolved.is_none()).ok_or(Refused::NoSuchReview)?;
        let fields = self.decision(&read, &review, base, answers)?;
        let actor = permit.actor();
        let (author, assignment) = ((actor.user, actor.session), reader.trail.grant().assignment_id);
        let change = Change {
            kind: ChangeKind::Patch,
            record: Some(id.into()),
            base_seq: base,
            patient: Some(review.patient_id),
            supersedes: rejected.map(|rejected| rejected.n),
            ..Change::create(author, assignment, Collection::Reviews, fields, reader.clock.stamp())
        };
        let entry = Entry { change: &change, token };
        let about = change.fields.get(REPLACED_BY).and_then(|id| id.as_str()?.parse().ok());
        let saved = self.append(&Writer::Manage(permit), entry, &Access::closing(review.patient_id));
        if matches!(saved, Ok(_) | Err(NotSaved::Uncertain(_))) {
            lock(&self.state).last_save = Some(LastSave {
                session: change.session,
                user: change.actor,
                token: token.to_owned(),
                answers: answers.to_vec(),
                typed: Vec::new(),
                about,
                is_critical: false,
            });
        }
        saved?;
        self.leave(&self.session.on(SessionEvent::Touched).left);
        Ok(about)
    }

    /// What was decided about a review in the version that was shown.
    fn decision(
        &self,
        read: &Permit<ReadPatients>,
        review: &ReviewDocument,
        base: Option<u64>,
        answers: &Typed,
    ) -> Result<Map<String, Value>, NotSaved> {
        let answer = |key: &str| answers.iter().find(|(name, _)| name == key).map(|(_, text)| text.as_str());
        if answer(BASE).and_then(|text| text.parse().ok()) != base {
            let words = "this has changed since it was shown: look at it again";
            return Err(NotSaved::NotTaken(words.to_owned()));
        }
        match review.kind {
            ReviewKind::Conflict => {
                let chosen = chosen(&review.fields, answer).map_err(NotSaved::Answers)?;
                self.is_nobody_elses(read, review.patient_id, &chosen, answers)?;
                Ok(chosen)
            }
            ReviewKind::Duplicate => self.same_person(read, review, answer("same_person")),
            ReviewKind::Amendments => Ok(Map::new()),
            ReviewKind::Unknown => Err(Refused::NoSuchReview.into()),
        }
    }

    /// Asks whose the number is that was chosen, where another has it.
    fn is_nobody_elses(
        &self,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        chosen: &Map<String, Value>,
        answers: &Typed,
    ) -> Result<(), NotSaved> {
        let Some(resident) = self.reader.resident_here(read, patient)? else { return Ok(()) };
        let alike = self.reader.with_a_number_of(read, &resident.document, chosen)?;
        self.are_answered(read, alike, false, answers)
    }

    /// The answer to whether somebody is another who was asked about, who is named, or none of them: not as long as
    /// another has the number. What somebody had whose place another took counts for nobody.
    fn same_person(
        &self,
        read: &Permit<ReadPatients>,
        review: &ReviewDocument,
        answer: Option<&str>,
    ) -> Result<Map<String, Value>, NotSaved> {
        let said = |same: bool| ("same_person".to_owned(), Value::from(same));
        let unsaid = || NotSaved::NotTaken("say whether they are one person".to_owned());
        let answer = answer.ok_or_else(unsaid)?;
        let last: PatientId = review.record.into();
        let resident = self.reader.resident_now(read, last)?.map(|resident| resident.document);
        if answer == "no" {
            let others =
                resident.as_ref().map(|last| self.reader.with_the_number_of(read, last)).transpose()?;
            let same = resident.as_ref().and_then(|last| {
                let others = others.iter().flatten();
                others.filter_map(|known| one_number(last, &known.resident)).next()
            });
            return same.map_or_else(|| Ok(Map::from_iter([said(false)])), Err);
        }
        let others = self.reader.others(read, review, resident.as_ref())?;
        let other = others.into_iter().find(|(_, other)| other.id.to_string() == answer);
        let (first, other) = other.ok_or_else(unsaid)?;
        let is_last = resident.is_some_and(|resident| last_stays(&resident, &other));
        let (goes, stays) = if is_last { (first, last) } else { (last, first) };
        let named = |field: &str, id: PatientId| (field.to_owned(), Value::from(id.to_string()));
        Ok(Map::from_iter([said(true), named(REPLACED, goes), named(REPLACED_BY, stays)]))
    }
}

/// Why somebody is not said to be another than whoever has the same number.
fn one_number(last: &PatientDocument, other: &PatientDocument) -> Option<NotSaved> {
    let numbers = same_numbers(last, other);
    let numbers = numbers.map(|it| format!("the {} {}", it.label, it.shown(last).unwrap_or_default()));
    let numbers: Vec<String> = numbers.collect();
    let words = format!(
        "{} has {} too, and one number is one person's. On the page of whoever it is not, press Edit resident and \
         change it or take it out; then decide here",
        other.name,
        numbers.join(" and ")
    );
    (!numbers.is_empty()).then_some(NotSaved::NotTaken(words))
}

/// The values that were chosen, one of each field.
fn chosen<'a>(
    fields: &[DisputedField],
    answer: impl Fn(&str) -> Option<&'a str>,
) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut chosen = Map::new();
    let mut faults = Vec::new();
    for field in fields {
        let at: Option<usize> = answer(&field.field).and_then(|text| text.parse().ok());
        match at.and_then(|at| field.values.get(at)) {
            Some(saved) => drop(chosen.insert(field.field.clone(), saved.value.clone())),
            None => {
                let detail = format!("choose which is right for {}", resident_form::label(&field.field));
                faults.push(FieldError { field: field.field.clone(), detail });
            }
        }
    }
    if faults.is_empty() { Ok(chosen) } else { Err(faults) }
}
