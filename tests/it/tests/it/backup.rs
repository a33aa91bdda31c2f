//! The restore drill: backup beside a running server, the data destroyed, everything there again; a restore that is killed;
//! the way to PostgreSQL and back.

use std::{os::unix::fs::DirBuilderExt as _, path::Path, process::Stdio, time::Duration};

use denizen_test_postgres::Cluster;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{sleep, timeout},
};

use crate::{
    jwt,
    operator::{Operator, Running, at_ports, mode},
    sandbox::{Sandbox, TIMEOUT, User, ended},
    wire::encoded,
};

const VAULT: &str = "https://vault.azure.net";

fn path_of(secret: &str) -> String {
    format!("/secrets/{secret}?api-version=7.6")
}

/// Set up, started, and the administrator may write secrets; its token.
async fn started<'s>(operator: &Operator<'s>) -> (Running<'s>, Value, String) {
    operator.init().await.ok();
    let server = operator.start().await;
    // The next one listens where clients look for it.
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    operator.configure(&at_ports(port(&server.authority), port(&server.vault_url)));
    let admin = operator.admin();
    give(operator, &admin, admin["object_id"].as_str().unwrap(), "Key Vault Secrets Officer").await;
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    (server, admin, token)
}

async fn give(operator: &Operator<'_>, admin: &Value, assignee: &str, role: &str) {
    let scope = format!("/subscriptions/{}", admin["subscription_id"].as_str().unwrap());
    operator
        .run(&["role", "assignment", "create", "--assignee", assignee, "--role", role, "--scope", &scope])
        .await
        .ok();
}

async fn put(server: &Running<'_>, token: &str, name: &str, value: &str) {
    let body = format!(r#"{{"value":"{value}"}}"#);
    server.vault("PUT", &path_of(name), token, Some(&body)).await.expect(200);
}

/// A machine joins; its object id.
pub(crate) async fn join(operator: &Operator<'_>, server: &Running<'_>) -> String {
    let token = operator.run(&["join-token", "create", "--resource-group", "servers"]).await.ok();
    let (file, state) = (operator.path("join-token"), operator.path("agent"));
    std::fs::write(&file, token).unwrap();
    let words = ["connect", "--name", "web-1", "--server", &server.authority];
    let rest = ["--join-token-file", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let joined = ended(server.agent(&[&words[..], &rest].concat())).await.ok();
    joined.lines().find_map(|line| line.strip_prefix("object id")).unwrap().trim().to_owned()
}

/// A token that the machine's agent, started anew, gets.
pub(crate) async fn machine_token(operator: &Operator<'_>, server: &Running<'_>) -> String {
    let (header, state) = (operator.path("header"), operator.path("agent"));
    std::fs::write(&header, "a-header-for-one-workload\n").unwrap();
    let words = ["run", "--no-arc", "--listen", "127.0.0.1:0", "--state-dir", state.to_str().unwrap()];
    let mut command = server.agent(&words);
    command.arg("--app-service-header-file").arg(&header).stdout(Stdio::piped());
    let mut agent = command.spawn().unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let endpoint = loop {
        let line = timeout(TIMEOUT, lines.next_line()).await.unwrap().unwrap().expect("the agent ended");
        if line.starts_with("app service") {
            break line.split_whitespace().last().unwrap().to_owned();
        }
    };
    let url = format!("{endpoint}?api-version=2019-08-01&resource={}", encoded(VAULT));
    let answer = server.wire.get(&url, &[("X-IDENTITY-HEADER", "a-header-for-one-workload")]).await.expect(200);
    agent.start_kill().unwrap();
    answer.text("/access_token")
}

/// Removes the data directory, and puts back the root key, which was kept elsewhere.
fn destroy(operator: &Operator<'_>, root_key: &[u8]) {
    let data = operator.path("data");
    if data.exists() {
        std::fs::remove_dir_all(&data).unwrap();
    }
    std::fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    write_private(&data.join("root.key"), root_key);
}

fn write_private(path: &Path, bytes: &[u8]) {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_server_is_restored_from_its_backup() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let (server, admin, token) = started(&operator).await;
    put(&server, &token, "kept", "before the backup").await;
    let machine = join(&operator, &server).await;
    give(&operator, &admin, &machine, "Key Vault Secrets User").await;

    let file = operator.path("all.backup");
    let out = ["backup", "create", "--out", file.to_str().unwrap()];
    let made = operator.run(&out).await.ok();
    assert!(made.starts_with("made the backup ") && made.contains(" 1 machines"), "{made}");
    assert!(made.contains("\n   nothing in ") && made.contains("role_definitions") && !made.contains(" 0 "), "{made}");
    assert_eq!(mode(&file), 0o600);
    let refused = operator.run(&out).await;
    assert!(refused.code == Some(73) && refused.err.contains("name a new file"), "{refused:?}");
    let left = std::fs::read_dir(&operator.dir).unwrap().flatten();
    assert!(!left.map(|it| it.file_name()).any(|name| name.to_string_lossy().starts_with(".all.backup")));
    put(&server, &token, "lost", "after the backup").await;
    // The audit says that everything was taken out.
    let exported = operator.run(&["audit", "export"]).await.ok();
    let id = made.split_whitespace().nth(3).unwrap();
    assert!(exported.lines().any(|line| line.contains("audit/backup") && line.contains(id)), "{exported}");

    // Who has the file alone reads its header and nothing else.
    let verified = operator.run(&["backup", "verify", file.to_str().unwrap()]).await.ok();
    assert!(verified.starts_with("every row is as it was written"), "{verified}");
    let mut inspect = sandbox.denizen(User::Ours);
    inspect.args(["backup", "inspect"]).arg(&file);
    let header: Value = serde_json::from_str(&ended(inspect).await.ok()).unwrap();
    assert_eq!(header["id"], id);
    // A file that is none, or damaged, is named.
    let (none, cut) = (operator.path("none.backup"), operator.path("cut.backup"));
    std::fs::write(&none, "no backup at all, and as long as the beginning of one").unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let empty = operator.path("empty.backup");
    std::fs::write(&empty, "").unwrap();
    for (file, says) in
        [(&none, "no backup of Denizen"), (&cut, "it ends within frame"), (&empty, "it is empty: whatever should have")]
    {
        let refused = operator.run(&["backup", "verify", file.to_str().unwrap()]).await;
        let named = format!("denizen: {}: ", file.display());
        assert!(refused.code == Some(65) && refused.err.starts_with(&named), "{refused:?}");
        assert!(refused.err.contains(says), "{refused:?}");
    }
    let held = operator.run(&["restore", file.to_str().unwrap()]).await;
    assert!(held.code == Some(75) && held.err.contains("another denizen"), "{held:?}");
    let later = operator.run(&["audit", "head"]).await.ok();
    server.kill().await;

    let root_key = std::fs::read(operator.path("data/root.key")).unwrap();
    // Another root key opens nothing.
    destroy(&operator, &[7; 32]);
    let refused = operator.run(&["restore", file.to_str().unwrap()]).await;
    assert!(refused.code == Some(65) && refused.err.contains("another root key"), "{refused:?}");
    destroy(&operator, &root_key);
    let refused = operator.run(&["restore", cut.to_str().unwrap()]).await;
    assert!(
        refused.code == Some(65) && refused.err.starts_with(&format!("denizen: {}: ", cut.display())),
        "{refused:?}"
    );
    let restored = operator.run(&["restore", file.to_str().unwrap()]).await.ok();
    assert!(restored.contains("a server may be started on it"), "{restored}");
    let again = operator.run(&["restore", file.to_str().unwrap()]).await.ok();
    assert!(again.contains("by an earlier run"), "{again}");

    let server = operator.start().await;
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    let kept = server.vault("GET", &path_of("kept"), &token, None).await.expect(200);
    assert_eq!(kept.text("/value"), "before the backup");
    server.vault("GET", &path_of("lost"), &token, None).await.expect(404);
    let token = machine_token(&operator, &server).await;
    assert_eq!(jwt::claims(&token)["oid"], machine.as_str());
    server.vault("GET", &path_of("kept"), &token, None).await.expect(200);
    let log = server.stop().await;
    assert!(!log.contains("missing"), "{log}");

    let verified = operator.run(&["audit", "verify"]).await.ok();
    assert!(verified.contains("are as they were written") && verified.contains(id), "{verified}");
    assert!(verified.contains("what was written after it is missing"), "{verified}");
    let head = operator.path("later.head");
    std::fs::write(&head, later).unwrap();
    let refused = operator.run(&["audit", "verify", "--since", head.to_str().unwrap()]).await;
    assert!(refused.code == Some(65) && refused.err.contains("A backup was restored on"), "{refused:?}");

    // There is data now, which another backup does not overwrite.
    let second = operator.path("second.backup");
    operator.run(&["backup", "create", "--out", second.to_str().unwrap()]).await.ok();
    let refused = operator.run(&["restore", second.to_str().unwrap()]).await;
    assert!(refused.code == Some(65) && refused.err.contains("was not touched"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_is_run_again() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let (server, admin, token) = started(&operator).await;
    for n in 0..40 {
        put(&server, &token, &format!("s{n}"), &"x".repeat(20_000)).await;
    }
    let file = operator.path("all.backup");
    operator.run(&["backup", "create", "--out", file.to_str().unwrap()]).await.ok();
    server.stop().await;
    let root_key = std::fs::read(operator.path("data/root.key")).unwrap();
    let restore = ["restore", file.to_str().unwrap()];
    let (mut killed, mut done) = (0, 0);
    for wait in (0..24).map(|step| Duration::from_millis(4 * step)) {
        destroy(&operator, &root_key);
        let mut child = operator.denizen(&restore).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(wait).await;
        let _ = child.start_kill();
        match timeout(TIMEOUT, child.wait()).await.unwrap().unwrap().code() {
            Some(0) => done += 1,
            _ => killed += 1,
        }
        operator.run(&restore).await.ok();
        assert!(operator.run(&["audit", "verify"]).await.ok().contains("are as they were written"), "{wait:?}");
    }
    assert!(killed > 8, "hardly one was killed: {killed} of {}", killed + done);
    let server = operator.start().await;
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    server.vault("GET", &path_of("s39"), &token, None).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_moves_to_postgresql() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let (server, admin, token) = started(&operator).await;
    put(&server, &token, "kept", "on SQLite").await;
    let machine = join(&operator, &server).await;
    give(&operator, &admin, &machine, "Key Vault Secrets User").await;
    let cluster = Cluster::start(&[("fsync", "off")]).unwrap();
    cluster.create("denizen").unwrap();
    let url = cluster.url("denizen");
    let held = operator.run(&["store", "copy", "--to", &url]).await;
    assert!(held.code == Some(75) && held.err.contains("another denizen"), "{held:?}");
    server.stop().await;
    // What is wrong with the other database's URL is said of the option that names it.
    for (bad, rule) in [("mysql://db/x", "write sqlite:PATH or postgres://"), ("sqlite:", "the path of a file")] {
        let mut by_variable = operator.denizen(&["store", "copy"]);
        by_variable.env("DENIZEN_COPY_TO", bad);
        for (refused, option) in [
            (operator.run(&["store", "copy", "--to", bad]).await, "denizen: --to: "),
            (ended(by_variable).await, "denizen: DENIZEN_COPY_TO: "),
        ] {
            assert!(refused.code == Some(78) && refused.err.starts_with(option), "{refused:?}");
            assert!(refused.err.contains(rule) && !refused.err.contains("--set"), "{refused:?}");
        }
    }
    let mut copy = operator.denizen(&["store", "copy"]);
    copy.env("DENIZEN_COPY_TO", &url);
    let copied = ended(copy).await;
    assert!(!copied.out.contains(&url) && !copied.err.contains(&url), "{copied:?}");
    let copied = copied.ok();
    assert!(copied.contains("checked there") && copied.contains("set store.url"), "{copied}");
    let twice = operator.run(&["store", "copy", "--to", &url]).await;
    assert!(twice.code == Some(65) && twice.err.contains("was not touched"), "{twice:?}");

    // Two deployments would give tokens for one tenant: neither a server nor a command goes on with the old one.
    let note = operator.path("data/denizen.db.copied");
    for words in [&["server"][..], &["server", "--check"], &["join-token", "create", "--resource-group", "servers"]] {
        let refused = operator.run(words).await;
        assert_eq!(refused.code, Some(65), "{words:?}: {refused:?}");
        let says = ["copied from here to the PostgreSQL database denizen at ", "` on 2", &note.display().to_string()];
        assert!(says.iter().all(|says| refused.err.contains(says)), "{words:?}: {}", refused.err);
    }
    // It can be copied once more, and the copy that was made last is gone on with.
    cluster.create("second").unwrap();
    let url = cluster.url("second");
    operator.run(&["store", "copy", "--to", &url]).await.ok();
    // Back, on purpose.
    std::fs::remove_file(&note).unwrap();
    operator.check().await.ok();

    let config = std::fs::read_to_string(operator.path("denizen.toml")).unwrap();
    operator.configure(&format!("{config}\n[store]\nurl = \"{url}\"\n"));
    let server = operator.start().await;
    let token = machine_token(&operator, &server).await;
    assert_eq!(jwt::claims(&token)["oid"], machine.as_str());
    let kept = server.vault("GET", &path_of("kept"), &token, None).await.expect(200);
    assert_eq!(kept.text("/value"), "on SQLite");
    let file = operator.path("postgres.backup");
    operator.run(&["backup", "create", "--out", file.to_str().unwrap()]).await.ok();
    server.stop().await;
    let verified = operator.run(&["audit", "verify"]).await.ok();
    assert!(verified.contains("everything was copied from sqlite"), "{verified}");
    // And back, from the backup, to a file.
    operator.configure(&config);
    std::fs::rename(operator.path("data"), operator.path("before")).unwrap();
    destroy(&operator, &std::fs::read(operator.path("before/root.key")).unwrap());
    operator.run(&["restore", file.to_str().unwrap()]).await.ok();
    let server = operator.start().await;
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    server.vault("GET", &path_of("kept"), &token, None).await.expect(200);
    server.stop().await;
}
