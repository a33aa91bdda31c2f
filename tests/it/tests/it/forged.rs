//! Tokens that must open nothing. D-25: signature, issuer, tenant, audience and time, at the vault's own door.
//!
//! The tokens with one wrong claim are signed with the server's real key, so that nothing but the claim can be what
//! refuses them; a token made the same way with nothing wrong in it is accepted, so the others are refused for what
//! is said of them.

use denizen_keys::{Algorithm, RsaBits, Signer, b64, hash, jws, x509};
use serde_json::{Value, json};

use crate::{
    dev::{Dev, Launch},
    jwt,
    offline::Offline,
    sandbox::{Sandbox, User},
};

async fn ask(dev: &Dev<'_>, authorization: &str) -> crate::wire::Answer {
    let url = format!("{}/secrets/hello/?api-version=7.6", dev.fact("/vault_url"));
    dev.wire.get(&url, &[("Authorization", authorization)]).await
}

async fn refused(dev: &Dev<'_>, what: &str, authorization: &str) {
    let answer = ask(dev, authorization).await;
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let challenge = answer.header("www-authenticate").unwrap_or_else(|| panic!("{what}: no challenge: {answer:?}"));
    assert!(challenge.starts_with("Bearer authorization=\"https://"), "{what}: {challenge}");
    assert_eq!(answer.text("/error/code"), "Unauthorized", "{what}");
    assert!(answer.text("/error/message").starts_with("AKV100"), "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d25_one_wrong_claim_under_the_right_signature() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let authority = first.fact("/authority").to_owned();
    let genuine = jwt::claims(&first.admin_token("https://vault.azure.net").await);
    let data = first.data.clone();
    first.stop().await;

    let keeper = Offline::open(&data, &authority).await;
    let (tenant, now) = (keeper.tenant.to_string(), keeper.now().0);
    let other = uuid::Uuid::from_u128(77).to_string();
    let with = |changes: Value| {
        let mut claims = genuine.clone();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        keeper.sign(&claims)
    };
    let good = with(json!({}));
    let bad: Vec<(&str, String)> = vec![
        ("expired", with(json!({"iat": now - 7200, "nbf": now - 7200, "exp": now - 1}))),
        ("without an end", with(json!({"exp": null}))),
        ("not yet valid", with(json!({"nbf": now + 3600}))),
        ("for another resource", with(json!({"aud": "https://management.azure.com"}))),
        ("for a resource that starts like ours", with(json!({"aud": "https://vault.azure.net.evil.example"}))),
        ("for several resources", with(json!({"aud": ["https://vault.azure.net", "https://evil.example"]}))),
        ("without a resource", with(json!({"aud": null}))),
        ("of Entra itself", with(json!({"iss": format!("https://sts.windows.net/{tenant}/")}))),
        ("of another authority", with(json!({"iss": format!("https://localhost:1/{tenant}/")}))),
        ("of another tenant's issuer", with(json!({"iss": format!("{authority}/{other}/")}))),
        ("of the other version's issuer", with(json!({"iss": format!("{authority}/{tenant}/v2.0")}))),
        ("of another tenant", with(json!({"tid": other}))),
        ("of another tenant, issuer too", with(json!({"tid": other, "iss": format!("{authority}/{other}/")}))),
        ("of a user", with(json!({"idtyp": "user"}))),
        ("of a principal that is not there", with(json!({"oid": other, "sub": other}))),
        ("of one principal and another", with(json!({"sub": other}))),
        ("of another client", with(json!({"appid": other}))),
        ("without a client", with(json!({"appid": null}))),
        ("of an unknown version", with(json!({"ver": "3.0"}))),
    ];
    keeper.close().await;

    let port = authority.rsplit(':').next().unwrap();
    let dev = Launch::new(&sandbox, User::Ours).flag("--listen", &format!("127.0.0.1:{port}")).start().await;
    ask(&dev, &format!("Bearer {good}")).await.expect(200);
    for (what, token) in bad {
        refused(&dev, what, &format!("Bearer {token}")).await;
    }
    // One that was accepted once is not for that accepted in another spelling.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    refused(&dev, "padded", &format!("Bearer {good}=")).await;
    refused(&dev, "without a signature", &format!("Bearer {signed}.")).await;
    refused(&dev, "with half a signature", &format!("Bearer {signed}.{}", &signature[..signature.len() / 2])).await;
    refused(&dev, "with a segment more", &format!("Bearer {good}.e30")).await;
    refused(&dev, "in another scheme", &format!("Basic {good}")).await;
    refused(&dev, "as proof of possession", &format!("PoP {good}")).await;
    refused(&dev, "without a scheme", &good).await;
    refused(&dev, "with nothing", "Bearer ").await;
    refused(&dev, "far too long", &format!("Bearer {}", good.repeat(12))).await;
    // And it is good still.
    ask(&dev, &format!("bearer {good}")).await.expect(200);
}

/// `--sts-windows-net-for` puts Entra's name on what our own key signs. That is for an emulator, and opens nothing here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d25_a_token_that_names_entra_for_an_emulator() {
    const FLAG: &str = "--sts-windows-net-for";
    const STORAGE: &str = "https://storage.azure.com";
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let (authority, tenant) = (first.fact("/authority").to_owned(), first.fact("/tenant_id").to_owned());
    let issuer = |claims: &Value| claims["iss"].as_str().unwrap().to_owned();
    let ours = format!("{authority}/{tenant}/");
    let entra = format!("https://sts.windows.net/{tenant}/");
    assert_eq!(issuer(&jwt::claims(&first.admin_token(STORAGE).await)), ours, "nobody asked for another");
    assert!(!first.stdout().contains("sts.windows.net"), "{}", first.stdout());
    let data = first.data.clone();
    first.stop().await;

    // What the server itself issues for no audience of ours: Entra's issuer and the vault's audience.
    let keeper = Offline::open(&data, &authority).await;
    let port = authority.rsplit(':').next().unwrap().to_owned();
    let launch = || Launch::new(&sandbox, User::Ours).flag("--listen", &format!("127.0.0.1:{port}"));
    let now = keeper.now().0;
    let claims = |principal: &str, client: &str| {
        json!({
            "aud": "https://vault.azure.net", "iss": entra, "idp": entra, "iat": now, "nbf": now - 300,
            "exp": now + 3600, "appid": client, "appidacr": "1", "idtyp": "app", "oid": principal, "sub": principal,
            "tid": tenant, "uti": "u", "ver": "1.0", "xms_epoch": 0,
        })
    };
    let snapshot = keeper.server.store.snapshot();
    let client = snapshot.applications(keeper.tenant).next().unwrap().client_id;
    let principal = snapshot.principal_of_client(keeper.tenant, client).unwrap().id;
    let crafted = keeper.sign(&claims(&principal.to_string(), &client.to_string()));
    keeper.close().await;

    let dev = launch().flag(FLAG, STORAGE).start().await;
    assert!(dev.stdout().contains(&entra), "it says so: {}", dev.stdout());
    let storage = dev.admin_token(STORAGE).await;
    let said = jwt::claims(&storage);
    assert_eq!((issuer(&said), said["aud"].as_str()), (entra.clone(), Some(STORAGE)));
    refused(&dev, "for an emulator", &format!("Bearer {storage}")).await;
    refused(&dev, "for an emulator, with our audience", &format!("Bearer {crafted}")).await;
    let good = dev.admin_token("https://vault.azure.net").await;
    assert_eq!(issuer(&jwt::claims(&good)), ours);
    ask(&dev, &format!("Bearer {good}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d25_another_signature_under_the_right_claims() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let genuine = dev.admin_token("https://vault.azure.net").await;
    let (header, claims) = (jwt::header(&genuine), jwt::claims(&genuine));
    let kid = header["kid"].as_str().unwrap();
    let url = format!("{}/{}/discovery/v2.0/keys", dev.fact("/authority"), dev.fact("/tenant_id"));
    let set = dev.wire.get(&url, &[]).await.expect(200).json();
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
    ask(&dev, &format!("Bearer {genuine}")).await.expect(200);

    for alg in ["none", "None", "NONE", ""] {
        let unsigned = jwt::unsigned(&json!({"typ": "JWT", "alg": alg, "kid": kid}), &claims);
        refused(&dev, "alg none", &format!("Bearer {unsigned}.")).await;
        let signature = genuine.rsplit('.').next().unwrap();
        refused(&dev, "alg none, signed", &format!("Bearer {unsigned}.{signature}")).await;
    }

    // The public key as an HMAC secret, in each form a careless verifier might hold it.
    let certificate = b64::decode_lax(key["x5c"][0].as_str().unwrap()).unwrap();
    let certificate = x509::Certificate::from_der(&certificate).unwrap();
    let spki = certificate.spki_der().to_vec();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", b64::standard(&spki));
    let modulus = b64::decode_url(key["n"].as_str().unwrap()).unwrap();
    for secret in [&spki, pem.as_bytes(), &modulus, certificate.der(), certificate.pem().as_bytes(), b""] {
        let unsigned = jwt::unsigned(&json!({"typ": "JWT", "alg": "HS256", "kid": kid}), &claims);
        let tag = b64::url(&hash::hmac_sha256(secret, unsigned.as_bytes()));
        refused(&dev, "HS256 with the public key", &format!("Bearer {unsigned}.{tag}")).await;
    }

    // A key of the forger's own, brought along in every way a header can bring one.
    let own = Signer::generate_rsa(RsaBits::B2048).unwrap();
    let now = claims["iat"].as_i64().unwrap();
    let brought = x509::self_signed(&own, "forger", now - 60, now + 86_400).unwrap();
    let x5c = b64::standard(brought.der());
    let jwk = json!({"kty": "RSA", "n": own.public().rsa().unwrap().n_base64url(), "e": own.public().rsa().unwrap().e_base64url(), "kid": kid});
    for header in [
        json!({"typ": "JWT", "alg": "RS256", "kid": kid}),
        json!({"typ": "JWT", "alg": "RS256", "kid": kid, "jwk": jwk}),
        json!({"typ": "JWT", "alg": "RS256", "kid": kid, "x5c": [x5c]}),
        json!({"typ": "JWT", "alg": "RS256", "kid": kid, "jku": "https://evil.example/keys"}),
        json!({"typ": "JWT", "alg": "RS256", "kid": brought.kid(), "x5t": brought.kid(), "x5c": [x5c]}),
        json!({"typ": "JWT", "alg": "RS256", "kid": "../../etc/passwd"}),
        json!({"typ": "JWT", "alg": "RS256"}),
    ] {
        let token = jws::sign_compact(&own, Algorithm::Rs256, &header.to_string(), &claims.to_string()).unwrap();
        refused(&dev, "the forger's own key", &format!("Bearer {token}")).await;
    }

    // Other claims under the genuine signature.
    let mut raised = claims.clone();
    raised["oid"] = dev.fact("/machine/principal_id").into();
    raised["sub"] = raised["oid"].clone();
    let signature = genuine.rsplit('.').next().unwrap();
    refused(&dev, "changed claims", &format!("Bearer {}.{signature}", jwt::unsigned(&header, &raised))).await;
    ask(&dev, &format!("Bearer {genuine}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d25_a_token_of_another_server_and_another_tenant() {
    let (here, there) = (Sandbox::new().await, Sandbox::new().await);
    let (dev, other) = tokio::join!(Dev::start(&here), Dev::start(&there));
    assert_ne!(dev.fact("/tenant_id"), other.fact("/tenant_id"));
    let token = other.admin_token("https://vault.azure.net").await;
    ask(&other, &format!("Bearer {token}")).await.expect(200);
    refused(&dev, "another server's", &format!("Bearer {token}")).await;
    // Nor does the other's secret get a token here.
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", other.fact("/admin/client_id")),
        ("client_secret", other.fact("/admin/client_secret")),
        ("scope", "https://vault.azure.net/.default"),
    ];
    let answer = dev.wire.form(&dev.token_url("/v2.0"), &fields).await.expect(400);
    assert_eq!(answer.json()["error_codes"][0], 700_016, "{answer:?}");
}
