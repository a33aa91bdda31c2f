//! The `tracing` events of rejected tokens: they say why, and never hold the token.

use std::{
    io,
    sync::{Arc, Mutex},
};

use denizen_validate::ValidationError;
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::Fixture;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_event_says_why_a_token_was_rejected_and_does_not_hold_it() {
    let fixture = Fixture::new().await;
    let mut claims = fixture.claims();
    claims["aud"] = json!("api://other");
    let token = fixture.issuer.sign(&claims).unwrap();
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let error = fixture.check(&token).await.unwrap_err();
    let malformed = fixture.check("planted-marker").await.unwrap_err();
    drop(guard);
    assert!(matches!(error, ValidationError::WrongAudience { .. }), "{error}");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for part in ["token rejected", "api://other", &malformed.to_string()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for part in token.split('.').chain(["planted-marker"]) {
        assert!(!text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn no_event_and_no_error_holds_a_token_whether_it_is_valid_or_not() {
    let fixture = Fixture::with(|builder| builder.allow_role("Admin")).await;
    let changed = |name: &str, value: serde_json::Value| {
        let mut claims = fixture.claims();
        claims["roles"] = json!(["Admin"]);
        claims[name] = value;
        fixture.issuer.sign(&claims).unwrap()
    };
    let good = changed("roles", json!(["Admin"]));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let unknown = json!({"alg": "RS256", "kid": "unknown"});
    let tokens = [
        good.clone(),
        changed("roles", json!(["Reader"])),
        changed("aud", json!("api://other")),
        changed("iss", json!("https://other.example/")),
        changed("tid", json!("10000000-0000-4000-8000-000000000002")),
        changed("exp", json!(1)),
        changed("nbf", json!(i64::MAX)),
        changed("oid", json!(null)),
        changed("ver", json!("3.0")),
        fixture.issuer.sign_under(&unknown, &fixture.claims()).unwrap(),
        fixture.issuer.sign_under(&json!({"alg": "HS256"}), &fixture.claims()).unwrap(),
        format!("{signed}.MARKERMARKER"),
        format!("MARKERMARKER.{signed}"),
        "MARKERMARKER".to_owned(),
    ];
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let (mut valid, mut shown) = (0, String::new());
    // Before any key is there, with the keys, and when they cannot be fetched again.
    for round in ["unfetched", "fetched", "lost"] {
        match round {
            "unfetched" => fixture.authority.server().fail(1, denizen_identity_testkit::Fault::status(500)),
            "fetched" => fixture.time.advance(5),
            _ => {
                fixture.time.advance(301);
                fixture.authority.server().fail(u32::MAX, denizen_identity_testkit::Fault::status(500));
            }
        }
        for token in &tokens {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
            for result in [fixture.check(token).await, fixture.validator.authenticate(&headers).await] {
                match result {
                    Ok(claims) => {
                        valid += 1;
                        shown.push_str(&format!("{claims:?}"));
                    }
                    Err(error) => {
                        shown.push_str(&format!("{error} {error:?} {} {:?}", error.public(), error.challenge()));
                    }
                }
            }
        }
    }
    drop(guard);
    assert_eq!(valid, 4, "the good token, in the last two rounds");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for part in ["signing keys fetched", "signing keys not fetched", "token rejected", "token not checked"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The header of a token is no secret, and its parts are short.
    for part in tokens.iter().flat_map(|token| token.split('.')).filter(|part| part.len() > 10) {
        assert!(!text.contains(part) && !shown.contains(part), "{part} in {text}{shown}");
    }
}
