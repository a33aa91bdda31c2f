//! Directories nobody but root and this process's user can change.
//!
//! The agent keeps two: its state (node key, identity) and the Arc challenge's keys. Both are reached the same way:
//! component by component from `/`, following no link, refusing any component that another user owns or may write.
//! Files are then made, read and removed through the directory's descriptor, so what was checked is what is used.
//!
//! Touches the file system and nothing else. Tests: `directory/tests.rs`.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, fsync, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
};
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// Why a directory was refused, or what could not be done in it. Each text names the rule and has a hint.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The path does not start at `/`, or has `.` or `..` in it.
    #[error("{} is not an absolute path without '.' and '..': give it from the root", .0.display())]
    NotAbsolute(PathBuf),
    /// A component is a symbolic link.
    #[error("{} is a symbolic link, and none is followed here: replace it by a directory", .0.display())]
    Link(PathBuf),
    /// A component is no directory.
    #[error("{} is not a directory: move it away", .0.display())]
    NotADirectory(PathBuf),
    /// A component belongs to another user, who could replace what lies under it.
    #[error("{} belongs to uid {owner}, but only root or uid {us} may own it: run as that user, or `chown {us} {}`", path.display(), path.display())]
    Owner {
        /// The component.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// A component can be written by others.
    #[error("{} can be written by others (mode {mode:04o}): `chmod go-w {}`", path.display(), path.display())]
    Writable {
        /// The component.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A component is missing and was not to be made.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DirectoryError {
    /// Whether the file or directory was simply not there.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing(_) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::NotAbsolute(_)
            | Self::Link(_)
            | Self::NotADirectory(_)
            | Self::Owner { .. }
            | Self::Writable { .. } => false,
        }
    }
}

/// An open directory whose every component passed the checks.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens `path`.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        Self::walk(path, None)
    }

    /// Opens `path`; what is missing is made: parents with mode 0755, the last component with `mode`.
    pub fn open_or_create(path: &Path, mode: u32) -> Result<Self, DirectoryError> {
        Self::walk(path, Some(mode))
    }

    /// Opens the deepest component of `path` that exists; `true` when that is the whole path.
    pub fn deepest(path: &Path) -> Result<(Self, bool), DirectoryError> {
        let mut at = path;
        loop {
            match Self::open(at) {
                Ok(directory) => return Ok((directory, at == path)),
                Err(error) if error.is_missing() => match at.parent() {
                    Some(parent) => at = parent,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    fn walk(path: &Path, create: Option<u32>) -> Result<Self, DirectoryError> {
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err(DirectoryError::NotAbsolute(path.to_owned()));
        }
        let mut walked = PathBuf::from("/");
        let mut fd = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| io_error("open", &walked, e))?;
        let mut rest = components.peekable();
        if rest.peek().is_none() {
            return Err(DirectoryError::NotAbsolute(path.to_owned()));
        }
        check(&fd, &walked, false)?;
        while let Some(component) = rest.next() {
            let Component::Normal(name) = component else {
                return Err(DirectoryError::NotAbsolute(path.to_owned()));
            };
            let last = rest.peek().is_none();
            walked.push(name);
            fd = enter(&fd, name, &walked, last, create)?;
            check(&fd, &walked, last)?;
        }
        Ok(Self { fd, path: walked })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its permission bits, owner and group.
    pub fn status(&self) -> Result<(u32, u32, u32), DirectoryError> {
        let stat = fstat(&self.fd).map_err(|e| io_error("examine", &self.path, e))?;
        Ok((Mode::from_raw_mode(stat.st_mode).bits(), stat.st_uid, stat.st_gid))
    }

    /// Makes a file that did not exist. Permissions are exactly `mode`, less the umask.
    pub fn create(&self, name: &str, mode: u32) -> Result<File, DirectoryError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::from_bits_truncate(mode))
            .map(File::from)
            .map_err(|e| io_error("make", &self.path.join(name), e))
    }

    /// Opens a regular file that exists, for reading.
    pub fn open_file(&self, name: &str) -> Result<File, DirectoryError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|e| io_error("read", &self.path.join(name), e))?;
        match file.metadata() {
            Ok(about) if about.is_file() => Ok(file),
            Ok(_) => Err(self.io("read", name, io::Error::other("it is not a regular file"))),
            Err(source) => Err(self.io("read", name, source)),
        }
    }

    /// Reads a whole file of at most `limit` bytes; a link, a larger file and anything but a file is an error.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, DirectoryError> {
        let file = self.open_file(name)?;
        let about = file.metadata().map_err(|source| self.io("read", name, source))?;
        if about.len() > limit {
            return Err(self.io("read", name, io::Error::other("it is far too large")));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|source| self.io("read", name, source))?;
        Ok(bytes)
    }

    /// Writes a whole file so that a crash leaves the old one or the new one: temporary file, fsync, rename, fsync.
    pub fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), DirectoryError> {
        let temporary = temporary_name(name);
        let written = self.create(&temporary, mode).and_then(|mut file| {
            file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| self.io("write", name, source))
        });
        let done = written.and_then(|()| {
            renameat(&self.fd, temporary.as_str(), &self.fd, name)
                .map_err(|e| io_error("replace", &self.path.join(name), e))
        });
        if let Err(error) = done {
            // The first error is the one to report; what is left behind carries no name anybody reads.
            let _ = self.unlink(&temporary);
            return Err(error);
        }
        fsync(&self.fd).map_err(|e| io_error("sync", &self.path, e))
    }

    /// Removes the temporary files that a process left behind which was killed while it replaced a file. Nobody else may
    /// be replacing one. What cannot be removed is logged, and is in nobody's way.
    pub fn remove_temporaries(&self) {
        let entries = match Dir::read_from(&self.fd) {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!(%error, "{} cannot be listed", self.path.display()),
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if is_temporary(name)
                && let Err(error) = self.unlink(name)
            {
                tracing::warn!(%error, "a temporary file of an earlier run stays behind");
            }
        }
    }

    /// Removes a file.
    pub fn unlink(&self, name: &str) -> Result<(), DirectoryError> {
        unlinkat(&self.fd, name, AtFlags::empty()).map_err(|e| io_error("remove", &self.path.join(name), e))
    }

    fn io(&self, doing: &'static str, name: &str, source: io::Error) -> DirectoryError {
        DirectoryError::Io { doing, path: self.path.join(name), source }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An absolute path for a directory the user named: links on the way to it are resolved now, once, so that the walk
/// meets none. For the state directory only; the key directory's path is written into the clients as it is.
pub fn settled(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut at = absolute.as_path();
    loop {
        match at.canonicalize() {
            Ok(found) => return Ok(missing.into_iter().rev().fold(found, |path: PathBuf, name| path.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return Err(error) };
                missing.push(name);
                at = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

fn temporary_name(name: &str) -> String {
    format!(".{name}.{}", denizen_keys::random::uuid_v4())
}

fn is_temporary(name: &str) -> bool {
    let id = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')).map(|(_, id)| id);
    id.is_some_and(|id| Uuid::try_parse(id).is_ok_and(|parsed| parsed.to_string() == id))
}

/// Writes to the disk that `parent`, passed through so far, has a new entry. Where others' directories may not be read,
/// that is left to the system.
fn sync_entry(parent: &OwnedFd, path: &Path) -> Result<(), DirectoryError> {
    match openat(parent, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(readable) => fsync(&readable).map_err(|e| io_error("sync the directory of", path, e)),
        Err(Errno::ACCESS) => Ok(()),
        Err(e) => Err(io_error("open the directory of", path, e)),
    }
}

fn enter(
    parent: &OwnedFd,
    name: &OsStr,
    walked: &Path,
    last: bool,
    create: Option<u32>,
) -> Result<OwnedFd, DirectoryError> {
    // The last one is opened for reading (to be listed and synced); the others only need to be passed through.
    let access = if last { OFlags::RDONLY } else { OFlags::PATH };
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT) => {
            let Some(mode) = create else { return Err(DirectoryError::Missing(walked.to_owned())) };
            let mode = if last { mode } else { 0o755 };
            match mkdirat(parent, name, Mode::from_bits_truncate(mode)) {
                Ok(()) => sync_entry(parent, walked)?,
                // Somebody else made it just now: it is checked like any other.
                Err(Errno::EXIST) => {}
                Err(e) => return Err(io_error("make a directory in", walked.parent().unwrap_or(walked), e)),
            }
            openat(parent, name, flags, Mode::empty()).map_err(|e| io_error("open", walked, e))
        }
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let link = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink());
            Err(if link {
                DirectoryError::Link(walked.to_owned())
            } else {
                DirectoryError::NotADirectory(walked.to_owned())
            })
        }
        Err(e) => Err(io_error("open", walked, e)),
    }
}

fn check(fd: &OwnedFd, path: &Path, last: bool) -> Result<(), DirectoryError> {
    let stat = fstat(fd).map_err(|e| io_error("examine", path, e))?;
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != us {
        return Err(DirectoryError::Owner { path: path.to_owned(), owner: stat.st_uid, us });
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    // In a sticky directory (/tmp) others may add names, but neither remove nor rename ours.
    let sticky = !last && mode.contains(Mode::SVTX);
    // Distributions with a private group for each user (gid equal to uid) give 0775 to everything: that group is us.
    let private = stat.st_gid == us && stat.st_uid == us && !last;
    let group = mode.contains(Mode::WGRP) && !private;
    if (mode.contains(Mode::WOTH) || group) && !sticky {
        return Err(DirectoryError::Writable { path: path.to_owned(), mode: mode.bits() });
    }
    Ok(())
}

fn io_error(doing: &'static str, path: &Path, errno: Errno) -> DirectoryError {
    DirectoryError::Io { doing, path: path.to_owned(), source: errno.into() }
}
