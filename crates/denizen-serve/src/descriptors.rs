//! How many descriptors this process may have.
//!
//! Each connection is one. A service's budget must leave room for the others' and for files: whoever fills one service
//! must not keep another from accepting. Touches the process's limit. Tests: below.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but connections: the database, files, listeners, the way upstream, the runtime.
const OTHERS: u64 = 192;

/// The most that is asked for: far more than all budgets together.
const WANTED: u64 = 32 * 1024;

/// Raises this process's limit of descriptors to what all budgets together need, or as far as it may go, and says how
/// many connections that leaves room for. Programs started by this one have the raised limit too.
pub fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.current.is_none_or(|now| now >= WANTED);
    let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    let current = if !enough && setrlimit(Resource::Nofile, raised).is_ok() { Some(wanted) } else { limit.current };
    connections(current)
}

fn connections(descriptors: Option<u64>) -> usize {
    descriptors.map_or(usize::MAX, |all| usize::try_from(all.saturating_sub(OTHERS)).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_leaves_room_for_what_is_no_connection() {
        let room = raise_descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert!(limit.current.is_none_or(|now| now >= WANTED || Some(now) == limit.maximum), "{limit:?}");
        assert_eq!(room, connections(limit.current));
        assert_eq!(connections(Some(1024)), 832);
        assert_eq!((connections(Some(10)), connections(None)), (1, usize::MAX));
    }
}
