//! The form of the token endpoint (`denizen-server`, `http/sts/form.rs`).
//!
//! The input's first line is the endpoint (`v1`, `v2`, `adfs`), a space and the `Authorization` header where there is
//! one; the rest is the body. What was read is written as a form, with the secret in the body and in the header, and reading
//! that gives the same. A form that is encoded in another way is read the same. No parameter is taken of two.
#![no_main]

use std::{
    collections::HashSet,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
};

use denizen_keys::b64;
use denizen_server::{
    app::tokens::{Credential, Grant, TokenRequest},
    domain::scopes::Scopes,
    http::{Body, Call, sts},
};
use denizen_wire::{
    UnixTime,
    oauth::{JWT_BEARER, MAX_TOKEN_REQUEST},
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

type Pairs = Vec<(String, String)>;

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (first, body) = (&data[..at], &data[at + 1..]);
    let Ok(first) = std::str::from_utf8(first) else { return };
    let (endpoint, authorization) = match first.split_once(' ') {
        Some((endpoint, authorization)) => (endpoint, Some(authorization)),
        None => (first, None),
    };
    let Some(outcome) = read(endpoint, authorization, body.to_vec()) else { return };
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let pairs: Pairs = form_urlencoded::parse(body).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();

    // Every character encoded that can be: the same form.
    let encoded = form(&pairs);
    if std::str::from_utf8(body).is_ok() && encoded.len() <= MAX_TOKEN_REQUEST {
        let again = read(endpoint, authorization, encoded.into_bytes()).expect("the endpoint is the same");
        match (&outcome, &again) {
            (Ok(one), Ok(other)) => assert_eq!(written(one, endpoint), written(other, endpoint)),
            (Err(one), Err(other)) => assert_eq!(one, other),
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => panic!("read in one encoding only: {error}"),
        }
    }

    let Ok(request) = outcome else { return };
    let mut names = HashSet::new();
    assert!(pairs.iter().all(|(name, _)| names.insert(name)), "a repeated parameter was taken");
    let given = |wanted: &str| pairs.iter().any(|(name, value)| name == wanted && !value.is_empty());
    let credentials = [given("client_secret"), given("client_assertion"), authorization.is_some()];
    let credentials = credentials.into_iter().filter(|is| *is).count();
    assert_eq!(credentials, usize::from(request.credential.is_some()), "another number of credentials");

    let pairs = written(&request, endpoint);
    check(&pairs, endpoint, None);
    if let Some(Credential::Secret(secret)) = &request.credential {
        let plain = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let inner = format!("{}:{}", plain(&request.client_id), plain(secret.expose()));
        let header = format!("Basic {}", b64::standard(inner.as_bytes()));
        check(&pairs, endpoint, Some(&header));
    }
});

/// Reads what was written, with the client's secret in a header where one is given.
fn check(pairs: &Pairs, endpoint: &str, header: Option<&str>) {
    let is_in_header = |name: &str| header.is_some() && matches!(name, "client_id" | "client_secret");
    let body: Pairs = pairs.iter().filter(|(name, _)| !is_in_header(name)).cloned().collect();
    let body = form(&body);
    if body.len() > MAX_TOKEN_REQUEST {
        return;
    }
    match read(endpoint, header, body.clone().into_bytes()).expect("the endpoint is the same") {
        Ok(again) => assert_eq!(&written(&again, endpoint), pairs, "{header:?} {body}"),
        Err(error) => panic!("what was written is not read: {error} {header:?} {body}"),
    }
}

/// None of no endpoint, or a header that HTTP does not have.
fn read(endpoint: &str, authorization: Option<&str>, body: Vec<u8>) -> Option<Result<TokenRequest, String>> {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).ok()?);
    }
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let uri = Uri::from_static("/contoso.test/oauth2/v2.0/token");
    let body = Body::Bytes(body.into());
    let mut call = Call::new(Method::POST, &uri, headers, body, peer, UnixTime(1_795_239_900), Uuid::nil());
    let mut reading = pin!(sts::read_form(&mut call, endpoint));
    match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a body at hand is waited for"),
    }
}

fn form(pairs: &Pairs) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs);
    form.finish()
}

/// A request as a form, all that is in it and in one order.
fn written(request: &TokenRequest, endpoint: &str) -> Pairs {
    let TokenRequest { client_id, credential, grant, wishes } = request;
    let mut pairs = vec![("client_id", client_id.clone())];
    match credential {
        None => {}
        Some(Credential::Secret(secret)) => pairs.push(("client_secret", secret.expose().to_owned())),
        Some(Credential::Assertion(assertion)) => {
            pairs.push(("client_assertion", assertion.clone()));
            pairs.push(("client_assertion_type", JWT_BEARER.to_owned()));
        }
    }
    let of = |scopes: &Scopes| match endpoint {
        "v1" | "adfs" if *scopes == Scopes::all_of(&scopes.resource) => ("resource", scopes.resource.clone()),
        _ => ("scope", scopes.text()),
    };
    match grant {
        Grant::ClientCredentials { resource } => {
            pairs.push(("grant_type", "client_credentials".to_owned()));
            pairs.push(match endpoint {
                "v2" => ("scope", format!("{resource}/.default")),
                _ => ("resource", resource.clone()),
            });
        }
        Grant::AuthorizationCode { code, redirect_uri, verifier, scopes } => {
            pairs.push(("grant_type", "authorization_code".to_owned()));
            pairs.push(("code", code.expose().to_owned()));
            pairs.push(("redirect_uri", redirect_uri.clone()));
            pairs.extend(verifier.as_ref().map(|verifier| ("code_verifier", verifier.expose().to_owned())));
            pairs.extend(scopes.as_ref().map(of));
        }
        Grant::DeviceCode { device_code } => {
            pairs.push(("grant_type", "urn:ietf:params:oauth:grant-type:device_code".to_owned()));
            pairs.push(("device_code", device_code.expose().to_owned()));
        }
        Grant::RefreshToken { token, scopes } => {
            pairs.push(("grant_type", "refresh_token".to_owned()));
            pairs.push(("refresh_token", token.expose().to_owned()));
            pairs.extend(scopes.as_ref().map(of));
        }
        Grant::Password { name, password, scopes } => {
            pairs.push(("grant_type", "password".to_owned()));
            pairs.push(("username", name.clone()));
            pairs.push(("password", password.expose().to_owned()));
            pairs.push(of(scopes));
        }
        Grant::OnBehalfOf { assertion, scopes } => {
            pairs.push(("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()));
            pairs.push(("requested_token_use", "on_behalf_of".to_owned()));
            pairs.push(("assertion", assertion.expose().to_owned()));
            pairs.push(of(scopes));
        }
    }
    let mut claims = serde_json::Map::new();
    if let Some(not_before) = wishes.not_before {
        claims.insert("nbf".to_owned(), serde_json::json!({ "value": not_before.0.to_string() }));
    }
    if wishes.handles_challenges {
        claims.insert("xms_cc".to_owned(), serde_json::json!({ "values": ["cp1"] }));
    }
    if !claims.is_empty() {
        pairs.push(("claims", serde_json::json!({ "access_token": claims }).to_string()));
    }
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
