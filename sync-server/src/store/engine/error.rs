//! Engine errors: what an engine answers when it fails, told apart by what the store makes of it.

/// A failure, and what the engine itself says of it.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct EngineError {
    pub(in crate::store) kind: EngineErrorKind,
    detail: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum EngineErrorKind {
    /// Another row has that value; the column that tells them apart.
    Unique(String),
    /// A row breaks another rule of its table.
    Constraint,
    /// There is no room for it.
    Full,
    /// The disk, or what is on it, cannot be read: the connection may be of no use any more.
    Unreadable,
    /// Anything else: a fault of the program's.
    Other,
}

impl EngineError {
    pub(super) fn new(kind: EngineErrorKind, detail: impl ToString) -> Self {
        Self { kind, detail: detail.to_string() }
    }

    /// A value that no column can hold.
    pub(in crate::store) fn unwritable<T>() -> Self {
        let name = std::any::type_name::<T>();
        Self::new(EngineErrorKind::Other, format!("a {name} cannot be written in a column: report this"))
    }

    /// A column that does not hold what it should.
    pub(in crate::store) fn column(at: usize, detail: impl std::fmt::Display) -> Self {
        Self::new(EngineErrorKind::Other, format!("column {at} of a row cannot be read: {detail}"))
    }
}
