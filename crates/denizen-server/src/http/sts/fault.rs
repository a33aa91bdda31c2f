//! Every refusal as an answer: status, OAuth error, AADSTS number, text.
//!
//! Clients act on `error` and on the status, people search for the number. Statuses matter beyond taste: MSAL for
//! Python remembers a 400 for a minute and answers the same request from there; a 401 it does not.
//!
//! Tests: `tests.rs` beside `sts.rs`; the bodies are golden files there.

use denizen_wire::{oauth, shown};
use http::{HeaderValue, Method, StatusCode, header};

use super::form::FormError;
use crate::{
    app::{credentials::CredentialError, limits::Limited, sign_in::SignInError, tokens::TokenError},
    http::{Call, Reply, call::Ambiguous, reply},
};

/// The most of a method's characters that an answer repeats.
const MAX_METHOD: usize = 32;

/// A refusal or a failure, not yet written. As a text for the log it is what the client is told.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    shape: Shape,
    status: StatusCode,
    error: &'static str,
    code: i32,
    text: String,
    suberror: Option<&'static str>,
    /// Whole seconds, which is all that clients read.
    retry_after: Option<u64>,
}

/// How a fault is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As OAuth 2.0 and Entra ID write it.
    OAuth,
    /// A path that is none of OAuth's.
    Plain,
}

impl Fault {
    fn new(status: StatusCode, error: &'static str, code: i32, text: String) -> Self {
        let limited = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let retry_after = limited.then_some(1);
        Self { shape: Shape::OAuth, status, error, code, text, suberror: None, retry_after }
    }

    /// Whether it says that a limit was reached.
    pub(super) fn is_over_a_limit(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// A tenant that could exist and does not.
    pub(super) fn tenant_not_found(text: &str) -> Self {
        let text = format!(
            "Tenant '{}' not found. Check to make sure you have the correct tenant ID and are signing into the correct \
             cloud. This authority knows its tenants by id and by domain name.",
            shown::identifier(text)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_tenant", 90_002, text)
    }

    /// A tenant that cannot exist.
    pub(super) fn tenant_malformed(text: &str) -> Self {
        let text = format!(
            "Specified tenant identifier '{}' is neither a valid DNS name, nor a valid external domain. Put the \
             tenant's id or its domain name first in the path.",
            shown::identifier(text)
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 900_023, text)
    }

    /// The name that stands for the one tenant, where there are several.
    pub(super) fn adfs_of_several() -> Self {
        let text = "Specified tenant identifier 'adfs' stands for the one tenant of an authority, and this one has \
             several. Put the tenant's id or its domain name first in the path."
            .to_owned();
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 900_023, text)
    }

    /// The same fault at the token endpoint, which calls an unknown tenant a bad request.
    pub(super) fn at_token_endpoint(self) -> Self {
        Self { error: "invalid_request", ..self }
    }

    /// A known path with another method than those it takes.
    pub(super) fn method(allow: &str, got: &Method) -> Self {
        // A method is a token of visible characters; hyper has seen to that.
        let got: String = got.as_str().chars().take(MAX_METHOD).collect();
        let text = format!("The endpoint only accepts {allow} requests. Received a {got} request. Send it as {allow}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", 900_561, text)
    }

    /// A request with two readings.
    pub(super) fn ambiguous(why: Ambiguous) -> Self {
        let text = format!("Invalid request. Request is malformed or invalid: {why}.");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", 9_002_313, text)
    }

    /// A path that is not known.
    pub(super) fn no_route() -> Self {
        let text = "there is nothing at this path; the token service's paths begin with a tenant: \
             /{tenant}/v2.0/.well-known/openid-configuration names the others";
        Self { shape: Shape::Plain, ..Self::new(StatusCode::NOT_FOUND, "NotFound", 0, text.to_owned()) }
    }

    /// A host that instance discovery does not know.
    pub(super) fn unknown_instance(text: &str) -> Self {
        let text = format!(
            "Unknown or invalid instance '{}'. Ask about an authorization_endpoint of this authority.",
            shown::identifier(text)
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

    /// Writes it.
    pub(super) fn write(&self, call: &Call) -> Reply {
        if self.shape == Shape::Plain {
            let body = serde_json::json!({"error": {"code": self.error, "message": self.text}});
            return reply::json(self.status, &body);
        }
        let correlation = call.correlation_id.unwrap_or(call.request_id);
        let body = oauth::Error::new(self.error, self.code, &self.text, call.request_id, correlation, call.now);
        let body = oauth::Error { suberror: self.suberror.map(str::to_owned), ..body };
        let mut answer = reply::json(self.status, &body);
        super::token::never_stored(&mut answer);
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // RFC 6749, section 5.2: when the client tried the Authorization header, the answer names the scheme.
        if self.status == StatusCode::UNAUTHORIZED && call.headers.contains_key(header::AUTHORIZATION) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        }
        answer
    }
}

impl From<FormError> for Fault {
    fn from(error: FormError) -> Self {
        let (status, name) = match error {
            FormError::Body(_)
            | FormError::Repeated(_)
            | FormError::Missing(_)
            | FormError::ResourceAtV2
            | FormError::Credentials
            | FormError::SharedTenant(_)
            | FormError::SeveralResources => (StatusCode::BAD_REQUEST, "invalid_request"),
            FormError::Grant(_) => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            FormError::EmptyScope | FormError::ScopeNotDefault(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
            FormError::NoCredential => (StatusCode::UNAUTHORIZED, "invalid_client"),
        };
        Self::new(status, name, error.code(), error.to_string())
    }
}

impl From<Limited> for Fault {
    fn from(limited: Limited) -> Self {
        let (status, name) = (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable");
        Self { retry_after: Some(limited.retry_after), ..Self::new(status, name, 90_055, limited.to_string()) }
    }
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        let (status, name) = match &error {
            TokenError::Limited(limited) | TokenError::Credential(CredentialError::Limited(limited)) => {
                return Self::from(*limited);
            }
            TokenError::UnknownClient { .. } | TokenError::MalformedClient { .. } | TokenError::Disabled(_) => {
                (StatusCode::BAD_REQUEST, "unauthorized_client")
            }
            TokenError::NotPublic(_) => (StatusCode::UNAUTHORIZED, "invalid_client"),
            TokenError::Grant(fault) => (StatusCode::BAD_REQUEST, fault.error()),
            TokenError::NoPasswordGrant => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            TokenError::SignIn(error) if error.is_transient() => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            TokenError::SignIn(SignInError::SecondFactor) => (StatusCode::BAD_REQUEST, "interaction_required"),
            TokenError::SignIn(_) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            TokenError::NotAssigned { .. } => (StatusCode::BAD_REQUEST, "invalid_grant"),
            TokenError::NotBefore(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            TokenError::Credential(CredentialError::Busy)
            | TokenError::Unkept(_)
            | TokenError::Unrecorded(_)
            | TokenError::Signing(_)
            | TokenError::Credential(
                CredentialError::Unfinished(_) | CredentialError::Unopened(_) | CredentialError::OwnKeys(_),
            )
            | TokenError::Unwritten(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            // Another server's failure, which may be over in a moment.
            TokenError::Credential(CredentialError::Issuer(reason)) if reason.is_transient() => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            TokenError::Credential(
                CredentialError::WrongSecret
                | CredentialError::SecretExpired(_)
                | CredentialError::Malformed(_)
                | CredentialError::Key(_)
                | CredentialError::Claims(_)
                | CredentialError::Misdirected { .. }
                | CredentialError::NotFederated(_)
                | CredentialError::Issuer(_)
                | CredentialError::NotAppOnly(_)
                | CredentialError::IssuedTo(_)
                | CredentialError::Subject(_),
            ) => (StatusCode::UNAUTHORIZED, "invalid_client"),
            TokenError::UnknownResource { .. } | TokenError::ScopeAsResource { .. } => {
                (StatusCode::BAD_REQUEST, "invalid_resource")
            }
        };
        let suberror = error.suberror();
        Self { suberror, ..Self::new(status, name, error.code(), error.to_string()) }
    }
}
