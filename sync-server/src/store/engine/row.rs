//! Reading rows: one column after the other, so that nobody counts them.

use super::Read;
use super::error::EngineError;
use super::sqlite::Row;
use super::value::{FromValue, Value};

/// What can be read from the next columns of a row: a value, several in their order, or a type that
/// [`row`](crate::store::row) lists the columns of.
pub(in crate::store) trait FromRow<'r>: Sized {
    /// What they hold.
    fn from_row(columns: &mut Columns<'_, 'r>) -> Read<Self>;
}

/// The columns of a row, read one by one.
pub(in crate::store) struct Columns<'a, 'r> {
    row: &'a Row<'r>,
    at: usize,
}

impl<'r> Columns<'_, 'r> {
    /// The next of them, as many as the type has.
    pub(in crate::store) fn next<T: FromRow<'r>>(&mut self) -> Read<T> {
        T::from_row(self)
    }
}

impl<'r> Row<'r> {
    /// The whole row.
    ///
    /// # Errors
    /// When a column holds something else, or the row has more or fewer than the type.
    pub(in crate::store) fn read<T: FromRow<'r>>(&self) -> Read<T> {
        let mut columns = Columns { row: self, at: 0 };
        let read = columns.next()?;
        if columns.at == self.len() {
            Ok(read)
        } else {
            Err(EngineError::column(columns.at, "the statement has more columns than are read"))
        }
    }
}

impl<'r, T: FromValue<'r>> FromRow<'r> for T {
    fn from_row(columns: &mut Columns<'_, 'r>) -> Read<Self> {
        let at = columns.at;
        columns.at += 1;
        T::from_value(columns.row.value(at)?)
            .ok_or_else(|| EngineError::column(at, format_args!("it is no {}", std::any::type_name::<T>())))
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))*) => {$(
        impl<'r, $($part: FromRow<'r>),+> FromRow<'r> for ($($part,)+) {
            fn from_row(columns: &mut Columns<'_, 'r>) -> Read<Self> {
                Ok(($(columns.next::<$part>()?,)+))
            }
        }
    )*};
}
tuples!((A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H));

/// All that are left.
impl FromRow<'_> for Vec<Value<'static>> {
    fn from_row(columns: &mut Columns<'_, '_>) -> Read<Self> {
        (columns.at..columns.row.len()).map(|_| columns.next()).collect()
    }
}
