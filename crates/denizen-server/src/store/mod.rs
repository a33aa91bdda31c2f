//! The store: one write path, one change log, one snapshot.
//!
//! ```text
//! reads:   Store::snapshot ──────────────► Arc<Snapshot>        no query: tokens are issued while the database is down
//!          Store::secret … ──► read pool ► cold data
//! writes:  Store::write ─► Tx ─► commit:  records + change log + audit, one transaction ─► snapshot ─► caller
//! audit:   Store::audit ─► spool (a file; then the caller goes on) ─► shipper task ─► chain: one statement for many
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`db`] | the database engines behind one interface; the only place that knows which one it is |
//! | [`leases`] | what only one replica does at a time |
//! | [`keys`] | the keys that tags are made under |
//! | [`tags`], [`live`], [`head`] | what binds a row; which rows there are; what vouches for all of them |
//! | [`seen`] | the time that was seen last, by which the clock is trusted or not |
//! | [`record`], [`records`] | what makes an entity storable; one file per entity |
//! | [`load`] | reading everything, checked, at start |
//! | [`writer`], [`turn`] | the one connection that writes; whose turn it is |
//! | [`group`], [`ends`] | the transactions that commit next; where both logs end |
//! | [`tx`], [`write`] | a transaction, and the one way to it |
//! | [`list`] | pages of records by filter and order |
//! | [`one_time`], [`secrets`], [`secret_writes`] | what is kept outside the snapshot |
//! | [`changes`], [`follow`] | the change log; taking over what other replicas have committed |
//! | [`audit`], [`spool`], [`shipper`], [`chain`] | what is recorded; where it is written first; how it is moved; the hash chain |
//! | [`anchor`], [`verify`], [`trail`] | the chain's head outside the database; whether the chain is whole; the chain for commands |
//! | [`retention`], [`health`] | what is removed, and when; how the audit is |
//! | [`barred`] | why nothing is written, while that is not over by itself |
//! | [`backup`] | everything in one sealed file, and back; from one engine to the other |
//! | [`files`] | opening what must not be a link or a pipe |
//! | [`snapshot`], [`tree`] | the directory in memory, and the map that holds most of it |
//!
//! Nothing is reached without a [`Ctx`], and its tenant is part of every key and query. Tests: `contract`, a list of
//! functions that every engine must pass.

mod audit;
mod backup;
mod barred;
mod changes;
mod db;
mod ends;
mod error;
mod files;
mod follow;
mod group;
mod head;
mod keys;
mod leases;
mod list;
mod live;
mod load;
mod one_time;
mod published;
mod record;
mod records;
mod secret_writes;
mod secrets;
mod seen;
mod snapshot;
mod tags;
mod tree;
mod turn;
mod tx;
mod write;
mod writer;

#[cfg(test)]
mod contract;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, watch};

pub use audit::{
    Acceptance, Accepted, AuditEvent, AuditHealth, AuditRecord, BadHead, Checked, Head, LeftOut, Outcome, Pruned,
    RecordProof, Retention, Trail, Verified,
};
pub use backup::{Backup, BackupDamage, BackupError, BackupHeader, BackupSummary, NewBackup, Restored};
pub use changes::Change;
pub use db::{Counters, DbError, Engine, Postgres};
pub use error::{AuditBroken, HeadFault, OneTimeRefused, SchemaFault, StoreError, Tampering, TrailFault};
pub use keys::StoreKeys;
pub use list::{List, ListError, Listed, Page};
pub use one_time::{Kept, OneTime};
pub use published::Published;
pub use record::{Kind, Record};
pub use snapshot::Snapshot;
pub use tx::Tx;
pub use write::{Write, WriteProof, Writing};

use crate::domain::Ctx;

/// The number of a committed transaction; later ones have greater numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    core: Arc<Core>,
    shipper: audit::shipper::Shipper,
    keeper: audit::anchor::Keeper,
    follower: follow::Follower,
}

/// What the store and its shipper task share.
pub(in crate::store) struct Core {
    readers: db::Pool,
    writer: Arc<Mutex<writer::Writer>>,
    queue: turn::Queue,
    freshness: follow::Freshness,
    /// This replica has committed something.
    committed: Notify,
    /// Somebody waits for what another has committed.
    wanted: Notify,
    snapshot: ArcSwap<Snapshot>,
    statements: db::Statements,
    keys: StoreKeys,
    /// This replica's, of the audit's trail.
    chain: audit::chain::Chain,
    /// What this replica has recorded last of the others' chains.
    witnessed: Mutex<Vec<audit::witness::Witnessed>>,
    live: live::Live,
    seen: seen::Seen,
    spool: audit::spool::Spool,
    health: audit::health::Health,
    heads: watch::Receiver<ends::LogHead>,
    engine: Engine,
    schema: db::Watch,
    published: published::Clocked,
    /// Which file the engine opened: another may take its name.
    identity: Option<files::Identity>,
}

impl Store {
    /// Opens the database, brings its schema up to date and loads the snapshot.
    ///
    /// Every row is checked before anything is served: [`StoreError::Tampered`] names one that is not as this server
    /// wrote it last, [`StoreError::Head`] says that they do not belong together.
    ///
    /// Must be called inside a Tokio runtime: the audit's shipper task is started on it. It is refused when the
    /// data is newer than this release ([`StoreError::SchemaTooNew`]) or of another build
    /// ([`StoreError::SchemaUnknown`]), when another process has it ([`StoreError::InUse`]), and when the
    /// database is not what was written to it ([`StoreError::Trail`]), or was copied elsewhere ([`StoreError::Copied`]).
    pub async fn open(engine: Engine, keys: StoreKeys) -> Result<Self, StoreError> {
        backup::note::refuse(&engine)?;
        Box::pin(Self::open_copied(engine, keys)).await
    }

    /// The same, whether or not everything was copied elsewhere.
    async fn open_copied(engine: Engine, keys: StoreKeys) -> Result<Self, StoreError> {
        let statements = db::Statements::default();
        if engine.is_absent().await? {
            audit::anchor::refuse_without_database(&engine.anchor(), &keys)?;
        }
        let opened = db::open(&engine).await?;
        let mut conn = opened.writer;
        let own = audit::anchor::own(&mut db::Reader::Conn(&mut conn, &statements), &keys, &engine).await?;
        let chain = own.chain.clone();
        conn.claim(&chain.id, own.is_known()).await?;
        // One moment for all that is read: other replicas may be writing.
        conn.begin_to_read().await?;
        let found =
            Box::pin(audit::anchor::admit(&mut db::Reader::Conn(&mut conn, &statements), &keys, &engine, own)).await?;
        let mut writer = writer::Writer::new(
            (conn, opened.lock, opened.schema.clone()),
            keys.clone(),
            chain.clone(),
            engine.is_shared(),
        );
        let known = audit::spool::Known { shipped: found.head.spool, spooled: found.spooled };
        let live = live::Live::default();
        let snapshot = Box::pin(writer.load(&statements, &live, found.rows.as_ref())).await?;
        writer.rollback(&statements).await;
        writer.flush(&statements).await?;
        found.anchor(&keys, &engine, &chain)?;
        writer.advance(found.head);
        let spool = audit::spool::Spool::open(&engine.spool(), known, &keys.spool)?;
        let heads = writer.heads();
        let core = Arc::new(Core {
            readers: opened.readers,
            schema: opened.schema,
            published: published::Clocked::default(),
            heads: heads.clone(),
            identity: engine.identity(),
            engine: engine.clone(),
            writer: Arc::new(Mutex::new(writer)),
            queue: turn::Queue::default(),
            freshness: follow::Freshness::new(std::time::Instant::now()),
            committed: Notify::new(),
            wanted: Notify::new(),
            snapshot: ArcSwap::from_pointee(snapshot),
            statements,
            keys,
            chain,
            witnessed: Mutex::default(),
            live,
            seen: seen::Seen::default(),
            spool,
            health: audit::health::Health::new(found.start.total(), std::time::Instant::now()),
        });
        let keeper = audit::anchor::Keeper::start(core.clone(), heads, engine.anchor());
        let follower = follow::Follower::start(&core, opened.following);
        Ok(Self { shipper: audit::shipper::Shipper::start(core.clone()), keeper, follower, core })
    }

    /// The directory as it is now. Take one per request and decide everything by it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.core.snapshot.load_full()
    }

    /// The revision of [`Self::snapshot`].
    pub fn revision(&self) -> Revision {
        self.core.snapshot.load().revision()
    }

    /// Starts a transaction. There is one at a time: the next waits until this one has committed or is dropped.
    pub(in crate::store) async fn begin(&self, ctx: &Ctx) -> Result<Tx<'_>, StoreError> {
        Tx::begin(self.core.clone(), ctx).await
    }

    /// How often the database was asked since the store was opened.
    pub fn counters(&self) -> Counters {
        self.core.statements.now(self.core.spool.written())
    }

    /// How many changed directories were published since the store was opened, and how long that took.
    pub fn published(&self) -> Published {
        self.core.published.now()
    }

    /// Bytes of the audit's spool that are not in the chain yet.
    pub fn audit_behind(&self) -> u64 {
        self.core.spool.behind()
    }

    /// How the audit is.
    pub fn audit_health(&self) -> AuditHealth {
        let free = audit::spool::ROOM.saturating_sub(self.audit_behind());
        self.core.health.now(self.core.heads.borrow().total, free)
    }

    /// The rule that is broken while this server writes nothing, until somebody mends that. It says nothing of this machine.
    pub fn barred(&self) -> Option<&'static str> {
        self.core.health.barred.by()
    }

    /// Moves what the audit's spool holds into the chain, then closes the database. Other clones of the store are closed with it:
    /// they go on serving the snapshot, and refuse everything else.
    pub async fn close(self) {
        self.shipper.close().await;
        self.keeper.close().await;
        self.follower.close().await;
        self.core.readers.close().await;
        self.core.writer.lock().await.close(Some(&self.core)).await;
    }

    async fn rows(&self, sql: &'static str, args: &[db::Arg<'_>]) -> Result<Vec<db::Row>, StoreError> {
        self.core.readers.rows_under(&self.core.statements, &self.core.schema, sql, args).await
    }

    /// Runs a statement that reads, and `take`s what it gave by the checks it gets.
    ///
    /// A reader may be a moment ahead of what this process has published, or behind it. So what does not fit is read
    /// again with the writer's lock held, when nobody commits: what does not fit then was not written by this server.
    async fn read<T>(
        &self,
        sql: &'static str,
        args: &[db::Arg<'_>],
        take: impl Fn(&[db::Row], live::Checks<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let rows = self.rows(sql, args).await?;
        self.take_or_read_again(&rows, (&sql.into(), args), take).await
    }

    /// The same of rows of which some may be missing: one that was removed may come back when the database crashes. So
    /// whoever hears of the others waits until what was visible is durable.
    async fn read_page<T>(
        &self,
        sql: impl Into<db::Sql>,
        args: &[db::Arg<'_>],
        take: impl Fn(&[db::Row], live::Checks<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let sql = sql.into();
        let is_known = |head: &[db::Row]| {
            let head = head.first().map_or(Ok(None), |row| head::Head::of_row(row, 0))?;
            let known = self.core.heads.borrow();
            let there = head.as_ref().map(|head| (head.revision, &head.state));
            Ok(there.unwrap_or((Revision(0), &Vec::new())) == (known.revision, &known.state))
        };
        let (statements, schema) = (&self.core.statements, &self.core.schema);
        let rows = self.core.readers.page(statements, schema, (&sql, args), head::SELECT_HEAD, is_known).await?;
        self.take_or_read_again(&rows, (&sql, args), take).await
    }

    async fn take_or_read_again<T>(
        &self,
        rows: &[db::Row],
        (sql, args): (&db::Sql, &[db::Arg<'_>]),
        take: impl Fn(&[db::Row], live::Checks<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.core.schema.refuse_changed()?;
        match take(rows, self.core.checks()) {
            Err(StoreError::Tampered { .. }) => {}
            done => return done,
        }
        let mut writer = turn::Turn::next(&self.core).await;
        writer.ready(&self.core).await?;
        let rows = match self.core.engine.is_shared() {
            false => writer.conn()?.rows(&self.core.statements, sql.clone(), args).await?,
            // Others may commit at any time: what they have, and the rows, are seen at one moment.
            true => {
                let read = async |conn: &mut db::Conn| conn.rows(&self.core.statements, sql.clone(), args).await;
                writer.at_one_moment(&self.core, read).await?
            }
        };
        writer.refuse_changed_schema().await?;
        take(&rows, self.core.checks())
    }
}

impl Core {
    /// Checks rows by what has committed.
    fn checks(&self) -> live::Checks<'_> {
        live::Checks { keys: &self.keys, live: &self.live, pending: [None; 2] }
    }
}
