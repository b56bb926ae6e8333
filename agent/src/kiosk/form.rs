//! Forms, rendered from a workflow's schema (S4-22: no field is known to the code).

use carepost_protocol::day::{self, parse_datetime};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::FIELDS;
use carepost_protocol::record::PatientDocument;
use carepost_protocol::workflow::{Field, FieldError, FieldType};
use carepost_protocol::zone::{Reading, Zone};

use super::page;
use crate::desk::view::{
    CONFIRMED, DISCHARGED, Form, FormPage, Known, OFFSET, SEEN, Since, another_than, units_of,
};

/// A select with more options than this is a list to open; up to it, big buttons.
const BUTTONS: usize = 5;
/// A text whose key ends in one of these words is asked for in a box that grows.
const LONG_TEXTS: [&str; 12] = [
    "note",
    "notes",
    "reason",
    "comment",
    "comments",
    "details",
    "description",
    "summary",
    "justification",
    "question",
    "questions",
    "history",
];

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

/// One question.
pub(super) struct FieldView {
    /// Names it within the page.
    pub(super) id: String,
    pub(super) key: String,
    pub(super) label: String,
    pub(super) required: bool,
    pub(super) hint: String,
    pub(super) unit: Option<String>,
    pub(super) value: String,
    pub(super) control: Control,
    pub(super) fault: Option<String>,
    /// The two moments that clocks show at the time that is filled in.
    pub(super) twice: Vec<Choice>,
    /// Whether the page opens with the cursor here.
    pub(super) focus: bool,
}

/// How a question is answered.
pub(super) enum Control {
    /// A line: the type of the input and the keyboard that a touch screen opens.
    Line { kind: &'static str, keyboard: &'static str },
    /// A box that grows.
    Area,
    /// Big buttons, one of which is chosen.
    Buttons(Vec<Choice>),
    /// A list to open.
    List(Vec<Choice>),
}

/// One of the answers to choose from.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
    pub(super) chosen: bool,
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
            "This device does not show names, birthdays and MRNs, so it cannot tell whether somebody is here already: \
             look on one that does first. If two are one person, that is asked there once the server has both"
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

impl FieldView {
    fn new(at: usize, field: &Field, answer: &str, fault: Option<&FieldError>) -> Self {
        Self {
            id: format!("f{at}"),
            key: field.key.clone(),
            label: field.label.clone(),
            required: field.required,
            hint: hint(field),
            unit: field.unit.clone(),
            value: answer.to_owned(),
            control: control(field, answer),
            fault: fault.map(|fault| fault.detail.clone()),
            twice: Vec::new(),
            focus: false,
        }
    }

    /// A question for a time, asked and answered in the form's zone.
    fn timed(self, form: &FormPage, field: &Field, answer: &str) -> Self {
        // However it was typed: what is asked about it has to stand beside the time that it was taken for.
        let value = parse_datetime(answer).map_or_else(|_| answer.to_owned(), |time| form.zone.wall(&time));
        let said = form.answers.iter().find(|(key, _)| key.strip_prefix(OFFSET) == Some(&field.key));
        let said = said.map_or(answer, |(_, text)| text);
        let zone = form.zone.name().map(|name| format!("Time zone: {name}"));
        Self {
            hint: zone
                .into_iter()
                .chain(Some(self.hint).filter(|hint| !hint.is_empty()))
                .collect::<Vec<_>>()
                .join(". "),
            control: control(field, &value),
            twice: twice(&form.zone, &value, said),
            value,
            ..self
        }
    }

    /// The ids of what describes the question, for who hears the page.
    pub(super) fn described_by(&self) -> String {
        let hint = (!self.hint.is_empty()).then(|| format!("{}-hint", self.id));
        let fault = self.fault.is_some().then(|| format!("{}-fault", self.id));
        hint.into_iter().chain(fault).collect::<Vec<_>>().join(" ")
    }
}

/// The moments that a time on the wall may mean, to choose from; nothing where there is no choice.
fn twice(zone: &Zone, wall: &str, said: &str) -> Vec<Choice> {
    let readings = zone.readings(wall);
    let differ = readings.iter().any(|it| it.is_daylight) && !readings.iter().all(|it| it.is_daylight);
    let choice = |(which, Reading { stored, of, is_daylight }): (&str, Reading)| Choice {
        label: match (differ, is_daylight) {
            (true, true) => format!("{which}: daylight time ({of})"),
            (true, false) => format!("{which}: standard time ({of})"),
            (false, _) => format!("{which}: {of}"),
        },
        chosen: stored == said,
        value: stored,
    };
    if readings.len() < 2 {
        Vec::new()
    } else {
        ["First", "Second"].into_iter().zip(readings).map(choice).collect()
    }
}

fn control(field: &Field, answer: &str) -> Control {
    let line = |kind, keyboard| Control::Line { kind, keyboard };
    match field.field_type {
        FieldType::String if is_long(field, answer) => Control::Area,
        FieldType::String => line("text", "text"),
        // A browser drops a day that it did not write itself: such an answer stays as text.
        FieldType::Date if answer.is_empty() || has_shape(answer, "0000-00-00") => line("date", "text"),
        FieldType::Datetime if answer.is_empty() || has_shape(answer, "0000-00-00T00:00") => {
            line("datetime-local", "text")
        }
        FieldType::Date | FieldType::Datetime => line("text", "text"),
        // The number pads of phones have no minus sign.
        FieldType::Integer | FieldType::Number if field.min.is_some_and(|min| min < 0.0) => {
            line("text", "text")
        }
        FieldType::Integer => line("text", "numeric"),
        FieldType::Number => line("text", "decimal"),
        FieldType::Boolean => {
            let answer = if matches!(answer, "true" | "on") { "yes" } else { answer };
            let answer = if answer == "false" { "no" } else { answer };
            Control::Buttons(choices(field, answer, [("yes", "Yes"), ("no", "No")].into_iter()))
        }
        FieldType::Select => {
            let options = field.options.iter().map(|option| (option.as_str(), option.as_str()));
            let choices = choices(field, answer, options);
            if field.options.len() <= BUTTONS { Control::Buttons(choices) } else { Control::List(choices) }
        }
    }
}

/// The answers to choose from. A question that may stay open can be opened again.
fn choices<'a>(
    field: &Field,
    answer: &str,
    options: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<Choice> {
    let none = (!field.required).then_some(("", "No answer"));
    options
        .chain(none)
        .map(|(value, label)| Choice {
            value: value.to_owned(),
            label: label.to_owned(),
            chosen: answer == value,
        })
        .collect()
}

/// What is usual, or suggested: an answer is only what somebody gives.
fn hint(field: &Field) -> String {
    let unit = field.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let usual = match (field.min, field.max) {
        (Some(min), Some(max)) => Some(format!("Usual: {min} to {max}{unit}")),
        (Some(min), None) => Some(format!("Usual: {min}{unit} or more")),
        (None, Some(max)) => Some(format!("Usual: {max}{unit} or less")),
        (None, None) => None,
    };
    let suggested = field.default.as_deref().map(|default| format!("Suggested: {default}"));
    usual.into_iter().chain(suggested).collect::<Vec<_>>().join(". ")
}

fn is_long(field: &Field, answer: &str) -> bool {
    let last = field.key.rsplit('_').next().unwrap_or_default();
    LONG_TEXTS.contains(&last) || answer.contains('\n') || answer.chars().count() > 80
}

/// Whether a text has a digit where the shape has one, and the shape's own sign elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(is, asked)| is == asked || (asked == b'0' && is.is_ascii_digit()))
}
