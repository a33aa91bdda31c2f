//! Secrets that cannot be printed by accident and are wiped from memory when dropped.
//!
//! Touches nothing. There is no `Serialize` on purpose: a secret leaves a process only where someone wrote
//! `expose()`, which is easy to search for. Tests: below.

use serde::Deserialize;
use zeroize::Zeroizing;

/// Text that must not be shown: a client secret, a bearer token, a join token.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct SecretString(Zeroizing<String>);

/// Bytes that must not be shown: a private key, a data key, a plaintext.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretString {
    /// The secret itself. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes; lengths are not secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares without telling through timing where two secrets differ.
    #[must_use]
    pub fn ct_eq(&self, other: &str) -> bool {
        crate::constant_time_eq(self.0.as_bytes(), other.as_bytes())
    }
}

impl SecretBytes {
    /// The secret itself. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes; lengths are not secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for SecretString {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl TryFrom<SecretBytes> for SecretString {
    type Error = std::str::Utf8Error;

    /// The same bytes as text, not copied; when they are none they are wiped.
    fn try_from(mut bytes: SecretBytes) -> Result<Self, Self::Error> {
        String::from_utf8(std::mem::take(&mut *bytes.0)).map(Self::from).map_err(|error| {
            let why = error.utf8_error();
            drop(Zeroizing::new(error.into_bytes()));
            why
        })
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl std::fmt::Debug for SecretString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretString(..)")
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_debug_never_shows_the_content() {
        let text = SecretString::from("hunter2".to_owned());
        let bytes = SecretBytes::from(vec![0x68, 0x75]);
        assert_eq!(format!("{text:?} {bytes:?}"), "SecretString(..) SecretBytes(..)");
        assert_eq!(format!("{:#?}", Some(&text)), "Some(\n    SecretString(..),\n)");
    }

    #[test]
    fn bytes_become_text_when_they_are_text() {
        assert_eq!(SecretString::try_from(SecretBytes::from("ä".as_bytes())).unwrap().expose(), "ä");
        assert!(SecretString::try_from(SecretBytes::from(vec![b'a', 0xff])).is_err());
    }

    #[test]
    fn a_secret_is_read_from_json_and_compared() {
        let text: SecretString = serde_json::from_str("\"a~b\"").unwrap();
        assert_eq!(text.expose(), "a~b");
        assert!(text.ct_eq("a~b"));
        assert!(!text.ct_eq("a~c"));
        assert!(!text.ct_eq("a~"));
    }
}
