//! `denizen signing-key`: the keys that sign tokens.
//!
//! | command | what it does |
//! |---|---|
//! | `rotate` | the key that signs stops now; its successor, published ahead of time, signs |
//! | `roll --emergency` | every key goes at once, and whatever they signed is refused |
//! | `algorithm` | says what the tokens for one application are signed by |
//!
//! A server that a configuration describes is asked, as every administrator's command asks it.
//! A development server that runs is signalled, since it holds the data directory; one that does not run is
//! changed in its place. After `rotate` the old key stays published until every token it signed has ended.
//!
//! Tests: `tests/it`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use denizen_identity::{Environment, http::Client};
use denizen_server::{
    app::administration::{AlgorithmChosen, KeysReplaced, Owner, Rotated},
    domain::directory::SigningAlgorithm,
    http::admin::{REPLACE_SIGNING_KEYS, ROTATE_SIGNING_KEYS, SIGNING_ALGORITHM},
    run::{Server, database_in},
};
use denizen_wire::{ClientId, Clock, TenantId};
use http::Method;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{
    admin_client::Administrator,
    config::Sources,
    data::DataDir,
    exit::{self, Failure},
};

/// What the audit names the commands.
const ROTATE: &str = "denizen signing-key rotate";
const ROLL: &str = "denizen signing-key roll --emergency";
/// A running server has this long to rotate.
const ROTATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys that sign tokens.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the key that signs stop now; the next one, published already, takes its place
    Rotate {
        #[command(flatten)]
        sources: Sources,
        /// A development server's data directory, without a configuration [default: $XDG_STATE_HOME/denizen/dev]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Replaces every key that signs tokens at once, when one may be in other hands
    ///
    /// New keys sign from now on. The old ones leave the published set, those made ahead with them, and their private
    /// halves are destroyed: those in the database with this command, those in an HSM as soon as the server reaches it,
    /// which is tried again every hour; those that are left there are named. What it costs: every token that is out is
    /// refused, by this server's own vaults and APIs at once, with several servers as soon as each has heard of it
    /// (within a second, as a rule); all clients ask for new tokens at the same time. Others refuse the old tokens only
    /// when they read the published keys again, which may be a day later, and until then some also refuse the new ones:
    /// restart those that matter. It cannot be undone. Where nothing has leaked, `denizen signing-key rotate` changes
    /// keys without any of this.
    Roll {
        #[command(flatten)]
        sources: Sources,
        /// Says that this is meant: all tokens that are out become worthless
        #[arg(long, required = true)]
        emergency: bool,
        /// The keys of this tenant only [default: of all tenants]
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        /// A development server's data directory, without a configuration [default: $XDG_STATE_HOME/denizen/dev]
        #[arg(long, value_name = "DIR", conflicts_with = "tenant")]
        data: Option<PathBuf>,
    },
    /// Says what the tokens for one application, as a resource, are signed by
    ///
    /// RS256 is what every client and resource reads, and the default. ES256 signatures are a quarter as long and cost a
    /// seventeenth to make; whoever validates the application's tokens must accept them. The tokens for Azure's own
    /// resources and for the vaults are always signed by RS256.
    Algorithm {
        #[command(flatten)]
        sources: Sources,
        /// The application's client id
        #[arg(long, value_name = "CLIENT-ID")]
        application: ClientId,
        /// The algorithm
        #[arg(long, value_name = "ALGORITHM")]
        algorithm: Algorithm,
        /// The tenant, where there are several
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
    },
}

/// An algorithm, as it is written.
#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "ES256")]
    Es256,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Rotate { sources, data } => rotate(&sources, data.as_deref()).await?,
        Command::Roll { sources, emergency: _, tenant, data } => roll(&sources, tenant, data.as_deref()).await?,
        Command::Algorithm { sources, application, algorithm, tenant } => {
            let algorithm = match algorithm {
                Algorithm::Rs256 => SigningAlgorithm::Rs256,
                Algorithm::Es256 => SigningAlgorithm::Es256,
            };
            choose(&sources, &AlgorithmChosen { tenant, application, algorithm }).await?;
        }
    }
    Ok(ExitCode::from(exit::OK))
}

async fn rotate(sources: &Sources, data: Option<&Path>) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let done = if data.is_none() && sources.config.is_some() {
        let config = sources.load()?;
        let nothing = serde_json::Map::new();
        Administrator::reach(&config).await?.ask(ROTATE_SIGNING_KEYS, &nothing).await?
    } else {
        match DataDir::existing(data, &environment) {
            Ok(data) => at_rest(data, ROTATE).await?,
            Err(held) if held.code == exit::TRY_AGAIN => running(data, &environment).await?,
            Err(other) => return Err(other),
        }
    };
    print(&done)
}

async fn roll(sources: &Sources, tenant: Option<TenantId>, data: Option<&Path>) -> Result<(), Failure> {
    let done = if data.is_none() && sources.config.is_some() {
        let config = sources.load()?;
        let asked = KeysReplaced { tenant };
        Administrator::reach(&config).await?.ask(REPLACE_SIGNING_KEYS, &asked).await?
    } else {
        let data = DataDir::existing(data, &Environment::of_process()).map_err(|failure| match failure.code {
            exit::TRY_AGAIN => {
                Failure::new(exit::TRY_AGAIN, format!("{failure}; a development server must be stopped first"))
            }
            _ => failure,
        })?;
        at_rest(data, ROLL).await?
    };
    print(&done)
}

#[expect(clippy::print_stdout, reason = "what was done is this command's output")]
async fn choose(sources: &Sources, asked: &AlgorithmChosen) -> Result<(), Failure> {
    let config = sources.load()?;
    let done: AlgorithmChosen = Administrator::reach(&config).await?.ask(SIGNING_ALGORITHM, asked).await?;
    println!("tokens for {} are signed by {}", done.application, done.algorithm.in_tokens().name());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was done is these commands' output")]
fn print(done: &Rotated) -> Result<(), Failure> {
    let kids = |of: &[String]| of.iter().cloned().collect::<Kids>();
    let [before, after, left] = [&done.before, &done.after, &done.left].map(|of| kids(of));
    for kid in &after {
        println!("{kid}  {}", if before.contains(kid) { "published before" } else { "new" });
    }
    for kid in before.difference(&after) {
        println!("{kid}  gone: what it signed is refused");
    }
    for kid in &left {
        println!("{kid}  not destroyed yet in its HSM, which could not be reached: a server that can tries every hour");
    }
    match done.failed.as_slice() {
        [] => Ok(()),
        failed => Err(Failure::new(exit::DATA, failed.join("\n"))),
    }
}

type Kids = BTreeSet<String>;

async fn at_rest(data: DataDir, command: &'static str) -> Result<Rotated, Failure> {
    let database = database_in(data.path());
    if !database.exists() {
        return Err(Failure::new(
            exit::DATA,
            format!("there is no database in {}; name another --data", data.path().display()),
        ));
    }
    // Nothing is issued, so the authority is never seen.
    let server = Server::open_at_rest(data.path(), data.root_key()?, "", Clock::system())
        .await
        .map_err(Failure::while_(exit::DATA, "the database"))?;
    // A data directory that is held is ours.
    let owner = Owner::at_other_end(geteuid().as_raw());
    let owner = owner.ok_or_else(|| Failure::new(exit::DATA, "this process has no owner"))?;
    let done = match command {
        ROLL => server.administration.replace_signing_keys(owner, &KeysReplaced::default()).await,
        _ => server.administration.rotate_signing_keys(owner).await,
    };
    server.store.close().await;
    data.close();
    done.map_err(Failure::while_(exit::DATA, "the signing keys"))
}

/// A development server has no keys in a device.
async fn running(data: Option<&std::path::Path>, environment: &Environment) -> Result<Rotated, Failure> {
    let (pid, manifest) = DataDir::holder(data, environment)?;
    let fact = |name: &str| manifest.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let url = format!("{}/{}/discovery/v2.0/keys", fact("authority"), fact("tenant_id"));
    let http = Client::new(&Environment::from([("SSL_CERT_FILE", fact("ca_file").as_str())]))
        .map_err(Failure::while_(exit::UNAVAILABLE, "no HTTP client"))?;
    let before = published(&http, &url).await?;
    Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| kill_process(pid, Signal::USR1))
        .map_err(Failure::while_(exit::UNAVAILABLE, &format!("process {pid} cannot be signalled")))?;
    let deadline = tokio::time::Instant::now() + ROTATION_TIMEOUT;
    loop {
        let after = published(&http, &url).await?;
        if after.iter().any(|kid| !before.contains(kid)) {
            let [before, after] = [before, after].map(|kids| kids.into_iter().collect());
            return Ok(Rotated { before, after, left: Vec::new(), failed: Vec::new() });
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::new(
                exit::UNAVAILABLE,
                format!("process {pid} did not rotate within {} s; see its log", ROTATION_TIMEOUT.as_secs()),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn published(http: &Client, url: &str) -> Result<Kids, Failure> {
    let answer = http
        .send(Method::GET, url, &[], None)
        .await
        .map_err(Failure::while_(exit::UNAVAILABLE, "the published keys"))?;
    let document: serde_json::Value =
        serde_json::from_slice(answer.body()).map_err(Failure::while_(exit::DATA, "the published keys"))?;
    let keys = document.get("keys").and_then(|keys| keys.as_array()).cloned().unwrap_or_default();
    Ok(keys.iter().filter_map(|key| key.get("kid")?.as_str().map(str::to_owned)).collect())
}
