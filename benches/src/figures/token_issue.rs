//! Tokens issued per CPU second of the server, by certificate assertion over TLS keep-alive, against the RSA-2048
//! signatures that one CPU second of this machine makes: each token is one signature, so the ratio is the share of
//! the server's time that goes into what cannot be saved.
//!
//! The client is the machine that `denizen dev` enrolled, signing as its agent does: one assertion, reused for its
//! life. Requests that each bring a fresh assertion are shown beside it. The server's own counters must show that
//! no token asked the database anything: what they count is what the schedules ask, with tokens and without.
//!
//! Then the same by client secret, each secret's first use after a start and later ones; the latency at half of what the
//! server can do; how many tokens well-behaved clients get while strangers send wrong secrets; and another token service.
//!
//! | file | holds |
//! |---|---|
//! | [`secrets`] | clients with secrets |
//! | [`flood`] | strangers who send wrong ones |
//! | [`peers`] | other token services |

mod flood;
mod peers;
mod secrets;

use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hyper::body::Bytes;

use self::{
    flood::Flood,
    secrets::{BySecret, Clients},
};
use super::{Page, Plan, alternate, latencies};
use crate::{
    dev::{Counters, Dev, Manifest},
    http::{self, Connection, Origin},
    limit,
    load::{Load, Program, Round, Session},
    machine::Machine,
    report::{Comparison, Pair, Verdict, median},
};

const NAME: &str = "token-issue";
const BAR: f64 = 0.80;
const RESOURCE: &str = "https://vault.azure.net";
/// What the server's schedules ask of the database in a second, at most: the lease, and how large the audit is.
const SCHEDULES: u64 = 1;
/// No round by number of exchanges takes so long.
const LONG: Duration = Duration::from_secs(300);
/// Clients with a secret each: enough that going through them once takes long enough to measure.
const CLIENTS: usize = 2000;
/// What is left of the well-behaved clients' rate beside a flood of wrong secrets, at least.
const BESIDE_A_FLOOD: f64 = 0.80;
/// Tokens per CPU second over another token service's, at least.
const OVER_A_PEER: f64 = 1.0;

/// Where a request's assertion comes from.
#[derive(Clone)]
enum Assertion {
    /// One for all requests.
    Reused(Bytes),
    /// Each request signs its own.
    Fresh(Arc<Machine>),
}

struct Tokens {
    origin: Origin,
    path: String,
    assertion: Assertion,
}

struct Client {
    connection: Connection,
    path: String,
    assertion: Assertion,
}

impl Program for Tokens {
    type Session = Client;

    async fn open(&self) -> Result<Client> {
        let connection = self.origin.connect().await?;
        Ok(Client { connection, path: self.path.clone(), assertion: self.assertion.clone() })
    }
}

impl Session for Client {
    async fn exchange(&mut self) -> Result<()> {
        self.token().await.map(drop)
    }
}

impl Client {
    async fn token(&mut self) -> Result<Bytes> {
        let form = match &self.assertion {
            Assertion::Reused(form) => form.clone(),
            Assertion::Fresh(machine) => machine.request(RESOURCE)?,
        };
        let answer = self.connection.send(http::post_form(&self.path, form)?).await?;
        ensure!(answer.status().is_success(), "no token: {}", http::excerpt(&answer));
        Ok(answer.into_body())
    }
}

fn access_token(body: &[u8]) -> Result<String> {
    let body: serde_json::Value = serde_json::from_slice(body)?;
    Ok(body.get("access_token").and_then(|t| t.as_str()).context("an answer without access_token")?.to_owned())
}

fn tokens(dev: &Dev, machine: &Machine, assertion: Assertion) -> Result<Tokens> {
    let endpoint = machine.token_endpoint();
    let path = endpoint.parse::<::http::Uri>()?.path().to_owned();
    Ok(Tokens { origin: Origin::of(endpoint, Some(dev.ca_pem()))?, path, assertion })
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let mut dev = Dev::start().await?;
    let machine = Arc::new(dev.machine()?);
    let reused = tokens(&dev, &machine, Assertion::Reused(machine.request(RESOURCE)?))?;
    let fresh = tokens(&dev, &machine, Assertion::Fresh(Arc::clone(&machine)))?;
    each_request_is_answered_anew(&reused).await?;

    let load = Load::new(plan.connections, plan.time);
    let (before, began) = (dev.counters().await?, Instant::now());
    let (mut pairs, mut with_fresh) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let ours = load.run(&mut dev.child, &reused).await?;
        pairs.push(Pair { ours, other: limit::signatures(plan.time).await? });
        with_fresh.push(load.run(&mut dev.child, &fresh).await?);
    }
    let (after, took) = (dev.counters().await?, began.elapsed());
    let latency = at_half(&mut dev, load, &fresh, median(with_fresh.iter().map(Round::per_second).collect())).await?;

    let compared = Comparison { ours: "tokens", other: "bare RSA-2048 signatures", pairs };
    let fresh = |of: fn(&Round) -> f64| median(with_fresh.iter().map(of).collect());
    let (fresh_rate, limit_rate) = (fresh(Round::per_cpu_second), compared.median(|p| p.other.per_cpu_second()));
    let mut text = compared.table();
    let _ = writeln!(
        text,
        "\na token costs {:.0} us of the server's CPU, a signature {:.0} us; {} connections, {:.0} tokens a second",
        1e6 / compared.median(|p| p.ours.per_cpu_second()),
        1e6 / limit_rate,
        plan.connections,
        compared.median(|p| p.ours.per_second()),
    );
    let _ = writeln!(
        text,
        "each request with a fresh assertion: {fresh_rate:.0} per CPU-s, {:.3} of the limit (median of {} rounds)",
        fresh_rate / limit_rate,
        plan.rounds
    );
    let ours = |percent| compared.median(|p| p.ours.percentile(percent).as_secs_f64() * 1000.0);
    let _ = writeln!(text, "latency: p50 {:.2} ms, p99 {:.2} ms", ours(50), ours(99));
    text.push_str(&latency);
    let is_silent = silent(&mut text, before, after, took);

    let prepare = async |data: &Path, manifest: &Manifest| secrets::register(data, manifest, CLIENTS).await;
    let (dev, clients) = dev.again(prepare).await?;
    let dev = by_secret(&mut text, plan, dev, &clients, limit_rate).await?;
    let (dev, flood) = beside_a_flood(&mut text, plan, dev, &clients).await?;
    let peer = beside_a_peer(&mut text, plan, dev, &clients).await?;
    let sound = is_silent && flood.ok() && peer.ok();
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: compared.ratio(), bar: BAR, sound } })
}

/// Where the clients with secrets ask.
fn asking(dev: &Dev, clients: &Clients) -> Result<BySecret> {
    Ok(BySecret::new(Origin::of(&dev.manifest.authority, Some(dev.ca_pem()))?, &clients.path, &clients.forms))
}

/// The latency of fresh assertions when half as many come as can be answered.
async fn at_half(dev: &mut Dev, load: Load, fresh: &Tokens, rate: f64) -> Result<String> {
    let round = load.paced(rate / 2.0).run(&mut dev.child, fresh).await?;
    let ms = |percent| round.percentile(percent).as_secs_f64() * 1000.0;
    Ok(format!(
        "latency at half of that rate, {:.0} fresh assertions a second: p50 {:.2} ms, p99 {:.2} ms\n",
        round.per_second(),
        ms(50),
        ms(99)
    ))
}

/// Each client's first token after a start, and then as many again.
async fn by_secret(text: &mut String, plan: Plan, mut dev: Dev, clients: &Clients, limit: f64) -> Result<Dev> {
    let load = Load { warm_up: 0, exchanges: u64::try_from(clients.forms.len())?, ..Load::new(plan.connections, LONG) };
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        dev = dev.again(async |_, _| Ok(())).await?.0;
        let tokens = asking(&dev, clients)?;
        first.push(load.run(&mut dev.child, &tokens).await?);
        later.push(load.run(&mut dev.child, &tokens).await?);
    }
    for (what, rounds) in [("first use after a start", first), ("later", later)] {
        let rate = median(rounds.iter().map(Round::per_cpu_second).collect());
        let _ = writeln!(
            text,
            "{}by client secret, {what}: {rate:.0} per CPU-s, {:.0} us, {:.3} of the limit ({} clients, median of {} rounds)",
            if what == "later" { "" } else { "\n" },
            1e6 / rate,
            rate / limit,
            clients.forms.len(),
            plan.rounds
        );
    }
    Ok(dev)
}

/// The rate of well-behaved clients alone, and while strangers send wrong secrets.
async fn beside_a_flood(text: &mut String, plan: Plan, mut dev: Dev, clients: &Clients) -> Result<(Dev, Verdict)> {
    let (load, tokens) = (Load::new(plan.connections, plan.time), asking(&dev, clients)?);
    let origin = Origin::of(&dev.manifest.authority, Some(dev.ca_pem()))?;
    let (mut ratios, mut rates, mut wrong) = (Vec::new(), Vec::new(), 0);
    for _ in 0..plan.rounds {
        let alone = load.run(&mut dev.child, &tokens).await?;
        let flood = Flood::begin(&origin, &clients.path, &clients.ids).await?;
        let beside = load.run(&mut dev.child, &tokens).await?;
        wrong += flood.end().await?;
        ratios.push(beside.per_second() / alone.per_second());
        rates.push((alone.per_second(), beside.per_second()));
    }
    let rate = |of: fn(&(f64, f64)) -> f64| median(rates.iter().map(of).collect());
    let _ = writeln!(
        text,
        "\n{} well-behaved connections: {:.0} tokens a second alone, {:.0} while {} connections from another address sent \
         {wrong} wrong secrets; ratios {}",
        plan.connections,
        rate(|(alone, _)| *alone),
        rate(|(_, beside)| *beside),
        flood::CONNECTIONS,
        ratios.iter().map(|ratio| format!("{ratio:.3}")).collect::<Vec<_>>().join(" ")
    );
    let verdict = Verdict { name: "token-flood", ratio: median(ratios), bar: BESIDE_A_FLOOD, sound: true };
    let _ = writeln!(text, "{}", verdict.line());
    Ok((dev, verdict))
}

/// The same beside another token service.
async fn beside_a_peer(text: &mut String, plan: Plan, mut dev: Dev, clients: &Clients) -> Result<Verdict> {
    let ours = asking(&dev, clients)?;
    let (mut child, theirs) = peers::oidc_provider(dev.directory()).await?;
    let load = Load::new(plan.connections, plan.time);
    let ours = ("tokens by secret", &mut dev.child, &ours);
    let compared = alternate(plan.rounds, load, ours, ("oidc-provider", &mut child, &theirs)).await?;
    child.stop().await?;
    dev.child.stop().await?;
    let _ = write!(text, "\n{}{}", compared.table(), latencies(&compared));
    let verdict = Verdict { name: "token-oidc-provider", ratio: compared.ratio(), bar: OVER_A_PEER, sound: true };
    let _ = writeln!(text, "{}", verdict.line());
    Ok(verdict)
}

/// A cached answer would make the figure meaningless.
async fn each_request_is_answered_anew(tokens: &Tokens) -> Result<()> {
    let mut client = tokens.open().await?;
    let (one, other) = (access_token(&client.token().await?)?, access_token(&client.token().await?)?);
    ensure!(one != other, "two requests were given the same token: nothing was issued");
    Ok(())
}

/// Adds the counters to the text; false when the database was asked more than the schedules ask.
fn silent(text: &mut String, before: Counters, after: Counters, took: Duration) -> bool {
    let _ = writeln!(text, "\n{:<34}{:>12}{:>12}{:>12}", "the server's counters", "before", "after", "difference");
    let rows = [
        ("statements that read", before.reads, after.reads),
        ("statements that write", before.writes, after.writes),
        ("audit: groups committed", before.audit_commits, after.audit_commits),
        ("audit: records committed", before.audit_events, after.audit_events),
    ];
    for (what, before, after) in rows {
        let _ = writeln!(text, "{what:<34}{before:>12}{after:>12}{:>12}", after.saturating_sub(before));
    }
    let asked = after.reads.saturating_sub(before.reads) + after.writes.saturating_sub(before.writes);
    let silent = asked <= SCHEDULES * took.as_secs().max(1);
    let _ =
        writeln!(text, "in {:.0} s, in which the schedules may ask {SCHEDULES} statement a second", took.as_secs_f64());
    if !silent {
        text.push_str("a token asked the database something: this figure does not count\n");
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_beyond_the_schedules_spoil_the_figure_and_audit_does_not() {
        let before = Counters { reads: 5, writes: 2, audit_commits: 1, audit_events: 1 };
        let audited = Counters { reads: 45, writes: 3, audit_commits: 9, audit_events: 9000 };
        let took = Duration::from_secs(45);
        assert!(silent(&mut String::new(), before, audited, took));
        let mut text = String::new();
        assert!(!silent(&mut text, before, Counters { reads: 96, ..audited }, took));
        assert!(text.contains("does not count"), "{text}");
        assert!(!silent(&mut String::new(), before, Counters { writes: 60, ..audited }, took));
    }
}
