//! `denizen signing-key rotate`: the key that signs tokens stops now; its successor, published ahead of time, signs.
//!
//! A server that a configuration describes is asked, as every administrator's command asks it.
//! A development server that runs is signalled, since it holds the data directory; one that does not run is
//! changed in its place. Either way the old key stays published until every token it signed has ended.
//!
//! Tests: `tests/it`.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use denizen_identity::{Environment, http::Client};
use denizen_server::{
    app::{access::SystemReason, administration::Rotated},
    http::admin::ROTATE_SIGNING_KEYS,
    run::{Server, database_in},
};
use denizen_wire::{Clock, TenantId};
use http::Method;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    admin_client::Administrator,
    config::Sources,
    data::DataDir,
    exit::{self, Failure},
};

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
}

#[expect(clippy::print_stdout, reason = "what was done is this command's output")]
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Command::Rotate { sources, data } = args.command;
    let environment = Environment::of_process();
    let (before, after) = if data.is_none() && sources.config.is_some() {
        let config = sources.load()?;
        let nothing = serde_json::Map::new();
        let done: Rotated = Administrator::reach(&config).await?.ask(ROTATE_SIGNING_KEYS, &nothing).await?;
        (done.before.into_iter().collect(), done.after.into_iter().collect())
    } else {
        match DataDir::existing(data.as_deref(), &environment) {
            Ok(data) => at_rest(data).await?,
            Err(held) if held.code == exit::TRY_AGAIN => running(data.as_deref(), &environment).await?,
            Err(other) => return Err(other),
        }
    };
    for kid in &after {
        println!("{kid}  {}", if before.contains(kid) { "published before" } else { "new" });
    }
    Ok(ExitCode::from(exit::OK))
}

type Kids = BTreeSet<String>;

async fn at_rest(data: DataDir) -> Result<(Kids, Kids), Failure> {
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
    let kids = |server: &Server| -> Kids {
        let snapshot = server.store.snapshot();
        snapshot.tenants().flat_map(|tenant| snapshot.signing_keys(tenant.id)).map(|key| key.kid.clone()).collect()
    };
    let before = kids(&server);
    let tenants: Vec<TenantId> = server.store.snapshot().tenants().map(|tenant| tenant.id).collect();
    for tenant in tenants {
        let authorization = server.authorize(tenant, SystemReason::Command("denizen signing-key rotate"));
        server.signing.rotate(&authorization).await.map_err(Failure::while_(exit::DATA, "the signing keys"))?;
    }
    let after = kids(&server);
    server.store.close().await;
    data.close();
    Ok((before, after))
}

async fn running(data: Option<&std::path::Path>, environment: &Environment) -> Result<(Kids, Kids), Failure> {
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
            return Ok((before, after));
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
