//! Sorted lists: pages in the order of a key that is a column, cut where they are read (keyset pagination). Of equal
//! keys the id decides, so that the order is total.

use carepost_protocol::id::FacilityId;
use uuid::Uuid;

use crate::store::StoreError;
use crate::store::engine::{AccessScope, FromRow, Params, ToValue, Tx, params};
use crate::store::listed::{Anchor, Listed, Paging, SortKeys};

/// What such a list may be sorted by.
const KEYS: &SortKeys<()> = &[("name", ())];
/// How many rows are read at once, at least, where only some of them are wanted.
const PORTION: usize = 1_000;

/// A list of what has a name and an id, which is made by [`sorted_list`]. Its statements give each row with its key.
pub(in crate::store) struct SortedList<T: 'static> {
    /// The row of an id (`?1`).
    pub(in crate::store) one: &'static str,
    /// The rows behind a place (`?1`, and of that key the id `?2`), at most so many (`?3`), of all that the scope
    /// reaches: from the first on, and from the last on.
    pub(in crate::store) all: [&'static str; 2],
    /// The same of one facility, the last placeholder.
    pub(in crate::store) of_facility: [&'static str; 2],
    pub(in crate::store) id: fn(&T) -> [u8; 16],
}

/// What stands behind a place, from the first on and from the last on.
pub(in crate::store) const BEHIND: [&str; 2] = [
    "(sort_key, id) > (?1, ?2) ORDER BY sort_key, id LIMIT ?3",
    "(sort_key, id) < (?1, ?2) ORDER BY sort_key DESC, id DESC LIMIT ?3",
];

/// A list of the rows of a view: what they have to be by placeholders from `?4` on, what they are by the one behind those
/// in a facility, each with `AND` behind it, and what the id of one is.
macro_rules! sorted_list {
    ($type:ty, $view:literal, $wanted:literal, $of_facility:literal, $id:expr) => {{
        use $crate::store::row::{Stored, sql};
        use $crate::store::rules::sorted::{BEHIND, SortedList};
        const ROWS: &str =
            sql!("SELECT ", <$type as Stored>::COLUMNS, ", sort_key FROM ", $view, " WHERE ", $wanted);
        SortedList {
            one: sql!("SELECT ", <$type as Stored>::COLUMNS, ", sort_key FROM ", $view, " WHERE id = ?1"),
            all: [sql!(ROWS, BEHIND[0]), sql!(ROWS, BEHIND[1])],
            of_facility: [sql!(ROWS, $of_facility, BEHIND[0]), sql!(ROWS, $of_facility, BEHIND[1])],
            id: $id,
        }
    }};
}
pub(in crate::store) use sorted_list;

impl<T: for<'r> FromRow<'r> + 'static> SortedList<T> {
    /// A page of those rows that the statements find by these values (`?4` and so on), of a facility where one is given
    /// or the scope is of one, and that are wanted besides: as many are read as it takes.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a key that is none, and for a place that is not there any more.
    pub(in crate::store) fn page(
        &self,
        tx: &Tx<'_>,
        asked: &Paging,
        values: Params<'_>,
        facility: Option<FacilityId>,
        wanted: Option<impl Fn(&T) -> bool>,
    ) -> Result<Listed<T, Anchor>, StoreError> {
        let is_reversed = asked.order(KEYS)?.1;
        let facility = facility.or_else(|| limit(tx));
        let [onward, back] = if facility.is_some() { self.of_facility } else { self.all };
        let sql = if is_reversed { back } else { onward };
        let portion = if wanted.is_some() { PORTION.max(asked.most + 1) } else { asked.most + 1 };
        let (mut key, mut id) = self.begin(tx, asked, is_reversed)?;
        let mut found = Vec::new();
        loop {
            let mut bound: Vec<&dyn ToValue> = vec![&key, &id, &portion];
            bound.extend_from_slice(values);
            bound.extend(facility.as_ref().map(|facility| facility as &dyn ToValue));
            let rows: Vec<(T, Vec<u8>)> = tx.all(sql, &bound)?;
            let is_end = rows.len() < portion;
            if let Some((row, last)) = rows.last() {
                (key, id) = (last.clone(), (self.id)(row));
            }
            found.extend(rows.into_iter().filter(|(row, _)| wanted.as_ref().is_none_or(|is| is(row))));
            if is_end || found.len() > asked.most {
                let anchor = |(row, key): &(T, Vec<u8>)| self.anchor(row, key, is_reversed);
                let Listed { items, next } = Listed::of(found, asked.most, anchor);
                return Ok(Listed { items: items.into_iter().map(|(row, _)| row).collect(), next });
            }
        }
    }

    /// Behind which key, and which id of that key, a page begins: what the row has, so that no other rule of keys goes
    /// round and round.
    fn begin(
        &self,
        tx: &Tx<'_>,
        asked: &Paging,
        is_reversed: bool,
    ) -> Result<(Vec<u8>, [u8; 16]), StoreError> {
        let Some(after) = &asked.after else {
            // No text has that byte.
            return Ok(if is_reversed { (vec![0xff], [0xff; 16]) } else { (Vec::new(), [0; 16]) });
        };
        let id = *Uuid::try_parse(after.id()).map_err(|_| Anchor::gone())?.as_bytes();
        let row: Option<(T, Vec<u8>)> = tx.first(self.one, params![id])?;
        let row = row.filter(|(row, key)| self.anchor(row, key, is_reversed) == *after);
        let (_, key) = row.ok_or_else(Anchor::gone)?;
        Ok((key, id))
    }

    fn anchor(&self, row: &T, key: &[u8], is_reversed: bool) -> Anchor {
        Anchor::behind(Uuid::from_bytes((self.id)(row)), key, is_reversed)
    }
}

/// The facility that the scope is of, where it is of one.
fn limit(tx: &Tx<'_>) -> Option<FacilityId> {
    match tx.access() {
        AccessScope::Organization(scope) => scope.limit(),
        AccessScope::Facility(scope) => Some(scope.facility()),
        AccessScope::Nothing | AccessScope::System(_) => None,
    }
}
