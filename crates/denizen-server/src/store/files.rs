//! Files and folders that must be what they seem: opened without following a link, without waiting for a pipe's other
//! side, and closed to everybody else.
//!
//! The mode of what is not ours to own (a link's target, a device) is never changed: what was opened is looked at first.
//!
//! Touches the file system. Tests: `files/tests.rs`.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

/// A file that is taken for one of ours has at most this many bytes, where it is read whole.
const MAX_SMALL: u64 = 64 * 1024;

const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
const OWNER: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens or makes a regular file that nobody but its owner may read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let file = regular(rustix::fs::open(path, OFlags::RDWR | OFlags::CREATE | SAFE, OWNER))?;
    rustix::fs::fchmod(&file, OWNER)?;
    Ok(file)
}

/// Refuses what stands at a path and is no regular file. Nothing there is fine.
pub(super) fn regular_or_absent(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) => Err(not_a_file(found.is_symlink())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a small regular file; none when there is none.
pub(super) fn read_small(path: &Path) -> io::Result<Option<String>> {
    let file = match regular(rustix::fs::open(path, OFlags::RDONLY | SAFE, Mode::empty())) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_SMALL).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a small file, whole or not at all, and brings it to the disk. What stands under its name is replaced, and
/// not followed.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = beside(path, ".new");
    // Left by a process that died in the middle.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | SAFE;
    let mut file = regular(rustix::fs::open(&temporary, flags, OWNER))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// What tells a file from another that takes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Which file stands at a path; none when there is none.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    fs::symlink_metadata(path).ok().map(|found| Identity(found.dev(), found.ino()))
}

/// Brings the names in a path's folder to the disk.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// The path with something added to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// An open folder, its owner's alone. Names are looked up in it, whatever has come to stand at its path meanwhile.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, or makes it when there is none; says whether it was made.
    pub(super) fn open(path: &Path) -> io::Result<(Self, bool)> {
        let made = match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | SAFE;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            // With DIRECTORY a link gives either.
            Errno::LOOP | Errno::NOTDIR => {
                io::Error::other("it is a link or no folder: put the folder itself there, or remove what stands there")
            }
            other => other.into(),
        })?;
        rustix::fs::fchmod(&fd, Mode::RWXU)?;
        if made {
            sync_parent(path)?;
        }
        Ok((Self { fd, path: path.to_owned() }, made))
    }

    /// Where it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still stands at its path.
    pub(super) fn is_at_its_path(&self) -> bool {
        let there = rustix::fs::lstat(&self.path);
        rustix::fs::fstat(&self.fd).and_then(|held| Ok(same(&held, &there?))).unwrap_or(false)
    }

    /// Whether an open file still stands under a name in it.
    pub(super) fn has(&self, name: &str, file: &File) -> bool {
        let there = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        rustix::fs::fstat(file).and_then(|held| Ok(same(&held, &there?))).unwrap_or(false)
    }

    /// Whether a regular file stands under a name in it.
    pub(super) fn has_regular(&self, name: &str) -> bool {
        let there = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        there.is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::RegularFile)
    }

    /// The names in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Reads the first bytes of a regular file; says whether that is all of it.
    pub(super) fn read(&self, name: &str, most: u64) -> io::Result<(Vec<u8>, bool)> {
        let mut bytes = Vec::new();
        let mut file = self.open_file(name, OFlags::RDONLY)?.take(most);
        file.read_to_end(&mut bytes)?;
        let is_all = file.into_inner().read(&mut [0])? == 0;
        Ok((bytes, is_all))
    }

    /// Gives what stands under a name another one, whatever it is.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|errno| io::Error::new(errno.kind(), format!("{from} cannot be renamed to {to}: {errno}")))
    }

    /// Opens a regular file to read it or bring it to the disk.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::RDONLY)
    }

    /// Cuts a regular file off.
    pub(super) fn cut(&self, name: &str, length: u64) -> io::Result<()> {
        self.open_file(name, OFlags::WRONLY)?.set_len(length)
    }

    /// Opens an empty file to append to, and makes it when it is not there. One that holds something is refused.
    pub(super) fn empty(&self, name: &str) -> io::Result<File> {
        let file = self.open_file(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)?;
        if file.metadata()?.len() > 0 {
            return Err(io::Error::other(format!("{name} is there, and holds what this process has not written")));
        }
        Ok(file)
    }

    /// Writes a file that is not there yet, or is replaced.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?.write_all(bytes)
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Brings its names to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        regular(rustix::fs::openat(&self.fd, name, flags | SAFE, OWNER))
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }
}

fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Refuses what was opened and is no regular file.
fn regular(opened: Result<OwnedFd, Errno>) -> io::Result<File> {
    let fd = opened.map_err(|errno| match errno {
        Errno::LOOP => not_a_file(true),
        // A pipe that nobody reads, opened for writing.
        Errno::NXIO => not_a_file(false),
        other => other.into(),
    })?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(not_a_file(false));
    }
    Ok(File::from(fd))
}

fn not_a_file(link: bool) -> io::Error {
    io::Error::other(if link {
        "it is a symbolic link; put the file itself there, or remove the link"
    } else {
        "it is not a regular file; remove what stands there, or restore the file"
    })
}
