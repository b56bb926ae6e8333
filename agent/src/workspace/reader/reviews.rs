//! Open reviews: what somebody has to look at, conflicts, possible duplicates, corrections side by side.

use std::collections::BTreeMap;

use carepost_protocol::hex::hex;
use carepost_protocol::id::{PatientId, RecordId, ReviewId};
use carepost_protocol::record::{
    Collection, DisputedField, PatientDocument, Resolved, ReviewDocument, ReviewKind,
};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use serde_json::{Map, Value};

use super::entries::Fork;
use super::{Access, Permits, Reader, in_words, resident_form, storage};
use crate::outbox::{Pending, Progress};
use crate::workspace::view::{Disputed, Join, Known, Part, Question, Refused, Review, Saved};

/// As far as the status line counts open reviews.
pub const COUNTED: usize = 50;

impl Reader {
    pub(crate) fn reviews(&self, permits: &Permits, after: usize) -> Result<Part<Review>, Refused> {
        self.demand_reviews(permits)?;
        let open = self.open_reviews(&permits.read, Part::<Review>::reach(after))?;
        let Part { items, next } = Part::of(open, after);
        let reviews = items.into_iter().map(|review| self.review(permits, review));
        let items = reviews.collect::<Result<Vec<_>, Refused>>()?;
        self.trail.accessed(permits.actor(), &Access::REVIEWS, true);
        Ok(Part { items, next })
    }

    /// How many are open for whoever is signed in, counted up to [`COUNTED`]: none unless they may close them.
    pub(crate) fn count_reviews(&self, permits: &Permits) -> u64 {
        if permits.manage.is_none() {
            return 0;
        }
        self.open_reviews(&permits.read, COUNTED).map_or(0, |open| (open.len() as u64).min(COUNTED as u64))
    }

    fn demand_reviews(&self, permits: &Permits) -> Result<(), Refused> {
        self.trail.demand(permits.manage, permits.actor(), Some(&Access::REVIEWS)).map(drop)
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

    /// What each resident's fields are called of which two values were saved, as far as reviews are counted; of one
    /// resident, all.
    pub(super) fn contested(
        &self,
        read: &Permit<ReadPatients>,
        of: Option<PatientId>,
    ) -> Result<BTreeMap<PatientId, Vec<String>>, Refused> {
        let decided = self.decided_here(read)?;
        let open = match of {
            Some(id) => self.mirror.open_reviews_of(read, id),
            None => self.mirror.open_reviews(read, COUNTED + decided.len()),
        };
        let mut open = open.map_err(storage)?;
        open.retain(|review| decided.iter().all(|edit| edit.record != review.id.into()));
        let fields = |review: ReviewDocument| {
            let labels = review.fields.iter().map(|it| resident_form::label(&it.field)).collect();
            (review.patient_id, labels)
        };
        let conflicts = open.into_iter().filter(|review| review.kind == ReviewKind::Conflict);
        Ok(conflicts.map(fields).collect())
    }

    /// The decisions that were made here, wait for the server, and close their reviews there: those that have not
    /// changed since.
    fn decided_here(&self, read: &Permit<ReadPatients>) -> Result<Vec<Pending>, Refused> {
        let mut decided = Vec::new();
        for edit in self.edits(read, Collection::Reviews)? {
            let version = self.mirror.version(Collection::Reviews, edit.record).map_err(storage)?;
            if version == edit.change.base_seq && !matches!(edit.progress, Progress::Rejected(_)) {
                decided.push(edit);
            }
        }
        Ok(decided)
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

    fn review(&self, permits: &Permits, shown: ReviewDocument) -> Result<Review, Refused> {
        let read = &permits.read;
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
            ReviewKind::Amendments => Question::Amendments(self.versions_of(permits, &review)?),
            ReviewKind::Unknown => Question::Unknown,
        };
        let token = hex(&self.clock.random::<16>());
        let ReviewDocument { id, opened_at, more, .. } = review;
        Ok(Review { id, base, token, resident, opened_at, question, more })
    }

    /// Two whom an open review asks about.
    pub(crate) fn join(&self, permits: &Permits, id: ReviewId, other: PatientId) -> Result<Join, Refused> {
        self.demand_reviews(permits)?;
        let review = self.review(permits, self.open_review(&permits.read, id)?)?;
        let other = match &review.question {
            Question::Duplicate(others) => {
                others.iter().find(|known| known.resident.id == other).map(|known| known.resident.clone())
            }
            Question::Conflict(_) | Question::Amendments(_) | Question::Unknown => None,
        };
        let (last, other) = review.resident.clone().zip(other).ok_or(Refused::NoSuchReview)?;
        self.trail.accessed(permits.actor(), &Access::REVIEWS, true);
        Ok(Join { last_stays: last_stays(&last, &other), review, last, other })
    }

    /// Who a resident may be, each once, under whom the review asks about. Whoever was replaced meanwhile is
    /// whoever took the place, and nobody is asked about themselves.
    pub(crate) fn others(
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
        let (form, zone) = (resident_form::whole(), self.time_here().zone);
        let words = |value: &Value| {
            let value = resident_form::shown(&Map::from_iter([(field.field.clone(), value.clone())]));
            let said = in_words(&zone, Some(&form), &value, &[], Units::default());
            said.into_iter().next().map_or_else(|| "None".to_owned(), |answer| answer.words)
        };
        let values = field.values.iter().map(|saved| Saved {
            words: words(&saved.value),
            by: saved.by.map_or_else(|| "Office".to_owned(), |by| self.name_of(by)),
            at: saved.at,
            stands: saved.stands,
        });
        let (key, label) = (field.field.clone(), resident_form::label(&field.field));
        Disputed { key, label, values: values.collect(), more: field.more }
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
pub(crate) const fn last_stays(last: &PatientDocument, other: &PatientDocument) -> bool {
    last.is_active && !other.is_active
}
