//! *Run it for real*: the README's own commands, in its own words, each block in a network of its own.

use std::{fs, path::Path};

use denizen_test_postgres::Cluster;
use tokio::process::Command;

use crate::sandbox::{Ended, ended, programs};

/// The commands of each block of the section, one a line.
fn blocks() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("Run it for real\n")).unwrap();
    let blocks = section.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| block.lines().filter_map(|line| line.strip_prefix("$ ")).collect::<Vec<_>>().join("\n"))
        .collect()
}

/// Runs a block in an empty network; gives what its last command printed.
async fn run(folder: &Path, commands: &str) -> Ended {
    let script = format!("ip link set lo up\nset -e\n{commands}\nkill $(jobs -p)\n");
    let path = std::env::join_paths([programs(), "/usr/sbin".into(), "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "bash", "-c", &script]).current_dir(folder);
    command.env_clear().env("PATH", path).env("HOME", folder);
    ended(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_commands_run_as_they_stand() {
    if !denizen_skip::is_root() {
        return;
    }
    let blocks = blocks();
    let [one_machine, two_replicas] = &blocks[..] else { panic!("{blocks:?}") };
    for block in &blocks {
        assert!((5..10).contains(&block.lines().count()), "{block}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one-machine"), folder.path().join("two-replicas"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let done = run(&one, one_machine).await;
    assert!(done.code == Some(0) && done.out.trim_end().ends_with("correct horse"), "{done:?}");

    for file in ["tls.crt", "tls.key"] {
        fs::copy(one.join(file), two.join(file)).unwrap();
    }
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(&[("fsync", "off")]).unwrap()).await.unwrap();
    cluster.create("denizen").unwrap();
    let said = "postgres://denizen:PASSWORD@localhost/denizen";
    assert!(two_replicas.contains(said));
    let done = run(&two, &two_replicas.replace(said, &cluster.socket_url("denizen"))).await;
    let answers: Vec<_> = done.out.lines().filter(|line| line.contains("\"value\":\"correct-horse\"")).collect();
    assert!(done.code == Some(0) && answers.len() == 2, "{done:?}");
}
