//! Whether a user is a member of a group, by the system's own databases (`nsswitch.conf` decides which).
//!
//! Those may be slow (LDAP), or not answer at all, so they are asked off the runtime's threads, once for all who wait: at
//! most [`LOOKUPS`] at a time, one for each [`Owner`], so that one person's many uids keep nobody's lookup waiting. One
//! that has not answered after [`PATIENCE`] counts as no; its thread, and its owner's turn, are free when it ends. An
//! answer is remembered: for five seconds, and no longer than `/etc/group`, `/etc/passwd` and `/etc/nsswitch.conf` stay as they
//! are. So a removal from a group of those files takes effect at the next request, from one elsewhere within five
//! seconds (and whatever the system's own cache, nscd or sssd, adds).
//!
//! Touches the user database, and looks at those files' dates at each question. Tests: below.

use std::{
    collections::HashMap,
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
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::owner::{Owner, Owners};
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

/// Lookups at a time: each takes a thread while it lasts, and one that hangs takes it for good.
const LOOKUPS: usize = 8;
/// A lookup, and the wait for its turn, may take this long together.
const PATIENCE: Duration = Duration::from_secs(3);

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
    turns: Arc<Turns>,
}

/// Whose lookups run.
#[derive(Debug)]
struct Turns {
    owners: Arc<Owners>,
    threads: Arc<Semaphore>,
    /// Of the owners that have a lookup running or waiting.
    of: Mutex<HashMap<Owner, Arc<Semaphore>>>,
}

/// Held by a lookup until it ends, whether or not anybody still waits for it.
struct Turn {
    _thread: OwnedSemaphorePermit,
    _owner: OwnedSemaphorePermit,
}

impl Turns {
    fn new(owners: Arc<Owners>) -> Self {
        Self { owners, threads: Arc::new(Semaphore::new(LOOKUPS)), of: Mutex::default() }
    }

    /// Waits for the owner's turn, then for a thread.
    async fn turn(&self, uid: u32) -> Result<Turn, AcquireError> {
        let owner = self.owners.owner_of(uid);
        let of_owner = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            of.retain(|_, turn| Arc::strong_count(turn) > 1);
            of.entry(owner).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let owner = of_owner.acquire_owned().await?;
        Ok(Turn { _owner: owner, _thread: self.threads.clone().acquire_owned().await? })
    }

    /// Looks up by `ask` when its turn comes.
    async fn look_up(
        &self,
        uid: u32,
        group: Arc<str>,
        ask: impl FnOnce(u32, &str) -> Result<bool, Errno> + Send + 'static,
    ) -> io::Result<bool> {
        let looking = async {
            let turn = self.turn(uid).await.map_err(io::Error::other)?;
            let looked = tokio::task::spawn_blocking(move || {
                let member = ask(uid, &group);
                drop(turn);
                member
            });
            Ok(looked.await??)
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the user database does not answer")))
    }
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
    pub fn new(group: &str, owners: Arc<Owners>, clock: Clock) -> Self {
        Self::of_files(group, owners, clock, FILES.map(PathBuf::from))
    }

    fn of_files(group: &str, owners: Arc<Owners>, clock: Clock, files: [PathBuf; 3]) -> Self {
        let now = clock.clone();
        let known = RefreshCache::new(Settings { capacity: MAX_REMEMBERED, ..Settings::default() }, move || now.now());
        let faults = Arc::new(Sampler::new(FAULTS, FAULTS_IN));
        let turns = Arc::new(Turns::new(owners));
        Self { group: group.into(), clock, files, seen: Mutex::default(), known, faults, turns }
    }

    /// Whether the user is in it.
    pub async fn includes(&self, uid: u32) -> bool {
        let (group, now) = (Arc::clone(&self.group), self.clock.now());
        let faults = Arc::clone(&self.faults);
        let turns = self.turns.clone();
        let look = async move || {
            let value = turns.look_up(uid, group, is_member).await.unwrap_or_else(|error| {
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
        let membership = Membership::new("no-such-group-here", owners(), clock.clone());
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
        let membership =
            Membership::of_files("no-such-group-here", owners(), Clock::manual(UnixTime(100)), files.clone());
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

    fn owners() -> Arc<Owners> {
        Arc::new(Owners::of_files(Path::new("/nowhere/subuid"), Path::new("/nowhere/passwd")))
    }

    /// A user database that hangs takes one thread for each person, and nobody waits for it for ever.
    #[tokio::test]
    async fn d09_one_persons_lookups_that_hang_take_one_thread_and_keep_nobody_waiting() {
        let temp = tempfile::tempdir().unwrap();
        let (subuid, passwd) = (temp.path().join("subuid"), temp.path().join("passwd"));
        std::fs::write(&subuid, "mallory:100000:65536\n").unwrap();
        std::fs::write(&passwd, "mallory:x:1001:1001::/:/bin/sh\n").unwrap();
        let owners = Arc::new(Owners::of_files(&subuid, &passwd));
        let membership = Arc::new(Membership::new("g", owners, Clock::manual(UnixTime(100))));
        let (running, (end, ended)) = (Arc::new(Mutex::new(0)), std::sync::mpsc::channel::<()>());
        let ended = Arc::new(Mutex::new(ended));
        let mut waiting = Vec::new();
        for n in 0..200 {
            let (membership, running, ended) = (membership.clone(), running.clone(), ended.clone());
            waiting.push(tokio::spawn(async move {
                let hang = move |_, _: &str| {
                    *running.lock().unwrap() += 1;
                    let _ = ended.lock().unwrap().recv();
                    Ok(true)
                };
                membership.turns.look_up(100_000 + n, "g".into(), hang).await
            }));
        }
        for lookup in waiting {
            assert_eq!(lookup.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(*running.lock().unwrap(), 1, "one lookup of hers runs");
        assert!(membership.turns.look_up(7, "g".into(), |_, _| Ok(true)).await.unwrap(), "another user's is answered");
        drop(end);
    }
}
