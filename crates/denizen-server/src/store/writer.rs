//! The one connection that writes, and what it knows of the ends of both logs.
//!
//! A statement whose outcome is not known (the connection broke while it committed) leaves `heads` empty; then the
//! next use reads them again, and reloads the snapshot when the database is ahead of it. Tests: the contract suite.

use std::{collections::HashMap, fs::File, sync::Arc};

use denizen_wire::ResourceId;

use super::{
    Core, Kind, Record, Revision, Snapshot, StoreError,
    db::{Arg, Conn, Counting, Row, Sql, args},
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
    heads: Option<Heads>,
}

/// Where both logs end.
#[derive(Clone)]
pub(super) struct Heads {
    pub(super) revision: Revision,
    /// Sequence number of the last audit record; zero before the first.
    pub(super) seq: u64,
    /// The hash of the last row, hexadecimal; empty before the first.
    pub(super) hash: String,
    /// The position up to which the trail has the audit's journal.
    pub(super) journal: u64,
}

impl Writer {
    pub(super) fn new(conn: Conn, lock: File) -> Self {
        Self { conn: Some((conn, lock)), open: false, heads: None }
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
        counting: &Counting,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> Result<u64, StoreError> {
        Ok(self.conn()?.execute(counting, sql, args).await?)
    }

    /// The ends of both logs, with no transaction open and the snapshot up to date.
    pub(super) async fn ready(&mut self, core: &Core) -> Result<Heads, StoreError> {
        if self.open {
            self.rollback(&core.counting).await;
        }
        if let Some(heads) = &self.heads {
            return Ok(heads.clone());
        }
        let heads = self.read_heads(&core.counting).await?;
        if heads.revision != core.snapshot.load().revision() {
            tracing::warn!(revision = heads.revision.0, "the database is ahead of the snapshot: loading it again");
            let snapshot = self.load(&core.counting).await?;
            core.snapshot.store(Arc::new(snapshot));
        }
        self.heads = Some(heads.clone());
        Ok(heads)
    }

    pub(super) async fn begin(&mut self, counting: &Counting) -> Result<(), StoreError> {
        self.open = true;
        self.conn()?.begin(counting).await
    }

    /// Ends what may be open. An error means that nothing was open, or that the connection is gone: the next
    /// statement tells.
    pub(super) async fn rollback(&mut self, counting: &Counting) {
        if self.open
            && let Ok(conn) = self.conn()
            && let Err(error) = conn.execute(counting, "ROLLBACK", &[]).await
        {
            tracing::debug!(%error, "nothing was rolled back");
        }
        self.open = false;
    }

    /// Commits. When the engine's answer is an error, whether it committed is found out by reading the log.
    pub(super) async fn commit(&mut self, counting: &Counting, expected: Heads) -> Result<(), StoreError> {
        match self.execute(counting, "COMMIT", &[]).await {
            Ok(_) => {
                self.open = false;
                self.heads = Some(expected);
                Ok(())
            }
            Err(error) => self.settle(counting, expected, error).await,
        }
    }

    /// Finds out whether a write that failed was kept after all: yes, if the audit ends with its hash.
    pub(super) async fn settle(
        &mut self,
        counting: &Counting,
        expected: Heads,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.heads = None;
        self.rollback(counting).await;
        let found = self.read_heads(counting).await.map_err(|_| error.clone())?;
        if found.hash == expected.hash {
            self.heads = Some(expected);
            return Ok(());
        }
        Err(error)
    }

    pub(super) fn advance(&mut self, heads: Heads) {
        self.heads = Some(heads);
    }

    pub(super) async fn read_heads(&mut self, counting: &Counting) -> Result<Heads, StoreError> {
        let rows = self
            .conn()?
            .rows(
                counting,
                "SELECT (SELECT COALESCE(MAX(revision), 0) FROM changes), last, hash, journal \
                 FROM audit ORDER BY seq DESC LIMIT 1",
                &[],
            )
            .await?;
        match rows.first() {
            Some(row) => Ok(Heads {
                revision: Revision(row.count(0)?),
                seq: row.count(1)?,
                hash: row.text(2)?,
                journal: row.count(3)?,
            }),
            // No audit record, so no transaction: each commits one.
            None => Ok(Heads { revision: Revision(0), seq: 0, hash: String::new(), journal: 0 }),
        }
    }

    /// Reads all that the snapshot holds.
    pub(super) async fn load(&mut self, counting: &Counting) -> Result<Snapshot, StoreError> {
        let heads = self.read_heads(counting).await?;
        let conn = self.conn()?;
        let mut vaults = HashMap::new();
        let sql = "SELECT parent, MAX(revision) FROM changes WHERE parent IS NOT NULL GROUP BY parent";
        for row in conn.rows(counting, sql, &[]).await? {
            let id: ResourceId = row.text(0)?.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?;
            vaults.insert(id, Revision(row.count(1)?));
        }
        let sql = "SELECT COALESCE(MAX(revision), 0) FROM changes WHERE kind = $1";
        let rows = conn.rows(counting, sql, args![Kind::SigningKey.as_str()]).await?;
        let signing = rows.first().map_or(Ok(0), |row| row.count(0))?;
        let mut snapshot = Snapshot::at(heads.revision, Revision(signing), vaults);
        load::<Tenant>(conn, counting, &mut snapshot).await?;
        load::<Application>(conn, counting, &mut snapshot).await?;
        load::<ServicePrincipal>(conn, counting, &mut snapshot).await?;
        load::<SigningKey>(conn, counting, &mut snapshot).await?;
        load::<Subscription>(conn, counting, &mut snapshot).await?;
        load::<ResourceGroup>(conn, counting, &mut snapshot).await?;
        load::<Machine>(conn, counting, &mut snapshot).await?;
        load::<Vault>(conn, counting, &mut snapshot).await?;
        load::<RoleAssignment>(conn, counting, &mut snapshot).await?;
        load::<RoleDefinition>(conn, counting, &mut snapshot).await?;
        Ok(snapshot)
    }
}

/// Reads one kind, page by page, so that a million records never stand beside themselves as rows.
async fn load<R: Record>(conn: &mut Conn, counting: &Counting, snapshot: &mut Snapshot) -> Result<(), StoreError> {
    let mut after = (String::new(), String::new());
    loop {
        let page: Vec<Row> = conn.rows(counting, R::TABLE.page, args![&after.0, &after.1, PAGE]).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.text(0)?, last.text(1)?);
        for row in &page {
            let record: R = decode(&row.text(0)?, &row.text(1)?, &row.text(2)?)?;
            snapshot.insert(R::noun(Arc::new(record)));
        }
    }
}
