//! A disk that is full: the server's own, and the database server's. Writes are refused, nothing acknowledged is lost, and
//! all goes on when there is room again.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use denizen_test_postgres::Cluster;
use tokio::time::{Instant, sleep};

use super::seconds;
use crate::{
    balanced::{Client, Fleet, Outcome, port},
    operator::{Operator, at_ports},
    sandbox::{Sandbox, TIMEOUT},
};

/// Writes a file until no byte more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 9, 1] {
        let block = vec![7; size];
        while file.write_all(&block).is_ok() {}
    }
    assert!(file.metadata().unwrap().len() > 0, "{} is full as it is", path.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_refuses_and_goes_on_when_there_is_room() {
    let script = "mkdir /opt/small && mount -t tmpfs -o size=48m,mode=755 tmpfs /opt/small";
    let Some(sandbox) = Sandbox::prepared(script).await else { return };
    let config = at_ports(port(), port()).replace("data_dir = \"data\"", "data_dir = \"/opt/small/data\"");
    let operator = Operator::with(&sandbox, &config);
    operator.init().await.ok();
    let mut server = operator.start().await;
    let (authority, vault_url) = (server.authority.clone(), server.vault_url.clone());
    let client = Client::of(&operator, authority, vault_url, &server).await;
    let ballast = sandbox.inside(Path::new("/opt/small/ballast"));
    for is_killed in [false, true] {
        let done = AtomicBool::new(false);
        let full = async {
            sleep(Duration::from_secs(1)).await;
            fill(&ballast);
            sleep(seconds(5)).await;
            let mut refused = 0;
            for _ in 0..20 {
                refused += u32::from(client.write("full").await == Outcome::Refused);
            }
            if is_killed {
                server.kill().await;
                std::fs::remove_file(&ballast).unwrap();
                server = operator.start().await;
            } else {
                std::fs::remove_file(&ballast).unwrap();
            }
            let again = client.writes_again().await;
            sleep(Duration::from_secs(1)).await;
            done.store(true, Ordering::Relaxed);
            (refused, again, server)
        };
        let (counts, (refused, again, there)) = tokio::join!(client.load(&operator, 6, 5, &done), full);
        server = there;
        eprintln!("killed {is_killed}: {counts:?}; {refused} of 20 refused; written again after {again:?}");
        assert!(refused > 0 && counts.writes.load(Ordering::Relaxed) > 20, "{refused}: {counts:?}");
        assert!(is_killed || counts.cut.load(Ordering::Relaxed) == 0, "{counts:?}");
    }
    let servers = [server];
    client.check(&servers).await;
    for server in servers {
        server.stop().await;
    }
    assert!(operator.run(&["audit", "verify"]).await.ok().contains("are as they were written"));
    client.check_recorded(&operator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_disk_is_full_takes_no_token_away_and_loses_nothing() {
    let Some(sandbox) = Sandbox::prepared("").await else { return };
    let started = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::start_small(160 << 20, &[("max_wal_size", "32MB"), ("min_wal_size", "32MB")]).unwrap();
        cluster.create("denizen").unwrap();
        cluster
    });
    let cluster = Arc::new(std::sync::Mutex::new(started.await.unwrap()));
    let (url, folder) = {
        let cluster = cluster.lock().unwrap();
        (cluster.url("denizen"), cluster.folder().to_owned())
    };
    let fleet = Fleet::new(&sandbox, 2, &url).await;
    let (running, client) = fleet.start().await;
    let done = AtomicBool::new(false);
    let full = async {
        sleep(Duration::from_secs(1)).await;
        fill(&folder.join("ballast"));
        let (end, mut tokens, mut refused) = (Instant::now() + seconds(20), 0, 0);
        while Instant::now() < end || (refused == 0 && Instant::now() < end + TIMEOUT) {
            assert_eq!(client.token_status().await, Some(200), "after {tokens} tokens");
            tokens += 1;
            refused += u32::from(client.write("full").await == Outcome::Refused);
        }
        std::fs::remove_file(folder.join("ballast")).unwrap();
        // One that cannot write its log ends itself; whoever runs it starts it again.
        tokio::task::block_in_place(|| cluster.lock().unwrap().start_again()).unwrap();
        let again = client.writes_again().await;
        sleep(Duration::from_secs(1)).await;
        done.store(true, Ordering::Relaxed);
        (tokens, refused, again)
    };
    let (counts, (tokens, refused, again)) = tokio::join!(client.load(&fleet.operators[0], 6, 5, &done), full);
    eprintln!("{tokens} tokens, {refused} refused, written again after {again:?}; {counts:?}");
    assert!(refused > 0 && tokens > 20, "{tokens} tokens, {refused} refused");
    fleet.all_is_there(&client, running).await;
}
