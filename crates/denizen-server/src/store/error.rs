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
    /// The operator: a row is not the one that this server wrote last, so nothing of it is used.
    #[error("{kind} {id} of tenant {tenant} {why}{}: {RESTORE}", and_others(*.others))]
    Tampered {
        /// Its kind.
        kind: Kind,
        /// The tenant that the row says.
        tenant: String,
        /// The id that the row says.
        id: String,
        /// What is wrong with it.
        why: Tampering,
        /// How many more rows were found to be wrong with it.
        others: usize,
    },
    /// The operator: the row that vouches for all others does not.
    #[error("the database's head {0}: {RESTORE}")]
    Head(BadHead),
}

/// What whoever keeps the database has to do.
const RESTORE: &str = "the database was changed by something other than this server, or is damaged, or belongs to another \
                       root key; restore the whole data directory from a backup";

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    }
}

/// What is wrong with a row. The text follows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// It was not written by who has the root key, or not to this place, or it was changed since.
    #[error("does not carry its tag")]
    Forged,
    /// It was written, and written over since.
    #[error("is older than what was written last")]
    Older,
    /// It was written and not removed.
    #[error("is missing")]
    Missing,
    /// It was written and removed since.
    #[error("was removed, and is there again")]
    Unknown,
    /// What must be unique of it is not what the table of names says.
    #[error("does not have the names that the table of names gives it")]
    Names,
}

/// What is wrong with the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// There are rows and no head.
    #[error("is missing")]
    Missing,
    /// It was written at another time than the rows, or not by who has the root key; and the change log does not say
    /// of any row that it is wrong.
    #[error("does not vouch for the rows there are")]
    OfOtherRows,
    /// Another head stands where this process wrote one.
    #[error("is not the one that was written last")]
    Replaced,
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
