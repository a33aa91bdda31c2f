use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use super::*;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_missing_is_made_and_nothing_more_open_than_asked() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a/b/state");
    let directory = Directory::open_or_create(&path, 0o700).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    directory.replace("node.key", b"one", 0o600).unwrap();
    directory.replace("node.key", b"two", 0o600).unwrap();
    assert_eq!(directory.read("node.key", 10).unwrap(), b"two");
    assert_eq!(fs::metadata(path.join("node.key")).unwrap().mode() & 0o7777, 0o600);
    let left: Vec<_> = fs::read_dir(&path).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays behind");
}

#[test]
fn d02_a_component_others_may_write_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("open");
    fs::create_dir_all(parent.join("state")).unwrap();
    for mode in [0o777, 0o757, 0o772] {
        chmod(&parent, mode);
        let refused = Directory::open(&parent.join("state")).unwrap_err();
        assert!(matches!(&refused, DirectoryError::Writable { path, .. } if *path == parent), "{mode:o}: {refused}");
        assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    }
    // A sticky parent is passed through (others cannot touch our names in it), but never lived in.
    chmod(&parent, 0o1777);
    Directory::open(&parent.join("state")).unwrap();
    assert!(matches!(Directory::open(&parent).unwrap_err(), DirectoryError::Writable { .. }));
}

#[test]
fn d02_a_component_of_another_user_is_refused() {
    if !denizen_skip::is_root() {
        return; // only root can give a directory away
    }
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("theirs");
    fs::create_dir_all(parent.join("state")).unwrap();
    std::os::unix::fs::chown(&parent, Some(65534), None).unwrap();
    let refused = Directory::open(&parent.join("state")).unwrap_err();
    assert!(matches!(refused, DirectoryError::Owner { owner: 65534, us: 0, .. }), "{refused}");
}

#[test]
fn d03_no_component_may_be_a_link() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("real/state")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    symlink("state", temp.path().join("real/last")).unwrap();
    for path in ["link/state", "real/last"] {
        let refused = Directory::open_or_create(&temp.path().join(path), 0o700).unwrap_err();
        assert!(matches!(refused, DirectoryError::Link(_)), "{refused}");
    }
    fs::write(temp.path().join("file"), "").unwrap();
    let refused = Directory::open(&temp.path().join("file/state")).unwrap_err();
    assert!(matches!(refused, DirectoryError::NotADirectory(_)), "{refused}");
}

#[test]
fn d03_files_are_neither_read_nor_made_through_links() {
    let temp = tempfile::tempdir().unwrap();
    let directory = Directory::open_or_create(&temp.path().join("state"), 0o700).unwrap();
    fs::write(temp.path().join("outside"), "secret").unwrap();
    symlink("../outside", temp.path().join("state/node.key")).unwrap();
    directory.read("node.key", 100).unwrap_err();
    directory.create("node.key", 0o600).unwrap_err();
    fs::create_dir(temp.path().join("state/identity.json")).unwrap();
    directory.read("identity.json", 100).unwrap_err();
    fs::write(temp.path().join("state/big"), [0; 101]).unwrap();
    directory.read("big", 100).unwrap_err();
    assert_eq!(fs::read(temp.path().join("outside")).unwrap(), b"secret");
}

#[test]
fn relative_and_climbing_paths_are_refused_and_settled_resolves_links_once() {
    for path in ["state", "", "/", "/tmp/../etc"] {
        assert!(matches!(Directory::open(Path::new(path)), Err(DirectoryError::NotAbsolute(_))), "{path}");
    }
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    let settled = settled(&temp.path().join("link/new/state")).unwrap();
    assert_eq!(settled, temp.path().canonicalize().unwrap().join("real/new/state"));
}

#[test]
fn the_deepest_existing_part_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let (found, whole) = Directory::deepest(&temp.path().join("a/b")).unwrap();
    assert_eq!((found.path(), whole), (temp.path(), false));
    let (_, whole) = Directory::deepest(temp.path()).unwrap();
    assert!(whole);
}
