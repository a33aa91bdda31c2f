//! How long whoever guesses has to wait: counts of what was tried and was not proved right.
//!
//! An attempt counts as a failure from its beginning, so that many at a time are no more than one after the other; what
//! turns out to be right is taken back. From the limit on, each failure closes for twice as long as the one before.
//!
//! Pure: the time is an argument. Tests: below.

use denizen_wire::UnixTime;

/// The first time for which it is closed, seconds.
const FIRST: i64 = 60;
/// The longest, seconds.
const LONGEST: i64 = 3600;
/// Failures are forgotten this long after the last, seconds.
const FORGOTTEN: i64 = 24 * 3600;

/// What one account, or one address, has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    failed: u32,
    last: UnixTime,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { failed: 0, last: UnixTime(0) }
    }
}

impl Attempts {
    /// The same with one that begins now and is taken for a failure. `limit` are free.
    ///
    /// # Errors
    /// When the next may begin.
    pub fn begin(self, limit: u32, now: UnixTime) -> Result<Self, UnixTime> {
        if now >= self.last + FORGOTTEN {
            return Ok(Self { failed: 1, last: now });
        }
        match self.closed_until(limit) {
            Some(until) if now < until => Err(until),
            Some(_) | None => Ok(Self { failed: self.failed.saturating_add(1), last: now }),
        }
    }

    /// The same when one that had begun was right.
    #[must_use]
    pub fn was_right(self) -> Self {
        Self { failed: self.failed.saturating_sub(1), ..self }
    }

    /// Until when nothing may begin.
    fn closed_until(self, limit: u32) -> Option<UnixTime> {
        let doubled = self.failed.checked_sub(limit)?.min(16);
        Some(self.last + (FIRST << doubled).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_239_900);

    fn failed(times: u32) -> Attempts {
        (0..times).fold(Attempts::default(), |attempts, _| attempts.begin(u32::MAX, NOW).unwrap())
    }

    #[test]
    fn from_the_limit_on_the_wait_doubles_up_to_an_hour() {
        for (times, wait) in [(9, 0), (10, 60), (11, 120), (12, 240), (15, 1920), (16, 3600), (1000, 3600)] {
            let refused = failed(times).begin(10, NOW).err();
            assert_eq!(refused, (wait > 0).then_some(NOW + wait), "{times}");
            let next = failed(times).begin(10, NOW + wait).unwrap();
            assert_eq!(next, Attempts { failed: times + 1, last: NOW + wait });
        }
    }

    #[test]
    fn what_was_right_is_taken_back_and_what_is_old_is_forgotten() {
        assert_eq!(failed(10).was_right().begin(10, NOW).map(|it| it.failed), Ok(10));
        assert_eq!(failed(1000).begin(10, NOW + FORGOTTEN).map(|it| it.failed), Ok(1));
        assert_eq!(Attempts::default().was_right(), Attempts::default());
    }
}
