//! Digests, MACs and hexadecimal.
//!
//! SHA-1 is used for certificate thumbprints alone (`x5t`, Azure's `kid`), which identify a key and prove nothing.
//! Touches nothing. Tests: below.

use aws_lc_rs::{digest, hmac};

/// SHA-256 of a message.
#[must_use]
pub fn sha256(message: &[u8]) -> [u8; 32] {
    to_array(digest::digest(&digest::SHA256, message).as_ref())
}

/// SHA-256 of a message that is in parts.
#[must_use]
pub fn sha256_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    to_array(context.finish().as_ref())
}

/// SHA-1 thumbprint of a DER certificate, as `x5t` and portals show it. Not a security function.
#[must_use]
pub fn sha1_thumbprint(der: &[u8]) -> [u8; 20] {
    to_array(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref())
}

/// HMAC-SHA256 of a message.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    to_array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

/// Checks an HMAC-SHA256 in constant time.
#[must_use]
pub fn hmac_sha256_matches(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, tag).is_ok()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// The bytes of a hexadecimal text, in either case; none when it is not one.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    /// More than any pair of digits makes.
    const NONE: u16 = 0x100;
    const fn digit(byte: u8) -> u16 {
        match byte {
            b'0'..=b'9' => (byte - b'0') as u16,
            b'a'..=b'f' => (byte - b'a' + 10) as u16,
            b'A'..=b'F' => (byte - b'A' + 10) as u16,
            _ => NONE,
        }
    }
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(u8::try_from(digit(*high) << 4 | digit(*low)).ok()?);
    }
    Some(bytes)
}

/// Upper-case hexadecimal, as thumbprints are shown to people.
#[must_use]
pub fn hex_upper(bytes: &[u8]) -> String {
    let mut text = hex(bytes);
    text.make_ascii_uppercase();
    text
}

/// Copies a digest into an array of the digest's own length.
fn to_array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    // The lengths are equal by construction: each caller names the array its algorithm produces.
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors_hold() {
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256_of(&[b"a", b"", b"bc"]), sha256(b"abc"));
        assert_eq!(hex_upper(&sha1_thumbprint(b"abc")), "A9993E364706816ABA3E25717850C26C9CD0D89D");
        // RFC 4231, test case 2.
        let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(hmac_sha256_matches(b"Jefe", b"what do ya want for nothing?", &tag));
        assert!(!hmac_sha256_matches(b"jefe", b"what do ya want for nothing?", &tag));
        assert!(!hmac_sha256_matches(b"Jefe", b"what do ya want for nothing?", &tag[..31]));
    }

    #[test]
    fn hexadecimal_is_read_in_either_case_and_nothing_else_is() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)).as_ref(), Some(&all));
        assert_eq!(unhex(&hex_upper(&all)), Some(all));
        assert_eq!(unhex(""), Some(Vec::new()));
        for other in ["0", "abc", "0g", "g0", "/0", "0:", "@1", " 1", "+1", "0x", "\u{e9}"] {
            assert_eq!(unhex(other), None, "{other}");
        }
    }
}
