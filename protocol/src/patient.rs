//! A resident's fields: what each may be, and the one form in which it is stored. A kiosk, the office and the
//! server's judge read them here and nowhere else.

use serde_json::{Map, Value};

use crate::day::{self, Today, birthday};
use crate::id::PatientId;
use crate::record::PatientDocument;
use crate::text::{self, Sought, family_name, fold, line, plain};
use crate::workflow::FieldError;

/// The longest name, in characters.
pub const MAX_NAME: usize = 200;
/// What to do without one.
const NO_NAME: &str = "give the name, as people know it";
/// The longest medical record number, in characters.
pub const MAX_MRN: usize = 50;
/// The longest room, in characters.
pub const MAX_ROOM: usize = 20;

/// The fields that this build knows, each in the one form in which it is stored, and whether there were
/// others. What is null or blank is removed, where there may be none.
///
/// # Errors
/// Every value that is wrong, with its field.
pub fn read(given: &Map<String, Value>, today: Today) -> Result<(Map<String, Value>, bool), Vec<FieldError>> {
    let (mut known, mut others, mut errors) = (Map::new(), false, Vec::new());
    for (field, value) in given {
        match read_one(field, value, today) {
            Some(Ok(value)) => drop(known.insert(field.clone(), value)),
            Some(Err(detail)) => errors.push(FieldError::new(field, detail)),
            None => others = true,
        }
    }
    if errors.is_empty() { Ok((known, others)) } else { Err(errors) }
}

/// As [`read`], of an edit: a value that the resident has already is taken as it is, though it would be taken no
/// more, so that it stands in the way of no other.
///
/// # Errors
/// As [`read`].
pub fn read_edit(
    given: &Map<String, Value>,
    had: &Map<String, Value>,
    today: Today,
) -> Result<(Map<String, Value>, bool), Vec<FieldError>> {
    let is_new = |(key, value): &(&String, &Value)| had.get(*key) != Some(*value);
    let own = |(key, value): (&String, &Value)| (key.clone(), value.clone());
    let (mut known, others) = read(&given.iter().filter(is_new).map(own).collect(), today)?;
    known.extend(given.iter().filter(|field| !is_new(field)).map(own));
    Ok((known, others))
}

/// What is unlikely about fields that were read, where it is news: to be asked about, and never refused.
#[must_use]
pub fn doubts(read: &Map<String, Value>, had: &Map<String, Value>, today: Today) -> Vec<FieldError> {
    const BORN: &str = "date_of_birth";
    let news = read.get(BORN).filter(|born| had.get(BORN) != Some(*born)).and_then(Value::as_str);
    let words = news.and_then(|born| day::unlikely_birthday(born, today));
    words.map(|words| FieldError::new(BORN, words)).into_iter().collect()
}

/// One field; none when this build does not know it.
fn read_one(field: &str, value: &Value, today: Today) -> Option<Result<Value, String>> {
    let text = |most: usize| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => line(text, most).map_err(|error| error.to_string()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("give a text".to_owned())
        }
    };
    let or_null = |text: String| if text.is_empty() { Value::Null } else { Value::String(text) };
    Some(match field {
        "name" => text(MAX_NAME).and_then(|given| match text::name(&given, MAX_NAME) {
            Ok(name) if name.is_empty() => Err(NO_NAME.to_owned()),
            read => read.map(Value::String).map_err(|error| error.to_string()),
        }),
        "mrn" => text(MAX_MRN).and_then(|mrn| {
            if is_no_mrn(&mrn) {
                Err(format!("“{mrn}” is no number: leave it empty where there is none or it is not known"))
            } else {
                Ok(Value::String(mrn))
            }
        }),
        "room" => text(MAX_ROOM).map(or_null),
        "date_of_birth" => text(MAX_NAME).and_then(|text| match text.as_str() {
            "" => Ok(Value::Null),
            text => birthday(text, today).map(Value::String),
        }),
        "is_active" if value.is_boolean() => Ok(value.clone()),
        "is_active" => Err("give true or false".to_owned()),
        _ => return None,
    })
}

/// Whether a text says that there is no medical record number, or none yet: "n/a", "unknown", "-", "TBD", "xx". It
/// would be a number that many have.
#[must_use]
pub fn is_no_mrn(text: &str) -> bool {
    const WORDS: [&str; 12] =
        ["na", "nil", "no", "nomrn", "none", "notknown", "null", "pending", "tba", "tbd", "unk", "unknown"];
    let said: String = fold(text).chars().filter(|c| c.is_alphanumeric()).collect();
    !text.trim().is_empty() && (said.chars().all(|c| c == 'x') || WORDS.contains(&said.as_str()))
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

/// Whether two may be one person: by the number; by the name, where the birthdays do not contradict each other;
/// or by a birthday that both have to the day, with the room, the family's name or a name that is one slip of the
/// pen apart. Names are compared as they are found, without accents and in any order.
#[must_use]
pub fn may_be_one(one: &PatientDocument, other: &PatientDocument) -> bool {
    if has_same_number(one, other) {
        return true;
    }
    let born = one.date_of_birth.as_deref().zip(other.date_of_birth.as_deref());
    let names = (words(&one.name), words(&other.name));
    if names.0 == names.1 {
        return born.is_none_or(|(one, other)| day::may_be_one(one, other));
    }
    let has_same_room = || {
        let rooms = one.room.as_deref().zip(other.room.as_deref());
        rooms.is_some_and(|(one, other)| fold(one) == fold(other))
    };
    let is_same_day = born.is_some_and(|(one, other)| one == other && one.len() == DAY.len());
    let is_one_family = || words(&family_name(&one.name)) == words(&family_name(&other.name));
    is_same_day && (has_same_room() || is_one_family() || is_a_slip_apart(&names.0, &names.1))
}

/// Whether two have one medical record number, which is one person's.
#[must_use]
pub fn has_same_number(one: &PatientDocument, other: &PatientDocument) -> bool {
    let key = mrn_key(&one.mrn);
    !key.is_empty() && key == mrn_key(&other.mrn)
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

/// Whether somebody is found by name, room or number.
#[must_use]
pub fn is_found(resident: &PatientDocument, sought: &Sought) -> bool {
    sought.finds(&[&resident.name, resident.room.as_deref().unwrap_or_default(), &resident.mrn])
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

impl PatientDocument {
    /// Under which patients the chart of this person is kept: this one, and whose place it took.
    #[must_use]
    pub fn chart(&self) -> Vec<PatientId> {
        [self.id].into_iter().chain(self.replaces.iter().copied()).collect()
    }

    /// Sets one field to a value that [`read`] gave; fields that this build does not know are left.
    pub fn set(&mut self, field: &str, value: &Value) {
        let text = value.as_str().map(str::to_owned);
        match field {
            "name" => self.name = text.unwrap_or_default(),
            "mrn" => self.mrn = text.unwrap_or_default(),
            "date_of_birth" => self.date_of_birth = text,
            "room" => self.room = text,
            "is_active" => self.is_active = value.as_bool().unwrap_or(self.is_active),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_one_form() {
        let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
        let read = |given: Value| read(given.as_object().unwrap(), today);
        let given = json!({"name": " Ada\u{a0} Example\n", "mrn": "RS-1 ", "room": " ", "date_of_birth": "3/1941",
            "is_active": true, "shoe_size": 9});
        let kept = json!({"name": "Ada Example", "mrn": "RS-1", "room": null, "date_of_birth": "1941-03",
            "is_active": true});
        assert_eq!(read(given), Ok((kept.as_object().unwrap().clone(), true)));
        let wrong = json!({"name": "\u{200b}", "mrn": "x".repeat(51), "room": 7, "date_of_birth": "2099-01-01",
            "is_active": null});
        let wrong: Vec<_> = read(wrong).unwrap_err().into_iter().map(|fault| fault.field).collect();
        assert_eq!(wrong, ["date_of_birth", "is_active", "mrn", "name", "room"]);
        assert_eq!(read(json!({"name": "  "})).unwrap_err(), [FieldError::new("name", NO_NAME)]);
    }

    #[test]
    fn what_says_that_there_is_no_number_is_no_number() {
        let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
        let read = |mrn: &str| read(json!({"mrn": mrn}).as_object().unwrap(), today);
        for none in [
            "n/a",
            "N.A.",
            "none",
            "Unknown",
            "not known",
            "no MRN",
            "-",
            "– –",
            "?",
            "TBD",
            "x",
            "XXX",
            "ｎ／ａ",
        ] {
            let words =
                format!("“{none}” is no number: leave it empty where there is none or it is not known");
            assert_eq!(read(none), Err(vec![FieldError::new("mrn", words)]));
            assert_eq!(mrn_key(none), "", "nobody shares it: {none}");
        }
        for mrn in ["", " ", "NA-1", "X1", "0", "Nolan 7", "XA"] {
            assert!(read(mrn).is_ok(), "{mrn}");
        }
    }

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
            ("Ada Smyth", "", "12", ""),
            ("Ida Smyth", "1941-03-15", "", ""),
            ("Ada Smthi", "1941-03-15", "", ""),
            ("", "", "", ""),
        ] {
            assert!(!may_be_one(&ada, &person(name, born, room, mrn)), "{name} {born} {room} {mrn}");
        }
        // Day and month changed round, of one name.
        let bea = person("Bea Smith", "1941-03-04", "", "");
        assert!(may_be_one(&bea, &person("Smith, Bea", "1941-04-03", "", "")));
        assert!(!may_be_one(&bea, &person("Bea Smyth", "1941-04-03", "", "")));
        let unknown = |n: u8| person(&format!("Unknown {n}"), "1941-03-04", "", "");
        assert!(!may_be_one(&unknown(1), &unknown(2)), "a number that counts is no slip");
        // What is nothing but signs is no number.
        assert!(!has_same_number(&person("Ada", "", "", "-"), &person("Bea", "", "", "– -")));
    }

    #[test]
    fn somebody_is_found_by_name_room_and_number_in_any_order() {
        let joao = person("João Peter O’Brien-Łuk", "1941-03-15", "12 B", "RS-0042");
        for asked in
            ["joao", "OBRIEN", "o'brien", "luk jo", "obr pet", "12b", "12 b", "rs-0042", "RS0042", "12 joao"]
        {
            assert!(is_found(&joao, &Sought::new(asked)), "{asked}");
        }
        for asked in ["rien", "joao smith", "13", "042", "peter 13"] {
            assert!(!is_found(&joao, &Sought::new(asked)), "{asked}");
        }
        assert!(words(" -,. ").is_empty());
    }

    #[test]
    fn an_unlikely_birthday_is_asked_about_where_it_is_news() {
        let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
        let born =
            |day: &str| json!({"name": "Ada Example", "date_of_birth": day}).as_object().unwrap().clone();
        let (child, none) = (born("2020-03-15"), Map::new());
        let asked = doubts(&child, &none, today);
        assert_eq!((asked.len(), asked[0].field.as_str()), (1, "date_of_birth"), "{asked:?}");
        for (read, had) in [(&child, &child), (&born("1941"), &none), (&none, &child)] {
            assert_eq!(doubts(read, had, today), [], "{read:?}");
        }
    }

    #[test]
    fn a_value_of_before_stands_in_nobodys_way() {
        let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
        let had = json!({"name": "Ada Example", "date_of_birth": "1066-10-14", "room": null});
        let edit = |given: Value| read_edit(given.as_object().unwrap(), had.as_object().unwrap(), today);
        let moved = json!({"room": "12", "date_of_birth": "1066-10-14"});
        assert_eq!(edit(moved.clone()), Ok((moved.as_object().unwrap().clone(), false)));
        let wrong = edit(json!({"date_of_birth": "1067-10-14"})).unwrap_err();
        assert_eq!(wrong[0].field, "date_of_birth");
    }
}
