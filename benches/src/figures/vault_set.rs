//! Durable secret writes a second at 1, 16 and 64 connections, on both engines, as the disk is and with 10 ms added to each
//! sync; beside them the engine's own rate of commits of one row.
//!
//! A slow disk is made for SQLite by `strace`, which holds each `fdatasync` and `fsync` of the server for so long, and for
//! PostgreSQL by `commit_delay`, for which it waits before each sync of its log. The bar: with slow syncs, 64 connections
//! have at least twenty times the writes that they had while each write had a sync of its own.
//!
//! And the same through one, two and three replicas over one PostgreSQL with slow syncs. Replicas that waited for one another's
//! syncs would have no more writes together than one alone: three must have twice as many.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use denizen_test_postgres::Cluster;

use super::{Page, Plan, replicas::together};
use crate::{
    child::Child,
    dev,
    http::{self, Connection, Origin},
    load::{Load, Program, Round, Session},
    peer::commits::COMMITS,
    report::{Verdict, median},
    served::{Deployment, Served, put_secret, slow},
};

const NAME: &str = "vault-set";
/// Writes a second of 64 connections with 10 ms more a sync, when each write had a sync of its own.
const BEFORE: f64 = 53.0;
const BAR: f64 = 20.0;
const CONNECTIONS: [usize; 3] = [1, 16, 64];
const REPLICAS: usize = 3;
/// Connections to each replica, where there are several.
const EACH: usize = 4;
/// All replicas together have so many times the writes of one, at least.
const TOGETHER: f64 = 2.0;

struct Writes {
    origin: Origin,
    token: Arc<str>,
    next: Arc<AtomicU64>,
}

struct Writer {
    connection: Connection,
    token: Arc<str>,
    next: Arc<AtomicU64>,
}

impl Program for Writes {
    type Session = Writer;

    async fn open(&self) -> Result<Writer> {
        let (token, next) = (Arc::clone(&self.token), Arc::clone(&self.next));
        Ok(Writer { connection: self.origin.connect().await?, token, next })
    }
}

impl Session for Writer {
    async fn exchange(&mut self) -> Result<()> {
        let name = format!("bench-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let request = put_secret(&name, &self.token, "a value of about the size of a password")?;
        let answer = self.connection.send(request).await?;
        ensure!(answer.status().is_success(), "not written: {}", http::excerpt(&answer));
        Ok(())
    }
}

/// The database server of a run, where there is one.
enum Engine {
    Sqlite,
    Postgres(Box<Cluster>),
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let mut text = format!(
        "{:<12}{:<8}{:>12}{:>12}{:>10}{:>10}{:>14}{:>16}\n",
        "engine", "disk", "connections", "writes/s", "p50, ms", "p99, ms", "CPU us/write", "bare commits/s"
    );
    let mut ratio = 0.0;
    for is_postgres in [false, true] {
        for is_slow in [false, true] {
            let engine = engine(is_postgres, is_slow).await?;
            let database = match &engine {
                Engine::Sqlite => None,
                Engine::Postgres(cluster) => Some(cluster.url("denizen")),
            };
            let deployment = Deployment::make(1, database.as_deref()).await?;
            let mut server = deployment.start(0, is_slow && !is_postgres).await?;
            let token: Arc<str> = deployment.token(&server).await?.into();
            let next = Arc::new(AtomicU64::new(0));
            for connections in CONNECTIONS {
                let writes = Writes { origin: server.vault.clone(), token: token.clone(), next: next.clone() };
                let rounds = rounds(plan, connections, &mut server, &writes).await?;
                let rate = median(rounds.iter().map(rate).collect());
                let bare = bare(&engine, &deployment, plan, connections, is_slow).await?;
                let of =
                    |percent| median(rounds.iter().map(|r| r.percentile(percent).as_secs_f64() * 1000.0).collect());
                // What `strace` costs is not the server's.
                let cpu = match is_slow && !is_postgres {
                    true => "-".to_owned(),
                    false => format!("{:.0}", 1e6 / median(rounds.iter().map(Round::per_cpu_second).collect())),
                };
                let _ = writeln!(
                    text,
                    "{:<12}{:<8}{connections:>12}{rate:>12.0}{:>10.1}{:>10.1}{cpu:>14}{bare:>16.0}",
                    if is_postgres { "PostgreSQL" } else { "SQLite" },
                    if is_slow { "+10 ms" } else { "as is" },
                    of(50),
                    of(99),
                );
                if is_slow && connections == 64 {
                    let times = rate / BEFORE;
                    ratio = if is_postgres { f64::min(ratio, times) } else { times };
                }
            }
            server.stop().await?;
        }
    }
    let _ = writeln!(
        text,
        "\nCPU is the server's own. Bare commits are of one row: of SQLite in one process, of PostgreSQL by pgbench with as many\n\
         clients. With one sync a write, 64 connections had {BEFORE} writes a second at 10 ms more; the ratio is over that, the\n\
         worse of the two engines."
    );
    let (table, times) = through_replicas(plan).await?;
    text.push_str(&table);
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: BAR, sound: times >= TOGETHER } })
}

/// Writes through several replicas, with slow syncs; and how many times the writes of one all of them have.
async fn through_replicas(plan: Plan) -> Result<(String, f64)> {
    let engine = engine(true, true).await?;
    let Engine::Postgres(cluster) = &engine else { anyhow::bail!("no PostgreSQL") };
    let deployment = Deployment::make(REPLICAS, Some(&cluster.url("denizen"))).await?;
    let next = Arc::new(AtomicU64::new(0));
    let mut text =
        format!("\n{:<12}{:>12}{:>12}{:>10}{:>10}\n", "replicas", "connections", "writes/s", "p50, ms", "p99, ms");
    let (mut servers, mut all) = (Vec::<Served>::new(), Vec::new());
    for replicas in 1..=REPLICAS {
        servers.push(deployment.start(replicas - 1, false).await?);
        let token: Arc<str> = deployment.token(servers.first().context("no server")?).await?.into();
        let (mut rates, mut middles, mut tails) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            let load = Load { warm_up: 2, ..Load::new(EACH, plan.time) };
            let running = servers.iter_mut().map(|server| {
                let writes = Writes { origin: server.vault.clone(), token: token.clone(), next: next.clone() };
                async move { load.run(&mut server.child, &writes).await }
            });
            let rounds: Vec<Round> = together(running.collect()).await.into_iter().collect::<Result<_>>()?;
            rates.push(rounds.iter().map(rate).sum());
            let of = |percent| median(rounds.iter().map(|r| r.percentile(percent).as_secs_f64() * 1000.0).collect());
            middles.push(of(50));
            tails.push(of(99));
        }
        let (rate, middle, tail) = (median(rates), median(middles), median(tails));
        all.push(rate);
        let connections = format!("{EACH} each");
        let _ = writeln!(text, "{replicas:<12}{connections:>12}{rate:>12.0}{middle:>10.1}{tail:>10.1}");
    }
    for server in servers {
        server.stop().await?;
    }
    let times = all.last().zip(all.first()).map_or(f64::NAN, |(most, one)| most / one);
    let _ = writeln!(
        text,
        "\nover one PostgreSQL with 10 ms more a sync: {REPLICAS} have {times:.2} times the writes of one, of {TOGETHER} at least"
    );
    Ok((text, times))
}

#[expect(clippy::cast_precision_loss, reason = "a round is bounded far below 2^52 exchanges")]
fn rate(round: &Round) -> f64 {
    round.exchanges as f64 / round.wall
}

async fn rounds(plan: Plan, connections: usize, server: &mut Served, writes: &Writes) -> Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let load = Load { warm_up: 2, ..Load::new(connections, plan.time) };
        rounds.push(load.run(&mut server.child, writes).await?);
    }
    Ok(rounds)
}

async fn engine(is_postgres: bool, is_slow: bool) -> Result<Engine> {
    if !is_postgres {
        return Ok(Engine::Sqlite);
    }
    let settings: &[(&str, &str)] = if is_slow { &[("commit_delay", "10000"), ("commit_siblings", "0")] } else { &[] };
    let start = move || -> std::io::Result<Cluster> {
        let cluster = Cluster::start_under(std::path::Path::new(dev::OUT), settings)?;
        cluster.create("denizen")?;
        cluster.create("bare")?;
        cluster.query("bare", "CREATE TABLE kept (id BIGSERIAL PRIMARY KEY, content BYTEA NOT NULL)")?;
        Ok(cluster)
    };
    std::fs::create_dir_all(dev::OUT)?;
    Ok(Engine::Postgres(Box::new(tokio::task::spawn_blocking(start).await??)))
}

/// Commits of one row a second, by the engine alone on the same disk.
async fn bare(engine: &Engine, at: &Deployment, plan: Plan, clients: usize, is_slow: bool) -> Result<f64> {
    let seconds = plan.time.as_secs().to_string();
    match engine {
        Engine::Sqlite => {
            let file = at.directory().join(format!("bare-{clients}.db"));
            let arguments = ["peer", "commits", "--file", dev::text(&file)?, "--seconds", &seconds];
            let us = std::env::current_exe()?;
            let mut child = if is_slow { slow(&us, &arguments)? } else { Child::start(&us, &arguments, true)? };
            Ok(child.says(COMMITS).await?.parse()?)
        }
        Engine::Postgres(cluster) => {
            let script = at.directory().join("insert.sql");
            std::fs::write(&script, "INSERT INTO kept (content) VALUES (decode(repeat('07', 500), 'hex'));\n")?;
            let clients = clients.to_string();
            let mut pgbench = tokio::process::Command::new("pgbench");
            pgbench.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--client", &clients, "--time", &seconds]);
            pgbench.arg("--file").arg(&script).arg(cluster.url("bare")).kill_on_drop(true);
            let output =
                pgbench.output().await.context("pgbench is missing: install the package postgresql-contrib")?;
            let said = String::from_utf8_lossy(&output.stdout);
            let line = said.lines().find_map(|line| line.strip_prefix("tps = "));
            let line = line.with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
            Ok(line.split_whitespace().next().context("no rate")?.parse()?)
        }
    }
}
