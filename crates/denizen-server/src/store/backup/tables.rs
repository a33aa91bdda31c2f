//! The tables of a backup, in the order in which their rows stand in it: what is pointed to comes before what points.
//!
//! The columns of a key come first, so that both engines give the rows in one order. A backup has the tables and columns of
//! the migrations that had been applied when it was made: `Table { since: 2, ..table!(…) }` is one of a later migration; a
//! column that one adds stands last, and is counted in `added`. Tests: `tests.rs`, which compares the list with the schema.

use super::{
    super::{
        StoreError,
        db::{Arg, Cell, Row},
    },
    check::{self, Checker},
};
use crate::domain::{
    deleted::DeletedObject,
    directory::{ServicePrincipal, SigningKey, Tenant},
    grants::{AppRoleAssignment, PermissionGrant},
    people::{Group, Membership, User},
    resources::{Machine, ResourceGroup, Subscription, Vault},
    roles::{RoleAssignment, RoleDefinition},
};

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    TextOrNull,
    Int,
    IntOrNull,
    Bytes,
    BytesOrNull,
}

/// A table, and the statements that read and write it.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Type)],
    /// The migration that makes it.
    since: i64,
    /// How many of the last columns a later migration adds.
    added: &'static [(i64, usize)],
    /// How many of the columns are the key.
    pub(super) key: usize,
    /// A page of rows after a key, which the last placeholder bounds.
    pub(super) select: &'static str,
    pub(super) count: &'static str,
    /// Rows of a page: a page is in memory whole.
    pub(super) page: u32,
    /// What a row is checked with.
    pub(super) check: fn(&mut Checker, &[Cell]) -> Result<(), StoreError>,
}

/// `table!("name", KEY COLUMNS, "after", "limit", PAGE, check, [column: Type, …])`
macro_rules! table {
    ($name:literal, $key:literal ($width:literal), $after:literal, $limit:literal, $page:literal, $check:expr,
     [$first:ident: $first_type:ident $(, $column:ident: $type:ident)*]) => {
        Table {
            name: $name,
            columns: &[(stringify!($first), Type::$first_type) $(, (stringify!($column), Type::$type))*],
            key: $width,
            select: concat!(
                "SELECT ", stringify!($first), $(", ", stringify!($column),)* " FROM ", $name, " WHERE (", $key, ") > (",
                $after, ") ORDER BY ", $key, " LIMIT ", $limit
            ),
            since: 1,
            added: &[],
            count: concat!("SELECT COUNT(*) FROM ", $name),
            page: $page,
            check: $check,
        }
    };
}

/// A table of records.
macro_rules! records {
    ($name:literal, $record:ty $(, $unique:ident)?) => {
        table!($name, "tenant, id" (2), "$1, $2", "$3", 512, check::record::<$record>,
               [tenant: Text, id: Text, body: Text, revision: Int, tag: Bytes $(, $unique: Text)?])
    };
}

/// All tables as they are once the migration of this number has been applied.
pub(super) fn tables(schema: i64) -> Vec<Table> {
    TABLES.iter().filter(|table| table.since <= schema).map(|table| table.at(schema)).collect()
}

/// All of them. Not here: who works (`leases`), and what the schema is (`schema_migrations`, which the header repeats).
pub(super) const TABLES: &[Table] = &[
    table!("head", "id" (1), "$1", "$2", 1, check::head, [id: Int, revision: Int, seen: Int, before_state: Bytes, state: Bytes, tag: Bytes]),
    records!("tenants", Tenant, domain),
    table!("applications", "tenant, id" (2), "$1, $2", "$3", 512, check::application,
           [tenant: Text, id: Text, body: Text, revision: Int, tag: Bytes]),
    table!("application_uris", "tenant, uri" (2), "$1, $2", "$3", 512, check::name,
           [tenant: Text, uri: Text, application: Text]),
    records!("service_principals", ServicePrincipal, client_id),
    records!("signing_keys", SigningKey),
    records!("subscriptions", Subscription, subscription),
    records!("resource_groups", ResourceGroup),
    records!("machines", Machine),
    records!("vaults", Vault, name),
    records!("role_assignments", RoleAssignment),
    records!("role_definitions", RoleDefinition),
    Table { since: 2, ..records!("users", User, name) },
    Table { since: 2, ..records!("groups", Group) },
    Table { since: 2, ..records!("memberships", Membership) },
    Table { since: 2, ..records!("app_role_assignments", AppRoleAssignment) },
    Table { since: 2, ..records!("permission_grants", PermissionGrant) },
    Table { since: 2, ..records!("deleted_objects", DeletedObject) },
    table!("one_time", "tenant, purpose, hash" (3), "$1, $2, $3", "$4", 512, check::one_time,
           [tenant: Text, purpose: Text, hash: Text, id: Text, expires: Int, used_at: IntOrNull, body: Text, revision: Int,
            tag: Bytes]),
    table!("secrets", "tenant, vault, name" (3), "$1, $2, $3", "$4", 512, check::secret,
           [tenant: Text, vault: Text, name: Text, written: Text, latest: Text, deleted: IntOrNull, purge_at: IntOrNull,
            revision: Int, tag: Bytes]),
    table!("secret_versions", "tenant, vault, name, version" (4), "$1, $2, $3, $4", "$5", 64, check::version,
           [tenant: Text, vault: Text, name: Text, version: Text, ordinal: Int, content_type: TextOrNull, tags: Text,
            enabled: Int, nbf: IntOrNull, exp: IntOrNull, created: Int, updated: Int, sealed_hash: Bytes, revision: Int,
            tag: Bytes, wrapped_key: Bytes, sealed_value: Bytes]),
    table!("changes", "revision, ordinal" (2), "$1, $2", "$3", 256, check::nothing,
           [revision: Int, ordinal: Int, tenant: Text, at: Int, kind: Text, id: Text, parent: TextOrNull,
            before_body: TextOrNull, after_body: TextOrNull, digest: BytesOrNull]),
    table!("audit_start", "chain" (1), "$1", "$2", 512, check::start,
           [chain: Text, seq: Int, hash: Text, total: Int, why: Text, tag: Bytes]),
    table!("audit", "chain, seq" (2), "$1, $2", "$3", 16, check::audit,
           [chain: Text, seq: Int, last: Int, tenant: Text, at: Int, revision: Int, total: Int, spool: Int, state: Bytes,
            hash: Text, tag: Bytes, lines: Text]),
];

impl Table {
    fn at(&self, schema: i64) -> Self {
        let later = self.added.iter().filter(|(since, _)| *since > schema).map(|(_, columns)| columns).sum::<usize>();
        let columns = self.columns.get(..self.columns.len().saturating_sub(later)).unwrap_or_default();
        Self { columns, ..*self }
    }

    /// What writes a row, up to its values.
    pub(super) fn insert(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("INSERT INTO {} ({})", self.name, columns.join(", "))
    }

    /// A row as a database gave it.
    pub(super) fn cells(&self, row: &Row) -> Result<Vec<Cell>, StoreError> {
        let cell = |(at, (_, kind)): (usize, &(&str, Type))| {
            Ok(match kind {
                Type::Text => Cell::Text(row.text(at)?),
                Type::TextOrNull => row.text_or_null(at)?.map_or(Cell::Null, Cell::Text),
                Type::Int => Cell::Int(row.int(at)?),
                Type::IntOrNull => row.int_or_null(at)?.map_or(Cell::Null, Cell::Int),
                Type::Bytes => Cell::Bytes(row.bytes(at)?),
                Type::BytesOrNull => row.bytes_or_null(at)?.map_or(Cell::Null, Cell::Bytes),
            })
        };
        let cells: Result<_, StoreError> = self.columns.iter().enumerate().map(cell).collect();
        cells.map_err(|error| {
            let StoreError::Corrupt(why) = error else { return error };
            StoreError::Corrupt(format!("a row of {}: {why}", self.name))
        })
    }

    /// The placeholders of a row; none when it is not one of this table's.
    pub(super) fn args<'c>(&self, cells: &'c [Cell]) -> Option<Vec<Arg<'c>>> {
        if cells.len() != self.columns.len() {
            return None;
        }
        let arg = |((_, kind), cell): (&(&str, Type), &'c Cell)| match (kind, cell) {
            (Type::Text, Cell::Text(text)) => Some(Arg::Text(text)),
            (Type::TextOrNull, Cell::Text(text)) => Some(Arg::TextOrNull(Some(text))),
            (Type::TextOrNull, Cell::Null) => Some(Arg::TextOrNull(None)),
            (Type::Int, Cell::Int(number)) => Some(Arg::Int(*number)),
            (Type::IntOrNull, Cell::Int(number)) => Some(Arg::IntOrNull(Some(*number))),
            (Type::IntOrNull, Cell::Null) => Some(Arg::IntOrNull(None)),
            (Type::Bytes, Cell::Bytes(bytes)) => Some(Arg::Bytes(bytes)),
            (Type::BytesOrNull, Cell::Bytes(bytes)) => Some(Arg::BytesOrNull(Some(bytes))),
            (Type::BytesOrNull, Cell::Null) => Some(Arg::BytesOrNull(None)),
            _ => None,
        };
        self.columns.iter().zip(cells).map(arg).collect()
    }

    /// A key before all others.
    pub(super) fn first(&self) -> Vec<Cell> {
        let before = |(_, kind): &(&str, Type)| match kind {
            Type::Int | Type::IntOrNull => Cell::Int(i64::MIN),
            Type::Text | Type::TextOrNull | Type::Bytes | Type::BytesOrNull => Cell::Text(String::new()),
        };
        self.columns.iter().take(self.key).map(before).collect()
    }
}
