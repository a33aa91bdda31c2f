//! Replicas over one PostgreSQL behind HAProxy, as clients see them: by one name, whoever of them lives.
//!
//! Long runs of the same are in [`crate::chaos`].

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use denizen_keys::{SecretString, random};
use denizen_test_postgres::Cluster;
use denizen_wire::Clock;
use serde_json::Value;
use tokio::{
    process::Child,
    time::{Instant, sleep},
};

use crate::{
    enrol::Node,
    history::{Did, History, Operation},
    operator::{Operator, Running},
    sandbox::{Sandbox, TIMEOUT, User},
    wire::{Answer, Wire},
};

pub(crate) const VAULT: &str = "https://vault.azure.net";
/// A secret that is not written again, and is read by whoever has it, whatever has been written elsewhere since.
pub(crate) const WARM: &str = "warm";
pub(crate) const REVISION: &str = "x-denizen-revision";

/// A port that nobody listens at, and that the kernel gives to no client while a server of ours is away.
pub(crate) fn port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let any = || 20_000 + u16::try_from(random::uuid_v4().as_u128() % 12_000).unwrap();
    std::iter::repeat_with(any).take(1000).find(is_free).expect("no port is free")
}

/// HAProxy, in front of servers on this machine.
pub(crate) struct Balancer {
    _child: Child,
}

impl Balancer {
    /// Starts it with these sections after the usual ones, and waits until it listens at `port`.
    pub(crate) async fn start(sandbox: &Sandbox, sections: &str, port: u16) -> Self {
        const USUAL: &str = "\
            global\n  maxconn 2000\n\
            defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 2m\n  timeout server 2m\n  timeout check 2s\n  \
            retries 3\n  option redispatch\n  \
            default-server check inter 200ms fastinter 100ms fall 2 rise 1 on-marked-down shutdown-sessions\n";
        let file = sandbox.path(&format!("haproxy-{}.cfg", sandbox.serial()));
        std::fs::write(&file, format!("{USUAL}{sections}")).unwrap();
        let mut command = sandbox.command(User::Ours, "haproxy");
        command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("haproxy is missing: install the package haproxy");
        let deadline = Instant::now() + TIMEOUT;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "haproxy ended with {ended:?}: {}", std::fs::read_to_string(&file).unwrap());
            assert!(Instant::now() < deadline, "haproxy does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Self { _child: child }
    }

    /// In front of two databases: the second is used while the first is away.
    pub(crate) async fn of_databases(sandbox: &Sandbox, first: u16, second: u16) -> (Self, u16) {
        let listen = port();
        let sections = format!(
            "listen database\n  bind 127.0.0.1:{listen}\n  server first 127.0.0.1:{first}\n  \
             server second 127.0.0.1:{second} backup\n"
        );
        (Self::start(sandbox, &sections, listen).await, listen)
    }
}

/// Directories and ports of some replicas, and the balancer before them.
pub(crate) struct Fleet<'s> {
    pub(crate) operators: Vec<Operator<'s>>,
    _balancer: Balancer,
    authority: String,
    vault_url: String,
    public_url: String,
}

impl<'s> Fleet<'s> {
    /// As many replicas over this database, none of which runs.
    pub(crate) async fn new(sandbox: &'s Sandbox, replicas: usize, database: &str) -> Self {
        let operators: Vec<Operator<'s>> = (0..replicas).map(|_| Operator::new(sandbox)).collect();
        let (control, vault) = (port(), port());
        let ports: Vec<(u16, u16)> = operators.iter().map(|_| (port(), port())).collect();
        let public_url = format!("https://localhost:{control}");
        for (operator, (listen, vault_listen)) in operators.iter().zip(&ports) {
            // They are one server to clients, with one certificate.
            for file in ["tls.crt", "tls.key", "ca.pem"] {
                std::fs::write(operator.path(file), std::fs::read(operators[0].path(file)).unwrap()).unwrap();
            }
            operator.configure(&format!(
                "listen = \"127.0.0.1:{listen}\"\nvault_listen = \"127.0.0.1:{vault_listen}\"\n\
                 metrics_listen = \"127.0.0.1:0\"\npublic_url = \"{public_url}\"\n\
                 vault_url = \"https://localhost:{vault}\"\ndata_dir = \"data\"\ndrain_seconds = 0\n\
                 [tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n[root_key]\nfile = \"{}\"\n[store]\nurl = \"{database}\"\n",
                operators[0].path("root.key").display(),
            ));
        }
        let section = |name: &str, listen: u16, servers: Vec<(u16, u16)>| {
            let servers: String = (1..)
                .zip(servers)
                .map(|(n, (to, check))| {
                    format!("  server replica-{n} 127.0.0.1:{to} port {check} check-ssl verify none\n")
                })
                .collect();
            format!(
                "listen {name}\n  bind 127.0.0.1:{listen}\n  balance roundrobin\n  option httpchk\n  \
                 http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost\n  http-check expect status 200\n\
                 {servers}"
            )
        };
        let sections = section("control", control, ports.iter().map(|(listen, _)| (*listen, *listen)).collect())
            + &section("vault", vault, ports.iter().map(|(listen, vault)| (*vault, *listen)).collect());
        let balancer = Balancer::start(sandbox, &sections, vault).await;
        let vault_url = format!("https://localhost:{vault}");
        Self { operators, _balancer: balancer, authority: public_url.clone(), vault_url, public_url }
    }

    /// Makes the tenant, starts all replicas, and gives the administrator the right to secrets.
    pub(crate) async fn start(&self) -> (Vec<Running<'s>>, Client) {
        let first = &self.operators[0];
        first.init().await.ok();
        let mut running = Vec::new();
        for operator in &self.operators {
            running.push(operator.start().await);
        }
        let client = Client::of(first, self.authority.clone(), self.vault_url.clone(), &running[0]).await;
        // What was done by command at one of them is seen by the others a moment later.
        for server in &running {
            let deadline = Instant::now() + Duration::from_secs(2);
            while server.vault("GET", "/secrets/none?api-version=7.6", &client.token, None).await.status == 403 {
                assert!(Instant::now() < deadline, "a role was given, and another replica does not hear of it");
                sleep(Duration::from_millis(10)).await;
            }
        }
        (running, client)
    }

    /// The replicas that are not among those that run.
    pub(crate) fn away<'f>(&'f self, running: &[Running<'_>]) -> Vec<&'f Operator<'s>> {
        let is_away = |operator: &&Operator<'_>| running.iter().all(|one| one.dir() != operator.dir);
        self.operators.iter().filter(is_away).collect()
    }

    /// Everything that was acknowledged is at each of these, some order explains what everybody saw, and it is recorded; ends
    /// them.
    pub(crate) async fn all_is_there(&self, client: &Client, running: Vec<Running<'_>>) {
        client.check(&running).await;
        let mut log = String::new();
        for server in running {
            log += &server.stop().await;
        }
        assert!(!log.contains("could not be moved before the end"), "{log}");
        self.verify().await;
        client.check_recorded(&self.operators[0]).await;
    }

    /// All chains are whole, whichever replica is asked.
    pub(crate) async fn verify(&self) {
        for operator in &self.operators {
            let said = operator.run(&["audit", "verify"]).await.ok();
            assert_eq!(said.matches("are as they were written").count(), self.operators.len(), "{said}");
        }
    }
}

/// Gives the administrator of a server that runs the right to secrets.
pub(crate) async fn allow_secrets(operator: &Operator<'_>) {
    let admin = operator.admin();
    let (scope, assignee) = (format!("/subscriptions/{}", text(&admin, "subscription_id")), text(&admin, "object_id"));
    let role = "Key Vault Secrets Officer";
    let words = ["role", "assignment", "create", "--role", role, "--scope", &scope, "--assignee", &assignee];
    operator.run(&words).await.ok();
}

fn text(admin: &Value, name: &str) -> String {
    admin[name].as_str().unwrap().to_owned()
}

/// What a write or a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// 503 with `Retry-After`.
    Refused,
    /// The connection ended.
    Cut,
}

/// A client that may read and write secrets, which keeps what it was told.
pub(crate) struct Client {
    wire: Wire,
    authority: String,
    vault_url: String,
    admin: Value,
    token: String,
    pub(crate) history: History,
    /// The state that was seen last by anybody, as its number and its token.
    seen: Mutex<Option<(u64, String)>>,
    next: AtomicU64,
    /// The versions that were acknowledged, with their values.
    acknowledged: Mutex<BTreeMap<String, u64>>,
    /// The request ids of all that was acknowledged.
    requests: Mutex<Vec<String>>,
}

impl Client {
    /// The administrator of a server, at these addresses.
    pub(crate) async fn of(
        operator: &Operator<'_>,
        authority: String,
        vault_url: String,
        running: &Running<'_>,
    ) -> Self {
        allow_secrets(operator).await;
        let admin = operator.admin();
        let answer = running.admin_token(&admin, VAULT).await.expect(200);
        Self {
            wire: Wire::trusting(&operator.path("ca.pem")),
            authority,
            vault_url,
            admin,
            token: answer.text("/access_token"),
            history: History::new(),
            seen: Mutex::default(),
            next: AtomicU64::new(1),
            acknowledged: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    /// The same client with connections of its own.
    fn wire(&self, operator: &Operator<'_>) -> Wire {
        Wire::trusting(&operator.path("ca.pem"))
    }

    /// A token for the vault, through the balancer; the status, or none when the connection ended.
    pub(crate) async fn token_status(&self) -> Option<u16> {
        let scope = format!("{VAULT}/.default");
        let (id, secret) = (text(&self.admin, "client_id"), text(&self.admin, "client_secret"));
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", id.as_str()),
            ("client_secret", secret.as_str()),
            ("scope", scope.as_str()),
        ];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = format!("{}/{}/oauth2/v2.0/token", self.authority, text(&self.admin, "tenant_id"));
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.wire.send("POST", &url, &headers, Some(&body)).await.ok().map(|answer| answer.status)
    }

    async fn send(&self, wire: &Wire, base: &str, method: &str, name: &str, body: Option<&str>) -> Option<Answer> {
        let url = format!("{base}/secrets/{name}?api-version=7.6");
        let bearer = format!("Bearer {}", self.token);
        let seen = self.seen.lock().unwrap().clone().filter(|_| name != WARM);
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(seen.as_ref().map(|(_, token)| (REVISION, token.as_str())));
        let answer = wire.send(method, &url, &headers, body).await.ok()?;
        if let Some(token) = answer.header(REVISION) {
            let number: u64 = token.split_once('-').unwrap().0.parse().unwrap();
            let sent = seen.map_or(0, |(number, _)| number);
            assert!(number >= sent, "{sent} was seen and sent, and {number} answered: {answer:?}");
            let mut last = self.seen.lock().unwrap();
            if last.as_ref().is_none_or(|(last, _)| number > *last) {
                *last = Some((number, token.to_owned()));
            }
        }
        if matches!(answer.status, 200 | 404) {
            self.requests.lock().unwrap().push(answer.header("x-ms-request-id").unwrap().to_owned());
        }
        Some(answer)
    }

    fn refused(answer: &Answer) -> Outcome {
        assert!(answer.status == 503 && answer.header("Retry-After").is_some(), "{answer:?}");
        Outcome::Refused
    }

    /// Writes a value that nobody has written, through the balancer.
    pub(crate) async fn write(&self, name: &str) -> Outcome {
        self.write_at(&self.wire, &self.vault_url, name).await
    }

    /// The same at one of them.
    pub(crate) async fn write_at(&self, wire: &Wire, base: &str, name: &str) -> Outcome {
        let value = self.next.fetch_add(1, Ordering::Relaxed);
        let begin = self.history.now();
        let answer = self.send(wire, base, "PUT", name, Some(&format!("{{\"value\":\"{value}\"}}"))).await;
        let end = self.history.now();
        let done = answer.as_ref().is_some_and(|answer| answer.status == 200);
        let (register, did) = (name.to_owned(), Did::Wrote(value));
        self.history.add(Operation { register, did, begin, end: done.then_some(end) });
        match answer {
            Some(answer) if done => {
                let id = answer.text("/id");
                let (_, id) = id.split_once("/secrets/").unwrap();
                self.acknowledged.lock().unwrap().insert(id.to_owned(), value);
                Outcome::Acknowledged
            }
            Some(answer) => Self::refused(&answer),
            None => Outcome::Cut,
        }
    }

    /// Reads the current version at one of them.
    pub(crate) async fn read_at(&self, wire: &Wire, base: &str, name: &str) -> Outcome {
        let begin = self.history.now();
        let answer = self.send(wire, base, "GET", name, None).await;
        let end = Some(self.history.now());
        let value = match &answer {
            Some(answer) if answer.status == 200 => Some(answer.text("/value").parse().unwrap()),
            Some(answer) if answer.status == 404 => None,
            Some(answer) => return Self::refused(answer),
            None => return Outcome::Cut,
        };
        self.history.add(Operation { register: name.to_owned(), did: Did::Read(value), begin, end });
        Outcome::Acknowledged
    }

    /// Writes and reads some registers by some clients of their own until `done`; how many were acknowledged.
    pub(crate) async fn load(
        &self,
        operator: &Operator<'_>,
        clients: usize,
        registers: u64,
        done: &AtomicBool,
    ) -> Counts {
        let counts = Counts::default();
        let one = async |seed: usize| {
            let mut random = Random::new(seed as u64);
            let mut wire = self.wire(operator);
            while !done.load(Ordering::Relaxed) {
                // Another connection reaches another replica.
                if random.below(10) == 0 {
                    wire = self.wire(operator);
                }
                let name = format!("r{}", random.below(registers));
                let (outcome, counted) = match random.below(2) {
                    0 => (self.write_at(&wire, &self.vault_url, &name).await, &counts.writes),
                    _ => (self.read_at(&wire, &self.vault_url, &name).await, &counts.reads),
                };
                match outcome {
                    Outcome::Acknowledged => _ = counted.fetch_add(1, Ordering::Relaxed),
                    Outcome::Refused => {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(50)).await;
                    }
                    Outcome::Cut => {
                        counts.cut.fetch_add(1, Ordering::Relaxed);
                        wire = self.wire(operator);
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        at_once((0..clients).map(one)).await;
        counts
    }

    /// Everything that was acknowledged is there, at each of these, and the history has an order.
    pub(crate) async fn check(&self, servers: &[Running<'_>]) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        for (n, (id, value)) in acknowledged.iter().enumerate() {
            // Each version at one of them, in turn; each register at all.
            let server = &servers[n % servers.len()];
            let read = server.vault("GET", &format!("/secrets/{id}?api-version=7.6"), &self.token, None).await;
            assert_eq!(read.expect(200).text("/value"), value.to_string(), "{id}");
        }
        let registers: std::collections::BTreeSet<String> =
            self.history.operations().into_iter().map(|operation| operation.register).collect();
        for server in servers {
            for register in &registers {
                let read = self.read_at(&server.wire, &server.vault_url, register).await;
                assert_eq!(read, Outcome::Acknowledged, "{register}");
            }
        }
        let operations = self.history.check();
        assert!(operations > acknowledged.len());
    }

    /// Everything that was acknowledged is in the audit, once.
    pub(crate) async fn check_recorded(&self, operator: &Operator<'_>) {
        let requests = self.requests.lock().unwrap().clone();
        are_recorded_once(operator, &requests).await;
    }

    /// Writes until one is acknowledged again; how long that took.
    pub(crate) async fn writes_again(&self) -> Duration {
        let began = Instant::now();
        while self.write("again").await != Outcome::Acknowledged {
            assert!(began.elapsed() < TIMEOUT, "no write after {TIMEOUT:?}");
            sleep(Duration::from_millis(100)).await;
        }
        began.elapsed()
    }
}

/// Each of these requests is in the audit, once.
pub(crate) async fn are_recorded_once(operator: &Operator<'_>, requests: &[String]) {
    let exported = operator.run(&["audit", "export"]).await.ok();
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    for line in exported.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        if let Some(id) = record["request_id"].as_str() {
            *recorded.entry(id.to_owned()).or_default() += 1;
        }
    }
    let wrong: Vec<_> = requests.iter().filter(|id| recorded.get(*id) != Some(&1)).collect();
    assert!(wrong.is_empty(), "{} of {} are not recorded once: {wrong:?}", wrong.len(), requests.len());
}

/// Waits for all of them at once, in this task: they borrow.
pub(crate) async fn at_once(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) writes: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) cut: AtomicUsize,
}

/// Numbers that are the same in every run (xorshift64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// A database server of the test's own, started beside the runtime's threads.
pub(crate) async fn cluster(settings: &'static [(&'static str, &'static str)]) -> Arc<Cluster> {
    let start = move || {
        let cluster = Cluster::start(settings).unwrap();
        cluster.create("denizen").unwrap();
        cluster
    };
    Arc::new(tokio::task::spawn_blocking(start).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_balancer_nothing_acknowledged_is_lost_when_a_replica_is_killed() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[("fsync", "off")]).await;
    let fleet = Fleet::new(&sandbox, 2, &cluster.url("denizen")).await;
    let (mut running, client) = fleet.start().await;
    let done = AtomicBool::new(false);
    let kills = async {
        let mut issued = 0;
        for round in 0..4 {
            sleep(Duration::from_millis(1500)).await;
            let victim = running.remove(round % 2);
            victim.kill().await;
            // The other one serves, once the balancer has noticed.
            sleep(Duration::from_secs(1)).await;
            assert_eq!(client.token_status().await, Some(200));
            issued += 1;
            running.insert(round % 2, fleet.operators[round % 2].start().await);
        }
        done.store(true, Ordering::Relaxed);
        issued
    };
    let (counts, issued) = tokio::join!(client.load(&fleet.operators[0], 6, 5, &done), kills);
    assert_eq!(issued, 4);
    let (writes, cut) = (counts.writes.load(Ordering::Relaxed), counts.cut.load(Ordering::Relaxed));
    assert!(writes > 100 && cut > 0, "{counts:?}");
    fleet.all_is_there(&client, running).await;
}

/// Two machines with one join token, each at a replica of its own at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_machines_with_one_join_token_at_two_replicas_one_comes_in() {
    race_for_join_tokens(12).await;
}

/// The same so many times: one comes in each time, and the other is told that the token is used, then and afterwards, at
/// both replicas.
pub(crate) async fn race_for_join_tokens(rounds: usize) {
    let refused = |answer: &Answer| {
        assert!(answer.status == 403, "{answer:?}");
        assert_eq!(answer.json()["error"]["code"], "JoinTokenRefused", "{answer:?}");
        assert!(answer.text("/error/message").contains("make a new one"), "{answer:?}");
    };
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[("fsync", "off")]).await;
    let fleet = Fleet::new(&sandbox, 2, &cluster.url("denizen")).await;
    let (running, _) = fleet.start().await;
    let now = Clock::system().now();
    let nodes = [Node::new(now), Node::new(now)];
    let mut won = [0, 0];
    for round in 0..rounds {
        let create = ["join-token", "create", "--resource-group", "servers"];
        let token = SecretString::from(fleet.operators[round % 2].run(&create).await.ok());
        let requests = [0, 1].map(|n| {
            let name = format!("machine-{round}-{n}");
            nodes[n].request(&fleet.public_url, &token, &name, |_| ())
        });
        let enrol = async |n: usize| {
            let url = format!("{}{}", running[n].authority, denizen_wire::node::ENROL_PATH);
            let body = serde_json::to_string(&requests[n]).unwrap();
            running[n].wire.send("POST", &url, &[("Content-Type", "application/json")], Some(&body)).await.unwrap()
        };
        let (one, other) = tokio::join!(enrol(0), enrol(1));
        let statuses = [one.status, other.status];
        let in_at = statuses.iter().position(|status| *status == 200).unwrap_or_else(|| panic!("{one:?} {other:?}"));
        refused(if in_at == 0 { &other } else { &one });
        won[in_at] += 1;
        // Nor afterwards, at either.
        for server in [1 - in_at, in_at] {
            let url = format!("{}{}", running[server].authority, denizen_wire::node::ENROL_PATH);
            let body = serde_json::to_string(&requests[1 - in_at]).unwrap();
            let headers = [("Content-Type", "application/json")];
            let again = running[server].wire.send("POST", &url, &headers, Some(&body)).await.unwrap();
            refused(&again);
        }
    }
    eprintln!("which replica won: {won:?}");
    for server in running {
        server.stop().await;
    }
    fleet.verify().await;
}
