//! A row, and how values are bound.

use std::borrow::Cow;

use rusqlite::types::{ToSqlOutput, ValueRef as Raw};

use crate::store::engine::error::EngineError;
use crate::store::engine::value::Value;

/// A row of an answer, until the next one is read.
pub(in crate::store) struct Row<'r>(pub(super) &'r rusqlite::Row<'r>);

impl<'r> Row<'r> {
    /// How many columns it has.
    pub(in crate::store) fn len(&self) -> usize {
        self.0.as_ref().column_count()
    }

    /// What a column holds, the first being 0.
    pub(in crate::store) fn value(&self, at: usize) -> Result<Value<'r>, EngineError> {
        match self.0.get_ref(at)? {
            Raw::Null => Ok(Value::Null),
            Raw::Integer(number) => Ok(Value::Integer(number)),
            Raw::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|fault| EngineError::column(at, fault))?;
                Ok(Value::Text(Cow::Borrowed(text)))
            }
            Raw::Blob(bytes) => Ok(Value::Blob(Cow::Borrowed(bytes))),
            Raw::Real(_) => Err(EngineError::column(at, "no column is a real number")),
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => Raw::Null,
            Self::Integer(number) => Raw::Integer(*number),
            Self::Text(text) => Raw::Text(text.as_bytes()),
            Self::Blob(bytes) => Raw::Blob(bytes),
        }))
    }
}
