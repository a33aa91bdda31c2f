//! The agent's clock: the system's, or one a test moves.
//!
//! Everything that decides by time takes a [`Clock`]; nothing else in the crate reads the system's time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use denizen_wire::UnixTime;

/// Where "now" comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's real-time clock.
    System,
    /// Unix seconds that somebody else moves: tests, and nothing more.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `now` until [`Clock::Fixed`]'s value is moved.
    pub fn fixed(now: UnixTime) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(now.0)))
    }

    /// The current second.
    pub fn now(&self) -> UnixTime {
        match self {
            Self::System => system_now(),
            Self::Fixed(seconds) => UnixTime(seconds.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock by `seconds`; the system's clock is left alone.
    pub fn advance(&self, seconds: i64) {
        if let Self::Fixed(now) = self {
            now.fetch_add(seconds, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the agent reads the time")]
fn system_now() -> UnixTime {
    // A clock before 1970 reads as 1970: every token is then unissued and every comparison refuses.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told() {
        let clock = Clock::fixed(UnixTime(100));
        let other = clock.clone();
        assert_eq!(clock.now(), UnixTime(100));
        other.advance(7);
        assert_eq!(clock.now(), UnixTime(107));
        assert!(Clock::System.now() > UnixTime(1_700_000_000));
    }
}
