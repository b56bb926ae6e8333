//! Answers in words, with what whoever reads them has to see.

use carepost_protocol::day;
use carepost_protocol::number::plain;
use carepost_protocol::unit::Units;
use carepost_protocol::workflow::{FieldType, Workflow};
use carepost_protocol::zone::Zone;
use serde_json::{Map, Value};

/// An answer as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredField {
    pub label: String,
    pub words: String,
    /// Whether it is so low or high that whoever reads it has to see it.
    pub is_critical: bool,
    /// Whether it is unlikely, and was confirmed by who charted it.
    pub is_confirmed: bool,
}

/// The answers of a record as words, in the order of its form, with times as that zone has them and in the units of
/// the facility.
#[must_use]
pub(super) fn in_words(
    zone: &Zone,
    workflow: Option<&Workflow>,
    values: &Map<String, Value>,
    confirmed: &[String],
    units: Units,
) -> Vec<AnsweredField> {
    let fields = workflow.map(Workflow::in_order).unwrap_or_default();
    let known = fields.iter().filter_map(|field| {
        let value = values.get(&field.key).filter(|value| !value.is_null())?;
        Some(AnsweredField {
            label: field.label.clone(),
            words: match (field.field_type, value.as_str()) {
                (FieldType::Datetime, Some(time)) => zone.words(time),
                (FieldType::Date, Some(day)) => day::shown(day),
                (_, _) => word(&field.shown(value, units)) + &field.charted_in(units).spoken_unit(),
            },
            is_critical: field.is_critical(value),
            is_confirmed: confirmed.contains(&field.key),
        })
    });
    let strangers = values
        .iter()
        .filter(|(key, value)| !value.is_null() && fields.iter().all(|field| field.key != **key))
        .map(|(key, value)| AnsweredField {
            label: key.clone(),
            // Whether it is a time, only its form would tell.
            words: value.as_str().map_or_else(|| word(value), |text| zone.words(text)),
            is_critical: false,
            is_confirmed: confirmed.contains(key),
        });
    known.chain(strangers).collect()
}

fn word(value: &Value) -> String {
    match value {
        Value::Bool(true) => "Yes".to_owned(),
        Value::Bool(false) => "No".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => plain(number).to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
