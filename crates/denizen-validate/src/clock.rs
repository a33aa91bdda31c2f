//! The time as a function.

use std::sync::Arc;

pub use denizen_wire::UnixTime;

/// Returns the current time.
pub(crate) type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// The system's clock.
pub(crate) fn system() -> Clock {
    let system = denizen_wire::Clock::system();
    Arc::new(move || system.now())
}
