//! What the agent tells of its machine: for `/metadata/instance` and for the portal, never for a decision.
//!
//! Reads `/etc/os-release` and `/proc/sys/kernel`; what is not there stays empty. Tests: below.

use std::path::Path;

use denizen_wire::node::MachineFacts;

use crate::files;

/// None of these files is larger, bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The facts of the machine whose root directory is `root`.
pub fn gather(root: &Path) -> MachineFacts {
    let read = |path: &str| files::read_text(&root.join(path), MAX_FILE).unwrap_or_default();
    MachineFacts {
        os_type: std::env::consts::OS.to_owned(),
        os_name: pretty_name(&read("etc/os-release")),
        os_version: read("proc/sys/kernel/osrelease").trim().to_owned(),
        fqdn: read("proc/sys/kernel/hostname").trim().to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn pretty_name(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_from_the_files_and_missing_ones_are_empty() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(gather(temp.path()).fqdn, "");
        std::fs::create_dir_all(temp.path().join("etc")).unwrap();
        std::fs::create_dir_all(temp.path().join("proc/sys/kernel")).unwrap();
        std::fs::write(temp.path().join("etc/os-release"), "ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n")
            .unwrap();
        std::fs::write(temp.path().join("proc/sys/kernel/osrelease"), "6.18.44\n").unwrap();
        std::fs::write(temp.path().join("proc/sys/kernel/hostname"), "web-1.example\n").unwrap();
        let facts = gather(temp.path());
        assert_eq!((facts.os_name.as_str(), facts.os_version.as_str()), ("Debian GNU/Linux 12 (bookworm)", "6.18.44"));
        assert_eq!((facts.fqdn.as_str(), facts.os_type.as_str()), ("web-1.example", "linux"));
    }
}
