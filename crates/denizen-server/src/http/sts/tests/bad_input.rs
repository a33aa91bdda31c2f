//! What is refused, with which number and in which words.

use std::fmt::Write;

use super::*;
use crate::{
    app::signing::fixture::{APP, FABRIKAM, MACHINE, SECRET, SIGNER, STRANGER, application, ctx, password_credential},
    domain::directory::{Application, PasswordCredential},
    http::Requirement,
};

const VAULT: &str = "https://vault.azure.net/.default";

type Form<'a> = Vec<(&'a str, &'a str)>;

fn without<'a>(form: Form<'a>, name: &str) -> Form<'a> {
    form.into_iter().filter(|(key, _)| *key != name).collect()
}

fn and<'a>(mut form: Form<'a>, name: &'a str, value: &'a str) -> Form<'a> {
    form.push((name, value));
    form
}

/// Every refusal the token endpoint makes, as one text: a change of it is a change of the wire.
#[tokio::test]
async fn the_error_bodies() {
    let service = Service::start().await;
    let app = APP.to_string();
    let v2 = format!("/{CONTOSO}/oauth2/v2.0/token");
    let v1 = format!("/{CONTOSO}/oauth2/token");
    let valid = assertion(&SIGNER, &claims(APP, NOW));
    let with = |name: &str, value: Value| {
        let mut claims = claims(APP, NOW);
        claims[name] = value;
        assertion(&SIGNER, &claims)
    };
    let (strangers, late, early) =
        (assertion(&STRANGER, &claims(APP, NOW)), with("exp", json!(NOW - 300)), with("nbf", json!(NOW + 301)));
    let endless = with("exp", json!(NOW + 25 * 3600));
    let (issuer, subject, audience, exp) = (
        with("iss", json!("https://token.actions.githubusercontent.com")),
        with("sub", json!(MACHINE)),
        with("aud", json!(format!("{AUTHORITY}/{FABRIKAM}/oauth2/v2.0/token"))),
        with("exp", json!("soon")),
    );
    let unknown_key = jws(
        &STRANGER,
        Algorithm::Rs256,
        &json!({"alg": "RS256", "x5t": b64::url(&[0xab; 20])}),
        &claims(APP, NOW),
        false,
    );
    let no_key = jws(&SIGNER, Algorithm::Rs256, &json!({"alg": "RS256"}), &claims(APP, NOW), false);
    let base = || secret_form(&app, SECRET, VAULT).to_vec();
    let secret = |scope| secret_form(&app, SECRET, scope).to_vec();
    let by = |text| assertion_form(&app, text).to_vec();

    let cases: Vec<(&str, &str, Form<'_>)> = vec![
        ("no such tenant, by name", "/nobody.test/oauth2/v2.0/token", base()),
        ("no such tenant, by id", "/00000000-0000-0000-0000-00000000dead/oauth2/v2.0/token", base()),
        ("no tenant at all", "/no_tenant/oauth2/v2.0/token", base()),
        ("the tenant of all", "/common/oauth2/v2.0/token", base()),
        ("no grant", &v2, without(base(), "grant_type")),
        ("another grant", &v2, vec![("grant_type", "password")]),
        ("no code", &v2, vec![("grant_type", "authorization_code")]),
        ("no refresh token", &v2, vec![("grant_type", "refresh_token")]),
        ("no device code", &v2, vec![("grant_type", "device_code")]),
        (
            "another use of a token",
            &v2,
            vec![("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("requested_token_use", "x")],
        ),
        ("no client", &v2, without(base(), "client_id")),
        ("no credential", &v2, without(base(), "client_secret")),
        ("no scope", &v2, without(base(), "scope")),
        ("no resource", &v1, base()),
        ("resource at v2", &v2, and(base(), "resource", "https://vault.azure.net")),
        ("a parameter twice", &v2, and(base(), "scope", VAULT)),
        ("secret and assertion", &v2, and(by(&valid), "client_secret", SECRET)),
        ("no assertion type", &v2, without(by(&valid), "client_assertion_type")),
        ("scope is a permission", &v2, secret("https://graph.microsoft.com/User.Read")),
        ("scope is nothing", &v2, secret("openid")),
        ("scope is two resources", &v2, secret("https://a.test/.default https://b.test/.default")),
        ("no such resource", &v2, secret("https://nowhere.test/.default")),
        ("no such client", &v2, secret_form("00000000-0000-0000-0000-00000000dead", SECRET, VAULT).to_vec()),
        ("client is no id", &v2, secret_form("my-app\r\n<b>", SECRET, VAULT).to_vec()),
        ("wrong secret", &v2, secret_form(&app, "wrong", VAULT).to_vec()),
        ("assertion is no JWT", &v2, by("nonsense")),
        ("assertion by a stranger", &v2, by(&strangers)),
        ("assertion by an unregistered key", &v2, by(&unknown_key)),
        ("assertion names no key", &v2, by(&no_key)),
        ("assertion has ended", &v2, by(&late)),
        ("assertion begins later", &v2, by(&early)),
        ("assertion ends in more than a day", &v2, by(&endless)),
        ("assertion by another issuer", &v2, by(&issuer)),
        ("assertion about another", &v2, by(&subject)),
        ("assertion for another", &v2, by(&audience)),
        ("assertion without an end", &v2, by(&exp)),
    ];
    let mut text = String::new();
    for (what, uri, form) in cases {
        let answer = service.post(uri, &form).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert!(!answer.body.contains("access_token"), "{what}");
        let body: oauth::Error = answer.json();
        let described = body.error_description.clone();
        assert!(described.starts_with(&format!("AADSTS{}: ", body.error_codes[0])), "{what}");
        assert_eq!((body.trace_id, body.correlation_id), (REQUEST, REQUEST), "{what}");
        let reason = described.split(" Trace ID: ").next().unwrap();
        writeln!(text, "{what}\n  {} {}\n  {reason}\n", answer.status.as_u16(), body.error).unwrap();
    }
    insta::assert_snapshot!("errors", text);
    let whole = service.token(&secret_form(&app, "wrong", VAULT)).await;
    insta::assert_snapshot!("error_body", serde_json::to_string_pretty(&whole.json::<oauth::Error>()).unwrap());
}

#[tokio::test]
async fn d25_no_algorithm_that_needs_no_key_of_the_clients_is_accepted() {
    let service = Service::start().await;
    let claims = b64::url(claims(APP, NOW).to_string().as_bytes());
    let key = key_credential();
    let header = |alg: &str| b64::url(json!({"alg": alg, "x5t": b64::url(&key.x5t)}).to_string().as_bytes());
    for alg in ["none", "None", "NONE", ""] {
        let answer = service.assert(APP, &format!("{}.{claims}.", header(alg))).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, 50_027), "{alg}");
    }
    // The public key as the secret of an HMAC, in each form an attacker can have it.
    let input = format!("{}.{claims}", header("HS256"));
    let jwk = json!({"n": SIGNER.public().rsa().unwrap().n_base64url()}).to_string();
    for secret in [SIGNER.public().spki_der(), SIGNER.public().rsa().unwrap().n(), jwk.as_bytes()] {
        let mac = denizen_keys::hash::hmac_sha256(secret, input.as_bytes());
        let answer = service.assert(APP, &format!("{input}.{}", b64::url(&mac))).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, 50_027));
    }
    // The header brings its own key.
    let own = json!({"alg": "RS256", "x5t": b64::url(&key.x5t), "jwk": {"kty": "RSA", "n": STRANGER.public().rsa().unwrap().n_base64url(), "e": "AQAB"}});
    let text = jws(&STRANGER, Algorithm::Rs256, &own, &super::claims(APP, NOW), false);
    assert_eq!(service.assert(APP, &text).await.code(), 700_027);
}

#[tokio::test]
async fn d28_each_segment_of_an_assertion_is_covered() {
    let service = Service::start().await;
    let text = assertion(&SIGNER, &claims(APP, NOW));
    for segment in 0..3 {
        let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let middle = parts[segment].len() / 2;
        let other = if &parts[segment][middle..=middle] == "A" { "B" } else { "A" };
        parts[segment].replace_range(middle..=middle, other);
        let answer = service.assert(APP, &parts.join(".")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "segment {segment}: {}", answer.body);
    }
    for cut in [0, 1, text.len() / 2, text.len() - 1] {
        let answer = service.assert(APP, &text[..cut]).await;
        assert_ne!(answer.status, StatusCode::OK, "{cut}");
    }
}

#[tokio::test]
async fn an_expired_secret_is_called_so() {
    let service = Service::start().await;
    let passwords = vec![PasswordCredential { end: NOW, ..password_credential() }];
    service.deployment.put(CONTOSO, &Application { passwords, ..application(CONTOSO, APP) }).await;
    let answer = service.token(&secret_form(&APP.to_string(), SECRET, VAULT)).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, 7_000_222));
}

#[tokio::test]
async fn contradictory_and_oversized_forms_are_refused() {
    let service = Service::start().await;
    let uri = format!("/{CONTOSO}/oauth2/v2.0/token");
    let app = APP.to_string();
    let form = encode(&secret_form(&app, SECRET, VAULT));
    let basic = format!("Basic {}", b64::standard(format!("{APP}:{SECRET}").as_bytes()));
    let other = format!("Basic {}", b64::standard(format!("{MACHINE}:{SECRET}").as_bytes()));
    let bare = encode(&[("grant_type", "client_credentials"), ("client_id", &app), ("scope", VAULT)]);
    for (what, headers, body, code) in [
        ("two secrets", vec![("authorization", basic.as_str())], form.clone(), 90_023),
        ("two clients", vec![("authorization", other.as_str())], bare.clone(), 90_023),
        (
            "two headers",
            vec![("authorization", basic.as_str()), ("authorization", basic.as_str())],
            bare.clone(),
            90_023,
        ),
        ("a bearer token", vec![("authorization", "Bearer x")], bare.clone(), 90_023),
        ("no colon", vec![("authorization", "Basic eA==")], bare.clone(), 90_023),
        ("JSON", vec![("content-type", "application/json")], "{}".into(), 90_023),
        ("65 KiB", vec![], format!("{form}&x={}", "y".repeat(65 * 1024)), 90_023),
        ("65 parameters", vec![], (0..65).map(|n| format!("p{n}=1&")).collect(), 90_023),
        ("a telemetry field twice", vec![], format!("{form}&x-client-SKU=a&x-client-SKU=a"), 90_023),
        ("nothing", vec![], String::new(), 900_144),
    ] {
        let answer = service.send(Method::POST, &uri, &headers, &body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, code), "{what}: {}", answer.body);
    }
    let wrong = format!("Basic {}", b64::standard(format!("{APP}:wrong").as_bytes()));
    let answer = service.send(Method::POST, &uri, &[("authorization", &wrong)], &bare).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some("Basic")));
}

/// D-26: a route is in the table with what it requires, and refuses without it.
#[tokio::test]
async fn d26_every_route_refuses_who_shows_nothing() {
    let service = Service::start().await;
    let mut guarded = 0;
    for route in service.http.routes() {
        let uri = route.pattern.replace("{tenant}", &CONTOSO.to_string());
        let answer = service.send(route.method.clone(), &uri, &[], "").await;
        match &route.requires {
            Requirement::Public(why) => assert!(!why.is_empty() && route.method == Method::GET, "{}", route.pattern),
            // A page: what is refused is said in HTML.
            Requirement::OwnCredential(what) if what.starts_with("a password") => {
                assert!(answer.status.is_client_error() && answer.body.contains("Error AADSTS"), "{}", route.pattern);
            }
            Requirement::OwnCredential(_) => {
                guarded += 1;
                assert!(answer.status.is_client_error() && answer.code() != 0, "{}", route.pattern);
                assert!(!answer.body.contains("access_token"));
            }
            Requirement::Action(_) => panic!("{}: nothing here authorizes", route.pattern),
        }
        let answer = service.send(Method::PUT, &uri, &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{}", route.pattern);
        let same = service.http.routes().into_iter().filter(|other| other.pattern == route.pattern);
        let allowed: Vec<String> = same.map(|other| other.method.to_string()).collect();
        assert_eq!(answer.header("allow"), Some(allowed.join(", ").as_str()), "{}", route.pattern);
    }
    assert_eq!(guarded, 4);
    for unknown in
        ["/", "/contoso.test", "/contoso.test/oauth2/v2.0/token/", "/contoso.test//token", "/x/discovery/instance"]
    {
        assert_eq!(service.get(unknown).await.status, StatusCode::NOT_FOUND, "{unknown}");
    }
}

#[tokio::test]
async fn an_unknown_tenant_has_no_documents() {
    let service = Service::start().await;
    for path in [
        "v2.0/.well-known/openid-configuration",
        ".well-known/openid-configuration",
        "discovery/v2.0/keys",
        "discovery/keys",
    ] {
        let answer = service.get(&format!("/nobody.test/{path}")).await;
        let body: oauth::Error = answer.json();
        assert_eq!(
            (answer.status, body.error.as_str(), body.error_codes[0]),
            (StatusCode::BAD_REQUEST, "invalid_tenant", 90_002)
        );
        assert_eq!(service.get(&format!("/no_tenant/{path}")).await.code(), 900_023);
        // A tenant whose keys have not been made yet publishes an empty set, not somebody else's.
        assert!(service.get(&format!("/{FABRIKAM}/{path}")).await.status.is_success());
    }
    let keys: Value = service.get(&format!("/{FABRIKAM}/discovery/v2.0/keys")).await.json();
    assert_eq!(keys, json!({"keys": []}));
}

#[tokio::test]
async fn the_clients_request_id_is_echoed_when_asked_for_and_only_as_a_guid() {
    let service = Service::start().await;
    let uri = format!("/{CONTOSO}/oauth2/v2.0/token");
    let id = "019d2b1c-0000-4000-8000-000000000001";
    let asked = [("client-request-id", id), ("return-client-request-id", "true")];
    let answer = service.send(Method::POST, &uri, &asked, "").await;
    assert_eq!(answer.header("client-request-id"), Some(id));
    assert_eq!(answer.json::<oauth::Error>().correlation_id.to_string(), id);
    let answer = service.send(Method::POST, &uri, &[("client-request-id", id)], "").await;
    assert_eq!(answer.header("client-request-id"), None);
    let asked = [("client-request-id", "<script>"), ("return-client-request-id", "true")];
    let answer = service.send(Method::POST, &uri, &asked, "").await;
    assert_eq!(answer.header("client-request-id"), None);
    assert_eq!(answer.json::<oauth::Error>().correlation_id, REQUEST);
    // MSAL in JavaScript puts it into the URL, and into the body.
    let answer = service.send(Method::POST, &format!("{uri}?client-request-id={id}"), &[], "").await;
    assert_eq!(answer.json::<oauth::Error>().correlation_id.to_string(), id);
    let answer = service.token(&[("client-request-id", id)]).await;
    assert_eq!(answer.json::<oauth::Error>().correlation_id.to_string(), id);
}

/// Id and secret changed places, or the id came with a line feed: what was sent is not repeated to the client, and
/// nothing of it is kept.
#[tokio::test]
async fn a_client_id_that_is_no_id_is_not_repeated() {
    let service = Service::start().await;
    let padded = format!("{APP}\n");
    for sent in [SECRET, padded.as_str()] {
        let answer = service.token(&secret_form(sent, SECRET, VAULT)).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, 700_016), "{}", answer.body);
        assert!(!answer.body.contains(sent.trim()), "{}", answer.body);
        assert!(answer.body.contains("is not a GUID"), "{}", answer.body);
    }
    let kept = service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 1000).await.unwrap();
    assert!(kept.iter().all(|record| record.actor == "system:test"), "{kept:?}");
}

/// The secret in every other field: it is not repeated, and not kept.
#[tokio::test]
async fn a_secret_in_the_wrong_field_is_not_repeated() {
    const MISPLACED: &str = "cLConp8Q~xyz.abc_1-2";
    let service = Service::start().await;
    let app = APP.to_string();
    let form = |grant: &str, name: &'static str, value: &str| {
        let (grant, value) = (grant.to_owned(), value.to_owned());
        vec![("grant_type", grant), ("client_id", app.clone()), ("client_secret", SECRET.to_owned()), (name, value)]
    };
    let (v1, v2) = (format!("/{CONTOSO}/oauth2/token"), format!("/{CONTOSO}/oauth2/v2.0/token"));
    for (uri, form) in [
        (&v2, form(MISPLACED, "scope", "https://vault.azure.net/.default")),
        (&v2, form("client_credentials", "scope", MISPLACED)),
        (&v2, form("client_credentials", "scope", &format!("{MISPLACED}/.default"))),
        (&v1, form("client_credentials", "resource", MISPLACED)),
        (
            &format!("/{MISPLACED}/oauth2/v2.0/token"),
            form("client_credentials", "scope", "https://vault.azure.net/.default"),
        ),
    ] {
        let fields: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = service.post(uri, &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert!(!answer.body.contains("cLConp"), "{}", answer.body);
        let kept = format!("{:?}", service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 5).await.unwrap());
        assert!(!kept.contains("cLConp"), "{kept}");
    }
}

#[tokio::test]
async fn a_scope_sent_as_a_resource_is_told_to_drop_its_end() {
    let service = Service::start().await;
    let app = APP.to_string();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &app),
        ("client_secret", SECRET),
        ("resource", "https://storage.azure.com/.default"),
    ];
    let answer = service.post(&format!("/{CONTOSO}/oauth2/token"), &form).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, 500_011), "{}", answer.body);
    assert!(answer.body.contains("Ask for what stands before '/.default'"), "{}", answer.body);
}
