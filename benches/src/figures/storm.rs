//! What a million agents wait for after an outage of their token service.
//!
//! Two halves. A simulation ([`simulation`]) of agents with the policy of `denizen-agent`, against a server with the costs
//! measured in this run and the bounds of `denizen-server`; and a real run ([`real`]) of as many agents as this machine
//! holds, whose waits are compared with what the simulation says of the same number. That ratio is the proof that the
//! simulation may be believed.
//!
//! A workload waits only when its token has run out. The bar: with [`CORES`] cores, nobody of a million agents that all
//! come back without a token waits longer than [`BOUND`] after the server is back; and the real run's 99th percentile is
//! within [`CALIBRATED`] of the simulation's.

mod real;
mod simulation;

use std::fmt::Write as _;

use anyhow::{Context, Result};
use denizen_server::{domain::lifetimes::MANAGED_IDENTITY, http::listen::MAX_CONNECTIONS};

use self::simulation::{Capacity, Case, Outage, Outcome};
use super::{Page, Plan};
use crate::report::Verdict;

const NAME: &str = "storm";
/// Cores of all servers together that the simulated agents come back to.
const CORES: usize = 3;
/// Nobody of a million waits longer, seconds.
const BOUND: f64 = 300.0;
/// Agents of the real run, unless told.
const REAL: u32 = 5000;
/// Between agents and server and back, seconds: another continent.
const ROUND_TRIP: f64 = 0.08;
/// On this machine, seconds.
const LOOPBACK: f64 = 0.0002;
/// The real 99th percentile over the simulated one lies in here.
const CALIBRATED: std::ops::RangeInclusive<f64> = 0.5..=2.0;
const AGENTS: [u32; 3] = [10_000, 100_000, 1_000_000];
const SEED: u64 = 20_261_128;

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let count = plan.machines.unwrap_or(REAL);
    let measured = real::run(usize::try_from(count)?, MAX_CONNECTIONS).await?;
    let alike = Case {
        agents: count,
        outage: Outage::AllStarted { life: MANAGED_IDENTITY },
        capacity: measured.here,
        round_trip: LOOPBACK,
        seed: SEED,
    };
    let real = Outcome { waits: measured.waits, failed: measured.failed, ended: measured.ended, ..Outcome::default() };
    let simulated = simulation::run(alike);
    let mut text = format!(
        "a connection costs {:.0} us of the server's CPU, a token {:.0} us; {MAX_CONNECTIONS} connections at a time\n\n\
         {:<34}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
        measured.handshake * 1e6,
        measured.token * 1e6,
        format!("{count} agents without a token, here"),
        "p50, s",
        "p99, s",
        "max, s",
        "failed",
        "ended",
    );
    for (name, of) in [("real", &real), ("simulated", &simulated)] {
        let [p50, p99, max] = [50, 99, 100].map(|percent| of.percentile(percent));
        let _ = writeln!(text, "{name:<34}{p50:>10.2}{p99:>10.2}{max:>10.2}{:>10}{:>10}", of.failed, of.ended);
    }
    let calibration = real.percentile(99) / simulated.percentile(99);
    let _ = writeln!(text, "real p99 over simulated p99: {calibration:.2}\n");
    let capacity =
        Capacity { cores: CORES, handshake: measured.handshake, token: measured.token, places: MAX_CONNECTIONS };
    let (table, worst) = tokio::task::spawn_blocking(move || simulate(capacity)).await?;
    text.push_str(&table);
    let worst = worst.context("nothing was simulated")?;
    let each = measured.handshake + measured.token;
    let _ = writeln!(
        text,
        "\nsimulated: {CORES} cores, {:.0} ms between agent and server and back, tokens of {} h; a program asks again as soon\n\
         as its agent would try. A million need {:.2} cores to have their tokens in {BOUND:.0} s without a pause.\n\
         Nobody of a million that all come back without a token waits longer than {worst:.0} s on {CORES} cores; at most {BOUND:.0}.",
        ROUND_TRIP * 1e3,
        MANAGED_IDENTITY / 3600,
        each * 1e6 / BOUND,
    );
    let is_calibrated = CALIBRATED.contains(&calibration);
    if !is_calibrated {
        text.push_str("the real run and the simulation do not agree: this figure does not count\n");
    }
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: BOUND / worst, bar: 1.0, sound: is_calibrated } })
}

/// The table, and the longest wait of a million without a token; none when some never had one.
fn simulate(capacity: Capacity) -> (String, Option<f64>) {
    let mut text = format!(
        "{:<22}{:>9}{:>9}{:>9}{:>9}{:>9}{:>11}{:>11}{:>11}{:>9}{:>11}\n",
        "outage",
        "agents",
        "waiting",
        "p50, s",
        "p99, s",
        "max, s",
        "settled, s",
        "peak SYN/s",
        "failed",
        "ended",
        "next, 1/s"
    );
    let life = MANAGED_IDENTITY;
    let outages = [
        ("10 min", Outage::Away { seconds: 600, life }),
        ("2 h", Outage::Away { seconds: 7200, life }),
        ("2 h, tokens of 1 h", Outage::Away { seconds: 7200, life: 3600 }),
        ("agents started too", Outage::AllStarted { life }),
    ];
    let mut worst = 0.0_f64;
    for (name, outage) in outages {
        for agents in AGENTS {
            let outcome = simulation::run(Case { agents, outage, capacity, round_trip: ROUND_TRIP, seed: SEED });
            let [p50, p99, max] = [50, 99, 100].map(|percent| outcome.percentile(percent));
            let _ = writeln!(
                text,
                "{name:<22}{agents:>9}{:>9}{p50:>9.1}{p99:>9.1}{max:>9.1}{:>11.1}{:>11}{:>11}{:>9}{:>11}",
                outcome.waits.len(),
                outcome.settled,
                outcome.peak,
                outcome.failed,
                outcome.ended,
                outcome.next_peak,
            );
            if outcome.without > 0 {
                let _ = writeln!(text, "{} never had a token: this figure does not count", outcome.without);
                return (text, None);
            }
            worst = worst.max(max);
        }
    }
    (text, Some(worst))
}
