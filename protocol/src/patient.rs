//! A resident's fields: what each may be, and the one form in which it is stored. A kiosk, the office and the
//! server's judge read them here and nowhere else.

use serde_json::{Map, Value};

use crate::day::birthday;
use crate::record::PatientDocument;
use crate::text::line;
use crate::time::Timestamp;
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
pub fn read(
    given: &Map<String, Value>,
    today: Timestamp,
) -> Result<(Map<String, Value>, bool), Vec<FieldError>> {
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
    today: Timestamp,
) -> Result<(Map<String, Value>, bool), Vec<FieldError>> {
    let is_new = |(key, value): &(&String, &Value)| had.get(*key) != Some(*value);
    let own = |(key, value): (&String, &Value)| (key.clone(), value.clone());
    let (mut known, others) = read(&given.iter().filter(is_new).map(own).collect(), today)?;
    known.extend(given.iter().filter(|field| !is_new(field)).map(own));
    Ok((known, others))
}

/// One field; none when this build does not know it.
fn read_one(field: &str, value: &Value, today: Timestamp) -> Option<Result<Value, String>> {
    let text = |most: usize| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => line(text, most).map_err(|error| error.to_string()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("give a text".to_owned())
        }
    };
    let or_null = |text: String| if text.is_empty() { Value::Null } else { Value::String(text) };
    Some(match field {
        "name" => text(MAX_NAME)
            .and_then(|name| if name.is_empty() { Err(NO_NAME.to_owned()) } else { Ok(Value::String(name)) }),
        "mrn" => text(MAX_MRN).map(Value::String),
        "room" => text(MAX_ROOM).map(or_null),
        "date_of_birth" => text(MAX_NAME).and_then(|text| match text.as_str() {
            "" => Ok(Value::Null),
            text => birthday(text, today).map(Value::String).map_err(str::to_owned),
        }),
        "is_active" if value.is_boolean() => Ok(value.clone()),
        "is_active" => Err("give true or false".to_owned()),
        _ => return None,
    })
}

impl PatientDocument {
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
        let today: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
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
    fn a_value_of_before_stands_in_nobodys_way() {
        let today: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let had = json!({"name": "Ada Example", "date_of_birth": "1066-10-14", "room": null});
        let edit = |given: Value| read_edit(given.as_object().unwrap(), had.as_object().unwrap(), today);
        let moved = json!({"room": "12", "date_of_birth": "1066-10-14"});
        assert_eq!(edit(moved.clone()), Ok((moved.as_object().unwrap().clone(), false)));
        let wrong = edit(json!({"date_of_birth": "1067-10-14"})).unwrap_err();
        assert_eq!(wrong[0].field, "date_of_birth");
    }
}
