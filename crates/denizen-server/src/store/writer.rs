//! The one connection that writes, what it knows of the ends of both logs, and the group of transactions that commits next.
//!
//! Whoever writes joins a [`Group`]: one transaction of the database, with a savepoint for each member. When the last of
//! those who waited for the writer has had its turn, the group commits, once for all of them, and each is answered. So
//! writers share what a commit costs, and one alone waits for nobody. Nothing of a group is published, and nobody is
//! answered by it, before what it wrote, and what it goes on from, is durable.
//!
//! A statement whose outcome is not known (the connection broke while it committed) leaves `head` empty. The next use
//! then reads both ends again. They are what this process knew before, or exactly what it meant to write: then the
//! snapshot is loaded again. Whatever else stands there was written by somebody else, and is never adopted. Tests: the
//! contract suite.

use std::{
    fs::File,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use denizen_wire::UnixTime;
use tokio::sync::{oneshot, watch};

use super::{
    Core, HeadFault, Revision, Snapshot, StoreError, StoreKeys, TrailFault,
    audit::chain::Chain,
    db::{Arg, Conn, DbError, Reader, Sql, Statements, Watch},
    ends::{Ends, LogHead},
    follow::{Found, Look},
    group::{Done, Ending, Group, Vouched},
    head::{Digest, Head},
    live::{Live, Pending},
    load::{Loaded, load},
    turn::{Queue, Turn},
};

/// What could not be overwritten after a purge is tried again no sooner than this.
const FORGET_AGAIN: Duration = Duration::from_secs(5);
/// Members of a group at most: the first of them waits for the last.
const MOST: usize = 256;
/// How often the right to change rows is asked for, when others have changed more than their log says.
const LOCK_TRIES: usize = 3;

pub(super) struct Writer {
    /// None once the store is closed; and with it goes what keeps other processes out.
    conn: Option<(Conn, File)>,
    group: Option<Group>,
    head: Option<LogHead>,
    /// What a write meant to leave whose outcome is not known.
    doubt: Option<Meant>,
    /// The last head that is known to be committed, for whoever wants to know.
    told: watch::Sender<LogHead>,
    keys: StoreKeys,
    chain: Chain,
    schema: Watch,
    rows: Vouched,
    is_shared: bool,
    /// When it was last tried to overwrite what was purged, while something of it is left.
    unforgotten: Option<Instant>,
}

/// Both ends as a write meant to leave them.
struct Meant {
    log: LogHead,
    rows: Vouched,
}

impl Writer {
    pub(super) fn new(opened: (Conn, File, Watch), keys: StoreKeys, chain: Chain, is_shared: bool) -> Self {
        let (conn, lock, schema) = opened;
        let (conn, told, rows) = (Some((conn, lock)), watch::Sender::default(), Vouched::default());
        Self {
            conn,
            group: None,
            head: None,
            doubt: None,
            told,
            keys,
            chain,
            schema,
            rows,
            is_shared,
            unforgotten: None,
        }
    }

    /// The last head that is known to be committed, and those that follow.
    pub(super) fn heads(&self) -> watch::Receiver<LogHead> {
        self.told.subscribe()
    }

    /// Commits what is under way, closes the connection, then lets other processes in.
    pub(super) async fn close(&mut self, core: Option<&Core>) {
        if let Some(core) = core {
            self.commit_group(core).await;
        }
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

    /// Opens a savepoint for a member that changes rows, in the group that commits next.
    pub(super) async fn join(&mut self, core: &Core) -> Result<&Group, StoreError> {
        self.open_group(core).await?;
        for tries in 1.. {
            if !core.engine.is_shared() || self.group()?.has_lock {
                break;
            }
            let locked = self.lock_head(core).await.inspect_err(|error| core.health.barred.note(error));
            if matches!(locked, Ok(true)) {
                break;
            }
            self.break_off(&core.statements).await;
            locked?;
            if tries == LOCK_TRIES {
                return Err(StoreError::Interrupted);
            }
            // All rows are to be read, which takes long: not while nobody else can write.
            self.follow_now(core).await?;
            self.open_group(core).await?;
        }
        self.open_member(core).await
    }

    /// The same for one that writes to this replica's chain alone: it keeps no other replica waiting.
    ///
    /// What is shipped repeats the state that this replica knows. Where the rows are older, or others, that would bear
    /// witness to a state that is gone: nothing is shipped, and the spool keeps it. A head that is not ours says nothing of
    /// the rows, and the audit goes on.
    pub(super) async fn join_to_ship(&mut self, core: &Core) -> Result<&Group, StoreError> {
        self.open_group(core).await?;
        if core.engine.is_shared()
            && !self.group()?.has_lock
            && let Err(error) = self.refuse_older_rows(core).await
        {
            core.health.barred.note(&error);
            self.break_off(&core.statements).await;
            return Err(error);
        }
        self.open_member(core).await
    }

    async fn refuse_older_rows(&mut self, core: &Core) -> Result<(), StoreError> {
        let there = Head::read(self.conn()?, &core.statements).await?;
        core.statements.audit_reads.fetch_add(1, Ordering::Relaxed);
        let there = there.filter(|head| head.is_ours(&core.keys));
        let (Some(known), Some(there)) = (&self.rows.head, there) else { return Ok(()) };
        let revisions = known.revision.0.saturating_sub(there.revision.0);
        if revisions > 0 {
            return Err(core.health.disagrees(TrailFault::Older { records: 0, revisions }));
        }
        let is_other = there.revision == known.revision && there.state != known.state;
        if is_other { Err(StoreError::Head(HeadFault::Replaced)) } else { Ok(()) }
    }

    /// Takes the right to change rows, which all replicas share, and goes on from what others have committed. That may not be
    /// durable yet, so it is taken over when this group is. False when that is too much to be read now.
    async fn lock_head(&mut self, core: &Core) -> Result<bool, StoreError> {
        // Locked within a savepoint, it would be let go of with what is rolled back to that.
        if std::mem::take(&mut self.group.as_mut().ok_or(StoreError::Aborted)?.has_savepoint) {
            self.execute(&core.statements, "RELEASE SAVEPOINT member", &[]).await?;
        }
        let head = Head::read_locked(self.conn()?, &core.statements).await?;
        let known = self.rows.clone();
        let mut look = Look { core, conn: self.conn()?, known: known.clone() };
        let ahead = match look.ahead(head).await? {
            Found::Known => None,
            Found::Ahead(ahead) => Some(ahead),
            Found::Unlisted(_) => return Ok(false),
        };
        let group = self.group.as_mut().ok_or(StoreError::Aborted)?;
        group.lock(known, core.snapshot.load_full(), ahead);
        Ok(true)
    }

    /// Takes over what others have committed, and reads something at that very moment.
    pub(super) async fn at_one_moment<T>(
        &mut self,
        core: &Core,
        read: impl AsyncFnOnce(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.end_what_was_left(core).await;
        self.conn()?.begin_to_read().await?;
        let done = async {
            let known = self.rows.clone();
            let taken = Look { core, conn: self.conn()?, known }.read().await?;
            Ok((taken, read(self.conn()?).await?))
        };
        let done: Result<_, StoreError> = done.await;
        self.rollback(&core.statements).await;
        let (taken, read) = done?;
        if let Some(taken) = taken {
            self.flush(&core.statements).await?;
            self.take_over(core, taken);
        }
        Ok(read)
    }

    /// Reads something at one moment, and waits until it is durable.
    pub(super) async fn for_good<T>(
        &mut self,
        core: &Core,
        read: impl AsyncFnOnce(&mut Conn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ready(core).await?;
        self.conn()?.begin_to_read().await?;
        let read = read(self.conn()?).await;
        self.rollback(&core.statements).await;
        let read = read?;
        self.flush(&core.statements).await?;
        Ok(read)
    }

    /// Waits until all that is visible is durable: others let go of the head before their changes are.
    pub(super) async fn flush(&mut self, statements: &Statements) -> Result<(), StoreError> {
        Ok(self.conn()?.flush(statements).await?)
    }

    /// Takes over what others have committed.
    pub(super) async fn follow_now(&mut self, core: &Core) -> Result<(), StoreError> {
        let followed = async {
            self.ready(core).await?;
            self.at_one_moment(core, async |_| Ok(())).await
        };
        followed.await.inspect_err(|error| core.health.barred.note(error))
    }

    /// Whether this server can write: its chain is its own, both logs end where it left them, and the rows go on from what
    /// it knows.
    pub(super) async fn prove(&mut self, core: &Core) -> Result<(), StoreError> {
        self.commit_group(core).await;
        let known = self.head.take();
        if let Err(error) = self.settled(core).await {
            self.head = known;
            return Err(error);
        }
        if !self.is_shared {
            return Ok(());
        }
        self.conn()?.begin_to_read().await?;
        let looked = async {
            let known = self.rows.clone();
            Look { core, conn: self.conn()?, known }.find().await
        };
        let looked = looked.await;
        self.rollback(&core.statements).await;
        looked.map(drop)
    }

    /// Where both logs end, as far as is known.
    pub(super) fn log_now(&self) -> LogHead {
        self.told.borrow().clone()
    }

    /// Goes on from what others have committed.
    pub(super) fn adopt(&mut self, log: LogHead, rows: impl FnOnce(&Vouched) -> Vouched) {
        self.rows = rows(&self.rows);
        self.advance(log);
    }

    async fn open_group(&mut self, core: &Core) -> Result<(), StoreError> {
        self.end_what_was_left(core).await;
        if self.group.is_none() {
            let begun = async {
                let log = self.settled(core).await?;
                let writes_before = core.statements.writes.load(Ordering::Relaxed);
                self.conn()?.begin(&core.statements).await?;
                Ok((log, writes_before))
            };
            let (log, writes_before) = begun.await.inspect_err(|error| core.health.barred.note(error))?;
            // Nobody can change it while this lasts. The audit goes on whatever the schema is; who changes rows asks.
            if let Err(error) = self.note_schema().await {
                self.rollback(&core.statements).await;
                return Err(error);
            }
            self.group = Some(Group::new(log, self.rows.clone(), core.snapshot.load_full(), writes_before));
        }
        Ok(())
    }

    async fn open_member(&mut self, core: &Core) -> Result<&Group, StoreError> {
        let writes_before_member = core.statements.writes.load(Ordering::Relaxed);
        if !self.group()?.has_savepoint
            && let Err(error) = self.execute(&core.statements, core.statements.savepoint(), &[]).await
        {
            // Nothing that follows would be kept, and none of those that wait would hear of it.
            self.break_off(&core.statements).await;
            return Err(error);
        }
        let group = self.group.as_mut().ok_or(StoreError::Closed)?;
        (group.has_member, group.has_savepoint) = (true, true);
        group.writes_before_member = writes_before_member;
        Ok(group)
    }

    /// Whether somebody has joined a group that has not committed.
    pub(super) fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// The group that a member is in.
    pub(super) fn group(&self) -> Result<&Group, StoreError> {
        self.group.as_ref().ok_or(StoreError::Aborted)
    }

    /// Takes a member's work into its group.
    pub(super) async fn keep(&mut self, statements: &Statements, done: Done) -> Result<(), StoreError> {
        let has_savepoint = self.conn()?.release_member(statements).await?;
        let group = self.group.as_mut().ok_or(StoreError::Aborted)?;
        (group.has_member, group.has_savepoint) = (false, has_savepoint);
        group.keep(statements, done);
        Ok(())
    }

    /// Undoes what the member has done. Where the engine has ended the whole transaction, the group is over.
    pub(super) async fn abandon(&mut self, statements: &Statements) {
        if self.group.as_ref().is_none_or(|group| !group.has_member) {
            return;
        }
        // The savepoint stays, for the next.
        match self.execute(statements, "ROLLBACK TO SAVEPOINT member", &[]).await {
            // Said when it is so: whoever waits for the answer may go away.
            Ok(_) => _ = self.group.as_mut().map(|group| group.has_member = false),
            Err(error) => {
                tracing::debug!(%error, "a transaction was ended by the database");
                self.break_off(statements).await;
            }
        }
    }

    /// Ends the group, of which nothing was kept.
    async fn break_off(&mut self, statements: &Statements) {
        if let Some(group) = &mut self.group {
            group.ending = Some(Ending::Broken);
        }
        self.rollback(statements).await;
        self.answer(&Err(StoreError::Interrupted));
    }

    /// Whether everything that was begun is over, or somebody is on the way who ends it.
    pub(super) fn is_settled(&self) -> bool {
        match &self.group {
            Some(group) => group.has_committer,
            None => self.conn.as_ref().is_none_or(|(conn, _)| !conn.is_open()),
        }
    }

    /// Undoes what the member has done, and leaves no transaction open that nobody will end.
    pub(super) async fn quit(&mut self, core: &Core) {
        self.end_what_was_left(core).await;
        if self.group.as_ref().is_some_and(|group| !group.has_committer) {
            self.commit_group(core).await;
        }
    }

    /// Commits the group when nobody waits to join it, or leaves that to a task that comes after those who wait. Then waits
    /// for the outcome.
    pub(super) async fn finish(core: &Arc<Core>, mut writer: Turn) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        let Some(group) = writer.group.as_mut() else { return Err(StoreError::Interrupted) };
        group.waiting.push(tell);
        if core.queue.is_empty() || group.waiting.len() >= MOST {
            writer.commit_group(core).await;
        } else if !std::mem::replace(&mut group.has_committer, true) {
            let core = core.clone();
            // The writer is given in the order in which it was asked for.
            tokio::spawn(async move { core.writer.lock().await.commit_group(&core).await });
        }
        drop(writer);
        told.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Commits the group, if there is one, publishes it and answers its members.
    async fn commit_group(&mut self, core: &Core) {
        self.end_what_was_left(core).await;
        let Some(group) = self.group.as_mut() else { return };
        if !group.has_written {
            group.ending = Some(Ending::Unwritten);
            return self.end_unwritten(core).await;
        }
        group.ending = Some(Ending::Kept);
        let (log, rows) = (group.log.clone(), group.rows.clone());
        let base = group.base.clone();
        let outcome = match self.write_head(&core.statements, base.as_ref(), &rows).await {
            Ok(()) => self.commit(&core.statements, log, rows).await,
            Err(error) => {
                self.rollback(&core.statements).await;
                Err(error)
            }
        };
        self.publish(core, &outcome).await;
    }

    /// Ends a group that has written nothing; may be begun again.
    async fn end_unwritten(&mut self, core: &Core) {
        self.rollback(&core.statements).await;
        let outcome = self.hold_to_base(core).await;
        self.answer(&outcome);
    }

    /// Makes sure of what members have seen that wrote nothing, and takes it over.
    async fn hold_to_base(&mut self, core: &Core) -> Result<(), StoreError> {
        if !self.group()?.is_ahead {
            return Ok(());
        }
        self.flush(&core.statements).await?;
        let group = self.group()?;
        group.publish(core);
        let (log, rows) = (group.log.clone(), group.rows.clone());
        self.adopt(log, |_| rows);
        Ok(())
    }

    /// What a group leaves behind whose member, or whose committer, went away in the middle.
    async fn end_what_was_left(&mut self, core: &Core) {
        if let Ok(conn) = self.conn() {
            conn.settle().await;
        }
        match self.group.as_ref().and_then(|group| group.ending) {
            None => {
                self.abandon(&core.statements).await;
                if self.group.is_none() {
                    // Begun by whoever went away before there was a group, or while it read.
                    self.rollback(&core.statements).await;
                }
            }
            Some(Ending::Unwritten) => self.end_unwritten(core).await,
            Some(Ending::Broken) => self.break_off(&core.statements).await,
            Some(Ending::Kept) => {
                let Some(group) = &self.group else { return };
                let (log, rows) = (group.log.clone(), group.rows.clone());
                let outcome = self.settle_rows(&core.statements, log, rows, StoreError::Interrupted).await;
                self.publish(core, &outcome).await;
            }
        }
    }

    async fn publish(&mut self, core: &Core, outcome: &Result<(), StoreError>) {
        match outcome {
            Ok(()) => _ = self.group.as_ref().map(|group| group.publish(core)),
            Err(error) => core.health.barred.note(error),
        }
        let has_purged = self.group.as_ref().is_some_and(|group| group.has_purged);
        if has_purged && outcome.is_err() && self.unforgotten.is_none() {
            // It may have been kept all the same.
            self.unforgotten = Some(Instant::now());
        }
        if outcome.is_ok() && self.group.as_ref().is_some_and(|group| group.has_changed) {
            core.committed.notify_one();
        }
        if let Some(group) = self.group.as_ref().filter(|group| !group.has_changed) {
            // So were those that began and ended it.
            let writes = core.statements.writes.load(Ordering::Relaxed).saturating_sub(group.writes_before);
            core.statements.audit_statements.fetch_add(writes, Ordering::Relaxed);
        }
        if has_purged && outcome.is_ok() {
            // Whoever purged hears of it when nothing is left.
            self.forget().await;
        }
        self.answer(outcome);
        if self.unforgotten.is_some_and(|since| since.elapsed() > FORGET_AGAIN) {
            self.forget().await;
        }
    }

    /// Has what was purged overwritten; what somebody still reads, later.
    async fn forget(&mut self) {
        let Ok(conn) = self.conn() else { return };
        let is_done = conn.forget().await;
        if !is_done && self.unforgotten.is_none() {
            tracing::info!("what was purged stays in the write-ahead log until whoever reads the database now is done");
        }
        self.unforgotten = (!is_done).then(Instant::now);
    }

    /// Ends the group, and tells its members how.
    fn answer(&mut self, outcome: &Result<(), StoreError>) {
        for member in self.group.take().into_iter().flat_map(|group| group.waiting) {
            // Whoever has gone away does not ask any more.
            let _ = member.send(outcome.clone());
        }
    }

    /// The ends of both logs, with no transaction open and the snapshot up to date.
    pub(super) async fn ready(&mut self, core: &Core) -> Result<LogHead, StoreError> {
        self.commit_group(core).await;
        self.settled(core).await
    }

    async fn settled(&mut self, core: &Core) -> Result<LogHead, StoreError> {
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
            Some(last) if last.is_ours(&self.chain) => last.head.clone(),
            Some(last) => return Err(core.health.disagrees(TrailFault::EndForged { seq: last.head.seq })),
            None => LogHead::default(),
        };
        if self.is_shared {
            // What a commit in doubt did to the rows is followed, as what others did. None comes later: the session that had
            // begun it is over ([`Conn::claim`]).
            let is_kept = self.doubt.as_ref().is_some_and(|meant| end.is_at(&meant.log));
            if is_kept {
                self.flush(&core.statements).await?;
            }
            return match is_kept || end.is_at(&known) {
                true => Ok(LogHead { revision: known.revision, state: known.state, ..end }),
                false => Err(core.health.disagrees(TrailFault::ChangedByAnother { seq: known.seq })),
            };
        }
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

    /// What will vouch for the rows once the member of the group that has done this has committed.
    pub(super) fn vouch(
        &self,
        core: &Core,
        revision: Revision,
        pending: &Pending,
    ) -> Result<(Vouched, Digest), StoreError> {
        let group = self.group()?;
        let sum = core.live.sum_with(&core.keys, group.rows.sum, &group.pending, pending);
        let over = group.rows.head.as_ref();
        let (head, digest) = Head::next(&core.keys, over, revision, core.seen.next(over), &sum);
        Ok((Vouched { head: Some(head), sum }, digest))
    }

    /// The time that was seen last, as the head has it.
    pub(super) fn seen(&self) -> Option<UnixTime> {
        self.rows.head.as_ref().map(|head| head.seen).filter(|seen| seen.0 != 0)
    }

    /// Writes the time that was seen last into the head, where there is one.
    pub(super) async fn keep_seen(core: &Arc<Core>) -> Result<(), StoreError> {
        let mut writer = Queue::writer(core).await;
        let log = writer.join(core).await?.log.clone();
        if let Err(error) = core.schema.refuse_changed() {
            writer.quit(core).await;
            return Err(error);
        }
        if writer.group()?.rows.head.is_none() {
            writer.abandon(&core.statements).await;
        } else {
            let kept = async {
                let (rows, _) = writer.vouch(core, log.revision, &Pending::default())?;
                let done = Done {
                    log,
                    rows,
                    pending: Pending::default(),
                    effects: Vec::new(),
                    has_purged: false,
                    is_shipment: false,
                };
                writer.keep(&core.statements, done).await
            };
            if let Err(error) = kept.await {
                writer.quit(core).await;
                return Err(error);
            }
        }
        Self::finish(core, writer).await
    }

    /// Writes the head of the rows, in the transaction that changes them.
    async fn write_head(
        &mut self,
        statements: &Statements,
        over: Option<&Head>,
        rows: &Vouched,
    ) -> Result<(), StoreError> {
        let Some(head) = rows.head.as_ref().filter(|head| over != Some(*head)) else { return Ok(()) };
        head.write(self.conn()?, statements, over).await
    }

    pub(super) async fn begin(&mut self, statements: &Statements) -> Result<(), StoreError> {
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
    async fn note_schema(&mut self) -> Result<(), StoreError> {
        let version = self.conn()?.schema_version().await?;
        self.schema.note(version);
        Ok(())
    }

    /// Ends what may be open. An error means that nothing was open, or that the connection is gone: the next
    /// statement tells.
    pub(super) async fn rollback(&mut self, statements: &Statements) {
        if let Ok(conn) = self.conn()
            && conn.is_open()
            && let Err(error) = conn.rollback(statements).await
        {
            tracing::debug!(%error, "nothing was rolled back");
        }
    }

    /// Commits, with what vouches for the rows then. When the engine's answer is an error, whether it committed is found
    /// out by reading both ends.
    pub(super) async fn commit(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        rows: Vouched,
    ) -> Result<(), StoreError> {
        match self.conn()?.commit(statements).await {
            Ok(()) => {
                self.rows = rows;
                self.advance(expected);
                Ok(())
            }
            Err(error) => self.settle_rows(statements, expected, rows, error.into()).await,
        }
    }

    /// The same, of a write that changed no row of the directory.
    #[cfg(test)]
    pub(super) async fn settle(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.settle_rows(statements, expected, self.rows.clone(), error).await
    }

    /// Finds out whether a write that failed was kept after all: it was if both ends are those that it meant to leave.
    async fn settle_rows(
        &mut self,
        statements: &Statements,
        expected: LogHead,
        rows: Vouched,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.in_doubt(expected.clone(), rows.clone());
        self.rollback(statements).await;
        let ends = match self.read_ends(statements).await {
            Ok(ends) => ends,
            // Not known is not "nothing was kept": who repeated it might do it twice.
            Err(StoreError::Interrupted) => return Err(DbError::Lost.into()),
            Err(error) => return Err(error),
        };
        let end = ends.last.filter(|last| last.is_ours(&self.chain)).map(|last| last.head).unwrap_or_default();
        // The head may be another's by now; what is in this replica's chain was written together with the rows.
        let is_of_chain = self.is_shared && !expected.is_at(&self.told.borrow());
        let is_kept = match is_of_chain {
            true => end.is_at(&expected),
            false => (self.is_shared || end == expected) && ends.head == rows.head,
        };
        if !is_kept {
            return Err(error);
        }
        self.flush(statements).await?;
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
        let chain = self.chain.clone();
        Ends::read(&mut Reader::Conn(self.conn()?, statements), &chain).await
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
