//! Whoever can write the database, or set the clock, and has not the root key: the start is refused or wary, and says what
//! to do.

use std::path::Path;

use denizen_keys::envelope::RootKey;
use denizen_server::run::{Server, database_in, root_key_in};
use denizen_wire::{Clock, UnixTime};
use tokio::process::Command;

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User, ended},
};

/// Bad data, of sysexits.
const DATA: Option<i32> = Some(65);
const DAY: i64 = 24 * 3600;

/// Runs SQL on the database of a data directory, past the server.
async fn sql(data: &Path, text: &str) {
    const SCRIPT: &str = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
         c.execute('ATTACH ? AS side', (sys.argv[1] + '.side',)); c.executescript(sys.argv[2]); c.close()";
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(database_in(data)).arg(text);
    ended(command).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_edited_is_refused_with_the_row_named() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (data, client) = (dev.data.clone(), dev.fact("/admin/client_id").to_owned());
    dev.stop().await;
    sql(&data, "CREATE TABLE side.kept_role_assignments AS SELECT * FROM role_assignments").await;
    for (attack, named, says) in [
        (
            // The attack of the run: one more signing key, whose private half the intruder has.
            "INSERT INTO signing_keys SELECT tenant, 'intruder', body, revision, tag FROM signing_keys LIMIT 1",
            "signing key intruder",
            "does not carry its tag",
        ),
        (
            // One more role assignment.
            "INSERT INTO role_assignments SELECT tenant, 'f0000000-0000-4000-8000-000000000009', body, revision, tag \
             FROM role_assignments LIMIT 1",
            "role assignment f0000000-0000-4000-8000-000000000009",
            "does not carry its tag",
        ),
        ("DELETE FROM role_assignments", "role assignment", "is missing"),
        ("UPDATE secrets SET latest = 'x'", "/secrets/hello", "does not carry its tag"),
        ("UPDATE one_time SET used_at = NULL", "join token", "does not carry its tag"),
        ("DELETE FROM head", "the database's head", "is missing"),
    ] {
        sql(
            &data,
            &format!(
                "CREATE TABLE side.good_signing_keys AS SELECT * FROM signing_keys;
            CREATE TABLE side.good_secrets AS SELECT * FROM secrets; CREATE TABLE side.good_one_time AS SELECT * FROM one_time;
            CREATE TABLE side.good_head AS SELECT * FROM head; {attack}"
            ),
        )
        .await;
        let refused = Launch::new(&sandbox, User::Ours).refused().await;
        assert_eq!(refused.code, DATA, "{attack}: {refused:?}");
        let fix = "restore the whole data directory from a backup";
        for part in [named, says, fix] {
            assert!(refused.err.contains(part), "{attack}: no '{part}' in: {}", refused.err);
        }
        for table in ["signing_keys", "secrets", "one_time", "head"] {
            sql(
                &data,
                &format!(
                    "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM good_{table}; DROP TABLE good_{table}"
                ),
            )
            .await;
        }
        sql(&data, "DELETE FROM role_assignments; INSERT INTO role_assignments SELECT * FROM kept_role_assignments")
            .await;
    }
    // As it was, it starts.
    let dev = Dev::start(&sandbox).await;
    assert_eq!(dev.fact("/admin/client_id"), client);
    // While it runs, a secret that is lost is a failure, and not one that was never there.
    let token = dev.admin_token("https://vault.azure.net").await;
    dev.vault("PUT", "/secrets/lost?api-version=7.6", Some(&token), Some(r#"{"value":"v"}"#)).await.expect(200);
    dev.vault("GET", "/secrets/never/?api-version=7.6", Some(&token), None).await.expect(404);
    sql(&data, "DELETE FROM secret_versions WHERE name = 'lost'; DELETE FROM secrets WHERE name = 'lost'").await;
    let lost = dev.vault("GET", "/secrets/lost/?api-version=7.6", Some(&token), None).await.expect(500);
    assert_eq!(lost.json()["error"]["code"], "InternalServerError");
    assert!(dev.stderr().contains("/secrets/lost"), "the log names the row: {}", dev.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumped_is_told_and_can_be_confirmed() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.data.clone();
    let trusted = async |dev: &Dev<'_>| {
        let metrics = dev.wire.get(dev.fact("/metrics_url"), &[]).await.expect(200).body;
        metrics.lines().find_map(|line| line.strip_prefix("denizen_clock_trusted ").map(str::to_owned)).unwrap()
    };
    assert_eq!(trusted(&dev).await, "1");
    dev.stop().await;
    // The server of 100 days ago.
    let then = Clock::manual(UnixTime(Clock::system().now().0 - 100 * DAY));
    let root_key = RootKey::load(&root_key_in(&data)).unwrap();
    let server = Server::open_at_rest(&data, root_key, "https://localhost", then).await.unwrap();
    server.confirm_clock().await.unwrap();
    server.store.close().await;

    let dev = Dev::start(&sandbox).await;
    assert_eq!(trusted(&dev).await, "0");
    assert!(dev.stderr().contains("--confirm-clock"), "{}", dev.stderr());
    dev.stop().await;
    let dev = Launch::new(&sandbox, User::Ours).switch("--confirm-clock").start().await;
    assert_eq!(trusted(&dev).await, "1");
    dev.stop().await;
    let dev = Dev::start(&sandbox).await;
    assert_eq!(trusted(&dev).await, "1");
    assert!(!dev.stderr().contains("--confirm-clock"), "{}", dev.stderr());
}
