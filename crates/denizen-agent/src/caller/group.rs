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
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use denizen_refresh::{Fetched, Lifetime, RefreshCache, Settings};
use denizen_serve::Sampler;
use denizen_wire::Clock;
use nix::{
    errno::Errno,
    unistd::{Gid, Group, Uid, User, getgrouplist},
};

use crate::files::Stamp;

/// An answer is believed this long, seconds.
const REMEMBERED: i64 = 5;
/// The files that decide it where the system has no other source, or that say which source it has.
const FILES: [&str; 3] = ["/etc/group", "/etc/passwd", "/etc/nsswitch.conf"];
/// No more users than this are remembered.
const MAX_REMEMBERED: usize = 1024;
/// So many lookups that failed are logged in so long.
const FAULTS: u32 = 10;
const FAULTS_IN: Duration = Duration::from_secs(60);

/// The id of the group called `name`, if there is one.
///
/// # Errors
/// The system's databases could not be asked.
pub fn gid(name: &str) -> Result<Option<u32>, Errno> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// Whether the user is in the group, by primary or by supplementary membership. A user or a group nobody knows is not.
///
/// # Errors
/// The system's databases could not be asked.
pub fn is_member(uid: u32, group: &str) -> Result<bool, Errno> {
    let (Some(gid), Some(user)) = (gid(group)?, User::from_uid(Uid::from_raw(uid))?) else { return Ok(false) };
    // A name with a NUL in it cannot have come from there.
    let Ok(name) = CString::new(user.name) else { return Ok(false) };
    Ok(getgrouplist(&name, user.gid)?.contains(&Gid::from_raw(gid)))
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
    /// Which lookups that failed are logged.
    faults: Arc<Sampler>,
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
        let faults = Arc::new(Sampler::new(FAULTS, FAULTS_IN));
        Self { group: group.into(), clock, files, seen: Mutex::default(), known, faults }
    }

    /// Whether the user is in it.
    pub async fn includes(&self, uid: u32) -> bool {
        let (group, now) = (Arc::clone(&self.group), self.clock.now());
        let faults = Arc::clone(&self.faults);
        let look = async move || {
            let looked = tokio::task::spawn_blocking(move || is_member(uid, &group)).await;
            let value = looked.map_err(io::Error::from).and_then(|member| Ok(member?)).unwrap_or_else(|error| {
                if let Some(held_back) = faults.admit() {
                    tracing::warn!(%error, uid, held_back, "a membership cannot be looked up, and counts as none");
                }
                false
            });
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
        assert_eq!(is_member(0, "root"), Ok(true));
        assert_eq!(is_member(65534, "nogroup"), Ok(true), "by primary group");
        assert_eq!(is_member(65534, "root"), Ok(false));
        assert_eq!(is_member(0, "no-such-group-here"), Ok(false));
        assert_eq!(is_member(4_000_000_000, "root"), Ok(false), "a user nobody knows");
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
