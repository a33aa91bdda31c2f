//! Tokens that are not what they say.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use denizen_identity_testkit::{Authority, Issuer, Options};
use denizen_validate::{TokenValidator, ValidationError};
use serde_json::json;

use crate::fixture::{AUDIENCE, Fixture, START, client, identity};

#[tokio::test]
async fn entra_and_denizen_are_taken_alike() {
    let entra = Authority::start(Options::default()).await.unwrap();
    let fixture = Fixture::new().await;
    let (tenant, time) = (entra.issuer().tenant().to_owned(), fixture.time.clone());
    let validator = TokenValidator::builder(AUDIENCE)
        .audience("80000000-0000-4000-8000-00000000000a")
        .trust_named(&entra.server().url(), &tenant, entra.issuer().iss(), entra.issuer().iss_v2())
        .trust(&fixture.authority.server().url(), &tenant)
        .accept_development_authorities()
        .allow_any_principal()
        .clock(time)
        .http_client(client(&[&entra, &fixture.authority]))
        .build()
        .unwrap();
    for issuer in [entra.issuer(), fixture.authority.issuer()] {
        let v1 = issuer.claims(&identity(), AUDIENCE, fixture.time.now(), 3600);
        let claims = validator.validate(&issuer.sign(&v1).unwrap()).await.unwrap();
        assert_eq!((claims.issuer(), claims.version()), (issuer.iss(), "1.0"));
        assert_eq!(claims.principal(), identity().object_id);
        assert_eq!(claims.client(), identity().client_id);
        assert_eq!(claims.managed_identity(), Some(identity().resource_id.as_str()));
        assert!(claims.is_app_only());
        assert_eq!(claims.get("appidacr"), Some(&json!("2")));

        let v2 = issuer.claims_v2(&identity(), "80000000-0000-4000-8000-00000000000a", fixture.time.now(), 3600);
        let claims = validator.validate(&issuer.sign(&v2).unwrap()).await.unwrap();
        assert_eq!((claims.issuer(), claims.version()), (issuer.iss_v2(), "2.0"));
        assert_eq!(claims.client(), identity().client_id);
        assert!(claims.is_app_only(), "v2 tokens say so by having no scope");
    }
    // Each vouches for its own name alone.
    let claims = entra.issuer().claims(&identity(), AUDIENCE, fixture.time.now(), 3600);
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": fixture.issuer.kid().unwrap()});
    let crossed = fixture.issuer.sign_under(&header, &claims).unwrap();
    assert_eq!(
        validator.validate(&crossed).await.unwrap_err(),
        ValidationError::UnknownKey { found: fixture.issuer.kid().unwrap() }
    );
}

#[tokio::test]
async fn d25_no_algorithm_but_rs256() {
    let fixture = Fixture::new().await;
    let claims = fixture.claims();
    let kid = fixture.issuer.kid().unwrap();
    for alg in ["none", "None", "HS256", "RS384", "PS256", "ES256", "rs256", ""] {
        let token = fixture.issuer.sign_under(&json!({"typ": "JWT", "alg": alg, "kid": kid}), &claims).unwrap();
        assert_eq!(
            fixture.check(&token).await.unwrap_err(),
            ValidationError::UnsupportedAlgorithm { found: alg.into() }
        );
    }
    // The classic: no signature at all, and a MAC whose key is the public one.
    let none = format!("{}.{}.", URL.encode(json!({"alg": "none"}).to_string()), URL.encode(claims.to_string()));
    assert_eq!(fixture.check(&none).await.unwrap_err(), ValidationError::UnsupportedAlgorithm { found: "none".into() });
    for (header, why) in [
        (json!({"alg": "RS256"}), "its header names no key"),
        (json!({"alg": "RS256", "kid": kid, "crit": ["b64"], "b64": false}), "'crit'"),
        (json!({"alg": "RS256", "kid": kid, "typ": "logout+jwt"}), "another type"),
        (json!({"alg": ["RS256"], "kid": kid}), "its header cannot be read"),
    ] {
        let error = fixture.check(&fixture.issuer.sign_under(&header, &claims).unwrap()).await.unwrap_err();
        assert!(matches!(error, ValidationError::Malformed(text) if text.contains(why)), "{header}: {error}");
    }
    let twice = format!("{{\"alg\":\"none\",\"alg\":\"RS256\",\"kid\":\"{kid}\"}}");
    let twice = format!("{}.{}.AA", URL.encode(twice), URL.encode(claims.to_string()));
    assert!(matches!(fixture.check(&twice).await.unwrap_err(), ValidationError::Malformed(_)));
}

#[tokio::test]
async fn d25_what_was_not_signed_is_not_believed() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    assert!(fixture.check(&token).await.is_ok());
    let [header, payload, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();

    let mut claims = fixture.claims();
    claims["roles"] = json!(["Admin"]);
    let swapped = format!("{header}.{}.{signature}", URL.encode(claims.to_string()));
    assert_eq!(fixture.check(&swapped).await.unwrap_err(), ValidationError::InvalidSignature);

    let mut bytes = URL.decode(signature).unwrap();
    bytes[100] ^= 1;
    let flipped = format!("{header}.{payload}.{}", URL.encode(&bytes));
    assert_eq!(fixture.check(&flipped).await.unwrap_err(), ValidationError::InvalidSignature);
    for signature in [String::new(), URL.encode(&bytes[1..]), URL.encode([0; 256]), URL.encode([0xff; 256])] {
        assert_eq!(
            fixture.check(&format!("{header}.{payload}.{signature}")).await.unwrap_err(),
            ValidationError::InvalidSignature
        );
    }
    // A stranger's key under the name of ours.
    let stranger = Issuer::entra(fixture.issuer.tenant());
    let forged = json!({"alg": "RS256", "kid": fixture.issuer.kid().unwrap()});
    let forged = stranger.sign_under(&forged, &fixture.claims()).unwrap();
    assert_eq!(fixture.check(&forged).await.unwrap_err(), ValidationError::InvalidSignature);

    for form in ["", ".", "..", "a.b", "a.b.c", &format!("{token}."), &format!("{token}.x"), &format!("{token}=")] {
        assert!(matches!(fixture.check(form).await.unwrap_err(), ValidationError::Malformed(_)), "{form}");
    }
    let huge = format!("{}{token}", "A".repeat(40_000));
    assert_eq!(fixture.check(&huge).await.unwrap_err(), ValidationError::Malformed("it is larger than 32 KiB"));
}

#[tokio::test]
async fn d28_no_character_of_a_token_can_be_changed() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    assert!(fixture.check(&token).await.is_ok());
    let signature_at = token.rfind('.').unwrap();
    for position in 0..token.len() {
        let was = token.as_bytes()[position];
        for other in [b'A', b'B', b'_', b'.', b'='] {
            let mut changed = token.clone().into_bytes();
            changed[position] = other;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(fixture.check(&changed).await.is_ok(), other == was, "{position}: {}", other as char);
        }
        let error = fixture.check(&token[..position]).await.unwrap_err();
        // What is left of the signature need not be base64url.
        let signature = token.get(signature_at + 1..position).map(|signature| URL.decode(signature));
        let expected = match signature {
            Some(Ok(_)) => error == ValidationError::InvalidSignature,
            Some(Err(_)) | None => matches!(error, ValidationError::Malformed(_)),
        };
        assert!(expected, "cut at {position}: {error}");
    }
}

#[tokio::test]
async fn d25_issuer_tenant_and_audience_are_compared_exactly() {
    let fixture = Fixture::new().await;
    let found = fixture.issuer.iss().to_owned();
    for iss in [
        "https://evil.example/".to_owned(),
        found.trim_end_matches('/').to_owned(),
        found.to_uppercase(),
        format!("{found}x"),
        found.replace(fixture.issuer.tenant(), "10000000-0000-4000-8000-000000000002"),
    ] {
        let error = fixture.changed(|claims| claims["iss"] = json!(iss)).await.unwrap_err();
        assert_eq!(error, ValidationError::UntrustedIssuer { found: iss });
    }
    assert_eq!(fixture.authority.server().requests().len(), 0, "nothing is fetched for a stranger");
    for aud in ["api://Orders", "api://orders/", "api://other", ""] {
        let error = fixture.changed(|claims| claims["aud"] = json!(aud)).await.unwrap_err();
        assert_eq!(error, ValidationError::WrongAudience { found: aud.into() });
    }
    assert_eq!(fixture.authority.server().requests().len(), 0, "nor for somebody else's token");
    let other = "10000000-0000-4000-8000-000000000002";
    let error = fixture.changed(|claims| claims["tid"] = json!(other)).await.unwrap_err();
    assert_eq!(error, ValidationError::WrongTenant { found: other.into() });
    let crossed = fixture.changed(|claims| claims["iss"] = json!(fixture.issuer.iss_v2())).await;
    assert_eq!(
        crossed.unwrap_err(),
        ValidationError::Malformed("its version is not its issuer's"),
        "v1 claims, v2 name"
    );
}

#[tokio::test]
async fn d31_every_claim_is_checked() {
    let fixture = Fixture::new().await;
    type Case = (&'static str, serde_json::Value);
    let malformed: [Case; 12] = [
        ("aud", json!([AUDIENCE])),
        ("exp", json!("1900000000")),
        ("exp", json!(1_900_000_000.5)),
        ("exp", json!(null)),
        ("nbf", json!("x")),
        ("oid", json!(null)),
        ("sub", json!(7)),
        ("tid", json!("contoso.test")),
        ("ver", json!("3.0")),
        ("appid", json!(null)),
        ("idtyp", json!("device")),
        ("roles", json!("Admin")),
    ];
    for (name, value) in malformed {
        let error = fixture.changed(|claims| claims[name] = value.clone()).await.unwrap_err();
        assert!(matches!(error, ValidationError::Malformed(_)), "{name} = {value}: {error}");
    }
    let users = fixture.changed(|claims| claims["scp"] = json!("read")).await;
    assert!(matches!(users, Err(ValidationError::Malformed(_))), "app-only and a scope");
    // The same claim twice: what one reader takes, another would not.
    let text = fixture.claims().to_string();
    let twice = format!("{},\"xms_mirid\":\"/another\"}}", text.trim_end_matches('}'));
    let header = json!({"alg": "RS256", "kid": fixture.issuer.kid().unwrap()});
    // Signed by hand: no JSON value holds a member twice.
    let signed = fixture.issuer.sign_text(&header.to_string(), &twice).unwrap();
    assert!(matches!(fixture.check(&signed).await.unwrap_err(), ValidationError::Malformed(_)));
}

#[tokio::test]
async fn d31_times_are_enforced_at_their_edges() {
    let fixture = Fixture::new().await;
    let at = |exp: i64, nbf: i64| {
        fixture.changed(move |claims| {
            claims["exp"] = json!(exp);
            claims["nbf"] = json!(nbf);
        })
    };
    assert!(at(START - 299, START).await.is_ok(), "within the skew");
    assert_eq!(
        at(START - 300, START).await.unwrap_err(),
        ValidationError::Expired { at: denizen_wire::UnixTime(START - 300) }
    );
    assert!(at(START + 10, START + 300).await.is_ok());
    assert_eq!(
        at(START + 10, START + 301).await.unwrap_err(),
        ValidationError::NotYetValid { at: denizen_wire::UnixTime(START + 301) }
    );
    assert!(matches!(at(i64::MIN, START).await.unwrap_err(), ValidationError::Expired { .. }));
    assert!(matches!(at(i64::MAX, i64::MAX).await.unwrap_err(), ValidationError::NotYetValid { .. }));
    assert!(at(i64::MAX, i64::MIN).await.is_ok());

    let strict = Fixture::with(|builder| builder.allow_any_principal().clock_skew(0)).await;
    let token = strict.token();
    strict.time.advance(3599);
    assert!(strict.check(&token).await.is_ok());
    strict.time.advance(1);
    assert!(matches!(strict.check(&token).await.unwrap_err(), ValidationError::Expired { .. }));
}
