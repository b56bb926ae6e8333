//! Duplicate checks: who may be somebody that is here already, asked before a resident is admitted, and answered
//! without admitting anybody; and asked before an edit makes two alike, or gives one the number of another.

use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::day::Today;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::{self, may_be_one};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::workflow::Field;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drafts::{Unwritten, laid_over};
use super::{Access, Asks, Forms, resident_form};
use crate::workspace::view::{CARRIED, CONFIRMED, Form, Known, NotSaved, Refused, SessionKey, Typed};

/// What becomes of what was typed about whoever was to be admitted, and is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum News {
    /// Nothing: all of it is known.
    #[serde(rename = "1")]
    Nothing,
    /// What is new is a draft of an edit.
    #[serde(rename = "news")]
    Edit,
    /// It is kept as it was: not all of it can be compared, or edited, on this device.
    Hidden,
}

/// The most that somebody is asked about at once.
const ASKED: usize = 6;

impl Forms {
    /// Whether whoever is admitted may be somebody the device knows, in care or not, or whoever is edited may be since
    /// or is given the number of one, about whom the question was not answered yet.
    pub(super) fn is_nobody_here(
        &self,
        permit: &Permit<ReadPatients>,
        edited: Option<&PatientDocument>,
        change: &Change,
        answers: &Typed,
    ) -> Result<(), NotSaved> {
        let alike = match (change.kind, edited) {
            (ChangeKind::Patch, Some(edited)) => self.reader.newly_alike(permit, edited, &change.fields)?,
            (ChangeKind::Create, _) if change.supersedes.is_none() => {
                let mut admitted = PatientDocument::new(PatientId::from_bytes([0; 16]));
                admitted.set_all(&change.fields);
                self.reader.known_as(permit, &admitted, may_be_one)?
            }
            (ChangeKind::Create | ChangeKind::Patch | ChangeKind::Amend | ChangeKind::Delete, _) => {
                Vec::new()
            }
        };
        self.are_answered(permit, alike, change.kind == ChangeKind::Create, answers)
    }

    /// Asks about those of these people who were not shown with all that is asked of them now. Whose a number is and
    /// who somebody is are two questions, one after the other, unless somebody is admitted.
    pub(super) fn are_answered(
        &self,
        permit: &Permit<ReadPatients>,
        mut alike: Vec<Known>,
        admits: bool,
        answers: &Typed,
    ) -> Result<(), NotSaved> {
        let said = |asked: &String| answers.iter().any(|(key, text)| key == CONFIRMED && text == asked);
        alike.retain(|known| !known.answers(admits).iter().all(said));
        if !admits && !Known::numbers_of(&alike).is_empty() {
            alike.retain(|known| known.numbers().next().is_some());
        }
        alike.truncate(ASKED);
        if alike.is_empty() {
            return Ok(());
        }
        // Each of them is read on that page.
        let trail = &self.reader.trail;
        let shown =
            |known: &Known| trail.access_event(permit.actor(), &Access::resident(known.resident.id), true);
        trail.append(alike.iter().map(shown).collect());
        Err(NotSaved::Alike(alike))
    }

    /// Whoever was to be admitted is that resident: nobody is. What was typed and is not known of the resident is
    /// kept as a draft of an edit. What such a form does not ask here is kept as it was typed.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn is_known_as(&self, on: &SessionKey, patient: PatientId, answers: &Typed) -> Result<News, Refused> {
        let form = Form::Edit(patient);
        let hidden = || self.keep_draft(on, &Form::Admit, answers, None).map(|_| News::Hidden);
        let prepared = match self.prepare(on, &form, &[], None) {
            Err(Refused::NotShown) => return hidden(),
            prepared => prepared?,
        };
        let user = prepared.writer.actor().user;
        let today = Today::of(Some(&prepared.zone), self.reader.clock.now());
        let known = |key: &str| prepared.filled.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_news = |key: &str, text: &str| {
            patient::field(key).is_some_and(|field| field.is_news(text, known(key), today))
        };
        let asked = prepared.workflow.fields.iter().filter_map(|field| {
            answers.iter().rfind(|(key, _)| *key == field.key).filter(|(key, text)| is_news(key, text))
        });
        let news: Vec<(String, String)> = asked.cloned().collect();
        if !news.is_empty() {
            let carried = || prepared.answers.into_iter().filter(|(key, _)| CARRIED.contains(&key.as_str()));
            let begun = self.draft(user, &form)?;
            let edit = laid_over(begun.unwrap_or_else(|| carried().collect()), &news);
            self.keep_typed(Unwritten { user, form, answers: edit, sent_as: None })?;
        }
        let whole = resident_form::form(Asks::Admission, self.reader.phi_mode());
        let is_hidden = |key: &str| !prepared.workflow.fields.iter().any(|field| field.key == key);
        let mut unasked = whole.fields.iter().filter(|field| is_hidden(&field.key));
        let is_typed =
            |field: &Field| answers.iter().any(|(key, text)| *key == field.key && !text.trim().is_empty());
        if unasked.any(is_typed) {
            return hidden();
        }
        // Where the disk takes nothing the admission stays listed, and whoever saves it is asked again.
        drop(self.drop_kept(user, &Form::Admit));
        Ok(if news.is_empty() { News::Nothing } else { News::Edit })
    }
}
