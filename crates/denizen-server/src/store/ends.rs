//! Where both logs end: the change log with the head of the rows, and this replica's chain of the audit.
//!
//! Touches the database. Tests: the contract suite.

use denizen_wire::UnixTime;

use super::{
    Revision, StoreError,
    audit::chain::{Chain, StoredRow},
    db::{Reader, args},
    head::{self, Head},
};

/// The head of the rows and the last row of this replica's chain, read at one moment.
pub(super) struct Ends {
    pub(super) head: Option<Head>,
    pub(super) last: Option<StoredRow>,
}

impl Ends {
    pub(super) async fn read(db: &mut Reader<'_>, chain: &Chain) -> Result<Self, StoreError> {
        let sql = "SELECT h.revision, h.seen, h.before_state, h.state, h.tag, \
                   a.seq, a.last, a.tenant, a.at, a.revision, a.total, a.spool, a.state, a.hash, a.tag \
                   FROM (SELECT 1) AS one LEFT JOIN head AS h ON h.id = 1 LEFT JOIN \
                   (SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
                   WHERE chain = $1 ORDER BY seq DESC LIMIT 1) AS a ON 1 = 1";
        let rows = db.rows(sql, args![&*chain.id]).await?;
        let Some(row) = rows.first() else { return Ok(Self { head: None, last: None }) };
        let last = row.int_or_null(head::WIDTH)?.map(|_| StoredRow::read_any_at(row, head::WIDTH)).transpose()?;
        Ok(Self { head: Head::of_row(row, 0)?, last })
    }
}

/// Where both logs end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogHead {
    pub(super) revision: Revision,
    /// Of all rows at that revision, as the head has it; empty before the first commit.
    pub(super) state: Vec<u8>,
    /// Sequence number of the last audit record; zero before the first.
    pub(super) seq: u64,
    /// The hash of the last row, hexadecimal; empty before the first.
    pub(super) hash: String,
    /// The position up to which the chain has the audit's spool.
    pub(super) spool: u64,
    /// What the chain and its changes have taken so far, bytes.
    pub(super) total: u64,
    /// When the last audit record was written.
    pub(super) at: UnixTime,
}

impl LogHead {
    /// Whether the chain ends at the same record.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.seq, &self.hash) == (other.seq, &other.hash)
    }
}

/// Before the first record.
impl Default for LogHead {
    fn default() -> Self {
        Self {
            revision: Revision(0),
            state: Vec::new(),
            seq: 0,
            hash: String::new(),
            spool: 0,
            total: 0,
            at: UnixTime(0),
        }
    }
}
