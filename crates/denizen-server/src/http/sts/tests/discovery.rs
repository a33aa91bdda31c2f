//! What clients and resources read before they trust anything.

use denizen_wire::oauth::{Discovery, InstanceDiscovery};

use super::*;

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    url.strip_prefix("https://").unwrap().split('/').next().unwrap()
}

#[tokio::test]
async fn the_documents_say_one_thing_however_the_tenant_is_named() {
    let service = Service::start().await;
    let v2 = service.get(&format!("/{CONTOSO}/v2.0/.well-known/openid-configuration")).await;
    let v1 = service.get(&format!("/{CONTOSO}/.well-known/openid-configuration")).await;
    insta::assert_snapshot!("openid_configuration_v2", pretty(&v2));
    insta::assert_snapshot!("openid_configuration_v1", pretty(&v1));
    for name in ["contoso.test", "CONTOSO.Test", &CONTOSO.to_string().to_uppercase()] {
        assert_eq!(service.get(&format!("/{name}/v2.0/.well-known/openid-configuration")).await.body, v2.body);
        assert_eq!(service.get(&format!("/{name}/.Well-Known/OpenID-configuration")).await.body, v1.body);
    }
    // The client for Go ends the URL with an empty query.
    assert_eq!(service.get("/contoso.test/v2.0/.well-known/openid-configuration?").await.body, v2.body);
    assert_eq!(v2.header("cache-control"), Some("max-age=3600"));
}

#[tokio::test]
async fn the_issuers_host_and_port_are_the_authoritys_whatever_host_is_claimed() {
    let service = Service::start().await;
    for path in ["/v2.0", ""] {
        let uri = format!("/contoso.test{path}/.well-known/openid-configuration");
        let answer =
            service.send(Method::GET, &uri, &[("host", "evil.test"), ("x-forwarded-host", "evil.test")], "").await;
        let document: Discovery = answer.json();
        for url in [&document.issuer, &document.token_endpoint, &document.authorization_endpoint, &document.jwks_uri] {
            assert_eq!(authority(url), "localhost:8443", "{url}");
            assert!(url.contains(&CONTOSO.to_string()), "{url}");
        }
        assert!(!answer.body.contains("evil"));
        assert_eq!(service.get(document.jwks_uri.strip_prefix(AUTHORITY).unwrap()).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_shared_documents_leave_the_tenant_open() {
    let service = Service::start().await;
    for name in ["common", "organizations", "Organizations"] {
        let v2: Discovery = service.get(&format!("/{name}/v2.0/.well-known/openid-configuration")).await.json();
        assert_eq!(v2.issuer, format!("{AUTHORITY}/{{tenantid}}/v2.0"));
        assert_eq!(v2.token_endpoint, format!("{AUTHORITY}/{}/oauth2/v2.0/token", name.to_lowercase()));
        let v1: Discovery = service.get(&format!("/{name}/.well-known/openid-configuration")).await.json();
        assert_eq!(v1.issuer, format!("{AUTHORITY}/{{tenantid}}/"));
    }
    // No key signs for two tenants, so each says whose it is.
    let keys: Value = service.get("/common/discovery/v2.0/keys").await.json();
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!(key["issuer"], format!("{AUTHORITY}/{CONTOSO}/v2.0"));
    }
    assert_eq!(keys["keys"].as_array().unwrap().len(), 4);
    let answer = service.get("/common/discovery/keys").await;
    assert!(!answer.body.contains("issuer"), "the v1 document has no issuers");
}

#[tokio::test]
async fn the_key_document_has_what_every_library_looks_for() {
    let service = Service::start().await;
    let answer = service.get("/contoso.test/discovery/v2.0/keys").await;
    assert_eq!(answer.header("cache-control"), Some("max-age=3600"));
    let keys: Value = answer.json();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 4);
    assert_eq!(keys.iter().filter(|key| key["kty"] == "EC").count(), 2);
    for key in keys {
        assert_eq!(key["use"], "sig");
        if key["kty"] == "EC" {
            assert_eq!((&key["alg"], &key["crv"]), (&json!("ES256"), &json!("P-256")));
            assert!(key.get("n").is_none(), "{key}");
        } else {
            assert_eq!((&key["kty"], &key["alg"], &key["e"]), (&json!("RSA"), &json!("RS256"), &json!("AQAB")));
        }
        assert_eq!(key["kid"], key["x5t"]);
        assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
        assert_eq!(key["issuer"], format!("{AUTHORITY}/{CONTOSO}/v2.0"));
        assert!(key.get("d").is_none() && key.get("p").is_none());
    }
}

#[tokio::test]
async fn instance_discovery_knows_this_authority_and_no_other() {
    let service = Service::start().await;
    for (endpoint, tenant) in [
        ("https://localhost:8443/contoso.test/oauth2/v2.0/authorize", "contoso.test"),
        ("https%3A%2F%2Flocalhost%2Fcommon%2Foauth2%2Fv2.0%2Fauthorize", "common"),
    ] {
        let uri = format!("/common/discovery/instance?api-version=1.1&authorization_endpoint={endpoint}");
        let body: InstanceDiscovery = service.get(&uri).await.json();
        let expected = format!("{AUTHORITY}/{tenant}/v2.0/.well-known/openid-configuration");
        assert_eq!(body.tenant_discovery_endpoint, expected);
        assert_eq!(body.metadata[0].preferred_network, "localhost:8443");
        assert_eq!(body.metadata[0].aliases, ["localhost:8443", "localhost"]);
    }
    for other in [
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "https://localhost:9999/common/oauth2/v2.0/authorize",
        "http://localhost:8443/common/oauth2/v2.0/authorize",
        "https://localhost:8443@evil.test/common/",
        "https://localhost:8443/%22%3E/x",
        "https://localhost:8443",
        "nonsense",
    ] {
        let uri = format!(
            "/common/discovery/instance?authorization_endpoint={}",
            encode(&[("", other)]).trim_start_matches('=')
        );
        let answer = service.get(&uri).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, 50_049), "{other}");
    }
    assert_eq!(service.get("/common/discovery/instance").await.code(), 900_144);
}

fn pretty(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK);
    serde_json::to_string_pretty(&answer.json::<Value>()).unwrap()
}
