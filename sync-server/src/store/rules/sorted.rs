//! Sorted lists: pages in the order of a key that is a column, cut where they are read (keyset pagination). Of equal
//! keys the id decides, so that the order is total.

use std::borrow::Cow;

use carepost_protocol::time::Timestamp;
use uuid::Uuid;

use crate::store::StoreError;
use crate::store::engine::{FromRow, Params, Tx, Value, params};
use crate::store::listed::{Anchor, Listed, Paging, SortKeys};

/// A column that a list may be sorted by.
pub(in crate::store) struct SortKey<T> {
    pub(in crate::store) of: Of<T>,
    /// The rows behind a place (`?1`, and of that key the id `?2`), at most so many (`?3`): from the first on, and from
    /// the last on.
    pub(in crate::store) statements: [&'static str; 2],
}

/// What a row has in such a column.
pub(in crate::store) enum Of<T> {
    /// What people read, by its bytes.
    Text(fn(&T) -> Vec<u8>),
    Moment(fn(&T) -> Timestamp),
}

/// A list of what has an id.
pub(in crate::store) struct SortedList<T: 'static> {
    /// What it may be sorted by.
    pub(in crate::store) keys: &'static SortKeys<SortKey<T>>,
    /// The row of an id (`?1`).
    pub(in crate::store) one: &'static str,
    pub(in crate::store) id: fn(&T) -> [u8; 16],
}

/// The statements of a key of a list: of which type and view, the rows that are wanted, by placeholders from `?4` on.
macro_rules! sorted_by {
    ($type:ty, $view:literal, $wanted:literal, $key:literal) => {
        [
            $crate::store::row::select!(
                $type,
                concat!(
                    $view,
                    " WHERE ",
                    $wanted,
                    " AND (",
                    $key,
                    ", id) > (?1, ?2) ORDER BY ",
                    $key,
                    ", id LIMIT ?3"
                )
            ),
            $crate::store::row::select!(
                $type,
                concat!(
                    $view,
                    " WHERE ",
                    $wanted,
                    " AND (",
                    $key,
                    ", id) < (?1, ?2) ORDER BY ",
                    $key,
                    " DESC, id DESC LIMIT ?3"
                )
            ),
        ]
    };
}
pub(in crate::store) use sorted_by;

impl<T> Of<T> {
    fn of(&self, row: &T) -> Value<'static> {
        match self {
            Self::Text(of) => Value::Blob(Cow::Owned(of(row))),
            Self::Moment(of) => Value::Integer(of(row).as_millis()),
        }
    }

    /// Before all there is, or behind.
    fn end(&self, is_last: bool) -> Value<'static> {
        match self {
            // No text has that byte.
            Self::Text(_) => Value::Blob(Cow::Borrowed(if is_last { &[0xff] } else { &[] })),
            Self::Moment(_) => Value::Integer(if is_last { i64::MAX } else { i64::MIN }),
        }
    }
}

impl<T: for<'r> FromRow<'r> + 'static> SortedList<T> {
    /// A page of those rows that the statements find by these values (`?4` and so on), and that are wanted besides: as
    /// many are read as it takes.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a key that is none, and for a place that is not there any more.
    pub(in crate::store) fn page(
        &self,
        tx: &Tx<'_>,
        asked: &Paging,
        values: Params<'_>,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Listed<T, Anchor>, StoreError> {
        let (key, is_reversed) = asked.order(self.keys)?;
        let [onward, back] = key.statements;
        let (sql, portion) = (if is_reversed { back } else { onward }, asked.most + 1);
        let (mut at, mut id) = (key.of.end(is_reversed), [if is_reversed { 0xff } else { 0 }; 16]);
        if let Some(after) = &asked.after {
            id = *Uuid::try_parse(after.id()).map_err(|_| Anchor::gone())?.as_bytes();
            let row: Option<T> = tx.first(self.one, params![id])?;
            let row = row.filter(|row| self.anchor(key, row) == *after).ok_or_else(Anchor::gone)?;
            at = key.of.of(&row);
        }
        let mut found = Vec::new();
        loop {
            let rows: Vec<T> = tx.all(sql, &[params![at, id, portion], values].concat())?;
            let is_end = rows.len() < portion;
            if let Some(last) = rows.last() {
                (at, id) = (key.of.of(last), (self.id)(last));
            }
            found.extend(rows.into_iter().filter(|row| wanted(row)));
            if is_end || found.len() > asked.most {
                return Ok(Listed::of(found, asked.most, |row| self.anchor(key, row)));
            }
        }
    }

    fn anchor(&self, key: &SortKey<T>, row: &T) -> Anchor {
        let id = Uuid::from_bytes((self.id)(row));
        match &key.of {
            Of::Text(of) => Anchor::behind(id, &of(row)),
            Of::Moment(of) => Anchor::behind(id, &of(row).as_millis().to_be_bytes()),
        }
    }
}
