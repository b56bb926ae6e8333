//! Workflow schemas: what a form asks, and what makes an answer valid (S4-22: no field is known to
//! the code; all come from here).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::id::WorkflowId;

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
}

/// One question of a form (S4-26).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
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
    /// Where it stands on the form, counted from 1.
    #[serde(default)]
    pub display_order: u32,
    /// What a `select` offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// What the form shows before anything is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The unit of a number, such as `bpm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least plausible number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest plausible number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// What values a field takes (S4-27, and numbers and yes/no besides).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text of at most [`MAX_TEXT`] characters.
    String,
    /// A day, stored as `YYYY-MM-DD`; `MM/DD/YYYY` is understood.
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
/// The most faults that are told at once.
const MAX_FAULTS: usize = 20;
/// The most fields a workflow may have.
pub const MAX_FIELDS: usize = 100;

/// What is wrong with one field, in words for whoever filled it in.
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
    fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

impl Workflow {
    /// Checks the schema itself: keys, options, defaults and ranges.
    ///
    /// # Errors
    /// Every fault found, each with the path of the field it is in.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        if !is_key(&self.key) {
            faults.push(FieldError::new("key", KEY_RULE));
        }
        if self.label.trim().is_empty() {
            faults.push(FieldError::new("label", "give the workflow a name people can read"));
        }
        if self.fields.is_empty() || self.fields.len() > MAX_FIELDS {
            faults.push(FieldError::new("fields", format!("give 1 to {MAX_FIELDS} fields")));
        }
        for (at, field) in self.fields.iter().enumerate() {
            let path = format!("fields[{at}]");
            if !is_key(&field.key) {
                faults.push(FieldError::new(format!("{path}.key"), KEY_RULE));
            }
            if self.fields.iter().take(at).any(|earlier| earlier.key == field.key) {
                faults.push(FieldError::new(format!("{path}.key"), "another field has this key"));
            }
            if field.label.trim().is_empty() {
                faults.push(FieldError::new(format!("{path}.label"), "give the field a label"));
            }
            if (field.field_type == FieldType::Select) == field.options.is_empty() {
                let detail = "a select needs options, and only a select has them";
                faults.push(FieldError::new(format!("{path}.options"), detail));
            }
            if matches!((field.min, field.max), (Some(min), Some(max)) if min > max) {
                faults.push(FieldError::new(format!("{path}.min"), "min is greater than max"));
            }
            if let Some(Err(fault)) = field.default.as_deref().map(|text| field.parse(text)) {
                faults.push(FieldError::new(format!("{path}.default"), fault.detail));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The fields in the order a form or list shows them.
    #[must_use]
    pub fn in_order(&self) -> Vec<&Field> {
        let mut fields: Vec<&Field> = self.fields.iter().collect();
        fields.sort_by_key(|field| field.display_order);
        fields
    }

    /// Reads what a person typed into a form into checked values; an empty answer is no answer.
    ///
    /// # Errors
    /// Every answer that is wrong, each with its field.
    pub fn parse_form<'a>(
        &self,
        answers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Map<String, Value>, Vec<FieldError>> {
        let mut values = Map::new();
        let mut faults = Vec::new();
        for (key, text) in answers {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            match self.fields.iter().find(|field| field.key == key).map(|field| field.parse(text)) {
                Some(Ok(value)) => drop(values.insert(key.to_owned(), value)),
                Some(Err(fault)) => faults.push(fault),
                None => faults.push(unknown(key)),
            }
        }
        self.require_answers(&values, &mut faults);
        if faults.is_empty() { Ok(values) } else { Err(faults) }
    }

    /// Checks values as they came over the wire.
    ///
    /// # Errors
    /// The values that break the schema, each with its field: the first twenty of them, so that garbage
    /// costs its reader little.
    pub fn validate(&self, values: &Map<String, Value>) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        for (key, value) in values {
            if faults.len() >= MAX_FAULTS {
                break;
            }
            match self.fields.iter().find(|field| field.key == *key) {
                Some(field) => faults.extend(field.validate(value).err()),
                None => faults.push(unknown(key)),
            }
        }
        self.require_answers(values, &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn require_answers(&self, values: &Map<String, Value>, faults: &mut Vec<FieldError>) {
        for field in self.fields.iter().filter(|field| field.required) {
            let answered = values.get(&field.key).is_some_and(|value| !value.is_null());
            if !answered && !faults.iter().any(|fault| fault.field == field.key) {
                faults.push(FieldError::new(&field.key, format!("{} is required", field.label)));
            }
        }
    }
}

impl Field {
    /// Reads an answer as a person types it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(&self, text: &str) -> Result<Value, FieldError> {
        let value = match self.field_type {
            FieldType::String | FieldType::Select => Value::String(text.to_owned()),
            FieldType::Date => Value::String(parse_date(text).ok_or_else(|| self.fault(DATE_RULE))?),
            FieldType::Datetime => {
                Value::String(parse_datetime(text).ok_or_else(|| self.fault(DATETIME_RULE))?)
            }
            FieldType::Integer => {
                let number: i64 = text.parse().map_err(|_| self.fault("give a whole number"))?;
                Value::Number(number.into())
            }
            FieldType::Number => {
                let number: f64 = text.parse().map_err(|_| self.fault("give a number"))?;
                Value::Number(Number::from_f64(number).ok_or_else(|| self.fault("give a number"))?)
            }
            FieldType::Boolean => match text {
                "yes" | "true" | "on" => Value::Bool(true),
                "no" | "false" => Value::Bool(false),
                _ => return Err(self.fault("answer yes or no")),
            },
        };
        self.validate(&value)?;
        Ok(value)
    }

    /// Checks a value as it is stored.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn validate(&self, value: &Value) -> Result<(), FieldError> {
        let fault = |detail: &str| Err(self.fault(detail));
        match (self.field_type, value) {
            (_, Value::Null) if !self.required => Ok(()),
            (FieldType::String, Value::String(text)) => {
                if text.trim().is_empty() && self.required {
                    return Err(self.fault(format!("{} is required", self.label)));
                }
                if text.chars().count() > MAX_TEXT {
                    return Err(self.fault(format!("at most {MAX_TEXT} characters")));
                }
                if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
                    return fault("remove the control characters");
                }
                Ok(())
            }
            (FieldType::Select, Value::String(text)) => {
                if self.options.contains(text) {
                    return Ok(());
                }
                Err(self.fault(format!("choose one of: {}", self.options.join(", "))))
            }
            (FieldType::Date, Value::String(text)) => {
                if parse_date(text).as_ref() == Some(text) {
                    Ok(())
                } else {
                    fault(DATE_RULE)
                }
            }
            (FieldType::Datetime, Value::String(text)) => {
                if parse_datetime(text).as_ref() == Some(text) {
                    Ok(())
                } else {
                    fault(DATETIME_RULE)
                }
            }
            (FieldType::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.validate_range(number)
            }
            (FieldType::Number, Value::Number(number)) => self.validate_range(number),
            (FieldType::Boolean, Value::Bool(_)) => Ok(()),
            (expected, _) => Err(self.fault(format!("this is not a {}", expected.name()))),
        }
    }

    fn validate_range(&self, number: &Number) -> Result<(), FieldError> {
        let number = number.as_f64().unwrap_or(f64::NAN);
        let unit = self.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
        if self.min.is_some_and(|min| number < min) {
            let min = self.min.unwrap_or_default();
            return Err(self.fault(format!("too low: at least {min}{unit} is plausible; check it")));
        }
        if self.max.is_some_and(|max| number > max) {
            let max = self.max.unwrap_or_default();
            return Err(self.fault(format!("too high: at most {max}{unit} is plausible; check it")));
        }
        Ok(())
    }

    fn fault(&self, detail: impl Into<String>) -> FieldError {
        FieldError::new(&self.key, detail)
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
const DATE_RULE: &str = "give a date such as 2026-05-01 or 05/01/2026";
const DATETIME_RULE: &str = "give a date and time such as 2026-05-01T14:30 or 05/01/2026 02:30 PM";

/// Whether a text can name a workflow or a field.
#[must_use]
pub fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && text.len() <= 64
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn unknown(key: &str) -> FieldError {
    let shown: String = key.chars().take(64).collect();
    FieldError::new(shown, "the workflow has no such field")
}

/// `YYYY-MM-DD` from that or from `MM/DD/YYYY` (C9); none when there is no such day.
#[must_use]
pub fn parse_date(text: &str) -> Option<String> {
    let (year, month, day) = match text.split(['-', '/']).collect::<Vec<_>>()[..] {
        [year, month, day] if text.contains('-') && year.len() == 4 => (year, month, day),
        [month, day, year] if text.contains('/') && year.len() == 4 => (year, month, day),
        _ => return None,
    };
    if text.contains('-') && text.contains('/') {
        return None;
    }
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = time::Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    Some(format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()))
}

/// `YYYY-MM-DDTHH:MM` from that, from `YYYY-MM-DD HH:MM` or from `MM/DD/YYYY HH:MM AM`.
fn parse_datetime(text: &str) -> Option<String> {
    let (date, clock) = text.split_once(['T', ' '])?;
    let date = parse_date(date)?;
    let (clock, half) = match clock.split_once(' ') {
        Some((clock, half)) => (clock, Some(half.to_ascii_uppercase())),
        None => (clock, None),
    };
    let (hour, minute) = clock.split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let hour = match half.as_deref() {
        None if hour < 24 => hour,
        Some("AM") if (1..=12).contains(&hour) => hour % 12,
        Some("PM") if (1..=12).contains(&hour) => hour % 12 + 12,
        _ => return None,
    };
    (minute < 60).then(|| format!("{date}T{hour:02}:{minute:02}"))
}

fn digits(text: &str, most: usize) -> Option<u16> {
    let fits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn field(key: &str, field_type: FieldType) -> Field {
        Field {
            key: key.into(),
            label: key.to_uppercase(),
            field_type,
            required: false,
            display_in_list: false,
            display_order: 0,
            options: Vec::new(),
            default: None,
            unit: None,
            min: None,
            max: None,
        }
    }

    fn vitals() -> Workflow {
        Workflow {
            id: WorkflowId::new(Timestamp::EPOCH, [1; 10]),
            key: "vitals".into(),
            label: "Vitals".into(),
            version: 1,
            enabled: true,
            fields: vec![
                Field {
                    required: true,
                    min: Some(20.0),
                    max: Some(250.0),
                    unit: Some("bpm".into()),
                    ..field("pulse", FieldType::Integer)
                },
                field("temperature", FieldType::Number),
                Field {
                    options: vec!["Sitting".into(), "Lying".into()],
                    ..field("position", FieldType::Select)
                },
                field("taken_on", FieldType::Date),
                field("taken_at", FieldType::Datetime),
                field("fasting", FieldType::Boolean),
                field("note", FieldType::String),
            ],
        }
    }

    fn faults(answers: &[(&str, &str)]) -> String {
        let faults = vitals().parse_form(answers.iter().copied()).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn answers_become_typed_values() {
        let values = vitals()
            .parse_form([
                ("pulse", " 72 "),
                ("temperature", "36.6"),
                ("position", "Lying"),
                ("taken_on", "05/01/2026"),
                ("taken_at", "12/01/2024 02:30 PM"),
                ("fasting", "yes"),
                ("note", ""),
            ])
            .unwrap();
        let expected = serde_json::json!({
            "pulse": 72, "temperature": 36.6, "position": "Lying", "taken_on": "2026-05-01",
            "taken_at": "2024-12-01T14:30", "fasting": true,
        });
        assert_eq!(Value::Object(values.clone()), expected);
        assert_eq!(vitals().validate(&values), Ok(()));
    }

    #[test]
    fn wrong_answers_name_their_field() {
        assert_eq!(faults(&[]), "pulse: PULSE is required");
        assert_eq!(faults(&[("pulse", "fast")]), "pulse: give a whole number");
        assert_eq!(faults(&[("pulse", "7")]), "pulse: too low: at least 20 bpm is plausible; check it");
        assert_eq!(
            faults(&[("pulse", "72"), ("position", "Flying")]),
            "position: choose one of: Sitting, Lying"
        );
        assert_eq!(faults(&[("pulse", "72"), ("shoe", "9")]), "shoe: the workflow has no such field");
        for bad in ["2026-02-30", "02/30/2026", "1/2/26", "2026/01/02", "x-y-z", "2026-01/02", "١-1-2026"] {
            assert!(
                faults(&[("pulse", "72"), ("taken_on", bad)]).starts_with("taken_on: give a date"),
                "{bad}"
            );
        }
        for bad in ["2026-02-01", "2026-02-01T24:00", "2026-02-01T10:60", "02/01/2026 13:00 PM", "T"] {
            assert!(faults(&[("pulse", "72"), ("taken_at", bad)]).contains("date and time"), "{bad}");
        }
        assert!(faults(&[("pulse", "72"), ("temperature", "NaN")]).contains("give a number"));
    }

    #[test]
    fn wire_values_of_the_wrong_type_name_their_field() {
        let values = serde_json::json!({"pulse": "72", "note": 5, "extra": 1});
        let faults = vitals().validate(values.as_object().unwrap()).unwrap_err();
        let named: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["extra", "note", "pulse"]);
    }

    #[test]
    fn a_bad_schema_is_refused_with_paths() {
        let mut workflow = vitals();
        workflow.key = "Vitals!".into();
        workflow.fields.push(Field { default: Some("maybe".into()), ..field("pulse", FieldType::Boolean) });
        workflow.fields.push(field("choice", FieldType::Select));
        let faults = workflow.check().unwrap_err();
        let named: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["key", "fields[7].key", "fields[7].default", "fields[8].options"]);
        assert_eq!(vitals().check(), Ok(()));
    }
}
