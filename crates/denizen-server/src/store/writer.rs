//! The one connection that writes, and what it knows of the ends of both logs.
//!
//! A statement whose outcome is not known (the connection broke while it committed) leaves `head` empty. The next use
//! then reads both ends again. They are what this process knew before, or exactly what it meant to write: then the
//! snapshot is loaded again. Whatever else stands there was written by somebody else, and is never adopted. Tests: the
//! contract suite.

use std::{fs::File, sync::Arc};

use denizen_wire::UnixTime;
use tokio::sync::watch;

use super::{
    Core, HeadFault, Revision, Snapshot, StoreError, StoreKeys, TrailFault,
    audit::chain::StoredRow,
    db::{Arg, Conn, Reader, Sql, Statements, Watch},
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
    /// What a write meant to leave whose outcome is not known.
    doubt: Option<Meant>,
    /// The last head that is known to be committed, for whoever wants to know.
    told: watch::Sender<LogHead>,
    keys: StoreKeys,
    schema: Watch,
    rows: Vouched,
}

/// What vouches for the rows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vouched {
    sum: Sum,
    /// None before the first commit.
    pub(super) head: Option<Head>,
}

/// Both ends as a write meant to leave them.
struct Meant {
    log: LogHead,
    rows: Vouched,
}

/// The head of the rows and the last row of the chain, read at one moment.
pub(super) struct Ends {
    pub(super) head: Option<Head>,
    pub(super) last: Option<StoredRow>,
}

impl Ends {
    pub(super) async fn read(db: &mut Reader<'_>) -> Result<Self, StoreError> {
        let sql = "SELECT h.revision, h.seen, h.state, h.tag, \
                   a.seq, a.last, a.tenant, a.at, a.revision, a.total, a.spool, a.state, a.hash, a.tag \
                   FROM (SELECT 1) AS one LEFT JOIN head AS h ON h.id = 1 LEFT JOIN \
                   (SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
                   ORDER BY seq DESC LIMIT 1) AS a ON 1 = 1";
        let rows = db.rows(sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(Self { head: None, last: None }) };
        let last = row.int_or_null(4)?.map(|_| StoredRow::read_any_at(row, 4)).transpose()?;
        Ok(Self { head: Head::of_row(row, 0)?, last })
    }

    /// The head, which must be ours where there is one.
    pub(super) fn own_head(&self, keys: &StoreKeys) -> Result<Option<&Head>, StoreError> {
        match &self.head {
            Some(head) if head.is_ours(keys) => Ok(Some(head)),
            Some(_) => Err(StoreError::Head(HeadFault::Forged)),
            None if self.last.as_ref().is_none_or(|last| last.head.state.is_empty()) => Ok(None),
            None => Err(StoreError::Head(HeadFault::Missing)),
        }
    }

    /// Whether the rows are those at the end of the trail.
    pub(super) fn belong_together(&self) -> Result<(), TrailFault> {
        let rows = self.head.as_ref().map_or((Revision::default(), &[][..]), |head| (head.revision, &head.state));
        let trail =
            self.last.as_ref().map_or((Revision::default(), &[][..]), |last| (last.head.revision, &last.head.state));
        if rows == trail { Ok(()) } else { Err(TrailFault::OfOtherRows { rows: rows.0.0, trail: trail.0.0 }) }
    }
}

/// Where both logs end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogHead {
    pub(super) revision: Revision,
    /// Of all rows at that revision, as the head has it; empty before the first commit.
    pub(super) state: Vec<u8>,
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
        Self {
            revision: Revision(0),
            state: Vec::new(),
            seq: 0,
            hash: String::new(),
            spool: 0,
            total: 0,
            at: UnixTime(0),
        }
    }
}

impl Writer {
    pub(super) fn new(conn: Conn, lock: File, schema: Watch, keys: StoreKeys) -> Self {
        let (conn, told, rows) = (Some((conn, lock)), watch::Sender::default(), Vouched::default());
        Self { conn, open: false, head: None, doubt: None, told, keys, schema, rows }
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
        let head = self.resolve(core).await?;
        self.doubt = None;
        self.advance(head.clone());
        Ok(head)
    }

    /// Finds out how a write ended whose outcome is not known: it was kept, or it was not. Whatever else is there is
    /// refused, each time until it is as it was.
    async fn resolve(&mut self, core: &Core) -> Result<LogHead, StoreError> {
        let ends = self.read_ends(&core.statements).await?;
        let known = self.told.borrow().clone();
        let end = match &ends.last {
            Some(last) if last.is_ours(&self.keys.chain) => last.head.clone(),
            Some(last) => return Err(core.health.disagrees(TrailFault::EndForged { seq: last.head.seq })),
            None => LogHead::default(),
        };
        if end == known && ends.head == self.rows.head {
            return Ok(known);
        }
        let Some(meant) = self.doubt.as_ref().filter(|meant| meant.log == end) else {
            return Err(match end == known {
                true => StoreError::Head(HeadFault::Replaced),
                false => core.health.disagrees(TrailFault::ChangedByAnother { seq: known.seq }),
            });
        };
        if meant.rows.head != ends.head {
            return Err(StoreError::Head(HeadFault::Replaced));
        }
        let (log, rows) = (meant.log.clone(), meant.rows.clone());
        if log.revision != known.revision {
            tracing::warn!(revision = log.revision.0, "a commit was kept whose answer was lost: loading it");
            let mut snapshot = self.load(&core.statements, &core.live, rows.head.as_ref()).await?;
            snapshot.outdate(&core.snapshot.load());
            core.snapshot.store(Arc::new(snapshot));
        }
        self.rows = rows;
        Ok(log)
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
        self.refuse_changed_schema().await?;
        let rows = self.vouch(core, revision, &Pending::default());
        match self.write_head(&core.statements, &rows).await {
            Ok(()) => self.rows = rows,
            // It is known that nothing was written.
            Err(error @ StoreError::Head(_)) => return Err(error),
            Err(error) => {
                // Whether it was kept is read before the next write.
                let log = self.told.borrow().clone();
                self.in_doubt(log, rows);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the head of the rows, in the transaction that changes them.
    pub(super) async fn write_head(&mut self, statements: &Statements, rows: &Vouched) -> Result<(), StoreError> {
        let over = self.rows.head.clone();
        let Some(head) = rows.head.as_ref().filter(|head| over.as_ref() != Some(*head)) else { return Ok(()) };
        head.write(self.conn()?, statements, over.as_ref()).await
    }

    pub(super) async fn begin(&mut self, statements: &Statements) -> Result<(), StoreError> {
        self.open = true;
        self.conn()?.begin(statements).await?;
        // Nobody can change it while this transaction lasts.
        match self.refuse_changed_schema().await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.rollback(statements).await;
                Err(error)
            }
        }
    }

    /// Refuses to go on when somebody has changed the schema.
    pub(super) async fn refuse_changed_schema(&mut self) -> Result<(), StoreError> {
        self.note_schema().await?;
        self.schema.refuse_changed()
    }

    /// Notes the schema that the connection has now.
    pub(super) async fn note_schema(&mut self) -> Result<(), StoreError> {
        let version = self.conn()?.schema_version().await?;
        self.schema.note(version);
        Ok(())
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

    /// Commits, with what vouches for the rows then. When the engine's answer is an error, whether it committed is found
    /// out by reading both ends.
    pub(super) async fn commit(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        rows: Vouched,
    ) -> Result<(), StoreError> {
        match self.execute(statements, "COMMIT", &[]).await {
            Ok(_) => {
                self.open = false;
                self.rows = rows;
                self.advance(expected);
                Ok(())
            }
            Err(error) => self.settle_rows(statements, expected, rows, error).await,
        }
    }

    /// Finds out whether a write that failed, and changed no row of the directory, was kept after all.
    pub(super) async fn settle(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.settle_rows(statements, expected, self.rows.clone(), error).await
    }

    /// The same of any write: it was kept if both ends are those that it meant to leave.
    async fn settle_rows(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        rows: Vouched,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.in_doubt(expected.clone(), rows.clone());
        self.rollback(statements).await;
        let ends = self.read_ends(statements).await.map_err(|_| error.clone())?;
        let is_kept = ends.last.is_some_and(|last| last.is_ours(&self.keys.chain) && last.head == expected)
            && ends.head == rows.head;
        if !is_kept {
            return Err(error);
        }
        self.doubt = None;
        self.rows = rows;
        self.advance(expected);
        Ok(())
    }

    fn in_doubt(&mut self, log: LogHead, rows: Vouched) {
        self.head = None;
        self.doubt = Some(Meant { log, rows });
    }

    /// What vouches for the rows now.
    pub(super) fn rows_now(&self) -> Vouched {
        self.rows.clone()
    }

    /// Goes on from a head that is committed.
    pub(super) fn advance(&mut self, head: LogHead) {
        self.told.send_replace(head.clone());
        self.head = Some(head);
    }

    async fn read_ends(&mut self, statements: &Statements) -> Result<Ends, StoreError> {
        Ends::read(&mut Reader::Conn(self.conn()?, statements)).await
    }

    /// Reads all that the snapshot holds, and the mark of every row; refuses what is not as it was written. `head` is what
    /// must vouch for it.
    pub(super) async fn load(
        &mut self,
        statements: &Statements,
        live: &Live,
        head: Option<&Head>,
    ) -> Result<Snapshot, StoreError> {
        let keys = self.keys.clone();
        let loaded = load(self.conn()?, statements, &keys, live).await?;
        self.refuse_changed_schema().await?;
        if loaded.head.as_ref() != head {
            return Err(StoreError::Head(HeadFault::Replaced));
        }
        let Loaded { snapshot, marks, sum, head } = loaded;
        live.replace(marks);
        self.rows = Vouched { sum, head };
        Ok(snapshot)
    }

    /// As after a commit whose answer was lost: `known` is what was known before it.
    #[cfg(test)]
    pub(super) fn forget_of_test(&mut self, known: (LogHead, Vouched)) {
        let meant = (self.told.borrow().clone(), std::mem::replace(&mut self.rows, known.1));
        self.told.send_replace(known.0);
        self.in_doubt(meant.0, meant.1);
    }
}
