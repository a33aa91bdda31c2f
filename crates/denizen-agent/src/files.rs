//! Regular files: opened so that a pipe or a device in a file's place is an error and not a wait.
//!
//! Every file that is read by its path is read through here, by the `denizen` program as well; what lies in a directory
//! of the agent's own, through [`crate::directory`]. Touches the file system only. Tests: below.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a regular file for reading. Links are followed; anything but a regular file is an error that says so.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    regular(&file)?;
    Ok(file)
}

/// Reads at most `limit` bytes of a regular file; `true` when that was all of it.
pub fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    read_from(open(path)?, limit)
}

fn read_from(source: impl io::Read, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let whole = bytes.len() <= limit;
    bytes.truncate(limit);
    Ok((bytes, whole))
}

/// Reads a regular file of at most `limit` bytes, whole.
pub fn read_whole(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    whole(read(path, limit)?, limit)
}

fn whole((bytes, whole): (Vec<u8>, bool), limit: u64) -> io::Result<Vec<u8>> {
    if whole { Ok(bytes) } else { Err(io::Error::other(format!("it is larger than {limit} bytes"))) }
}

/// The same of a text.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is not UTF-8; nothing of it is in the error.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    text(read_whole(path, limit)?)
}

/// The same of a secret, which nobody may read or change but its owner and its group.
///
/// # Errors
/// Also when others may. It is asked of the file that is read, whatever stands under its name by then.
pub fn read_secret_text(path: &Path, limit: u64) -> io::Result<String> {
    let file = open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & 0o007 != 0 {
        let why = format!("its mode is {mode:04o}, so that anybody may read or change it: chmod o= it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    text(whole(read_from(file, limit)?, limit)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The same, and of standard input where the path is `-`: a pipe is no file.
pub fn read_input(path: &Path, limit: u64) -> io::Result<String> {
    if path != Path::new("-") {
        return read_text(path, limit);
    }
    text(whole(read_from(io::stdin().lock(), limit)?, limit)?)
}

/// An error for anything but a regular file.
pub fn regular(file: &File) -> io::Result<()> {
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
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(read_text(&path, 4).unwrap_err().to_string(), "it is larger than 4 bytes");
        std::fs::write(&path, [b'a', 0xff]).unwrap();
        assert_eq!(read_text(&path, 5).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_secret_that_anybody_may_read_or_change_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("key");
        std::fs::write(&path, "hunter2").unwrap();
        for (mode, is_read) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false), (0o601, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match read_secret_text(&path, 9) {
                Ok(text) => assert!(is_read && text == "hunter2", "{mode:o}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!is_read && said.contains("chmod o=") && !said.contains("hunter2"), "{mode:o}: {said}");
                }
            }
        }
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
