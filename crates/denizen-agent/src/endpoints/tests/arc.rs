use std::{os::unix::fs::MetadataExt as _, process::Stdio};

use super::*;
use crate::{
    challenge,
    upstream::{IssuedToken, UpstreamError},
};

/// A whole exchange on one connection.
async fn exchange(sandbox: &Sandbox, target: &str) -> Reply {
    let mut wire = Wire::to(sandbox.local()).await;
    let key = wire.get(target, &[METADATA]).await.key();
    wire.get(target, &[METADATA, ("Authorization", &key)]).await
}

#[tokio::test]
async fn the_first_answer_is_401_and_never_a_token() {
    let sandbox = Sandbox::new().await;
    // Not even when the token is in the cache already.
    for _ in 0..2 {
        let first = sandbox.get(ARC, &[METADATA]).await;
        assert_eq!(first.status(), 401);
        assert!(!first.body.contains("access_token"));
        assert_eq!(exchange(&sandbox, ARC).await.status(), 200);
    }
    assert_eq!(sandbox.upstream.asked(), 1, "the challenge itself asks nothing upstream");
}

#[tokio::test]
async fn the_challenge_is_byte_for_byte_what_every_client_parses() {
    let sandbox = Sandbox::new().await;
    let reply = sandbox.get(ARC, &[METADATA]).await;
    let challenge = reply.header("Www-Authenticate").unwrap();
    assert_eq!(challenge.matches('=').count(), 1, "{challenge}");
    assert!(!challenge.contains(['"', ',']), "{challenge}");
    let path = challenge.strip_prefix("Basic realm=").unwrap();
    assert!(path.starts_with('/'));
    assert_eq!(reply.head.to_lowercase().matches("www-authenticate").count(), 1);
    for name in ["Content-Type", "Content-Length", "Date", "Cache-Control"] {
        assert!(reply.header(name).is_some(), "{name} in title case: {}", reply.head);
    }
}

#[tokio::test]
async fn d14_the_key_file_keeps_the_limits_of_every_client() {
    let sandbox = Sandbox::new().await;
    let path = sandbox.get(ARC, &[METADATA]).await.challenged();
    assert_eq!(path.parent().unwrap(), sandbox.keys);
    assert_eq!(path.extension().unwrap(), "key");
    let stem = path.file_stem().unwrap().to_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(stem).unwrap().to_string(), stem, "lower-case, hyphenated");
    let about = std::fs::symlink_metadata(&path).unwrap();
    assert!(about.is_file() && about.len() <= 4096);
    assert_eq!(about.mode() & 0o7777, 0o440);
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(key.len() >= 43 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{key}");
}

#[tokio::test]
async fn the_challenge_has_a_json_body() {
    let sandbox = Sandbox::new().await;
    let reply = sandbox.get(ARC, &[METADATA]).await;
    assert_eq!(
        reply.body,
        r#"{"error":"unauthorized_client","error_description":"Missing Basic Authorization header","error_codes":[401]}"#
    );
    assert!(reply.header("Content-Type").unwrap().starts_with("application/json"));
}

#[tokio::test]
async fn nothing_carries_retry_after() {
    let sandbox = Sandbox::with(Script::new(|_, _| Err(UpstreamError::Unavailable("down".into()))), None).await;
    for reply in [sandbox.get(ARC, &[METADATA]).await, exchange(&sandbox, ARC).await, sandbox.get(TOKEN, &[]).await] {
        assert!(!reply.head.to_lowercase().contains("retry-after"), "{}", reply.head);
    }
}

#[tokio::test]
async fn the_token_has_every_field_some_client_needs_and_numbers_are_strings() {
    let sandbox = Sandbox::new().await;
    let reply = exchange(&sandbox, ARC).await;
    assert_eq!(reply.status(), 200);
    let expected = format!(
        r#"{{"access_token":"token-1","client_id":"{CLIENT_ID}","object_id":"{OBJECT_ID}","msi_res_id":"{MACHINE}","expires_in":"14400","expires_on":"1800014400","ext_expires_in":"14400","not_before":"1800000000","resource":"https://vault.azure.net","token_type":"Bearer"}}"#
    );
    assert_eq!(reply.body, expected, "and expires_on stands behind expires_in");
    sandbox.clock.advance(100);
    let later = exchange(&sandbox, ARC).await;
    assert_eq!((later.text("expires_in"), later.text("expires_on")), ("14300".into(), "1800014400".into()));
    assert!(reply.header("Cache-Control").unwrap().contains("no-store"));
}

#[tokio::test]
async fn the_four_api_versions_are_taken_and_no_other() {
    let sandbox = Sandbox::new().await;
    for version in ["2019-08-15", "2019-11-01", "2020-06-01", "2021-02-01"] {
        let reply = exchange(&sandbox, &format!("{TOKEN}?api-version={version}&resource=r")).await;
        assert_eq!(reply.status(), 200, "{version}");
    }
    let supported = "The api-version not specified. Supported are 2021-02-01 2020-06-01 2019-11-01 2019-08-15";
    for query in
        ["resource=r", "resource=r&api-version=", "resource=r&api-version=2018-02-01", "api-version=2099-01-01", ""]
    {
        let reply = sandbox.get(&format!("{TOKEN}?{query}"), &[METADATA]).await;
        assert_eq!(reply.error(), (400, "invalid_request".into(), supported.into()), "{query}");
    }
    assert_eq!(sandbox.key_files().len(), 0, "no challenge for what cannot be answered");
}

#[tokio::test]
async fn the_path_is_taken_with_a_trailing_slash_and_a_doubled_leading_one() {
    let sandbox = Sandbox::new().await;
    for path in ["/metadata/identity/oauth2/token/", "//metadata/identity/oauth2/token"] {
        let reply =
            exchange(&sandbox, &format!("{path}?resource=https%3A%2F%2Fvault.azure.net&api-version=2020-06-01")).await;
        assert_eq!((reply.status(), reply.text("resource")), (200, "https://vault.azure.net".into()), "{path}");
    }
}

#[tokio::test]
async fn metadata_is_required_in_any_case_and_its_lack_is_a_quick_400() {
    let sandbox = Sandbox::new().await;
    for header in [("Metadata", "true"), ("metadata", "TRUE"), ("METADATA", "True")] {
        assert_eq!(sandbox.get(ARC, &[header]).await.status(), 401, "{header:?}");
    }
    let cases: [&[(&str, &str)]; 5] = [
        &[],
        &[("Metadata", "false")],
        &[("Metadata", "")],
        &[("Metadata", "true"), ("Metadata", "true")],
        &[("Metadata-Flavor", "true")],
    ];
    for headers in cases {
        for target in [ARC, TOKEN] {
            let reply = sandbox.get(target, headers).await;
            let expected = "Required metadata header not specified";
            assert_eq!(reply.error(), (400, "invalid_request".into(), expected.into()), "{headers:?}");
            assert!(reply.header("Www-Authenticate").is_none());
        }
    }
}

#[tokio::test]
async fn both_loopback_addresses_answer_and_connections_are_kept() {
    let sandbox = Sandbox::new().await;
    let before = sandbox.agent.metrics().connections.total();
    for address in sandbox.agent.local_addrs() {
        let mut wire = Wire::to(*address).await;
        for _ in 0..3 {
            let key = wire.get(ARC, &[METADATA]).await.key();
            assert_eq!(wire.get(ARC, &[METADATA, ("Authorization", &key)]).await.status(), 200, "{address}");
        }
    }
    assert_eq!(sandbox.agent.metrics().connections.total() - before, 2);
    // And a client that closes after each answer gets on as well.
    let close = ("Connection", "close");
    let key = sandbox.get(ARC, &[METADATA, close]).await.key();
    let reply = sandbox.get(ARC, &[METADATA, close, ("Authorization", &key)]).await;
    assert_eq!((reply.status(), reply.header("Connection")), (200, Some("close")));
}

#[tokio::test]
async fn a_get_with_a_content_type_and_lower_case_headers_is_served() {
    let sandbox = Sandbox::new().await;
    let headers = [
        ("metadata", "true"),
        ("content-type", "application/x-www-form-urlencoded;charset=utf-8"),
        ("accept-language", "*"),
        ("sec-fetch-mode", "cors"),
        ("user-agent", "node"),
    ];
    assert_eq!(sandbox.get(ARC, &headers).await.status(), 401, "the fetch of Node.js is no browser");
}

#[tokio::test]
async fn a_key_is_spent_by_its_success_and_its_file_is_gone() {
    let sandbox = Sandbox::new().await;
    let first = sandbox.get(ARC, &[METADATA]).await;
    let (path, key) = (first.challenged(), first.key());
    let authorized = [METADATA, ("Authorization", key.as_str())];
    let token = sandbox.get(ARC, &authorized).await;
    assert_eq!(token.status(), 200);
    assert!(!path.exists());

    // A client whose answer was lost repeats the same bytes at once, and gets the same answer ...
    let again = sandbox.get(ARC, &authorized).await;
    assert_eq!((again.status(), again.body), (200, token.body));
    // ... but nothing else ...
    let other = sandbox.get(&ARC.replace("vault", "storage"), &authorized).await;
    assert_eq!(other.status(), 401);
    assert!(other.text("error_description").contains("used before"), "{}", other.body);
    // ... and not for long.
    sandbox.clock.advance(challenge::GRACE + 1);
    let late = sandbox.get(ARC, &authorized).await;
    assert_eq!(late.status(), 401);
    assert!(late.challenged().exists(), "with a fresh challenge");
    assert!(!late.body.contains("access_token"));
}

#[tokio::test]
async fn wrong_truncated_expired_and_malformed_keys_are_refused() {
    let sandbox = Sandbox::new().await;
    let first = sandbox.get(ARC, &[METADATA]).await;
    let key = first.key();
    let truncated = key[..key.len() - 1].to_owned();
    let longer = format!("{key}x");
    let encoded = "Basic dXNlcjpwYXNz".to_owned();
    let bare = key["Basic ".len()..].to_owned();
    let bearer = key.replace("Basic", "Bearer");
    for wrong in [
        truncated,
        longer,
        encoded,
        bare,
        bearer,
        "Basic ".into(),
        "Basic".into(),
        format!("Basic {}", "a".repeat(4097)),
    ] {
        let reply = sandbox.get(ARC, &[METADATA, ("Authorization", &wrong)]).await;
        assert_eq!((reply.status(), reply.text("error")), (401, "unauthorized_client".into()), "{wrong}");
        assert_ne!(reply.challenged(), first.challenged(), "a fresh challenge");
    }
    let twice = sandbox.get(ARC, &[METADATA, ("Authorization", &key), ("Authorization", &key)]).await;
    assert_eq!(twice.status(), 400);
    sandbox.clock.advance(challenge::LIFETIME);
    let late = sandbox.get(ARC, &[METADATA, ("Authorization", &key)]).await;
    assert_eq!(late.status(), 401);
    assert!(!first.challenged().exists(), "an expired key's file is removed");
    assert_eq!(sandbox.upstream.asked(), 0);
}

#[tokio::test]
async fn a_key_made_for_another_user_is_refused() {
    if !denizen_skip::is_root() {
        return; // becoming another user needs root
    }
    let sandbox = Sandbox::new().await;
    let port = sandbox.local().port();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET {ARC} HTTP/1.1\\r\\nHost: localhost\\r\\nMetadata: true\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
    );
    let output = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", &script])
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    let (head, body) = std::str::from_utf8(&output.stdout).unwrap().split_once("\r\n\r\n").unwrap();
    let theirs = Reply { head: format!("{head}\r\n"), body: body.to_owned() };
    let reply = sandbox.get(ARC, &[METADATA, ("Authorization", &theirs.key())]).await;
    assert_eq!(reply.status(), 401);
    assert!(reply.text("error_description").contains("another caller"), "{}", reply.body);
    assert!(theirs.challenged().exists(), "it is still theirs to use");
}

#[tokio::test]
async fn a_key_outlives_an_upstream_that_failed() {
    let mut failures = 2;
    let script = Script::new(move |_, _| {
        failures -= 1;
        if failures >= 0 {
            Err(UpstreamError::Unavailable("down".into()))
        } else {
            Ok(IssuedToken { access_token: "t".into(), expires_in: 60 })
        }
    });
    let sandbox = Sandbox::with(script, None).await;
    let key = sandbox.get(ARC, &[METADATA]).await.key();
    let authorized = [METADATA, ("Authorization", key.as_str())];
    for _ in 0..2 {
        let reply = sandbox.get(ARC, &authorized).await;
        assert_eq!((reply.status(), reply.text("error")), (503, "temporarily_unavailable".into()));
        sandbox.clock.advance(5);
    }
    assert_eq!(sandbox.get(ARC, &authorized).await.status(), 200);
}

#[tokio::test]
async fn a_refusal_by_upstream_is_a_400_with_its_text_and_is_not_repeated() {
    let script = Script::new(|_, _| {
        Err(UpstreamError::Permanent {
            error: "invalid_resource".into(),
            description: "AADSTS500011: no such resource.".into(),
        })
    });
    let sandbox = Sandbox::with(script, None).await;
    let reply = exchange(&sandbox, ARC).await;
    assert_eq!(reply.error(), (400, "invalid_resource".into(), "AADSTS500011: no such resource.".into()));
}

#[tokio::test]
async fn d15_the_selected_identity_is_echoed_and_no_other_is_ever_given() {
    let sandbox = Sandbox::new().await;
    for selector in [
        format!("client_id={CLIENT_ID}"),
        format!("client_id={}", CLIENT_ID.to_uppercase()),
        format!("object_id={OBJECT_ID}"),
        format!("msi_res_id={MACHINE}"),
        format!("mi_res_id={}", MACHINE.to_lowercase().replace('/', "%2F")),
    ] {
        let reply = exchange(&sandbox, &format!("{ARC}&{selector}")).await;
        assert_eq!(reply.status(), 200, "{selector}: {}", reply.body);
        assert_eq!(
            (reply.text("client_id"), reply.text("object_id"), reply.text("msi_res_id")),
            (CLIENT_ID.into(), OBJECT_ID.into(), MACHINE.into())
        );
    }
    for selector in [
        format!("client_id={OBJECT_ID}"),
        format!("object_id={CLIENT_ID}"),
        format!("msi_res_id={MACHINE}2"),
        "client_id=nobody".into(),
        format!("Client_Id={OBJECT_ID}"),
    ] {
        let reply = exchange(&sandbox, &format!("{ARC}&{selector}")).await;
        assert_eq!(reply.error(), (400, "invalid_request".into(), "Identity not found".into()), "{selector}");
    }
    for selector in [
        format!("client_id={CLIENT_ID}&client_id={CLIENT_ID}"),
        format!("client_id={CLIENT_ID}&object_id={OBJECT_ID}"),
        "client_id=".into(),
    ] {
        let reply = sandbox.get(&format!("{ARC}&{selector}"), &[METADATA]).await;
        assert_eq!((reply.status(), reply.text("error")), (400, "invalid_request".into()), "{selector}");
    }
}

#[tokio::test]
async fn d09_one_user_cannot_fill_the_key_directory() {
    let sandbox = Sandbox::new().await;
    let mut wire = Wire::to(sandbox.local()).await;
    for _ in 0..challenge::MAX_PER_OWNER {
        assert_eq!(wire.get(ARC, &[METADATA]).await.status(), 401);
    }
    // It is never refused one, for clients do not ask again after a 400: its oldest goes.
    assert_eq!(wire.get(ARC, &[METADATA]).await.status(), 401);
    assert_eq!(sandbox.key_files().len(), challenge::MAX_PER_OWNER);
    // A client of the same user that answers gets its token all the while.
    assert_eq!(exchange(&sandbox, ARC).await.text("access_token"), "token-1");
    sandbox.clock.advance(challenge::LIFETIME);
    for _ in 0..2 {
        assert_eq!(wire.get(ARC, &[METADATA]).await.status(), 401);
    }
    assert_eq!(sandbox.key_files().len(), 2, "those nobody answered are gone");
}

#[tokio::test]
async fn d22_without_a_key_directory_to_write_to_nobody_gets_in_until_there_is_one() {
    let sandbox = Sandbox::new().await;
    let of_before = sandbox.get(ARC, &[METADATA]).await.key();
    std::fs::remove_dir_all(&sandbox.keys).unwrap();
    std::fs::write(&sandbox.keys, "").unwrap();
    let reply = sandbox.get(ARC, &[METADATA]).await;
    assert_eq!((reply.status(), reply.text("error")), (503, "temporarily_unavailable".into()));
    assert!(reply.header("Www-Authenticate").is_none());
    // What was read before is still a key.
    assert_eq!(sandbox.get(ARC, &[METADATA, ("Authorization", &of_before)]).await.status(), 200);
    std::fs::remove_file(&sandbox.keys).unwrap();
    assert_eq!(exchange(&sandbox, ARC).await.status(), 200);
}

#[tokio::test]
async fn a_stopped_agent_leaves_no_key_files_and_no_open_port() {
    let sandbox = Sandbox::new().await;
    let (address, keys) = (sandbox.local(), sandbox.keys.clone());
    let mut wire = Wire::to(address).await;
    wire.get(ARC, &[METADATA]).await.challenged();
    let Sandbox { agent, _temp, .. } = sandbox;
    agent.shutdown().await;
    assert_eq!(std::fs::read_dir(keys).unwrap().count(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_hundred_callers_at_once_cost_one_request_upstream() {
    let sandbox = std::sync::Arc::new(Sandbox::new().await);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let sandbox = sandbox.clone();
        callers.spawn(async move {
            let first = exchange(&sandbox, ARC).await;
            let second = exchange(&sandbox, ARC).await;
            (first.text("access_token"), second.text("access_token"))
        });
    }
    for tokens in callers.join_all().await {
        assert_eq!(tokens, ("token-1".into(), "token-1".into()));
    }
    assert_eq!(sandbox.upstream.asked(), 1);
    assert_eq!(sandbox.agent.metrics().tokens.total(), 100);
}
