//! Every refusal as an answer: status, OAuth error, AADSTS number, text.
//!
//! Clients act on `error` and on the status, people search for the number. Statuses matter beyond taste: MSAL for
//! Python remembers a 400 for a minute and answers the same request from there; a 401 it does not.
//!
//! Tests: `tests.rs` beside `sts.rs`; the bodies are golden files there.

use denizen_wire::oauth;
use http::{HeaderValue, Method, StatusCode, header};
use uuid::Uuid;

use super::client_request_id;
use crate::{
    app::{credentials::CredentialError, tokens::TokenError},
    domain::{assertion::excerpt, claims::audience::ScopeFault},
    http::{Call, Reply, reply},
};

/// A refusal.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    error: &'static str,
    code: i32,
    text: String,
}

impl Fault {
    fn new(status: StatusCode, error: &'static str, code: i32, text: String) -> Self {
        Self { status, error, code, text }
    }

    /// A tenant that could exist and does not.
    pub(super) fn tenant_not_found(text: &str) -> Self {
        let text = format!(
            "Tenant '{}' not found. Check to make sure you have the correct tenant ID and are signing into the correct \
             cloud. This authority knows its tenants by id and by domain name.",
            excerpt(text)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_tenant", 90_002, text)
    }

    /// A tenant that cannot exist.
    pub(super) fn tenant_malformed(text: &str) -> Self {
        let text = format!(
            "Specified tenant identifier '{}' is neither a valid DNS name, nor a valid external domain. Put the \
             tenant's id or its domain name first in the path.",
            excerpt(text)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 900_023, text)
    }

    /// The same fault at the token endpoint, which calls an unknown tenant a bad request.
    pub(super) fn at_token_endpoint(self) -> Self {
        Self { error: "invalid_request", ..self }
    }

    /// A known path with another method than the one it takes.
    pub(super) fn method(takes: &'static str, got: &Method) -> Self {
        let got = excerpt(got.as_str());
        let text = format!("The endpoint only accepts {takes} requests. Received a {got} request. Send it as {takes}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", 900_561, text)
    }

    /// A host that instance discovery does not know.
    pub(super) fn unknown_instance(text: &str) -> Self {
        let text = format!(
            "Unknown or invalid instance '{}'. Ask about an authorization_endpoint of this authority.",
            excerpt(text)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_instance", 50_049, text)
    }

    /// A query parameter that is missing or repeated.
    pub(super) fn query(parameter: &'static str) -> Self {
        let text = format!("The request must contain the following query parameter: '{parameter}', once.");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 900_144, text)
    }

    /// Something of ours failed.
    pub(super) fn transient() -> Self {
        let text = "A transient error has occurred. Ask again in a few seconds.".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", 90_033, text)
    }

    /// The answer. `correlation` is the client's id when it stood in the body.
    pub(super) fn reply(&self, call: &Call, correlation: Option<Uuid>) -> Reply {
        let correlation = client_request_id(call).or(correlation).unwrap_or(call.request_id);
        let body = oauth::Error::new(self.error, self.code, &self.text, call.request_id, correlation, call.now);
        let mut answer = reply::json(self.status, &body);
        super::token::never_stored(&mut answer);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6749, section 5.2: when the client tried the Authorization header, the answer names the scheme.
            if call.headers.contains_key(header::AUTHORIZATION) {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            }
        }
        answer
    }
}

impl From<&TokenError> for Fault {
    fn from(error: &TokenError) -> Self {
        let (status, name) = match error {
            TokenError::Form(_)
            | TokenError::Repeated(_)
            | TokenError::Missing(_)
            | TokenError::ResourceAtV2
            | TokenError::Credentials
            | TokenError::SharedTenant(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            TokenError::Grant(_) => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            TokenError::Scope(ScopeFault::Several) => (StatusCode::BAD_REQUEST, "invalid_request"),
            TokenError::Scope(ScopeFault::Empty | ScopeFault::NotDefault(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_scope")
            }
            TokenError::NoCredential => (StatusCode::UNAUTHORIZED, "invalid_client"),
            TokenError::UnknownClient { .. } | TokenError::Disabled(_) => {
                (StatusCode::BAD_REQUEST, "unauthorized_client")
            }
            TokenError::Credential(CredentialError::Busy)
            | TokenError::Unrecorded(_)
            | TokenError::Signing(_)
            | TokenError::Unwritten => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            TokenError::Credential(
                CredentialError::WrongSecret
                | CredentialError::SecretExpired(_)
                | CredentialError::Malformed(_)
                | CredentialError::Key(_)
                | CredentialError::Claims(_),
            ) => (StatusCode::UNAUTHORIZED, "invalid_client"),
            TokenError::UnknownResource { .. } => (StatusCode::BAD_REQUEST, "invalid_resource"),
        };
        Self::new(status, name, error.code(), error.to_string())
    }
}
