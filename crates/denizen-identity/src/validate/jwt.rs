//! A token before its signature is checked, which can say only where to look, and after, which is [`Claims`].

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use serde::Deserialize;

use super::{Claims, Refusal, keys::Key, refusal::shown};

/// The largest token that is looked at, bytes. Entra's largest, with two hundred groups in it, is half of that.
const MAX_TOKEN: usize = 32 * 1024;

/// A token in the compact form, taken apart.
pub(super) struct Unverified<'a> {
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

/// What is looked up before the signature can be checked. Nothing is decided in the bearer's favour by it.
#[derive(Deserialize)]
pub(super) struct Hint {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) exp: i64,
    pub(super) nbf: Option<i64>,
}

impl<'a> Unverified<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Malformed("it is larger than 32 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed("it is not a JWT"))?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed("it is not a JWT"))?;
        let decoded = |part: &str| URL.decode(part).map_err(|_| Refusal::Malformed("it is not base64url"));
        let header = decoded(header)?;
        let header: Header<'_> =
            serde_json::from_slice(&header).map_err(|_| Refusal::Malformed("its header cannot be read"))?;
        if header.alg != "RS256" {
            return Err(Refusal::Algorithm { found: shown(&header.alg) });
        }
        if header.crit.is_some() {
            return Err(Refusal::Malformed("its header has 'crit', and nothing critical is known here"));
        }
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt") && !typ.eq_ignore_ascii_case("at+jwt")) {
            return Err(Refusal::Malformed("it is of another type"));
        }
        let kid = header.kid.ok_or(Refusal::Malformed("its header names no key"))?.into_owned();
        Ok(Self { signed, payload: decoded(payload)?, signature: decoded(signature)?, kid })
    }

    pub(super) fn hint(&self) -> Result<Hint, Refusal> {
        serde_json::from_slice(&self.payload)
            .map_err(|_| Refusal::Malformed("a claim is missing, twice there, or of another type"))
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The claims, out of the bytes that were signed.
    pub(super) fn verify(&self, key: &Key) -> Result<Claims, Refusal> {
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(Refusal::Signature);
        }
        Claims::read(&self.payload)
    }
}
