//! A resident as both devices and the office edit one: the row, its document, who wrote which field
//! last, and what a value may be.

use std::collections::BTreeMap;

use carepost_protocol::change::Origin;
use carepost_protocol::id::PatientId;
use carepost_protocol::merge::{Field, Mark};
use carepost_protocol::record::{Collection, PatientDocument};
use carepost_protocol::time::Timestamp;
use carepost_protocol::workflow::{FieldError, parse_date};
use rusqlite::{Row, params};
use serde_json::{Map, Value};

use super::column::{count, count_at, id_at, id_or_none_at, json, time_at};
use super::engine::Tx;
use super::publish::FeedEnd;
use super::{Patient, StoreError};
use crate::text::is_line;

type Result<T> = std::result::Result<T, StoreError>;

macro_rules! patient_columns {
    () => {
        "SELECT id, facility_id, mrn, name, date_of_birth, room, is_active, created_at FROM patients "
    };
}
pub(super) use patient_columns;

/// One resident of the scope.
pub(super) fn find(tx: &Tx<'_>, id: PatientId) -> Result<Option<Patient>> {
    tx.first(concat!(patient_columns!(), "WHERE id = ?1"), [id.as_bytes()], patient_row)
}

/// A resident from the columns of [`patient_columns`].
pub(super) fn patient_row(row: &Row<'_>) -> rusqlite::Result<Patient> {
    Ok(Patient {
        id: id_at(row, 0)?,
        facility_id: id_at(row, 1)?,
        mrn: row.get(2)?,
        name: row.get(3)?,
        date_of_birth: row.get(4)?,
        room: row.get(5)?,
        is_active: row.get(6)?,
        created_at: time_at(row, 7)?,
    })
}

/// Writes a new row. Without a link to another resident, the MRN has to be nobody else's.
pub(super) fn insert(tx: &Tx<'_>, patient: &Patient, duplicate_of: Option<PatientId>) -> Result<()> {
    tx.execute(
        "INSERT INTO patients (id, facility_id, mrn, name, date_of_birth, room, is_active, created_at,
            duplicate_of) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            patient.id.as_bytes(),
            patient.facility_id.as_bytes(),
            patient.mrn,
            patient.name,
            patient.date_of_birth,
            patient.room,
            patient.is_active,
            patient.created_at.as_millis(),
            duplicate_of.map(|id| *id.as_bytes()),
        ],
    )
    .map(drop)
}

/// Writes the row's fields.
pub(super) fn save(tx: &Tx<'_>, patient: &Patient) -> Result<()> {
    tx.execute(
        "UPDATE patients SET mrn = ?2, name = ?3, date_of_birth = ?4, room = ?5, is_active = ?6 WHERE id = ?1",
        params![
            patient.id.as_bytes(),
            patient.mrn,
            patient.name,
            patient.date_of_birth,
            patient.room,
            patient.is_active,
        ],
    )
    .map(drop)
}

/// Links a resident to another who may be the same person, or to itself when the MRN is somebody's in
/// another facility; without a link the MRN has to be nobody else's.
pub(super) fn link(tx: &Tx<'_>, id: PatientId, duplicate_of: Option<PatientId>) -> Result<()> {
    let sql = "UPDATE patients SET duplicate_of = ?2 WHERE id = ?1";
    tx.execute(sql, params![id.as_bytes(), duplicate_of.map(|id| *id.as_bytes())]).map(drop)
}

/// Puts the resident's document at the end of the feed.
pub(super) fn put(tx: &Tx<'_>, feed: &mut FeedEnd, patient: &Patient) -> Result<u64> {
    let document = PatientDocument {
        id: patient.id,
        mrn: patient.mrn.clone(),
        name: patient.name.clone(),
        date_of_birth: patient.date_of_birth.clone(),
        room: patient.room.clone(),
        is_active: patient.is_active,
    };
    let body = json(&document)?;
    feed.put(tx, Collection::Patients, patient.id.as_bytes(), Some(patient.id), Some(&body))
}

/// The resident's fields with who wrote each last. What nobody has edited since the admission counts as
/// seen by everybody.
pub(super) fn fields(tx: &Tx<'_>, patient: &Patient) -> Result<BTreeMap<String, Field>> {
    let marks = "SELECT field, seq, at, user_id, device_id, incarnation_id, n FROM marks
        WHERE collection = 'patients' AND record_id = ?1";
    let marks: BTreeMap<String, Mark> =
        tx.all(marks, [patient.id.as_bytes()], mark_row)?.into_iter().collect();
    let values = [
        ("name", Value::from(patient.name.as_str())),
        ("mrn", Value::from(patient.mrn.as_str())),
        ("date_of_birth", Value::from(patient.date_of_birth.as_deref())),
        ("room", Value::from(patient.room.as_deref())),
        ("is_active", Value::from(patient.is_active)),
    ];
    let unmarked = Mark { seq: 0, at: Timestamp::EPOCH, origin: None, by: None };
    let field = |(key, value): (&str, Value)| {
        (key.to_owned(), Field { value, mark: marks.get(key).copied().unwrap_or(unmarked) })
    };
    Ok(values.into_iter().map(field).collect())
}

fn mark_row(row: &Row<'_>) -> rusqlite::Result<(String, Mark)> {
    let origin = match (id_or_none_at(row, 4)?, id_or_none_at(row, 5)?) {
        (Some(device), Some(incarnation)) => Some(Origin { device, incarnation, n: count_at(row, 6)? }),
        (Some(_) | None, Some(_) | None) => None,
    };
    let mark = Mark { seq: count_at(row, 1)?, at: time_at(row, 2)?, origin, by: id_or_none_at(row, 3)? };
    Ok((row.get(0)?, mark))
}

/// Writes down who wrote a field last.
pub(super) fn mark(tx: &Tx<'_>, id: PatientId, field: &str, mark: &Mark) -> Result<()> {
    let key = params![id.as_bytes(), field];
    tx.execute("DELETE FROM marks WHERE collection = 'patients' AND record_id = ?1 AND field = ?2", key)?;
    tx.execute(
        "INSERT INTO marks (collection, record_id, field, seq, at, user_id, device_id, incarnation_id, n)
            VALUES ('patients', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id.as_bytes(),
            field,
            count(mark.seq),
            mark.at.as_millis(),
            mark.by.map(|id| *id.as_bytes()),
            mark.origin.map(|origin| *origin.device.as_bytes()),
            mark.origin.map(|origin| *origin.incarnation.as_bytes()),
            mark.origin.map(|origin| count(origin.n)),
        ],
    )
    .map(drop)
}

/// Sets one field to a value that [`read`] gave.
pub(super) fn set(patient: &mut Patient, field: &str, value: &Value) {
    let text = value.as_str().map(str::to_owned);
    match field {
        "name" => patient.name = text.unwrap_or_default(),
        "mrn" => patient.mrn = text.unwrap_or_default(),
        "date_of_birth" => patient.date_of_birth = text,
        "room" => patient.room = text,
        "is_active" => patient.is_active = value.as_bool().unwrap_or(patient.is_active),
        _ => {}
    }
}

/// The fields that this build knows, each in the one form in which it is stored, and whether there were
/// others. What is null is removed, where there may be none.
pub(super) fn read(
    given: &Map<String, Value>,
) -> std::result::Result<(Map<String, Value>, bool), Vec<FieldError>> {
    let (mut known, mut others, mut errors) = (Map::new(), false, Vec::new());
    for (field, value) in given {
        match read_one(field, value) {
            Some(Ok(value)) => drop(known.insert(field.clone(), value)),
            Some(Err(detail)) => {
                errors.push(FieldError { field: field.clone(), detail: detail.to_owned() });
            }
            None => others = true,
        }
    }
    if errors.is_empty() { Ok((known, others)) } else { Err(errors) }
}

fn read_one(field: &str, value: &Value) -> Option<std::result::Result<Value, &'static str>> {
    let text = |most: usize, otherwise: &'static str| {
        let good = value.as_str().is_some_and(|text| is_text(text, most));
        if good { Ok(value.clone()) } else { Err(otherwise) }
    };
    let nothing = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    Some(match field {
        "name" => text(200, "give a name of 1 to 200 characters, none of them a control character"),
        "mrn" if nothing => Ok(Value::from("")),
        "mrn" => text(50, "give at most 50 characters, none of them a control character"),
        "room" if nothing => Ok(Value::Null),
        "room" => text(20, "give at most 20 characters, none of them a control character"),
        "date_of_birth" if nothing => Ok(Value::Null),
        "date_of_birth" => match value.as_str().and_then(parse_date) {
            Some(date) => Ok(Value::from(date)),
            None => Err("give a day that exists, such as 1941-03-15"),
        },
        "is_active" if value.is_boolean() => Ok(value.clone()),
        "is_active" => Err("give true or false"),
        _ => return None,
    })
}

fn is_text(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && is_line(text, most)
}
