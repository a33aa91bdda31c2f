//! Time on the wire: whole seconds since 1970, as every protocol here writes it.

use std::{
    fmt,
    ops::{Add, Sub},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// 0001-01-01T00:00:00Z, the first second that is written as it is.
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, the last one.
const LAST: i64 = 253_402_300_799;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `2026-11-21T05:45:00Z`, for people and for ARM.
    pub fn rfc3339(self) -> String {
        self.utc().format(&Rfc3339).unwrap_or_default()
    }

    /// `2026-11-21 05:45:00Z`, as Entra writes it in its errors.
    pub fn entra(self) -> String {
        self.utc().format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z")).unwrap_or_default()
    }

    fn utc(self) -> OffsetDateTime {
        // What no calendar of four digits has is written as its nearest end: a formatted time is for reading, never for
        // deciding.
        let seconds = self.0.clamp(FIRST, LAST);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl Add<i64> for UnixTime {
    type Output = Self;
    fn add(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl Sub<i64> for UnixTime {
    type Output = Self;
    fn sub(self, seconds: i64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixTime({} = {})", self.0, self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_second() {
        let t = UnixTime(1_795_239_900);
        assert_eq!(t.rfc3339(), "2026-11-21T05:45:00Z");
        assert_eq!(t.entra(), "2026-11-21 05:45:00Z");
        assert_eq!((t + 60).since(t), 60);
        assert_eq!(UnixTime(i64::MAX) + 1, UnixTime(i64::MAX));
    }

    #[test]
    fn an_absurd_time_is_written_as_the_nearest_one_that_can_be() {
        for (time, rfc3339, entra) in [
            (i64::MIN, "0001-01-01T00:00:00Z", "0001-01-01 00:00:00Z"),
            (FIRST, "0001-01-01T00:00:00Z", "0001-01-01 00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z", "9999-12-31 23:59:59Z"),
            (LAST + 1, "9999-12-31T23:59:59Z", "9999-12-31 23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z", "9999-12-31 23:59:59Z"),
        ] {
            assert_eq!((UnixTime(time).rfc3339(), UnixTime(time).entra()), (rfc3339.to_owned(), entra.to_owned()));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_sum_and_no_text_of_any_time_fails(at in proptest::num::i64::ANY, by in proptest::num::i64::ANY) {
            let time = UnixTime(at);
            for other in [time + by, time - by, UnixTime(time.since(UnixTime(by)))] {
                proptest::prop_assert_eq!(other.rfc3339().len(), "0001-01-01T00:00:00Z".len());
                proptest::prop_assert_eq!(other.entra().len(), "0001-01-01 00:00:00Z".len());
            }
        }
    }
}
