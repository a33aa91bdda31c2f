//! Loading: the snapshot, the mark of every row, and the sum over all of them, made of the rows; each row is checked.
//!
//! The snapshot holds records only. Of secrets and of what is consumed once, the rows are read and checked here as well,
//! without what is sealed: a hash stands for it in the tag. Nothing is served of a database in which one row is wrong.
//!
//! Tests: [`super::contract`]; `./bench start` says what it costs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use denizen_wire::ResourceId;

use super::{
    HeadFault, Kind, Record, Revision, Snapshot, StoreError, StoreKeys, Tampering,
    db::{Arg, Conn, Row, Statements, args},
    head::{self, Head},
    live::{Live, Mark, Marks, Sum},
    one_time::OneTimeRow,
    record::{Kept, decode},
    secrets::{SecretRow, VersionRow},
    tags::{self, RowName, shown},
};
use crate::domain::{
    directory::{Application, ServicePrincipal, SigningKey, Tenant},
    resources::{Machine, ResourceGroup, Subscription, Vault},
    roles::{RoleAssignment, RoleDefinition},
};

/// Rows per page.
pub(super) const PAGE: u32 = 4096;

/// `every_record!(with)` is `with!(…)` with each entity that the snapshot holds.
macro_rules! every_record {
    ($with:ident) => {
        $with! {
            Tenant, Application, ServicePrincipal, SigningKey, Subscription, ResourceGroup, Machine, Vault,
            RoleAssignment, RoleDefinition
        }
    };
}

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
    let mut to = Loading {
        keys,
        live,
        snapshot: Snapshot::at(revision, signing, vaults),
        marks: Marks::default(),
        sum: Sum::default(),
    };
    macro_rules! load_each {
        ($($record:ty),*) => { $(records::<$record>(conn, statements, &mut to).await?;)* };
    }
    every_record!(load_each);
    pages(conn, statements, SECRETS, |row| {
        let row = SecretRow::read(row, 0)?;
        to.row(row.name(), &row.content(), row.revision, &row.tag)
    })
    .await?;
    pages(conn, statements, VERSIONS, |row| {
        let row = VersionRow::read_unsealed(row)?;
        to.row(row.name(), &row.content(), row.revision, &row.tag)
    })
    .await?;
    pages(conn, statements, ONE_TIME, |row| {
        let row = OneTimeRow::read(row)?;
        to.row(row.name()?, &row.content(), row.revision, &row.tag)
    })
    .await?;
    let Loading { snapshot, marks, sum, .. } = to;
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
struct Loading<'a> {
    keys: &'a StoreKeys,
    live: &'a Live,
    snapshot: Snapshot,
    marks: Marks,
    sum: Sum,
}

impl Loading<'_> {
    fn row(&mut self, name: RowName<'_>, content: &[Arg<'_>], revision: u64, tag: &[u8]) -> Result<(), StoreError> {
        match Mark::read(tag) {
            Some(mark) if tags::carries(self.keys, name, Revision(revision), content, tag) => {
                self.marks.insert(self.live.name(name), mark);
                self.sum.add(self.keys, mark);
                Ok(())
            }
            _ => Err(name.tampered(Tampering::Forged)),
        }
    }
}

async fn records<R: Record>(conn: &mut Conn, statements: &Statements, to: &mut Loading<'_>) -> Result<(), StoreError> {
    let pages_of = Pages { sql: R::TABLE.page, count: R::TABLE.count, columns: 2, shown: 2, kind: R::KIND };
    pages(conn, statements, pages_of, |row| {
        let kept = Kept::read::<R>(row)?;
        to.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
        let record: R = decode(&kept.tenant, &kept.id, &kept.body)?;
        to.snapshot.insert(R::entity(Arc::new(record)));
        Ok(())
    })
    .await
}

/// A table, as it is read page by page.
#[derive(Clone, Copy)]
struct Pages {
    /// Reads the rows after a key of `columns` texts, its first columns, and takes the length of a page last.
    sql: &'static str,
    count: &'static str,
    columns: usize,
    /// How many of these columns may be shown.
    shown: usize,
    kind: Kind,
}

const SECRETS: Pages =
    Pages { sql: SecretRow::PAGE_SQL, count: "SELECT COUNT(*) FROM secrets", columns: 3, shown: 3, kind: Kind::Secret };
const VERSIONS: Pages = Pages {
    sql: VersionRow::PAGE_SQL,
    count: "SELECT COUNT(*) FROM secret_versions",
    columns: 4,
    shown: 4,
    kind: Kind::SecretVersion,
};
const ONE_TIME: Pages = Pages {
    sql: OneTimeRow::PAGE_SQL,
    count: "SELECT COUNT(*) FROM one_time",
    columns: 3,
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
/// while one is looked at. A row whose key is no text is in no page: so all are counted.
async fn pages(
    conn: &mut Conn,
    statements: &Statements,
    of: Pages,
    mut each: impl FnMut(&Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut each = |row: &Row| each(row).map_err(|error| of.naming(row, error));
    let mut after = vec![String::new(); of.columns];
    let (mut page, mut seen) = (page_after(conn, statements, of.sql, &after).await?, 0);
    while let Some(last) = page.last() {
        seen += page.len() as u64;
        let key = (0..of.columns).map(|column| last.text(column)).collect::<Result<_, _>>();
        after = key.map_err(|error| of.naming(last, error))?;
        let is_last = page.len() < PAGE as usize;
        let look = async { page.iter().try_for_each(&mut each) };
        if is_last {
            look.await?;
            break;
        }
        let (next, looked) = tokio::join!(biased; page_after(conn, statements, of.sql, &after), look);
        looked?;
        page = next?;
    }
    let all = conn.rows(statements, of.count, &[]).await?.first().map_or(Ok(0), |row| row.count(0))?;
    match all == seen {
        true => Ok(()),
        false => Err(StoreError::Corrupt(format!("a {}: its tenant, or another part of its key, is no text", of.kind))),
    }
}

async fn page_after(
    conn: &mut Conn,
    statements: &Statements,
    sql: &'static str,
    after: &[String],
) -> Result<Vec<Row>, StoreError> {
    let mut args: Vec<Arg<'_>> = after.iter().map(Arg::from).collect();
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
        let id: ResourceId = row.text(0)?.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?;
        vaults.insert(id, Revision(row.count(1)?));
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
