//! Secrets over the wire: their life, the challenge, and what a value must never touch.

use serde_json::{Value, json};

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User},
    start::below,
};

const API: &str = "api-version=7.6";

/// Every file of the data directory, and the log, searched for some bytes.
fn found_in(dev: &Dev<'_>, needle: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    let files = below(&dev.data).into_iter().filter(|path| path.is_file());
    let mut found: Vec<String> =
        files.filter(|path| holds(&std::fs::read(path).unwrap())).map(|path| path.display().to_string()).collect();
    for (stream, text) in [("stdout", dev.stdout()), ("stderr", dev.stderr())] {
        if holds(text.as_bytes()) {
            found.push(stream.into());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secrets_whole_life() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    let call = async |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        dev.vault(
            method,
            &format!("{path}{}{API}", if path.contains('?') { '&' } else { '?' }),
            Some(&token),
            body.as_deref(),
        )
        .await
    };

    let first = call("PUT", "/secrets/Life", Some(json!({"value": "one", "tags": {"a": "b"}}))).await.expect(200);
    let id = first.text("/id");
    let prefix = format!("{}/secrets/Life/", dev.fact("/vault_url"));
    let version = id.strip_prefix(&prefix).unwrap_or_else(|| panic!("{id}"));
    assert!(version.len() == 32 && version.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
    call("PUT", "/secrets/life", Some(json!({"value": "two"}))).await.expect(200);
    assert_eq!(call("GET", "/secrets/LIFE/", None).await.expect(200).text("/value"), "two", "names have no case");
    assert_eq!(call("GET", &format!("/secrets/life/{version}"), None).await.expect(200).text("/value"), "one");
    let versions = call("GET", "/secrets/life/versions", None).await.expect(200).json();
    assert_eq!(versions["value"].as_array().unwrap().len(), 2);
    assert!(!versions.to_string().contains("one"), "a list shows no values");

    let patch = json!({"attributes": {"enabled": false}, "tags": {}});
    let patched = call("PATCH", &format!("/secrets/life/{version}"), Some(patch)).await.expect(200);
    assert_eq!(patched.json().get("value"), None);
    let disabled = call("GET", &format!("/secrets/life/{version}"), None).await.expect(403);
    assert_eq!(disabled.text("/error/innererror/code"), "SecretDisabled");

    // Two a page: the next page's link is absolute, and good as it is.
    call("PUT", "/secrets/other", Some(json!({"value": "x"}))).await.expect(200);
    let page = call("GET", "/secrets?maxresults=2", None).await.expect(200).json();
    assert_eq!(page["value"].as_array().unwrap().len(), 2);
    let next = page["nextLink"].as_str().unwrap();
    let rest = next.strip_prefix(dev.fact("/vault_url")).unwrap_or_else(|| panic!("{next}"));
    let last = dev.vault("GET", rest, Some(&token), None).await.expect(200).json();
    assert_eq!(last["value"].as_array().unwrap().len(), 1);
    assert!(last["nextLink"].is_null() || last["nextLink"] == "", "{last}");

    let deleted = call("DELETE", "/secrets/life", None).await.expect(200);
    assert_eq!(deleted.text("/recoveryId"), format!("{}/deletedsecrets/Life", dev.fact("/vault_url")));
    let gone = call("GET", "/secrets/life/", None).await.expect(404);
    assert_eq!(gone.text("/error/code"), "SecretNotFound");
    let blocked = call("PUT", "/secrets/life", Some(json!({"value": "three"}))).await.expect(409);
    assert_eq!(blocked.text("/error/innererror/code"), "ObjectIsDeletedButRecoverable");
    call("POST", "/deletedsecrets/life/recover", None).await.expect(200);
    assert_eq!(call("GET", "/secrets/life/", None).await.expect(200).text("/value"), "two");
    call("DELETE", "/secrets/life", None).await.expect(200);
    let purged = call("DELETE", "/deletedsecrets/life", None).await.expect(204);
    assert_eq!(purged.body, "");
    call("GET", "/deletedsecrets/life", None).await.expect(404);
    call("PUT", "/secrets/life", Some(json!({"value": "anew"}))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_challenge_names_where_tokens_come_from_whatever_the_host() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let port = dev.fact("/vault_url").rsplit(':').next().unwrap();
    let authorization = format!("{}/{}", dev.fact("/authority"), dev.fact("/tenant_id"));
    let url = format!("{}/secrets/hello/?{API}", dev.fact("/vault_url"));
    for (host, resource) in [
        (format!("localhost:{port}"), "https://vault.azure.net".to_owned()),
        (format!("127.0.0.1:{port}"), "https://vault.azure.net".to_owned()),
        (format!("dev.vault.denizen.test:{port}"), format!("https://vault.denizen.test:{port}")),
        (format!("DEV.vault.denizen.test:{port}"), format!("https://vault.denizen.test:{port}")),
    ] {
        let challenge = dev.wire.get(&url, &[("Host", &host)]).await.expect(401);
        let expected = format!(r#"Bearer authorization="{authorization}", resource="{resource}""#);
        assert_eq!(challenge.header("www-authenticate"), Some(expected.as_str()), "{host}");
        assert_eq!(challenge.text("/error/code"), "Unauthorized");
        // A token for the resource that was named opens the vault by that name.
        let token = dev.admin_token(&resource).await;
        let bearer = format!("Bearer {token}");
        dev.wire.get(&url, &[("Host", &host), ("Authorization", &bearer)]).await.expect(200);
    }
    // Of another name there is no vault, and no challenge that would send a client for a token.
    for host in
        ["evil.example", "vault.denizen.test", "other.vault.denizen.test", "dev.vault.denizen.test.evil.example"]
    {
        let answer = dev.wire.get(&url, &[("Host", host)]).await;
        assert!((400..500).contains(&answer.status) && answer.status != 401, "{host}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), None, "{host}");
        assert!(answer.json()["error"]["code"].is_string(), "{host}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_a_rule_is_refused_with_the_rule() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    let value = |length: usize| Some(json!({ "value": "x".repeat(length) }).to_string());
    let deep = Some(format!("{{\"value\":\"x\",\"tags\":{}{}}}", "[".repeat(64), "]".repeat(64)));
    let tags: serde_json::Map<String, Value> = (0..16).map(|n| (n.to_string(), "x".into())).collect();
    let cases: [(&str, &str, &str, Option<String>); 12] = [
        ("no api-version", "GET", "/secrets/hello/", None),
        ("an api-version that is none", "GET", "/secrets/hello/?api-version=newest", None),
        ("an api-version twice", "GET", "/secrets/hello/?api-version=7.6&api-version=7.5", None),
        ("a name with an underscore", "PUT", "/secrets/not_allowed?api-version=7.6", value(1)),
        ("a name that is too long", "PUT", &format!("/secrets/{}?{API}", "n".repeat(128)), value(1)),
        ("a value that is too long", "PUT", "/secrets/big?api-version=7.6", value(25 * 1024 + 1)),
        ("a body that is too long", "PUT", "/secrets/big?api-version=7.6", value(70 * 1024)),
        ("no value", "PUT", "/secrets/none?api-version=7.6", Some("{}".into())),
        ("no JSON", "PUT", "/secrets/none?api-version=7.6", Some("value".into())),
        ("cut JSON", "PUT", "/secrets/none?api-version=7.6", Some(r#"{"value":"x"#.into())),
        ("JSON that is too deep", "PUT", "/secrets/none?api-version=7.6", deep),
        (
            "too many tags",
            "PUT",
            "/secrets/none?api-version=7.6",
            Some(json!({"value": "x", "tags": tags}).to_string()),
        ),
    ];
    for (what, method, path, body) in cases {
        let answer = dev.vault(method, path, Some(&token), body.as_deref()).await;
        assert!([400, 413].contains(&answer.status), "{what}: {answer:?}");
        assert_eq!(answer.text("/error/code"), "BadParameter", "{what}");
        assert!(answer.text("/error/message").len() > 20, "{what}: {answer:?}");
    }
    let full = value(25 * 1024);
    dev.vault("PUT", "/secrets/full?api-version=7.6", Some(&token), full.as_deref()).await.expect(200);
    for name in ["big", "none", "not_allowed"] {
        let answer = dev.vault("GET", &format!("/secrets/{name}/?{API}"), Some(&token), None).await;
        assert!([400, 404].contains(&answer.status), "{name}: {answer:?}");
    }
}

/// JavaScript's client sends the body with its first request when several run at once, before it has a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_d24_a_value_from_a_caller_without_a_token_is_discarded_unread() {
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours).log("trace").start().await;
    let canary = "canary-that-nobody-may-keep-7f3a";
    let body = json!({ "value": canary }).to_string();
    // Whatever else is wrong with the request is not looked at either: it is 401 and not 400.
    let long = json!({ "value": canary.repeat(8192) }).to_string();
    let many = |path: &'static str| {
        [(path, body.as_str()), (path, "no JSON: canary-that-nobody-may-keep-7f3a"), (path, &long)]
    };
    for (path, body) in
        [many("/secrets/canary?api-version=7.6"), many("/secrets/canary"), many("/secrets/not_a_name")].concat()
    {
        for token in [None, Some("not.a.token"), Some("")] {
            let answer = dev.vault("PUT", path, token, Some(body)).await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer authorization="));
            assert!(!answer.body.contains(canary), "it says the value back: {answer:?}");
        }
    }
    let token = dev.admin_token("https://vault.azure.net").await;
    dev.vault("GET", "/secrets/canary/?api-version=7.6", Some(&token), None).await.expect(404);
    assert_eq!(found_in(&dev, canary), [""; 0]);
}

/// Most clients read the answer when they have sent their request. One that is too long is answered all the same, and
/// the next request of that client does not run into a connection that the first one ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_long_is_answered_and_harms_nobody_after_it() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let long = "x".repeat(300 * 1024);
    let token = dev.admin_token("https://vault.azure.net").await;
    let bearer = format!("Bearer {token}");
    let vault = format!("{}/secrets/long?{API}", dev.fact("/vault_url"));
    let enrolment = format!("{}/node/v1/enrol", dev.fact("/authority"));
    for _ in 0..5 {
        for (method, url, headers) in [
            ("PUT", vault.clone(), vec![]),
            ("PUT", vault.clone(), vec![("Authorization", bearer.as_str())]),
            ("POST", dev.token_url("/v2.0"), vec![]),
            ("POST", enrolment.clone(), vec![]),
        ] {
            let answer = dev.wire.send(method, &url, &headers, Some(&long)).await;
            let answer = answer.unwrap_or_else(|broken| panic!("{method} {url}: {broken}"));
            assert!([400, 401, 404, 405, 413, 415].contains(&answer.status), "{method} {url}: {answer:?}");
            let path = "/secrets/hello/?api-version=7.6";
            dev.vault("GET", path, Some(&token), None).await.expect(200);
            let discovery = format!("{}/common/discovery/v2.0/keys", dev.fact("/authority"));
            dev.wire.get(&discovery, &[]).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_value_is_nowhere_in_the_clear() {
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours).log("trace").start().await;
    let token = dev.admin_token("https://vault.azure.net").await;
    let canary = "canary-kept-in-the-vault-51c0";
    let body = json!({ "value": canary, "contentType": "content-type-seen-5512" }).to_string();
    dev.vault("PUT", "/secrets/canary?api-version=7.6", Some(&token), Some(&body)).await.expect(200);
    let read = dev.vault("GET", "/secrets/canary/?api-version=7.6", Some(&token), None).await.expect(200);
    assert_eq!(read.text("/value"), canary);
    assert_eq!(found_in(&dev, canary), [""; 0]);
    // The search itself works: the same row's metadata is found.
    assert!(found_in(&dev, "content-type-seen-5512").iter().any(|file| file.contains("denizen.db")));
    // Nor is the token anywhere, nor its signature.
    let signature = token.rsplit('.').next().unwrap();
    assert_eq!(found_in(&dev, signature), [""; 0]);
}

/// A token that the token service gives for a spelling of the vault's resource opens the vault; one for another resource
/// does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_under_every_spelling_of_the_vault_opens_it() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (client, secret) = (dev.fact("/admin/client_id"), dev.fact("/admin/client_secret"));
    let base = [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret)];
    let token = async |version: &str, asked: &str| {
        let (path, name) = if version == "v1" { ("", "resource") } else { ("/v2.0", "scope") };
        let scope = if version == "v1" { asked.to_owned() } else { format!("{asked}/.default") };
        let mut fields = base.to_vec();
        fields.push((name, &scope));
        dev.wire.form(&dev.token_url(path), &fields).await
    };
    let path = format!("/secrets/hello?{API}");
    let port = dev.fact("/vault_url").rsplit(':').next().unwrap().to_owned();
    let own = [format!("https://vault.denizen.test:{port}"), format!("HTTPS://Vault.Denizen.Test:{port}/")];
    let azure = [
        "https://vault.azure.net",
        "https://vault.azure.net/",
        "https://VAULT.azure.net",
        "HTTPS://vault.AZURE.net/",
        "https://vault.azure.net:443",
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
        "CFA8B339-82A2-471A-A3C9-0FC0BE7A4093",
    ];
    for version in ["v1", "v2"] {
        for asked in azure.into_iter().chain(own.iter().map(String::as_str)) {
            let given = token(version, asked).await.expect(200).text("/access_token");
            let read = dev.vault("GET", &path, Some(&given), None).await;
            assert!(read.status == 200 && !read.text("/value").is_empty(), "{version} {asked}: {read:?}");
        }
        for asked in ["https://management.azure.com", "https://managedhsm.azure.net", "https://storage.azure.com"] {
            let given = token(version, asked).await.expect(200).text("/access_token");
            let refused = dev.vault("GET", &path, Some(&given), None).await.expect(401);
            assert!(refused.text("/error/message").starts_with("AKV10022"), "{version} {asked}: {refused:?}");
        }
        for asked in ["https://vault.azure.net.evil.example", "https://dev.vault.azure.net"] {
            let refused = token(version, asked).await.expect(400);
            let (error, text) = (refused.text("/error"), refused.text("/error_description"));
            assert!(error == "invalid_resource" && text.starts_with("AADSTS500011"), "{version} {asked}: {refused:?}");
        }
    }
}
