//! Following: taking over what other replicas have committed, in order, by the change log.
//!
//! Every transaction that changes something holds the head until it has committed, so revisions commit in their order and
//! none comes late. The log says which rows a revision changed; the rows themselves, each with its tag, say how they are now.
//! What was taken over must have the sum that the head vouches for: a log that leaves a row out, or names another, is
//! found by that, and everything is read afresh then; so it is when the log names what cannot be, or too much. That the rows go
//! on from those that are known is proved by the log's digests ([`Descent`]): a log that was cut is refused.
//!
//! A replica follows before each transaction of its own, under the head's lock; before it answers by a row that it does not
//! know; when another one rings ([`super::db::Bell`]); and a few times a second in any case.
//!
//! Touches the database. Tests: `contract/replicas.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use denizen_wire::{ResourceId, TenantId};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    Core, HeadFault, Kind, Record, Revision, Store, StoreError, Tampering, TrailFault, barred,
    db::{Arg, Bell, Conn, Reader, Row, Sql, args},
    ends::LogHead,
    group::Vouched,
    head::{Descent, Head, SELECT_HEAD},
    live::{Mark, Pending, Sum},
    load::{Loaded, every_record, load},
    one_time::OneTimeRow,
    record::Kept,
    secrets::{SecretRow, VersionRow, parts_of_id},
    snapshot::{Applied, Effect, Entity},
    tags::{self, RowName},
    turn::Turn,
    writer::Writer,
};
use crate::domain::{
    deleted::DeletedObject,
    directory::{Application, ServicePrincipal, SigningKey, Tenant},
    grants::{AppRoleAssignment, PermissionGrant},
    people::{Group, Membership, User},
    resources::{Machine, ResourceGroup, Subscription, Vault},
    roles::{RoleAssignment, RoleDefinition},
};

/// How often it is looked whether others have committed something, whoever rings.
const POLL: Duration = Duration::from_millis(200);
/// More entries than this are not followed: everything is read afresh.
const MOST: i64 = 50_000;
/// Rows that one statement reads.
const ROWS: usize = 200;

/// When this replica last knew that it had everything.
pub(super) struct Freshness(watch::Sender<Instant>);

impl Freshness {
    pub(super) fn new(now: Instant) -> Self {
        Self(watch::Sender::new(now))
    }

    /// It had everything at this moment.
    fn confirm(&self, at: Instant) {
        self.0.send_modify(|last| *last = at.max(*last));
    }

    fn age(&self) -> Duration {
        self.0.borrow().elapsed()
    }
}

/// A row that the log names.
type Touched = BTreeMap<Kind, BTreeSet<(String, String)>>;

/// Rows as they are now.
#[derive(Default)]
struct Read {
    pending: Pending,
    effects: Vec<Effect>,
}

/// What others have committed, as a transaction sees it. It may not be durable yet: who takes it over before it is knows of
/// what a crash of the database undoes.
pub(super) struct Ahead {
    pub(super) head: Head,
    pub(super) sum: Sum,
    pub(super) pending: Pending,
    pub(super) effects: Vec<Effect>,
}

/// What stands in the database beside what this replica knows.
pub(super) enum Found {
    /// The same.
    Known,
    /// What others have committed since.
    Ahead(Ahead),
    /// The same, and the change log does not say all that it is: all rows are to be read.
    Unlisted(Head),
}

/// What is taken over once it is durable.
pub(super) enum Taken {
    Rows(Ahead),
    All(Loaded),
}

/// A look at what stands in the database beside what is known. It changes nothing.
pub(super) struct Look<'a> {
    pub(super) core: &'a Core,
    /// A transaction must be open.
    pub(super) conn: &'a mut Conn,
    pub(super) known: Vouched,
}

impl Look<'_> {
    /// What others have committed, all of it read, in a transaction that only reads.
    pub(super) async fn read(&mut self) -> Result<Option<Taken>, StoreError> {
        match self.find().await? {
            Found::Known => Ok(None),
            Found::Ahead(ahead) => Ok(Some(Taken::Rows(ahead))),
            Found::Unlisted(head) => Ok(Some(Taken::All(self.all(&head).await?))),
        }
    }

    /// What stands there, by the head that this transaction sees.
    pub(super) async fn find(&mut self) -> Result<Found, StoreError> {
        let head = Head::read(self.conn, &self.core.statements).await?;
        self.ahead(head).await
    }

    /// The same of a head that was read.
    pub(super) async fn ahead(&mut self, head: Option<Head>) -> Result<Found, StoreError> {
        let core = self.core;
        let known = self.known.head.clone();
        if head == known {
            return Ok(Found::Known);
        }
        let Some(head) = head else { return Err(StoreError::Head(HeadFault::Missing)) };
        if !head.is_ours(&core.keys) {
            return Err(StoreError::Head(HeadFault::Forged));
        }
        let from = known.as_ref().map_or_else(Revision::default, |known| known.revision);
        if head.revision < from {
            let revisions = from.0 - head.revision.0;
            return Err(core.health.disagrees(TrailFault::Older { records: 0, revisions }));
        }
        if head.revision == from {
            let is_same = known.is_some_and(|known| known.state == head.state);
            // Another has kept the time that it saw.
            if !is_same {
                return Err(StoreError::Head(HeadFault::Replaced));
            }
            let (sum, pending, effects) = (self.known.sum, Pending::default(), Vec::new());
            return Ok(Found::Ahead(Ahead { head, sum, pending, effects }));
        }
        let from = (from, known.as_ref().map_or(&[][..], |known| &known.state));
        let mut descent = Descent::new(&core.keys, from);
        let touched = self.touched(from.0, head.revision, &mut descent).await?;
        if touched.is_none() {
            let log = &mut Reader::Conn(self.conn, &core.statements);
            descent = Descent::read(log, &core.keys, from, head.revision).await?;
        }
        // What this replica knows is part of it, whatever the rows are now.
        descent.admit((head.revision, &head.state)).map_err(|fault| core.health.disagrees(fault))?;
        if let Some(touched) = touched {
            let Read { pending, effects } = self.read_touched(touched).await?;
            let sum = core.live.sum_with(&core.keys, self.known.sum, &Pending::default(), &pending);
            if head.vouches(&core.keys, &sum) {
                return Ok(Found::Ahead(Ahead { head, sum, pending, effects }));
            }
        }
        Ok(Found::Unlisted(head))
    }

    /// Reads all rows, in the transaction that sees this head.
    async fn all(&mut self, head: &Head) -> Result<Loaded, StoreError> {
        let core = self.core;
        tracing::warn!(
            revision = head.revision.0,
            "the change log does not say all that was changed: reading all rows"
        );
        #[cfg(test)]
        core.statements.whole_reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let loaded = Box::pin(load(self.conn, &core.statements, &core.keys, &core.live)).await?;
        if loaded.head.as_ref() == Some(head) { Ok(loaded) } else { Err(StoreError::Head(HeadFault::Replaced)) }
    }

    /// The rows that were changed after one revision and up to another, and the way from the one to the other; none when the
    /// log does not have all of it, names what cannot be, or it is too much.
    async fn touched(
        &mut self,
        from: Revision,
        to: Revision,
        descent: &mut Descent<'_>,
    ) -> Result<Option<Touched>, StoreError> {
        let sql = "SELECT revision, kind, tenant, id, digest FROM changes WHERE revision > $1 AND revision <= $2 \
                   ORDER BY revision, ordinal LIMIT $3";
        let number = |revision: Revision| i64::try_from(revision.0).unwrap_or(i64::MAX);
        let rows = self.conn.rows(&self.core.statements, sql, args![number(from), number(to), MOST]).await?;
        if rows.len() as i64 >= MOST {
            return Ok(None);
        }
        let (mut touched, mut last) = (Touched::new(), from);
        for row in &rows {
            let revision = Revision(row.count(0)?);
            if revision != last {
                if revision.0 != last.0 + 1 {
                    return Ok(None);
                }
                descent.step(revision, row.bytes_or_null(4)?.as_deref());
                last = revision;
            }
            let (tenant, id) = (row.text(2)?, row.text(3)?);
            let Ok(kind) = Kind::parse(&row.text(1)?) else { return Ok(None) };
            if tenant.parse::<TenantId>().is_err() || !can_be(kind, &id) {
                return Ok(None);
            }
            touched.entry(kind).or_default().insert((tenant, id));
        }
        Ok((last == to).then_some(touched))
    }

    /// Reads these rows as they are now.
    async fn read_touched(&mut self, touched: Touched) -> Result<Read, StoreError> {
        let mut taken = Read::default();
        let mut reading = Reading { core: self.core, taken: &mut taken };
        // What others share their resource id with comes first.
        for kind in ORDER {
            let Some(rows) = touched.get(&kind) else { continue };
            let rows: Vec<_> = rows.iter().collect();
            for some in rows.chunks(ROWS) {
                reading.kind(self.conn, kind, some).await?;
            }
        }
        Ok(taken)
    }
}

impl Writer {
    /// Goes on from what others have committed.
    pub(super) fn take_over(&mut self, core: &Core, taken: Taken) {
        let (head, sum) = match taken {
            Taken::Rows(Ahead { head, sum, pending, effects }) => {
                core.live.publish(&pending);
                let known = core.snapshot.load();
                if known.revision() != head.revision {
                    // All as of now: what is cached of a vault that the log names is not used, whatever revision it names.
                    core.snapshot.store(Arc::new(known.with(head.revision, effects)));
                }
                (Some(head), sum)
            }
            Taken::All(Loaded { mut snapshot, marks, sum, head }) => {
                snapshot.outdate(&core.snapshot.load());
                core.live.replace(marks);
                core.snapshot.store(Arc::new(snapshot));
                (head, sum)
            }
        };
        let log = self.log_now();
        let log = match &head {
            Some(head) => LogHead { revision: head.revision, state: head.state.clone(), ..log },
            None => log,
        };
        self.adopt(log, |_| Vouched { head, sum });
    }
}

/// All kinds, vaults and groups before what lies in them.
const ORDER: [Kind; 20] = [
    Kind::Tenant,
    Kind::Subscription,
    Kind::ResourceGroup,
    Kind::Vault,
    Kind::Application,
    Kind::ServicePrincipal,
    Kind::SigningKey,
    Kind::Machine,
    Kind::RoleDefinition,
    Kind::RoleAssignment,
    Kind::User,
    Kind::Group,
    Kind::Membership,
    Kind::AppRoleAssignment,
    Kind::PermissionGrant,
    Kind::DeletedObject,
    Kind::JoinToken,
    Kind::SignIn,
    Kind::Secret,
    Kind::SecretVersion,
];

/// Whether a record of that kind can have that id, as far as reading it needs.
fn can_be(kind: Kind, id: &str) -> bool {
    let has_version = kind == Kind::SecretVersion;
    let is_of_vault =
        || vault_of(id).is_some() && parts_of_id(id).is_some_and(|(_, it)| it.contains('/') == has_version);
    !(has_version || kind == Kind::Secret) || is_of_vault()
}

/// The vault of a secret's or a version's id. Of the id, by which the row is known: another vault that the log names beside it
/// would be anybody's word.
fn vault_of(id: &str) -> Option<ResourceId> {
    parts_of_id(id)?.0.parse().ok()
}

struct Reading<'a> {
    core: &'a Core,
    taken: &'a mut Read,
}

impl Reading<'_> {
    async fn kind(&mut self, conn: &mut Conn, kind: Kind, keys: &[&(String, String)]) -> Result<(), StoreError> {
        macro_rules! record {
            ($($record:ty),*) => {
                $(if kind == <$record as Record>::KIND {
                    return self.records::<$record>(conn, keys).await;
                })*
            };
        }
        every_record!(record);
        let pairs = || keys.iter().flat_map(|(tenant, id)| [Arg::from(tenant), Arg::from(id)]).collect::<Vec<_>>();
        match kind {
            Kind::JoinToken | Kind::SignIn => {
                let sql = Sql::keys(OneTimeRow::KEYS_SQL, "(tenant, id)", keys.len(), 2);
                for row in conn.rows(&self.core.statements, sql, &pairs()).await? {
                    let row = OneTimeRow::read(&row)?;
                    self.row(row.name()?, &row.content(), row.revision, &row.tag)?;
                }
            }
            Kind::Secret => {
                let names: Vec<_> = keys.iter().filter_map(|(_, id)| parts_of_id(id)).collect();
                let args: Vec<Arg<'_>> = keys
                    .iter()
                    .zip(&names)
                    .flat_map(|((tenant, _), (vault, name))| [tenant.into(), (*vault).into(), (*name).into()])
                    .collect();
                let sql = Sql::keys(SecretRow::KEYS_SQL, "(tenant, vault, name)", names.len(), 3);
                for row in conn.rows(&self.core.statements, sql, &args).await? {
                    let row = SecretRow::read(&row, 0)?;
                    self.row(row.name(), &row.content(), row.revision, &row.tag)?;
                }
            }
            Kind::SecretVersion => {
                let names: Vec<_> = keys
                    .iter()
                    .filter_map(|(_, id)| {
                        let (vault, rest) = parts_of_id(id)?;
                        let (name, version) = rest.split_once('/')?;
                        Some((vault, name, version))
                    })
                    .collect();
                let args: Vec<Arg<'_>> = keys
                    .iter()
                    .zip(&names)
                    .flat_map(|((tenant, _), (vault, name, version))| {
                        [tenant.into(), (*vault).into(), (*name).into(), (*version).into()]
                    })
                    .collect();
                let sql = Sql::keys(VersionRow::KEYS_SQL, "(tenant, vault, name, version)", names.len(), 4);
                for row in conn.rows(&self.core.statements, sql, &args).await? {
                    let row = VersionRow::read_unsealed(&row)?;
                    self.row(row.name(), &row.content(), row.revision, &row.tag)?;
                }
            }
            Kind::Tenant
            | Kind::Application
            | Kind::ServicePrincipal
            | Kind::SigningKey
            | Kind::Subscription
            | Kind::ResourceGroup
            | Kind::Machine
            | Kind::Vault
            | Kind::RoleAssignment
            | Kind::RoleDefinition
            | Kind::User
            | Kind::Group
            | Kind::Membership
            | Kind::AppRoleAssignment
            | Kind::PermissionGrant
            | Kind::DeletedObject => {}
        }
        for (tenant, id) in keys {
            let name = self.core.live.name(RowName { kind, tenant, id });
            self.taken.pending.entry(name).or_insert(None);
            if !matches!(kind, Kind::JoinToken | Kind::SignIn) {
                self.taken.effects.extend(vault_of(id).map(Effect::InVault));
            }
        }
        Ok(())
    }

    async fn records<R: Record>(&mut self, conn: &mut Conn, keys: &[&(String, String)]) -> Result<(), StoreError> {
        let args: Vec<Arg<'_>> = keys.iter().flat_map(|(tenant, id)| [tenant.into(), id.into()]).collect();
        let sql = Sql::keys(R::TABLE.all, "(tenant, id)", keys.len(), 2);
        let rows: Vec<Row> = conn.rows(&self.core.statements, sql, &args).await?;
        // What a record shares its resource id with may have come with it.
        let mut among = self.core.snapshot.load_full();
        for effect in &self.taken.effects {
            if let Effect::Record(applied) = effect
                && matches!(applied.kind, Kind::Vault | Kind::ResourceGroup)
            {
                among = Arc::new(among.with(among.revision(), vec![Effect::Record(applied.clone())]));
            }
        }
        let mut found: BTreeMap<(String, String), Entity> = BTreeMap::new();
        for row in &rows {
            let kept = Kept::read::<R>(row)?;
            self.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
            let entity = R::entity_of(&kept, &among)?;
            found.insert((kept.tenant, kept.id), entity);
        }
        for key in keys {
            let (tenant, id) = *key;
            let name = self.core.live.name(RowName { kind: R::KIND, tenant, id });
            self.taken.pending.entry(name).or_insert(None);
            let found = found.remove(*key);
            let tenant: TenantId = tenant
                .parse()
                .map_err(|_| StoreError::Corrupt("the change log names a tenant that is none".to_owned()))?;
            let applied = Applied { kind: R::KIND, tenant, id: id.clone(), after: found };
            self.taken.effects.push(Effect::Record(applied));
        }
        Ok(())
    }

    fn row(&mut self, name: RowName<'_>, content: &[Arg<'_>], revision: u64, tag: &[u8]) -> Result<(), StoreError> {
        match Mark::read(tag) {
            Some(mark) if tags::carries(&self.core.keys, name, Revision(revision), content, tag) => {
                self.taken.pending.insert(self.core.live.name(name), Some(mark));
                Ok(())
            }
            _ => Err(name.tampered(Tampering::Forged)),
        }
    }
}

/// The task that follows and rings for the others, where there are others, and looks whether this server can write. When
/// the last clone is gone, the task ends.
#[derive(Clone)]
pub(super) struct Follower(Arc<Handle>);

struct Handle {
    stop: Arc<Notify>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Starts the task.
    pub(super) fn start(core: &Arc<Core>, following: Option<(Bell, Conn)>) -> Self {
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(run(core.clone(), following, stop.clone()));
        Self(Arc::new(Handle { stop, task: tokio::sync::Mutex::new(Some(task)) }))
    }

    pub(super) async fn close(&self) {
        let Some(task) = self.0.task.lock().await.take() else { return };
        self.0.stop.notify_one();
        let _ = task.await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

async fn run(core: Arc<Core>, following: Option<(Bell, Conn)>, stop: Arc<Notify>) {
    let Some((bell, conn)) = following else {
        return tokio::select! {
            () = stop.notified() => {}
            () = barred::watch(&core) => {}
        };
    };
    let ring = async {
        loop {
            core.committed.notified().await;
            bell.ring().await;
        }
    };
    // Each goes on by itself: a server that hangs for one of them keeps nothing from the others.
    tokio::select! {
        () = stop.notified() => {}
        () = bell.listen(&core.wanted) => {}
        () = ring => {}
        () = follow(&core, conn) => {}
        () = barred::watch(&core) => {}
    }
}

/// Looks when it is asked to, and now and then, until the store is closed.
async fn follow(core: &Arc<Core>, mut conn: Conn) {
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = core.wanted.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        match look(core, &mut conn).await {
            Ok(()) => is_failing = false,
            Err(StoreError::Closed) => return,
            Err(error) => {
                // What is not over by itself is logged where it is met.
                if !std::mem::replace(&mut is_failing, true) && core.health.barred.by().is_none() {
                    tracing::warn!(error = %denizen_wire::Causes(&error), "the other replicas' changes cannot be followed; it is tried again");
                }
            }
        }
    }
}

/// Looks whether others have committed something, and takes it over.
async fn look(core: &Arc<Core>, conn: &mut Conn) -> Result<(), StoreError> {
    let (start, before) = (Instant::now(), core.heads.borrow().revision);
    let rows = core.readers.rows_under(&core.statements, &core.schema, SELECT_HEAD, &[]).await?;
    let there = rows.first().map_or(Ok(None), |row| Head::of_row(row, 0))?;
    let is_known = {
        let known = core.heads.borrow();
        let there = there.as_ref().map(|head| (head.revision, &head.state, head.is_ours(&core.keys)));
        // What anybody may have written there is not what is known, whatever number it has.
        let is_same = there.unwrap_or((Revision(0), &Vec::new(), true)) == (known.revision, &known.state, true);
        // A group that has committed is about to publish it.
        is_same && core.snapshot.load().revision() >= known.revision
    };
    if is_known || take_over(core, conn, (before, there)).await? {
        core.freshness.confirm(start);
    }
    // Or else this replica has gone on meanwhile: the next look tells.
    Ok(())
}

/// Takes over what others have committed, once it is durable; false when this replica has gone on from something else
/// meanwhile that does not have this head. Whoever writes is not kept waiting: what is read is read over another connection.
///
/// `before` is what was known before the head was read: one that is older than that is no head to have.
async fn take_over(
    core: &Arc<Core>,
    conn: &mut Conn,
    (before, there): (Revision, Option<Head>),
) -> Result<bool, StoreError> {
    let known = Turn::next(core).await.rows_now();
    let has = |known: &Vouched| match (&known.head, &there) {
        (Some(known), Some(there)) if there.revision >= before && there.revision < known.revision => true,
        (known, there) => known == there,
    };
    if has(&known) {
        return Ok(true);
    }
    if conn.is_open() {
        conn.rollback(&core.statements).await?;
    }
    conn.begin_to_read().await?;
    let read = async {
        let mut look = Look { core, conn, known: known.clone() };
        Ok(match look.find().await? {
            Found::Known => None,
            Found::Ahead(ahead) => Some(Taken::Rows(ahead)),
            // What it was compared with may have changed meanwhile.
            Found::Unlisted(head) => match Turn::next(core).await.rows_now() == known {
                true => Some(Taken::All(look.all(&head).await?)),
                false => None,
            },
        })
    };
    let read: Result<_, StoreError> = read.await;
    conn.rollback(&core.statements).await?;
    let Some(taken) = read? else { return Ok(has(&Turn::next(core).await.rows_now())) };
    conn.flush(&core.statements).await?;
    let mut ends = core.heads.clone();
    loop {
        let mut writer = Turn::next(core).await;
        ends.mark_unchanged();
        let now = writer.rows_now();
        if now != known {
            return Ok(has(&now));
        }
        if !writer.has_group() {
            writer.ready(core).await?;
            writer.take_over(core, taken);
            return Ok(true);
        }
        // It is left to gather whoever waits, and goes on from what it has found itself.
        drop(writer);
        let _ = tokio::time::timeout(POLL, ends.changed()).await;
    }
}

impl Store {
    /// How long ago this replica last knew that it had everything that others have committed; none where there are no others.
    pub fn staleness(&self) -> Option<Duration> {
        self.core.engine.is_shared().then(|| self.core.freshness.age())
    }

    /// Whether this replica is too far behind to decide anything.
    pub fn is_stale(&self) -> bool {
        match (&self.core.engine, self.staleness()) {
            (super::Engine::Postgres(postgres), Some(age)) => age > postgres.max_staleness,
            _ => false,
        }
    }

    /// What names a revision to a caller, and only this deployment can make.
    pub fn revision_token(&self, revision: Revision) -> String {
        let tag = self.core.keys.head.tag(&[b"revision", &revision.0.to_be_bytes()]);
        format!("{}-{}", revision.0, denizen_keys::b64::url(tag.first_chunk::<12>().map_or(&[][..], |half| half)))
    }

    /// Waits until this replica has a revision, so that who has written it reads what it wrote; false when it does not come
    /// in this time, or the database does not have it.
    pub async fn has(&self, revision: Revision, within: Duration) -> bool {
        if self.revision() >= revision || !self.core.engine.is_shared() {
            return self.revision() >= revision;
        }
        let (asked, mut looks) = (Instant::now(), self.core.freshness.0.subscribe());
        self.core.wanted.notify_one();
        // One that began before this call may have missed it.
        let look = looks.wait_for(|look| *look >= asked || self.revision() >= revision);
        let _ = tokio::time::timeout(within, look).await;
        self.revision() >= revision
    }
}
