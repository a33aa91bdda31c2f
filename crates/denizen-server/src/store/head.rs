//! The head: one row, whose tag binds the revision, the time that was seen last, and the state of all rows.
//!
//! The state is a tag over the revision and the sum over all rows. Every row of the audit's chain repeats it, under a tag
//! of its own: so rows and a trail that were not written together are told apart, whichever of them is the older.
//!
//! A row that is rolled back, removed, or put back after it was removed carries a good tag; the sum is what does not
//! fit then. The head says so, and the change log helps to name the row. The log is written by whoever writes the
//! database, so it only names, and decides nothing: rows whose sum is not the head's are refused whatever it says.
//!
//! Only the one who holds the right to write reads and writes the head. Tests: [`super::contract`].

use std::collections::HashMap;

use denizen_wire::UnixTime;

use super::{
    HeadFault, Kind, Revision, StoreError, StoreKeys, Tampering,
    db::{Conn, Row, Statements, args},
    live::Sum,
    one_time,
    tags::RowName,
};

/// The row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The last transaction that changed something.
    pub(super) revision: Revision,
    /// The latest time the server trusted; zero when nobody watches the clock.
    pub(super) seen: UnixTime,
    /// What the rows are: a tag of the revision and the sum over all rows.
    pub(super) state: Vec<u8>,
    tag: Vec<u8>,
}

impl Head {
    /// The head of these rows.
    pub(super) fn new(keys: &StoreKeys, revision: Revision, seen: UnixTime, sum: &Sum) -> Self {
        let state = keys.head.tag(&[b"state", &revision.0.to_be_bytes(), &sum.bytes()]).to_vec();
        let tag = keys.head.tag(&message(&revision.0.to_be_bytes(), &seen.0.to_be_bytes(), &state)).to_vec();
        Self { revision, seen, state, tag }
    }

    /// Whether who has the root key wrote it.
    pub(super) fn is_ours(&self, keys: &StoreKeys) -> bool {
        let (revision, seen) = (self.revision.0.to_be_bytes(), self.seen.0.to_be_bytes());
        keys.head.matches(&message(&revision, &seen, &self.state), &self.tag)
    }

    /// Whether it vouches for these rows.
    pub(super) fn vouches(&self, keys: &StoreKeys, sum: &Sum) -> bool {
        let parts: [&[u8]; 3] = [b"state", &self.revision.0.to_be_bytes(), &sum.bytes()];
        self.is_ours(keys) && keys.head.matches(&parts, &self.state)
    }

    /// Its columns: revision, seen, state and tag, from the column `at` on; none where there is no head.
    pub(super) fn of_row(row: &Row, at: usize) -> Result<Option<Self>, StoreError> {
        if row.int_or_null(at)?.is_none() {
            return Ok(None);
        }
        let (revision, seen) = (Revision(row.count(at)?), UnixTime(row.int(at + 1)?));
        Ok(Some(Self { revision, seen, state: row.bytes(at + 2)?, tag: row.bytes(at + 3)? }))
    }

    pub(super) async fn read(conn: &mut Conn, statements: &Statements) -> Result<Option<Self>, StoreError> {
        let rows = conn.rows(statements, "SELECT revision, seen, state, tag FROM head WHERE id = 1", &[]).await?;
        rows.first().map_or(Ok(None), |row| Self::of_row(row, 0))
    }

    /// The same, and nobody else writes it, or the first one, before this transaction ends.
    pub(super) async fn read_locked(conn: &mut Conn, statements: &Statements) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT revision, seen, state, tag FROM head WHERE id = 1 FOR UPDATE";
        let mut rows = conn.rows(statements, sql, &[]).await?;
        if rows.is_empty() {
            // There is no row to hold before the first commit.
            conn.execute(statements, "LOCK TABLE head IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
            rows = conn.rows(statements, sql, &[]).await?;
        }
        rows.first().map_or(Ok(None), |row| Self::of_row(row, 0))
    }

    /// Writes it over the one that this process knows.
    pub(super) async fn write(
        &self,
        conn: &mut Conn,
        statements: &Statements,
        over: Option<&Self>,
    ) -> Result<(), StoreError> {
        let (revision, seen) = (int(self.revision), self.seen.0);
        let written = match over {
            Some(over) => {
                let sql = "UPDATE head SET revision = $1, seen = $2, state = $3, tag = $4 WHERE id = 1 AND tag = $5";
                conn.execute(statements, sql, args![revision, seen, &self.state, &self.tag, &over.tag]).await?
            }
            None => {
                let sql = "INSERT INTO head (id, revision, seen, state, tag) VALUES (1, $1, $2, $3, $4) ON CONFLICT DO NOTHING";
                conn.execute(statements, sql, args![revision, seen, &self.state, &self.tag]).await?
            }
        };
        if written != 1 {
            return Err(StoreError::Head(HeadFault::Replaced));
        }
        // It is the last statement of a transaction that changes rows.
        conn.refuse_changed_schema().await
    }
}

fn message<'a>(revision: &'a [u8], seen: &'a [u8], state: &'a [u8]) -> [&'a [u8]; 4] {
    [b"head", revision, seen, state]
}

fn int(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// Rows per page when the change log is read.
const PAGE: i64 = 4096;

/// Kind, tenant, id.
type Known = HashMap<(Kind, String, String), u64>;

/// Says which rows are not those that were written last, as far as the change log tells; the head's fault when it
/// tells nothing. Reads the whole log and all rows: only a start that is refused does.
pub(super) async fn name_rows(
    conn: &mut Conn,
    statements: &Statements,
    records: &[(Kind, &'static str)],
) -> Result<StoreError, StoreError> {
    let mut logged = by_the_log(conn, statements).await?;
    // Retention removes old entries: a row that the log does not have may be old and good.
    let whole = conn.rows(statements, "SELECT 1 FROM audit_start", &[]).await?.is_empty();
    let mut wrong: Vec<(Kind, String, String, Tampering)> = Vec::new();
    let records = records.iter().map(|(kind, sql)| (Some(*kind), *sql));
    for (kind, sql) in records.chain(OTHERS.iter().copied()) {
        for row in conn.rows(statements, sql, &[]).await? {
            let kind = match kind {
                Some(kind) => kind,
                None => one_time::kind_of(&row.text(3)?)?,
            };
            let (tenant, id, revision) = (row.text(0)?, row.text(1)?, row.count(2)?);
            let key = (kind, tenant, id);
            let why = match logged.remove(&key) {
                Some(last) if last == revision => continue,
                // What the log does not have yet cannot carry a tag: the log itself was cut.
                Some(last) if last < revision => continue,
                Some(_) => Tampering::Older,
                None if !whole => continue,
                None => Tampering::Unknown,
            };
            wrong.push((key.0, key.1, key.2, why));
        }
    }
    wrong.extend(logged.into_keys().map(|(kind, tenant, id)| (kind, tenant, id, Tampering::Missing)));
    wrong.sort_by(|a, b| (a.0.as_str(), &a.1, &a.2).cmp(&(b.0.as_str(), &b.1, &b.2)));
    for (kind, tenant, id, why) in &wrong {
        let row = RowName { kind: *kind, tenant, id }.tampered(*why);
        tracing::error!(error = %row, "a row is not the one that was written last");
    }
    Ok(match wrong.split_first() {
        Some(((kind, tenant, id, why), others)) => RowName { kind: *kind, tenant, id }.and_others(*why, others.len()),
        None => StoreError::Head(HeadFault::OfOtherRows),
    })
}

/// The revision of each row that should be there, as the log has it.
async fn by_the_log(conn: &mut Conn, statements: &Statements) -> Result<Known, StoreError> {
    let mut logged = Known::new();
    let (mut revision, mut ordinal) = (0i64, i64::MAX);
    loop {
        let sql = "SELECT revision, ordinal, kind, tenant, id, after_body IS NULL FROM changes \
                   WHERE (revision, ordinal) > ($1, $2) ORDER BY revision, ordinal LIMIT $3";
        let page = conn.rows(statements, sql, args![revision, ordinal, PAGE]).await?;
        if page.is_empty() {
            return Ok(logged);
        }
        for row in &page {
            (revision, ordinal) = (row.int(0)?, row.int(1)?);
            let key = (Kind::parse(&row.text(2)?)?, row.text(3)?, row.text(4)?);
            match row.flag(5)? {
                false => logged.insert(key, row.count(0)?),
                true => logged.remove(&key),
            };
        }
    }
}

/// Tenant, id and revision of all rows that are not records; their kind, or where the fourth column says their purpose,
/// none.
const OTHERS: &[(Option<Kind>, &str)] = &[
    (Some(Kind::Secret), "SELECT tenant, vault || '/secrets/' || name, revision FROM secrets"),
    (
        Some(Kind::SecretVersion),
        "SELECT tenant, vault || '/secrets/' || name || '/' || version, revision FROM secret_versions",
    ),
    (None, "SELECT tenant, id, revision, purpose FROM one_time"),
];
