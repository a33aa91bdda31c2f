//! What tokens are signed by, and the keys for it.
//!
//! Touches nothing. Tests: `signer.rs`, `jws/tests.rs`.

/// The signature algorithms tokens may carry (RFC 7518, section 3.1). There is deliberately no "none" and no HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    Ps256,
    /// ECDSA on P-256 with SHA-256; a signature is both numbers, 32 bytes each.
    Es256,
}

/// The keys that sign tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// RSA of 2048 bits, for RS256.
    Rsa2048,
    /// P-256, for ES256.
    EcP256,
}

impl Algorithm {
    /// The name in a token's `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
        }
    }

    /// The algorithm of that exact name; names are case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}
