//! Counters, for `Agent::metrics` and for tests. Touches nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the agent counts since it started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections closed unread because a cap was reached.
    pub connections_refused: Counter,
    /// Arc challenges issued.
    pub challenges: Counter,
    /// Tokens handed out.
    pub tokens: Counter,
    /// Token requests that got none.
    pub refusals: Counter,
    /// Requests sent upstream.
    pub upstream_requests: Counter,
    /// Those that brought no token.
    pub upstream_failures: Counter,
}
