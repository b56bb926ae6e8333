//! Days as people type them and as they are stored: ISO 8601, `YYYY-MM-DD` (C9).

use std::borrow::Cow;

use time::{Date, Duration, Month, util::days_in_month};

use crate::text::{fold, odd_digit};
use crate::time::Timestamp;
use crate::zone::{self, WallClock, Zone};

/// The oldest that anybody is taken for, in years.
const OLDEST: i32 = 130;
/// Whoever is in care is seldom younger or older, in years.
const USUAL_AGES: std::ops::RangeInclusive<i32> = 18..=110;
/// The parts that a day with a time of day may have, and more.
const MOST_PARTS: usize = 8;
/// In whose zone it is the latest day on earth, in minutes ahead of universal time.
const FURTHEST: i32 = 14 * 60;

/// The day that it is on the wall of a facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Today(Date);

impl Today {
    /// In its zone; where that is not known, the latest that it is anywhere.
    #[must_use]
    pub fn of(zone: Option<&Zone>, at: Timestamp) -> Self {
        let ahead = zone.map_or(FURTHEST, |zone| zone.ahead(at));
        let wall = Duration::milliseconds(at.as_millis()).saturating_add(Duration::minutes(ahead.into()));
        Self(Date::from_ordinal_date(1970, 1).map_or(Date::MIN, |epoch| epoch.saturating_add(wall)))
    }
}

/// Why a text is not taken as a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DayError {
    /// It does not read as one.
    Unread,
    /// It reads as one that there is not, that is not whole, or as either of two; in words that say so.
    NoSuch(String),
}

impl DayError {
    /// In words: those, or how a day is given.
    #[must_use]
    pub fn or(self, rule: &str) -> String {
        match self {
            Self::Unread => rule.to_owned(),
            Self::NoSuch(words) => words,
        }
    }
}

/// `YYYY-MM-DD` from that or from `MM/DD/YYYY` (C9), with slashes, dashes, dots or blanks, or with the month's name.
///
/// # Errors
/// When it is no day, or there is no such day.
pub fn parse_date(text: &str) -> Result<String, DayError> {
    whole(&folded(text)?).map(stored)
}

/// `YYYY-MM-DDTHH:MM` from that, or from a day that [`parse_date`] takes, or `MM/DD/YY` of this century, with `HH:MM`,
/// `HHMM`, `HH:MM AM` or `HH AM` behind it; with its offset where it has one: `2026-11-01T01:30-05:00`.
///
/// # Errors
/// When it is no time, or there is no such day or time of day.
pub fn parse_datetime(text: &str) -> Result<String, DayError> {
    let text = folded(text)?;
    // The day is the shortest beginning that reads as one: it may have blanks in it, and a month's name a `t`.
    let mut ends = text.match_indices(['t', ' ']).map(|(at, _)| at).take(MOST_PARTS).chain([text.len()]);
    let read = |at| {
        let (day, clock) = text.split_at(at);
        Some(whole(&with_century(day))).filter(|day| *day != Err(DayError::Unread)).map(|day| (day, clock))
    };
    let (day, clock) = ends.find_map(read).ok_or(DayError::Unread)?;
    let day = stored(day?);
    let clock = time_of_day(clock.get(1..).unwrap_or_default());
    let clock = clock.map_err(|error| DayError::NoSuch(error.or(TIME_RULE)))?;
    Ok(format!("{day}T{clock}"))
}

/// As [`parse_datetime`], of what is typed in a zone at a moment: `now` is that one, and a time of day alone is that
/// day's.
///
/// # Errors
/// As [`parse_datetime`].
pub fn typed_datetime(text: &str, zone: &Zone, now: Timestamp) -> Result<String, DayError> {
    let typed = folded(text)?;
    let WallClock { day, time, .. } = zone.clock(now);
    if typed == "now" {
        let clock = time.get(..5).unwrap_or_default();
        return Ok(format!("{day}T{clock}{}", zone::spelled(zone.ahead(now))));
    }
    // Four digits alone may be a year.
    match time_of_day(&typed) {
        Ok(clock) if typed.contains(|c: char| !c.is_ascii_digit()) => Ok(format!("{day}T{clock}")),
        Ok(_) | Err(_) => parse_datetime(text),
    }
}

/// A folded day with the century of its year, where slashes say that the month is first and the year has two digits.
fn with_century(day: &str) -> Cow<'_, str> {
    match day.split('/').collect::<Vec<_>>()[..] {
        [month, day, year] if year.len() == 2 && digits(year, 2).is_ok() => {
            Cow::Owned(format!("{month}/{day}/20{year}"))
        }
        _ => Cow::Borrowed(day),
    }
}

/// `HH:MM` of a folded text, with its offset where it has one.
fn time_of_day(text: &str) -> Result<String, DayError> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let (clock, half) = text.split_at(at);
    let half = half.trim();
    // 1430, as it is written in charts.
    let run_together = || clock.split_at_checked(2).filter(|_| clock.len() == 4);
    let hour_alone = || matches!(half, "am" | "a.m." | "pm" | "p.m.").then_some((clock, "0"));
    let parts = clock.split_once(':').or_else(run_together).or_else(hour_alone);
    let (hour, minute) = parts.ok_or(DayError::Unread)?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let (hours, later, offset) = match half {
        "am" | "a.m." => (1..=12, 0, String::new()),
        "pm" | "p.m." => (1..=12, 12, String::new()),
        "" => (0..=23, 0, String::new()),
        offset => (0..=23, 0, zone::spelled(zone::offset(offset).ok_or(DayError::Unread)?)),
    };
    if !hours.contains(&hour) || minute > 59 {
        return Err(DayError::NoSuch(NO_SUCH_TIME.to_owned()));
    }
    let hour = if *hours.end() == 12 { hour % 12 + later } else { hour };
    Ok(format!("{hour:02}:{minute:02}{offset}"))
}

const TIME_RULE: &str = "finish the time: give it after the day, such as 2:30 PM or 14:30";
const NO_SUCH_TIME: &str = "there is no such time of day: give one such as 2:30 PM or 14:30";

/// A birthday as far as it is known: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`, from what [`parse_date`] takes, or that
/// without the day, or the year alone. Nobody is born after `today`, nor more than 130 years before.
///
/// # Errors
/// What is wrong with it, in words.
pub fn birthday(text: &str, Today(today): Today) -> Result<String, String> {
    let read = folded(text).and_then(|text| born(&text));
    let (given, first) = read.map_err(|error| error.or(BIRTHDAY_RULE))?;
    if first > today {
        return Err("nobody is born in the future: check the year, the month and the day".to_owned());
    }
    if first.year() < today.year().saturating_sub(OLDEST) {
        return Err("nobody is older than 130 years: check the year".to_owned());
    }
    Ok(given)
}

const BIRTHDAY_RULE: &str = "give a day such as 03/15/1941 or 1941-03-15; if only the year, or month and year, is \
    known, give that: 1941 or 03/1941";

/// Why a stored birthday is unlikely, in words: hospices and home health have children in care, and most others have
/// none. One that is known in part is taken for the earliest day that it may be.
#[must_use]
pub fn unlikely_birthday(stored: &str, Today(today): Today) -> Option<String> {
    let (_, first) = born(stored).ok()?;
    let is_to_come = (today.month(), today.day()) < (first.month(), first.day());
    let age = today.year() - first.year() - i32::from(is_to_come);
    let makes = match age {
        ..=0 => "is less than a year ago".to_owned(),
        1 => "makes the resident 1 year old".to_owned(),
        age => format!("makes the resident {age} years old"),
    };
    let words = || format!("date of birth {} {makes}: check the year", shown(stored));
    (!USUAL_AGES.contains(&age)).then(words)
}

/// A stored day, as far as it is known, as it is read in the United States; what is no day stays as it is.
#[must_use]
pub fn shown(date: &str) -> String {
    match date.split('-').collect::<Vec<_>>()[..] {
        [year, month, day] => format!("{month}/{day}/{year}"),
        [year, month] => format!("{month}/{year}"),
        _ => date.to_owned(),
    }
}

/// What is known of a birthday in its stored form, and the first day that it may be.
fn born(text: &str) -> Result<(String, Date), DayError> {
    let Given { year, month, day, order } = Given::read(text)?;
    let first = date(year, month.unwrap_or(1), day.unwrap_or(1), order)?;
    let given = match (month, day) {
        (_, Some(_)) => stored(first),
        (Some(_), None) => format!("{:04}-{:02}", first.year(), u8::from(first.month())),
        (None, None) => format!("{:04}", first.year()),
    };
    Ok((given, first))
}

/// Whether two birthdays, each as far as it is known, may be one; with day and month changed round too.
#[must_use]
pub fn may_be_one(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one) || turned(one).is_some_and(|turned| turned == other)
}

/// A stored day with day and month changed round, where that is another day: 03/04 is 04/03 to half of the world.
#[must_use]
pub fn turned(stored: &str) -> Option<String> {
    let [year, month, day] = stored.split('-').collect::<Vec<_>>()[..] else { return None };
    let turned = format!("{year}-{day}-{month}");
    whole(&turned).is_ok_and(|_| day != month).then_some(turned)
}

/// A day of a folded text.
fn whole(text: &str) -> Result<Date, DayError> {
    match Given::read(text)? {
        Given { year, month: Some(month), day: Some(day), order } => date(year, month, day, order),
        Given { .. } => Err(DayError::Unread),
    }
}

/// A day as far as it is given, in numbers of which some may name no day.
struct Given {
    year: u16,
    month: Option<u16>,
    day: Option<u16>,
    /// How it was given.
    order: &'static str,
}

impl Given {
    /// Reads a folded text: the year first, the month first, or with the month's name. The year has four digits, so
    /// that nothing else passes for it.
    fn read(text: &str) -> Result<Self, DayError> {
        if let Some(named) = Self::named(text) {
            return named;
        }
        let sign = text.chars().find(|c| !c.is_ascii_digit()).filter(|sign| "-/. ".contains(*sign));
        let parts: Vec<&str> = sign.map_or_else(|| vec![text], |sign| text.split(sign).collect());
        let (year, month, day, order) = match parts[..] {
            [year, month, day] if is_year(year) => (year, Some(month), Some(day), "year-month-day"),
            [month, day, year] if is_year(year) => (year, Some(month), Some(day), "month/day/year"),
            [year, month] if is_year(year) => (year, Some(month), None, "year-month"),
            [month, year] if is_year(year) => (year, Some(month), None, "month/year"),
            [year] if is_year(year) => (year, None, None, ""),
            _ => return Err(DayError::Unread),
        };
        let number = |text: Option<&str>| text.map(|text| digits(text, 2)).transpose();
        let given = Self { year: digits(year, 4)?, month: number(month)?, day: number(day)?, order };
        let has_slashes = order != "month/day/year" || sign == Some('/');
        if has_slashes { Ok(given) } else { given.with_the_month_first() }
    }

    /// With other signs than slashes much of the world writes the day first: one that may be either is asked about, and
    /// one that has the day first is told how to give it.
    fn with_the_month_first(self) -> Result<Self, DayError> {
        let Self { year, month: Some(month), day: Some(day), .. } = self else { return Ok(self) };
        let may_be_months = [month, day].iter().all(|part| (1..=12).contains(part));
        if may_be_months && month != day {
            let words = format!(
                "is this {month:02}/{day:02}/{year:04} or {day:02}/{month:02}/{year:04}? Type the one that is meant, the \
                 month first"
            );
            return Err(DayError::NoSuch(words));
        }
        if month > 12 { Err(DayError::Unread) } else { Ok(self) }
    }

    /// The same of a text that names the month, first or second: `march 15, 1941`, `15 mar 1941`, `march 1941`.
    fn named(text: &str) -> Option<Result<Self, DayError>> {
        let parts = text.split([' ', ',', '.', '-', '/']).filter(|part| !part.is_empty());
        let mut parts: Vec<&str> = parts.collect();
        let (at, month) = parts.iter().take(2).enumerate().find_map(|(at, part)| Some((at, month(part)?)))?;
        parts.remove(at);
        let (day, year) = match parts[..] {
            [year] if is_year(year) => (None, year),
            [day, year] if is_year(year) => (Some(day), year),
            _ => return Some(Err(DayError::Unread)),
        };
        let day = day.map(|day| digits(day, 2)).transpose();
        let year = digits(year, 4);
        Some(day.and_then(|day| Ok(Self { year: year?, month: Some(month), day, order: "month day, year" })))
    }
}

fn is_year(text: &str) -> bool {
    text.len() == 4
}

/// The number of a month, by its name or no less than the first three letters of it.
fn month(name: &str) -> Option<u16> {
    let is_it =
        |number: &u8| Month::try_from(*number).is_ok_and(|month| fold(&month.to_string()).starts_with(name));
    (1..=12).find(is_it).filter(|_| name.len() >= 3).map(u16::from)
}

/// A text as it is read: what would change a number of it is in none.
fn folded(text: &str) -> Result<String, DayError> {
    if odd_digit(text).is_some() { Err(DayError::Unread) } else { Ok(fold(text)) }
}

fn stored(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

/// `order` is how it was given.
fn date(year: u16, month: u16, day: u16, order: &str) -> Result<Date, DayError> {
    let number = |number: u16| u8::try_from(number).unwrap_or(u8::MAX);
    let no_month = |_| DayError::NoSuch(format!("there is no month {month}: give {order}"));
    let name = Month::try_from(number(month)).map_err(no_month)?;
    Date::from_calendar_date(i32::from(year), name, number(day)).map_err(|_| {
        let days = days_in_month(name, i32::from(year));
        DayError::NoSuch(format!("{name} {year} has {days} days: check the day"))
    })
}

fn digits(text: &str, most: usize) -> Result<u16, DayError> {
    let fits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits).ok_or(DayError::Unread)
}

#[cfg(test)]
mod tests;
