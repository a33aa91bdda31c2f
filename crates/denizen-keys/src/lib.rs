//! Custody and use of keys: the only crate that holds private key bytes.
//!
//! | module | what it answers |
//! |---|---|
//! | [`signer`] | sign with a key that never leaves this crate; verify with a public key parsed once |
//! | [`custody`] | where new private keys are made and kept: in sealed bytes, or in a device |
//! | `pkcs11` | keys in a device that a PKCS#11 module reaches (with the feature of that name) |
//! | [`jws`] | write compact tokens; read access tokens strictly and client assertions leniently |
//! | [`jwk`] | public keys as JWKs (RFC 7517) |
//! | [`secret`], [`random`] | values that cannot be printed and are wiped; the one source of randomness |
//! | [`x509`], [`ca`] | read and make certificates; a development authority that cannot vouch for much |
//! | [`chain`] | certificates that an authority vouches for |
//! | [`envelope`] | keys that wrap keys, down to one data key for each secret version; the root key file |
//! | [`frames`] | a long text under a key of its own, sealed in frames |
//! | [`mac`] | tags under keys that are derived from the root key or a wrapped one, one for each purpose |
//! | [`password`] | slow hashes, for secrets that people choose |
//! | [`totp`] | one-time passwords of a key and the time |
//! | [`b64`], [`hash`] | one place for base64, digests, MACs |
//!
//! May touch: the operating system's random source; in `envelope` the root key file; in `pkcs11` the device, by the
//! module that the operator names. No network, no clock: time is always an argument. All input may be hostile: every parser has a size limit and a depth
//! limit, returns an error instead of panicking, and puts no byte of its input into the error.

#![forbid(unsafe_code)]

mod algorithm;
pub mod b64;
pub mod ca;
pub mod chain;
pub mod custody;
mod ec_public;
pub mod envelope;
mod error;
pub mod frames;
pub mod hash;
pub mod jwk;
pub mod jws;
pub mod mac;
pub mod password;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
mod place;
mod public_key;
pub mod random;
mod root_key;
mod rsa_public;
pub mod secret;
pub mod signer;
pub mod totp;
pub mod x509;

pub use algorithm::{Algorithm, KeyKind};
pub use custody::Custody;
pub use ec_public::EcPublic;
pub use error::KeyError;
pub use jws::JwsError;
pub use public_key::{PublicKey, VerifyingKey};
pub use rsa_public::RsaPublic;
pub use secret::{SecretBytes, SecretString};
pub use signer::{RsaBits, Signer};

/// Compares two byte strings in a time that depends on their lengths only, never on their content.
///
/// Strings of different length are unequal at once: the length of a MAC or a token is not a secret.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    a.ct_eq(b).into()
}
