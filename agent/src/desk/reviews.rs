//! What somebody has to look at: conflicts, possible duplicates, corrections side by side.

use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{PatientId, RecordId, ReviewId};
use carepost_protocol::record::{
    Collection, DisputedField, PatientDocument, Resolved, ReviewDocument, ReviewKind,
};
use carepost_protocol::role::{ManagePatients, Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::workflow::FieldError;
use serde_json::{Map, Value};

use super::answer::in_words;
use super::entries::Fork;
use super::noted::Page;
use super::residents::{self, REPLACED, REPLACED_BY};
use super::sheet::Writer;
use super::view::{
    BASE, Disputed, Join, Known, NotSaved, Part, Question, Refused, Review, Saved, SessionKey, Typed,
    initials,
};
use super::ward::{Ward, storage};
use crate::outbox::{Entry, Pending, Progress};

/// As far as the status line counts open reviews.
pub const COUNTED: usize = 50;

impl Ward {
    pub(super) fn reviews(&self, on: &SessionKey, after: usize) -> Result<Part<Review>, Refused> {
        let page = Page::REVIEWS;
        let read = self.permit::<ReadPatients>(on, &page)?;
        self.permit::<ManagePatients>(on, &page)?;
        let Part { items, next } = Part::of(self.open_reviews(&read, Part::<Review>::reach(after))?, after);
        let reviews: Result<Vec<_>, Refused> =
            items.into_iter().map(|review| self.review(on, &read, review)).collect();
        let items = reviews?;
        self.note(read.actor(), &page, true);
        Ok(Part { items, next })
    }

    /// How many are open for whoever is signed in, counted up to [`COUNTED`]: none unless they may close them.
    pub(super) fn count_reviews(&self, on: &SessionKey) -> u64 {
        let permits = (self.authorized::<ReadPatients>(on), self.authorized::<ManagePatients>(on));
        let (Ok(read), Ok(_)) = permits else { return 0 };
        self.open_reviews(&read, COUNTED).map_or(0, |open| (open.len() as u64).min(COUNTED as u64))
    }

    /// The open reviews that nobody has closed here, oldest first: at least so many, where there are.
    fn open_reviews(&self, read: &Permit<ReadPatients>, most: usize) -> Result<Vec<ReviewDocument>, Refused> {
        let decided = self.decided_here(read)?;
        let most = most.saturating_add(decided.len());
        let mut open = self.mirror.open_reviews(read, most).map_err(storage)?;
        open.retain(|review| decided.iter().all(|edit| edit.record != review.id.into()));
        Ok(open)
    }

    /// An open review that nobody has closed here.
    fn open_review(&self, read: &Permit<ReadPatients>, id: ReviewId) -> Result<ReviewDocument, Refused> {
        let is_decided = self.decided_here(read)?.iter().any(|edit| edit.record == id.into());
        let known = self.mirror.review(read, id).map_err(storage)?;
        let open = known.filter(|review| review.resolved.is_none() && !is_decided);
        open.ok_or(Refused::NoSuchReview)
    }

    /// The decisions about reviews that were made here and wait for the server.
    fn decided_here(&self, read: &Permit<ReadPatients>) -> Result<Vec<Pending>, Refused> {
        let mut edits = self.edits(read, Collection::Reviews)?;
        edits.retain(|edit| !matches!(edit.progress, Progress::Rejected(_)));
        Ok(edits)
    }

    /// Who said last that all corrections of these records were looked at, by name, and when. None while there is one
    /// that came after somebody looked.
    pub(super) fn looked_at(
        &self,
        read: &Permit<ReadPatients>,
        forks: &[Fork],
    ) -> Result<Option<(String, Timestamp)>, Refused> {
        let closed_here = self.looked_at_here(read)?;
        let mut last: Option<Resolved> = None;
        for (record, corrections) in forks {
            let closed = match closed_here.iter().rfind(|review| review.record == *record) {
                Some(closed) => Some(closed.clone()),
                None => self.mirror.closed_review_of(read, *record).map_err(storage)?,
            };
            let Some(closed) = closed.filter(|review| is_of_all(review, corrections)) else {
                return Ok(None);
            };
            let open = self.mirror.open_reviews_of(read, closed.patient_id).map_err(storage)?;
            let is_asked_again = open.iter().any(|review| {
                review.kind == ReviewKind::Amendments && review.record == *record && review.id != closed.id
            });
            let Some(looked) = closed.resolved.filter(|_| !is_asked_again) else { return Ok(None) };
            last = last.filter(|last| last.at >= looked.at).or(Some(looked));
        }
        Ok(last.map(|looked| (self.name_of(looked.by), looked.at)))
    }

    /// The reviews of corrections that were closed here, and have not changed since.
    fn looked_at_here(&self, read: &Permit<ReadPatients>) -> Result<Vec<ReviewDocument>, Refused> {
        let mut closed = Vec::new();
        for edit in self.decided_here(read)? {
            // The version last: a review that changes in between counts for none.
            let review = self.mirror.review(read, edit.record.into()).map_err(storage)?;
            let version = self.mirror.version(Collection::Reviews, edit.record).map_err(storage)?;
            let review = review.filter(|review| review.kind == ReviewKind::Amendments);
            let resolved = Some(Resolved { by: edit.change.actor, at: edit.change.recorded_at });
            let unchanged = review.filter(|_| version == edit.change.base_seq);
            closed.extend(unchanged.map(|review| ReviewDocument { resolved, ..review }));
        }
        Ok(closed)
    }

    fn review(
        &self,
        on: &SessionKey,
        read: &Permit<ReadPatients>,
        shown: ReviewDocument,
    ) -> Result<Review, Refused> {
        // The version first: a later one is then noticed when this is closed.
        let base = self.mirror.version(Collection::Reviews, shown.id.into()).map_err(storage)?.unwrap_or(0);
        let review = self.mirror.review(read, shown.id).map_err(storage)?.unwrap_or(shown);
        let resident = match review.kind {
            ReviewKind::Duplicate => self.resident_now(read, review.record.into())?,
            ReviewKind::Conflict | ReviewKind::Amendments | ReviewKind::Unknown => {
                self.resident_here(read, review.patient_id)?
            }
        };
        let resident = resident.map(|resident| resident.document);
        let question = match review.kind {
            ReviewKind::Conflict => {
                Question::Conflict(review.fields.iter().map(|field| self.disputed(field)).collect())
            }
            ReviewKind::Duplicate => {
                let others = self.others(read, &review, resident.as_ref())?.into_iter();
                let last = resident.clone().unwrap_or_else(|| PatientDocument::new(review.patient_id));
                Question::Duplicate(others.map(|(_, other)| Known::beside(&last, other)).collect())
            }
            ReviewKind::Amendments => Question::Amendments(self.versions_of(on, read, &review)?),
            ReviewKind::Unknown => Question::Unknown,
        };
        let token = hex(&self.clock.random::<16>());
        let ReviewDocument { id, opened_at, more, .. } = review;
        Ok(Review { id, base, token, resident, opened_at, question, more })
    }

    /// Two whom an open review asks about.
    pub(super) fn join(&self, on: &SessionKey, id: ReviewId, other: PatientId) -> Result<Join, Refused> {
        let page = Page::REVIEWS;
        let read = self.permit::<ReadPatients>(on, &page)?;
        self.permit::<ManagePatients>(on, &page)?;
        let review = self.review(on, &read, self.open_review(&read, id)?)?;
        let other = match &review.question {
            Question::Duplicate(others) => {
                others.iter().find(|known| known.resident.id == other).map(|known| known.resident.clone())
            }
            Question::Conflict(_) | Question::Amendments(_) | Question::Unknown => None,
        };
        let (last, other) = review.resident.clone().zip(other).ok_or(Refused::NoSuchReview)?;
        self.note(read.actor(), &page, true);
        Ok(Join { last_stays: last_stays(&last, &other), review, last, other })
    }

    /// Who a resident may be, each once, under whom the review asks about. Whoever was replaced meanwhile is
    /// whoever took the place, and nobody is asked about themselves.
    fn others(
        &self,
        read: &Permit<ReadPatients>,
        review: &ReviewDocument,
        resident: Option<&PatientDocument>,
    ) -> Result<Vec<(PatientId, PatientDocument)>, Refused> {
        let mut others: Vec<(PatientId, PatientDocument)> = Vec::new();
        for asked in &review.others {
            let Some(other) = self.resident_now(read, (*asked).into())? else { continue };
            let mut known = resident.into_iter().chain(others.iter().map(|(_, other)| other));
            if known.all(|known| known.id != other.document.id) {
                others.push(((*asked).into(), other.document));
            }
        }
        Ok(others)
    }

    fn disputed(&self, field: &DisputedField) -> Disputed {
        let (form, zone) = (residents::whole(), self.time_here().zone);
        let words = |value: &Value| {
            let value = residents::shown(&Map::from_iter([(field.field.clone(), value.clone())]));
            let said = in_words(&zone, Some(&form), &value, &[], Units::default());
            said.into_iter().next().map_or_else(|| "None".to_owned(), |answer| answer.words)
        };
        let values = field.values.iter().map(|saved| Saved {
            words: words(&saved.value),
            by: saved.by.map_or_else(|| "Office".to_owned(), |by| initials(&self.name_of(by))),
            at: saved.at,
            stands: saved.stands,
        });
        let (key, label) = (field.field.clone(), residents::label(&field.field));
        Disputed { key, label, values: values.collect(), more: field.more }
    }

    pub(super) fn close_review(
        &self,
        on: &SessionKey,
        id: ReviewId,
        token: &str,
        answers: &Typed,
    ) -> Result<Option<PatientId>, NotSaved> {
        let page = Page::REVIEWS;
        let read = self.permit::<ReadPatients>(on, &page)?;
        let permit = self.permit::<ManagePatients>(on, &page)?;
        let refused = self.edits(&read, Collection::Reviews)?.into_iter().find(|edit| {
            matches!(edit.progress, Progress::Rejected(_))
                && edit.record == id.into()
                && edit.change.actor == permit.actor().user
        });
        let base = self.mirror.version(Collection::Reviews, id.into()).map_err(storage)?;
        let review = self.mirror.review(&read, id).map_err(storage)?;
        let review = review.filter(|review| review.resolved.is_none()).ok_or(Refused::NoSuchReview)?;
        let answer = |key: &str| answers.iter().find(|(name, _)| name == key).map(|(_, text)| text.as_str());
        if answer(BASE).and_then(|text| text.parse().ok()) != base {
            let words = "this has changed since it was shown: look at it again";
            return Err(NotSaved::NotTaken(words.to_owned()));
        }
        let fields = match review.kind {
            ReviewKind::Conflict => {
                let chosen = chosen(&review.fields, answer).map_err(NotSaved::Answers)?;
                self.is_nobody_elses(&read, review.patient_id, &chosen, answers)?;
                chosen
            }
            ReviewKind::Duplicate => self.same_person(&read, &review, answer("same_person"))?,
            ReviewKind::Amendments => Map::new(),
            ReviewKind::Unknown => return Err(Refused::NoSuchReview.into()),
        };
        let actor = *permit.actor();
        let (recorded_at, clock_quality) = self.clock.stamp();
        let change = Change {
            actor: actor.user,
            session: actor.session,
            assignment: self.grant.assignment_id,
            kind: ChangeKind::Patch,
            collection: Collection::Reviews,
            record: Some(id.into()),
            base_seq: base,
            patient: Some(review.patient_id),
            workflow: None,
            schema_version: None,
            fields,
            confirmed: Vec::new(),
            reason: None,
            entered_in_error: false,
            recorded_at,
            clock_quality,
            supersedes: refused.map(|refused| refused.n),
        };
        let entry = Entry { change: &change, token };
        self.append(&Writer::Manage(permit), entry, &Page::closing(review.patient_id))?;
        Ok(change.fields.get(REPLACED_BY).and_then(|id| id.as_str()?.parse().ok()))
    }

    /// Asks whose the number is that was chosen, where another has it.
    fn is_nobody_elses(
        &self,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        chosen: &Map<String, Value>,
        answers: &Typed,
    ) -> Result<(), NotSaved> {
        let (Some(mrn), Some(resident)) = (chosen.get("mrn"), self.resident_here(read, patient)?) else {
            return Ok(());
        };
        let mut resident = resident.document;
        resident.set("mrn", mrn);
        self.are_answered(read, self.with_the_number_of(read, &resident)?, answers)
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
        let resident = self.resident_now(read, last)?.map(|resident| resident.document);
        if answer == "no" {
            let others = resident.as_ref().map(|last| self.with_the_number_of(read, last)).transpose()?;
            let same = resident.as_ref().and_then(|last| {
                let other = others.iter().flatten().find(|known| known.has_same_number)?;
                Some(one_number(last, &other.resident))
            });
            return same.map_or_else(|| Ok(Map::from_iter([said(false)])), Err);
        }
        let others = self.others(read, review, resident.as_ref())?;
        let other = others.into_iter().find(|(_, other)| other.id.to_string() == answer);
        let (first, other) = other.ok_or_else(unsaid)?;
        let is_last = resident.is_some_and(|resident| last_stays(&resident, &other));
        let (goes, stays) = if is_last { (first, last) } else { (last, first) };
        let named = |field: &str, id: PatientId| (field.to_owned(), Value::from(id.to_string()));
        Ok(Map::from_iter([said(true), named(REPLACED, goes), named(REPLACED_BY, stays)]))
    }
}

/// Whether a review is of all these corrections: of more than it names, by their number.
fn is_of_all(review: &ReviewDocument, corrections: &[RecordId]) -> bool {
    if review.more == 0 {
        return corrections.iter().all(|id| review.others.contains(id));
    }
    review.more.saturating_add(review.others.len() as u64) >= corrections.len() as u64
}

/// Of two who are one person, whoever is in care stays; of two who are alike in that, the one who was there first.
const fn last_stays(last: &PatientDocument, other: &PatientDocument) -> bool {
    last.is_active && !other.is_active
}

/// Why somebody is not said to be another than whoever has the same number.
fn one_number(last: &PatientDocument, other: &PatientDocument) -> NotSaved {
    NotSaved::NotTaken(format!(
        "{} has the MRN {} too, and one number is one person's. On the page of whoever it is not, press Edit resident \
         and change it or take it out; then decide here",
        other.name, last.mrn
    ))
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
                let detail = format!("choose which is right for {}", residents::label(&field.field));
                faults.push(FieldError { field: field.field.clone(), detail });
            }
        }
    }
    if faults.is_empty() { Ok(chosen) } else { Err(faults) }
}
