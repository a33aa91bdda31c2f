//! How long the audit and the change log are kept: up to an age and up to a size, whichever is reached first.
//!
//! Whole rows go, from the front of the chain, a few at a time, so that a writer never waits long. Where the chain starts
//! then is kept with a tag ([`Start`]), and each step is recorded itself. The changes of removed records go too, but for
//! the newest of each kind and of each vault, by which the snapshot is loaded. What is freed is used again by the engine,
//! so the file stops growing. Tests: `retention/tests.rs` (the arithmetic), and the contract suite.

#[cfg(test)]
mod tests;

use std::{sync::atomic::Ordering, time::Duration};

use denizen_wire::UnixTime;
use serde_json::json;

use super::super::{
    Store, StoreError, TrailFault,
    audit::{
        self, AuditEvent,
        chain::{Chain, PUT_START, SELECT_START, Start, StartWhy, StoredRow, chains, int},
        verify::PRUNED,
    },
    db::{Reader, args},
    ends::{Ends, LogHead},
};

/// Rows that one transaction removes, and bytes: a writer waits for one of them.
const STEP_ROWS: i64 = 500;
const STEP_BYTES: u64 = 1024 * 1024;
/// A replica that has recorded nothing for so long, seconds, is taken for one that does not come back.
const GONE: i64 = 30 * 24 * 60 * 60;

/// How long the audit and the change log are kept. What is none, or zero, is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Records older than this are removed.
    pub age: Option<Duration>,
    /// So are the oldest, while all together take more than this, bytes.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(400 * 24 * 60 * 60)), bytes: Some(4 * 1024 * 1024 * 1024) }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Audit records.
    pub records: u64,
    /// Entries of the change log.
    pub changes: u64,
}

impl Retention {
    /// The same without the age: for when the clock cannot be trusted.
    #[must_use]
    pub const fn by_size(self) -> Self {
        Self { age: None, ..self }
    }

    /// Whether so many bytes are more than is kept.
    #[must_use]
    pub fn is_outgrown(&self, bytes: u64) -> bool {
        self.bytes.is_some_and(|most| most > 0 && bytes > most)
    }

    /// Why a row is to go that was written at `at`, when it and all after it take `bytes`; none when it stays.
    fn why(&self, now: UnixTime, at: UnixTime, bytes: u64) -> Option<&'static str> {
        let age = self.age.map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        if self.is_outgrown(bytes) {
            Some("all together took more than the size that is kept")
        } else if age > 0 && now.0.saturating_sub(at.0) > age {
            Some("it was older than the age that is kept")
        } else {
            None
        }
    }
}

/// Rows that go together.
struct Step {
    start: Start,
    /// How many records.
    records: u64,
    why: &'static str,
}

/// A chain that was written under our root key, whichever replica writes it or has written it.
struct Part {
    chain: Chain,
    start: Start,
    /// Where it ended when this began.
    end: LogHead,
    is_own: bool,
}

impl Part {
    /// What its rows and their changes take, bytes.
    fn size(&self) -> u64 {
        self.end.total.saturating_sub(self.start.total)
    }
}

impl Store {
    /// Removes what is kept no longer, the oldest of all chains first. What was written after this began stays.
    ///
    /// # Errors
    /// The store's. What was removed before one stays removed, and recorded.
    pub async fn prune(&self, retention: Retention, now: UnixTime) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let mut parts = self.parts().await?;
        let mut open: Vec<usize> = (0..parts.len()).collect();
        while let Some((place, at)) = self.oldest(&parts, &open).await? {
            let others: u64 = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, it)| it.size()).sum();
            let Some(part) = parts.get_mut(at) else { break };
            let Some(step) = self.next_step(part, others, retention, now).await? else {
                open.remove(place);
                continue;
            };
            if part.start.is_accepted() && self.remove_given_up(&part.chain, &part.start, now).await? {
                continue;
            }
            if self.remove(&part.chain, &part.start, &step, now).await? {
                pruned.records += step.records;
                self.core.health.pruned.fetch_add(step.records, Ordering::Relaxed);
            }
            part.start = self.audit_start(&part.chain).await?;
        }
        self.note_start(&parts);
        pruned.changes = self.prune_changes(&parts, now).await?;
        Ok(pruned)
    }

    /// What all chains and their changes take, bytes.
    ///
    /// # Errors
    /// The store's.
    pub async fn audit_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.parts().await?.iter().map(Part::size).sum())
    }

    /// The chains there are. One that was not written under our root key is none: it would count among what may be kept, and
    /// take the place of records that are.
    async fn parts(&self) -> Result<Vec<Part>, StoreError> {
        let mut db = Reader::Pool(&self.core.readers, &self.core.statements);
        let mut parts = Vec::new();
        for id in chains(&mut db).await? {
            let chain = Chain::named(&id, &self.core.keys);
            let is_own = *chain.id == *self.core.chain.id;
            let end = match is_own {
                true => Some(self.core.heads.borrow().clone()),
                false => Ends::read(&mut db, &chain).await?.last.filter(|end| end.is_ours(&chain)).map(|end| end.head),
            };
            if let Some(end) = end {
                let start = self.audit_start(&chain).await?;
                parts.push(Part { chain, start, end, is_own });
            }
        }
        Ok(parts)
    }

    /// Of some parts the one whose first row is the oldest: where it stands among them, and among all.
    async fn oldest(&self, parts: &[Part], open: &[usize]) -> Result<Option<(usize, usize)>, StoreError> {
        let mut oldest = None;
        for (place, at) in open.iter().enumerate() {
            let Some(part) = parts.get(*at) else { continue };
            let written = match self.first_row(part).await? {
                // Its time is anybody's word, and would have others' records removed in its place.
                Some(row) if !row.is_ours(&part.chain) || row.seq != part.start.seq + 1 => {
                    return Err(self.core.health.disagrees(TrailFault::Rewritten { seq: part.start.seq + 1 }));
                }
                Some(row) => row.head.at,
                None => part.end.at,
            };
            if oldest.is_none_or(|(before, _)| written < before) {
                oldest = Some((written, (place, *at)));
            }
        }
        Ok(oldest.map(|(_, found)| found))
    }

    /// The first row after the start.
    async fn first_row(&self, part: &Part) -> Result<Option<StoredRow>, StoreError> {
        let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
                   WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT 1";
        let rows = self.rows(sql, args![&*part.chain.id, int(part.start.seq)?]).await?;
        rows.first().map(StoredRow::read).transpose()
    }

    /// Notes what this replica's chain had taken where it starts: another may have pruned it.
    fn note_start(&self, parts: &[Part]) {
        if let Some(own) = parts.iter().find(|part| part.is_own) {
            self.core.health.start_total.store(own.start.total(), Ordering::Relaxed);
        }
    }

    /// The same, afresh.
    pub(super) async fn look_at_start(&self) -> Result<(), StoreError> {
        let start = self.audit_start(&self.core.chain).await?;
        self.core.health.start_total.store(start.total(), Ordering::Relaxed);
        Ok(())
    }

    async fn audit_start(&self, chain: &Chain) -> Result<Start, StoreError> {
        Ok(Start::read(&self.rows(SELECT_START, args![&*chain.id]).await?, chain)?)
    }

    /// The rows of a part to remove next, where the others take so many bytes. The last of the chain never goes.
    async fn next_step(
        &self,
        Part { chain, start, end, .. }: &Part,
        others: u64,
        retention: Retention,
        now: UnixTime,
    ) -> Result<Option<Step>, StoreError> {
        let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
                   WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let rows = self.rows(sql, args![&*chain.id, int(start.seq)?, STEP_ROWS]).await?;
        let (mut before, mut step): (Start, Option<Step>) = (start.clone(), None);
        for row in &rows {
            let row = StoredRow::read(row)?;
            let bytes = others.saturating_add(end.total.saturating_sub(before.total));
            let why = retention.why(now, row.head.at, bytes).filter(|_| row.head.seq < end.seq);
            let Some(why) = why else { break };
            // What somebody else wrote is not removed as if it were ours: it would vanish with nobody having seen it.
            if row.seq != before.seq + 1 || !row.is_ours(chain) {
                return Err(self.core.health.disagrees(TrailFault::Rewritten { seq: before.seq + 1 }));
            }
            if step.is_some() && row.head.total.saturating_sub(start.total) > STEP_BYTES {
                break;
            }
            before = Start { seq: row.head.seq, hash: row.head.hash, total: row.head.total, why: StartWhy::Pruned };
            let records = before.seq - start.seq;
            step = Some(Step { start: before.clone(), records, why: step.map_or(why, |step| step.why) });
        }
        Ok(step)
    }

    /// Removes the rows of a step, unless somebody else did meanwhile.
    async fn remove(&self, chain: &Chain, start: &Start, step: &Step, now: UnixTime) -> Result<bool, StoreError> {
        let mut tx = self.begin(&audit::own(now, "retention")).await?;
        if Start::read(&tx.rows(SELECT_START, args![&*chain.id]).await?, chain)? != *start {
            return Ok(false);
        }
        let sql = "DELETE FROM audit WHERE chain = $1 AND seq > $2 AND seq <= $3";
        tx.execute(sql, args![&*chain.id, int(start.seq)?, int(step.start.seq)?]).await?;
        tx.execute(PUT_START, &step.start.args(chain, &step.start.tag(chain))?).await?;
        tx.commit(removed(chain, start.seq + 1, step.start.seq, step.why)).await?;
        Ok(true)
    }

    /// Removes a few of the rows before an accepted start; says whether there were any.
    async fn remove_given_up(&self, chain: &Chain, start: &Start, now: UnixTime) -> Result<bool, StoreError> {
        let mut tx = self.begin(&audit::own(now, "retention")).await?;
        let sql = "DELETE FROM audit WHERE chain = $1 \
                   AND seq IN (SELECT seq FROM audit WHERE chain = $1 AND seq <= $2 ORDER BY seq LIMIT 32)";
        if tx.execute(sql, args![&*chain.id, int(start.seq)?]).await? == 0 {
            return Ok(false);
        }
        tx.commit(removed(chain, 1, start.seq, "it was given up, and what follows it is removed")).await?;
        Ok(true)
    }

    /// Removes the changes whose records were removed.
    async fn prune_changes(&self, parts: &[Part], now: UnixTime) -> Result<u64, StoreError> {
        // The newest of a kind and of a vault stay, wherever they are: they are gone through each time.
        const OLD: &str = "SELECT COUNT(*) FROM changes WHERE revision >= $1 AND revision < $2 \
             AND revision < (SELECT MAX(revision) FROM changes AS k WHERE k.kind = changes.kind) \
             AND (parent IS NULL OR revision < (SELECT MAX(revision) FROM changes AS p WHERE p.parent = changes.parent))";
        const REMOVE: &str = "DELETE FROM changes WHERE revision >= $1 AND revision < $2 \
             AND revision < (SELECT MAX(revision) FROM changes AS k WHERE k.kind = changes.kind) \
             AND (parent IS NULL OR revision < (SELECT MAX(revision) FROM changes AS p WHERE p.parent = changes.parent))";
        // By a clock that may be wrong, nobody is gone.
        let is_gone =
            |part: &Part, last: UnixTime| !part.is_own && self.trusts(now) && now.0.saturating_sub(last.0) > GONE;
        for part in parts.iter().filter(|part| part.start.is_accepted() && !is_gone(part, part.end.at)) {
            // Records that were given up are there as long as retention has not come to them.
            let sql = "SELECT 1 FROM audit WHERE chain = $1 AND seq <= $2 LIMIT 1";
            if !self.rows(sql, args![&*part.chain.id, int(part.start.seq)?]).await?.is_empty() {
                return Ok(0);
            }
        }
        // What leads from the anchor to the rows there are must stay, should this process end now.
        let mut end = int(self.keeper.anchored().await.0)?;
        for part in parts {
            let Some(first) = self.first_row(part).await? else { continue };
            if !first.is_ours(&part.chain) {
                return Err(self.core.health.disagrees(TrailFault::Rewritten { seq: first.seq }));
            }
            // The last row of a chain always stays. Of a replica that is gone it keeps nothing else.
            if first.head.seq != part.end.seq || !is_gone(part, first.head.at) {
                end = end.min(int(first.head.revision.0)?);
            }
        }
        let (mut from, mut removed) = (0, 0);
        while from < end {
            let sql = "SELECT revision FROM changes WHERE revision >= $1 AND revision < $2 \
                       ORDER BY revision LIMIT 1 OFFSET 1000";
            let to = self.rows(sql, args![from, end]).await?.first().map_or(Ok(end), |row| row.int(0))?;
            // A transaction with more changes than one step takes goes as a whole.
            let to = to.max(from + 1);
            let old = self.rows(OLD, args![from, to]).await?.first().map_or(Ok(0), |row| row.count(0))?;
            if old > 0 {
                let mut tx = self.begin(&audit::own(now, "retention")).await?;
                let gone = tx.execute(REMOVE, args![from, to]).await?;
                let because = "the audit records of the same transactions were removed before";
                let event = AuditEvent {
                    detail: Some(json!({ "entries": gone })),
                    ..AuditEvent::allowed("changes/prune", format!("changes/{from}-{}", to - 1), because)
                };
                tx.commit(event).await?;
                removed += gone;
            }
            from = to;
        }
        Ok(removed)
    }
}

fn removed(chain: &Chain, from: u64, to: u64, why: &'static str) -> AuditEvent<'static> {
    AuditEvent {
        detail: Some(json!({ "chain": &*chain.id, "from": from, "to": to })),
        ..AuditEvent::allowed(PRUNED, format!("audit/{from}-{to}"), why)
    }
}
