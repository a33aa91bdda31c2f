//! The shipper: the task that moves what is in the spool into the chain.
//!
//! It waits for a record, lets more come for a moment, and writes all of them with one statement: the cost of the
//! commit is shared by as many as there are, and nobody waits for it. When the database is away it tries again, with
//! the spool brought to the disk meanwhile.
//!
//! Whether a batch whose commit ended in doubt was kept is told by the chain itself: its last row names the position
//! in the spool that it has. Tests: the contract suite.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use denizen_wire::Causes;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::super::{
    Core, StoreError,
    audit::{
        chain::{self, Row},
        spool::{BATCH, Batch},
    },
    group::Done,
    live::Pending,
    turn::Queue,
    writer::Writer,
};

/// How long records are let gather. Also how much of the spool a loss of power may cost, beside one commit.
const GATHER: Duration = Duration::from_millis(25);
/// The database may take this long before the spool is brought to the disk beside it.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// The pause after a failure: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long the task goes on trying after the spool was closed. Longer than the pause that the writer's connection makes
/// after it found no database: a server that is stopped moments after the database came back leaves nothing.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// The way to talk to the task. When the last clone is gone, the spool is closed and the task ends.
#[derive(Clone)]
pub(in crate::store) struct Shipper(Arc<Handle>);

struct Handle {
    core: Arc<Core>,
    flush_now: Arc<Notify>,
    progress: watch::Receiver<Progress>,
}

/// What the task has done.
#[derive(Clone, Default)]
struct Progress {
    /// The position up to which the chain has everything.
    shipped: u64,
    /// How often it failed.
    failures: u64,
    /// Why, the last time.
    error: Option<StoreError>,
}

impl Shipper {
    /// Starts the task.
    pub(in crate::store) fn start(core: Arc<Core>) -> Self {
        let flush_now = Arc::new(Notify::new());
        let shipped = core.spool.position().0;
        let (told, progress) = watch::channel(Progress { shipped, ..Progress::default() });
        tokio::spawn(Task { core: core.clone(), flush_now: flush_now.clone(), told, batch: None }.run());
        Self(Arc::new(Handle { core, flush_now, progress }))
    }

    /// Waits until everything that was recorded before this call is in the chain. An error when the database is away.
    pub(in crate::store) async fn shipped(&self) -> Result<(), StoreError> {
        let (end, mut progress) = (self.0.core.spool.position().1, self.0.progress.clone());
        let before = progress.borrow_and_update().failures;
        self.0.flush_now.notify_one();
        match progress.wait_for(|now| now.shipped >= end || now.failures > before).await {
            Ok(now) if now.shipped >= end => Ok(()),
            Ok(now) => Err(now.error.clone().unwrap_or(StoreError::Closed)),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Refuses every later record, moves what there is, and ends the task.
    pub(in crate::store) async fn close(&self) {
        self.0.core.spool.close();
        self.0.flush_now.notify_one();
        let mut progress = self.0.progress.clone();
        // It ends by dropping its side.
        while progress.changed().await.is_ok() {}
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.spool.close();
        self.flush_now.notify_one();
    }
}

struct Task {
    core: Arc<Core>,
    flush_now: Arc<Notify>,
    told: watch::Sender<Progress>,
    /// Taken from the spool, and not in the chain yet.
    batch: Option<Batch>,
}

impl Task {
    async fn run(mut self) {
        let mut pause = PAUSE.0;
        let mut give_up: Option<Instant> = None;
        loop {
            let closed = self.core.spool.is_closed();
            if closed && give_up.is_none() {
                (give_up, pause) = (Some(Instant::now() + LAST_TRIES), PAUSE.0);
            }
            if self.batch.is_none() && self.core.spool.waiting() == 0 {
                if closed {
                    if self.core.spool.shipped(self.core.spool.position().1) {
                        self.sync_names().await;
                    }
                    return;
                }
                self.core.spool.filled.notified().await;
                continue;
            }
            if self.batch.is_none() && !closed && self.core.spool.waiting() < BATCH {
                self.pause(GATHER).await;
            }
            match self.attempt().await {
                Ok(()) => pause = PAUSE.0,
                Err(error) => {
                    self.told.send_modify(|progress| {
                        progress.failures += 1;
                        progress.error = Some(error.clone());
                    });
                    let bytes = self.core.spool.behind();
                    let may_pass = matches!(error, StoreError::Unavailable(_));
                    if give_up.is_some_and(|at| !may_pass || Instant::now() >= at) {
                        // They stay in the spool: whoever opens the store next takes them up.
                        let error = Causes(&error);
                        return tracing::error!(%error, bytes, "the audit's spool could not be moved before the end");
                    }
                    // What is not over by itself is logged where it is met, and not twice a second.
                    if self.core.health.barred.by().is_none() {
                        tracing::warn!(error = %Causes(&error), bytes, "the audit's spool cannot be moved; trying again");
                    }
                    sync(&self.core).await;
                    self.pause(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    async fn sync_names(&self) {
        let core = self.core.clone();
        let _ = tokio::task::spawn_blocking(move || core.spool.sync_names()).await;
    }

    /// Waits, unless somebody is in a flush_now.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.flush_now.notified() => {}
        }
    }

    /// Carries, however long it takes; when it takes long, the spool must be what survives.
    async fn attempt(&mut self) -> Result<(), StoreError> {
        let core = self.core.clone();
        let carry = self.carry();
        tokio::pin!(carry);
        loop {
            tokio::select! {
                done = &mut carry => return done,
                () = sleep(SYNC_AFTER) => sync(&core).await,
            }
        }
    }

    async fn carry(&mut self) -> Result<(), StoreError> {
        let core = self.core.clone();
        let mut writer = Queue::writer(&core).await;
        let start = writer.join_to_ship(&core).await?.log.clone();
        // Taken now and not before: whatever came while another held the writer goes along.
        if self.batch.is_none() {
            self.batch = core.spool.take();
        }
        let Some(batch) = &self.batch else {
            writer.abandon(&core.statements).await;
            return Writer::finish(&core, writer).await;
        };
        // Nobody but this task moves the position, and a batch is kept whole or not at all: it is where the spool was
        // left, or where the batch ends, when the commit that ended in doubt was kept.
        let (shipped, end) = (core.spool.position().0, batch.end);
        if start.spool > shipped && start.spool != end {
            let said = start.spool;
            writer.quit(&core).await;
            return Err(StoreError::Corrupt(format!(
                "the chain claims the spool up to {said}, and has had it up to {shipped} or {end}"
            )));
        }
        if start.spool < end {
            let (rows, log) = Row::of_batch(&start, &core.chain, batch)?;
            let joined = async {
                chain::append(&mut writer, &core, &rows, &start).await?;
                let rows = writer.group()?.rows.clone();
                let (pending, effects) = (Pending::default(), Vec::new());
                let done = Done { log, rows, pending, effects, has_purged: false, is_shipment: true };
                writer.keep(&core.statements, done).await
            };
            if let Err(error) = joined.await {
                writer.quit(&core).await;
                return Err(error);
            }
            core.statements.audit_commits.fetch_add(1, Ordering::Relaxed);
        } else {
            writer.abandon(&core.statements).await;
        }
        Writer::finish(&core, writer).await?;
        if let Some(batch) = self.batch.take() {
            core.spool.give_back(batch);
        }
        if core.spool.shipped(end) {
            // A new segment: its name must survive what its bytes survive.
            self.sync_names().await;
        }
        self.told.send_modify(|progress| progress.shipped = end);
        Ok(())
    }
}

/// Brings the spool to the disk.
async fn sync(core: &Arc<Core>) {
    let core = core.clone();
    match tokio::task::spawn_blocking(move || core.spool.sync()).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the audit's spool could not be brought to the disk"),
    }
}
