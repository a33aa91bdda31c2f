//! The audit of a backup: whether its chains are whole, and what is recorded when it is restored.
//!
//! Touches the database, the anchor and the spool's folder, when it is told to. Tests: `store/backup/tests.rs`.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use denizen_wire::UnixTime;
use serde_json::json;

use super::{
    super::{
        AuditBroken, Engine, Revision, StoreError, StoreKeys, TrailFault,
        db::{Cell, Reader, Row as DbRow, Statements},
        ends::{Ends, LogHead},
        writer::Writer,
    },
    AuditEvent, DEPLOYMENT, Head, anchor,
    chain::{self, Chain, Row, Start, StoredRow},
    line, own,
    spool::{Known, Spool},
    verify::{RESTORED, next_row},
};

/// The chains of rows that come in the order of their keys, the starts before them.
pub(in crate::store) struct ChainChecks {
    keys: StoreKeys,
    starts: BTreeMap<String, Start>,
    at: Option<Walked>,
    /// What the newest end of all chains says that the directory's rows are.
    newest: Option<(Revision, Vec<u8>)>,
    records: u64,
}

/// How far a chain has come.
struct Walked {
    chain: Chain,
    start: Start,
    seq: u64,
    hash: String,
    end: Option<(Revision, Vec<u8>)>,
}

impl ChainChecks {
    pub(in crate::store) fn new(keys: &StoreKeys) -> Self {
        Self { keys: keys.clone(), starts: BTreeMap::new(), at: None, newest: None, records: 0 }
    }

    /// A row of `audit_start`.
    pub(in crate::store) fn start(&mut self, cells: &[Cell]) -> Result<(), StoreError> {
        let Some((Cell::Text(id), rest)) = cells.split_first() else {
            return Err(StoreError::Trail(TrailFault::StartForged));
        };
        let start = Start::read(&[DbRow::made(rest.to_vec())], &Chain::named(id, &self.keys))?;
        self.starts.insert(id.clone(), start);
        Ok(())
    }

    /// A row of `audit`.
    pub(in crate::store) fn row(&mut self, cells: &[Cell]) -> Result<(), StoreError> {
        let row = DbRow::made(cells.to_vec());
        let id = row.text(0)?;
        if self.at.as_ref().is_none_or(|at| *at.chain.id != *id) {
            self.end_chain();
            let start = self.starts.get(&id).cloned().unwrap_or_default();
            let (seq, hash) = (start.seq, start.hash.clone());
            self.at = Some(Walked { chain: Chain::named(&id, &self.keys), start, seq, hash, end: None });
        }
        let Some(at) = &mut self.at else { return Ok(()) };
        let of_chain =
            |broken: AuditBroken| AuditBroken { why: format!("chain {}: {}", at.chain.id, broken.why), ..broken };
        let stored = StoredRow::read_any_at(&row, 1)?;
        if stored.seq <= at.start.seq {
            // Somebody gave it up, and it is worth nothing.
            if at.start.is_accepted() {
                return Ok(());
            }
            let why = "it stands before the start of the trail".to_owned();
            return Err(of_chain(AuditBroken { at: stored.seq, why }).into());
        }
        if stored.seq != at.seq + 1 {
            return Err(of_chain(AuditBroken { at: at.seq + 1, why: "it is missing".to_owned() }).into());
        }
        let found = next_row(&at.chain, (at.seq, &at.hash), &stored, &row.text(11)?).map_err(of_chain)?;
        self.records += found.len() as u64;
        (at.seq, at.hash) = (stored.head.seq, stored.head.hash.clone());
        at.end = Some((stored.head.revision, stored.head.state));
        Ok(())
    }

    fn end_chain(&mut self) {
        let end = self.at.take().and_then(|at| at.end);
        self.newest = [self.newest.take(), end].into_iter().flatten().max_by_key(|(revision, _)| *revision);
    }

    /// Whether the chains end with these rows; how many records they have.
    pub(in crate::store) fn finish(mut self, rows: (Revision, &[u8])) -> Result<u64, StoreError> {
        self.end_chain();
        let (revision, state) = self.newest.unwrap_or_default();
        if (revision, state.as_slice()) == rows {
            return Ok(self.records);
        }
        Err(TrailFault::OfOtherRows { rows: rows.0.0, trail: revision.0 }.into())
    }
}

/// What is restored, as the record says it.
pub(in crate::store) struct Source<'a> {
    /// Of the backup, or of the copy.
    pub(in crate::store) id: String,
    /// The chain that this server goes on with.
    pub(in crate::store) chain: &'a str,
    pub(in crate::store) at: UnixTime,
    pub(in crate::store) because: String,
    /// What the anchor beside the database says, where there is one.
    pub(in crate::store) anchor: Option<Head>,
    pub(in crate::store) command: &'static str,
}

/// Records, in the transaction that restores, what is restored and what is missing; gives the head after it.
pub(in crate::store) async fn record(
    writer: &mut Writer,
    statements: &Statements,
    keys: &StoreKeys,
    source: &Source<'_>,
    now: UnixTime,
) -> Result<LogHead, StoreError> {
    let chain = Chain::named(source.chain, keys);
    let head = end(writer, statements, &chain).await?;
    let known = source.anchor.as_ref().filter(|anchor| anchor.chain == source.chain && anchor.seq > head.seq);
    let given_up = known.map(|anchor| json!({ "from": head.seq + 1, "to": anchor.seq }));
    let event = AuditEvent {
        detail: Some(json!({
            "backup": source.id,
            "taken": source.at.rfc3339(),
            "revision": head.revision,
            "seq": head.seq,
            "hash": head.hash,
            "given_up": given_up,
        })),
        ..AuditEvent::allowed(RESTORED, "audit", source.because.clone())
    };
    let line = line(&own(now, source.command), &event, None)?;
    let (row, after) = Row::of_transaction(&head, &chain, DEPLOYMENT, line)?;
    chain::force(writer, statements, &[row]).await?;
    Ok(after)
}

/// Where the chain ends, with the rows there are.
async fn end(writer: &mut Writer, statements: &Statements, chain: &Chain) -> Result<LogHead, StoreError> {
    let ends = Ends::read(&mut Reader::Conn(writer.conn()?, statements), chain).await?;
    let (revision, state) = ends.head.map(|head| (head.revision, head.state)).unwrap_or_default();
    Ok(LogHead { revision, state, ..ends.last.map(|last| last.head).unwrap_or_default() })
}

/// The head, when the last record of the chain says that this very backup was restored and nothing was done since.
pub(in crate::store) async fn is_restored(
    writer: &mut Writer,
    statements: &Statements,
    keys: &StoreKeys,
    source: &Source<'_>,
) -> Result<Option<LogHead>, StoreError> {
    let chain = Chain::named(source.chain, keys);
    let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag, lines FROM audit \
               WHERE chain = $1 ORDER BY seq DESC LIMIT 1";
    let rows = writer.conn()?.rows(statements, sql, super::super::db::args![source.chain]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let stored = StoredRow::read_any_at(row, 0)?;
    if !stored.is_ours(&chain) {
        return Ok(None);
    }
    let records = chain::records(stored.seq, &row.text(10)?)?;
    let is_it = records.iter().any(|record| {
        record.action == RESTORED
            && record.tenant == DEPLOYMENT
            && record.detail.as_ref().is_some_and(|detail| detail["backup"] == source.id.as_str())
    });
    if is_it { end(writer, statements, &chain).await.map(Some) } else { Ok(None) }
}

/// Refuses a spool that holds records: no database that is restored has them.
pub(in crate::store) fn refuse_spool(engine: &Engine) -> Result<(), StoreError> {
    let folder = engine.spool();
    let failed = |source: io::Error| StoreError::Spool { folder: folder.clone(), source: Arc::new(source) };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let about = entry.and_then(|entry| entry.path().symlink_metadata()).map_err(failed)?;
        if !about.is_file() || about.len() > 0 {
            return Err(failed(io::Error::other(
                "it holds records that the backup does not have; move the folder elsewhere, keep it as evidence, and run \
                 this again",
            )));
        }
    }
    Ok(())
}

/// Makes the spool that goes on where the chain ends.
pub(in crate::store) fn make_spool(engine: &Engine, keys: &StoreKeys, head: &LogHead) -> Result<(), StoreError> {
    let known = Known { shipped: head.spool, spooled: None };
    Spool::open(&engine.spool(), known, &keys.spool).map(drop)
}

/// Writes the anchor of a database that was restored.
pub(in crate::store) fn write_anchor(
    engine: &Engine,
    keys: &StoreKeys,
    chain: &str,
    head: &LogHead,
) -> Result<(), StoreError> {
    let head = Head::new(&Chain::named(chain, keys), head, head.spool, &keys.anchor);
    anchor::write(&engine.anchor(), &head)
}

/// The anchor beside a database that is to be restored. One that cannot be read says nothing.
///
/// # Errors
/// [`StoreError::OtherRootKey`] when it is another root key's.
pub(in crate::store) fn read_anchor(path: &Path, keys: &StoreKeys) -> Result<Option<Head>, StoreError> {
    match anchor::read(path, keys) {
        Ok(anchor) => Ok(anchor),
        Err(fault) if anchor::is_foreign(&fault) => Err(StoreError::OtherRootKey),
        Err(_) => Ok(None),
    }
}

/// Which root key something was written under.
pub(in crate::store) fn deployment(keys: &StoreKeys) -> String {
    anchor::deployment(&keys.anchor)
}

/// The chain of the replica whose folder this is, and where it ends.
pub(in crate::store) async fn own_end(
    db: &mut Reader<'_>,
    keys: &StoreKeys,
    engine: &Engine,
) -> Result<(String, LogHead), StoreError> {
    let anchor = read_anchor(&engine.anchor(), keys)?;
    let chain = anchor::own_chain(db, keys, anchor.as_ref(), engine.sharing()).await?;
    let ends = Ends::read(db, &chain).await?;
    let (revision, state) = ends.head.map(|head| (head.revision, head.state)).unwrap_or_default();
    let head = LogHead { revision, state, ..ends.last.map(|last| last.head).unwrap_or_default() };
    Ok((chain.id.to_string(), head))
}
