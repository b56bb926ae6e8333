//! Forms, rendered from a workflow's schema (S4-22: no field is known to the code).

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::day;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::FIELDS;
use carepost_protocol::record::PatientDocument;
use carepost_protocol::workflow::{FieldError, FieldType};

use super::field::{Control, FieldView};
use super::page::{self, Shell, answer};
use super::words::Weight;
use crate::desk::view::{
    CONFIRMED, DISCHARGED, Form, FormPage, Known, SEEN, Since, Typed, another_than, units_of,
};

#[derive(Template)]
#[template(path = "form.html")]
struct FormTemplate {
    shell: Shell,
    form: FormView,
}

pub(super) fn form(status: StatusCode, shell: Shell, form: FormView) -> Response {
    answer(status, &FormTemplate { shell: shell.held(), form })
}

#[derive(Template)]
#[template(path = "rescue.html")]
struct RescuePage<'a> {
    shell: Shell,
    answers: Vec<&'a (String, String)>,
    words: &'a str,
    /// Where the draft that keeps them is discarded.
    discard: Option<String>,
}

/// Answers that were neither saved nor can be shown in their form; `kept` is the form of which they are a draft.
pub(super) fn rescue(
    status: StatusCode,
    shell: Shell,
    answers: &Typed,
    words: &str,
    kept: Option<&Form>,
) -> Response {
    let answers = answers.iter().collect();
    let discard = kept.map(|form| format!("{}/discard", path(form)));
    let words = words.trim_end_matches('.');
    answer(status, &RescuePage { shell: shell.held(), answers, words, discard })
}

/// What stood in the way of saving.
pub(super) enum Returned {
    /// These answers are wrong.
    Faults(Vec<FieldError>),
    /// These answers are unlikely: whether to save them as they are.
    Doubts(Vec<FieldError>),
    /// Whoever is admitted may be one of these, or has the number of one.
    Alike(Vec<Known>),
    /// The entry was corrected since the form was opened.
    CorrectedSince,
    /// Nothing was kept; why, in words.
    NotKept(String),
    /// It may be saved or not; what to do, in words.
    Uncertain(String),
}

impl Returned {
    /// Why nothing was kept, unless it is for the answers.
    pub(super) fn words(&self) -> Option<String> {
        match self {
            Self::Faults(_) | Self::Doubts(_) | Self::Alike(_) | Self::CorrectedSince => None,
            Self::NotKept(words) | Self::Uncertain(words) => Some(words.clone()),
        }
    }
}

/// A form as the page shows it.
pub(super) struct FormView {
    /// Where it is sent to.
    pub(super) path: String,
    /// Where "back" leads.
    pub(super) back: String,
    pub(super) person: Option<Person>,
    pub(super) label: String,
    /// What the button that saves it says.
    pub(super) save: String,
    /// What is corrected here, and why, in words.
    pub(super) about: Option<String>,
    /// What it showed when it was opened, for a form that only sends what was changed.
    pub(super) seen: Option<String>,
    /// The measures it is shown in, unless they are its own.
    pub(super) units: Option<&'static str>,
    /// Which version of its workflow it is.
    pub(super) version: u32,
    pub(super) token: String,
    pub(super) from_draft: bool,
    /// Whether something is kept of it that can be dropped.
    pub(super) is_kept: bool,
    pub(super) fields: Vec<FieldView>,
    /// Faults of no field that is shown.
    pub(super) loose: Vec<String>,
    pub(super) not_kept: Option<String>,
    /// That it is not certain whether it was saved, and what to do.
    pub(super) uncertain: Option<String>,
    /// What is doubtful about the answers, as it is sent back to confirm it, and in words, unless it was confirmed.
    pub(super) doubts: Vec<(String, Option<String>)>,
    /// Who may be the same person: what says so, what is confirmed by saying otherwise, and who it is.
    pub(super) alike: Vec<Alike>,
    /// What was confirmed before about something else than is asked now: one answer does not take back another.
    pub(super) confirmed: Vec<String>,
    /// Whether somebody new is admitted.
    pub(super) admits: bool,
    /// What is confirmed where the form says that the resident was discharged.
    pub(super) discharged: Option<String>,
    /// What became of the entry since, which keeps this from being saved.
    pub(super) since: Option<Since>,
}

/// Somebody who may be the person that is admitted, or whose number somebody is given.
pub(super) struct Alike {
    pub(super) id: PatientId,
    /// What says that it is another.
    pub(super) another: String,
    pub(super) person: Person,
    /// Whether the number that was typed is this person's own, and not that of somebody whose place they took.
    pub(super) is_own_number: bool,
}

impl From<&Known> for Alike {
    fn from(known: &Known) -> Self {
        let Known { resident, has_same_number: is_own_number } = known;
        let (id, person) = (resident.id, Person::from(resident));
        Self { id, another: another_than(id), person, is_own_number: *is_own_number }
    }
}

impl FormView {
    /// A form to fill in.
    pub(super) fn fresh(form: &FormPage) -> Self {
        Self::with(form, if form.from_draft { &[] } else { &form.faults }, None)
    }

    /// A form that comes back with its answers as they were typed.
    pub(super) fn again(form: &FormPage, returned: Returned) -> Self {
        match returned {
            Returned::Faults(faults) => Self { from_draft: false, ..Self::with(form, &faults, None) },
            Returned::Doubts(doubts) => {
                let is_new = |doubt: &FieldError| {
                    let doubt = doubt.to_string();
                    form.answers.iter().all(|(key, text)| key != CONFIRMED || *text != doubt)
                };
                let words = |doubt: &FieldError| is_new(doubt).then(|| page::capital(&doubt.detail));
                let asked = doubts.iter().map(|doubt| (doubt.to_string(), words(doubt)));
                let again = Self::with(form, &[], None);
                let is_asked = doubts.iter().any(|doubt| doubt.field == DISCHARGED && is_new(doubt));
                let discharged = again.discharged.filter(|_| !is_asked);
                Self { from_draft: false, doubts: asked.collect(), discharged, ..again }.confirming(form)
            }
            Returned::Alike(known) => {
                let alike = known.iter().map(Alike::from).collect();
                Self { from_draft: false, alike, ..Self::with(form, &[], None) }.confirming(form)
            }
            Returned::CorrectedSince => Self { from_draft: false, ..Self::with(form, &[], None) },
            Returned::NotKept(words) => Self { from_draft: false, ..Self::with(form, &[], Some(words)) },
            Returned::Uncertain(words) => {
                Self { from_draft: false, uncertain: Some(words), ..Self::with(form, &[], None) }
            }
        }
    }

    /// Carries along what was confirmed before.
    fn confirming(self, form: &FormPage) -> Self {
        let asks = |text: &str| {
            self.doubts.iter().any(|(doubt, _)| doubt == text)
                || self.alike.iter().any(|known| known.another == text)
                || self.discharged.as_deref() == Some(text)
        };
        let said = form.answers.iter().filter(|(key, text)| key == CONFIRMED && !asks(text));
        let confirmed = said.map(|(_, text)| text.clone()).collect();
        Self { confirmed, ..self }
    }

    fn with(form: &FormPage, faults: &[FieldError], not_kept: Option<String>) -> Self {
        let units = units_of(&form.answers);
        let ordered = form.workflow.in_order();
        let loose = faults.iter().filter(|fault| ordered.iter().all(|field| field.key != fault.field));
        let loose = loose.map(ToString::to_string).collect();
        let mut fields: Vec<FieldView> = ordered
            .iter()
            .enumerate()
            .map(|(at, field)| {
                let answer = form.answers.iter().find(|(key, _)| *key == field.key);
                let fault = faults.iter().find(|fault| fault.field == field.key);
                let answer = answer.map_or("", |(_, text)| text);
                let view = FieldView::new(at, &field.charted_in(units), answer, fault);
                if field.field_type == FieldType::Datetime { view.timed(form, field, answer) } else { view }
            })
            .collect();
        if let Some(first) = fields.iter_mut().find(|field| field.fault.is_some()) {
            first.focus = true;
        }
        let seen = form.answers.iter().find(|(key, _)| key == SEEN).map(|(_, text)| text.clone());
        Self {
            path: path(&form.form),
            back: if let Form::Again(_) = form.form { "/attention".to_owned() } else { about(&form.form) },
            person: form.resident.as_ref().map(Person::from),
            label: form.workflow.label.clone(),
            save: match (&form.form, &form.resident) {
                (Form::Discharge(_), Some(resident)) => format!("Discharge {}", resident.name),
                (Form::Readmit(_), Some(resident)) => format!("Readmit {}", resident.name),
                _ => "Save".to_owned(),
            },
            about: explained(form).map(|words| format!("{}.", words.trim_end_matches('.'))),
            seen,
            units: (!units.is_default()).then(|| units.name()),
            version: form.workflow.version,
            token: form.token.clone(),
            from_draft: form.from_draft,
            is_kept: form.from_draft,
            fields,
            loose,
            not_kept,
            uncertain: None,
            doubts: Vec::new(),
            alike: Vec::new(),
            confirmed: Vec::new(),
            admits: form.form == Form::Admit,
            discharged: form.discharged.as_ref().map(ToString::to_string),
            since: form.since.clone(),
        }
    }

    /// What the button says that is pressed when it is none of those who are known, or the number is right.
    pub(super) const fn another(&self) -> &'static str {
        match (self.admits, self.alike.len()) {
            (true, 0 | 1) => "Different person: admit",
            (true, _) => "None of these: admit",
            (false, _) => "Save with this MRN",
        }
    }

    /// Whether one of those who are known has the number that was typed as their own.
    pub(super) fn is_a_number_of_theirs(&self) -> bool {
        self.alike.iter().any(|known| known.is_own_number)
    }

    pub(super) fn faulty(&self) -> usize {
        self.fields.iter().filter(|field| field.fault.is_some()).count() + self.loose.len()
    }
}

/// Whom a page is about.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) room: Option<String>,
    pub(super) born: Option<String>,
    /// The other fields that are asked for: what each is called, and the text, where there is one.
    pub(super) numbers: Vec<(&'static str, Option<String>)>,
    pub(super) is_active: bool,
}

impl From<&PatientDocument> for Person {
    fn from(resident: &PatientDocument) -> Self {
        const PLACED: [&str; 3] = ["name", "room", "date_of_birth"];
        let others = FIELDS.iter().filter(|field| field.is_asked() && !PLACED.contains(&field.key));
        Self {
            name: resident.name.clone(),
            room: resident.room.clone(),
            born: resident.date_of_birth.as_deref().map(day::shown),
            numbers: others.map(|field| (field.short, field.shown(resident))).collect(),
            is_active: resident.is_active,
        }
    }
}

/// The page of whom a form is about; the residents where that is nobody in particular.
pub(super) fn about(form: &Form) -> String {
    match form {
        Form::Chart(id, _)
        | Form::Correct(id, _)
        | Form::Strike(id, _)
        | Form::Edit(id)
        | Form::Discharge(id)
        | Form::Readmit(id) => format!("/residents/{id}"),
        Form::Admit | Form::Again(_) => "/".to_owned(),
    }
}

/// A form's path.
pub(super) fn path(form: &Form) -> String {
    match form {
        Form::Chart(id, workflow) => {
            // Keys are letters, digits and underscores; whatever else one were stays within its segment.
            let segment: String = workflow
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect();
            format!("/residents/{id}/chart/{segment}")
        }
        Form::Correct(id, record) => format!("/residents/{id}/correct/{record}"),
        Form::Strike(id, record) => format!("/residents/{id}/strike/{record}"),
        Form::Admit => "/admit".to_owned(),
        Form::Edit(id) => format!("/residents/{id}/edit"),
        Form::Discharge(id) => format!("/residents/{id}/discharge"),
        Form::Readmit(id) => format!("/residents/{id}/readmit"),
        Form::Again(n) => format!("/attention/{n}"),
    }
}

/// What a form says of itself before it asks.
fn explained(form: &FormPage) -> Option<String> {
    let of = form.author.as_ref().map(|author| format!(" by {author}")).unwrap_or_default();
    match (&form.form, &form.refusal) {
        (_, Some(why)) => Some(format!("The server refused this: {}", page::capital(why))),
        (Form::Correct(_, _), None) => {
            Some(format!("You correct an entry{of}. What was charted before stays readable."))
        }
        (Form::Strike(_, _), None) => {
            let last = if form.has_form {
                ""
            } else {
                " It cannot be put back on this device until the form of that time is here."
            };
            Some(format!(
                "You strike out an entry{of} that was charted in error. It stays readable, struck through.{last}"
            ))
        }
        (Form::Discharge(_), None) => {
            let name = form.resident.as_ref().map_or("The resident", |resident| &resident.name);
            Some(format!(
                "{name} leaves the list of residents on every device. What was charted stays. The discharge \
                 can be undone."
            ))
        }
        (Form::Readmit(_), None) => {
            let name = form.resident.as_ref().map_or("The resident", |resident| &resident.name);
            let is_room_shown = form.workflow.fields.iter().any(|field| field.key == "room");
            let room = if is_room_shown { "" } else { " The room, which is not shown on this device, stays." };
            Some(format!("{name} is in the list of residents again, on every device.{room}"))
        }
        (Form::Admit, None) if form.sent != PhiMode::Full => Some(
            "Most of what is known of residents is not shown on this device, so it cannot tell whether somebody is here \
             already: look on one that shows it first. If two are one person, that is asked there once the server has both"
                .to_owned(),
        ),
        (Form::Edit(_), None) => {
            let is_asked = |key: &str| form.workflow.fields.iter().any(|field| field.key == key);
            let hidden = FIELDS.iter().filter(|field| field.is_asked() && !is_asked(field.key));
            let labels: Vec<&str> = hidden.map(|field| field.label).collect();
            (!labels.is_empty()).then(|| {
                format!(
                    "Not shown on this device, and left as they are: {}. Change them on one that shows them, or ask \
                     the office",
                    labels.join(", ")
                )
            })
        }
        (Form::Chart(_, _) | Form::Admit | Form::Again(_), None) => None,
    }
}
