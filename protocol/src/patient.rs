//! A resident's fields: the one list of what each is called, may be, is compared by and shown to, and of the one form
//! in which it is stored. A kiosk, the office, the server's judge and its views go by the list, so that a field is
//! added here and in [`PatientDocument`], and nowhere else.

mod alike;

pub use alike::{is_found, may_be_one, mrn_key, same_numbers, sought, words, words_key};

use serde_json::{Map, Value};

use crate::day::{self, BORN, Today, birthday};
use crate::facility::PhiMode;
use crate::id::PatientId;
use crate::record::PatientDocument;
use crate::text::{self, fold, line};
use crate::workflow::{FieldError, FieldType};

/// A field of a resident.
pub struct Field {
    /// Its name in documents, changes and requests.
    pub key: &'static str,
    /// What a form calls it.
    pub label: &'static str,
    /// What it is called beside its value.
    pub short: &'static str,
    /// What it is, for whoever writes a request or a command.
    pub what: &'static str,
    /// Whether it is a text, which forms ask for, or a fact that is decided otherwise.
    pub field_type: FieldType,
    /// What to do without one; none where there may be none.
    pub missing: Option<&'static str>,
    /// What a text of it is compared by, where it is a number that is one person's.
    number: Option<fn(&str) -> String>,
    /// The devices that are sent it as it is, by their mode; the others read and edit none.
    modes: &'static [PhiMode],
    /// The longest text, in characters.
    most: usize,
    /// The one form of a text that is not blank; in words what is wrong with it.
    form: fn(String, Today) -> Result<String, String>,
    /// Whether a text says no more than is known: both in their one form.
    is_known: fn(&str, &str) -> bool,
    get: fn(&PatientDocument) -> Value,
    set: fn(&mut PatientDocument, &Value),
}

/// Every field, in the order in which forms ask for them. Each is merged by itself ([`crate::merge`]).
pub static FIELDS: &[Field] = &[
    Field {
        key: "name",
        label: "Name",
        short: "Name",
        what: "The full name",
        field_type: FieldType::String,
        missing: Some(NO_NAME),
        number: None,
        modes: &[PhiMode::Full],
        most: MAX_NAME,
        form: |name, _| text::person_name(&name, MAX_NAME).map_err(|error| error.to_string()),
        is_known: |given, known| words(given) == words(known),
        get: |resident| Value::from(resident.name.as_str()),
        set: |resident, value| resident.name = text(value).unwrap_or_default(),
    },
    Field {
        key: "room",
        label: "Room",
        short: "Room",
        what: "The room",
        field_type: FieldType::String,
        missing: None,
        number: None,
        modes: &[PhiMode::Full, PhiMode::Minimal],
        most: 20,
        form: as_it_is,
        is_known: is_same_text,
        get: |resident| Value::from(resident.room.as_deref()),
        set: |resident, value| resident.room = text(value),
    },
    Field {
        key: BORN,
        label: "Date of birth",
        short: "Born",
        what: "The day of birth: 1941-03-15 or 03/15/1941",
        field_type: FieldType::String,
        missing: None,
        number: None,
        modes: &[PhiMode::Full],
        most: 200,
        form: |text, today| birthday(&text, today),
        // The year alone says no more than the day.
        is_known: |given, known| known.starts_with(given),
        get: |resident| Value::from(resident.date_of_birth.as_deref()),
        set: |resident, value| resident.date_of_birth = text(value),
    },
    Field {
        key: "mrn",
        label: "MRN",
        short: "MRN",
        what: "The medical record number, unique in the organization, where there is one",
        field_type: FieldType::String,
        missing: None,
        number: Some(mrn_key),
        modes: &[PhiMode::Full],
        most: 50,
        form: |mrn, _| if is_no_mrn(&mrn) { Err(no_mrn(&mrn)) } else { Ok(mrn) },
        is_known: |given, known| mrn_key(given) == mrn_key(known),
        get: |resident| Value::from(resident.mrn.as_str()),
        set: |resident, value| resident.mrn = text(value).unwrap_or_default(),
    },
    Field {
        key: "medicare",
        label: "Medicare number",
        short: "Medicare",
        what: "The Medicare Beneficiary Identifier, such as 1EG4-TE5-MK73",
        field_type: FieldType::String,
        missing: None,
        number: Some(fold),
        modes: &[PhiMode::Full],
        most: 50,
        form: |text, _| medicare(&text),
        is_known: is_same_text,
        get: |resident| Value::from(resident.medicare.as_deref()),
        set: |resident, value| resident.medicare = text(value),
    },
    Field {
        key: "is_active",
        label: "Lives here",
        short: "In care",
        what: "Whether the patient is in care now",
        field_type: FieldType::Boolean,
        missing: None,
        number: None,
        modes: &[PhiMode::Full, PhiMode::Minimal, PhiMode::Free],
        most: 0,
        form: as_it_is,
        is_known: is_same_text,
        get: |resident| Value::from(resident.is_active),
        set: |resident, value| resident.is_active = value.as_bool().unwrap_or(resident.is_active),
    },
];

/// The longest name, in characters.
pub const MAX_NAME: usize = 200;
/// What to do without a name.
const NO_NAME: &str = "give the name, as people know it";

/// The field of that key, where this build knows one.
#[must_use]
pub fn field(key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.key == key)
}

/// The numbers of which each is one person's.
pub fn numbers() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(|field| field.number.is_some())
}

impl Field {
    /// Whether forms, the office and its commands ask for it.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self.field_type, FieldType::String)
    }

    /// Whether devices of that mode are sent it as it is.
    #[must_use]
    pub fn is_sent(&self, mode: PhiMode) -> bool {
        self.modes.contains(&mode)
    }

    /// What a resident has of it.
    #[must_use]
    pub fn of(&self, resident: &PatientDocument) -> Value {
        (self.get)(resident)
    }

    /// What a resident's is compared by, where it is a number that is one person's; empty where there is none.
    #[must_use]
    pub fn number_key(&self, resident: &PatientDocument) -> String {
        let text = text(&self.of(resident)).unwrap_or_default();
        self.number.map(|key| key(&text)).unwrap_or_default()
    }

    /// A text of it as people read it: a birthday as in the United States.
    #[must_use]
    pub fn read_as(&self, text: &str) -> String {
        if self.key == BORN { day::shown(text) } else { text.to_owned() }
    }

    /// The same of what a resident has; none where there is none, or it is no text.
    #[must_use]
    pub fn shown(&self, resident: &PatientDocument) -> Option<String> {
        let text = text(&self.of(resident)).filter(|text| !text.is_empty())?;
        Some(self.read_as(&text))
    }

    /// Whether what was typed says more than what is known.
    #[must_use]
    pub fn is_news(&self, typed: &str, known: &str, today: Today) -> bool {
        let form = |text: &str| (self.form)(text.to_owned(), today).unwrap_or_else(|_| text.to_owned());
        !typed.trim().is_empty() && !(self.is_known)(&form(typed), &form(known))
    }

    /// A value in the one form in which it is stored; what is null or blank is what a resident has who has none.
    fn read(&self, value: &Value, today: Today) -> Result<Value, String> {
        let text = match (self.field_type, value) {
            (FieldType::Boolean, Value::Bool(_)) => return Ok(value.clone()),
            (FieldType::Boolean, _) => return Err("give true or false".to_owned()),
            (_, Value::Null) => String::new(),
            (_, Value::String(text)) => line(text, self.most).map_err(|error| error.to_string())?,
            (_, Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                return Err("give a text".to_owned());
            }
        };
        match self.missing {
            _ if !text.is_empty() => (self.form)(text, today).map(Value::String),
            Some(words) => Err(words.to_owned()),
            None => Ok(self.of(&PatientDocument::new(PatientId::from_bytes([0; 16])))),
        }
    }
}

/// The fields that this build knows, each in the one form in which it is stored, and whether there were
/// others. What is null or blank is removed, where there may be none.
///
/// # Errors
/// Every value that is wrong, with its field.
pub fn read(given: &Map<String, Value>, today: Today) -> Result<(Map<String, Value>, bool), Vec<FieldError>> {
    let (mut known, mut others, mut errors) = (Map::new(), false, Vec::new());
    for (field, value) in given {
        match self::field(field).map(|known| known.read(value, today)) {
            Some(Ok(value)) => drop(known.insert(field.clone(), value)),
            Some(Err(detail)) => errors.push(FieldError::new(field, detail)),
            None => others = true,
        }
    }
    if errors.is_empty() { Ok((known, others)) } else { Err(errors) }
}

/// What everybody has, and these fields of somebody new do not say.
#[must_use]
pub fn missing(fields: &Map<String, Value>) -> Vec<FieldError> {
    let missing = FIELDS.iter().filter(|field| !fields.contains_key(field.key));
    missing.filter_map(|field| Some(FieldError::new(field.key, field.missing?))).collect()
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
    let news = read.get(BORN).filter(|born| had.get(BORN) != Some(*born)).and_then(Value::as_str);
    let words = news.and_then(|born| day::unlikely_birthday(born, today));
    words.map(|words| FieldError::new(BORN, words)).into_iter().collect()
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

/// A Medicare Beneficiary Identifier as CMS writes it: eleven letters and digits, in upper case and with its dashes.
/// Dashes and blanks may be typed or not. No letter is taken for another: S, L, O, I, B and Z are in none.
fn medicare(text: &str) -> Result<String, String> {
    const SHAPE: [fn(char) -> bool; 11] = {
        const FIRST: fn(char) -> bool = |c| matches!(c, '1'..='9');
        const N: fn(char) -> bool = |c| c.is_ascii_digit();
        const A: fn(char) -> bool =
            |c| c.is_ascii_uppercase() && !matches!(c, 'S' | 'L' | 'O' | 'I' | 'B' | 'Z');
        const AN: fn(char) -> bool = |c| N(c) || A(c);
        [FIRST, A, AN, N, A, AN, N, A, A, N, N]
    };
    let signs: Vec<char> = fold(text).to_uppercase().chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if text::odd_digit(text).is_some()
        || signs.len() != SHAPE.len()
        || !SHAPE.iter().zip(&signs).all(|(is_one, sign)| is_one(*sign))
    {
        return Err(format!(
            "“{text}” is no Medicare number: it has 11 letters and digits, such as 1EG4-TE5-MK73, and none of the letters \
             S, L, O, I, B and Z. Read it off the card, or leave it empty where there is none or it is not known"
        ));
    }
    let part = |at: std::ops::Range<usize>| signs.get(at).unwrap_or_default().iter().collect::<String>();
    Ok([part(0..4), part(4..7), part(7..11)].join("-"))
}

fn no_mrn(text: &str) -> String {
    format!("“{text}” is no number: leave it empty where there is none or it is not known")
}

fn as_it_is(text: String, _: Today) -> Result<String, String> {
    Ok(text)
}

fn is_same_text(given: &str, known: &str) -> bool {
    fold(given) == fold(known)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

impl PhiMode {
    /// Whether a field of a resident's is sent as it is, so that it can be read and edited there.
    #[must_use]
    pub fn shows(self, key: &str) -> bool {
        self == Self::Full || field(key).is_some_and(|field| field.is_sent(self))
    }
}

impl PatientDocument {
    /// Under which patients the chart of this person is kept: this one, and whose place it took.
    #[must_use]
    pub fn chart(&self) -> Vec<PatientId> {
        [self.id].into_iter().chain(self.replaces.iter().copied()).collect()
    }

    /// All fields, by key, as they are stored.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        FIELDS.iter().map(|field| (field.key.to_owned(), field.of(self))).collect()
    }

    /// Sets one field to a value that [`read`] gave; fields that this build does not know are left.
    pub fn set(&mut self, key: &str, value: &Value) {
        if let Some(field) = field(key) {
            (field.set)(self, value);
        }
    }

    /// Sets each of these fields.
    pub fn set_all(&mut self, values: &Map<String, Value>) {
        values.iter().for_each(|(key, value)| self.set(key, value));
    }
}

#[cfg(test)]
mod tests;
