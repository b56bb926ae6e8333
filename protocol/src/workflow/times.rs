//! Charted days and times: years that there cannot be, and what is asked about. A time by itself is right; what
//! is unlikely is where it lies from the moment at which it was charted.

use std::time::Duration;

use serde_json::Value;

use super::{Expects, Field, FieldError, FieldType};
use crate::day::{self, BORN, Today, birthday};
use crate::merge::AHEAD;
use crate::time::Timestamp;

/// A day is over everywhere once it is over so far west of Greenwich.
const WESTERNMOST: Duration = Duration::from_hours(12);
/// And begins first so far east of it.
const EASTERNMOST: Duration = Duration::from_hours(14);

/// A year as text, and the length of a day and of a wall time.
const YEAR: usize = 4;
const DAY: usize = 10;
const WALL: usize = 16;

impl Field {
    /// Refuses a day or a time of a year that nobody charts about. Only what is typed is held to it: what came
    /// over the wire was charted, and is asked about.
    pub(super) fn check_year(&self, value: Value) -> Result<Value, FieldError> {
        let year = value.as_str().filter(|_| self.is_time()).and_then(|text| text.get(..YEAR));
        match year {
            Some(year) if year < "1900" => {
                Err(self.fault(format!("the year {year} is before 1900: check the year")))
            }
            Some(year) if year > "2199" => {
                Err(self.fault(format!("the year {year} is after 2199: check the year")))
            }
            Some(_) | None => Ok(value),
        }
    }

    /// Refuses a day of birth on which nobody was born who is charted about at that moment: what is typed, as above.
    pub(super) fn check_born(&self, value: Value, at: Option<Timestamp>) -> Result<Value, FieldError> {
        let born = value.as_str().filter(|_| self.field_type == FieldType::Date && self.key == BORN);
        match born.zip(at).map(|(text, at)| birthday(text, Today::of(None, at))) {
            Some(Err(words)) => Err(self.fault(words)),
            Some(Ok(_)) | None => Ok(value),
        }
    }

    /// What is unlikely about a stored day or time that was charted at that moment. One without an offset, from an
    /// agent that knows no zones, is no moment and raises none.
    pub(super) fn time_doubt(&self, value: &Value, at: Timestamp) -> Option<FieldError> {
        let text = value.as_str()?;
        let is_ahead = self.expects == Some(Expects::Future);
        let (shown, how) = match self.field_type {
            FieldType::Date if is_ahead && text < at.before(WESTERNMOST).to_string().get(..DAY)? => {
                (day::shown(text), "in the past: check the date")
            }
            // A day may be either, but for this one: known by its key, it is asked about in published forms too.
            FieldType::Date if self.key == BORN && text > at.after(EASTERNMOST).to_string().get(..DAY)? => {
                (day::shown(text), "in the future: check the year, the month and the day")
            }
            FieldType::Date if text > years_from(at, 2).get(..DAY)? => {
                (day::shown(text), "more than two years ahead: check the year")
            }
            FieldType::Date if text < years_from(at, -130).get(..DAY)? => {
                (day::shown(text), "more than 130 years ago: check the year")
            }
            FieldType::Datetime => {
                let (wall, offset) = text.split_at_checked(WALL)?;
                let moment: Timestamp = format!("{wall}:00{offset}").parse().ok()?;
                let how = if is_ahead && moment < at.before(AHEAD) {
                    "in the past: check the day and the time"
                } else if is_ahead && moment.to_string() > years_from(at, 1) {
                    "more than a year ahead: check the year"
                } else if !is_ahead && moment > at.after(AHEAD) {
                    "in the future: check the day and the time"
                } else if !is_ahead && moment.to_string() < years_from(at, -1) {
                    "more than a year ago: check the year"
                } else {
                    return None;
                };
                let (day, clock) = wall.split_once('T')?;
                (format!("{} {clock}", day::shown(day)), how)
            }
            FieldType::Date
            | FieldType::String
            | FieldType::Select
            | FieldType::Integer
            | FieldType::Number
            | FieldType::Boolean => return None,
        };
        Some(self.fault(format!("{} {shown} is {how}", self.label)))
    }
}

/// The same day and time so many years later, as a text that sorts as time does.
fn years_from(at: Timestamp, years: i32) -> String {
    let text = at.to_string();
    let (year, rest) = text.split_at_checked(YEAR).unwrap_or_default();
    format!("{:04}{rest}", year.parse::<i32>().unwrap_or(0).saturating_add(years).max(0))
}
