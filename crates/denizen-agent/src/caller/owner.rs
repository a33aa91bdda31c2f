//! Which person stands behind a user id: the uids of a range in `/etc/subuid` are its owner's.
//!
//! Who has subordinate uids can act under 65,536 of them (`newuidmap`, rootless containers). So shares are counted by
//! [`Owner`], never by uid. What a caller may do is decided by its exact uid all the same.
//!
//! The rules, in this order:
//!
//! 1. a uid that `/etc/passwd` names is a user of its own, whatever ranges cover it;
//! 2. a uid of a range belongs to the user to whom `/etc/subuid` delegates it, by name or by number;
//! 3. where that user is root, or a name that `/etc/passwd` does not know, all ranges of that name are one owner of
//!    their own: what runs in them is no reason to take a share from root;
//! 4. any other uid is a user of its own.
//!
//! Files only: where `nsswitch.conf` has `subid: sss` or another source, those ranges are not known here and each of
//! their uids counts as a user of its own. A user of LDAP whose name stands in `/etc/subuid` has two shares: one as
//! herself, one for her ranges. Nothing here waits for a directory service, so that the accept loop can ask.
//!
//! Touches `/etc/subuid` and `/etc/passwd`: looked at once a second at most, read again when one has changed, up to
//! [`MAX_FILE`]. A line that cannot be understood is passed over. Tests: `owner/tests.rs`.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Caller;
use crate::files::{self, Stamp};

#[cfg(test)]
mod tests;

const SUBUID: &str = "/etc/subuid";
const PASSWD: &str = "/etc/passwd";
/// The files are looked at again after this long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No more of a file is read, bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;
/// A user's ranges may lie in another's range; that far it is followed.
const MAX_STEPS: usize = 8;

/// Whose share a caller takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A user of the machine, with all uids that are subordinate to them.
    User(u32),
    /// The ranges of one name that stands for no user of `/etc/passwd`, or for root; by the lowest uid in them.
    Range(u32),
    /// The callers whose uid the kernel did not tell, all together.
    Unknown,
}

/// The owners of this machine's uids.
#[derive(Debug)]
pub struct Owners {
    subuid: PathBuf,
    passwd: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    /// Of `/etc/subuid` and of `/etc/passwd`, as they were read.
    stamps: (Option<Stamp>, Option<Stamp>),
    table: Table,
}

/// What the two files say.
#[derive(Debug, Default)]
struct Table {
    /// Disjoint, by first uid.
    ranges: Vec<Range>,
    /// The uids that `/etc/passwd` names.
    users: HashSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
    owner: Owner,
}

impl Owners {
    /// The owners by `/etc/subuid` and `/etc/passwd`. Neither has to exist.
    pub fn system() -> Self {
        Self::of_files(Path::new(SUBUID), Path::new(PASSWD))
    }

    /// The owners by these two files.
    pub fn of_files(subuid: &Path, passwd: &Path) -> Self {
        Self { subuid: subuid.to_owned(), passwd: passwd.to_owned(), known: Mutex::default() }
    }

    /// Whose share this user takes from. Cheap: a search in a sorted table, and two `stat` calls once a second.
    pub fn owner_of(&self, uid: u32) -> Owner {
        self.current(Instant::now()).table.owner_of(uid)
    }

    /// Whose share this caller takes from.
    pub fn of_caller(&self, caller: &Caller) -> Owner {
        caller.uid().map_or(Owner::Unknown, |uid| self.owner_of(uid))
    }

    fn current(&self, now: Instant) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY) {
            known.looked = Some(now);
            // Before the files are read: one that is written meanwhile is read again next time.
            let stamps = (Stamp::of(&self.subuid), Stamp::of(&self.passwd));
            if known.stamps != stamps {
                known.stamps = stamps;
                match (content(&self.subuid), content(&self.passwd)) {
                    (Ok(subuid), Ok(passwd)) => known.table = Table::read(&subuid, &passwd),
                    // What was known stays, until the files can be read.
                    (Err(error), _) => unread(&self.subuid, &error),
                    (_, Err(error)) => unread(&self.passwd, &error),
                }
            }
        }
        known
    }
}

/// A file's text; empty when there is none.
fn content(path: &Path) -> io::Result<String> {
    let (mut bytes, whole) = match files::read(path, MAX_FILE) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    if !whole {
        tracing::warn!("only the first {MAX_FILE} bytes of {} are read", path.display());
        // The last line may be half of one.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
        bytes.truncate(end);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unread(path: &Path, error: &io::Error) {
    tracing::warn!(%error, "cannot read {}: whose subordinate uids are whose stays as it was known", path.display());
}

impl Table {
    fn read(subuid: &str, passwd: &str) -> Self {
        let mut by_name: HashMap<&str, u32> = HashMap::new();
        for (name, uid) in passwd.lines().filter_map(user) {
            // As the system does: the first line of a name holds.
            by_name.entry(name).or_insert(uid);
        }
        let delegated: Vec<(&str, u32, u32)> = subuid.lines().filter_map(delegation).collect();
        let mut lowest: HashMap<&str, u32> = HashMap::new();
        for (name, first, _) in &delegated {
            lowest.entry(name).and_modify(|least| *least = (*least).min(*first)).or_insert(*first);
        }
        let mut ranges: Vec<Range> = delegated
            .into_iter()
            .map(|(name, first, last)| {
                let uid = by_name.get(name).copied().or_else(|| number(name));
                let own = || Owner::Range(lowest.get(name).copied().unwrap_or(first));
                Range { first, last, owner: uid.filter(|uid| *uid != 0).map_or_else(own, Owner::User) }
            })
            .collect();
        // Stable: of two that begin together, the earlier line holds.
        ranges.sort_by_key(|range| range.first);
        let mut free = Some(0);
        ranges.retain_mut(|range| {
            let Some(from) = free.map(|free: u32| free.max(range.first)).filter(|from| *from <= range.last) else {
                return false;
            };
            range.first = from;
            free = range.last.checked_add(1);
            true
        });
        Self { ranges, users: by_name.into_values().collect() }
    }

    fn owner_of(&self, uid: u32) -> Owner {
        let mut uid = uid;
        for _ in 0..MAX_STEPS {
            match self.range_of(uid) {
                Some(Range { owner: Owner::User(owner), .. }) if !self.users.contains(&uid) && *owner != uid => {
                    uid = *owner;
                }
                Some(Range { owner: other @ Owner::Range(_), .. }) if !self.users.contains(&uid) => return *other,
                Some(_) | None => break,
            }
        }
        Owner::User(uid)
    }

    fn range_of(&self, uid: u32) -> Option<&Range> {
        let after = self.ranges.partition_point(|range| range.first <= uid);
        self.ranges.get(after.checked_sub(1)?).filter(|range| uid <= range.last)
    }
}

/// The name and the uid of a line of `/etc/passwd`.
fn user(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then_some(())?;
    Some((name, number(uid)?))
}

/// The owner, the first and the last uid of a line of `/etc/subuid`: `owner:first:count`.
fn delegation(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.trim().split(':');
    let (owner, first, count) = (fields.next()?, number(fields.next()?)?, fields.next()?);
    let owner = owner.trim();
    if owner.is_empty() || owner.starts_with('#') || fields.next().is_some() {
        return None;
    }
    let count: u64 = digits(count)?.parse().ok()?;
    let last = u64::from(first).checked_add(count.checked_sub(1)?)?;
    Some((owner, first, u32::try_from(last).unwrap_or(u32::MAX)))
}

fn number(text: &str) -> Option<u32> {
    digits(text)?.parse().ok()
}

/// `parse` would take a sign as well.
fn digits(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}
