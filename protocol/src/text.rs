//! Text that people type or paste: the one form in which it is stored, what it is compared by, what it is
//! found by and how it sorts. Both sides use these and nothing else, so that a name that is taken at a kiosk
//! is taken at the office.
//!
//! What is stored is in NFC, without what nobody can see; what is compared is a form of it that is stored
//! nowhere as the text itself.

use std::borrow::Cow;
use std::collections::BTreeSet;

use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;
use icu_normalizer::{
    ComposingNormalizerBorrowed as Composing, DecomposingNormalizerBorrowed as Decomposing,
};

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It has so many characters, which are more than there is room for.
    #[error("this is {} characters long: give at most {} characters", thousands(.0), thousands(.1))]
    TooLong(usize, usize),
    /// Nothing of it can be seen.
    #[error("none of these characters can be seen; type it anew")]
    Invisible,
    /// It is to be a name, and nobody could say it.
    #[error("these are signs alone: give a name with a letter or a digit")]
    Signs,
    /// It is to be a person's name, and has no letter.
    #[error("there is no letter in it: give the name, as people know it")]
    NoLetter,
    /// It turns the order of what is around it: "nurse" would read as something else than it is.
    #[error("it holds a hidden mark that turns the order of the letters around; type it anew")]
    Override,
}

/// A text of one line, such as a name, a room or a number: line breaks, tabs and other blanks become one blank
/// each, and there is none outside. Empty when nothing was given.
///
/// # Errors
/// When it has more than `most` characters, or is no text that a person can read.
pub fn line(text: &str, most: usize) -> Result<String, TextError> {
    let seen: String = text.chars().filter(|c| !is_dropped(*c)).collect();
    finish(&blanked(&seen), text, most)
}

/// A name of a place, a thing or a sign-in, which may be a number: as [`line()`], with a letter or a digit in it.
///
/// # Errors
/// As [`line()`], and when it is signs alone.
pub fn name(text: &str, most: usize) -> Result<String, TextError> {
    let taken = line(text, most)?;
    if !taken.is_empty() && !taken.contains(char::is_alphanumeric) {
        return Err(TextError::Signs);
    }
    Ok(taken)
}

/// A person's name: as [`line()`], with a letter in it.
///
/// # Errors
/// As [`line()`], and when it has no letter.
pub fn person_name(text: &str, most: usize) -> Result<String, TextError> {
    let taken = line(text, most)?;
    if !taken.is_empty() && !taken.contains(char::is_alphabetic) {
        return Err(TextError::NoLetter);
    }
    Ok(taken)
}

/// A text of several lines, such as a note: every kind of line break becomes a line feed; other controls
/// become blanks, the tab apart. There is nothing blank before its first or behind its last line.
///
/// # Errors
/// As [`line()`].
pub fn lines(text: &str, most: usize) -> Result<String, TextError> {
    let mut taken = String::with_capacity(text.len());
    let mut before = '\0';
    for c in text.chars().filter(|c| !is_dropped(*c)) {
        match c {
            '\n' if before == '\r' => {}
            '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => taken.push('\n'),
            '\t' => taken.push('\t'),
            c if c.is_control() => taken.push(' '),
            c => taken.push(c),
        }
        before = c;
    }
    finish(taken.trim(), text, most)
}

fn finish(taken: &str, given: &str, most: usize) -> Result<String, TextError> {
    if given.contains(['\u{202d}', '\u{202e}']) {
        return Err(TextError::Override);
    }
    let taken = composed(taken).into_owned();
    let can_be_seen = taken.chars().any(|c| !c.is_whitespace() && !is_invisible(c));
    let is_blank = given.chars().all(|c| c.is_whitespace() || c.is_control());
    if !can_be_seen && !is_blank {
        return Err(TextError::Invisible);
    }
    let length = taken.chars().count();
    if length > most {
        return Err(TextError::TooLong(length, most));
    }
    Ok(taken)
}

/// A text in NFC, and otherwise as it is: a password so, which is the same from every keyboard.
#[must_use]
pub fn composed(text: &str) -> Cow<'_, str> {
    Composing::new_nfc().normalize(text)
}

/// A count as it is read in the United States.
#[must_use]
pub fn thousands(count: &impl std::fmt::Display) -> String {
    let digits = count.to_string();
    let mut words = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// What two texts are compared by: "Ada  LOVE", "ada love" and "Ａda Love" are one, and so are "O’Brien" and
/// "o'brien", "RS–1" and "rs-1", "١٢" and "12". An accent makes another.
#[must_use]
pub fn fold(text: &str) -> String {
    // Most texts, and each name of a list: the same without looking anything up.
    if text.is_ascii() {
        return blanked(text).to_ascii_lowercase().replace('`', "'");
    }
    let wide = Composing::new_nfkc();
    // Width would make a blank and an accent of this apostrophe.
    let text = text.replace('´', "'");
    let text = wide.normalize(&text);
    let seen = text.chars().filter(|c| !is_invisible(*c));
    let seen: String = seen.map(one_sign).collect();
    // Upper case makes of ß, ſ and a final sigma what they are compared as, and of ẞ only once it is ß.
    let folded = blanked(&seen).to_lowercase().to_uppercase().to_lowercase();
    wide.normalize(&folded).into_owned()
}

/// The first sign that is no digit and that [`fold`] makes digits of, such as ², ⑫ and ½: read as those, it would
/// change the number that it stands in.
#[must_use]
pub fn odd_digit(text: &str) -> Option<char> {
    let is_read_as_digits =
        |c: &char| fold(c.encode_utf8(&mut [0; 4])).contains(|c: char| c.is_ascii_digit());
    text.chars().find(|c| !c.is_ascii() && !is_digit(*c) && is_read_as_digits(c))
}

/// What a text sorts by: its letters and digits as in [`fold`], without accents. An apostrophe or a point parts no
/// word, nor does a hyphen within one; every other sign does.
#[must_use]
pub fn plain(text: &str) -> String {
    let signs = bare(text).replace(['\'', '.'], "");
    let words = signs.split(|c: char| !c.is_alphanumeric() && c != '-').map(|word| word.trim_matches('-'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What somebody types to find others by: "joao obrien" finds "João O’Brien", as do "brien" and "o brien"; it is
/// not the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought(Vec<String>);

impl Sought {
    /// The words of it: what has no letter and no digit has none.
    #[must_use]
    pub fn new(typed: &str) -> Self {
        Self(found_words(&bare(typed)).map(str::to_owned).collect())
    }

    /// Whether each word, alone or run together with those behind it, is the beginning of one of the texts, from
    /// whichever of its own words on. Nothing is found by no word.
    #[must_use]
    pub fn finds(&self, texts: &[&str]) -> bool {
        let texts: Vec<Findable> = texts.iter().map(|text| Findable::new(text)).collect();
        let begins = |sought: &str| texts.iter().any(|text| text.begins(sought));
        // How many of the words, from the first on, are found.
        let mut found = BTreeSet::from([0]);
        for from in 0..self.0.len() {
            let rest = self.0.get(from..).filter(|_| found.contains(&from)).unwrap_or_default();
            let mut run = String::new();
            for (word, to) in rest.iter().zip(from + 1..) {
                run.push_str(word);
                if !begins(&run) {
                    break;
                }
                found.insert(to);
            }
        }
        !self.0.is_empty() && found.contains(&self.0.len())
    }
}

/// The words of a text run together, and where each begins.
struct Findable {
    run: String,
    begins: Vec<usize>,
}

impl Findable {
    fn new(text: &str) -> Self {
        let (mut run, mut begins) = (String::new(), Vec::new());
        for word in found_words(&bare(text)) {
            begins.push(run.len());
            run.push_str(word);
        }
        Self { run, begins }
    }

    fn begins(&self, sought: &str) -> bool {
        self.begins.iter().any(|at| self.run.get(*at..).is_some_and(|rest| rest.starts_with(sought)))
    }
}

/// The words that a text is found by. Whatever is no letter and no digit stands between two.
fn found_words(bare: &str) -> impl Iterator<Item = &str> {
    bare.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// As [`fold`], without accents.
fn bare(text: &str) -> String {
    let classes = CanonicalCombiningClassMapBorrowed::new();
    let mut bare = String::with_capacity(text.len());
    for c in Decomposing::new_nfkd().normalize(&fold(text)).chars() {
        match c {
            'ø' => bare.push('o'),
            'đ' | 'ð' => bare.push('d'),
            'ł' => bare.push('l'),
            'æ' => bare.push_str("ae"),
            'œ' => bare.push_str("oe"),
            'þ' => bare.push_str("th"),
            c if classes.get_u8(c) == 0 => bare.push(c),
            _ => {}
        }
    }
    bare
}

/// One apostrophe, one hyphen and one digit of those that keyboards and word processors make.
fn one_sign(c: char) -> char {
    match c {
        '`' | '‘' | '’' | '‛' | '′' | 'ʹ' | 'ʻ' | 'ʼ' | 'ʽ' | '՚' | '׳' => '\'',
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '⁃' | '˗' => '-',
        c => digit(c).unwrap_or(c),
    }
}

/// Whether it is a digit of some script, wide and mathematical ones among them.
fn is_digit(c: char) -> bool {
    let is_wide =
        matches!(c, '0'..='9' | '０'..='９' | '\u{1d7ce}'..='\u{1d7ff}' | '\u{1fbf0}'..='\u{1fbf9}');
    is_wide || digit(c).is_some()
}

/// The digit that a digit of another script is. Unicode has them in blocks of ten, from nought on.
fn digit(c: char) -> Option<char> {
    const NOUGHTS: [u32; 58] = [
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50,
        0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
        0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x1_04a0, 0x1_0d30, 0x1_1066,
        0x1_10f0, 0x1_1136, 0x1_11d0, 0x1_12f0, 0x1_1450, 0x1_14d0, 0x1_1650, 0x1_16c0, 0x1_1730, 0x1_18e0,
        0x1_1950, 0x1_1c50, 0x1_1d50, 0x1_1da0, 0x1_6a60, 0x1_6ac0, 0x1_6b50, 0x1_e140, 0x1_e2f0, 0x1_e950,
    ];
    let at = NOUGHTS.partition_point(|nought| *nought <= u32::from(c)).checked_sub(1)?;
    char::from_digit(u32::from(c) - NOUGHTS.get(at)?, 10)
}

/// What a text sorts by, compared byte for byte: accents and case count only between texts that are equal
/// without them, and "Room 9" is before "Room 10".
#[must_use]
pub fn sort_key(text: &str) -> String {
    let mut key = numbered(&plain(text));
    key.push('\0');
    key.push_str(&fold(text));
    key
}

/// What a person's name sorts by: by the family's name, then the others. "Jan de Vries", "de Vries, Jan",
/// "Jan de Vries Jr." and "Jan de Vries (Johnny)" stand together under D, where an English-speaking office files them.
#[must_use]
pub fn name_key(name: &str) -> String {
    let (family, others) = name_parts(name);
    let mut key = sort_key(&family);
    key.push('\0');
    key.push_str(&sort_key(&others));
    key
}

/// The family's name in a full name: "de Vries" of "Jan de Vries Jr." and of "de Vries, Jan".
#[must_use]
pub fn family_name(name: &str) -> String {
    name_parts(name).0
}

/// The letters under which a name is looked for, without accents and in upper case: D and V for "Jan de Vries".
#[must_use]
pub fn initials_of_family(name: &str) -> Vec<char> {
    let family = plain(&family_name(name));
    let words: Vec<&str> = family.split(' ').collect();
    let first = words.first().into_iter().chain(words.get(particles(&words)));
    let mut letters: Vec<char> =
        first.filter_map(|word| word.chars().next()).flat_map(char::to_uppercase).collect();
    letters.dedup();
    letters
}

/// The family's name, and the rest. What is in brackets or quotation marks is a nickname or a remark, and no family's
/// name; signs alone are no word.
fn name_parts(name: &str) -> (String, String) {
    let (name, aside) = without_asides(name);
    let with_aside = |others: &str| blanked(&format!("{others} {aside}"));
    let name = blanked(&name);
    let is_turned = |(family, others): &(&str, &str)| !is_suffix(others) && !plain(family).is_empty();
    if let Some((family, others)) = name.split_once(", ").filter(is_turned) {
        return (family.trim_end().to_owned(), with_aside(others));
    }
    let words: Vec<&str> = name
        .split(' ')
        .map(|word| word.trim_end_matches(','))
        .filter(|word| !plain(word).is_empty())
        .collect();
    // The first word is a name even where it reads as something else.
    let after =
        |least: usize| words.len() - words.iter().skip(least).rev().take_while(|w| is_suffix(w)).count();
    let end = after(1);
    let mut begin = end.saturating_sub(1);
    while begin > 1 && words.get(begin - 1).is_some_and(|word| is_particle(word)) {
        begin -= 1;
    }
    let part = |at: std::ops::Range<usize>| words.get(at).unwrap_or_default().join(" ");
    (part(begin..end), with_aside(&[part(0..begin), part(end..words.len())].join(" ")))
}

/// A name without what stands in it in brackets or quotation marks, and that. A name that is all in them is one.
fn without_asides(name: &str) -> (String, String) {
    let (mut own, mut asides, mut rest) = (String::new(), String::new(), name);
    while let Some((before, aside, behind)) = aside(rest) {
        own.extend([before, " "]);
        asides.extend([aside, " "]);
        rest = behind;
    }
    own.push_str(rest);
    if plain(&own).is_empty() { (name.to_owned(), String::new()) } else { (own, asides) }
}

/// The first that stands in brackets or quotation marks, with what is before and behind it.
fn aside(text: &str) -> Option<(&str, &str, &str)> {
    const PAIRS: [(char, char); 6] = [('(', ')'), ('[', ']'), ('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')];
    text.char_indices().find_map(|(at, sign)| {
        let (_, closing) = PAIRS.iter().find(|(opening, _)| *opening == sign)?;
        let (aside, behind) = text.get(at + sign.len_utf8()..)?.split_once(*closing)?;
        Some((text.get(..at)?, aside, behind))
    })
}

/// How many words of a family's name, all but the last, are particles.
fn particles(words: &[&str]) -> usize {
    words.iter().take(words.len().saturating_sub(1)).take_while(|word| is_particle(word)).count()
}

fn is_suffix(word: &str) -> bool {
    const SUFFIXES: [&str; 13] =
        ["jr", "sr", "ii", "iii", "iv", "md", "rn", "lpn", "cna", "np", "phd", "esq", "dds"];
    SUFFIXES.contains(&plain(word).as_str())
}

fn is_particle(word: &str) -> bool {
    const PARTICLES: [&str; 32] = [
        "af", "al", "av", "bin", "da", "das", "de", "del", "della", "den", "der", "di", "do", "dos", "du",
        "el", "ibn", "la", "las", "le", "los", "op", "san", "st", "t", "te", "ten", "ter", "van", "von",
        "zu", "zur",
    ];
    PARTICLES.contains(&plain(word).as_str())
}

/// Each run of digits with its length before it, without leading zeros: as bytes they compare as numbers do.
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        let digits = digits.trim_start_matches('0');
        out.push_str(before);
        // A digit comes first, so that numbers stay before letters; no text that people type is longer.
        out.push_str(&format!("0{:04}{digits}", digits.len().min(9_999)));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Every run of blanks and controls as one blank, and none outside.
fn blanked(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// What comes along with pasted text, changes nothing that is seen, and is left out: byte order marks, spaces
/// without width, soft hyphens and marks that set a direction for a part of a line.
const fn is_dropped(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}'
        | '\u{202a}'..='\u{202c}' | '\u{2066}'..='\u{2069}')
}

/// What takes no room on a page: Unicode's `Default_Ignorable_Code_Point` and the blank Braille pattern. In a
/// longer text they have their uses (joiners, variants of emoji); nothing is made of them alone.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
