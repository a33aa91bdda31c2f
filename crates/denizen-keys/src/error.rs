//! What can go wrong with a key. Reasons are exact and never contain key material, so they may be logged.

/// Why a key operation was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cryptographic library could not make a key.
    #[error("key generation failed")]
    Generation,
    /// The bytes are not a private key of a kind this signer takes.
    #[error("private key was refused: {0}")]
    PrivateKey(&'static str),
    /// The bytes are not a well-formed RSA public key.
    #[error("public key was refused: {0}")]
    PublicKey(&'static str),
    /// An RSA key outside 2048 to 8192 bits.
    #[error("an RSA key of {bits} bits is outside the accepted 2048 to 8192 bits")]
    KeySize {
        /// Length of the modulus in bits.
        bits: usize,
    },
    /// A public key of another family where RSA is required.
    #[error("the public key is {found}, but only RSA keys are accepted here")]
    NotRsa {
        /// Name of the family that was found.
        found: &'static str,
    },
    /// The private key exists but the library refused to sign.
    #[error("signing failed")]
    Signing,
    /// The device that keeps the key, or should, did not do what it was asked.
    #[error("the token '{token}': {reason}")]
    Device {
        /// The token's label.
        token: String,
        /// The rule that is broken, or what the device said. Never a PIN.
        reason: String,
        /// Whether it may work again without anybody changing the configuration.
        may_recover: bool,
    },
    /// The signature does not belong to this key and message.
    #[error("the signature is not valid for this key and message")]
    BadSignature,
    /// A certificate is malformed, or was asked for with values no certificate can hold.
    #[error("certificate was refused: {0}")]
    Certificate(&'static str),
    /// A name outside what the certificate authority may vouch for.
    #[error("the certificate authority may not issue for {name}: it is constrained to {permitted}")]
    NameNotPermitted {
        /// The name that was asked for.
        name: String,
        /// The names it may issue for.
        permitted: &'static str,
    },
    /// Sealed bytes are too short, of an unknown version, or of another kind.
    #[error("the sealed bytes have an unknown form")]
    SealedForm,
    /// Sealed bytes were made with another key or in another context, or were changed.
    #[error("the sealed bytes cannot be decrypted with this key in this context")]
    Open,
    /// The root key file, or the directory it stands in, is not safe to use.
    #[error("root key {path}: {reason}")]
    RootKeyRefused {
        /// Path of the file.
        path: String,
        /// The rule that was broken, and the fix.
        reason: &'static str,
    },
    /// The operating system refused an operation on the root key file.
    #[error("root key {path}: cannot {action}: {source}")]
    RootKeyFile {
        /// Path of the file.
        path: String,
        /// What was being done.
        action: &'static str,
        /// The operating system's reason.
        #[source]
        source: rustix::io::Errno,
    },
}

impl KeyError {
    /// Whether there is no root key file at all.
    #[must_use]
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::RootKeyFile { source: rustix::io::Errno::NOENT, .. })
    }
}
