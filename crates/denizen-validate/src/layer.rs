//! A tower layer that rejects requests without a valid token, for axum, tonic and hyper services.
//!
//! ```no_run
//! # use denizen_validate::{BearerLayer, Claims, TokenValidator};
//! # use axum::{Extension, Router, routing::get};
//! # fn example() -> Result<Router, Box<dyn std::error::Error>> {
//! let validator = TokenValidator::builder("api://orders")
//!     .trust_entra("11111111-2222-4333-8444-555555555555")
//!     .allow_role("Orders.Read")
//!     .build()?;
//! let app = Router::new().route("/orders", get(orders)).layer(BearerLayer::new(validator));
//!
//! async fn orders(Extension(claims): Extension<Claims>) -> String {
//!     format!("orders of {}", claims.principal())
//! }
//! # Ok(app) }
//! ```
//!
//! The handler finds [`Claims`](crate::Claims) in the request's extensions; a rejected request never reaches it. Tests: `tests/layer.rs`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header};
use tower_layer::Layer;
use tower_service::Service;

use crate::{TokenValidator, ValidationError};

/// Wraps a service so that only requests with a valid token reach it.
#[derive(Clone)]
pub struct BearerLayer {
    validator: TokenValidator,
    on_rejection: Arc<dyn Fn(&ValidationError) + Send + Sync>,
}

impl BearerLayer {
    /// Creates a layer that authenticates by `validator`.
    pub fn new(validator: TokenValidator) -> Self {
        Self { validator, on_rejection: Arc::new(|_| {}) }
    }

    /// Calls `on_rejection` for each rejected request, for metrics or an audit. `tracing` events are sent anyway.
    #[must_use]
    pub fn on_rejection(self, on_rejection: impl Fn(&ValidationError) + Send + Sync + 'static) -> Self {
        Self { on_rejection: Arc::new(on_rejection), ..self }
    }
}

// Not derived: a function has none.
impl std::fmt::Debug for BearerLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BearerLayer of a {:?}", self.validator)
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = BearerService<S>;

    fn layer(&self, inner: S) -> BearerService<S> {
        BearerService { inner, layer: self.clone() }
    }
}

/// A service behind [`BearerLayer`].
#[derive(Clone, Debug)]
pub struct BearerService<S> {
    inner: S,
    layer: BearerLayer,
}

impl<S, B, R> Service<Request<B>> for BearerService<S>
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
        // The service that was polled ready must serve this request; its clone is polled again.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let BearerLayer { validator, on_rejection } = self.layer.clone();
        Box::pin(async move {
            // Taken out of the request, since its body need not be `Sync`.
            let headers = std::mem::take(request.headers_mut());
            let result = validator.authenticate(&headers).await;
            *request.headers_mut() = headers;
            match result {
                Ok(claims) => {
                    request.extensions_mut().insert(claims);
                    inner.call(request).await
                }
                Err(error) => {
                    on_rejection(&error);
                    Ok(response(&error))
                }
            }
        })
    }
}

/// The error as an HTTP response.
fn response<R: From<String>>(error: &ValidationError) -> Response<R> {
    let status = error.status();
    let code = status.canonical_reason().unwrap_or_default().replace(' ', "");
    let body = serde_json::json!({"error": {"code": code, "message": error.public()}});
    let mut response = Response::new(R::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = error.challenge().and_then(|challenge| challenge.try_into().ok()) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
