//! Answers to a form: read from what a person typed or a program sent into the one form in which they are
//! stored, with what is doubtful about them.

use serde_json::{Map, Number, Value};

use super::{Field, FieldError, FieldType, MAX_TEXT, Workflow};
use crate::day::{BORN, known_birthday, parse_date, parse_datetime};
use crate::number::{NumberError, number, written};
use crate::text::{fold, line, lines};
use crate::time::Timestamp;
use crate::unit::{Unit, Units};

/// The most faults that are told at once.
const MAX_FAULTS: usize = 20;

/// Answers that a form takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// The values, by field key, as they are stored.
    pub values: Map<String, Value>,
    /// What is not impossible and yet unlikely, each with its field and in words that ask. Whoever charts it
    /// is asked, and it is saved as confirmed.
    pub doubts: Vec<FieldError>,
}

impl Workflow {
    /// Reads what a person typed into a form of a facility that charts in `units`; an empty answer is no answer.
    /// `at` is when, by a clock that can be believed: charted times are held against it.
    ///
    /// # Errors
    /// Every answer that is wrong, each with its field.
    pub fn parse_form<'a>(
        &self,
        answers: impl IntoIterator<Item = (&'a str, &'a str)>,
        units: Units,
        at: Option<Timestamp>,
    ) -> Result<Answers, Vec<FieldError>> {
        let given = answers.into_iter().filter(|(_, text)| !text.trim().is_empty());
        let parse = |field: &Field, text| field.check_born(field.parse_in(text, units)?, at);
        self.collect(given, parse, (Some(units), at))
    }

    /// Reads values as they came over the wire, charted `at` that moment, where that is known.
    ///
    /// # Errors
    /// The values that break the schema, each with its field: the first twenty of them, so that garbage
    /// costs its reader little.
    pub fn read(
        &self,
        values: &Map<String, Value>,
        at: Option<Timestamp>,
    ) -> Result<Answers, Vec<FieldError>> {
        self.collect(values.iter().map(|(key, value)| (key.as_str(), value)), Field::read, (None, at))
    }

    fn collect<'a, T>(
        &self,
        given: impl Iterator<Item = (&'a str, T)>,
        read: impl Fn(&Field, T) -> Result<Value, FieldError>,
        (units, at): (Option<Units>, Option<Timestamp>),
    ) -> Result<Answers, Vec<FieldError>> {
        let mut answers = Answers::default();
        let mut faults = Vec::new();
        for (key, value) in given {
            if faults.len() >= MAX_FAULTS {
                break;
            }
            match self.fields.iter().find(|field| field.key == key).map(|field| read(field, value)) {
                Some(Ok(value)) => drop(answers.values.insert(key.to_owned(), value)),
                Some(Err(fault)) => faults.push(fault),
                None => faults.push(unknown(key)),
            }
        }
        self.require_answers(&answers.values, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        answers.doubts = self.doubts(&answers.values, units, at);
        Ok(answers)
    }

    fn require_answers(&self, values: &Map<String, Value>, faults: &mut Vec<FieldError>) {
        for field in self.fields.iter().filter(|field| field.required) {
            let answer = values.get(&field.key).filter(|value| !value.is_null());
            let answered = answer.is_some_and(|value| value.as_str() != Some(""));
            if !answered && !faults.iter().any(|fault| fault.field == field.key) {
                faults.push(FieldError::new(&field.key, "this is required"));
            }
        }
    }

    /// What is implausible, of times by when they were charted, and what breaks a rule between two fields; said in
    /// `units`, or in the schema's own.
    fn doubts(
        &self,
        values: &Map<String, Value>,
        units: Option<Units>,
        at: Option<Timestamp>,
    ) -> Vec<FieldError> {
        let of = |key: &str| values.get(key).and_then(Value::as_f64);
        let label = |key: &str| {
            self.fields.iter().find(|field| field.key == key).map_or(key, |field| &field.label).to_owned()
        };
        let alone = self.fields.iter().filter_map(|field| field.doubt(of(&field.key)?, units));
        let times = self.fields.iter().filter_map(|field| field.time_doubt(values.get(&field.key)?, at?));
        let between = self.rules.iter().filter_map(|rule| {
            let (greater, lesser) = (of(&rule.greater)?, of(&rule.lesser)?);
            (greater <= lesser).then(|| {
                let (greater, lesser) = (label(&rule.greater), label(&rule.lesser));
                FieldError::new(&rule.greater, format!("{greater} is not above {lesser}: are they swapped?"))
            })
        });
        let mut doubts: Vec<FieldError> = Vec::new();
        for doubt in alone.chain(times).chain(between) {
            match doubts.iter_mut().find(|known| known.field == doubt.field) {
                Some(known) => known.detail = format!("{}; {}", known.detail, doubt.detail),
                None => doubts.push(doubt),
            }
        }
        doubts
    }
}

impl Field {
    /// Reads an answer as a person types it, in the schema's own unit.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(&self, text: &str) -> Result<Value, FieldError> {
        self.parse_in(text, self.measure().map(Unit::units).unwrap_or_default())
    }

    /// Reads an answer as a person types it into a form of a facility that charts in `units`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse_in(&self, text: &str, units: Units) -> Result<Value, FieldError> {
        if let Some(unit) = self.measure() {
            return self.check_hard(&self.measured(text, unit, units)?, Some(units));
        }
        let value = match self.field_type {
            FieldType::String | FieldType::Select | FieldType::Date | FieldType::Datetime => {
                Value::String(text.to_owned())
            }
            FieldType::Integer | FieldType::Number => self.parse_number(text)?,
            FieldType::Boolean => match fold(text).as_str() {
                "yes" | "true" | "on" => Value::Bool(true),
                "no" | "false" => Value::Bool(false),
                _ => return Err(self.fault("answer yes or no")),
            },
        };
        self.check_year(self.read(&value)?)
    }

    /// Reads a value as it is sent: the one that is stored.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(&self, value: &Value) -> Result<Value, FieldError> {
        match (self.field_type, value) {
            (_, Value::Null) if !self.required => Ok(Value::Null),
            (FieldType::String, Value::String(text)) => {
                lines(text, MAX_TEXT).map(Value::String).map_err(|error| self.fault(error.to_string()))
            }
            (FieldType::Select, Value::String(text)) => {
                let is_it = |option: &&String| fold(option) == fold(text);
                let option = self.options.iter().find(|option| *option == text);
                // A schema from before options were trimmed may have one with blanks around it.
                let option = option.or_else(|| self.options.iter().find(is_it));
                let option = option.and_then(|option| line(option, MAX_TEXT).ok());
                option
                    .map(Value::String)
                    .ok_or_else(|| self.fault(format!("choose one of: {}", self.options.join(", "))))
            }
            (FieldType::Date, Value::String(text)) if self.key == BORN => {
                known_birthday(text).map(Value::String).map_err(|words| self.fault(words))
            }
            (FieldType::Date, Value::String(text)) => {
                parse_date(text).map(Value::String).map_err(|error| self.fault(error.or(DATE_RULE)))
            }
            (FieldType::Datetime, Value::String(text)) => {
                parse_datetime(text).map(Value::String).map_err(|error| self.fault(error.or(DATETIME_RULE)))
            }
            (FieldType::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.check_hard(number, None)
            }
            (FieldType::Number, Value::Number(number)) => self.check_hard(number, None),
            (FieldType::Boolean, Value::Bool(_)) => Ok(value.clone()),
            (expected, _) => Err(self.fault(format!("this is not a {}", expected.name()))),
        }
    }

    /// Whether a value is one that whoever reads it has to see.
    #[must_use]
    pub fn is_critical(&self, value: &Value) -> bool {
        value.as_f64().is_some_and(|number| {
            self.critical_min.is_some_and(|min| number <= min)
                || self.critical_max.is_some_and(|max| number >= max)
        })
    }

    fn parse_number(&self, text: &str) -> Result<Value, FieldError> {
        let is_whole = self.field_type == FieldType::Integer;
        let read = match number(text, self.unit.as_deref()) {
            // Where decimals have a point, of a whole number with a comma there is one reading.
            Err(NumberError::Ambiguous(whole, _)) if is_whole && !text.contains('.') => whole,
            Err(NumberError::Ambiguous(whole, decimal)) if is_whole => {
                let decimal = decimal.trim_end_matches('0').trim_end_matches('.').to_owned();
                return Err(self.number_fault(&NumberError::Ambiguous(whole, decimal), None));
            }
            // No fraction is whole, so it is a score.
            Err(NumberError::FractionOrScore(_, _)) if is_whole => {
                return Err(self.number_fault(&NumberError::Slash, None));
            }
            read => read.map_err(|error| self.number_fault(&error, None))?,
        };
        let number = if is_whole {
            read.parse::<i64>().ok().map(Number::from)
        } else {
            read.parse::<f64>().ok().and_then(Number::from_f64)
        };
        number.map(Value::Number).ok_or_else(|| self.fault("give a whole number"))
    }

    /// What is wrong with a number, with one that would be taken; said in `units`, or in the schema's own.
    pub(super) fn number_fault(&self, error: &NumberError, units: Option<Units>) -> FieldError {
        self.fault(error.with_example(self.said_in(units).example().as_deref()))
    }

    /// The plainest number in the middle of what is plausible, or else of what can be; none where it is not known.
    fn example(&self) -> Option<String> {
        let (least, most) = (self.min.or(self.hard_min)?, self.max.or(self.hard_max)?);
        let middle = f64::midpoint(least, most);
        let decimals = if self.field_type == FieldType::Integer { 0 } else { 2 };
        let mut plainest = (0..=decimals).map(|decimals| format!("{middle:.decimals$}"));
        plainest.find(|text| text.parse().is_ok_and(|it: f64| (least..=most).contains(&it)))
    }

    /// Refuses what cannot be; said in `units`, or in the schema's own.
    fn check_hard(&self, value: &Number, units: Option<Units>) -> Result<Value, FieldError> {
        let number = value.as_f64().unwrap_or(f64::NAN);
        let is_low = self.hard_min.is_some_and(|min| number < min);
        if !is_low && self.hard_max.is_none_or(|max| number <= max) {
            return Ok(Value::Number(value.clone()));
        }
        let said = self.said_in(units);
        let unit = said.spoken_unit();
        let (side, bound) = if is_low { ("below", said.hard_min) } else { ("above", said.hard_max) };
        let bound = bound.unwrap_or_default();
        let meant = self.other_unit(number, units);
        Err(self.fault(format!("this cannot be {side} {bound}{unit}: check it{meant}")))
    }

    fn doubt(&self, number: f64, units: Option<Units>) -> Option<FieldError> {
        let is_low = self.min.is_some_and(|min| number < min);
        if !is_low && self.max.is_none_or(|max| number <= max) {
            return None;
        }
        let said = self.said_in(units);
        let unit = said.spoken_unit();
        let (label, meant) = (&self.label, self.other_unit(number, units));
        let number = units.map_or(number, |units| self.number_shown(number, units));
        let (how, bound, side) =
            if is_low { ("low", said.min, "or more") } else { ("high", said.max, "or less") };
        let bound = bound.unwrap_or_default();
        Some(self.fault(format!("{label} {number}{unit} is {how}: {bound} {side} is plausible{meant}")))
    }

    /// What to type where a number that cannot be, or is unlikely, is a plausible one in the other unit.
    fn other_unit(&self, stored: f64, units: Option<Units>) -> String {
        let Some((unit, units)) = self.measure().zip(units) else { return String::new() };
        let asked = self.said_in(Some(units)).measure().unwrap_or(unit);
        let (typed, other) = (self.number_shown(stored, units), asked.counterpart());
        let meant = if other == unit { typed } else { unit.stored(typed) };
        let is_plausible =
            self.min.is_some_and(|min| meant >= min) && self.max.is_some_and(|max| meant <= max);
        let typed = Number::from_f64(typed).filter(|_| is_plausible).map(|typed| written(&typed));
        typed.map_or_else(String::new, |typed| format!("; type {typed} {} if that is meant", other.sign()))
    }

    fn said_in(&self, units: Option<Units>) -> Self {
        units.map_or_else(|| self.clone(), |units| self.charted_in(units))
    }

    /// Its unit as it stands behind a number: 97%, 72 bpm.
    #[must_use]
    pub fn spoken_unit(&self) -> String {
        match self.unit.as_deref() {
            Some("%") => "%".to_owned(),
            Some(unit) => format!(" {unit}"),
            None => String::new(),
        }
    }

    pub(super) fn fault(&self, detail: impl Into<String>) -> FieldError {
        FieldError::new(&self.key, detail)
    }
}

const DATE_RULE: &str = "give a date such as 2026-05-01 or 05/01/2026, with all four digits of the year";
const DATETIME_RULE: &str = "give a date and time such as 2026-05-01T14:30 or 05/01/2026 02:30 PM, with all four digits \
    of the year";

fn unknown(key: &str) -> FieldError {
    let shown: String = key.chars().take(64).collect();
    FieldError::new(shown, "the workflow has no such field")
}
