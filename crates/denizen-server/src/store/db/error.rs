//! What a driver says went wrong, and what that means to the store. Tests: the contract suite.

use super::super::StoreError;

/// What a driver said.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite's.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL's.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// The connection went away in the middle of a transaction.
    #[error("the connection was lost")]
    Lost,
    /// Somebody else writes what this process alone should write.
    #[error(
        "another process writes this replica's part of the audit's trail: the data directory was copied, or is served twice; \
         give each replica a directory of its own"
    )]
    Claimed,
    /// Others write, and it was not this one's turn for too long.
    #[error("the turn to write did not come in time")]
    Busy,
    /// The thread that waits for the disk went away: the runtime is shutting down.
    #[error("the process is ending")]
    Ending,
}

impl DbError {
    /// Whether a key, or a column that must be unique, is taken.
    pub(in crate::store) fn is_unique_violation(&self) -> bool {
        use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
        matches!(self.sqlite_code(), Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY))
            || self.state().as_deref() == Some("23505")
    }

    /// Whether what a row points to is not there, or something points to what was to be removed.
    pub(in crate::store) fn is_foreign_key_violation(&self) -> bool {
        matches!(self.sqlite_code(), Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY))
            || self.state().as_deref() == Some("23503")
    }

    /// Whether the same transaction may well succeed when it is run again: it met another one (40001, 40P01), or waited too
    /// long for it (55P03).
    pub(in crate::store) fn is_worth_repeating(&self) -> bool {
        matches!(self.state().as_deref(), Some("40001" | "40P01" | "55P03"))
    }

    /// Whether what was read is not what was written.
    pub(in crate::store) fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code().is_some_and(super::sqlite::is_damage))
    }

    /// Whether the role may not do it.
    pub(super) fn is_without_right(&self) -> bool {
        self.state().as_deref() == Some("42501")
    }

    /// Whether the connection is of no use any more.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Sqlite(_) | Self::Busy | Self::Ending | Self::Claimed => false,
            Self::Lost => true,
            // The server is being stopped, or has ended the session; it was a primary and is not any more.
            Self::Postgres(sqlx::Error::Database(said)) => said.code().is_some_and(|code| {
                code.starts_with("57P") || code.starts_with("08") || code == "25P03" || code == "25006"
            }),
            Self::Postgres(sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }) => false,
            Self::Postgres(_) => true,
        }
    }

    /// Whether the server did not answer in time.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Postgres(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut)
    }

    fn sqlite_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(error) => error.sqlite_error().map(|error| error.extended_code),
            Self::Postgres(_) | Self::Lost | Self::Busy | Self::Ending | Self::Claimed => None,
        }
    }

    /// PostgreSQL's SQLSTATE.
    fn state(&self) -> Option<String> {
        match self {
            Self::Postgres(error) => error.as_database_error()?.code().map(|code| code.into_owned()),
            Self::Sqlite(_) | Self::Lost | Self::Busy | Self::Ending | Self::Claimed => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        DbError::from(error).into()
    }
}
