//! The clock as a value. This is the only file that reads the system's time.
//!
//! Whatever decides by time takes a [`Clock`], or the [`UnixTime`] itself. There is no global state: two clocks in one
//! process do not know of each other.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::UnixTime;

/// A source of the current time. Clones of a manual clock share its time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

struct Manual {
    now: AtomicI64,
    /// Seconds that it was advanced by: time that has passed. Setting it is not time that passes.
    passed: AtomicU64,
}

/// A moment that no setting of the clock moves: worth something only beside another one of the same clock.
#[derive(Clone, Copy, Debug)]
pub struct Moment(At);

#[derive(Clone, Copy, Debug)]
enum At {
    Since(Duration),
    #[cfg_attr(all(feature = "uptime", target_os = "linux"), expect(dead_code, reason = "the other arm is better"))]
    Instant(Instant),
}

impl Moment {
    /// The time that has passed since an earlier moment of the same clock; none when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        match (self.0, earlier.0) {
            (At::Since(now), At::Since(then)) => now.saturating_sub(then),
            (At::Instant(now), At::Instant(then)) => now.saturating_duration_since(then),
            (At::Since(_), At::Instant(_)) | (At::Instant(_), At::Since(_)) => Duration::ZERO,
        }
    }
}

impl Clock {
    /// The system's real-time clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `now` until it is moved.
    pub fn manual(now: UnixTime) -> Self {
        Self(Source::Manual(Arc::new(Manual { now: AtomicI64::new(now.0), passed: AtomicU64::new(0) })))
    }

    /// The current second.
    pub fn now(&self) -> UnixTime {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(manual) => UnixTime(manual.now.load(Ordering::SeqCst)),
        }
    }

    /// This moment, by a clock that nobody sets. With the feature `uptime`, on Linux, it goes on while the machine
    /// sleeps. That of a manual clock moves when it is advanced, and not when it is set.
    pub fn moment(&self) -> Moment {
        match &self.0 {
            Source::System => system_moment(),
            Source::Manual(manual) => Moment(At::Since(Duration::from_secs(manual.passed.load(Ordering::SeqCst)))),
        }
    }

    /// Whether it shows a time that was set: who waits by it moves it on, and does not wait.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Moves a manual clock by `seconds`, back when negative. No effect on the system clock.
    pub fn advance(&self, seconds: i64) {
        if let Source::Manual(manual) = &self.0 {
            manual.now.fetch_add(seconds, Ordering::SeqCst);
            manual.passed.fetch_add(u64::try_from(seconds).unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock. No effect on the system clock.
    pub fn set(&self, now: UnixTime) {
        if let Source::Manual(manual) = &self.0 {
            manual.now.store(now.0, Ordering::SeqCst);
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

#[cfg(all(feature = "uptime", target_os = "linux"))]
fn system_moment() -> Moment {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Moment(At::Since(Duration::from_secs(u64::try_from(since_boot.tv_sec).unwrap_or(0))))
}

#[cfg(not(all(feature = "uptime", target_os = "linux")))]
fn system_moment() -> Moment {
    Moment(At::Instant(Instant::now()))
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
    fn time_passes_when_a_clock_is_advanced_and_not_when_it_is_set() {
        let clock = Clock::manual(UnixTime(100));
        let start = clock.moment();
        clock.set(UnixTime(100_000));
        assert_eq!(clock.moment().since(start), Duration::ZERO);
        clock.advance(7);
        clock.advance(-3);
        assert_eq!(clock.moment().since(start), Duration::from_secs(7));
        assert_eq!(start.since(clock.moment()), Duration::ZERO, "an earlier moment is not later");
        let system = Clock::system().moment();
        assert!(Clock::system().moment().since(system) < Duration::from_secs(60));
        assert_eq!(clock.moment().since(system).min(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_system_clock_shows_the_present_and_cannot_be_moved() {
        let clock = Clock::system();
        clock.set(UnixTime(0));
        clock.advance(-1_000_000_000);
        assert!(clock.now() > UnixTime(1_700_000_000) && !clock.is_manual());
    }
}
