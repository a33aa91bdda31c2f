//! Tokens issued per CPU second of the server, by certificate assertion over TLS keep-alive, against the RSA-2048
//! signatures that one CPU second of this machine makes: each token is one signature, so the ratio is the share of
//! the server's time that goes into what cannot be saved.
//!
//! The client is the machine that `denizen dev` enrolled, signing as its agent does: one assertion, reused for its
//! life. Requests that each bring a fresh assertion are shown beside it. The server's own counters must show that
//! no token asked the database anything.

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context, Result, ensure};
use hyper::body::Bytes;

use super::{Page, Plan};
use crate::{
    dev::{Counters, Dev},
    http::{self, Connection, Origin},
    limit,
    load::{Load, Program, Round, Session},
    machine::Machine,
    report::{Comparison, Pair, Verdict, median},
};

const NAME: &str = "token-issue";
const BAR: f64 = 0.80;
const RESOURCE: &str = "https://vault.azure.net";

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
    let before = dev.counters().await?;
    let (mut pairs, mut with_fresh) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let ours = load.run(&mut dev.child, &reused).await?;
        pairs.push(Pair { ours, other: limit::signatures(plan.time).await? });
        with_fresh.push(load.run(&mut dev.child, &fresh).await?);
    }
    let after = dev.counters().await?;
    dev.child.stop().await?;

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
        compared.median(|p| rate(&p.ours)),
    );
    let _ = writeln!(
        text,
        "each request with a fresh assertion: {fresh_rate:.0} per CPU-s, {:.3} of the limit (median of {} rounds)",
        fresh_rate / limit_rate,
        plan.rounds
    );
    let ours = |percent| compared.median(|p| p.ours.percentile(percent).as_secs_f64() * 1000.0);
    let _ = writeln!(text, "latency: p50 {:.2} ms, p99 {:.2} ms", ours(50), ours(99));
    let sound = silent(&mut text, before, after);
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: compared.ratio(), bar: BAR, sound } })
}

#[expect(clippy::cast_precision_loss, reason = "a round is bounded far below 2^52 exchanges")]
fn rate(round: &Round) -> f64 {
    round.exchanges as f64 / round.wall
}

/// A cached answer would make the figure meaningless.
async fn each_request_is_answered_anew(tokens: &Tokens) -> Result<()> {
    let mut client = tokens.open().await?;
    let (one, other) = (access_token(&client.token().await?)?, access_token(&client.token().await?)?);
    ensure!(one != other, "two requests were given the same token: nothing was issued");
    Ok(())
}

/// Adds the counters to the text; false when the database was asked anything.
fn silent(text: &mut String, before: Counters, after: Counters) -> bool {
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
    let silent = (before.reads, before.writes) == (after.reads, after.writes);
    if !silent {
        text.push_str("a token asked the database something: this figure does not count\n");
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_spoils_the_figure_and_audit_does_not() {
        let before = Counters { reads: 5, writes: 2, audit_commits: 1, audit_events: 1 };
        let audited = Counters { audit_commits: 9, audit_events: 9000, ..before };
        assert!(silent(&mut String::new(), before, audited));
        let mut text = String::new();
        assert!(!silent(&mut text, before, Counters { reads: 6, ..audited }));
        assert!(text.contains("does not count"), "{text}");
        assert!(!silent(&mut String::new(), before, Counters { writes: 3, ..audited }));
    }
}
