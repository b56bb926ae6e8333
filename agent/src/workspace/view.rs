//! View models: what the workspace shows, as plain values that the kiosk renders into pages.

pub(super) mod form;
mod screen;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use carepost_protocol::id::{PatientId, RecordId, ReviewId};
use carepost_protocol::patient::{FIELDS, Field};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::text::fold;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::older::OlderPlace;
use carepost_protocol::workflow::Workflow;

use super::answer::AnsweredField;
pub use super::refusal::{Known, Missed, NotSaved, Refused};
pub use form::{
    Answers, BASE, CARRIED, CONFIRMED, DISCHARGED, Draft, Form, FormPage, Kept, NotOpened, OFFSET, REASON,
    SAME, SEEN, Since, Struck, Typed, UNITS, units_of,
};
pub use screen::{Enrolling, Locked, Open, PinPad, Screen, SessionKey};
pub use status::{CopyTrouble, Link, Sending, StatusLine, SyncView};

/// A resident as the device knows them: edits that wait are laid over what the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    pub document: PatientDocument,
    /// How far the last edit here has come; none where nothing waits.
    pub mark: Option<Mark>,
}

/// How many others look on this device like a resident. Who was discharged does not look like somebody in care:
/// every page about them says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Twins {
    /// Those with the same name, room and date of birth, which is what every page says.
    pub by_name: usize,
    /// Those of them whose numbers are the same too, or are not here: nothing tells whose chart is whose.
    pub by_all: usize,
}

impl Twins {
    /// What every page about a resident says.
    pub const SAID: [&str; 3] = ["name", "room", "date_of_birth"];

    /// Those of one resident among all of the device.
    #[must_use]
    pub fn of(one: &PatientDocument, all: &[Resident]) -> Self {
        let (said, numbers): (Vec<&Field>, Vec<&Field>) =
            FIELDS.iter().filter(|field| field.is_asked()).partition(|field| Self::SAID.contains(&field.key));
        let is_same = |fields: &[&Field], other: &PatientDocument| {
            fields.iter().all(|field| field.shown(other) == field.shown(one))
        };
        let mut twins: Vec<&PatientDocument> = all.iter().map(|resident| &resident.document).collect();
        twins.retain(|other| other.id != one.id && other.replaced_by.is_none());
        twins.retain(|other| other.is_active == one.is_active && is_same(&said, other));
        let by_name = twins.len();
        twins.retain(|other| is_same(&numbers, other));
        Self { by_name, by_all: twins.len() }
    }
}

/// Which residents are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// All who live here.
    Here,
    /// Those who were discharged, the latest first.
    Discharged,
    /// Those who are found by what was typed.
    Found(String),
}

impl Who {
    /// Who is found by the first of what was typed. None where nothing was.
    #[must_use]
    pub fn found(typed: &str) -> Option<Self> {
        let typed: String = typed.chars().take(MAX_TYPED).collect();
        (!fold(&typed).is_empty()).then_some(Self::Found(typed))
    }
}

/// The longest text that somebody is found by, in characters.
const MAX_TYPED: usize = 100;

#[derive(Debug, Clone)]
pub struct Residents {
    /// By room, then name.
    pub residents: Vec<Resident>,
    /// Who was discharged, for whoever may readmit them: the latest first, or those who were found.
    pub discharged: Vec<Resident>,
    /// Of which of their fields two values were saved.
    pub contested: BTreeMap<PatientId, Vec<String>>,
    /// Whether more were found, or discharged, than are shown.
    pub more: bool,
    /// Whether the user may admit residents.
    pub may_admit: bool,
    /// Whether this is all of them; if not, say "still loading", never "none".
    pub complete: bool,
    /// What the user began.
    pub begun: Begun,
}

/// What a user began and has not saved, about one resident or whoever.
#[derive(Debug, Clone, Default)]
pub struct Begun {
    /// The latest.
    pub unfinished: Vec<Unfinished>,
    /// Whether more is kept than that.
    pub more: bool,
    /// What was dropped last, and can be had back.
    pub dropped: Option<Unfinished>,
}

/// A form that was begun and not saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub form: Form,
    pub name: String,
    /// About whom, by name; nobody yet where somebody is admitted.
    pub resident: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ResidentPage {
    pub resident: Resident,
    /// Who looks the same here.
    pub twins: Twins,
    /// As whom the same person was admitted besides.
    pub also: Vec<PatientDocument>,
    /// Of which of the fields two values were saved.
    pub contested: Vec<String>,
    /// Whether the user may change who and where the resident is.
    pub may_edit: bool,
    pub workflows: Vec<Arc<Workflow>>,
    /// What was charted, latest first, entries not yet sent laid over what the server has.
    pub entries: Vec<Charted>,
    /// Whether the list of entries is complete; if not, say "still loading".
    pub complete: bool,
    /// How much to ask for to see more entries; none when all that this device has are shown.
    pub more_entries: Option<Shown>,
    /// How much to ask for to see more versions of each.
    pub more_versions: Option<Shown>,
    /// Before when entries are on the server alone; none while none is.
    pub older_before: Option<Timestamp>,
    /// What takes a discharge back, for whoever may: the token of a form, and its answers.
    pub readmission: Option<(String, Vec<(String, String)>)>,
    /// What the user began about the resident.
    pub begun: Begun,
}

/// How many things a list of what needs somebody shows at once.
const LISTED: usize = 50;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    pub items: Vec<T>,
    /// After how many of the list the next part begins; none after the last.
    pub next: Option<usize>,
}

impl<T> Part<T> {
    /// How much of a list it takes to know what comes after so many of it, and whether anything comes after that.
    #[must_use]
    pub const fn reach(after: usize) -> usize {
        after.saturating_add(LISTED + 1)
    }

    /// What comes after so many of a list.
    #[must_use]
    pub fn of(list: Vec<T>, after: usize) -> Self {
        let end = after.saturating_add(LISTED);
        let next = (list.len() > end).then_some(end);
        Self { items: list.into_iter().take(end).skip(after).collect(), next }
    }
}

/// How much of what was charted is shown: nobody who corrects one entry without end makes a page without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// How many entries are left out before them, which were on the pages before.
    pub after: usize,
    pub entries: usize,
    /// How many versions of each that count, and of those before: the first and the last.
    pub versions: usize,
}

impl Shown {
    /// No page has more than so many of either: what comes after is on the next one.
    const MOST: usize = 5_000;

    /// What is asked for, within bounds.
    #[must_use]
    pub fn of(after: Option<usize>, entries: Option<usize>, versions: Option<usize>) -> Self {
        let most = |asked: Option<usize>, first| asked.unwrap_or(first).min(Self::MOST);
        let entries = most(entries, 50).max(1);
        Self { after: after.unwrap_or(0), entries, versions: most(versions, 10).max(2) }
    }

    /// The same with more entries, or the next page where one can have no more.
    #[must_use]
    pub fn more_entries(self) -> Self {
        if self.entries < Self::MOST {
            return Self { entries: (self.entries * 4).min(Self::MOST), ..self };
        }
        Self { after: self.after.saturating_add(self.entries), ..self }
    }

    /// The same with more versions.
    #[must_use]
    pub fn more_versions(self) -> Option<Self> {
        let versions = self.versions.saturating_mul(10);
        (self.versions < Self::MOST).then_some(Self { versions, ..self })
    }
}

/// A page of entries that are on the server alone.
#[derive(Debug, Clone)]
pub struct OlderPage {
    /// Who it is about.
    pub resident: PatientDocument,
    /// Who looks the same here.
    pub twins: Twins,
    /// What was charted, latest first.
    pub entries: Vec<Charted>,
    /// How many records this device does not understand.
    pub left_out: u64,
    /// Where the next page begins; none on the last one.
    pub next: Option<OlderPlace>,
    pub missed: Option<Missed>,
}

/// An entry with its corrections.
#[derive(Debug, Clone)]
pub struct Charted {
    /// What counts: one version, unless corrections were made side by side.
    pub counts: Vec<Entry>,
    /// The versions before, latest first.
    pub earlier: Vec<Entry>,
    /// How many of either are left out between the first and the last.
    pub left_out: usize,
    /// There are more corrections than are looked at: what counts may be among those.
    pub is_cut: bool,
    /// That somebody has to decide what stands.
    pub beside: Option<Beside>,
}

/// Corrections of one entry that were made side by side: more than one of them stands, or one beside another that
/// strikes the entry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Who charted what stands, by name, each once.
    pub by: Vec<String>,
    /// Who struck the entry out beside them, by name, each once.
    pub struck_by: Vec<String>,
    /// Who said last that all of it was looked at, by name, and when; none where nobody did.
    pub looked: Option<(String, Timestamp)>,
}

/// One version of a charted entry.
#[derive(Debug, Clone)]
pub struct Entry {
    pub record: RecordId,
    /// About whom it was charted.
    pub patient: PatientId,
    /// Whether it corrects another.
    pub is_correction: bool,
    /// Who charted the entry that it corrects, by name, and when, where that is here.
    pub charted: Option<(String, Timestamp)>,
    pub reason: Option<String>,
    /// Whether it strikes out what it corrects. The answers are then those that were struck out.
    pub is_struck: bool,
    /// Whether the user may correct it, or strike it out, as far as what was charted is here.
    pub may_correct: bool,
    /// Whether the version of the form that it was charted in is here: else it can only be struck out.
    pub has_form: bool,
    pub workflow: String,
    pub author: String,
    pub recorded_at: Timestamp,
    pub answered: Answered,
    pub mark: Mark,
    /// What became of it, in a word, where others count in its place.
    pub became: Option<&'static str>,
}

/// What was answered in an entry, as far as that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// That, in the order of the form; none where nothing was filled in.
    With(Vec<AnsweredField>),
    /// It is not sent to this device.
    NotSent,
    /// It is in the version that was struck out, and that one is not on this device.
    NotHere,
}

impl Entry {
    fn answers(&self) -> &[AnsweredField] {
        if let Answered::With(answers) = &self.answered { answers } else { &[] }
    }

    /// Whether one of its answers is critical, and it counts.
    #[must_use]
    pub fn is_critical(&self) -> bool {
        !self.is_struck && self.became.is_none() && self.critical().next().is_some()
    }

    /// Its answers that whoever reads it has to see.
    pub fn critical(&self) -> impl Iterator<Item = &AnsweredField> {
        self.answers().iter().filter(|answer| answer.is_critical)
    }

    /// Whether it can be corrected here, or, where it is struck out, put back as it was before.
    #[must_use]
    pub fn takes_correction(&self) -> bool {
        self.may_correct && self.has_form && !self.answers().is_empty()
    }

    /// Whether whoever reads it may correct it, and has to do so on another device: this one is not sent what was charted.
    #[must_use]
    pub fn is_corrected_elsewhere(&self) -> bool {
        self.may_correct && self.answered == Answered::NotSent
    }

    /// Whether it can be struck out here.
    #[must_use]
    pub fn takes_strike(&self) -> bool {
        self.may_correct && !self.is_struck && matches!(self.answered, Answered::With(_))
    }
}

/// How far an entry has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Durable on this device, not yet at the server.
    SavedHere,
    /// The server has it.
    Sent,
    /// The server did not take it; why, in words.
    Rejected(String),
}

/// A change made on this device that the server rejected.
#[derive(Debug, Clone)]
pub struct Rejected {
    pub n: u64,
    /// What it is, such as "Vital signs".
    pub what: String,
    /// About whom, where that is known.
    pub resident: Option<PatientDocument>,
    pub at: Timestamp,
    pub author: String,
    pub answers: Vec<AnsweredField>,
    /// Why, in sentences.
    pub why: Vec<String>,
    pub todo: Todo,
}

/// What to do about a rejected change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// Whoever is signed in made it, and can correct it here.
    Correct,
    /// Its author has to correct it, by name.
    Author(String),
    /// It goes on by itself once another is corrected: which.
    Waits(String),
    /// Whoever looks at the review again settles it.
    Review,
    /// Nobody can at this screen.
    Administrator,
}

/// What somebody has to look at.
#[derive(Debug, Clone)]
pub struct Review {
    pub id: ReviewId,
    /// The version that is shown.
    pub base: u64,
    /// Names this one form.
    pub token: String,
    /// About whom, where that is known.
    pub resident: Option<PatientDocument>,
    pub opened_at: Timestamp,
    pub question: Question,
    /// How many more there are than the question names.
    pub more: u64,
}

impl Review {
    /// What each number is called that more than one have of those whom it asks about, and who has it.
    #[must_use]
    pub fn of_one_number(&self) -> Vec<(&'static str, Vec<&PatientDocument>)> {
        let Question::Duplicate(others) = &self.question else { return Vec::new() };
        let of = |label: &'static str| {
            let numbered = others.iter().filter(|known| known.own.contains(&label));
            (label, self.resident.iter().chain(numbered.map(|known| &known.resident)).collect())
        };
        Known::numbers_of(others).into_iter().map(of).collect()
    }
}

/// Whether two residents are one person.
#[derive(Debug, Clone)]
pub struct Join {
    /// The review that asks, and the form that answers it.
    pub review: Review,
    /// Who was admitted last.
    pub last: PatientDocument,
    /// Who it may be.
    pub other: PatientDocument,
    /// Whether the one admitted last is the one that stays.
    pub last_stays: bool,
}

/// What there is to decide.
#[derive(Debug, Clone)]
pub enum Question {
    /// Which value is right, of each field.
    Conflict(Vec<Disputed>),
    /// Whether the resident is one of these.
    Duplicate(Vec<Known>),
    /// Whether these corrections of one entry were seen.
    Amendments(Vec<Entry>),
    /// A kind that this build does not know.
    Unknown,
}

/// A field with more than one saved value.
#[derive(Debug, Clone)]
pub struct Disputed {
    pub key: String,
    pub label: String,
    /// Its values, oldest first.
    pub values: Vec<Saved>,
    /// How many more were saved, that the server has.
    pub more: u64,
}

impl Disputed {
    /// Whether whoever saved a value saved another too: the name does not tell them apart.
    #[must_use]
    pub fn has_another_by(&self, value: &Saved) -> bool {
        self.values.iter().filter(|saved| saved.by == value.by).count() > 1
    }
}

/// A value that somebody saved.
#[derive(Debug, Clone)]
pub struct Saved {
    pub words: String,
    pub by: String,
    pub at: Timestamp,
    /// Whether it is what the resident's page says now.
    pub stands: bool,
}
