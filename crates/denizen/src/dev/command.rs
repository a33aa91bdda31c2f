//! `-- CMD`: run with the environment, in a private view of the hosts file where that is permitted, its exit code
//! becoming ours.

use std::{os::unix::process::ExitStatusExt, path::Path, process::ExitStatus};

use denizen_agent::files;
use denizen_identity::Environment;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::{
    environment::{UNSET, no_proxy, proxy_exceptions},
    manifest::Manifest,
    namespace,
};
use crate::{
    data::{DataDir, write_public},
    exit::{self, Failure},
    server::stop::StopSignals,
};

/// Longer ones are left out, bytes.
const MAX_HOSTS: u64 = 4 * 1024 * 1024;

/// Runs the command to its end.
pub(crate) async fn run(
    command: &[String],
    manifest: &Manifest,
    data: &DataDir,
    environment: &Environment,
    stop: StopSignals,
) -> Result<u8, Failure> {
    let hosts = data.path().join("hosts");
    let system = files::read_text(Path::new("/etc/hosts"), MAX_HOSTS).unwrap_or_default();
    let name = format!("{}.{}", manifest.vault_name, crate::config::TRIAL_VAULT_SUFFIX);
    write_public(&hosts, format!("127.0.0.1 {name}\n{system}").as_bytes())?;

    let us = std::env::current_exe().map_err(Failure::while_(exit::OS_ERROR, "our own executable"))?;
    let mut child = Command::new(us);
    for name in UNSET {
        child.env_remove(name);
    }
    child
        .arg(namespace::COMMAND)
        .args(["--hosts".as_ref(), hosts.as_os_str()])
        .args(["--vault-url", &manifest.vault_url_named])
        .arg("--")
        .args(command)
        .envs(manifest.variables())
        .envs(proxy_exceptions(environment, &no_proxy(crate::config::TRIAL_VAULT_SUFFIX)))
        .env("DENIZEN_DEV_JSON", data.manifest_file())
        .kill_on_drop(true);
    let mut child = child.spawn().map_err(Failure::while_(exit::OS_ERROR, "the command cannot be started"))?;

    let StopSignals { mut terminate, mut interrupt } = stop;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(Failure::while_(exit::OS_ERROR, "the command"))?,
            // A terminal sends SIGINT to the whole group: the command has it already, and decides.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    };
    Ok(code_of(status))
}

/// The exit code as a shell would say it.
fn code_of(status: ExitStatus) -> u8 {
    let code =
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(i32::from(exit::SOFTWARE));
    u8::try_from(code).unwrap_or(exit::SOFTWARE)
}
