//! The keys: when they are fetched, when they are not, and what is believed meanwhile.

use std::time::Duration;

use denizen_identity::{testkit::Fault, validate::Refusal};
use serde_json::{Value, json};

use crate::bed::Bed;

const HOUR: i64 = 3600;

/// Lets the background fetch end.
async fn settled(bed: &Bed, fetches: usize) {
    for _ in 0..500 {
        if bed.fetches() >= fetches {
            // The answer has still to be read.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} fetches, and not {fetches}", bed.fetches());
}

#[tokio::test]
async fn many_at_once_make_one_fetch() {
    let bed = Bed::new().await;
    let token = bed.token();
    bed.authority.server().manner(|manner| manner.delay = Duration::from_millis(50));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (validator, token) = (bed.validator.clone(), token.clone());
            tokio::spawn(async move { validator.validate(&token).await.is_ok() })
        })
        .collect();
    for one in waiting {
        assert!(one.await.unwrap());
    }
    assert_eq!(bed.authority.server().requests().len(), 2, "metadata and keys, once");
}

#[tokio::test]
async fn keys_can_be_had_before_the_first_token() {
    let bed = Bed::new().await;
    bed.authority.server().fail(1, Fault::status(404));
    assert!(matches!(bed.validator.prepare().await.unwrap_err(), Refusal::Unavailable { .. }));
    bed.time.advance(5);
    bed.validator.prepare().await.unwrap();
    assert_eq!(bed.fetches(), 2, "of v1 and of v2 tokens");
    bed.validator.prepare().await.unwrap();
    assert!(bed.check(&bed.token()).await.is_ok());
    assert_eq!(bed.fetches(), 2);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_undo_the_fetch() {
    let bed = Bed::new().await;
    let token = bed.token();
    bed.authority.server().manner(|manner| manner.delay = Duration::from_millis(100));
    let hung_up = tokio::time::timeout(Duration::from_millis(20), bed.check(&token)).await;
    assert!(hung_up.is_err());
    assert!(bed.check(&token).await.is_ok());
    assert_eq!(bed.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_when_its_first_token_comes() {
    let bed = Bed::new().await;
    let old = bed.token();
    assert!(bed.check(&old).await.is_ok());
    bed.time.advance(301);
    bed.issuer.rotate().unwrap();
    let new = bed.token();
    assert!(bed.check(&new).await.is_ok());
    assert!(bed.check(&old).await.is_ok(), "the old one is still published");
    assert_eq!(bed.fetches(), 2);

    bed.issuer.retire();
    bed.issuer.rotate().unwrap();
    bed.time.advance(301);
    assert!(bed.check(&bed.token()).await.is_ok());
    assert!(matches!(bed.check(&old).await.unwrap_err(), Refusal::Key { .. }), "and now it is not");
}

#[tokio::test]
async fn d31_invented_keys_cost_one_fetch_in_five_minutes() {
    let bed = Bed::new().await;
    assert!(bed.check(&bed.token()).await.is_ok());
    let invented = |n: usize| {
        let header = json!({"alg": "RS256", "kid": format!("invented-{n}")});
        bed.issuer.sign_under(&header, &bed.claims()).unwrap()
    };
    for n in 0..20 {
        assert!(matches!(bed.check(&invented(n)).await.unwrap_err(), Refusal::Key { .. }));
    }
    assert_eq!(bed.fetches(), 1, "the keys were fetched just now");
    bed.time.advance(300);
    for n in 0..20 {
        assert!(matches!(bed.check(&invented(n)).await.unwrap_err(), Refusal::Key { .. }));
    }
    assert_eq!(bed.fetches(), 2);
    bed.time.advance(-10_000);
    assert!(bed.check(&invented(0)).await.is_err());
    assert_eq!(bed.fetches(), 3, "a clock put back does not stop the fetching");
}

#[tokio::test]
async fn keys_are_followed_every_hour_without_anybody_waiting() {
    let bed = Bed::new().await;
    let old = bed.issuer.clone();
    let kept = bed.token();
    assert!(bed.check(&kept).await.is_ok());
    bed.issuer.rotate().unwrap();
    old.retire();
    bed.time.advance(HOUR - 400);
    assert!(bed.check(&kept).await.is_ok());
    assert_eq!(bed.fetches(), 1);
    bed.time.advance(400);
    assert!(bed.check(&kept).await.is_ok(), "checked with the keys at hand, and they are fetched meanwhile");
    settled(&bed, 2).await;
    assert!(matches!(bed.check(&kept).await.unwrap_err(), Refusal::Key { .. }), "the key was withdrawn");
}

#[tokio::test]
async fn the_last_known_keys_are_good_for_a_day() {
    let bed = Bed::new().await;
    assert!(bed.check(&bed.token()).await.is_ok());
    bed.authority.server().fail(u32::MAX, Fault::status(503));
    for _ in 0..23 {
        bed.time.advance(HOUR);
        assert!(bed.check(&bed.token()).await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bed.time.advance(HOUR);
    let refusal = bed.check(&bed.token()).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Unavailable { why, .. } if why.contains("503")), "{refusal}");
    assert_eq!(refusal.status(), 503);
    bed.authority.server().heal();
    bed.time.advance(5);
    assert!(bed.check(&bed.token()).await.is_ok(), "and it recovers by itself");
}

#[tokio::test]
async fn an_authority_that_is_away_from_the_start_is_asked_again() {
    let bed = Bed::new().await;
    let token = bed.token();
    bed.authority.server().fail(1, Fault::Reset);
    // A reset connection is tried once more by the HTTP client where nothing was sent, so the keys too must fail.
    bed.authority.server().fail(2, Fault::status(500));
    assert!(matches!(bed.check(&token).await.unwrap_err(), Refusal::Unavailable { .. }));
    let asked = bed.authority.server().requests().len();
    assert!(matches!(bed.check(&token).await.unwrap_err(), Refusal::Unavailable { .. }));
    assert_eq!(bed.authority.server().requests().len(), asked, "not within five seconds");
    bed.authority.server().heal();
    bed.time.advance(5);
    assert!(bed.check(&token).await.is_ok());
}

#[tokio::test]
async fn metadata_that_speaks_for_somebody_else_is_not_followed() {
    let bed = Bed::new().await;
    let elsewhere = json!({"issuer": bed.issuer.iss(), "jwks_uri": "https://evil.example/keys"});
    let other = json!({"issuer": "https://evil.example/", "jwks_uri": bed.authority.server().url() + "/keys"});
    let template = bed.issuer.iss().replace(bed.issuer.tenant(), "{tenantid}");
    let jwks = format!("{}/{}/discovery/keys", bed.authority.server().url(), bed.issuer.tenant());
    for (body, why) in [(&elsewhere, "elsewhere"), (&other, "of the issuer"), (&json!([]), "cannot be read")] {
        bed.publish("/.well-known/openid-configuration", body);
        let refusal = bed.check(&bed.token()).await.unwrap_err();
        assert!(matches!(&refusal, Refusal::Unavailable { why: text, .. } if text.contains(why)), "{refusal}");
        bed.authority.server().heal();
        bed.time.advance(5);
    }
    bed.publish("/.well-known/openid-configuration", &json!({"issuer": template, "jwks_uri": jwks}));
    assert!(bed.check(&bed.token()).await.is_ok(), "a template is for this tenant too");
}

#[tokio::test]
async fn keys_that_are_none_are_left_out() {
    let bed = Bed::new().await;
    let good = bed.issuer.jwks().unwrap()["keys"][0].clone();
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
        (with("issuer", json!(format!("{}/{{tenantid}}/v2.0", bed.authority.server().url()))), true),
        (with("issuer", json!(bed.issuer.iss())), true),
        (with("alg", json!("RS256")), true),
    ] {
        bed.publish("/discovery/keys", &json!({"keys": [{"kty": "OKP", "crv": "Ed25519"}, key]}));
        // Keys that were fetched well are kept for a day.
        bed.time.advance(25 * HOUR);
        assert_eq!(bed.check(&bed.token()).await.is_ok(), is_good, "{key}");
        bed.authority.server().heal();
    }
}

#[tokio::test]
async fn an_exponent_of_one_makes_no_key() {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};

    let bed = Bed::new().await;
    let token = bed.token();
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
    let mut key = bed.issuer.jwks().unwrap()["keys"][0].clone();
    key["e"] = json!("AQ");
    bed.publish("/discovery/keys", &json!({"keys": [key]}));
    let refusal = bed.check(&format!("{signed}.{}", URL.encode(padded))).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Unavailable { why, .. } if why.contains("no RSA key")), "{refusal}");
}
