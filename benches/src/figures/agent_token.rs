//! Complete Arc exchanges per CPU second of the agent, its token cached, against a bare server that answers the same
//! two requests with the same bytes and does the same file work. What lies between is everything that makes the
//! exchange safe: the request's checks, who calls, the policy, the challenge's book-keeping.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::{Page, Plan, alternate, latencies};
use crate::{
    agent::{self, Agent, Exchanges, RESOURCES, key_file},
    dev::{self, Dev},
    http::{self, Origin},
    load::{Load, Program},
    peer::{self, Recorded, arc::Replies},
    report::Verdict,
};

const NAME: &str = "agent-token";
const BAR: f64 = 0.70;

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let dev = Dev::start().await?;
    let mut agent = Agent::start(&dev, "agent").await?;
    let resources = RESOURCES.get(..1).context("a resource")?;
    let exchanges = Exchanges { origin: agent.origin.clone(), resources };

    let (replies, key_dir) = (dev.directory().join("replies.json"), dev.directory().join("peer-tokens"));
    peer::keep(&replies, &record(&exchanges).await?)?;
    std::fs::create_dir(&key_dir)?;
    let gid = agent::group()?.0.to_string();
    let arguments = ["arc", "--replies", dev::text(&replies)?, "--key-dir", dev::text(&key_dir)?, "--gid", &gid];
    let (mut bare, url) = peer::start(&arguments).await?;
    let echoes = Exchanges { origin: Origin::of(&url, None)?, resources };

    let names = ("Arc exchanges", "bare exchanges");
    let load = Load::new(plan.connections, plan.time);
    let compared =
        alternate(plan.rounds, load, (names.0, &mut agent.child, &exchanges), (names.1, &mut bare, &echoes)).await?;
    let alone = Load::new(1, plan.time);
    let single =
        alternate(plan.rounds, alone, (names.0, &mut agent.child, &exchanges), (names.1, &mut bare, &echoes)).await?;

    let left = agent.keys_left()?;
    let mut text = format!("{} connections\n{}{}", plan.connections, compared.table(), latencies(&compared));
    let _ = writeln!(
        text,
        "an exchange costs {:.0} us of the agent's CPU, a bare one {:.0} us",
        1e6 / compared.median(|p| p.ours.per_cpu_second()),
        1e6 / compared.median(|p| p.other.per_cpu_second())
    );
    let _ = write!(text, "\na single client\n{}{}", single.table(), latencies(&single));
    let _ = writeln!(text, "key files left behind: {left}");
    bare.stop().await?;
    agent.child.stop().await?;
    dev.child.stop().await?;
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: compared.ratio(), bar: BAR, sound: left == 0 } })
}

/// The two answers of one exchange.
async fn record(exchanges: &Exchanges) -> Result<Replies> {
    let mut caller = exchanges.open().await?;
    let challenge = caller.ask(None).await?;
    let key = std::fs::read_to_string(key_file(&challenge)?).context("reading the challenge's key")?;
    let token = caller.ask(Some(&key)).await?;
    ensure!(token.status().is_success(), "no token: {}", http::excerpt(&token));
    Ok(Replies { challenge: Recorded::of(&challenge)?, token: Recorded::of(&token)? })
}
