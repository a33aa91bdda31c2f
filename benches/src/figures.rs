//! The figures, one file each. Each starts what it measures and what it holds it against, alternates between them,
//! and gives a page to print with a verdict on its last line.

pub(crate) mod agent_token;
pub(crate) mod footprint;
pub(crate) mod graph_list;
pub(crate) mod held;
pub(crate) mod identity;
pub(crate) mod replicas;
pub(crate) mod scale;
pub(crate) mod start;
pub(crate) mod storm;
pub(crate) mod token_issue;
pub(crate) mod vault_get;
pub(crate) mod vault_set;

use std::time::Duration;

use anyhow::Result;

use crate::{
    child::Child,
    load::{Load, Program},
    report::{Comparison, Pair, Verdict},
};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds of each side.
    pub(crate) rounds: u32,
    /// The time of one.
    pub(crate) time: Duration,
    /// Connections of the load.
    pub(crate) connections: usize,
    /// Whether what takes minutes to build is built, to time that.
    pub(crate) compile: bool,
    /// Machines in the directory that is opened; each figure has a number of its own where none is told.
    pub(crate) machines: Option<u32>,
}

/// What a figure came to.
pub(crate) struct Page {
    /// Tables and notes.
    pub(crate) text: String,
    /// The last line.
    pub(crate) verdict: Verdict,
}

/// Alternates rounds of ours and a peer's under the same load.
async fn alternate<P: Program, Q: Program>(
    rounds: u32,
    load: Load,
    ours: (&'static str, &mut Child, &P),
    peer: (&'static str, &mut Child, &Q),
) -> Result<Comparison> {
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let ours = load.run(ours.1, ours.2).await?;
        let other = load.run(peer.1, peer.2).await?;
        pairs.push(Pair { ours, other });
    }
    Ok(Comparison { ours: ours.0, other: peer.0, pairs })
}

/// `p50 … p99 …` of both sides, medians over the rounds.
fn latencies(of: &Comparison) -> String {
    let ms = |side: fn(&Pair) -> &crate::load::Round, percent: usize| {
        of.median(|pair| side(pair).percentile(percent).as_secs_f64() * 1000.0)
    };
    format!(
        "{}: p50 {:.3} ms, p99 {:.3} ms; {}: p50 {:.3} ms, p99 {:.3} ms\n",
        of.ours,
        ms(|p| &p.ours, 50),
        ms(|p| &p.ours, 99),
        of.other,
        ms(|p| &p.other, 50),
        ms(|p| &p.other, 99),
    )
}
