//! A row, and how values are bound.

use rusqlite::types::{ToSqlOutput, ValueRef as Raw};

use crate::store::engine::error::EngineError;
use crate::store::engine::value::{FromValue, ValueRef};

/// A row of an answer, until the next one is read.
pub(in crate::store) struct Row<'r>(pub(super) &'r rusqlite::Row<'r>);

impl<'r> Row<'r> {
    /// What a column holds, the first being 0.
    ///
    /// # Errors
    /// When it is of another type, or out of range.
    pub(in crate::store) fn get<T: FromValue<'r>>(&self, at: usize) -> Result<T, EngineError> {
        T::from_value(self.value(at)?)
            .ok_or_else(|| EngineError::column(at, format_args!("it is no {}", std::any::type_name::<T>())))
    }

    /// How many columns it has.
    pub(in crate::store) fn len(&self) -> usize {
        self.0.as_ref().column_count()
    }

    fn value(&self, at: usize) -> Result<ValueRef<'r>, EngineError> {
        match self.0.get_ref(at)? {
            Raw::Null => Ok(ValueRef::Null),
            Raw::Integer(number) => Ok(ValueRef::Integer(number)),
            Raw::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|fault| EngineError::column(at, fault))?;
                Ok(ValueRef::Text(text))
            }
            Raw::Blob(bytes) => Ok(ValueRef::Blob(bytes)),
            Raw::Real(_) => Err(EngineError::column(at, "no column is a real number")),
        }
    }
}

impl rusqlite::ToSql for ValueRef<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            ValueRef::Null => Raw::Null,
            ValueRef::Integer(number) => Raw::Integer(number),
            ValueRef::Text(text) => Raw::Text(text.as_bytes()),
            ValueRef::Blob(bytes) => Raw::Blob(bytes),
        }))
    }
}
