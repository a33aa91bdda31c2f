//! Group commit of the audit: one task takes all events that wait and writes them with one statement.
//!
//! While one group is on its way to the disk the next one gathers, so the cost of the disk is shared by as many as
//! are waiting and nobody waits for company. When the database is down, callers that wait for their event are told
//! so at once; events recorded with [`super::Store::audit_soon`] are kept, in order, until it is back. Tests: the
//! contract suite.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::sleep,
};

use super::{
    Core, StoreError,
    audit::Draft,
    db::{Arg, Sql, args},
    writer::Heads,
};

/// Events that may wait, written or not.
const ROOM: usize = 65_536;
/// Events in one statement.
const GROUP: usize = 512;
/// The pause after a failure: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The way in.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Message>,
    room: Arc<Semaphore>,
}

enum Message {
    Event(Box<Waiting>),
    Close(oneshot::Sender<()>),
}

struct Waiting {
    draft: Draft,
    /// Who waits for it to be on disk.
    done: Option<oneshot::Sender<Result<(), StoreError>>>,
    /// Its place in the queue, given back when it is written or dropped.
    _place: OwnedSemaphorePermit,
}

impl Queue {
    pub(super) async fn write(&self, draft: Draft) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.send(draft, Some(done))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) fn write_soon(&self, draft: Draft) -> Result<(), StoreError> {
        self.send(draft, None)
    }

    fn send(&self, draft: Draft, done: Option<oneshot::Sender<Result<(), StoreError>>>) -> Result<(), StoreError> {
        let place = self.room.clone().try_acquire_owned().map_err(|_| StoreError::AuditFull)?;
        let waiting = Box::new(Waiting { draft, done, _place: place });
        self.sender.send(Message::Event(waiting)).map_err(|_| StoreError::Closed)
    }

    /// Writes what waits, then stops. Events sent later are refused.
    pub(super) async fn close(&self) {
        let (done, answer) = oneshot::channel();
        if self.sender.send(Message::Close(done)).is_ok() {
            // An error says that the task has ended, which is what is waited for.
            let _ = answer.await;
        }
    }
}

/// Starts the task. It ends when the store is closed, or when the last clone of it is gone.
pub(super) fn start(core: Arc<Core>) -> Queue {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(Batch { core, receiver, waiting: VecDeque::new(), closing: None, ended: false, doubt: None }.run());
    Queue { sender, room: Arc::new(Semaphore::new(ROOM)) }
}

struct Batch {
    core: Arc<Core>,
    receiver: mpsc::UnboundedReceiver<Message>,
    waiting: VecDeque<Waiting>,
    closing: Option<oneshot::Sender<()>>,
    ended: bool,
    doubt: Option<Doubt>,
}

/// A group that failed in a way that leaves open whether it was kept.
struct Doubt {
    /// The hash the trail ends with if it was.
    hash: String,
    /// How many of its events are still in the queue, at the front.
    kept: usize,
}

impl Batch {
    async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            if self.waiting.is_empty() {
                // Closed, the channel still gives what it holds before it ends.
                match self.receiver.recv().await {
                    Some(message) => self.take(message),
                    None => break,
                }
            }
            if self.waiting.is_empty() {
                continue;
            }
            match self.write().await {
                Ok(()) => pause = PAUSE.0,
                Err(error) => {
                    self.refuse(&error);
                    if self.ended {
                        tracing::error!(%error, lost = self.waiting.len(), "audit events were not written before the end");
                        break;
                    }
                    tracing::warn!(%error, waiting = self.waiting.len(), "the audit cannot be written; trying again");
                    self.wait(pause, &error).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
        self.receiver.close();
        if let Some(done) = self.closing {
            // Nobody waits any more: nothing to tell.
            let _ = done.send(());
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(waiting) => self.waiting.push_back(*waiting),
            Message::Close(done) => {
                self.closing = Some(done);
                self.ended = true;
                // What was sent before is taken in; what comes later is refused by the channel.
                self.receiver.close();
            }
        }
    }

    /// Writes the events at the front, and answers those who wait for them.
    async fn write(&mut self) -> Result<(), StoreError> {
        let core = self.core.clone();
        let mut writer = core.writer.lock().await;
        let start = writer.ready(&core).await?;
        // Taken now and not before: whoever came while another held the writer goes with this group.
        while self.waiting.len() < GROUP
            && let Ok(message) = self.receiver.try_recv()
        {
            self.take(message);
        }
        if let Some(doubt) = self.doubt.take()
            && doubt.hash == start.hash
        {
            self.waiting.drain(..doubt.kept.min(self.waiting.len()));
            return Ok(());
        }
        let size = self.waiting.len().min(GROUP);
        let mut rows = Vec::with_capacity(size);
        let mut heads = start;
        for waiting in self.waiting.iter().take(size) {
            let (line, next) = waiting.draft.follow(&heads)?;
            rows.push((i64::try_from(next.seq).unwrap_or(i64::MAX), waiting.draft.tenant(), line, next.hash.clone()));
            heads = next;
        }
        let args: Vec<Arg<'_>> =
            rows.iter().flat_map(|(seq, tenant, line, hash)| *args![*seq, tenant, line, hash]).collect();
        let sql = Sql::rows("INSERT INTO audit (seq, tenant, line, hash)", size, 4);
        // One statement is its own transaction: no BEGIN, no COMMIT, one trip.
        core.counting.audit_statements.fetch_add(1, Ordering::Relaxed);
        let result = match writer.execute(&core.counting, sql, &args).await {
            Ok(_) => {
                writer.advance(heads);
                Ok(())
            }
            Err(error) => self.settle(&mut writer, heads, error, size).await,
        };
        drop(writer);
        result?;
        core.counting.audit_commits.fetch_add(1, Ordering::Relaxed);
        core.counting.audit_events.fetch_add(size as u64, Ordering::Relaxed);
        for waiting in self.waiting.drain(..size) {
            if let Some(done) = waiting.done {
                // Whoever waited has gone away; the record stands.
                let _ = done.send(Ok(()));
            }
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        writer: &mut super::writer::Writer,
        heads: Heads,
        error: StoreError,
        size: usize,
    ) -> Result<(), StoreError> {
        let hash = heads.hash.clone();
        let settled = writer.settle(&self.core.counting, heads, error).await;
        if settled.is_err() {
            let kept = self.waiting.iter().take(size).filter(|waiting| waiting.done.is_none()).count();
            self.doubt = Some(Doubt { hash, kept });
        }
        settled
    }

    /// Tells those who wait that their event is not on disk. The others' events stay.
    fn refuse(&mut self, error: &StoreError) {
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting.done {
                Some(done) => _ = done.send(Err(error.clone())),
                None => self.waiting.push_back(waiting),
            }
        }
    }

    /// Lets the database be for a moment, refusing meanwhile whoever would wait for it.
    async fn wait(&mut self, pause: Duration, error: &StoreError) {
        let pause = sleep(pause);
        tokio::pin!(pause);
        while !self.ended {
            tokio::select! {
                () = &mut pause => return,
                message = self.receiver.recv() => match message {
                    Some(message) => {
                        self.take(message);
                        self.refuse_last(error);
                    }
                    None => self.ended = true,
                },
            }
        }
    }

    fn refuse_last(&mut self, error: &StoreError) {
        if let Some(waiting) = self.waiting.pop_back_if(|waiting| waiting.done.is_some())
            && let Some(done) = waiting.done
        {
            // Whoever waited has gone away.
            let _ = done.send(Err(error.clone()));
        }
    }
}
