use std::collections::HashMap;

use denizen_keys::{RsaBits, Signer, b64, ca::SanEntry, jws::LaxAssertion};
use denizen_wire::{Clock, UnixTime};

use super::*;
use crate::{
    custody::NodeKey,
    upstream::{
        fake::{Certified, FakeServer},
        https::Outbound,
    },
};

const NOW: UnixTime = UnixTime(1_800_000_000);
const TOKEN: &str =
    r#"{"token_type":"Bearer","expires_in":14399,"ext_expires_in":14399,"refresh_in":7199,"access_token":"a.b.c"}"#;

fn identity() -> Identity {
    Identity {
        client_id: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
        object_id: "66666666-7777-8888-9999-000000000000".parse().unwrap(),
        resource_id: "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff".parse().unwrap(),
    }
}

/// One key for all tests: making one takes longer than they do.
fn signer() -> Signer {
    static KEY: std::sync::OnceLock<Signer> = std::sync::OnceLock::new();
    KEY.get_or_init(|| Signer::generate_rsa(RsaBits::B2048).unwrap()).clone()
}

fn client(server: &FakeServer, signer: &Signer, clock: &Clock) -> OAuthClient {
    let https = HttpsClient::new(&server.url(), &server.outbound()).unwrap();
    let endpoint = format!("{}/t/oauth2/v2.0/token", server.url());
    let assertions = AssertionCache::new(NodeKey::File(signer.clone()), &[0xfb; 32], &endpoint, clock.clone());
    OAuthClient::new(https, assertions).unwrap()
}

fn assertions(endpoint: &str) -> AssertionCache {
    AssertionCache::new(NodeKey::File(signer()), &[0; 32], endpoint, Clock::manual(NOW))
}

fn form(body: &str) -> HashMap<String, String> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn the_request_is_a_plain_client_credentials_grant_by_assertion() {
    let server = FakeServer::new(|_, _| (200, TOKEN.into())).await;
    let (signer, clock) = (signer(), Clock::manual(NOW));
    let fetched = client(&server, &signer, &clock).fetch(&identity(), "https://management.azure.com/").await.unwrap();
    assert_eq!((fetched.access_token.expose(), fetched.expires_in), ("a.b.c", 14_399));

    let asked = server.asked();
    assert_eq!(asked[0].0, "/t/oauth2/v2.0/token");
    let form = form(&asked[0].1);
    let id = identity().client_id.to_string();
    assert_eq!(form["client_id"], id);
    assert_eq!(form["scope"], "https://management.azure.com//.default");
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(form.len(), 5, "and nothing of our own: {form:?}");

    let assertion = &form["client_assertion"];
    let header = b64::decode_url(assertion.split('.').next().unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(header).unwrap(),
        r#"{"alg":"PS256","typ":"JWT","x5t#S256":"-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s"}"#
    );
    let verified = LaxAssertion::parse(assertion).unwrap().verify(signer.public()).unwrap();
    let claims: serde_json::Value = verified.claims().unwrap();
    let endpoint = format!("{}/t/oauth2/v2.0/token", server.url());
    for (name, value) in [("aud", &endpoint), ("iss", &id), ("sub", &id)] {
        assert_eq!(claims[name], **value, "{name}");
    }
    for (name, value) in [("iat", NOW.0), ("nbf", NOW.0), ("exp", NOW.0 + 600)] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(uuid::Uuid::try_parse(claims["jti"].as_str().unwrap()).is_ok());
}

#[tokio::test]
async fn one_signature_serves_for_ten_minutes() {
    let server = FakeServer::new(|_, _| (200, TOKEN.into())).await;
    let clock = Clock::manual(NOW);
    let client = client(&server, &signer(), &clock);
    for seconds in [0, 200, 339, 1, 1, -2] {
        clock.advance(seconds);
        client.fetch(&identity(), "r").await.unwrap();
    }
    let used: Vec<_> = server.asked().iter().map(|(_, body)| form(body)["client_assertion"].clone()).collect();
    assert_eq!(used[0], used[1]);
    assert_eq!(used[0], used[2], "until its last minute");
    assert_ne!(used[2], used[3]);
    assert_eq!(used[3], used[4]);
    assert_ne!(used[4], used[5], "a clock that went back makes a new one");
}

#[tokio::test]
async fn after_an_unknown_credential_the_next_attempt_signs_anew() {
    let mut refused = false;
    let server = FakeServer::new(move |_, _| {
        if std::mem::replace(&mut refused, true) {
            (200, TOKEN.into())
        } else {
            (
                401,
                r#"{"error":"invalid_client","error_description":"AADSTS700027: no such key.","error_codes":[700027]}"#
                    .into(),
            )
        }
    })
    .await;
    let client = client(&server, &signer(), &Clock::manual(NOW));
    let Err(error) = client.fetch(&identity(), "r").await else { panic!("refused") };
    let expected =
        UpstreamError::Permanent { error: "invalid_client".into(), description: "AADSTS700027: no such key.".into() };
    assert_eq!(error, expected);
    client.fetch(&identity(), "r").await.unwrap();
    let used: Vec<_> = server.asked().iter().map(|(_, body)| form(body)["client_assertion"].clone()).collect();
    assert_ne!(used[0], used[1]);
}

#[tokio::test]
async fn what_is_for_good_and_what_may_pass_are_told_apart() {
    let body = |error: &str| format!(r#"{{"error":"{error}","error_description":"text","error_codes":"odd"}}"#);
    for (status, answer, permanent) in [
        (400, body("invalid_resource"), true),
        (400, body("invalid_scope"), true),
        (401, body("invalid_client"), true),
        (403, body("access_denied"), true),
        (400, body("temporarily_unavailable"), false),
        (429, body("invalid_request"), false),
        (500, body("invalid_client"), false),
        (503, "<html>".into(), false),
        (404, "gone".into(), false),
        (302, String::new(), false),
        (200, "{}".into(), false),
        (200, r#"{"access_token":"","expires_in":1}"#.into(), false),
        (200, r#"{"access_token":"a","expires_in":0}"#.into(), false),
        (200, format!(r#"{{"access_token":"{}","expires_in":1}}"#, "a".repeat(70_000)), false),
    ] {
        let answered = answer.clone();
        let server = FakeServer::new(move |_, _| (status, answered.clone())).await;
        let Err(error) = client(&server, &signer(), &Clock::manual(NOW)).fetch(&identity(), "r").await else {
            panic!("{status} {answer} is no token")
        };
        assert_eq!(matches!(error, UpstreamError::Permanent { .. }), permanent, "{status}: {error}");
        assert_eq!(server.asked().len(), 1, "d8: a redirect is not followed");
    }
}

#[tokio::test]
async fn d07_a_server_that_is_not_the_one_configured_is_refused() {
    let now = Clock::system().now().0;
    let day = 86_400;
    let good = || Certified::default();
    for (what, certified, ca_of_another) in [
        ("another name", Certified { name: SanEntry::Dns("other.denizen.test".into()), ..good() }, false),
        ("expired", Certified { days: 1, issued: now - 3 * day, ..good() }, false),
        ("another CA", good(), true),
    ] {
        let server = FakeServer::certified(certified, |_, _| (200, TOKEN.into())).await;
        let other = FakeServer::new(|_, _| (200, TOKEN.into())).await;
        let ca_file = if ca_of_another { &other.ca_file } else { &server.ca_file };
        let https = HttpsClient::new(&server.url(), &Outbound { ca_file: Some(ca_file.clone()), proxy: None }).unwrap();
        let endpoint = format!("{}/t/token", server.url());
        let client = OAuthClient::new(https, assertions(&endpoint)).unwrap();
        let Err(UpstreamError::Unavailable(error)) = client.fetch(&identity(), "r").await else { panic!("{what}") };
        assert!(error.contains("certificate"), "{what}: {error}");
        assert!(server.asked().is_empty(), "{what}: nothing was said to it");
    }
}

#[tokio::test]
async fn d08_a_token_endpoint_elsewhere_is_refused() {
    let server = FakeServer::new(|_, _| (200, TOKEN.into())).await;
    for elsewhere in ["https://evil.example/token", "http://localhost/token"] {
        let https = HttpsClient::new(&server.url(), &server.outbound()).unwrap();
        assert!(OAuthClient::new(https, assertions(elsewhere)).is_err(), "{elsewhere}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_named_with_the_reason() {
    let server = FakeServer::new(|_, _| (200, TOKEN.into())).await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("https://localhost:{unused}");
    let https = HttpsClient::new(&url, &server.outbound()).unwrap();
    let client = OAuthClient::new(https, assertions(&format!("{url}/t"))).unwrap();
    let Err(UpstreamError::Unavailable(error)) = client.fetch(&identity(), "r").await else { panic!() };
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
}
