//! Backup and restore of everything, while servers run: one sealed file, the same for both engines.
//!
//! A backup is read in one transaction, so it is of one moment. Every row is checked on its way, as a start checks it: a
//! backup that could not be restored is not made. It opens with the root key alone, which is not in it. A restore fills an
//! empty database in one transaction, records that in the audit, and opens the store as a server does.
//!
//! | file | holds |
//! |---|---|
//! | [`file`] | the format |
//! | [`tables`] | which rows, in which order |
//! | [`check`] | whether they are those of one moment |
//! | [`note`] | what a copy leaves beside its source |
//!
//! Touches the database, and the anchor and the spool beside it. Tests: `tests.rs`, and `tests/it`.

mod check;
mod file;
pub(in crate::store) mod note;
mod tables;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
};

use denizen_keys::{KeyError, envelope::RootKey, hash};
use denizen_wire::UnixTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::{
    check::Checker,
    file::{Opener, Writer as FileWriter},
    tables::{Table, tables},
};
use super::{
    Engine, Revision, Store, StoreError, StoreKeys,
    audit::{chain::Chain, restored},
    db::{self, Arg, Cell, Conn, Reader, Sql, Statements},
    live::Live,
    writer::Writer,
};

/// Placeholders of one statement at most.
const PLACEHOLDERS: usize = 4096;

/// What anybody may know of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// Names it, in the audit among others.
    pub id: Uuid,
    /// The release that made it.
    pub release: String,
    /// Which root key opens it: no secret.
    pub deployment: String,
    /// When it was taken.
    pub at: UnixTime,
    /// The engine that the data was in.
    pub engine: String,
    /// The directory's revision.
    pub revision: Revision,
    /// The audit's chain that the server which was asked wrote.
    pub chain: String,
    /// The last record of that chain.
    pub seq: u64,
    /// The migrations that made the schema: number and SHA-256.
    pub schema: Vec<(i64, String)>,
}

/// A backup that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewBackup<'a> {
    /// Names it.
    pub id: Uuid,
    /// The release that makes it.
    pub release: &'a str,
    /// Now.
    pub at: UnixTime,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// What stands at its beginning.
    pub header: BackupHeader,
    /// The rows of each table.
    pub rows: Vec<(&'static str, u64)>,
    /// Records of the audit, of all chains.
    pub records: u64,
    /// The file's length; none where there is no file.
    pub bytes: Option<u64>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What it was restored from.
    pub from: BackupSummary,
    /// The place of the audit's record that says so.
    pub seq: u64,
    /// The records that are known to be missing, the first and the last.
    pub missing: Option<(u64, u64)>,
    /// Whether an earlier run had done all but the last step.
    pub was_finished: bool,
}

/// Why there is no backup, or none was restored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("this is no backup of Denizen")]
    NotABackup,
    /// There is nothing in it.
    #[error(
        "it is empty: whatever should have written a backup there wrote nothing; take another copy of it, or another backup"
    )]
    Empty,
    /// A newer release made it.
    #[error("the backup has a format that this release does not know: use the release that made it, or a newer one")]
    Version,
    /// Another root key.
    #[error("the backup was made under another root key: put that root key in place, it opens nothing else")]
    OtherRootKey,
    /// It is not as it was made.
    #[error(
        "the backup is damaged or was changed: {0}. Nothing of it was used; take another copy of it, or another backup"
    )]
    Damaged(#[from] BackupDamage),
    /// Another release's schema.
    #[error(
        "the backup has the schema of release {release}, which this release does not know: restore it with that one"
    )]
    Schema {
        /// The release that made it.
        release: String,
    },
    /// An older schema than the one there is.
    #[error(
        "the backup has an older schema than the database has tables of already: name a database that has no tables, and \
         they are brought up to date with what is in them"
    )]
    OlderSchema,
    /// There is something already.
    #[error(
        "there is data in the database already ({table}), and it was not touched: name an empty database, or move this one away"
    )]
    NotEmpty {
        /// A table that has rows.
        table: &'static str,
    },
    /// Both are the same.
    #[error("this is where the data is already: name another database")]
    Same,
    /// It cannot be read.
    #[error("the backup cannot be read: {0}")]
    Read(#[source] Arc<io::Error>),
    /// It cannot be written.
    #[error("the backup cannot be written: {0}")]
    Write(#[source] Arc<io::Error>),
    /// Everything was copied, and the source does not say so.
    #[error(
        "everything is copied and checked there, and {}, which keeps a server from being started on the old database, \
         cannot be written: {source}. Start none on it, and move it away", path.display()
    )]
    Note {
        /// The note.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The library failed.
    #[error("the backup's key: {0}")]
    Key(#[from] KeyError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was restored, and no server would serve it.
    #[error("everything was written, and a server would refuse it: {0}")]
    Refused(#[source] StoreError),
}

/// How a backup differs from the one that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupDamage {
    /// There is no more of what stands before the frames.
    #[error("it ends within its header, before anything that was backed up")]
    CutHeader,
    /// What anybody may know of it is none.
    #[error("its header cannot be read")]
    UnreadableHeader,
    /// In what stands before the frames.
    #[error("its header does not fit its key")]
    Header,
    /// A frame.
    #[error("frame {0} is not the one that was written there")]
    Frame(u64),
    /// There is no more of it.
    #[error("it ends within frame {0}")]
    Cut(u64),
    /// A row.
    #[error("a row of {0} does not have that table's columns")]
    Row(&'static str),
    /// Too few rows, or too many.
    #[error("it does not hold what its end says")]
    End,
    /// There is more of it.
    #[error("something follows its end")]
    Longer,
}

/// Where rows come from.
enum Source<'s> {
    Database(&'s mut Conn, &'s Statements),
    File(Opener<'s>),
}

/// Where rows go.
enum Target<'t> {
    File(FileWriter<'t>),
    Database(&'t mut Writer, &'t Statements),
    Nowhere,
}

/// The whole of a deployment's data in one file.
pub struct Backup;

impl Backup {
    /// Writes a backup of a database, which servers may be using.
    ///
    /// # Errors
    /// What is wrong with a row, as at a start; the database's; the output's.
    pub async fn create(
        engine: &Engine,
        root: &RootKey,
        new: NewBackup<'_>,
        out: &mut dyn Write,
    ) -> Result<BackupSummary, BackupError> {
        let (keys, statements) = (StoreKeys::of(root), Statements::default());
        let mut conn = opened_at_one_moment(engine, &statements).await?;
        let made = async {
            let header = header_of(&mut conn, &statements, &keys, engine, new).await?;
            let mut target = Target::File(FileWriter::start(out, &header, root)?);
            let (tables, mut source) = (tables(schema_of(&header)?), Source::Database(&mut conn, &statements));
            let (rows, records) = pour(&tables, &mut source, Checker::new(&keys), &mut target).await?;
            let Target::File(writer) = target else { return Err(BackupDamage::End.into()) };
            // What a crash of the database undoes was never there.
            conn.rollback(&statements).await.map_err(StoreError::from)?;
            conn.flush(&statements).await.map_err(StoreError::from)?;
            Ok(BackupSummary { header, rows, records, bytes: Some(writer.finish()?) })
        };
        let made = made.await;
        let _ = conn.rollback(&statements).await;
        conn.close().await?;
        made
    }

    /// Reads what stands at a backup's beginning, without the root key; nothing of it is proved.
    ///
    /// # Errors
    /// It is no backup of a known format.
    pub fn inspect(input: &mut dyn Read) -> Result<BackupHeader, BackupError> {
        file::header(input).map(|(header, _)| header)
    }

    /// Opens a whole backup and checks every row of it, and writes nothing.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn verify(root: &RootKey, input: &mut dyn Read) -> Result<BackupSummary, BackupError> {
        let (header, opener) = Opener::start(input, root)?;
        let (mut source, tables) = (Source::File(opener), tables(schema_of(&header)?));
        let poured = pour(&tables, &mut source, Checker::new(&StoreKeys::of(root)), &mut Target::Nowhere).await;
        let (rows, records) = poured?;
        source.finish()?;
        Ok(BackupSummary { header, rows, records, bytes: None })
    }

    /// Fills an empty database from a backup, of this schema or of an earlier one, and brings it up to date. Run again
    /// after it was killed, it does what is left to do.
    ///
    /// # Errors
    /// What is wrong with the backup; [`BackupError::NotEmpty`]. The database is as it was then.
    pub async fn restore(
        engine: &Engine,
        root: &RootKey,
        now: UnixTime,
        input: &mut dyn Read,
    ) -> Result<Restored, BackupError> {
        let (header, opener) = Opener::start(input, root)?;
        let because = format!(
            "the backup {} of revision {}, taken on {}, was restored: what was written after it is missing",
            header.id,
            header.revision.0,
            header.at.rfc3339()
        );
        let filling = Filling { header, because, command: "denizen restore" };
        fill(engine, root, now, Source::File(opener), filling).await
    }

    /// Copies a database that no server uses into an empty one, of either engine. No store is opened on it any more then
    /// ([`StoreError::Copied`]); it may be copied again.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::restore`].
    pub async fn copy(from: &Engine, to: &Engine, root: &RootKey, new: NewBackup<'_>) -> Result<Restored, BackupError> {
        if from.is_same(to) {
            return Err(BackupError::Same);
        }
        let (keys, statements) = (StoreKeys::of(root), Statements::default());
        // What its spool still holds goes into the chain; and a server would serve it.
        let store = Box::pin(Store::open_copied(from.clone(), keys.clone())).await?;
        let recorded = store.record_findings(new.at);
        store.close().await;
        recorded?;
        restored::refuse_spool(from)?;
        let mut conn = opened_at_one_moment(from, &statements).await?;
        let copied = async {
            let header = header_of(&mut conn, &statements, &keys, from, new).await?;
            let because = format!("everything was copied from {} at revision {}", header.engine, header.revision.0);
            let filling = Filling { header, because, command: "denizen store copy" };
            fill(to, root, new.at, Source::Database(&mut conn, &statements), filling).await
        };
        let copied = copied.await;
        let _ = conn.rollback(&statements).await;
        conn.close().await?;
        let copied = copied?;
        note::leave(from, to, new.at)?;
        Ok(copied)
    }
}

/// What a database is filled with.
struct Filling {
    header: BackupHeader,
    because: String,
    command: &'static str,
}

/// Fills an empty database, and opens the store as a server does.
async fn fill(
    engine: &Engine,
    root: &RootKey,
    now: UnixTime,
    mut source: Source<'_>,
    filling: Filling,
) -> Result<Restored, BackupError> {
    let (keys, statements) = (StoreKeys::of(root), Statements::default());
    let Filling { header, because, command } = filling;
    let schema = schema_of(&header)?;
    let anchor = restored::read_anchor(&engine.anchor(), &keys)?;
    restored::refuse_spool(engine)?;
    // What later migrations do to rows, they do to these: once they are there, when the store is opened.
    let opened = db::open_at(engine, schema).await?;
    let chain = Chain::named(&header.chain, &keys);
    let mut writer = Writer::new((opened.writer, opened.lock, opened.schema), keys.clone(), chain, engine.is_shared());
    let of_audit =
        restored::Source { id: header.id.to_string(), chain: &header.chain, at: header.at, because, anchor, command };
    let filled = async {
        patient(writer.conn()?, &statements, engine).await?;
        let mut into =
            Into { writer: &mut writer, statements: &statements, engine, keys: &keys, of: &of_audit, now, schema };
        into.fill(&mut source).await
    };
    let filled = filled.await;
    writer.rollback(&statements).await;
    opened.readers.close().await;
    writer.close(None).await;
    let Filled { rows, records, seq, missing, was_finished } = filled?;
    // Of what was there before.
    note::remove(engine)?;
    let store = Box::pin(Store::open(engine.clone(), keys.clone())).await.map_err(BackupError::Refused)?;
    let recorded = store.record_findings(now);
    store.close().await;
    recorded?;
    let from = BackupSummary { header, rows, records, bytes: None };
    Ok(Restored { from, seq, missing, was_finished })
}

/// What filling did.
struct Filled {
    rows: Vec<(&'static str, u64)>,
    records: u64,
    seq: u64,
    missing: Option<(u64, u64)>,
    was_finished: bool,
}

/// A database that is being filled.
struct Into<'f> {
    writer: &'f mut Writer,
    statements: &'f Statements,
    engine: &'f Engine,
    keys: &'f StoreKeys,
    of: &'f restored::Source<'f>,
    now: UnixTime,
    /// The last migration of what it is filled with.
    schema: i64,
}

impl Into<'_> {
    async fn fill(&mut self, source: &mut Source<'_>) -> Result<Filled, BackupError> {
        let Self { statements, engine, keys, of, schema, .. } = *self;
        self.writer.begin(statements).await?;
        let there = self.writer.conn()?.migrated(statements).await?;
        let of_source = tables(schema);
        if let Some(table) = filled_table(self.writer.conn()?, statements, &tables(there)).await? {
            let done = restored::is_restored(self.writer, statements, keys, of).await?;
            let Some(head) = done else { return Err(BackupError::NotEmpty { table }) };
            // Killed after the commit: only what stands beside the database is left to do.
            self.writer.rollback(statements).await;
            let (rows, records) = pour(&of_source, source, Checker::new(keys), &mut Target::Nowhere).await?;
            source.finish()?;
            restored::write_anchor(engine, keys, of.chain, &head)?;
            return Ok(Filled { rows, records, seq: head.seq, missing: None, was_finished: true });
        }
        if there > schema {
            return Err(BackupError::OlderSchema);
        }
        // It is empty, so nobody serves it.
        self.writer.conn()?.claim(of.chain, false).await?;
        let mut target = Target::Database(self.writer, statements);
        let (rows, records) = pour(&of_source, source, Checker::new(keys), &mut target).await?;
        source.finish()?;
        let after = restored::record(self.writer, statements, keys, of, self.now).await?;
        if schema == db::newest_migration() {
            // As a start reads them, from what is written; before anybody can.
            let head = super::head::Head::read(self.writer.conn()?, statements).await?;
            self.writer.load(statements, &Live::default(), head.as_ref()).await?;
        }
        restored::make_spool(engine, keys, &after)?;
        let (seq, vouched) = (after.seq, self.writer.rows_now());
        self.writer.commit(statements, after.clone(), vouched).await?;
        restored::write_anchor(engine, keys, of.chain, &after)?;
        let missing = of.anchor.as_ref().filter(|anchor| anchor.chain == of.chain && anchor.seq >= seq);
        let missing = missing.map(|anchor| (seq, anchor.seq));
        Ok(Filled { rows, records, seq, missing, was_finished: false })
    }
}

/// The first table that has a row.
async fn filled_table(
    conn: &mut Conn,
    statements: &Statements,
    tables: &[Table],
) -> Result<Option<&'static str>, StoreError> {
    for table in tables {
        if count(conn, statements, table).await? > 0 {
            return Ok(Some(table.name));
        }
    }
    Ok(None)
}

async fn count(conn: &mut Conn, statements: &Statements, table: &Table) -> Result<u64, StoreError> {
    conn.rows(statements, table.count, &[]).await?.first().map_or(Ok(0), |row| row.count(0))
}

/// A connection that cannot write and sees one moment.
async fn opened_at_one_moment(engine: &Engine, statements: &Statements) -> Result<Conn, StoreError> {
    let mut conn = db::open_to_read(engine).await?;
    patient(&mut conn, statements, engine).await?;
    conn.begin_to_read().await?;
    Ok(conn)
}

/// Keeps the server from ending a session that waits for a slow file, or a statement that counts a large table.
async fn patient(conn: &mut Conn, statements: &Statements, engine: &Engine) -> Result<(), StoreError> {
    if engine.is_shared() {
        let sql = "SELECT set_config('idle_in_transaction_session_timeout', '0', false), \
                   set_config('statement_timeout', '0', false)";
        conn.rows(statements, sql, &[]).await?;
        conn.be_patient();
    }
    Ok(())
}

async fn header_of(
    conn: &mut Conn,
    statements: &Statements,
    keys: &StoreKeys,
    engine: &Engine,
    new: NewBackup<'_>,
) -> Result<BackupHeader, StoreError> {
    let (chain, head) = restored::own_end(&mut Reader::Conn(conn, statements), keys, engine).await?;
    Ok(BackupHeader {
        id: new.id,
        release: new.release.to_owned(),
        deployment: restored::deployment(keys),
        at: new.at,
        engine: if engine.is_shared() { "postgres" } else { "sqlite" }.to_owned(),
        revision: head.revision,
        chain,
        seq: head.seq,
        schema: schema(),
    })
}

fn schema() -> Vec<(i64, String)> {
    db::known_migrations().into_iter().map(|(version, checksum)| (version, hash::hex(&checksum))).collect()
}

/// The last migration of a backup, all of which this release knows.
fn schema_of(header: &BackupHeader) -> Result<i64, BackupError> {
    match header.schema.last() {
        Some((last, _)) if schema().starts_with(&header.schema) => Ok(*last),
        _ => Err(BackupError::Schema { release: header.release.clone() }),
    }
}

/// Moves the rows of every table, each checked on its way; gives how many of each, and how many records the audit has.
async fn pour(
    tables: &[Table],
    source: &mut Source<'_>,
    mut checker: Checker,
    target: &mut Target<'_>,
) -> Result<(Vec<(&'static str, u64)>, u64), BackupError> {
    let mut counts = Vec::with_capacity(tables.len());
    for table in tables {
        let (mut after, mut rows) = (table.first(), 0);
        loop {
            let page = source.page(table, &after).await?;
            let Some(last) = page.last() else { break };
            after = last.iter().take(table.key).cloned().collect();
            rows += page.len() as u64;
            for cells in &page {
                (table.check)(&mut checker, cells)?;
            }
            target.rows(table, &page).await?;
        }
        source.end_table(table, rows).await?;
        target.end_table(table, rows).await?;
        counts.push((table.name, rows));
    }
    let records = checker.finish()?;
    Ok((counts, records))
}

impl Source<'_> {
    async fn page(&mut self, table: &Table, after: &[Cell]) -> Result<Vec<Vec<Cell>>, BackupError> {
        match self {
            Self::Database(conn, statements) => {
                let mut args: Vec<Arg<'_>> = after.iter().filter_map(of_key).collect();
                args.push(i64::from(table.page).into());
                let page = conn.rows(statements, table.select, &args).await?;
                Ok(page.iter().map(|row| table.cells(row)).collect::<Result<_, _>>()?)
            }
            Self::File(opener) => opener.page(table),
        }
    }

    /// A row whose key is of another type is in no page: so all are counted.
    async fn end_table(&mut self, table: &Table, rows: u64) -> Result<(), BackupError> {
        match self {
            Self::Database(conn, statements) => match count(conn, statements, table).await? == rows {
                true => Ok(()),
                false => Err(StoreError::Corrupt(format!("a row of {} has a key of another type", table.name)).into()),
            },
            Self::File(opener) => opener.end_table(table, rows),
        }
    }

    /// Whether there is no more.
    fn finish(&mut self) -> Result<(), BackupError> {
        match self {
            Self::Database(..) => Ok(()),
            Self::File(opener) => opener.finish(),
        }
    }
}

impl Target<'_> {
    async fn rows(&mut self, table: &Table, page: &[Vec<Cell>]) -> Result<(), BackupError> {
        match self {
            Self::File(writer) => page.iter().try_for_each(|cells| writer.row(cells)),
            Self::Database(writer, statements) => {
                for some in page.chunks((PLACEHOLDERS / table.columns.len()).max(1)) {
                    let args: Option<Vec<_>> = some.iter().map(|cells| table.args(cells)).collect();
                    let args = args.ok_or(BackupDamage::Row(table.name))?.concat();
                    let sql = Sql::rows(&table.insert(), some.len(), table.columns.len());
                    if writer.execute(statements, sql, &args).await? != some.len() as u64 {
                        return Err(StoreError::Corrupt(format!("rows of {} were not written", table.name)).into());
                    }
                }
                Ok(())
            }
            Self::Nowhere => Ok(()),
        }
    }

    /// Whether as many rows are there as were written.
    async fn end_table(&mut self, table: &Table, rows: u64) -> Result<(), BackupError> {
        match self {
            Self::File(writer) => writer.end_table(table, rows),
            Self::Database(writer, statements) => match count(writer.conn()?, statements, table).await? == rows {
                true => Ok(()),
                false => Err(StoreError::Corrupt(format!("rows of {} were not written", table.name)).into()),
            },
            Self::Nowhere => Ok(()),
        }
    }
}

/// A value of a key.
fn of_key(cell: &Cell) -> Option<Arg<'_>> {
    match cell {
        Cell::Int(number) => Some(Arg::Int(*number)),
        Cell::Text(text) => Some(Arg::Text(text)),
        Cell::Null | Cell::Bytes(_) => None,
    }
}
