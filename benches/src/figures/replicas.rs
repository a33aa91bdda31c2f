//! Tokens issued by 1, 2 and 3 replicas over one PostgreSQL, in CPU seconds of all of them; what they ask the database
//! meanwhile; and how long after its acknowledgement a write is known to every replica.
//!
//! What an agent asks of the database in a day is what its tokens do, and once what its enrolment does; both are counted.
//!
//! The bar: three replicas together have at least 0.9 of the tokens per CPU second of one. And a token asks the database
//! nothing: what replicas read while they issue is what they read in the same time when nobody asks them anything.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use denizen_agent::cache::lifetime;
use denizen_server::domain::lifetimes::MANAGED_IDENTITY;
use denizen_test_postgres::Cluster;
use denizen_wire::UnixTime;
use hyper::body::Bytes;

use super::{Page, Plan};
use crate::{
    dev::{self, Counters},
    http::{self, Connection, Origin},
    load::{Load, Program, Session},
    machine::Machine,
    report::{Verdict, median},
    served::{Deployment, RESOURCE, Served, put_secret},
};

const NAME: &str = "replicas";
const BAR: f64 = 0.90;
const REPLICAS: usize = 3;
/// Writes whose visibility is measured.
const WRITES: usize = 300;
const REVISION: &str = "x-denizen-revision";
/// Statements more than without load that all replicas may have read, for each token.
const NOTHING: f64 = 0.001;

struct Tokens {
    origin: Origin,
    path: Arc<str>,
    form: Bytes,
}

struct Asks {
    connection: Connection,
    path: Arc<str>,
    form: Bytes,
}

impl Program for Tokens {
    type Session = Asks;

    async fn open(&self) -> Result<Asks> {
        let (path, form) = (Arc::clone(&self.path), self.form.clone());
        Ok(Asks { connection: self.origin.connect().await?, path, form })
    }
}

impl Session for Asks {
    async fn exchange(&mut self) -> Result<()> {
        let answer = self.connection.send(http::post_form(&self.path, self.form.clone())?).await?;
        ensure!(answer.status().is_success(), "no token: {}", http::excerpt(&answer));
        Ok(())
    }
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    std::fs::create_dir_all(dev::OUT)?;
    let start = || -> std::io::Result<Cluster> {
        let cluster = Cluster::start_under(std::path::Path::new(dev::OUT), &[])?;
        cluster.create("denizen")?;
        Ok(cluster)
    };
    let cluster = tokio::task::spawn_blocking(start).await??;
    let deployment = Deployment::make(REPLICAS, Some(&cluster.url("denizen"))).await?;
    let mut text = format!(
        "{:<10}{:>12}{:>10}{:>14}{:>22}{:>16}\n",
        "replicas", "tokens", "CPU-s", "per CPU-s", "statements: idle", "beside tokens"
    );
    let (mut servers, mut rates, mut is_silent) = (Vec::<Served>::new(), Vec::new(), true);
    let mut machine: Option<Machine> = None;
    let (mut enrolment, mut token) = (Counters::default(), PerToken::default());
    for replicas in 1..=REPLICAS {
        servers.push(deployment.start(replicas - 1, false).await?);
        if machine.is_none() {
            let first = servers.first().context("no server")?;
            let before = first.counters().await?;
            machine = Some(deployment.machine(first).await?);
            enrolment = since(before, first.counters().await?);
        }
        let machine = machine.as_ref().context("no machine")?;
        let path: Arc<str> = machine.token_endpoint().parse::<::http::Uri>()?.path().into();
        let form = machine.request(RESOURCE)?;
        let time = plan.time * plan.rounds;
        let before = counted(&servers).await?;
        tokio::time::sleep(time).await;
        let idle = since(before, counted(&servers).await?);
        let load = Load::new(plan.connections.div_ceil(replicas), plan.time);
        let before = counted(&servers).await?;
        let began = Instant::now();
        let (mut of_rounds, mut tokens, mut seconds) = (Vec::new(), 0, 0.0);
        for _ in 0..plan.rounds {
            let mut running = Vec::new();
            for server in &mut servers {
                let program = Tokens { origin: server.control.clone(), path: path.clone(), form: form.clone() };
                running.push(async move { load.run(&mut server.child, &program).await });
            }
            let (mut issued, mut cpu) = (0, 0.0);
            for round in together(running).await {
                let round = round?;
                issued += round.exchanges;
                cpu += round.cpu;
            }
            of_rounds.push(count(issued) / cpu);
            tokens += issued;
            seconds += cpu;
        }
        let all = since(before, counted(&servers).await?);
        let busy = all.reads;
        // The same time without load; following asks at the same times either way.
        let longer = began.elapsed().as_secs_f64() / time.as_secs_f64();
        let expected = count(idle.reads) * longer;
        let rate = median(of_rounds);
        let _ = writeln!(
            text,
            "{replicas:<10}{tokens:>12}{seconds:>10.2}{rate:>14.0}{:>22}{busy:>16}",
            format!("{expected:.0} in that time")
        );
        is_silent &= (count(busy) - expected) / count(tokens) < NOTHING;
        token.tokens += tokens;
        token.reads += count(busy) - expected;
        token.writes += count(all.writes) - count(idle.writes) * longer;
        token.audit_commits += all.audit_commits;
        rates.push(rate);
    }
    if !is_silent {
        text.push_str("tokens asked the database something: this figure does not count\n");
    }
    text.push_str(&a_day(enrolment, &token));
    let token = deployment.token(servers.first().context("no server")?).await?;
    let mut seen = visible(&servers, &token).await?;
    seen.sort_unstable();
    let of =
        |percent: usize| seen.get((seen.len() - 1) * percent / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    let _ = writeln!(
        text,
        "\n{WRITES} writes, known to every replica after p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms from their acknowledgement",
        of(50),
        of(99),
        of(100)
    );
    for server in servers {
        server.stop().await?;
    }
    let ratio = rates.last().zip(rates.first()).map_or(f64::NAN, |(most, one)| most / one);
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: BAR, sound: is_silent } })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run of minutes")]
fn count(number: u64) -> f64 {
    number as f64
}

/// What tokens did to the database, beside what replicas do without them.
#[derive(Default)]
struct PerToken {
    tokens: u64,
    reads: f64,
    writes: f64,
    audit_commits: u64,
}

/// What an agent does to the database in a day.
fn a_day(enrolment: Counters, token: &PerToken) -> String {
    // Of a managed identity, for one resource: renewed at half its life, less up to a tenth of that at random.
    let middle = lifetime(UnixTime(0), MANAGED_IDENTITY, u16::MAX / 2).refresh_at().0;
    #[expect(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let tokens = 86_400.0 / middle as f64;
    let each = |of: f64| of / count(token.tokens);
    let statements = each(token.reads.max(0.0) + token.writes.max(0.0));
    format!(
        "\nan agent a day: {tokens:.1} tokens a resource, {:.3} statements for them ({statements:.6} a token); their records in {:.4} \
         commits of the audit at this load, in {tokens:.1} at most\nonce, to join (the join token is made, the machine enrols): {} \
         statements read, {} wrote\n",
        statements * tokens,
        each(count(token.audit_commits)) * tokens,
        enrolment.reads,
        enrolment.writes,
    )
}

/// What all of them have counted so far.
async fn counted(servers: &[Served]) -> Result<Counters> {
    let mut all = Counters::default();
    for server in servers {
        let of = server.counters().await?;
        all = Counters {
            reads: all.reads + of.reads,
            writes: all.writes + of.writes,
            audit_commits: all.audit_commits + of.audit_commits,
            audit_events: all.audit_events + of.audit_events,
        };
    }
    Ok(all)
}

fn since(before: Counters, after: Counters) -> Counters {
    Counters {
        reads: after.reads.saturating_sub(before.reads),
        writes: after.writes.saturating_sub(before.writes),
        audit_commits: after.audit_commits.saturating_sub(before.audit_commits),
        audit_events: after.audit_events.saturating_sub(before.audit_events),
    }
}

/// Waits for all at once.
pub(super) async fn together<F: Future>(running: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = running.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = one.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// How long after each write's acknowledgement the last replica had it.
async fn visible(servers: &[Served], token: &str) -> Result<Vec<Duration>> {
    let mut connections = Vec::new();
    for server in servers {
        connections.push(server.vault.connect().await?);
    }
    let mut seen = Vec::new();
    for n in 0..WRITES {
        let at = n % servers.len();
        let writer = connections.get_mut(at).context("no connection")?;
        let answer = writer.send(put_secret("visible", token, &n.to_string())?).await?;
        ensure!(answer.status().is_success(), "not written: {}", http::excerpt(&answer));
        let (written, revision) = (Instant::now(), revision(&answer)?);
        let others =
            connections.iter_mut().enumerate().filter(|(other, _)| *other != at).map(|(_, connection)| async move {
                loop {
                    let bearer = format!("Bearer {token}");
                    let request = http::get("/secrets?api-version=7.6&maxresults=1", &[("authorization", &bearer)])?;
                    let answer = connection.send(request).await?;
                    ensure!(answer.status().is_success(), "not read: {}", http::excerpt(&answer));
                    if self::revision(&answer)? >= revision {
                        return Ok(written.elapsed());
                    }
                }
            });
        let mut last = Duration::ZERO;
        for elapsed in together(others.collect()).await {
            last = last.max(elapsed?);
        }
        seen.push(last);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(seen)
}

/// By which state an answer was made.
fn revision(answer: &hyper::Response<Bytes>) -> Result<u64> {
    let token = answer.headers().get(REVISION).context("no revision")?.to_str()?;
    Ok(token.split_once('-').context("no revision")?.0.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_day_is_its_tokens_and_what_each_asks() {
        let enrolment = Counters { reads: 7, writes: 11, ..Counters::default() };
        let token = PerToken { tokens: 1000, reads: 2000.0, writes: 1000.0, audit_commits: 100 };
        let said = a_day(enrolment, &token);
        // A token of four hours is renewed after 114 minutes in the middle.
        assert!(said.contains("12.6 tokens a resource, 37.889 statements for them (3.000000 a token)"), "{said}");
        assert!(said.contains("1.2630 commits of the audit at this load, in 12.6 at most"), "{said}");
        assert!(said.contains("7 statements read, 11 wrote"), "{said}");
        assert!(a_day(enrolment, &PerToken { reads: -5.0, writes: -1.0, ..token }).contains("(0.000000 a token)"));
    }
}
