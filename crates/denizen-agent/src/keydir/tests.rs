use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn none() -> &'static Path {
    Path::new("/nonexistent/himds")
}

#[test]
fn a_key_is_directly_inside_complete_and_without_newline() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("azcmagent/tokens");
    let keys = KeyDirectory::open(&path, none(), None).unwrap();
    let id = keys.write("c2VjcmV0").unwrap();
    let file = keys.path_of(id);
    assert_eq!(file, format!("{}/{id}.key", path.display()));
    assert_eq!(fs::read(&file).unwrap(), b"c2VjcmV0");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o440);
    assert!(!file.contains('=') && !file.contains('"') && !file.contains(' '));
    keys.remove(id);
    keys.remove(id);
    assert!(!Path::new(&file).exists());
}

#[test]
fn the_group_can_pass_and_read_and_nobody_can_write() {
    if !denizen_skip::is_root() {
        return; // giving files to a foreign group needs root
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("tokens");
    let keys = KeyDirectory::open(&path, none(), Some("nogroup")).unwrap();
    let about = fs::metadata(&path).unwrap();
    assert_eq!((about.mode() & 0o7777, about.gid()), (0o750, 65534));
    let file = fs::metadata(keys.path_of(keys.write("x").unwrap())).unwrap();
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (0o440, 0, 65534));

    // A directory that was too narrow for the group is opened to it; one that is root's is for everybody to look at.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    KeyDirectory::open(&path, none(), Some("root")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn d02_a_directory_others_can_write_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("tokens");
    fs::create_dir(&path).unwrap();
    for mode in [0o777, 0o770, 0o1777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for refused in [usable(&path, none(), None).unwrap_err(), KeyDirectory::open(&path, none(), None).unwrap_err()]
        {
            let text = refused.to_string();
            assert!(matches!(refused, KeyDirectoryError::Directory(DirectoryError::Writable { .. })), "{text}");
            assert!(text.contains("chmod go-w"), "{text}");
        }
    }
}

#[test]
fn d03_a_directory_that_is_a_link_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("elsewhere")).unwrap();
    symlink("elsewhere", temp.path().join("tokens")).unwrap();
    let refused = KeyDirectory::open(&temp.path().join("tokens"), none(), None).unwrap_err();
    assert!(matches!(refused, KeyDirectoryError::Directory(DirectoryError::Link(_))), "{refused}");
    assert_eq!(fs::read_dir(temp.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_refused_and_nothing_is_made() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let refused = KeyDirectory::open(&temp.path().join("file/tokens"), none(), None).unwrap_err();
    assert!(matches!(refused, KeyDirectoryError::Directory(DirectoryError::NotADirectory(_))), "{refused}");
    // Even root may not make a directory in /proc.
    let refused = KeyDirectory::open(Path::new("/proc/azcmagent/tokens"), none(), None).unwrap_err();
    assert!(refused.to_string().contains("/proc"), "{refused}");
    usable(&temp.path().join("a/b"), none(), None).unwrap();
    assert!(!temp.path().join("a").exists(), "a dry check makes nothing");
}

#[test]
fn microsofts_agent_keeps_its_directory() {
    let temp = tempfile::tempdir().unwrap();
    let marker = temp.path().join("himds");
    fs::write(&marker, "").unwrap();
    let refused = usable(&temp.path().join("tokens"), &marker, None).unwrap_err();
    assert!(matches!(refused, KeyDirectoryError::MicrosoftAgent(_)), "{refused}");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !denizen_skip::is_root() {
        return; // only root can give a directory away
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("tokens");
    fs::create_dir(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    let refused = usable(&path, none(), None).unwrap_err();
    assert!(matches!(refused, KeyDirectoryError::Directory(DirectoryError::Owner { owner: 65534, .. })), "{refused}");
}

#[test]
fn d14_a_path_that_would_break_the_challenge_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["a=b", "a b", "a\"b", "é"] {
        let refused = usable(&temp.path().join(name), none(), None).unwrap_err();
        assert!(matches!(refused, KeyDirectoryError::UnsupportedPath(_)), "{refused}");
    }
    let refused = usable(temp.path(), none(), Some("no-such-group-here")).unwrap_err();
    assert!(refused.to_string().contains("groupadd --system no-such-group-here"), "{refused}");
}

#[test]
fn only_our_own_stale_keys_are_swept() {
    let temp = tempfile::tempdir().unwrap();
    let keys = KeyDirectory::open(&temp.path().join("tokens"), none(), None).unwrap();
    let (old, young) = (keys.write("old").unwrap(), keys.write("young").unwrap());
    let foreign = temp.path().join("tokens/notes.key");
    fs::write(&foreign, "").unwrap();
    let dated = |path: &str, at: i64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at.unsigned_abs());
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    dated(&keys.path_of(old), NOW.0 - STALE_AFTER - 1);
    dated(&keys.path_of(young), NOW.0 - 60);
    dated(foreign.to_str().unwrap(), 1);
    assert_eq!(keys.sweep(NOW), 1);
    assert!(!Path::new(&keys.path_of(old)).exists());
    assert!(Path::new(&keys.path_of(young)).exists() && foreign.exists());
}
