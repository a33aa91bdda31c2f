//! How often something may be logged that strangers can cause as often as they like.
//!
//! Touches the monotonic clock. Tests: below.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets a few events through in each period, and counts the others.
#[derive(Debug)]
pub struct Sampler {
    period: Duration,
    most: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    held_back: u64,
}

impl Sampler {
    /// Lets through at most `most` events in each `period`.
    #[must_use]
    pub const fn new(most: u32, period: Duration) -> Self {
        Self { period, most, window: Mutex::new(Window { began: None, passed: 0, held_back: 0 }) }
    }

    /// Whether this event may be logged: with the number of those that were held back since the last one that was; none
    /// when it is held back too.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= self.period) {
            window.began = Some(now);
            window.passed = 0;
        }
        if window.passed >= self.most {
            window.held_back += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_lets_a_few_through_and_the_next_says_how_many_were_held_back() {
        let sampler = Sampler::new(2, Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| sampler.admit_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(9)], [Some(0), Some(0), None, None]);
        assert_eq!([at(10), at(11), at(12)], [Some(2), Some(0), None]);
        assert_eq!(at(1000), Some(1));
    }
}
