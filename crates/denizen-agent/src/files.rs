//! Plain files: opened so that a fifo or a device in a file's place is an error and not a wait.
//!
//! Touches the file system only. Tests: below.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a plain file for reading. Links are followed; anything but a plain file is an error that says so.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    plain(&file)?;
    Ok(file)
}

/// Reads at most `limit` bytes of a plain file; `true` when that was all of it.
pub fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let whole = bytes.len() <= limit;
    bytes.truncate(limit);
    Ok((bytes, whole))
}

/// An error for anything but a plain file.
pub fn plain(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        return Ok(());
    }
    Err(io::Error::other("it is not a regular file"))
}

/// What changes with a file's content: compared, it tells whether the file was written or replaced since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file at `path`; none when it cannot be looked at. Never waits for a fifo: nothing is opened.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|about| Self::from(&about))
    }
}

impl From<&Metadata> for Stamp {
    fn from(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_in_a_files_place_is_an_error_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (done, waiting) = std::sync::mpsc::channel();
        let path = fifo;
        std::thread::spawn(move || done.send(read(&path, 10).map(drop).map_err(|error| error.to_string())));
        let told = waiting.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits for a writer");
        assert_eq!(told.unwrap_err(), "it is not a regular file");
        assert!(open(temp.path()).unwrap_err().to_string().contains("not a regular file"), "a directory");
        assert!(open(Path::new("/dev/null")).unwrap_err().to_string().contains("not a regular file"));
    }

    #[test]
    fn no_more_is_read_than_the_limit_and_the_answer_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), (b"12345".to_vec(), true));
        assert_eq!(read(&path, 4).unwrap(), (b"1234".to_vec(), false));
    }

    #[test]
    fn a_stamp_changes_when_the_file_is_written_or_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let (path, other) = (temp.path().join("file"), temp.path().join("other"));
        assert_eq!(Stamp::of(&path), None);
        std::fs::write(&path, "one").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path), Some(first));
        std::fs::write(&path, "longer").unwrap();
        let second = Stamp::of(&path).unwrap();
        assert_ne!(first, second);
        std::fs::write(&other, "longer").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), second);
    }
}
