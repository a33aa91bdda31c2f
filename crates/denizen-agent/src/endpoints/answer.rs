//! Outcomes become a status and a body here, and errors nowhere else.
//!
//! A permanent refusal is never 404, 410, 429 or 5xx: clients repeat those for seconds. What may pass
//! (upstream is down, the disk is full) is 503. No answer but a 429 may carry `Retry-After`, and there is no 429.

use std::{borrow::Cow, sync::Arc};

use denizen_wire::{
    Clock, UnixTime,
    identity::{AppServiceError, Error, Token},
};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

use zeroize::{Zeroize as _, Zeroizing};

use crate::{broker::BrokerError, cache::CachedToken, upstream::UpstreamError};

/// What every endpoint answers.
pub type Answer = Response<Full<Bytes>>;

/// An error answer.
#[derive(Debug)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    /// An OAuth error word.
    pub error: Cow<'static, str>,
    /// What was wrong, and a hint.
    pub description: Cow<'static, str>,
}

impl Fault {
    /// 400 `invalid_request`.
    pub fn bad(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// Creates a fault of any status.
    pub fn new(status: StatusCode, error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error: error.into(), description: description.into() }
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        let description = error.to_string();
        match error {
            BrokerError::Refused(_) => Self::new(StatusCode::FORBIDDEN, "access_denied", description),
            // On every dialect: Azure's Arc preview answers 404 here, which clients repeat for seconds.
            BrokerError::NotAssigned => Self::bad(description),
            BrokerError::Upstream(UpstreamError::Permanent { error, .. }) => {
                Self { status: StatusCode::BAD_REQUEST, error: error.into(), description: description.into() }
            }
            BrokerError::Upstream(UpstreamError::Unavailable(_)) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
            }
        }
    }
}

/// How a dialect writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Arc and IMDS.
    OAuth,
    /// App Service.
    AppService,
}

impl Style {
    /// The refusal in this dialect.
    pub fn fault(self, fault: Fault) -> Answer {
        let Fault { status, error, description } = fault;
        let body = match self {
            Self::OAuth => serde_json::to_vec(&Error {
                error: error.into_owned(),
                error_description: description.into_owned(),
                error_codes: Vec::new(),
            }),
            Self::AppService => serde_json::to_vec(&AppServiceError {
                status_code: status.as_u16(),
                message: description.into_owned(),
                correlation_id: denizen_keys::random::uuid_v4(),
            }),
        };
        let mut answer = json(status, body.unwrap_or_default().into());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        answer
    }

    /// A token, or why there is none. All dialects have the same body for tokens.
    pub fn token(self, outcome: Result<Arc<CachedToken>, BrokerError>, clock: &Clock) -> Answer {
        match outcome {
            Ok(token) => {
                let now = clock.now();
                json(StatusCode::OK, token.rendering(now, |token| token_body(token, now)))
            }
            Err(error) => self.fault(error.into()),
        }
    }
}

/// The answer that every managed-identity client can parse.
fn token_body(cached: &CachedToken, now: UnixTime) -> Bytes {
    let left = cached.expires.since(now).max(0).to_string();
    let mut token = Token {
        access_token: cached.access_token.expose().to_owned(),
        client_id: cached.identity.client_id,
        object_id: cached.identity.object_id,
        msi_res_id: cached.identity.resource_id.clone(),
        expires_in: left.clone(),
        expires_on: cached.expires.to_string(),
        ext_expires_in: left,
        not_before: cached.obtained.to_string(),
        resource: cached.resource.clone(),
        token_type: "Bearer".to_owned(),
    };
    // Sized so that it is not moved while it grows: a copy left behind would not be wiped.
    let mut body = Zeroizing::new(Vec::with_capacity(cached.access_token.len() + 4096));
    // Strings always serialize.
    let _ = serde_json::to_writer(&mut *body, &token);
    token.access_token.zeroize();
    Bytes::from_owner(body)
}

/// A JSON answer that no cache keeps.
pub fn json(status: StatusCode, body: Bytes) -> Answer {
    typed(status, HeaderValue::from_static("application/json; charset=utf-8"), body)
}

/// A plain text answer.
pub fn text(body: String) -> Answer {
    typed(StatusCode::OK, HeaderValue::from_static("text/plain; charset=utf-8"), body.into())
}

fn typed(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers: [(HeaderName, HeaderValue); 2] =
        [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    answer.headers_mut().extend(headers);
    answer
}
