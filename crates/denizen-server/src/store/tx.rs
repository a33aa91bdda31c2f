//! The one write path: a transaction, its change log and its audit record, all or nothing.
//!
//! [`Tx::commit`] publishes the new snapshot before it returns, and runs to its end in a task of its own: a caller
//! that goes away in the middle (a client hung up) leaves neither half a transaction nor a snapshot behind the
//! database. Dropping a [`Tx`] rolls back. Transactions that wait for each other commit together ([`super::writer`]): a
//! later one sees what those before it have written, and is kept only if they are. Tests: the contract suite.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use denizen_keys::mac::TAG_BYTES;
use denizen_wire::{TenantId, UnixTime};
use serde_json::Value;

use super::{
    AuditEvent, Core, Kind, Record, Revision, Snapshot, Store, StoreError, Tampering,
    audit::{self, chain},
    changes::{self, Entry},
    db::{Arg, DbError, Row, args},
    ends::LogHead,
    group::Done,
    live::{Checks, Mark, Pending},
    record::{Kept, content, decode, encode, encode_over, found, logged},
    secrets::Found,
    snapshot::{Applied, Effect},
    tags::{self, RowName},
    turn::{Queue, Turn},
    writer::Writer,
};
use crate::domain::Ctx;

/// Whoever writes waits at most this long for its turn: a database that hangs is told as one that is away.
const TURN: Duration = Duration::from_secs(20);

/// A transaction in progress. Holds the store's only right to write.
///
/// Any error of any method but a refused join token spoils it: what was done so far is not kept, and
/// [`Tx::commit`] says [`StoreError::Aborted`]. That is how PostgreSQL behaves, and it leaves no half-done work to a
/// caller that ignores an error.
pub struct Tx<'s> {
    core: Arc<Core>,
    /// None once it has been handed to the commit.
    writer: Option<Turn>,
    head: LogHead,
    snapshot: Arc<Snapshot>,
    pub(super) ctx: Ctx,
    pub(super) tenant: String,
    /// The revision it will have: every row that it writes says so.
    pub(super) revision: Revision,
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    /// What it has done to the rows.
    rows: Pending,
    /// The secret that it asked for last, with its latest version, until it writes anything.
    pub(super) latest: Option<Found>,
    failed: bool,
    /// Whether sealed bytes were removed that must not survive in the log of the engine.
    pub(super) purged: bool,
    store: PhantomData<&'s Store>,
}

impl<'s> Tx<'s> {
    pub(super) async fn begin(core: Arc<Core>, ctx: &Ctx) -> Result<Self, StoreError> {
        let turn = tokio::time::timeout(TURN, Queue::writer(&core)).await;
        let mut writer = turn.map_err(|_| StoreError::from(DbError::Busy))?;
        let group = writer.join(&core).await?;
        let (head, snapshot) = (group.log.clone(), group.snapshot.clone());
        if let Err(error) = core.schema.refuse_changed() {
            writer.quit(&core).await;
            return Err(error);
        }
        Ok(Self {
            core,
            snapshot,
            writer: Some(writer),
            revision: Revision(head.revision.0 + 1),
            head,
            tenant: ctx.tenant.to_string(),
            ctx: ctx.clone(),
            entries: Vec::new(),
            effects: Vec::new(),
            rows: Pending::default(),
            latest: None,
            failed: false,
            purged: false,
            store: PhantomData,
        })
    }

    /// The directory as it is at this transaction: nobody else can write while it lasts, so what is decided by it
    /// still holds when it commits. What this transaction itself has written is not in it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    /// A record as this transaction sees it.
    pub async fn record<R: Record>(&mut self, key: &R::Key) -> Result<Option<R>, StoreError> {
        Ok(self.kept(key).await?.map(|(record, _)| record))
    }

    /// A record as this transaction sees it, with its body as it is kept.
    async fn kept<R: Record>(&mut self, key: &R::Key) -> Result<Option<(R, String)>, StoreError> {
        let (tenant, id) = (self.tenant.clone(), R::key_text(key));
        // Every row there is has a mark, so this asks nothing of the database.
        if self.checks().absent(RowName { kind: R::KIND, tenant: &tenant, id: &id }).is_ok() {
            return Ok(None);
        }
        let Some(kept) = self.looked_up::<R>(&tenant, &id).await? else { return Ok(None) };
        Ok(Some((decode(&tenant, &id, &kept.body)?, kept.body)))
    }

    async fn looked_up<R: Record>(&mut self, tenant: &str, id: &str) -> Result<Option<Kept>, StoreError> {
        self.read(R::TABLE.select, args![tenant, id], |rows, checks| found::<R>(rows, checks, tenant, id)).await
    }

    /// Writes a record that is not there.
    async fn add<R: Record>(&mut self, record: &R, body: &str) -> Result<(), StoreError> {
        let (tenant, id) = (self.tenant.clone(), R::key_text(&record.key()));
        let name = self.core.live.name(RowName { kind: R::KIND, tenant: &tenant, id: &id });
        let noted = self.rows.get(&name).copied();
        if self.write(R::TABLE.insert, record, body).await? == 1 {
            return Ok(());
        }
        // Somebody has put a row there that has no mark, or a name that must be unique is taken.
        match noted {
            Some(mark) => _ = self.rows.insert(name, mark),
            None => _ = self.rows.remove(&name),
        }
        self.looked_up::<R>(&tenant, &id).await?;
        Err(self.mark_failed(exists(record)))
    }

    /// Writes a record, over the one that is there. Members of it that this release does not know stay as they are.
    pub async fn put<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        self.own(record)?;
        self.names_are_free(record)?;
        let (before, kept) = match self.kept::<R>(&record.key()).await? {
            Some((before, body)) => (Some(before), Some(body)),
            None => (None, None),
        };
        let body = match (&before, &kept) {
            (Some(before), Some(kept)) => encode_over(record, before, kept)?,
            _ => encode(record)?,
        };
        match &before {
            Some(_) => {
                let written = self.write(R::TABLE.upsert, record, &body).await?;
                self.did_all(R::KIND, &R::key_text(&record.key()), written, 1)?;
            }
            None => self.add(record, &body).await?,
        }
        let names = before.as_ref().map_or(&[][..], R::also_known_as);
        if names != record.also_known_as() {
            self.rename(record, names.len()).await?;
        }
        self.note(before.as_ref(), Some(record.clone()))
    }

    /// Writes a record that is not there: [`StoreError::Exists`] when it is, or when a name it takes is taken.
    pub async fn insert<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        self.own(record)?;
        self.names_are_free(record)?;
        // One that is known and not there was taken away.
        if self.kept::<R>(&record.key()).await?.is_some() {
            return Err(self.mark_failed(exists(record)));
        }
        self.add(record, &encode(record)?).await?;
        if !record.also_known_as().is_empty() {
            self.rename(record, 0).await?;
        }
        self.note(None, Some(record.clone()))
    }

    /// Removes a record; gives what it was, or none when it was not there.
    pub async fn remove<R: Record>(&mut self, key: &R::Key) -> Result<Option<R>, StoreError> {
        let Some(before) = self.record::<R>(key).await? else { return Ok(None) };
        let (tenant, id) = (self.tenant.clone(), R::key_text(key));
        let names = before.also_known_as().len();
        if names > 0 {
            let freed = self.execute(FREE_NAMES, args![&tenant, &id]).await?;
            self.did_all(R::KIND, &id, freed, names)?;
        }
        let gone = self.execute(R::TABLE.delete, args![&tenant, &id]).await?;
        self.did_all(R::KIND, &id, gone, 1)?;
        self.removed(RowName { kind: R::KIND, tenant: &tenant, id: &id });
        self.purged |= !R::UNLOGGED.is_empty();
        self.note(Some(&before), None)?;
        Ok(Some(before))
    }

    /// Commits everything with its audit record and publishes it. Who asks next sees it.
    ///
    /// When it errs, nothing was kept; except that a database which vanished during the commit itself may turn out
    /// to have kept it, and then the snapshot has it as soon as the database is back.
    pub(in crate::store) async fn commit(mut self, event: AuditEvent<'_>) -> Result<Revision, StoreError> {
        if self.failed {
            return Err(StoreError::Aborted);
        }
        let Some(writer) = self.writer.take() else { return Err(StoreError::Aborted) };
        self.end(writer, &event).await
    }

    /// Rolls back, and waits until what it has seen is committed.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`] when it was not: whatever was decided by it was decided by nothing.
    pub(super) async fn dismiss(mut self) -> Result<(), StoreError> {
        let Some(mut writer) = self.writer.take() else { return Err(StoreError::Interrupted) };
        let core = self.core.clone();
        let ended = tokio::spawn(async move {
            writer.abandon(&core.statements).await;
            Writer::finish(&core, writer).await
        });
        match ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Interrupted),
            Err(_) => Err(StoreError::Closed),
        }
    }

    async fn end(&mut self, writer: Turn, event: &AuditEvent<'_>) -> Result<Revision, StoreError> {
        let revision = if self.entries.is_empty() { self.head.revision } else { self.revision };
        let ending = PendingCommit {
            core: self.core.clone(),
            revision,
            head: self.head.clone(),
            line: audit::line(&self.ctx, event, (!self.entries.is_empty()).then_some(revision))?,
            at: self.ctx.now,
            tenant: self.ctx.tenant,
            entries: std::mem::take(&mut self.entries),
            effects: std::mem::take(&mut self.effects),
            rows: std::mem::take(&mut self.rows),
            purged: self.purged,
        };
        match tokio::spawn(ending.run(writer)).await {
            Ok(done) => done,
            // The runtime is shutting down. The next one to open the store finds out how it ended.
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Adds to the change log.
    pub(super) fn change(&mut self, entry: Entry, effect: Effect) {
        self.entries.push(entry);
        self.effects.push(effect);
    }

    /// The tag of a row that this transaction is about to write.
    pub(super) fn wrote(&mut self, name: RowName<'_>, content: &[Arg<'_>]) -> [u8; TAG_BYTES] {
        self.latest = None;
        let tag = tags::tag(&self.core.keys, name, self.revision, content);
        self.rows.insert(self.core.live.name(name), Some(Mark::of(&tag)));
        tag
    }

    /// Notes that this transaction has removed a row.
    pub(super) fn removed(&mut self, name: RowName<'_>) {
        self.latest = None;
        self.rows.insert(self.core.live.name(name), None);
    }

    /// [`Self::revision`], as a column.
    pub(super) fn revision_number(&self) -> i64 {
        i64::try_from(self.revision.0).unwrap_or(i64::MAX)
    }

    /// Runs a statement that reads, and `take`s what it gave: by the checks it gets, which know what this transaction has
    /// written itself.
    pub(super) async fn read<T>(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
        take: impl FnOnce(&[Row], Checks<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let rows = self.rows(sql, args).await?;
        take(&rows, self.checks()).map_err(|error| self.mark_failed(error))
    }

    /// Runs a statement that writes; a violated constraint is the caller's to name.
    pub(super) async fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        self.constrained(sql, args, StoreError::from).await
    }

    /// The same, with a meaning for a violated constraint.
    pub(super) async fn constrained(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
        means: impl FnOnce(DbError) -> StoreError,
    ) -> Result<u64, StoreError> {
        let core = self.core.clone();
        let result = match self.writer()?.conn() {
            Ok(conn) => conn.execute(&core.statements, sql, args).await.map_err(means),
            Err(closed) => Err(closed),
        };
        result.map_err(|error| self.mark_failed(error))
    }

    pub(super) async fn rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        let core = self.core.clone();
        let result = match self.writer()?.conn() {
            Ok(conn) => conn.rows(&core.statements, sql, args).await,
            Err(closed) => Err(closed),
        };
        result.map_err(|error| self.mark_failed(error))
    }

    /// Runs a statement that writes and gives rows back.
    pub(super) async fn write_rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        let core = self.core.clone();
        let result = match self.writer()?.conn() {
            Ok(conn) => conn.write_rows(&core.statements, sql, args).await,
            Err(closed) => Err(closed),
        };
        result.map_err(|error| self.mark_failed(error))
    }

    /// A statement that wrote must have touched as many rows as there are: nothing is acknowledged otherwise.
    pub(super) fn did_all(&mut self, kind: Kind, id: &str, did: u64, expected: usize) -> Result<(), StoreError> {
        if did == expected as u64 {
            return Ok(());
        }
        let tenant = self.tenant.clone();
        Err(self.mark_failed(RowName { kind, tenant: &tenant, id }.tampered(Tampering::Unwritten)))
    }

    /// What this transaction is checked by: it knows what it has written itself.
    pub(super) fn checks(&self) -> Checks<'_> {
        let group = self.writer.as_ref().and_then(|writer| writer.group().ok());
        Checks { pending: [group.map(|group| &group.pending), Some(&self.rows)], ..self.core.checks() }
    }

    /// Remembers that a statement failed, so that nothing of the transaction is kept.
    pub(super) fn mark_failed(&mut self, error: StoreError) -> StoreError {
        self.failed = true;
        error
    }

    fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        if self.failed {
            return Err(StoreError::Aborted);
        }
        self.writer.as_deref_mut().ok_or(StoreError::Aborted)
    }

    /// Refuses a record of another tenant.
    fn own<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        if record.tenant() == Some(self.ctx.tenant) {
            return Ok(());
        }
        Err(self.mark_failed(StoreError::OtherTenant { kind: R::KIND, key: R::key_text(&record.key()) }))
    }

    pub(super) async fn write<R: Record>(
        &mut self,
        sql: &'static str,
        record: &R,
        body: &str,
    ) -> Result<u64, StoreError> {
        let (tenant, id, unique) = (self.tenant.clone(), R::key_text(&record.key()), record.unique());
        let name = RowName { kind: R::KIND, tenant: &tenant, id: &id };
        let (tag, revision) = (self.wrote(name, &content(body, unique.as_deref())), self.revision_number());
        let mut args = args![&tenant, &id, body, revision, &tag[..]].to_vec();
        args.extend(unique.as_ref().map(Arg::from));
        self.constrained(sql, &args, |error| violated(error, record)).await
    }

    /// Refuses a name that another record is served under, unless this transaction changes that record: then the table
    /// knows.
    fn names_are_free<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        let own = (self.ctx.tenant, record.key());
        for (tenant, key) in record.rivals(&self.snapshot()) {
            let (of, id) = (tenant.to_string(), R::key_text(&key));
            let name = self.core.live.name(RowName { kind: R::KIND, tenant: &of, id: &id });
            if (tenant, key) != own && !self.rows.contains_key(&name) {
                return Err(self.mark_failed(exists(record)));
            }
        }
        Ok(())
    }

    /// Gives a record's names to it, and to no other.
    async fn rename<R: Record>(&mut self, record: &R, names_before: usize) -> Result<(), StoreError> {
        let (tenant, id) = (self.tenant.clone(), R::key_text(&record.key()));
        if names_before > 0 {
            let freed = self.execute(FREE_NAMES, args![&tenant, &id]).await?;
            self.did_all(R::KIND, &id, freed, names_before)?;
        }
        for name in record.also_known_as() {
            let args = args![&tenant, name, &id];
            let taken = self.constrained(TAKE_NAME, args, |error| violated(error, record)).await?;
            self.did_all(R::KIND, &id, taken, 1)?;
        }
        Ok(())
    }

    fn note<R: Record>(&mut self, before: Option<&R>, after: Option<R>) -> Result<(), StoreError> {
        let Some(key) = after.as_ref().or(before).map(|record| R::key_text(&record.key())) else {
            return Ok(());
        };
        let body = |record: Option<&R>| -> Result<Option<Value>, StoreError> { record.map(logged).transpose() };
        let entry = Entry {
            kind: R::KIND,
            parent: (R::KIND == Kind::Vault).then(|| key.clone()),
            id: key,
            before: body(before)?,
            after: body(after.as_ref())?,
        };
        let after = after.map(|record| record.entity(&self.snapshot()));
        let applied = Applied { kind: R::KIND, tenant: self.ctx.tenant, id: entry.id.clone(), after };
        self.change(entry, Effect::Record(applied));
        Ok(())
    }
}

const FREE_NAMES: &str = "DELETE FROM application_uris WHERE tenant = $1 AND application = $2";
const TAKE_NAME: &str = "INSERT INTO application_uris (tenant, uri, application) VALUES ($1, $2, $3)";

fn exists<R: Record>(record: &R) -> StoreError {
    StoreError::Exists { kind: R::KIND, key: R::key_text(&record.key()) }
}

fn violated<R: Record>(error: DbError, record: &R) -> StoreError {
    if error.is_unique_violation() { exists(record) } else { error.into() }
}

/// A commit on its way: it owns all it needs, so that nobody's going away can stop it half-way.
struct PendingCommit {
    core: Arc<Core>,
    revision: Revision,
    head: LogHead,
    line: String,
    at: UnixTime,
    tenant: TenantId,
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    rows: Pending,
    purged: bool,
}

impl PendingCommit {
    async fn run(self, mut writer: Turn) -> Result<Revision, StoreError> {
        let (core, revision) = (self.core.clone(), self.revision);
        if let Err(error) = self.join(&mut writer).await {
            writer.quit(&core).await;
            return Err(error);
        }
        Writer::finish(&core, writer).await.map(|()| revision)
    }

    /// Writes both logs, and leaves the rest to the group.
    async fn join(self, writer: &mut Writer) -> Result<(), StoreError> {
        let Self { core, revision, head: before, line, at, tenant, entries, effects, rows: pending, purged } = self;
        let statements = &core.statements;
        let (rows, digest) = writer.vouch(&core, revision, &pending)?;
        let changed = changes::append(writer.conn()?, statements, revision, tenant, at, (&digest, &entries)).await?;
        let state = rows.head.as_ref().map(|head| head.state.clone()).unwrap_or_default();
        let start = LogHead { revision, state, total: before.total + changed, ..before.clone() };
        let (row, log) = chain::Row::of_transaction(&start, &core.chain, tenant, line)?;
        chain::append(writer, &core, std::slice::from_ref(&row), &before).await?;
        writer.keep(statements, Done { log, rows, pending, effects, has_purged: purged, is_shipment: false }).await
    }
}
