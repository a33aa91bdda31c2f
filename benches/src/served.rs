//! `denizen server` as an operator runs it: with SQLite, or as one of several over one PostgreSQL; and on a disk whose syncs
//! are slow.

use std::{
    fs::Permissions,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use denizen_keys::ca::{DevCa, SanEntry};
use denizen_wire::Clock;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    child::Child,
    dev::{Counters, beside_us, scratch, text},
    http::{self as client, Origin},
    machine::Machine,
};

/// A server that is not ready after this long is at fault.
const START: Duration = Duration::from_secs(120);
/// What a slow disk adds to each sync, microseconds.
pub(crate) const SLOW: u64 = 10_000;
/// What everything is asked for.
pub(crate) const RESOURCE: &str = "https://vault.azure.net";

/// Directories of servers over one store, and who administers them.
pub(crate) struct Deployment {
    directory: TempDir,
    ca_pem: String,
    replicas: usize,
}

/// One running server.
pub(crate) struct Served {
    /// The server, or `strace` around it.
    pub(crate) child: Child,
    pub(crate) control: Origin,
    pub(crate) vault: Origin,
    metrics: Origin,
    is_slow: bool,
}

impl Deployment {
    /// Makes directories for so many replicas over a database, or for one with SQLite, and the tenant.
    pub(crate) async fn make(replicas: usize, database: Option<&str>) -> Result<Self> {
        let directory = scratch()?;
        let now = Clock::system().now().0;
        let ca = DevCa::generate("Bench CA", now)?;
        let names = [SanEntry::Dns("localhost".into()), SanEntry::Ip(Ipv4Addr::LOCALHOST.into())];
        let issued = ca.issue_server(&names, now, 90)?;
        let ca_pem = ca.ca_pem().to_owned();
        std::fs::write(directory.path().join("ca.pem"), &ca_pem)?;
        std::fs::write(directory.path().join("tls.crt"), issued.chain_pem())?;
        std::fs::write(directory.path().join("tls.key"), issued.key_pem().expose())?;
        std::fs::set_permissions(directory.path().join("tls.key"), Permissions::from_mode(0o600))?;
        // The first is where all are said to be: a machine proves itself to a name.
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        for replica in 0..replicas {
            let listen = if replica == 0 { port } else { 0 };
            let store = database.map_or_else(String::new, |url| format!("[store]\nurl = \"{url}\"\n"));
            let config = format!(
                "listen = \"127.0.0.1:{listen}\"\nvault_listen = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n\
                 public_url = \"https://localhost:{port}\"\nvault_url = \"https://localhost:1\"\ndata_dir = \"data-{replica}\"\n\
                 drain_seconds = 0\n[tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n[root_key]\nfile = \"root.key\"\n{store}"
            );
            std::fs::write(config_in(directory.path(), replica), config)?;
        }
        let made = Self { directory, ca_pem, replicas };
        let admin = made.directory.path().join("admin.json");
        made.run(0, &["init", "--admin-out", text(&admin)?]).await?;
        let admin = made.admin()?;
        let scope = format!("/subscriptions/{}", word(&admin, "subscription_id")?);
        let assignee = word(&admin, "object_id")?;
        let role = "Key Vault Secrets Officer";
        let words = ["role", "assignment", "create", "--role", role, "--scope", &scope, "--assignee", assignee];
        made.run(0, &words).await?;
        Ok(made)
    }

    /// `denizen WORDS --config …` of a replica; what it printed.
    async fn run(&self, replica: usize, words: &[&str]) -> Result<String> {
        let mut command = Command::new(beside_us("denizen")?);
        command.args(words).arg("--config").arg(config_in(self.directory.path(), replica));
        finished(command).await
    }

    /// What `init` wrote of the administrator.
    pub(crate) fn admin(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.directory.path().join("admin.json"))?)?)
    }

    /// Where a program beside the servers may write.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts one; `is_slow` has each of its syncs take [`SLOW`] longer.
    pub(crate) async fn start(&self, replica: usize, is_slow: bool) -> Result<Served> {
        ensure!(replica < self.replicas, "there are {} replicas", self.replicas);
        let ready = self.directory.path().join(format!("ready-{replica}"));
        // Of an earlier start.
        let _ = std::fs::remove_file(&ready);
        let config = config_in(self.directory.path(), replica);
        let arguments = ["server", "--config", text(&config)?, "--ready-file", text(&ready)?];
        let denizen = beside_us("denizen")?;
        let mut child = match is_slow {
            false => Child::start(&denizen, &arguments, false)?,
            true => slow(&denizen, &arguments)?,
        };
        child.ignore_output();
        let start = Instant::now();
        while !ready.exists() {
            child.alive()?;
            ensure!(start.elapsed() < START, "denizen server is not ready after {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = std::fs::read_to_string(&ready)?;
        let origin = |name: &str, scheme: &str| -> Result<Origin> {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            let port = line.and_then(|line| line.rsplit(':').next()).with_context(|| format!("no {name}: {said}"))?;
            Origin::of(&format!("{scheme}://localhost:{port}"), (scheme == "https").then_some(&*self.ca_pem))
        };
        Ok(Served {
            child,
            is_slow,
            control: origin("listen", "https")?,
            vault: origin("vault_listen", "https")?,
            metrics: origin("metrics_listen", "http")?,
        })
    }

    /// A token of the administrator's.
    pub(crate) async fn token(&self, of: &Served) -> Result<String> {
        self.token_for(of, RESOURCE).await
    }

    /// The same for another resource.
    pub(crate) async fn token_for(&self, of: &Served, resource: &str) -> Result<String> {
        let admin = self.admin()?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", word(&admin, "client_id")?)
            .append_pair("client_secret", word(&admin, "client_secret")?)
            .append_pair("scope", &format!("{resource}/.default"))
            .finish();
        let path = format!("/{}/oauth2/v2.0/token", word(&admin, "tenant_id")?);
        let answer = of.control.connect().await?.send(client::post_form(&path, form.into())?).await?;
        ensure!(answer.status().is_success(), "no token: {}", client::excerpt(&answer));
        let body: Value = serde_json::from_slice(answer.body())?;
        Ok(word(&body, "access_token")?.to_owned())
    }

    /// A machine that joins at a running server.
    pub(crate) async fn machine(&self, at: &Served) -> Result<Machine> {
        let token = self.run(0, &["join-token", "create", "--resource-group", "servers"]).await?;
        let (file, state) = (self.directory.path().join("join-token"), self.directory.path().join("agent"));
        std::fs::write(&file, token.trim())?;
        let mut command = Command::new(beside_us("denizen-agent")?);
        command.args(["connect", "--name", "bench", "--server", &at.control.url(), "--join-token-file", text(&file)?]);
        command.args(["--state-dir", text(&state)?, "--ca-file"]).arg(self.directory.path().join("ca.pem"));
        finished(command).await?;
        Machine::load(&state)
    }
}

impl Served {
    /// Asks it to end and waits until it has.
    pub(crate) async fn stop(self) -> Result<()> {
        if self.is_slow { self.child.stop_inner().await } else { self.child.stop().await }
    }

    /// How many connections of the token service it has ended to make room for others.
    pub(crate) async fn evicted(&self) -> Result<u64> {
        let answer = self.metrics.connect().await?.send(client::get("/metrics", &[])?).await?;
        ensure!(answer.status().is_success(), "no metrics: {}", client::excerpt(&answer));
        let sample = "denizen_connections_evicted_total{service=\"control\"}";
        let line = std::str::from_utf8(answer.body())?.lines().find_map(|line| line.strip_prefix(sample));
        Ok(line.with_context(|| format!("no {sample} among the metrics"))?.trim().parse()?)
    }

    /// What it has counted of itself.
    pub(crate) async fn counters(&self) -> Result<Counters> {
        let answer = self.metrics.connect().await?.send(client::get("/metrics", &[])?).await?;
        ensure!(answer.status().is_success(), "no metrics: {}", client::excerpt(&answer));
        Counters::parse(std::str::from_utf8(answer.body())?)
    }
}

/// A request that sets a secret.
pub(crate) fn put_secret(name: &str, token: &str, value: &str) -> Result<Request<Full<Bytes>>> {
    let builder = Request::builder().method(Method::PUT).uri(format!("/secrets/{name}?api-version=7.6"));
    let builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    let builder = builder.header(header::CONTENT_TYPE, "application/json");
    Ok(builder.body(Full::new(format!("{{\"value\":\"{value}\"}}").into()))?)
}

/// Starts a program whose every sync takes [`SLOW`] longer.
pub(crate) fn slow(program: &Path, arguments: &[&str]) -> Result<Child> {
    let inject = format!("inject=fdatasync,fsync:delay_enter={SLOW}");
    let mut all = vec!["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &inject];
    // It ends with strace, however that ends.
    all.extend(["setpriv", "--pdeathsig", "KILL", text(program)?]);
    all.extend(arguments);
    let strace = Path::new("/usr/bin/strace");
    ensure!(strace.exists(), "strace is missing: install the package strace");
    Child::start(strace, &all, false)
}

async fn finished(mut command: Command) -> Result<String> {
    let output = command.kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn config_in(directory: &Path, replica: usize) -> PathBuf {
    directory.join(format!("denizen-{replica}.toml"))
}

/// A member of what `init` wrote.
pub(crate) fn word<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"))
}
