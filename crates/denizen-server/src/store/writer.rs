//! The one connection that writes, and what it knows of the ends of both logs.
//!
//! A statement whose outcome is not known (the connection broke while it committed) leaves `head` empty; then the
//! next use reads them again, and reloads the snapshot when the database is ahead of it. Tests: the contract suite.

use std::{fs::File, sync::Arc};

use denizen_keys::mac::MacKey;
use denizen_wire::UnixTime;
use tokio::sync::watch;

use super::{
    Core, HeadFault, Revision, Snapshot, StoreError, StoreKeys, TrailFault,
    audit::chain::StoredRow,
    db::{Arg, Conn, Sql, Statements},
    head::Head,
    live::{Live, Pending, Sum},
    load::{Loaded, load},
};

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
    rows: Vouched,
}

/// What vouches for the rows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vouched {
    sum: Sum,
    /// None before the first commit.
    head: Option<Head>,
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
        let rows = Vouched::default();
        Self { conn: Some((conn, lock)), open: false, head: None, told: watch::Sender::default(), chain, rows }
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
        let found = Head::read(self.conn()?, &core.statements).await?;
        if head.revision != core.snapshot.load().revision() {
            tracing::warn!(revision = head.revision.0, "the database is ahead of the snapshot: loading it again");
            let mut snapshot = self.load(&core.statements, &core.keys, &core.live).await?;
            snapshot.outdate(&core.snapshot.load());
            core.snapshot.store(Arc::new(snapshot));
        } else if found != self.rows.head {
            // One that this process meant to write, in a commit that ended in doubt and changed no row.
            match &found {
                Some(head) if head.vouches(&core.keys, &self.rows.sum) => self.rows.head = found,
                Some(_) | None => return Err(StoreError::Head(HeadFault::Replaced)),
            }
        }
        self.advance(head.clone());
        Ok(head)
    }

    /// What will vouch for the rows once a transaction has committed.
    pub(super) fn vouch(&self, core: &Core, revision: Revision, pending: &Pending) -> Vouched {
        let sum = core.live.sum_with(&core.keys, self.rows.sum, pending);
        let seen = core.seen.next(self.rows.head.as_ref());
        Vouched { head: Some(Head::new(&core.keys, revision, seen, &sum)), sum }
    }

    /// The time that was seen last, as the head has it.
    pub(super) fn seen(&self) -> Option<UnixTime> {
        self.rows.head.as_ref().map(|head| head.seen).filter(|seen| seen.0 != 0)
    }

    /// Writes the time that was seen last into the head, where there is one.
    pub(super) async fn keep_seen(&mut self, core: &Core) -> Result<(), StoreError> {
        let LogHead { revision, .. } = self.ready(core).await?;
        if self.rows.head.is_none() {
            return Ok(());
        }
        let rows = self.vouch(core, revision, &Pending::default());
        if let Err(error) = self.write_head(&core.statements, &rows).await {
            // Whether it was kept is read before the next write.
            self.head = None;
            return Err(error);
        }
        self.vouched(rows);
        Ok(())
    }

    /// Writes the head of the rows, in the transaction that changes them.
    pub(super) async fn write_head(&mut self, statements: &Statements, rows: &Vouched) -> Result<(), StoreError> {
        let over = self.rows.head.clone();
        let Some(head) = rows.head.as_ref().filter(|head| over.as_ref() != Some(*head)) else { return Ok(()) };
        head.write(self.conn()?, statements, over.as_ref()).await
    }

    /// The transaction has committed.
    pub(super) fn vouched(&mut self, rows: Vouched) {
        self.rows = rows;
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
        let conn = self.conn()?;
        let revision = Head::read(conn, statements).await?.map_or_else(Revision::default, |head| head.revision);
        let sql =
            "SELECT seq, last, tenant, at, revision, total, spool, hash, tag FROM audit ORDER BY seq DESC LIMIT 1";
        let rows = conn.rows(statements, sql, &[]).await?;
        match rows.first() {
            Some(row) => {
                let last = StoredRow::read(row)?;
                if !last.is_ours(&self.chain) {
                    return Err(TrailFault::EndForged { seq: last.head.seq }.into());
                }
                Ok(LogHead { revision, ..last.head })
            }
            // No audit record, so no transaction: each commits one.
            None => Ok(LogHead { revision, ..LogHead::default() }),
        }
    }

    /// Reads all that the snapshot holds, and the mark of every row; refuses what is not as it was written.
    pub(super) async fn load(
        &mut self,
        statements: &Statements,
        keys: &StoreKeys,
        live: &Live,
    ) -> Result<Snapshot, StoreError> {
        let Loaded { snapshot, marks, sum, head } = load(self.conn()?, statements, keys, live).await?;
        live.replace(marks);
        self.rows = Vouched { sum, head };
        Ok(snapshot)
    }

    /// What vouches now, for a test to put back.
    #[cfg(test)]
    pub(super) fn rows_of_test(&self) -> Vouched {
        self.rows.clone()
    }

    /// As after a commit whose answer was lost.
    #[cfg(test)]
    pub(super) fn forget_of_test(&mut self, rows: Vouched) {
        self.head = None;
        self.rows = rows;
    }
}
