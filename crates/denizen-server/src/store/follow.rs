//! Following: taking over what other replicas have committed, in order, by the change log.
//!
//! Every transaction that changes something holds the head until it has committed, so revisions commit in their order and
//! none comes late. The log says which rows a revision changed; the rows themselves, each with its tag, say how they are now.
//! What was taken over must have the sum that the head vouches for: a log that leaves a row out, or names another, is
//! found by that, and everything is read afresh then. So is it when the log does not reach back far enough.
//!
//! A replica follows before each transaction of its own, under the head's lock; before it answers by a row that it does not
//! know; when another one rings ([`super::db::Bell`]); and a few times a second in any case.
//!
//! Touches the database. Tests: `contract/replicas.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use denizen_wire::{ResourceId, TenantId};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Core, HeadFault, Kind, Record, Revision, Store, StoreError, Tampering, TrailFault,
    db::{Arg, Bell, Conn, Row, Sql, args},
    head::Head,
    live::{Mark, Pending},
    load::{Loaded, every_record, load},
    one_time::OneTimeRow,
    record::Kept,
    secrets::{SecretRow, VersionRow},
    snapshot::{Applied, Effect, Entity},
    tags::{self, RowName},
    writer::{LogHead, Vouched, Writer},
};
use crate::domain::{
    directory::{Application, ServicePrincipal, SigningKey, Tenant},
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
pub(super) struct Freshness(Mutex<Instant>);

impl Freshness {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// It had everything at this moment.
    fn confirm(&self, at: Instant) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(at);
    }

    fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// A row that the log names.
type Touched = BTreeMap<Kind, BTreeSet<(String, String)>>;

/// What was taken over.
struct Taken {
    pending: Pending,
    effects: Vec<(Revision, Effect)>,
}

impl Writer {
    /// Takes over what the head says that others have committed. A transaction must be open, which sees that head.
    pub(super) async fn follow(&mut self, core: &Core, head: Option<Head>) -> Result<(), StoreError> {
        let known = self.rows_now().head;
        if head == known {
            return Ok(());
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
            return if is_same { self.vouched(head, None) } else { Err(StoreError::Head(HeadFault::Replaced)) };
        }
        let taken = match self.touched(core, from, head.revision).await? {
            Some((touched, effects)) => Some(self.read_touched(core, &head, touched, effects).await?),
            None => None,
        };
        if let Some(Taken { pending, effects }) = taken {
            let sum = core.live.sum_with(&core.keys, self.rows_now().sum, &Pending::default(), &pending);
            if head.vouches(&core.keys, &sum) {
                core.live.publish(&pending);
                let mut next = core.snapshot.load_full();
                for (revision, effects) in by_revision(effects) {
                    next = Arc::new(next.with(revision, effects));
                }
                if next.revision() != head.revision {
                    next = Arc::new(next.with(head.revision, Vec::new()));
                }
                core.snapshot.store(next);
                return self.vouched(head, Some(sum));
            }
            tracing::warn!(
                revision = head.revision.0,
                "the change log does not say all that was changed: reading all rows"
            );
        }
        let keys = core.keys.clone();
        let Loaded { mut snapshot, marks, sum, head: loaded } =
            Box::pin(load(self.conn()?, &core.statements, &keys, &core.live)).await?;
        if loaded.as_ref() != Some(&head) {
            return Err(StoreError::Head(HeadFault::Replaced));
        }
        snapshot.outdate(&core.snapshot.load());
        core.live.replace(marks);
        core.snapshot.store(Arc::new(snapshot));
        self.vouched(head, Some(sum))
    }

    /// Goes on from a head that was followed.
    fn vouched(&mut self, head: Head, sum: Option<super::live::Sum>) -> Result<(), StoreError> {
        let log = LogHead { revision: head.revision, state: head.state.clone(), ..self.log_now() };
        self.adopt(log, |rows| Vouched { head: Some(head), sum: sum.unwrap_or(rows.sum) });
        Ok(())
    }

    /// The rows that were changed after one revision and up to another, and what vaults were touched by which; none when the
    /// log does not have all of it, or it is too much.
    async fn touched(
        &mut self,
        core: &Core,
        from: Revision,
        to: Revision,
    ) -> Result<Option<(Touched, Vec<(Revision, Effect)>)>, StoreError> {
        let sql = "SELECT revision, kind, tenant, id, parent FROM changes WHERE revision > $1 AND revision <= $2 \
                   ORDER BY revision, ordinal LIMIT $3";
        let number = |revision: Revision| i64::try_from(revision.0).unwrap_or(i64::MAX);
        let rows = self.conn()?.rows(&core.statements, sql, args![number(from), number(to), MOST]).await?;
        if rows.len() as i64 >= MOST {
            return Ok(None);
        }
        let (mut touched, mut effects, mut last) = (Touched::new(), Vec::new(), from);
        for row in &rows {
            let revision = Revision(row.count(0)?);
            if revision.0 > last.0 + 1 {
                return Ok(None);
            }
            last = revision;
            let kind = Kind::parse(&row.text(1)?)?;
            touched.entry(kind).or_default().insert((row.text(2)?, row.text(3)?));
            if let (Kind::Secret | Kind::SecretVersion, Some(vault)) = (kind, row.text_or_null(4)?)
                && let Ok(vault) = vault.parse::<ResourceId>()
            {
                effects.push((revision, Effect::InVault(vault)));
            }
        }
        Ok((last == to).then_some((touched, effects)))
    }

    /// Reads these rows as they are now.
    async fn read_touched(
        &mut self,
        core: &Core,
        head: &Head,
        touched: Touched,
        effects: Vec<(Revision, Effect)>,
    ) -> Result<Taken, StoreError> {
        let mut taken = Taken { pending: Pending::default(), effects };
        let mut reading = Reading { core, head, taken: &mut taken };
        // What others share their resource id with comes first.
        for kind in ORDER {
            let Some(rows) = touched.get(&kind) else { continue };
            let rows: Vec<_> = rows.iter().collect();
            for some in rows.chunks(ROWS) {
                reading.kind(self.conn()?, kind, some).await?;
            }
        }
        Ok(taken)
    }
}

/// All kinds, vaults and groups before what lies in them.
const ORDER: [Kind; 13] = [
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
    Kind::JoinToken,
    Kind::Secret,
    Kind::SecretVersion,
];

struct Reading<'a> {
    core: &'a Core,
    head: &'a Head,
    taken: &'a mut Taken,
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
            Kind::JoinToken => {
                let sql = Sql::keys(OneTimeRow::KEYS_SQL, "(tenant, id)", keys.len(), 2);
                for row in conn.rows(&self.core.statements, sql, &pairs()).await? {
                    let row = OneTimeRow::read(&row)?;
                    self.row(row.name()?, &row.content(), row.revision, &row.tag)?;
                }
            }
            Kind::Secret => {
                let names: Vec<_> = keys.iter().filter_map(|(_, id)| id.rsplit_once("/secrets/")).collect();
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
                        let (vault, rest) = id.rsplit_once("/secrets/")?;
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
            | Kind::RoleDefinition => {}
        }
        for (tenant, id) in keys {
            let name = self.core.live.name(RowName { kind, tenant, id });
            self.taken.pending.entry(name).or_insert(None);
        }
        Ok(())
    }

    async fn records<R: Record>(&mut self, conn: &mut Conn, keys: &[&(String, String)]) -> Result<(), StoreError> {
        let args: Vec<Arg<'_>> = keys.iter().flat_map(|(tenant, id)| [tenant.into(), id.into()]).collect();
        let sql = Sql::keys(R::TABLE.all, "(tenant, id)", keys.len(), 2);
        let rows: Vec<Row> = conn.rows(&self.core.statements, sql, &args).await?;
        // What a record shares its resource id with may have come with it.
        let mut among = self.core.snapshot.load_full();
        for (revision, effect) in &self.taken.effects {
            if let Effect::Record(applied) = effect
                && matches!(applied.kind, Kind::Vault | Kind::ResourceGroup)
            {
                among = Arc::new(among.with(*revision, vec![Effect::Record(applied.clone())]));
            }
        }
        let mut found: BTreeMap<(String, String), (Revision, Entity)> = BTreeMap::new();
        for row in &rows {
            let kept = Kept::read::<R>(row)?;
            self.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
            let entity = R::entity_of(&kept, &among)?;
            found.insert((kept.tenant, kept.id), (Revision(kept.revision), entity));
        }
        for key in keys {
            let (tenant, id) = *key;
            let name = self.core.live.name(RowName { kind: R::KIND, tenant, id });
            self.taken.pending.entry(name).or_insert(None);
            let found = found.remove(*key);
            let revision = found.as_ref().map_or(self.head.revision, |(revision, _)| *revision);
            let tenant: TenantId = tenant
                .parse()
                .map_err(|_| StoreError::Corrupt("the change log names a tenant that is none".to_owned()))?;
            let applied = Applied { kind: R::KIND, tenant, id: id.clone(), after: found.map(|(_, entity)| entity) };
            self.taken.effects.push((revision, Effect::Record(applied)));
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

/// Effects by the revision that had them, in order.
fn by_revision(effects: Vec<(Revision, Effect)>) -> BTreeMap<Revision, Vec<Effect>> {
    let mut ordered: BTreeMap<Revision, Vec<Effect>> = BTreeMap::new();
    for (revision, effect) in effects {
        ordered.entry(revision).or_default().push(effect);
    }
    ordered
}

/// The task that follows, and rings for the others. When the last clone is gone, the task ends.
#[derive(Clone)]
pub(super) struct Follower(Option<Arc<Handle>>);

struct Handle {
    stop: Arc<Notify>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Starts the task, where there are others to follow.
    pub(super) fn start(core: &Arc<Core>, bell: Option<Bell>) -> Self {
        let Some(bell) = bell else { return Self(None) };
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(run(core.clone(), bell, stop.clone()));
        Self(Some(Arc::new(Handle { stop, task: tokio::sync::Mutex::new(Some(task)) })))
    }

    pub(super) async fn close(&self) {
        let Some(handle) = &self.0 else { return };
        let Some(task) = handle.task.lock().await.take() else { return };
        handle.stop.notify_one();
        let _ = task.await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

async fn run(core: Arc<Core>, mut bell: Bell, stop: Arc<Notify>) {
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = stop.notified() => return,
            () = bell.rung() => {}
            () = tokio::time::sleep(POLL) => {}
            () = core.committed.notified() => {
                bell.ring().await;
                continue;
            }
            () = core.wanted.notified() => {}
        }
        let followed = tokio::select! {
            () = stop.notified() => return,
            followed = look(&core) => followed,
        };
        match followed {
            Ok(()) => is_failing = false,
            Err(StoreError::Closed) => return,
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(error = %denizen_wire::Causes(&error), "the other replicas' changes cannot be followed; it is tried again");
                }
            }
        }
    }
}

/// Looks whether others have committed something, and takes it over.
async fn look(core: &Arc<Core>) -> Result<(), StoreError> {
    let start = Instant::now();
    let rows = core.readers.rows(&core.statements, "SELECT revision FROM head WHERE id = 1", &[]).await?;
    let revision = rows.first().map_or(Ok(0), |row| row.count(0))?;
    if revision != core.snapshot.load().revision().0 {
        core.writer.lock().await.follow_now(core).await?;
    }
    core.freshness.confirm(start);
    Ok(())
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
    /// in this time.
    pub async fn has(&self, revision: Revision, within: Duration) -> bool {
        if self.revision() >= revision {
            return true;
        }
        let wait = async {
            while self.revision() < revision {
                self.core.wanted.notify_one();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }
}
