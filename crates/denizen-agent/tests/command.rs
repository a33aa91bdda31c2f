//! The command itself: what it prints, and with which code it leaves.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a test's own message")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
};

/// A child has this process's descriptors until it becomes its program. One that was made while another test had a state
/// directory open would hold that directory's lock, and the agent would be refused.
static FORKING: Mutex<()> = Mutex::new(());

fn spawn(command: &mut Command) -> Child {
    let _forking = FORKING.lock().unwrap();
    command.spawn().unwrap()
}

fn output(command: &mut Command) -> Output {
    spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait_with_output().unwrap()
}

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_denizen-agent"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = output(&mut agent(arguments));
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn the_codes_are_those_of_sysexits() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    let state = state.to_str().unwrap();
    let (code, out, _) = run(&["version"]);
    assert_eq!((code, out.trim()), (0, concat!("denizen-agent ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run(&["--help"]).0, 0);
    assert_eq!(run(&["run", "--no-such-flag"]).0, 64);
    let (code, _, err) =
        run(&["connect", "--server", "https://localhost:1", "--join-token-file", "-", "--name", "a/b"]);
    assert!(code == 64 && err.contains("1 to 54 letters"), "{code}: {err}");
    let (code, _, err) = run(&["show", "--state-dir", state]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("not enrolled") && err.contains("denizen-agent connect"), "{err}");
    assert!(!std::path::Path::new(state).exists(), "looking makes nothing");

    let token = temp.path().join("token");
    std::fs::write(&token, "\n").unwrap();
    let connect =
        ["connect", "--state-dir", state, "--server", "https://localhost:1", "--name", "m", "--join-token-file"];
    let with = |file: &str| run(&[&connect[..], &[file]].concat());
    assert_eq!(with("/nonexistent").0, 77);
    assert_eq!(with(token.to_str().unwrap()).0, 65);
    std::fs::write(&token, "a-join-token\n").unwrap();
    let (code, _, err) = with(token.to_str().unwrap());
    assert_eq!(code, 69, "{err}");
    assert!(!err.contains("a-join-token"));
}

/// Whoever may put a pipe in a file's place could have the agent wait for a writer, and say nothing.
#[test]
fn a_pipe_in_a_files_place_is_named_and_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let (state, fifo) = (enrolled(temp.path()), temp.path().join("fifo"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (fifo, new) = (fifo.to_str().unwrap(), temp.path().join("new"));
    let run = ["run", "--no-arc", "--listen", "127.0.0.1:0", "--state-dir", &state];
    let connect = ["connect", "--server", "https://localhost:1", "--name", "m", "--state-dir", new.to_str().unwrap()];
    let refused = |what: &[&str], at: &str| {
        let mut command = Command::new("timeout");
        command.args(["10", env!("CARGO_BIN_EXE_denizen-agent")]).args(what).stdin(Stdio::null());
        let Output { status, stderr, .. } = output(&mut command);
        let err = String::from_utf8(stderr).unwrap();
        assert!(status.code().is_some_and(|code| ![0, 124].contains(&code)), "{what:?}: {status}: {err}");
        assert!(err.contains(at) && err.contains("not a regular file"), "{what:?}: {err}");
    };
    refused(&[&run[..], &["--ca-file", fifo]].concat(), fifo);
    refused(&[&run[..], &["--app-service-header-file", fifo]].concat(), fifo);
    refused(&[&connect[..], &["--join-token-file", fifo]].concat(), fifo);
    for file in ["node.key", "node.crt", "identity.json", "lock"] {
        let path = std::path::Path::new(&state).join(file);
        let aside = temp.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(&run, file);
        std::fs::rename(&aside, &path).unwrap();
    }
}

/// By the time the server hears of the machine, its key is on the disk; and the next attempt is made with the same one.
#[test]
fn a_kill_in_the_middle_of_enrolment_loses_no_key() {
    let temp = tempfile::tempdir().unwrap();
    let (state, ca, token) = (temp.path().join("state"), temp.path().join("ca.pem"), temp.path().join("token"));
    std::fs::write(&ca, denizen_keys::ca::DevCa::generate("test", 1_700_000_000).unwrap().ca_pem()).unwrap();
    std::fs::write(&token, "a-join-token").unwrap();
    // A server that takes the connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let (accepted, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || silent.incoming().try_for_each(|connection| accepted.send(connection.unwrap())));
    let mut keys = Vec::new();
    for _ in 0..3 {
        let mut command = agent(&["connect", "--server", &url, "--name", "m", "--join-token-file"]);
        command.arg(&token).arg("--state-dir").arg(&state).arg("--ca-file").arg(&ca);
        let mut child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let connection = connections.recv_timeout(std::time::Duration::from_secs(30)).expect("it does not connect");
        keys.push((std::fs::read(state.join("node.key")).unwrap(), std::fs::read(state.join("node.crt")).unwrap()));
        assert!(!state.join("identity.json").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(connection);
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn a_taken_port_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(&["run", "--listen", &address, "--state-dir", temp.path().to_str().unwrap()]);
    assert_eq!(code, 69);
    assert!(err.contains(&address), "{err}");
}

#[test]
fn addresses_others_can_reach_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let (code, _, err) = run(&["run", "--no-arc", "--listen", "0.0.0.0:0", "--state-dir", &state]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("not loopback"), "{err}");
}

#[test]
fn it_runs_says_where_and_stops_when_told() {
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let keys = temp.path().join("tokens");
    let mut command = agent(&["run", "--listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0", "--state-dir", &state]);
    let mut child = spawn(command.arg("--key-dir").arg(&keys).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.starts_with("imds")) {
        seen.push(lines.next().expect("it says where IMDS is").unwrap());
    }
    let text = seen.join("\n");
    assert!(text.contains("arc          http://127.0.0.1:") && text.contains("client id    11111111"), "{text}");
    // A second one on the same state is refused, and the first is not disturbed.
    let (code, _, err) = run(&["run", "--no-arc", "--listen", "127.0.0.1:0", "--state-dir", &state]);
    assert_eq!(code, 69, "{err}");
    let (code, shown, _) = run(&["show", "--state-dir", &state]);
    assert_eq!(code, 0);
    assert!(shown.contains("client id    11111111"), "{shown}");

    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(!log.contains("PRIVATE"), "{log}");
}

/// Starts an agent in `command` and returns it with the lines it printed until `last`. Nobody reads what it says after
/// that.
fn start(command: &mut Command, last: &str) -> (Child, String) {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        text += &format!("{}\n", line.unwrap());
        if text.lines().last().is_some_and(|line| line.starts_with(last)) {
            break;
        }
    }
    assert!(text.lines().last().is_some_and(|line| line.starts_with(last)), "it ended after {text:?}");
    (child, text)
}

fn stop(mut child: Child) -> String {
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    log
}

const ASK_INSTANCE: &[u8] = b"GET /metadata/instance?api-version=2021-02-01 HTTP/1.1\r\nHost: localhost\r\n\
    Metadata: true\r\nConnection: close\r\n\r\n";

#[test]
fn an_ipv6_address_brings_the_other_localhost_along() {
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let (child, text) =
        start(&mut agent(&["run", "--no-arc", "--listen", "[::1]:0", "--state-dir", &state]), "instance");
    let port: u16 = text.rsplit_once("http://[::1]:").unwrap().1.split('/').next().unwrap().parse().unwrap();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(ASK_INSTANCE).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""name":"m""#), "{address}: {answer}");
    }
    stop(child);
}

#[test]
fn without_ipv6_it_says_so_once_and_runs() {
    if !denizen_skip::is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let mut command = Command::new("unshare");
    let script = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1 && ip link set lo up && exec \"$0\" \"$@\"";
    command.args(["--net", "sh", "-c", script, env!("CARGO_BIN_EXE_denizen-agent")]);
    command.args(["run", "--no-arc", "--listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0", "--state-dir", &state]);
    let (child, text) = start(&mut command, "imds");
    assert!(!text.contains("[::1]"), "{text}");
    let log = stop(child);
    assert_eq!(log.matches("::1 is not available").count(), 1, "{log}");
}

/// The metadata address on the loopback interface, a second address as a neighbour's, and curl from both.
#[test]
fn who_is_not_this_machine_is_not_answered_at_the_metadata_address() {
    if !denizen_skip::is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let script = r#"
        ip link set lo up && ip addr add 169.254.169.254/32 dev lo && ip addr add 10.9.9.1/32 dev lo || exit 90
        "$0" run --no-arc --listen 127.0.0.1:0 --imds-listen 169.254.169.254:80 --state-dir "$1" >"$1.out" 2>&1 &
        for _ in $(seq 100); do grep -q '^imds' "$1.out" && break; sleep 0.1; done
        ask() { curl -s -m 5 -o /dev/null -w '%{http_code}' -H 'Metadata: true' "$@" \
            'http://169.254.169.254/metadata/instance?api-version=2021-02-01'; echo " $?"; }
        ask; ask --interface 10.9.9.1
        kill $!; wait $!"#;
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script, env!("CARGO_BIN_EXE_denizen-agent"), &state]);
    let Output { stdout, .. } = output(&mut command);
    // 52: the server closed the connection without an answer; 56: with a reset.
    let told = String::from_utf8(stdout).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(matches!(lines[..], ["200 0", "000 52" | "000 56"]), "{told}");
}

/// Each refused request could fill the disk a little.
#[test]
fn d09_a_flood_of_refusals_is_no_flood_of_log_lines() {
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let mut command = agent(&["run", "--no-arc", "--listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0"]);
    let (child, text) = start(command.args(["--state-dir", &state]), "imds");
    let port: u16 =
        text.rsplit_once("imds         http://").unwrap().1.split([':', '/']).nth(1).unwrap().parse().unwrap();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let ask = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=r&client_id=nobody HTTP/1.1\r\n\
            Host: localhost\r\nMetadata: true\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Identity not found"), "{answer}");
    }
    let log = stop(child);
    let lines = log.matches("no such identity").count();
    // Two minutes may have part in it.
    assert!((1..=60).contains(&lines), "{lines} lines");
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
    let temp = tempfile::tempdir().unwrap();
    let state = enrolled(temp.path());
    let arguments = ["run", "--no-arc", "--listen", "127.0.0.1:0", "--state-dir", &state];
    let mut by_flag = agent(&arguments);
    by_flag.args(["--proxy", "socks5://user:MARKER@proxy:1080"]);
    let mut by_environment = agent(&arguments);
    by_environment.env("HTTPS_PROXY", "socks5://user:MARKER@proxy:1080");
    for command in [&mut by_flag, &mut by_environment] {
        let Output { status, stderr, .. } = output(command);
        let err = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(78), "{err}");
        assert!(err.contains("http://host:port") && !err.contains("MARKER"), "{err}");
    }
}

/// A state directory as enrolment leaves it.
fn enrolled(temp: &std::path::Path) -> String {
    let state = temp.join("state");
    let key = denizen_keys::Signer::generate_rsa(denizen_keys::RsaBits::B2048).unwrap();
    let _forking = FORKING.lock().unwrap();
    let directory = denizen_agent::identity_file::StateDirectory::open(&state).unwrap();
    directory.keep_key(&key).unwrap();
    directory.keep_certificate(&denizen_keys::x509::self_signed(&key, "m", 0, 4_000_000_000).unwrap()).unwrap();
    let identity = serde_json::json!({
        "server": "https://localhost:8443",
        "machineName": "m",
        "enrolled": {
            "tenantId": "aaaaaaaa-0000-0000-0000-000000000000",
            "resourceId": "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/dev/providers/Microsoft.HybridCompute/machines/m",
            "clientId": "11111111-2222-3333-4444-555555555555",
            "principalId": "66666666-7777-8888-9999-000000000000",
            "tokenEndpoint": "https://localhost:8443/t/oauth2/v2.0/token",
            "machineId": "bbbbbbbb-0000-0000-0000-000000000000",
            "location": "local",
        },
        "machine": {},
    });
    directory.keep_identity(&serde_json::from_value(identity).unwrap()).unwrap();
    state.to_str().unwrap().to_owned()
}
