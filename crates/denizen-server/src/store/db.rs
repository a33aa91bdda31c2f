//! The database engines behind one interface: opening, migrating, and running a statement.
//!
//! Everything that differs between engines is in this file. SQL is written once, with `$1` placeholders; a second
//! engine is a second arm of [`Pool`], [`Conn`] and [`Row`], and a folder of migrations. Every statement goes through
//! [`run!`], so each is counted. Tests: the contract suite.

mod schema;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _, SqlSafeStr as _, SqlStr,
    SqliteConnection, SqlitePool,
    migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

pub(super) use schema::Watch;

use super::{
    StoreError,
    files::{self, beside},
};

/// How often the lock of a data file is tried, and how long is waited in between.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Connections that read; writes have one of their own.
const READERS: u32 = 4;

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A file on this machine. Made with mode 0600 when it is not there.
    Sqlite {
        /// The file. Its folder must exist.
        path: PathBuf,
    },
}

/// How often the database was asked, and what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Statements that read.
    pub reads: u64,
    /// Statements that write, transactions' ends among them, other than the audit's group commits.
    pub writes: u64,
    /// Group commits of audit events.
    pub audit_commits: u64,
    /// Audit events recorded, other than those of transactions.
    pub audit_events: u64,
}

/// [`Counters`], while they count.
#[derive(Default)]
pub(super) struct Statements {
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    /// Those of `writes` that were a group commit of audit events.
    pub(super) audit_statements: AtomicU64,
    pub(super) audit_commits: AtomicU64,
}

impl Statements {
    /// The counts; the spool keeps the one of `audit_events`.
    pub(super) fn now(&self, audit_events: u64) -> Counters {
        Counters {
            reads: self.reads.load(Ordering::Relaxed),
            // Counted one after the other, so for a moment there may be more of the part than of the whole.
            writes: self.writes.load(Ordering::Relaxed).saturating_sub(self.audit_statements.load(Ordering::Relaxed)),
            audit_commits: self.audit_commits.load(Ordering::Relaxed),
            audit_events,
        }
    }
}

/// A value bound to a placeholder.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    Text(&'a str),
    TextOrNull(Option<&'a str>),
    Int(i64),
    IntOrNull(Option<i64>),
    Bytes(&'a [u8]),
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::TextOrNull(text)
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<Option<i64>> for Arg<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::IntOrNull(number)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// `args![tenant, 5]`: values in the order of their placeholders.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::store::db::Arg::from($value)),*] };
}
pub(super) use args;

/// A statement: fixed text, or text made of nothing but placeholders.
pub(super) struct Sql {
    text: SqlStr,
    /// Whether the prepared statement is kept for the next time.
    keep: bool,
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { text: text.into_sql_str(), keep: true }
    }
}

impl Sql {
    /// `{insert} VALUES ($1,$2),($3,$4)…`: `rows` rows of `columns` placeholders in one statement.
    pub(super) fn rows(insert: &'static str, rows: usize, columns: usize) -> Self {
        let mut text = String::with_capacity(insert.len() + 8 + rows * columns * 6);
        text.push_str(insert);
        text.push_str(" VALUES ");
        placeholders(&mut text, rows, columns);
        Self::made(text, rows)
    }

    /// The same, but nothing is written unless `condition`, a text that ends where one more placeholder follows, is
    /// true at that moment.
    pub(super) fn rows_if(insert: &'static str, rows: usize, columns: usize, condition: &'static str) -> Self {
        let mut text = String::with_capacity(insert.len() + condition.len() + 40 + rows * columns * 6);
        text.push_str(insert);
        text.push_str(" SELECT * FROM (VALUES ");
        placeholders(&mut text, rows, columns);
        text.push_str(") WHERE ");
        text.push_str(condition);
        text.push('$');
        text.push_str(&(rows * columns + 1).to_string());
        Self::made(text, rows)
    }

    fn made(text: String, rows: usize) -> Self {
        // Small groups are all but a few and come again; there are too many different large ones to keep each.
        Self { text: AssertSqlSafe(text).into_sql_str(), keep: rows <= 16 }
    }
}

/// `($1,$2),($3,$4)…`
fn placeholders(text: &mut String, rows: usize, columns: usize) {
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 1..=columns {
            if column > 1 {
                text.push(',');
            }
            text.push('$');
            text.push_str(&(row * columns + column).to_string());
        }
        text.push(')');
    }
}

/// Binds `$args` to `$sql` and runs `$method` on `$on`.
macro_rules! run {
    ($sql:expr, $args:expr, $method:ident, $on:expr) => {{
        let sql: Sql = $sql;
        let mut query = sqlx::query(sql.text).persistent(sql.keep);
        for arg in $args {
            query = match *arg {
                Arg::Text(value) => query.bind(value),
                Arg::TextOrNull(value) => query.bind(value),
                Arg::Int(value) => query.bind(value),
                Arg::IntOrNull(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
            };
        }
        query.$method($on).await
    }};
}

/// The connections that read.
pub(super) enum Pool {
    Sqlite(SqlitePool),
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
            Self::Sqlite(pool) => Ok(run!(sql.into(), args, fetch_all, pool)?.into_iter().map(Row::Sqlite).collect()),
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
            Self::Sqlite(pool) => {
                let mut conn = pool.acquire().await?;
                let rows = run!(sql.into(), args, fetch_all, &mut *conn)?;
                schema.note(schema::version(&mut conn).await?);
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

/// The connection that writes.
pub(super) enum Conn {
    Sqlite(SqliteConnection),
}

impl Conn {
    /// Runs a statement that reads.
    pub(super) async fn rows(
        &mut self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        statements.reads.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => Ok(run!(sql.into(), args, fetch_all, conn)?.into_iter().map(Row::Sqlite).collect()),
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
            Self::Sqlite(conn) => Ok(run!(sql.into(), args, fetch_all, conn)?.into_iter().map(Row::Sqlite).collect()),
        }
    }

    /// Runs a statement that writes; gives the number of rows it touched. The error is the engine's own, because
    /// only the caller knows which key a violated constraint speaks of.
    pub(super) async fn execute(
        &mut self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<u64, sqlx::Error> {
        statements.writes.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Sqlite(conn) => Ok(run!(sql.into(), args, execute, conn)?.rows_affected()),
        }
    }

    /// The number that the engine raises with each change of the schema.
    pub(super) async fn schema_version(&mut self) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(conn) => schema::version(conn).await,
        }
    }

    /// Starts a transaction that holds the right to write from its first moment.
    pub(super) async fn begin(&mut self, statements: &Statements) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => self.execute(statements, "BEGIN IMMEDIATE", &[]).await?,
        };
        Ok(())
    }

    /// Overwrites what a purge removed wherever the engine still keeps a copy. Best effort: a reader may be in the
    /// way, and the next checkpoint does it then.
    pub(super) async fn forget(&mut self, statements: &Statements) {
        let done = match self {
            Self::Sqlite(_) => self.rows(statements, "PRAGMA wal_checkpoint(TRUNCATE)", &[]).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the write-ahead log was not cleared after a purge");
        }
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(conn) => Ok(conn.close().await?),
        }
    }
}

/// Whatever can be asked: the pool, or the one connection.
pub(super) enum Reader<'c> {
    Pool(&'c Pool, &'c Statements),
    Conn(&'c mut Conn, &'c Statements),
}

impl Reader<'_> {
    pub(super) async fn rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Pool(pool, statements) => pool.rows(statements, sql, args).await,
            Self::Conn(conn, statements) => conn.rows(statements, sql, args).await,
        }
    }
}

/// One row of an answer, read by position.
pub(super) enum Row {
    Sqlite(SqliteRow),
}

macro_rules! column {
    ($($name:ident -> $type:ty),*) => {
        $(pub(super) fn $name(&self, at: usize) -> Result<$type, StoreError> {
            match self {
                Self::Sqlite(row) => row.try_get(at),
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
        flag -> bool
    );

    /// A column's name, for an error.
    fn column(&self, at: usize) -> &str {
        match self {
            Self::Sqlite(row) => row.columns().get(at).map_or("?", |column| column.name()),
        }
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
    /// Its schema, which is the one that the migrations make.
    pub(super) schema: Watch,
}

/// Opens and migrates.
pub(super) async fn open(engine: &Engine) -> Result<Opened, StoreError> {
    match engine {
        Engine::Sqlite { path } => open_sqlite(path).await,
    }
}

async fn open_sqlite(path: &Path) -> Result<Opened, StoreError> {
    let lock = claim(path).await?;
    let options = sqlite(path);
    let mut writer = options
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged write survives the loss of power, not only of the process.
        .synchronous(SqliteSynchronous::Full)
        // What a purge removes is overwritten in the file, not merely unlinked.
        .pragma("secure_delete", "ON")
        // A whole page may be on its way while the one before is looked at.
        .row_buffer_size(super::load::PAGE as usize)
        .connect()
        .await?;
    let migrator = migrator();
    migrate(&migrator, &mut writer).await?;
    let expected = Arc::new(expected(&migrator).await?);
    // One moment for both.
    sqlx::query("BEGIN").execute(&mut writer).await?;
    let found = (schema::Objects::read(&mut writer).await?, schema::version(&mut writer).await?);
    sqlx::query("COMMIT").execute(&mut writer).await?;
    expected.admit(&found.0)?;
    schema::check_indexes(&mut writer).await?;
    let schema = Watch::new(found.1);
    let watch = schema.clone();
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        // The file does not go away: a ping before each use would double the cost of a read.
        .test_before_acquire(false)
        // One that is opened later reads the schema anew.
        .after_connect(move |conn, _| {
            let (expected, watch) = (expected.clone(), watch.clone());
            Box::pin(async move {
                // An error here would be tried again for as long as a connection may take.
                let found = schema::Objects::read(conn).await;
                if found.and_then(|found| expected.admit(&found)).is_err() {
                    watch.note_change();
                }
                Ok(())
            })
        })
        .connect_with(options.read_only(true))
        .await?;
    Ok(Opened { readers: Pool::Sqlite(readers), writer: Conn::Sqlite(writer), lock, schema })
}

/// The schema that the migrations make.
async fn expected(migrator: &Migrator) -> Result<schema::Objects, StoreError> {
    let mut made = SqliteConnectOptions::new().in_memory(true).disable_statement_logging().connect().await?;
    migrate(migrator, &mut made).await?;
    let objects = schema::Objects::read(&mut made).await?;
    made.close().await?;
    Ok(objects)
}

fn migrator() -> Migrator {
    Migrator::with_migrations(vec![Migration::new(
        1,
        "init".into(),
        MigrationType::Simple,
        include_str!("../../migrations/sqlite/0001_init.sql").into_sql_str(),
        false,
    )])
}

fn sqlite(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Opens what is there for reading alone, beside the process that may be writing to it.
pub(super) async fn open_to_read(engine: &Engine) -> Result<Pool, StoreError> {
    match engine {
        Engine::Sqlite { path } => {
            let failed = |source| StoreError::File { path: path.to_owned(), source: Arc::new(source) };
            if !path.exists() {
                return Err(failed(std::io::Error::from(std::io::ErrorKind::NotFound)));
            }
            regular_files(path)?;
            let one = SqlitePoolOptions::new().max_connections(1);
            let pool = one.connect_with(sqlite(path).read_only(true)).await?;
            expected(&migrator()).await?.admit(&schema::Objects::read(&mut *pool.acquire().await?).await?)?;
            Ok(Pool::Sqlite(pool))
        }
    }
}

impl Engine {
    /// Whether there is no data at all yet.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Sqlite { path } => {
                matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
            }
        }
    }

    /// Which file the data is in.
    pub(super) fn identity(&self) -> Option<files::Identity> {
        match self {
            Self::Sqlite { path } => files::identity(path),
        }
    }

    /// Where the audit's spool is.
    pub(super) fn spool(&self) -> PathBuf {
        match self {
            Self::Sqlite { path } => beside(path, ".audit"),
        }
    }

    /// Whether there was a database whose trail somebody may want to go on from.
    pub fn has_trail(&self) -> bool {
        self.anchor().symlink_metadata().is_ok()
    }

    /// Where the audit's head is kept outside the database.
    pub(super) fn anchor(&self) -> PathBuf {
        match self {
            Self::Sqlite { path } => beside(path, ".head"),
        }
    }
}

/// Refuses links, pipes and whatever else may stand in the place of the files that the engine will open by name.
fn regular_files(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = beside(path, suffix);
        files::regular_or_absent(&path).map_err(|source| StoreError::File { path, source: Arc::new(source) })?;
    }
    Ok(())
}

/// Makes the file private to its owner and takes it for this process. The lock goes with the process, however it ends. A
/// process that has just ended may have left it for a moment to a child that it was about to start, so it is tried again.
async fn claim(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source: Arc::new(source) };
    files::private(path).map_err(failed)?;
    regular_files(path)?;
    let lock_path = beside(path, ".lock");
    let lock = files::private(&lock_path)
        .map_err(|source| StoreError::File { path: lock_path.clone(), source: Arc::new(source) })?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Err(StoreError::InUse { path: path.to_owned() })
}

/// Brings the schema up to date. A newer one is refused before anything is touched.
async fn migrate(migrator: &Migrator, conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |error| {
        if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
            return StoreError::from(error);
        }
        StoreError::SchemaUnknown(error.to_string())
    };
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    conn.ensure_migrations_table(&migrator.table_name).await.map_err(failed)?;
    let applied = conn.list_applied_migrations(&migrator.table_name).await.map_err(failed)?;
    let found = applied.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    migrator.run_direct(None, conn, false).await.map_err(failed)
}

#[cfg(test)]
mod tests;
