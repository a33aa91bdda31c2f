//! Whose turn it is to write: one after the other, in the order in which they asked.
//!
//! Touches nothing. Tests: the contract suite (`writes`, `histories`).

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{runtime::Handle, sync::OwnedMutexGuard};

use super::{Core, writer::Writer};

/// The writer, while it is somebody's turn. Whoever goes away in the middle (a client hung up) leaves what was begun to a
/// task that ends it: no transaction stays open that keeps others from writing.
pub(super) struct Turn {
    writer: OwnedMutexGuard<Writer>,
    core: Arc<Core>,
}

impl Turn {
    /// The writer, when it is this one's turn, for what joins no group.
    pub(super) async fn next(core: &Arc<Core>) -> Self {
        Self { writer: core.writer.clone().lock_owned().await, core: core.clone() }
    }

    /// The same, if it is nobody's turn.
    pub(super) fn if_free(core: &Arc<Core>) -> Option<Self> {
        Some(Self { writer: core.writer.clone().try_lock_owned().ok()?, core: core.clone() })
    }
}

impl Deref for Turn {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.writer.is_settled()
            && let Ok(runtime) = Handle::try_current()
        {
            let core = self.core.clone();
            runtime.spawn(async move { core.writer.lock().await.quit(&core).await });
        }
    }
}

/// How many wait for the writer in order to join a group.
#[derive(Default)]
pub(super) struct Queue(AtomicUsize);

impl Queue {
    /// The writer, when it is this one's turn.
    pub(super) async fn writer(core: &Arc<Core>) -> Turn {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let waiting = &core.queue.0;
        waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(waiting);
        Turn::next(core).await
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
