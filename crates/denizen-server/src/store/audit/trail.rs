//! The trail for commands: reading it without being its server, and accepting it as it is.
//!
//! Reading is done on a connection that cannot write, so a server may run beside it. [`Trail::accept`] writes, and takes
//! the database for itself. Tests: the contract suite, and `tests/it`.

use std::{io, mem::take, sync::Arc};

use denizen_keys::hash;
use denizen_wire::UnixTime;
use serde_json::json;
use tokio::sync::Mutex;

use super::super::{
    AuditBroken, Engine, Store, StoreError, StoreKeys, TrailFault,
    audit::{
        self, AuditEvent, DEPLOYMENT, Head,
        anchor::{self, Found},
        chain::{
            self, Chain, PAGE, PUT_START, Row, SELECT_START, Start, StartWhy, StoredRow, chains, int, row_ending_at,
        },
        history::History,
        verify::{ACCEPTED, Mark, Verified, next_row, records_to, walk},
    },
    backup::note,
    db::{self, Conn, Reader, Statements, args},
    ends::{Ends, LogHead},
    group::Vouched,
    head::Head as RowsHead,
    writer::Writer,
};

/// How often a trail is looked at again when it seems wrong: its server may have moved it between two looks.
const LOOKS: u32 = 3;

/// The audit's trail of a database that this process does not serve.
pub struct Trail {
    conn: Mutex<Conn>,
    statements: Statements,
    keys: StoreKeys,
    engine: Engine,
}

/// No trail comes so far. What stands beyond is not the server's, and would leave no place for what is.
const FURTHEST: u64 = i64::MAX as u64 / 2;

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// This replica's chain, which is whole.
    pub verified: Verified,
    /// The other replicas' chains, which are whole too, by name.
    pub others: Vec<(String, Verified)>,
    /// Where it ends.
    pub head: Head,
    /// Why nothing beside the database says that it has to end there.
    pub unanchored: Option<TrailFault>,
}

/// What an export left out of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The chain's name, which may be anybody's text.
    pub chain: String,
    /// How many rows.
    pub rows: u64,
    /// The place that the first of them says.
    pub first: u64,
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
        Ok(Self { conn: Mutex::new(db::open_to_read(&engine).await?), statements: Statements::default(), keys, engine })
    }

    /// Where the trail ends, once it is known to be what the anchor says.
    ///
    /// # Errors
    /// [`StoreError::Trail`] when it is not.
    pub async fn head(&self) -> Result<Head, StoreError> {
        let (chain, head, anchor) = self.examine().await?;
        // Whoever keeps it holds it against what is there later, so it is not to name what a crash undoes.
        self.conn.lock().await.flush(&self.statements).await?;
        Ok(Head::new(&chain, &head, anchor.map_or(0, |anchor| anchor.spooled()), &self.keys.anchor))
    }

    /// Goes through the whole chain; `since` is a head that must be in it.
    ///
    /// # Errors
    /// [`StoreError::Trail`] when it is not what the anchor says, [`StoreError::Broken`] at the first bad record.
    pub async fn verify(&self, since: Option<&Head>) -> Result<Checked, StoreError> {
        let (chain, head, anchor, unanchored) = match self.examine().await {
            Err(StoreError::Trail(
                fault @ (TrailFault::AnchorMissing { .. } | TrailFault::AnchorUnreadable { .. }),
            )) => {
                let (chain, found) = self.found(None).await?;
                found.refuse_foreign_rows(&self.keys)?;
                match anchor::judge((&self.engine.anchor(), None), &found, &chain, self.engine.sharing()) {
                    Ok(()) | Err(TrailFault::AnchorMissing { .. }) => (chain, found.head(), None, Some(fault)),
                    Err(fault) => return Err(fault.into()),
                }
            }
            examined => {
                let (chain, head, anchor) = examined?;
                (chain, head, anchor, None)
            }
        };
        let marks = |of: &Chain| -> Vec<Mark<'_>> {
            let since = since.filter(|head| *head.chain == *of.id);
            since
                .into_iter()
                .map(|head| Mark { seq: head.seq, hash: &head.hash, by: "the head that was given" })
                .collect()
        };
        let mut conn = self.conn.lock().await;
        let mut db = Reader::Conn(&mut conn, &self.statements);
        let mut verified = Box::pin(walk(&mut db, &chain, &head, &marks(&chain))).await?;
        let mut witnessed = verified.witnessed.clone();
        let mut history = History::default();
        history.add(take(&mut verified.states), take(&mut verified.gone_on));
        let mut others = Vec::new();
        for id in chains(&mut db).await?.into_iter().filter(|id| **id != *chain.id) {
            let other = Chain::named(&id, &self.keys);
            let Some(end) = Ends::read(&mut db, &other).await?.last else { continue };
            let of_other = |broken: AuditBroken| AuditBroken { why: format!("chain {id}: {}", broken.why), ..broken };
            let mut verified = Box::pin(walk(&mut db, &other, &end.head, &marks(&other))).await.map_err(of_other)?;
            witnessed.extend(verified.witnessed.clone());
            history.add(take(&mut verified.states), take(&mut verified.gone_on));
            others.push((id, verified));
        }
        if let Some(head) =
            since.filter(|head| *head.chain != *chain.id && !others.iter().any(|(id, _)| *id == head.chain))
        {
            let why = format!("the head that was given is of the chain {}, which is not there", head.chain);
            return Err(AuditBroken { at: head.seq, why }.into());
        }
        history.refuse_two(&mut db, since).await?;
        for it in &witnessed {
            it.check(&mut db, &Chain::named(&it.chain, &self.keys)).await?;
        }
        let head = Head::new(&chain, &head, anchor.map_or(0, |anchor| anchor.spooled()), &self.keys.anchor);
        Ok(Checked { verified, others, head, unanchored })
    }

    /// What the database has, seen at one moment.
    async fn found(&self, anchor: Option<&Head>) -> Result<(Chain, Found), StoreError> {
        let mut conn = self.conn.lock().await;
        conn.begin_to_read().await?;
        let found = async {
            let mut db = Reader::Conn(&mut conn, &self.statements);
            let chain = anchor::own_chain(&mut db, &self.keys, anchor, self.engine.sharing()).await?;
            let found = Found::read(&mut db, &self.keys, &chain, anchor).await?;
            Ok((chain, found))
        };
        let found = found.await;
        conn.rollback(&self.statements).await?;
        found
    }

    /// Hands out the records from a place on, each as one line of JSON with its place in it and no newline, and gives what
    /// was left out: rows that this deployment did not write, or that are not as it wrote them, so that whoever keeps
    /// records keeps none of somebody else's. Each row is judged by itself: its tag, and its hash, which follows from the
    /// row before. Whether records are missing is not looked at; [`Self::verify`] tells.
    ///
    /// # Errors
    /// The store's; what `each` gives.
    pub async fn export<E: From<StoreError>>(
        &self,
        from: u64,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<Vec<LeftOut>, E> {
        let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag, lines FROM audit \
                   WHERE chain = $1 AND (last >= $2 OR seq >= $2 OR seq < 1) AND seq > $3 ORDER BY seq LIMIT $4";
        let mut left_out = Vec::new();
        // No record is beyond what a column holds.
        let Ok(place) = int(from) else { return Ok(left_out) };
        let mut conn = self.conn.lock().await;
        let mut db = Reader::Conn(&mut conn, &self.statements);
        for id in chains(&mut db).await? {
            let chain = Chain::named(&id, &self.keys);
            let (mut after, mut before) = (i64::MIN, None::<(u64, String)>);
            let mut bad = LeftOut { chain: id, rows: 0, first: 0 };
            loop {
                let page = db.rows(sql, args![&*chain.id, place, after, PAGE]).await?;
                for row in &page {
                    after = row.int(0)?;
                    let stored = StoredRow::read_any(row)?;
                    let at = stored.seq.checked_sub(1);
                    let known = before.take().filter(|(seq, _)| Some(*seq) == at);
                    let known = match (known, at) {
                        (Some(known), _) => Some(known),
                        (None, Some(at)) => hash_before(&mut db, &chain, at).await?.map(|hash| (at, hash)),
                        (None, None) => None,
                    };
                    before = Some(stored.place());
                    let lines = row.text(10).ok().filter(|lines| {
                        let follows =
                            |(at, hash): &(u64, String)| next_row(&chain, (*at, hash), &stored, lines).is_ok();
                        known.as_ref().is_some_and(follows)
                    });
                    let Some(lines) = lines else {
                        bad.first = if bad.rows == 0 { stored.seq } else { bad.first };
                        bad.rows += 1;
                        continue;
                    };
                    for (seq, line) in (stored.seq..).zip(lines.lines()) {
                        if seq >= from {
                            each(&line.replacen('{', &format!("{{\"seq\":{seq},\"chain\":{},", json!(&*chain.id)), 1))?;
                        }
                    }
                }
                if page.is_empty() {
                    break;
                }
            }
            left_out.extend((bad.rows > 0).then_some(bad));
        }
        Ok(left_out)
    }

    /// Where the trail ends, and the anchor, when the one fits the other.
    async fn examine(&self) -> Result<(Chain, LogHead, Option<Head>), StoreError> {
        let mut looks = 0;
        loop {
            looks += 1;
            // The anchor first: the database can only have gone on from there.
            let path = self.engine.anchor();
            let anchor = anchor::read(&path, &self.keys)?;
            let (chain, found) = self.found(anchor.as_ref()).await?;
            // As a start does: what does not vouch for the rows says nothing of where the trail should end.
            found.refuse_foreign_rows(&self.keys)?;
            match anchor::judge((&path, anchor.as_ref()), &found, &chain, self.engine.sharing()) {
                Ok(()) => return Ok((chain, found.head(), anchor)),
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
        note::refuse(engine)?;
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
        let anchor = anchor::read(&path, keys).ok().flatten();
        let mut conn = opened.writer;
        let mut db = Reader::Conn(&mut conn, &statements);
        let chain = anchor::own_chain(&mut db, keys, anchor.as_ref(), engine.sharing()).await?;
        conn.claim(&chain.id, anchor.is_some()).await?;
        let mut writer =
            Writer::new((conn, opened.lock, opened.schema), keys.clone(), chain.clone(), engine.is_shared());
        let done = Box::pin(accept(&mut writer, &statements, engine, keys, &chain, now)).await;
        opened.readers.close().await;
        writer.close(None).await;
        let done = done?;
        let opened = async {
            let store = Box::pin(Store::open(engine.clone(), keys.clone())).await?;
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

/// The hash that the row after a place follows from: that of the row which ends there, or of where the chain starts. Whether
/// it is ours does not matter: no other one leads to a hash that was tagged.
async fn hash_before(db: &mut Reader<'_>, chain: &Chain, at: u64) -> Result<Option<String>, StoreError> {
    if at == 0 {
        return Ok(Some(String::new()));
    }
    let start = Start::read(&db.rows(SELECT_START, args![&*chain.id]).await?, chain).unwrap_or_default();
    if let Some(hash) = start.hash_at(at) {
        return Ok(Some(hash));
    }
    if int(at).is_err() {
        return Ok(None);
    }
    Ok(row_ending_at(db, chain, at).await?.map(|row| row.head.hash))
}

async fn accept(
    writer: &mut Writer,
    statements: &Statements,
    engine: &Engine,
    keys: &StoreKeys,
    chain: &Chain,
    now: UnixTime,
) -> Result<Option<Accepted>, StoreError> {
    let read = anchor::read(&engine.anchor(), keys);
    // This takes long, and keeps nobody from writing. No other process writes to this chain.
    let mut db = Reader::Conn(writer.conn()?, statements);
    let end = Ends::read(&mut db, chain).await?.last;
    let walked = match &end {
        Some(end) => Box::pin(walk(&mut db, chain, &end.head, &[])).await.map(drop),
        None => Err(AuditBroken { at: 0, why: "there are no records".to_owned() }),
    };
    let others = others(writer, statements, keys, chain).await?;
    writer.begin(statements).await?;
    // From here on other replicas wait, and what is accepted is what is there.
    if engine.is_shared() {
        RowsHead::read_locked(writer.conn()?, statements).await?;
    }
    let deciding = Deciding { statements, engine, keys, chain, now, read, walked, others };
    let done = Box::pin(deciding.accept(writer)).await;
    writer.rollback(statements).await;
    done
}

/// A chain that no replica writes that is alive, and whether it is whole.
type Other = (Chain, Result<(), AuditBroken>);

/// The chains of replicas that are gone, and those that somebody has put there: nobody else will ever accept what is wrong
/// with them.
async fn others(
    writer: &mut Writer,
    statements: &Statements,
    keys: &StoreKeys,
    own: &Chain,
) -> Result<Vec<Other>, StoreError> {
    let mut found = Vec::new();
    let mut db = Reader::Conn(writer.conn()?, statements);
    for id in chains(&mut db).await?.into_iter().filter(|id| **id != *own.id) {
        let other = Chain::named(&id, keys);
        let Some(end) = Ends::read(&mut db, &other).await?.last else { continue };
        if db.try_claim(&id).await? {
            let walked = Box::pin(walk(&mut db, &other, &end.head, &[])).await.map(drop);
            found.push((other, walked));
        }
    }
    Ok(found)
}

/// Decides, in a transaction, what is wrong with the trail, and writes that.
struct Deciding<'a> {
    statements: &'a Statements,
    engine: &'a Engine,
    keys: &'a StoreKeys,
    chain: &'a Chain,
    now: UnixTime,
    /// The anchor.
    read: Result<Option<Head>, TrailFault>,
    /// Whether the chain is whole.
    walked: Result<(), AuditBroken>,
    others: Vec<Other>,
}

/// What is wrong with a chain, and where it goes on.
struct Wrong {
    chain: Chain,
    was: String,
    head: LogHead,
    start: Option<Start>,
}

impl Deciding<'_> {
    async fn accept(self, writer: &mut Writer) -> Result<Option<Accepted>, StoreError> {
        let Self { statements, engine, keys, chain, now, read, walked, others } = self;
        let expected = read.clone().ok().flatten();
        let mut db = Reader::Conn(writer.conn()?, statements);
        let found = Found::read(&mut db, keys, chain, expected.as_ref()).await?;
        if found.is_new() {
            refuse_nothing(&read)?;
        } else if !is_under(keys, chain, writer, statements, &found, &read).await? {
            return Err(StoreError::OtherRootKey);
        }
        found.refuse_foreign_rows(keys)?;
        let mut of_others = Vec::new();
        for (other, walked) in others {
            of_others.extend(wrong_of_other(writer, statements, &found, other, walked).await?);
        }
        let path = engine.anchor();
        let judged = read.and_then(|_| anchor::judge((&path, expected.as_ref()), &found, chain, engine.sharing()));
        let of_own = match (judged, &walked) {
            (Err(fault), _) => Some(fault.to_string()),
            (Ok(()), Err(broken)) if found.end().is_some() => Some(broken.to_string()),
            // A replica that has written nothing yet has nothing that could be wrong.
            (Ok(()), Err(_) | Ok(())) => None,
        };
        if of_own.is_none() && of_others.is_empty() {
            return Ok(None);
        }
        let of_others_too = of_others.iter().map(|it| format!("chain {}: {}", it.chain.id, it.was));
        let was = of_own.into_iter().chain(of_others_too).collect::<Vec<_>>().join("; ");
        let (head, start) = match walked {
            Ok(()) => (found.head(), None),
            Err(_) if found.end().is_none() && expected.as_ref().is_none_or(|head| head.seq == 0) => {
                (found.head(), None)
            }
            Err(_) => {
                let mut db = Reader::Conn(writer.conn()?, statements);
                let (head, start) = restart(&mut db, chain, &found, expected.as_ref()).await?;
                (head, Some(start))
            }
        };
        for it in &of_others {
            write_acceptance(writer, statements, &found, it, now).await?;
        }
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
                "revision": found.revision(),
                "chain_starts_anew": start.is_some(),
            })),
            ..AuditEvent::allowed(ACCEPTED, "audit", was.clone())
        };
        let after = write(writer, statements, chain, (&head, start.as_ref()), &event, now).await?;
        // What the log says of transactions that the rows do not have would stand in the way of the next ones.
        let of_other_rows = "DELETE FROM changes WHERE revision > $1";
        writer.execute(statements, of_other_rows, args![int(head.revision.0)?]).await?;
        let rows = Vouched { head: found.rows_head(), ..Vouched::default() };
        writer.commit(statements, after.clone(), rows).await?;
        let spooled = expected.map_or(0, |head| head.spooled());
        anchor::write(&engine.anchor(), &Head::new(chain, &after, spooled, &keys.anchor))?;
        let given_up = match start {
            Some(_) => records_to(&mut Reader::Conn(writer.conn()?, statements), chain, head.seq).await?,
            None => 0,
        };
        Ok(Some(Accepted { was, seq: after.seq, given_up }))
    }
}

/// What is wrong with the chain of a replica that is gone, if anything is.
async fn wrong_of_other(
    writer: &mut Writer,
    statements: &Statements,
    found: &Found,
    chain: Chain,
    walked: Result<(), AuditBroken>,
) -> Result<Option<Wrong>, StoreError> {
    let mut db = Reader::Conn(writer.conn()?, statements);
    let (revision, state) = (found.revision(), found.state());
    if let Err(broken) = walked {
        let (head, start) = restart(&mut db, &chain, found, None).await?;
        return Ok(Some(Wrong { chain, was: broken.to_string(), head, start: Some(start) }));
    }
    let Some(end) = Ends::read(&mut db, &chain).await?.last.map(|last| last.head) else { return Ok(None) };
    let is_gone = end.revision > revision || (end.revision == revision && end.state != state);
    let was = format!("it bears witness to transaction {}, which the database does not have", end.revision.0);
    Ok(is_gone.then(|| Wrong { chain, was, head: LogHead { revision, state, ..end }, start: None }))
}

/// Ends a chain of a replica that is gone with a record of what was wrong.
async fn write_acceptance(
    writer: &mut Writer,
    statements: &Statements,
    found: &Found,
    Wrong { chain, was, head, start }: &Wrong,
    now: UnixTime,
) -> Result<(), StoreError> {
    let given_up = start.as_ref().map(|anew| json!({ "from": 1, "to": anew.seq }));
    let event = AuditEvent {
        detail: Some(json!({
            "given_up": given_up,
            "revision": found.revision(),
            "chain_starts_anew": start.is_some(),
        })),
        ..AuditEvent::allowed(ACCEPTED, "audit", was.clone())
    };
    write(writer, statements, chain, (head, start.as_ref()), &event, now).await.map(drop)
}

/// Writes a record at the end of a chain, which may start anew there; gives where the chain ends then.
async fn write(
    writer: &mut Writer,
    statements: &Statements,
    chain: &Chain,
    (head, start): (&LogHead, Option<&Start>),
    event: &AuditEvent<'_>,
    now: UnixTime,
) -> Result<LogHead, StoreError> {
    let line = audit::line(&audit::own(now, "denizen audit accept"), event, None)?;
    let (row, after) = Row::of_transaction(head, chain, DEPLOYMENT, line)?;
    if let Some(start) = start {
        // Rows that leave no place for others, or have none.
        let sql = "DELETE FROM audit WHERE chain = $1 AND (seq < 1 OR seq > $2)";
        writer.execute(statements, sql, args![&*chain.id, int(FURTHEST)?]).await?;
        writer.execute(statements, PUT_START, &start.args(chain, &start.tag(chain))?).await?;
    }
    chain::force(writer, statements, &[row]).await?;
    Ok(after)
}

/// Where a chain goes on that is not whole: after all that is there and all that is known to have been.
async fn restart(
    db: &mut Reader<'_>,
    chain: &Chain,
    found: &Found,
    expected: Option<&Head>,
) -> Result<(LogHead, Start), StoreError> {
    let sql = "SELECT COALESCE(SUM(LENGTH(lines) + 320), 0) FROM audit WHERE chain = $1";
    let rows = db.rows(sql, args![&*chain.id]).await?;
    let total = rows.first().map_or(Ok(0), |row| row.count(0))?;
    let end = chain::last_row_to(db, chain, FURTHEST).await?.map(|row| row.place()).unwrap_or_default();
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
    chain: &Chain,
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
    let sql = "SELECT seq, last, tenant, at, revision, total, spool, state, hash, tag FROM audit \
               WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT 1000";
    let mut after = i64::MIN;
    loop {
        let page = writer.conn()?.rows(statements, sql, args![&*chain.id, after]).await?;
        let Some(last) = page.last() else { break };
        if page.iter().any(|row| StoredRow::read(row).is_ok_and(|row| row.is_ours(chain))) {
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
