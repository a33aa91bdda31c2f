//! The clock of a server that runs, stepped an hour forward and back under load, on both engines; and replicas whose clocks
//! differ by an hour.
//!
//! `libfaketime` shows the server another time, by a file that it reads at each look; the clock that nobody sets goes on as
//! it is. What must hold: writes go on, everything acknowledged is there and in the audit once, a token is taken
//! exactly while it is good by the clock of who judges it, and a clock that fell behind what was seen is not trusted, so
//! nothing is removed for good by it. Long runs of the same are in [`crate::chaos`].

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    balanced::{Fleet, VAULT, allow_secrets, are_recorded_once, at_once, cluster},
    jwt,
    operator::{Operator, Running},
    sandbox::Sandbox,
};

const HOUR: i64 = 3600;
/// Where Debian's package puts it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A clock that a test sets.
pub(crate) struct SetClock(PathBuf);

impl SetClock {
    /// One that is right, for the servers of an operator.
    pub(crate) fn of(operator: &Operator<'_>) -> Self {
        let clock = Self(operator.path("clock"));
        clock.ahead(0);
        clock
    }

    /// Sets it so many seconds from the right time.
    pub(crate) fn ahead(&self, seconds: i64) {
        // In one step: a server may look at any moment.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }

    /// Starts an operator's server with this clock.
    pub(crate) async fn start<'s>(&self, operator: &Operator<'s>, words: &[&str]) -> Running<'s> {
        let library = std::env::consts::ARCH.ne("x86_64").then(|| LIBRARY.replace("x86_64", std::env::consts::ARCH));
        let library = library.as_deref().unwrap_or(LIBRARY);
        assert!(std::path::Path::new(library).exists(), "{library} is missing: install the package faketime");
        let mut command = operator.denizen(&["server"]);
        command.args(words).env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &self.0);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        operator.start_as(command).await
    }
}

/// Programs that write and read secrets at some servers, and take a new token whenever theirs is not taken.
#[derive(Default)]
pub(crate) struct Programs {
    next: AtomicU64,
    /// Versions that were acknowledged, with their values.
    acknowledged: Mutex<BTreeMap<String, String>>,
    requests: Mutex<Vec<String>>,
    /// Tokens that were refused.
    refused: AtomicU64,
}

impl Programs {
    /// Some programs at each server, until `done`.
    pub(crate) async fn run(&self, admin: &Value, servers: &[Running<'_>], done: &AtomicBool) {
        let one = async |server: &Running<'_>| {
            let mut token = None;
            while !done.load(Ordering::Relaxed) {
                let bearer = match &token {
                    Some(token) => String::clone(token),
                    None => {
                        let new = server.admin_token(admin, VAULT).await.expect(200).text("/access_token");
                        token.insert(new).clone()
                    }
                };
                if !self.write_and_read(server, &bearer).await {
                    token = None;
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        at_once(servers.iter().cycle().take(4).map(one)).await;
    }

    /// Whether the token was taken.
    async fn write_and_read(&self, server: &Running<'_>, token: &str) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (name, value) = (format!("s{}", number % 20), number.to_string());
        let body = format!("{{\"value\":\"{value}\"}}");
        let written = server.vault("PUT", &format!("/secrets/{name}?api-version=7.6"), token, Some(&body)).await;
        if written.status == 401 {
            return false;
        }
        let written = written.expect(200);
        let id = written.text("/id");
        let (_, id) = id.split_once("/secrets/").unwrap();
        self.acknowledged.lock().unwrap().insert(id.to_owned(), value.clone());
        self.requests.lock().unwrap().push(written.header("x-ms-request-id").unwrap().to_owned());
        let read = server.vault("GET", &format!("/secrets/{id}?api-version=7.6"), token, None).await;
        if read.status == 401 {
            return false;
        }
        let read = read.expect(200);
        assert_eq!(read.text("/value"), value, "{id}");
        self.requests.lock().unwrap().push(read.header("x-ms-request-id").unwrap().to_owned());
        true
    }

    /// How many writes were acknowledged.
    pub(crate) fn writes(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// How many tokens were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Everything acknowledged is there.
    pub(crate) async fn check(&self, admin: &Value, server: &Running<'_>) {
        let token = server.admin_token(admin, VAULT).await.expect(200).text("/access_token");
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        for (id, value) in acknowledged {
            let read = server.vault("GET", &format!("/secrets/{id}?api-version=7.6"), &token, None).await;
            assert_eq!(read.expect(200).text("/value"), value, "{id}");
        }
    }

    /// The chain is whole, and has everything acknowledged once.
    pub(crate) async fn check_recorded(&self, operator: &Operator<'_>) {
        let said = operator.run(&["audit", "verify"]).await.ok();
        assert!(said.contains("are as they were written"), "{said}");
        let requests = self.requests.lock().unwrap().clone();
        are_recorded_once(operator, &requests).await;
    }
}

async fn is_trusted(server: &Running<'_>) -> bool {
    server.metric("denizen_clock_trusted").await == Some(1.0)
}

/// A token of the administrator's is good now by this clock, and is taken.
async fn gives_what_it_takes(server: &Running<'_>, admin: &Value, ahead: i64) {
    let token = server.admin_token(admin, VAULT).await.expect(200).text("/access_token");
    let claims = jwt::claims(&token);
    let now = denizen_wire::Clock::system().now().0 + ahead;
    let (begins, ends) = (claims["nbf"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!(begins <= now + 5 && now < ends, "{begins} to {ends}, and it is {now}");
    server.vault("GET", "/secrets/none?api-version=7.6", &token, None).await.expect(404);
}

/// Steps the clock of a server of this configuration to so many hours after the right time, one after the other (never before
/// it: the administrator's secret is not good then), with so long between the steps.
pub(crate) async fn stepped(operator: &Operator<'_>, hours: &[i64], between: Duration) {
    operator.init().await.ok();
    let clock = SetClock::of(operator);
    let server = clock.start(operator, &[]).await;
    allow_secrets(operator).await;
    let (admin, programs, done) = (operator.admin(), Programs::default(), AtomicBool::new(false));
    let servers = [server];
    let steps = async {
        let mut seen = 0;
        let mut writes = Vec::new();
        for hour in hours {
            clock.ahead(hour * HOUR);
            seen = seen.max(*hour);
            let before = programs.writes();
            gives_what_it_takes(&servers[0], &admin, hour * HOUR).await;
            sleep(between).await;
            // Behind what it has seen it is not trusted; an hour ahead is within what a clock may be.
            assert_eq!(is_trusted(&servers[0]).await, *hour == seen, "{hour} h, and {seen} h was seen");
            writes.push(programs.writes() - before);
        }
        done.store(true, Ordering::Relaxed);
        writes
    };
    let ((), writes) = tokio::join!(programs.run(&admin, &servers, &done), steps);
    eprintln!("writes after each step: {writes:?}; {} tokens refused", programs.refused());
    assert!(writes.iter().all(|writes| *writes > 5), "{writes:?}");
    let [server] = servers;
    programs.check(&admin, &server).await;
    let log = server.stop().await;
    assert!(log.contains("nothing is purged"), "{log}");
    programs.check_recorded(operator).await;

    // It is started again with the right time, which is behind what was seen: not trusted until somebody says so.
    clock.ahead(0);
    let server = clock.start(operator, &[]).await;
    assert!(!is_trusted(&server).await);
    server.stop().await;
    let server = clock.start(operator, &["--confirm-clock"]).await;
    assert!(is_trusted(&server).await);
    programs.check(&admin, &server).await;
    server.stop().await;
    let said = operator.run(&["audit", "verify"]).await.ok();
    assert!(said.contains("are as they were written"), "{said}");
}

/// A configuration of one server over a database of PostgreSQL.
pub(crate) fn over(database: &str) -> String {
    format!("{}[store]\nurl = \"{database}\"\n", crate::operator::CONFIG)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_stepped_an_hour_under_load_loses_nothing_with_sqlite() {
    let sandbox = Sandbox::new().await;
    stepped(&Operator::new(&sandbox), &[0, 1, 0, 2, 1], Duration::from_millis(1200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_stepped_an_hour_under_load_loses_nothing_with_postgresql() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[("fsync", "off")]).await;
    stepped(&Operator::with(&sandbox, &over(&cluster.url("denizen"))), &[0, 1, 0, 2, 1], Duration::from_millis(1200))
        .await;
}

/// One replica's clock is an hour ahead of the other's, then behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_whose_clocks_differ_by_an_hour_serve_each_by_its_own() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[("fsync", "off")]).await;
    let fleet = Fleet::new(&sandbox, 2, &cluster.url("denizen")).await;
    fleet.operators[0].init().await.ok();
    let clocks = [0, 1].map(|at| SetClock::of(&fleet.operators[at]));
    let servers = [clocks[0].start(&fleet.operators[0], &[]).await, clocks[1].start(&fleet.operators[1], &[]).await];
    allow_secrets(&fleet.operators[0]).await;
    let admin = fleet.operators[0].admin();
    let (programs, done) = (Programs::default(), AtomicBool::new(false));
    // A role that was given at one of them is known to the other in a moment.
    sleep(Duration::from_secs(1)).await;
    let steps = async {
        for aheads in [[0, HOUR], [HOUR, 0], [0, 0]] {
            for (clock, ahead) in clocks.iter().zip(aheads) {
                clock.ahead(ahead);
            }
            sleep(Duration::from_millis(300)).await;
            for (server, ahead) in servers.iter().zip(aheads) {
                gives_what_it_takes(server, &admin, ahead).await;
            }
            // What the one that is ahead has given is not good yet at the other.
            let from = usize::from(aheads[1] > aheads[0]);
            let token = servers[from].admin_token(&admin, VAULT).await.expect(200).text("/access_token");
            let read = servers[1 - from].vault("GET", "/secrets/none?api-version=7.6", &token, None).await;
            assert_eq!(read.status, if aheads == [0, 0] { 404 } else { 401 }, "{aheads:?}");
            sleep(Duration::from_millis(1200)).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(programs.run(&admin, &servers, &done), steps);
    assert!(programs.writes() > 20, "{}", programs.writes());
    for server in &servers {
        programs.check(&admin, server).await;
    }
    for server in servers {
        server.stop().await;
    }
    fleet.verify().await;
    programs.check_recorded(&fleet.operators[0]).await;
}
