//! The time as a function. The only file here that reads the system's clock.

use std::sync::Arc;

pub use denizen_wire::UnixTime;

/// Returns the current time.
pub(crate) type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// The system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock; everyone else is given it")]
pub(crate) fn system() -> Clock {
    Arc::new(|| UnixTime(time::OffsetDateTime::now_utc().unix_timestamp()))
}
