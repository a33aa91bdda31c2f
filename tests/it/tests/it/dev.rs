//! `denizen dev`, started for one test: by default on free ports, in the test's own sandbox, ended with it.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    sandbox::{Ended, Sandbox, TIMEOUT, User, ended},
    wire::{Answer, Wire},
};

/// How to start it.
pub(crate) struct Launch<'s> {
    sandbox: &'s Sandbox,
    user: User,
    data: PathBuf,
    flags: BTreeMap<&'static str, String>,
    switches: Vec<&'static str>,
    log: &'static str,
    environment: Vec<(&'static str, &'static str)>,
    descriptors: Option<u32>,
}

/// A running one, and what `dev.json` says of it.
pub(crate) struct Dev<'s> {
    sandbox: &'s Sandbox,
    user: User,
    child: Child,
    pub(crate) data: PathBuf,
    pub(crate) facts: Value,
    pub(crate) wire: Wire,
    out: PathBuf,
    err: PathBuf,
}

impl<'s> Launch<'s> {
    pub(crate) fn new(sandbox: &'s Sandbox, user: User) -> Self {
        let free = || "127.0.0.1:0".to_owned();
        let flags = [("--listen", free()), ("--vault-listen", free()), ("--agent-listen", free())];
        Self {
            sandbox,
            user,
            data: sandbox.home(user).join("data"),
            flags: flags.into(),
            switches: Vec::new(),
            log: "info",
            environment: Vec::new(),
            descriptors: None,
        }
    }

    pub(crate) fn data(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.data);
        self
    }

    pub(crate) fn flag(mut self, flag: &'static str, value: &str) -> Self {
        self.flags.insert(flag, value.to_owned());
        self
    }

    /// A flag that takes no value.
    pub(crate) fn switch(mut self, flag: &'static str) -> Self {
        self.switches.push(flag);
        self
    }

    /// A variable that it is started with.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// How many descriptors it may have, and no more.
    pub(crate) fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// What is logged; `trace` is everything there is.
    pub(crate) fn log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    /// The command line, without what follows `--`.
    pub(crate) fn command(&self) -> Command {
        let mut command = match self.descriptors {
            None => self.sandbox.denizen(self.user),
            Some(most) => {
                let mut command = self.sandbox.command(self.user, "prlimit");
                command.arg(format!("--nofile={most}:{most}")).arg("--").arg(self.sandbox.program_path("denizen"));
                command
            }
        };
        command
            .arg("dev")
            .arg("--data")
            .arg(&self.data)
            .env("DENIZEN_LOG", self.log)
            .envs(self.environment.iter().copied());
        for (flag, value) in &self.flags {
            command.args([flag, value.as_str()]);
        }
        command.args(&self.switches);
        command
    }

    /// Starts it and waits until everything answers.
    pub(crate) async fn start(self) -> Dev<'s> {
        let serial = self.sandbox.serial();
        let ready = self.sandbox.home(self.user).join(format!("ready-{serial}"));
        let (out, err) = (self.sandbox.path(&format!("out-{serial}")), self.sandbox.path(&format!("err-{serial}")));
        let mut child = self
            .command()
            .arg("--ready-file")
            .arg(&ready)
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let waiting = async {
            while !ready.exists() {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("denizen dev ended with {status}: {}", std::fs::read_to_string(&err).unwrap());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| {
            panic!("denizen dev is not ready: {}", std::fs::read_to_string(&err).unwrap());
        });
        assert_eq!(std::fs::read_to_string(&ready).unwrap(), "ready\n");
        let facts = serde_json::from_slice(&std::fs::read(self.data.join("dev.json")).unwrap()).unwrap();
        let wire = Wire::trusting(&self.data.join("ca.pem"));
        Dev { sandbox: self.sandbox, user: self.user, child, data: self.data, facts, wire, out, err }
    }

    /// Starts it where it must refuse.
    pub(crate) async fn refused(self) -> Ended {
        let ended = ended(self.command()).await;
        assert_ne!(ended.code, Some(0), "{ended:?}");
        ended
    }
}

impl<'s> Dev<'s> {
    /// In `sandbox`, as whoever runs the tests.
    pub(crate) async fn start(sandbox: &'s Sandbox) -> Self {
        Launch::new(sandbox, User::Ours).start().await
    }

    /// A string of `dev.json`.
    pub(crate) fn fact(&self, pointer: &str) -> &str {
        let found = self.facts.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("dev.json has no {pointer}"))
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// What a shell knows after sourcing the env file. `before` is what it had exported earlier.
    pub(crate) async fn environment(&self, before: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut shell = self.sandbox.command(self.user, "sh");
        shell.args(["-ec", ". \"$1\"; exec env -0", "sh"]).arg(self.data.join("env")).envs(before.iter().copied());
        let text = ended(shell).await.ok();
        let pairs = text.split('\0').filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// `denizen`, under the env file's environment.
    pub(crate) async fn denizen(&self, words: &[&str]) -> Command {
        let mut command = self.sandbox.denizen(self.user);
        command.env_clear().envs(self.environment(&[]).await).args(words);
        command
    }

    pub(crate) fn token_url(&self, version: &str) -> String {
        format!("{}/{}/oauth2{version}/token", self.fact("/authority"), self.fact("/tenant_id"))
    }

    /// A token of the administrator's, by client secret.
    pub(crate) async fn admin_token(&self, resource: &str) -> String {
        let scope = format!("{resource}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.fact("/admin/client_id")),
            ("client_secret", self.fact("/admin/client_secret")),
            ("scope", &scope),
        ];
        self.wire.form(&self.token_url("/v2.0"), &fields).await.expect(200).text("/access_token")
    }

    /// A request to the vault, which path starts with `/`, with a bearer token or without.
    pub(crate) async fn vault(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Answer {
        self.try_vault(method, path, token, body).await.unwrap()
    }

    /// The same, where the connection may break.
    pub(crate) async fn try_vault(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let url = format!("{}{path}", self.fact("/vault_url"));
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        self.wire.send(method, &url, &headers, body).await
    }

    /// SIGTERM, and a clean end.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = timeout(TIMEOUT, self.child.wait()).await.expect("denizen dev does not stop").unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
    }

    /// SIGKILL: nothing of it gets to say anything more.
    pub(crate) async fn kill(mut self) {
        // A test may have killed it already, in the middle of something.
        let _ = self.child.start_kill();
        timeout(TIMEOUT, self.child.wait()).await.unwrap().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}
