//! Numbers as people type them. What could be read in two ways is asked about and not guessed.

use serde_json::Number;

use crate::text::{fold, odd_digit};
use crate::unit::{self, Unit};

/// Why a text is not taken as a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is none.
    #[error("give a number")]
    NotANumber,
    /// This is in it, and is neither a digit nor the unit.
    #[error("“{0}” is no part of a number: give the number alone")]
    Stray(String),
    /// This stands behind it.
    #[error("“{0}” is no part of a number: write it where the form takes text, and here the number alone")]
    Remark(String),
    /// It has an exponent.
    #[error("write the number out, without an exponent: 120 for 1.2e2")]
    Exponent,
    /// It is two with a slash between them, as a blood pressure is, or a score and what it is out of.
    #[error(
        "“/” is no part of a number: give the one before it alone, or write a blood pressure in its two fields"
    )]
    Slash,
    /// It is a fraction, or has one behind it.
    #[error("write a fraction as a decimal, a half as 0.5: 150.5 for 150½")]
    Fraction,
    /// It says out of how many.
    #[error("give {0} alone, without what it is out of")]
    OutOf(String),
    /// It says from where to where.
    #[error("give one number, not a range")]
    Range,
    /// It could be either of two, each written so that it is taken.
    #[error("is this {0} or {1}? Type the one that is meant")]
    Ambiguous(String, String),
    /// It is a fraction, or a score and what it is out of; each written so that it is taken where parts of one are.
    #[error("is this {0} or {1}? Type the one that is meant")]
    FractionOrScore(String, String),
    /// It has another unit than is charted here.
    #[error("this is charted in {0}")]
    OtherUnit(String),
    /// It is in feet or pounds, and not whole, or with more besides than there is to one.
    #[error("give whole {0}, and fewer than {1} {2} besides")]
    Parts(&'static str, u16, &'static str),
    /// It has more digits than anything that is measured.
    #[error("give at most {MAX_DIGITS} digits")]
    TooLong,
}

impl NumberError {
    /// In words, with a number that would be taken where that helps.
    #[must_use]
    pub fn with_example(&self, example: Option<&str>) -> String {
        let is_helped = matches!(self, Self::NotANumber | Self::Stray(_) | Self::Remark(_));
        match example.filter(|_| is_helped) {
            Some(example) => format!("{self}, such as {example}"),
            None => self.to_string(),
        }
    }
}

/// A number with more digits is not read and written again as it was.
const MAX_DIGITS: usize = 15;
/// The digits of a group, where thousands are separated.
const GROUP: usize = 3;
/// The most characters that are shown of what is no number.
const SHOWN: usize = 20;

/// What people write behind a number, each set for one unit that has no counterpart; folded.
const ALONE: [&[&str]; 4] = [&["%", "percent", "pct"], &["mmhg", "mm hg"], &["ml", "cc"], &["mg/dl"]];
/// What people write behind feet and behind ounces, which are never charted alone; folded.
const FEET: &[&str] = &["'", "ft", "foot", "feet"];
const OUNCES: &[&str] = &["oz", "ounce", "ounces"];

/// The number that a text is, in the plainest form that says it: an optional minus, digits, and a point with
/// more digits where there are any. A decimal comma, blanks, separators of thousands, digits of any script and the
/// `unit` of what is charted are understood, and so are feet with inches and pounds with ounces; exponents are not.
/// Where one comma or point stands before three digits, either may separate thousands. A digit that is raised, lowered
/// or in a circle is none.
///
/// # Errors
/// When it is no number, or could be read as two.
pub fn number(text: &str, unit: Option<&str>) -> Result<String, NumberError> {
    if let Some(read) = in_parts(text, unit) {
        return read;
    }
    let (digits, behind) = parted(text);
    // A fraction is told as what it is further on.
    if let Some(odd) = odd_digit(digits).filter(|odd| !is_fraction(*odd)) {
        return Err(NumberError::Stray(odd.to_string()));
    }
    check_unit(behind, unit).map_err(|error| explained(error, text))?;
    // The unit is the right one, so it is not what is wrong.
    let folded = fold(digits).replace('٫', ".").replace('٬', ",");
    read(&folded).map_err(|error| explained(error, digits))
}

/// A number as text that [`number`] reads as that one.
#[must_use]
pub fn written(number: &Number) -> String {
    let text =
        number.as_f64().filter(|_| number.is_f64()).map_or_else(|| number.to_string(), |it| it.to_string());
    let decimals = text.split_once('.').map_or(0, |(_, part)| part.len());
    if decimals == GROUP { text + "0" } else { text }
}

/// The same number without a point that says nothing, as it is shown: 412, and not 412.0.
#[must_use]
pub fn plain(number: &Number) -> Number {
    #[allow(clippy::cast_possible_truncation)] // it is whole and small
    let whole = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() < 1e15).map(|it| it as i64);
    whole.filter(|_| number.is_f64()).map_or_else(|| number.clone(), Number::from)
}

/// Whether one sign is a whole fraction, such as ½.
fn is_fraction(c: char) -> bool {
    fold(c.encode_utf8(&mut [0; 4])).contains('⁄')
}

/// What is a number in a text, and what stands behind it.
fn parted(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
    let mut parts = text.get(..end).unwrap_or_default().char_indices();
    let last = parts.rfind(|(_, c)| c.is_numeric() || ".,٫٬．，".contains(*c));
    text.split_at(last.map_or(0, |(at, c)| at + c.len_utf8()))
}

/// Whether it is a digit, a sign or a separator of some number, or nothing that is seen.
fn is_part(c: char) -> bool {
    let folded = fold(c.encode_utf8(&mut [0; 4]));
    c.is_numeric() || "٫٬".contains(c) || ["", ".", ",", "'", "+", "-"].contains(&folded.as_str())
}

/// That it is no number, with what is in the way.
fn explained(error: NumberError, text: &str) -> NumberError {
    if error == NumberError::NotANumber { why_none(text) } else { error }
}

/// A length in feet and inches or a weight in pounds and ounces, in inches or pounds; none where it is neither.
fn in_parts(text: &str, unit: Option<&str>) -> Option<Result<String, NumberError>> {
    let unit = unit.filter(|_| odd_digit(text).is_none())?;
    let asked = Unit::named(unit)?;
    let (charted, larger, smaller, parts) = match asked {
        Unit::Inch | Unit::Centimetre => (Unit::Inch, FEET, Unit::Inch.words(), ("feet", 12_u16, "inches")),
        Unit::Pound | Unit::Kilogram => (Unit::Pound, Unit::Pound.words(), OUNCES, ("pounds", 16, "ounces")),
        Unit::Fahrenheit | Unit::Celsius => return None,
    };
    let text = word(text);
    let (whole, of, rest) = counted(&text)?;
    let is_group = |digits: &str| digits.len() == GROUP && digits.bytes().all(|byte| byte.is_ascii_digit());
    let besides = match counted(rest) {
        // 1'000 is a thousand: nobody has so many inches besides.
        Some((besides, inches, _)) if of == "'" && is_group(besides) && !inches.starts_with(['"', '\'']) => {
            return None;
        }
        // Behind feet nothing but inches is meant; a number behind pounds may be a slip.
        Some((besides, of, "")) if smaller.contains(&of) || of.is_empty() && larger == FEET => besides,
        None if larger == FEET => "0",
        Some(_) | None => return None,
    };
    if !larger.contains(&of) {
        return None;
    }
    let (named, is, others) = parts;
    let whole = whole.parse::<u16>().ok();
    let besides = read(besides).ok().and_then(|it| it.parse::<f64>().ok()).filter(|it| *it < f64::from(is));
    let Some((whole, besides)) = whole.zip(besides) else {
        return Some(Err(NumberError::Parts(named, is, others)));
    };
    if asked != charted {
        return Some(Err(NumberError::OtherUnit(unit.to_owned())));
    }
    let smaller = f64::from(whole) * f64::from(is) + besides;
    let sum = if charted == Unit::Inch { smaller } else { smaller / f64::from(is) };
    Some(Ok(((sum * 1e4).round() / 1e4).to_string()))
}

/// The digits at the beginning of a text, the word behind them, and the rest.
fn counted(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !".,".contains(c)).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let at = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (of, rest) = rest.split_at(at);
    (!digits.is_empty()).then(|| (digits, of.trim_matches([' ', '.', ',']), rest))
}

fn read(digits: &str) -> Result<String, NumberError> {
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
    // What is written as one sign, such as ½, is a fraction too.
    let folded = fold(text).replace('⁄', "/");
    let ends = |part: &str| part.trim_end().ends_with(|c: char| c.is_ascii_digit());
    let begins =
        |part: &str| part.trim_start_matches(['+', '-', ' ']).starts_with(|c: char| c.is_ascii_digit());
    let are_numbers = |&(one, other): &(&str, &str)| ends(one) && begins(other);
    let two = |sign: char| folded.split_once(sign).filter(are_numbers);
    let is_number = |(one, _): (&str, &str)| one.chars().all(is_part);
    if two('e').is_some_and(is_number) {
        return NumberError::Exponent;
    }
    if text.contains(is_fraction) {
        return NumberError::Fraction;
    }
    if let Some((one, other)) = two('/') {
        return of_two(one, other);
    }
    let unsigned = folded.trim_start_matches('-');
    if unsigned.split_once('-').filter(are_numbers).is_some_and(is_number) {
        return NumberError::Range;
    }
    let shown = |text: &str| text.chars().take(SHOWN).collect();
    if let Some(remark) = remark(text) {
        return NumberError::Remark(shown(remark));
    }
    let stray = text.split(is_part).find(|stray| !stray.is_empty());
    stray.map_or(NumberError::NotANumber, |stray| NumberError::Stray(shown(stray)))
}

/// What two numbers with a slash between them are: of ten is of a scale, behind a whole number it is a fraction, and
/// three of four may be either.
fn of_two(one: &str, other: &str) -> NumberError {
    let signed = one.get(one.trim_end_matches(is_part).len()..).unwrap_or_default().trim_start();
    let sign = if signed.starts_with('-') { "-" } else { "" };
    let upper = signed.trim_start_matches(['+', '-', ' ']);
    if upper.contains('-') {
        return NumberError::Range;
    }
    let mut parts = upper.split(' ').filter(|part| part.ends_with(|c: char| c.is_ascii_digit()));
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if second.is_some() {
        return NumberError::Fraction;
    }
    let other = other.trim_start();
    let end = other.find(|c: char| !c.is_ascii_digit() && !"/.,".contains(c)).unwrap_or(other.len());
    let lower = other.get(..end).unwrap_or_default().trim_end_matches(['.', ',']);
    let number = read(first).ok().and_then(|it| it.parse::<f64>().ok());
    match number.zip(lower.parse::<u16>().ok()) {
        Some((number, 10)) if number <= 10.0 => NumberError::OutOf(format!("{sign}{first}")),
        Some((number, lower @ (2..=4 | 8)))
            if number.fract() == 0.0 && (1.0..f64::from(lower)).contains(&number) =>
        {
            let fraction = (number / f64::from(lower) * 1e3).round() / 1e3;
            NumberError::FractionOrScore(format!("{sign}{fraction}"), format!("{sign}{first}"))
        }
        Some(_) | None => NumberError::Slash,
    }
}

/// What somebody says of a number behind it and its unit: “on room air” of “97 % on room air”.
fn remark(text: &str) -> Option<&str> {
    let (digits, behind) = parted(text);
    let ends = behind.char_indices().map(|(at, c)| at + c.len_utf8()).take(SHOWN);
    let is_apart = |at: &usize| {
        let (unit, rest) = behind.split_at(*at);
        let is_one_word = unit.ends_with(char::is_alphanumeric) && rest.starts_with(char::is_alphanumeric);
        is_unit(&word(unit)) && !is_one_word
    };
    let at = ends.filter(is_apart).last().unwrap_or(0);
    let remark = behind.get(at..)?.trim_matches(|c: char| c.is_whitespace() || ",;".contains(c));
    let is_apart = at > 0 || behind.starts_with(char::is_whitespace);
    (is_apart && !digits.is_empty() && remark.contains(char::is_alphanumeric)).then_some(remark)
}

/// Whether what stands behind a number is the unit that it is charted in, or nothing.
fn check_unit(behind: &str, unit: Option<&str>) -> Result<(), NumberError> {
    let (behind, charted) = (word(behind), unit.map(word).unwrap_or_default());
    if behind.is_empty() || behind == charted || behind == "°" && charted.starts_with('°') {
        return Ok(());
    }
    let words = words_of(&behind);
    let is_one = words.is_some() && words == words_of(&charted);
    let rates = per_minute(&behind).zip(per_minute(&charted));
    if is_one || rates.is_some_and(|(given, asked)| is_rate(given, asked)) {
        return Ok(());
    }
    match unit {
        Some(unit) if is_unit(&behind) => Err(NumberError::OtherUnit(unit.to_owned())),
        Some(_) | None => Err(NumberError::NotANumber),
    }
}

/// What stands behind a number, as a unit is compared: with one sort of quotation marks, and without blanks around a
/// slash.
fn word(text: &str) -> String {
    let text = unit::folded(text).replace(['“', '”'], "\"").replace(" /", "/").replace("/ ", "/");
    text.trim_end_matches('.').to_owned()
}

fn is_unit(word: &str) -> bool {
    words_of(word).is_some() || per_minute(word).is_some() || FEET.contains(&word) || OUNCES.contains(&word)
}

/// All that people write for a unit that is no rate.
fn words_of(unit: &str) -> Option<&'static [&'static str]> {
    let alone = || ALONE.iter().copied().find(|words| words.contains(&unit));
    Unit::named(unit).map(Unit::words).or_else(alone)
}

/// What is counted in a minute, as far as its unit says: nothing of “/min”.
fn per_minute(unit: &str) -> Option<&str> {
    let what = match unit {
        "bpm" | "beats" | "breaths" => unit,
        "lpm" => "l",
        _ => {
            let (what, time) = unit.split_once('/').or_else(|| unit.split_once("per "))?;
            ["min", "minute"].contains(&time).then_some(what.trim_end())?
        }
    };
    Some(match what {
        "beat" => "beats",
        "breath" => "breaths",
        what => what,
    })
}

/// Whether what was counted in a minute is what is charted. “bpm” is said of beats, and of breaths where those are
/// charted.
fn is_rate(given: &str, asked: &str) -> bool {
    let others: &[&str] = match asked {
        "" => &["bpm", "beats", "breaths"],
        "bpm" => &["beats"],
        "beats" | "breaths" => &["bpm"],
        _ => &[],
    };
    given.is_empty() || given == asked || others.contains(&given)
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
mod tests;
