//! Numbers as people type them. What could be read in two ways is asked about and not guessed.

use crate::text::fold;
use crate::unit::Unit;

/// Why a text is not taken as a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is none.
    #[error("give a number, such as 98.6")]
    NotANumber,
    /// It could be either of two.
    #[error("is this {0} or {1}? Write it without a separator for thousands")]
    Ambiguous(String, String),
    /// It has another unit than is charted here.
    #[error("this is charted in {0}")]
    OtherUnit(String),
    /// It has more digits than anything that is measured.
    #[error("give at most {MAX_DIGITS} digits")]
    TooLong,
}

/// A number with more digits is not read and written again as it was.
const MAX_DIGITS: usize = 15;

/// What people write behind a number, each set for one unit that has no counterpart; folded.
const ALONE: [&[&str]; 5] = [
    &["%", "percent", "pct"],
    &["bpm", "/min", "per min", "per minute"],
    &["mmhg", "mm hg"],
    &["ml", "cc"],
    &["mg/dl"],
];

/// The number that a text is, in the plainest form that says it: an optional minus, digits, and a point with
/// more digits where there are any. A decimal comma, blanks, separators of thousands, full width and the
/// `unit` of what is charted are understood; exponents are not.
///
/// # Errors
/// When it is no number, or could be read as two.
pub fn number(text: &str, unit: Option<&str>) -> Result<String, NumberError> {
    let folded = fold(text).replace('−', "-");
    let (digits, sign) = match folded.strip_prefix('-') {
        Some(rest) => (rest.trim_start(), "-"),
        None => (folded.strip_prefix('+').unwrap_or(&folded).trim_start(), ""),
    };
    let end = digits.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ',').map_or(0, |at| at + 1);
    let (digits, behind) = digits.split_at(end);
    check_unit(behind.trim(), unit)?;
    let (whole, part) = parts(digits)?;
    let whole = whole.trim_start_matches('0');
    let part = part.trim_end_matches('0');
    if whole.len() + part.len() > MAX_DIGITS {
        return Err(NumberError::TooLong);
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && part.is_empty() { "" } else { sign };
    Ok(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

/// Whether what stands behind a number is the unit that it is charted in, or nothing.
fn check_unit(behind: &str, unit: Option<&str>) -> Result<(), NumberError> {
    let charted = unit.map(fold).unwrap_or_default();
    if behind.is_empty() || behind == charted || behind == "°" && charted.starts_with('°') {
        return Ok(());
    }
    let of = |unit: &str| {
        let alone = || ALONE.iter().copied().find(|words| words.contains(&unit));
        Unit::named(unit).map(Unit::words).or_else(alone)
    };
    match (of(behind), of(&charted), unit) {
        (Some(given), Some(asked), _) if given == asked => Ok(()),
        (Some(_), _, Some(unit)) => Err(NumberError::OtherUnit(unit.to_owned())),
        (_, _, _) => Err(NumberError::NotANumber),
    }
}

/// The digits before and behind the decimal sign, without separators.
fn parts(text: &str) -> Result<(String, String), NumberError> {
    let (point, comma) = (text.rfind('.'), text.rfind(','));
    let decimal = match (point, comma) {
        (Some(point), Some(comma)) => Some(point.max(comma)),
        // Signs that come twice, as in 1,234,567, separate thousands.
        (Some(_), None) if text.matches('.').count() > 1 => None,
        (None, Some(_)) if text.matches(',').count() > 1 => None,
        (one, other) => one.or(other),
    };
    let (whole, part) = match decimal {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, ""),
    };
    let (whole, grouped) = ungrouped(whole)?;
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(part) || whole.is_empty() && part.is_empty() {
        return Err(NumberError::NotANumber);
    }
    let looks_grouped = (1..=3).contains(&whole.len()) && part.len() == 3 && !whole.starts_with('0');
    if comma == decimal && decimal.is_some() && !grouped && looks_grouped {
        return Err(NumberError::Ambiguous(format!("{whole}{part}"), format!("{whole}.{part}")));
    }
    Ok((whole, part.to_owned()))
}

/// The digits of a whole number that may be in groups of three, and whether it is.
fn ungrouped(text: &str) -> Result<(String, bool), NumberError> {
    let groups: Vec<&str> = text.split([',', '.', ' ', '\'', '’']).collect();
    let one_sign = text.chars().filter(|c| !c.is_ascii_digit()).collect::<std::collections::BTreeSet<_>>();
    let fits = |(at, group): (usize, &&str)| {
        let is_long = if at == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 };
        is_long && group.bytes().all(|byte| byte.is_ascii_digit())
    };
    match &groups[..] {
        [digits] if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(((*digits).to_owned(), false)),
        [_, _, ..] if one_sign.len() == 1 && groups.iter().enumerate().all(fits) => {
            Ok((groups.concat(), true))
        }
        _ => Err(NumberError::NotANumber),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_understood_as_people_write_them() {
        for (text, unit, is) in [
            ("98.6", None, "98.6"),
            ("37,5", None, "37.5"),
            (" 98.6 °F ", Some("°F"), "98.6"),
            ("98.6F", Some("°F"), "98.6"),
            ("98.6°", Some("°F"), "98.6"),
            ("９８．６", None, "98.6"),
            ("97 %", Some("%"), "97"),
            ("72bpm", Some("bpm"), "72"),
            ("72 /min", Some("bpm"), "72"),
            ("1 200", None, "1200"),
            ("1\u{202f}200,50", None, "1200.5"),
            ("1,234.5", None, "1234.5"),
            ("1.234,5", None, "1234.5"),
            ("1,234,567", None, "1234567"),
            ("+5", None, "5"),
            ("−0,50", None, "-0.5"),
            ("-0", None, "0"),
            (".5", None, "0.5"),
            ("5.", None, "5"),
            ("007", None, "7"),
            ("0,125", None, "0.125"),
            ("1.234", None, "1.234"),
            ("3 drops", Some("drops"), "3"),
        ] {
            assert_eq!(number(text, unit).as_deref(), Ok(is), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_could_be_two_is_said() {
        for text in [
            "",
            " ",
            "-",
            ".",
            "1e3",
            "1E3",
            "NaN",
            "inf",
            "98 6",
            "9 8.6",
            "1,2,3",
            "½",
            "12/8",
            "--5",
            "5-",
            "1.2.3",
            "0x10",
            "12 0",
            "seven",
            "72 bananas",
            "1,23 456",
        ] {
            assert_eq!(number(text, Some("bpm")), Err(NumberError::NotANumber), "{text}");
        }
        let two = NumberError::Ambiguous("1200".into(), "1.200".into());
        assert_eq!(number("1,200", None), Err(two.clone()));
        assert_eq!(two.to_string(), "is this 1200 or 1.200? Write it without a separator for thousands");
        assert_eq!(number("37 C", Some("°F")), Err(NumberError::OtherUnit("°F".into())));
        assert_eq!(number("1234567890123456", None), Err(NumberError::TooLong));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_read_again(text in "[-+0-9., '°%a-f−]{0,12}|\\PC{0,20}") {
            if let Ok(read) = number(&text, None) {
                prop_assert_eq!(number(&read, None), Ok(read.clone()));
                prop_assert!(read.parse::<f64>().is_ok_and(f64::is_finite), "{}", read);
            }
        }
    }
}
