//! Discovery, keys, and tokens by client secret, as a client sees them.

use denizen_keys::{Algorithm, RsaPublic, jws::Unverified};
use serde_json::Value;

use crate::{
    dev::{Dev, Launch},
    jwt,
    sandbox::{Sandbox, User, ended},
};

const DOMAIN: &str = "dev.denizen.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_is_the_same_by_guid_and_by_name() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (authority, tenant) = (dev.fact("/authority"), dev.fact("/tenant_id"));
    let document = async |path: &str| {
        dev.wire.get(&format!("{authority}{path}/.well-known/openid-configuration"), &[]).await.expect(200).json()
    };
    let v2 = document(&format!("/{tenant}/v2.0")).await;
    assert_eq!(v2["issuer"], format!("{authority}/{tenant}/v2.0"));
    assert_eq!(v2["token_endpoint"], format!("{authority}/{tenant}/oauth2/v2.0/token"));
    assert_eq!(v2["jwks_uri"], format!("{authority}/{tenant}/discovery/v2.0/keys"));
    assert_eq!(v2["id_token_signing_alg_values_supported"], serde_json::json!(["RS256"]));
    // Clients refuse a document without it, also those that never sign anybody in.
    assert!(v2["authorization_endpoint"].as_str().unwrap().starts_with(&format!("{authority}/{tenant}/")));
    assert_eq!(document(&format!("/{DOMAIN}/v2.0")).await, v2);
    assert_eq!(document(&format!("/{}/v2.0", tenant.to_uppercase())).await, v2);

    let v1 = document(&format!("/{tenant}")).await;
    assert_eq!(v1["issuer"], format!("{authority}/{tenant}/"));
    assert_eq!(v1["token_endpoint"], format!("{authority}/{tenant}/oauth2/token"));
    assert_eq!(document(&format!("/{DOMAIN}")).await, v1);

    let common = document("/common/v2.0").await;
    assert_eq!(common["issuer"], format!("{authority}/{{tenantid}}/v2.0"));

    for unknown in [&uuid::Uuid::from_u128(5).to_string(), "nobody.example"] {
        let url = format!("{authority}/{unknown}/v2.0/.well-known/openid-configuration");
        let refused = dev.wire.get(&url, &[]).await.expect(400);
        assert_eq!(refused.text("/error"), "invalid_tenant");
        assert!(refused.text("/error_description").starts_with("AADSTS90002"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keys_are_published_and_one_of_them_signs() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (authority, tenant) = (dev.fact("/authority"), dev.fact("/tenant_id"));
    let keys = async |path: &str| dev.wire.get(&format!("{authority}/{path}"), &[]).await.expect(200);
    let v2 = keys(&format!("{tenant}/discovery/v2.0/keys")).await;
    assert!(v2.header("cache-control").unwrap().contains("max-age="), "{v2:?}");
    let set = v2.json()["keys"].as_array().unwrap().clone();
    let mut families: Vec<_> = set.iter().map(|key| key["kty"].as_str().unwrap()).collect();
    families.sort_unstable();
    assert_eq!(families, ["EC", "EC", "RSA", "RSA"], "of each algorithm the one that signs and the next");
    assert_ne!(set[0]["kid"], set[1]["kid"]);
    for key in &set {
        assert_eq!(key["use"], "sig");
        assert_eq!(key["kid"], key["x5t"], "the thumbprint names the key");
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert_eq!(key.get(private), None, "{private} is private");
        }
    }
    let ids = |set: &[Value]| set.iter().map(|key| key["kid"].clone()).collect::<Vec<_>>();
    for path in [format!("{tenant}/discovery/keys"), format!("{DOMAIN}/discovery/v2.0/keys")] {
        assert_eq!(ids(keys(&path).await.json()["keys"].as_array().unwrap()), ids(&set), "{path}");
    }

    for resource in ["https://vault.azure.net", "https://management.azure.com"] {
        let token = dev.admin_token(resource).await;
        let unverified = Unverified::parse(&token, 8192).unwrap();
        let key = set.iter().find(|key| key["kid"].as_str() == unverified.kid()).expect("an unpublished key signed");
        let public = RsaPublic::from_jwk_members(key["n"].as_str().unwrap(), key["e"].as_str().unwrap()).unwrap();
        unverified.verify(&public, &[Algorithm::Rs256]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_administrators_secret_gets_tokens_in_both_versions_of_the_endpoint() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let (client, secret) = (dev.fact("/admin/client_id"), dev.fact("/admin/client_secret"));
    let base = [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret)];

    // Integers in v2: the Rust client refuses strings there.
    let mut fields = base.to_vec();
    // MSAL for Go asks for the OpenID scopes as well.
    fields.push(("scope", "https://vault.azure.net/.default openid offline_access profile"));
    let v2 = dev.wire.form(&dev.token_url("/v2.0"), &fields).await.expect(200);
    assert_eq!(v2.header("cache-control"), Some("no-store"));
    let answer = v2.json();
    assert_eq!(answer["token_type"], "Bearer");
    let claims = jwt::claims(answer["access_token"].as_str().unwrap());
    let lifetime = answer["expires_in"].as_i64().expect("an integer");
    assert!((60 * 60..=90 * 60).contains(&lifetime), "{lifetime}");
    let left = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((lifetime..=lifetime + 301).contains(&left), "{lifetime} {claims}");
    let (authority, tenant) = (dev.fact("/authority"), dev.fact("/tenant_id"));
    assert_eq!(claims["iss"], format!("{authority}/{tenant}/"), "a vault reads v1.0 tokens");
    assert_eq!((&claims["ver"], &claims["idtyp"]), (&"1.0".into(), &"app".into()));
    assert_eq!((&claims["appid"], &claims["appidacr"]), (&client.into(), &"1".into()));
    assert_eq!((&claims["tid"], &claims["sub"]), (&tenant.into(), &claims["oid"]));

    // Strings in v1, and the resource comes back.
    let mut fields = base.to_vec();
    fields.push(("resource", "https://vault.azure.net"));
    let answer = dev.wire.form(&dev.token_url(""), &fields).await.expect(200).json();
    let expires_on: i64 = answer["expires_on"].as_str().expect("a string").parse().unwrap();
    let claims = jwt::claims(answer["access_token"].as_str().unwrap());
    assert_eq!(claims["exp"], expires_on);
    assert_eq!(answer["resource"], "https://vault.azure.net");
    assert!(answer["expires_in"].as_str().unwrap().parse::<i64>().is_ok());
    // The tenant goes by its name as well.
    let named = dev.token_url("/v2.0").replace(tenant, DOMAIN);
    let mut fields = base.to_vec();
    fields.push(("scope", "https://vault.azure.net/.default"));
    dev.wire.form(&named, &fields).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proves_nothing_gets_no_token() {
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours).log("trace").start().await;
    let (client, secret) = (dev.fact("/admin/client_id"), dev.fact("/admin/client_secret"));
    let wrong = "wr0ng-and-must-not-be-logged";
    let stranger = uuid::Uuid::from_u128(9).to_string();
    let machine = dev.fact("/machine/client_id");
    let scope = ("scope", "https://vault.azure.net/.default");
    let grant = ("grant_type", "client_credentials");
    let assertion_type = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    // What is wrong, the form, the status and the AADSTS number, 0 where any will do.
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16, i64);
    let cases: Vec<Case<'_>> = vec![
        ("wrong secret", vec![grant, ("client_id", client), ("client_secret", wrong), scope], 401, 7_000_215),
        ("no secret", vec![grant, ("client_id", client), scope], 401, 7_000_218),
        ("empty secret", vec![grant, ("client_id", client), ("client_secret", ""), scope], 401, 0),
        ("unknown client", vec![grant, ("client_id", &stranger), ("client_secret", secret), scope], 400, 700_016),
        ("a machine has no secret", vec![grant, ("client_id", machine), ("client_secret", secret), scope], 401, 0),
        ("no client", vec![grant, ("client_secret", secret), scope], 400, 900_144),
        ("no grant", vec![("client_id", client), ("client_secret", secret), scope], 400, 900_144),
        (
            "another grant",
            vec![("grant_type", "implicit"), ("client_id", client), ("client_secret", secret), scope],
            400,
            70_003,
        ),
        ("no scope", vec![grant, ("client_id", client), ("client_secret", secret)], 400, 0),
        (
            "an unknown resource",
            vec![grant, ("client_id", client), ("client_secret", secret), ("scope", "https://nobody.example/.default")],
            400,
            500_011,
        ),
        (
            "a repeated client",
            vec![grant, ("client_id", client), ("client_id", &stranger), ("client_secret", secret), scope],
            400,
            0,
        ),
        (
            "a repeated secret",
            vec![grant, ("client_id", client), ("client_secret", wrong), ("client_secret", secret), scope],
            400,
            0,
        ),
        (
            "a secret and an assertion",
            vec![
                grant,
                ("client_id", client),
                ("client_secret", secret),
                assertion_type,
                ("client_assertion", "a.b.c"),
                scope,
            ],
            400,
            0,
        ),
        (
            "an assertion that is none",
            vec![grant, ("client_id", client), assertion_type, ("client_assertion", "a.b.c"), scope],
            401,
            0,
        ),
    ];
    for (what, fields, status, code) in cases {
        let answer = dev.wire.form(&dev.token_url("/v2.0"), &fields).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let error = answer.json();
        assert_eq!(error.get("access_token"), None, "{what}");
        let said = error["error_codes"][0].as_i64().unwrap_or_else(|| panic!("{what}: {error}"));
        assert!(code == 0 || said == code, "{what}: {error}");
        let description = error["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{said}: ")), "{what}: {error}");
        assert!(error["error"].as_str().is_some_and(|error| !error.is_empty()), "{what}: {error}");
        assert!(!answer.body.contains(wrong) && !answer.body.contains(secret), "{what}: {answer:?}");
    }
    for (what, url) in [
        ("unknown tenant", dev.token_url("/v2.0").replace(dev.fact("/tenant_id"), &stranger)),
        ("no tenant of its own", dev.token_url("/v2.0").replace(dev.fact("/tenant_id"), "common")),
    ] {
        let fields = [grant, ("client_id", client), ("client_secret", secret), scope];
        let answer = dev.wire.form(&url, &fields).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(answer.json().get("access_token"), None, "{what}");
    }
    let logged = dev.stderr();
    assert!(!logged.contains(wrong) && !logged.contains(secret), "a client secret is in the log");
}

/// What the agent gets is what any client with a certificate gets; its token lives for hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machines_token_lives_four_hours() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = ended(dev.denizen(&["token", "get"]).await).await.ok();
    let claims = jwt::claims(&token);
    let life = claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap();
    assert!((4 * 3600..=4 * 3600 + 300).contains(&life), "{life}");
    assert_eq!(claims["iss"], format!("{}/{}/", dev.fact("/authority"), dev.fact("/tenant_id")));
    let header = jwt::header(&token);
    assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"JWT".into()));
}
