//! Starts that are refused: with the reason, a code that says of which kind it is, and nothing damaged.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::{
    dev::{Dev, Launch},
    sandbox::{NOBODY, Sandbox, User, ended},
    start::below,
};

const USAGE: Option<i32> = Some(64);
const DATA: Option<i32> = Some(65);
const UNAVAILABLE: Option<i32> = Some(69);
const CANNOT_CREATE: Option<i32> = Some(73);
const TRY_AGAIN: Option<i32> = Some(75);
const NO_PERMISSION: Option<i32> = Some(77);
const CONFIGURATION: Option<i32> = Some(78);

/// The port in a URL.
fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap().split('/').next().unwrap()
}

async fn still_serves(dev: &Dev<'_>) {
    let token = dev.admin_token("https://vault.azure.net").await;
    dev.vault("GET", "/secrets/hello/?api-version=7.6", Some(&token), None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_one_on_the_same_data_names_the_first() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let before = std::fs::read(dev.data.join("dev.json")).unwrap();
    let refused = Launch::new(&sandbox, User::Ours).refused().await;
    assert_eq!(refused.code, TRY_AGAIN, "{refused:?}");
    let named = format!("another denizen dev (process {}) is using {}", dev.pid(), dev.data.display());
    assert!(refused.err.contains(&named), "{}", refused.err);
    assert_eq!(std::fs::read(dev.data.join("dev.json")).unwrap(), before);
    still_serves(&dev).await;
    // The lock goes with the process, however it ends.
    dev.kill().await;
    Dev::start(&sandbox).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_one_on_the_same_ports_names_the_flag() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let agent = dev.fact("/agent/app_service/identity_endpoint");
    for (flag, taken) in [
        ("--listen", port(dev.fact("/authority"))),
        ("--vault-listen", port(dev.fact("/vault_url"))),
        ("--agent-listen", port(agent)),
        ("--imds-listen", port(dev.fact("/agent/imds_host"))),
        ("--metrics-listen", port(dev.fact("/metrics_url"))),
    ] {
        let second = sandbox.path("second");
        let address = format!("127.0.0.1:{taken}");
        let refused = Launch::new(&sandbox, User::Ours).data(&second).flag(flag, &address).refused().await;
        assert_eq!(refused.code, UNAVAILABLE, "{flag}: {refused:?}");
        assert!(refused.err.contains(&format!("{flag} {address}")), "{flag}: {}", refused.err);
        assert!(refused.err.contains(&format!("{flag} 127.0.0.1:0")), "what mends it: {}", refused.err);
        // Nothing was begun there but the lock.
        let left: Vec<_> = below(&second).into_iter().filter(|path| path.is_file()).collect();
        assert_eq!(left, [second.join("lock")], "{flag}");
    }
    still_serves(&dev).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_in_a_files_place_is_named_and_not_waited_for() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let pipe = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let value = sandbox.path("value");
    pipe(&value);
    let set = dev.denizen(&["secret", "set", "x", "--value-file", value.to_str().unwrap()]).await;
    let set = ended(set).await;
    assert_eq!(set.code, DATA, "{set:?}");
    assert!(set.err.contains(value.to_str().unwrap()) && set.err.contains("not a regular file"), "{}", set.err);
    let data = dev.data.clone();
    dev.stop().await;
    for file in ["lock", "dev.json", "ca.pem", "root.key"] {
        let aside = sandbox.path("aside");
        std::fs::rename(data.join(file), &aside).unwrap();
        pipe(&data.join(file));
        let refused = Launch::new(&sandbox, User::Ours).refused().await;
        assert!(refused.err.contains(file) && refused.err.contains("not a regular file"), "{file}: {}", refused.err);
        std::fs::rename(&aside, data.join(file)).unwrap();
    }
    Dev::start(&sandbox).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_ca_is_not_replaced_by_a_new_one() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (ca, data) = (dev.data.join("ca.pem"), dev.data.clone());
    dev.stop().await;
    let trusted = std::fs::read(&ca).unwrap();
    for (lost, kept) in [("ca.pem", "ca.key.sealed"), ("ca.key.sealed", "ca.pem")] {
        let aside = sandbox.path("aside");
        std::fs::rename(data.join(lost), &aside).unwrap();
        let refused = Launch::new(&sandbox, User::Ours).refused().await;
        assert_eq!(refused.code, DATA, "{lost}: {refused:?}");
        assert!(refused.err.contains("put the missing one back"), "{}", refused.err);
        assert!(data.join(kept).exists() && !data.join(lost).exists(), "{lost}");
        std::fs::rename(&aside, data.join(lost)).unwrap();
    }
    Dev::start(&sandbox).await.stop().await;
    assert_eq!(std::fs::read(&ca).unwrap(), trusted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d35_it_listens_on_loopback_only() {
    let sandbox = Sandbox::new().await;
    for flag in ["--listen", "--vault-listen", "--agent-listen", "--imds-listen", "--metrics-listen"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
            let refused = Launch::new(&sandbox, User::Ours).flag(flag, address).refused().await;
            assert_eq!(refused.code, USAGE, "{flag} {address}: {refused:?}");
            assert!(refused.err.contains(flag) && refused.err.contains("loopback"), "{}", refused.err);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_is_checked() {
    let sandbox = Sandbox::new().await;
    // What runs after `--` is told from an option that is mistyped.
    for (word, said, unsaid) in
        [("python3", "denizen dev -- python3", "--listen"), ("--liste", "'--listen'", "-- --liste")]
    {
        let mut command = sandbox.denizen(User::Ours);
        command.args(["dev", word]);
        let ended = crate::sandbox::ended(command).await;
        assert_eq!(ended.code, USAGE, "{word}: {ended:?}");
        assert!(ended.err.contains(said) && !ended.err.contains(unsaid), "{word}: {}", ended.err);
    }
    for words in [
        &["dev", "--no-such-flag"][..],
        &["dev", "--listen", "localhost"],
        &["dev", "--listen", "127.0.0.2:0"],
        &["no-such-command"],
        &[],
    ] {
        let mut command = sandbox.denizen(User::Ours);
        command.args(words);
        let ended = crate::sandbox::ended(command).await;
        assert_eq!(ended.code, USAGE, "{words:?}: {ended:?}");
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{ended:?}");
    }
    // Where it would keep its data cannot be told.
    let mut command = sandbox.denizen(User::Ours);
    command.arg("dev");
    let ended = crate::sandbox::ended(command).await;
    assert_eq!(ended.code, USAGE, "{ended:?}");
    assert!(ended.err.contains("--data"), "{}", ended.err);
}

/// Tokens for what this server judges by its own issuer cannot name another, and nothing is made before that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entra_is_not_named_for_what_is_served_here() {
    let sandbox = Sandbox::new().await;
    for (resource, why) in [
        ("https://vault.azure.net", "judged by this server itself"),
        ("cfa8b339-82a2-471a-a3c9-0fc0be7a4093", "judged by this server itself"),
        ("https://management.azure.com/", "judged by this server itself"),
        ("https://graph.microsoft.com", "judged by this server itself"),
        ("https://vault.denizen.test:8444", "no resource of Azure's"),
        ("api://orders", "no resource of Azure's"),
    ] {
        let launch = Launch::new(&sandbox, User::Ours).flag("--sts-windows-net-for", resource);
        let ended = launch.refused().await;
        assert_eq!(ended.code, USAGE, "{resource}: {ended:?}");
        assert!(ended.err.contains("--sts-windows-net-for") && ended.err.contains(resource), "{}", ended.err);
        assert!(ended.err.contains(why), "{resource}: {}", ended.err);
        assert!(!sandbox.home(User::Ours).join("data").exists(), "{resource}: a directory was made");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_d03_a_data_directory_that_is_not_ours_alone_is_refused() {
    let sandbox = Sandbox::new().await;
    let real = sandbox.path("real");
    std::fs::create_dir(&real).unwrap();
    let refused = |data: &Path| Launch::new(&sandbox, User::Ours).data(data).refused();

    let link = sandbox.path("link");
    symlink(&real, &link).unwrap();
    let ended = refused(&link).await;
    assert_eq!(ended.code, NO_PERMISSION, "{ended:?}");
    assert!(ended.err.contains("is a link"), "{}", ended.err);
    assert_eq!(below(&real).len(), 1, "it wrote through the link");

    let dangling = sandbox.path("dangling");
    symlink(sandbox.path("nothing"), &dangling).unwrap();
    let ended = refused(&dangling).await;
    assert!([CANNOT_CREATE, NO_PERMISSION].contains(&ended.code), "{ended:?}");
    assert!(!sandbox.path("nothing").exists(), "it made what the link points at");

    let file = sandbox.path("file");
    std::fs::write(&file, "mine").unwrap();
    let ended = refused(&file).await;
    assert_eq!(ended.code, CANNOT_CREATE, "{ended:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");

    if denizen_skip::is_root() {
        let foreign = sandbox.path("foreign");
        std::fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(NOBODY), Some(NOBODY)).unwrap();
        let ended = refused(&foreign).await;
        assert_eq!(ended.code, NO_PERMISSION, "{ended:?}");
        assert!(ended.err.contains(&format!("belongs to user {NOBODY}, not to 0")), "{}", ended.err);
        assert_eq!(below(&foreign).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_a_parent_that_others_can_write_is_refused() {
    let sandbox = Sandbox::new().await;
    let open = sandbox.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let ended = Launch::new(&sandbox, User::Ours).data(&open.join("data")).refused().await;
    assert!([DATA, NO_PERMISSION].contains(&ended.code), "{ended:?}");
    assert!(ended.err.contains(open.to_str().unwrap()), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_key_that_others_could_read_is_not_used_and_not_replaced() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (key, database) = (dev.data.join("root.key"), dev.data.join("denizen.db"));
    dev.stop().await;
    let (key_before, database_before) = (std::fs::read(&key).unwrap(), std::fs::read(&database).unwrap());

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = Launch::new(&sandbox, User::Ours).refused().await;
    assert_eq!(ended.code, DATA, "{ended:?}");
    assert!(ended.err.contains("root.key") || ended.err.contains("root key"), "{}", ended.err);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    // Another root key opens nothing: that is said, and nothing is made anew over what the old one would open.
    std::fs::rename(&key, sandbox.path("root.key.kept")).unwrap();
    let ended = Launch::new(&sandbox, User::Ours).refused().await;
    assert_eq!(ended.code, CONFIGURATION, "{ended:?}");
    std::fs::rename(sandbox.path("root.key.kept"), &key).unwrap();

    assert_eq!(std::fs::read(&key).unwrap(), key_before);
    assert_eq!(std::fs::read(&database).unwrap(), database_before);
    let dev = Dev::start(&sandbox).await;
    still_serves(&dev).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_others_use_is_not_closed_to_them() {
    let sandbox = Sandbox::new().await;
    let shared = sandbox.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::write(shared.join("theirs"), "").unwrap();
    let refused = Launch::new(&sandbox, User::Ours).data(&shared).refused().await;
    assert_eq!(refused.code, NO_PERMISSION, "{refused:?}");
    assert!(refused.err.contains("Name an empty or a new directory"), "{}", refused.err);
    assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_a_lock_that_is_a_link_is_not_followed() {
    let sandbox = Sandbox::new().await;
    let data = sandbox.path("linked");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let precious = sandbox.path("precious");
    std::fs::write(&precious, "precious").unwrap();
    symlink(&precious, data.join("lock")).unwrap();
    let refused = Launch::new(&sandbox, User::Ours).data(&data).refused().await;
    assert_eq!(refused.code, CANNOT_CREATE, "{refused:?}");
    std::fs::remove_file(data.join("lock")).unwrap();
    std::fs::hard_link(&precious, data.join("lock")).unwrap();
    let refused = Launch::new(&sandbox, User::Ours).data(&data).refused().await;
    assert!(refused.err.contains("hard links"), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_descriptors_are_said_before_anything_is_made() {
    let sandbox = Sandbox::new().await;
    let refused = Launch::new(&sandbox, User::Ours).descriptors(200).refused().await;
    assert!(refused.err.contains("ulimit -n"), "{}", refused.err);
}
