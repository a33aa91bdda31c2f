//! Where the time comes from. The only file of the server that reads the system's clock.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use denizen_wire::UnixTime;

/// A source of time, passed in at start so that tests move it.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A value that a test sets, in Unix seconds.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The current second.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock; everyone else is given it"
    )]
    pub fn now(&self) -> UnixTime {
        match self {
            Self::System => UnixTime(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .ok()
                    .and_then(|d| i64::try_from(d.as_secs()).ok())
                    .unwrap_or(0),
            ),
            Self::Fixed(seconds) => UnixTime(seconds.load(Ordering::Relaxed)),
        }
    }
}
