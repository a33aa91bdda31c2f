//! The group of transactions that commits next, and what its members leave to it.
//!
//! Touches nothing. Tests: the contract suite (`writes`, `durability`).

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Core, Snapshot, StoreError,
    db::Statements,
    ends::LogHead,
    follow::Ahead,
    head::Head,
    live::{Pending, Sum},
    snapshot::Effect,
};

/// What vouches for the rows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) sum: Sum,
    /// None before the first commit.
    pub(super) head: Option<Head>,
}

/// Transactions that commit together.
pub(super) struct Group {
    /// Where both logs end after the last member.
    pub(super) log: LogHead,
    /// What vouches for the rows then.
    pub(super) rows: Vouched,
    /// What all members did to the rows.
    pub(super) pending: Pending,
    /// The directory after the last member.
    pub(super) snapshot: Arc<Snapshot>,
    /// What making it took.
    publishing: Duration,
    /// Whoever waits to hear how it ended.
    pub(super) waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Whether a member is at work.
    pub(super) has_member: bool,
    /// Whether the savepoint is open that a member needs.
    pub(super) has_savepoint: bool,
    /// Whether a task is on its way that commits it.
    pub(super) has_committer: bool,
    /// Whether a member wrote anything.
    pub(super) has_written: bool,
    /// Whether a member changed anything, or is recorded for itself.
    pub(super) has_changed: bool,
    /// How many statements had written before it was begun, and before its last member was.
    pub(super) writes_before: u64,
    pub(super) writes_before_member: u64,
    /// Whether sealed bytes were removed that must not survive in the log of the engine.
    pub(super) has_purged: bool,
    /// Whether it holds the right to change rows, where replicas share it.
    pub(super) has_lock: bool,
    /// The head that it goes on from.
    pub(super) base: Option<Head>,
    /// Whether that is another's, which this replica has not taken over: it may not be durable.
    pub(super) is_ahead: bool,
    /// How it ends, once that was begun: whoever waited for that may have gone away.
    pub(super) ending: Option<Ending>,
}

/// How a group ends.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// It commits.
    Kept,
    /// Nothing was written.
    Unwritten,
    /// It cannot go on.
    Broken,
}

/// What a member leaves to its group.
pub(super) struct Done {
    pub(super) log: LogHead,
    pub(super) rows: Vouched,
    pub(super) pending: Pending,
    pub(super) effects: Vec<Effect>,
    pub(super) has_purged: bool,
    /// Whether these are records of the audit's spool, and nothing else.
    pub(super) is_shipment: bool,
}

impl Group {
    /// One without a member, that goes on from what is known.
    pub(super) fn new(log: LogHead, rows: Vouched, snapshot: Arc<Snapshot>, writes_before: u64) -> Self {
        Self {
            log,
            base: rows.head.clone(),
            rows,
            pending: Pending::default(),
            snapshot,
            publishing: Duration::ZERO,
            waiting: Vec::new(),
            has_member: false,
            has_savepoint: false,
            has_committer: false,
            has_written: false,
            has_changed: false,
            writes_before,
            writes_before_member: 0,
            has_purged: false,
            has_lock: false,
            is_ahead: false,
            ending: None,
        }
    }

    /// It has the right to change rows, and goes on from what others have committed, or from what is known.
    pub(super) fn lock(&mut self, known: Vouched, snapshot: Arc<Snapshot>, ahead: Option<Ahead>) {
        (self.is_ahead, self.rows, self.snapshot) = (ahead.is_some(), known, snapshot);
        if let Some(Ahead { head, sum, pending, effects }) = ahead {
            if self.snapshot.revision() != head.revision {
                self.snapshot = Arc::new(self.snapshot.with(head.revision, effects));
            }
            (self.pending, self.rows) = (pending, Vouched { sum, head: Some(head) });
        }
        if let Some(head) = &self.rows.head {
            (self.log.revision, self.log.state) = (head.revision, head.state.clone());
        }
        (self.base, self.has_lock) = (self.rows.head.clone(), true);
    }

    /// Takes in what a member has done.
    pub(super) fn keep(&mut self, statements: &Statements, done: Done) {
        self.has_written = true;
        self.has_changed |= !done.is_shipment;
        if done.is_shipment {
            // Nobody else writes. What is counted of the group already is not of it any more.
            let writes = statements.writes.load(Ordering::Relaxed).saturating_sub(self.writes_before_member);
            statements.audit_statements.fetch_add(writes, Ordering::Relaxed);
            self.writes_before += writes;
        }
        self.has_purged |= done.has_purged;
        if !done.effects.is_empty() {
            let start = Instant::now();
            self.snapshot = Arc::new(self.snapshot.with(done.log.revision, done.effects));
            self.publishing += start.elapsed();
        }
        self.pending.extend(done.pending);
        (self.log, self.rows) = (done.log, done.rows);
    }

    /// Publishes what it has done, and what it goes on from.
    pub(super) fn publish(&self, core: &Core) {
        let start = Instant::now();
        core.live.publish(&self.pending);
        if self.snapshot.revision() > core.snapshot.load().revision() {
            core.snapshot.store(self.snapshot.clone());
            core.published.add(self.publishing + start.elapsed());
        }
    }
}
