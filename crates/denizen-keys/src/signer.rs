//! Signing with a private key that is never exported to the caller.
//!
//! A [`Signer`] is an enum because the kinds of custody are few and known: software now, TPM and PKCS#11 later, each
//! a new variant that the compiler then requires everywhere. The private key is parsed and checked once, when the signer
//! is made: parsing it for each signature more than halves the rate.
//!
//! Touches the random source only. Tests: below.

use crate::{KeyError, SecretBytes};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use std::sync::Arc;

pub use crate::rsa_public::RsaPublic;

/// A private key in some custody, able to sign. Clones share the key.
#[derive(Clone)]
pub enum Signer {
    /// The key is in this process's memory.
    Software(Arc<SoftwareSigner>),
}

/// An RSA private key in this process's memory.
pub struct SoftwareSigner {
    pair: KeyPair,
    public: RsaPublic,
}

/// The signature algorithms tokens may carry (RFC 7518, section 3.1). There is deliberately no "none" and no HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    Ps256,
}

/// Sizes of RSA keys we make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RsaBits {
    /// 2048 bits: what every client of Azure expects, and three times as fast as 3072.
    B2048,
    /// 3072 bits.
    B3072,
}

impl Algorithm {
    /// The name in a token's `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The algorithm of that exact name; names are case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            _ => None,
        }
    }
}

impl Signer {
    /// Makes a new RSA key in software. Takes tens to hundreds of milliseconds: not for an asynchronous worker.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the library fails.
    pub fn generate_rsa(bits: RsaBits) -> Result<Self, KeyError> {
        let size = match bits {
            RsaBits::B2048 => KeySize::Rsa2048,
            RsaBits::B3072 => KeySize::Rsa3072,
        };
        Self::from_pair(KeyPair::generate(size).map_err(|_| KeyError::Generation)?)
    }

    /// Reads a key that [`Self::to_pkcs8`] wrote.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when the bytes are not an unencrypted PKCS#8 RSA key of 2048 to 8192 bits.
    pub fn from_pkcs8(der: &SecretBytes) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8(der.expose())
            .map_err(|_| KeyError::PrivateKey("not an unencrypted PKCS#8 RSA key of 2048 to 8192 bits"))?;
        Self::from_pair(pair)
    }

    /// The private key as unencrypted PKCS#8, to be sealed at rest and for nothing else.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when the library cannot encode it.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, KeyError> {
        match self {
            Self::Software(key) => {
                let der: Pkcs8V1Der<'_> =
                    key.pair.as_der().map_err(|_| KeyError::PrivateKey("the key cannot be encoded"))?;
                Ok(SecretBytes::from(der.as_ref()))
            }
        }
    }

    /// Signs a message; the digest is part of the algorithm.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the library or device refuses.
    pub fn sign(&self, alg: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Software(key) => {
                let encoding: &'static dyn RsaEncoding = match alg {
                    Algorithm::Rs256 => &RSA_PKCS1_SHA256,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                };
                let mut signature = vec![0; key.pair.public_modulus_len()];
                key.pair
                    .sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| KeyError::Signing)?;
                Ok(signature)
            }
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &RsaPublic {
        match self {
            Self::Software(key) => &key.public,
        }
    }

    fn from_pair(pair: KeyPair) -> Result<Self, KeyError> {
        let unreadable = KeyError::PrivateKey("its public half cannot be read");
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
            .map_err(|_| unreadable.clone())?;
        let spki = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(&parsed).map_err(|_| unreadable)?;
        let public = RsaPublic::from_spki_der(spki.as_ref())?;
        Ok(Self::Software(Arc::new(SoftwareSigner { pair, public })))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Software(key) => write!(f, "Signer::Software(RSA {} bits)", key.public.bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_and_only_its_own_public_half_verifies() {
        let (ours, other) =
            (Signer::generate_rsa(RsaBits::B2048).unwrap(), Signer::generate_rsa(RsaBits::B2048).unwrap());
        for alg in [Algorithm::Rs256, Algorithm::Ps256] {
            let signature = ours.sign(alg, b"message").unwrap();
            assert_eq!(signature.len(), 256);
            assert_eq!(ours.public().verify(alg, b"message", &signature), Ok(()));
            assert_eq!(ours.public().verify(alg, b"messagf", &signature), Err(KeyError::BadSignature));
            assert_eq!(other.public().verify(alg, b"message", &signature), Err(KeyError::BadSignature));
            assert_eq!(ours.public().verify(alg, b"message", &signature[1..]), Err(KeyError::BadSignature));
            assert_eq!(ours.public().verify(alg, b"message", b""), Err(KeyError::BadSignature));
        }
        let pkcs1 = ours.sign(Algorithm::Rs256, b"message").unwrap();
        assert_eq!(ours.public().verify(Algorithm::Ps256, b"message", &pkcs1), Err(KeyError::BadSignature));
    }

    #[test]
    fn a_key_survives_being_stored() {
        let ours = Signer::generate_rsa(RsaBits::B3072).unwrap();
        let again = Signer::from_pkcs8(&ours.to_pkcs8().unwrap()).unwrap();
        assert_eq!(ours.public(), again.public());
        assert_eq!(again.public().bits(), 3072);
        let signature = again.sign(Algorithm::Rs256, b"m").unwrap();
        assert_eq!(ours.public().verify(Algorithm::Rs256, b"m", &signature), Ok(()));
        assert!(Signer::from_pkcs8(&SecretBytes::from(vec![0x30, 0x03, 1, 2, 3])).is_err());
        assert_eq!(format!("{ours:?}"), "Signer::Software(RSA 3072 bits)");
    }

    #[test]
    fn a_public_key_has_one_value_in_each_of_its_spellings() {
        let ours = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let key = ours.public();
        assert_eq!(key.e(), [1, 0, 1]);
        assert_eq!(key.e_base64url(), "AQAB");
        assert_eq!(&RsaPublic::from_components(&[&[0, 0], key.n()].concat(), &[0, 1, 0, 1]).unwrap(), key);
        assert_eq!(&RsaPublic::from_spki_der(key.spki_der()).unwrap(), key);
        assert_eq!(&RsaPublic::from_jwk_members(&key.n_base64url(), &key.e_base64url()).unwrap(), key);
    }

    #[test]
    fn weak_and_malformed_public_keys_are_refused() {
        let ours = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let n = ours.public().n().to_vec();
        let refused = |n: &[u8], e: &[u8]| RsaPublic::from_components(n, e).unwrap_err();
        assert_eq!(refused(&n[..128], &[1, 0, 1]), KeyError::KeySize { bits: bit_count(&n[..128]) });
        assert_eq!(refused(&[0xff; 1025], &[1, 0, 1]), KeyError::KeySize { bits: 8200 });
        assert_eq!(refused(&[], &[]), KeyError::KeySize { bits: 0 });
        for e in [&[1][..], &[], &[0], &[2], &[4, 0, 0, 0, 1]] {
            assert!(matches!(refused(&n, e), KeyError::PublicKey(_)), "{e:?}");
        }
        let mut even = n;
        *even.last_mut().unwrap() &= 0xfe;
        assert_eq!(refused(&even, &[1, 0, 1]), KeyError::PublicKey("the modulus is even"));
        let mut longer = ours.public().spki_der().to_vec();
        longer.push(0);
        assert!(RsaPublic::from_spki_der(&longer).is_err());
        assert!(RsaPublic::from_spki_der(&longer[..40]).is_err());
    }

    fn bit_count(n: &[u8]) -> usize {
        n.len() * 8 - n[0].leading_zeros() as usize
    }
}
