//! What earlier releases left on disk still opens: each folder of `tests/it/earlier` is what a release of that name wrote,
//! with one of everything in it. They are never changed. A test writes the same of this release into
//! `target/tmp/earlier`, and opens it: a release that writes another format is kept by copying that.
//!
//! | in a folder | what it is |
//! |---|---|
//! | `stopped/`, `killed/` | a data directory with SQLite, of a server that was stopped, and of one that was killed while it wrote |
//! | `postgres/`, `postgres.sql` | a replica's data directory, and its database as `pg_dump` wrote it |
//! | `all.backup` | a backup of the first |
//! | `agent/`, `authority` | the state of a machine's agent, and the server's address in it |
//!
//! The root keys in them open nothing else.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use denizen_test_postgres::Cluster;

use crate::{
    backup::{join, machine_token},
    balanced::allow_secrets,
    jwt,
    operator::{CONFIG, Operator},
    sandbox::Sandbox,
};

const VAULT: &str = "https://vault.azure.net";
const SECRET: &str = "/secrets/kept?api-version=7.6";

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("earlier")
}

/// Copies a folder, private to its owner as the server wants it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.is_dir() {
            copy(&entry, &to);
        } else if entry.is_file() {
            fs::write(&to, fs::read(&entry).unwrap()).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// A server on what was kept answers as the one that wrote it did, and goes on.
async fn opens(operator: &Operator<'_>, release: &Path, what: &str) {
    // The administrator's secret may have ended since.
    operator.run(&["init", "--new-secret", "--admin-out", operator.path("admin.json").to_str().unwrap()]).await.ok();
    let server = operator.start().await;
    let admin = operator.admin();
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    let read = server.vault("GET", SECRET, &token, None).await.expect(200);
    assert_eq!(read.text("/value"), "of an earlier release", "{what}");
    server.vault("PUT", SECRET, &token, Some(r#"{"value":"of this release"}"#)).await.expect(200);
    // The machine that joined it.
    let agent = operator.path("agent");
    copy(&release.join("agent"), &agent);
    let before = fs::read_to_string(release.join("authority")).unwrap();
    for entry in fs::read_dir(&agent).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(text) = fs::read_to_string(&path) {
            fs::write(&path, text.replace(before.trim(), &server.authority)).unwrap();
        }
    }
    let of_machine = machine_token(operator, &server).await;
    assert!(jwt::claims(&of_machine)["xms_mirid"].as_str().unwrap().contains("web-1"), "{what}");
    server.vault("GET", SECRET, &of_machine, None).await.expect(200);
    server.stop().await;
    assert!(operator.run(&["audit", "verify"]).await.ok().contains("are as they were written"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_releases_wrote_opens() {
    let sandbox = Sandbox::new().await;
    let cluster = Cluster::start(&[("fsync", "off")]).unwrap();
    let mut releases = 0;
    for release in fs::read_dir(kept()).unwrap() {
        all_opens(&sandbox, &cluster, &release.unwrap().path(), &format!("release_{releases}")).await;
        releases += 1;
    }
    assert!(releases > 0, "nothing was kept");
}

/// Everything in a release's folder opens; its database gets this name.
async fn all_opens(sandbox: &Sandbox, cluster: &Cluster, release: &Path, database: &str) {
    let name = release.file_name().unwrap().to_str().unwrap();
    for what in ["stopped", "killed"] {
        let operator = Operator::new(sandbox);
        copy(&release.join(what), &operator.path("data"));
        opens(&operator, release, &format!("{name}/{what}")).await;
    }
    let operator = Operator::new(sandbox);
    copy(&release.join("postgres"), &operator.path("data"));
    cluster.create(database).unwrap();
    cluster.load(database, &release.join("postgres.sql")).unwrap();
    operator.configure(&format!("{CONFIG}\n[store]\nurl = \"{}\"\n", cluster.url(database)));
    opens(&operator, release, &format!("{name}/postgres")).await;
    let operator = Operator::new(sandbox);
    fs::create_dir(operator.path("data")).unwrap();
    fs::set_permissions(operator.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(operator.path("data/root.key"), fs::read(release.join("stopped/root.key")).unwrap()).unwrap();
    fs::set_permissions(operator.path("data/root.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let backup = release.join("all.backup");
    operator.run(&["backup", "verify", backup.to_str().unwrap()]).await.ok();
    operator.run(&["restore", backup.to_str().unwrap()]).await.ok();
    opens(&operator, release, &format!("{name}/all.backup")).await;
}

/// One of everything.
async fn fill(operator: &Operator<'_>) {
    operator.init().await.ok();
    let server = operator.start().await;
    let admin = operator.admin();
    allow_secrets(operator).await;
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    server
        .vault("PUT", SECRET, &token, Some(r#"{"value":"of an earlier release","tags":{"a":"b"}}"#))
        .await
        .expect(200);
    server.vault("PUT", "/secrets/gone?api-version=7.6", &token, Some(r#"{"value":"x"}"#)).await.expect(200);
    server.vault("DELETE", "/secrets/gone?api-version=7.6", &token, None).await.expect(200);
    let machine = join(operator, &server).await;
    let scope = format!("/subscriptions/{}", admin["subscription_id"].as_str().unwrap());
    let role = ["role", "assignment", "create", "--role", "Key Vault Secrets User", "--scope", &scope];
    operator.run(&[&role[..], &["--assignee", &machine]].concat()).await.ok();
    operator.run(&["join-token", "create", "--resource-group", "servers"]).await.ok();
    operator.run(&["signing-key", "rotate"]).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_release_writes_opens_and_can_be_kept() {
    let release = Path::new(env!("CARGO_TARGET_TMPDIR")).join("earlier").join(env!("CARGO_PKG_VERSION"));
    let _ = fs::remove_dir_all(&release);
    fs::create_dir_all(&release).unwrap();
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    fill(&operator).await;
    let keep = |from: &str, to: &str| {
        copy(&operator.path(from), &release.join(to));
        let _ = fs::remove_file(release.join(to).join("admin.sock"));
    };
    keep("data", "stopped");
    keep("agent", "agent");
    let backup = release.join("all.backup");
    operator.run(&["backup", "create", "--out", backup.to_str().unwrap()]).await.ok();
    let server = operator.start().await;
    let token = server.admin_token(&operator.admin(), VAULT).await.expect(200).text("/access_token");
    for n in 0..8 {
        let path = format!("/secrets/s{n}?api-version=7.6");
        server.vault("PUT", &path, &token, Some(r#"{"value":"x"}"#)).await.expect(200);
        server.vault("GET", &path, &token, None).await.expect(200);
    }
    server.kill().await;
    keep("data", "killed");
    let authority = authority_of(&operator.path("agent"));
    fs::write(release.join("authority"), authority).unwrap();

    let cluster = Cluster::start(&[("fsync", "off")]).unwrap();
    cluster.create("denizen").unwrap();
    let mut copying = operator.denizen(&["store", "copy"]);
    copying.env("DENIZEN_COPY_TO", cluster.url("denizen"));
    crate::sandbox::ended(copying).await.ok();
    keep("data", "postgres");
    for file in ["denizen.db", "denizen.db-wal", "denizen.db-shm", "denizen.db.head", "denizen.db.lock"] {
        let _ = fs::remove_file(release.join("postgres").join(file));
    }
    let _ = fs::remove_dir_all(release.join("postgres/denizen.db.audit"));
    fs::write(release.join("postgres.sql"), cluster.dump("denizen").unwrap()).unwrap();
    all_opens(&sandbox, &cluster, &release, "again").await;
}

/// The server's address, as an agent keeps it.
fn authority_of(agent: &Path) -> String {
    let texts = fs::read_dir(agent).unwrap().filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let found = texts.flat_map(|text| {
        let parts = text.split('"').map(str::to_owned).collect::<Vec<_>>();
        parts.into_iter().find(|part| part.starts_with("https://localhost:"))
    });
    found.map(|url| url.trim_end_matches('/').to_owned()).next().expect("an agent keeps its server's address")
}
