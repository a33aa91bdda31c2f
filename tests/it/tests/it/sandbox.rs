//! Where a test's processes live.
//!
//! The Arc key directory and the marker of Microsoft's agent have fixed absolute paths. As root, a sandbox therefore
//! has a mount namespace of its own with empty file systems at `/opt` and `/var/opt`: two tests cannot meet there,
//! and nothing is left on the machine. The namespace lives as long as a small process that holds it; that process
//! ends with its standard input, so it cannot outlive the tests.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use denizen_skip::skip;

/// A user without any privilege, by every distribution's convention.
pub(crate) const NOBODY: u32 = 65534;
/// A user that every distribution has, `daemon`, with a group of the same number. (Not [`NOBODY`]: that is also what the
/// kernel calls users it cannot name here, so nothing should be given to it.)
const DAEMON: u32 = 1;
/// Another one, whom no distribution knows, in no group that anybody else is in.
const STRANGER: u32 = 65533;
/// Nothing a test awaits takes longer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// Where the programs lie inside the private mounts: the build directory may be closed to other users.
const PROGRAMS: &str = "/opt/denizen-programs";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who runs a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Ours,
    /// [`NOBODY`], when the tests run as root; else whoever runs them.
    Nobody,
    /// [`DAEMON`], likewise.
    Daemon,
    /// [`STRANGER`], likewise.
    Stranger,
}

impl User {
    fn id(self) -> Option<u32> {
        match self {
            Self::Ours => None,
            Self::Nobody => Some(NOBODY),
            Self::Daemon => Some(DAEMON),
            Self::Stranger => Some(STRANGER),
        }
    }
}

/// A directory, and mounts where they are permitted.
pub(crate) struct Sandbox {
    dir: TempDir,
    holder: Option<Holder>,
    serial: AtomicU32,
}

struct Holder {
    // Dropping it closes its standard input, and with that ends it.
    _child: Child,
    pid: u32,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    /// A sandbox, with mounts of its own when the tests run as root.
    pub(crate) async fn new() -> Self {
        Self::make("").await
    }

    /// A sandbox whose mounts were changed by `script` (POSIX shell) before anything starts in them. None when mounts
    /// are not permitted: the caller then has nothing to try.
    pub(crate) async fn prepared(script: &str) -> Option<Self> {
        let sandbox = Self::make(script).await;
        if sandbox.holder.is_none() {
            skip("it needs root and the right to mount");
            return None;
        }
        Some(sandbox)
    }

    async fn make(script: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("denizen-it-").tempdir().unwrap();
        // Other users pass through; what is theirs alone is closed by the programs under test.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, holder: Holder::start(script).await, serial: AtomicU32::new(0) }
    }

    /// A path in this sandbox's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory that belongs to `user`.
    pub(crate) fn home(&self, user: User) -> PathBuf {
        let path = self.path(match user {
            User::Ours => "ours",
            User::Nobody => "nobody",
            User::Daemon => "daemon",
            User::Stranger => "stranger",
        });
        std::fs::create_dir_all(&path).unwrap();
        if let Some(id) = user.id().filter(|_| root()) {
            std::os::unix::fs::chown(&path, Some(id), Some(id)).unwrap();
        }
        path
    }

    /// A number no other caller in this sandbox gets.
    pub(crate) fn serial(&self) -> u32 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether there are private mounts, and so an Arc endpoint. Where there are none, that part of the test is counted
    /// as skipped.
    pub(crate) fn has_mounts(&self) -> bool {
        if self.holder.is_none() {
            skip("its part that needs root and the right to mount");
        }
        self.holder.is_some()
    }

    /// A path as it is seen inside the mounts.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        match &self.holder {
            Some(holder) => Path::new(&format!("/proc/{}/root", holder.pid)).join(path.strip_prefix("/").unwrap()),
            None => path.to_owned(),
        }
    }

    /// A program to be run in this sandbox, with an empty environment.
    pub(crate) fn command(&self, user: User, program: &str) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(holder) = &self.holder {
            words.extend(["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", holder.pid), "--".into()]);
        }
        if let Some(id) = user.id().filter(|_| root()) {
            words.extend(["setpriv".into(), format!("--reuid={id}"), format!("--regid={id}")]);
            words.extend(["--clear-groups".into(), "--".into()]);
        }
        words.push(program.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", PATH).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// `denizen`, to be run in this sandbox.
    pub(crate) fn denizen(&self, user: User) -> Command {
        self.program(user, "denizen")
    }

    /// One of the programs under test, to be run in this sandbox.
    pub(crate) fn program(&self, user: User, name: &str) -> Command {
        self.command(user, &self.program_path(name))
    }

    /// Where it lies, as it is seen in this sandbox.
    pub(crate) fn program_path(&self, name: &str) -> String {
        match &self.holder {
            Some(_) => format!("{PROGRAMS}/{name}"),
            None => programs().join(name).to_str().unwrap().to_owned(),
        }
    }
}

impl Holder {
    async fn start(script: &str) -> Option<Self> {
        if !root() {
            return None;
        }
        let script = format!(
            "set -e\n\
             mount -t tmpfs -o mode=755 tmpfs /opt\n\
             mkdir {PROGRAMS}\n\
             mount --bind \"$1\" {PROGRAMS}\n\
             mount -t tmpfs -o mode=755 tmpfs /var/opt\n\
             {script}\n\
             echo ready\n\
             exec cat\n"
        );
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
            .arg(programs())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        timeout(TIMEOUT, out.read_line(&mut line)).await.unwrap().unwrap();
        let pid = child.id();
        // Containers run as root often may not mount: the tests then run on the machine as it is.
        (line == "ready\n").then(|| Self { _child: child, pid: pid.unwrap() })
    }
}

/// Whether the tests run as root.
pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directory of the programs under test: the one above this test's own.
pub(crate) fn programs() -> PathBuf {
    let us = std::env::current_exe().unwrap();
    let dir = us.parent().and_then(Path::parent).unwrap().to_owned();
    for program in ["denizen", "denizen-agent"].map(|name| dir.join(name)) {
        assert!(program.exists(), "{} is not there: run `cargo build --bins` first", program.display());
    }
    dir
}

/// Runs a command to its end.
pub(crate) async fn ended(mut command: Command) -> Ended {
    let output = timeout(TIMEOUT, command.output()).await.expect("the command does not end").unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ended {
    /// Standard output of a command that must succeed, without its last newline.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.trim_end_matches('\n').to_owned()
    }
}
