//! What a well-behaved client sees while strangers hold 10,000 connections on every listener at once and do nothing
//! good with them ([`crate::hold`]), and what that costs the server's memory.
//!
//! The good client opens a new connection for each request, on each of the five listeners in turn, from the same address
//! and as the same user as the strangers: nothing but what they do tells them apart. The bar: its 99th percentile is at
//! most 50 ms on every listener. And with all of it held, SIGTERM ends the process in time.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use hyper::{Request, body::Bytes};

use super::{Page, Plan};
use crate::{
    dev::Dev,
    hold,
    http::{self, Origin},
    machine::Machine,
    report::Verdict,
};

const NAME: &str = "held";
/// Connections on each listener.
const HELD: usize = 10_000;
/// The latency that 99 of 100 requests do not exceed, and the whole figure is held to.
const MOST: Duration = Duration::from_millis(50);
/// A request that has no answer after this long has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(10);
const RESOURCE: &str = "https://vault.azure.net";

/// One listener: its name, where it is, and what is asked there.
struct Listener {
    name: &'static str,
    url: String,
    origin: Origin,
    tls: bool,
    ask: Box<dyn Fn() -> Result<Request<Full<Bytes>>>>,
}

/// What the good client saw on one listener.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failures: usize,
}

impl Seen {
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(PATIENCE)
    }
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let dev = Dev::start().await?;
    let listeners = listeners(&dev).await?;
    let time = plan.time * plan.rounds;
    let alone = ask_all(&listeners, time).await;
    let idle = dev.child.memory()?.resident;
    let ca = dev.ca_file();
    let mut holders = Vec::new();
    for listener in &listeners {
        let ca = if listener.tls { Some(ca.to_str().context("a path that is not text")?) } else { None };
        holders.push(hold::start(&listener.url, ca, HELD)?);
    }
    let mut opened = Vec::new();
    for holder in &mut holders {
        opened.push(holder.says(hold::HOLDING).await?);
        holder.ignore_output();
    }
    let beside = ask_all(&listeners, time).await;
    let held = dev.child.memory()?.resident;
    let began = Instant::now();
    let stopped = dev.child.stop().await;
    let stop = began.elapsed();
    for holder in holders {
        holder.stop().await?;
    }

    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let mut text = format!(
        "{HELD} connections held on each listener; a new connection for each request of the good client\n{:<10}{:>9}{:>12}{:>12}{:>9}{:>14}{:>12}{:>9}{:>14}\n",
        "listener", "opened", "alone: p50", "p99", "failed", "beside: p50", "p99", "failed", "requests"
    );
    let mut worst = Duration::from_nanos(1);
    let mut failures = 0;
    for (((listener, alone), beside), opened) in listeners.iter().zip(&alone).zip(&beside).zip(&opened) {
        let _ = writeln!(
            text,
            "{:<10}{:>9}{:>12}{:>12}{:>9}{:>14}{:>12}{:>9}{:>14}",
            listener.name,
            opened,
            ms(alone.percentile(50)),
            ms(alone.percentile(99)),
            alone.failures,
            ms(beside.percentile(50)),
            ms(beside.percentile(99)),
            beside.failures,
            beside.latencies.len(),
        );
        worst = worst.max(beside.percentile(99));
        failures += beside.failures;
    }
    let mib = |bytes: u64| bytes / 1024 / 1024;
    let _ = writeln!(text, "\nresident: {} MiB alone, {} MiB with all of it held", mib(idle), mib(held));
    match &stopped {
        Ok(()) => _ = writeln!(text, "SIGTERM with all of it held: ended after {:.1} s", stop.as_secs_f64()),
        Err(error) => _ = writeln!(text, "SIGTERM with all of it held: {error}"),
    }
    let ratio = MOST.as_secs_f64() / worst.as_secs_f64();
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: 1.0, sound: failures == 0 && stopped.is_ok() } })
}

/// The five listeners, each with a request that proves that everything behind it works.
async fn listeners(dev: &Dev) -> Result<Vec<Listener>> {
    let machine: Machine = dev.machine()?;
    let form = machine.request(RESOURCE)?;
    let path = machine.token_endpoint().parse::<::http::Uri>()?.path().to_owned();
    let control = Origin::of(&dev.manifest.authority, Some(dev.ca_pem()))?;
    let answer = control.connect().await?.send(http::post_form(&path, form.clone())?).await?;
    ensure!(answer.status().is_success(), "no token: {}", http::excerpt(&answer));
    let token: serde_json::Value = serde_json::from_slice(answer.body())?;
    let token = token.get("access_token").and_then(|token| token.as_str()).context("no access_token")?;
    let bearer = format!("Bearer {token}");
    let (imds, local) =
        (dev.manifest.agent.imds_host.clone(), dev.manifest.agent.app_service.identity_endpoint.clone());
    let secret = format!("/secrets/{}?api-version=7.6", dev.manifest.secret.name);
    let of = |name, url: &str, tls: bool, ask: Box<dyn Fn() -> Result<Request<Full<Bytes>>>>| -> Result<Listener> {
        let origin = Origin::of(url, tls.then_some(dev.ca_pem()))?;
        Ok(Listener { name, url: url.to_owned(), origin, tls, ask })
    };
    let metadata = |path: &'static str| move || http::get(path, &[("Metadata", "true")]);
    Ok(vec![
        of("control", &dev.manifest.authority, true, Box::new(move || http::post_form(&path, form.clone())))?,
        of(
            "vault",
            &dev.manifest.vault_url,
            true,
            Box::new(move || http::get(&secret, &[("Authorization", bearer.as_str())])),
        )?,
        of("metrics", &dev.manifest.metrics_url, false, Box::new(|| http::get("/metrics", &[])))?,
        of("agent", &local, false, Box::new(metadata("/metadata/instance?api-version=2020-06-01")))?,
        of(
            "imds",
            &imds,
            false,
            Box::new(metadata(
                "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net",
            )),
        )?,
    ])
}

/// Asks each listener in turn, again and again, for this long.
async fn ask_all(listeners: &[Listener], time: Duration) -> Vec<Seen> {
    let mut seen: Vec<Seen> = listeners.iter().map(|_| Seen::default()).collect();
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (listener, seen) in listeners.iter().zip(&mut seen) {
            let began = Instant::now();
            let answered = tokio::time::timeout(PATIENCE, ask(listener)).await;
            seen.latencies.push(began.elapsed());
            if !matches!(answered, Ok(Ok(()))) {
                seen.failures += 1;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    seen
}

async fn ask(listener: &Listener) -> Result<()> {
    let answer = listener.origin.connect().await?.send((listener.ask)()?).await?;
    ensure!(answer.status().is_success(), "{}: {}", listener.name, http::excerpt(&answer));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_answered_nothing_is_as_slow_as_a_failure() {
        assert_eq!(Seen::default().percentile(99), PATIENCE);
        let seen = Seen { latencies: (0..=100).rev().map(Duration::from_millis).collect(), failures: 0 };
        assert_eq!(seen.percentile(99), Duration::from_millis(99));
    }
}
