//! `denizen-bench-identity nothing | agent | endpoint DIRECTORY`: this repository's chain as a program of its own,
//! with the counting allocator that figure needs, and the endpoint that it and its peers in other languages ask.
//!
//! Each program under `benches/identity/` has the same two words and prints the same JSON; `figures/identity.rs` reads
//! it. `nothing` times the first decision of a fresh process. `agent` times its first token, then other credentials
//! that each ask for a resource nobody asked for before (some SDKs keep tokens for the whole process), then the token
//! a credential has kept.

use std::{
    alloc::System,
    hint::black_box,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use azure_core::credentials::TokenCredential;
use denizen_identity::{Credential, CredentialError, DefaultAzureCredential, TokenRequest};
use denizen_identity_testkit::{ArcEndpoint, Options};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Who is timed.
const CLIENT: &str = concat!("Rust denizen-identity ", env!("CARGO_PKG_VERSION"));
/// Credentials made after the first one of a process.
const WARM: usize = 20;
/// Calls of which a kept token's time is the mean.
const KEPT: u32 = 100_000;
/// Calls of which a kept token's allocations are the mean.
const COUNTED: usize = 1000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut runtime = match arguments.as_slice() {
        // The endpoint is nobody's bottleneck.
        ["endpoint", ..] => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match arguments.as_slice() {
            ["nothing"] => nothing().await,
            ["agent"] => agent().await,
            ["endpoint", directory] => endpoint(Path::new(directory)).await,
            _ => bail!("usage: denizen-bench-identity nothing | agent | endpoint DIRECTORY"),
        }
    })
}

#[expect(clippy::print_stdout, reason = "its output is its protocol")]
fn say(line: &serde_json::Value) {
    println!("{line}");
}

/// One credential and one token, as a program has it; what it took, in milliseconds.
async fn ask(scope: &str) -> Result<(f64, azure_core::Result<()>)> {
    let started = Instant::now();
    let credential = DefaultAzureCredential::new()?;
    let token = credential.get_token(&[scope], None).await;
    Ok((started.elapsed().as_secs_f64() * 1000.0, token.map(drop)))
}

async fn nothing() -> Result<()> {
    let (first, token) = ask("https://vault.azure.net/.default").await?;
    let Err(error) = token else { bail!("there is an identity here") };
    let ours = error.downcast_ref::<CredentialError>().context("an error that is not the chain's")?;
    ensure!(ours.is_unavailable(), "a link failed instead of being unavailable: {ours}");
    say(&json!({ "client": CLIENT, "first_ms": first }));
    Ok(())
}

async fn agent() -> Result<()> {
    let (first, token) = ask("https://vault.azure.net/.default").await?;
    token?;
    let mut warm = Vec::new();
    for number in 0..WARM {
        let (ms, token) = ask(&format!("https://rust-{number}.example/.default")).await?;
        token?;
        warm.push(ms);
    }

    let credential = DefaultAzureCredential::new()?;
    let scopes = ["https://vault.azure.net/.default"];
    credential.get_token(&scopes, None).await?;
    let official = mean(|| async { credential.get_token(&scopes, None).await.map(drop).is_ok() }).await?;
    let own = mean(|| async { credential.token(TokenRequest::new(&scopes)).await.map(drop).is_ok() }).await?;
    say(&json!({
        "client": CLIENT,
        "first_ms": first,
        "warm_ms": warm,
        "kept_ns": official.nanoseconds,
        "allocations": official.allocations,
        "bytes": official.bytes,
        "own": { "kept_ns": own.nanoseconds, "allocations": own.allocations, "bytes": own.bytes },
    }));
    Ok(())
}

struct Mean {
    nanoseconds: f64,
    allocations: f64,
    bytes: f64,
}

/// What one call costs.
#[expect(clippy::cast_precision_loss, reason = "counts of a bounded number of calls")]
async fn mean<F: Future<Output = bool>>(mut call: impl FnMut() -> F) -> Result<Mean> {
    let region = Region::new(ALLOCATOR);
    for _ in 0..COUNTED {
        ensure!(black_box(call().await), "the token is gone");
    }
    let change = region.change();
    let started = Instant::now();
    for _ in 0..KEPT {
        black_box(call().await);
    }
    Ok(Mean {
        nanoseconds: started.elapsed().as_secs_f64() * 1e9 / f64::from(KEPT),
        allocations: change.allocations as f64 / COUNTED as f64,
        bytes: change.bytes_allocated as f64 / COUNTED as f64,
    })
}

/// Serves until its standard input ends, so that it does not outlive a bench that was killed.
async fn endpoint(directory: &Path) -> Result<()> {
    let arc = ArcEndpoint::start_in(Options::default(), directory).await?;
    let variables: serde_json::Map<_, _> =
        arc.variables().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    say(&variables.into());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    // The record of what was asked would grow for as long as anybody asks.
    tokio::pin!(ended);
    while tokio::time::timeout(Duration::from_secs(1), &mut ended).await.is_err() {
        arc.server().forget();
    }
    Ok(())
}
