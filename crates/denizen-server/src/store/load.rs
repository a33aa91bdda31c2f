//! Loading: the snapshot, the mark of every row, and the sum over all of them, made of the rows; each row is checked.
//!
//! The snapshot takes of records what it needs, and of others nothing. Of secrets and of what is consumed once, the rows are read and checked here as well,
//! without what is sealed: a hash stands for it in the tag. Nothing is served of a database in which one row is wrong.
//!
//! Tests: [`super::contract`]; `./bench start` says what it costs.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SendError, SyncSender, channel, sync_channel},
    },
};

use denizen_wire::{ResourceId, TenantId};

use super::{
    HeadFault, Kind, Record, Revision, Snapshot, StoreError, StoreKeys, Tampering,
    db::{Arg, Conn, Row, Statements, args},
    head::{self, Head},
    live::{Gathering, Live, Mark, Marks, Name, Namer, Sum},
    one_time::OneTimeRow,
    record::Kept,
    secrets::{SecretRow, VersionRow},
    snapshot::{Entity, Many},
    tags::{self, RowName, shown},
};
use crate::domain::{
    deleted::DeletedObject,
    directory::{Application, ServicePrincipal, SigningKey, Tenant},
    grants::{AppRoleAssignment, PermissionGrant},
    people::{Group, Membership, User},
    resources::{Machine, ResourceGroup, Subscription, Vault},
    roles::{RoleAssignment, RoleDefinition},
};

/// Rows per page: enough that a statement costs nothing beside them, and few enough that those that wait to be checked take
/// a few MiB.
pub(super) const PAGE: u32 = 1024;

/// `every_record!(with)` is `with!(…)` with each entity that the snapshot holds.
macro_rules! every_record {
    ($with:ident) => {
        $with! {
            Tenant, Application, SigningKey, Subscription, ResourceGroup, Vault, ServicePrincipal, Machine,
            RoleAssignment, RoleDefinition, User, Group, Membership, AppRoleAssignment, PermissionGrant, DeletedObject
        }
    };
}

pub(super) use every_record;

/// What was read.
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) marks: Marks,
    pub(super) sum: Sum,
    /// None in an empty database.
    pub(super) head: Option<Head>,
}

/// Reads everything, and refuses it when a row or the head is not as it was written.
pub(super) async fn load(
    conn: &mut Conn,
    statements: &Statements,
    keys: &StoreKeys,
    live: &Live,
) -> Result<Loaded, StoreError> {
    let head = Head::read(conn, statements).await?;
    let revision = head.as_ref().map_or_else(Revision::default, |head| head.revision);
    let (signing, vaults) = revisions(conn, statements).await?;
    let mut to = Loading::new(keys, live, Snapshot::at(revision, signing, vaults));
    macro_rules! load_each {
        ($($record:ty),*) => { $(records::<$record>(conn, statements, &mut to).await?;)* };
    }
    every_record!(load_each);
    pages(conn, statements, SECRETS, &mut to, |row, rows| {
        let row = SecretRow::read(row, 0)?;
        rows.row(row.name(), &row.content(), row.revision, &row.tag)
    })
    .await?;
    pages(conn, statements, VERSIONS, &mut to, |row, rows| {
        let row = VersionRow::read_unsealed(row)?;
        rows.row(row.name(), &row.content(), row.revision, &row.tag)
    })
    .await?;
    pages(conn, statements, ONE_TIME, &mut to, |row, rows| {
        let row = OneTimeRow::read(row)?;
        rows.row(row.name()?, &row.content(), row.revision, &row.tag)
    })
    .await?;
    let Loading { mut snapshot, many, gathering, .. } = to;
    // In this order: what the marks have as room to grow is free for what the snapshot is made of.
    let (marks, sum) = gathering.finish();
    snapshot.fill(many);
    match &head {
        None if marks.is_empty() => {}
        None => return Err(StoreError::Head(HeadFault::Missing)),
        Some(head) if head.vouches(keys, &sum) => {}
        Some(_) => return Err(head::name_rows(conn, statements, RECORDS).await?),
    }
    names(conn, statements, &snapshot).await?;
    Ok(Loaded { snapshot, marks, sum, head })
}

macro_rules! keys_of_each {
    ($($record:ty),*) => { &[$((<$record as Record>::KIND, <$record as Record>::TABLE.keys)),*] };
}
/// The kinds of records, and what reads the keys and revisions of all rows of each.
const RECORDS: &[(Kind, &str)] = every_record!(keys_of_each);

/// A load on its way.
struct Loading {
    keys: StoreKeys,
    namer: Namer,
    snapshot: Snapshot,
    many: Many,
    gathering: Gathering,
    checkers: Checkers,
}

impl Loading {
    fn new(keys: &StoreKeys, live: &Live, snapshot: Snapshot) -> Self {
        let (gathering, checkers) = (Gathering::default(), Checkers::default());
        Self { keys: keys.clone(), namer: live.namer(), snapshot, many: Many::default(), gathering, checkers }
    }

    /// What a page is checked with.
    fn rows(&self) -> Rows {
        Rows {
            keys: self.keys.clone(),
            namer: self.namer.clone(),
            marks: Vec::new(),
            sum: Sum::default(),
            entities: Vec::new(),
        }
    }

    /// Takes what was found in a page.
    fn take(&mut self, rows: Rows) {
        self.gathering.add(&rows.marks, rows.sum);
        for (tenant, entity) in rows.entities {
            if let Some(entity) = self.many.take(tenant, entity) {
                self.snapshot.insert(tenant, entity);
            }
        }
    }
}

/// Whether a row has a number that says where it lies.
fn has_places(conn: &Conn) -> bool {
    matches!(conn, Conn::Sqlite(_))
}

/// What is found in the rows of one page.
struct Rows {
    keys: StoreKeys,
    namer: Namer,
    marks: Vec<(Name, Mark)>,
    sum: Sum,
    entities: Vec<(TenantId, Entity)>,
}

impl Rows {
    fn row(&mut self, name: RowName<'_>, content: &[Arg<'_>], revision: u64, tag: &[u8]) -> Result<(), StoreError> {
        match Mark::read(tag) {
            Some(mark) if tags::carries(&self.keys, name, Revision(revision), content, tag) => {
                self.marks.push((self.namer.name(name), mark));
                self.sum.add(&self.keys, mark);
                Ok(())
            }
            _ => Err(name.tampered(Tampering::Forged)),
        }
    }
}

/// The threads that check pages while the next ones are read. They are started when there is a whole page of something:
/// a small directory needs none.
#[derive(Default)]
struct Checkers {
    jobs: Option<SyncSender<Job>>,
    done: Option<Receiver<Done>>,
    /// Pages that were given and not taken back.
    out: usize,
    /// The number of the next page.
    next: usize,
}

/// Checks one page.
type Check = Box<dyn FnOnce() -> Result<Rows, StoreError> + Send>;
/// A page to check, with its number.
type Job = (usize, Check);
/// A page that was checked.
type Done = (usize, Result<Rows, StoreError>);

impl Checkers {
    /// More than a few are of no use: one thread reads what they check.
    const MOST: usize = 4;

    /// Has a page checked; gives those that are done meanwhile. Waits while every thread has one and one waits.
    fn give(&mut self, check: Check, is_whole: bool) -> Vec<Done> {
        let number = self.next;
        self.next += 1;
        if self.jobs.is_none() && is_whole {
            self.start();
        }
        let Some(jobs) = &self.jobs else { return vec![(number, check())] };
        match jobs.send((number, check)) {
            Ok(()) => self.out += 1,
            // No thread is there.
            Err(SendError((number, check))) => return vec![(number, check())],
        }
        let done: Vec<Done> = self.done.iter().flat_map(Receiver::try_iter).collect();
        self.out -= done.len();
        done
    }

    /// Waits for those that are still being checked.
    fn rest(&mut self) -> Vec<Done> {
        let done: Vec<Done> = self.done.iter().flat_map(Receiver::iter).take(self.out).collect();
        self.out = 0;
        done
    }

    fn start(&mut self) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(Self::MOST);
        let ((jobs, todo), (tell, done)) = (sync_channel::<Job>(1), channel());
        let todo = Arc::new(Mutex::new(todo));
        for _ in 0..threads {
            let (todo, tell) = (Arc::clone(&todo), tell.clone());
            let work = move || {
                loop {
                    // Whoever waits for a page holds the lock; it is free while one is checked.
                    let job = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, check)) = job else { return };
                    if tell.send((number, check())).is_err() {
                        return;
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().name("load".to_owned()).spawn(work) {
                tracing::warn!(%error, "a thread to check rows was not started: the start takes longer");
            }
        }
        (self.jobs, self.done) = (Some(jobs), Some(done));
    }
}

async fn records<R: Record>(conn: &mut Conn, statements: &Statements, to: &mut Loading) -> Result<(), StoreError> {
    let place = 5 + usize::from(R::TABLE.has_unique);
    let (sql, by) = match has_places(conn) {
        true => (R::TABLE.page_by_place, By::Place(place)),
        false => (R::TABLE.page, By::Key(2)),
    };
    let pages_of = Pages { sql, by, count: R::TABLE.count, shown: 2, kind: R::KIND };
    // Vaults and resource groups come before what shares its resource id with them.
    let among = to.snapshot.clone();
    pages(conn, statements, pages_of, to, move |row, rows| {
        let kept = Kept::read::<R>(row)?;
        rows.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
        let entity = R::entity_of(&kept, &among)?;
        let tenant = kept.tenant.parse().map_err(|_| StoreError::Corrupt("its tenant is no id".to_owned()))?;
        rows.entities.push((tenant, entity));
        Ok(())
    })
    .await
}

/// A table, as it is read page by page.
#[derive(Clone, Copy)]
struct Pages {
    /// Reads the rows after one, and takes the length of a page last.
    sql: &'static str,
    by: By,
    count: &'static str,
    /// How many of these columns may be shown.
    shown: usize,
    kind: Kind,
}

/// What a page begins after.
#[derive(Clone, Copy)]
enum By {
    /// The first columns, so many texts.
    Key(usize),
    /// The number in this column.
    Place(usize),
}

const SECRETS: Pages = Pages {
    sql: SecretRow::PAGE_SQL,
    by: By::Key(3),
    count: "SELECT COUNT(*) FROM secrets",
    shown: 3,
    kind: Kind::Secret,
};
const VERSIONS: Pages = Pages {
    sql: VersionRow::PAGE_SQL,
    by: By::Key(4),
    count: "SELECT COUNT(*) FROM secret_versions",
    shown: 4,
    kind: Kind::SecretVersion,
};
const ONE_TIME: Pages = Pages {
    sql: OneTimeRow::PAGE_SQL,
    by: By::Key(3),
    count: "SELECT COUNT(*) FROM one_time",
    // The third is the hash.
    shown: 2,
    kind: Kind::JoinToken,
};

impl Pages {
    /// Names the row whose columns cannot be read.
    fn naming(self, row: &Row, error: StoreError) -> StoreError {
        let StoreError::Corrupt(why) = error else { return error };
        let name = (0..self.shown).map(|at| row.text(at).map_or_else(|_| "?".to_owned(), |text| shown(&text)));
        StoreError::Corrupt(format!("{} {}: {why}", self.kind, name.collect::<Vec<_>>().join(" ")))
    }
}

/// Reads a table page by page, so that a million rows never stand beside what is made of them. The next page is on its way
/// while others are checked. A row whose key is no text is in no page: so all are counted. Of several wrong rows the first
/// is named.
async fn pages(
    conn: &mut Conn,
    statements: &Statements,
    of: Pages,
    to: &mut Loading,
    each: impl Fn(&Row, &mut Rows) -> Result<(), StoreError> + Send + Sync + 'static,
) -> Result<(), StoreError> {
    let each = Arc::new(each);
    let mut after = match of.by {
        By::Key(columns) => After::Key(vec![String::new(); columns]),
        By::Place(_) => After::Place(i64::MIN),
    };
    let (mut seen, mut wrong) = (0, None::<(usize, StoreError)>);
    loop {
        let page = page_after(conn, statements, of.sql, &after).await?;
        let Some(last) = page.last() else { break };
        seen += page.len() as u64;
        let last_one = match of.by {
            By::Key(columns) => (0..columns).map(|column| last.text(column)).collect::<Result<_, _>>().map(After::Key),
            By::Place(column) => last.int(column).map(After::Place),
        };
        let (next, is_whole) = (last_one.map_err(|error| of.naming(last, error)), page.len() == PAGE as usize);
        let (each, mut rows) = (Arc::clone(&each), to.rows());
        let check = move || {
            page.iter().try_for_each(|row| each(row, &mut rows).map_err(|error| of.naming(row, error)))?;
            Ok(rows)
        };
        let done = to.checkers.give(Box::new(check), is_whole);
        wrong = taken(to, done, wrong);
        match next {
            Ok(next) if is_whole && wrong.is_none() => after = next,
            Ok(_) => break,
            Err(error) => {
                // What is wrong before it is found by then.
                let number = to.checkers.next;
                wrong = wrong.or(Some((number, error)));
                break;
            }
        }
    }
    let rest = to.checkers.rest();
    if let Some((_, error)) = taken(to, rest, wrong) {
        return Err(error);
    }
    let all = conn.rows(statements, of.count, &[]).await?.first().map_or(Ok(0), |row| row.count(0))?;
    match all == seen {
        true => Ok(()),
        false => Err(StoreError::Corrupt(format!("a {}: its tenant, or another part of its key, is no text", of.kind))),
    }
}

/// Takes what was found in pages; gives what is wrong in the first page that has anything wrong.
fn taken(to: &mut Loading, done: Vec<Done>, wrong: Option<(usize, StoreError)>) -> Option<(usize, StoreError)> {
    let mut wrong = wrong;
    for (number, rows) in done {
        match rows {
            Ok(rows) => to.take(rows),
            Err(error) if wrong.as_ref().is_none_or(|(first, _)| number < *first) => wrong = Some((number, error)),
            Err(_) => {}
        }
    }
    wrong
}

/// The row that a page begins after.
enum After {
    Key(Vec<String>),
    Place(i64),
}

async fn page_after(
    conn: &mut Conn,
    statements: &Statements,
    sql: &'static str,
    after: &After,
) -> Result<Vec<Row>, StoreError> {
    let mut args: Vec<Arg<'_>> = match after {
        After::Key(key) => key.iter().map(Arg::from).collect(),
        After::Place(place) => vec![(*place).into()],
    };
    args.push(i64::from(PAGE).into());
    conn.rows(statements, sql, &args).await
}

/// The last change to a signing key, and of anything in each vault. The change log carries no tag, and these only tell
/// what a cache of this process may still hold.
async fn revisions(
    conn: &mut Conn,
    statements: &Statements,
) -> Result<(Revision, HashMap<ResourceId, Revision>), StoreError> {
    let mut vaults = HashMap::new();
    let sql = "SELECT parent, MAX(revision) FROM changes WHERE parent IS NOT NULL GROUP BY parent";
    for row in conn.rows(statements, sql, &[]).await? {
        // One that is none is no vault's, and nothing is cached of it.
        if let Ok(vault) = row.text(0)?.parse::<ResourceId>() {
            vaults.insert(vault, Revision(row.count(1)?));
        }
    }
    let sql = "SELECT COALESCE(MAX(revision), 0) FROM changes WHERE kind = $1";
    let rows = conn.rows(statements, sql, args![Kind::SigningKey.as_str()]).await?;
    Ok((Revision(rows.first().map_or(Ok(0), |row| row.count(0))?), vaults))
}

/// The table of names must say what the applications say, no more and no less.
async fn names(conn: &mut Conn, statements: &Statements, snapshot: &Snapshot) -> Result<(), StoreError> {
    let wrong = |tenant: &str, application: &str| {
        Err(RowName { kind: Kind::Application, tenant, id: application }.tampered(Tampering::Names))
    };
    let mut said = HashSet::new();
    for row in conn.rows(statements, "SELECT tenant, uri, application FROM application_uris", &[]).await? {
        said.insert((row.text(0)?, row.text(1)?, row.text(2)?));
    }
    for tenant in snapshot.tenant_ids() {
        for application in snapshot.applications(tenant) {
            let id = application.client_id.to_string();
            for uri in &application.identifier_uris {
                if !said.remove(&(tenant.to_string(), uri.clone(), id.clone())) {
                    return wrong(&tenant.to_string(), &id);
                }
            }
        }
    }
    match said.iter().next() {
        Some((tenant, uri, application)) => wrong(tenant, &format!("{} ({})", shown(application), shown(uri))),
        None => Ok(()),
    }
}
