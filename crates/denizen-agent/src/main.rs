//! `denizen-agent`: the command.
//!
//! Exit codes are those of sysexits.h. Output goes to standard output for people, the log to standard error.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people")]

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_agent::{
    Agent, AgentConfig, AgentError, ArcConfig, Clock, IdentityFile, Listeners,
    enrol::{self, ConnectOptions, EnrolError},
    identity_file::{StateDirectory, StateError},
};
use denizen_keys::SecretString;
use denizen_wire::identity::{ARC_KEY_DIRECTORY, AZCMAGENT_MARKER};
use tokio::net::TcpListener;

/// sysexits.h, as far as it is used.
mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const DATA: u8 = 65;
    pub(crate) const UNAVAILABLE: u8 = 69;
    pub(crate) const SOFTWARE: u8 = 70;
    pub(crate) const OS: u8 = 71;
    pub(crate) const CANNOT_CREATE: u8 = 73;
    pub(crate) const NO_PERMISSION: u8 = 77;
    pub(crate) const CONFIG: u8 = 78;
}

/// Managed identities for servers outside Azure: the agent.
#[derive(Parser)]
#[command(name = "denizen-agent", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer local programs that ask for tokens, until told to stop.
    Run(Run),
    /// Enrol this machine, once, with a join token.
    Connect(Connect),
    /// Say as what this machine is enrolled.
    Show {
        #[command(flatten)]
        state: State,
    },
    /// Say which version this is.
    Version,
}

#[derive(clap::Args)]
struct State {
    /// Where the node key and the identity are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/denizen-agent", env = "DENIZEN_STATE_DIR")]
    state_dir: PathBuf,
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    state: State,
    /// Where Arc, App Service and instance metadata answer. On 127.0.0.1, [::1] is taken too where it can be.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:40342")]
    listen: SocketAddr,
    /// Where IMDS answers; off without.
    #[arg(long, value_name = "ADDR:PORT")]
    imds_listen: Vec<SocketAddr>,
    /// A file whose first line is the App Service secret; App Service is off without.
    #[arg(long, value_name = "FILE")]
    app_service_header_file: Option<PathBuf>,
    /// Where the Arc challenge's keys are put: clients know one place only.
    #[arg(long, value_name = "DIR", default_value = ARC_KEY_DIRECTORY)]
    key_dir: PathBuf,
    /// Turns the Arc dialect off.
    #[arg(long)]
    no_arc: bool,
    /// The group whose members may have tokens; without, only root may.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The only CA certificates trusted for the server, PEM; without, the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Connect {
    #[command(flatten)]
    state: State,
    /// The server to enrol at: https://host[:port].
    #[arg(long, value_name = "URL")]
    server: String,
    /// A file with the join token; '-' is standard input.
    #[arg(long, value_name = "FILE")]
    join_token_file: PathBuf,
    /// The machine's name; without, the host's.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The only CA certificates trusted for the server, PEM; without, the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// What to tell, and which code to leave with.
struct Failure(u8, String);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).compact().init();
    // The node key is in this process's memory: no core file, and no other process of the same user may look into it.
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps stay possible");
    }
    // One thread serves a machine's worth of programs, in a few megabytes.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("denizen-agent: cannot start: {error}");
            return ExitCode::from(exit::OS);
        }
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Run(run) => self::run(run).await,
            Command::Connect(connect) => self::connect(connect).await,
            Command::Show { state } => show(&state),
            Command::Version => {
                println!("denizen-agent {}", env!("CARGO_PKG_VERSION"));
                Ok(())
            }
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => {
            eprintln!("denizen-agent: {text}");
            ExitCode::from(code)
        }
    }
}

async fn run(run: Run) -> Result<(), Failure> {
    let mut listeners = Listeners::default();
    let first = bind(run.listen).await?;
    // With port 0, the second address takes the port the first one got.
    let port = first.local_addr().map_or(run.listen.port(), |address| address.port());
    listeners.local.push(first);
    if run.listen.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        // 'localhost' is [::1] first on many systems; on one without IPv6 there is nothing to take.
        if let Ok(second) = bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
            listeners.local.push(second);
        }
    }
    for address in run.imds_listen {
        listeners.imds.push(bind(address).await?);
    }
    let config = AgentConfig {
        state_dir: run.state.state_dir,
        arc: (!run.no_arc).then(|| ArcConfig { key_dir: run.key_dir, group: run.group.clone() }),
        app_service_header: run.app_service_header_file.as_deref().map(first_line).transpose()?,
        imds_group: run.group,
        clock: Clock::System,
        ca_file: run.ca_file,
        marker: AZCMAGENT_MARKER.into(),
    };
    let (arc, app_service) = (config.arc.is_some(), config.app_service_header.is_some());
    let agent = Agent::start(config, listeners).await?;
    print_identity(agent.identity());
    for address in agent.local_addrs() {
        if arc {
            println!("arc          http://{address}/metadata/identity/oauth2/token");
        }
        if app_service {
            println!("app service  http://{address}/msi/token");
        }
        println!("instance     http://{address}/metadata/instance");
    }
    for address in agent.imds_addrs() {
        println!("imds         http://{address}/metadata/identity/oauth2/token");
    }
    told_to_stop().await?;
    agent.shutdown().await;
    Ok(())
}

async fn told_to_stop() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let fault = |error: std::io::Error| Failure(exit::OS, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn connect(connect: Connect) -> Result<(), Failure> {
    let machine_name = match connect.name {
        Some(name) => name,
        None => {
            let fqdn = denizen_agent::facts::gather(Path::new("/")).fqdn;
            fqdn.split('.').next().unwrap_or_default().to_owned()
        }
    };
    let identity = enrol::connect(ConnectOptions {
        server: connect.server,
        ca_file: connect.ca_file,
        join_token: first_line(&connect.join_token_file)?,
        machine_name,
        state_dir: connect.state.state_dir,
        clock: Clock::System,
    })
    .await?;
    print_identity(&identity);
    Ok(())
}

fn show(state: &State) -> Result<(), Failure> {
    // A running agent holds the lock; its identity file is read beside it.
    print_identity(&StateDirectory::peek(&state.state_dir).map_err(AgentError::from)?);
    Ok(())
}

fn print_identity(identity: &IdentityFile) {
    println!("machine      {}", identity.enrolled.resource_id);
    println!("tenant       {}", identity.enrolled.tenant_id);
    println!("client id    {}", identity.enrolled.client_id);
    println!("object id    {}", identity.enrolled.principal_id);
    println!("server       {}", identity.server);
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let owner = if address.port() == 40342 {
            " (is another agent running? `ss -ltnp sport = :40342` names it)"
        } else {
            ""
        };
        Failure(exit::UNAVAILABLE, format!("cannot listen on {address}: {error}{owner}"))
    })
}

/// A secret from a file: its first line, without the line's end.
fn first_line(path: &Path) -> Result<SecretString, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(64 * 1024).read_to_string(&mut text).map(drop)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(64 * 1024).read_to_string(&mut text)).map(drop)
    };
    read.map_err(|error| Failure(exit::NO_PERMISSION, format!("cannot read {}: {error}", path.display())))?;
    let text = SecretString::from(text);
    match text.expose().lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.into()),
        Some(_) | None => Err(Failure(exit::DATA, format!("{} is empty", path.display()))),
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let code = match &error {
            AgentError::State(StateError::NotEnrolled(_)) | AgentError::EmptySecret => exit::CONFIG,
            AgentError::State(StateError::InUse(_)) => exit::UNAVAILABLE,
            AgentError::State(StateError::Damaged { .. }) => exit::DATA,
            AgentError::State(StateError::Directory(_)) | AgentError::KeyDirectory(_) => exit::CANNOT_CREATE,
            AgentError::State(StateError::Key(_)) => exit::SOFTWARE,
            AgentError::Listener(_) | AgentError::Upstream(_) => exit::CONFIG,
        };
        Self(code, error.to_string())
    }
}

impl From<EnrolError> for Failure {
    fn from(error: EnrolError) -> Self {
        let code = match &error {
            EnrolError::BadName(_) => exit::USAGE,
            EnrolError::Already { .. } => exit::CONFIG,
            EnrolError::Refused { .. } => exit::NO_PERMISSION,
            EnrolError::Malformed(_) => exit::UNAVAILABLE,
            EnrolError::Https(_) => exit::UNAVAILABLE,
            EnrolError::Key(_) => exit::SOFTWARE,
            EnrolError::State(_) => exit::CANNOT_CREATE,
        };
        Self(code, error.to_string())
    }
}
