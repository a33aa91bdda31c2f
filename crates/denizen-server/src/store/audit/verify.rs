//! Whether the chain is what was written: every row follows from the one before it, and carries its tag.
//!
//! Reads page by page, so that a long chain is never in memory and no reader holds the engine up; what retention removes
//! meanwhile is skipped. Tests: the contract suite.

use denizen_wire::UnixTime;

use super::super::{
    AuditBroken, AuditRecord, Revision, Store, StoreError,
    audit::{
        DEPLOYMENT,
        chain::{Chain, PAGE, SELECT_START, Start, StoredRow, int, link, records},
        history::States,
        witness::Witnessed,
    },
    db::{Reader, args},
    ends::LogHead,
    turn::Turn,
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
    /// What somebody accepted, oldest first, as the chain has it.
    pub accepted: Vec<Acceptance>,
    /// When retention last removed records, when the chain starts where it did.
    pub pruned: Option<UnixTime>,
    /// What it says of other chains.
    pub(super) witnessed: Vec<Witnessed>,
    /// What it says that the rows were.
    pub(super) states: States,
    /// The revisions from which somebody went on with other rows, and when.
    pub(super) gone_on: Vec<(Revision, UnixTime)>,
}

/// What `denizen audit accept` recorded, or who restored a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The place of the record.
    pub seq: u64,
    /// When.
    pub at: UnixTime,
    /// What was wrong.
    pub why: String,
    /// The first and the last of the records that were given up, where it is known: those that are missing, and those that
    /// cannot be verified any more.
    pub given_up: Option<(u64, u64)>,
    /// Whether a backup was restored: the records that were written after it are missing, however many there were.
    pub restored: bool,
}

impl Acceptance {
    fn of(record: &AuditRecord) -> Option<Self> {
        let restored = record.action == RESTORED;
        if !(restored || record.action == ACCEPTED) || record.tenant != DEPLOYMENT {
            return None;
        }
        let given_up = record.detail.as_ref().map(|detail| &detail["given_up"]);
        let place = |name| given_up.and_then(|it| it[name].as_u64());
        Some(Self {
            seq: record.seq,
            at: record.at,
            why: record.because.clone(),
            given_up: place("from").zip(place("to")),
            restored,
        })
    }
}

/// The revision that somebody went on from, and when, where a record says so.
fn gone_on(record: &AuditRecord) -> Option<(Revision, UnixTime)> {
    let is_so = [ACCEPTED, RESTORED].contains(&record.action.as_str()) && record.tenant == DEPLOYMENT;
    let revision = record.detail.as_ref()?["revision"].as_u64()?;
    is_so.then_some((Revision(revision), record.at))
}

/// The action of the record of an acceptance.
pub(super) const ACCEPTED: &str = "audit/accept";
/// The action of the record that a backup was restored.
pub(super) const RESTORED: &str = "audit/restore";
/// The action of the record of a step of retention.
pub(super) const PRUNED: &str = "audit/prune";

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
    chain: &Chain,
    end: &LogHead,
    marks: &[Mark<'_>],
) -> Result<Verified, AuditBroken> {
    let mut start = read_start(db, chain).await?;
    let mut verified = Verified {
        records: 0,
        first: start.seq + 1,
        given_up: before(db, chain, &start).await?,
        accepted: Vec::new(),
        pruned: None,
        witnessed: Vec::new(),
        states: States::default(),
        gone_on: Vec::new(),
    };
    let (mut seq, mut hash) = (start.seq, start.hash.clone());
    // What says that a mark's record was given up stands after it.
    let mut given_up = marks.iter().find(|mark| mark.seq > 0 && mark.seq <= seq && start.is_accepted());
    for mark in marks.iter().filter(|mark| mark.seq > 0 && mark.seq <= seq && !start.is_accepted()) {
        mark.compare(&start)?;
    }
    'pages: while seq < end.seq {
        let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag, lines FROM audit \
                   WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let broken = |at: u64, why: &str| AuditBroken { at, why: why.to_owned() };
        let unreadable = |at: u64| move |error: StoreError| AuditBroken { at, why: error.to_string() };
        let after = int(seq).map_err(unreadable(seq))?;
        let page = db.rows(sql, args![&*chain.id, after, PAGE]).await.map_err(unreadable(seq + 1))?;
        let mut rows = page.iter().peekable();
        if rows.peek().is_none_or(|row| row.count(0).ok() != Some(seq + 1)) {
            // Removed by retention while we came here?
            let now = read_start(db, chain).await?;
            if now.seq <= seq {
                return Err(broken(seq + 1, "it is missing, and {by} has it"));
            }
            for mark in marks.iter().filter(|mark| mark.seq > seq && mark.seq <= now.seq) {
                mark.compare(&now)?;
            }
            (seq, hash, start) = (now.seq, now.hash.clone(), now);
            (verified.records, verified.first) = (0, start.seq + 1);
            verified.accepted.clear();
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
            let records = next_row(chain, (seq, &hash), &stored, &lines)?;
            (seq, hash) = (last, stored.head.hash.clone());
            let LogHead { revision, state, at: written, .. } = &stored.head;
            verified.states.note(*revision, state, *written);
            verified.gone_on.extend(records.iter().filter_map(gone_on));
            verified.accepted.extend(records.iter().filter_map(Acceptance::of));
            verified.witnessed.extend(records.iter().flat_map(Witnessed::of));
            let pruned = records.iter().rfind(|record| record.action == PRUNED && record.tenant == DEPLOYMENT);
            verified.pruned = pruned.map(|record| record.at).or(verified.pruned);
            if let Some(mark) = given_up.take() {
                return Err(mark.given_up(verified.accepted.first(), start.seq));
            }
            for mark in marks.iter().filter(|mark| mark.seq >= at && mark.seq <= seq) {
                if mark.seq != seq || mark.hash != hash {
                    return Err(mark.not_there(&verified.accepted, at, "it is not the record that {by} says"));
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
        Some(mark) => Err(mark.not_there(&verified.accepted, seq + 1, "it is missing, and {by} has it")),
        None => Ok(verified),
    }
}

/// The records of a row, when it is the next one of its chain: `before` is the place and the hash of the one before.
///
/// # Errors
/// [`AuditBroken`] when it is not as it was written.
pub(super) fn next_row(
    chain: &Chain,
    (seq, hash): (u64, &str),
    stored: &StoredRow,
    lines: &str,
) -> Result<Vec<AuditRecord>, AuditBroken> {
    let (at, last) = (seq + 1, stored.head.seq);
    let broken = |why: &str| AuditBroken { at, why: why.to_owned() };
    if link(chain, hash, (at, last, stored.head.spool), &stored.tenant, lines) != stored.head.hash {
        return Err(broken("its hash does not follow from it and the row before"));
    }
    if !stored.is_ours(chain) {
        return Err(broken("its tag was not made under this root key: it was written by somebody else"));
    }
    let records = records(at, lines).map_err(|error| AuditBroken { at, why: error.to_string() })?;
    if records.is_empty() || records.iter().any(|record| record.tenant.to_string() != stored.tenant) {
        return Err(broken("it stands where it was not written"));
    }
    if last != seq + records.len() as u64 {
        return Err(broken("its row does not hold as many records as it says"));
    }
    Ok(records)
}

impl Mark<'_> {
    /// Why another record stands in its place, or none.
    fn not_there(&self, accepted: &[Acceptance], at: u64, why: &str) -> AuditBroken {
        let holds = |it: &&Acceptance| {
            let is_known = it.given_up.is_some_and(|(from, to)| from <= self.seq && self.seq <= to);
            // Other records took the places of those that the backup did not have.
            is_known || (it.restored && it.seq <= self.seq)
        };
        match accepted.iter().find(holds) {
            Some(acceptance) => self.given_up(Some(acceptance), self.seq),
            None => AuditBroken { at, why: why.replace("{by}", self.by) },
        }
    }

    /// Its record was given up.
    fn given_up(&self, by: Option<&Acceptance>, to: u64) -> AuditBroken {
        if let Some(by) = by.filter(|by| by.restored) {
            let why = format!(
                "the trail does not have the record that {} says. A backup was restored on {}, as record {} says, and has none \
                 of the records that were written after it was taken: either that is one of them, or the trail was changed \
                 since",
                self.by,
                by.at.rfc3339(),
                by.seq
            );
            return AuditBroken { at: self.seq, why };
        }
        let to = by.and_then(|by| by.given_up).map_or(to, |(_, to)| to);
        let recorded =
            by.map_or_else(String::new, |by| format!(" on {}, as record {} says: {}", by.at.rfc3339(), by.seq, by.why));
        let why = format!(
            "{} lies in the part of the trail that was accepted as lost, which ends at record {to}: `denizen audit accept` \
             was run{recorded}",
            self.by
        );
        AuditBroken { at: self.seq, why }
    }

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

async fn read_start(db: &mut Reader<'_>, chain: &Chain) -> Result<Start, AuditBroken> {
    let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
    let rows = db.rows(SELECT_START, args![&*chain.id]).await.map_err(unreadable)?;
    Ok(Start::read(&rows, chain)?)
}

/// How many lines the rows up to a place have: they may be anybody's, so that what their other columns say is worth
/// nothing.
pub(super) async fn records_to(db: &mut Reader<'_>, chain: &Chain, seq: u64) -> Result<u64, StoreError> {
    let sql = "SELECT COALESCE(SUM(LENGTH(lines) - LENGTH(REPLACE(lines, '\n', ''))), 0) FROM audit \
               WHERE chain = $1 AND seq <= $2";
    db.rows(sql, args![&*chain.id, int(seq)?]).await?.first().map_or(Ok(0), |row| row.count(0))
}

/// How many records stand before the start. There may be some only where somebody gave them up.
async fn before(db: &mut Reader<'_>, chain: &Chain, start: &Start) -> Result<u64, AuditBroken> {
    let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
    if start.is_accepted() {
        return records_to(db, chain, start.seq).await.map_err(unreadable);
    }
    // One statement, because retention moves both.
    let sql = "SELECT seq FROM audit WHERE chain = $1 \
               AND seq <= COALESCE((SELECT seq FROM audit_start WHERE chain = $1), 0) LIMIT 1";
    match db.rows(sql, args![&*chain.id]).await.map_err(unreadable)?.first() {
        Some(row) => {
            let at = row.count(0).map_err(unreadable)?;
            Err(AuditBroken { at, why: "it stands before the start of the trail".to_owned() })
        }
        None => Ok(0),
    }
}

impl Store {
    /// Recomputes this replica's chain from its first record; gives the number of records.
    pub async fn audit_verify(&self) -> Result<u64, AuditBroken> {
        let unreadable = |error: StoreError| AuditBroken { at: 0, why: error.to_string() };
        self.shipper.shipped().await.map_err(unreadable)?;
        // Read before the records, so that a record written meanwhile is not taken for one that was added.
        let end = Turn::next(&self.core).await.ready(&self.core).await.map_err(unreadable)?;
        let mut db = Reader::Pool(&self.core.readers, &self.core.statements);
        Ok(walk(&mut db, &self.core.chain, &end, &[]).await?.records)
    }
}
