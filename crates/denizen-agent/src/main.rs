//! `denizen-agent`: the command.
//!
//! Exit codes are those of sysexits.h. Output goes to standard output for people, the log to standard error.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people")]

use std::{
    future::Future,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use denizen_agent::{
    Agent, AgentConfig, AgentError, ArcConfig, Clock, IdentityFile, Listeners, Outbound, Proxy,
    enrol::{self, ConnectOptions, EnrolError},
    exit, files,
    identity_file::{StateDirectory, StateError},
    net::BindError,
};
use denizen_keys::SecretString;
use denizen_wire::{
    identity::{ARC_KEY_DIRECTORY, AZCMAGENT_MARKER},
    node::MachineName,
};

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
    /// Where Arc, App Service and instance metadata answer. 127.0.0.1 and [::1] each bring the other along.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:40342")]
    listen: SocketAddr,
    /// Where IMDS answers; off without. 127.0.0.1 and [::1] each bring the other along.
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
    #[command(flatten)]
    upstream: Upstream,
}

/// How servers are reached.
#[derive(clap::Args)]
struct Upstream {
    /// The only CA certificates trusted for the server, PEM; without, the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The HTTP proxy for servers elsewhere: http://[USER:PASSWORD@]HOST:PORT; without, that of HTTPS_PROXY or
    /// https_proxy.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Servers that are reached without the proxy, separated by commas; without, those of NO_PROXY or no_proxy.
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,
}

#[derive(clap::Args)]
struct Connect {
    #[command(flatten)]
    state: State,
    /// The server to enrol at: https://host[:port].
    #[arg(long, value_name = "URL")]
    server: String,
    /// The origin of the token service, where that is another server: https://host[:port].
    #[arg(long, value_name = "URL")]
    token_authority: Option<String>,
    /// A file with the join token; '-' is standard input.
    #[arg(long, value_name = "FILE")]
    join_token_file: PathBuf,
    /// The machine's name; without, the host's.
    #[arg(long, value_name = "NAME")]
    name: Option<MachineName>,
    #[command(flatten)]
    upstream: Upstream,
}

/// The exit code, and the text for people.
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
            return ExitCode::from(exit::OS_ERROR);
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
    // What blocks a thread (a file on a server that is gone) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => {
            eprintln!("denizen-agent: {text}");
            ExitCode::from(code)
        }
    }
}

async fn run(run: Run) -> Result<(), Failure> {
    let listeners = Listeners::bind(run.listen, &run.imds_listen).await?;
    let config = AgentConfig {
        state_dir: run.state.state_dir,
        arc: (!run.no_arc).then(|| ArcConfig { key_dir: run.key_dir, group: run.group.clone() }),
        app_service_header: run.app_service_header_file.as_deref().map(first_line).transpose()?,
        imds_group: run.group,
        clock: Clock::system(),
        outbound: outbound(run.upstream)?,
        marker: AZCMAGENT_MARKER.into(),
        connections: denizen_serve::raise_descriptors(),
    };
    let (arc, app_service) = (config.arc.is_some(), config.app_service_header.is_some());
    // Before it says that it runs: who reads that may stop it at once.
    let stop = stop_signal()?;
    let agent = Agent::start(config, listeners).await?;
    let mut text = describe(agent.identity());
    for address in agent.local_addrs() {
        if arc {
            text += &format!("arc          http://{address}/metadata/identity/oauth2/token\n");
        }
        if app_service {
            text += &format!("app service  http://{address}/msi/token\n");
        }
        text += &format!("instance     http://{address}/metadata/instance\n");
    }
    for address in agent.imds_addrs() {
        text += &format!("imds         http://{address}/metadata/identity/oauth2/token\n");
    }
    // Nobody may be reading; the agent runs all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    stop.await;
    agent.shutdown().await;
    Ok(())
}

/// Ends at SIGTERM or SIGINT, which are caught from the call on.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Failure(exit::OS_ERROR, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn connect(connect: Connect) -> Result<(), Failure> {
    let machine_name = match connect.name {
        Some(name) => name,
        None => {
            let fqdn = denizen_agent::facts::gather(Path::new("/")).fqdn;
            MachineName::sanitized(fqdn.split('.').next().unwrap_or_default()).ok_or_else(|| {
                Failure(exit::USAGE, "the host's name cannot be the machine's: name it with --name".to_owned())
            })?
        }
    };
    let identity = enrol::connect(ConnectOptions {
        server: connect.server,
        token_authority: connect.token_authority,
        outbound: outbound(connect.upstream)?,
        join_token: first_line(&connect.join_token_file)?,
        machine_name,
        state_dir: connect.state.state_dir,
        clock: Clock::system(),
    })
    .await?;
    print!("{}", describe(&identity));
    Ok(())
}

fn show(state: &State) -> Result<(), Failure> {
    // A running agent holds the lock; its identity file is read beside it.
    print!("{}", describe(&StateDirectory::peek(&state.state_dir).map_err(AgentError::from)?));
    Ok(())
}

/// The identity in lines for people.
fn describe(identity: &IdentityFile) -> String {
    let IdentityFile { server, enrolled, .. } = identity;
    let mut text = format!("machine      {}\n", enrolled.resource_id);
    text += &format!("tenant       {}\n", enrolled.tenant_id);
    text += &format!("client id    {}\n", enrolled.client_id);
    text += &format!("object id    {}\n", enrolled.principal_id);
    text += &format!("server       {server}\n");
    if let Some(authority) = &identity.token_authority {
        text += &format!("tokens from  {authority}\n");
    }
    text
}

/// The proxy is the command line's, or else the environment's, as other programs read it.
fn outbound(upstream: Upstream) -> Result<Outbound, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the one place where the agent reads these variables")]
    let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let url = upstream.proxy.or_else(|| variable(["https_proxy", "HTTPS_PROXY"]));
    let without = upstream.no_proxy.or_else(|| variable(["no_proxy", "NO_PROXY"])).unwrap_or_default();
    let proxy = url.map(|url| Proxy::new(&url, &without)).transpose();
    let proxy = proxy.map_err(|error| Failure(exit::CONFIG, error.to_string()))?;
    Ok(Outbound { ca_file: upstream.ca_file, proxy })
}

/// The largest file that a secret is read from, bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// A secret from a file: its first line, without the line's end.
fn first_line(path: &Path) -> Result<SecretString, Failure> {
    let text = files::read_input(path, MAX_SECRET_FILE).map_err(|error| {
        let pipe = std::fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir());
        let hint = if pipe { "; name - and send it on standard input" } else { "" };
        Failure(exit::NO_PERMISSION, format!("cannot read {}: {error}{hint}", path.display()))
    })?;
    let text = SecretString::from(text);
    match text.expose().lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.into()),
        Some(_) | None => Err(Failure(exit::DATA, format!("{} is empty", path.display()))),
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        let hint = match error.address.port() {
            40342 => " (is another agent running? `ss -ltnp sport = :40342` names it)",
            _ => "",
        };
        Self(exit::UNAVAILABLE, format!("{error}{hint}"))
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
            EnrolError::Already { .. } => exit::CONFIG,
            EnrolError::Refused { .. } => exit::NO_PERMISSION,
            EnrolError::Malformed(_) => exit::UNAVAILABLE,
            EnrolError::Origin(_) => exit::USAGE,
            EnrolError::Https(_) => exit::UNAVAILABLE,
            EnrolError::Key(_) => exit::SOFTWARE,
            EnrolError::State(_) => exit::CANNOT_CREATE,
        };
        Self(code, error.to_string())
    }
}
