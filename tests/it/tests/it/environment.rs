//! The environment that `denizen dev` gives: behind a proxy, and for readers that are no shell.

use std::{collections::BTreeMap, path::Path};

use denizen_skip::skip;

use crate::{
    dev::{Dev, Launch},
    sandbox::{Ended, Sandbox, User, ended},
};

/// Nobody listens there: whoever asks it fails.
const PROXY: &str = "http://127.0.0.1:9";
const OURS: [&str; 5] = ["localhost", "127.0.0.1", "::1", "169.254.169.254", ".vault.denizen.test"];

/// `env.list` by the rules of `docker --env-file`: a name, the first `=`, the rest as it is.
fn listed(dev: &Dev<'_>) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(dev.data.join("env.list")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// A program with exactly these variables.
async fn run(sandbox: &Sandbox, program: &str, words: &[&str], variables: &BTreeMap<String, String>) -> Ended {
    let mut command = sandbox.command(User::Ours, program);
    command.args(words).envs(variables);
    ended(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_not_asked_for_this_machine() {
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours)
        .env("https_proxy", PROXY)
        .env("HTTP_PROXY", PROXY)
        .env("no_proxy", "intranet,10.0.0.0/8")
        .start()
        .await;
    let url = format!("{}/secrets/hello/?api-version=7.6", dev.fact("/vault_url"));
    let curl = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", &url];
    let python = format!(
        "import urllib.request, urllib.error\ntry: urllib.request.urlopen('{url}')\nexcept urllib.error.HTTPError as e: print(e.code)"
    );

    // A shell with a proxy of its own, whose exceptions are kept; twice, as people do.
    let shell = dev.environment(&[("HTTPS_PROXY", PROXY), ("all_proxy", PROXY), ("NO_PROXY", "corp.test")]).await;
    let again: Vec<(&str, &str)> = shell.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let again = dev.environment(&again).await;
    assert_eq!(again.get("NO_PROXY"), shell.get("NO_PROXY"));
    assert_eq!(shell["NO_PROXY"], format!("corp.test,{}", OURS.join(",")));
    let both = dev.environment(&[("http_proxy", PROXY), ("NO_PROXY", "a.test"), ("no_proxy", "b.test,::1")]).await;
    assert_eq!(both["NO_PROXY"], "a.test,b.test,::1,localhost,127.0.0.1,169.254.169.254,.vault.denizen.test");
    let all = dev.environment(&[("http_proxy", PROXY), ("no_proxy", "*")]).await;
    assert_eq!(all["NO_PROXY"], "*", "with anything beside it curl takes it for a name");
    assert_eq!(dev.environment(&[]).await.get("NO_PROXY"), None, "there is no proxy");

    // The plain file and `-- CMD` go by the proxy that the server was started with.
    let mut list = listed(&dev);
    assert_eq!(list["no_proxy"], format!("intranet,10.0.0.0/8,{}", OURS.join(",")));
    list.insert("HTTPS_PROXY".into(), PROXY.into());
    for (from, variables) in [("env", &shell), ("env.list", &list)] {
        assert_eq!(variables["no_proxy"], variables["NO_PROXY"], "{from}");
        assert_eq!(run(&sandbox, "curl", &curl, variables).await.out, "401", "{from}");
        if Path::new("/usr/bin/python3").exists() {
            assert_eq!(run(&sandbox, "/usr/bin/python3", &["-c", &python], variables).await.out, "401\n", "{from}");
        }
    }
    // The proxy is asked where nothing says otherwise: this test can fail.
    list.retain(|name, _| !name.eq_ignore_ascii_case("no_proxy"));
    assert_eq!(run(&sandbox, "curl", &curl, &list).await.out, "000");
    dev.stop().await;

    let mut command = Launch::new(&sandbox, User::Ours).env("https_proxy", PROXY).command();
    let script = "curl --silent --output /dev/null --write-out '%{http_code} ' \
                  \"$DENIZEN_VAULT_URL/secrets/hello/?api-version=7.6\"; echo \"$NO_PROXY $no_proxy\"";
    command.args(["--", "sh", "-c", script]);
    let exceptions = OURS.join(",");
    assert_eq!(ended(command).await.ok(), format!("401 {exceptions} {exceptions}"));
    if !Path::new("/usr/bin/python3").exists() {
        skip("there is no /usr/bin/python3 (curl was tried)");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_file_reads_the_same_everywhere() {
    for user in [User::Ours, User::Nobody] {
        let sandbox = Sandbox::new().await;
        // A blank is read alike by all of them.
        let dev = Launch::new(&sandbox, user).data(&sandbox.home(user).join("my data")).start().await;
        let text = std::fs::read_to_string(dev.data.join("env.list")).unwrap();
        for line in text.lines() {
            let plain = line.starts_with('#') || !line.contains(['\'', '"', '\\', '#', '`']);
            assert!(plain && !line.starts_with("export ") && !line.starts_with("unset "), "{line}");
        }
        let listed = listed(&dev);
        let shell = dev.environment(&[]).await;
        for (name, value) in &listed {
            assert_eq!(shell.get(name), Some(value), "{name}");
        }
        let inherited = ["PATH", "PWD", "SHLVL", "_", "OLDPWD"];
        for name in shell.keys().filter(|name| !inherited.contains(&name.as_str())) {
            assert!(listed.contains_key(name), "{name} is in env and not in env.list");
        }
        // What must not be there is not there, rather than empty: its presence alone chooses a source.
        let header = listed.contains_key("IDENTITY_HEADER");
        assert_eq!(header, dev.facts.pointer("/agent/arc") == Some(&serde_json::Value::Null));
        // As it is, a program finds its way with it.
        let denizen = sandbox.program_path("denizen");
        let mut command = sandbox.command(user, &denizen);
        command.args(["secret", "get", "hello"]).envs(&listed);
        assert_eq!(ended(command).await.ok(), dev.fact("/secret/value"));
        dev.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_reads_the_plain_file() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let file = format!("--env-file={}", dev.data.join("env.list").display());
    let empty = BTreeMap::new();
    if run(&sandbox, "sh", &["-c", "node --env-file=/dev/null -e 0"], &empty).await.code != Some(0) {
        return skip("there is no Node.js of 20.6 or later on the system's PATH");
    }
    let script = "console.log(JSON.stringify(process.env))";
    let seen = run(&sandbox, "node", &[&file, "-e", script], &empty).await.ok();
    let seen: BTreeMap<String, String> = serde_json::from_str(&seen).unwrap();
    for (name, value) in listed(&dev) {
        assert_eq!(seen.get(&name), Some(&value), "{name}");
    }
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_readers_read_differently_is_kept_out_of_the_plain_file() {
    let sandbox = Sandbox::new().await;
    let data = sandbox.home(User::Ours).join("data#1");
    let dev = Launch::new(&sandbox, User::Ours).data(&data).start().await;
    assert!(!data.join("env.list").exists());
    assert!(dev.stderr().contains("env.list") && dev.stderr().contains("--data"), "{}", dev.stderr());
    assert_eq!(dev.environment(&[]).await["SSL_CERT_FILE"], data.join("ca-bundle.pem").to_str().unwrap());
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_that_dev_names_may_ask() {
    let Some(sandbox) = Sandbox::prepared("").await else { return };
    let dev = Launch::new(&sandbox, User::Ours).flag("--group", "daemon").start().await;
    let environment = dev.environment(&[]).await;
    let ask = async |user: User| {
        let mut command = sandbox.denizen(user);
        // The CA lies in a directory closed to others; a token needs none.
        command.envs(environment.iter().filter(|(name, _)| *name != "SSL_CERT_FILE"));
        command.args(["token", "get"]);
        ended(command).await
    };
    assert!(ask(User::Daemon).await.ok().starts_with("eyJ"));
    let stranger = ask(User::Stranger).await;
    assert_eq!(stranger.code, Some(77), "{stranger:?}");
    assert!(stranger.err.contains("group"), "{}", stranger.err);
    dev.stop().await;

    let refused = Launch::new(&sandbox, User::Ours).flag("--group", "no-such-group-here").refused().await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.err.contains("--group no-such-group-here") && refused.err.contains("groupadd"), "{}", refused.err);
}
