//! The anchor: the head of the audit's chain, in a file beside the database.
//!
//! Whoever can write to the database can cut the chain's last records off, empty it, or put an old copy of the database
//! in its place: what is left is whole in itself. The anchor says how far the chain had come. The database must not be
//! behind it, or the store is not opened ([`judge`]).
//!
//! ```text
//! NAME.head   one line of JSON: deployment, chain, revision, state, seq, hash, spool, spooled, at, tag
//! ```
//!
//! [`Keeper`] writes it at most once a second, after the chain has moved, and when the store is closed; always what is
//! committed already. So an honest crash leaves it behind the database, and never ahead. The same line, kept on another
//! machine, is what `denizen audit head` prints: a [`Head`].
//!
//! Touches its file. Tests: `anchor/tests.rs`, and the contract suite.

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use denizen_keys::{hash, mac::MacKey, secret::json_fault};
use denizen_wire::UnixTime;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
};

use super::super::{
    Core, Engine, HeadFault, Revision, StoreError, StoreKeys, TrailFault,
    audit::chain::{Chain, SELECT_START, Start, StartWhy, StoredRow, chains, last_row, row_ending_at},
    db::{Reader, Sharing, args},
    ends::{Ends, LogHead},
    files,
    head::{Descent, Head as RowsHead},
};

/// The anchor is written at most this often. Also how many of the last records may be removed unnoticed from a database
/// whose server was killed.
const PERIOD: Duration = Duration::from_secs(1);

/// Where a chain ends, and that who has the root key says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which root key it was written under: no secret.
    deployment: String,
    /// Which chain: each replica has one.
    pub chain: String,
    /// The directory's revision.
    pub revision: Revision,
    /// What its rows were then, and before: no secret.
    state: String,
    /// The place of the last record; zero before the first.
    pub seq: u64,
    /// The hash of the row it stands in; empty before the first.
    pub hash: String,
    /// The position up to which the chain has the spool.
    spool: u64,
    /// The position up to which the spool was written.
    spooled: u64,
    /// When the last record was written.
    pub at: UnixTime,
    tag: String,
}

/// Why a line is no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It is no line of JSON with a head's members.
    #[error("it is not a head of an audit trail: {0}")]
    Form(String),
    /// Another root key.
    #[error("it was written under another root key: it belongs to another deployment")]
    Foreign,
    /// Not what was written.
    #[error("it is not as it was written: its tag does not fit")]
    Tag,
}

impl Head {
    pub(super) fn new(chain: &Chain, head: &LogHead, spooled: u64, key: &MacKey) -> Self {
        let LogHead { revision, state, seq, hash, spool, at, .. } = head.clone();
        let (deployment, chain, state) = (deployment(key), chain.id.to_string(), hash::hex(&state));
        let mut made = Self { deployment, chain, revision, state, seq, hash, spool, spooled, at, tag: String::new() };
        made.tag = hash::hex(&made.tag(key));
        made
    }

    /// Reads a line that [`Self::line`] wrote.
    ///
    /// # Errors
    /// [`BadHead`] when it is none, another deployment's, or was changed.
    pub fn parse(line: &str, keys: &StoreKeys) -> Result<Self, BadHead> {
        let head: Self = serde_json::from_str(line.trim()).map_err(|error| BadHead::Form(json_fault(&error)))?;
        if head.deployment != deployment(&keys.anchor) {
            return Err(BadHead::Foreign);
        }
        if !denizen_keys::constant_time_eq(hash::hex(&head.tag(&keys.anchor)).as_bytes(), head.tag.as_bytes()) {
            return Err(BadHead::Tag);
        }
        Ok(head)
    }

    /// One line, without a newline.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which does not happen.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The revision, and what the rows were.
    pub(super) fn known(&self) -> (Revision, Vec<u8>) {
        (self.revision, hash::unhex(&self.state).unwrap_or_default())
    }

    /// The position up to which the spool was written.
    pub(super) const fn spooled(&self) -> u64 {
        self.spooled
    }

    /// The position up to which the chain has the spool.
    pub(super) const fn shipped(&self) -> u64 {
        self.spool
    }

    /// The same, as a deployment with another root key would say it.
    #[cfg(test)]
    pub(in crate::store) fn under(mut self, key: &MacKey) -> Self {
        self.deployment = deployment(key);
        self.tag = hash::hex(&self.tag(key));
        self
    }

    fn tag(&self, key: &MacKey) -> [u8; denizen_keys::mac::TAG_BYTES] {
        let Self { deployment, chain, revision, state, seq, hash, spool, spooled, at, tag: _ } = self;
        key.tag(&[
            b"head",
            deployment.as_bytes(),
            chain.as_bytes(),
            &revision.0.to_be_bytes(),
            state.as_bytes(),
            &seq.to_be_bytes(),
            hash.as_bytes(),
            &spool.to_be_bytes(),
            &spooled.to_be_bytes(),
            &at.0.to_be_bytes(),
        ])
    }
}

/// What names a root key and gives nothing of it away.
pub(super) fn deployment(key: &MacKey) -> String {
    let mut name = hash::hex(&key.tag(&[b"deployment"]));
    name.truncate(16);
    name
}

/// Reads the anchor; none when there is no file.
pub(in crate::store) fn read(path: &Path, keys: &StoreKeys) -> Result<Option<Head>, TrailFault> {
    let unreadable = |why: String| TrailFault::AnchorUnreadable { path: path.to_owned(), why };
    match files::read_small(path) {
        Ok(None) => Ok(None),
        Ok(Some(line)) => Head::parse(&line, keys).map(Some).map_err(|bad| unreadable(bad.to_string())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Whether the anchor is one of another root key.
pub(super) fn is_foreign(fault: &TrailFault) -> bool {
    matches!(fault, TrailFault::AnchorUnreadable { why, .. } if *why == BadHead::Foreign.to_string())
}

/// Writes the anchor.
pub(super) fn write(path: &Path, head: &Head) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source: Arc::new(source) };
    let line = head.line().map_err(|error| failed(error.into()))?;
    files::replace(path, &(line + "\n")).map_err(failed)
}

/// What the database holds of the trail.
pub(super) struct Found {
    /// The head and the last row, whether or not they are ours.
    ends: Ends,
    /// Whether the last row's records are those that its hash speaks of.
    end_follows: bool,
    /// Where the chain starts; an error when that was forged.
    pub(super) start: Result<Start, TrailFault>,
    /// The last revision of the change log, which decides nothing.
    logged: Revision,
    /// Whether there is a directory.
    pub(super) peopled: bool,
    /// The row that ends where the anchor says.
    at_anchor: Option<StoredRow>,
    /// What the newest row of all chains says that the directory's rows are.
    newest: (Revision, Vec<u8>),
    /// How many chains there are.
    chains: usize,
    /// Whether the rows go on from those that the anchor knows.
    descent: Result<(), TrailFault>,
}

impl Found {
    /// Reads it.
    pub(super) async fn read(
        db: &mut Reader<'_>,
        keys: &StoreKeys,
        chain: &Chain,
        expected: Option<&Head>,
    ) -> Result<Self, StoreError> {
        let sql = "SELECT COALESCE(MAX(revision), 0), (SELECT COUNT(*) FROM (SELECT 1 FROM tenants LIMIT 1) AS one) FROM changes";
        let rows = db.rows(sql, &[]).await?;
        let (logged, peopled) = match rows.first() {
            Some(row) => (Revision(row.count(0)?), row.count(1)? > 0),
            None => (Revision(0), false),
        };
        let start = Start::read(&db.rows(SELECT_START, args![&*chain.id]).await?, chain);
        let at_anchor = match expected {
            Some(head) => row_ending_at(db, chain, head.seq).await?,
            None => None,
        };
        let last = last_row(db, chain, start.as_ref().unwrap_or(&Start::default())).await?;
        let end_follows = last.is_some_and(|(_, follows)| follows);
        let ends = Ends::read(db, chain).await?;
        let chains = chains(db).await?;
        let mut newest = ends.last.as_ref().map(|last| (last.head.revision, last.head.state.clone()));
        for other in chains.iter().filter(|other| ***other != *chain.id) {
            let other = Chain::named(other, keys);
            let end = Ends::read(db, &other).await?.last.filter(|last| last.is_ours(&other));
            let end = end.map(|end| (end.head.revision, end.head.state));
            newest = [newest, end].into_iter().flatten().max_by_key(|(revision, _)| *revision);
        }
        let (newest, chains) = (newest.unwrap_or_default(), chains.len());
        let descent = match (expected, &ends.head) {
            (Some(anchor), Some(head)) if anchor.revision <= head.revision => {
                let (revision, state) = anchor.known();
                Descent::read(db, keys, (revision, &state), head.revision).await?.admit((head.revision, &head.state))
            }
            // The one is new, or the other is older than it.
            _ => Ok(()),
        };
        Ok(Self { ends, end_follows, start, logged, peopled, at_anchor, newest, chains, descent })
    }

    /// The last row, whether or not it is ours.
    pub(super) const fn end(&self) -> Option<&StoredRow> {
        self.ends.last.as_ref()
    }

    /// What vouches for the rows, whether or not it is ours.
    pub(super) fn rows_head(&self) -> Option<RowsHead> {
        self.ends.head.clone()
    }

    /// The revision of the rows.
    pub(super) fn revision(&self) -> Revision {
        self.ends.head.as_ref().map_or_else(Revision::default, |head| head.revision)
    }

    /// What the head says that the rows are.
    pub(super) fn state(&self) -> Vec<u8> {
        self.ends.head.as_ref().map(|head| head.state.clone()).unwrap_or_default()
    }

    /// Whether the head is ours, where there is one.
    pub(super) fn has_own_head(&self, keys: &StoreKeys) -> bool {
        self.ends.head.as_ref().is_some_and(|head| head.is_ours(keys))
    }

    /// Refuses a head that is not ours: nothing can be accepted where nothing vouches for the rows.
    pub(super) fn refuse_foreign_rows(&self, keys: &StoreKeys) -> Result<(), StoreError> {
        match &self.ends.head {
            Some(head) if head.is_ours(keys) => Ok(()),
            Some(_) => Err(StoreError::Head(HeadFault::Forged)),
            None if self.newest.1.is_empty() => Ok(()),
            None => Err(StoreError::Head(HeadFault::Missing)),
        }
    }

    /// Whether the rows are those at the end of the trail.
    fn belong_together(&self) -> Result<(), TrailFault> {
        let rows = (self.revision(), self.state());
        let (trail, _) = self.newest;
        if rows == self.newest { Ok(()) } else { Err(TrailFault::OfOtherRows { rows: rows.0.0, trail: trail.0 }) }
    }

    /// Where the chain ends.
    pub(super) fn head(&self) -> LogHead {
        let end = self.end().map(|end| end.head.clone()).unwrap_or_default();
        LogHead { revision: self.revision(), state: self.state(), ..end }
    }

    /// Whether nothing was ever written to this database.
    pub(super) fn is_new(&self) -> bool {
        self.chains == 0 && self.ends.head.is_none() && !self.peopled && self.start == Ok(Start::default())
    }
}

/// Whether the database is what the anchor at `path` says it was, or has gone on from there.
pub(super) fn judge(
    (path, expected): (&Path, Option<&Head>),
    found: &Found,
    chain: &Chain,
    sharing: Sharing,
) -> Result<(), TrailFault> {
    let missing = || TrailFault::AnchorMissing { path: path.to_owned() };
    let start = found.start.clone()?;
    let Some(end) = found.end() else {
        let records = expected.map_or(0, |head| head.seq);
        let may_be_new = match sharing {
            Sharing::Alone => found.is_new(),
            Sharing::Replica => found.is_new() || (expected.is_some() && found.chains > 0),
            Sharing::NewReplica => found.is_new() || found.chains > 0,
        };
        if records > 0 || !may_be_new {
            return Err(match expected {
                None if found.chains > 0 => missing(),
                Some(_) | None => TrailFault::Removed { records },
            });
        }
        // A replica that has written nothing yet.
        found.belong_together()?;
        let revisions = expected.map_or(0, |head| head.revision.0.saturating_sub(found.revision().0));
        return if revisions == 0 { found.descent.clone() } else { Err(TrailFault::Older { records, revisions }) };
    };
    if !end.is_ours(chain) {
        return Err(TrailFault::EndForged { seq: end.place().0 });
    }
    let written = end.head.seq;
    if !found.end_follows {
        return Err(TrailFault::Rewritten { seq: written });
    }
    let Some(expected) = expected else { return Err(missing()) };
    let revisions = expected.revision.0.saturating_sub(found.revision().0);
    if expected.seq > written || start.seq >= written {
        let records = expected.seq.max(start.seq).saturating_sub(written);
        return Err(match revisions {
            0 => TrailFault::Cut { records, end: written },
            _ => TrailFault::Older { records, revisions },
        });
    }
    found.belong_together()?;
    if revisions > 0 {
        return Err(TrailFault::Older { records: 0, revisions });
    }
    found.descent.clone()?;
    let same = match expected.seq {
        0 => true,
        // What was pruned or given up since cannot be compared, and the tag says that it was this server's to do.
        seq if seq < start.seq => true,
        seq if seq == start.seq => start.hash == expected.hash,
        _ => found.at_anchor.as_ref().is_some_and(|row| row.is_ours(chain) && row.head.hash == expected.hash),
    };
    if same { Ok(()) } else { Err(TrailFault::Rewritten { seq: expected.seq }) }
}

/// What the store needs to know before it may be used.
pub(in crate::store) struct Admitted {
    pub(in crate::store) head: LogHead,
    /// What has to vouch for the rows.
    pub(in crate::store) rows: Option<RowsHead>,
    pub(in crate::store) start: Start,
    /// The position up to which the spool was written, as far as the anchor knows; none in a new database.
    pub(in crate::store) spooled: Option<u64>,
    /// Whether there is no anchor yet.
    is_new: bool,
}

impl Admitted {
    /// Writes the first anchor, once what it names is durable. Before the first record, so that there is no moment at which
    /// a database with records has no anchor.
    pub(in crate::store) fn anchor(&self, keys: &StoreKeys, engine: &Engine, chain: &Chain) -> Result<(), StoreError> {
        match self.is_new {
            true => write(&engine.anchor(), &Head::new(chain, &self.head, 0, &keys.anchor)),
            false => Ok(()),
        }
    }
}

/// What is this replica's own.
pub(in crate::store) struct Own {
    /// Its chain.
    pub(in crate::store) chain: Chain,
    /// Its anchor, where there is one.
    anchor: Option<Head>,
    sharing: Sharing,
}

impl Own {
    /// Whether the anchor says that the chain is this replica's.
    pub(in crate::store) fn is_known(&self) -> bool {
        self.anchor.is_some()
    }
}

/// Reads the anchor, and finds out which chain is this replica's.
///
/// # Errors
/// [`StoreError::Trail`] when the anchor is none, or another's.
pub(in crate::store) async fn own(db: &mut Reader<'_>, keys: &StoreKeys, engine: &Engine) -> Result<Own, StoreError> {
    let sharing = engine.sharing();
    let anchor = read(&engine.anchor(), keys)?;
    let chain = own_chain(db, keys, anchor.as_ref(), sharing).await?;
    Ok(Own { chain, anchor, sharing })
}

/// Compares the database with the anchor, and makes the anchor of a new database.
///
/// # Errors
/// [`StoreError::Trail`] when the database is not what was written to it.
pub(in crate::store) async fn admit(
    db: &mut Reader<'_>,
    keys: &StoreKeys,
    engine: &Engine,
    Own { chain, anchor: expected, sharing }: Own,
) -> Result<Admitted, StoreError> {
    let path = &engine.anchor();
    let found = Found::read(db, keys, &chain, expected.as_ref()).await?;
    found.refuse_foreign_rows(keys)?;
    judge((path, expected.as_ref()), &found, &chain, sharing)?;
    let head = found.head();
    if found.logged < head.revision {
        let (logged, revision) = (found.logged.0, head.revision.0);
        tracing::error!(logged, revision, "somebody has cut the change log: its last revisions are missing");
    }
    let is_new = expected.is_none();
    let spooled = (head.seq > 0).then(|| expected.map_or(0, |anchor| anchor.spooled));
    Ok(Admitted { head, rows: found.ends.head, start: found.start?, spooled, is_new })
}

/// This replica's chain: the one that its anchor names. Without one, the only one there is, unless this is a new replica; or
/// else a new one.
pub(super) async fn own_chain(
    db: &mut Reader<'_>,
    keys: &StoreKeys,
    expected: Option<&Head>,
    sharing: Sharing,
) -> Result<Chain, StoreError> {
    if let Some(head) = expected {
        return Ok(Chain::named(&head.chain, keys));
    }
    let there = if sharing == Sharing::NewReplica { Vec::new() } else { chains(db).await? };
    Ok(match &there[..] {
        // One that another replica writes is not this one's.
        [only] if db.try_claim(only).await? => Chain::named(only, keys),
        _ => Chain::new(keys),
    })
}

/// The same before there is a database: making an empty one would hide that another was there.
pub(in crate::store) fn refuse_without_database(path: &Path, keys: &StoreKeys) -> Result<(), StoreError> {
    match read(path, keys)? {
        Some(head) if head.seq > 0 => Err(TrailFault::Removed { records: head.seq }.into()),
        Some(_) | None => Ok(()),
    }
}

impl Start {
    /// Whether records were given up that may still be there.
    pub(super) fn is_accepted(&self) -> bool {
        self.why == StartWhy::Accepted
    }
}

/// The task that keeps the anchor. When the last clone is gone, the task ends.
#[derive(Clone)]
pub(in crate::store) struct Keeper(Arc<Handle>);

struct Handle {
    stop: Arc<Notify>,
    /// Somebody waits for the anchor.
    wanted: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
    core: Arc<Core>,
    heads: watch::Receiver<LogHead>,
    path: PathBuf,
    /// The revision that was written last.
    anchored: watch::Sender<Revision>,
}

impl Keeper {
    /// Starts the task. `heads` has every head that was committed.
    pub(in crate::store) fn start(core: Arc<Core>, heads: watch::Receiver<LogHead>, path: PathBuf) -> Self {
        let (stop, wanted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let anchored = watch::Sender::default();
        let task = Task {
            core: core.clone(),
            heads: heads.clone(),
            path: path.clone(),
            written: None,
            anchored: anchored.clone(),
        };
        let task = tokio::spawn(task.run(stop.clone(), wanted.clone()));
        Self(Arc::new(Handle { stop, wanted, task: Mutex::new(Some(task)), core, heads, path, anchored }))
    }

    /// The revision that the anchor has: the one of now, unless it cannot be written just now.
    pub(in crate::store) async fn anchored(&self) -> Revision {
        let (now, mut anchored) = (self.0.heads.borrow().revision, self.0.anchored.subscribe());
        self.0.wanted.notify_one();
        let _ = tokio::time::timeout(2 * PERIOD, anchored.wait_for(|anchored| *anchored >= now)).await;
        *anchored.borrow()
    }

    /// Ends the task, and writes the anchor a last time. Nothing may be committed after this.
    pub(in crate::store) async fn close(&self) {
        let Some(task) = self.0.task.lock().await.take() else { return };
        self.0.stop.notify_one();
        let _ = task.await;
        let Handle { core, heads, path, anchored, .. } = &*self.0;
        let (core, heads, path, anchored) = (core.clone(), heads.clone(), path.clone(), anchored.clone());
        Task { core, heads, path, written: None, anchored }.keep().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

struct Task {
    core: Arc<Core>,
    heads: watch::Receiver<LogHead>,
    path: PathBuf,
    written: Option<Head>,
    anchored: watch::Sender<Revision>,
}

impl Task {
    async fn run(mut self, stop: Arc<Notify>, wanted: Arc<Notify>) {
        loop {
            self.keep().await;
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = wanted.notified() => {}
                () = stop.notified() => return,
            }
        }
    }

    /// Writes the anchor if the chain or the spool has moved, and looks after the spool's files.
    async fn keep(&mut self) {
        // Both are in the database, or in the file, by now: the anchor never claims too much of either.
        let head = self.heads.borrow_and_update().clone();
        let spooled = self.core.spool.position().1;
        let head = Head::new(&self.core.chain, &head, spooled, &self.core.keys.anchor);
        let (core, path, known) = (self.core.clone(), self.path.clone(), self.written.as_ref() == Some(&head));
        let done = tokio::task::spawn_blocking(move || {
            core.spool.look_after();
            core.health.replaced(core.engine.identity() != core.identity);
            // Somebody may have removed it.
            let is_there = known && read(&path, &core.keys).is_ok_and(|there| there.as_ref() == Some(&head));
            if is_there { Ok(head) } else { write(&path, &head).map(|()| head) }
        });
        match done.await {
            Ok(Ok(head)) => {
                self.anchored.send_replace(head.revision);
                self.written = Some(head);
                self.core.health.anchored();
            }
            Ok(Err(error)) => self.core.health.anchor_failed(&error),
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}

/// The anchor of a database that has no records yet.
#[cfg(test)]
pub(in crate::store) fn of_nothing(keys: &StoreKeys) -> String {
    Head::new(&Chain::new(keys), &LogHead::default(), 0, &keys.anchor).line().unwrap()
}
