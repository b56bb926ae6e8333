//! Row types: each lists its columns once, and what is selected, read and inserted is made from that list.
//!
//! ```text
//! row! {
//!     /// A badge.
//!     pub struct Badge {
//!         /// The badge.
//!         pub id: BadgeId,
//!         /// Which card it is.
//!         pub card: String = "lookup" by masked,
//!     }
//! }
//! tx.first::<Badge>(select!(Badge, "badges WHERE id = ?1"), params![id])
//! ```
//!
//! A field is the column of its name, or what stands behind `=`, which may be several; `by` names the function
//! that makes the field of it. Fields behind `and` are in no column, and begin as their default. `row! { impl ... }`
//! is for a type that is defined elsewhere. With `whole` behind it, a row is also inserted and updated by the list.

use super::engine::{Params, ToValue};

/// A type whose columns are listed.
pub(super) trait Stored {
    /// As a statement names them, between commas.
    const COLUMNS: &'static str;
}

/// A type whose fields are a column each.
pub(super) trait Whole: Stored {
    /// How many they are.
    const COUNT: usize;
    /// What goes into them, in their order.
    fn values(&self) -> Vec<&dyn ToValue>;

    /// The same, and what goes into further columns.
    fn values_and<'v>(&'v self, more: Params<'v>) -> Vec<&'v dyn ToValue> {
        [self.values().as_slice(), more].concat()
    }
}

macro_rules! row {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $($(#[$doc:meta])* $field_vis:vis $field:ident: $type:ty $(= $columns:literal $(by $make:path)?)?,)+
        } and {
            $($(#[$more_doc:meta])* $more_vis:vis $more:ident: $more_type:ty,)+
        } $($whole:ident)?
    ) => {
        $(#[$attribute])*
        $vis struct $name {
            $($(#[$doc])* $field_vis $field: $type,)+
            $($(#[$more_doc])* $more_vis $more: $more_type,)+
        }
        $crate::store::row::row! {
            impl $name { $($field $(= $columns $(by $make)?)?,)+ } and { $($more,)+ } $($whole)?
        }
    };
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $($(#[$doc:meta])* $field_vis:vis $field:ident: $type:ty $(= $columns:literal $(by $make:path)?)?,)+
        } $($whole:ident)?
    ) => {
        $(#[$attribute])*
        $vis struct $name {
            $($(#[$doc])* $field_vis $field: $type,)+
        }
        $crate::store::row::row! {
            impl $name { $($field $(= $columns $(by $make)?)?,)+ } $($whole)?
        }
    };
    (
        impl $name:ident { $($field:ident $(= $columns:literal $(by $make:path)?)?,)+ }
        $(and { $($more:ident,)+ })? whole
    ) => {
        $crate::store::row::row! {
            impl $name { $($field $(= $columns $(by $make)?)?,)+ } $(and { $($more,)+ })?
        }
        impl $crate::store::row::Whole for $name {
            const COUNT: usize = [$(stringify!($field)),+].len();
            fn values(&self) -> Vec<&dyn $crate::store::engine::ToValue> {
                vec![$(&self.$field),+]
            }
        }
    };
    (
        impl $name:ident { $($field:ident $(= $columns:literal $(by $make:path)?)?,)+ }
        $(and { $($more:ident,)+ })?
    ) => {
        impl $crate::store::row::Stored for $name {
            const COLUMNS: &'static str = $crate::store::row::columns!($($field $(= $columns)?,)+);
        }
        impl<'r> $crate::store::engine::FromRow<'r> for $name {
            fn from_row(
                row: &mut $crate::store::engine::Columns<'_, 'r>,
            ) -> $crate::store::engine::Read<Self> {
                Ok(Self {
                    $($field: $crate::store::row::made!(row.next()? $(, $($make)?)?),)+
                    $($($more: Default::default(),)+)?
                })
            }
        }
    };
}
pub(super) use row;

macro_rules! columns {
    ($first:ident $(= $first_columns:literal)?, $($field:ident $(= $columns:literal)?,)*) => {
        concat!(
            $crate::store::row::column!($first $(= $first_columns)?),
            $(", ", $crate::store::row::column!($field $(= $columns)?)),*
        )
    };
}
pub(super) use columns;

macro_rules! column {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident = $columns:literal) => {
        $columns
    };
}
pub(super) use column;

macro_rules! made {
    ($read:expr $(,)?) => {
        $read
    };
    ($read:expr, $make:path) => {
        $make($read)
    };
}
pub(super) use made;

/// A static statement of parts.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {{
        const PARTS: &[&str] = &[$($part),+];
        const BYTES: [u8; $crate::store::row::length(PARTS)] = $crate::store::row::join(PARTS);
        const SQL: &str = $crate::store::row::text(&BYTES);
        SQL
    }};
}
pub(super) use sql;

/// The statement that selects rows of a type: from which table or view, and which of them.
macro_rules! select {
    ($name:ty, $from:expr) => {
        $crate::store::row::sql!("SELECT ", <$name as $crate::store::row::Stored>::COLUMNS, " FROM ", $from)
    };
}
pub(super) use select;

/// The statement that inserts a row of a type into a table or view, as [`Whole::values`] gives it, and further columns.
macro_rules! insert {
    ($name:ty, $into:literal $(, $more:ident)*) => {
        $crate::store::row::sql!(
            "INSERT INTO ",
            $into,
            " (",
            <$name as $crate::store::row::Stored>::COLUMNS,
            $(", ", stringify!($more),)*
            ") VALUES (",
            $crate::store::row::placeholders(
                <$name as $crate::store::row::Whole>::COUNT + <[&str]>::len(&[$(stringify!($more)),*])
            ),
            ")"
        )
    };
}
pub(super) use insert;

/// The statement that writes all columns of the row of a type whose first one, its id, is that.
macro_rules! update {
    ($name:ty, $of:literal) => {
        $crate::store::row::sql!(
            "UPDATE ",
            $of,
            " SET (",
            <$name as $crate::store::row::Stored>::COLUMNS,
            ") = (",
            $crate::store::row::placeholders(<$name as $crate::store::row::Whole>::COUNT),
            ") WHERE id = ?1"
        )
    };
}
pub(super) use update;

/// Inserts a row that is more, or less, than a type lists: each column beside what goes into it.
macro_rules! insert_into {
    ($tx:expr, $into:literal { $($column:ident $(= $named:literal)?: $value:expr,)+ }) => {
        $tx.execute(
            $crate::store::row::sql!(
                "INSERT INTO ",
                $into,
                " (",
                $crate::store::row::columns!($($column $(= $named)?,)+),
                ") VALUES (",
                $crate::store::row::placeholders([$(stringify!($column)),+].len()),
                ")"
            ),
            $crate::store::engine::params![$($value),+],
        )
    };
}
pub(super) use insert_into;

/// How many bytes the parts have.
pub(super) const fn length(mut parts: &[&str]) -> usize {
    let mut length = 0;
    while let Some((part, others)) = parts.split_first() {
        length += part.len();
        parts = others;
    }
    length
}

/// The parts, one after the other.
pub(super) const fn join<const LENGTH: usize>(mut parts: &[&str]) -> [u8; LENGTH] {
    let mut joined = [0; LENGTH];
    let mut left: &mut [u8] = &mut joined;
    while let Some((part, others)) = parts.split_first() {
        let (place, rest) = left.split_at_mut(part.len());
        place.copy_from_slice(part.as_bytes());
        left = rest;
        parts = others;
    }
    joined
}

/// The text of what was joined from texts.
pub(super) const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// The placeholders of so many columns, 32 at the most.
pub(super) const fn placeholders(columns: usize) -> &'static str {
    let all = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
               ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32";
    assert!(columns <= 32, "a row has more columns than there are placeholders here");
    let (mut end, mut commas, mut left) = (0, 0, all.as_bytes());
    while let Some((byte, rest)) = left.split_first() {
        if *byte == b',' {
            commas += 1;
        }
        if commas == columns {
            break;
        }
        (end, left) = (end + 1, rest);
    }
    all.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    row! {
        struct Pair {
            left: i64,
            right: i64 = "coalesce(right_, 0)",
        }
        whole
    }

    #[test]
    fn a_statement_is_made_from_the_list_of_columns() {
        assert_eq!(
            select!(Pair, "pairs WHERE left = ?1"),
            "SELECT left, coalesce(right_, 0) FROM pairs WHERE left = ?1"
        );
        assert_eq!(
            insert!(Pair, "pairs", middle),
            "INSERT INTO pairs (left, coalesce(right_, 0), middle) VALUES (?1, ?2, ?3)"
        );
        assert_eq!(
            update!(Pair, "pairs"),
            "UPDATE pairs SET (left, coalesce(right_, 0)) = (?1, ?2) WHERE id = ?1"
        );
        assert_eq!(placeholders(32).split(", ").count(), 32);
        assert_eq!(placeholders(10).rsplit(", ").next(), Some("?10"));
        let pair = Pair { left: 1, right: 2 };
        assert_eq!(pair.values().len(), Pair::COUNT);
    }
}
