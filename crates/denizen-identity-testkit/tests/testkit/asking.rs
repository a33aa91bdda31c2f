//! One request, and what came back, without the library's own credentials: the kit is tested by itself.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use denizen_identity::{Environment, http::Client};
use http::Method;
use serde_json::Value;

pub(crate) struct Asking(Client);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Asking {
    pub(crate) fn new() -> Self {
        Self::through(Client::new(&Environment::from([("SSL_CERT_FILE", "/dev/null")])).unwrap())
    }

    pub(crate) fn through(client: Client) -> Self {
        Self(client)
    }

    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, url, headers, None).await
    }

    pub(crate) async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let answer = self.0.send(method, url, headers, body.map(|body| body.as_bytes().to_vec())).await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: String::from_utf8(answer.body().to_vec()).unwrap(),
        }
    }

    /// Whether anything comes back at all.
    pub(crate) async fn fails(&self, url: &str) -> bool {
        self.0.send(Method::GET, url, &[], None).await.is_err()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// The claims of the token in it.
    pub(crate) fn claims(&self) -> Value {
        let body = self.json();
        let token = body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {body}"));
        claims(token)
    }
}

/// What a JWT says.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
