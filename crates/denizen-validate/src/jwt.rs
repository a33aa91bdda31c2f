//! A token before its signature is checked. After it, the token is [`Claims`].

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use serde::Deserialize;

use crate::{Claims, ValidationError, error::truncated, keys::Key};

/// The largest token that is parsed, bytes. Entra's largest, with 200 groups, is half of that.
const MAX_TOKEN: usize = 32 * 1024;

/// The parts of a token in the compact form.
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
    kid: String,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    typ: Option<Cow<'a, str>>,
    crit: Option<serde::de::IgnoredAny>,
}

/// The claims needed to find the key. They can only lead to a rejection.
#[derive(Deserialize)]
pub(crate) struct UnverifiedClaims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) exp: i64,
    pub(crate) nbf: Option<i64>,
}

impl<'a> Unverified<'a> {
    pub(crate) fn read(token: &'a str) -> Result<Self, ValidationError> {
        if token.len() > MAX_TOKEN {
            return Err(ValidationError::Malformed("it is larger than 32 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(ValidationError::Malformed("it is not a JWT"))?;
        let (header, payload) = signed.split_once('.').ok_or(ValidationError::Malformed("it is not a JWT"))?;
        let decoded = |part: &str| URL.decode(part).map_err(|_| ValidationError::Malformed("it is not base64url"));
        let header = decoded(header)?;
        let header: Header<'_> =
            serde_json::from_slice(&header).map_err(|_| ValidationError::Malformed("its header cannot be read"))?;
        if header.alg != "RS256" {
            return Err(ValidationError::UnsupportedAlgorithm { found: truncated(&header.alg) });
        }
        if header.crit.is_some() {
            return Err(ValidationError::Malformed("its header has 'crit', and nothing critical is known here"));
        }
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt") && !typ.eq_ignore_ascii_case("at+jwt")) {
            return Err(ValidationError::Malformed("it is of another type"));
        }
        let kid = header.kid.ok_or(ValidationError::Malformed("its header names no key"))?.into_owned();
        Ok(Self { signed, payload: decoded(payload)?, signature: decoded(signature)?, kid })
    }

    pub(crate) fn claims(&self) -> Result<UnverifiedClaims, ValidationError> {
        serde_json::from_slice(&self.payload)
            .map_err(|_| ValidationError::Malformed("a claim is missing, twice there, or of another type"))
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// Checks the signature and parses the claims from the signed bytes.
    pub(crate) fn verify(&self, key: &Key) -> Result<Claims, ValidationError> {
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(ValidationError::InvalidSignature);
        }
        Claims::read(&self.payload)
    }
}
