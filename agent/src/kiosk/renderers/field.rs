//! Field renderers: the questions of a form, each with the way in which it is answered.

use carepost_protocol::day;
use carepost_protocol::workflow::{Field, FieldError, FieldType};
use carepost_protocol::zone::{Reading, Zone};
use serde_json::Value;

use crate::workspace::view::{Form, FormPage, OFFSET};

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

/// One question.
pub(crate) struct FieldView {
    /// Names it within the page.
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) required: bool,
    pub(crate) hint: String,
    pub(crate) unit: Option<String>,
    pub(crate) value: String,
    pub(crate) control: Control,
    pub(crate) fault: Option<String>,
    /// The two moments that clocks show at the time that is filled in.
    pub(crate) twice: Vec<Choice>,
    /// Of which day a time is that the script finds typed alone: empty for today; none where that has to be typed.
    pub(crate) day: Option<String>,
    /// Whether the page opens with the cursor here.
    pub(crate) focus: bool,
}

/// How a question is answered.
pub(crate) enum Control {
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
pub(crate) struct Choice {
    pub(crate) value: String,
    pub(crate) label: String,
    pub(crate) chosen: bool,
}

impl FieldView {
    pub(crate) fn new(at: usize, field: &Field, answer: &str, fault: Option<&FieldError>) -> Self {
        let stored = (field.field_type == FieldType::Date).then(|| field.read(&answer.into()).ok()).flatten();
        let shown = stored.as_ref().and_then(Value::as_str).map(day::shown);
        Self {
            id: format!("f{at}"),
            key: field.key.clone(),
            label: field.label.clone(),
            required: field.required,
            hint: hint(field),
            unit: field.unit.clone(),
            value: shown.unwrap_or_else(|| answer.to_owned()),
            control: control(field, answer),
            fault: fault.map(|fault| fault.detail.clone()),
            twice: Vec::new(),
            day: None,
            focus: false,
        }
    }

    /// A question for a time, asked and answered in the form's zone.
    pub(crate) fn timed(self, form: &FormPage, field: &Field, answer: &str) -> Self {
        // However it was typed: what is asked about it has to stand beside the time that it was taken for.
        // What is taken for none stays as it was typed.
        let wall = form.zone.wall_of(answer);
        let shown = wall.as_deref().and_then(|wall| wall.split_once('T'));
        let said = form.answers.iter().find(|(key, _)| key.strip_prefix(OFFSET) == Some(&field.key));
        let said = said.map_or(answer, |(_, text)| text);
        let zone = form.zone.name().map(|name| format!("Time zone: {name}"));
        let such = format!("Such as {} 14:30", day::shown(&form.zone.clock(form.now).day));
        // What is corrected was on its own day, whatever day it is today or a draft has.
        let charted = form
            .showed
            .iter()
            .find(|(key, _)| *key == field.key)
            .and_then(|(_, text)| form.zone.wall_of(text));
        let charted =
            charted.as_deref().and_then(|wall| wall.split_once('T')).map(|(day, _)| day::shown(day));
        let is_new = matches!(form.form, Form::Chart(_, _));
        Self {
            hint: zone
                .into_iter()
                .chain(Some(self.hint).filter(|hint| !hint.is_empty()))
                .chain(Some(such))
                .collect::<Vec<_>>()
                .join(". "),
            twice: wall.as_deref().map(|wall| twice(&form.zone, wall, said)).unwrap_or_default(),
            day: charted.or_else(|| is_new.then(String::new)),
            value: shown.map_or(self.value, |(day, clock)| format!("{} {clock}", day::shown(day))),
            ..self
        }
    }

    /// The ids of what describes the question, for who hears the page.
    pub(crate) fn described_by(&self) -> String {
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
        // Not the browser's own controls: one that is half filled in sends nothing, so that it would be saved as no
        // answer and would be in no draft; and their calendars are too small for gloves. Text is kept as it is typed,
        // and what is missing is said, as for a date of birth.
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

/// What is plausible, critical or suggested, and how a day is typed: an answer is only what somebody gives.
fn hint(field: &Field) -> String {
    let plausible = field.plausible().map(|plausible| format!("Plausible: {plausible}"));
    let critical = field.critical().map(|critical| format!("Critical: {critical}"));
    let suggested = field.default.as_deref().map(|default| format!("Suggested: {default}"));
    let typed = match field.field_type {
        // A resident's day of birth is a text.
        FieldType::String | FieldType::Date if field.key == day::BORN => {
            Some("Such as 03/15/1941, or the year alone".to_owned())
        }
        FieldType::Date => Some("Such as 05/01/2026".to_owned()),
        FieldType::String
        | FieldType::Integer
        | FieldType::Number
        | FieldType::Boolean
        | FieldType::Datetime
        | FieldType::Select => None,
    };
    plausible.into_iter().chain(critical).chain(suggested).chain(typed).collect::<Vec<_>>().join(". ")
}

fn is_long(field: &Field, answer: &str) -> bool {
    let last = field.key.rsplit('_').next().unwrap_or_default();
    LONG_TEXTS.contains(&last) || answer.contains('\n') || answer.chars().count() > 80
}
