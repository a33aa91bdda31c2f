//! What can go wrong in the store, and whose fault it is. Tests: in [`super::contract`].

use std::{io, path::PathBuf, sync::Arc};

use super::{Kind, db::DbError};

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
    /// The system: the database ended the transaction, or the connection broke, for a reason that is not this write's.
    /// Nothing was kept; it can be tried again.
    #[error("the database ended the transaction; nothing of it was kept")]
    Interrupted,
    /// The caller: an earlier statement of the transaction failed, so nothing of it is kept.
    #[error("an earlier statement of this transaction failed")]
    Aborted,
    /// The system: the audit's spool is full, because the database has been away for long. Nothing may be done
    /// that cannot be recorded.
    #[error("the audit's spool is full")]
    AuditFull,
    /// The system: the audit's spool cannot be written.
    #[error("the audit's spool in {} cannot be written: {source}", folder.display())]
    Spool {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The system: the database cannot be reached or does not do what it is asked.
    #[error("the database is unavailable")]
    Unavailable(#[source] Arc<DbError>),
    /// The system: the store was closed.
    #[error("the store is closed")]
    Closed,
    /// The system: another process has the data file.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The data file.
        path: PathBuf,
    },
    /// The system: the data file, or a file beside it, cannot be opened.
    #[error("{} cannot be opened: {source}", path.display())]
    File {
        /// The data file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The operator: everything was copied to another database, which goes on.
    #[error(
        "everything was copied from here to {to} by `denizen store copy`{on}. A server on this database as well would issue \
         tokens and keep secrets for the same tenants, without what was done there. Nothing was changed. Set store.url to \
         that one; or stop its servers, give up what was done there, and remove {} to go back to this one", path.display()
    )]
    Copied {
        /// Where to.
        to: String,
        /// When, as the text goes on.
        on: String,
        /// The note that says so.
        path: PathBuf,
    },
    /// The operator: the data was written by a newer release.
    #[error("the data has schema {found}, this release knows {known}: start the release that wrote it, or a newer one")]
    SchemaTooNew {
        /// The schema of the data.
        found: i64,
        /// The newest this release knows.
        known: i64,
    },
    /// The operator: the database, or its server, cannot serve as the store.
    #[error("the database cannot be used: {0}")]
    Unfit(String),
    /// The operator: the record of the migrations that were applied does not fit this release.
    #[error(
        "the data has a schema that this release does not know ({0}): a build from before the first release wrote it, or its \
         record of migrations was changed. Nothing was changed. Start the build that wrote it, put a backup back, or name an \
         empty directory"
    )]
    SchemaUnknown(String),
    /// The operator: the database is not what this server wrote to it, or was put back as it was earlier.
    #[error(
        "{0}. Nothing was changed. If you restored a backup or lost a file, look at what is there with `denizen audit \
         verify`, and go on from it with `denizen audit accept`, which is recorded; give both the --config FILE of this server, \
         or the --data DIR of `denizen dev`"
    )]
    Trail(#[from] TrailFault),
    /// The operator: the root key is another than the one that everything in the database was written under.
    #[error(
        "the root key is not this database's: nothing in the database carries a tag that was made under it. Nothing was \
         changed. Put back the root key that the database was written under, or name another directory"
    )]
    OtherRootKey,
    /// The operator: the database is gone, so there is nothing to accept.
    #[error(
        "the database is gone or empty, and its audit's trail is known to have had records: there is nothing to go on from. \
         Nothing was changed. Put a backup of the database back and run this again, or remove the whole data directory to \
         start anew"
    )]
    NothingLeft,
    /// The operator: what was wrong with the trail was accepted, and something else is wrong.
    #[error("what was wrong with the audit's trail is accepted and recorded, and the database is refused all the same")]
    StillRefused(#[source] Arc<StoreError>),
    /// The operator: a record of the audit is not as it was written.
    #[error(transparent)]
    Broken(#[from] AuditBroken),
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
    /// The operator: the database has another schema than the migrations make.
    #[error("the database's schema is not as this release made it: {object} {why}: {RESTORE}")]
    Schema {
        /// The table, index, view or trigger.
        object: String,
        /// What is wrong with it.
        why: SchemaFault,
    },
    /// The operator: somebody changed the schema while this server ran.
    #[error(
        "the database's schema was changed while this server ran: nothing of it is used until the server is started again, \
         which says what was changed"
    )]
    SchemaChanged,
    /// The operator: the row that vouches for all others does not.
    #[error("the database's head {0}: {RESTORE}")]
    Head(HeadFault),
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
    /// It was given for another one that was asked for, or beside those.
    #[error("is not what was asked for")]
    Misplaced,
    /// A statement that wrote it, or removed it, did not do so.
    #[error("was not written as it was told to be")]
    Unwritten,
    /// What must be unique of it is not what the table of names says.
    #[error("does not have the names that the table of names gives it")]
    Names,
}

/// What is wrong with an object of the schema. The text follows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// No migration makes it.
    #[error("was added")]
    Added,
    /// It is made otherwise.
    #[error("was changed")]
    Changed,
    /// It is not there.
    #[error("is missing")]
    Missing,
}

/// What is wrong with the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// There are rows and no head.
    #[error("is missing")]
    Missing,
    /// It was changed, or was not written by who has the root key.
    #[error("does not carry its tag")]
    Forged,
    /// It was written at another time than the rows, or not by who has the root key; and the change log does not say
    /// of any row that it is wrong.
    #[error("does not vouch for the rows there are")]
    OfOtherRows,
    /// Another head stands where this process wrote one.
    #[error("is not the one that was written last")]
    Replaced,
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            error if error.is_worth_repeating() => Self::Interrupted,
            error if error.is_damage() => Self::Corrupt(error.to_string()),
            error => Self::Unavailable(Arc::new(error)),
        }
    }
}

/// What is wrong with the audit's trail as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrailFault {
    /// All records are gone, or the database with them.
    #[error("the audit's trail was removed: it had {records} records or more, and the database has none")]
    Removed {
        /// How many there were at least.
        records: u64,
    },
    /// The last records are gone.
    #[error(
        "the audit's trail was cut: the last {records} of its records or more are missing, it ends at record {end}"
    )]
    Cut {
        /// How many at least.
        records: u64,
        /// The last one that is there.
        end: u64,
    },
    /// The last records and the last changes are gone.
    #[error(
        "the database is older than what this server has written: the last {records} audit records and {revisions} changes \
         or more are missing, as when a backup was restored"
    )]
    Older {
        /// How many records at least.
        records: u64,
        /// How many transactions at least.
        revisions: u64,
    },
    /// Directory and vaults were put back as they were at another time than the trail, or the trail was.
    #[error(
        "the rows of the database and the audit's trail do not belong together: the rows are those of transaction {rows}, \
         and the trail's last record was written after transaction {trail}"
    )]
    OfOtherRows {
        /// The revision that the rows say.
        rows: u64,
        /// The revision that the trail says.
        trail: u64,
    },
    /// The rows have another history than this server knows.
    #[error(
        "the database has another history than this server knows: at transaction {known} it was another one, and it has come \
         to transaction {revision} without what was done then, as when a standby was promoted that lacked the last changes, or \
         an older state was put back and written to"
    )]
    Forked {
        /// The last transaction that this server knows.
        known: u64,
        /// The last one that the database has.
        revision: u64,
    },
    /// Nothing says whether the rows go on from what this server knows.
    #[error(
        "the change log does not lead from transaction {known}, which this server knows, to transaction {revision}, which the \
         database has: entries of it were removed or changed, or retention has removed them while this server was away"
    )]
    Unproven {
        /// The last transaction that this server knows.
        known: u64,
        /// The last one that the database has.
        revision: u64,
    },
    /// There is another record where the anchor was.
    #[error("the audit's trail was rewritten: record {seq} is not the one this server wrote")]
    Rewritten {
        /// Its place.
        seq: u64,
    },
    /// The last record has no tag of this root key.
    #[error(
        "the audit's trail was rewritten, or belongs to another root key: its last record, {seq}, was not written under the \
         root key of this server"
    )]
    EndForged {
        /// Its place.
        seq: u64,
    },
    /// Where the trail starts was not said by this server.
    #[error("the audit's trail was rewritten: the mark of where it starts was not written by this server")]
    StartForged,
    /// There is a database, and no anchor.
    #[error("{}, the file that says where the audit's trail ended, is missing", path.display())]
    AnchorMissing {
        /// The file.
        path: PathBuf,
    },
    /// The anchor is not one, or another's.
    #[error("{} should say where the audit's trail ended, and cannot be used: {why}", path.display())]
    AnchorUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// While this process had the database, its file got another in its place.
    #[error(
        "the file of the database was removed or replaced while this server ran, so nothing more is written: what this server \
         has open is not what the next start would find"
    )]
    Replaced,
    /// While this process had the database.
    #[error(
        "somebody else has changed the audit's trail while this server ran: it does not end with record {seq}, which this \
         server wrote last, so nothing more is written until it does, or the server is stopped"
    )]
    ChangedByAnother {
        /// The place of the record that this process wrote last.
        seq: u64,
    },
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit chain is broken at record {at}: {why}")]
pub struct AuditBroken {
    /// The sequence number of the first record that cannot be trusted.
    pub at: u64,
    /// What is wrong with it.
    pub why: String,
}
