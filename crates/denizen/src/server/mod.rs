//! `denizen server`: the server that an operator runs, as its configuration says.
//!
//! In order, and what is wrong with any of the first is said all at once:
//!
//! 1. the configuration; the certificate; the root key; the data directory, which is locked; the ports; the database;
//! 2. listen, keep the certificate current, say that everything answers;
//! 3. at SIGTERM or SIGINT say that this server is draining, serve on for a while, then stop.
//!
//! | file | holds |
//! |---|---|
//! | [`launch`] | putting a server together: the one way to it, also for `denizen dev` |
//! | [`ports`], [`sockets`] | the listeners: bound here, or given by a service manager |
//! | [`tls_files`] | the certificate's files, read again when they change |
//! | [`admin_socket`] | where commands reach a running server |
//! | [`manager`] | what a service manager is told |
//! | [`stop`] | the signals that stop it |
//!
//! Tests: `tests/it` (`server`, `server_config`).

pub(crate) mod admin_socket;
pub(crate) mod launch;
mod manager;
pub(crate) mod ports;
pub(crate) mod sockets;
pub(crate) mod stop;
mod tls_files;

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use denizen_identity::Environment;
use denizen_keys::envelope::RootKey;
use denizen_server::{domain::claims::audience::EntraIssued, http::tls::Pair, run::Server};
use denizen_wire::{Clock, host::is_local};
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

use self::{
    launch::Faulty,
    ports::{Bound, room_for_connections},
    sockets::Sockets,
    stop::StopSignals,
};
use crate::{
    config::{self, Config, Fault, Sources, StoreUrl},
    data::{self, DataDir, OF_CONFIG, Sharing, no_root_key},
    exit::{self, Failure},
    logging,
    traces::Traces,
};

/// Everything has ended this long after the stop: answers under way within 5 s, then the store.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A command that has the data directory is waited for this long.
const COMMANDS: Duration = Duration::from_secs(10);

/// The server.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: Sources,
    /// Prints a configuration with every key, its meaning, unit and default
    #[arg(long)]
    print_config: bool,
    /// Checks everything that can be checked without serving, and says all that is wrong
    #[arg(long)]
    check: bool,
    /// Written when everything answers: `ready`, and where this server listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Say that the clock is right, though it is more than a day from the last time this server saw: what waits for that
    /// (deleted secrets whose time is over, among others) is then removed for good
    #[arg(long)]
    confirm_clock: bool,
}

/// What is open before anything is served.
struct Prepared {
    data: DataDir,
    bound: Bound,
    pair: Pair,
    server: Server,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.print_config {
        print(&config::print())?;
        return Ok(ExitCode::from(exit::OK));
    }
    let (config, faults) = args.sources.load_all()?;
    let mut faulty = Faulty::default();
    faulty.add_all(faults);
    let traces = logging::server(&config.log, config.otlp.as_deref()).unwrap_or_else(|fault| {
        faulty.add(exit::CONFIG, fault);
        Traces::none()
    });
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(file) = args.ready_file.as_ref().filter(|_| !args.check) {
        data::remove_if_there(file)?;
    }
    let clock = Clock::system();
    // Before anything is ready: who reads that may signal us at once.
    let hang_up = signal(SignalKind::hangup()).map_err(Failure::while_(exit::OS_ERROR, "SIGHUP"))?;
    let stop = StopSignals::catch()?;
    let prepared = prepare(&config, &clock, args.check, &mut faulty).await?;
    let prepared = match (prepared, faulty.failure()) {
        (Some(prepared), None) => prepared,
        (prepared, failure) => {
            if let Some(prepared) = prepared {
                prepared.server.store.close().await;
            }
            return Err(failure.unwrap_or_else(|| Failure::new(exit::SOFTWARE, "nothing was opened")));
        }
    };
    if args.check {
        prepared.server.store.close().await;
        prepared.data.close();
        print("nothing is wrong\n")?;
        return Ok(ExitCode::from(exit::OK));
    }
    if args.confirm_clock {
        prepared.server.confirm_clock().await.map_err(Failure::while_(exit::DATA, "--confirm-clock"))?;
    }
    let served = serve(prepared, &config, clock, args.ready_file.as_deref(), hang_up, stop).await;
    traces.finish().await;
    served?;
    Ok(ExitCode::from(exit::OK))
}

/// Opens everything, and says everything that is wrong.
async fn prepare(
    config: &Config,
    clock: &Clock,
    is_check: bool,
    faulty: &mut Faulty,
) -> Result<Option<Prepared>, Failure> {
    let pair = match &config.tls {
        Some(files) => match tls_files::read(files, clock.now()) {
            Ok(pair) => Some(pair),
            Err(fault) => {
                faulty.add(exit::CONFIG, fault);
                None
            }
        },
        None => {
            let rule = "clients speak TLS only: set tls.cert and tls.key to the PEM files of a certificate and its key";
            faulty.add(exit::CONFIG, Fault::new("tls.cert", rule));
            None
        }
    };
    let root_key = match RootKey::load(&config.root_key) {
        Ok(key) => Some(key),
        Err(error) => {
            let failure = no_root_key(&config.root_key, &error, Sharing::of(&config.store.url));
            faulty.add(failure.code, Fault::new("root_key.file", failure.to_string()));
            None
        }
    };
    let data = data_dir(config, faulty).await;
    let sockets = Sockets::given(&Environment::of_process())?;
    let bound = Bound::bind(config, sockets, faulty).await;
    let connections = match room_for_connections() {
        Ok(room) => config.connections.map_or(room, |most| most.min(room)),
        Err(failure) => {
            faulty.add(failure.code, Fault::new("limits.connections", failure.to_string()));
            0
        }
    };
    // Another process may have the database, or ours would be opened by the wrong key.
    let (Some(root_key), Some(data)) = (root_key, data) else { return Ok(None) };
    if let StoreUrl::Sqlite(path) = &config.store.url
        && !path.exists()
    {
        faulty.add(exit::CONFIG, not_set_up(config, &format!("there is no database at {}", path.display())));
        return Ok(None);
    }
    let (control_port, vault_port) = match &bound {
        Some(bound) => (bound.control.port(), bound.vault.port()),
        None => (config.listen.address.port(), config.vault_listen.address.port()),
    };
    let names = launch::names(config, control_port, vault_port);
    let opened = launch::open(config, names, root_key, clock.clone(), EntraIssued::default(), connections).await;
    let server = match opened {
        Ok(server) => server,
        Err(fault) => {
            faulty.add(exit::DATA, fault);
            return Ok(None);
        }
    };
    if server.store.snapshot().tenants().next().is_none() {
        faulty.add(exit::CONFIG, not_set_up(config, "the database is empty"));
    }
    if is_check && let Err(rule) = server.signing.check(clock.now()).await {
        faulty.add(exit::CONFIG, Fault::new("signing", rule));
    }
    if let Some(pair) = &pair {
        for fault in names_of_certificate(config, &server, pair) {
            if is_check {
                faulty.add(exit::CONFIG, fault);
            } else {
                // What stands before this server may show another certificate.
                tracing::warn!("{fault}");
            }
        }
    }
    match (bound, pair) {
        (Some(bound), Some(pair)) => Ok(Some(Prepared { data, bound, pair, server })),
        (Some(_) | None, _) => {
            server.store.close().await;
            Ok(None)
        }
    }
}

async fn data_dir(config: &Config, faulty: &mut Faulty) -> Option<DataDir> {
    // One more server over the same database starts with an empty directory; any other was made by `denizen init`.
    if matches!(config.store.url, StoreUrl::Sqlite(_)) && !config.data_dir.exists() {
        faulty.add(exit::CONFIG, not_set_up(config, &format!("there is no directory {}", config.data_dir.display())));
        return None;
    }
    let deadline = Instant::now() + COMMANDS;
    loop {
        match DataDir::open_at(&config.data_dir, OF_CONFIG) {
            Ok(data) => return Some(data),
            // A command has it, and ends soon. A server answers at its socket.
            Err(failure)
                if failure.code == exit::TRY_AGAIN
                    && Instant::now() < deadline
                    && UnixStream::connect(admin_socket::path_in(&config.data_dir)).await.is_err() =>
            {
                sleep(Duration::from_millis(50)).await;
            }
            Err(failure) => {
                faulty.add(failure.code, Fault::new("data_dir", failure.to_string()));
                return None;
            }
        }
    }
}

fn not_set_up(config: &Config, what: &str) -> Fault {
    let rule = format!("{what}: make a new one with `denizen init`, or name the one that is meant");
    Fault::new(if what.contains("directory") { "data_dir" } else { &config.store.at }, rule)
}

/// Which of our names the certificate is not for.
fn names_of_certificate(config: &Config, server: &Server, pair: &Pair) -> Vec<Fault> {
    let Some(at) = config.tls.as_ref().map(|files| format!("{} {}", files.cert_at, files.cert.display())) else {
        return Vec::new();
    };
    let mut hosts = vec![config.public_url.as_ref().map_or("localhost", |url| url.host.as_str()).to_owned()];
    let vault_host = config.vaults.url.as_ref().map_or("localhost", |url| url.host.as_str());
    if is_local(vault_host) {
        hosts.push(vault_host.to_owned());
    } else {
        let suffix = config.vaults.suffix.as_deref().unwrap_or(vault_host);
        let snapshot = server.store.snapshot();
        let vaults = snapshot.tenants().flat_map(|tenant| snapshot.vaults(tenant.id));
        hosts.extend(vaults.map(|vault| format!("{}.{suffix}", vault.name)));
    }
    hosts.sort_unstable();
    hosts.dedup();
    let missing = hosts.into_iter().filter(|host| !pair.is_for(host));
    missing.map(|host| Fault::new(&at, format!("the certificate is not for {host}: get one that names it"))).collect()
}

/// Serves until a signal, then drains and stops.
async fn serve(
    prepared: Prepared,
    config: &Config,
    clock: Clock,
    ready_file: Option<&std::path::Path>,
    hang_up: tokio::signal::unix::Signal,
    mut stop: StopSignals,
) -> Result<(), Failure> {
    let Prepared { data, bound, pair, server } = prepared;
    let Bound { mut listeners, control, vault, metrics } = bound;
    listeners.admin = Some(admin_socket::bind(&data)?);
    let (tls, certificates) = launch::tls(&server, &pair)?;
    let serving = server.serve(listeners, &tls).map_err(Failure::while_(exit::SOFTWARE, "the routes"))?;
    let following = config.tls.clone().map(|files| {
        let health = server.tls_health.clone();
        tokio::spawn(tls_files::follow(files, certificates, health, clock, hang_up))
    });
    let text = format!("ready\nlisten={control}\nvault_listen={vault}\nmetrics_listen={metrics}\n");
    if let Some(file) = ready_file {
        data::write_public(file, text.as_bytes())?;
    }
    let watchdog = manager::watchdog();
    manager::ready();
    tracing::info!(%control, %vault, %metrics, "ready");

    stop.wait().await;
    manager::stopping();
    server.readiness.drain();
    tracing::info!(seconds = config.drain.as_secs(), "draining");
    tokio::select! {
        () = sleep(config.drain) => {}
        () = stop.wait() => tracing::info!("told to stop again: not draining any longer"),
    }
    if let Some(file) = ready_file {
        data::remove_if_there(file)?;
    }
    if let Some(following) = following {
        following.abort();
    }
    if tokio::time::timeout(STOP_TIMEOUT, serving.stop()).await.is_err() {
        tracing::error!("not everything ended within {STOP_TIMEOUT:?}; nothing that was acknowledged is lost");
    }
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    data::remove_if_there(&admin_socket::path_in(data.path()))?;
    data.close();
    tracing::info!("stopped");
    Ok(())
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))
}
