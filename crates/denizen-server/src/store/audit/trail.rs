//! The trail for commands: reading it without being its server, and accepting it as it is.
//!
//! Reading is done on a connection that cannot write, so a server may run beside it. [`Trail::accept`] writes, and takes
//! the database for itself. Tests: the contract suite, and `tests/it`.

use std::{io, sync::Arc};

use denizen_keys::hash;
use denizen_wire::UnixTime;
use serde_json::json;

use super::super::{
    AuditBroken, Engine, Store, StoreError, StoreKeys, TrailFault,
    audit::{
        self, AuditEvent, DEPLOYMENT, Head,
        anchor::{self, Found},
        chain::{self, PAGE, PUT_START, Row, Start, StartWhy, StoredRow, int},
        verify::{ACCEPTED, Mark, Verified, records_to, walk},
    },
    db::{self, Pool, Reader, Statements, args},
    writer::{LogHead, Writer},
};

/// How often a trail is looked at again when it seems wrong: its server may have moved it between two looks.
const LOOKS: u32 = 3;

/// The audit's trail of a database that this process does not serve.
pub struct Trail {
    pool: Pool,
    statements: Statements,
    keys: StoreKeys,
    engine: Engine,
}

/// No trail comes so far. What stands beyond is not the server's, and would leave no place for what is.
const FURTHEST: u64 = i64::MAX as u64 / 2;

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The chain, which is whole.
    pub verified: Verified,
    /// Where it ends.
    pub head: Head,
    /// Why nothing beside the database says that it has to end there.
    pub unanchored: Option<TrailFault>,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What was wrong.
    pub was: String,
    /// The place of the record that says so.
    pub seq: u64,
    /// The records before it that cannot be verified any more, and stay where they are.
    pub given_up: u64,
}

impl Trail {
    /// Opens the database to read. It must be there.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(engine: Engine, keys: StoreKeys) -> Result<Self, StoreError> {
        Ok(Self { pool: db::open_to_read(&engine).await?, statements: Statements::default(), keys, engine })
    }

    /// Where the trail ends, once it is known to be what the anchor says.
    ///
    /// # Errors
    /// [`StoreError::Trail`] when it is not.
    pub async fn head(&self) -> Result<Head, StoreError> {
        let (head, anchor) = self.examine().await?;
        Ok(Head::new(&head, anchor.map_or(0, |anchor| anchor.spooled()), &self.keys.anchor))
    }

    /// Goes through the whole chain; `since` is a head that must be in it.
    ///
    /// # Errors
    /// [`StoreError::Trail`] when it is not what the anchor says, [`StoreError::Broken`] at the first bad record.
    pub async fn verify(&self, since: Option<&Head>) -> Result<Checked, StoreError> {
        let (head, anchor, unanchored) = match self.examine().await {
            Err(StoreError::Trail(fault @ (TrailFault::AnchorMissing | TrailFault::AnchorUnreadable { .. }))) => {
                let mut db = Reader::Pool(&self.pool, &self.statements);
                let found = Found::read(&mut db, &self.keys, None).await?;
                match anchor::judge(None, &found, &self.keys) {
                    Ok(()) | Err(TrailFault::AnchorMissing) => (found.head(), None, Some(fault)),
                    Err(fault) => return Err(fault.into()),
                }
            }
            examined => {
                let (head, anchor) = examined?;
                (head, anchor, None)
            }
        };
        let since = since.map(|head| Mark { seq: head.seq, hash: &head.hash, by: "the head that was given" });
        let marks: Vec<_> = since.into_iter().collect();
        let mut db = Reader::Pool(&self.pool, &self.statements);
        let verified = walk(&mut db, &self.keys.chain, &head, &marks).await?;
        let head = Head::new(&head, anchor.map_or(0, |anchor| anchor.spooled()), &self.keys.anchor);
        Ok(Checked { verified, head, unanchored })
    }

    /// Hands out the records from a place on, each as one line of JSON with its place in it and no newline. The trail is
    /// not verified.
    ///
    /// # Errors
    /// The store's; what `each` gives.
    pub async fn export<E: From<StoreError>>(
        &self,
        from: u64,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = "SELECT seq, lines FROM audit WHERE last >= $1 AND seq > $2 ORDER BY seq LIMIT $3";
        // No record is beyond what a column holds.
        let Ok(place) = int(from) else { return Ok(()) };
        let mut after = 0;
        loop {
            let page = self.pool.rows(&self.statements, sql, args![place, after, PAGE]).await?;
            for row in &page {
                after = row.int(0)?;
                for (seq, line) in (row.count(0)?..).zip(row.text(1)?.lines()) {
                    if seq >= from {
                        each(&line.replacen('{', &format!("{{\"seq\":{seq},"), 1))?;
                    }
                }
            }
            if page.is_empty() {
                return Ok(());
            }
        }
    }

    /// Where the trail ends, and the anchor, when the one fits the other.
    async fn examine(&self) -> Result<(LogHead, Option<Head>), StoreError> {
        let mut looks = 0;
        loop {
            looks += 1;
            // The anchor first: the database can only have gone on from there.
            let anchor = anchor::read(&self.engine.anchor(), &self.keys)?;
            let mut db = Reader::Pool(&self.pool, &self.statements);
            let found = Found::read(&mut db, &self.keys, anchor.as_ref()).await?;
            match anchor::judge(anchor.as_ref(), &found, &self.keys) {
                Ok(()) => return Ok((found.head(), anchor)),
                Err(fault) if looks == LOOKS => return Err(fault.into()),
                Err(_) => {}
            }
        }
    }

    /// Goes on from the database as it is: records what was expected and what was found, and writes the anchor anew. When
    /// the chain that is there is not whole, it starts anew too, after the records that are there. None when there is
    /// nothing wrong. Then the store is opened as a server opens it, so that what is said to be accepted is.
    ///
    /// # Errors
    /// The store's; [`StoreError::InUse`] while a server has the database, [`StoreError::OtherRootKey`] when it is
    /// another root key's, [`StoreError::StillRefused`] when a server would refuse it all the same.
    pub async fn accept(engine: &Engine, keys: &StoreKeys, now: UnixTime) -> Result<Option<Accepted>, StoreError> {
        let path = engine.anchor();
        if std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_dir()) {
            let advice = "it is a folder, and should be the file that says where the audit's trail ends; remove the folder or \
                          move it away, and run this again";
            return Err(StoreError::File { path, source: Arc::new(io::Error::other(advice)) });
        }
        if engine.is_absent().await? {
            // Opening it would make an empty one.
            refuse_nothing(&anchor::read(&path, keys))?;
        }
        let statements = Statements::default();
        let opened = db::open(engine).await?;
        let mut writer = Writer::new(opened.writer, opened.lock, opened.schema, keys.clone());
        let done = accept(&mut writer, &statements, engine, keys, now).await;
        opened.readers.close().await;
        writer.close(None).await;
        let done = done?;
        let opened = async {
            let store = Store::open(engine.clone(), keys.clone()).await?;
            // Opening it may have found something in the spool, and is the only one to know.
            let recorded = store.record_findings(now);
            store.close().await;
            recorded
        };
        match opened.await {
            Ok(()) => Ok(done),
            Err(error) if done.is_none() => Err(error),
            Err(error) => Err(StoreError::StillRefused(Arc::new(error))),
        }
    }
}

async fn accept(
    writer: &mut Writer,
    statements: &Statements,
    engine: &Engine,
    keys: &StoreKeys,
    now: UnixTime,
) -> Result<Option<Accepted>, StoreError> {
    let read = anchor::read(&engine.anchor(), keys);
    let expected = read.clone().ok().flatten();
    let mut db = Reader::Conn(writer.conn()?, statements);
    let found = Found::read(&mut db, keys, expected.as_ref()).await?;
    if found.is_new() {
        refuse_nothing(&read)?;
    } else if !is_under(keys, writer, statements, &found, &read).await? {
        return Err(StoreError::OtherRootKey);
    }
    found.refuse_foreign_rows(keys)?;
    let mut db = Reader::Conn(writer.conn()?, statements);
    let walked = match found.end() {
        Some(end) => walk(&mut db, &keys.chain, &end.head, &[]).await.map(drop),
        None => Err(AuditBroken { at: 0, why: "there are no records".to_owned() }),
    };
    let judged = read.and_then(|_| anchor::judge(expected.as_ref(), &found, keys));
    let was = match (judged, &walked) {
        (Err(fault), _) => fault.to_string(),
        (Ok(()), Err(_)) if found.is_new() => return Ok(None),
        (Ok(()), Err(broken)) => broken.to_string(),
        (Ok(()), Ok(())) => return Ok(None),
    };
    let (head, start) = match walked {
        Ok(()) => (found.head(), None),
        Err(_) => {
            let (head, start) = restart(&mut db, &found, expected.as_ref()).await?;
            (head, Some(start))
        }
    };
    let seen = |seq: u64, revision: u64, hash: &str| json!({ "seq": seq, "revision": revision, "hash": hash });
    let (from, to) = match &start {
        Some(anew) => (found.start.as_ref().map_or(1, |start| start.seq + 1), anew.seq),
        None => (head.seq + 1, expected.as_ref().map_or(0, |head| head.seq)),
    };
    let event = AuditEvent {
        detail: Some(json!({
            "given_up": (from <= to).then(|| json!({ "from": from, "to": to })),
            "expected": expected.as_ref().map(|head| seen(head.seq, head.revision.0, &head.hash)),
            "found": found.end().map(|end| seen(end.head.seq, found.revision().0, &end.head.hash)),
            "chain_starts_anew": start.is_some(),
        })),
        ..AuditEvent::allowed(ACCEPTED, "audit", was.clone())
    };
    let line = audit::line(&audit::own(now, "denizen audit accept"), &event, None)?;
    let (row, after) = Row::of_transaction(&head, &keys.chain, DEPLOYMENT, line)?;
    writer.begin(statements).await?;
    if let Some(start) = &start {
        // Rows that leave no place for others, or have none.
        let sql = "DELETE FROM audit WHERE seq < 1 OR seq > $1";
        writer.execute(statements, sql, args![int(FURTHEST)?]).await?;
        writer.execute(statements, PUT_START, &start.args(&start.tag(&keys.chain))?).await?;
    }
    // What the log says of transactions that the rows do not have would stand in the way of the next ones.
    let of_other_rows = "DELETE FROM changes WHERE revision > $1";
    writer.execute(statements, of_other_rows, args![int(head.revision.0)?]).await?;
    chain::force(writer, statements, &[row]).await?;
    writer.commit(statements, after.clone(), writer.rows_now()).await?;
    let spooled = expected.map_or(0, |head| head.spooled());
    anchor::write(&engine.anchor(), &Head::new(&after, spooled, &keys.anchor))?;
    let given_up = match start {
        Some(_) => records_to(&mut Reader::Conn(writer.conn()?, statements), head.seq).await?,
        None => 0,
    };
    Ok(Some(Accepted { was, seq: after.seq, given_up }))
}

/// Where a chain goes on that is not whole: after all that is there and all that is known to have been.
async fn restart(db: &mut Reader<'_>, found: &Found, expected: Option<&Head>) -> Result<(LogHead, Start), StoreError> {
    let rows = db.rows("SELECT COALESCE(SUM(LENGTH(lines) + 320), 0) FROM audit", &[]).await?;
    let total = rows.first().map_or(Ok(0), |row| row.count(0))?;
    let end = chain::last_row_to(db, FURTHEST).await?.map(|row| row.place()).unwrap_or_default();
    let (seq, hash) = match expected {
        Some(head) if head.seq >= end.0 && head.seq <= FURTHEST => (head.seq, head.hash.clone()),
        // The hash of a row that somebody else wrote may be any text.
        Some(_) | None => (end.0, hash::hex(&hash::sha256(end.1.as_bytes()))),
    };
    // Where the database cannot be believed, records are rather written twice than not at all.
    let spool = expected.map_or(0, Head::shipped);
    let start = Start { seq, hash: hash.clone(), total, why: StartWhy::Accepted };
    Ok((LogHead { revision: found.revision(), state: found.state(), seq, hash, spool, total, at: UnixTime(0) }, start))
}

/// Refuses an anchor where there is no database, or one with nothing in it.
fn refuse_nothing(anchor: &Result<Option<Head>, TrailFault>) -> Result<(), StoreError> {
    match anchor {
        Err(fault) if anchor::is_foreign(fault) => Err(StoreError::OtherRootKey),
        Ok(head) if head.as_ref().is_none_or(|head| head.seq == 0) => Ok(()),
        Ok(_) | Err(_) => Err(StoreError::NothingLeft),
    }
}

/// Whether anything that is there was written under these keys.
async fn is_under(
    keys: &StoreKeys,
    writer: &mut Writer,
    statements: &Statements,
    found: &Found,
    anchor: &Result<Option<Head>, TrailFault>,
) -> Result<bool, StoreError> {
    if matches!(anchor, Ok(Some(_)))
        || found.has_own_head(keys)
        || found.start.as_ref().is_ok_and(|start| *start != Start::default())
    {
        return Ok(true);
    }
    let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit WHERE seq > $1 ORDER BY seq LIMIT 1000";
    let mut after = i64::MIN;
    loop {
        let page = writer.conn()?.rows(statements, sql, args![after]).await?;
        let Some(last) = page.last() else { break };
        if page.iter().any(|row| StoredRow::read(row).is_ok_and(|row| row.is_ours(&keys.chain))) {
            return Ok(true);
        }
        after = last.int(0)?;
    }
    Ok(false)
}

impl From<TrailFault> for AuditBroken {
    fn from(fault: TrailFault) -> Self {
        Self { at: 0, why: fault.to_string() }
    }
}
