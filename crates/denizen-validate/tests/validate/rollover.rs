//! The keys: when they are fetched, when they are not, and what is believed meanwhile.

use std::time::Duration;

use denizen_identity_testkit::{Fault, Reply};
use denizen_validate::ValidationError;
use serde_json::{Value, json};

use crate::fixture::Fixture;

const HOUR: i64 = 3600;

/// Lets the background fetch end.
async fn settled(fixture: &Fixture, fetches: usize) {
    for _ in 0..500 {
        if fixture.fetches() >= fetches {
            // The answer has still to be read.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} fetches, and not {fetches}", fixture.fetches());
}

#[tokio::test]
async fn many_at_once_make_one_fetch() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    fixture.authority.server().set_behavior(|behavior| behavior.delay = Duration::from_millis(50));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (validator, token) = (fixture.validator.clone(), token.clone());
            tokio::spawn(async move { validator.validate(&token).await.is_ok() })
        })
        .collect();
    for one in waiting {
        assert!(one.await.unwrap());
    }
    assert_eq!(fixture.authority.server().requests().len(), 2, "metadata and keys, once");
}

#[tokio::test]
async fn keys_can_be_had_before_the_first_token() {
    let fixture = Fixture::new().await;
    fixture.authority.server().fail(1, Fault::status(404));
    assert!(matches!(fixture.validator.prepare().await.unwrap_err(), ValidationError::KeysUnavailable { .. }));
    fixture.time.advance(5);
    fixture.validator.prepare().await.unwrap();
    assert_eq!(fixture.fetches(), 2, "of v1 and of v2 tokens");
    fixture.validator.prepare().await.unwrap();
    assert!(fixture.check(&fixture.token()).await.is_ok());
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_undo_the_fetch() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    fixture.authority.server().set_behavior(|behavior| behavior.delay = Duration::from_millis(100));
    let hung_up = tokio::time::timeout(Duration::from_millis(20), fixture.check(&token)).await;
    assert!(hung_up.is_err());
    assert!(fixture.check(&token).await.is_ok());
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_when_its_first_token_comes() {
    let fixture = Fixture::new().await;
    let old = fixture.token();
    assert!(fixture.check(&old).await.is_ok());
    fixture.time.advance(301);
    fixture.issuer.rotate().unwrap();
    let new = fixture.token();
    assert!(fixture.check(&new).await.is_ok());
    assert!(fixture.check(&old).await.is_ok(), "the old one is still published");
    assert_eq!(fixture.fetches(), 2);

    fixture.issuer.retire();
    fixture.issuer.rotate().unwrap();
    fixture.time.advance(301);
    assert!(fixture.check(&fixture.token()).await.is_ok());
    assert!(matches!(fixture.check(&old).await.unwrap_err(), ValidationError::UnknownKey { .. }), "and now it is not");
}

#[tokio::test]
async fn d31_invented_keys_cost_one_fetch_in_five_minutes() {
    let fixture = Fixture::new().await;
    assert!(fixture.check(&fixture.token()).await.is_ok());
    let invented = |n: usize| {
        let header = json!({"alg": "RS256", "kid": format!("invented-{n}")});
        fixture.issuer.sign_under(&header, &fixture.claims()).unwrap()
    };
    for n in 0..20 {
        assert!(matches!(fixture.check(&invented(n)).await.unwrap_err(), ValidationError::UnknownKey { .. }));
    }
    assert_eq!(fixture.fetches(), 1, "the keys were fetched just now");
    fixture.time.advance(300);
    for n in 0..20 {
        assert!(matches!(fixture.check(&invented(n)).await.unwrap_err(), ValidationError::UnknownKey { .. }));
    }
    assert_eq!(fixture.fetches(), 2);
    fixture.time.advance(-10_000);
    assert!(matches!(fixture.check(&invented(0)).await, Err(ValidationError::UnknownKey { .. })));
    assert_eq!(fixture.fetches(), 3, "a clock put back does not stop the fetching");
}

#[tokio::test]
async fn a_clock_put_back_does_not_keep_a_withdrawn_key() {
    let fixture = Fixture::new().await;
    fixture.time.advance(10_000);
    let now = fixture.issuer.sign(&fixture.claims()).unwrap();
    assert!(fixture.check(&now).await.is_ok());
    fixture.time.advance(-10_000);
    let before = fixture.token();
    fixture.issuer.rotate().unwrap();
    fixture.issuer.retire();
    assert!(fixture.check(&before).await.is_ok(), "checked with the keys at hand, and they are fetched meanwhile");
    settled(&fixture, 2).await;
    assert!(matches!(fixture.check(&before).await.unwrap_err(), ValidationError::UnknownKey { .. }));
}

#[tokio::test]
async fn a_failure_is_shared_by_all_who_waited_for_it() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    fixture.authority.server().set_behavior(|behavior| behavior.delay = Duration::from_millis(100));
    fixture.authority.server().fail(u32::MAX, Fault::status(500));
    // The fetch takes longer than the least time between two, by the clock that the validator reads.
    let time = fixture.time.clone();
    let clock = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        time.advance(10);
    });
    let checks: Vec<_> = (0..5)
        .map(|_| {
            let (validator, token) = (fixture.validator.clone(), token.clone());
            tokio::spawn(async move { validator.validate(&token).await.unwrap_err() })
        })
        .collect();
    for check in checks {
        assert!(matches!(check.await.unwrap(), ValidationError::KeysUnavailable { .. }));
    }
    clock.await.unwrap();
    assert_eq!(fixture.authority.server().requests().len(), 1, "one fetch, not one for each");
}

#[tokio::test]
async fn a_new_key_that_cannot_be_fetched_is_no_forgery() {
    let fixture = Fixture::new().await;
    assert!(fixture.check(&fixture.token()).await.is_ok());
    fixture.issuer.rotate().unwrap();
    fixture.time.advance(301);
    fixture.authority.server().fail(u32::MAX, Fault::status(503));
    let error = fixture.check(&fixture.token()).await.unwrap_err();
    assert!(matches!(&error, ValidationError::KeysUnavailable { why, .. } if why.contains("503")), "{error}");
    fixture.authority.server().heal();
    fixture.time.advance(301);
    assert!(fixture.check(&fixture.token()).await.is_ok());
}

#[tokio::test]
async fn keys_are_followed_every_hour_without_anybody_waiting() {
    let fixture = Fixture::new().await;
    let old = fixture.issuer.clone();
    let kept = fixture.token();
    assert!(fixture.check(&kept).await.is_ok());
    fixture.issuer.rotate().unwrap();
    old.retire();
    fixture.time.advance(HOUR - 400);
    assert!(fixture.check(&kept).await.is_ok());
    assert_eq!(fixture.fetches(), 1);
    fixture.time.advance(400);
    assert!(fixture.check(&kept).await.is_ok(), "checked with the keys at hand, and they are fetched meanwhile");
    settled(&fixture, 2).await;
    assert!(
        matches!(fixture.check(&kept).await.unwrap_err(), ValidationError::UnknownKey { .. }),
        "the key was withdrawn"
    );
}

#[tokio::test]
async fn the_last_known_keys_are_good_for_a_day() {
    let fixture = Fixture::new().await;
    assert!(fixture.check(&fixture.token()).await.is_ok());
    fixture.authority.server().fail(u32::MAX, Fault::status(503));
    for _ in 0..23 {
        fixture.time.advance(HOUR);
        assert!(fixture.check(&fixture.token()).await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fixture.time.advance(HOUR);
    let error = fixture.check(&fixture.token()).await.unwrap_err();
    assert!(matches!(&error, ValidationError::KeysUnavailable { why, .. } if why.contains("503")), "{error}");
    assert_eq!(error.status(), 503);
    fixture.authority.server().heal();
    fixture.time.advance(5);
    assert!(fixture.check(&fixture.token()).await.is_ok(), "and it recovers by itself");
}

#[tokio::test]
async fn an_authority_that_is_away_from_the_start_is_asked_again() {
    let fixture = Fixture::new().await;
    let token = fixture.token();
    fixture.authority.server().fail(1, Fault::Reset);
    // A reset connection is tried once more by the HTTP client where nothing was sent, so the keys too must fail.
    fixture.authority.server().fail(2, Fault::status(500));
    assert!(matches!(fixture.check(&token).await.unwrap_err(), ValidationError::KeysUnavailable { .. }));
    let asked = fixture.authority.server().requests().len();
    assert!(matches!(fixture.check(&token).await.unwrap_err(), ValidationError::KeysUnavailable { .. }));
    assert_eq!(fixture.authority.server().requests().len(), asked, "not within five seconds");
    fixture.authority.server().heal();
    fixture.time.advance(5);
    assert!(fixture.check(&token).await.is_ok());
}

#[tokio::test]
async fn metadata_that_speaks_for_somebody_else_is_not_followed() {
    let fixture = Fixture::new().await;
    let elsewhere = json!({"issuer": fixture.issuer.iss(), "jwks_uri": "https://evil.example/keys"});
    let other = json!({"issuer": "https://evil.example/", "jwks_uri": fixture.authority.server().url() + "/keys"});
    let template = fixture.issuer.iss().replace(fixture.issuer.tenant(), "{tenantid}");
    let jwks = format!("{}/{}/discovery/keys", fixture.authority.server().url(), fixture.issuer.tenant());
    for (body, why) in [(&elsewhere, "another origin"), (&other, "of the issuer"), (&json!([]), "cannot be parsed")] {
        fixture.publish("/.well-known/openid-configuration", body);
        let error = fixture.check(&fixture.token()).await.unwrap_err();
        assert!(matches!(&error, ValidationError::KeysUnavailable { why: text, .. } if text.contains(why)), "{error}");
        fixture.authority.server().heal();
        fixture.time.advance(5);
    }
    fixture.publish("/.well-known/openid-configuration", &json!({"issuer": template, "jwks_uri": jwks}));
    assert!(fixture.check(&fixture.token()).await.is_ok(), "a template is for this tenant too");
}

#[tokio::test]
async fn keys_that_are_none_are_left_out() {
    let fixture = Fixture::new().await;
    let good = fixture.issuer.jwks().unwrap()["keys"][0].clone();
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    for (key, is_good) in [
        (with("use", json!("enc")), false),
        (with("kty", json!("EC")), false),
        (with("alg", json!("RS512")), false),
        (with("e", json!("AQ")), false),
        (with("n", json!("AQAB")), false),
        (with("n", json!("not base64url!")), false),
        (with("kid", json!(null)), false),
        (with("issuer", json!("https://evil.example/")), false),
        (with("issuer", json!(format!("{}/{{tenantid}}/v2.0", fixture.authority.server().url()))), true),
        (with("issuer", json!(fixture.issuer.iss())), true),
        (with("alg", json!("RS256")), true),
    ] {
        fixture.publish("/discovery/keys", &json!({"keys": [{"kty": "OKP", "crv": "Ed25519"}, key]}));
        // Keys that were fetched well are kept for a day.
        fixture.time.advance(25 * HOUR);
        assert_eq!(fixture.check(&fixture.token()).await.is_ok(), is_good, "{key}");
        fixture.authority.server().heal();
    }
}

#[tokio::test]
async fn an_exponent_of_one_makes_no_key() {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};

    let fixture = Fixture::new().await;
    let token = fixture.token();
    let (signed, _) = token.rsplit_once('.').unwrap();
    // PKCS #1 v1.5's padded digest: raised to the power of one, it is its own signature.
    let digest_info = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
        0x20,
    ];
    let mut padded = vec![0, 1];
    padded.resize(256 - 1 - digest_info.len() - 32, 0xff);
    padded.push(0);
    padded.extend(digest_info);
    padded.extend(digest(&SHA256, signed.as_bytes()).as_ref());
    assert_eq!(padded.len(), 256);
    let mut key = fixture.issuer.jwks().unwrap()["keys"][0].clone();
    key["e"] = json!("AQ");
    fixture.publish("/discovery/keys", &json!({"keys": [key]}));
    let error = fixture.check(&format!("{signed}.{}", URL.encode(padded))).await.unwrap_err();
    assert!(
        matches!(&error, ValidationError::KeysUnavailable { why, .. } if why.contains("no usable RSA signing key")),
        "{error}"
    );
}

#[tokio::test]
async fn keys_are_not_fetched_through_a_redirect() {
    let fixture = Fixture::new().await;
    let elsewhere = format!("{}/elsewhere", fixture.authority.server().url());
    let redirect = Fault::Answer(Reply::empty(302).with("Location", &elsewhere));
    fixture.authority.server().fail_when(u32::MAX, |request| request.path.ends_with("/keys"), redirect);
    let keys = Fault::Answer(Reply::json(200, &fixture.issuer.jwks().unwrap()));
    fixture.authority.server().fail_when(u32::MAX, |request| request.path == "/elsewhere", keys);
    let error = fixture.check(&fixture.token()).await.unwrap_err();
    assert!(matches!(&error, ValidationError::KeysUnavailable { why, .. } if why.contains("redirect")), "{error}");
}
