//! Forms, rendered from a workflow's schema (S4-22: no field is known to the code).

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::day;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::patient::FIELDS;
use carepost_protocol::record::PatientDocument;
use carepost_protocol::workflow::{Field, FieldError, FieldType};

use super::field::{Control, FieldView};
use super::shell::{Shell, answer, capital, status_of_save};
use super::words::Weight;
use crate::workspace::view::{
    Answered, Answers, CONFIRMED, DISCHARGED, Form, FormPage, Known, Mark, NotSaved, SAME, SEEN, Struck,
    Twins, Typed, units_of,
};

#[derive(Template)]
#[template(path = "form.html")]
struct FormTemplate {
    shell: Shell,
    form: FormView,
}

pub(crate) fn form(status: StatusCode, shell: Shell, form: FormView) -> Response {
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
    retry: Option<Retry>,
}

/// What may be saved, as it was sent: sent again it is saved once.
pub(crate) struct Retry {
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) answers: Answers,
}

/// Answers that were neither saved nor can be shown in their form; `kept` is the form of which they are a draft.
pub(crate) fn rescue(
    status: StatusCode,
    shell: Shell,
    answers: &Typed,
    words: &str,
    kept: Option<&Form>,
) -> Response {
    let answers = answers.iter().collect();
    let discard = kept.map(|form| format!("{}/discard", form.path()));
    let words = words.trim_end_matches('.');
    answer(status, &RescuePage { shell: shell.held(), answers, words, discard, retry: None })
}

/// What may be saved or not, where what it was sent from cannot be shown as it was: it is sent again from here.
pub(crate) fn uncertain(shell: Shell, why: &NotSaved, typed: &Typed, retry: Retry) -> Response {
    let answers = typed.iter().collect();
    let words = &why.to_string();
    let page = RescuePage { shell: shell.held(), answers, words, discard: None, retry: Some(retry) };
    answer(status_of_save(why), &page)
}

/// A form as the page shows it.
pub(crate) struct FormView {
    pub(crate) page: FormPage,
    /// Whether something is kept of it that can be dropped.
    pub(crate) is_kept: bool,
    pub(crate) fields: Vec<FieldView>,
    /// Faults of no field that is shown.
    pub(crate) loose: Vec<String>,
    pub(crate) not_kept: Option<String>,
    /// That it is not certain whether it was saved, and what to do.
    pub(crate) uncertain: Option<String>,
    /// What is doubtful about the answers, as it is sent back to confirm it, and in words, unless it was confirmed.
    pub(crate) doubts: Vec<(String, Option<String>)>,
    /// Who may be the same person.
    pub(crate) alike: Vec<Known>,
    /// What is confirmed of those who are shown, and was before about something else than is asked now: one answer does
    /// not take back another.
    pub(crate) confirmed: Vec<String>,
}

impl FormView {
    /// A form to fill in.
    pub(crate) fn fresh(mut page: FormPage) -> Self {
        let faults = std::mem::take(&mut page.faults);
        let is_draft = page.from_draft;
        Self::with(page, if is_draft { &[] } else { &faults })
    }

    /// A form that comes back with its answers as they were typed.
    pub(crate) fn returned(page: FormPage, why: &NotSaved) -> Self {
        let faults = if let NotSaved::Answers(faults) = why { faults.as_slice() } else { &[] };
        let mut view = Self::with(page, faults);
        view.page.from_draft = false;
        match why {
            NotSaved::Answers(_) | NotSaved::CorrectedSince => {}
            NotSaved::Doubts(doubts) => {
                let is_new = |doubt: &FieldError| !view.was_confirmed(&doubt.to_string());
                let words = |doubt: &FieldError| is_new(doubt).then(|| capital(&doubt.detail));
                let is_asked = doubts.iter().any(|doubt| doubt.field == DISCHARGED && is_new(doubt));
                view.doubts = doubts.iter().map(|doubt| (doubt.to_string(), words(doubt))).collect();
                view.page.discharged.take_if(|_| is_asked);
                view.carry_confirmed();
            }
            NotSaved::Alike(known) => {
                view.alike.clone_from(known);
                view.carry_confirmed();
                let asked = view.asked_of_alike();
                view.confirmed.extend(asked);
            }
            // Saved again without what was confirmed it would be another entry.
            NotSaved::Uncertain(_) => {
                view.carry_confirmed();
                view.uncertain = Some(why.to_string());
            }
            NotSaved::Refused(_) | NotSaved::NotTaken(_) | NotSaved::Storage(_) => {
                view.carry_confirmed();
                view.not_kept = Some(capital(&why.to_string()));
            }
        }
        view
    }

    fn with(mut page: FormPage, faults: &[FieldError]) -> Self {
        // It begins a sentence.
        if let Some(since) = &mut page.since {
            since.by = capital(&since.by);
        }
        let units = units_of(&page.answers);
        let ordered = page.workflow.in_order();
        let loose = faults.iter().filter(|fault| ordered.iter().all(|field| field.key != fault.field));
        let loose = loose.map(ToString::to_string).collect();
        let field = |(at, field): (usize, &&Field)| {
            let answer = page.answers.iter().find(|(key, _)| *key == field.key);
            let fault = faults.iter().find(|fault| fault.field == field.key);
            let answer = answer.map_or("", |(_, text)| text);
            let view = FieldView::new(at, &field.charted_in(units), answer, fault);
            if field.field_type == FieldType::Datetime { view.timed(&page, field, answer) } else { view }
        };
        let mut fields: Vec<FieldView> = ordered.iter().enumerate().map(field).collect();
        if let Some(first) = fields.iter_mut().find(|field| field.fault.is_some()) {
            first.focus = true;
        }
        Self {
            is_kept: page.from_draft,
            page,
            fields,
            loose,
            not_kept: None,
            uncertain: None,
            doubts: Vec::new(),
            alike: Vec::new(),
            confirmed: Vec::new(),
        }
    }

    fn was_confirmed(&self, doubt: &str) -> bool {
        self.page.answers.iter().any(|(key, text)| key == CONFIRMED && text == doubt)
    }

    /// Carries along what was confirmed before.
    fn carry_confirmed(&mut self) {
        let discharged = self.page.discharged.as_ref().map(ToString::to_string);
        let alike = self.asked_of_alike();
        let asks = |text: &str| {
            self.doubts.iter().any(|(doubt, _)| doubt == text)
                || alike.iter().any(|asked| asked == text)
                || discharged.as_deref() == Some(text)
        };
        let said = self.page.answers.iter().filter(|(key, text)| key == CONFIRMED && !asks(text));
        self.confirmed = said.map(|(_, text)| text.clone()).collect();
    }

    fn asked_of_alike(&self) -> Vec<String> {
        self.alike.iter().flat_map(|known| known.answers(self.admits())).collect()
    }

    /// What is confirmed where one of those who are shown may be the same person.
    pub(crate) fn same(&self) -> String {
        let ids: Vec<String> = self.alike.iter().map(|known| known.resident.id.to_string()).collect();
        format!("{SAME}{}", ids.join(" "))
    }

    /// Where "back" leads.
    pub(crate) fn back(&self) -> String {
        if let Form::Resubmit(_) = self.page.form { "/rejected".to_owned() } else { self.page.form.back() }
    }

    pub(crate) fn person(&self) -> Option<Person> {
        let (twins, shows_all) = (self.page.twins, self.page.sent == PhiMode::Full);
        self.page.resident.as_ref().map(|resident| Person::among(resident, twins, shows_all))
    }

    /// What its page is called.
    pub(crate) fn title(&self) -> &str {
        // The entry that is struck out says itself what it is.
        if let Form::Strike(_, _) = self.page.form { "Charted in error" } else { &self.page.workflow.label }
    }

    /// What the button that saves it says.
    pub(crate) fn save(&self) -> String {
        match (&self.page.form, &self.page.resident) {
            _ if self.uncertain.is_some() => "Save again".to_owned(),
            (Form::Strike(_, _), _) => "Strike out this entry".to_owned(),
            _ if self.page.puts_back.is_some() => "Put back this entry".to_owned(),
            (Form::Discharge(_), Some(resident)) => format!("Discharge {}", resident.name),
            (Form::Readmit(_), Some(resident)) => format!("Readmit {}", resident.name),
            _ => "Save".to_owned(),
        }
    }

    /// What is corrected here, and why, in words.
    pub(crate) fn about(&self) -> Option<String> {
        explained(&self.page).map(|words| format!("{}.", words.trim_end_matches('.')))
    }

    /// What it showed when it was opened, for a form that only sends what was changed.
    pub(crate) fn seen(&self) -> Option<&str> {
        self.page.answers.iter().find(|(key, _)| key == SEEN).map(|(_, text)| text.as_str())
    }

    /// The measures it is shown in, unless they are its own.
    pub(crate) fn units(&self) -> Option<&'static str> {
        let units = units_of(&self.page.answers);
        (!units.is_default()).then(|| units.name())
    }

    /// Whether somebody new is admitted.
    pub(crate) fn admits(&self) -> bool {
        self.page.form == Form::Admit
    }

    /// What the button says that is pressed when it is none of those who are known, or the number is right.
    pub(crate) fn another(&self) -> String {
        match (self.admits(), self.alike.len()) {
            (true, 0 | 1) => "Different person: admit".to_owned(),
            (true, _) => "None of these: admit".to_owned(),
            (false, _) if self.is_a_number() => save_with(&self.alike),
            (false, 0 | 1) => "Different person: save".to_owned(),
            (false, _) => "None of these: save".to_owned(),
        }
    }

    /// Whether one of those who are known, or whose place one took, has a number that was typed.
    pub(crate) fn is_a_number(&self) -> bool {
        !Known::numbers_of(&self.alike).is_empty()
    }

    /// Whether somebody is admitted with the number of somebody known: as a rule that is the same person, or a slip.
    pub(crate) fn admits_with_a_number_of_theirs(&self) -> bool {
        self.admits() && self.is_a_number_of_theirs()
    }

    /// Whether one of those who are known has a number that was typed as their own.
    pub(crate) fn is_a_number_of_theirs(&self) -> bool {
        self.alike.iter().any(|known| !known.own.is_empty())
    }

    /// Whether what it shows was typed and may be gone with the page, or with the process.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.page.is_unwritten || self.uncertain.is_some() || (self.not_kept.is_some() && !self.is_kept)
    }

    pub(crate) fn faulty(&self) -> usize {
        self.fields.iter().filter(|field| field.fault.is_some()).count() + self.loose.len()
    }
}

/// What the button says that keeps the numbers which these have too.
pub(super) fn save_with(alike: &[Known]) -> String {
    format!("Save with this {}", Known::numbers_of(alike).join(" and this "))
}

/// Whom a page is about.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) room: Option<String>,
    pub(crate) born: Option<String>,
    /// The other fields that are asked for: what each is called, and the text, where there is one.
    pub(crate) numbers: Vec<(&'static str, Option<String>)>,
    pub(crate) is_active: bool,
    /// Whether it takes those numbers to tell who it is.
    pub(crate) is_numbered: bool,
    /// That others look the same, and what to do about it.
    pub(crate) warning: Option<(String, &'static str)>,
}

impl Person {
    pub(crate) fn of(resident: &PatientDocument) -> Self {
        let others = FIELDS.iter().filter(|field| field.is_asked() && !Twins::SAID.contains(&field.key));
        Self {
            name: resident.name.clone(),
            room: resident.room.clone(),
            born: resident.date_of_birth.as_deref().map(day::shown),
            numbers: others.map(|field| (field.short, field.shown(resident))).collect(),
            is_active: resident.is_active,
            is_numbered: false,
            warning: None,
        }
    }

    /// The same on a page about them alone, which says who looks the same; `shows_all` is whether all that is known of
    /// residents is sent here.
    pub(crate) fn among(resident: &PatientDocument, twins: Twins, shows_all: bool) -> Self {
        let todo = if shows_all {
            "Nothing here tells whose chart this is. Ask the office, and add a date of birth or an MRN to each."
        } else {
            "This device cannot tell whose chart this is: use one that shows names. What is saved here all the same, \
             check there whose it became."
        };
        let room = resident.room.as_ref().map(|room| format!(", room {room}")).unwrap_or_default();
        let look = || format!("{} residents here look the same: {}{room}.", twins.by_all + 1, resident.name);
        let warning = (twins.by_all > 0).then(|| (look(), todo));
        Self { is_numbered: twins.by_name > 0, warning, ..Self::of(resident) }
    }
}

impl Form {
    /// The page of whom it is about; the residents where that is nobody in particular.
    pub(crate) fn back(&self) -> String {
        match self {
            Self::Chart(id, _)
            | Self::Correct(id, _)
            | Self::Strike(id, _)
            | Self::Edit(id)
            | Self::Discharge(id)
            | Self::Readmit(id) => format!("/residents/{id}"),
            Self::Admit | Self::Resubmit(_) => "/".to_owned(),
        }
    }

    pub(crate) fn path(&self) -> String {
        match self {
            Self::Chart(id, workflow) => {
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
            Self::Correct(id, record) => format!("/residents/{id}/correct/{record}"),
            Self::Strike(id, record) => format!("/residents/{id}/strike/{record}"),
            Self::Admit => "/admit".to_owned(),
            Self::Edit(id) => format!("/residents/{id}/edit"),
            Self::Discharge(id) => format!("/residents/{id}/discharge"),
            Self::Readmit(id) => format!("/residents/{id}/readmit"),
            Self::Resubmit(n) => format!("/rejected/{n}"),
        }
    }
}

/// What a form says of itself before it asks.
fn explained(form: &FormPage) -> Option<String> {
    let of = form.author.as_ref().map(|author| format!(" by {author}")).unwrap_or_default();
    match (&form.form, &form.rejection) {
        (_, Some(why)) => Some(format!("The server rejected this: {}", capital(why))),
        (Form::Correct(_, _), None) => Some(match &form.puts_back {
            Some(Struck { by, reason }) => {
                let why = reason.as_ref().map(|reason| format!(" (“{reason}”)")).unwrap_or_default();
                format!(
                    "You put back an entry that was struck out by {by}{why}. That it was struck out stays \
                     readable."
                )
            }
            None => format!("You correct an entry{of}. What was charted before stays readable."),
        }),
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
        (Form::Chart(_, _) | Form::Admit | Form::Resubmit(_), None) => None,
    }
}
