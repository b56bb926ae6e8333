//! Days as people type them and as they are stored: ISO 8601, `YYYY-MM-DD` (C9).

use time::{Date, Duration, Month, util::days_in_month};

use crate::text::{fold, odd_digit};
use crate::time::Timestamp;
use crate::zone::{self, Zone};

/// The key of a day of birth, of a resident and in forms.
pub const BORN: &str = "date_of_birth";
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

/// `YYYY-MM-DDTHH:MM` from that, or from a day that [`parse_date`] takes with `HH:MM`, `HHMM`, `HH:MM AM` or `HH AM`
/// behind it; with its offset where it has one: `2026-11-01T01:30-05:00`. Seconds are dropped.
///
/// # Errors
/// When it is no time, or there is no such day or time of day.
pub fn parse_datetime(text: &str) -> Result<String, DayError> {
    parse_to_the_second(text).map(|(minute, _)| minute)
}

/// The same, and its seconds.
///
/// # Errors
/// As [`parse_datetime`].
pub fn parse_to_the_second(text: &str) -> Result<(String, u64), DayError> {
    let text = folded(text)?;
    // The day is the shortest beginning that reads as one: it may have blanks in it, and a month's name a `t`.
    let mut ends = text.match_indices(['t', ' ']).map(|(at, _)| at).take(MOST_PARTS).chain([text.len()]);
    let read = |at| {
        let (day, clock) = text.split_at(at);
        Some(whole(day)).filter(|day| *day != Err(DayError::Unread)).map(|day| (day, clock))
    };
    let (day, clock) = ends.find_map(read).ok_or_else(|| without_day(&text))?;
    let day = stored(day?);
    let clock = time_of_day(clock.get(1..).unwrap_or_default());
    let (clock, seconds) = clock.map_err(|error| DayError::NoSuch(error.or(TIME_RULE)))?;
    Ok((format!("{day}T{clock}"), seconds))
}

/// `HH:MM` of a folded text, with its offset where it has one, and its seconds.
fn time_of_day(text: &str) -> Result<(String, u64), DayError> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let (clock, half) = text.split_at(at);
    let half = half.trim();
    let has_half = ["am", "a.m.", "pm", "p.m."].contains(&half);
    // 1430, as it is written in charts; 730pm and 7pm are whole by what stands behind them.
    let is_whole = clock.len() == 4 || has_half && clock.len() == 3;
    let run_together = || clock.split_at_checked(clock.len().saturating_sub(2)).filter(|_| is_whole);
    let hour_alone = || Some((clock, "00")).filter(|_| has_half);
    let read = clock.split_once(':').or_else(run_together).or_else(hour_alone);
    let (hour, minute) = read.ok_or(DayError::Unread)?;
    let (minute, second) = minute.split_once(':').unwrap_or((minute, "00"));
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    let (hours, later, offset) = match half {
        "am" | "a.m." => (1..=12, 0, String::new()),
        "pm" | "p.m." => (1..=12, 12, String::new()),
        "" => (0..=23, 0, String::new()),
        offset => (0..=23, 0, zone::spelled(zone::offset(offset).ok_or(DayError::Unread)?)),
    };
    if !hours.contains(&hour) || minute > 59 || second > 59 {
        return Err(DayError::NoSuch(NO_SUCH_TIME.to_owned()));
    }
    let hour = if *hours.end() == 12 { hour % 12 + later } else { hour };
    Ok((format!("{hour:02}:{minute:02}{offset}"), second.into()))
}

/// Why a folded text that has no day is no time. Which day is meant is not guessed here: what is read again later, as a
/// draft is, would come to mean another moment.
fn without_day(text: &str) -> DayError {
    let is_alone = text == "now" || time_of_day(text).is_ok();
    if is_alone { DayError::NoSuch(DAY_RULE.to_owned()) } else { DayError::Unread }
}

const DAY_RULE: &str = "write the day as well: month/day/year, and the time after it";
const TIME_RULE: &str = "finish the time: give it after the day, such as 14:30 or 02:30 PM, and no range";
const NO_SUCH_TIME: &str = "there is no such time of day: give one such as 14:30 or 02:30 PM";

/// A birthday as far as it is known: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`, from what [`parse_date`] takes, or that
/// without the day, or the year alone. Nobody is born after `today`, nor more than 130 years before.
///
/// # Errors
/// What is wrong with it, in words.
pub fn birthday(text: &str, Today(today): Today) -> Result<String, String> {
    let (given, first) = born(text)?;
    if first > today {
        return Err("nobody is born in the future: check the year, the month and the day".to_owned());
    }
    if first.year() < today.year().saturating_sub(OLDEST) {
        return Err("nobody is older than 130 years: check the year".to_owned());
    }
    Ok(given)
}

const BIRTHDAY_RULE: &str = "give a day such as 03/15/1941 or 1941-03-15, with all four digits of the year; if only the \
    year, or month and year, is known, give that: 1941 or 03/1941";

/// As [`birthday`], whenever it lies.
///
/// # Errors
/// What is wrong with it, in words.
pub fn known_birthday(text: &str) -> Result<String, String> {
    born(text).map(|(given, _)| given)
}

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
fn born(text: &str) -> Result<(String, Date), String> {
    let read = folded(text).and_then(|text| {
        let given = Given::read(&text)?;
        let first = date(given.year, given.month.unwrap_or(1), given.day.unwrap_or(1), given.order)?;
        Ok((given, first))
    });
    let (Given { month, day, .. }, first) = read.map_err(|error| error.or(BIRTHDAY_RULE))?;
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
mod tests {
    use super::*;

    #[test]
    fn a_birthday_is_kept_as_far_as_it_is_known() {
        let today = Today::of(Some(&Zone::UTC), "2026-11-28T12:00:00Z".parse().unwrap());
        for (given, kept) in [
            ("1944-02-29", "1944-02-29"),
            ("02/29/1944", "1944-02-29"),
            (" 3/5/1941 ", "1941-03-05"),
            ("1941", "1941"),
            ("1941-03", "1941-03"),
            ("3/1941", "1941-03"),
            ("１９４１", "1941"),
            ("١٩٤١–٠٣–١٥", "1941-03-15"),
            ("2026-11", "2026-11"),
            ("2026-11-28", "2026-11-28"),
            ("1896", "1896"),
            ("3-15-1941", "1941-03-15"),
            ("3.15.1941", "1941-03-15"),
            ("12.15.1941", "1941-12-15"),
            ("03 15 1941", "1941-03-15"),
            ("1941/03/15", "1941-03-15"),
            ("March 15, 1941", "1941-03-15"),
            ("Jan 1, 1930", "1930-01-01"),
            ("15 Mar 1941", "1941-03-15"),
            ("Sept. 3 1941", "1941-09-03"),
            ("15-MAY-1941", "1941-05-15"),
            ("March 1941", "1941-03"),
            ("03-1941", "1941-03"),
        ] {
            assert_eq!(birthday(given, today).as_deref(), Ok(kept), "{given}");
            assert_eq!(birthday(&shown(kept), today).as_deref(), Ok(kept), "as pages show it: {kept}");
        }
        for wrong in [
            "2099-01-01",
            "2026-11-29",
            "2026-12",
            "2027",
            "0000-01-01",
            "1066-10-14",
            "1895-12-31",
            "1945-02-29",
            "1941-13",
            "41",
            "03/41",
            "yesterday",
            "",
            "1941-03-15-1",
            "194¹",
            "0③/15/1941",
            "03151941",
            "3.15.41",
            "3-15/1941",
            "15-03-1941",
            "15 03 1941",
            "03.04.1941",
            "3-4-1941",
            "03 04 1941",
            "Ma 15, 1941",
            "March 15",
            "March 15, 41",
            "15 3 March 1941",
            "March 15 16 1941",
            "3/+5/1941",
            "003/5/1941",
        ] {
            assert!(birthday(wrong, today).is_err(), "{wrong}");
        }
        for short in ["41", "03/41", "41-03", "3.15.41", "41-3-15", "March 41", "March 15, 41"] {
            assert_eq!(birthday(short, today).unwrap_err(), BIRTHDAY_RULE, "a year has four digits: {short}");
        }
    }

    #[test]
    fn a_time_is_read_however_it_is_written_and_a_half_typed_one_says_what_is_missing() {
        for (given, kept) in [
            ("05/01/2026 14:30", "2026-05-01T14:30"),
            ("5/1/2026  1430", "2026-05-01T14:30"),
            ("05/01/2026 14:30:05", "2026-05-01T14:30"),
            ("05/01/2026 2:30:05 PM", "2026-05-01T14:30"),
            ("05/01/2026 23:59:59", "2026-05-01T23:59"),
            ("2026-05-01T14:30:05-05:00", "2026-05-01T14:30-05:00"),
            ("05/01/2026 0230 PM", "2026-05-01T14:30"),
            ("05/01/2026 2:30pm", "2026-05-01T14:30"),
            ("05/01/2026 230 p.m.", "2026-05-01T14:30"),
            ("05/01/2026 7pm", "2026-05-01T19:00"),
            ("May 1, 2026 7 AM", "2026-05-01T07:00"),
            ("5/1/2026 12 am", "2026-05-01T00:00"),
            ("2026-05-01T14:30-05:00", "2026-05-01T14:30-05:00"),
            ("May 1, 2026 14:30", "2026-05-01T14:30"),
            ("May 1, 2026, 2:30 PM", "2026-05-01T14:30"),
            ("1 Oct 2026 1430", "2026-10-01T14:30"),
            ("September 1 2026 14:30 -05:00", "2026-09-01T14:30-05:00"),
            ("05 15 2026 14:30", "2026-05-15T14:30"),
            ("2026 05 15T14:30", "2026-05-15T14:30"),
        ] {
            assert_eq!(parse_datetime(given).as_deref(), Ok(kept), "{given}");
        }
        assert_eq!(parse_to_the_second("5/1/2026 2:30:05 PM"), Ok(("2026-05-01T14:30".to_owned(), 5)));
        for half in [
            "05/01/2026",
            "2026-05-01T",
            "05/01/2026 14",
            "05/01/2026 14:",
            "05/01/2026 14:30:",
            "05/01/2026 143",
            "05/01/2026 PM",
            "October 1, 2026",
            "Oct 1 2026 14",
        ] {
            assert_eq!(parse_datetime(half), Err(DayError::NoSuch(TIME_RULE.to_owned())), "{half}");
        }
        for half in ["", "05/", "05/01", "05/01/26 14:30", "14:3o", "nowhere", "Oct 14:30", "Oct 2026 14:30"]
        {
            assert_eq!(parse_datetime(half), Err(DayError::Unread), "{half}");
        }
        for alone in ["14:30", " 1430", "2:30 PM", "0230pm", "7pm", "14:30-05:00", "NOW"] {
            assert_eq!(parse_datetime(alone), Err(DayError::NoSuch(DAY_RULE.to_owned())), "{alone}");
        }
        let none = Err(DayError::NoSuch(NO_SUCH_TIME.to_owned()));
        for wrong in [
            "05/01/2026 2560",
            "05/01/2026 13pm",
            "05/01/2026 0 am",
            "05/01/2026 14:60",
            "05/01/2026 14:30:60",
        ] {
            assert_eq!(parse_datetime(wrong), none, "{wrong}");
        }
    }

    #[test]
    fn a_day_that_there_is_not_is_said_as_such() {
        let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
        for (given, words) in [
            ("02/29/2023", "February 2023 has 28 days: check the day"),
            ("1941-04-31", "April 1941 has 30 days: check the day"),
            ("1941-04-0", "April 1941 has 30 days: check the day"),
            ("13/01/1950", "there is no month 13: give month/day/year"),
            ("15/1950", "there is no month 15: give month/year"),
            ("1950-00-01", "there is no month 0: give year-month-day"),
            ("1950-13", "there is no month 13: give year-month"),
            ("15.03.1950", BIRTHDAY_RULE),
            ("15-03-1950", BIRTHDAY_RULE),
            ("Feb 30, 1950", "February 1950 has 28 days: check the day"),
            ("03.04.1941", "is this 03/04/1941 or 04/03/1941? Type the one that is meant, the month first"),
            ("4-3-1941", "is this 04/03/1941 or 03/04/1941? Type the one that is meant, the month first"),
        ] {
            assert_eq!(birthday(given, today), Err(words.to_owned()));
        }
    }

    #[test]
    fn a_day_of_a_form_is_taken_as_a_birthday_is_and_is_whole() {
        for given in ["2026-05-01", "5/1/2026", "2026/5/1", "May 1, 2026", "1 May 2026"] {
            assert_eq!(parse_date(given).as_deref(), Ok("2026-05-01"), "{given}");
        }
        for part in ["2026", "2026-05", "May 2026"] {
            assert_eq!(parse_date(part), Err(DayError::Unread), "{part}");
        }
        for either in ["5-1-2026", "5.1.2026", "05 01 2026"] {
            let words = "is this 05/01/2026 or 01/05/2026? Type the one that is meant, the month first";
            assert_eq!(parse_date(either), Err(DayError::NoSuch(words.to_owned())));
            assert_eq!(parse_datetime(&format!("{either} 14:30")), parse_date(either));
        }
        for one in ["5-5-2026", "05.05.2026"] {
            assert_eq!(parse_date(one).as_deref(), Ok("2026-05-05"));
        }
        assert_eq!(parse_datetime("5-15-2026 2:30 PM").as_deref(), Ok("2026-05-15T14:30"));
    }

    #[test]
    fn today_is_the_facilitys_day_or_the_latest_on_earth() {
        let noon: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        for (zone, latest) in [
            (Some("America/Chicago"), "2026-11-28"),
            (Some("Pacific/Kiritimati"), "2026-11-29"),
            (Some("Etc/GMT+12"), "2026-11-28"),
            (None, "2026-11-29"),
        ] {
            let zone = zone.map(|name| Zone::named(name).unwrap());
            assert_eq!(stored(Today::of(zone.as_ref(), noon).0), latest, "{zone:?}");
            let morning = "2026-11-28T09:59:59Z".parse().unwrap();
            let expected = if latest.ends_with("29") { "2026-11-28" } else { "2026-11-27" };
            if zone.as_ref().and_then(Zone::name) != Some("America/Chicago") {
                assert_eq!(stored(Today::of(zone.as_ref(), morning).0), expected, "{zone:?}");
            }
        }
        let [first, last] = [i64::MIN, i64::MAX].map(|at| Today::of(None, Timestamp::from_millis(at)));
        assert_ne!(first, last);
    }

    #[test]
    fn birthdays_that_are_known_in_part_do_not_contradict() {
        assert!(may_be_one("1941", "1941-03-15") && may_be_one("1941-03-15", "1941-03"));
        assert!(!may_be_one("1941-04", "1941-03-15") && !may_be_one("1942", "1941"));
    }

    #[test]
    fn day_and_month_changed_round_may_be_one_birthday() {
        assert!(may_be_one("1941-03-04", "1941-04-03") && may_be_one("1941-04-03", "1941-03-04"));
        assert!(!may_be_one("1941-03-04", "1942-04-03") && !may_be_one("1941-03-15", "1941-05-13"));
        assert_eq!(turned("1941-03-04").as_deref(), Some("1941-04-03"));
        for alone in ["1941-03-15", "1941-03-03", "1941-03", "1941", "1066", ""] {
            assert_eq!(turned(alone), None, "{alone}");
        }
    }

    #[test]
    fn a_child_and_whoever_would_be_older_than_anybody_is_are_unlikely() {
        let today = Today::of(Some(&Zone::UTC), "2026-11-28T12:00:00Z".parse().unwrap());
        for (stored, words) in [
            ("2026-11-28", "date of birth 11/28/2026 is less than a year ago: check the year"),
            ("2026", "date of birth 2026 is less than a year ago: check the year"),
            ("2025-11-28", "date of birth 11/28/2025 makes the resident 1 year old: check the year"),
            ("2008-11-29", "date of birth 11/29/2008 makes the resident 17 years old: check the year"),
            ("1915-11", "date of birth 11/1915 makes the resident 111 years old: check the year"),
        ] {
            assert_eq!(unlikely_birthday(stored, today).as_deref(), Some(words));
        }
        for likely in ["2008-11-28", "2008", "2008-11", "1941-03-15", "1941", "1915-11-29", "1915-12"] {
            assert_eq!(unlikely_birthday(likely, today), None, "{likely}");
        }
    }
}
