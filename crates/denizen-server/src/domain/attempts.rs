//! How long whoever guesses has to wait: counts of what was tried and was not proved right.
//!
//! An attempt counts as a failure while it is open, so that many at a time are no more than one after the other. From the
//! limit on, each failure closes for twice as long as the one before. One failure is forgotten each hour after the last, and
//! all after a day: over days nobody fails more often than once an hour beyond the limit. What was right changes neither the
//! number of failures nor their time.
//!
//! Pure: the time is an argument. Tests: below.

use denizen_wire::UnixTime;

/// The first time for which it is closed, seconds.
const FIRST: i64 = 60;
/// The longest, seconds.
const LONGEST: i64 = 3600;
/// One failure is forgotten for each of these after the last, seconds.
const FORGETS_ONE: i64 = 3600;
/// All failures are forgotten this long after the last, seconds.
const FORGETS_ALL: i64 = 24 * 3600;

/// What one account, or one address, has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// The failures that counted at `last`.
    failed: u32,
    /// When the last failure began.
    last: UnixTime,
    /// Those that have begun and not ended.
    open: u32,
    /// When the last of all began.
    begun: UnixTime,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { failed: 0, last: UnixTime(0), open: 0, begun: UnixTime(0) }
    }
}

impl Attempts {
    /// Begins one, which must be ended: [`Self::failed`], or [`Self::given_back`]. `limit` failures are free.
    ///
    /// # Errors
    /// When the next may begin.
    pub fn begin(&mut self, limit: u32, now: UnixTime) -> Result<(), UnixTime> {
        // A clock that was set back closes for no longer than if the failure had been now.
        (self.last, self.begun) = (self.last.min(now), self.begun.min(now));
        let counted = self.failed_at(now).saturating_add(self.open);
        if let Some(beyond) = counted.checked_sub(limit) {
            let since = if self.open > 0 { self.last.max(self.begun) } else { self.last };
            let until = since + (FIRST << beyond.min(16)).min(LONGEST);
            if now < until {
                return Err(until);
            }
        }
        self.open = self.open.saturating_add(1);
        self.begun = now;
        Ok(())
    }

    /// Ends one that began then: it was a failure.
    pub fn failed(&mut self, began: UnixTime) {
        self.given_back();
        self.failed = self.failed_at(began).saturating_add(1);
        self.last = self.last.max(began);
    }

    /// Ends one that was right, or was not decided: it does not count.
    pub fn given_back(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// The failures that count now.
    fn failed_at(&self, now: UnixTime) -> u32 {
        let since = now.0.saturating_sub(self.last.0).max(0);
        if since >= FORGETS_ALL {
            return 0;
        }
        self.failed.saturating_sub(u32::try_from(since / FORGETS_ONE).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_239_900);

    fn fail(attempts: &mut Attempts, limit: u32, now: UnixTime) -> Result<(), UnixTime> {
        attempts.begin(limit, now)?;
        attempts.failed(now);
        Ok(())
    }

    fn failed(times: u32) -> Attempts {
        let mut attempts = Attempts::default();
        for _ in 0..times {
            fail(&mut attempts, u32::MAX, NOW).unwrap();
        }
        attempts
    }

    #[test]
    fn from_the_limit_on_the_wait_doubles_up_to_an_hour() {
        for (times, wait) in [(9, 0), (10, 60), (11, 120), (12, 240), (15, 1920), (16, 3600), (1000, 3600)] {
            let begun = |after| failed(times).begin(10, NOW + after);
            assert_eq!(begun(0).err(), (wait > 0).then_some(NOW + wait), "{times}");
            assert_eq!(begun(wait - 1).is_err(), wait > 0, "{times}");
            assert_eq!(begun(wait), Ok(()), "{times}");
        }
    }

    #[test]
    fn open_ones_count_as_failures_until_they_end() {
        let mut attempts = Attempts::default();
        for _ in 0..10 {
            attempts.begin(10, NOW).unwrap();
        }
        assert_eq!(attempts.begin(10, NOW), Err(NOW + 60));
        // From where the last of them began.
        attempts.begin(10, NOW + 70).unwrap();
        assert_eq!(attempts.begin(10, NOW + 130), Err(NOW + 190));
        for _ in 0..11 {
            attempts.given_back();
        }
        assert_eq!(attempts.begin(10, NOW + 130), Ok(()));
        assert_eq!(attempts.failed_at(NOW + 130), 0);
    }

    #[test]
    fn what_was_right_changes_neither_the_failures_nor_their_time() {
        let mut attempts = failed(9);
        for minute in 0..60 {
            attempts.begin(10, NOW + minute * 60).unwrap();
            attempts.given_back();
        }
        assert_eq!(attempts.failed_at(NOW + 3600), 8);
        attempts.begin(10, NOW + 4 * 3600).unwrap();
        attempts.given_back();
        assert_eq!(attempts.failed_at(NOW + 4 * 3600), 5);
        let mut closed = failed(10);
        assert!(closed.begin(10, NOW + 59).is_err());
        closed.begin(10, NOW + 60).unwrap();
        closed.given_back();
        // A right one does not close again.
        assert_eq!(closed.begin(10, NOW + 61), Ok(()));
    }

    #[test]
    fn one_is_forgotten_each_hour_and_all_after_a_day() {
        let attempts = failed(1000);
        for (after, count) in [(0, 1000), (3599, 1000), (3600, 999), (23 * 3600, 977), (24 * 3600, 0)] {
            assert_eq!(attempts.failed_at(NOW + after), count, "{after}");
        }
    }

    /// Whatever is forgotten, who tries whenever it can gets no more than a guess an hour beyond the limit.
    #[test]
    fn over_weeks_nobody_guesses_more_often_than_once_an_hour() {
        let (mut attempts, mut guesses) = (Attempts::default(), 0);
        let days = 30;
        for minute in 0..days * 24 * 60 {
            guesses += i64::from(fail(&mut attempts, 10, NOW + minute * 60).is_ok());
        }
        assert!((days * 24..=days * 24 + 16).contains(&guesses), "{guesses}");
    }

    #[test]
    fn a_clock_that_was_set_back_closes_for_no_longer() {
        let mut attempts = failed(10);
        assert_eq!(attempts.begin(10, NOW + -86_400), Err(NOW + -86_400 + 60));
        assert_eq!(attempts.begin(10, NOW + -86_340), Ok(()));
    }
}
