use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// Everything that may stand where a file should, other than a file.
fn strangers(folder: &Path) -> Vec<PathBuf> {
    let target = folder.join("target");
    fs::write(&target, "theirs").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&target, folder.join("link")).unwrap();
    symlink(folder.join("nowhere"), folder.join("dangling")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), FileType::Fifo, OWNER, 0).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    ["link", "dangling", "fifo", "folder"].map(|name| folder.join(name)).into()
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for path in strangers(folder.path()) {
        assert!(private(&path).is_err(), "{path:?}");
        assert!(regular_or_absent(&path).is_err(), "{path:?}");
        assert!(read_small(&path).is_err(), "{path:?}");
    }
    let target = folder.path().join("target");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o644, "a link's target was touched");
    assert!(!folder.path().join("nowhere").exists(), "a file was made through a link");
    let (inside, made) = Folder::open(folder.path()).unwrap();
    assert!(!made);
    for name in ["link", "dangling", "fifo", "folder"] {
        assert!(inside.read(name, 9).is_err() && inside.empty(name).is_err(), "{name}");
        assert!(inside.cut(name, 0).is_err() && inside.write(name, b"x").is_err(), "{name}");
        assert!(!inside.has_regular(name), "{name}");
    }
    assert_eq!(fs::read_to_string(target).unwrap(), "theirs");
}

#[test]
fn a_file_is_replaced_and_a_link_in_its_place_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (target, path) = (folder.path().join("target"), folder.path().join("file"));
    fs::write(&target, "theirs").unwrap();
    symlink(&target, &path).unwrap();
    // And one where the new text is written first.
    symlink(&target, folder.path().join("file.new")).unwrap();
    replace(&path, "ours").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
    assert_eq!(read_small(&path).unwrap().as_deref(), Some("ours"));
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_folder_is_not_followed_nor_is_the_mode_of_what_a_link_names_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&target, &link).unwrap();
    let refused = Folder::open(&link).err().unwrap();
    assert!(refused.to_string().contains("link"), "{refused}");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(Folder::open(&folder.path().join("file")).is_err());
}

#[test]
fn a_folder_knows_whether_it_and_its_files_were_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let (held, made) = Folder::open(&path).unwrap();
    let file = held.empty("x").unwrap();
    assert!(made && held.is_at_its_path() && held.has("x", &file));
    fs::remove_file(path.join("x")).unwrap();
    assert!(!held.has("x", &file));
    fs::write(path.join("x"), "another").unwrap();
    assert!(!held.has("x", &file));
    assert!(held.empty("x").is_err(), "it is not empty");
    fs::rename(&path, folder.path().join("g")).unwrap();
    assert!(!held.is_at_its_path());
    fs::create_dir(&path).unwrap();
    assert!(!held.is_at_its_path());
}
