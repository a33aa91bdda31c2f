//! Whether a database has the schema that the migrations make, and no other.
//!
//! Whoever can write the database can put a view in a table's place, which answers each look otherwise, or a trigger that
//! keeps a row from being removed. So every object is compared with those of a database that the same migrations made in
//! memory, or in a schema of their own that is rolled back. And a number that each change of the schema moves is looked at
//! while the server runs.
//!
//! Touches the database. Tests: the contract suite.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;
use sqlx::{PgConnection, Row as _};

use super::{
    super::{SchemaFault, StoreError, tags::shown},
    DbError, sqlite,
};

/// Every object: kind and name, and the table it is of with the statement that made it.
#[derive(PartialEq, Eq)]
pub(in crate::store) struct Objects(BTreeMap<(String, String), (String, String)>);

/// What the engine itself adds for its own planning, exactly as it does.
const ENGINES_OWN: [&str; 3] = [
    "CREATE TABLE sqlite_sequence(name,seq)",
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
];

/// Kind, name, table and definition of each object of the schema in use; without that schema's name, so that two can be
/// compared.
const POSTGRES_OBJECTS: &str = "WITH here AS (SELECT current_schema()::regnamespace AS oid), objects AS (
    SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' ELSE 'relation ' || c.relkind::TEXT END AS kind,
        c.relname::TEXT AS name, c.relname::TEXT AS of_table,
        concat_ws(' ', c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
            CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), l.collname, a.attnotnull,
                a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum)
             FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) AS made_by
    FROM pg_class c, here WHERE c.relnamespace = here.oid AND c.relkind NOT IN ('i', 'I', 't')
    UNION ALL
    SELECT 'index', c.relname::TEXT, t.relname::TEXT, concat_ws(' ', pg_get_indexdef(c.oid), i.indisvalid, i.indisready)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid, here
    WHERE t.relnamespace = here.oid
    UNION ALL
    SELECT 'constraint', concat_ws('.', t.relname, k.conname), coalesce(t.relname::TEXT, ''),
        concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated)
    FROM pg_constraint k LEFT JOIN pg_class t ON t.oid = k.conrelid, here WHERE k.connamespace = here.oid
    UNION ALL
    SELECT 'trigger', concat_ws('.', t.relname, g.tgname), t.relname::TEXT, concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled)
    FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid, here
    WHERE t.relnamespace = here.oid AND (NOT g.tgisinternal OR g.tgenabled <> 'O')
    UNION ALL
    SELECT 'rule', concat_ws('.', t.relname, r.rulename), t.relname::TEXT, pg_get_ruledef(r.oid)
    FROM pg_rewrite r JOIN pg_class t ON t.oid = r.ev_class, here
    WHERE t.relnamespace = here.oid AND r.rulename <> '_RETURN'
    UNION ALL
    SELECT 'policy', concat_ws('.', t.relname, p.polname), t.relname::TEXT, ''
    FROM pg_policy p JOIN pg_class t ON t.oid = p.polrelid, here WHERE t.relnamespace = here.oid
    UNION ALL
    SELECT 'function', f.oid::regprocedure::TEXT, '', '' FROM pg_proc f, here WHERE f.pronamespace = here.oid
    UNION ALL
    SELECT 'operator', o.oid::regoperator::TEXT, '', '' FROM pg_operator o, here WHERE o.oprnamespace = here.oid
    UNION ALL
    SELECT 'table that inherits', concat_ws('.', t.relname, h.inhrelid::regclass::TEXT), t.relname::TEXT, ''
    FROM pg_inherits h JOIN pg_class t ON t.oid = h.inhparent, here WHERE t.relnamespace = here.oid AND t.relkind = 'r'
)
SELECT kind, name, of_table, replace(made_by, quote_ident(current_schema()) || '.', '') FROM objects";

/// Whether the schema is the one that it was: a digest over what every statement that changes a schema changes. It is
/// moved by a change that was undone as well, but for those that only touch a table's or an index's own row in the catalog.
/// Such a row is looked at by what it says, for rewriting a table writes it anew. What a vacuum, `ANALYZE`, `REINDEX` and another
/// replica's start do moves nothing here.
const POSTGRES_DIGEST: &str = "WITH here AS MATERIALIZED (SELECT oid, reltype, relkind, concat_ws(' ', 'c', oid, relname, relkind,
        relpersistence, relrowsecurity, relforcerowsecurity, relhasrules, relispartition, relam) AS said
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
SELECT sha256(convert_to(string_agg(said, E'\\n' ORDER BY said COLLATE \"C\"), 'UTF8')) FROM (
    SELECT said FROM here
    UNION ALL SELECT concat_ws(' ', 's', current_schema(), current_setting('session_replication_role'))
    UNION ALL SELECT concat_ws(' ', 'a', a.attrelid, a.attnum, a.xmin)
        FROM pg_attribute a JOIN here ON here.oid = a.attrelid WHERE a.attnum > 0 AND here.relkind NOT IN ('i', 'I')
    UNION ALL SELECT concat_ws(' ', 'y', y.oid, y.xmin) FROM pg_type y JOIN here ON here.reltype = y.oid
    UNION ALL SELECT concat_ws(' ', 'i', i.indexrelid, i.indisunique, i.indisvalid, i.indisready, i.indislive, i.indimmediate,
            i.indkey, i.indoption, i.indclass, i.indcollation, i.indexprs, i.indpred)
        FROM pg_index i JOIN here ON here.oid = i.indrelid
    UNION ALL SELECT concat_ws(' ', 'k', k.oid, k.xmin) FROM pg_constraint k JOIN here ON here.oid = k.conrelid
    UNION ALL SELECT concat_ws(' ', 'd', d.oid, d.xmin) FROM pg_attrdef d JOIN here ON here.oid = d.adrelid
    UNION ALL SELECT concat_ws(' ', 't', t.oid, t.xmin) FROM pg_trigger t JOIN here ON here.oid = t.tgrelid
    UNION ALL SELECT concat_ws(' ', 'r', r.oid, r.xmin) FROM pg_rewrite r JOIN here ON here.oid = r.ev_class
    UNION ALL SELECT concat_ws(' ', 'p', p.oid, p.xmin) FROM pg_policy p JOIN here ON here.oid = p.polrelid
    UNION ALL SELECT concat_ws(' ', 'h', h.inhrelid, h.inhparent, h.xmin) FROM pg_inherits h JOIN here ON here.oid = h.inhparent
    UNION ALL SELECT concat_ws(' ', 'o', o.classid, o.objid) FROM pg_depend o
        WHERE o.refclassid = 'pg_namespace'::regclass AND o.refobjid = current_schema()::regnamespace
) AS every";

/// The tables whose other indexes are read while the server runs. An index that says other things than its table leaves
/// rows out, which no row can show.
const INDEXED: [&str; 3] = [
    "PRAGMA integrity_check('secrets')",
    "PRAGMA integrity_check('secret_versions')",
    "PRAGMA integrity_check('one_time')",
];

impl Objects {
    pub(super) fn read(conn: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT type, name, tbl_name, COALESCE(sql, '') FROM sqlite_schema";
        let mut found = BTreeMap::new();
        for row in sqlite::query(conn, &sql.into(), &[]).map_err(|error| unreadable(&error))? {
            let (kind, name, table, made_by) = (row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?);
            if kind == "table" && ENGINES_OWN.contains(&made_by.as_str()) {
                continue;
            }
            if found.insert((kind, name.clone()), (table, made_by)).is_some() {
                return Err(fault(&name, SchemaFault::Added));
            }
        }
        Ok(Self(found))
    }

    /// The same of PostgreSQL, in the schema that is in use. What disables a constraint, adds rows to a table or hides some is
    /// an object as well.
    pub(super) async fn read_postgres(conn: &mut PgConnection) -> Result<Self, StoreError> {
        let mut found = BTreeMap::new();
        let read = sqlx::query(POSTGRES_OBJECTS).persistent(false).fetch_all(conn).await;
        for row in read.map_err(DbError::from)? {
            let text = |at: usize| row.try_get::<String, _>(at).map_err(DbError::from);
            let (kind, name, table, made_by) = (text(0)?, text(1)?, text(2)?, text(3)?);
            if found.insert((kind, name.clone()), (table, made_by)).is_some() {
                return Err(fault(&name, SchemaFault::Added));
            }
        }
        Ok(Self(found))
    }

    /// Refuses what is not as `self`, and names it.
    pub(super) fn admit(&self, found: &Self) -> Result<(), StoreError> {
        for (object, made) in (0..=2).flat_map(|rank| found.0.iter().filter(move |(it, _)| rank_of(it) == rank)) {
            match self.0.get(object) {
                Some(expected) if expected == made => {}
                Some(_) => return Err(named(object, SchemaFault::Changed)),
                None => return Err(named(object, SchemaFault::Added)),
            }
        }
        match self.0.keys().filter(|object| !found.0.contains_key(*object)).min_by_key(|object| rank_of(object)) {
            Some(object) => Err(named(object, SchemaFault::Missing)),
            None => Ok(()),
        }
    }
}

/// What is of a table that was added or removed says less than that table: greater ranks are told later.
fn rank_of((kind, _): &(String, String)) -> u8 {
    match kind.as_str() {
        "index" => 2,
        "constraint" | "trigger" | "rule" => 1,
        _ => 0,
    }
}

/// The schema that was found good when the database was opened, by the engine's number for it. Clones watch together.
///
/// The number is looked at after every use of a connection. Once it was another, nothing is believed again: whoever has
/// changed the schema can set the number back, and a connection that saw the change would take the new schema for the old.
#[derive(Clone)]
pub(in crate::store) struct Watch(Arc<Watched>);

struct Watched {
    found_good: i64,
    is_changed: AtomicBool,
    /// When the last look began.
    looked: Mutex<Instant>,
    /// A test asks what is refused where this does not see it.
    #[cfg(test)]
    is_blind: AtomicBool,
}

impl Watch {
    pub(super) fn new(found_good: i64) -> Self {
        Self(Arc::new(Watched {
            found_good,
            is_changed: AtomicBool::new(false),
            looked: Mutex::new(Instant::now()),
            #[cfg(test)]
            is_blind: AtomicBool::new(false),
        }))
    }

    /// Notes the number that a connection has.
    pub(in crate::store) fn note(&self, version: i64) {
        if version != self.0.found_good {
            self.note_change();
        }
    }

    /// The number that was found good.
    pub(super) fn found_good(&self) -> i64 {
        self.0.found_good
    }

    /// Whether the last look is longer ago.
    pub(super) fn is_due(&self, period: Duration) -> bool {
        self.0.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= period
    }

    /// Notes the number that a connection had after `began`.
    pub(super) fn note_look(&self, version: i64, began: Instant) {
        self.note(version);
        let mut looked = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
        *looked = began.max(*looked);
    }

    /// Notes that a connection found another schema.
    pub(super) fn note_change(&self) {
        #[cfg(test)]
        if self.0.is_blind.load(Ordering::SeqCst) {
            return;
        }
        if !self.0.is_changed.swap(true, Ordering::SeqCst) {
            tracing::error!(error = %StoreError::SchemaChanged, "the database's schema was changed");
        }
    }

    /// Refuses to go on once another number was noted.
    pub(in crate::store) fn refuse_changed(&self) -> Result<(), StoreError> {
        if self.0.is_changed.load(Ordering::SeqCst) { Err(StoreError::SchemaChanged) } else { Ok(()) }
    }

    /// From here on no change is seen.
    #[cfg(test)]
    pub(in crate::store) fn blind_of_test(&self) {
        self.0.is_blind.store(true, Ordering::SeqCst);
    }
}

/// Refuses indexes that do not say what their tables say.
pub(super) fn check_indexes(conn: &Connection) -> Result<(), StoreError> {
    for check in INDEXED {
        for row in sqlite::query(conn, &check.into(), &[])? {
            let said = row.text(0)?;
            if said != "ok" {
                return Err(StoreError::Corrupt(format!("the database's own check ({check}): {}", shown(&said))));
            }
        }
    }
    Ok(())
}

/// The number that the engine raises with each change of the schema.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// A number that every change of the schema moves, of the schema that a connection uses. PostgreSQL counts none.
pub(super) async fn postgres_version(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let digest: Vec<u8> = sqlx::query_scalar(POSTGRES_DIGEST).fetch_one(conn).await?;
    Ok(digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes)))
}

fn named((kind, name): &(String, String), why: SchemaFault) -> StoreError {
    fault(&format!("{kind} {name}"), why)
}

fn fault(object: &str, why: SchemaFault) -> StoreError {
    StoreError::Schema { object: shown(object), why }
}

fn unreadable(error: &rusqlite::Error) -> StoreError {
    StoreError::Corrupt(format!("the database's schema: {error}"))
}
