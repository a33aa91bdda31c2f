//! Secrets that cannot be printed by accident and are wiped from memory when dropped.
//!
//! Touches nothing. There is no `Serialize` on purpose: a secret leaves a process only where someone wrote
//! `expose()`, which is easy to search for. Tests: below.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use zeroize::Zeroizing;

/// Text that must not be shown: a client secret, a bearer token, a join token.
#[derive(Clone)]
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

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_string`: serde_json refuses other types by itself then, and quotes the value.
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Reads a secret. serde's own text for a value of another type quotes the value (`invalid type: integer `12345``), and
/// a secret written without its quotation marks is such a value, so every scalar is refused with a fixed text.
struct SecretVisitor;

const NOT_TEXT: &str = "a secret must be a string: write it in quotation marks";

impl Visitor<'_> for SecretVisitor {
    type Value = SecretString;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<SecretString, E> {
        Ok(SecretString::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<SecretString, E> {
        Ok(SecretString::from(text))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<SecretString, E> {
        Err(E::custom(NOT_TEXT))
    }
}

/// What is wrong with a JSON text that may hold a secret: the kind of fault and its place. serde's own text quotes the
/// value it did not expect.
#[must_use]
pub fn json_fault(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Io => "it cannot be read",
        Category::Syntax => "it is not JSON",
        Category::Eof => "its JSON is cut off",
        Category::Data => "a member is missing, unknown, twice there, or of another type",
    };
    match error.line() {
        // Read from a value and not from a text.
        0 => what.to_owned(),
        line => format!("{what} (line {line}, column {})", error.column()),
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl TryFrom<SecretBytes> for SecretString {
    type Error = std::str::Utf8Error;

    /// Converts without copying. Bytes that are not UTF-8 are wiped.
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

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(..)")
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
