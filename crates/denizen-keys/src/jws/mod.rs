//! Compact JSON Web Signatures (RFC 7515): writing our own tokens, and two ways of reading.
//!
//! ```text
//!                     strict: access tokens          lax: client assertions
//!   segments          unpadded base64url             base64url, `=` tolerated
//!   algorithms        RS256, ES256                   RS256, PS256
//!   key is chosen by  the caller, from `kid`         the caller, from issuer, kid or thumbprint
//!   claims            after the signature            after the signature (issuer and subject before, to look up)
//! ```
//!
//! Both follow one rule: parse, verify, then use only what verification returned. Claims are not accessible before the
//! signature is checked, so unverified claims cannot be used by mistake. Keys named inside a token
//! (`jwk`, `jku`, `x5u`) are never followed; `x5c` is handed to the caller of the lax reader as *claimed*
//! certificates, to be matched against something registered.
//!
//! Touches nothing. Tests: `tests.rs`.

mod json;
mod lax;
mod strict;
#[cfg(test)]
mod tests;

use crate::{Algorithm, KeyError, Signer, b64};

pub use lax::{LaxAssertion, VerifiedAssertion};
pub use strict::{Header, Unverified, Verified};

/// Longest token any reader takes, in bytes. Real ones are under 2 KiB; an assertion with a chain of certificates
/// reaches about 10 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Deepest nesting of JSON inside a token.
pub const MAX_JSON_DEPTH: usize = 32;

/// Most certificates read from one `x5c`.
pub const MAX_X5C_CERTIFICATES: usize = 10;

/// Why a token was refused. The text names the rule, never the token's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Longer than the limit.
    #[error("the token is longer than {limit} bytes")]
    TooLong {
        /// The limit that applied, in bytes.
        limit: usize,
    },
    /// Not three segments separated by dots.
    #[error("the token does not have three segments")]
    NotCompact,
    /// A segment is not base64url.
    #[error("the {segment} segment is not base64url")]
    Encoding {
        /// `header`, `payload` or `signature`.
        segment: &'static str,
    },
    /// A segment is not a JSON object, is nested too deeply, or names a member twice.
    #[error("the {segment} is not acceptable JSON: {reason}")]
    Json {
        /// `header` or `payload`.
        segment: &'static str,
        /// The rule that refused.
        reason: &'static str,
    },
    /// `alg` is absent or not one of the algorithms this reader takes.
    #[error("the signature algorithm is not allowed")]
    AlgorithmRefused,
    /// `typ` is not what this reader takes.
    #[error("the token type is not JWT")]
    TypeRefused,
    /// A header member that demands an extension we do not have, or has the wrong form.
    #[error("header member {member} is refused")]
    Header {
        /// Name of the member.
        member: &'static str,
    },
    /// The signature does not belong to this key and token.
    #[error("the signature is not valid")]
    BadSignature,
    /// The verified claims do not have the form the caller asked for.
    #[error("the claims do not have the expected form")]
    Claims,
}

/// Writes a compact token: `header.claims.signature`.
///
/// Both JSON texts are taken as they are, so member order is the caller's; the caller also answers for an `alg` in
/// the header that says the same as `alg`. One buffer is allocated at its final size.
///
/// # Errors
/// [`KeyError::Signing`] when the key refuses.
pub fn sign_compact(signer: &Signer, alg: Algorithm, header_json: &str, claims_json: &str) -> Result<String, KeyError> {
    let signature_bytes = signer.public().signature_bytes();
    let encoded = |bytes: usize| bytes.div_ceil(3) * 4;
    let capacity = encoded(header_json.len()) + encoded(claims_json.len()) + encoded(signature_bytes) + 2;
    let mut token = String::with_capacity(capacity);
    b64::url_into(header_json.as_bytes(), &mut token);
    token.push('.');
    b64::url_into(claims_json.as_bytes(), &mut token);
    let signature = signer.sign(alg, token.as_bytes())?;
    token.push('.');
    b64::url_into(&signature, &mut token);
    Ok(token)
}

/// A compact token cut at its dots, nothing decoded yet.
struct Segments<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header and payload with the dot between them: exactly the bytes that were signed.
    signing_input: &'a str,
}

impl<'a> Segments<'a> {
    /// Checks the length before the dots, so that a malformed token costs little.
    fn cut(token: &'a str, limit: usize) -> Result<Self, JwsError> {
        if token.len() > limit {
            return Err(JwsError::TooLong { limit });
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::NotCompact)?;
        if payload.contains('.') {
            return Err(JwsError::NotCompact);
        }
        Ok(Self { header, payload, signature, signing_input })
    }
}
