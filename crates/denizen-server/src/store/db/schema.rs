//! Whether a database has the schema that the migrations make, and no other.
//!
//! Whoever can write the database can put a view in a table's place, which answers each look otherwise, or a trigger that
//! keeps a row from being removed. So every object is compared with those of a database that the same migrations made in
//! memory; and the number that the engine raises with each change of the schema is looked at while the server runs.
//!
//! Touches the database. Tests: the contract suite.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::Connection;

use super::{
    super::{SchemaFault, StoreError, tags::shown},
    sqlite,
};

/// Every object: kind and name, and the table it is of with the statement that made it.
#[derive(PartialEq, Eq)]
pub(super) struct Objects(BTreeMap<(String, String), (String, String)>);

/// What the engine itself adds for its own planning, exactly as it does.
const ENGINES_OWN: [&str; 3] = [
    "CREATE TABLE sqlite_sequence(name,seq)",
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
];

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

    /// Refuses what is not as `self`, and names it.
    pub(super) fn admit(&self, found: &Self) -> Result<(), StoreError> {
        // An index of what was added says less than that itself.
        let of_kind = |is_index| found.0.iter().filter(move |(object, _)| (object.0 == "index") == is_index);
        for (object, made) in of_kind(false).chain(of_kind(true)) {
            match self.0.get(object) {
                Some(expected) if expected == made => {}
                Some(_) => return Err(named(object, SchemaFault::Changed)),
                None => return Err(named(object, SchemaFault::Added)),
            }
        }
        let missing = || self.0.keys().filter(|object| !found.0.contains_key(*object));
        match missing().find(|object| object.0 != "index").or_else(|| missing().next()) {
            Some(object) => Err(named(object, SchemaFault::Missing)),
            None => Ok(()),
        }
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
    /// A test asks what is refused where this does not see it.
    #[cfg(test)]
    is_blind: AtomicBool,
}

impl Watch {
    pub(super) fn new(found_good: i64) -> Self {
        Self(Arc::new(Watched {
            found_good,
            is_changed: AtomicBool::new(false),
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

fn named((kind, name): &(String, String), why: SchemaFault) -> StoreError {
    fault(&format!("{kind} {name}"), why)
}

fn fault(object: &str, why: SchemaFault) -> StoreError {
    StoreError::Schema { object: shown(object), why }
}

fn unreadable(error: &rusqlite::Error) -> StoreError {
    StoreError::Corrupt(format!("the database's schema: {error}"))
}
