//! `denizen init` and `denizen server`: from nothing to a machine that reads a secret, and what happens to both on the way.

use std::{
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    process::Stdio,
    time::Duration,
};

use denizen_keys::{SecretString, envelope::RootKey};
use denizen_server::run::{Server, root_key_in};
use denizen_wire::Clock;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Instant, sleep, timeout},
};

use crate::{
    jwt,
    operator::{CONFIG, Operator, Running, mode, write_certificate},
    sandbox::{Sandbox, TIMEOUT, User, ended},
    wire::{Wire, encoded},
};

const VAULT: &str = "https://vault.azure.net";
const SECRET: &str = "/secrets/hello?api-version=7.6";

/// Waits until `holds` does.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {TIMEOUT:?}: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_a_machine_that_reads_a_secret() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    let made = operator.init().await.ok();
    assert!(made.starts_with("made the tenant "), "{made}");
    for (name, expected) in
        [("data", 0o700), ("data/root.key", 0o600), ("data/denizen.db", 0o600), ("admin.json", 0o600)]
    {
        assert_eq!(mode(&operator.path(name)), expected, "{name}");
    }
    let before = std::fs::read(operator.path("admin.json")).unwrap();
    let again = operator.init().await.ok();
    assert!(again.contains("set up already") && again.contains("Nothing was changed"), "{again}");
    assert_eq!(std::fs::read(operator.path("admin.json")).unwrap(), before);
    assert_eq!(operator.check().await.ok(), "nothing is wrong");

    let server = operator.start().await;
    let again = operator.init().await.ok();
    assert!(again.contains("a server is running on it") && again.contains("Nothing was changed"), "{again}");
    let admin = operator.admin();
    let token = server.admin_token(&admin, VAULT).await.expect(200).text("/access_token");
    assert_eq!(jwt::claims(&token)["oid"], admin["object_id"]);

    // Owner of the subscription: that gives no data, until a role does.
    let body = Some(r#"{"value":"from the vault"}"#);
    server.vault("PUT", SECRET, &token, body).await.expect(403);
    let subscription = format!("/subscriptions/{}", admin["subscription_id"].as_str().unwrap());
    let give = async |assignee: &str, role: &str| {
        let words = ["role", "assignment", "create", "--assignee", assignee, "--role", role, "--scope", &subscription];
        operator.run(&words).await
    };
    let object_id = admin["object_id"].as_str().unwrap();
    give(object_id, "Key Vault Secrets Officer").await.ok();
    give(object_id, "Key Vault Secrets Officer").await.ok();
    server.vault("PUT", SECRET, &token, body).await.expect(200);
    let refused = give(object_id, "King").await;
    assert!(refused.code == Some(65) && refused.err.contains("King"), "{refused:?}");

    // A machine joins, beside the running server.
    let create = ["join-token", "create", "--resource-group", "servers", "--name", "web-1", "--ttl", "10m"];
    let join_token = operator.run(&create).await.ok();
    assert!(join_token.starts_with("dzj.") && !join_token.contains('\n'), "{join_token}");
    let file = operator.path("join-token");
    std::fs::write(&file, &join_token).unwrap();
    let state = operator.path("agent");
    let (state, file) = (state.to_str().unwrap(), file.to_str().unwrap());
    let words = ["connect", "--name", "web-1", "--server", &server.authority];
    let joined =
        ended(server.agent(&[&words[..], &["--join-token-file", file, "--state-dir", state]].concat())).await.ok();
    let machine = joined.lines().find_map(|line| line.strip_prefix("object id")).unwrap().trim().to_owned();
    give(&machine, "Key Vault Secrets User").await.ok();

    // Its programs read the secret, and hold none.
    let header = operator.path("header");
    std::fs::write(&header, "a-header-for-one-workload\n").unwrap();
    let words = ["run", "--no-arc", "--listen", "127.0.0.1:0", "--state-dir", state];
    let mut command = server.agent(&words);
    command.arg("--app-service-header-file").arg(&header).stdout(Stdio::piped());
    let mut agent = command.spawn().unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let endpoint = loop {
        let line = timeout(TIMEOUT, lines.next_line()).await.unwrap().unwrap().expect("the agent ended");
        if line.starts_with("app service") {
            break line.split_whitespace().last().unwrap().to_owned();
        }
    };
    let url = format!("{endpoint}?api-version=2019-08-01&resource={}", encoded(VAULT));
    let answer = server.wire.get(&url, &[("X-IDENTITY-HEADER", "a-header-for-one-workload")]).await.expect(200);
    let token = answer.text("/access_token");
    assert_eq!(jwt::claims(&token)["oid"], machine.as_str());
    assert_eq!(server.vault("GET", SECRET, &token, None).await.expect(200).text("/value"), "from the vault");
    agent.start_kill().unwrap();

    // What was done is in the audit, with who did it.
    let exported = operator.run(&["audit", "export"]).await.ok();
    for actor in ["system:denizen init", "system:denizen join-token create", "system:denizen role assignment create"] {
        assert!(exported.lines().any(|line| line.contains(&format!("\"actor\":\"{actor}\""))), "{actor}: {exported}");
    }
    let secret = admin["client_secret"].as_str().unwrap();
    assert!(!exported.contains(secret) && !exported.contains(&join_token));
    let log = server.stop().await;
    assert!(!log.contains(secret) && !log.contains(&join_token), "{log}");
    assert!(operator.run(&["audit", "verify"]).await.ok().contains("are as they were written"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_without_a_server_as_well_and_wait_for_one_that_stops() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let create = ["join-token", "create", "--resource-group", "servers", "-o", "json"];
    let made: Value = serde_json::from_str(&operator.run(&create).await.ok()).unwrap();
    assert!(made["join_token"].as_str().unwrap().starts_with("dzj."), "{made}");
    assert!(made["resource_group"].as_str().unwrap().ends_with("/resourceGroups/servers"), "{made}");
    let rotated = operator.run(&["signing-key", "rotate"]).await.ok();
    // One that is RSA, and one of P-256.
    assert_eq!(rotated.lines().filter(|line| line.ends_with("new")).count(), 2, "{rotated}");
    let server = operator.start().await;
    let rotated = operator.run(&["signing-key", "rotate"]).await.ok();
    // One that is RSA, and one of P-256.
    assert_eq!(rotated.lines().filter(|line| line.ends_with("new")).count(), 2, "{rotated}");
    for (words, code, says) in [
        (&["join-token", "create", "--resource-group", "other"][..], 65, "other"),
        (&["join-token", "create", "--resource-group", "servers", "--ttl", "25h"], 65, "86400 seconds"),
        (&["join-token", "create", "--resource-group", "servers", "--ttl", "1d"], 64, "15m"),
        (&["audit", "accept"], 75, "another denizen"),
    ] {
        let refused = operator.run(words).await;
        assert!(refused.code == Some(code) && refused.err.contains(says), "{words:?}: {refused:?}");
    }
    // Killed, it leaves a socket that nobody answers.
    server.kill().await;
    assert!(operator.path("data/admin.sock").exists());
    operator.run(&create).await.ok();
    assert!(operator.run(&["audit", "accept"]).await.ok().contains("nothing to accept"));
    operator.start().await.stop().await;
    assert!(!operator.path("data/admin.sock").exists());
}

/// A command that found no server holds the data for a moment, and a server that starts meanwhile does not give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_a_command_that_has_its_data() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    for _ in 0..3 {
        let mut commands = tokio::task::JoinSet::new();
        for _ in 0..3 {
            commands.spawn(ended(operator.denizen(&["join-token", "create", "--resource-group", "servers"])));
        }
        let server = operator.start().await;
        for command in commands.join_all().await {
            assert!(command.ok().starts_with("dzj."));
        }
        server.stop().await;
    }
}

/// The credential in FILE is the administrator's.
async fn has_a_working_secret(operator: &Operator<'_>) {
    let (admin, data) = (operator.admin(), operator.path("data").canonicalize().unwrap());
    let key = RootKey::load(&root_key_in(&data)).unwrap();
    let server = Server::open_at_rest(&data, key, "", Clock::system()).await.unwrap();
    let snapshot = server.store.snapshot();
    assert_eq!(snapshot.tenants().count(), 1);
    let existing = server.set_up.existing(&snapshot).unwrap();
    assert_eq!(admin["tenant_id"], existing.tenant.to_string());
    assert_eq!(admin["client_id"], existing.administrator.to_string());
    let application = snapshot.application(existing.tenant, existing.administrator).unwrap();
    let secret = SecretString::from(admin["client_secret"].as_str().unwrap());
    assert_eq!(server.directory.is_secret_of(application, &secret), Ok(true));
    server.store.clone().close().await;
    assert_eq!(mode(&operator.path("admin.json")), 0o600);
    let left: Vec<_> = std::fs::read_dir(&operator.dir).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("pending")), "{left:?}");
}

/// Killed at moments over the whole of its run, and once more after each: the same command repairs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_is_killed_is_repaired_by_running_it_again() {
    let sandbox = Sandbox::new().await;
    let whole = Operator::new(&sandbox);
    let began = Instant::now();
    whole.init().await.ok();
    let whole = began.elapsed();
    let mut unfinished = 0;
    for step in 0..16 {
        let operator = Operator::new(&sandbox);
        let mut child = operator.init_command().stdout(Stdio::null()).spawn().unwrap();
        sleep(whole * step / 15).await;
        let _ = child.start_kill();
        child.wait().await.unwrap();
        unfinished += usize::from(!operator.path("admin.json").exists());
        operator.init().await.ok();
        has_a_working_secret(&operator).await;
    }
    assert!(unfinished >= 4, "only {unfinished} were killed before they had finished");
}

/// The moment that no delay hits for certain: everything is made, and the credential has not its name yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_was_kept_before_the_kill_gets_its_name() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let (file, pending) = (operator.path("admin.json"), operator.path(".admin.json.pending"));
    std::fs::rename(&file, &pending).unwrap();
    let said = operator.init().await.ok();
    assert!(said.contains("did not finish"), "{said}");
    has_a_working_secret(&operator).await;
    // One of a run that was killed before it made anything is worth nothing, and is not taken for one that is.
    let mut stale = operator.admin();
    stale["client_secret"] = "stale".into();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&pending, stale.to_string()).unwrap();
    let said = operator.init().await.ok();
    assert!(said.contains("admin.json was not written") && !file.exists() && !pending.exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_inits_one_makes_it_and_the_other_says_so() {
    let sandbox = Sandbox::new().await;
    for _ in 0..3 {
        let operator = Operator::new(&sandbox);
        let (one, two) = tokio::join!(operator.init(), operator.init());
        let said = [one.ok(), two.ok()];
        let made = said.iter().filter(|said| said.starts_with("made the tenant")).count();
        let there = said.iter().filter(|said| said.contains("Nothing was changed")).count();
        assert_eq!((made, there), (1, 1), "{said:?}");
        has_a_working_secret(&operator).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_credential_is_replaced_and_the_one_before_it_ends() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let renew = async || {
        let mut command = operator.init_command();
        command.arg("--new-secret");
        ended(command).await
    };
    let refused = renew().await;
    assert!(refused.code == Some(73) && refused.err.contains("there is such a file"), "{refused:?}");
    let first = operator.admin();
    std::fs::remove_file(operator.path("admin.json")).unwrap();
    // At rest, and beside a running server.
    assert!(renew().await.ok().contains("has a new secret"));
    has_a_working_secret(&operator).await;
    let second = operator.admin();
    let server = operator.start().await;
    server.admin_token(&first, VAULT).await.expect(401);
    server.admin_token(&second, VAULT).await.expect(200);
    std::fs::remove_file(operator.path("admin.json")).unwrap();
    renew().await.ok();
    let third = operator.admin();
    server.admin_token(&third, VAULT).await.expect(200);
    server.admin_token(&second, VAULT).await.expect(401);
    for member in ["tenant_id", "subscription_id", "resource_group", "client_id", "object_id", "vault"] {
        assert_eq!(third[member], first[member], "{member}");
    }
    server.stop().await;
}

async fn peers_certificate_is_of(wire: &Wire, server: &Running<'_>) -> bool {
    wire.send("GET", &format!("{}/healthz", server.authority), &[], None).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let server = operator.start().await;
    let first = server.wire.clone();
    let failures = async || server.metric("denizen_tls_reload_failures_total").await.unwrap();
    let now = Clock::system().now().0;
    assert!(peers_certificate_is_of(&first, &server).await);
    let expiry = server.metric("denizen_tls_certificate_expiry_seconds").await.unwrap();

    // A key that is another's, told by SIGHUP; then an expired pair and half a file, seen by themselves.
    let (chain, _) = write_certificate(&operator.dir, "unused.pem", now);
    std::fs::write(operator.path("tls.crt"), &chain).unwrap();
    server.signal(Signal::HUP);
    until("the mismatch is counted", async || failures().await >= 1.0).await;
    operator.certify("unused.pem", now - 100 * 86_400);
    let counted = failures().await;
    until("the expired one is counted", async || failures().await > counted).await;
    std::fs::write(operator.path("tls.crt"), &chain[..chain.len() / 2]).unwrap();
    let counted = failures().await;
    until("half a file is counted", async || failures().await > counted).await;
    assert!(peers_certificate_is_of(&first, &server).await, "the first is kept");
    assert_eq!(server.metric("denizen_tls_certificate_expiry_seconds").await, Some(expiry));
    let log = server.stderr();
    for why in ["does not belong to the certificate", "expired at", "not PEM, or damaged"] {
        assert!(log.contains(why) && log.contains("the one before it is kept"), "{why}: {log}");
    }
    assert!(!log.contains("PRIVATE KEY"));

    // A good one, seen by itself; connections that are open stay.
    operator.certify("second.pem", now + 60);
    std::fs::remove_file(operator.path("tls.crt")).unwrap();
    operator.certify("second.pem", now);
    let second = Wire::trusting(&operator.path("second.pem"));
    until("the second is shown", async || peers_certificate_is_of(&second, &server).await).await;
    let strangers = Wire::trusting(&operator.path("ca.pem"));
    assert!(!peers_certificate_is_of(&strangers, &server).await, "the first is not shown any more");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_drains_first() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::with(&sandbox, &CONFIG.replace("drain_seconds = 0", "drain_seconds = 3"));
    operator.init().await.ok();
    let server = operator.start().await;
    let ready = format!("{}/readyz", server.authority);
    assert_eq!(server.wire.get(&ready, &[]).await.expect(200).text("/status"), "ready");
    assert_eq!(
        server.wire.get(&format!("{}/readyz", server.metrics_url), &[]).await.expect(200).text("/status"),
        "ready"
    );
    let began = Instant::now();
    server.signal(Signal::TERM);
    until("it says that it drains", async || server.wire.get(&ready, &[]).await.status == 503).await;
    let answer = server.wire.get(&ready, &[]).await.expect(503);
    assert_eq!(answer.text("/status"), "draining");
    let draining = &answer.json()["checks"][0];
    assert_eq!((&draining["check"], &draining["ok"]), (&"not draining".into(), &false.into()), "{answer:?}");
    // It serves all the same.
    server.admin_token(&operator.admin(), VAULT).await.expect(200);
    assert!(server.ready_file().exists());
    let log = server.ended().await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");

    // Told twice, it does not wait.
    let server = operator.start().await;
    let began = Instant::now();
    server.signal(Signal::TERM);
    until("it drains", async || server.wire.get(&ready_of(&server), &[]).await.status == 503).await;
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

fn ready_of(server: &Running<'_>) -> String {
    format!("{}/readyz", server.authority)
}

/// Opens three sockets, gives them to the server as a service manager does, in another order than it names them by
/// default, and becomes it.
const ACTIVATE: &str = r#"
import os, socket, sys
listeners = []
for name in ["metrics", "vault", "control"]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listeners.append(listener)
# Three that are surely none of 3, 4 and 5 first, so that none is overwritten.
high = [os.dup2(listener.fileno(), 100 + at) for at, listener in enumerate(listeners)]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at, inheritable=True)
print(" ".join(str(listener.getsockname()[1]) for listener in listeners), flush=True)
os.environ.update(LISTEN_FDS="3", LISTEN_FDNAMES=sys.argv[1], LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_taken_and_the_service_manager_is_told() {
    let sandbox = Sandbox::new().await;
    // Nothing is bound by the configuration: these addresses are nobody's.
    let config = CONFIG.replace("127.0.0.1:0", "127.0.0.1:1").replace("metrics_listen = \"127.0.0.1:1\"", "");
    let operator = Operator::with(&sandbox, &config);
    operator.init().await.ok();
    let manager = operator.path("notify");
    let socket = UnixDatagram::bind(&manager).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let heard = || {
        let mut text = [0; 256];
        let length = loop {
            match socket.recv(&mut text) {
                // A child that ends interrupts it.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                heard => break heard.expect("the manager is told nothing"),
            }
        };
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let activate = |names: &str| {
        let mut command = sandbox.command(User::Ours, "python3");
        command.args(["-c", ACTIVATE, names]).arg(sandbox.program_path("denizen")).arg("server");
        command.arg("--config").arg(operator.path("denizen.toml"));
        command.env("NOTIFY_SOCKET", &manager).env("WATCHDOG_USEC", "2000000").stdout(Stdio::piped());
        command
    };
    let server = operator.start_as(activate("metrics:vault:control")).await;
    let mut told = vec![heard()];
    while !told.iter().any(|text| text.contains("READY=1")) {
        told.push(heard());
    }
    assert_eq!(server.wire.get(&ready_of(&server), &[]).await.expect(200).text("/status"), "ready");
    server.admin_token(&operator.admin(), VAULT).await.expect(200);
    assert_eq!(server.metric("denizen_build_info{version=\"0.1.0\"}").await, Some(1.0));
    assert!(std::iter::repeat_with(heard).take(5).any(|text| text.contains("WATCHDOG=1")));
    server.signal(Signal::TERM);
    assert!(std::iter::repeat_with(heard).take(5).any(|text| text.contains("STOPPING=1")));
    server.ended().await;

    // A name that is none of ours, and metrics that everybody reaches.
    let mut command = activate("metrics:vault:portal");
    command.stderr(Stdio::piped());
    let refused = ended(command).await;
    assert!(refused.code == Some(78) && refused.err.contains("control, vault and metrics"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_are_objects_that_carry_the_ids_of_their_request() {
    let sandbox = Sandbox::new().await;
    let operator =
        Operator::with(&sandbox, &format!("{CONFIG}\n[log]\nformat = \"json\"\nlevel = \"info,access=debug\"\n"));
    operator.init().await.ok();
    let server = operator.start().await;
    let theirs = "5b8a3c5e-9d1f-4c57-8b2b-3f6d1f2c7a10";
    let url = format!("{}/{}/oauth2/v2.0/token", server.authority, operator.admin()["tenant_id"].as_str().unwrap());
    let headers = [("client-request-id", theirs), ("Content-Type", "application/x-www-form-urlencoded")];
    let answer = server.wire.send("POST", &url, &headers, Some("grant_type=client_credentials")).await.unwrap();
    let ours = answer.header("x-ms-request-id").unwrap().to_owned();
    let log = server.stop().await;
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let line = lines.iter().find(|line| line["target"] == "access" && line["span"]["request_id"] == ours.as_str());
    let line = line.unwrap_or_else(|| panic!("{ours}: {log}"));
    assert_eq!(line["span"]["correlation_id"], theirs, "{line}");
    assert_eq!((&line["status"], &line["route"]), (&400.into(), &"/{tenant}/oauth2/v2.0/token".into()), "{line}");
}

/// Keeps a half-open request in the way of nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_administrators_socket_is_closed_to_others_and_outlives_silence() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let server = operator.start().await;
    let socket = operator.path("data/admin.sock");
    assert_eq!((mode(&socket), mode(&operator.path("data"))), (0o600, 0o700));
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        stream.write_all(b"POST /admin/v1/join-tokens HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    operator.run(&["join-token", "create", "--resource-group", "servers"]).await.ok();
    drop(silent);
    if denizen_skip::is_root() {
        let as_nobody = async || {
            let mut command = sandbox.denizen(User::Nobody);
            command.args(["join-token", "create", "--resource-group", "servers", "--config"]);
            command.arg(operator.path("denizen.toml"));
            ended(command).await
        };
        let refused = as_nobody().await;
        assert!(refused.code == Some(77) && refused.err.contains("run this as the user"), "{refused:?}");
        // Were directory and socket open to all, the kernel would still say who it is.
        let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        open(&operator.path("data"), 0o711);
        open(&socket, 0o666);
        let refused = as_nobody().await;
        assert!(refused.code == Some(77) && refused.err.contains("only the user that runs this server"), "{refused:?}");
        assert!(refused.out.is_empty(), "{refused:?}");
        open(&operator.path("data"), 0o700);
    }
    server.stop().await;
}
