//! How often the directory was published, and how long that took, for the metrics.
//!
//! No I/O here. Tests: those of the metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How often a changed directory was published, and how long it took in all to make it and to hand it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// How often.
    pub changes: u64,
    /// How long.
    pub time: Duration,
}

/// [`Published`], while it counts.
#[derive(Default)]
pub(super) struct Clocked {
    changes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Clocked {
    pub(super) fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Published {
        let time = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        Published { changes: self.changes.load(Ordering::Relaxed), time }
    }
}
