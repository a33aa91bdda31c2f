//! The Arc challenge's key directory: where a caller proves its group by reading a file.
//!
//! Its path is written into every client (`/var/opt/azcmagent/tokens`), and so are the limits a file must keep:
//! directly inside, `.key`, at most 4096 bytes, no trailing newline, readable before the challenge is sent. A file is
//! complete before its name leaves this module, is readable by the group and writable by nobody, and is removed
//! through the directory's descriptor.
//!
//! Clients look the path up anew, so a directory that was put in the open one's place (moved, made again, mounted over)
//! is the one to write to. Before each key the one at the path is compared with the open one; another one is opened by
//! the same rules as at start. While it breaks one, no key is written, and each attempt looks again.
//!
//! Touches the file system only. Tests: `keydir/tests.rs`.

use std::{
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use denizen_serve::Sampler;
use denizen_wire::UnixTime;
use rustix::{
    fs::{Access, AtFlags, Dir, Gid, Mode, Stat, accessat, fchmod, fchown, fstat, lstat, statat},
    io::Errno,
};
use uuid::Uuid;

use crate::{
    caller::group,
    directory::{Directory, DirectoryError},
};

#[cfg(test)]
mod tests;

/// The whole path is held against the rules again after this long: others may have been let into a directory above.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A key file older than this belongs to a challenge that nobody can answer any more. Seconds.
const STALE_AFTER: i64 = 180;
/// So many failures to remove a file are logged in so long.
const FAULTS: u32 = 10;
const FAULTS_IN: Duration = Duration::from_secs(60);

/// Why the key directory cannot be used: the rule, with a hint.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirectoryError {
    /// Microsoft's own agent is installed: the directory and the port are its own.
    #[error("the Azure Connected Machine agent is installed here ({} exists) and owns the key directory: remove it, or use the App Service dialect", .0.display())]
    MicrosoftAgent(PathBuf),
    /// There is no such group.
    #[error("there is no group '{0}' whose members could read the keys: `groupadd --system {0}`")]
    NoSuchGroup(String),
    /// Whether there is such a group could not be found out.
    #[error("the group '{group}' cannot be looked up: {source}")]
    Lookup {
        /// Its name.
        group: String,
        /// What the system said.
        source: io::Error,
    },
    /// The path would break a client's parser.
    #[error("the key directory {} has a character that breaks clients' parsing of a challenge: use letters, digits, '/', '.', '-' and '_'", .0.display())]
    UnsupportedPath(PathBuf),
    /// It is there, or could be, but we may not write there.
    #[error("may not write in {}: run as root, or let root do `install -d -o {us} -m 0750 {}`", at.display(), wanted.display())]
    NotWritable {
        /// The part of the path that exists.
        at: PathBuf,
        /// The whole path.
        wanted: PathBuf,
        /// Who we are.
        us: u32,
    },
    /// The files cannot be handed to the group.
    #[error("may not hand files in {} to the group: the agent's user must be a member of it", .0.display())]
    NotAMember(PathBuf),
    /// A component breaks a rule, or the system refused.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The key directory: the one at its path, whichever that is by now.
#[derive(Debug)]
pub struct KeyDirectory {
    path: PathBuf,
    marker: PathBuf,
    group: Option<Gid>,
    open: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    opened: Arc<Opened>,
    /// When the whole path was last held against the rules.
    checked: Instant,
}

/// One directory that passed the rules.
#[derive(Debug)]
struct Opened {
    directory: Directory,
    /// `<path>/`, as the challenge names it.
    prefix: String,
    group: Option<Gid>,
    /// Which failures to remove a file are logged.
    faults: Sampler,
    /// As it was when it had passed the rules.
    stat: Seen,
}

/// What must stay as it was: device, inode, owner, group, mode.
type Seen = (u64, u64, u32, u32, u32);

fn seen(stat: &Stat) -> Seen {
    (stat.st_dev, stat.st_ino, stat.st_uid, stat.st_gid, stat.st_mode)
}

/// A key file, in the directory that it was written to.
#[derive(Debug)]
pub struct KeyFile {
    opened: Arc<Opened>,
    id: Uuid,
}

/// Whether [`KeyDirectory::open`] would succeed; makes and changes nothing.
pub fn usable(path: &Path, marker: &Path, group: Option<&str>) -> Result<(), KeyDirectoryError> {
    usable_by(path, marker, group.map(gid_of).transpose()?)
}

fn usable_by(path: &Path, marker: &Path, group: Option<Gid>) -> Result<(), KeyDirectoryError> {
    outside_rules(path, marker)?;
    let (found, whole) = Directory::deepest(path)?;
    let us = rustix::process::geteuid().as_raw();
    let ours = !whole || found.status()?.1 == us;
    // Asked of the kernel, so that a read-only file system is found too.
    if !ours || accessat(&found, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return Err(KeyDirectoryError::NotWritable { at: found.path().to_owned(), wanted: path.to_owned(), us });
    }
    if us != 0
        && let Some(group) = group
        && !is_ours(group)
    {
        return Err(KeyDirectoryError::NotAMember(path.to_owned()));
    }
    Ok(())
}

/// Whether this process may hand files to `group`.
fn is_ours(group: Gid) -> bool {
    rustix::process::getegid() == group || rustix::process::getgroups().is_ok_and(|groups| groups.contains(&group))
}

impl KeyDirectory {
    /// Opens `path`, making it when it is missing. With a `group` other than root's, only its members can read the
    /// keys; without one, only root can. `marker` is a file that says Microsoft's agent is installed.
    pub fn open(path: &Path, marker: &Path, group: Option<&str>) -> Result<Self, KeyDirectoryError> {
        let group = group.map(gid_of).transpose()?;
        let current = Current { opened: Arc::new(Opened::open(path, marker, group)?), checked: Instant::now() };
        Ok(Self { path: path.to_owned(), marker: marker.to_owned(), group, open: Mutex::new(current) })
    }

    /// Writes a key file and returns it, once a member of the group can read it.
    pub fn write(&self, secret: &str) -> Result<KeyFile, KeyDirectoryError> {
        let opened = self.current()?;
        let id = opened.write(secret)?;
        Ok(KeyFile { opened, id })
    }

    /// Removes key files that an earlier run left behind; never one that a living agent may still be asked about.
    pub fn sweep(&self, now: UnixTime) -> usize {
        let opened = self.open.lock().unwrap_or_else(PoisonError::into_inner).opened.clone();
        opened.sweep(now)
    }

    /// The directory at the path. It is opened when it is not the one that is open, or not as it was opened.
    fn current(&self) -> Result<Arc<Opened>, KeyDirectoryError> {
        let mut current = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.opened.is_at(&self.path) {
            current.opened = Arc::new(Opened::open(&self.path, &self.marker, self.group)?);
            current.checked = Instant::now();
            tracing::info!("the directory at {} is another one now, or was changed", self.path.display());
        } else if current.checked.elapsed() >= CHECK_EVERY {
            usable_by(&self.path, &self.marker, self.group)?;
            current.checked = Instant::now();
        }
        Ok(current.opened.clone())
    }
}

impl KeyFile {
    /// Its absolute path, as the challenge names it.
    pub fn path(&self) -> String {
        format!("{}{}.key", self.opened.prefix, self.id)
    }

    /// Removes it. One that is gone already is as good.
    pub fn remove(&self) {
        self.opened.remove(self.id);
    }
}

impl Opened {
    fn open(path: &Path, marker: &Path, group: Option<Gid>) -> Result<Self, KeyDirectoryError> {
        usable_by(path, marker, group)?;
        // The group must be able to pass through. Where that is root's, anybody may look and root alone may read:
        // clients then say "permission denied", not "no such file".
        let mode = if group.is_some_and(|gid| !gid.is_root()) { 0o750 } else { 0o755 };
        let directory = Directory::open_or_create(path, 0o700)?;
        if let Some(gid) = group {
            fchown(&directory, None, Some(gid)).map_err(|errno| match errno {
                Errno::PERM => KeyDirectoryError::NotAMember(path.to_owned()),
                other => failed("hand over to the group", path, other).into(),
            })?;
        }
        fchmod(&directory, Mode::from_bits_truncate(mode)).map_err(|e| failed("set the mode of", path, e))?;
        let stat = seen(&fstat(&directory).map_err(|e| failed("look at", path, e))?);
        let faults = Sampler::new(FAULTS, FAULTS_IN);
        Ok(Self { prefix: format!("{}/", directory.path().display()), directory, group, faults, stat })
    }

    /// Whether this is the directory that the path leads to, as it was opened.
    fn is_at(&self, path: &Path) -> bool {
        lstat(path).is_ok_and(|there| seen(&there) == self.stat)
    }

    fn write(&self, secret: &str) -> Result<Uuid, DirectoryError> {
        let id = denizen_keys::random::uuid_v4();
        let name = file_name(id);
        // Made unreadable for others, filled, handed over, and only then opened to the group.
        let mut file = self.directory.create(&name, 0o400)?;
        let mut fill = || -> io::Result<()> {
            file.write_all(secret.as_bytes())?;
            if self.group.is_some() {
                fchown(&file, None, self.group)?;
            }
            fchmod(&file, Mode::from_bits_truncate(0o440))?;
            Ok(())
        };
        // Deliberately no fsync: a key that does not survive a crash was of no use after it.
        fill().map_err(|source| {
            self.remove(id);
            DirectoryError::Io { doing: "write", path: self.directory.path().join(&name), source }
        })?;
        Ok(id)
    }

    fn remove(&self, id: Uuid) {
        match self.directory.unlink(&file_name(id)) {
            Ok(()) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => {
                if let Some(held_back) = self.faults.admit() {
                    tracing::warn!(%error, held_back, "a challenge's key file stays behind");
                }
            }
        }
    }

    fn sweep(&self, now: UnixTime) -> usize {
        let entries = match Dir::read_from(self.directory.as_fd()) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "{} cannot be swept of old key files", self.directory.path().display());
                return 0;
            }
        };
        let us = rustix::process::geteuid().as_raw();
        let mut removed = 0;
        for entry in entries.flatten() {
            let Some(id) = key_id(entry.file_name().to_bytes()) else { continue };
            let Ok(stat) = statat(&self.directory, file_name(id), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if stat.st_uid == us && now.since(UnixTime(stat.st_mtime)) > STALE_AFTER {
                self.remove(id);
                removed += 1;
            }
        }
        removed
    }
}

fn outside_rules(path: &Path, marker: &Path) -> Result<(), KeyDirectoryError> {
    if marker.symlink_metadata().is_ok() {
        return Err(KeyDirectoryError::MicrosoftAgent(marker.to_owned()));
    }
    // Clients split the challenge at '=' and trim at spaces and quotes.
    if !path.as_os_str().as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(b)) {
        return Err(KeyDirectoryError::UnsupportedPath(path.to_owned()));
    }
    Ok(())
}

fn gid_of(group: &str) -> Result<Gid, KeyDirectoryError> {
    match group::gid(group) {
        Ok(Some(gid)) => Ok(Gid::from_raw(gid)),
        Ok(None) => Err(KeyDirectoryError::NoSuchGroup(group.to_owned())),
        Err(source) => Err(KeyDirectoryError::Lookup { group: group.to_owned(), source: source.into() }),
    }
}

fn file_name(id: Uuid) -> String {
    format!("{id}.key")
}

fn key_id(name: &[u8]) -> Option<Uuid> {
    let id = std::str::from_utf8(name).ok()?.strip_suffix(".key")?;
    Uuid::try_parse(id).ok().filter(|parsed| parsed.to_string() == id)
}

fn failed(doing: &'static str, path: &Path, errno: Errno) -> DirectoryError {
    DirectoryError::Io { doing, path: path.to_owned(), source: errno.into() }
}
