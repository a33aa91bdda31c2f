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
    let key = keys.write("c2VjcmV0").unwrap();
    let file = key.path();
    assert_eq!(file, format!("{}/{}.key", path.display(), key.id));
    assert_eq!(fs::read(&file).unwrap(), b"c2VjcmV0");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o440);
    assert!(!file.contains('=') && !file.contains('"') && !file.contains(' '));
    key.remove();
    key.remove();
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
    let file = fs::metadata(keys.write("x").unwrap().path()).unwrap();
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
    dated(&old.path(), NOW.0 - STALE_AFTER - 1);
    dated(&young.path(), NOW.0 - 60);
    dated(foreign.to_str().unwrap(), 1);
    assert_eq!(keys.sweep(NOW), 1);
    assert!(!Path::new(&old.path()).exists());
    assert!(Path::new(&young.path()).exists() && foreign.exists());
}

#[test]
fn a_directory_that_was_put_in_the_open_ones_place_is_the_one_that_is_used() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("azcmagent/tokens");
    let keys = KeyDirectory::open(&path, none(), None).unwrap();
    let first = keys.write("first").unwrap();
    let aside = temp.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    // Nothing is there: it is made, as at start.
    let second = keys.write("second").unwrap();
    assert_eq!(fs::read_to_string(second.path()).unwrap(), "second");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
    // And the whole way to it, with another one in its place.
    fs::rename(temp.path().join("azcmagent"), temp.path().join("azcmagent.old")).unwrap();
    fs::create_dir_all(&path).unwrap();
    assert_eq!(fs::read_to_string(keys.write("third").unwrap().path()).unwrap(), "third");
    // What was written before is removed where it is.
    first.remove();
    second.remove();
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 0);
    assert_eq!(fs::read_dir(temp.path().join("azcmagent.old/tokens")).unwrap().count(), 0);
}

#[test]
fn d02_a_directory_in_its_place_that_breaks_a_rule_gets_no_key_until_it_is_put_right() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("tokens");
    let keys = KeyDirectory::open(&path, none(), None).unwrap();
    fs::rename(&path, temp.path().join("aside")).unwrap();
    let refused = || keys.write("secret").unwrap_err().to_string();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    for _ in 0..2 {
        let text = refused();
        assert!(text.contains("chmod go-w"), "{text}");
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    fs::remove_dir(&path).unwrap();
    symlink(temp.path().join("aside"), &path).unwrap();
    assert!(refused().contains("symbolic link"), "even one that leads to the directory that is open");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(refused().contains("not a directory"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(fs::read_to_string(keys.write("secret").unwrap().path()).unwrap(), "secret");
}

#[test]
fn a_directory_that_is_mounted_over_is_left_for_what_clients_see() {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
    };
    if !denizen_skip::is_root() {
        return; // mounting needs root
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("tokens");
    let keys = KeyDirectory::open(&path, none(), None).unwrap();
    let first = keys.write("first").unwrap();
    let nothing = None::<&str>;
    // In a mount namespace of this thread's own.
    let seen = std::thread::spawn(move || {
        let mounted = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing))
            .and_then(|()| mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("mode=755")));
        if mounted.is_err() {
            return None;
        }
        let second = keys.write("second").unwrap();
        first.remove();
        Some(fs::read_to_string(second.path()).unwrap())
    });
    match seen.join().unwrap() {
        Some(content) => assert_eq!(content, "second"),
        None => return denizen_skip::skip("mounts are not permitted"),
    }
    assert_eq!(fs::read_dir(temp.path().join("tokens")).unwrap().count(), 0, "the first one was removed beneath");
}

/// In place: the same directory, let go of.
#[test]
fn d02_a_directory_that_was_opened_to_others_is_noticed_at_the_next_key() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().canonicalize().unwrap().join("tokens");
    let keys = KeyDirectory::open(&path, &temp.path().join("none"), None).unwrap();
    keys.write("secret").unwrap();
    for mode in [0o777, 0o770, 0o757] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let written = keys.write("secret");
        let now = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert!(written.is_err() || now == 0o755, "{mode:o}: written while it is {now:o}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        keys.write("secret").unwrap();
    }
}
