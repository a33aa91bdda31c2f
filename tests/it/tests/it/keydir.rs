//! Arc or App Service: which one programs are pointed at, and why.
//!
//! Every Azure SDK reads the Arc challenge's key from one directory only. Where that directory cannot be had safely,
//! or is Microsoft's own agent's, the App Service endpoint is offered instead and the reason is printed.

use std::{os::unix::fs::MetadataExt, path::Path};

use serde_json::Value;

use crate::{
    dev::{Dev, Launch},
    jwt,
    sandbox::{NOBODY, Sandbox, User, ended},
    start::below,
};

const KEYS: &str = "/var/opt/azcmagent/tokens";

/// Mode, owner and contents of everything there, so that a change can be seen.
fn picture(sandbox: &Sandbox) -> Vec<(String, u32, u32)> {
    let root = sandbox.inside(Path::new("/var/opt"));
    let describe = |path: &Path| {
        let meta = path.symlink_metadata().unwrap();
        (path.strip_prefix(&root).unwrap().display().to_string(), meta.mode(), meta.uid())
    };
    let mut all: Vec<_> = below(&root).iter().map(|path| describe(path)).collect();
    all.sort();
    all
}

/// With the mounts changed by `script`, App Service is offered, the reason names all of `because`, the token path
/// works, and nothing was changed or left where Arc's directory would be.
async fn app_service_because(script: &str, because: &[&str]) {
    let Some(sandbox) = Sandbox::prepared(script).await else { return };
    let before = picture(&sandbox);
    let dev = Dev::start(&sandbox).await;
    assert_eq!(dev.facts.pointer("/agent/arc"), Some(&Value::Null), "{script}");
    let said = dev.stdout();
    let line = said.lines().find(|line| line.contains("App Service, because")).unwrap_or_else(|| panic!("{said}"));
    for text in because {
        assert!(line.contains(text), "{script}: {text:?} is not in {line}");
    }
    let json = ended(dev.denizen(&["token", "get", "-o", "json"]).await).await.ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["source"], "App Service", "{script}");
    assert_eq!(jwt::claims(json["accessToken"].as_str().unwrap())["oid"], dev.fact("/machine/principal_id"));
    // The Arc endpoint is not there at all: a challenge would name a file that is not ours to give.
    let local = dev.fact("/agent/app_service/identity_endpoint").trim_end_matches("/msi/token").to_owned();
    let url = format!("{local}/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://vault.azure.net");
    let answer = dev.wire.get(&url, &[("Metadata", "true")]).await;
    assert!((400..500).contains(&answer.status) && answer.header("www-authenticate").is_none(), "{answer:?}");
    dev.stop().await;
    assert_eq!(picture(&sandbox), before, "{script}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn microsofts_own_agent_keeps_its_directory() {
    let script = "mkdir -p /opt/azcmagent/bin && : > /opt/azcmagent/bin/himds";
    app_service_because(script, &["Azure Connected Machine agent", "/opt/azcmagent/bin/himds"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_a_key_directory_that_is_a_link_is_not_used() {
    let script = format!("mkdir -p /var/opt/azcmagent /var/opt/elsewhere && ln -s /var/opt/elsewhere {KEYS}");
    app_service_because(&script, &[KEYS, "link"]).await;
    let script = "mkdir -p /var/opt/elsewhere/tokens && ln -s elsewhere /var/opt/azcmagent";
    app_service_because(script, &["/var/opt/azcmagent", "link"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_a_key_directory_that_others_can_write_is_not_used() {
    app_service_because(&format!("mkdir -p {KEYS} && chmod 777 {KEYS}"), &[KEYS, "writ"]).await;
    app_service_because(&format!("mkdir -p {KEYS} && chmod 777 /var/opt/azcmagent"), &["/var/opt/azcmagent", "writ"])
        .await;
    app_service_because(&format!("mkdir -p {KEYS} && chown {NOBODY} {KEYS}"), &[KEYS, &NOBODY.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_directory_that_cannot_be_made_is_not_offered() {
    app_service_because("mkdir -p /var/opt/azcmagent && : > /var/opt/azcmagent/tokens", &[KEYS, "director"]).await;
    app_service_because("mount -o remount,ro /var/opt", &["/var/opt", "write"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_privilege_it_says_what_root_would_have_to_do() {
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Nobody).start().await;
    assert_eq!(dev.facts.pointer("/agent/arc"), Some(&Value::Null));
    let said = dev.stdout();
    let line = said.lines().find(|line| line.contains("App Service, because")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("run as root") && line.contains("/var/opt"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_left_in_the_key_directory_is_swept_and_nothing_else() {
    let stale = format!("{KEYS}/{}.key", uuid::Uuid::from_u128(1).hyphenated());
    let script = format!(
        "mkdir -p {KEYS} && : > {stale} && touch -d '1 hour ago' {stale} \
         && : > {KEYS}/note.txt && touch -d '1 hour ago' {KEYS}/note.txt"
    );
    let Some(sandbox) = Sandbox::prepared(&script).await else { return };
    let dev = Dev::start(&sandbox).await;
    assert!(dev.facts.pointer("/agent/arc").is_some_and(Value::is_object), "{}", dev.stdout());
    assert!(!sandbox.inside(Path::new(&stale)).exists());
    assert!(sandbox.inside(&Path::new(KEYS).join("note.txt")).exists());
    let mode = sandbox.inside(Path::new(KEYS)).metadata().unwrap().mode();
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}
