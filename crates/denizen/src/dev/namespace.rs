//! A private hosts file for `-- CMD`.
//!
//! Key Vault clients check that the vault's host lies under the domain its challenge names, and no loopback name can
//! pass. Rather than have every program switch that check off, the program gets a mount namespace of its own in which
//! `dev.vault.denizen.test` is loopback: as root directly, else inside a user namespace. Where neither is permitted
//! it runs without, and `DENIZEN_VAULT_URL` stays `https://localhost:PORT`.
//!
//! This runs in a process of its own, of one thread, before any runtime: the kernel lets no other enter a user
//! namespace.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Parser;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};

use crate::exit::{self, Failure};

/// The hidden command's name.
pub(crate) const COMMAND: &str = "__in-namespace";

/// Enters a namespace, then becomes CMD.
#[derive(Parser)]
pub(crate) struct Args {
    #[arg(long)]
    hosts: PathBuf,
    /// The vault's URL inside the namespace.
    #[arg(long)]
    vault_url: String,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes the command; returns only when that fails.
#[expect(
    clippy::print_stderr,
    reason = "the person who typed the command should know why its vault URL is another one"
)]
pub(crate) fn enter(args: &Args) -> Result<ExitCode, Failure> {
    let mut words = args.command.iter();
    let program = words.next().ok_or_else(|| Failure::new(exit::USAGE, "no command is given after --"))?;
    let mut command = Command::new(program);
    command.args(words);
    match private_hosts(&args.hosts) {
        Ok(()) => {
            command.env("DENIZEN_VAULT_URL", &args.vault_url);
        }
        Err(why) => eprintln!(
            "denizen: no private hosts file for the command ({why}); its DENIZEN_VAULT_URL is a localhost one, \
             for which a Key Vault client needs its challenge check off (Python: verify_challenge_resource=False)"
        ),
    }
    let error = command.exec();
    // As a shell has it: 127 for what is not there, 126 for what cannot be run.
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Err(Failure::new(code, format!("{program}: {error}")))
}

fn private_hosts(hosts: &Path) -> Result<(), String> {
    let (uid, gid) = (getuid(), getgid());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
            .map_err(|e| format!("user namespaces are not permitted here: {e}"))?;
        let map = |file: &str, text: String| fs::write(file, text).map_err(|e| format!("{file}: {e}"));
        map("/proc/self/setgroups", "deny".into())?;
        map("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        map("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    let none: Option<&str> = None;
    // What is mounted here must not travel back to the rest of the system.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|e| format!("private mounts: {e}"))?;
    mount(Some(hosts), "/etc/hosts", none, MsFlags::MS_BIND, none).map_err(|e| format!("/etc/hosts: {e}"))
}
