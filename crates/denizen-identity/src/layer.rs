//! A tower layer that lets no request through without a good token: for axum, tonic, and hyper services alike.
//!
//! ```no_run
//! # use denizen_identity::{environment::Environment, http::Client, layer::BearerLayer, validate::{Claims, TokenValidator}};
//! # use axum::{Extension, Router, routing::get};
//! # fn example() -> Result<Router, Box<dyn std::error::Error>> {
//! let validator = TokenValidator::builder("api://orders")
//!     .trust_entra("11111111-2222-4333-8444-555555555555")
//!     .allow_role("Orders.Read")
//!     .build(Client::new(&Environment::of_process())?)?;
//! let app = Router::new().route("/orders", get(orders)).layer(BearerLayer::new(validator));
//!
//! async fn orders(Extension(claims): Extension<Claims>) -> String {
//!     format!("orders of {}", claims.principal())
//! }
//! # Ok(app) }
//! ```
//!
//! The handler finds [`Claims`](crate::validate::Claims) in the request's extensions; a refused request never reaches
//! it. Tests: `tests/layer.rs`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header};
use tower_layer::Layer;
use tower_service::Service;

use crate::validate::{Refusal, TokenValidator};

/// Wraps a service so that only bearers of good tokens reach it.
#[derive(Clone)]
pub struct BearerLayer {
    validator: TokenValidator,
    on_refusal: Arc<dyn Fn(&Refusal) + Send + Sync>,
}

impl BearerLayer {
    /// Lets in whom `validator` lets in.
    pub fn new(validator: TokenValidator) -> Self {
        Self { validator, on_refusal: Arc::new(|_| {}) }
    }

    /// Tells `on_refusal` why a request was refused: what the caller is not told belongs into a log.
    #[must_use]
    pub fn on_refusal(self, on_refusal: impl Fn(&Refusal) + Send + Sync + 'static) -> Self {
        Self { on_refusal: Arc::new(on_refusal), ..self }
    }
}

// Not derived: a function has none.
impl std::fmt::Debug for BearerLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BearerLayer of a {:?}", self.validator)
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, layer: self.clone() }
    }
}

/// A service behind [`BearerLayer`].
#[derive(Clone, Debug)]
pub struct Bearer<S> {
    inner: S,
    layer: BearerLayer,
}

impl<S, B, R> Service<Request<B>> for Bearer<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was polled ready is used; its clone is polled anew.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let BearerLayer { validator, on_refusal } = self.layer.clone();
        Box::pin(async move {
            // Taken out first: the body need not be shareable among threads.
            let headers = std::mem::take(request.headers_mut());
            let outcome = validator.authenticate(&headers).await;
            *request.headers_mut() = headers;
            match outcome {
                Ok(claims) => {
                    request.extensions_mut().insert(claims);
                    inner.call(request).await
                }
                Err(refusal) => {
                    on_refusal(&refusal);
                    Ok(answer(&refusal))
                }
            }
        })
    }
}

/// The refusal as an HTTP answer.
fn answer<R: From<String>>(refusal: &Refusal) -> Response<R> {
    let status = refusal.status();
    let code = status.canonical_reason().unwrap_or_default().replace(' ', "");
    let body = serde_json::json!({"error": {"code": code, "message": refusal.public()}});
    let mut response = Response::new(R::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = refusal.challenge().and_then(|challenge| challenge.try_into().ok()) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
