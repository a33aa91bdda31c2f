//! Three replicas behind HAProxy under load, killed at random, and one that is stopped and returns. Whatever was
//! acknowledged is there, some order explains what everybody saw, and all of it is in the audit.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{number, seconds};
use crate::{
    balanced::{Fleet, Random, cluster, race_for_join_tokens},
    sandbox::Sandbox,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_that_are_killed_at_random_lose_nothing() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[]).await;
    let fleet = Fleet::new(&sandbox, 3, &cluster.url("denizen")).await;
    let (mut running, client) = fleet.start().await;
    let (done, mut random) = (AtomicBool::new(false), Random::new(1));
    let kills = async {
        let (end, mut kills) = (Instant::now() + seconds(40), 0);
        while Instant::now() < end {
            sleep(Duration::from_millis(200 + random.below(2500))).await;
            // One, or two at once.
            for _ in 0..=random.below(2) {
                let victim = usize::try_from(random.below(running.len() as u64)).unwrap();
                running.remove(victim).kill().await;
                kills += 1;
            }
            sleep(Duration::from_millis(random.below(2000))).await;
            for operator in fleet.away(&running) {
                running.push(operator.start().await);
            }
        }
        done.store(true, Ordering::Relaxed);
        kills
    };
    let (counts, kills) = tokio::join!(client.load(&fleet.operators[0], 12, 8, &done), kills);
    eprintln!("{kills} kills: {counts:?}");
    assert!(kills >= 10 && counts.writes.load(Ordering::Relaxed) > 200, "{kills} kills: {counts:?}");
    fleet.all_is_there(&client, running).await;
}

/// It is stopped in the middle of whatever it does, holding what it holds, and goes on after others have written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_and_returns_loses_nothing_and_keeps_nobody() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[]).await;
    let fleet = Fleet::new(&sandbox, 3, &cluster.url("denizen")).await;
    let (running, client) = fleet.start().await;
    let done = AtomicBool::new(false);
    let stops = async {
        let mut meanwhile = Vec::new();
        for (n, server) in running.iter().enumerate() {
            sleep(Duration::from_millis(1000 + 37 * n as u64)).await;
            server.signal(Signal::STOP);
            // What it holds is taken from it after 5 s; the balancer has noticed long before.
            sleep(Duration::from_secs(7)).await;
            let before = client.history.operations().len();
            sleep(seconds(3)).await;
            meanwhile.push(client.history.operations().len() - before);
            server.signal(Signal::CONT);
        }
        sleep(Duration::from_secs(2)).await;
        done.store(true, Ordering::Relaxed);
        meanwhile
    };
    let (counts, meanwhile) = tokio::join!(client.load(&fleet.operators[0], 12, 8, &done), stops);
    eprintln!("while one was stopped: {meanwhile:?}; {counts:?}");
    assert!(meanwhile.iter().all(|operations| *operations > 20), "{meanwhile:?}: {counts:?}");
    fleet.all_is_there(&client, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_tokens_that_are_raced_for_at_two_replicas_let_one_machine_in() {
    let races = number("DENIZEN_CHAOS_RACES", 200);
    race_for_join_tokens(usize::try_from(races).unwrap()).await;
}
