//! Numbers as people type them. What could be read in two ways is asked about and not guessed.

use serde_json::Number;

use crate::text::fold;
use crate::unit::Unit;

/// Why a text is not taken as a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is none.
    #[error("give a number, such as 98.6")]
    NotANumber,
    /// This is in it, and is neither a digit nor the unit.
    #[error("“{0}” is no part of a number: give the number alone, such as 98.6")]
    Stray(String),
    /// It has an exponent.
    #[error("write the number out, without an exponent: 120 for 1.2e2")]
    Exponent,
    /// It is two with a slash between them: a blood pressure, or a fraction.
    #[error("“/” is no part of a number: write a blood pressure in its two fields, and a half as 0.5")]
    Slash,
    /// It says from where to where.
    #[error("give one number, not a range")]
    Range,
    /// It could be either of two, each written so that it is taken.
    #[error("is this {0} or {1}? Type the one that is meant")]
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
/// The digits of a group, where thousands are separated.
const GROUP: usize = 3;
/// The most characters that are shown of what is no number.
const SHOWN: usize = 20;

/// What people write behind a number, each set for one unit that has no counterpart; folded.
const ALONE: [&[&str]; 5] = [
    &["%", "percent", "pct"],
    &["bpm", "/min", "per min", "per minute"],
    &["mmhg", "mm hg"],
    &["ml", "cc"],
    &["mg/dl"],
];

/// The number that a text is, in the plainest form that says it: an optional minus, digits, and a point with
/// more digits where there are any. A decimal comma, blanks, separators of thousands, digits of any script and the
/// `unit` of what is charted are understood; exponents are not. Where one comma or point stands before three digits,
/// either may separate thousands.
///
/// # Errors
/// When it is no number, or could be read as two.
pub fn number(text: &str, unit: Option<&str>) -> Result<String, NumberError> {
    let folded = fold(text).replace('٫', ".").replace('٬', ",");
    let (_, behind) = parted(&folded);
    check_unit(behind.trim(), unit).map_err(|error| explained(error, text))?;
    // The unit is the right one, so it is not what is wrong.
    read(&folded).map_err(|error| explained(error, parted(text).0))
}

/// A number as text that [`number`] reads as that one.
#[must_use]
pub fn written(number: &Number) -> String {
    let text =
        number.as_f64().filter(|_| number.is_f64()).map_or_else(|| number.to_string(), |it| it.to_string());
    let decimals = text.split_once('.').map_or(0, |(_, part)| part.len());
    if decimals == GROUP { text + "0" } else { text }
}

/// What is a number in a text, and what stands behind it.
fn parted(text: &str) -> (&str, &str) {
    let last = text.char_indices().rfind(|(_, c)| c.is_numeric() || ".,٫٬．，".contains(*c));
    text.split_at(last.map_or(0, |(at, c)| at + c.len_utf8()))
}

/// That it is no number, with what is in the way.
fn explained(error: NumberError, text: &str) -> NumberError {
    if error == NumberError::NotANumber { why_none(text) } else { error }
}

fn read(folded: &str) -> Result<String, NumberError> {
    let (digits, _) = parted(folded);
    let (digits, sign) = match digits.strip_prefix('-') {
        Some(rest) => (rest.trim_start(), "-"),
        None => (digits.strip_prefix('+').unwrap_or(digits).trim_start(), ""),
    };
    let (whole, part, is_grouped) = parts(digits)?;
    let is_either = part.len() == GROUP && (1..=GROUP).contains(&whole.len()) && !whole.starts_with('0');
    if is_either && !is_grouped {
        let decimal = plainest(sign, &whole, &part)?;
        let decimal = if part.ends_with('0') { decimal } else { decimal + "0" };
        return Err(NumberError::Ambiguous(plainest(sign, &(whole + &part), "")?, decimal));
    }
    plainest(sign, &whole, &part)
}

fn plainest(sign: &str, whole: &str, part: &str) -> Result<String, NumberError> {
    let whole = whole.trim_start_matches('0');
    let part = part.trim_end_matches('0');
    if whole.len() + part.len() > MAX_DIGITS {
        return Err(NumberError::TooLong);
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && part.is_empty() { "" } else { sign };
    Ok(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

/// Why a text is no number, as far as that can be told.
fn why_none(text: &str) -> NumberError {
    let is_part = |c: char| c.is_numeric() || c.is_whitespace() || ".,'’+-−".contains(c);
    let folded = fold(text);
    let ends = |part: &str| part.trim_end().ends_with(|c: char| c.is_ascii_digit());
    let begins =
        |part: &str| part.trim_start_matches(['+', '-', ' ']).starts_with(|c: char| c.is_ascii_digit());
    let is_between = |sign: char| {
        let both = folded.trim_start_matches('-').split_once(sign);
        both.is_some_and(|(one, other)| one.chars().all(is_part) && ends(one) && begins(other))
    };
    if is_between('e') {
        return NumberError::Exponent;
    }
    if is_between('/') {
        return NumberError::Slash;
    }
    if is_between('-') {
        return NumberError::Range;
    }
    let stray = text.split(is_part).find(|stray| !stray.is_empty());
    let stray = stray.map(|stray| stray.chars().take(SHOWN).collect());
    stray.map_or(NumberError::NotANumber, NumberError::Stray)
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

/// The digits before and behind the decimal sign, without separators, and whether there were any.
fn parts(text: &str) -> Result<(String, String, bool), NumberError> {
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
    Ok((whole, part.to_owned(), grouped))
}

/// The digits of a whole number that may be in groups of three, and whether it is.
fn ungrouped(text: &str) -> Result<(String, bool), NumberError> {
    let groups: Vec<&str> = text.split([',', '.', ' ', '\'']).collect();
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
            ("1.2340", None, "1.234"),
            ("0.125", None, "0.125"),
            ("1’200", None, "1200"),
            ("٣٧٫٥", None, "37.5"),
            ("१२०", None, "120"),
            ("1٬234٫5", None, "1234.5"),
            ("3 drops", Some("drops"), "3"),
        ] {
            assert_eq!(number(text, unit).as_deref(), Ok(is), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_said_and_what_is_in_the_way() {
        for text in
            ["", " ", "-", ".", "98 6", "9 8.6", "1,2,3", "½", "--5", "5-", "1.2.3", "12 0", "1,23 456"]
        {
            assert_eq!(number(text, Some("bpm")), Err(NumberError::NotANumber), "{text}");
        }
        for (text, stray) in [
            ("12O", "O"),
            ("1O2", "O"),
            ("0x10", "x"),
            ("seven", "seven"),
            ("NaN", "NaN"),
            ("72 bananas", "bananas"),
            ("~72", "~"),
        ] {
            assert_eq!(number(text, Some("bpm")), Err(NumberError::Stray(stray.into())), "{text}");
        }
        for text in ["1e3", "1.2E2", "1e-3", "1,5e+3 bpm"] {
            assert_eq!(number(text, Some("bpm")), Err(NumberError::Exponent), "{text}");
        }
        for text in ["120/80", "12 / 8", "120/80 mmHg", "7/10", "1/2", "2 1/2"] {
            let words = number(text, Some("mmHg")).unwrap_err().to_string();
            assert_eq!(
                words,
                "“/” is no part of a number: write a blood pressure in its two fields, and a half as 0.5",
                "{text}"
            );
        }
        for text in ["16-18", "16 – 18/min", "-2 - 3", "16-18 bananas"] {
            let words = number(text, Some("bpm")).unwrap_err().to_string();
            assert_eq!(words, "give one number, not a range", "{text}");
        }
        // A unit that is the right one is not in the way of what is.
        for (text, unit) in [("98 6 F", "°F"), ("72 80 bpm", "bpm"), ("12 0 /min", "bpm")] {
            assert_eq!(number(text, Some(unit)), Err(NumberError::NotANumber), "{text}");
        }
        assert_eq!(number("7O2 bpm", Some("bpm")), Err(NumberError::Stray("O".into())));
        assert_eq!(number("37 C", Some("°F")), Err(NumberError::OtherUnit("°F".into())));
        assert_eq!(number("1234567890123456", None), Err(NumberError::TooLong));
    }

    #[test]
    fn one_sign_before_three_digits_is_asked_about_whichever_it_is() {
        for (text, whole, decimal) in [
            ("1,000", "1000", "1"),
            ("1.000", "1000", "1"),
            ("1,200", "1200", "1.2"),
            ("1.234", "1234", "1.2340"),
            ("-12.345", "-12345", "-12.3450"),
            ("999,999 °F", "999999", "999.9990"),
        ] {
            let either = NumberError::Ambiguous(whole.into(), decimal.into());
            assert_eq!(number(text, Some("°F")), Err(either.clone()), "{text}");
            assert_eq!(
                either.to_string(),
                format!("is this {whole} or {decimal}? Type the one that is meant")
            );
            for meant in [whole, decimal] {
                let read = number(meant, Some("°F")).unwrap();
                assert_eq!(read.parse::<f64>(), meant.parse(), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_read_again(text in "[-+0-9., '°%a-f−]{0,12}|\\PC{0,20}") {
            if let Ok(read) = number(&text, None) {
                let whole: Number = read.parse().unwrap();
                prop_assert_eq!(number(&written(&whole), None), Ok(read.clone()));
                prop_assert!(read.parse::<f64>().is_ok_and(f64::is_finite), "{}", read);
            }
        }
    }
}
