//! Whether a user is a member of a group, by the system's own databases (`nsswitch.conf` decides which).
//!
//! Those may be slow (LDAP), so they are asked off the runtime's threads, once for all who wait, and an answer is
//! remembered: for five seconds, and no longer than `/etc/group`, `/etc/passwd` and `/etc/nsswitch.conf` stay as they
//! are. So a removal from a group of those files takes effect at the next request, from one elsewhere within five
//! seconds (and whatever the system's own cache, nscd or sssd, adds).
//!
//! Touches the user database, and looks at those files' dates at each question. Tests: below.

use std::{
    convert::Infallible,
    ffi::CString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use denizen_refresh::{Fetched, Lifetime, RefreshCache, Settings};
use denizen_wire::Clock;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::files::Stamp;

/// An answer is believed this long, seconds.
const REMEMBERED: i64 = 5;
/// The files that decide it where the system has no other source, or that say which source it has.
const FILES: [&str; 3] = ["/etc/group", "/etc/passwd", "/etc/nsswitch.conf"];
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
    files: [PathBuf; 3],
    seen: Mutex<Seen>,
    /// By the state of the files, and the user.
    known: RefreshCache<(u64, u32), bool, Infallible>,
}

/// The files as they were last seen.
#[derive(Debug, Default)]
struct Seen {
    stamps: [Option<Stamp>; 3],
    /// Raised with each change.
    state: u64,
}

impl Membership {
    /// Remembers who is a member of `group`. The group is looked up anew each time, so it may be created later.
    pub fn new(group: &str, clock: Clock) -> Self {
        Self::of_files(group, clock, FILES.map(PathBuf::from))
    }

    fn of_files(group: &str, clock: Clock, files: [PathBuf; 3]) -> Self {
        let now = clock.clone();
        let known = RefreshCache::new(Settings { capacity: MAX_REMEMBERED, ..Settings::default() }, move || now.now());
        Self { group: group.into(), clock, files, seen: Mutex::default(), known }
    }

    /// Whether the user is in it.
    pub async fn includes(&self, uid: u32) -> bool {
        let (group, now) = (Arc::clone(&self.group), self.clock.now());
        let look = async move || {
            // A lookup that fails or panics says no.
            let value = tokio::task::spawn_blocking(move || is_member(uid, &group)).await.unwrap_or(false);
            Ok(Fetched { value, lifetime: Lifetime::new(now, now + REMEMBERED) })
        };
        // The state is read first: an answer that was begun before a change is not remembered for what comes after it.
        self.known.get(&(self.state(), uid), look).await.unwrap_or(false)
    }

    fn state(&self) -> u64 {
        let stamps = self.files.each_ref().map(|file: &PathBuf| Stamp::of(Path::new(file)));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.stamps != stamps {
            seen.stamps = stamps;
            seen.state += 1;
        }
        seen.state
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
    async fn an_answer_is_forgotten_after_five_seconds_or_when_the_clock_goes_back() {
        let clock = Clock::manual(UnixTime(100));
        let membership = Membership::new("no-such-group-here", clock.clone());
        let known = || Fetched { value: true, lifetime: Lifetime::new(UnixTime(100), UnixTime(100) + REMEMBERED) };
        let state = membership.state();
        membership.known.put(&(state, 7), known());
        clock.set(UnixTime(104));
        assert!(membership.includes(7).await);
        clock.set(UnixTime(105));
        assert!(!membership.includes(7).await);
        membership.known.put(&(state, 8), known());
        clock.set(UnixTime(99));
        assert!(!membership.includes(8).await);
    }

    #[tokio::test]
    async fn d17_an_answer_is_forgotten_at_once_when_a_file_changes() {
        let temp = tempfile::tempdir().unwrap();
        let files = ["group", "passwd", "nsswitch.conf"].map(|name| temp.path().join(name));
        let membership = Membership::of_files("no-such-group-here", Clock::manual(UnixTime(100)), files.clone());
        for file in &files {
            let known = Fetched { value: true, lifetime: Lifetime::new(UnixTime(100), UnixTime(105)) };
            membership.known.put(&(membership.state(), 7), known);
            assert!(membership.includes(7).await);
            // As usermod does: a new file takes the name.
            let new = temp.path().join("new");
            std::fs::write(&new, "").unwrap();
            std::fs::rename(&new, file).unwrap();
            assert!(!membership.includes(7).await, "{}", file.display());
        }
    }
}
