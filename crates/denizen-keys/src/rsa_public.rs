//! An RSA public key, parsed once and used many times.
//!
//! Touches nothing. Tests: `signer.rs` (signing and verifying belong together).

use crate::{Algorithm, KeyError, b64};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// An RSA public key of 2048 to 8192 bits, ready to verify RS256 and PS256.
#[derive(Clone)]
pub struct RsaPublic {
    n: Vec<u8>,
    e: Vec<u8>,
    /// The library fixes the padding in the parsed key, hence one for each algorithm; both share nothing mutable.
    pkcs1: ParsedPublicKey,
    pss: ParsedPublicKey,
}

impl RsaPublic {
    /// Builds a key from its big-endian modulus and exponent; leading zero bytes are ignored.
    ///
    /// # Errors
    /// [`KeyError::KeySize`] outside 2048 to 8192 bits, [`KeyError::PublicKey`] for numbers no RSA key has.
    pub fn from_components(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = bit_length(n);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::KeySize { bits });
        }
        if n.last().is_none_or(|low| low & 1 == 0) {
            return Err(KeyError::PublicKey("the modulus is even"));
        }
        // An exponent of 1 would make every message its own signature.
        if e.last().is_none_or(|low| low & 1 == 0) || bit_length(e) < 2 || bit_length(e) > 33 {
            return Err(KeyError::PublicKey("the exponent is not an odd number from 3 up to 33 bits"));
        }
        let components = PublicKeyComponents { n, e };
        let refused = |_| KeyError::PublicKey("modulus and exponent do not form an RSA key");
        let pkcs1 = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(refused)?;
        let pss = components.to_parsed_public_key(&RSA_PSS_2048_8192_SHA256).map_err(refused)?;
        Ok(Self { n: n.to_vec(), e: e.to_vec(), pkcs1, pss })
    }

    /// Reads a DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1) that must hold an RSA key and nothing after it.
    ///
    /// # Errors
    /// [`KeyError::NotRsa`] for another family, else as [`Self::from_components`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, info) =
            SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::PublicKey("not a SubjectPublicKeyInfo"))?;
        if !rest.is_empty() {
            return Err(KeyError::PublicKey("bytes follow the SubjectPublicKeyInfo"));
        }
        Self::from_spki(&info)
    }

    /// The key inside an already parsed `SubjectPublicKeyInfo`.
    pub(crate) fn from_spki(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let found = match info.parsed().map_err(|_| KeyError::PublicKey("the key bits cannot be read"))? {
            PublicKey::RSA(key) => return Self::from_components(key.modulus, key.exponent),
            PublicKey::EC(_) => "an elliptic-curve key",
            PublicKey::DSA(_) => "a DSA key",
            PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) => "a GOST key",
            PublicKey::Unknown(_) => "of an unknown family",
        };
        Err(KeyError::NotRsa { found })
    }

    /// Reads the `n` and `e` members of a JWK: unpadded base64url.
    ///
    /// # Errors
    /// [`KeyError::PublicKey`] when a member is not base64url, else as [`Self::from_components`].
    pub fn from_jwk_members(n: &str, e: &str) -> Result<Self, KeyError> {
        let n = b64::decode_url(n).ok_or(KeyError::PublicKey("member n is not unpadded base64url"))?;
        let e = b64::decode_url(e).ok_or(KeyError::PublicKey("member e is not unpadded base64url"))?;
        Self::from_components(&n, &e)
    }

    /// Modulus, big-endian, no leading zero.
    #[must_use]
    pub fn n(&self) -> &[u8] {
        &self.n
    }

    /// Public exponent, big-endian, no leading zero.
    #[must_use]
    pub fn e(&self) -> &[u8] {
        &self.e
    }

    /// Length of the modulus in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        bit_length(&self.n)
    }

    /// Modulus as the JWK member `n`.
    #[must_use]
    pub fn n_base64url(&self) -> String {
        b64::url(&self.n)
    }

    /// Exponent as the JWK member `e`.
    #[must_use]
    pub fn e_base64url(&self) -> String {
        b64::url(&self.e)
    }

    /// The key as a DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        self.pkcs1.as_ref()
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`], whatever is wrong with it.
    pub fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let key = match alg {
            Algorithm::Rs256 => &self.pkcs1,
            Algorithm::Ps256 => &self.pss,
            Algorithm::Es256 => return Err(KeyError::BadSignature),
        };
        key.verify_sig(message, signature).map_err(|_| KeyError::BadSignature)
    }
}

impl PartialEq for RsaPublic {
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n && self.e == other.e
    }
}

impl Eq for RsaPublic {}

impl std::fmt::Debug for RsaPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RsaPublic").field("bits", &self.bits()).finish_non_exhaustive()
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((0, tail)) = rest.split_first() {
        rest = tail;
    }
    rest
}

/// Bits of a big-endian number without leading zero bytes.
fn bit_length(bytes: &[u8]) -> usize {
    bytes.first().map_or(0, |top| bytes.len() * 8 - top.leading_zeros() as usize)
}
