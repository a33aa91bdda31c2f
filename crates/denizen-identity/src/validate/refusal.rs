//! Why a token is refused. `Display` is for the log; the caller is told less, and a status.

use base64::{Engine, prelude::BASE64_STANDARD};
use denizen_wire::UnixTime;
use http::StatusCode;

/// Why a bearer is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no bearer token.
    #[error("the request carries no bearer token")]
    Missing,
    /// It is no token of the known form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// It is signed in a way that is not taken. `none` is one.
    #[error("the token is signed with {found:?}, and RS256 is the only algorithm taken")]
    Algorithm {
        /// What its header names.
        found: String,
    },
    /// Nobody who is trusted has this name.
    #[error("the token's issuer {found:?} is not trusted")]
    Issuer {
        /// The `iss` of the token.
        found: String,
    },
    /// The issuer speaks for another tenant.
    #[error("the token's tenant {found:?} is not its issuer's")]
    Tenant {
        /// The `tid` of the token.
        found: String,
    },
    /// It is made out to somebody else.
    #[error("the token is for {found:?} and not for this resource")]
    Audience {
        /// The `aud` of the token.
        found: String,
    },
    /// It is over.
    #[error("the token ended at {}", .at.rfc3339())]
    Expired {
        /// When.
        at: UnixTime,
    },
    /// It has not begun.
    #[error("the token begins at {}; is this machine's clock late?", .at.rfc3339())]
    NotYet {
        /// When it will.
        at: UnixTime,
    },
    /// Its issuer publishes no such key.
    #[error("the token's issuer publishes no key {found:?}")]
    Key {
        /// The `kid` of the token.
        found: String,
    },
    /// It was not signed with that key, or not like this.
    #[error("the token's signature does not verify")]
    Signature,
    /// It was ended before its time.
    #[error("the token was revoked")]
    Revoked {
        /// When that was noticed: the next one must not be older.
        now: UnixTime,
    },
    /// It is a good token, of somebody who is not let in.
    #[error("the principal {principal:?} has none of the roles, scopes and ids that are let in")]
    NotAdmitted {
        /// Its `oid`.
        principal: String,
    },
    /// Its issuer's keys cannot be had. This is nobody's fault at this end, and may pass.
    #[error("the keys of {issuer} cannot be had: {why}")]
    Unavailable {
        /// Whose keys.
        issuer: String,
        /// Why not.
        why: String,
    },
}

impl Refusal {
    pub(super) fn issuer(found: &str) -> Self {
        Self::Issuer { found: shown(found) }
    }

    /// 401: come again with a token. 403: this principal need not come again. 503: come again later.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAdmitted { .. } => StatusCode::FORBIDDEN,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Missing
            | Self::Malformed(_)
            | Self::Algorithm { .. }
            | Self::Issuer { .. }
            | Self::Tenant { .. }
            | Self::Audience { .. }
            | Self::Expired { .. }
            | Self::NotYet { .. }
            | Self::Key { .. }
            | Self::Signature
            | Self::Revoked { .. } => StatusCode::UNAUTHORIZED,
        }
    }

    /// What the caller is told: enough to mend its request, nothing of what is trusted here.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Missing => "a bearer token is required",
            Self::Malformed(_) | Self::Algorithm { .. } => "the token is malformed",
            Self::Issuer { .. } | Self::Tenant { .. } => "the token's issuer is not accepted here",
            Self::Audience { .. } => "the token is for another audience",
            Self::Expired { .. } => "the token has expired",
            Self::NotYet { .. } => "the token is not valid yet",
            Self::Key { .. } | Self::Signature => "the token's signature is not valid",
            Self::Revoked { .. } => "the token has been revoked",
            Self::NotAdmitted { .. } => "the principal lacks the role or scope this needs",
            Self::Unavailable { .. } => "tokens cannot be checked at the moment",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3), where the status asks for one.
    pub fn challenge(&self) -> Option<String> {
        let reason = self.public();
        match self {
            // A request that knew of no token is told of no error.
            Self::Missing => Some("Bearer".to_owned()),
            Self::Unavailable { .. } => None,
            Self::NotAdmitted { .. } => {
                Some(format!("Bearer error=\"insufficient_scope\", error_description=\"{reason}\""))
            }
            // Clients that follow continuous access evaluation put this into their next token request, and so get a
            // token that is not out of their cache.
            Self::Revoked { now } => {
                let claims = format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{now}"}}}}}}"#);
                let claims = BASE64_STANDARD.encode(claims);
                Some(format!(
                    "Bearer error=\"insufficient_claims\", error_description=\"{reason}\", claims=\"{claims}\""
                ))
            }
            Self::Malformed(_)
            | Self::Algorithm { .. }
            | Self::Issuer { .. }
            | Self::Tenant { .. }
            | Self::Audience { .. }
            | Self::Expired { .. }
            | Self::NotYet { .. }
            | Self::Key { .. }
            | Self::Signature => Some(format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"")),
        }
    }
}

/// What a stranger wrote, short enough for a log.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}
