//! Refusals: why something is not shown, or not saved. Each tells its reader what to do next.

use carepost_protocol::change::Change;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::same_numbers;
use carepost_protocol::record::PatientDocument;
use carepost_protocol::workflow::FieldError;

/// Why something is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody is signed in.
    #[error("sign in with your badge first")]
    Locked,
    /// The role does not allow it.
    #[error("your role does not allow this; ask your charge nurse")]
    NotAllowed,
    /// There is no such resident in this facility.
    #[error("there is no such resident here")]
    NoSuchResident,
    /// There is no such record about that resident.
    #[error("this entry is not on this device; it may still be loading")]
    NoSuchRecord,
    /// No rejected change has that number any more.
    #[error(
        "this entry was settled meanwhile: corrected, taken or discarded; look whether it stands, and chart it anew if \
         it does not"
    )]
    NotRejected,
    /// Somebody else made it.
    #[error("only whoever made this entry can correct it")]
    NotYours,
    /// The form lets only some roles correct another's entry.
    #[error(
        "your role may not correct another person's entry on this form; ask whoever made it, or your charge nurse"
    )]
    NotTheirs,
    /// What was charted is not sent to this device.
    #[error(
        "what was charted is not shown on this device; correct it, or strike it out, on one that shows it"
    )]
    NotSent,
    /// What is known of residents is not sent to this device.
    #[error("what is known of residents is not shown on this device; edit it on one that shows it")]
    NotShown,
    /// Somebody is to be readmitted who is in care.
    #[error("this resident is in care already, so there is nobody to readmit")]
    InCare(PatientId),
    /// Somebody is to be discharged who is not in care.
    #[error("this resident was discharged already")]
    NotInCare(PatientId),
    /// It is struck out already.
    #[error("this entry is struck out already")]
    Struck,
    /// There is no such review, or it is closed.
    #[error("somebody has already decided this; there is nothing left to do")]
    NoSuchReview,
    /// There is no such workflow, or it is switched off.
    #[error("there is no such form here")]
    NoSuchWorkflow,
    /// It was begun, or charted, in a version of its form that the device does not have.
    #[error(
        "this was written in another version of its form, and this device does not have that one; try again after the \
         next sync, or use another device. A saved entry can be struck out and charted anew"
    )]
    NoSuchVersion,
    /// What was typed would take the place of what was begun in another version of its form.
    #[error(
        "you have begun this in another version of its form too, and that is kept: save it or discard it first, so that \
         neither takes the other's place"
    )]
    BegunInAnother,
    /// What was typed is more than an entry can hold.
    #[error("this is more than one entry can hold; shorten the longest answer")]
    TooLong,
    /// The device cannot read its files, or drop what is in them.
    #[error("this device cannot use its records: {0}. Use another device and call IT")]
    Storage(String),
}

/// Why an entry was not saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSaved {
    /// Answers are wrong; the form comes back with them.
    #[error("some answers need correcting")]
    Answers(Vec<FieldError>),
    /// Answers are unlikely, each with its field and what is doubtful about it: the form comes back and asks
    /// whether to save them as they are.
    #[error("some answers are unlikely")]
    Doubts(Vec<FieldError>),
    /// Whoever is admitted may be one of these, who are here already, or has a number of one of these: the form
    /// comes back and asks.
    #[error("this may be somebody who is here already")]
    Alike(Vec<Known>),
    /// What is corrected or struck out was corrected since the form was opened: the form comes back and says by whom.
    #[error("this entry was corrected since; look at what stands now")]
    CorrectedSince,
    /// The entry could not even be looked at.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The form as it was sent cannot be taken; why and what to do, in words. The device is well.
    #[error("{0}")]
    NotTaken(String),
    /// The disk failed while it was written: it may be saved or not.
    #[error(
        "It is not certain that this was saved: {0}. Press save again; it is never saved twice. If that fails too, \
         write it on paper, use another device and call IT"
    )]
    Uncertain(String),
    /// The disk is full or broken: nothing of it was kept.
    #[error("{0}. Write it on paper, use another device and call IT")]
    Storage(String),
}

/// Somebody who is known, beside whoever is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub resident: PatientDocument,
    /// What the numbers are called that are theirs too.
    pub own: Vec<&'static str>,
    /// The same of whomever they took the place of, where they are not their own.
    pub former: Vec<&'static str>,
}

impl Known {
    /// A resident beside whoever is asked about.
    #[must_use]
    pub fn beside(asked: &PatientDocument, resident: PatientDocument) -> Self {
        let own = same_numbers(asked, &resident).map(|number| number.label).collect();
        Self { own, former: Vec::new(), resident }
    }

    /// What any of those numbers is called.
    pub fn numbers(&self) -> impl Iterator<Item = &'static str> {
        self.own.iter().chain(&self.former).copied()
    }

    /// The same of all of these, each once.
    #[must_use]
    pub fn numbers_of(all: &[Self]) -> Vec<&'static str> {
        let mut labels = Vec::new();
        for label in all.iter().flat_map(Self::numbers) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }

    /// What is confirmed by whoever is shown this and saves all the same: that each number is right and, where
    /// somebody is admitted or no number is asked about, that they are two.
    #[must_use]
    pub fn answers(&self, admits: bool) -> Vec<String> {
        let id = self.resident.id;
        let mut answers: Vec<String> = self.numbers().map(|number| format!("the {number} of {id}")).collect();
        if admits || answers.is_empty() {
            answers.push(Change::another(id));
        }
        answers
    }
}

/// Why the server did not say what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// It is not reached.
    #[error("the server is not reached now. Older entries can be shown when it is; you can keep charting")]
    Offline,
    /// It did not answer in time, or others wait already.
    #[error("the server has not answered in time. Try again in a moment; you can keep charting")]
    TooLate,
    /// It refused; why, in words.
    #[error("the server does not show older entries now: {0}")]
    NotShown(String),
}
