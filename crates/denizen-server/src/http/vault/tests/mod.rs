//! The vault through its API, with a real store and real tokens.

mod errors;
mod gate;
mod hosts;
mod life;
mod strangers;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde_json::Value;
use uuid::Uuid;

use denizen_wire::UnixTime;

use super::Vault;
use crate::{
    app::access::tests::fixture::{AUTHORITY, Fixture, NOW, Who},
    http::{Body, Call, PublicNames, Service},
};

/// The host that the tests ask, when they name no other.
const HOST: &str = "dev.vault.denizen.test:8444";

/// A vault with its API, and somebody who may do everything with its secrets.
struct Vaulted {
    fixture: Fixture,
    service: Service,
    officer: Who,
}

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// A request in the making.
struct Ask<'a> {
    vaulted: &'a Vaulted,
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
    now: UnixTime,
}

fn names() -> PublicNames {
    PublicNames {
        authority: AUTHORITY.into(),
        other_authorities: Vec::new(),
        vault_suffix: "vault.denizen.test".into(),
        vault_port: 8444,
        vault_local: Some("dev".into()),
    }
}

impl Vaulted {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let officer = fixture.with_role("Key Vault Secrets Officer", &fixture.vault.id).await;
        let vault = Vault::new(fixture.secrets.clone(), fixture.access.clone(), names());
        Self { fixture, service: Service::new("vault", vault).unwrap(), officer }
    }

    /// Asks without a token.
    fn bare(&self, method: Method, uri: &str) -> Ask<'_> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(HOST));
        Ask { vaulted: self, method, uri: uri.to_owned(), headers, body: Bytes::new(), now: NOW }
    }

    /// Asks as the officer, with an api-version.
    fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.bare(method, &format!("{path}{mark}api-version=7.6")).by(self.officer)
    }

    fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    async fn put(&self, name: &str, body: Value) -> Answer {
        self.ask(Method::PUT, &format!("/secrets/{name}")).json(&body).send().await
    }
}

impl Ask<'_> {
    fn by(self, who: Who) -> Self {
        let token = self.vaulted.fixture.token(who);
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn also(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn json(self, body: &Value) -> Self {
        self.raw(body.to_string())
    }

    fn raw(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    async fn send(self) -> Answer {
        let Self { vaulted, method, uri, headers, body, now } = self;
        let (uri, peer, request_id) = (uri.parse().unwrap(), ([127, 0, 0, 1], 5).into(), Uuid::from_u128(1));
        let call = Call::new(method, &uri, headers, Body::Bytes(body), peer, now, request_id);
        let (head, body) = vaulted.service.handle(call).await.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, text }
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body of a success.
    fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// Status, code and inner code of a failure, which is JSON whatever it is.
    fn fault(&self) -> (u16, String, String) {
        assert!(self.header("content-type").starts_with("application/json"), "{}", self.text);
        let error = &self.json()["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(!text(&error["message"]).is_empty());
        (self.status.as_u16(), text(&error["code"]), text(&error["innererror"]["code"]))
    }

    fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn fault(status: u16, code: &str, inner: &str) -> (u16, String, String) {
    (status, code.to_owned(), inner.to_owned())
}
