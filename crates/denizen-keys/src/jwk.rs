//! A public key as the key document shows it (RFC 7517, with the members Entra adds).
//!
//! Touches nothing. Tests: below.

use crate::{Algorithm, EcPublic, PublicKey, RsaPublic};
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

/// One entry of a `keys` array: a key on P-256 (RFC 7518, section 6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcJwk {
    /// Always `EC`.
    pub kty: String,
    /// Always `sig`: what the key may be used for.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none", default)]
    pub use_: Option<String>,
    /// The algorithm: `ES256`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alg: Option<String>,
    /// Name of the key, as in the token header.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kid: Option<String>,
    /// SHA-1 thumbprint of the certificate, base64url.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub x5t: Option<String>,
    /// The curve: `P-256`.
    pub crv: String,
    /// First coordinate, base64url.
    pub x: String,
    /// Second coordinate, base64url.
    pub y: String,
    /// The certificate chain, leaf first, each entry standard base64 of DER.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub x5c: Vec<String>,
    /// The issuer this key signs for, as Entra shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer: Option<String>,
}

/// One entry of a `keys` array, of either family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Jwk {
    /// An RSA key.
    Rsa(RsaJwk),
    /// A key on P-256.
    Ec(EcJwk),
}

impl EcJwk {
    /// The key itself, for verifying.
    ///
    /// # Errors
    /// [`crate::KeyError`] when `kty` is not `EC`, `crv` not `P-256`, or the point is refused.
    pub fn to_public(&self) -> Result<EcPublic, crate::KeyError> {
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(crate::KeyError::PublicKey("a JWK of another kty or crv"));
        }
        EcPublic::from_jwk_members(&self.x, &self.y)
    }
}

impl Jwk {
    /// A signing key with its certificate, by which it is named; it signs for `issuer` where one is named.
    #[must_use]
    pub fn certified(key: &PublicKey, kid: &str, x5c: Vec<String>, issuer: Option<&str>) -> Self {
        let (use_, alg) = (Some("sig".to_owned()), Some(key.token_algorithm().name().to_owned()));
        let (x5t, issuer) = (Some(kid.to_owned()), issuer.map(str::to_owned));
        match key {
            PublicKey::Rsa(key) => Self::Rsa(RsaJwk { x5t, x5c, issuer, alg, ..RsaJwk::signing(key, kid, None) }),
            PublicKey::Ec(key) => Self::Ec(EcJwk {
                kty: "EC".to_owned(),
                use_,
                alg,
                kid: Some(kid.to_owned()),
                x5t,
                crv: "P-256".to_owned(),
                x: key.x_base64url(),
                y: key.y_base64url(),
                x5c,
                issuer,
            }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        match self {
            Self::Rsa(key) => key.kid.as_deref(),
            Self::Ec(key) => key.kid.as_deref(),
        }
    }

    /// The key itself, for verifying.
    ///
    /// # Errors
    /// [`crate::KeyError`] when it is none of a family that signs tokens here.
    pub fn to_public(&self) -> Result<PublicKey, crate::KeyError> {
        match self {
            Self::Rsa(key) => key.to_public().map(PublicKey::Rsa),
            Self::Ec(key) => key.to_public().map(PublicKey::Ec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RsaBits, Signer};

    #[test]
    fn a_key_document_entry_round_trips_and_omits_what_is_unset() {
        let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let jwk = RsaJwk::signing(signer.public().rsa().unwrap(), "k1", Some(Algorithm::Rs256));
        let json = serde_json::to_value(&jwk).unwrap();
        let mut members: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        members.sort();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!(json["use"], "sig");
        let again: RsaJwk = serde_json::from_value(json).unwrap();
        assert_eq!(&again.to_public().unwrap(), signer.public().rsa().unwrap());
        let other = RsaJwk { kty: "EC".to_owned(), ..again };
        assert!(other.to_public().is_err());
    }

    #[test]
    fn a_key_of_either_family_round_trips_and_says_its_algorithm() {
        for (signer, kty, alg, members) in [
            (Signer::generate_rsa(RsaBits::B2048).unwrap(), "RSA", "RS256", &["e", "n"][..]),
            (Signer::generate_ec().unwrap(), "EC", "ES256", &["crv", "x", "y"]),
        ] {
            let jwk = Jwk::certified(signer.public(), "k1", vec!["AAAA".to_owned()], Some("https://i"));
            let json = serde_json::to_value(&jwk).unwrap();
            assert_eq!((&json["kty"], &json["alg"], &json["use"]), (&kty.into(), &alg.into(), &"sig".into()));
            assert_eq!(
                (&json["kid"], &json["x5t"], &json["issuer"]),
                (&"k1".into(), &"k1".into(), &"https://i".into())
            );
            assert!(members.iter().all(|member| json[member].is_string()), "{json}");
            let again: Jwk = serde_json::from_value(json).unwrap();
            assert_eq!(&again.to_public().unwrap(), signer.public());
            assert_eq!(again.kid(), Some("k1"));
        }
    }
}
