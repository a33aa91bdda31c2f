//! `denizen restore`: an empty database is filled from a backup. `denizen store copy`: it is filled from another database, of
//! either engine.
//!
//! Both hold the data directory, so no server runs on it. Nothing is served of what was not checked: all rows are written
//! in one transaction, and the store is opened as a server opens it.
//!
//! Touches the databases, and the data directory. Tests: `tests/it`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_identity::Environment;
use denizen_keys::random;
use denizen_server::store::{Backup, NewBackup, Restored};
use denizen_wire::Clock;

use crate::{
    backup::{RELEASE, input, print, root_key, told, wrong, wrong_in},
    config::{Sources, engine},
    data::{DataDir, OF_CONFIG},
    exit::{self, Failure},
};

/// The variable that stands for `--to`.
const COPY_TO: &str = "DENIZEN_COPY_TO";

/// Everything from a backup, into an empty database.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: Sources,
    /// The backup, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The database.
#[derive(Parser)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Copies everything into an empty database, of either engine, and checks it there. No server may run on either
    Copy {
        #[command(flatten)]
        sources: Sources,
        /// The empty database: postgres://USER:PASSWORD@HOST:PORT/DATABASE, or sqlite:PATH. DENIZEN_COPY_TO keeps a
        /// password out of the list of processes
        #[arg(long, value_name = "URL", env = COPY_TO, hide_env_values = true)]
        to: String,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = args.sources.load()?;
    let mut file = input(&args.file)?;
    let data = DataDir::open_at(&config.data_dir, OF_CONFIG)?;
    let root = root_key(&config)?;
    let restored = Backup::restore(&engine(&config)?, &root, Clock::system().now(), &mut *file).await;
    let restored = restored.map_err(|error| wrong_in(&args.file, &error))?;
    data.close();
    let missing = match restored.missing {
        Some((from, to)) => format!("; the records {from} to {to} that the database had are missing"),
        None => String::new(),
    };
    let done = match restored.was_finished {
        true => "everything was restored by an earlier run, which is finished now",
        false => "everything is restored, and a server may be started on it",
    };
    let Restored { from, seq, .. } = restored;
    print(&format!("{done}; the audit says so in record {seq}{missing}\n{}", told(&from)))?;
    Ok(ExitCode::from(exit::OK))
}

pub(crate) async fn store(args: StoreArgs) -> Result<ExitCode, Failure> {
    let StoreCommand::Copy { sources, to } = args.command;
    let config = sources.load()?;
    // Everything else is said of the other database as the configuration says it; a path is relative to it.
    let is_variable = Environment::of_process().get(COPY_TO).is_some_and(|value| *value == *to);
    let option = if is_variable { COPY_TO } else { "--to" };
    let target = sources.load_with_database(option, &to)?;
    let data = DataDir::open_at(&config.data_dir, OF_CONFIG)?;
    let root = root_key(&config)?;
    let new = NewBackup { id: random::uuid_v4(), release: RELEASE, at: Clock::system().now() };
    let from = engine(&config)?;
    let copied = Backup::copy(&from, &engine(&target)?, &root, new).await;
    let copied = copied.map_err(|error| wrong(&error))?;
    data.close();
    let next = if to.starts_with("sqlite:") { to.as_str() } else { "the URL that you gave" };
    let file = sources.config.as_deref().unwrap_or(Path::new("the configuration")).display().to_string();
    print(&format!(
        "everything is copied, counted and checked there\n{}\nNow set store.url to {next} in {file}, and start the server. No \
         server starts on the database before any more, unless {} is removed; move it away when you have a backup of the new \
         one",
        told(&copied.from),
        from.copy_note().display()
    ))?;
    Ok(ExitCode::from(exit::OK))
}
