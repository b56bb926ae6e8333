//! Patient matching: how residents' names and numbers are compared, and found.

use super::{Field, is_no_mrn, numbers};
use crate::day;
use crate::record::PatientDocument;
use crate::text::{Sought, family_name, fold, plain};

/// Whether two may be one person: by a number; by the name, where the birthdays do not contradict each other; by a name
/// that is one slip of the pen apart, with one birthday, with day and month changed round too, or with one room where
/// the birthdays do not contradict each other; or by a birthday that both have to the day, with the room or the family's
/// name. Names are compared as they are found, without accents and in any order.
#[must_use]
pub fn may_be_one(one: &PatientDocument, other: &PatientDocument) -> bool {
    if same_numbers(one, other).next().is_some() {
        return true;
    }
    let born = one.date_of_birth.as_deref().zip(other.date_of_birth.as_deref());
    let may_be_one_birthday = born.is_none_or(|(one, other)| day::may_be_one(one, other));
    let names = (words(&one.name), words(&other.name));
    if names.0 == names.1 {
        return may_be_one_birthday;
    }
    let has_same_room = || {
        let rooms = one.room.as_deref().zip(other.room.as_deref());
        rooms.is_some_and(|(one, other)| fold(one) == fold(other))
    };
    let is_same_day = born.is_some_and(|(one, other)| one == other && one.len() == DAY.len());
    if is_a_slip_apart(&names.0, &names.1) {
        let is_turned = born.is_some_and(|(one, other)| day::turned(one).as_deref() == Some(other));
        return is_same_day || is_turned || has_same_room() && may_be_one_birthday;
    }
    let is_one_family = || words(&family_name(&one.name)) == words(&family_name(&other.name));
    is_same_day && (has_same_room() || is_one_family())
}

/// Those of the [`numbers`] that two have both.
pub fn same_numbers(one: &PatientDocument, other: &PatientDocument) -> impl Iterator<Item = &'static Field> {
    numbers().filter(move |number| {
        let key = number.number_key(one);
        !key.is_empty() && key == number.number_key(other)
    })
}

/// Whether two names are the same but for a slip in one of their words.
fn is_a_slip_apart(one: &[String], other: &[String]) -> bool {
    let mut rest: Vec<&String> = other.iter().collect();
    let mut own: Vec<&String> = one.iter().collect();
    own.retain(|word| match rest.iter().position(|it| it == word) {
        Some(at) => {
            rest.swap_remove(at);
            false
        }
        None => true,
    });
    matches!((&own[..], &rest[..]), ([one], [other]) if is_a_slip(one, other))
}

/// Whether one word is another with a letter that is different, missing or too many, or with two that changed places.
/// What tells "Unknown 1" from "Unknown 2" is no slip.
fn is_a_slip(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if !one.iter().chain(&other).all(|c| c.is_alphabetic()) {
        return false;
    }
    let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    let rest = |word: &[char]| word.get(same..).unwrap_or_default().to_vec();
    let (mut one, mut other) = (rest(&one), rest(&other));
    while one.last().is_some() && one.last() == other.last() {
        one.pop();
        other.pop();
    }
    match (&one[..], &other[..]) {
        ([_], [_] | []) | ([], [_]) => true,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

/// What is typed to find somebody: a leading "room" says what comes after it, and is no part of it.
#[must_use]
pub fn sought(typed: &str) -> Sought {
    let folded = fold(typed);
    Sought::new(folded.strip_prefix("room ").unwrap_or(typed))
}

/// Whether somebody is found by name, room or number.
#[must_use]
pub fn is_found(resident: &PatientDocument, sought: &Sought) -> bool {
    sought.finds(&[&resident.name, resident.room.as_deref().unwrap_or_default(), &resident.mrn])
}

/// What a medical record number is compared by: as [`fold`], and blanks and hyphens together are one hyphen. "RS 1",
/// "RS-1" and "RS -1" are one. Empty where there is nothing else, or what [is no number](is_no_mrn).
#[must_use]
pub fn mrn_key(mrn: &str) -> String {
    if is_no_mrn(mrn) {
        return String::new();
    }
    let folded = fold(mrn);
    folded.split([' ', '-']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// What a name is compared by: its [`words`], so that neither accents nor their order count. Empty where it has none.
#[must_use]
pub fn words_key(name: &str) -> String {
    words(name).join(" ")
}

/// The words that a name is compared by, in no order of its own.
#[must_use]
pub fn words(name: &str) -> Vec<String> {
    let plain = plain(name);
    let mut words: Vec<String> = plain
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words
}

/// A birthday that is known to the day.
const DAY: &str = "1941-03-15";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PatientId;

    fn person(name: &str, born: &str, room: &str, mrn: &str) -> PatientDocument {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        PatientDocument {
            mrn: mrn.to_owned(),
            name: name.to_owned(),
            date_of_birth: some(born),
            room: some(room),
            ..PatientDocument::new(PatientId::from_bytes([0; 16]))
        }
    }

    #[test]
    fn who_may_be_one_person_is_known_by_number_name_or_birthday() {
        let ada = person("Ada Smith", "1941-03-15", "12", "RS-1");
        for (name, born, room, mrn) in [
            ("Ada Smith", "1941-03-15", "", ""),
            ("smith, ADA", "", "30", ""),
            ("Áda Smith", "1941", "", ""),
            ("Somebody Else", "1950-01-01", "", "rs-1"),
            ("Somebody Else", "1950-01-01", "", "RS–1"),
            ("Somebody Else", "1950-01-01", "", "ＲＳ １"),
            ("Somebody Else", "1950-01-01", "", "RS - ١"),
            ("Somebody Else", "1950-01-01", "", "RS- 1"),
            ("Somebody Else", "1950-01-01", "", "RS -1"),
            ("Somebody Else", "1950-01-01", "", "-RS--1"),
            ("Adelaide Jones", "1941-03-15", "12", ""),
            ("Adelaide Smith", "1941-03-15", "", ""),
            ("Ada Smyth", "1941-03-15", "", ""),
            ("Ada Smit", "1941-03-15", "", ""),
            ("Ada Smiths", "1941-03-15", "", ""),
            ("Smtih, Ada", "1941-03-15", "", ""),
            ("Áda Smíhh", "1941-03-15", "", ""),
            ("Ada Smyth", "", "12", ""),
            ("Ida Smith", "1941", "１２", ""),
        ] {
            let other = person(name, born, room, mrn);
            assert!(may_be_one(&ada, &other) && may_be_one(&other, &ada), "{other:?}");
        }
        for (name, born, room, mrn) in [
            ("Ada Smith", "1950-01-01", "12", ""),
            ("Ada Smithson", "", "12", ""),
            ("Adelaide Jones", "1941-03-15", "13", "RS-2"),
            ("Adelaide Smith", "1941", "12", ""),
            ("Ada Smyth", "1941-03-16", "12", ""),
            ("Ada Smyth", "", "13", ""),
            ("Ada Smyth", "1941", "", ""),
            ("Ida Smyth", "1941-03-15", "", ""),
            ("Ada Smthi", "1941-03-15", "", ""),
            ("", "", "", ""),
        ] {
            assert!(!may_be_one(&ada, &person(name, born, room, mrn)), "{name} {born} {room} {mrn}");
        }
        // Day and month changed round, of one name.
        let bea = person("Bea Smith", "1941-03-04", "", "");
        assert!(may_be_one(&bea, &person("Smith, Bea", "1941-04-03", "", "")));
        assert!(may_be_one(&bea, &person("Bea Smyth", "1941-04-03", "", "")), "with a slip in it too");
        assert!(!may_be_one(&bea, &person("Dee Smyth", "1941-04-03", "", "")));
        let unknown = |n: u8| person(&format!("Unknown {n}"), "1941-03-04", "", "");
        assert!(!may_be_one(&unknown(1), &unknown(2)), "a number that counts is no slip");
        // What is nothing but signs is no number.
        assert_eq!(same_numbers(&person("Ada", "", "", "-"), &person("Bea", "", "", "– -")).count(), 0);
    }

    #[test]
    fn a_medicare_number_is_one_persons_as_a_medical_record_number_is() {
        let with = |name: &str, mrn: &str, medicare: Option<&str>| PatientDocument {
            medicare: medicare.map(str::to_owned),
            ..person(name, "", "", mrn)
        };
        let ada = with("Ada Smith", "RS-1", Some("1EG4-TE5-MK73"));
        let keys = |other: &PatientDocument| -> Vec<&str> {
            same_numbers(&ada, other).map(|number| number.key).collect()
        };
        let bea = with("Bea Other", "RS-2", Some("1EG4-TE5-MK73"));
        assert_eq!(keys(&bea), ["medicare"]);
        assert!(may_be_one(&ada, &bea));
        assert_eq!(keys(&with("Bea Other", "rs 1", None)), ["mrn"]);
        assert_eq!(keys(&with("Bea Other", "rs 1", Some("1EG4-TE5-MK73"))), ["mrn", "medicare"]);
        assert!(keys(&with("Bea Other", "RS-2", Some("1EG4-TE5-MK72"))).is_empty());
        assert_eq!(same_numbers(&with("Ada", "", None), &with("Bea", "", None)).count(), 0);
    }

    #[test]
    fn somebody_is_found_by_name_room_and_number_in_any_order() {
        let joao = person("João Peter O’Brien-Łuk", "1941-03-15", "12 B", "RS-0042");
        for asked in [
            "joao", "OBRIEN", "o'brien", "luk jo", "obr pet", "12b", "12 b", "rs-0042", "RS0042", "12 joao",
            "room 12b", "Room  12",
        ] {
            assert!(is_found(&joao, &sought(asked)), "{asked}");
        }
        for asked in ["rien", "joao smith", "13", "042", "peter 13", "room", "room 13", "12 room"] {
            assert!(!is_found(&joao, &sought(asked)), "{asked}");
        }
        assert!(words(" -,. ").is_empty());
        assert_eq!(["Smith, Áda", "Ada SMITH", "?"].map(words_key), ["ada smith", "ada smith", ""]);
    }
}
