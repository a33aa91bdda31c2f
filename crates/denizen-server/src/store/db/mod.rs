//! The database engines behind one interface: opening, migrating, and running a statement.
//!
//! Everything that differs between engines is in this folder. SQL is written once, with `$1` placeholders; an engine is an
//! arm of [`Pool`], [`Conn`] and [`Row`]. Every statement is counted.
//!
//! | file | holds |
//! |---|---|
//! | [`sqlite`] | SQLite: a library, called where the work is; what waits for the disk is done on a thread for that |
//! | [`postgres`] | PostgreSQL: a server that several replicas share |
//! | [`claim`] | which process writes under a name, over PostgreSQL |
//! | [`sql`] | a statement and its values |
//! | [`made`] | rows that stand in no database |
//! | [`error`] | what a driver says, and what it means |
//! | [`migrations`] | the schema's history, written once for both dialects |
//! | [`schema`] | whether a database has that schema and no other |
//!
//! Tests: the contract suite.

mod claim;
mod error;
mod made;
mod migrations;
mod postgres;
mod schema;
mod sql;
mod sqlite;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use error::DbError;
pub(super) use made::Cell;
pub(super) use migrations::{Dialect, known as known_migrations, newest as newest_migration};
pub(super) use postgres::Bell;
pub use postgres::Postgres;
pub(super) use schema::Watch;
pub(super) use sql::{Arg, Composed, Sql, args};
#[cfg(test)]
pub(super) use sqlite::columns_of_test;
#[cfg(test)]
pub(in crate::store) use {claim::claim_number, postgres::LOOKED_AT_WITHIN};

use super::{
    StoreError,
    files::{self, beside},
};

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A file on this machine. Made with mode 0600 when it is not there.
    Sqlite {
        /// The file. Its folder must exist.
        path: PathBuf,
    },
    /// A server that several replicas share.
    Postgres(Postgres),
}

/// Who else may write to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody.
    Alone,
    /// Other replicas; this one has written before.
    Replica,
    /// Other replicas; this one has a folder with nothing in it.
    NewReplica,
}

/// How often the lock of a folder or a data file is tried, and how long is waited in between.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How often the database was asked, and what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Statements that read, other than the one of each of the audit's group commits.
    pub reads: u64,
    /// Statements that write, transactions' ends among them, other than the audit's group commits.
    pub writes: u64,
    /// Group commits of audit events.
    pub audit_commits: u64,
    /// Audit events recorded, other than those of transactions.
    pub audit_events: u64,
    /// Commits of the database: one for all that wait together.
    pub commits: u64,
}

/// [`Counters`], while they count.
#[derive(Default)]
pub(super) struct Statements {
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    /// Those of `reads` that were for a group commit of audit events.
    pub(super) audit_reads: AtomicU64,
    /// Those of `writes` that were a group commit of audit events.
    pub(super) audit_statements: AtomicU64,
    pub(super) audit_commits: AtomicU64,
    pub(super) commits: AtomicU64,
    /// A test asks what comes of a commit that is not kept.
    #[cfg(test)]
    fails: std::sync::atomic::AtomicBool,
    /// And of a savepoint that is refused.
    #[cfg(test)]
    refuses: std::sync::atomic::AtomicBool,
    /// And of a commit that the engine refuses while the session goes on.
    #[cfg(test)]
    breaks: std::sync::atomic::AtomicBool,
    /// How often all rows were read in order to follow.
    #[cfg(test)]
    pub(super) whole_reads: AtomicU64,
    /// And of a server that ends between a commit and its sync: whoever has this keeps all from syncing.
    #[cfg(test)]
    pub(super) sync: tokio::sync::RwLock<()>,
}

impl Statements {
    /// The next commit is not kept.
    #[cfg(test)]
    pub(super) fn fail_next_commit(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    /// The next commit is refused by the engine, and the session goes on. SQLite refuses none in this way.
    #[cfg(test)]
    pub(super) fn break_next_commit(&self) {
        self.breaks.store(true, Ordering::Relaxed);
    }

    /// The next savepoint is refused, by the engine.
    #[cfg(test)]
    pub(super) fn refuse_next_savepoint(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// What opens a savepoint.
    pub(super) fn savepoint(&self) -> &'static str {
        #[cfg(test)]
        if self.refuses.swap(false, Ordering::Relaxed) {
            return "SAVEPOINT 'none'.'such'";
        }
        "SAVEPOINT member"
    }

    /// The counts; the spool keeps the one of `audit_events`.
    pub(super) fn now(&self, audit_events: u64) -> Counters {
        Counters {
            reads: self.reads.load(Ordering::Relaxed).saturating_sub(self.audit_reads.load(Ordering::Relaxed)),
            // Counted one after the other, so for a moment there may be more of the part than of the whole.
            writes: self.writes.load(Ordering::Relaxed).saturating_sub(self.audit_statements.load(Ordering::Relaxed)),
            audit_commits: self.audit_commits.load(Ordering::Relaxed),
            audit_events,
            commits: self.commits.load(Ordering::Relaxed),
        }
    }
}

/// The connections that read.
pub(super) enum Pool {
    Sqlite(sqlite::Pool),
    Postgres(postgres::Pool),
}

impl Pool {
    pub(super) async fn rows(
        &self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        statements.reads.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(pool) => pool.rows(sql.into(), args, None).await,
            Self::Postgres(pool) => Box::pin(pool.rows(&sql.into(), args)).await,
        }
    }

    /// The same, and notes the schema that the connection has.
    pub(super) async fn rows_under(
        &self,
        statements: &Statements,
        schema: &Watch,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        statements.reads.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(pool) => pool.rows(sql.into(), args, Some(schema)).await,
            Self::Postgres(pool) => Box::pin(pool.rows_under(&sql.into(), args, schema)).await,
        }
    }

    /// The same of rows of which some may be missing: they are handed out once what was visible is durable. `is_known` says
    /// so by what `head` gives.
    pub(super) async fn page(
        &self,
        statements: &Statements,
        schema: &Watch,
        (sql, args): (&Sql, &[Arg<'_>]),
        head: &'static str,
        is_known: impl Fn(&[Row]) -> Result<bool, StoreError>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            // What is visible is durable.
            Self::Sqlite(_) => self.rows_under(statements, schema, sql.clone(), args).await,
            Self::Postgres(pool) => {
                statements.reads.fetch_add(2, Ordering::Relaxed);
                let ([page, head], session) = Box::pin(pool.page((sql, args), &head.into())).await?;
                if !is_known(&head)? {
                    statements.writes.fetch_add(1, Ordering::Relaxed);
                    #[cfg(test)]
                    let _sync = statements.sync.read().await;
                    Box::pin(session.flush()).await?;
                } else {
                    drop(session);
                }
                Box::pin(pool.look_at_schema(schema)).await?;
                Ok(page)
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => Box::pin(pool.close()).await,
        }
    }
}

/// The connection that writes.
pub(super) enum Conn {
    Sqlite(sqlite::Conn),
    Postgres(Box<postgres::Conn>),
}

impl Conn {
    /// Makes this process the only one that writes under a name: what another has begun there is over after this. A file
    /// is locked as a whole.
    ///
    /// `is_ours` says whether it is known that no other process that is alive writes there.
    pub(super) async fn claim(&mut self, name: &str, is_ours: bool) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(conn) => Ok(Box::pin(conn.claim(name, is_ours)).await?),
        }
    }

    /// The same of one more name, if nobody writes under it; whether nobody does.
    pub(super) async fn try_claim(&mut self, name: &str) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(conn) => Ok(Box::pin(conn.try_claim(name)).await?),
        }
    }

    /// Waits for an answer as long as it takes within reason: for what reads a whole table at once.
    pub(super) fn be_patient(&mut self) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(conn) => conn.be_patient(),
        }
    }

    /// Waits for what was handed to a thread by whoever has gone away.
    pub(super) async fn settle(&mut self) {
        match self {
            Self::Sqlite(conn) => conn.settle().await,
            // The next statement waits for the answers of those before it.
            Self::Postgres(_) => {}
        }
    }

    /// Runs a statement that reads.
    pub(super) async fn rows(
        &mut self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        statements.reads.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => Ok(conn.rows(&sql.into(), args)?),
            Self::Postgres(conn) => Ok(Box::pin(conn.rows(&sql.into(), args)).await?),
        }
    }

    /// Runs a statement that writes and gives rows back (`RETURNING`).
    pub(super) async fn write_rows(
        &mut self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => Ok(conn.rows(&sql.into(), args)?),
            Self::Postgres(conn) => Ok(Box::pin(conn.rows(&sql.into(), args)).await?),
        }
    }

    /// Runs a statement that writes; gives the number of rows it touched. The error is the engine's own, because
    /// only the caller knows which key a violated constraint speaks of.
    pub(super) async fn execute(
        &mut self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<u64, DbError> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => conn.execute(&sql.into(), args),
            Self::Postgres(conn) => Box::pin(conn.execute(&sql.into(), args)).await,
        }
    }

    /// A number that each change of the schema moves.
    pub(super) async fn schema_version(&mut self) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(conn) => conn.schema_version(),
            Self::Postgres(conn) => Ok(Box::pin(conn.schema_version()).await?),
        }
    }

    /// Refuses a transaction, about to commit, in which the schema was changed by somebody.
    pub(super) async fn refuse_changed_schema(&mut self) -> Result<(), StoreError> {
        match self {
            // Nobody can change it while a transaction lasts.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(conn) => Box::pin(conn.refuse_changed_schema()).await,
        }
    }

    /// The last migration that was applied.
    pub(super) async fn migrated(&mut self, statements: &Statements) -> Result<i64, StoreError> {
        self.rows(statements, migrations::LAST, &[]).await?.first().map_or(Ok(0), |row| row.int(0))
    }

    /// Starts a transaction that reads, and sees one moment.
    pub(super) async fn begin_to_read(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(conn) => _ = conn.execute(&"BEGIN".into(), &[])?,
            Self::Postgres(conn) => Box::pin(conn.begin_to_read()).await?,
        }
        Ok(())
    }

    /// Starts a transaction that holds the right to write from its first moment.
    pub(super) async fn begin(&mut self, statements: &Statements) -> Result<(), StoreError> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => _ = conn.execute(&"BEGIN IMMEDIATE".into(), &[])?,
            Self::Postgres(conn) => Box::pin(conn.begin()).await?,
        }
        Ok(())
    }

    /// Commits what [`Self::begin`] started. It waits for the disk.
    pub(super) async fn commit(&mut self, statements: &Statements) -> Result<(), DbError> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        statements.commits.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        if statements.fails.swap(false, Ordering::Relaxed) {
            self.rollback(statements).await?;
            return Err(DbError::Ending);
        }
        #[cfg(test)]
        if statements.breaks.swap(false, Ordering::Relaxed) {
            let _ = self.rows(statements, "SELECT 1 / 0", &[]).await;
        }
        #[cfg(test)]
        if let Self::Postgres(conn) = self
            && statements.sync.try_read().is_err()
        {
            Box::pin(conn.commit_early()).await?;
            return Box::pin(self.flush(statements)).await;
        }
        match self {
            Self::Sqlite(conn) => conn.commit().await,
            Self::Postgres(conn) => Box::pin(conn.commit()).await,
        }
    }

    /// Waits until all that is visible to this connection survives a crash. No transaction may be open.
    pub(super) async fn flush(&mut self, statements: &Statements) -> Result<(), DbError> {
        match self {
            // What is not durable is visible to nobody.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(conn) => {
                statements.writes.fetch_add(1, Ordering::Relaxed);
                #[cfg(test)]
                let _sync = statements.sync.read().await;
                Box::pin(conn.flush()).await
            }
        }
    }

    /// Keeps what was done since the savepoint `member` in the transaction; whether there is another one of that name, for
    /// what comes next: it costs nothing where both travel together.
    pub(super) async fn release_member(&mut self, statements: &Statements) -> Result<bool, DbError> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => conn.execute(&"RELEASE SAVEPOINT member".into(), &[]).map(|_| false),
            Self::Postgres(conn) => Box::pin(conn.release_member()).await.map(|()| true),
        }
    }

    /// Ends what [`Self::begin`] started, and keeps nothing of it.
    pub(super) async fn rollback(&mut self, statements: &Statements) -> Result<(), DbError> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => conn.execute(&"ROLLBACK".into(), &[]).map(drop),
            Self::Postgres(conn) => Box::pin(conn.rollback()).await,
        }
    }

    /// Whether a transaction is open: an engine ends one by itself when the disk is full, for one.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Sqlite(conn) => conn.is_open(),
            Self::Postgres(conn) => conn.is_open(),
        }
    }

    /// Overwrites what a purge removed wherever the engine still keeps a copy; whether it could: a reader may be in the way.
    pub(super) async fn forget(&mut self) -> bool {
        let done = match self {
            Self::Sqlite(conn) => conn.forget().await,
            // Its pages' free space and its log have what was removed for longer.
            Self::Postgres(conn) => {
                conn.forget();
                Ok(true)
            }
        };
        done.unwrap_or_else(|error| {
            tracing::warn!(%error, "the write-ahead log was not cleared after a purge");
            false
        })
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => Box::pin(conn.close()).await,
        }
    }
}

/// Whatever can be asked: the pool, or the one connection.
pub(super) enum Reader<'c> {
    Pool(&'c Pool, &'c Statements),
    Conn(&'c mut Conn, &'c Statements),
}

impl Reader<'_> {
    /// [`Conn::try_claim`]; where there is only a pool, nobody is about to write.
    pub(super) async fn try_claim(&mut self, name: &str) -> Result<bool, StoreError> {
        match self {
            Self::Pool(..) => Ok(true),
            Self::Conn(conn, _) => conn.try_claim(name).await,
        }
    }

    pub(super) async fn rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Pool(pool, statements) => pool.rows(statements, sql, args).await,
            Self::Conn(conn, statements) => conn.rows(statements, sql, args).await,
        }
    }
}

/// One row of an answer, read by position.
pub(super) enum Row {
    Sqlite(sqlite::Row),
    Postgres(postgres::Row),
    Made(made::Row),
}

macro_rules! column {
    ($($name:ident -> $type:ty),*) => {
        $(pub(super) fn $name(&self, at: usize) -> Result<$type, StoreError> {
            match self {
                Self::Sqlite(row) => row.$name(at),
                Self::Postgres(row) => row.$name(at),
                Self::Made(row) => row.$name(at),
            }
            .map_err(|error| StoreError::Corrupt(format!("its column {}: {error}", self.column(at))))
        })*
    };
}

impl Row {
    column!(
        text -> String,
        text_or_null -> Option<String>,
        int -> i64,
        int_or_null -> Option<i64>,
        bytes -> Vec<u8>,
        bytes_or_null -> Option<Vec<u8>>,
        flag -> bool
    );

    /// A column's name, for an error.
    fn column(&self, at: usize) -> &str {
        match self {
            Self::Sqlite(row) => row.column(at),
            Self::Postgres(row) => row.column(at),
            Self::Made(_) => "",
        }
    }

    /// A row that stands in no database.
    pub(super) fn made(cells: Vec<Cell>) -> Self {
        Self::Made(made::Row::new(cells))
    }

    /// A number that is never negative.
    pub(super) fn count(&self, at: usize) -> Result<u64, StoreError> {
        let number = self.int(at)?;
        u64::try_from(number)
            .map_err(|_| StoreError::Corrupt(format!("its column {}: {number} is negative", self.column(at))))
    }
}

/// An open database, and what keeps other processes out of it.
pub(super) struct Opened {
    pub(super) readers: Pool,
    pub(super) writer: Conn,
    pub(super) lock: File,
    /// By which replicas tell each other that they have written, and the connection that reads what others wrote; none where
    /// there is only one.
    pub(super) following: Option<(Bell, Conn)>,
    /// Its schema, which is the one that the migrations make.
    pub(super) schema: Watch,
}

/// Opens and migrates.
pub(super) async fn open(engine: &Engine) -> Result<Opened, StoreError> {
    open_at(engine, migrations::newest()).await
}

/// The same, and goes no further than to one migration.
pub(super) async fn open_at(engine: &Engine, migration: i64) -> Result<Opened, StoreError> {
    match engine {
        Engine::Sqlite { path } => sqlite::open(path, migration).await,
        Engine::Postgres(postgres) => Box::pin(postgres::open(postgres, migration)).await,
    }
}

/// Takes a lock for this process. A process that has just ended may have left it for a moment to a child that it was about to
/// start, so it is tried again.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source: Arc::new(source) };
    let lock = files::private(path).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Err(StoreError::InUse { path: path.to_owned() })
}

/// Opens what is there for reading alone, beside the process that may be writing to it.
pub(super) async fn open_to_read(engine: &Engine) -> Result<Conn, StoreError> {
    match engine {
        Engine::Sqlite { path } => Ok(Conn::Sqlite(sqlite::open_to_read(path)?)),
        Engine::Postgres(postgres) => Ok(Conn::Postgres(Box::new(Box::pin(postgres::open_to_read(postgres)).await?))),
    }
}

impl Engine {
    /// Whether there is a database, or anything in it.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn has_data(&self) -> Result<bool, StoreError> {
        Ok(!self.is_absent().await?)
    }

    /// Whether there is no data at all yet.
    pub(super) async fn is_absent(&self) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite { path } => {
                let found = path.symlink_metadata();
                Ok(matches!(found, Err(error) if error.kind() == std::io::ErrorKind::NotFound))
            }
            Self::Postgres(postgres) => Box::pin(postgres::is_empty(postgres)).await,
        }
    }

    /// How its statements are written.
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => sqlite::DIALECT,
            Self::Postgres(_) => postgres::DIALECT,
        }
    }

    /// Which file the data is in.
    pub(super) fn identity(&self) -> Option<files::Identity> {
        match self {
            Self::Sqlite { path } => files::identity(path),
            Self::Postgres(_) => None,
        }
    }

    /// Where the audit's spool is.
    pub(super) fn spool(&self) -> PathBuf {
        match self {
            Self::Sqlite { path } => beside(path, ".audit"),
            Self::Postgres(postgres) => postgres.folder.join("replica.audit"),
        }
    }

    /// Whether there was a database whose trail somebody may want to go on from.
    pub fn has_trail(&self) -> bool {
        self.anchor().symlink_metadata().is_ok()
    }

    /// Whether both are one database.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite { path }, Self::Sqlite { path: other }) => {
                path == other || (files::identity(path).is_some() && files::identity(path) == files::identity(other))
            }
            (Self::Postgres(postgres), Self::Postgres(other)) => postgres.url == other.url,
            (Self::Sqlite { .. }, Self::Postgres(_)) | (Self::Postgres(_), Self::Sqlite { .. }) => false,
        }
    }

    /// Whether other replicas may write to it.
    pub(super) const fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres(_) => true,
        }
    }

    /// Who else may write to the database.
    pub(super) fn sharing(&self) -> Sharing {
        match self {
            Self::Sqlite { .. } => Sharing::Alone,
            // What a replica makes first in its folder, after its lock.
            Self::Postgres(_) if self.anchor().symlink_metadata().is_ok() => Sharing::Replica,
            Self::Postgres(_) if self.spool().symlink_metadata().is_ok() => Sharing::Replica,
            Self::Postgres(_) => Sharing::NewReplica,
        }
    }

    /// Where a copy says that it was made.
    pub fn copy_note(&self) -> PathBuf {
        match self {
            Self::Sqlite { path } => beside(path, ".copied"),
            Self::Postgres(postgres) => postgres.folder.join("replica.copied"),
        }
    }

    /// Where the database is, for people: nothing of a URL but the server and the database.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            Self::Postgres(postgres) => postgres.place(),
        }
    }

    /// Where the audit's head is kept outside the database.
    pub(super) fn anchor(&self) -> PathBuf {
        match self {
            Self::Sqlite { path } => beside(path, ".head"),
            Self::Postgres(postgres) => postgres.folder.join("replica.head"),
        }
    }
}
