//! Requests as a program makes them, with the CA that `ca.pem` holds and no other.

use std::path::Path;

use denizen_identity::{Environment, http::Client};
use http::{HeaderMap, Method};
use serde_json::Value;

/// A client.
#[derive(Clone)]
pub(crate) struct Wire(Client);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Wire {
    pub(crate) fn trusting(ca_file: &Path) -> Self {
        let environment = Environment::from([("SSL_CERT_FILE", ca_file.to_str().unwrap())]);
        Self(Client::new(&environment).unwrap())
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let sent = self.0.send(method, url, headers, body.map(|b| b.as_bytes().to_vec())).await;
        let (head, body) = sent.map_err(|e| e.to_string())?.into_parts();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", url, headers, None).await.unwrap()
    }

    pub(crate) async fn form(&self, url: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", url, &headers, Some(&body)).await.unwrap()
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The string at `pointer` in the JSON body.
    pub(crate) fn text(&self, pointer: &str) -> String {
        let json = self.json();
        json.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}: {self:?}")).to_owned()
    }

    /// The answer, when its status is this one.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Percent-encodes a query or form value.
pub(crate) fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}
