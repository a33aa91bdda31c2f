//! Signing with a private key that is never exported to the caller.
//!
//! A [`Signer`] is an enum because the kinds of custody are few and known: software and PKCS#11, TPM later, each
//! a variant that the compiler then requires everywhere in this crate. Nobody outside it learns which is in use. A key in
//! software is parsed and checked once, when the signer is made: parsing it for each signature more than halves the rate.
//!
//! Touches the random source, and the device where the key is in one. Tests: below; of the device in `tests/pkcs11.rs`.

use crate::{EcPublic, KeyError, PublicKey, SecretBytes};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use std::sync::Arc;

pub use crate::{
    algorithm::{Algorithm, KeyKind},
    rsa_public::RsaPublic,
};

/// A private key in some custody, able to sign. Clones share the key.
#[derive(Clone)]
pub struct Signer(Held);

#[derive(Clone)]
enum Held {
    /// The key is in this process's memory.
    Software(Arc<SoftwareSigner>),
    /// The key is in a device.
    #[cfg(feature = "pkcs11")]
    Pkcs11(Arc<crate::pkcs11::DeviceKey>),
}

/// A private key in this process's memory.
struct SoftwareSigner {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Rsa(RsaPair),
    Ec(EcdsaKeyPair),
}

/// Sizes of RSA keys we make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RsaBits {
    /// 2048 bits: what every client of Azure expects, and three times as fast as 3072.
    B2048,
    /// 3072 bits.
    B3072,
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
        Self::from_rsa_pair(RsaPair::generate(size).map_err(|_| KeyError::Generation)?)
    }

    /// Makes a new key on P-256 in software.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the library fails.
    pub fn generate_ec() -> Result<Self, KeyError> {
        Self::from_ec_pair(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generation)?)
    }

    /// Makes a new key of this kind in software. Not for an asynchronous worker, as [`Self::generate_rsa`].
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the library fails.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        match kind {
            KeyKind::Rsa2048 => Self::generate_rsa(RsaBits::B2048),
            KeyKind::EcP256 => Self::generate_ec(),
        }
    }

    /// Reads a key that [`Self::to_pkcs8`] wrote.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when the bytes are not an unencrypted PKCS#8 RSA key of 2048 to 8192 bits, or on P-256.
    pub fn from_pkcs8(der: &SecretBytes) -> Result<Self, KeyError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose()) {
            return Self::from_ec_pair(pair);
        }
        let pair = RsaPair::from_pkcs8(der.expose())
            .map_err(|_| KeyError::PrivateKey("not an unencrypted PKCS#8 RSA key of 2048 to 8192 bits or on P-256"))?;
        Self::from_rsa_pair(pair)
    }

    /// The private key as unencrypted PKCS#8, to be sealed at rest and for nothing else.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when the library cannot encode it, or the key cannot leave its device.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, KeyError> {
        let refused = |_| KeyError::PrivateKey("the key cannot be encoded");
        match &self.0 {
            Held::Software(key) => match &key.pair {
                Pair::Rsa(pair) => {
                    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(refused)?;
                    Ok(SecretBytes::from(der.as_ref()))
                }
                Pair::Ec(pair) => Ok(SecretBytes::from(pair.to_pkcs8v1().map_err(refused)?.as_ref())),
            },
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(_) => Err(KeyError::PrivateKey("the key does not leave its device")),
        }
    }

    /// What is to be kept of the key, sealed, so that [`crate::Custody::open`] gives it again: the key itself, or where it
    /// is.
    ///
    /// # Errors
    /// As [`Self::to_pkcs8`].
    pub fn kept(&self) -> Result<SecretBytes, KeyError> {
        match &self.0 {
            Held::Software(_) => self.to_pkcs8(),
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(key) => Ok(crate::place::Reference::of(key.place()).to_bytes()),
        }
    }

    /// Signs a message; the digest is part of the algorithm. May wait for a device: [`Self::may_wait`].
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the library refuses, or the algorithm is not of this key's family;
    /// [`KeyError::Device`].
    pub fn sign(&self, alg: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Held::Software(key) => key.sign(alg, message),
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(key) => key.sign(alg, message),
        }
    }

    /// Whether [`Self::sign`] may wait for something other than this processor: then it is not for an asynchronous worker.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        match &self.0 {
            Held::Software(_) => false,
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(_) => true,
        }
    }

    /// Whether the key could sign now, without signing. May wait, as [`Self::sign`].
    ///
    /// # Errors
    /// [`KeyError::Device`] says why not.
    pub fn check(&self) -> Result<(), KeyError> {
        match &self.0 {
            Held::Software(_) => Ok(()),
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(key) => key.check(),
        }
    }

    /// Destroys the key where it is kept outside of sealed bytes; those go with their row. May wait.
    ///
    /// # Errors
    /// [`KeyError::Device`].
    pub fn destroy(&self) -> Result<(), KeyError> {
        match &self.0 {
            Held::Software(_) => Ok(()),
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(key) => key.destroy(),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        match &self.0 {
            Held::Software(key) => &key.public,
            #[cfg(feature = "pkcs11")]
            Held::Pkcs11(key) => key.public(),
        }
    }

    #[cfg(feature = "pkcs11")]
    pub(crate) fn in_device(key: crate::pkcs11::DeviceKey) -> Self {
        Self(Held::Pkcs11(Arc::new(key)))
    }

    fn from_rsa_pair(pair: RsaPair) -> Result<Self, KeyError> {
        let unreadable = KeyError::PrivateKey("its public half cannot be read");
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
            .map_err(|_| unreadable.clone())?;
        let spki = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(&parsed).map_err(|_| unreadable)?;
        let public = RsaPublic::from_spki_der(spki.as_ref())?.into();
        Ok(Self(Held::Software(Arc::new(SoftwareSigner { pair: Pair::Rsa(pair), public }))))
    }

    fn from_ec_pair(pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = EcPublic::from_point(pair.public_key().as_ref())?.into();
        Ok(Self(Held::Software(Arc::new(SoftwareSigner { pair: Pair::Ec(pair), public }))))
    }
}

impl SoftwareSigner {
    fn sign(&self, alg: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let encoding: &'static dyn RsaEncoding = match (&self.pair, alg) {
            (Pair::Rsa(_), Algorithm::Rs256) => &RSA_PKCS1_SHA256,
            (Pair::Rsa(_), Algorithm::Ps256) => &RSA_PSS_SHA256,
            (Pair::Ec(pair), Algorithm::Es256) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Signing)?;
                return Ok(signature.as_ref().to_vec());
            }
            (Pair::Rsa(_), Algorithm::Es256) | (Pair::Ec(_), Algorithm::Rs256 | Algorithm::Ps256) => {
                return Err(KeyError::Signing);
            }
        };
        let Pair::Rsa(pair) = &self.pair else { return Err(KeyError::Signing) };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| KeyError::Signing)?;
        Ok(signature)
    }
}

// Neither the key nor where it is kept.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.public() {
            PublicKey::Rsa(key) => write!(f, "Signer(RSA {} bits)", key.bits()),
            PublicKey::Ec(_) => f.write_str("Signer(P-256)"),
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
        assert_eq!(again.public().rsa().unwrap().bits(), 3072);
        let signature = again.sign(Algorithm::Rs256, b"m").unwrap();
        assert_eq!(ours.public().verify(Algorithm::Rs256, b"m", &signature), Ok(()));
        assert!(Signer::from_pkcs8(&SecretBytes::from(vec![0x30, 0x03, 1, 2, 3])).is_err());
        assert_eq!(format!("{ours:?}"), "Signer(RSA 3072 bits)");
    }

    #[test]
    fn a_public_key_has_one_value_in_each_of_its_spellings() {
        let ours = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let key = ours.public().rsa().unwrap();
        assert_eq!(key.e(), [1, 0, 1]);
        assert_eq!(key.e_base64url(), "AQAB");
        assert_eq!(&RsaPublic::from_components(&[&[0, 0], key.n()].concat(), &[0, 1, 0, 1]).unwrap(), key);
        assert_eq!(&RsaPublic::from_spki_der(key.spki_der()).unwrap(), key);
        assert_eq!(&RsaPublic::from_jwk_members(&key.n_base64url(), &key.e_base64url()).unwrap(), key);
    }

    #[test]
    fn weak_and_malformed_public_keys_are_refused() {
        let ours = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let n = ours.public().rsa().unwrap().n().to_vec();
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

    #[test]
    fn an_ec_key_signs_in_the_form_of_tokens_and_only_its_own_family_verifies() {
        let (ours, other) = (Signer::generate_ec().unwrap(), Signer::generate_ec().unwrap());
        let signature = ours.sign(Algorithm::Es256, b"message").unwrap();
        assert_eq!(signature.len(), 64);
        assert_eq!(ours.public().verify(Algorithm::Es256, b"message", &signature), Ok(()));
        for (key, alg, message, signature) in [
            (&ours, Algorithm::Es256, b"messagf", signature.as_slice()),
            (&other, Algorithm::Es256, b"message", &signature),
            (&ours, Algorithm::Rs256, b"message", &signature),
            (&ours, Algorithm::Ps256, b"message", &signature),
            (&ours, Algorithm::Es256, b"message", &[0; 64]),
            (&ours, Algorithm::Es256, b"message", &signature[..63]),
            (&ours, Algorithm::Es256, b"message", &crate::x509::ecdsa_der(&signature).unwrap()),
        ] {
            assert_eq!(key.public().verify(alg, message, signature), Err(KeyError::BadSignature), "{alg:?}");
        }
        let rsa = Signer::generate_rsa(RsaBits::B2048).unwrap();
        assert_eq!(rsa.public().verify(Algorithm::Es256, b"message", &signature), Err(KeyError::BadSignature));
        assert_eq!(rsa.sign(Algorithm::Es256, b"m"), Err(KeyError::Signing));
        assert_eq!(ours.sign(Algorithm::Rs256, b"m"), Err(KeyError::Signing));
        assert_eq!(ours.sign(Algorithm::Ps256, b"m"), Err(KeyError::Signing));

        let again = Signer::from_pkcs8(&ours.to_pkcs8().unwrap()).unwrap();
        assert_eq!(ours.public(), again.public());
        assert_eq!(format!("{again:?}"), "Signer(P-256)");
    }

    #[test]
    fn a_point_has_one_value_in_each_of_its_spellings_and_others_are_refused() {
        let ours = Signer::generate_ec().unwrap();
        let PublicKey::Ec(key) = ours.public() else { panic!("an EC key") };
        assert_eq!(&EcPublic::from_jwk_members(&key.x_base64url(), &key.y_base64url()).unwrap(), key);
        assert_eq!(&EcPublic::from_spki_der(key.spki_der()).unwrap(), key);
        assert_eq!(&PublicKey::from_spki_der(key.spki_der()).unwrap(), ours.public());
        let mut off_curve = key.point().to_vec();
        *off_curve.last_mut().unwrap() ^= 1;
        for point in [off_curve.as_slice(), &[4; 65], &[0; 65], &[0], &[], &key.point()[..64]] {
            assert!(matches!(EcPublic::from_point(point), Err(KeyError::PublicKey(_))));
        }
        let rsa = Signer::generate_rsa(RsaBits::B2048).unwrap();
        assert!(EcPublic::from_spki_der(rsa.public().spki_der()).is_err());
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&p384);
        assert_eq!(PublicKey::from_spki_der(&spki), Err(KeyError::PublicKey("the curve is not P-256")));
    }

    fn bit_count(n: &[u8]) -> usize {
        n.len() * 8 - n[0].leading_zeros() as usize
    }
}
