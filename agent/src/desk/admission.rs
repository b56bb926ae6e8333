//! Who may be somebody that is here already: asked before a resident is admitted, and answered without
//! admitting anybody; and whose number another has, asked before an edit gives it to somebody.

use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::day::Today;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::{self, has_same_number, may_be_one};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::workflow::Field;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::noted::Page;
use super::residents::{self, Asks, keep_present};
use super::unfinished::laid_over;
use super::view::{CARRIED, CONFIRMED, Form, Known, NotSaved, Refused, SessionKey, Typed, another_than};
use super::ward::{Ward, storage};

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

impl Ward {
    /// Whether whoever is admitted may be somebody the device knows, in care or not, or whoever is edited is given
    /// the number of one, about whom the question was not answered yet.
    pub(super) fn is_nobody_here(
        &self,
        on: &SessionKey,
        edited: Option<&PatientDocument>,
        change: &Change,
        answers: &Typed,
    ) -> Result<(), NotSaved> {
        let permit = self.authorized::<ReadPatients>(on).map_err(|(refused, _)| refused)?;
        let alike = match (change.kind, edited) {
            (ChangeKind::Patch, Some(edited)) if change.fields.contains_key("mrn") => {
                let mut edited = edited.clone();
                edited.set_all(&change.fields);
                self.with_the_number_of(&permit, &edited)?
            }
            (ChangeKind::Create, _) if change.supersedes.is_none() => {
                let mut admitted = PatientDocument::new(PatientId::from_bytes([0; 16]));
                admitted.set_all(&change.fields);
                self.known_as(&permit, &admitted, may_be_one)?
            }
            (ChangeKind::Create | ChangeKind::Patch | ChangeKind::Amend | ChangeKind::Delete, _) => {
                Vec::new()
            }
        };
        self.are_answered(&permit, alike, answers)
    }

    /// Asks about these people, unless somebody said of each that it is another.
    pub(super) fn are_answered(
        &self,
        permit: &Permit<ReadPatients>,
        mut alike: Vec<Known>,
        answers: &Typed,
    ) -> Result<(), NotSaved> {
        alike.truncate(ASKED);
        let is_answered = |known: &Known| {
            answers.iter().any(|(key, text)| key == CONFIRMED && *text == another_than(known.resident.id))
        };
        if alike.iter().all(is_answered) {
            return Ok(());
        }
        // Each of them is read on that page.
        let shown = |known: &Known| self.access(permit.actor(), &Page::resident(known.resident.id), true);
        self.append_audit(alike.iter().map(shown).collect());
        Err(NotSaved::Alike(alike))
    }

    /// The others who have a resident's number, which is one person's, or took the place of somebody who had it.
    pub(super) fn with_the_number_of(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
    ) -> Result<Vec<Known>, Refused> {
        let mut others = self.known_as(permit, resident, has_same_number)?;
        others.retain(|other| {
            other.resident.id != resident.id && Some(other.resident.id) != resident.replaced_by
        });
        Ok(others)
    }

    /// The people of whom that holds beside whoever is asked about, those in care first.
    fn known_as(
        &self,
        permit: &Permit<ReadPatients>,
        asked: &PatientDocument,
        holds: impl Fn(&PatientDocument, &PatientDocument) -> bool,
    ) -> Result<Vec<Known>, Refused> {
        let mut known = self.all_residents(permit)?;
        keep_present(&mut known, |resident| holds(asked, resident));
        let known = known.into_iter().map(|resident| Known::beside(asked, resident.document));
        let mut known: Vec<Known> = known.collect();
        known.sort_by_key(|known| (!known.resident.is_active, known.resident.id));
        Ok(known)
    }

    /// Whoever was to be admitted is that resident: nobody is. What was typed and is not known of the resident is
    /// kept as a draft of an edit. What such a form does not ask here is kept as it was typed.
    pub(super) fn is_known_as(
        &self,
        on: &SessionKey,
        patient: PatientId,
        answers: &Typed,
    ) -> Result<News, Refused> {
        let form = Form::Edit(patient);
        let sheet = match self.sheet(on, &form, &[], None) {
            Err(Refused::NotShown) => {
                self.keep_draft(on, &Form::Admit, answers)?;
                return Ok(News::Hidden);
            }
            sheet => sheet?,
        };
        let user = sheet.writer.actor().user;
        let today = Today::of(Some(&self.time_here().zone), self.clock.now());
        let known = |key: &str| sheet.filled.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_news = |key: &str, text: &str| {
            patient::field(key).is_some_and(|field| field.is_news(text, known(key), today))
        };
        let asked = sheet.workflow.fields.iter().filter_map(|field| {
            answers.iter().rfind(|(key, _)| *key == field.key).filter(|(key, text)| is_news(key, text))
        });
        let news: Vec<(String, String)> = asked.cloned().collect();
        if !news.is_empty() {
            let carried = || sheet.answers.into_iter().filter(|(key, _)| CARRIED.contains(&key.as_str()));
            let edit = laid_over(sheet.draft.unwrap_or_else(|| carried().collect()), &news);
            self.keep_typed(user, &form, &edit)?;
        }
        let whole = residents::form(Asks::Admission, self.phi_mode());
        let is_hidden = |key: &str| !sheet.workflow.fields.iter().any(|field| field.key == key);
        let mut hidden = whole.fields.iter().filter(|field| is_hidden(&field.key));
        let is_typed =
            |field: &Field| answers.iter().any(|(key, text)| *key == field.key && !text.trim().is_empty());
        if hidden.any(is_typed) {
            self.keep_draft(on, &Form::Admit, answers)?;
            return Ok(News::Hidden);
        }
        self.outbox.drop_draft(user, &Form::Admit.draft()).map_err(storage)?;
        Ok(if news.is_empty() { News::Nothing } else { News::Edit })
    }
}
