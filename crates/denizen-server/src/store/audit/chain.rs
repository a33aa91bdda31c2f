//! The audit chain: append-only rows, each bound to all before it by a hash.
//!
//! A row holds one record of a transaction, or many of the spool that belong to one tenant:
//!
//! ```text
//! seq, last   the places of its first and its last record
//! tenant      whose they are
//! lines       the records, one line of JSON each
//! spool       the position up to which the spool is in the chain
//! hash        SHA-256(hash of the row before ‖ seq ‖ SP ‖ last ‖ SP ‖ spool ‖ SP ‖ tenant ‖ LF ‖ lines), in lower-case
//!             hexadecimal
//! ```
//!
//! Whoever edits, removes or inserts a record must rewrite every later row; who keeps the last hash elsewhere sees
//! that. One chain for all tenants, because one writer orders them; each tenant reads its own records only. Where
//! records stand tells their order only roughly: those of the spool come after the transactions that committed while
//! they waited. `at` says when. Tests: the contract suite.

use std::collections::HashMap;

use denizen_keys::{hash, secret::json_fault};
use denizen_wire::TenantId;

use super::super::{
    AuditBroken, AuditRecord, Store, StoreError,
    audit::spool::Batch,
    db::{Arg, Sql},
    writer::LogHead,
};
use crate::{domain::Ctx, store::db::args};

/// Rows per page when the chain is read.
const PAGE: i64 = 16;
/// A row takes no more lines when it has this many bytes.
const ROW: usize = 256 * 1024;

/// A row.
pub(in crate::store) struct Row {
    seq: i64,
    last: i64,
    tenant: String,
    lines: String,
    hash: String,
    spool: i64,
}

impl Row {
    /// The row after `head`, and the head after it.
    fn after(head: &LogHead, tenant: TenantId, lines: String, records: u64) -> (Self, LogHead) {
        let (seq, last, tenant) = (head.seq + 1, head.seq + records, tenant.to_string());
        let hash = link(&head.hash, (seq, last, head.spool), &tenant, &lines);
        let row = Self { seq: int(seq), last: int(last), tenant, lines, hash: hash.clone(), spool: int(head.spool) };
        (row, LogHead { seq: last, hash, ..head.clone() })
    }

    /// A transaction's own record.
    pub(in crate::store) fn of_transaction(head: &LogHead, tenant: TenantId, line: String) -> (Self, LogHead) {
        Self::after(head, tenant, line, 1)
    }

    /// The rows of a batch: each tenant's records in their order. Only the last row says that the spool has been
    /// shipped, so the rows are worth something only together.
    pub(in crate::store) fn of_batch(head: &LogHead, batch: &Batch) -> (Vec<Self>, LogHead) {
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
            let (row, after) = Self::after(&head, part.tenant, part.lines, part.records);
            rows.push(row);
            head = after;
        }
        (rows, head)
    }
}

/// A row in the making.
struct Part {
    tenant: TenantId,
    lines: String,
    records: u64,
}

/// The statement that adds rows, and its arguments.
pub(in crate::store) fn insert(rows: &[Row]) -> (Sql, Vec<Arg<'_>>) {
    let args = rows.iter().flat_map(|row| {
        let Row { seq, last, tenant, lines, hash, spool } = row;
        *args![*seq, *last, tenant, lines, hash, *spool]
    });
    (Sql::rows("INSERT INTO audit (seq, last, tenant, lines, hash, spool)", rows.len(), 6), args.collect())
}

/// The hash of a row: of all that stands in it, and of all before it.
fn link(previous: &str, (seq, last, spool): (u64, u64, u64), tenant: &str, lines: &str) -> String {
    let text = format!("{previous}{seq} {last} {spool} {tenant}\n");
    hash::hex(&hash::sha256_of(&[text.as_bytes(), lines.as_bytes()]))
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The records of a row that starts at `seq`.
fn records(seq: u64, lines: &str) -> Result<Vec<AuditRecord>, StoreError> {
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
        let tenant = ctx.tenant.to_string();
        let sql = "SELECT seq, lines FROM audit WHERE tenant = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3";
        let (mut found, mut before) = (Vec::new(), u64::MAX);
        while found.len() < limit {
            let page = self.rows(sql, args![&tenant, int(before), PAGE]).await?;
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

    /// Recomputes the chain from its first record; gives the number of records.
    pub async fn audit_verify(&self) -> Result<u64, AuditBroken> {
        let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
        self.shipper.shipped().await.map_err(unreadable)?;
        // Read before the records, so that a record written meanwhile is not taken for one that was added.
        let end = self.core.writer.lock().await.ready(&self.core).await.map_err(unreadable)?;
        let mut seq = 0u64;
        let mut hash = String::new();
        while seq < end.seq {
            let sql = "SELECT seq, last, tenant, lines, hash, spool FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
            let page = self.rows(sql, args![int(seq), PAGE]).await;
            let page = page.map_err(|error| AuditBroken { at: seq + 1, why: error.to_string() })?;
            if page.is_empty() {
                return Err(AuditBroken { at: seq + 1, why: "it is missing".to_owned() });
            }
            for row in &page {
                let at = seq + 1;
                let broken = |why: &str| AuditBroken { at, why: why.to_owned() };
                let unreadable = |error: StoreError| AuditBroken { at, why: error.to_string() };
                let (tenant, lines) = (row.text(2).map_err(unreadable)?, row.text(3).map_err(unreadable)?);
                if row.count(0).map_err(unreadable)? != at {
                    return Err(broken("it is missing"));
                }
                let (last, spool) = (row.count(1).map_err(unreadable)?, row.count(5).map_err(unreadable)?);
                hash = link(&hash, (at, last, spool), &tenant, &lines);
                if hash != row.text(4).map_err(unreadable)? {
                    return Err(broken("its hash does not follow from it and the row before"));
                }
                let records = records(at, &lines).map_err(unreadable)?;
                seq += records.len() as u64;
                if records.is_empty() || records.iter().any(|record| record.tenant.to_string() != tenant) {
                    return Err(broken("it stands where it was not written"));
                }
                if last != seq {
                    return Err(broken("its row does not hold as many records as it says"));
                }
                // A row that reaches beyond the end this process knows is as wrong as another end.
                if at <= end.seq && seq >= end.seq && (seq != end.seq || hash != end.hash) {
                    return Err(broken("it is not the record this process wrote last"));
                }
            }
        }
        Ok(seq)
    }
}
