//! `denizen dev -- CMD`: the environment, the private hosts file, the exit code.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Command, time::sleep};

use crate::{
    dev::{Dev, Launch},
    sandbox::{Ended, Sandbox, TIMEOUT, User, ended},
};

fn under<'w>(sandbox: &Sandbox, user: User, words: impl IntoIterator<Item = &'w str>) -> Command {
    let mut command = Launch::new(sandbox, user).command();
    command.arg("--").args(words);
    command
}

async fn sh(sandbox: &Sandbox, user: User, script: &str) -> Ended {
    ended(under(sandbox, user, ["sh", "-c", script])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_exit_code_becomes_ours() {
    let sandbox = Sandbox::new().await;
    for (script, code) in [("exit 7", 7), ("exit 0", 0), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let ended = sh(&sandbox, User::Ours, script).await;
        assert_eq!(ended.code, Some(code), "{script}: {ended:?}");
    }
    let missing = ended(under(&sandbox, User::Ours, ["no-such-program-anywhere"])).await;
    assert_eq!(missing.code, Some(127), "{missing:?}");
    assert!(missing.err.contains("no-such-program-anywhere"), "{}", missing.err);
    let unfit = ended(under(&sandbox, User::Ours, ["/etc/hosts"])).await;
    assert_eq!(unfit.code, Some(126), "{unfit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_finds_the_vault_by_a_name_that_passes_a_clients_own_check() {
    for user in [User::Ours, User::Nobody] {
        let sandbox = Sandbox::new().await;
        let script = r#"
            set -e
            echo "url $DENIZEN_VAULT_URL"
            echo "hosts $(getent hosts dev.vault.denizen.test || echo none)"
            echo "header ${IDENTITY_HEADER+set}"
            echo "json $(grep -c tenant_id "$DENIZEN_DEV_JSON")"
            echo "secret $("$1" secret get hello)"
        "#;
        let mut command = under(&sandbox, user, ["sh", "-c", script, "sh"]);
        // What the parent's shell had exported for another dialect must not reach the program.
        command
            .arg(sandbox.program_path("denizen"))
            .env("IDENTITY_HEADER", "left over")
            .env("MSI_ENDPOINT", "http://left.over");
        let ended = ended(command).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let said = |key: &str| {
            let line = ended.out.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            line.unwrap_or_else(|| panic!("no {key}: {ended:?}"))
        };
        if said("hosts").starts_with("127.0.0.1") {
            assert!(said("url").starts_with("https://dev.vault.denizen.test:"), "{ended:?}");
        } else {
            assert!(!sandbox.has_mounts() || user == User::Nobody, "root may have a private hosts file: {ended:?}");
            assert!(said("url").starts_with("https://localhost:"), "{ended:?}");
            assert!(ended.err.contains("no private hosts file"), "{ended:?}");
        }
        let arc = user == User::Ours && sandbox.has_mounts();
        assert_eq!(said("header"), if arc { "" } else { "set" }, "{ended:?}");
        assert_eq!(said("json"), "1");
        assert_eq!(said("secret"), "Hello from a vault that no secret opened");
        // Its output is the command's alone; what we have to say goes to standard error.
        assert!(ended.out.starts_with("url "), "{ended:?}");
        assert!(ended.err.contains("FOR DEVELOPMENT ONLY"), "{ended:?}");
        // The hosts file of everybody else is as it was.
        let hosts = std::fs::read_to_string(sandbox.inside("/etc/hosts".as_ref())).unwrap();
        assert!(!hosts.contains("denizen.test"), "{hosts}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_reaches_the_command_and_its_code_is_kept() {
    let sandbox = Sandbox::new().await;
    let started = sandbox.path("started");
    let script = r#"trap 'exit 9' TERM; : > "$1"; while :; do sleep 0.02; done"#;
    let mut command = under(&sandbox, User::Ours, ["sh", "-c", script, "sh"]);
    let mut child = command.arg(&started).stderr(Stdio::null()).spawn().unwrap();
    let waiting = async {
        while !started.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before the command began");
            sleep(Duration::from_millis(10)).await;
        }
        kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), Signal::TERM).unwrap();
        child.wait().await.unwrap()
    };
    let status = tokio::time::timeout(TIMEOUT, waiting).await.expect("SIGTERM does not reach the command");
    assert_eq!(status.code(), Some(9));
    // It has let go of everything.
    Dev::start(&sandbox).await.stop().await;
}
