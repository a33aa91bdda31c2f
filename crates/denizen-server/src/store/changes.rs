//! The change log: what each transaction changed, in order. Replicas follow it; people read it.
//!
//! It says what changed, not all that a record holds: sealed bytes and hashes are left out (see
//! [`super::record`]), so a follower reads the row. Tests: the contract suite.

use denizen_keys::secret::json_fault;
use denizen_wire::{TenantId, UnixTime};
use serde_json::Value;

use super::{
    Kind, Revision, Store, StoreError,
    db::{Arg, Conn, Row, Sql, Statements, args},
    head::Digest,
};
use crate::domain::Ctx;

/// One record that one transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The transaction.
    pub revision: Revision,
    /// The tenant.
    pub tenant: TenantId,
    /// When.
    pub at: UnixTime,
    /// What kind of record.
    pub kind: Kind,
    /// Which, canonical.
    pub id: String,
    /// As it was; none when it is new.
    pub before: Option<Value>,
    /// As it is; none when it is gone.
    pub after: Option<Value>,
}

/// A [`Change`] before it has a revision.
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// The vault it is in, or is.
    pub(super) parent: Option<String>,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

impl Store {
    /// The tenant's changes after a revision, in order, at most `limit` of them. A transaction may be cut by the
    /// limit; ask again from the revision before the last.
    pub async fn changes_since(&self, ctx: &Ctx, revision: Revision, limit: u32) -> Result<Vec<Change>, StoreError> {
        let tenant = ctx.tenant.to_string();
        let after = i64::try_from(revision.0).unwrap_or(i64::MAX);
        let sql = "SELECT revision, at, kind, id, before_body, after_body FROM changes \
                   WHERE tenant = $1 AND revision > $2 ORDER BY revision, ordinal LIMIT $3";
        let rows = self.rows(sql, args![&tenant, after, i64::from(limit)]).await?;
        rows.iter().map(|row| change(ctx.tenant, row)).collect()
    }
}

fn change(tenant: TenantId, row: &Row) -> Result<Change, StoreError> {
    let body = |text: Option<String>| {
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| StoreError::Corrupt(format!("a change: {}", json_fault(&error))))
        };
        text.map(parse).transpose()
    };
    Ok(Change {
        revision: Revision(row.count(0)?),
        tenant,
        at: UnixTime(row.int(1)?),
        kind: Kind::parse(&row.text(2)?)?,
        id: row.text(3)?,
        before: body(row.text_or_null(4)?)?,
        after: body(row.text_or_null(5)?)?,
    })
}

/// What an entry takes beside its bodies, its places in the indexes among it, bytes.
const OVERHEAD: u64 = 512;

/// Writes a transaction's changes and the digest of its state, in as few statements as the engine's limit on placeholders allows; gives the bytes that
/// they take.
pub(super) async fn append(
    conn: &mut Conn,
    statements: &Statements,
    revision: Revision,
    tenant: TenantId,
    at: UnixTime,
    (digest, entries): (&Digest, &[Entry]),
) -> Result<u64, StoreError> {
    const INSERT: &str =
        "INSERT INTO changes (revision, ordinal, tenant, at, kind, id, parent, before_body, after_body, digest)";
    const COLUMNS: usize = 10;
    const ROWS: usize = 256;
    let tenant = tenant.to_string();
    let revision = i64::try_from(revision.0).unwrap_or(i64::MAX);
    let (mut ordinal, mut bytes) = (0i64, 0u64);
    for group in entries.chunks(ROWS) {
        let bodies: Vec<_> = group
            .iter()
            .map(|entry| (entry.before.as_ref().map(Value::to_string), entry.after.as_ref().map(Value::to_string)))
            .collect();
        let mut args: Vec<Arg<'_>> = Vec::with_capacity(group.len() * COLUMNS);
        for (entry, (before, after)) in group.iter().zip(&bodies) {
            let bodies = [before, after].map(|body| body.as_ref().map_or(0, String::len));
            bytes += OVERHEAD + bodies.iter().sum::<usize>() as u64;
            args.extend_from_slice(args![
                revision,
                ordinal,
                &tenant,
                at.0,
                entry.kind.as_str(),
                &entry.id,
                entry.parent.as_deref(),
                before.as_deref(),
                after.as_deref(),
                (ordinal == 0).then_some(&digest[..]),
            ]);
            ordinal += 1;
        }
        if conn.execute(statements, Sql::rows(INSERT, group.len(), COLUMNS), &args).await? != group.len() as u64 {
            return Err(StoreError::Corrupt("the change log did not take what was written to it".to_owned()));
        }
    }
    Ok(bytes)
}
