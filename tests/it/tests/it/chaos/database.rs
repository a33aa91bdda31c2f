//! A database that hangs, that is away, and that is killed and replaced by its standby. Tokens are issued all the while,
//! secrets that were read before are read, writes are refused and say when to try again, and nothing acknowledged is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use denizen_test_postgres::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::seconds;
use crate::{
    balanced::{Balancer, Client, Fleet, Outcome, WARM, cluster},
    operator::Running,
    sandbox::{Sandbox, TIMEOUT},
};

/// All processes of a database server.
fn processes(cluster: &Cluster) -> Vec<Pid> {
    let all = cluster.sessions().unwrap().into_iter().chain([cluster.pid().unwrap()]);
    all.filter_map(Pid::from_raw).collect()
}

/// What clients saw while the database was away.
#[derive(Debug, Default)]
struct Seen {
    tokens: AtomicUsize,
    reads: AtomicUsize,
    written: AtomicUsize,
    refused: AtomicUsize,
}

/// Goes on as clients do, until `done`: no token and no warm read may fail, and no write be cut. A read is warm as long as
/// nothing was written in the vault since, so nobody writes before the database is away.
async fn goes_on(client: &Client, running: &[Running<'_>], is_warm: bool, done: &AtomicBool) -> Seen {
    let seen = Seen::default();
    let pause = Duration::from_millis(30);
    let tokens = async {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(client.token_status().await, Some(200), "a token was not issued: {seen:?}");
            seen.tokens.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
        }
    };
    let reads = async {
        while !done.load(Ordering::Relaxed) {
            for server in running {
                let read = client.read_at(&server.wire, &server.vault_url, WARM).await;
                if read != Outcome::Acknowledged {
                    assert!(!is_warm && read == Outcome::Refused, "a warm secret was not read: {seen:?}");
                    continue;
                }
                seen.reads.fetch_add(1, Ordering::Relaxed);
            }
            sleep(pause).await;
        }
    };
    let writes = async {
        sleep(Duration::from_secs(1)).await;
        while !done.load(Ordering::Relaxed) {
            match client.write("other").await {
                Outcome::Acknowledged => seen.written.fetch_add(1, Ordering::Relaxed),
                Outcome::Refused => seen.refused.fetch_add(1, Ordering::Relaxed),
                Outcome::Cut => panic!("a write was neither done nor refused: {seen:?}"),
            };
            sleep(pause).await;
        }
    };
    tokio::join!(tokens, reads, writes);
    seen
}

/// Reads one secret at all of them, so that it is read when the database cannot be.
async fn warm(client: &Client, running: &[Running<'_>]) {
    assert_eq!(client.write(WARM).await, Outcome::Acknowledged);
    // Who has not heard of the write yet when it reads keeps what it read under an older state: so once more, a look later.
    for _ in 0..2 {
        for server in running {
            assert_eq!(client.read_at(&server.wire, &server.vault_url, WARM).await, Outcome::Acknowledged);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Nothing is lost, and everything is recorded.
async fn all_is_there(fleet: &Fleet<'_>, client: &Client, running: Vec<Running<'_>>) {
    // One of them writes again; each finds the database by itself.
    for server in &running {
        let deadline = Instant::now() + TIMEOUT;
        while client.read_at(&server.wire, &server.vault_url, "other").await != Outcome::Acknowledged {
            assert!(Instant::now() < deadline, "a replica does not find the database again");
            sleep(Duration::from_millis(100)).await;
        }
    }
    fleet.all_is_there(client, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_takes_no_token_away_and_loses_nothing() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[]).await;
    let fleet = Fleet::new(&sandbox, 2, &cluster.url("denizen")).await;
    let (running, client) = fleet.start().await;
    warm(&client, &running).await;
    let done = AtomicBool::new(false);
    let hang = async {
        let all = processes(&cluster);
        for pid in &all {
            let _ = kill_process(*pid, Signal::STOP);
        }
        sleep(seconds(20)).await;
        for pid in &all {
            let _ = kill_process(*pid, Signal::CONT);
        }
        let again = client.writes_again().await;
        done.store(true, Ordering::Relaxed);
        again
    };
    let (seen, again) = tokio::join!(goes_on(&client, &running, true, &done), hang);
    eprintln!("hung: {seen:?}; written again after {again:?}");
    assert!(seen.tokens.load(Ordering::Relaxed) > 50 && seen.refused.load(Ordering::Relaxed) > 0, "{seen:?}");
    all_is_there(&fleet, &client, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_takes_no_token_away_and_loses_nothing() {
    let sandbox = Sandbox::new().await;
    let mut cluster = Arc::into_inner(cluster(&[]).await).unwrap();
    let fleet = Fleet::new(&sandbox, 2, &cluster.url("denizen")).await;
    let (running, client) = fleet.start().await;
    warm(&client, &running).await;
    let done = AtomicBool::new(false);
    let away = async {
        tokio::task::block_in_place(|| cluster.stop()).unwrap();
        sleep(seconds(20)).await;
        tokio::task::block_in_place(|| cluster.start_again()).unwrap();
        let again = client.writes_again().await;
        done.store(true, Ordering::Relaxed);
        again
    };
    let (seen, again) = tokio::join!(goes_on(&client, &running, true, &done), away);
    eprintln!("away: {seen:?}; written again after {again:?}");
    assert!(seen.tokens.load(Ordering::Relaxed) > 50 && seen.refused.load(Ordering::Relaxed) > 10, "{seen:?}");
    all_is_there(&fleet, &client, running).await;
}

/// The primary's machine is lost. What it acknowledged is on the standby, which is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_and_replaced_loses_nothing() {
    let sandbox = Sandbox::new().await;
    let primary = cluster(&[]).await;
    let standby = tokio::task::block_in_place(|| primary.start_standby(&[])).unwrap();
    let query = |cluster: &Cluster, sql: &str| tokio::task::block_in_place(|| cluster.query("postgres", sql)).unwrap();
    query(&primary, "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    query(&primary, "SELECT pg_reload_conf()");
    let deadline = Instant::now() + TIMEOUT;
    while query(&primary, "SELECT sync_state FROM pg_stat_replication").trim() != "sync" {
        assert!(Instant::now() < deadline, "the standby does not follow");
        sleep(Duration::from_millis(100)).await;
    }
    let (_balancer, port) = Balancer::of_databases(&sandbox, primary.port(), standby.port()).await;
    let url = primary.url("denizen").replace(&format!(":{}/", primary.port()), &format!(":{port}/"));
    let fleet = Fleet::new(&sandbox, 2, &url).await;
    let (running, client) = fleet.start().await;
    warm(&client, &running).await;
    let (done, finished) = (AtomicBool::new(false), AtomicBool::new(false));
    let failover = async {
        sleep(Duration::from_secs(4)).await;
        for pid in processes(&primary) {
            let _ = kill_process(pid, Signal::KILL);
        }
        // Who connects meanwhile finds a standby.
        sleep(Duration::from_secs(3)).await;
        query(&standby, "SELECT pg_promote()");
        let again = client.writes_again().await;
        done.store(true, Ordering::Relaxed);
        sleep(seconds(8)).await;
        finished.store(true, Ordering::Relaxed);
        again
    };
    let load = client.load(&fleet.operators[0], 8, 6, &finished);
    let (seen, again, counts) = tokio::join!(goes_on(&client, &running, false, &done), failover, load);
    eprintln!("failover: {seen:?}; written again {again:?} after the promotion; {counts:?}");
    assert!(counts.writes.load(Ordering::Relaxed) > 100 && seen.refused.load(Ordering::Relaxed) > 0, "{counts:?}");
    all_is_there(&fleet, &client, running).await;
}
