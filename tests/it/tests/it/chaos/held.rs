//! Connections that are held on every listener at once, and bodies that come byte by byte.

use std::{
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::{sleep, timeout},
};

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User},
    tls::{Connection, LISTENERS, Listener},
};

/// After SIGTERM everything has ended within this time, whatever clients do.
const STOP: Duration = Duration::from_secs(15);
/// Held on each listener: more than the process has descriptors.
const HELD: usize = 1_100;

/// Raises this process's own limit: the connections of the attack are ours too.
fn room_for_an_attack() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Every listener answers a client that comes now, on a new connection, again and again.
async fn all_answer(dev: &Dev<'_>, when: &str) {
    let discovery =
        format!("{}/{}/v2.0/.well-known/openid-configuration", dev.fact("/authority"), dev.fact("/tenant_id"));
    let vault = format!("{}/secrets/hello/?api-version=7.6", dev.fact("/vault_url"));
    let instance = format!("http://{}/metadata/instance?api-version=2020-06-01", Listener::Agent.address(dev));
    let versions = format!("{}/metadata/versions", dev.fact("/agent/imds_host"));
    for round in 0..5 {
        for (url, expected) in [
            (discovery.as_str(), 200),
            (vault.as_str(), 401),
            (dev.fact("/metrics_url"), 200),
            (instance.as_str(), 200),
            (versions.as_str(), 200),
        ] {
            let headers = [("Metadata", "true"), ("Connection", "close")];
            let answer = timeout(Duration::from_secs(10), dev.wire.send("GET", url, &headers, None)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{when}, round {round}: {url} does not answer"));
            assert_eq!(answer.unwrap_or_else(|e| panic!("{when}: {url}: {e}")).status, expected, "{when}: {url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_with_1024_descriptors_whoever_fills_one_listener_keeps_nobody_from_any() {
    room_for_an_attack();
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours).descriptors(1024).start().await;
    let mut held = Vec::new();
    for listener in LISTENERS {
        let address = listener.address(&dev);
        for _ in 0..HELD {
            held.push(TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap());
        }
        all_answer(&dev, &format!("{listener:?} filled")).await;
    }
    let metrics = dev.wire.get(dev.fact("/metrics_url"), &[]).await.expect(200).body;
    for service in ["control", "vault", "metrics"] {
        let evicted = format!("denizen_connections_evicted_total{{service=\"{service}\"}} ");
        let count =
            metrics.lines().find_map(|line| line.strip_prefix(&*evicted)).unwrap_or_else(|| panic!("{metrics}"));
        assert!(count.parse::<usize>().unwrap() > HELD / 2, "{service}: {count}");
    }
    let began = Instant::now();
    dev.stop().await;
    assert!(began.elapsed() < STOP, "it ended after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_requests_without_their_bodies_and_clients_that_never_read_keep_nobody_out_and_do_not_stop_the_stop() {
    room_for_an_attack();
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours).descriptors(1024).start().await;
    let mut held = Vec::new();
    for listener in LISTENERS {
        tokio::task::block_in_place(|| {
            for number in 0..HELD {
                let mut connection = listener.connect(&dev).unwrap();
                let said: &[u8] = match number % 3 {
                    0 => b"POST /common/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
                    1 => b"POST /node/v1/enrol HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
                    _ => &b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100),
                };
                // It may have been ended already, to make room.
                let _ = connection.write(said);
                held.push(connection);
            }
        });
        all_answer(&dev, &format!("{listener:?} held")).await;
    }
    let began = Instant::now();
    dev.stop().await;
    assert!(began.elapsed() < STOP, "it ended after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_bodies_that_come_byte_by_byte_take_no_more_memory_than_they_say() {
    const CLIENTS: usize = 150;
    const BYTES: usize = 20_000;
    room_for_an_attack();
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let before = resident(&dev);
    let chunks = "1\r\nx\r\n".repeat(BYTES);
    let path = format!("/{}/oauth2/v2.0/token", dev.fact("/tenant_id"));
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let held: Vec<Connection> = tokio::task::block_in_place(|| {
        let hold = |_| {
            let mut connection = Listener::Control.connect(&dev).unwrap();
            connection.write(head.as_bytes()).unwrap();
            connection.write(chunks.as_bytes()).unwrap();
            connection
        };
        (0..CLIENTS).map(hold).collect()
    });
    // What is on its way is read.
    sleep(Duration::from_secs(2)).await;
    let grown = resident(&dev).saturating_sub(before);
    // With a buffer for each byte it would be 2.5 MiB for each client.
    assert!(grown < CLIENTS as u64 * 256 * 1024, "{} KiB for {CLIENTS} clients", grown / 1024);
    drop(held);
    dev.stop().await;
}

/// What the process has in memory, bytes.
fn resident(dev: &Dev<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", dev.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Two users hold more connections than the agent has; root and a third user are answered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_two_users_cannot_lock_root_or_a_third_out_of_the_agent() {
    const HOLD: &str = "import socket, sys\n\
        held = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(600)]\n\
        print('held', flush=True)\n\
        sys.stdin.read()\n";
    let sandbox = Sandbox::new().await;
    if !crate::sandbox::root() {
        return denizen_skip::skip("other users' connections need root");
    }
    let dev = Dev::start(&sandbox).await;
    let mut holders = Vec::new();
    for listener in [Listener::Agent, Listener::Imds] {
        let address = listener.address(&dev);
        for user in [User::Daemon, User::Stranger] {
            let mut command = sandbox.command(user, "python3");
            command.args(["-c", HOLD, &address.ip().to_string(), &address.port().to_string()]);
            let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut out = BufReader::new(holder.stdout.take().unwrap());
            timeout(Duration::from_secs(20), out.read_line(&mut line)).await.unwrap().unwrap();
            assert_eq!(line, "held\n");
            holders.push(holder);
        }
    }
    let instance = format!("http://{}/metadata/instance?api-version=2020-06-01", Listener::Agent.address(&dev));
    let versions = format!("{}/metadata/versions", dev.fact("/agent/imds_host"));
    for url in [&instance, &versions] {
        for user in [User::Ours, User::Nobody] {
            for _ in 0..10 {
                let mut curl = sandbox.command(user, "curl");
                curl.args(["-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Metadata: true", url]);
                assert_eq!(crate::sandbox::ended(curl).await.out, "200", "{user:?} {url}");
            }
        }
    }
    drop(holders);
    dev.stop().await;
}
