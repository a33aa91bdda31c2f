//! Regular files: opened so that a pipe or a device in a file's place is an error and not a wait.
//!
//! Touches the file system only. Tests: below.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    path::Path,
};

use zeroize::Zeroizing;

/// Opens a regular file for reading. Links are followed: volumes of secrets are made of them. `/dev/null` is an empty
/// file, as everywhere.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        use rustix::fs::OFlags;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    // Elsewhere it is looked at first: what is put in its place in between is the opener's own.
    #[cfg(not(target_os = "linux"))]
    regular(&std::fs::metadata(path)?)?;
    let file = options.open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes, whole. It may be a secret.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    // Made large enough at once: a buffer that grows leaves copies behind.
    let size = file.metadata()?.len().min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default().saturating_add(1)));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("it is larger than {limit} bytes")))
}

fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() || is_null(about) { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

#[cfg(target_os = "linux")]
fn is_null(about: &Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    about.file_type().is_char_device() && about.rdev() == rustix::fs::makedev(1, 3)
}

#[cfg(not(target_os = "linux"))]
fn is_null(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_limit() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_slice(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "it is larger than 4 bytes");
        assert_eq!(read(temp.path(), 5).unwrap_err().to_string(), "it is not a regular file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_or_a_device_in_a_files_place_is_an_error_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(read(Path::new("/dev/null"), 10).unwrap().is_empty());
        for path in [fifo, "/dev/zero".into()] {
            let (done, waiting) = std::sync::mpsc::channel();
            std::thread::spawn(move || done.send(read(&path, 10).map(drop).map_err(|error| error.to_string())));
            let told = waiting.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits for a writer");
            assert_eq!(told.unwrap_err(), "it is not a regular file");
        }
    }
}
