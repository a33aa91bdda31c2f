//! What depending on the library costs: crates, and seconds of a build from clean, beside `azure_identity`. Each is a
//! package with that one dependency and the features it comes with (`benches/identity/weight`).

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::dev;

const WEIGHED: [(&str, &str, bool); 3] = [
    ("denizen-identity", "denizen-identity", true),
    ("denizen-identity without features", "denizen-identity", false),
    ("azure_identity", "azure_identity", true),
];

/// Counts; builds as well when `compile`.
pub(super) async fn table(compile: bool) -> Result<String> {
    let mut text = format!("\n{:<44}{:>12}{:>26}\n", "as a dependency", "crates", "built from clean, s");
    for (what, package, features) in WEIGHED {
        let manifest = PathBuf::from(format!("benches/identity/weight/{package}/Cargo.toml"));
        let crates = crates(&manifest, features).await?;
        let seconds =
            if compile { format!("{:.0}", built(&manifest, features).await?) } else { "with --compile".to_owned() };
        let _ = writeln!(text, "{what:<44}{crates:>12}{seconds:>26}");
    }
    Ok(text)
}

fn cargo(word: &str, manifest: &Path, features: bool) -> Command {
    let mut command = Command::new("cargo");
    command.args([word, "--quiet", "--locked", "--manifest-path"]).arg(manifest);
    if !features {
        command.arg("--no-default-features");
    }
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    command
}

/// Crates that are compiled into a program or run to build it, on this platform.
async fn crates(manifest: &Path, features: bool) -> Result<usize> {
    let mut command = cargo("tree", manifest, features);
    command.args(["--edges", "normal,build", "--prefix", "none", "--no-dedupe", "--format", "{p}"]);
    let output = command.output().await.context("running cargo")?;
    ensure!(output.status.success(), "cargo tree: {}", output.status);
    Ok(distinct(std::str::from_utf8(&output.stdout)?))
}

/// Without the package itself, which is the first line.
fn distinct(tree: &str) -> usize {
    let mut lines: Vec<&str> = tree.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.len()
}

/// Seconds of a development build into an empty directory, everything downloaded before.
async fn built(manifest: &Path, features: bool) -> Result<f64> {
    let target = dev::scratch()?;
    let mut fetch = Command::new("cargo");
    fetch.args(["fetch", "--quiet", "--locked", "--manifest-path"]).arg(manifest);
    ensure!(fetch.status().await?.success(), "cargo fetch failed");
    let started = Instant::now();
    let status = cargo("build", manifest, features).env("CARGO_TARGET_DIR", target.path()).status().await?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_and_the_package_itself_never() {
        assert_eq!(distinct("weight v0.0.0 (/x)\nb v1.0.0\na v1.0.0\nb v1.0.0\n\na v2.0.0\n"), 3);
        assert_eq!(distinct(""), 0);
    }
}
