//! The layer in front of an axum router, asked over a real socket.

#![allow(clippy::unwrap_used, reason = "a test is allowed to be blunt, in its own functions too")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Extension, Router, routing::get};
use denizen_identity_testkit::{Authority, Fault, Identities, Options};
use denizen_validate::{BearerLayer, Claims, TokenValidator, reqwest};
use serde_json::{Value, json};

async fn orders(Extension(claims): Extension<Claims>) -> String {
    format!("orders of {}", claims.principal())
}

struct Api {
    authority: Authority,
    url: String,
    client: reqwest::Client,
    refused: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Api {
    async fn start() -> Self {
        let authority = Authority::start_named_by_address(Options::default()).await.unwrap();
        let root = reqwest::Certificate::from_pem(&std::fs::read(authority.ca_file()).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
        let validator = TokenValidator::builder("api://orders")
            .trust(&authority.server().url(), authority.issuer().tenant())
            .accept_development_authorities()
            .allow_role("Orders.Read")
            .http_client(client.clone())
            .build()
            .unwrap();
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        let layer = BearerLayer::new(validator).on_rejection(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let app = Router::new().route("/orders", get(orders)).layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/orders", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { authority, url, client, refused, server }
    }

    fn token(&self, roles: &[&str]) -> String {
        let issuer = self.authority.issuer();
        let identity = Identities::default().system.unwrap();
        let now = Options::default().clock.now();
        let mut claims = issuer.claims(&identity, "api://orders", now, 3600);
        claims.as_object_mut().unwrap().insert("roles".into(), json!(roles));
        issuer.sign(&claims).unwrap()
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Answer {
        self.get_from(&self.url, headers).await
    }

    async fn get_from(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }
}

struct Answer {
    status: http::StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn challenge(answer: &Answer) -> &str {
    answer.headers.get("www-authenticate").map_or("", |value| value.to_str().unwrap())
}

fn message(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body.pointer("/error/message").and_then(Value::as_str).unwrap().to_owned()
}

#[tokio::test]
async fn only_bearers_of_good_tokens_reach_the_handler() {
    let api = Api::start().await;
    let good = api.token(&["Orders.Read"]);
    for scheme in ["Bearer", "bearer"] {
        let answer = api.get(&[("Authorization", &format!("{scheme} {good}"))]).await;
        assert_eq!(answer.status, 200);
        let principal = Identities::default().system.unwrap().object_id;
        assert_eq!(answer.body, format!("orders of {principal}"));
    }
    assert_eq!(api.refused.load(Ordering::SeqCst), 0);

    for headers in [&[][..], &[("Authorization", "Basic YTpi")], &[("Authorization", good.as_str())]] {
        let answer = api.get(headers).await;
        assert_eq!((answer.status.as_u16(), challenge(&answer)), (401, "Bearer"));
        assert_eq!(message(&answer), "a bearer token is required");
    }
    let bearer = format!("Bearer {good}");
    let two = api.get(&[("Authorization", &bearer), ("Authorization", &bearer)]).await;
    assert_eq!(two.status, 401, "which of them was meant?");

    let bad = api.get(&[("Authorization", &format!("{bearer}x"))]).await;
    assert_eq!(bad.status, 401);
    assert!(challenge(&bad).starts_with("Bearer error=\"invalid_token\""), "{}", challenge(&bad));
    let weak = api.get(&[("Authorization", &format!("Bearer {}", api.token(&[])))]).await;
    assert_eq!(weak.status, 403);
    assert!(challenge(&weak).starts_with("Bearer error=\"insufficient_scope\""), "{}", challenge(&weak));
    assert!(!message(&weak).contains("Orders.Read"), "what would be enough is nobody's business");
    assert_eq!(weak.headers.get("cache-control").unwrap(), "no-store");
    assert_eq!(api.refused.load(Ordering::SeqCst), 6, "each was told to the log");

    let paths = api.get_from(&api.url.replace("orders", "nothing"), &[]).await;
    assert_eq!(paths.status, 401, "even what is not there is behind it");
}

#[tokio::test]
async fn an_authority_that_is_away_is_503_and_not_401() {
    let api = Api::start().await;
    api.authority.server().fail(u32::MAX, Fault::status(500));
    let answer = api.get(&[("Authorization", &format!("Bearer {}", api.token(&["Orders.Read"])))]).await;
    assert_eq!((answer.status.as_u16(), challenge(&answer)), (503, ""));
}
