//! Time on the wire: whole seconds since 1970, as every protocol here writes it.

use std::{
    fmt,
    ops::{Add, Sub},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

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
        // Out of range (year 10000 and on) falls back to the epoch: a formatted time is for reading, never for deciding.
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
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
}
