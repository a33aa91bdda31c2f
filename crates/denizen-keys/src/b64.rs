//! Base64: the forms that are written, a strict reader and a lenient one.
//!
//! Touches nothing. Tests: below.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Base64url without padding (RFC 7515, section 2), the form of every token segment and JWK member.
#[must_use]
pub fn url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends base64url without padding to a string that is being built.
pub fn url_into(bytes: &[u8], out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Standard base64 with padding, the form of `x5c` entries and PEM.
#[must_use]
pub fn standard(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64url without padding and nothing else; stray bits in the last character are refused, so that one
/// value has one spelling.
#[must_use]
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Reads standard base64 with its padding and nothing else.
#[must_use]
pub fn decode_standard(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads either alphabet, padded or not, with ASCII white space anywhere.
///
/// For values that clients spell differently although they mean the same: thumbprints in token headers (Go and Rust
/// clients write standard base64, Python writes padded base64url) and certificates with line breaks.
#[must_use]
pub fn decode_lax(text: &str) -> Option<Vec<u8>> {
    let mut plain: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' => plain.push(b'+'),
            b'_' => plain.push(b'/'),
            _ if byte.is_ascii_whitespace() => {}
            _ => plain.push(byte),
        }
    }
    for _ in 0..2 {
        if plain.last() == Some(&b'=') {
            plain.pop();
        }
    }
    STANDARD_NO_PAD.decode(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_dialect_of_one_value_reads_the_same() {
        let value = vec![0xfb, 0xff, 0xbf, 0x01];
        for text in ["+/+/AQ==", "-_-_AQ==", "+/+/AQ", "-_-_AQ", "-_+/ AQ=\n=", "\r\n-_-_\nAQ", "+/+/AQ="] {
            assert_eq!(decode_lax(text), Some(value.clone()), "{text}");
        }
        assert_eq!(url(&value), "-_-_AQ");
        assert_eq!(standard(&value), "+/+/AQ==");
    }

    #[test]
    fn the_strict_readers_take_one_spelling_only() {
        assert_eq!(decode_url("-_-_AQ"), Some(vec![0xfb, 0xff, 0xbf, 0x01]));
        for text in ["-_-_AQ==", "+/+/AQ", "-_-_A", "-_-_AR", "-_-_ AQ", "-_-_AQ\n", "-_=_AQ"] {
            assert_eq!(decode_url(text), None, "{text}");
        }
        for text in ["====", "A", "AA=A", "AQ===", "\u{e9}"] {
            assert_eq!(decode_lax(text), None, "{text}");
        }
        assert_eq!(decode_lax(""), Some(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode_url(&url(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode_standard(&standard(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode_lax(&url(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode_lax(&standard(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text: String) {
            let _ = decode_lax(&text);
            let _ = decode_url(&text);
        }
    }
}
