//! `denizen dev`: everything on loopback, in one process, for development.
//!
//! In order, and each step before the next one can leave a trace:
//!
//! 1. lock the data directory, bind every port: a second one on either is told so and nothing is touched;
//! 2. open (or make) root key, CA, database, tenant, vault;
//! 3. listen; enrol this machine as any agent enrols, over the wire, with a join token;
//! 4. start the agent, in the dialect this user may offer;
//! 5. prove the main job through the endpoints a program would use;
//! 6. write what programs need; say what was done; run CMD, or wait for a signal.
//!
//! | file | holds |
//! |---|---|
//! | [`data`] | the data directory, its lock, the files written into it |
//! | [`ports`] | the listeners |
//! | [`certificates`] | the development CA and the server's certificate |
//! | [`directory`] | tenant, administrator, vault: made once, kept |
//! | [`machine`] | this machine's enrolment and its agent |
//! | [`proof`] | the main job, done once |
//! | [`command`], [`namespace`] | `-- CMD` |
//! | [`report`] | what a person reads |

mod certificates;
mod command;
pub(crate) mod data;
mod directory;
mod machine;
mod manifest;
pub(crate) mod namespace;
mod ports;
mod proof;
mod report;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use denizen_identity::environment::Environment;
use denizen_server::{
    app::access::SystemReason,
    clock::Clock,
    domain::claims::audience::EntraIssued,
    http::PublicNames,
    run::{Server, ServerConfig, database_in, tls},
    store::Engine,
};
use denizen_wire::TenantId;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    exit::{self, Failure},
    logging,
};

/// The host name under which development vaults live, `{name}.vault.denizen.test`. RFC 6761 reserves `.test`.
const VAULT_SUFFIX: &str = "vault.denizen.test";

/// The development server.
#[derive(Parser)]
pub(crate) struct Args {
    /// Where identities, keys and secrets are kept [default: $XDG_STATE_HOME/denizen/dev]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Token service and enrolment; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// The vault
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8444")]
    vault_listen: SocketAddr,
    /// The agent's Arc and App Service endpoints
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:40342")]
    agent_listen: SocketAddr,
    /// The agent's IMDS endpoint
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    imds_listen: SocketAddr,
    /// Metrics
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    metrics_listen: SocketAddr,
    /// Name https://sts.windows.net/TENANT/ as the issuer of tokens for RESOURCE, as Entra does. For emulators that
    /// take no other: Azurite's --oauth basic wants it for https://storage.azure.com. May be repeated
    #[arg(long, value_name = "RESOURCE")]
    sts_windows_net_for: Vec<String>,
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
    // Before the directory is held: who finds its holder may tell it at once, and an unhandled SIGUSR1 ends a process.
    let told = signal(SignalKind::user_defined1()).map_err(Failure::while_(exit::OS_ERROR, "SIGUSR1"))?;
    let data = data::DataDir::open(args.data.as_deref(), &environment)?;
    let ports = ports::Ports::bind(&args).await?;
    let names = PublicNames {
        authority: format!("https://localhost:{}", ports.control_addr.port()),
        vault_suffix: VAULT_SUFFIX.to_owned(),
        vault_port: ports.vault_addr.port(),
        vault_local: Some(directory::VAULT.to_owned()),
    };

    let clock = Clock::System;
    let root_key = data.root_key()?;
    let certificates = certificates::Certificates::open(&data, &root_key, clock.now())?;
    data.write_ca(&certificates)?;
    let tls = tls(&certificates.chain_pem(), &certificates.key_pem())
        .map_err(Failure::while_(exit::SOFTWARE, "the server's certificate"))?;
    let engine = Engine::Sqlite { path: database_in(data.path()) };
    let config = ServerConfig { engine, names: names.clone(), root_key, clock: clock.clone(), entra_issued };
    let server = Server::open(config)
        .await
        .map_err(Failure::while_(exit::DATA, &format!("the database in {}", data.path().display())))?;
    let kept = directory::Kept::open(&server, &data.previous()?).await?;

    let serving = server.serve(ports.control, ports.vault, ports.metrics, &tls);
    let serving = serving.map_err(Failure::while_(exit::SOFTWARE, "the routes"))?;
    let machine = machine::Machine::start(&server, &kept, &data, &names, ports.agent, &ports.agent_addrs).await?;
    let rotating = tokio::spawn(rotate_when_told(told, server.clone(), kept.tenant));
    let manifest = manifest::Manifest::new(&names, &kept, &machine, &data, ports.metrics_addr);
    let proof = proof::Proof::make(&manifest, data.ca_file().as_path()).await?;
    data.write_manifest(&manifest)?;
    report::print(&manifest, &machine, &proof, &data, &args);
    if let Some(file) = &args.ready_file {
        data::write_public(file, b"ready\n")?;
    }

    let code = if args.command.is_empty() {
        command::wait_for_signal().await;
        exit::OK
    } else {
        command::run(&args.command, &manifest, &data).await?
    };
    rotating.abort();
    machine.stop().await;
    serving.stop().await;
    data.close();
    Ok(ExitCode::from(code))
}

/// `denizen signing-key rotate` tells a running server by SIGUSR1: it alone may write to its database.
async fn rotate_when_told(mut told: Signal, server: Server, tenant: TenantId) {
    while told.recv().await.is_some() {
        let outcome =
            server.signing.rotate(&server.authorize(tenant, SystemReason::Command("denizen signing-key rotate"))).await;
        match outcome {
            Ok(()) => tracing::warn!("the signing key was rotated by command"),
            Err(e) => tracing::error!(error = %e, "the signing key could not be rotated"),
        }
    }
}
