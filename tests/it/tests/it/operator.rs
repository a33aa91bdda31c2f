//! A server as an operator has it: a configuration, `denizen init`, `denizen server`, in a directory of the test's own.

use std::{
    fmt::Display,
    fs::File,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use denizen_keys::ca::{DevCa, SanEntry};
use denizen_wire::Clock;
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

/// What is configured before a test changes it. The paths are beside the file.
pub(crate) const CONFIG: &str = r#"
listen = "127.0.0.1:0"
vault_listen = "127.0.0.1:0"
metrics_listen = "127.0.0.1:0"
data_dir = "data"
drain_seconds = 0

[tls]
cert = "tls.crt"
key = "tls.key"
"#;

/// [`CONFIG`] at these ports, where whoever has been there finds a server that is started again.
pub(crate) fn at_ports(listen: impl Display, vault_listen: impl Display) -> String {
    let any = "127.0.0.1:0";
    CONFIG.replacen(any, &format!("127.0.0.1:{listen}"), 1).replacen(any, &format!("127.0.0.1:{vault_listen}"), 1)
}

/// A directory with a configuration and a certificate.
pub(crate) struct Operator<'s> {
    sandbox: &'s Sandbox,
    pub(crate) dir: PathBuf,
}

/// A running server.
pub(crate) struct Running<'s> {
    sandbox: &'s Sandbox,
    dir: PathBuf,
    child: Child,
    ready: PathBuf,
    err: PathBuf,
    /// `https://localhost:PORT`.
    pub(crate) authority: String,
    pub(crate) vault_url: String,
    pub(crate) metrics_url: String,
    pub(crate) wire: Wire,
}

/// Writes a certificate for this machine, of a CA of its own, valid from `at` for 90 days.
pub(crate) fn write_certificate(dir: &Path, ca_name: &str, at: i64) -> (String, String) {
    let ca = DevCa::generate("Test CA", at).unwrap();
    let names = [SanEntry::Dns("localhost".into()), SanEntry::Ip([127, 0, 0, 1].into())];
    let issued = ca.issue_server(&names, at, 90).unwrap();
    std::fs::write(dir.join(ca_name), ca.ca_pem()).unwrap();
    (issued.chain_pem(), issued.key_pem().expose().to_owned())
}

impl<'s> Operator<'s> {
    pub(crate) fn new(sandbox: &'s Sandbox) -> Self {
        Self::with(sandbox, CONFIG)
    }

    /// With another configuration.
    pub(crate) fn with(sandbox: &'s Sandbox, config: &str) -> Self {
        let dir = sandbox.home(User::Ours).join(format!("operator-{}", sandbox.serial()));
        std::fs::create_dir(&dir).unwrap();
        let operator = Self { sandbox, dir };
        operator.configure(config);
        operator.certify("ca.pem", Clock::system().now().0);
        operator
    }

    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.path("denizen.toml"), config).unwrap();
    }

    /// Puts a new certificate in place, of a CA that `ca_name` then holds.
    pub(crate) fn certify(&self, ca_name: &str, at: i64) {
        let (chain, key) = write_certificate(&self.dir, ca_name, at);
        std::fs::write(self.path("tls.crt"), chain).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
        std::fs::set_permissions(self.path("tls.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `denizen WORDS --config …`.
    pub(crate) fn denizen(&self, words: &[&str]) -> Command {
        let mut command = self.sandbox.denizen(User::Ours);
        command.args(words).arg("--config").arg(self.path("denizen.toml"));
        command
    }

    pub(crate) async fn run(&self, words: &[&str]) -> Ended {
        ended(self.denizen(words)).await
    }

    pub(crate) fn init_command(&self) -> Command {
        let mut command = self.denizen(&["init"]);
        command.arg("--admin-out").arg(self.path("admin.json"));
        command
    }

    pub(crate) async fn init(&self) -> Ended {
        ended(self.init_command()).await
    }

    pub(crate) async fn check(&self) -> Ended {
        self.run(&["server", "--check"]).await
    }

    /// The administrator's credential.
    pub(crate) fn admin(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("admin.json")).unwrap()).unwrap()
    }

    pub(crate) async fn start(&self) -> Running<'s> {
        self.start_as(self.denizen(&["server"])).await
    }

    /// Starts `command`, which runs the server, and waits until everything answers.
    pub(crate) async fn start_as(&self, mut command: Command) -> Running<'s> {
        let serial = self.sandbox.serial();
        let (ready, err) = (self.path(&format!("ready-{serial}")), self.path(&format!("err-{serial}")));
        command.arg("--ready-file").arg(&ready).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        let waiting = async {
            while !ready.exists() {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("denizen server ended with {status}: {}", std::fs::read_to_string(&err).unwrap());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| {
            panic!("denizen server is not ready: {}", std::fs::read_to_string(&err).unwrap());
        });
        let said = std::fs::read_to_string(&ready).unwrap();
        let said = said.strip_prefix("ready\n").expect("it begins with a word");
        let port = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap();
            line.rsplit(':').next().unwrap().to_owned()
        };
        Running {
            sandbox: self.sandbox,
            dir: self.dir.clone(),
            authority: format!("https://localhost:{}", port("listen")),
            vault_url: format!("https://localhost:{}", port("vault_listen")),
            metrics_url: format!("http://localhost:{}", port("metrics_listen")),
            wire: Wire::trusting(&self.path("ca.pem")),
            child,
            ready,
            err,
        }
    }
}

impl Running<'_> {
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    pub(crate) fn ready_file(&self) -> &Path {
        &self.ready
    }

    /// The directory of whose server this is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// A token of the administrator's, by its client secret.
    pub(crate) async fn admin_token(&self, admin: &Value, resource: &str) -> Answer {
        let text = |name: &str| admin[name].as_str().unwrap();
        let scope = format!("{resource}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", text("client_id")),
            ("client_secret", text("client_secret")),
            ("scope", &scope),
        ];
        let url = format!("{}/{}/oauth2/v2.0/token", self.authority, text("tenant_id"));
        self.wire.form(&url, &fields).await
    }

    /// A request to the vault that a loopback name means.
    pub(crate) async fn vault(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> Answer {
        let (url, bearer) = (format!("{}{path}", self.vault_url), format!("Bearer {token}"));
        self.wire.send(method, &url, &[("Authorization", &bearer)], body).await.unwrap()
    }

    /// The value of a metric, with its labels in braces.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.wire.get(&format!("{}/metrics", self.metrics_url), &[]).await.expect(200).body;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next().unwrap().parse().ok()
    }

    /// `denizen-agent`, in the server's sandbox.
    pub(crate) fn agent(&self, words: &[&str]) -> Command {
        let mut command = self.sandbox.program(User::Ours, "denizen-agent");
        command.args(words).arg("--ca-file").arg(self.dir.join("ca.pem"));
        command
    }

    /// Waits for a clean end, after a signal.
    pub(crate) async fn ended(mut self) -> String {
        let status = timeout(TIMEOUT, self.child.wait()).await.expect("denizen server does not stop").unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        assert!(!self.ready.exists(), "the ready file is still there");
        self.stderr()
    }

    /// SIGTERM, and a clean end; what it logged.
    pub(crate) async fn stop(self) -> String {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        timeout(TIMEOUT, self.child.wait()).await.unwrap().unwrap();
    }
}

/// The mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
