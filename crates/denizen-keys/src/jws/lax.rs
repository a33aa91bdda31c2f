//! Reading client assertions as clients really write them.
//!
//! Azure clients differ in the details: the asynchronous Python client
//! leaves `=` on all three segments; Go and Rust write thumbprints in standard base64, Python pads base64url; .NET
//! sends `x5c` as bare text and its dates as text; the command line client leaves line breaks inside certificates;
//! Rust puts base64 *of PEM text* there. This leniency is safe because the signature is checked over the bytes as
//! received. The algorithm is checked strictly, and a key verifies by those of its own family alone.
//!
//! Tests: `tests.rs`.

use super::strict::text;
use super::{JwsError, MAX_TOKEN_BYTES, MAX_X5C_CERTIFICATES, Segments, json};
use crate::{Algorithm, VerifyingKey, b64};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use x509_parser::pem::Pem;

/// A client assertion whose signature has not been checked.
///
/// The public members are hints for finding the key that was registered; none of them proves anything.
pub struct LaxAssertion {
    /// The signature algorithm.
    pub alg: Algorithm,
    /// Name of the key, used by federated issuers.
    pub kid: Option<String>,
    /// SHA-1 thumbprint of the certificate.
    pub x5t: Option<[u8; 20]>,
    /// SHA-256 thumbprint of the certificate.
    pub x5t_s256: Option<[u8; 32]>,
    /// Certificates the client sent along, DER, leaf first; not parsed, not trusted.
    pub x5c: Vec<Vec<u8>>,
    signing_input: String,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// An assertion whose signature was checked; made only by [`LaxAssertion::verify`]. Dates, audience and issuer are
/// for the caller to check; dates may be integers, fractions or text.
#[derive(Clone)]
#[non_exhaustive]
pub struct VerifiedAssertion {
    /// The payload.
    pub claims: Map<String, Value>,
    /// The algorithm it was signed with.
    pub alg: Algorithm,
}

impl LaxAssertion {
    /// Reads the form of an assertion of at most [`MAX_TOKEN_BYTES`].
    ///
    /// # Errors
    /// [`JwsError`] naming the first rule that refused.
    pub fn parse(token: &str) -> Result<Self, JwsError> {
        let segments = Segments::cut(token, MAX_TOKEN_BYTES)?;
        let header = json::object(&decode(segments.header, "header")?, "header")?;
        if header.contains_key("crit") {
            return Err(JwsError::Header { member: "crit" });
        }
        let alg = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::from_name)
            .filter(|alg| matches!(alg, Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256))
            .ok_or(JwsError::AlgorithmRefused)?;
        Ok(Self {
            alg,
            kid: text(&header, "kid")?,
            x5t: thumbprint(&header, "x5t")?,
            x5t_s256: thumbprint(&header, "x5t#S256")?,
            x5c: certificates(&header)?,
            signing_input: segments.signing_input.to_owned(),
            signature: decode(segments.signature, "signature")?,
            claims: json::object(&decode(segments.payload, "payload")?, "payload")?,
        })
    }

    /// The issuer it claims, **unproved**: only for deciding where to look for a key.
    #[must_use]
    pub fn unverified_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The claims, **unproved**: only for deciding whether it is worth to look for a key.
    #[must_use]
    pub fn unverified_claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Checks the signature, over the bytes as they came, with a key the caller trusts.
    ///
    /// # Errors
    /// [`JwsError::BadSignature`].
    pub fn verify(&self, key: &impl VerifyingKey) -> Result<VerifiedAssertion, JwsError> {
        key.verify(self.alg, self.signing_input.as_bytes(), &self.signature).map_err(|_| JwsError::BadSignature)?;
        Ok(VerifiedAssertion { claims: self.claims.clone(), alg: self.alg })
    }
}

// An assertion is a credential: only what says which key it needs is shown.
impl std::fmt::Debug for LaxAssertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaxAssertion").field("alg", &self.alg).field("kid", &self.kid).finish_non_exhaustive()
    }
}

// The claims stay out, as for `Verified`.
impl std::fmt::Debug for VerifiedAssertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedAssertion").field("alg", &self.alg).finish_non_exhaustive()
    }
}

impl VerifiedAssertion {
    /// The claims in the form the caller names.
    ///
    /// # Errors
    /// [`JwsError::Claims`] when they do not have it.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        T::deserialize(Value::Object(self.claims.clone())).map_err(|_| JwsError::Claims)
    }
}

/// Base64url whose padding may have been left on.
fn decode(segment: &str, name: &'static str) -> Result<Vec<u8>, JwsError> {
    let bare = segment.strip_suffix("==").or_else(|| segment.strip_suffix('=')).unwrap_or(segment);
    b64::decode_url(bare).ok_or(JwsError::Encoding { segment: name })
}

fn thumbprint<const N: usize>(header: &Map<String, Value>, member: &'static str) -> Result<Option<[u8; N]>, JwsError> {
    let Some(spelled) = text(header, member)? else { return Ok(None) };
    let refused = JwsError::Header { member };
    let bytes = b64::decode_lax(&spelled).ok_or(refused.clone())?;
    Ok(Some(<[u8; N]>::try_from(bytes).map_err(|_| refused)?))
}

fn certificates(header: &Map<String, Value>) -> Result<Vec<Vec<u8>>, JwsError> {
    const REFUSED: JwsError = JwsError::Header { member: "x5c" };
    let entries = match header.get("x5c") {
        None => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(bare @ Value::String(_)) => std::slice::from_ref(bare),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return Err(REFUSED),
    };
    let mut chain = Vec::new();
    for entry in entries {
        let bytes = entry.as_str().and_then(b64::decode_lax).ok_or(REFUSED)?;
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            for pem in Pem::iter_from_buffer(&bytes) {
                chain.push(pem.map_err(|_| REFUSED)?.contents);
            }
        } else {
            chain.push(bytes);
        }
        if chain.len() > MAX_X5C_CERTIFICATES {
            return Err(REFUSED);
        }
    }
    Ok(chain)
}
