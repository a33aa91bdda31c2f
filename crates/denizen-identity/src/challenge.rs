//! The Arc challenge: `Basic realm=<path of a key file>`.
//!
//! Whoever answers at the endpoint names a file, and the client sends its content back: an impostor on that port
//! could have any file sent to him. So the file must be directly inside the one directory the agent uses, end in
//! `.key`, be a regular file (no link, no device, no pipe), at most 4096 bytes, and belong to root, to the
//! directory's owner or to us; and what is checked is the opened file, not its path.
//!
//! Tests: below, one for each attack.

#[cfg(target_os = "linux")]
use std::io::Read;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use denizen_wire::identity::ARC_KEY_MAX;
#[cfg(target_os = "linux")]
use rustix::fs::{self, FileType, Mode, OFlags};
use zeroize::Zeroizing;

/// Why the challenge is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The header is not of the known form.
    #[error("the challenge is not 'Basic realm=<path>'")]
    Form,
    /// It names a file that must not be read.
    #[error("the challenge names {path}, which {why}")]
    File {
        /// The path named.
        path: PathBuf,
        /// The rule it breaks.
        why: &'static str,
    },
    /// No Azure SDK knows a key directory on this system.
    #[error("this system has no directory for the agent's key files")]
    Platform,
    /// The file cannot be read by this user.
    #[error("the challenge's key file {path} cannot be read: {why}")]
    Unreadable {
        /// The path named.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
}

impl ChallengeError {
    /// What would fix it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Form | Self::File { .. } => "find out who listens on the agent's port",
            Self::Platform => "use another identity here: Azure Arc is served on Linux only",
            Self::Unreadable { .. } => "run as root or as a member of the agent's group, and outside a container",
        }
    }
}

/// Elsewhere than on Linux there is no agent whose files these could be.
#[cfg(not(target_os = "linux"))]
pub fn answer(_: &str, _: &Path) -> Result<Zeroizing<String>, ChallengeError> {
    Err(ChallengeError::Platform)
}

/// Reads the key that `header` (the value of `WWW-Authenticate`) names, from `directory` and nowhere else.
#[cfg(target_os = "linux")]
pub fn answer(header: &str, directory: &Path) -> Result<Zeroizing<String>, ChallengeError> {
    let path = realm(header).ok_or(ChallengeError::Form)?;
    let refuse = |why| Err(ChallengeError::File { path: path.to_owned(), why });
    let name = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str() == directory.as_os_str() => name,
        _ => return refuse("is not directly inside the agent's key directory"),
    };
    if Path::new(name).extension().is_none_or(|e| e != "key") {
        return refuse("does not end in .key");
    }
    let unreadable = |e: rustix::io::Errno| ChallengeError::Unreadable { path: path.to_owned(), why: e.to_string() };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = match fs::open(directory, flags | OFlags::DIRECTORY | OFlags::PATH, Mode::empty()) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => return refuse("is in a directory that is a link"),
        Err(e) => return Err(unreadable(e)),
    };
    let owner = fs::fstat(&dir).map_err(unreadable)?.st_uid;
    // NONBLOCK: opening a pipe must not wait for its writer.
    let file = match fs::openat(&dir, name, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => return refuse("is a link"),
        Err(e) => return Err(unreadable(e)),
    };
    let stat = fs::fstat(&file).map_err(unreadable)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refuse("is not a regular file");
    }
    // The agent makes its files itself; a second name is somebody else's way of putting a file of ours in here.
    if stat.st_nlink > 1 {
        return refuse("has a second name elsewhere");
    }
    if usize::try_from(stat.st_size).is_ok_and(|size| size > ARC_KEY_MAX) {
        return refuse("is larger than 4096 bytes");
    }
    let us = rustix::process::geteuid().as_raw();
    if ![0, owner, us].contains(&stat.st_uid) {
        return refuse("belongs to neither root nor the agent");
    }
    let mut key = Zeroizing::new(String::new());
    let limit = u64::try_from(ARC_KEY_MAX).unwrap_or(u64::MAX) + 1;
    std::fs::File::from(file)
        .take(limit)
        .read_to_string(&mut key)
        .map_err(|e| ChallengeError::Unreadable { path: path.to_owned(), why: e.to_string() })?;
    if key.len() > ARC_KEY_MAX {
        return refuse("is larger than 4096 bytes");
    }
    let trimmed = Zeroizing::new(key.trim().to_owned());
    if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("holds no key");
    }
    Ok(trimmed)
}

#[cfg(target_os = "linux")]
fn realm(header: &str) -> Option<&Path> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    let (key, path) = rest.split_once('=')?;
    let path = path.trim();
    let path = path.strip_prefix('"').and_then(|p| p.strip_suffix('"')).unwrap_or(path);
    (scheme.eq_ignore_ascii_case("basic") && key.trim().eq_ignore_ascii_case("realm") && path.starts_with('/'))
        .then(|| Path::new(path))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(place.dir()).unwrap();
            place
        }
        fn dir(&self) -> PathBuf {
            self.0.path().join("tokens")
        }
        fn answer(&self, path: &Path) -> Result<String, ChallengeError> {
            answer(&format!("Basic realm={}", path.display()), &self.dir()).map(|key| key.to_string())
        }
        fn why(&self, path: &Path) -> &'static str {
            match self.answer(path) {
                Err(ChallengeError::File { why, .. }) => why,
                other => panic!("not refused as a file: {other:?}"),
            }
        }
    }

    #[test]
    fn d12_a_key_in_its_place_is_read_and_trimmed() {
        let place = Place::new();
        let path = place.dir().join("a.key");
        std::fs::write(&path, "c2VjcmV0\n").unwrap();
        assert_eq!(place.answer(&path).unwrap(), "c2VjcmV0");
    }

    #[test]
    fn d12_no_other_file_is_sent_to_an_impostor() {
        let place = Place::new();
        let outside = place.0.path().join("x.key");
        std::fs::write(&outside, "stolen").unwrap();
        assert_eq!(place.why(&outside), "is not directly inside the agent's key directory");
        assert_eq!(place.why(&place.dir().join("../x.key")), "is not directly inside the agent's key directory");

        let link = place.dir().join("link.key");
        symlink(&outside, &link).unwrap();
        assert_eq!(place.why(&link), "is a link");

        let wrong = place.dir().join("id_rsa");
        std::fs::write(&wrong, "stolen").unwrap();
        assert_eq!(place.why(&wrong), "does not end in .key");

        let big = place.dir().join("big.key");
        std::fs::write(&big, "a".repeat(4097)).unwrap();
        assert_eq!(place.why(&big), "is larger than 4096 bytes");

        let pipe = place.dir().join("pipe.key");
        fs::mknodat(fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(place.why(&pipe), "is not a regular file");

        let folder = place.dir().join("folder.key");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(place.why(&folder), "is not a regular file");
    }

    #[test]
    fn d12_a_linked_directory_is_not_the_directory() {
        let place = Place::new();
        std::fs::write(place.dir().join("a.key"), "k").unwrap();
        let linked = place.0.path().join("linked");
        symlink(place.dir(), &linked).unwrap();
        assert!(answer(&format!("Basic realm={}/a.key", linked.display()), &linked).is_err());
    }

    #[test]
    fn only_the_known_form_is_a_challenge() {
        for header in ["", "Basic", "Bearer realm=/x/a.key", "Basic realm=", "Basic realm=a.key", "Negotiate x"] {
            assert_eq!(answer(header, Path::new("/x")).unwrap_err(), ChallengeError::Form, "{header}");
        }
        assert_eq!(realm("basic REALM=\"/x/a.key\""), Some(Path::new("/x/a.key")));
    }
}
