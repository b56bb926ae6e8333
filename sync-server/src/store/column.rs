//! How what the store holds is written in columns: ids as bytes, moments as milliseconds, words as on
//! the wire.

use carepost_protocol::id::DeviceUuid;
use carepost_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::StoreError;
use super::engine::{EngineError, Read, Row};

/// A column's word for a value of a closed set.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Ok(word),
        _ => Err(StoreError::Unreadable("a word")),
    }
}

/// A column's text for a value that is stored as JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Unreadable("JSON"))
}

/// The value that a word stands for.
pub(super) fn word_at<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> Read<T> {
    let text: String = row.get(at)?;
    serde_json::from_value(Value::String(text)).map_err(|error| EngineError::column(at, error))
}

/// As [`word_at`], where there may be none.
pub(super) fn word_or_none_at<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> Read<Option<T>> {
    row.get::<Option<&str>>(at)?.map(|_| word_at(row, at)).transpose()
}

/// The value that a column's JSON stands for.
pub(super) fn json_at<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> Read<T> {
    let text = row.get::<&str>(at)?;
    serde_json::from_str(text).map_err(|error| EngineError::column(at, error))
}

/// As [`json_at`], where there may be none.
pub(super) fn json_or_none_at<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> Read<Option<T>> {
    row.get::<Option<&str>>(at)?.map(|_| json_at(row, at)).transpose()
}

/// An id.
pub(super) fn id_at<T: for<'a> TryFrom<&'a [u8]>>(row: &Row<'_>, at: usize) -> Read<T> {
    let bytes = row.get::<&[u8]>(at)?;
    T::try_from(bytes).map_err(|_| EngineError::column(at, "it is no id"))
}

/// As [`id_at`], where there may be none.
pub(super) fn id_or_none_at<T: for<'a> TryFrom<&'a [u8]>>(row: &Row<'_>, at: usize) -> Read<Option<T>> {
    row.get::<Option<&[u8]>>(at)?.map(|_| id_at(row, at)).transpose()
}

/// A hardware UUID, where there may be none.
pub(super) fn uuid_at(row: &Row<'_>, at: usize) -> Read<Option<DeviceUuid>> {
    Ok(row.get::<Option<[u8; 16]>>(at)?.map(DeviceUuid::from_bytes))
}

/// A moment.
pub(super) fn time_at(row: &Row<'_>, at: usize) -> Read<Timestamp> {
    row.get(at).map(Timestamp::from_millis)
}

/// As [`time_at`], where there may be none.
pub(super) fn time_or_none_at(row: &Row<'_>, at: usize) -> Read<Option<Timestamp>> {
    Ok(row.get::<Option<i64>>(at)?.map(Timestamp::from_millis))
}

/// A count. What is counted here never comes near 2^63.
pub(super) fn count_at(row: &Row<'_>, at: usize) -> Read<u64> {
    Ok(u64::try_from(row.get::<i64>(at)?).unwrap_or(0))
}

/// A count as a column takes it.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many rows are asked for at the most.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
