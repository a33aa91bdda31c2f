//! SQLite: a file, one connection that writes and some that read.
//!
//! A statement is a function call of a few microseconds, and runs where the work is. What waits for the disk, a commit
//! above all, runs on a thread that may wait; so do statements that read outside a transaction, whose pages may be cold.
//!
//! Touches its files. Tests: the contract suite, and below.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, Statement,
    types::{Value, ValueRef},
};
use tokio::{
    sync::{Semaphore, oneshot},
    task::{JoinHandle, spawn_blocking},
};

use super::{
    super::{
        StoreError,
        files::{self, beside},
    },
    Arg, DbError, Opened, Sql,
    migrations::{self, APPLIED, APPLY, Dialect, TABLE},
    schema::{self, Watch},
};

/// Connections that read; writes have one of their own.
const READERS: usize = 4;
/// How long a statement waits for another connection of this file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the checkpoint after a purge waits for readers: writers wait for it.
const FORGET_TIMEOUT: Duration = Duration::from_millis(100);
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 128;

pub(super) const DIALECT: Dialect = Dialect { text: "TEXT", blob: "BLOB", member: ["(body", ")"], flags: ["0", "1"] };

/// One row of an answer.
pub(in crate::store) struct Row {
    values: Vec<Value>,
    columns: Arc<[String]>,
}

impl Row {
    pub(super) fn text(&self, at: usize) -> Result<String, String> {
        self.text_or_null(at)?.ok_or_else(|| wrong(&Value::Null, "text"))
    }

    pub(super) fn text_or_null(&self, at: usize) -> Result<Option<String>, String> {
        match self.value(at)? {
            Value::Text(text) => Ok(Some(text.clone())),
            Value::Null => Ok(None),
            other @ (Value::Integer(_) | Value::Real(_) | Value::Blob(_)) => Err(wrong(other, "text")),
        }
    }

    pub(super) fn int(&self, at: usize) -> Result<i64, String> {
        self.int_or_null(at)?.ok_or_else(|| wrong(&Value::Null, "a number"))
    }

    pub(super) fn int_or_null(&self, at: usize) -> Result<Option<i64>, String> {
        match self.value(at)? {
            Value::Integer(number) => Ok(Some(*number)),
            Value::Null => Ok(None),
            other @ (Value::Real(_) | Value::Text(_) | Value::Blob(_)) => Err(wrong(other, "a number")),
        }
    }

    pub(super) fn bytes(&self, at: usize) -> Result<Vec<u8>, String> {
        self.bytes_or_null(at)?.ok_or_else(|| wrong(&Value::Null, "bytes"))
    }

    pub(super) fn bytes_or_null(&self, at: usize) -> Result<Option<Vec<u8>>, String> {
        match self.value(at)? {
            Value::Blob(bytes) => Ok(Some(bytes.clone())),
            Value::Null => Ok(None),
            other @ (Value::Integer(_) | Value::Real(_) | Value::Text(_)) => Err(wrong(other, "bytes")),
        }
    }

    pub(super) fn flag(&self, at: usize) -> Result<bool, String> {
        self.int(at).map(|number| number != 0)
    }

    pub(super) fn column(&self, at: usize) -> &str {
        self.columns.get(at).map_or("?", String::as_str)
    }

    fn value(&self, at: usize) -> Result<&Value, String> {
        self.values.get(at).ok_or_else(|| format!("there is no column {at}"))
    }
}

/// What stands in a column in the place of what should.
fn wrong(found: &Value, wanted: &str) -> String {
    let found = match found {
        Value::Null => "nothing",
        Value::Integer(_) => "a whole number",
        Value::Real(_) => "a number with a fraction",
        Value::Text(_) => "text",
        Value::Blob(_) => "bytes",
    };
    format!("{found} stands where {wanted} should")
}

impl Arg<'_> {
    fn value(&self) -> ValueRef<'_> {
        match *self {
            Arg::Text(text) | Arg::TextOrNull(Some(text)) => ValueRef::Text(text.as_bytes()),
            Arg::Int(number) | Arg::IntOrNull(Some(number)) => ValueRef::Integer(number),
            Arg::Bytes(bytes) | Arg::BytesOrNull(Some(bytes)) => ValueRef::Blob(bytes),
            Arg::TextOrNull(None) | Arg::IntOrNull(None) | Arg::BytesOrNull(None) => ValueRef::Null,
        }
    }

    /// A copy that can go to another thread.
    fn owned(&self) -> Value {
        match *self {
            Arg::Text(text) | Arg::TextOrNull(Some(text)) => Value::Text(text.to_owned()),
            Arg::Int(number) | Arg::IntOrNull(Some(number)) => Value::Integer(number),
            Arg::Bytes(bytes) | Arg::BytesOrNull(Some(bytes)) => Value::Blob(bytes.to_owned()),
            Arg::TextOrNull(None) | Arg::IntOrNull(None) | Arg::BytesOrNull(None) => Value::Null,
        }
    }
}

/// Runs `with` on the prepared statement of a text, its placeholders bound: `$3` is the third value, wherever it stands.
fn prepared<'v, T>(
    conn: &Connection,
    sql: &Sql,
    value: impl Fn(usize) -> Option<ValueRef<'v>>,
    with: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let bound = |statement: &mut Statement<'_>| {
        for place in 1..=statement.parameter_count() {
            let number = statement.parameter_name(place).and_then(|name| name.get(1..)?.parse::<usize>().ok());
            let value = number.and_then(|number| value(number.checked_sub(1)?));
            let value = value.ok_or(rusqlite::Error::InvalidParameterCount(place, 0))?;
            statement.raw_bind_parameter(place, rusqlite::types::ToSqlOutput::Borrowed(value))?;
        }
        with(statement)
    };
    let done = match sql.keep {
        true => conn.prepare_cached(&sql.text).and_then(|mut statement| bound(&mut statement)),
        // The engine looks a name up among all before it, and a number not: there may be thousands. What is made of
        // placeholders has no text in quotes.
        false => conn.prepare(&sql.text.replace('$', "?")).and_then(|mut statement| bound(&mut statement)),
    };
    done.map_err(|error| named(conn, error))
}

/// Has an error that says that a file is damaged say which.
fn named(conn: &Connection, error: rusqlite::Error) -> rusqlite::Error {
    match (error, conn.path()) {
        (rusqlite::Error::SqliteFailure(code, said), Some(path)) if is_damage(code.code) && !path.is_empty() => {
            let said = said.unwrap_or_else(|| code.to_string());
            rusqlite::Error::SqliteFailure(code, Some(format!("{path}: {said}")))
        }
        (other, _) => other,
    }
}

/// Whether the engine says that what it reads is not what it wrote.
pub(super) const fn is_damage(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
}

/// The same of what an opening found.
fn named_at(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Corrupt(why) = error else { return error };
    let path = path.display().to_string();
    let why = if why.contains(&path) { why } else { format!("{path}: {why}") };
    StoreError::Corrupt(format!("{why}. Keep the file, and put a backup in its place with `denizen restore`"))
}

fn fetch<'v>(
    conn: &Connection,
    sql: &Sql,
    value: impl Fn(usize) -> Option<ValueRef<'v>>,
) -> rusqlite::Result<Vec<super::Row>> {
    prepared(conn, sql, value, |statement| {
        let width = statement.column_count();
        let mut columns: Option<Arc<[String]>> = None;
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(width);
            for at in 0..width {
                values.push(match row.get_ref(at)? {
                    // What is no text is nothing that any column's reader takes for one.
                    ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                        Ok(text) => Value::Text(text.to_owned()),
                        Err(_) => Value::Blob(bytes.to_owned()),
                    },
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Integer(number),
                    ValueRef::Real(number) => Value::Real(number),
                    ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
                });
            }
            let columns = columns
                .get_or_insert_with(|| row.as_ref().column_names().map(str::to_owned).collect::<Vec<_>>().into());
            found.push(super::Row::Sqlite(Row { values, columns: columns.clone() }));
        }
        Ok(found)
    })
}

pub(super) fn query(conn: &Connection, sql: &Sql, args: &[Arg<'_>]) -> rusqlite::Result<Vec<super::Row>> {
    fetch(conn, sql, |at| args.get(at).map(Arg::value))
}

fn execute(conn: &Connection, sql: &Sql, args: &[Arg<'_>]) -> rusqlite::Result<u64> {
    prepared(conn, sql, |at| args.get(at).map(Arg::value), |statement| statement.raw_execute().map(|rows| rows as u64))
}

/// The connection that writes. Shared with the thread that waits for the disk.
pub(in crate::store) struct Conn {
    conn: Arc<Mutex<Connection>>,
    /// What was handed to a thread. Whoever did may have gone away before that began: it would run in the middle of what
    /// comes next, so [`Self::settle`] comes first.
    handed: Option<JoinHandle<()>>,
}

impl Conn {
    fn new(conn: Connection) -> Self {
        Self { conn: Arc::new(Mutex::new(conn)), handed: None }
    }

    fn get(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what was handed to a thread.
    pub(super) async fn settle(&mut self) {
        if let Some(handed) = &mut self.handed {
            // One that panicked has done nothing more, either.
            let _ = handed.await;
        }
        self.handed = None;
    }

    pub(super) fn rows(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<super::Row>, DbError> {
        Ok(query(&self.get(), sql, args)?)
    }

    pub(super) fn execute(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<u64, DbError> {
        Ok(execute(&self.get(), sql, args)?)
    }

    pub(super) fn schema_version(&self) -> Result<i64, StoreError> {
        Ok(schema::version(&self.get())?)
    }

    /// Whether a transaction is open; it may be while a thread works with the connection.
    pub(super) fn is_open(&self) -> bool {
        self.conn.try_lock().map_or(true, |conn| !conn.is_autocommit())
    }

    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        self.blocking(|conn| execute(conn, &"COMMIT".into(), &[]).map(drop)).await
    }

    /// Whether nothing of it is left: while somebody reads what was there before, the log stays.
    pub(super) async fn forget(&mut self) -> Result<bool, DbError> {
        self.blocking(|conn| {
            conn.busy_timeout(FORGET_TIMEOUT)?;
            let done = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0));
            conn.busy_timeout(BUSY_TIMEOUT)?;
            done
        })
        .await
    }

    /// Runs something on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        self.settle().await;
        let (conn, (tell, told)) = (self.conn.clone(), oneshot::channel());
        self.handed = Some(spawn_blocking(move || {
            let done = work(&conn.lock().unwrap_or_else(PoisonError::into_inner));
            // Whoever has gone away does not ask any more.
            let _ = tell.send(done);
        }));
        let Ok(done) = told.await else {
            self.settle().await;
            return Err(DbError::Ending);
        };
        // The thread is through with the connection.
        self.handed = None;
        Ok(done?)
    }

    pub(super) async fn close(mut self) -> Result<(), StoreError> {
        self.settle().await;
        let Some(conn) = Arc::into_inner(self.conn) else { return Ok(()) };
        let conn = conn.into_inner().unwrap_or_else(PoisonError::into_inner);
        match spawn_blocking(move || conn.close().map_err(|(_, error)| error)).await {
            Ok(closed) => Ok(closed?),
            Err(_) => Ok(()),
        }
    }
}

/// The connections that read.
pub(in crate::store) struct Pool(Arc<Readers>);

struct Readers {
    /// One for each connection there may be.
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
    open: Box<dyn Fn() -> Result<Connection, StoreError> + Send + Sync>,
}

impl Pool {
    fn new(readers: usize, open: impl Fn() -> Result<Connection, StoreError> + Send + Sync + 'static) -> Self {
        let (permits, idle) = (Semaphore::new(readers), Mutex::default());
        Self(Arc::new(Readers { permits, idle, open: Box::new(open) }))
    }

    /// Runs a statement; notes the schema that the connection has, where somebody watches it.
    pub(super) async fn rows(
        &self,
        sql: Sql,
        args: &[Arg<'_>],
        watch: Option<&Watch>,
    ) -> Result<Vec<super::Row>, StoreError> {
        let args: Vec<Value> = args.iter().map(Arg::owned).collect();
        let (readers, watch) = (self.0.clone(), watch.cloned());
        let _permit = self.0.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let read = spawn_blocking(move || {
            let conn = readers.take()?;
            let done = fetch(&conn, &sql, |at| args.get(at).map(ValueRef::from));
            let version = watch.is_some().then(|| schema::version(&conn)).transpose();
            // One that failed is not used again.
            let rows = done?;
            if let (Some(watch), Some(version)) = (watch, version?) {
                watch.note(version);
            }
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            Ok(rows)
        });
        read.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) async fn close(&self) {
        self.0.permits.close();
        let idle = std::mem::take(&mut *self.0.idle.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = spawn_blocking(move || drop(idle)).await;
    }
}

impl Readers {
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| (self.open)(), Ok)
    }
}

/// Opens and migrates.
pub(super) async fn open(path: &Path, last: i64) -> Result<Opened, StoreError> {
    let lock = claim(path).await?;
    let file = path.to_owned();
    let opened = spawn_blocking(move || -> Result<_, StoreError> {
        let writer = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // An acknowledged write survives the loss of power, not only of the process.
        writer.pragma_update(None, "synchronous", "FULL")?;
        // What a purge removes is overwritten in the file, not merely unlinked.
        writer.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
        let at = migrate(&writer, last)?;
        let expected = Arc::new(expected(at)?);
        // One moment for both.
        writer.execute_batch("BEGIN")?;
        let found = schema::Objects::read(&writer).and_then(|found| Ok((found, schema::version(&writer)?)));
        writer.execute_batch("COMMIT")?;
        let (found, version) = found?;
        expected.admit(&found)?;
        schema::check_indexes(&writer)?;
        let schema = Watch::new(version);
        let watch = schema.clone();
        let readers = Pool::new(READERS, move || {
            let conn = connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            // One that is opened later reads the schema anew.
            if schema::Objects::read(&conn).and_then(|found| expected.admit(&found)).is_err() {
                watch.note_change();
            }
            Ok(conn)
        });
        Ok((readers, writer, schema))
    });
    let opened = opened.await.map_err(|_| StoreError::Closed)?;
    let (readers, writer, schema) = opened.map_err(|error| named_at(path, error))?;
    Ok(Opened {
        readers: super::Pool::Sqlite(readers),
        writer: super::Conn::Sqlite(Conn::new(writer)),
        lock,
        following: None,
        schema,
    })
}

/// Opens what is there for reading alone, beside the process that may be writing to it.
pub(super) fn open_to_read(path: &Path) -> Result<Conn, StoreError> {
    if !path.exists() {
        let source = Arc::new(std::io::Error::from(std::io::ErrorKind::NotFound));
        return Err(StoreError::File { path: path.to_owned(), source });
    }
    regular_files(path)?;
    let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|conn| {
        expected(migrations::newest())?.admit(&schema::Objects::read(&conn)?)?;
        Ok(Conn::new(conn))
    });
    opened.map_err(|error| named_at(path, error))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// The schema that the migrations up to this one make.
fn expected(last: i64) -> Result<schema::Objects, StoreError> {
    let made = Connection::open_in_memory()?;
    migrate(&made, last)?;
    schema::Objects::read(&made)
}

/// Every table's columns once the migrations up to this one have been applied.
#[cfg(test)]
pub(in crate::store) fn columns_of_test(last: i64) -> std::collections::BTreeSet<(String, String)> {
    let made = Connection::open_in_memory().unwrap();
    migrate(&made, last).unwrap();
    let sql = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'";
    query(&made, &sql.into(), &[]).unwrap().iter().map(|row| (row.text(0).unwrap(), row.text(1).unwrap())).collect()
}

/// Brings the schema up to this migration, or changes nothing; gives the last one that it has.
fn migrate(conn: &Connection, last: i64) -> Result<i64, StoreError> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = migrate_within(conn, last);
    conn.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

fn migrate_within(conn: &Connection, last: i64) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*), COALESCE(SUM(name = 'schema_migrations'), 0) FROM sqlite_schema WHERE type = 'table'";
    let (tables, recorded): (i64, i64) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match (tables, recorded) {
        (0, _) => conn.execute_batch(&DIALECT.words(TABLE))?,
        (_, 0) => return Err(migrations::unrecorded()),
        _ => {}
    }
    let mut applied = Vec::new();
    for row in query(conn, &APPLIED.into(), &[])? {
        applied.push((row.int(0)?, row.bytes(1)?));
    }
    let mut at = applied.last().map_or(0, |(version, _)| *version);
    for migration in migrations::missing(&applied, last)? {
        at = migration.version;
        conn.execute_batch(&migration.sql(DIALECT))?;
        let args = [migration.version.into(), migration.name.into(), Arg::Bytes(&migration.checksum())];
        execute(conn, &APPLY.into(), &args)?;
    }
    Ok(at)
}

/// Refuses links, pipes and whatever else may stand in the place of the files that the engine will open by name.
fn regular_files(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = beside(path, suffix);
        files::regular_or_absent(&path).map_err(|source| StoreError::File { path, source: Arc::new(source) })?;
    }
    Ok(())
}

/// Makes the file private to its owner and takes it for this process. The lock goes with the process, however it ends.
async fn claim(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source: Arc::new(source) };
    files::private(path).map_err(failed)?;
    regular_files(path)?;
    super::lock(&beside(path, ".lock")).await
}

#[cfg(test)]
mod tests {
    use std::{future::Future as _, sync::mpsc, task::Poll};

    use super::*;

    /// A commit that waits for a thread when whoever asked for it goes away is over before anything else is done.
    #[test]
    fn a_commit_that_was_left_behind_keeps_its_own_and_nothing_of_what_comes_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let made = Connection::open(&path).unwrap();
            made.execute_batch("CREATE TABLE t (n BIGINT)").unwrap();
            let mut conn = Conn::new(made);
            let run = |conn: &Conn, sql: &'static str| conn.execute(&sql.into(), &[]).unwrap();
            run(&conn, "BEGIN IMMEDIATE");
            run(&conn, "INSERT INTO t VALUES (1)");
            // The only thread is busy.
            let (free, busy) = mpsc::channel::<()>();
            let thread = spawn_blocking(move || busy.recv());
            {
                let mut commit = Box::pin(conn.commit());
                let is_pending = std::future::poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx).is_pending())).await;
                assert!(is_pending);
            }
            free.send(()).unwrap();
            conn.settle().await;
            thread.await.unwrap().unwrap();
            assert!(!conn.is_open(), "it is still to come");
            run(&conn, "BEGIN IMMEDIATE");
            run(&conn, "INSERT INTO t VALUES (2)");
            spawn_blocking(|| {}).await.unwrap();
            run(&conn, "ROLLBACK");
            let kept = conn.rows(&"SELECT n FROM t".into(), &[]).unwrap();
            assert_eq!(kept.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), [1]);
        });
    }
}
