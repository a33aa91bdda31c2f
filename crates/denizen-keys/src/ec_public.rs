//! An elliptic-curve public key on P-256, parsed once and used many times.
//!
//! Touches nothing. Tests: `signer.rs` (signing and verifying belong together).

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{Algorithm, KeyError, b64};

/// Bytes of one coordinate of a point on P-256.
const COORDINATE_BYTES: usize = 32;
/// Bytes of a point that is written whole: a mark, then both coordinates (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 1 + 2 * COORDINATE_BYTES;
/// What a point that is written whole begins with.
const UNCOMPRESSED: u8 = 4;
/// The curve P-256 as a key's parameters name it.
const P256: &str = "1.2.840.10045.3.1.7";

/// A public key on P-256, ready to verify ES256.
#[derive(Clone)]
pub struct EcPublic {
    point: [u8; POINT_BYTES],
    parsed: ParsedPublicKey,
    spki: Vec<u8>,
}

impl EcPublic {
    /// Reads a point that is written whole: 4, x, y.
    ///
    /// # Errors
    /// [`KeyError::PublicKey`] when it is none of P-256.
    pub fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        let refused = || KeyError::PublicKey("not a point of P-256, written whole");
        let point: [u8; POINT_BYTES] = point.try_into().map_err(|_| refused())?;
        if point.first() != Some(&UNCOMPRESSED) {
            return Err(refused());
        }
        // The library refuses a point that is not on the curve.
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| refused())?;
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&parsed).map_err(|_| refused())?.as_ref().to_vec();
        Ok(Self { point, parsed, spki })
    }

    /// The key inside an already parsed `SubjectPublicKeyInfo` whose algorithm is that of elliptic curves.
    pub(crate) fn from_spki(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let curve = info.algorithm.parameters.as_ref().and_then(|named| named.as_oid().ok());
        if curve.is_none_or(|curve| curve.to_id_string() != P256) {
            return Err(KeyError::PublicKey("the curve is not P-256"));
        }
        match info.parsed() {
            Ok(Parsed::EC(point)) => Self::from_point(point.data()),
            Ok(_) | Err(_) => Err(KeyError::PublicKey("the key bits cannot be read")),
        }
    }

    /// Reads a DER `SubjectPublicKeyInfo` that must hold a key on P-256 and nothing after it.
    ///
    /// # Errors
    /// [`KeyError::PublicKey`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], info)) => Self::from_spki(&info),
            Ok(_) => Err(KeyError::PublicKey("bytes follow the SubjectPublicKeyInfo")),
            Err(_) => Err(KeyError::PublicKey("not a SubjectPublicKeyInfo")),
        }
    }

    /// Reads the `x` and `y` members of a JWK: unpadded base64url of 32 bytes each (RFC 7518, section 6.2.1).
    ///
    /// # Errors
    /// [`KeyError::PublicKey`].
    pub fn from_jwk_members(x: &str, y: &str) -> Result<Self, KeyError> {
        let coordinate = |text: &str| b64::decode_url(text).filter(|bytes| bytes.len() == COORDINATE_BYTES);
        let x = coordinate(x).ok_or(KeyError::PublicKey("member x is not unpadded base64url of 32 bytes"))?;
        let y = coordinate(y).ok_or(KeyError::PublicKey("member y is not unpadded base64url of 32 bytes"))?;
        Self::from_point(&[&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat())
    }

    /// The point, written whole.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// The first coordinate as the JWK member `x`.
    #[must_use]
    pub fn x_base64url(&self) -> String {
        let [_, coordinates @ ..] = &self.point;
        b64::url(coordinates.split_at(COORDINATE_BYTES).0)
    }

    /// The second coordinate as the JWK member `y`.
    #[must_use]
    pub fn y_base64url(&self) -> String {
        let [_, coordinates @ ..] = &self.point;
        b64::url(coordinates.split_at(COORDINATE_BYTES).1)
    }

    /// The key as a DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Checks a signature over `message`: ES256 alone, in the form of RFC 7518, section 3.4 (64 bytes).
    ///
    /// # Errors
    /// [`KeyError::BadSignature`], whatever is wrong with it.
    pub fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        match alg {
            Algorithm::Es256 => self.parsed.verify_sig(message, signature).map_err(|_| KeyError::BadSignature),
            Algorithm::Rs256 | Algorithm::Ps256 => Err(KeyError::BadSignature),
        }
    }
}

impl PartialEq for EcPublic {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for EcPublic {}

impl std::fmt::Debug for EcPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EcPublic(P-256)")
    }
}
