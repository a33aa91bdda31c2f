//! What survives: a stop, other ports, a torn manifest, and a kill in the middle of writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use denizen_keys::envelope::RootKey;
use denizen_server::{
    domain::{Actor, Ctx},
    run::{database_in, root_key_in},
    store::{Engine, Outcome, Store, StoreKeys},
};
use denizen_wire::UnixTime;

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User},
};

/// `ADDR:PORT` of a URL.
fn address(url: &str) -> String {
    format!("127.0.0.1:{}", url.rsplit(':').next().unwrap())
}

pub(crate) async fn kids(dev: &Dev<'_>) -> Vec<String> {
    let url = format!("{}/{}/discovery/v2.0/keys", dev.fact("/authority"), dev.fact("/tenant_id"));
    let keys = dev.wire.get(&url, &[]).await.expect(200).json();
    let mut kids: Vec<String> =
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    kids.sort();
    kids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_identities_keys_secrets_and_tokens() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let (authority, vault) = (address(first.fact("/authority")), address(first.fact("/vault_url")));
    let token = first.admin_token("https://vault.azure.net").await;
    first.vault("PUT", "/secrets/kept?api-version=7.6", Some(&token), Some(r#"{"value":"v1"}"#)).await.expect(200);
    let (facts, keys) = (first.facts.clone(), kids(&first).await);
    first.stop().await;

    let again = Launch::new(&sandbox, User::Ours).flag("--listen", &authority).flag("--vault-listen", &vault);
    let second = again.start().await;
    for same in ["/tenant_id", "/subscription_id", "/authority", "/vault_url", "/machine", "/admin", "/secret"] {
        assert_eq!(second.facts.pointer(same), facts.pointer(same), "{same}");
    }
    assert_ne!(
        second.facts.pointer("/agent/app_service/identity_header"),
        facts.pointer("/agent/app_service/identity_header"),
        "a header that was given out is not good for ever"
    );
    assert_eq!(kids(&second).await, keys);
    // What was issued before still opens what was kept before.
    let kept = second.vault("GET", "/secrets/kept/?api-version=7.6", Some(&token), None).await.expect(200);
    assert_eq!(kept.text("/value"), "v1");
    second.stop().await;

    // On other ports the authority has another name; everything else is as it was, and the agent finds it.
    let third = Dev::start(&sandbox).await;
    assert_ne!(third.facts.pointer("/authority"), facts.pointer("/authority"));
    for same in ["/tenant_id", "/machine", "/admin"] {
        assert_eq!(third.facts.pointer(same), facts.pointer(same), "{same}");
    }
    let got = crate::sandbox::ended(third.denizen(&["secret", "get", "kept"]).await).await.ok();
    assert_eq!(got, "v1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_manifest_costs_the_administrators_secret_and_nothing_else() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let (file, facts) = (first.data.join("dev.json"), first.facts.clone());
    let old = first.fact("/admin/client_secret").to_owned();
    first.stop().await;
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();

    let second = Dev::start(&sandbox).await;
    for same in ["/tenant_id", "/machine", "/admin/client_id"] {
        assert_eq!(second.facts.pointer(same), facts.pointer(same), "{same}");
    }
    second.admin_token("https://vault.azure.net").await;
    assert_ne!(second.fact("/admin/client_secret"), old);
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", second.fact("/admin/client_id")),
        ("client_secret", &old),
        ("scope", "https://vault.azure.net/.default"),
    ];
    let refused = second.wire.form(&second.token_url("/v2.0"), &fields).await.expect(401);
    assert_eq!(refused.json()["error_codes"][0], 7_000_215, "{refused:?}");
}

/// Writers keep setting secrets until the server is killed under them. Whatever was acknowledged is there afterwards,
/// and nothing that is there is anything but a value that was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_secret_survives_a_kill() {
    const WRITERS: usize = 4;
    const ENOUGH: usize = 60;
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    let done = AtomicUsize::new(0);
    let writer = |who: usize| {
        let (dev, token, done) = (&dev, &token, &done);
        async move {
            let mut acknowledged = BTreeMap::new();
            for turn in 0.. {
                // Every name is written again and again, so that versions are at stake too.
                let (name, value) = (format!("w{who}-{}", turn % 3), format!("value {who} {turn}"));
                let body = serde_json::json!({ "value": value }).to_string();
                let path = format!("/secrets/{name}?api-version=7.6");
                match dev.try_vault("PUT", &path, Some(token), Some(&body)).await {
                    Ok(answer) => {
                        let id = answer.expect(200).text("/id");
                        acknowledged.insert(id, value);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => break,
                }
            }
            acknowledged
        }
    };
    let killer = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
        while done.load(Ordering::Relaxed) < ENOUGH && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        dev.signal(rustix::process::Signal::KILL);
    };
    let (a, b, c, d, ()) = tokio::join!(writer(0), writer(1), writer(2), writer(3), killer);
    let acknowledged: Vec<(String, String)> = [a, b, c, d].into_iter().flatten().collect();
    assert!(acknowledged.len() >= WRITERS, "the writers did not get to write: {acknowledged:?}");
    let data = dev.data.clone();
    let vault = address(dev.fact("/vault_url"));
    dev.kill().await;

    let dev = Launch::new(&sandbox, User::Ours).flag("--vault-listen", &vault).start().await;
    let token = dev.admin_token("https://vault.azure.net").await;
    for (id, value) in &acknowledged {
        let path = id.strip_prefix(dev.fact("/vault_url")).unwrap();
        let answer = dev.vault("GET", &format!("{path}?api-version=7.6"), Some(&token), None).await.expect(200);
        assert_eq!(&answer.text("/value"), value);
    }
    // And what is there was written whole: it opens, and holds a value somebody sent.
    for who in 0..WRITERS {
        let path = format!("/secrets/w{who}-0/?api-version=7.6");
        let latest = dev.vault("GET", &path, Some(&token), None).await.expect(200);
        assert!(latest.text("/value").starts_with(&format!("value {who} ")), "{latest:?}");
    }
    dev.stop().await;
    let store = open_at_rest(&data).await;
    let records = store.audit_verify().await.unwrap();
    assert!(records as usize >= acknowledged.len(), "{records} audit records for {} writes", acknowledged.len());
    store.close().await;
}

/// Readers read until the server is killed under them. Every value that left has its record, though most of the
/// records were still in the spool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_was_answered_is_recorded_though_the_server_was_killed() {
    const ENOUGH: usize = 200;
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    let answered = AtomicUsize::new(0);
    let reader = || async {
        while let Ok(answer) = dev.try_vault("GET", "/secrets/hello/?api-version=7.6", Some(&token), None).await {
            answer.expect(200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let killer = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while answered.load(Ordering::Relaxed) < ENOUGH && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        dev.signal(rustix::process::Signal::KILL);
    };
    tokio::join!(reader(), reader(), reader(), killer);
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered >= ENOUGH, "only {answered} reads were answered");
    let (data, tenant) = (dev.data.clone(), dev.fact("/tenant_id").parse().unwrap());
    dev.kill().await;

    let store = open_at_rest(&data).await;
    let ctx = Ctx::new(tenant, Actor::System("test"), UnixTime(0), uuid::Uuid::nil());
    let records = store.audit_tail(&ctx, 1_000_000).await.unwrap();
    let reads = records.iter().filter(|it| it.action.ends_with("/getSecret/action") && it.target.contains("/hello/"));
    assert!(reads.clone().all(|it| it.outcome == Outcome::Allowed));
    let (reads, requests) = (reads.clone().count(), reads.map(|it| it.request_id).collect::<BTreeSet<_>>().len());
    assert!(reads >= answered, "{answered} reads were answered, {reads} were recorded");
    assert_eq!(requests, reads, "a record is there twice");
    assert_eq!(store.audit_verify().await.unwrap(), records.len() as u64);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_count_and_name_nobody() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let url = dev.fact("/metrics_url").to_owned();
    let commits = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("denizen_audit_events_total ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = dev.wire.get(&url, &[]).await.expect(200);
    let token = dev.admin_token("https://vault.azure.net").await;
    // A read is answered after its audit record is written, so the count is up by then.
    dev.vault("GET", "/secrets/hello/?api-version=7.6", Some(&token), None).await.expect(200);
    let after = dev.wire.get(&url, &[]).await.expect(200);
    assert!(commits(&after.body) > commits(&before.body), "{before:?} {after:?}");
    for fact in ["/tenant_id", "/machine/client_id", "/admin/client_id"] {
        assert!(!after.body.contains(dev.fact(fact)), "{fact}");
    }
    assert!(after.body.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_does_not_fail_for_want_of_the_first_secret() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let token = first.admin_token("https://vault.azure.net").await;
    let changed = r#"{"value":"mine"}"#;
    first.vault("PUT", "/secrets/hello?api-version=7.6", Some(&token), Some(changed)).await.expect(200);
    first.stop().await;

    let second = Dev::start(&sandbox).await;
    assert_eq!(second.fact("/secret/value"), "mine", "dev.json says what the vault keeps");
    let token = second.admin_token("https://vault.azure.net").await;
    second.vault("DELETE", "/secrets/hello?api-version=7.6", Some(&token), None).await.expect(200);
    second.stop().await;

    let third = Dev::start(&sandbox).await;
    let token = third.admin_token("https://vault.azure.net").await;
    let read = third.vault("GET", "/secrets/hello/?api-version=7.6", Some(&token), None).await.expect(200);
    assert_eq!(read.text("/value"), third.fact("/secret/value"));
    third.stop().await;
}

/// The store in a data directory that no process serves.
async fn open_at_rest(data: &Path) -> Store {
    let root_key = RootKey::load(&root_key_in(data)).unwrap();
    Store::open(Engine::Sqlite { path: database_in(data) }, StoreKeys::of(&root_key)).await.unwrap()
}

/// Killed in its first start between the two files of its CA, with a temporary file half written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_was_killed_is_begun_anew() {
    for left in ["ca.key.sealed", "ca.pem"] {
        let sandbox = Sandbox::new().await;
        let dev = Dev::start(&sandbox).await;
        let data = dev.data.clone();
        dev.stop().await;
        let kept = std::fs::read(data.join(left)).unwrap();
        let root_key = std::fs::read(root_key_in(&data)).unwrap();
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
        for (name, content) in [("root.key", &root_key), (left, &kept)] {
            let file = data.join(name);
            std::fs::write(&file, content).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let temporary = data.join(format!(".ca-bundle.pem.{}", uuid::Uuid::from_u128(7).simple()));
        std::fs::write(&temporary, "half").unwrap();
        let dev = Dev::start(&sandbox).await;
        assert!(!temporary.exists());
        // Now there is a database, and people who trust the CA.
        dev.stop().await;
        std::fs::remove_file(data.join(left)).unwrap();
        let refused = Launch::new(&sandbox, User::Ours).refused().await;
        assert!(refused.err.contains("both are needed"), "{}", refused.err);
    }
}
