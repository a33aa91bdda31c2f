//! A PostgreSQL server of a test's own: from the system's package, in a temporary folder, on a free loopback port and a socket.
//!
//! It ends with the process that started it, however that ends: a shell waits for the end of its standard input, which
//! closes then, and takes the folder away. Started by root it runs as `postgres`, since the server refuses root.
//!
//! Touches processes and files. Tests: whatever uses it, and below.

use std::{
    env, fs,
    hash::{BuildHasher as _, RandomState},
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The password of the role `denizen` over TCP.
const PASSWORD: &str = "only-for-this-test";
/// A server is up, or a command done, within this time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Files here are in memory; a database is a few MB.
const MEMORY: &str = "/dev/shm";
/// As much must be free there, bytes.
const ROOM: u64 = 2 << 30;

/// What runs a server, and runs it again for each line of its standard input: waits until nobody holds that, then ends the
/// server and removes its folder.
const KEEPER: &str = r#"
"$@" & pid=$!
trap 'kill -CONT $pid; kill -QUIT $pid' TERM
while read -r _; do wait $pid; "$@" & pid=$!; done
kill -CONT $pid 2>/dev/null; kill -QUIT $pid 2>/dev/null
wait $pid
[ -z "$REMOVE" ] || { mountpoint -q "$REMOVE" && umount -l "$REMOVE"; rm -rf "$REMOVE"; }
"#;

/// A running server.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    keeper: Child,
    /// How the server numbers its own version: 150018.
    version: u32,
    /// What makes, copies and removes databases: to start a program for each takes longer than to do it.
    session: Mutex<Option<Session>>,
}

/// A session of the database `postgres`, in a program that answers one statement after another.
struct Session {
    psql: Child,
    statements: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Stands after the last row of an answer, and in no row.
const ANSWERED: &str = "--answered--";

impl Session {
    fn start(mut psql: Command) -> io::Result<Self> {
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        match (psql.stdin.take(), psql.stdout.take()) {
            (Some(statements), Some(answers)) => Ok(Self { psql, statements, answers: BufReader::new(answers) }),
            _ => Err(io::Error::other("psql has no standard input or output")),
        }
    }

    /// What a statement answers, or the server's own error; none when the session is over.
    fn run(&mut self, sql: &str) -> Option<io::Result<String>> {
        writeln!(self.statements, "{sql};\n\\echo {ANSWERED} :ERROR :LAST_ERROR_MESSAGE").ok()?;
        let mut rows = String::new();
        loop {
            let begin = rows.len();
            if self.answers.read_line(&mut rows).ok()? == 0 {
                return None;
            }
            let Some(end) = rows.get(begin..)?.strip_prefix(ANSWERED) else { continue };
            let (failed, error) = end.trim().split_once(' ').unwrap_or((end.trim(), ""));
            if failed != "false" {
                return Some(Err(io::Error::other(error.to_owned())));
            }
            rows.truncate(begin);
            return Some(Ok(rows));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

impl Cluster {
    /// Starts one, with settings beside the usual ones: `("fsync", "off")`.
    ///
    /// # Errors
    /// When the package is not installed, or the server does not come up; with what it said.
    pub fn start(settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("denizen-postgres-");
        // Who does not wait for the disk need not use it. A database is three hundred files.
        let folder = match settings.contains(&("fsync", "off")) && has_room_in_memory() {
            true => builder.tempdir_in(MEMORY)?.keep(),
            false => builder.tempdir()?.keep(),
        };
        Self::start_in(folder, settings)
    }

    /// Starts one with its files under this folder, which the server's user must be able to enter.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_under(parent: &Path, settings: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("denizen-postgres-").tempdir_in(parent.canonicalize()?)?.keep();
        Self::start_in(folder, settings)
    }

    /// Starts one whose disk has so many bytes: its folder is a file system of its own, which only root can make.
    ///
    /// # Errors
    /// As [`Self::start`]; and when nothing can be mounted.
    pub fn start_small(bytes: u64, settings: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("denizen-postgres-").tempdir()?.keep();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "tmpfs"]).arg(&folder);
        done(&mount.output()?)?;
        Self::start_in(folder, settings)
    }

    fn start_in(folder: PathBuf, settings: &[(&str, &str)]) -> io::Result<Self> {
        let data = folder.join("data");
        own(&folder)?;
        let password = folder.join("password");
        fs::write(&password, PASSWORD)?;
        own(&password)?;
        let mut init = server_command("initdb")?;
        init.args(["--auth-local=trust", "--auth-host=scram-sha-256", "--username=denizen", "--encoding=UTF8"]);
        init.args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"]);
        init.arg("--pgdata").arg(&data).arg(format!("--pwfile={}", password.display()));
        done(&init.output()?)?;
        Self::run(folder, settings)
    }

    /// Starts a server on a copy of another's data, which follows it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_standby(&self, settings: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("denizen-postgres-").tempdir()?.keep();
        own(&folder)?;
        let mut copy = server_command("pg_basebackup")?;
        copy.env("PGPASSWORD", PASSWORD).args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        copy.arg("--pgdata")
            .arg(folder.join("data"))
            .arg("--dbname")
            .arg(self.url("postgres") + "?application_name=standby");
        done(&copy.output()?)?;
        Self::run(folder, settings)
    }

    fn run(folder: PathBuf, settings: &[(&str, &str)]) -> io::Result<Self> {
        let port = free_port()?;
        let server = server_command("postgres")?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(server.get_program()).args(server.get_args());
        keeper.arg("-D").arg(folder.join("data")).arg("-k").arg(&folder);
        let usual = [("listen_addresses", "127.0.0.1"), ("max_connections", "200"), ("shared_buffers", "64MB")];
        let port_text = port.to_string();
        for (name, value) in usual.iter().chain(settings).chain(&[("port", port_text.as_str())]) {
            keeper.arg("-c").arg(format!("{name}={value}"));
        }
        let log = fs::File::create(folder.join("log"))?;
        keeper.env("REMOVE", &folder).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut cluster = Self { keeper: keeper.spawn()?, folder, port, version: 0, session: Mutex::default() };
        cluster.version = cluster.comes_up()?;
        Ok(cluster)
    }

    /// Waits until it answers; with its version.
    fn comes_up(&self) -> io::Result<u32> {
        let start = Instant::now();
        loop {
            match self.query("postgres", "SHOW server_version_num") {
                Ok(version) => return version.trim().parse().map_err(io::Error::other),
                Err(error) if start.elapsed() > TIMEOUT => {
                    let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                    return Err(io::Error::other(format!("the server does not come up: {error}\n{log}")));
                }
                Err(_) => pause(),
            }
        }
    }

    /// Ends the server, and with it all its sessions, in the middle of what they do. What was committed is kept.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn stop(&self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_raw(self.pid()?).ok_or_else(|| io::Error::other("no process id"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT)?;
        self.has_ended()
    }

    fn has_ended(&self) -> io::Result<()> {
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > TIMEOUT {
                return Err(io::Error::other("the server does not end"));
            }
            pause();
        }
        Ok(())
    }

    /// Ends the server and all its processes at once: what is in its memory alone is lost.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn crash(&self) -> io::Result<()> {
        let first = self.pid()?;
        for pid in [first].into_iter().chain(self.sessions()?) {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
            match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.has_ended()
    }

    /// Starts the server again after [`Self::stop`] or [`Self::crash`], or after it ended itself. One that runs stays.
    ///
    /// # Errors
    /// When it does not come up, with what it said.
    pub fn start_again(&mut self) -> io::Result<()> {
        if !self.is_running() {
            let keeper = self.keeper.stdin.as_mut().ok_or_else(|| io::Error::other("nobody runs the server"))?;
            keeper.write_all(b"again\n")?;
        }
        self.comes_up().map(drop)
    }

    /// Whether its first process is there and has not ended.
    fn is_running(&self) -> bool {
        let Ok(pid) = self.pid() else { return false };
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// The folder of everything that is its own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A database's URL over TCP, with the password in it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://denizen:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// A database's URL over the socket, where the user of this process needs no password.
    pub fn socket_url(&self, database: &str) -> String {
        format!("postgres://denizen@localhost:{}/{database}?host={}", self.port, self.folder.display())
    }

    /// The process id of the server.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> io::Result<i32> {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        text.lines().next().and_then(|line| line.parse().ok()).ok_or_else(|| io::Error::other("no process id"))
    }

    /// The process ids of all of the server's processes but the first.
    ///
    /// # Errors
    /// When it does not run.
    pub fn sessions(&self) -> io::Result<Vec<i32>> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid()?);
        Ok(fs::read_to_string(children)?.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Runs statements as the owner of everything; gives what they print, a line a row.
    ///
    /// # Errors
    /// What the server says.
    pub fn query(&self, database: &str, sql: &str) -> io::Result<String> {
        let mut psql = self.psql(database);
        psql.arg("--set=ON_ERROR_STOP=1").arg("--command").arg(sql);
        done(&psql.output()?)
    }

    /// A database as SQL.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub fn dump(&self, database: &str) -> io::Result<String> {
        let mut dump = Command::new("pg_dump");
        dump.args(["--no-owner", "--no-privileges", "--inserts", "--username=denizen"]);
        dump.arg("--host").arg(&self.folder).arg("--port").arg(self.port.to_string()).arg(database);
        let text = done(&dump.output()?)?;
        // What is meant for `psql` alone differs between its releases.
        Ok(text.lines().filter(|line| !line.starts_with(['\\', '-'])).map(|line| line.to_owned() + "\n").collect())
    }

    /// Runs a file of SQL.
    ///
    /// # Errors
    /// What the server says.
    pub fn load(&self, database: &str, file: &Path) -> io::Result<()> {
        let mut psql = self.psql(database);
        psql.arg("--set=ON_ERROR_STOP=1").arg("--file").arg(file);
        done(&psql.output()?).map(drop)
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=denizen"]);
        psql.arg("--host").arg(&self.folder).arg("--port").arg(self.port.to_string()).arg("--dbname").arg(database);
        psql
    }

    /// Runs one statement in the session that is kept; gives what it prints.
    fn tell(&self, sql: &str) -> io::Result<String> {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        // The server may have been stopped, and with it the session, since the last time.
        for _ in 0..2 {
            let mut session = kept.take().map_or_else(|| Session::start(self.psql("postgres")), Ok)?;
            if let Some(answer) = session.run(sql) {
                *kept = Some(session);
                return answer;
            }
        }
        Err(io::Error::other("the server ends its sessions"))
    }

    /// Makes a database.
    ///
    /// # Errors
    /// What the server says.
    pub fn create(&self, database: &str) -> io::Result<()> {
        self.tell(&format!("CREATE DATABASE {database}")).map(drop)
    }

    /// Removes a database, whoever uses it.
    ///
    /// # Errors
    /// What the server says.
    pub fn remove(&self, database: &str) -> io::Result<()> {
        self.tell(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).map(drop)
    }

    /// Makes a database of what is committed in another, which may be in use.
    ///
    /// # Errors
    /// What the server says.
    pub fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        // Fast, and possible while nobody uses it. The server itself would wait for five seconds.
        if self.is_left(from)? && self.copy_files(from, to).is_ok() {
            return Ok(());
        }
        self.create(to)?;
        let connect = |command: &mut Command, database: &str| {
            command.arg("--host").arg(&self.folder).arg("--port").arg(self.port.to_string());
            command.arg("--username=denizen").arg("--dbname").arg(database);
        };
        let mut dump = Command::new("pg_dump");
        connect(&mut dump, from);
        let mut dump = dump.stdout(Stdio::piped()).spawn()?;
        let mut psql = Command::new("psql");
        connect(&mut psql, to);
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        if let Some(output) = dump.stdout.take() {
            psql.stdin(output);
        }
        done(&psql.output()?)?;
        if dump.wait()?.success() { Ok(()) } else { Err(io::Error::other("pg_dump failed")) }
    }

    /// Makes a database of another, which nobody may be using.
    ///
    /// # Errors
    /// What the server says.
    pub fn copy_files(&self, from: &str, to: &str) -> io::Result<()> {
        // Where the disk is not waited for, this is the faster of two ways. Before version 15 it was the only one.
        let strategy = if self.version >= 150_000 { "STRATEGY FILE_COPY" } else { "" };
        self.tell(&format!("CREATE DATABASE {to} TEMPLATE {from} {strategy}")).map(drop)
    }

    /// Whether nobody uses a database, now or in a moment.
    fn is_left(&self, database: &str) -> io::Result<bool> {
        let sql = format!("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = '{database}'");
        for _ in 0..3 {
            if self.tell(&sql)?.trim() == "0" {
                return Ok(true);
            }
            pause();
        }
        Ok(false)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a server is waited for outside any runtime")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A program of the server's package, the newest there is; as `postgres` where this process is root.
fn server_command(program: &str) -> io::Result<Command> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let path = version.path().join("bin").join(program);
        if let (Some(number), true) = (version.file_name().to_str().and_then(|name| name.parse().ok()), path.exists()) {
            found.push((number, path));
        }
    }
    let path = found.into_iter().max().map(|(_, path)| path).or_else(|| on_path(program));
    let path = path.ok_or_else(|| io::Error::other(format!("{program} is missing: install the package postgresql")))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(path);
    Ok(command)
}

#[expect(clippy::disallowed_methods, reason = "where programs are is said by the environment of who runs the tests")]
fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.exists())
}

/// A port that nobody listens at, and that the kernel gives to no client while the server is away: one that asks there again
/// and again would in the end be given that very port, and talk to itself.
fn free_port() -> io::Result<u16> {
    let mut found = Err(io::Error::other("no port is free"));
    for _ in 0..1000 {
        let port = 20_000 + u16::try_from(RandomState::new().hash_one(0) % 12_000).unwrap_or(0);
        found = TcpListener::bind(("127.0.0.1", port)).map(|_| port);
        if found.is_ok() {
            break;
        }
    }
    found
}

fn has_room_in_memory() -> bool {
    rustix::fs::statvfs(MEMORY).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= ROOM)
}

/// Gives a file to the user that the server runs as.
fn own(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    done(&Command::new("chown").arg("postgres:postgres").arg(path).output()?).map(drop)
}

fn done(output: &Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_made_before_and_after_the_server_ends_its_sessions() {
        let mut cluster = Cluster::start(&[("fsync", "off")]).unwrap();
        cluster.create("one").unwrap();
        let twice = cluster.create("one").unwrap_err().to_string();
        assert!(twice.contains("\"one\" already exists"), "{twice}");
        cluster.query("one", "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x'), ('y')").unwrap();
        cluster.copy("one", "two").unwrap();
        assert_eq!(cluster.query("two", "SELECT a FROM t ORDER BY a").unwrap(), "x\ny\n");
        assert_eq!(cluster.tell("VALUES (1), (2)").unwrap(), "1\n2\n");
        cluster.stop().unwrap();
        assert!(cluster.create("three").is_err(), "nobody is there to make it");
        cluster.start_again().unwrap();
        cluster.create("three").unwrap();
        cluster
            .query("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            .unwrap();
        cluster.remove("three").unwrap();
        assert!(cluster.query("three", "SELECT 1").is_err());
    }
}
