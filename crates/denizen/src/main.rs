//! `denizen`: one command for development, the server and its administration, and the client side of the identity endpoint
//! and the vault.
//!
//! | file | command |
//! |---|---|
//! | [`dev`] | `denizen dev`: everything on loopback, in one process |
//! | [`init`] | `denizen init`: a new server's data |
//! | [`server`] | `denizen server` |
//! | [`join_token`], [`role`] | `denizen join-token create`, `denizen role assignment create` |
//! | [`app`] | `denizen app federated-credential`, `denizen app trusted-subject`: `add`, `list`, `remove` |
//! | [`config`], [`data`], [`admin_client`] | what those share: configuration, data directory, the way to a running server |
//! | [`token`] | `denizen token get` |
//! | [`secret`] | `denizen secret get`, `set`, `list` |
//! | [`user`] | `denizen user create`, `list`, `set-password`, `disable`, `enable`, `revoke-sessions`, `totp` |
//! | [`signing_key`] | `denizen signing-key rotate` |
//! | [`audit`] | `denizen audit verify`, `head`, `export`, `accept` |
//! | [`backup`] | `denizen backup create`, `verify`, `inspect` |
//! | [`restore`] | `denizen restore`, `denizen store copy` |
//! | [`exit`] | what the process ends with |
//!
//! Tests: `tests/it`, against this very binary.

mod admin_client;
mod app;
mod audit;
mod backup;
mod config;
mod data;
mod dev;
mod exit;
mod init;
mod issuer;
mod join_token;
mod logging;
mod restore;
mod role;
mod secret;
mod server;
mod signing_key;
mod token;
mod traces;
mod user;
mod vault_client;

use std::{process::ExitCode, time::Duration};

// The server allocates a few dozen times for each request, on as many threads as there are cores.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::{
    Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::exit::Failure;

/// Managed identities for servers that live outside Azure.
#[derive(Parser)]
#[command(name = "denizen", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything on loopback, for development: token service, vault and this machine's agent
    Dev(dev::Args),
    /// Makes a new server's data: directory, root key, database, first tenant and its administrator
    Init(init::Args),
    /// Runs the server that a configuration describes
    Server(server::Args),
    /// The right to enrol machines
    JoinToken(join_token::Args),
    /// Who may do what
    Role(role::Args),
    /// Whom of others an application takes as itself
    App(app::Args),
    /// Who may sign in
    User(user::Args),
    /// Tokens of this machine's managed identity
    Token(token::Args),
    /// Secrets of a vault, with this machine's managed identity
    Secret(secret::Args),
    /// The keys that sign tokens
    SigningKey(signing_key::Args),
    /// What others need to trust this server's tokens
    Issuer(issuer::Args),
    /// The audit's trail: what was done, by whom, and whether it is as it was written
    Audit(audit::Args),
    /// Backups of everything: directory, vaults, audit
    Backup(backup::Args),
    /// Everything from a backup, into an empty database
    Restore(restore::Args),
    /// The database
    Store(restore::StoreArgs),
    /// What `dev -- CMD` runs CMD through
    #[command(name = dev::namespace::COMMAND, hide = true)]
    InNamespace(dev::namespace::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut e) => {
            explain_command_of_dev(&mut e);
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    report(match cli.command {
        // Before any thread is made: a user namespace can be entered only by a process of one thread.
        Command::InNamespace(args) => dev::namespace::enter(&args),
        Command::Dev(args) => on_runtime(dev::run(args)),
        Command::Init(args) => on_runtime(init::run(args)),
        Command::Server(args) => on_runtime(server::run(args)),
        Command::JoinToken(args) => on_runtime(join_token::run(args)),
        Command::Role(args) => on_runtime(role::run(args)),
        Command::App(args) => on_runtime(app::run(args)),
        Command::User(args) => on_runtime(user::run(args)),
        Command::Token(args) => on_runtime(token::run(args)),
        Command::Secret(args) => on_runtime(secret::run(args)),
        Command::SigningKey(args) => on_runtime(signing_key::run(args)),
        Command::Issuer(args) => on_runtime(issuer::run(args)),
        Command::Audit(args) => on_runtime(audit::run(args)),
        Command::Backup(args) => on_runtime(backup::run(args)),
        Command::Restore(args) => on_runtime(restore::run(args)),
        Command::Store(args) => on_runtime(restore::store(args)),
    })
}

/// `dev` takes a program to run after `--`: says so to who left the `--` out, and does not say it to who mistyped an
/// option, as clap would.
fn explain_command_of_dev(error: &mut clap::Error) {
    if error.kind() != ErrorKind::UnknownArgument || std::env::args().nth(1).as_deref() != Some("dev") {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return };
    if word.starts_with('-') {
        error.remove(ContextKind::Suggested);
    } else {
        let tip = format!("a program to run goes after '--': denizen dev -- {word}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

fn on_runtime(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::while_(exit::OS_ERROR, "the runtime cannot be started"))?;
    let outcome = runtime.block_on(command);
    // What blocks a thread (a file on a server that is gone) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

#[expect(clippy::print_stderr, reason = "a command's failure is for its caller to read")]
fn report(outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        eprintln!("denizen: {failure}");
        ExitCode::from(failure.code)
    })
}
