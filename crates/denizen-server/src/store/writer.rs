//! The one connection that writes, and what it knows of the ends of both logs.
//!
//! A statement whose outcome is not known (the connection broke while it committed) leaves `head` empty; then the
//! next use reads them again, and reloads the snapshot when the database is ahead of it. Tests: the contract suite.

use std::{collections::HashMap, fs::File, sync::Arc};

use denizen_keys::mac::MacKey;
use denizen_wire::{ResourceId, UnixTime};
use tokio::sync::watch;

use super::{
    Core, Kind, Record, Revision, Snapshot, StoreError, TrailFault,
    audit::chain::StoredRow,
    db::{Arg, Conn, Row, Sql, Statements, args},
    record::decode,
};
use crate::domain::{
    directory::{Application, ServicePrincipal, SigningKey, Tenant},
    resources::{Machine, ResourceGroup, Subscription, Vault},
    roles::{RoleAssignment, RoleDefinition},
};

/// Records per page when the snapshot is loaded.
const PAGE: i64 = 4096;

pub(super) struct Writer {
    /// None once the store is closed; and with it goes what keeps other processes out.
    conn: Option<(Conn, File)>,
    /// Whether a transaction may be open on the connection.
    open: bool,
    head: Option<LogHead>,
    /// The last head that is known to be committed, for whoever wants to know.
    told: watch::Sender<LogHead>,
    /// What the chain's tags are made under.
    chain: MacKey,
}

/// Where both logs end.
#[derive(Clone, Debug)]
pub(super) struct LogHead {
    pub(super) revision: Revision,
    /// Sequence number of the last audit record; zero before the first.
    pub(super) seq: u64,
    /// The hash of the last row, hexadecimal; empty before the first.
    pub(super) hash: String,
    /// The position up to which the chain has the audit's spool.
    pub(super) spool: u64,
    /// What the chain and its changes have taken so far, bytes.
    pub(super) total: u64,
    /// When the last audit record was written.
    pub(super) at: UnixTime,
}

/// Before the first record.
impl Default for LogHead {
    fn default() -> Self {
        Self { revision: Revision(0), seq: 0, hash: String::new(), spool: 0, total: 0, at: UnixTime(0) }
    }
}

impl Writer {
    pub(super) fn new(conn: Conn, lock: File, chain: MacKey) -> Self {
        Self { conn: Some((conn, lock)), open: false, head: None, told: watch::Sender::default(), chain }
    }

    /// The last head that is known to be committed, and those that follow.
    pub(super) fn heads(&self) -> watch::Receiver<LogHead> {
        self.told.subscribe()
    }

    /// Closes the connection, then lets other processes in.
    pub(super) async fn close(&mut self) {
        let Some((conn, lock)) = self.conn.take() else { return };
        if let Err(error) = conn.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; nothing acknowledged is lost");
        }
        // Said, not left to the file's end: a process being started at this moment has a copy of it, and the lock with it.
        if let Err(error) = lock.unlock() {
            tracing::warn!(%error, "the data file stays locked until this process ends");
        }
    }

    pub(super) fn conn(&mut self) -> Result<&mut Conn, StoreError> {
        self.conn.as_mut().map(|(conn, _)| conn).ok_or(StoreError::Closed)
    }

    pub(super) async fn execute(
        &mut self,
        statements: &Statements,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<u64, StoreError> {
        Ok(self.conn()?.execute(statements, sql, args).await?)
    }

    /// The ends of both logs, with no transaction open and the snapshot up to date.
    pub(super) async fn ready(&mut self, core: &Core) -> Result<LogHead, StoreError> {
        if self.open {
            self.rollback(&core.statements).await;
        }
        core.health.in_place()?;
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        let head = match self.read_head(&core.statements).await {
            Err(StoreError::Trail(fault)) => return Err(core.health.disagrees(fault)),
            read => read?,
        };
        let seq = self.told.borrow().seq;
        if head.seq < seq || (head.seq == seq && head.hash != self.told.borrow().hash) {
            return Err(core.health.disagrees(TrailFault::ChangedByAnother { seq }));
        }
        if head.revision != core.snapshot.load().revision() {
            tracing::warn!(revision = head.revision.0, "the database is ahead of the snapshot: loading it again");
            let snapshot = self.load(&core.statements).await?;
            core.snapshot.store(Arc::new(snapshot));
        }
        self.advance(head.clone());
        Ok(head)
    }

    pub(super) async fn begin(&mut self, statements: &Statements) -> Result<(), StoreError> {
        self.open = true;
        self.conn()?.begin(statements).await
    }

    /// Ends what may be open. An error means that nothing was open, or that the connection is gone: the next
    /// statement tells.
    pub(super) async fn rollback(&mut self, statements: &Statements) {
        if self.open
            && let Ok(conn) = self.conn()
            && let Err(error) = conn.execute(statements, "ROLLBACK", &[]).await
        {
            tracing::debug!(%error, "nothing was rolled back");
        }
        self.open = false;
    }

    /// Commits. When the engine's answer is an error, whether it committed is found out by reading the log.
    pub(super) async fn commit(&mut self, statements: &Statements, expected: LogHead) -> Result<(), StoreError> {
        match self.execute(statements, "COMMIT", &[]).await {
            Ok(_) => {
                self.open = false;
                self.advance(expected);
                Ok(())
            }
            Err(error) => self.settle(statements, expected, error).await,
        }
    }

    /// Finds out whether a write that failed was kept after all: yes, if the audit ends with its hash.
    pub(super) async fn settle(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.head = None;
        self.rollback(statements).await;
        let found = self.read_head(statements).await.map_err(|_| error.clone())?;
        if found.hash == expected.hash {
            self.advance(expected);
            return Ok(());
        }
        Err(error)
    }

    /// Goes on from a head that is committed.
    pub(super) fn advance(&mut self, head: LogHead) {
        self.told.send_replace(head.clone());
        self.head = Some(head);
    }

    pub(super) async fn read_head(&mut self, statements: &Statements) -> Result<LogHead, StoreError> {
        let rows = self
            .conn()?
            .rows(
                statements,
                "SELECT seq, last, tenant, at, revision, total, spool, hash, tag, \
                 (SELECT COALESCE(MAX(revision), 0) FROM changes) FROM audit ORDER BY seq DESC LIMIT 1",
                &[],
            )
            .await?;
        match rows.first() {
            Some(row) => {
                let last = StoredRow::read(row)?;
                if !last.is_ours(&self.chain) {
                    return Err(TrailFault::EndForged { seq: last.head.seq }.into());
                }
                Ok(LogHead { revision: Revision(row.count(9)?), ..last.head })
            }
            // No audit record, so no transaction: each commits one.
            None => Ok(LogHead::default()),
        }
    }

    /// Reads all that the snapshot holds.
    pub(super) async fn load(&mut self, statements: &Statements) -> Result<Snapshot, StoreError> {
        let head = self.read_head(statements).await?;
        let conn = self.conn()?;
        let mut vaults = HashMap::new();
        let sql = "SELECT parent, MAX(revision) FROM changes WHERE parent IS NOT NULL GROUP BY parent";
        for row in conn.rows(statements, sql, &[]).await? {
            let id: ResourceId = row.text(0)?.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?;
            vaults.insert(id, Revision(row.count(1)?));
        }
        let sql = "SELECT COALESCE(MAX(revision), 0) FROM changes WHERE kind = $1";
        let rows = conn.rows(statements, sql, args![Kind::SigningKey.as_str()]).await?;
        let signing = rows.first().map_or(Ok(0), |row| row.count(0))?;
        let mut snapshot = Snapshot::at(head.revision, Revision(signing), vaults);
        load::<Tenant>(conn, statements, &mut snapshot).await?;
        load::<Application>(conn, statements, &mut snapshot).await?;
        load::<ServicePrincipal>(conn, statements, &mut snapshot).await?;
        load::<SigningKey>(conn, statements, &mut snapshot).await?;
        load::<Subscription>(conn, statements, &mut snapshot).await?;
        load::<ResourceGroup>(conn, statements, &mut snapshot).await?;
        load::<Machine>(conn, statements, &mut snapshot).await?;
        load::<Vault>(conn, statements, &mut snapshot).await?;
        load::<RoleAssignment>(conn, statements, &mut snapshot).await?;
        load::<RoleDefinition>(conn, statements, &mut snapshot).await?;
        Ok(snapshot)
    }
}

/// Reads one kind, page by page, so that a million records never stand beside themselves as rows.
async fn load<R: Record>(conn: &mut Conn, statements: &Statements, snapshot: &mut Snapshot) -> Result<(), StoreError> {
    let mut after = (String::new(), String::new());
    loop {
        let page: Vec<Row> = conn.rows(statements, R::TABLE.page, args![&after.0, &after.1, PAGE]).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.text(0)?, last.text(1)?);
        for row in &page {
            let record: R = decode(&row.text(0)?, &row.text(1)?, &row.text(2)?)?;
            snapshot.insert(R::entity(Arc::new(record)));
        }
    }
}
