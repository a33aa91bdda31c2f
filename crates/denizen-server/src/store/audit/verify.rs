//! Whether the chain is what was written: every row follows from the one before it, and carries its tag.
//!
//! Reads page by page, so that a long chain is never in memory and no reader holds the engine up; what retention removes
//! meanwhile is skipped. Tests: the contract suite.

use denizen_keys::mac::MacKey;

use super::super::{
    AuditBroken, Store, StoreError,
    audit::chain::{PAGE, SELECT_START, Start, StoredRow, int, link, records},
    db::{Reader, args},
    writer::LogHead,
};

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records it has.
    pub records: u64,
    /// The place of the first; records before it were removed by retention, or given up.
    pub first: u64,
    /// Records before the first that are there, and worth nothing: somebody accepted that.
    pub given_up: u64,
}

/// A place that must be in the chain, with its hash.
pub(super) struct Mark<'a> {
    pub(super) seq: u64,
    pub(super) hash: &'a str,
    /// What says so.
    pub(super) by: &'a str,
}

/// Goes through the chain from its start to `end` at least.
///
/// # Errors
/// [`AuditBroken`] at the first record that is not as it was written, or does not fit a mark.
pub(super) async fn walk(
    db: &mut Reader<'_>,
    key: &MacKey,
    end: &LogHead,
    marks: &[Mark<'_>],
) -> Result<Verified, AuditBroken> {
    let mut start = read_start(db, key).await?;
    let mut verified = Verified { records: 0, first: start.seq + 1, given_up: before(db, &start).await? };
    let (mut seq, mut hash) = (start.seq, start.hash.clone());
    for mark in marks.iter().filter(|mark| mark.seq > 0 && mark.seq <= seq) {
        mark.compare(&start)?;
    }
    'pages: while seq < end.seq {
        let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag, lines FROM audit \
                   WHERE seq > $1 ORDER BY seq LIMIT $2";
        let broken = |at: u64, why: &str| AuditBroken { at, why: why.to_owned() };
        let unreadable = |at: u64| move |error: StoreError| AuditBroken { at, why: error.to_string() };
        let page = db.rows(sql, args![int(seq), PAGE]).await.map_err(unreadable(seq + 1))?;
        let mut rows = page.iter().peekable();
        if rows.peek().is_none_or(|row| row.count(0).ok() != Some(seq + 1)) {
            // Removed by retention while we came here?
            let now = read_start(db, key).await?;
            if now.seq <= seq {
                return Err(broken(seq + 1, "it is missing"));
            }
            for mark in marks.iter().filter(|mark| mark.seq > seq && mark.seq <= now.seq) {
                mark.compare(&now)?;
            }
            (seq, hash, start) = (now.seq, now.hash.clone(), now);
            (verified.records, verified.first) = (0, start.seq + 1);
            continue;
        }
        for row in rows {
            let at = seq + 1;
            let stored = StoredRow::read(row).map_err(unreadable(at))?;
            if stored.seq != at {
                // A row of the page went while it was being read: seen when the next page is asked for.
                continue 'pages;
            }
            let lines = row.text(10).map_err(unreadable(at))?;
            let last = stored.head.seq;
            hash = link(&hash, (at, last, stored.head.spool), &stored.tenant, &lines);
            if hash != stored.head.hash {
                return Err(broken(at, "its hash does not follow from it and the row before"));
            }
            if !stored.is_ours(key) {
                return Err(broken(at, "its tag was not made under this root key: it was written by somebody else"));
            }
            let records = records(at, &lines).map_err(unreadable(at))?;
            seq += records.len() as u64;
            if records.is_empty() || records.iter().any(|record| record.tenant.to_string() != stored.tenant) {
                return Err(broken(at, "it stands where it was not written"));
            }
            if last != seq {
                return Err(broken(at, "its row does not hold as many records as it says"));
            }
            for mark in marks.iter().filter(|mark| mark.seq >= at && mark.seq <= seq) {
                if mark.seq != seq || mark.hash != hash {
                    return Err(broken(at, &format!("it is not the record that {} says", mark.by)));
                }
            }
            // A row that reaches beyond the end that is known is as wrong as another end.
            if at <= end.seq && seq >= end.seq && (seq != end.seq || hash != end.hash) {
                return Err(broken(at, "it is not the record this process wrote last"));
            }
            verified.records += records.len() as u64;
        }
    }
    match marks.iter().find(|mark| mark.seq > seq) {
        Some(mark) => Err(AuditBroken { at: seq + 1, why: format!("it is missing, and {} has it", mark.by) }),
        None => Ok(verified),
    }
}

impl Mark<'_> {
    /// Whether it fits what is left of the records before the start.
    fn compare(&self, start: &Start) -> Result<(), AuditBroken> {
        let why = if self.seq < start.seq {
            format!("it was removed since, so that what {} says of it cannot be compared; give a later head", self.by)
        } else if self.hash != start.hash {
            format!("it is not the record that {} says", self.by)
        } else {
            return Ok(());
        };
        Err(AuditBroken { at: self.seq, why })
    }
}

async fn read_start(db: &mut Reader<'_>, key: &MacKey) -> Result<Start, AuditBroken> {
    let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
    let rows = db.rows(SELECT_START, &[]).await.map_err(unreadable)?;
    Ok(Start::read(&rows, key)?)
}

/// How many records stand before the start. There may be some only where somebody gave them up.
async fn before(db: &mut Reader<'_>, start: &Start) -> Result<u64, AuditBroken> {
    let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
    if start.is_accepted() {
        let sql = "SELECT COALESCE(SUM(last - seq + 1), 0) FROM audit WHERE seq <= $1";
        let rows = db.rows(sql, args![int(start.seq)]).await.map_err(unreadable)?;
        return rows.first().map_or(Ok(0), |row| row.count(0)).map_err(unreadable);
    }
    // One statement, because retention moves both.
    let sql = "SELECT seq FROM audit WHERE seq <= COALESCE((SELECT seq FROM audit_start WHERE id = 1), 0) LIMIT 1";
    match db.rows(sql, &[]).await.map_err(unreadable)?.first() {
        Some(row) => {
            let at = row.count(0).map_err(unreadable)?;
            Err(AuditBroken { at, why: "it stands before the start of the trail".to_owned() })
        }
        None => Ok(0),
    }
}

impl Store {
    /// Recomputes the chain from its first record; gives the number of records.
    pub async fn audit_verify(&self) -> Result<u64, AuditBroken> {
        let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
        self.shipper.shipped().await.map_err(unreadable)?;
        // Read before the records, so that a record written meanwhile is not taken for one that was added.
        let end = self.core.writer.lock().await.ready(&self.core).await.map_err(unreadable)?;
        let mut db = Reader::Pool(&self.core.readers, &self.core.statements);
        Ok(walk(&mut db, &self.core.keys.chain, &end, &[]).await?.records)
    }
}
