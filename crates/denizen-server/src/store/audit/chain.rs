//! The audit chain: append-only rows, each bound to all before it by a hash, and to the root key by a tag.
//!
//! A row holds one record of a transaction, or many of the spool that belong to one tenant:
//!
//! ```text
//! chain       which chain it is in: 32 hexadecimal digits
//! seq, last   the places of its first and its last record
//! tenant      whose they are
//! lines       the records, one line of JSON each
//! at          when the last of them was written
//! revision    of the directory, when the row was written
//! total       the bytes that this row, all before it and their changes take
//! spool       the position up to which the spool is in the chain
//! state       of all rows of the directory, when the row was written: the head's
//! hash        SHA-256(hash of the row before ‖ chain ‖ SP ‖ seq ‖ SP ‖ last ‖ SP ‖ spool ‖ SP ‖ tenant ‖ LF ‖ lines), in lower-case
//!             hexadecimal
//! tag         HMAC over the hash and everything else but the lines, under a key that is derived from the root key
//! ```
//!
//! Anybody can check the hashes; only who has the root key can make the tags. So whoever edits, inserts or removes a
//! record in the middle is found out, and whoever removes the last ones by the [`super::anchor`]. Each replica has a chain
//! of its own, for all tenants, and writes to no other; [`super::witness`] says what holds them together. Each tenant
//! reads its own records only. Where records stand tells their order only roughly: those of the spool come after the
//! transactions that committed while they waited. `at` says when. Tests: the contract suite.

use std::{collections::HashMap, sync::Arc};

use denizen_keys::{hash, mac::MacKey, secret::json_fault};
use denizen_wire::{TenantId, UnixTime};
use serde::Deserialize;

use super::super::{
    AuditRecord, Core, Store, StoreError, StoreKeys, TrailFault,
    audit::spool::{BATCH, Batch},
    db::{self, Arg, Reader, Sql, Statements, args},
    ends::LogHead,
    writer::Writer,
};
use crate::domain::Ctx;

/// Rows per page when the chain is read.
pub(super) const PAGE: i64 = 16;
/// A row takes no more lines when it has this many bytes.
const ROW: usize = 256 * 1024;
/// What a row takes beside its lines, bytes, its place in the index among them.
pub(super) const ROW_OVERHEAD: u64 = 320;
const INSERT: &str =
    "INSERT INTO audit (chain, seq, last, tenant, at, revision, total, spool, state, hash, tag, lines)";
/// Columns of a row.
const WIDTH: usize = 12;

/// A chain: which one, and what its rows are tagged under.
#[derive(Clone, Debug)]
pub(in crate::store) struct Chain {
    pub(in crate::store) id: Arc<str>,
    key: MacKey,
}

impl Chain {
    /// The chain of that name.
    pub(in crate::store) fn named(id: &str, keys: &StoreKeys) -> Self {
        Self { id: id.into(), key: keys.chain.clone() }
    }

    /// A new one.
    pub(in crate::store) fn new(keys: &StoreKeys) -> Self {
        Self::named(&denizen_keys::random::uuid_v4().simple().to_string(), keys)
    }
}

/// A row.
pub(in crate::store) struct Row {
    chain: Arc<str>,
    seq: i64,
    last: i64,
    tenant: String,
    at: i64,
    revision: i64,
    total: i64,
    spool: i64,
    state: Vec<u8>,
    hash: String,
    tag: [u8; denizen_keys::mac::TAG_BYTES],
    lines: String,
}

impl Row {
    /// The row after `head`, which has the revision and the spool's position that it is to have, and the head after it.
    fn after(
        head: &LogHead,
        chain: &Chain,
        tenant: TenantId,
        lines: String,
        records: u64,
    ) -> Result<(Self, LogHead), StoreError> {
        let (seq, tenant) = (head.seq.saturating_add(1), tenant.to_string());
        let last = head.seq.saturating_add(records);
        let after = LogHead {
            seq: last,
            hash: link(chain, &head.hash, (seq, last, head.spool), &tenant, &lines),
            at: written_at(&lines).unwrap_or(head.at),
            total: head.total.saturating_add(ROW_OVERHEAD).saturating_add(lines.len() as u64),
            ..head.clone()
        };
        let row = Self {
            chain: chain.id.clone(),
            seq: int(seq)?,
            last: int(after.seq)?,
            at: after.at.0,
            revision: int(after.revision.0)?,
            total: int(after.total)?,
            spool: int(after.spool)?,
            state: after.state.clone(),
            hash: after.hash.clone(),
            tag: tag(chain, seq, &tenant, &after),
            tenant,
            lines,
        };
        Ok((row, after))
    }

    /// A transaction's own record.
    pub(in crate::store) fn of_transaction(
        head: &LogHead,
        chain: &Chain,
        tenant: TenantId,
        line: String,
    ) -> Result<(Self, LogHead), StoreError> {
        Self::after(head, chain, tenant, line, 1)
    }

    /// The rows of a batch: each tenant's records in their order. Only the last row says that the spool has been
    /// shipped, so the rows are worth something only together.
    pub(in crate::store) fn of_batch(
        head: &LogHead,
        chain: &Chain,
        batch: &Batch,
    ) -> Result<(Vec<Self>, LogHead), StoreError> {
        let mut parts: Vec<Part> = Vec::new();
        let mut open: HashMap<TenantId, usize> = HashMap::new();
        let mut rest = batch.text.as_str();
        for mark in &batch.marks {
            let (line, after) = rest.split_at_checked(mark.length).unwrap_or((rest, ""));
            rest = after;
            let at = open.get(&mark.tenant).copied();
            let part = match at.and_then(|at| parts.get_mut(at)).filter(|part| part.lines.len() < ROW) {
                Some(part) => part,
                None => {
                    open.insert(mark.tenant, parts.len());
                    parts.push(Part { tenant: mark.tenant, lines: String::new(), records: 0 });
                    let Some(part) = parts.last_mut() else { continue };
                    part
                }
            };
            part.lines.push_str(line);
            part.records += 1;
        }
        let mut head = head.clone();
        let mut rows = Vec::with_capacity(parts.len());
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.into_iter().enumerate() {
            if at == last {
                head.spool = batch.end;
            }
            let (row, after) = Self::after(&head, chain, part.tenant, part.lines, part.records)?;
            rows.push(row);
            head = after;
        }
        Ok((rows, head))
    }
}

/// A row in the making.
struct Part {
    tenant: TenantId,
    lines: String,
    records: u64,
}

/// Adds rows after the one whose hash is `previous`. When the chain does not end with that one any more, somebody else
/// has written to it: nothing is added, and [`StoreError::Trail`] says so.
pub(in crate::store) async fn append(
    writer: &mut Writer,
    core: &Core,
    rows: &[Row],
    previous: &LogHead,
) -> Result<(), StoreError> {
    const ENDS_WITH: &str = "COALESCE((SELECT hash FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1), '') = ";
    let mut args = values(rows);
    args.push(Arg::Text(&previous.hash));
    let sql = Sql::rows_if(INSERT, rows.len(), WIDTH, ENDS_WITH);
    if writer.execute(&core.statements, sql, &args).await? != rows.len() as u64 {
        return Err(core.health.disagrees(TrailFault::ChangedByAnother { seq: previous.seq }));
    }
    Ok(())
}

/// Adds rows whatever the chain ends with.
pub(super) async fn force(writer: &mut Writer, statements: &Statements, rows: &[Row]) -> Result<(), StoreError> {
    writer.execute(statements, Sql::rows(INSERT, rows.len(), WIDTH), &values(rows)).await?;
    Ok(())
}

fn values(rows: &[Row]) -> Vec<Arg<'_>> {
    let values = rows.iter().flat_map(|row| -> [Arg<'_>; WIDTH] {
        let Row { chain, seq, last, tenant, at, revision, total, spool, state, hash, tag, lines } = row;
        let [seq, last, at, revision, total, spool] = [seq, last, at, revision, total, spool].map(|it| Arg::Int(*it));
        let (state, tag) = (Arg::Bytes(state), Arg::Bytes(tag));
        [
            Arg::Text(chain),
            seq,
            last,
            Arg::Text(tenant),
            at,
            revision,
            total,
            spool,
            state,
            Arg::Text(hash),
            tag,
            Arg::Text(lines),
        ]
    });
    values.collect()
}

/// A row as it is kept, without its lines.
pub(in crate::store) struct StoredRow {
    pub(in crate::store) seq: u64,
    pub(in crate::store) tenant: String,
    /// Where the chain ends with it.
    pub(in crate::store) head: LogHead,
    tag: Vec<u8>,
}

impl StoredRow {
    /// Reads all columns but the lines, in their order. A number below zero, which nobody with the root key wrote, is read
    /// as one beyond all that can be, so that the tag does not fit.
    pub(in crate::store) fn read(row: &db::Row) -> Result<Self, StoreError> {
        Self::read_at(row, 0)
    }

    /// The same, from the column `at` on.
    pub(in crate::store) fn read_at(row: &db::Row, at: usize) -> Result<Self, StoreError> {
        let number = |column: usize| row.int(at + column).map(i64::cast_unsigned);
        let head = LogHead {
            seq: number(1)?,
            at: UnixTime(row.int(at + 3)?),
            revision: super::super::Revision(number(4)?),
            total: number(5)?,
            spool: number(6)?,
            state: row.bytes(at + 7)?,
            hash: row.text(at + 8)?,
        };
        Ok(Self { seq: number(0)?, tenant: row.text(at + 2)?, head, tag: row.bytes(at + 9)? })
    }

    /// The same; a row that cannot be read is one that has no tag.
    pub(super) fn read_any(row: &db::Row) -> Result<Self, StoreError> {
        Self::read_any_at(row, 0)
    }

    /// The same, from the column `at` on.
    pub(in crate::store) fn read_any_at(row: &db::Row, at: usize) -> Result<Self, StoreError> {
        if let Ok(read) = Self::read_at(row, at) {
            return Ok(read);
        }
        let seq = row.int(at)?.cast_unsigned();
        Ok(Self { seq, tenant: String::new(), head: LogHead { seq, ..LogHead::default() }, tag: Vec::new() })
    }

    /// The place of its last record, and its hash. Where the row says that it has more records than it can have, or none,
    /// it was not the server that said so: then that of its first.
    pub(in crate::store) fn place(&self) -> (u64, String) {
        let can_be = self.seq..=self.seq.saturating_add(BATCH as u64);
        let last = if can_be.contains(&self.head.seq) { self.head.seq } else { self.seq };
        (last, self.head.hash.clone())
    }

    /// Whether who has the root key wrote it.
    pub(in crate::store) fn is_ours(&self, chain: &Chain) -> bool {
        denizen_keys::constant_time_eq(&tag(chain, self.seq, &self.tenant, &self.head), &self.tag)
    }
}

/// The last row, and whether its hash follows from its records and what is before it; none when there is none.
pub(super) async fn last_row(
    db: &mut Reader<'_>,
    chain: &Chain,
    start: &Start,
) -> Result<Option<(StoredRow, bool)>, StoreError> {
    let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag, lines FROM audit \
               WHERE chain = $1 ORDER BY seq DESC LIMIT 2";
    let rows = db.rows(sql, args![&*chain.id]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let last = StoredRow::read_any(row)?;
    let before = last.seq.checked_sub(1);
    let previous = match before {
        Some(seq) if seq == start.seq => Some(start.hash.clone()),
        _ => rows
            .get(1)
            .map(StoredRow::read_any)
            .transpose()?
            .filter(|row| Some(row.head.seq) == before)
            .map(|row| row.head.hash),
    };
    let follows = previous.zip(row.text(10).ok()).is_some_and(|(previous, lines)| {
        link(chain, &previous, (last.seq, last.head.seq, last.head.spool), &last.tenant, &lines) == last.head.hash
    });
    Ok(Some((last, follows)))
}

/// The row whose last record is at `seq`; none when no row ends there.
pub(super) async fn row_ending_at(
    db: &mut Reader<'_>,
    chain: &Chain,
    seq: u64,
) -> Result<Option<StoredRow>, StoreError> {
    let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
               WHERE chain = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1";
    let row = db.rows(sql, args![&*chain.id, int(seq)?]).await?.first().map(StoredRow::read_any).transpose()?;
    Ok(row.filter(|row| row.head.seq == seq))
}

/// The last row that begins at a place up to `seq`, or before it.
pub(super) async fn last_row_to(db: &mut Reader<'_>, chain: &Chain, seq: u64) -> Result<Option<StoredRow>, StoreError> {
    let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
               WHERE chain = $1 AND seq > 0 AND seq <= $2 ORDER BY seq DESC LIMIT 1";
    db.rows(sql, args![&*chain.id, int(seq)?]).await?.first().map(StoredRow::read_any).transpose()
}

/// The chains there are, whether or not they are ours; found by one look into the index for each.
pub(super) async fn chains(db: &mut Reader<'_>) -> Result<Vec<String>, StoreError> {
    let sql = "WITH RECURSIVE each (chain) AS (SELECT MIN(chain) FROM audit UNION ALL \
               SELECT (SELECT MIN(a.chain) FROM audit AS a WHERE a.chain > each.chain) FROM each \
               WHERE each.chain IS NOT NULL) \
               SELECT chain FROM each WHERE chain IS NOT NULL UNION SELECT chain FROM audit_start ORDER BY 1";
    db.rows(sql, &[]).await?.iter().map(|row| row.text(0)).collect()
}

/// Where the chain starts: the last record that is not part of it any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Start {
    pub(super) seq: u64,
    /// Empty before the first record.
    pub(super) hash: String,
    pub(super) total: u64,
    pub(super) why: StartWhy,
}

/// Why a chain does not start with record 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StartWhy {
    /// It does.
    #[default]
    First,
    /// Retention removed the records before.
    Pruned,
    /// Somebody accepted that the records before are missing, or not as they were written. Those that are there stay.
    Accepted,
}

impl StartWhy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Pruned => "pruned",
            Self::Accepted => "accepted",
        }
    }
}

/// What reads the start of the chain.
pub(super) const SELECT_START: &str = "SELECT seq, hash, total, why, tag FROM audit_start WHERE chain = $1";
/// What writes it, with [`Start::args`].
pub(super) const PUT_START: &str = "INSERT INTO audit_start (chain, seq, hash, total, why, tag) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, total = excluded.total, \
     why = excluded.why, tag = excluded.tag";

impl Start {
    /// Of the rows that [`SELECT_START`] gave. An error when it was not written under this root key.
    pub(super) fn read(rows: &[db::Row], chain: &Chain) -> Result<Self, TrailFault> {
        let Some(row) = rows.first() else { return Ok(Self::default()) };
        Self::of_row(row)
            .ok()
            .flatten()
            .filter(|(start, tag)| denizen_keys::constant_time_eq(&start.tag(chain), tag))
            .map(|(start, _)| start)
            .ok_or(TrailFault::StartForged)
    }

    fn of_row(row: &db::Row) -> Result<Option<(Self, Vec<u8>)>, StoreError> {
        let why = row.text(3)?;
        let why = [StartWhy::Pruned, StartWhy::Accepted].into_iter().find(|it| it.as_str() == why);
        let Some(why) = why else { return Ok(None) };
        Ok(Some((Self { seq: row.count(0)?, hash: row.text(1)?, total: row.count(2)?, why }, row.bytes(4)?)))
    }

    /// The hash of the record at a place, when the chain starts after that one.
    pub(super) fn hash_at(&self, seq: u64) -> Option<String> {
        (self.seq == seq).then(|| self.hash.clone())
    }

    /// What the records before it took, bytes.
    pub(in crate::store) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn tag(&self, chain: &Chain) -> [u8; denizen_keys::mac::TAG_BYTES] {
        let Self { seq, hash, total, why } = self;
        chain.key.tag(&[
            b"start",
            chain.id.as_bytes(),
            &seq.to_be_bytes(),
            hash.as_bytes(),
            &total.to_be_bytes(),
            why.as_str().as_bytes(),
        ])
    }

    /// The placeholders of [`PUT_START`].
    pub(super) fn args<'a>(&'a self, chain: &'a Chain, tag: &'a [u8]) -> Result<[Arg<'a>; 6], StoreError> {
        let Self { seq, hash, total, why } = self;
        Ok([
            Arg::Text(&chain.id),
            Arg::Int(int(*seq)?),
            Arg::Text(hash),
            Arg::Int(int(*total)?),
            Arg::Text(why.as_str()),
            Arg::Bytes(tag),
        ])
    }
}

/// The hash of a row: of all that stands in it, and of all before it.
pub(super) fn link(
    chain: &Chain,
    previous: &str,
    (seq, last, spool): (u64, u64, u64),
    tenant: &str,
    lines: &str,
) -> String {
    let text = format!("{previous}{} {seq} {last} {spool} {tenant}\n", chain.id);
    hash::hex(&hash::sha256_of(&[text.as_bytes(), lines.as_bytes()]))
}

/// The tag of the row that starts at `seq` and leaves the chain at `head`.
fn tag(chain: &Chain, seq: u64, tenant: &str, head: &LogHead) -> [u8; denizen_keys::mac::TAG_BYTES] {
    let LogHead { revision, state, seq: last, hash, spool, total, at } = head;
    chain.key.tag(&[
        b"row",
        chain.id.as_bytes(),
        hash.as_bytes(),
        &seq.to_be_bytes(),
        &last.to_be_bytes(),
        tenant.as_bytes(),
        &at.0.to_be_bytes(),
        &revision.0.to_be_bytes(),
        &total.to_be_bytes(),
        &spool.to_be_bytes(),
        state,
    ])
}

/// When the last of some lines was written.
pub(super) fn written_at(lines: &str) -> Option<UnixTime> {
    #[derive(Deserialize)]
    struct Stamp {
        at: UnixTime,
    }
    serde_json::from_str(lines.lines().next_back()?).ok().map(|Stamp { at }| at)
}

/// A number as a column holds it.
pub(super) fn int(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| {
        StoreError::Corrupt(format!(
            "{number}, a place or a size of the audit's trail, is beyond what the database can hold"
        ))
    })
}

/// The records of a row that starts at `seq`.
pub(super) fn records(seq: u64, lines: &str) -> Result<Vec<AuditRecord>, StoreError> {
    let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("an audit record: {}", json_fault(&error)));
    let mut found = Vec::new();
    for (seq, line) in (seq..).zip(lines.lines()) {
        let record = serde_json::from_str(line).map_err(corrupt)?;
        found.push(AuditRecord { seq, ..record });
    }
    Ok(found)
}

impl Store {
    /// The tenant's last `limit` records, oldest first.
    pub async fn audit_tail(&self, ctx: &Ctx, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.shipper.shipped().await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut all = Vec::new();
        for chain in chains(&mut Reader::Pool(&self.core.readers, &self.core.statements)).await? {
            all.extend(self.tail_of(&chain, ctx, limit).await?);
        }
        // Each chain's are in their order; those of several replicas are in that of their clocks.
        all.sort_by_key(|record: &AuditRecord| record.at);
        all.drain(..all.len().saturating_sub(limit));
        Ok(all)
    }

    async fn tail_of(&self, chain: &str, ctx: &Ctx, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let tenant = ctx.tenant.to_string();
        let sql =
            "SELECT seq, lines FROM audit WHERE tenant = $1 AND chain = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4";
        let (mut found, mut before) = (Vec::new(), i64::MAX as u64);
        while found.len() < limit {
            let page = self.rows(sql, args![&tenant, chain, int(before)?, PAGE]).await?;
            if page.is_empty() {
                break;
            }
            for row in &page {
                before = row.count(0)?;
                found.extend(records(before, &row.text(1)?)?.into_iter().rev());
            }
        }
        found.truncate(limit);
        found.reverse();
        Ok(found)
    }
}
