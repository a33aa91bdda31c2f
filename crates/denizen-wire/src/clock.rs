//! The clock as a value. This is the only file that reads the system's time.
//!
//! Whatever decides by time takes a [`Clock`], or the [`UnixTime`] itself. There is no global state: two clocks in one
//! process do not know of each other.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::UnixTime;

/// A source of the current time. Clones of a manual clock share its time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's real-time clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `now` until it is moved.
    pub fn manual(now: UnixTime) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now.0))))
    }

    /// The current second.
    pub fn now(&self) -> UnixTime {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(seconds) => UnixTime(seconds.load(Ordering::SeqCst)),
        }
    }

    /// Whether it shows a time that was set: who waits by it moves it on, and does not wait.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Moves a manual clock by `seconds`, back when negative. No effect on the system clock.
    pub fn advance(&self, seconds: i64) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(seconds, Ordering::SeqCst);
        }
    }

    /// Sets a manual clock. No effect on the system clock.
    pub fn set(&self, now: UnixTime) {
        if let Source::Manual(seconds) = &self.0 {
            seconds.store(now.0, Ordering::SeqCst);
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Clock(system)"),
            Source::Manual(_) => write!(f, "Clock(manual, {:?})", self.now()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the time; everyone else is given a Clock")]
fn system_now() -> UnixTime {
    // A clock before 1970 reads as 1970: every token is then not yet valid and every comparison refuses.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_its_clones_with_it() {
        let clock = Clock::manual(UnixTime(100));
        let (clone, other) = (clock.clone(), Clock::manual(UnixTime(100)));
        clone.advance(7);
        assert_eq!((clock.now(), other.now(), clock.is_manual()), (UnixTime(107), UnixTime(100), true));
        clone.advance(-10);
        assert_eq!(clock.now(), UnixTime(97));
        clone.set(UnixTime(5));
        assert_eq!(clock.now(), UnixTime(5));
    }

    #[test]
    fn the_system_clock_shows_the_present_and_cannot_be_moved() {
        let clock = Clock::system();
        clock.set(UnixTime(0));
        clock.advance(-1_000_000_000);
        assert!(clock.now() > UnixTime(1_700_000_000) && !clock.is_manual());
    }
}
