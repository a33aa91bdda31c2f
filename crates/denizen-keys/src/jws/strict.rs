//! Reading access tokens as a resource server must: one form, and the algorithm that the key has.
//!
//! Tests: `tests.rs`.

use super::{JwsError, MAX_TOKEN_BYTES, Segments, json};
use crate::{Algorithm, VerifyingKey, b64};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What a token's header says, before anything is proved. Good for choosing a key, not for trusting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The signature algorithm that it claims; the reader takes RS256 and ES256.
    pub alg: Algorithm,
    /// Name of the key the signer claims to have used.
    pub kid: Option<String>,
    /// Always `JWT` in a token that was parsed.
    pub typ: String,
    /// SHA-1 thumbprint as the token spells it.
    pub x5t: Option<String>,
}

/// A well-formed token whose signature has not been checked. Its claims are not reachable.
pub struct Unverified<'a> {
    segments: Segments<'a>,
    header: Header,
    signature: Vec<u8>,
}

/// A token whose signature was checked; made only by [`Unverified::verify`]. Whether it is expired, for whom it is
/// and who issued it is for the caller to check from the claims.
#[derive(Clone)]
pub struct Verified {
    /// The payload: always a JSON object.
    pub claims: Value,
    header: Header,
}

impl<'a> Unverified<'a> {
    /// Reads the form of a token of at most `max_len` bytes (and never more than [`MAX_TOKEN_BYTES`]).
    ///
    /// # Errors
    /// [`JwsError`] naming the first rule that refused.
    pub fn parse(token: &'a str, max_len: usize) -> Result<Self, JwsError> {
        let segments = Segments::cut(token, max_len.min(MAX_TOKEN_BYTES))?;
        let header = decode(segments.header, "header")?;
        let header = read_header(&json::object(&header, "header")?)?;
        let signature = decode(segments.signature, "signature")?;
        Ok(Self { segments, header, signature })
    }

    /// The header as claimed.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Name of the key the signer claims to have used.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Checks the signature with a key the caller trusts, then reads the claims. Which algorithms are `allowed` is said
    /// by the key (`PublicKey::token_algorithm`), never by the token.
    ///
    /// # Errors
    /// [`JwsError::AlgorithmRefused`] when the algorithm is not in `allowed`, [`JwsError::BadSignature`], or the
    /// payload's fault.
    pub fn verify(&self, key: &impl VerifyingKey, allowed: &[Algorithm]) -> Result<Verified, JwsError> {
        if !allowed.contains(&self.header.alg) {
            return Err(JwsError::AlgorithmRefused);
        }
        key.verify(self.header.alg, self.segments.signing_input.as_bytes(), &self.signature)
            .map_err(|_| JwsError::BadSignature)?;
        let payload = decode(self.segments.payload, "payload")?;
        let claims = Value::Object(json::object(&payload, "payload")?);
        Ok(Verified { claims, header: self.header.clone() })
    }
}

// A token is a credential: only what its header says is shown.
impl std::fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").field("header", &self.header).finish_non_exhaustive()
    }
}

// The claims stay out: they may be personal, and whatever a client put into a token would reach the log.
impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Verified {
    /// The claims in the form the caller names.
    ///
    /// # Errors
    /// [`JwsError::Claims`] when they do not have it.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        T::deserialize(&self.claims).map_err(|_| JwsError::Claims)
    }

    /// The header, now known to be what was signed.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }
}

fn decode(segment: &str, name: &'static str) -> Result<Vec<u8>, JwsError> {
    b64::decode_url(segment).ok_or(JwsError::Encoding { segment: name })
}

fn read_header(members: &Map<String, Value>) -> Result<Header, JwsError> {
    // RFC 7515, section 4.1.11: an extension that is not understood must be refused, and we understand none.
    if members.contains_key("crit") {
        return Err(JwsError::Header { member: "crit" });
    }
    // Access tokens of this system are one of these and nothing else, whatever a caller would allow.
    let alg = members.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
    let alg = alg.filter(|alg| matches!(alg, Algorithm::Rs256 | Algorithm::Es256)).ok_or(JwsError::AlgorithmRefused)?;
    let typ = members.get("typ").and_then(Value::as_str).filter(|typ| *typ == "JWT").ok_or(JwsError::TypeRefused)?;
    Ok(Header { alg, kid: text(members, "kid")?, typ: typ.to_owned(), x5t: text(members, "x5t")? })
}

/// An optional header member that must be text where it is present.
pub(super) fn text(members: &Map<String, Value>, member: &'static str) -> Result<Option<String>, JwsError> {
    match members.get(member) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(JwsError::Header { member })
        }
    }
}
