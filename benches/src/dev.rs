//! A `denizen dev` of the bench's own: the release binary, on free ports, in a directory that goes away.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    child::Child,
    http::{self, Origin},
    machine::{self, Machine},
};

/// It makes keys and a database at its first start, and may read a large one at the next.
const START: Duration = Duration::from_secs(300);
/// Where runs keep their files: not under `/tmp`, which on some systems is memory and would flatter file work.
pub(crate) const OUT: &str = "benches/out";
/// A free port.
const ANY: &str = "127.0.0.1:0";

/// A running development server.
pub(crate) struct Dev {
    /// The process, to be measured.
    pub(crate) child: Child,
    /// What it wrote about itself.
    pub(crate) manifest: Manifest,
    /// From its start until it said that it is ready.
    pub(crate) ready: Duration,
    directory: TempDir,
    ca_pem: String,
}

/// The part of `dev.json` that is used.
#[derive(Deserialize)]
pub(crate) struct Manifest {
    /// The authority.
    pub(crate) authority: String,
    /// The vault's base.
    pub(crate) vault_url: String,
    /// Where the counters are.
    pub(crate) metrics_url: String,
    /// The agent's endpoints.
    pub(crate) agent: AgentUrls,
    /// A secret of the vault.
    pub(crate) secret: SecretName,
}

/// The part of the agent's endpoints that is used.
#[derive(Deserialize)]
pub(crate) struct AgentUrls {
    /// IMDS.
    pub(crate) imds_host: String,
    /// The local listener, by its App Service endpoint.
    pub(crate) app_service: AppServiceUrl,
}

/// Where App Service's dialect answers.
#[derive(Deserialize)]
pub(crate) struct AppServiceUrl {
    /// The URL.
    pub(crate) identity_endpoint: String,
}

/// Which secret there is.
#[derive(Deserialize)]
pub(crate) struct SecretName {
    /// Its name.
    pub(crate) name: String,
}

/// What the server has counted of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Database statements that read.
    pub(crate) reads: u64,
    /// Database statements that wrote, other than group-committed audit.
    pub(crate) writes: u64,
    /// Commits of audit groups.
    pub(crate) audit_commits: u64,
    /// Audit records written, other than those of transactions.
    pub(crate) audit_events: u64,
}

impl Dev {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Result<Self> {
        Self::launch(scratch()?, ANY, ANY).await
    }

    /// Starts one, stops it, lets `prepare` write into what it keeps, and starts it again under the same names.
    pub(crate) async fn start_prepared<T>(
        prepare: impl AsyncFnOnce(&Path, &Manifest) -> Result<T>,
    ) -> Result<(Self, T)> {
        Self::start().await?.again(prepare).await
    }

    /// Stops it, lets `prepare` write into what it keeps, and starts it again under the same names.
    pub(crate) async fn again<T>(self, prepare: impl AsyncFnOnce(&Path, &Manifest) -> Result<T>) -> Result<(Self, T)> {
        let Self { child, manifest, directory, .. } = self;
        child.stop().await?;
        let prepared = prepare(&directory.path().join("data"), &manifest).await?;
        let again = |url: &str| -> Result<String> {
            let port = url.rsplit_once(':').with_context(|| format!("{url} has no port"))?.1;
            Ok(format!("127.0.0.1:{port}"))
        };
        let (control, vault) = (again(&manifest.authority)?, again(&manifest.vault_url)?);
        Ok((Self::launch(directory, &control, &vault).await?, prepared))
    }

    async fn launch(directory: TempDir, control: &str, vault: &str) -> Result<Self> {
        let data = directory.path().join("data");
        let ready = directory.path().join("ready");
        // Of an earlier start.
        let _ = std::fs::remove_file(&ready);
        let (data_text, ready_text) = (text(&data)?, text(&ready)?);
        let arguments = [
            "dev",
            "--data",
            data_text,
            "--ready-file",
            ready_text,
            "--listen",
            control,
            "--vault-listen",
            vault,
            "--agent-listen",
            ANY,
            "--imds-listen",
            ANY,
        ];
        let start = Instant::now();
        let mut child = Child::start(&beside_us("denizen")?, &arguments, true)?;
        child.ignore_output();
        while !ready.exists() {
            child.alive()?;
            ensure!(start.elapsed() < START, "denizen dev is not ready after {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ready_after = start.elapsed();
        let manifest = std::fs::read(data.join("dev.json")).context("reading dev.json")?;
        let manifest = serde_json::from_slice(&manifest).context("dev.json")?;
        let ca_pem = std::fs::read_to_string(data.join("ca.pem")).context("reading ca.pem")?;
        Ok(Self { child, manifest, ready: ready_after, directory, ca_pem })
    }

    /// A directory for the run's other files; it goes away with this.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The CA it made.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The CA, as a file.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("data/ca.pem")
    }

    /// A copy of its agent's state, by this name.
    pub(crate) fn copy_of_agent_state(&self, name: &str) -> Result<PathBuf> {
        machine::copy_state(&self.directory.path().join("data/agent"), self.directory.path().join(name))
    }

    /// The machine it enrolled.
    pub(crate) fn machine(&self) -> Result<Machine> {
        Machine::load(&self.copy_of_agent_state("machine")?)
    }

    /// Reads its counters.
    pub(crate) async fn counters(&self) -> Result<Counters> {
        let url = &self.manifest.metrics_url;
        let answer = Origin::of(url, None)?.connect().await?.send(http::get("/metrics", &[])?).await?;
        ensure!(answer.status().is_success(), "{url}: {}", http::excerpt(&answer));
        Counters::parse(std::str::from_utf8(answer.body())?)
    }
}

impl Counters {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let value = |sample: &str| -> Result<u64> {
            let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
            value.with_context(|| format!("no {sample} among the metrics"))?.trim().parse().context("a counter's value")
        };
        Ok(Self {
            reads: value("denizen_store_statements_total{kind=\"read\"}")?,
            writes: value("denizen_store_statements_total{kind=\"write\"}")?,
            audit_commits: value("denizen_audit_commits_total")?,
            audit_events: value("denizen_audit_events_total")?,
        })
    }
}

/// A program built into the same directory as this one.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{name} is not built: `cargo build --release --bins`, or run ./bench, which does");
    Ok(path)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

/// A directory that goes away, for a run's files.
pub(crate) fn scratch() -> Result<TempDir> {
    std::fs::create_dir_all(OUT).with_context(|| format!("making {OUT}; run from the top of the tree"))?;
    // Without a leading dot and absolute: a challenge names files in it.
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(std::fs::canonicalize(OUT)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_and_label_and_missing_ones_are_said() {
        let text = "# TYPE denizen_store_statements counter\n\
            denizen_store_statements_total{kind=\"read\"} 12\n\
            denizen_store_statements_total{kind=\"write\"} 3\n\
            denizen_audit_commits_total 4\n\
            denizen_audit_events_total 50\n# EOF\n";
        let expected = Counters { reads: 12, writes: 3, audit_commits: 4, audit_events: 50 };
        assert_eq!(Counters::parse(text).unwrap(), expected);
        let missing = Counters::parse("denizen_audit_events_total 50\n").unwrap_err().to_string();
        assert!(missing.contains("kind=\"read\""), "{missing}");
    }
}
