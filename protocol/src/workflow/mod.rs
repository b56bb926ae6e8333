//! Workflow schemas: what a form asks, and what makes an answer valid (S4-22: no field is known to
//! the code; all come from here).

mod answers;
mod measure;
mod plausible;
mod times;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use answers::Answers;

use crate::id::WorkflowId;
use crate::role::Role;
use crate::text::{fold, line};

/// A published version of a workflow's schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workflow {
    /// The workflow, whatever its version.
    pub id: WorkflowId,
    /// Its name in paths and records, such as `vitals`.
    pub key: String,
    /// What people call it.
    pub label: String,
    /// Counts up by one with each published schema.
    pub version: u32,
    /// Whether kiosks offer it (S4-25).
    pub enabled: bool,
    /// What the form asks, in the order it is shown.
    pub fields: Vec<Field>,
    /// What holds between two of its numbers, or is asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Which roles may correct another's entry, of those that may chart; all of these when it names none.
    /// Everybody may correct an entry of her own. What the latest version says holds for entries of every version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrected_by: Vec<Role>,
}

/// One question of a form (S4-26).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Field {
    /// The name its value is stored under.
    pub key: String,
    /// What people read.
    pub label: String,
    /// What values it takes.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// Whether it must be answered.
    #[serde(default)]
    pub required: bool,
    /// Whether lists of records show it.
    #[serde(default)]
    pub display_in_list: bool,
    /// Where it stands on the form, counted from 1; one without stands behind those that have one, in the order given.
    #[serde(default)]
    pub display_order: u32,
    /// What a `select` offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// What the form suggests. It is an answer only once somebody chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The unit of a number, such as `bpm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least plausible number; a lesser one is asked about, and saved as confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest plausible number; a greater one is asked about, and saved as confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The least number that there can be; a lesser one is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_min: Option<f64>,
    /// The greatest number that there can be; a greater one is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_max: Option<f64>,
    /// Whoever reads a number as low as this has to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_min: Option<f64>,
    /// Whoever reads a number as high as this has to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_max: Option<f64>,
    /// Where a day or time usually lies, seen from when it is charted; another is asked about, and saved as confirmed.
    /// Without it a time is one that has been, and a day may be either, except for a `date_of_birth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects: Option<Expects>,
}

/// Where a day or time lies, seen from when it is charted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Expects {
    /// Ahead, as an appointment does.
    Future,
}

/// What holds between two numbers of one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rule {
    /// The key of the field whose number is the greater one.
    pub greater: String,
    /// The key of the field whose number is the lesser one.
    pub lesser: String,
}

/// What values a field takes (S4-27, and numbers and yes/no besides).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text of at most [`MAX_TEXT`] characters.
    String,
    /// A day, stored as `YYYY-MM-DD`; `MM/DD/YYYY` is understood. A `date_of_birth` as far as it is known: `YYYY-MM` and
    /// `YYYY` too.
    Date,
    /// A minute in the facility's own time, stored as `YYYY-MM-DDTHH:MM`; `MM/DD/YYYY HH:MM AM` is understood.
    Datetime,
    /// One of the field's options.
    Select,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
}

/// The longest text a field takes, in characters.
pub const MAX_TEXT: usize = 2_000;
/// The most fields a workflow may have.
pub const MAX_FIELDS: usize = 100;
/// The most options a field may have, and the most rules a workflow.
const MAX_OPTIONS: usize = 200;
/// The longest label, option or unit, in characters.
const MAX_LABEL: usize = 200;

/// A field error: what is wrong with one field, in words for whoever filled it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{field}: {detail}")]
pub struct FieldError {
    /// The field's key, or a path into the schema.
    pub field: String,
    /// What is wrong and what to do.
    pub detail: String,
}

impl FieldError {
    /// What is wrong with a field.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

impl Workflow {
    /// Brings the schema into the form in which it is published (texts are trimmed), and checks it: keys,
    /// options, defaults, ranges and rules.
    ///
    /// # Errors
    /// Every fault found, each with the path of the field it is in.
    pub fn check(&mut self) -> Result<(), Vec<FieldError>> {
        let mut faults = FieldErrors(Vec::new());
        faults.unless(is_key(&self.key), "key", KEY_RULE);
        faults.text("label", &mut self.label);
        let count = self.fields.len();
        faults.unless((1..=MAX_FIELDS).contains(&count), "fields", &format!("give 1 to {MAX_FIELDS} fields"));
        let mut keys = BTreeSet::new();
        for (at, field) in self.fields.iter_mut().enumerate() {
            let path = format!("fields[{at}]");
            let is_new = keys.insert(field.key.clone());
            faults.unless(is_new, &format!("{path}.key"), "another field has this key");
            field.check(&path, &mut faults);
        }
        faults.unless(self.rules.len() <= MAX_OPTIONS, "rules", &format!("give at most {MAX_OPTIONS} rules"));
        for (at, rule) in self.rules.iter().enumerate() {
            for (name, key) in [("greater", &rule.greater), ("lesser", &rule.lesser)] {
                let is_number = self.fields.iter().any(|field| field.key == *key && field.is_number());
                faults.unless(is_number, &format!("rules[{at}].{name}"), "name a field that is a number");
            }
        }
        if faults.0.is_empty() { Ok(()) } else { Err(faults.0) }
    }

    /// The labels that more than one field has, folded: people tell a form's fields apart by their labels.
    #[must_use]
    pub fn repeated_labels(&self) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        let labels = self.fields.iter().map(|field| fold(&field.label));
        labels.filter(|label| !known.insert(label.clone())).collect()
    }

    /// The fields in the order a form or list shows them: those that say where they stand, then the others as given.
    #[must_use]
    pub fn in_order(&self) -> Vec<&Field> {
        let mut fields: Vec<&Field> = self.fields.iter().collect();
        fields.sort_by_key(|field| (field.display_order == 0, field.display_order));
        fields
    }

    /// Whether somebody in that role may correct an entry, of those that may chart.
    #[must_use]
    pub fn lets_correct(&self, role: Role, is_own: bool) -> bool {
        is_own || self.corrected_by.is_empty() || self.corrected_by.contains(&role)
    }
}

impl Field {
    /// A question without any rules.
    #[must_use]
    pub fn new(key: &str, label: &str, field_type: FieldType) -> Self {
        Self {
            key: key.to_owned(),
            label: label.to_owned(),
            field_type,
            required: false,
            display_in_list: false,
            display_order: 0,
            options: Vec::new(),
            default: None,
            unit: None,
            min: None,
            max: None,
            hard_min: None,
            hard_max: None,
            critical_min: None,
            critical_max: None,
            expects: None,
        }
    }

    /// Whether its values are numbers.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self.field_type, FieldType::Integer | FieldType::Number)
    }

    /// Whether its values are days or times.
    const fn is_time(&self) -> bool {
        matches!(self.field_type, FieldType::Date | FieldType::Datetime)
    }

    fn check(&mut self, path: &str, faults: &mut FieldErrors) {
        let of = |part: &str| format!("{path}.{part}");
        faults.unless(is_key(&self.key), &of("key"), KEY_RULE);
        faults.text(&of("label"), &mut self.label);
        if let Some(unit) = &mut self.unit {
            faults.text(&of("unit"), unit);
        }
        let has_options = (self.field_type == FieldType::Select) != self.options.is_empty();
        faults.unless(has_options, &of("options"), "a select needs options, and only a select has them");
        let few = self.options.len() <= MAX_OPTIONS;
        faults.unless(few, &of("options"), &format!("give at most {MAX_OPTIONS} options"));
        let mut known = BTreeSet::new();
        for (at, option) in self.options.iter_mut().enumerate() {
            let path = of(&format!("options[{at}]"));
            if faults.text(&path, option) {
                faults.unless(known.insert(fold(option)), &path, "another option reads the same");
            }
        }
        let bounds = [self.min, self.max, self.hard_min, self.hard_max, self.critical_min, self.critical_max];
        let is_bounded = bounds.iter().any(Option::is_some);
        faults.unless(!is_bounded || self.is_number(), &of("min"), "only a number has bounds");
        let is_expected = self.expects.is_none() || self.is_time();
        faults.unless(is_expected, &of("expects"), "only a date or datetime lies ahead");
        let ranges = [
            ("min", self.min, self.max, "max"),
            ("hard_min", self.hard_min, self.hard_max, "hard_max"),
            ("hard_min", self.hard_min, self.min, "min"),
            ("max", self.max, self.hard_max, "hard_max"),
            ("critical_min", self.critical_min, self.critical_max, "critical_max"),
        ];
        for (name, low, high, of_high) in ranges {
            let in_order = !matches!((low, high), (Some(low), Some(high)) if low > high);
            faults.unless(in_order, &of(name), &format!("{name} is greater than {of_high}"));
        }
        if let Some(mut default) = self.default.take() {
            if faults.text(&of("default"), &mut default)
                && let Err(fault) = self.parse(&default)
            {
                faults.unless(false, &of("default"), &fault.detail);
            }
            self.default = Some(default);
        }
    }
}

impl FieldType {
    /// The type's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Select => "select",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

const KEY_RULE: &str =
    "a key is a lower-case letter, then at most 63 lower-case letters, digits or underscores";

/// Whether a text can name a workflow or a field.
#[must_use]
pub fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && text.len() <= 64
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What is wrong with a schema.
struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    fn unless(&mut self, good: bool, path: &str, detail: &str) {
        if !good {
            self.0.push(FieldError::new(path, detail));
        }
    }

    /// Brings a text that people read into form. Says whether it is one.
    fn text(&mut self, path: &str, text: &mut String) -> bool {
        let read = line(text, MAX_LABEL).map_err(|error| error.to_string());
        match read.and_then(|read| {
            if read.is_empty() { Err("give a text people can read".to_owned()) } else { Ok(read) }
        }) {
            Ok(read) => {
                *text = read;
                true
            }
            Err(detail) => {
                self.unless(false, path, &detail);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
