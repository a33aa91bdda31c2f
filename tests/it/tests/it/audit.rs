//! `denizen audit`, beside a running server and at rest; and a server whose audit's trail somebody else has changed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    dev::{Dev, Launch},
    operator::Operator,
    sandbox::{Ended, Sandbox, User, ended},
};

const DATA: Option<i32> = Some(65);
const TRY_AGAIN: Option<i32> = Some(75);

/// What who can write the database can do.
async fn sql(data: &Path, text: &'static str) {
    let conn = rusqlite::Connection::open(data.join("denizen.db")).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    conn.pragma_update(None, "foreign_keys", "OFF").unwrap();
    conn.execute_batch(text).unwrap();
    conn.close().unwrap();
}

async fn audit(sandbox: &Sandbox, data: &Path, words: &[&str]) -> Ended {
    let mut command = sandbox.denizen(User::Ours);
    command.arg("audit").args(words).arg("--data").arg(data);
    ended(command).await
}

/// A secret written: a change.
async fn write(dev: &Dev<'_>, token: &str, name: &str) -> crate::wire::Answer {
    dev.vault("PUT", &format!("/secrets/{name}?api-version=7.6"), Some(token), Some(r#"{"value":"v"}"#)).await
}

/// The files of a database that nobody serves.
fn copy_of(data: &Path) -> Vec<(String, Vec<u8>)> {
    let names = ["denizen.db", "denizen.db-wal"].into_iter().filter(|name| data.join(name).exists());
    names.map(|name| (name.to_owned(), fs::read(data.join(name)).unwrap())).collect()
}

fn put_back(data: &Path, copy: &[(String, Vec<u8>)]) {
    for name in ["denizen.db", "denizen.db-wal", "denizen.db-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
    copy.iter().for_each(|(name, bytes)| fs::write(data.join(name), bytes).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_is_verified_exported_and_its_head_kept_elsewhere() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.data.clone();
    let token = dev.admin_token("https://vault.azure.net").await;
    write(&dev, &token, "one").await.expect(200);
    // Beside the server that writes.
    let head = audit(&sandbox, &data, &["head"]).await.ok();
    assert!(!head.contains('\n'), "{head}");
    let kept = sandbox.home(User::Ours).join("head");
    fs::write(&kept, &head).unwrap();
    let since = ["verify", "--since", kept.to_str().unwrap()];
    let said = audit(&sandbox, &data, &since).await.ok();
    assert!(said.contains(" records are as they were written, from 1 to "), "{said}");
    write(&dev, &token, "two").await.expect(200);
    let held = audit(&sandbox, &data, &["accept"]).await;
    assert_eq!(held.code, TRY_AGAIN, "{held:?}");
    dev.stop().await;
    assert_eq!(fs::metadata(data.join("denizen.db.head")).unwrap().permissions().mode() & 0o777, 0o600);
    // And at rest.
    let said = audit(&sandbox, &data, &since).await.ok();
    let last = audit(&sandbox, &data, &["head"]).await.ok();
    assert!(last != head && said.ends_with(&last), "{said} {last}");
    let seq = |head: &str| serde_json::from_str::<serde_json::Value>(head).unwrap()["seq"].as_u64().unwrap();
    let exported = audit(&sandbox, &data, &["export"]).await.ok();
    let records: Vec<serde_json::Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len() as u64, seq(&last));
    assert!(records.iter().zip(1u64..).all(|(record, seq)| record["seq"] == seq && record["action"].is_string()));
    let from = seq(&head) + 1;
    let tail = audit(&sandbox, &data, &["export", "--from", &from.to_string()]).await.ok();
    assert!(exported.ends_with(&tail) && tail.starts_with(&format!("{{\"seq\":{from},")), "{tail}");
    assert!(audit(&sandbox, &data, &["accept"]).await.ok().contains("nothing to accept"));

    // An edited record is named.
    sql(&data, "UPDATE audit SET lines = replace(lines, 'allowed', 'refused') WHERE seq = 2").await;
    let found = audit(&sandbox, &data, &["verify"]).await;
    assert!(found.code == DATA && found.err.contains("broken at record 2"), "{found:?}");
    // And is not handed out.
    let found = audit(&sandbox, &data, &["export"]).await;
    assert_eq!((found.code, found.out.lines().count()), (DATA, records.len() - 1), "{found:?}");
    let says = ["1 of the chain ", "the first at record 2", "`denizen audit verify --data "];
    assert!(says.iter().all(|says| found.err.contains(says)), "{}", found.err);
    assert!(!found.out.contains("\"seq\":2,"), "{}", found.out);
    sql(&data, "UPDATE audit SET lines = replace(lines, 'refused', 'allowed') WHERE seq = 2").await;
    audit(&sandbox, &data, &["verify"]).await.ok();
    // A head that is none, or was edited, is not taken for one.
    for (text, says) in [("{}".to_owned(), "not a head"), (head.replace("\"seq\":", "\"seq\":1"), "tag")] {
        fs::write(&kept, text).unwrap();
        let found = audit(&sandbox, &data, &since).await;
        assert!(found.code == DATA && found.err.contains(says), "{found:?}");
    }
    let nowhere = audit(&sandbox, &sandbox.path("nowhere"), &["verify"]).await;
    assert!(nowhere.code == DATA && nowhere.err.contains("nowhere"), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_trail_and_an_old_database_are_refused_until_they_are_accepted() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.data.clone();
    dev.stop().await;
    let old = copy_of(&data);
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    write(&dev, &token, "one").await.expect(200);
    dev.stop().await;
    let head = audit(&sandbox, &data, &["head"]).await.ok();
    let kept = sandbox.home(User::Ours).join("head");
    fs::write(&kept, &head).unwrap();
    let attacks: [(&str, &str); 3] = [
        ("cut", "trail was cut"),
        ("removed", "trail was removed"),
        ("old", "older than what this server has written"),
    ];
    for (attack, says) in attacks {
        match attack {
            "cut" => sql(&data, "DELETE FROM audit WHERE seq = (SELECT MAX(seq) FROM audit)").await,
            "removed" => sql(&data, "DELETE FROM audit").await,
            _ => put_back(&data, &old),
        }
        let refused = Launch::new(&sandbox, User::Ours).refused().await;
        let verified = audit(&sandbox, &data, &["verify"]).await;
        for found in [&refused, &verified] {
            assert_eq!(found.code, DATA, "{attack}: {found:?}");
            assert!(found.err.contains(says) && found.err.contains("denizen audit accept"), "{}", found.err);
        }
        let accept = format!("`denizen audit accept --data {}`", data.display());
        assert!(verified.err.contains(&accept), "it cannot be run as it is said: {}", verified.err);
        assert!(!verified.err.contains("denizen audit verify"), "it is what was just run: {}", verified.err);
        let accepted = audit(&sandbox, &data, &["accept"]).await.ok();
        assert!(accepted.contains("accepted") && accepted.contains(says), "{accepted}");
        let verified = audit(&sandbox, &data, &["verify"]).await.ok();
        assert!(verified.contains("were given up by `denizen audit accept` on 2"), "{attack}: {verified}");
        assert!(verified.contains(says), "{attack}: {verified}");
        // Whoever kept a head sees what was accepted here.
        let since = audit(&sandbox, &data, &["verify", "--since", kept.to_str().unwrap()]).await;
        assert!(since.code == DATA && since.err.contains("accepted as lost"), "{attack}: {since:?}");
        let dev = Dev::start(&sandbox).await;
        let token = dev.admin_token("https://vault.azure.net").await;
        write(&dev, &token, attack).await.expect(200);
        dev.stop().await;
        let exported = audit(&sandbox, &data, &["export"]).await.ok();
        let records = exported.lines().filter(|line| line.contains("\"audit/accept\"")).count();
        assert!(records > 0, "{attack}: {exported}");
        audit(&sandbox, &data, &["verify"]).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_removed_under_a_running_server_refuses_writes_in_their_protocol() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    write(&dev, &token, "one").await.expect(200);
    sql(&dev.data, "DELETE FROM audit").await;
    let refused = write(&dev, &token, "two").await.expect(503);
    assert_eq!(refused.text("/error/code"), "ServiceUnavailable");
    assert!(!refused.body.contains("trail") && !refused.body.contains("accept"), "{}", refused.body);
    // Nothing else stops at once.
    dev.vault("GET", "/secrets/one/?api-version=7.6", Some(&token), None).await.expect(200);
    dev.admin_token("https://vault.azure.net").await;
    let log = dev.stderr();
    assert!(log.contains("somebody else has changed the audit's trail"), "{log}");
    assert!(log.contains("denizen audit accept"), "{log}");
    let metrics = dev.wire.get(dev.fact("/metrics_url"), &[]).await.expect(200).body;
    let count = |name: &str| -> u64 {
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(count("denizen_audit_disagreements_total") > 0);
    assert!(count("denizen_audit_chain_bytes") > 0 && count("denizen_audit_spool_free_bytes") > 1024 * 1024);
    assert_eq!(count("denizen_audit_anchor_failures_total"), 0);
    let data = dev.data.clone();
    dev.stop().await;
    let refused = Launch::new(&sandbox, User::Ours).refused().await;
    assert!(refused.code == DATA && refused.err.contains("trail was removed"), "{refused:?}");
    audit(&sandbox, &data, &["accept"]).await.ok();
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    write(&dev, &token, "two").await.expect(200);
}

/// What was done just before a kill is in the spool only; the spool is then made away with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_was_removed_is_a_gap_in_the_audit() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.data.clone();
    dev.stop().await;
    fs::remove_dir_all(data.join("denizen.db.audit")).unwrap();
    let dev = Dev::start(&sandbox).await;
    assert!(dev.stderr().contains("the folder of the audit's spool is missing"), "{}", dev.stderr());
    dev.stop().await;
    let exported = audit(&sandbox, &data, &["export"]).await.ok();
    assert_eq!(exported.lines().filter(|line| line.contains("\"audit/gap\"")).count(), 1);
    audit(&sandbox, &data, &["verify"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_without_its_head_is_verified_and_another_root_key_accepts_nothing() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.data.clone();
    dev.stop().await;
    let head = data.join("denizen.db.head");
    let kept = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    let verified = audit(&sandbox, &data, &["verify"]).await;
    assert!(verified.code == DATA && verified.out.contains(" records are as they were written"), "{verified:?}");
    assert!(
        verified.err.contains(&format!("{}, the file that says", head.display()))
            && !verified.err.contains("denizen audit verify"),
        "{verified:?}"
    );
    fs::create_dir(&head).unwrap();
    let accepted = audit(&sandbox, &data, &["accept"]).await;
    assert!(accepted.code == DATA && accepted.err.contains("remove the folder"), "{accepted:?}");
    fs::remove_dir(&head).unwrap();
    // Another root key, with the head and without.
    let key = data.join("root.key");
    let right = fs::read(&key).unwrap();
    let elsewhere = Sandbox::new().await;
    let other = Dev::start(&elsewhere).await;
    let wrong = fs::read(other.data.join("root.key")).unwrap();
    other.stop().await;
    fs::write(&key, wrong).unwrap();
    for with_head in [false, true] {
        if with_head {
            fs::write(&head, &kept).unwrap();
        }
        let accepted = audit(&sandbox, &data, &["accept"]).await;
        assert!(accepted.code == DATA && accepted.err.contains("root key is not this database's"), "{accepted:?}");
    }
    fs::write(&key, right).unwrap();
    audit(&sandbox, &data, &["verify"]).await.ok();
    // The database itself is gone.
    put_back(&data, &[]);
    let accepted = audit(&sandbox, &data, &["accept"]).await;
    assert!(accepted.code == DATA && accepted.err.contains("nothing to go on from"), "{accepted:?}");
    assert!(!data.join("denizen.db").exists(), "an empty one was put in its place");
    let refused = Launch::new(&sandbox, User::Ours).refused().await;
    assert_eq!(refused.code, DATA, "{refused:?}");
}

/// As the README says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_from_a_running_server_is_restored() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.data.clone();
    let token = dev.admin_token("https://vault.azure.net").await;
    write(&dev, &token, "one").await.expect(200);
    let head = fs::read(data.join("denizen.db.head")).unwrap();
    let copy = sandbox.path("copy.db");
    sql(&data, format!("VACUUM INTO '{}'", copy.display()).leak()).await;
    write(&dev, &token, "two").await.expect(200);
    dev.stop().await;
    let newer = fs::read(data.join("denizen.db.head")).unwrap();
    put_back(&data, &[("denizen.db".to_owned(), fs::read(copy).unwrap())]);
    // Beside the head that is newer it is refused, and with the one that was copied before it, it is not.
    let refused = Launch::new(&sandbox, User::Ours).refused().await;
    assert!(refused.code == DATA && refused.err.contains("older than what this server has written"), "{refused:?}");
    fs::write(data.join("denizen.db.head"), head).unwrap();
    audit(&sandbox, &data, &["verify"]).await.ok();
    fs::write(data.join("denizen.db.head"), newer).unwrap();
    audit(&sandbox, &data, &["accept"]).await.ok();
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    dev.vault("GET", "/secrets/one/?api-version=7.6", Some(&token), None).await.expect(200);
    dev.vault("GET", "/secrets/two/?api-version=7.6", Some(&token), None).await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_no_file_is_neither_waited_for_nor_read_for_ever() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let pipe = sandbox.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    for file in [pipe.to_str().unwrap(), "/dev/zero"] {
        let refused = audit(&sandbox, &dev.data, &["verify", "--since", file]).await;
        assert_eq!(refused.code, Some(65), "{refused:?}");
        assert!(refused.err.contains("not a regular file"), "{}", refused.err);
    }
    dev.stop().await;
}

/// The same of a server that a configuration describes: what is said is what is to be typed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_a_configured_server_names_its_configuration() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let data = operator.path("data");
    let missing = audit(&sandbox, &sandbox.home(User::Ours), &["verify"]).await;
    assert!(missing.code == DATA && missing.err.contains("the --config of a server"), "{missing:?}");
    sql(&data, "DELETE FROM audit WHERE seq = (SELECT MAX(seq) FROM audit)").await;
    let refused = operator.run(&["server"]).await;
    assert!(refused.code == DATA && refused.err.contains("trail was cut"), "{refused:?}");
    assert!(refused.err.contains("the --config FILE of this server"), "{refused:?}");
    let accept = format!("`denizen audit accept --config {}`", operator.path("denizen.toml").display());
    for command in ["verify", "head"] {
        let found = operator.run(&["audit", command]).await;
        assert!(found.code == DATA && found.err.contains("trail was cut"), "{found:?}");
        assert!(found.err.contains(&accept) && !found.err.contains("--data"), "{found:?}");
    }
    operator.run(&["audit", "accept"]).await.ok();
    operator.start().await.stop().await;
    let database = data.join("denizen.db");
    // A file that the engine cannot read is named, whoever reads it.
    let whole = fs::read(&database).unwrap();
    for damaged in [b"no database".repeat(1000), whole[..8192].to_vec()] {
        fs::write(&database, damaged).unwrap();
        for words in [&["server", "--check"][..], &["audit", "verify"], &["audit", "accept"]] {
            let refused = operator.run(words).await;
            let says = ["the data is damaged: ", database.to_str().unwrap(), "`denizen restore`"];
            assert!(
                refused.code == DATA && says.iter().all(|says| refused.err.contains(says)),
                "{words:?}: {refused:?}"
            );
        }
    }
    fs::write(&database, whole).unwrap();
    fs::rename(&database, data.join("aside")).unwrap();
    let missing = operator.run(&["audit", "verify"]).await;
    let says = format!("there is no database at {}", database.display());
    assert!(missing.err.contains(&says) && !missing.err.contains("--data"), "{missing:?}");
}
