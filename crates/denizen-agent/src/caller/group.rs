//! Whether a user is a member of a group, by the system's own databases (`nsswitch.conf` decides which).
//!
//! Those may be slow (LDAP), so they are asked off the runtime's threads and remembered for half a minute.
//! Touches the user database only. Tests: below.

use std::{
    collections::HashMap,
    ffi::CString,
    sync::{Mutex, PoisonError},
};

use denizen_wire::UnixTime;
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
    group: String,
    known: Mutex<HashMap<u32, (bool, UnixTime)>>,
}

impl Membership {
    /// Remembers who is a member of `group`. The group is looked up anew each time, so it may be created later.
    pub fn new(group: String) -> Self {
        Self { group, known: Mutex::default() }
    }

    /// Whether the user is in it.
    pub async fn includes(&self, uid: u32, now: UnixTime) -> bool {
        if let Some((answer, at)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&uid)
            && (0..REMEMBERED).contains(&now.since(*at))
        {
            return *answer;
        }
        let group = self.group.clone();
        // A lookup that fails or panics says no.
        let answer = tokio::task::spawn_blocking(move || is_member(uid, &group)).await.unwrap_or(false);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(uid, (answer, now));
        answer
    }
}

#[cfg(test)]
mod tests {
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
        let membership = Membership::new("no-such-group-here".into());
        membership.known.lock().unwrap().insert(7, (true, UnixTime(100)));
        assert!(membership.includes(7, UnixTime(129)).await);
        assert!(!membership.includes(7, UnixTime(130)).await);
        membership.known.lock().unwrap().insert(8, (true, UnixTime(100)));
        assert!(!membership.includes(8, UnixTime(99)).await);
    }
}
