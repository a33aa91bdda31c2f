//! The agent as a process of its own, as a server outside Azure has it: enrolled with a join token, its programs
//! members of a group.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use denizen_keys::SecretString;
use denizen_wire::ResourceId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::timeout,
};

use crate::{
    dev::{Dev, Launch},
    jwt,
    offline::Offline,
    sandbox::{Sandbox, TIMEOUT, User, ended},
    wire::encoded,
};

/// What the documentation tells a shell script to do, to the letter.
const RECIPE: &str = r#"
    set -e
    challenge=$(curl -s -D - -o /dev/null -H Metadata:true "$1")
    path=$(printf '%s' "$challenge" | grep Www-Authenticate | cut -d '=' -f 2 | tr -d '[:cntrl:]')
    key=$(cat "$path")
    curl -s -H Metadata:true -H "Authorization: Basic $key" "$1"
"#;

/// A running agent, and the addresses it printed.
struct Agent {
    child: Child,
    log: PathBuf,
    arc: String,
    imds: String,
    app_service: String,
}

impl Agent {
    async fn start(sandbox: &Sandbox, words: &[&str]) -> Self {
        let mut command = sandbox.program(User::Ours, "denizen-agent");
        let log = sandbox.path("agent-log");
        command.args(words).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut arc, mut imds, mut app_service) = (None, None, None);
        while imds.is_none() {
            let line = timeout(TIMEOUT, lines.next_line()).await.expect("the agent says nothing").unwrap();
            let line = line.expect("the agent ended");
            let url = line.split_whitespace().last().unwrap().to_owned();
            match line.split("  ").next().unwrap() {
                "arc" if url.contains("127.0.0.1") => arc = Some(url),
                "app service" if url.contains("127.0.0.1") => app_service = Some(url),
                "imds" => imds = Some(url),
                _ => {}
            }
        }
        Self { child, log, arc: arc.unwrap(), imds: imds.unwrap(), app_service: app_service.unwrap() }
    }

    /// SIGTERM, and a clean end; what it logged.
    async fn stop(mut self) -> String {
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), Signal::TERM).unwrap();
        let status = timeout(TIMEOUT, self.child.wait()).await.expect("the agent does not stop").unwrap();
        assert!(status.success(), "{status}");
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// `ADDR:PORT` of a URL of the server's.
fn address(url: &str) -> String {
    format!("127.0.0.1:{}", url.rsplit(':').next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_joins_and_its_group_reads_a_secret_with_no_secret_stored() {
    let Some(sandbox) = Sandbox::prepared("").await else { return };
    let group = "daemon";

    // An operator makes a join token.
    let first = Dev::start(&sandbox).await;
    let (data, authority) = (first.data.clone(), first.fact("/authority").to_owned());
    let ports = (address(&authority), address(first.fact("/vault_url")));
    let resource_group = format!("/subscriptions/{}/resourceGroups/dev", first.fact("/subscription_id"));
    let resource_group: ResourceId = resource_group.parse().unwrap();
    first.stop().await;
    let operator = Offline::open(&data, &authority).await;
    let machines = &operator.server.machines;
    let token =
        machines.create_join_token(&operator.authorization(), &resource_group, Some("web-1"), 600).await.unwrap();
    operator.close().await;
    let dev =
        Launch::new(&sandbox, User::Ours).flag("--listen", &ports.0).flag("--vault-listen", &ports.1).start().await;

    // The server joins, once.
    let (state, ca) = (sandbox.path("agent-state"), dev.data.join("ca.pem"));
    let write = |name: &str, secret: &SecretString| {
        let path = sandbox.path(name);
        std::fs::write(&path, format!("{}\n", secret.expose())).unwrap();
        path
    };
    let token_file = write("join-token", &token);
    let connect = async |name: &str| {
        let mut command = sandbox.program(User::Ours, "denizen-agent");
        command.args(["connect", "--name", name, "--server", &authority]);
        command.arg("--ca-file").arg(&ca).arg("--join-token-file").arg(&token_file).arg("--state-dir").arg(&state);
        ended(command).await
    };
    let joined = connect("web-1").await;
    assert!(!joined.err.contains(token.expose()), "the join token is in the log");
    let joined = joined.ok();
    let said = |key: &str| {
        let line = joined.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{joined}"));
        line.trim().to_owned()
    };
    let (client_id, object_id) = (said("client id"), said("object id"));
    assert!(said("machine").ends_with("/machines/web-1"), "{joined}");
    // Asked again, it is who it is; it does not become somebody else.
    assert_eq!(connect("web-1").await.ok(), joined);
    let another = connect("web-2").await;
    assert_eq!(another.code, Some(78), "{another:?}");
    assert!(another.err.contains("'web-1' already"), "{}", another.err);
    let mut show = sandbox.program(User::Ours, "denizen-agent");
    show.arg("show").arg("--state-dir").arg(&state);
    assert_eq!(ended(show).await.ok(), joined);

    // An operator gives it a role.
    dev.stop().await;
    let operator = Offline::open(&data, &authority).await;
    let vault = operator.server.store.snapshot().vault("dev").unwrap().id.clone();
    let principal = object_id.parse().unwrap();
    operator.server.rbac.assign(&operator.authorization(), principal, "Key Vault Secrets User", &vault).await.unwrap();
    operator.close().await;
    let dev =
        Launch::new(&sandbox, User::Ours).flag("--listen", &ports.0).flag("--vault-listen", &ports.1).start().await;

    let header_file = write("app-service-header", &SecretString::from("a-header-for-one-workload"));
    let keys = Path::new("/var/opt/denizen-agent/tokens");
    let words = [
        &["run", "--listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0", "--group", group][..],
        &["--state-dir", state.to_str().unwrap(), "--ca-file", ca.to_str().unwrap()],
        &["--app-service-header-file", header_file.to_str().unwrap(), "--key-dir", keys.to_str().unwrap()],
    ]
    .concat();
    let agent = Agent::start(&sandbox, &words).await;

    let query = |version: &str| format!("api-version={version}&resource={}", encoded("https://vault.azure.net"));
    let arc = format!("{}?{}", agent.arc, query("2020-06-01"));
    let imds = format!("{}?{}", agent.imds, query("2018-02-01"));
    let recipe = async |user: User| {
        let mut sh = sandbox.command(user, "sh");
        sh.args(["-c", RECIPE, "sh", &arc]);
        ended(sh).await
    };
    let curl = async |user: User, words: &[&str]| {
        let mut curl = sandbox.command(user, "curl");
        curl.args(["-s", "-H", "Metadata: true"]).args(words);
        serde_json::from_str::<Value>(&ended(curl).await.ok()).unwrap()
    };
    // A program in the group, by the documented recipe.
    let answer: Value = serde_json::from_str(&recipe(User::Daemon).await.ok()).unwrap();
    assert_eq!(answer["client_id"], client_id);
    let token = answer["access_token"].as_str().unwrap().to_owned();
    assert_eq!(jwt::claims(&token)["oid"], object_id);
    let hello = dev.vault("GET", "/secrets/hello/?api-version=7.6", Some(&token), None).await.expect(200);
    assert_eq!(hello.text("/value"), dev.fact("/secret/value"));
    // It may read, and that is all it may.
    let body = Some(r#"{"value":"x"}"#);
    dev.vault("PUT", "/secrets/hello?api-version=7.6", Some(&token), body).await.expect(403);
    // IMDS and App Service give the same token.
    assert_eq!(curl(User::Daemon, &[&imds]).await["access_token"], token);
    let header = "X-IDENTITY-HEADER: a-header-for-one-workload";
    let app_service = format!("{}?{}", agent.app_service, query("2019-08-01"));
    assert_eq!(curl(User::Daemon, &["-H", header, &app_service]).await["access_token"], token);

    // A program outside the group is told so on every one of them.
    let stranger = recipe(User::Stranger).await;
    assert_ne!(stranger.code, Some(0), "{stranger:?}");
    assert!(stranger.err.contains("Permission denied"), "{stranger:?}");
    let refused = curl(User::Stranger, &[&imds]).await;
    let why = refused["error_description"].as_str().unwrap();
    assert!(why.contains(&format!("'{group}'")), "{why}");
    assert_eq!(refused.get("access_token"), None);

    // With the server gone, what is cached is served on.
    dev.kill().await;
    let answer: Value = serde_json::from_str(&recipe(User::Daemon).await.ok()).unwrap();
    assert_eq!(answer["access_token"], token);
    let elsewhere = arc.replace("vault.azure.net", "management.azure.com");
    let challenge = curl(User::Ours, &[&elsewhere]).await;
    assert_eq!(challenge["error"], "unauthorized_client", "a challenge needs no server");
    let log = agent.stop().await;
    // Who got a token for what, and who did not, is on record; the token is not, nor what was shown for it.
    assert!(log.contains("token issued") && log.contains("uid 1,") && log.contains("token refused"), "{log}");
    assert!(!log.contains("eyJ") && !log.contains("a-header-for-one-workload"), "{log}");
    let keys = sandbox.inside(keys);
    assert_eq!(std::fs::read_dir(keys).unwrap().count(), 0, "open challenges end with the agent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_nobody_yet_says_how_to_become_somebody() {
    let sandbox = Sandbox::new().await;
    let run = async |words: &[&str]| {
        let mut command = sandbox.program(User::Ours, "denizen-agent");
        command.args(words).arg("--state-dir").arg(sandbox.path("none"));
        ended(command).await
    };
    let bare = run(&["run", "--listen", "127.0.0.1:0", "--no-arc"]).await;
    assert_eq!(bare.code, Some(78), "{bare:?}");
    assert!(bare.err.contains("connect"), "{}", bare.err);
    let bare = run(&["show"]).await;
    assert_eq!(bare.code, Some(78), "{bare:?}");
    let token = sandbox.path("token");
    std::fs::write(&token, "dzj.x.y\n").unwrap();
    let token = token.to_str().unwrap();
    // D-7: there is no way to enrol where nobody vouches for the server.
    let plain = run(&["connect", "--server", "http://127.0.0.1:1", "--name", "m", "--join-token-file", token]).await;
    assert_ne!(plain.code, Some(0), "{plain:?}");
    assert!(plain.err.contains("https"), "{}", plain.err);
    let dev = Dev::start(&sandbox).await;
    let server = dev.fact("/authority");
    let untrusted = run(&["connect", "--server", server, "--name", "m", "--join-token-file", token]).await;
    assert_eq!(untrusted.code, Some(69), "{untrusted:?}");
    assert!(!untrusted.err.contains("dzj.x.y"), "{}", untrusted.err);
    let ca = dev.fact("/ca_file");
    let words = ["connect", "--server", server, "--name", "m", "--join-token-file", token, "--ca-file", ca];
    let refused = run(&words).await;
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(refused.err.contains("join token"), "{}", refused.err);
    assert!(!refused.err.contains("dzj.x.y"), "{}", refused.err);
}
