//! Whether a user is a member of a group, by the system's own databases (`nsswitch.conf` decides which).
//!
//! Those may be slow (LDAP), so they are asked off the runtime's threads, once for all who wait, and remembered for half
//! a minute. Touches the user database only. Tests: below.

use std::{convert::Infallible, ffi::CString, sync::Arc};

use denizen_refresh::{Fetched, Lifetime, RefreshCache, Settings};
use denizen_wire::Clock;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// An answer is believed this long, seconds.
const REMEMBERED: i64 = 30;
/// No more users than this are remembered.
const MAX_REMEMBERED: usize = 1024;

/// The id of the group called `name`.
pub fn gid(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// Whether the user is in the group, by primary or by supplementary membership. A user or a group nobody knows is not.
pub fn is_member(uid: u32, group: &str) -> bool {
    let Some(gid) = gid(group) else { return false };
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    let Ok(groups) = getgrouplist(&name, user.gid) else { return false };
    groups.contains(&Gid::from_raw(gid))
}

/// [`is_member`] of one group, remembered.
#[derive(Debug)]
pub struct Membership {
    group: Arc<str>,
    clock: Clock,
    known: RefreshCache<u32, bool, Infallible>,
}

impl Membership {
    /// Remembers who is a member of `group`. The group is looked up anew each time, so it may be created later.
    pub fn new(group: &str, clock: Clock) -> Self {
        let now = clock.clone();
        let known = RefreshCache::new(Settings { capacity: MAX_REMEMBERED, ..Settings::default() }, move || now.now());
        Self { group: group.into(), clock, known }
    }

    /// Whether the user is in it.
    pub async fn includes(&self, uid: u32) -> bool {
        let (group, now) = (Arc::clone(&self.group), self.clock.now());
        let look = async move || {
            // A lookup that fails or panics says no.
            let value = tokio::task::spawn_blocking(move || is_member(uid, &group)).await.unwrap_or(false);
            Ok(Fetched { value, lifetime: Lifetime::new(now, now + REMEMBERED) })
        };
        self.known.get(&uid, look).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use denizen_wire::UnixTime;

    use super::*;

    #[test]
    fn membership_is_what_the_system_says() {
        assert!(is_member(0, "root"));
        assert!(is_member(65534, "nogroup"), "by primary group");
        assert!(!is_member(65534, "root"));
        assert!(!is_member(0, "no-such-group-here"));
        assert!(!is_member(4_000_000_000, "root"), "a user nobody knows");
    }

    #[tokio::test]
    async fn an_answer_is_forgotten_after_half_a_minute_or_when_the_clock_goes_back() {
        let clock = Clock::manual(UnixTime(100));
        let membership = Membership::new("no-such-group-here", clock.clone());
        let known = || Fetched { value: true, lifetime: Lifetime::new(UnixTime(100), UnixTime(130)) };
        membership.known.put(&7, known());
        clock.set(UnixTime(129));
        assert!(membership.includes(7).await);
        clock.set(UnixTime(130));
        assert!(!membership.includes(7).await);
        membership.known.put(&8, known());
        clock.set(UnixTime(99));
        assert!(!membership.includes(8).await);
    }
}
