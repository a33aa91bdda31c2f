//! Time and chance as arguments. The only file of this crate that asks for the real ones.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use denizen_wire::UnixTime;

use crate::credential::BoxFuture;

/// The time, and waiting for it to pass.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixTime;
    /// Ends after `duration`.
    fn pause(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// A number in `0.0..1.0`, another one each time: retries of many clients are spread by it.
    fn chance(&self) -> f64;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        denizen_wire::Clock::system().now()
    }

    fn pause(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn chance(&self) -> f64 {
        // Not a secret, so the standard library's per-map seed is random enough.
        let bits = RandomState::new().build_hasher().finish() >> 32;
        u32::try_from(bits).map_or(0.0, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
    }
}

/// A clock that stands still until it is moved, and moves itself over every pause. For tests.
pub struct ManualClock {
    state: Mutex<(UnixTime, Vec<Duration>)>,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn at(now: UnixTime) -> Self {
        Self { state: Mutex::new((now, Vec::new())) }
    }

    /// Moves on.
    pub fn advance(&self, seconds: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0 + seconds;
    }

    /// Every pause taken so far.
    pub fn pauses(&self) -> Vec<Duration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn pause(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0 + i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        state.1.push(duration);
        Box::pin(std::future::ready(()))
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_a_fraction_and_varies() {
        let drawn: Vec<f64> = (0..20).map(|_| SystemClock.chance()).collect();
        assert!(drawn.iter().all(|c| (0.0..1.0).contains(c)), "{drawn:?}");
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "{drawn:?}");
    }
}
