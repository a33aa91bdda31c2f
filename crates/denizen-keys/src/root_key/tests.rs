//! The root key file under attack: links, modes, sizes, other kinds of file, and races.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

struct State {
    directory: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file with the given bytes and mode.
    fn put(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn reason(result: Result<RootKey, KeyError>) -> &'static str {
    let error = result.unwrap_err();
    let KeyError::RootKeyRefused { reason, .. } = error else { panic!("expected a refusal, got {error:?}") };
    reason
}

/// Both ways in must refuse, and the file must be left as it was.
fn both_refuse(path: &Path, expected: &str) {
    assert!(reason(RootKey::load(path)).contains(expected));
    assert!(reason(RootKey::load_or_create(path)).contains(expected));
}

#[test]
fn a_new_file_is_private_complete_and_read_again() {
    let state = State::new();
    let path = state.path("root.key");
    let first = RootKey::load_or_create(&path).unwrap();
    let meta = fs::symlink_metadata(&path).unwrap();
    assert!(meta.is_file());
    assert_eq!((meta.mode() & 0o7777, meta.len(), meta.nlink()), (0o600, 32, 1));
    assert_eq!(fs::read(&path).unwrap(), first.key().bytes());
    assert_ne!(first.key().bytes(), [0; 32]);
    assert_eq!(state.names(), ["root.key"], "nothing may stay behind");
    for again in [RootKey::load_or_create(&path).unwrap(), RootKey::load(&path).unwrap()] {
        assert_eq!(again.key().bytes(), first.key().bytes());
    }
    assert_eq!(format!("{first:?}"), "RootKey(..)");
}

#[test]
fn loading_does_not_make_a_key() {
    let state = State::new();
    let error = RootKey::load(&state.path("root.key")).unwrap_err();
    assert!(matches!(error, KeyError::RootKeyFile { source: Errno::NOENT, .. }), "{error:?}");
    assert!(state.names().is_empty());
    let error = RootKey::load_or_create(&state.path("missing/root.key")).unwrap_err();
    assert!(matches!(
        error,
        KeyError::RootKeyFile { action: "open a directory of its path", source: Errno::NOENT, .. }
    ));
}

#[test]
fn d03_a_link_is_not_followed() {
    let state = State::new();
    let real = state.put("real.key", &[7; 32], 0o600);
    let link = state.path("root.key");
    symlink(&real, &link).unwrap();
    both_refuse(&link, "symbolic link");
    // A link to nowhere must not make a file elsewhere.
    let dangling = state.path("dangling.key");
    symlink(state.path("elsewhere"), &dangling).unwrap();
    both_refuse(&dangling, "symbolic link");
    assert!(!state.path("elsewhere").exists());
}

#[test]
fn d03_no_part_of_the_path_may_be_a_link() {
    let state = State::new();
    fs::create_dir_all(state.path("real/inner")).unwrap();
    fs::set_permissions(state.path("real/inner"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink(state.path("real"), state.path("alias")).unwrap();
    assert!(RootKey::load_or_create(&state.path("real/inner/root.key")).is_ok());
    both_refuse(&state.path("alias/inner/root.key"), "is a link");
    symlink(state.path("real/inner"), state.path("last")).unwrap();
    both_refuse(&state.path("last/root.key"), "is a link");
    both_refuse(&state.path("real/../real/inner/root.key"), "'..'");
    both_refuse(Path::new("/"), "does not name a file");
}

#[test]
fn d02_a_file_others_can_touch_is_refused() {
    let state = State::new();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o610, 0o666] {
        both_refuse(&state.put("root.key", &[7; 32], mode), "others have access");
    }
    assert!(RootKey::load(&state.put("root.key", &[7; 32], 0o400)).is_ok());
}

#[test]
fn d02_a_directory_others_can_write_is_refused() {
    let state = State::new();
    let path = state.put("root.key", &[7; 32], 0o600);
    for mode in [0o777, 0o720, 0o702, 0o1777] {
        fs::set_permissions(&state.directory, fs::Permissions::from_mode(mode)).unwrap();
        both_refuse(&path, "directory can be written by others");
    }
    fs::set_permissions(&state.directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(RootKey::load(&path).is_ok());
}

#[test]
fn d02_what_belongs_to_another_user_is_refused() {
    // Only root can change the owner of a file.
    if !denizen_skip::is_root() {
        return;
    }
    let state = State::new();
    let path = state.put("root.key", &[7; 32], 0o600);
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    both_refuse(&path, "it belongs to another user");
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    std::os::unix::fs::chown(&state.directory, Some(12_345), None).unwrap();
    both_refuse(&path, "directory belongs to another user");
    std::os::unix::fs::chown(&state.directory, Some(0), None).unwrap();
    assert!(RootKey::load(&path).is_ok());
}

#[test]
fn a_file_of_the_wrong_size_or_all_zeros_is_refused_and_kept() {
    let state = State::new();
    for length in [0, 1, 31, 33, 64, 5000] {
        let path = state.put("root.key", &vec![7; length], 0o600);
        both_refuse(&path, "not 32 bytes long");
        assert_eq!(fs::metadata(&path).unwrap().len(), length as u64);
    }
    both_refuse(&state.put("root.key", &[0; 32], 0o600), "nothing but zeros");
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let state = State::new();
    let directory = state.path("root.key");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    both_refuse(&directory, "not a regular file");
    let pipe = state.path("pipe.key");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    both_refuse(&pipe, "not a regular file");
}

#[test]
fn a_file_that_appears_meanwhile_is_never_replaced() {
    let state = State::new();
    let path = state.path("root.key");
    let file = KeyFile::open(&path).unwrap();
    assert!(file.read().unwrap().is_none());
    state.put("root.key", &[7; 32], 0o600);
    file.create().unwrap();
    assert_eq!(fs::read(&path).unwrap(), [7; 32]);
    assert_eq!(state.names(), ["root.key"]);
}

#[test]
fn processes_that_start_at_once_agree_on_one_key() {
    let state = State::new();
    let path = state.path("root.key");
    let keys: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| RootKey::load_or_create(&path).unwrap().key().bytes().to_vec())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(state.names(), ["root.key"]);
}
