//! A public key of either family that signs tokens here. The family decides the algorithm, never the token.
//!
//! Touches nothing. Tests: `signer.rs`, `x509.rs`.

use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{Algorithm, EcPublic, KeyError, RsaPublic};

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublic),
    /// An elliptic curve: P-256.
    Ec(EcPublic),
}

/// What a signature can be checked by.
pub trait VerifyingKey {
    /// Checks a signature over `message`. An algorithm of another family is a bad signature.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`], whatever is wrong with it.
    fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError>;
}

impl VerifyingKey for RsaPublic {
    fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        Self::verify(self, alg, message, signature)
    }
}

impl VerifyingKey for EcPublic {
    fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        Self::verify(self, alg, message, signature)
    }
}

impl VerifyingKey for PublicKey {
    fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        Self::verify(self, alg, message, signature)
    }
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo` of either family, with nothing after it.
    ///
    /// # Errors
    /// [`KeyError`] naming what is wrong with the key.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, info) =
            SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::PublicKey("not a SubjectPublicKeyInfo"))?;
        if !rest.is_empty() {
            return Err(KeyError::PublicKey("bytes follow the SubjectPublicKeyInfo"));
        }
        match info.parsed() {
            Ok(Parsed::EC(_)) => EcPublic::from_spki(&info).map(Self::Ec),
            Ok(_) | Err(_) => RsaPublic::from_spki(&info).map(Self::Rsa),
        }
    }

    /// The RSA key, when it is one.
    #[must_use]
    pub fn rsa(&self) -> Option<&RsaPublic> {
        match self {
            Self::Rsa(key) => Some(key),
            Self::Ec(_) => None,
        }
    }

    /// The one algorithm that this key's tokens are signed by.
    #[must_use]
    pub fn token_algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::Ec(_) => Algorithm::Es256,
        }
    }

    /// Length of a signature in a token, bytes.
    #[must_use]
    pub fn signature_bytes(&self) -> usize {
        match self {
            Self::Rsa(key) => key.n().len(),
            Self::Ec(_) => 64,
        }
    }

    /// The key as a DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.spki_der(),
            Self::Ec(key) => key.spki_der(),
        }
    }

    /// Checks a signature over `message`. An algorithm of another family is a bad signature.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`], whatever is wrong with it.
    pub fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        match self {
            Self::Rsa(key) => key.verify(alg, message, signature),
            Self::Ec(key) => key.verify(alg, message, signature),
        }
    }
}

impl From<RsaPublic> for PublicKey {
    fn from(key: RsaPublic) -> Self {
        Self::Rsa(key)
    }
}

impl From<EcPublic> for PublicKey {
    fn from(key: EcPublic) -> Self {
        Self::Ec(key)
    }
}
