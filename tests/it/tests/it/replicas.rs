//! Real servers over one PostgreSQL: whatever was acknowledged is there at the end, whoever was killed meanwhile; who has seen a
//! state is answered by it; and a database that stops takes no token away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use denizen_test_postgres::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::{
    operator::{Operator, Running},
    sandbox::{Sandbox, TIMEOUT},
    wire::Answer,
};

const VAULT: &str = "https://vault.azure.net";
const REVISION: &str = "x-denizen-revision";

/// A database, and the directories of two replicas.
struct Deployment<'s> {
    cluster: Arc<Cluster>,
    replicas: [Operator<'s>; 2],
}

impl<'s> Deployment<'s> {
    async fn new(sandbox: &'s Sandbox) -> Self {
        let cluster = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::start(&[]).unwrap();
            cluster.create("denizen").unwrap();
            cluster
        });
        let cluster = Arc::new(cluster.await.unwrap());
        let first = Operator::new(sandbox);
        let replicas = [first, Operator::new(sandbox)];
        let key = replicas[0].path("root.key");
        for replica in &replicas {
            // Both are called by the same names; here each is asked at its own port.
            replica.configure(&format!(
                "listen = \"127.0.0.1:0\"\nvault_listen = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n\
                 public_url = \"https://localhost:1\"\nvault_url = \"https://localhost:1\"\ndata_dir = \"data\"\n\
                 drain_seconds = 0\n[tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n[root_key]\nfile = \"{}\"\n\
                 [store]\nurl = \"{}\"\n",
                key.display(),
                cluster.url("denizen"),
            ));
        }
        Self { cluster, replicas }
    }

    /// Made, with both replicas running and an administrator who may write secrets; a token of his.
    async fn started(sandbox: &'s Sandbox) -> (Self, Running<'s>, Running<'s>, String) {
        let deployment = Self::new(sandbox).await;
        let [one, two] = &deployment.replicas;
        one.init().await.ok();
        let (first, second) = (one.start().await, two.start().await);
        let admin = one.admin();
        let text = |name: &str| admin[name].as_str().unwrap().to_owned();
        let (scope, assignee) = (format!("/subscriptions/{}", text("subscription_id")), text("object_id"));
        let role = "Key Vault Secrets Officer";
        let words = ["role", "assignment", "create", "--role", role, "--scope", &scope, "--assignee", &assignee];
        two.run(&words).await.ok();
        let token = second.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
        // The role was given at the second: the first follows, and is not asked to be as new by what comes next.
        let mut follows = 0;
        while put(&first, &token, "first", "follows").await.status == 403 {
            follows += 1;
            assert!(follows < 200, "the first replica does not follow");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        (deployment, first, second, token)
    }

    async fn verify(&self) {
        for replica in &self.replicas {
            let said = replica.run(&["audit", "verify"]).await.ok();
            assert_eq!(said.matches("are as they were written").count(), 2, "{said}");
        }
    }
}

fn path(name: &str) -> String {
    format!("/secrets/{name}?api-version=7.4")
}

async fn put(server: &Running<'_>, token: &str, name: &str, value: &str) -> Answer {
    server.vault("PUT", &path(name), token, Some(&format!("{{\"value\":\"{value}\"}}"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_inits_on_one_database_one_makes_it_and_the_other_says_so() {
    let sandbox = Sandbox::new().await;
    let deployment = Deployment::new(&sandbox).await;
    let [one, two] = &deployment.replicas;
    let (first, second) = tokio::join!(one.init(), two.init());
    let said = [first, second].map(|ended| ended.ok());
    let made = said.iter().filter(|said| said.starts_with("made the tenant")).count();
    let there = said.iter().filter(|said| said.contains("Nothing was changed")).count();
    assert_eq!((made, there), (1, 1), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_seen_a_state_is_answered_by_it_or_a_later_one() {
    let sandbox = Sandbox::new().await;
    let (deployment, one, two, token) = Deployment::started(&sandbox).await;
    for n in 0..30 {
        let (writes, reads) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let value = n.to_string();
        let written = put(writes, &token, "s", &value).await.expect(200);
        let seen = written.header(REVISION).unwrap();
        let headers = [("Authorization", &*format!("Bearer {token}")), (REVISION, seen)];
        let url = format!("{}{}", reads.vault_url, path("s"));
        let read = reads.wire.get(&url, &headers).await.expect(200);
        assert_eq!(read.text("/value"), value);
        let number = |token: &str| token.split_once('-').unwrap().0.parse::<u64>().unwrap();
        assert!(number(read.header(REVISION).unwrap()) >= number(seen));
    }
    // A text that no replica gave asks for nothing.
    let headers = [("Authorization", &*format!("Bearer {token}")), (REVISION, "99999-forged")];
    two.wire.get(&format!("{}{}", two.vault_url, path("s")), &headers).await.expect(200);
    one.stop().await;
    two.stop().await;
    deployment.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_without_the_root_key_is_told_to_copy_it() {
    let sandbox = Sandbox::new().await;
    let deployment = Deployment::new(&sandbox).await;
    let [one, two] = &deployment.replicas;
    one.init().await.ok();
    let own = two.path("own.key");
    let config = std::fs::read_to_string(two.path("denizen.toml")).unwrap();
    two.configure(&config.replace(one.path("root.key").to_str().unwrap(), own.to_str().unwrap()));
    let says =
        [&format!("there is no root key at {}", own.display()), "copy the root key file of the first server there"];
    for words in [&["server"][..], &["server", "--check"], &["init", "--admin-out", "x"], &["audit", "verify"]] {
        let refused = two.run(words).await;
        assert!(
            refused.code == Some(78) && says.iter().all(|says| refused.err.contains(says)),
            "{words:?}: {refused:?}"
        );
        assert!(!own.exists(), "{words:?}: one was made that opens nothing");
    }
    std::fs::copy(one.path("root.key"), &own).unwrap();
    two.start().await.stop().await;
}

/// One replica is killed again and again, in the middle of whatever it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_there_whoever_was_killed() {
    let sandbox = Sandbox::new().await;
    let (deployment, one, mut two, token) = Deployment::started(&sandbox).await;
    let acknowledged: Mutex<BTreeMap<String, String>> = Mutex::default();
    let done = AtomicBool::new(false);
    let write = async |server: &Running<'_>, writer: &str, rounds: Option<u32>| {
        for n in 0.. {
            if rounds.map_or_else(|| done.load(Ordering::Relaxed), |rounds| n == rounds) {
                return n;
            }
            let (name, value) = (format!("{writer}-{}", n % 50), n.to_string());
            let url = format!("{}{}", server.vault_url, path(&name));
            let bearer = format!("Bearer {token}");
            let body = format!("{{\"value\":\"{value}\"}}");
            // A server that is gone answers nothing: that write was not acknowledged.
            match server.wire.send("PUT", &url, &[("Authorization", &bearer)], Some(&body)).await {
                Ok(answer) if answer.status == 200 => {
                    acknowledged.lock().unwrap().insert(name, value);
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                Err(_) => return n,
            }
        }
        0
    };
    let kills = async {
        for round in 0u64..6 {
            let writer = format!("killed-{round}");
            tokio::select! {
                _ = write(&two, &writer, None) => {}
                () = sleep(Duration::from_millis(150 + 70 * round)) => {}
            }
            two.kill().await;
            two = deployment.replicas[1].start().await;
        }
        done.store(true, Ordering::Relaxed);
        two
    };
    let (written, two) = tokio::join!(write(&one, "steady", None), kills);
    assert!(written > 50, "only {written} writes went through the one that lives");
    for (name, value) in acknowledged.into_inner().unwrap() {
        for server in [&one, &two] {
            let read = server.vault("GET", &path(&name), &token, None).await.expect(200).text("/value");
            // One more may have been kept whose acknowledgement was lost.
            let (read, value): (u32, u32) = (read.parse().unwrap(), value.parse().unwrap());
            assert!(read >= value, "{name}: {value} was acknowledged, {read} is there");
        }
    }
    one.stop().await;
    two.stop().await;
    deployment.verify().await;
}

/// The database stops for a while: SIGSTOP, as a machine that hangs, and SIGCONT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stops_takes_no_token_away() {
    let sandbox = Sandbox::new().await;
    let (deployment, one, two, token) = Deployment::started(&sandbox).await;
    put(&one, &token, "warm", "w").await.expect(200);
    // Who has not heard of the write yet when it reads keeps what it read under an older state: so once more, a look later.
    for _ in 0..2 {
        for server in [&one, &two] {
            server.vault("GET", &path("warm"), &token, None).await.expect(200);
        }
        sleep(Duration::from_millis(500)).await;
    }
    let admin = deployment.replicas[0].admin();
    let postmaster = Pid::from_raw(deployment.cluster.pid().unwrap()).unwrap();
    let stopped = deployment.cluster.sessions().unwrap();
    let all = |signal: Signal| {
        for pid in stopped.iter().filter_map(|pid| Pid::from_raw(*pid)).chain([postmaster]) {
            let _ = kill_process(pid, signal);
        }
    };
    all(Signal::STOP);
    let (tokens, reads) = (AtomicU32::new(0), AtomicU32::new(0));
    let serving = async {
        for _ in 0..40 {
            for server in [&one, &two] {
                server.admin_token(&admin, VAULT).await.expect(200);
                tokens.fetch_add(1, Ordering::Relaxed);
                let read = server.vault("GET", &path("warm"), &token, None).await.expect(200);
                assert_eq!(read.text("/value"), "w");
                reads.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    // A write is not lost and not acknowledged: it waits for a database that hangs, and is answered in the end.
    let write = put(&one, &token, "late", "l");
    let (write, ()) = tokio::join!(timeout(TIMEOUT, write), async {
        serving.await;
        all(Signal::CONT);
    });
    let write = write.expect("it is never answered");
    assert!(matches!(write.status, 200 | 503), "{write:?}");
    assert_eq!((tokens.into_inner(), reads.into_inner()), (80, 80));
    put(&two, &token, "after", "a").await.expect(200);
    let log = [one.stop().await, two.stop().await].concat();
    assert!(!log.contains("could not be moved before the end"), "{log}");
    deployment.verify().await;
    // What was given meanwhile is recorded.
    let exported = deployment.replicas[0].run(&["audit", "export"]).await.ok();
    let given = exported.lines().filter(|line| line.contains("/secrets/warm")).count();
    assert!(given >= 80, "{given} of 80 reads are recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_roll_at_one_replica_is_followed_by_the_other() {
    let sandbox = Sandbox::new().await;
    let (deployment, one, two, token) = Deployment::started(&sandbox).await;
    put(&two, &token, "s", "before").await.expect(200);
    deployment.replicas[0].run(&["signing-key", "roll", "--emergency"]).await.ok();
    assert_eq!(put(&one, &token, "s", "x").await.status, 401, "where it was asked for, at once");
    let followed = async {
        while put(&two, &token, "s", "x").await.status != 401 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, followed).await.expect("the other replica believes the old key");
    let admin = deployment.replicas[0].admin();
    for server in [&one, &two] {
        let new = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
        put(&one, &new, "s", "after").await.expect(200);
        put(&two, &new, "s", "after").await.expect(200);
    }
    one.stop().await;
    two.stop().await;
    deployment.verify().await;
}
