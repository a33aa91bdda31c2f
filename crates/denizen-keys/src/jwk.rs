//! A public RSA key as the key document shows it (RFC 7517, with the members Entra adds).
//!
//! Touches nothing. Tests: below.

use crate::{Algorithm, RsaPublic};
use serde::{Deserialize, Serialize};

/// One entry of a `keys` array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsaJwk {
    /// Always `RSA`.
    pub kty: String,
    /// Always `sig`: what the key may be used for.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none", default)]
    pub use_: Option<String>,
    /// The algorithm, where the issuer fixes one; Entra leaves it out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alg: Option<String>,
    /// Name of the key, as in the token header.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kid: Option<String>,
    /// SHA-1 thumbprint of the certificate, base64url.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub x5t: Option<String>,
    /// Modulus, base64url.
    pub n: String,
    /// Exponent, base64url.
    pub e: String,
    /// The certificate chain, leaf first, each entry standard base64 of DER.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub x5c: Vec<String>,
    /// The issuer this key signs for, as Entra shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer: Option<String>,
}

impl RsaJwk {
    /// A signing key of the given name; the optional members are left for the caller to fill.
    #[must_use]
    pub fn signing(key: &RsaPublic, kid: &str, alg: Option<Algorithm>) -> Self {
        Self {
            kty: "RSA".to_owned(),
            use_: Some("sig".to_owned()),
            alg: alg.map(|alg| alg.name().to_owned()),
            kid: Some(kid.to_owned()),
            x5t: None,
            n: key.n_base64url(),
            e: key.e_base64url(),
            x5c: Vec::new(),
            issuer: None,
        }
    }

    /// The key itself, for verifying.
    ///
    /// # Errors
    /// [`crate::KeyError`] when `kty` is not `RSA` or the numbers are refused.
    pub fn to_public(&self) -> Result<RsaPublic, crate::KeyError> {
        if self.kty != "RSA" {
            return Err(crate::KeyError::NotRsa { found: "a JWK of another kty" });
        }
        RsaPublic::from_jwk_members(&self.n, &self.e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RsaBits, Signer};

    #[test]
    fn a_key_document_entry_round_trips_and_omits_what_is_unset() {
        let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let jwk = RsaJwk::signing(signer.public(), "k1", Some(Algorithm::Rs256));
        let json = serde_json::to_value(&jwk).unwrap();
        let mut members: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        members.sort();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!(json["use"], "sig");
        let again: RsaJwk = serde_json::from_value(json).unwrap();
        assert_eq!(&again.to_public().unwrap(), signer.public());
        let other = RsaJwk { kty: "EC".to_owned(), ..again };
        assert!(other.to_public().is_err());
    }
}
