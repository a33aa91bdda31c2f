//! `denizen token` and `denizen secret`, under the env file's environment, on both dialects.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::{
    dev::{Dev, Launch},
    jwt,
    sandbox::{Sandbox, User, ended, root},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_secrets_through_either_dialect() {
    for user in [User::Ours, User::Nobody] {
        let sandbox = Sandbox::new().await;
        let arc = user == User::Ours && sandbox.has_mounts();
        let dev = Launch::new(&sandbox, user).start().await;
        let run = async |words: &[&str]| ended(dev.denizen(words).await).await;

        let token = run(&["token", "get", "--resource", "https://management.azure.com/"]).await.ok();
        let claims = jwt::claims(&token);
        assert_eq!(claims["aud"], "https://management.azure.com/", "the slash is the caller's");
        assert_eq!(claims["oid"], dev.fact("/machine/principal_id"));
        assert_eq!(claims["appid"], dev.fact("/machine/client_id"));
        // Entra writes a part of it in lower case; ids are compared without regard to it.
        let machine = claims["xms_mirid"].as_str().unwrap();
        assert!(machine.eq_ignore_ascii_case(dev.fact("/machine/resource_id")), "{machine}");
        assert_eq!(claims["appidacr"], "2", "the node key proved it, no password");
        let json = run(&["token", "get", "-o", "json"]).await.ok();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["source"], if arc { "Azure Arc" } else { "App Service" });
        assert_eq!(json["resource"], "https://vault.azure.net");
        let own = run(&["token", "get", "--client-id", dev.fact("/machine/client_id")]).await.ok();
        assert_eq!(jwt::claims(&own)["oid"], dev.fact("/machine/principal_id"));

        let id = run(&["secret", "set", "greeting", "--value", "grüß dich", "--content-type", "text/plain"]).await.ok();
        assert!(id.contains("/secrets/greeting/"), "{id}");
        assert_eq!(run(&["secret", "get", "greeting"]).await.ok(), "grüß dich");
        // A pipe gets the value and nothing more; a terminal, or who asks for it, a line feed.
        let raw = async |words: &[&str]| run(words).await.out;
        assert_eq!(raw(&["secret", "get", "greeting"]).await, "grüß dich");
        assert_eq!(raw(&["secret", "get", "greeting", "--newline"]).await, "grüß dich\n");
        // From standard input, less the one newline that echo adds.
        let mut command = dev.denizen(&["secret", "set", "greeting"]).await;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"line\n\n").await.unwrap();
        assert!(child.wait_with_output().await.unwrap().status.success());
        assert_eq!(run(&["secret", "get", "greeting", "--json"]).await.ok().matches(r#""value":"line\n""#).count(), 1);
        let version = id.rsplit('/').next().unwrap();
        assert_eq!(run(&["secret", "get", "greeting", "--version", version]).await.ok(), "grüß dich");
        assert_eq!(run(&["secret", "list"]).await.ok().lines().collect::<Vec<_>>(), ["greeting", "hello"]);

        if arc {
            // Each challenge's key file was there for as long as it was needed.
            let keys = sandbox.inside("/var/opt/azcmagent/tokens".as_ref());
            assert_eq!(std::fs::read_dir(keys).unwrap().count(), 0);
        }
        dev.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_says_why_and_what_mends_it() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let stranger = uuid::Uuid::from_u128(42).to_string();
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["secret", "get", "nosuch"], 65, &["404", "SecretNotFound", "nosuch"]),
        (&["secret", "set", "not_a_name", "--value", "x"], 64, &["not_a_name", "1 to 127 characters"]),
        (&["secret", "get", "hello", "--version", "x?y"], 64, &["--version", "32"]),
        (&["secret", "set", "x", "--value-file", "/nowhere/value"], 65, &["/nowhere/value"]),
        (&["secret", "list", "--vault-url", "localhost:8444"], 64, &["--vault-url", "https://"]),
        (&["token", "get", "--client-id", &stranger], 77, &["400", "Identity not found"]),
        (&["token", "get", "--resource", "https://nobody.example"], 77, &["AADSTS500011"]),
        (&["secret", "list", "--vault-url", "https://localhost:1"], 69, &["https://localhost:1"]),
    ];
    for (words, code, texts) in cases {
        let ended = ended(dev.denizen(words).await).await;
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        for text in texts {
            assert!(ended.err.contains(text), "{words:?}: {}", ended.err);
        }
        assert!(ended.out.is_empty(), "{ended:?}");
    }
    // Without the environment there is no vault; with another CA there is no TLS.
    let mut bare = sandbox.denizen(User::Ours);
    bare.args(["secret", "list"]);
    let bare = ended(bare).await;
    assert_eq!(bare.code, Some(64), "{bare:?}");
    assert!(bare.err.contains("DENIZEN_VAULT_URL"), "{}", bare.err);
    let mut other_ca = dev.denizen(&["secret", "list"]).await;
    other_ca.env_remove("SSL_CERT_FILE");
    let other_ca = ended(other_ca).await;
    assert_eq!(other_ca.code, Some(69), "{other_ca:?}");
    assert!(other_ca.err.contains("SSL_CERT_FILE"), "{}", other_ca.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_in_the_group_cannot_read_the_key() {
    let sandbox = Sandbox::new().await;
    if !sandbox.has_mounts() {
        return;
    }
    assert!(root());
    let dev = Dev::start(&sandbox).await;
    let environment = dev.environment(&[]).await;
    let mut command = sandbox.denizen(User::Nobody);
    // The CA lies in a directory closed to others, as it should: it is not what this test is about.
    let environment = environment.into_iter().filter(|(name, _)| name != "SSL_CERT_FILE");
    command.envs(environment).args(["token", "get"]);
    let refused = ended(command).await;
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(refused.err.contains("cannot be read") && refused.err.contains("group"), "{}", refused.err);
    assert!(refused.out.is_empty());
}
