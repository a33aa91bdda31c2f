//! A measured process: one we start, read the accounts of, and stop.
//!
//! Touches `/proc/PID` of its own children, and of what they have started, and no other process. What is measured is what the kernel charged to the
//! whole process, its threads that have ended included, in ticks of 10 ms; rounds are long enough for that grain.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};

/// A child gets this long to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// `USER_HZ`, in which Linux reports times to programs; the same on every architecture we build for, proc(5).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running child. Killed when dropped; [`Child::stop`] lets it end by itself.
pub(crate) struct Child {
    name: String,
    process: tokio::process::Child,
    pid: Pid,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    /// Held open: a peer ends when it closes, so that none outlives a bench that was killed.
    _stdin: Option<ChildStdin>,
}

/// Fields of `/proc/PID/stat`, counted from the state, which proc(5) calls its third: `utime` and `stime`.
const OWN: &[usize] = &[11, 12];
/// These, and the same of children that have ended.
const WITH_ENDED: &[usize] = &[11, 12, 13, 14];

/// CPU seconds charged to a process that a child has started.
pub(crate) fn cpu_of(pid: i32) -> Result<f64> {
    ticks(pid, OWN)
}

/// The same, with what its children were charged that have ended.
pub(crate) fn cpu_with_ended_children(pid: i32) -> Result<f64> {
    ticks(pid, WITH_ENDED)
}

fn ticks(pid: i32, of: &[usize]) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name, in parentheses, and may hold spaces.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let mut ticks = 0;
    for field in of {
        ticks += fields.get(*field).context("a short /proc/PID/stat")?.parse::<u64>()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a process would have to run for a million years")]
    let seconds = ticks as f64 / TICKS_PER_SECOND;
    Ok(seconds)
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// `VmRSS`: everything.
    pub(crate) resident: u64,
    /// The part that is the process's own, not backed by a file.
    pub(crate) anonymous: u64,
    /// `VmHWM`: the most that was ever resident.
    pub(crate) peak: u64,
}

impl Child {
    /// Starts `program`; its standard error is ours when `loud`, and goes nowhere otherwise.
    pub(crate) fn start(program: &Path, arguments: &[&str], loud: bool) -> Result<Self> {
        let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if loud { Stdio::inherit() } else { Stdio::null() })
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{name} ended at once"))?;
        let lines = process.stdout.take().map(|out| BufReader::new(out).lines());
        let stdin = process.stdin.take();
        Ok(Self { name, process, pid, lines, _stdin: stdin })
    }

    /// The rest of the first line it prints that has `marker` in it, from the marker on.
    pub(crate) async fn says(&mut self, marker: &str) -> Result<String> {
        let lines = self.lines.as_mut().context("its output is read already")?;
        while let Some(line) = lines.next_line().await? {
            if let Some(at) = line.find(marker) {
                return Ok(line.get(at + marker.len()..).unwrap_or_default().trim().to_owned());
            }
        }
        bail!("{} ended without saying '{marker}'", self.name)
    }

    /// Reads and drops whatever else it prints, so that it never waits for a full pipe.
    pub(crate) fn ignore_output(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
    }

    /// Fails when the process has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.name),
        }
    }

    /// CPU seconds charged to it so far, user and system, all threads.
    pub(crate) fn cpu(&self) -> Result<f64> {
        ticks(self.pid.as_raw_pid(), OWN).with_context(|| format!("{} is gone", self.name))
    }

    /// What it holds in memory now.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(self.proc("status")).with_context(|| format!("{} is gone", self.name))?;
        let kib = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
        };
        Ok(Memory { resident: kib("VmRSS")?, anonymous: kib("RssAnon")?, peak: kib("VmHWM")? })
    }

    /// Asks the process that it runs to end, and waits until both have.
    pub(crate) async fn stop_inner(self) -> Result<()> {
        let pid = self.pid.as_raw_pid();
        let inner = std::fs::read_to_string(self.proc(&format!("task/{pid}/children")))?;
        for inner in inner.split_whitespace() {
            let inner = Pid::from_raw(inner.parse()?).context("no process id")?;
            kill_process(inner, Signal::TERM)?;
        }
        let Self { name, mut process, .. } = self;
        if tokio::time::timeout(STOP_TIMEOUT, process.wait()).await.is_err() {
            process.kill().await?;
            bail!("{name} did not end within {STOP_TIMEOUT:?} of SIGTERM to what it runs");
        }
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.process.try_wait()?.is_none() {
            kill_process(self.pid, Signal::TERM)?;
            if tokio::time::timeout(STOP_TIMEOUT, self.process.wait()).await.is_err() {
                self.process.kill().await?;
                bail!("{} did not end within {STOP_TIMEOUT:?} of SIGTERM", self.name);
            }
        }
        Ok(())
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid.as_raw_pid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_childs_work_is_charged_to_it_and_it_is_stopped() {
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo port 7; read x";
        let mut child = Child::start(Path::new("/bin/sh"), &["-c", script], true).unwrap();
        assert_eq!(child.says("port").await.unwrap(), "7");
        assert!(child.cpu().unwrap() >= 0.02, "a busy loop costs CPU");
        let memory = child.memory().unwrap();
        assert!(memory.anonymous < memory.resident, "its program is backed by a file");
        child.alive().unwrap();
        child.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_ends_early_is_an_error_not_a_hang() {
        let mut child = Child::start(Path::new("/bin/true"), &[], true).unwrap();
        assert!(child.says("anything").await.is_err());
        child.process.wait().await.unwrap();
        assert!(child.alive().is_err());
    }
}
