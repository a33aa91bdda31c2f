//! PostgreSQL: a server that several replicas share.
//!
//! A replica writes over one connection and reads over a few. A transaction that is broken off, and a connection that is
//! lost, are the database's to clean up: sessions that wait too long in a transaction are ended by it, so that a replica that was stopped in
//! the middle keeps nobody from writing. Only documented SQL is spoken, and no feature beyond savepoints, row locks
//! and `LISTEN`.
//!
//! Touches the network, and the lock in this replica's folder. Tests: the contract suite.

use std::{
    fmt,
    fs::File,
    path::PathBuf,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Row as _,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow, PgSslMode},
};
use tokio::sync::{Notify, OnceCell};

use super::{
    super::{StoreError, files},
    Arg, DbError, Opened, Sql,
    claim::Claim,
    migrations::{self, APPLIED, APPLY, Dialect, TABLE},
    schema::{self, Objects, Watch},
};

/// How long a connection may take to be made, or to be free.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After the server did not answer, nobody waits for it for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// A session that is in a transaction and asks nothing for so long is ended, and its locks with it.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// How often it is looked whether whoever might read what was purged is done.
const READER_PAUSE: Duration = Duration::from_millis(200);
/// Connections that are not for whoever reads: one writes, one follows, one rings and one listens.
const NOT_READERS: u32 = 4;
/// What replicas ring under; the name stands in `NOTIFY` too.
const CHANNEL: &str = "denizen";
/// The oldest version that is supported, as the server numbers them.
const OLDEST: i32 = 140_000;
/// What is read is answered under a look at the schema that is not older; what is written, under one of the same transaction.
pub(in crate::store) const LOOKED_AT_WITHIN: Duration = Duration::from_secs(1);
macro_rules! flush {
    () => {
        "SELECT pg_logical_emit_message(TRUE, 'denizen', '')"
    };
}
/// A transaction that changes no row and is synced like any other: when it is durable, so is all that was committed before
/// it, on this server and on a standby that the server waits for.
const FLUSH: &str = flush!();
/// Names the lock that migrations are applied under.
const MIGRATION_LOCK: i64 = 0x64656e697a656e;

pub(super) const DIALECT: Dialect = Dialect {
    text: "TEXT COLLATE \"C\"",
    blob: "BYTEA",
    // Without its collation the text would be compared, and put in lower case, as the server's language has it.
    member: ["((body::jsonb", ") COLLATE \"C\")"],
    flags: ["false", "true"],
};

/// Where a PostgreSQL database is, and what of it this replica keeps for itself.
#[derive(Clone)]
pub struct Postgres {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Without an `sslmode`, a server that is not on this machine must
    /// show a certificate that fits its name.
    pub url: String,
    /// The certificates that are trusted to sign the server's; none for those of the web.
    pub ca_file: Option<PathBuf>,
    /// This replica's own folder: the audit records on their way, and where its part of the trail ends. Made when it is not
    /// there; no two replicas may share one.
    pub folder: PathBuf,
    /// Connections, at most and all together: five, or more.
    pub max_connections: u32,
    /// A statement that takes longer is ended by the server.
    pub statement_timeout: Duration,
    /// A replica that has not heard of the others' changes for so long decides nothing.
    pub max_staleness: Duration,
    /// What the migrations make on this server, once one store has found out. A server of a new version, or a new
    /// release, is a new process.
    pub(in crate::store) expected: Arc<OnceCell<Objects>>,
}

/// The URL has a password.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Postgres {
    /// What is usual, for a database and a folder.
    pub fn new(url: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            ca_file: None,
            folder: folder.into(),
            max_connections: 8,
            statement_timeout: Duration::from_secs(30),
            max_staleness: Duration::from_secs(900),
            expected: Arc::default(),
        }
    }

    /// Says what is wrong with the URL, without a byte of it.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(&self) -> Result<(), String> {
        self.options().map(drop)
    }

    /// The database and its server, without a user.
    pub(super) fn place(&self) -> String {
        let Ok(options) = self.options() else { return "a PostgreSQL database".to_owned() };
        let server = options.get_socket().map_or(options.get_host().into(), |socket| socket.to_string_lossy());
        format!("the PostgreSQL database {} at {server}", options.get_database().unwrap_or_default())
    }

    fn options(&self) -> Result<PgConnectOptions, String> {
        // The driver's own error may repeat what it could not read, a password among it.
        let options = PgConnectOptions::from_str(&self.url)
            .map_err(|_| "it is no URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…".to_owned())?;
        if options.get_database().is_none() {
            return Err("it names no database: postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned());
        }
        let host = options.get_host();
        let is_local = options.get_socket().is_some() || host.starts_with('/') || denizen_wire::host::is_local(host);
        let options = match self.url.contains("sslmode=") || self.url.contains("ssl-mode=") || is_local {
            true => options,
            false => options.ssl_mode(PgSslMode::VerifyFull),
        };
        let options = match &self.ca_file {
            Some(file) => options.ssl_root_cert(file),
            None => options,
        };
        let milliseconds = |time: Duration| time.as_millis().to_string();
        Ok(options.application_name("denizen").disable_statement_logging().options([
            ("statement_timeout", milliseconds(self.statement_timeout)),
            ("lock_timeout", milliseconds(self.statement_timeout)),
            ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION)),
            ("synchronous_commit", "on".to_owned()),
            ("default_transaction_isolation", "read committed".to_owned()),
        ]))
    }

    /// How long an answer is waited for: the server ends a statement before that, unless it hangs.
    fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(2)
    }

    fn parsed(&self) -> Result<PgConnectOptions, StoreError> {
        self.options().map_err(|why| StoreError::Unfit(format!("the store's URL: {why}")))
    }
}

/// Binds `$args` to `$sql` and runs `$method` on `$on`.
macro_rules! run {
    ($sql:expr, $args:expr, $method:ident, $on:expr) => {{
        let sql: &Sql = $sql;
        let mut query = sqlx::query(AssertSqlSafe(sql.text.to_string())).persistent(sql.keep);
        for arg in $args {
            query = match *arg {
                Arg::Text(value) => query.bind(value),
                Arg::TextOrNull(value) => query.bind(value),
                Arg::Int(value) => query.bind(value),
                Arg::IntOrNull(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
                Arg::BytesOrNull(value) => query.bind(value),
            };
        }
        query.$method($on).await
    }};
}

/// One row of an answer.
pub(in crate::store) struct Row(PgRow);

macro_rules! column {
    ($($name:ident -> $type:ty),*) => {
        $(pub(super) fn $name(&self, at: usize) -> Result<$type, String> {
            self.0.try_get(at).map_err(|error| error.to_string())
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

    pub(super) fn column(&self, at: usize) -> &str {
        self.0.columns().get(at).map_or("?", |column| column.name())
    }
}

fn rows(found: Vec<PgRow>) -> Vec<super::Row> {
    found.into_iter().map(|row| super::Row::Postgres(Row(row))).collect()
}

/// The connection that writes, made again when it is lost.
pub(in crate::store) struct Conn {
    options: PgConnectOptions,
    conn: Option<PgConnection>,
    /// Whether a transaction is open.
    is_open: bool,
    schema: Watch,
    /// Purges since a vacuum was last done with.
    purges: Arc<AtomicU64>,
    /// A server that hangs ends no statement: then this process gives up.
    patience: Duration,
    /// When the server last did not answer: for a moment nobody waits for it.
    lost: Option<Instant>,
    claim: Option<Claim>,
}

impl Conn {
    fn new(engine: &Postgres, options: PgConnectOptions, conn: Option<PgConnection>, schema: Watch) -> Self {
        let patience = engine.patience();
        Self { options, conn, is_open: false, schema, purges: Arc::default(), patience, lost: None, claim: None }
    }

    /// The connection. One that was lost in a transaction is not made again before that is known to be over.
    async fn get(&mut self) -> Result<&mut PgConnection, DbError> {
        if self.conn.is_none() {
            if self.is_open || self.lost.is_some_and(|lost| lost.elapsed() < PAUSE) {
                return Err(DbError::Lost);
            }
            let connected = self.connect().await;
            if connected.is_err() {
                self.lost = Some(Instant::now());
            }
            self.conn = Some(connected?);
        }
        self.conn.as_mut().ok_or(DbError::Lost)
    }

    /// A connection that nobody else writes beside, to the schema that was compared.
    async fn connect(&mut self) -> Result<PgConnection, DbError> {
        let mut conn = connect(&self.options).await?;
        // It may be in another schema than the one before.
        let began = Instant::now();
        let version = within(CONNECT_TIMEOUT, schema::postgres_version(&mut conn)).await?;
        self.schema.note_look(version, began);
        if let Some(claim) = &mut self.claim {
            claim.renew(&mut conn).await?;
        }
        Ok(conn)
    }

    /// Has the server keep others from claiming this name while this connection lasts, or the one that follows it. Whoever
    /// claimed it before is waited for, so that nothing it has begun is committed after this. Then its session is ended, if
    /// the name is known to be ours.
    pub(super) async fn claim(&mut self, name: &str, is_ours: bool) -> Result<(), DbError> {
        let mut claim = Claim::on(name);
        let conn = self.get().await?;
        claim.take(conn, is_ours).await?;
        self.claim = Some(claim);
        Ok(())
    }

    pub(super) fn be_patient(&mut self) {
        self.patience = Duration::from_secs(3600);
    }

    /// Keeps others from claiming a name beside the one of before, if nobody has; whether nobody had.
    pub(super) async fn try_claim(&mut self, name: &str) -> Result<bool, DbError> {
        let mut claim = Claim::on(name);
        claim.is_free(self.get().await?).await
    }

    /// Lets go of a connection that is of no use any more.
    fn look<T>(&mut self, done: Result<T, sqlx::Error>) -> Result<T, DbError> {
        done.map_err(|error| {
            let error = DbError::from(error);
            if error.is_of_connection() {
                self.conn = None;
            }
            if error.is_silence() {
                self.lost = Some(Instant::now());
            }
            error
        })
    }

    pub(super) async fn rows(&mut self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<super::Row>, DbError> {
        let patience = self.patience;
        let conn = self.get().await?;
        let done = within(patience, async { run!(sql, args, fetch_all, conn) }).await;
        self.look(done).map(rows)
    }

    pub(super) async fn execute(&mut self, sql: &Sql, args: &[Arg<'_>]) -> Result<u64, DbError> {
        let patience = self.patience;
        let conn = self.get().await?;
        let done = within(patience, async { run!(sql, args, execute, conn) }).await;
        self.look(done).map(|done| done.rows_affected())
    }

    /// The number of the schema; the one that was found good while the last look is recent.
    pub(super) async fn schema_version(&mut self) -> Result<i64, DbError> {
        if !self.schema.is_due(LOOKED_AT_WITHIN) {
            return Ok(self.schema.found_good());
        }
        self.look_at_schema().await
    }

    /// The number of the schema now.
    ///
    /// Late in a transaction it speaks for the whole of it: whoever changes a table that was used waits for its end.
    pub(super) async fn look_at_schema(&mut self) -> Result<i64, DbError> {
        let (began, patience) = (Instant::now(), self.patience);
        let conn = self.get().await?;
        let done = within(patience, schema::postgres_version(conn)).await;
        let version = self.look(done)?;
        self.schema.note_look(version, began);
        Ok(version)
    }

    /// Refuses to go on where the schema is, or was, another.
    pub(super) async fn refuse_changed_schema(&mut self) -> Result<(), StoreError> {
        self.look_at_schema().await?;
        self.schema.refuse_changed()
    }

    /// Has what was purged vacuumed, in the background: then nothing but the free space of the tables' pages has it, until
    /// other rows are written there.
    pub(super) fn forget(&self) {
        if self.purges.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        let (purges, options) = (self.purges.clone(), self.options.clone().options([("statement_timeout", "0")]));
        tokio::spawn(async move {
            loop {
                let seen = purges.load(Ordering::SeqCst);
                if let Err(error) = vacuum(&options).await {
                    tracing::warn!(%error, "the database was not vacuumed after a purge");
                }
                // What was purged meanwhile waits for the next.
                if purges.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    return;
                }
            }
        });
    }

    pub(super) async fn begin(&mut self) -> Result<(), DbError> {
        // One that the server closed meanwhile is noticed by the first statement.
        let began = Instant::now();
        match self.start("BEGIN").await {
            Err(error) if error.is_of_connection() && began.elapsed() < PAUSE => self.start("BEGIN").await,
            first => first,
        }
    }

    /// Starts a transaction. After an error nobody knows what is open: the session is of no use any more.
    async fn start(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.get().await?;
        // Said before it is so: whoever waits for the answer may go away, and the next one ends it.
        self.is_open = true;
        let done = self.execute(&sql.into(), &[]).await;
        self.is_open = done.is_ok();
        if done.is_err() {
            self.conn = None;
        }
        done.map(drop)
    }

    pub(super) async fn begin_to_read(&mut self) -> Result<(), DbError> {
        self.start("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) async fn release_member(&mut self) -> Result<(), DbError> {
        const RELEASE: &str = "RELEASE SAVEPOINT member; SAVEPOINT member";
        let patience = self.patience;
        let conn = self.get().await?;
        let done = within(patience, conn.execute(sqlx::raw_sql(RELEASE))).await;
        self.look(done).map(drop)
    }

    /// Commits, and waits until that is durable. The locks go before: whoever waits for the head does not wait for the disk,
    /// and the server syncs for all who wait for it at once. So what another session sees may not be durable yet.
    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        // The server answers a COMMIT after a statement that failed as one that was done, and keeps nothing. Any other
        // statement is refused then, and what follows it in one message is not looked at.
        const COMMIT: &str = concat!("SET LOCAL synchronous_commit TO off; COMMIT; ", flush!());
        self.commit_as(COMMIT).await
    }

    /// The first half of that.
    #[cfg(test)]
    pub(super) async fn commit_early(&mut self) -> Result<(), DbError> {
        self.commit_as("SET LOCAL synchronous_commit TO off; COMMIT").await
    }

    async fn commit_as(&mut self, sql: &'static str) -> Result<(), DbError> {
        let patience = self.patience;
        let done = match self.get().await {
            Ok(conn) => Ok(within(patience, conn.execute(sqlx::raw_sql(sql))).await),
            Err(error) => Err(error),
        };
        self.is_open = false;
        let done = done.and_then(|done| self.look(done));
        if done.is_err() {
            // It may be open still, with what it holds. The next connection ends the session.
            self.conn = None;
        }
        done.map(drop)
    }

    pub(super) async fn flush(&mut self) -> Result<(), DbError> {
        let patience = self.patience;
        // Of what another session saw, this one says nothing: the server may be another by now.
        let Some(conn) = &mut self.conn else { return Err(DbError::Lost) };
        let done = within(patience, conn.execute(sqlx::raw_sql(FLUSH))).await;
        self.look(done).map(drop)
    }

    pub(super) async fn rollback(&mut self) -> Result<(), DbError> {
        let done = match self.conn {
            Some(_) => self.execute(&"ROLLBACK".into(), &[]).await,
            // The server has.
            None => Ok(0),
        };
        self.is_open = false;
        if done.is_err() {
            self.conn = None;
        }
        done.map(drop)
    }

    pub(super) async fn close(self: Box<Self>) -> Result<(), StoreError> {
        match self.conn {
            Some(conn) => Ok(conn.close().await.map_err(DbError::from)?),
            None => Ok(()),
        }
    }
}

/// The connections that read.
pub(in crate::store) struct Pool(PgPool, Duration);

impl Pool {
    pub(super) async fn rows(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<super::Row>, StoreError> {
        let began = Instant::now();
        let mut done = self.once(sql, args).await;
        // One that the server has closed meanwhile is noticed by who uses it next, and thrown away.
        for _ in 0..self.0.size() {
            if !done.as_ref().is_err_and(DbError::is_of_connection) || began.elapsed() > PAUSE {
                break;
            }
            done = self.once(sql, args).await;
        }
        Ok(done?)
    }

    /// The same, under a look at the schema that is recent.
    pub(super) async fn rows_under(
        &self,
        sql: &Sql,
        args: &[Arg<'_>],
        watch: &Watch,
    ) -> Result<Vec<super::Row>, StoreError> {
        let found = self.rows(sql, args).await?;
        self.look_at_schema(watch).await?;
        Ok(found)
    }

    pub(super) async fn look_at_schema(&self, watch: &Watch) -> Result<(), StoreError> {
        if watch.is_due(LOOKED_AT_WITHIN) {
            let began = Instant::now();
            let mut conn = self.0.acquire().await.map_err(DbError::from)?;
            let look = within(self.1, schema::postgres_version(&mut conn)).await;
            watch.note_look(look.map_err(DbError::from)?, began);
        }
        Ok(())
    }

    /// The same, and what `head` gives afterwards over the same session, which is handed out with them.
    pub(super) async fn page(
        &self,
        (sql, args): (&Sql, &[Arg<'_>]),
        head: &Sql,
    ) -> Result<([Vec<super::Row>; 2], Session), StoreError> {
        let began = Instant::now();
        loop {
            let mut conn = self.0.acquire().await.map_err(DbError::from)?;
            let page = async {
                let found = run!(sql, args, fetch_all, &mut *conn)?;
                Ok([rows(found), rows(run!(head, &[], fetch_all, &mut *conn)?)])
            };
            match within(self.1, page).await.map_err(DbError::from) {
                Ok(page) => return Ok((page, Session(conn, self.1))),
                // One that the server has closed meanwhile is thrown away.
                Err(error) if error.is_of_connection() && began.elapsed() < PAUSE => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn once(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<super::Row>, DbError> {
        Ok(rows(within(self.1, async { run!(sql, args, fetch_all, &self.0) }).await?))
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }
}

/// The session that has read something.
pub(super) struct Session(PoolConnection<sqlx::Postgres>, Duration);

impl Session {
    /// [`Conn::flush`]. Another session may be of a server that has crashed meanwhile, and lost what this one has read.
    pub(super) async fn flush(mut self) -> Result<(), StoreError> {
        within(self.1, self.0.execute(sqlx::raw_sql(FLUSH))).await.map_err(DbError::from)?;
        Ok(())
    }
}

/// Tells replicas that one has written. It may be lost: whoever listens looks now and then in any case.
pub(in crate::store) struct Bell(PgPool);

impl Bell {
    /// Tells `rung` whenever another rings, and goes on after the connection was lost. Never ends.
    pub(in crate::store) async fn listen(&self, rung: &Notify) {
        loop {
            let listening = async {
                let mut listener = PgListener::connect_with(&self.0).await?;
                listener.listen(CHANNEL).await?;
                Ok(listener)
            };
            if let Ok(mut listener) = within(CONNECT_TIMEOUT, listening).await {
                while listener.recv().await.is_ok() {
                    rung.notify_one();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Rings.
    pub(in crate::store) async fn ring(&self) {
        if let Err(error) = within(PAUSE, sqlx::query("NOTIFY denizen").execute(&self.0)).await {
            tracing::debug!(%error, "the other replicas were not told of a commit; they look now and then");
        }
    }
}

/// What a statement said, unless the server says nothing.
pub(super) async fn within<T>(patience: Duration, statement: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let silent = || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer"));
    tokio::time::timeout(patience, statement).await.unwrap_or_else(|_| Err(silent()))
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, DbError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
    }
}

/// Takes out of the tables what a purge removed. A vacuum leaves what a transaction may still read that began before, a
/// backup's for one: so it waits until there is none.
async fn vacuum(options: &PgConnectOptions) -> Result<(), DbError> {
    // On this server, and on a standby that says so.
    const READERS: &str = "SELECT (SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND age(backend_xmin) > age($1::xid)) \
         + (SELECT COUNT(*) FROM pg_stat_replication WHERE age(backend_xmin) > age($1::xid)) \
         + (SELECT COUNT(*) FROM pg_replication_slots WHERE age(xmin) > age($1::xid))";
    let mut conn = connect(options).await?;
    // Later than the purge.
    let now: String = sqlx::query_scalar("SELECT pg_current_xact_id()::xid::TEXT").fetch_one(&mut conn).await?;
    while sqlx::query_scalar::<_, i64>(READERS).bind(&now).fetch_one(&mut conn).await? > 0 {
        tokio::time::sleep(READER_PAUSE).await;
    }
    conn.execute(sqlx::raw_sql("VACUUM secret_versions, secrets, changes")).await?;
    Ok(conn.close().await?)
}

fn pool(engine: &Postgres, options: PgConnectOptions, connections: u32, watch: Option<Watch>) -> Pool {
    let pool = PgPoolOptions::new()
        .after_connect(move |conn, _| {
            let watch = watch.clone();
            Box::pin(async move {
                // A new session may be in another schema than those before.
                if let Some(watch) = watch {
                    watch.note(schema::postgres_version(conn).await?);
                }
                Ok(())
            })
        })
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        // A ping before each use would double the cost of a read.
        .test_before_acquire(false);
    Pool(pool.connect_lazy_with(options), engine.patience())
}

/// Opens and migrates, up to this migration.
pub(super) async fn open(engine: &Postgres, last: i64) -> Result<Opened, StoreError> {
    let lock = claim(engine).await?;
    let options = engine.parsed()?;
    let mut writer = connect(&options).await?;
    admit(&mut writer).await?;
    let at = migrate(&mut writer, last).await?;
    let schema = Watch::new(match at == migrations::newest() {
        true => check(engine, &mut writer).await?,
        // Nobody serves it, and it is looked at once it is up to date.
        false => schema::postgres_version(&mut writer).await.map_err(DbError::from)?,
    });
    let readers = engine.max_connections.saturating_sub(NOT_READERS).max(1);
    let readers = pool(engine, options.clone(), readers, Some(schema.clone()));
    let bell = Bell(pool(engine, options.clone(), 2, None).0);
    let follower = super::Conn::Postgres(Box::new(Conn::new(engine, options.clone(), None, schema.clone())));
    let writer = Conn::new(engine, options, Some(writer), schema.clone());
    Ok(Opened {
        readers: super::Pool::Postgres(readers),
        writer: super::Conn::Postgres(Box::new(writer)),
        lock,
        following: Some((bell, follower)),
        schema,
    })
}

/// Whether the database has no table, of ours or of anybody.
pub(super) async fn is_empty(engine: &Postgres) -> Result<bool, StoreError> {
    let mut conn = connect(&engine.parsed()?).await?;
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM pg_class WHERE relkind IN ('r', 'p') \
               AND relnamespace = current_schema()::regnamespace)";
    let is_empty = sqlx::query_scalar(sql).fetch_one(&mut conn).await.map_err(DbError::from)?;
    conn.close().await.map_err(DbError::from)?;
    Ok(is_empty)
}

/// Refuses another schema than the migrations make; gives the number of the one that is there.
async fn check(engine: &Postgres, conn: &mut PgConnection) -> Result<i64, StoreError> {
    let expected = engine.expected.get_or_try_init(|| expected(conn)).await?;
    let before = schema::postgres_version(conn).await.map_err(DbError::from)?;
    expected.admit(&Objects::read_postgres(conn).await?)?;
    match schema::postgres_version(conn).await.map_err(DbError::from)? {
        after if after == before => Ok(before),
        _ => Err(StoreError::SchemaChanged),
    }
}

/// Opens what is there for reading alone, beside the replicas that may be writing to it.
pub(super) async fn open_to_read(engine: &Postgres) -> Result<Conn, StoreError> {
    let options = engine.parsed()?;
    let mut conn = connect(&options).await?;
    let schema = Watch::new(check(engine, &mut conn).await?);
    conn.close().await.map_err(DbError::from)?;
    let options = options.options([("default_transaction_read_only", "on")]);
    Ok(Conn::new(engine, options, None, schema))
}

/// Refuses a server that cannot be used.
async fn admit(conn: &mut PgConnection) -> Result<(), StoreError> {
    let sql = "SELECT current_setting('server_version_num')::INT4, current_setting('server_encoding'), \
               pg_is_in_recovery(), current_setting('session_replication_role') = 'origin'";
    let row = conn.fetch_one(sql).await.map_err(DbError::from)?;
    let of = |error: sqlx::Error| StoreError::from(DbError::from(error));
    let (version, encoding): (i32, String) = (row.try_get(0).map_err(of)?, row.try_get(1).map_err(of)?);
    if version < OLDEST {
        let major = version / 10_000;
        return Err(StoreError::Unfit(format!("the server is PostgreSQL {major}, and 14 is the oldest that works")));
    }
    if encoding != "UTF8" {
        let why = format!(
            "its encoding is {encoding}, and must be UTF8: make it with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        );
        return Err(StoreError::Unfit(why));
    }
    if row.try_get(2).map_err(of)? {
        return Err(StoreError::Unfit("the server is a standby, which takes no writes: name the primary".to_owned()));
    }
    if !row.try_get::<bool, _>(3).map_err(of)? {
        let why = "its setting session_replication_role is not origin, which disables the keys between tables: ALTER ROLE … \
                   RESET session_replication_role, and the same of the database";
        return Err(StoreError::Unfit(why.to_owned()));
    }
    Ok(())
}

/// The schema that the migrations make: made in a schema of its own, read, and rolled back.
async fn expected(conn: &mut PgConnection) -> Result<Objects, StoreError> {
    let failed = |error: sqlx::Error| StoreError::from(DbError::from(error));
    let mut tx = conn.begin().await.map_err(failed)?;
    let name = format!("denizen_expected_{}", denizen_keys::random::uuid_v4().simple());
    let create = format!("CREATE SCHEMA {name}; SET LOCAL search_path TO {name}");
    tx.execute(AssertSqlSafe(create)).await.map_err(|error| {
        let error = DbError::from(error);
        match error.is_without_right() {
            true => StoreError::Unfit(
                "its role may not make a schema, which is how the tables are checked: GRANT CREATE ON DATABASE … TO …"
                    .to_owned(),
            ),
            false => error.into(),
        }
    })?;
    migrate_within(&mut tx, migrations::newest()).await?;
    let objects = Objects::read_postgres(&mut tx).await?;
    tx.rollback().await.map_err(failed)?;
    Ok(objects)
}

/// Brings the schema up to this migration, or changes nothing; gives the last one that it has. One replica at a time.
async fn migrate(conn: &mut PgConnection, last: i64) -> Result<i64, StoreError> {
    let failed = |error: sqlx::Error| StoreError::from(DbError::from(error));
    let mut tx = conn.begin().await.map_err(failed)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
    lock.execute(&mut *tx).await.map_err(failed)?;
    let at = migrate_within(&mut tx, last).await?;
    tx.commit().await.map_err(failed)?;
    Ok(at)
}

async fn migrate_within(conn: &mut PgConnection, last: i64) -> Result<i64, StoreError> {
    let failed = |error: sqlx::Error| {
        let error = DbError::from(error);
        match error.is_without_right() {
            true => StoreError::Unfit(
                "its role may not make tables: make the database with that role as its owner, or GRANT CREATE ON SCHEMA \
                 public TO …"
                    .to_owned(),
            ),
            false => error.into(),
        }
    };
    let sql = "SELECT COUNT(*), COUNT(*) FILTER (WHERE relname = 'schema_migrations') FROM pg_class \
               WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace";
    let found = conn.fetch_one(sql).await.map_err(failed)?;
    let (tables, recorded): (i64, i64) = (found.try_get(0).map_err(failed)?, found.try_get(1).map_err(failed)?);
    match (tables, recorded) {
        (0, _) => _ = conn.execute(AssertSqlSafe(DIALECT.words(TABLE))).await.map_err(failed)?,
        (_, 0) => return Err(migrations::unrecorded()),
        _ => {}
    }
    let mut applied: Vec<(i64, Vec<u8>)> = Vec::new();
    for row in conn.fetch_all(APPLIED).await.map_err(failed)? {
        applied.push((row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?));
    }
    let mut at = applied.last().map_or(0, |(version, _)| *version);
    for migration in migrations::missing(&applied, last)? {
        at = migration.version;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(migration.sql(DIALECT)))).await.map_err(failed)?;
        let checksum = migration.checksum();
        let apply = sqlx::query(APPLY).bind(migration.version).bind(migration.name).bind(&checksum[..]);
        apply.execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(at)
}

/// Takes this replica's folder for this process. The lock goes with the process, however it ends.
async fn claim(engine: &Postgres) -> Result<File, StoreError> {
    let failed = |source| StoreError::File { path: engine.folder.clone(), source: Arc::new(source) };
    files::Folder::open(&engine.folder).map_err(failed)?;
    super::lock(&engine.folder.join("replica.lock")).await
}
