//! Forms: which there are, what they show, and the answers by which they carry what no field asks.

use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::workflow::{FieldError, Workflow};
use carepost_protocol::zone::Zone;

use crate::outbox::VERSION;
use crate::workspace::refusal::Refused;
use crate::workspace::view::{Entry, Twins};

/// Answers as they were typed, by the key of what was asked.
pub type Typed = [(String, String)];
/// The same, in the order in which they were sent or kept.
pub type Answers = Vec<(String, String)>;

/// The answer in which a form carries what it showed when it was opened, so that only what was changed
/// is an edit.
pub const SEEN: &str = "_seen";
/// The answer in which a form says which doubts about its answers were confirmed, one each.
pub const CONFIRMED: &str = "_confirmed";
/// With the ids of those who were shown after it, what is confirmed of whoever may be one of them: none of them is said
/// to be another, and a review asks.
pub const SAME: &str = "may be the same person as ";
/// With a field's key after it, the answer that says which is meant of the two moments that clocks show at a time.
pub const OFFSET: &str = "_offset_";
/// What is confirmed of an entry about somebody who was discharged.
pub const DISCHARGED: &str = "_discharged";

/// The answer in which a correction says why it is made.
pub const REASON: &str = "_reason";
/// The answer in which a review carries the version that was shown.
pub const BASE: &str = "_base";

/// The answer in which a form says in which measures it was shown, unless they are its own: what was typed
/// there, or waits as a draft, means what it meant then.
pub const UNITS: &str = "_units";

/// The measures in which the form was shown that has these answers.
#[must_use]
pub fn units_of(answers: &Typed) -> Units {
    let said = answers.iter().find(|(key, _)| key == UNITS);
    let known = said.and_then(|(_, text)| Units::ALL.into_iter().find(|units| units.name() == text));
    known.unwrap_or_default()
}

/// The answers that a form carries along, and nobody typed.
pub const CARRIED: [&str; 3] = [SEEN, UNITS, VERSION];

/// Which form is shown, or was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A new entry about a resident, by the workflow's key.
    Chart(PatientId, String),
    /// A correction of a record about a resident.
    Correct(PatientId, RecordId),
    /// That a record about a resident was charted in error.
    Strike(PatientId, RecordId),
    Admit,
    /// Who a resident is, and where.
    Edit(PatientId),
    /// That a resident lives here no more.
    Discharge(PatientId),
    /// That a resident lives here again.
    Readmit(PatientId),
    /// A rejected change, by its number in the care lane: to be corrected by whoever made it.
    Resubmit(u64),
}

/// A form to fill in.
#[derive(Debug, Clone)]
pub struct FormPage {
    pub form: Form,
    /// About whom; nobody yet where somebody is admitted.
    pub resident: Option<PatientDocument>,
    /// Who looks the same here.
    pub twins: Twins,
    pub workflow: Workflow,
    /// What is filled in already, as typed: defaults, or the user's draft.
    pub answers: Vec<(String, String)>,
    /// What of it the form itself had filled in, whatever was typed over that.
    pub showed: Vec<(String, String)>,
    /// Whether those come from a draft.
    pub from_draft: bool,
    /// Whether what was typed last is in memory alone, because the disk does not take it.
    pub is_unwritten: bool,
    /// Whether something was typed that is not shown here any more, and that a save does not send.
    pub hides_typed: bool,
    /// Names this one form, so that sending it twice saves it once.
    pub token: String,
    /// Why the server rejected what is corrected here, in words.
    pub rejection: Option<String>,
    /// Which answers it rejected.
    pub faults: Vec<FieldError>,
    /// Who charted what is corrected, by name, where that is somebody else.
    pub author: Option<String>,
    /// The entry that is struck out here.
    pub strikes: Option<Entry>,
    /// What is put back here was struck out: by whom, and why.
    pub puts_back: Option<Struck>,
    /// Whether there is a newer version of what it asks: it is saved in the one that it was begun in all the same.
    pub is_superseded: bool,
    /// That an entry is about somebody who was discharged.
    pub discharged: Option<FieldError>,
    /// Whether what is struck out here can be put back here: the version of the form that it was charted in is here.
    pub has_form: bool,
    /// What became of the entry that is corrected, since the form was opened: it is not saved then.
    pub since: Option<Since>,
    /// In which zone its times are.
    pub zone: Zone,
    pub now: Timestamp,
    /// How much of a resident is sent here.
    pub sent: PhiMode,
}

/// Why a form is not opened. What its typist had typed into it is hers, whatever became of the form, of whom it is about
/// or of her role. What the form had filled in itself is not: she may not read it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOpened {
    pub why: Refused,
    /// What was typed of what was sent, or else of what is kept; what was emptied is there with no text.
    pub typed: Vec<(String, String)>,
    /// Whether something is kept of it, on the disk, until she discards it.
    pub is_kept: bool,
}

impl From<Refused> for NotOpened {
    fn from(why: Refused) -> Self {
        Self { why, typed: Vec::new(), is_kept: false }
    }
}

/// That an entry was struck out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    pub by: String,
    pub reason: Option<String>,
}

/// The last correction of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// What counts now.
    pub record: RecordId,
    pub by: String,
    pub at: Timestamp,
    /// Whether it strikes the entry out.
    pub is_struck: bool,
}

/// Where what was typed and not saved is: nowhere where the form showed it all, in memory alone with why, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draft {
    Nothing,
    OnDisk,
    InMemory(String),
}

/// A form's answers that are durable on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// As what they are kept.
    pub record: RecordId,
    pub about: PatientId,
    pub is_critical: bool,
}
