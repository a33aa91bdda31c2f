//! The carrier: the task that moves what is in the journal into the trail.
//!
//! It waits for a record, lets more come for a moment, and writes all of them with one statement: the cost of the
//! commit is shared by as many as there are, and nobody waits for it. When the database is away it tries again, with
//! the journal brought to the disk meanwhile.
//!
//! Whether a batch whose commit ended in doubt was kept is told by the trail itself: its last row names the position
//! in the journal that it has. Tests: the contract suite.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{
    Core, StoreError,
    journal::{BATCH, Batch},
    trail::{self, Row},
};

/// How long records are let gather. Also how much of the journal a loss of power may cost, beside one commit.
const GATHER: Duration = Duration::from_millis(25);
/// The database may take this long before the journal is brought to the disk beside it.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause after a failure: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The way to talk to the task. When the last clone is gone, the journal is closed and the task ends.
#[derive(Clone)]
pub(super) struct Carrier(Arc<Handle>);

struct Handle {
    core: Arc<Core>,
    hurry: Arc<Notify>,
    progress: watch::Receiver<Progress>,
}

/// What the task has done.
#[derive(Clone, Default)]
struct Progress {
    /// The position up to which the trail has everything.
    carried: u64,
    /// How often it failed.
    failures: u64,
    /// Why, the last time.
    error: Option<StoreError>,
}

impl Carrier {
    /// Starts the task.
    pub(super) fn start(core: Arc<Core>) -> Self {
        let hurry = Arc::new(Notify::new());
        let carried = core.journal.position().0;
        let (told, progress) = watch::channel(Progress { carried, ..Progress::default() });
        tokio::spawn(Task { core: core.clone(), hurry: hurry.clone(), told, batch: None }.run());
        Self(Arc::new(Handle { core, hurry, progress }))
    }

    /// Waits until everything that was recorded before this call is in the trail. An error when the database is away.
    pub(super) async fn carried(&self) -> Result<(), StoreError> {
        let (end, mut progress) = (self.0.core.journal.position().1, self.0.progress.clone());
        let before = progress.borrow_and_update().failures;
        self.0.hurry.notify_one();
        match progress.wait_for(|now| now.carried >= end || now.failures > before).await {
            Ok(now) if now.carried >= end => Ok(()),
            Ok(now) => Err(now.error.clone().unwrap_or(StoreError::Closed)),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Refuses every later record, moves what there is, and ends the task.
    pub(super) async fn close(&self) {
        self.0.core.journal.close();
        self.0.hurry.notify_one();
        let mut progress = self.0.progress.clone();
        // It ends by dropping its side.
        while progress.changed().await.is_ok() {}
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.journal.close();
        self.hurry.notify_one();
    }
}

struct Task {
    core: Arc<Core>,
    hurry: Arc<Notify>,
    told: watch::Sender<Progress>,
    /// Taken from the journal, and not in the trail yet.
    batch: Option<Batch>,
}

impl Task {
    async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let closed = self.core.journal.is_closed();
            if self.batch.is_none() && self.core.journal.waiting() == 0 {
                if closed {
                    return self.core.journal.carried(self.core.journal.position().1);
                }
                self.core.journal.filled.notified().await;
                continue;
            }
            if self.batch.is_none() && !closed && self.core.journal.waiting() < BATCH {
                self.pause(GATHER).await;
            }
            match self.attempt().await {
                Ok(()) => pause = PAUSE.0,
                Err(error) => {
                    self.told.send_modify(|progress| {
                        progress.failures += 1;
                        progress.error = Some(error.clone());
                    });
                    let bytes = self.core.journal.behind();
                    if closed {
                        // They stay in the journal: whoever opens the store next takes them up.
                        return tracing::error!(%error, bytes, "the audit's journal could not be moved before the end");
                    }
                    tracing::warn!(%error, bytes, "the audit's journal cannot be moved; trying again");
                    sync(&self.core).await;
                    self.pause(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Waits, unless somebody is in a hurry.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.hurry.notified() => {}
        }
    }

    /// Carries, however long it takes; when it takes long, the journal must be what survives.
    async fn attempt(&mut self) -> Result<(), StoreError> {
        let core = self.core.clone();
        let carry = self.carry();
        tokio::pin!(carry);
        loop {
            tokio::select! {
                done = &mut carry => return done,
                () = sleep(PATIENCE) => sync(&core).await,
            }
        }
    }

    async fn carry(&mut self) -> Result<(), StoreError> {
        let core = self.core.clone();
        let mut writer = core.writer.lock().await;
        let start = writer.ready(&core).await?;
        // Taken now and not before: whatever came while another held the writer goes along.
        if self.batch.is_none() {
            self.batch = core.journal.take();
        }
        let Some(batch) = &self.batch else { return Ok(()) };
        // Nobody but this task moves the position, and a batch is kept whole or not at all: it is where the journal was
        // left, or where the batch ends, when the commit that ended in doubt was kept.
        let (carried, end) = (core.journal.position().0, batch.end);
        if start.journal > carried && start.journal != end {
            let said = start.journal;
            return Err(StoreError::Corrupt(format!(
                "the trail claims the journal up to {said}, and has had it up to {carried} or {end}"
            )));
        }
        if start.journal < end {
            let (rows, heads) = Row::of_batch(&start, batch);
            let (sql, args) = trail::insert(&rows);
            // One statement is its own transaction: no BEGIN, no COMMIT, one trip.
            core.counting.audit_statements.fetch_add(1, Ordering::Relaxed);
            match writer.execute(&core.counting, sql, &args).await {
                Ok(_) => writer.advance(heads),
                Err(error) => writer.settle(&core.counting, heads, error).await?,
            }
            core.counting.audit_commits.fetch_add(1, Ordering::Relaxed);
        }
        drop(writer);
        self.batch = None;
        core.journal.carried(end);
        self.told.send_modify(|progress| progress.carried = end);
        Ok(())
    }
}

/// Brings the journal to the disk.
async fn sync(core: &Arc<Core>) {
    let core = core.clone();
    match tokio::task::spawn_blocking(move || core.journal.sync()).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the audit's journal could not be brought to the disk"),
    }
}
