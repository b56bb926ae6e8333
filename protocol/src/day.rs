//! Days as people type them and as they are stored: ISO 8601, `YYYY-MM-DD` (C9).

use time::{Date, Duration, Month};

use crate::text::fold;
use crate::time::Timestamp;
use crate::zone;

/// The oldest that anybody is taken for, in years.
const OLDEST: i32 = 130;

/// `YYYY-MM-DD` from that or from `MM/DD/YYYY` (C9); none when there is no such day.
#[must_use]
pub fn parse_date(text: &str) -> Option<String> {
    let text = fold(text);
    let (year, month, day) = match text.split(['-', '/']).collect::<Vec<_>>()[..] {
        [year, month, day] if text.contains('-') && year.len() == 4 => (year, month, day),
        [month, day, year] if text.contains('/') && year.len() == 4 => (year, month, day),
        _ => return None,
    };
    if text.contains('-') && text.contains('/') {
        return None;
    }
    let date = date(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?)?;
    Some(format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()))
}

/// `YYYY-MM-DDTHH:MM` from that, from `YYYY-MM-DD HH:MM` or from `MM/DD/YYYY HH:MM AM`; with its offset where it
/// has one: `2026-11-01T01:30-05:00`.
#[must_use]
pub fn parse_datetime(text: &str) -> Option<String> {
    let text = fold(text);
    let (day, clock) = text.split_once(['t', ' '])?;
    let day = parse_date(day)?;
    let at = clock.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(clock.len());
    let (clock, half) = clock.split_at(at);
    let (hour, minute) = clock.split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let (hour, offset) = match half.trim() {
        "am" | "a.m." if (1..=12).contains(&hour) => (hour % 12, String::new()),
        "pm" | "p.m." if (1..=12).contains(&hour) => (hour % 12 + 12, String::new()),
        "" => (hour, String::new()),
        offset => (hour, zone::spelled(zone::offset(offset)?)),
    };
    (hour < 24 && minute < 60).then(|| format!("{day}T{hour:02}:{minute:02}{offset}"))
}

/// A birthday as far as it is known: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`, from those, from `MM/DD/YYYY` or from
/// `MM/YYYY`. Nobody is born after `today`, nor more than 130 years before.
///
/// # Errors
/// What is wrong with it, in words.
pub fn birthday(text: &str, today: Timestamp) -> Result<String, &'static str> {
    let text = fold(text);
    let (given, first) = born(&text).ok_or(BIRTHDAY_RULE)?;
    // Somewhere on earth it is tomorrow already.
    let tomorrow = date_of(today.plus_millis(86_400_000));
    if first > tomorrow {
        return Err("nobody is born in the future: check the year");
    }
    if first.year() < tomorrow.year().saturating_sub(OLDEST) {
        return Err("nobody is older than 130 years: check the year");
    }
    Ok(given)
}

const BIRTHDAY_RULE: &str = "give a day such as 03/15/1941 or 1941-03-15; if only the year, or month and year, is \
    known, give that: 1941 or 03/1941";

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
fn born(text: &str) -> Option<(String, Date)> {
    if let Some(day) = parse_date(text) {
        let at = |range| day.get(range).and_then(|part: &str| part.parse().ok());
        let first = date(at(0..4)?, at(5..7)?, at(8..10)?)?;
        return Some((day, first));
    }
    let (year, month) = match text.split(['-', '/']).collect::<Vec<_>>()[..] {
        [year] if year.len() == 4 => (year, None),
        [year, month] if text.contains('-') && year.len() == 4 => (year, Some(month)),
        [month, year] if text.contains('/') && year.len() == 4 => (year, Some(month)),
        _ => return None,
    };
    let first = date(digits(year, 4)?, month.map_or(Some(1), |month| digits(month, 2))?, 1)?;
    let given = match month {
        Some(_) => format!("{:04}-{:02}", first.year(), u8::from(first.month())),
        None => format!("{:04}", first.year()),
    };
    Some((given, first))
}

/// Whether two birthdays, each as far as it is known, may be one.
#[must_use]
pub fn may_be_one(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn date_of(at: Timestamp) -> Date {
    Date::from_ordinal_date(1970, 1)
        .map_or(Date::MIN, |epoch| epoch.saturating_add(Duration::milliseconds(at.as_millis())))
}

fn date(year: u16, month: u16, day: u16) -> Option<Date> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()
}

fn digits(text: &str, most: usize) -> Option<u16> {
    let fits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birthday_is_kept_as_far_as_it_is_known() {
        let today: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        for (given, kept) in [
            ("1944-02-29", "1944-02-29"),
            ("02/29/1944", "1944-02-29"),
            (" 3/5/1941 ", "1941-03-05"),
            ("1941", "1941"),
            ("1941-03", "1941-03"),
            ("3/1941", "1941-03"),
            ("１９４１", "1941"),
            ("2026-11-28", "2026-11-28"),
            ("1896", "1896"),
        ] {
            assert_eq!(birthday(given, today).as_deref(), Ok(kept), "{given}");
            assert_eq!(birthday(&shown(kept), today).as_deref(), Ok(kept), "as pages show it: {kept}");
        }
        for wrong in [
            "2099-01-01",
            "2026-11-30",
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
        ] {
            assert!(birthday(wrong, today).is_err(), "{wrong}");
        }
    }

    #[test]
    fn birthdays_that_are_known_in_part_do_not_contradict() {
        assert!(may_be_one("1941", "1941-03-15") && may_be_one("1941-03-15", "1941-03"));
        assert!(!may_be_one("1941-04", "1941-03-15") && !may_be_one("1942", "1941"));
    }
}
