//! Every way in which a client library is known to write its assertion, end to end.

use super::*;
use crate::app::signing::fixture::{APP, MACHINE, SIGNER};

/// One client library's way.
struct Dialect {
    name: &'static str,
    alg: Algorithm,
    header: Value,
    claims: Value,
    padded: bool,
}

fn url_padded(bytes: &[u8]) -> String {
    b64::standard(bytes).replace('+', "-").replace('/', "_")
}

fn broken(bytes: &[u8]) -> String {
    let text = b64::standard(bytes);
    text.as_bytes().chunks(64).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect()
}

fn dialects(client: ClientId) -> Vec<Dialect> {
    let key = key_credential();
    let der = vec![0x30; 700];
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", broken(&der));
    let now = NOW.0;
    let endpoint = format!("{AUTHORITY}/{CONTOSO}/oauth2/v2.0/token");
    let base = |aud: &Value, times: Value| {
        let mut claims = json!({"iss": client, "sub": client, "aud": aud, "jti": Uuid::from_u128(7)});
        claims.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        claims
    };
    let aud = json!(endpoint);
    let floats = json!({"iat": now as f64 + 0.6552339, "exp": now as f64 + 600.655_233_9});
    let whole = |exp: i64| json!({"nbf": now, "exp": now + exp});
    let (rs, ps) = (Algorithm::Rs256, Algorithm::Ps256);
    let rows: Vec<(&'static str, Algorithm, Value, Value, bool)> = vec![
        (
            "azure-identity for Python, and the Azure CLI",
            rs,
            json!({"x5t": url_padded(&key.x5t)}),
            base(&aud, floats.clone()),
            false,
        ),
        (
            "MSAL for Python with PFX",
            ps,
            json!({"x5t#S256": url_padded(&key.x5t_s256)}),
            base(&aud, floats.clone()),
            false,
        ),
        (
            "the Azure CLI with --use-cert-sn-issuer",
            rs,
            json!({"x5t": url_padded(&key.x5t), "x5c": [broken(&der), broken(&der)]}),
            base(&aud, floats),
            false,
        ),
        (
            "azure-identity for Python, asynchronous",
            ps,
            json!({"x5t#S256": url_padded(&key.x5t_s256)}),
            base(&aud, whole(1800)),
            true,
        ),
        (
            "azure-identity and MSAL for Node",
            ps,
            json!({"x5t#S256": b64::url(&key.x5t_s256)}),
            base(&aud, json!({"nbf": now, "iat": now, "exp": now + 600})),
            false,
        ),
        (
            "MSAL for Node with a SHA-1 thumbprint",
            rs,
            json!({"x5t": b64::url(&key.x5t)}),
            base(&aud, whole(600)),
            false,
        ),
        (
            "MSAL and azidentity for Go",
            ps,
            json!({"x5t#S256": b64::standard(&key.x5t_s256)}),
            base(&aud, whole(600)),
            false,
        ),
        ("azure_identity for Rust", rs, json!({"x5t": b64::standard(&key.x5t)}), base(&aud, whole(300)), false),
        (
            "azure_identity for Rust with its chain",
            rs,
            json!({"x5t": b64::standard(&key.x5t), "x5c": [b64::standard(pem.as_bytes())]}),
            base(&aud, whole(300)),
            false,
        ),
        (
            "MSAL.NET with its chain",
            ps,
            json!({"x5t#S256": b64::url(&key.x5t_s256), "x5c": b64::standard(&der)}),
            base(&aud, json!({"nbf": now.to_string(), "exp": (now + 600).to_string()})),
            false,
        ),
        ("MSAL.NET without PSS", rs, json!({"x5t": b64::url(&key.x5t)}), base(&aud, whole(600)), false),
        (
            "MSAL for Java",
            rs,
            json!({"x5t#S256": b64::url(&key.x5t_s256)}),
            base(&json!([endpoint]), whole(600)),
            false,
        ),
    ];
    rows.into_iter()
        .map(|(name, alg, members, claims, padded)| {
            let mut header = json!({"alg": alg.name(), "typ": "JWT"});
            header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            Dialect { name, alg, header, claims, padded }
        })
        .collect()
}

#[tokio::test]
async fn every_dialect_gets_a_token_and_its_tampered_twin_none() {
    let service = Service::start().await;
    for client in [APP, MACHINE] {
        for Dialect { name, alg, header, claims, padded } in dialects(client) {
            let text = jws(&SIGNER, alg, &header, &claims, padded);
            if padded {
                assert!(text.contains('='), "{name}: the fixture must be padded");
            }
            let answer = service.assert(client, &text).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.body);
            let got = service.verified(CONTOSO, &answer.access_token()).await;
            assert_eq!((got.appid, got.appidacr.as_deref()), (Some(client), Some("2")), "{name}");
            // Some clients use an assertion until it ends.
            assert_eq!(service.assert(client, &text).await.status, StatusCode::OK, "{name}");

            let mut other = claims.clone();
            other["jti"] = json!("another");
            let (head, _) = text.split_once('.').unwrap();
            let (_, signature) = text.rsplit_once('.').unwrap();
            let swapped = format!("{head}.{}.{signature}", b64::url(other.to_string().as_bytes()));
            assert_eq!(service.assert(client, &swapped).await.code(), 700_027, "{name}");
        }
    }
}

#[tokio::test]
async fn every_name_of_the_tenant_reaches_it() {
    let service = Service::start().await;
    for tenant in
        [CONTOSO.to_string(), CONTOSO.to_string().to_uppercase(), "contoso.test".into(), "Contoso.TEST".into()]
    {
        for path in ["oauth2/v2.0/token", "OAuth2/V2.0/Token"] {
            let mut claims = claims(APP, NOW);
            // As the client typed it, so the audience has the same spelling.
            claims["aud"] = json!(format!("{AUTHORITY}/{tenant}/{path}"));
            let client = APP.to_string();
            let text = assertion(&SIGNER, &claims);
            let answer = service.post(&format!("/{tenant}/{path}"), &assertion_form(&client, &text)).await;
            let token = service.verified(CONTOSO, &answer.access_token()).await;
            assert_eq!(token.tid, CONTOSO, "{tenant}");
        }
    }
}

#[tokio::test]
async fn what_clients_add_is_let_pass() {
    let service = Service::start().await;
    let text = assertion(&SIGNER, &claims(APP, NOW));
    let client = APP.to_string();
    let mut form = assertion_form(&client, &text).to_vec();
    form.extend([
        ("client_info", "1"),
        ("claims", r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#),
        ("x-client-SKU", "msal.js.node"),
        ("x-client-current-telemetry", "5|771,0,,,|,"),
        ("x-ms-lib-capability", "retry-after, h429"),
        ("client-request-id", "019d2b1c-0000-4000-8000-000000000001"),
    ]);
    let uri = format!("/{CONTOSO}/oauth2/v2.0/token?client-request-id=019d2b1c-0000-4000-8000-000000000001");
    assert_eq!(service.post(&uri, &form).await.status, StatusCode::OK);
}
