//! What can go wrong in the store, and whose fault it is. Tests: in [`super::contract`].

use std::{io, path::PathBuf, sync::Arc};

use super::Kind;

/// Why the store refused or failed.
///
/// It is cheap to clone, because one failed commit is the answer to whoever waits for the audit.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller: a record with that key, or one that holds a name which must be unique, is there already.
    #[error("{kind} {key} exists, or a name it takes is taken")]
    Exists {
        /// Its kind.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// The caller: no such record.
    #[error("there is no {kind} {key}")]
    NotFound {
        /// Its kind.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// The caller: the record belongs to a tenant other than the operation's.
    #[error("{kind} {key} belongs to another tenant than this operation")]
    OtherTenant {
        /// Its kind.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// The caller: a deleted secret that can still be recovered holds this name.
    #[error("a deleted secret named {name} can still be recovered")]
    SecretDeleted {
        /// The name, canonical.
        name: String,
    },
    /// The caller: what is consumed once is worth nothing.
    #[error(transparent)]
    Refused(#[from] OneTimeRefused),
    /// The caller: it was allowed when it asked, and is not any more.
    #[error("the right to this was taken away meanwhile")]
    NotAuthorized,
    /// The caller: an earlier statement of the transaction failed, so nothing of it is kept.
    #[error("an earlier statement of this transaction failed")]
    Aborted,
    /// The system: the audit's spool is full, because the database has been away for long. Nothing may be done
    /// that cannot be recorded.
    #[error("the audit's spool is full")]
    AuditFull,
    /// The system: the audit's spool cannot be written.
    #[error("the audit's spool in {} cannot be written", folder.display())]
    Spool {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The system: the database cannot be reached or does not do what it is asked.
    #[error("the database is unavailable")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The system: the store was closed.
    #[error("the store is closed")]
    Closed,
    /// The system: another process has the data file.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The data file.
        path: PathBuf,
    },
    /// The system: the data file cannot be opened.
    #[error("{} cannot be opened", path.display())]
    File {
        /// The data file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The operator: the data was written by a newer release.
    #[error("the data has schema {found}, this release knows {known}: start the release that wrote it, or a newer one")]
    SchemaTooNew {
        /// The schema of the data.
        found: i64,
        /// The newest this release knows.
        known: i64,
    },
    /// Us, or the disk: what was read is not what was written.
    #[error("the data is damaged: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// Why something that is consumed once was refused. The text follows the name of the thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OneTimeRefused {
    /// No such one in this tenant.
    #[error("is not known")]
    Unknown,
    /// It was used before.
    #[error("was used before")]
    Used,
    /// Its time is over.
    #[error("has expired")]
    Expired,
}

/// The audit chain is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("the audit chain is broken at record {at}: {why}")]
pub struct AuditBroken {
    /// The sequence number of the first record that cannot be trusted.
    pub at: u64,
    /// What is wrong with it.
    pub why: String,
}
