//! Whether the clock can be believed: what is removed for good by a schedule is removed only while it can.
//!
//! ```text
//!            seen - 5 min              expected          expected + 1 day
//!   ─────────────|─────────────────────────|────────────────────|─────────────►  what the clock shows
//!      behind                        trusted                         ahead
//! ```
//!
//! *Seen* is the latest time that was trusted, and is kept in the database. *Expected* is the time at which the server
//! was started (or the clock was confirmed) and what has passed since by a clock that nobody sets. So a clock may run
//! ahead by one day in all while the server runs, and not by one day at each look.
//!
//! A clock that is ahead is trusted again as soon as it is set right, or when somebody confirms it. Meanwhile *seen* moves
//! only as far as time has passed: whatever is written then cannot drag it along. A clock that is behind moves nothing,
//! and is trusted again when it has caught up. A server that was really off for longer than a day looks like one whose
//! clock was set, so it waits for somebody to confirm.
//!
//! Pure. Tests: below.

use std::time::Duration;

use denizen_wire::{Moment, UnixTime};

/// How far ahead of what is expected a clock may be, seconds. Also how long a server may be off.
pub const AHEAD: i64 = 24 * 3600;
/// How far behind what was seen a clock may be: clocks are corrected by moments all the time.
pub const BEHIND: i64 = 5 * 60;

/// What is thought of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStanding {
    /// It shows about what it should.
    Trusted,
    /// It is ahead of what is expected by so many seconds.
    Ahead(i64),
    /// It is behind what was seen by so many seconds.
    Behind(i64),
}

impl ClockStanding {
    /// Whether what it shows may decide that something is removed for good.
    pub fn is_trusted(self) -> bool {
        self == Self::Trusted
    }
}

/// What is known of the time.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    seen: UnixTime,
    /// What was expected at `at`.
    from: UnixTime,
    at: Moment,
}

impl ClockWatch {
    /// Starts to watch, with what was seen before; a server that has never run believes its clock.
    pub fn start(seen: Option<UnixTime>, now: UnixTime, at: Moment) -> Self {
        let Some(seen) = seen else { return Self { seen: now, from: now, at } };
        let before = Self { seen, from: seen, at };
        match before.standing(now, at) {
            ClockStanding::Trusted => Self { seen: seen.max(now), from: seen.max(now), at },
            ClockStanding::Ahead(_) | ClockStanding::Behind(_) => before,
        }
    }

    /// What is thought of a clock that shows `now` at a moment.
    pub fn standing(&self, now: UnixTime, at: Moment) -> ClockStanding {
        let expected = self.expected(at);
        if now < self.seen - BEHIND {
            ClockStanding::Behind(self.seen.0.saturating_sub(now.0))
        } else if now > expected + AHEAD {
            ClockStanding::Ahead(now.0.saturating_sub(expected.0))
        } else {
            ClockStanding::Trusted
        }
    }

    /// Looks at the clock, and remembers what it shows as far as that is trusted.
    pub fn look(&mut self, now: UnixTime, at: Moment) -> ClockStanding {
        let standing = self.standing(now, at);
        self.seen = self.seen.max(match standing {
            ClockStanding::Trusted => now,
            ClockStanding::Ahead(_) => self.expected(at),
            ClockStanding::Behind(_) => self.seen,
        });
        standing
    }

    /// Somebody says that the clock is right: earlier or later than what was seen.
    pub fn confirm(&mut self, now: UnixTime, at: Moment) {
        *self = Self { seen: now, from: now, at };
    }

    /// The latest time that was trusted.
    pub fn seen(&self) -> UnixTime {
        self.seen
    }

    fn expected(&self, at: Moment) -> UnixTime {
        let passed: Duration = at.since(self.at);
        self.from + i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use denizen_wire::Clock;

    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const T: UnixTime = UnixTime(1_795_239_900);

    struct Watched {
        clock: Clock,
        watch: ClockWatch,
    }

    impl Watched {
        fn started(seen: Option<UnixTime>, now: UnixTime) -> Self {
            let clock = Clock::manual(now);
            Self { watch: ClockWatch::start(seen, now, clock.moment()), clock }
        }

        fn look(&mut self) -> ClockStanding {
            self.watch.look(self.clock.now(), self.clock.moment())
        }
    }

    #[test]
    fn a_clock_that_goes_on_hour_by_hour_is_trusted_for_ever() {
        let mut it = Watched::started(None, T);
        for hour in 1..=100 * 24 {
            it.clock.advance(HOUR);
            assert_eq!(it.look(), ClockStanding::Trusted, "hour {hour}");
        }
        assert_eq!(it.watch.seen(), T + 100 * DAY);
    }

    #[test]
    fn a_start_is_trusted_within_a_day() {
        assert_eq!(Watched::started(Some(T), T + DAY).look(), ClockStanding::Trusted);
        assert_eq!(Watched::started(Some(T), T + DAY + 1).look(), ClockStanding::Ahead(DAY + 1));
        assert_eq!(Watched::started(Some(T), T - BEHIND).look(), ClockStanding::Trusted);
        assert_eq!(Watched::started(Some(T), T - BEHIND - 1).look(), ClockStanding::Behind(BEHIND + 1));
        assert_eq!(Watched::started(None, UnixTime(0)).look(), ClockStanding::Trusted);
    }

    #[test]
    fn a_clock_far_ahead_drags_nothing_along_and_is_trusted_when_it_is_corrected() {
        let mut it = Watched::started(Some(T), T + 100 * DAY);
        for hour in 1..=48 {
            it.clock.advance(HOUR);
            assert!(!it.look().is_trusted());
            assert_eq!(it.watch.seen(), T + hour * HOUR, "as far as time has passed");
        }
        // Started again while it is wrong: still not trusted.
        assert!(!Watched::started(Some(it.watch.seen()), it.clock.now()).look().is_trusted());
        it.clock.set(T + 48 * HOUR + 60);
        assert_eq!(it.look(), ClockStanding::Trusted);
        assert_eq!(it.watch.seen(), it.clock.now());
    }

    #[test]
    fn a_jump_while_running_is_seen_and_so_are_many_small_ones() {
        let mut it = Watched::started(None, T);
        it.clock.advance(HOUR);
        assert_eq!(it.look(), ClockStanding::Trusted);
        it.clock.set(it.clock.now() + 100 * DAY);
        assert_eq!(it.look(), ClockStanding::Ahead(100 * DAY));

        let mut it = Watched::started(None, T);
        let mut trusted = 0;
        for _ in 0..100 {
            it.clock.advance(HOUR);
            it.clock.set(it.clock.now() + HOUR);
            trusted += i64::from(it.look().is_trusted());
        }
        assert_eq!(trusted, DAY / HOUR, "a day in all, not at each look");
    }

    #[test]
    fn a_clock_that_fell_behind_moves_nothing_and_is_trusted_when_it_caught_up() {
        let mut it = Watched::started(Some(T), T);
        it.clock.set(T - 10 * HOUR);
        for _ in 0..9 {
            it.clock.advance(HOUR);
            assert!(matches!(it.look(), ClockStanding::Behind(_)));
            assert_eq!(it.watch.seen(), T);
        }
        it.clock.advance(HOUR);
        assert_eq!(it.look(), ClockStanding::Trusted);
    }

    #[test]
    fn what_is_confirmed_is_believed_in_either_direction() {
        for jump in [100 * DAY, -100 * DAY] {
            let mut it = Watched::started(Some(T), T + jump);
            assert!(!it.look().is_trusted());
            it.watch.confirm(it.clock.now(), it.clock.moment());
            assert_eq!((it.look(), it.watch.seen()), (ClockStanding::Trusted, T + jump));
            it.clock.advance(HOUR);
            assert_eq!(it.look(), ClockStanding::Trusted);
        }
    }
}
