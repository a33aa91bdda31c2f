//! One server with SQLite, killed at many random moments: in the middle of writes, and in the middle of its start.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::number;
use crate::{
    balanced::{Client, Random, port},
    operator::{Operator, at_ports},
    sandbox::Sandbox,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_sqlite_that_is_killed_again_and_again_loses_nothing() {
    let kills = number("DENIZEN_CHAOS_KILLS", 40);
    let sandbox = Sandbox::new().await;
    let operator = Operator::with(&sandbox, &at_ports(port(), port()));
    operator.init().await.ok();
    let mut running = operator.start().await;
    let (authority, vault_url) = (running.authority.clone(), running.vault_url.clone());
    let client = Client::of(&operator, authority, vault_url, &running).await;
    let done = AtomicBool::new(false);
    let killer = async {
        let mut random = Random::new(2);
        for kill in 0..kills {
            sleep(Duration::from_millis(random.below(700))).await;
            running.kill().await;
            // Every other time once more, while it starts.
            if kill % 2 == 1 {
                let mut starting = operator.denizen(&["server"]).stderr(Stdio::null()).spawn().unwrap();
                sleep(Duration::from_millis(random.below(250))).await;
                starting.start_kill().unwrap();
                starting.wait().await.unwrap();
            }
            running = operator.start().await;
        }
        sleep(Duration::from_millis(500)).await;
        done.store(true, Ordering::Relaxed);
        running
    };
    let (counts, running) = tokio::join!(client.load(&operator, 8, 6, &done), killer);
    eprintln!("{kills} kills: {counts:?}");
    assert!(counts.writes.load(Ordering::Relaxed) as u64 > kills, "{counts:?}");
    let running = [running];
    client.check(&running).await;
    for server in running {
        server.stop().await;
    }
    assert!(operator.run(&["audit", "verify"]).await.ok().contains("are as they were written"));
    client.check_recorded(&operator).await;
}
