//! Where the chains are timed: namespaces of their own, made by `unshare`, in which this program runs again
//! and starts everything else. Root is not needed where users may make namespaces.
//!
//! Touches the interfaces of its own network namespace, and `/var/opt` of its own mount namespace: the clients of
//! Microsoft take Arc's keys from `/var/opt/azcmagent/tokens` and nowhere else.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{child::Child, dev, report::median};

/// No chain takes longer, whatever its retries.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
const KEYS: &str = "/var/opt/azcmagent/tokens";
const ENTER: &str = r#"
mount -t tmpfs tmpfs /var/opt
ip link set lo up
exec "$0" identity-stage --rounds "$1" --node "$(command -v node)"
"#;
/// What this program prints before its samples.
const SAMPLES: &str = "samples ";

/// What a chain finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Setting {
    /// No route to the address of IMDS.
    #[default]
    NoRoute,
    /// A host there that refuses.
    Refused,
    /// A network that drops what is sent there, and says nothing.
    Dropped,
    /// An Arc agent, named by the environment.
    Agent,
}

impl Setting {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::NoRoute => "no route to IMDS",
            Self::Refused => "the address of IMDS refuses",
            Self::Dropped => "the network drops what is sent to IMDS",
            Self::Agent => "an agent is there",
        }
    }

    /// Silence has to be waited out (the SDKs and we: a second): it is no work that could be done sooner, so the limit does not hold there.
    pub(super) const fn is_counted(self) -> bool {
        matches!(self, Self::NoRoute | Self::Refused)
    }

    /// The commands that make it and end it.
    const fn commands(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::NoRoute | Self::Agent => (&[], &[]),
            Self::Refused => (&["addr add 169.254.169.254/32 dev lo"], &["addr del 169.254.169.254/32 dev lo"]),
            Self::Dropped => (
                &[
                    // A wire whose other end is not the neighbour it is said to be.
                    "link add silent type veth peer name sink",
                    "addr add 192.0.2.1/24 dev silent",
                    "link set silent up",
                    "link set sink up",
                    "route add 169.254.169.254/32 dev silent",
                    "neigh add 169.254.169.254 lladdr 02:00:00:00:00:01 dev silent nud permanent",
                ],
                &["link del silent"],
            ),
        }
    }
}

/// One process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Language, package and version.
    pub(super) client: String,
    #[serde(default)]
    pub(super) setting: Setting,
    /// From making the first credential to its token or error.
    pub(super) first_ms: f64,
    /// From its start to its end.
    #[serde(default)]
    pub(super) process_ms: f64,
    #[serde(default)]
    pub(super) warm_ms: Vec<f64>,
    pub(super) kept_ns: Option<f64>,
    pub(super) allocations: Option<f64>,
    pub(super) bytes: Option<f64>,
    pub(super) own: Option<Kept>,
}

/// What a kept token costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(super) kept_ns: f64,
    pub(super) allocations: f64,
    pub(super) bytes: f64,
}

impl Sample {
    pub(super) fn warm(&self) -> Option<f64> {
        (!self.warm_ms.is_empty()).then(|| median(self.warm_ms.clone()))
    }

    pub(super) fn official(&self) -> Option<Kept> {
        Some(Kept { kept_ns: self.kept_ns?, allocations: self.allocations?, bytes: self.bytes? })
    }
}

/// Runs [`run`] where it can do no harm, and reads what it prints.
pub(super) async fn in_a_namespace(rounds: u32) -> Result<Vec<Sample>> {
    let mut flags = vec!["--net", "--mount"];
    if !nix::unistd::geteuid().is_root() {
        flags.push("--map-root-user");
    }
    let program = std::env::current_exe()?;
    let rounds = rounds.to_string();
    let mut arguments = flags;
    arguments.extend(["sh", "-euc", ENTER, dev::text(&program)?, &rounds]);
    let mut stage = Child::start(Path::new("unshare"), &arguments, true)?;
    let samples = stage.says(SAMPLES).await.context("timing the chains in a namespace of their own (unshare, ip)")?;
    stage.stop().await?;
    serde_json::from_str(&samples).context("the samples")
}

/// A program that has a chain.
struct Program {
    command: Vec<PathBuf>,
}

/// Ours, and what `./bench` could install of the others.
fn programs(node: &Path) -> Result<Vec<Program>> {
    let file = |path: &str| std::path::absolute(path).map_err(anyhow::Error::from);
    let mut programs = vec![Program { command: vec![dev::beside_us("denizen-bench-identity")?] }];
    let python = file("conformance/python/.venv/bin/python")?;
    programs.push(Program { command: vec![python, "-B".into(), file("benches/identity/python/probe.py")?] });
    programs.push(Program { command: vec![node.to_owned(), file("benches/identity/node/probe.mjs")?] });
    programs.push(Program { command: vec![file("benches/out/identity-go")?] });
    Ok(programs)
}

/// Times each chain in each setting, in turns, and prints the samples.
#[expect(clippy::print_stdout, reason = "the bench that started this reads it")]
pub(crate) async fn run(rounds: u32, node: &Path) -> Result<()> {
    ensure!(is_ours()?, "not a namespace made for this: start it by `./bench identity`");
    let programs = programs(node)?;
    let empty = tempfile::tempdir()?;
    std::fs::create_dir_all(KEYS).with_context(|| format!("making {KEYS}"))?;
    let mut endpoint = Child::start(&dev::beside_us("denizen-bench-identity")?, &["endpoint", KEYS], true)?;
    let variables: HashMap<String, String> = serde_json::from_str(&endpoint.says("").await?)?;
    let none = HashMap::new();
    let mut samples = Vec::new();
    for setting in [Setting::NoRoute, Setting::Refused, Setting::Dropped, Setting::Agent] {
        let (make, end) = setting.commands();
        ip(make).await?;
        for _ in 0..rounds {
            for program in &programs {
                let (word, variables) =
                    if setting == Setting::Agent { ("agent", &variables) } else { ("nothing", &none) };
                let sample = program.time(word, variables, empty.path()).await;
                samples.push(Sample { setting, ..sample.with_context(|| setting.words())? });
            }
        }
        ip(end).await?;
    }
    endpoint.stop().await?;
    println!("{SAMPLES}{}", serde_json::to_string(&samples)?);
    Ok(())
}

/// Whether this is a network without a way out: addresses are added here, and `/var/opt` was covered.
fn is_ours() -> Result<bool> {
    // The first line holds the columns' names.
    Ok(std::fs::read_to_string("/proc/self/net/route")?.lines().count() <= 1)
}

async fn ip(commands: &[&str]) -> Result<()> {
    for command in commands {
        let status = Command::new("ip").args(command.split(' ')).status().await.context("running ip")?;
        ensure!(status.success(), "ip {command}: {status}");
    }
    Ok(())
}

impl Program {
    async fn time(&self, word: &str, variables: &HashMap<String, String>, empty: &Path) -> Result<Sample> {
        let (program, arguments) = self.command.split_first().context("no program")?;
        let started = Instant::now();
        let mut command = Command::new(program);
        command.args(arguments).arg(word).env_clear().env("PATH", empty).env("HOME", empty).envs(variables);
        command.current_dir(empty).stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND_TIMEOUT, command.output()).await;
        let output = output.with_context(|| format!("{}: no end in {COMMAND_TIMEOUT:?}", program.display()))?;
        let output = output.with_context(|| format!("starting {}", program.display()))?;
        let process_ms = started.elapsed().as_secs_f64() * 1000.0;
        if !output.status.success() {
            bail!("{} {word}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        let sample = serde_json::from_slice(&output.stdout).with_context(|| format!("{}", program.display()))?;
        Ok(Sample { process_ms, ..sample })
    }
}
