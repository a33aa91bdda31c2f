//! What a caller showed to prove that it may ask.
//!
//! The evidence types can only be made by the code that checked them: [`Redeemed`] by
//! [`crate::challenge::Challenges::redeem`], [`SecretShown`] by [`HeaderSecret::check`]. Touches nothing.

use denizen_keys::SecretString;

pub use crate::challenge::Redeemed;

/// What a caller showed.
#[derive(Debug)]
pub enum Evidence {
    /// The content of a key file that was made for this caller.
    KeyFile(Redeemed),
    /// The App Service secret.
    SecretHeader(SecretShown),
    /// Nothing: the kernel's word about the peer has to do.
    Peer,
}

/// The secret that App Service requests carry in a header.
pub struct HeaderSecret(SecretString);

/// Evidence that a caller sent the secret.
#[derive(Debug)]
pub struct SecretShown(());

impl HeaderSecret {
    /// None for an empty secret: it would let in whoever sends an empty header.
    pub fn new(secret: SecretString) -> Option<Self> {
        (!secret.is_empty()).then_some(Self(secret))
    }

    /// Compares in constant time.
    pub fn check(&self, presented: &str) -> Option<SecretShown> {
        self.0.ct_eq(presented).then_some(SecretShown(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_is_taken() {
        assert!(HeaderSecret::new("".into()).is_none());
        let secret = HeaderSecret::new("s3cret".into()).unwrap();
        assert!(secret.check("s3cret").is_some());
        for presented in ["", "s3cre", "s3cret ", "S3CRET"] {
            assert!(secret.check(presented).is_none(), "{presented}");
        }
    }
}
