//! What comes before a handler: the token, the version, the route, the decision. In that order.

use http::header;
use serde_json::json;

use super::*;
use crate::{
    app::{access::tests::bed::sign, secrets::actions},
    domain::authorize::Action,
    http::Requirement,
    store::Outcome,
};

const CHALLENGE: &str = r#"Bearer authorization="https://localhost:8443/00000000-0000-0000-0000-00000000007e", resource="https://vault.denizen.test:8444""#;

/// A path that the pattern matches.
fn path_of(pattern: &str) -> String {
    pattern.replace("{name}", "s").replace("{version}", &"0".repeat(32))
}

#[tokio::test]
async fn d26_every_route_refuses_whoever_has_no_token_and_whoever_has_no_right() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    let nobody = v.bed.principal().await;
    for route in v.service.routes() {
        let Requirement::Action(Action::Data(action)) = &route.requires else {
            panic!("{} requires no data action", route.pattern)
        };
        let path = path_of(route.pattern);
        let bare =
            v.bare(route.method.clone(), &format!("{path}?api-version=7.6")).raw(r#"{"value":"v"}"#).send().await;
        assert_eq!(bare.fault(), fault(401, "Unauthorized", ""), "{} {path}", route.method);
        assert_eq!(bare.header("www-authenticate"), CHALLENGE);

        let refused = v.ask(route.method.clone(), &path).by(nobody).raw(r#"{"value":"v"}"#).send().await;
        assert_eq!(refused.fault(), fault(403, "Forbidden", "ForbiddenByRbac"), "{} {path}", route.method);
        let message = refused.message();
        assert!(message.contains(&format!("Action: '{action}'")), "{message}");
        let records = v.bed.audited(action).await;
        assert!(records.iter().any(|(outcome, ..)| *outcome == Outcome::Refused), "{action}");
    }
    // Nothing happened to the secret.
    assert_eq!(v.get("/secrets/s").send().await.ok()["value"], json!("v"));
}

#[tokio::test]
async fn d26_each_operation_needs_its_own_action() {
    let v = Vaulted::new().await;
    let reader = v.bed.with_role("Key Vault Secrets User", &v.bed.vault.id).await;
    let vault_reader = v.bed.with_role("Key Vault Reader", &v.bed.vault.id).await;
    let owner = v.bed.with_role("Owner", &v.bed.group).await;
    v.put("s", json!({"value": "v"})).await.ok();
    for (who, name, may) in [
        (reader, "Secrets User", &[actions::GET, actions::READ_METADATA][..]),
        (vault_reader, "Vault Reader", &[actions::READ_METADATA]),
        (owner, "Owner", &[]),
    ] {
        for route in v.service.routes() {
            let Requirement::Action(action) = &route.requires else { panic!() };
            let answer = v.ask(route.method.clone(), &path_of(route.pattern)).by(who).raw("{}").send().await;
            assert_eq!(answer.status != 403, may.contains(&action.name()), "{name} {} {}", route.method, route.pattern);
        }
    }
}

#[tokio::test]
async fn a_role_on_one_secret_reaches_that_secret_only() {
    let v = Vaulted::new().await;
    for name in ["mine", "mine-2", "other"] {
        v.put(name, json!({"value": name})).await.ok();
    }
    let who = v.bed.with_role("Key Vault Secrets User", &v.bed.vault.id.child("secrets", "Mine").unwrap()).await;
    assert_eq!(v.get("/secrets/MINE/").by(who).send().await.ok()["value"], json!("mine"));
    v.get("/secrets/mine/versions").by(who).send().await.ok();
    for path in ["/secrets/mine-2", "/secrets/other", "/secrets", "/deletedsecrets", "/secrets/min", "/secrets/m%20ine"]
    {
        assert_eq!(v.get(path).by(who).send().await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn authentication_comes_before_everything_else() {
    let v = Vaulted::new().await;
    // No version, no such path, no such method, no such name, no JSON: all of it is behind the token.
    for (method, uri) in [
        (Method::GET, "/"),
        (Method::GET, "/secrets/s"),
        (Method::GET, "/nothing/here"),
        (Method::PUT, "/secrets/a_b"),
        (Method::OPTIONS, "/secrets"),
        (Method::POST, "/secrets/s?api-version=7.6&api-version=7.6"),
        (Method::HEAD, "/secrets/s"),
    ] {
        let answer = v.bare(method.clone(), uri).raw("not json").send().await;
        assert_eq!(answer.fault(), fault(401, "Unauthorized", ""), "{method} {uri}");
        assert_eq!(answer.header("www-authenticate"), CHALLENGE);
        assert!(answer.message().starts_with("AKV10000: Request is missing a Bearer or PoP token."));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_value_sent_without_a_token_is_thrown_away() {
    let v = Vaulted::new().await;
    let value = "sent-too-early-4711";
    for body in [json!({"value": value}).to_string(), value.repeat(10_000)] {
        let answer = v.bare(Method::PUT, "/secrets/s?api-version=7.6").raw(body).send().await;
        assert_eq!(answer.status, 401);
        assert!(!answer.text.contains(value));
    }
    assert_eq!(v.get("/secrets/s").send().await.fault(), fault(404, "SecretNotFound", ""));
    for path in v.bed.files() {
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(value.len()).any(|window| window == value.as_bytes()));
    }
}

#[tokio::test]
async fn only_one_bearer_token_is_a_token() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    let token = v.bed.token(v.officer);
    let get = || v.bare(Method::GET, "/secrets/s?api-version=7.6");
    for good in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token}")] {
        get().header("authorization", &good).send().await.ok();
    }
    for bad in [token.clone(), format!("Basic {token}"), format!("Bearer{token}"), String::new(), "Bearer".into()] {
        let answer = get().header("authorization", &bad).send().await;
        assert!(answer.message().starts_with("AKV10000"), "{bad:.12}: {}", answer.text);
    }
    let twice =
        get().header("authorization", &format!("Bearer {token}")).also("authorization", "Bearer x").send().await;
    assert!(twice.message().starts_with("AKV10000"));
}

#[tokio::test]
async fn d25_each_way_a_token_is_wrong_has_its_code_and_a_challenge() {
    let v = Vaulted::new().await;
    let claims = v.bed.claims(v.officer);
    for (change, code) in [
        (
            ("aud", json!("https://management.azure.com")),
            "AKV10022: Invalid audience. Expected https://vault.denizen.test:8444, found: https://management.azure.com.",
        ),
        (("iss", json!("https://elsewhere/")), "AKV10032"),
        (("tid", json!(Uuid::from_u128(3))), "AKV10032"),
        (("exp", json!(NOW.0 - 1)), "AKV10001"),
        (("idtyp", json!("user")), "AKV10001"),
    ] {
        let mut claims = claims.clone();
        claims[change.0] = change.1;
        let answer = v.get("/secrets/s").header("authorization", &format!("Bearer {}", sign(&claims))).send().await;
        assert_eq!(answer.fault(), fault(401, "Unauthorized", ""));
        assert!(answer.message().starts_with(code), "{}", answer.text);
        assert_eq!(answer.header("www-authenticate"), CHALLENGE);
    }
    let broken = v.get("/secrets/s").header("authorization", "Bearer a.b.c").send().await;
    assert!(broken.message().starts_with("AKV10001"), "{}", broken.text);
}

#[tokio::test]
async fn every_form_of_the_audience_is_accepted() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    for audience in ["https://vault.denizen.test:8444", "https://vault.denizen.test", "https://vault.azure.net"] {
        for slash in ["", "/"] {
            let mut claims = v.bed.claims(v.officer);
            claims["aud"] = json!(format!("{audience}{slash}"));
            let token = format!("Bearer {}", sign(&claims));
            v.get("/secrets/s").header("authorization", &token).send().await.ok();
        }
    }
}

#[tokio::test]
async fn the_version_comes_after_the_token_and_before_the_path() {
    let v = Vaulted::new().await;
    let nobody = v.bed.principal().await;
    for uri in [
        "/secrets/s",
        "/secrets/s?api-version=",
        "/secrets/s?api-version=1.0",
        "/nothing?api-version=7.6&api-version=7.6",
    ] {
        let answer = v.bare(Method::GET, uri).by(nobody).send().await;
        assert_eq!(answer.fault(), fault(400, "BadParameter", ""), "{uri}");
    }
}

#[tokio::test]
async fn d18_what_is_not_exactly_a_route_is_404_or_405() {
    let v = Vaulted::new().await;
    for path in [
        "/",
        "//",
        "/Secrets",
        "/keys",
        "/secrets//s",
        "//secrets",
        "/secrets/s/versions/x",
        "/secrets/s/a/b",
        "/deletedsecrets/s/x",
    ] {
        assert_eq!(v.get(path).send().await.fault(), fault(404, "NotFound", ""), "{path}");
    }
    for (method, path, allow) in [
        (Method::POST, "/secrets", "GET"),
        (Method::HEAD, "/secrets/s", "GET, PUT, PATCH, DELETE"),
        (Method::POST, "/secrets/s/backup", "GET, PATCH"),
        (Method::POST, "/secrets/restore", "GET, PUT, PATCH, DELETE"),
        (Method::GET, "/deletedsecrets/s/recover", "POST"),
        (Method::PUT, "/deletedsecrets/s", "GET, DELETE"),
    ] {
        let answer = v.ask(method.clone(), path).send().await;
        assert_eq!(answer.fault(), fault(405, "MethodNotAllowed", ""), "{method} {path}");
        assert_eq!(answer.headers[header::ALLOW], allow);
    }
}

#[tokio::test]
async fn a_read_that_cannot_be_recorded_is_refused_in_json() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    v.get("/secrets/s").send().await.ok();
    v.bed.store.clone().close().await;
    let answer = v.get("/secrets/s").send().await;
    assert_eq!(answer.fault(), fault(503, "ServiceUnavailable", ""));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.message().contains("audit"));
    let write = v.put("s", json!({"value": "w"})).await;
    assert_eq!(write.fault(), fault(503, "ServiceUnavailable", ""));
}

/// What the token service gives a token for, the vault takes it for.
#[tokio::test]
async fn a_token_is_good_under_every_name_of_the_vault() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    let read = async |audience: &str| {
        let mut claims = v.bed.claims(v.officer);
        claims["aud"] = json!(audience);
        let token = format!("Bearer {}", sign(&claims));
        v.bare(Method::GET, "/secrets/s?api-version=7.6").header("authorization", &token).send().await
    };
    for good in [
        "https://vault.azure.net",
        "https://vault.azure.net/",
        "https://VAULT.azure.net",
        "https://Vault.Azure.Net:443/",
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
        "CFA8B339-82A2-471A-A3C9-0FC0BE7A4093",
        "https://vault.denizen.test:8444",
        "https://Vault.Denizen.Test:8444/",
        "https://vault.denizen.test",
    ] {
        read(good).await.ok();
    }
    for bad in [
        "https://vault.azure.net//",
        "https://vault.azure.net:8444",
        "http://vault.azure.net",
        "https://vault.denizen.test:8445",
        "https://management.azure.com",
        "vault.azure.net",
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093/",
        "",
    ] {
        assert_eq!(read(bad).await.fault(), fault(401, "Unauthorized", ""), "{bad}");
    }
}
