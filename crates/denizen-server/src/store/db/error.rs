//! What a driver says went wrong, and what that means to the store. Tests: the contract suite.

use super::super::StoreError;

/// What a driver said.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite's.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that waits for the disk went away: the runtime is shutting down.
    #[error("the process is ending")]
    Ending,
}

impl DbError {
    /// Whether a key, or a column that must be unique, is taken.
    pub(in crate::store) fn is_unique_violation(&self) -> bool {
        use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
        matches!(self.sqlite_code(), Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY))
    }

    /// Whether what a row points to is not there, or something points to what was to be removed.
    pub(in crate::store) fn is_foreign_key_violation(&self) -> bool {
        matches!(self.sqlite_code(), Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY))
    }

    fn sqlite_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(error) => error.sqlite_error().map(|error| error.extended_code),
            Self::Ending => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        DbError::from(error).into()
    }
}
