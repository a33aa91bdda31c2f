//! The root key and the file it lives in.
//!
//! The file and the database together give away every secret, so a file that another user could read or replace is
//! refused. Each directory of the path is opened without following links. The last directory and the file must belong
//! to us or to root; no other user may write the directory or read the file. A new file is created atomically and never
//! replaces an existing one.
//!
//! Touches the file system through the path it is given. Tests: `root_key/tests.rs`.

#[cfg(test)]
mod tests;

use crate::envelope::{DataKey, KEY_BYTES};
use crate::{KeyError, hash, random};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::{Component, Path};
use zeroize::Zeroizing;

/// How a directory is opened that is only passed through.
#[cfg(target_os = "linux")]
const PASS_THROUGH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASS_THROUGH: OFlags = OFlags::RDONLY;

/// The key at the top of the key hierarchy, kept outside the database. Wiped when dropped.
pub struct RootKey(DataKey);

impl RootKey {
    /// Reads the root key from its file.
    ///
    /// # Errors
    /// [`KeyError::RootKeyRefused`] when the file or its directory is not safe or not of the right form,
    /// [`KeyError::RootKeyFile`] when the operating system refuses, also when there is no such file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = KeyFile::open(path)?;
        file.read()?.ok_or_else(|| file.failed("open it", Errno::NOENT))
    }

    /// Reads the root key, or makes a new one where there is no file yet. The directory must exist.
    ///
    /// Two processes that start at once get the same key.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let file = KeyFile::open(path)?;
        if let Some(key) = file.read()? {
            return Ok(key);
        }
        file.create()?;
        // Another process may have created the file first, so its key is read back.
        file.read()?.ok_or_else(|| file.failed("open it", Errno::NOENT))
    }

    pub(crate) fn key(&self) -> &DataKey {
        &self.0
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// The key file: a name in a directory that is held open, so that the directory cannot be replaced between checks.
struct KeyFile<'a> {
    path: &'a Path,
    directory: OwnedFd,
    name: &'a OsStr,
}

impl<'a> KeyFile<'a> {
    fn open(path: &'a Path) -> Result<Self, KeyError> {
        let name = path.file_name().ok_or_else(|| refused(path, "it does not name a file"))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut parts = Vec::new();
        for component in path.parent().unwrap_or(path).components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(part) => parts.push(part),
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(refused(path, "its path contains '..'; give the path without it"));
                }
            }
        }
        // The directory of the file is synchronised, which needs it to be open for reading; those above it are passed
        // through, which other users' directories may permit and no more.
        let access = |depth: usize| flags | if depth == parts.len() { OFlags::RDONLY } else { PASS_THROUGH };
        let start = if path.is_absolute() { "/" } else { "." };
        let mut directory = rustix::fs::open(start, access(0), Mode::empty())
            .map_err(|errno| failed(path, "open a directory of its path", errno))?;
        for (depth, part) in (1..).zip(&parts) {
            let next = rustix::fs::openat(&directory, *part, access(depth), Mode::empty());
            directory = next.map_err(|errno| match errno {
                // With NOFOLLOW a link gives LOOP, and with DIRECTORY as well it gives NOTDIR.
                Errno::LOOP | Errno::NOTDIR => {
                    refused(path, "a part of its path is a link or not a directory; give the path without links")
                }
                other => failed(path, "open a directory of its path", other),
            })?;
        }
        let file = Self { path, directory, name };
        let stat = file.stat(&file.directory)?;
        if !owned_by_us_or_root(&stat) {
            return Err(file.refused("its directory belongs to another user; it must be ours or root's"));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(file.refused("its directory can be written by others; chmod go-w the directory"));
        }
        Ok(file)
    }

    /// The key in the file, or nothing where there is no file.
    fn read(&self) -> Result<Option<RootKey>, KeyError> {
        // NONBLOCK, so that a pipe in the file's place cannot hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&self.directory, self.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.refused("it is a symbolic link; put the file itself there")),
            Err(errno) => return Err(self.failed("open it", errno)),
        };
        let stat = self.stat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.refused("it is not a regular file"));
        }
        if !owned_by_us_or_root(&stat) {
            return Err(self.refused("it belongs to another user; it must be ours or root's"));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(self.refused("others have access to it; chmod 600 the file, and consider the key known"));
        }
        if u64::try_from(stat.st_size) != Ok(KEY_BYTES as u64) {
            return Err(self.refused("it is not 32 bytes long; restore it from a backup"));
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let mut rest: &mut [u8] = &mut *bytes;
        while !rest.is_empty() {
            let count = match rustix::io::read(&file, &mut *rest) {
                Ok(0) => return Err(self.refused("it became shorter while it was read")),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.failed("read it", errno)),
            };
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(self.refused("it holds nothing but zeros; restore it from a backup"));
        }
        Ok(Some(RootKey(DataKey::from_bytes(&*bytes)?)))
    }

    /// Creates the file with a new random key, unless it exists by now.
    fn create(&self) -> Result<(), KeyError> {
        let temporary = format!(".root-key.{}.new", hash::hex(&random::bytes::<8>()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &*temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed("create it", errno))?;
        let published = self.fill(&file).and_then(|()| self.publish(&temporary));
        if published != Ok(true) {
            // Best effort: nobody else uses the file, and the first error is the one to report.
            let _ = rustix::fs::unlinkat(&self.directory, &*temporary, AtFlags::empty());
        }
        published.map(|_| ())
    }

    fn fill(&self, file: &OwnedFd) -> Result<(), KeyError> {
        let key = DataKey::generate();
        let mut rest = key.bytes();
        while !rest.is_empty() {
            match rustix::io::write(file, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("write it", errno)),
            }
        }
        rustix::fs::fsync(file).map_err(|errno| self.failed("write it to the disk", errno))
    }

    /// Gives the finished file its name without replacing anything. Says whether the temporary name is gone.
    fn publish(&self, temporary: &str) -> Result<bool, KeyError> {
        let directory = &self.directory;
        let moved = match rename_without_replacing(directory, temporary, self.name) {
            Ok(()) => true,
            Err(Errno::EXIST) => return Ok(false),
            // Some network file systems cannot rename that way; a second name does not replace anything either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match rustix::fs::linkat(directory, temporary, directory, self.name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::EXIST) => false,
                    Err(errno) => return Err(self.failed("give it its name", errno)),
                }
            }
            Err(errno) => return Err(self.failed("give it its name", errno)),
        };
        rustix::fs::fsync(directory).map_err(|errno| self.failed("write its directory to the disk", errno))?;
        Ok(moved)
    }

    fn stat(&self, fd: impl AsFd) -> Result<Stat, KeyError> {
        rustix::fs::fstat(fd).map_err(|errno| self.failed("examine it", errno))
    }

    fn refused(&self, reason: &'static str) -> KeyError {
        refused(self.path, reason)
    }

    fn failed(&self, action: &'static str, source: Errno) -> KeyError {
        failed(self.path, action, source)
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_without_replacing(directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
    rustix::fs::renameat_with(directory, from, directory, to, rustix::fs::RenameFlags::NOREPLACE)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_without_replacing(_: &OwnedFd, _: &str, _: &OsStr) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

fn owned_by_us_or_root(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw()
}

fn refused(path: &Path, reason: &'static str) -> KeyError {
    KeyError::RootKeyRefused { path: path.display().to_string(), reason }
}

fn failed(path: &Path, action: &'static str, source: Errno) -> KeyError {
    KeyError::RootKeyFile { path: path.display().to_string(), action, source }
}
