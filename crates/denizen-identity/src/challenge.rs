//! The Arc challenge: `Basic realm=<path of a key file>`.
//!
//! Whoever answers at the endpoint names a file, and the client sends its content back: an impostor on that port
//! could have any file sent to him. So the file must be directly inside the one directory the agent uses, end in
//! `.key`, be a regular file (no link, no device, no pipe), at most 4096 bytes, and belong to root, to the
//! directory's owner or to us; and what is checked is the opened file, not its path. The directory itself must be one
//! in which nobody but root, its owner and we could have put anything: neither it nor a directory above it may be
//! writable by others. Above it a sticky one (`/tmp`) may be, where what lies in it is root's or ours.
//!
//! Tests: below, one for each attack.

#[cfg(target_os = "linux")]
use std::io::Read;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use denizen_wire::identity::ARC_KEY_MAX;
#[cfg(target_os = "linux")]
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};
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
    /// Others than the agent could have put a file there.
    #[error("the challenge names a file in {directory}, where others than the agent may have put it: {at} {why}")]
    Directory {
        /// The key directory.
        directory: PathBuf,
        /// It, or the directory above it that breaks the rule.
        at: PathBuf,
        /// The rule.
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
            Self::Directory { .. } => "let root `chown` that directory to the agent and `chmod go-w` it",
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
    let unreadable = |e: Errno| ChallengeError::Unreadable { path: path.to_owned(), why: e.to_string() };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = match fs::open(directory, flags | OFlags::DIRECTORY | OFlags::PATH, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::LOOP | Errno::NOTDIR) => return refuse("is in a directory that is a link"),
        Err(e) => return Err(unreadable(e)),
    };
    let place = Place::of(&dir).map_err(unreadable)?;
    if let Some((at, why)) = place.fault(dir.try_clone(), directory).map_err(unreadable)? {
        return Err(ChallengeError::Directory { directory: directory.to_owned(), at, why });
    }
    // NONBLOCK: opening a pipe must not wait for its writer.
    let file = match fs::openat(&dir, name, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP) => return refuse("is a link"),
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
    if ![0, place.directory.st_uid, place.us].contains(&stat.st_uid) {
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

/// The key directory, and who may change what leads to it.
#[cfg(target_os = "linux")]
struct Place {
    directory: Stat,
    /// The directory `/`: in a user namespace root shows as another user, and owns it all the same.
    root: Stat,
    us: u32,
}

#[cfg(target_os = "linux")]
impl Place {
    fn of(dir: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self { directory: fs::fstat(dir)?, root: fs::stat("/")?, us: rustix::process::geteuid().as_raw() })
    }

    /// The first directory in which somebody else could have put something, and why.
    fn fault(&self, dir: std::io::Result<OwnedFd>, path: &Path) -> Result<Option<(PathBuf, &'static str)>, Errno> {
        if self.is_writable(&self.directory) {
            return Ok(Some((path.to_owned(), WRITABLE)));
        }
        // What the path's own words lead through, links included ...
        let mut below = path;
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let entry = fs::statat(fs::CWD, below, AtFlags::SYMLINK_NOFOLLOW)?;
            if let Some(why) = self.fault_above(&fs::stat(above)?, &entry) {
                return Ok(Some((above.to_owned(), why)));
            }
            below = above;
        }
        // ... and where the directory that is open really lies.
        let mut dir = dir.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
        let (mut entry, mut shown) = (self.directory, path.to_owned());
        loop {
            dir = fs::openat(&dir, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let above = fs::fstat(&dir)?;
            if (above.st_dev, above.st_ino) == (entry.st_dev, entry.st_ino) {
                return Ok(None);
            }
            shown.push("..");
            if let Some(why) = self.fault_above(&above, &entry) {
                return Ok(Some((shown, why)));
            }
            entry = above;
        }
    }

    /// Of a directory above the keys', by what leads on from it.
    fn fault_above(&self, above: &Stat, entry: &Stat) -> Option<&'static str> {
        if !self.is_trusted(above.st_uid) && above.st_uid != self.directory.st_uid {
            return Some("belongs to somebody who is neither root nor the agent");
        }
        if !self.is_writable(above) {
            return None;
        }
        let sticky = Mode::from_raw_mode(above.st_mode).contains(Mode::SVTX);
        (!sticky || !self.is_trusted(entry.st_uid)).then_some(WRITABLE)
    }

    /// By others than its owner and root's group. A group of the owner's own, when that is us, is us.
    fn is_writable(&self, stat: &Stat) -> bool {
        let mode = Mode::from_raw_mode(stat.st_mode);
        let own = stat.st_gid == 0 || (stat.st_uid == self.us && stat.st_gid == self.us);
        mode.contains(Mode::WOTH) || (mode.contains(Mode::WGRP) && !own)
    }

    fn is_trusted(&self, owner: u32) -> bool {
        [0, self.root.st_uid, self.us].contains(&owner)
    }
}

#[cfg(target_os = "linux")]
const WRITABLE: &str = "can be written by others";

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

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    /// What is wrong, and with which directory.
    fn fault(directory: &Path) -> Option<(PathBuf, &'static str)> {
        std::fs::write(directory.join("a.key"), "c2VjcmV0").unwrap();
        match answer(&format!("Basic realm={}/a.key", directory.display()), directory) {
            Ok(_) => None,
            Err(ChallengeError::Directory { at, why, .. }) => Some((at, why)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn d12_a_directory_that_others_may_write_is_not_the_agents() {
        let place = Place::new();
        let tokens = place.dir();
        for mode in [0o700, 0o750, 0o755] {
            chmod(&tokens, mode);
            assert_eq!(fault(&tokens), None, "{mode:o}");
        }
        for mode in [0o777, 0o757, 0o1777] {
            chmod(&tokens, mode);
            assert_eq!(fault(&tokens), Some((tokens.clone(), WRITABLE)), "{mode:o}");
        }
        chmod(&tokens, 0o770);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&tokens, None, Some(0)).unwrap();
            assert_eq!(fault(&tokens), None, "root's group is root");
            std::os::unix::fs::chown(&tokens, None, Some(65534)).unwrap();
            assert_eq!(fault(&tokens), Some((tokens.clone(), WRITABLE)));
            std::os::unix::fs::chown(&tokens, Some(65534), Some(0)).unwrap();
            chmod(&tokens, 0o750);
            assert_eq!(fault(&tokens), None, "an agent that runs as a user of its own");
        }
    }

    #[test]
    fn d12_a_directory_below_one_that_others_may_write_is_not_the_agents() {
        let place = Place::new();
        let (above, tokens) = (place.0.path().join("above"), place.0.path().join("above/tokens"));
        std::fs::create_dir_all(&tokens).unwrap();
        chmod(&above, 0o777);
        assert_eq!(fault(&tokens), Some((above.clone(), WRITABLE)));
        // In a sticky one nobody can take away or replace what is ours ...
        chmod(&above, 0o1777);
        assert_eq!(fault(&tokens), None);
        if rustix::process::geteuid().is_root() {
            // ... but anybody could have made what is not.
            std::os::unix::fs::chown(&tokens, Some(65534), None).unwrap();
            assert_eq!(fault(&tokens), Some((above.clone(), WRITABLE)));
            std::os::unix::fs::chown(&tokens, Some(0), None).unwrap();
            chmod(&above, 0o755);
            std::os::unix::fs::chown(&above, Some(65534), None).unwrap();
            let (at, why) = fault(&tokens).unwrap();
            assert_eq!((at, why), (above.clone(), "belongs to somebody who is neither root nor the agent"));
            std::os::unix::fs::chown(&above, Some(0), None).unwrap();
        }
        // By a path with a link in it, the directories on both ways count.
        chmod(&above, 0o777);
        let link = place.0.path().join("link");
        symlink(&above, &link).unwrap();
        assert!(fault(&link.join("tokens")).is_some());
        chmod(&above, 0o755);
        assert_eq!(fault(&link.join("tokens")), None);
        let open = place.0.path().join("open");
        std::fs::create_dir(&open).unwrap();
        symlink(&above, open.join("link")).unwrap();
        chmod(&open, 0o777);
        assert_eq!(fault(&open.join("link/tokens")), Some((open, WRITABLE)));
        // And where a link leads into such a directory.
        chmod(&above, 0o777);
        std::fs::create_dir(above.join("inner")).unwrap();
        std::fs::create_dir(above.join("inner/tokens")).unwrap();
        let link = place.0.path().join("inner");
        symlink(above.join("inner"), &link).unwrap();
        assert!(fault(&link.join("tokens")).is_some_and(|(at, _)| at.ends_with("inner/tokens/../..")));
    }

    #[test]
    fn only_the_known_form_is_a_challenge() {
        for header in ["", "Basic", "Bearer realm=/x/a.key", "Basic realm=", "Basic realm=a.key", "Negotiate x"] {
            assert_eq!(answer(header, Path::new("/x")).unwrap_err(), ChallengeError::Form, "{header}");
        }
        assert_eq!(realm("basic REALM=\"/x/a.key\""), Some(Path::new("/x/a.key")));
    }
}
