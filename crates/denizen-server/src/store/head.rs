//! The head: one row, whose tag binds the revision, the time that was seen last, and the state of all rows.
//!
//! ```text
//! digest = HMAC("rows"  ‖ revision ‖ sum over all rows)
//! state  = HMAC("state" ‖ revision ‖ digest ‖ state before)
//! ```
//!
//! So a state stands for the rows there are and for every state before it. Every row of the audit's chain repeats it, under
//! a tag of its own: rows and a trail that were not written together are told apart, whichever of them is the older. The
//! change log keeps the digests: whoever knows an earlier state makes the later ones of them, and finds out whether the
//! head goes on from there ([`Descent`]).
//!
//! A row that is rolled back, removed, or put back after it was removed carries a good tag; the sum is what does not
//! fit then. The head says so, and the change log helps to name the row. The log is written by whoever writes the
//! database, so it only names, and decides nothing: rows whose sum is not the head's are refused whatever it says.
//!
//! Only the one who holds the right to write reads and writes the head. Tests: [`super::contract`].

use std::collections::HashMap;

use denizen_keys::mac::TAG_BYTES;
use denizen_wire::UnixTime;

use super::{
    HeadFault, Kind, Revision, StoreError, StoreKeys, Tampering, TrailFault,
    db::{Conn, Reader, Row, Statements, args},
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
    /// The state of the revision before; empty before the first.
    before: Vec<u8>,
    /// What the rows are, and were.
    pub(super) state: Vec<u8>,
    tag: Vec<u8>,
}

/// What a state is made of beside the state before.
pub(super) type Digest = [u8; TAG_BYTES];

/// The head's columns, in the order in which [`Head::of_row`] reads them.
macro_rules! columns {
    () => {
        "revision, seen, before_state, state, tag"
    };
}
/// Reads them.
pub(super) const SELECT_HEAD: &str = concat!("SELECT ", columns!(), " FROM head WHERE id = 1");
/// How many there are.
pub(super) const WIDTH: usize = 5;

impl Head {
    /// The head of these rows, which goes on from `over`; and the digest of its state.
    pub(super) fn next(
        keys: &StoreKeys,
        over: Option<&Self>,
        revision: Revision,
        seen: UnixTime,
        sum: &Sum,
    ) -> (Self, Digest) {
        let digest = digest(keys, revision, sum);
        let before = match over {
            // The same transaction: nothing but the time is another.
            Some(over) if over.revision == revision => over.before.clone(),
            Some(over) => over.state.clone(),
            None => Vec::new(),
        };
        let state = state(keys, revision, &digest, &before).to_vec();
        let tag = keys.head.tag(&message(&revision.0.to_be_bytes(), &seen.0.to_be_bytes(), &before, &state)).to_vec();
        (Self { revision, seen, before, state, tag }, digest)
    }

    /// Whether who has the root key wrote it.
    pub(super) fn is_ours(&self, keys: &StoreKeys) -> bool {
        let (revision, seen) = (self.revision.0.to_be_bytes(), self.seen.0.to_be_bytes());
        keys.head.matches(&message(&revision, &seen, &self.before, &self.state), &self.tag)
    }

    /// Whether it vouches for these rows.
    pub(super) fn vouches(&self, keys: &StoreKeys, sum: &Sum) -> bool {
        let made = state(keys, self.revision, &digest(keys, self.revision, sum), &self.before);
        self.is_ours(keys) && denizen_keys::constant_time_eq(&made, &self.state)
    }

    /// Its columns, from the column `at` on; none where there is no head.
    pub(super) fn of_row(row: &Row, at: usize) -> Result<Option<Self>, StoreError> {
        if row.int_or_null(at)?.is_none() {
            return Ok(None);
        }
        let (revision, seen) = (Revision(row.count(at)?), UnixTime(row.int(at + 1)?));
        let (before, state, tag) = (row.bytes(at + 2)?, row.bytes(at + 3)?, row.bytes(at + 4)?);
        Ok(Some(Self { revision, seen, before, state, tag }))
    }

    pub(super) async fn read(conn: &mut Conn, statements: &Statements) -> Result<Option<Self>, StoreError> {
        conn.rows(statements, SELECT_HEAD, &[]).await?.first().map_or(Ok(None), |row| Self::of_row(row, 0))
    }

    /// The same, and nobody else writes it, or the first one, before this transaction ends.
    pub(super) async fn read_locked(conn: &mut Conn, statements: &Statements) -> Result<Option<Self>, StoreError> {
        let sql = concat!("SELECT ", columns!(), " FROM head WHERE id = 1 FOR UPDATE");
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
                let sql = "UPDATE head SET revision = $1, seen = $2, before_state = $3, state = $4, tag = $5 \
                           WHERE id = 1 AND tag = $6";
                let args = args![revision, seen, &self.before, &self.state, &self.tag, &over.tag];
                conn.execute(statements, sql, args).await?
            }
            None => {
                let sql = "INSERT INTO head (id, revision, seen, before_state, state, tag) VALUES (1, $1, $2, $3, $4, $5) \
                           ON CONFLICT DO NOTHING";
                conn.execute(statements, sql, args![revision, seen, &self.before, &self.state, &self.tag]).await?
            }
        };
        if written != 1 {
            return Err(StoreError::Head(HeadFault::Replaced));
        }
        // It is the last statement of a transaction that changes rows.
        conn.refuse_changed_schema().await
    }
}

fn message<'a>(revision: &'a [u8], seen: &'a [u8], before: &'a [u8], state: &'a [u8]) -> [&'a [u8]; 5] {
    [b"head", revision, seen, before, state]
}

fn digest(keys: &StoreKeys, revision: Revision, sum: &Sum) -> Digest {
    keys.head.tag(&[b"rows", &revision.0.to_be_bytes(), &sum.bytes()])
}

fn state(keys: &StoreKeys, revision: Revision, digest: &[u8], before: &[u8]) -> [u8; TAG_BYTES] {
    keys.head.tag(&[b"state", &revision.0.to_be_bytes(), digest, before])
}

/// Goes on from a known state by the digests of the change log, which anybody may have written: nothing but the true ones
/// lead to the state of a head that is ours.
pub(super) struct Descent<'k> {
    keys: &'k StoreKeys,
    from: Revision,
    revision: Revision,
    state: Vec<u8>,
    is_whole: bool,
}

impl<'k> Descent<'k> {
    pub(super) fn new(keys: &'k StoreKeys, (from, state): (Revision, &[u8])) -> Self {
        Self { keys, from, revision: from, state: state.to_vec(), is_whole: true }
    }

    /// The digest of a transaction, as the log has it.
    pub(super) fn step(&mut self, revision: Revision, digest: Option<&[u8]>) {
        match digest {
            Some(digest) if self.is_whole && revision.0 == self.revision.0 + 1 => {
                self.state = state(self.keys, revision, digest, &self.state).to_vec();
                self.revision = revision;
            }
            Some(_) | None => self.is_whole = false,
        }
    }

    /// Refuses a state that does not go on from the one that was known.
    pub(super) fn admit(&self, (revision, state): (Revision, &[u8])) -> Result<(), TrailFault> {
        if !self.is_whole || self.revision != revision {
            return Err(TrailFault::Unproven { known: self.from.0, revision: revision.0 });
        }
        match denizen_keys::constant_time_eq(&self.state, state) {
            true => Ok(()),
            false => Err(TrailFault::Forked { known: self.from.0, revision: revision.0 }),
        }
    }

    /// Reads the digests between two states.
    pub(super) async fn read(
        db: &mut Reader<'_>,
        keys: &'k StoreKeys,
        known: (Revision, &[u8]),
        to: Revision,
    ) -> Result<Self, StoreError> {
        let mut descent = Self::new(keys, known);
        let sql = "SELECT revision, digest FROM changes WHERE revision > $1 AND revision <= $2 AND ordinal = 0 \
                   ORDER BY revision LIMIT $3";
        while descent.is_whole && descent.revision < to {
            let rows = db.rows(sql, args![int(descent.revision), int(to), PAGE]).await?;
            for row in &rows {
                descent.step(Revision(row.count(0)?), row.bytes_or_null(1)?.as_deref());
            }
            descent.is_whole &= !rows.is_empty();
        }
        Ok(descent)
    }
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
