//! D-12: an impostor on the agent's port names a file and would like its content. Nothing of it may be sent.

use std::{os::unix::fs::symlink, path::Path, sync::Arc};

use denizen_identity::{credential::ManagedIdentityCredential, error::FailureKind};
use denizen_identity_testkit::{KeyFile, Realm};

use super::{Arcs, get};

const STOLEN: &str = "c3RvbGVu";

/// The attack fails as a challenge does, and no second request is ever sent.
async fn refused(arc: &Arcs, what: &str) {
    let error = get(&*arc.credential(None)).await.expect_err(what);
    assert_eq!(error.failed().map(|f| &f.kind), Some(&FailureKind::Challenge), "{what}: {error}");
    assert!(!error.to_string().contains(STOLEN), "{what}: the content is in the error");
    let requests = arc.endpoint.server().requests();
    assert!(requests.iter().all(|request| request.header("authorization").is_none()), "{what}: something was sent");
    assert!(!requests.is_empty(), "{what}: nobody was asked");
}

#[tokio::test]
async fn d12_no_file_but_the_agents_key_is_sent() {
    for key in [
        KeyFile::Size(4097),
        KeyFile::Size(1 << 20),
        KeyFile::Empty,
        KeyFile::Binary,
        KeyFile::LinkInside,
        KeyFile::LinkOutside,
        KeyFile::Fifo,
        KeyFile::Directory,
        KeyFile::Socket,
        KeyFile::HardLink,
        KeyFile::Extension("txt"),
        KeyFile::Missing,
    ] {
        let arc = Arcs::start().await;
        arc.endpoint.set_quirks(|quirks| quirks.key = key.clone());
        refused(&arc, &format!("{key:?}")).await;
    }
}

#[tokio::test]
async fn d12_no_directory_but_the_agents_is_read() {
    for realm in [Realm::Elsewhere, Realm::Subdirectory, Realm::Roundabout, Realm::Twice] {
        let arc = Arcs::start().await;
        arc.endpoint.set_quirks(|quirks| quirks.realm = realm.clone());
        refused(&arc, &format!("{realm:?}")).await;
    }
    let arc = Arcs::start().await;
    let outside = arc.endpoint.outside().join("x.key");
    std::fs::write(&outside, STOLEN).unwrap();
    let inside = arc.endpoint.key_directory().display().to_string();
    for path in [
        outside.display().to_string(),
        format!("{inside}/../x.key"),
        format!("{inside}//x.key/../../x.key"),
        format!("{inside}/./../x.key"),
        "/etc/shadow.key".into(),
        "/dev/zero".into(),
        "x.key".into(),
        "~/.ssh/id_rsa.key".into(),
        format!("{inside}/a\\..\\x.key"),
    ] {
        arc.endpoint.set_quirks(|quirks| quirks.realm = Realm::Text(format!("Basic realm={path}")));
        refused(&arc, &path).await;
    }
}

/// Whoever can write there can put a file there.
#[tokio::test]
async fn d12_a_directory_that_others_may_write_is_not_the_agents() {
    for mode in [0o777, 0o1777] {
        let arc = Arcs::start().await;
        let writable = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(arc.endpoint.key_directory(), writable).unwrap();
        refused(&arc, &format!("{mode:o}")).await;
    }
}

/// The environment is not always one's own; a server elsewhere has no business with files here.
#[tokio::test]
async fn d12_an_agent_on_another_machine_is_not_asked() {
    let arc = Arcs::start().await;
    let port = arc.endpoint.server().url().rsplit(':').next().unwrap().to_owned();
    for endpoint in [
        "http://agent.example/metadata/identity/oauth2/token".to_owned(),
        "http://192.0.2.1/metadata/identity/oauth2/token".to_owned(),
        // Where somebody would answer.
        format!("http://0.0.0.0:{port}/metadata/identity/oauth2/token"),
        format!("https://localhost:{port}/metadata/identity/oauth2/token"),
    ] {
        let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IMDS_ENDPOINT", "http://localhost")];
        let context = arc.time.context(variables.into()).with_key_directory(arc.endpoint.key_directory());
        let credential = ManagedIdentityCredential::builder().context(context).build().unwrap();
        let error = get(&*credential).await.expect_err(&endpoint);
        assert_eq!(error.failed().map(|f| &f.kind), Some(&FailureKind::Configuration), "{endpoint}: {error}");
        assert!(error.to_string().contains("127.0.0.1 or [::1]"), "{error}");
    }
    assert_eq!(arc.endpoint.server().requests().len(), 0);
}

#[tokio::test]
async fn d12_a_device_is_not_read() {
    let arc = Arcs::start().await;
    let device = arc.endpoint.key_directory().join("zero.key");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &device,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o644),
        rustix::fs::makedev(1, 5),
    );
    if made.is_err() {
        // Only root makes devices.
        return;
    }
    arc.endpoint.set_quirks(|quirks| quirks.realm = Realm::Text(format!("Basic realm={}", device.display())));
    refused(&arc, "device").await;
}

#[tokio::test]
async fn d12_a_file_of_another_user_is_not_sent() {
    if !rustix::process::geteuid().is_root() {
        // Only root gives files away.
        return;
    }
    let arc = Arcs::start().await;
    arc.endpoint.set_quirks(|quirks| quirks.key = KeyFile::OwnedBy(65534));
    refused(&arc, "other owner").await;
}

/// The directory holds now a key and now a link to the loot, as fast as it can be changed. Whatever the client sees,
/// it reads the key or refuses; it never sends the loot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_a_file_swapped_between_check_and_open_is_not_sent() {
    let arc = Arcs::start().await;
    let directory = arc.endpoint.key_directory().to_owned();
    let loot = arc.endpoint.outside().join("loot.key");
    std::fs::write(&loot, STOLEN).unwrap();
    let swapped = directory.join("swapped.key");
    std::fs::write(&swapped, "dHJ1ZQ").unwrap();
    arc.endpoint.set_quirks(|quirks| quirks.realm = Realm::Text(format!("Basic realm={}", swapped.display())));
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (over, directory, swapped) = (Arc::clone(&over), directory.clone(), swapped.clone());
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                swap(&directory, &swapped, |new| symlink(&loot, new).unwrap());
                swap(&directory, &swapped, |new| std::fs::write(new, "dHJ1ZQ").unwrap());
            }
        })
    };
    for _ in 0..200 {
        let _ = get(&*arc.credential(None)).await;
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    let requests = arc.endpoint.server().requests();
    let sent: Vec<_> = requests.iter().filter_map(|request| request.header("authorization")).collect();
    assert!(sent.iter().all(|header| *header == "Basic dHJ1ZQ"), "something else was sent");
    assert!(!sent.is_empty() && sent.len() < 200, "the race was not run: {} of 200 keys read", sent.len());
}

fn swap(directory: &Path, at: &Path, make: impl FnOnce(&Path)) {
    let new = directory.join("new");
    let _ = std::fs::remove_file(&new);
    make(&new);
    std::fs::rename(&new, at).unwrap();
}
