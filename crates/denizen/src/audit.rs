//! `denizen audit`: the audit's trail of a data directory.
//!
//! `verify`, `head` and `export` read, on a connection that cannot write, and may be run beside the server that writes.
//! `accept` writes, and is for a directory that no process serves.
//!
//! Tests: `tests/it`.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_agent::files;
use denizen_identity::Environment;
use denizen_server::{
    run::{database_in, root_key_in},
    store::{Acceptance, Checked, Engine, Head, LeftOut, StoreError, StoreKeys, Trail, TrailFault, Verified},
};
use denizen_wire::{Causes, Clock};

use crate::{
    config::{Config, Sources, engine},
    data::{DataDir, OF_CONFIG, Sharing, existing_path, root_key},
    exit::{self, Failure},
};

/// So many chains are named in one message.
const MOST_CHAINS: usize = 8;
/// A head is one line; no more of a file is read, bytes.
const MAX_HEAD: u64 = 64 * 1024;

/// The audit's trail: what was done, by whom, and whether it is as it was written.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: AuditSources,
    #[command(subcommand)]
    command: Command,
}

/// Whose trail it is.
#[derive(Parser)]
struct AuditSources {
    /// The configuration of the server
    #[arg(long, global = true, value_name = "FILE", env = "DENIZEN_CONFIG")]
    config: Option<PathBuf>,
    /// A development server's data directory, without a configuration [default: $XDG_STATE_HOME/denizen/dev]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Where the trail is, and the root key that its records are tagged under.
struct Place {
    engine: Engine,
    root_key: PathBuf,
    /// Held by who writes.
    data: Option<DataDir>,
    /// The option that named it, as it was given; empty where none was.
    named: String,
}

#[derive(Subcommand)]
enum Command {
    /// Checks every record against the one before it and against the root key, and where the trail ends; prints how many
    /// there are, and the head
    Verify {
        /// A head that was printed earlier, or - for standard input: the trail must have gone on from it
        #[arg(long, value_name = "HEAD-FILE")]
        since: Option<PathBuf>,
    },
    /// Prints where the trail ends, as one line to be kept on another machine for `verify --since`
    Head,
    /// Prints the records, each as one line of JSON. Rows that somebody else wrote are left out, and said at the end
    Export {
        /// The first record
        #[arg(long, value_name = "SEQ", default_value_t = 1)]
        from: u64,
    },
    /// Goes on from the database as it is, after a backup was restored or a file was lost, and records that
    Accept,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let sources = args.sources;
    match args.command {
        Command::Verify { since } => verify(&open(&sources).await?, since.as_deref()).await?,
        Command::Head => {
            let Opened { trail, named, .. } = open(&sources).await?;
            print(&line(&trail.head().await.map_err(|error| wrong(&error, &named))?)?)?;
        }
        Command::Export { from } => export(&open(&sources).await?, from).await?,
        Command::Accept => accept(sources.held()?).await?,
    }
    Ok(ExitCode::from(exit::OK))
}

impl AuditSources {
    fn config(&self) -> Result<Option<Config>, Failure> {
        if self.data.is_some() || self.config.is_none() {
            return Ok(None);
        }
        Sources { config: self.config.clone(), set: Vec::new() }.load().map(Some)
    }

    /// The option that says whose trail it is, as it was given.
    fn named(&self) -> String {
        let option = |name: &str, path: &Path| format!(" {name} {}", path.display());
        match (&self.data, &self.config) {
            (Some(data), _) => option("--data", data),
            (None, Some(config)) => option("--config", config),
            (None, None) => String::new(),
        }
    }

    /// The place, which another process may hold.
    fn place(&self) -> Result<Place, Failure> {
        let named = self.named();
        if let Some(config) = self.config()? {
            return Ok(Place { engine: engine(&config)?, root_key: config.root_key, data: None, named });
        }
        let path = existing_path(self.data.as_deref(), &Environment::of_process())?;
        let path = path.canonicalize().map_err(Failure::while_(exit::OS_ERROR, &path.display().to_string()))?;
        let engine = Engine::Sqlite { path: database_in(&path) };
        Ok(Place { engine, root_key: root_key_in(&path), data: None, named })
    }

    /// The same, held.
    fn held(&self) -> Result<Place, Failure> {
        let named = self.named();
        if let Some(config) = self.config()? {
            let data = Some(DataDir::open_at(&config.data_dir, OF_CONFIG)?);
            return Ok(Place { engine: engine(&config)?, root_key: config.root_key, data, named });
        }
        let data = DataDir::existing(self.data.as_deref(), &Environment::of_process())?;
        let engine = Engine::Sqlite { path: database_in(data.path()) };
        Ok(Place { engine, root_key: root_key_in(data.path()), data: Some(data), named })
    }
}

impl Place {
    fn keys(&self) -> Result<StoreKeys, Failure> {
        let sharing = match &self.engine {
            Engine::Sqlite { .. } => Sharing::Alone,
            Engine::Postgres(_) => Sharing::Shared,
        };
        Ok(StoreKeys::of(&root_key(&self.root_key, true, sharing)?))
    }

    /// Says so where there is no database.
    fn missing(&self) -> Option<Failure> {
        let Engine::Sqlite { path } = &self.engine else { return None };
        let fix = match self.named.starts_with(" --config") {
            true => "name the configuration whose store.url is the one that is meant",
            false => "name another --data, or the --config of a server, whose database may be elsewhere",
        };
        let text = format!("there is no database at {}; {fix}", path.display());
        (!path.exists()).then(|| Failure::new(exit::DATA, text))
    }
}

/// The trail, the keys that its records are tagged under, and the option that named it.
struct Opened {
    trail: Trail,
    keys: StoreKeys,
    named: String,
}

async fn open(sources: &AuditSources) -> Result<Opened, Failure> {
    let place = sources.place()?;
    if let Some(missing) = place.missing() {
        return Err(missing);
    }
    let keys = place.keys()?;
    let named = place.named;
    let trail = Trail::open(place.engine, keys.clone()).await.map_err(|error| wrong(&error, &named))?;
    Ok(Opened { trail, keys, named })
}

async fn verify(Opened { trail, keys, named }: &Opened, since: Option<&Path>) -> Result<(), Failure> {
    let since = match since {
        Some(file) => {
            let bad = |error: String| Failure::new(exit::DATA, format!("--since {}: {error}", file.display()));
            let text = files::read_input(file, MAX_HEAD).map_err(|error| bad(error.to_string()))?;
            Some(Head::parse(&text, keys).map_err(|error| bad(error.to_string()))?)
        }
        None => None,
    };
    let Checked { verified, others, head, unanchored } =
        trail.verify(since.as_ref()).await.map_err(|error| wrong(&error, named))?;
    let mut text = told(&verified, head.seq);
    for (chain, verified) in &others {
        text += &format!("\nreplica {chain}: {}", told(verified, verified.first + verified.records - 1));
    }
    match unanchored {
        None => print(&format!("{text}\n{}", line(&head)?)),
        Some(fault) => {
            print(&text)?;
            let whole = "The records that are there are whole; that none are missing at their end cannot be told";
            Err(Failure::new(exit::DATA, format!("{}. {whole}", advised(&fault, named))))
        }
    }
}

/// What a trail holds, and what was given up or removed of it.
fn told(verified: &Verified, last: u64) -> String {
    let Verified { records, first, given_up, accepted, pruned, .. } = verified;
    let mut text = format!("{records} records are as they were written, from {first} to {last}");
    // The record of an acceptance after which the chain starts anew is the first of it.
    let starts_anew = accepted.first().is_some_and(|acceptance| acceptance.seq == *first);
    if *first > 1 && !starts_anew {
        let when = pruned.map_or_else(String::new, |at| format!(", the last of them on {}", at.rfc3339()));
        text += &format!("; records 1 to {} were removed by retention{when}", first - 1);
    }
    for Acceptance { seq, at, why, given_up, restored } in accepted {
        if *restored {
            let known = given_up.map_or_else(
                || "how many it did not have cannot be told".to_owned(),
                |(from, to)| format!("records {from} to {to} or more are missing"),
            );
            text += &format!("; on {}, as record {seq} says: {why} ({known})", at.rfc3339());
            continue;
        }
        let what = match given_up {
            Some((from, to)) => format!("records {from} to {to} were given up"),
            None => "the trail was accepted as it was".to_owned(),
        };
        let at = at.rfc3339();
        text += &format!("; {what} by `denizen audit accept` on {at}, as record {seq} says, because: {why}");
    }
    if *given_up > 0 {
        text += &format!("; {given_up} of the records that were given up are there, and worth nothing as evidence");
    }
    text
}

async fn export(Opened { trail, named, .. }: &Opened, from: u64) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let failed = Failure::while_(exit::OS_ERROR, "the records cannot be printed");
    let exported = trail.export(from, |record| writeln!(out, "{record}").map_err(&failed).map_err(Stop::Output)).await;
    let left_out = exported.map_err(|stop| stop.failure(named))?;
    out.flush().map_err(&failed)?;
    if left_out.is_empty() { Ok(()) } else { Err(Failure::new(exit::DATA, left_out_of(&left_out, named))) }
}

/// What is not in an export though it is in the database.
fn left_out_of(left_out: &[LeftOut], named: &str) -> String {
    let each = left_out.iter().take(MOST_CHAINS).map(|LeftOut { chain, rows, first }| {
        // Whoever puts rows there gives them any name.
        let is_name = chain.len() == 32 && chain.bytes().all(|byte| byte.is_ascii_hexdigit());
        let chain = if is_name { chain } else { "with a name that no server gave" };
        format!("{rows} of the chain {chain}, the first at record {}", first.cast_signed())
    });
    let each = each.collect::<Vec<_>>().join("; ");
    let more = match left_out.len().saturating_sub(MOST_CHAINS) {
        0 => String::new(),
        more => format!("; and of {more} more chains"),
    };
    format!(
        "rows that this deployment did not write, or that were changed since, were left out: {each}{more}. What was exported is \
         as it was written; whether any is missing is told by `denizen audit verify{named}`"
    )
}

/// Why no more is exported.
enum Stop {
    Store(StoreError),
    Output(Failure),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Stop {
    fn failure(self, named: &str) -> Failure {
        match self {
            Self::Store(error) => wrong(&error, named),
            Self::Output(failure) => failure,
        }
    }
}

async fn accept(place: Place) -> Result<(), Failure> {
    if let Some(missing) = place.missing().filter(|_| !place.engine.has_trail()) {
        return Err(missing);
    }
    let keys = place.keys()?;
    let accepted = Trail::accept(&place.engine, &keys, Clock::system().now()).await;
    let accepted = accepted.map_err(|error| wrong(&error, &place.named))?;
    if let Some(data) = place.data {
        data.close();
    }
    print(&match accepted {
        Some(accepted) => {
            let given_up = match accepted.given_up {
                0 => String::new(),
                records => format!("; {records} records before it stay, and are worth nothing as evidence"),
            };
            format!("accepted, and recorded as record {}: {}{given_up}", accepted.seq, accepted.was)
        }
        None => "there is nothing to accept: the trail is as it was written".to_owned(),
    })
}

fn line(head: &Head) -> Result<String, Failure> {
    head.line().map_err(Failure::while_(exit::SOFTWARE, "JSON"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(Failure::while_(exit::OS_ERROR, "the result cannot be printed"))
}

fn wrong(error: &StoreError, named: &str) -> Failure {
    let code = if matches!(error, StoreError::InUse { .. }) { exit::TRY_AGAIN } else { exit::DATA };
    let text = match (fault_of(error), error) {
        (Some(fault), _) => advised(fault, named),
        // What was accepted was changed, and is not to be accepted again.
        (None, StoreError::StillRefused(cause)) => match fault_of(cause) {
            Some(fault) => format!("{error}: {fault}"),
            None => Causes(error).to_string(),
        },
        (None, _) => Causes(error).to_string(),
    };
    Failure::new(code, text)
}

fn fault_of(error: &StoreError) -> Option<&TrailFault> {
    if let StoreError::Trail(fault) = error { Some(fault) } else { None }
}

/// What is wrong with a trail, and what to do: whoever reads this has just had it verified, or cannot. `named` is the option
/// that named it.
fn advised(fault: &TrailFault, named: &str) -> String {
    format!(
        "{fault}. Nothing was changed. If you restored a backup or lost a file, go on from what is there with `denizen audit \
         accept{named}`, which is recorded"
    )
}
