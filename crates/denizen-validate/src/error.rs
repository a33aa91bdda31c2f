//! Why a token is rejected. `Display` is for the log; the caller gets a status and a shorter text.

use base64::{Engine, prelude::BASE64_STANDARD};
use denizen_wire::UnixTime;
use http::StatusCode;

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidationError {
    /// The request has no bearer token.
    #[error("the request carries no bearer token")]
    MissingToken,
    /// It is not a JWT of the expected form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// It is signed with another algorithm than RS256, or with none.
    #[error("the token is signed with {found:?}, and only RS256 is accepted")]
    UnsupportedAlgorithm {
        /// What its header names.
        found: String,
    },
    /// No trusted authority has this issuer name.
    #[error("the token's issuer {found:?} is not trusted")]
    UntrustedIssuer {
        /// The `iss` of the token.
        found: String,
    },
    /// Its tenant is not its issuer's.
    #[error("the token's tenant {found:?} is not its issuer's")]
    WrongTenant {
        /// The `tid` of the token.
        found: String,
    },
    /// It is for another audience.
    #[error("the token is for {found:?} and not for this resource")]
    WrongAudience {
        /// The `aud` of the token.
        found: String,
    },
    /// It has expired.
    #[error("the token expired at {}", .at.rfc3339())]
    Expired {
        /// Its `exp`.
        at: UnixTime,
    },
    /// It is not valid yet.
    #[error("the token is not valid before {}; is this machine's clock late?", .at.rfc3339())]
    NotYetValid {
        /// Its `nbf`.
        at: UnixTime,
    },
    /// Its issuer publishes no key with this id.
    #[error("the token's issuer publishes no key with the id {found:?}")]
    UnknownKey {
        /// The `kid` of the token.
        found: String,
    },
    /// Its signature does not verify with the key it names.
    #[error("the token's signature does not verify")]
    InvalidSignature,
    /// It was revoked before it expired.
    #[error("the token was revoked")]
    Revoked {
        /// When that was found: the next token must not be older.
        now: UnixTime,
    },
    /// It is valid, and its principal is not authorized.
    #[error("the principal {principal:?} has none of the required roles and scopes, and is not listed by id")]
    NotAuthorized {
        /// Its `oid`.
        principal: String,
    },
    /// Its issuer's keys cannot be fetched. This may pass.
    #[error("the keys of {issuer} cannot be fetched: {why}")]
    KeysUnavailable {
        /// The issuer.
        issuer: String,
        /// The reason.
        why: String,
    },
}

impl ValidationError {
    pub(crate) fn issuer(found: &str) -> Self {
        Self::UntrustedIssuer { found: truncated(found) }
    }

    /// 401: another token is needed. 403: the principal is not authorized. 503: try again later.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAuthorized { .. } => StatusCode::FORBIDDEN,
            Self::KeysUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::MissingToken
            | Self::Malformed(_)
            | Self::UnsupportedAlgorithm { .. }
            | Self::UntrustedIssuer { .. }
            | Self::WrongTenant { .. }
            | Self::WrongAudience { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::UnknownKey { .. }
            | Self::InvalidSignature
            | Self::Revoked { .. } => StatusCode::UNAUTHORIZED,
        }
    }

    /// The text for the caller: enough to correct the request, and nothing about the configuration here.
    pub fn public(&self) -> &'static str {
        match self {
            Self::MissingToken => "a bearer token is required",
            Self::Malformed(_) | Self::UnsupportedAlgorithm { .. } => "the token is malformed",
            Self::UntrustedIssuer { .. } | Self::WrongTenant { .. } => "the token's issuer is not accepted here",
            Self::WrongAudience { .. } => "the token is for another audience",
            Self::Expired { .. } => "the token has expired",
            Self::NotYetValid { .. } => "the token is not valid yet",
            Self::UnknownKey { .. } | Self::InvalidSignature => "the token's signature is not valid",
            Self::Revoked { .. } => "the token has been revoked",
            Self::NotAuthorized { .. } => "the principal lacks the role or scope this needs",
            Self::KeysUnavailable { .. } => "tokens cannot be checked at the moment",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3), where the status asks for one.
    pub fn challenge(&self) -> Option<String> {
        let reason = self.public();
        match self {
            // RFC 6750: without a token there is no error code.
            Self::MissingToken => Some("Bearer".to_owned()),
            Self::KeysUnavailable { .. } => None,
            Self::NotAuthorized { .. } => {
                Some(format!("Bearer error=\"insufficient_scope\", error_description=\"{reason}\""))
            }
            // Clients that support continuous access evaluation put this into their next token request, and so get a
            // token that is not from their cache.
            Self::Revoked { now } => {
                let claims = format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{now}"}}}}}}"#);
                let claims = BASE64_STANDARD.encode(claims);
                Some(format!(
                    "Bearer error=\"insufficient_claims\", error_description=\"{reason}\", claims=\"{claims}\""
                ))
            }
            Self::Malformed(_)
            | Self::UnsupportedAlgorithm { .. }
            | Self::UntrustedIssuer { .. }
            | Self::WrongTenant { .. }
            | Self::WrongAudience { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::UnknownKey { .. }
            | Self::InvalidSignature => Some(format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"")),
        }
    }
}

/// Untrusted text, short enough for a log.
pub(crate) fn truncated(text: &str) -> String {
    text.chars().take(200).collect()
}
