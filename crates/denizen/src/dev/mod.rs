//! `denizen dev`: everything on loopback, in one process, for development. The server in it is the one that `denizen
//! server` runs, with a configuration of its own making.
//!
//! In order, and each step before the next one can leave a trace:
//!
//! 1. lock the data directory, bind every port: a second server on either is refused and nothing is touched;
//! 2. open (or make) root key, CA, database, tenant, vault;
//! 3. listen; enrol this machine as any agent enrols, over the wire, with a join token;
//! 4. start the agent, in the dialect this user may offer;
//! 5. do the main job once, through the endpoints a program would use;
//! 6. write what programs need; say what was done; run CMD, or wait for a signal.
//!
//! | file | holds |
//! |---|---|
//! | [`ports`] | the agent's listeners |
//! | [`certificates`] | the development CA and the server's certificate |
//! | [`tenant`] | tenant, administrator, vault: made once, kept |
//! | [`environment`] | a program's environment: the files `env` and `env.list` |
//! | [`machine`] | this machine's enrolment and its agent |
//! | [`self_test`] | the main job, done once |
//! | [`command`], [`namespace`] | `-- CMD` |
//! | [`report`] | what a person reads |

mod certificates;
mod command;
mod environment;
mod machine;
mod manifest;
pub(crate) mod namespace;
mod ports;
mod report;
mod self_test;
mod tenant;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use denizen_identity::Environment;
use denizen_server::{
    app::{access::SystemReason, limits::Rates},
    domain::claims::audience::EntraIssued,
    run::{Server, database_in, root_key_in},
    store::Retention,
};
use denizen_wire::{Clock, TenantId};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    config::{
        Config, FederationConfig, Listen, Log, Signing, StoreConfig, TRIAL_VAULT_SUFFIX, VaultNames,
        address::{Address, Localhost},
    },
    data::{self, DataDir},
    exit::{self, Failure},
    logging,
    server::{
        STOP_TIMEOUT, admin_socket,
        launch::{self, Faulty},
        ports::Bound,
        sockets::Sockets,
        stop::StopSignals,
    },
};

/// The development server.
#[derive(Parser)]
pub(crate) struct Args {
    /// Where identities, keys and secrets are kept [default: $XDG_STATE_HOME/denizen/dev]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Token service and enrolment, on 127.0.0.1 and [::1]; port 0 takes a free one
    #[arg(long, value_name = "localhost:PORT", default_value = "localhost:8443")]
    listen: Localhost,
    /// The vault
    #[arg(long, value_name = "localhost:PORT", default_value = "localhost:8444")]
    vault_listen: Localhost,
    /// The agent's Arc and App Service endpoints
    #[arg(long, value_name = "localhost:PORT", default_value = "localhost:40342")]
    agent_listen: Localhost,
    /// The agent's IMDS endpoint, at this one address
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    imds_listen: SocketAddr,
    /// Metrics, over plain HTTP
    #[arg(long, value_name = "localhost:PORT", default_value = "localhost:0")]
    metrics_listen: Localhost,
    /// The group whose members may use the Arc and IMDS endpoints, beside root and this user [default: none]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Name https://sts.windows.net/TENANT/ as the issuer of tokens for RESOURCE, as Entra does. For emulators that
    /// take no other: Azurite's --oauth basic wants it for https://storage.azure.com. May be repeated
    #[arg(long, value_name = "RESOURCE")]
    sts_windows_net_for: Vec<String>,
    /// CA certificates, PEM, of other issuers whose tokens may be federated credentials, beside the system's. Issuers may
    /// be anywhere, on this machine too
    #[arg(long, value_name = "FILE")]
    issuer_ca: Option<PathBuf>,
    /// Say that the clock is right, though it is more than a day from the last time this server saw: what waits for that
    /// (deleted secrets whose time is over, among others) is then removed for good
    #[arg(long)]
    confirm_clock: bool,
    /// Written when everything answers
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A program to run with the environment; its exit code becomes ours
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    logging::development(environment.get("DENIZEN_LOG"));
    if let Some(file) = &args.ready_file {
        data::remove_if_there(file)?;
    }

    let entra_issued = EntraIssued::for_resources(&args.sts_windows_net_for)
        .map_err(Failure::while_(exit::USAGE, "--sts-windows-net-for"))?;
    if let Some(group) = &args.group {
        let known = nix::unistd::Group::from_name(group).map_err(Failure::while_(exit::OS_ERROR, "--group"))?;
        if known.is_none() {
            let text = format!("--group {group}: there is no such group; make it with: groupadd --system {group}");
            return Err(Failure::new(exit::USAGE, text));
        }
    }
    // Before the lock is taken: `signing-key rotate` may signal its holder at once, and an unhandled SIGUSR1 ends us.
    let rotate = signal(SignalKind::user_defined1()).map_err(Failure::while_(exit::OS_ERROR, "SIGUSR1"))?;
    let data = DataDir::open(args.data.as_deref(), &environment)?;
    let mut faulty = Faulty::default();
    let config = config(&args, &data)?;
    let bound = Bound::bind(&config, Sockets::default(), &mut faulty).await;
    let (Some(bound), true) = (bound, faulty.is_empty()) else {
        return Err(faulty.failure().unwrap_or_else(|| Failure::new(exit::SOFTWARE, "nothing was bound")));
    };
    let ports = ports::Ports::bind(&args).await?;
    let names = launch::names(&config, bound.control.port(), bound.vault.port());

    let clock = Clock::system();
    let root_key = data.root_key()?;
    let certificates = certificates::Certificates::open(&data, &root_key, clock.now())?;
    certificates.write(&data)?;
    let connections = config.connections.unwrap_or_default();
    let server = launch::open(&config, names.clone(), root_key, clock.clone(), entra_issued, connections)
        .await
        .map_err(|fault| Failure::new(exit::DATA, fault.to_string()))?;
    if args.confirm_clock {
        server.confirm_clock().await.map_err(Failure::while_(exit::DATA, "--confirm-clock"))?;
    }
    let dev_tenant = tenant::DevTenant::open(&server, &clock, &data.previous()?).await?;

    let (tls, _) = launch::tls(&server, &certificates.pair()?)?;
    let mut listeners = bound.listeners;
    listeners.admin = match admin_socket::bind(&data) {
        Ok(listener) => Some(listener),
        // The path of a socket is short, and that of a directory need not be.
        Err(failure) => {
            tracing::warn!("{failure}: `denizen app` cannot reach this server; a --data with a shorter path helps");
            None
        }
    };
    let serving = server.serve(listeners, &tls).map_err(Failure::while_(exit::SOFTWARE, "the routes"))?;
    let machine = machine::Machine::start(
        &server,
        &dev_tenant,
        &data,
        &names,
        args.group.as_deref(),
        ports.agent,
        &ports.agent_addrs,
    )
    .await?;
    let rotating = tokio::spawn(rotate_on_signal(rotate, server.clone(), dev_tenant.tenant));
    let manifest = manifest::Manifest::new(&names, &dev_tenant, &machine, &data, bound.metrics.port());
    let self_test = self_test::SelfTest::make(&manifest, data.ca_file().as_path()).await?;
    manifest.write(&data, &environment)?;
    // Before it says that it is ready: who reads that may stop it at once.
    let mut stop = StopSignals::catch()?;
    report::print(&manifest, &machine, &self_test, &data, &args);
    if let Some(file) = &args.ready_file {
        data::write_public(file, b"ready\n")?;
    }

    let code = if args.command.is_empty() {
        stop.wait().await;
        exit::OK
    } else {
        command::run(&args.command, &manifest, &data, &environment, stop).await?
    };
    rotating.abort();
    let stopped = tokio::time::timeout(STOP_TIMEOUT, async {
        tokio::join!(machine.stop(), serving.stop());
    });
    if stopped.await.is_err() {
        tracing::error!("not everything ended within {STOP_TIMEOUT:?}; nothing that was acknowledged is lost");
    }
    data::remove_if_there(&admin_socket::path_in(data.path()))?;
    data.close();
    Ok(ExitCode::from(code))
}

/// What the development server is as a configuration: the same server as an operator's, on loopback.
fn config(args: &Args, data: &DataDir) -> Result<Config, Failure> {
    let listen = |at: &str, address| Listen { address: Address::Localhost(address), at: at.to_owned() };
    Ok(Config {
        listen: listen("--listen", args.listen),
        vault_listen: listen("--vault-listen", args.vault_listen),
        metrics_listen: listen("--metrics-listen", args.metrics_listen),
        public_url: None,
        vaults: VaultNames {
            url: None,
            suffix: Some(TRIAL_VAULT_SUFFIX.to_owned()),
            local: Some(tenant::VAULT.to_owned()),
        },
        data_dir: data.path().to_owned(),
        drain: Duration::ZERO,
        store: StoreConfig::embedded(database_in(data.path())),
        tls: None,
        root_key: root_key_in(data.path()),
        signing: Signing::default(),
        retention: Retention::default(),
        log: Log { json: false, level: String::new() },
        otlp: None,
        federation: FederationConfig {
            hosts: "any".parse().map_err(Failure::while_(exit::SOFTWARE, "federation"))?,
            networks: "127.0.0.0/8, ::1/128".parse().map_err(Failure::while_(exit::SOFTWARE, "federation"))?,
            ca_file: args.issuer_ca.clone().map(|file| (file, "--issuer-ca".to_owned())),
        },
        connections: Some(ports::room_for_connections()?.server),
        rates: Rates::default(),
        password_grant: false,
        warnings: Vec::new(),
    })
}

/// `denizen signing-key rotate` signals a running server with SIGUSR1: only that process may write to its database.
async fn rotate_on_signal(mut signal: Signal, server: Server, tenant: TenantId) {
    while signal.recv().await.is_some() {
        let rotation = server.authorize(tenant, SystemReason::Command("denizen signing-key rotate"));
        let outcome = server.signing.rotate(&rotation).await;
        match outcome {
            Ok(()) => tracing::warn!("the signing key was rotated by command"),
            Err(e) => tracing::error!(error = %denizen_wire::Causes(&e), "the signing key could not be rotated"),
        }
    }
}
