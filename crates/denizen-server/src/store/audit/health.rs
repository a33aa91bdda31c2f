//! How the audit is: what is counted and shown in the metrics, and what is logged at most so often.
//!
//! Touches the monotonic clock. Tests: the contract suite.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use denizen_serve::Sampler;

use super::super::{StoreError, TrailFault, barred::Barred};

const MINUTE: Duration = Duration::from_secs(60);

/// The audit's counters.
pub(in crate::store) struct Health {
    pub(super) pruned: AtomicU64,
    /// What the chain had taken where it starts now.
    pub(super) start_total: AtomicU64,
    replaced: AtomicBool,
    disagreements: AtomicU64,
    anchor_failures: AtomicU64,
    pub(super) spool_faults: AtomicU64,
    anchored: Mutex<Instant>,
    anchor_log: Sampler,
    pub(in crate::store) barred: Barred,
}

/// How the audit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHealth {
    /// Bytes that the chain takes, and the change log with it.
    pub chain_bytes: u64,
    /// Bytes of records that may still come to wait before nothing more is done.
    pub spool_free_bytes: u64,
    /// Records that retention removed since the store was opened.
    pub pruned: u64,
    /// Writes that were refused because somebody else had written to the trail.
    pub disagreements: u64,
    /// How often the spool's files were found removed or replaced, or records of it missing.
    pub spool_faults: u64,
    /// How often the anchor could not be written.
    pub anchor_failures: u64,
    /// Since when it has not been, when that is so, seconds.
    pub anchor_age: u64,
}

impl Health {
    pub(in crate::store) const fn new(start_total: u64, opened: Instant) -> Self {
        Self {
            pruned: AtomicU64::new(0),
            start_total: AtomicU64::new(start_total),
            replaced: AtomicBool::new(false),
            disagreements: AtomicU64::new(0),
            anchor_failures: AtomicU64::new(0),
            spool_faults: AtomicU64::new(0),
            anchored: Mutex::new(opened),
            anchor_log: Sampler::new(1, MINUTE),
            barred: Barred::new(),
        }
    }

    /// Counts and notes that the trail is not what this process wrote; gives the error for whoever wanted to write.
    pub(in crate::store) fn disagrees(&self, fault: TrailFault) -> StoreError {
        self.disagreements.fetch_add(1, Ordering::Relaxed);
        let error = StoreError::Trail(fault);
        self.barred.note(&error);
        error
    }

    /// Says whether the database's file is another than the one that was opened.
    pub(super) fn replaced(&self, is_so: bool) {
        self.replaced.store(is_so, Ordering::Relaxed);
        if is_so {
            self.barred.note(&StoreError::Trail(TrailFault::Replaced));
        }
    }

    /// Refuses to write where nobody would find it.
    pub(in crate::store) fn in_place(&self) -> Result<(), StoreError> {
        if self.replaced.load(Ordering::Relaxed) { Err(self.disagrees(TrailFault::Replaced)) } else { Ok(()) }
    }

    pub(super) fn anchored(&self) {
        *self.anchored.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn anchor_failed(&self, error: &StoreError) {
        self.anchor_failures.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = self.anchor_log.admit() {
            tracing::error!(%error, held_back, "the audit's head cannot be written beside the database; it is tried again each second");
        }
    }

    pub(in crate::store) fn now(&self, total: u64, spool_free_bytes: u64) -> AuditHealth {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let anchored = *self.anchored.lock().unwrap_or_else(PoisonError::into_inner);
        AuditHealth {
            chain_bytes: total.saturating_sub(of(&self.start_total)),
            spool_free_bytes,
            pruned: of(&self.pruned),
            disagreements: of(&self.disagreements),
            spool_faults: of(&self.spool_faults),
            anchor_failures: of(&self.anchor_failures),
            anchor_age: anchored.elapsed().as_secs(),
        }
    }
}
