//! `./bench NAME`: the figures Denizen is held to, each as a ratio taken in one run.
//!
//! A figure is ours per CPU second over a limit's or a bare peer's per CPU second, in rounds that alternate, on the
//! machine at hand: absolute numbers differ from machine to machine, the ratio hardly does. What is measured are the
//! real programs, as child processes; peers are subcommands of this program, measured the same way.
//!
//! | file | holds |
//! |---|---|
//! | [`figures`] | one file for each figure |
//! | [`dev`], [`served`], [`agent`], [`machine`] | what is measured, started and spoken to |
//! | [`fleet`] | directories with many machines, and with many users |
//! | [`peer`], [`limit`] | what it is held against |
//! | [`hold`] | clients that hold connections and do nothing good with them |
//! | [`load`], [`http`] | the load: bounded in time and number, loopback only |
//! | [`child`] | a process and what the kernel charged it |
//! | [`report`], [`results`] | tables, the verdict, `benches/RESULTS.md` |
//!
//! Tests: beside the code, for what is computed; the rest is the run itself.

mod agent;
mod child;
mod crowd;
mod dev;
mod figures;
mod fleet;
mod hold;
mod http;
mod limit;
mod load;
mod machine;
mod peer;
mod report;
mod results;
mod served;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::{
    Page, Plan, agent_token, footprint, graph_list, held, identity, replicas, scale, start, storm, token_issue,
    vault_get, vault_set,
};

/// Measures Denizen against what the machine could do.
#[derive(Parser)]
#[command(name = "bench", disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Which figure; `all` for each in turn
    #[arg(value_enum, required = true)]
    name: Option<Name>,
    /// Rounds of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Connections of the load
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Machines in the directory that is opened (start: 100,000 unless told; scale: in the largest, a million), or
    /// agents of the real run (storm: 5,000), or users of the large directory (graph-list: 100,000)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    machines: Option<u32>,
    /// Keeps what was printed in benches/RESULTS.md
    #[arg(long)]
    record: bool,
    /// Builds the weighed libraries from clean as well (identity only; takes minutes)
    #[arg(long)]
    compile: bool,
    #[command(subcommand)]
    internal: Option<Internal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Tokens issued, against bare RSA signatures
    TokenIssue,
    /// Arc exchanges, against a bare server with the same file work
    AgentToken,
    /// Secret reads, against a bare TLS server
    VaultGet,
    /// Durable secret writes on both engines, beside the engine's own commits
    VaultSet,
    /// Tokens of one, two and three replicas, and when a write is known to all
    Replicas,
    /// A list page out of a large directory, against one out of a small
    GraphList,
    /// The agent's memory, size and start
    Footprint,
    /// Service and memory while strangers hold 10,000 connections on every listener
    Held,
    /// Opening a large directory, against bare reading of its rows
    Start,
    /// Memory, start and publishing of directories up to a million machines, against fixed limits
    Scale,
    /// A million agents that come back after an outage: a simulation by measured costs, and a real run beside it
    Storm,
    /// The credential library's chain, against fixed limits, beside the official ones
    Identity,
    /// Each in turn
    All,
}

#[derive(Subcommand)]
enum Internal {
    /// What a figure is held against
    #[command(subcommand, hide = true)]
    Peer(Peer),
    /// Clients that hold connections
    #[command(hide = true)]
    Hold(hold::Hold),
    /// The part of a figure that runs in namespaces of its own
    #[command(hide = true)]
    IdentityStage {
        /// Rounds of each chain
        #[arg(long)]
        rounds: u32,
        /// Where Node is
        #[arg(long)]
        node: PathBuf,
    },
}

#[derive(Subcommand)]
enum Peer {
    /// Recorded answers and an Arc challenge's file work
    Arc(peer::arc::Arguments),
    /// One recorded answer over TLS
    Tls(peer::tls::Tls),
    /// A database, opened
    Open(peer::open::Open),
    /// Changes, published
    Publish(peer::publish::Publish),
    /// Rows, committed one by one
    Commits(peer::commits::Commits),
}

impl Name {
    fn each(self) -> Vec<Self> {
        match self {
            Self::All => {
                vec![
                    Self::TokenIssue,
                    Self::AgentToken,
                    Self::VaultGet,
                    Self::VaultSet,
                    Self::Replicas,
                    Self::GraphList,
                    Self::Footprint,
                    Self::Held,
                    Self::Start,
                    Self::Scale,
                    Self::Storm,
                    Self::Identity,
                ]
            }
            one @ (Self::TokenIssue
            | Self::AgentToken
            | Self::VaultGet
            | Self::VaultSet
            | Self::Replicas
            | Self::GraphList
            | Self::Footprint
            | Self::Held
            | Self::Start
            | Self::Scale
            | Self::Storm
            | Self::Identity) => vec![one],
        }
    }

    async fn measure(self, plan: Plan) -> Result<Option<Page>> {
        match self {
            Self::TokenIssue => token_issue::run(plan).await.map(Some),
            Self::AgentToken => agent_token::run(plan).await.map(Some),
            Self::VaultGet => vault_get::run(plan).await.map(Some),
            Self::VaultSet => vault_set::run(plan).await.map(Some),
            Self::Replicas => replicas::run(plan).await.map(Some),
            Self::GraphList => graph_list::run(plan).await.map(Some),
            Self::Start => start::run(plan).await.map(Some),
            Self::Scale => scale::run(plan).await.map(Some),
            Self::Storm => storm::run(plan).await.map(Some),
            Self::Footprint => footprint::run(plan).await.map(Some),
            Self::Held => held::run(plan).await.map(Some),
            Self::Identity => identity::run(plan).await.map(Some),
            Self::All => Ok(None),
        }
    }
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let plan = Plan {
        rounds: cli.rounds,
        time: Duration::from_secs(cli.seconds),
        connections: cli.connections.into(),
        compile: cli.compile,
        machines: cli.machines,
    };
    match cli.internal {
        // As the agent runs: everything on one thread.
        Some(Internal::Peer(Peer::Arc(args))) => runtime(true)?.block_on(peer::arc::run(args))?,
        // As the server runs: a worker for each processor.
        Some(Internal::Peer(Peer::Tls(args))) => runtime(false)?.block_on(peer::tls::run(args))?,
        Some(Internal::Hold(args)) => runtime(false)?.block_on(hold::run(args))?,
        Some(Internal::Peer(Peer::Open(args))) => runtime(false)?.block_on(peer::open::run(args))?,
        Some(Internal::Peer(Peer::Publish(args))) => runtime(false)?.block_on(peer::publish::run(args))?,
        Some(Internal::Peer(Peer::Commits(args))) => peer::commits::run(&args)?,
        Some(Internal::IdentityStage { rounds, node }) => {
            runtime(false)?.block_on(identity::stage::run(rounds, &node))?;
        }
        None => {
            let names = cli.name.map_or_else(Vec::new, Name::each);
            return runtime(false)?.block_on(async {
                tokio::select! {
                    measured = measure(names, plan, cli.record) => measured,
                    // Dropping the rest ends the children and removes their files.
                    stopped = told_to_stop() => stopped.and_then(|()| bail!("stopped before it was measured")),
                }
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime(one_thread: bool) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match one_thread {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

async fn told_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

async fn measure(names: Vec<Name>, plan: Plan, record: bool) -> Result<ExitCode> {
    let mut good = true;
    for name in names {
        let Some(Page { text, verdict }) = name.measure(plan).await? else { continue };
        show(&format!("{text}\n{}", verdict.line()));
        if record {
            let flags = match name {
                Name::Identity if plan.compile => " --compile".to_owned(),
                Name::Start | Name::Scale | Name::Storm => {
                    plan.machines.map_or_else(String::new, |machines| format!(" --machines {machines}"))
                }
                Name::TokenIssue
                | Name::AgentToken
                | Name::VaultGet
                | Name::VaultSet
                | Name::Replicas
                | Name::GraphList
                | Name::Footprint
                | Name::Held
                | Name::Identity
                | Name::All => String::new(),
            };
            results::keep(&text, &verdict, &flags)?;
        }
        good &= verdict.ok();
    }
    Ok(ExitCode::from(u8::from(!good)))
}

#[expect(clippy::print_stdout, reason = "the page is what the program is for")]
fn show(page: &str) {
    println!("{page}");
}
