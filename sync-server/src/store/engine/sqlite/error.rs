//! SQLite's failures, told apart.

use rusqlite::{ErrorCode, ffi};

use crate::store::StoreError;
use crate::store::engine::error::{EngineError, EngineErrorKind};

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(kind(&error), error)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        EngineError::from(error).into()
    }
}

fn kind(error: &rusqlite::Error) -> EngineErrorKind {
    let rusqlite::Error::SqliteFailure(failure, message) = error else { return EngineErrorKind::Other };
    if failure.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE {
        // "UNIQUE constraint failed: users.organization_id, users.username_key": only the message names them.
        let column = message.as_deref().and_then(|message| message.rsplit('.').next());
        return EngineErrorKind::Unique(column.unwrap_or_default().to_owned());
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "SQLite has thirty codes, and adds to them")]
    match failure.code {
        ErrorCode::ConstraintViolation => EngineErrorKind::Constraint,
        ErrorCode::DiskFull => EngineErrorKind::Full,
        ErrorCode::SystemIoFailure | ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
            EngineErrorKind::Unreadable
        }
        _ => EngineErrorKind::Other,
    }
}
