//! What the agent costs a machine that it stands on: memory, disk, CPU while nobody asks, time until it answers.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{Page, Plan};
use crate::{
    agent::{Agent, Exchanges, RESOURCES, key_file},
    child::Memory,
    dev::{self, Dev},
    load::{Load, Program, Session},
    report::{Verdict, median},
};

const NAME: &str = "footprint";
const BAR: f64 = 1.0;
/// The most the agent may hold in memory, and its program on disk.
const MIB_15: u64 = 15 * 1024 * 1024;
/// Memory is read after this long without a request.
const IDLE: Duration = Duration::from_secs(5);
/// CPU without a request is counted for this long.
const QUIET: Duration = Duration::from_secs(10);
/// Tokens handed out before memory is read again.
const TOKENS: u64 = 1000;
/// Programs that ask for them at a time.
const CALLERS: usize = 8;

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let dev = Dev::start().await?;
    let (mut answers, mut tokens) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let start = Instant::now();
        let agent = Agent::start(&dev, &format!("start-{round}")).await?;
        let mut caller = Exchanges { origin: agent.origin.clone(), resources: &RESOURCES }.open().await?;
        let challenge = caller.ask(None).await?;
        answers.push(start.elapsed().as_secs_f64() * 1000.0);
        key_file(&challenge)?;
        caller.exchange().await?;
        tokens.push(start.elapsed().as_secs_f64() * 1000.0);
        agent.child.stop().await?;
    }

    let mut agent = Agent::start(&dev, "agent").await?;
    tokio::time::sleep(IDLE).await;
    let idle = agent.child.memory()?;
    let exchanges = Exchanges { origin: agent.origin.clone(), resources: &RESOURCES };
    let load = Load { exchanges: TOKENS, ..Load::new(CALLERS, Duration::from_secs(60)) };
    let served = load.run(&mut agent.child, &exchanges).await?;
    let used = agent.child.memory()?;
    let before = agent.child.cpu()?;
    tokio::time::sleep(QUIET).await;
    let quiet = agent.child.cpu()? - before;
    agent.child.stop().await?;
    dev.child.stop().await?;

    let program = std::fs::metadata(dev::beside_us("denizen-agent")?).context("the agent's program")?.len();
    let mut text = format!("{:<58}{:>12}{:>12}\n", "the agent", "measured", "at most");
    let mut row = |what: &str, measured: String, most: &str| {
        let _ = writeln!(text, "{what:<58}{measured:>12}{most:>12}");
    };
    row("resident after 5 s without a request", mib(idle.resident), "15 MiB");
    row("  of which not backed by a file", mib(idle.anonymous), "");
    row(
        &format!("resident after {} tokens for {} audiences", served.exchanges, RESOURCES.len()),
        mib(used.resident),
        "15 MiB",
    );
    row("  of which not backed by a file", mib(used.anonymous), "");
    row("program on disk", mib(program), "15 MiB");
    row(&format!("CPU in {} s without a request", QUIET.as_secs()), format!("{quiet:.2} s"), "");
    row(&format!("from start to first answer (median of {})", plan.rounds), format!("{:.1} ms", median(answers)), "");
    row(&format!("from start to first token (median of {})", plan.rounds), format!("{:.1} ms", median(tokens)), "");
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: ratio(idle, used, program), bar: BAR, sound: true } })
}

/// How often the largest of the three fits into what it may be.
#[expect(clippy::cast_precision_loss, reason = "bytes of one small process, far below 2^52")]
fn ratio(idle: Memory, used: Memory, program: u64) -> f64 {
    MIB_15 as f64 / idle.resident.max(used.resident).max(program) as f64
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one small process, far below 2^52")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_the_three_decides() {
        let memory = |mib: u64| Memory { resident: mib << 20, anonymous: 0, peak: 0 };
        assert!((ratio(memory(5), memory(10), 3 << 20) - 1.5).abs() < 1e-9);
        assert!((ratio(memory(5), memory(10), 30 << 20) - 0.5).abs() < 1e-9);
        assert!((ratio(memory(30), memory(10), 3 << 20) - 0.5).abs() < 1e-9);
    }
}
