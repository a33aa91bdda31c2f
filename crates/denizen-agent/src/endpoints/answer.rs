//! Where an outcome becomes a status and a body: the only place in the agent with status codes for errors.
//!
//! A refusal that will not pass is never 404, 410, 429 or 5xx: clients repeat those for seconds. What may pass
//! (upstream is down, the disk is full) is 503. No answer but a 429 may carry `Retry-After`, and there is no 429.

use std::borrow::Cow;

use denizen_wire::identity::{AppServiceError, Error};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

use crate::{broker::BrokerError, upstream::UpstreamError};

/// What every endpoint answers.
pub type Answer = Response<Full<Bytes>>;

/// A refusal on its way out.
#[derive(Debug)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    /// An OAuth error word.
    pub error: Cow<'static, str>,
    /// What was wrong, and what mends it.
    pub description: Cow<'static, str>,
}

impl Fault {
    /// 400 `invalid_request`.
    pub fn bad(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// Of any status.
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

    /// A token, or why there is none.
    pub fn token(self, outcome: Result<Bytes, BrokerError>) -> Answer {
        match outcome {
            Ok(body) => json(StatusCode::OK, body),
            Err(error) => self.fault(error.into()),
        }
    }
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
