//! Configurations and data that a server refuses: all that is wrong at once, each with its place, the rule and the fix.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use denizen_wire::Clock;

use crate::{
    operator::{CONFIG, Operator, mode, write_certificate},
    sandbox::{Ended, NOBODY, Sandbox, User, ended},
};

const DATA: i32 = 65;
const UNAVAILABLE: i32 = 69;
const CANNOT_CREATE: i32 = 73;
const NO_PERMISSION: i32 = 77;
const CONFIGURATION: i32 = 78;

fn refused(ended: &Ended, code: i32, all: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for says in all {
        assert!(ended.err.contains(says), "{says}: {}", ended.err);
    }
    assert!(ended.out.is_empty(), "{ended:?}");
}

/// Both ways to run it refuse the same.
async fn both_refuse(operator: &Operator<'_>, code: i32, all: &[&str]) {
    refused(&operator.check().await, code, all);
    refused(&operator.run(&["server"]).await, code, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_is_a_configuration() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let mut command = sandbox.denizen(User::Ours);
    command.args(["server", "--print-config"]);
    let printed = ended(command).await.ok();
    for key in
        ["listen", "vault_listen", "metrics_listen", "public_url", "vault_url", "vault_suffix", "data_dir", "url"]
    {
        assert!(printed.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{key} = "))), "{key}");
    }
    operator.configure(&printed);
    // As it is it lacks what an operator must bring, and nothing else: nothing of it is unknown.
    let dir = operator.path("none");
    let set = format!("data_dir={}", dir.display());
    let ended = operator.run(&["server", "--check", "--set", &set]).await;
    refused(&ended, CONFIGURATION, &["tls.cert", "root_key.file", "data_dir"]);
    assert!(!ended.err.contains("no such key") && !dir.exists(), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_wrong_is_said_at_once() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let (_, other_key) = write_certificate(&operator.dir, "unused.pem", Clock::system().now().0);
    std::fs::write(operator.path("tls.key"), other_key).unwrap();
    std::fs::set_permissions(operator.path("data/root.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let config =
        CONFIG.replacen("127.0.0.1:0", &taken, 1).replace("drain_seconds = 0", "drain_seconds = \"5\"\nlisten_on = 1");
    operator.configure(&config);
    let mut command = operator.denizen(&["server", "--check", "--set", "log.level=loud"]);
    command
        .env("DENIZEN_VAULT_LISTEN", "everywhere")
        .env("DENIZEN_LISTENN", "x")
        .env("DENIZEN_SERVICE_HOST", "10.0.0.1");
    let in_use = format!("denizen.toml: listen {taken}");
    let all = [
        "denizen.toml: listen_on: there is no such key",
        "denizen.toml: drain_seconds: write a whole number without quotes",
        "DENIZEN_VAULT_LISTEN: write ADDR:PORT",
        "DENIZEN_LISTENN: there is no such key; did you mean DENIZEN_LISTEN?",
        "--set log.level: write error, warn",
        "tls.key: set tls",
        "does not belong to the certificate",
        "chmod 600",
        in_use.as_str(),
        "stop what uses port",
    ];
    let all: Vec<&str> = all.into_iter().filter(|says| !says.starts_with("tls.key: set")).collect();
    let ended = ended(command).await;
    refused(&ended, CONFIGURATION, &all);
    assert!(ended.err.starts_with("denizen: 8 things are wrong:\n"), "{}", ended.err);
    assert!(!ended.err.contains("SERVICE_HOST"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_cannot_be_served_are_refused() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let now = Clock::system().now().0;
    operator.certify("unused.pem", now - 100 * 86_400);
    both_refuse(&operator, CONFIGURATION, &["tls.cert", "expired at 2", "renew it"]).await;
    operator.certify("unused.pem", now + 86_400);
    both_refuse(&operator, CONFIGURATION, &["tls.cert", "not valid before"]).await;
    operator.certify("ca.pem", now);
    let (_, key) = write_certificate(&operator.dir, "unused.pem", now);
    let good = std::fs::read(operator.path("tls.key")).unwrap();
    std::fs::write(operator.path("tls.key"), key).unwrap();
    both_refuse(&operator, CONFIGURATION, &["tls.key", "does not belong to the certificate"]).await;
    std::fs::write(operator.path("tls.key"), "hunter2").unwrap();
    both_refuse(&operator, CONFIGURATION, &["tls.key", "not PEM"]).await;
    assert!(!operator.check().await.err.contains("hunter2"));
    std::fs::remove_file(operator.path("tls.key")).unwrap();
    both_refuse(&operator, CONFIGURATION, &["tls.key", "cannot be read"]).await;
    std::fs::write(operator.path("tls.key"), good).unwrap();
    let open_to =
        |mode| std::fs::set_permissions(operator.path("tls.key"), std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o644, 0o604, 0o602] {
        open_to(mode);
        both_refuse(&operator, CONFIGURATION, &["tls.key", "anybody may read or change it", "chmod o="]).await;
    }
    // A group of its own, as a renewing service needs it.
    open_to(0o640);
    // Names are for clients to check, and something may stand before this server: only --check refuses them.
    let config =
        format!("public_url = \"https://id.example.test\"\nvault_url = \"https://vault.example.test:8444\"\n{CONFIG}");
    operator.configure(&config);
    refused(
        &operator.check().await,
        CONFIGURATION,
        &["the certificate is not for id.example.test", "the certificate is not for main.vault.example.test"],
    );
    let log = operator.start().await.stop().await;
    assert!(log.contains("the certificate is not for id.example.test"), "{log}");
    operator.configure(&CONFIG.replace("key = \"tls.key\"", ""));
    both_refuse(&operator, CONFIGURATION, &["denizen.toml: tls.cert: a certificate needs its private key"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_key_that_is_open_missing_or_anothers_is_refused() {
    let sandbox = Sandbox::new().await;
    let (operator, other) = (Operator::new(&sandbox), Operator::new(&sandbox));
    operator.init().await.ok();
    other.init().await.ok();
    let key = operator.path("data/root.key");
    let (kept, database) = (std::fs::read(&key).unwrap(), std::fs::read(operator.path("data/denizen.db")).unwrap());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    both_refuse(&operator, DATA, &["root_key.file", "chmod 600"]).await;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(&key).unwrap();
    let says =
        [format!("there is no root key at {}", key.display()), "copy the one that you keep elsewhere".to_owned()];
    let says = says.each_ref().map(String::as_str);
    both_refuse(&operator, CONFIGURATION, &[&["root_key.file"], &says[..]].concat()).await;
    for words in [&["audit", "verify"][..], &["backup", "create", "--out", "-"], &["store", "copy", "--to", "sqlite:x"]]
    {
        refused(&operator.run(words).await, CONFIGURATION, &says);
    }
    // No new one is made where there is a database: it would open nothing of it.
    std::fs::remove_file(operator.path("admin.json")).unwrap();
    refused(&operator.init().await, CONFIGURATION, &says);
    assert!(!key.exists() && !operator.path("admin.json").exists());
    std::fs::copy(other.path("data/root.key"), &key).unwrap();
    both_refuse(&operator, DATA, &["written under another root key"]).await;
    refused(&operator.init().await, DATA, &["written under another root key"]);
    std::fs::write(&key, kept).unwrap();
    assert_eq!(std::fs::read(operator.path("data/denizen.db")).unwrap(), database, "nothing was changed");
    operator.check().await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_a_data_directory_that_is_not_ours_is_refused() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let data = operator.path("data");
    both_refuse(&operator, CONFIGURATION, &["data_dir", "denizen init"]).await;
    assert!(!data.exists());

    let elsewhere = operator.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &data).unwrap();
    refused(&operator.init().await, NO_PERMISSION, &["is a link", "data_dir"]);
    std::fs::remove_file(&data).unwrap();
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);

    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("theirs"), "").unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&operator.init().await, NO_PERMISSION, &["is open to others", "data_dir"]);
    assert_eq!((mode(&data), std::fs::read_dir(&data).unwrap().count()), (0o755, 1));
    std::fs::remove_dir_all(&data).unwrap();

    operator.init().await.ok();
    if denizen_skip::is_root() {
        std::os::unix::fs::chown(&data, Some(NOBODY), None).unwrap();
        both_refuse(&operator, DATA, &["root_key.file", "data_dir", &format!("belongs to user {NOBODY}, not to 0")])
            .await;
        std::os::unix::fs::chown(&data, Some(0), None).unwrap();
    }
    operator.check().await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_and_data_that_another_server_has_are_named() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for key in ["listen", "vault_listen", "metrics_listen"] {
        operator.configure(&CONFIG.replace(&format!("\n{key} = \"127.0.0.1:0\""), &format!("\n{key} = \"{taken}\"")));
        let at = format!("denizen.toml: {key} {taken}");
        both_refuse(&operator, UNAVAILABLE, &[&at, "stop what uses port", "or write another"]).await;
    }
    operator.configure(&CONFIG.replace("metrics_listen = \"127.0.0.1:0\"", "metrics_listen = \"0.0.0.0:0\""));
    both_refuse(&operator, CONFIGURATION, &["metrics_listen", "on loopback only"]).await;
    operator.configure(CONFIG);
    let server = operator.start().await;
    both_refuse(&operator, 75, &["another denizen (process "]).await;
    assert!(operator.path("data/admin.sock").exists(), "the running server's socket stays");
    operator.run(&["join-token", "create", "--resource-group", "servers"]).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrators_file_that_cannot_be_written_is_said_before_anything_is_made() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let init = async |out: &Path| {
        let mut command = operator.denizen(&["init"]);
        command.arg("--admin-out").arg(out);
        ended(command).await
    };
    let (directory, link, target) = (operator.path("directory"), operator.path("link"), operator.path("target"));
    std::fs::create_dir(&directory).unwrap();
    symlink(&target, &link).unwrap();
    let there = operator.path("there.json");
    std::fs::write(&there, "another server's").unwrap();
    let under_a_file = there.join("admin.json");
    for (out, says) in [
        (&directory, "this is a directory"),
        (&link, "this is a link"),
        (&there, "there is such a file"),
        (&operator.path("none/admin.json"), "no file can be made there"),
        (&under_a_file, "admin.json"),
    ] {
        refused(&init(out).await, CANNOT_CREATE, &["--admin-out", says]);
        assert!(!operator.path("data").exists(), "{says}: something was made");
    }
    assert!(!target.exists());
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "another server's");
    // Names that break a rule: nothing is set up, and nothing is left beside FILE.
    for (flag, value, says) in [
        ("--vault", "x", "cannot name a vault"),
        ("--resource-group", "a/b", "resource group"),
        ("--tenant-domain", "x", "domain"),
    ] {
        let mut command = operator.init_command();
        command.args([flag, value]);
        refused(&ended(command).await, DATA, &[says]);
        let left: Vec<_> = std::fs::read_dir(&operator.dir).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("admin")), "{left:?}");
    }
    let mut command = operator.init_command();
    command.args(["--vault", "keys", "--resource-group", "rg-1", "--tenant-domain", "contoso.example"]);
    ended(command).await.ok();
    let admin = operator.admin();
    assert_eq!((&admin["vault"], &admin["resource_group"]), (&"keys".into(), &"rg-1".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_without_a_configuration_or_a_database_say_which() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let mut command = sandbox.denizen(User::Ours);
    command.args(["server", "--check"]);
    refused(&ended(command).await, 64, &["--config", "--print-config"]);
    let mut command = sandbox.denizen(User::Ours);
    command.args(["server", "--config", "/nowhere/denizen.toml"]);
    refused(&ended(command).await, CONFIGURATION, &["/nowhere/denizen.toml cannot be read"]);
    let create = ["join-token", "create", "--resource-group", "servers"];
    refused(&operator.run(&create).await, CONFIGURATION, &["there is no database", "denizen init"]);
    assert!(!operator.path("data").exists());
    // The engine is said where it is not in the build, and its URL is not shown.
    let mut command = operator.denizen(&["server", "--check"]);
    command.env("DENIZEN_STORE_URL", "postgres://u:hunter2@127.0.0.1:1/d");
    let ended = ended(command).await;
    assert!(ended.code != Some(0) && !ended.err.contains("hunter2"), "{ended:?}");
}
