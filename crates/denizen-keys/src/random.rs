//! The one source of randomness: the cryptographic library's generator, seeded by the operating system.
//!
//! Tests: below.

use crate::{SecretString, b64};
use zeroize::Zeroize as _;

/// Fills a buffer with unpredictable bytes.
///
/// # Panics
/// When the generator fails. A caller could not recover, and predictable bytes would compromise every later key.
#[allow(clippy::panic, reason = "no input reaches this; without randomness nothing here may go on")]
pub fn fill(buffer: &mut [u8]) {
    if aws_lc_rs::rand::fill(buffer).is_err() {
        panic!("the random generator failed");
    }
}

/// `N` unpredictable bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    fill(&mut buffer);
    buffer
}

/// A bearer secret of `n_bytes` random bytes in unpadded base64url: 32 bytes give 43 characters.
#[must_use]
pub fn token(n_bytes: usize) -> SecretString {
    let mut buffer = vec![0; n_bytes];
    fill(&mut buffer);
    let text = b64::url(&buffer);
    buffer.zeroize();
    SecretString::from(text)
}

/// A random UUID (version 4).
#[must_use]
pub fn uuid_v4() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_differ_and_have_the_promised_form() {
        assert_ne!(bytes::<32>(), bytes::<32>());
        let token = token(32);
        assert_eq!(token.expose().len(), 43);
        assert_eq!(b64::decode_url(token.expose()).unwrap().len(), 32);
        let id = uuid_v4();
        assert_eq!(id.get_version_num(), 4);
        assert_ne!(id, uuid_v4());
    }
}
